"""A store without threads, time, chance or files: what it does follows from what it is asked.

    with still(shelf):
        store = Store("/db", files=Platter(), clock=Clock(draw))
        …
        tick(store)         what its threads would do by now

Its index is in memory as well; a Shelf has it as it was after each transaction.
"""

import contextlib
import logging
import random
import sqlite3
from unittest import mock

from store import database, merge, record

YEAR = 365 * 24 * 3600 * 1_000_000


class IdleKeeper:
    """A Keeper whose work is done when `tick` says so."""

    def __init__(self, name, work, wanted=None, interval=None):
        self.work = work

    def stop(self):
        pass


def tick(store):
    """Do what the store's threads would."""
    for keeper in store._keepers:
        keeper.work()


class Clock:
    """Microseconds since 1970, which go forward mostly, and by years in either direction now and then."""

    def __init__(self, draw):
        self._draw = draw
        self._now = 50 * YEAR

    def __call__(self):
        step = self._draw.choice((0, 1, 1000, 1000, 1000, -10 * YEAR, 100 * YEAR))
        self._now = max(0, self._now + step)
        return self._now


class Shelf:
    """The index's file: `versions` are copies of it after each transaction, oldest first."""

    def __init__(self):
        self.versions = []
        self.keeping = False        # whether transactions add to it
        self._start = None          # what the next to connect finds

    def put(self, version):
        """The file is this version, or isn't there if that is None."""
        self._start = version

    def connect(self, path, **more):
        connection = _Remembering(":memory:", **more)
        connection.shelf = self
        start, self._start = self._start, None      # who connects again has deleted it
        if start is not None:
            start.backup(connection)
        return connection


class _Remembering(sqlite3.Connection):
    """A store that is crashed closes nothing; its connection is closed when it is forgotten."""

    shelf = None

    def __del__(self):
        self.close()

    def execute(self, statement, *values):
        done = super().execute(statement, *values)
        if statement == "commit" and self.shelf.keeping:
            copy = _Remembering(":memory:", check_same_thread=False)
            self.backup(copy)
            self.shelf.versions.append(copy)
        return done


@contextlib.contextmanager
def still(shelf, salt=0, room=record.MAX_FRAMES):
    """Stores that are opened inside have no threads, and draw the same ids each time.

    salt   what these ids follow from
    room   bytes of frames in a record
    """
    draw = random.Random(salt)
    with quiet(), eager_merges(), mock.patch.object(database, "Keeper", IdleKeeper), \
            mock.patch.object(sqlite3, "connect", shelf.connect), \
            mock.patch.object(record, "MAX_FRAMES", room), \
            mock.patch("os.urandom", draw.randbytes):
        yield


def eager_merges():
    """Few records are enough for a segment to be written anew, at once."""
    return mock.patch.multiple(merge, _MANY=3, _SMALL=2000)


@contextlib.contextmanager
def quiet():
    """What stores have to say of faults is not shown."""
    logger = logging.getLogger("meilies")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)
