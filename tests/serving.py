"""A server in this process, for tests that look inside or stand in for its disk,
and the bytes that it speaks.

    with Serving(tmp_path / "db", files=FullDisk()) as serving:
        client = serving.connect()
        client.ask("publish", "orders", "created", "one")       # what `resp` makes of the reply
"""

import socket
import threading
import time

from conftest import SECONDS, Peer

import resp
from meilies_server import EventServer
from server import options
from server.listening import on_tcp
from store import Store, StoreError
from store.files import Files

OK = b"+OK\r\n"


# -- what the server sends ----------------------------------------------------

def event(stream, number, name, data, kind="*"):
    """One event as a subscriber gets it."""
    return f"{kind}5\r\n+event\r\n+{stream}\r\n:{number}\r\n+{name}\r\n${len(data)}\r\n{data}\r\n".encode()


def subscribed(key):
    return f"*2\r\n+subscribed\r\n+{key}\r\n".encode()


def unsubscribed(key):
    return f"*2\r\n+unsubscribed\r\n+{key}\r\n".encode()


def checkpoint(key, at, kind="*"):
    return f"{kind}3\r\n+checkpoint\r\n+{key}\r\n:{at}\r\n".encode()


def caught_up(key, at, kind="*"):
    return f"{kind}3\r\n+caught-up\r\n+{key}\r\n:{at}\r\n".encode()


def last_number(stream, number):
    shown = "$-1" if number is None else f":{number}"
    return f"*3\r\n+last-event-number\r\n+{stream}\r\n{shown}\r\n".encode()


def publish(stream, data, name="x"):
    """The request that makes `event(stream, …, name, data)`."""
    return resp.command("publish", stream, name, data)


# -- who asks -----------------------------------------------------------------

class Client(Peer):
    """A Peer that reads values as well as bytes; not both at the same time."""

    def __init__(self, host, port, tls=None):
        super().__init__(host, port, tls)
        self._parser = resp.Parser()

    def ask(self, *arguments):
        """Send one request; return the next value that comes."""
        self.command(*arguments)
        return self.value()

    def value(self):
        """The next value that the server sends."""
        while True:
            value = self._parser.get()
            if value is not resp.INCOMPLETE:
                return value
            data = self.sock.recv(1 << 16)
            assert data, "the server closed the connection"
            self._parser.feed(data)

    def error(self, *arguments):
        """Send one request, which must be refused; return the error's text."""
        answer = self.ask(*arguments)
        assert isinstance(answer, resp.ErrorReply), f"found {answer!r}, expected an error"
        return answer.args[0]

    def recv_count(self, count):
        """The next `count` bytes."""
        found = bytearray()
        while len(found) < count:
            data = self.sock.recv(min(count - len(found), 1 << 20))
            assert data, f"the connection ended after {len(found)} bytes, expected {count}"
            found += data
        return bytes(found)

    def end_output(self):
        """Send no more, and go on reading."""
        self.sock.shutdown(socket.SHUT_WR)


def eventually(condition, what="it"):
    """Return when `condition()` is true; fail if that takes long."""
    until = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < until, f"{what} did not come true"
        time.sleep(0.002)


# -- who answers --------------------------------------------------------------

class Serving:
    """A store and its server, with its loop in a thread; a context manager.

    files, clock  stand in for the disk and for microseconds since 1970
    users         the Users who may log in, if they have to
    certificates  what it shows at `tls_port`, which it has if there are any
    clock         stands in for the store's: microseconds since 1970
    limits        options by name, with _ for -
    """

    def __init__(self, path, sync="no", files=None, tick=lambda now: None, users=None, certificates=None, clock=None,
                 **limits):
        self.limits = options.parse(["--db-path", str(path), "--port", "0"], {})
        vars(self.limits).update(limits)
        self.store = Store(path, sync, files=files, clock=clock)
        listeners = [on_tcp("127.0.0.1", 0), *([on_tcp("127.0.0.1", 0, tls=True)] if certificates else [])]
        self.server = EventServer(listeners, self.store, self.limits, tick, users, certificates)
        self.tls_port = listeners[-1].port if certificates else None
        self.poller = self.server.poller
        self.port = self.poller.port
        self._clients = []
        self._thread = threading.Thread(target=self.server.serve_forever, name="serving", daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        for client in self._clients:
            client.close()
        self.stop()

    def connect(self, tls=None):
        """A Client, which speaks TLS if it gets an ssl.SSLContext; closed at the end if not before."""
        self._clients.append(Client("127.0.0.1", self.tls_port if tls else self.port, tls))
        return self._clients[-1]

    def connection_of(self, client):
        """What the server holds of a client."""
        wanted = "%s:%d" % client.sock.getsockname()
        found = []

        def look():
            found[:] = [one for one in self.poller.connections.copy().values() if one.peer == wanted]
            return found

        eventually(look, "its connection")
        return found[0]

    def only_connection(self):
        """What the server holds of the one client that there is."""
        [client] = self._clients
        return self.connection_of(client)

    def stop(self):
        """Stop as the program does.  Stopping twice is nothing."""
        self.server.shutdown()
        self._thread.join(SECONDS)
        assert not self._thread.is_alive(), "the server did not stop"
        self.server.server_close()
        try:
            self.store.close()
        except StoreError:
            assert self.store.failed        # a test made it fail, and closing says so again


class CountingDisk(Files):
    """Counts what was synced."""

    def __init__(self):
        self.syncs = 0

    def sync(self, fd):
        self.syncs += 1
        super().sync(fd)


class SlowDisk(Files):
    """A sync waits while `gate` is clear; `waiting` says that one does."""

    def __init__(self):
        self.gate = threading.Event()
        self.gate.set()
        self.waiting = threading.Event()

    def sync(self, fd):
        if not self.gate.is_set():
            self.waiting.set()
        assert self.gate.wait(SECONDS)
        super().sync(fd)


class FailingDisk(Files):
    """Writes and syncs raise what `write_error` and `sync_error` hold, if anything."""

    def __init__(self):
        self.write_error = None
        self.sync_error = None

    def write(self, fd, data, pos):
        if self.write_error:
            raise self.write_error
        super().write(fd, data, pos)

    def write_parts(self, fd, parts, pos):
        self.write(fd, b"".join(parts), pos)

    def sync(self, fd):
        if self.sync_error:
            raise self.sync_error
        super().sync(fd)
