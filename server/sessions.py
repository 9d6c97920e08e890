"""Who is logged in to the console.

    login ──> Sessions.begin ──> a token of 256 random bits, in the browser's cookie
    each request ──> Sessions.get(token) ──> Session, while it lasts

Tokens aren't kept, only their SHA-256: who reads the process's memory, or times a look-up, has
no token.  A token that wasn't given out is never taken over.

Lock: `_lock` guards the dict; it is held over dict operations alone.
"""

import hashlib
import secrets
import threading
import time
from collections import OrderedDict

# Seconds after the login, and after the last request, that a session ends.
LONGEST = 12 * 3600.0
IDLE = 3600.0
# Sessions at once, and those of one user: the one that was idle the longest makes room.
MOST = 1000
MOST_OF_ONE = 20


class Session:
    """One login.

    name     of the user
    secret   what the password was known by when it was given
    ended    whether it is over: those who stream to it look at this
    """

    __slots__ = ("name", "secret", "ended", "_began", "_used")

    def __init__(self, user, now):
        self.name = user.name
        self.secret = user.secret
        self.ended = False
        self._began = self._used = now

    def over(self, now):
        return self.ended or now - self._began >= LONGEST or now - self._used >= IDLE

    def use(self, now):
        self._used = now


class Sessions:
    """See the top of this file.

    clock   seconds that only go up
    """

    def __init__(self, clock=time.monotonic):
        self._clock = clock
        self._lock = threading.Lock()
        self._sessions = OrderedDict()      # digest of the token -> Session, the one used last at the end

    def __len__(self):
        return len(self._sessions)

    def begin(self, user):
        """Begin a session of a User who has given the password; its token, as text."""
        token = secrets.token_urlsafe(32)
        now = self._clock()
        with self._lock:
            self._forget([key for key, one in self._sessions.items() if one.over(now)])
            of_one = [key for key, one in self._sessions.items() if one.name == user.name]
            self._forget(of_one[:max(0, len(of_one) + 1 - MOST_OF_ONE)])
            self._forget(list(self._sessions)[:max(0, len(self._sessions) + 1 - MOST)])
            self._sessions[_digest(token)] = Session(user, now)
        return token

    def get(self, token):
        """The Session of a token, which is used by that; None if there is none, or it is over."""
        key, now = _digest(token), self._clock()
        with self._lock:
            session = self._sessions.get(key)
            if session is None:
                return None
            if session.over(now):
                self._forget([key])
                return None
            session.use(now)
            self._sessions.move_to_end(key)
            return session

    def lasts(self, session):
        """Whether a session that was got before isn't over yet; it isn't used by that."""
        return not session.over(self._clock())

    def end(self, token):
        """Log out."""
        with self._lock:
            self._forget([key for key in [_digest(token)] if key in self._sessions])

    def _forget(self, keys):
        for key in keys:
            self._sessions.pop(key).ended = True


def _digest(token):
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
