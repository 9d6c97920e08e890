"""Reads that wait for events: one thread answers all of them.

    a worker: nothing there ──> Blocked ──> look() brings a reply, or time is up ──> reply
                                   ^
    a stream goes on, or a group ──'    those who wait for it are looked for, nobody else

The connection of such a read is `working`: what it sends next waits for the
reply.  So there is one read a connection, and nobody waits in a worker.

The store calls `_ring` with each stream that goes on and that a read is for: it
writes down the name, and wakes the thread, which looks.  So an event costs its
publisher nothing for reads of other streams, however many wait.

A read is an object with

    streams    names of the streams that may bring it something; ALL for any
    deadline   a time.monotonic(), or None: it waits for ever
    due        a time.monotonic() at which something may be there unasked, or None
    look()     the reply in bytes, or None if there is nothing yet.  Raises CommandError, StoreError
    nothing()  the reply when its time is up
    undo()     what `look` returned last was not sent: the client is gone
    why_not(user)   why that User, or None, may not have it, as an error's text; None if he may

`look` and `undo` are called by the thread only, one read after the other.

Locks: `_wanted` guards all that is here; nothing is taken under it.  A look holds none.
"""

import heapq
import itertools
import logging
import threading
import time

import resp
from store import StoreError

from .table import CommandError

log = logging.getLogger("meilies.blocked")

# Milliseconds: the longest a read waits that doesn't wait for ever.
_LONGEST = 10 ** 12
# Alarms of reads that were answered already, before they are thrown out.
_OUTDATED = 100


