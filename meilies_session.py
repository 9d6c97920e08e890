"""What is said between a client and its server, without a socket, a clock or a thread.

    Event, NewEvent, Checkpoint …   what is told and asked
    ClientError and those below it  what goes wrong
    Selector                        what is followed
    Following                       what was asked for, what came, what to ask next
    Session                         requests -> bytes; bytes -> events and replies
    resp                            values <-> bytes

Session and Following stand below every kind of driver: meilies_operations.py has
what the drivers share, meilies_client.py is the one that blocks, meilies_async.py
that of asyncio.  Programs import what they need of this from their driver.
"""

from __future__ import annotations

import functools
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Union

import resp

# What programs need; the rest is for drivers.
__all__ = [
    "ALL", "MAX_NUMBER", "Data", "Notice", "Event", "NewEvent", "Tagged", "Appended", "Checkpoint", "CaughtUp",
    "Prefix", "StreamInfo", "Given", "Parked", "ServerInfo", "Rule", "Compacted", "Snapshot", "Selector",
    "ClientError", "CannotConnect", "NotTrusted", "Disconnected", "TimedOut", "NothingCame", "BadReply",
    "Unsupported", "Refused", "WrongVersion", "IdConflict", "StreamDeleted", "ConditionFailed", "WrongPassword",
    "LoginNeeded", "NotAllowed", "EventsLost", "PublishInterrupted", "Refuse", "StoreChanged", "Gap", "check_stream",
    "check_event",
]

ALL = "$all"
MAX_NUMBER = 2**64 - 1

# Follow and ask requests in flight on a subscription.  More wait their turn, so
# that naming 10,000 streams never fills both directions of the connection.
MAX_UNANSWERED = 100

Data = Union[bytes, bytearray, memoryview, str]


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


def check_text(what: str, text: str) -> None:
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
    check_text("stream", stream)
    if ":" in stream:
        raise ValueError(f"stream {stream!r} holds ':', which a stream's name may not")


def check_event(stream: str, name: str) -> None:
    """Raise ValueError if no event called `name` can be published to `stream`."""
    check_stream(stream)
    if stream == ALL:
        raise ValueError(f"{ALL} is all streams together, nothing can be published to it")
    check_text("event name", name)


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
    since   in place of from_: from the first event at or after this time, microseconds since 1970 UTC
    Raises  ValueError
    """

    stream: str
    from_: int | None = None
    to: int | None = None
    names: tuple[str, ...] = ()
    prefix: bool = False
    since: int | None = None

    def __post_init__(self) -> None:
        check_stream(self.stream)
        if self.prefix and self.stream == ALL:
            raise ValueError(f"{ALL} is all streams together, and no prefix")
        for name in self.names:
            check_text("event name", name)
        if self.from_ is not None and self.since is not None:
            raise ValueError(f"{self}: from_ and since are both given, expected one of them")
        for number in (self.from_, self.to, self.since):
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

    def request_many(self, first: int, requests: list[bytes]) -> None:
        """Ask all of these; their Replies will carry the numbers from `first` on."""
        self._outgoing += requests
        self._asked.extend(range(first, first + len(requests)))

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
    return Event(as_text(stream), number, as_text(name), data)


def _read_recorded(value: list[Any]) -> Event:
    _, position, stream, number, name, data, id_, metadata, clock = value
    integers = type(position) is type(number) is type(clock) is int
    if not integers or not type(data) is type(id_) is type(metadata) is bytes:
        raise BadReply(f"{value!r:.200} came, expected a recorded event")
    return Event(as_text(stream), number, as_text(name), data, id_, metadata, position, clock)


def _read_notice(kind: Callable[[str, int], Notice], value: list[Any]) -> Notice:
    _, followed, key = value
    if type(key) is not int:
        raise BadReply(f"{value!r:.200} came, expected a place in what is followed")
    return kind(as_text(followed), key)


_PUSHES: dict[tuple[Any, int], Callable[[list[Any]], Event | Notice]] = {
    (b"event", 5): _read_event,
    (b"recorded", 9): _read_recorded,
    (b"checkpoint", 3): functools.partial(_read_notice, Checkpoint),
    (b"caught-up", 3): functools.partial(_read_notice, CaughtUp),
}


def as_text(value: Any) -> str:
    try:
        return str(value, "utf-8")
    except (TypeError, UnicodeDecodeError):
        raise BadReply(f"{value!r:.200} came, expected a name") from None


def answer(value: Any) -> Any:
    """`value` unless it is an error.  Raises Refused."""
    if isinstance(value, resp.ErrorReply):
        raise refusal(value)
    return value


def refusal(value: resp.ErrorReply) -> Refused:
    """The error that a reply is."""
    return _CODES.get(value.code, Refused)(value)


def _named_answer(command: str, value: Any) -> list[Any]:
    """What stands behind the command's name in its reply.  Raises Refused, BadReply."""
    answer(value)
    if not isinstance(value, list) or value[:1] != [command.encode()]:
        raise BadReply(f"{value!r:.200} came, expected an answer to {command}")
    return value[1:]


