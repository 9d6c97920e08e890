"""A connection that ends at each byte, in each way, between the real client and the real server.

    publish   what passed decides what the client may say: acknowledged, as many as there
              were whole replies; unknown, all others.  Never refused, never wrong
    follow    every event once and in order, whatever became of the first connection
    ask       the right answer

A round takes a slice of all these cases: the conversation, the way and the byte
where it ends, and how.  Where nobody tells the client, its time-out has to.
"""

import contextlib
import itertools
import logging
import time
from typing import NamedTuple

from conftest import UNMEASURED, Server
from serving import OK, eventually

from meilies_client import Client, NothingCame, PublishInterrupted, TimedOut
from meilies_session import publish_request

from .proxy import CUT, DOWN, ENDS, FINE, LOSE_CLIENT, LOSE_SERVER, RESET, SILENCE, UP, Fate, Proxy, Weather

NAME = "network"
GOALS = {"cuts": 5_000, "publishes of unknown fate": 500}

# Cases are dealt out to so many rounds, and then again; not a multiple of the number of ENDS.
SLICES = 53

# Seconds without an answer after which a client gives up: where it is told, and where it isn't.
PATIENCE = 10.0
IMPATIENCE = 0.1

EVENTS = [("n", b""), ("n", b"\r\n$1\r\nx\r\n+OK\r\n"), ("n", b"\x00\xff" * 40), ("last", b"*5\r\n+event\r\n")]
LATER = b"later"


class Case(NamedTuple):
    conversation: str
    fate: Fate

    def __str__(self):
        way = "from the client" if self.fate.way == UP else "from the server"
        return f"{self.conversation}, {self.fate.how} after {self.fate.after} bytes {way}"


def run(seed, until, folder):
    server = Server(["--db-path", str(folder / "db"), "--port", "0", "--sync", "no", "--log-level", "error"],
                    UNMEASURED, folder / "server.log")
    try:
        with quiet(), Proxy(server.wait_until_listening().port) as proxy:
            return Wire(proxy, seed).run(until)
    finally:
        server.end()


@contextlib.contextmanager
def quiet():
    """The client logs each outage that it heals."""
    log = logging.getLogger("meilies_client")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


