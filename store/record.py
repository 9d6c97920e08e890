"""Consecutive events as bytes, a run of one stream or a pack of several: encode
them, decode them, or say why these bytes are not a record.  The only file that
knows what is inside.

     0       4      5      6       8        12      16        20      24
    +-------+------+------+-------+--------+-------+---------+-------+
    | magic | kind | zero | flags | stored | count | frames  | size  |
    +-------+------+------+-------+--------+-------+---------+-------+
    24       32         40      48       56         60           64
    +--------+----------+-------+--------+----------+------------+------
    | number | position | clock | synced | body crc | header crc | body
    +--------+----------+-------+--------+----------+------------+------

    magic       ff 45 56 01: the last byte is the version of this layout
    kind        1 a run: events of one stream; 2 a mark, which has no event and no body;
                3 a pack: events of several streams; 4 a gap, where events are lost;
                5 a control, which has entries for the store's own use and no event;
                6 a cut, where events were taken out on purpose
    flags       1 more follows: this record and the next are one append
                2 the body is compressed (zlib)
                4 the body has details
                8 the body has a clock for each event
    stored      bytes of the body in the file
    count       events
    frames      bytes of frames in the body, before compression
    size        bytes of the body before compression
    number      of the first event in its stream
    position    of the first event in the store; the others follow it
    clock       microseconds since 1970, UTC, as the clock said when its first event was written
    synced      every event before this position was on disk when it was written
    body crc    CRC-32 of the body as stored
    header crc  CRC-32 of the 60 bytes before it, begun from the segment's salt

All numbers are little-endian and unsigned.  The body:

    frames      each event as subscribers get it:
                *5 +event +STREAM :NUMBER +NAME $length DATA
    ends        for each event a u32: where its frame ends, from the first frame
    numbers     in a pack, for each event a u64: its number.  In a run they follow the first
    hashes      in a pack, for each event a u32: CRC-32 of its stream's name
    clocks      if the flag says so, for each event a u64: its clock.  Without it all have the record's
    details     for each event u16 bytes of id, u16 bytes of tags, u32 bytes of
                metadata; then for each event its id, tags and metadata.  Between two tags
                stands a zero byte

A pack is what a pipeline of publishes to many streams leaves: one header and
one checksum serve all of them, and `$all` is read without a look at each.  By
its hashes the few events of one stream are found without a look at the others.
A gap is as long as what it stands for, so that nothing behind it moves: `count`
events are lost, of which `position` is the first.  Its body is a table, `frames`
bytes long in the file and `size` before compression; what is left of the
`stored` bytes is padding that nobody reads, and may be a hole in the file.  The
table has for each stream that lost events:

    u16 bytes of its name, u64 number of the first one lost, u32 how many, name

A name that begins with a zero byte stands for events whose stream nobody knows.

A control takes no number and no position: its `count` is 0.  Controls are counted
by themselves: `number` is how many of them came before it, and `frames` how many
of those weren't on disk when it was written.  Its body has for each entry

    u16 bytes of topic, u16 bytes of key, u32 bytes of value, topic, key, value

and ffffffff in place of a length where the entry is taken out.  The `number` of
a mark says how many controls came before it, all of them on disk; that of a gap,
how many came before what follows it.

A cut stands for `count` events from `position` on, of which retention took out
some or all; `number` says how many are left, and `clock` is the highest of all.
Its body:

    pack        the body of a pack of those that are left, if any are
    places      for each of them a u32: how far its position is from the cut's
    table       of the others, see below
    u32         bytes of the pack

The table has for each stream

    u16 bytes of its name, u64 number of the first one that went, u32 how many went,
    u32 how many of them had an id, name; and for each id u32 how far its event's
    number is from that number, u32 how far its position is from the cut's, u16 bytes, id

What goes of a stream is always what it begins with, so a number in the table is
below all that are left.

The salt is random, drawn for each segment, and never leaves the machine.
So bytes of an old file, or a payload made to look like a record, don't pass.
"""

import struct
import zlib
from array import array
from bisect import bisect_right
from itertools import accumulate, groupby
from typing import NamedTuple

from .arrays import packed, unpacked

MAGIC = b"\xffEV\x01"
EVENTS = 1
MARK = 2
PACK = 3
GAP = 4
CONTROL = 5
CUT = 6
MORE = 1
ZIPPED = 2
DETAILS = 4
CLOCKS = 8

KINDS = {EVENTS, MARK, PACK, GAP, CONTROL, CUT}
# Those that stand for events which aren't there any more, a cut perhaps for some that are.
WITHOUT_EVENTS = {GAP, CUT}
# Bytes that each event has in the columns of its record.
_COLUMNS = {EVENTS: 4, MARK: 4, PACK: 16}
_CLOCK = 8
FLAGS = MORE | ZIPPED | DETAILS | CLOCKS

# A record is closed when its frames reach this; only a single event is larger.
MAX_FRAMES = 64 * 1024
# And that of a pack at this, since all of it is read for any of its events.
MAX_PACK = 8 * 1024


def _plain(kind):
    """How headers of a kind begin whose body isn't compressed."""
    return {MAGIC + struct.pack("<BBH", kind, 0, flags) for flags in range(FLAGS + 1) if not flags & ZIPPED}


_PLAIN_RUN = _plain(EVENTS)
_PLAIN_PACK = _plain(PACK)
_PLAIN = _PLAIN_RUN | _PLAIN_PACK
# Those of records without events, which a replay passes by.
_PASSED = {MAGIC + struct.pack("<BBH", kind, 0, flags) for kind in (MARK, CONTROL) for flags in (0, ZIPPED)}
# From this size on it is worth remembering that a body was compared with its checksum.
LONG_BODY = 4096
# What `size` may claim: a compressed body can't inflate past it.
MAX_BODY = 1 << 30

_HEADER = struct.Struct("<4sBBHIIIIQQQQI")
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
# Of a header: stored, count, frames, number, position and the two checksums.
_LEAN = struct.Struct("<8xIII4xQQ16xII")
# Those from the 24th byte on of one that is without its last four: number, position and the body's checksum.
_PLACE = struct.Struct("<QQ16xI")
_AT_PLACE = 24
# The bytes that say what a record is, how long, and how long its frames are.
_HEAD = 20
# And of one that is passed over: stored, count and position.
_STEP = struct.Struct("<8xII16xQ")
_DETAIL = struct.Struct("<HHI")
_LOST = struct.Struct("<HQI")
_ENTRY = struct.Struct("<HHI")
_GONE = struct.Struct("<HQII")
_STUB = struct.Struct("<IIH")
HEADER_SIZE = _HEADER.size + _U32.size

