#!/usr/bin/env python3
"""The command line: publish, follow, ask, inspect, migrate.

    stdin ---> publish                  stdout    what was asked for, nothing else
    stdout <-- subscribe                stderr    what went wrong; progress, on a terminal
    source --> migrate --> destination  exit      0 done, 1 error, 2 usage, 130 Ctrl-C

Whatever is shown on a terminal is escaped: data of others can't drive it.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import itertools
import json
import logging
import os
import select
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from typing import Any, BinaryIO, Callable
from collections.abc import Iterable, Iterator

from meilies_client import (
    ALL,
    MAX_NUMBER,
    CaughtUp,
    Client,
    ClientError,
    Event,
    EventsLost,
    NewEvent,
    NothingCame,
    Prefix,
    PublishInterrupted,
    Refuse,
    Refused,
    Selector,
    Subscription,
    check_event,
    check_stream,
)

PROGRAM = "meilies_cli"
DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 6480

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

# Bytes of standard input that are taken at once; and the longest line, which
# no server with default limits takes anyway.
BLOCK = 256 * 1024
LONGEST_LINE = 512 * 1024 * 1024

# How often a server that was lost is tried for, where nothing else is said.
TRIES = 50

# How often, in seconds, a quiet `subscribe` looks whether its reader is still there.
LOOK_FOR_READER = 1.0

# migrate: events compared where a copy is joined to what is there already, and
# streams asked for at once.
COMPARED = 10
STREAMS_AT_ONCE = 50

# migrate: seconds that the destination's last numbers must stand still after an
# interruption, while what was under way to it may still arrive.
SETTLED = 0.3

EPILOG = """\
Selectors are STREAM (new events), STREAM:FROM or STREAM:FROM:TO, FROM inclusive
and TO exclusive; $all is every stream, its FROM and TO positions in the store.
MEILIES_HOSTNAME and MEILIES_PORT are used where -h and -p are not given.
Exit status: 0 done, 1 error, 2 wrong usage, 130 interrupted by Ctrl-C."""


class Failed(Exception):
    """What the user is told in one line before the exit with status 1."""


class WrongUsage(Exception):
    """What the user is told, behind how the command is used, before the exit with status 2."""


# -- show ----------------------------------------------------------------------

def printable(text: str) -> str:
    """`text` with every character that could move a cursor, or hide, as its escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def readable_line(event: Event) -> bytes:
    """STREAM:NUMBER NAME DATA, whatever they hold, in one line."""
    data = event.data.decode("utf-8", "backslashreplace")
    line = printable(f"{event.stream}:{event.number} {event.name} {data}")
    return line.encode(sys.stdout.encoding, "backslashreplace") + b"\n"


def json_line(event: Event) -> bytes:
    """One JSON object; bytes that aren't UTF-8 text stand under NAME_base64."""
    fields: dict[str, Any] = {"stream": event.stream, "number": event.number, "name": event.name}
    fields.update(_json_bytes("data", event.data))
    for name, value in (("id", event.id), ("metadata", event.metadata)):
        if value:
            fields.update(_json_bytes(name, value))
    if event.tags:
        fields["tags"] = [tag.decode("utf-8", "backslashreplace") for tag in event.tags]
    if event.position is not None:
        fields["position"] = event.position
    if event.time is not None:
        fields["time"] = event.time
    return json.dumps(fields).encode() + b"\n"


def _json_bytes(name: str, value: bytes) -> dict[str, str]:
    try:
        return {name: value.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(value).decode()}


def raw_line(event: Event) -> bytes:
    return event.data + b"\n"


def raw_bytes(event: Event) -> bytes:
    return event.data


# -- publish and ask -----------------------------------------------------------

def run_publish(options: argparse.Namespace) -> None:
    with _client(options) as client:
        if options.ids:
            client.ids, client.tries = True, TRIES
        if options.lines:
            _publish_lines(client, options.stream, options.name)
            return
        data = _stdin().read() if options.data in (None, "-") else os.fsencode(options.data)
        client.publish(options.stream, options.name, data, id=os.fsencode(options.id))


def _publish_lines(client: Client, stream: str, name: str) -> None:
    """Publish each line of standard input, as it comes, the bytes before its LF."""
    stored = 0
    try:
        for lines in lines_as_they_come(_stdin()):
            stored += client.publish_many(stream, ((name, line) for line in lines))
    except KeyboardInterrupt:
        _complain(f"interrupted; {stored} lines are stored, more may be")
        raise
    except Refused as error:
        raise Failed(f"line {stored + error.index + 1} was refused: {error.reply}; "
                     f"{stored + error.acknowledged} lines are stored") from error
    except PublishInterrupted as error:
        raise Failed(f"{error.__cause__}; {stored + error.acknowledged} lines are stored, "
                     f"the fate of {error.unknown} more is unknown") from error
    except ClientError as error:
        raise Failed(f"{error}; {stored} lines are stored") from error


def run_append(options: argparse.Namespace) -> None:
    """One event, or all of standard input as one append; prints number and position of each."""
    if options.json:
        events = [_event_of_json(i, line) for i, line in enumerate(_stdin().read().splitlines(), 1) if line.strip()]
    else:
        data = _stdin().read() if options.data in (None, "-") else os.fsencode(options.data)
        events = [NewEvent(options.stream, options.name, data, options.expected,
                           os.fsencode(options.id), os.fsencode(options.metadata))]
    try:
        with _client(options) as client:
            places = client.append_all(events)
    except (ValueError, TypeError) as error:
        raise Failed(str(error)) from error
    for number, position in places:
        print(number, position)


