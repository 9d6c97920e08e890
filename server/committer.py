"""Batches of publishes and appends on their way to the store, and their replies on the way back.

    poller ──> Batch ──> write, sync ──> replies, one buffer a connection
                                    '──> feeds

The poller does this itself: to hand a batch to a thread and back costs more than
a quick disk takes to sync it.  Under `always`, while the disk is slow, it is done
in a thread of its own, so that the poller goes on with everything else.
"""

import logging
import threading
import time
from bisect import bisect_left
from itertools import chain

import resp
from store import (
    ALWAYS,
    ConditionFailed,
    IdConflict,
    StoreError,
    StoreFailed,
    StoreFull,
    StreamDeleted,
    WrongVersion,
)
from store.append import Append, Singles
from store.times import BOUNDS

log = logging.getLogger("meilies.commit")

# The reply to an append of one event.
_PLACE = b"*1\r\n*2\r\n:%d\r\n:%d\r\n"
_OK = b"+OK\r\n"
_OKS = [_OK * n for n in range(257)]

# What an error of the store's begins with on the wire, if programs may want to know it from others.
_CODES = {StoreFull: "STOREFULL", StoreFailed: "STOREFAILED", WrongVersion: "WRONGVERSION", IdConflict: "IDCONFLICT",
          StreamDeleted: "DELETED", ConditionFailed: "CONDITION"}


class Batch:
    """Publishes and appends of any number of connections, in the order in which they take effect.

    units    runs, (stream, name, datas) with a list of what one event or more hold, or as
             resp.Requests has it, Appends, Singles, and Entries and EntryRuns of adding.py
    appends  those of them that are no runs
    owed     {connection: how many publishes are its own, or [so many, an Append, so many, Singles, …]
             in the order in which they are answered}
    size     bytes of the requests
    published  publishes, of all connections
    refused  the store has said no: the reply that all got; else b""
    slow     seconds that it took, if they were so many that the slow log wants to know; else 0.0
    """

    __slots__ = ("units", "appends", "owed", "size", "published", "refused", "slow")

    def __init__(self):
        self.units = []
        self.appends = []
        self.owed = {}
        self.size = 0
        self.published = 0
        self.refused = b""
        self.slow = 0.0

    def add(self, connection, runs, count, size):
        """Add `count` publishes of one connection, which came in `size` bytes."""
        self.units += runs
        self.size += size
        self.published += count
        owed = self.owed.get(connection)
        if owed is None:
            self.owed[connection] = count
            connection.uncommitted += 1
        elif type(owed) is int:
            self.owed[connection] = owed + count
        else:
            owed.append(count)

    def add_one_each(self, connections, runs, size):
        """Add `runs`, which came in `size` bytes: a publish of each of `connections`, of which none is there twice."""
        self.units += runs
        if self.owed:
            for connection in connections:
                self.add(connection, (), 1, 0)
        else:
            self.owed = dict.fromkeys(connections, 1)
            for connection in connections:
                connection.uncommitted += 1
            self.published += len(connections)
        self.size += size

    def add_append(self, connection, append, size):
        """Add an Append or Singles of one connection, which came in `size` bytes."""
        self.units.append(append)
        self.appends.append(append)
        self.size += size
        owed = self.owed.get(connection)
        if owed is None:
            self.owed[connection] = [append]
            connection.uncommitted += 1
        elif type(owed) is int:
            self.owed[connection] = [owed, append]
        else:
            owed.append(append)

    @property
    def stored(self):
        """How many events the store took."""
        if self.refused:
            return 0
        if not self.appends:
            return self.published
        return self.published + sum([one.stored for one in self.appends])

    @property
    def appended(self):
        """How many appends it has."""
        return sum([_count(one) for one in self.appends])

    @property
    def trims(self):
        """Those of its appends that trim their streams."""
        return [one for one in self.appends if getattr(one, "trims", ())]

    def appends_by_command(self):
        """[(name of the command, how many, the replies to those that were refused while others weren't)] of appends."""
        return [(getattr(one, "command", "append"), _count(one),
                 [] if self.refused else [error_reply(error) for error in _errors_of(one)]) for one in self.appends]


# Seconds that a write and sync may take for the next one to be done without a thread.
SLOW_COMMIT = 0.005


