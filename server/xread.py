"""Redis's commands that read entries: XRANGE, XREVRANGE, XREAD.

    start end    ids ──> numbers first, stop ──> pages of the stream ──> [id, [field, value, …]] each
    key id …     id ──> the number behind it ──> pages ──> a reply, or a read that waits (blocked.py)

An id names its number (entries.py), so what an id has before it isn't looked for.  What COUNT
doesn't bound is bounded by MOST_BYTES: a reply is whole, or it is an error that says so.
"""

import re

import resp
from store.filter import Filter
from store.reading import Selection, page
from store.record import CUT

from .blocked import deadline_of
from .entries import (
    MAX_ID,
    entries_in,
    entry_at,
    id_at,
    id_at_hand,
    number_from,
    parse_end,
    parse_id,
    parse_start,
)
from .keys import exists, stream_of, touches_key
from .reading import told
from .table import CommandError, at_once, command, why_not
from .users import READ

# What one reply has at most.
MOST_BYTES = 128 << 20
# Entries of a reply that is made in the poller's thread.
AT_ONCE = 256

# Bytes that are read at once, and for who asks for a few: he will ask on.
_STEP = 256 * 1024
_AHEAD = 64 * 1024

SYNTAX = "ERR syntax error"
_NOT_A_NUMBER = "ERR value is not an integer or out of range"
_TIMEOUT = "ERR timeout is not an integer or out of range"
_GREATER = ("ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option.")
_UNBALANCED = ("ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified.")
_ONLY_GROUPS = "ERR The {} option is only supported by XREADGROUP. You called XREAD instead."
_INTEGER = re.compile(rb"(0|-?[1-9][0-9]{0,18})\Z")
_EVERY = Filter(b"", frozenset())


@command("xrange", -4, "key start end [COUNT count]", "Entries of a stream from one id to another", READ,
         touches_key(READ), slow=True)
def xrange(server, connection, arguments):
    return _range(server, connection, arguments, arguments[2], arguments[3], back=False)


@command("xrevrange", -4, "key end start [COUNT count]", "The same the other way, the last one first", READ,
         touches_key(READ), slow=True)
def xrevrange(server, connection, arguments):
    return _range(server, connection, arguments, arguments[3], arguments[2], back=True)


def _range(server, connection, arguments, start, end, back):
    first, last = parse_start(start), parse_end(end)
    count = None
    for i in range(4, len(arguments), 2):
        if arguments[i].upper() != b"COUNT" or i + 1 == len(arguments):
            raise CommandError(SYNTAX)
        count = max(0, parse_integer(arguments[i + 1]))
    store, stream = server.store, stream_of(arguments[1])
    if count == 0 and exists(store, stream):
        return resp.null_array(connection.protocol)
    if first > last:
        return resp.array([])
    behind = parse_id(start[1:]) if start[:1] == b"(" else None
    begin = number_from(store, stream, *first) if behind is None else number_behind(store, stream, behind)
    return resp.array(Entries(count).between(store, stream, begin, _stop_of(store, stream, last), back))


def _stop_of(store, stream, last):
    """The number behind the last event whose id is `last` or less."""
    return store.bounds(stream)[1] if last == MAX_ID else number_behind(store, stream, last)


def number_behind(store, stream, id_):
    """The number of the first event of a stream whose id is more than `id_`; its next number if there is none."""
    first, stop = store.bounds(stream)
    ms, seq = id_
    if seq < stop and id_at(store, stream, seq) == id_:
        return seq + 1
    begun = id_at(store, stream, first)
    if first == stop or begun is not None and begun > id_:
        return first
    return number_from(store, stream, ms, seq + 1) if id_ != MAX_ID else stop


@at_once("xrange")
def _xrange_at_once(server, connection, arguments):
    if len(arguments) != 6 or arguments[4].upper() != b"COUNT":
        return None
    store, stream, start, end = server.store, stream_of(arguments[1]), arguments[2], arguments[3]
    known = store.find(stream)
    if known is None:
        return None
    first = known.first if start == b"-" else _number_at_hand(store, stream, start[1:] if start[:1] == b"(" else start)
    stop = known.visible if end == b"+" else _number_at_hand(store, stream, end)
    if first is None or stop is None:
        return None
    first, stop = first + (start[:1] == b"("), stop + (end != b"+")
    found = _at_hand(store, known, first, stop, parse_integer(arguments[5]))
    return resp.array(found) if found else None


