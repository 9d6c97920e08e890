"""From what was asked to be appended to what will be written: events get their
numbers and frames, and are cut into records.

    [(stream, name, [data, …]), …] ──> drafts_of ──> [Draft, …] ──> record.encode

In place of a list of one, a run may have that data with its length, as frames have it and clients send it:
b"5 CRLF hello".
A long run of one stream becomes records of its own.  Short ones, of whatever
streams, are packed: their records would be mostly headers.

Appends among the runs (`drafts_of_units`) are judged in their turn, and refused or
given their places.  A record that holds all of an append is kept or lost as a
whole by itself, whatever else is in it; an append that takes several has them for
itself, and all but the last of them say that more follows.
"""

from bisect import bisect_right
from itertools import accumulate

from . import record
from .append import Append, refusal_of
from .expect import ANY
from .record import FRAME, FRAME_WITH_LENGTH, MAX_FRAMES, MAX_PACK, NO_DETAILS

# Frames of a run that isn't packed take at least so many bytes.
LONG = 4 * 1024

# Numbers that can be given up: what the index has of a stream and segment spans no more.
MAX_SKIP = (1 << 32) - 1


class Draft:
    """Events on their way to a record.

    stream, number       of the first event
    pack                 (stream of each, number of each), None if they are a run of one stream
    more                 the next draft belongs to the same append
    details              (id, metadata, tags) of each, or None
    clocks               of each, if they happened in another store, or None
    count, size          those of the record, once it is written
    latest               the highest clock of its events, then
    """

    __slots__ = ("stream", "number", "position", "frames", "pack", "more", "details", "clocks", "count", "size",
                 "latest")

    def __init__(self, stream, number, position, frames, pack=None):
        self.stream = stream
        self.number = number
        self.position = position
        self.frames = frames
        self.pack = pack
        self.more = False
        self.details = None
        self.clocks = None


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
        if type(datas) is bytes:
            stream.next = number + 1
            frame = FRAME_WITH_LENGTH % (name, number, event_name, datas)
        elif len(datas) == 1 and len(datas[0]) <= MAX_FRAMES:
            stream.next = number + 1
            frame = FRAME % (name, number, event_name, len(datas[0]), datas[0])
        else:
            count = len(datas)
            stream.next = number + count
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
            continue
        size += len(frame)
        if size > MAX_PACK:
            drafts.add_gathered(names, numbers, frames)
            names, numbers, frames = [], [], []
            size = len(frame)
        frames.append(frame)
        numbers.append(number)
        names.append(name)
    drafts.add_gathered(names, numbers, frames)
    return drafts


def _with_list(run):
    """A run with a list of its data."""
    name, event_name, datas = run
    return (name, event_name, [datas.split(b"\r\n", 1)[1]]) if type(datas) is bytes else run


def drafts_of_skip(skips, streams, new_stream, position, nexts):
    """Drafts that give up numbers: of [(stream, number to go on from)], which is past the stream's next one.

    They have no frames, and become cuts; see record.encode_cut.
    """
    drafts = []
    for name, number in skips:
        stream = streams.get(name) or new_stream(name)
        nexts.setdefault(stream, stream.next)
        if stream.next < number:
            draft = Draft(name, stream.next, position, [])
            draft.count = number - stream.next
            drafts.append(draft)
            position += draft.count
            stream.next = number
    return drafts


def _drafts_of_one(run, streams, new_stream, position, nexts):
    """The drafts of a single run: what one publish makes, or a pipeline of like ones."""
    name, event_name, datas = run
    stream = streams.get(name) or new_stream(name)
    number = nexts[stream] = stream.next
    if type(datas) is bytes:
        stream.next = number + 1
        return [Draft(name, number, position, [FRAME_WITH_LENGTH % (name, number, event_name, datas)])]
    stream.next = number + len(datas)
    if len(datas) == 1 and len(datas[0]) <= MAX_FRAMES:
        frame = FRAME % (name, number, event_name, len(datas[0]), datas[0])
        return [Draft(name, number, position, [frame])]
    frames = record.frames(name, event_name, number, datas)
    if len(frames) == 1:
        return [Draft(name, number, position, frames)]
    drafts = _Drafts(position)
    drafts.add_run(name, number, frames, sum(map(len, frames)))
    return drafts


