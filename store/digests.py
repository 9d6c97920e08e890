"""A chain of SHA-256 over all events, by which it shows that none was changed since.

    event p ──> digest p = SHA-256(salt p, event p) ──> head p = SHA-256(head p-1, digest p)

    FOLDER/digests      for each position 80 bytes, and nothing else:
    0       16         48       80
    +-------+----------+--------+
    | salt  | digest   | head   |
    +-------+----------+--------+

    salt      16 random bytes; zeros once the event's data was redacted
    digest    of the salt, and for each of stream, number, position, time, name, id, tags,
              metadata and data its length as u64 and its bytes (numbers as u64), little-endian
    head      of the head before it (zeros for position 0) and the digest

Whoever notes a position and its head, somewhere else, can tell later whether
the events before it are what they were: nobody can change one and come to the
same head.  The salt keeps those who have the digest from guessing what was
redacted: with the data goes the salt, and the digest stays.

Events are added behind the appends, in a thread of their own, once they are on
disk; an append pays nothing.  A crash leaves at most some torn entries at the
end, which are made again.
"""

import hashlib
import logging
import os
import struct
import threading
from typing import NamedTuple

from .cut import Cuts
from .errors import ChainBroken, EventsLost, StoreClosed, StoreError
from .keeper import Keeper
from .record import is_redacted

logger = logging.getLogger("meilies.store")

NAME = "digests"

_SALT, _SUM = 16, 32
_ENTRY = _SALT + 2 * _SUM
_NO_SALT = bytes(_SALT)
_NO_HEAD = bytes(_SUM)
_U64 = struct.Struct("<Q")

# Seconds between two looks for new events, and of a pause between two portions of a verification.
_INTERVAL = 1.0
_PAUSE = 0.005

# Events that are added at once, and synced before the next; and compared between two pauses.
_EVENTS = 1000


class Verified(NamedTuple):
    """What a chain was found to be.

    position   every event before it was looked at
    head       of the last one, 64 hexadecimal digits; zeros if there is none
    same       events that are what they were
    gone       events that were redacted or cut off, whose digests stand
    """

    position: int
    head: str
    same: int
    gone: int


class HashChain:
    """The chain of an open store: kept up by a thread of its own, verified on request.

    store      whose events these are; it calls `stop` before it closes
    files      where its file is made if it isn't there
    """

    def __init__(self, store, files):
        self._store = store
        self._stopping = threading.Event()
        self._digests = Digests(store.path, files)
        if self._digests.position > store.position:
            self._begin_anew(files)
        self._keeper = Keeper("meilies-digests", self._extend_quietly, interval=_INTERVAL)

    def _begin_anew(self, files):
        """The log lost events that the chain has: it is evidence, and can't go on."""
        had = self._digests.position
        self._digests.close()
        kept = Cuts(files, self._store.path).set_aside(os.path.join(self._store.path, NAME))
        logger.error("%s: the chain of digests has %d events, the log %d; it is kept as %s and a new one begun",
                     self._store.path, had, self._store.position, kept)
        self._digests = Digests(self._store.path, files)

    def extend(self):
        """Add what is on disk by now.

        Raises    StoreError, OSError
        """
        self._digests.extend(self._read, min(self._store.synced, self._store.position))

    def _extend_quietly(self):
        try:
            self.extend()
        except (StoreError, OSError) as error:
            logger.warning("%s: the chain of digests isn't up to date (%s); it is tried again", self._store.path, error)

    def _read(self, first, stop):
        try:
            events, following = self._store.page(first, stop)
            return [event for event in events if not is_redacted(event)], following
        except EventsLost as lost:
            return [], min(lost.stop, stop)

    @property
    def position(self):
        """Every event before it is in the chain."""
        return self._digests.position

    def copied(self):
        """(path, bytes) of its file that are of events which are on disk."""
        return self._digests.path, self._digests.position * _ENTRY

    def head(self):
        """(position, head) of all that is on disk: what to note somewhere else.

        Raises    StoreError, OSError
        """
        self.extend()
        position = self._digests.position
        return position, self._digests.head(position)

    def verify(self, known=None, progress=lambda done, of: None):
        """Read every event and compare it with its digest; return a Verified.

        known      (position, head) as `head` gave it at some time, or None
        Raises     ChainBroken   at the first position where something isn't what it was
                   StoreError, OSError
        """
        self.extend()
        return self._digests.verify(self._read, known, progress, self._pause)

    def _pause(self):
        if self._stopping.wait(_PAUSE):
            raise StoreClosed()

    def redact(self, position, redact):
        """Call `redact`, which takes the data of the event there, or says that there is none; its salt goes before.

        Raises    OSError, and what `redact` does
        """
        self._digests.redact(position, redact)

    def stop(self):
        """Add what is on disk, and end the thread; a verification that is under way ends."""
        self._stopping.set()
        self._keeper.stop()
        self._extend_quietly()
        self._digests.close()


