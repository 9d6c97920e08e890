"""A terminal that is drawn as a whole, again and again, and gives its keys one at a time.

    with FullScreen() as screen:
        while screen.key(1.0) != "q":
            screen.draw(lines)

What stood there before comes back when it ends, whatever ends it: an error, Ctrl-C,
SIGTERM.  Ctrl-Z gives the terminal back meanwhile.
"""

import os
import re
import select
import shutil
import signal
import sys
import termios
import tty

_ENTER = "\033[?1049h\033[?25l"     # another screen than the shell's, and no cursor
_LEAVE = "\033[?25h\033[?1049l"

_KEY = re.compile(r"\x1b(?:\[|O)[0-9;]*.|.|", re.S)


class FullScreen:
    """See the top of this file.  Standard output is a terminal; keys come if standard input is one, too."""

    def __init__(self):
        self._keys = sys.stdin.fileno() if sys.stdin is not None and sys.stdin.isatty() else None
        self._typed = ""            # and not taken yet
        self._before = None         # the terminal's settings
        self._handlers = {}         # of signals, as they were
        self._wake_read, self._wake_write = -1, -1

    def __enter__(self):
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._wakeup = signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        self._handlers = {number: signal.signal(number, handler) for number, handler in (
            (signal.SIGWINCH, lambda *_: None), (signal.SIGTERM, _end), (signal.SIGTSTP, self._suspend))}
        self._take()
        return self

    def __exit__(self, *exc_info):
        self._give_back()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._wake_read)
        os.close(self._wake_write)

    @property
    def size(self):
        """(columns, rows), now."""
        return shutil.get_terminal_size()

    def draw(self, lines):
        """Show `lines`, each of which fits."""
        self._write("\033[H" + "\033[K\n".join(lines) + "\033[K\033[J")

    def key(self, seconds):
        """The key that is pressed within so many seconds; "" if none is, or the size changed.

        One with an escape sequence, such as an arrow, is all of that.
        """
        if not self._typed:
            self._typed = self._read(seconds)
        key = _KEY.match(self._typed)[0]
        self._typed = self._typed[len(key):]
        return key

    def _read(self, seconds):
        """What was typed, as far as it is there."""
        wanted = [self._wake_read] if self._keys is None else [self._wake_read, self._keys]
        ready, _, _ = select.select(wanted, [], [], seconds)
        if self._wake_read in ready:
            os.read(self._wake_read, 4096)
        if self._keys not in ready:
            return ""
        return os.read(self._keys, 64).decode("utf-8", "replace") or "q"    # its terminal is gone

    def _take(self):
        if self._keys is not None:
            self._before = termios.tcgetattr(self._keys)
            tty.setcbreak(self._keys)
        self._write(_ENTER)

    def _give_back(self):
        self._write(_LEAVE)
        if self._before is not None:
            termios.tcsetattr(self._keys, termios.TCSADRAIN, self._before)

    def _suspend(self, number, frame):
        """Ctrl-Z: the shell gets its terminal until it continues this."""
        self._give_back()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._take()

    @staticmethod
    def _write(text):
        sys.stdout.write(text)
        sys.stdout.flush()


def _end(number, frame):
    raise SystemExit(128 + number)
