"""Commands that copy a store in use, and look whether it is sound and what it was."""

from __future__ import annotations

import argparse
import json
import re
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Callable

from meilies_client import Client, ClientError
from terminal.escaping import printable
from terminal.progress import INTERVAL, Progress, shown_bytes, shown_events

from .connecting import connect, connect_twice
from .parsing import Commands, number_argument, text_argument
from .problems import Failed, WrongUsage
from .showing import info_of
from .taking import stdin


def run_backup(options: argparse.Namespace) -> None:
    with _told_how_far("backup", shown_bytes, options) as client:
        done = client.back_up(options.name)
    if options.json:
        print(json.dumps(done))
        return
    print(f"{done['position']} events, {done['copied']} of {done['segments']} segments copied, {done['written']} bytes")


def run_export(options: argparse.Namespace) -> None:
    with connect(options) as client, Progress("export", shown_events) as progress:
        for line in client.export():
            if line.startswith(b'{"meilies-export"'):
                progress.begin(json.loads(line)["position"])
            sys.stdout.buffer.write(line + b"\n")
            progress.advance(line.startswith(b'{"stream"'))
        sys.stdout.flush()
        progress.finish()


def run_import(options: argparse.Namespace) -> None:
    with connect(options) as client, Progress("import", shown_events) as progress:
        try:
            appended, there = client.import_(_counted(stdin(), progress))
        except ValueError as error:
            raise Failed(str(error)) from error
    if options.json:
        print(json.dumps({"events": appended, "passed_over": there}))
        return
    print(f"{appended} events{f', {there} more were there already' if there else ''}")


def _counted(lines: Iterable[bytes], progress: Progress) -> Iterator[bytes]:
    """An export's `lines`, which the progress hears of."""
    for line in lines:
        if line.startswith(b'{"meilies-export"'):
            progress.begin(_position_of(line))
        progress.advance(line.startswith(b'{"stream"'))
        yield line


def _position_of(head: bytes) -> int:
    """How many events there are at most, as an export's first line says; whether it is right others judge."""
    try:
        position = json.loads(head)["position"]
    except (ValueError, KeyError, TypeError):
        return 0
    return position if isinstance(position, int) else 0


def run_check(options: argparse.Namespace) -> None:
    """Exit status 1 for a damaged store."""
    with _told_how_far("check", shown_bytes, options) as client:
        found = client.check()
    if options.json:
        print(json.dumps({"sound": not found["problems"], **found}))
    else:
        for text in [*found["problems"], *(f"note: {note}" for note in found["notes"])]:
            print(printable(text))
        print(f"{'damaged' if found['problems'] else 'sound'}, {found['events']} events in {found['streams']} streams, "
              f"{found['lost']} lost")
    if found["problems"]:
        raise Failed("the store is damaged: stop the server, then 'meilies_server.py repair --dry-run' "
                     "says what can be done")


def run_chain_head(options: argparse.Namespace) -> None:
    with connect(options) as client:
        position, head = client.chain_head()
    print(json.dumps({"position": position, "head": head}) if options.json else f"{position} {head}")


def run_verify(options: argparse.Namespace) -> None:
    if options.position is not None and options.head is None:
        raise WrongUsage("POSITION comes with its HEAD")
    with _told_how_far("verify", shown_events, options) as client:
        found = client.verify(None if options.position is None else (options.position, options.head))
    if options.json:
        print(json.dumps(found))
        return
    print(f"{found['same']} events are what they were, {found['gone']} were cut or redacted; the head at "
          f"{found['position']} is {found['head']}")


# -- how far the server is

@contextmanager
def _told_how_far(work: str, shown: Callable[[float], str], options: argparse.Namespace) -> Iterator[Client]:
    """A Client to have some work done by; on a terminal another one asks meanwhile how far it is."""
    waiting, asking = connect_twice(options)
    with waiting, asking, Progress(work, shown) as progress:
        if not progress.is_seen:
            yield waiting
            return
        ended = threading.Event()
        name = f"{work}_{waiting.call('CLIENT', 'ID')}"
        teller = threading.Thread(target=_tell, args=(asking, name, progress, ended), name="progress", daemon=True)
        teller.start()
        try:
            yield waiting
        finally:
            ended.set()
            teller.join()


def _tell(client: Client, name: str, progress: Progress, ended: threading.Event) -> None:
    """Draw how far some work of the server's is until it has ended, or nobody can say."""
    while not ended.wait(INTERVAL):
        try:
            found = re.fullmatch("done=([0-9]{1,20}),of=([0-9]{1,20})", info_of(client, "work").get("work", {})[name])
            progress(*map(int, found.groups()))     # type: ignore[union-attr]
        except (ClientError, KeyError, AttributeError):     # its end is near, or this server doesn't say
            continue


def add(commands: Commands) -> None:
    commands.heading("Copy and check")
    backup = commands("backup", run_backup, "have the server copy its store, while it goes on",
                      "backup monday", "backup monday --json")
    backup.add_argument("name", metavar="NAME", type=text_argument, help="of a folder in the server's --backup-path")
    backup.add_json()
    commands("export", run_export, "print the server's store as lines of JSON", "export > store.jsonl")
    commands("import", run_import, "append what standard input, an export's lines, has",
             "import < store.jsonl").add_json()
    commands("check", run_check, "have the server read its whole log and name what is bad in it",
             "check", "check --json").add_json()
    commands("chain-head", run_chain_head, "print how far the chain of digests is, and its head",
             "chain-head").add_json()
    verify = commands("verify", run_verify, "have the server compare every event with its chain of digests",
                      "verify", "verify 1000 " + 64 * "0")
    verify.add_argument("position", metavar="POSITION", type=number_argument, nargs="?",
                        help="and the chain with what chain-head printed at some time")
    verify.add_argument("head", metavar="HEAD", nargs="?", type=text_argument)
    verify.add_json()
