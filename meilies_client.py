"""A client: publish events, ask about streams, follow them through outages.

    Client ------ one connection: publish, append, last-event-number, stream-names, ping
      '- subscribe() -> Subscription ------ one connection each: events

    Client, Subscription    sockets, time-outs, trying again
    ------------------------------------------------------------------ no I/O above bytes
    Following               what was asked for, what came, what to ask next
    Session                 requests -> bytes; bytes -> events and replies
    resp                    values <-> bytes

    with Client() as client:
        client.publish("orders", "created", b"one")
        for event in client.subscribe("orders:0"):
            print(event.number, event.name, event.data)

Session and Following know no socket and no clock, so that another kind of
driver can stand on them.  Neither a Client nor a Subscription may be shared
by threads: give each thread its own.  A Client notices and raises.

It talks to this project's server and to MeiliES 0.2.0, which refuses HELLO
and follow.  There a subscription asks in ranges that end, because MeiliES
sends but one event of a range without end; $all is every stream that
stream-names lists (streams made later are found after an outage), in order
only within each stream; and a store that was exchanged can't be noticed.
What is published there must hold no CR LF: MeiliES cuts data at the first.
"""

from __future__ import annotations

import functools
import json
import itertools
import logging
import os
import re
import socket
import ssl
import threading
import time
import weakref
from collections import deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Callable, NamedTuple, Union
from collections.abc import Iterable, Iterator
from urllib.parse import SplitResult, unquote, urlsplit

import resp

ALL = "$all"
MAX_NUMBER = 2**64 - 1

# Follow and ask requests in flight on a subscription.  More wait their turn, so
# that naming 10,000 streams never fills both directions of the connection.
MAX_UNANSWERED = 100

# One window of a pipeline.  Two are in flight at most: the replies to them, a
# few KiB, fit every socket buffer, so neither side ever waits for the other.
WINDOW_EVENTS = 1000
WINDOW_BYTES = 256 * 1024

RECEIVE_BYTES = 256 * 1024
LONGEST_PAUSE = 100     # times the first one: 10 s after 0.1 s

_log = logging.getLogger("meilies_client")

Data = Union[bytes, bytearray, memoryview, str]
Password = Union[str, Callable[[], str]]


class Event(NamedTuple):
    """One event as the server told it.

    number     its place in its stream, from 0
    position   its place in the whole store, from 0
    time       when it was stored, microseconds since 1970 UTC
    position and time are None, id and metadata empty, where the server didn't
    say (MeiliES 0.2.0).
    """

    stream: str
    number: int
    name: str
    data: bytes
    id: bytes = b""
    metadata: bytes = b""
    position: int | None = None
    time: int | None = None
    tags: tuple[bytes, ...] = ()


class NewEvent(NamedTuple):
    """An event to append.

    expected   what its stream must look like: "any", "none" (it has no event yet),
               "exists", or the number of its last event
    """

    stream: str
    name: str
    data: Data = b""
    expected: int | str = "any"
    id: Data = b""
    metadata: Data = b""
    tags: tuple[Data, ...] = ()


class Tagged(NamedTuple):
    """events   those that match a query, in the order of positions
    head     up to which position was looked; None if the store has no event
    """

    events: list[Event]
    head: int | None


class Appended(NamedTuple):
    """Where an event is: its place in its stream and in the whole store, from 0."""

    number: int
    position: int


@dataclass(frozen=True)
class Checkpoint:
    """Everything before `next` was looked at: whoever follows on from there misses nothing.

    followed   what it is said of: a stream, $all, or a prefix
    next       a number of that stream; else a position
    """

    followed: str
    next: int


@dataclass(frozen=True)
class CaughtUp:
    """The same as Checkpoint, and all that was there has come; what comes now is new."""

    followed: str
    next: int


class Prefix(NamedTuple):
    """Every stream whose name begins with `text`, those made later too."""

    text: str


class StreamInfo(NamedTuple):
    """What is known of a stream.

    first, last            numbers of its first and its last event
    count                  of its events
    bytes                  of them, ids and metadata included; about so many if it is more than 256 KiB
    first_time, last_time  when these were stored, microseconds since 1970 UTC; None if they are gone
    """

    first: int
    last: int
    count: int
    bytes: int
    first_time: int | None
    last_time: int | None


class Given(NamedTuple):
    """An event, given to a member of a consumer group.

    key     what it is acknowledged by: its number, in a group of one stream, else its position
    tries   how often it was given, this time included
    """

    key: int
    tries: int
    event: Event


class Parked(NamedTuple):
    """An event of a consumer group that nobody gets until it is replayed.

    time   microseconds since 1970 UTC when it was parked
    """

    key: int
    stream: str
    number: int
    tries: int
    time: int
    reason: str


class ServerInfo(NamedTuple):
    """What HELLO tells of a server and of the store behind it.

    store   UUID, 32 hexadecimal digits
    epoch   raised when a crash made the store give up numbers, which are used again
    """

    version: str
    store: str | None
    epoch: int | None


class Rule(NamedTuple):
    """What a stream keeps.

    max_count   so many events, the last ones; None: any number
    max_age     seconds; None: for ever
    """

    max_count: int | None = None
    max_age: int | None = None


class Compacted(NamedTuple):
    """segments   how many files of the log were rewritten
    bytes      that are free now
    """

    segments: int
    bytes: int


class Snapshot(NamedTuple):
    """number   of the last event that `data` was made of; reading goes on behind it"""

    number: int
    data: bytes


# -- errors --------------------------------------------------------------------

class ClientError(Exception):
    """What every error of this module is one of."""


class CannotConnect(ClientError):
    """No connection could be opened; nothing was sent."""


class NotTrusted(ClientError):
    """The server's certificate, or its TLS, isn't one that the client accepts; nothing was sent."""


class Disconnected(ClientError):
    """The connection ended, and was not to."""


class TimedOut(ClientError, TimeoutError):
    """Nothing came in time."""


class NothingCame(TimedOut):
    """No event came in the caller's time; the subscription is as good as before."""


class BadReply(ClientError):
    """What came is not RESP, or does not answer what was asked; the connection is closed."""


class Unsupported(ClientError):
    """The server at the other end can't do this."""


class Refused(ClientError):
    """The server answered with an error.

    reply          it, a resp.ErrorReply
    index          which event of a batch it answers, from 0
    acknowledged   how many of the batch were stored; some may be behind `index`
    """

    def __init__(self, reply: resp.ErrorReply, index: int = 0, acknowledged: int = 0) -> None:
        where = f"event {index} of the batch: " if index or acknowledged else ""
        super().__init__(f"the server refused: {where}{reply}")
        self.reply = reply
        self.index = index
        self.acknowledged = acknowledged


class WrongVersion(Refused):
    """A stream wasn't as an append expected it to be; nothing of the append was stored.

    actual   the number of the stream's last event, None if it has none
    """

    def __init__(self, reply: resp.ErrorReply, index: int = 0, acknowledged: int = 0) -> None:
        super().__init__(reply, index, acknowledged)
        found = _FOUND.search(str(reply))
        self.actual = int(found[1]) if found else None


class IdConflict(Refused):
    """An id that a stream has already came with another event; nothing of the append was stored."""


class StreamDeleted(Refused):
    """A stream was deleted for good; nothing was stored."""


class ConditionFailed(Refused):
    """An event matches what an append was conditioned on; nothing was stored."""


class WrongPassword(Refused):
    """There is no such user, or the password isn't theirs, or they may not log in; it isn't tried again."""


class LoginNeeded(Refused):
    """The server wants to know who this is: a user and a password."""


class NotAllowed(Refused):
    """The user may not do this."""


_CODES: dict[str, type[Refused]] = {
    "WRONGVERSION": WrongVersion, "IDCONFLICT": IdConflict, "CONDITION": ConditionFailed, "DELETED": StreamDeleted,
    "WRONGPASS": WrongPassword, "NOAUTH": LoginNeeded, "NOPERM": NotAllowed}
_FOUND = re.compile(r", found event ([0-9]{1,20}); nothing was stored\Z")


class EventsLost(Refused):
    """Damage took the events with keys from `first` on, before `stop`: read on from `stop`, or back from first - 1."""

    def __init__(self, reply: resp.ErrorReply, first: int, stop: int) -> None:
        super().__init__(reply)
        self.first = first
        self.stop = stop


class PublishInterrupted(ClientError):
    """The connection failed before all replies came.  Nothing is sent again.

    acknowledged   events of the batch that are stored
    unknown        events sent, of which nobody can say whether they are stored
    """

    def __init__(self, acknowledged: int, unknown: int, why: object) -> None:
        super().__init__(
            f"{why}; of the events sent, {acknowledged} are stored and the fate of {unknown} is unknown; "
            f"none is sent again, last-event-number tells what the server has")
        self.acknowledged = acknowledged
        self.unknown = unknown