class Committer:
    """Commits batches, one after the other, for one thread that submits them.

    on_done   called with each batch afterwards, in the thread that committed it
    metrics   a Metrics, told how long each takes that the store doesn't refuse: from its write until it is as
              safe as the policy says
    """

    def __init__(self, store, feeds, on_done, metrics):
        self._store = store
        self._metrics = metrics
        self._feeds = feeds
        self._on_done = on_done
        self._failing = None            # the last failure that was logged
        self._took = 0.0                # seconds that the last write and sync took
        self._wanted = threading.Condition(threading.Lock())
        self._batch = None              # what the thread has to do; guarded by `_wanted`
        self._stopping = False
        self._thread = None
        if store.sync_policy == ALWAYS:
            self._thread = threading.Thread(target=self._run, name="meilies-commit", daemon=True)
            self._thread.start()

    @property
    def busy(self):
        """Whether `submit` would have to wait."""
        return self._batch is not None

    def submit(self, batch):
        """Commit a batch, here and now or in the thread; waits while one is under way there."""
        if self._thread is None or (self._batch is None and self._took < SLOW_COMMIT):
            self._commit(batch, self._feeds.gather)
            self._on_done(batch)
            return
        with self._wanted:
            while self._batch is not None:
                self._wanted.wait()
            self._batch = batch
            self._wanted.notify_all()

    def _run(self):
        while True:
            with self._wanted:
                while self._batch is None:
                    if self._stopping:
                        return
                    self._wanted.wait()
                batch = self._batch
            self._commit(batch, self._feeds.committed)
            with self._wanted:
                self._batch = None      # before `_on_done`, which may come with the next one
                self._wanted.notify_all()
            self._on_done(batch)
            del batch       # with its connections, while there is no other

    def _commit(self, batch, serve):
        """Commit a batch and answer it; `serve` its followers."""
        began = time.monotonic()
        try:
            stored = self._store.write(batch.units, batch.appends)
            self._store.commit(stored)
        except StoreError as error:
            self._refuse(batch, error)
        except Exception as error:
            log.exception("a batch of events failed")
            self._refuse(batch, error)
        else:
            self._took = seconds = time.monotonic() - began
            metrics = self._metrics
            times = metrics.append_commits if batch.appends else metrics.commits
            times.counts[bisect_left(BOUNDS, seconds)] += 1     # Times.add, but for a call in each turn
            times.seconds += seconds
            if seconds >= metrics.slow_log.seconds:
                batch.slow = seconds
            self._failing = None
            trims = batch.trims if batch.appends else ()
            if trims:       # followers get what came before it may be cut
                self._feeds.committed(stored)
                self._trim(trims)
            for connection, owed in batch.owed.items():
                connection.outbox.put_and_flush(_OK if owed == 1 else _oks(owed) if type(owed) is int
                                                else _replies(owed, stored))
            if not trims:
                serve(stored)
            self._note()

    def _note(self):
        """What clients needn't wait for."""
        try:
            self._store.note()
        except MemoryError:
            log.exception("the index isn't up to date")     # whoever reads brings it there

    def _trim(self, trims):
        try:
            for one in trims:
                one.trim()
        except Exception:
            log.exception("a stream wasn't trimmed")        # what was added is stored, and answered

    def _refuse(self, batch, error):
        if type(error) is not self._failing:
            self._failing = type(error)
            log.error("publishes are refused: %s", error)
        reply = batch.refused = error_reply(error)
        for connection, owed in batch.owed.items():
            count = owed if type(owed) is int else sum(map(_count, owed))
            connection.outbox.put_and_flush(reply * count)

    def stop(self):
        """Return when what was submitted is committed and the thread has ended."""
        if self._thread is None:
            return
        with self._wanted:
            self._stopping = True
            self._wanted.notify_all()
        self._thread.join()


def _oks(count):
    return _OKS[count] if count <= 256 else _OK * count


def _count(owed):
    """How many replies are owed."""
    if type(owed) is int:
        return owed
    return 1 if owed.whole else owed.count


def _errors_of(append):
    """The errors of an Append or of Singles."""
    if append.whole:
        return [] if append.error is None else [append.error]
    return [one for one in append.outcomes if type(one) is not tuple]


def _replies(owed, stored):
    """The replies to publishes and appends in their order, which are in this Batch of the store's."""
    return b"".join([_oks(one) if type(one) is int else reply_to(one, stored) if one.whole
                     else _replies_to(one) if type(one) is Singles else one.replies(stored) for one in owed])


def _replies_to(singles):
    """The replies to Singles."""
    outcomes = singles.outcomes
    if singles.stored == len(outcomes):
        return _PLACE * len(outcomes) % tuple(chain.from_iterable(outcomes))
    return b"".join([_PLACE % one if type(one) is tuple else error_reply(one) for one in outcomes])


def places_reply(places):
    """The reply to an append whose events are at these places."""
    if len(places) == 1:
        return _PLACE % places[0]
    return b"*%d\r\n%b" % (len(places), b"".join([b"*2\r\n:%d\r\n:%d\r\n" % place for place in places]))


def reply_to(append, stored=None):
    """The reply to an Append that is stored, in this Batch of the store's, or refused; those of other commands than
    `append` know theirs."""
    if append.error is not None:
        return error_reply(append.error)
    if type(append) is not Append:
        return append.reply(stored)
    return places_reply(append.places)


def error_reply(error):
    """The reply that names an error of the store's."""
    return resp.error(f"{_CODES.get(type(error), 'ERR')} {error}")
