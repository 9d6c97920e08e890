"""A run of consecutive events of one stream as bytes: encode it, decode it, or
say why these bytes are not one.  The only file that knows what is inside.

     0       4      5      6       8        12      16        20      24
    +-------+------+------+-------+--------+-------+---------+-------+
    | magic | kind | zero | flags | stored | count | frames  | size  |
    +-------+------+------+-------+--------+-------+---------+-------+
    24       32         40      48       56         60           64
    +--------+----------+-------+--------+----------+------------+------
    | number | position | clock | synced | body crc | header crc | body
    +--------+----------+-------+--------+----------+------------+------

    magic       ff 45 56 01: the last byte is the version of this layout
    kind        1 events; 2 a mark, which has no event and no body
    flags       1 more follows: this record and the next are one append
                2 the body is compressed (zlib)
                4 the body has details
    stored      bytes of the body in the file
    count       events
    frames      bytes of frames in the body, before compression
    size        bytes of the body before compression
    number      of the first event in its stream
    position    of the first event in the store
    clock       microseconds since 1970, UTC, as the clock said when it was written
    synced      every event before this position was on disk when it was written
    body crc    CRC-32 of the body as stored
    header crc  CRC-32 of the 60 bytes before it, begun from the segment's salt

All numbers are little-endian and unsigned.  The body:

    frames      each event as subscribers get it:
                *5 +event +STREAM :NUMBER +NAME $length DATA
    ends        for each event a u32: where its frame ends, from the first frame
    details     for each event u16 bytes of id, u16 bytes of tags, u32 bytes of
                metadata; then for each event its id, tags and metadata

The salt is random, drawn for each segment, and never leaves the machine.
So bytes of an old file, or a payload made to look like a record, don't pass.
"""

import struct
import sys
import zlib
from array import array
from bisect import bisect_right
from itertools import accumulate
from typing import NamedTuple

MAGIC = b"\xffEV\x01"
EVENTS = 1
MARK = 2
MORE = 1
ZIPPED = 2
DETAILS = 4

KINDS = {EVENTS, MARK}
FLAGS = MORE | ZIPPED | DETAILS

# A record is closed when its frames reach this; only a single event is larger.
MAX_FRAMES = 64 * 1024
# How a header begins whose body is frames as they are, `ends`, and perhaps details.
_PLAIN = {MAGIC + struct.pack("<BBH", EVENTS, 0, flags) for flags in (0, MORE, DETAILS, MORE | DETAILS)}
# From this size on it is worth remembering that a body was compared with its checksum.
LONG_BODY = 4096
# What `size` may claim: a compressed body can't inflate past it.
MAX_BODY = 1 << 30

_HEADER = struct.Struct("<4sBBHIIIIQQQQI")
_U32 = struct.Struct("<I")
# Of a header: stored, count, frames, number, position and the two checksums.
_LEAN = struct.Struct("<8xIII4xQQ16xII")
_DETAIL = struct.Struct("<HHI")
HEADER_SIZE = _HEADER.size + _U32.size

MAX_ID = 0xFFFF

_STREAM_AT = len(b"*5\r\n+event\r\n+")
_crc32 = zlib.crc32


class Event(NamedTuple):
    """One event, as it is read.

    number     its place in its stream, from 0
    position   its place in the store, from 0
    time       microseconds since 1970, UTC, when it was appended
    """

    stream: str
    number: int
    position: int
    time: int
    name: str
    data: bytes
    id: bytes = b""
    metadata: bytes = b""


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