MAX_ID = 0xFFFF
MAX_TAGS = 0xFFFF
MAX_KEY = 0xFFFF        # bytes in the topic or the key of an entry

# Of an event that has none: its id, metadata and tags.
NO_DETAILS = (b"", b"", b"")

# The length of the value of an entry that is taken out.
_TAKEN_OUT = 0xFFFFFFFF

_CRLF = b"\r\n"

# An event as subscribers get it, made of stream, number, name, bytes of data, data.
FRAME = b"*5\r\n+event\r\n+%b\r\n:%d\r\n+%b\r\n$%d\r\n%b\r\n"
# The same, made of stream, number, name and data with its length, CR LF between them.
FRAME_WITH_LENGTH = b"*5\r\n+event\r\n+%b\r\n:%d\r\n+%b\r\n$%b\r\n"

# How the name of an unknown stream begins, in the table of a gap; no stream's does.
UNKNOWN = b"\0"

# What a byte adds to a checksum, and which byte it is by the highest bits of that.
_CRC_TABLE = [zlib.crc32(bytes([byte]), 0xFFFFFFFF) ^ 0xFFFFFFFF for byte in range(256)]
_CRC_AT = {added >> 24: byte for byte, added in enumerate(_CRC_TABLE)}

_STREAM_AT = len(b"*5\r\n+event\r\n+")
_crc32 = zlib.crc32


class Event(NamedTuple):
    """One event, as it is read.

    number     its place in its stream, from 0
    position   its place in the store, from 0
    time       microseconds since 1970, UTC, when it was appended
    tags       bytes each
    """

    stream: str
    number: int
    position: int
    time: int
    name: str
    data: bytes
    id: bytes = b""
    metadata: bytes = b""
    tags: tuple = ()


class BadRecord(Exception):
    """These bytes are not a whole record.

    unknown   True if they are one of a version, kind or flag of the future
    """

    def __init__(self, why, unknown=False):
        super().__init__(why)
        self.why = why
        self.unknown = unknown


class ShortRecord(BadRecord):
    """The header at hand is good, but more bytes are needed: `size` in all."""

    def __init__(self, found, size):
        super().__init__(f"{found} bytes where the record takes {size}")
        self.size = size


class Lost(NamedTuple):
    """Events of one stream that a gap or a cut stands for, there or not: to the index, a record of theirs."""

    stream: bytes
    number: int
    count: int
    position: int
    clock: int
    size: int
    kind = GAP
    pack = None
    lost = True

    @property
    def latest(self):
        """The clock of all of them."""
        return self.clock

    @property
    def stop(self):
        """The number after the last one."""
        return self.number + self.count


class Entry(NamedTuple):
    """What a control says: from now on this is the value.

    topic   text
    key     bytes
    value   bytes, or None: there is none any more
    """

    topic: str
    key: bytes
    value: object


class Gone(NamedTuple):
    """Events of one stream that a cut stands for.

    stubs   [(number, position, id)] of those that had an id
    """

    stream: bytes
    number: int
    count: int
    stubs: list


class Passed(NamedTuple):
    """In place of records, to readers: events that aren't there any more, and are passed over.

    stream, number   None and 0 where events of any stream are read
    """

    stream: bytes
    number: int
    count: int
    position: int
    size: int = 0
    kind = CUT
    pack = None
    lost = False

    @property
    def stop(self):
        """The number after the last one."""
        return self.number + self.count

    def runs(self):
        return []

    def events(self, first=0, stop=None):
        return []


