"""A TCP proxy on a bad network: it cuts, delays, splits, resets, half-opens and goes silent.

    client ──> [ link ] ──> server          with Proxy(server.port) as proxy:
           <── [      ] <──                     client = Client(port=proxy.port)
                                                proxy.strike(RESET)

    Fate       what becomes of one link when so many bytes have passed: proxy.fate_of(index) draws it
    strike()   what becomes of all links now
    Weather    how bytes pass meanwhile: in pieces, with pauses

One thread does it all, which `close` joins.  What it was told is done when the
call returns.  A flow holds HELD bytes at most, so whoever doesn't read is
felt at the other end, as on a real wire.
"""

import math
import os
import select
import socket
import struct
import threading
import time
from collections import deque
from typing import NamedTuple

HELD = 64 * 1024

UP = 0          # from client to server
DOWN = 1

# What may become of a link:
CUT = "cut"                         # both ends are told that it ends
RESET = "reset"                     # both are told rudely, and lose what they hadn't read
SILENCE = "silence"                 # both think that it stands, and nothing passes any more
LOSE_SERVER = "lose server"         # only the server is told that it ends
LOSE_CLIENT = "lose client"         # only the client is
ENDS = (CUT, RESET, SILENCE, LOSE_SERVER, LOSE_CLIENT)


class Fate(NamedTuple):
    """`how` it ends when `after` bytes have passed in direction `way`: these do pass, and no more."""

    how: str
    way: int
    after: int


class Weather(NamedTuple):
    """How bytes pass: at most `piece` of them at a time, `pause` seconds apart."""

    piece: int = HELD
    pause: float = 0.0


FINE = Weather()


class _Flow:
    """One direction of a link.

    held     bytes that were received and not sent
    passed   bytes that were sent, ever
    limit    of them
    """

    def __init__(self, source, sink):
        self.source = source
        self.sink = sink
        self.held = b""
        self.passed = 0
        self.limit = math.inf
        self.ended = False      # the source has
        self.told = False       # the sink knows
        self.not_before = 0.0   # time.monotonic()

    def receive(self):
        try:
            data = self.source.recv(HELD)
        except BlockingIOError:
            return
        self.held += data
        self.ended = not data

    def send(self, weather, now):
        """Send what may pass now; what doesn't fit the sink's socket waits."""
        while self.held and self.passed < self.limit and now >= self.not_before:
            size = min(weather.piece, self.limit - self.passed)
            try:
                sent = self.sink.send(self.held[:size])
            except BlockingIOError:
                return
            self.held = self.held[sent:]
            self.passed += sent
            if weather.pause:
                self.not_before = now + weather.pause
        if self.ended and not self.held and not self.told:
            self.told = True
            self.sink.shutdown(socket.SHUT_WR)


class _Link:
    """One client's connection, and the one to the server that was made for it."""

    def __init__(self, client, server, fate):
        self.ends = {client, server}        # sockets that are open
        self.client = client
        self.server = server
        self.flows = _Flow(client, server), _Flow(server, client)
        self.silent = False
        self._fate = fate
        if fate:
            self.flows[fate.way].limit = fate.after

    def pass_on(self, ready, weather, now):
        """Receive and send; meet its fate, if its time has come."""
        for flow in self.flows:
            if flow.source in ready:
                flow.receive()
            flow.send(weather, now)
        if self._fate and self.flows[self._fate.way].passed >= self._fate.after:
            self.end(self._fate.how)
        elif all(flow.told for flow in self.flows):
            self.end(CUT)

    def interest(self, now):
        """({socket: poll's bits}, seconds until there is more to do)."""
        wanted = {}
        wait = math.inf
        if not self.silent:
            for flow in self.flows:
                if not flow.ended and len(flow.held) < HELD:
                    wanted[flow.source] = wanted.get(flow.source, 0) | select.POLLIN
                if flow.held and flow.passed < flow.limit:
                    if now >= flow.not_before:
                        wanted[flow.sink] = wanted.get(flow.sink, 0) | select.POLLOUT
                    else:
                        wait = min(wait, flow.not_before - now)
        return wanted, wait

    def end(self, how):
        """Let it end so; what is closed already stays closed."""
        self.silent = True
        gone = {CUT: self.ends, RESET: self.ends, SILENCE: set(),
                LOSE_SERVER: {self.server}, LOSE_CLIENT: {self.client}}[how]
        for sock in gone & self.ends:
            if how == RESET:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            else:
                _read_all(sock)     # or closing it would be rude
            sock.close()
            self.ends.discard(sock)


def _read_all(sock):
    try:
        while sock.recv(HELD):
            pass
    except OSError:
        pass


class Proxy:
    """See the top of this file.

    target    the server's port on 127.0.0.1; may be changed
    weather   of all links; may be changed
    fate_of   fate_of(index) -> Fate or None, for the link that is made as number `index`
    links     how many were made
    """

    def __init__(self, target, fate_of=lambda index: None):
        self.target = target
        self.weather = FINE
        self.fate_of = fate_of
        self.links = 0
        self._open = []
        self._last = None
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1000)
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        self._orders = deque()          # (function, Event that it was called)
        self._wake_read, self._wake_write = os.pipe()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()

    def strike(self, how):
        """Let every link end in one of ENDS."""
        self._order(lambda: [link.end(how) for link in self._open])

    def change(self, weather):
        """Let bytes pass in another way from now on."""
        def change():
            self.weather = weather

        self._order(change)

    def passed(self):
        """(bytes up, bytes down) that have passed on the link that was made last."""
        return tuple(flow.passed for flow in self._last.flows)

    def close(self):
        def close():
            self._closing = True

        self._order(close)
        self._thread.join()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _order(self, function):
        done = threading.Event()
        self._orders.append((function, done))
        os.write(self._wake_write, b"\0")
        done.wait()

    # -- its thread ----------------------------------------------------------

    def _run(self):
        while not self._closing:
            ready = self._wait()
            if self._wake_read in ready:
                os.read(self._wake_read, 4096)
            if self._listener in ready:
                self._accept()
            now = time.monotonic()
            for link in self._open:
                if not link.silent:
                    self._serve(link, ready, now)
            while self._orders:
                function, done = self._orders.popleft()
                function()
                done.set()
            self._open = [link for link in self._open if link.ends]
        for link in self._open:
            link.end(CUT)
        self._listener.close()

    def _wait(self):
        """The set of what is ready."""
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        poll.register(self._wake_read, select.POLLIN)
        objects = {self._listener.fileno(): self._listener}
        now, wait = time.monotonic(), math.inf
        for link in self._open:
            wanted, pause = link.interest(now)
            wait = min(wait, pause)
            for sock, mask in wanted.items():
                poll.register(sock, mask)
                objects[sock.fileno()] = sock
        timeout = None if wait == math.inf else math.ceil(wait * 1000)
        found = poll.poll(timeout)
        # POLLOUT alone makes nothing readable.
        return {objects.get(fd, fd) for fd, mask in found if mask & ~select.POLLOUT}

    def _serve(self, link, ready, now):
        try:
            link.pass_on(ready, self.weather, now)
        except OSError:
            link.end(RESET)         # one end did so

    def _accept(self):
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        fate = self.fate_of(self.links)
        self.links += 1
        try:
            server = socket.create_connection(("127.0.0.1", self.target), timeout=10)
        except OSError:
            client.close()
            return
        for sock in client, server:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._last = link = _Link(client, server, fate)
        self._open.append(link)
        if fate and not fate.after:
            link.end(fate.how)
