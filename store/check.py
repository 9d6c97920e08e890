"""Read a whole store and find everything that is bad in it; nothing is changed.

    files ──> chain: each segment in its place ──> walk: good records, and holes
                                                    |
              index: whose the lost events were ────+──> Findings
              rows of the index <── compared with ──'

The index is compared with the log a segment at a time: in memory are the places
of its records, which is what the server needs for the segment it writes to.
"""

import os
import shutil
import sqlite3
import tempfile
from array import array
from bisect import bisect_left
from urllib.parse import quote

from . import record
from .chain import MISSING, REBUILT, TURNED, WHOLE, Chain, Slot
from .cut import FOLDER as CUT_NAME
from .errors import CannotRead, StoreClosed, StoreLocked
from .files import ReadOnly, owner_of
from .index import Index, IndexDamaged, IndexOfOtherVersion
from .log import INDEX_NAME, print_of
from .segment import HEADER_SIZE, decode_header
from .walk import Walk, events_of


class Findings:
    """What is bad in a store, and what a repair starts from.

    problems    texts, one for each thing that is bad; empty for a sound store
    notes       texts about what is as it may be, such as a tear
    events      good ones
    cut         how many were taken out on purpose
    lost        events that are lost in `holes`
    streams     how many streams have an event

    chain       the segments, each in its place; `close` closes it
    holes       Holes, each with what is lost in it
    tear        the Hole that the next start cuts off with all behind it, or None
    position    of the next event, once the holes are gaps
    byte        where the records of the last segment end
    raise_epoch     numbers of lost events may be given out again
    drop_index      it is of no use any more once the holes are gaps
    """

    def __init__(self, chain):
        self.chain = chain
        self.problems = []
        self.notes = []
        self.events = self.cut = self.lost = self.streams = self.position = self.byte = 0
        self.holes = []
        self.tear = None
        self.raise_epoch = self.drop_index = False

    @property
    def sound(self):
        return not self.problems

    def close(self):
        self.chain.close()


def check(folder, progress=lambda done, of: None):
    """Read a whole store that nobody has open, and return the Findings, closed.

    progress   called with (bytes read, bytes in all), now and then
    Raises     StoreLocked, UnknownFormat, OSError
    """
    files = ReadOnly()
    with own(files, folder):
        findings = survey(folder, files, progress)
        findings.close()
        return findings


class own:
    """Nobody else has the store open inside a `with` of this.  Raises StoreLocked."""

    def __init__(self, files, folder):
        self._files = files
        self._folder = folder
        self._fd = None

    def __enter__(self):
        path = os.path.join(self._folder, "lock")
        try:
            self._fd = self._files.lock(path)
        except BlockingIOError:
            raise StoreLocked(self._folder, owner_of(path)) from None
        except FileNotFoundError as error:      # a copy of a store may have none
            if not os.path.isdir(self._folder):
                raise FileNotFoundError(error.errno, error.strerror, self._folder) from None
        return self

    def __exit__(self, *exc_info):
        if self._fd is not None:
            self._files.close(self._fd)


def survey(folder, files, progress=lambda done, of: None):
    """The Findings of a store that the caller owns; their chain is open."""
    with tempfile.TemporaryDirectory(prefix="meilies-check-") as scratch:
        known = _Known(folder, scratch)
        try:
            findings = Findings(Chain(folder, files, known.uuid))
            try:
                _Survey(findings, known, progress).run()
            except BaseException:
                findings.close()
                raise
        finally:
            known.close()
    return findings


# Bytes read between two pauses of a check beside a server's work: some 2 ms of small records.
_STEP = 96 * 1024


def check_in_use(log, progress=lambda done, of: None):
    """Read an open `log` up to where it ends now, and return the Findings, closed; nothing waits for it.

    The index isn't looked at: it is written to, and made anew when a read finds it wrong.
    Raises     UnknownFormat, StoreFailed, StoreClosed, CannotRead
    """
    log.sync()
    durable = log.synced, log.controls_synced
    slots = []
    try:
        for sequence in range(log.segment_count):
            slots.append(Slot(log.opened(sequence), WHOLE))
        return _survey_in_use(log, slots, durable, progress)
    except OSError as error:
        raise CannotRead(log.folder, error) from None
    finally:
        for slot in slots:
            slot.segment.close()