class Wire:
    """The cases of one round, on one server."""

    def __init__(self, proxy, seed):
        self._proxy = proxy
        self._seed = seed
        self._conversations = {"publish": self._publish, "follow": self._follow, "ask": self._ask}
        self._case = None
        self._streams = 0
        self._counts = {"cuts": 0, "splits": 0, "publishes of unknown fate": 0}

    def run(self, until):
        with self._client(direct=True) as self._direct:
            self._direct.publish_many("there", EVENTS)
            cases = self._split_and_measure()
            for case in cases[self._seed % SLICES::SLICES]:
                if time.monotonic() >= until:
                    break
                self._converse(case)
        return self._counts

    def _client(self, direct=False):
        if direct:
            return Client(port=self._proxy.target)
        return Client(port=self._proxy.port, delay=0.001, timeout=IMPATIENCE if self._silent else PATIENCE)

    def _split_and_measure(self):
        """All cases there are; on the way each conversation goes byte by byte, and nothing becomes of it."""
        cases = []
        for name, converse in self._conversations.items():
            for weather in Weather(piece=1), Weather(piece=7, pause=0.0001), FINE:
                self._proxy.change(weather)
                converse()
                self._counts["splits"] += 1
            for way, size in zip([UP, DOWN], self._proxy.passed()):
                cases += [Case(name, Fate(how, way, after)) for after in range(size + 1) for how in ENDS]
        return cases

    def _converse(self, case):
        self._case = case
        first = self._proxy.links
        self._proxy.fate_of = lambda index: case.fate if index == first else None
        try:
            self._conversations[case.conversation]()
        except Exception as error:
            raise AssertionError(f"{case}: {type(error).__name__}: {error}") from error
        self._proxy.strike(CUT)
        self._counts["cuts"] += 1

    # -- conversations -------------------------------------------------------

    def _publish(self):
        self._streams += 1
        stream = f"stream-{self._streams:05}"       # of one length, for the cases are counted in bytes
        with self._client() as client:
            try:
                acknowledged, unknown = client.publish_many(stream, EVENTS), 0
            except PublishInterrupted as error:
                acknowledged, unknown = error.acknowledged, error.unknown
            assert acknowledged + unknown == len(EVENTS), f"{acknowledged} are acknowledged and {unknown} unknown"
            self._counts["publishes of unknown fate"] += unknown
            least, most = self._bounds(stream)
            assert least <= acknowledged <= most, f"{acknowledged} acknowledged, expected {least} to {most}"
            self._proxy.strike(CUT)
            client.publish(stream, "n", LATER)
        stored = max(acknowledged, self._certain(stream))
        eventually(lambda: self._numbers(stream) > stored, f"the end of {stored} events and a later one")
        there = [(event.name, event.data) for event in self._direct.subscribe(f"{stream}:0:{self._numbers(stream)}")]
        # An event of unknown fate may have been on its way while the later one overtook it.
        there.remove(("n", LATER))
        assert there == EVENTS[:len(there)], f"found {there}"

    def _bounds(self, stream):
        """How many may be acknowledged, by what has passed: (at least, at most)."""
        if self._case is None:
            return len(EVENTS), len(EVENTS)
        how, way, after = self._case.fate
        if not after:       # perhaps no connection was made, and another one served
            return 0, len(EVENTS)
        if way == UP:
            return 0, _whole(_requests(stream), after)
        passed = _whole([OK] * len(EVENTS), after)
        return passed if how in (CUT, LOSE_CLIENT) else 0, passed

    def _certain(self, stream):
        """How many the server has received, and is to store whether or not it can say so."""
        if self._case is None or self._case.fate.how == RESET:      # which overtakes what was sent before it
            return 0
        if self._case.fate.way == DOWN:
            return len(EVENTS) if self._case.fate.after else 0
        return _whole(_requests(stream), self._case.fate.after)

    def _numbers(self, stream):
        last = self._direct.last_event_number(stream)
        return 0 if last is None else last + 1

    def _follow(self):
        """All that is there, and an event that comes when the first connection has met its fate."""
        stream = "followed"
        first = self._numbers(stream)
        self._direct.publish_many(stream, EVENTS)
        with self._client() as client, client.subscribe(f"{stream}:{first}") as subscription:
            found = self._take(subscription, len(EVENTS))
            self._direct.publish(stream, "n", LATER)
            found += self._take(subscription, 1)
        assert [event.number for event in found] == list(range(first, first + len(EVENTS) + 1))
        assert [(event.name, event.data) for event in found] == [*EVENTS, ("n", LATER)]

    def _take(self, subscription, count):
        """So many events; after a silence, of which nobody can tell a follower, the link is cut."""
        found = []
        while len(found) < count:
            try:
                found += subscription.read(timeout=IMPATIENCE if self._silent else PATIENCE)
            except NothingCame:
                assert self._silent, f"found {len(found)} of {count} events"
                self._proxy.strike(CUT)
        return found

    @property
    def _silent(self):
        return self._case is not None and self._case.fate.how in (SILENCE, LOSE_SERVER)

    def _ask(self):
        with self._client() as client:
            while True:
                try:
                    assert client.last_event_numbers(["there", "not there"]) == [len(EVENTS) - 1, None]
                    return
                except TimedOut:
                    assert self._silent


def _requests(stream):
    return [publish_request(stream, *event) for event in EVENTS]


def _whole(parts, size):
    """How many of `parts`, one behind the other, are whole in the first `size` bytes."""
    return sum(end <= size for end in itertools.accumulate(map(len, parts)))
