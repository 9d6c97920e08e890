"""Reads of consumer groups that wait for events: one thread answers all of them.

    group-read … BLOCK ──> a worker: nothing there ──> Blocked ──> given, or time is up ──> reply

The connection of such a read is `working`: what it sends next waits for the
reply.  So there is one read a connection, and nobody waits in a worker.

The thread sleeps while there is no read.  While there is one it is woken by each
event and by each change of a group, and looks at the groups that are read.

Locks: `_wanted` guards the reads and `_stopping`; nothing is taken under it but
the store's lock to wake.  A look at a group holds neither.
"""

import logging
import threading
import time
from typing import NamedTuple

from store import StoreClosed
from store.names import ALL

log = logging.getLogger("meilies.groups")


class BlockedRead(NamedTuple):
    """deadline   a time.monotonic(), or None: it waits for ever
    answer     answer(given, error) makes the reply"""

    group: object
    member: str
    count: int
    deadline: float
    answer: object


class Blocked:
    """See the top of this file.

    done   called with each connection that was answered
    """

    def __init__(self, store, done):
        self._store = store
        self._done = done
        self._wanted = threading.Condition(threading.Lock())
        self._reads = {}            # connection -> BlockedRead, in the order in which they came
        self._ending = set()        # connections whose clients wait no longer
        self._stopping = False
        self._changes = 0           # of what stands above
        self._thread = None

    def add(self, connection, read):
        """Answer `connection` when there is something for its read, or when its time is up."""
        with self._wanted:
            stopping = self._stopping
            if not connection.closed:
                self._reads[connection] = read
            if self._thread is None and not stopping:
                self._thread = threading.Thread(target=self._run, name="meilies-blocked", daemon=True)
                self._thread.start()
        if stopping:
            self._answer(connection, read, [])
        else:
            self._wake()

    def __len__(self):
        return len(self._reads)

    def __contains__(self, connection):
        return connection in self._reads

    def group_of(self, connection):
        """The group that a connection waits for, or None."""
        read = self._reads.get(connection)
        return None if read is None else read.group

    def refuse(self, connection, error):
        """Answer a connection with an error, if it waits."""
        read = self._reads.get(connection)
        if read is not None:
            self._answer(connection, read, [], error)

    def forget(self, connection):
        """It is closed."""
        with self._wanted:
            found = self._reads.pop(connection, None)
        if found is not None:
            self._wake()

    def end(self, connection):
        """Its client sends no more: answer now, with what there is."""
        with self._wanted:
            if connection in self._reads:
                self._ending.add(connection)
        self._wake()

    def stop(self):
        """Answer all, and return when the thread has ended."""
        with self._wanted:
            self._stopping = True
            thread = self._thread
        if thread is not None:
            self._wake()
            thread.join()

    def _wake(self):
        with self._wanted:
            self._changes += 1
            self._wanted.notify_all()
        self._store.all.notify()

    # -- the thread ----------------------------------------------------------

    def _run(self):
        while True:
            with self._wanted:
                while not self._reads and not self._stopping:
                    self._wanted.wait()
                if self._stopping:
                    break
            self._serve_until_none()
        for connection, read in list(self._reads.items()):
            self._answer(connection, read, [])

    def _serve_until_none(self):
        try:
            stream = self._store.attend(ALL)
        except StoreClosed as error:
            for connection, read in list(self._reads.items()):
                self._answer(connection, read, [], error)
            return
        try:
            while True:
                seen = self._seen(stream)       # first: what comes after it wakes
                if self._stopping or not self._reads:
                    break
                wait = self._serve()
                if wait is None or wait > 0:
                    with stream.condition:
                        if self._seen(stream) == seen and not self._store.closed:
                            stream.condition.wait(wait)
        finally:
            self._store.leave(stream)

    def _seen(self, stream):
        """What says, when it changes, that there is something to do."""
        with self._wanted:
            groups = {read.group for read in self._reads.values()}
        return stream.visible, self._changes, {group.name: group.version for group in groups}

    def _serve(self):
        """Look once for each read; the seconds until it is to be done again unasked, None for never."""
        now = time.monotonic()
        wait = None
        with self._wanted:
            reads = list(self._reads.items())
            ending, self._ending = self._ending, set()
        idle = set()        # groups that have nothing for anybody
        for connection, read in reads:
            given, more = ([], False) if read.group in idle else self._look(connection, read)
            if given or more is None:
                continue
            if read.group.is_idle:
                idle.add(read.group)
            if connection in ending or read.deadline is not None and read.deadline <= now:
                self._answer(connection, read, [])
                continue
            moments = [moment for moment in (read.deadline, read.group.due) if moment is not None]
            left = 0 if more else min(moments) - now if moments else None
            if left is not None:
                wait = max(0, left) if wait is None else min(wait, max(0, left))
        return wait

    def _look(self, connection, read):
        """(what is given, whether there is more of the log to look at; None if it was answered)"""
        try:
            given, more = read.group.read_some(read.member, read.count, 1)
        except Exception as error:
            self._answer(connection, read, [], error)
            return [], None
        if given:
            self._answer(connection, read, given)
        return given, more

    def _answer(self, connection, read, given, error=None):
        with self._wanted:
            there = self._reads.pop(connection, None) is not None
        if not there:       # it was closed meanwhile
            read.group.unread(given)
            return
        connection.outbox.put_and_flush(read.answer(given, error))
        self._done(connection)
