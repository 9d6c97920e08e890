"""One client without I/O: bytes in, commands out, bytes to send, its limits.

    receive(bytes) ──> requests (resp) ──> pending ──> whoever executes them
    replies, events ──> outbox ──> the socket, which is not here

    subscriptions   selector -> Follower
    listening       how many of them are of Redis's pub/sub, see channels.py
    behind          those of them that must read the log before they are live

The poller owns `pending` and what stands beside it.  `lock` guards the
subscriptions and who is behind; it is taken before a feed's and an outbox's.
"""

import threading
import time
from collections import deque
from itertools import islice

from resp import Known, Requests
from store.names import check_name, check_stream

from . import strangers
from .outbox import Outbox
from .users import EVERYTHING

# Room in a turn of replay for other connections: a worker serves so many
# followers of one connection before it turns to the next connection.
_AT_ONCE = 64

# An append of one event and a PUBLISH to a channel have so many strings, an entry any number.
_TOGETHER = {b"append": 7, b"publish": 3, b"xadd": None}

_STREAMS, _NAMES = Known(check_stream), Known(check_name)


class Connection:
    """See the top of this file.

    id          counts up from 1
    peer        its address, for logs and CLIENT LIST
    send        sends bytes without blocking: see Outbox
    limits      max_request_size, max_event_size, max_arguments, max_subscriptions,
                max_pending_input, max_pending_output: the server's options
    unsent      see Outbox
    on_blocked  its socket must be watched until it is writable
    on_behind   a follower has to catch up: a worker is to call `catch_up_some`
    user        the User that it acts for, or None: its client has to say who it is
    """

    def __init__(self, id, peer, send, limits, on_blocked, on_behind, user=EVERYTHING, unsent=None):
        self.id = id
        self.peer = peer
        self.name = b""
        self.library = {}               # what CLIENT SETINFO said: lib-name, lib-ver
        self.protocol = 2
        self.tracking = ()              # the options of CLIENT TRACKING ON; empty: it is off
        self.database = 0               # what SELECT chose: in 1, SUBSCRIBE is Redis's
        self.began = time.monotonic()
        self.active = self.began        # when it last sent something, as its driver says
        self.last_command = ""
        self.outbox = Outbox(send, lambda: on_blocked(self), unsent)
        self.limits = limits
        # The poller's own:
        self.pending = deque()          # what Requests.take gave and isn't executed yet
        self.uncommitted = 0            # batches that hold publishes of this connection
        self.transaction = None         # the Transaction that MULTI began
        self.working = False            # a worker executes a command of this connection
        self.input_ended = False        # no more will come; it closes when all is answered
        self.closed = False
        self.socket = None              # its driver's
        self.encrypted = False          # that is a TLSSocket
        self.mask = 0                   # what its socket is watched for; guarded by the outbox's lock
        self.lock = threading.Lock()
        self.subscriptions = {}         # selector -> Follower
        self.listening = 0
        self.requests = Requests(b"publish", _STREAMS, _NAMES, together=_TOGETHER)
        self.room = self.requests.room     # where to receive, for `received`; None: anywhere, for `receive`
        self.user = None
        self.become(user)
        self._on_behind = on_behind
        self._behind = {}               # followers, as keys: an ordered set
        self._catching_up = False       # a worker has it, or will

    # -- whom it acts for, in the poller's thread -----------------------------

    def become(self, user):
        """Act for another User from now on, or for None."""
        limits, before = self.limits, self.user
        self.user = user
        with self.lock:
            self._look_at_each()
        if user is None:
            self.requests.limit(strangers.MAX_ARGUMENT, strangers.MAX_ARGUMENTS, strangers.MAX_ARGUMENT,
                                 strangers.MAX_REQUEST)
        else:
            self.requests.limit(limits.max_event_size, limits.max_arguments, limits.max_request_size,
                                 limits.max_request_size)
            if before is None:
                self.take()     # what waited for the answer

    def _look_at_each(self):
        """Whether somebody has to look at each event that it publishes; under `lock`, when that may have changed."""
        user = self.user
        self.publishes_freely = (user is not None and user.appends_everywhere
                                 and self.transaction is None and not self.only_listens)

    def transact(self, transaction):
        """Be in a Transaction from now on, or in None."""
        self.transaction = transaction
        with self.lock:
            self._look_at_each()

    @property
    def only_listens(self):
        """Whether it may ask nothing: on RESP2, replies and messages of Redis's pub/sub look alike."""
        return self.listening > 0 and self.protocol == 2

    # -- input, in the poller's thread ---------------------------------------

    def receive(self, data):
        """Take bytes from the socket; whole requests go to `pending`."""
        self.requests.feed(data)
        self.take()

    def take(self):
        """Move whole requests from what was received to `pending`.

        Of a client that hasn't said who it is only the next one: what it may send behind
        that depends on the answer.
        """
        self.pending.extend(self.requests.take() if self.user is not None else self.requests.take_first())

    def received(self, size):
        """`size` bytes from the socket are in the `room` that was asked for."""
        self.requests.received(size)
        self.take()

    @property
    def wants_input(self):
        """Whether reading goes on: not while what was read waits, or what was answered isn't read."""
        return not (self.pending or self.working or self.input_ended
                    or self.outbox.size > self.limits.max_pending_output)

    @property
    def owes_too_much(self):
        """Whether it is sent more than it takes: until it does, nothing more is answered."""
        return self.outbox.size > self.limits.max_pending_output

    @property
    def unread(self):
        """Bytes of a request that isn't whole yet."""
        return self.requests.pending

    def end_input(self):
        """No more bytes will come: what was received is still executed and answered."""
        self.input_ended = True

    def refuse_input(self):
        """Nothing more is executed: an error was fatal, or the client said QUIT."""
        self.pending.clear()
        self.input_ended = True

    @property
    def finished(self):
        """Whether all that was received is answered, and the answers and replays are sent."""
        return (self.input_ended and not self.pending and not self.working and not self.uncommitted
                and not self.outbox.size and not self._behind and not self._catching_up)

    # -- subscriptions -------------------------------------------------------

    def follow(self, follower):
        """Add a subscription; the Follower that it replaces, or None."""
        with self.lock:
            replaced = self._forget(self.subscriptions.get(follower.selector))
            self.subscriptions[follower.selector] = follower
            self._count(follower, 1)
            return replaced

    def unfollow(self, selector):
        """Take a subscription out; its Follower, or None."""
        with self.lock:
            return self._forget(self.subscriptions.get(selector))

    def drop(self, follower):
        """Take a subscription out; False if it isn't there any more."""
        with self.lock:
            if self.subscriptions.get(follower.selector) is not follower:
                return False
            self._forget(follower)
            return True

    def end(self, follower):
        """A follower has all that it asked for."""
        with self.lock:
            self._forget(follower)
        follower.feed.feeds.remove(follower)

    def _forget(self, follower):
        if follower is not None:
            self._behind.pop(follower, None)
            if self.subscriptions.get(follower.selector) is follower:
                del self.subscriptions[follower.selector]
                self._count(follower, -1)
        return follower

    def _count(self, follower, change):
        if follower.form.opening:
            self.listening += change
            self._look_at_each()

    def speak(self, protocol, reply):
        """Speak `protocol` from `reply` on, which begins it; so do the subscriptions."""
        def change():
            self.protocol = protocol
            for follower in self.subscriptions.values():
                follower.form = follower.form._replace(push=protocol == 3)
            self._look_at_each()

        with self.lock:
            self.outbox.put(reply, change)

    def unfollow_all(self):
        """Take all subscriptions out; their Followers."""
        with self.lock:
            followers = list(self.subscriptions.values())
            self.subscriptions.clear()
            self._behind.clear()
            self.listening = 0
            self._look_at_each()
            return followers

    # -- catching up ---------------------------------------------------------

    @property
    def behind_count(self):
        """How many of its followers catch up."""
        return len(self._behind)

    def behind(self, most):
        """Up to so many of those."""
        with self.lock:
            return list(islice(self._behind, most))

    def catch_up(self, follower):
        """`follower` must read the log; a worker does it for as long as the socket takes bytes."""
        with self.lock:
            if not follower.ended and not self.outbox.closed:
                self._behind[follower] = None
                self._call_worker()

    def go_on(self):
        """The socket takes bytes again."""
        with self.lock:
            self._call_worker()

    def _call_worker(self):
        if self._behind and not self._catching_up and not self.outbox.blocked:
            self._catching_up = True
            self._on_behind(self)

    def catch_up_some(self, serve):
        """One turn of a worker: `serve(follower)` each of those behind, until the socket refuses.

        serve   sends a slice; True if the follower needs no more from the log
        True if there is more to do now.
        """
        for _ in range(_AT_ONCE):
            with self.lock:
                if not self._behind or self.outbox.blocked or self.outbox.closed:
                    self._catching_up = False
                    return False
                follower = next(iter(self._behind))
                del self._behind[follower]      # to the end of the line, or out of it
            sent = follower.next
            if not serve(follower):
                with self.lock:
                    if not follower.ended:
                        self._behind[follower] = None
                if follower.next > sent:
                    return True     # that was a slice: others' turn
        return True
