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

from .errors import BadExport, EventsLost
from .record import Event
from .retention import CUTS, Cut

VERSION = 1

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
    write(_line({"meilies-export": VERSION, "store": store.uuid, "epoch": store.epoch, "position": stop}))
    count = first = 0
    while first < stop:
        try:
            events, first = store.page(first, stop)
        except EventsLost as lost:
            events, first = [], min(lost.stop, stop)
            write(_line({"lost": True, "first": lost.first, "stop": first}))
        for event in events:
            write(_line(_event_fields(event)))
        count += len(events)
        progress(first, stop)
    entries = 0
    for topic in store.topics():
        for key, value in store.entries(topic):
            write(_line({"topic": topic, **_field("key", key), **_field("value", value)}))
            entries += 1
    write(_line({"end": True, "events": count, "entries": entries}))
    return Counted(count, entries)


def import_(store, lines, progress=lambda done, of: None):
    """Append what `lines`, an export's, have; return what they had (Counted).

    It is appended in portions, each all or none.  What is there already is passed
    over, so an import that was interrupted is begun again with the same lines.
    Raises     BadExport      a line isn't what an export has, or the last one is missing;
                              what came before it is stored
               WrongVersion   the store has other events under these numbers
               StoreError
    """
    return _Import(store, progress).run(lines)


class _Import:

    def __init__(self, store, progress):
        self._store = store
        self._progress = progress
        self._events = []
        self._size = 0
        self._entries = []
        self._of = 0
        self._count = self._appended = self._entry_count = 0

    def run(self, lines):
        number = 0
        ended = False
        for number, line in enumerate(lines, 1):
            if ended:
                raise BadExport(number, "a line behind the end")
            try:
                ended = self._take(number, json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise BadExport(number, f"{type(error).__name__}: {error}") from None
        if not ended:
            self._flush()
            raise BadExport(number, "the line that ends an export is missing: the file was cut off")
        return Counted(self._count, self._entry_count, self._count - self._appended)

    def _take(self, number, fields):
        """Take what one line has.  True for the last one."""
        if number == 1:
            if fields["meilies-export"] != VERSION:
                raise ValueError(f"an export of version {fields['meilies-export']!r}, expected {VERSION}")
            self._of = fields["position"]
        elif "stream" in fields:
            event = _event_of(fields)
            self._events.append(event)
            self._size += len(event.data)
            if len(self._events) >= _EVENTS or self._size >= _BYTES:
                self._flush()
        elif "lost" in fields:
            pass        # whose numbers these were shows in the numbers that follow
        elif "topic" in fields:
            self._entries.append((fields["topic"], _bytes(fields, "key"), _bytes(fields, "value")))
        elif fields["end"]:
            self._flush()
            if (fields["events"], fields["entries"]) != (self._count, len(self._entries)):
                raise ValueError(f"{self._count} events and {len(self._entries)} entries came, expected "
                                 f"{fields['events']} and {fields['entries']}")
            self._entry_count = len(self._entries)
            self._store.put_many(self._entries)
            self._store.skip(_ends_of_cuts(self._entries))
            return True
        return False

    def _flush(self):
        events, self._events, self._size = self._events, [], 0
        if events:
            self._appended += self._store.restore(events)
            self._count += len(events)
            self._progress(self._count, self._of)


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
