"""What was read last of streams, in memory, for whoever reads on from there.

    read 0..430   ──> [r r r r r]        kept as a stretch: runs that follow one another
    at hand 100?  ──> [. r r r r] 430    no look at the index, no read, no checksum

Readers that go through a stream a few events at a time, consumers of groups and those
who ask for page after page, take several pages of each record.  To read it anew for each
costs as much as all of its events.

Runs don't change: what was written stays, and numbers aren't used again while the store
is open.  A segment that is written anew may hold less than it did, so all is forgotten then.
"""

import threading
from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict

# Bytes of all that is kept, and what a run takes beside those of its record.
MEMORY = 8 << 20
_RUN = 600


class Lately:
    """See the top of this file.

    limit   bytes that it may take

    Any thread may call it.  `_lock` guards which stretches there are, and is held over operations
    of dicts alone.
    """

    def __init__(self, limit=MEMORY):
        self._limit = limit
        self._lock = threading.Lock()
        self._stretches = OrderedDict()     # (stream, first number) -> _Stretch; used last, stands last
        self._firsts = {}                   # stream -> [first number, …] of its stretches, sorted
        self._size = 0

    def get(self, stream, number, stop):
        """The runs that hold the events [number, stop) of a stream, as many of them as follow one another; [] if the
        first isn't there."""
        with self._lock:
            firsts = self._firsts.get(stream)
            if firsts is None:
                return []
            at = bisect_right(firsts, number) - 1
            if at < 0:
                return []
            key = stream, firsts[at]
            stretch = self._stretches[key]
            if number >= stretch.stop:
                return []
            self._stretches.move_to_end(key)
        begins = stretch.begins
        return stretch.runs[bisect_right(begins, number) - 1:bisect_left(begins, stop)]

    def put(self, stream, runs):
        """These runs of a stream, which follow one another, were read."""
        if not runs:
            return
        stretch = _Stretch(runs)
        if stretch.size > self._limit >> 2:
            return
        key = stream, stretch.begins[0]
        with self._lock:
            self._drop(key)
            self._stretches[key] = stretch
            insort(self._firsts.setdefault(stream, []), key[1])
            self._size += stretch.size
            while self._size > self._limit:
                self._drop(next(iter(self._stretches)))

    def _drop(self, key):
        """Under the lock."""
        stretch = self._stretches.pop(key, None)
        if stretch is None:
            return
        self._size -= stretch.size
        firsts = self._firsts[key[0]]
        del firsts[bisect_left(firsts, key[1])]
        if not firsts:
            del self._firsts[key[0]]

    def forget(self):
        """Nothing is known any more: a segment was replaced, or the store is closed."""
        with self._lock:
            self._stretches.clear()
            self._firsts.clear()
            self._size = 0


class _Stretch:
    """Runs that follow one another.

    begins   the number of the first event of each
    stop     the number behind the last event
    size     bytes that it takes
    """

    __slots__ = ("runs", "begins", "stop", "size")

    def __init__(self, runs):
        self.runs = runs
        self.begins = [one.number for one in runs]
        self.stop = runs[-1].stop
        self.size = sum([one.size + _RUN for one in runs])
