"""Terminals: one as far as programs look, and one that a program has for its own.

    with Screen(ROOT / "meilies_cli.py", "top", columns=60) as screen:
        screen.until("events")
        screen.send("q")
        assert screen.end() == 0
"""

import fcntl
import io
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time

from conftest import COMPLAINTS, SECONDS, WATCHED, clean_environ


class Terminal(io.StringIO):
    """A stream that says it is one."""

    def isatty(self):
        return True


class Screen:
    """A program at a terminal of its own; a context manager that leaves no process behind.

    program   what is run, with `argv`; Python if it isn't said
    shown   all that it wrote until now, as text
    """

    def __init__(self, *argv, columns=80, rows=24, stdin=None, program=None, cwd=None, **environ):
        self._here, there = pty.openpty()
        self.shown = ""
        self._size(columns, rows)
        begin = [program] if program else [sys.executable, *WATCHED]
        self.process = subprocess.Popen(
            [*begin, *map(str, argv)], stdin=there if stdin is None else stdin, stdout=there, stderr=there, cwd=cwd,
            env=clean_environ(**{"TERM": "xterm", "COLUMNS": None, **environ}), start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(1, termios.TIOCSCTTY, 0))
        os.close(there)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._here)

    def send(self, keys):
        os.write(self._here, keys.encode())

    def resize(self, columns, rows):
        """As a window's manager does it: the system tells the program by SIGWINCH."""
        self._size(columns, rows)

    def _size(self, columns, rows):
        fcntl.ioctl(self._here, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def until(self, text):
        """Return when `text` has been shown; fail if that takes long."""
        deadline = time.monotonic() + SECONDS
        while text not in self.shown:
            assert self._read(deadline - time.monotonic()), f"{text!r} isn't in {self.shown!r}"

    def forget(self):
        """What was shown until now doesn't count any more."""
        self.shown = ""

    def end(self):
        """The exit status; the program is to end by itself."""
        deadline = time.monotonic() + SECONDS
        while self._read(deadline - time.monotonic()):
            pass
        status = self.process.wait(SECONDS)
        assert not [word for word in COMPLAINTS if word in self.shown], self.shown
        return status

    def _read(self, seconds):
        """Take what comes next; False if nothing will, or not in time."""
        ready, _, _ = select.select([self._here], [], [], max(0, seconds))
        try:
            more = os.read(self._here, 65536) if ready else b""
        except OSError:         # the program has let go of its terminal
            more = b""
        self.shown += more.decode("utf-8", "replace")
        return bool(more)
