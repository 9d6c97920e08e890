"""A heartbeat for the status page Vigil, sent while the server runs.

    every 30 seconds:   POST VIGIL_ENDPOINT/reporter/VIGIL_PROBE_ID/VIGIL_NODE_ID/
                        Authorization: Basic, no user, the password is VIGIL_TOKEN
                        {"replica": VIGIL_REPLICA_ID, "interval": 30,
                         "load": {"cpu": 0.30, "ram": 0.80}}

Vigil shows the replica as dead when the reports stop.  Nothing here may harm
the server: a monitor that is away, slow or wrong costs a line in the log.
"""

import base64
import contextlib
import http.client
import json
import logging
import os
import socket
import ssl
import threading
import time
from urllib.parse import quote, urlsplit

from server.text import printable

VARIABLES = ("VIGIL_ENDPOINT", "VIGIL_TOKEN", "VIGIL_PROBE_ID", "VIGIL_NODE_ID", "VIGIL_REPLICA_ID")

# Seconds.  The first two are those of Vigil's own reporters.
INTERVAL = 30
TIMEOUT = 10
SILENCE = 3600  # between two lines in the log about a monitor that stays away
LAST_WAIT = 0.7  # of `stop` for the thread

log = logging.getLogger("meilies.vigil")


class Heartbeat:
    """One thread that reports, owned by whoever calls `start` and `stop`.

    environ    where the VIGIL_ variables are; all must be set, or nothing is sent
    interval   seconds between two reports
    timeout    seconds that the monitor may take for each step of one
    """

    def __init__(self, environ, interval=INTERVAL, timeout=TIMEOUT, clock=time.monotonic):
        self._settings = {name: environ.get(name, "") for name in VARIABLES}
        self._interval = interval
        self._timeout = timeout
        self._clock = clock
        self._failures = 0
        self._quiet_until = None
        self._stopped = threading.Event()
        self._lock = threading.Lock()  # guards _socket; never held while anything blocks
        self._socket = None
        self._thread = None

    def start(self):
        """Begin to report, or log why not."""
        problem, level = self._problem()
        if problem:
            log.log(level, "no heartbeat is sent to Vigil: %s", problem)
            return
        # Resolving a name can't be interrupted.  As a daemon, a thread that is stuck in that
        # holds up neither stop() nor the end of the process.
        self._thread = threading.Thread(target=self._run, name="vigil", daemon=True)
        self._thread.start()

    def stop(self):
        """End the thread, within a second even if the monitor hangs."""
        self._stopped.set()
        with self._lock:
            if self._socket is not None:
                _shut_down(self._socket)
        if self._thread is not None:
            self._thread.join(LAST_WAIT)

    def _problem(self):
        missing = [name for name in VARIABLES if not self._settings[name]]
        if missing:
            # None of them is the ordinary case; some of them is a mistake.
            level = logging.DEBUG if len(missing) == len(VARIABLES) else logging.WARNING
            return f"{', '.join(missing)} not set", level
        endpoint = self._settings["VIGIL_ENDPOINT"]
        try:
            url = urlsplit(endpoint)
            if url.scheme in ("http", "https") and url.hostname and url.port != 0:
                return None, None
        except ValueError:
            pass
        return (f"VIGIL_ENDPOINT is {endpoint!r}, expected a URL such as https://status.example.com",
                logging.WARNING)

    def _run(self):
        while not self._stopped.is_set():
            try:
                self._report()
            except (OSError, ValueError, http.client.HTTPException) as error:
                self._failed(error)
            else:
                self._succeeded()
            self._stopped.wait(self._interval)

    def _failed(self, error):
        if self._stopped.is_set():
            return
        self._failures += 1
        now = self._clock()
        if self._quiet_until is None or now >= self._quiet_until:
            log.warning("heartbeat to Vigil failed (%d times so far): %s; tried again every %g s",
                        self._failures, printable(str(error).strip()) or type(error).__name__, self._interval)
            self._quiet_until = now + SILENCE

    def _succeeded(self):
        if self._failures:
            log.info("heartbeat to Vigil works again after %d failures", self._failures)
            self._failures, self._quiet_until = 0, None

    def _report(self):
        url = urlsplit(self._settings["VIGIL_ENDPOINT"])
        connection = http.client.HTTPConnection(url.hostname, url.port)
        try:
            connection.sock = self._connect(url)
            connection.request("POST", self._path(url), self._body(), self._headers())
            with connection.getresponse() as answer:
                if answer.status != 200:
                    raise ConnectionError(f"it answered {answer.status} {answer.reason}, expected 200")
        finally:
            self._release()
            connection.close()

    def _connect(self, url):
        """A socket that `stop` can shut down at any moment, while it connects as well."""
        port = url.port or {"http": 80, "https": 443}[url.scheme]
        found = socket.getaddrinfo(url.hostname, port, type=socket.SOCK_STREAM)
        for family, kind, protocol, _, address in found:
            sock = self._watch(socket.socket(family, kind, protocol))
            try:
                sock.settimeout(self._timeout)
                sock.connect(address)
                return self._tls(sock, url.hostname) if url.scheme == "https" else sock
            except OSError as error:
                self._release()
                failure = error
        raise failure

    def _tls(self, sock, hostname):
        context = ssl.create_default_context()
        sock = self._watch(context.wrap_socket(sock, server_hostname=hostname, do_handshake_on_connect=False))
        sock.do_handshake()
        return sock

    def _watch(self, sock):
        """Make `sock` the one that `stop` shuts down.  Raises ConnectionAbortedError after `stop`."""
        with self._lock:
            self._socket = sock
        if self._stopped.is_set():
            self._release()
            raise ConnectionAbortedError("stopped")
        return sock

    def _release(self):
        """Close what is watched, which no longer is."""
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    def _path(self, url):
        probe, node = (quote(self._settings[name], safe="") for name in ("VIGIL_PROBE_ID", "VIGIL_NODE_ID"))
        return f"{url.path.rstrip('/')}/reporter/{probe}/{node}/"

    def _headers(self):
        password = base64.b64encode(b":" + os.fsencode(self._settings["VIGIL_TOKEN"])).decode("ascii")
        return {"Authorization": f"Basic {password}", "Content-Type": "application/json; charset=utf-8"}

    def _body(self):
        return json.dumps({
            "replica": self._settings["VIGIL_REPLICA_ID"],
            "interval": self._interval,
            "load": {"cpu": cpu_load(), "ram": ram_load()},
        }).encode("utf-8")


def cpu_load():
    """Load of the last quarter of an hour for each CPU; more than 1 is overload, 0 unknown."""
    try:
        return round(os.getloadavg()[2] / (os.cpu_count() or 1), 2)
    except OSError:
        return 0.0


def ram_load(path="/proc/meminfo"):
    """The part of the memory that is in use, 0 to 1; 0 where the system doesn't tell."""
    try:
        with open(path, encoding="ascii") as file:
            lines = (line.partition(":") for line in file)
            kilobytes = {name: int(rest.split()[0]) for name, _, rest in lines}
        return round(1 - kilobytes["MemAvailable"] / kilobytes["MemTotal"], 2)
    except (OSError, ValueError, LookupError, ZeroDivisionError):
        return 0.0


def _shut_down(sock):
    with contextlib.suppress(OSError):  # not connected: nothing waits on it
        # Not SSLSocket's own: that also takes its state away from the thread that uses it.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
