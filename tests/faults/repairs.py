"""Repairs: one that dies at any of its calls is finished by the next.

    a spoiled store ──repair──┬─ SIGKILL at a point ──> the folder as it is then
                              └─ the power goes     ──> a folder that it may leave
    either folder   ──opened──> nothing wrong is served, nothing is missing in silence
                    ──repaired──> all that wasn't hit is where it was, what was hit is told, what was cut is kept

A `check` dies at each of its calls too, and has changed nothing.  Spoiled are stores as in damage.py, and what is to
be there follows from the unspoiled one.  Points are those of kill.py, states of the disk those of platter.py.
"""

import contextlib
import functools
import os
import random
import shutil
import tempfile
import time
import zlib
from unittest import mock

from disk import Disk, contents

from store import Store
from store.check import check
from store.files import ReadOnly
from store.repair import repair
from store.segment import HEADER_SIZE

from .damage import KINDS, Due, Kind, Original, expect_kept, expect_mended, expect_no_lies, quick, spoilings
from .kill import FilesWithPoints, IndexWithPoints, Points, kind_of, quick_index, run_to_death
from .platter import Platter, count, exhaustive, sampled
from .still import Shelf, still

NAME = "repairs"
GOALS = {"points in repairs": 60, "kills of repairs": 5_000, "kills of checks": 1_000, "losses of power": 2_000}

# Spoiled stores of a round that lose power; one is killed.
POWERLESS = 3
# After a change with at most so many states all of them are tried, after one with more this many.
EVERY = 40
SOME = 20

FOLDER = "/db"
# The index is no file of the platter's.
WITHOUT_INDEX = (KINDS[2], Kind("crashed without index", False, False),
                 Kind("joined without index", True, False, joined=True))


class ReadOnlyWithPoints(ReadOnly):
    """The disk, for whoever only looks, with a point at each look."""

    def __init__(self, points):
        self._points = points

    def lock(self, path):
        self._points.at("lock")
        return super().lock(path)

    def open(self, path):
        self._points.at(f"open {kind_of(path)}")
        return super().open(path)

    def names(self, path):
        self._points.at("names")
        return super().names(path)

    def read(self, fd, size, pos):
        self._points.at("read")
        return super().read(fd, size, pos)


class Spoiled:
    """A spoiled store, and what is due of it.

    folder    where it is laid out, as often as that is needed
    """

    def __init__(self, original, spoiling, workplace):
        self.folder = workplace / "copy"
        self._original = original
        self._spoiling = spoiling
        self._due = Due(original, spoiling)
        self._half = workplace / "half"
        self.scratch = workplace / "scratch"        # of checks that die
        self.lay_out()
        self._damaged = contents(self.folder)
        self._findings = repair(str(self.folder), dry_run=True).findings

    def lay_out(self):
        for folder in (self.folder, self.scratch):
            shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self._original.folder, self.folder)
        self._spoiling.apply(self.folder)
        self.scratch.mkdir()

    def expect_unchanged(self):
        assert contents(self.folder) == self._damaged, "a check changed the log"

    def expect_finished(self):
        """Half repaired it tells no lies, and another repair finishes it."""
        shutil.rmtree(self._half, ignore_errors=True)
        shutil.copytree(self.folder, self._half)
        expect_no_lies(self._original, self._half, self._due)
        repair(str(self.folder), files=Disk())
        expect_kept(self.folder, self._damaged, self._findings)
        self._expect_headers()
        expect_mended(self._original, self.folder, self._due)
        with Store(str(self.folder), files=Disk()) as store:
            assert store.epoch > 1 or not self._findings.raise_epoch, "numbers are given out again under the same epoch"

    def _expect_headers(self):
        """What stood where headers are now is somewhere."""
        there = contents(self.folder).values()
        for path, before in self._damaged.items():
            assert any(before[:HEADER_SIZE] in one for one in there), f"the header of {path.name} isn't kept"


def run(seed, until, folder):
    draw = random.Random(seed)
    tally = {}
    for _ in range(POWERLESS):
        kind = draw.choice(WITHOUT_INDEX)
        with _spoiled(seed, kind, draw, folder) as spoiled:
            _lose_power(spoiled, draw, until, tally)
    with _spoiled(seed, KINDS[seed % len(KINDS)], draw, folder) as spoiled:
        _kill_repairs(spoiled, until, tally)
        _kill_checks(spoiled, until, tally)
    return tally or {"rounds without time": 1}


