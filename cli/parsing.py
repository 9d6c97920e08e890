"""Arguments: the parser, and text to values."""

from __future__ import annotations

import argparse
import difflib
import sys
import textwrap
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from typing import Any, Callable, NoReturn

from meilies_client import MAX_NUMBER, Selector, check_stream, parse_url
from terminal.escaping import printable

from .problems import PROGRAM
from .showing import EPOCH, json_line, raw_bytes, raw_line, readable_line

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 6480

# How often a server that was lost is tried for, where nothing else is said.
TRIES = 50


class Parser(argparse.ArgumentParser):
    """A parser whose -h is the host, as in MeiliES, whose help is --help, and whose errors are one line."""

    def __init__(self, **options: Any) -> None:
        super().__init__(add_help=False, allow_abbrev=False,
                         formatter_class=argparse.RawDescriptionHelpFormatter, **options)
        self.add_argument("--help", action="help", help="show this and exit")

    def error(self, message: str) -> NoReturn:
        """End with status 2, after one line that says what is wrong and where help is."""
        _, _, command = self.prog.partition(" ")
        message = message.replace("argument -h/--hostname:", "argument --hostname:")
        self.exit(2, printable(f"{PROGRAM}{f' {command}' if command else ''}: {message}; "
                               f"see '{self.prog} --help'") + "\n")

    def refuse(self, unknown: list[str]) -> NoReturn:
        """End because of arguments that nobody knows."""
        first = unknown[0].partition("=")[0]
        known = [option for action in self._actions for option in action.option_strings]
        self.error(f"{first}: no such option{did_you_mean(first, known)}" if first.startswith("-") else
                   f"found {unknown[0]!r}, expected nothing more")

    def add_shown(self) -> None:
        """How events are printed."""
        shown = self.add_mutually_exclusive_group()
        for option, show, text in (
                ("--json", json_line, "one JSON object a line; what isn't text as data_base64"),
                ("--raw", raw_line, "the data and a line feed"),
                ("--raw-bytes", raw_bytes, "the data and nothing between")):
            shown.add_argument(option, dest="show", action="store_const", const=show, default=readable_line,
                               help=text)

    def add_json(self, text: str = "one JSON object") -> None:
        self.add_argument("--json", action="store_true", help=text)

    def add_tries(self) -> None:
        self.add_argument("--tries", type=tries_argument, default=TRIES, metavar="N",
                          help=f"how often to try again to reach a server that was lost ({TRIES})")

    def add_following(self) -> None:
        self.add_tries()
        self.add_argument("--accept-other-store", action="store_true",
                          help="go on even if another store is found after an outage")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if isinstance(action.choices, dict) and value not in action.choices:
            raise argparse.ArgumentError(None, f"{value!r}: no such command{did_you_mean(value, action.choices)}")
        super()._check_value(action, value)


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """A hint to the one of `words` that is nearest to `word`; "" if none is near."""
    near = difflib.get_close_matches(word, words, n=1)
    return f"; did you mean {near[0]}?" if near else ""


