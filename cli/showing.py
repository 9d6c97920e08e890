"""Events and answers as lines on standard output.

Whatever is shown on a terminal is escaped: data of others can't drive it.
"""

from __future__ import annotations

import base64
import json
import os
import select
import sys
from datetime import datetime, timedelta, timezone
from typing import Any

from meilies_client import Client, Event
from terminal.escaping import printable
from terminal.painting import PLAIN, Painter

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def readable_line(event: Event, painter: Painter = PLAIN) -> bytes:
    """STREAM:NUMBER NAME DATA, whatever they hold, in one line."""
    data = event.data.decode("utf-8", "backslashreplace")
    line = " ".join([painter("cyan", printable(f"{event.stream}:{event.number}")),
                     painter("bold", printable(event.name)), printable(data)])
    return line.encode(sys.stdout.encoding, "backslashreplace") + b"\n"


def json_line(event: Event) -> bytes:
    return json.dumps(json_fields(event)).encode() + b"\n"


def json_fields(event: Event) -> dict[str, Any]:
    """What stands in an event's JSON object; bytes that aren't UTF-8 text stand under NAME_base64."""
    fields: dict[str, Any] = {"stream": event.stream, "number": event.number, "name": event.name}
    fields.update(json_bytes("data", event.data))
    for name, value in (("id", event.id), ("metadata", event.metadata)):
        if value:
            fields.update(json_bytes(name, value))
    if event.tags:
        fields["tags"] = [tag.decode("utf-8", "backslashreplace") for tag in event.tags]
    if event.position is not None:
        fields["position"] = event.position
    if event.time is not None:
        fields["time"] = event.time
    return fields


def json_bytes(name: str, value: bytes) -> dict[str, str]:
    try:
        return {name: value.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(value).decode()}


def raw_line(event: Event) -> bytes:
    return event.data + b"\n"


def raw_bytes(event: Event) -> bytes:
    return event.data


def time_text(microseconds: int | None) -> str:
    """A time in UTC, as ISO 8601 has it."""
    if microseconds is None:
        return "unknown"
    moment = EPOCH + timedelta(microseconds=microseconds)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def info_of(client: Client, *wanted: str) -> dict[str, dict[str, str]]:
    """{section: {name: value}} of INFO, the sections in lower case."""
    sections: dict[str, dict[str, str]] = {}
    fields: dict[str, str] = {}
    for line in client.call("INFO", *wanted).decode("utf-8", "backslashreplace").splitlines():
        if line.startswith("# "):
            fields = sections.setdefault(line[2:].lower(), {})
        elif line:
            name, _, value = line.partition(":")
            fields[name] = value
    return sections


def write(data: bytes) -> None:
    """To standard output, at once: somebody may be watching."""
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def reader_is_gone() -> bool:
    """True if standard output is a pipe that nobody will read from any more."""
    if not hasattr(select, "poll"):
        return False
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(flags & select.POLLERR for _, flags in poll.poll(0))


def silence_stdout() -> None:
    """Let what is still buffered go nowhere; nor may Python complain of it when it exits."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