class Record:
    """A decoded record.  `body` is inflated; positions in it are bytes.

    size     bytes in the file, header included
    number   of the first event, from which a run counts on
    """

    __slots__ = ("kind", "flags", "size", "count", "number", "position", "clock", "synced",
                 "body", "frames_size", "_ends", "_stream", "_pack", "_clocks", "_details")

    def __init__(self, kind, flags, size, count, number, position, clock, synced, body, frames_size):
        self.kind = kind
        self.flags = flags
        self.size = size
        self.count = count
        self.number = number
        self.position = position
        self.clock = clock
        self.synced = synced
        self.body = body
        self.frames_size = frames_size
        self._stream = None
        self._ends = None
        self._pack = None
        self._clocks = None
        self._details = None

    @property
    def stream(self):
        """The stream's name (bytes), which every frame of a run begins with."""
        if self._stream is None:
            self._stream = stream_of(self.body)
        return self._stream

    @property
    def ends(self):
        """Where each frame ends, in bytes from the first frame."""
        if self._ends is None:
            if self.count == 1:
                self._ends = (self.frames_size,)
            else:
                self._ends = unpacked("I", self.body[self.frames_size:self.frames_size + 4 * self.count])
        return self._ends

    @property
    def pack(self):
        """(stream of each event, number of each event) of a pack; None for a run."""
        if self.kind != PACK:
            return None
        if self._pack is None:
            at = self.frames_size + 4 * self.count
            self._pack = ([stream_of(self.body, start) for start in (0, *self.ends[:-1])],
                          unpacked("Q", self.body[at:at + 8 * self.count]))
        return self._pack

    def runs(self):
        """Records of one stream each with the events of this one, in order: itself, unless it is a pack.

        Of a gap or a cut, a Lost for each stream.
        """
        if self.kind in WITHOUT_EVENTS:
            return self._lost()
        if self.kind != PACK:
            return [self]
        streams, numbers = self.pack
        begins = [i for i in range(self.count)
                  if not i or streams[i] != streams[i - 1] or numbers[i] != numbers[i - 1] + 1]
        return [self._run(begin, stop, streams[begin], numbers[begin])
                for begin, stop in zip(begins, (*begins[1:], self.count))]

    def of(self, stream):
        """Those of `runs` that are of one stream, without a look at the others."""
        if self.kind != PACK:
            return [self] if self.stream == stream else []
        found = _indexes_of(self.body, 0, self.frames_size, self.count, wanted(stream))
        at = self.frames_size + 4 * self.count
        numbers = [_U64.unpack_from(self.body, at + 8 * i)[0] for i in found]
        runs = []
        start = 0
        for n in range(1, len(found) + 1):
            if n == len(found) or found[n] != found[n - 1] + 1 or numbers[n] != numbers[n - 1] + 1:
                runs.append(self._run(found[start], found[n - 1] + 1, stream, numbers[start]))
                start = n
        return runs

    def _run(self, begin, stop, stream, number):
        """The events [begin, stop), which are of one stream."""
        base = self.ends[begin - 1] if begin else 0
        ends = array("I", [end - base for end in self.ends[begin:stop]])
        body = bytes(self.frames(begin, stop)) + packed(ends)
        run = Record(EVENTS, self.flags, len(body), stop - begin, number, self.position + begin, self.clock,
                     self.synced, body, ends[-1])
        run._stream = stream
        run._clocks = self.clocks[begin:stop]
        run._details = self.details()[begin:stop]
        return run

    @property
    def clocks(self):
        """The clock of each event; in a cut, 0 for those that aren't there."""
        if self._clocks is None:
            if self.kind == CUT:
                self._clocks = [0] * self.count
                pack, places, _ = self.cut_parts()
                for place, clock in zip(places, pack.clocks if pack else ()):
                    self._clocks[place] = clock
            elif self.flags & CLOCKS:
                at = self.frames_size + _COLUMNS[self.kind] * self.count
                self._clocks = unpacked("Q", self.body[at:at + _CLOCK * self.count])
            else:
                self._clocks = [self.clock] * self.count
        return self._clocks

    @property
    def latest(self):
        """The highest clock of its events."""
        return max(self.clocks) if self.flags & CLOCKS and self.kind != CUT else self.clock

    @property
    def lost(self):
        """Whether it stands for events that are lost."""
        return self.kind == GAP

    @property
    def controls(self):
        """How many controls came before the record that follows, 0 if this one doesn't say."""
        if self.kind == CONTROL:
            return self.number + 1
        return self.number if self.kind in (MARK, GAP) else 0

    @property
    def controls_synced(self):
        """How many controls were on disk when it was written, 0 if it doesn't say."""
        return _controls_synced(self.kind, self.number, self.frames_size)

    def entries(self):
        """The entries of a control, in order."""
        entries = []
        pos = 0
        while pos < len(self.body):
            topic_size, key_size, size = _ENTRY.unpack_from(self.body, pos)
            key_at = pos + _ENTRY.size + topic_size
            value_at = key_at + key_size
            topic = bytes(self.body[pos + _ENTRY.size:key_at]).decode()
            pos = value_at + (0 if size == _TAKEN_OUT else size)
            value = None if size == _TAKEN_OUT else bytes(self.body[value_at:pos])
            entries.append(Entry(topic, bytes(self.body[key_at:value_at]), value))
        return entries

    @property
    def more_follows(self):
        return bool(self.flags & MORE)

    @property
    def stop(self):
        """The number after the last one of a run."""
        return self.number + self.count

    def _lost(self):
        runs = []
        position = self.position
        lost = _lost_in(self.body) if self.kind == GAP else self._stood_for()
        for stream, number, count in lost:
            runs.append(Lost(stream, number, count, position, self.clock, self.size))
            position += count
        return runs

    def _stood_for(self):
        """[(stream, number, count)] of all events of a cut; a stream's follow one another."""
        pack, _, gone = self.cut_parts()
        counts = {one.stream: [one.number, one.count] for one in gone}
        for stream, number in zip(*pack.pack) if pack else ():
            counts.setdefault(stream, [number, 0])[1] += 1
        return [(stream, number, count) for stream, (number, count) in counts.items()]

    def cut_parts(self):
        """(the Record of a pack or None, how far each of its events is from `position`, [Gone]) of a cut."""
        size, = _U32.unpack_from(self.body, len(self.body) - _U32.size)
        left = self.number
        pack = None
        if left:
            body = self.body[:size]
            pack = Record(PACK, self.flags, self.size, left, 0, self.position, self.clock, self.synced, body,
                          self.frames_size)
        table = size + 4 * left
        return pack, unpacked("I", self.body[size:table]), self._gone(table, len(self.body) - _U32.size)

    def _gone(self, pos, end):
        found = []
        while pos < end:
            name_size, number, count, ids = _GONE.unpack_from(self.body, pos)
            pos += _GONE.size + name_size
            one = Gone(bytes(self.body[pos - name_size:pos]), number, count, [])
            for _ in range(ids):
                at, further, size = _STUB.unpack_from(self.body, pos)
                pos += _STUB.size + size
                one.stubs.append((number + at, self.position + further, bytes(self.body[pos - size:pos])))
            found.append(one)
        return found

    def left(self):
        """What a cut left: Records of one stream each, in order, and a Passed where there is nothing between them."""
        pack, places, _ = self.cut_parts()
        found = []
        due = 0
        for run in pack.runs_at(places) if pack else ():
            if run.position > self.position + due:
                found.append(Passed(None, 0, run.position - self.position - due, self.position + due))
            found.append(run)
            due = run.position - self.position + run.count
        if due < self.count:
            found.append(Passed(None, 0, self.count - due, self.position + due))
        return found

    def left_of(self, stream):
        """The same of the events of one stream."""
        pack, places, gone = self.cut_parts()
        found = [Passed(stream, one.number, one.count, self.position) for one in gone if one.stream == stream]
        return found + [run for run in pack.runs_at(places) if run.stream == stream] if pack else found

    def runs_at(self, places):
        """The runs of a pack whose events have positions of their own, so far from its `position`."""
        streams, numbers = self.pack
        begins = [i for i in range(self.count) if not i or (streams[i], numbers[i], places[i]) !=
                  (streams[i - 1], numbers[i - 1] + 1, places[i - 1] + 1)]
        runs = [self._run(begin, stop, streams[begin], numbers[begin])
                for begin, stop in zip(begins, (*begins[1:], self.count))]
        for run, begin in zip(runs, begins):
            run.position = self.position + places[begin]
        return runs

    def split(self):
        """The frames of a run, each by itself."""
        if self.count == 1:
            return [self.body[:self.frames_size]]
        return [self.body[start:end] for start, end in zip((0, *self.ends), self.ends)]

    def part(self, begin, stop):
        """The events [begin, stop) of a run, counted from its first, as a run of their own."""
        return self._run(begin, stop, self.stream, self.number + begin)

    def frames(self, first=0, stop=None):
        """The frames of the events [first, stop) of this record, counted from its own first."""
        start = self.ends[first - 1] if first else 0
        if stop is None or stop >= self.count:
            end = self.frames_size
        else:
            end = self.ends[stop - 1] if stop else 0
        return memoryview(self.body)[start:end]

    def index_at(self, pos):
        """Which of its events, counted from its own first, has byte `pos` of the frames."""
        return bisect_right(self.ends, pos)

    def events(self, first=0, stop=None):
        """The events [first, stop) of this record, counted from its own first."""
        stop = self.count if stop is None else min(stop, self.count)
        details = None
        if self.flags & DETAILS and first < stop:
            details = self.details() if stop > first + 1 else {first: self.details_of(first)}
        numbers = range(self.number, self.stop) if self.kind != PACK else self.pack[1]
        for i in range(first, stop):
            stream, name, data = split_frame(bytes(self.frames(i, i + 1)))
            id_, metadata, tags = details[i] if details else NO_DETAILS
            yield Event(stream.decode(), numbers[i], self.position + i, self.clocks[i],
                        name.decode(), data, id_, metadata, split_tags(tags))

    def details(self):
        """(id, metadata, tags) of each event, its tags as `join_tags` makes them."""
        if self._details is None:
            self._details = self._read_details() if self.flags & DETAILS else [NO_DETAILS] * self.count
        return self._details

    def details_of(self, i):
        """Those of one event, without a look at the others'."""
        if self._details is not None or not self.flags & DETAILS:
            return self.details()[i]
        table = self.frames_size + _event_size(self.kind, self.flags) * self.count
        at = table + _DETAIL.size * i
        shorts, longs = unpacked("H", self.body[table:at]), unpacked("I", self.body[table:at])
        before = sum(shorts[::4]) + sum(shorts[1::4]) + sum(longs[1::2])      # bytes of ids, tags and metadata
        return self._detail_at(at, table + _DETAIL.size * self.count + before)[0]

    def _read_details(self):
        table = self.frames_size + _event_size(self.kind, self.flags) * self.count
        pos = table + _DETAIL.size * self.count
        details = []
        for at in range(table, pos, _DETAIL.size):
            one, pos = self._detail_at(at, pos)
            details.append(one)
        return details

    def _detail_at(self, at, pos):
        """(id, metadata, tags) whose sizes are at byte `at` of the body, and which begin at `pos`; where they end."""
        id_size, tags_size, metadata_size = _DETAIL.unpack_from(self.body, at)
        tags_at = pos + id_size
        metadata_at = tags_at + tags_size
        end = metadata_at + metadata_size
        body = self.body
        return (bytes(body[pos:tags_at]), bytes(body[metadata_at:end]), bytes(body[tags_at:metadata_at])), end


