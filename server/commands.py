"""All commands: each of these modules puts its own into the table."""

from . import (
    about,
    access,
    acl,
    appending,
    clients,
    following,
    grouping,
    monitoring,
    observing,
    reading,
    retaining,
    safekeeping,
    snapshots,
    streams,
    tagging,
)
from .table import COMMANDS, execute, unknown

__all__ = [
    "COMMANDS",
    "about",
    "access",
    "acl",
    "appending",
    "clients",
    "execute",
    "following",
    "grouping",
    "monitoring",
    "observing",
    "reading",
    "retaining",
    "safekeeping",
    "snapshots",
    "streams",
    "tagging",
    "unknown",
]
