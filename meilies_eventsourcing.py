"""Recorders for the Python package `eventsourcing` (9.5), on a MeiliES server or on a store in process.

    PERSISTENCE_MODULE=meilies_eventsourcing
    MEILIES_DB_PATH=my-db                         in process, or
    MEILIES_HOST=127.0.0.1  MEILIES_PORT=6480     a server

    Application    ── Mapper    ── recorder     ──┬── _InProcess ── store.Store
    DCBApplication ── DCBMapper ── DCB recorder ──'── _OverTheWire ── meilies_client.Client, one for each
                                                      caller at a time

Of an application called `shop`:

    stored event of an aggregate    event of the stream  shop.events-ID, ID with all but letters, digits and _.- as %XX
        originator_version          in its metadata; an aggregate's versions go up by one
        topic, state                its name and data
        notification id             its position + 1
    snapshot                        event of the stream  shop.snapshots-ID
    tracking record                 event of the stream  shop.tracking-UPSTREAM, its data the notification id
    DCB event                       event of the stream  shop.dcb
        type, data, tags            its name, data, and tags behind a tag stream:shop.dcb, which keeps
                                    queries to the application's own events
        position                    its position + 1

Events and a tracking record are stored in one append, all or none.  What another
writer stored first is an IntegrityError: every append says which event it expects
to be its stream's last.  Notification ids go up, and what else the store has
(snapshots, tracking, other applications) leaves holes between them.

Nothing else of this project needs this module, or the package.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple
from urllib.parse import quote, unquote
from uuid import UUID

from eventsourcing.dcb.api import (
    DCBAppendCondition,
    DCBEvent,
    DCBQuery,
    DCBReadResponse,
    DCBRecorder,
    DCBSequencedEvent,
    DCBSubscription,
)
from eventsourcing.dcb.persistence import DCBInfrastructureFactory
from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    DataError,
    InfrastructureFactory,
    IntegrityError,
    Notification,
    OperationalError,
    ProcessRecorder,
    ProgrammingError,
    StoredEvent,
    Subscription,
    Tracking,
    TrackingRecorder,
)
from eventsourcing.utils import resolve_topic

# The first version of an aggregate as a rule; some begin with 0, or with any other.
_FIRST_VERSION = 1

# Aggregates whose first version is remembered.
_MAX_REMEMBERED = 10_000

# Events that are read at once.
_PAGE = 500

# Names of events that a server takes in one request.
_MAX_NAMES = 100

# Bytes of an event's tags.
_MAX_TAGS = 65_535

# Seconds after which a subscription that waits looks whether it was stopped.
_LOOK = 0.1

# How often to try again to reach a server: 14 s with the client's pauses.
_TRIES = 10

_SAFE = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-"


class _Change(NamedTuple):
    """An event to append, and the number that its stream's last event is expected to have, -1 for none."""

    stream: str
    last: int
    name: str
    data: bytes
    metadata: bytes = b""


class _Tagged(NamedTuple):
    """An event to append to a stream that is read by tags."""

    name: str
    data: bytes
    tags: tuple[str, ...]


# What a query matches: any of (names, tags), each one of its names, if it has any, and all of its tags.
_Items = Sequence[tuple[Sequence[str], Sequence[str]]]


class _Conflict(Exception):
    """Some stream's last event isn't the one that was expected, or an event matches; nothing was stored."""


@contextmanager
def _as_the_packages(kit: Any, failure: type[Exception]) -> Iterator[None]:
    """Raise the errors of `kit`, the store or the client, as the package has them; `failure` is what all others are."""
    try:
        yield
    except (kit.WrongVersion, kit.ConditionFailed) as error:
        raise _Conflict(str(error)) from error
    except failure as error:
        raise OperationalError(str(error)) from error
    except ValueError as error:
        raise DataError(str(error)) from error


# -- where the events are --------------------------------------------------------

