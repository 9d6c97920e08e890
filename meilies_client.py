"""A client: publish events, ask about streams, follow them through outages.

    Client ------ one connection: publish, append, last-event-number, stream-names, ping
      '- subscribe() -> Subscription ------ one connection each: events

    Client, Subscription    each call blocks until it is done
    Operations, Feed        what is asked, and what is sent again (meilies_operations.py)
    Session, Following      what it is on the wire (meilies_session.py)

    with Client() as client:
        client.publish("orders", "created", b"one")
        for event in client.subscribe("orders:0"):
            print(event.number, event.name, event.data)

meilies_async.py has the same for asyncio.  Neither a Client nor a Subscription may
be shared by threads: give each thread its own.  A Client notices and raises.

It talks to this project's server and to MeiliES 0.2.0, which refuses HELLO
and follow.  There a subscription asks in ranges that end, because MeiliES
sends but one event of a range without end; $all is every stream that
stream-names lists (streams made later are found after an outage), in order
only within each stream; and a store that was exchanged can't be noticed.
What is published there must hold no CR LF: MeiliES cuts data at the first.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import suppress
from typing import Any, Generic, TypeVar

import meilies_session
from meilies_operations import (
    RECEIVE_BYTES,
    Address,
    Feed,
    Line,
    Operations,
    Password,
    parse_url,
    prepare_socket,
    tls_context,
)
from meilies_session import *  # noqa: F403  what programs need of it they find here
from meilies_session import (
    ALL,
    Appended,
    Compacted,
    Data,
    Disconnected,
    Event,
    Given,
    NewEvent,
    Parked,
    Prefix,
    Refused,
    Rule,
    Selector,
    ServerInfo,
    Snapshot,
    StreamInfo,
    Tagged,
    TimedOut,
)

__all__ = [*meilies_session.__all__, "Address", "Client", "Subscription", "parse_url", "tls_context"]

Result = TypeVar("Result")


# -- what blocks ---------------------------------------------------------------------

def _now(operation: Coroutine[Any, Any, Result]) -> Result:
    """What an operation returns, all of whose waiting blocks, so that it never hands over to a loop."""
    try:
        operation.send(None)
    except StopIteration as done:
        return done.value
    operation.close()
    raise RuntimeError("a client that blocks was given something to await; meilies_async has one for that")


def _each(parts: AsyncIterator[list[Result]]) -> Iterator[Result]:
    """The items of all parts, which are asked for as they are needed."""
    try:
        while True:
            try:
                part = _now(parts.__anext__())
            except StopAsyncIteration:
                return
            yield from part
    finally:
        _now(parts.aclose())


class _Socket(Line):
    """A socket that speaks of its failures in this module's errors."""

    def __init__(self, address: Address, timeout: float | None) -> None:
        self._address = address
        try:
            self._socket = _open(address, timeout)
        except OSError as error:
            raise address.cannot_connect(error) from error

    async def is_stale(self) -> bool:
        self._socket.settimeout(0)
        try:
            self._socket.recv(1)        # what it takes away is of a connection that is given up
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError:
            pass
        return True

    async def send(self, data: bytes, timeout: float | None) -> None:
        view = memoryview(data)
        self._socket.settimeout(timeout)
        while view:
            try:
                view = view[self._socket.send(view):]
            except OSError as error:
                raise self._failure(error) from error

    async def receive(self, timeout: float | None) -> bytes:
        self._socket.settimeout(timeout)
        try:
            data = self._socket.recv(RECEIVE_BYTES)
        except OSError as error:
            raise self._failure(error) from error
        if not data:
            raise self._address.closed()
        return data

    def close(self) -> None:
        self._socket.close()

    def shut_down(self) -> None:
        """Only who uses a socket may close it, or its number might be another's."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _failure(self, error: OSError) -> Disconnected | TimedOut:
        if isinstance(error, socket.timeout) and error.errno is None:   # not the system's ETIMEDOUT
            return self._address.silent(self._socket.gettimeout() or 0)
        return self._address.lost(error)


def _open(address: Address, timeout: float | None) -> socket.socket:
    plain = _reach(address, timeout)
    if address.tls is None:
        return plain
    try:
        return address.tls.wrap_socket(plain, server_hostname=address.host)
    except BaseException:
        plain.close()
        raise


def _reach(address: Address, timeout: float | None) -> socket.socket:
    if address.unix is None:
        reached = socket.create_connection((address.host, address.port), timeout)
        prepare_socket(reached)
        return reached
    reached = socket.socket(socket.AF_UNIX)
    try:
        reached.settimeout(timeout)
        reached.connect(address.unix)
    except BaseException:
        reached.close()
        raise
    return reached


class _Blocking(Operations):
    """Operations that block: what they wait for is over when they return."""

    def __init__(self, *place: Any, **options: Any) -> None:
        super().__init__(*place, **options)
        # Held by the one caller that uses the connection.  Never waited for: a
        # second caller is told that it may not.
        self._turn = threading.Lock()

    async def open_line(self) -> Line:
        return _Socket(self.address, self.timeout)

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    async def take_turn(self) -> None:
        if not self._turn.acquire(blocking=False):
            raise RuntimeError("this Client is in use; give each thread a Client of its own")

    def end_turn(self) -> None:
        self._turn.release()

    def close(self) -> None:
        """By any thread: who uses a connection finds it ended, and closes it."""
        self.closed = True
        if self._turn.acquire(blocking=False):
            try:
                self.disconnect()
            finally:
                self._turn.release()
        else:
            connection = self.connection
            if connection:
                connection.line.shut_down()
        for feed in list(self.feeds):
            feed.close()


# -- what programs use -----------------------------------------------------------------

class _Setting(Generic[Result]):
    """An attribute of a Client that its operations have."""

    def __set_name__(self, owner: type[Client], name: str) -> None:
        self._name = name

    def __get__(self, client: Client | None, owner: type[Client]) -> Any:
        return self if client is None else getattr(client._operations, self._name)

    def __set__(self, client: Client, value: Result) -> None:
        setattr(client._operations, self._name, value)


class Client:
    """Publishes and asks on one connection, opened when it is first needed.

    timeout   seconds to connect in, and that a server may stay silent while it
              owes a reply; None waits for ever
    tries     how often to try again to connect, and to ask what changes
              nothing; 0: never.  A publish that was sent isn't sent again
              unless it has an id
    delay     seconds before the first of these tries; the pauses grow as
              Fibonacci's numbers do, up to a hundred times this one
    ids       give each event that is published an id, by which the server
              knows it when it is sent again after an outage
    user, password   who this is; without a user the password is for the one
              that the server has for those.  A callable is asked for it at
              each connecting
    tls       True: the server speaks TLS, and its certificate is checked; or
              an ssl.SSLContext, such as tls_context() makes
    ca_file   certificates of those who may vouch for it (PEM); then tls is True
    cert_file, key_file   the client's own certificate; then tls is True
    unix      path of the server's socket, in place of host and port
    Raises    ValueError

    Any error in the middle of a request, KeyboardInterrupt included, closes
    the connection: a late reply can't reach the next caller.
    """

    # What of this may be read and set later; of a connection that is open the time-out stays.
    address = _Setting[Address]()
    timeout = _Setting["float | None"]()
    tries = _Setting[int]()
    delay = _Setting[float]()
    ids = _Setting[bool]()

    def __init__(self, host: str = "127.0.0.1", port: int = 6480, *, timeout: float | None = 10.0,
                 tries: int = 50, delay: float = 0.1, ids: bool = False, user: str = "",
                 password: Password | None = None, tls: ssl.SSLContext | bool | None = None,
                 ca_file: str | None = None, cert_file: str | None = None, key_file: str | None = None,
                 unix: str | None = None) -> None:
        self._operations = _Blocking(
            host, port, timeout=timeout, tries=tries, delay=delay, ids=ids, user=user, password=password, tls=tls,
            ca_file=ca_file, cert_file=cert_file, key_file=key_file, unix=unix)

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Client:
        """A Client of what an URL says, see parse_url(); `options` are Client's, and go before it."""
        return cls(**{**parse_url(url), **options})

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection and every subscription made here.  Not an error twice.

        A request that another thread has under way ends with an error, one that waits to try again at its
        next try.
        """
        self._operations.close()

    # -- publish

    def publish(self, stream: str, name: str, data: Data = b"", *, id: Data = b"") -> None:
        """Store one event; when this returns, the server has acknowledged it.

        id       by which the stream knows the event: it isn't stored again, however often it is sent.
                 Then, and if the client gives `ids`, it is sent again after an outage
        Raises   ValueError          stream or name can't be one
                 CannotConnect       nothing was sent
                 IdConflict          the stream has another event with this id
                 Refused             the server did not store it
                 PublishInterrupted  it may be stored, or not
        """
        _now(self._operations.publish(stream, name, data, id=id))

    def publish_many(self, stream: str, events: Iterable[tuple[str, Data]]) -> int:
        """Store events (name, data) of one stream, in order.  Like publish_batch."""
        return _now(self._operations.publish_many(stream, events))

    def publish_batch(self, events: Iterable[tuple[str, str, Data]]) -> int:
        """Store events (stream, name, data) in order, without waiting for each; return how many.

        events   taken as they are sent, in windows: memory is bounded, and so
                 are the replies in flight.  Whatever it raises passes through,
                 and what was sent before may or may not be stored
        Raises   as publish(); Refused and PublishInterrupted say how many of
                 the batch are stored.  After a refusal no more is sent, but
                 up to two windows behind it are under way and may be stored
        """
        return _now(self._operations.publish_batch(events))

    # -- append

    def append(self, stream: str, name: str, data: Data = b"", *, expected: int | str = "any",
               id: Data = b"", metadata: Data = b"") -> Appended:
        """Store one event if its stream is as expected; where it is.

        expected   "any", "none" (no event yet), "exists", or the number of the stream's last event
        Raises     ValueError          stream, name or expected can't be one
                   WrongVersion        the stream is otherwise; nothing was stored
                   IdConflict          the stream has another event with this id; nothing was stored
                   CannotConnect       nothing was sent
                   Refused             the server did not store it
                   PublishInterrupted  it may be stored, or not
        With an id it is sent again after an outage: the server knows it then, and says where it is.
        """
        return _now(self._operations.append(stream, name, data, expected=expected, id=id, metadata=metadata))

    def append_all(self, events: Iterable[NewEvent]) -> list[Appended]:
        """Store NewEvents, of one stream or several, all or none; where each is.

        What each expects is compared as if they were appended one after the other.  If any of them has
        an id, all are sent again after an outage.
        Raises   as append()
        """
        return _now(self._operations.append_all(events))

    def append_batch(self, appends: Iterable[Iterable[NewEvent]]) -> list[list[Appended] | Refused]:
        """Do several append_all() in order, without waiting for each; the result or the Refused of each.

        appends   taken as they are sent, in windows.  Each is kept or refused by itself
        Raises    ValueError, CannotConnect, PublishInterrupted as append()
        """
        return _now(self._operations.append_batch(appends))

    # -- events with tags

    def dcb_append(self, events: Iterable[NewEvent], *,
                   unless: Iterable[tuple[Iterable[str], Iterable[Data]]] | None = None,
                   after: int | None = None) -> list[Appended]:
        """Store NewEvents with their tags, all or none, unless an event matches; where each is.

        events   what they expect of their streams isn't looked at
        unless   a query: (names, tags) pairs, any of which; an event matches one if it has one of its names
                 (any, if there are none) and all of its tags.  []: any event matches.  None: no condition
        after    events up to this position don't matter; None: all do
        Raises   ConditionFailed    nothing was stored
                 as append(); it isn't sent again after an outage
        """
        return _now(self._operations.dcb_append(events, unless=unless, after=after))

    def dcb_read(self, query: Iterable[tuple[Iterable[str], Iterable[Data]]] = (), *, after: int | None = None,
                 limit: int | None = None) -> Tagged:
        """The events that match a query, as in dcb_append(), in the order of positions; () matches all.

        after    begin behind this position; None: with the first event
        limit    of events; None: all of them
        Raises   EventsLost, ValueError, CannotConnect, Disconnected, TimedOut, Refused
        """
        return _now(self._operations.dcb_read(query, after=after, limit=limit))

    # -- ask

    def last_event_number(self, stream: str) -> int | None:
        """The number of the stream's last event, None if it has none; of $all, the last position.

        Raises   ValueError, CannotConnect, Disconnected, TimedOut, Refused
        """
        return _now(self._operations.last_event_number(stream))

    def last_event_numbers(self, streams: Iterable[str]) -> list[int | None]:
        """last_event_number of each of `streams`, asked without waiting for each."""
        return _now(self._operations.last_event_numbers(streams))

    def stream_names(self) -> list[str]:
        """The names of all streams that have events.

        Source   MeiliES 0.2.0 lists streams that were only asked for, too, and in no order.
        """
        return _now(self._operations.stream_names())

    def back_up(self, name: str) -> dict[str, int]:
        """Have the server copy its store to the folder `name` in its --backup-path; what it copied.

        It takes as long as copying the store does; `timeout` isn't looked at.
        Raises   Refused, Unsupported, CannotConnect, Disconnected
        """
        return _now(self._operations.back_up(name))

    def check(self) -> dict[str, Any]:
        """Have the server read its whole log: events, streams, lost, and lists of problems and notes.

        It takes as long as reading the store does; `timeout` isn't looked at.
        """
        return _now(self._operations.check())

    def retain(self, selector: str | Prefix, max_count: int | None = None, max_age: int | None = None) -> None:
        """Have streams keep their last `max_count` events, or those of the last `max_age` seconds; neither: all from
        now on.

        selector   "orders", "$all" or Prefix("order-"); of rules that fit, a stream's own counts, else the longest's
        """
        _now(self._operations.retain(selector, max_count, max_age))

    def retention(self) -> list[tuple[str | Prefix, Rule]]:
        """The rules that `retain` made: [(selector, Rule)]."""
        return _now(self._operations.retention())

    def truncate(self, stream: str, number: int) -> int:
        """Cut the events of `stream` below `number`; the number that it begins with now."""
        return _now(self._operations.truncate(stream, number))

    def delete(self, stream: str, forever: bool = False) -> None:
        """Cut all events of `stream`.  It goes on with its next number, or `forever` takes nothing any more."""
        _now(self._operations.delete(stream, forever))

    def redact(self, stream: str, number: int) -> None:
        """Take the data and metadata of one event; what is left has no data, and says so in its metadata."""
        _now(self._operations.redact(stream, number))

    def compact(self) -> Compacted:
        """Take from the server's disk what was cut or redacted; this may take its time: see `timeout`."""
        return _now(self._operations.compact())

    def snapshot_put(self, stream: str, number: int, data: bytes | str) -> None:
        """Keep `data` as what the events of `stream` up to `number` come to, in place of the snapshot before."""
        _now(self._operations.snapshot_put(stream, number, data))

    def snapshot_get(self, stream: str) -> Snapshot | None:
        """The snapshot of `stream` that was put last."""
        return _now(self._operations.snapshot_get(stream))

    def snapshot_delete(self, stream: str) -> None:
        """Forget the snapshot of `stream`."""
        _now(self._operations.snapshot_delete(stream))

    def export(self) -> Iterator[bytes]:
        """The server's store as lines of JSON, without line ends: an iterator; see docs/backup.md.

        What is published after it was begun isn't among them.
        Raises   Unsupported, CannotConnect, Disconnected, TimedOut, Refused
        """
        return _each(self._operations.export_parts())

    def import_(self, lines: Iterable[bytes]) -> tuple[int, int]:
        """Append what `lines`, an export's, have: how many events were appended, and how many were there already.

        Interrupted, it may be called again with the same lines.
        Raises   ValueError   the first line isn't an export's, or the last one is missing: the file was cut off
                 Refused      a line isn't what an export has, or a number is taken by another event
        """
        return _now(self._operations.import_(lines))

    def chain_head(self) -> tuple[int, str]:
        """How far the chain of digests is and its head, 64 hexadecimal digits: to be noted somewhere else.

        Raises   Refused   the server keeps no chain (--hash-chain)
        """
        return _now(self._operations.chain_head())

    def verify(self, known: tuple[int, str] | None = None) -> dict[str, Any]:
        """Have the server compare every event with its chain of digests: position, head, same, gone.

        known    what chain_head() said at some time
        Raises   Refused   BROKEN: an event, the chain or the head that was noted isn't what it was
        """
        return _now(self._operations.verify(known))

    # -- consumer groups

    def group_create(self, group: str, selector: str | Prefix, from_: int | None = None, *, tries: int | None = None,
                     wait: float | None = None, pause: float | None = None, names: Iterable[str] = ()) -> None:
        """Make a consumer group, or find it made so already.

        selector   "orders", "$all" or Prefix("order-")
        from_      the number, or position, to begin with; None: with what is new
        tries      how often an event is given before it is parked (10)
        wait       seconds that a member has to acknowledge one (30)
        pause      seconds before the second try, doubled before each further one (1)
        names      only events that are called so; none: all.  As many as 100
        Raises     Refused, Disconnected, TimedOut, CannotConnect; as do all of these
        """
        _now(self._operations.group_create(group, selector, from_, tries=tries, wait=wait, pause=pause,
                                           names=names))

    def group_delete(self, group: str) -> None:
        """Forget a group, how far it is and what it parked."""
        _now(self._operations.group_delete(group))

    def groups(self) -> list[str]:
        """The names of all groups, sorted."""
        return _now(self._operations.groups())

    def group_read(self, group: str, member: str, count: int = 1, *, block: float | None = 0) -> list[Given]:
        """Up to `count` events for a member, to be acknowledged; [] if there is none.

        block   seconds to wait for one; None: for ever
        """
        return _now(self._operations.group_read(group, member, count, block=block))

    def group_ack(self, group: str, *keys: int) -> int:
        """These events are done; how many of them a member held."""
        return _now(self._operations.group_ack(group, *keys))

    def group_refuse(self, group: str, key: int, reason: str = "", *, park: bool = False) -> str | None:
        """An event can't be done now: it is given again after a pause, or parked, now or after the last try.

        Returns "later" or "parked", whichever it will be; None if no member held it.
        """
        return _now(self._operations.group_refuse(group, key, reason, park=park))

    def group_leave(self, group: str, member: str) -> int:
        """A member is gone: others get what it held.  How many events that were."""
        return _now(self._operations.group_leave(group, member))

    def group_parked(self, group: str, first: int = 0, count: int = 1000) -> list[Parked]:
        """The first `count` parked events with keys from `first` on."""
        return _now(self._operations.group_parked(group, first, count))

    def group_replay(self, group: str, *keys: int) -> int:
        """Give parked events again, all of them if no key is named; how many."""
        return _now(self._operations.group_replay(group, *keys))

    def group_discard(self, group: str, *keys: int) -> int:
        """Forget parked events; how many."""
        return _now(self._operations.group_discard(group, *keys))

    def group_info(self, group: str) -> dict[str, Any]:
        """How a group stands; docs/groups.md says what each of it is."""
        return _now(self._operations.group_info(group))

    def consume(self, group: str, member: str, handle: Callable[[Event], object], *, count: int = 10,
                block: float | None = None) -> int:
        """Call `handle` with each event that a member is given; return how many are acknowledged or parked.

        handle  when it returns, the event is acknowledged; when it raises Refuse, it is refused.
                By any other error this ends, and others are given what the member held
        count   how many it holds at most
        block   seconds to wait for an event before this ends; None: it doesn't
        """
        return _now(self._operations.consume(group, member, handle, count=count, block=block))

    # -- the server

    def call(self, *request: str | int | bytes) -> Any:
        """The reply to any command: bytes, int, list, dict or None.  It isn't sent again.

        For those that this class has no method for; not for those that make events come.
        Raises   CannotConnect, Disconnected, TimedOut, Refused
        """
        return _now(self._operations.call(*request))

    def call_all(self, requests: Iterable[tuple[str | int | bytes, ...]]) -> list[Any]:
        """The replies to several commands, sent together; a Refused in place of each that was refused.

        They are so many that the server's replies fit into its socket: some hundred, if these are short.
        Raises   CannotConnect, Disconnected, TimedOut
        """
        return _now(self._operations.call_all(requests))

    def monitor(self) -> Iterator[str]:
        """A line for each request that the server gets, from now on, on a connection of its own: an iterator.

        Raises   CannotConnect, Disconnected, Refused
        """
        return _each(self._operations.monitor_parts())

    def ping(self) -> float:
        """Seconds that a request and its reply take.  Refused by MeiliES 0.2.0."""
        return _now(self._operations.ping())

    def server_info(self) -> ServerInfo | None:
        """Which server and store this is; None for one that doesn't say (MeiliES 0.2.0)."""
        return _now(self._operations.server_info())

    # -- read

    def read(self, selector: str | Prefix = ALL, from_: int | None = None, *, since: int | None = None,
             names: Iterable[str] = (), page: int = 1000) -> Iterator[Event]:
        """The events that there are, oldest first, asked for page by page: an iterator that ends.

        selector   "orders", "$all" or Prefix("order-"), which is every stream whose name begins so
        from_      number in a stream, position otherwise; None: from the first one on
        since      in place of from_: from the first event at or after this time, microseconds since 1970 UTC
        names      only events that are called so; none: all.  As many as 100
        page       how many events are asked for at once
        Raises     EventsLost   read on from its `stop`
                   ValueError, CannotConnect, Disconnected, TimedOut, Refused
        """
        return _each(self._operations.pages("read", selector, from_, since, names, page))

    def read_back(self, selector: str | Prefix = ALL, from_: int | None = None, *, since: int | None = None,
                  names: Iterable[str] = (), page: int = 1000) -> Iterator[Event]:
        """`read`, but the newest first: from the last one, or from event `from_` and those before it.

        Raises     EventsLost   read on from its first - 1
        """
        return _each(self._operations.pages("read-back", selector, from_, since, names, page))

    def read_last(self, selector: str | Prefix = ALL) -> Event | None:
        """The last event of a stream, of all or of a prefix; None if there is none."""
        return _now(self._operations.read_last(selector))

    def stream_info(self, stream: str) -> StreamInfo | None:
        """What is known of a stream; None if it has no event."""
        return _now(self._operations.stream_info(stream))

    # -- follow

    def subscribe(self, *selectors: str | Selector, timeout: float | None = None,
                  tries: int | None = None, accept_other_store: bool = False) -> Subscription:
        """Follow streams, on a connection of their own: an iterator over events.

        selectors   "orders" (new events), "orders:5", "orders:5:9", "$all:0"
                    or Selector("orders", from_=5, to=9)
        timeout     seconds the iterator waits for an event before it raises
                    NothingCame, after which it may be asked again; None: for ever
        tries       how often to try again after an outage; None: as the client
        accept_other_store   go on when another store, or an epoch that lost
                    events, is found after an outage

        When this returns the server has been reached, and what is published
        from now on will not be missed.

        Raises      ValueError, CannotConnect, and as Subscription.read()
        """
        return Subscription(self._operations.feed(selectors, tries, accept_other_store), timeout)

    def follow(self, selector: str | Prefix, from_: int | None = None, *, since: int | None = None,
               to: int | None = None, names: Iterable[str] = (), timeout: float | None = None,
               tries: int | None = None, accept_other_store: bool = False) -> Subscription:
        """Follow a stream, $all or a prefix, and hear how far it is: an iterator over events and notices.

        selector    "orders", "$all" or Prefix("order-"), which is every stream whose name begins so
        from_, to   numbers of a stream, positions otherwise; None: from new events on, without an end
        since       in place of from_: from the first event at or after this time, microseconds since 1970 UTC
        names       only events that are called so; none: all.  As many as 100
        The rest    as in subscribe()

        It gives Events; a Checkpoint now and then while events are passed over (each 10,000, and at `to`), to
        go on from with from_=checkpoint.next; and a CaughtUp when all has come that was there, again after each
        time that this client fell behind or lost the server.

        Raises      as subscribe(); Unsupported where the server can't filter.  Of MeiliES 0.2.0, and of this
                    project's servers up to 0.4.0, no notice comes
        """
        feed = self._operations.feed_with_notices(selector, from_, to, names, tries, accept_other_store, since)
        return Subscription(feed, timeout)


