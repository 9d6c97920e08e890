"""The HTTP server beside the event server: what it answers, and what it bears."""

import contextlib
import errno
import socket
import ssl
import subprocess
import threading

import pytest
from conftest import SECONDS
from serving import eventually

from server import web
from server.web import MAX_BODY, MAX_FIELDS, MAX_HEAD, Answer, Refused, WebServer

SERVER = object()       # what stands for the Poller


@pytest.fixture
def serve():
    """Start web servers with a few routes: serve(**options) -> WebServer.  Stopped when the test ends."""
    started = []

    def start(**options):
        one = WebServer("127.0.0.1", 0, SERVER, **options)
        one.route("GET", "/hello")(lambda request: Answer(body=b"hello\n"))
        one.route("POST", "/echo")(lambda request: Answer(201, "application/octet-stream", request.body))
        one.route("POST", "/small", max_body=10)(lambda request: Answer(body=request.body))
        one.start()
        started.append(one)
        return one

    yield start
    for one in started:
        one.stop()


class Talk:
    """A connection to a web server; a context manager."""

    def __init__(self, server, sock=None):
        self.sock = sock or socket.create_connection(("127.0.0.1", server.port), timeout=SECONDS)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.sock.close()

    def answer(self):
        """(status, {name in lower case: value}, body) of all that comes until the end."""
        data = b""
        with contextlib.suppress(ConnectionResetError):
            while True:
                more = self.sock.recv(1 << 16)
                if not more:
                    break
                data += more
        head, _, body = data.partition(b"\r\n\r\n")
        status, *headers = head.decode().split("\r\n")
        assert status.startswith("HTTP/1.1 "), f"found {data[:100]!r}"
        return int(status.split()[1]), {line.split(": ")[0].lower(): line.split(": ", 1)[1] for line in headers}, body


def ask(server, request):
    """The answer to bytes, or to the request line of a GET."""
    if isinstance(request, str):
        request = f"{request} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    with Talk(server) as talk:
        talk.sock.sendall(request)
        return talk.answer()


def status(server, request):
    return ask(server, request)[0]


def post(body, path="/echo", headers=()):
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


# -- answers ------------------------------------------------------------------

def test_a_route_is_answered_by_its_handler_and_the_connection_closed(serve):
    code, headers, body = ask(serve(), "GET /hello")
    assert (code, body) == (200, b"hello\n")
    assert (headers["content-length"], headers["connection"]) == ("6", "close")
    assert headers["content-type"] == "text/plain; charset=utf-8"


def test_every_answer_tells_browsers_to_trust_nothing_from_elsewhere(serve):
    server = serve()
    for path in ("/hello", "/nowhere"):
        headers = ask(server, f"GET {path}")[1]
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")
        assert "server" not in headers


def test_head_is_get_without_the_body(serve):
    code, headers, body = ask(serve(), "HEAD /hello")
    assert (code, headers["content-length"], body) == (200, "6", b"")


def test_a_handler_gets_path_query_headers_and_body_decoded(serve):
    server, found = serve(), []

    @server.route("POST", "/a b")
    def look(request):
        found.append(request)
        return Answer(204)

    assert status(server, post(b"\0\xff", "/a%20b?x=1&x=2&y=&z=%C3%BC+%ff", ["X-Token: t"])) == 204
    request, = found
    assert (request.method, request.path, request.body) == ("POST", "/a b", b"\0\xff")
    assert request.query == {"x": "2", "y": "", "z": "\u00fc \ufffd"}
    assert (request.headers.get("x-token"), request.user, request.secure) == ("t", None, False)
    assert request.server is SERVER
    assert request.peer.startswith("127.0.0.1:")


def test_what_a_handler_refuses_is_answered_in_its_words(serve):
    server = serve()

    @server.route("GET", "/no")
    def no(request):
        raise Refused(403, "not for you", (("X-Why", "because"),))

    code, headers, body = ask(server, "GET /no")
    assert (code, headers["x-why"], body) == (403, "because", b"not for you\n")


