"""Put a gap where a hole is, so that a damaged store opens, and keeps every event that can be saved.

    R R R x . . . R R R          the bytes from x on, kept in cut/
    R R R[gap      ]R R R        as long as they were: nothing moves, and every event
                                 keeps its number and its position

A reader that comes to the gap gets EventsLost, which says where to read on.

The steps, each on disk before the next begins:

    1  strangers are moved to cut/, misplaced segments to their names
    2  headers that were lost are written, and those of missing segments
    3  a new segment begins the next epoch, if numbers may be given out again
    4  each hole is kept, and becomes a gap
    5  the index is removed if it doesn't fit any more
    6  the store is opened, which cuts a tear and makes the index, and closed

What is written over was bad before, and is kept before that.  So a crash at any
point leaves a store with some of its damage mended, which is checked and
repaired as any other.
"""

import os
import time
from typing import NamedTuple

from . import record
from .chain import MISSING, MOVING, REBUILT, TURNED
from .check import own, survey
from .cut import Cuts
from .database import Store
from .errors import CannotRepair
from .files import Files, ReadOnly
from .log import INDEX_NAME
from .segment import HEADER_SIZE, LONG_READ, Header, Segment


class Outcome(NamedTuple):
    """What a repair did, or would do.

    findings   of the check before it
    steps      texts, one for each change
    """

    findings: object
    steps: list


def repair(folder, dry_run=False, files=None, progress=lambda done, of: None):
    """Mend a store that nobody has open; return the Outcome.

    dry_run   only say what would be done; nothing is changed
    Raises    CannotRepair   nothing was changed
              StoreLocked, UnknownFormat, OSError
    """
    files = files or Files()
    with own(ReadOnly() if dry_run else files, folder):
        findings = survey(folder, ReadOnly() if dry_run else files, progress)
        try:
            work = _Repair(folder, findings, files, dry_run)
            work.run()
        finally:
            findings.close()
    if work.steps and not dry_run:
        Store(folder, files=files).close()
    return Outcome(findings, work.steps)


class _Repair:
    """steps   what was done so far"""

    def __init__(self, folder, findings, files, dry_run):
        self.steps = []
        self._folder = folder
        self._findings = findings
        self._chain = findings.chain
        self._files = files
        self._dry = dry_run
        self._cuts = Cuts(files, folder)
        self._clock = time.time_ns() // 1000

    def run(self):
        self._refuse()
        gaps = [self._gap(hole) for hole in self._findings.holes]
        self._move_files()
        self._write_headers()
        self._raise_epoch(gaps)
        for hole, gap in zip(self._findings.holes, gaps):
            self._fill(hole, *gap)
        self._drop_index()
        if self._findings.tear:
            self._step("the tear is cut off, and kept")

    def _step(self, text):
        self.steps.append(text)

    def _refuse(self):
        if self._chain.broken:
            raise CannotRepair(self._folder, self._chain.broken)
        if not self._chain.slots and self._findings.problems:
            raise CannotRepair(self._folder, self._findings.problems[0])

    def _gap(self, hole):
        """(the first bytes of the gap for a hole, the byte where it ends)."""
        segment = hole.slot.segment
        room = hole.stop - hole.byte
        last = hole.slot is self._chain.slots[-1]
        if hole.stop == segment.end and (last or hole.slot.state == REBUILT):   # behind the last record is room
            room = max(room, record.gap_size(hole.lost))
            if not last:
                segment.header = segment.header._replace(generation=1, end=hole.byte + room)
        try:
            data = record.encode_gap(segment.salt, hole.position, self._clock, hole.end, hole.lost, room,
                                     hole.controls_end)
        except ValueError as error:
            raise CannotRepair(segment.path, f"{error}, at byte {hole.byte}") from None
        return data, hole.byte + room

    # -- files ---------------------------------------------------------------

    def _move_files(self):
        for path, _ in self._chain.strangers:
            self._step(f"{os.path.basename(path)} is moved to cut/")
            if not self._dry:
                self._cuts.set_aside(path)
        waiting = list(self._chain.misplaced)
        while waiting:
            ready = [one for one in waiting if not self._taken(one[1], waiting)]
            if ready:
                path, right = ready[0]
                waiting.remove(ready[0])
            else:       # each has another's name: the last one makes room
                path = max(waiting)[0]
                right = path + MOVING
                waiting = [(right if one[0] == path else one[0], one[1]) for one in waiting]
            self._rename(path, right)

    def _taken(self, right, waiting):
        return any(path == right for path, _ in waiting)

    def _rename(self, path, right):
        self._step(f"{os.path.basename(path)} becomes {os.path.basename(right)}")
        if not self._dry:
            self._files.rename(path, right)
            self._files.sync_folder(self._folder)

    def _write_headers(self):
        for slot in self._chain.slots:
            segment = slot.segment
            if slot.state == MISSING:
                self._step(f"{slot.name} is made, empty")
                if not self._dry:
                    slot.segment = Segment.create(self._files, self._folder, segment.header)
                    self._chain.adopt(slot.segment)
            elif slot.state in (TURNED, REBUILT):
                self._step(f"the header of {slot.name} is written anew, and what was there is kept")
                if not self._dry:
                    self._cuts.keep(segment, 0, HEADER_SIZE)
                    self._files.write(segment.fd, segment.header.encode(), 0)
                    segment.sync()

    def _raise_epoch(self, gaps):
        """Begin a new segment behind the last: clients that saw lost events are to know that numbers are used again."""
        if not self._findings.raise_epoch or self._findings.tear:      # cutting a tear raises it as well
            return
        before = self._chain.slots[-1].segment.header
        end = max([self._findings.byte] + [stop for hole, (_, stop) in zip(self._findings.holes, gaps)
                                           if hole.slot is self._chain.slots[-1]])
        self._step(f"epoch {before.epoch + 1} begins")
        if self._dry:
            return
        header = Header(before.uuid, os.urandom(16), before.id, before.sequence + 1, before.epoch + 1,
                        self._findings.position, end, 0, self._clock)
        if self._chain.unfinished:
            self._cuts.set_aside(self._chain.unfinished)
        self._chain.adopt(Segment.create(self._files, self._folder, header))

    # -- holes ---------------------------------------------------------------

    def _fill(self, hole, data, stop):
        """Keep the bytes of a hole, and put a gap there."""
        segment = hole.slot.segment
        self._step(f"{hole.slot.name}: bytes {hole.byte} to {stop} are kept, and become a gap")
        if self._dry:
            return
        size = segment.file_size()
        if size > hole.byte:
            self._cuts.keep(segment, hole.byte, hole.stop)
        byte = hole.byte + len(data)
        while byte < min(stop, size):
            zeros = bytes(min(LONG_READ, stop - byte, size - byte))
            self._files.write(segment.fd, zeros, byte)
            byte += len(zeros)
        self._files.write(segment.fd, data, hole.byte)
        if segment.file_size() < stop:
            self._files.truncate(segment.fd, stop)
        segment.sync()

    def _drop_index(self):
        if not self._findings.drop_index:
            return
        self._step(f"{INDEX_NAME} is made anew")
        if not self._dry:
            for suffix in ("", "-wal", "-shm", "-journal"):
                path = os.path.join(self._folder, INDEX_NAME + suffix)
                if os.path.exists(path):
                    self._files.remove(path)
            self._files.sync_folder(self._folder)
