"""Copy events from one server to another, each once: migrate."""

from __future__ import annotations

import argparse
import hashlib
import logging
import os
import time
from collections.abc import Iterable, Iterator
from typing import Any

from meilies_client import ALL, Client, Event, PublishInterrupted, Refused, Selector
from terminal.progress import Progress, shown_events

from . import redis_streams
from .connecting import add_transport, client_of
from .parsing import Commands, selector_argument, server_argument, text_argument
from .problems import Failed, WrongUsage

# Events compared where a copy is joined to what is there already, and streams asked for at once.
COMPARED = 10
STREAMS_AT_ONCE = 50

# Seconds that the destination's last numbers must stand still after an
# interruption, while what was under way to it may still arrive.
SETTLED = 0.3


class OutOfStep(Failed):
    """An event came whose predecessors are not at the destination yet; it was not copied."""


class Copy:
    """How far one stream is copied.

    Event `first` of the source is event 0 of the destination; `next` is the
    first, by the source's numbers, that the destination doesn't have; `to`
    ends it, None doesn't.
    """

    __slots__ = ("stream", "first", "next", "to")

    def __init__(self, stream: str, first: int = 0, to: int | None = None) -> None:
        self.stream = stream
        self.first = first
        self.next = first
        self.to = to

    @property
    def left(self) -> Selector | None:
        """What is to be copied yet, if there is anything."""
        if self.to is not None and self.to <= self.next:
            return None
        return Selector(self.stream, self.next, self.to)


