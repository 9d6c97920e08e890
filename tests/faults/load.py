"""A server under load: publishers and subscribers over the wire, each with a thread, until the server is gone.

    Publisher ──publish, many at once──> server ──event …──> Subscriber
       acknowledged: how many were                             received: bytes
    Appender, Contender, Tidier (appenders.py)

`Load.check` compares what they were told with what is in the store afterwards.
"""

import random
import socket
import threading

from conftest import UNMEASURED, Server

import resp
from store import Store

from .appenders import TIDIED, Appender, Contender, Tidier, check_chain, check_tidied
from .ledger import LIMIT, data_of
from .still import quiet

OK = b"+OK\r\n"


class Publisher:
    """Publishes until its connection ends: bursts of small events, to a stream of its own and to one that it shares.

    acknowledged   how many were, which are its first
    """

    def __init__(self, port, name, seed):
        self.name = name
        self.acknowledged = 0
        self.sent = 0
        self._wrong = None
        self._draw = random.Random(seed)
        self._sock = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._thread = threading.Thread(target=self._run, name=name)
        self._thread.start()

    def _run(self):
        with self._sock:
            try:
                self._publish_until_the_end()
                self._read_until(self.sent)     # what it said before it ended
            except OSError:
                pass
            except AssertionError as wrong:
                self._wrong = wrong

    def _publish_until_the_end(self):
        try:
            while True:
                burst = self._draw.choice((1, 1, 5, 100))
                self._sock.sendall(b"".join(self._next() for _ in range(burst)))
                self._read_until(self.sent - 200)
        except OSError:
            pass

    def _next(self):
        stream = self._draw.choice((self.name, "shared"))
        request = resp.command("publish", stream, "n", data_of(self.name, self.sent, 0, 1, self._draw.randrange(300)))
        self.sent += 1
        return request

    def _read_until(self, wanted):
        """Take acknowledgements until so many have come; OSError at the end of the connection."""
        rest = b""
        while self.acknowledged < wanted or rest:
            data = self._sock.recv(1 << 16)
            if not data:
                raise ConnectionResetError
            rest += data
            whole = len(rest) // len(OK)
            assert rest[:whole * len(OK)] == OK * whole, f"found {rest[:80]!r}, expected {OK!r}"
            rest = rest[whole * len(OK):]
            self.acknowledged += whole

    def join(self):
        self._thread.join()
        if self._wrong:
            raise self._wrong


class Subscriber:
    """Takes what it gets of the selectors that it subscribed to, until its connection ends."""

    def __init__(self, port, selector):
        self.selector = selector
        self._parts = []
        self._sock = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._sock.sendall(resp.command("subscribe", selector))
        self._thread = threading.Thread(target=self._run, name=f"subscriber {selector}")
        self._thread.start()

    def _run(self):
        with self._sock as sock:
            try:
                while True:
                    data = sock.recv(1 << 18)
                    if not data:
                        return
                    self._parts.append(data)
            except OSError:
                pass

    def join(self):
        self._thread.join()

    def events(self):
        """[(stream, number, data)] of what came as a whole."""
        parser = resp.Parser()
        parser.feed(b"".join(self._parts))
        events = []
        while True:
            value = parser.get()
            if value is resp.INCOMPLETE:
                return events
            if value[0] == b"event":
                events.append((value[1].decode(), value[2], value[4]))


class Load:
    """A server in `folder`, and who uses it; again and again, each time on what was left.

    kept    {publisher: how many of its events were acknowledged}
    """

    def __init__(self, folder, draw):
        self._folder = folder
        self._draw = draw
        self._kept = {}
        self._seen = []
        self._turn = 0
        self._appenders = [Appender("ids-0", draw.random()), Appender("ids-1", draw.random()),
                           Contender("dcb-0", draw.random()), Contender("dcb-1", draw.random()),
                           Tidier("tidier", draw.random())]
        self._kept.update((one.name, one) for one in self._appenders)
        self._at_work = []
        self.publishers = self.subscribers = []
        self.events = 0

    def start(self):
        self._turn += 1
        argv = ["--db-path", str(self._folder / "db"), "--port", "0", "--segment-size", "64K",
                "--sync", self._draw.choice(("always", "always", "everysec", "no"))]
        self.server = Server(argv, UNMEASURED, self._folder / f"log-{self._turn}")
        return self.server

    def join(self, publishers=3):
        """Connect everybody."""
        port = self.server.port
        self.subscribers = [Subscriber(port, selector) for selector in ("$all:0", "shared:0", "$all:0")]
        self.publishers = [Publisher(port, f"p{self._turn}-{i}", self._draw.randrange(1 << 30))
                           for i in range(publishers)]
        for one in self._appenders:
            one.begin(port)
            self._at_work.append(one)

    def leave(self):
        """Return when everybody has gone, which the server's end makes them do."""
        for one in [*self.publishers, *self.subscribers, *self._at_work]:
            one.join()
        self._at_work = []
        self._kept.update((one.name, one) for one in self.publishers)
        self._seen += [(one.selector, one.events()) for one in self.subscribers]
        self.publishers = self.subscribers = []

    def check(self):
        """Fail unless all that was acknowledged is there once and in order, and subscribers saw a prefix of it."""
        with quiet(), Store(self._folder / "db") as store:
            events = [(event.stream, event.number, event.data) for event in store.read_all(limit=LIMIT)
                      if event.stream != TIDIED]
            shared = [(event.stream, event.number, event.data) for event in store.read("shared", limit=LIMIT)]
            check_chain(store)
            check_tidied(store)
        self.events = len(events)
        numbers = {}
        found = {}
        for stream, number, data in events:
            expected = numbers.get(stream, 0)
            assert number == expected, f"event {number} of {stream} where {expected} belongs"
            numbers[stream] = number + 1
            name, index, _, _, size = data[:data.index(b":")].split(b".")
            name, index = name.decode(), int(index)
            assert data == data_of(name, index, 0, 1, int(size)), f"{data[:60]!r} isn't what was sent"
            assert index == found.get(name, 0), f"event {index} of {name} where {found.get(name, 0)} belongs"
            found[name] = index + 1
        for name, publisher in self._kept.items():
            assert publisher.acknowledged <= found.get(name, 0) <= publisher.sent, \
                f"{publisher.acknowledged} events of {name} were acknowledged, {found.get(name, 0)} are there"
        for selector, seen in self._seen:
            there = shared if selector == "shared:0" else events
            seen = [event for event in seen if event[0] != TIDIED]
            assert seen == there[:len(seen)], f"a subscriber to {selector} saw {len(seen)} events that aren't the first"