def run_dcb_append(options: argparse.Namespace) -> None:
    """One event with tags; prints its number and position."""
    data = _stdin().read() if options.data in (None, "-") else os.fsencode(options.data)
    event = NewEvent(options.stream, options.name, data, "any", os.fsencode(options.id), os.fsencode(options.metadata),
                     tuple(map(os.fsencode, options.tags)))
    unless = None
    if options.unless or options.after is not None:
        unless = options.unless
    with _client(options) as client:
        for number, position in client.dcb_append([event], unless=unless, after=options.after):
            print(number, position)


def run_dcb_read(options: argparse.Namespace) -> None:
    """The events that match, one JSON object a line."""
    with _client(options) as client:
        tagged = client.dcb_read(options.items, after=options.after, limit=options.limit)
    for event in tagged.events:
        sys.stdout.buffer.write(json_line(event))
    sys.stdout.buffer.flush()


def _item(text: str) -> tuple[list[str], list[str]]:
    """(names, tags) of NAME,NAME+TAG,TAG."""
    names, plus, tags = text.partition("+")
    if not plus:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected [NAME[,NAME...]]+[TAG[,TAG...]]")
    return [name for name in names.split(",") if name], [tag for tag in tags.split(",") if tag]


def _position(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 20 and int(text) <= MAX_NUMBER):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a position from 0 to {MAX_NUMBER}")
    return int(text)


_TYPES = {"stream": str, "name": str, "data": str, "data_base64": str, "expected": (int, str), "id": str,
          "id_base64": str, "metadata": str, "metadata_base64": str}


def _event_of_json(number: int, line: bytes) -> NewEvent:
    """The event that line `number` of standard input is.  Raises Failed."""
    try:
        fields = json.loads(line)
        for name, value in fields.items():
            if not isinstance(value, _TYPES[name]):
                raise ValueError(f"{name} is {value!r}")
        return NewEvent(fields["stream"], fields["name"], _bytes_of_json("data", fields),
                        fields.get("expected", "any"), _bytes_of_json("id", fields), _bytes_of_json("metadata", fields))
    except (ValueError, KeyError, AttributeError) as error:
        raise Failed(f"line {number}: found {printable(line[:60].decode('utf-8', 'backslashreplace'))} ({error!r}), "
                     f"expected a JSON object with stream, name and data, perhaps expected, id and metadata; "
                     f"nothing was sent") from error


def _bytes_of_json(name: str, fields: dict[str, Any]) -> bytes:
    """What `_json_bytes` made an object's field of."""
    if f"{name}_base64" in fields:
        return base64.b64decode(fields[f"{name}_base64"], validate=True)
    return fields.get(name, "").encode()


def lines_as_they_come(source: BinaryIO) -> Iterator[list[bytes]]:
    """Lines, those together that can be read without waiting.  A last one may lack its LF."""
    pieces: list[bytes] = []        # of a line whose end is still to come
    size = 0
    while True:
        block = source.read1(BLOCK)     # type: ignore[attr-defined]
        if not block:
            break
        *lines, rest = block.split(b"\n")
        if lines:
            lines[0] = b"".join(pieces) + lines[0]
            yield lines
            pieces, size = [], 0
        pieces.append(rest)
        size += len(rest)
        if size > LONGEST_LINE:
            raise Failed(f"a line is longer than {LONGEST_LINE} bytes; it and what follows was not published")
    last = b"".join(pieces)
    if last:
        yield [last]


def _stdin() -> BinaryIO:
    if sys.stdin is None:
        raise Failed("standard input is closed, expected the data to publish")
    return sys.stdin.buffer


def run_last_event_number(options: argparse.Namespace) -> None:
    with _client(options) as client:
        last = client.last_event_number(options.stream)
    print("none" if last is None else last)


def run_read(options: argparse.Namespace) -> None:
    """Events that are lost are told of, and passed over; the exit status is 1 then."""
    lost = []
    with _client(options) as client:
        selector = Prefix(options.stream) if options.prefix else options.stream
        read = client.read_back if options.back else client.read
        from_, since, left = options.from_, options.since, options.count
        while left != 0:
            page = 1000 if left is None else min(left, 1000)
            try:
                for event in itertools.islice(read(selector, from_, since=since, names=options.names, page=page), left):
                    sys.stdout.buffer.write(options.show(event))
                    left = None if left is None else left - 1
                break
            except EventsLost as error:
                lost.append(error)
                _complain(error)
                from_, since = error.first - 1 if options.back else error.stop, None
                if from_ < 0:
                    break
    sys.stdout.flush()
    if lost:
        raise Failed(f"{sum(error.stop - error.first for error in lost)} events are lost; the others were read")


def run_read_last(options: argparse.Namespace) -> None:
    with _client(options) as client:
        event = client.read_last(Prefix(options.stream) if options.prefix else options.stream)
    if event is None:
        raise Failed(f"{options.stream} has no event")
    _write(options.show(event))


