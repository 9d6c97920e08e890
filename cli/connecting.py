"""Where the server is, and who asks: options, the environment, and a Client made of them.

    --url, --unix, -h and -p        where    MEILIES_URL, MEILIES_HOSTNAME, MEILIES_PORT
    --user, --password-file         who      MEILIES_USER, MEILIES_PASSWORD, or a prompt
    --tls, --ca-file, ...           how

An option goes before the environment.  A password is never an option: everybody on a
machine can read the arguments of its programs.
"""

from __future__ import annotations

import argparse
import getpass
import os
from collections.abc import Mapping
from typing import Any

from meilies_client import Client, parse_url, tls_context

from .parsing import DEFAULT_HOST, DEFAULT_PORT, Parser, place_argument, port_argument, seconds_argument
from .problems import Failed, WrongUsage


def connect(options: argparse.Namespace) -> Client:
    """A Client of the server that the options and the environment say; it tries once."""
    return client_of(place_of(options, os.environ), options)


def connect_twice(options: argparse.Namespace) -> tuple[Client, Client]:
    """Two of them: one that waits, and one that asks meanwhile."""
    arguments = _arguments(place_of(options, os.environ), options)
    return _made(arguments), _made(arguments)


def client_of(place: dict[str, Any], options: argparse.Namespace) -> Client:
    """A Client of a server whose place, user and perhaps password are known."""
    return _made(_arguments(place, options))


def _made(arguments: dict[str, Any]) -> Client:
    try:
        return Client(**arguments)
    except ValueError as error:         # places and transports that are right alone, but not together
        raise WrongUsage(str(error)) from error


def _arguments(place: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    arguments = {**place, **_transport(options, place.get("tls", False))}
    if arguments.get("user") and "password" not in arguments:
        arguments["password"] = _asked_password(arguments["user"])
    return {**arguments, "timeout": options.timeout, "tries": 0}


def place_of(options: argparse.Namespace, environ: Mapping[str, str]) -> dict[str, Any]:
    """Where the server is and who asks, as arguments of a Client.  Raises WrongUsage, Failed."""
    given = [name for name in ("url", "unix") if getattr(options, name)]
    if options.hostname or options.port:
        given.append("hostname and --port")
    if len(given) > 1:
        raise WrongUsage(f"found --{given[0]} and --{given[1]}, expected one place where the server is")
    place = _place(options, environ, given)
    user = options.user or (environ.get("MEILIES_USER") if not place.get("user") else None)
    if user:
        place["user"] = user
    if options.password_file:
        place["password"] = _password_in(options.password_file)
    elif environ.get("MEILIES_PASSWORD"):
        place["password"] = environ["MEILIES_PASSWORD"]
    return place


def _place(options: argparse.Namespace, environ: Mapping[str, str], given: list[str]) -> dict[str, Any]:
    if options.url:
        return dict(options.url)
    if options.unix:
        return {"unix": options.unix}
    try:
        if not given and environ.get("MEILIES_URL"):
            return parse_url(environ["MEILIES_URL"])
        return {"host": options.hostname or environ.get("MEILIES_HOSTNAME") or DEFAULT_HOST,
                "port": options.port or port_argument(environ.get("MEILIES_PORT") or str(DEFAULT_PORT))}
    except (ValueError, argparse.ArgumentTypeError) as error:
        raise WrongUsage(f"MEILIES_URL or MEILIES_PORT in the environment: {error}") from None


def _transport(options: argparse.Namespace, tls: bool) -> dict[str, Any]:
    """TLS, if anything asks for it.  Raises Failed."""
    if not (tls or options.tls or options.ca_file or options.cert_file or options.key_file or options.insecure):
        return {}
    try:
        return {"tls": tls_context(options.ca_file, options.cert_file, options.key_file, verify=not options.insecure)}
    except (ValueError, OSError) as error:
        raise Failed(str(error)) from error


def _password_in(path: str) -> str:
    """The first line of a file."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.readline().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise Failed(f"{path}: the password can't be read: {getattr(error, 'strerror', None) or error}") from error


def _asked_password(user: str) -> str:
    """The password, from whoever sits at the terminal, which isn't standard input: that may be events."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        raise Failed(f"user {user} needs a password and there is no terminal to ask at; "
                     f"give --password-file or MEILIES_PASSWORD") from None
    try:
        return getpass.getpass(f"Password of {user}: ")
    except EOFError:
        raise Failed("no password was given") from None


def add_connection(parser: Parser) -> None:
    """The options, before the command."""
    _add(parser, quiet=False)


def add_connection_again(parser: Parser) -> None:
    """The options behind a command, which go before those before it; the program's help explains them."""
    _add(parser, quiet=True)


def add_transport(parser: Parser, **hidden: Any) -> None:
    """The options that say how a server is spoken to."""
    for name, metavar, text in (
            ("--ca-file", "FILE", "certificates that vouch for the server, PEM; the system's if missing"),
            ("--cert-file", "FILE", "the client's own certificate, PEM"),
            ("--key-file", "FILE", "and its key, if that isn't in the same file")):
        parser.add_argument(name, metavar=metavar, **{"default": None, "help": text, **hidden})
    for name, text in (("--tls", "speak TLS; so do the four others here"),
                       ("--insecure", "believe any server: whoever is between may read and change all")):
        parser.add_argument(name, action="store_true", **{"help": text, **hidden})
    parser.add_argument("--timeout", type=seconds_argument, metavar="SECONDS",
                        **{"default": 10.0, "help": "how long a server may take to answer (10)", **hidden})


def _add(parser: Parser, quiet: bool) -> None:
    hidden = {"default": argparse.SUPPRESS, "help": argparse.SUPPRESS} if quiet else {}

    def add(*names: str, metavar: str, help: str, type: Any = str) -> None:
        parser.add_argument(*names, metavar=metavar, type=type, **{"default": None, "help": help, **hidden})

    add("-h", "--hostname", metavar="HOST", help=f"server ({DEFAULT_HOST})")
    add("-p", "--port", metavar="PORT", type=port_argument, help=f"its port ({DEFAULT_PORT})")
    add("--unix", metavar="PATH", help="its socket on this machine")
    add("--url", metavar="URL", type=place_argument,
        help="all in one: meilies://USER@HOST:PORT, meiliess:// for TLS, meilies+unix:///PATH")
    add("--user", metavar="NAME", help="who asks; the password is asked for")
    add("--password-file", metavar="FILE", help="whose first line is the password")
    add_transport(parser, **hidden)
