"""A small HTTP server beside the event server, bounded in all that it takes from it.

    accept ──> a thread ──> head ──> Host, route, guard ──> body ──> handler ──> Answer ──> close
               |            '-- 400 404 405 411 413 414 421 431 501: the thread answers by itself
               '-- one of so many; with all of them taken, whoever has kept one the longest
                   without sending a whole request makes room

There is one request a connection: what comes behind it is passed over, so nothing can be
hidden in it, and nobody holds a thread between two.  Handlers run in the request's thread.
One that gives pieces without end (server-sent events) yields b"" now and then: then is
looked whether its client is still there, and whether the server stops.

Lock: `WebServer._lock` guards which conversations there are and what each is doing; nothing
that blocks is done under it.
"""

import contextlib
import errno
import io
import ipaddress
import logging
import os
import re
import select
import socket
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

from .text import printable, shown_address

log = logging.getLogger("meilies.web")

TEXT = "text/plain; charset=utf-8"

# Requests at once; and of them, those whose answers go on and on.
CONNECTIONS = 32
STREAMS = 16
# Bytes of a request line with its headers, and of a body where the route doesn't say more.
MAX_HEAD = 16 * 1024
MAX_BODY = 1 << 20
MAX_FIELDS = 64         # of a query
# Seconds for a request to arrive, and again for its answer, or a piece of it, to be taken.
SECONDS = 10.0
# What an answered client may still send, and for how long: to close before it has would take the answer from it.
_REST = 1 << 20
_REST_SECONDS = 1.0
# Bytes of one send.
_PIECE = 64 * 1024
# Seconds without accepting after the system said that it has no more descriptors.
_BACK_OFF = 0.1

# What each answer says to browsers: run, show and send nothing but what is from here, nowhere else.
_HEADERS = (
    ("Content-Security-Policy", "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
    ("Connection", "close"),
)

# The end of a head, for those too who leave CR out.
_END = re.compile(rb"\r?\n\r?\n")
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^\[\]:]+)(?::[0-9]{1,5})?")
_GONE = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR


class Answer(NamedTuple):
    """What a handler returns.

    body      bytes, or a generator of them: sent as they come, b"" when there is nothing yet,
              at least each second
    headers   more of them, (name, value); these go before the usual ones
    """

    status: int = 200
    content_type: str = TEXT
    body: object = b""
    headers: tuple = ()


class Refused(Exception):
    """A request that can't be answered as it wants; a handler may raise it, too."""

    def __init__(self, status, text, headers=()):
        super().__init__(text)
        self.answer = Answer(status, TEXT, f"{text}\n".encode(), headers)


class Request:
    """What a handler gets.

    method    GET, POST …; a HEAD comes as GET
    path      decoded
    query     {name: text}, the last of each name
    headers   .get(name), the name in any case
    body      bytes; none yet while the guard looks
    user      whoever asks, for the guard to say
    server    the Poller
    peer      the client's address, as people write it
    secure    it came over TLS
    """

    def __init__(self, head, server, peer, secure):
        path, _, query = head.path.partition("?")
        self.method = "GET" if head.command == "HEAD" else head.command
        self.path = unquote(path, errors="replace")
        try:
            self.query = dict(parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_FIELDS))
        except ValueError:
            raise Refused(400, f"a query of more than {MAX_FIELDS} fields") from None
        self.headers = head.headers
        self.body = b""
        self.user = None
        self.server = server
        self.peer = peer
        self.secure = secure


class _Head(BaseHTTPRequestHandler):
    """The request line and the headers, read by http.server; it has no socket.

    expects   the client waits to be told that it may send the body
    Raises    Refused
    """

    protocol_version = "HTTP/1.1"

    def __init__(self, data):
        self.rfile = io.BytesIO(data)
        self.expects = False
        self.client_address = None
        self.raw_requestline = self.rfile.readline()
        if not self.parse_request():
            raise Refused(400, "expected a request")
        if self.request_version not in ("HTTP/1.0", "HTTP/1.1"):
            raise Refused(505, "expected HTTP/1.1 or HTTP/1.0")
        if not self.path.startswith("/"):
            raise Refused(400, "expected a path that begins with /")

    def send_error(self, code, message=None, explain=None):
        raise Refused(int(code), message or HTTPStatus(code).phrase)

    def handle_expect_100(self):
        self.expects = True
        return True