def test_an_error_of_a_handler_is_logged_and_not_told(serve, caplog):
    server = serve()
    server.route("GET", "/broken")(lambda request: 1 // 0)
    code, _, body = ask(server, "GET /broken")
    assert (code, b"ZeroDivision" in body) == (500, False)
    assert "ZeroDivisionError" in caplog.text
    assert status(server, "GET /hello") == 200


def test_a_guard_sees_a_request_first_and_may_answer_it(serve):
    def guard(request):
        request.user = request.query.get("user")
        return None if request.user else Answer(401, body=b"who?\n")

    server = serve(guard=guard)
    server.route("GET", "/me")(lambda request: Answer(body=request.user.encode()))
    assert ask(server, "GET /me")[::2] == (401, b"who?\n")
    assert ask(server, "GET /me?user=ann")[::2] == (200, b"ann")


def test_a_body_is_not_waited_for_where_the_guard_says_no(serve):
    server = serve(guard=lambda request: Answer(401))
    with Talk(server) as talk:
        talk.sock.sendall(b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")
        talk.sock.shutdown(socket.SHUT_WR)
        assert talk.answer()[0] == 401


# -- what isn't a request -------------------------------------------------------

@pytest.mark.parametrize("expected, request_line", [
    (404, "GET /nowhere"), (404, "GET /hello/"), (405, "POST /hello"), (405, "DELETE /hello"), (405, "OPTIONS /hello"),
    (405, "GET /echo"), (400, "GET http://localhost/hello"), (400, "GET *"), (505, "GET"), (400, "GET /hello x"),
    (404, "GET //["), (404, "GET /%00%ff"), (400, "\xff\xfe"), (400, "GET /hello?" + "a=1&" * MAX_FIELDS + "b=2"),
    (411, "POST /echo"), (414, "GET /" + "a" * MAX_HEAD)])
def test_a_request_that_cannot_be_is_answered_with_what_is_wrong(serve, expected, request_line):
    assert status(serve(), request_line) == expected


@pytest.mark.parametrize("expected, request_bytes", [
    (400, b"\r\n\r\n"), (400, b"*1\r\n$4\r\nping\r\n\r\n"), (505, b"GET /hello\r\n\r\n"),
    (505, b"GET /hello HTTP/2.0\r\nHost: localhost\r\n\r\n"), (400, b"GET /hello HTTP/x\r\nHost: localhost\r\n\r\n"),
    (505, b"GET /hello HTTP/1.7\r\nHost: localhost\r\n\r\n"), (400, b"PRI * HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    (431, b"GET /hello HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * MAX_HEAD + b"\r\n\r\n"),
    (431, b"GET /hello HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n"),
    (414, b"a" * (MAX_HEAD + 1)), (200, b"GET /hello HTTP/1.1\nHost: localhost\n\n"),
    (200, b"GET /hello HTTP/1.0\r\n\r\n"), (400, b"GET /hello HTTP/1.1\r\n\r\n"),
    (400, b"GET /hello HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n")])
def test_bytes_that_are_no_request_are_answered_with_what_is_wrong(serve, expected, request_bytes):
    assert status(serve(), request_bytes) == expected


def test_a_method_that_is_not_served_is_told_which_are(serve):
    assert ask(serve(), "POST /hello")[1]["allow"] == "GET, HEAD"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "localhost.evil.example", "127.0.0.1.evil.example",
                                  "[evil]", "", "[::1", "localhost:x"])