class Refuse(Exception):
    """Raised by what Client.consume calls: the event can't be done now.

    park   don't give it again
    """

    def __init__(self, reason: str = "", park: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.park = park


class StoreChanged(ClientError):
    """Behind the same address is another store, or one that lost events.

    before, after   ServerInfo; `after` is None if the server says nothing of its store
    """

    def __init__(self, before: ServerInfo, after: ServerInfo | None) -> None:
        found = f"store {after.store} epoch {after.epoch}" if after else "a server without HELLO"
        super().__init__(
            f"followed store {before.store} epoch {before.epoch}, found {found} when resuming; "
            f"numbers may mean other events now, so the subscription ends here")
        self.before = before
        self.after = after


class Gap(ClientError):
    """An event is missing between the last one and this one."""

    def __init__(self, stream: str, expected: int, found: int) -> None:
        unit = "position" if stream == ALL else "event"
        super().__init__(f"{stream}: found {unit} {found}, expected {expected}; the subscription ends here")
        self.stream = stream
        self.expected = expected
        self.found = found


# -- what may be asked ---------------------------------------------------------

_DIGITS = re.compile(r"[0-9]+\Z")
_NEVER = re.compile("[\r\n\0]")


def _check_text(what: str, text: str) -> None:
    if not text:
        raise ValueError(f"{what} is empty, expected at least one character")
    if _NEVER.search(text):
        raise ValueError(f"{what} {text!r} holds CR, LF or NUL, which it may not")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{what} {text!r} is not UTF-8 text") from None


def check_stream(stream: str) -> None:
    """Raise ValueError if `stream` can't be the name of a stream, or $all."""
    _check_text("stream", stream)
    if ":" in stream:
        raise ValueError(f"stream {stream!r} holds ':', which a stream's name may not")


def check_event(stream: str, name: str) -> None:
    """Raise ValueError if no event called `name` can be published to `stream`."""
    check_stream(stream)
    if stream == ALL:
        raise ValueError(f"{ALL} is all streams together, nothing can be published to it")
    _check_text("event name", name)


def _number(text: str, whole: str) -> int:
    """The digits of a range as a number; int() alone would take '+1', ' 1' and '1_0'."""
    if not _DIGITS.match(text) or len(text.lstrip("0")) > 20 or int(text) > MAX_NUMBER:
        raise ValueError(f"{whole!r}: found {text[:40]!r}, expected a number from 0 to {MAX_NUMBER}")
    return int(text)


@dataclass(frozen=True)
class Selector:
    """A stream, $all, or a prefix, and the part of it that is wanted.

    stream  its name, or what the names of all begin with that are wanted
    from_   first event, by number; for $all and a prefix by position; None: only new ones
    to      the event to end before; None: go on for ever
    names   only events that are called so; empty: all.  As many as 100
    prefix  `stream` is one
    Raises  ValueError
    """

    stream: str
    from_: int | None = None
    to: int | None = None
    names: tuple[str, ...] = ()
    prefix: bool = False

    def __post_init__(self) -> None:
        check_stream(self.stream)
        if self.prefix and self.stream == ALL:
            raise ValueError(f"{ALL} is all streams together, and no prefix")
        for name in self.names:
            _check_text("event name", name)
        for number in (self.from_, self.to):
            if number is not None and not 0 <= number <= MAX_NUMBER:
                raise ValueError(f"{self.stream}: found {number}, expected a number from 0 to {MAX_NUMBER}")
        if self.from_ is not None and self.to is not None and self.to <= self.from_:
            raise ValueError(f"{self}: nothing is from {self.from_} and before {self.to}")

    @classmethod
    def parse(cls, text: str) -> Selector:
        """Read STREAM, STREAM:FROM or STREAM:FROM:TO."""
        stream, *numbers = text.split(":")
        if len(numbers) > 2:
            raise ValueError(f"{text!r}: expected STREAM, STREAM:FROM or STREAM:FROM:TO")
        return cls(stream, *[_number(number, text) for number in numbers])

    @property
    def words(self) -> tuple[str, ...]:
        """As the server's commands call it."""
        if self.stream == ALL:
            return (ALL,)
        return ("prefix" if self.prefix else "stream", self.stream)

    def __str__(self) -> str:
        parts = [self.stream]
        if self.from_ is not None:
            parts.append(str(self.from_))
            if self.to is not None:
                parts.append(str(self.to))
        return ":".join(parts)


Notice = Union[Checkpoint, CaughtUp]


# -- without I/O: a connection's bytes -------------------------------------------

class Reply(NamedTuple):
    """The answer to one request; `asked` is what was given with it."""

    asked: Any
    value: Any


# A recorded event up to its data, and what stands behind that if it has no id and no metadata.
_RECORDED = re.compile(
    rb"\*9\r\n\+recorded\r\n:([0-9]{1,18})\r\n\+([^\r\n]+)\r\n:([0-9]{1,18})\r\n\+([^\r\n]+)\r\n"
    rb"\$([0-9]{1,8})\r\n")
_CLOCK = re.compile(rb"\r\n\$0\r\n\r\n\$0\r\n\r\n:([0-9]{1,18})\r\n")


class _EventParser(resp.Parser):
    """A parser that takes a run of whole events five times as fast, and leaves the rest to `get`."""

    def take_events(self) -> list[Event]:
        events: list[Event] = []
        if self._stack:
            return events
        buffer, pos = self._buffer, self._pos
        while head := _RECORDED.match(buffer, pos):
            position, stream, number, name, size = head.groups()
            start = head.end()
            end = start + int(size)
            clock = _CLOCK.match(buffer, end)
            if clock is None:
                break
            try:
                event = Event(stream.decode(), int(number), name.decode(), buffer[start:end], b"", b"",
                              int(position), int(clock[1]))
            except UnicodeDecodeError:
                break
            events.append(event)
            pos = clock.end()
        self._pos = pos
        return events


class Session:
    """One connection's conversation: requests in order, each answered once.

    Events may come between the replies.  A time-out or an error in the middle
    leaves the two sides of it apart: the connection is to be closed then.
    """

    def __init__(self) -> None:
        self._parser = _EventParser()
        self._asked: deque[Any] = deque()
        self._outgoing: list[bytes] = []

    @property
    def unanswered(self) -> int:
        return len(self._asked)

    def request(self, asked: Any, *arguments: str | int | bytes) -> None:
        """Ask a command; its Reply will carry `asked`."""
        self.request_encoded(asked, resp.command(*arguments))

    def request_encoded(self, asked: Any, request: bytes) -> None:
        self._outgoing.append(request)
        self._asked.append(asked)

    def data_to_send(self) -> bytes:
        """The bytes of the requests made since the last call."""
        data = b"".join(self._outgoing)
        self._outgoing.clear()
        return data

    def receive_data(self, data: bytes) -> Iterator[Event | Notice | Reply]:
        """What `data` completes, in order.  Raises BadReply, behind all that was good."""
        self._parser.feed(data)
        try:
            while True:
                yield from self._parser.take_events()
                value = self._parser.get()
                if value is resp.INCOMPLETE:
                    return
                yield self._judge(value)
        except resp.ProtocolError as error:
            raise BadReply(str(error)) from error

    def _judge(self, value: Any) -> Event | Notice | Reply:
        if isinstance(value, list) and value and isinstance(value[0], bytes):
            read = _PUSHES.get((value[0], len(value)))
            if read:
                return read(value)
        if self._asked:
            return Reply(self._asked.popleft(), value)
        raise BadReply(f"{value!r:.200} came, but nothing was asked")


def publish_request(stream: str, name: str, data: Data) -> bytes:
    """The request that publishes one event.  Raises ValueError, TypeError for what can't be one."""
    return _publish_head(stream, name) + _bulk("data", data)


def _bulk(what: str, data: Data) -> bytes:
    if isinstance(data, str):
        data = data.encode()
    elif not isinstance(data, (bytes, bytearray, memoryview)):
        raise TypeError(f"{what} is {type(data).__name__}, expected bytes or str")
    return resp.bulk(bytes(data))


@functools.lru_cache(maxsize=1024)
def _publish_head(stream: str, name: str) -> bytes:
    """A publish up to its data: a pipeline repeats few of these."""
    check_event(stream, name)
    return b"*4\r\n$7\r\npublish\r\n" + resp.bulk(stream.encode()) + resp.bulk(name.encode())


def append_request(events: Iterable[NewEvent]) -> bytes:
    """The request that appends events, all or none.  Raises ValueError, TypeError for what can't be one."""
    parts = [_new_event(NewEvent(*event)) for event in events]
    if not parts:
        raise ValueError("an append takes at least one event")
    return b"*%d\r\n$6\r\nappend\r\n%b" % (1 + 6 * len(parts), b"".join(parts))


def _new_event(event: NewEvent) -> bytes:
    """An event as an append has it."""
    expected = event.expected
    if isinstance(expected, int) and not isinstance(expected, bool) and 0 <= expected <= MAX_NUMBER:
        expected = str(expected)
    elif expected not in ("any", "none", "exists"):
        raise ValueError(f"expected is {expected!r:.60}, expected 'any', 'none', 'exists' or a number from 0 "
                         f"to {MAX_NUMBER}")
    return (_stream_and_name(event.stream, event.name) % resp.bulk(expected.encode()) + _bulk("data", event.data)
            + _bulk("id", event.id) + _bulk("metadata", event.metadata))


@functools.lru_cache(maxsize=1024)
def _stream_and_name(stream: str, name: str) -> bytes:
    """Those of an append's event, and %b for what stands between them."""
    check_event(stream, name)
    return b"%b%%b%b" % tuple(resp.bulk(text.encode()).replace(b"%", b"%%") for text in (stream, name))


def _read_event(value: list[Any]) -> Event:
    _, stream, number, name, data = value
    if type(number) is not int or type(data) is not bytes:
        raise BadReply(f"{value!r:.200} came, expected an event")
    return Event(_text(stream), number, _text(name), data)


def _read_recorded(value: list[Any]) -> Event:
    _, position, stream, number, name, data, id_, metadata, clock = value
    integers = type(position) is type(number) is type(clock) is int
    if not integers or not type(data) is type(id_) is type(metadata) is bytes:
        raise BadReply(f"{value!r:.200} came, expected a recorded event")
    return Event(_text(stream), number, _text(name), data, id_, metadata, position, clock)


def _read_notice(kind: Callable[[str, int], Notice], value: list[Any]) -> Notice:
    _, followed, key = value
    if type(key) is not int:
        raise BadReply(f"{value!r:.200} came, expected a place in what is followed")
    return kind(_text(followed), key)


_PUSHES: dict[tuple[Any, int], Callable[[list[Any]], Event | Notice]] = {
    (b"event", 5): _read_event,
    (b"recorded", 9): _read_recorded,
    (b"checkpoint", 3): functools.partial(_read_notice, Checkpoint),
    (b"caught-up", 3): functools.partial(_read_notice, CaughtUp),
}


def _text(value: Any) -> str:
    try:
        return str(value, "utf-8")
    except (TypeError, UnicodeDecodeError):
        raise BadReply(f"{value!r:.200} came, expected a name") from None


def _answer(value: Any) -> Any:
    """`value` unless it is an error.  Raises Refused."""
    if isinstance(value, resp.ErrorReply):
        raise _CODES.get(value.code, Refused)(value)
    return value


def _named_answer(command: str, value: Any) -> list[Any]:
    """What stands behind the command's name in its reply.  Raises Refused, BadReply."""
    _answer(value)
    if not isinstance(value, list) or value[:1] != [command.encode()]:
        raise BadReply(f"{value!r:.200} came, expected an answer to {command}")
    return value[1:]


def _read_appended(value: Any, count: int) -> list[Appended]:
    """Where `count` events are.  Raises Refused, BadReply."""
    if isinstance(value, resp.ErrorReply):
        raise _CODES.get(value.code, Refused)(value)
    if not isinstance(value, list) or len(value) != count:
        raise BadReply(f"{value!r:.200} came, expected the places of {count} events")
    for place in value:
        if not isinstance(place, list) or list(map(type, place)) != [int, int]:
            raise BadReply(f"{value!r:.200} came, expected the places of {count} events")
    return [Appended(*place) for place in value]


def _read_tagged(value: Any) -> tuple[int | None, int | None, list[Event]]:
    """(where to go on, head, events) of a page.  Raises Refused, EventsLost, BadReply."""
    if isinstance(value, list) and len(value) == 3 and isinstance(value[2], list):
        after, head, pairs = value
        if all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
            _, events = _read_page([None, [event for event, _ in pairs]])
            return after, head, [event._replace(tags=tuple(tags)) for event, (_, tags) in zip(events, pairs)]
    _read_page(value)
    raise BadReply(f"{value!r:.200} came, expected a page of tagged events")


def _query(items: Iterable[tuple[Iterable[str], Iterable[Data]]]) -> list[str | int | Data]:
    """What stands for a query in a request."""
    words: list[str | int | Data] = []
    for names, tags in items:
        names, tags = list(names), list(tags)
        words += ["ITEM", len(names), *names, len(tags), *tags]
    return words


def _read_last_number(value: Any) -> int | None:
    answer = _named_answer("last-event-number", value)
    if len(answer) != 2 or not (answer[1] is None or type(answer[1]) is int):
        raise BadReply(f"{value!r:.200} came, expected a stream's last number")
    return answer[1]


def _read_next(value: Any) -> int:
    """The number of the event that the stream will get next."""
    last = _read_last_number(value)
    return 0 if last is None else last + 1


def _read_names(value: Any) -> list[str]:
    return [_text(name) for name in _named_answer("stream-names", value)]


def _read_hello(value: Any) -> ServerInfo:
    """HELLO's fields; RESP2 sends them as a flat array."""
    _answer(value)
    if isinstance(value, list):
        value = {key: field for key, field in zip(value[::2], value[1::2]) if isinstance(key, bytes)}
    if not isinstance(value, dict) or b"server" not in value:
        raise BadReply(f"{value!r:.200} came, expected an answer to HELLO")
    if value[b"server"] != b"meilies":
        raise Unsupported(f"found a server that calls itself {value[b'server']!r:.200}, expected b'meilies'")
    store, epoch = value.get(b"store"), value.get(b"epoch")
    if epoch is not None and type(epoch) is not int:
        raise BadReply(f"{epoch!r:.200} came, expected the number of an epoch")
    return ServerInfo(_text(value.get(b"version", b"")), None if store is None else _text(store), epoch)


def _read_fields(value: Any) -> dict[str, Any]:
    """A map, which RESP2 sends as a flat array.  Raises Refused, BadReply."""
    _answer(value)
    if isinstance(value, list) and len(value) % 2 == 0:
        value = dict(zip(value[::2], value[1::2]))
    if not isinstance(value, dict):
        raise BadReply(f"{value!r:.200} came, expected a map")
    return {_text(key): field for key, field in value.items()}


def _selector_words(selector: str | Prefix) -> list[str]:
    """SELECTOR on the wire.  Raises ValueError."""
    if isinstance(selector, Prefix):
        check_stream(selector.text)
        return ["prefix", selector.text]
    check_stream(selector)
    return [ALL] if selector == ALL else ["stream", selector]


def _read_rules(value: Any) -> list[tuple[str | Prefix, Rule]]:
    rules: list[tuple[str | Prefix, Rule]] = []
    for one in _answer(value):
        try:
            selector, max_count, max_age = one
            kind, _, name = selector.decode().partition(" ")
        except (AttributeError, TypeError, ValueError):
            raise BadReply(f"{one!r:.200} came, expected a rule") from None
        rules.append((Prefix(name) if kind == "prefix" else name or kind, Rule(max_count, max_age)))
    return rules


def _read_number(value: Any) -> int:
    value = _answer(value)
    if not isinstance(value, int):
        raise BadReply(f"{value!r:.200} came, expected a number")
    return value


def _read_compacted(value: Any) -> Compacted:
    value = _answer(value)
    try:
        return Compacted(*value)
    except TypeError:
        raise BadReply(f"{value!r:.200} came, expected two numbers") from None


def _read_snapshot(value: Any) -> Snapshot | None:
    if _answer(value) is None:
        return None
    if not isinstance(value, list) or [type(one) for one in value] != [int, bytes]:
        raise BadReply(f"{value!r:.200} came, expected a snapshot")
    return Snapshot(*value)


def _read_page(value: Any) -> tuple[int | None, list[Event]]:
    """The key to go on with, and events.  Raises EventsLost, Refused, BadReply."""
    if isinstance(value, resp.ErrorReply):
        lost = _LOST.match(str(value))
        if lost:
            raise EventsLost(value, int(lost[1]), int(lost[2]))
    _answer(value)
    if isinstance(value, list) and len(value) == 2 and isinstance(value[1], list):
        following, events = value
        if following is None or type(following) is int:
            return following, [_read_event_of_page(event) for event in events]
    raise BadReply(f"{value!r:.200} came, expected a page of events")


_LOST = re.compile("EVENTSLOST ([0-9]{1,20}) ([0-9]{1,20}) ")


def _read_event_of_page(value: Any) -> Event:
    if not isinstance(value, list) or (value[:1], len(value)) != ([b"recorded"], 9):
        raise BadReply(f"{value!r:.200} came, expected a recorded event")
    return _read_recorded(value)


def _read_stream_info(value: Any) -> StreamInfo | None:
    if value is None:
        return None
    fields = _read_fields(value)
    try:
        return StreamInfo(*[fields[name.replace("_", "-")] for name in StreamInfo._fields])
    except KeyError as missing:
        raise BadReply(f"{value!r:.200} came, expected what is known of a stream, with {missing}") from None


def _read_pair(value: Any) -> list[Any]:
    """An array of two.  Raises Refused, BadReply."""
    _answer(value)
    if not isinstance(value, list) or len(value) != 2:
        raise BadReply(f"{value!r:.200} came, expected an array of two")
    return value


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)


