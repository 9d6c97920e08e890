"""Pieces of the log whose events are in memory stream by stream, for replays of scattered streams.

    log       a b c d a b e c a …         an event of a stream each so many KB
    Block     a: 1 2 3   b: 1 2   …       one look-up for all that a stream has there

To read one event from the log takes about 6 us, for all of its record is read and
compared with a checksum; to gather the 12,000 events of a block takes as long as
a thousand of these.  So a block is made once a quarter of that were read of it, and those
that were used last are kept, in bounded memory.  Small records in a row take a tenth
of that each; they are counted for less.

What is in a block doesn't change: it lies before the end of its segment, and a
segment that is written anew is another one.
"""

import threading
import time
from collections import OrderedDict

from . import record
from .segment import HEADER_SIZE

# Bytes of the log, by which records begin in it.
SIZE = 2 << 20
# Events that were read of a block, each by itself, when it is made.
WORTH_IT = 256
# Bytes of all blocks.
MEMORY = 128 << 20

# About what a stream takes in a block, but for its frames.
_STREAM = 350
# Seconds for which a block stays that was used, whoever wants its room: who reads more in a circle than there is room
# for would else make each block anew each time.
_STAYS = 10.0
# Blocks that aren't made, of which it is known how many events were read.
_COUNTED = 4096


class Blocks:
    """See the top of this file.

    index   the log's
    limit   bytes that they may take

    Any thread may call it.  `_lock` guards which blocks there are, and is held over
    operations of dicts alone; two threads may make the same block.
    """

    def __init__(self, index, limit=MEMORY, clock=time.monotonic):
        self._index = index
        self._limit = limit
        self._clock = clock
        self._lock = threading.Lock()
        self._blocks = OrderedDict()    # (Segment, which) -> _Block; used last, stands last
        self._reads = {}                # (Segment, which) -> events that were read of it
        self._size = 0

    def get(self, segment, byte):
        """{stream: its first Stretch} of the block that the record at `byte` is in, or None: there is none."""
        at = segment, byte // SIZE
        with self._lock:
            found = self._blocks.get(at)
            if found is None:
                return None
            self._blocks.move_to_end(at)
            found.used = self._clock()
            return found.stretches

    def count(self, segment, byte, events):
        """So many events of the records from `byte` on were read, each by itself."""
        at = segment, byte // SIZE
        with self._lock:
            if len(self._reads) >= _COUNTED:
                self._reads.clear()
            self._reads[at] = self._reads.get(at, 0) + events

    def is_wanted(self, segment, byte):
        """Whether to make the block that the record at `byte` is in: it is whole, was read, and there is room."""
        which = byte // SIZE
        if self._reads.get((segment, which), 0) < WORTH_IT or segment.end < (which + 1) * SIZE:
            return False
        with self._lock:
            if self._size + 2 * SIZE <= self._limit:
                return True
            oldest = next(iter(self._blocks.values()), None)
            return oldest is not None and oldest.used < self._clock() - _STAYS

    def make(self, segment, byte):
        """Make the block that the record at `byte` is in; it is as from `get`.  Raises IndexDamaged, OSError."""
        which = byte // SIZE
        start, stop = which * SIZE, (which + 1) * SIZE
        begin = self._index.byte_up_to(segment.sequence, start) or HEADER_SIZE
        buffer = segment.files.read(segment.fd, min(stop + record.LONG_BODY, segment.end) - begin, begin)
        block = _Block(record.stretches(buffer, 0, stop - begin, begin, segment.salt), self._clock())
        with self._lock:
            self._reads.pop((segment, which), None)
            if (segment, which) not in self._blocks:
                self._blocks[segment, which] = block
                self._size += block.size
            while self._size > self._limit:
                _, oldest = self._blocks.popitem(last=False)
                self._size -= oldest.size
        return block.stretches

    def forget(self):
        """A segment was replaced."""
        with self._lock:
            self._blocks.clear()
            self._reads.clear()
            self._size = 0


class _Block:
    """stretches   {stream: its first Stretch}

    size   bytes that it takes, about
    used   when it was
    """

    __slots__ = ("stretches", "size", "used")

    def __init__(self, stretches, now):
        self.stretches = stretches
        self.size = sum(_STREAM + len(one.data) + len(one.ends) for one in stretches.values())
        self.used = now