class Blocked:
    """See the top of this file.

    done   called with each connection that was answered
    """

    def __init__(self, store, done):
        self._store = store
        self._done = done
        self._wanted = threading.Condition(threading.Lock())
        self._reads = {}            # connection -> its read
        self._watched = {}          # connection -> [Stream, …] that it watches
        self._waiting = {}          # stream's name -> {connection: None}, in the order in which they came
        self._rung = set()          # names of streams that went on, or whose groups changed
        self._fresh = []            # connections whose reads weren't looked at since they came
        self._ending = set()        # connections whose clients wait no longer
        self._alarms = []           # (time, tie, connection): when to look unasked
        self._alarm = {}            # connection -> its next one
        self._tie = itertools.count()
        self._stopping = False
        self._thread = None

    def add(self, connection, read):
        """Answer `connection` when there is something for its read, or when its time is up."""
        streams = []
        try:
            for name in read.streams:
                streams.append(self._store.watch(name, self._ring))
        except StoreError as error:
            self._leave(streams)
            self._send(connection, _refusal(error))
            return
        with self._wanted:
            stopping = self._stopping
            there = not connection.closed and not stopping
            if there:
                self._register(connection, read, streams)
            if self._thread is None and not stopping:
                self._thread = threading.Thread(target=self._run, name="meilies-blocked", daemon=True)
                self._thread.start()
        if not there:
            self._leave(streams)
        if stopping:
            self._send(connection, read.nothing())

    def _register(self, connection, read, streams):
        """Under the lock.  It is looked at once more: what came before `watch` rang for nobody."""
        self._reads[connection] = read
        self._watched[connection] = streams
        for stream in streams:
            self._waiting.setdefault(stream.name, {})[connection] = None
        self._fresh.append(connection)
        self._wanted.notify_all()

    def __len__(self):
        return len(self._reads)

    def __contains__(self, connection):
        return connection in self._reads

    def refuse(self, connection, error):
        """Answer a connection with an error, if it waits."""
        read = self._reads.get(connection)
        if read is not None and self._forget(connection, read):
            self._send(connection, _refusal(error))

    def refuse_unless_permitted(self, connection):
        """Answer a read that isn't, or isn't any more, for the connection's user with an error."""
        read = self._reads.get(connection)
        why = None if read is None else read.why_not(connection.user)
        if why is not None:
            self.refuse(connection, CommandError(why))

    def forget(self, connection):
        """It is closed."""
        read = self._reads.get(connection)
        if read is not None:
            self._forget(connection, read)

    def end(self, connection):
        """Its client waits no longer: answer now, with what there is."""
        with self._wanted:
            if connection in self._reads:
                self._ending.add(connection)
                self._wanted.notify_all()

    def stop(self):
        """Answer all, and return when the thread has ended."""
        with self._wanted:
            self._stopping = True
            self._wanted.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _ring(self, stream):
        """The store's: there may be something new for those who wait for `stream`."""
        if stream.name in self._rung:       # the thread hasn't begun to look
            return
        with self._wanted:
            self._rung.add(stream.name)
            self._wanted.notify_all()

    # -- the thread ----------------------------------------------------------

    def _run(self):
        while True:
            with self._wanted:
                concerned = self._concerned()
                while not concerned and not self._stopping:
                    self._wanted.wait(self._until_alarm())
                    concerned = self._concerned()
                if self._stopping:
                    break
            for connection, ending in concerned.items():
                self._serve(connection, ending)
        for connection, read in list(self._reads.items()):
            self._answer(connection, read, read.nothing())

    def _concerned(self):
        """{connection: whether it waits no longer} of those to look at now, the first come first; under the lock."""
        rung, self._rung = self._rung, set()
        fresh, self._fresh = self._fresh, []
        ending, self._ending = self._ending, set()
        found = {one: False for name in rung for one in self._waiting.get(name, ())}
        found.update(dict.fromkeys(fresh, False))
        now = time.monotonic()
        while self._alarms and self._alarms[0][0] <= now:
            moment, _, connection = heapq.heappop(self._alarms)
            if self._alarm.get(connection) == moment:
                del self._alarm[connection]
                found[connection] = False
        found.update(dict.fromkeys(ending, True))
        return found

    def _until_alarm(self):
        return min(max(0, self._alarms[0][0] - time.monotonic()), threading.TIMEOUT_MAX) if self._alarms else None

    def _serve(self, connection, ending):
        """Answer a read if there is something for it, or if its time is up."""
        read = self._reads.get(connection)
        if read is None:
            return
        try:
            reply = read.look()
        except Exception as error:
            self._answer(connection, read, _refusal(error))
            return
        if reply is None and (ending or read.deadline is not None and read.deadline <= time.monotonic()):
            reply = read.nothing()
        if reply is None:
            self._set_alarm(connection, read)
        else:
            self._answer(connection, read, reply)

    def _set_alarm(self, connection, read):
        moment = min((one for one in (read.deadline, read.due) if one is not None), default=None)
        with self._wanted:
            if moment is None or connection not in self._reads or self._alarm.get(connection, moment + 1) <= moment:
                return
            self._alarm[connection] = moment
            heapq.heappush(self._alarms, (moment, next(self._tie), connection))
            if len(self._alarms) > 2 * len(self._alarm) + _OUTDATED:
                self._alarms = [(moment, next(self._tie), one) for one, moment in self._alarm.items()]
                heapq.heapify(self._alarms)

    def _answer(self, connection, read, reply):
        if self._forget(connection, read):
            self._send(connection, reply)
        else:       # it was closed meanwhile, or refused
            read.undo()

    def _forget(self, connection, read):
        """Whether this read of a connection waited until now."""
        with self._wanted:
            if self._reads.get(connection) is not read:
                return False
            del self._reads[connection]
            streams = self._watched.pop(connection)
            for stream in streams:
                waiting = self._waiting.get(stream.name, {})
                waiting.pop(connection, None)
                if not waiting:
                    self._waiting.pop(stream.name, None)
            self._ending.discard(connection)
            self._alarm.pop(connection, None)
        self._leave(streams)
        return True

    def _leave(self, streams):
        for stream in streams:
            self._store.unwatch(stream, self._ring)

    def _send(self, connection, reply):
        connection.outbox.put_and_flush(reply)
        self._done(connection)


def deadline_of(block):
    """A read's deadline that waits for so many milliseconds, 0 for ever."""
    return time.monotonic() + min(block, _LONGEST) / 1000 if block else None


def _refusal(error):
    """The reply to a read that can't be had."""
    if isinstance(error, CommandError):
        return resp.error(str(error))
    if isinstance(error, StoreError):
        return resp.error(f"ERR {error}")
    log.error("a blocked read failed", exc_info=error)
    return resp.error("ERR internal error; the server's log has the details")