class _InProcess:
    """A store of this process.  Factories that name the same folder share it."""

    _open: dict[str, tuple[Any, int]] = {}      # {its folder: the store and how many share it}
    # Guards _open and each one's _closed.  Held while a store is opened or closed: who names its folder
    # meanwhile could have it neither before nor twice.
    _lock = threading.Lock()

    def __init__(self, path: str, sync: str) -> None:
        """Raises OperationalError, OSError."""
        import store        # not there where only the client was copied to
        self._kit = store
        self._path = os.path.realpath(path)
        self._closed = False
        with self._lock, self._errors():
            self._store, shared = self._open.get(self._path) or (store.Store(self._path, sync), 0)
            if self._store.sync_policy != sync:
                raise OSError(f"MEILIES_SYNC is {sync!r}, expected {self._store.sync_policy!r}, with which this "
                              f"process has {self._path} open")
            self._open[self._path] = self._store, shared + 1

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            _, shared = self._open.pop(self._path)
            if shared > 1:
                self._open[self._path] = self._store, shared - 1
            else:
                self._store.close()

    def _errors(self) -> AbstractContextManager[None]:
        """The store's errors as the package has them."""
        return _as_the_packages(self._kit, self._kit.StoreError)

    def append(self, changes: Sequence[_Change]) -> list[int]:
        """Store events, all or none; the position of each.  Raises _Conflict, OperationalError, DataError."""
        with self._errors():
            places = self._store.append_all([
                (one.stream, (one.name, one.data, b"", one.metadata), one.last if one.last >= 0 else "none")
                for one in changes])
        return [place.position for place in places]

    def append_tagged(self, stream: str, events: Sequence[_Tagged], unless: _Items | None, first: int) -> int:
        """Store events, all or none, unless one from position `first` on matches; the last one's position.

        unless   None: whatever matches
        Raises   as append()
        """
        with self._errors():
            condition = None
            if unless is not None:
                condition = self._kit.Condition(self._kit.Query.of(unless), first - 1 if first else None)
            places = self._store.append_all(
                [(stream, (one.name, one.data, b"", b"", one.tags)) for one in events], condition)
        return places[-1].position

    def read_tagged(self, items: _Items, first: int, limit: int | None) -> tuple[Sequence[Any], int]:
        """Events from position `first` on that match, and the position before which it was looked.

        limit    of events, None for all
        Raises   OperationalError, DataError
        """
        with self._errors():
            events, head = self._store.read_tagged(items, first - 1 if first else None,
                                                   sys.maxsize if limit is None else limit)
        return events, 0 if head is None else head + 1

    def read(self, selector: str, first: int | None, back: bool = False, prefix: bool = False,
             names: Sequence[str] = ()) -> Iterator[Any]:
        """Events of a stream, or of those whose names begin so, from `first` on or backwards, as many as are wanted."""
        chosen = self._kit.Prefix(selector) if prefix else selector
        while True:
            with self._errors():
                events, first = self._store.select(chosen, first, _PAGE, names, back)
            yield from events
            if first is None:
                return

    def follow(self, prefix: str, first: int, names: Sequence[str]) -> Iterator[Any]:
        """Events as they come, and None each time that nothing came for a moment."""
        with self._errors():
            while True:
                for item in self._store.follow(self._kit.Prefix(prefix), first, None, names, _LOOK):
                    if isinstance(item, self._kit.Event):
                        first = item.position + 1
                        yield item
                    else:
                        first = item.next
                yield None


