"""One append: events of one stream or several, all of them stored or none of them.

    [Change(stream, NewEvent, expected), …] ──> Append ──> Store.write ──> places, or error

What each stream is expected to look like is looked at in order, as if the events
were appended one after the other: of two changes of a stream, the second finds
the event of the first.
"""

from typing import NamedTuple

from .errors import StreamDeleted, WrongVersion
from .expect import ANY, check_expected, is_met
from .keys import keys_of
from .names import check_name, check_stream
from .record import MAX_ID, MAX_TAGS, join_tags, split_tags

MAX_EVENT = 512 << 20
# Ids, metadata and tags of one append, which may all be in one record; see record.MAX_BODY.
MAX_DETAILS = 256 << 20


class NewEvent(NamedTuple):
    """An event to append.  `id`, `metadata` and `tags` are kept with it and may be empty.

    tags   bytes or str each, none of them empty or with a zero byte
    """

    name: str
    data: bytes
    id: bytes = b""
    metadata: bytes = b""
    tags: tuple = ()


class Change(NamedTuple):
    """One event of an append, and what its stream is expected to look like; see expect.py."""

    stream: str
    event: NewEvent
    expected: object = ANY


class Appended(NamedTuple):
    """Where an event is."""

    number: int
    position: int


class _Events:
    """What is asked of events on their way to the store, be they one append or many.

    events   [(stream, expected, name, data, id, metadata, tags), …], at least one; names, id
             and metadata in bytes, tags as record.join_tags makes them
    whole    all of them are stored, or none
    ascending   while the clock is behind earlier events, these get the time of those; see Log.write
    alike    they differ in nothing but their data: see Run
    """

    __slots__ = ("events",)

    whole = True
    ascending = False
    alike = False

    @property
    def has_keys(self):
        """Whether any of the events has an id or tags, by which it can be looked up."""
        for event in self.events:
            if event[4] or event[6]:
                return True
        return False

    def keys(self):
        """[(hash, which of the events), …] by which they can be looked up."""
        return [(hash_, i) for i, (stream, _, name, _, id, _, tags) in enumerate(self.events)
                for hash_ in keys_of(stream, name, id, split_tags(tags))]

    def id_hashes(self, keys):
        """Those of `keys` that are of ids, which stand before an event's tags."""
        events = self.events
        before = -1
        hashes = []
        for hash_, i in keys:
            if i != before and events[i][4]:
                hashes.append(hash_)
            before = i
        return hashes


class Append(_Events):
    """Events on their way to the store, which were checked, and what became of them.

    places   [(number, position), …] of each, once the store has given them
    error    why none of them was stored, or None
    clocks   when each of them happened, if they come from another store; then it is written by itself
    is_new   False if they were stored before, by their ids, and these are the places from then
    """

    __slots__ = ("places", "error", "clocks", "is_new")

    def __init__(self, events, clocks=None):
        self.events = events
        self.places = None
        self.error = None
        self.clocks = clocks
        self.is_new = True

    @property
    def stored(self):
        """How many of its events were stored now."""
        return len(self.places) if self.error is None and self.is_new else 0

    def new_position(self, i):
        """The position of event `i` if it was stored now, or None."""
        return self.places[i][1] if self.error is None and self.is_new else None

    def refuse(self, error):
        """None of it is stored."""
        self.error = error

    def refusal(self, streams, closed=()):
        """What stands in its way if the streams are these, {name: Stream}: a WrongVersion or StreamDeleted, or None.

        closed   names of streams that take nothing any more
        """
        if closed:
            for stream, *_ in self.events:
                if stream in closed:
                    return StreamDeleted(stream.decode())
        if len(self.events) == 1 and self.events[0][1] == ANY:      # the usual
            return None
        nexts = {}
        for stream, expected, *_ in self.events:
            following = nexts.get(stream)
            if following is None:
                known = streams.get(stream)
                following = known.next if known is not None else 0
                deleted = known.deleted if known is not None else 0
            else:
                deleted = 0
            if not is_met(expected, following, deleted):
                return WrongVersion(stream.decode(), expected, following - 1 if following > deleted else None)
            nexts[stream] = following + 1
        return None


