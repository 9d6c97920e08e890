"""Copy the streams of a Redis server to one of ours, or ours to Redis, each entry once: migrate.

    from Redis    XRANGE ──> pages of entries ──> MULTI, XADD key ms-NUMBER …, EXEC     numbers count from 0
    to Redis      XRANGE ──> pages of entries ──> MULTI, XADD key ms-NUMBER …, EXEC

No entry is stored without the one before it, and nothing is remembered between runs: the last
one at the destination says how far a copy got, see FromRedis and ToRedis.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from meilies_client import Client, Disconnected, Refused, TimedOut
from terminal.escaping import printable
from terminal.progress import Progress

from .parsing import DEFAULT_HOST, place_argument
from .problems import Failed

# What a page has at most: entries, and about so many bytes of them.
PAGE = 500
_PAGE_BYTES = 1 << 20

# Seconds that the last entry at the destination must stand still after an interruption, while what
# was under way to it may still arrive.
SETTLED = 0.3
# Milliseconds that a server is asked to wait for new entries.
_WAIT = 1000

_GLOB = frozenset("*?[\\")
_SCHEMES = {"redis": "meilies", "rediss": "meiliess", "redis+unix": "meilies+unix"}
_PORT = 6379


class Entry(NamedTuple):
    """An entry of a Redis stream; its id in two numbers, its fields and values in turn."""

    ms: int
    seq: int
    fields: list[bytes]

    @classmethod
    def of(cls, reply: Any) -> Entry:
        id_, fields = reply
        ms, _, seq = id_.partition(b"-")
        return cls(int(ms), int(seq), fields)

    @property
    def id(self) -> str:
        return f"{self.ms}-{self.seq}"

    @property
    def size(self) -> int:
        return sum(map(len, self.fields))


class Side:
    """One of the two servers, asked in Redis's language.

    database   of Redis, or None
    """

    def __init__(self, client: Client, database: int | None = None) -> None:
        self.client = client
        self._begin: list[tuple[Any, ...]] = [] if database is None else [("SELECT", database)]

    def ask(self, *request: Any) -> Any:
        """The reply to one command.  Raises Refused."""
        return self.ask_all([request])[0]

    def ask_all(self, requests: list[tuple[Any, ...]]) -> list[Any]:
        """The replies to several.  Raises Refused: the first of those that were."""
        replies = self.client.call_all([*self._begin, *requests])      # each time: a new connection begins with 0
        for reply in replies:
            if isinstance(reply, Refused):
                raise reply
        return replies[len(self._begin):]

    def keys(self, patterns: list[str]) -> list[bytes]:
        """The streams whose keys match, or all of them, sorted.  Raises Failed for one that isn't there."""
        found: set[bytes] = set()
        for pattern in patterns or ["*"]:
            if _GLOB.isdisjoint(pattern):
                self._check_is_stream(pattern)
                found.add(pattern.encode())
            else:
                found.update(self._matching(pattern))
        return sorted(found)

    def _check_is_stream(self, key: str) -> None:
        kind = self.ask("TYPE", key)
        if kind != b"stream":
            found = "nothing" if kind == b"none" else f"a {kind.decode()}"
            raise Failed(f"{key}: found {found} at the source, expected a stream; nothing was copied")

    def _matching(self, pattern: str) -> Iterator[bytes]:
        cursor = b"0"
        while True:
            cursor, keys = self.ask("SCAN", cursor, "MATCH", pattern, "COUNT", 1000, "TYPE", "stream")
            yield from keys
            if cursor == b"0":
                return

    def length(self, key: bytes) -> int:
        found: int = self.ask("XLEN", key)
        return found

    def last(self, key: bytes) -> Entry | None:
        """The last entry of a stream, if it has one."""
        found = self.ask("XREVRANGE", key, "+", "-", "COUNT", 1)
        return Entry.of(found[0]) if found else None

    def first(self, key: bytes, start: str, end: str = "+") -> Entry | None:
        """The first entry of an interval, if it has one."""
        found = self.range(key, start, 1, end)
        return found[0] if found else None

    def range(self, key: bytes, start: str, count: int, end: str = "+") -> list[Entry]:
        return [Entry.of(one) for one in self.ask("XRANGE", key, start, end, "COUNT", count)]

    def pages(self, key: bytes, start: str) -> Iterator[list[Entry]]:
        """All entries from `start` on, some at once: fewer where they are long."""
        count = PAGE
        while True:
            page = self.range(key, start, count)
            if page:
                yield from _portions(page)
                start = f"({page[-1].id}"
            if len(page) < count:
                return
            mean = max(1, sum(entry.size for entry in page) // len(page))
            count = max(1, min(PAGE, _PAGE_BYTES // mean))

    def add(self, key: bytes, entries: list[tuple[str, list[bytes]]], together: bool = False) -> list[bytes]:
        """Store entries with these ids, each of which needs the one before it; the ids that they got.

        together   all or none
        Raises     Failed, Disconnected, TimedOut
        """
        adds: list[tuple[Any, ...]] = [("XADD", key, id_, *fields) for id_, fields in entries]
        if together:
            adds = [("MULTI",), *adds, ("EXEC",)]
        replies = self.client.call_all([*self._begin, *adds])[len(self._begin):]
        if together:
            replies = [*replies[1:-1], *(replies[-1] if isinstance(replies[-1], list) else replies[-1:])]
        for at, reply in enumerate(replies):
            if isinstance(reply, Exception):
                id_, _ = entries[at % len(entries)]
                raise Failed(f"{shown(key)}: the destination refused an entry, {id_}: {reply}; it and what follows was "
                             "not copied")
        return replies


def _portions(page: list[Entry]) -> Iterator[list[Entry]]:
    """A page, cut where so many bytes are full; a longer entry goes alone."""
    portion: list[Entry] = []
    size = 0
    for entry in page:
        if portion and size + entry.size > _PAGE_BYTES:
            yield portion
            portion, size = [], 0
        portion.append(entry)
        size += entry.size
    yield portion


def shown(key: bytes) -> str:
    return printable(key.decode("utf-8", "backslashreplace"))


class FromRedis:
    """What is particular about copies of Redis's streams: an id's second half becomes the event's number."""

    def __init__(self, source: Side, destination: Side) -> None:
        self.source = source
        self.destination = destination

    def lacking(self, key: bytes) -> Iterator[list[Entry]]:
        """The entries of a stream that the destination lacks, some at once.  Raises Failed: it isn't a copy."""
        return self.source.pages(key, self._begin(key))

    def _begin(self, key: bytes) -> str:
        """From where on they are.

        The last entry there is the n-th of its millisecond, and so is the one that it is a copy of, if both agree.
        """
        last = self.destination.last(key)
        if last is None:
            return "-"
        copied = self._copied(key, last)
        if copied is not None:
            return f"({copied.id}"
        oldest = self.source.first(key, "-")
        if oldest is not None and oldest.ms > last.ms:      # the source has forgotten what was copied
            return "-"
        raise Failed(f"{shown(key)}: the last entry at the destination, {last.id}, is none of the source's; "
                     "nothing was copied to it")

    def _copied(self, key: bytes, last: Entry) -> Entry | None:
        """The source's entry that the destination's last one is a copy of."""
        first = self.destination.first(key, str(last.ms)) or last
        left = last.seq - first.seq + 1
        for page in self.source.pages(key, str(last.ms)):
            if left <= len(page):
                found = page[left - 1]
                return found if (found.ms, found.fields) == (last.ms, last.fields) else None
            left -= len(page)
        return None

    def store(self, key: bytes, page: list[Entry]) -> None:
        """Each entry's number is said: so none is stored where the one before it was refused, or another came."""
        last = self.destination.last(key)
        if last is None:        # the destination says which number is next
            [id_] = self.destination.add(key, [(f"{page[0].ms}-*", page[0].fields)])
            page, last = page[1:], Entry.of((id_, []))
        if page:
            entries = [(f"{entry.ms}-{number}", entry.fields) for number, entry in enumerate(page, last.seq + 1)]
            try:
                self.destination.add(key, entries, together=True)
            except Failed:      # now those before the one that is refused are stored, and that one is named
                self.destination.add(key, entries)


class ToRedis:
    """What is particular about copies of our streams: ids are kept, if they ascend."""

    def __init__(self, source: Side, destination: Side) -> None:
        self.source = source
        self.destination = destination
        self._least: dict[bytes, int] = {}      # key -> milliseconds that its next id has at least

    def lacking(self, key: bytes) -> Iterator[list[Entry]]:
        """The events of a stream that the destination lacks, some at once.  Raises Failed: it isn't a copy."""
        self._least[key], number = self._last_id(key)
        start = self._begin(key, self._least[key], number)
        for page in self.source.pages(key, start):
            lacking = [entry for entry in page if entry.seq > number]
            if lacking:
                yield lacking

    def _last_id(self, key: bytes) -> tuple[int, int]:
        """The highest id that ever was in a stream of Redis's, its entry may be gone; (0, -1) if there was none."""
        if self.destination.ask("TYPE", key) == b"none":
            return 0, -1
        fields = self.destination.ask("XINFO", "STREAM", key)
        ms, _, number = fields[fields.index(b"last-generated-id") + 1].partition(b"-")
        return (int(ms), int(number)) if int(ms) or int(number) else (0, -1)

    def _begin(self, key: bytes, ms: int, number: int) -> str:
        """From where on there are events behind this number, whose id at the destination has so many milliseconds."""
        if number < 0:
            return "-"
        newest, there = self.source.last(key), self.destination.last(key)
        copied = self.source.first(key, f"{ms}-{number}", f"{ms}-{number}")
        if newest is None or newest.seq < number or (
                copied is not None and there is not None and there.seq == number and there.fields != copied.fields):
            raise Failed(f"{shown(key)}: the last entry at the destination, {ms}-{number}, is none of the source's; "
                         "nothing was copied to it")
        return "-" if copied is None else f"({copied.id}"       # the clock went back: its own id is another

    def store(self, key: bytes, page: list[Entry]) -> None:
        """The clock may have gone back; Redis's ids may not."""
        entries = []
        for entry in page:
            self._least[key] = max(self._least[key], entry.ms)
            entries.append((f"{self._least[key]}-{entry.seq}", entry.fields))
        self.destination.add(key, entries, together=True)


class StreamCopies:
    """Copies of streams, one after the other.

    tries    how often one is begun anew after an outage in which nothing was copied
    """

    def __init__(self, way: FromRedis | ToRedis, progress: Progress, tries: int) -> None:
        self.way = way
        self.progress = progress
        self.tries = tries
        self._ends: dict[bytes, str] = {}       # key -> the source's id up to which it is copied

    def run(self, patterns: list[str], follow: bool) -> None:
        """Copy the streams whose keys match, or all; `follow` those for ever.  Raises Failed, ClientError."""
        source, destination = self.way.source, self.way.destination
        destination.ask_all([("MULTI",), ("DISCARD",)])     # it may be used, before anything is begun
        keys = source.keys(patterns)
        self.progress.begin(sum(max(0, source.length(key) - destination.length(key)) for key in keys))
        self._settle(keys)
        for key in keys:
            self._copy(key)
        while follow and keys:
            for key in self._with_new_entries(keys):
                self._copy(key)

    def _copy(self, key: bytes) -> None:
        """Copy what the destination lacks of a stream, over outages."""
        failures = 0
        while True:
            before = self.progress.done
            try:
                if failures:
                    self._settle([key])
                last = self.way.source.last(key)
                self._ends[key] = last.id if last else "0-0"
                for page in self.way.lacking(key):
                    self.way.store(key, page)
                    self._ends[key] = page[-1].id
                    self.progress.advance(len(page))
                return
            except (Disconnected, TimedOut) as error:
                failures = 1 if self.progress.done > before else failures + 1
                if failures > self.tries:
                    raise Failed(f"{shown(key)}: {error}; run the command again to go on") from error
                logging.warning("%s: %s; looking how far the destination got", shown(key), error)

    def _settle(self, keys: list[bytes]) -> None:
        """Return when nothing is under way to the destination any more."""
        lasts = [self.way.destination.last(key) for key in keys]
        while any(lasts):
            time.sleep(SETTLED)
            again = [self.way.destination.last(key) for key in keys]
            if again == lasts:
                return
            lasts = again

    def _with_new_entries(self, keys: list[bytes]) -> list[bytes]:
        """Those of the streams that got entries since; none if none come for a while."""
        ends = [self._ends[key] for key in keys]
        try:
            found = self.way.source.ask("XREAD", "COUNT", 1, "BLOCK", _WAIT, "STREAMS", *keys, *ends)
        except (Disconnected, TimedOut) as error:
            logging.warning("%s; waiting for the source", error)
            return []
        return [key for key, _ in found or []]


# -- the command -----------------------------------------------------------------

def redis_argument(text: str) -> dict[str, Any]:
    """Where a Redis server is, of an URL without a password, as arguments of a Client; and `database`."""
    scheme, colon, rest = text.partition("://")
    if not colon or scheme not in _SCHEMES:
        raise argparse.ArgumentTypeError(f"found {text[:80]!r}, expected redis://USER@HOST:PORT/DATABASE, "
                                         "rediss://... for TLS, or redis+unix:///PATH")
    database = None
    if scheme != "redis+unix":
        rest, slash, number = rest.partition("/")
        if number and not (number.isascii() and number.isdigit() and len(number) <= 9):
            raise argparse.ArgumentTypeError(f"found {number!r} behind the host, expected the number of a database")
        database = int(number) if number else None
    place = place_argument(f"{_SCHEMES[scheme]}://{rest}")
    if scheme != "redis+unix":
        place = {"host": DEFAULT_HOST, "port": _PORT, **place}
    return {**place, "database": database}


def run(source: Client, destination: Client, options: argparse.Namespace, progress: Progress) -> None:
    """Copy what the options of `migrate` say, of which one names a Redis server."""
    if options.from_redis:
        way: FromRedis | ToRedis = FromRedis(Side(source, options.from_redis["database"]), Side(destination))
    else:
        way = ToRedis(Side(source), Side(destination, options.to_redis["database"]))
    StreamCopies(way, progress, options.tries).run(options.streams, options.follow)
