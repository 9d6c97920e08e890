"""What tests of whole programs share: a server as a process, and a connection to it.

    def test_something(server, connect):
        running = server("--sync", "no")        # meilies_server.py on a free port, until the test ends
        peer = connect(running.port)
        peer.send(b"*1\\r\\n$4\\r\\nping\\r\\n")
        peer.recv_exactly(b"+PONG\\r\\n")

A server must end cleanly when its test does, and may not have written a
traceback, nor may Python have warned of something that it left open.
"""

import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import settings

import resp

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 10  # for whatever should take none

# What Python then writes to stderr: warnings of what was left open, and all stacks on SIGABRT.
WATCHED = ("-X", "faulthandler", "-W", "default::ResourceWarning")
COMPLAINTS = ("Traceback", "ResourceWarning", "Exception ignored", "Fatal Python error")

# How long an example takes says more about the machine than about the code.  Examples are the same in each run, so
# that what they cover is; `pytest --hypothesis-profile searching` draws others.
settings.register_profile("searching", parent=settings.default, deadline=None)
settings.register_profile("steady", parent=settings.get_profile("searching"), derandomize=True, database=None)
settings.load_profile("steady")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """Show what isn't UTF-8 in a test's output escaped: a process that runs tests can't hand it on as it is."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report


@pytest.fixture(autouse=True)
def no_thread_outlives_its_test():
    """Set up first and torn down last, so that fixtures' own threads count as well."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(1)
        assert not thread.is_alive(), f"{thread.name} still runs"


@pytest.fixture
def serving(tmp_path):
    """A server in this process."""
    from serving import Serving     # which stands on this file

    with Serving(tmp_path / "db") as serving:
        yield serving


@pytest.fixture
def client(serving):
    """A client of it."""
    return serving.connect()


@pytest.fixture
def server(tmp_path, request):
    """Start servers on free ports: server(*argv, **environ) -> Server.

    A test that is marked `unmeasured` tells how fast or how lean a server is:
    its servers run without coverage, which would slow them down several times.
    """
    started = []
    unmeasured = UNMEASURED if request.node.get_closest_marker("unmeasured") else {}

    def start(*argv, **environ):
        environ = {**unmeasured, **environ}
        directory = tmp_path / "db"
        log = tmp_path / f"server-{len(started)}.log"
        started.append(Server(["--db-path", str(directory), "--port", "0", *argv], environ, log))
        return started[-1].wait_until_listening()

    yield start
    for running in started:
        running.end()


@pytest.fixture
def connect():
    """Connect to servers: connect(port) -> Peer.  Closed when the test ends."""
    peers = []

    def start(port, host="127.0.0.1"):
        peers.append(Peer(host, port))
        return peers[-1]

    yield start
    for peer in peers:
        peer.close()


# For a child process: what makes coverage measure it is taken out of its environment.
UNMEASURED = {"COVERAGE_PROCESS_CONFIG": None, "COVERAGE_PROCESS_START": None}


def clean_environ(**more):
    """This process's environment without what the programs would read from it; None takes a variable out."""
    prefixes = ("MEILIES_", "VIGIL_", "NOTIFY_", "WATCHDOG_")
    inherited = {name: text for name, text in os.environ.items() if not name.startswith(prefixes)}
    return {name: text for name, text in {**inherited, **more}.items() if text is not None}


class Server:
    """meilies_server.py as a process.

    port      where it listens; None if the first that it says is no port
    process   the subprocess.Popen
    log       the file that its stderr goes to
    """

    def __init__(self, argv, environ, log, script=ROOT / "meilies_server.py", python=()):
        self.log = log
        self.port = None
        with open(log, "wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, *WATCHED, *python, str(script), *argv], cwd=log.parent,
                env=clean_environ(**environ), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr)

    def wait_until_listening(self):
        where = self.next_listener()
        self.port = int(where.rpartition(":")[2]) if ":" in where else None
        return self

    def next_listener(self):
        """What its next line on stdout says where it listens."""
        line = self._line()
        says, words, where = line.partition("server is listening on ")
        assert words and not says, f"found {line!r}; {self.complaint()}"
        return where

    def console_url(self):
        """What its next line on stdout says where its console is."""
        line = self._line()
        says, words, where = line.partition("console is at ")
        assert words and not says, f"found {line!r}; {self.complaint()}"
        return where

    def stop(self):
        """Ask it to stop, as systemd does, and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def kill(self):
        """End it as a crash would."""
        self.process.kill()
        self.process.wait()

    def wait(self):
        """Return its exit code; fail with the stacks of its threads if it doesn't end."""
        try:
            return self.process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)
            self.process.wait()
            raise AssertionError(f"the server did not end; {self.complaint()}") from None

    def complaint(self):
        return f"its log:\n{self.log.read_text(errors='backslashreplace')}"

    def end(self):
        """Stop it if it still runs, and check how it did."""
        running = self.process.poll() is None
        try:
            code = self.stop()
        finally:
            self.process.stdout.close()
        text = self.log.read_text(errors="backslashreplace")
        assert not [word for word in COMPLAINTS if word in text], self.complaint()
        assert code == 0 or not running, f"exit code {code}; {self.complaint()}"

    def _line(self):
        """Its next line on stdout, or what there is of one when it ends or time is up."""
        line = b""
        until = time.monotonic() + SECONDS
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, until - time.monotonic()))
            more = os.read(self.process.stdout.fileno(), 1) if ready else b""
            if not more:
                break
            line += more
        return line.decode("utf-8", "backslashreplace").rstrip("\n")


class Peer:
    """A client's end of a connection, which knows bytes and no more; over TLS, if it gets an ssl.SSLContext."""

    def __init__(self, host, port, tls=None):
        self.sock = socket.create_connection((host, port), timeout=SECONDS)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.sock = tls.wrap_socket(self.sock, server_hostname="localhost")

    def send(self, data):
        self.sock.sendall(data)

    def command(self, *arguments):
        """Send one request: str, bytes and int arguments."""
        self.send(resp.command(*arguments))

    def recv_exactly(self, expected):
        """Fail unless the next bytes to come are `expected`."""
        found = b""
        while found != expected:
            try:
                more = self.sock.recv(len(expected) - len(found))
            except socket.timeout:
                more = b""
            found += more
            assert more and expected.startswith(found), f"found {found!r}, expected {expected!r}"

    def recv_nothing(self):
        """Fail unless everything that was to come has come: the next bytes answer a ping."""
        self.send(b"*1\r\n$4\r\nping\r\n")
        self.recv_exactly(b"+PONG\r\n")

    def recv_end(self):
        """Fail unless the server closes the connection now."""
        try:
            found = self.sock.recv(4096)
        except ConnectionResetError:
            found = b""
        assert found == b"", f"found {found!r}, expected the end"

    def close(self):
        self.sock.close()
