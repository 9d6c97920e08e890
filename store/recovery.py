"""Find where a log ends: read records until one is not whole, and say whether
that is a tear or damage.

    segment 7              segment 8
    | R R R R R R R R R | | R R R x . . R . |
                                  |     '-- its header says synced = F
                                  '-- the first bad record, at position P

Every header carries the position that was on disk when it was written, and the
index remembers one.  F is the highest of them all; controls, which have no
position, are counted beside them in the same way.  P < F: these bytes were on
disk and are not what they were.  That is damage: nothing is changed, the caller
gets CorruptSegment.  P >= F: the write was never finished.  That is a tear: what
follows may be anything (unsynced pages reach the disk in any order, so good
records behind it prove nothing) and was never promised to anyone.

What is assumed of the disk: an unsynced write can damage no bytes but its own.
"""

from . import record
from .errors import CorruptSegment
from .record import BadRecord
from .segment import HEADER_SIZE, Reader

_SEARCH = 1 << 20


class End:
    """Where the log ends.

    segments    how many segments it has; those behind were never synced
    byte        where the records of the last of them end
    position    which the next event gets
    synced      F
    controls    how many there are
    torn        why the record at `byte` is bad, or None if the log ends there by itself
    """

    def __init__(self, segments, byte, position, synced, controls, torn=None):
        self.segments = segments
        self.byte = byte
        self.position = position
        self.synced = synced
        self.controls = controls
        self.torn = torn


class Scan:
    """Reads the log from some byte on to its end, keeping count.

    position   of the first event there; afterwards, of the next one
    synced     the F that is known already, or 0
    marked     the highest F that a header said
    heads      {stream: next number} as of there; brought up to date
    visit      called with (segment, byte, record), in order, for each record of
               an append that is there as a whole
    controls   how many there are before there, all of them on disk; afterwards, how many there are
    controls_marked   how many were on disk, as a header said
    """

    def __init__(self, position, synced, heads, visit, controls=0):
        self.position = position
        self.synced = synced
        self.marked = 0
        self.heads = heads
        self.controls = self._controls_synced = controls
        self.controls_marked = 0
        self._visit = visit
        self._forget_group()

    def run(self, segments, start, byte, stop=None):
        """Read from byte `byte` of segments[start] on, and return the End.

        stop      a byte of the last segment to read to, instead of its end

        Raises    CorruptSegment   damage
                  UnknownFormat    a record of a newer version
        """
        for i in range(start, len(segments)):
            segment = segments[i]
            if byte == HEADER_SIZE:
                self._check_joint(segment)
            last = i + 1 == len(segments)
            bad, byte = self._read(segment, byte, stop if last else None)
            begin = self._group[0][0] if self._group else byte      # of the append that isn't whole
            # Zeros are what was preallocated, and not used yet.
            if bad is not None and not (last and segment.has_only_zeros(begin)):
                self._raise_synced(*_highest_synced(segments[i:], begin))
                if bad.unknown or self.position < self.synced or self.controls < self._controls_synced:
                    raise segment.corrupt(byte, bad, self._next_position())
                return End(i + 1, begin, self.position, self.synced, self.controls, bad.why)
            end, byte = byte, HEADER_SIZE
        return End(len(segments), end, self.position, self.synced, self.controls)

    def _raise_synced(self, position, controls):
        self.synced = max(self.synced, position)
        self._controls_synced = max(self._controls_synced, controls)

    def _check_joint(self, segment):
        if segment.header.first != self.position:
            raise CorruptSegment(
                segment.path, 0, f"it begins at position {segment.header.first}, the segment before it "
                f"ends at {self.position}", position=self.position)

    def _read(self, segment, byte, stop):
        """Read the records of a segment; return (the BadRecord that ended it or None, its byte)."""
        try:
            for at, found in Reader(segment, stop).records(byte):
                self._take(segment, at, found)
                byte = at + found.size
        except BadRecord as bad:
            return bad, byte
        if self._group:
            return BadRecord("the append that goes on here isn't whole"), byte
        return None, byte

    def _take(self, segment, byte, found):
        self._check_follows(found)
        self._group.append((byte, found))
        self._group_position = found.position + found.count
        self._group_controls = max(self._group_controls, found.controls)
        if not found.more_follows:
            self._accept(segment)

    def _check_follows(self, found):
        """Raise BadRecord unless `found` goes on where the record before it ended, in each of its streams."""
        position = self._next_position()
        if found.position != position:
            raise BadRecord(f"it says position {found.position}, expected {position}")
        if not found.count:
            if found.kind == record.CONTROL and found.number < self._group_controls:
                raise BadRecord(f"it says that {found.number} controls came before it, found {self._group_controls}")
            return
        if found.kind in record.WITHOUT_EVENTS:
            for lost in found.runs():
                self._check_number(lost.stream, lost.number, lost.count)
        elif found.pack is None:
            self._check_number(found.stream, found.number, found.count)
        else:
            for stream, number in zip(*found.pack):
                self._check_number(stream, number, 1)

    def _check_number(self, stream, number, count):
        expected = self._group_heads.get(stream)
        if expected is None:
            expected = self.heads.get(stream, 0)
        if number != expected:
            raise BadRecord(f"it says number {number} of its stream, expected {expected}")
        self._group_heads[stream] = number + count

    def _next_position(self):
        """What the next record must begin at."""
        return self._group_position if self._group else self.position

    def _accept(self, segment):
        """The append is whole: visit its records."""
        for byte, one in self._group:
            self._visit(segment, byte, one)
            self.marked = max(self.marked, one.synced)
            self.controls_marked = max(self.controls_marked, one.controls_synced)
        self._raise_synced(self.marked, self.controls_marked)
        self.position = self._group_position
        self.controls = self._group_controls
        self.heads.update(self._group_heads)
        self._forget_group()

    def _forget_group(self):
        self._group = []            # (byte, record) of an append whose last record is still to come
        self._group_heads = {}      # {stream: next number} behind it
        self._group_position = 0
        self._group_controls = self.controls    # how many there are behind it


def _highest_synced(segments, byte):
    """The highest (position, controls) on disk that any good header says, from byte `byte` of the first segment on."""
    highest = most = 0
    for segment in segments:
        size = segment.file_size()
        while byte < size:
            # Pieces overlap by a header, so that none is missed between two.
            data = segment.files.read(segment.fd, _SEARCH + record.HEADER_SIZE, byte)
            at = data.find(record.MAGIC)
            while at >= 0:
                position, controls = record.synced_in(data, at, segment.salt) or (0, 0)
                highest, most = max(highest, position), max(most, controls)
                at = data.find(record.MAGIC, at + 1)
            byte += _SEARCH
        byte = HEADER_SIZE
    return highest, most