class _Route(NamedTuple):
    handler: object
    max_body: int


class WebServer:
    """See the top of this file.

    hostname, port   where it listens; port 0 takes a free one, and `port` says which
    server           the Poller, for handlers
    context          a function that returns the ssl.SSLContext of the next connection; None: no TLS
    names            the names that it is asked by, besides localhost and addresses, so that no page of
                     another name can have a browser ask it; None: any name
    guard            guard(request) is called before the body is read: it may set `user`, and return an
                     Answer in place of the handler's
    Raises           OSError   it can't listen there
    """

    def __init__(self, hostname, port, server, context=None, names=(), guard=None,
                 connections=CONNECTIONS, streams=STREAMS, seconds=SECONDS):
        self.server = server
        self.seconds = seconds
        self.guard = guard
        self.context = context
        self.requests = 0               # ever, those that were refused too
        self.turned_away = 0            # connections, for there were too many
        self._names = None if names is None else {name.lower() for name in names}
        self._routes = {}               # path -> {method: _Route}
        self._connections = connections
        self._free_streams = threading.Semaphore(streams)
        self._lock = threading.Lock()
        self._conversations = {}        # as keys, the oldest first
        self._stopping = threading.Event()
        self._listener = _listener(hostname, port)
        self.port = self._listener.getsockname()[1]
        self._wake_read, self._wake_write = os.pipe()
        self._thread = threading.Thread(target=self._accept_all, name="meilies-web", daemon=True)

    def route(self, method, path, max_body=MAX_BODY):
        """Have the decorated function answer `method` (a GET's answers HEAD as well) at `path`."""
        def add(handler):
            self._routes.setdefault(path, {})[method] = _Route(handler, max_body)
            return handler
        return add

    def start(self):
        """Begin to answer."""
        self._thread.start()

    def stop(self):
        """End what is under way, and return when every thread has ended.  Stopping twice is nothing."""
        with self._lock:
            if self._stopping.is_set():
                return
            self._stopping.set()
        os.write(self._wake_write, b"\0")
        if self._thread.ident is not None:
            self._thread.join()
        with self._lock:
            conversations = list(self._conversations)
        for one in conversations:
            one.cut_off()
        for one in conversations:
            one.thread.join()
        self._listener.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    @property
    def stopping(self):
        return self._stopping.is_set()

    # -- connections, in the accepting thread --------------------------------

    def _accept_all(self):
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        poll.register(self._wake_read, select.POLLIN)
        while not self.stopping:
            poll.poll()
            try:
                sock, address = self._listener.accept()
            except OSError as error:        # BlockingIOError: it was gone before it was taken
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._stopping.wait(_BACK_OFF)      # it stays readable: this would take all of a core
                continue
            if not self._admitted(_Conversation(self, sock, shown_address(address))):
                self.turned_away += 1
                _turn_away(sock)

    def _admitted(self, conversation):
        """Begin a conversation, if there is room for it."""
        with self._lock:
            oldest = None
            if len(self._conversations) >= self._connections:
                # Who is to make room is gone at once.  Until they are, nobody else is told to, or comes in.
                oldest = self._waiting_longest() if len(self._conversations) < 2 * self._connections else None
                if oldest is None:
                    return False
            self._conversations[conversation] = None
        if oldest:
            oldest.cut_off()
        try:
            conversation.thread.start()
        except RuntimeError as error:       # the system has no more threads
            log.warning("a request isn't answered: %s", error)
            self.forget(conversation)
            return False
        return True

    def _waiting_longest(self):
        """The oldest conversation that isn't a whole request yet and wasn't told to make room; under the lock."""
        for one in self._conversations:
            if one.receiving:
                one.receiving = False
                return one
        return None

    # -- for conversations ---------------------------------------------------

    def received(self, conversation):
        """Its request is whole: it keeps its place until it is answered."""
        with self._lock:
            conversation.receiving = False

    def forget(self, conversation):
        """It has ended."""
        with self._lock:
            self._conversations.pop(conversation, None)

    def route_of(self, request):
        """The _Route of a Request.  Raises Refused."""
        methods = self._routes.get(request.path)
        if methods is None:
            raise Refused(404, "there is nothing here")
        if request.method not in methods:
            allowed = sorted({*methods, "HEAD"} if "GET" in methods else methods)
            raise Refused(405, f"expected {' or '.join(allowed)}", (("Allow", ", ".join(allowed)),))
        return methods[request.method]

    def check_host(self, head):
        """Refuse who asks for another server: the page of another name that now leads here (DNS rebinding)."""
        given = head.headers.get_all("Host") or []
        if len(given) != 1 and (given or head.request_version != "HTTP/1.0"):
            raise Refused(400, f"found {len(given)} Host headers, expected one")
        if given and self._names is not None and not self._is_ours(given[0]):
            raise Refused(421, "the Host header isn't one of this server's names; ask it by its address")

    def _is_ours(self, host):
        match = _HOST.fullmatch(host.strip().lower())
        if match is None:
            return False
        name = match[1]
        if name in self._names or name == "localhost":
            return True
        with contextlib.suppress(ValueError):
            ipaddress.ip_address(name.strip("[]"))
            return True     # nobody's name leads to it
        return False

    @contextlib.contextmanager
    def streaming(self):
        """Have one of the streams.  Raises Refused."""
        if not self._free_streams.acquire(blocking=False):
            raise Refused(503, "too many answers go on already; try again later")
        try:
            yield
        finally:
            self._free_streams.release()


