"""A store as lines of JSON, and back.

    {"meilies-export": 1, "store": "9f…", "epoch": 1, "position": 2}
    {"stream": "orders", "number": 0, "position": 0, "time": 1790000000000000, "name": "created", "data": "one"}
    {"stream": "orders", "number": 1, …, "data_base64": "/w==", "id": "a1", "metadata": "{}", "tags": ["x"]}
    {"lost": true, "first": 2, "stop": 3}
    {"topic": "retention", "key": "orders", "value": "…"}
    {"end": true, "events": 2, "entries": 1}

What isn't UTF-8 text stands in base64, under NAME_base64.  `id`, `metadata` and
`tags` are there when they aren't empty.  Positions that damage took are said to be lost.  Entries
are what the store keeps beside its events (see Store.put).  The last line says that
the file is whole.

Numbers are what they were, also of a stream that was cut: those below are given up.
Positions are the same in an import where nothing was cut or lost, and else the order.
"""

import base64
import json
from typing import NamedTuple

from . import groups, retention, snapshot
from .errors import BadExport, EventsLost
from .record import Event
from .retention import CUTS, Cut

VERSION = 1

# Of what the store keeps for itself, and reads again: nothing else may come into it.
_CHECKS = {**dict.fromkeys((retention.RULES, retention.CUTS, retention.REDACTED), retention.check_entry),
           **dict.fromkeys(groups.TOPICS, groups.check_entry), snapshot.TOPIC: snapshot.check_entry}

# Events, and bytes of data, that are appended at once.
_EVENTS = 1000
_BYTES = 1 << 20


class Counted(NamedTuple):
    """What an export or import had; `passed_over` were there already."""

    events: int
    entries: int
    passed_over: int = 0


def export(store, write, progress=lambda done, of: None):
    """Give the store as it is now to `write`, a line (bytes) at a time; return what it has (Counted).

    progress   called with (events done, events in all), now and then
    Raises     StoreError
    """
    stop = store.position
    write(head(store, stop))
    count = first = 0
    while first < stop:
        lines, events, first = lines_of(store, first, stop)
        for line in lines:
            write(line)
        count += events
        progress(first, stop)
    entries = 0
    cursor = b""
    while cursor is not None:
        lines, cursor = entry_lines(store, cursor)
        for line in lines:
            write(line)
        entries += len(lines)
    write(_line({"end": True, "events": count, "entries": entries}))
    return Counted(count, entries)


def head(store, stop):
    """The first line of an export of the events before position `stop`."""
    return _line({"meilies-export": VERSION, "store": store.uuid, "epoch": store.epoch, "position": stop})


def lines_of(store, first, stop):
    """(lines, events among them, following) of some positions from `first` on and before `stop`; it goes on there."""
    try:
        events, following = store.page(first, stop)
    except EventsLost as lost:
        following = min(lost.stop, stop)
        return [_line({"lost": True, "first": lost.first, "stop": following})], 0, following
    return [_line(_event_fields(event)) for event in events], len(events), following


def entry_lines(store, cursor=b""):
    """(lines of some entries behind `cursor`, where to go on or None)."""
    if not cursor:
        store.settle()      # or nothing said which numbers were those of events that a rule hides
    lines, size = [], 0
    for topic in store.topics():
        for key, value in store.entries(topic):
            here = b"%b\0%b" % (topic.encode(), key)
            if here <= cursor:
                continue
            if size >= _BYTES:
                return lines, cursor
            lines.append(_line({"topic": topic, **_field("key", key), **_field("value", value)}))
            size += len(lines[-1])
            cursor = here
    return lines, None


def import_(store, lines, progress=lambda done, of: None):
    """Append what `lines`, an export's, have; return what they had (Counted).

    It is appended in portions, each all or none.  What is there already is passed
    over, so an import that was interrupted is begun again with the same lines.
    Raises     BadExport      a line isn't what an export has, or the last one is missing;
                              what came before it is stored
               WrongVersion   the store has other events under these numbers
               StoreError
    """
    return _Import(store, progress).whole(lines)


def import_some(store, lines):
    """`import_` of some lines of events and entries, without an export's first and last line."""
    return _Import(store, lambda done, of: None).part(lines)