class LongFrame:
    """The frame of an event that is too long for a record with others.  Its data isn't copied."""

    __slots__ = ("head", "data")

    def __init__(self, head, data):
        self.head = head
        self.data = data

    def __len__(self):
        return len(self.head) + len(self.data) + len(_CRLF)

    def __bytes__(self):
        return b"%b%b%b" % (self.head, self.data, _CRLF)


class LongRecord:
    """The bytes of a record with a LongFrame, as `buffers` that follow one another."""

    __slots__ = ("buffers", "_size")

    def __init__(self, buffers):
        self.buffers = buffers
        self._size = sum(map(len, buffers))

    def __len__(self):
        return self._size


# The metadata of an event whose data was redacted.
REDACTED = b'{"redacted":true}'


def redacted(run):
    """A run of one event without its data, which its metadata says; name, id, tags and time stay."""
    stream, name, _ = split_frame(bytes(run.frames()))
    (id_, _, tags), = run.details()
    frame = FRAME % (stream, run.number, name, 0, b"")
    body = frame + _U32.pack(len(frame))
    one = Record(EVENTS, run.flags & ZIPPED | DETAILS, len(body), 1, run.number, run.position, run.clocks[0],
                 run.synced, body, len(frame))
    one._stream = run.stream
    one._clocks = run.clocks
    one._details = [(id_, REDACTED, tags)]
    return one


def is_redacted(event):
    """Whether an Event is what `redacted` makes."""
    return not event.data and event.metadata == REDACTED


def buffers(records):
    """The bytes of `records`, which `encode` made, in as few pieces as take no copy of long data."""
    if len(records) == 1:
        return records if type(records[0]) is bytes else records[0].buffers
    if LongRecord not in map(type, records):
        return [b"".join(records)]
    pieces = []
    for is_long, some in groupby(records, key=lambda one: type(one) is LongRecord):
        if is_long:
            for one in some:
                pieces += one.buffers
        else:
            pieces.append(b"".join(some))
    return pieces


def frames(stream, name, number, datas):
    """The frames of events alike but for their data, the first one numbered `number`."""
    if len(datas[0]) > MAX_FRAMES:
        return [_frame(stream, name, n, data) for n, data in enumerate(datas, number)]
    if len(datas) == 1:
        data = datas[0]
        return [FRAME % (stream, number, name, len(data), data)]
    head = b"*5\r\n+event\r\n+%b\r\n:" % stream
    tail = b"\r\n+%b\r\n$" % name
    return [b"%b%d%b%d\r\n%b\r\n" % (head, n, tail, len(data), data)
            for n, data in enumerate(datas, number)]


def _frame(stream, name, number, data):
    if len(data) <= MAX_FRAMES:
        return FRAME % (stream, number, name, len(data), data)
    return LongFrame(FRAME[:-len(b"%b\r\n")] % (stream, number, name, len(data)), data)


def _event_size(kind, flags):
    """Bytes that the columns have for each event."""
    return _COLUMNS[kind] + (_CLOCK if flags & CLOCKS else 0)


def stream_of(frames, start=0):
    """The stream's name in the frame at byte `start`."""
    start += _STREAM_AT
    return bytes(frames[start:frames.index(b"\r\n", start)])


def split_frame(frame):
    """(stream, name, data) of a frame."""
    _, _, stream, _, name, _, data = frame.split(b"\r\n", 6)
    return stream[1:], name[1:], data[:-2]