class _OverTheWire:
    """A server.  A Client is for one caller at a time: here are as many as were in use at once."""

    def __init__(self, host: str, port: int, tries: int) -> None:
        import meilies_client       # not there where a store in process is all that was copied
        self._kit = meilies_client
        self._make = lambda: meilies_client.Client(host, port, tries=tries)
        self._clients: list[Any] = []
        self._idle: list[Any] = []          # those of them that nobody uses
        self._closed = False
        self._lock = threading.Lock()       # guards these three

    def close(self) -> None:
        """Calls of other threads that are under way end with an error."""
        with self._lock:
            self._closed = True
        for client in self._clients:        # no more come
            client.close()

    @contextmanager
    def _client(self) -> Iterator[Any]:
        """A Client for the caller alone.  Raises as _errors()."""
        with self._lock:
            self._refuse_if_closed()
            if not self._idle:
                self._idle.append(self._make())
                self._clients.append(self._idle[0])
            client = self._idle.pop()
        try:
            with self._errors():
                yield client
        finally:
            with self._lock:
                self._idle.append(client)
                closed = self._closed
            if closed:
                client.close()      # it may have connected when it was closed

    def _errors(self) -> AbstractContextManager[None]:
        """The client's errors as the package has them."""
        return _as_the_packages(self._kit, self._kit.ClientError)

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise OperationalError("the factory of this recorder is closed")

    def append(self, changes: Sequence[_Change]) -> list[int]:
        """As in process."""
        with self._client() as client:
            places = client.append_all([
                self._kit.NewEvent(one.stream, one.name, one.data, one.last if one.last >= 0 else "none",
                                   b"", one.metadata) for one in changes])
        return [place.position for place in places]

    def append_tagged(self, stream: str, events: Sequence[_Tagged], unless: _Items | None, first: int) -> int:
        """As in process."""
        with self._client() as client:
            places = client.dcb_append([self._kit.NewEvent(stream, one.name, one.data, tags=one.tags)
                                        for one in events], unless=unless, after=first - 1 if first else None)
        return places[-1].position

    def read_tagged(self, items: _Items, first: int, limit: int | None) -> tuple[Sequence[Any], int]:
        """As in process."""
        with self._client() as client:
            events, head = client.dcb_read(items, after=first - 1 if first else None, limit=limit)
        return events, 0 if head is None else head + 1

    def read(self, selector: str, first: int | None, back: bool = False, prefix: bool = False,
             names: Sequence[str] = ()) -> Iterator[Any]:
        """As in process."""
        chosen = self._kit.Prefix(selector) if prefix else selector
        with self._client() as client:
            read = client.read_back if back else client.read
            yield from read(chosen, first, names=names, page=_PAGE)

    def follow(self, prefix: str, first: int, names: Sequence[str]) -> Iterator[Any]:
        """As in process, on a connection of its own."""
        with self._errors(), self._make() as client:
            self._refuse_if_closed()
            subscription = client.follow(self._kit.Prefix(prefix), first, names=names, timeout=_LOOK)
            while True:
                try:
                    item = next(subscription)
                except self._kit.NothingCame:
                    item = None
                self._refuse_if_closed()
                if item is None or isinstance(item, self._kit.Event):
                    yield item


# -- recorders -------------------------------------------------------------------

class MeiliesRecorder:
    """What all recorders have.

    place        where the events are: _InProcess or _OverTheWire
    application  streams' names begin with it
    """

    def __init__(self, place: Any, application: str = "app", purpose: str = "events",
                 originator_id_type: str = "uuid") -> None:
        self._place = place
        self._application = quote(application, safe=_SAFE)
        self._prefix = f"{self._application}.{quote(purpose, safe=_SAFE)}-"
        self._id_of = UUID if originator_id_type == "uuid" else str

    def close(self) -> None:
        """Close the factory that made it, and with it the others it made; where nobody has the factory."""
        self._place.close()

    def _stream_of(self, originator_id: UUID | str) -> str:
        return self._prefix + quote(str(originator_id), safe=_SAFE)


