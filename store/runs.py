"""From the log to runs of one stream and to records of all, forwards and backwards.

    forwards     place ──> r r r r r ──>         the places of a stream, or a mark, say where
    backwards    mark  ──> r r r r] r r <──      a piece is read from its front, and given from its back

Where events are lost there is what says so: a Lost among the runs, a gap among
the records.  Whoever reads decides what that means.
"""

from bisect import bisect_right

from . import record
from .index import SPACING, IndexDamaged
from .record import BadRecord
from .replay import CLOSE, PLACES_AT_ONCE
from .segment import HEADER_SIZE, LONG_READ, SHORT_READ, Reader

# Places so many bytes from one another are read in one piece, going back.
_PIECE = 64 * 1024


class Runs:
    """See the top of this file.

    index      the log's
    segments   the log's
    firsts     the positions that they begin at
    """

    def __init__(self, index, segments, firsts):
        self._index = index
        self._segments = segments
        self._firsts = firsts

    def segment_at(self, position):
        return self._segments[bisect_right(self._firsts, position) - 1]

    # -- forwards ------------------------------------------------------------

    def of_stream(self, stream, number, stop, limit):
        """What the events of `stream` from `number` on are in: at least one run or Lost, about `limit` bytes
        if there are more; none if number >= stop.

        The first and the last may hold more than was asked for.
        Raises    CorruptSegment   when the very first can't be read
                  IndexDamaged
        """
        found = []
        size = 0
        while number < stop and size < limit:
            known = self._index.places(stream, number, PLACES_AT_ONCE)
            if known is None:
                raise IndexDamaged(f"it has no place for event {number} of stream {stream!r}")
            sequence, places = known
            segment = self._segments[sequence]
            before = number
            for one in _stretch(segment, stream, places, number, bool(found)):
                found.append(one)
                number = one.stop
                size += one.size
                if number >= stop or size >= limit:
                    break
            if number == before:
                if found:
                    break       # the next call says what is wrong with the next record
                raise IndexDamaged(f"event {number} of stream {stream!r} isn't where it says, "
                                   f"at byte {places[0][1]} of {segment.path}")
        return found

    def of_all(self, position, stop, limit):
        """The records, gaps among them, that have the events from `position` on, as `of_stream` has its runs."""
        found = []
        size = 0
        while position < stop and size < limit:
            segment = self.segment_at(position)
            reached, byte = self._index.mark_at(segment.sequence, position) or (segment.header.first, HEADER_SIZE)
            before = position
            try:
                for at, one in Reader(segment).records(byte):
                    byte = at + one.size
                    reached = one.position + one.count
                    if one.position + one.count > position:
                        found += [part for part in _parts(one) if part.position + part.count > position]
                        position = one.position + one.count
                        size += one.size
                        if position >= stop or size >= limit:
                            break
            except BadRecord as bad:
                if found:
                    break       # the next call says what is wrong
                raise segment.corrupt(byte, bad, reached) from None
            if position == before:
                raise IndexDamaged(f"position {position} isn't in {segment.path}")
        return found

    # -- backwards -----------------------------------------------------------

    def of_stream_back(self, stream, first, stop, limit):
        """`of_stream`, but of the events before `stop`, the last one first, down to `first`."""
        found = []
        size = 0
        while stop > first and size < limit:
            known = self._index.places_back(stream, stop - 1, PLACES_AT_ONCE)
            if known is None:
                raise IndexDamaged(f"it has no place for event {stop - 1} of stream {stream!r}")
            sequence, places = known
            segment = self._segments[sequence]
            for piece in _pieces(places, min(limit, _PIECE)):
                # Damage in a piece may leave its last stretch as it was.
                some = _piece(segment, stream, piece, stop) or _piece(segment, stream, piece[-1:], stop)
                if not some:
                    if found:
                        return found        # the next call says what is wrong
                    raise _why_not(segment, stream, piece[-1], stop - 1)
                found += some
                size += sum([one.size for one in some])
                stop = some[-1].number
                if stop <= first or size >= limit:
                    break
        return found

    def of_all_back(self, first, stop, limit):
        """`of_all`, but of the events before `stop`, the last one first, down to `first`."""
        found = []
        size = 0
        while stop > first and size < limit:
            segment = self.segment_at(stop - 1)
            some = []
            reached, byte = self._index.mark_at(segment.sequence, stop - 1) or (segment.header.first, HEADER_SIZE)
            end = segment.end       # which moves where somebody appends
            reader = Reader(segment, end)
            try:
                while byte < end and reached < stop:
                    one = reader.record(byte, SPACING + SHORT_READ)
                    if one.count:
                        some.append(one)
                    reached = one.position + one.count
                    byte += one.size
            except BadRecord as bad:
                if found:
                    break       # the next call says what is wrong
                raise segment.corrupt(byte, bad, reached) from None
            if not some or some[-1].position + some[-1].count < stop:
                raise IndexDamaged(f"position {stop - 1} isn't in {segment.path}")
            found += [part for one in reversed(some) for part in reversed(_parts(one)) if part.position < stop]
            size += sum([one.size for one in some])
            stop = some[0].position
        return found


