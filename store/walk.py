"""Read a damaged log: every record that is good, and what stands between.

    R R R x . . . R R R R R | R R R x . . |
          '--hole-'                 '-- another; its end isn't known
          |       '-- the next good record: its magic, its salted checksum, its place in the order
          '-- the first bad one

Positions are lost in a hole, as many as the records on both sides say.  Whose
they were is told by the streams: one that goes on behind the hole with number
9, where 5 was due, lost 5 to 8.  One that doesn't go on is known to the index,
if that is sound; else nobody knows it any more.

The log is read from front to back, a window at a time.  What is kept in memory
is a number for each stream, as in an open store.
"""

import heapq
import struct
from typing import NamedTuple

from . import record
from .chain import REBUILT
from .names import check_name, check_stream
from .record import BadRecord
from .segment import HEADER_SIZE, SHORT_READ, Reader

_SEARCH = 1 << 20


class Hole:
    """Bytes that are no good records, between two that are.

    slot             which of the chain's it is in
    byte, stop       where it begins, and the byte after it
    position, end    of the first event that is lost there, and of the next one that isn't;
                     `end` is None as long as nobody knows
    why              what is wrong with the first bad record
    like             what it looks like it was, a text, or ""
    lost             [(stream, number, count)]: whose events are lost
    unfinished       (byte, position) of the append that it cuts in two, or its own
    controls         how many came before it; and before what follows it, as far as that is known
    controls_end
    """

    def __init__(self, slot, byte, position, why, like, unfinished, controls):
        self.slot = slot
        self.byte = self.stop = byte
        self.position = position
        self.end = None
        self.why = why
        self.like = like
        self.lost = []
        self.unfinished = unfinished or (byte, position)
        self.controls = self.controls_end = controls

    @property
    def count(self):
        """How many events are lost."""
        return self.end - self.position


class Jump(NamedTuple):
    """Events of a stream that aren't where they should be: lost in the holes [since, until)."""

    since: int
    until: int
    stream: bytes
    first: int
    stop: int


