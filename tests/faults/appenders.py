"""Who appends to a server until it is gone, and goes on at the next one with what wasn't answered.

    Appender    append, pipelined, with ids and the number that is expected: what it sends again is stored once
    Contender   dcb-append on the condition that nobody was quicker: of those who try at once, one is let through
    Tidier      publishes, cuts, redacts and compacts: a kill finds the server at it

Each has a thread, from `begin` until the connection ends, which `join` waits for.
"""

import random
import socket
import threading

import resp
from store import Query

from .ledger import data_of

TIDIED = "tidied"       # a stream of which events go
CHAIN = "chain"         # the stream, and the tag, of the Contenders

_AGAIN = 20     # acknowledged appends that are sent once more after each restart


class _Client:
    """Somebody with a connection, which `_work` uses until it ends."""

    def __init__(self, name, seed):
        self.name = name
        self._draw = random.Random(seed)
        self._wrong = None

    def begin(self, port):
        self._sock = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._parser = resp.Parser()
        self._thread = threading.Thread(target=self._run, name=self.name)
        self._thread.start()

    def _run(self):
        with self._sock:
            try:
                self._work()
            except OSError:
                pass
            except AssertionError as wrong:
                self._wrong = wrong

    def _send(self, *requests):
        self._sock.sendall(b"".join(requests))

    def _receive(self):
        """The next reply; OSError at the end of the connection."""
        while True:
            value = self._parser.get()
            if value is not resp.INCOMPLETE:
                return value
            data = self._sock.recv(1 << 16)
            if not data:
                raise ConnectionResetError
            self._parser.feed(data)

    def _ask(self, *request):
        self._send(resp.command(*request))
        return self._receive()

    def join(self):
        self._thread.join()
        if self._wrong:
            raise self._wrong


class Appender(_Client):
    """Appends events to a stream that bears its name.

    acknowledged   how many were, which are the stream's first
    sent           how many were sent, once or more often
    """

    def __init__(self, name, seed):
        super().__init__(name, seed)
        self.acknowledged = self.sent = 0
        self._places = []       # of the acknowledged ones

    def _work(self):
        following = max(0, self.acknowledged - _AGAIN)
        owed = []
        while True:
            burst = range(following, following + self._draw.choice((1, 1, 5, 100)))
            following = burst.stop
            self.sent = max(self.sent, following)
            owed += burst
            self._send(*map(self._request, burst))
            while len(owed) > 100 or owed and self._draw.randrange(4):
                self._take(owed.pop(0))

    def _request(self, i):
        expected = i - 1 if i else "none"
        return resp.command("append", self.name, expected, "n", data_of(self.name, i, 0, 1, i * 7919 % 300), f"id-{i}",
                            "m" * (i % 3))

    def _take(self, i):
        place = self._receive()
        assert isinstance(place, list) and place[0][0] == i, f"append {i} of {self.name} was answered {place!r}"
        if i < self.acknowledged:
            assert place == self._places[i], f"append {i} of {self.name} is at {place}, and was at {self._places[i]}"
        else:
            self._places.append(place)
            self.acknowledged = i + 1


class Contender(_Client):
    """Adds to a chain that others add to as well; an event's metadata says which one it was to follow.

    acknowledged   how many of its appends were
    sent           the same, and the one that wasn't answered
    """

    def __init__(self, name, seed):
        super().__init__(name, seed)
        self.acknowledged = self.sent = 0
        self._head = None       # the position of the chain's last event, as far as it knows
        self._owed = None       # the request that wasn't answered

    def _work(self):
        while True:
            self._owed = self._owed or self._request()
            self._send(self._owed)
            self._take(self._receive())
            self._owed = None

    def _request(self):
        after = "-" if self._head is None else str(self._head)
        self.sent = self.acknowledged + 1
        return resp.command("dcb-append", 1, CHAIN, "n", data_of(self.name, self.acknowledged, 0, 1, 20),
                            f"{self.name}-{self.acknowledged}", after, 1, CHAIN, "UNLESS", after, "ITEM", 0, 1, CHAIN)

    def _take(self, reply):
        if isinstance(reply, resp.ErrorReply):
            assert reply.code == "CONDITION", f"an append of {self.name} was answered {reply!r}"
            following = "-" if self._head is None else self._head
            while following is not None:
                following, _, events = self._ask("dcb-read", following, 1000, "ITEM", 0, 1, CHAIN)
                self._head = events[-1][0][1] if events else self._head
        else:
            [[_, self._head]] = reply
            self.acknowledged += 1


class Tidier(_Client):
    """Publishes to a stream that it cuts again and again, and has the disk tidied."""

    acknowledged = sent = 0     # which it doesn't count: they go

    def _work(self):
        while True:
            count = self._draw.randrange(20, 200)
            self._send(*(resp.command("publish", TIDIED, "n", b"x" * self._draw.randrange(900)) for _ in range(count)))
            for _ in range(count):
                assert self._receive() == b"OK"
            last = self._ask("last-event-number", TIDIED)[2]
            first = self._ask("truncate", TIDIED, last - self._draw.randrange(10))
            assert type(first) is int, f"truncate was answered {first!r}"
            for request in ("redact", TIDIED, last), ("retain", "stream", TIDIED, "MAX-COUNT", 20), ("compact",):
                reply = self._ask(*request)
                assert not isinstance(reply, resp.ErrorReply), f"{request[0]} was answered {reply!r}"


def check_chain(store):
    """Fail unless each event of the chain followed the one before it."""
    before = "-"
    for event in store.read_tagged(Query.of([((), [CHAIN])]), limit=1 << 30).events:
        after = event.metadata.decode()
        assert after == before, f"the event at {event.position} was to follow {after}, and follows {before}"
        before = str(event.position)


def check_tidied(store):
    """Fail unless the stream that was cut is there from where it begins up to its last number."""
    last = store.last_number(TIDIED)
    if last is not None:
        numbers = [event.number for event in store.read(TIDIED, limit=1 << 30)]
        assert numbers == list(range(store.first_number(TIDIED), last + 1))
        assert [event.number for event in store.read_back(TIDIED, limit=1 << 30)] == numbers[::-1]