def _selector_words(selector: str | Prefix) -> tuple[str, ...]:
    """How a command names what it is about.  Raises ValueError."""
    if isinstance(selector, Prefix):
        check_stream(selector.text)
        return "prefix", selector.text
    if selector == ALL:
        return (ALL,)
    check_stream(selector)
    return "stream", selector


def _read_given(value: Any) -> list[Given]:
    try:
        return [Given(key, tries, _read_recorded(event)) for key, tries, event in _answer(value)]
    except (TypeError, ValueError):
        raise BadReply(f"{value!r:.200} came, expected events of a group") from None


def _read_parked(value: Any) -> list[Parked]:
    try:
        return [Parked(key, _text(stream), number, tries, clock, _text(reason))
                for key, stream, number, tries, clock, reason in _answer(value)]
    except (TypeError, ValueError):
        raise BadReply(f"{value!r:.200} came, expected parked events") from None


def _read_count(value: Any) -> int:
    if type(_answer(value)) is not int:
        raise BadReply(f"{value!r:.200} came, expected a number")
    return value


def _read_group_info(value: Any) -> dict[str, Any]:
    fields = _read_fields(value)
    fields["members"] = _read_fields(fields.get("members"))
    return {name: _text(field) if isinstance(field, bytes) else field for name, field in fields.items()}