def run_stream_info(options: argparse.Namespace) -> None:
    with _client(options) as client:
        info = client.stream_info(options.stream)
    if info is None:
        raise Failed(f"{options.stream} has no event")
    if options.json:
        print(json.dumps(info._asdict()))
        return
    for name, value in info._asdict().items():
        shown = _time_text(value) if name.endswith("_time") else value
        print(name.replace("_", "-"), shown)


def _time_text(microseconds: int | None) -> str:
    """A time in UTC, as ISO 8601 has it."""
    if microseconds is None:
        return "unknown"
    moment = EPOCH + timedelta(microseconds=microseconds)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def run_stream_names(options: argparse.Namespace) -> None:
    with _client(options) as client:
        names = client.stream_names()
    if sys.stdout.isatty():
        names = [printable(name) for name in names]
    _write("".join(f"{name}\n" for name in names).encode())


def run_retain(options: argparse.Namespace) -> None:
    selector = Prefix(options.stream) if options.prefix else options.stream
    with _client(options) as client:
        client.retain(selector, options.max_count, options.max_age)


def run_retention(options: argparse.Namespace) -> None:
    """A rule on a line."""
    with _client(options) as client:
        rules = client.retention()
    for selector, rule in rules:
        what = f"prefix {selector.text}" if isinstance(selector, Prefix) else selector
        count = "" if rule.max_count is None else f" max-count {rule.max_count}"
        age = "" if rule.max_age is None else f" max-age {rule.max_age}"
        print(f"{printable(what)}:{count}{age}")


def run_truncate(options: argparse.Namespace) -> None:
    with _client(options) as client:
        print(client.truncate(options.stream, options.number))


def run_delete(options: argparse.Namespace) -> None:
    with _client(options) as client:
        client.delete(options.stream, options.forever)


def run_redact(options: argparse.Namespace) -> None:
    with _client(options) as client:
        client.redact(options.stream, options.number)


def run_compact(options: argparse.Namespace) -> None:
    with _client(options) as client:
        done = client.compact()
    segments = "1 segment" if done.segments == 1 else f"{done.segments} segments"
    print(f"{segments} rewritten, {done.bytes} bytes freed")


def run_snapshot_put(options: argparse.Namespace) -> None:
    data = _stdin().read() if options.data in (None, "-") else os.fsencode(options.data)
    with _client(options) as client:
        client.snapshot_put(options.stream, options.number, data)


def run_snapshot_get(options: argparse.Namespace) -> None:
    """NUMBER DATA; with --raw-bytes the data alone."""
    with _client(options) as client:
        found = client.snapshot_get(options.stream)
    if found is None:
        raise Failed(f"{options.stream} has no snapshot")
    if options.raw:
        _write(found.data)
    else:
        print(found.number, printable(found.data.decode("utf-8", "backslashreplace")))


def run_snapshot_delete(options: argparse.Namespace) -> None:
    with _client(options) as client:
        client.snapshot_delete(options.stream)


# -- consumer groups -------------------------------------------------------------

def run_group_create(options: argparse.Namespace) -> None:
    selector = Prefix(options.stream) if options.prefix else options.stream
    with _client(options) as client:
        client.group_create(options.group, selector, options.from_, tries=options.max_tries, wait=options.wait,
                            pause=options.pause)


def run_group_delete(options: argparse.Namespace) -> None:
    with _client(options) as client:
        client.group_delete(options.group)


def run_groups(options: argparse.Namespace) -> None:
    with _client(options) as client:
        names = client.groups()
    for name in names:
        print(printable(name))


def run_group_read(options: argparse.Namespace) -> None:
    """KEY and the event, a line each."""
    with _client(options) as client:
        given = client.group_read(options.group, options.member, options.count, block=options.block)
    _write(b"".join(b"%d %b" % (one.key, options.show(one.event)) for one in given))


def run_group_ack(options: argparse.Namespace) -> None:
    with _client(options) as client:
        print(client.group_ack(options.group, *options.keys))


def run_group_refuse(options: argparse.Namespace) -> None:
    with _client(options) as client:
        if not client.group_refuse(options.group, options.key, options.reason, park=options.park):
            raise Failed(f"event {options.key} isn't held by a member of {options.group}")


def run_group_leave(options: argparse.Namespace) -> None:
    with _client(options) as client:
        print(client.group_leave(options.group, options.member))


def run_group_parked(options: argparse.Namespace) -> None:
    """KEY STREAM:NUMBER TRIES TIME REASON, a line each."""
    with _client(options) as client:
        first = 0
        while True:
            parked = client.group_parked(options.group, first)
            for one in parked:
                print(printable(f"{one.key} {one.stream}:{one.number} {one.tries} {_time_text(one.time)} {one.reason}"))
            if not parked:
                return
            first = parked[-1].key + 1


def run_group_replay(options: argparse.Namespace) -> None:
    with _client(options) as client:
        print(client.group_replay(options.group, *options.keys))


def run_group_discard(options: argparse.Namespace) -> None:
    with _client(options) as client:
        print(client.group_discard(options.group, *options.keys))


def run_group_info(options: argparse.Namespace) -> None:
    with _client(options) as client:
        info = client.group_info(options.group)
    if options.json:
        print(json.dumps(info))
        return
    members = info.pop("members")
    for name, value in info.items():
        print(name, printable(str(value)))
    for member, held in members.items():
        print("member", printable(member), held)


