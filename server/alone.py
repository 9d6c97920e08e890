"""What a server that stands alone answers to questions about others: ROLE, WAIT, MODULE; and LASTSAVE, LOLWUT."""

import time

import resp

from . import __version__
from .table import CommandError, command, help_of, parse_number
from .text import printable

_MODULE = "LIST | HELP"


@command("role", 1, "", "master, the position of the next event, and no replicas", "")
def role(server, connection, arguments):
    return resp.array([resp.bulk(b"master"), resp.integer(server.store.position), resp.array([])])


@command("wait", 3, "count milliseconds", "How many replicas have all of it: none, at once", "")
def wait(server, connection, arguments):
    for text in arguments[1:]:
        parse_number(text, "the number")
    return resp.integer(0)


@command("module", -2, _MODULE, "Modules: there are none", "")
def module(server, connection, arguments):
    word = arguments[1].upper()
    if word == b"HELP":
        return help_of("module", _MODULE)
    if word != b"LIST":
        raise CommandError(f"ERR unknown subcommand '{printable(arguments[1])}'. Try MODULE HELP.")
    return resp.array([])


@command("lastsave", 1, "", "Seconds since 1970 when all was on disk, as far as is known", "")
def lastsave(server, connection, arguments):
    store = server.store
    return resp.integer(int(time.time() if store.synced >= store.position else server.began))


@command("lolwut", -1, "[VERSION version]", "The version, as art would have it", "")
def lolwut(server, connection, arguments):
    return resp.verbatim(f"MeiliES ver. {__version__}\n".encode(), connection.protocol)
