"""The client for asyncio: the same requests, answers and errors as those of meilies_client.

    AsyncClient ------ one connection, which tasks use in turn
      '- subscribe() -> AsyncSubscription ------ one connection each: events

    AsyncClient, AsyncSubscription    each call is awaited
    Operations, Feed                  what is asked, and what is sent again (meilies_operations.py)
    Session, Following                what it is on the wire (meilies_session.py)

    async with AsyncClient() as client:
        await client.publish("orders", "created", b"one")
        async with client.subscribe("orders:0") as events:
            async for event in events:
                print(event.number, event.name, event.data)

A request that is cancelled closes its connection, so that its reply can't reach the
next one; the connection is opened again when it is needed.  Reading a subscription
may be cancelled at any time: what has come isn't lost, and it goes on where it was.
"""

from __future__ import annotations

import asyncio
import select
from collections import deque
from collections.abc import AsyncIterator, Generator, Iterable
from typing import Any, TypeVar

import meilies_session
from meilies_operations import (
    RECEIVE_BYTES,
    Address,
    Feed,
    Line,
    Operations,
    parse_url,
    prepare_socket,
    tls_context,
)
from meilies_session import *  # noqa: F403  what programs need of it they find here
from meilies_session import ALL, CannotConnect, Disconnected, Event, Prefix, Selector, ServerInfo

__all__ = [*meilies_session.__all__, "Address", "AsyncClient", "AsyncSubscription", "parse_url", "tls_context"]

# What has come and nobody has taken: from here on the server is left to wait.
MAX_UNREAD = 2 * RECEIVE_BYTES

Result = TypeVar("Result")


class _Stream(asyncio.Protocol, Line):
    """A connection: bytes that came wait for who receives them, up to a bound."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._came: list[bytes] = []
        self._unread = 0                # bytes of these
        self._paused = False            # the server waits, for too much is unread
        self._full = False              # this side waits, for too much is unsent
        self._ended = False
        self._error: OSError | None = None      # why, if it is known
        self._waiter: asyncio.Future[bool] | None = None
        self._closed = False

    # -- what the loop calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        if self._closed:                # given up while it was opened
            transport.abort()
            return
        connected = transport.get_extra_info("socket")
        self._readable = select.poll()
        self._readable.register(connected.fileno(), select.POLLIN)
        if self._address.unix is None:
            prepare_socket(connected)

    def data_received(self, data: bytes) -> None:
        self._came.append(data)
        self._unread += len(data)
        if self._unread >= MAX_UNREAD and not self._paused and not self._ended:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        self._ended = True
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        self._ended = True
        self._error = error if isinstance(error, OSError) else None
        self._wake()

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._wake()

    # -- what operations call

    async def send(self, data: bytes, timeout: float | None) -> None:
        if self._ended:
            raise self._end()
        self._transport.write(data)
        while self._full:
            unsent = self._transport.get_write_buffer_size()
            if self._ended:
                raise self._end()
            if not await self._wait(timeout) and self._transport.get_write_buffer_size() >= unsent:
                raise self._address.silent(timeout or 0)

    async def receive(self, timeout: float | None) -> bytes:
        while not self._came:
            if self._ended:
                raise self._end()
            if not await self._wait(timeout):
                raise self._address.silent(timeout or 0)
        data = self._came[0] if len(self._came) == 1 else b"".join(self._came)
        self._came.clear()
        self._unread = 0
        if self._paused and not self._ended:
            self._paused = False
            self._transport.resume_reading()
        return data

    async def is_stale(self) -> bool:
        if not self._idle():
            return True
        if not self._readable.poll(0):
            return False
        for _ in range(2):              # the loop looks at it, and tells: TLS may have things of its own to say
            await asyncio.sleep(0)
        return not self._idle()

    def close(self) -> None:
        self._closed = self._ended = True
        if self._transport:
            self._transport.abort()     # nothing is unsent that matters: what was asked is answered, or given up
        self._wake()

    def shut_down(self) -> None:
        self.close()

    def _idle(self) -> bool:
        return not self._came and not self._ended

    def _end(self) -> Disconnected:
        return self._address.lost(self._error) if self._error else self._address.closed()

    def _wake(self, happened: bool = True) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(happened)

    async def _wait(self, timeout: float | None) -> bool:
        """Wait until something happened; False if `timeout` seconds passed without."""
        self._waiter = self._loop.create_future()
        timer = None if timeout is None else self._loop.call_later(timeout, self._wake, False)
        try:
            return await self._waiter
        finally:
            self._waiter = None
            if timer:
                timer.cancel()


class AsyncClient(Operations):
    """meilies_client.Client for asyncio: made alike, and with the same methods, which are awaited.

    Its tasks use it in turn; a request that waits long, such as group_read() with `block`,
    lets the others wait: give it a client of its own.  What is published together is best
    given to publish_batch() or publish_many(), which take asynchronous iterables as well.
    `password` may be a coroutine function, and so may what consume() calls.

    A request that is cancelled, by a time-out of the caller too, closes the connection;
    nobody can say whether it was done.  All tasks are of one loop.
    """

    cancelled = (asyncio.CancelledError,)
    kept_feeds = set            # the loop keeps their connections: close() ends those that were left open

    _turn: asyncio.Lock | None = None       # made when a loop runs: before Python 3.10 it is of that one

    @classmethod
    def from_url(cls, url: str, **options: Any) -> AsyncClient:
        """An AsyncClient of what an URL says, see parse_url(); `options` are AsyncClient's, and go before it."""
        return cls(**{**parse_url(url), **options})

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection and every subscription made here.  Not an error twice.

        A request that another task has under way ends with an error, one that waits to try again at its next try.
        """
        self.closed = True
        for feed in list(self.feeds):
            feed.close()
        if self.connection:
            self.connection.line.close()
        await _let_go()

    # -- what is read and followed

    def read(self, selector: str | Prefix = ALL, from_: int | None = None, *, since: int | None = None,
             names: Iterable[str] = (), page: int = 1000) -> AsyncIterator[Event]:
        """The events that there are, oldest first, asked for page by page.  As Client.read()."""
        return _each(self.pages("read", selector, from_, since, names, page))

    def read_back(self, selector: str | Prefix = ALL, from_: int | None = None, *, since: int | None = None,
                  names: Iterable[str] = (), page: int = 1000) -> AsyncIterator[Event]:
        """The same, but the newest first.  As Client.read_back()."""
        return _each(self.pages("read-back", selector, from_, since, names, page))

    def export(self) -> AsyncIterator[bytes]:
        """The server's store as lines of JSON, without line ends.  As Client.export()."""
        return _each(self.export_parts())

    def monitor(self) -> AsyncIterator[str]:
        """A line for each request that the server gets.  As Client.monitor()."""
        return _each(self.monitor_parts())

    def subscribe(self, *selectors: str | Selector, timeout: float | None = None, tries: int | None = None,
                  accept_other_store: bool = False) -> AsyncSubscription:
        """Follow streams, on a connection of their own.  As Client.subscribe().

        It begins when it is awaited, entered with `async with`, or read: what is published from then on isn't missed.
        """
        return AsyncSubscription(self.feed(selectors, tries, accept_other_store), timeout)

    def follow(self, selector: str | Prefix, from_: int | None = None, *, since: int | None = None,
               to: int | None = None, names: Iterable[str] = (), timeout: float | None = None,
               tries: int | None = None, accept_other_store: bool = False) -> AsyncSubscription:
        """Follow a stream, $all or a prefix, and hear how far it is.  As Client.follow(), begun as subscribe()."""
        feed = self.feed_with_notices(selector, from_, to, names, tries, accept_other_store, since)
        return AsyncSubscription(feed, timeout)

    # -- what operations need

    async def open_line(self) -> Line:
        address = self.address
        stream = _Stream(address)
        opening = asyncio.ensure_future(_open(address, stream))
        try:
            done, _ = await asyncio.wait({opening}, timeout=self.timeout)
            if not done:
                raise CannotConnect(f"cannot connect to {address}: timed out")
            opening.result()
        except BaseException as error:
            opening.cancel()
            stream.close()
            await asyncio.wait({opening})       # that it closes what it has
            if isinstance(error, OSError):
                raise address.cannot_connect(error) from error
            raise
        return stream

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def take_turn(self) -> None:
        if self._turn is None:
            self._turn = asyncio.Lock()
        await self._turn.acquire()

    def end_turn(self) -> None:
        assert self._turn is not None
        self._turn.release()


