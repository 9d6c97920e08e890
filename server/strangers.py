"""Clients that haven't said who they are: few, for a short time, and with little to say.

    accepted ──> stranger ── AUTH ──> user
                    |
                    '── out of time, or the oldest of too many ──> closed

What one may send is bounded before it is read (connection.py); a moment is enough
to log in, so who floods the door with connections loses his oldest ones, and
somebody who has a password gets through.
"""

import math

# Of one request, until the client has said who it is.
MAX_ARGUMENTS = 10
MAX_ARGUMENT = 16 * 1024
MAX_REQUEST = 64 * 1024
# Seconds, and how many at once.
PATIENCE = 10.0
MOST = 1000


class Strangers:
    """See the top of this file; the poller's own."""

    def __init__(self, patience=PATIENCE, most=MOST):
        self._patience = patience
        self._most = most
        self._until = {}        # connection -> when its time is up, in that order

    def __len__(self):
        return len(self._until)

    def add(self, connection, now):
        """Begin to wait for one; the connection that has to go for it, or None."""
        if connection in self._until:       # RESET doesn't give it more time
            return None
        self._until[connection] = now + self._patience
        if len(self._until) > self._most:
            return next((one for one in self._until if not one.working), None)
        return None

    def remove(self, connection):
        """It has said who it is, or is closed."""
        self._until.pop(connection, None)

    def wait(self, now):
        """Seconds until somebody's time is up, math.inf for never."""
        return next(iter(self._until.values()), math.inf) - now

    def overdue(self, now):
        """Those whose time is up; one whose password is looked at gets more."""
        late = []
        for connection, until in list(self._until.items()):
            if until > now:
                break
            if connection.working:
                self.remove(connection)
                self._until[connection] = now + self._patience
            else:
                late.append(connection)
        return late
