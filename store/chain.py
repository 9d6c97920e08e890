"""Which file is which segment of a log, whatever became of names and headers.

    000000000000.segment   WHOLE      its header is good, and says that it is segment 0
    000000000001.segment   TURNED     one bit of its header was turned; turned back, it is what it was
    000000000002.segment   REBUILT    its header is gone: made anew from the segments beside it
    (no file)              MISSING    made up: reads as an empty file
    000000000004.segment   WHOLE
    000000000007.segment   a stranger, if it is another store's, or a copy of one of these

The salt of a segment is in its header, and without it no record can be told
from chance.  The next segment has it too (in `previous`); in the last one it is
found by running the checksum of a record's header from back to front.
"""

import os
from collections import Counter

from . import record
from .errors import UnknownFormat
from .segment import HEADER_SIZE, Header, Reader, Segment, decode_header, file_name, is_segment

WHOLE, TURNED, REBUILT, MISSING = "whole", "turned", "rebuilt", "missing"

# A segment on its way to its own name, which another one still has.
MOVING = ".moving"

_NO_ID = bytes(16)
_ID_AT = 32             # where a header has its id
_SEARCH = 1 << 20


class Slot:
    """A segment in its place.

    segment   to be read; of a MISSING one, as an empty file
    state     WHOLE, TURNED, REBUILT or MISSING; of the last two, `first` and
              `previous_end` in the header aren't known before the log is read
    """

    def __init__(self, segment, state):
        self.segment = segment
        self.state = state

    @property
    def known(self):
        """Whether the header is what it was."""
        return self.state in (WHOLE, TURNED)

    @property
    def name(self):
        return file_name(self.segment.sequence)


class Chain:
    """The segments of a folder, each in its place.

    slots        Slots from segment 0 to the last one
    strangers    [(path, why)] of files that aren't part of the log
    misplaced    [(path, the path that it should have)]
    unfinished   path of a last segment that was being made and holds nothing, or None
    broken       why the segments can't be put in a row, or None

    uuid         the store's, if no header says it
    Raises    UnknownFormat, OSError
    """

    def __init__(self, folder, files, uuid=None):
        self.folder = folder
        self.slots = []
        self.strangers = []
        self.misplaced = []
        self.unfinished = None
        self.broken = None
        self._files = files
        self._uuid = None
        self._states = {}       # sequence -> state
        self._found = {}        # sequence -> Segment whose header is known
        self._headless = {}     # sequence, as the name says -> path
        self._opened = []
        try:
            self._open_files()
            self._uuid = self._uuid or uuid or os.urandom(16)
            self._line_up()
        except BaseException:
            self.close()
            raise

    def adopt(self, segment):
        """Close this one too."""
        self._opened.append(segment)

    def close(self):
        for segment in self._opened:
            segment.close()

    # -- files ---------------------------------------------------------------

    def _open_files(self):
        names = [name for name in self._files.names(self.folder) if is_segment(name.removesuffix(MOVING))]
        paths = [os.path.join(self.folder, name) for name in names]
        segments = [(path, self._open(path)) for path in paths]
        self._uuid = _most_common(one.header.uuid for _, one in segments if one)
        for path, segment in segments:
            if segment is None:
                self._place_headless(path, last=path == paths[-1])
            elif segment.header.uuid != self._uuid:
                self._estrange(path, "it is of another store")
            elif self._is_at_home(segment):
                self._place(segment, WHOLE)
        for path, segment in segments:
            if segment is not None and segment.header.uuid == self._uuid and not self._is_at_home(segment):
                self._place_misplaced(path, segment)

    def _open(self, path):
        segment = Segment.open(self._files, path)
        if segment is not None:
            self._opened.append(segment)
        return segment

    def _is_at_home(self, segment):
        return os.path.basename(segment.path) == file_name(segment.sequence)

    def _place(self, segment, state):
        self._found[segment.sequence] = segment
        self._states[segment.sequence] = state

    def _estrange(self, path, why):
        self.strangers.append((path, why))

    def _place_misplaced(self, path, segment):
        if segment.sequence in self._found:
            self._estrange(path, f"it is another segment {segment.sequence}")
            return
        self._place(segment, WHOLE)
        right = os.path.join(self.folder, file_name(segment.sequence))
        self.misplaced.append((path, right))
        headless = self._headless.pop(segment.sequence, None)
        if headless is not None:
            self._estrange(headless, "its header is damaged, and another file is this segment")

    def _place_headless(self, path, last):
        """A file whose header isn't one: a bit of it was turned, or more, or it was never written."""
        fd = self._files.open(path)
        try:
            size = self._files.size(fd)
            raw = self._files.read(fd, HEADER_SIZE, 0)
            header = _turned_back(raw, path)
            sequence = int(os.path.basename(path).split(".")[0])
            if header is not None and header.sequence == sequence and self._uuid in (None, header.uuid):
                segment = Segment(self._files, path, fd, header)
                self._opened.append(segment)
                fd = None
                self._uuid = header.uuid
                self._place(segment, TURNED)
            elif last and size <= HEADER_SIZE:
                self.unfinished = path
            else:
                self._headless[sequence] = path
        finally:
            if fd is not None:
                self._files.close(fd)

    # -- the row -------------------------------------------------------------

    def _line_up(self):
        for sequence in range(max([*self._found, *self._headless], default=-1) + 1):
            segment = self._found.get(sequence)
            if segment is not None:
                slot = Slot(segment, self._states[sequence])
                self._check_joint(segment)
            else:
                slot = self._rebuilt(sequence) or self._made_up(sequence)
            self.slots.append(slot)
        while self.slots and self.slots[-1].state == MISSING:   # whose file turned out to be a stranger
            self.slots.pop()

    def _check_joint(self, segment):
        """Note it if a known segment doesn't follow the known one before it."""
        if self.slots and self.slots[-1].known and segment.header.previous != self.slots[-1].segment.header.id:
            self.broken = self.broken or (
                f"{file_name(segment.sequence)} follows segment {segment.sequence - 1} of id "
                f"{segment.header.previous.hex()}, found id {self.slots[-1].segment.header.id.hex()}: one of the "
                f"two is from another copy of this store.  Move it away, and repair makes up for it")

    def _rebuilt(self, sequence):
        """The Slot of a file that lost its header; None if there is none, or no telling what is in it."""
        path = self._headless.get(sequence)
        if path is None:
            return None
        segment = Segment(self._files, path, self._files.open(path), self._header(sequence, _NO_ID))
        self._opened.append(segment)
        following = self._found.get(sequence + 1)
        id_ = following.header.previous if following else _id_by_records(segment)
        if id_ is None:
            self._estrange(path, "neither its header nor any record in it can be read")
            return None
        return Slot(Segment(self._files, path, segment.fd, self._header(sequence, id_)), REBUILT)

    def _made_up(self, sequence):
        """The Slot of a segment that isn't there."""
        following = self._found.get(sequence + 1)
        header = self._header(sequence, following.header.previous if following else os.urandom(16))
        segment = Segment(self._files, os.path.join(self.folder, file_name(sequence)),
                          self._files.open(os.devnull), header)
        self._opened.append(segment)
        return Slot(segment, MISSING)

    def _header(self, sequence, id_):
        before = self.slots[-1].segment.header if self.slots else None
        behind = [one.header.epoch for number, one in self._found.items() if number > sequence]
        # Of the last segment nobody knows whether its epoch was a new one.
        epoch = min(behind) if behind else before.epoch + 1 if before else 2
        return Header(self._uuid, id_, before.id if before else _NO_ID, sequence, epoch, 0, 0, 0, 0)