def read_appended(value: Any, count: int) -> list[Appended]:
    """Where `count` events are.  Raises Refused, BadReply."""
    answer(value)
    if not isinstance(value, list) or len(value) != count:
        raise BadReply(f"{value!r:.200} came, expected the places of {count} events")
    for place in value:
        if not isinstance(place, list) or list(map(type, place)) != [int, int]:
            raise BadReply(f"{value!r:.200} came, expected the places of {count} events")
    return [Appended(*place) for place in value]


def read_tagged(value: Any) -> tuple[int | None, int | None, list[Event]]:
    """(where to go on, head, events) of a page.  Raises Refused, EventsLost, BadReply."""
    if isinstance(value, list) and len(value) == 3 and isinstance(value[2], list):
        after, head, pairs = value
        if all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
            _, events = read_page([None, [event for event, _ in pairs]])
            return after, head, [event._replace(tags=tuple(tags)) for event, (_, tags) in zip(events, pairs)]
    read_page(value)
    raise BadReply(f"{value!r:.200} came, expected a page of tagged events")


def query_words(items: Iterable[tuple[Iterable[str], Iterable[Data]]]) -> list[str | int | Data]:
    """What stands for a query in a request."""
    words: list[str | int | Data] = []
    for names, tags in items:
        names, tags = list(names), list(tags)
        words += ["ITEM", len(names), *names, len(tags), *tags]
    return words


def read_last_number(value: Any) -> int | None:
    said = _named_answer("last-event-number", value)
    if len(said) != 2 or not (said[1] is None or type(said[1]) is int):
        raise BadReply(f"{value!r:.200} came, expected a stream's last number")
    return said[1]


def _read_next(value: Any) -> int:
    """The number of the event that the stream will get next."""
    last = read_last_number(value)
    return 0 if last is None else last + 1


def read_names(value: Any) -> list[str]:
    return [as_text(name) for name in _named_answer("stream-names", value)]


def read_hello(value: Any) -> ServerInfo:
    """HELLO's fields; RESP2 sends them as a flat array."""
    answer(value)
    if isinstance(value, list):
        value = {key: field for key, field in zip(value[::2], value[1::2]) if isinstance(key, bytes)}
    if not isinstance(value, dict) or b"server" not in value:
        raise BadReply(f"{value!r:.200} came, expected an answer to HELLO")
    if value[b"server"] != b"meilies":
        raise Unsupported(f"found a server that calls itself {value[b'server']!r:.200}, expected b'meilies'")
    store, epoch = value.get(b"store"), value.get(b"epoch")
    if epoch is not None and type(epoch) is not int:
        raise BadReply(f"{epoch!r:.200} came, expected the number of an epoch")
    return ServerInfo(as_text(value.get(b"version", b"")), None if store is None else as_text(store), epoch)


def read_fields(value: Any) -> dict[str, Any]:
    """A map, which RESP2 sends as a flat array.  Raises Refused, BadReply."""
    answer(value)
    if isinstance(value, list) and len(value) % 2 == 0:
        value = dict(zip(value[::2], value[1::2]))
    if not isinstance(value, dict):
        raise BadReply(f"{value!r:.200} came, expected a map")
    return {as_text(key): field for key, field in value.items()}