def _survey_in_use(log, slots, durable, progress):
    findings = Findings(None)
    of = sum(slot.segment.end for slot in slots)
    done = behind = 0       # bytes read, and those of them since the last pause

    def advance(size):
        nonlocal done
        done += size
        progress(done, of)

    def seen(slot, byte, one):
        nonlocal behind
        behind += one.size
        if behind >= _STEP:
            behind = 0
            if log.pause():
                raise StoreClosed()

    for slot in slots:
        segment = slot.segment
        if decode_header(segment.files.read(segment.fd, HEADER_SIZE, 0), segment.path) != segment.header:
            findings.problems.append(f"{slot.name}: its header isn't what it was when the store was opened")
    walk = Walk(slots, (slots[-1], slots[-1].segment.end), seen, advance).run()
    walk.finish(*durable)
    walk.attribute({})
    _sum_up(findings, walk)
    return findings


class _Known:
    """What the index says; nothing of it is changed.

    through, heads   as Index.load returns them, or None and {}
    why              it is of no use, or None
    outdated         that is no damage: another version wrote it, or a crash came before it was told what was rewritten
    index            the Index, or None if there is none
    """

    def __init__(self, folder, scratch):
        self.through, self.heads, self.why, self.uuid = None, {}, None, None
        self.outdated = False
        self.index = _opened(os.path.join(folder, INDEX_NAME), scratch)
        if self.index is None:
            return
        try:
            loaded = self.index.load()
            if loaded is not None:
                self.through, self.heads = loaded
                self.uuid = self.index.says("uuid")
        except IndexDamaged as damage:
            self.why = str(damage)
            self.outdated = isinstance(damage, IndexOfOtherVersion)

    def close(self):
        if self.index is not None:
            self.index.close()

    @property
    def durable(self):
        return self.through.durable if self.through else 0

    @property
    def controls(self):
        return self.through.controls if self.through else 0

    def forget(self, why):
        """It isn't to be relied on."""
        self.why = why
        self.through, self.heads = None, {}


class _IndexAsItIs(Index):
    """An index that nobody writes to, this included."""

    def _connect(self):
        self._connection = sqlite3.connect(f"file:{quote(self.path)}?mode=ro&immutable=1", uri=True,
                                           isolation_level=None, check_same_thread=False)


def _opened(path, scratch):
    """The index at `path`, or None.  One that was left open is read from a copy: opening it changes it."""
    if not os.path.exists(path):
        return None
    unfinished = [path + suffix for suffix in ("-wal", "-journal") if os.path.exists(path + suffix)]
    if not any(os.path.getsize(one) for one in unfinished):
        return _IndexAsItIs(path)
    for one in (path, *unfinished):
        shutil.copyfile(one, os.path.join(scratch, os.path.basename(one)))
    return Index(os.path.join(scratch, os.path.basename(path)))


