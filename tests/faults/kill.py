"""Kill: a process that dies at any point of what it does to the disk leaves all that it acknowledged.

    scene      ──> a folder: empty, closed, crashed, torn, with a segment half made …
    child      ──> opens a store there, appends from several threads, rolls, closes; says what was acknowledged
    point      ──> "close write segment half": where SIGKILL comes, which the child sends to itself
    the folder ──> opened: every acknowledged event is there once, in order, whole

A round kills TIMES at each point, in one scene after another that has it; which of the calls of that name it is
follows from the seed.  What was written survives a process, so syncs do nothing here; power.py is about them.
"""

import functools
import os
import random
import shutil
import signal
import sqlite3
import threading
import time
import warnings
import zlib
from unittest import mock

from disk import Disk, QuickConnection, add, crash, drop_index, flip, records_of, segments
from store import ALWAYS, EVERYSEC, NO, Store, record
from store.files import Files
from store.segment import HEADER_SIZE, is_segment, is_unfinished

from .ledger import Ledger, Publisher, subscribe
from .still import eager_merges, quiet

NAME = "kill"
# In 20 rounds each point has had its 200.
GOALS = {"points": 60, "kills": 60 * 200}
TIMES = 10

SEGMENT_SIZE = 6000
ROOM = 600
PUBLISHERS = 3
APPENDS = 8
POLICIES = (ALWAYS, EVERYSEC, NO)


# -- points -------------------------------------------------------------------

class Points:
    """Knows where in its work a process is, and perhaps ends it there.

    seen    {name: how often}
    """

    def __init__(self, name=None, nth=0):
        self.phase = "open"
        self.seen = {}
        self._name = name
        self._left = nth
        self._lock = threading.Lock()

    def at(self, what):
        name = f"{self.phase} {what}"
        with self._lock:
            self.seen[name] = self.seen.get(name, 0) + 1
            if name == self._name:
                self._left -= 1
                if self._left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)


def kind_of(path):
    """What sort of file or folder `path` is, for the name of a point."""
    name = os.path.basename(path)
    if os.path.basename(os.path.dirname(path)) == "cut" or name == "cut":
        return "cut" if is_segment(name[:20]) else "cut-folder"
    if is_segment(name):
        return "segment"
    if is_unfinished(name):
        return "merging"
    if name.startswith("index"):
        return "index"
    return name if name in ("lock", "db") else "parent"


class FilesWithPoints(Files):
    """The disk, with a point before and after each change, and within a write."""

    def __init__(self, points):
        self._points = points
        self._paths = {}

    def _change(self, verb, path, change, *arguments):
        what = f"{verb} {kind_of(path)}"
        self._points.at(f"before {what}")
        done = change(*arguments)
        self._points.at(f"after {what}")
        return done

    def _opened(self, fd, path):
        self._paths[fd] = path
        return fd

    def create(self, path):
        return self._opened(self._change("create", path, super().create, path), path)

    def open(self, path):
        return self._opened(super().open(path), path)

    def lock(self, path):
        return self._opened(self._change("lock", path, super().lock, path), path)

    def write(self, fd, data, pos):
        path = self._paths[fd]
        what = "header of" if is_segment(os.path.basename(path)) and not pos else "to"
        half = len(data) // 2
        self._points.at(f"before write {what} {kind_of(path)}")
        super().write(fd, data[:half], pos)
        self._points.at(f"within write {what} {kind_of(path)}")
        super().write(fd, data[half:], pos + half)
        self._points.at(f"after write {what} {kind_of(path)}")

    def write_parts(self, fd, parts, pos):
        self.write(fd, b"".join(parts), pos)

    def sync(self, fd):
        self._change("sync", self._paths[fd], lambda: None)

    def sync_folder(self, path):
        self._change("sync_folder", path, lambda: None)

    def truncate(self, fd, size):
        self._change("truncate", self._paths[fd], super().truncate, fd, size)

    def rename(self, old, new):
        self._change("rename", old, super().rename, old, new)

    def remove(self, path):
        self._change("remove", path, super().remove, path)


class IndexWithPoints(QuickConnection):
    """The index's connection, with a point before and after each statement that changes it."""

    points = None

    def execute(self, statement, *values):
        return self._at_points(statement, super().execute, statement, *values)

    def executemany(self, statement, *values):
        return self._at_points(statement, super().executemany, statement, *values)

    def executescript(self, statement):
        return self._at_points("schema", super().executescript, statement)

    def _at_points(self, statement, execute, *arguments):
        if statement.startswith(("select", "pragma")):
            return execute(*arguments)
        what = " ".join(statement.replace("insert or replace into ", "fill ").split()[:2])
        self.points.at(f"before index {what}")
        done = execute(*arguments)
        self.points.at(f"after index {what}")
        return done


# -- the process that dies ----------------------------------------------------

