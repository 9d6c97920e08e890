"""Where the server is, and who asks: options, the environment, and a Client made of them."""

from __future__ import annotations

import argparse
import os

from meilies_client import Client

from .parsing import DEFAULT_PORT, Parser, port_argument, seconds_argument

DEFAULT_HOST = "127.0.0.1"


def connect(options: argparse.Namespace) -> Client:
    """A Client of the server that the options say; it tries once."""
    return Client(options.hostname, options.port, timeout=options.timeout, tries=0)


def add_connection(parser: Parser) -> None:
    """The options, with their defaults, before the command."""
    _add(parser, os.environ.get("MEILIES_HOSTNAME") or DEFAULT_HOST,
         os.environ.get("MEILIES_PORT") or str(DEFAULT_PORT), 10.0)


def add_connection_again(parser: Parser) -> None:
    """The options behind a command, which go before those before it; its help says where they are explained."""
    _add(parser, *3 * [argparse.SUPPRESS], quiet=True)


def _add(parser: Parser, host: str, port: str, timeout: float | str, quiet: bool = False) -> None:
    def add(*names: str, help: str, **more: object) -> None:
        parser.add_argument(*names, help=argparse.SUPPRESS if quiet else help, **more)

    add("-h", "--hostname", metavar="HOST", default=host, help="server (127.0.0.1)")
    add("-p", "--port", type=port_argument, default=port, metavar="PORT", help="its port (6480)")
    add("--timeout", type=seconds_argument, default=timeout, metavar="SECONDS",
        help="how long a server may take to answer (10)")
