"""The names of all streams, sorted, for those who ask which begin with something.

    | a  ab  b … | k  l … | x  y  z |      lists of some hundred names, in order

Nobody pays for it before the first asks: until then, adding a name does nothing.
It is filled in portions, for a sort of a million names would keep every other
thread waiting.  Later a name is added or taken out in microseconds.

Guarded by the store's append lock, but for `filling`, which its one filler holds.
"""

import threading
from bisect import bisect_left, bisect_right, insort
from heapq import merge

_CHUNK = 512
_PORTION = 4096


class Roster:
    """See the top of this file.

    key   key(name) is what stands in it for a name, and what `fill` takes and `beginning` gives
    """

    def __init__(self, key=bytes):
        self._key = key
        self.filling = threading.Lock()
        self._chunks = None
        self._firsts = None     # the first name of each
        self._missed = None     # what was added or taken out while it was filled: (method, name)

    @property
    def filled(self):
        return self._chunks is not None

    def add(self, name):
        """A name that isn't there."""
        if self._chunks is not None:
            name = self._key(name)
            at = max(0, bisect_right(self._firsts, name) - 1)
            chunk = self._chunks[at]
            insort(chunk, name)
            self._firsts[at] = chunk[0]
            if len(chunk) > 2 * _CHUNK:
                self._chunks[at:at + 1] = [chunk[:_CHUNK], chunk[_CHUNK:]]
                self._firsts.insert(at + 1, chunk[_CHUNK])
        elif self._missed is not None:
            self._missed.append((self.add, name))

    def discard(self, name):
        """A name that is there."""
        if self._chunks is not None:
            name = self._key(name)
            at = bisect_right(self._firsts, name) - 1
            chunk = self._chunks[at]
            del chunk[bisect_left(chunk, name)]
            if chunk:
                self._firsts[at] = chunk[0]
            elif len(self._chunks) > 1:
                del self._chunks[at], self._firsts[at]
        elif self._missed is not None:
            self._missed.append((self.discard, name))

    def begin(self):
        """What is added and taken out from now on is kept for `fill`."""
        self._missed = []

    def fill(self, names):
        """Take the keys of all names that there were when it began, sorted."""
        self._chunks = [names[i:i + _CHUNK] for i in range(0, len(names), _CHUNK)] or [[]]
        self._firsts = [chunk[0] if chunk else b"" for chunk in self._chunks]
        missed, self._missed = self._missed, None
        for change, name in missed:
            change(name)

    def beginning(self, prefix, limit, after=b""):
        """Up to `limit` names behind `after` that begin with `prefix`, in order."""
        found = []
        place, name = (bisect_right, after) if after >= prefix else (bisect_left, prefix)
        for at in range(max(0, bisect_right(self._firsts, name) - 1), len(self._chunks)):
            chunk = self._chunks[at]
            start = place(chunk, name)
            for name in chunk[start:start + limit - len(found)]:
                if not name.startswith(prefix):
                    return found
                found.append(name)
            if len(found) == limit:
                break
        return found


def in_order(names):
    """`names`, sorted without keeping other threads from running for long."""
    return list(merge(*[sorted(names[i:i + _PORTION]) for i in range(0, len(names), _PORTION)]))