def work(folder, policy, seed, points, say):
    """Open the store in `folder`, append to it from several threads, close it.

    say   is called with each line of the Ledger
    """
    draw = random.Random(seed)
    IndexWithPoints.points = points
    with quiet(), eager_merges(), mock.patch.object(record, "MAX_FRAMES", ROOM), quick_index(IndexWithPoints):
        store = Store(folder, policy, 0, SEGMENT_SIZE, FilesWithPoints(points))
        points.phase = "append"
        stop = threading.Event()
        reader = threading.Thread(target=subscribe, args=(store, stop, say), daemon=True)
        reader.start()
        publishers = [Publisher(store, f"{seed}-{i}", draw.randrange(1 << 30), APPENDS, say) for i in range(PUBLISHERS)]
        for publisher in publishers:
            publisher.join()
        stop.set()
        reader.join()
        points.phase = "close"
        store.close()


def run_to_death(job):
    """Run `job(say)` in a process; return (whether it was killed, the Ledger of what it said)."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)     # of threads beside a fork: they hold no lock of ours
        child = os.fork()
    if not child:
        code = 1
        try:
            os.close(reading)
            job(lambda line: os.write(writing, line))
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    ledger = Ledger()
    with open(reading, "rb") as lines:
        for line in lines:
            ledger.take(line)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, f"exit code {os.WEXITSTATUS(status)}"
    return os.WIFSIGNALED(status), ledger


def quick_index(factory=QuickConnection):
    """The index doesn't wait for the disk."""
    return mock.patch.object(sqlite3, "connect", functools.partial(sqlite3.connect, factory=factory))


# -- scenes -------------------------------------------------------------------

def _filled(folder, end, policy=ALWAYS):
    """A store of several segments, ended by `end`."""
    disk = Disk()
    store = Store(folder, policy, 0, SEGMENT_SIZE, disk)
    for i in range(9):
        store.append_many("before", [("n", b"%d." % i + b"x" * 700), ("n", b"y" * 500)])
    end(store, disk)


def _empty(folder):
    pass


def _closed(folder):
    _filled(folder, lambda store, disk: store.close())


def _crashed(folder):
    _filled(folder, crash)


def _preallocated(folder):
    _filled(folder, crash)
    add(segments(folder)[-1], bytes(3000))


def _torn(folder):
    """The last record was never finished."""
    _filled(folder, crash, NO)
    last = segments(folder)[-1]
    at = records_of(last)[-1][0]
    flip(last, at + record.HEADER_SIZE + 3)


def _torn_early(folder):
    """A record that was never finished, and whole segments behind it."""
    _filled(folder, crash, NO)
    drop_index(folder)
    first = segments(folder)[0]
    at = records_of(first)[-1][0]
    flip(first, at + record.HEADER_SIZE + 3)


def _unfinished(folder):
    """A segment whose header isn't there yet."""
    _filled(folder, crash)
    last = segments(folder)[-1]
    number = int(last.name[:12]) + 1
    (last.parent / f"{number:012d}.segment").write_bytes(b"?" * HEADER_SIZE)


def _lost(folder):
    """The machine stopped under everysec."""
    _filled(folder, crash, EVERYSEC)
    with open(os.path.join(folder, "lock"), "w") as lock:
        lock.write("1 another-start everysec\n")


def _without_index(folder):
    _filled(folder, lambda store, disk: store.close())
    drop_index(folder)


SCENES = (_empty, _closed, _crashed, _preallocated, _torn, _torn_early, _unfinished, _lost, _without_index)


class Scene:
    """A folder as it is found by the process that dies, and the points where it may die there.

    points   {name: how many calls}
    """

    def __init__(self, make, workplace, policy, seed):
        self.name = make.__name__.strip("_")
        self._template = str(workplace / self.name / "db")
        self._work = str(workplace / "work" / "db")
        self._policy = policy
        self._seed = seed
        os.makedirs(os.path.dirname(self._template))
        with quiet(), quick_index():
            make(self._template)
            self._lay_out()
            self._before = Ledger.events_in(self._work)
        self._lay_out()
        points = Points()
        work(self._work, policy, seed, points, lambda line: None)
        self.points = points.seen

    def _lay_out(self):
        """The scene's folder, ready to be used up."""
        shutil.rmtree(os.path.dirname(self._work), ignore_errors=True)
        os.makedirs(os.path.dirname(self._work))
        if os.path.isdir(self._template):
            shutil.copytree(self._template, self._work)

    def kill(self, name, turn):
        """Kill at the point `name`; return whether it was reached.  `turn` says which of its calls."""
        self._lay_out()
        nth = turn % self.points[name]
        killed, ledger = run_to_death(
            functools.partial(work, self._work, self._policy, self._seed, Points(name, nth)))
        try:
            with quick_index():
                ledger.check(self._work, self._before)
        except Exception as error:
            raise AssertionError(f"{self._policy}, {self.name}, killed at {name!r}, call {nth}: {error}") from error
        return killed


def run(seed, until, folder):
    policy = POLICIES[seed % len(POLICIES)]
    scenes = [Scene(make, folder, policy, seed) for make in SCENES]
    names = sorted({name for scene in scenes for name in scene.points})
    random.Random(seed).shuffle(names)
    points = set()
    kills = 0
    for name in names:
        where = [scene for scene in scenes if name in scene.points]
        for turn in range(seed * TIMES, (seed + 1) * TIMES):
            if time.monotonic() > until:
                return {"points": points, "kills": kills}
            if where[turn % len(where)].kill(name, turn // len(where)):
                kills += 1
                points.add(zlib.crc32(name.encode()))
    return {"points": points, "kills": kills}