class Subscription:
    """Events as they come: iterate over it, or read() what came together.

    It ends by itself when every selector has a TO and all up to there came.
    After an outage it resumes behind the last event seen.  Made by
    Client.subscribe() and Client.follow(); a context manager.
    """

    def __init__(self, feed: Feed, timeout: float | None) -> None:
        self.timeout = timeout
        self._feed = feed
        self._came: deque[Any] = deque()
        _now(feed.establish())

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Subscription:
        return self

    def __next__(self) -> Any:
        if not self._came:
            self._came.extend(_now(self._feed.read(self.timeout)))
        if not self._came:
            raise StopIteration
        return self._came.popleft()

    @property
    def server(self) -> ServerInfo | None:
        """The store that is followed; None on a server that doesn't say (MeiliES 0.2.0)."""
        return self._feed.server

    def read(self, timeout: float | None = None) -> list[Any]:
        """All events that came together, at least one; [] means the end.

        timeout   seconds to wait for one; None waits for ever
        Raises    NothingCame    in that time; nothing is lost, and read() may be called again
                  CannotConnect, Disconnected, TimedOut    no tries are left
                  StoreChanged, Gap, Refused, BadReply, Unsupported
                  After these, and after KeyboardInterrupt, it is closed.
        """
        if self._came:
            came = list(self._came)
            self._came.clear()
            return came
        return _now(self._feed.read(timeout))

    def close(self) -> None:
        """End it: iteration stops.  Not an error twice; any thread may, also while another one reads."""
        self._feed.close()