class Record:
    """A decoded record.  `body` is inflated; positions in it are bytes.

    size   bytes in the file, header included
    """

    __slots__ = ("kind", "flags", "size", "count", "number", "position", "clock", "synced",
                 "body", "frames_size", "_ends", "_stream")

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

    @property
    def stream(self):
        """The stream's name (bytes); every frame begins with it."""
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
                self._ends = _unpack_u32(self.body[self.frames_size:self.frames_size + 4 * self.count])
        return self._ends

    @property
    def more_follows(self):
        return bool(self.flags & MORE)

    @property
    def stop(self):
        """The number after the last one."""
        return self.number + self.count

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
        stream = self.stream.decode()
        details = self._details() if self.flags & DETAILS else None
        for i in range(first, stop):
            name, data = split_frame(bytes(self.frames(i, i + 1)))
            id_, metadata = details[i] if details else (b"", b"")
            yield Event(stream, self.number + i, self.position + i, self.clock,
                        name.decode(), data, id_, metadata)

    def details(self):
        """(id, metadata) of each event."""
        return self._details() if self.flags & DETAILS else [(b"", b"")] * self.count

    def _details(self):
        table = self.frames_size + 4 * self.count
        pos = table + _DETAIL.size * self.count
        details = []
        for i in range(self.count):
            id_size, tags_size, metadata_size = _DETAIL.unpack_from(self.body, table + _DETAIL.size * i)
            after_id = pos + id_size
            metadata_at = after_id + tags_size
            end = metadata_at + metadata_size
            details.append((bytes(self.body[pos:after_id]), bytes(self.body[metadata_at:end])))
            pos = end
        return details


def frames(stream, name, number, datas):
    """The frames of events alike but for their data, the first one numbered `number`."""
    if len(datas) == 1:
        data = datas[0]
        return [b"*5\r\n+event\r\n+%b\r\n:%d\r\n+%b\r\n$%d\r\n%b\r\n" % (
            stream, number, name, len(data), data)]
    head = b"*5\r\n+event\r\n+%b\r\n:" % stream
    tail = b"\r\n+%b\r\n$" % name
    return [b"%b%d%b%d\r\n%b\r\n" % (head, n, tail, len(data), data)
            for n, data in enumerate(datas, number)]


def stream_of(frame):
    """The stream's name in a frame, or in frames one behind the other."""
    return bytes(frame[_STREAM_AT:frame.index(b"\r\n", _STREAM_AT)])


def split_frame(frame):
    """(name, data) of a frame."""
    _, _, _, _, name, _, data = frame.split(b"\r\n", 6)
    return name[1:], data[:-2]


def details(pairs):
    """The details section for [(id, metadata), …]."""
    table = [_DETAIL.pack(len(id_), 0, len(metadata)) for id_, metadata in pairs]
    return b"".join(table) + b"".join([id_ + metadata for id_, metadata in pairs])


def encode(salt, number, position, clock, synced, frame_list, more=False, pairs=None, level=0):
    """The bytes of one record, whose first event has this number and position.

    frame_list   what `frames` made, at least one
    more         the next record belongs to the same append
    pairs        [(id, metadata), …], one for each frame, or None
    level        zlib's, 1 to 9; 0 leaves the body as it is
    """
    count = len(frame_list)
    if count == 1:
        frame = frame_list[0]
        frames_size = len(frame)
        body = frame + _U32.pack(frames_size)
    else:
        ends = array("I", accumulate(map(len, frame_list)))
        frames_size = ends[-1]
        body = b"".join(frame_list) + _pack_u32(ends)
    flags = MORE if more else 0
    if pairs is not None:
        flags |= DETAILS
        body += details(pairs)
    stored, size = body, len(body)
    if level:
        zipped = zlib.compress(body, level)
        if len(zipped) < size:
            flags |= ZIPPED
            stored = zipped
    header = _HEADER.pack(MAGIC, EVENTS, 0, flags, len(stored), count, frames_size, size,
                          number, position, clock, synced, _crc32(stored))
    return b"%b%b%b" % (header, _U32.pack(_crc32(header, salt)), stored)


def encode_mark(salt, position, clock):
    """A record without events, which says that all before `position` is on disk."""
    header = _HEADER.pack(MAGIC, MARK, 0, 0, 0, 0, 0, 0, 0, position, clock, position, 0)
    return header + _U32.pack(_crc32(header, salt))


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
    if size > MAX_BODY or frames_size + 4 * count > size or (not flags & ZIPPED and stored != size):
        raise BadRecord("the sizes in its header contradict each other")
    return fields


