"""Commands that store events: publish, append, dcb-append."""

from __future__ import annotations

import argparse
import os

from meilies_client import Client, ClientError, NewEvent, PublishInterrupted, Refused, check_event

from .connecting import connect
from .parsing import TRIES, Commands, Parser, expected_argument, item_argument, number_argument
from .problems import Failed, WrongUsage, complain
from .taking import data_of, event_of_json, lines_as_they_come, stdin


def run_publish(options: argparse.Namespace) -> None:
    _check_event(options)
    if options.lines and options.data is not None:
        raise WrongUsage("--lines takes its data from standard input, DATA must be missing")
    if options.id and (options.lines or options.ids):
        raise WrongUsage("--id is of a single event, --lines and --ids must be missing")
    with connect(options) as client:
        if options.ids:
            client.ids, client.tries = True, TRIES
        if options.lines:
            _publish_lines(client, options.stream, options.name)
            return
        client.publish(options.stream, options.name, data_of(options), id=os.fsencode(options.id))


def _publish_lines(client: Client, stream: str, name: str) -> None:
    """Publish each line of standard input, as it comes, the bytes before its LF."""
    stored = 0
    try:
        for lines in lines_as_they_come(stdin()):
            stored += client.publish_many(stream, ((name, line) for line in lines))
    except KeyboardInterrupt:
        complain(f"interrupted; {stored} lines are stored, more may be")
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
        if options.stream is not None:
            raise WrongUsage("--json takes its events from standard input, STREAM must be missing")
        events = [event_of_json(i, line) for i, line in enumerate(stdin().read().splitlines(), 1) if line.strip()]
    else:
        if options.name is None:
            raise WrongUsage("expected STREAM and NAME, or --json")
        _check_event(options)
        events = [NewEvent(options.stream, options.name, data_of(options), options.expected,
                           os.fsencode(options.id), os.fsencode(options.metadata))]
    try:
        with connect(options) as client:
            places = client.append_all(events)
    except (ValueError, TypeError) as error:
        raise Failed(str(error)) from error
    for number, position in places:
        print(number, position)


def run_dcb_append(options: argparse.Namespace) -> None:
    """One event with tags; prints its number and position."""
    _check_event(options)
    event = NewEvent(options.stream, options.name, data_of(options), "any", os.fsencode(options.id),
                     os.fsencode(options.metadata), tuple(map(os.fsencode, options.tags)))
    unless = None
    if options.unless or options.after is not None:
        unless = options.unless
    with connect(options) as client:
        for number, position in client.dcb_append([event], unless=unless, after=options.after):
            print(number, position)


def _check_event(options: argparse.Namespace) -> None:
    try:
        check_event(options.stream, options.name)
    except ValueError as error:
        raise WrongUsage(str(error)) from error


def add(commands: Commands) -> None:
    commands.heading("Store events")
    publish = commands(
        "publish", run_publish, "store an event, or one for each line of input",
        "publish orders created '{\"id\": 1}'",
        "publish orders scanned < label.png",
        "publish log line --lines --ids < lines.txt")
    _add_event(publish)
    publish.add_argument("--lines", action="store_true", help="store each line of standard input as an event")
    publish.add_argument("--id", default="", help="the event's id: published again with it, it isn't stored again")
    publish.add_argument("--ids", action="store_true",
                         help=f"give each event an id of its own, and send it again after an outage ({TRIES} tries)")

    append = commands(
        "append", run_append,
        "store events, all or none, if their streams are as expected; prints number and position of each",
        "append orders paid '{\"id\": 1}' --expected 0",
        "append --json < events.jsonl")
    _add_event(append, nargs="?")
    append.add_argument("--expected", type=expected_argument, default="any", metavar="WHAT",
                        help="any, none (the stream has no event yet), exists, or the number of its last event (any)")
    _add_id_and_metadata(append)
    append.add_json("read events from standard input, one JSON object a line, with stream, name, data, and perhaps "
                    "expected, id and metadata; all of them are stored or none")

    tagged = commands(
        "dcb-append", run_dcb_append,
        "store an event with tags, unless others match; prints its number and position",
        "dcb-append orders paid '{}' --tag order:7 --unless paid+order:7")
    _add_event(tagged)
    tagged.add_argument("--tag", dest="tags", metavar="TAG", action="append", default=[], help="one of its tags")
    _add_id_and_metadata(tagged)
    tagged.add_argument("--unless", metavar="NAMES+TAGS", type=item_argument, action="append", default=[],
                        help="refuse it if an event has one of these names and all of these tags, as in "
                             "paid,sent+order:7 or +order:7; may be given several times")
    tagged.add_argument("--after", metavar="POSITION", type=number_argument,
                        help="events up to this position don't matter; without --unless, no event may stand behind it")


def _add_event(command: Parser, nargs: str | None = None) -> None:
    command.add_argument("stream", metavar="STREAM", nargs=nargs)
    command.add_argument("name", metavar="NAME", nargs=nargs, help="what kind of event it is")
    command.add_argument("data", metavar="DATA", nargs="?",
                         help="its data; standard input, every byte of it, if this is '-' or missing")


def _add_id_and_metadata(command: Parser) -> None:
    command.add_argument("--id", default="", help="the event's id")
    command.add_argument("--metadata", default="", help="what else is kept with it")
