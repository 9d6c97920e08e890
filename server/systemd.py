"""Telling systemd how the server does: one datagram a message to $NOTIFY_SOCKET.

    READY=1       it accepts connections: what `Type=notify` waits for
    STOPPING=1    it has begun to stop
    WATCHDOG=1    its loop still turns; systemd restarts it when these stay
                  away for longer than $WATCHDOG_USEC (`WatchdogSec=`)
    STATUS=text   the line that `systemctl status` shows

Without systemd the variables aren't set and every call does nothing.  An error
is logged the first time and never raised: the server serves without systemd too.
"""

import logging
import os
import re
import socket

# Seconds to wait for systemd where a message may not get lost.
PATIENCE = 1.0

log = logging.getLogger("meilies.systemd")


class Notifier:
    """Sends to the socket that `environ` names.  For one thread, which is the server's loop.

    environ   where NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID are, if anywhere
    """

    def __init__(self, environ):
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._period = _period(environ) if self._address else None
        self._next = None
        self._failed = False

    def ready(self, status):
        """It accepts connections; `status` says where."""
        self._send(f"READY=1\nSTATUS={_line(status)}", PATIENCE)

    def stopping(self, status="stopping"):
        self._send(f"STOPPING=1\nSTATUS={_line(status)}", PATIENCE)

    def status(self, text):
        self._send(f"STATUS={_line(text)}", 0)

    def tick(self, now):
        """Send a sign of life if one is due; return the seconds until the next, or None for never.

        now   seconds on a clock that doesn't jump (time.monotonic)
        """
        if self._period is None:
            return None
        if self._next is None or now >= self._next:
            # It may be dropped when systemd is busy: the next one comes before time is up.
            self._send("WATCHDOG=1", 0)
            self._next = now + self._period
        return self._next - now

    def _send(self, message, seconds):
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.settimeout(seconds)
                sock.sendto(message.encode("utf-8", "backslashreplace"), self._address)
        except OSError as error:
            if not self._failed:
                log.warning("systemd isn't reached at NOTIFY_SOCKET %r: %s; the server goes on without",
                            self._address, error)
            self._failed = True
        else:
            self._failed = False


def _address(text):
    """What a socket connects to: a path, or an abstract name, which is written with @ for NUL."""
    if text.startswith("@"):
        return "\0" + text[1:]
    return text if text.startswith("/") else ""


def _period(environ):
    """Seconds between two signs of life: half of what systemd waits.  None if it doesn't."""
    micros = environ.get("WATCHDOG_USEC", "")
    pid = environ.get("WATCHDOG_PID", str(os.getpid()))
    if not re.fullmatch("[0-9]{1,18}", micros) or pid != str(os.getpid()):
        return None
    return int(micros) / 2_000_000 or None


def _line(text):
    return " ".join(text.split())
