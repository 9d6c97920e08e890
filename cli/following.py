"""Commands that follow what comes: subscribe, tail, inspect."""

from __future__ import annotations

import argparse
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

from meilies_client import (
    ALL,
    CaughtUp,
    Client,
    Event,
    EventsLost,
    NothingCame,
    Prefix,
    Selector,
    Subscription,
)
from terminal.escaping import printable

from .connecting import connect
from .parsing import Commands, count_argument, selector_argument, stream_argument, text_argument
from .problems import Failed, WrongUsage, complain
from .showing import reader_is_gone, write

# How often, in seconds, a quiet `subscribe` looks whether its reader is still there.
LOOK_FOR_READER = 1.0


def run_subscribe(options: argparse.Namespace) -> None:
    if options.prefix or options.names or options.notices:
        _run_follow(options)
        return
    with connect(options) as client, _subscribe(client, options, options.selectors) as subscription:
        for events in _batches(subscription):
            write(b"".join(map(options.show, events)))


def _run_follow(options: argparse.Namespace) -> None:
    """`subscribe` with what only this project's server does: a prefix, names, notices."""
    if len(options.selectors) != 1:
        raise WrongUsage("--prefix, --name and --notices are of one selector, no more")
    with connect(options) as client, _follow(client, options, options.selectors[0]) as subscription:
        for found in _batches(subscription):
            for one in found:
                if isinstance(one, Event):
                    write(options.show(one))
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


def run_tail(options: argparse.Namespace) -> None:
    """The last events, oldest first, and those that come if somebody wants to wait."""
    selector = Prefix(options.stream) if options.prefix else options.stream
    with connect(options) as client:
        last = client.last_event_number(ALL if options.prefix else options.stream)
        _write_last(client, selector, last, options)
        if options.follow:
            with client.follow(selector, 0 if last is None else last + 1, names=options.names, tries=options.tries,
                               accept_other_store=options.accept_other_store) as subscription:
                for found in _batches(subscription):
                    write(b"".join(options.show(one) for one in found if isinstance(one, Event)))


def _write_last(client: Client, selector: str | Prefix, last: int | None, options: argparse.Namespace) -> None:
    """The last `options.count` events up to the key `last`; those behind which others are lost, if any are."""
    if last is None or not options.count:
        return
    events = []
    try:
        for event in itertools.islice(client.read_back(selector, last, names=options.names,
                                                       page=min(options.count, 1000)), options.count):
            events.append(options.show(event))
    except EventsLost as error:
        if not options.follow:      # which goes on behind them
            raise
        complain(error)
    finally:
        write(b"".join(reversed(events)))


def run_inspect(options: argparse.Namespace) -> None:
    with connect(options) as client, _subscribe(client, options, [options.selector]) as subscription:
        for event in subscription:
            _inspect(event, options.shell_command)


def _inspect(event: Event, command: str) -> None:
    """Run `command` in a shell with the event's data on its stdin.  Raises Failed."""
    how = how_it_failed(event, command)
    if how:
        raise Failed(f"event {event.number} of {event.stream}: the command ended {how}; "
                     f"no further event was inspected")


def how_it_failed(event: Event, command: str) -> str:
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
            if reader_is_gone():
                raise BrokenPipeError from None
            continue
        if not events:
            return
        yield events


def add(commands: Commands) -> None:
    commands.heading("Follow what comes")
    subscribe = commands(
        "subscribe", run_subscribe, "print events, one a line, as they come",
        "subscribe orders", "subscribe orders:0 payments:5:9", "subscribe '$all:0' --json",
        "subscribe order- --prefix --name paid")
    subscribe.add_argument("selectors", metavar="STREAM[:FROM[:TO]]", nargs="+", type=selector_argument)
    subscribe.add_following()
    subscribe.add_argument("--prefix", action="store_true",
                           help="STREAM is how the streams' names begin; FROM and TO are positions")
    subscribe.add_argument("--name", dest="names", metavar="NAME", type=text_argument, action="append", default=[],
                           help="only events that are called so; may be given again")
    subscribe.add_argument("--notices", action="store_true",
                           help="say on standard error how far it is: checkpoints, and caught-up")
    subscribe.add_shown()

    tail = commands("tail", run_tail, "print the last events, oldest first, and with -f those that come",
                    "tail", "tail orders -n 3", "tail order- --prefix -f --name paid")
    tail.add_argument("stream", metavar="STREAM", nargs="?", type=stream_argument, default=ALL, help="all if missing")
    tail.add_argument("-n", "--count", metavar="N", type=count_argument, default=10, help="how many (10)")
    tail.add_argument("-f", "--follow", action="store_true", help="go on with what is new, until Ctrl-C")
    tail.add_argument("--prefix", action="store_true", help="of every stream whose name begins with STREAM")
    tail.add_argument("--name", dest="names", metavar="NAME", type=text_argument, action="append", default=[],
                      help="only events that are called so; may be given again")
    tail.add_following()
    tail.add_shown()

    inspect = commands(
        "inspect", run_inspect,
        "run a shell command for each event, its data on stdin, until one fails; MEILIES_STREAM_NAME, "
        "MEILIES_EVENT_NAME and MEILIES_EVENT_NUMBER are in its environment",
        "inspect --stream orders:0:10 'echo \"$MEILIES_EVENT_NUMBER $MEILIES_EVENT_NAME\"'")
    inspect.add_argument("--stream", dest="selector", metavar="STREAM[:FROM[:TO]]", type=selector_argument,
                         required=True)
    inspect.add_argument("shell_command", metavar="COMMAND")
    inspect.add_following()
