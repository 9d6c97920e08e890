"""Take from the disk what readers don't see any more: segments are rewritten without it.

    retention: where each stream begins ──> events of each segment that are dead
                                                 |  a quarter of what it holds, or data that was redacted
    segment ──> merge, with a sieve ──> file of the next generation ──> in its place

A segment is looked at once it is sealed and its places are in sqlite3.  How many of
its events are dead follows from the rows of the index, without a look at the segment;
its header says how many were taken out before.  What is to go is in the log, as a cut,
before it goes.

A sieve leaves a cut (see record.py) in place of what goes: numbers, positions and the
ids of events stay known.  Ids of a stream that was deleted go with its events.
"""

import logging
import sqlite3
import threading
from typing import NamedTuple

from .errors import CannotCompact, StoreClosed, StoreError, StoreFull
from .merge import Shed
from .record import BadRecord, Gone
from .retention import without_redacted

logger = logging.getLogger("meilies.log")

# One dead event of so many is worth rewriting a segment.
SHARE = 4

# Streams that are looked at between two pauses.
_STREAMS = 200


class Compacted(NamedTuple):
    """What a compaction did.

    segments   how many were rewritten
    bytes      that are free now
    """

    segments: int
    bytes: int


class Compaction:
    """See the top of this file.

    log, retention   the store's
    """

    def __init__(self, log, retention):
        self._log = log
        self._retention = retention
        self._working = threading.Lock()    # held over a compaction: those who want one meanwhile wait
        self._counted = {}      # stream -> the number up to which its dead events are in `_dead`
        self._dead = {}         # sequence -> how many events are dead there, or gone already

    def look(self):
        """Rewrite what is worth it; for a thread that has the time.  Errors are logged."""
        with self._working:
            try:
                self._compact(SHARE)
            except (StoreError, OSError, sqlite3.Error) as error:
                if not self._log.closing:
                    logger.warning("%s: compaction failed (%s); the log holds what it held", self._log.folder, error)

    def run(self, tidy):
        """Take out all that there is, that of the segment which is written to included; Compacted.

        tidy      has the index of sealed segments written
        Raises    CannotCompact   the disk says no, or a segment is damaged; it holds what it held
                  StoreFull, StoreFailed, StoreClosed
        """
        with self._working:
            if self._wants_open_segment():
                self._log.seal()
            self._log.sync()
            tidy()
            try:
                return self._compact(0)
            except (OSError, sqlite3.Error) as error:
                raise CannotCompact(self._log.folder, error) from None

    def wait(self):
        """Return when none is under way; the log is being closed, which ends it."""
        with self._working:
            pass

    def _wants_open_segment(self):
        """Whether something is hidden or redacted that isn't in a sealed segment."""
        retention, last = self._retention, self._log.last_sequence
        for stream in retention.concerned():
            first = min(retention.begin_of(stream), stream.visible)
            if first and self._log.segment_of(stream.name, first - 1) == last:
                return True
        return any(self._log.segment_of(name, max(numbers)) == last for name, numbers in retention.redacted().items())

    def _compact(self, share):
        retention = self._retention
        streams = retention.concerned()
        redacted = retention.redacted()
        if not streams and not redacted:
            return Compacted(0, 0)
        self._log.write_shadows()       # which an earlier one couldn't
        self._count(streams)
        places = self._places(redacted)
        chosen = [segment for segment in self._log.flushed()
                  if segment.sequence in places or self._is_worth_it(segment, share)]
        if chosen:
            with retention.changing:
                retention.settle(streams)
        done = freed = 0
        for segment in chosen:
            size = self._rewrite(segment, _Sieve(retention, redacted))
            if size is None:
                break
            done += 1
            freed += size
            if segment.sequence in places:
                retention.forget_redacted(places[segment.sequence])
        return Compacted(done, freed)

    def _places(self, redacted):
        """{sequence: [(stream, number)]} of events whose data is still in the log."""
        places = {}
        for name, numbers in redacted.items():
            for number in numbers:
                places.setdefault(self._log.segment_of(name, number), []).append((name, number))
        return places

    def _rewrite(self, segment, sieve):
        try:
            return self._log.rewrite(segment.sequence, sieve)
        except BadRecord as bad:
            raise CannotCompact(segment.path, bad.why) from None
        except StoreFull:
            raise
        except OSError as error:
            raise CannotCompact(segment.path, error) from None

    def _count(self, streams):
        """Count what is dead in each segment by now."""
        for i, stream in enumerate(streams):
            if i % _STREAMS == 0 and self._log.pause():
                raise StoreClosed()
            self._count_of(stream.name, min(self._retention.begin_of(stream), stream.visible))

    def _count_of(self, name, first):
        """Add the dead events of a stream to those of their segments, as far as sqlite3 knows of them."""
        counted = self._counted.get(name, 0)
        if counted >= first:
            return
        for sequence, low, last in self._log.spans(name, counted, first):
            stop = min(last + 1, first)
            self._dead[sequence] = self._dead.get(sequence, 0) + max(0, stop - max(low, counted))
            counted = max(counted, stop)
        self._counted[name] = counted

    def _is_worth_it(self, segment, share):
        """Whether at least one of `share` events that a segment still has is dead; 0: whether any is."""
        gone = segment.header.gone
        dead = self._dead.get(segment.sequence, 0) - gone
        return dead > 0 and dead * share >= (self._log.events_in(segment.sequence) - gone if share else 0)


class _Sieve:
    """What stays of a record: see merge.py."""

    def __init__(self, retention, redacted):
        self._retention = retention
        self._cuts = {}         # as they are when they are first asked for
        self._redacted = redacted

    def __call__(self, one):
        names = {one.stream} if one.pack is None else set(one.pack[0])
        if not any(self._cut(name).first or name in self._redacted for name in names):
            return None
        pieces = [piece for run in one.runs() for piece in self._pieces(run)]
        return None if pieces == [one] else pieces

    def _cut(self, name):
        if name not in self._cuts:
            self._cuts[name] = self._retention.cut_of(name)
        return self._cuts[name]

    def _pieces(self, run):
        cut = self._cut(run.stream)
        dead = min(max(0, cut.first - run.number), run.count)
        pieces = []
        if dead:
            gone = run.part(0, dead)
            stubs = [(gone.number + i, gone.position + i, id_) for i, (id_, *_) in enumerate(gone.details())
                     if id_ and gone.number + i >= cut.deleted]
            pieces.append(Shed(gone.position, gone.latest, Gone(gone.stream, gone.number, dead, stubs)))
        if dead < run.count:
            pieces += without_redacted(run.part(dead, run.count) if dead else run, self._redacted.get(run.stream, ()))
        return pieces


