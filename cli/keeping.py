"""Commands that say what streams keep, cut them, and keep what they come to."""

from __future__ import annotations

import argparse
import json
from typing import Any

from meilies_client import Prefix, Rule
from terminal.escaping import printable

from .connecting import connect
from .parsing import Commands, number_argument, stream_argument
from .problems import Failed
from .showing import json_bytes, write
from .taking import data_of


def run_retain(options: argparse.Namespace) -> None:
    selector = Prefix(options.stream) if options.prefix else options.stream
    with connect(options) as client:
        client.retain(selector, options.max_count, options.max_age)


def run_retention(options: argparse.Namespace) -> None:
    """A rule on a line."""
    with connect(options) as client:
        rules = client.retention()
    if options.json:
        print(json.dumps([_rule_fields(*rule) for rule in rules]))
        return
    for selector, rule in rules:
        what = f"prefix {selector.text}" if isinstance(selector, Prefix) else selector
        count = "" if rule.max_count is None else f" max-count {rule.max_count}"
        age = "" if rule.max_age is None else f" max-age {rule.max_age}"
        print(f"{printable(what)}:{count}{age}")


def run_truncate(options: argparse.Namespace) -> None:
    with connect(options) as client:
        print(client.truncate(options.stream, options.number))


def run_delete(options: argparse.Namespace) -> None:
    with connect(options) as client:
        client.delete(options.stream, options.forever)


def run_redact(options: argparse.Namespace) -> None:
    with connect(options) as client:
        client.redact(options.stream, options.number)


def run_compact(options: argparse.Namespace) -> None:
    with connect(options) as client:
        done = client.compact()
    if options.json:
        print(json.dumps(done._asdict()))
        return
    segments = "1 segment" if done.segments == 1 else f"{done.segments} segments"
    print(f"{segments} rewritten, {done.bytes} bytes freed")


def run_snapshot_put(options: argparse.Namespace) -> None:
    data = data_of(options)
    with connect(options) as client:
        client.snapshot_put(options.stream, options.number, data)


def run_snapshot_get(options: argparse.Namespace) -> None:
    """NUMBER DATA; with --raw-bytes the data alone."""
    with connect(options) as client:
        found = client.snapshot_get(options.stream)
    if found is None:
        raise Failed(f"{options.stream} has no snapshot")
    if options.raw:
        write(found.data)
    elif options.json:
        print(json.dumps({"number": found.number, **json_bytes("data", found.data)}))
    else:
        print(found.number, printable(found.data.decode("utf-8", "backslashreplace")))


def run_snapshot_delete(options: argparse.Namespace) -> None:
    with connect(options) as client:
        client.snapshot_delete(options.stream)


def _rule_fields(selector: str | Prefix, rule: Rule) -> dict[str, Any]:
    """A rule as `retention --json` has it; null is no limit."""
    named = {"prefix": selector.text} if isinstance(selector, Prefix) else {"stream": selector}
    return {**named, **rule._asdict()}


def add(commands: Commands) -> None:
    commands.heading("Keep, cut, delete")
    retain = commands("retain", run_retain, "say what streams keep; without an option: all, from now on",
                      "retain orders --max-count 1000", "retain log- --prefix --max-age 86400")
    retain.add_argument("stream", metavar="STREAM", type=stream_argument, help="or $all")
    retain.add_argument("--prefix", action="store_true", help="every stream whose name begins with STREAM")
    retain.add_argument("--max-count", metavar="N", type=number_argument, help="the last N events of each stream")
    retain.add_argument("--max-age", metavar="SECONDS", type=number_argument, help="events that are no older")
    commands("retention", run_retention, "print the rules that say what streams keep",
             "retention", "retention --json").add_json("one JSON array")
    truncate = commands("truncate", run_truncate, "cut the events of a stream below NUMBER", "truncate orders 5")
    truncate.add_argument("stream", metavar="STREAM", type=stream_argument)
    truncate.add_argument("number", metavar="NUMBER", type=number_argument, help="of the first event that stays")
    delete = commands("delete", run_delete, "cut all events of a stream; it goes on with its next number",
                      "delete orders", "delete orders --forever")
    delete.add_argument("stream", metavar="STREAM", type=stream_argument)
    delete.add_argument("--forever", action="store_true", help="nothing is appended to it any more")
    redact = commands("redact", run_redact, "take the data and metadata of one event", "redact orders 7")
    redact.add_argument("stream", metavar="STREAM", type=stream_argument)
    redact.add_argument("number", metavar="NUMBER", type=number_argument)
    commands("compact", run_compact, "take from the server's disk what was cut or redacted", "compact").add_json()

    commands.heading("Snapshots")
    put = commands("snapshot-put", run_snapshot_put, "keep what a stream's events up to NUMBER come to",
                   "snapshot-put orders 41 '{\"open\": 3}'")
    put.add_argument("stream", metavar="STREAM", type=stream_argument)
    put.add_argument("number", metavar="NUMBER", type=number_argument, help="of the last event that it was made of")
    put.add_argument("data", metavar="DATA", nargs="?", help="standard input if this is '-' or missing")
    get = commands("snapshot-get", run_snapshot_get, "print the number and data of a stream's snapshot",
                   "snapshot-get orders", "snapshot-get orders --raw-bytes > state")
    get.add_argument("stream", metavar="STREAM", type=stream_argument)
    shown = get.add_mutually_exclusive_group()
    shown.add_argument("--raw-bytes", dest="raw", action="store_true", help="the data and nothing else")
    shown.add_argument("--json", action="store_true", help="one JSON object; what isn't text as data_base64")
    commands("snapshot-delete", run_snapshot_delete, "take a stream's snapshot out",
             "snapshot-delete orders").add_argument("stream", metavar="STREAM", type=stream_argument)
