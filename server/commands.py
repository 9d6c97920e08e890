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
import time
from typing import Callable, NamedTuple

import resp
from store import StoreError
from store.names import ALL, check_name, check_stream

from . import __version__
from .chunk import Form
from .feed import Follower
from .info import client_line, config, info
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


# -- MeiliES -----------------------------------------------------------------

@command("publish", 4, "STREAM NAME DATA", "Store an event; +OK when it is as safe as --sync says")
def publish(server, connection, arguments):
    """Says what is wrong; those that are right never come here but go to the store in batches."""
    _, stream, name, data = arguments
    _checked(check_stream, stream)
    _checked(check_name, name)
    raise CommandError(f"ERR data of {len(data)} bytes, expected no more than "
                       f"{server.limits.max_event_size}")


@command("last-event-number", 2, "STREAM", "The number of a stream's last event; of $all, its position")
def last_event_number(server, connection, arguments):
    name = arguments[1]
    if name == ALL:
        position = server.store.position
        last = position - 1 if position else None
    else:
        _checked(check_stream, name)
        last = server.store.last_number(name)
    number = resp.null(connection.protocol) if last is None else resp.integer(last)
    return resp.array([b"+last-event-number\r\n", resp.simple(name), number])


@command("stream-names", -1, "", "The names of all streams that have an event, sorted", slow=True)
def stream_names(server, connection, arguments):
    return resp.array([b"+stream-names\r\n", *map(resp.simple, server.store.names())])


@command("subscribe", -2, "STREAM[:FROM[:TO]] ...", "Follow streams, or $all; FROM a number on, up to TO", slow=True)
def subscribe(server, connection, arguments):
    ranges = [_parse_range(argument) for argument in arguments[1:]]
    form = Form(False, connection.protocol == 3)
    followers = [(Follower(connection, ("stream", name), stop, form), name, name, first)
                 for name, first, stop in ranges]
    return _begin(server, connection, followers)


@command("follow", -3, "$all | stream NAME | prefix PREFIX   FROM | - [TO n]",
         "Follow with position, id, metadata and time of each event", slow=True)
def follow(server, connection, arguments):
    selector, rest = _parse_selector(arguments[1:])
    if len(rest) not in (1, 3) or (len(rest) == 3 and rest[1].upper() != b"TO"):
        raise CommandError("ERR syntax error, expected: follow SELECTOR FROM [TO n]")
    first = None if rest[0] == b"-" else _parse_number(rest[0], "FROM")
    stop = _parse_number(rest[2], "TO") if len(rest) == 3 else MAX_NUMBER + 1
    if first is not None and first >= stop:
        raise CommandError(f"ERR FROM is {first}, expected less than TO, which is {stop}")
    kind, key = selector
    prefix = key if kind == "prefix" else b""
    form = Form(True, connection.protocol == 3, prefix)
    name = ALL if kind == "prefix" else key
    return _begin(server, connection, [(Follower(connection, selector, stop, form), name, key, first)])


def _begin(server, connection, followers):
    """Subscribe to all of (follower, stream, key, first) and acknowledge each before its events.

    Each gets a first slice of its replay at once, so that short ones end
    before the next is acknowledged; the rest comes from the workers.
    """
    new = {follower.selector for follower, *_ in followers} - connection.subscriptions.keys()
    count = len(connection.subscriptions) + len(new)
    if count > server.limits.max_subscriptions:
        raise CommandError(f"ERR {count} subscriptions, expected no more than "
                           f"{server.limits.max_subscriptions} a connection")
    feeds = server.feeds
    effective = {follower.selector: follower for follower, *_ in followers}     # of equal ones the last
    for follower, name, key, first in followers:
        if effective[follower.selector] is follower:
            replaced = connection.follow(follower)
            if replaced is not None:
                feeds.remove(replaced)
        connection.outbox.put(_acknowledgement(connection, b"subscribe", b"subscribed", key))
        if effective[follower.selector] is not follower:
            continue
        feeds.add(follower, name, first)
        if connection.closed:       # `close` may have looked before it was there
            connection.unfollow(follower.selector)
            feeds.remove(follower)
        elif not feeds.catch_up(follower, near=False):
            connection.catch_up(follower)
    return b""


def _acknowledgement(connection, push, simple, key):
    """What says that a subscription has begun or ended."""
    if connection.protocol == 3:
        count = len(connection.subscriptions)
        return resp.push([resp.bulk(push), resp.bulk(key), resp.integer(count)], 3)
    return resp.array([resp.simple(simple), resp.simple(key)])


@command("unsubscribe", -1, "[STREAM ...]", "End subscriptions to these streams, or all of them")
def unsubscribe(server, connection, arguments):
    if len(arguments) > 1:
        selectors = [("stream", name) for name in arguments[1:]]
        for _, name in selectors:
            if name != ALL:
                _checked(check_stream, name)
    else:
        selectors = list(connection.subscriptions)
    if not selectors:
        return _nothing_to_end(connection)
    return b"".join([_end(server, connection, selector) for selector in selectors])


