"""The last hour of the server, in a ring of samples, for charts.

    each STEP seconds: sample() ──> (time, values) ──> | 1 | 2 | … | 361 |  the oldest falls out

A counter is shown as its rate between two samples, a gauge as it stood.

Lock: `_lock` guards the ring.
"""

import logging
import threading
import time
from collections import deque

log = logging.getLogger("meilies.history")

STEP = 10.0         # seconds between samples
SAMPLES = 361       # an hour, and the one before it, which the first rate needs


class History:
    """See the top of this file.

    sample     returns (counters, gauges), two dicts of numbers by name, always the same names
    clock      seconds since 1970
    """

    def __init__(self, sample, clock=time.time):
        self._sample = sample
        self._clock = clock
        self._lock = threading.Lock()
        self._ring = deque(maxlen=SAMPLES)      # (seconds since 1970, counters, gauges)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="meilies-history", daemon=True)

    def start(self):
        self._thread.start()

    def stop(self):
        """Return when its thread has ended.  Stopping what wasn't started is nothing."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self):
        while True:
            try:
                self.take()
            except Exception:
                log.exception("a sample for the charts is missing")
            if self._stopping.wait(STEP):
                return

    def take(self):
        """Take a sample now."""
        counters, gauges = self._sample()
        with self._lock:
            self._ring.append((self._clock(), counters, gauges))

    def columns(self):
        """{"time": [seconds since 1970, …], name: [a rate in units a second, or a gauge, …], …}, the oldest first.

        The first sample has no rate and isn't shown; where the clock went back there is None.
        """
        with self._lock:
            samples = list(self._ring)
        columns = {"time": [sample[0] for sample in samples[1:]]}
        if samples:
            for name in samples[0][1]:
                columns[name] = [_rate(before, after, name) for before, after in zip(samples, samples[1:])]
            for name in samples[0][2]:
                columns[name] = [gauges[name] for _, _, gauges in samples[1:]]
        return columns


def _rate(before, after, name):
    seconds = after[0] - before[0]
    return max(0.0, (after[1][name] - before[1][name]) / seconds) if seconds > 0 else None
