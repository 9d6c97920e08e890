"""What is taken out of a log is kept beside it.

    FOLDER/cut/000000000003.segment-4711.0    what stood from byte 4711 of that segment on
    FOLDER/cut/000000000004.segment.0         a whole file

Names end with a number that isn't taken yet, so that nothing kept is ever
written over: not by a second cut at the same place, nor by one that a crash
interrupted and that is made again.
"""

import os

from .segment import LONG_READ

FOLDER = "cut"


class Cuts:
    """The folder of cuts of a store's folder; made with the first of them."""

    def __init__(self, files, folder):
        self.path = os.path.join(folder, FOLDER)
        self._files = files

    def keep(self, segment, byte, stop=None):
        """Copy bytes [byte, stop) of a segment, or all from `byte` on; return the copy's path once it is on disk."""
        path = self._free(f"{os.path.basename(segment.path)}-{byte}")
        fd = self._files.create(path)
        try:
            size = segment.file_size()
            self._copy(segment, byte, size if stop is None else min(stop, size), fd)
            self._files.sync(fd)
        except BaseException:
            self._files.remove(path)    # half a copy is of no use, and takes room on a disk that may be full
            raise
        finally:
            self._files.close(fd)
        self._files.sync_folder(self.path)
        return path

    def _copy(self, segment, start, stop, fd):
        byte = start
        while byte < stop:
            data = self._files.read(segment.fd, min(LONG_READ, stop - byte), byte)
            self._files.write(fd, data, byte - start)
            byte += len(data)

    def set_aside(self, path):
        """Move a file that isn't part of the log any more here; return where it is."""
        kept = self._free(os.path.basename(path))
        self._files.rename(path, kept)
        self._files.sync_folder(self.path)
        self._files.sync_folder(os.path.dirname(path))
        return kept

    def _free(self, name):
        """A path that isn't taken."""
        self._files.make_folder(self.path)
        taken = set(self._files.names(self.path))
        tries = 0
        while f"{name}.{tries}" in taken:
            tries += 1
        return os.path.join(self.path, f"{name}.{tries}")