@command("unfollow", -2, "$all | stream NAME | prefix PREFIX", "End what follow began")
def unfollow(server, connection, arguments):
    selector, rest = _parse_selector(arguments[1:])
    if rest:
        raise CommandError("ERR syntax error, expected: unfollow SELECTOR")
    return _end(server, connection, selector)


def _end(server, connection, selector):
    follower = connection.unfollow(selector)
    if follower is not None:
        server.feeds.remove(follower)
    return _acknowledgement(connection, b"unsubscribe", b"unsubscribed", selector[1])


def _nothing_to_end(connection):
    nothing = resp.null(connection.protocol)
    if connection.protocol == 3:
        return resp.push([resp.bulk(b"unsubscribe"), nothing, resp.integer(0)], 3)
    return resp.array([b"+unsubscribed\r\n", nothing])


def _parse_range(argument):
    """(stream, first or None, stop) of STREAM[:FROM[:TO]]."""
    name, *numbers = argument.split(b":")
    if len(numbers) > 2:
        raise CommandError(f"ERR found '{printable(argument)}', expected STREAM[:FROM[:TO]]")
    if name != ALL:
        _checked(check_stream, name)
    first = _parse_number(numbers[0], "FROM") if numbers else None
    stop = _parse_number(numbers[1], "TO") if len(numbers) == 2 else MAX_NUMBER + 1
    if first is not None and first >= stop:
        raise CommandError(f"ERR FROM is {first}, expected less than TO, which is {stop}")
    return name, first, stop


def _parse_selector(arguments):
    """((kind, key), the arguments behind it) of `$all`, `stream NAME` or `prefix PREFIX`.

    `$all` is a stream called so.
    """
    kind = arguments[0].lower()
    if kind == ALL:
        return ("stream", ALL), arguments[1:]
    if kind not in (b"stream", b"prefix") or len(arguments) < 2:
        raise CommandError(f"ERR found '{printable(arguments[0])}', expected $all, stream NAME or prefix PREFIX")
    _checked(check_stream, arguments[1])
    return (kind.decode(), arguments[1]), arguments[2:]


def _parse_number(text, what):
    if not _NUMBER.match(text) or int(text) > MAX_NUMBER:
        raise CommandError(f"ERR {what} is '{printable(text)}', expected a number from 0 to {MAX_NUMBER}")
    return int(text)


def _checked(check, name):
    try:
        check(name)
    except ValueError as error:
        raise CommandError(f"ERR {error}") from None


# -- the connection ----------------------------------------------------------

@command("ping", -1, "[TEXT]", "Answers PONG, or TEXT")
def ping(server, connection, arguments):
    if len(arguments) > 2:
        raise CommandError("ERR wrong number of arguments for 'ping' command; usage: ping [TEXT]")
    return resp.bulk(arguments[1]) if len(arguments) == 2 else b"+PONG\r\n"


@command("echo", 2, "TEXT", "Answers TEXT")
def echo(server, connection, arguments):
    return resp.bulk(arguments[1])


@command("quit", -1, "", "Answers OK and closes")
def quit(server, connection, arguments):
    connection.refuse_input()
    for follower in connection.unfollow_all():
        server.feeds.remove(follower)
    return OK


@command("hello", -1, "[2|3 [SETNAME NAME]]", "Choose RESP2 or RESP3; says what this server and its store are")
def hello(server, connection, arguments):
    protocol, name = connection.protocol, connection.name
    if len(arguments) > 1:
        if arguments[1] not in (b"2", b"3"):
            raise CommandError("NOPROTO unsupported protocol version, expected 2 or 3")
        protocol = int(arguments[1])
        name = _parse_hello(arguments[2:], name)
    connection.name = name
    store = server.store
    fields = [
        ("server", resp.bulk(b"meilies")),
        ("version", resp.bulk(__version__.encode())),
        ("proto", resp.integer(protocol)),
        ("id", resp.integer(connection.id)),
        ("mode", resp.bulk(b"standalone")),
        ("role", resp.bulk(b"master")),
        ("modules", resp.array([])),
        ("store", resp.bulk(store.uuid.encode())),
        ("epoch", resp.integer(store.epoch)),
    ]
    connection.speak(protocol, resp.mapping([(resp.bulk(key.encode()), value) for key, value in fields], protocol))
    return b""


def _parse_hello(options, name):
    while options:
        option = options[0].upper()
        if option == b"SETNAME" and len(options) > 1:
            name = _client_name(options[1])
            options = options[2:]
        elif option == b"AUTH" and len(options) > 2:
            raise CommandError("ERR AUTH called without any password configured; this server asks for none")
        else:
            raise CommandError(f"ERR syntax error in HELLO option '{printable(options[0])}'")
    return name


