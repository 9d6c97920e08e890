#!/usr/bin/env python3
"""The command line: publish, follow, ask, watch, migrate.

    stdin ---> publish                  stdout    what was asked for, nothing else
    stdout <-- subscribe                stderr    what went wrong; progress, on a terminal
    source --> migrate --> destination  exit      0 done, 1 error, 2 usage, 130 Ctrl-C

The commands are in cli/, a module for each kind of them.
"""

from __future__ import annotations

import argparse
import functools
import logging
import os
import sys

from cli import completing, copies, following, groups, keeping, migrating, publishing, reading, top, watching
from cli.connecting import add_connection, add_connection_again
from cli.parsing import Commands, Parser
from cli.problems import PROGRAM, Complaints, Failed, WrongUsage, complain
from cli.showing import readable_line, silence_stdout
from meilies_client import ClientError, LoginNeeded
from terminal import painting

DESCRIPTION = "Publish events to a MeiliES server, follow them, copy them, watch it."

EPILOG = """\
Selectors are STREAM (new events), STREAM:FROM or STREAM:FROM:TO, FROM inclusive
and TO exclusive; $all is every stream, its FROM and TO positions in the store.
MEILIES_URL, or MEILIES_HOSTNAME and MEILIES_PORT, MEILIES_USER and
MEILIES_PASSWORD are used where no option says it.
Each command has a --help with examples.
Exit status: 0 done, 1 error, 2 wrong usage, 130 interrupted by Ctrl-C."""


def parser() -> Parser:
    return commands()[0]


def commands() -> tuple[Parser, Commands]:
    """The parser of the command line, and the commands that it knows."""
    main = Parser(prog=f"{PROGRAM}.py", description=DESCRIPTION, usage="python3 meilies_cli.py [OPTION]... COMMAND ...")
    add_connection(main)
    main.add_argument("--color", choices=painting.CHOICES, default=painting.AUTO,
                      help="auto: on a terminal, unless NO_COLOR is set (auto)")
    known = Commands(main, _add_common)
    for module in (publishing, reading, following, groups, keeping, copies, migrating, watching, top):
        module.add(known)
    completing.add(known, main)
    main.epilog = f"{known.listing()}\n{EPILOG}"
    return main, known


def _add_common(command: Parser) -> None:
    """The options that may stand behind a command as well, where they go before those before it."""
    add_connection_again(command)
    command.add_argument("--color", choices=painting.CHOICES, default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def _run(arguments: list[str] | None) -> int:
    options, unknown = parser().parse_known_args(arguments)
    if unknown:
        options.parser.refuse(unknown)
    if sys.stdout is None:
        raise Failed("standard output is closed")
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")       # what its encoding hasn't is shown as an escape
    painter = painting.Painter(options.color, sys.stdout, os.environ)
    if painter.paints and getattr(options, "show", None) is readable_line:
        options.show = functools.partial(readable_line, painter=painter)
    try:
        options.run(options)
    except WrongUsage as error:
        options.parser.error(str(error))
    sys.stdout.flush()
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return the exit status."""
    logging.basicConfig(handlers=[Complaints()])
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:         # of standard output: the client's are ClientErrors
        silence_stdout()
        return 0
    except LoginNeeded as error:
        complain(f"{error} --user NAME says who asks, MEILIES_PASSWORD or --password-file proves it")
    except (Failed, ClientError) as error:
        complain(error)
    except OSError as error:        # of standard input or output
        complain(error)
        silence_stdout()
    return 1


if __name__ == "__main__":
    sys.exit(main())
