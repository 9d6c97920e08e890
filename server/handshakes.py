"""TLS connections on their way to the poller.

    listeners ──accept──> so many at once ──handshake──> Poller.adopt
                               '── failed, late, or the oldest of too many: closed

One thread does them all, a step each time that a peer has sent something.  So a peer
that says nothing, or a byte at a time, costs a descriptor and no thread, and nobody
waits for it; and what a handshake costs the processor, a millisecond at times, doesn't
delay the poller: OpenSSL works without the interpreter's lock.

With as many peers as may be under way, the oldest makes room if it had time enough:
honest ones are done within a few round trips, so those who say nothing go first.  Those
who have said something come before those who are to be accepted, so that many honest
ones at once get through.
"""

import errno
import logging
import os
import selectors
import socket
import threading
import time
from typing import NamedTuple

from .sparing import Sparing
from .text import printable, shown_address
from .tls import TLSSocket, why

log = logging.getLogger("meilies.tls")

# Seconds for a handshake, from the moment when the connection was accepted.
SECONDS = 10.0
# Peers at once, at most.
_MOST = 1000
# Connections accepted in one turn.
_ACCEPT = 64
# Seconds without accepting after the system said that it has no more descriptors, or while nobody makes room.
_BACK_OFF = 0.1
# Seconds that each peer has, however many others there are.
_GRACE = 0.5


def at_once(connections):
    """How many peers may be on their way to be some of so many connections."""
    return max(1, min(_MOST, connections // 4))


class _Peer(NamedTuple):
    sock: TLSSocket
    address: str
    began: float        # time.monotonic()


class Handshakes:
    """See the top of this file.  `start` and `stop` are for its owner.

    listeners     listening sockets; closed by `stop`
    certificates  Certificates
    adopt         adopt(TLSSocket, peer): a handshake is done
    most          connections at once
    """

    def __init__(self, listeners, certificates, adopt, most, seconds=SECONDS):
        self.done = self.failed = 0         # handshakes, ever
        self._listeners = listeners
        self._certificates = certificates
        self._adopt = adopt
        self._most = most
        self._seconds = seconds
        self._peers = {}                    # descriptor -> _Peer, the oldest first
        self._accept_again = None           # time.monotonic() after a back-off
        self._warning = Sparing(log).warning
        self._stopping = False
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = os.pipe()
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        for listener in listeners:
            listener.setblocking(False)
        self._listen()
        self._thread = threading.Thread(target=self._run, name="meilies-tls", daemon=True)

    @property
    def under_way(self):
        """How many peers aren't done yet."""
        return len(self._peers)

    def start(self):
        self._thread.start()

    def stop(self):
        """Accept no more, close what isn't done, and return when the thread has ended."""
        self._stopping = True
        os.write(self._wake_write, b"\0")
        if self._thread.ident is not None:
            self._thread.join()
        for sock in (*self._listeners, *(one.sock for one in self._peers.values())):
            sock.close()
        self._peers.clear()
        self._selector.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _run(self):
        while not self._stopping:
            ready = [key for key, _ in self._selector.select(self._timeout())]
            for key in ready:
                if key.fd in self._peers:       # else it is a listener, or `stop` wakes
                    self._go_on(self._peers[key.fd], key.events)
            self._end_late()
            for key in ready:
                if key.data is not None and self._accept_again is None:
                    self._accept(key.data)

    def _timeout(self):
        now = time.monotonic()
        times = [next(iter(self._peers.values())).began + self._seconds] if self._peers else []
        if self._accept_again is not None:
            times.append(self._accept_again)
        return max(0, min(times) - now) if times else None

    # -- accepting -----------------------------------------------------------

    def _listen(self):
        for listener in self._listeners:
            self._selector.register(listener, selectors.EVENT_READ, data=listener)

    def _accept(self, listener):
        for _ in range(min(_ACCEPT, self._most - len(self._peers)) or self._make_room()):
            try:
                sock, address = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    log.warning("no connection can be accepted (%s); trying again in %g s", error.strerror, _BACK_OFF)
                    self._pause()
                    return
                continue        # that connection was gone before it was taken
            try:
                self._begin(sock, shown_address(address))
            except OSError:
                sock.close()    # it is gone by now

    def _make_room(self):
        """End the oldest, if it had its time; return how many places that makes."""
        oldest = next(iter(self._peers.values()))
        if time.monotonic() - oldest.began < _GRACE:
            self._pause()
            return 0
        self._fail(oldest, "it isn't done, and others need its place")
        return 1

    def _pause(self):
        for listener in self._listeners:
            self._selector.unregister(listener)
        self._accept_again = time.monotonic() + _BACK_OFF

    def _begin(self, sock, address):
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        one = _Peer(TLSSocket(sock, self._certificates.context), address, time.monotonic())
        self._peers[sock.fileno()] = one
        self._selector.register(sock.fileno(), selectors.EVENT_READ)

    # -- those under way -----------------------------------------------------

    def _go_on(self, one, watched):
        try:
            done = one.sock.handshake()
        except OSError as error:
            self._fail(one, why(error))
            return
        if done:
            self._forget(one)
            self.done += 1
            self._adopt(one.sock, one.address)
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if one.sock.unsent() else 0)
        if wanted != watched:
            self._selector.modify(one.sock.fileno(), wanted)

    def _end_late(self):
        now = time.monotonic()
        for one in list(self._peers.values()):
            if one.began + self._seconds > now:
                break
            self._fail(one, f"it isn't done after {self._seconds:g} s")
        if self._accept_again is not None and now >= self._accept_again:
            self._accept_again = None
            self._listen()

    def _forget(self, one):
        del self._peers[one.sock.fileno()]
        self._selector.unregister(one.sock.fileno())

    def _fail(self, one, reason):
        self.failed += 1
        self._warning("client at %s is cut off, the TLS handshake failed: %s", one.address, printable(reason))
        self._forget(one)
        one.sock.close()