def run_consume(options: argparse.Namespace) -> None:
    """Run a command for each event: it is done if that ends with status 0, and refused otherwise."""
    def handle(event: Event) -> None:
        how = _how_it_failed(event, options.shell_command)
        if how:
            _complain(f"event {event.number} of {event.stream}: the command ended {how}; it is given again")
            raise Refuse(f"the command ended {how}")

    with _client(options) as client:
        client.consume(options.group, options.member, handle, block=options.block)


def run_ping(options: argparse.Namespace) -> None:
    with _client(options) as client:
        print(f"{client.ping() * 1000:.3f} ms")


# -- follow ----------------------------------------------------------------------

def run_backup(options: argparse.Namespace) -> None:
    with _client(options) as client:
        done = client.back_up(options.name)
    print(f"{done['position']} events, {done['copied']} of {done['segments']} segments copied, {done['written']} bytes")


def run_export(options: argparse.Namespace) -> None:
    progress = Progress()
    with _client(options) as client:
        for line in client.export():
            if line.startswith(b'{"meilies-export"'):
                progress.begin(json.loads(line)["position"])
            sys.stdout.buffer.write(line + b"\n")
            progress.advance(line.startswith(b'{"stream"'))
        progress.end()


def run_import(options: argparse.Namespace) -> None:
    with _client(options) as client:
        try:
            appended, there = client.import_(_stdin())
        except ValueError as error:
            raise Failed(str(error)) from error
    print(f"{appended} events{f', {there} more were there already' if there else ''}")


def run_check(options: argparse.Namespace) -> None:
    """Exit status 1 for a damaged store."""
    with _client(options) as client:
        found = client.check()
    for text in [*found["problems"], *(f"note: {note}" for note in found["notes"])]:
        print(printable(text))
    print(f"{'damaged' if found['problems'] else 'sound'}, {found['events']} events in {found['streams']} streams, "
          f"{found['lost']} lost")
    if found["problems"]:
        raise Failed("the store is damaged: stop the server, then 'meilies_server.py repair --dry-run' "
                     "says what can be done")


def run_chain_head(options: argparse.Namespace) -> None:
    with _client(options) as client:
        print(*client.chain_head())


def run_verify(options: argparse.Namespace) -> None:
    with _client(options) as client:
        found = client.verify(None if options.position is None else (options.position, options.head))
    print(f"{found['same']} events are what they were, {found['gone']} were cut or redacted; the head at "
          f"{found['position']} is {found['head']}")


def run_subscribe(options: argparse.Namespace) -> None:
    if options.prefix or options.names or options.notices:
        _run_follow(options)
        return
    with _client(options) as client, _subscribe(client, options, options.selectors) as subscription:
        for events in _batches(subscription):
            _write(b"".join(map(options.show, events)))


def _run_follow(options: argparse.Namespace) -> None:
    """`subscribe` with what only this project's server does: a prefix, names, notices."""
    if len(options.selectors) != 1:
        raise WrongUsage("--prefix, --name and --notices are of one selector, no more")
    with _client(options) as client, _follow(client, options, options.selectors[0]) as subscription:
        for found in _batches(subscription):
            for one in found:
                if isinstance(one, Event):
                    _write(options.show(one))
                elif options.notices:
                    what = "caught-up" if isinstance(one, CaughtUp) else "checkpoint"
                    print(f"{what} {printable(one.followed)}:{one.next}", file=sys.stderr, flush=True)


def _follow(client: Client, options: argparse.Namespace, selector: Selector) -> Subscription:
    try:
        return client.follow(
            Prefix(selector.stream) if options.prefix else selector.stream, selector.from_, to=selector.to,
            names=options.names, tries=options.tries, accept_other_store=options.accept_other_store)
    except ValueError as error:
        raise WrongUsage(str(error)) from error


def run_inspect(options: argparse.Namespace) -> None:
    with _client(options) as client, _subscribe(client, options, [options.selector]) as subscription:
        for event in subscription:
            _inspect(event, options.shell_command)


def _inspect(event: Event, command: str) -> None:
    """Run `command` in a shell with the event's data on its stdin.  Raises Failed."""
    how = _how_it_failed(event, command)
    if how:
        raise Failed(f"event {event.number} of {event.stream}: the command ended {how}; "
                     f"no further event was inspected")


def _how_it_failed(event: Event, command: str) -> str:
    """How `command` ended, run in a shell with the event's data on its stdin; "" if it was well."""
    shell = "/bin/bash" if os.path.exists("/bin/bash") else "/bin/sh"
    environment = dict(
        os.environ,
        MEILIES_STREAM_NAME=event.stream,
        MEILIES_EVENT_NAME=event.name,
        MEILIES_EVENT_NUMBER=str(event.number))
    status = subprocess.run([shell, "-c", command], input=event.data, env=environment, check=False).returncode
    if not status:
        return ""
    return f"with status {status}" if status > 0 else f"by {signal.Signals(-status).name}"


def _subscribe(client: Client, options: argparse.Namespace, selectors: list[Selector]) -> Subscription:
    try:
        return client.subscribe(
            *selectors, tries=options.tries, accept_other_store=options.accept_other_store)
    except ValueError as error:         # selectors that are right alone, but not together
        raise WrongUsage(str(error)) from error


