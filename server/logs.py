"""Where the log goes: stderr, or a file that is opened again when somebody has moved it away (logrotate)."""

import contextlib
import logging
import os
import sys

log = logging.getLogger("meilies.server")

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
MODE = 0o600


class LogFile(logging.StreamHandler):
    """Appends to the file at `path`, which is made for its owner alone.  Raises OSError."""

    def __init__(self, path):
        self._path = os.path.abspath(path)
        super().__init__(self._opened())

    def _opened(self):
        fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, MODE)
        return open(fd, "a", encoding="utf-8", errors="backslashreplace")

    def reopen(self):
        """Go on in the file that has the name now; where that can't be, in the one that is open."""
        try:
            opened = self._opened()
        except OSError as error:
            log.error("%s: not opened again: %s; the log goes on where it went",
                                                      self._path, error.strerror)
            return
        before = self.setStream(opened)
        with contextlib.suppress(OSError):      # what it has not taken is lost
            before.close()
        log.info("%s: opened again", self._path)

    def handleError(self, record):
        """A disk that is full, perhaps: the line is lost, and what it was about goes on."""

    def close(self):
        with self.lock, contextlib.suppress(OSError):
            self.stream.close()
        super().close()


def begin(level, path=""):
    """Log from `level` (its name) on, to stderr or to the file at `path`, which is returned.  Raises OSError."""
    if not path:        # a program that has us in it may have said where it logs to
        logging.basicConfig(stream=sys.stderr, level=level.upper(), format=FORMAT)
        return None
    file = LogFile(path)
    file.setFormatter(logging.Formatter(FORMAT))
    logging.getLogger().addHandler(file)
    logging.getLogger().setLevel(level.upper())
    return file


def end(file):
    """Log to this file no more; None is none."""
    if file is not None:
        logging.getLogger().removeHandler(file)
        file.close()


def toggle_debug(level):
    """Log everything, or from `level` (its name) on if everything is logged already; say so."""
    root = logging.getLogger()
    level = level if root.level == logging.DEBUG else "debug"
    root.setLevel(level.upper())
    log.warning("the log has the level %s from now on", level)
