"""Threads that look after a log: one syncs it each second, one writes its index."""

import threading


class Keeper:
    """A thread that calls `work` each time `wanted` is set, or `interval` seconds went by.

    Its owner calls `stop`, which joins it.  `work` handles its own errors.
    """

    def __init__(self, name, work, wanted=None, interval=None):
        self._work = work
        self._wanted = wanted or threading.Event()
        self._interval = interval
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self):
        while True:
            self._wanted.wait(self._interval)
            self._wanted.clear()        # before looking, so that no later `set` is missed
            if self._stopping:
                return
            self._work()

    def stop(self):
        """Return when the thread has ended; work that has begun is finished."""
        self._stopping = True
        self._wanted.set()
        self._thread.join()
