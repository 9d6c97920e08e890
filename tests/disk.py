"""A disk that does as it is told: it refuses, waits or dies, and remembers what it was asked.

    disk = Disk()
    disk.refuse("write", errno.ENOSPC)      # the next write stores half of its bytes and fails
    gate = disk.hold("sync")                # the next sync waits for gate.open()
    disk.die_in(3)                          # the third change from now is cut short, the rest never happen
    disk.fills = True                       # zeros are written ahead of the records, which is left out otherwise

And what tests of the store have in common: looking at its files, and spoiling them.
"""

import errno
import functools
import os
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from store import StoreError, record
from store.files import Files
from store.segment import HEADER_SIZE, Reader, Segment

SECONDS = 10  # for whatever should take none


class QuickConnection(sqlite3.Connection):
    """A connection that never waits for the disk; the index's file is what it would be."""

    def execute(self, statement, *values):
        if "pragma journal_mode" in statement:      # the first that the index executes
            super().execute("pragma synchronous=off")
        if "pragma synchronous" in statement:
            statement = "pragma synchronous=off"
        return super().execute(statement, *values)


@pytest.fixture(autouse=True)
def quick_index(monkeypatch):
    """Whoever imports this spends no time on SQLite's own syncs: 30 ms for each store that is opened."""
    monkeypatch.setattr(sqlite3, "connect", functools.partial(sqlite3.connect, factory=QuickConnection))


class Gate:
    """entered   set when a call has come to it; `open` lets it go on."""

    def __init__(self):
        self.entered = threading.Event()
        self._opened = threading.Event()

    def open(self):
        self._opened.set()

    def wait_for_call(self):
        assert self.entered.wait(SECONDS), "nobody came"

    def _pass(self):
        self.entered.set()
        assert self._opened.wait(SECONDS), "the gate was never opened"


class Order:
    """What to do with the next calls of `verb` on files whose names end with `name`."""

    def __init__(self, verb, name, error=None, gate=None, times=1):
        self.verb = verb
        self.name = name
        self.error = error
        self.gate = gate
        self.times = times


