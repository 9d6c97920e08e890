"""Parked connections: one wait for all of them, one batch of their publishes and
appends, one reply each.

    epoll ──> receive ──> parse ──> execute ──> batch ──> committer
       ^                               |
       |                               '──> reply, or a worker
       '── interest: input while there is room, output while a socket refuses

A connection's requests take effect and are answered in their order: publishes
and appends gather in the batch, and any other command of that connection waits
until they are committed.  Everything here runs in the thread that called `run`, except
`adopt`, `call_soon` and `stop`, and `_watch_output`, which whoever sends may call.

Interest is level-triggered.  A connection isn't read while something that it
sent waits to be executed, or while it doesn't read what it is owed.
"""

import errno
import logging
import math
import os
import select
import socket
import threading
import time
from collections import deque

import resp
from resp import Alike, BadRequest, ProtocolError

from .access import judged, may_append_all, users_changed
from .appending import ALIKE, BATCHED
from .blocked import Blocked
from .commands import COMMANDS, execute, execute_at_once, unknown
from .committer import Batch, Committer
from .connection import Connection
from .feed import Feeds
from .figures import Figures
from .logins import Logins
from .metrics import Metrics
from .monitoring import Monitors, requests_of
from .retaining import refused
from .slowlog import SlowLog
from .sparing import Sparing
from .strangers import MOST, Strangers
from .table import NOAUTH, CommandError, check, find
from .text import printable, shown_address
from .tls import TLSSocket
from .transactions import is_exec, is_for_now, queue
from .users import Users
from .waiting import Waiting, processors
from .workers import Workers
from .works import Works

log = logging.getLogger("meilies.server")

READ, WRITE, GONE = 1, 4, 8 | 16        # the bits are those of epoll and of poll
# A peer that sends no more, told without reading from it; where that can't be, it is seen when it is written to.
LEFT = getattr(select, "EPOLLRDHUP", getattr(select, "POLLRDHUP", 0))

RECEIVE = 256 * 1024
# ... but no more than this from each of so many that are ready: others wait while it is parsed.
_CROWD = 16
_RECEIVE_IN_CROWD = 16 * 1024
# ... and this much from one that is expected to say the same again.
_RECEIVE_AGAIN = 4096
# ... and this much to where it stays, if it is of a long string.
RECEIVE_LONG = 1 << 20
# A turn ends after receiving this much, and a batch that the committer isn't
# ready for stops the poller at this size.
TURN = 4 << 20
# ... or for so many seconds: commands that aren't alike take long to parse.
_READING = 0.05
# Commands other than publish that one connection executes before it is others' turn.
_COMMANDS = 64
# Connections accepted in one turn.
_ACCEPT = 256
# Seconds without accepting after the system said that it has no more descriptors.
_BACK_OFF = 0.1
# Events that one poll returns at most.
_EVENTS = 1000
# Of the time that a turn took, followers get so much afterwards, and so many seconds at least.
_SHARE = 0.5
_MOMENT = 0.0002
# A reply of which so many bytes aren't taken makes it worth the time to see how much all clients leave.
_LONG_REPLY = 1 << 20
# Seconds that a stopping server gives clients to take their replies.
_LAST_FLUSH = 1.0


class _Poll:
    """select.poll in the manner of epoll, for systems that have no other.

    wake   ends a `poll` that is under way: it doesn't see what other threads modify meanwhile
    """

    def __init__(self, wake):
        self._poll = select.poll()
        self._wake = wake
        self.register, self.unregister = self._poll.register, self._poll.unregister

    def modify(self, fd, mask):
        self._poll.modify(fd, mask)
        self._wake()

    def poll(self, timeout):
        return self._poll.poll(None if timeout is None or timeout < 0 else timeout * 1000)

    def close(self):
        pass


