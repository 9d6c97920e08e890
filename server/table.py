"""The table of commands: name, arity, handler, one line of help, and who may use it.

A handler gets (server, connection, arguments), arguments[0] being the name, and
returns the reply's bytes in the connection's protocol.  It raises CommandError
for what the client did wrong.  `server` is the Poller.  Handlers run in its
thread, and must not wait; the slow ones run in a worker, while the commands of
the same connection that follow wait for it.

Arity is Redis's: the number of arguments, name included; -n means n or more.

Who may use a command is looked at in `denial`, before the handler is called:

    right    what its user needs: READ, APPEND, GROUP or ADMIN of users.py; "" for what is
             about the connection itself, ANYONE for what a client may ask that
             hasn't said who it is
    at_once  at_once(server, connection, arguments), of a slow command: its reply, made in the poller's
             thread, where all that it takes is in memory and nobody has to be waited for.  None:
             nothing was changed, and a worker is to do it; so is what raises CommandError
    words    {second word: right} for commands that have subcommands; one that isn't
             there needs the command's own right
    touches  touches(server, arguments) gives the streams of a request: [(how, kind, name), …],
             how "read" or "append", kind "stream" or "prefix"; b"" is the prefix of all.
             Where the request doesn't name them itself, what an error calls them comes fourth.
             It raises CommandError where it can't say, as the handler would
"""

import logging
import re
import time
from typing import Callable, NamedTuple

import resp
from store import StoreError

from .refusals import refusal
from .syntax import alternatives
from .text import printable
from .users import EVERYTHING

log = logging.getLogger("meilies.commands")

OK = b"+OK\r\n"
ANYONE = "anyone"
NOAUTH = "NOAUTH Authentication required."
# What a command touches that is about all streams.
READS_ALL = [("read", "prefix", b"")]
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
    right: str
    words: dict
    touches: Callable
    at_once: Callable = None


COMMANDS = {}       # lower-case name in bytes -> Command
REDIS_COMMANDS = {}     # those that are others in database 1, where they are Redis's: see `SELECT`


def command(name, arity, usage, summary, right, touches=None, words=None, slow=False, table=COMMANDS):
    """Put the decorated function into a table."""
    def add(handler):
        table[name.encode()] = Command(name, arity, handler, usage, summary, slow, right, words or {}, touches)
        return handler
    return add


def at_once(name):
    """Put the decorated function beside the slow command `name`; see the top of this file."""
    def add(function):
        COMMANDS[name.encode()] = COMMANDS[name.encode()]._replace(at_once=function)
        return function
    return add


def find(name, connection):
    """The Command that a name means to a connection, or None."""
    name = name.lower()
    if connection.database and name in REDIS_COMMANDS:
        return REDIS_COMMANDS[name]
    return COMMANDS.get(name)


def execute(command, server, connection, arguments):
    """Call a command and return its reply, whatever happens; None if it comes later."""
    connection.last_command = command.name
    began = time.perf_counter()
    reply = _executed(command, server, connection, arguments)
    server.metrics.executed(connection, command, arguments, reply, time.perf_counter() - began)
    return reply


def execute_at_once(command, server, connection, arguments):
    """The reply of a slow command that is had at once, counted as by `execute`; None: a worker is to execute it."""
    if connection.only_listens:
        return None
    began = time.perf_counter()
    try:
        check(command, server, connection.user, arguments)
        reply = command.at_once(server, connection, arguments)
    except (CommandError, StoreError):
        return None
    if reply is not None:
        connection.last_command = command.name
        server.metrics.executed(connection, command, arguments, reply, time.perf_counter() - began)
    return reply


# What a client may ask that listens to channels on RESP2, where it couldn't tell other replies from messages.
_LISTENING = frozenset("""
    subscribe unsubscribe psubscribe punsubscribe follow unfollow ping quit reset
    """.split())


def _executed(command, server, connection, arguments):
    try:
        check(command, server, connection.user, arguments)
        if connection.only_listens and command.name not in _LISTENING:
            raise CommandError(f"ERR Can't execute '{command.name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / "
                               f"QUIT / RESET are allowed in this context")
        return command.handler(server, connection, arguments)
    except CommandError as error:
        return resp.error(str(error))
    except StoreError as error:
        return resp.error(f"ERR {error}")
    except Exception:
        log.exception("%s of client %d failed", command.name, connection.id)
        return resp.error("ERR internal error; the server's log has the details")


def takes(arity, arguments):
    """Whether so many arguments are right."""
    return len(arguments) >= abs(arity) and not 0 < arity < len(arguments)


def subcommand(name, handlers, arities, arguments):
    """The handler of a request's second word.  Raises CommandError, in Redis's words.

    handlers, arities   {subcommand: …}, in lower case
    """
    word = arguments[1].lower()
    if word not in handlers:
        raise CommandError(f"ERR unknown subcommand '{printable(arguments[1])}'. Try {name.upper()} HELP.")
    if not takes(arities[word], arguments):
        raise CommandError(f"ERR wrong number of arguments for '{name}|{word.decode()}' command")
    return handlers[word]


def help_of(name, usage):
    """The reply to the subcommand HELP of a command with such a usage, in Redis's form."""
    lines = [f"{name.upper()} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:", *alternatives(usage)]
    return resp.array([resp.simple(line.encode()) for line in lines])


def check(command, server, user, arguments):
    """Raise CommandError unless a request has as many arguments as it takes, and is for its user."""
    if not takes(command.arity, arguments):
        raise CommandError(f"ERR wrong number of arguments for '{command.name}' command; "
                           f"usage: {command.name} {command.usage}".rstrip())
    why = denial(command, server, user, arguments)
    if why:
        raise CommandError(why)


def denial(command, server, user, arguments):
    """Why a request isn't for this user, as an error's text, or None.  Raises CommandError.

    user   a User, or None: a client that hasn't said who it is
    """
    if user is EVERYTHING:
        return None
    right = command.right
    if command.words and len(arguments) > 1:
        right = command.words.get(arguments[1].lower(), right)
    if right == ANYONE:
        return None
    if user is None:
        return NOAUTH
    return why_not(user, command.name, right, command.touches(server, arguments) if command.touches else ())


def why_not(user, name, right, touched):
    """The text of the error if a user may not use a command for the streams that it touches, or None."""
    if not user.may(right):
        return f"NOPERM User {user.name} has no permissions to run the '{name}' command"
    for how, kind, stream, *called in touched:
        if not user.reaches(how, kind, stream):
            return (f"NOPERM No permissions to access a key: user {user.name} may not "
                    f"{'read' if how == 'read' else 'append to'} {called[0] if called else _shown(kind, stream)}")
    return None


def _shown(kind, stream):
    return "every stream" if kind == "prefix" and not stream else f"{kind} '{printable(stream[:128])}'"


def unknown(arguments):
    """The reply to a command that isn't in the table, worded as Redis words it."""
    known = refusal(arguments[0])
    if known is not None:
        return known
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