def _number_at_hand(store, stream, text):
    """The number of the event with just this id, if it was read lately; else None."""
    id_ = parse_id(text)
    return id_[1] if id_at_hand(store, stream, id_[1]) == id_ else None


def _at_hand(store, known, first, stop, count):
    """The first `count` entries [first, stop) of a Stream, as RESP, if they are few and were read lately; else None."""
    if not 0 < count <= AT_ONCE:
        return None
    found = []
    stop = min(stop, first + count)
    while first < stop:
        runs = store.at_hand(known, first, stop)
        if not runs:
            return None
        for one in runs:
            begin, end = first - one.number, min(one.count, stop - one.number)
            some = entries_in(one, begin, end) if one.kind != CUT else ()
            if len(some) < end - begin:     # others come in their place
                return None
            found += some
            first += end - begin
    return found


class Entries:
    """Entries on their way into one reply.

    count   of each stream at most, None: all
    """

    def __init__(self, count):
        self._count = count
        self._size = 0

    def between(self, store, stream, first, stop, back=False):
        """The entries [first, stop) of a stream, by their numbers, as RESP.

        Raises    CommandError    they are lost, or too much for one reply
        """
        found = []
        for some in self._back(store, stream, first, stop) if back else self._forwards(store, stream, first, stop):
            found += some
            self._size += sum(map(len, some))
            if self._size > MOST_BYTES:
                raise CommandError(f"ERR the reply has more than {MOST_BYTES >> 20} MiB; read it in parts: with COUNT, "
                                   "from the id behind the last one on")
            if len(found) == self._count:
                break
        return found

    def _forwards(self, store, stream, first, stop):
        """Yield entries, some at a time, until there are enough."""
        known = store.find(stream)
        left = stop - first if self._count is None else self._count
        keep = left <= AT_ONCE
        while first < stop and left:
            runs = store.at_hand(known, first, min(stop, first + left)) or told(
                store.records, known, first, stop, _AHEAD if keep else _STEP, keep)
            for one in runs:
                begin, end = first - one.number, min(one.count, stop - one.number)
                first += end - begin
                while begin < end and left and one.kind != CUT:
                    some = entries_in(one, begin, min(end, begin + left))
                    begin += left
                    left -= len(some)
                    yield some
                if not left:
                    return

    def _back(self, store, stream, first, stop):
        selection = Selection(stream, _EVERY)
        key, left = stop - 1, stop - first if self._count is None else self._count
        while first < stop and left and key is not None:
            some, key = told(page, store, selection, key, min(stop - first, left), back=True)
            entries = [entry_at(one, i) for one, i in some if first <= one.number + i < stop]
            entries = [one for one in entries if one is not None]
            left -= len(entries)
            stop = first if key is None else key + 1
            yield entries


# -- XREAD ---------------------------------------------------------------------------------

def _touched(server, arguments):
    keys, _, _, _ = _parsed(arguments)
    return [(READ, "stream", stream_of(key)) for key in keys]


@command("xread", -4, "[COUNT count] [BLOCK milliseconds] STREAMS key [key ...] id [id ...]",
         "Entries of streams behind the ids given; with BLOCK it waits for the first one", READ, _touched, slow=True)
def xread(server, connection, arguments):
    """With nothing there and BLOCK, the reply comes later: see blocked.py."""
    keys, ids, count, block = _parsed(arguments)
    places = [_place(server.store, key, id_) for key, id_ in zip(keys, ids)]
    read = _Read(server.store, places, count or None, connection.protocol, block)
    reply = read.look()
    if reply is not None or block is None:
        return read.nothing() if reply is None else reply
    server.blocked.add(connection, read)
    server.blocked.refuse_unless_permitted(connection)      # who changed its user may have looked before it was there
    return None


