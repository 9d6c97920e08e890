"""Commands that read what there is, and end."""

from __future__ import annotations

import argparse
import itertools
import json
import sys

from meilies_client import EventsLost, Prefix
from terminal.escaping import printable

from .connecting import connect
from .parsing import (
    Commands,
    count_argument,
    item_argument,
    number_argument,
    stream_argument,
    text_argument,
    time_argument,
)
from .problems import Failed, complain
from .showing import json_line, time_text, write


def run_read(options: argparse.Namespace) -> None:
    """Events that are lost are told of, and passed over; the exit status is 1 then."""
    lost = []
    with connect(options) as client:
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
                complain(error)
                from_, since = error.first - 1 if options.back else error.stop, None
                if from_ < 0:
                    break
    sys.stdout.flush()
    if lost:
        raise Failed(f"{sum(error.stop - error.first for error in lost)} events are lost; the others were read")


def run_read_last(options: argparse.Namespace) -> None:
    with connect(options) as client:
        event = client.read_last(Prefix(options.stream) if options.prefix else options.stream)
    if event is None:
        raise Failed(f"{options.stream} has no event")
    write(options.show(event))


def run_dcb_read(options: argparse.Namespace) -> None:
    """The events that match, one JSON object a line."""
    with connect(options) as client:
        tagged = client.dcb_read(options.items, after=options.after, limit=options.limit)
    for event in tagged.events:
        sys.stdout.buffer.write(json_line(event))
    sys.stdout.buffer.flush()


def run_stream_info(options: argparse.Namespace) -> None:
    with connect(options) as client:
        info = client.stream_info(options.stream)
    if info is None:
        raise Failed(f"{options.stream} has no event")
    if options.json:
        print(json.dumps(info._asdict()))
        return
    for name, value in info._asdict().items():
        shown = time_text(value) if name.endswith("_time") else value
        print(name.replace("_", "-"), shown)


def run_stream_names(options: argparse.Namespace) -> None:
    with connect(options) as client:
        names = client.stream_names()
    if options.json:
        print(json.dumps(names))
        return
    if sys.stdout.isatty():
        names = [printable(name) for name in names]
    write("".join(f"{name}\n" for name in names).encode())


def run_last_event_number(options: argparse.Namespace) -> None:
    with connect(options) as client:
        last = client.last_event_number(options.stream)
    print("none" if last is None else last)


def add(commands: Commands) -> None:
    commands.heading("Read what there is")
    for name, back, text, example in (
            ("read", False, "print the events that there are, oldest first, and end", "read orders --from 5 --count 3"),
            ("read-back", True, "the same, newest first", "read-back '$all' --count 10 --json")):
        read = commands(name, run_read, text, example, f"{name} orders --since 2026-11-23T18:30:00Z --name paid")
        read.add_argument("stream", metavar="STREAM", type=stream_argument, help="or '$all'")
        read.add_argument("--prefix", action="store_true", help="read every stream whose name begins with STREAM")
        begin = read.add_mutually_exclusive_group()
        begin.add_argument("--from", dest="from_", metavar="N", type=number_argument,
                           help="begin with this number; with $all and --prefix, with this position")
        begin.add_argument("--since", metavar="TIME", type=time_argument,
                           help="begin with the first event at or after this time: 2026-11-23T18:30:00Z, or "
                                "microseconds since 1970")
        read.add_argument("--count", metavar="N", type=count_argument, help="print no more events than this")
        read.add_argument("--name", dest="names", metavar="NAME", type=text_argument, action="append", default=[],
                          help="only events that are called so; may be given again")
        read.add_shown()
        read.set_defaults(back=back)
    last = commands("read-last", run_read_last, "print the last event", "read-last orders --raw")
    last.add_argument("stream", metavar="STREAM", type=stream_argument, help="or '$all'")
    last.add_argument("--prefix", action="store_true", help="of every stream whose name begins with STREAM")
    last.add_shown()
    query = commands("dcb-read", run_dcb_read, "print the events that match, one JSON object a line",
                     "dcb-read paid,sent+order:7", "dcb-read +customer:5 --after 1000")
    query.add_argument("items", metavar="NAMES+TAGS", nargs="*", type=item_argument,
                       help="one of these names and all of these tags, as in paid,sent+order:7 or +order:7; an event "
                            "that matches any is printed; all are if none is given")
    query.add_argument("--after", metavar="POSITION", type=number_argument, help="begin behind this position")
    query.add_argument("--limit", metavar="COUNT", type=number_argument, help="of events (all)")
    number = commands("last-event-number", run_last_event_number,
                      "print the number of a stream's last event, or 'none'", "last-event-number orders")
    number.add_argument("stream", metavar="STREAM", type=stream_argument)
    commands("stream-names", run_stream_names, "print the names of all streams, one a line",
             "stream-names", "stream-names --json").add_json("one JSON array")
    info = commands("stream-info", run_stream_info, "print what is known of a stream", "stream-info orders --json")
    info.add_argument("stream", metavar="STREAM", type=stream_argument)
    info.add_json()