def _batches(subscription: Subscription) -> Iterator[list[Event]]:
    """Events that came together, until the end or until nobody reads our output."""
    while True:
        try:
            events = subscription.read(LOOK_FOR_READER)
        except NothingCame:
            if _reader_is_gone():
                raise BrokenPipeError from None
            continue
        if not events:
            return
        yield events


def _reader_is_gone() -> bool:
    """True if standard output is a pipe that nobody will read from any more."""
    if not hasattr(select, "poll"):
        return False
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(flags & select.POLLERR for _, flags in poll.poll(0))


# -- migrate -----------------------------------------------------------------------

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


class Progress:
    """One line on a terminal that says how far it is, and nothing at all in a pipe."""

    INTERVAL = 0.2      # seconds between two drawings

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.shown = sys.stderr.isatty()
        self._clock = clock
        self.begin(0)

    def begin(self, total: int) -> None:
        """From now on `total` events are to come."""
        self.total = total
        self.done = 0
        self._began = self._drawn = self._clock()

    def advance(self, count: int) -> None:
        self.done += count
        if self.shown and self._clock() - self._drawn >= self.INTERVAL:
            self._draw()

    def end(self) -> None:
        if self.shown:
            self._draw()
            print(file=sys.stderr)

    def _draw(self) -> None:
        self._drawn = self._clock()
        print(f"\r{self.line():<70}", end="", file=sys.stderr, flush=True)

    def line(self) -> str:
        rate = self.done / max(self._clock() - self._began, 0.001)
        line = f"{self.done:,} of {max(self.total, self.done):,} events, {rate:,.0f}/s"
        if self.done < self.total and rate:
            seconds = int((self.total - self.done) / rate)
            line += f", {seconds // 60}:{seconds % 60:02} left"
        return line


def run_migrate(options: argparse.Namespace) -> None:
    if options.source == options.destination:
        raise WrongUsage("source and destination are the same server")
    source, destination = (Client(*address, timeout=options.timeout, tries=0)
                           for address in (options.source, options.destination))
    progress = Progress()
    with source, destination:
        try:
            migration = Migration(source, destination, options.follow, progress)
            source.tries = destination.tries = options.tries    # an outage is waited out, a wrong address not
            migration.run(options.selectors)
        finally:
            progress.end()


# -- options -------------------------------------------------------------------------

def _client(options: argparse.Namespace) -> Client:
    return Client(options.hostname, options.port, timeout=options.timeout, tries=0)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < 65536):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a port from 1 to 65535")
    return int(text)


def _address(text: str) -> tuple[str, int]:
    """HOST, HOST:PORT or [HOST]:PORT, the last for IPv6."""
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, str(DEFAULT_PORT)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected HOST:PORT or [HOST]:PORT")
    if not host:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected HOST:PORT")
    return host, _port(port)


def _selector(text: str) -> Selector:
    try:
        return Selector.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _stream(text: str) -> str:
    try:
        check_stream(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e9:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected seconds, more than 0")
    return seconds


def _expected(text: str) -> int | str:
    if text.lower() in ("any", "none", "exists"):
        return text.lower()
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected any, none, exists or the number of an event")
    return int(text)


def _event_number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected the number of an event, from 0")
    return int(text)


def _key(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 20 and int(text) < 2**64):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a number from 0")
    return int(text)


def _time(text: str) -> int:
    """Microseconds since 1970 of those, or of a date and time in ISO 8601; without a zone it is local."""
    if text.isascii() and text.isdigit():
        return _key(text)
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
        microseconds = (moment.astimezone(timezone.utc) - EPOCH) // timedelta(microseconds=1)
    except (ValueError, OverflowError):
        microseconds = -1
    if microseconds < 0:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected microseconds since 1970, or a time such as "
                                         f"2026-11-23T18:30:00Z")
    return microseconds


def _tries(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a number from 0")
    return int(text)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 20 and int(text) <= MAX_NUMBER):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a number from 0 to {MAX_NUMBER}")
    return int(text)


class _Parser(argparse.ArgumentParser):
    """A parser whose -h is the host, as in MeiliES, and whose help is --help."""

    def __init__(self, **options: Any) -> None:
        super().__init__(add_help=False, allow_abbrev=False,
                         formatter_class=argparse.RawDescriptionHelpFormatter, **options)
        self.add_argument("--help", action="help", help="show this and exit")

    def add_server(self, host: str, port: str) -> None:
        self.add_argument("-h", "--hostname", metavar="HOST", default=host, help="server (127.0.0.1)")
        self.add_argument("-p", "--port", type=_port, default=port, help="its port (6480)")

    def add_timeout(self) -> None:
        self.add_argument("--timeout", type=_seconds, default=10.0, metavar="SECONDS",
                          help="how long a server may take to answer (10)")

    def add_shown(self) -> None:
        """How events are printed."""
        shown = self.add_mutually_exclusive_group()
        for option, show, text in (
                ("--json", json_line, "one JSON object a line; what isn't text as data_base64"),
                ("--raw", raw_line, "the data and a line feed"),
                ("--raw-bytes", raw_bytes, "the data and nothing between")):
            shown.add_argument(option, dest="show", action="store_const", const=show, default=readable_line,
                               help=text)

    def add_following(self) -> None:
        self.add_argument("--tries", type=_tries, default=50, metavar="N",
                          help="how often to try again to reach a server that was lost (50)")
        self.add_argument("--accept-other-store", action="store_true",
                          help="go on even if another store is found after an outage")


