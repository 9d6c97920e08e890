"""Commands that look at a server: ping."""

from __future__ import annotations

import argparse
import json

from .connecting import connect
from .parsing import Commands


def run_ping(options: argparse.Namespace) -> None:
    with connect(options) as client:
        milliseconds = client.ping() * 1000
    print(json.dumps({"milliseconds": round(milliseconds, 3)}) if options.json else f"{milliseconds:.3f} ms")


def add(commands: Commands) -> None:
    commands.heading("Watch a server")
    commands("ping", run_ping, "print how long the server takes to answer", "ping").add_json()