@contextlib.contextmanager
def _spoiled(seed, kind, draw, folder):
    """A Spoiled store of that kind; what fails inside is told whose fault it was."""
    shutil.rmtree(folder / "original", ignore_errors=True)
    with quick(seed):
        original = Original(folder / "original", kind)
        _, spoiling = draw.choice(list(spoilings(original, seed, draw)))
        try:
            yield Spoiled(original, spoiling, folder)
        except Exception as error:
            raise AssertionError(f"{kind.name}, {spoiling.name}: {error}") from error


def _counted(tally, what):
    tally[what] = tally.get(what, 0) + 1


# -- a process dies -----------------------------------------------------------

def _kill_repairs(spoiled, until, tally):
    for name, nth in _places(spoiled, _repair):
        if time.monotonic() > until:
            return
        if _killed(spoiled, _repair, name, nth):
            tally.setdefault("points in repairs", set()).add(zlib.crc32(name.encode()))
            _counted(tally, "kills of repairs")
        with _named(name, nth):
            spoiled.expect_finished()


def _kill_checks(spoiled, until, tally):
    for name, nth in _places(spoiled, _check):
        if time.monotonic() > until:
            return
        if _killed(spoiled, _check, name, nth):
            _counted(tally, "kills of checks")
        with _named(name, nth):
            spoiled.expect_unchanged()


@contextlib.contextmanager
def _named(name, nth):
    try:
        yield
    except Exception as error:
        raise AssertionError(f"killed at {name!r}, call {nth}: {error}") from error


def _places(spoiled, work):
    """[(point, which of its calls)]: all of them."""
    points = Points()
    spoiled.lay_out()
    work(spoiled, points)
    return [(name, nth) for name, calls in points.seen.items() for nth in range(calls)]


def _killed(spoiled, work, name, nth):
    """Have `work` die there; return whether it did."""
    spoiled.lay_out()
    killed, _ = run_to_death(lambda say: work(spoiled, Points(name, nth)))
    return killed


def _repair(spoiled, points):
    points.phase = "repair"
    IndexWithPoints.points = points
    with quick_index(IndexWithPoints), mock.patch.object(tempfile, "tempdir", str(spoiled.scratch)):
        repair(str(spoiled.folder), files=FilesWithPoints(points))


def _check(spoiled, points):
    points.phase = "check"
    with mock.patch("store.check.ReadOnly", functools.partial(ReadOnlyWithPoints, points)), \
            mock.patch.object(tempfile, "tempdir", str(spoiled.scratch)):
        check(str(spoiled.folder))


# -- the power goes -----------------------------------------------------------

def _lose_power(spoiled, draw, until, tally):
    tried = set()
    for loss in _losses(spoiled):
        for state in exhaustive(loss) if count(loss) <= EVERY else sampled(loss, draw, SOME):
            if time.monotonic() > until:
                return
            this = hash(tuple(state.items()))
            if this not in tried:
                tried.add(this)
                _put_down(state, spoiled.folder)
                spoiled.expect_finished()
                _counted(tally, "losses of power")


def _losses(spoiled):
    """What a loss of power would leave after each change that a repair makes."""
    spoiled.lay_out()
    platter = Platter(_picked_up(spoiled.folder), boot="second")
    losses = []
    platter.on_done = lambda: losses.append(platter.loss())
    with still(Shelf()):
        repair(FOLDER, files=platter)
    return losses


def _picked_up(folder):
    """The state of a Platter that has these files."""
    files = {f"{FOLDER}/{path.name}": path.read_bytes() for path in folder.iterdir()}
    return {FOLDER: None, os.devnull: b"", **files}


def _put_down(state, folder):
    shutil.rmtree(folder)
    for path, content in sorted(state.items()):
        if not path.startswith(FOLDER):
            continue
        place = folder / os.path.relpath(path, FOLDER)
        if content is None:
            place.mkdir(exist_ok=True)
        else:
            place.write_bytes(content)