def parser() -> argparse.ArgumentParser:
    main = _Parser(description="Publish events to a MeiliES server, follow them, copy them.", epilog=EPILOG)
    main.add_server(os.environ.get("MEILIES_HOSTNAME") or DEFAULT_HOST,
                    os.environ.get("MEILIES_PORT") or str(DEFAULT_PORT))
    commands = main.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)

    def command(name: str, run: Callable[[argparse.Namespace], None], text: str) -> _Parser:
        one = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        one.add_timeout()
        one.set_defaults(run=run, usage_error=one.error)
        return one

    def command_for_server(name: str, run: Callable[[argparse.Namespace], None], text: str) -> _Parser:
        one = command(name, run, text)
        one.add_server(argparse.SUPPRESS, argparse.SUPPRESS)
        return one

    publish = command_for_server("publish", run_publish, "store an event, or one for each line of input")
    publish.add_argument("stream", metavar="STREAM")
    publish.add_argument("name", metavar="NAME", help="what kind of event it is")
    publish.add_argument("data", metavar="DATA", nargs="?",
                         help="its data; standard input, every byte of it, if this is '-' or missing")
    publish.add_argument("--lines", action="store_true", help="store each line of standard input as an event")
    publish.add_argument("--id", default="", help="the event's id: published again with it, it isn't stored again")
    publish.add_argument("--ids", action="store_true",
                         help=f"give each event an id of its own, and send it again after an outage ({TRIES} tries)")

    append = command_for_server("append", run_append, "store events, all or none, if their streams are as expected; "
                                "prints number and position of each")
    append.add_argument("stream", metavar="STREAM", nargs="?")
    append.add_argument("name", metavar="NAME", nargs="?", help="what kind of event it is")
    append.add_argument("data", metavar="DATA", nargs="?",
                        help="its data; standard input, every byte of it, if this is '-' or missing")
    append.add_argument("--expected", type=_expected, default="any", metavar="WHAT",
                        help="any, none (the stream has no event yet), exists, or the number of its last event (any)")
    append.add_argument("--id", default="", help="the event's id")
    append.add_argument("--metadata", default="", help="what else is kept with it")
    append.add_argument("--json", action="store_true",
                        help="read events from standard input, one JSON object a line, with stream, name, data, and "
                             "perhaps expected, id and metadata; all of them are stored or none")

    tagged = command_for_server("dcb-append", run_dcb_append, "store an event with tags, unless others match; prints "
                                "its number and position")
    tagged.add_argument("stream", metavar="STREAM")
    tagged.add_argument("name", metavar="NAME", help="what kind of event it is")
    tagged.add_argument("data", metavar="DATA", nargs="?",
                        help="its data; standard input, every byte of it, if this is '-' or missing")
    tagged.add_argument("--tag", dest="tags", metavar="TAG", action="append", default=[], help="one of its tags")
    tagged.add_argument("--id", default="", help="the event's id")
    tagged.add_argument("--metadata", default="", help="what else is kept with it")
    tagged.add_argument("--unless", metavar="NAMES+TAGS", type=_item, action="append", default=[],
                        help="refuse it if an event has one of these names and all of these tags, as in "
                             "paid,sent+order:7 or +order:7; may be given several times")
    tagged.add_argument("--after", metavar="POSITION", type=_position,
                        help="events up to this position don't matter; without --unless, no event may stand behind it")

    query = command_for_server("dcb-read", run_dcb_read, "print the events that match, one JSON object a line")
    query.add_argument("items", metavar="NAMES+TAGS", nargs="*", type=_item,
                       help="one of these names and all of these tags, as in paid,sent+order:7 or +order:7; an event "
                            "that matches any is printed; all are if none is given")
    query.add_argument("--after", metavar="POSITION", type=_position, help="begin behind this position")
    query.add_argument("--limit", metavar="COUNT", type=_position, help="of events (all)")

    subscribe = command_for_server("subscribe", run_subscribe, "print events, one a line, as they come")
    subscribe.add_argument("selectors", metavar="STREAM[:FROM[:TO]]", nargs="+", type=_selector)
    subscribe.add_following()
    subscribe.add_argument("--prefix", action="store_true",
                           help="STREAM is how the streams' names begin; FROM and TO are positions")
    subscribe.add_argument("--name", dest="names", metavar="NAME", action="append", default=[],
                           help="only events that are called so; may be given again")
    subscribe.add_argument("--notices", action="store_true",
                           help="say on standard error how far it is: checkpoints, and caught-up")
    subscribe.add_shown()

    for name, back, text in (("read", False, "print the events that there are, oldest first, and end"),
                             ("read-back", True, "the same, newest first")):
        read = command_for_server(name, run_read, text)
        read.add_argument("stream", metavar="STREAM", type=_stream, help="or '$all'")
        read.add_argument("--prefix", action="store_true", help="read every stream whose name begins with STREAM")
        begin = read.add_mutually_exclusive_group()
        begin.add_argument("--from", dest="from_", metavar="N", type=_key,
                           help="begin with this number; with $all and --prefix, with this position")
        begin.add_argument("--since", metavar="TIME", type=_time,
                           help="begin with the first event at or after this time: 2026-11-23T18:30:00Z, or "
                                "microseconds since 1970")
        read.add_argument("--count", metavar="N", type=_key, help="print no more events than this")
        read.add_argument("--name", dest="names", metavar="NAME", action="append", default=[],
                          help="only events that are called so; may be given again")
        read.add_shown()
        read.set_defaults(back=back)
    read = command_for_server("read-last", run_read_last, "print the last event")
    read.add_argument("stream", metavar="STREAM", type=_stream, help="or '$all'")
    read.add_argument("--prefix", action="store_true", help="of every stream whose name begins with STREAM")
    read.add_shown()
    info = command_for_server("stream-info", run_stream_info, "print what is known of a stream")
    info.add_argument("stream", metavar="STREAM", type=_stream)
    info.add_argument("--json", action="store_true", help="one JSON object")

    last = command_for_server("last-event-number", run_last_event_number,
                              "print the number of a stream's last event, or 'none'")
    last.add_argument("stream", metavar="STREAM", type=_stream)

    command_for_server("stream-names", run_stream_names, "print the names of all streams, one a line")
    backup = command_for_server("backup", run_backup, "have the server copy its store, while it goes on")
    backup.add_argument("name", metavar="NAME", help="of a folder in the server's --backup-path")
    command_for_server("export", run_export, "print the server's store as lines of JSON")
    command_for_server("import", run_import, "append what standard input, an export's lines, has")
    command_for_server("check", run_check, "have the server read its whole log and name what is bad in it")
    retain = command_for_server("retain", run_retain, "say what streams keep; without an option: all, from now on")
    retain.add_argument("stream", metavar="STREAM", type=_stream, help="or $all")
    retain.add_argument("--prefix", action="store_true", help="every stream whose name begins with STREAM")
    retain.add_argument("--max-count", metavar="N", type=_event_number, help="the last N events of each stream")
    retain.add_argument("--max-age", metavar="SECONDS", type=_event_number, help="events that are no older")
    command_for_server("retention", run_retention, "print the rules that say what streams keep")
    truncate = command_for_server("truncate", run_truncate, "cut the events of a stream below NUMBER")
    truncate.add_argument("stream", metavar="STREAM", type=_stream)
    truncate.add_argument("number", metavar="NUMBER", type=_event_number, help="of the first event that stays")
    delete = command_for_server("delete", run_delete, "cut all events of a stream; it goes on with its next number")
    delete.add_argument("stream", metavar="STREAM", type=_stream)
    delete.add_argument("--forever", action="store_true", help="nothing is appended to it any more")
    redact = command_for_server("redact", run_redact, "take the data and metadata of one event")
    redact.add_argument("stream", metavar="STREAM", type=_stream)
    redact.add_argument("number", metavar="NUMBER", type=_event_number)
    command_for_server("compact", run_compact, "take from the server's disk what was cut or redacted")
    snapshot = command_for_server("snapshot-put", run_snapshot_put, "keep what a stream's events up to NUMBER come to")
    snapshot.add_argument("stream", metavar="STREAM", type=_stream)
    snapshot.add_argument("number", metavar="NUMBER", type=_event_number, help="of the last event that it was made of")
    snapshot.add_argument("data", metavar="DATA", nargs="?", help="standard input if this is '-' or missing")
    snapshot = command_for_server("snapshot-get", run_snapshot_get, "print the number and data of a stream's snapshot")
    snapshot.add_argument("stream", metavar="STREAM", type=_stream)
    snapshot.add_argument("--raw-bytes", dest="raw", action="store_true", help="the data and nothing else")
    snapshot = command_for_server("snapshot-delete", run_snapshot_delete, "take a stream's snapshot out")
    snapshot.add_argument("stream", metavar="STREAM", type=_stream)

    command_for_server("chain-head", run_chain_head, "print how far the chain of digests is, and its head")
    verify = command_for_server("verify", run_verify,
                                "have the server compare every event with its chain of digests")
    verify.add_argument("position", metavar="POSITION", type=_number, nargs="?",
                        help="and the chain with what chain-head printed at some time")
    verify.add_argument("head", metavar="HEAD", nargs="?")
    _add_groups(command_for_server)
    command_for_server("ping", run_ping, "print how long the server takes to answer")

    inspect = command_for_server(
        "inspect", run_inspect,
        "run a shell command for each event, its data on stdin, until one fails; MEILIES_STREAM_NAME, "
        "MEILIES_EVENT_NAME and MEILIES_EVENT_NUMBER are in its environment")
    inspect.add_argument("--stream", dest="selector", metavar="STREAM[:FROM[:TO]]", type=_selector,
                         required=True)
    inspect.add_argument("shell_command", metavar="COMMAND")
    inspect.add_following()

    migrate = command("migrate", run_migrate,
                      "copy events from one server to another; run again, it goes on where it stopped")
    for option, name in ("--src-server", "source"), ("--dst-server", "destination"):
        migrate.add_argument(option, dest=name, metavar="HOST:PORT", type=_address, required=True)
    migrate.add_argument("--follow", action="store_true", help="don't end, copy what is new as it comes")
    migrate.add_argument("--tries", type=_tries, default=50, metavar="N",
                         help="how often to try again to reach a server that was lost (50)")
    migrate.add_argument("selectors", metavar="STREAM[:FROM[:TO]]", nargs="*", type=_selector,
                         help="what to copy, from event 0 if FROM is missing; all streams if none is named")
    return main