class Singles(_Events):
    """Appends of one event each, one behind the other, each of them stored or refused by itself.

    outcomes   of each its (number, position), or the error that says why it has none
    known      which of those with a place were stored before, by their ids
    stored     how many of them were stored now
    """

    __slots__ = ("outcomes", "known", "stored")

    whole = False

    def __init__(self, events):
        self.events = events

    @property
    def count(self):
        """How many appends they are."""
        return len(self.events)

    def new_position(self, i):
        """The position of event `i` if it was stored now, or None."""
        outcome = self.outcomes[i]
        return outcome[1] if type(outcome) is tuple and i not in self.known else None

    def refuse(self, error):
        """None of them is stored."""
        self.outcomes, self.known, self.stored = [error] * len(self.events), set(), 0


class Run:
    """Appends of one event each, of one stream and name, without details and whatever is there: as Singles of them.

    run     (stream, name, [data, …]), as runs of publishes are
    place   (number, position) of the first, once they are stored; the others follow it in both
    error   why none of them was stored, or None
    """

    __slots__ = ("run", "place", "error")

    whole = False
    ascending = False
    alike = True
    has_keys = False

    def __init__(self, run):
        self.run = run
        self.place = self.error = None

    @property
    def count(self):
        """How many appends they are."""
        return len(self.run[2])

    @property
    def stored(self):
        """How many of them were stored."""
        return self.count if self.error is None else 0

    @property
    def outcomes(self):
        """Of each its (number, position), or the error."""
        if self.error is not None:
            return [self.error] * self.count
        number, position = self.place
        return [(number + i, position + i) for i in range(self.count)]

    def refuse(self, error):
        """None of them is stored."""
        self.error = error


def refusal_of(name, expected, stream, closed=()):
    """What stands in the way of one event if its stream is this, or None for there is none: an error or None."""
    if name in closed:
        return StreamDeleted(name.decode())
    following, deleted = (stream.next, stream.deleted) if stream is not None else (0, 0)
    if is_met(expected, following, deleted):
        return None
    return WrongVersion(name.decode(), expected, following - 1 if following > deleted else None)


def append_of(changes):
    """The Append of Changes, which their caller may have made in any way.

    Raises    ValueError    says of which of them, if there are several
              TypeError     of something is neither bytes nor, where that may be, text
    """
    changes = [Change(*change) for change in changes]
    if not changes:
        raise ValueError("an append takes at least one event")
    events = []
    size = 0
    for i, change in enumerate(changes):
        try:
            events.append(_checked(*change))
        except ValueError as error:
            raise ValueError(f"event {i} of the append: {error}" if len(changes) > 1 else str(error)) from None
        size += sum(map(len, events[-1][4:]))
    if size > MAX_DETAILS:
        raise ValueError(f"ids, metadata and tags of {size} bytes, expected no more than {MAX_DETAILS}")
    return Append(events)


def _checked(stream, event, expected):
    event = NewEvent(*event)
    stream, name = encoded(stream), encoded(event.name)
    check_stream(stream)
    check_expected(expected)
    check_name(name)
    data, id_, metadata = [_as_bytes(what, getattr(event, what)) for what in ("data", "id", "metadata")]
    if len(data) > MAX_EVENT:
        raise ValueError(f"data of {len(data)} bytes, expected no more than {MAX_EVENT}")
    if len(id_) > MAX_ID:
        raise ValueError(f"an id of {len(id_)} bytes, expected no more than {MAX_ID}")
    return stream, expected, name, data, id_, metadata, _tags_of(event)


def _as_bytes(what, value):
    """What is bytes, or like them, as bytes: of a number or a list `bytes` would make others, and say nothing."""
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise TypeError(f"{what} is {type(value).__name__}, expected bytes")
    return bytes(value)


def _tags_of(event):
    tags = [encoded(tag) for tag in event.tags]
    for tag in tags:
        if not tag or b"\0" in tag:
            raise ValueError(f"a tag is at least one byte and none that is zero, found {tag[:60]!r}")
    joined = join_tags(tags)
    if len(joined) > MAX_TAGS:
        raise ValueError(f"tags of {len(joined)} bytes, expected no more than {MAX_TAGS}")
    return joined


def encoded(name):
    """A name as bytes; it may be text."""
    return name.encode() if isinstance(name, str) else _as_bytes("a name", name)
