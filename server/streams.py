"""The commands that MeiliES has for streams, but for those that publish and follow (publishing.py, following.py)."""

from itertools import count
from typing import NamedTuple

import resp
from store.names import ALL, check_stream

from .selecting import reads_stream
from .table import CommandError, checked, command, parse_number
from .text import printable
from .users import READ

# Names that one search gives at most, and without a COUNT; and how many it looks at, in portions.
MOST_NAMES = 10000
_NAMES = 100
_PORTION = 4096
_PORTIONS = 16


@command("last-event-number", 2, "stream", "The number of a stream's last event; of $all, its position",
         READ, reads_stream)
def last_event_number(server, connection, arguments):
    name = arguments[1]
    if name == ALL:
        position = server.store.position
        last = position - 1 if position else None
    else:
        checked(check_stream, name)
        last = server.store.last_number(name)
    number = resp.null(connection.protocol) if last is None else resp.integer(last)
    return resp.array([b"+last-event-number\r\n", resp.simple(name), number])


@command("stream-names", -1, "", "The names of all streams that have an event, sorted", READ, slow=True)
def stream_names(server, connection, arguments):
    names = server.store.names()
    if not connection.user.sees_everything:
        names = filter(connection.user.may_see, names)
    return resp.array([b"+stream-names\r\n", *map(resp.simple, names)])


class _Search(NamedTuple):
    """The arguments of search-streams."""

    prefix: bytes = b""
    containing: bytes = b""
    after: bytes = b""
    count: int = _NAMES


@command("search-streams", -1, "[PREFIX p] [CONTAINING text] [AFTER name] [COUNT n]",
         "Names of streams that have an event, sorted, and the one to go on after", READ, slow=True)
def search_streams(server, connection, arguments):
    """It looks at a bounded number of names, so it may find few, or none, and yet say after which to go on.

    For a user who may not see all it looks on until that is a name that he may see.
    """
    may_see = connection.user.may_see
    search = _parse_search(arguments[1:])
    text, after, found = search.containing.lower(), search.after, []
    for portion in count(1):
        names = server.store.names_beginning(search.prefix, _PORTION, after)
        found += [name for name in names if text in name.lower() and may_see(name) and _has_event(server.store, name)]
        after = names[-1] if len(names) == _PORTION else None
        if after is None or len(found) >= search.count or (portion >= _PORTIONS and may_see(after)):
            break
    if len(found) > search.count or after is not None and len(found) == search.count:
        del found[search.count:]
        after = found[-1]
    following = resp.null(connection.protocol) if after is None else resp.bulk(after)
    return resp.array([following, resp.array(list(map(resp.bulk, found)))])


def _has_event(store, name):
    first, stop = store.bounds(name)
    return first < stop


def _parse_search(options):
    """Raises CommandError."""
    chosen = {}
    while options:
        word = options[0].lower().decode("utf-8", "replace")
        if word not in _Search._fields or word in chosen or len(options) < 2:
            raise CommandError(f"ERR found '{printable(options[0])}', expected each of PREFIX p, CONTAINING text, "
                               f"AFTER name and COUNT n no more than once")
        chosen[word], options = options[1], options[2:]
    if "count" in chosen:
        chosen["count"] = parse_number(chosen["count"], "COUNT")
        if not 0 < chosen["count"] <= MOST_NAMES:
            raise CommandError(f"ERR COUNT is {chosen['count']}, expected 1 to {MOST_NAMES}")
    return _Search(**chosen)