class MeiliesAggregateRecorder(MeiliesRecorder, AggregateRecorder):
    """Events of aggregates, whose versions go up by one."""

    def __init__(self, place: Any, application: str = "app", purpose: str = "events",
                 originator_id_type: str = "uuid") -> None:
        super().__init__(place, application, purpose, originator_id_type)
        # {stream: the version of its event 0}, of some of them; any thread may add to it or empty it.
        self._bases: dict[str, int] = {}

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        self._insert(stored_events)
        return None

    def _insert(self, stored_events: Sequence[StoredEvent], others: Sequence[_Change] = ()) -> list[int]:
        """Store events, and `others` behind them; the positions of the events.

        Raises   IntegrityError   there are such events, or those before them are missing
        """
        if not stored_events and not others:
            return []
        for looking in False, True:
            try:
                return self._place.append([*self._changes(stored_events, looking), *others])[:len(stored_events)]
            except _Conflict as conflict:
                why = conflict
        raise IntegrityError(str(why)) from why

    def _changes(self, stored_events: Sequence[StoredEvent], looking: bool) -> Iterator[_Change]:
        """What is to be appended.  `looking`: where an aggregate is new by its version, look whether it is."""
        bases: dict[str, int] = {}
        for one in stored_events:
            stream = self._stream_of(one.originator_id)
            if stream not in bases:
                known = None
                if looking:
                    known = self._read_base(stream)
                elif one.originator_version > _FIRST_VERSION:
                    known = self._base_of(stream)
                bases[stream] = one.originator_version if known is None else known
            yield _Change(stream, one.originator_version - bases[stream] - 1, one.topic, one.state,
                          b"%d" % one.originator_version)

    def _base_of(self, stream: str) -> int | None:
        """The version of a stream's event 0, None if it has none."""
        base = self._bases.get(stream)
        return self._read_base(stream) if base is None else base

    def _read_base(self, stream: str) -> int | None:
        event = next(self._place.read(stream, 0), None)
        return None if event is None else self._remember(stream, event)

    def _remember(self, stream: str, event: Any) -> int:
        if len(self._bases) >= _MAX_REMEMBERED:
            self._bases.clear()
        base = self._bases[stream] = int(event.metadata) - event.number
        return base

    def select_events(self, originator_id: UUID | str, *, gt: int | None = None, lte: int | None = None,
                      desc: bool = False, limit: int | None = None) -> Sequence[StoredEvent]:
        stream = self._stream_of(originator_id)
        first, stop = 0, None       # numbers, of the last one and behind it
        if gt is not None or lte is not None:
            base = self._base_of(stream)
            if base is None:
                return []
            first = 0 if gt is None else max(0, gt + 1 - base)
            stop = None if lte is None else lte + 1 - base
        if stop is not None and stop <= first:
            return []
        begin = first if not desc else None if stop is None else stop - 1
        found: list[StoredEvent] = []
        for event in self._place.read(stream, begin, back=desc):
            if len(found) == limit or event.number < first or (stop is not None and event.number >= stop):
                break
            if not found:       # who saves an aggregate has read it, as a rule
                self._remember(stream, event)
            found.append(self._stored(originator_id, event))
        return found

    @staticmethod
    def _stored(originator_id: UUID | str, event: Any) -> StoredEvent:
        return StoredEvent(originator_id, int(event.metadata), event.name, event.data)


class MeiliesSnapshotRecorder(MeiliesAggregateRecorder):
    """Snapshots of aggregates: of some of their versions, in any order, and few of each."""

    def _insert(self, stored_events: Sequence[StoredEvent], others: Sequence[_Change] = ()) -> list[int]:
        lasts: dict[str, int] = {}
        taken: set[tuple[str, int]] = set()
        changes = []
        for one in stored_events:
            stream = self._stream_of(one.originator_id)
            if stream not in lasts:
                there = list(self._place.read(stream, 0))
                taken.update((stream, int(event.metadata)) for event in there)
                lasts[stream] = there[-1].number if there else -1
            if (stream, one.originator_version) in taken:
                raise IntegrityError(f"there is a snapshot of version {one.originator_version} of {one.originator_id}")
            taken.add((stream, one.originator_version))
            changes.append(_Change(stream, lasts[stream], one.topic, one.state, b"%d" % one.originator_version))
            lasts[stream] += 1
        try:
            return self._place.append(changes) if changes else []
        except _Conflict as conflict:
            raise IntegrityError(str(conflict)) from conflict

    def select_events(self, originator_id: UUID | str, *, gt: int | None = None, lte: int | None = None,
                      desc: bool = False, limit: int | None = None) -> Sequence[StoredEvent]:
        found = [self._stored(originator_id, event) for event in self._place.read(self._stream_of(originator_id), 0)]
        found.sort(key=lambda one: one.originator_version, reverse=desc)
        return [one for one in found if (gt is None or one.originator_version > gt)
                and (lte is None or one.originator_version <= lte)][:limit]


