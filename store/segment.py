"""One file of records: create it, open it, read and write at a byte.

     0       8         12     16     32   48         64         72
    +-------+---------+------+------+----+----------+----------+-------+
    | magic | version | zero | uuid | id | previous | sequence | epoch |
    +-------+---------+------+------+----+----------+----------+-------+
    80       88             96           104     112   120    124   128
    +-------+--------------+------------+-------+-----+------+-----+---------
    | first | previous end | generation | clock | end | gone | crc | records …
    +-------+--------------+------------+-------+-----+------+-----+---------

    magic         "MEILIES" and a zero byte
    version       of the layout of this header and of what may follow, 1
    uuid          the store's; all of its segments have it
    id            random, this file's own.  Its first 4 bytes are the salt of the
                  checksums in its records
    previous      the id of the segment before, zeros in the first
    sequence      its number, which is also its name
    epoch         goes up by one whenever events that had been numbered were cut
    first         the position of its first event
    previous end  the byte where the records of the segment before end.  This is
                  what seals that segment, and what makes a cut final: from the
                  moment when this header is on disk, the bytes behind it are gone
    generation    goes up when the segment is rewritten
    clock         microseconds since 1970 when it was created
    end           the byte where its records end, if it was rewritten: the next
                  segment's header tells where they ended before.  0 otherwise
    gone          how many of its events were taken out when it was rewritten

The header is on disk, and the folder too, before the first record is written.
So a last segment with a bad header never held anything.
"""

import logging
import os
import re
import struct
import zlib
from typing import NamedTuple

from . import record
from .errors import CorruptSegment, UnknownFormat

log = logging.getLogger("meilies.log")

MAGIC = b"MEILIES\0"
VERSION = 1
_HEADER = struct.Struct("<8sII16s16s16sQQQQQQQI")
_CRC = struct.Struct("<I")
HEADER_SIZE = _HEADER.size + _CRC.size

# Places in a segment are u32 in the index.
MAX_SIZE = (1 << 32) - 1

# Read this much where records follow one another, and this much where they don't.
# The longer holds four full records with their headers and ends: with 256 KiB the
# fourth was read twice, and replays of batches took twice as long.
LONG_READ = 288 * 1024
SHORT_READ = 10 * 1024

# What the name of a file ends with that is to replace a segment, or to be a copy of one, until it is whole.
MERGING = ".merging"
COPYING = ".copying"

# Bytes of zeros that are written behind the records, and the longest append that is worth it.  A sync of
# bytes that have their place on disk already writes no metadata: 110 us in place of 180 for a small append,
# 140 for 270 at 17 KB.  From 256 KB on it costs more to write everything twice.
AHEAD = 1 << 20
_WORTH_IT = 256 * 1024

_NAME = re.compile(r"[0-9]{12}\.segment\Z")


class Header(NamedTuple):
    """What a segment says of itself; the fields of the picture above."""

    uuid: bytes
    id: bytes
    previous: bytes
    sequence: int
    epoch: int
    first: int
    previous_end: int
    generation: int
    clock: int
    end: int = 0
    gone: int = 0

    def encode(self):
        packed = _HEADER.pack(MAGIC, VERSION, 0, *self)
        return packed + _CRC.pack(zlib.crc32(packed))


def decode_header(data, path):
    """The Header in `data`, or None if these bytes are not one.

    Raises    UnknownFormat    a good header of a version that isn't known
    """
    if len(data) < HEADER_SIZE or data[:8] != MAGIC:
        return None
    if _CRC.unpack_from(data, _HEADER.size)[0] != zlib.crc32(data[:_HEADER.size]):
        return None
    _, version, zero, *fields = _HEADER.unpack_from(data)
    if version != VERSION or zero:
        raise UnknownFormat(path, 8, f"segment version {version}")
    return Header(*fields)


def file_name(sequence):
    return f"{sequence:012d}.segment"


def is_segment(name):
    return bool(_NAME.match(name))


def is_unfinished(name):
    """Whether it is a segment that was being rewritten or copied."""
    stem, dot, suffix = name.rpartition(".")
    return dot + suffix in (MERGING, COPYING) and is_segment(stem)


