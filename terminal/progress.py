"""How far long work is, on one line of a terminal; nothing at all in a pipe.

    check    42%  1.2 GiB of 2.9 GiB  310 MiB/s  0:05 left
"""

import shutil
import sys
import time

from .escaping import fitted

# Seconds between two drawings; and over how many of them the rate is taken.
INTERVAL = 0.2
RECENT = 25

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


def shown_bytes(count):
    """`count` bytes in the unit that fits: 1536 is 1.5 KiB."""
    for unit in _UNITS:
        if count < 1024 or unit == _UNITS[-1]:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024


def shown_events(count):
    return f"{count:,.0f} event{'' if round(count) == 1 else 's'}"


def shown_duration(seconds):
    """Minutes and seconds, or hours as well: 75 is 1:15."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


class Progress:
    """Draws how far it is, while it is called; a context manager that wipes that out.

    label    what is being done
    shown    count -> text, such as shown_bytes
    stream   where it is drawn if that is a terminal; standard error is what it is for
    clock    seconds
    """

    def __init__(self, label, shown=shown_bytes, stream=None, clock=time.monotonic):
        stream = sys.stderr if stream is None else stream
        self._stream = stream if stream is not None and stream.isatty() else None
        self._label = label
        self._shown = shown
        self._clock = clock
        self._drawn = False
        self.begin(0)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.end()

    @property
    def is_seen(self):
        """Whether anybody looks."""
        return self._stream is not None

    def begin(self, of):
        """From now on there is `of` to do, 0 if nobody knows."""
        self.done, self.of = 0, of
        self._began = self._next = self._clock()
        self._seen = [(self._began, 0)]     # (when, done) of the last drawings

    def __call__(self, done, of):
        """`done` of `of` is done."""
        self.done, self.of = done, of
        if self._stream is not None and self._clock() >= self._next:
            self._draw()

    def advance(self, count):
        """`count` more is done."""
        self(self.done + count, self.of)

    def end(self):
        """Take the line away: what follows stands where it stood."""
        if self._drawn:
            self._stream.write("\r\033[K")
            self._stream.flush()
            self._drawn = False

    def finish(self):
        """Leave a line on the terminal that says what was done, and how long it took."""
        self.end()
        if self._stream is not None:
            seconds = self._clock() - self._began
            self._stream.write(f"{self._label}  {self._shown(self.done)} in {shown_duration(seconds)}, "
                               f"{self._shown(self.done / max(seconds, 0.001))}/s\n")
            self._stream.flush()

    def line(self):
        """What is drawn."""
        now = self._clock()
        when, before = self._seen[0]
        rate = (self.done - before) / max(now - when, 0.001)
        if self.of <= 0:
            return f"{self._label}  {self._shown(self.done)}  {self._shown(rate)}/s"
        of = max(self.of, self.done)
        parts = [f"{self._label} {100 * self.done // of:3}%", f"{self._shown(self.done)} of {self._shown(of)}",
                 f"{self._shown(rate)}/s"]
        if self.done < of and rate > 0:
            parts.append(f"{shown_duration((of - self.done) / rate)} left")
        return "  ".join(parts)

    def _draw(self):
        now = self._clock()
        self._next = now + INTERVAL
        line = fitted(self.line(), shutil.get_terminal_size().columns - 1)
        self._seen = [*self._seen[-RECENT:], (now, self.done)]
        self._stream.write(f"\r{line}\033[K")
        self._stream.flush()
        self._drawn = True