def _read_login(value: Any) -> None:
    """Raises WrongPassword, Refused, Unsupported, BadReply."""
    if _lacks_command(value):
        raise Unsupported(f"the server knows no users, so nobody can log in: {value}")
    if _answer(value) != b"OK":
        raise BadReply(f"{value!r:.200} came, expected an answer to AUTH")


def _lacks_command(reply: Any) -> bool:
    """MeiliES 0.2.0 says `invalid request message; Unknown command name`, and closes; others as Redis does."""
    return isinstance(reply, resp.ErrorReply) and "unknown command" in str(reply).lower()


# -- without I/O: a subscription -------------------------------------------------

class _Place:
    """How far one stream, $all or a prefix was followed."""

    __slots__ = ("selector", "stream", "next", "to", "until")

    def __init__(self, selector: Selector) -> None:
        self.selector = selector
        self.stream = selector.stream
        self.next = selector.from_              # number (position) to come; None: not known yet
        self.to = selector.to
        self.until: int | None = None        # MeiliES: where the replay that was asked for ends

    @property
    def filtered(self) -> bool:
        """Whether events are left out that nobody asked for."""
        return self.selector.prefix or bool(self.selector.names)

    @property
    def counted_by(self) -> str:
        """What `next` is a place in: a stream, or $all."""
        return ALL if self.selector.prefix else self.stream

    @property
    def done(self) -> bool:
        return self.to is not None and self.next is not None and self.next >= self.to

    def accept(self, place: int) -> bool:
        """True if the event at `place` is the next one, False if it was seen.  Raises Gap."""
        if self.next is None or (place > self.next and not self.filtered):
            raise Gap(self.stream, self.next or 0, place)
        if place < self.next:
            return False
        self.next = place + 1
        return True

    def pass_over(self, key: int) -> None:
        """The server has looked at everything before `key`."""
        self.next = key if self.next is None else max(self.next, key)


class Following:
    """A subscription without its socket: it survives connections, and resumes.

    selectors            what to follow; $all stands alone, and so does a prefix
    accept_other_store   go on where resuming would raise StoreChanged
    notices              `events` gets Checkpoints and CaughtUps as well, each where it came

    For each new connection call connect(), send data_to_send(), and give what
    comes to receive_data(), after which there may be more to send.  `events`
    gathers what came and was not seen before.
    """

    def __init__(self, selectors: Iterable[Selector], accept_other_store: bool = False,
                 notices: bool = False) -> None:
        self.events: list[Any] = []
        self.plain = False                      # MeiliES 0.2.0: no HELLO, no follow
        self.reconnect = False                  # this connection is spent, another is needed
        self.server: ServerInfo | None = None
        self._accept_other_store = accept_other_store
        self._notices = notices
        self._places = _places_of(selectors)
        self._whole = next((p for p in self._places.values() if p.counted_by == ALL), None)
        self._begun = False                     # every place of this connection is known
        self._unknown = 0                       # places whose number was asked for
        self._resumed = False
        self._session = Session()
        self._requests: deque[tuple[Any, ...]] = deque()

    @property
    def ready(self) -> bool:
        """True when every place is known: no event from now on can be missed."""
        return self._begun

    @property
    def waiting(self) -> bool:
        """True while the server owes a reply, or events that it has."""
        return self._session.unanswered > 0 or any(p.until is not None for p in self._places.values())

    @property
    def done(self) -> bool:
        """True when all that was asked for, up to every TO, has come."""
        return self._begun and bool(self._places) and all(p.done for p in self._places.values())

    def connect(self) -> None:
        """Begin again on a new connection, after what was seen."""
        self._session = Session()
        self._requests.clear()
        self._begun = self.reconnect = False
        if self.plain:
            self._begin()
        else:
            self._request(self._take_hello, "HELLO", 2)

    def data_to_send(self) -> bytes:
        while self._requests and self._session.unanswered < MAX_UNANSWERED:
            self._session.request(*self._requests.popleft())
        return self._session.data_to_send()

    def receive_data(self, data: bytes) -> None:
        """Take what came.  `events` holds what is good of it even if this

        Raises   BadReply, Refused, StoreChanged, Gap, Unsupported
        """
        for item in self._session.receive_data(data):
            if isinstance(item, Event):
                self._take_event(item)
            elif isinstance(item, Reply):
                item.asked(item.value)
            else:
                self._take_notice(item)

    def _request(self, then: Callable[[Any], None], *arguments: Any) -> None:
        self._requests.append((then, *arguments))

    def _take_hello(self, value: Any) -> None:
        if _lacks_command(value):
            self._check_store(None)
            self.plain = self.reconnect = True
            return
        server = _read_hello(value)
        self._check_store(server)
        self.server = server
        self._begin()

    def _check_store(self, found: ServerInfo | None) -> None:
        known = self.server
        if known is None or self._accept_other_store:
            return
        if found is None or (found.store, found.epoch) != (known.store, known.epoch):
            raise StoreChanged(known, found)

    def _begin(self) -> None:
        if self.plain and any(place.filtered for place in self._places.values()):
            raise Unsupported("this server (MeiliES 0.2.0) can follow neither a prefix nor names of events")
        if not self.plain or not self._whole:
            self._ask_places()
        elif self._whole.next or self._whole.to is not None:
            raise Unsupported("this server (MeiliES 0.2.0) has no positions: "
                              f"{ALL} can be followed there from 0 or for new events only")
        else:
            self._request(functools.partial(self._take_names, self._whole.next), "stream-names")

    def _take_names(self, first: int | None, value: Any) -> None:
        """Follow every stream that there is; one made during an outage, from its start."""
        known = self._places if self._resumed else {}
        first = 0 if self._resumed else first
        self._places = {name: known.get(name) or _Place(Selector(name, first))
                        for name in _read_names(value) if name != ALL}
        self._ask_places()

    def _ask_places(self) -> None:
        """Learn every number that is missing before anything is followed."""
        unknown = [place for place in self._places.values() if place.next is None]
        self._unknown = len(unknown)
        for place in unknown:
            self._request(functools.partial(self._take_place, place), "last-event-number", place.counted_by)
        if not unknown:
            self._follow_places()

    def _take_place(self, place: _Place, value: Any) -> None:
        place.next = _read_next(value)
        self._unknown -= 1
        if not self._unknown:
            self._follow_places()

    def _follow_places(self) -> None:
        self._begun = self._resumed = True
        for place in self._places.values():
            self._follow(place)

    def _follow(self, place: _Place) -> None:
        place.until = None
        if place.done:
            return
        if self.plain:
            self._request(functools.partial(self._subscribe, place), "last-event-number", place.stream)
            return
        to = () if place.to is None else ("TO", place.to)
        names = place.selector.names
        only = ("NAMES", len(names), *names) if names else ()
        self._request(functools.partial(self._take_followed, place), "follow", *place.selector.words, place.next,
                      *to, *only)

    def _take_followed(self, place: _Place, value: Any) -> None:
        if place.selector.names and isinstance(value, resp.ErrorReply) and "syntax error" in str(value):
            raise Unsupported(f"this server can't follow by names of events: {value}")
        self._take_subscribed(value)

    def _subscribe(self, place: _Place, value: Any) -> None:
        """On MeiliES: first what is there, as a range that ends; then what is new."""
        after = _read_next(value)
        if place.next is not None and place.next < after:
            place.until = after if place.to is None else min(after, place.to)
        wanted = Selector(place.stream, place.next, place.until or place.to)
        self._request(self._take_subscribed, "subscribe", str(wanted))

    def _take_subscribed(self, value: Any) -> None:
        _named_answer("subscribed", value)

    def _take_event(self, event: Event) -> None:
        by_position = self._whole is not None and not self.plain
        place = self._whole if by_position else self._places.get(event.stream)
        at = event.position if by_position else event.number
        if place is None or at is None or (place.selector.prefix and not event.stream.startswith(place.stream)):
            raise BadReply(f"event {event.number} of {event.stream!r:.200} came, which was not asked for")
        try:
            if place.accept(at):
                self.events.append(event)
        except Gap:
            if not self.plain or place.until is not None:
                raise
            self.reconnect = True       # MeiliES can lose one between replay and live: replay it
        if place.next == place.until:
            self._follow(place)

    def _take_notice(self, notice: Notice) -> None:
        place = self._places.get(notice.followed)
        if place is None:
            raise BadReply(f"{notice} came, which was not asked for")
        place.pass_over(notice.next)
        if self._notices:
            self.events.append(notice)