def _add_groups(command: Callable[[str, Callable[[argparse.Namespace], None], str], _Parser]) -> None:
    """The commands for consumer groups."""

    def of_group(name: str, run: Callable[[argparse.Namespace], None], text: str, *more: str) -> _Parser:
        one = command(name, run, text)
        for argument in ("group", *more):
            one.add_argument(argument, metavar=argument.upper())
        return one

    create = of_group("group-create", run_group_create, "make a consumer group, whose members share events")
    create.add_argument("stream", metavar="STREAM", type=_stream, help="or '$all'")
    create.add_argument("--prefix", action="store_true", help="of every stream whose name begins with STREAM")
    create.add_argument("--from", dest="from_", metavar="N", type=_key,
                        help="begin with this number, or position; without it, with what is new")
    create.add_argument("--max-tries", metavar="N", type=_key, help="give an event so often, then park it (10)")
    create.add_argument("--wait", metavar="SECONDS", type=_seconds, help="what a member has for an event (30)")
    create.add_argument("--pause", metavar="SECONDS", type=_seconds, help="before the second try; it doubles (1)")
    of_group("group-delete", run_group_delete, "forget a consumer group")
    command("groups", run_groups, "print the names of all consumer groups")
    read = of_group("group-read", run_group_read, "print events for a member, with the keys to acknowledge them by",
                    "member")
    read.add_argument("count", metavar="COUNT", nargs="?", type=_key, default=1, help="how many at most (1)")
    read.add_argument("--block", metavar="SECONDS", type=_seconds, default=0, help="wait so long for one")
    read.add_shown()
    of_group("group-ack", run_group_ack, "these events are done; print how many a member held").add_argument(
        "keys", metavar="KEY", nargs="+", type=_key)
    refuse = of_group("group-refuse", run_group_refuse, "an event can't be done now")
    refuse.add_argument("key", metavar="KEY", type=_key)
    refuse.add_argument("reason", metavar="REASON", nargs="?", default="")
    refuse.add_argument("--park", action="store_true", help="don't try it again")
    of_group("group-leave", run_group_leave, "give what a member holds to others", "member")
    of_group("group-parked", run_group_parked, "print the events that nobody gets until they are replayed")
    of_group("group-replay", run_group_replay, "give parked events again, these or all").add_argument(
        "keys", metavar="KEY", nargs="*", type=_key)
    of_group("group-discard", run_group_discard, "forget parked events").add_argument(
        "keys", metavar="KEY", nargs="+", type=_key)
    of_group("group-info", run_group_info, "print how a group stands").add_argument(
        "--json", action="store_true", help="one JSON object")
    consume = of_group("consume", run_consume, "run a shell command for each event that a member is given, its data on "
                       "stdin; one that fails is given again", "member")
    consume.add_argument("shell_command", metavar="COMMAND")
    consume.add_argument("--block", metavar="SECONDS", type=_seconds, help="end when none came for so long")