class _Survey:
    """Fills in Findings."""

    def __init__(self, findings, known, progress):
        self._findings = findings
        self._chain = findings.chain
        self._known = known
        self._progress = progress
        self._read = 0
        self._bytes = sum(slot.segment.file_size() for slot in self._chain.slots)
        self._places = None

    def run(self):
        self._name_files()
        if not self._chain.slots:
            if self._known.durable:
                self._problem(f"no segment is there, and {self._known.durable} events were on disk")
            else:
                self._note("no segment is there: this is a new store, or not one")
            return
        if self._chain.broken:
            self._problem(self._chain.broken)
            return
        walk = self._walk(None)
        self._judge_index(walk)
        walk = self._find_tear(walk)
        if not walk.attribute(self._known.heads):
            self._known.forget("what it says of the streams contradicts the log")
            if not walk.attribute({}):
                self._chain.broken = "numbers and positions of its records contradict each other"
                self._problem(self._chain.broken)
        _sum_up(self._findings, walk)
        self._name_index(walk)

    def _problem(self, text):
        self._findings.problems.append(text)

    def _note(self, text):
        self._findings.notes.append(text)

    def _walk(self, stop):
        self._places = _Places(self._known) if self._known.through else None
        seen = self._places.see if self._places else lambda slot, byte, one: None
        return Walk(self._chain.slots, stop, seen, self._advance).run()

    def _advance(self, size):
        self._read = min(self._read + size, self._bytes)
        self._progress(self._read, self._bytes)

    # -- files ---------------------------------------------------------------

    def _name_files(self):
        chain = self._chain
        for path, why in chain.strangers:
            self._problem(f"{os.path.basename(path)}: it isn't part of the log: {why}")
        for path, right in chain.misplaced:
            self._problem(f"{os.path.basename(path)}: by its header it is {os.path.basename(right)}")
        for slot in chain.slots:
            if slot.state == MISSING:
                self._problem(f"{slot.name}: it is missing")
            elif slot.state == TURNED:
                self._problem(f"{slot.name}: a bit of its header is turned; the rest of it says which")
            elif slot.state == REBUILT:
                self._problem(f"{slot.name}: its header is damaged; what it said follows from the rest")
        if chain.unfinished:
            self._note(f"{os.path.basename(chain.unfinished)}: it was being made when the machine or process "
                       f"stopped, and holds nothing; the next start sets it aside")
        kept = os.path.join(chain.folder, CUT_NAME)
        if os.path.isdir(kept) and os.listdir(kept):
            self._note(f"{CUT_NAME}/: {_counted(len(os.listdir(kept)), 'file')}, kept when the log was cut or repaired")

    # -- where the log ends --------------------------------------------------

    def _find_tear(self, walk):
        """The walk to where the log ends: as it is, or at its tear."""
        synced = max(walk.synced, self._known.durable)
        controls = max(walk.controls_synced, self._known.controls)
        tear = next((hole for hole in walk.holes if hole.unfinished[1] >= synced and hole.controls >= controls), None)
        if tear is not None:
            byte, position = tear.unfinished
            if tear.end is not None or not tear.slot.segment.has_only_zeros(byte):
                self._findings.tear = tear
                self._note(f"{tear.slot.name}: the write at byte {byte} was never finished ({tear.why}); nobody was "
                           f"told that it was stored.  The next start cuts the log there, at position {position}, "
                           f"and keeps what it cuts in {CUT_NAME}/")
            walk = self._walk((tear.slot, byte))
        walk.finish(synced, controls)
        return walk

    # -- the index -----------------------------------------------------------

    def _judge_index(self, walk):
        """Forget an index that was made from another log than this, which perhaps began like it."""
        through = self._known.through
        if through is None or self._known.index.says("uuid") != self._chain.slots[0].segment.header.uuid:
            if through is not None:
                self._known.forget("it belongs to another store")
            return
        if through.sequence >= len(self._chain.slots):
            return
        slot = self._chain.slots[through.sequence]
        hidden = any(hole.slot is slot and hole.byte < through.byte <= hole.stop for hole in walk.holes)
        short = slot is self._chain.slots[-1] and through.byte > slot.segment.file_size()
        if hidden or short or not slot.known:
            return      # what it goes by is damaged itself
        told = through.generations == sum(slot.segment.header.generation
                                          for slot in self._chain.slots[:through.sequence + 1])
        if print_of(slot.segment, through.byte) != through.print:
            self._known.forget("it is of another copy of this store")
        if not told:
            self._known.why = "it is of segments that were rewritten since"
            self._known.outdated = True

    def _name_index(self, walk):
        known = self._known
        if known.index is None:
            self._note(f"{INDEX_NAME}: there is none; the next start makes it from the log")
            return
        if known.through is not None and not known.outdated and not walk.holes:
            known.why = self._places.finish()
            last = len(self._chain.slots) - 1
            if known.through[:2] > (last, walk.byte):
                known.why = "it goes on behind the end of the log"
        if known.outdated:
            self._note(f"{INDEX_NAME}: {known.why}; the next start makes it anew from the log")
        elif known.why:
            self._findings.drop_index = True
            self._problem(f"{INDEX_NAME}: {known.why}; it is of no use, and is made anew from the log")


def _sum_up(findings, walk):
    """Put what a walk found into `findings`."""
    findings.problems += [hole_text(hole) for hole in walk.holes]
    findings.holes = walk.holes
    findings.position = walk.position
    findings.byte = walk.byte
    findings.events = walk.events
    findings.cut = walk.cut
    findings.lost = sum(hole.count for hole in walk.holes)
    findings.streams = sum(1 for name in walk.heads if not name.startswith(record.UNKNOWN))
    findings.drop_index = bool(walk.holes)
    findings.raise_epoch = any(_is_unknown(stream) for hole in walk.holes for stream, _, _ in hole.lost)
    if walk.cut:
        findings.notes.append(f"taken out on purpose, by retention or deletion: {_counted(walk.cut, 'event')}")
    for slot, byte, gap in walk.gaps:
        if gap.count:
            span = _span("position", gap.position, gap.count)
            findings.notes.append(f"{slot.name}: byte {byte}: {_counted(gap.count, 'event')} lost to damage, "
                                  f"{span}; repaired")


