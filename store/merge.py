"""Write a sealed segment anew, with its small records joined.

    | r r r r r r R r r |  ──>  | run  R  pack |

An event that came alone has a record of its own, whose header and checksums make
reading it dear: 1.1 us where one of a long record costs a tenth.  Neighbours of
one stream become a run, those of several a pack; the order of positions stays as
it was.  What is long, compressed, or of an append of several records is copied
as it is.  A control is left out when the segment itself has later entries for all
that it says; how many there were is said by a mark at the end.
"""

from itertools import chain

from . import record
from .draft import LONG, Draft
from .segment import HEADER_SIZE, Reader

# A segment of so many records, of fewer bytes than this on the average, is worth the work.
_MANY = 64
_SMALL = 1024

# Bytes read between two pauses: 400 small records, which take about 2 ms.
_STEP = 96 * 1024

# Bytes given to one write.
_WRITE = 256 * 1024


def is_worth_it(size, records):
    """Whether `records`, so many in `size` bytes, are small ones."""
    return records >= _MANY and size < _SMALL * records


def merge(segment, files, fd, synced, note, pause, is_old=lambda control, byte: False):
    """Write the records of a sealed segment to the file `fd`; return the byte where they end.

    The file has no header yet.
    synced   says so of every record: all of the segment is on disk
    note     note(record, byte) is called with each record that is written
    pause    called between steps; True to stop: None is returned then
    is_old   is_old(control, byte) says whether all entries of a control are superseded in the segment
    Raises   BadRecord, OSError
    """
    end = HEADER_SIZE
    parts, size = [], 0
    paused = 0
    for read, ones, data in _joined(segment, synced, is_old):
        if read - paused >= _STEP:
            paused = read
            if pause():
                return None
        for one in ones:
            note(one, end + size)
        parts.append(data)
        size += len(data)
        if size >= _WRITE:
            files.write(fd, b"".join(parts), end)
            end += size
            parts, size = [], 0
    files.write(fd, b"".join(parts), end)
    return end + size


def _joined(segment, synced, is_old):
    """Yield (byte up to which the segment was read, what to note of a record, its bytes)."""
    gathered = _Gathered(segment.salt, synced)
    among_more = False
    seen = kept = clock = 0         # how many controls came before, as is said by what was read, and by what is written
    for byte, one in Reader(segment).records(HEADER_SIZE):
        keep = among_more or one.more_follows or one.flags & record.ZIPPED or _size_of(one) >= LONG
        among_more = one.more_follows
        seen, clock = max(seen, one.controls), one.clock
        if one.kind == record.CONTROL:
            if not is_old(one, byte):
                kept = one.controls
                yield from gathered.take(byte)
                yield byte, [one], segment.files.read(segment.fd, one.size, byte)
            continue
        if not one.count:       # a mark: the whole segment is on disk
            continue
        if one.kind == record.GAP:
            yield from gathered.take(byte)
            yield byte, one.runs(), _without_padding(segment, one)
            continue
        if keep:
            yield from gathered.take(byte)
            yield byte, [one], segment.files.read(segment.fd, one.size, byte)
            continue
        for run in one.runs():
            if not gathered.has_room(run):
                yield from gathered.take(byte)
            gathered.add(run)
    yield from gathered.take(segment.end)
    if kept < seen:
        yield segment.end, [], record.encode_mark(segment.salt, synced, clock, seen)


def _without_padding(segment, gap):
    """The bytes of a gap as short as it can be: nothing has to stay where it is."""
    lost = [(run.stream, run.number, run.count) for run in gap.runs()]
    return record.encode_gap(segment.salt, gap.position, gap.clock, gap.synced, lost, record.gap_size(lost))


class _Gathered:
    """Short runs that will be one record."""

    def __init__(self, salt, synced):
        self._salt = salt
        self._synced = synced
        self._clear()

    def _clear(self):
        self._runs = []
        self._size = 0
        self._alike = True

    def has_room(self, run):
        if not self._runs:
            return True
        size = self._size + _size_of(run)
        if self._alike and self._runs[0].stream == run.stream:
            return size <= record.MAX_FRAMES
        return size <= record.MAX_PACK

    def add(self, run):
        self._alike = not self._runs or self._alike and self._runs[0].stream == run.stream
        self._runs.append(run)
        self._size += _size_of(run)

    def take(self, read):
        """[(read, [Draft], bytes)] of what was gathered, or []; it begins anew."""
        runs = self._runs
        if not runs:
            return []
        first = runs[0]
        frames, clocks, details = [], [], []
        for run in runs:
            frames += _split(run)
            clocks += run.clocks
            details += run.details()
        pack = None
        if not self._alike:
            pack = ([run.stream for run in runs for _ in range(run.count)],
                    [run.number + i for run in runs for i in range(run.count)])
        data = record.encode(
            self._salt, first.number, first.position, first.clock, self._synced, frames, pack=pack,
            details=details if any(map(any, details)) else None,
            clocks=clocks if clocks.count(first.clock) < len(clocks) else None)
        draft = Draft(first.stream, first.number, first.position, frames, pack)
        draft.count, draft.size, draft.latest = len(frames), len(data), max(clocks)
        self._clear()
        return [(read, [draft], data)]


def _size_of(run):
    """Bytes of its frames and details."""
    if not run.flags & record.DETAILS:
        return run.frames_size
    return run.frames_size + sum(map(len, chain.from_iterable(run.details())))


def _split(run):
    """The frames of a run, each by itself."""
    if run.count == 1:
        return [run.body[:run.frames_size]]
    return [run.body[start:end] for start, end in zip((0, *run.ends), run.ends)]
