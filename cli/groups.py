"""Commands for consumer groups, whose members share events."""

from __future__ import annotations

import argparse
import json
from typing import Callable

from meilies_client import Event, Prefix, Refuse
from terminal.escaping import printable

from .connecting import connect
from .following import how_it_failed
from .parsing import Commands, Parser, number_argument, seconds_argument, stream_argument, text_argument
from .problems import Failed, complain
from .showing import json_fields, json_line, time_text, write


def run_group_create(options: argparse.Namespace) -> None:
    selector = Prefix(options.stream) if options.prefix else options.stream
    with connect(options) as client:
        client.group_create(options.group, selector, options.from_, tries=options.max_tries, wait=options.wait,
                            pause=options.pause, names=options.names)


def run_group_delete(options: argparse.Namespace) -> None:
    with connect(options) as client:
        client.group_delete(options.group)


def run_groups(options: argparse.Namespace) -> None:
    with connect(options) as client:
        names = client.groups()
    if options.json:
        print(json.dumps(names))
        return
    for name in names:
        print(printable(name))


def run_group_read(options: argparse.Namespace) -> None:
    """KEY and the event, a line each; as JSON one object."""
    with connect(options) as client:
        given = client.group_read(options.group, options.member, options.count, block=options.block)
    for one in given:
        if options.show is json_line:
            print(json.dumps({"key": one.key, "tries": one.tries, **json_fields(one.event)}))
        else:
            write(b"%d %b" % (one.key, options.show(one.event)))


def run_group_ack(options: argparse.Namespace) -> None:
    with connect(options) as client:
        print(client.group_ack(options.group, *options.keys))


def run_group_refuse(options: argparse.Namespace) -> None:
    with connect(options) as client:
        if not client.group_refuse(options.group, options.key, options.reason, park=options.park):
            raise Failed(f"event {options.key} isn't held by a member of {options.group}")


def run_group_leave(options: argparse.Namespace) -> None:
    with connect(options) as client:
        print(client.group_leave(options.group, options.member))


def run_group_parked(options: argparse.Namespace) -> None:
    """KEY STREAM:NUMBER TRIES TIME REASON, a line each."""
    with connect(options) as client:
        first = 0
        while True:
            parked = client.group_parked(options.group, first)
            for one in parked:
                line = f"{one.key} {one.stream}:{one.number} {one.tries} {time_text(one.time)} {one.reason}"
                print(json.dumps(one._asdict()) if options.json else printable(line))
            if not parked:
                return
            first = parked[-1].key + 1


def run_group_replay(options: argparse.Namespace) -> None:
    with connect(options) as client:
        print(client.group_replay(options.group, *options.keys))


def run_group_discard(options: argparse.Namespace) -> None:
    with connect(options) as client:
        print(client.group_discard(options.group, *options.keys))


def run_group_info(options: argparse.Namespace) -> None:
    with connect(options) as client:
        info = client.group_info(options.group)
    if options.json:
        print(json.dumps(info))
        return
    members, names = info.pop("members"), info.pop("names", ())
    for name, value in info.items():
        print(name, printable(str(value)))
    for name in names:
        print("of", printable(name))
    for member, held in members.items():
        print("member", printable(member), held)


def run_consume(options: argparse.Namespace) -> None:
    """Run a command for each event: it is done if that ends with status 0, and refused otherwise."""
    def handle(event: Event) -> None:
        how = how_it_failed(event, options.shell_command)
        if how:
            complain(f"event {event.number} of {event.stream}: the command ended {how}; it is given again")
            raise Refuse(f"the command ended {how}")

    with connect(options) as client:
        client.consume(options.group, options.member, handle, block=options.block)


def add(commands: Commands) -> None:
    commands.heading("Consumer groups")

    def of_group(name: str, run: Callable[[argparse.Namespace], None], text: str, *examples: str,
                 member: bool = False) -> Parser:
        one = commands(name, run, text, *examples)
        one.add_argument("group", metavar="GROUP", type=text_argument)
        if member:
            one.add_argument("member", metavar="MEMBER", type=text_argument)
        return one

    create = of_group("group-create", run_group_create, "make a consumer group, whose members share events",
                      "group-create mail orders", "group-create mail order- --prefix --from 0 --max-tries 3")
    create.add_argument("stream", metavar="STREAM", type=stream_argument, help="or '$all'")
    create.add_argument("--prefix", action="store_true", help="of every stream whose name begins with STREAM")
    create.add_argument("--from", dest="from_", metavar="N", type=number_argument,
                        help="begin with this number, or position; without it, with what is new")
    create.add_argument("--name", dest="names", metavar="NAME", action="append", default=[],
                        help="only events that are called so; may be given again")
    create.add_argument("--max-tries", metavar="N", type=number_argument,
                        help="give an event so often, then park it (10)")
    create.add_argument("--wait", metavar="SECONDS", type=seconds_argument,
                        help="what a member has for an event (30)")
    create.add_argument("--pause", metavar="SECONDS", type=seconds_argument,
                        help="before the second try; it doubles (1)")
    of_group("group-delete", run_group_delete, "forget a consumer group", "group-delete mail")
    commands("groups", run_groups, "print the names of all consumer groups",
             "groups", "groups --json").add_json("one JSON array")
    read = of_group("group-read", run_group_read,
                    "print events for a member, with the keys to acknowledge them by",
                    "group-read mail anna 10 --block 5", member=True)
    read.add_argument("count", metavar="COUNT", nargs="?", type=number_argument, default=1, help="how many at most (1)")
    read.add_argument("--block", metavar="SECONDS", type=seconds_argument, default=0, help="wait so long for one")
    read.add_shown()
    of_group("group-ack", run_group_ack, "these events are done; print how many a member held",
             "group-ack mail 3 4").add_argument("keys", metavar="KEY", nargs="+", type=number_argument)
    refuse = of_group("group-refuse", run_group_refuse, "an event can't be done now",
                      "group-refuse mail 3", "group-refuse mail 3 'no such address' --park")
    refuse.add_argument("key", metavar="KEY", type=number_argument)
    refuse.add_argument("reason", metavar="REASON", nargs="?", default="", type=text_argument)
    refuse.add_argument("--park", action="store_true", help="don't try it again")
    of_group("group-leave", run_group_leave, "give what a member holds to others", "group-leave mail anna",
             member=True)
    of_group("group-parked", run_group_parked, "print the events that nobody gets until they are replayed",
             "group-parked mail").add_json("one JSON object a line")
    of_group("group-replay", run_group_replay, "give parked events again, these or all",
             "group-replay mail", "group-replay mail 3").add_argument(
                 "keys", metavar="KEY", nargs="*", type=number_argument)
    of_group("group-discard", run_group_discard, "forget parked events", "group-discard mail 3").add_argument(
        "keys", metavar="KEY", nargs="+", type=number_argument)
    of_group("group-info", run_group_info, "print how a group stands", "group-info mail --json").add_json()
    consume = of_group("consume", run_consume, "run a shell command for each event that a member is given, its data on "
                       "stdin; one that fails is given again", "consume mail anna ./send-mail", member=True)
    consume.add_argument("shell_command", metavar="COMMAND")
    consume.add_argument("--block", metavar="SECONDS", type=seconds_argument, help="end when none came for so long")
