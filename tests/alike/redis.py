"""Redis's own server, for a test that compares.

    with Redis() as redis:          needs_redis skips tests where it isn't installed
        sock = redis.connect()      on a Unix socket in a folder of its own; nothing is saved
"""

import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from conftest import SECONDS

# The version that replies are compared with: others have other commands and say other things.
VERSION = "7.0."


def installed_version():
    """The version of redis-server on this machine; "" if there is none."""
    if not shutil.which("redis-server"):
        return ""
    said = subprocess.run(["redis-server", "--version"], capture_output=True, check=True).stdout.decode()
    return said.partition("v=")[2].partition(" ")[0]


needs_redis = pytest.mark.skipif(not installed_version().startswith(VERSION),
                                 reason=f"redis-server {VERSION}x is not installed")


class Redis:
    """A redis-server; a context manager.

    path    of the Unix socket where it listens
    """

    def __init__(self):
        self._folder = tempfile.mkdtemp()       # short: a Unix socket's path has at most 107 bytes
        self.path = str(Path(self._folder) / "redis.sock")
        self._process = subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", self.path, "--dir", self._folder, "--save", "",
             "--appendonly", "no", "--enable-debug-command", "yes"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def __enter__(self):
        self.connect().close()
        return self

    def __exit__(self, *exc_info):
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder)

    def connect(self):
        """A socket that is connected to it."""
        until = time.monotonic() + SECONDS
        while True:
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(SECONDS)
            try:
                sock.connect(self.path)
                return sock
            except OSError:
                sock.close()
                assert self._process.poll() is None and time.monotonic() < until, "redis-server did not listen"
                time.sleep(0.002)
