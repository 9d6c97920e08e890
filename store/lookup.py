"""Which events have a key: a hash of 64 bits to positions, kept for the events that have ids or tags.

    appended ──> Fresh, in memory ──flush──> sqlite3, in leaves
                   |                           |
                   '------- Cursor.first() <---'

An entry is a hash and a position.  What is in sqlite3 is sorted and cut into leaves, a row each:

     (hash, position)    (hash, position)
    +-------------------+-------------------+-----+---------------------+------------------------+
    | of its first      | where the next    | crc | hashes, 8 bytes     | positions, 8 bytes     |
    | entry, or before  | leaf begins       |     | each, little-endian | each, little-endian    |
    +-------------------+-------------------+-----+---------------------+------------------------+

Each leaf says where the next one begins: so it says of every key between the two
that it isn't there, and a row that was changed or lost shows.  That matters more
than what is found: an event that is found is compared in the log, one that isn't
is stored again.

The log is the truth and this is made from it.  Whatever doesn't fit raises
LookupDamaged, whose cure is to delete the file and read the log again.  Only
events that are on disk enter it, so it never knows more than the log.  The file is
made with the first entry; who has no ids and no tags has none.

Locks: `_lock` guards the sqlite3 connection, of which there is one (see index.py),
`_fresh_lock` the list of Fresh and what is in them, `_writing` whose turn it is to
change rows.  The first two are never held together, and `_writing` is taken before them.
"""

import logging
import os
import sqlite3
import threading
import zlib
from array import array
from bisect import bisect_left, bisect_right
from typing import NamedTuple

from . import sqlite
from .arrays import packed, unpacked
from .errors import StoreFull
from .files import make_private

log = logging.getLogger("meilies.lookup")

_VERSION = 1

# SQLite's integers have a sign, so hashes have one too.
MIN_HASH, MAX_HASH = -1 << 63, (1 << 63) - 1
_FIRST, _END = (MIN_HASH, 0), (MAX_HASH, MAX_HASH)

# Entries in a leaf.  Six such rows fill a page; each entry more makes every look-up read and check more.
_MAX_LEAF = 120
# A leaf that is split leaves a quarter of each part free.
_FILLED = 90

# Entries in memory before they are to be moved: the more at once, the fewer leaves are written for each.
FULL = 32768
# So many full ones may wait to be moved; see `is_behind`.
_WAITING = 4

# The lock is let go, and other threads' look-ups let in, after so many leaves.
_LEAVES_AT_ONCE = 100

_COLUMNS = "hash, position, next_hash, next_position, crc, packed"
# The leaf that tells of a key; and those of several hashes, a query's own cost being most of what one leaf costs, but
# for so few.
_FEW = 4
_LEAF_OF = (f"select {_COLUMNS} from leaves where (hash, position) <= (?, ?) "
            f"order by hash desc, position desc limit 1")
_LEAVES_OF = (f"with wanted(h) as (values %s) select wanted.h, {_COLUMNS} from wanted, leaves where (hash, position) = "
              f"(select hash, position from leaves where (hash, position) <= (wanted.h, 0) "
              f"order by hash desc, position desc limit 1)")

# What reading a damaged file may lead to: any value, of any type, may stand in a column.
_NONSENSE = (sqlite3.Error, LookupError, TypeError, ValueError, ArithmeticError)

# Without rowid a row may take a quarter of a page before it is spread over several.
_SCHEMA = """
create table about (key text primary key, value) without rowid;
create table leaves (hash integer, position integer, next_hash integer, next_position integer, crc integer,
                     packed blob, primary key (hash, position)) without rowid;
"""


class LookupDamaged(Exception):
    """The look-up contradicts itself or the log; the log is right."""


class Reach(NamedTuple):
    """How far a look-up goes: all before this position is in it.

    sequence   of the segment
    byte       where the last record before that position begins; 0 if it stands in the segment before
    position   of the next event
    print      checksum of what stands at that byte, by which a stranger's file is known
    """

    sequence: int
    byte: int
    position: int
    print: int