def _places_of(selectors: Iterable[Selector]) -> dict[str, _Place]:
    selectors = list(selectors)
    if not selectors:
        raise ValueError("no stream to follow, expected at least one")
    places = {s.stream: _Place(s) for s in selectors}
    if len(places) < len(selectors):
        raise ValueError("a stream is named twice in one subscription, expected once")
    if ALL in places and len(places) > 1:
        raise ValueError(f"{ALL} holds every stream; no other can be followed beside it in one subscription")
    if len(places) > 1 and any(s.prefix for s in selectors):
        raise ValueError("a prefix may hold any stream; no other can be followed beside it in one subscription")
    return places


# -- sockets -----------------------------------------------------------------------

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

    @property
    def login(self) -> tuple[str, ...]:
        """The request that says who this is; () if nobody logs in.  Raises TypeError, and what the callable does."""
        if self.password is None:
            return ()
        password = self.password() if callable(self.password) else self.password
        if not isinstance(password, str):
            raise TypeError(f"password is {type(password).__name__}, expected str, or a callable that returns one")
        return ("AUTH", self.user, password) if self.user else ("AUTH", password)


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
        raise ValueError(f"{ca_file}: found no certificates in it ({_reason(error)}), expected PEM") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if cert_file is not None:
        try:
            context.load_cert_chain(cert_file, key_file)
        except ssl.SSLError as error:
            raise ValueError(
                f"{cert_file}: found no certificate with its key ({_reason(error)}), expected PEM") from error
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
        raise ValueError(f"{path}: cannot be read: {_reason(error)}") from error


def parse_url(url: str) -> dict[str, Any]:
    """What `url` says, as arguments of Client: host and port, or unix; tls; user and password.

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


class _Connection:
    """A socket that speaks of its failures in this module's errors.

    Raises   CannotConnect, NotTrusted, WrongPassword, Refused
    """

    def __init__(self, address: Address, timeout: float | None) -> None:
        self.session = Session()
        self._address = address
        self.timeout = timeout
        try:
            self._socket = self._open()
        except OSError as error:
            if isinstance(error, ssl.SSLError) and not isinstance(error, socket.timeout):
                raise NotTrusted(f"cannot speak TLS with {address}: {_reason(error)}") from error
            raise CannotConnect(f"cannot connect to {address}: {_reason(error)}") from error
        try:
            self._log_in()
        except BaseException:
            self.close()
            raise

    def _open(self) -> socket.socket:
        address = self._address
        if address.unix is not None:
            plain = socket.socket(socket.AF_UNIX)
            try:
                plain.settimeout(self.timeout)
                plain.connect(address.unix)
            except BaseException:
                plain.close()
                raise
            return plain
        plain = socket.create_connection((address.host, address.port), self.timeout)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _notice_a_dead_peer(plain)
        if address.tls is None:
            return plain
        try:
            return address.tls.wrap_socket(plain, server_hostname=address.host)
        except BaseException:
            plain.close()
            raise

    def _log_in(self) -> None:
        login = self._address.login
        if not login:
            return
        self.session.request(None, *login)
        try:
            self.send(self.session.data_to_send())
            while self.session.unanswered:
                for reply in self.receive_replies(self.timeout):
                    _read_login(reply.value)
        except (Disconnected, TimedOut) as error:
            raise CannotConnect(f"{error}, while logging in") from error

    @property
    def stale(self) -> bool:
        """True if the peer closed it, or spoke unasked, while nothing was going on."""
        self._socket.settimeout(0)
        try:
            self._socket.recv(1)        # what it takes away is of a connection that is given up
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError:
            pass
        return True

    def send(self, data: bytes) -> None:
        """Send all of it; only standing still for `timeout` is too long."""
        view = memoryview(data)
        self._socket.settimeout(self.timeout)
        while view:
            try:
                view = view[self._socket.send(view):]
            except OSError as error:
                raise self._failure(error) from error

    def receive(self, timeout: float | None) -> bytes:
        """Bytes, at least one, within `timeout` seconds.  Raises Disconnected, TimedOut."""
        self._socket.settimeout(timeout)
        try:
            data = self._socket.recv(RECEIVE_BYTES)
        except OSError as error:
            raise self._failure(error) from error
        if not data:
            raise Disconnected(f"{self._address} closed the connection")
        return data

    @contextmanager
    def without_timeout(self) -> Iterator[None]:
        timeout, self.timeout = self.timeout, None
        try:
            yield
        finally:
            self.timeout = timeout

    def receive_replies(self, timeout: float | None) -> Iterator[Reply]:
        """The replies that came with the next bytes, maybe none of them whole."""
        for item in self.session.receive_data(self.receive(timeout)):
            if not isinstance(item, Reply):
                raise BadReply(f"{item!r:.200} came, but nothing is followed here")
            yield item

    def close(self) -> None:
        self._socket.close()

    def shut_down(self) -> None:
        """End it under the hands of another thread: only that one may close it, or its number might be another's."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _failure(self, error: OSError) -> ClientError:
        if isinstance(error, socket.timeout) and error.errno is None:   # not the system's ETIMEDOUT
            return TimedOut(f"{self._address} did nothing for {self._socket.gettimeout():g} s")
        return Disconnected(f"connection to {self._address} lost: {_reason(error)}")


def _notice_a_dead_peer(plain: socket.socket) -> None:
    """A follower sends nothing, so only the system's probes can find the peer gone."""
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            plain.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    return error.strerror or str(error)


class _Batch:
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

    def requests(self, appends: Iterable[Iterable[NewEvent]]) -> Iterator[bytes]:
        for append in appends:
            events = [NewEvent(*event) for event in append]
            request = append_request(events)
            self._owed.append((request, len(events), any(event.id for event in events)))
            yield request

    def take(self, reply: Reply) -> None:
        _, count, _ = self._owed[0]
        try:
            places = _read_appended(reply.value, count)
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

    def again(self) -> list[bytes]:
        """The requests to send again."""
        self.sent = self.answered
        return [request for request, _, _ in self._owed]

    def interrupted(self, error: ClientError) -> PublishInterrupted:
        return PublishInterrupted(self.acknowledged, sum(count for _, count, _ in self._sent()), error)

    def _sent(self) -> Iterator[tuple[bytes, int, bool]]:
        return itertools.islice(self._owed, self.sent - self.answered)


