"""The servers to compare: start one, ask how it is, stop it.

    Meilies(python), Redis()    with contender.run(folder, sync) as server: …
    Remote(host, port)          runs already, and stays

A server that is started here gets a folder of its own and a free port of the
loopback interface, and is killed at the end: nothing in its folder is to last.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import resp

from . import wire

ROOT = Path(__file__).resolve().parent.parent
# Seconds that a server may take to boot, with a large log, or to stop.
BOOT = 60

# Connections that either server takes, if it may open so many files.
CONNECTIONS = 15_000


class ServerError(Exception):
    """A server doesn't start, end or answer as it should."""


class Meilies:
    """Ours, run by the interpreter at the path `python`."""

    name = "meilies"
    wire = wire.Meilies
    own_process = True
    takes_redis_benchmark = True

    def __init__(self, python):
        self.python = python

    @property
    def version(self):
        text = (ROOT / "server" / "__init__.py").read_text(encoding="utf-8")
        return re.search(r'__version__ = "(.*)"', text).group(1)

    def command(self, folder, port, sync, options=()):
        return [self.python, str(ROOT / "meilies_server.py"), "--db-path", str(folder), "--port", str(port),
                "--sync", sync, "--max-connections", str(CONNECTIONS), "--log-level", "warning", *options]

    @contextmanager
    def run(self, folder, sync, options=()):
        with _run(self, lambda port: self.command(folder, port, sync, options), folder) as server:
            yield server


class Redis:
    """Debian's redis-server, with an append-only file that it doesn't rewrite meanwhile."""

    name = "redis"
    wire = wire.Redis
    own_process = True
    takes_redis_benchmark = True

    @staticmethod
    def is_installed():
        return bool(shutil.which("redis-server") and shutil.which("redis-benchmark"))

    @property
    def version(self):
        text = subprocess.run(["redis-server", "--version"], capture_output=True, check=True).stdout
        return re.search(rb"v=(\S+)", text).group(1).decode()

    @staticmethod
    def command(folder, port, sync):
        return ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder),
                "--save", "", "--appendonly", "yes", "--appendfsync", sync,
                "--auto-aof-rewrite-percentage", "0", "--tcp-backlog", "4096",
                "--maxclients", str(CONNECTIONS), "--client-output-buffer-limit", "pubsub 0 0 0"]

    @contextmanager
    def run(self, folder, sync, options=()):
        """`options` are those of our server, and mean nothing here."""
        with _run(self, lambda port: self.command(folder, port, sync), folder) as server:
            yield server


class Remote:
    """A server that speaks MeiliES's protocol, somewhere; what it syncs when is its own affair."""

    wire = wire.Meilies
    own_process = False
    takes_redis_benchmark = False       # which asks for CONFIG, and MeiliES hangs up
    version = "?"

    def __init__(self, host, port):
        self.name = f"{host}:{port}"
        self.address = (host, port)

    @contextmanager
    def run(self, folder, sync, options=()):
        with socket.create_connection(self.address, timeout=5):
            pass
        yield self

    def counts(self, streams):
        return _counts(self, streams)


@contextmanager
def _run(contender, command, folder):
    folder = Path(folder)
    folder.mkdir(parents=True)
    server = Server(contender, command, folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()


class Server:
    """A server of ours to start and stop, at `address` while it runs."""

    def __init__(self, contender, command, folder):
        self.wire = contender.wire
        self.takes_redis_benchmark = contender.takes_redis_benchmark
        self.folder = folder
        self.address = None
        self._name = contender.name
        self._command = command
        self._log = folder.with_name(folder.name + ".log")
        self._process = None

    def start(self):
        """Start it; return the seconds until it answered."""
        port = _free_port()
        self.address = ("127.0.0.1", port)
        began = time.monotonic()
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(self._command(port), env=_environ(), stdin=subprocess.DEVNULL,
                                             stdout=log, stderr=log)
        while not _answers(self.address):
            if self._process.poll() is not None:
                code = self._process.returncode
                raise ServerError(f"{self._name} ended with code {code}: {self._last_lines()}")
            if time.monotonic() > began + BOOT:
                raise ServerError(f"{self._name} didn't answer within {BOOT} s: {self._last_lines()}")
            time.sleep(0.002)
        return time.monotonic() - began

    def stop(self):
        """End it cleanly."""
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(BOOT)
        except subprocess.TimeoutExpired:
            raise ServerError(f"{self._name} didn't stop within {BOOT} s") from None
        if code:
            raise ServerError(f"{self._name} stopped with code {code}: {self._last_lines()}")

    def kill(self):
        """End it as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def counts(self, streams):
        """How many events each of `streams` has."""
        return _counts(self, streams)

    @property
    def peak(self):
        """The most memory that it ever had, in MiB."""
        return self._status("VmHWM") / 1024

    @property
    def threads(self):
        return self._status("Threads")

    def _status(self, field):
        text = Path(f"/proc/{self._process.pid}/status").read_text(encoding="utf-8")
        return int(re.search(rf"^{field}:\s+(\d+)", text, re.MULTILINE).group(1))

    def _last_lines(self):
        lines = self._log.read_text(errors="backslashreplace").splitlines()
        return " / ".join(lines[-3:]) or "it said nothing"


def folder_state(folder):
    """What changes while a server still works on its files."""
    return sorted((entry.name, entry.stat().st_size) for entry in os.scandir(folder))


def _environ():
    """This process's, without what our server would take for options."""
    return {name: text for name, text in os.environ.items() if not name.startswith(("MEILIES_", "VIGIL_"))}


def _free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def _answers(address):
    """Whether it takes connections and isn't loading any more."""
    try:
        with socket.create_connection(address, timeout=BOOT) as sock:
            sock.sendall(resp.command("PING"))
            return sock.recv(64) == b"+PONG\r\n"
    except OSError:
        return False


def _counts(server, streams):
    parser = resp.Parser()
    found = []
    with socket.create_connection(server.address, timeout=30) as sock:
        for first in range(0, len(streams), 100):
            asked = streams[first:first + 100]
            sock.sendall(b"".join([server.wire.count(stream) for stream in asked]))
            while len(found) < first + len(asked):
                data = sock.recv(1 << 16)
                if not data:
                    raise ServerError("the server hung up while it was asked how much it has")
                parser.feed(data)
                found += [server.wire.counted(value) for value in parser.values()]
    return found