class Walk:
    """Reads the slots of a chain.

    stop        (slot, byte) to end at, or None
    seen        called with (slot, byte, record) for each good record
    progress    called with a number of bytes, now and then

    Afterwards:
    position    of the next event
    heads       {stream: next number}
    holes       in order
    synced      the highest `synced` of any good header
    controls, controls_synced   how many there are, and were on disk
    events      good ones
    cut         how many were taken out on purpose
    gaps        [(slot, gap)] that an earlier repair left
    byte        where the records of the last slot end
    """

    def __init__(self, slots, stop=None, seen=lambda slot, byte, one: None, progress=lambda size: None):
        self.position = self.synced = self.events = self.cut = 0
        self.controls = self.controls_synced = 0
        self.heads = {}
        self.holes = []
        self.jumps = []
        self.gaps = []
        self.byte = HEADER_SIZE
        self._slots = slots
        self._stop = stop
        self._seen = seen
        self._progress = progress
        self._hole = None       # the last hole, while its end isn't known
        self._append = None     # (byte, position) of an append whose last record is still to come
        self._holes_at = {}     # {stream: how many holes there were at its last record}, if any
        self._capacity = [0]    # events lost before each hole
        self._limit = None      # the position of the next segment, if it is known

    def run(self):
        for i, slot in enumerate(self._slots):
            following = self._slots[i + 1] if i + 1 < len(self._slots) else None
            if slot.segment.sequence:
                self._enter(slot)
            self._limit = following.segment.header.first if following and following.known else None
            end = self._end_of(slot, following)
            if self._stop and self._stop[0] is slot:
                end = self._stop[1]
            self._read(slot, end)
            if self._stop and self._stop[0] is slot:
                break
        return self

    def _end_of(self, slot, following):
        """Where the records of a slot end, or ended."""
        size = max(HEADER_SIZE, slot.segment.file_size())
        if slot.known and slot.segment.header.end and following:
            return slot.segment.header.end
        if not following or not following.known or slot.state == REBUILT:   # which may have been rewritten
            return size
        return following.segment.header.previous_end

    def _enter(self, slot):
        """What stands before a segment's first record is settled by its header, or settles it."""
        header = slot.segment.header
        before = self._slots[slot.segment.sequence - 1]
        if slot.known and before.state == REBUILT and self.byte != header.previous_end:
            before.segment.header = before.segment.header._replace(generation=1, end=self.byte)
        if slot.known:
            first = header.first
        elif self._hole is None:
            first = self.position
        else:
            first = max(self.position, self._first_in(slot))
        if first > self.position or self._hole:
            self._close_hole(before, self.byte, first)
        if not slot.known:
            slot.segment.header = header._replace(first=first, previous_end=self.byte)

    def _first_in(self, slot):
        """The position of a slot's first record, if that is good; else as far as is known."""
        try:
            return Reader(slot.segment, slot.segment.file_size()).record(HEADER_SIZE).position
        except BadRecord:
            return self.position

    # -- one segment ---------------------------------------------------------

    def _read(self, slot, end):
        slot.segment.end = end
        reader = Reader(slot.segment, end)
        byte = told = HEADER_SIZE
        while byte < end:
            found, bad = self._good(reader, byte)
            if found is not None:
                self._take(slot, byte, found)
                byte += found.size
            else:
                if bad.unknown:
                    raise slot.segment.corrupt(byte, bad)
                self._open_hole(slot, byte, bad.why)
                byte = self._hole.stop = self._next_good(slot, reader, byte, end)
            if byte - told >= _SEARCH:
                self._progress(byte - told)
                told = byte
        self.byte = min(byte, end)
        self._progress(self.byte - told)
        if self._append:
            self._open_hole(slot, self.byte, "the append that goes on here isn't whole")

    def _good(self, reader, byte):
        """(the record at `byte`, None), or (None, BadRecord)."""
        try:
            found = reader.record(byte)
        except BadRecord as bad:
            return None, bad
        why = _unsound(found) or self._misfit(found)
        return (None, BadRecord(why)) if why else (found, None)

    def _misfit(self, found):
        """Why a record can't stand here, or None."""
        stop = found.position + found.count
        if found.position < self.position:
            return f"it says position {found.position}, expected {self.position}"
        if found.kind == record.CONTROL and found.number < self.controls:
            return f"it says that {found.number} controls came before it, found {self.controls}"
        if self._limit is not None and stop > self._limit:
            return f"it ends at position {stop}, the next segment begins at {self._limit}"
        dues = {}
        for stream, number, count in events_of(found):
            due = dues.get(stream)
            if due is None:
                due = self.heads.get(stream, 0)
                if number > due and number - due <= self._lost_since(stream, found.position):
                    due = number
            if number != due:
                return f"it says number {number} of its stream, expected {due}"
            dues[stream] = number + count
        return None

    def _lost_since(self, stream, position):
        """How many events are lost between a stream's last record and `position`."""
        return self._capacity[-1] + position - self.position - self._capacity[self._holes_at.get(stream, 0)]

    def _take(self, slot, byte, found):
        if self._hole or found.position > self.position:
            self._close_hole(slot, byte, found.position)
        for stream, number, count in events_of(found):
            due = self.heads.get(stream, 0)
            if number > due:
                self.jumps.append(Jump(self._holes_at.get(stream, 0), len(self.holes), stream, due, number))
            self.heads[stream] = number + count
            if self.holes:
                self._holes_at[stream] = len(self.holes)
        if not found.more_follows:
            self._append = None
        elif not self._append:
            self._append = byte, found.position
        self.position = found.position + found.count
        self.synced = max(self.synced, found.synced)
        self.controls_synced = max(self.controls_synced, found.controls_synced)
        self._count_controls(found)
        if found.kind == record.GAP:
            self.gaps.append((slot, byte, found))
        elif found.kind == record.CUT:
            self.events += found.number
            self.cut += found.count - found.number
        else:
            self.events += found.count
        self._seen(slot, byte, found)

    def _count_controls(self, found):
        """The first that are counted behind a hole say how many were in it."""
        before = found.number if found.kind == record.CONTROL else found.controls
        if self.holes and self.holes[-1].controls == self.controls:
            self.holes[-1].controls_end = max(self.controls, before)
        self.controls = max(self.controls, found.controls)

    # -- holes ---------------------------------------------------------------

    def _open_hole(self, slot, byte, why):
        self._hole = Hole(slot, byte, self.position, why, _likeness(slot.segment, byte), self._append, self.controls)
        self.holes.append(self._hole)
        self._append = None

    def _close_hole(self, slot, byte, position):
        """The next event that is there is the one at `position`."""
        if self._hole is None:
            self._open_hole(slot, byte, f"the next record is of position {position}, expected {self.position}")
        self._hole.end = position
        self._hole = None
        self._capacity.append(self._capacity[-1] + position - self.position)
        self.position = position

    def finish(self, durable, controls):
        """The log ends here, and every event before `durable` was on disk, and so many controls."""
        if self.position < durable or self.controls < controls or self._hole:
            self._close_hole(self._slots[-1], self.byte, max(self.position, durable))
            self.holes[-1].controls_end = max(self.holes[-1].controls_end, controls)

    def _next_good(self, slot, reader, byte, end):
        """The byte where the next good record begins behind the bad one at `byte`, or `end`."""
        files, segment = slot.segment.files, slot.segment
        start = byte
        while byte < end:
            data = files.read(segment.fd, min(_SEARCH + record.HEADER_SIZE, end - byte), byte)
            at = data.find(record.MAGIC)
            while 0 <= at < _SEARCH:
                synced = record.synced_in(data, at, segment.salt)
                if synced is not None:
                    self.synced = max(self.synced, synced[0])
                    self.controls_synced = max(self.controls_synced, synced[1])
                    if byte + at > start and self._good(reader, byte + at)[0] is not None:
                        return byte + at
                at = data.find(record.MAGIC, at + 1)
            byte += _SEARCH
        return end

    # -- whose events they were ----------------------------------------------

    def attribute(self, heads):
        """Share the lost events out to the streams that miss them.

        heads     {stream: next number} that the index knows, or {}
        Returns False if the two contradict each other: call it without the index then.
        """
        jumps = list(self.jumps)
        if self.holes:
            for stream, following in heads.items():
                if following > self.heads.get(stream, 0):
                    jumps.append(Jump(self._holes_at.get(stream, 0), len(self.holes), stream,
                                      self.heads.get(stream, 0), following))
        return _share_out(self.holes, jumps)


