"""Following in one's own process: what is there, that it was all, and what comes.

    key ──> records of the log ──> filter ──> Event, Event, Checkpoint, Event, CaughtUp, Event …
     ^                                                                        |
     '---- wait for the next one <────────────────────────────────────────────'

It reads the log and waits, and nobody knows of it: who follows slowly is behind,
and costs the others nothing.
"""

from dataclasses import dataclass

from . import record
from .filter import Filter
from .names import ALL
from .reading import Selection, page

# Events passed over between two checkpoints; whoever goes on from one passes over so many again.
EVERY = 10_000

# Bytes of the log in one turn; and events, where it is filtered.
_READ = 256 * 1024
_PAGE = 1000


@dataclass(frozen=True)
class Checkpoint:
    """Everything before `next` was looked at: whoever follows on from there misses nothing.

    next   a number of the stream; a position of `$all` and of a prefix
    """

    next: int


@dataclass(frozen=True)
class CaughtUp:
    """The same as Checkpoint, and all that was there was given; what comes now is new."""

    next: int


def follow(store, selector, first=0, stop=None, names=(), timeout=None):
    """What Store.follow returns: a generator, which holds its stream while it runs."""
    selection = Selection.of(selector, names)
    if first is None:
        stream = store.all if selection.stream is None else store.find(selection.stream)
        first = store.next_of(stream) if stream is not None else 0
    elif first < 0 or (stop is not None and stop <= first):
        raise ValueError(f"found first={first} and stop={stop}, expected first at least 0 and less than stop")
    return _Follower(store, selection, stop, timeout).run(first)


class _Follower:
    """One run of `follow`.

    told   the key behind all that the caller knows of
    """

    def __init__(self, store, selection, stop, timeout):
        self.store = store
        self.name = ALL if selection.stream is None else selection.stream
        self.selection = selection
        self.stop = stop
        self.timeout = timeout
        self.told = 0

    def run(self, first):
        """Yield Events, Checkpoints and CaughtUp from the key `first` on."""
        stream = self.store.attend(self.name, waiting=False)
        try:
            key = self.told = first
            there = stream.visible      # the end of what is there now; None when it was given
            while self.stop is None or key < self.stop:
                if there is not None and key >= there:
                    there = None
                    self.told = key
                    yield CaughtUp(key)
                elif key < stream.visible:
                    ends = [end for end in (stream.visible, there, self.stop) if end is not None]
                    read = self._read if self.selection.filter == Filter() else self._pick
                    key = yield from read(stream, key, min(ends))
                    if key - self.told >= EVERY:
                        self.told = key
                        yield Checkpoint(key)
                elif not self._wait(key):
                    return
            if self.told < self.stop:
                yield Checkpoint(self.stop)
        finally:
            self.store.leave(stream)

    def _wait(self, key):
        if self.name == ALL:
            return self.store.wait_all(key, self.timeout)
        return self.store.wait(self.name, key, self.timeout)

    def _read(self, stream, key, end):
        """Yield what is in one turn's records of the events [key, end); return the key to go on from."""
        by_position = stream is self.store.all
        key = min(end, max(key, self.store.retention.first_of(stream)))
        if key == end:
            return key
        for one in self.store.records(stream, key, end, _READ):
            base = one.position if by_position else one.number
            begin, stop = max(0, key - base), min(one.count, end - base)
            if one.kind != record.CUT:
                if base + begin > self.told:        # what is between is no more
                    yield Checkpoint(base + begin)
                for event in one.events(begin, stop):
                    self.told = (event.position if by_position else event.number) + 1
                    yield event
            key = base + stop
        return key

    def _pick(self, stream, key, end):
        """The same of those that pass the filter, without a look at all others if that can be."""
        some = page(self.store, self.selection, key, _PAGE)
        for event in some.events():
            at = event.position if stream is self.store.all else event.number
            if at >= end:       # came meanwhile
                return end
            self.told = at + 1
            yield event
        return end if some.following is None else min(some.following, end)