def number_of(frame, wanted):
    """The number in a frame of a stream."""
    start = len(wanted.begins) + 1
    return int(frame[start:frame.index(b"\r\n", start)])


def join_frames(frames):
    """(the frames of several events, where each ends as in the body of a record)"""
    return b"".join(frames), packed(array("I", accumulate(map(len, frames))))


def join_tags(tags):
    """Tags, none of them empty or with a zero byte, as the details have them."""
    return b"\0".join(tags)


def split_tags(joined):
    return tuple(joined.split(b"\0")) if joined else ()


def _details_of(details):
    """The details section for [(id, metadata, tags), …]."""
    table = [_DETAIL.pack(len(id_), len(tags), len(metadata)) for id_, metadata, tags in details]
    return b"".join(table) + b"".join([id_ + tags + metadata for id_, metadata, tags in details])


def encode(salt, number, position, clock, synced, frame_list, more=False, details=None, level=0, pack=None,
           clocks=None):
    """The bytes of one record, whose first event has this number and position;
    a LongRecord if its only frame is a LongFrame.

    frame_list   what `frames` made, at least one
    more         the next record belongs to the same append
    details      [(id, metadata, tags), …], one for each frame, or None
    level        zlib's, 1 to 9; 0 leaves the body as it is
    pack         (streams, numbers), one of each for each frame, if it isn't a run
    clocks       of each event, if they differ; `clock` is the first one's
    """
    count = len(frame_list)
    if count == 1:
        frame = frame_list[0]
        if pack is None and details is None and clocks is None and not level and type(frame) is bytes:
            return _encode_short(salt, number, position, clock, synced, frame, more)
        if type(frame) is LongFrame:
            return _encode_long(salt, number, position, clock, synced, frame, more, details, level)
        frames_size = len(frame)
        behind = _U32.pack(frames_size)
    else:
        ends = array("I", accumulate(map(len, frame_list)))
        frames_size = ends[-1]
        behind = packed(ends)
    kind = EVENTS
    if pack is not None:
        kind = PACK
        streams, numbers = pack
        behind += packed(array("Q", numbers)) + packed(array("I", map(_crc32, streams)))
    flags = MORE if more else 0
    if clocks is not None:
        flags |= CLOCKS
        behind += packed(array("Q", clocks))
    if details is not None:
        flags |= DETAILS
        behind += _details_of(details)
    stored = b"".join([*frame_list, behind])
    size = len(stored)
    if level:
        zipped = zlib.compress(stored, level)
        if len(zipped) < size:
            flags |= ZIPPED
            stored = zipped
    header = _HEADER.pack(MAGIC, kind, 0, flags, len(stored), count, frames_size, size,
                          number, position, clock, synced, _crc32(stored))
    return b"%b%b%b" % (header, _U32.pack(_crc32(header, salt)), stored)


def _encode_short(salt, number, position, clock, synced, frame, more):
    """`encode` of one frame and nothing else: what a publish by itself makes, at half the cost."""
    size = len(frame)
    body = frame + _U32.pack(size)
    header = _HEADER.pack(MAGIC, EVENTS, 0, MORE if more else 0, size + 4, 1, size, size + 4,
                          number, position, clock, synced, _crc32(body))
    return header + _U32.pack(_crc32(header, salt)) + body


def _encode_long(salt, number, position, clock, synced, frame, more, details, level):
    """`encode` of one LongFrame: the LongRecord."""
    flags = MORE if more else 0
    behind = _CRLF + _U32.pack(len(frame))
    if details is not None:
        flags |= DETAILS
        behind += _details_of(details)
    body = [frame.head, frame.data, behind]
    stored = size = sum(map(len, body))
    if level:
        zipper = zlib.compressobj(level)
        zipped = b"".join([zipper.compress(part) for part in body]) + zipper.flush()
        if len(zipped) < size:
            flags |= ZIPPED
            body, stored = [zipped], len(zipped)
    checksum = 0
    for part in body:
        checksum = _crc32(part, checksum)
    header = _HEADER.pack(MAGIC, EVENTS, 0, flags, stored, 1, len(frame), size,
                          number, position, clock, synced, checksum)
    return LongRecord([header + _U32.pack(_crc32(header, salt)) + body[0], *body[1:]])


def written(encoded, salt):
    """The Record that `encode` made, as `decode` would give it."""
    if type(encoded) is not LongRecord:
        return decode(encoded, 0, salt)
    head, *rest = encoded.buffers
    _, kind, _, flags, _, count, frames_size, size, number, position, clock, synced, _ = _header(head, 0, salt)
    body = b"".join([head[HEADER_SIZE:], *rest])
    if flags & ZIPPED:
        body = _inflate(body, size)
    return Record(kind, flags, len(encoded), count, number, position, clock, synced, body, frames_size)


def encode_mark(salt, position, clock, controls=0):
    """A record without events, which says that all before `position` is on disk, and so many controls."""
    header = _HEADER.pack(MAGIC, MARK, 0, 0, 0, 0, 0, 0, controls, position, clock, position, 0)
    return header + _U32.pack(_crc32(header, salt))


def encode_control(salt, number, unsynced, position, clock, synced, entries, level=0):
    """A record of entries.

    number     how many controls came before it
    unsynced   how many of those aren't on disk
    position   of the event that comes next
    entries    [Entry, …], at least one
    level      zlib's, 1 to 9; 0 leaves the body as it is
    """
    parts = []
    for topic, key, value in entries:
        topic = topic.encode()
        parts += (_ENTRY.pack(len(topic), len(key), _TAKEN_OUT if value is None else len(value)),
                  topic, key, value or b"")
    body = b"".join(parts)
    flags, size = 0, len(body)
    if level:
        zipped = zlib.compress(body, level)
        if len(zipped) < size:
            flags, body = ZIPPED, zipped
    header = _HEADER.pack(MAGIC, CONTROL, 0, flags, len(body), 0, unsynced, size, number, position, clock, synced,
                          _crc32(body))
    return b"%b%b%b" % (header, _U32.pack(_crc32(header, salt)), body)


def _controls_synced(kind, number, unsynced):
    if kind == CONTROL:
        return number - unsynced
    return number if kind == MARK else 0


