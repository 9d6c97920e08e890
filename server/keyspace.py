"""The commands of Redis that ask which keys there are, and what they are: SCAN, KEYS, TYPE and so on.

    a key    a stream that has had an event, or has a consumer group of XGROUP CREATE ... MKSTREAM

SCAN goes from place to place, and a stream's place is a number that is its own for good
(see Store.names_scattered): so a cursor is only where to go on.  Nothing is kept for it, it
may be used on any connection and after a restart, and whatever is there all the while is
found, however many come and go.

    places   0 ........ 1<<52        a page is as wide as is expected to hold COUNT of them,
             |---|---|---|           and half of that, and so on, where it would hold many more

All of them are done by workers: a user may see few streams of very many, and groups may have
to be read.  A user finds in them the keys of streams that he may see.
"""

import re
import secrets
from collections import Counter
from itertools import chain, islice

import resp
from store import CorruptSegment, EventsLost
from store.database import PLACES

from .entries import id_at
from .figures import process
from .globs import Glob
from .keys import exists, has_events, is_of_key, key_of, stream_of, touches_key, touches_keys
from .syntax import subcommands
from .table import CommandError, command, help_of
from .text import printable
from .users import ADMIN, READ

# Keys that a page of SCAN is made for, unless COUNT says otherwise, and at most.
_COUNT = 10
_MOST = 10000
# Names that are looked at without a pause for others.
_PORTION = 4096
# RANDOMKEY takes one of so many that follow a random place: the first one's chance would be as
# wide as what lies before it, and of a few keys one may lie right behind another.
_NEARBY = 16

# What is the same in a key and in its stream's name.
_PLAIN = re.compile(rb"[^%:$\r\n\0\x80-\xff]*")

_NOT_AN_INTEGER = "ERR value is not an integer or out of range"


# -- which keys there are ----------------------------------------------------------------

@command("scan", -2, "cursor [MATCH pattern] [COUNT count] [TYPE type]", "Some keys, and the cursor to go on with",
         READ, slow=True)
def scan(server, connection, arguments):
    cursor = _cursor(arguments[1])
    matches, count, of_type = _scan_options(arguments[2:])
    names, stop = _page(server.store, cursor, count) if cursor < PLACES and of_type else ([], 0)
    found = [key_of(name) for name in names if connection.user.may_see(name)]
    return resp.array([resp.bulk(b"%d" % stop), resp.array([resp.bulk(key) for key in found if matches(key)])])


def _cursor(text):
    """A negative one counts from the end of all 64-bit numbers, as in Redis."""
    digits = text[1:] if text.startswith(b"-") else text
    if not digits.isdigit() or len(digits) > 20 or int(digits) >> 64:
        raise CommandError("ERR invalid cursor")
    return int(text) % (1 << 64)


def _scan_options(words):
    """(what says of a key whether it is wanted, how many to look at, whether streams are).  Raises CommandError."""
    matches, count, of_type = (lambda key: True), _COUNT, True
    if len(words) % 2:
        raise CommandError("ERR syntax error, expected: scan cursor [MATCH pattern] [COUNT count] [TYPE type]")
    for word, value in zip(words[::2], words[1::2]):
        word = word.upper()
        if word == b"MATCH":
            matches = _glob(value).matches
        elif word == b"COUNT":
            count = min(_positive(value), _MOST)
        elif word == b"TYPE":
            of_type = value.lower() == b"stream"
        else:
            raise CommandError(f"ERR syntax error, found '{printable(word)}', expected MATCH, COUNT or TYPE")
    return matches, count, of_type


def _positive(text):
    if not text.lstrip(b"-").isdigit() or len(text) > 18:
        raise CommandError(_NOT_AN_INTEGER)
    if int(text) < 1:
        raise CommandError(f"ERR syntax error, COUNT is {int(text)}, expected 1 or more")
    return int(text)


def _glob(pattern):
    try:
        return Glob(pattern)
    except ValueError as error:
        raise CommandError(f"ERR {error}") from None


