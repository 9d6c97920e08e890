"""One measurement: a server, loads on it, and whether the counts are right.

    Trial ── server(…)   one of a contender, fresh
        '─── run(load)   in a process of its own, for one window
    check, check_delivery ──> WrongCount
"""

import random
import time

from . import load
from .load import Load, Requests

MIB = 1 << 20

# A ring of so many requests is made beforehand; of large ones, so many bytes.
RING = 10_000
RING_BYTES = 32 * MIB

# Seconds that a server runs under load before anything is counted, in parts of the window.
WARM_UP = 0.2


class WrongCount(Exception):
    """What was published isn't what the server has, or what followers got."""


class OutOfTime(Exception):
    """The time for the whole run is over."""


class Trial:
    """One measurement of one workload on one server.

    contender   of servers.py
    seconds     of the window
    size        how large, if the workload has a size
    folder      which isn't there yet
    deadline    time.monotonic() when it must be over
    """

    def __init__(self, contender, seconds, size, folder, deadline):
        self.contender = contender
        self.wire = contender.wire
        self.seconds = seconds
        self.size = size
        self.deadline = deadline
        self._folder = folder
        self._name = b"bench-%06x" % random.SystemRandom().randrange(1 << 24)

    def server(self, sync="everysec", options=()):
        return self.contender.run(self._folder, sync, options)

    def streams(self, count):
        """Names of as many streams, all of one length, that no other trial uses."""
        return [b"%b-%07d" % (self._name, i) for i in range(count)]

    @property
    def left(self):
        """Seconds that are left."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise OutOfTime()
        return left

    def start(self, loads):
        """Let `loads` begin as soon as all are ready; return when the window will end."""
        for one in loads:
            one.ready(self.left)
        begin = time.monotonic() + self.seconds * WARM_UP
        for one in loads:
            one.tell((begin, begin + self.seconds))
        return begin + self.seconds

    def run(self, function, *arguments):
        """The result of one load."""
        with Load(function, *arguments) as one:
            self.start([one])
            return one.result(self.left)

    def publish(self, server, requests, streams, connections=1, in_flight=100):
        """The Published of a window; `streams` are all that the Requests go to."""
        found = self.run(load.publish, server.address, requests, server.wire.publish_reply,
                         connections, in_flight)
        check(server, streams, found.total)
        return found

    def fill(self, server, requests, in_flight=1000):
        """Publish all of `requests`, which are Requests with a limit."""
        return self.run(load.fill, server.address, requests, server.wire.publish_reply, in_flight)


def same(request, limit=None):
    """Requests that are all alike."""
    return Requests([request] * max(4, min(RING, RING_BYTES // len(request))), limit)


def check(server, streams, published):
    stored = sum(server.counts(streams))
    if stored != published:
        raise WrongCount(f"{stored} events are stored, and {published} were published")


def check_delivery(followed):
    """What still came when we stopped waiting may be missing; what is missing in silence is lost."""
    if followed.extra or (followed.missing and followed.quiet > 1):
        raise WrongCount(f"followers got {followed.extra} events too many and miss {followed.missing}")