def drafts_of_units(units, streams, new_stream, position, nexts, known=None, closed=()):
    """`drafts_of` for runs with Appends among them, which are told their places or why there are none.

    What an append expects is compared with the numbers that were given so far, those of
    the units before it among them.  There is no draft if all are refused.

    known   the Known of those of them that have ids
    """
    if len(units) == 1 and type(units[0]) is not tuple and units[0].alike and units[0].run[0] not in closed:
        drafts = _drafts_of_one(units[0].run, streams, new_stream, position, nexts)
        units[0].place = drafts[0].number, position
        return drafts
    gathered = _Gathered(position)

    def take(name, count):
        """Take numbers of a stream; the first of them."""
        stream = streams.get(name) or new_stream(name)
        number = stream.next
        if stream not in nexts:
            nexts[stream] = number
        stream.next = number + count
        return number

    for unit in units:
        if type(unit) is tuple:
            _add_run(gathered, unit, take)
        elif unit.whole:
            if known is not None and known.recall(unit):
                unit.is_new = False
                continue
            unit.error = unit.refusal(streams, closed)
            if unit.error is None:
                add = _add_one if len(unit.events) == 1 else _add_several
                unit.places = add(gathered, unit.events, take)
                if known is not None:
                    known.note(unit)
        elif not unit.alike:
            _add_singles(gathered, unit, take, streams, known, closed)
        elif unit.run[0] in closed:
            unit.refuse(refusal_of(unit.run[0], ANY, None, closed))
        else:
            unit.place = _add_run(gathered, unit.run, take)
    gathered.close()
    if gathered.drafts and type(units[0]) is Append and units[0].clocks is not None:
        _date(gathered.drafts, units[0].clocks)
    return gathered.drafts


def _date(drafts, clocks):
    """Have the events of `drafts` keep the times of another store."""
    for draft in drafts:
        draft.clocks, clocks = clocks[:len(draft.frames)], clocks[len(draft.frames):]


def _add_singles(gathered, unit, take, streams, known, closed):
    """Gather those of Singles that aren't refused, and tell them their outcomes."""
    outcomes, names, numbers, frames, details, sizes = [], [], [], [], [], []
    unit.known = set()
    position = gathered.position
    for event in unit.events:
        name, expected, event_name, data, id, metadata, tags = event
        if id:
            outcome = known.recall_single(event)
            if outcome is not None:
                unit.known.add(len(outcomes))
                outcomes.append(outcome)
                continue
        if closed or expected != ANY:
            error = refusal_of(name, expected, streams.get(name), closed)
            if error is not None:
                outcomes.append(error)
                continue
        number = take(name, 1)
        frame = _frame_of(name, event_name, number, data)
        outcomes.append((number, position))
        if id:
            known.note_single(event, number, position)
        position += 1
        names.append(name)
        numbers.append(number)
        frames.append(frame)
        if id or metadata or tags:
            details.append((id, metadata, tags))
            sizes.append(len(frame) + len(id) + len(metadata) + len(tags))
        else:
            details.append(NO_DETAILS)
            sizes.append(len(frame))
    if names:
        gathered.add(names, numbers, frames, details, sizes, whole=False)
    unit.outcomes = outcomes
    unit.stored = len(names)


def _add_one(gathered, events, take):
    """Gather an Append of one event; where it is."""
    name, _, event_name, data, id, metadata, tags = events[0]
    number = take(name, 1)
    frame = _frame_of(name, event_name, number, data)
    if id or metadata or tags:
        size = len(frame) + len(id) + len(metadata) + len(tags)
        return [(number, gathered.add_one(name, number, frame, (id, metadata, tags), size))]
    return [(number, gathered.add_one(name, number, frame, NO_DETAILS, len(frame)))]


def _add_several(gathered, events, take):
    """Gather an Append of several events; where they are."""
    numbers, frames = [], []
    for name, _, event_name, data, *_ in events:
        number = take(name, 1)
        numbers.append(number)
        frames.append(_frame_of(name, event_name, number, data))
    details = [event[4:] for event in events]
    sizes = [len(frame) + sum(map(len, some)) for frame, some in zip(frames, details)]
    first = gathered.add([event[0] for event in events], numbers, frames, details, sizes, whole=True)
    return list(zip(numbers, range(first, first + len(numbers))))