def _header_checks(header, salt):
    return _U32.unpack_from(header, _HEADER.size)[0] == _crc32(header[:_HEADER.size], salt)


def synced_in(buffer, pos, salt):
    """The `synced` of a whole header at `pos`, or None if there is none."""
    try:
        return _header(buffer, pos, salt)[11]
    except BadRecord:
        return None


def decode(buffer, pos, salt):
    """The record at byte `pos` of `buffer` (bytes).

    Raises    ShortRecord    its header is good and its body goes on past the buffer
              BadRecord      anything else is wrong with it
    """
    _, kind, _, flags, stored, count, frames_size, size, number, position, clock, synced, crc = \
        _header(buffer, pos, salt)
    start = pos + HEADER_SIZE
    body = buffer[start:start + stored]
    if len(body) < stored:
        raise ShortRecord(HEADER_SIZE + len(body), HEADER_SIZE + stored)
    if _crc32(body) != crc:
        raise BadRecord("its body doesn't match its checksum")
    if flags & ZIPPED:
        body = _inflate(body, size)
    return Record(kind, flags, HEADER_SIZE + stored, count, number, position, clock, synced,
                  body, frames_size)


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
                    self._ends += [base + end for end in _unpack_u32(ends)]
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


def opening(stream):
    """How each frame of `stream` begins."""
    return b"*5\r\n+event\r\n+%b\r\n" % stream


def gather(buffer, pos, base, salt, checked, begins, key, stop, parts, tails):
    """Collect the frames of the records from byte `pos` of `buffer` on; return (the byte after, the next key).

    It is `decode` for replays of small records, at a third of the cost: it takes
    what is plain, whole and as expected, and stops at anything else, for
    `decode` to say what that is.

    base          the byte of the segment where `buffer` begins
    checked       bytes of long records whose bodies were compared before; is added to
    begins        `opening` of the stream whose events are numbered from `key` on; None
                  for positions, of any stream
    stop          the key to end at; the last record may go past it
    parts, tails  are added to: see Frames
    """
    size = len(buffer)
    unpack = _LEAN.unpack_from
    while key < stop and pos + HEADER_SIZE <= size and buffer[pos:pos + 8] in _PLAIN:
        stored, count, frames_size, number, position, body_crc, header_crc = unpack(buffer, pos)
        start = pos + HEADER_SIZE
        end = start + stored
        if end > size:
            break
        if _crc32(buffer[pos:pos + _HEADER.size], salt) != header_crc:
            break
        if begins is None:
            if position != key:
                break
        elif number != key or not buffer.startswith(begins, start):
            break
        after = start + frames_size
        if stored < LONG_BODY:
            if _crc32(buffer[start:end]) != body_crc:
                break
            parts.append(buffer[start:after])
        else:
            view = memoryview(buffer)       # here a copy would cost more
            if base + pos not in checked:
                if _crc32(view[start:end]) != body_crc:
                    break
                checked.add(base + pos)
            parts.append(view[start:after])
        tails.append((frames_size, None if count == 1 else buffer[after:after + 4 * count]))
        key += count
        pos = end
    return pos, key


def _inflate(body, size):
    """Inflate `body`, never to more than one byte past the `size` it claims."""
    try:
        inflated = zlib.decompressobj().decompress(body, size + 1)
    except zlib.error as error:
        raise BadRecord(f"its body can't be inflated: {error}") from None
    if len(inflated) != size:
        raise BadRecord(f"its body doesn't inflate to {size} bytes")
    return inflated


def _pack_u32(values):
    if sys.byteorder == "big":
        values = array("I", values)
        values.byteswap()
    return values.tobytes()


def _unpack_u32(data):
    values = array("I")
    values.frombytes(data)
    if sys.byteorder == "big":
        values.byteswap()
    return values


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
