"""Servers for the tests of clients: one that says what it is told to, one that stores.

    def script(peer):                           # one for each connection, in order
        peer.expect(command("PING"))
        peer.send(b"+PONG\\r\\n")

    with FakeServer(script) as server:          # fails if the client said anything else
        Client(port=server.port).ping()

    with FakeMeilies() as server:               # MeiliES 0.2.0, its faults with subscribe included
    with FakeMeilies(store="ab" * 16):          # this project's server
"""

import contextlib
import socket
import threading

import resp
from resp import Parser, command

SECONDS = 10    # for what takes none
CLOCK = 1_700_000_000_000_000

HELLO = command("HELLO", 2)
UNKNOWN = b"-invalid request message; Unknown command name\r\n"


def hello(store="ab" * 16, epoch=1):
    """What our server answers to HELLO 2."""
    fields = (
        ("server", resp.bulk(b"meilies")), ("version", resp.bulk(b"1.0.0")), ("proto", resp.integer(2)),
        ("id", resp.integer(7)), ("mode", resp.bulk(b"standalone")), ("role", resp.bulk(b"master")),
        ("modules", resp.array([])), ("store", resp.bulk(store.encode())), ("epoch", resp.integer(epoch)))
    return resp.mapping([(resp.bulk(key.encode()), value) for key, value in fields], 2)


def subscribed(key):
    return resp.array([resp.simple(b"subscribed"), resp.simple(key.encode())])


def event(stream, number, name="n", data=b""):
    return resp.array([resp.simple(b"event"), resp.simple(stream.encode()), resp.integer(number),
                       resp.simple(name.encode()), resp.bulk(data)])


def recorded(position, stream, number, name="n", data=b"", id=b"", metadata=b"", clock=CLOCK):
    return resp.array([
        resp.simple(b"recorded"), resp.integer(position), resp.simple(stream.encode()), resp.integer(number),
        resp.simple(name.encode()), resp.bulk(data), resp.bulk(id), resp.bulk(metadata), resp.integer(clock)])


def checkpoint(followed, at):
    return resp.array([resp.simple(b"checkpoint"), resp.simple(followed.encode()), resp.integer(at)])


def caught_up(followed, at):
    return resp.array([resp.simple(b"caught-up"), resp.simple(followed.encode()), resp.integer(at)])


def last_number(stream, number):
    return resp.array([resp.simple(b"last-event-number"), resp.simple(stream.encode()),
                       resp.null(2) if number is None else resp.integer(number)])


def names(*streams):
    return resp.array([resp.simple(b"stream-names"), *[resp.simple(s.encode()) for s in streams]])


def free_port():
    """A port that refuses connections."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Peer:
    """The server's end of one connection, for a script."""

    def __init__(self, sock):
        self.sock = sock
        self.sock.settimeout(SECONDS)

    def expect(self, expected):
        """Fail unless the next bytes are `expected`."""
        found = b""
        while len(found) < len(expected):
            more = self.sock.recv(len(expected) - len(found))
            found += more
            assert more and expected.startswith(found), f"found {found!r}, expected {expected!r}"

    def send(self, data):
        self.sock.sendall(data)

    def answer(self, request, reply):
        self.expect(request)
        self.send(reply)

    def close(self):
        self.sock.close()

    def expect_close(self):
        """Fail unless the client closes without another byte."""
        try:
            found = self.sock.recv(1000)
        except ConnectionResetError:
            found = b""
        assert found == b"", f"found {found!r}, expected the client to close"


def _listen_at(path):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    return listener


class FakeServer:
    """Plays a script for each connection, each in its own thread; no more connections are expected.

    port   where it listens; a free one unless it is given
    unix   the path where it listens, in place of a port
    tls    an ssl.SSLContext: it speaks TLS.  A client that doesn't want it is nothing to fail for
    """

    def __init__(self, *scripts, port=0, unix=None, tls=None):
        self._listener = _listen_at(unix) if unix else socket.create_server(("127.0.0.1", port))
        self._listener.settimeout(SECONDS)
        self.port = None if unix else self._listener.getsockname()[1]
        self._tls = tls
        self._threads = [threading.Thread(target=self._accept, args=(scripts,), name="accept")]
        self._failures = []             # appended to by any thread, read when all are joined
        self._peers = []

    def __enter__(self):
        self._threads[0].start()
        return self

    def __exit__(self, kind, *_):
        if kind:
            self._abort()
        for thread in self._threads:
            thread.join(SECONDS)
        self._abort()
        if self._failures and not kind:
            raise self._failures[0]

    def _abort(self):
        self._listener.close()
        for peer in self._peers:
            peer.close()

    def _accept(self, scripts):
        for script in scripts:
            try:
                sock, _ = self._listener.accept()
            except OSError as error:
                self._failures.append(AssertionError(f"no connection for {script.__name__}: {error}"))
                return
            if self._tls:
                try:
                    sock.settimeout(SECONDS)
                    sock = self._tls.wrap_socket(sock, server_side=True)
                except OSError:
                    sock.close()
                    continue
            peer = Peer(sock)
            self._peers.append(peer)
            thread = threading.Thread(target=self._play, args=(script, peer), name=script.__name__)
            self._threads.append(thread)
            thread.start()
        self._listener.close()

    def _play(self, script, peer):
        try:
            script(peer)
        except (AssertionError, OSError) as error:
            self._failures.append(error)
        finally:
            peer.close()