async def _open(address: Address, stream: _Stream) -> None:
    loop = asyncio.get_running_loop()
    if address.unix is not None:
        await loop.create_unix_connection(lambda: stream, address.unix)
    else:
        name = address.host if address.tls else None
        await loop.create_connection(lambda: stream, address.host, address.port, ssl=address.tls, server_hostname=name)


async def _each(parts: AsyncIterator[list[Result]]) -> AsyncIterator[Result]:
    """The items of all parts, which are asked for as they are needed."""
    try:
        async for part in parts:
            for item in part:
                yield item
    finally:
        await parts.aclose()


async def _let_go() -> None:
    """Let the loop close what was given up: it does so in its next round."""
    await asyncio.sleep(0)


class AsyncSubscription:
    """Events as they come: iterate over it, or read() what came together.

    It ends by itself when every selector has a TO and all up to there came.  After an
    outage it resumes behind the last event seen.  Made by AsyncClient.subscribe() and
    AsyncClient.follow().  One task reads it; cancelling that loses nothing, so that
    asyncio.wait_for() may be used on it.  While nobody reads, the server is left to wait
    as soon as MAX_UNREAD bytes are unread.
    """

    def __init__(self, feed: Feed, timeout: float | None) -> None:
        self.timeout = timeout
        self._feed = feed
        self._came: deque[Any] = deque()

    def __await__(self) -> Generator[Any, None, AsyncSubscription]:
        """Begin: when this returns the server has been reached."""
        return self._begin().__await__()

    async def __aenter__(self) -> AsyncSubscription:
        return await self._begin()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __aiter__(self) -> AsyncSubscription:
        return self

    async def __anext__(self) -> Any:
        if not self._came:
            self._came.extend(await self._feed.read(self.timeout))
        if not self._came:
            raise StopAsyncIteration
        return self._came.popleft()

    @property
    def server(self) -> ServerInfo | None:
        """The store that is followed; None on a server that doesn't say (MeiliES 0.2.0), and before it began."""
        return self._feed.server

    async def read(self, timeout: float | None = None) -> list[Any]:
        """All events that came together, at least one; [] means the end.  As Subscription.read().

        After an error it is closed, but for NothingCame, and for being cancelled.
        """
        if self._came:
            came = list(self._came)
            self._came.clear()
            return came
        return await self._feed.read(timeout)

    async def close(self) -> None:
        """End it: iteration stops, also that of a task that waits in it.  Not an error twice."""
        self._feed.close()
        await _let_go()

    async def _begin(self) -> AsyncSubscription:
        try:
            await self._feed.establish()
        except BaseException:
            self._feed.close()      # nobody has it yet who could
            raise
        return self
