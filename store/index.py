"""Where events are: (stream, number) and position to a byte of a segment.  And the newest
entry of each topic and key that controls put into the log.

    appended ──> Fresh, in memory, one a segment ──flush──> sqlite3, a row a stream and stretch
                   |                                          |
                   '---------------- places() <---------------'

A place is a number and a byte, held as one integer: number << 32 | byte.
The index is sparse: a record that begins where the one before it, of the same
stream, ended has no place of its own until 64 KiB have gone by.

The log is the truth and this is made from it.  Rows carry checksums, heads add
up to the position they were written at, and whatever doesn't fit raises
IndexDamaged, whose cure is to delete the file and read the log again.  Only
events that are on disk enter it, so it never knows more than the log.

Locks: `_lock` guards the sqlite3 connection (there is one: SQLite before 3.51.3
can lose data when two connections reset the write-ahead log), `_fresh_lock` the
lists of Fresh and what is in them, and what isn't in them yet.  Neither is held while
waiting for the other.
"""

import logging
import sqlite3
import threading
import zlib
from array import array
from bisect import bisect_left, bisect_right
from itertools import islice
from typing import NamedTuple

from . import arrays, sqlite
from .files import make_private
from .inflate import inflate

log = logging.getLogger("meilies.index")

# Version 1 had no controls, 2 no times that only go up and no word of where ids are: such an index is made anew.
_VERSION = 3
_BYTE = (1 << 32) - 1
_MAX_SQLITE = (1 << 63) - 1

# A mark (position, byte, latest) is kept each time this many bytes went by: where a record begins, and
# the highest clock of what stands before it, or was written with it.
SPACING = 64 * 1024

# A longer value is left in the log, and known by its place.
_LONG_VALUE = 512

# What reading a damaged file may lead to: any value, of any type, may stand in a column.
_NONSENSE = (sqlite3.Error, LookupError, TypeError, ValueError, ArithmeticError)

# The lock is let go, and other threads' look-ups let in, after so many rows.
_ROWS_AT_ONCE = 1000

# Rows of marks that are kept unpacked: each is of a segment, or a part of one, and of 100 KB at most.
_MARKS_KEPT = 32

_SCHEMA = """
create table controls (topic text, key blob, segment integer, byte integer, value blob, crc integer,
                       primary key (topic, key)) without rowid;
create table about (key text primary key, value) without rowid;
create table heads (name blob primary key, next integer, crc integer) without rowid;
create table places (stream blob, first integer, last integer, segment integer, packed blob, crc integer,
                     primary key (stream, first)) without rowid;
create table marks (segment integer, first integer, latest integer, latest_crc integer, packed blob, crc integer,
                    primary key (segment, first)) without rowid;
"""


class IndexDamaged(Exception):
    """The index contradicts itself or the log; the log is right."""


class IndexOfOtherVersion(IndexDamaged):
    """Another version of this code wrote the index: it isn't damaged, and can't be used either."""


class Through(NamedTuple):
    """How far the index goes: all before this byte is in it.

    print      checksum of what stands before that byte, by which a stranger's index is known
    durable    the position up to which events were known to be on disk
    generations   of the segments up to there, added up: one goes up when a segment is rewritten
    controls   how many there are before it
    keyed      no event from this position up to there has an id or tags
    """

    sequence: int
    byte: int
    position: int
    print: int
    durable: int
    generations: int = 0
    controls: int = 0
    keyed: int = 0


class Place(NamedTuple):
    """Where a control put an entry; `value` is None if it is to be read there.

    taken_out   there is no entry any more
    """

    sequence: int
    byte: int
    value: object
    taken_out: bool = False


