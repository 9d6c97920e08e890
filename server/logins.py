"""Passwords are looked at in a thread of their own: each takes a fifth of a second of a core.

    AUTH ──> the poller: known lately? ──yes──> answered at once
                            | no
                            '──> Logins ──scrypt──> the poller: `answer`

The connection is `working` meanwhile: what it sends next waits.  So it has one
login under way; and of all together, no more than MOST wait.

Lock: `_wanted` guards the queue and `_stopping`; nothing is done under it but that.
"""

import logging
import threading
from collections import deque

from .attempts import TooManyAttempts

log = logging.getLogger("meilies.users")

# Who comes when so many wait would wait for ten seconds.
MOST = 50


class Logins:
    """See the top of this file.

    users   the Users
    soon    calls a function in the poller's thread
    """

    def __init__(self, users, soon):
        self._users = users
        self._soon = soon
        self._wanted = threading.Condition(threading.Lock())
        self._queue = deque()       # (connection, name, password, answer)
        self._stopping = False
        self._thread = None

    def put(self, connection, name, password, answer):
        """Have `answer` called with what Users.check returns, or with the TooManyAttempts it raises.

        Raises    TooManyAttempts   too many wait
        """
        with self._wanted:
            if len(self._queue) >= MOST or self._stopping:
                raise TooManyAttempts(1)
            self._queue.append((connection, name, password, answer))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="meilies-logins", daemon=True)
                self._thread.start()
            self._wanted.notify()

    def stop(self):
        """Return when the thread has ended; who waits then gets no answer."""
        with self._wanted:
            self._stopping = True
            self._queue.clear()
            self._wanted.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self):
        while True:
            with self._wanted:
                while not self._queue and not self._stopping:
                    self._wanted.wait()
                if self._stopping:
                    return
                connection, name, password, answer = self._queue.popleft()
            if not connection.closed:
                self._check(connection, name, password, answer)
            del connection, password, answer        # while there is no other

    def _check(self, connection, name, password, answer):
        try:
            outcome = self._users.check(name, password, connection.peer)
        except TooManyAttempts as error:
            outcome = error
        except Exception:
            log.exception("the password of a client can't be looked at")
            outcome = None
        self._soon(lambda: answer(outcome))
