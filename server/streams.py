"""The commands that MeiliES has for streams, but for those that follow them (following.py).

PUBLISH is Redis's as well, with two arguments: a channel, which is a key, and a message.
"""

from itertools import count
from typing import NamedTuple

import resp
from store import ANY
from store.append import Append
from store.names import ALL, check_name, check_stream

from .appending import BATCHED
from .keys import stream_of
from .selecting import reads_stream
from .table import CommandError, checked, command, parse_number
from .text import printable
from .users import APPEND, READ

# Names that one search gives at most, and without a COUNT; and how many it looks at, in portions.
MOST_NAMES = 10000
_NAMES = 100
_PORTION = 4096
_PORTIONS = 16


# What an event is called that has no name of its own: such as Redis's PUBLISH makes.
MESSAGE = b"message"


class Message(Append):
    """A PUBLISH to a channel."""

    __slots__ = ("_channels",)

    def __init__(self, events, channels):
        super().__init__(events)
        self._channels = channels

    def reply(self, stored):
        """How many subscribers it is for, as Redis counts them: who follows in another way isn't among them."""
        return resp.integer(self._channels.receivers(self.events[0][0]))


def _published(server, arguments):
    return [("append", "stream", stream_of(arguments[1]) if len(arguments) == 3 else arguments[1])]


@command("publish", -3, "<stream name data | channel message>",
         "Store an event; answers when it is as safe as --sync says", APPEND, _published)
def publish(server, connection, arguments):
    """Says what is wrong; those that are right never come here but go to the store in batches."""
    event_of(arguments, server.limits)


def event_of(arguments, limits):
    """What an Append has of the event of a PUBLISH, with a name or, to a channel, without.  Raises CommandError."""
    if not 3 <= len(arguments) <= 4:
        raise CommandError("ERR wrong number of arguments for 'publish' command; usage: publish <stream name data | "
                           "channel message>")
    stream, name = arguments[1], arguments[-2] if len(arguments) == 4 else MESSAGE
    if len(arguments) == 3:
        stream = stream_of(stream)
    checked(check_stream, stream)
    checked(check_name, name)
    data = bytes(arguments[-1])
    if len(data) > limits.max_event_size:
        raise CommandError(f"ERR data of {len(data)} bytes, expected no more than {limits.max_event_size}")
    return stream, ANY, name, data, b"", b"", b""


def _message_of(server, connection, arguments):
    """(The Append of a PUBLISH to a channel, bytes of it); those with a name come as runs."""
    return Message([event_of(arguments, server.limits)], server.feeds.channels), sum(map(len, arguments))


BATCHED[b"publish"] = _message_of


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