class _Conversation:
    """One connection, its request and its answer, in a thread."""

    def __init__(self, web, sock, peer):
        self.receiving = True           # its request isn't whole; guarded by the web server's lock
        self.thread = threading.Thread(target=self._run, name="meilies-web-request", daemon=True)
        self._web = web
        self._socket = sock
        self._plain = sock              # what `cut_off` shuts down, whatever wraps it
        self._peer = peer
        self._until = 0.0               # time.monotonic() to be done with what is under way
        self._body = b""                # what came of it with the head

    def cut_off(self):
        """Have whatever waits for the client end; in any thread."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._plain, socket.SHUT_RDWR)

    def _run(self):
        try:
            self._allow(self._web.seconds)
            if self._web.context is not None:
                self._shake_hands()
            self._converse()
            self._end_politely()
        except OSError as error:
            log.debug("a request of %s came to nothing: %s", self._peer, error)
        except Exception:
            log.exception("a request of %s failed", self._peer)
        finally:
            self._socket.close()
            self._web.forget(self)

    def _shake_hands(self):
        self._socket.settimeout(self._web.seconds)
        self._socket = self._web.context().wrap_socket(self._socket, server_side=True, do_handshake_on_connect=False)
        self._plain = self._socket
        if self._web.stopping:      # and found nothing to shut down, between these two
            raise ConnectionAbortedError("the server stops")
        self._socket.do_handshake()

    def _converse(self):
        head = None
        try:
            head = _Head(self._receive_head())
            log.debug("%s asks: %s", self._peer, printable(head.raw_requestline.rstrip()))
            answer = self._answer(head, Request(head, self._web.server, self._peer, self._web.context is not None))
        except Refused as refused:
            answer = refused.answer
        self._send_answer(answer, bodiless=head is not None and head.command == "HEAD")

    def _answer(self, head, request):
        web = self._web
        web.check_host(head)
        route = web.route_of(request)
        answer = self._called(web.guard, request) if web.guard is not None else None
        if answer is None:
            request.body = self._receive_body(head, route.max_body)
            web.received(self)
            answer = self._called(route.handler, request)
        return answer

    def _called(self, function, request):
        try:
            return function(request)
        except Refused:
            raise
        except Exception:
            log.exception("%s %s of %s failed", request.method, printable(request.path), self._peer)
            return Answer(500, TEXT, b"an error; the server's log has the details\n")

    # -- in ------------------------------------------------------------------

    def _allow(self, seconds):
        self._until = time.monotonic() + seconds

    def _left(self):
        left = self._until - time.monotonic()
        if left <= 0:
            raise socket.timeout("it takes too long")
        return left

    def _receive(self, size):
        self._socket.settimeout(self._left())
        data = self._socket.recv(size)
        if not data:
            raise ConnectionAbortedError("it ended before its request did")
        return data

    def _receive_head(self):
        data = b""
        while True:
            end = _END.search(data)
            if end:
                self._web.requests += 1
                self._body = data[end.end():]
                return data[:end.end()]
            if len(data) > MAX_HEAD:
                self._web.requests += 1
                if b"\n" in data:
                    raise Refused(431, f"expected no more than {MAX_HEAD} bytes of headers")
                raise Refused(414, f"expected a line of no more than {MAX_HEAD} bytes")
            data += self._receive(MAX_HEAD + 1 - len(data))

    def _receive_body(self, head, limit):
        size = _size_of_body(head)
        if size > limit:
            raise Refused(413, f"found a body of {size} bytes, expected no more than {limit}")
        if head.expects and not self._body:
            self._send(b"HTTP/1.1 100 Continue\r\n\r\n")
        parts = [self._body[:size]]
        missing = size - len(parts[0])
        while missing:
            data = self._receive(min(missing, _PIECE))
            parts.append(data)
            missing -= len(data)
        return b"".join(parts)

    # -- out -----------------------------------------------------------------

    def _send(self, data):
        """Send all of it before the time is up."""
        view = memoryview(data)
        while view:
            self._socket.settimeout(self._left())
            view = view[self._socket.send(view[:_PIECE]):]

    def _send_answer(self, answer, bodiless):
        self._allow(self._web.seconds)
        if isinstance(answer.body, bytes):
            head = _head_of(answer, len(answer.body))
            self._send(head if bodiless else head + answer.body)
            return
        with contextlib.closing(answer.body):
            if bodiless:
                self._send(_head_of(answer))
                return
            try:
                with self._web.streaming():
                    self._stream(answer)
            except Refused as refused:
                self._send_answer(refused.answer, bodiless)

    def _stream(self, answer):
        self._send(_head_of(answer))
        poll = select.poll()
        poll.register(self._plain, _GONE)
        for piece in answer.body:
            self._allow(self._web.seconds)
            self._send(piece)
            if self._web.stopping or poll.poll(0):
                return

    def _end_politely(self):
        """Let the client have its answer although it sent more than was read of it."""
        self._allow(_REST_SECONDS)
        if self._web.context is not None:
            with contextlib.suppress(OSError, ValueError):      # it sent more, or is gone
                self._socket.settimeout(_REST_SECONDS)
                self._socket.unwrap()
        socket.socket.shutdown(self._plain, socket.SHUT_WR)
        read = 0
        while read < _REST:
            self._plain.settimeout(self._left())
            data = socket.socket.recv(self._plain, _PIECE)
            if not data:
                return
            read += len(data)


def _listener(hostname, port):
    found = socket.getaddrinfo(hostname or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = found[0]
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, error.strerror, shown_address(address)) from None
    return listener


def _turn_away(sock):
    try:
        sock.setblocking(False)
        sock.send(_head_of(Answer(503), 0))
    except OSError:
        pass
    sock.close()


def _size_of_body(head):
    """How long it says that its body is.  Raises Refused."""
    if head.headers.get("Transfer-Encoding") is not None:
        raise Refused(501, "expected a body with its Content-Length, without Transfer-Encoding")
    given = head.headers.get_all("Content-Length") or []
    if not given:
        if head.command in ("POST", "PUT", "PATCH"):
            raise Refused(411, "expected a Content-Length")
        return 0
    if len(given) > 1 or not re.fullmatch("[0-9]{1,15}", given[0].strip()):
        raise Refused(400, "expected one Content-Length, a number")
    return int(given[0])


def _head_of(answer, size=None):
    """The status line and the headers."""
    try:
        phrase = HTTPStatus(answer.status).phrase
    except ValueError:
        phrase = ""
    own = {name for name, _ in answer.headers}
    usual = [header for header in _HEADERS if header[0] not in own]
    headers = [("Content-Type", answer.content_type), *usual, *answer.headers]
    if size is not None:
        headers.append(("Content-Length", str(size)))
    lines = [f"HTTP/1.1 {answer.status} {phrase}", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1", "replace")
