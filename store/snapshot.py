"""Snapshots: what somebody made of a stream's events up to one of them, so that only those behind it are read again.

    events 0 1 2 3 4 5 6 7            of each stream the snapshot that was put last
                   '-- snapshot of 5 ──> entry "snapshot", STREAM -> u64 number, data

They are entries beside the events: they take no number, and nobody follows them.
"""

import struct
from typing import NamedTuple

from .append import encoded
from .names import check_stream

TOPIC = "snapshot"

_NUMBER = struct.Struct("<Q")


class Snapshot(NamedTuple):
    """number   of the last event that `data` was made of; reading goes on behind it"""

    number: int
    data: bytes


def put(store, stream, number, data):
    name = encoded(stream)
    check_stream(name)
    last = store.last_number(name)
    if last is None or not store.retention.forgotten(name) <= number <= last:
        has = "no event" if last is None else f"events up to {last}"
        if last is not None and store.retention.forgotten(name):
            has += f", and was deleted before event {store.retention.forgotten(name)}"
        raise ValueError(f"a snapshot of event {number}, where stream {name.decode()!r} has {has}")
    store.put(TOPIC, name, _NUMBER.pack(number) + bytes(data))


def check_entry(topic, key, value):
    """Raise ValueError unless this is an entry as this file puts them."""
    if len(value) < _NUMBER.size:
        raise ValueError(f"found a snapshot of {len(value)} bytes, expected {_NUMBER.size} or more")


def get(store, stream):
    value = store.get(TOPIC, encoded(stream))
    if value is None:
        return None
    return Snapshot(_NUMBER.unpack_from(value)[0], value[_NUMBER.size:])


def delete(store, stream):
    if get(store, stream) is not None:
        store.put(TOPIC, encoded(stream), None)
