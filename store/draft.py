"""From what was asked to be appended to what will be written: events get their
numbers and frames, and are cut into records.

    [(stream, name, [data, …]), …] ──> drafts_of ──> [Draft, …] ──> record.encode

A long run of one stream becomes records of its own.  Short ones, of whatever
streams, are packed: their records would be mostly headers.
"""

from bisect import bisect_right
from itertools import accumulate

from . import record
from .record import FRAME, MAX_FRAMES, MAX_PACK

# Frames of a run that isn't packed take at least so many bytes.
LONG = 4 * 1024


class Draft:
    """Events on their way to a record.

    stream, number       of the first event
    pack                 (stream of each, number of each), None if they are a run of one stream
    more                 the next draft belongs to the same append
    pairs                (id, metadata) of each, or None
    count, size, clock   those of the record, once it is written
    """

    __slots__ = ("stream", "number", "position", "frames", "pack", "more", "pairs", "count", "size", "clock")

    def __init__(self, stream, number, position, frames, pack=None):
        self.stream = stream
        self.number = number
        self.position = position
        self.frames = frames
        self.pack = pack
        self.more = False
        self.pairs = None


class _Drafts(list):
    """The drafts so far, one behind the other from `position` on."""

    def __init__(self, position):
        super().__init__()
        self.position = position    # of the next event
        self._room = 0              # bytes that the last draft, if it is a run, may be longer

    def add_gathered(self, streams, numbers, frames):
        """A record of short runs: of a stream each, or all of one."""
        if frames:
            alike = streams.count(streams[0]) == len(streams)
            self._add(streams[0], numbers[0], frames, None if alike else (streams, numbers))
            self._room = 0

    def add_run(self, stream, number, frames, size):
        """Records of a long run, which goes on in the one before if it can."""
        if size <= self._room and self[-1].stream == stream:
            self[-1].frames += frames
            self.position += len(frames)
            self._room -= size
            return
        for portion in _portions(frames, size):
            self._add(stream, number, portion, None)
            number += len(portion)
        self._room = MAX_FRAMES - sum(map(len, portion))

    def _add(self, stream, number, frames, pack):
        self.append(Draft(stream, number, self.position, frames, pack))
        self.position += len(frames)


def drafts_of(runs, streams, new_stream, position, nexts):
    """Drafts of `runs`, [(stream, name, [data, …])], the first of whose events gets `position`.

    streams      {name: Stream}; the numbers are taken from these
    new_stream   makes the Stream of a name that isn't there
    nexts        is told {Stream: the number that it would have given before}
    """
    if len(runs) == 1:
        return _drafts_of_one(runs[0], streams, new_stream, position, nexts)
    drafts = _Drafts(position)
    names, numbers, frames = [], [], []         # of the short runs that are being gathered
    size = 0
    for name, event_name, datas in runs:
        stream = streams.get(name) or new_stream(name)
        number = stream.next
        if stream not in nexts:
            nexts[stream] = number
        count = len(datas)
        stream.next = number + count
        if count == 1:
            data = datas[0]
            if len(data) > MAX_FRAMES:
                frame, = record.frames(name, event_name, number, datas)
            else:
                frame = FRAME % (name, number, event_name, len(data), data)
            size += len(frame)
            if size > MAX_PACK:
                drafts.add_gathered(names, numbers, frames)
                names, numbers, frames = [], [], []
                size = len(frame)
            frames.append(frame)
            numbers.append(number)
            names.append(name)
            continue
        some = record.frames(name, event_name, number, datas)
        more = sum(map(len, some))
        if more < LONG and size + more <= MAX_PACK:
            size += more
            frames += some
            numbers += range(number, number + count)
            names += [name] * count
        else:
            drafts.add_gathered(names, numbers, frames)
            names, numbers, frames = [], [], []
            size = 0
            drafts.add_run(name, number, some, more)
    drafts.add_gathered(names, numbers, frames)
    return drafts


def _drafts_of_one(run, streams, new_stream, position, nexts):
    """The drafts of a single run: what one publish makes, or a pipeline of like ones."""
    name, event_name, datas = run
    stream = streams.get(name) or new_stream(name)
    number = nexts[stream] = stream.next
    stream.next = number + len(datas)
    frames = record.frames(name, event_name, number, datas)
    if len(frames) == 1:
        return [Draft(name, number, position, frames)]
    drafts = _Drafts(position)
    drafts.add_run(name, number, frames, sum(map(len, frames)))
    return drafts


def _portions(frames, size):
    """`frames`, of `size` bytes, cut where MAX_FRAMES is full; one larger than that goes alone."""
    if size <= MAX_FRAMES:
        return [frames]
    portions = []
    ends = list(accumulate(map(len, frames)))
    start = base = 0
    while start < len(frames):
        stop = max(bisect_right(ends, base + MAX_FRAMES), start + 1)
        portions.append(frames[start:stop])
        start, base = stop, ends[stop - 1]
    return portions
