"""The fast way from the log to a follower: frames without records.

    index ──> places ──> windows of a segment ──> record.gather ──> Frames
                 '─────> Recent and Blocks, where a stream is scattered ──^

It reads what `Log.read_stream` and `Log.read_all` read, and gives up where
anything is out of the ordinary (a compressed record, one larger than a window,
damage): then they read on, and say what it is.
"""

from bisect import bisect_left, bisect_right
from itertools import accumulate

from . import record
from .blocks import Blocks
from .record import Frames
from .segment import HEADER_SIZE, LONG_READ, SHORT_READ

# Places looked up at once, and how far apart they may be to be read at once.
PLACES_AT_ONCE = 512
CLOSE = 8 * 1024

# Ten small records that are read in a row take as long as one that is read by itself.  More are counted for that, so
# that who reads a stream once makes no block.
IN_A_ROW = 64

# Replays whose place is remembered from one slice to the next.
_MAX_PLACES = 4096


class Replays:
    """Slices of replays; see the top of this file.

    index           the log's
    segments        the log's
    firsts          the positions that they begin at
    memory          bytes that may be kept of what is read again and again; see blocks.py
    recent          events that were written last

    Any thread may call it.  Where a slice ended is remembered for the next one;
    a place that is lost, or used by another replay, costs a look-up.
    """

    def __init__(self, index, segments, firsts, memory, recent):
        self._index = index
        self._segments = segments
        self._firsts = firsts
        self._blocks = Blocks(index, memory)
        self._recent = recent
        self._places = {}       # (stream or None, key) -> (segment, byte) of the record that begins with it

    def read(self, stream, first, stop, limit):
        """The frames of about `limit` bytes of records from event `first` on, or None.

        stream   whose numbers these are, or None for positions
        The first and the last record may hold more than was asked for.
        Raises    IndexDamaged
        """
        slice_ = _Slice(stream, stop, limit, self._blocks, self._recent)
        follow = self._follow_stream if stream is not None else self._follow_all
        segment, byte = self._places.pop((stream, first), (None, 0))
        if segment is not None:
            slice_.begin(first)
            byte = slice_.gather(_Window(segment), byte, LONG_READ, stop)
        if slice_.key is None or slice_.wants_more:
            segment, byte = follow(slice_, first, segment, byte)
        if slice_.key is None or slice_.key <= first:
            return None
        if byte is not None:
            if len(self._places) >= _MAX_PLACES:
                self._places.clear()
            self._places[stream, slice_.key] = segment, byte
        return Frames(slice_.first, slice_.key, slice_.parts, slice_.tails)

    def forget(self):
        """Where slices ended: a segment was replaced.  Called while nobody reads."""
        self._places.clear()
        self._blocks.forget()
        self._recent.forget()

    def _follow_stream(self, slice_, first, segment, byte):
        """Gather by the stream's places, of which each stretch of its records has one."""
        while slice_.key is None or slice_.wants_more:
            number = first if slice_.key is None else slice_.key
            found = self._index.places(slice_.stream, number, PLACES_AT_ONCE)
            if found is None:
                break
            sequence, places = found
            if slice_.key is None:
                slice_.begin(places[0][0])      # the record with `first` may begin before it
            segment = self._segments[sequence]
            window = _Window(segment)
            i = 0
            while i < len(places) and places[i][0] == slice_.key and slice_.wants_more:
                place = places[i][1]
                # To the next place; from the last one as far as it goes.
                until, following = places[i + 1] if i + 1 < len(places) else (slice_.stop, None)
                if slice_.pick(segment, place):
                    byte = None     # events are also before the one that follows these
                elif following is None or following - place < CLOSE:
                    byte = slice_.gather(window, place, SHORT_READ if following is None else LONG_READ, until)
                else:
                    byte = slice_.gather_one(segment, place)
                    # Up to the next place the stream's records follow one another; behind the last are others'.
                    byte = slice_.gather(window, byte, LONG_READ, until) if slice_.key < until else None
                i = bisect_left(places, (slice_.key,), i + 1)
            if slice_.key == number:
                break
        return segment, byte

    def _follow_all(self, slice_, first, segment, byte):
        """Gather from front to back."""
        while slice_.key is None or slice_.wants_more:
            position = first if slice_.key is None else slice_.key
            segment = self._segments[bisect_right(self._firsts, position) - 1]
            if slice_.key is None:
                at, byte = self._index.mark_at(segment.sequence, first) or (segment.header.first, HEADER_SIZE)
                slice_.begin(at)
            else:
                byte = HEADER_SIZE      # of the next segment
            byte = slice_.gather(_Window(segment), byte, LONG_READ, slice_.stop)
            if byte < segment.end or slice_.key == position:
                break
        return segment, byte