def encode_gap(salt, position, clock, synced, lost, room, controls=0):
    """The first bytes of a gap that takes `room` bytes in the file; zeros go behind them.

    lost      [(stream, number, count), …]: whose events they were, in any order
    controls  how many came before what follows it
    Raises    ValueError    they take more room
    """
    table = b"".join([_LOST.pack(len(stream), number, count) + stream for stream, number, count in lost])
    flags, size = 0, len(table)
    if len(table) > room - HEADER_SIZE:
        flags, table = ZIPPED, zlib.compress(table)
    if len(table) > room - HEADER_SIZE:
        raise ValueError(f"a gap of {HEADER_SIZE + len(table)} bytes, expected no more than {room}")
    header = _HEADER.pack(MAGIC, GAP, 0, flags, room - HEADER_SIZE, sum(count for _, _, count in lost), len(table),
                          size, controls, position, clock, synced, _crc32(table))
    return b"%b%b%b" % (header, _U32.pack(_crc32(header, salt)), table)


def encode_cut(salt, position, clock, synced, gone, left=(), level=0):
    """The bytes of a cut.

    clock  the highest of all that it stands for
    gone   [Gone], a stream's in one
    left   Records of one stream each, in order: what is there of the events that the cut stands for
    """
    count = sum(run.count for run in left)
    pack, places, flags, frames_size = b"", array("I"), 0, 0
    if left:
        clocks = [clock for run in left for clock in run.clocks]
        details = [some for run in left for some in run.details()]
        pack = encode(0, 0, position, clock, synced, [frame for run in left for frame in run.split()],
                      details=details if any(map(any, details)) else None,
                      clocks=clocks if clocks.count(clock) < count else None,
                      pack=([run.stream for run in left for _ in range(run.count)],
                            [run.number + i for run in left for i in range(run.count)]))
        _, _, _, flags, _, _, frames_size, *_ = _HEADER.unpack_from(pack)
        pack = pack[HEADER_SIZE:]
        for run in left:
            places.extend(range(run.position - position, run.position - position + run.count))
    table = b"".join([_gone_entry(one, position) for one in gone])
    stored = b"".join([pack, packed(places), table, _U32.pack(len(pack))])
    size = len(stored)
    if level or not left:
        zipped = zlib.compress(stored, level or 1)
        if len(zipped) < size:
            flags, stored = flags | ZIPPED, zipped
    header = _HEADER.pack(MAGIC, CUT, 0, flags, len(stored), count + sum(one.count for one in gone), frames_size, size,
                          count, position, clock, synced, _crc32(stored))
    return b"%b%b%b" % (header, _U32.pack(_crc32(header, salt)), stored)


def _gone_entry(one, position):
    parts = [_GONE.pack(len(one.stream), one.number, one.count, len(one.stubs)), one.stream]
    for number, at, id_ in one.stubs:
        parts += (_STUB.pack(number - one.number, at - position, len(id_)), id_)
    return b"".join(parts)


def gap_size(lost):
    """Bytes that a gap needs for what is lost there, uncompressed."""
    return HEADER_SIZE + sum(_LOST.size + len(stream) for stream, _, _ in lost)


def unknown(position):
    """In the table of the gap at `position`: events whose stream nobody knows."""
    return b"%b%d" % (UNKNOWN, position)


def _lost_in(table):
    """Yield (stream, number, count) for each entry in the table of a gap."""
    pos = 0
    while pos < len(table):
        name_size, number, count = _LOST.unpack_from(table, pos)
        pos += _LOST.size + name_size
        yield bytes(table[pos - name_size:pos]), number, count


def _header(buffer, pos, salt):
    """Check the header at `pos` and return its fields."""
    header = buffer[pos:pos + HEADER_SIZE]
    if len(header) < HEADER_SIZE:
        raise BadRecord(f"{len(header)} bytes where a header takes {HEADER_SIZE}")
    fields = _HEADER.unpack_from(header)
    if fields[0] != MAGIC:
        if fields[0][:3] == MAGIC[:3] and _header_checks(header, salt):
            raise BadRecord(f"record version {fields[0][3]}", unknown=True)
        raise BadRecord("no record begins here")
    if not _header_checks(header, salt):
        raise BadRecord("its header doesn't match its checksum")
    _, kind, zero, flags, stored, count, frames_size, size, *_ = fields
    if kind not in KINDS:
        raise BadRecord(f"record kind {kind}", unknown=True)
    if zero or flags & ~FLAGS:
        raise BadRecord(f"record flags {flags | zero << 16:#x}", unknown=True)
    if size > MAX_BODY or not _sizes_agree(kind, flags, stored, count, frames_size, size):
        raise BadRecord("the sizes in its header contradict each other")
    return fields


def _sizes_agree(kind, flags, stored, count, frames_size, size):
    zipped = flags & ZIPPED
    if kind == CUT:
        return frames_size + _U32.size <= size and (zipped or stored == size)
    if kind == GAP:
        return frames_size <= stored and (zipped or frames_size == size)
    if kind == CONTROL:
        return not count and (zipped or stored == size)
    return frames_size + _event_size(kind, flags) * count <= size and (zipped or stored == size)


def _header_checks(header, salt):
    return _U32.unpack_from(header, _HEADER.size)[0] == _crc32(header[:_HEADER.size], salt)


def synced_in(buffer, pos, salt):
    """(position, controls) up to which the log was on disk, as a whole header at `pos` says; None if there is none."""
    try:
        fields = _header(buffer, pos, salt)
    except BadRecord:
        return None
    return fields[11], _controls_synced(fields[1], fields[8], fields[6])


def salt_behind(buffer, pos):
    """The salt with which the header at `pos` matches its checksum; it always finds one.

    It is CRC-32 from back to front, for a file whose own header is gone.
    """
    state = _U32.unpack_from(buffer, pos + _HEADER.size)[0] ^ 0xFFFFFFFF
    for byte in reversed(buffer[pos:pos + _HEADER.size]):
        at = _CRC_AT[state >> 24]
        state = (state ^ _CRC_TABLE[at]) << 8 & 0xFFFFFFFF | at ^ byte
    return state ^ 0xFFFFFFFF