class Checked:
    """The bytes where long records begin that were compared with their checksums since the file was opened.

    A bit for each LONG_BODY bytes of the file, which is enough: no two of them
    begin in the same.  Threads may use it at once; what one of them loses is
    compared again.
    """

    def __init__(self):
        self._bits = bytearray()

    def __contains__(self, byte):
        at, bit = divmod(byte // record.LONG_BODY, 8)
        return at < len(self._bits) and bool(self._bits[at] >> bit & 1)

    def add(self, byte):
        at, bit = divmod(byte // record.LONG_BODY, 8)
        if at >= len(self._bits):
            self._bits += bytes(at + 1 - len(self._bits))
        self._bits[at] |= 1 << bit


class Segment:
    """An open file of records.  Reading may happen in any thread, writing in one at a time.

    end      the byte behind its last record; where the next one goes
    filled   the byte up to which zeros were written ahead of the records, or were to be
    """

    def __init__(self, files, path, fd, header):
        self.files = files
        self.path = path
        self.fd = fd
        self.header = header
        self.sequence = header.sequence
        self.salt = _CRC.unpack_from(header.id)[0]
        self.end = HEADER_SIZE
        self.filled = 0
        self.checked = Checked()

    @classmethod
    def create(cls, files, folder, header):
        """Make the file, and return when it and its name are on disk."""
        path = os.path.join(folder, file_name(header.sequence))
        fd = files.create(path)
        try:
            files.write(fd, header.encode(), 0)
            files.sync(fd)
            files.sync_folder(folder)
        except BaseException:
            files.close(fd)
            raise
        return cls(files, path, fd, header)

    @classmethod
    def open(cls, files, path, doubted=False):
        """Open the file; None if its header is not one.

        doubted   a sync of the header may have failed: it is read from the disk
        """
        fd = files.open(path)
        try:
            if doubted:
                files.sync(fd)
                files.forget(fd)
            header = decode_header(files.read(fd, HEADER_SIZE, 0), path)
        except BaseException:
            files.close(fd)
            raise
        if header is None:
            files.close(fd)
            return None
        return cls(files, path, fd, header)

    def file_size(self):
        return self.files.size(self.fd)

    def has_only_zeros(self, byte):
        """Whether nothing else stands from `byte` to the end of the file."""
        size = self.file_size()
        while byte < size:
            data = self.files.read(self.fd, min(LONG_READ, size - byte), byte)
            if data.count(0) != len(data):
                return False
            byte += len(data)
        return True

    def fill_ahead(self, size, limit):
        """Write zeros, up to byte `limit`, where the records after an append of `size` bytes will go,
        if that is worth it and none are there.

        They are on disk with the next sync.  Recovery takes zeros for the end, so
        a crash may leave any of them; and nothing depends on them, so the disk may refuse.
        """
        if self.end <= self.filled or size > _WORTH_IT:
            return
        self.filled = min(self.end + AHEAD, limit)
        if self.end < self.filled:
            try:
                self.files.fill(self.fd, self.end, self.filled)
            except (OSError, MemoryError) as error:
                log.debug("%s: nothing is written ahead of its records (%s)", self.path, error)

    def trim(self):
        """Give back what was written ahead; zeros that the disk doesn't take back take room, and no more."""
        try:
            if self.file_size() > self.end:
                self.files.truncate(self.fd, self.end)
        except OSError as error:
            log.warning("%s: the zeros behind its records stay (%s)", self.path, error)

    def sync(self):
        self.files.sync(self.fd)

    def close(self):
        self.files.close(self.fd)

    def corrupt(self, pos, bad, position=None):
        """The error for the BadRecord `bad` at byte `pos`, with what can be read of the record."""
        if bad.unknown:
            return UnknownFormat(self.path, pos, bad.why)
        stream, number = record.guess(self.files.read(self.fd, SHORT_READ, pos), self.salt)
        return CorruptSegment(self.path, pos, bad.why, stream, number, position)


class Reader:
    """Reads records of one segment through a window of its bytes."""

    def __init__(self, segment, end=None):
        self._segment = segment
        self._end = segment.end if end is None else end
        self._window = b""
        self._base = 0

    def record(self, pos, span=LONG_READ):
        """The record at byte `pos`; `span` bytes are read if it isn't at hand.

        Raises    BadRecord
        """
        at = pos - self._base
        if not 0 <= at <= len(self._window) - record.HEADER_SIZE:
            self._load(pos, span)
            at = 0
        try:
            return record.decode(self._window, at, self._segment.salt)
        except record.ShortRecord as short:
            if at == 0 and len(self._window) >= min(short.size, self._end - pos):
                raise
            self._load(pos, max(short.size, span))
            return record.decode(self._window, 0, self._segment.salt)

    def records(self, pos):
        """Yield (pos, record) from byte `pos` to the end.

        Raises    BadRecord, when the one after the last yielded isn't whole
        """
        while pos < self._end:
            found = self.record(pos)
            yield pos, found
            pos += found.size

    def _load(self, pos, size):
        size = min(size, self._end - pos)
        self._window = self._segment.files.read(self._segment.fd, size, pos) if size > 0 else b""
        self._base = pos
