"""Every system call on a file.  What tests replace to stand in for the disk.

The functions take paths (str) and descriptors (int) and raise OSError.
"""

import fcntl
import os
import stat
from collections import deque
from itertools import islice

from .errors import FolderRefused

# What holds a company's history is its owner's alone.
FILE_MODE = 0o600
FOLDER_MODE = 0o700
# Whoever isn't their owner.
OTHERS = 0o077

# Linux draws it at each start.
BOOT_ID = "/proc/sys/kernel/random/boot_id"

# macOS has no fdatasync.
_fdatasync = getattr(os, "fdatasync", os.fsync)

# One call takes no more parts; every system takes 16.
_MOST_PARTS = max(16, os.sysconf("SC_IOV_MAX"))


def _join_and_write(fd, parts, pos):
    return os.pwrite(fd, b"".join(parts), pos)


# macOS has it from version 11 on.
_pwritev = getattr(os, "pwritev", _join_and_write)


class Files:
    """The disk."""

    def make_folder(self, path):
        """Make `path` and the folders above it, each durable in the one above."""
        missing = []
        while not os.path.isdir(path):
            missing.append(path)
            path = os.path.dirname(path)
        for path in reversed(missing):
            try:
                os.mkdir(path, FOLDER_MODE)
            except FileExistsError:     # another process was faster; one of us gets the lock
                if not os.path.isdir(path):
                    raise
            self.sync_folder(os.path.dirname(path))

    def keep_private(self, path):
        """Have nobody but this process's user look into the folder `path`; True if somebody could.

        Raises    FolderRefused   it is a link, or another user's: nothing was changed
        """
        found = os.lstat(path)
        if stat.S_ISLNK(found.st_mode):
            raise FolderRefused(path, f"a symbolic link to {os.readlink(path)}", "the folder itself")
        user = os.geteuid()
        if found.st_uid != user:
            raise FolderRefused(path, f"a folder of user {found.st_uid}", f"one of user {user}, who runs this")
        if not stat.S_ISDIR(found.st_mode) or not found.st_mode & OTHERS:
            return False
        os.chmod(path, stat.S_IMODE(found.st_mode) & ~OTHERS)
        return True

    def sync_above(self, path):
        """Return when the name of the folder `path` is on disk, and those of the folders above it.

        Up to the root of its file system, or to a folder that may not be read: that is older than we are.
        """
        while not os.path.ismount(path):
            path = os.path.dirname(path)
            try:
                self.sync_folder(path)
            except PermissionError:
                return

    def names(self, path):
        """The names in a folder, sorted."""
        return sorted(os.listdir(path))

    def create(self, path):
        """Create a file that must not exist and open it to read and write."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, FILE_MODE)

    def open(self, path):
        """Open a file that must exist to read and write."""
        return os.open(path, os.O_RDWR | os.O_NOFOLLOW)

    def close(self, fd):
        os.close(fd)

    def size(self, fd):
        return os.fstat(fd).st_size

    def size_at(self, path):
        """Bytes of the file at `path`; 0 if there is none."""
        try:
            return os.stat(path).st_size
        except FileNotFoundError:
            return 0

    def read(self, fd, size, pos):
        """Up to `size` bytes from byte `pos`; fewer only at the end of the file."""
        data = os.pread(fd, size, pos)
        if len(data) == size or not data:
            return data
        parts = [data]
        have = len(data)
        while have < size:
            data = os.pread(fd, size - have, pos + have)
            if not data:
                break
            parts.append(data)
            have += len(data)
        return b"".join(parts)

    def write(self, fd, data, pos):
        """Write all of `data` at byte `pos`; a short write is gone on with."""
        written = os.pwrite(fd, data, pos)
        while written < len(data):
            written += os.pwrite(fd, memoryview(data)[written:], pos + written)

    def write_parts(self, fd, parts, pos):
        """`write` of `parts`, one behind the other, without joining them."""
        left = deque(map(memoryview, parts))
        while left:
            written = _pwritev(fd, list(islice(left, _MOST_PARTS)), pos)
            pos += written
            while left and len(left[0]) <= written:
                written -= len(left.popleft())
            if written:
                left[0] = left[0][written:]

    def free(self, path):
        """Bytes that may still be written to the disk that a folder is on."""
        room = os.statvfs(path)
        return room.f_bavail * room.f_frsize

    def fill(self, fd, start, stop):
        """Write zeros from byte `start` to byte `stop`.

        posix_fallocate would be quicker, but the first write to each block would change metadata.
        """
        self.write(fd, bytes(stop - start), start)

    def sync(self, fd):
        """Return when the file's bytes, and the size to find them, are on disk."""
        _fdatasync(fd)

    def forget(self, fd, pos=0):
        """Have what is read of a synced file from byte `pos` on come from the disk.

        After a sync that failed, memory holds bytes that the disk doesn't, and takes them for written: until they
        leave it, reading shows them, and another sync succeeds.
        """
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(fd, pos, 0, os.POSIX_FADV_DONTNEED)

    def sync_folder(self, path):
        """Return when the names in a folder are on disk."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def boot(self):
        """A word that changes when the machine starts anew; "-" where the system doesn't say."""
        try:
            with open(BOOT_ID) as file:
                return file.read().strip()
        except OSError:
            return "-"

    def truncate(self, fd, size):
        os.ftruncate(fd, size)

    def rename(self, old, new):
        os.rename(old, new)

    def remove(self, path):
        os.unlink(path)

    def lock(self, path):
        """Open `path` and lock it for this process, or raise BlockingIOError.

        flock, not lockf: the latter is lost when any descriptor of the file is
        closed.  The file is never unlinked: that would let a second owner in.
        """
        return _locked(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, FILE_MODE))


def _locked(fd):
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(fd)
        raise
    return fd


class ReadOnly(Files):
    """The disk, for whoever only looks: it opens nothing to write."""

    def open(self, path):
        """Open a file that must exist to read."""
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)

    def lock(self, path):
        """Lock `path`, which must exist, or raise BlockingIOError."""
        return _locked(self.open(path))


def make_private(path):
    """Make the file `path` if it is missing; nobody but its owner may read it.

    It is for SQLite, which opens the file next, and says what is wrong if this couldn't be.  One that is there
    isn't opened: when it is closed, locks that SQLite may have on it would go.
    """
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE))
    except FileExistsError:
        mode = os.lstat(path).st_mode
        if stat.S_ISREG(mode) and mode & OTHERS:
            os.chmod(path, FILE_MODE)
    except OSError:
        pass


def open_private(path, flags):
    """An opener for `open`: a file that it makes is its owner's alone."""
    return os.open(path, flags, FILE_MODE)


def owner_of(path):
    """The process that the lock file of a store names, or None."""
    try:
        with open(path) as file:
            return int(file.read(200).split()[0])
    except (OSError, ValueError, IndexError):
        return None