def decode(buffer, pos, salt):
    """The record at byte `pos` of `buffer` (bytes).

    Raises    ShortRecord    its header is good and its body goes on past the buffer
              BadRecord      anything else is wrong with it
    """
    _, kind, _, flags, stored, count, frames_size, size, number, position, clock, synced, crc = \
        _header(buffer, pos, salt)
    start = pos + HEADER_SIZE
    taken = frames_size if kind == GAP else stored
    body = buffer[start:start + taken]
    if len(body) < taken:
        raise ShortRecord(HEADER_SIZE + len(body), HEADER_SIZE + taken)
    if _crc32(body) != crc:
        raise BadRecord("its body doesn't match its checksum")
    if flags & ZIPPED:
        body = _inflate(body, size)
    return Record(kind, flags, HEADER_SIZE + stored, count, number, position, clock, synced,
                  body, frames_size)


def seek(buffer, pos, position):
    """The byte of `buffer` where the record with `position` begins, from that of an earlier record on.

    Records on the way aren't compared with their checksums: whoever reads what stands there does that, and sees
    whether it is what was asked for.
    """
    while pos + HEADER_SIZE <= len(buffer) and buffer.startswith(MAGIC, pos):
        stored, count, first = _STEP.unpack_from(buffer, pos)
        if first + count > position:
            break
        pos += HEADER_SIZE + stored
    return pos


class Frames:
    """The frames of consecutive events, joined: what a replay sends.

    first, stop   the keys of the first event and of the one after the last: numbers
                  in a stream, or positions
    data          their frames, as in the body of a record
    ends          where each frame ends in `data`
    """

    __slots__ = ("first", "stop", "data", "_tails", "_ends")

    def __init__(self, first, stop, parts, tails):
        self.first = first
        self.stop = stop
        self.data = b"".join(parts)
        self._tails = tails     # (bytes of frames, their `ends` or None for a single one) of each record
        self._ends = None

    @property
    def ends(self):
        if self._ends is None:
            self._ends = []
            base = 0
            for size, ends in self._tails:
                if ends is None:
                    self._ends.append(base + size)
                else:
                    self._ends += [base + end for end in unpacked("I", ends)]
                base += size
        return self._ends

    @classmethod
    def of(cls, records, by_position):
        """All frames of `records`, which follow one another."""
        parts = [bytes(one.body[:one.frames_size]) for one in records]
        tails = [(one.frames_size, bytes(one.body[one.frames_size:one.frames_size + 4 * one.count]))
                 for one in records]
        first, last = records[0], records[-1]
        if by_position:
            return cls(first.position, last.position + last.count, parts, tails)
        return cls(first.number, last.stop, parts, tails)


def frame_of_prefix(prefix):
    """How a frame begins whose stream's name begins so."""
    return b"*5\r\n+event\r\n+" + prefix


def frame_of_stream(stream):
    """How each frame of a stream begins."""
    return b"*5\r\n+event\r\n+%b\r\n" % stream


class Wanted(NamedTuple):
    """A stream, as `gather` knows it.

    begins   how each of its frames begins
    hash     what its events have in a pack's column of hashes
    """

    begins: bytes
    hash: bytes


def wanted(stream):
    return Wanted(frame_of_stream(stream), _U32.pack(_crc32(stream)))


def gather(buffer, pos, base, salt, checked, wanted, key, stop, parts, tails):
    """Collect the frames of the records from byte `pos` of `buffer` on; return (the byte after, the next key).

    It is `decode` for replays of small records, at a third of the cost: it takes
    what is plain, whole and as expected, passes what has no event, and stops at
    anything else, for `decode` to say what that is.  The byte after may be behind
    the buffer.

    base          the byte of the segment where `buffer` begins
    checked       bytes of long records whose bodies were compared before; is added to
    wanted        the stream whose events are numbered from `key` on; None for positions,
                  of any stream
    stop          the key to end at; the last record may go past it
    parts, tails  are added to: see Frames
    """
    size = len(buffer)
    unpack = _LEAN.unpack_from
    while True:
        pos, key = _gather_singles(buffer, pos, salt, wanted, key, stop, parts, tails)
        if key >= stop or pos + HEADER_SIZE > size:
            break
        begin = buffer[pos:pos + 8]
        if begin not in _PLAIN:
            if begin not in _PASSED or _crc32(buffer[pos:pos + _HEADER.size], salt) != unpack(buffer, pos)[-1]:
                break
            pos += HEADER_SIZE + unpack(buffer, pos)[0]
            continue
        stored, count, frames_size, number, position, body_crc, header_crc = unpack(buffer, pos)
        start = pos + HEADER_SIZE
        end = start + stored
        if end > size:
            break
        if _crc32(buffer[pos:pos + _HEADER.size], salt) != header_crc:
            break
        picks = False
        if wanted is None:
            if position != key:
                break
        elif begin in _PLAIN_PACK:
            picks = True
        elif number != key or not buffer.startswith(wanted.begins, start):
            break
        view = buffer
        if stored < LONG_BODY:
            if _crc32(buffer[start:end]) != body_crc:
                break
        else:
            view = memoryview(buffer)       # here a copy would cost more
            if base + pos not in checked:
                if _crc32(view[start:end]) != body_crc:
                    break
                checked.add(base + pos)
        if picks:
            following = _pick(buffer, start, frames_size, count, wanted, key, parts, tails)
            if following == key:
                break
            key = following
        else:
            after = start + frames_size
            parts.append(view[start:after])
            tails.append((frames_size, None if count == 1 else buffer[after:after + 4 * count]))
            key += count
        pos = end
    return pos, key


class Stretch(NamedTuple):
    """Events of one stream that follow one another in number, of records that stand close together.

    first, stop   the numbers of the first one and after the last
    data          their frames
    ends          where each frame ends in `data`, as in the body of a record
    behind        the byte after the record of the last one
    """

    first: int
    stop: int
    data: bytes
    ends: bytes
    behind: int

    def since(self, number):
        """Its events from `number` on, which it has."""
        if number == self.first:
            return self
        ends = unpacked("I", self.ends)
        base = ends[number - self.first - 1]
        left = array("I", [end - base for end in ends[number - self.first:]])
        return Stretch(number, self.stop, self.data[base:], packed(left), self.behind)