class Commands:
    """All commands: each with what it takes, a line about it, and how it is used.

    commands.heading("Publish")
    command = commands("publish", run_publish, "store an event", "publish orders created '{}'")
    command.add_argument("stream")

    parser       of the options that stand before the command
    add_common   adds those options that stand behind a command as well, each without a default
    """

    def __init__(self, parser: Parser, add_common: Callable[[Parser], None]) -> None:
        self._program = parser.prog
        self._parsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser,
                                              prog=parser.prog, help=argparse.SUPPRESS)
        self._add_common = add_common
        self._headings: dict[str, list[tuple[str, str]]] = {}
        self.examples: dict[str, tuple[str, ...]] = {}          # of each command
        self.parsers: dict[str, tuple[str, Parser]] = {}        # with the line about it

    def heading(self, text: str) -> None:
        """Those that follow stand under this in the help."""
        self._headings[text] = []

    def __call__(self, name: str, run: Callable[[argparse.Namespace], None], text: str, *examples: str,
                 server: bool = True) -> Parser:
        """Add a command.

        run        run(options) does it
        text       a line about it
        examples   how it is used, the program's name left out
        server     it is about one server, and says where that is in the common options
        """
        [*_, under] = self._headings.values()
        under.append((name, text))
        self.examples[name] = examples
        epilog = "examples:\n" + "".join(f"  python3 meilies_cli.py {example}\n" for example in examples)
        if server:
            epilog += f"\nWhere the server is, and who asks: see '{self._program} --help'."
        one: Parser = self._parsers.add_parser(
            name, description="\n".join(textwrap.wrap(text[0].upper() + text[1:] + ".", 78)), epilog=epilog)
        one.set_defaults(run=run, parser=one)
        if server:
            self._add_common(one)
        self.parsers[name] = text, one
        return one

    def listing(self) -> str:
        """All commands under their headings, for the help."""
        lines = []
        for heading, entries in self._headings.items():
            lines.append(f"{heading}:")
            for name, text in entries:
                lines += textwrap.wrap(text, 78, initial_indent=f"  {name:<18} ", subsequent_indent=" " * 21)
            lines.append("")
        return "\n".join(lines)


def port_argument(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < 65536):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a port from 1 to 65535")
    return int(text)


def address_argument(text: str) -> tuple[str, int]:
    """HOST, HOST:PORT or [HOST]:PORT, the last for IPv6."""
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, str(DEFAULT_PORT)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected HOST:PORT or [HOST]:PORT")
    if not host:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected HOST:PORT")
    return host, port_argument(port)


def place_argument(text: str) -> dict[str, Any]:
    """Where a server is and who asks, of an URL without a password, as arguments of a Client."""
    try:
        place = parse_url(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if "password" in place:
        raise argparse.ArgumentTypeError("the URL has a password, which everybody on this machine can read here; "
                                         "MEILIES_URL in the environment may have one")
    return place


def server_argument(text: str) -> dict[str, Any]:
    """Where a server is: an URL, or an address."""
    if "://" in text:
        return place_argument(text)
    host, port = address_argument(text)
    return {"host": host, "port": port}


def selector_argument(text: str) -> Selector:
    try:
        return Selector.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def text_argument(text: str) -> str:
    """What the command line has as UTF-8: bytes that aren't are escapes in it, which no name can have."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected UTF-8 text") from None
    return text


def stream_argument(text: str) -> str:
    try:
        check_stream(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def seconds_argument(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e9:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected seconds, more than 0")
    return seconds


def expected_argument(text: str) -> int | str:
    if text.lower() in ("any", "none", "exists"):
        return text.lower()
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected any, none, exists or the number of an event")
    return int(text)


def number_argument(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 20 and int(text) <= MAX_NUMBER):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a number from 0 to {MAX_NUMBER}")
    return int(text)


def count_argument(text: str) -> int:
    """How many events; more than there can be are all of them."""
    return min(number_argument(text), sys.maxsize)


def time_argument(text: str) -> int:
    """Microseconds since 1970 of those, or of a date and time in ISO 8601; without a zone it is local."""
    if text.isascii() and text.isdigit():
        return number_argument(text)
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
        microseconds = (moment.astimezone(timezone.utc) - EPOCH) // timedelta(microseconds=1)
    except (ValueError, OverflowError):
        microseconds = -1
    if microseconds < 0:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected microseconds since 1970, or a time such as "
                                         f"2026-11-23T18:30:00Z")
    return microseconds


def tries_argument(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a number from 0")
    return int(text)


def item_argument(text: str) -> tuple[list[str], list[str]]:
    """(names, tags) of NAME,NAME+TAG,TAG."""
    names, plus, tags = text.partition("+")
    if not plus:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected [NAME[,NAME...]]+[TAG[,TAG...]]")
    return [name for name in names.split(",") if name], [tag for tag in tags.split(",") if tag]