class Fresh:
    """Places in one segment that sqlite3 doesn't have yet.  Guarded by the index's `_fresh_lock`.

    begin     the Through where it begins
    through   the Through where it ends, None while it is added to
    latest    the highest clock of its events
    replaces  the segment was rewritten: what sqlite3 has of it, a part or all, is of the file as it was
    """

    def __init__(self, begin):
        self.begin = begin
        self.sequence = begin.sequence
        self.places = {}        # stream -> place, or an array of them from the second on
        self.lasts = {}         # stream -> the number of its last event
        self.marks = array("Q")     # position, byte, latest; and again
        self.latest = 0
        self.through = None
        self.replaces = False
        self.records = 0        # that were added
        self.entries = {}       # topic -> {key: [(number of the control, Place)]}, oldest first
        self._stream = None     # of the last record added
        self._end = 0           # and where it ended
        self._done = 0          # records of an `add` under way that are noted
        self._placed = 0        # and the byte of the last place
        self._marked = -SPACING

    def add(self, records, byte):
        """Note records that stand one behind the other from `byte` on, written at once; each has an event.

        Where there is no memory for it, it is to be called again with the same ones, and goes on.
        """
        if self._done:
            records, byte = records[self._done:], self._end
        latest = max([one.latest for one in records])       # what is imported brings times of its own
        if latest > self.latest:
            self.latest = latest
        for one in records:
            if byte - self._marked >= SPACING:
                self.marks.extend(array("Q", (one.position, byte, self.latest)))    # all three, or none
                self._marked = byte
            if one.pack is None:
                stream = one.stream
                self.lasts[stream] = one.number + one.count - 1
                if stream != self._stream or byte != self._end or byte - self._placed >= SPACING:
                    self._add_run(stream, one.number, byte)
            else:
                self._add_pack(*one.pack, byte)
            byte += one.size
            self._end = byte
            self._done += 1
        done, self._done = self._done, 0
        self.records += done

    def _add_run(self, stream, number, byte):
        place = number << 32 | byte
        known = self.places.get(stream)
        if known is None:
            self.places[stream] = place
        else:
            self._add_place(stream, known, place)
        self._stream = stream
        self._placed = byte

    def _add_pack(self, streams, numbers, byte):
        """A place for the first event of each stream."""
        places = self.places
        self.lasts.update(zip(streams, numbers))
        for stream, number in zip(streams, numbers):
            known = places.get(stream)
            if known is None:
                places[stream] = number << 32 | byte
                continue
            try:
                if known[-1] & _BYTE != byte:
                    known.append(number << 32 | byte)
            except (TypeError, OverflowError):      # it isn't an array yet, or can't be one any more
                if not isinstance(known, int) or known & _BYTE != byte:
                    self._add_place(stream, known, number << 32 | byte)
        self._stream = None

    def _add_place(self, stream, known, place):
        """A second place of a stream, or a later one."""
        try:
            if isinstance(known, int):
                self.places[stream] = array("Q", (known, place))
            else:
                known.append(place)
        except OverflowError:       # number 2**32: from here on a plain list
            self.places[stream] = [known, place] if isinstance(known, int) else known.tolist() + [place]

    def add_control(self, number, entries, byte, synced):
        """Note the entries of a control at `byte`.

        synced   so many controls are on disk: what came before the newest of them is of no use
        """
        for topic, key, value in entries:
            keys = self.entries.setdefault(topic, {})
            known = keys.setdefault(key, [])
            while len(known) > 1 and known[1][0] < synced:
                del known[0]
            long = value is not None and len(value) > _LONG_VALUE
            known.append((number, Place(self.sequence, byte, None if long else value, value is None)))
        self.records += 1

    def entry(self, topic, key, stop):
        """The Place of the newest entry of the controls before `stop`, or None."""
        for number, place in reversed(self.entries.get(topic, {}).get(key, ())):
            if number < stop:
                return place
        return None

    def is_old(self, control, byte):
        """Whether later controls of this segment have entries for all that the one at `byte` says."""
        return all(topic in self.entries and key in self.entries[topic] and self.entries[topic][key][-1][1].byte > byte
                   for topic, key, _ in control.entries())

    def find(self, stream, number, limit):
        """Up to `limit` places from the last one at or below `number`, or None."""
        known = self.places.get(stream)
        if known is None:
            return None
        if isinstance(known, int):
            return [known] if known >> 32 <= number else None
        at = bisect_right(known, number << 32 | _BYTE) - 1
        return None if at < 0 else list(known[at:at + limit])

    def find_back(self, stream, number, limit):
        """Up to `limit` places that end with the last one at or below `number`, or None."""
        known = self.places.get(stream)
        if known is None:
            return None
        if isinstance(known, int):
            return [known] if known >> 32 <= number else None
        end = bisect_right(known, number << 32 | _BYTE)
        return list(known[max(0, end - limit):end]) or None

    def place_up_to(self, stream, byte):
        """The last place that isn't behind `byte`, or None."""
        known = self.places.get(stream)
        if known is None:
            return None
        return _place_up_to([known] if isinstance(known, int) else known, byte)


