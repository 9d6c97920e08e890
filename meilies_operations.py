"""What a client does, once for all kinds of drivers: connect, log in, publish, ask, follow, try again.

    Client, Subscription             AsyncClient, AsyncSubscription
      each call blocks                 each call is awaited
               '--------. .---------------'
                Operations, Feed        which requests, in which order; what may be sent again, and when
                Connection              requests and replies of one connection
    --------------------------------------------------------------------------------
                Line, pauses, turns     what a driver gives: bytes to and fro, and waiting
                Session, Following      meilies_session.py

Operations are coroutines that wait for nothing but their driver.  In the one of
asyncio they wait there; in the one that blocks each step is over when it returns,
so that a coroutine runs from its begin to its end without a loop.
"""

from __future__ import annotations

import errno
import inspect
import itertools
import json
import logging
import os
import socket
import ssl
import time
import weakref
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar, Union
from urllib.parse import SplitResult, unquote, urlsplit

import resp
from meilies_session import (
    ALL,
    MAX_NUMBER,
    MAX_UNANSWERED,
    Appended,
    BadReply,
    CannotConnect,
    ClientError,
    Compacted,
    Data,
    Disconnected,
    Event,
    Following,
    Given,
    NewEvent,
    NothingCame,
    NotTrusted,
    Parked,
    Prefix,
    PublishInterrupted,
    Refuse,
    Refused,
    Reply,
    Rule,
    Selector,
    ServerInfo,
    Session,
    Snapshot,
    StreamInfo,
    Tagged,
    TimedOut,
    Unsupported,
    answer,
    append_request,
    as_text,
    check_event,
    check_stream,
    check_text,
    lacks_command,
    milliseconds,
    publish_request,
    query_words,
    read_appended,
    read_compacted,
    read_fields,
    read_given,
    read_group_info,
    read_hello,
    read_last_number,
    read_login,
    read_names,
    read_number,
    read_page,
    read_pair,
    read_parked,
    read_rules,
    read_snapshot,
    read_stream_info,
    read_tagged,
    refusal,
    selector_words,
)

# One window of a pipeline.  Two are in flight at most: the replies to them, a
# few KiB, fit every socket buffer, so neither side ever waits for the other.
WINDOW_EVENTS = 1000
WINDOW_BYTES = 256 * 1024

RECEIVE_BYTES = 256 * 1024
LONGEST_PAUSE = 100     # times the first one: 10 s after 0.1 s

_log = logging.getLogger("meilies_client")

Item = TypeVar("Item")
Word = Union[str, int, Data]
Some = Union[Iterable[Item], AsyncIterable[Item]]       # the latter on asyncio alone
Password = Union[str, Callable[[], Union[str, Awaitable[str]]]]


# -- where a server is -------------------------------------------------------------

@dataclass(frozen=True)
class Address:
    """Where a server is, and who asks to come in.

    unix       path of its socket, in place of host and port
    tls        how its certificate is checked; None: plain
    user       "" is the one that passwords without a name are for
    password   None: nobody logs in.  A callable is asked for it at each connecting
    """

    host: str = "127.0.0.1"
    port: int = 6480
    unix: str | None = None
    tls: ssl.SSLContext | None = None
    user: str = ""
    password: Password | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.unix is not None and self.tls is not None:
            raise ValueError("unix and tls are both given, expected one of them: a socket of this machine is plain")
        if self.user and self.password is None:
            raise ValueError(f"user {self.user!r} has no password, expected one")

    def __str__(self) -> str:
        return self.unix if self.unix is not None else f"{self.host}:{self.port}"

    async def login(self) -> tuple[str, ...]:
        """The request that says who this is; () if nobody logs in.  Raises TypeError, and what the callable does."""
        if self.password is None:
            return ()
        password: Any = self.password() if callable(self.password) else self.password
        if inspect.isawaitable(password):
            password = await password
        if not isinstance(password, str):
            raise TypeError(f"password is {type(password).__name__}, expected str, or a callable that returns one")
        return ("AUTH", self.user, password) if self.user else ("AUTH", password)

    def cannot_connect(self, error: OSError) -> ClientError:
        """What a failure to open a connection is: one that time may heal, or not."""
        if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
            return NotTrusted(f"cannot speak TLS with {self}: {reason(error)}")
        return CannotConnect(f"cannot connect to {self}: {reason(error)}")

    def lost(self, error: OSError) -> Disconnected:
        return Disconnected(f"connection to {self} lost: {reason(error)}")

    def closed(self) -> Disconnected:
        return Disconnected(f"{self} closed the connection")

    def silent(self, timeout: float) -> TimedOut:
        return TimedOut(f"{self} did nothing for {timeout:g} s")


