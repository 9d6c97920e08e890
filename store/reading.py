"""Pages of events: of a stream, of some streams or of all, forwards or backwards, filtered or not.

    pieces of the log ──> those that pass, until the page is full ──> Page(found, following)

    a stream               its runs, by number
    all, most of a prefix  the records as they stand, by position
    few of a prefix        the runs of these streams, merged by position

A page is full with so many events, with so many bytes of them, or when so much of
the log was looked at, whatever was found there.  So each costs a bounded time, and
a reader who wants more asks on from the key that the page names.
"""

from functools import partial
from heapq import merge
from operator import attrgetter
from typing import NamedTuple

from . import record
from .append import encoded
from .errors import CorruptSegment, EventsLost
from .filter import Filter, Prefix
from .names import ALL, check_name, check_stream

# Bytes of the events of a page, and of records that are looked at for one.
PAGE = 256 * 1024
SCAN = 1 << 20

# Bytes that are read at once, of the log, of a stream, and of each stream of several.
_STEP = 256 * 1024
_STEP_OF_FEW = 16 * 1024

# What an event takes in the log, for a guess at what so many of them take.
_GUESS = 256

# Runs that are looked at for a guess at the size of a stream.
_SAMPLES = 16

# Up to so many streams are merged, if they have no more than one of so many events.
FEW = 64
SPARSE = 8

# What an event has around its frame, in bytes: only a page's size depends on it.
_AROUND = 64


class Page(NamedTuple):
    """found       [(Record, which of its events), …] in the order of reading
    following   the key to go on with; None if there is nothing further
    """

    found: list
    following: int

    def events(self):
        return [next(one.events(i, i + 1)) for one, i in self.found]


class Selected(NamedTuple):
    """events      in the order of reading
    following   the key to go on with; None if there is nothing further
    """

    events: list
    following: int


class StreamInfo(NamedTuple):
    """What is known of a stream.

    first, last            numbers of its first and its last event
    count                  of its events
    bytes                  of them as subscribers get them, with ids and metadata: counted if it is no more than a
                           page, else about so many, from a sample
    first_time, last_time  microseconds since 1970, UTC; None if these events are gone
    """

    first: int
    last: int
    count: int
    bytes: int
    first_time: int
    last_time: int


class Selection(NamedTuple):
    """What is read.

    stream   its name, or None for positions in all of them
    filter   which of the events there
    """

    stream: bytes
    filter: Filter

    @classmethod
    def of(cls, selector, names=()):
        """Of a stream's name, "$all" or a Prefix, and the names of events, or none for any.

        Raises    ValueError
        """
        wanted = frozenset(map(encoded, names))
        for name in wanted:
            check_name(name)
        if isinstance(selector, Prefix):
            prefix = encoded(selector.text)
            check_stream(prefix)
            return cls(None, Filter(prefix, wanted))
        stream = encoded(selector)
        if stream == ALL:
            return cls(None, Filter(b"", wanted))
        check_stream(stream)
        return cls(stream, Filter(b"", wanted))


def page(store, selection, key, count, back=False):
    """The Page that begins with event `key`, or with the last one before it if that is past the end and it is
    `back`; None begins with the first, or the last.

    count     events at most
    Raises    CorruptSegment
              EventsLost    those the page would have begun with
              StoreClosed
    """
    first, stop = store.bounds(selection.stream)
    if back:
        stop = stop if key is None else min(stop, key + 1)
    else:
        first = first if key is None else max(first, key)
    if first >= stop:
        return Page([], None)
    gathering = _Gathering(store, selection, count, back)
    step = _STEP if selection.filter.names else min(_STEP, _GUESS * count)
    gathering.take(_pieces(store, selection, first, stop, back, step))
    following = gathering.following(first, stop)
    return Page(gathering.found, following if following is not None and first <= following < stop else None)


class _Gathering:
    """A page on its way."""

    def __init__(self, store, selection, count, back):
        self.found = []
        self._store = store
        self._stream = selection.stream
        self._filter = selection.filter
        self._count = count
        self._back = back
        self._size = 0
        self._looked = 0        # bytes
        self._reached = None    # the key to go on with

    @property
    def _full(self):
        return len(self.found) >= self._count or self._size >= PAGE

    def following(self, first, stop):
        """The key to go on with, as far as it was taken; it may be one past the end."""
        if self._reached is not None:
            return self._reached
        return stop - 1 if self._back else first

    def take(self, pieces):
        """Take what passes of `pieces`, (Record or Lost, first key, key after the last), until it is enough.

        Damage behind what was taken ends it: who goes on from there is told.
        """
        if self._full:
            return
        try:
            self._take_pieces(pieces)
        except CorruptSegment:
            if not self._looked:
                raise

    def _take_pieces(self, pieces):
        for one, first, stop in pieces:
            if one.lost:
                if self._ends_at(one, first, stop):
                    return
            elif not self._take(one, first, stop):
                return
            self._looked += one.size
            self._reached = first - 1 if self._back else stop
            if self._full or self._looked >= SCAN:
                return
        self._reached = -1

    def _take(self, one, first, stop):
        """Take from one record; False if it has more than there is room for."""
        base = one.position if self._stream is None else one.number
        passing = self._filter.passing(one, first - base, stop - base)
        for i in reversed(passing) if self._back else passing:
            if self._full:
                self._reached = base + i
                return False
            self.found.append((one, i))
            self._size += _size_of(one, i)
        return True

    def _ends_at(self, one, first, stop):
        """Whether events are lost that may have passed: the page ends before them.  Raises EventsLost at once
        if they come first."""
        losses = _losses(one, self._filter.prefix, first, stop, self._back)
        if not losses:
            return False
        first, stop = losses[0]
        if not self._looked:
            stream = None if self._stream is None else self._stream.decode()
            raise EventsLost(self._store.path_at(one.position), stream, first, stop, self._back)
        self._reached = stop - 1 if self._back else first
        return True