class Index:
    """See the top of this file.

    path   of the sqlite3 file, which is made when it isn't there
    uuid   of the store, known before a row is written; None loads the index of any
    """

    def __init__(self, path):
        self.path = path
        self.uuid = None            # of the store that it belongs to
        self._lock = threading.Lock()
        self._fresh_lock = threading.Lock()
        self._fresh = []            # oldest first; the last one is added to
        self._added = None          # (records, byte) that it doesn't have yet
        self._rewritten = {}        # sequence -> Fresh of a segment that sqlite3 knows as it was before
        self._marks = {}            # (sequence, checksum, bytes) of a row of marks that was right -> what it holds
        self._connection = None

    # -- opening -------------------------------------------------------------

    def load(self):
        """Return (Through, {stream: next number}), or None: nothing there, or nothing of use.

        Raises    IndexDamaged
        """
        with self._lock:
            try:
                self._connect()
                about = dict(self._connection.execute("select key, value from about"))
                if not about:
                    return None
                if self.uuid not in (None, about["uuid"]):
                    raise IndexDamaged("it belongs to another store")
                if about["version"] != _VERSION:
                    raise IndexOfOtherVersion(f"it has version {about['version']} of its format, this is {_VERSION}")
                through = Through(*(about[field] for field in Through._fields))
                if about["crc"] != _sum_of(through):
                    raise IndexDamaged("what it says of itself doesn't match its checksum")
                heads = self._load_heads(through.position)
            except _NONSENSE as error:
                raise IndexDamaged(f"{type(error).__name__}: {error}") from None
        return through, heads

    def _load_heads(self, position):
        heads = {}
        total = 0
        for name, following, crc in self._connection.execute("select name, next, crc from heads"):
            if crc != zlib.crc32(name, following & _BYTE):
                raise IndexDamaged("a stream's row doesn't match its checksum")
            heads[name] = following
            total += following
        if total != position:
            raise IndexDamaged(f"its streams have {total} events, expected {position}")
        return heads

    def _connect(self):
        if self._connection is not None:
            return
        # isolation_level=None: transactions begin and end where this file says.
        make_private(self.path)
        self._connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        self._connection.execute("pragma journal_mode=wal")
        self._connection.execute("pragma synchronous=normal")
        if not self._connection.execute("select 1 from sqlite_master").fetchone():
            self._connection.executescript("begin; %s commit;" % _SCHEMA)

    def discard(self):
        """Delete what is on disk; what is in memory stays, and is flushed in time."""
        with self._lock:
            self._disconnect()
            sqlite.remove(self.path)
            self._connect()

    def close(self):
        with self._lock:
            self._disconnect()

    def _disconnect(self):
        sqlite.close(self._connection, self.path, log)
        self._connection = None

    # -- adding --------------------------------------------------------------

    def begin(self, through):
        """What is added from now on is at and behind `through`."""
        with self._fresh_lock:
            self._fresh.append(Fresh(through))

    def add(self, records, byte):
        """Take records that stand one behind the other from `byte` on, written at once; each has an event.

        They are noted by `note`, or by whoever looks or adds before that.
        """
        with self._fresh_lock:
            self._noted()
            self._added = records, byte

    def note(self):
        """Note what was added last, for which nobody has to wait."""
        with self._fresh_lock:
            self._noted()

    def _noted(self):
        """All Fresh, with all that was added; under `_fresh_lock`."""
        if self._added is not None:
            self._fresh[-1].add(*self._added)
            self._added = None
        return self._fresh

    def add_control(self, number, entries, byte, synced):
        """Note the entries of a control: see Fresh."""
        with self._fresh_lock:
            self._fresh[-1].add_control(number, entries, byte, synced)

    def seal(self, through):
        """What was added so far is complete up to `through`; a flush may take it."""
        with self._fresh_lock:
            self._noted()[-1].through = through
            self._fresh.append(Fresh(through))

    def flush(self, durable, generations=lambda sequence: 0, prepare=lambda fresh: None, controls=0):
        """Move what is sealed, and on disk up to position `durable`, from memory to sqlite3.

        controls      so many are on disk
        generations   gives what Through wants to know, for a segment's sequence
        prepare       called with each Fresh before it is moved; may replace it

        One transaction for each Fresh, so that a crash leaves the one before;
        look-ups get in between its rows.  Returns whether any wait to be on disk.
        Raises    sqlite3.Error: nothing is lost, memory has it still
        """
        while True:
            fresh = self.oldest()
            if fresh.through is None:
                return False
            if fresh.through.position > durable or fresh.through.controls > controls:
                return True
            prepare(fresh)
            self._put_oldest(durable, generations)

    def _put_oldest(self, durable, generations):
        # First this: rows that are still of a file as it was would have the generation of what took its place.
        told = generations(self.oldest().through.sequence)
        for rewritten in self.shadows():
            self.replace(rewritten, generations)
        self.put(self.oldest(), durable, told)
        with self._fresh_lock:
            del self._fresh[0]

    def oldest(self):
        """The Fresh that is to be moved next; not yet, if its `through` is None."""
        with self._fresh_lock:
            return self._fresh[0]

    def replace_oldest(self, fresh):
        """What the oldest Fresh knew stands elsewhere now."""
        with self._fresh_lock:
            self._fresh[0] = fresh

    def put(self, fresh, durable, generations=0):
        """Write one Fresh, which is complete, to sqlite3.

        Raises    sqlite3.Error
        """
        through = fresh.through._replace(durable=durable, generations=generations)
        try:
            self._execute("begin immediate")
            heads = ((name, last + 1, zlib.crc32(name, (last + 1) & _BYTE))
                     for name, last in sorted(fresh.lasts.items()))
            self._execute_many("insert or replace into heads values (?, ?, ?)", heads)
            self._put_places(fresh)
            for topic, keys in sorted(fresh.entries.items()):
                self._put_entries(topic, ((key, known[-1][1]) for key, known in sorted(keys.items())))
            self._put_about(through)
            self._execute("commit")
        except BaseException:
            self._roll_back()
            raise

    def _put_entries(self, topic, places):
        while True:
            some = list(islice(places, _ROWS_AT_ONCE))
            if not some:
                return
            self._execute_many("delete from controls where topic = ? and key = ?",
                               ((topic, key) for key, place in some if place.taken_out))
            self._execute_many("insert or replace into controls values (?, ?, ?, ?, ?, ?)",
                               (_entry_row(topic, key, place) for key, place in some if not place.taken_out))

    def _put_places(self, fresh):
        """The rows of places and marks of a segment, or of a part of it."""
        if fresh.replaces:
            self._execute_many("delete from places where stream = ? and first >= ? and first <= ?",
                               ((name, _first_of(known), fresh.lasts[name]) for name, known in fresh.places.items()))
            self._execute("delete from marks where segment = ?", (fresh.sequence,))
        places = (_place_row(name, fresh) for name in sorted(fresh.places))
        self._execute_many("insert or replace into places values (?, ?, ?, ?, ?, ?)", places)
        if fresh.marks:
            packed = _pack(fresh.marks)
            row = [fresh.sequence, fresh.marks[0], min(fresh.latest, _MAX_SQLITE)]
            self._execute("insert or replace into marks values (?, ?, ?, ?, ?, ?)",
                          (*row, _checksum(repr(row).encode()), packed, _checksum(packed, fresh.sequence)))

    def _put_about(self, through):
        about = dict(through._asdict(), uuid=self.uuid, version=_VERSION, crc=_sum_of(through))
        self._execute_many("insert or replace into about values (?, ?)", iter(about.items()))

    def _roll_back(self):
        with self._lock:
            if self._connection is not None and self._connection.in_transaction:
                self._connection.rollback()

    def shadow(self, fresh):
        """A segment that was flushed stands otherwise from now on; `replace` follows.  Called while nobody reads."""
        with self._fresh_lock:
            self._rewritten[fresh.sequence] = fresh

    def shadows(self):
        """The Fresh that wait for a `replace`."""
        with self._fresh_lock:
            return list(self._rewritten.values())

    def replace(self, fresh, generations):
        """Write what `shadow` was given over the segment's rows, in one transaction.

        generations   as in `flush`
        Raises    sqlite3.Error: memory has it still
        """
        try:
            self._execute("begin immediate")
            self._put_places(fresh)
            for topic, keys in sorted(fresh.entries.items()):
                self._execute_many("update controls set byte = ?, value = ?, crc = ? "
                                   "where topic = ? and key = ? and segment = ?",
                                   (_moved_entry(topic, key, known[-1][1]) for key, known in sorted(keys.items())))
            with self._lock:
                about = dict(self._usable().execute("select key, value from about"))
            through = Through(*(about[field] for field in Through._fields))
            self._put_about(through._replace(generations=generations(through.sequence)))
            self._execute("commit")
        except BaseException:
            self._roll_back()
            raise
        with self._fresh_lock:
            self._rewritten.pop(fresh.sequence, None)

    def _execute(self, statement, values=()):
        with self._lock:
            self._usable().execute(statement, values)

    def _execute_many(self, statement, rows):
        while True:
            some = list(islice(rows, _ROWS_AT_ONCE))
            if not some:
                return
            with self._lock:
                self._usable().executemany(statement, some)

    def _usable(self):
        if self._connection is None:
            raise sqlite3.ProgrammingError("the index is closed")
        return self._connection

    @property
    def flushed_through(self):
        """The Through from which on memory has all there is to know."""
        with self._fresh_lock:
            return self._fresh[0].begin

    # -- looking up ----------------------------------------------------------

    def places(self, stream, number, limit=512):
        """Return (sequence, [place, …]): the last place at or below `number`, and those after it.

        Each place is (number, byte).  None if the stream has none there.
        Raises    IndexDamaged
        """
        return self._places(stream, number, lambda fresh: fresh.find(stream, number, limit),
                            lambda at: slice(at, at + limit))

    def places_back(self, stream, number, limit=512):
        """The same, but the last place at or below `number` and those before it; it is the last of them.

        Raises    IndexDamaged
        """
        return self._places(stream, number, lambda fresh: fresh.find_back(stream, number, limit),
                            lambda at: slice(max(0, at + 1 - limit), at + 1))

    def _places(self, stream, number, find, wanted):
        """`find` gives places of a Fresh, and `wanted` says which of a row's, by the last one at or below `number`."""
        with self._fresh_lock:
            for fresh in reversed(self._noted()):
                found = find(fresh)
                if found:
                    return fresh.sequence, [(p >> 32, p & _BYTE) for p in found]
            for fresh in self._rewritten.values():
                found = find(fresh) if number <= fresh.lasts.get(stream, -1) else None
                if found:
                    return fresh.sequence, [(p >> 32, p & _BYTE) for p in found]

        def read(first, last, segment, packed, crc):
            places = _places_of(stream, first, last, segment, packed, crc)
            if number > last:
                return None
            at = bisect_right(places, (number - first) << 32 | _BYTE) - 1
            return segment, [((p >> 32) + first, p & _BYTE) for p in places[wanted(at)]]

        return self._row(read, "select first, last, segment, packed, crc from places "
                         "where stream = ? and first <= ? order by first desc limit 1",
                         (stream, min(number, _MAX_SQLITE)))

    def mark_at(self, sequence, position):
        """(position, byte) of a record of segment `sequence` that begins at or before `position`, or None.

        Raises    IndexDamaged
        """
        with self._fresh_lock:
            for fresh in (*reversed(self._noted()), *self._rewritten.values()):
                if fresh.sequence == sequence:
                    mark = _mark_in(fresh.marks, position)
                    if mark is not None:
                        return mark

        def read(packed, crc):
            return _mark_in(self._kept_marks(sequence, packed, crc), position)

        return self._row(read, "select packed, crc from marks where segment = ? and first <= ? "
                         "order by first desc limit 1", (sequence, min(position, _MAX_SQLITE)))

    def byte_up_to(self, sequence, byte):
        """The last byte of segment `sequence` that is known for the beginning of a record and isn't behind `byte`,
        or None.

        Raises    IndexDamaged
        """
        with self._fresh_lock:
            for fresh in (*reversed(self._noted()), *self._rewritten.values()):
                if fresh.sequence == sequence and fresh.marks and fresh.marks[1] <= byte:
                    return _last_up_to(fresh.marks[1::3], byte)
        return _last_up_to([begin for _, begin in self.marks_in(sequence)], byte)

    def _kept_marks(self, sequence, packed, crc):
        """The marks in a row, unpacked once; threads may do that at once."""
        key = sequence, crc, len(packed)
        marks = self._marks.get(key)
        if marks is None:
            if len(self._marks) >= _MARKS_KEPT:
                self._marks = {}
            marks = self._marks[key] = _marks_of(sequence, packed, crc)
        return marks

    def entry(self, topic, key, stop):
        """The Place of the newest entry that the controls before number `stop` put, or None.

        Raises    IndexDamaged
        """
        with self._fresh_lock:
            for fresh in reversed(self._fresh):
                place = fresh.entry(topic, key, stop)
                if place is not None:
                    return None if place.taken_out else place
            rewritten = dict(self._rewritten)

        return self._row(lambda *row: _place_now(topic, key, rewritten, *row),
                         "select segment, byte, value, crc from controls where topic = ? and key = ?", (topic, key))

    def topics(self):
        """The topics that ever had an entry.  Raises IndexDamaged."""
        with self._fresh_lock:
            found = {topic for fresh in self._fresh for topic in fresh.entries}
        return found.union(topic for topic, in self._rows("select distinct topic from controls", ()))

    def entries(self, topic, stop):
        """{key: Place} of all of a topic; see `entry`."""
        found = {}
        with self._fresh_lock:
            for fresh in self._fresh:
                places = {key: fresh.entry(topic, key, stop) for key in fresh.entries.get(topic, ())}
                found.update((key, place) for key, place in places.items() if place is not None)
            rewritten = dict(self._rewritten)
        try:
            for key, *row in self._rows("select key, segment, byte, value, crc from controls where topic = ?",
                                        (topic,)):
                if key not in found:    # what is replaced in memory may be gone from a rewritten segment
                    found[key] = _place_now(topic, key, rewritten, *row)
        except _NONSENSE as error:
            raise IndexDamaged(f"{type(error).__name__}: {error}") from None
        return {key: place for key, place in found.items() if not place.taken_out}

    def place_up_to(self, stream, sequence, byte):
        """(sequence, number, byte) of the stream's last place that isn't behind this byte of this segment, or None.

        Raises    IndexDamaged
        """
        with self._fresh_lock:
            for fresh in reversed(self._noted()):
                if fresh.sequence <= sequence:
                    place = fresh.place_up_to(stream, byte if fresh.sequence == sequence else _BYTE)
                    if place is not None:
                        return fresh.sequence, place >> 32, place & _BYTE
            rewritten = dict(self._rewritten)

        def read(first, last, segment, packed, crc):
            up_to = byte if segment == sequence else _BYTE
            if segment in rewritten:
                place = rewritten[segment].place_up_to(stream, up_to)
                return first, None if place is None else (segment, place >> 32, place & _BYTE)
            place = _place_up_to(_places_of(stream, first, last, segment, packed, crc), up_to)
            return first, None if place is None else (segment, (place >> 32) + first, place & _BYTE)

        before = _MAX_SQLITE
        while True:
            found = self._row(read, "select first, last, segment, packed, crc from places where stream = ? and "
                              "first < ? and segment <= ? order by first desc limit 1", (stream, before, sequence))
            if found is None or found[1] is not None:
                return found and found[1]
            before = found[0]

    def latest(self):
        """{(sequence, position): the highest clock of the events from there on}, in parts of segments.

        They are complete where they stand for a part of each segment that has events.
        Raises    IndexDamaged
        """
        with self._fresh_lock:      # asked first: what moves to sqlite3 meanwhile is found there
            rewritten = set(self._rewritten)
            fresh = {(fresh.sequence, fresh.marks[0]): fresh.latest
                     for fresh in (*self._rewritten.values(), *self._noted()) if fresh.marks}
        found = {}
        for *row, crc in self._rows("select segment, first, latest, latest_crc from marks", ()):
            if crc != _checksum(repr(row).encode()):
                raise IndexDamaged("the time in a row of marks doesn't match its checksum")
            segment, first, latest = row
            if segment not in rewritten:
                found[segment, first] = latest
        return {**found, **fresh}

    def mark_of(self, sequence, first, time):
        """(position, byte) of a record close to the first event as late as `time`, and not behind it, in the part
        of a segment that begins at position `first`, if there is such an event in it.

        Raises    IndexDamaged
        """
        with self._fresh_lock:
            for fresh in (*self._rewritten.values(), *self._noted()):
                if fresh.sequence == sequence and fresh.marks and fresh.marks[0] == first:
                    return _mark_of(fresh.marks, time)

        def read(packed, crc):
            return _mark_of(_marks_of(sequence, packed, crc), time)

        return self._row(read, "select packed, crc from marks where segment = ? and first = ?", (sequence, first))

    def spans(self, stream, first, stop):
        """[(segment, first number, last number)] of the rows of `stream` with events in [first, stop).

        The rows say so themselves, unchecked: for what is only an estimate.
        Raises    IndexDamaged
        """
        return self._rows("select segment, first, last from places where stream = ? and first < ? and last >= ? "
                          "order by first", (stream, min(stop, _MAX_SQLITE), first))

    # -- checking ------------------------------------------------------------

    def stretches(self, stream, first, stop):
        """[(first number, last number, segment, [(number, byte), …])] of the rows that begin in [first, stop).

        Raises    IndexDamaged
        """
        found = []
        for low, last, segment, data, crc in self._rows(
                "select first, last, segment, packed, crc from places where stream = ? and first >= ? and first < ? "
                "order by first", (stream, first, min(stop, _MAX_SQLITE))):
            try:
                places = _places_of(stream, low, last, segment, data, crc)
            except _NONSENSE as error:
                raise IndexDamaged(f"{type(error).__name__}: {error}") from None
            found.append((low, last, segment, [((p >> 32) + low, p & _BYTE) for p in places]))
        return found

    def marks_in(self, sequence):
        """[(position, byte), …] of the marks of a segment.

        Raises    IndexDamaged
        """
        found = []
        for row in self._rows("select packed, crc from marks where segment = ? order by first", (sequence,)):
            try:
                marks = _marks_of(sequence, *row)
            except _NONSENSE as error:
                raise IndexDamaged(f"{type(error).__name__}: {error}") from None
            found += zip(marks[::3], marks[1::3])
        return found

    def says(self, key):
        """What it says of itself under `key`, or None.  Raises IndexDamaged."""
        rows = self._rows("select value from about where key = ?", (key,))
        return rows[0][0] if rows else None

    def stretch_count(self):
        """How many rows of places there are.  Raises IndexDamaged."""
        return self._rows("select count(*) from places", ())[0][0]

    def _rows(self, statement, values):
        try:
            with self._lock:
                return self._usable().execute(statement, values).fetchall()
        except _NONSENSE as error:
            raise IndexDamaged(f"{type(error).__name__}: {error}") from None

    def _row(self, read, statement, values):
        """What `read` makes of the row that is found, None if there is none."""
        try:
            with self._lock:
                row = self._usable().execute(statement, values).fetchone()
            return None if row is None else read(*row)
        except _NONSENSE as error:
            raise IndexDamaged(f"{type(error).__name__}: {error}") from None