def reason(error: OSError) -> str:
    """What an error of the system says, without its number."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ConnectionRefusedError):
        return os.strerror(error.errno or errno.ECONNREFUSED)       # asyncio says less, in more words
    return error.strerror or str(error)


def tls_context(ca_file: str | None = None, cert_file: str | None = None, key_file: str | None = None,
                verify: bool = True) -> ssl.SSLContext:
    """How to speak TLS, 1.2 at least, with a server.

    ca_file              certificates of those who may vouch for it, PEM; None: the system's
    cert_file, key_file  the client's own certificate, where a server asks for one
    verify               False: any server is believed to be the one, and somebody between may read and change all
    Raises               ValueError   a file isn't what it should be
    """
    for path in (ca_file, cert_file, key_file):
        if path is not None:
            _check_readable(path)
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except ssl.SSLError as error:
        raise ValueError(f"{ca_file}: found no certificates in it ({reason(error)}), expected PEM") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if cert_file is not None:
        try:
            context.load_cert_chain(cert_file, key_file)
        except ssl.SSLError as error:
            raise ValueError(
                f"{cert_file}: found no certificate with its key ({reason(error)}), expected PEM") from error
    elif key_file is not None:
        raise ValueError(f"{key_file}: a key is of no use without its certificate, which isn't given")
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _check_readable(path: str) -> None:
    """OpenSSL's errors don't name the file."""
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {reason(error)}") from error


def parse_url(url: str) -> dict[str, Any]:
    """What `url` says, as arguments of a client: host and port, or unix; tls; user and password.

        meilies://USER:PASSWORD@HOST:PORT       all but the scheme may be left out
        meiliess://...                          the same over TLS
        meilies+unix://USER:PASSWORD@/PATH      a socket of this machine
    What has another meaning in an URL is percent-encoded.  Raises ValueError; it tells no password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("the URL's host or port isn't one, expected meilies://USER:PASSWORD@HOST:PORT") from None
    if parts.scheme not in ("meilies", "meiliess", "meilies+unix"):
        raise ValueError(f"the URL begins with {parts.scheme[:20]!r}, expected meilies, meiliess or meilies+unix")
    if parts.query or parts.fragment:
        raise ValueError("the URL has a '?' or '#', expected none; in a name or a password they are percent-encoded")
    found: dict[str, Any] = {"user": unquote(parts.username or "")}
    if parts.password is not None:
        found["password"] = unquote(parts.password)
    return {**found, **_place_of(parts, port)}


def _place_of(parts: SplitResult, port: int | None) -> dict[str, Any]:
    """Where the server is, of an URL."""
    if parts.scheme == "meilies+unix":
        if parts.hostname or not parts.path:
            raise ValueError("the URL names no socket, expected meilies+unix:///PATH")
        return {"unix": unquote(parts.path)}
    if parts.path not in ("", "/"):
        raise ValueError(f"the URL goes on with {parts.path[:40]!r} behind its host, expected nothing there")
    place: dict[str, Any] = {"tls": True} if parts.scheme == "meiliess" else {}
    if parts.hostname:
        place["host"] = parts.hostname
    if port is not None:
        place["port"] = port
    return place


# -- one connection ----------------------------------------------------------------

class Line:
    """Bytes to a server and back, as a driver opens it.  A driver's own class has these methods.

    Raises   Disconnected, TimedOut
    """

    async def send(self, data: bytes, timeout: float | None) -> None:
        """Take all of it; only standing still for `timeout` seconds is too long."""
        raise NotImplementedError

    async def receive(self, timeout: float | None) -> bytes:
        """Bytes, at least one, within `timeout` seconds."""
        raise NotImplementedError

    async def is_stale(self) -> bool:
        """True if the peer closed it, or spoke unasked, while nothing was going on."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def shut_down(self) -> None:
        """End it under the hands of somebody who uses it, and who is left to close it."""
        raise NotImplementedError


def prepare_socket(connected: socket.socket) -> None:
    """A follower sends nothing, so only the system's probes can find the peer gone."""
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


class Connection:
    """A line, and what is asked and answered on it."""

    def __init__(self, line: Line, timeout: float | None) -> None:
        self.line = line
        self.timeout = timeout
        self.session = Session()

    async def log_in(self, login: tuple[str, ...]) -> None:
        """Raises CannotConnect, WrongPassword, Refused, Unsupported, BadReply."""
        if not login:
            return
        self.session.request(None, *login)
        try:
            await self.send(self.session.data_to_send())
            while self.session.unanswered:
                for reply in await self.receive_replies(self.timeout):
                    read_login(reply.value)
        except (Disconnected, TimedOut) as error:
            raise CannotConnect(f"{error}, while logging in") from error

    async def send(self, data: bytes) -> None:
        await self.line.send(data, self.timeout)

    async def receive_replies(self, timeout: float | None) -> Iterator[Reply]:
        """The replies that came with the next bytes, maybe none of them whole."""
        return self._replies(await self.line.receive(timeout))

    def _replies(self, data: bytes) -> Iterator[Reply]:
        for item in self.session.receive_data(data):
            if not isinstance(item, Reply):
                raise BadReply(f"{item!r:.200} came, but nothing is followed here")
            yield item

    async def collect(self, take: Callable[[Reply], None], leave: int) -> None:
        """Take replies until no more than `leave` are owed."""
        while self.session.unanswered > leave:
            for reply in await self.receive_replies(self.timeout):
                take(reply)


# -- trying again --------------------------------------------------------------------

def fibonacci(first: float) -> Iterator[float]:
    """Pauses between tries, seconds: 0.1, 0.1, 0.2, 0.3, 0.5 … for a first of 0.1, up to 10."""
    pause, following = first, first
    while True:
        yield min(pause, LONGEST_PAUSE * first)
        pause, following = following, pause + following


class _Backoff:
    """How often to try again, and after how long."""

    def __init__(self, tries: int, first: float) -> None:
        self.tries = tries
        self._first = first
        self.reset()

    def reset(self) -> None:
        self.used = 0
        self._pauses = fibonacci(self._first)

    def next_pause(self, error: Exception) -> float:
        """Seconds to wait after `error`, which is raised if there are no tries left."""
        if self.used >= self.tries:
            raise error
        self.used += 1
        pause = next(self._pauses)
        _log.warning("%s; trying again in %.1f s", error, pause)
        return pause


# -- pipelines -------------------------------------------------------------------------