class Fresh:
    """Entries that sqlite3 doesn't have yet.  Guarded by the lookup's `_fresh_lock`.

    entries   hash -> position, or a list of them from the second on
    reach     the Reach where they end, None while more are added
    """

    __slots__ = ("entries", "count", "reach")

    def __init__(self):
        self.entries = {}
        self.count = 0
        self.reach = None

    def add(self, hash_, position):
        known = self.entries.get(hash_)
        if known is None:
            self.entries[hash_] = position
        elif type(known) is int:
            self.entries[hash_] = [known, position]
        else:
            known.append(position)
        self.count += 1

    def positions(self, hash_):
        """Those of one hash, ascending."""
        known = self.entries.get(hash_)
        if known is None:
            return []
        return [known] if type(known) is int else known

    def sorted(self):
        """All entries, in the order in which leaves have them."""
        return [(hash_, position) for hash_ in sorted(self.entries) for position in self.positions(hash_)]


class Lookup:
    """See the top of this file.

    path     of the sqlite3 file, which is made for the first entry
    wanted   set when there is something to flush
    added    how many entries were added since it was opened
    unusable   the error that kept it from being made anew, or None; then it says so to whoever looks for something
               or adds to it, and nothing is moved: half of it would pass for all
    """

    def __init__(self, path, full=FULL):
        self.path = path
        self.uuid = None            # of the store that it belongs to
        self.wanted = threading.Event()
        self.added = 0
        self.unusable = None
        self._full = full
        self._lock = threading.Lock()
        self._fresh_lock = threading.Lock()
        self._room = threading.Condition(self._fresh_lock)     # notified when something was moved, or can't be
        self._stuck = None          # why not
        self._writing = threading.Lock()
        self._fresh = []            # oldest first; the last one is added to
        self._moved = 0             # entries before this position aren't in memory any more
        self._connection = None     # None: no file, or it is closed

    # -- opening -------------------------------------------------------------

    def load(self):
        """How far the file goes, a Reach; None if there is no file.

        Raises    LookupDamaged
        """
        if not os.path.exists(self.path):
            return None
        try:
            with self._lock:
                self._connect()
                about = dict(self._connection.execute("select key, value from about"))
            if (about["uuid"], about["version"]) != (self.uuid, _VERSION):
                raise LookupDamaged("it belongs to another store or version")
            reach = Reach(*(about[field] for field in Reach._fields))
            if about["crc"] != _checksum_of(reach):
                raise LookupDamaged("what it says of itself doesn't match its checksum")
        except _NONSENSE as error:
            raise LookupDamaged(f"{type(error).__name__}: {error}") from None
        return reach

    def _connect(self):
        if self._connection is not None:
            return
        # isolation_level=None: transactions begin and end where this file says.
        make_private(self.path)
        self._connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        self._connection.execute("pragma page_size=8192")
        self._connection.execute("pragma journal_mode=wal")
        self._connection.execute("pragma synchronous=normal")
        if not self._connection.execute("select 1 from sqlite_master").fetchone():
            self._connection.executescript("begin; %s" % _SCHEMA)
            self._connection.execute("insert into leaves values (?, ?, ?, ?, ?, ?)", _row(_FIRST, _END, [], []))
            self._connection.execute("commit")

    def begin(self, position):
        """What is added from now on is at and behind `position`."""
        with self._fresh_lock:
            self._fresh = [Fresh()]
            self._moved = position

    def discard(self):
        """Delete what is on disk; what is in memory stays, and is flushed in time."""
        with self._lock:
            self._disconnect()
            sqlite.remove(self.path)

    def close(self):
        with self._lock:
            self._disconnect()

    def _disconnect(self):
        sqlite.close(self._connection, self.path, log)
        self._connection = None

    # -- adding --------------------------------------------------------------

    def add(self, entries):
        """Note (hash, position) pairs; positions only go up.  Returns whether they are to be sealed."""
        with self._fresh_lock:
            fresh = self._fresh[-1]
            for hash_, position in entries:
                fresh.add(hash_, position)
            self.added += len(entries)
            return fresh.count >= self._full

    def seal(self, reach):
        """What was added so far is complete up to `reach`; a flush may take it."""
        with self._fresh_lock:
            sealed = self._fresh[-1]
            sealed.reach = reach
            self._fresh.append(Fresh())
        if sealed.count:
            self.wanted.set()

    def wait_for_room(self):
        """Return when no more waits in memory than should.

        Raises    StoreFull    for it can't be moved
                  `unusable`
        """
        if self.unusable is not None:
            raise self.unusable
        if len(self._fresh) <= _WAITING:
            return
        with self._fresh_lock:
            while self.is_full:
                self.wanted.set()
                if self._stuck is not None:
                    raise StoreFull(self.path, OSError(0, f"what is in memory can't be moved to it ({self._stuck})"))
                self._room.wait()

    @property
    def is_full(self):
        """Whether so much waits in memory that appends with keys have to."""
        return sum(1 for fresh in self._fresh[:-1] if fresh.count) >= _WAITING

    @property
    def moved(self):
        """Everything before this position is in the file, everything after it in memory."""
        with self._fresh_lock:
            return self._moved

    def flush(self, durable):
        """Move what is sealed, and on disk up to position `durable`, from memory to sqlite3.

        Returns the position up to which more has to be on disk for the rest to be moved, or None.
        Raises    sqlite3.Error, LookupDamaged: nothing is lost, memory has it still
        """
        with self._writing:
            while self.unusable is None:
                with self._fresh_lock:
                    fresh = self._fresh[0]
                if fresh.reach is None:
                    return None
                if fresh.reach.position > durable:
                    return self._waiting()
                try:
                    # Without a file there was never an entry, and nothing to say how far it goes.
                    if fresh.count or self._connection is not None:
                        self._put(fresh.sorted(), fresh.reach)
                except Exception as error:
                    self._tell(error)
                    raise
                with self._fresh_lock:
                    del self._fresh[0]
                    self._moved = fresh.reach.position
                self._tell(None)

    def _waiting(self):
        """The position up to which events have to be on disk for all sealed entries to be moved, or None."""
        with self._fresh_lock:
            return max((fresh.reach.position for fresh in self._fresh[:-1] if fresh.count), default=None)

    def _tell(self, stuck):
        """Those who wait for room: something was moved, or it can't be."""
        with self._fresh_lock:
            self._stuck = stuck
            self._room.notify_all()

    def make_anew(self, portions):
        """Begin a new file with what `portions` yields: (entries, the Reach that they go to).

        Raises    sqlite3.Error, OSError, and what `portions` raises
        """
        with self._writing:
            self.discard()
            for entries, reach in portions:
                self._put(sorted(entries), reach)

    def fill_up(self, portions):
        """Add to the file what `portions` yields, as in `make_anew`.

        Raises    sqlite3.Error, LookupDamaged, and what `portions` raises
        """
        with self._writing:
            for entries, reach in portions:
                self._put(sorted(entries), reach)

    # One transaction, so that a crash leaves the file as it was before; look-ups get in between, and may
    # see what memory knows as well.
    def _put(self, entries, reach):
        with self._lock:
            self._connect()
            self._connection.execute("begin immediate")
        try:
            at = 0
            while at < len(entries):
                with self._lock:
                    for _ in range(_LEAVES_AT_ONCE):
                        at = self._put_in_leaf(entries, at)
                        if at == len(entries):
                            break
            about = dict(reach._asdict(), uuid=self.uuid, version=_VERSION, crc=_checksum_of(reach))
            with self._lock:
                self._usable().executemany("insert or replace into about values (?, ?)", about.items())
                self._connection.execute("commit")
        except BaseException:
            with self._lock:
                if self._connection is not None and self._connection.in_transaction:
                    self._connection.rollback()
            raise

    def _put_in_leaf(self, entries, at):
        """Put entries[at] and those after it that belong there into its leaf; how far it came."""
        first, following, hashes, positions = self._leaf(*entries[at])
        until = len(entries) if following == _END else bisect_left(entries, following, at)
        for hash_, position in entries[at:until]:
            place = _place(hashes, positions, hash_, position)
            if hashes[place:place + 1].tolist() != [hash_] or positions[place] != position:
                hashes.insert(place, hash_)
                positions.insert(place, position)
        self._connection.executemany("insert or replace into leaves values (?, ?, ?, ?, ?, ?)",
                                     _rows(first, following, hashes, positions))
        return until

    def _usable(self):
        if self._connection is None:
            raise sqlite3.ProgrammingError("the look-up is closed")
        return self._connection

    # -- looking up ----------------------------------------------------------

    def find(self, hash_):
        """The positions of the events that may have the key of this hash, ascending.

        Raises    LookupDamaged, `unusable`
        """
        cursor = Cursor(self, hash_)
        found = []
        position = cursor.first(0)
        while position is not None:
            found.append(position)
            position = cursor.first(position + 1)
        return found

    def find_many(self, hashes):
        """{hash: what `find` gives} of those of `hashes` that are known.

        Raises    LookupDamaged, `unusable`
        """
        found = {hash_: self.find(hash_) for hash_ in self._in_memory_of(hashes)}
        hashes = sorted(hashes)
        for at in range(0, len(hashes), _LEAVES_AT_ONCE):
            for hash_ in self._in_file_of(hashes[at:at + _LEAVES_AT_ONCE]):
                found[hash_] = self.find(hash_)
        return found

    def _in_memory_of(self, hashes):
        with self._fresh_lock:
            return [hash_ for fresh in self._fresh for hash_ in hashes if hash_ in fresh.entries]

    def _in_file_of(self, hashes):
        """Those of some hashes, which ascend, that the file has an entry of."""
        if self.unusable is not None:
            raise self.unusable
        known = []
        with self._lock:
            if self._connection is None:
                return known
            try:
                rows = self._rows_of(hashes)
                if len(rows) < len(hashes):
                    raise LookupDamaged("it has lost its first leaf")
                for hash_, *row in rows:
                    _, (next_hash, _), data = _checked(row, hash_, 0)
                    its_hashes = unpacked("q", data[:len(data) // 2])
                    begin = bisect_left(its_hashes, hash_)
                    if next_hash == hash_ or its_hashes[begin:begin + 1].tolist() == [hash_]:
                        known.append(hash_)     # else it isn't there, which is what nearly every new id comes to
            except _NONSENSE as error:
                raise LookupDamaged(f"{type(error).__name__}: {error}") from None
        return known

    def _rows_of(self, hashes):
        """[(hash, what its leaf's row holds …), …]"""
        if len(hashes) < _FEW:
            return [(hash_, *row) for hash_ in hashes for row in self._connection.execute(_LEAF_OF, (hash_, 0))]
        return self._connection.execute(_LEAVES_OF % ",".join(["(?)"] * len(hashes)), hashes).fetchall()

    def has_since(self, hashes, added, position):
        """Whether there are entries of these hashes, at or after a position, that a look-up may not have seen.

        added   what `added` was, and `position` the next one, before that look-up began
        """
        with self._fresh_lock:
            if self.added == added:
                return False
            return self._moved > position or any(fresh.positions(hash_)[-1:] >= [position]
                                                 for fresh in self._fresh for hash_ in hashes)

    def in_memory(self, hash_):
        """The positions of a hash that memory knows, ascending."""
        with self._fresh_lock:
            return [position for fresh in self._fresh for position in fresh.positions(hash_)]

    def leaf(self, hash_, position):
        """((hash, position) of the leaf that has these, that of the next one, hashes, positions).

        None if there is no file.
        Raises    LookupDamaged, `unusable`
        """
        if self.unusable is not None:
            raise self.unusable
        with self._lock:
            return None if self._connection is None else self._leaf(hash_, position)

    def _leaf(self, hash_, position):
        try:
            row = self._usable().execute(_LEAF_OF, (hash_, position)).fetchone()
            if row is None:
                raise LookupDamaged("it has lost its first leaf")
            first, following, data = _checked(row, hash_, position)
            half = len(data) // 2
            return first, following, unpacked("q", data[:half]), unpacked("Q", data[half:])
        except _NONSENSE as error:
            raise LookupDamaged(f"{type(error).__name__}: {error}") from None

    # -- checking ------------------------------------------------------------

    def entries(self):
        """Yield each (hash, position) of the file, in order, having checked its leaf.

        Raises    LookupDamaged
        """
        key = _FIRST
        while key != _END:
            leaf = self.leaf(*key)
            if leaf is None:
                return
            _, key, hashes, positions = leaf
            yield from zip(hashes, positions)


class Cursor:
    """The positions of one hash, in any order of asking; what was added since it was made may not be seen.

    Raises    LookupDamaged, from `first`
    """

    def __init__(self, lookup, hash_):
        self._lookup = lookup
        self._hash = hash_
        # First memory: what is moved meanwhile is then seen in the file as well, and not in neither.
        self._fresh = lookup.in_memory(hash_)
        self._begin = self._end = 0     # the positions that the leaf at hand tells of
        self._positions = ()            # and those that there are

    def first(self, position):
        """The first of them at or after `position`, or None."""
        on_disk = self._on_disk(position)
        at = bisect_left(self._fresh, position)
        if at == len(self._fresh):
            return on_disk
        return self._fresh[at] if on_disk is None else min(on_disk, self._fresh[at])

    def _on_disk(self, position):
        while True:
            if not self._begin <= position < self._end and not self._load(position):
                return None
            at = bisect_left(self._positions, position)
            if at < len(self._positions):
                return self._positions[at]
            position = self._end
            if position == MAX_HASH:
                return None

    def _load(self, position):
        """Have the leaf that tells of `position` at hand; False if there is no file."""
        leaf = self._lookup.leaf(self._hash, position)
        if leaf is None:
            return False
        (hash_, begin), (next_hash, end), hashes, positions = leaf
        self._begin = begin if hash_ == self._hash else 0
        self._end = end if next_hash == self._hash else MAX_HASH
        self._positions = positions[bisect_left(hashes, self._hash):bisect_right(hashes, self._hash)]
        return True


def _checked(row, hash_, position):
    """(its first entry, the next leaf's, its bytes) of a leaf that should tell of (hash, position).

    Raises    LookupDamaged, and of _NONSENSE
    """
    *bounds, crc, data = row
    if crc != _checksum(data, *bounds):
        raise LookupDamaged("a leaf doesn't match its checksum")
    first, following = tuple(bounds[:2]), tuple(bounds[2:])
    if not first <= (hash_, position) < following:
        raise LookupDamaged("it has lost a leaf")
    return first, following, data


def _place(hashes, positions, hash_, position):
    """Where (hash, position) is among sorted entries, or goes."""
    begin = bisect_left(hashes, hash_)
    if begin == len(hashes) or hashes[begin] != hash_:
        return begin
    return bisect_left(positions, position, begin, bisect_right(hashes, hash_, begin))


def _rows(first, following, hashes, positions):
    """The rows of one leaf, or of several if it holds too much for one."""
    count = len(hashes)
    if count <= _MAX_LEAF:
        return [_row(first, following, hashes, positions)]
    begins = range(0, count, _FILLED)
    bounds = [first, *((hashes[begin], positions[begin]) for begin in begins[1:]), following]
    return [_row(bounds[i], bounds[i + 1], hashes[begin:begin + _FILLED], positions[begin:begin + _FILLED])
            for i, begin in enumerate(begins)]


def _row(first, following, hashes, positions):
    data = packed(array("q", hashes)) + packed(array("Q", positions))
    return (*first, *following, _checksum(data, *first, *following), data)


def _checksum(data, *bounds):
    return zlib.crc32(b"%d,%d,%d,%d" % bounds, zlib.crc32(data))


def _checksum_of(reach):
    return zlib.crc32(repr(reach).encode())
