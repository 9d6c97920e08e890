"""The commands for events with tags: reading by a query, appending if nothing matches one.

    QUERY = ITEM n name ... m tag ... [ITEM ...]        any item; of each one of its names, all of its tags

An append with a condition may take a long look at the log, so a worker does it, and
the poller hears of what it stored.
"""

import resp
from store import Condition, CorruptSegment, EventsLost, Query, StoreError
from store.append import append_of

from .chunk import recorded
from .committer import error_reply, reply_to
from .table import READS_ALL, CommandError, command, parse_number
from .text import printable
from .users import APPEND, READ

_READ = "dcb-read after|- count [ITEM n [name ...] m [tag ...] ...]"
_APPEND = ("dcb-append n stream name data id metadata m [tag ...] [stream name data id metadata m [tag ...] ...] "
           "[UNLESS after|- [ITEM n [name ...] m [tag ...] ...]]")


def _reads_all(server, arguments):
    return READS_ALL


def _appends(server, arguments):
    """The streams of its events; and every one to be read if there is a condition, which tells of any."""
    words = _Words(arguments[1:], _APPEND)
    streams = [words.change(server.limits)[0] for _ in range(words.number("n"))]
    return [*(("append", "stream", stream) for stream in streams), *(READS_ALL if words.left else ())]


@command("dcb-read", -3, _READ[len("dcb-read "):], "Events that match a query, in the order of positions", READ,
         _reads_all, slow=True)
def dcb_read(server, connection, arguments):
    words = _Words(arguments[1:], _READ)
    after = words.position()
    count = words.number("COUNT")
    query = words.query()
    if not count:
        raise CommandError("ERR COUNT is 0, expected 1 or more")
    stop = server.store.position
    found, first = _told(server.store.matching, query, 0 if after is None else after + 1, stop, count)
    events = [_event(one, i) for one, i in found]
    following = resp.null(connection.protocol) if first is None else resp.integer(first - 1)
    head = resp.integer(stop - 1) if stop else resp.null(connection.protocol)
    return resp.array([following, head, resp.array(events)])


@command("dcb-append", -7, _APPEND[len("dcb-append "):], "Store events with tags, all or none, unless others match",
         APPEND, _appends, slow=True)
def dcb_append(server, connection, arguments):
    words = _Words(arguments[1:], _APPEND)
    changes = [words.change(server.limits) for _ in range(words.number("n"))]
    condition = None
    if words.left:
        words.expect(b"UNLESS")
        after = words.position()
        condition = Condition(words.query(), after)
    try:
        append = append_of(changes)
    except ValueError as error:
        raise CommandError(f"ERR {error}") from None
    try:
        batch = _told(_write, server.store, append, condition)
    except StoreError as error:
        return error_reply(error)
    server.call_soon(lambda: server.feeds.committed(batch))
    return reply_to(append)


def _write(store, append, condition):
    batch = store.write([append], [append]) if condition is None else store.write_if(append, condition)
    store.commit(batch)
    return batch


def _event(one, i):
    [frame] = recorded(one, [i])
    [event] = one.events(i, i + 1)
    return resp.array([frame, resp.array(list(map(resp.bulk, event.tags)))])


def _told(function, *arguments):
    """What `function` returns.  Raises CommandError, with a code for what programs branch on."""
    try:
        return function(*arguments)
    except EventsLost as lost:
        raise CommandError(f"EVENTSLOST {lost.first} {lost.stop} {lost}") from None
    except CorruptSegment as damage:
        raise CommandError(f"CORRUPT {damage}") from None


class _Words:
    """The arguments of a request, taken one after the other.  Raises CommandError."""

    def __init__(self, words, syntax):
        self._words = words
        self._syntax = syntax
        self._at = 0

    @property
    def left(self):
        return self._at < len(self._words)

    def take(self):
        if not self.left:
            raise CommandError(f"ERR syntax error, expected: {self._syntax}")
        self._at += 1
        return self._words[self._at - 1]

    def expect(self, word):
        found = self.take()
        if found.upper() != word:
            raise CommandError(f"ERR found '{printable(found[:60])}', expected {word.decode()}: {self._syntax}")

    def number(self, what):
        return parse_number(self.take(), what)

    def position(self):
        """AFTER: a position, or None for `-`."""
        if self._words[self._at:self._at + 1] == [b"-"]:
            self._at += 1
            return None
        return self.number("AFTER")

    def some(self, what):
        """A number, and so many words."""
        return [self.take() for _ in range(min(self.number(what), len(self._words) + 1))]

    def query(self):
        """The Query that the rest is."""
        items = []
        while self.left:
            self.expect(b"ITEM")
            items.append((self.some("n, how many names"), self.some("m, how many tags")))
        try:
            return Query.of(items)
        except ValueError as error:
            raise CommandError(f"ERR {error}") from None

    def change(self, limits):
        """A Change of the next words."""
        stream, name, data, id_, metadata = [self.take() for _ in range(5)]
        if len(data) > limits.max_event_size:
            raise CommandError(f"ERR data of {len(data)} bytes, expected no more than {limits.max_event_size}")
        if len(metadata) > limits.max_metadata_size:
            raise CommandError(f"ERR metadata of {len(metadata)} bytes, expected no more than "
                               f"{limits.max_metadata_size}")
        return stream, (name, data, id_, metadata, self.some("m, how many tags"))