def _page(store, first, count):
    """(the names of about `count` keys' streams from place `first` on, the place to go on from; 0: it was the last)"""
    width = max(1, PLACES * count // max(1, store.stream_count()))
    width = 1 << (width.bit_length() - 1)       # says little of how many streams there are that one may not see
    most = 8 * count
    while True:
        stop = min(first + width, PLACES)
        names = store.names_scattered(first, stop, most + 1 if width > 1 else store.stream_count())
        if len(names) <= most or width == 1:    # what is in one place can't be told apart
            break
        width //= 2
    found = [name for name in names if has_events(store, name)]
    found += [name for name in _only_of_groups(store) if first <= store.place_of(name) < stop]
    return found, stop % PLACES


def _only_of_groups(store):
    """The names of streams that are there for a group's sake alone, sorted."""
    if not store.has_groups:
        return []
    names = {group.definition.key for group in store.groups() if is_of_key(group, group.definition.key)}
    return sorted(name for name in names if not has_events(store, name))


@command("keys", 2, "pattern", "All keys that match", READ, slow=True)
def keys(server, connection, arguments):
    glob, may_see = _glob(arguments[1]), connection.user.may_see
    names = chain(_names(server.store, _prefix_of(glob)), _only_of_groups(server.store))
    found = (key_of(name) for name in names if may_see(name))
    return resp.array([resp.bulk(key) for key in found if glob.matches(key)])


def _prefix_of(glob):
    """What the names of all streams whose keys match begin with.

    A key may be another name than its stream's only from a byte on that isn't ASCII, a ':' or a '%', and
    where it is `$all`.
    """
    return _PLAIN.match(glob.prefix)[0]


def _names(store, prefix):
    """The names of the streams that have had an event and begin so, in order."""
    after = b""
    while True:
        names = store.names_beginning(prefix, _PORTION, after)
        yield from (name for name in names if has_events(store, name))
        if len(names) < _PORTION:
            return
        after = names[-1]


@command("dbsize", 1, "", "How many keys there are", READ, slow=True)
def dbsize(server, connection, arguments):
    store, user = server.store, connection.user
    if user.sees_everything:
        return resp.integer(store.begun_count() + len(_only_of_groups(store)))
    names = chain(_names(store, b""), _only_of_groups(store))
    return resp.integer(sum(map(user.may_see, names)))


@command("randomkey", 1, "", "Any key", READ, slow=True)
def randomkey(server, connection, arguments):
    store = server.store
    names = chain(_scattered(store, secrets.randbelow(PLACES)), _scattered(store, 0), _only_of_groups(store))
    nearby = list(islice(filter(connection.user.may_see, names), _NEARBY))
    return resp.bulk(key_of(secrets.choice(nearby))) if nearby else resp.null(connection.protocol)


def _scattered(store, first):
    """The names of the streams that have had an event, from a place on."""
    portion = _NEARBY        # more are seldom asked for
    while True:
        names = store.names_scattered(first, PLACES, portion)
        yield from (name for name in names if has_events(store, name))
        if len(names) < portion:
            return
        first, portion = store.place_of(names[-1]) + 1, _PORTION


# -- what a key is -----------------------------------------------------------------------

@command("type", 2, "key", "stream, or none", READ, touches_key("read"), slow=True)
def type_of(server, connection, arguments):
    return b"+stream\r\n" if exists(server.store, stream_of(arguments[1])) else b"+none\r\n"


@command("exists", -2, "key [key ...]", "How many of these keys there are", READ, touches_keys("read"), slow=True)
def exists_command(server, connection, arguments):
    return _existing(server, arguments[1:])


@command("touch", -2, "key [key ...]", "How many of these keys there are; nothing is noted", READ, touches_keys("read"),
         slow=True)
def touch(server, connection, arguments):
    return _existing(server, arguments[1:])


def _existing(server, keys_):
    counts = Counter(map(stream_of, keys_))
    return resp.integer(sum(count for name, count in counts.items() if exists(server.store, name)))


def _lasting(server, connection, arguments):
    """Of how long a key will be there: for ever, or it isn't."""
    return resp.integer(-1 if exists(server.store, stream_of(arguments[1])) else -2)


for _name in ("ttl", "pttl", "expiretime", "pexpiretime"):
    command(_name, 2, "key", "-1: a key stays; -2: it isn't there", READ, touches_key("read"), slow=True)(_lasting)


@command("persist", 2, "key", "0: no key has a time to live", READ, touches_key("read"), slow=True)
def persist(server, connection, arguments):
    return resp.integer(0)


_OBJECT = "ENCODING key | REFCOUNT key | IDLETIME key | FREQ key | HELP"


def _key_of_subcommand(server, arguments):
    """The stream of commands whose subcommands have a key behind them."""
    return [("read", "stream", stream_of(arguments[2]))] if len(arguments) > 2 else []


@command("object", -2, _OBJECT, "How a key is kept, and since when nothing came", READ, _key_of_subcommand, slow=True)
def object_command(server, connection, arguments):
    word = arguments[1].upper()
    if word == b"HELP" and len(arguments) == 2:
        return help_of("object", _OBJECT)
    if word not in _ABOUT_OBJECTS:
        raise CommandError(f"ERR unknown subcommand '{printable(arguments[1])}'. Try OBJECT HELP.")
    if len(arguments) != 3:
        raise CommandError(f"ERR wrong number of arguments for 'object|{word.decode().lower()}' command")
    name = stream_of(arguments[2])
    if not exists(server.store, name):
        return resp.null(connection.protocol)
    return _ABOUT_OBJECTS[word](server, name)


def _idle_time(server, name):
    """Seconds since the last event; since the server began where that isn't there any more."""
    store = server.store
    _, stop = store.bounds(name)
    last = id_at(store, name, stop - 1) if stop else None
    began = last[0] / 1000 if last else server.began
    return resp.integer(max(0, int(store.clock() / 1e6 - began)))


def _frequency(server, name):
    raise CommandError("ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that "
                       "when switching between policies at runtime LRU and LFU data will take some time to adjust.")


_ABOUT_OBJECTS = {
    b"ENCODING": lambda server, name: resp.bulk(b"stream"),
    b"REFCOUNT": lambda server, name: resp.integer(1),
    b"IDLETIME": _idle_time,
    b"FREQ": _frequency,
}


# -- what it takes -----------------------------------------------------------------------

_MEMORY = "USAGE key [SAMPLES count] | DOCTOR | STATS | HELP"


def _key_of_memory(server, arguments):
    return _key_of_subcommand(server, arguments) if arguments[1].lower() == b"usage" else []


@command("memory", -2, _MEMORY, "Bytes that a key's events have, or that the server takes", READ, _key_of_memory,
         words={b"doctor": ADMIN, b"stats": ADMIN, b"help": ""}, slow=True)
def memory(server, connection, arguments):
    word = arguments[1].upper()
    if word == b"USAGE":
        return _usage(server, connection, arguments)
    if word.decode("latin-1") not in subcommands(_MEMORY):
        raise CommandError(f"ERR unknown subcommand '{printable(arguments[1])}'. Try MEMORY HELP.")
    if len(arguments) != 2:
        raise CommandError(f"ERR wrong number of arguments for 'memory|{word.decode().lower()}' command")
    return {b"DOCTOR": _doctor, b"STATS": _stats, b"HELP": _help}[word](server, connection)


def _usage(server, connection, arguments):
    """Bytes of a key's events in the log: it is there that they are, and not in memory."""
    if len(arguments) not in (3, 5) or len(arguments) == 5 and arguments[3].upper() != b"SAMPLES":
        raise CommandError("ERR wrong number of arguments for 'memory|usage' command" if len(arguments) < 3 else
                           "ERR syntax error, expected: memory USAGE key [SAMPLES count]")
    if len(arguments) == 5 and not arguments[4].isdigit():
        raise CommandError(_NOT_AN_INTEGER)
    name = stream_of(arguments[2])
    if not exists(server.store, name):
        return resp.null(connection.protocol)
    try:
        info = server.store.info(name)
    except EventsLost as lost:
        raise CommandError(f"EVENTSLOST {lost.first} {lost.stop} {lost}") from None
    except CorruptSegment as damage:
        raise CommandError(f"CORRUPT {damage}") from None
    return resp.integer(info.bytes if info else 0)


def _doctor(server, connection):
    text = "Events are on disk and not in memory; INFO memory has what the process takes.\n"
    return resp.verbatim(text.encode(), connection.protocol)


def _stats(server, connection):
    found = process()
    count = server.store.stream_count()
    fields = [("peak.allocated", found.peak), ("total.allocated", found.memory), ("keys.count", count),
              ("keys.bytes-per-key", found.memory // max(1, count)), ("dataset.bytes", server.store.size)]
    return resp.mapping([(resp.bulk(name.encode()), resp.integer(value)) for name, value in fields],
                        connection.protocol)


def _help(server, connection):
    return help_of("memory", _MEMORY)
