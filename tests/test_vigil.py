"""The heartbeat, against monitors that answer, refuse, hang and lie."""

import base64
import contextlib
import http.server
import json
import logging
import queue
import socket
import ssl
import threading
import time

import pytest

from server import vigil

SECOND = 1.0  # what `stop` may take


@pytest.fixture
def monitor():
    with Monitor() as running:
        yield running


class Monitor:
    """A Vigil of one page: keeps what it is sent, answers what it is told to."""

    def __init__(self, tls=None):
        self.reports = queue.Queue()
        self.status = 200
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})

    def handler(self):
        monitor = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(monitor.status)
                self.end_headers()
                monitor.reports.put((self.path, self.headers, json.loads(body)))

            def log_message(self, *args):
                pass

        return Handler

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def environ(self, scheme="http", path="", **more):
        return settings(f"{scheme}://127.0.0.1:{self.server.server_port}{path}", **more)

    def report(self):
        return self.reports.get(timeout=5)


def settings(endpoint, **more):
    return {"VIGIL_ENDPOINT": endpoint, "VIGIL_TOKEN": "secret", "VIGIL_PROBE_ID": "relay",
            "VIGIL_NODE_ID": "events", "VIGIL_REPLICA_ID": "10.0.0.7", **more}


@contextlib.contextmanager
def beating(environ, **more):
    """A Heartbeat that runs meanwhile, and that must stop in time."""
    heartbeat = vigil.Heartbeat(environ, **more)
    heartbeat.start()
    try:
        yield heartbeat
    finally:
        began = time.monotonic()
        heartbeat.stop()
        assert time.monotonic() - began < SECOND
        assert "vigil" not in [thread.name for thread in threading.enumerate()]


def logged(caplog, text):
    """Wait until the log has a line with `text`."""
    deadline = threading.Event()
    for _ in range(500):
        if text in caplog.text:
            return caplog.text
        deadline.wait(0.01)
    raise AssertionError(f"{text!r} wasn't logged, but {caplog.text!r}")


# -- what is sent -------------------------------------------------------------

def test_a_report_has_the_form_that_vigil_documents(monitor):
    with beating(monitor.environ()):
        path, headers, body = monitor.report()
    assert path == "/reporter/relay/events/"
    assert headers["Content-Type"] == "application/json; charset=utf-8"
    kind, password = headers["Authorization"].split()
    assert (kind, base64.b64decode(password)) == ("Basic", b":secret")
    load = body.pop("load")
    assert body == {"replica": "10.0.0.7", "interval": 30}
    assert sorted(load) == ["cpu", "ram"]
    assert load["cpu"] >= 0
    assert 0 < load["ram"] < 1


def test_reports_follow_one_another(monitor):
    with beating(monitor.environ(), interval=0.01):
        bodies = [monitor.report()[2] for _ in range(3)]
    assert [body["interval"] for body in bodies] == [0.01] * 3


def test_the_endpoint_may_have_a_path_and_names_any_character(monitor):
    with beating(monitor.environ(path="/status/", VIGIL_PROBE_ID="a/b c", VIGIL_NODE_ID="é")):
        assert monitor.report()[0] == "/status/reporter/a%2Fb%20c/%C3%A9/"


def test_reports_go_over_tls_to_https(monkeypatch):
    # Without a certificate: the client's own check of it is Python's, and not tested here.
    server, client = (ssl.SSLContext(side) for side in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT))
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    for context in (server, client):
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("aNULL:@SECLEVEL=0")
    monkeypatch.setattr(ssl, "create_default_context", lambda: client)
    with Monitor(tls=server) as monitor, beating(monitor.environ("https")):
        assert monitor.report()[0] == "/reporter/relay/events/"


def test_a_monitor_without_a_certificate_is_refused(caplog):
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.set_ciphers("aNULL:@SECLEVEL=0")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        with beating(settings(f"https://127.0.0.1:{listening.getsockname()[1]}")):
            with listening.accept()[0] as peer, contextlib.suppress(OSError):
                server.wrap_socket(peer, server_side=True).close()
            logged(caplog, "heartbeat to Vigil failed")


# -- when it is not started ---------------------------------------------------

def test_without_the_variables_nothing_is_started_or_said(caplog):
    with beating({}) as heartbeat:
        assert heartbeat._thread is None
    assert [record.levelno for record in caplog.records if record.levelno > logging.DEBUG] == []


def test_with_some_of_the_variables_the_missing_ones_are_named_once(caplog):
    with beating(settings("http://127.0.0.1:1", VIGIL_TOKEN="", VIGIL_NODE_ID="")) as heartbeat:
        assert heartbeat._thread is None
    assert [record.getMessage() for record in caplog.records] == [
        "no heartbeat is sent to Vigil: VIGIL_TOKEN, VIGIL_NODE_ID not set"]


@pytest.mark.parametrize("endpoint", [
    "status.example.com", "ftp://127.0.0.1", "http://", "http://[", "http://x:y", "http://x:0", "http://x:70000"])
def test_an_endpoint_that_is_no_url_is_named_once(endpoint, caplog):
    with beating(settings(endpoint)) as heartbeat:
        assert heartbeat._thread is None
    assert [record.getMessage() for record in caplog.records] == [
        f"no heartbeat is sent to Vigil: VIGIL_ENDPOINT is {endpoint!r}, expected a URL "
        "such as https://status.example.com"]


# -- monitors that fail -------------------------------------------------------

def test_a_refused_report_is_logged_and_tried_again(monitor, caplog):
    monitor.status = 401
    with beating(monitor.environ(), interval=0.01):
        for _ in range(3):
            monitor.report()
        logged(caplog, "it answered 401 Unauthorized, expected 200")


