"""The store: one folder, its streams, and the way of an append.

    append ──> draft: numbers, positions, frames        under the append lock
          ──> log.write: one write for the batch        under the append lock
          ──> log.sync, if the policy is `always`       no lock
          ──> visible goes up, waiters are woken
    read   <── log <── index

    FOLDER/lock     held with flock while the store is open; never removed

Locks: the append lock (`log.lock`) guards the streams' dict, their numbers and
`_pending`.  Conditions of streams are taken after it was let go.
"""

import hashlib
import logging
import os
import threading
import time
from collections import deque
from functools import partial
from itertools import takewhile

from . import backup, check, digests, following, groups, reading, record, snapshot
from .append import Appended, Change, append_of, encoded
from .blocks import MEMORY as REPLAY_MEMORY
from .compaction import Compaction
from .draft import MAX_SKIP, drafts_of, drafts_of_skip, drafts_of_units
from .errors import (CannotRead, ConditionFailed, CorruptSegment, IndexUnusable, StoreClosed, StoreFailed, StoreFull,
                     StoreError, StoreLocked)
from .expect import ANY, NONE
from .files import Files, owner_of
from .group import SHARED, Rules
from .ids import Known
from .keeper import Keeper
from .log import Log
from .names import ALL
from .query import Matching, Query, Tagged, first_match
from .query import page as matching_page
from .reading import Selection
from .roster import Roster, in_order
from .retention import CUTS, REDACTED, RULES, Retention, Rule
from .shared import SharedState
from .stream import Stream

logger = logging.getLogger("meilies.store")

ALWAYS = "always"       # an append returns when it is on disk
EVERYSEC = "everysec"   # the disk is told to catch up each second
NO = "no"               # the disk catches up when the system likes

SEGMENT_SIZE = 256 << 20
MAX_VALUE = 512 << 20   # bytes of all values of one put

# Places of streams' names, see `names_scattered`: a program that takes numbers for doubles has them exactly.
PLACES = 1 << 52
_PLACE_SIZE = 7         # bytes

# Looks at what others wrote meanwhile, before they are kept from it.
_TRIES = 8

# What the lock file has, in bytes, and which start of the machine an owner names that found a loss.
_LOCK_SIZE = 80
_LOSER = "lost"
_COPY = "copy"          # in its place, in a copy of a store
_STOPPED = "the machine stopped while not all was on disk"
_WAS_COPIED = "this is a copy, and the store that it was made of may have gone on"

# Seconds after which a thread looks whether something is to be compacted.
_TIDY = 60.0

# Seconds in which trims gather for one entry.
_TRIMS = 0.25

# What one turn of a long read takes from the log, in bytes.
_READ = 256 * 1024


def _place_as_bytes(place):
    return place.to_bytes(_PLACE_SIZE, "big")


class Batch:
    """What one write stored.

    drafts     what became its records
    clock      microseconds since 1970 that its events have which brought none of their own
    shown      {stream: the number after its last event in this batch}
    position   the position after the last event
    """

    __slots__ = ("drafts", "shown", "position", "_parts", "_salt")

    def __init__(self, drafts, shown, position, parts, salt):
        self.drafts = drafts
        self.shown = shown
        self.position = position
        self._parts = parts
        self._salt = salt

    @property
    def clock(self):
        return self.drafts[0].latest if self.drafts else 0

    def record(self, i):
        """The record of drafts[i], as reading the log would give it."""
        return record.written(self._parts[i], self._salt)


