"""Recorders for the Python package `eventsourcing` (9.5), on a MeiliES server or on a store in process.

    PERSISTENCE_MODULE=meilies_eventsourcing
    MEILIES_DB_PATH=my-db                         in process, or
    MEILIES_HOST=127.0.0.1  MEILIES_PORT=6480     a server

    Application ── Mapper ── recorder ── _InProcess ── store.Store
                                     '── _OverTheWire ── meilies_client.Client, one a thread

Of an application called `shop`:

    stored event of an aggregate    event of the stream  shop.events-ID, ID with all but letters, digits and _.- as %XX
        originator_version          in its metadata; an aggregate's versions go up by one
        topic, state                its name and data
        notification id             its position + 1
    snapshot                        event of the stream  shop.snapshots-ID
    tracking record                 event of the stream  shop.tracking-UPSTREAM, its data the notification id

Events and a tracking record are stored in one append, all or none.  What another
writer stored first is an IntegrityError: every append says which event it expects
to be its stream's last.  Notification ids go up, and what else the store has
(snapshots, tracking, other applications) leaves holes between them.

Nothing else of this project needs this module, or the package.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote, unquote
from uuid import UUID

from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    InfrastructureFactory,
    IntegrityError,
    Notification,
    OperationalError,
    ProcessRecorder,
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

# Seconds after which a subscription that waits looks whether it was stopped.
_LOOK = 0.1

_SAFE = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-"


class _Change(NamedTuple):
    """An event to append, and the number that its stream's last event is expected to have, -1 for none."""

    stream: str
    last: int
    name: str
    data: bytes
    metadata: bytes = b""


class _Conflict(Exception):
    """Some stream's last event isn't the one that was expected; nothing was stored."""


# -- where the events are --------------------------------------------------------

class _InProcess:
    """A store of this process.  Factories that name the same folder share it."""

    _open: dict[str, _InProcess] = {}
    _lock = threading.Lock()        # guards _open and how many share each

    def __init__(self, path: str, sync: str) -> None:
        import store        # not there where only the client was copied to
        self._kit = store
        self._store = store.Store(path, sync)
        self._path = path
        self._shared = 1

    @classmethod
    def at(cls, path: str, sync: str) -> _InProcess:
        path = os.path.abspath(path)
        with cls._lock:
            if path in cls._open:
                cls._open[path]._shared += 1
            else:
                cls._open[path] = cls(path, sync)
            return cls._open[path]

    def close(self) -> None:
        with self._lock:
            self._shared -= 1
            if self._shared:
                return
            del self._open[self._path]
        self._store.close()

    def append(self, changes: Sequence[_Change]) -> list[int]:
        """Store events, all or none; the position of each.  Raises _Conflict, OperationalError."""
        try:
            places = self._store.append_all([
                (one.stream, (one.name, one.data, b"", one.metadata), one.last if one.last >= 0 else "none")
                for one in changes])
        except self._kit.WrongVersion as error:
            raise _Conflict(str(error)) from error
        except self._kit.StoreError as error:
            raise OperationalError(str(error)) from error
        return [place.position for place in places]

    def read(self, selector: str, first: int | None, back: bool = False, prefix: bool = False,
             names: Sequence[str] = ()) -> Iterator[Any]:
        """Events of a stream, or of those whose names begin so, from `first` on or backwards, as many as are wanted."""
        chosen = self._kit.Prefix(selector) if prefix else selector
        while True:
            try:
                events, first = self._store.select(chosen, first, _PAGE, names, back)
            except self._kit.StoreError as error:
                raise OperationalError(str(error)) from error
            yield from events
            if first is None:
                return

    def follow(self, prefix: str, first: int, names: Sequence[str]) -> Iterator[Any]:
        """Events as they come, and None each time that nothing came for a moment."""
        try:
            while True:
                for item in self._store.follow(self._kit.Prefix(prefix), first, None, names, _LOOK):
                    if isinstance(item, self._kit.Event):
                        first = item.position + 1
                        yield item
                    else:
                        first = item.next
                yield None
        except self._kit.StoreError as error:
            raise OperationalError(str(error)) from error