class _Publishes:
    """What became of the events of one pipeline."""

    def __init__(self) -> None:
        self.sent = 0
        self.answered = 0
        self.acknowledged = 0
        self.refused: tuple[int, resp.ErrorReply] | None = None

    def take(self, reply: Reply) -> None:
        self.answered += 1
        if reply.value == b"OK":
            self.acknowledged += 1
        elif isinstance(reply.value, resp.ErrorReply):
            self.refused = self.refused or (reply.asked, reply.value)
        else:
            raise BadReply(f"{reply.value!r:.200} came, expected OK")

    def interrupted(self, error: ClientError) -> PublishInterrupted:
        why = f"{error}; event {self.refused[0]} was refused: {self.refused[1]}" if self.refused else error
        return PublishInterrupted(self.acknowledged, self.sent - self.answered, why)


class _Appends:
    """What became of the appends of one pipeline.

    results   for each that was answered where its events are, or why it was refused
    """

    refused = None      # one that is refused says nothing of those behind it

    def __init__(self) -> None:
        self.sent = 0
        self.answered = 0
        self.acknowledged = 0       # events
        self.results: list[list[Appended] | Refused] = []
        # Of those without an answer, two windows at most: request, how many events, whether one of them has an id.
        self._owed: deque[tuple[bytes, int, bool]] = deque()

    def request(self, append: Iterable[NewEvent]) -> bytes:
        """The request for one append, which is owed from now on."""
        events = [NewEvent(*event) for event in append]
        request = append_request(events)
        self._owed.append((request, len(events), any(event.id for event in events)))
        return request

    def take(self, reply: Reply) -> None:
        _, count, _ = self._owed[0]
        try:
            places = read_appended(reply.value, count)
        except Refused as error:
            self.results.append(error)
        else:
            self.results.append(places)
            self.acknowledged += len(places)
        self._owed.popleft()
        self.answered += 1

    @property
    def may_be_sent_again(self) -> bool:
        """Whether the server knows those that were sent, and stored perhaps, by their ids."""
        return all(has_id for _, _, has_id in self._sent())

    def again(self) -> list[list[bytes]]:
        """The requests to send again, in windows."""
        self.sent = self.answered
        return list(_windows([request for request, _, _ in self._owed], bytes))

    def interrupted(self, error: ClientError) -> PublishInterrupted:
        return PublishInterrupted(self.acknowledged, sum(count for _, count, _ in self._sent()), error)

    def _sent(self) -> Iterator[tuple[bytes, int, bool]]:
        return itertools.islice(self._owed, self.sent - self.answered)


class _Window(list[bytes]):
    """Requests, or lines, that are sent together."""

    size = 0

    def add(self, item: bytes) -> bool:
        """True when it is full."""
        self.append(item)
        self.size += len(item)
        return len(self) >= WINDOW_EVENTS or self.size >= WINDOW_BYTES


def _windows(things: Iterable[Item], encode: Callable[[Item], bytes | None]) -> Iterator[list[bytes]]:
    """`things` encoded, in lists of at most WINDOW_EVENTS, or WINDOW_BYTES and one; None of `encode` ends them."""
    window = _Window()
    for thing in things:
        item = encode(thing)
        if item is None:
            break
        if window.add(item):
            yield window
            window = _Window()
    if window:
        yield window


async def _windows_of(things: Some[Item], encode: Callable[[Item], bytes | None]) -> AsyncIterator[list[bytes]]:
    """The same of things that may have to be waited for."""
    if not isinstance(things, AsyncIterable):
        for full in _windows(things, encode):
            yield full
        return
    window = _Window()
    async for thing in things:
        item = encode(thing)
        if item is None:
            break
        if window.add(item):
            yield window
            window = _Window()
    if window:
        yield window


# -- operations --------------------------------------------------------------------------

