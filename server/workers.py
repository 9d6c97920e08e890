"""A fixed few threads for what would keep the poller: replays and long commands."""

import logging
import queue
import threading

log = logging.getLogger("meilies.workers")


class Workers:
    """Threads that call what they are given, in order of arrival.

    The queue is bounded by its users: a connection has at most one replay and
    one command in it.
    """

    def __init__(self, count):
        self._queue = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._run, name=f"meilies-worker-{i}", daemon=True)
                         for i in range(count)]
        for thread in self._threads:
            thread.start()

    def put(self, task):
        """Have `task` called, without arguments, in one of the threads."""
        self._queue.put(task)

    def _run(self):
        while True:
            task = self._queue.get()
            if task is None:
                return
            try:
                task()
            except Exception:
                log.exception("a task failed")
            del task        # with the connection that it was for, while there is no other

    def stop(self):
        """Return when the threads have ended; what waits before this call is still done."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()
