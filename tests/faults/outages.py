"""Publishers and subscribers through outages: all that they did and saw must be one history.

    Publisher ──┐                                 ┌── killed and started again,
    Publisher ──┤──> Proxy: a bad network ──> server    paused, on a disk that is full or fails
    Subscriber ─┤
    Subscriber ─┘          history.check() says whether one order of events explains it

A round draws a server, clients and a row of faults.  Then everything is
mended, every stream gets a last event, and the whole order is read without the
proxy; each subscriber that is still there has to reach its end.  Clients are
the real ones, a thread each.
"""

import contextlib
import functools
import itertools
import math
import random
import resource
import shutil
import signal
import subprocess
import threading
import time

from conftest import ROOT, UNMEASURED, Server

from meilies_client import CannotConnect, Client, NothingCame, PublishInterrupted, Refused, Selector, StoreChanged

from .history import ACKNOWLEDGED, ALL, REFUSED, UNKNOWN, Answer, History, Publish, Seen, View
from .network import quiet
from .proxy import CUT, DOWN, ENDS, FINE, UP, Fate, Proxy, Weather

NAME = "outages"
GOALS = {"events": 1_000_000, "faulted runs": 100}

# A round ends when so many events were sent and so many faults were over.
EVENTS = 12_000
FAULTS = 8
STREAMS = [f"stream-{i}" for i in range(5)]

# Seconds: that a client waits for an answer, that a fault lasts at most, and that all has to be well again in.
PATIENCE = 1.0
LONGEST = 1.3
RECOVERY = 60

KIB = 1024


def run(seed, until, folder):
    with quiet(), Outage(seed, folder) as outage:
        outage.bear(until)
        outage.mend()
        outage.read()
        outage.history.check()
        return outage.counts()


class Patient:
    """The server, which many things happen to; a new process after each that kills it."""

    def __init__(self, draw, folder, proxy):
        self._proxy = proxy
        self._folder = folder
        self._script = ROOT / draw.choice(["meilies_server.py", "tests/restless_server.py"])
        self._options = ["--db-path", str(folder / "db"), "--port", "0", "--log-level", "warning",
                         "--sync", draw.choice(["always", "always", "everysec", "no"]),
                         "--segment-size", draw.choice(["64K", "256K", "256M"]),
                         "--compression-factor", draw.choice(["0", "0", "1"])]
        self._syncs = "always" in self._options
        self._starts = 0
        self.start()

    def start(self):
        self._starts += 1
        self._server = Server(self._options, {**UNMEASURED, "PYTHONPATH": str(ROOT)},
                              self._folder / f"server-{self._starts}.log", self._script)
        try:
            self._server.wait_until_listening()
        except BaseException:
            self.stop()
            raise
        self.port = self._proxy.target = self._server.port

    def stop(self):
        """End it as its owner would; fail if it complained."""
        self._server.end()

    def kill(self):
        self._server.kill()
        self.stop()
        self.start()

    def pause(self, seconds):
        """Let it stand still."""
        self._server.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self._server.process.send_signal(signal.SIGCONT)

    def starve(self, seconds):
        """No file of it may grow past what is the size of a small segment: to the server, a full disk."""
        limit = functools.partial(resource.prlimit, self._server.process.pid, resource.RLIMIT_FSIZE)
        before = limit()
        limit((32 * KIB, before[1]))
        time.sleep(seconds)
        limit(before)

    def fail(self, seconds):
        """Let syncs fail.  It acknowledges nothing then, until it is started again.

        Without --sync always its readers lose what was acknowledged and not on disk.
        """
        if self._syncs and shutil.which("strace"):
            strace = subprocess.Popen(
                ["strace", "-f", "-qq", "-o", "/dev/null", "-p", str(self._server.process.pid),
                 "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO"], stderr=subprocess.DEVNULL)
            time.sleep(seconds)
            strace.terminate()
            strace.wait()
        self.kill()


class Actor(threading.Thread):
    """A client in a thread of its own.  `finish` joins it, and raises what it couldn't bear."""

    def __init__(self, outage, name, seed):
        super().__init__(name=name, daemon=True)
        self.outage = outage
        self.draw = random.Random(f"{name} {seed}")
        self._error = None

    def run(self):
        try:
            with self.outage.connect() as client:
                self.act(client)
        except BaseException as error:
            self._error = error

    def finish(self):
        self.join(RECOVERY)
        if self._error:
            raise self._error
        assert not self.is_alive(), f"{self.name} still waits {RECOVERY} s after everything was mended"