@at_once("xread")
def _xread_at_once(server, connection, arguments):
    keys, ids, count, block = _parsed(arguments)
    if len(keys) > 1 or not count:
        return None
    store, stream = server.store, stream_of(keys[0])
    known = store.find(stream)
    if known is None or ids[0] in (b"$", b">"):
        return None
    before = -1 if parse_id(ids[0]) == (0, 0) else _number_at_hand(store, stream, ids[0])
    if before is None:
        return None
    first = max(before + 1, known.first)
    if first >= known.visible:
        return resp.null_array(connection.protocol) if block is None and before >= 0 else None
    found = _at_hand(store, known, first, known.visible, count)
    return _reply([(resp.bulk(keys[0]), resp.array(found))], connection.protocol) if found else None


def _reply(found, protocol):
    """The reply to an XREAD that has found something: [(key, entries), …] in RESP."""
    return resp.mapping(found, 3) if protocol == 3 else resp.array([resp.array(pair) for pair in found])


def _parsed(arguments):
    """(keys, ids, COUNT or None, BLOCK or None) of an XREAD.  Raises CommandError."""
    count = block = None
    i = 1
    while i < len(arguments):
        word, left = arguments[i].upper(), len(arguments) - i - 1
        if word == b"STREAMS" and left:
            if left % 2:
                raise CommandError(_UNBALANCED)
            names = arguments[i + 1:]
            return names[:left // 2], names[left // 2:], count, block
        if word == b"BLOCK" and left:
            block = parse_integer(arguments[i + 1], _TIMEOUT)
            if block < 0:
                raise CommandError("ERR timeout is negative")
        elif word == b"COUNT" and left:
            count = max(0, parse_integer(arguments[i + 1]))
        elif word == b"NOACK" or word == b"GROUP" and left >= 2:
            raise CommandError(_ONLY_GROUPS.format(word.decode()))
        else:
            raise CommandError(SYNTAX)
        i += 2
    raise CommandError(SYNTAX)


def parse_integer(text, why=_NOT_A_NUMBER):
    """A number that may be negative.  Raises CommandError with the text `why`."""
    if not _INTEGER.match(text) or not -1 << 63 <= int(text) < 1 << 63:
        raise CommandError(why)
    return int(text)


class _Place:
    """Where the reading of one stream begins.

    number   of the first event to read; None as long as it depends on what comes: see `id`
    id       the event's id is more than this
    """

    __slots__ = ("key", "stream", "number", "id")

    def __init__(self, key, number, id_=None):
        self.key = key
        self.stream = stream_of(key)
        self.number = number
        self.id = id_

    def first(self, store):
        """The number of the first event to read; the stream's next one if there is none."""
        if self.number is not None:
            return self.number
        found, stop = number_behind(store, self.stream, self.id), store.bounds(self.stream)[1]
        if found < stop or self.id[1] < stop and id_at(store, self.stream, self.id[1]) == self.id:
            self.number = found
        return found


def _place(store, key, id_):
    if id_ == b"$":
        return _Place(key, store.bounds(stream_of(key))[1])
    if id_ == b">":
        raise CommandError(_GREATER)
    return _Place(key, None, parse_id(id_))


class _Read:
    """An XREAD, which may wait; see blocked.py."""

    due = None

    def __init__(self, store, places, count, protocol, block):
        self.streams = list(dict.fromkeys(place.stream for place in places))
        self.deadline = deadline_of(block or 0)
        self._store = store
        self._places = places
        self._count = count
        self._protocol = protocol

    def look(self):
        entries = Entries(self._count)
        found = []
        for place in self._places:
            first, stop = place.first(self._store), self._store.bounds(place.stream)[1]
            some = entries.between(self._store, place.stream, first, stop) if first < stop else ()
            if some:
                found.append((resp.bulk(place.key), resp.array(some)))
        return _reply(found, self._protocol) if found else None

    def nothing(self):
        return resp.null_array(self._protocol)

    def undo(self):
        """Nothing was taken."""

    def why_not(self, user):
        return why_not(user, "xread", READ, [(READ, "stream", stream) for stream in self.streams]) if user else \
            "NOAUTH the read has ended: nobody is logged in any more"