class Operations:
    """Every request of a client.  Two children: that of asyncio is a client, the other blocks behind one.

    What is meant is said at the methods of meilies_client.Client, which have the same names.
    """

    # Raised where a driver waits, by somebody who may go on afterwards as if he hadn't asked.
    cancelled: tuple[type[BaseException], ...] = ()
    # What holds the subscriptions that are open: in the blocking one they end when nobody has them any more.
    kept_feeds: Callable[[], weakref.WeakSet[Feed] | set[Feed]] = weakref.WeakSet

    def __init__(self, host: str = "127.0.0.1", port: int = 6480, *, timeout: float | None = 10.0,
                 tries: int = 50, delay: float = 0.1, ids: bool = False, user: str = "",
                 password: Password | None = None, tls: ssl.SSLContext | bool | None = None,
                 ca_file: str | None = None, cert_file: str | None = None, key_file: str | None = None,
                 unix: str | None = None) -> None:
        context = tls if isinstance(tls, ssl.SSLContext) else None
        if context is None and (tls or ca_file or cert_file or key_file):
            context = tls_context(ca_file, cert_file, key_file)
        self.address = Address(host, port, unix, context, user, password)
        self.timeout = timeout
        self.tries = tries
        self.delay = delay
        self.ids = ids
        self.closed = False
        self.connection: Connection | None = None
        self.feeds: weakref.WeakSet[Feed] | set[Feed] = self.kept_feeds()
        self._use = _Use(self)

    # -- what a driver gives

    async def open_line(self) -> Line:
        """A line to the server, within `timeout` seconds.  Raises CannotConnect, NotTrusted."""
        raise NotImplementedError

    async def sleep(self, seconds: float) -> None:
        raise NotImplementedError

    async def take_turn(self) -> None:
        """The connection is the caller's alone until end_turn()."""
        raise NotImplementedError

    def end_turn(self) -> None:
        raise NotImplementedError

    # -- publish

    async def publish(self, stream: str, name: str, data: Data = b"", *, id: Data = b"") -> None:
        """Store one event; when this returns, the server has acknowledged it."""
        if id:
            await self.append(stream, name, data, id=id)
        else:
            await self.publish_batch([(stream, name, data)])

    async def publish_many(self, stream: str, events: Some[tuple[str, Data]]) -> int:
        """Store events (name, data) of one stream, in order.  Like publish_batch."""
        if self.ids:
            return await self._publish_with_ids(events, lambda event: (stream, *event))
        return await self._publish(events, lambda event: publish_request(stream, *event))

    async def publish_batch(self, events: Some[tuple[str, str, Data]]) -> int:
        """Store events (stream, name, data) in order, without waiting for each; how many."""
        if self.ids:
            return await self._publish_with_ids(events, tuple)
        return await self._publish(events, lambda event: publish_request(*event))

    async def _publish(self, events: Some[Item], encode: Callable[[Item], bytes]) -> int:
        batch = _Publishes()
        try:
            async with self._use:
                await self._send_windows(batch, [], _windows_of(events, encode))
        except (Disconnected, TimedOut, BadReply) as error:
            if not batch.refused or batch.answered < batch.sent:
                raise batch.interrupted(error) from error
        if batch.refused:
            index, reply = batch.refused
            raise Refused(reply, index, batch.acknowledged)
        return batch.acknowledged

    async def _publish_with_ids(self, events: Some[Item], whole: Callable[[Item], tuple[str, str, Data]]) -> int:
        """The same as appends; one that is refused doesn't stop those behind it."""
        def with_id(event: Item) -> list[NewEvent]:
            return [NewEvent(*whole(event), id=os.urandom(16).hex())]

        results = await self._append(events, with_id)
        refused = [(index, result) for index, result in enumerate(results) if isinstance(result, Refused)]
        for index, first in refused:
            raise Refused(first.reply, index, len(results) - len(refused))
        return len(results)

    async def _send_windows(self, batch: _Publishes | _Appends, first: list[list[bytes]],
                            others: AsyncIterator[list[bytes]]) -> None:
        connection = None
        for window in first:
            connection = connection or await self._connected()
            await self._send_window(connection, batch, window)
        async for window in others:
            connection = connection or await self._connected()      # nothing was sent yet: safe to repeat
            await self._send_window(connection, batch, window)
            if batch.refused:
                break
        if connection:
            await connection.collect(batch.take, leave=0)

    async def _send_window(self, connection: Connection, batch: _Publishes | _Appends, window: list[bytes]) -> None:
        """Send it, and take the replies to the one before."""
        connection.session.request_many(batch.sent, window)
        batch.sent += len(window)
        try:
            await connection.send(connection.session.data_to_send())
        except Disconnected:
            with suppress(ClientError):     # what it said before it closed, such as why
                await connection.collect(batch.take, leave=0)
            raise
        await connection.collect(batch.take, leave=len(window))

    # -- append

    async def append(self, stream: str, name: str, data: Data = b"", *, expected: int | str = "any",
                     id: Data = b"", metadata: Data = b"") -> Appended:
        """Store one event if its stream is as expected; where it is."""
        return (await self.append_all([NewEvent(stream, name, data, expected, id, metadata)]))[0]

    async def append_all(self, events: Iterable[NewEvent]) -> list[Appended]:
        """Store NewEvents, of one stream or several, all or none; where each is."""
        [result] = await self.append_batch([events])
        if isinstance(result, Refused):
            raise result
        return result

    async def append_batch(self, appends: Some[Iterable[NewEvent]]) -> list[list[Appended] | Refused]:
        """Do several append_all() in order, without waiting for each; the result or the Refused of each."""
        return await self._append(appends, list)

    async def _append(self, things: Some[Item],
                      events_of: Callable[[Item], Iterable[NewEvent]]) -> list[list[Appended] | Refused]:
        batch = _Appends()
        again: list[list[bytes]] = []
        others = _windows_of(things, lambda thing: batch.request(events_of(thing)))
        backoff = _Backoff(self.tries, self.delay)
        answered = 0
        interruption = None
        async with self._use:
            while True:
                try:
                    await self._send_windows(batch, again, others)
                    return batch.results
                except BadReply as error:
                    raise batch.interrupted(error) from error
                except (Disconnected, TimedOut) as error:
                    interruption = batch.interrupted(error)
                    if not batch.may_be_sent_again:
                        raise interruption from error
                    if batch.answered > answered:
                        answered = batch.answered
                        backoff.reset()
                    if backoff.used >= self.tries:
                        raise interruption from error
                    self.disconnect()
                    await self.sleep(backoff.next_pause(error))
                    again = batch.again()
                except CannotConnect as error:
                    if interruption is None:
                        raise
                    raise interruption from error

    # -- events with tags

    async def dcb_append(self, events: Iterable[NewEvent], *,
                         unless: Iterable[tuple[Iterable[str], Iterable[Data]]] | None = None,
                         after: int | None = None) -> list[Appended]:
        """Store NewEvents with their tags, all or none, unless an event matches; where each is."""
        request: list[Word] = ["dcb-append"]
        events = [NewEvent(*event) for event in events]
        if not events:
            raise ValueError("an append takes at least one event")
        request.append(len(events))
        for event in events:
            check_event(event.stream, event.name)
            request += [event.stream, event.name, event.data, event.id, event.metadata, len(event.tags), *event.tags]
        if unless is not None:
            request += ["UNLESS", "-" if after is None else after, *query_words(unless)]
        try:
            async with self._use:
                [value] = await self._exchange([tuple(request)])
        except (Disconnected, TimedOut) as error:
            raise PublishInterrupted(0, len(events), error) from error
        return self.read_reply(lambda reply: read_appended(reply, len(events)), value)

    async def dcb_read(self, query: Iterable[tuple[Iterable[str], Iterable[Data]]] = (), *, after: int | None = None,
                       limit: int | None = None) -> Tagged:
        """The events that match a query, in the order of positions; () matches all."""
        if limit is not None and limit < 1:
            raise ValueError(f"limit is {limit}, expected 1 or more")
        words = query_words(query)
        events: list[Event] = []
        more = True
        while more:
            count = 1000 if limit is None else min(1000, limit - len(events))
            after, head, some = await self._ask(read_tagged, "dcb-read", "-" if after is None else after, count, *words)
            events += some
            more = after is not None and (limit is None or len(events) < limit)
        return Tagged(events, head)

    # -- ask

    async def last_event_number(self, stream: str) -> int | None:
        """The number of the stream's last event, None if it has none; of $all, the last position."""
        return (await self.last_event_numbers([stream]))[0]

    async def last_event_numbers(self, streams: Iterable[str]) -> list[int | None]:
        """last_event_number of each of `streams`, asked without waiting for each."""
        streams = list(streams)
        for stream in streams:
            check_stream(stream)
        values: list[Any] = []
        for start in range(0, len(streams), MAX_UNANSWERED):
            values += await self._ask_all([("last-event-number", s) for s in streams[start:start + MAX_UNANSWERED]])
        return [self.read_reply(read_last_number, value) for value in values]

    async def stream_names(self) -> list[str]:
        """The names of all streams that have events."""
        return await self._ask(read_names, "stream-names")

    async def stream_info(self, stream: str) -> StreamInfo | None:
        """What is known of a stream; None if it has no event."""
        check_stream(stream)
        return await self._ask(read_stream_info, "stream-info", stream)

    # -- the store

    async def back_up(self, name: str) -> dict[str, int]:
        """Have the server copy its store to the folder `name` in its --backup-path; what it copied."""
        return self.read_reply(read_fields, await self._ask_patiently("backup", name))

    async def check(self) -> dict[str, Any]:
        """Have the server read its whole log: events, streams, lost, and lists of problems and notes."""
        fields = self.read_reply(read_fields, await self._ask_patiently("check"))
        for key in "problems", "notes":
            fields[key] = [as_text(text) for text in fields[key]]
        return fields

    async def chain_head(self) -> tuple[int, str]:
        """How far the chain of digests is and its head, 64 hexadecimal digits."""
        position, head = self.read_reply(read_pair, await self._ask_patiently("chain-head"))
        return position, as_text(head)

    async def verify(self, known: tuple[int, str] | None = None) -> dict[str, Any]:
        """Have the server compare every event with its chain of digests: position, head, same, gone."""
        fields = self.read_reply(read_fields, await self._ask_patiently("verify", *(known or ())))
        return {**fields, "head": as_text(fields["head"])}

    async def export_parts(self) -> AsyncIterator[list[bytes]]:
        """What export() gives, some lines at a time."""
        head = answer(await self._ask_known("export"))
        yield [head.rstrip()]
        stop = json.loads(head)["position"]
        events = entries = 0
        following: Any = 0
        while following is not None and following < stop:
            following, lines = self.read_reply(read_pair, await self._ask_known("export", following, stop))
            events += sum(line.startswith(b'{"stream"') for line in lines)
            yield list(map(bytes.rstrip, lines))
        following = b""
        while following is not None:
            following, lines = self.read_reply(read_pair, await self._ask_known("export", "ENTRIES", following))
            entries += len(lines)
            yield list(map(bytes.rstrip, lines))
        yield [json.dumps({"end": True, "events": events, "entries": entries}).encode()]

    async def import_(self, lines: Some[bytes]) -> tuple[int, int]:
        """Append what `lines`, an export's, have: how many events were appended, and how many were there already."""
        exported = _Exported()
        appended = there = 0
        async for window in _windows_of(lines, exported.check):
            some = window[1:] if window[0] == _Exported.HEAD else window
            if some:
                one, other = self.read_reply(read_pair, await self._ask_known("import", *some))
                appended += one
                there += other
        if not exported.ended:
            raise ValueError(f"line {exported.number}: the line that ends an export is missing: the file was cut off")
        return appended, there

    # -- what is kept

    async def retain(self, selector: str | Prefix, max_count: int | None = None, max_age: int | None = None) -> None:
        """Have streams keep their last `max_count` events, or those of the last `max_age` seconds; neither: all."""
        words: list[Word] = ["retain", *selector_words(selector)]
        for what, value in (("MAX-COUNT", max_count), ("MAX-AGE", max_age)):
            if value is not None:
                words += [what, value]
        await self._ask(answer, *words)

    async def retention(self) -> list[tuple[str | Prefix, Rule]]:
        """The rules that `retain` made: [(selector, Rule)]."""
        return await self._ask(read_rules, "retention")

    async def truncate(self, stream: str, number: int) -> int:
        """Cut the events of `stream` below `number`; the number that it begins with now."""
        check_stream(stream)
        return await self._ask(read_number, "truncate", stream, number)

    async def delete(self, stream: str, forever: bool = False) -> None:
        """Cut all events of `stream`.  It goes on with its next number, or `forever` takes nothing any more."""
        check_stream(stream)
        await self._ask(answer, "delete", stream, *(["FOREVER"] if forever else []))

    async def redact(self, stream: str, number: int) -> None:
        """Take the data and metadata of one event; what is left has no data, and says so in its metadata."""
        check_stream(stream)
        await self._ask(answer, "redact", stream, number)

    async def compact(self) -> Compacted:
        """Take from the server's disk what was cut or redacted; this may take its time: see `timeout`."""
        return await self._ask(read_compacted, "compact")

    async def snapshot_put(self, stream: str, number: int, data: bytes | str) -> None:
        """Keep `data` as what the events of `stream` up to `number` come to, in place of the snapshot before."""
        check_stream(stream)
        await self._ask(answer, "snapshot-put", stream, number, data)

    async def snapshot_get(self, stream: str) -> Snapshot | None:
        """The snapshot of `stream` that was put last."""
        check_stream(stream)
        return await self._ask(read_snapshot, "snapshot-get", stream)

    async def snapshot_delete(self, stream: str) -> None:
        """Forget the snapshot of `stream`."""
        check_stream(stream)
        await self._ask(answer, "snapshot-delete", stream)

    # -- consumer groups

    async def group_create(self, group: str, selector: str | Prefix, from_: int | None = None, *,
                           tries: int | None = None, wait: float | None = None, pause: float | None = None,
                           names: Iterable[str] = ()) -> None:
        """Make a consumer group, or find it made so already."""
        options: list[Word] = []
        for name, value in ("TRIES", tries), ("WAIT", milliseconds(wait)), ("PAUSE", milliseconds(pause)):
            if value is not None:
                options += [name, value]
        called = tuple(names)
        if called:
            options += ["NAMES", len(called), *called]
        begin = "-" if from_ is None else from_
        await self._ask(answer, "group-create", group, *selector_words(selector), begin, *options)

    async def group_delete(self, group: str) -> None:
        """Forget a group, how far it is and what it parked."""
        await self._ask(answer, "group-delete", group)

    async def groups(self) -> list[str]:
        """The names of all groups, sorted."""
        return [as_text(name) for name in await self._ask(answer, "groups")]

    async def group_read(self, group: str, member: str, count: int = 1, *, block: float | None = 0) -> list[Given]:
        """Up to `count` events for a member, to be acknowledged; [] if there is none."""
        deadline = None if block is None else time.monotonic() + block
        step = 5.0 if self.timeout is None else self.timeout / 2
        while True:
            left = step if deadline is None else min(step, deadline - time.monotonic())
            options: tuple[Word, ...] = ("BLOCK", max(1, int(left * 1000))) if left > 0 else ()
            given = await self._ask(read_given, "group-read", group, member, count, *options)
            if given or deadline is not None and time.monotonic() >= deadline:
                return given

    async def group_ack(self, group: str, *keys: int) -> int:
        """These events are done; how many of them a member held."""
        return await self._ask(read_number, "group-ack", group, *keys)

    async def group_refuse(self, group: str, key: int, reason: str = "", *, park: bool = False) -> str | None:
        """An event can't be done now: it is given again after a pause, or parked, now or after the last try."""
        word = "PARK" if park else "LATER"
        fate = await self._ask(answer, "group-refuse", group, key, word, reason)
        return None if fate is None else as_text(fate)

    async def group_leave(self, group: str, member: str) -> int:
        """A member is gone: others get what it held.  How many events that were."""
        return await self._ask(read_number, "group-leave", group, member)

    async def group_parked(self, group: str, first: int = 0, count: int = 1000) -> list[Parked]:
        """The first `count` parked events with keys from `first` on."""
        return await self._ask(read_parked, "group-parked", group, first, count)

    async def group_replay(self, group: str, *keys: int) -> int:
        """Give parked events again, all of them if no key is named; how many."""
        return await self._ask(read_number, "group-replay", group, *keys)

    async def group_discard(self, group: str, *keys: int) -> int:
        """Forget parked events; how many."""
        return await self._ask(read_number, "group-discard", group, *keys)

    async def group_info(self, group: str) -> dict[str, Any]:
        """How a group stands; docs/groups.md says what each of it is."""
        return await self._ask(read_group_info, "group-info", group)

    async def consume(self, group: str, member: str, handle: Callable[[Event], object], *, count: int = 10,
                      block: float | None = None) -> int:
        """Call `handle` with each event that a member is given; how many are acknowledged or parked."""
        done = 0
        try:
            while True:
                given = await self.group_read(group, member, count, block=block)
                given_back: set[str] = set()
                for one in given:
                    if one.event.stream in given_back:      # it comes again, behind the one that was refused
                        continue
                    if await self._handle(group, one, handle):
                        done += 1
                    else:
                        given_back.add(one.event.stream)
                if not given:
                    return done
        finally:
            with suppress(ClientError):
                await self._ask_all([("group-leave", group, member)], tries=0)

    async def _handle(self, group: str, given: Given, handle: Callable[[Event], object]) -> bool:
        """False if the event is given again: those of its stream behind it aren't held any more."""
        try:
            handled = handle(given.event)
            if inspect.isawaitable(handled):
                await handled
        except Refuse as refusal:
            return await self.group_refuse(group, given.key, refusal.reason, park=refusal.park) == "parked"
        return bool(await self.group_ack(group, given.key))

    # -- the server

    async def ping(self) -> float:
        """Seconds that a request and its reply take."""
        start = time.monotonic()
        await self._ask(answer, "PING")
        return time.monotonic() - start

    async def server_info(self) -> ServerInfo | None:
        """Which server and store this is; None for one that doesn't say (MeiliES 0.2.0)."""
        [value] = await self._ask_all([("HELLO", 2)])
        if lacks_command(value):
            self.disconnect()           # MeiliES closes it; not to race against that
            return None
        return self.read_reply(read_hello, value)

    async def call(self, *request: Word) -> Any:
        """The reply to any command: bytes, int, list, dict or None.  It isn't sent again."""
        async with self._use:
            [value] = await self._exchange([request])
        return answer(value)

    async def call_all(self, requests: Iterable[tuple[Word, ...]]) -> list[Any]:
        """The replies to several commands, sent together; a Refused where one was.  They aren't sent again."""
        async with self._use:
            values = await self._exchange(list(requests))
        return [refusal(value) if isinstance(value, resp.ErrorReply) else value for value in values]

    async def monitor_parts(self) -> AsyncIterator[list[str]]:
        """What monitor() gives, some lines at a time."""
        connection = await self.connect()
        try:
            connection.session.request("began", "MONITOR")
            await connection.send(connection.session.data_to_send())
            timeout = self.timeout
            while True:
                lines = []
                for reply in await connection.receive_replies(timeout):
                    line = str(answer(reply.value), "utf-8", "backslashreplace")
                    timeout = None
                    connection.session.request_encoded("line", b"")     # each line answers what nobody has to send
                    if reply.asked == "line":
                        lines.append(line)
                yield lines
        finally:
            connection.line.close()

    # -- read

    def pages(self, command: str, selector: str | Prefix, from_: int | None, since: int | None,
              names: Iterable[str], page: int) -> AsyncIterator[list[Event]]:
        """What is asked for page by page.  It is checked at once, and asked when the first one is wanted."""
        if from_ is not None and since is not None:
            raise ValueError("from_ and since are both given, expected one of them")
        for number in (from_, since):
            if number is not None and not 0 <= number <= MAX_NUMBER:
                raise ValueError(f"found {number}, expected a number from 0 to {MAX_NUMBER}")
        if page < 1:
            raise ValueError(f"a page of {page} events, expected 1 or more")
        called = tuple(names)
        for name in called:
            check_text("event name", name)
        options = ("NAMES", len(called), *called) if called else ()
        begin = "-" if from_ is None else from_
        return self._pages((command, *selector_words(selector)), begin if since is None else f"@{since}",
                           (page, *options))

    async def _pages(self, asked: tuple[Word, ...], following: str | int | None,
                     options: tuple[Word, ...]) -> AsyncIterator[list[Event]]:
        while following is not None:
            following, events = await self._ask(read_page, *asked, following, *options)
            yield events

    async def read_last(self, selector: str | Prefix = ALL) -> Event | None:
        """The last event of a stream, of all or of a prefix; None if there is none."""
        async for events in self.pages("read-back", selector, None, None, (), 1):
            for event in events:
                return event
        return None

    # -- follow

    def feed(self, selectors: Iterable[str | Selector], tries: int | None, accept_other_store: bool) -> Feed:
        """What subscribe() follows, not begun yet."""
        wanted = [s if isinstance(s, Selector) else Selector.parse(s) for s in selectors]
        return self._feed(Following(wanted, accept_other_store), tries)

    def feed_with_notices(self, selector: str | Prefix, from_: int | None, to: int | None, names: Iterable[str],
                          tries: int | None, accept_other_store: bool, since: int | None) -> Feed:
        """What follow() follows, not begun yet."""
        prefix = isinstance(selector, Prefix)
        wanted = Selector(selector.text if isinstance(selector, Prefix) else selector, from_, to, tuple(names), prefix,
                          since)
        return self._feed(Following([wanted], accept_other_store, notices=True), tries)

    def _feed(self, following: Following, tries: int | None) -> Feed:
        feed = Feed(self, following, self.tries if tries is None else tries)
        self.feeds.add(feed)
        return feed

    # -- the connection

    async def _ask(self, read: Callable[[Any], Any], *request: Word) -> Any:
        """What `read` finds in the reply to a request, which may be sent again."""
        [value] = await self._ask_all([request])
        return self.read_reply(read, value)

    async def _ask_known(self, *request: Word) -> Any:
        """The value that answers a request which may be sent again, and which old servers don't know."""
        [value] = await self._ask_all([request])
        if lacks_command(value):
            raise Unsupported(f"the server has no {request[0]!r}: {value}")
        return value

    async def _ask_all(self, requests: list[tuple[Word, ...]], tries: int | None = None) -> list[Any]:
        """The values that answer `requests`, which may be sent again."""
        tries = self.tries if tries is None else tries
        backoff = _Backoff(tries, self.delay)
        while True:
            try:
                async with self._use:
                    return await self._exchange(requests, tries)
            except Disconnected as error:
                await self.sleep(backoff.next_pause(error))

    async def _ask_patiently(self, *request: Word) -> Any:
        """The value that answers a request which may take any time; only a dead peer ends the wait."""
        async with self._use:
            connection = await self._connected()
            connection.timeout = None
            [value] = await self._exchange([request])
            connection.timeout = self.timeout
        if lacks_command(value):
            raise Unsupported(f"the server has no {request[0]}: {value}")
        return value

    async def _exchange(self, requests: list[tuple[Word, ...]], tries: int | None = None) -> list[Any]:
        connection = await self._connected(tries)
        for request in requests:
            connection.session.request(None, *request)
        await connection.send(connection.session.data_to_send())
        values: list[Any] = []
        await connection.collect(lambda reply: values.append(reply.value), leave=0)
        return values

    def read_reply(self, read: Callable[[Any], Any], value: Any) -> Any:
        """read(value), with the connection closed if it is not the answer that was expected."""
        try:
            return read(value)
        except BadReply:
            self.disconnect()
            raise

    async def _connected(self, tries: int | None = None) -> Connection:
        """The open connection, or a new one, tried for again and again."""
        if self.connection and await self.connection.line.is_stale():
            self.disconnect()
        if self.connection is None:
            backoff = _Backoff(self.tries if tries is None else tries, self.delay)
            while self.connection is None:
                if self.closed:
                    raise ClientError("this Client is closed")
                try:
                    self.connection = await self.connect()
                except CannotConnect as error:
                    await self.sleep(backoff.next_pause(error))
            if self.closed:             # while it was opened
                raise ClientError("this Client is closed")
        return self.connection

    async def connect(self) -> Connection:
        """A new connection, logged in.  Raises CannotConnect, NotTrusted, WrongPassword, Refused."""
        login = await self.address.login()
        connection = Connection(await self.open_line(), self.timeout)
        try:
            await connection.log_in(login)
        except BaseException:
            connection.line.close()
            raise
        return connection

    def disconnect(self) -> None:
        connection, self.connection = self.connection, None
        if connection:
            connection.line.close()


