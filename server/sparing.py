"""Warnings that others can cause as often as they like: one is logged, and those that follow are counted.

    12:00:00  client 7 at 10.0.0.9:4312 is cut off: ...
    12:01:03  client 960 at 10.0.0.9:5310 is cut off: ... (and 951 like it before, since the last such line)

Lock: `_lock` guards the count; it isn't held over the logging.
"""

import threading
import time

# Seconds between two lines of one kind.
INTERVAL = 60.0


class Sparing:
    """Warnings of one kind; any thread may call it.

    log       the logging.Logger
    clock     seconds, going up
    """

    def __init__(self, log, interval=INTERVAL, clock=time.monotonic):
        self._log = log
        self._interval = interval
        self._clock = clock
        self._lock = threading.Lock()
        self._again = None      # when the next one is logged
        self._passed_over = 0   # since the last one

    def warning(self, message, *arguments):
        """Log a line, or count it."""
        now = self._clock()
        with self._lock:
            if self._again is not None and now < self._again:
                self._passed_over += 1
                return
            self._again = now + self._interval
            before, self._passed_over = self._passed_over, 0
        if before:
            message, arguments = message + " (and %d like it before, since the last such line)", (*arguments, before)
        self._log.warning(message, *arguments)