def test_a_host_that_may_be_another_site_is_refused(serve, host):
    assert status(serve(), f"GET /hello HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()) == 421


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "10.0.0.7", "[::1]:80", "Events:9100"])
def test_addresses_localhost_and_its_own_names_are_its_hosts(serve, host):
    assert status(serve(names=["events"]), f"GET /hello HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()) == 200


def test_any_host_will_do_where_names_are_not_checked(serve):
    assert status(serve(names=None), b"GET /hello HTTP/1.1\r\nHost: x.example\r\n\r\n") == 200


# -- bodies ---------------------------------------------------------------------

def test_a_body_comes_whole_in_whatever_pieces_it_is_sent(serve):
    body = bytes(range(256)) * 2000
    with Talk(serve()) as talk:
        data = post(body)
        for i in range(0, len(data), 99_999):
            talk.sock.sendall(data[i:i + 99_999])
        assert talk.answer()[::2] == (201, body)


def test_a_body_that_is_announced_too_long_is_refused_before_it_comes(serve):
    server = serve()
    assert status(server, post(b"", headers=[f"Content-Length: {MAX_BODY + 1}"])) == 400
    request = f"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: {MAX_BODY + 1}\r\n\r\n".encode()
    assert status(server, request) == 413
    assert status(server, post(b"01234567890", "/small")) == 413
    assert status(server, post(b"0123456789", "/small")) == 200


def test_an_answer_arrives_although_more_was_sent_than_is_read(serve):
    server = serve()
    assert ask(server, post(b"x" * 300_000, "/small"))[0] == 413
    assert ask(server, b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1000)[::2] == (200, b"hello\n")


def test_of_a_body_that_is_longer_than_announced_the_rest_is_passed_over(serve):
    request = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabcGET /hello HTTP/1.1\r\n\r\n"
    assert ask(serve(), request)[::2] == (201, b"abc")


def test_a_body_that_is_shorter_than_announced_ends_with_its_client(serve, caplog):
    server = serve()
    with Talk(server) as talk:
        talk.sock.sendall(b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc")
        talk.sock.shutdown(socket.SHUT_WR)
        assert talk.sock.recv(100) == b""
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("expected, header", [
    (400, "Content-Length: -1"), (400, "Content-Length: 1_0"), (400, "Content-Length: 1\r\nContent-Length: 1"),
    (400, "Content-Length: x"), (400, "Content-Length: " + "9" * 500), (501, "Transfer-Encoding: chunked")])
def test_a_length_that_is_none_is_refused(serve, expected, header):
    assert status(serve(), f"POST /echo HTTP/1.1\r\nHost: localhost\r\n{header}\r\n\r\n".encode()) == expected


def test_who_waits_to_be_told_is_told_to_send_its_body(serve):
    with Talk(serve()) as talk:
        talk.sock.sendall(post(b"ok", headers=["Expect: 100-continue"])[:-2])
        assert talk.sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        talk.sock.sendall(b"ok")
        assert talk.answer()[::2] == (201, b"ok")


# -- answers that go on -----------------------------------------------------------

def events(stopped, pieces=(b"data: 1\n\n", b"", b"data: 2\n\n")):
    """A handler whose answer goes on until `stopped` is set, or its client has gone, which sets it."""
    def handler(request):
        def body():
            try:
                yield from pieces
                while not stopped.wait(0.01):
                    yield b""
            finally:
                stopped.set()
        return Answer(200, "text/event-stream", body())
    return handler


def test_pieces_are_sent_as_they_come_without_a_length(serve):
    server, stopped = serve(), threading.Event()
    server.route("GET", "/events")(events(stopped))
    with Talk(server) as talk:
        talk.sock.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        data = b""
        while not data.endswith(b"data: 2\n\n"):
            data += talk.sock.recv(1000)
        assert data.split(b"\r\n\r\n", 1)[1] == b"data: 1\n\ndata: 2\n\n"
        assert b"Content-Length" not in data
        assert not stopped.is_set()
    assert stopped.wait(SECONDS), "it goes on although its client is gone"


def test_an_answer_that_ends_ends_its_connection(serve):
    server = serve()
    server.route("GET", "/some")(lambda request: Answer(body=(piece for piece in (b"a", b"", b"b"))))
    assert ask(server, "GET /some")[::2] == (200, b"ab")
    assert ask(server, "HEAD /some")[::2] == (200, b"")


def test_answers_that_go_on_are_bounded_by_themselves(serve):
    server, stopped = serve(streams=1), threading.Event()
    server.route("GET", "/events")(events(stopped))
    with Talk(server) as talk:
        talk.sock.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert talk.sock.recv(100)
        assert status(server, "GET /events") == 503
        assert status(server, "GET /hello") == 200
    assert stopped.wait(SECONDS)


def test_stopping_ends_what_goes_on_and_what_waits(serve):
    server, stopped = serve(), threading.Event()
    server.route("GET", "/events")(events(stopped))
    with Talk(server) as streaming, Talk(server) as silent, Talk(server) as slow:
        streaming.sock.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        slow.sock.sendall(b"GET /hello HTT")
        assert streaming.sock.recv(100)
        server.stop()
        server.stop()
        assert stopped.is_set()
        for talk in (silent, slow):
            with contextlib.suppress(ConnectionResetError):
                assert talk.sock.recv(100) == b""
    with pytest.raises(OSError):
        Talk(server)


def test_a_server_that_was_never_started_stops():
    WebServer("127.0.0.1", 0, SERVER).stop()


# -- bounds -------------------------------------------------------------------------

def test_silent_clients_make_room_for_those_who_ask(serve):
    server = serve(connections=4)
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(Talk(server)) for _ in range(50)]
        # Who is to make room is told at once, and may take a moment to go.
        eventually(lambda: status(server, "GET /hello") == 200, "room for one who asks")
        assert silent[0].sock.recv(100) == b""      # the first of them, for one


def test_who_comes_while_all_are_answered_is_turned_away(serve):
    server, gate, waiting = serve(connections=2), threading.Event(), threading.Semaphore(0)

    @server.route("GET", "/slow")
    def slow(request):
        waiting.release()
        assert gate.wait(SECONDS)
        return Answer(body=b"done")

    with Talk(server) as one, Talk(server) as two:
        for talk in (one, two):
            talk.sock.sendall(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert waiting.acquire(timeout=SECONDS)
        with Talk(server) as other:
            assert other.answer()[0] == 503
        gate.set()
        assert [talk.answer()[0] for talk in (one, two)] == [200, 200]
    assert server.turned_away == 1


def test_a_request_has_so_many_seconds_to_arrive_however_it_trickles(serve):
    server = serve(seconds=0.2)
    with Talk(server) as talk, Talk(server) as silent:
        with contextlib.suppress(ConnectionError):
            while True:             # a byte now and then, which would keep a time-out for each receive away
                talk.sock.sendall(b"a")
                talk.sock.settimeout(0.05)
                with contextlib.suppress(socket.timeout):
                    assert talk.sock.recv(100) == b""
                    break
        assert silent.sock.recv(100) == b""


def test_who_does_not_take_its_answer_is_cut_off(serve):
    server = serve(seconds=0.2)
    server.route("GET", "/big")(lambda request: Answer(body=bytes(64 << 20)))
    with Talk(server) as talk:
        talk.sock.sendall(b"GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n")
        eventually(lambda: server.requests, "the request")
        eventually(lambda: not server._conversations, "its end")
        with contextlib.suppress(ConnectionResetError):
            while talk.sock.recv(1 << 20):
                pass


def test_a_client_that_goes_away_at_once_is_no_error(serve, caplog):
    server = serve()
    for data in (b"", b"GET", b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n"):
        with Talk(server) as talk:
            talk.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            talk.sock.sendall(data)
    assert status(server, "GET /hello") == 200
    assert not [record for record in caplog.records if record.levelname != "DEBUG"]


def test_no_descriptor_is_no_reason_to_spin_or_to_end(serve, monkeypatch):
    server, tries = serve(), []

    class Full:
        def accept(self):
            tries.append(1)
            raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(web, "_BACK_OFF", 0.05)
    listener, server._listener = server._listener, Full()
    with Talk(server) as talk:
        talk.sock.sendall(b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n")
        eventually(lambda: len(tries) > 2, "a second try")
        server._listener = listener
        assert talk.answer()[0] == 200
    assert len(tries) < 200


def test_no_thread_is_no_reason_to_end(serve, monkeypatch, caplog):
    server = serve()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", _no_thread)
        assert status(server, "GET /hello") == 503
    assert "can't start new thread" in caplog.text
    assert status(server, "GET /hello") == 200


def _no_thread(self):
    raise RuntimeError("can't start new thread")


def test_an_address_that_is_taken_is_named(serve):
    server = serve()
    with pytest.raises(OSError, match=f"127.0.0.1:{server.port}"):
        WebServer("127.0.0.1", server.port, SERVER)


# -- TLS ----------------------------------------------------------------------------

@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A file with a key and its certificate."""
    folder = tmp_path_factory.mktemp("certificate")
    made = subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out",
                           "certificate.pem", "-days", "2", "-subj", "/CN=localhost", "-addext",
                           "subjectAltName=DNS:localhost"], cwd=folder, capture_output=True, check=False)
    assert made.returncode == 0, made.stderr.decode()
    whole = folder / "whole.pem"
    whole.write_bytes((folder / "key.pem").read_bytes() + (folder / "certificate.pem").read_bytes())
    return whole


def test_it_speaks_tls_with_the_context_of_the_moment(serve, certificate, caplog):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = serve(context=lambda: context, seconds=5)
    server.route("GET", "/secure")(lambda request: Answer(body=str(request.secure).encode()))
    client = ssl.create_default_context(cafile=certificate)
    sock = socket.create_connection(("127.0.0.1", server.port), timeout=SECONDS)
    with Talk(server), Talk(server, client.wrap_socket(sock, server_hostname="localhost")) as talk:
        talk.sock.sendall(b"GET /secure HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert talk.answer()[::2] == (200, b"True")
    with Talk(server) as plain:
        plain.sock.sendall(b"GET /secure HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            while plain.sock.recv(100):
                pass
    assert "Traceback" not in caplog.text
