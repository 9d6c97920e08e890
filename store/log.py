"""The log: segments one behind the other, and the index of them.

    write ──> tail segment ──full──> sealed, indexed in sqlite3; a new tail
      sync ──> everything written is on disk; `synced` goes up
    read_stream, read_all <── index, segments

    FOLDER/000000000000.segment …   the records
    FOLDER/index.sqlite3            made from them
    FOLDER/lookup.sqlite3           the same, where events have ids or tags
    FOLDER/cut/                     what recovery cut off, kept for whoever wants it

Locks: `lock`, the append lock, guards the tail, the positions and what is
unsynced; it is held over a write and, once a segment, over making the next
file.  A sync holds no lock: it covers the end that it captured under `lock`
before it began, one runs at a time, and those who wait for it wait on
`_syncing`.  Reading takes no lock but the index's.
"""

import errno
import logging
import os
import sqlite3
import threading
import time
import zlib

from . import merge, record, seek
from .cut import Cuts
from .errors import (CannotRead, CorruptSegment, EventsLost, IndexUnusable, LogTooShort, StoreClosed,
                     StoreError, StoreFailed, StoreFull)
from .index import Fresh, Index, IndexDamaged, Through
from .keys import entries_of
from .lately import Lately
from .lookup import FULL, Lookup, LookupDamaged, Reach
from .pick import Picks
from .record import BadRecord, Frames
from .recent import Recent
from .recovery import Scan
from .replay import Replays
from .runs import Runs
from .segment import (HEADER_SIZE, MAX_SIZE, MERGING, SHORT_READ, Header, Reader, Segment, file_name, is_segment,
                      is_unfinished)
from .times import Times

logger = logging.getLogger("meilies.log")

NO_ID = bytes(16)
INDEX_NAME = "index.sqlite3"
LOOKUP_NAME = "lookup.sqlite3"

# On the disk, or among the open files: nothing is wrong with it, and there may be some later.
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMFILE, errno.ENFILE}

# Under everysec, appends wait for a sync that has been running this long.
SLOW_SYNC = 2.0

# Microseconds that the clock may be behind events for those that follow to get their time: more was a mistake once.
_A_DAY = 86_400_000_000

# Seconds between two steps of a merge, each of which takes about half as long.
_PAUSE = 0.004
# So many segments may wait for their small records to be joined; more are left as they are.
_BACKLOG = 8
# The disk must have room for so many of a segment before it is rewritten, for publishers come first: where that only
# makes reading cheaper, and where it gives room back, for which the new file and as much again will do.
_ROOM = 4
_ROOM_TO_COMPACT = 2