class Digests:
    """The chain of one store.

    path     of its file
    read     read(first, stop) gives Events with positions in [first, stop), some from the first on, and
             the position to go on from.  Those that it leaves out were cut off or redacted
    folder, files   where its file is; it is made if it isn't there

    `_lock` guards the end of the file; it is held over its writes and syncs, and over
    redactions.  Nobody who appends or reads takes it.
    """

    def __init__(self, folder, files):
        self._files = files
        self.path = os.path.join(folder, NAME)
        self._lock = threading.Lock()
        try:
            self._fd = files.create(self.path)
            files.sync_folder(folder)
        except FileExistsError:
            self._fd = files.open(self.path)
        try:
            self._position = self._find_end()
        except BaseException:
            files.close(self._fd)
            raise

    def _find_end(self):
        """How many whole entries the file has: a crash may have torn what was added last."""
        size = self._files.size(self._fd)
        position = max(0, size // _ENTRY - _EVENTS)     # all before was synced
        head = self._head(position)
        while (position + 1) * _ENTRY <= size:
            _, digest, found = self._entry(position)
            head = hashlib.sha256(head + digest).digest()
            if found != head:
                break
            position += 1
        self._files.truncate(self._fd, position * _ENTRY)
        return position

    def close(self):
        self._files.close(self._fd)

    @property
    def position(self):
        """Every event before it is in the chain."""
        return self._position

    def head(self, position):
        """The head of the events before `position`, 64 hexadecimal digits."""
        return self._head(position).hex()

    def _head(self, position):
        return self._entry(position - 1)[2] if position else _NO_HEAD

    def _entry(self, position):
        """(salt, digest, head) of one event."""
        data = self._files.read(self._fd, _ENTRY, position * _ENTRY)
        return data[:_SALT], data[_SALT:-_SUM], data[-_SUM:]

    def extend(self, read, stop):
        """Add the events up to position `stop`, all of them on disk."""
        with self._lock:
            while self._position < stop:
                self._add(read, min(stop, self._position + _EVENTS))

    def _add(self, read, stop):
        first = self._position
        head = self._head(first)
        entries = []
        for _, event in _in_order(read, first, stop):
            salt = _NO_SALT if event is None else os.urandom(_SALT)
            digest = hashlib.sha256(salt).digest() if event is None else digest_of(salt, event)
            head = hashlib.sha256(head + digest).digest()
            entries.append(salt + digest + head)
        self._files.write(self._fd, b"".join(entries), first * _ENTRY)
        self._files.sync(self._fd)
        self._position = stop

    # A crash, or a refusal, between the two leaves an event whose salt is gone: nothing shows any more that it is what
    # it was.  The other way round it would look as if somebody had changed it.
    def redact(self, position, redact):
        """Take the salt of an event away, and then its data: nobody can guess it from its digest."""
        with self._lock:        # or the event could come into the chain between the two
            if position is not None and position < self._position:
                self._files.write(self._fd, _NO_SALT, position * _ENTRY)
                self._files.sync(self._fd)
            redact()

    def verify(self, read, known=None, progress=lambda done, of: None, pause=lambda: None):
        """Compare every event with its digest, and every head with those before it; return what was found (Verified).

        known      (position, head) that somebody noted, or None
        pause      called between portions
        Raises     ChainBroken   at the first position where something isn't what it was
        """
        stop = self._position
        head, same, gone = _NO_HEAD, 0, 0
        for position, event in _in_order(read, 0, stop):
            salt, digest, found = self._entry(position)
            head = hashlib.sha256(head + digest).digest()
            if found != head:
                raise ChainBroken(position, "its head doesn't follow from those before it")
            if event is None or salt == _NO_SALT:
                gone += 1
            elif digest_of(salt, event) == digest:
                same += 1
            else:
                raise ChainBroken(position, f"event {event.number} of stream {event.stream!r} isn't what it was")
            if not (position + 1) % _EVENTS or position + 1 == stop:
                progress(position + 1, stop)
                pause()
        self._compare(known)
        return Verified(stop, head.hex(), same, gone)

    def _compare(self, known):
        if known is None:
            return
        position, head = known
        if position > self._position:
            raise ChainBroken(self._position, f"the chain ends here, and a head of position {position} was noted")
        if self.head(position) != head.lower():
            raise ChainBroken(position, f"its head is {self.head(position)}, and {head} was noted: events before it, "
                              f"and the chain with them, were changed")


def _in_order(read, first, stop):
    """Yield (position, Event) for each position in [first, stop); None where `read` has none."""
    while first < stop:
        events, following = read(first, stop)
        for event in events:
            yield from ((position, None) for position in range(first, event.position))
            yield event.position, event
            first = event.position + 1
        yield from ((position, None) for position in range(first, following))
        first = following


def digest_of(salt, event):
    """The digest of an event with its salt."""
    parts = [salt]
    for field in (event.stream.encode(), event.number, event.position, event.time, event.name.encode(), event.id,
                  b"\0".join(event.tags), event.metadata, event.data):
        field = _U64.pack(field) if type(field) is int else field
        parts += _U64.pack(len(field)), field
    return hashlib.sha256(b"".join(parts)).digest()
