"""Redis's stream entries and our events.

    id        1700000000123-7       the event's time in milliseconds, and its number
    fields    name data             one pair is the event's name and its data
              field value ...       more pairs are in its metadata, as `fields:` and a RESP array

The number is in the id, so what an id names is found without a look-up.  What an
event has else, its own id, its tags, other metadata, isn't shown.
"""

import re

import resp
from store import EventsLost
from store.names import check_name
from store.record import CUT, DETAILS, frame_of_stream, is_redacted

from .table import MAX_NUMBER, CommandError, checked

INVALID_ID = "ERR Invalid stream ID specified as stream command argument"
MAX_ID = (MAX_NUMBER, MAX_NUMBER)

_ID = re.compile(rb"([0-9]{1,40})(?:-([0-9]{1,40}))?\Z")
_ARRAY = re.compile(rb"fields:\*([0-9]{1,9})\r\n")
_BULK = re.compile(rb"\$([0-9]{1,10})\r\n")


# -- ids -----------------------------------------------------------------------------------

def format_id(ms, seq):
    return b"%d-%d" % (ms, seq)


def id_of(event):
    """The id of an Event."""
    return b"%d-%d" % (event.time // 1000, event.number)


def parse_id(text, default_seq=0):
    """(ms, seq) of `ms-seq`, or of `ms` with this seq.  Raises CommandError."""
    found = _ID.match(text)
    if found:
        ms, seq = int(found[1]), default_seq if found[2] is None else int(found[2])
        if ms <= MAX_NUMBER and seq <= MAX_NUMBER:
            return ms, seq
    raise CommandError(INVALID_ID)


def parse_start(text):
    """The first (ms, seq) of an interval: of an id, `-`, `+`, or `(` and an id, which isn't in it itself."""
    if text[:1] == b"(" and len(text) > 1:
        ms, seq = parse_id(text[1:])
        if (ms, seq) == MAX_ID:
            raise CommandError("ERR invalid start ID for the interval")
        return (ms, seq + 1) if seq < MAX_NUMBER else (ms + 1, 0)
    return _WORDS.get(text) or parse_id(text)


def parse_end(text):
    """The last (ms, seq) of an interval; see `parse_start`."""
    if text[:1] == b"(" and len(text) > 1:
        ms, seq = parse_id(text[1:], MAX_NUMBER)
        if (ms, seq) == (0, 0):
            raise CommandError("ERR invalid end ID for the interval")
        return (ms, seq - 1) if seq else (ms - 1, MAX_NUMBER)
    return _WORDS.get(text) or parse_id(text, MAX_NUMBER)


_WORDS = {b"-": (0, 0), b"+": MAX_ID}


def number_from(store, stream, ms, seq):
    """The number of the first event of a stream (its name in bytes) whose id is (ms, seq) or more; its next number
    if there is none.

    Ids are taken to ascend.  Where the clock went back they don't: then an id that is there is found all the
    same, and others by the events that a search by halves happens to look at.  It may read from the disk.
    """
    first, stop = store.bounds(stream)
    if not ms and seq <= first:
        return first
    if first <= seq < stop and id_at(store, stream, seq) == (ms, seq):
        return seq
    while first < stop:
        middle = (first + stop) // 2
        found = _id_from(store, stream, middle, stop)
        if found is None or found >= (ms, seq):
            stop = middle
        else:
            first = found[1] + 1
    return first


def id_at_hand(store, stream, number):
    """(ms, seq) of an event that was read lately; None if it wasn't."""
    known = store.find(stream)
    runs = store.at_hand(known, number, number + 1) if known is not None and number < known.visible else ()
    if not runs or runs[0].kind == CUT:
        return None
    return runs[0].clocks[number - runs[0].number] // 1000, number


def id_at(store, stream, number):
    """(ms, seq) of an event, redacted or not; None if it isn't there any more, or not yet."""
    at_hand = id_at_hand(store, stream, number)
    if at_hand is not None:
        return at_hand
    found = _id_from(store, stream, number, number + 1)
    return None if found is None or found[1] != number else found


def _id_from(store, stream, number, stop):
    """(ms, seq) of the first event from `number` on that is there, None if there is none before `stop`."""
    while number < stop:
        try:
            for event in store.read(stream, number, stop, 1):
                return event.time // 1000, event.number
            return None
        except EventsLost as lost:
            number = lost.stop
    return None


# -- fields --------------------------------------------------------------------------------

def event_of(pairs):
    """(name, data, metadata) of fields and values, [field, value, field, value, …].

    Raises    CommandError    the first field can't be an event's name
    """
    name = pairs[0]
    checked(_check_field, name)
    return name, pairs[1], metadata_of(pairs[2:])


def metadata_of(pairs):
    """What the metadata says of the fields and values behind the first."""
    if not pairs:
        return b""
    return b"fields:*%d\r\n%b" % (len(pairs), b"".join([b"$%d\r\n%b\r\n" % (len(one), one) for one in pairs]))


def _check_field(field):
    try:
        check_name(field)
    except ValueError as error:
        raise ValueError(f"the first field is the event's name: {error}") from None


def pairs_of(event):
    """[field, value, field, value, …] of an Event; None if it is redacted."""
    if not event.metadata:
        return [event.name.encode(), event.data]
    if is_redacted(event):
        return None
    return [event.name.encode(), event.data, *_fields_in(event.metadata)]


def _fields_in(metadata):
    """The fields and values that metadata says, [] if it is about something else."""
    head = _ARRAY.match(metadata)
    if head is None:
        return []
    count, pos = int(head[1]), head.end()
    found = []
    while pos < len(metadata):
        size = _BULK.match(metadata, pos)
        if size is None:
            return []
        end = size.end() + int(size[1])
        if metadata[end:end + 2] != b"\r\n":
            return []
        found.append(metadata[size.end():end])
        pos = end + 2
    return found if len(found) == count and not count % 2 else []


# -- entries in RESP -----------------------------------------------------------------------


def entries_in(one, begin, stop):
    """The events [begin, stop) of a run as entries in RESP; those that were redacted aren't among them."""
    if one.flags & DETAILS:
        return [entry for entry in (entry_at(one, i) for i in range(begin, stop)) if entry is not None]
    found = []
    while begin < stop:
        digits = len(b"%d" % (one.number + begin))
        behind = min(stop, 10 ** digits - one.number)
        found += _entries_alike(one, begin, behind, digits)
        begin = behind
    return found


def _entries_alike(one, begin, stop, digits):
    """The entries of plain events whose numbers have so many digits.

    A frame is *5 +event +STREAM :NUMBER +NAME $length DATA: from the length on it is kept.
    """
    body, ends, clocks = one.body, one.ends, one.clocks[begin:stop]
    size = len(b"%d" % (max(clocks) // 1000))
    starts = [ends[begin - 1] if begin else 0, *ends[begin:stop - 1]]
    name_at = len(frame_of_stream(one.stream)) + 1 + digits + 2
    name = body[starts[0] + name_at:body.index(b"\r\n", starts[0] + name_at) + 2]
    if len(b"%d" % (min(clocks) // 1000)) != size:
        return [entry_at(one, i) for i in range(begin, stop)]
    head, data_at = b"*2\r\n$%d\r\n" % (size + 1 + digits), name_at + len(name)
    middle = b"\r\n*2\r\n$%d\r\n%b" % (len(name) - 3, name[1:])
    number = one.number
    return [b"%b%d-%d%b%b" % (head, clock // 1000, number + i, middle, body[start + data_at:end])
            if body.startswith(name, start + name_at) else entry_at(one, i)
            for i, clock, start, end in zip(range(begin, stop), clocks, starts, ends[begin:stop])]


def entry_at(one, i):
    """Event `i` of a Record as an entry in RESP: [id, [field, value, …]]; None if it is redacted."""
    if one.flags & DETAILS and one.details()[i][1]:
        event = next(one.events(i, i + 1))
        pairs = pairs_of(event)
        return None if pairs is None else entry(format_id(event.time // 1000, event.number), pairs)
    _, _, _, _, name, data = bytes(one.frames(i, i + 1)).split(b"\r\n", 5)
    id_ = b"%d-%d" % (one.clocks[i] // 1000, one.number + i)
    return b"*2\r\n$%d\r\n%b\r\n*2\r\n$%d\r\n%b\r\n%b" % (len(id_), id_, len(name) - 1, name[1:], data)


def entry(id_, pairs):
    """An entry in RESP."""
    return resp.array([resp.bulk(id_), resp.array(list(map(resp.bulk, pairs)))])