@command("reset", 1, "", "Back to what a new connection is: RESP2, no name, no subscription")
def reset(server, connection, arguments):
    for follower in connection.unfollow_all():
        server.feeds.remove(follower)
    connection.name = b""
    connection.protocol = 2
    return b"+RESET\r\n"


@command("select", 2, "0", "There is one database, 0")
def select(server, connection, arguments):
    if arguments[1] != b"0":
        raise CommandError("ERR DB index is out of range; there is one database, 0")
    return OK


@command("client", -2, "ID | SETNAME NAME | GETNAME | SETINFO FIELD VALUE | INFO | LIST | KILL ...",
         "About this connection and the others", slow=False)
def client(server, connection, arguments):
    word = arguments[1].lower()
    handler, count = _CLIENT.get(word, (None, 0))
    if handler is None:
        raise CommandError(f"ERR unknown subcommand '{printable(arguments[1])}'; expected one of "
                           f"{', '.join(sorted(word.decode().upper() for word in _CLIENT))}")
    if len(arguments) < count or (word not in (b"kill", b"list") and len(arguments) != count):
        raise CommandError(f"ERR wrong number of arguments for 'client|{word.decode()}' command")
    return handler(server, connection, arguments[2:])


def _client_id(server, connection, arguments):
    return resp.integer(connection.id)


def _client_setname(server, connection, arguments):
    connection.name = _client_name(arguments[0])
    return OK


def _client_getname(server, connection, arguments):
    return resp.bulk(connection.name) if connection.name else resp.null(connection.protocol)


def _client_setinfo(server, connection, arguments):
    field = arguments[0].lower()
    if field not in (b"lib-name", b"lib-ver"):
        raise CommandError(f"ERR unrecognized option '{printable(arguments[0])}', expected LIB-NAME or LIB-VER")
    connection.library[field.decode()] = _client_name(arguments[1])
    return OK


def _client_info(server, connection, arguments):
    return resp.bulk(client_line(connection))


def _client_list(server, connection, arguments):
    everyone = sorted(server.connections.values(), key=lambda one: one.id)
    return resp.bulk(b"".join(map(client_line, everyone)))


def _client_kill(server, connection, arguments):
    """CLIENT KILL address, or CLIENT KILL ID n | ADDR address."""
    if len(arguments) == 1:
        arguments = [b"addr", *arguments]
        old_form = True
    else:
        old_form = False
    what = arguments[0].lower()
    if len(arguments) != 2 or what not in (b"id", b"addr"):
        raise CommandError("ERR syntax error, expected: CLIENT KILL ID n, or CLIENT KILL ADDR host:port")
    wanted = arguments[1].decode("utf-8", "replace")
    victims = [one for one in list(server.connections.values())
               if wanted == (str(one.id) if what == b"id" else one.peer)]
    for victim in victims:
        if victim is connection:
            victim.refuse_input()       # after the reply
            for follower in victim.unfollow_all():
                server.feeds.remove(follower)
        else:
            server.close(victim)
    if not old_form:
        return resp.integer(len(victims))
    if not victims:
        raise CommandError("ERR No such client")
    return OK


_CLIENT = {     # subcommand -> (handler, how many arguments there are, CLIENT included)
    b"id": (_client_id, 2),
    b"setname": (_client_setname, 3),
    b"getname": (_client_getname, 2),
    b"setinfo": (_client_setinfo, 4),
    b"info": (_client_info, 2),
    b"list": (_client_list, 2),
    b"kill": (_client_kill, 3),
}


def _client_name(name):
    if len(name) > 1024 or not re.match(rb"[!-~]*\Z", name):
        raise CommandError("ERR Client names cannot contain spaces, newlines or special characters")
    return name


# -- the server --------------------------------------------------------------

@command("info", -1, "[SECTION ...]", "What the server is and does")
def info_command(server, connection, arguments):
    return resp.bulk(info(server, [argument.decode("utf-8", "replace").lower() for argument in arguments[1:]]))


@command("time", 1, "", "The server's clock: seconds and microseconds since 1970")
def time_command(server, connection, arguments):
    seconds, microseconds = divmod(time.time_ns() // 1000, 1000000)
    return resp.array([resp.bulk(b"%d" % seconds), resp.bulk(b"%d" % microseconds)])


@command("config", -3, "GET PATTERN ...", "Settings whose names match")
def config_command(server, connection, arguments):
    if arguments[1].lower() != b"get":
        raise CommandError(f"ERR unknown subcommand '{printable(arguments[1])}', expected GET")
    found = config(server, [argument.decode("utf-8", "replace").lower() for argument in arguments[2:]])
    return resp.mapping([(resp.bulk(key.encode()), resp.bulk(value.encode())) for key, value in found],
                        connection.protocol)


@command("command", -1, "[COUNT | DOCS [NAME ...] | INFO [NAME ...]]", "The commands of this server")
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
