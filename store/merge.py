"""Write a sealed segment anew, with its small records joined, or without events that were cut.

    | r r r r r r R r r |  ──>  | run  R  pack |
    | r r r r r r R r r |  ──>  | run  cut  pack |

An event that came alone has a record of its own, whose header and checksums make
reading it dear: 1.1 us where one of a long record costs a tenth.  Neighbours of
one stream become a run, those of several a pack; the order of positions stays as
it was.  What is long, compressed, or of an append of several records is copied
as it is.  A control is left out when there are later entries for all that it says;
how many there were is said by a mark at the end.

Where events go, a cut stands for them (see record.py), and takes in the cuts
beside it.  Parts of an append of several records may go by themselves: all of the
segment is on disk, so nothing asks what belongs together.
"""

from itertools import chain
from typing import NamedTuple

from . import record
from .draft import LONG, Draft
from .record import Gone
from .segment import HEADER_SIZE, Reader

# A segment of so many records, of fewer bytes than this on the average, is worth the work.
_MANY = 64
_SMALL = 1024

# About what an entry takes in the table of a cut, but for names and ids.
_ENTRY = 20
# What becomes of the parts of a compressed record is compressed again, at this level.
_LEVEL = 6

# Bytes read between two pauses: 400 small records, which take about 2 ms.
_STEP = 96 * 1024

# Bytes given to one write.
_WRITE = 256 * 1024


def is_worth_it(size, records):
    """Whether `records`, so many in `size` bytes, are small ones."""
    return records >= _MANY and size < _SMALL * records


def merge(segment, files, fd, synced, note, pause, is_old=lambda control, byte: False, sieve=lambda one: None):
    """Write the records of a sealed segment to the file `fd`; (the byte where they end, how many events are gone).

    The file has no header yet.
    synced   says so of every record: all of the segment is on disk
    note     note(record, byte) is called with each record that is written
    pause    called between steps; True to stop: (None, 0) is returned then
    is_old   is_old(control, byte) says whether later entries stand for all of a control's
    sieve    called with each record of events; None: it stays as it is.  Otherwise
             what to put in its place: runs, and `Shed` where events go
    Raises   BadRecord, OSError
    """
    end = HEADER_SIZE
    parts, size = [], 0
    paused = gone = 0
    for read, ones, data, shed in _joined(segment, synced, is_old, sieve):
        gone += shed
        if read - paused >= _STEP:
            paused = read
            if pause():
                return None, 0
        for one in ones:
            note(one, end + size)
        parts.append(data)
        size += len(data)
        if size >= _WRITE:
            files.write(fd, b"".join(parts), end)
            end += size
            parts, size = [], 0
    files.write(fd, b"".join(parts), end)
    return end + size, gone


def _joined(segment, synced, is_old, sieve):
    """Yield (byte up to which the segment was read, what to note of a record, its bytes, how many events it lacks)."""
    gathered = _Gathered(segment.salt, synced)
    among_more = False
    seen = kept = clock = 0         # how many controls came before, as is said by what was read, and by what is written
    for byte, one in Reader(segment).records(HEADER_SIZE):
        tied = among_more or one.more_follows
        among_more = one.more_follows
        seen, clock = max(seen, one.controls), one.clock
        if one.kind == record.CONTROL:
            if not is_old(one, byte):
                kept = one.controls
                yield from gathered.take(byte)
                yield byte, [one], segment.files.read(segment.fd, one.size, byte), 0
            continue
        if not one.count:       # a mark: the whole segment is on disk
            continue
        if one.kind == record.GAP:
            yield from gathered.take(byte)
            yield byte, one.runs(), _without_padding(segment, one), 0
            continue
        if one.kind == record.CUT:
            cut = _sifted_cut(one, sieve)
            if not gathered.has_room_for_all(cut):
                yield from gathered.take(byte)
            for piece in cut:
                gathered.add(piece)
            continue
        pieces = sieve(one)
        if pieces is None and (tied or one.flags & record.ZIPPED or _size_of(one) >= LONG):
            yield from gathered.take(byte)
            yield byte, [one], segment.files.read(segment.fd, one.size, byte), 0
            continue
        for piece in one.runs() if pieces is None else pieces:
            if not gathered.has_room(piece):
                yield from gathered.take(byte)
            gathered.add(piece)
    yield from gathered.take(segment.end)
    if kept < seen:
        yield segment.end, [], record.encode_mark(segment.salt, synced, clock, seen), 0