def _parts(one):
    """What readers get of a record: of a cut what it left, with a Passed where that is nothing."""
    return one.left() if one.kind == record.CUT else [one]


def _pieces(places, size):
    """`places` in groups of about `size` bytes, the last one first."""
    stop = len(places)
    while stop:
        start = stop - 1
        while start and places[stop - 1][1] - places[start - 1][1] < size:
            start -= 1
        yield places[start:stop]
        stop = start


def _piece(segment, stream, places, stop):
    """What is at `places` and has events before `stop`, the last one first; [] if it doesn't go up to there."""
    found = []
    for one in _stretch(segment, stream, places, places[0][0], have_some=True):
        found.append(one)
        if one.stop >= stop:
            return found[::-1]
    return []


def _why_not(segment, stream, place, number):
    """The error for a stretch of records that doesn't go up to event `number`.  Raises CorruptSegment."""
    reached = place[0]
    for one in _stretch(segment, stream, [place], reached, have_some=True):
        reached = one.stop
    list(_stretch(segment, stream, [place], reached, have_some=False))
    return IndexDamaged(f"event {number} of stream {stream!r} isn't where it says, behind byte {place[1]} of "
                        f"{segment.path}")


def _stretch(segment, stream, places, number, have_some):
    """Yield what of `stream` is in `segment` from `number` on, by its places.

    A record without a place begins where the one before it, of the same stream, ends.
    """
    end = segment.end
    reader = Reader(segment, end)
    for i, (_, byte) in enumerate(places):
        following = places[i + 1] if i + 1 < len(places) else None
        # A window is worth reading where its records are this stream's, or close.
        span = LONG_READ if following and following[1] - byte < CLOSE else SHORT_READ
        while byte < end:
            try:
                found = reader.record(byte, span)
            except BadRecord as bad:
                if have_some:
                    return      # the next call says what is wrong
                raise segment.corrupt(byte, bad) from None
            if found.kind in record.WITHOUT_EVENTS:
                lost = next((one for one in found.runs() if one.stream == stream), None)
                if lost is None or lost.number > number:
                    break
            if found.kind == record.GAP:
                if lost.stop > number:
                    number = lost.stop
                    have_some = True
                    yield lost
            else:
                if found.kind == record.CUT:
                    runs = found.left_of(stream)
                else:
                    runs = found.of(stream) if found.count else []
                if not runs or runs[0].number > number:
                    break
                for one in runs:
                    if one.number <= number < one.stop:
                        number = one.stop
                        have_some = True
                        yield one
            byte += found.size
            span = LONG_READ
            if following and number >= following[0]:
                break
