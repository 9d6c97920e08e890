"""What one client is owed: a queue of bytes in front of a socket that may refuse them.

    replies ──put──> queue ──flush──> socket
    events  ──offer──────────────────>   |
                                         '-- refuses: `blocked` until it is writable

Replies are never refused: whoever reads requests stops doing so while `size` is
too large.  Events are: what the socket doesn't take stays in the log, and its
reader comes back when the queue has drained.  So an outbox holds the replies of
a bounded number of requests and the rest of one frame.

Lock: `lock` guards everything here.  It is the only lock that is held over a
send, and the send never blocks.
"""

import threading
from collections import deque

# One send is given no more than this, so that it ends soon.
_AT_ONCE = 1 << 20


class Outbox:
    """See the top of this file.

    send        sends bytes and returns how many were taken, or raises
                BlockingIOError (none now) or OSError (none ever again)
    unsent      how many of the bytes that `send` took, in its own form, wait there
                for the socket, for whoever has such a thing (see TLSSocket)
    on_blocked  called, under `lock`, when the socket refuses bytes: whoever
                waits for it to be writable then calls `resume`
    """

    __slots__ = ("lock", "blocked", "closed", "size", "sent", "frames", "_send", "_unsent", "_on_blocked", "_queue")

    def __init__(self, send, on_blocked, unsent=None):
        self.lock = threading.Lock()
        self.blocked = False        # the socket refused; nothing is sent until `resume`
        self.closed = False         # nothing is sent any more; the queue is dropped
        self.size = 0               # bytes in the queue, and unsent
        self.sent = 0               # bytes that the socket took, ever
        self.frames = 0             # that were offered and begun, ever
        self._send = send
        self._unsent = unsent
        self._on_blocked = on_blocked
        self._queue = deque()

    def put(self, data, change=None):
        """Queue a reply, to be sent with the next flush.

        change   called in the same step: what is sent before the reply is as it
                 was before the change, and what is sent after it is not
        """
        with self.lock:
            if change is not None:
                change()
            if not self.closed:
                self._queue.append(data)
                self.size += len(data)

    def flush(self):
        """Send what is queued, as far as the socket takes it."""
        with self.lock:
            if self.size and not self.blocked:
                self._send_queue()

    def put_and_flush(self, data):
        """Send a reply, behind what is queued."""
        with self.lock:
            if not (self.size or self.blocked or self.closed):
                taken = self._send_some(data)
                if taken < len(data):
                    self._keep(data, taken)
            elif not self.closed:
                self._queue.append(data)
                self.size += len(data)
                if not self.blocked:
                    self._send_queue()

    def resume(self):
        """The socket is writable: send.  True if nothing is left."""
        with self.lock:
            self.blocked = False
            if self.size:
                self._send_queue()
            return not self.blocked

    def offer(self, chunk, follower):
        """Send the frames of `chunk` behind what is queued; return how many frames were begun.

        A frame of which a byte was sent is sent to its end, from the queue if
        need be; of the others nothing is kept.  A follower that has ended, or
        wants another form by now, gets none: it does so before the reply that
        says so is sent from here.
        """
        with self.lock:
            if self.blocked or self.closed or follower.ended or follower.form != chunk.form:
                return 0
            if self.size:
                self._send_queue()
                if self.blocked or self.closed:
                    return 0
            data = chunk.data
            taken = self._send_some(data)
            if taken == len(data):
                self.frames += chunk.count
                return chunk.count
            begun, end = chunk.cut(taken)
            self.frames += begun
            if not self.closed:
                if end > taken:
                    self._queue.append(bytes(memoryview(data)[taken:end]))
                    self.size += end - taken
                self._block()
            return begun

    def forget(self):
        """Drop everything and refuse what comes; under `lock`."""
        self.closed = True
        self._queue.clear()
        self.size = 0
        self._on_blocked = None     # which knows the connection: without this circle all that it has goes at once

    def _block(self):
        if not self.blocked:
            self.blocked = True
            self._on_blocked()

    def _send_queue(self):
        data = self._queue[0] if len(self._queue) == 1 else b"".join(self._queue)
        self._queue.clear()
        self.size = 0
        taken = self._send_some(data)
        if taken < len(data):
            self._keep(data, taken)

    def _keep(self, data, taken):
        """Queue what the socket didn't take of `data`, before which nothing is queued."""
        if not self.closed:
            self._queue.append(memoryview(data)[taken:])
            self.size += len(data) - taken
            self._block()

    def _send_some(self, data):
        """Send until the socket refuses; return how many bytes it took."""
        taken = 0
        size = len(data)
        try:
            if size <= _AT_ONCE:
                taken = self._send(data)
            while taken < size:
                taken += self._send(memoryview(data)[taken:taken + _AT_ONCE])
        except BlockingIOError:
            pass
        except OSError:
            self.forget()
        self.sent += taken
        if self._unsent is not None:
            self._wait_for(self._unsent())
        return taken

    def _wait_for(self, unsent):
        if unsent and not self.closed:
            self.size += unsent
            self._block()
