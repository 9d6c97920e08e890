"""All commands: each of these modules puts its own into the table."""

from . import (
    about,
    clients,
    following,
    safekeeping,
    snapshots,
    streams,
)
from .table import COMMANDS, execute, unknown

__all__ = [
    "COMMANDS",
    "about",
    "clients",
    "execute",
    "following",
    "safekeeping",
    "snapshots",
    "streams",
    "unknown",
]