def stretches(buffer, pos, stop, base, salt):
    """{stream: its first Stretch} of the small records that begin in [pos, stop) of `buffer`, up to one that is bad.

    base   the byte of the segment where `buffer` begins
    """
    found = {}      # stream -> [number after, how its frames begin, frames, byte behind them]
    hashed = {}     # the same by what the stream has in a pack's column; of two alike one
    known = None
    while pos < stop:
        frame, number, end = _single(buffer, pos, salt)
        if frame is not None:
            pos = end
            if known is None or not frame.startswith(known[1]):
                known = _begun(found, stream_of(frame), number)
            if known[0] == number:
                known[0] = number + 1
                known[2].append(frame)
                known[3] = base + pos
            continue
        try:
            one = decode(buffer, pos, salt)
        except BadRecord:
            break
        pos += one.size
        if one.kind == PACK:
            at = one.frames_size + 4 * one.count
            numbers = unpacked("Q", one.body[at:at + 8 * one.count])
            hashes = unpacked("I", one.body[at + 8 * one.count:at + 12 * one.count])
            for hash_, number, frame in zip(hashes, numbers, one.split()):
                known = hashed.get(hash_)
                if known is None:
                    known = hashed[hash_] = _begun(found, stream_of(frame), number)
                if known[0] == number and frame.startswith(known[1]):
                    known[0] = number + 1
                    known[2].append(frame)
                    known[3] = base + pos
        elif one.kind == EVENTS and one.frames_size < LONG_BODY:
            known = _begun(found, one.stream, one.number)
            if known[0] == one.number:
                known[0] = one.stop
                known[2] += one.split()
                known[3] = base + pos
    return {stream: Stretch(after - len(frames), after, *join_frames(frames), behind)
            for stream, (after, _, frames, behind) in found.items()}


class _Shapes(dict):
    """How the small records of one event are taken apart, by the bytes that their headers begin with.

    Those bytes say how long the record and its frame are, so that one call gets at all of it:
    (unpack_from, bytes of the record, its tail as Frames has them); None of any other record.
    """

    MOST = 4096

    def __missing__(self, head):
        stored, count, frames_size = struct.unpack_from("<III", head, 8)
        shape = None
        if head[:8] in _PLAIN_RUN and count == 1 and frames_size <= stored < LONG_BODY:
            unpack = struct.Struct(f"<{_HEADER.size}sI{frames_size}s{stored - frames_size}s").unpack_from
            shape = unpack, HEADER_SIZE + stored, (frames_size, None)
        if len(self) >= self.MOST:
            self.clear()
        self[head] = shape
        return shape


_shapes = _Shapes()


def _gather_singles(buffer, pos, salt, wanted, key, stop, parts, tails):
    """What `gather` does, for small records of one event, which are most where each was published by itself."""
    size = len(buffer)
    last = size - HEADER_SIZE
    which, begins = (1, b"") if wanted is None else (0, wanted.begins)
    place_of = _PLACE.unpack_from
    while key < stop and pos <= last:
        shape = _shapes[buffer[pos:pos + _HEAD]]
        if shape is None:
            break
        unpack, length, tail = shape
        if pos + length > size:
            break
        header, header_crc, frame, rest = unpack(buffer, pos)
        place = place_of(header, _AT_PLACE)
        if (place[which] != key or _crc32(header, salt) != header_crc or _crc32(rest, _crc32(frame)) != place[2]
                or not frame.startswith(begins)):
            break
        parts.append(frame)
        tails.append(tail)
        pos += length
        key += 1
    return pos, key


def _single(buffer, pos, salt):
    """(frame, number, byte behind it) of the record at `pos`, if it is plain, small, whole and of one event; or Nones.

    It is `decode` at a third of the cost, for the most frequent of records.
    """
    if pos + HEADER_SIZE <= len(buffer):
        shape = _shapes[buffer[pos:pos + _HEAD]]
        if shape is not None and pos + shape[1] <= len(buffer):
            unpack, length, _ = shape
            header, header_crc, frame, rest = unpack(buffer, pos)
            number, _, body_crc = _PLACE.unpack_from(header, _AT_PLACE)
            if _crc32(header, salt) == header_crc and _crc32(rest, _crc32(frame)) == body_crc:
                return frame, number, pos + length
    return None, None, None


def _begun(found, stream, number):
    known = found.get(stream)
    if known is None:
        known = found[stream] = [number, wanted(stream).begins, [], 0]
    return known


def _pick(buffer, start, frames_size, count, wanted, key, parts, tails):
    """Collect the frames of one stream from the body of a pack at byte `start`; return the next key."""
    ends = start + frames_size
    numbers = ends + 4 * count
    for i in _indexes_of(buffer, start, frames_size, count, wanted):
        if _U64.unpack_from(buffer, numbers + 8 * i)[0] == key:
            begin = start + (_U32.unpack_from(buffer, ends + 4 * i - 4)[0] if i else 0)
            end = start + _U32.unpack_from(buffer, ends + 4 * i)[0]
            parts.append(buffer[begin:end])
            tails.append((end - begin, None))
            key += 1
    return key


def _indexes_of(buffer, start, frames_size, count, wanted):
    """Which events of the pack whose body is at byte `start` are of one stream."""
    begins, hash_ = wanted
    ends = start + frames_size
    hashes = ends + 12 * count
    behind = hashes + 4 * count
    found = []
    at = buffer.find(hash_, hashes, behind)
    while at >= 0:
        i, odd = divmod(at - hashes, 4)
        if not odd:
            begin = start + (_U32.unpack_from(buffer, ends + 4 * i - 4)[0] if i else 0)
            if buffer.startswith(begins, begin):
                found.append(i)
        at = buffer.find(hash_, at + 1, behind)
    return found


def _inflate(body, size):
    """Inflate `body`, never to more than one byte past the `size` it claims."""
    try:
        inflated = zlib.decompressobj().decompress(body, size + 1)
    except zlib.error as error:
        raise BadRecord(f"its body can't be inflated: {error}") from None
    if len(inflated) != size:
        raise BadRecord(f"its body doesn't inflate to {size} bytes")
    return inflated


def guess(buffer, salt):
    """(stream, number) of a damaged record at the start of `buffer`, for an error message.

    Either is None where it can't be read; neither is to be relied on.
    """
    number = stream = None
    try:
        number = _header(buffer, 0, salt)[8]
    except BadRecord:
        pass
    start = HEADER_SIZE + _STREAM_AT
    if buffer[HEADER_SIZE:start] == b"*5\r\n+event\r\n+":
        stream = bytes(buffer[start:buffer.find(b"\r\n", start)]).decode("utf-8", "replace")
    return stream, number