def _frame_of(name, event_name, number, data):
    if len(data) <= MAX_FRAMES:
        return FRAME % (name, number, event_name, len(data), data)
    frame, = record.frames(name, event_name, number, (data,))
    return frame


def _add_run(gathered, run, take):
    """Gather a run; the (number, position) of its first event."""
    name, event_name, datas = _with_list(run)
    count = len(datas)
    number = take(name, count)
    frames = record.frames(name, event_name, number, datas)
    if count == 1:
        return number, gathered.add_one(name, number, frames[0], NO_DETAILS, len(frames[0]))
    return number, gathered.add([name] * count, list(range(number, number + count)), frames, [NO_DETAILS] * count,
                                list(map(len, frames)), whole=False)


class _Gathered:
    """Events on their way to drafts, one behind the other from `position` on.

    drafts     those that are complete
    position   of the next event
    """

    def __init__(self, position):
        self.drafts = []
        self.position = position
        self._begin()

    def _begin(self):
        self._names, self._numbers, self._frames, self._details = [], [], [], []
        self._size = 0
        self._only = None       # the stream of all that is gathered, None if they are several

    def add_one(self, name, number, frame, details, size):
        """Add an event of `size` bytes, details and all; return its position."""
        joined = name if name == self._only or not self._names else None
        if self._size + size > (MAX_PACK if joined is None else MAX_FRAMES):
            self.close()
            joined = name
        self._only = joined
        self._size += size
        self._names.append(name)
        self._numbers.append(number)
        self._frames.append(frame)
        self._details.append(details)
        position = self.position
        self.position = position + 1
        return position

    def add(self, names, numbers, frames, details, sizes, whole):
        """Add events that belong together; return the position of the first.

        sizes   bytes of each, frame and details
        whole   all of them are kept by a crash, or none
        """
        position = self.position
        size = sum(sizes)
        only = _only_one(names)
        joined = only if only == self._only or not self._names else None
        if self._size + size > _limit(joined):
            self.close()
            joined = only
            if size > _limit(only) and len(names) > 1:
                self._add_apart(names, numbers, frames, details, sizes, whole)
                return position
        self._only = joined
        self._size += size
        self._names += names
        self._numbers += numbers
        self._frames += frames
        self._details += details
        self.position += len(frames)
        return position

    def _add_apart(self, names, numbers, frames, details, sizes, whole):
        """Add what takes several records, which hold nothing else."""
        before = len(self.drafts)
        for begin, stop in _cut(names, sizes):
            self.add(names[begin:stop], numbers[begin:stop], frames[begin:stop], details[begin:stop],
                     sizes[begin:stop], whole)
            self.close()
        if whole:
            for draft in self.drafts[before:-1]:
                draft.more = True

    def close(self):
        """Make a draft of what is gathered."""
        names, frames = self._names, self._frames
        if not names:
            return
        pack = (names, self._numbers) if self._only is None else None
        draft = Draft(names[0], self._numbers[0], self.position - len(frames), frames, pack)
        if self._details.count(NO_DETAILS) < len(frames):
            draft.details = self._details
        self.drafts.append(draft)
        self._begin()


def _only_one(names):
    """The stream that all `names` are, or None."""
    return names[0] if names.count(names[0]) == len(names) else None


def _limit(only):
    """Bytes that a record may have whose events are all of the stream `only`, or of several if it is None."""
    return MAX_PACK if only is None else MAX_FRAMES


def _cut(names, sizes):
    """Yield (begin, stop) of portions of events that fit a record each; one that is larger goes alone."""
    begin = size = 0
    alike = True
    for i, name in enumerate(names):
        still_alike = alike and name == names[begin]
        if i > begin and size + sizes[i] > (MAX_FRAMES if still_alike else MAX_PACK):
            yield begin, i
            begin = i
            size = 0
            still_alike = True
        alike = still_alike
        size += sizes[i]
    yield begin, len(names)


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
