"""A client in the server's own process, which is served as those outside are.

    a thread that asks ── Inside ══ a pair of sockets ══ Poller ── commands

So users' rights, limits, counts and the slow log hold for it, and nothing here has to know of
them.  One belongs to one thread and one user, and isn't used for another's request afterwards.
"""

import select
import socket
import time

import resp

# Seconds that a reply may take.
PATIENCE = 10.0
_RECEIVE = 64 * 1024


class Unavailable(Exception):
    """The server doesn't answer: it has closed the connection, or takes too long."""


class Inside:
    """A connection of its own, which speaks RESP3; a context manager.

    poller   adopts the other end, in any thread
    peer     what CLIENT LIST and the log call this one
    user     whose rights it has
    """

    def __init__(self, poller, peer, user=None):
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(PATIENCE)
        self._parser = resp.Parser()
        self._ended = False
        try:
            poller.adopt(theirs, peer, user)
        except BaseException:
            self._socket.close()
            theirs.close()
            raise
        self._greet()

    def _greet(self):
        try:
            self.ask("hello", 3, "setname", "console")
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()

    def close(self):
        self._socket.close()

    def send(self, *arguments):
        """Send a request; `take` gives its reply, among others."""
        try:
            self._socket.sendall(resp.command(*arguments))
        except OSError as error:
            raise Unavailable(f"the server has closed the connection ({error})") from None

    def ask(self, *arguments):
        """Send a request and return its reply.

        Raises    resp.ErrorReply   the server refuses
                  Unavailable
        """
        [reply] = self.ask_all([arguments])
        if isinstance(reply, resp.ErrorReply):
            raise reply
        return reply

    def ask_all(self, requests):
        """Send a few requests at once; return their replies, errors among them.  Pushes are passed over."""
        for request in requests:
            self.send(*request)
        return [self._reply(time.monotonic() + PATIENCE) for _ in requests]

    def _reply(self, until):
        while True:
            value = self.take(until - time.monotonic())
            if value is resp.INCOMPLETE:
                raise Unavailable(f"the server hasn't answered for {PATIENCE:g} seconds")
            if not isinstance(value, resp.Push):
                return value

    def take(self, seconds):
        """The next reply or Push, or resp.INCOMPLETE when none has come for so long.

        Raises    Unavailable
        """
        until = time.monotonic() + seconds
        while True:
            value = self._parser.get()
            if value is not resp.INCOMPLETE:
                return value
            if not self._receive(until - time.monotonic()):
                return resp.INCOMPLETE

    def _receive(self, seconds):
        """Feed the parser; False if nothing came for so long."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        if not poll.poll(max(0.0, seconds) * 1000):
            return False
        try:
            data = self._socket.recv(_RECEIVE)
        except OSError as error:
            raise Unavailable(f"the server has closed the connection ({error})") from None
        if not data:
            raise Unavailable("the server has closed the connection")
        self._parser.feed(data)
        return True
