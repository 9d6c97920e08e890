"""Which events somebody wants: of streams whose names begin so, and called so.

    record ──> may_pass ──no──> not looked at any further
                  |
                 maybe, by one search of its bytes for the prefix and one for each name
                  v
               passing ──> which of its events

An event is told from data that only looks like one by where its frame begins.
"""

import re
from bisect import bisect_right
from functools import lru_cache
from typing import NamedTuple

from . import record


class Prefix(NamedTuple):
    """Every stream whose name begins with `text` (str or bytes), those made later too."""

    text: str


class Filter(NamedTuple):
    """See the top of this file.

    prefix   bytes that the stream's name begins with; empty: any stream
    names    a frozenset of events' names, bytes; empty: any name
    Equal filters are equal, and may be keys.
    """

    prefix: bytes = b""
    names: frozenset = frozenset()

    def may_pass(self, one):
        """False if no event of a Record passes: a bounded look, whatever it holds."""
        if one.kind == record.CUT:
            return False
        if one.count == 1:
            return _pattern(self).match(one.body) is not None
        if one.kind != record.PACK:
            if not one.stream.startswith(self.prefix):
                return False
        elif self.prefix and record.frame_of_prefix(self.prefix) not in one.body:
            return False
        return not self.names or any(b"\r\n+%b\r\n$" % name in one.body for name in self.names)

    def passing(self, one, begin=0, stop=None):
        """Which of the events [begin, stop) of a Record pass, counted from its own first, in order."""
        stop = one.count if stop is None else min(stop, one.count)
        if begin >= stop or not self.may_pass(one):
            return ()
        if one.kind != record.PACK and not self.names:
            return range(begin, stop)
        ends = one.ends
        found = []
        first = ends[begin - 1] if begin else 0
        for match in _pattern(self).finditer(one.body, first, ends[stop - 1]):
            at = match.start()
            i = bisect_right(ends, at)
            if at == (ends[i - 1] if i else 0):     # else it is data
                found.append(i)
        return found


@lru_cache(maxsize=256)
def _pattern(wanted):
    """How the frame of an event that passes begins."""
    names = b"|".join(map(re.escape, sorted(wanted.names))) or rb"[^\r\n]+"
    return re.compile(rb"\*5\r\n\+event\r\n\+%b[^\r\n]*\r\n:[0-9]+\r\n\+(?:%b)\r\n\$"
                      % (re.escape(wanted.prefix), names))
