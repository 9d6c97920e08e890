"""Batches of publishes on their way to the store, and their replies on the way back.

    poller ──> Batch ──> write, sync ──> replies, one buffer a connection
                                    '──> feeds

The poller does this itself: to hand a batch to a thread and back costs more than
a quick disk takes to sync it.  Under `always`, while the disk is slow, it is done
in a thread of its own, so that the poller goes on with everything else.
"""

import logging
import threading
import time

import resp
from store import ALWAYS, StoreError, StoreFailed, StoreFull

log = logging.getLogger("meilies.commit")

_OK = b"+OK\r\n"
_OKS = [_OK * n for n in range(257)]


class Batch:
    """Publishes of any number of connections, in the order in which they take effect.

    runs     [(stream, name, datas)], a list or a tuple of what one event or more hold
    owed     {connection: how many of the events are its own}
    size     bytes of the requests
    refused  the store has said no, and so was answered
    """

    __slots__ = ("runs", "owed", "size", "refused")

    def __init__(self):
        self.runs = []
        self.owed = {}
        self.size = 0
        self.refused = False

    def add(self, connection, runs, count, size):
        """Add `count` publishes of one connection, which came in `size` bytes."""
        self.runs += runs
        self.size += size
        if connection in self.owed:
            self.owed[connection] += count
        else:
            self.owed[connection] = count
            connection.uncommitted += 1


# Seconds that a write and sync may take for the next one to be done without a thread.
SLOW_COMMIT = 0.005


class Committer:
    """Commits batches, one after the other, for one thread that submits them.

    on_done   called with each batch afterwards, in the thread that committed it
    """

    def __init__(self, store, feeds, on_done):
        self._store = store
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
            self._commit(batch)
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
            self._commit(batch)
            with self._wanted:
                self._batch = None      # before `_on_done`, which may come with the next one
                self._wanted.notify_all()
            self._on_done(batch)
            del batch       # with its connections, while there is no other

    def _commit(self, batch):
        began = time.monotonic()
        try:
            stored = self._store.write(batch.runs)
            self._store.commit(stored)
            self._took = time.monotonic() - began
        except StoreError as error:
            self._refuse(batch, error)
        except Exception as error:
            log.exception("a batch of publishes failed")
            self._refuse(batch, error)
        else:
            self._failing = None
            for connection, count in batch.owed.items():
                connection.outbox.put_and_flush(_OKS[count] if count <= 256 else _OK * count)
            self._feeds.committed(stored)

    def _refuse(self, batch, error):
        batch.refused = True
        if type(error) is not self._failing:
            self._failing = type(error)
            log.error("publishes are refused: %s", error)
        reply = resp.error(f"{_code(error)} {error}")
        for connection, count in batch.owed.items():
            connection.outbox.put_and_flush(reply * count)

    def stop(self):
        """Return when what was submitted is committed and the thread has ended."""
        if self._thread is None:
            return
        with self._wanted:
            self._stopping = True
            self._wanted.notify_all()
        self._thread.join()


def _code(error):
    if isinstance(error, StoreFull):
        return "STOREFULL"
    if isinstance(error, StoreFailed):
        return "STOREFAILED"
    return "ERR"