class FakeMeilies:
    """A server that stores events in memory.

    store         without one it is MeiliES 0.2.0: no HELLO, no follow, no PING, every error
                  closes, and of a range without TO it sends the first event, then only new ones
    publishes     how many it takes before it closes that connection, unanswered; None: any number
    """

    def __init__(self, store=None, port=0, epoch=1):
        self.store = store
        self.epoch = epoch
        self.publishes = None
        self.events = []                # (stream, number, name, data) by position
        self.requests = []              # all commands that came, in order
        self.streams = {}
        self.listed = set()             # what stream-names says beside that: MeiliES lists what was asked for
        self._lock = threading.RLock()  # guards all of the above, and _followers
        self._followers = []            # (socket, wanted)
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = self._listener.getsockname()[1]
        self._sockets = []
        self._threads = [threading.Thread(target=self._accept, name="accept")]

    def __enter__(self):
        self._threads[0].start()
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self.disconnect()
        for thread in self._threads:
            thread.join(SECONDS)
        self._listener.close()

    def disconnect(self):
        """End all connections, as a restart would."""
        with self._lock:
            self._followers.clear()
            for sock in self._sockets:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def publish(self, stream, *data, name="n"):
        for one in data:
            self._publish(stream, name, one)

    def asked(self, name):
        """The arguments of all requests of that name."""
        with self._lock:
            return [arguments for asked, *arguments in self.requests if asked == name]

    def _accept(self):
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._sockets.append(sock)
            thread = threading.Thread(target=self._serve, args=(sock,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock):
        requests = Parser()
        with sock, contextlib.suppress(OSError):
            while data := sock.recv(65536):
                requests.feed(data)
                for value in requests.values():
                    if not self._answer(sock, [one.decode("utf-8", "surrogateescape") for one in value]):
                        return

    def _answer(self, sock, request):
        """Answer one request; return whether the connection goes on."""
        name, *arguments = request
        with self._lock:
            self.requests.append(tuple(request))
            handler = getattr(self, "_" + name.lower().replace("-", "_") + "_command", None)
            if handler is None or (self.store is None and name in ("HELLO", "PING", "follow")):
                sock.sendall(UNKNOWN if self.store is None else b"-ERR unknown command\r\n")
                return self.store is not None
            return handler(sock, *arguments) is not False

    def _hello_command(self, sock, _):
        sock.sendall(hello(self.store, self.epoch))

    def _ping_command(self, sock):
        sock.sendall(b"+PONG\r\n")

    def _publish_command(self, sock, stream, name, data):
        if self.publishes is not None:
            if not self.publishes:
                return False
            self.publishes -= 1
        if name == "bad":
            sock.sendall(b"-ERR bad name\r\n")
            return True
        self._publish(stream, name, data.encode("utf-8", "surrogateescape"))
        sock.sendall(b"+OK\r\n")
        return True

    def _publish(self, stream, name, data):
        with self._lock:
            number = self.streams.get(stream, -1) + 1
            self.streams[stream] = number
            one = len(self.events), stream, number, name, data
            self.events.append(one[1:])
            for sock, wanted in self._followers:
                wanted(sock, one)

    def _last_event_number_command(self, sock, stream):
        last = len(self.events) - 1 if stream == "$all" else self.streams.get(stream, -1)
        sock.sendall(last_number(stream, None if last < 0 else last))

    def _stream_names_command(self, sock):
        sock.sendall(names(*sorted(self.streams.keys() | self.listed)))

    def _subscribe_command(self, sock, selector):
        stream, *numbers = selector.split(":")
        first, to = int(numbers[0]), int(numbers[1]) if len(numbers) > 1 else None

        def wanted(sock, one):
            _, of, number, name, data = one
            if of == stream and number >= first and (to is None or number < to):
                sock.sendall(event(of, number, name, data))

        sock.sendall(subscribed(stream))
        replay = [(p, *e) for p, e in enumerate(self.events) if e[0] == stream and e[1] >= first]
        for one in replay if to is not None else replay[:1]:
            wanted(sock, one)
        self._followers.append((sock, wanted))

    def _follow_command(self, sock, kind, *rest):
        stream, start, *end = rest if kind == "stream" else (None, *rest)
        to = int(end[1]) if end else None

        def wanted(sock, one):
            position, of, number, name, data = one
            place = position if stream is None else number
            if of in (stream or of,) and place >= int(start) and (to is None or place < to):
                sock.sendall(recorded(position, of, number, name, data))

        sock.sendall(subscribed(stream or kind))
        for position, one in enumerate(self.events):
            wanted(sock, (position, *one))
        self._followers.append((sock, wanted))