def _windows(requests: Iterable[bytes]) -> Iterator[list[bytes]]:
    """`requests`, in lists of at most WINDOW_EVENTS, or WINDOW_BYTES and one request."""
    window: list[bytes] = []
    size = 0
    for request in requests:
        window.append(request)
        size += len(request)
        if len(window) >= WINDOW_EVENTS or size >= WINDOW_BYTES:
            yield window
            window, size = [], 0
    if window:
        yield window


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
        self._connection: _Connection | None = None
        self._closed = False
        self._subscriptions: weakref.WeakSet[Subscription] = weakref.WeakSet()
        # Held by the one caller that uses the connection.  Never waited for: a
        # second caller is told that it may not.
        self._use = threading.Lock()

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
        self._closed = True
        if self._use.acquire(blocking=False):
            try:
                self._disconnect()
            finally:
                self._use.release()
        else:
            connection = self._connection
            if connection:
                connection.shut_down()      # who uses it finds it ended, and closes it
        for subscription in list(self._subscriptions):
            subscription.close()

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
        if id:
            self.append(stream, name, data, id=id)
        else:
            self.publish_batch([(stream, name, data)])

    def publish_many(self, stream: str, events: Iterable[tuple[str, Data]]) -> int:
        """Store events (name, data) of one stream, in order.  Like publish_batch."""
        return self.publish_batch((stream, name, data) for name, data in events)

    def publish_batch(self, events: Iterable[tuple[str, str, Data]]) -> int:
        """Store events (stream, name, data) in order, without waiting for each; return how many.

        events   taken as they are sent, in windows: memory is bounded, and so
                 are the replies in flight.  Whatever it raises passes through,
                 and what was sent before may or may not be stored
        Raises   as publish(); Refused and PublishInterrupted say how many of
                 the batch are stored.  After a refusal no more is sent, but
                 up to two windows behind it are under way and may be stored
        """
        if self.ids:
            return self._publish_with_ids(events)
        batch = _Batch()
        try:
            with self._in_use():
                self._send_windows(batch, (publish_request(*event) for event in events))
        except (Disconnected, TimedOut, BadReply) as error:
            if not batch.refused or batch.answered < batch.sent:
                raise batch.interrupted(error) from error
        if batch.refused:
            index, reply = batch.refused
            raise Refused(reply, index, batch.acknowledged)
        return batch.acknowledged

    def _publish_with_ids(self, events: Iterable[tuple[str, str, Data]]) -> int:
        """publish_batch() as appends; one that is refused doesn't stop those behind it."""
        results = self.append_batch([NewEvent(stream, name, data, id=os.urandom(16).hex())]
                                    for stream, name, data in events)
        refused = [(index, result) for index, result in enumerate(results) if isinstance(result, Refused)]
        for index, first in refused:
            raise Refused(first.reply, index, len(results) - len(refused))
        return len(results)

    def _send_windows(self, batch: _Batch | _Appends, requests: Iterable[bytes]) -> None:
        connection = None
        for window in _windows(requests):
            connection = connection or self._connected()    # nothing was sent yet: safe to repeat
            for index, request in enumerate(window, batch.sent):
                connection.session.request_encoded(index, request)
            batch.sent += len(window)
            try:
                connection.send(connection.session.data_to_send())
            except Disconnected:
                with suppress(ClientError):     # what it said before it closed, such as why
                    _collect(connection, batch, leave=0)
                raise
            _collect(connection, batch, leave=len(window))
            if batch.refused:
                break
        if connection:
            _collect(connection, batch, leave=0)

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
        return self.append_all([NewEvent(stream, name, data, expected, id, metadata)])[0]

    def append_all(self, events: Iterable[NewEvent]) -> list[Appended]:
        """Store NewEvents, of one stream or several, all or none; where each is.

        What each expects is compared as if they were appended one after the other.  If any of them has
        an id, all are sent again after an outage.
        Raises   as append()
        """
        result = self.append_batch([events])[0]
        if isinstance(result, Refused):
            raise result
        return result

    def append_batch(self, appends: Iterable[Iterable[NewEvent]]) -> list[list[Appended] | Refused]:
        """Do several append_all() in order, without waiting for each; the result or the Refused of each.

        appends   taken as they are sent, in windows.  Each is kept or refused by itself
        Raises    ValueError, CannotConnect, PublishInterrupted as append()
        """
        batch = _Appends()
        requests: Iterator[bytes] = batch.requests(appends)
        backoff = _Backoff(self.tries, self.delay)
        answered = 0
        interruption = None
        with self._in_use():
            while True:
                try:
                    self._send_windows(batch, requests)
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
                    self._disconnect()
                    time.sleep(backoff.next_pause(error))
                    requests = itertools.chain(batch.again(), requests)
                except CannotConnect as error:
                    if interruption is None:
                        raise
                    raise interruption from error

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
        request: list[str | int | Data] = ["dcb-append"]
        events = [NewEvent(*event) for event in events]
        if not events:
            raise ValueError("an append takes at least one event")
        request.append(len(events))
        for event in events:
            check_event(event.stream, event.name)
            request += [event.stream, event.name, event.data, event.id, event.metadata, len(event.tags), *event.tags]
        if unless is not None:
            request += ["UNLESS", "-" if after is None else after, *_query(unless)]
        try:
            with self._in_use():
                value = self._exchange([tuple(request)])[0]
        except (Disconnected, TimedOut) as error:
            raise PublishInterrupted(0, len(events), error) from error
        return self._read(lambda answer: _read_appended(answer, len(events)), value)

    def dcb_read(self, query: Iterable[tuple[Iterable[str], Iterable[Data]]] = (), *, after: int | None = None,
                 limit: int | None = None) -> Tagged:
        """The events that match a query, as in dcb_append(), in the order of positions; () matches all.

        after    begin behind this position; None: with the first event
        limit    of events; None: all of them
        Raises   EventsLost, ValueError, CannotConnect, Disconnected, TimedOut, Refused
        """
        if limit is not None and limit < 1:
            raise ValueError(f"limit is {limit}, expected 1 or more")
        words = _query(query)
        events: list[Event] = []
        more = True
        while more:
            count = 1000 if limit is None else min(1000, limit - len(events))
            value = self._ask([("dcb-read", "-" if after is None else after, count, *words)])[0]
            after, head, some = self._read(_read_tagged, value)
            events += some
            more = after is not None and (limit is None or len(events) < limit)
        return Tagged(events, head)

    # -- ask

    def last_event_number(self, stream: str) -> int | None:
        """The number of the stream's last event, None if it has none; of $all, the last position.

        Raises   ValueError, CannotConnect, Disconnected, TimedOut, Refused
        """
        return self.last_event_numbers([stream])[0]

    def last_event_numbers(self, streams: Iterable[str]) -> list[int | None]:
        """last_event_number of each of `streams`, asked without waiting for each."""
        streams = list(streams)
        for stream in streams:
            check_stream(stream)
        values: list[Any] = []
        for start in range(0, len(streams), MAX_UNANSWERED):
            values += self._ask([("last-event-number", s) for s in streams[start:start + MAX_UNANSWERED]])
        return [self._read(_read_last_number, value) for value in values]

    def stream_names(self) -> list[str]:
        """The names of all streams that have events.

        Source   MeiliES 0.2.0 lists streams that were only asked for, too, and in no order.
        """
        return self._read(_read_names, self._ask([("stream-names",)])[0])

    def back_up(self, name: str) -> dict[str, int]:
        """Have the server copy its store to the folder `name` in its --backup-path; what it copied.

        It takes as long as copying the store does; `timeout` isn't looked at.
        Raises   Refused, Unsupported, CannotConnect, Disconnected
        """
        return self._read(_read_fields, self._ask_patiently("backup", name))

    def check(self) -> dict[str, Any]:
        """Have the server read its whole log: events, streams, lost, and lists of problems and notes.

        It takes as long as reading the store does; `timeout` isn't looked at.
        """
        fields = self._read(_read_fields, self._ask_patiently("check"))
        for key in "problems", "notes":
            fields[key] = [_text(text) for text in fields[key]]
        return fields

    def retain(self, selector: str | Prefix, max_count: int | None = None, max_age: int | None = None) -> None:
        """Have streams keep their last `max_count` events, or those of the last `max_age` seconds; neither: all from
        now on.

        selector   "orders", "$all" or Prefix("order-"); of rules that fit, a stream's own counts, else the longest's
        """
        words: list[str | int] = ["retain", *_selector_words(selector)]
        for what, value in (("MAX-COUNT", max_count), ("MAX-AGE", max_age)):
            if value is not None:
                words += [what, value]
        self._read(_answer, self._ask([tuple(words)])[0])

    def retention(self) -> list[tuple[str | Prefix, Rule]]:
        """The rules that `retain` made: [(selector, Rule)]."""
        return self._read(_read_rules, self._ask([("retention",)])[0])

    def truncate(self, stream: str, number: int) -> int:
        """Cut the events of `stream` below `number`; the number that it begins with now."""
        check_stream(stream)
        return self._read(_read_number, self._ask([("truncate", stream, number)])[0])

    def delete(self, stream: str, forever: bool = False) -> None:
        """Cut all events of `stream`.  It goes on with its next number, or `forever` takes nothing any more."""
        check_stream(stream)
        self._read(_answer, self._ask([("delete", stream, *(["FOREVER"] if forever else []))])[0])

    def redact(self, stream: str, number: int) -> None:
        """Take the data and metadata of one event; what is left has no data, and says so in its metadata."""
        check_stream(stream)
        self._read(_answer, self._ask([("redact", stream, number)])[0])

    def compact(self) -> Compacted:
        """Take from the server's disk what was cut or redacted; this may take its time: see `timeout`."""
        return self._read(_read_compacted, self._ask([("compact",)])[0])

    def snapshot_put(self, stream: str, number: int, data: bytes | str) -> None:
        """Keep `data` as what the events of `stream` up to `number` come to, in place of the snapshot before."""
        check_stream(stream)
        self._read(_answer, self._ask([("snapshot-put", stream, number, data)])[0])

    def snapshot_get(self, stream: str) -> Snapshot | None:
        """The snapshot of `stream` that was put last."""
        check_stream(stream)
        return self._read(_read_snapshot, self._ask([("snapshot-get", stream)])[0])

    def snapshot_delete(self, stream: str) -> None:
        check_stream(stream)
        self._read(_answer, self._ask([("snapshot-delete", stream)])[0])

    def export(self) -> Iterator[bytes]:
        """The server's store as lines of JSON, without line ends: an iterator; see docs/backup.md.

        What is published after it was begun isn't among them.
        Raises   Unsupported, CannotConnect, Disconnected, TimedOut, Refused
        """
        head = self._read(_answer, self._ask_known("export"))
        yield head.rstrip()
        stop = json.loads(head)["position"]
        events = entries = 0
        following: Any = 0
        while following is not None and following < stop:
            following, lines = self._read(_read_pair, self._ask_known("export", following, stop))
            events += sum(line.startswith(b'{"stream"') for line in lines)
            yield from map(bytes.rstrip, lines)
        following = b""
        while following is not None:
            following, lines = self._read(_read_pair, self._ask_known("export", "ENTRIES", following))
            entries += len(lines)
            yield from map(bytes.rstrip, lines)
        yield json.dumps({"end": True, "events": events, "entries": entries}).encode()

    def import_(self, lines: Iterable[bytes]) -> tuple[int, int]:
        """Append what `lines`, an export's, have: how many events were appended, and how many were there already.

        Interrupted, it may be called again with the same lines.
        Raises   ValueError   the first line isn't an export's, or the last one is missing: the file was cut off
                 Refused      a line isn't what an export has, or a number is taken by another event
        """
        done = [0, 0]
        window: list[bytes] = []
        size = number = 0
        ended = False
        for number, line in enumerate(lines, 1):
            if number == 1:
                if not line.startswith(b'{"meilies-export": 1,'):
                    raise ValueError(f"line 1: found {line[:60]!r}, expected that of an export")
                continue
            if line.startswith(b'{"end"'):
                ended = True
                break
            window.append(line)
            size += len(line)
            if len(window) >= WINDOW_EVENTS or size >= WINDOW_BYTES:
                self._import_some(window, done)
                window, size = [], 0
        if window:
            self._import_some(window, done)
        if not ended:
            raise ValueError(f"line {number}: the line that ends an export is missing: the file was cut off")
        return done[0], done[1]

    def _import_some(self, lines: list[bytes], done: list[int]) -> None:
        appended, there = self._read(_read_pair, self._ask_known("import", *lines))
        done[0] += appended
        done[1] += there

    def _ask_known(self, *request: str | int | bytes) -> Any:
        """The value that answers a request which may be sent again, and which old servers don't know."""
        value = self._ask([request])[0]
        if _lacks_command(value):
            raise Unsupported(f"the server has no {request[0]!r}: {value}")
        return value

    def chain_head(self) -> tuple[int, str]:
        """How far the chain of digests is and its head, 64 hexadecimal digits: to be noted somewhere else.

        Raises   Refused   the server keeps no chain (--hash-chain)
        """
        position, head = self._read(_read_pair, self._ask_patiently("chain-head"))
        return position, _text(head)

    def verify(self, known: tuple[int, str] | None = None) -> dict[str, Any]:
        """Have the server compare every event with its chain of digests: position, head, same, gone.

        known    what chain_head() said at some time
        Raises   Refused   BROKEN: an event, the chain or the head that was noted isn't what it was
        """
        fields = self._read(_read_fields, self._ask_patiently("verify", *(known or ())))
        return {**fields, "head": _text(fields["head"])}

    # -- consumer groups

    def group_create(self, group: str, selector: str | Prefix, from_: int | None = None, *, tries: int | None = None,
                     wait: float | None = None, pause: float | None = None) -> None:
        """Make a consumer group, or find it made so already.

        selector   "orders", "$all" or Prefix("order-")
        from_      the number, or position, to begin with; None: with what is new
        tries      how often an event is given before it is parked (10)
        wait       seconds that a member has to acknowledge one (30)
        pause      seconds before the second try, doubled before each further one (1)
        Raises     Refused, Disconnected, TimedOut, CannotConnect; as do all of these
        """
        options: list[str | int] = []
        for name, value in ("TRIES", tries), ("WAIT", _milliseconds(wait)), ("PAUSE", _milliseconds(pause)):
            if value is not None:
                options += [name, value]
        begin = "-" if from_ is None else from_
        self._ask_about(_answer, "group-create", group, *_selector_words(selector), begin, *options)

    def group_delete(self, group: str) -> None:
        """Forget a group, how far it is and what it parked."""
        self._ask_about(_answer, "group-delete", group)

    def groups(self) -> list[str]:
        """The names of all groups, sorted."""
        return [_text(name) for name in self._ask_about(_answer, "groups")]

    def group_read(self, group: str, member: str, count: int = 1, *, block: float | None = 0) -> list[Given]:
        """Up to `count` events for a member, to be acknowledged; [] if there is none.

        block   seconds to wait for one; None: for ever
        """
        deadline = None if block is None else time.monotonic() + block
        step = 5.0 if self.timeout is None else self.timeout / 2
        while True:
            left = step if deadline is None else min(step, deadline - time.monotonic())
            options = ("BLOCK", max(1, int(left * 1000))) if left > 0 else ()
            given = self._ask_about(_read_given, "group-read", group, member, count, *options)
            if given or deadline is not None and time.monotonic() >= deadline:
                return given

    def group_ack(self, group: str, *keys: int) -> int:
        """These events are done; how many of them a member held."""
        return self._ask_about(_read_count, "group-ack", group, *keys)

    def group_refuse(self, group: str, key: int, reason: str = "", *, park: bool = False) -> str | None:
        """An event can't be done now: it is given again after a pause, or parked, now or after the last try.

        Returns "later" or "parked", whichever it will be; None if no member held it.
        """
        word = "PARK" if park else "LATER"
        fate = self._ask_about(_answer, "group-refuse", group, key, word, reason)
        return None if fate is None else _text(fate)

    def group_leave(self, group: str, member: str) -> int:
        """A member is gone: others get what it held.  How many events that were."""
        return self._ask_about(_read_count, "group-leave", group, member)

    def group_parked(self, group: str, first: int = 0, count: int = 1000) -> list[Parked]:
        """The first `count` parked events with keys from `first` on."""
        return self._ask_about(_read_parked, "group-parked", group, first, count)

    def group_replay(self, group: str, *keys: int) -> int:
        """Give parked events again, all of them if no key is named; how many."""
        return self._ask_about(_read_count, "group-replay", group, *keys)

    def group_discard(self, group: str, *keys: int) -> int:
        """Forget parked events; how many."""
        return self._ask_about(_read_count, "group-discard", group, *keys)

    def group_info(self, group: str) -> dict[str, Any]:
        """How a group stands; docs/groups.md says what each of it is."""
        return self._ask_about(_read_group_info, "group-info", group)

    def consume(self, group: str, member: str, handle: Callable[[Event], object], *, count: int = 10,
                block: float | None = None) -> int:
        """Call `handle` with each event that a member is given; return how many are acknowledged or parked.

        handle  when it returns, the event is acknowledged; when it raises Refuse, it is refused.
                By any other error this ends, and others are given what the member held
        count   how many it holds at most
        block   seconds to wait for an event before this ends; None: it doesn't
        """
        done = 0
        try:
            while True:
                given = self.group_read(group, member, count, block=block)
                given_back: set[str] = set()
                for one in given:
                    if one.event.stream in given_back:      # it comes again, behind the one that was refused
                        continue
                    if self._handle(group, one, handle):
                        done += 1
                    else:
                        given_back.add(one.event.stream)
                if not given:
                    return done
        finally:
            with suppress(ClientError):
                self.group_leave(group, member)

    def _handle(self, group: str, given: Given, handle: Callable[[Event], object]) -> bool:
        """False if the event is given again: those of its stream behind it aren't held any more."""
        try:
            handle(given.event)
        except Refuse as refusal:
            return self.group_refuse(group, given.key, refusal.reason, park=refusal.park) == "parked"
        return bool(self.group_ack(group, given.key))

    def _ask_about(self, read: Callable[[Any], Any], *request: str | int | bytes) -> Any:
        return self._read(read, self._ask([request])[0])

    # -- the server

    def call(self, *request: str | int | bytes) -> Any:
        """The reply to any command: bytes, int, list, dict or None.  It isn't sent again.

        For those that this class has no method for; not for those that make events come.
        Raises   CannotConnect, Disconnected, TimedOut, Refused
        """
        with self._in_use():
            value = self._exchange([request])[0]
        return _answer(value)

    def monitor(self) -> Iterator[str]:
        """A line for each request that the server gets, from now on, on a connection of its own: an iterator.

        Raises   CannotConnect, Disconnected, Refused
        """
        connection = _Connection(self.address, self.timeout)
        try:
            connection.session.request("began", "MONITOR")
            connection.send(connection.session.data_to_send())
            timeout = self.timeout
            while True:
                for reply in connection.receive_replies(timeout):
                    line = str(_answer(reply.value), "utf-8", "backslashreplace")
                    timeout = None
                    connection.session.request_encoded("line", b"")     # each line answers what nobody has to send
                    if reply.asked == "line":
                        yield line
        finally:
            connection.close()

    def ping(self) -> float:
        """Seconds that a request and its reply take.  Refused by MeiliES 0.2.0."""
        start = time.monotonic()
        self._read(_answer, self._ask([("PING",)])[0])
        return time.monotonic() - start

    def server_info(self) -> ServerInfo | None:
        """Which server and store this is; None for one that doesn't say (MeiliES 0.2.0)."""
        value = self._ask([("HELLO", 2)])[0]
        if _lacks_command(value):
            self._disconnect()          # MeiliES closes it; not to race against that
            return None
        return self._read(_read_hello, value)

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
        return self._read_pages("read", selector, from_, since, names, page)

    def read_back(self, selector: str | Prefix = ALL, from_: int | None = None, *, since: int | None = None,
                  names: Iterable[str] = (), page: int = 1000) -> Iterator[Event]:
        """`read`, but the newest first: from the last one, or from event `from_` and those before it.

        Raises     EventsLost   read on from its first - 1
        """
        return self._read_pages("read-back", selector, from_, since, names, page)

    def read_last(self, selector: str | Prefix = ALL) -> Event | None:
        """The last event of a stream, of all or of a prefix; None if there is none."""
        return next(self.read_back(selector, page=1), None)

    def stream_info(self, stream: str) -> StreamInfo | None:
        """What is known of a stream; None if it has no event."""
        check_stream(stream)
        return self._read(_read_stream_info, self._ask([("stream-info", stream)])[0])

    def _read_pages(self, command: str, selector: str | Prefix, from_: int | None, since: int | None,
                    names: Iterable[str], page: int) -> Iterator[Event]:
        """Check what is asked for at once, and ask when the first event is wanted."""
        if from_ is not None and since is not None:
            raise ValueError("from_ and since are both given, expected one of them")
        for number in (from_, since):
            if number is not None and not 0 <= number <= MAX_NUMBER:
                raise ValueError(f"found {number}, expected a number from 0 to {MAX_NUMBER}")
        if page < 1:
            raise ValueError(f"a page of {page} events, expected 1 or more")
        wanted: tuple[str | int | bytes, ...]
        if isinstance(selector, Prefix):
            check_stream(selector.text)
            wanted = "prefix", selector.text
        else:
            check_stream(selector)
            wanted = (ALL,) if selector == ALL else ("stream", selector)
        called = tuple(names)
        for name in called:
            _check_text("event name", name)
        options = ("NAMES", len(called), *called) if called else ()
        begin = "-" if from_ is None else from_
        return self._pages((command, *wanted), begin if since is None else f"@{since}", (page, *options))

    def _pages(self, asked: tuple[str | int | bytes, ...], following: str | int | None,
               options: tuple[str | int | bytes, ...]) -> Iterator[Event]:
        while following is not None:
            value = self._ask([(*asked, following, *options)])[0]
            following, events = self._read(_read_page, value)
            yield from events

    def _ask(self, requests: list[tuple[str | int | bytes, ...]]) -> list[Any]:
        """The values that answer `requests`, which change nothing and may be sent again."""
        backoff = _Backoff(self.tries, self.delay)
        while True:
            try:
                with self._in_use():
                    return self._exchange(requests)
            except Disconnected as error:
                time.sleep(backoff.next_pause(error))

    def _ask_patiently(self, *request: str | int) -> Any:
        """The value that answers a request which may take any time; only a dead peer ends the wait."""
        with self._in_use():
            connection = self._connected()
            with connection.without_timeout():
                value = self._exchange([request])[0]
        if _lacks_command(value):
            raise Unsupported(f"the server has no {request[0]}: {value}")
        return value

    def _exchange(self, requests: list[tuple[str | int | bytes, ...]]) -> list[Any]:
        connection = self._connected()
        for request in requests:
            connection.session.request(None, *request)
        connection.send(connection.session.data_to_send())
        values: list[Any] = []
        while connection.session.unanswered:
            values += [reply.value for reply in connection.receive_replies(connection.timeout)]
        return values

    def _read(self, read: Callable[[Any], Any], value: Any) -> Any:
        """read(value), with the connection closed if it is not the answer that was expected."""
        try:
            return read(value)
        except BadReply:
            self._disconnect()
            raise

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
        wanted = [s if isinstance(s, Selector) else Selector.parse(s) for s in selectors]
        return self._establish(Following(wanted, accept_other_store), timeout, tries)

    def follow(self, selector: str | Prefix, from_: int | None = None, *, to: int | None = None,
               names: Iterable[str] = (), timeout: float | None = None, tries: int | None = None,
               accept_other_store: bool = False) -> Subscription:
        """Follow a stream, $all or a prefix, and hear how far it is: an iterator over events and notices.

        selector    "orders", "$all" or Prefix("order-"), which is every stream whose name begins so
        from_, to   numbers of a stream, positions otherwise; None: from new events on, without an end
        names       only events that are called so; none: all.  As many as 100
        The rest    as in subscribe()

        It gives Events; a Checkpoint now and then while events are passed over (each 10,000, and at `to`), to
        go on from with from_=checkpoint.next; and a CaughtUp when all has come that was there, again after each
        time that this client fell behind or lost the server.

        Raises      as subscribe(); Unsupported where the server can't filter.  Of MeiliES 0.2.0, and of this
                    project's servers up to 0.4.0, no notice comes
        """
        prefix = isinstance(selector, Prefix)
        wanted = Selector(selector.text if isinstance(selector, Prefix) else selector, from_, to, tuple(names), prefix)
        return self._establish(Following([wanted], accept_other_store, notices=True), timeout, tries)

    def _establish(self, following: Following, timeout: float | None, tries: int | None) -> Subscription:
        subscription = Subscription(self, following, timeout)
        self._subscriptions.add(subscription)
        subscription._establish(self.tries if tries is None else tries)
        return subscription

    # -- the connection

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        """Let one caller alone use the connection, and close it if that goes wrong."""
        if not self._use.acquire(blocking=False):
            raise RuntimeError("this Client is in use; give each thread a Client of its own")
        try:
            yield
        except BaseException:
            self._disconnect()
            raise
        finally:
            self._use.release()

    def _connected(self) -> _Connection:
        """The open connection, or a new one, tried for again and again."""
        if self._connection and self._connection.stale:
            self._disconnect()
        backoff = _Backoff(self.tries, self.delay)
        while self._connection is None:
            if self._closed:
                raise ClientError("this Client is closed")
            try:
                self._connection = _Connection(self.address, self.timeout)
            except CannotConnect as error:
                time.sleep(backoff.next_pause(error))
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection:
            connection.close()