def _size_of(one, i):
    ends = one.ends
    size = ends[i] - (ends[i - 1] if i else 0) + _AROUND
    if one.flags & record.DETAILS:
        size += sum(map(len, one.details()[i][:2]))
    return size


def _losses(one, prefix, first, stop, back):
    """[(first, stop)] of the keys in [first, stop) where events of matching streams are lost, in order of reading."""
    if not prefix or isinstance(one, record.Lost):
        return [(first, stop)]
    found = []
    for lost in one.runs():
        begin, end = max(first, lost.position), min(stop, lost.position + lost.count)
        if begin < end and lost.stream.startswith((prefix, record.UNKNOWN)):
            found.append((begin, end))
    return found[::-1] if back else found


# -- pieces of the log: (Record or Lost, first key, key after the last) ------------


def _pieces(store, selection, first, stop, back, step):
    if selection.stream is not None:
        return _of_stream(store, selection.stream, first, stop, back, step)
    if selection.filter.prefix:
        few = _few(store, selection.filter.prefix, stop)
        if few is not None:
            return _of_few(store, few, first, stop, back, min(step, _STEP_OF_FEW))
        step = _STEP
    return _of_all(store, first, stop, back, step)


def _of_stream(store, stream, first, stop, back, step):
    return _in_steps(partial(store.runs, stream), attrgetter("number"), first, stop, back, step)


def _of_all(store, first, stop, back, step):
    return _in_steps(store.all_records, attrgetter("position"), first, stop, back, step)


def _in_steps(read, key_of, first, stop, back, step):
    """What `read` gives of [first, stop), about `step` bytes at once; `key_of` gives the first key of each."""
    while first < stop:
        for one in read(first, stop, step, back):
            key = key_of(one)
            begin, end = max(first, key), min(stop, key + one.count)
            if begin < end:
                yield one, begin, end
            if back:
                stop = begin
            else:
                first = end


def _few(store, prefix, stop):
    """The streams that begin so, if merging them costs less than reading all; else None."""
    names = store.names_beginning(prefix, FEW + 1)
    if len(names) > FEW:
        return None
    events = 0
    for name in names:
        first, end = store.bounds(name)
        events += end - first
    return names if events * SPARSE <= stop else None


def _of_few(store, names, first, stop, back, step):
    """The runs of some streams, merged by position."""
    sources = [_by_position(store, name, first, stop, back, step) for name in names]
    return merge(*sources, key=_last_first if back else _first_first)


def _first_first(piece):
    return piece[1]


def _last_first(piece):
    return -piece[2]


def _by_position(store, stream, first, stop, back, step):
    """The runs of one stream with positions in [first, stop)."""
    begin, end = store.bounds(stream)
    if back:
        end = store.number_from(stream, stop)
    else:
        begin = store.number_from(stream, first)
    for one, number, after in _of_stream(store, stream, begin, end, back, step):
        if not one.lost and one.kind == record.CUT:     # of what is gone the positions needn't be consecutive
            continue
        low = max(first, one.position + number - one.number)
        high = min(stop, one.position + after - one.number)
        if low >= high:
            return
        yield one, low, high


# -- what a store offers ------------------------------------------------------------


def select(store, selection, first, limit, back):
    """Pages until there are `limit` events, or no more: Selected."""
    if limit < 1:
        raise ValueError(f"limit is {limit}, expected 1 or more")
    events = []
    while True:
        some = page(store, selection, first, limit - len(events), back)
        events += some.events()
        first = some.following
        if first is None or len(events) >= limit:
            return Selected(events, first)


def info(store, stream):
    """The StreamInfo of a stream, or None if it has no event."""
    first, stop = store.bounds(stream)
    if first >= stop:
        return None
    return StreamInfo(first, stop - 1, stop - first, _bytes(store, stream, first, stop),
                      _time(store, stream, back=False), _time(store, stream, back=True))


def _bytes(store, stream, first, stop):
    """Bytes of the events [first, stop) of a stream; estimated if they are more than a page."""
    size = looked = 0
    for one, begin, end in _of_stream(store, stream, first, stop, False, PAGE):
        size += _size_between(one, begin, end)
        looked += one.size
        if looked >= PAGE and end < stop:
            break
    else:
        return size
    # The run of an event is the likelier taken the more events it has: so the mean of the means is that of all.
    numbers = [first + (stop - first) * (2 * i + 1) // (2 * _SAMPLES) for i in range(_SAMPLES)]
    runs = [one for number in numbers for one in store.runs(stream, number, number + 1, 1)]
    means = [_size_between(one, one.number, one.stop) / one.count for one in runs]
    return round(sum(means) / len(means) * (stop - first))


def _size_between(one, first, stop):
    """Bytes of the events [first, stop), by their numbers, of a run; none of what is lost or gone."""
    if one.lost or one.kind == record.CUT:
        return 0
    return sum([_size_of(one, i) - _AROUND for i in range(first - one.number, stop - one.number)])


def _time(store, stream, back):
    """The time of the first, or the last, event of a stream that is there; None if it isn't found at once."""
    try:
        found = page(store, Selection(stream, Filter()), None, 1, back).found
    except EventsLost:
        return None
    return found[0][0].clocks[found[0][1]] if found else None