class Publisher(Actor):
    """Publishes batches, and writes down what it is told of them.

    _connections   it had, or may have had, before the one in use
    """

    _connections = 0

    def act(self, client):
        for serial in itertools.count():
            if self.outage.over.is_set():
                return
            if self.draw.random() < 0.1:
                self._ask(client)
            self.publish(client, self._batch(serial))
            self.outage.over.wait(0.04 * self.draw.random())

    def _batch(self, serial):
        """Events of one stream or of several; no data is like another's."""
        count = self.draw.choice([1, 1, 2, 20, 200])
        padding = bytes(self.draw.choice([0, 20, 100, 1000]))
        streams = self.draw.choice([STREAMS, [self.draw.choice(STREAMS)]])
        return [(self.draw.choice(streams), "n", b"%b %d %d " % (self.name.encode(), serial, i) + padding)
                for i in range(count)]

    def publish(self, client, batch):
        """Publish events and write down what became of them; what raises anything else is at fault."""
        connection = self.name, self._connections
        sent = time.monotonic()
        try:
            fates = [ACKNOWLEDGED] * client.publish_batch(batch)
        except CannotConnect:
            return
        except Refused as error:
            fates = self._refused(error, len(batch))
        except PublishInterrupted as error:
            fates = self._interrupted(error, len(batch))
        if UNKNOWN in fates:        # what is sent later may be there without it
            self._connections += 1
        self.outage.published(connection, batch, sent, time.monotonic(), fates)

    def _refused(self, error, count):
        """A disk that fails may have it, one that is full can't; of what is behind it less is told."""
        assert error.reply.code in ("STOREFULL", "STOREFAILED"), error
        fate = REFUSED if error.reply.code == "STOREFULL" else UNKNOWN
        return [ACKNOWLEDGED] * error.index + [fate] + [UNKNOWN] * (count - error.index - 1)

    def _interrupted(self, error, count):
        """A batch is one window: unless some were refused as well, which isn't told, those at its head are stored."""
        assert 0 < error.unknown <= count, error
        if error.acknowledged + error.unknown < count:
            return [UNKNOWN] * count
        return [ACKNOWLEDGED] * error.acknowledged + [UNKNOWN] * error.unknown

    def _ask(self, client):
        stream = self.draw.choice([ALL, *STREAMS])
        asked = time.monotonic()
        try:
            last = client.last_event_number(stream)
        except (TimeoutError, CannotConnect):
            return
        self.outage.history.answers.append(
            Answer(stream, asked, time.monotonic(), -1 if last is None else last))


class Subscriber(Actor):
    """Follows, leaves, follows something else; is slow at times; in the end stays to the end."""

    def act(self, client):
        while not self.outage.over.is_set():
            views = {view.selector: view for view in self._choose()}
            self.outage.history.views += views.values()
            patience = self.draw.choice([200, 2000, math.inf])      # events that it stays for
            with contextlib.suppress(Lost):
                self._follow(client, views, patience)

    def _choose(self):
        names = [ALL] if self.draw.random() < 0.5 else self.draw.sample(STREAMS, self.draw.choice([1, 1, 3, 5]))
        first = self.draw.choice([None, 0, 100])
        now = time.monotonic()
        return [View(name, first, now) for name in names]

    def _follow(self, client, views, patience):
        while not self._stay(client, views, patience):
            if any(view.next is None for view in views.values()):
                raise Lost      # followed from "now", and nobody knows when that was

    def _stay(self, client, views, patience):
        """Read until there is nothing more to do here; False if the client wants to be asked whether to go on."""
        selectors = [Selector(view.selector, view.next) for view in views.values()]
        try:
            with client.subscribe(*selectors, accept_other_store=self.draw.random() < 0.5) as subscription:
                for view in views.values():
                    view.begun = min(view.begun, time.monotonic())
                while not self.outage.has_all(views.values()):
                    patience -= self._read(subscription, views)
                    if patience < 0 and not self.outage.over.is_set():
                        return True
        except StoreChanged:        # a crash cut what nobody had seen: it counts as another store
            return False
        for view in views.values():
            view.to_the_end = True
        return True

    def _read(self, subscription, views):
        if self.draw.random() < 0.02:
            self.outage.over.wait(0.3)
        try:
            events = subscription.read(timeout=0.1)
        except NothingCame:
            return 0
        at = time.monotonic()
        for one in events:
            view = views[ALL if ALL in views else one.stream]
            view.seen.append(Seen(one.stream, one.number, one.position, one.data, at))
        return len(events)


class Lost(Exception):
    """A view can't be gone on with."""