def _collect(connection: _Connection, batch: _Batch | _Appends, leave: int) -> None:
    """Take replies to what was published until no more than `leave` are owed."""
    while connection.session.unanswered > leave:
        for reply in connection.receive_replies(connection.timeout):
            batch.take(reply)


class Subscription:
    """Events as they come: iterate over it, or read() what came together.

    It ends by itself when every selector has a TO and all up to there came.
    After an outage it resumes behind the last event seen.  Made by
    Client.subscribe(); a context manager.
    """

    def __init__(self, client: Client, following: Following, timeout: float | None) -> None:
        self.timeout = timeout
        self._client = client
        self._following = following
        self._connection: _Connection | None = None
        self._backoff = _Backoff(client.tries, client.delay)
        self._retry_at = 0.0
        self._heard_at = 0.0            # when the server last said something
        self._came: deque[Event] = deque()
        self._error: ClientError | None = None
        self._closed = False

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Subscription:
        return self

    def __next__(self) -> Event:
        if not self._came:
            self._came.extend(self.read(self.timeout))
        if not self._came:
            raise StopIteration
        return self._came.popleft()

    @property
    def server(self) -> ServerInfo | None:
        """The store that is followed; None on a server that doesn't say (MeiliES 0.2.0)."""
        return self._following.server

    def read(self, timeout: float | None = None) -> list[Event]:
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
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._following.events and not self._ended():
            self._step(deadline)
        came, self._following.events = self._following.events, []
        return came

    def close(self) -> None:
        """End it: iteration stops.  Not an error twice."""
        self._closed = True
        self._disconnect()

    def _establish(self, tries: int) -> None:
        """Reach the server with the client's tries; from then on, with the subscription's."""
        while not self._following.ready and not self._ended():
            self._step(None)
        self._backoff.tries = tries

    def _ended(self) -> bool:
        """True at the end.  Raises the error that ended it."""
        if self._error:
            raise self._error
        if self._following.done:
            self.close()
        return self._closed

    def _step(self, deadline: float | None) -> None:
        """Connect, or receive once.  A failure that time may heal sets the time to try again."""
        try:
            if self._connection is None:
                self._connect(deadline)
            else:
                self._receive(self._connection, deadline)
        except NothingCame:
            raise
        except (CannotConnect, Disconnected, TimedOut) as error:
            self._outage(error)
        except ClientError as error:
            self._end(error)
        except BaseException:
            self._end(ClientError("the subscription was interrupted, and is closed"))
            raise

    def _connect(self, deadline: float | None) -> None:
        _sleep_until(self._retry_at, deadline)
        client = self._client
        self._connection = _Connection(client.address, client.timeout)
        self._heard_at = time.monotonic()
        self._following.connect()
        self._connection.send(self._following.data_to_send())

    def _receive(self, connection: _Connection, deadline: float | None) -> None:
        following = self._following
        following.receive_data(self._wait_for_data(connection, deadline))
        connection.send(following.data_to_send())
        if following.reconnect:
            self._disconnect()
        elif following.events or (following.ready and not following.waiting):
            self._backoff.reset()

    def _wait_for_data(self, connection: _Connection, deadline: float | None) -> bytes:
        """Wait until the caller's deadline, or until the server owes a reply for too long."""
        now = time.monotonic()
        owed = None
        if self._following.waiting and self._client.timeout is not None:
            owed = max(self._heard_at + self._client.timeout - now, 0.001)
        left = None if deadline is None else max(deadline - now, 0.001)
        if left is None or (owed is not None and owed <= left):
            data = connection.receive(owed)
        else:
            try:
                data = connection.receive(left)
            except TimedOut:
                raise NothingCame("no event came in time") from None
        self._heard_at = time.monotonic()
        return data

    def _outage(self, error: ClientError) -> None:
        self._disconnect()
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
            connection.close()


def _sleep_until(moment: float, deadline: float | None) -> None:
    """Sleep until `moment`, or until an earlier `deadline`.  Raises NothingCame."""
    until = moment if deadline is None else min(moment, deadline)
    time.sleep(max(until - time.monotonic(), 0))
    if until < moment:
        raise NothingCame("no event came in time")
