"""Following in one's own process: what is there, that it was all, and what comes.

    key ──> records of the log ──> filter ──> Event, Event, Checkpoint, Event, CaughtUp, Event …
     ^                                                                        |
     '---- wait for the next one <────────────────────────────────────────────'

It reads the log and waits, and nobody knows of it: who follows slowly is behind,
and costs the others nothing.
"""

from dataclasses import dataclass

from . import record
from .append import encoded
from .filter import Filter, Prefix
from .names import ALL, check_name, check_stream

# Events passed over between two checkpoints; whoever goes on from one passes over so many again.
EVERY = 10_000

# Bytes of the log in one turn.
_READ = 256 * 1024


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
    name, wanted = _what(selector, names)
    if first is None:
        stream = store.all if name == ALL else store.find(name)
        first = store.next_of(stream) if stream is not None else 0
    elif first < 0 or (stop is not None and stop <= first):
        raise ValueError(f"found first={first} and stop={stop}, expected first at least 0 and less than stop")
    return _Follower(store, name, wanted, stop, timeout).run(first)


def _what(selector, names):
    """(the stream's name or ALL, a Filter or None) of what is asked for.  Raises ValueError."""
    if isinstance(selector, Prefix):
        name, prefix = ALL, encoded(selector.text)
        check_stream(prefix)
    else:
        name, prefix = encoded(selector), b""
        if name != ALL:
            check_stream(name)
    names = frozenset(map(encoded, names))
    for one in names:
        check_name(one)
    return name, Filter(prefix, names) if prefix or names else None


class _Follower:
    """One run of `follow`.

    told   the key behind all that the caller knows of
    """

    def __init__(self, store, name, wanted, stop, timeout):
        self.store = store
        self.name = name
        self.wanted = wanted
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
                    key = yield from self._read(stream, key, min(ends))
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
                if self.wanted is None and base + begin > self.told:    # what is between is no more
                    yield Checkpoint(base + begin)
                for i in range(begin, stop) if self.wanted is None else self.wanted.passing(one, begin, stop):
                    self.told = base + i + 1
                    yield from one.events(i, i + 1)
            key = base + stop
            if key - self.told >= EVERY:
                self.told = key
                yield Checkpoint(key)
        return key