class MeiliesApplicationRecorder(MeiliesAggregateRecorder, ApplicationRecorder):
    """Events of aggregates, in the order in which they were stored as well."""

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        return [position + 1 for position in self._insert(stored_events)]

    def select_notifications(self, start: int | None, limit: int, stop: int | None = None,
                             topics: Sequence[str] = (), *, inclusive_of_start: bool = True) -> Sequence[Notification]:
        first = 0 if start is None else max(0, start - 1 if inclusive_of_start else start)
        found: list[Notification] = []
        for event in self._place.read(self._prefix, first, prefix=True, names=_asked(topics)):
            if len(found) == limit or (stop is not None and event.position >= stop):
                break
            if not topics or event.name in topics:
                found.append(self._notification(event))
        return found

    def _notification(self, event: Any) -> Notification:
        originator_id = self._id_of(unquote(event.stream[len(self._prefix):]))
        return Notification(originator_id, int(event.metadata), event.name, event.data, event.position + 1)

    def max_notification_id(self) -> int | None:
        event = next(self._place.read(self._prefix, None, back=True, prefix=True), None)
        return None if event is None else event.position + 1

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> MeiliesSubscription:
        return MeiliesSubscription(self, gt, topics)

    def _follow(self, gt: int | None, topics: Sequence[str]) -> Generator[Notification | None, None, None]:
        """Notifications as they come, and None each time that nothing came for a moment."""
        for event in self._place.follow(self._prefix, max(0, gt or 0), _asked(topics)):
            if event is None:
                yield None
            elif not topics or event.name in topics:
                yield self._notification(event)


class _UntilStopped:
    """The part of a subscription that ends it: `_coming` is gone through until it is stopped, by whatever thread."""

    _coming: Generator[Any, None, None]
    _has_been_stopped: bool

    def __next__(self) -> Any:
        while not self._has_been_stopped:
            item = next(self._coming)
            if item is not None and not self._has_been_stopped:
                return item
        self._end()
        raise StopIteration

    def __exit__(self, *args: object, **kwargs: Any) -> None:
        super().__exit__(*args, **kwargs)       # type: ignore[misc]
        self._end()

    def _end(self) -> None:
        try:
            self._coming.close()
        except ValueError:      # another thread is in __next__, which ends it when it has looked
            pass


class MeiliesSubscription(_UntilStopped, Subscription[MeiliesApplicationRecorder]):
    """Notifications as they come."""

    def __init__(self, recorder: MeiliesApplicationRecorder, gt: int | None, topics: Sequence[str]) -> None:
        super().__init__(recorder, gt, topics)
        self._coming = recorder._follow(gt, topics)


class MeiliesTrackingRecorder(MeiliesRecorder, TrackingRecorder):
    """How far an application is in what others recorded."""

    def insert_tracking(self, tracking: Tracking) -> None:
        try:
            self._place.append([self._tracking_change(tracking)])
        except _Conflict as conflict:
            raise IntegrityError(str(conflict)) from conflict

    def _tracking_change(self, tracking: Tracking) -> _Change:
        stream = self._tracking_stream(tracking.application_name)
        last = next(self._place.read(stream, None, back=True), None)
        if last is not None and int(last.data) >= tracking.notification_id:
            raise IntegrityError(f"notification {tracking.notification_id} of {tracking.application_name} comes behind "
                                 f"{int(last.data)}, which is tracked already")
        return _Change(stream, -1 if last is None else last.number, "tracked", b"%d" % tracking.notification_id)

    def max_tracking_id(self, application_name: str) -> int | None:
        last = next(self._place.read(self._tracking_stream(application_name), None, back=True), None)
        return None if last is None else int(last.data)

    def _tracking_stream(self, upstream: str) -> str:
        return f"{self._application}.tracking-{quote(upstream, safe=_SAFE)}"


class MeiliesProcessRecorder(MeiliesTrackingRecorder, MeiliesApplicationRecorder, ProcessRecorder):
    """Events, and with them how far the application is."""

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        tracking: Tracking | None = kwargs.get("tracking")
        others = [] if tracking is None else [self._tracking_change(tracking)]
        return [position + 1 for position in self._insert(stored_events, others)]


