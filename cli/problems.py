"""What goes wrong, and how the user is told."""

from __future__ import annotations

import logging
import sys

from terminal.escaping import printable

PROGRAM = "meilies_cli"


class Failed(Exception):
    """What the user is told in one line before the exit with status 1."""


class WrongUsage(Exception):
    """What the user is told, behind how the command is used, before the exit with status 2."""


def complain(problem: object) -> None:
    print(f"{PROGRAM}: {printable(str(problem))}", file=sys.stderr)


class Complaints(logging.Handler):
    """What the client warns of, such as an outage that it waits out."""

    def emit(self, record: logging.LogRecord) -> None:
        complain(record.getMessage())
