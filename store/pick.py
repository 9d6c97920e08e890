"""Events picked out of the log, one here and one there, in the order of positions.

    position ──> mark of the index ──> window ──> header, header, header ──> record

From a mark on, which stands each 64 KiB, headers are passed over without a look at
their checksums.  The record that is come to so has to have good ones, and to hold
what was asked for: if it doesn't, the plain way says what is wrong.
"""

from . import record
from .errors import CorruptSegment, EventsLost
from .index import SPACING
from .record import BadRecord
from .segment import HEADER_SIZE

# From a mark on, the header of the next record with a mark included.
_WINDOW = SPACING + record.HEADER_SIZE


class Picks:
    """See the top of this file.

    index   the log's
    runs    the log's Runs, the plain way
    """

    def __init__(self, index, runs):
        self._index = index
        self._runs = runs

    def of(self, positions, limit):
        """See Log.records_with.

        Raises    CorruptSegment, EventsLost, IndexDamaged
        """
        found = []
        window = _Window()
        one = None
        for position in positions:
            if one is None or position >= one.position + one.count:
                try:
                    one = self._record_with(position, window)
                except (EventsLost, CorruptSegment):
                    if found:
                        break       # the next call says so
                    raise
                limit -= one.size
            found.append(_left_at(one, position) if one.kind == record.CUT else one)
            if limit <= 0:
                break
        return found

    def _record_with(self, position, window):
        segment = self._runs.segment_at(position)
        first, byte = self._index.mark_at(segment.sequence, position) or (segment.header.first, HEADER_SIZE)
        try:
            one = window.record_with(segment, first, byte, position)
            if one.kind != record.GAP and one.position <= position < one.position + one.count:
                return one
        except BadRecord:
            pass
        one = self._runs.of_all(position, position + 1, 1)[0]
        if one.lost:
            raise EventsLost(segment.path, None, position, one.position + one.count)
        return one


def _left_at(cut, position):
    """The Record of what a cut left that holds a position; the cut itself if that is gone."""
    for one in cut.left():
        if one.kind != record.CUT and one.position <= position < one.position + one.count:
            return one
    return cut


class _Window:
    """Some bytes of a segment, from which records are picked in the order of positions."""

    def __init__(self):
        self._segment = None
        self._base = 0          # the byte of the segment where they begin
        self._bytes = b""
        self._at = 0            # where in them the last record begins
        self._position = 0      # and with which position

    def record_with(self, segment, first, byte, position):
        """The record that seems to hold `position`; that of `first` begins at `byte`, at or before it.

        Raises    BadRecord
        """
        if segment is not self._segment or self._position < first:
            self._load(segment, byte, _WINDOW)
        self._at = record.seek(self._bytes, self._at, position)
        if self._at + record.HEADER_SIZE > len(self._bytes):
            self._load(segment, self._base + self._at, _WINDOW)
            self._at = record.seek(self._bytes, 0, position)
        try:
            one = record.decode(self._bytes, self._at, segment.salt)
        except record.ShortRecord as short:
            self._load(segment, self._base + self._at, max(short.size, _WINDOW))
            one = record.decode(self._bytes, 0, segment.salt)
        self._position = one.position
        return one

    def _load(self, segment, byte, size):
        size = min(size, segment.end - byte)
        self._segment = segment
        self._base = byte
        self._bytes = segment.files.read(segment.fd, size, byte)
        self._at = 0