class Store:
    """An open store, for any number of threads.

    path          its folder, made when it isn't there
    sync          ALWAYS, EVERYSEC or NO: what an append waits for
    compression   zlib's level, 1 to 9, or 0 for none; on disk only
    segment_size  bytes after which the log goes on in a new file
    hash_chain    begin a chain of digests of all events, which goes on from then on; see digests.py
    replay_memory bytes that may be kept in memory of streams that are replayed again and again
    recent_memory bytes that may be kept in memory of what was written last to scattered streams, for their first
                  replays; publishes to many streams then cost a quarter more
    files, clock  the disk, and microseconds since 1970: for tests
    Raises    StoreLocked      somebody has it open
              FolderRefused    the folder is a link, or another user's; nothing was changed
              CorruptSegment   what was on disk is damaged; nothing was changed
              LogTooShort      what was on disk is missing; nothing was changed
              UnknownFormat    a newer version wrote it; nothing was changed
              OSError          the disk says no
    """

    def __init__(self, path, sync=ALWAYS, compression=0, segment_size=SEGMENT_SIZE, files=None, clock=None,
                 hash_chain=False, replay_memory=REPLAY_MEMORY, recent_memory=0):
        if sync not in (ALWAYS, EVERYSEC, NO):
            raise ValueError(f"sync is {sync!r}, expected 'always', 'everysec' or 'no'")
        if not 0 <= compression <= 9:
            raise ValueError(f"compression is {compression}, expected 0 to 9")
        self.path = os.path.abspath(path)
        self.sync_policy = sync
        self._files = files or Files()
        self._clock = clock or _microseconds
        self._closed = False
        self._pending = deque()     # batches that were written and wait for a sync
        self._attended = set()      # streams that somebody waits on
        self._keepers = []
        self._keeps_keys = False    # one of them looks after the look-up, once an event has an id or tags
        self._keeps_trims = False   # one of them looks after what was trimmed, once something was
        self._ending = threading.Event()    # it doesn't wait any more
        self._groups = None         # made when the first is asked for, under `_groups_lock`
        self._groups_lock = threading.Lock()
        if os.path.lexists(self.path) and self._files.keep_private(self.path):
            logger.info("%s: others could look into the folder, and no longer can", self.path)
        self._files.make_folder(self.path)
        self._lock_fd, lost, hasty = self._own_folder()
        try:
            self._log = Log(self.path, self._files, self._clock, segment_size, compression,
                            fill_ahead=sync == ALWAYS, replay_memory=replay_memory, recent_memory=recent_memory)
            heads = self._open_log(lost, hasty)
        except BaseException:
            self._files.close(self._lock_fd)
            raise
        self._streams = {}
        self._roster = Roster()
        self._scattered = Roster(self._place_and_name)
        while heads:                # taken apart as it goes: there may be millions
            name, number = heads.popitem()
            if not name.startswith(record.UNKNOWN):
                self._streams[name] = Stream(name, number)
        self.all = Stream(ALL, self._log.next_position)
        try:
            self.retention = Retention(self._log, self._streams, self.all, self._clock, self.put_many, self.entries)
        except BaseException:
            self._log.close()
            self._files.close(self._lock_fd)
            raise
        self._compaction = Compaction(self._log, self.retention)
        self._keepers.append(Keeper("meilies-tidy", self._tidy, wanted=self._log.sealed, interval=_TIDY))
        if sync == EVERYSEC:
            self._keepers.append(Keeper("meilies-sync", self._sync_quietly, interval=1.0))
        self.hash_chain = None
        if hash_chain or digests.NAME in self._files.names(self.path):
            try:
                self.hash_chain = digests.HashChain(self, self._files)
            except BaseException:
                self.close()
                raise

    def _own_folder(self):
        """Lock the folder; (descriptor, lost, hasty).

        lost    its last owner may have lost what it had acknowledged: why, a text; or ""
        hasty   its last owner ended without closing it, and acknowledged what wasn't on disk

        The file says who has the folder open, since which start of the machine and under which policy.  A clean
        close leaves it empty.  A crash while it is written over leaves the line from before, the new one or
        nonsense, which counts as a loss.
        """
        path = os.path.join(self.path, "lock")
        try:
            fd = self._files.lock(path)
        except BlockingIOError:
            raise StoreLocked(self.path, owner_of(path)) from None
        try:
            words = self._files.read(fd, 200, 0).decode("ascii", "replace").split()
            hasty = bool(words) and words[2:] != [ALWAYS]
            lost = ""
            if hasty and (len(words) != 3 or words[1] != self._files.boot()):
                lost = _WAS_COPIED if words[1:2] == [_COPY] else _STOPPED
            # Until recovery has dealt with the loss, whoever opens the folder next must hear of it too.
            self._sign_lock(fd, f"{_LOSER} {NO}" if lost else f"{self._files.boot()} {self.sync_policy}")
        except BaseException:
            self._files.close(fd)
            raise
        return fd, lost, hasty

    def _sign_lock(self, fd, words):
        """Say in the lock file who has the folder, durably."""
        self._write_lock(fd, words)
        self._files.sync(fd)

    def _write_lock(self, fd, words):
        """Write its line; in one length, so that no earlier one shows behind it."""
        self._files.write(fd, f"{os.getpid()} {words}".ljust(_LOCK_SIZE - 1).encode() + b"\n", 0)

    def _sign_loss(self):
        """Have the next owner hear that events which were visible may be gone.

        Without a sync, on a disk that fails: should the machine stop, its next start says the same.
        """
        try:
            self._write_lock(self._lock_fd, f"{_LOSER} {NO}")
        except OSError as error:
            logger.warning("%s: the lock file doesn't take that events may be lost (%s)", self.path, error)

    def _open_log(self, lost, hasty):
        """Open the log, and say in the lock file what became of a loss; {stream: next number}."""
        try:
            heads = self._log.open(lost)
        except OSError:
            if hasty:       # the sync that failed now may have been of what its last owner wrote
                self._sign_loss()
            raise
        if lost:
            try:
                self._sign_lock(self._lock_fd, f"{self._files.boot()} {self.sync_policy}")
            except BaseException:
                self._log.close()
                raise
        return heads

    def _disown_folder(self):
        """Unlock the folder; its file is left empty if nothing was lost."""
        try:
            if self._log.failed is None:
                self._files.truncate(self._lock_fd, 0)
                self._files.sync(self._lock_fd)
        except OSError as error:
            logger.warning("%s: the lock file couldn't be emptied (%s)", self.path, error)
        finally:
            self._files.close(self._lock_fd)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()

    # -- what it is ----------------------------------------------------------

    @property
    def uuid(self):
        """32 hexadecimal digits, drawn when the store was made."""
        return self._log.uuid.hex()

    @property
    def epoch(self):
        """Goes up by one when recovery cut off events that had been numbered."""
        return self._log.epoch

    @property
    def position(self):
        """How many events readers see: the position of the next one."""
        return self.all.visible

    @property
    def synced(self):
        """Every event before this position is on disk."""
        return self._log.synced

    @property
    def size(self):
        """Bytes of the log."""
        return self._log.size

    @property
    def index_size(self):
        """Bytes of the index and of the look-up of keys, on disk."""
        return self._log.index_size

    @property
    def segment_count(self):
        """How many files the log has."""
        return self._log.segment_count

    @property
    def sync_times(self):
        """The Times of its syncs since it was opened."""
        return self._log.sync_times

    def free(self):
        """Bytes that may still be written to the disk that it is on.  Raises OSError."""
        return self._files.free(self.path)

    @property
    def failed(self):
        """The StoreFailed after which appends are refused, or None."""
        return self._log.failed

    @property
    def closed(self):
        return self._closed

    # -- appending -----------------------------------------------------------

    def append(self, stream, name, data, id=b"", metadata=b"", expected=ANY):
        """Append one event; return its Appended(number, position).

        See `append_many`.
        """
        return self.append_many(stream, [(name, data, id, metadata)], expected)

    def append_many(self, stream, events, expected=ANY):
        """Append NewEvents (or (name, data) pairs) to `stream`, all or none.

        expected   what the stream must look like before the first of them: ANY, NONE,
                   EXISTS or the number of its last event
        Returns where the first of them is; the others follow it in both countings.
        Raises    as `append_all`
        """
        events = list(events)
        changes = [Change(stream, event) for event in events]
        if changes:
            changes[0] = Change(stream, events[0], expected)
        return self.append_all(changes)[0]

    def append_all(self, changes, condition=None):
        """Append events to streams, all or none, one behind the other in positions.

        changes     [Change(stream, NewEvent, expected), …]; what each expects is compared as if
                    they were appended one after the other
        condition   a Condition: no event may match its query
        Returns [Appended(number, position), …], one for each.  Under ALWAYS they are on disk then.
        Raises    ValueError     a name that may not be, or no event
                  WrongVersion   a stream isn't what was expected; nothing was stored
                  IdConflict     an id is that of another event; nothing was stored
                  ConditionFailed   an event matches; nothing was stored
                  StoreFull      nothing was stored; trying again may work
                  StoreFailed    whether they are stored is known after a restart
                  StoreClosed
        """
        append = append_of(changes)
        self.commit(self.write([append], [append]) if condition is None else self.write_if(append, condition))
        if append.error is not None:
            raise append.error
        return [Appended(*place) for place in append.places]

    def restore(self, events):
        """Append Events of another store, as they were there but for their positions.

        events   read from it; each has its number, id, metadata, tags and time.  Those that come
                 first and are here already, the same in all of these, are passed over.  Where a
                 number is past the next one of its stream, those between are given up: they were cut
        Returns how many were appended; all of them or none, where no number of a stream is missing.
        Raises    WrongVersion   a number is taken by another event
                  ValueError, IdConflict, StreamDeleted, StoreFull, StoreFailed, StoreClosed, CorruptSegment
        """
        events = events[self._restored(events):]
        for some in _without_jumps(events):
            self.skip({one.stream: one.number for one in reversed(some)}.items())
            append = append_of([Change(one.stream, one[4:], one.number - 1 if one.number else NONE) for one in some])
            append.clocks = [one.time for one in some]
            self.commit(self.write([append], [append]))
            if append.error is not None:
                raise append.error
        return len(events)

    def skip(self, numbers):
        """Give up numbers: [(stream, the number to go on from), …].  To readers, events below it were cut.

        Raises    ValueError    a number of 2**32 or more
                  StoreFull, StoreFailed, StoreClosed
        """
        skips = [(encoded(stream), number) for stream, number in numbers]
        for name, number in skips:
            if number > MAX_SKIP:
                raise ValueError(f"stream {name.decode()!r} is to go on from {number}, expected {MAX_SKIP} or less")
        with self._log.lock:
            known = [(name, self._streams.get(name), number) for name, number in skips]
            skips = [(name, number) for name, stream, number in known if number > (stream.next if stream else 0)]
            if not skips:
                return
            batch = self._write(skips, drafts_of_skip)
        self.commit(batch)

    def _restored(self, events):
        """How many of `events` are here already, one behind the other from the first."""
        return next((i for i, event in enumerate(events) if not self._is_here(event)), len(events))

    def _is_here(self, event):
        """Whether an Event of another store is here, but for its position; what was cut or redacted isn't compared."""
        stream = self.find(encoded(event.stream))
        if stream is None or event.number >= stream.visible:
            return False
        here = self.read(event.stream, event.number, event.number + 1)
        if not here:
            return True
        if record.is_redacted(here[0]):
            event = event._replace(data=here[0].data, metadata=here[0].metadata)
        return here[0]._replace(position=event.position) == event

    def take(self, entries):
        """`put_many` entries of another store, and have what they say of rules, cuts and groups come into effect.

        A group that is here stays as it is.
        """
        topics = {topic for topic, _, _ in entries}
        if topics & groups.TOPICS:
            entries = self._made_groups().new_among(entries)
        self.put_many(self.retention.with_cuts(entries))
        if topics & {RULES, CUTS, REDACTED}:
            self.retention.load()
        if topics & groups.TOPICS:
            self._made_groups().load()

    def settle(self):
        """Put into the log which events rules hide by now: so these stay hidden, and their numbers known."""
        if self.retention.has_rules:
            with self.retention.changing:
                self.retention.settle(self.retention.concerned())

    def write(self, units, appends=None):
        """The first half of an append: store events, in one write; return the Batch.

        units     runs of publishes, (stream, name, [data, …]) in bytes, checked before, each
                  data an event (see draft.py); and Appends and Singles, which are told their
                  places or errors.  Positions follow this order
        appends   those of them that are no runs, if the caller knows
        Nobody sees the events, and no number is promised, before `commit`.  What an append was
        refused for isn't promised before either.
        Raises    StoreFull, StoreFailed, StoreClosed
        """
        if appends is None:
            appends = [unit for unit in units if type(unit) is not tuple]
        log = self._log
        if self.sync_policy == EVERYSEC:
            log.wait_for_slow_sync()
        keyed = [append for append in appends if append.has_keys] if appends else ()
        if not keyed:
            with log.lock:
                if not appends:
                    return self._write(units, drafts_of)
                return self._write(units, self._drafts_of_units,
                                   ascending=any(append.ascending for append in appends))
        self._keep_keys()
        keyed = [(append, append.keys()) for append in keyed]       # hashed before the lock is taken
        while True:
            try:
                log.lookup.wait_for_room()
                known = Known(log, keyed, self.retention)
            except (CorruptSegment, IndexUnusable, CannotRead, StoreFull) as error:
                return self._write_others(units, appends, [append for append, _ in keyed], error)
            draft = partial(self._drafts_of_units, known=known)
            with log.lock:
                if known.is_current():
                    return self._write(units, draft, keyed, any(append.ascending for append in appends))

    def _write_others(self, units, appends, refused, error):
        """`write` without those that have keys, of which nobody can say whether they are known."""
        for append in refused:
            append.refuse(error)
        others = [append for append in appends if append not in refused]
        return self.write([unit for unit in units if unit not in refused], others)

    def _drafts_of_units(self, *arguments, known=None):
        return drafts_of_units(*arguments, known=known, closed=self.retention.closed)

    def write_if(self, append, condition):
        """`write` an Append if no event matches a Condition; its error is ConditionFailed if one does.

        An append that is known by its ids is answered whatever matches: it worked, and may match itself.
        """
        self._keep_keys()
        self._log.lookup.wait_for_room()
        keyed = [(append, append.keys())]
        query, first = condition.query, 0 if condition.after is None else condition.after + 1
        hashes = frozenset(query.hashes()) if query.has_keys else None
        tries = 0
        while True:
            tries += 1
            known = Known(self._log, keyed, self.retention)
            recalled = known.recall(append)
            match = None if recalled else first_match(self._log, query, first, known.position, self._shown)
            with self._log.lock:
                if recalled or match is not None or hashes is not None:
                    settled = known.is_current(hashes or frozenset())
                else:
                    settled = self._log.next_position == known.position
                    if not settled and tries >= _TRIES:     # others write on and on: a short look, with them waiting
                        match = first_match(self._log, query, known.position, self._log.next_position,
                                            self._shown)
                        settled = known.is_current()
                if settled:
                    if match is not None:
                        append.error = ConditionFailed(match, condition.after)
                        return self._write([], self._drafts_of_units)
                    return self._write([append], partial(self._drafts_of_units, known=known), keyed)
            append.error = append.places = None
            first = max(first, known.position) if match is None else first

    def _write(self, units, draft, keyed=(), ascending=False):
        """Draft and write units; the caller holds the append lock.

        keyed   (Append, its keys) of those that have any
        """
        log = self._log
        if self._closed:
            raise StoreClosed()
        nexts = {}
        try:
            drafts = draft(units, self._streams, self._new_stream, log.next_position, nexts)
            parts, salt = log.write(drafts, keys=_entries_of(keyed) if keyed else (), ascending=ascending)
        except BaseException:
            self._take_back(nexts)
            if log.failed:
                self._retreat()
            raise
        unsynced = log.unsynced
        for stream, number in nexts.items():
            if stream not in unsynced:
                unsynced[stream] = number
            nexts[stream] = stream.next     # in place: a second dict of them would cost as much as the first
        batch = Batch(drafts, nexts, log.next_position, parts, salt)
        if self.sync_policy == ALWAYS:
            self._pending.append(batch)
        else:
            self._show(batch)
        return batch

    def commit(self, batch):
        """The second half: return when `batch` is as safe as the policy says, and visible.

        Raises    StoreFailed
        """
        if self.sync_policy == ALWAYS:
            self._sync(batch.position)
        else:
            self._notify(batch)

    def note(self):
        """Bring the index, and what is in memory for replays, up to what was written last.

        Nobody has to call it, or to wait for it: who reads, or writes next, does it otherwise.
        """
        self._log.note()

    def _new_stream(self, name):
        stream = self._streams[name] = Stream(name, 0)
        self._roster.add(name)
        self._scattered.add(name)
        return stream

    def _forget(self, stream):
        """A stream has no event, and nobody waits for one; under the append lock."""
        if self._streams.pop(stream.name, None) is not None:
            self._roster.discard(stream.name)
            self._scattered.discard(stream.name)

    def _take_back(self, nexts):
        """Give the numbers of a failed write back."""
        for stream, number in nexts.items():
            stream.next = number
            if not number and stream not in self._attended:
                self._forget(stream)

    def _show(self, batch):
        """Let readers see a batch; the caller holds the append lock."""
        for stream, number in batch.shown.items():
            stream.visible = number
        self.all.visible = batch.position

    def _notify(self, batch):
        """Wake those who wait for what a batch showed."""
        if not self._attended:
            return
        for stream in batch.shown:
            if stream.condition is not None:
                stream.notify()
        if self.all.condition is not None:
            self.all.notify()

    # -- entries -------------------------------------------------------------

    def put(self, topic, key, value):
        """Keep `value` under a topic (str) and key (bytes), in place of the one before; None takes it out.

        It is as safe as an append when this returns, and takes no number and no position.
        Raises    ValueError    too long
                  StoreFull, StoreFailed, StoreClosed
        """
        self.put_many([(topic, key, value)])

    def put_many(self, entries):
        """`put` each (topic, key, value), in order; all are kept by a crash, or none."""
        entries = [_entry(*one) for one in entries]
        size = sum(len(one.value or b"") for one in entries)
        if size > MAX_VALUE:
            raise ValueError(f"values of {size} bytes, expected no more than {MAX_VALUE}")
        if not entries:
            return
        log = self._log
        if self.sync_policy == EVERYSEC:
            log.wait_for_slow_sync()
        with log.lock:
            if self._closed:
                raise StoreClosed()
            try:
                log.write((), entries)
            except BaseException:
                if log.failed:
                    self._retreat()
                raise
            position, controls = log.next_position, log.controls
        if self.sync_policy == ALWAYS:
            self._sync(position, controls)

    def get(self, topic, key):
        """The value that was put last under a topic and key, or None.

        Raises    CorruptSegment, IndexUnusable, CannotRead, StoreClosed
        """
        return self._log.entry(topic, key, self._controls_shown)

    def entries(self, topic):
        """[(key, value)] of all that was put under a topic, sorted by key."""
        return self._log.entries(topic, self._controls_shown)

    def snapshot_put(self, stream, number, data):
        """Keep `data` as what the events of `stream` up to `number` come to, in place of the snapshot before.

        Raises    ValueError    no stream of this name has event `number`; and as `put`
        """
        snapshot.put(self, stream, number, data)

    def snapshot_get(self, stream):
        """The Snapshot(number, data) of `stream` that was put last, or None."""
        return snapshot.get(self, stream)

    def snapshot_delete(self, stream):
        """Take the snapshot of `stream` out, if there is one."""
        snapshot.delete(self, stream)

    def topics(self):
        """The topics that ever had an entry, sorted."""
        return self._log.topics()

    @property
    def _controls_shown(self):
        """How many controls readers see."""
        log = self._log
        return log.controls_synced if self.sync_policy == ALWAYS or log.failed else log.controls

    # -- syncing -------------------------------------------------------------

    def sync(self):
        """Return when everything that was appended is on disk, whatever the policy.

        Raises    StoreFailed, StoreClosed
        """
        if self._closed:
            raise StoreClosed()
        self._sync(None)

    def _sync(self, position, controls=0):
        log = self._log
        try:
            log.sync(position, controls)
        except StoreFailed:
            with log.lock:
                self._retreat()
            raise
        batches = []
        with log.lock:
            while self._pending and self._pending[0].position <= log.synced:
                batch = self._pending.popleft()
                self._show(batch)
                batches.append(batch)
        for batch in batches:
            self._notify(batch)

    def _sync_quietly(self):
        try:
            self._sync(None)
        except StoreFailed:
            pass        # the log has said so, and says it to whoever appends

    def _keep_keys(self):
        """Have a thread that moves keys to the look-up's file."""
        if self._keeps_keys:
            return
        with self._log.lock:
            if not self._keeps_keys and not self._closed:
                self._keepers.append(Keeper("meilies-keys", self._move_keys, wanted=self._log.lookup.wanted))
                self._keeps_keys = True

    def _move_keys(self):
        """Move what the look-up has in memory to its file; on disk it has to be first."""
        try:
            waiting = self._log.flush_lookup()
            while waiting is not None:
                self._sync(waiting)
                waiting = self._log.flush_lookup()
        except StoreFailed:
            pass        # nothing is appended any more

    def _retreat(self):
        """After a failure: readers see what is on disk, no more.  Under the append lock."""
        self._pending.clear()
        if self.sync_policy != ALWAYS:
            self._sign_loss()
        for stream, number in self._log.unsynced.items():
            stream.visible = min(stream.visible, number)
        self.all.visible = min(self.all.visible, self._log.synced)

    # -- reading -------------------------------------------------------------

    def last_number(self, stream):
        """The number of the last event that the stream ever had, None if there was none."""
        known = self._streams.get(encoded(stream))
        return known.visible - 1 if known is not None and known.visible else None

    def stream_names(self):
        """The names of the streams that have an event, sorted."""
        return [name.decode() for name in self.names()]

    def names(self):
        """`stream_names` in bytes, sorted by them."""
        return sorted([name for name, stream in list(self._streams.items()) if stream.visible > stream.first])

    def stream_count(self):
        """How many streams there are, those that somebody waits for among them, in constant time."""
        return len(self._streams)

    def begun_count(self):
        """How many streams have had an event, and since they were deleted, if they were.

        Only those are looked at that somebody waits for, or that were deleted.
        """
        with self._log.lock:
            waited_for = [stream.name for stream in self._attended]
        some = [self._streams.get(name) for name in {*waited_for, *self.retention.deleted_names()}]
        return len(self._streams) - sum(1 for one in some if one is not None and one.visible <= one.deleted)

    def read(self, stream, first=0, stop=None, limit=1000):
        """Return up to `limit` events of `stream` from number `first`, oldest first.

        stop   the number to end before; None reads to the last event
        [] means that there is none yet.
        Raises    ValueError       first < 0 or limit < 1
                  CorruptSegment   the log is damaged at or after `first`
                  EventsLost       and so it was, and what it lost is known: read to its `first`,
                                   then from its `stop` on
                  StoreClosed
        Source    `from` and `to` in subscribe name:from:to (MeiliES README).
        """
        return self._events(self.find(encoded(stream)), first, stop, limit)

    def read_all(self, first=0, stop=None, limit=1000):
        """`read`, but of every stream in the order of positions."""
        return self._events(self.all, first, stop, limit)

    def page(self, first, stop):
        """(some Events with positions from `first` on and before `stop`, the position to go on from): bounded by bytes.

        Raises    CorruptSegment, EventsLost, StoreClosed
        """
        events = []
        for one in self.records(self.all, first, min(stop, self.all.visible), _READ):
            events += one.events(max(0, first - one.position), stop - one.position)
            first = min(stop, one.position + one.count)
        return events, first

    def _events(self, stream, first, stop, limit):
        if first < 0:
            raise ValueError(f"first is {first}, expected 0 or more")
        if limit < 1:
            raise ValueError(f"limit is {limit}, expected 1 or more")
        if self._closed:
            raise StoreClosed()
        if stream is None:
            return []
        first = max(first, self.retention.first_of(stream))
        events = []
        while len(events) < limit:
            end = stream.visible if stop is None else min(stop, stream.visible)
            if not self.retention.hides(stream, first):
                end = min(end, first + limit - len(events))
            if first >= end:
                break
            for one in self.records(stream, first, end, _READ):
                start = one.position if stream is self.all else one.number
                events += one.events(max(0, first - start), end - start)
                first = min(end, start + one.count)
        return events[:limit]

    def read_back(self, stream, before=None, limit=1000):
        """Up to `limit` events of `stream` before number `before`, the newest first.

        before   None begins with the last event
        Raises   as `read`; after EventsLost, read on before its `first`
        """
        return self._events_back(stream, before, limit)

    def read_all_back(self, before=None, limit=1000):
        """`read_back`, but of every stream in the order of positions."""
        return self._events_back(ALL, before, limit)

    def _events_back(self, selector, before, limit):
        if before is not None and before < 0:
            raise ValueError(f"before is {before}, expected 0 or more")
        key = None if before is None else before - 1
        return self.select(selector, key, limit, back=True).events

    def read_last(self, selector):
        """The last event of a stream, of all ("$all") or of a Prefix; None if there is none."""
        return next(iter(self.select(selector, None, 1, back=True).events), None)

    def select(self, selector=ALL, first=None, limit=1000, names=(), back=False):
        """Up to `limit` events of `selector`, and the key to go on with: Selected(events, following).

        selector   a stream's name, "$all", or a Prefix: every stream whose name begins so
        first      the key to begin with, and the last one before it if that is past the end and it is `back`;
                   a number for a stream, a position for $all and a Prefix.  None: the first, or the last, there is
        names      of the events that are wanted; none: any
        back       the newest first
        `following` is None if there is nothing further.
        Raises     ValueError       names that can't be, limit < 1
                   CorruptSegment, EventsLost, StoreClosed   as `read`
        """
        selection = Selection.of(selector, names)
        if self._closed:
            raise StoreClosed()
        return reading.select(self, selection, first, limit, back)

    def info(self, stream):
        """The StreamInfo of a stream, or None if it has no event.  It isn't read for that but for two events."""
        return reading.info(self, encoded(stream))

    def read_tagged(self, query, after=None, limit=1000):
        """Return up to `limit` events that match a Query, or a list of (names, tags), in the order of positions.

        after     the position of the last event not to be looked at, None for none
        Returns   Tagged(events, head): `head` is the position of the store's last event when it was read, None
                  without any; all that match up to there are among them if they are less than `limit`
        Raises    as `read`
        """
        query = query if isinstance(query, Query) else Query.of(query)
        if limit < 1:
            raise ValueError(f"limit is {limit}, expected 1 or more")
        first, stop = 0 if after is None else after + 1, self.all.visible
        events = []
        while first is not None and len(events) < limit:
            found, first = self.matching(query, first, stop, limit - len(events))
            events += [next(one.events(i, i + 1)) for one, i in found]
        return Tagged(events, stop - 1 if stop else None)

    def matching(self, query, first, stop, limit):
        """A page of what matches in [first, stop): a query.Matching."""
        if self._closed:
            raise StoreClosed()
        found, following = matching_page(self._log, query, first, stop, limit)
        return Matching(list(filter(None, [self._shown(one, i) for one, i in found])), following)

    def _shown(self, one, i):
        """(Record, which of its events) that readers get for one of a record; None if it is hidden."""
        position = one.position + i
        for part in self.retention.shown([one], self.all, position, position + 1):
            if part.kind != record.CUT and part.position <= position < part.position + part.count:
                return part, position - part.position
        return None

    def bounds(self, stream):
        """(first key that readers see, the key after the last) of a stream's name (bytes); None: of positions."""
        known = self.all if stream is None else self._streams.get(stream)
        if known is None:
            return 0, 0
        visible = known.visible
        return (0 if stream is None else min(self.retention.begin_of(known), visible)), visible

    def runs(self, stream, first, stop, limit, back=False):
        """See Log.runs: of a stream's name (bytes); with a Passed where events aren't shown any more."""
        runs = self._log.runs(stream, first, stop, limit, back)
        known = self._streams[stream]
        return self.retention.shown(runs, known, first, stop, back) if self.retention.hides(known, first) else runs

    def all_records(self, first, stop, limit, back=False):
        """See Log.records; with a Passed where events aren't shown any more."""
        records = self._log.records(first, stop, limit, back)
        if not self.retention.hides(self.all, first):
            return records
        return self.retention.shown(records, self.all, first, stop, back)

    def path_at(self, position):
        """Of the segment that has the event at `position`, for messages."""
        return self._log.path_at(position)

    def names_beginning(self, prefix, limit, after=b""):
        """Up to `limit` names (bytes) of streams that begin so, in order, those behind `after`.

        The first call sorts all there are.
        """
        self._fill(self._roster, list)
        with self._log.lock:
            return self._roster.beginning(prefix, limit, after)

    def names_scattered(self, first, stop, limit):
        """Up to `limit` names (bytes) of streams with places in [first, stop), in the order of these.

        A place is a number below PLACES that is a stream's own for as long as the store lives, so who goes from
        place to place finds each stream that is there all the while.  The first call sorts all there are.
        """
        self._fill(self._scattered, lambda names: list(map(self._place_and_name, names)))
        with self._log.lock:
            found = self._scattered.beginning(b"", limit, _place_as_bytes(first))
        return [key[_PLACE_SIZE:] for key in takewhile(lambda key: key < _place_as_bytes(stop), found)]

    def place_of(self, name):
        """The place of a stream's name; see `names_scattered`."""
        digest = hashlib.blake2b(name, digest_size=8, key=self.uuid.encode()).digest()
        return int.from_bytes(digest, "big") % PLACES

    def _place_and_name(self, name):
        return _place_as_bytes(self.place_of(name)) + name

    def _fill(self, roster, keys):
        """Fill a Roster that isn't, with keys(names)."""
        with roster.filling:
            if not roster.filled:
                with self._log.lock:
                    names = list(self._streams)
                    roster.begin()
                names = in_order(keys(names))
                with self._log.lock:
                    roster.fill(names)

    def number_from(self, stream, position):
        """The number of the first event of a stream (its name in bytes) at `position` or behind it, or of its next."""
        first, stop = self.bounds(stream)
        if position <= 0 or first >= stop:
            return first
        if position >= self.all.visible:
            return stop
        return self._log.number_from(stream, position, stop)

    def position_at(self, time):
        """The position of the first event at or after `time`; of the next one to come if there is none.

        time   microseconds since 1970.  Clocks may go back, so that of an event is taken to be the highest of
               all events up to it: what follows the first event at some time belongs behind that time too
        Raises    CorruptSegment, StoreClosed
        """
        if self._closed:
            raise StoreClosed()
        return self._log.position_at(time, self.all.visible)

    def number_at(self, stream, time):
        """The number of the first event of `stream` at `position_at(time)` or behind it, or of its next one to come."""
        return self.number_from(encoded(stream), self.position_at(time))

    def records(self, stream, first, stop, limit, keep=False):
        """The records that hold the events [first, stop) of a Stream, about `limit` bytes of them.

        The first and the last may hold more than that; for `all`, these are positions.
        Where events aren't shown any more there is a Passed.
        keep      those of one stream are `at_hand` for a while
        Raises    CorruptSegment, EventsLost, StoreClosed
        """
        if stream is self.all:
            begin, records = first, self._log.read_all(first, stop, limit)
        else:
            records = self._log.read_stream(stream.name, first, stop, limit, keep)
            begin = min(first, records[0].number) if records else first     # it may hold what is cut, below `first`
        return self.retention.shown(records, stream, first, stop) if self.retention.hides(stream, begin) else records

    def at_hand(self, stream, first, stop):
        """The `records` of events [first, stop) of one Stream that were read lately, as many as follow one another;
        [] if the first wasn't, or if some of them may be hidden.  It reads nothing and waits for nobody.

        What the first holds before `first` may be hidden, and is for nobody.
        """
        return [] if self.retention.hides(stream, first) else self._log.at_hand(stream.name, first, stop)

    def frames(self, stream, first, stop, limit):
        """The frames of `records`, joined, at a fraction of their cost; None if some may not be shown."""
        hides = self.retention.hides(stream, first)
        if hides and stream is not self.all:
            return None
        frames = self._log.read_frames(None if stream is self.all else stream.name, first, stop, limit)
        return None if hides and frames is not None and self.retention.may_concern(frames.data) else frames

    def find(self, name):
        """The Stream called `name` (bytes), or None."""
        return self._streams.get(name)

    def next_of(self, stream):
        """The key that the next event of `stream` gets, those that wait for a sync counted."""
        with self._log.lock:
            return self._log.next_position if stream is self.all else stream.next

    def follow(self, selector, first=0, stop=None, names=(), timeout=None):
        """Return an iterator over what is there and what comes: Events, Checkpoints and a CaughtUp.

        selector   a stream's name, "$all", or Prefix("order-")
        first      a number; for $all and a prefix a position.  None: from new events on
        stop       ends before this one; None: never
        names      of the events that are wanted; none: all
        timeout    seconds to wait for the next event, after which it ends; None waits until close
        A Checkpoint says how far it is: each 10,000 events that are passed over, at `stop` if the one before that
        is passed over, and before an event behind some that are no more.  CaughtUp comes once, when all was given
        that was there at the beginning.
        Raises    ValueError
                  StoreClosed   closed before or while waiting
                  CorruptSegment, EventsLost
        """
        return following.follow(self, selector, first, stop, names, timeout)

    # -- waiting -------------------------------------------------------------

    def wait(self, stream, number, timeout=None):
        """Return True when event `number` of `stream` can be read.

        timeout   seconds; None waits until close, 0 only looks.  False: the time ran out
        Raises    StoreClosed   closed before or while waiting
        """
        return self._wait(encoded(stream), number, timeout)

    def wait_all(self, position, timeout=None):
        """Return True when the event at `position` can be read; see `wait`."""
        return self._wait(ALL, position, timeout)

    def _wait(self, name, number, timeout):
        stream = self.attend(name)
        try:
            deadline = None if timeout is None else time.monotonic() + timeout
            condition = stream.condition
            with condition:
                while stream.visible <= number:
                    if self._closed:
                        raise StoreClosed()
                    left = None if deadline is None else deadline - time.monotonic()
                    if left is not None and left <= 0:
                        return False
                    condition.wait(left)
            return True
        finally:
            self.leave(stream)

    def attend(self, name, waiting=True):
        """The Stream called `name`, which may have no event yet, kept until `leave`.

        waiting   it has a Condition, to be waited on; who is woken looks at `closed`
        Raises    StoreClosed
        """
        with self._log.lock:
            if self._closed:
                raise StoreClosed()
            stream = self.all if name == ALL else self._streams.get(name)
            if stream is None:
                stream = self._new_stream(name)
            self._attended.add(stream)
            stream.attend(waiting)
            return stream

    def leave(self, stream):
        """End what `attend` began."""
        with self._log.lock:
            if stream.leave():
                self._attended.discard(stream)
                if not stream.next and stream is not self.all:
                    self._forget(stream)

    # -- consumer groups -----------------------------------------------------

    def group_create(self, name, selector, first=None, tries=10, wait=30.0, pause=1.0, names=()):
        """Make a consumer group that is there until it is deleted; return the ConsumerGroup.

        selector   a stream's name, "$all" or a Prefix
        first      the number, or position, to begin with; None: with what is new from now on
        tries      how often an event is given before it is parked
        wait       seconds that a member has to acknowledge one
        pause      seconds before the second try, doubled before each further one, up to a minute
        names      of the events that it is of; none: any
        One that exists with the same selector, names and rules is returned as it is.
        Raises     GroupExists, ValueError, StoreFull, StoreFailed, StoreClosed
        """
        definition = groups.define(selector, first or 0, Rules(tries, wait, pause), names)
        if first is None:
            stream = self.all if definition.by_position else self.find(definition.key)
            definition = definition._replace(first=self.next_of(stream) if stream is not None else 0)
        return self._made_groups().create(encoded(name), definition)

    def group_create_shared(self, name, stream, first, last=(0, 0), read=None):
        """Make a group of `stream` any of whose members gets the next event; return the ConsumerGroup.

        Nothing is given again by itself, and there is no order between members: see shared.py.
        first      the number to begin with
        last, read   what it says of before: see SharedState, `read` being the events up to there
        Raises     GroupExists    whatever it was made with; and as `group_create`
        """
        definition = groups.define(stream, first, SHARED)
        state = SharedState(first, last, None if read is None else read - first)
        return self._made_groups().create_shared(encoded(name), definition, state)

    def group(self, name):
        """The ConsumerGroup of a name.  Raises NoGroup, StoreClosed."""
        return self._made_groups().get(encoded(name))

    def group_delete(self, name):
        """Forget a group, how far it was and what it parked.  Raises NoGroup, StoreFull, StoreFailed, StoreClosed."""
        self._made_groups().delete(encoded(name))

    @property
    def has_groups(self):
        """Whether there may be one; it reads no more than the index."""
        return groups.TOPIC in self.topics()

    def groups_at_hand(self):
        """All ConsumerGroups if somebody asked for one since the store was opened, else []: it reads nothing."""
        return self._groups.all() if self._groups is not None else []

    def groups(self):
        """All ConsumerGroups, sorted by name."""
        return self._made_groups().all()

    def groups_of(self, stream):
        """The groups that are of this stream alone, by name."""
        return self._made_groups().of(encoded(stream))

    def _made_groups(self):
        with self._groups_lock:
            if self._closed:
                raise StoreClosed()
            if self._groups is None:
                self._groups = groups.Groups(self)
            return self._groups

    def clock(self):
        """Microseconds since 1970."""
        return self._clock()

    # -- what is kept --------------------------------------------------------

    def retain(self, selector, max_count=None, max_age=None):
        """Keep of the streams of `selector` only so many events, or only those so young; neither: all from now on.

        selector   a stream's name, a Prefix, or "$all"; of several that fit, a stream's own counts, else the longest
        max_count  the last so many of each stream
        max_age    seconds
        What isn't kept is gone for readers at once, and from the disk once its segment is compacted.
        Raises    ValueError; and as `put`
        """
        self.retention.retain(selector, Rule(max_count, max_age))

    def truncate(self, stream, number):
        """Cut the events of `stream` below `number`, or all of them; return the number that it begins with now.

        Raises    ValueError    there is no such stream
                  StreamDeleted; and as `put`
        """
        return self.retention.truncate(encoded(stream), number)

    def watch(self, name, call):
        """Have call(stream) called when there may be something new of the stream `name`, ALL for any; until `unwatch`.

        It is called by whoever made it so, a publisher perhaps, and by `close`: it has to be short, and may not wait.
        Returns   the Stream, which may have no event yet
        Raises    StoreClosed
        """
        stream = self.attend(name)
        with self._log.lock:
            stream.watch(call)
        return stream

    def unwatch(self, stream, call):
        """End what one `watch` began."""
        with self._log.lock:
            stream.unwatch(call)
        self.leave(stream)

    def trim(self, stream, number):
        """`truncate` for those who do it again and again: readers see it at once, and it is on disk soon.

        It waits for nobody.  A crash may undo it, if it was in the last moment before; a stream that isn't there, or
        doesn't go so far, is no error.
        """
        self.retention.trim(encoded(stream), number)
        if not self._keeps_trims:
            self._keep_trims()

    def delete(self, stream, forever=False):
        """Cut all events of `stream`, forget their ids and take its snapshot out.

        forever   appends to it are refused from now on; else it goes on with its next number
        Raises    as `truncate`
        """
        name = encoded(stream)
        also = [] if self.snapshot_get(name) is None else [(snapshot.TOPIC, name, None)]
        self.retention.delete(name, forever, also)

    def redact(self, stream, number):
        """Take the data and metadata of one event; what is left says so: see `record.redacted`.

        Raises    ValueError    there is no such event; and as `truncate`
        """
        self.redact_many(stream, [number])

    def redact_many(self, stream, numbers):
        """`redact` some events of a stream, at the cost of one; without a chain of digests, all of them or none."""
        name = encoded(stream)
        if self.hash_chain is None:
            self.retention.redact(name, numbers)
            return
        for number in numbers:
            found = self.read(name, number, number + 1) if number >= 0 else []
            self.hash_chain.redact(found[0].position if found else None,
                                   partial(self.retention.redact, name, (number,)))

    def compact(self):
        """Take from the log on the disk all that was cut or redacted; return a Compacted(segments, bytes).

        Publishes and reads go on.  What is so small a part of a segment that it isn't worth it in the background is
        taken out as well, and that of the segment which is written to.
        Raises    CannotCompact, StoreFull, StoreFailed, StoreClosed
        """
        if self._closed:
            raise StoreClosed()
        return self._compaction.run(self._log.tidy)

    def first_number(self, stream):
        """The number of the first event of `stream` that readers see, or of its next one; None: there was never one."""
        known = self.find(encoded(stream))
        return self.retention.begin_of(known) if known is not None and known.visible else None

    def length(self, stream, first=0):
        """How many events of `stream` readers see from number `first` on, those that were redacted not counted."""
        known = self.find(encoded(stream))
        return self.retention.length(known, first) if known is not None else 0

    def _keep_trims(self):
        """Have a thread that puts into the log what was trimmed."""
        with self._log.lock:
            if self._keeps_trims or self._closed:
                return
            try:
                self._keepers.append(Keeper("meilies-trims", self._put_trims, wanted=self.retention.trimmed))
            except RuntimeError as error:       # the next trim tries again
                logger.warning("%s: what was trimmed isn't in the log yet (%s)", self.path, error)
            else:
                self._keeps_trims = True

    def _put_trims(self):
        self._ending.wait(_TRIMS)
        try:
            self.retention.keep_trims()
        except StoreError as error:
            logger.warning("%s: what was trimmed isn't in the log yet (%s)", self.path, error)

    def _tidy(self):
        self._log.tidy()
        self._compaction.look()

    # -- copying -------------------------------------------------------------

    def back_up(self, folder, progress=lambda done, of: None):
        """Copy the store as it is now to `folder`, which can be opened as a store; return a BackedUp.

        Appends go on meanwhile.  A later call for the same folder copies what is new.
        progress   called with (bytes done, bytes in all), now and then
        Raises     CannotBackUp   something else is in `folder`; nothing was changed
                   StoreFailed, StoreClosed, CannotRead, OSError
        """
        # Before the segments, so that it has no event which they lack.
        beside = [] if self.hash_chain is None else [self.hash_chain.copied()]
        return backup.back_up(self._log, self._files, os.path.abspath(folder),
                              lambda lock: self._sign_lock(lock, f"{_COPY} {NO}"), beside, progress)

    # -- checking ------------------------------------------------------------

    def check(self, progress=lambda done, of: None):
        """Read the log up to where it ends now and return the Findings, while appends and reads go on.

        It takes its time: half of it is left to others.
        progress   called with (bytes read, bytes in all), now and then
        Raises     UnknownFormat, StoreFailed, StoreClosed, CannotRead
        """
        return check.check_in_use(self._log, progress)

    # -- closing -------------------------------------------------------------

    def close(self):
        """Sync, close and unlock; what waits gets StoreClosed.  Closing twice is nothing.

        Raises    StoreFailed   the last sync failed; the store is closed all the same
        """
        if self.hash_chain is not None and not self._closed:
            self.hash_chain.stop()
        with self._groups_lock:
            groups = self._groups
        if groups is not None and not self._closed:
            groups.close()
        self._ending.set()
        if self._keeps_trims and not self._closed:
            self._put_trims()
        with self._log.lock:
            if self._closed:
                return
            self._closed = True
            attended = list(self._attended)
        for stream in attended:
            stream.notify()
        self._log.end_tidying()
        for keeper in self._keepers:
            keeper.stop()
        self._compaction.wait()
        try:
            self._sync(None)
        finally:
            try:
                self._log.close()
            finally:
                self._disown_folder()


def _without_jumps(events):
    """Yield portions of `events` in each of which a stream's numbers follow one another."""
    nexts, begin = {}, 0
    for i, event in enumerate(events):
        if nexts.get(event.stream, event.number) != event.number:
            yield events[begin:i]
            nexts, begin = {}, i
        nexts[event.stream] = event.number + 1
    if events:
        yield events[begin:]


def _microseconds():
    return time.time_ns() // 1000


def _entries_of(keyed):
    """[(hash, position), …] of what was given new places, of (Append or Singles, its keys)."""
    entries = [(hash_, append.new_position(i)) for append, keys in keyed for hash_, i in keys]
    return [entry for entry in entries if entry[1] is not None]


def _entry(topic, key, value):
    """The Entry, checked."""
    size = len(topic.encode())
    if not 0 < size <= record.MAX_KEY or len(key) > record.MAX_KEY:
        raise ValueError(f"a topic of {size} bytes and a key of {len(key)}, expected 1 and 0 to {record.MAX_KEY}")
    return record.Entry(topic, bytes(key), None if value is None else bytes(value))