class Disk(Files):
    """Files that obey orders.

    calls   [(verb, name of the file)] of all that changes the disk, in order
    fills   whether zeros are written ahead of the records; without them tests know what stands in a file
    """

    def __init__(self):
        self.calls = []
        self.fills = False
        self._orders = []
        self._left = None       # changes until it dies
        self._paths = {}        # descriptor -> path
        self._lock = threading.Lock()

    # -- orders --------------------------------------------------------------

    def refuse(self, verb, code, name="", times=1):
        """The next `times` calls of `verb` on a file whose name ends with `name` fail."""
        self._orders.append(Order(verb, name, error=code, times=times))

    def hold(self, verb, name=""):
        """The next such call waits at the Gate that is returned."""
        gate = Gate()
        self._orders.append(Order(verb, name, gate=gate))
        return gate

    def die_in(self, changes):
        """That many changes from now the power goes: a write is cut short, and nothing follows."""
        self._left = changes

    def unplug(self):
        """The power is gone: nothing is changed any more."""
        self._left = -1

    @property
    def dead(self):
        return self._left is not None and self._left <= 0

    def count(self, verb, name=""):
        return sum(1 for done, of in self.calls if done == verb and of.endswith(name))

    # -- calls ---------------------------------------------------------------

    def _called(self, verb, path, cut_short=None):
        name = os.path.basename(path)
        with self._lock:
            if self._left is not None:
                self._left -= 1
                if self._left <= 0:
                    if self._left == 0 and cut_short:
                        cut_short()
                    raise OSError(errno.EIO, "the power is gone")
            self.calls.append((verb, name))
            order = next((one for one in self._orders if one.verb == verb and name.endswith(one.name)), None)
            if order:
                order.times -= 1
                if not order.times:
                    self._orders.remove(order)
        if order and order.gate:
            order.gate._pass()
        if order and order.error:
            if cut_short:
                cut_short()
            raise OSError(order.error, os.strerror(order.error))

    def create(self, path):
        self._called("create", path)
        fd = super().create(path)
        self._paths[fd] = path
        return fd

    def open(self, path):
        fd = super().open(path)
        self._paths[fd] = path
        return fd

    def lock(self, path):
        fd = super().lock(path)
        self._paths[fd] = path
        return fd

    def read(self, fd, size, pos):
        if any(one.verb == "read" for one in self._orders):
            self._called("read", self._paths[fd])
        return super().read(fd, size, pos)

    def write(self, fd, data, pos):
        def half():
            super(Disk, self).write(fd, data[:len(data) // 2], pos)

        self._called("write", self._paths[fd], half)
        super().write(fd, data, pos)

    def write_parts(self, fd, parts, pos):
        self.write(fd, b"".join(parts), pos)

    def fill(self, fd, start, stop):
        def half():
            super(Disk, self).write(fd, bytes((stop - start) // 2), start)

        if self.fills:
            self._called("fill", self._paths[fd], half)
            super().write(fd, bytes(stop - start), start)

    def sync(self, fd):
        self._called("sync", self._paths[fd])

    def sync_folder(self, path):
        self._called("sync_folder", path)

    def truncate(self, fd, size):
        self._called("truncate", self._paths[fd])
        super().truncate(fd, size)

    def rename(self, old, new):
        self._called("rename", old)
        super().rename(old, new)

    def remove(self, path):
        self._called("remove", path)
        super().remove(path)


def crash(store, disk):
    """End a store as a power cut does: nothing of what it does from now on reaches its files."""
    disk.unplug()
    try:
        store.close()
    except StoreError:
        pass


def until(condition):
    """Return when `condition` is true."""
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.0005)


class Call:
    """A function that runs in a thread of its own; `result` waits for what it returns or raises."""

    def __init__(self, function, *arguments):
        self._outcome = None
        self._thread = threading.Thread(target=self._run, args=(function, *arguments))
        self._thread.start()

    def _run(self, function, *arguments):
        try:
            self._outcome = (function(*arguments), None)
        except BaseException as error:
            self._outcome = (None, error)

    @property
    def over(self):
        return self._outcome is not None

    def result(self):
        self._thread.join(SECONDS)
        assert self._outcome, "it never ended"
        returned, error = self._outcome
        if error:
            raise error
        return returned


def segments(folder):
    """The paths of a store's segments, in order."""
    return sorted(Path(folder).glob("*.segment"))


def contents(folder):
    """{path: bytes} of the log: what may not change when opening is refused."""
    return {path: path.read_bytes() for path in Path(folder).rglob("*.segment*")}


def kept(folder):
    """The names of what recovery cut off."""
    return sorted(path.name for path in Path(folder, "cut").glob("*"))


def drop_index(folder):
    for path in Path(folder).glob("index.sqlite3*"):
        path.unlink()


def flip(path, byte, bit=0):
    """Turn one bit of a file around."""
    with open(path, "r+b") as file:
        file.seek(byte)
        found = file.read(1)[0]
        file.seek(byte)
        file.write(bytes([found ^ 1 << bit]))


def add(path, data):
    """Write behind the end of a file."""
    with open(path, "ab") as file:
        file.write(data)


def cut(path, size):
    os.truncate(path, size)


def records_of(path):
    """[(byte, Record)] of a segment's file."""
    segment = Segment.open(Files(), str(path))
    try:
        segment.end = segment.file_size()
        return list(Reader(segment).records(HEADER_SIZE))
    finally:
        segment.close()


def salt_of(path):
    segment = Segment.open(Files(), str(path))
    segment.close()
    return segment.salt


def everything(store):
    """All events of a store, in the order of positions, in short: (stream, number, data)."""
    return [(event.stream, event.number, event.data) for event in store.read_all(limit=1 << 30)]


def one_record(salt, stream=b"s", number=0, position=0, synced=0, datas=(b"data",), **more):
    """The bytes of a record, as the log would write it."""
    frames = record.frames(stream, b"n", number, list(datas))
    return b"".join(record.buffers([record.encode(salt, number, position, 1, synced, frames, **more)]))
