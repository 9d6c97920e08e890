"""A live tail as server-sent events: what is newest, then what comes, and never more than a person can read.

    look      follow SELECTOR - ; read-back SELECTOR - MOST        the newest, and then all that come
    listen    pushes ──> a piece for what came in a while
              MOST in a while: unfollow, wait, look again          what was passed over is said

So a stream of any rate costs the server and the browser the same few events a second.  A piece
is a server-sent event called `events`, a JSON object:

    events    see shown.py, in order
    skipped   null, or {"first", "stop"} of keys that were passed over, and "exact" if each of
              these is an event that would have been shown

and the last one may be `refused` or `ended`, with the reason as `error`.
"""

import json
import time

import resp

from .inside import PATIENCE, Unavailable
from .shown import brief

# Events in one piece, and seconds for which they are gathered.
MOST = 50
GATHER = 0.3
# Seconds of silence after which a comment tells proxies that somebody is there.
HEARTBEAT = 15.0
# Seconds after which whoever sends the pieces can see whether its client is still there.
TURN = 0.5


class Tail:
    """One tail.

    connect    returns an Inside for this one alone, which is closed when `pieces` ends
    selector   the arguments that select: ("stream", name), ("prefix", prefix) or ("$all",)
    names      only events that are called so; () for all
    seen       the key of the last event that was shown before, to go on behind it; or None
    goes_on    goes_on() is asked each turn; False ends the tail
    """

    def __init__(self, connect, selector, names, seen, goes_on):
        self._connect = connect
        self._inside = None
        self._selector = selector
        self._names = ("NAMES", len(names), *names) if names else ()
        self._key = 3 if selector[0] == "stream" else 1     # where an event has what it is read by
        self._exact = selector[0] != "prefix" and not names
        self._seen = seen
        self._goes_on = goes_on
        self._said = 0.0        # time.monotonic() when something was sent last

    def pieces(self):
        """Yield bytes to be sent, b"" when there are none."""
        try:
            with self._connect() as self._inside:
                while self._goes_on():
                    yield self._look()
                    yield from self._listen()
                yield ending("ended", "you are logged out")
        except resp.ErrorReply as refusal:
            yield ending("refused", refusal)
        except Unavailable as reason:
            yield ending("ended", reason)

    def _look(self):
        """Follow what comes from now on; a piece with the newest events that weren't shown."""
        self._inside.send("follow", *self._selector, "-", *self._names)
        self._inside.send("read-back", *self._selector, "-", MOST, *self._names)
        until = time.monotonic() + PATIENCE
        events = []
        while True:
            value = self._take(until)
            if not isinstance(value, resp.Push):
                break
            events += _events(value)        # these came between the two, so they may be in the page as well
        older, page = value
        found = {one[self._key]: one for one in [*page, *events] if older is None or one[self._key] > older}
        keys = sorted(found)
        if len(keys) > MOST:
            older, keys = keys[-MOST - 1], keys[-MOST:]
        return self._say([found[key] for key in keys], self._passed_over(older))

    def _passed_over(self, older):
        """What lies between the event that was seen last and a page behind which `older` is the next."""
        if self._seen is None or older is None or older <= self._seen:
            return None
        return {"first": str(self._seen + 1), "stop": str(older + 1), "exact": self._exact}

    def _listen(self):
        """Yield pieces of what comes, until it is too much."""
        events, until = [], None
        while self._goes_on():
            now = time.monotonic()
            if until is not None and now >= until:
                yield self._say(events)
                events, until = [], None
            value = self._inside.take(TURN if until is None else until - now)
            if value is resp.INCOMPLETE:
                if until is None:
                    yield self._heartbeat()
                continue
            if isinstance(value, resp.ErrorReply):
                raise value
            events += _events(value)
            if events and until is None:
                until = max(now, self._said + GATHER)
            if len(events) >= MOST:
                self._stop_following()
                yield self._say(events)
                time.sleep(GATHER)
                return

    def _stop_following(self):
        self._inside.send("unfollow", *self._selector)
        until = time.monotonic() + PATIENCE
        while not _is_end(self._take(until)):
            pass        # passed over: the next look says so

    def _take(self, until):
        """The next value that comes before `until`.  Raises ErrorReply, Unavailable."""
        value = self._inside.take(until - time.monotonic())
        if value is resp.INCOMPLETE:
            raise Unavailable(f"the server hasn't answered for {PATIENCE:g} seconds")
        if isinstance(value, resp.ErrorReply):
            raise value
        return value

    def _say(self, events, skipped=None):
        """A piece with those of `events` that are new, in order."""
        found = {one[self._key]: one for one in events if self._seen is None or one[self._key] > self._seen}
        if not found and skipped is None:
            return b""
        keys = sorted(found)
        if keys:
            self._seen = keys[-1]
        self._said = time.monotonic()
        return _piece("events", {"events": [brief(found[key]) for key in keys], "skipped": skipped})

    def _heartbeat(self):
        if time.monotonic() - self._said < HEARTBEAT:
            return b""
        self._said = time.monotonic()
        return b":\n\n"


def _events(push):
    """[push] if it is an event, [] if it is a notice.  Raises Unavailable when it says that there is no more."""
    if _is_end(push):
        raise Unavailable("this may not be followed any more")
    return [push] if push[0] == b"recorded" else []


def _is_end(push):
    return push[0] == b"unsubscribe"


def ending(kind, reason):
    """The last piece: `refused`, or `ended`."""
    return _piece(kind, {"error": str(reason)})


def _piece(kind, value):
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), json.dumps(value).encode())
