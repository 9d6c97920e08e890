"""A disk in memory that knows what a loss of power may leave of it.

    write, truncate   ──> pending, until the file is synced
    create, rename …  ──> pending, until the folder is synced

    platter = Platter()
    Store("/db", files=platter) …
    for state in exhaustive(platter.loss()): …      each a Platter again, to open a store on

After the power went, of each write that wasn't synced there is all, nothing, what lies before or behind a sector's
border, or its bytes are garbage or zeros; its other sectors were there before it.  A truncation happened or didn't.
A name that wasn't synced is there or isn't; a renamed file has one of its names, or both.  Each of these is
independent of every other.

A sync that failed leaves its file's writes pending for good: the system takes their pages for clean, and no later
sync writes them.
"""

import errno
import itertools
import os
import random
import zlib
from typing import NamedTuple

from store.files import Files

SECTOR = 512

# What may become of a change: (word, border).  A write that is torn keeps what lies before the border, a late one
# what lies behind it; it counts from where the write begins.
KEPT, DROPPED, ZEROS, GARBAGE = ("kept", 0), ("dropped", 0), ("zeros", 0), ("garbage", 0)


class Write(NamedTuple):
    pos: int
    data: bytes

    def fates(self):
        """What may have become of it."""
        first = (self.pos // SECTOR + 1) * SECTOR
        borders = [border - self.pos for border in range(first, self.pos + len(self.data), SECTOR)]
        return (KEPT, DROPPED, GARBAGE, ZEROS, *(("torn", border) for border in borders),
                *(("late", border) for border in borders))

    def apply(self, content, fate):
        word, border = fate
        if fate == KEPT:
            put(content, self.pos, self.data)
        elif fate == ZEROS:
            put(content, self.pos, bytes(len(self.data)))
        elif fate == GARBAGE:
            put(content, self.pos, garbage(self.pos, len(self.data)))
        elif word == "torn":
            put(content, self.pos, self.data[:border])
        elif word == "late":
            put(content, self.pos + border, self.data[border:])


class Cut(NamedTuple):
    """A truncation."""

    size: int

    def fates(self):
        return KEPT, DROPPED

    def apply(self, content, fate):
        if fate == KEPT:
            resize(content, self.size)


class Sure(NamedTuple):
    """A change that was synced, over others that weren't."""

    change: NamedTuple

    def fates(self):
        return (KEPT,)

    def apply(self, content, fate):
        self.change.apply(content, KEPT)


class Link(NamedTuple):
    """A new name of a file.  `old` is the name that it takes the place of, None for a new file."""

    path: str
    inode: int
    old: str = None


class Unlink(NamedTuple):
    """A name that goes.  `new` is the name that takes its place, None if the file goes."""

    path: str
    new: str = None


def put(content, pos, data):
    """Write into a bytearray as into a file."""
    if pos > len(content):
        content.extend(bytes(pos - len(content)))
    content[pos:pos + len(data)] = data


def resize(content, size):
    if size < len(content):
        del content[size:]
    else:
        content.extend(bytes(size - len(content)))


def garbage(pos, size):
    """Bytes that are nothing, the same each time so that states which differ do so in more than these."""
    block = b"".join(zlib.crc32(b"%d" % i, pos).to_bytes(4, "little") for i in range(16))
    return (block * (size // len(block) + 1))[:size]


class Inode:
    """A file.  `base` is on disk for sure, `pending` may be, in part; `content` is what reading gives."""

    __slots__ = ("content", "base", "pending", "stuck")

    def __init__(self, base=b""):
        self.content = bytearray(base)
        self.base = base
        self.pending = ()
        self.stuck = ()     # what failed syncs have left

    def copy(self):
        copy = Inode(self.base)
        copy.content[:] = self.content
        copy.pending = self.pending
        copy.stuck = self.stuck
        return copy


class Loss(NamedTuple):
    """What is on the disk for sure, and what may be.

    inodes     {inode: (base, pending)}
    names      {path: inode}
    folders    folders that are there for sure
    unsynced   Link, Unlink and names of folders (str) that may be there
    """

    inodes: dict
    names: dict
    folders: frozenset
    unsynced: tuple

    def questions(self):
        """[(what, its fates)]: everything that may have gone one way or the other."""
        asked = [((inode, i), one.fates())
                 for inode, (_, pending) in self.inodes.items() for i, one in enumerate(pending)]
        asked += [(one, (KEPT, DROPPED)) for one in self.unsynced]
        return asked

    def state(self, fates):
        """{path: bytes} after things went as `fates` says, {what: fate}; folders are None."""
        names = dict(self.names)
        folders = set(self.folders)
        unnamed = {one.path for one in self.unsynced if isinstance(one, Link) and fates[one] != KEPT}
        for one in self.unsynced:
            kept = fates[one] == KEPT
            if isinstance(one, str):
                if kept:
                    folders.add(one)
            elif isinstance(one, Link):
                if kept:
                    names[one.path] = one.inode
            elif kept and one.new not in unnamed:       # never without either name
                names.pop(one.path, None)
        contents = {}
        found = dict.fromkeys(sorted(folders))
        for path, inode in names.items():
            if os.path.dirname(path) not in folders:
                continue
            if inode not in contents:
                contents[inode] = self._content(inode, fates)
            found[path] = contents[inode]
        return found

    def _content(self, inode, fates):
        base, pending = self.inodes[inode]
        if not pending:
            return base
        content = bytearray(base)
        for i, one in enumerate(pending):
            one.apply(content, fates[inode, i])
        return bytes(content)


def count(loss):
    """How many ways there are for things to have gone."""
    ways = 1
    for _, fates in loss.questions():
        ways *= len(fates)
    return ways


def exhaustive(loss):
    """Every state that a loss of power may leave."""
    asked = loss.questions()
    for chosen in itertools.product(*(fates for _, fates in asked)):
        yield loss.state(dict(zip((what for what, _ in asked), chosen)))


def sampled(loss, draw, times):
    """So many of them.

    Half are drawn at will.  In the others all is kept, or all is gone, but for one or two: what goes wrong
    mostly goes wrong beside much that didn't.
    """
    asked = loss.questions()
    for i in range(times):
        if i % 2:
            fates = {what: draw.choice(of) for what, of in asked}
        else:
            usual = draw.choice((KEPT, KEPT, DROPPED))
            fates = {what: usual if usual in of else of[0] for what, of in asked}
            for what, of in draw.sample(asked, min(len(asked), draw.randrange(3))):
                fates[what] = draw.choice(of)
        yield loss.state(fates)


class Platter(Files):
    """The disk; see the top.

    draw       says what there is of the writes that a failed sync left, when the file is read anew

    state      {path: bytes, or None for a folder}: what is there to begin with
    on_change  called with (verb, path) before each change and each reading; may raise OSError
    on_done    called after each change
    """

    def __init__(self, state=None, boot="1", draw=None):
        self.on_change = lambda verb, path: None
        self.on_done = lambda: None
        self._boot = boot
        self._draw = draw or random.Random(0)
        self._inodes = {}
        self._names = {}
        self._folders = {"/"}
        for path, content in (state or {}).items():
            if content is None:
                self._folders.add(path)
            else:
                self._names[path] = self._new_inode(content)
        self._durable_names = dict(self._names)
        self._durable_folders = set(self._folders)
        self._unsynced = []
        self._open = {}         # descriptor -> (inode, path)
        self._locked = {}       # descriptor -> path
        self._next_fd = 1000

    def loss(self):
        """What a loss of power would leave now: a Loss."""
        return Loss({number: (inode.base, inode.stuck + inode.pending) for number, inode in self._inodes.items()},
                    dict(self._durable_names), frozenset(self._durable_folders), tuple(self._unsynced))

    def kept(self):
        """{path: bytes}: what is there as long as the power is."""
        return {**dict.fromkeys(sorted(self._folders)),
                **{path: bytes(self._inodes[inode].content) for path, inode in self._names.items()}}

    def restarted(self):
        """A copy, as the next process finds it; the power was on all the time."""
        copy = Platter(boot=self._boot, draw=self._draw)
        copy._inodes = {number: inode.copy() for number, inode in self._inodes.items()}
        copy._names = dict(self._names)
        copy._folders = set(self._folders)
        copy._durable_names = dict(self._durable_names)
        copy._durable_folders = set(self._durable_folders)
        copy._unsynced = list(self._unsynced)
        return copy

    # -- folders -------------------------------------------------------------

    def make_folder(self, path):
        missing = []
        while path not in self._folders:
            missing.append(path)
            path = os.path.dirname(path)
        for one in reversed(missing):
            self.on_change("make_folder", one)
            self._folders.add(one)
            self._unsynced.append(one)
            self.on_done()
            self.sync_folder(os.path.dirname(one))

    def sync_above(self, path):
        while path != "/":
            path = os.path.dirname(path)
            self.sync_folder(path)

    def names(self, path):
        if path not in self._folders:
            raise FileNotFoundError(errno.ENOENT, path)
        inside = [*self._names, *(self._folders - {"/"})]
        return sorted(os.path.basename(one) for one in inside if os.path.dirname(one) == path)

    def sync_folder(self, path):
        self.on_change("sync_folder", path)
        left = []
        forced = set()          # new names of files whose old name is gone for sure
        for one in self._unsynced:
            if isinstance(one, Unlink) and os.path.dirname(one.path) == path and one.new:
                forced.add(one.new)
        for one in self._unsynced:
            name = one if isinstance(one, str) else one.path
            if os.path.dirname(name) != path and name not in forced:
                left.append(one)
            elif isinstance(one, str):
                self._durable_folders.add(one)
            elif isinstance(one, Link):
                self._durable_names[one.path] = one.inode
            else:
                self._durable_names.pop(one.path, None)
        self._unsynced = left
        self.on_done()

    # -- files ---------------------------------------------------------------

    def _new_inode(self, content=b""):
        number = len(self._inodes)
        self._inodes[number] = Inode(content)
        return number

    def _descriptor(self, path):
        fd = self._next_fd = self._next_fd + 1
        self._open[fd] = self._names[path], path
        return fd

    def _inode(self, fd):
        return self._inodes[self._open[fd][0]]

    def create(self, path):
        self.on_change("create", path)
        if path in self._names:
            raise FileExistsError(errno.EEXIST, path)
        self._link(path)
        self.on_done()
        return self._descriptor(path)

    def _link(self, path):
        self._names[path] = self._new_inode()
        self._unsynced.append(Link(path, self._names[path]))

    def open(self, path):
        self.on_change("open", path)
        if path not in self._names:
            raise FileNotFoundError(errno.ENOENT, path)
        return self._descriptor(path)

    def close(self, fd):
        self._locked.pop(fd, None)
        del self._open[fd]

    def size(self, fd):
        return len(self._inode(fd).content)

    def read(self, fd, size, pos):
        self.on_change("read", self._open[fd][1])
        return bytes(self._inode(fd).content[pos:pos + size])

    def write(self, fd, data, pos):
        inode = self._inode(fd)
        data = bytes(data)
        try:
            self.on_change("write", self._open[fd][1])
        except Short as short:
            self._put(inode, pos, data[:short.stored(len(data))])
            raise
        self._put(inode, pos, data)
        self.on_done()

    def write_parts(self, fd, parts, pos):
        self.write(fd, b"".join(parts), pos)

    def _put(self, inode, pos, data):
        put(inode.content, pos, data)
        inode.pending += (Write(pos, data),)

    def sync(self, fd):
        inode = self._inode(fd)
        try:
            self.on_change("sync", self._open[fd][1])
        except OSError:
            inode.stuck += inode.pending
            inode.pending = ()
            raise
        if inode.stuck:
            inode.stuck += tuple(map(Sure, inode.pending))
        else:
            inode.base = bytes(inode.content)
        inode.pending = ()
        self.on_done()

    def forget(self, fd, pos=0):
        """What failed syncs have left turns out one way or the other."""
        inode = self._inode(fd)
        if inode.stuck:
            content = bytearray(inode.base)
            for one in inode.stuck + inode.pending:
                one.apply(content, self._draw.choice(one.fates()))
            inode.content, inode.base = content, bytes(content)
            inode.stuck = inode.pending = ()

    def truncate(self, fd, size):
        self.on_change("truncate", self._open[fd][1])
        inode = self._inode(fd)
        resize(inode.content, size)
        inode.pending += (Cut(size),)
        self.on_done()

    def rename(self, old, new):
        self.on_change("rename", old)
        inode = self._names.pop(old)
        self._names[new] = inode
        self._unsynced += [Link(new, inode, old), Unlink(old, new)]
        self.on_done()

    def remove(self, path):
        self.on_change("remove", path)
        if path not in self._names:
            raise FileNotFoundError(errno.ENOENT, path)
        del self._names[path]
        self._unsynced.append(Unlink(path))
        self.on_done()

    def lock(self, path):
        self.on_change("lock", path)
        if path in self._locked.values():
            raise BlockingIOError(errno.EAGAIN, path)
        if path not in self._names:
            self._link(path)
        fd = self._descriptor(path)
        self._locked[fd] = path
        self.on_done()
        return fd

    def boot(self):
        return self._boot

    def free(self, path):
        return 1 << 40


class Short(OSError):
    """A write that fails after some of it was stored: `part` of it, a fraction, or all but that many bytes if < 0."""

    def __init__(self, code, part=0.5):
        super().__init__(code, os.strerror(code))
        self._part = part

    def stored(self, size):
        return int(size * self._part) if self._part >= 0 else max(0, size + self._part)