class _Places:
    """Compares the rows of the index with the records of the log, a segment at a time."""

    def __init__(self, known):
        self._index = known.index
        self._through = known.through
        self._why = None
        self._rows = 0
        self._entries = {}      # (topic, key) -> (segment, byte) of its newest entry
        self._newer = set()     # (topic, key) with one behind what the index goes to, whatever that says of them
        self._begin(0)

    def _begin(self, sequence):
        self._sequence = sequence
        self._starts = {}       # stream -> [number << 32 | byte] of its records
        self._stops = {}        # stream -> the number after its last event
        self._positions = array("Q")
        self._bytes = array("Q")

    def see(self, slot, byte, one):
        """Called for each good record of the log."""
        if slot.segment.sequence != self._sequence:
            self._compare()
            self._begin(slot.segment.sequence)
        if self._why:
            return
        if (self._sequence, byte) >= self._through[:2]:
            self._newer.update(_entries_of(one))
            return
        self._positions.append(one.position)
        self._bytes.append(byte)
        for stream, number, count in events_of(one):
            self._starts.setdefault(stream, []).append(number << 32 | byte)
            self._stops[stream] = number + count
        if one.kind == record.CONTROL:
            for topic, key, value in one.entries():
                self._entries.pop((topic, key), None)
                if value is not None:
                    self._entries[topic, key] = self._sequence, byte

    def finish(self):
        """Why the index is wrong, or None."""
        self._compare()
        try:
            if not self._why and self._index.stretch_count() != self._rows:
                self._why = "it has places of events that aren't in the log"
            self._why = self._why or self._compare_entries()
        except IndexDamaged as damage:
            self._why = str(damage)
        return self._why

    def _compare(self):
        try:
            for stream, starts in self._starts.items():
                self._why = self._why or self._compare_stream(stream, starts)
            for position, byte in self._index.marks_in(self._sequence):
                at = bisect_left(self._bytes, byte)
                if at == len(self._bytes) or self._bytes[at] != byte or self._positions[at] > position:
                    self._why = self._why or (f"no record of position {position} begins at byte {byte} of segment "
                                              f"{self._sequence}")
        except IndexDamaged as damage:
            self._why = self._why or str(damage)

    def _compare_entries(self):
        found = {}
        for topic in self._index.topics():
            for key, place in self._index.entries(topic, self._through.controls).items():
                found[topic, key] = place[:2]
        # A control that a later one replaced may be gone from a rewritten segment, with another before it left there.
        if any(found.get(one) != self._entries.get(one) for one in (found.keys() | self._entries) - self._newer):
            return "its entries aren't those that the controls of the log make"
        return None

    def _compare_stream(self, stream, starts):
        due, stop = starts[0] >> 32, self._stops[stream]
        for first, last, sequence, places in self._index.stretches(stream, due, stop):
            self._rows += 1
            if (first, sequence) != (due, self._sequence):
                return f"events {due} to {first - 1} of stream {stream!r} have no place"
            for number, byte in places:
                place = number << 32 | byte
                at = bisect_left(starts, place)
                if at == len(starts) or starts[at] != place:
                    return f"event {number} of stream {stream!r} isn't at byte {byte} of segment {sequence}"
            due = last + 1
        return None if due == stop else f"events {due} to {stop - 1} of stream {stream!r} have no place"


def _entries_of(one):
    return [(topic, key) for topic, key, _ in one.entries()] if one.kind == record.CONTROL else []


def hole_text(hole):
    """A hole in words: the bytes, and on a line each the events of each stream."""
    lines = [f"{hole.slot.name}: {_place(hole)}: {_loss(hole)}"]
    for stream, first, count in hole.lost:
        if _is_unknown(stream):
            lines.append(f"    {_counted(count, 'event')} of which nobody knows the stream")
        else:
            lines.append(f"    {_span('event', first, count)} of stream {stream.decode()!r}")
    return "\n".join(lines)


def _place(hole):
    if hole.slot.state == MISSING:
        return "what was in it isn't there"
    if hole.byte == hole.stop:
        return f"at byte {hole.byte} something is missing ({hole.why})"
    like = f"; it looks like {hole.like}" if hole.like else ""
    return f"bytes {hole.byte} to {hole.stop} are damaged ({hole.why}{like})"


def _loss(hole):
    controls = hole.controls_end - hole.controls
    said = f"; up to {_counted(controls, 'control')} (settings, checkpoints, snapshots) may be lost" if controls else ""
    if not hole.count:
        return "no event is lost" + said
    return (f"{_counted(hole.count, 'event')} {_is_are(hole.count)} lost, "
            f"{_span('position', hole.position, hole.count)}{said}")


def _is_are(count):
    return "is" if count == 1 else "are"


def _is_unknown(stream):
    return stream.startswith(record.UNKNOWN)


def _counted(count, what):
    return f"1 {what}" if count == 1 else f"{count} {what}s"


def _span(what, first, count):
    return f"{what} {first}" if count == 1 else f"{what}s {first} to {first + count - 1}"