def _without_padding(segment, gap):
    """The bytes of a gap as short as it can be: nothing has to stay where it is."""
    lost = [(run.stream, run.number, run.count) for run in gap.runs()]
    return record.encode_gap(segment.salt, gap.position, gap.clock, gap.synced, lost, record.gap_size(lost))


class Shed(NamedTuple):
    """Events of one stream that go: the position of the first, the highest clock, and what is left of them."""

    position: int
    latest: int
    gone: Gone


def _sifted_cut(one, sieve):
    """What to put in the place of a cut: what it stands for, once more of it goes.

    Where in it the events were that are gone isn't known, so these pieces stay in one record.
    """
    _, _, gone = one.cut_parts()
    pieces = [Shed(one.position, one.clock, some) for some in gone]
    for run in one.left():
        if run.kind != record.CUT:
            pieces += sieve(run) or [run]
    return pieces


class _Gathered:
    """Short runs that will be one record, and what went between them."""

    def __init__(self, salt, synced):
        self._salt = salt
        self._synced = synced
        self._clear()

    def _clear(self):
        self._first = None      # of either
        self._latest = 0
        self._runs = []
        self._size = 0
        self._alike = True
        self._level = 0
        self._gone = {}         # stream -> Gone
        self._table = 0         # about as many bytes as they take

    def has_room(self, piece):
        if self._first is None:
            return True
        if type(piece) is Shed:         # a longer run is better read by itself
            return self._size <= record.MAX_PACK and self._table < record.MAX_FRAMES
        size = self._size + _size_of(piece)
        if self._alike and not self._gone and self._runs[0].stream == piece.stream:
            return size <= record.MAX_FRAMES
        return size <= record.MAX_PACK

    def has_room_for_all(self, pieces):
        """The same for those of a cut, which aren't parted."""
        if self._first is None:
            return True
        table = sum(_table_of(piece.gone) for piece in pieces if type(piece) is Shed)
        size = sum(_size_of(piece) for piece in pieces if type(piece) is not Shed)
        return self._size + size <= record.MAX_PACK and self._table + table <= record.MAX_FRAMES

    def add(self, piece):
        if self._first is None:
            self._first = piece
        self._latest = max(self._latest, piece.latest)
        if type(piece) is Shed:
            self._add_gone(piece.gone)
            return
        self._alike = not self._runs or self._alike and self._runs[0].stream == piece.stream
        self._runs.append(piece)
        self._size += _size_of(piece)
        if piece.flags & record.ZIPPED:
            self._level = _LEVEL

    def _add_gone(self, gone):
        known = self._gone.get(gone.stream)
        if known is None:
            self._gone[gone.stream] = gone
        else:
            self._gone[gone.stream] = known._replace(count=known.count + gone.count, stubs=known.stubs + gone.stubs)
        self._table += _table_of(gone)

    def take(self, read):
        """[(read, what to note, bytes, events that it lacks)] of what was gathered, or []; it begins anew."""
        if self._first is None:
            return []
        noted, data = self._cut() if self._gone else self._joined()
        gone = sum(one.count for one in self._gone.values())
        self._clear()
        return [(read, noted, data, gone)]

    def _cut(self):
        first = self._first
        data = record.encode_cut(self._salt, first.position, self._latest, self._synced, self._gone.values(),
                                 self._runs, self._level)
        return record.decode(data, 0, self._salt).runs(), data

    def _joined(self):
        runs = self._runs
        first = runs[0]
        frames, clocks, details = [], [], []
        for run in runs:
            frames += run.split()
            clocks += run.clocks
            details += run.details()
        pack = None
        if not self._alike:
            pack = ([run.stream for run in runs for _ in range(run.count)],
                    [run.number + i for run in runs for i in range(run.count)])
        data = record.encode(
            self._salt, first.number, first.position, first.clock, self._synced, frames, pack=pack, level=self._level,
            details=details if any(map(any, details)) else None,
            clocks=clocks if clocks.count(first.clock) < len(clocks) else None)
        draft = Draft(first.stream, first.number, first.position, frames, pack)
        draft.count, draft.size, draft.latest = len(frames), len(data), max(clocks)
        return [draft], data


def _table_of(gone):
    """About as many bytes as it takes in the table of a cut."""
    return _ENTRY + len(gone.stream) + sum(_ENTRY + len(id_) for _, _, id_ in gone.stubs)


def _size_of(run):
    """Bytes of its frames and details."""
    if not run.flags & record.DETAILS:
        return run.frames_size
    return run.frames_size + sum(map(len, chain.from_iterable(run.details())))