class _OverTheWire:
    """A server.  A Client is for one thread, so each thread has its own."""

    def __init__(self, host: str, port: int) -> None:
        import meilies_client       # not there where a store in process is all that was copied
        self._kit = meilies_client
        self._address = host, port
        self._own = threading.local()
        self._clients: list[Any] = []
        self._lock = threading.Lock()       # guards _clients

    @property
    def _client(self) -> Any:
        client = getattr(self._own, "client", None)
        if client is None:
            client = self._own.client = self._kit.Client(*self._address)
            with self._lock:
                self._clients.append(client)
        return client

    def close(self) -> None:
        with self._lock:
            clients, self._clients = self._clients, []
        for client in clients:
            client.close()

    def append(self, changes: Sequence[_Change]) -> list[int]:
        """As in process."""
        try:
            places = self._client.append_all([
                self._kit.NewEvent(one.stream, one.name, one.data, one.last if one.last >= 0 else "none",
                                   b"", one.metadata) for one in changes])
        except self._kit.WrongVersion as error:
            raise _Conflict(str(error)) from error
        except self._kit.ClientError as error:
            raise OperationalError(str(error)) from error
        return [place.position for place in places]

    def read(self, selector: str, first: int | None, back: bool = False, prefix: bool = False,
             names: Sequence[str] = ()) -> Iterator[Any]:
        """As in process."""
        read = self._client.read_back if back else self._client.read
        chosen = self._kit.Prefix(selector) if prefix else selector
        try:
            yield from read(chosen, first, names=names, page=_PAGE)
        except self._kit.ClientError as error:
            raise OperationalError(str(error)) from error

    def follow(self, prefix: str, first: int, names: Sequence[str]) -> Iterator[Any]:
        """As in process, on a connection of its own."""
        try:
            with self._kit.Client(*self._address) as client:
                subscription = client.follow(self._kit.Prefix(prefix), first, names=names, timeout=_LOOK)
                while True:
                    try:
                        item = next(subscription)
                    except self._kit.NothingCame:
                        item = None
                    if item is None or isinstance(item, self._kit.Event):
                        yield item
        except self._kit.ClientError as error:
            raise OperationalError(str(error)) from error


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

    def _stream_of(self, originator_id: UUID | str) -> str:
        return self._prefix + quote(str(originator_id), safe=_SAFE)


class MeiliesAggregateRecorder(MeiliesRecorder, AggregateRecorder):
    """Events of aggregates, whose versions go up by one."""

    def __init__(self, place: Any, application: str = "app", purpose: str = "events",
                 originator_id_type: str = "uuid") -> None:
        super().__init__(place, application, purpose, originator_id_type)
        self._bases: dict[str, int] = {}        # {stream: the version of its event 0}, of some of them

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
                if looking or one.originator_version > _FIRST_VERSION:
                    known = self._base_of(stream)
                bases[stream] = one.originator_version if known is None else known
            yield _Change(stream, one.originator_version - bases[stream] - 1, one.topic, one.state,
                          b"%d" % one.originator_version)

    def _base_of(self, stream: str) -> int | None:
        """The version of a stream's event 0, None if it has none."""
        if stream not in self._bases:
            event = next(self._place.read(stream, 0), None)
            if event is None:
                return None
            self._remember(stream, event)
        return self._bases[stream]

    def _remember(self, stream: str, event: Any) -> None:
        if len(self._bases) >= _MAX_REMEMBERED:
            self._bases.clear()
        self._bases[stream] = int(event.metadata) - event.number

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

    def _follow(self, gt: int | None, topics: Sequence[str]) -> Iterator[Notification | None]:
        """Notifications as they come, and None each time that nothing came for a moment."""
        for event in self._place.follow(self._prefix, max(0, gt or 0), _asked(topics)):
            if event is None:
                yield None
            elif not topics or event.name in topics:
                yield self._notification(event)


class MeiliesSubscription(Subscription[MeiliesApplicationRecorder]):
    """Notifications as they come, until it is stopped, by whatever thread."""

    def __init__(self, recorder: MeiliesApplicationRecorder, gt: int | None, topics: Sequence[str]) -> None:
        super().__init__(recorder, gt, topics)
        self._coming = recorder._follow(gt, topics)

    def __next__(self) -> Notification:
        while not self._has_been_stopped:
            notification = next(self._coming)
            if notification is not None and not self._has_been_stopped:
                return notification
        self._coming.close()
        raise StopIteration

    def __exit__(self, *args: object, **kwargs: Any) -> None:
        super().__exit__(*args, **kwargs)
        self._coming.close()


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


def _asked(topics: Sequence[str]) -> Sequence[str]:
    """The topics that the server is to look for; more than it takes are looked for here."""
    return topics if len(topics) <= _MAX_NAMES else ()


# -- the factory -----------------------------------------------------------------

class MeiliesFactory(InfrastructureFactory[MeiliesTrackingRecorder]):
    """Makes recorders of what the environment names:

    MEILIES_DB_PATH          a folder: a store in this process; MEILIES_SYNC as Store's `sync`
    MEILIES_HOST, _PORT      else a server, 127.0.0.1 and 6480 if they aren't given
    ORIGINATOR_ID_TYPE       uuid (the default) or text
    The environment's name is the application's.
    """

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self._id_type = (self.env.get("ORIGINATOR_ID_TYPE") or "uuid").lower()
        if self._id_type not in ("uuid", "text"):
            raise OSError(f"ORIGINATOR_ID_TYPE is {self._id_type!r}, expected 'uuid' or 'text'")
        self._path = self.env.get("MEILIES_DB_PATH")
        self._port = self.env.get("MEILIES_PORT") or "6480"
        if not self._port.isdigit():
            raise OSError(f"MEILIES_PORT is {self._port!r}, expected a number")
        self._place: Any = None

    def _placed(self) -> Any:
        """Where the events are, opened when the first recorder wants it: some factories only make mappers."""
        if self._place is None:
            if self._path:
                self._place = _InProcess.at(self._path, self.env.get("MEILIES_SYNC") or "always")
            else:
                self._place = _OverTheWire(self.env.get("MEILIES_HOST") or "127.0.0.1", int(self._port))
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
