"""All commands: each of these modules puts its own into the table."""

from . import (
    about,
    appending,
    clients,
    following,
    grouping,
    reading,
    safekeeping,
    snapshots,
    streams,
)
from .table import COMMANDS, execute, unknown

__all__ = [
    "COMMANDS",
    "about",
    "appending",
    "clients",
    "execute",
    "following",
    "grouping",
    "reading",
    "safekeeping",
    "snapshots",
    "streams",
    "unknown",
]