def _most_common(uuids):
    counted = Counter(uuids).most_common(1)
    return counted[0][0] if counted else None


def _turned_back(raw, path):
    """The Header in `raw` once a single bit of it is turned back, or None."""
    data = bytearray(raw)
    for bit in range(8 * len(data)):
        data[bit // 8] ^= 1 << bit % 8
        try:
            header = decode_header(bytes(data), path)
        except UnknownFormat:
            header = None
        if header is not None:
            return header
        data[bit // 8] ^= 1 << bit % 8
    return None


def _id_by_records(segment):
    """The id of a segment without a header, of which only the salt is sure; None if no record in it is good.

    A payload may hold what looks like records, but can't hold a row of them
    that goes on behind its own end: the row that goes furthest is the log's.
    """
    segment.end = segment.file_size()
    reaches = {}        # salt -> how far its records go
    byte = HEADER_SIZE
    while byte < segment.end and segment.end not in reaches.values():
        data = segment.files.read(segment.fd, _SEARCH + record.HEADER_SIZE, byte)
        at = data.find(record.MAGIC)
        while 0 <= at <= len(data) - record.HEADER_SIZE and at < _SEARCH:
            salt = record.salt_behind(data, at)
            if salt not in reaches:
                reach = _reach(segment, salt, byte + at)
                if reach > byte + at:
                    reaches[salt] = reach
            at = data.find(record.MAGIC, at + 1)
        byte += _SEARCH
    if not reaches:
        return None
    salt = max(reaches, key=reaches.get)
    raw = segment.files.read(segment.fd, HEADER_SIZE, 0).ljust(HEADER_SIZE, b"\0")
    return salt.to_bytes(4, "little") + raw[_ID_AT + 4:_ID_AT + 16]


def _reach(segment, salt, byte):
    """Where the records that begin at `byte` end."""
    segment.salt = salt
    try:
        for at, found in Reader(segment).records(byte):
            byte = at + found.size
    except record.BadRecord:
        pass
    return byte