class Migration:
    """Copies events from one server to another, each once.

        source --- $all, or stream by stream ---> what is not there yet ---> destination
                                                         |
               last-event-number of both, and the last events compared: join()

    Nothing is remembered between runs: the destination says how far it got.
    All streams of a server that has positions are copied in the order of
    $all; of MeiliES, or of streams that were named, in each stream's order.
    """

    def __init__(self, source: Client, destination: Client, follow: bool, progress: Progress) -> None:
        self.source = source
        self.destination = destination
        self.follow = follow
        self.progress = progress
        self._copies: dict[str, Copy] = {}
        source_info, destination_info = source.server_info(), destination.server_info()
        self._has_positions = source_info is not None
        self._cuts_lines = destination_info is None
        if source_info and destination_info and source_info.store == destination_info.store:
            raise Failed("source and destination are the same store; nothing was copied")

    def run(self, selectors: list[Selector]) -> None:
        """Copy what the selectors name, or all streams if there are none."""
        if selectors:
            self._copies = {s.stream: Copy(s.stream, s.from_ or 0, s.to) for s in selectors}
            self._copy_streams()
        elif self._has_positions:
            last = self.source.last_event_number(ALL)
            self._copies = self._every_stream()
            self._copy_positions(0 if last is None else last + 1)
        else:
            self._copies = self._every_stream()
            self._copy_streams()

    def _every_stream(self) -> dict[str, Copy]:
        return {name: Copy(name) for name in self.source.stream_names() if name != ALL}

    def _copy_positions(self, end: int) -> None:
        """Copy all streams in the order of the source; streams that are new come by themselves."""
        self.join(list(self._copies.values()))
        # What is there already is most likely the beginning of $all: then this is where it goes on.
        start = sum(copy.next for copy in self._copies.values())
        self.progress.begin(max(end - start, 0))
        try:
            self._copy_all(start, end)
        except OutOfStep:
            self.progress.begin(end)
            self._copy_all(0, end)

    def _copy_all(self, start: int, end: int) -> None:
        if self.follow or start < end:
            self._copy_from([Selector(ALL, start, None if self.follow else end)])

    def _copy_streams(self) -> None:
        """Copy streams, each in its own order."""
        copies = list(self._copies.values())
        if not self.follow:
            self._end_at_what_is_there(copies)
        self.join(copies)
        left = [copy.left for copy in copies if copy.left]
        self.progress.begin(sum(copy.to - copy.next for copy in copies if copy.left and copy.to is not None))
        for group in [left] if self.follow and left else _groups(left, STREAMS_AT_ONCE):
            self._copy_from(group)

    def _end_at_what_is_there(self, copies: list[Copy]) -> None:
        for copy, last in zip(copies, self._source_lasts(copies)):
            end = 0 if last is None else last + 1
            copy.to = end if copy.to is None else min(end, copy.to)

    def _copy_from(self, selectors: list[Selector]) -> None:
        with self.source.subscribe(*selectors) as subscription:
            for events in iter(subscription.read, []):
                self._copy(events)
                self.progress.advance(len(events))

    def _copy(self, events: list[Event]) -> None:
        """Publish those of `events` that the destination lacks, for as long as it takes."""
        self._meet({event.stream for event in events if event.stream not in self._copies})
        for _ in range(1 + self.destination.tries):
            lacking = self._lacking(events)
            streams = list({event.stream: self._copies[event.stream] for event in lacking}.values())
            try:
                self.destination.publish_batch((e.stream, e.name, e.data) for e in lacking)
            except PublishInterrupted as error:
                logging.warning("%s; looking how far the destination got", error.__cause__)
                self.join(streams, interrupted=True)
                continue
            except Refused as error:
                event = lacking[error.index]
                raise Failed(f"the destination refused event {event.number} of {event.stream}: "
                             f"{error.reply}; what is before it was copied") from error
            for event in lacking:
                self._copies[event.stream].next = event.number + 1
            self._check_nobody_else_writes(streams)
            return
        raise Failed("the destination was lost again and again without taking an event; "
                     "run the command again to go on")

    def _meet(self, streams: Iterable[str]) -> None:
        """Streams that $all shows for the first time."""
        copies = [Copy(stream) for stream in streams]
        self.join(copies)
        self._copies.update((copy.stream, copy) for copy in copies)

    def _lacking(self, events: list[Event]) -> list[Event]:
        """Those of `events` that come next in their streams, and on.  Raises Failed."""
        lacking = []
        due: dict[str, int] = {}
        for event in events:
            expected = due.get(event.stream, self._copies[event.stream].next)
            if event.number < expected:
                continue
            if event.number > expected:
                raise OutOfStep(f"{event.stream}: found event {event.number}, expected {expected}, which the "
                                f"destination lacks; run the command again to go on there")
            if self._cuts_lines and b"\r\n" in event.data:
                raise Failed(f"event {event.number} of {event.stream} holds CR LF, where the destination "
                             f"(MeiliES 0.2.0) would cut it; it and what follows was not copied")
            due[event.stream] = expected + 1
            lacking.append(event)
        return lacking

    def _check_nobody_else_writes(self, copies: list[Copy]) -> None:
        for copy, last in zip(copies, self._destination_lasts(copies)):
            if last != copy.next - copy.first - 1:
                raise Failed(f"{copy.stream}: the destination's last event is {last}, expected "
                             f"{copy.next - copy.first - 1}: somebody else publishes to it; stopped")

    # -- where to go on

    def join(self, copies: list[Copy], interrupted: bool = False) -> None:
        """Find how far each stream was copied, and that it was from here.

        Raises   Failed   the destination has events that the source doesn't
        """
        lasts = self._destination_lasts(copies)
        while interrupted or any(last is not None for last in lasts):
            time.sleep(SETTLED)
            again = self._destination_lasts(copies)
            if again == lasts:
                break
            lasts = again
        for copy, last in zip(copies, lasts):
            copy.next = copy.first if last is None else copy.first + last + 1
        begun = [copy for copy in copies if copy.next > copy.first]
        for copy, last in zip(begun, self._source_lasts(begun)):
            if last is None or last + 1 < copy.next:
                there = max(0 if last is None else last + 1 - copy.first, 0)
                raise Failed(f"{copy.stream}: the destination has {copy.next - copy.first} events, "
                             f"the source {there}; nothing was copied to it")
        for group in _groups(begun, STREAMS_AT_ONCE):
            self._compare(group)

    def _compare(self, copies: list[Copy]) -> None:
        """Raise Failed unless the last events at the destination are those of the source."""
        starts = [max(copy.first, copy.next - COMPARED) for copy in copies]
        found = _digests(self.destination, [
            Selector(copy.stream, start - copy.first, copy.next - copy.first)
            for copy, start in zip(copies, starts)])
        expected = _digests(self.source, [
            Selector(copy.stream, start, copy.next) for copy, start in zip(copies, starts)])
        for copy, start in zip(copies, starts):
            for number in range(start, copy.next):
                if found[copy.stream, number - copy.first] != expected[copy.stream, number]:
                    raise Failed(
                        f"{copy.stream}: event {number - copy.first} at the destination is not event "
                        f"{number} of the source; nothing was copied to it")

    def _source_lasts(self, copies: list[Copy]) -> list[int | None]:
        return self.source.last_event_numbers([copy.stream for copy in copies])

    def _destination_lasts(self, copies: list[Copy]) -> list[int | None]:
        return self.destination.last_event_numbers([copy.stream for copy in copies])


