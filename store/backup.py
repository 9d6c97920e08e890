"""Copy a store that is in use, as it is at one moment, to a folder that can be opened as a store.

    FOLDER/000000000000.segment  ──>  TARGET/000000000000.segment   sealed: copied once
           000000000001.segment  ──>         000000000001.segment   up to the byte where its records end now
           index.sqlite3                                            is made anew from the log
           digests                           digests                of the events that are copied, if there are any
           lock                              lock                   says that this is a copy

Segments are only added to, so the bytes before an end are whole; one that is
rewritten meanwhile is copied from the file as it was opened.  They are copied
in order, each under another name until it is on disk: whatever moment a crash
picks, the target is the store as it was at some time, or nothing yet.  A later
backup to the same folder copies what is new.

Who opens a copy uses numbers again that the store itself gave out since.  The
lock file has the copy take up a new epoch, by which clients notice.
"""

import os
from typing import NamedTuple

from .errors import CannotBackUp
from .segment import COPYING, Segment, file_name, is_segment

# Bytes read and written at once.
_STEP = 1 << 20


class BackedUp(NamedTuple):
    """What a backup has.

    position   every event before it is in the copy; some behind it may be
    segments   files of the log, of which `copied` weren't there as they are now
    size       bytes of the log; `written` of them were copied
    """

    position: int
    segments: int
    copied: int
    size: int
    written: int


def back_up(log, files, folder, mark, beside=(), progress=lambda done, of: None):
    """Copy what `log` has now to `folder`, and return what was copied (BackedUp), all of it on disk.

    folder     the store's from an earlier backup, empty, or not there yet
    mark       marks it as a copy: called with the descriptor of its lock file
    beside     [(path, bytes), …] of other files, which are added to and copied up to that byte
    progress   called with (bytes done, bytes in all), now and then
    Raises     CannotBackUp    something else is in `folder`; nothing was changed
               StoreFailed, OSError
    """
    log.sync()
    position = log.synced
    files.make_folder(folder)
    try:
        lock = files.lock(os.path.join(folder, "lock"))
    except BlockingIOError:
        raise CannotBackUp(folder, "it is in use; a backup that was opened is a store of its own") from None
    try:
        return _Backup(log, files, folder, progress).run(position, lambda: mark(lock), beside)
    finally:
        files.close(lock)


class _Backup:

    def __init__(self, log, files, folder, progress):
        self._log = log
        self._files = files
        self._folder = folder
        self._progress = progress
        self._of = log.size
        self._size = self._written = self._copied = 0

    def run(self, position, mark, beside):
        count = self._log.segment_count
        self._check_target(count)
        mark()
        for sequence in range(count):
            segment = self._log.opened(sequence)
            try:
                self._bring(segment)
            finally:
                segment.close()
        for path, size in beside:
            self._copy_beside(path, size)
        self._files.sync_folder(self._folder)
        self._files.sync_above(self._folder)
        return BackedUp(position, count, self._copied, self._size, self._written)

    def _check_target(self, count):
        """Raise CannotBackUp unless what is in the folder is an earlier backup of this store, or nothing."""
        names = [name for name in self._files.names(self._folder) if is_segment(name)]
        for sequence, name in enumerate(names):
            mine = self._log.opened(sequence) if sequence < count else None
            other = Segment.open(self._files, os.path.join(self._folder, name))
            same = None not in (mine, other) and other.header.id == mine.header.id and name == file_name(sequence)
            for segment in (mine, other):
                if segment is not None:
                    segment.close()
            if not same:
                raise CannotBackUp(self._folder, f"{name} isn't part of this store, or the copy was opened since")

    def _bring(self, segment):
        """Have the target hold `segment` up to its end."""
        path = os.path.join(self._folder, file_name(segment.sequence))
        if not self._is_there(segment, path):
            self._copy(segment.fd, segment.end, path)
            self._copied += 1
            self._written += segment.end
        self._size += segment.end
        self._progress(min(self._size, self._of), self._of)

    def _is_there(self, segment, path):
        """Whether an earlier backup brought the same bytes; they were synced before they had their name."""
        try:
            other = Segment.open(self._files, path)
        except FileNotFoundError:
            return False
        try:
            return other.header == segment.header and other.file_size() == segment.end
        finally:
            other.close()

    def _copy_beside(self, path, size):
        fd = self._files.open(path)
        try:
            self._copy(fd, size, os.path.join(self._folder, os.path.basename(path)))
        finally:
            self._files.close(fd)

    # A crash leaves the file under its other name, which the next backup
    # writes over and a store that is opened there removes.
    def _copy(self, source, size, path):
        """Copy the first `size` bytes of an open file to a file of its own, which takes the place of `path`."""
        unfinished = path + COPYING
        self._remove(unfinished)
        fd = self._files.create(unfinished)
        try:
            byte = 0
            while byte < size:
                data = self._files.read(source, min(_STEP, size - byte), byte)
                if not data:
                    raise CannotBackUp(self._folder, f"what becomes {path} ends at byte {byte}, expected {size}")
                self._files.write(fd, data, byte)
                byte += len(data)
                self._progress(min(self._size + byte, self._of), self._of)
            self._files.sync(fd)
            self._files.rename(unfinished, path)
            self._files.sync_folder(self._folder)
        except BaseException:
            self._remove(unfinished)
            raise
        finally:
            self._files.close(fd)

    def _remove(self, path):
        try:
            self._files.remove(path)
        except FileNotFoundError:
            pass
