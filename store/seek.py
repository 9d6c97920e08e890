"""Where to begin: the position that belongs to a time, and the number in a stream
that belongs to a position.

    time ──marks──> segment, byte ──records──> position ──marks, places──> number

A clock may go back, and positions don't.  So the time of an event is, here, the
highest clock of all events up to it: the first at or after some time is the
first whose own clock says so, and what comes behind it belongs there too,
whatever the clock said then.  A stream's events are taken by the same times.

A look at the index, and a walk of about two of its marks' distance, 64 KiB each.
"""

from itertools import zip_longest

from .index import IndexDamaged
from .record import BadRecord
from .segment import HEADER_SIZE, Reader

# Bytes of a stream's records that are looked at in one go.
_STEP = 16 * 1024


def position_at(index, segments, time, stop):
    """The position of the first event at or after `time`, microseconds since 1970; `stop` if none before it is.

    Raises    CorruptSegment, IndexDamaged
    """
    part = _part_of(index, segments, time, stop)
    if part is None:
        return stop
    sequence, first = part
    mark = index.mark_of(sequence, first, time)
    if mark is None:
        raise IndexDamaged(f"it has no marks of segment {sequence} from position {first} on any more")
    byte = mark[1]
    segment = segments[sequence]
    try:
        for at, one in Reader(segment).records(byte):
            if one.position >= stop:
                return stop
            if one.count and one.latest >= time:
                # Of a cut it may be gone; what is left there is older then.
                first = next((i for i, clock in enumerate(one.clocks) if clock >= time), one.count)
                return min(one.position + first, stop)
            byte = at + one.size
    except BadRecord as bad:
        raise segment.corrupt(byte, bad) from None
    raise IndexDamaged(f"no event of {segment.path} from position {first} on is as late as it says")


def _part_of(index, segments, time, stop):
    """(sequence, position) of the first part of a segment that has an event as late as `time`, or None."""
    latest = index.latest()
    segments = list(segments)       # others may append to it
    for segment, following in zip_longest(segments, segments[1:]):
        first = segment.header.first
        end = stop if following is None else min(stop, following.header.first)
        if first < end and (segment.sequence, first) not in latest:
            raise IndexDamaged(f"it has no marks of {segment.path}")
    return min((part for part, clock in latest.items() if clock >= time), default=None)


def number_from(index, runs, stream, position, stop):
    """The number of the first event of `stream` at `position` or behind it; `stop` if none before that is.

    runs      the log's Runs
    Raises    CorruptSegment, IndexDamaged
    """
    sequence = runs.segment_at(position).sequence
    mark = index.mark_at(sequence, position)
    place = index.place_up_to(stream, sequence, mark[1] if mark else HEADER_SIZE)
    number = place[1] if place else 0
    while number < stop:
        for run in runs.of_stream(stream, number, stop, _STEP):
            if run.position + run.count > position:
                return min(run.number + max(0, position - run.position), stop)
            number = run.stop
    return stop