class _Use:
    """Lets one caller alone use the connection, and closes it if that goes wrong: no late reply finds the next one."""

    def __init__(self, operations: Operations) -> None:
        self._operations = weakref.proxy(operations)

    async def __aenter__(self) -> None:
        await self._operations.take_turn()

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind:
            self._operations.disconnect()
        self._operations.end_turn()


class _Exported:
    """Looks at the lines of an export as they pass."""

    HEAD = b'{"meilies-export": 1,'       # stands for the first one, which is not sent

    def __init__(self) -> None:
        self.number = 0
        self.ended = False

    def check(self, line: bytes) -> bytes | None:
        """The line, None if it is the last one.  Raises ValueError."""
        self.number += 1
        if self.number == 1:
            if not line.startswith(self.HEAD):
                raise ValueError(f"line 1: found {line[:60]!r}, expected that of an export")
            return self.HEAD
        self.ended = line.startswith(b'{"end"')
        return None if self.ended else line


# -- following -----------------------------------------------------------------------------

class Feed:
    """Events as they come, through outages.  What a subscription is, but for how it waits."""

    def __init__(self, operations: Operations, following: Following, tries: int) -> None:
        self._operations = operations
        self._following = following
        self._connection: Connection | None = None
        self._tries = tries
        self._backoff = _Backoff(operations.tries, operations.delay)
        self._retry_at = 0.0
        self._heard_at = 0.0            # when the server last said something
        self._error: ClientError | None = None
        self._established = False
        # Who closes it while another one reads ends the line, and leaves the rest to that one.
        self._in_use = False
        self._closed = False

    @property
    def server(self) -> ServerInfo | None:
        """The store that is followed; None on a server that doesn't say (MeiliES 0.2.0)."""
        return self._following.server

    async def establish(self) -> None:
        """Reach the server with the client's tries; from then on, with the subscription's."""
        with self._use():
            await self._establish()

    async def read(self, timeout: float | None) -> list[Any]:
        """All events that came together, at least one; [] means the end."""
        with self._use():
            await self._establish()
            deadline = None if timeout is None else time.monotonic() + timeout
            while not self._following.events and not self._ended():
                await self._step(deadline)
        came, self._following.events = self._following.events, []
        return came

    def close(self) -> None:
        """End it.  Not an error twice."""
        self._closed = True
        connection = self._connection
        if not self._in_use:
            self._disconnect()
        elif connection:
            connection.line.shut_down()

    @contextmanager
    def _use(self) -> Iterator[None]:
        if self._in_use:
            raise RuntimeError("this subscription is being read; one reads at a time")
        self._in_use = True
        try:
            yield
        finally:
            self._in_use = False
            if self._closed:
                self._disconnect()

    async def _establish(self) -> None:
        while not self._established and not self._ended():
            if self._following.ready:
                self._established = True
                self._backoff.tries = self._tries
            else:
                await self._step(None)

    def _ended(self) -> bool:
        """True at the end.  Raises the error that ended it."""
        if self._error:
            raise self._error
        if self._following.done:
            self._closed = True
            self._disconnect()
        return self._closed

    async def _step(self, deadline: float | None) -> None:
        """Connect, or receive once.  A failure that time may heal sets the time to try again."""
        try:
            if self._connection is None:
                await self._connect(deadline)
            else:
                await self._receive(self._connection, deadline)
        except NothingCame:
            raise
        except (CannotConnect, Disconnected, TimedOut) as error:
            self._outage(error)
        except ClientError as error:
            self._end(error)
        except self._operations.cancelled:
            raise
        except BaseException:
            self._end(ClientError("the subscription was interrupted, and is closed"))
            raise

    async def _connect(self, deadline: float | None) -> None:
        await self._wait_to_retry(deadline)
        if self._closed:                # while it waited
            return
        connection = self._connection = await self._operations.connect()
        if self._closed:                # while it was opened: who uses it closes it
            return
        self._heard_at = time.monotonic()
        self._following.connect()
        await connection.send(self._following.data_to_send())

    async def _wait_to_retry(self, deadline: float | None) -> None:
        until = self._retry_at if deadline is None else min(self._retry_at, deadline)
        left = until - time.monotonic()
        if left > 0:
            await self._operations.sleep(left)
        if until < self._retry_at:
            raise NothingCame("no event came in time")

    async def _receive(self, connection: Connection, deadline: float | None) -> None:
        following = self._following
        following.receive_data(await self._wait_for_data(connection, deadline))
        asked = following.data_to_send()
        if asked:
            await connection.send(asked)
        if following.reconnect:
            self._disconnect()
        elif following.events or (following.ready and not following.waiting):
            self._backoff.reset()

    async def _wait_for_data(self, connection: Connection, deadline: float | None) -> bytes:
        """Wait until the caller's deadline, or until the server owes a reply for too long."""
        now = time.monotonic()
        owed = None
        if self._following.waiting and self._operations.timeout is not None:
            owed = max(self._heard_at + self._operations.timeout - now, 0.001)
        left = None if deadline is None else max(deadline - now, 0.001)
        if left is None or (owed is not None and owed <= left):
            data = await connection.line.receive(owed)
        else:
            try:
                data = await connection.line.receive(left)
            except TimedOut:
                raise NothingCame("no event came in time") from None
        self._heard_at = time.monotonic()
        return data

    def _outage(self, error: ClientError) -> None:
        self._disconnect()
        if self._closed:        # by another one: this is how it shows
            return
        try:
            self._retry_at = time.monotonic() + self._backoff.next_pause(error)
        except ClientError:
            self._end(error)

    def _end(self, error: ClientError) -> None:
        """Close it; `error` is raised when what came before it has been read."""
        self._error = error
        self._disconnect()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection:
            connection.line.close()
        if self._closed or self._error:
            self._operations.feeds.discard(self)