def _digests(client: Client, selectors: list[Selector]) -> dict[tuple[str, int], bytes]:
    """Names and data in the ranges, as digests: events may be large."""
    with client.subscribe(*selectors) as subscription:
        return {(event.stream, event.number): _digest(event) for event in subscription}


def _digest(event: Event) -> bytes:
    return hashlib.blake2b(event.name.encode() + b"\0" + event.data, digest_size=32).digest()


def _groups(items: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield items[start:start + size]


def run_migrate(options: argparse.Namespace) -> None:
    source_place, destination_place = options.from_redis or options.source, options.to_redis or options.destination
    if options.from_redis and options.to_redis:
        raise WrongUsage("both servers are Redis's, expected one")
    if source_place == destination_place:
        raise WrongUsage("source and destination are the same server")
    selectors = [] if options.from_redis or options.to_redis else _selectors(options.streams)
    source, destination = (
        client_of(_with_password(place, os.environ.get(name)), options)
        for place, name in ((source_place, "MEILIES_SRC_PASSWORD"), (destination_place, "MEILIES_DST_PASSWORD")))
    with source, destination, Progress("migrate", shown_events) as progress:
        if options.from_redis or options.to_redis:
            source.call("PING")
            destination.call("PING")
            source.tries = destination.tries = options.tries    # an outage is waited out, a wrong address not
            redis_streams.run(source, destination, options, progress)
        else:
            migration = Migration(source, destination, options.follow, progress)
            source.tries = destination.tries = options.tries
            migration.run(selectors)
        progress.finish()


def _selectors(texts: list[str]) -> list[Selector]:
    try:
        selectors = [selector_argument(text) for text in texts]
    except argparse.ArgumentTypeError as error:
        raise WrongUsage(f"argument STREAM[:FROM[:TO]]: {error}") from None
    names = [selector.stream for selector in selectors]
    if ALL in names:
        raise WrongUsage(f"{ALL}: name no stream to copy all of them")
    if len(set(names)) < len(names):
        raise WrongUsage("a stream is named twice")
    return selectors


def _with_password(place: dict[str, Any], password: str | None) -> dict[str, Any]:
    place = {key: value for key, value in place.items() if key != "database"}
    return {**place, "password": password} if password else place


def add(commands: Commands) -> None:
    migrate = commands(
        "migrate", run_migrate, "copy events from one server to another, or from or to Redis; run again, it goes on "
        "where it stopped",
        "migrate --src-server old:6480 --dst-server 127.0.0.1:6480",
        "migrate --src-server old --dst-server meiliess://copier@new --follow orders payments:100",
        "migrate --from-redis redis://old:6379/0 --dst-server 127.0.0.1:6480 'orders:*' payments",
        "migrate --src-server 127.0.0.1:6480 --to-redis rediss://copier@new:6379", server=False)
    for which, redis, option, name, variable in (
            ("source", "from", "--src-server", "source", "MEILIES_SRC_PASSWORD"),
            ("destination", "to", "--dst-server", "destination", "MEILIES_DST_PASSWORD")):
        one = migrate.add_mutually_exclusive_group(required=True)
        one.add_argument(option, dest=name, metavar="HOST:PORT", type=server_argument,
                         help="or an URL, as --url takes it; its user's password is asked for, or in " + variable)
        one.add_argument(f"--{redis}-redis", metavar="URL", type=redis_streams.redis_argument,
                         help=f"a Redis server as the {which}: redis://USER@HOST:PORT/DATABASE, rediss:// for TLS")
    migrate.add_argument("--follow", action="store_true", help="don't end, copy what is new as it comes")
    migrate.add_tries()
    add_transport(migrate)
    migrate.add_argument("streams", metavar="STREAM[:FROM[:TO]]", nargs="*", type=text_argument,
                         help="what to copy, from event 0 if FROM is missing; all streams if none is named. From or to "
                              "Redis these are keys, or patterns of keys")