class MeiliesDCBRecorder(MeiliesRecorder, DCBRecorder):
    """Events with tags, of one stream.  Positions go up from 1; those of whatever else is in the store are left out."""

    def __init__(self, place: Any, application: str = "app", purpose: str = "dcb",
                 originator_id_type: str = "uuid") -> None:
        super().__init__(place, application, purpose, originator_id_type)
        self._stream = f"{self._application}.{quote(purpose, safe=_SAFE)}"
        self._own_tag = f"stream:{self._stream}"

    def read(self, query: DCBQuery | None = None, *, after: int | None = None,
             limit: int | None = None) -> MeiliesDCBReadResponse:
        """Events that match; as the head, without a limit the store's, else the last one's.

        Raises   DataError          a tag or type that no event can have
                 OperationalError   the store, or the connection, failed
        """
        if limit is not None and limit < 1:
            return MeiliesDCBReadResponse([], None)
        found, head = self._place.read_tagged(self._items(query), max(0, after or 0), limit)
        events = [self._sequenced(event) for event in found]
        if limit is not None:
            head = events[-1].position if events else 0
        return MeiliesDCBReadResponse(events, head or None)

    def append(self, events: Sequence[DCBEvent], condition: DCBAppendCondition | None = None) -> int:
        """Store events, all or none; the position of the last.

        Raises   IntegrityError     an event matches; nothing was stored
                 DataError          a tag or type that no event can have; nothing was stored
                 ProgrammingError   no event was given
                 OperationalError   the store, or the connection, failed: its text says whether they may be stored
        """
        if not events:
            raise ProgrammingError("an append takes at least one event")
        new = [_Tagged(one.type, one.data, tuple(self._tags(one.tags))) for one in events]
        unless, first = None, 0
        if condition is not None:
            unless, first = self._items(condition.fail_if_events_match), max(0, condition.after or 0)
        try:
            return self._place.append_tagged(self._stream, new, unless, first) + 1
        except _Conflict as conflict:
            raise IntegrityError(str(conflict)) from conflict

    def subscribe(self, query: DCBQuery | None = None, *, after: int | None = None) -> MeiliesDCBSubscription:
        return MeiliesDCBSubscription(self, query, after)

    def _follow(self, query: DCBQuery | None, after: int) -> Generator[DCBSequencedEvent | None, None, None]:
        """Events that match as they come, and None each time that nothing came for a moment."""
        items = self._items(query)
        looked = yield from self._up_to_now(items, after)
        names = {name for types, _ in items for name in types} if all(types for types, _ in items) else ()
        for event in self._place.follow(self._stream, looked, _asked(sorted(names))):
            if event is None:
                yield None
            elif event.position >= looked:      # what a server tells followers of an event leaves out its tags
                looked = yield from self._up_to_now(items, looked)

    def _up_to_now(self, items: _Items, first: int) -> Generator[DCBSequencedEvent, None, int]:
        """Events from position `first` on that match, as far as there are any; the position to go on from."""
        while True:
            found, looked = self._place.read_tagged(items, first, _PAGE)
            for event in found:
                yield self._sequenced(event)
            if len(found) < _PAGE:
                return max(first, looked)
            first = found[-1].position + 1

    def _items(self, query: DCBQuery | None) -> _Items:
        """What a query matches of this application's events."""
        if query is None or not query.items:
            return [([], [self._own_tag])]
        return [(item.types, self._tags(item.tags)) for item in query.items]

    def _tags(self, tags: Sequence[str]) -> Sequence[str]:
        """Tags behind the own one.  Raises DataError: a server's refusal would be any OperationalError."""
        for tag in tags:
            if not tag or "\0" in tag:
                raise DataError(f"a tag is at least one byte and none that is NUL, found {tag[:60]!r}")
        joined = "\0".join([self._own_tag, *tags])
        if len(joined.encode()) > _MAX_TAGS:
            raise DataError(f"tags of {len(joined.encode())} bytes, expected no more than {_MAX_TAGS} with the "
                            f"application's own and a byte between each two")
        return [self._own_tag, *tags]

    def _sequenced(self, event: Any) -> DCBSequencedEvent:
        tags = [tag.decode() for tag in event.tags]
        tags.remove(self._own_tag)
        return DCBSequencedEvent(DCBEvent(event.name, event.data, tags), event.position + 1)


class MeiliesDCBReadResponse(DCBReadResponse):
    """Events that were read, and up to which position it was looked for them; None where there is none."""

    def __init__(self, events: Sequence[DCBSequencedEvent], head: int | None) -> None:
        self._events = iter(events)
        self._head = head

    @property
    def head(self) -> int | None:
        return self._head

    def __next__(self) -> DCBSequencedEvent:
        return next(self._events)