def _first_of(known):
    """The number of the first of a stream's places."""
    return (known if isinstance(known, int) else known[0]) >> 32


def _place_row(name, fresh):
    known = fresh.places[name]
    places = [known] if isinstance(known, int) else known
    first = places[0] >> 32
    last = fresh.lasts[name]
    packed = _pack(array("Q", [place - (first << 32) for place in places]))
    crc = _checksum(name + packed, first, last, fresh.sequence)
    return name, first, last, fresh.sequence, packed, crc


def _entry_row(topic, key, place):
    crc = _entry_sum(topic, key, place.value, place.sequence, place.byte)
    return topic, key, place.sequence, place.byte, place.value, crc


def _place_in(topic, key, sequence, byte, value, crc):
    """The Place in a row of controls."""
    if crc != _entry_sum(topic, key, value, sequence, byte):
        raise IndexDamaged("a row of controls doesn't match its checksum")
    return Place(sequence, byte, value)


def _place_now(topic, key, rewritten, *row):
    """The same, once its segment was written anew and is known in memory."""
    place = _place_in(topic, key, *row)
    if place.sequence in rewritten:
        return rewritten[place.sequence].entries[topic][key][-1][1]
    return place


def _moved_entry(topic, key, place):
    # Where a newer one elsewhere took the place of the segment's last entry, what is left of it has another value.
    *_, byte, value, crc = _entry_row(topic, key, place)
    return byte, value, crc, topic, key, place.sequence