def read_rules(value: Any) -> list[tuple[str | Prefix, Rule]]:
    rules: list[tuple[str | Prefix, Rule]] = []
    for one in answer(value):
        try:
            selector, max_count, max_age = one
            kind, _, name = selector.decode().partition(" ")
        except (AttributeError, TypeError, ValueError):
            raise BadReply(f"{one!r:.200} came, expected a rule") from None
        rules.append((Prefix(name) if kind == "prefix" else name or kind, Rule(max_count, max_age)))
    return rules


def read_number(value: Any) -> int:
    if type(answer(value)) is not int:
        raise BadReply(f"{value!r:.200} came, expected a number")
    return value


def read_compacted(value: Any) -> Compacted:
    value = answer(value)
    try:
        return Compacted(*value)
    except TypeError:
        raise BadReply(f"{value!r:.200} came, expected two numbers") from None


def read_snapshot(value: Any) -> Snapshot | None:
    if answer(value) is None:
        return None
    if not isinstance(value, list) or [type(one) for one in value] != [int, bytes]:
        raise BadReply(f"{value!r:.200} came, expected a snapshot")
    return Snapshot(*value)


def read_page(value: Any) -> tuple[int | None, list[Event]]:
    """The key to go on with, and events.  Raises EventsLost, Refused, BadReply."""
    if isinstance(value, resp.ErrorReply):
        lost = _LOST.match(str(value))
        if lost:
            raise EventsLost(value, int(lost[1]), int(lost[2]))
    answer(value)
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


def read_stream_info(value: Any) -> StreamInfo | None:
    if value is None:
        return None
    fields = read_fields(value)
    try:
        return StreamInfo(*[fields[name.replace("_", "-")] for name in StreamInfo._fields])
    except KeyError as missing:
        raise BadReply(f"{value!r:.200} came, expected what is known of a stream, with {missing}") from None


def read_pair(value: Any) -> list[Any]:
    """An array of two.  Raises Refused, BadReply."""
    answer(value)
    if not isinstance(value, list) or len(value) != 2:
        raise BadReply(f"{value!r:.200} came, expected an array of two")
    return value


def milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)


def selector_words(selector: str | Prefix) -> tuple[str, ...]:
    """How a command names what it is about.  Raises ValueError."""
    if isinstance(selector, Prefix):
        check_stream(selector.text)
        return "prefix", selector.text
    if selector == ALL:
        return (ALL,)
    check_stream(selector)
    return "stream", selector


def read_given(value: Any) -> list[Given]:
    try:
        return [Given(key, tries, _read_recorded(event)) for key, tries, event in answer(value)]
    except (TypeError, ValueError):
        raise BadReply(f"{value!r:.200} came, expected events of a group") from None


def read_parked(value: Any) -> list[Parked]:
    try:
        return [Parked(key, as_text(stream), number, tries, clock, as_text(reason))
                for key, stream, number, tries, clock, reason in answer(value)]
    except (TypeError, ValueError):
        raise BadReply(f"{value!r:.200} came, expected parked events") from None


def read_group_info(value: Any) -> dict[str, Any]:
    fields = read_fields(value)
    fields["members"] = read_fields(fields.get("members"))
    if "names" in fields:
        fields["names"] = [as_text(name) for name in fields["names"]]
    return {name: as_text(field) if isinstance(field, bytes) else field for name, field in fields.items()}


def read_login(value: Any) -> None:
    """Raises WrongPassword, Refused, Unsupported, BadReply."""
    if lacks_command(value):
        raise Unsupported("the server knows no users, so nobody can log in")     # its words hold the password
    if answer(value) != b"OK":
        raise BadReply(f"{value!r:.200} came, expected an answer to AUTH")


def lacks_command(reply: Any) -> bool:
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
        if lacks_command(value):
            self._check_store(None)
            self.plain = self.reconnect = True
            return
        server = read_hello(value)
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
        if self.plain and any(place.selector.since is not None for place in self._places.values()):
            raise Unsupported("this server (MeiliES 0.2.0) can't follow from a time on")
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
                        for name in read_names(value) if name != ALL}
        self._ask_places()

    def _ask_places(self) -> None:
        """Learn every number that is missing before anything is followed."""
        unknown = [place for place in self._places.values() if place.next is None and place.selector.since is None]
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
        # What a time came to is said by the notice that comes first.
        begin = f"@{place.selector.since}" if place.next is None else place.next
        self._request(functools.partial(self._take_followed, place), "follow", *place.selector.words, begin, *to, *only)

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
