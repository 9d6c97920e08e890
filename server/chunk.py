"""Consecutive events on their way to followers, in the form that they asked for.

    records of the log ──> Chunk(first, stop, form, data, keys) ──> outbox

A key is an event's number, for a stream's followers, or its position, for those
of `$all` and of a prefix.  `data` has a frame for each event: the bytes that the
log holds, unless the follower wants more (`recorded`) or speaks RESP3 (pushes).

Events may be left out: those that a filter doesn't pass, and those that are no
more.  Where the latter happens to a follower without a filter, a frame stands
before the next event that says so, as `follow` promises:

    *3 +checkpoint +KEY :key    all before `key` was looked at
    *3 +caught-up +KEY :key     the same, and all that was there was sent

Subscribers of channels, as Redis has them, get data alone, and no events that were redacted:

    *3 $message $CHANNEL $data
    *4 $pmessage $PATTERN $CHANNEL $data
"""

from bisect import bisect_right
from itertools import accumulate, groupby
from operator import itemgetter
from typing import NamedTuple, Optional

from store.filter import Filter
from store.names import ALL
from store.record import CUT, REDACTED

from .globs import Glob
from .keys import key_of

CHECKPOINT = b"checkpoint"
CAUGHT_UP = b"caught-up"


class Form(NamedTuple):
    """What frames look like, and which events have one.

    recorded   the long form of `follow`, with position, id, metadata and time
    push       RESP3
    filter     None: all events
    opening    what the frames of a channel's subscribers begin with, behind the first byte; b"" for all others
    glob       which channels those are, of the streams that the filter passes; None: all
    """

    recorded: bool
    push: bool
    filter: Optional[Filter] = None
    opening: bytes = b""
    glob: Optional[Glob] = None

    @property
    def as_stored(self):
        """Whether its frames are those of the log, but for the first byte."""
        return not self.recorded and self.filter is None and not self.opening


class Chunk:
    """Frames in one form of the events with keys in [first, stop), those that it leaves out excepted.

    count   of the frames

    Made by the functions below.
    """

    __slots__ = ("first", "stop", "form", "data", "count", "_ends", "_keys")

    def __init__(self, first, stop, form, data, ends, keys=None):
        self.first = first
        self.stop = stop
        self.form = form
        self.data = data
        self.count = stop - first if keys is None else len(keys)
        self._ends = ends           # where each frame ends in `data`, or a function that works it out
        self._keys = keys           # the key of each frame, rising, or None: none is left out

    @property
    def ends(self):
        """Where each frame ends in `data`: needed only if the data isn't sent as a whole."""
        if callable(self._ends):
            self._ends = self._ends()
        return self._ends

    def cut(self, taken):
        """(frames of which some of the first `taken` bytes are, the byte where the last of them ends)."""
        if not taken:
            return 0, 0
        begun = bisect_right(self.ends, taken - 1) + 1
        return begun, self.ends[begun - 1]

    def key_after(self, begun):
        """The key to go on from when the first `begun` frames were sent."""
        if begun == self.count:
            return self.stop
        return self.first + begun if self._keys is None else self._keys[begun]

    def told_by(self, begun):
        """The key behind the last event of the first `begun` frames, at least one: all that their reader knows of."""
        return self.first + begun if self._keys is None else self._keys[begun - 1] + 1

    def between(self, first, stop):
        """The part of it with keys in [first, stop)."""
        if first <= self.first and stop >= self.stop:
            return self
        first, stop = max(first, self.first), min(stop, self.stop)
        keys = range(self.first, self.stop) if self._keys is None else self._keys
        start = _count_below(keys, first)
        end = _count_below(keys, stop)
        ends = self.ends
        base = ends[start - 1] if start else 0
        data = self.data[base:ends[end - 1] if end else 0]
        return Chunk(first, stop, self.form, data, [e - base for e in ends[start:end]], keys[start:end])


def _count_below(keys, key):
    return bisect_right(keys, key - 1)


def chunk_of(records, first, stop, by_position, form):
    """The events of `records` with keys in [first, stop) as a Chunk in `form`.

    The records are in order, and what is between them is no more; so are the
    events of those that are CUT.  A chunk that ends before `stop` says so.
    """
    parts = []
    reached = stop
    for one in records:
        base = one.position if by_position else one.number
        begin, end = max(0, first - base), min(one.count, stop - base)
        if begin < end:
            reached = base + end
            if one.kind != CUT:
                parts.append((one, begin, end))
    stop = reached
    if not form.as_stored:
        return _encoded(parts, first, stop, by_position, form)
    data = b"".join([one.frames(begin, end) for one, begin, end in parts])
    chunk = Chunk(first, stop, form, data, lambda: _ends_of(parts), _keys_of(parts, first, stop, by_position))
    return _as_pushes(chunk) if form.push else chunk


def _keys_of(parts, first, stop, by_position):
    """The key of each event, or None if they are all of [first, stop)."""
    if sum([end - begin for _, begin, end in parts]) == stop - first:
        return None
    keys = []
    for one, begin, end in parts:
        base = one.position if by_position else one.number
        keys += range(base + begin, base + end)
    return keys