class MeiliesDCBSubscription(_UntilStopped, DCBSubscription[MeiliesDCBRecorder]):
    """Events that match a query, as they come."""

    def __init__(self, recorder: MeiliesDCBRecorder, query: DCBQuery | None, after: int | None) -> None:
        super().__init__(recorder, query, after)
        self._coming = recorder._follow(query, max(0, after or 0))


def _asked(topics: Sequence[str]) -> Sequence[str]:
    """The topics that the server is to look for; more than it takes are looked for here."""
    return topics if len(topics) <= _MAX_NAMES else ()


# -- the factory -----------------------------------------------------------------

class MeiliesFactory(InfrastructureFactory[MeiliesTrackingRecorder], DCBInfrastructureFactory[MeiliesTrackingRecorder]):
    """Makes recorders of what the environment names:

    MEILIES_DB_PATH          a folder: a store in this process; MEILIES_SYNC as Store's `sync`
    MEILIES_HOST, _PORT      else a server, 127.0.0.1 and 6480 if they aren't given
    MEILIES_TRIES            how often to try again to reach it, 10 if it isn't given
    ORIGINATOR_ID_TYPE       uuid (the default) or text
    The environment's name is the application's.
    """

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self._id_type = (self.env.get("ORIGINATOR_ID_TYPE") or "uuid").lower()
        if self._id_type not in ("uuid", "text"):
            raise OSError(f"ORIGINATOR_ID_TYPE is {self._id_type!r}, expected 'uuid' or 'text'")
        self._path = self.env.get("MEILIES_DB_PATH")
        self._sync = self.env.get("MEILIES_SYNC") or "always"
        if self._sync not in ("always", "everysec", "no"):
            raise OSError(f"MEILIES_SYNC is {self._sync!r}, expected 'always', 'everysec' or 'no'")
        self._port = self._number("MEILIES_PORT", 6480)
        self._tries = self._number("MEILIES_TRIES", _TRIES)
        self._place: Any = None

    def _number(self, variable: str, default: int) -> int:
        text = self.env.get(variable) or str(default)
        if not (text.isascii() and text.isdigit()):
            raise OSError(f"{variable} is {text!r}, expected a number")
        return int(text)

    def _placed(self) -> Any:
        """Where the events are, opened when the first recorder wants it: some factories only make mappers."""
        if self._place is None:
            if self._path:
                self._place = _InProcess(self._path, self._sync)
            else:
                self._place = _OverTheWire(self.env.get("MEILIES_HOST") or "127.0.0.1", self._port, self._tries)
        return self._place

    def close(self) -> None:
        place, self._place = self._place, None
        if place is not None:
            place.close()

    def _made(self, recorder_class: Any, purpose: str = "events") -> Any:
        return recorder_class(self._placed(), self.env.name or "app", purpose, self._id_type)

    def _chosen(self, variable: str, default: Any) -> Any:
        topic = self.env.get(variable)
        return resolve_topic(topic) if topic else default

    def aggregate_recorder(self, purpose: str = "events") -> AggregateRecorder:
        return self._made(MeiliesAggregateRecorder if purpose == "events" else MeiliesSnapshotRecorder, purpose)

    def application_recorder(self) -> ApplicationRecorder:
        return self._made(self._chosen(self.APPLICATION_RECORDER_TOPIC, MeiliesApplicationRecorder))

    def tracking_recorder(
            self, tracking_recorder_class: type[MeiliesTrackingRecorder] | None = None) -> MeiliesTrackingRecorder:
        chosen = tracking_recorder_class or self._chosen(self.TRACKING_RECORDER_TOPIC, MeiliesTrackingRecorder)
        return self._made(chosen)

    def process_recorder(self) -> ProcessRecorder:
        return self._made(self._chosen(self.PROCESS_RECORDER_TOPIC, MeiliesProcessRecorder))

    def dcb_recorder(self) -> MeiliesDCBRecorder:
        return self._made(MeiliesDCBRecorder, "dcb")
