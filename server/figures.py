"""What the server is and does at this moment, read from where it stands: for INFO and for /metrics.

    connections ──one look at each──> Clients     kept for a second where there are many
    groups      ──their lags────────> Lags
    the system  ──/proc─────────────> Process

No lock is held over a look at all of anything: who comes or goes meanwhile is in it or isn't.
Streams aren't looked at, however many there are, but for those that were deleted or are waited
for.  In the poller's thread a look at 10,000 connections takes milliseconds; any other thread lets it
in between.
"""

import os
import resource
import sys
import threading
import time
from typing import NamedTuple

# Above so many connections and followers behind, one look is for a second.
_MANY = 1000
_KEPT = 1.0
# Seconds of a look at streams after which it is kept as long.
_LONG = 0.001
# Followers that are behind and looked at, of all that are.
_LOOKED_AT = 10_000
# Connections between two pauses for others, and their seconds: shorter ones don't let anybody in.
_PORTION = 250
_PAUSE = 0.0001

# macOS counts it in bytes, Linux in KiB.
_PEAK_UNIT = 1 if sys.platform == "darwin" else 1024
_PAGE = resource.getpagesize()


class Clients(NamedTuple):
    """Of all connections.

    connections     that there are
    blocked         whose sockets refuse bytes
    pending         bytes that they don't take
    subscriptions   followers
    behind          of these, those that read the log
    lag, most       events that they are behind: all together, and the one that is the most
    sent            bytes, ever, to those that are gone, too
    frames          events and notices, likewise
    """

    connections: int = 0
    blocked: int = 0
    pending: int = 0
    subscriptions: int = 0
    behind: int = 0
    lag: int = 0
    most: int = 0
    sent: int = 0
    frames: int = 0


class Lag(NamedTuple):
    """How a group stands: events that aren't done, and events that are parked."""

    name: str
    events: int
    parked: int


class Rates(NamedTuple):
    """A second, since somebody asked last (that is a second ago, or more): commands, and bytes in and out."""

    commands: float
    received: float
    sent: float


class Process(NamedTuple):
    """What the system says of this process; 0 where it doesn't.

    memory, peak   resident bytes, now and at most
    files, most    descriptors that are open, and that may be
    user, system   seconds of the processor
    """

    memory: int
    peak: int
    files: int
    most: int
    threads: int
    user: float
    system: float


class Figures:
    """Reads them for any thread.

    server   the Poller
    """

    def __init__(self, server, clock=time.monotonic):
        self._server = server
        self._clock = clock
        # Each of these is replaced as a whole; of two threads that do so at once, one does it in vain.
        self._kept = None           # (until when, Clients)
        self._kept_keys = 0, 0      # until when, how many
        self._most = Clients()      # what was ever said of what only goes up
        self._before = (clock(), 0, 0, 0)
        self._rates = Rates(0.0, 0.0, 0.0)

    def clients(self):
        """The Clients."""
        kept = self._kept
        if kept is not None and self._clock() < kept[0]:
            return kept[1]
        found = self._look()
        # A connection that closes during the look may not be in it, and what it was sent not yet counted.
        most = self._most
        self._most = found = found._replace(sent=max(found.sent, most.sent), frames=max(found.frames, most.frames))
        if found.connections + found.behind > _MANY:
            self._kept = self._clock() + _KEPT, found
        return found

    def keys(self):
        """How many streams have begun; see Store.begun_count."""
        until, count = self._kept_keys
        now = self._clock()
        if now >= until:
            count = self._server.store.begun_count()
            took = self._clock() - now
            self._kept_keys = now + (_KEPT if took > _LONG else 0), count
        return count

    def _look(self):
        server = self._server
        breathing = not server.is_own_thread
        blocked = pending = subscriptions = behind = lag = most = 0
        sent, frames = server.sent, server.frames
        everyone = list(server.connections.copy().values())
        for i, one in enumerate(everyone):
            if breathing and i % _PORTION == _PORTION - 1:
                time.sleep(_PAUSE)
            outbox = one.outbox
            blocked += outbox.blocked
            pending += outbox.size
            sent += outbox.sent
            frames += outbox.frames
            subscriptions += len(one.subscriptions)
            count = one.behind_count
            if count:
                for follower in one.behind(max(0, _LOOKED_AT - behind)):
                    far = _lag_of(follower)
                    lag += far
                    most = max(most, far)
                behind += count
        return Clients(len(everyone), blocked, pending, subscriptions, behind, lag, most, sent, frames)

    def groups(self):
        """[Lag] of the groups that there are, the one with the most first."""
        found = [Lag(one.name, one.lag, one.parked_count) for one in self._server.store.groups_at_hand()]
        return sorted(found, key=lambda one: (-one.events, one.name))

    def rates(self):
        """The Rates."""
        now = self._clock()
        began, commands, received, sent = self._before
        if now - began >= 1:
            server, clients = self._server, self.clients()
            current = now, server.executed + server.published, server.received, clients.sent
            self._before = current
            self._rates = Rates(*((after - before) / (now - began)
                                  for after, before in zip(current[1:], (commands, received, sent))))
        return self._rates


def _lag_of(follower):
    feed = follower.feed
    return max(0, min(feed.stream.visible, follower.stop) - follower.next) if feed is not None else 0


def process():
    """The Process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    peak = used.ru_maxrss * _PEAK_UNIT
    memory = _resident() or peak
    return Process(memory, max(memory, peak), _open_files(), resource.getrlimit(resource.RLIMIT_NOFILE)[0],
                   threading.active_count(), used.ru_utime, used.ru_stime)


def _resident():
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE
    except OSError:
        return 0


def _open_files(folder="/proc/self/fd"):
    try:
        # Linux says from 6.2 on how many there are; to list them is long where there are 10,000.
        return os.stat(folder).st_size or len(os.listdir(folder))
    except OSError:
        return 0


def system_memory():
    """Bytes that the machine has; 0 where it doesn't say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * _PAGE
    except (OSError, ValueError):
        return 0
