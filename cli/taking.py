"""What standard input has: the data of one event, lines, or events as JSON."""

from __future__ import annotations

import argparse
import base64
import json
import os
import sys
from typing import Any, BinaryIO
from collections.abc import Iterator

from meilies_client import NewEvent
from terminal.escaping import printable

from .problems import Failed

# Bytes of standard input that are taken at once; and the longest line, which
# no server with default limits takes anyway.
BLOCK = 256 * 1024
LONGEST_LINE = 512 * 1024 * 1024


def data_of(options: argparse.Namespace) -> bytes:
    """What DATA says, or standard input, every byte of it."""
    return stdin().read() if options.data in (None, "-") else os.fsencode(options.data)


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


def stdin() -> BinaryIO:
    if sys.stdin is None:
        raise Failed("standard input is closed, expected the data to publish")
    return sys.stdin.buffer


_TYPES = {"stream": str, "name": str, "data": str, "data_base64": str, "expected": (int, str), "id": str,
          "id_base64": str, "metadata": str, "metadata_base64": str}


def event_of_json(number: int, line: bytes) -> NewEvent:
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