class Outage:
    """One round: see the top of this file.

    over      set when no more faults come, and clients are to end
    history   what they did and saw
    """

    def __init__(self, seed, folder):
        self.draw = random.Random(seed)
        self.history = History()
        self.over = threading.Event()
        self.faults = 0
        self._abandoned = False         # it has failed: everybody is to end
        self._ends = None               # {selector: how many events there are}, when there will be no more
        self._last_sent = math.inf
        self._full = self.draw.random() < 0.3       # whether the disk is at times
        self._lock = threading.Lock()               # guards history.publishes and _unheard
        self._unheard = itertools.count()
        self._fates = random.Random(f"fates {seed}")
        self._proxy = Proxy(0, self._fate_of)
        try:
            self._patient = Patient(self.draw, folder, self._proxy)
        except BaseException:
            self._proxy.close()
            raise
        self._publishers = [Publisher(self, f"publisher-{i}", seed) for i in range(self.draw.choice([1, 3, 4]))]
        self._subscribers = [Subscriber(self, f"subscriber-{i}", seed) for i in range(self.draw.choice([2, 4]))]

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self._abandoned = True
        self.over.set()
        for actor in self._publishers + self._subscribers:
            if actor.is_alive():
                actor.join(RECOVERY)
        self._proxy.close()
        self._patient.stop()

    def connect(self, port=None):
        return Client(port=port or self._proxy.port, timeout=PATIENCE, tries=10_000, delay=0.005)

    def counts(self):
        return {"events": len(self.history.order), "faulted runs": 1, "faults": self.faults,
                "seen": sum(len(view.seen) for view in self.history.views), "views": len(self.history.views),
                "unknown": sum(one.fate == UNKNOWN for one in self.history.publishes),
                "refused": sum(one.fate == REFUSED for one in self.history.publishes)}

    # -- called by the actors ------------------------------------------------

    def published(self, connection, batch, sent, answered, fates):
        """Write a batch down.

        What is unknown where the disk is full may have been refused unheard, so it
        says nothing of what its connection sent later: it gets one of its own.
        """
        with self._lock:
            for (stream, _, data), fate in zip(batch, fates):
                own = ("unheard", next(self._unheard)) if self._full and fate == UNKNOWN else connection
                self.history.publishes.append(
                    Publish(own, stream, data, sent, math.inf if fate == UNKNOWN else answered, fate))

    def has_all(self, views):
        """Whether these views have shown all that there will ever be."""
        if self._abandoned:
            return True
        if self._ends is None:
            return False
        return all(view.begun > self._last_sent if view.next is None
                   else view.next >= self._ends.get(view.selector, 0) for view in views)

    def _fate_of(self, index):
        if self._fates.random() < 0.3 and not self.over.is_set():
            return Fate(self._fates.choice(ENDS), self._fates.choice([UP, DOWN]),
                        int(self._fates.choice([10, 1000, 100_000]) * self._fates.random()))
        return None

    # -- the round -----------------------------------------------------------

    def bear(self, until):
        """Let the faults come."""
        for actor in self._publishers + self._subscribers:
            actor.start()
        while time.monotonic() < until and (self.faults < FAULTS or len(self.history.publishes) < EVENTS):
            self._fault()
            self.over.wait(0.3 * self.draw.random())

    def _fault(self):
        self.faults += 1
        what = self.draw.choice(["kill", "pause", "strike", "strike", "strike", "weather", "full", "fail"])
        seconds = LONGEST * self.draw.random() ** 2
        if what == "kill":
            self._patient.kill()
        elif what == "pause":
            self._patient.pause(seconds)
        elif what == "fail":
            self._patient.fail(seconds)
        elif what == "full" and self._full:
            self._patient.starve(seconds)
        elif what == "weather":
            self._proxy.change(Weather(self.draw.choice([1, 20, 1000]), self.draw.choice([0, 0, 0.001])))
            self.over.wait(seconds)
            self._proxy.change(FINE)
        else:
            self._proxy.strike(self.draw.choice(ENDS))
            self.over.wait(seconds)
            self._proxy.strike(CUT)     # whom nobody told that it is over

    def mend(self):
        """No more faults; let the publishers end, and every stream have a last event."""
        self.over.set()
        self._proxy.strike(CUT)
        for actor in self._publishers:
            actor.finish()
        with self.connect(self._patient.port) as client:
            self._last_sent = time.monotonic()
            self._publishers[0].publish(client, [(name, "n", b"last of " + name.encode()) for name in STREAMS])

    def read(self):
        """Read the order, and let the subscribers reach its end."""
        with self.connect(self._patient.port) as client:
            self.history.order = self._read(client, ALL)
            self.history.streams = {name: self._read(client, name) for name in client.stream_names()}
        ends = {name: len(events) for name, events in self.history.streams.items()}
        self._ends = {ALL: len(self.history.order), **ends}
        for actor in self._subscribers:
            actor.finish()

    def _read(self, client, selector):
        count = client.last_event_number(selector) + 1
        with client.subscribe(Selector(selector, 0, count), timeout=RECOVERY) as events:
            return [Seen(one.stream, one.number, one.position, one.data) for one in events]