class _Import:

    def __init__(self, store, progress):
        self._store = store
        self._progress = progress
        self._events = []
        self._size = 0
        self._entries = []
        self._of = 0
        self._count = self._appended = 0

    def whole(self, lines):
        number = 0
        ended = False
        for number, line in enumerate(lines, 1):
            if ended:
                raise BadExport(number, "a line behind the end")
            ended = self._take(number, line, self._take_frame)
        if not ended:
            self._flush()
            raise BadExport(number, "the line that ends an export is missing: the file was cut off")
        return self._counted

    def part(self, lines):
        number = 0
        for number, line in enumerate(lines, 1):
            self._take(number, line, None)
        try:
            self._finish()
        except ValueError as error:
            raise BadExport(number, str(error)) from None
        return self._counted

    @property
    def _counted(self):
        return Counted(self._count, len(self._entries), self._count - self._appended)

    def _take(self, number, line, take_frame):
        """Take what a line has; what `take_frame`, which is for the first and the last line, returns."""
        try:
            fields = json.loads(line)
            if self._take_part(fields):
                return False
            if take_frame is None:
                raise ValueError("it is neither an event's nor an entry's")
            return take_frame(number, fields)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadExport(number, f"{type(error).__name__}: {error}") from None

    def _take_frame(self, number, fields):
        """Take the first line or the last one; True for that."""
        if number == 1:
            if fields["meilies-export"] != VERSION:
                raise ValueError(f"an export of version {fields['meilies-export']!r}, expected {VERSION}")
            self._of = fields["position"]
            return False
        wanted = fields["events"], fields["entries"]
        self._flush()
        if wanted != (self._count, len(self._entries)):
            raise ValueError(f"{self._count} events and {len(self._entries)} entries came, expected "
                             f"{wanted[0]} and {wanted[1]}")
        self._finish()
        return True

    def _take_part(self, fields):
        """Take a line of an event, of an entry, or of what was lost; False if it is none of these."""
        if "stream" in fields:
            event = _event_of(fields)
            self._events.append(event)
            self._size += len(event.data)
            if len(self._events) >= _EVENTS or self._size >= _BYTES:
                self._flush()
        elif "topic" in fields:
            entry = fields["topic"], _bytes(fields, "key"), _bytes(fields, "value")
            if entry[0] in _CHECKS:
                _CHECKS[entry[0]](*entry)
            self._entries.append(entry)
        else:
            return "lost" in fields     # whose numbers these were shows in the numbers that follow
        return True

    def _flush(self):
        events, self._events, self._size = self._events, [], 0
        if events:
            self._appended += self._store.restore(events)
            self._count += len(events)
            self._progress(self._count, self._of)

    def _finish(self):
        self._flush()
        self._store.skip(_ends_of_cuts(self._entries))
        self._store.take(self._entries)


def _ends_of_cuts(entries):
    """[(stream, the number that its next event gets at least)] of those that were cut."""
    cuts = [(key, Cut.decode(value)) for topic, key, value in entries if topic == CUTS]
    return [(stream, cut.deleted if cut.forever else cut.first) for stream, cut in cuts]


def _line(fields):
    return json.dumps(fields, ensure_ascii=False).encode() + b"\n"


def _event_fields(event):
    fields = {"stream": event.stream, "number": event.number, "position": event.position, "time": event.time,
              "name": event.name, **_field("data", event.data)}
    for name, value in ("id", event.id), ("metadata", event.metadata):
        if value:
            fields.update(_field(name, value))
    if event.tags:
        fields.update(_tag_fields(event.tags))
    return fields


def _tag_fields(tags):
    try:
        return {"tags": [tag.decode() for tag in tags]}
    except UnicodeDecodeError:
        return {"tags_base64": [base64.b64encode(tag).decode() for tag in tags]}


def _field(name, value):
    try:
        return {name: value.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(value).decode()}


def _event_of(fields):
    if "tags_base64" in fields:
        tags = tuple(base64.b64decode(tag, validate=True) for tag in fields["tags_base64"])
    else:
        tags = tuple(tag.encode() for tag in fields.get("tags", ()))
    return Event(fields["stream"], _whole(fields, "number"), _whole(fields, "position"), _whole(fields, "time"),
                 fields["name"], _bytes(fields, "data"), _bytes(fields, "id"), _bytes(fields, "metadata"), tags)


def _whole(fields, name):
    if type(fields[name]) is not int or not 0 <= fields[name] < 1 << 64:
        raise ValueError(f"{name} is {fields[name]!r:.40}, expected a number from 0 to {(1 << 64) - 1}")
    return fields[name]


def _bytes(fields, name):
    """The bytes under a name; of `id` and `metadata` none if it is missing."""
    if f"{name}_base64" in fields:
        return base64.b64decode(fields[f"{name}_base64"], validate=True)
    if name in ("id", "metadata"):
        return fields.get(name, "").encode()
    return fields[name].encode()
