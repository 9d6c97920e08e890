"""Commands that look at a server: ping, info, monitor."""

from __future__ import annotations

import argparse
import json

from terminal.escaping import printable

from .connecting import connect
from .parsing import Commands, text_argument
from .problems import Failed
from .showing import info_of, write


def run_ping(options: argparse.Namespace) -> None:
    with connect(options) as client:
        milliseconds = client.ping() * 1000
    print(json.dumps({"milliseconds": round(milliseconds, 3)}) if options.json else f"{milliseconds:.3f} ms")


def run_info(options: argparse.Namespace) -> None:
    """Sections of `name value` lines."""
    with connect(options) as client:
        sections = info_of(client, *options.sections)
    if options.sections and not sections:
        raise Failed(f"there is no section {' '.join(options.sections)}; without a name, all are printed")
    if options.json:
        print(json.dumps(sections))
        return
    for section, fields in sections.items():
        print(printable(section))
        for name, value in fields.items():
            print(printable(f"  {name} {value}"))


def run_monitor(options: argparse.Namespace) -> None:
    with connect(options) as client:
        for line in client.monitor():
            write(f"{printable(line)}\n".encode())


def add(commands: Commands) -> None:
    commands.heading("Watch a server")
    commands("ping", run_ping, "print how long the server takes to answer", "ping").add_json()
    info = commands("info", run_info, "print what the server says of itself", "info", "info clients stats --json")
    info.add_argument("sections", metavar="SECTION", nargs="*", type=text_argument,
                      help="such as server, clients, stats; all without one")
    info.add_json()
    commands("monitor", run_monitor, "print each request that the server receives, as it comes; it costs the server "
             "time, and takes the right to administer", "monitor")
