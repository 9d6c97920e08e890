"""The table of commands: name, arity, handler, one line of help.

A handler gets (server, connection, arguments), arguments[0] being the name, and
returns the reply's bytes in the connection's protocol.  It raises CommandError
for what the client did wrong.  `server` is the Poller.  Handlers run in its
thread, and must not wait; the slow ones run in a worker, while the commands of
the same connection that follow wait for it.

Arity is Redis's: the number of arguments, name included; -n means n or more.
"""

import logging
import re
from typing import Callable, NamedTuple

import resp
from store import StoreError

from .text import printable

log = logging.getLogger("meilies.commands")

OK = b"+OK\r\n"
MAX_NUMBER = (1 << 64) - 1

_NUMBER = re.compile(rb"[0-9]{1,40}\Z")


class CommandError(Exception):
    """The client's mistake.  The text is the reply, code first."""


class Command(NamedTuple):
    name: str
    arity: int
    handler: Callable
    usage: str
    summary: str
    slow: bool


COMMANDS = {}       # lower-case name in bytes -> Command


def command(name, arity, usage, summary, slow=False):
    """Put the decorated function into COMMANDS."""
    def add(handler):
        COMMANDS[name.encode()] = Command(name, arity, handler, usage, summary, slow)
        return handler
    return add


def execute(command, server, connection, arguments):
    """Call a command and return its reply, whatever happens."""
    connection.last_command = command.name
    try:
        if len(arguments) < abs(command.arity) or (0 < command.arity < len(arguments)):
            raise CommandError(f"ERR wrong number of arguments for '{command.name}' command; "
                               f"usage: {command.name} {command.usage}".rstrip())
        return command.handler(server, connection, arguments)
    except CommandError as error:
        return resp.error(str(error))
    except StoreError as error:
        return resp.error(f"ERR {error}")
    except Exception:
        log.exception("%s of client %d failed", command.name, connection.id)
        return resp.error("ERR internal error; the server's log has the details")


def unknown(arguments):
    """The reply to a command that isn't in the table, worded as Redis words it."""
    shown = " ".join(f"'{printable(argument[:128])}'" for argument in arguments[1:4])
    return resp.error(f"ERR unknown command '{printable(arguments[0][:128])}', "
                      f"with args beginning with: {shown}")


def parse_number(text, what):
    if not _NUMBER.match(text) or int(text) > MAX_NUMBER:
        raise CommandError(f"ERR {what} is '{printable(text)}', expected a number from 0 to {MAX_NUMBER}")
    return int(text)


def checked(check, name):
    try:
        check(name)
    except ValueError as error:
        raise CommandError(f"ERR {error}") from None