def _ends_of(parts):
    """Where the frames end in the data of (record, its first event here, the one after its last), …"""
    ends = []
    base = 0
    for one, start, stop in parts:
        skipped = one.ends[start - 1] if start else 0
        ends += [base + end - skipped for end in one.ends[start:stop]]
        base = ends[-1]
    return ends


def chunk_of_frames(frames, first, stop, form):
    """The same of Frames, for forms that are the bytes of the log, or nearly so."""
    chunk = Chunk(frames.first, frames.stop, form, frames.data, lambda: frames.ends).between(first, stop)
    return _as_pushes(chunk) if form.push else chunk


def chunk_at_hand(frames, first, form):
    """The same of a draft's frames that follow one another, the first with the key `first`; none is left out."""
    if form.opening:
        frames = [_message(frame, form) for frame in frames]
    if len(frames) == 1:
        data = bytes(frames[0])
        chunk = Chunk(first, first + 1, form, data, (len(data),))
    else:
        data = b"".join(map(bytes, frames))
        chunk = Chunk(first, first + len(frames), form, data, lambda: list(accumulate(map(len, frames))))
    return _as_pushes(chunk) if form.push else chunk


def _as_pushes(chunk):
    if not chunk.count:
        return chunk
    data = bytearray(chunk.data)
    for start in [0, *chunk.ends[:-1]]:
        data[start] = 62        # ">" instead of "*"
    chunk.data = bytes(data)
    return chunk


def chunk_of_found(found, first, stop, by_position, form):
    """The same of what a Page of store.reading found, [(Record, which of its events), …]."""
    frames, keys = [], []
    for one, some in groupby(found, itemgetter(0)):
        events = [i for _, i in some]
        if form.opening:
            events = _for_channels(one, events, form.glob)
        base = one.position if by_position else one.number
        frames += _frames(one, events, form)
        keys += [base + i for i in events]
    ends = list(accumulate(map(len, frames)))
    return Chunk(first, max(stop, keys[-1] + 1) if keys else stop, form, b"".join(frames), ends, keys)


def notice(kind, name, key, form):
    """A Chunk without events that says how far a follower of `name` is: CHECKPOINT or CAUGHT_UP."""
    data = _notice(kind, name, key, form)
    return Chunk(key, key, form, data, (len(data),), (key,))


def _notice(kind, name, key, form):
    return b"%b3\r\n+%b\r\n+%b\r\n:%d\r\n" % (b">" if form.push else b"*", kind, name, key)


def _encoded(parts, first, stop, by_position, form):
    """A Chunk whose frames are made one by one."""
    frames, keys = [], []
    expected = first
    for one, begin, end in parts:
        base = one.position if by_position else one.number
        if form.filter is None:
            events = range(begin, end)
            if base + begin != expected and not form.opening:
                frames.append(_notice(CHECKPOINT, ALL if by_position else one.stream, base + begin, form))
                keys.append(base + begin)
            expected = base + end
        else:
            events = form.filter.passing(one, begin, end)
        if form.opening:
            events = _for_channels(one, events, form.glob)
        frames += _frames(one, events, form)
        keys += [base + i for i in events]
    ends = list(accumulate(map(len, frames)))
    return Chunk(first, stop, form, b"".join(frames), ends, keys)


def _frames(one, events, form):
    """Yield the frame of each of `events`, counted from the record's own first."""
    kind = b">" if form.push else b"*"
    if form.opening:
        for i in events:
            yield _message(one.frames(i, i + 1), form)
        return
    if not form.recorded:
        for i in events:
            yield kind + bytes(one.frames(i, i + 1))[1:]
        return
    yield from recorded(one, events, kind)


def recorded(one, events, kind=b"*"):
    """Yield the long form of each of `events`, counted from the record's own first: arrays, or pushes (">")."""
    details, clocks = one.details(), one.clocks
    head = b"%b9\r\n+recorded\r\n" % kind
    for i in events:
        # *5 +event +STREAM :NUMBER +NAME $length DATA: from STREAM on it is kept.
        frame = bytes(one.frames(i, i + 1))
        id_, metadata, _ = details[i]
        yield b"%b:%d\r\n%b$%d\r\n%b\r\n$%d\r\n%b\r\n:%d\r\n" % (
            head, one.position + i, frame[_EVENT:], len(id_), id_, len(metadata), metadata, clocks[i])


_EVENT = len(b"*5\r\n+event\r\n")


def _for_channels(one, events, glob):
    """Those of `events` that subscribers of channels are told of: such that weren't redacted, of keys that match."""
    found = []
    for i in events:
        _, _, stream, _, _, length, _ = bytes(one.frames(i, i + 1)).split(b"\r\n", 6)
        redacted = length == b"$0" and one.details()[i][1] == REDACTED
        if not redacted and (glob is None or glob.matches(key_of(stream[1:]))):
            found.append(i)
    return found


def _message(frame, form):
    """What subscribers of channels get for an event's frame."""
    _, _, stream, _, _, length, data = bytes(frame).split(b"\r\n", 6)
    channel = key_of(stream[1:])
    return b"%b%b$%d\r\n%b\r\n%b\r\n%b" % (b">" if form.push else b"*", form.opening, len(channel), channel, length,
                                           data)