def _share_out(holes, jumps):
    """Fill each hole with events of the jumps that span it, those first that end first."""
    waiting = []        # (the last hole it spans, stream, the next event to place, stop)
    coming = sorted(jumps, reverse=True)
    for i, hole in enumerate(holes):
        while coming and coming[-1].since <= i:
            one = coming.pop()
            heapq.heappush(waiting, (one.until, one.stream, one.first, one.stop))
        hole.lost = []
        room = hole.count
        while waiting and room:
            until, stream, first, stop = heapq.heappop(waiting)
            if until <= i:
                return False
            taken = min(room, stop - first)
            hole.lost.append((stream, first, taken))
            room -= taken
            if first + taken < stop:
                heapq.heappush(waiting, (until, stream, first + taken, stop))
        if room:
            hole.lost.append((record.unknown(hole.position), 0, room))
    return not waiting and not coming


def _likeness(segment, byte):
    stream, number = record.guess(segment.files.read(segment.fd, SHORT_READ, byte), segment.salt)
    if stream is None:
        return ""
    return f"{'an event' if number is None else f'event {number}'} of stream {stream!r}"


def events_of(found):
    """[(stream, number, count), …]: whose events a record has, in order; nothing for a mark."""
    if not found.count:
        return []
    if found.pack is not None:
        return [(stream, number, 1) for stream, number in zip(*found.pack)]
    return [(run.stream, run.number, run.count) for run in found.runs()]


def _unsound(found):
    """Why a record isn't what its events make, though it matches its checksums; or None."""
    if found.kind == record.CONTROL:
        return _unsound_control(found)
    if found.kind == record.GAP or not found.count:
        return None
    if found.kind == record.CUT:
        return _unsound_cut(found)
    try:
        frames = []
        for event in found.events():
            stream, name = event.stream.encode(), event.name.encode()
            check_stream(stream)
            check_name(name)
            frames += record.frames(stream, name, event.number, [event.data])
            if found.pack is None and stream != found.stream:
                return f"an event of stream {event.stream!r} is in it"
        details = found.details() if found.flags & record.DETAILS else None
        again = record.encode(0, found.number, found.position, found.clock, found.synced, frames, details=details,
                              pack=found.pack, clocks=found.clocks if found.flags & record.CLOCKS else None)
    except (ValueError, LookupError, ArithmeticError, struct.error) as error:
        return f"what is in it isn't events: {error}"
    return None if record.written(again, 0).body == found.body else "what is in it isn't what its events make"


def _unsound_control(found):
    try:
        again = record.encode_control(0, found.number, 0, 0, 0, 0, found.entries())
    except (ValueError, struct.error) as error:
        return f"what is in it isn't entries: {error}"
    return None if record.decode(again, 0, 0).body == found.body else "what is in it isn't what its entries make"


def _unsound_cut(found):
    """Why a cut isn't what it says it is, or None."""
    try:
        pack, _, gone = found.cut_parts()
        for one in gone:
            check_stream(one.stream)
        left = [one for one in found.left() if one.kind != record.CUT]
        why = _unsound(pack) if pack else None
        again = record.encode_cut(0, found.position, found.clock, found.synced, gone, left)
    except (ValueError, LookupError, ArithmeticError, struct.error) as error:
        return f"what is in it isn't a cut: {error}"
    made = record.decode(again, 0, 0)
    return why or (None if (made.body, made.count) == (found.body, found.count) else "what is in it isn't a cut")
