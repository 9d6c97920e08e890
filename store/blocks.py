"""Pieces of the log whose events are in memory stream by stream, for replays of scattered streams.

    log       a b c d a b e c a …         an event of a stream each so many KB
    Block     a: 1 2 3   b: 1 2   …       one look-up for all that a stream has there

To read one event from the log takes about 6 us, for all of its record is read and
compared with a checksum; to gather the 6,000 events of a block takes as long as
some hundred of these.  So a block is made once so many were read of it, and those
that were used last are kept, in bounded memory.

What is in a block doesn't change: it lies before the end of its segment, and a
segment that is written anew is another one.
"""

import threading
from collections import OrderedDict

from . import record
from .segment import HEADER_SIZE

# Bytes of the log, by which records begin in it.
SIZE = 1 << 20
# Events that were read of a block, each by itself, when it is made.
WORTH_IT = 256
# Bytes of all blocks.
MEMORY = 128 << 20

# About what a stream takes in a block, but for its frames.
_STREAM = 350
# Blocks that aren't made, of which it is known how many events were read.
_COUNTED = 4096


class Blocks:
    """See the top of this file.

    index   the log's
    limit   bytes that they may take

    Any thread may call it.  `_lock` guards which blocks there are, and is held over
    operations of dicts alone; two threads may make the same block.
    """

    def __init__(self, index, limit=MEMORY):
        self._index = index
        self._limit = limit
        self._lock = threading.Lock()
        self._blocks = OrderedDict()    # (Segment, which) -> ({stream: Stretch}, bytes); used last, stands last
        self._reads = {}                # (Segment, which) -> events that were read of it
        self._size = 0

    def get(self, segment, byte):
        """{stream: its first Stretch} of the block that the record at `byte` is in, or None: there is none."""
        with self._lock:
            found = self._blocks.get((segment, byte // SIZE))
            if found is None:
                return None
            self._blocks.move_to_end((segment, byte // SIZE))
            return found[0]

    def count(self, segment, byte):
        """An event of the record at `byte` is about to be read.  True if `make` is worth it by now."""
        which = byte // SIZE
        with self._lock:
            if len(self._reads) >= _COUNTED:
                self._reads.clear()
            reads = self._reads[segment, which] = self._reads.get((segment, which), 0) + 1
        return reads >= WORTH_IT and segment.end >= (which + 1) * SIZE and self._limit >= 2 * SIZE

    def make(self, segment, byte):
        """Make the block that the record at `byte` is in; it is as from `get`.  Raises IndexDamaged, OSError."""
        which = byte // SIZE
        start, stop = which * SIZE, (which + 1) * SIZE
        begin = self._index.byte_up_to(segment.sequence, start) or HEADER_SIZE
        buffer = segment.files.read(segment.fd, min(stop + record.LONG_BODY, segment.end) - begin, begin)
        found = record.stretches(buffer, 0, stop - begin, segment.salt)
        size = sum(_STREAM + len(one.data) + len(one.ends) for one in found.values())
        with self._lock:
            self._reads.pop((segment, which), None)
            if (segment, which) not in self._blocks:
                self._blocks[segment, which] = found, size
                self._size += size
            while self._size > self._limit:
                _, (_, size) = self._blocks.popitem(last=False)
                self._size -= size
        return found

    def forget(self):
        """A segment was replaced."""
        with self._lock:
            self._blocks.clear()
            self._reads.clear()
            self._size = 0