class Log:
    """See the top of this file.

    folder         which exists, and which nobody else has open
    clock          returns microseconds since 1970
    segment_size   bytes, past which a new segment is begun
    level          zlib's, 0 for none
    fill_ahead     write zeros ahead of the records, so that syncs of small appends are quicker
    replay_memory  bytes that may be kept of streams that are replayed again and again
    recent_memory  bytes that may be kept of what was written last to scattered streams

    next_position  which the next event gets
    controls       how many there are
    synced         every event before this position is on disk
    controls_synced   so many controls are
    failed         the StoreFailed after which nothing is appended, or None
    """

    def __init__(self, folder, files, clock, segment_size, level, fill_ahead, replay_memory, recent_memory):
        self.folder = folder
        self.lock = threading.Lock()
        self.next_position = self.controls = 0
        self.synced = self.controls_synced = 0
        self.failed = None
        self.unsynced = {}          # {Stream: the number of its first event that isn't on disk}
        self.sealed = threading.Event()     # set when there is something to flush
        self._files = files
        self._cuts = Cuts(files, folder)
        self._clock = clock
        self._segment_size = min(segment_size, MAX_SIZE >> 1)
        self._level = level
        self._fill_ahead = fill_ahead
        self._segments = []         # appended to; one is replaced only while nobody reads
        self._firsts = []           # the position that each of them begins at
        self._unfinished = None     # path of one that was being made when the machine died; it holds nothing
        self._flush_waits = False   # there is something to flush that isn't on disk
        self._adding_to = 0         # the segment whose records the index is given
        self._dirty = []            # segments written to since their last sync
        self._marked = 0            # the highest `synced` that a header says
        self._controls_marked = 0   # and the highest `controls_synced`
        self._latest = 0            # the highest clock of all events
        self._syncing = threading.Condition(threading.Lock())
        self._sync_began = None     # time.monotonic() of the sync that is running
        self.sync_times = Times()   # of syncs since it was opened, those that failed too
        self._reading = threading.Condition(threading.Lock())
        self._readers = 0           # reads that are going on
        self._replacing = False     # a segment; they wait
        self._closed = False        # no more may begin
        self._closing = threading.Event()   # long work in the background ends
        self.index = Index(os.path.join(folder, INDEX_NAME))
        self._recent = Recent(recent_memory)
        self._replays = Replays(self.index, self._segments, self._firsts, replay_memory, self._recent)
        self._runs = Runs(self.index, self._segments, self._firsts)
        self._lately = Lately()
        self._picks = Picks(self.index, self._runs)
        self._index_writing = threading.Lock()      # one at a time moves rows or makes all of them anew
        self._rebuilt = 0
        self.lookup = Lookup(os.path.join(folder, LOOKUP_NAME))
        self._lookup_remaking = threading.Lock()    # one at a time makes all of it anew
        self._lookup_remade = 0
        self._keyed = 0             # no event from this position on has an id or tags

    # -- opening -------------------------------------------------------------

    def open(self, lost=""):
        """Find the end of the log, make it sound, and return {stream: next number}.

        lost      why acknowledged events may be missing though nothing is torn

        Raises    CorruptSegment, LogTooShort, UnknownFormat: nothing was changed
                  IndexUnusable, OSError
        """
        try:
            self._open_segments()
            self._find_ends()
            through, heads = self._load_index()
            if not self._segments:
                if through is not None:
                    raise LogTooShort(self.folder, 0, through.durable)
                self._begin()
            self._recover(through, heads, lost)
            self._latest = max(self._with_index(self.index.latest).values(), default=0)
            return heads
        except BaseException:
            self._close_files()
            raise

    def _open_segments(self):
        found = self._files.names(self.folder)
        for name in filter(is_unfinished, found):
            self._files.remove(os.path.join(self.folder, name))
        names = list(filter(is_segment, found))
        for i, name in enumerate(names):
            path = os.path.join(self.folder, name)
            last = i + 1 == len(names)
            segment = Segment.open(self._files, path, doubted=last)
            if segment is None:
                if not last or self._holds_records(path):
                    raise CorruptSegment(path, 0, "its header doesn't match its checksum")
                self._unfinished = path
                break
            self._adopt(segment)
            self._check_chain(name)

    def _find_ends(self):
        """Set where the records of each segment end, of the last one at most."""
        for segment, following in zip(self._segments, self._segments[1:]):
            segment.end = segment.header.end or following.header.previous_end
        for segment in self._segments[-1:]:
            segment.end = segment.file_size()

    def _begin(self):
        """Make the first segment of a new store."""
        self._drop_unfinished()
        self._files.sync_above(self.folder)     # who made it may have died before its name was on disk
        uuid = self.index.uuid = os.urandom(16)
        self._create_segment(Header(uuid, os.urandom(16), NO_ID, 0, 1, 0, 0, 0, self._clock()))

    def _holds_records(self, path):
        fd = self._files.open(path)
        try:
            return self._files.size(fd) > HEADER_SIZE
        finally:
            self._files.close(fd)

    def _check_chain(self, name):
        """Raise CorruptSegment unless the last one opened, from the file `name`, follows the one before."""
        segment = self._segments[-1]
        header = segment.header
        if len(self._segments) == 1:
            wrong = header.sequence != 0
            expected = "segment 0"
        else:
            before = self._segments[-2].header
            wrong = (header.uuid, header.previous) != (before.uuid, before.id) or \
                header.sequence != before.sequence + 1
            expected = f"the one that follows {file_name(before.sequence)}"
        if wrong or file_name(header.sequence) != name:
            raise CorruptSegment(segment.path, 0, f"this is segment {header.sequence} with id "
                                 f"{header.id.hex()}, expected {expected}: "
                                 f"one is missing or from another store")

    def _load_index(self):
        """(Through, heads) of the index, or (None, {}) after throwing away one that is of no use."""
        # Without a segment any store's index will do, to tell a log that is gone from a new one.
        self.index.uuid = self._segments[0].header.uuid if self._segments else None
        try:
            loaded = self.index.load()
            if loaded is None:
                return None, {}
            through = loaded[0]
            if self._segments and self._is_foreign(through):
                raise IndexDamaged("it is of another copy of this store")
            if not self._is_too_short(through) and through.generations != self._generations(through.sequence):
                self._check_up_to(through)
                raise IndexDamaged("it is of segments that were rewritten since")
            return loaded
        except IndexDamaged as damage:
            logger.warning("%s: %s; it is made anew from the log", self.index.path, damage)
        try:
            self.index.discard()
        except sqlite3.Error as error:
            raise IndexUnusable(self.index.path, error) from None
        return None, {}

    def _is_foreign(self, through):
        """Whether the index was made from another log than this, which perhaps began like it.

        Raises    CorruptSegment, LogTooShort   it is the log that isn't what it was
        """
        if self._is_too_short(through):
            return False
        if through.print == print_of(self._segments[through.sequence], through.byte):
            return False
        self._check_up_to(through)
        return True

    def _check_up_to(self, through):
        """Raise unless the log is sound as far as an index that doesn't fit it goes.

        What it was to fit may be the very bytes that are damaged.  To throw it
        away would be to forget that what they held was on disk.
        """
        reached = False

        def visit(segment, byte, found):
            nonlocal reached
            reached = reached or (segment.sequence, byte + found.size) >= through[:2] or \
                found.position + found.count >= through.durable

        try:
            end = Scan(0, through.durable, {}, visit).run(self._segments, 0, HEADER_SIZE)
        except CorruptSegment:
            if not reached:
                raise
        else:
            if not reached and end.position < through.durable:
                raise LogTooShort(self.folder, end.position, through.durable)

    def _is_too_short(self, through):
        """Whether the log ends before what the index was made from."""
        last = len(self._segments) - 1
        return through.sequence > last or \
            through.sequence == last and through.byte > self._segments[last].file_size()

    def _recover(self, through, heads, lost):
        if through is None:
            through = self._through(self._segments[0], HEADER_SIZE, 0, 0)
        if self._is_too_short(through):
            raise LogTooShort(self.folder, self._segments[-1].header.first, through.durable)
        self.index.begin(through)
        self.lookup.begin(through.position)
        self._keyed = through.keyed
        self._open_lookup(through)
        self._adding_to = through.sequence
        self._read_from_disk(through)
        self.controls = through.controls
        scan = Scan(through.position, through.durable, heads, self._visit, through.controls)
        end = scan.run(self._segments, through.sequence, through.byte)
        if end.position < end.synced:
            raise LogTooShort(self.folder, end.position, end.synced)
        self._drop_unfinished()
        self.next_position = self.synced = end.position
        self.controls = self.controls_synced = end.controls
        # The byte behind a clean close is behind its mark.
        closed = through.byte > HEADER_SIZE
        self._marked = max(scan.marked, through.position if closed else 0)
        self._controls_marked = max(scan.controls_marked, through.controls if closed else 0)
        if end.torn:
            self._cut(end)
        else:
            self._segments[-1].end = end.byte
            self._drop_preallocated(end.byte)
            lost = lost or self._gone()
            if lost:
                logger.warning("%s: %s; what came last may be missing, and its numbers are used again from "
                               "position %d on", self.folder, lost, end.position)
                self._begin_epoch(self._segments[-1], self.epoch + 1, end)
            elif self._adding_to != len(self._segments) - 1:
                self._seal_index(self._segments[-1], end.position)
        self._flush_index(self.synced, self.controls_synced)

    def _drop_unfinished(self):
        if self._unfinished:
            self._cuts.set_aside(self._unfinished)
            self._unfinished = None

    def _visit(self, segment, byte, found):
        """Index a record that was found on opening."""
        if segment.sequence != self._adding_to:
            for before in self._segments[self._adding_to:segment.sequence]:
                before.sync()
            self._seal_index(segment, found.position)
            self._flush_index(found.position, self.controls)    # bounds the memory of a long recovery
        for one in _indexed(found):
            _add(self.index, one, byte)
        self.controls = max(self.controls, found.controls)
        entries = entries_of(found)
        if entries and self._add_keys(entries):
            self._seal_lookup(segment, byte, found.position + found.count)
            self._flush_lookup(found.position + found.count)        # bounds the memory, as above

    def _read_from_disk(self, through):
        """Sync what is about to be read, and read it from the disk.

        What is served must survive, and memory may hold what a failed sync didn't bring there.
        """
        for segment in self._segments[through.sequence:]:
            segment.sync()
            self._files.forget(segment.fd, through.byte if segment.sequence == through.sequence else 0)
        self._files.sync_folder(self.folder)

    def _gone(self):
        """What says that a segment behind the last one is gone, or None.

        Only what was sealed is rewritten, and then its header says where it ends: nothing may be added to it.
        """
        last = self._segments[-1]
        return f"there was a segment behind {file_name(last.sequence)}" if last.header.end else None

    def _drop_preallocated(self, end):
        tail = self._segments[-1]
        if tail.file_size() > end:
            self._files.truncate(tail.fd, end)

    # A crash between any two steps leaves the tear where it is, to be found
    # again, until the new segment's header is on disk.  That header makes the
    # cut final: it says where the segment before it ends.
    def _cut(self, end):
        """Cut the log at its end, keep what is cut, and raise the epoch."""
        torn = self._segments[end.segments - 1]
        epoch = self.epoch + 1
        kept = self._cuts.keep(torn, end.byte)
        for segment in reversed(self._segments[end.segments:]):     # never a hole between two
            self._cuts.set_aside(segment.path)
            segment.close()
        del self._segments[end.segments:]
        del self._firsts[end.segments:]
        torn.end = end.byte
        logger.warning("%s: the write at byte %d was never finished (%s); cut there, at position %d, and "
                       "kept what was cut in %s", torn.path, end.byte, end.torn, end.position, kept)
        self._begin_epoch(torn, epoch, end)
        self._files.truncate(torn.fd, end.byte)
        torn.sync()

    def _begin_epoch(self, last, epoch, end):
        """Go on behind `last` in a new segment: numbers that clients may have seen are used again."""
        if last.header.end not in (0, end.byte):    # it was rewritten, and then lost its end
            last.header = last.header._replace(end=end.byte)
            self._files.write(last.fd, last.header.encode(), 0)
            self._files.sync(last.fd)
        before = last.header
        self._create_segment(Header(before.uuid, os.urandom(16), before.id, before.sequence + 1,
                                    epoch, end.position, end.byte, 0, self._clock()))
        self._seal_index(self._segments[-1], end.position)

    def _open_lookup(self, through):
        """Have the look-up know every key before `through`; it was told of those behind."""
        self.lookup.uuid = self.uuid
        try:
            reach = self.lookup.load()
            if reach is not None and not self._fits(reach):
                raise LookupDamaged("it is of another copy of this store")
            if reach is None and through.keyed:
                raise LookupDamaged("it isn't there")
            if reach is not None and reach.position < through.keyed:
                self._write_lookup(self.lookup.fill_up, reach.position)
        except LookupDamaged as damage:
            try:
                self._make_lookup_anew(damage)
            except CorruptSegment:
                pass        # which is for those to hear who look for something

    def _fits(self, reach):
        """Whether a look-up that goes so far was made from this log."""
        return reach.sequence < len(self._segments) and \
            self._reach(self._segments[reach.sequence], reach.byte, reach.position) == reach

    # -- the segments --------------------------------------------------------

    @property
    def uuid(self):
        """The store's, 16 bytes."""
        return self._segments[0].header.uuid

    @property
    def epoch(self):
        """How often events that had been numbered were cut, plus one."""
        return self._segments[-1].header.epoch

    @property
    def size(self):
        """Bytes of all records and headers."""
        return sum(segment.end for segment in self._segments)

    @property
    def index_size(self):
        """Bytes of the files that are made from the log, on disk."""
        return sum(self._files.size_at(os.path.join(self.folder, name + end))
                   for name in (INDEX_NAME, LOOKUP_NAME) for end in ("", "-wal"))

    def _create_segment(self, header):
        segment = Segment.create(self._files, self.folder, header)
        self._adopt(segment)
        return segment

    def _adopt(self, segment):
        self._segments.append(segment)
        self._firsts.append(segment.header.first)

    def _roll(self):
        """Begin a new segment; the old one is sealed by what the new header says of it."""
        tail = self._segments[-1]
        before = tail.header
        header = Header(before.uuid, os.urandom(16), before.id, before.sequence + 1, before.epoch,
                        self.next_position, tail.end, 0, self._clock())
        try:
            segment = self._create_segment(header)
        except FileExistsError as error:    # whose, and of what time?  It stays
            raise self.fail(self.folder, "making a segment", error) from None
        except OSError as error:
            self._remove_unfinished(os.path.join(self.folder, file_name(header.sequence)))
            raise self._refusal(self.folder, "making a segment", error) from None
        tail.trim()
        self._seal_index(segment, self.next_position)

    def _remove_unfinished(self, path):
        """Remove a segment that couldn't be made: left there, it would say where the one before ends."""
        try:
            self._files.remove(path)
            self._files.sync_folder(self.folder)
        except FileNotFoundError:
            pass        # it wasn't made
        except OSError as error:
            self.fail(path, "removing an unfinished segment", error)

    # -- writing -------------------------------------------------------------

    def write(self, drafts, entries=(), keys=(), ascending=False):
        """Append the events of `drafts`, and a control of `entries` if there are any, in one write.

        keys        [(hash, position), …] to look events up by
        ascending   while the clock is behind the latest of all events, up to a day, they have the time of that one
        Returns (bytes of each record, their salt).  The caller holds `lock`.
        Raises    StoreFull     nothing was stored, trying again may work
                  StoreFailed   nothing was stored, nothing will be
        """
        if self.failed:
            raise self.failed
        if not drafts and not entries:      # appends that were refused
            return [], b""
        clock, synced, level = self._clock(), self.synced, self._level
        if ascending and clock < self._latest <= clock + _A_DAY:
            clock = self._latest
        tail = self._segments[-1]
        parts, size = _encode(drafts, tail.salt, clock, synced, level)
        if entries:
            parts.append(self._encode_control(drafts, entries, tail.salt, clock))
            size += len(parts[-1])
        if tail.end + size > self._segment_size and tail.end > HEADER_SIZE:
            self._roll()
            tail = self._segments[-1]
            parts, size = _encode(drafts, tail.salt, clock, synced, level)
            if entries:
                parts.append(self._encode_control(drafts, entries, tail.salt, clock))
                size += len(parts[-1])
        start = tail.end
        if start + size > MAX_SIZE:
            raise ValueError(f"an append of {size} bytes, expected no more than {MAX_SIZE - HEADER_SIZE}")
        try:
            self._write(tail, record.buffers(parts), size)
            if self._fill_ahead:
                tail.fill_ahead(size, self._segment_size)
            self._marked = synced
            if drafts:
                self._note(drafts, tail, start)
                for draft in drafts:
                    if draft.latest > self._latest:
                        self._latest = draft.latest
            if keys:
                self._note_keys(keys, tail.end - len(parts[-1]))
            if entries:
                self._note_control(entries, tail.end - len(parts[-1]))
        except StoreError:
            raise
        except BaseException as error:      # no memory: what is in the log may not be in the counts
            self.fail(tail.path, "counting what was written", error)
            raise
        return parts, tail.salt

    def _encode_control(self, drafts, entries, salt, clock):
        position = drafts[-1].position + len(drafts[-1].frames) if drafts else self.next_position
        return record.encode_control(salt, self.controls, self.controls - self.controls_synced, position, clock,
                                     self.synced, entries, self._level)

    def _note_control(self, entries, byte):
        self.index.add_control(self.controls, entries, byte, self.controls_synced)
        self._controls_marked = self.controls_synced
        self.controls += 1

    def _write(self, tail, buffers, size):
        try:
            if len(buffers) == 1:
                self._files.write(tail.fd, buffers[0], tail.end)
            else:
                self._files.write_parts(tail.fd, buffers, tail.end)
        except OSError as error:
            raise self._taken_back(tail, error) from None
        tail.end += size
        if not self._dirty or self._dirty[-1] is not tail:
            self._dirty.append(tail)

    def note(self):
        """What was written last enters the index and what is in memory; see `Store.note`."""
        self.index.note()
        self._recent.note()

    def _note(self, drafts, tail, byte):
        """Bring index and positions up to date after a write."""
        self.index.add(drafts, byte)
        self._recent.add(tail, byte, drafts)
        last = drafts[-1]
        self.next_position = last.position + last.count

    def _note_keys(self, keys, byte):
        """Tell the look-up of what was written; the last record of it is at `byte` of the tail."""
        if self._add_keys(keys):
            self._seal_lookup(self._segments[-1], byte, self.next_position)

    def _add_keys(self, entries):
        """Tell the look-up; True when it should be sealed."""
        self._keyed = entries[-1][1] + 1
        return self.lookup.add(entries)

    def _taken_back(self, tail, error):
        """Cut off what a failed write left; the error to raise."""
        if error.errno in _NO_ROOM:
            try:
                self._files.truncate(tail.fd, tail.end)
                tail.sync()
            except OSError as second:
                return self.fail(tail.path, "taking back a write that the disk had no room for", second)
        return self._refusal(tail.path, "a write", error)

    def _refusal(self, path, what, error):
        if error.errno in _NO_ROOM and not self.failed:
            return StoreFull(path, error)
        return self.fail(path, what, error)

    def fail(self, path, what, cause):
        """Refuse appends from now on; the error that says so."""
        if self.failed is None:
            self.failed = StoreFailed(path, what, cause)
            logger.error("%s", self.failed)
        return self.failed

    # -- syncing -------------------------------------------------------------

    def sync(self, position=None, controls=0):
        """Return when every event before `position` and so many controls, or all written by now, are on disk.

        One sync serves all who wait when it begins.
        Raises    StoreFailed
        """
        if position is None:
            position, controls = self.next_position, self.controls
        with self._syncing:
            while self._is_unsynced(position, controls) and self._sync_began is not None:
                self._syncing.wait()
            if not self._is_unsynced(position, controls):
                return
            if self.failed:
                raise self.failed
            self._sync_began = time.monotonic()
        try:
            self._sync_once()
        finally:
            with self._syncing:
                self.sync_times.add(time.monotonic() - self._sync_began)
                self._sync_began = None
                self._syncing.notify_all()

    def _is_unsynced(self, position, controls):
        return self.synced < position or self.controls_synced < controls

    def _sync_once(self):
        with self.lock:
            end, controls = self.next_position, self.controls
            dirty, self._dirty = self._dirty, []
            unsynced, self.unsynced = self.unsynced, {}
        try:
            for segment in dirty:       # oldest first: the end on disk only ever moves forward
                segment.sync()
        except OSError as error:
            self.fail(segment.path, "a sync", error)
        with self.lock:
            if self.failed:     # meanwhile, perhaps: success beside a failure proves nothing
                self.unsynced = {**self.unsynced, **unsynced}
                raise self.failed
            self.synced, self.controls_synced = end, controls
        if self._flush_waits:
            self.sealed.set()

    def wait_for_slow_sync(self):
        """Return when no sync has been running for SLOW_SYNC seconds.

        Without this, everysec could lose any number of seconds behind a disk that hangs.
        """
        began = self._sync_began
        if began is None or time.monotonic() - began < SLOW_SYNC:
            return
        with self._syncing:
            while self._sync_began == began:
                self._syncing.wait()

    # -- the index -----------------------------------------------------------

    def _through(self, segment, byte, position, controls):
        return Through(segment.sequence, byte, position, print_of(segment, byte), 0, controls=controls,
                       keyed=self._keyed)

    def _generations(self, sequence):
        """How often the segments up to `sequence` were rewritten."""
        return sum(segment.header.generation for segment in self._segments[:sequence + 1])

    def _seal_index(self, segment, position):
        """`segment` begins, at `position`: all before it may go to sqlite3."""
        self._seal_lookup(segment, 0, position)
        self.index.seal(self._through(segment, HEADER_SIZE, position, self.controls))
        self._adding_to = segment.sequence
        self.sealed.set()

    def tidy(self):
        """Join the small records of what is sealed and on disk, and write its index to sqlite3.

        For a thread that has the time.
        """
        while True:
            durable, controls = self.synced, self.controls_synced
            self._flush_index(durable, controls, self._prepare)
            # A sync that ended meanwhile saw nobody who waited for it.
            if not self._flush_waits or (self.synced, self.controls_synced) == (durable, controls):
                return

    def _prepare(self, fresh):
        """What is done before a segment's places go to sqlite3."""
        # First this: how far the look-up goes is told by a record that a merge would move.
        self._flush_lookup(fresh.through.position)
        self._merge_small(fresh)

    def _merge_small(self, fresh):
        """Write the segment of `fresh` anew if its records are small."""
        if self.failed or self._segments[-1].sequence - fresh.sequence > _BACKLOG:
            return
        segment = self._segments[fresh.sequence]
        size = segment.end - fresh.begin.byte
        if merge.is_worth_it(size, fresh.records) and self._files.free(self.folder) > _ROOM * segment.end:
            try:
                self._merge(segment, fresh)
            except (BadRecord, OSError) as error:
                logger.warning("%s: joining its small records failed (%s); it holds what it held", segment.path, error)

    def _merge(self, segment, fresh):
        written = self._write_anew(segment, fresh.through.position, fresh.is_old, lambda one: None)
        if written is not None:
            new, merged = written
            merged.through = fresh.through
            self._replace(segment, new, lambda: self.index.replace_oldest(merged))
            self._files.sync_folder(self.folder)

    # A crash before the new file has the old one's name leaves the old one, and
    # after it the new one; both hold the same, but for what was to go.
    def _write_anew(self, segment, synced, is_old, sieve):
        """(Segment, the Fresh of it) of a file that took the name of `segment`, or None: the log is being closed.

        See merge.py.
        Raises    BadRecord, OSError: `segment` is as it was
        """
        path = segment.path + MERGING
        header = segment.header
        fresh = Fresh(self._through(segment, HEADER_SIZE, header.first, 0))
        fresh.replaces = True
        fd = self._files.create(path)
        try:
            end, gone = merge.merge(segment, self._files, fd, synced, lambda one, byte: _add(fresh, one, byte),
                                    self.pause, is_old, sieve)
            if end is None:
                self._abandon(fd, path)
                return None
            header = header._replace(generation=header.generation + 1, end=end, gone=gone)
            self._files.write(fd, header.encode(), 0)
            self._files.sync(fd)
            self._files.rename(path, segment.path)
        except BaseException:
            self._abandon(fd, path)
            raise
        new = Segment(self._files, segment.path, fd, header)
        new.end = end
        return new, fresh

    # -- what compaction.py needs --------------------------------------------

    @property
    def last_sequence(self):
        """Of the segment that is written to."""
        return self._segments[-1].sequence

    def spans(self, stream, first, stop):
        """See Index.spans."""
        return self._while_open(self._with_index, self.index.spans, stream, first, stop)

    def flushed(self):
        """The segments that nothing is added to, and whose places are all in sqlite3."""
        return self._segments[:self.index.flushed_through.sequence]

    def events_in(self, sequence):
        """How many events a segment has or had, which is not the last one."""
        return self._firsts[sequence + 1] - self._firsts[sequence]

    def segment_of(self, stream, number):
        """The sequence of the segment that has event `number` of `stream`.

        Raises    IndexUnusable, StoreClosed, CannotRead
        """
        return self._while_open(self._with_index, self._sequence_of, stream, number)

    def _sequence_of(self, stream, number):
        found = self.index.places(stream, number, 1)
        if found is None:
            raise IndexDamaged(f"it has no place for event {number} of stream {stream!r}")
        return found[0]

    def seal(self):
        """Go on in a new segment, so that what was written can be compacted.

        Raises    StoreFull, StoreFailed
        """
        with self.lock:
            if self.failed:
                raise self.failed
            if self._segments[-1].end > HEADER_SIZE:
                self._roll()
        self.sync()

    def rewrite(self, sequence, sieve):
        """Write a segment of `flushed` anew, as `sieve` says; bytes that are free now, None: it is being closed.

        Called by one thread at a time.
        Raises    StoreFull   the disk has no room for it beside the old one
                  BadRecord, OSError, sqlite3.Error
        """
        segment = self._segments[sequence]
        if self._files.free(self.folder) < _ROOM_TO_COMPACT * segment.end:
            raise StoreFull(segment.path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        written = self._write_anew(segment, self._firsts[sequence + 1],
                                   lambda control, byte: self._is_old(control, sequence, byte), sieve)
        if written is None:
            return None
        new, fresh = written
        self._replace(segment, new, lambda: self.index.shadow(fresh))
        self._files.sync_folder(self.folder)
        self.write_shadows()
        return segment.end - new.end

    def _is_old(self, control, sequence, byte):
        """Whether later controls that are on disk have entries for all that one of segment `sequence` says.

        What takes an entry out stays until there is a new one: an older control may still have it.
        """
        for topic, key, value in control.entries():
            place = self._while_open(self._with_index, self.index.entry, topic, key, self.controls_synced)
            if place is None and value is None or place is not None and place[:2] == (sequence, byte):
                return False
        return True

    def write_shadows(self):
        """Have sqlite3 say what became of segments that were rewritten; memory does until then.

        Raises    sqlite3.Error
        """
        with self._index_writing:
            for fresh in self.index.shadows():
                self.index.replace(fresh, self._generations)

    @property
    def closing(self):
        """Whether `end_tidying` was called."""
        return self._closing.is_set()

    def end_tidying(self):
        """A merge that is under way is given up; the log is about to be closed."""
        self._closing.set()

    def pause(self):
        """Leave the processor to those who are waited for; True if the log is being closed."""
        return self._closing.wait(_PAUSE)

    def _abandon(self, fd, path):
        self._files.close(fd)
        self._files.remove(path)

    def _replace(self, old, new, tell_index):
        """From now on `new` is what is read."""
        with self._reading:
            self._replacing = True
            while self._readers:
                self._reading.wait()
            tell_index()        # first: whoever counts generations knows of all that are counted
            self._segments[old.sequence] = new
            self._replays.forget()
            self._lately.forget()
            self._replacing = False
            self._reading.notify_all()
        old.close()

    def _flush_index(self, durable, controls, prepare=lambda fresh: None):
        try:
            with self._index_writing:
                self._flush_waits = self.index.flush(durable, self._generations, prepare, controls)
        except sqlite3.Error as error:
            logger.warning("%s: writing it failed (%s); it stays in memory", self.index.path, error)

    def _rebuild_index(self, damage, seen):
        """Make the index anew, for a reader, unless somebody did since `seen` rebuilds."""
        self._leave()
        with self._index_writing:       # who has it may wait for all readers to leave, to replace a segment
            self._enter()
            if self._rebuilt != seen:
                return
            logger.warning("%s: %s; it is made anew from the log", self.index.path, damage)
            try:
                self._make_index_anew()
            except (sqlite3.Error, OSError) as error:
                raise IndexUnusable(self.index.path, error) from None
            self._rebuilt += 1

    def _make_index_anew(self):
        self.index.discard()
        stop = self.index.flushed_through
        pending = [Fresh(self._through(self._segments[0], HEADER_SIZE, 0, 0))]

        def put(segment, byte, position):
            pending[0].through = self._through(segment, byte, position, scan.controls)
            self.index.put(pending[0], self.synced, self._generations(segment.sequence))
            pending[0] = Fresh(pending[0].through)

        def visit(segment, byte, found):
            if segment.sequence != pending[0].sequence:
                put(segment, HEADER_SIZE, found.position)
            for one in _indexed(found):
                _add(pending[0], one, byte)

        scan = Scan(0, self.synced, {}, visit)
        scan.run(self._segments[:stop.sequence + 1], 0, HEADER_SIZE, stop.byte)
        put(self._segments[stop.sequence], stop.byte, stop.position)

    def _with_index(self, read, *arguments):
        """Call `read`, for one who is counted; if the index is at fault, make it anew and call again."""
        seen = self._rebuilt
        try:
            return read(*arguments)
        except IndexDamaged as damage:
            self._rebuild_index(damage, seen)
        try:
            return read(*arguments)
        except IndexDamaged as damage:
            raise IndexUnusable(self.index.path, damage) from None

    # -- the look-up ---------------------------------------------------------

    def _reach(self, segment, byte, position):
        if byte:
            data = segment.files.read(segment.fd, record.HEADER_SIZE, byte)
        else:
            data = segment.header.id        # which it keeps when it is rewritten
        return Reach(segment.sequence, byte, position, zlib.crc32(data))

    def _seal_lookup(self, segment, byte, position):
        self.lookup.seal(self._reach(segment, byte, position))

    def flush_lookup(self):
        """Move keys of events that are on disk to the look-up's file.

        Returns the position up to which more has to be on disk for the rest, or None.
        """
        return self._flush_lookup(self.synced)

    def _flush_lookup(self, durable):
        seen = self._lookup_remade
        try:
            return self.lookup.flush(durable)
        except LookupDamaged as damage:
            try:
                self._while_open(self._remake_lookup, damage, seen)
            except StoreError as error:
                logger.warning("%s", error)
        except sqlite3.Error as error:
            logger.warning("%s: writing it failed (%s); it stays in memory", self.lookup.path, error)
        return None

    def look_up(self, hashes):
        """{hash: the positions of the events that may have its key, ascending} of those that are known.

        Raises    IndexUnusable, CorruptSegment, StoreClosed
        """
        return self.with_lookup(self.lookup.find_many, hashes)

    def with_lookup(self, read, *arguments):
        """Call `read`; if the look-up is at fault, make it anew and call again."""
        seen = self._lookup_remade
        try:
            return read(*arguments)
        except LookupDamaged as damage:
            self._while_open(self._remake_lookup, damage, seen)
        try:
            return read(*arguments)
        except LookupDamaged as damage:
            raise IndexUnusable(self.lookup.path, damage) from None

    def _remake_lookup(self, damage, seen):
        """Make the look-up anew, unless somebody did since `seen` times."""
        with self._lookup_remaking:
            if self._lookup_remade == seen:
                self._make_lookup_anew(damage)
                self._lookup_remade += 1

    def _make_lookup_anew(self, damage):
        logger.warning("%s: %s; it is made anew from the log", self.lookup.path, damage)
        self._write_lookup(self.lookup.make_anew, 0)

    def _write_lookup(self, write, position):
        try:
            write(self._keys_from(position, min(self._keyed, self.lookup.moved)))
        except CorruptSegment as damage:
            self.lookup.unusable = damage
            logger.error("%s: it can't be made from a log that is damaged (%s); events with ids or tags are refused, "
                         "and not found by these, until that is repaired", self.lookup.path, damage)
            raise
        except (LookupDamaged, sqlite3.Error, OSError) as error:
            raise IndexUnusable(self.lookup.path, error) from None

    def _keys_from(self, position, stop):
        """Yield ([(hash, position), …], Reach) of the events [position, stop), in portions."""
        entries = []
        reach = None
        for segment in self._segments[self._runs.segment_at(position).sequence:]:
            if segment.header.first >= stop:
                break
            byte = HEADER_SIZE
            try:
                for byte, found in Reader(segment).records(HEADER_SIZE):
                    if found.position >= stop:
                        break
                    entries += entries_of(found)
                    reach = self._reach(segment, byte, found.position + found.count)
                    if len(entries) >= FULL:
                        yield entries, reach
                        entries = []
            except BadRecord as bad:
                raise segment.corrupt(byte, bad) from None
        if reach is not None:
            yield entries, reach

    # -- reading -------------------------------------------------------------

    def records_with(self, positions, limit):
        """The records that hold events at `positions`, which ascend; of about `limit` bytes, at least one.

        Each is given once for each position that it holds.  Of a cut it is what is left, or the cut itself
        if the event is gone.
        Raises    CorruptSegment, EventsLost, IndexUnusable, StoreClosed
        """
        return self._while_open(self._with_index, self._picks.of, positions, limit)

    def read_stream(self, stream, number, stop, limit, keep=False):
        """The records of `stream` with its events from `number`, at least one and, if there
        is more than one, of about `limit` bytes; none if number >= stop.

        The first and the last may hold more than was asked for: see Record.frames.
        keep      have them `at_hand` for a while
        Raises    CorruptSegment   when the very first can't be read
                  IndexUnusable, StoreClosed
        """
        return self._while_open(self._with_index, self._read_stream, stream, number, stop, limit, keep)

    def at_hand(self, stream, number, stop):
        """Those that hold the events [number, stop) of `stream`, as many as follow one another in memory; [] if the
        first isn't there.  It reads nothing and waits for nobody."""
        return self._lately.get(stream, number, stop)

    def read_all(self, position, stop, limit):
        """The same in the order of positions."""
        return self._while_open(self._with_index, self._read_all, position, stop, limit)

    def read_frames(self, stream, first, stop, limit):
        """The Frames of the same records; those of `read_all` if `stream` is None.

        None if some of them were cut: then there is more to know than frames tell.
        """
        return self._while_open(self._with_index, self._read_frames, stream, first, stop, limit)

    def _read_frames(self, stream, first, stop, limit):
        frames = self._replays.read(stream, first, stop, limit)
        if frames is not None:
            return frames
        if stream is None:
            records = self._read_all(first, stop, limit)
        else:
            records = self._read_stream(stream, first, stop, limit)
        if any(one.kind == record.CUT for one in records):
            return None
        return Frames.of(records, by_position=stream is None)

    @property
    def segment_count(self):
        """How many segments there are; `opened` opens each of them."""
        return len(self._segments)

    def opened(self, sequence):
        """Segment `sequence`, opened once more, up to where its records end now.

        What is read of it stays the same, also when the segment is rewritten.
        Raises    StoreClosed, CannotRead
        """
        return self._while_open(self._open_again, sequence)

    def _open_again(self, sequence):
        known = self._segments[sequence]
        segment = Segment(self._files, known.path, self._files.open(known.path), known.header)
        segment.end = known.end
        return segment

    def entry(self, topic, key, stop):
        """The value of the newest entry that the controls before number `stop` put, or None.

        Raises    CorruptSegment, IndexUnusable, StoreClosed, CannotRead
        """
        return self._while_open(self._with_index, self._entry, topic, key, stop)

    def entries(self, topic, stop):
        """[(key, value)] of all entries of a topic, sorted; see `entry`."""
        return self._while_open(self._with_index, self._entries, topic, stop)

    def topics(self):
        """The topics that ever had an entry, sorted."""
        return sorted(self._while_open(self._with_index, self.index.topics))

    def _entry(self, topic, key, stop):
        place = self.index.entry(topic, key, stop)
        return None if place is None else self._value_at(place, topic, key)

    def _entries(self, topic, stop):
        places = self.index.entries(topic, stop)
        return [(key, self._value_at(places[key], topic, key)) for key in sorted(places)]

    def _value_at(self, place, topic, key):
        if place.value is not None:
            return place.value
        segment = self._segments[place.sequence]
        try:
            found = Reader(segment).record(place.byte, SHORT_READ)
        except BadRecord as bad:
            raise segment.corrupt(place.byte, bad) from None
        for entry in reversed(found.entries() if found.kind == record.CONTROL else ()):
            if (entry.topic, entry.key) == (topic, key) and entry.value is not None:
                return entry.value
        raise IndexDamaged(f"no entry for {key!r} of {topic!r} at byte {place.byte} of {segment.path}")

    def _while_open(self, read, *arguments):
        """Call `read`, while `close` and who replaces a segment wait for it."""
        try:
            self._enter()
            return read(*arguments)
        except OSError as error:
            raise CannotRead(self.folder, error) from None
        finally:
            self._leave()

    def _enter(self):
        """Count a reader, who is counted also if this raises StoreClosed."""
        with self._reading:
            while self._replacing:
                self._reading.wait()
            self._readers += 1
            if self._closed:
                raise StoreClosed()

    def _leave(self):
        with self._reading:
            self._readers -= 1
            if not self._readers:
                self._reading.notify_all()

    def _read_stream(self, stream, number, stop, limit, keep=False):
        found = self._runs.of_stream(stream, number, stop, limit)
        found = self._up_to_loss(found, lambda lost: (stream.decode(), max(number, lost.number), lost.stop))
        if keep:
            self._lately.put(stream, found)     # while it is counted as a reader: nothing is replaced meanwhile
        return found

    def _read_all(self, position, stop, limit):
        found = self._runs.of_all(position, stop, limit)
        return self._up_to_loss(found, lambda gap: (None, max(position, gap.position), gap.position + gap.count))

    def _up_to_loss(self, found, of_loss):
        """Those of `found` before the first loss.  Raises EventsLost, with what `of_loss` says, if that comes first."""
        for i, one in enumerate(found):
            if one.lost:
                if i:
                    return found[:i]        # the next call says what is lost
                raise EventsLost(self._runs.segment_at(one.position).path, *of_loss(one))
        return found

    # -- reading either way --------------------------------------------------

    def runs(self, stream, first, stop, limit, back=False):
        """Runs of `stream`, and a Lost where events are lost, that have its events [first, stop); about `limit`
        bytes of them, the last one first if it is `back`.

        Raises    CorruptSegment   when the very first can't be read
                  IndexUnusable, StoreClosed
        """
        read = self._runs.of_stream_back if back else self._runs.of_stream
        return self._while_open(self._with_index, read, stream, first, stop, limit)

    def records(self, first, stop, limit, back=False):
        """The same in the order of positions: records of any streams, gaps among them."""
        read = self._runs.of_all_back if back else self._runs.of_all
        return self._while_open(self._with_index, read, first, stop, limit)

    def position_at(self, time, stop):
        """The position of the first event at or after `time`; `stop` if there is none before."""
        return self._while_open(self._with_index, seek.position_at, self.index, self._segments, time, stop)

    def number_from(self, stream, position, stop):
        """The number of the first event of `stream` at `position` or behind it; `stop` if there is none before."""
        return self._while_open(self._with_index, seek.number_from, self.index, self._runs, stream, position, stop)

    def path_at(self, position):
        """Of the segment that has the event at `position`."""
        return self._runs.segment_at(position).path

    # -- closing -------------------------------------------------------------

    def close(self):
        """Sync, leave a mark that all is on disk, write the index, close the files."""
        with self._reading:
            self._closed = True
            while self._readers:
                self._reading.wait()
        try:
            if self.failed is None:
                self._finish()
        finally:
            self._close_files()

    def _close_files(self):
        self._lately.forget()
        self.index.close()
        self.lookup.close()
        for segment in self._segments:
            segment.close()

    def _finish(self):
        self.sync()
        tail = self._segments[-1]
        unmarked = self._marked < self.next_position or self._controls_marked < self.controls
        if unmarked and not self._write_mark(tail):
            return
        tail.trim()
        # What stands last is the mark, if the disk had room for it.
        self._seal_lookup(tail, tail.end - record.HEADER_SIZE if tail.end > HEADER_SIZE else 0, self.next_position)
        self._flush_lookup(self.synced)
        self.index.seal(self._through(tail, tail.end, self.next_position, self.controls))
        self._flush_index(self.synced, self.controls_synced)

    def _write_mark(self, tail):
        """Write that all is on disk: without it, damage to the last records would look like a tear.

        Returns whether the file is whole; without room, it is so without a mark.
        """
        try:
            mark = record.encode_mark(tail.salt, self.next_position, self._clock(), self.controls)
            self._write(tail, [mark], len(mark))
            tail.sync()
        except StoreFull as full:
            logger.warning("%s; closed without a mark", full)
        except StoreFailed:
            return False
        except OSError as error:
            self.fail(tail.path, "syncing the closing mark", error)
            return False
        return True


def print_of(segment, byte):
    """A checksum of what stands before `byte`: the header, or the mark of a clean close; each is unique.

    Their own checksums, at their end, are left out: with them it would always come to the same.
    """
    if byte == HEADER_SIZE:
        return zlib.crc32(segment.header.encode()[:-4])
    return zlib.crc32(segment.files.read(segment.fd, record.HEADER_SIZE - 4, byte - record.HEADER_SIZE))


def _encode(drafts, salt, clock, synced, level):
    """(bytes of the record of each draft, bytes in all)."""
    parts = []
    whole = 0
    for draft in drafts:
        frames, clocks = draft.frames, draft.clocks
        if not frames:
            draft.latest = clock
            gone = record.Gone(draft.stream, draft.number, draft.count, [])
            parts.append(record.encode_cut(salt, draft.position, clock, synced, [gone]))
            draft.size = len(parts[-1])
            whole += draft.size
            continue
        part = record.encode(salt, draft.number, draft.position, clocks[0] if clocks else clock, synced, frames,
                             draft.more, draft.details, level, draft.pack, clocks)
        parts.append(part)
        draft.count = len(frames)
        draft.size = size = len(part)
        draft.latest = max(clocks) if clocks else clock
        whole += size
    return parts, whole


def _indexed(found):
    """What the index is told of a record: nothing of a mark, and of a gap or a cut each stream whose events it was."""
    if found.kind == record.CONTROL:
        return [found]
    if not found.count:
        return []
    return found.runs() if found.kind in record.WITHOUT_EVENTS else [found]


def _add(index, one, byte):
    """Tell an index, or a Fresh, of one of those at `byte`, which are on disk."""
    if isinstance(one, record.Record) and one.kind == record.CONTROL:
        index.add_control(one.number, one.entries(), byte, one.number)
    else:
        index.add([one], byte)