class Poller:
    """Serves the connections to some listening sockets.

    listeners  bound, listening sockets; they are closed when `run` returns
    store      open; its owner closes it after `run` has returned
    limits     the server's options
    tick       tick(time.monotonic()) is called now and then; it returns the seconds
               until it wants to be called again, or None for never
    users      the Users who may log in; None: everybody may do everything
    """

    def __init__(self, listeners, store, limits, tick=None, users=None):
        self.store = store
        self.limits = limits
        self.users = users or Users()
        self.began = time.time()
        self.connections = {}           # descriptor -> Connection
        self.accepted = 0               # connections, ever
        self.refused = 0                # of them, for there were too many
        self.executed = 0               # commands other than publish
        self.published = 0              # events
        self.received = 0               # bytes
        self.monitors = Monitors()
        self.works = Works()
        self.refused_logins = 0
        self.sent = 0                   # to connections that are closed
        self.frames = 0                 # events and notices, to the same
        self.metrics = Metrics(SlowLog(limits.slowlog_log_slower_than, limits.slowlog_max_len))
        self.figures = Figures(self)
        self.feeds = Feeds(store, self.call_soon)
        self.workers = Workers(limits.workers)
        self.blocked = Blocked(store, lambda connection: self.call_soon(lambda: self.worked(connection)))
        self.logins = Logins(self.users, self.call_soon)
        self.users.watch(lambda: self.call_soon(lambda: users_changed(self)))
        self._strangers = Strangers(most=min(MOST, max(1, limits.max_connections // 2)))
        self.warn_of_logins = Sparing(logging.getLogger("meilies.users"))
        self._warn_of_strangers = Sparing(log)
        self._warn_of_nonsense = Sparing(log)
        self._warn_of_unread = Sparing(log)
        self._listeners = {sock.fileno(): sock for sock in listeners}
        self._tick = tick
        self._committer = Committer(store, self.feeds, self._committed, self.metrics)
        # One buffer for all: `recv` would make one of this size for each request.
        self._input = self._short_input = self._at_once = None
        self.make_room(limits.max_pending_input)
        self._batch = Batch()
        self._ready = []                # connections with something to execute
        self._soon = deque()            # functions for the next turn
        self._thread = threading.get_ident()    # in which `run` runs
        self._woken = False
        self._stopping = False
        self._ended = False             # nothing that is to be called soon is
        self._accepting = True
        self._accept_again = 0.0        # time.monotonic() after a back-off
        self._next_tick = 0.0 if tick else math.inf
        self._now = 0.0                 # time.monotonic() when this turn began
        self._start = 0                 # where the next turn begins among the ready
        self._passed_over = {}          # descriptors that a turn had no time for, as keys, longest first
        self._epoll = select.epoll() if hasattr(select, "epoll") else _Poll(self._wake)
        self._waiting = Waiting(self._epoll.poll, limits.busy_poll / 1e6 if processors() > 1 else 0)
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._epoll.register(self._wake_read, READ)
        for fd, sock in self._listeners.items():
            sock.setblocking(False)
            self._epoll.register(fd, READ)

    # -- from any thread -----------------------------------------------------

    def adopt(self, sock, peer, user=None):
        """Serve a connected stream socket as one that was accepted; it is the poller's from now on.

        peer   what logs and CLIENT LIST call it
        user   who it is, if that is known
        It is closed at once if the server stops, and after an error if there are too many connections.
        """
        self.call_soon(lambda: self._admit(sock, peer, user))
        if self._ended:     # nothing is called any more
            sock.close()

    def call_soon(self, function):
        """Have `function` called in the poller's next turn."""
        self._soon.append(function)
        if not self._woken:
            self._woken = True
            self._wake()

    def stop(self):
        """Have `run` finish what was received and return; a signal handler may call it."""
        self._stopping = True
        self._wake()

    @property
    def stopping(self):
        return self._stopping

    @property
    def is_own_thread(self):
        """Whether the caller is in the thread that serves the clients."""
        return threading.get_ident() == self._thread

    @property
    def wake_descriptor(self):
        """A byte written to it ends the wait; it never blocks, and is closed when `run` returns."""
        return self._wake_write

    def _wake(self):
        try:
            os.write(self._wake_write, b"\0")
        except BlockingIOError:
            pass        # full: it will wake
        except OSError as error:
            if error.errno != errno.EBADF:      # closed: nobody to wake
                raise

    # -- the loop ------------------------------------------------------------

    def make_room(self, most):
        """Receive no more than so many bytes of a client at once."""
        self._input = memoryview(bytearray(min(RECEIVE, most)))
        self._short_input = self._input[:_RECEIVE_IN_CROWD]
        self._at_once = min(RECEIVE_LONG, most)

    def run(self):
        """Serve until `stop`; then answer what was received, and return."""
        self._thread = threading.get_ident()
        while not self._stopping:
            self._turn(self._wait(self._timeout()))
        self._finish()

    def _wait(self, timeout):
        """What happened within so many seconds, or by now if followers are to be served."""
        if self.feeds.due:
            return self._epoll.poll(0)
        return self._waiting.wait(timeout, alone=not self.feeds.threads())

    def _timeout(self):
        """Seconds until something has to be done unasked, -1 for never."""
        if self._accepting and self._next_tick == math.inf and not self._strangers:
            return -1
        now = time.monotonic()
        self._dismiss(self._strangers.overdue(now))
        timeouts = [self._strangers.wait(now)]
        if now >= self._next_tick:
            wait = self._tick(now)
            self._next_tick = math.inf if wait is None else now + wait
        timeouts.append(self._next_tick - now)
        if not self._accepting:
            if now >= self._accept_again:
                self._listen(READ)
                self._accepting = True
            else:
                timeouts.append(self._accept_again - now)
        timeout = max(0, min(timeouts))
        return -1 if timeout == math.inf else timeout

    def _turn(self, events):
        self._now = time.monotonic()
        accept = ()
        if events:
            events = self._take_repeated(events)
            if events:
                accept = self._take_all(events)
        self._call_those_due()
        self._execute_ready()
        for fd in accept:       # last: a descriptor of this turn's events may be used again
            self._accept(self._listeners[fd])
        if self.feeds.due:
            self._deliver()

    def _take_all(self, events):
        """Do what `events` are for, but for accepting; return the descriptors of listeners among them."""
        accept = []
        received = 0
        until = self._now + _READING
        if len(events) > 1:
            events = self._in_order(events)
        view = self._input if len(events) <= _CROWD else self._short_input
        for fd, mask in events:
            connection = self.connections.get(fd)
            if connection is None:
                if fd == self._wake_read:
                    self._drain_wake()
                elif fd in self._listeners:
                    accept.append(fd)
                continue
            if mask & WRITE and connection.outbox.resume():
                connection.go_on()
                self._go_on(connection)
            if mask & ~WRITE and not connection.closed:
                if not received or (received < TURN and time.monotonic() < until):
                    received += self._receive(connection, mask, view)
                    if self._passed_over:
                        self._passed_over.pop(fd, None)
                else:
                    self._passed_over[fd] = None
        self.received += received
        return accept

    def _deliver(self):
        """Serve followers for a while: what gathers for them until all had their turn goes out in fewer sends."""
        now = time.monotonic()
        self.feeds.deliver(math.inf if self._stopping else now + max(_MOMENT, (now - self._now) * _SHARE))

    def _in_order(self, events):
        """Those whom the turn before had no time for come first; nobody else is always the first."""
        if self._passed_over:
            rank = {fd: i for i, fd in enumerate(self._passed_over)}
            return sorted(events, key=lambda event: rank.get(event[0], len(rank)))
        self._start = (self._start + 1) % len(events)
        return events[self._start:] + events[:self._start]

    def _drain_wake(self):
        try:
            os.read(self._wake_read, 4096)
        except BlockingIOError:
            pass

    def _call_those_due(self):
        self._woken = False     # before the queue is looked at: what comes later wakes again
        while self._soon:
            self._soon.popleft()()

    # -- connections ---------------------------------------------------------

    def _accept(self, listener):
        for _ in range(_ACCEPT):
            try:
                sock, address = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._pause_accepting(error)
                    return
                continue        # that connection was gone before it was taken
            self._admit(sock, shown_address(address))

    def _pause_accepting(self, error):
        """Without this, a listener that stays readable would take all of a core."""
        log.warning("no connection can be accepted (%s); trying again in %g s", error.strerror, _BACK_OFF)
        self._listen(0)
        self._accepting = False
        self._accept_again = time.monotonic() + _BACK_OFF

    def _listen(self, mask):
        for fd in self._listeners:
            self._epoll.modify(fd, mask)

    def _admit(self, sock, peer, user=None):
        self.accepted += 1
        if self._stopping:
            sock.close()
        elif len(self.connections) >= self.limits.max_connections:
            self._turn_away(sock)
        else:
            self._serve(sock, peer, user)

    def _turn_away(self, sock):
        if not self.refused:
            log.warning("more than %d connections; some are turned away", self.limits.max_connections)
        self.refused += 1
        try:
            sock.setblocking(False)
            sock.send(resp.error("ERR max number of clients reached"))
        except OSError:
            pass
        sock.close()

    def _serve(self, sock, peer, user):
        encrypted = isinstance(sock, TLSSocket)
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.users.required:     # it may have changed since it was looked at
            user = self.users.get(user.name) if user is not None else self.users.anonymous
        else:
            user = user or self.users.anonymous
        connection = Connection(self.accepted, peer, sock.send, self.limits,
                                on_blocked=self._watch_output, on_behind=self._call_worker,
                                unsent=sock.unsent if encrypted else None)
        connection.socket = sock
        connection.encrypted = encrypted
        fd = sock.fileno()
        self.connections[fd] = connection
        connection.mask = READ
        self._epoll.register(fd, connection.mask)
        self.become(connection, user)
        if encrypted and not connection.closed:     # what came behind the handshake has left the socket
            self._take_decrypted(connection, sock.decrypted)

    def become(self, connection, user):
        """Have a connection act for a User, or None: its client has to say who it is, and soon."""
        connection.become(user)
        if user is not None:
            self._strangers.remove(connection)
            return
        one = self._strangers.add(connection, time.monotonic())
        if one is not None:
            self._warn_of_strangers.warning("too many clients haven't said who they are; the oldest, at %s, is cut off",
                                            one.peer)
            self.close(one)

    def _dismiss(self, strangers):
        for connection in strangers:
            self._warn_of_strangers.warning("client %d at %s is cut off: it didn't say who it is", connection.id,
                                            connection.peer)
            self.close(connection)

    def _receive(self, connection, mask, view):
        """Take what a socket has, as much as `view` holds; return how many bytes that was."""
        if mask & READ and connection.wants_input:
            if connection.user is None:
                view = self._short_input
            if connection.encrypted:
                return self._take_decrypted(connection, lambda: connection.socket.receive(view))
            room = connection.room()
            try:
                size = connection.socket.recv_into(view if room is None else room[:self._at_once])
            except BlockingIOError:
                return 0
            except OSError as error:
                self._lose(connection, error)
                return 0
            if room is None:
                self._take(connection, bytes(view[:size]))
            elif size:
                connection.active = self._now
                connection.received(size)
                self._will_execute(connection)
            else:
                self._end_input(connection)
            return size
        elif mask & GONE:
            self.close(connection)
        elif mask & LEFT:
            self.blocked.end(connection)
        return 0

    def _take_decrypted(self, connection, receive):
        """As `_receive`: take what the TLSSocket's `receive()` returns."""
        try:
            with connection.outbox.lock:        # as it is to send
                data = receive()
        except BlockingIOError:
            return 0
        except OSError as error:
            self._lose(connection, error)
            return 0
        if data:
            self._take(connection, data)
        if connection.socket.ended:
            self._end_input(connection)
        return len(data)

    def _take(self, connection, data):
        """Take what a connection sent, b"" if no more will come."""
        if not data:
            self._end_input(connection)
            return
        connection.active = self._now
        connection.receive(data)
        self._will_execute(connection)

    def _end_input(self, connection):
        connection.end_input()
        self._settle(connection)

    def _lose(self, connection, error):
        log.debug("client %d at %s: %s", connection.id, connection.peer, error)
        self.close(connection)

    def _take_repeated(self, events):
        """Take publishes like the one before, of clients that wait for each reply; return the events of all others.

        It is what `_receive` and `_execute` come to for a client that is owed nothing else and asks nothing
        else, where each look at what it might be shows in what a publish costs.
        """
        if self._passed_over or self.store.retention.closed or self.monitors.watching:
            return events
        connections = self.connections
        senders, runs, others = [], [], []
        received = 0
        for event in events:
            fd, mask = event
            connection = connections.get(fd)
            if (connection is None or mask != READ or connection.requests.last is None or connection.mask != READ
                    or connection.outbox.size or connection.pending or not connection.publishes_freely
                    or connection.encrypted):
                others.append(event)
                continue
            try:
                data = connection.socket.recv(_RECEIVE_AGAIN)
            except BlockingIOError:
                continue
            except OSError as error:
                self._lose(connection, error)
                continue
            run = connection.requests.take_again(data)
            if run is None:
                self.received += len(data)
                self._take(connection, data)
                continue
            connection.active = self._now
            senders.append(connection)
            runs.append(run)
            received += len(data)
        if senders:
            self._batch.add_one_each(senders, runs, received)
            self.received += received
        return others

    def _will_execute(self, connection):
        """What it sent may make requests whole."""
        if connection.pending:
            if self.monitors.watching:
                self.monitors.tell(connection)
            self._ready.append(connection)

    def _settle(self, connection):
        """Watch its socket for what it waits for, or close it if it waits for nothing."""
        if connection.closed:
            return
        if connection.finished:     # but for what is due: the last step of a replay, perhaps
            self.call_soon(lambda: self._close_finished(connection))
            return
        with connection.outbox.lock:
            mask = (READ if connection.wants_input else 0) | (WRITE if connection.outbox.blocked else 0)
            if connection.working and connection in self.blocked:
                mask |= LEFT
            self._watch(connection, mask)

    def _close_finished(self, connection):
        if connection.subscriptions:
            self.feeds.deliver()        # some of it may be for this one
        if connection.finished:
            self.close(connection)
        else:
            self._settle(connection)

    def _watch_output(self, connection):
        """Its socket refused bytes.  Called under its outbox's lock, in any thread: whether
        it is read as well is for the poller to say."""
        if not connection.closed:
            self._watch(connection, connection.mask | WRITE)

    def _watch(self, connection, mask):
        """Tell epoll what the connection waits for; under its outbox's lock."""
        if mask != connection.mask:
            connection.mask = mask
            self._epoll.modify(connection.socket.fileno(), mask)

    def close(self, connection):
        """Let go of a client; nothing that is under way for it can touch the descriptor again."""
        if connection.closed:
            return
        sock = connection.socket
        del self.connections[sock.fileno()]
        self._passed_over.pop(sock.fileno(), None)
        with connection.outbox.lock:        # sends happen under it, so nobody is in one
            connection.closed = True
            self._epoll.unregister(sock.fileno())
            connection.outbox.forget()
            sock.close()
        self._strangers.remove(connection)
        self.sent += connection.outbox.sent
        self.frames += connection.outbox.frames
        connection.pending.clear()
        self.monitors.remove(connection)
        for follower in connection.unfollow_all():
            self.feeds.remove(follower)
        if connection.working:
            self.blocked.forget(connection)

    # -- execution -----------------------------------------------------------

    def _execute_ready(self):
        """Execute what was received, and commit the publishes of it."""
        while True:
            ready, self._ready = self._ready, []
            for connection in ready:
                if not connection.closed:
                    self._execute(connection)
            batch = self._batch
            if batch.units and (not self._committer.busy or batch.size >= TURN):
                self._batch = Batch()
                self._committer.submit(batch)
            if not self._ready:
                return

    def _execute(self, connection):
        """Execute what a connection asked, up to what has to wait."""
        pending = connection.pending
        left = _COMMANDS
        while pending and not connection.working:
            self._take_events(connection)
            if not pending or connection.uncommitted:
                break               # goes on in `_committed`
            if not left or connection.owes_too_much:
                self._interrupt(connection)
                break
            left -= 1
            self._execute_one(connection, pending.popleft())
        if connection.outbox.size:
            connection.outbox.flush()
        if connection.user is None and not pending and not (connection.working or connection.input_ended):
            self._take_next(connection)
        if connection.mask != READ or not connection.wants_input:
            self._settle(connection)

    def _take_next(self, connection):
        """What a client sent before it said who it is, is read one request at a time."""
        connection.take()
        if connection.pending:
            self._ready.append(connection)

    def _take_events(self, connection):
        """Move the publishes and appends that come first to the batch."""
        pending = connection.pending
        while pending:
            if not connection.publishes_freely and not self._judge(connection):
                return      # to be refused in its turn
            first = pending[0]
            if type(first) is tuple:
                closed = self.store.retention.closed
                if closed:
                    self._add_runs(connection, *pending.popleft(), closed)
                else:
                    self._batch.add(connection, *pending.popleft())
            elif type(first) is list and first[0].lower() in BATCHED:
                try:
                    append, size = BATCHED[first[0].lower()](self, connection, first)
                except CommandError:
                    return      # to be answered in its turn
                self._batch.add_append(connection, append, size)
                pending.popleft()
            elif type(first) is Alike:
                append = ALIKE[first.commands[0][0].lower()](self, connection, first.commands)
                if append is None:
                    self._take_apart(pending)
                else:
                    pending.popleft()
                    self._batch.add_append(connection, append, first.size)
            else:
                return

    def _judge(self, connection):
        """Whether its user may append what comes first.  What he may not is put aside, to be refused in its turn."""
        pending, user = connection.pending, connection.user
        first = pending[0]
        if connection.only_listens or connection.transaction is not None:
            self._take_apart(pending)
            return connection.transaction is not None and is_exec(pending[0])
        if type(first) is tuple:
            parts = judged(user, first)
            if len(parts) > 1 or parts[0] is not first:
                pending.popleft()
                pending.extendleft(reversed(parts))
            return type(pending[0]) is tuple
        if type(first) is Alike and not may_append_all(user, first.commands):
            self._take_apart(pending)
        first = pending[0]
        if type(first) is list and first[0].lower() in BATCHED:
            try:
                check(COMMANDS[first[0].lower()], self, user, first)
            except CommandError:
                return False
        return True

    def _take_apart(self, pending):
        """Have what comes first as single requests, each to be judged in its turn."""
        if type(pending[0]) in (tuple, Alike):
            pending.extendleft(map(list, reversed(requests_of(pending.popleft()))))

    def _add_runs(self, connection, runs, count, size, closed):
        """Add publishes of which some may be to streams that were deleted for good."""
        for part in refused(runs, closed):
            if type(part) is tuple:
                self._batch.add(connection, *part, size)
            else:
                self._batch.add_append(connection, part, size)
            size = 0

    def _interrupt(self, connection):
        """Let others have their turn; this one goes on in the next, or when it has read what it is owed."""
        connection.outbox.flush()
        if not connection.outbox.blocked:
            self.call_soon(lambda: self._go_on(connection))

    def _execute_one(self, connection, request):
        put = connection.outbox.put
        if self.feeds.due:      # what was answered before a command is delivered before it
            self.feeds.deliver()
        if isinstance(request, ProtocolError):
            self._warn_of_nonsense.warning("client %d at %s is cut off: %s", connection.id, connection.peer,
                                           printable(str(request)))
            self._refuse(connection, resp.error(f"ERR {request}"))
            connection.refuse_input()
        elif isinstance(request, CommandError):     # see `_judge`
            self._refuse(connection, resp.error(str(request)))
        elif isinstance(request, BadRequest):
            self._refuse(connection, resp.error(f"ERR {request}"))
            if connection.user is None:
                connection.refuse_input()
        else:
            self.executed += 1
            command = find(request[0], connection)
            if connection.transaction is not None and not is_for_now(command, request):
                self._queue(connection, command, request)
            elif command is None:
                self._refuse(connection, unknown(request) if connection.user is not None else resp.error(NOAUTH))
            elif command.slow and connection.user is not None:      # a stranger is refused here
                reply = execute_at_once(command, self, connection, request) if command.at_once else None
                if reply is not None:
                    put(reply)
                else:
                    self._give_to_worker(connection, command, request)
            else:
                reply = execute(command, self, connection, request)
                if reply is not None:       # otherwise it comes later
                    put(reply)

    def _queue(self, connection, command, request):
        """Keep a command of a transaction for its EXEC, or refuse it, and with it the transaction."""
        reply = unknown(request) if command is None else queue(command, self, connection, request)
        if reply[:1] == b"-":
            self._refuse(connection, reply)
        else:
            connection.outbox.put(reply)

    def _refuse(self, connection, reply):
        self.metrics.failed(reply)
        if connection.transaction is not None:
            connection.transaction.broken = True
        connection.outbox.put(reply)

    def _give_to_worker(self, connection, command, arguments):
        connection.working = True

        def work():
            reply = execute(command, self, connection, arguments)
            if reply is None:       # it comes later, see blocked.py
                self.call_soon(lambda: self._settle(connection))
                return
            connection.outbox.put_and_flush(reply)
            self.call_soon(lambda: self.worked(connection))

        self.workers.put(work)

    def worked(self, connection):
        """What a connection waited for is done, and answered."""
        connection.working = False
        if connection.outbox.size > _LONG_REPLY:
            self._bound_unread()
        self._go_on(connection)

    def _bound_unread(self):
        """Cut off those with the longest replies that they don't take, until all of these together are no longer
        than they may be.

        One reply may be long, and one from each of very many clients would be more than there is memory for.
        """
        unread = {connection: connection.outbox.size for connection in self.connections.values()}
        excess = sum(unread.values()) - self.limits.max_unread
        while excess > 0:
            most = max(unread, key=unread.get)
            excess -= unread.pop(most)
            self._warn_of_unread.warning("client %d at %s is cut off: it leaves the most unread, %d bytes, and all "
                                         "together leave more than --max-unread", most.id, most.peer, most.outbox.size)
            self.close(most)

    def _go_on(self, connection):
        """What a connection waited for has come."""
        if connection.closed:
            return
        if connection.pending:
            self._ready.append(connection)
        else:
            self._settle(connection)

    def _committed(self, batch):
        """Called by the committer, in its thread if it has one."""
        if threading.get_ident() != self._thread:
            self.call_soon(lambda: self._committed(batch))
            return
        if batch.appends or batch.refused or batch.slow:
            self.published += batch.stored
            self.metrics.committed(batch)
        else:
            self.published += batch.published
        for connection in batch.owed:
            connection.uncommitted -= 1
            if connection.pending or connection.input_ended or connection.mask != READ:
                self._go_on(connection)
        batch = self._batch
        if batch.units and not self._committer.busy:
            self._batch = Batch()
            self._committer.submit(batch)

    # -- replays -------------------------------------------------------------

    def _call_worker(self, connection):
        self.workers.put(lambda: self._catch_up(connection))

    def _catch_up(self, connection):
        try:
            more = connection.catch_up_some(self.feeds.catch_up)
        except Exception:
            log.exception("a replay for client %d failed; it is cut off", connection.id)
            self.call_soon(lambda: self.close(connection))
            return
        if more:
            self._call_worker(connection)
        elif connection.input_ended:
            self.call_soon(lambda: self._settle(connection))

    # -- stopping ------------------------------------------------------------

    def _finish(self):
        """Answer what was received, then let go of everything."""
        for fd, sock in self._listeners.items():
            self._epoll.unregister(fd)
            sock.close()
        self._listeners.clear()
        self.blocked.stop()
        for _ in range(1 + len(self.connections) // _EVENTS):
            self._turn(self._epoll.poll(0))         # what the sockets hold already
        for connection in list(self.connections.values()):
            connection.end_input()
            self._settle(connection)
        deadline = time.monotonic() + _LAST_FLUSH
        while self.connections and time.monotonic() < deadline:
            self._turn(self._epoll.poll(0.05))
        self.logins.stop()
        batch, self._batch = self._batch, Batch()
        if batch.units:         # the disk was too slow for it until now
            self._committer.submit(batch)
        self._committer.stop()
        self._ended = True
        self._call_those_due()
        self.feeds.deliver()
        for connection in list(self.connections.values()):
            self.close(connection)
        self.workers.stop()
        self.feeds.stop()
        self._epoll.close()
        # A signal may still come, and mustn't write to what gets this descriptor next.
        wake_write, self._wake_write = self._wake_write, -1
        os.close(wake_write)
        os.close(self._wake_read)