def _check(options: argparse.Namespace) -> None:
    """What argparse can't.  Raises WrongUsage."""
    if options.command == "append":
        if options.json and options.stream is not None:
            raise WrongUsage("--json takes its events from standard input, STREAM must be missing")
        if not options.json and options.name is None:
            raise WrongUsage("expected STREAM and NAME, or --json")
    if options.command == "publish" and options.lines and options.data is not None:
        raise WrongUsage("--lines takes its data from standard input, DATA must be missing")
    if options.command == "publish" and options.id and (options.lines or options.ids):
        raise WrongUsage("--id is of a single event, --lines and --ids must be missing")
    if options.command in ("publish", "append", "dcb-append") and options.stream is not None:
        try:
            check_event(options.stream, options.name)
        except ValueError as error:
            raise WrongUsage(str(error)) from error
    if options.command == "verify" and options.position is not None and options.head is None:
        raise WrongUsage("POSITION comes with its HEAD")
    if options.command == "migrate":
        names = [selector.stream for selector in options.selectors]
        if ALL in names:
            raise WrongUsage(f"{ALL}: name no stream to copy all of them")
        if len(set(names)) < len(names):
            raise WrongUsage("a stream is named twice")


# -- main ----------------------------------------------------------------------------

def _write(data: bytes) -> None:
    """To standard output, at once: somebody may be watching."""
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _complain(problem: object) -> None:
    print(f"{PROGRAM}: {printable(str(problem))}", file=sys.stderr)


class _Complaints(logging.Handler):
    """What the client warns of, such as an outage that it waits out."""

    def emit(self, record: logging.LogRecord) -> None:
        _complain(record.getMessage())


def _run(arguments: list[str] | None) -> int:
    options = parser().parse_args(arguments)
    if sys.stdout is None:
        raise Failed("standard output is closed")
    try:
        _check(options)
        options.run(options)
    except WrongUsage as error:
        options.usage_error(str(error))
    sys.stdout.flush()
    return 0


def _silence_stdout() -> None:
    """Let what is still buffered go nowhere; nor may Python complain of it when it exits."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return the exit status."""
    logging.basicConfig(handlers=[_Complaints()])
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:         # of standard output: the client's are ClientErrors
        _silence_stdout()
        return 0
    except (Failed, ClientError) as error:
        _complain(error)
    except OSError as error:        # of standard input or output
        _complain(error)
        _silence_stdout()
    return 1


if __name__ == "__main__":
    sys.exit(main())