def test_failures_are_logged_once_in_a_while_and_so_is_their_end(monitor, caplog):
    caplog.set_level(logging.INFO)
    clock = iter([0, 1, vigil.SILENCE - 1, vigil.SILENCE, vigil.SILENCE + 1])
    heartbeat = vigil.Heartbeat(monitor.environ(), clock=lambda: next(clock))
    for _ in range(5):
        heartbeat._failed(ConnectionRefusedError("no"))
    heartbeat._succeeded()
    heartbeat._succeeded()
    assert [record.getMessage() for record in caplog.records] == [
        "heartbeat to Vigil failed (1 times so far): no; tried again every 30 s",
        "heartbeat to Vigil failed (4 times so far): no; tried again every 30 s",
        "heartbeat to Vigil works again after 5 failures"]


def test_a_monitor_that_comes_back_gets_reports_again(monitor, caplog):
    caplog.set_level(logging.INFO)
    monitor.status = 503
    with beating(monitor.environ(), interval=0.01):
        logged(caplog, "it answered 503")
        monitor.status = 200
        logged(caplog, "works again")


def test_a_monitor_that_is_not_there_is_one_line(caplog):
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with beating(settings(f"http://127.0.0.1:{port}"), interval=0.01) as heartbeat:
        logged(caplog, "Connection refused")
        failures = heartbeat._failures
        while heartbeat._failures < failures + 3:
            heartbeat._stopped.wait(0.01)
    assert len(caplog.records) == 1


def test_a_monitor_that_does_not_speak_http_is_one_line(caplog):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        with beating(settings(f"http://127.0.0.1:{listening.getsockname()[1]}")):
            with listening.accept()[0] as peer:
                peer.sendall(b"+PONG\x1b[2J\r\n")
                logged(caplog, r"heartbeat to Vigil failed (1 times so far): +PONG\x1b[2J;")


def test_a_monitor_that_never_answers_is_given_up_after_the_timeout(caplog):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        with beating(settings(f"http://127.0.0.1:{listening.getsockname()[1]}"), timeout=0.05):
            with listening.accept()[0]:
                logged(caplog, "timed out")


# -- stop, wherever the thread is ---------------------------------------------

def test_stop_ends_a_report_that_is_never_answered(caplog):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        with beating(settings(f"http://127.0.0.1:{listening.getsockname()[1]}")):
            peer = listening.accept()[0]
            assert peer.recv(4) == b"POST"
        peer.close()
    assert caplog.records == []


def test_stop_ends_a_handshake_that_is_never_answered():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        with beating(settings(f"https://127.0.0.1:{listening.getsockname()[1]}")):
            peer = listening.accept()[0]
            assert peer.recv(1) == b"\x16"
        peer.close()


def test_stop_ends_a_connection_that_is_never_accepted():
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.socket() as first:
        first.connect(full.getsockname())
        with beating(settings(f"http://127.0.0.1:{full.getsockname()[1]}")) as heartbeat:
            while heartbeat._socket is None:
                heartbeat._stopped.wait(0.01)


def test_a_report_that_begins_after_stop_is_not_sent():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        heartbeat = vigil.Heartbeat(settings(f"http://127.0.0.1:{listening.getsockname()[1]}"))
        heartbeat.stop()
        with pytest.raises(ConnectionAbortedError):
            heartbeat._report()


def test_stop_does_not_wait_for_a_name_that_is_never_resolved(monkeypatch):
    asked, answer = threading.Event(), threading.Event()

    def resolve(*args, **named):
        asked.set()
        answer.wait(10)
        raise socket.gaierror("late")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    heartbeat = vigil.Heartbeat(settings("http://status.example.com"))
    heartbeat.start()
    assert asked.wait(5)
    began = time.monotonic()
    heartbeat.stop()
    assert time.monotonic() - began < SECOND
    answer.set()
    heartbeat._thread.join()


def test_every_address_of_the_monitor_is_tried(monitor, monkeypatch):
    real = socket.getaddrinfo
    with socket.create_server(("127.0.0.1", 0)) as unused:
        closed = unused.getsockname()

    def resolve(host, port, **named):
        (family, kind, protocol, name, address), = real(host, port, **named)
        return [(family, kind, protocol, name, closed), (family, kind, protocol, name, address)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with beating(monitor.environ()):
        assert monitor.report()[0] == "/reporter/relay/events/"


# -- load ---------------------------------------------------------------------

def test_the_load_of_a_system_that_does_not_tell_is_zero(monkeypatch, tmp_path):
    def unknown():
        raise OSError
    monkeypatch.setattr(vigil.os, "getloadavg", unknown)
    assert vigil.cpu_load() == 0
    assert vigil.ram_load(tmp_path / "missing") == 0


@pytest.mark.parametrize("text, load", [
    ("MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable: 250 kB\n", 0.75),
    ("MemTotal: 0 kB\nMemAvailable: 0 kB\n", 0),
    ("MemTotal: 1 kB\n", 0), ("MemTotal:\n", 0), ("MemTotal: x\n", 0)])
def test_the_load_of_memory_is_what_is_not_available(text, load, tmp_path):
    path = tmp_path / "meminfo"
    path.write_text(text)
    assert vigil.ram_load(path) == load


# -- in the server ------------------------------------------------------------

def test_a_server_reports_while_it_runs(monitor, server):
    server(**monitor.environ())
    assert monitor.report()[0] == "/reporter/relay/events/"


def test_a_server_reports_nothing_with_no_vigil(monitor, server):
    running = server("--no-vigil", **monitor.environ())
    assert running.stop() == 0
    assert monitor.reports.empty()
