"""The commands that read events without following them."""

from itertools import groupby
from operator import itemgetter

import resp
from store import CorruptSegment, EventsLost
from store.filter import Filter
from store.names import ALL, check_stream
from store.reading import Selection, page

from .chunk import recorded
from .selecting import parse_names, parse_selector, reads_selector, reads_stream
from .table import CommandError, checked, command, parse_number
from .users import READ

_PART = "<$all | STREAM name | PREFIX prefix> from|@microseconds|- count [NAMES n name [name ...]]"
_SYNTAX = "SELECTOR FROM COUNT [NAMES n name ...]"


@command("read", -4, _PART, "Events from a key, a time or the first one on, and the key to go on with", READ,
         reads_selector, slow=True)
def read(server, connection, arguments):
    return _read(server, connection, arguments, back=False)


@command("read-back", -4, _PART, "The same the other way, from the last one or a key down", READ,
         reads_selector, slow=True)
def read_back(server, connection, arguments):
    return _read(server, connection, arguments, back=True)


@command("read-last", -2, "<$all | STREAM name | PREFIX prefix>", "The last event of a stream, of a prefix or of all",
         READ, reads_selector, slow=True)
def read_last(server, connection, arguments):
    selector, rest = parse_selector(arguments[1:])
    if rest:
        raise CommandError("ERR syntax error, expected: read-last SELECTOR")
    selection = _selection(selector, frozenset())
    found, following = told(page, server.store, selection, None, 1, back=True)
    while not found and following is not None:      # the pages that end the log may hold none
        found, following = told(page, server.store, selection, following, 1, back=True)
    return _frames(found)[0] if found else resp.null(connection.protocol)


@command("stream-info", 2, "stream", "What is known of a stream: numbers, count, bytes, times", READ, reads_stream,
         slow=True)
def stream_info(server, connection, arguments):
    checked(check_stream, arguments[1])
    info = told(server.store.info, arguments[1])
    if info is None:
        return resp.null(connection.protocol)
    return resp.mapping([(resp.bulk(name.replace("_", "-").encode()), _integer(value, connection))
                         for name, value in info._asdict().items()], connection.protocol)


def _read(server, connection, arguments, back):
    selector, rest = parse_selector(arguments[1:])
    names = frozenset()
    if len(rest) > 2 and rest[2].upper() == b"NAMES":
        names, rest[2:] = parse_names(rest[3:])
    if len(rest) != 2:
        raise CommandError(f"ERR syntax error, expected: {arguments[0].decode().lower()} {_SYNTAX}")
    selection = _selection(selector, names)
    key = _parse_from(server.store, selection, rest[0])
    count = parse_number(rest[1], "COUNT")
    found, following = told(page, server.store, selection, key, count, back)
    return resp.array([_integer(following, connection), resp.array(_frames(found))])


def _selection(selector, names):
    kind, key = selector
    if kind == "prefix":
        return Selection(None, Filter(key, names))
    return Selection(None if key == ALL else key, Filter(b"", names))


def _parse_from(store, selection, text):
    """The key that FROM stands for; None for `-`, the end where reading begins."""
    if text == b"-":
        return None
    if not text.startswith(b"@"):
        return parse_number(text, "FROM")
    time = parse_number(text[1:], "the time in FROM")
    if selection.stream is None:
        return store.position_at(time)
    return store.number_at(selection.stream, time)


def told(read, *arguments, **more):
    """What `read` returns.  Raises CommandError, with a code for what programs branch on."""
    try:
        return read(*arguments, **more)
    except EventsLost as lost:
        raise CommandError(f"EVENTSLOST {lost.first} {lost.stop} {lost}") from None
    except CorruptSegment as damage:
        raise CommandError(f"CORRUPT {damage}") from None


def _frames(found):
    frames = []
    for one, events in groupby(found, key=itemgetter(0)):
        frames += recorded(one, [i for _, i in events])
    return frames


def _integer(value, connection):
    return resp.null(connection.protocol) if value is None else resp.integer(value)