class _Slice:
    """What one slice has gathered so far.

    first, key   of its first event, and of the next one; None before it has begun
    """

    def __init__(self, stream, stop, limit, blocks, recent):
        self.stream = stream
        self.stop = stop
        self.first = None
        self.key = None
        self.parts = []
        self.tails = []
        self._wanted = None if stream is None else record.wanted(stream)
        self._room = limit
        self._blocks = blocks
        self._has_made = False
        self._recent = recent

    @property
    def wants_more(self):
        return self.key < self.stop and self._room > 0

    def begin(self, key):
        self.first = self.key = key

    def take(self, segment, byte):
        """Take the events that follow from the block with the record at `byte`, if there is one with them; the byte
        after them, or None.

        A slice makes one block at most, so that others have their turn.
        """
        block = self._blocks.get(segment, byte)
        if block is None:
            if self._has_made or not self._blocks.is_wanted(segment, byte):
                return None
            self._has_made = True
            block = self._blocks.make(segment, byte)
        stretch = block.get(self.stream)
        if stretch is None or not stretch.first <= self.key < stretch.stop:
            return None
        _, self.key, data, ends, behind = stretch.since(self.key)
        self.parts.append(data)
        self.tails.append((len(data), ends))
        self._room -= len(data)
        return behind

    def pick(self, segment, byte):
        """Take the events that follow, if they were written not long ago; `byte` is where the first one's record is.

        Whether there were any.
        """
        frames = self._recent.get(self.stream, segment, byte)
        if frames is None:
            return False
        first = record.number_of(frames[0], self._wanted)
        some = frames[self.key - first:self.stop - first] if first <= self.key else ()
        if not some:
            return False
        most = bisect_left(list(accumulate(map(len, some))), self._room) + 1
        some = some[:most]
        data, ends = record.join_frames(some)
        self.parts.append(data)
        self.tails.append((len(data), ends))
        self.key += len(some)
        self._room -= len(data)
        return True

    def gather_one(self, segment, byte):
        """Take the events in the record at `byte`, if it is plain; the byte after what was taken."""
        behind = self.take(segment, byte)
        if behind is not None:
            return behind
        buffer = segment.files.read(segment.fd, min(SHORT_READ, segment.end - byte), byte)
        key = self.key
        size, self.key = record.gather(buffer, 0, byte, segment.salt, segment.checked, self._wanted,
                                       key, key + 1, self.parts, self.tails)
        if self.key > key:
            self._blocks.count(segment, byte, 1)
            self._room -= self.tails[-1][0] * (self.key - key)
        return byte + size

    def gather(self, window, byte, span, until):
        """Take records from `byte` on as far as they follow, to the key `until`; the byte after them."""
        until = min(until, self.stop)
        segment = window.segment
        while self.key < until and self._room > 0:
            if self.stream is not None:
                behind = self.take(segment, byte)
                if behind is not None:
                    byte = behind
                    continue
            begin = window.at(byte, span)
            records = len(self.parts)
            at, key = record.gather(window.bytes, begin, window.base, segment.salt, segment.checked, self._wanted,
                                    self.key, until, self.parts, self.tails)
            if at == begin:
                if window.base == byte and not window.may_grow:
                    break               # it isn't the end of the window that is in the way
                window.load(byte, LONG_READ)
                continue
            if key > self.key:      # what has no event takes no room
                self._room -= window.base + at - byte
                if self.stream is not None:
                    self._count(segment, byte, len(self.parts) - records, at - begin)
            byte = window.base + at
            self.key = key
            span = LONG_READ
        return byte

    def _count(self, segment, byte, records, size):
        """Have it known that so many records were read, one behind the other, which takes less time."""
        if size < record.LONG_BODY * records:
            self._blocks.count(segment, byte, records / IN_A_ROW)


class _Window:
    """Some bytes of a segment, from byte `base` on."""

    def __init__(self, segment):
        self.segment = segment
        self.base = 0
        self.bytes = b""
        self._end = segment.end

    def at(self, byte, span):
        """Where `byte` is in `bytes`; `span` bytes are read if it isn't there."""
        at = byte - self.base
        if not 0 <= at <= len(self.bytes) - record.HEADER_SIZE:
            self.load(byte, span)
            at = 0
        return at

    @property
    def may_grow(self):
        return len(self.bytes) < min(LONG_READ, self._end - self.base)

    def load(self, byte, span):
        span = max(0, min(span, self._end - byte))
        self.bytes = self.segment.files.read(self.segment.fd, span, byte)
        self.base = byte
        if len(self.bytes) < span:      # the file lost its end: there is no more to wait for
            self._end = byte + len(self.bytes)