def _entry_sum(topic, key, value, sequence, byte):
    return _checksum(b"".join((topic.encode(), key, value or b"")), len(key), value is None, sequence, byte)


def _places_of(stream, first, last, segment, packed, crc):
    """The places in a row, their numbers counted from `first`.  Raises IndexDamaged."""
    if crc != _checksum(stream + packed, first, last, segment):
        raise IndexDamaged("a row of places doesn't match its checksum")
    return _unpack(packed)


def _marks_of(segment, packed, crc):
    """The marks in a row.  Raises IndexDamaged."""
    if crc != _checksum(packed, segment):
        raise IndexDamaged("a row of marks doesn't match its checksum")
    return _unpack(packed)


def _place_up_to(places, byte):
    """The last of `places`, whose bytes rise, that isn't behind `byte`; None if all are."""
    low, high = 0, len(places)
    while low < high:
        middle = (low + high) // 2
        if places[middle] & _BYTE > byte:
            high = middle
        else:
            low = middle + 1
    return places[low - 1] if low else None


def _mark_of(marks, time):
    """The last mark with nothing as late as `time` before it; the first may have it itself."""
    at = max(0, bisect_left(marks[2::3], time) - 1)
    return marks[3 * at], marks[3 * at + 1]


def _last_up_to(bytes_, byte):
    at = bisect_right(bytes_, byte) - 1
    return None if at < 0 else bytes_[at]


def _mark_in(marks, position):
    low, high = 0, len(marks) // 3
    while low < high:
        middle = (low + high) // 2
        if marks[3 * middle] > position:
            high = middle
        else:
            low = middle + 1
    return (marks[3 * low - 3], marks[3 * low - 2]) if low else None


# Bytes of the places of a segment: of 4 GiB that are nothing but the smallest records.
_MOST_PLACES = 1 << 29

# How a packed array goes on behind its first byte.
_RAW, _ZIPPED = b"r", b"z"


def _pack(values):
    raw = arrays.packed(values)
    return _ZIPPED + zlib.compress(raw, 1) if len(raw) > 32 else _RAW + raw


def _unpack(data):
    """The array that `_pack` packed; its checksum was compared already."""
    return arrays.unpacked("Q", inflate(data[1:], _MOST_PLACES) if data[:1] == _ZIPPED else data[1:])


def _sum_of(through):
    """The checksum of what an index says of itself."""
    return _checksum(repr(through).encode(), *through[:3])


def _checksum(data, *numbers):
    crc = zlib.crc32(data)
    for number in numbers:
        crc = zlib.crc32(b"%d," % number, crc)
    return crc
