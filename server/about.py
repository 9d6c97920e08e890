"""The commands about the server: INFO, TIME, CONFIG, COMMAND."""

import time

import resp

from . import __version__
from .info import config, info
from .table import COMMANDS, CommandError, command
from .text import printable
from .users import ADMIN


@command("info", -1, "[SECTION ...]", "What the server is and does", "")
def info_command(server, connection, arguments):
    return resp.bulk(info(server, [argument.decode("utf-8", "replace").lower() for argument in arguments[1:]]))


@command("time", 1, "", "The server's clock: seconds and microseconds since 1970", "")
def time_command(server, connection, arguments):
    seconds, microseconds = divmod(time.time_ns() // 1000, 1000000)
    return resp.array([resp.bulk(b"%d" % seconds), resp.bulk(b"%d" % microseconds)])


@command("config", -3, "GET PATTERN ...", "Settings whose names match", ADMIN)
def config_command(server, connection, arguments):
    if arguments[1].lower() != b"get":
        raise CommandError(f"ERR unknown subcommand '{printable(arguments[1])}', expected GET")
    found = config(server, [argument.decode("utf-8", "replace").lower() for argument in arguments[2:]])
    return resp.mapping([(resp.bulk(key.encode()), resp.bulk(value.encode())) for key, value in found],
                        connection.protocol)


@command("command", -1, "[COUNT | DOCS [NAME ...] | INFO [NAME ...]]", "The commands of this server", "")
def command_command(server, connection, arguments):
    if len(arguments) == 1:
        return resp.array([_entry(one) for one in COMMANDS.values()])
    word = arguments[1].lower()
    names = [name.lower() for name in arguments[2:]]
    if word == b"count":
        return resp.integer(len(COMMANDS))
    if word == b"docs":
        chosen = [COMMANDS[name] for name in names or COMMANDS if name in COMMANDS]
        return resp.mapping([(resp.bulk(one.name.encode()), _documentation(one, connection.protocol))
                             for one in chosen], connection.protocol)
    if word == b"info":
        return resp.array([_entry(COMMANDS[name]) if name in COMMANDS else resp.null(connection.protocol)
                           for name in names or COMMANDS])
    raise CommandError(f"ERR unknown subcommand '{printable(arguments[1])}', expected COUNT, DOCS or INFO")


def _entry(one):
    """A command as COMMAND describes it: name, arity, flags, first key, last key, step, and more."""
    empty = resp.array([])
    return resp.array([resp.bulk(one.name.encode()), resp.integer(one.arity), empty, resp.integer(0),
                       resp.integer(0), resp.integer(0), empty, empty, empty, empty])


def _documentation(one, protocol):
    fields = [("summary", one.summary), ("since", __version__), ("group", "generic"),
              ("complexity", f"usage: {one.name} {one.usage}".rstrip())]
    return resp.mapping([(resp.bulk(key.encode()), resp.bulk(value.encode())) for key, value in fields], protocol)
