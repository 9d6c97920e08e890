"""Consumer groups of a store: which there are, the events they are given, and how far they are, kept on disk.

    log ──page──> Group (group.py) ──> members          read, ack, refuse: in memory
                    |
                    '── each second, and on closing ──> entries of the store

    "group"          NAME -> what it was made with
    "group-state"    NAME -> its State, or SharedState
    "group-parked"   NAME 00 u64 key -> a Parked
    "group-pending"  NAME 00 u64 block -> the Entries of a block of a shared group

What a state says is kept up to a second later than it is: after a crash events may be
given that were acknowledged in that second.  None is left out.

Locks: `ConsumerGroup._lock` guards the rules and what stands beside them, and is never held over
a read or a put.  `_keeping` is, so that an older state can't be put after a newer one; who
acknowledges doesn't wait for it.  Groups' `_lock` guards which there are, `_changing` is held over
the puts that make and delete one.
"""

import json
import logging
import struct
import threading
import time
import zlib
from bisect import bisect_left, bisect_right
from contextlib import contextmanager
from itertools import chain
from typing import NamedTuple

from . import record
from .append import encoded
from .errors import EventsLost, GroupExists, NoGroup, StoreClosed, StoreError
from .filter import Filter, Prefix
from .group import SHARED, Group, Parked, Rules, State
from .inflate import inflate
from .keeper import Keeper
from .names import ALL, check_name, check_stream
from .shared import BLOCK, Entry, SharedGroup, SharedState

logger = logging.getLogger("meilies.groups")

TOPIC = "group"
STATES = "group-state"
PARKED = "group-parked"
PENDING = "group-pending"
TOPICS = {TOPIC, STATES, PARKED, PENDING}
_KEYED = {PARKED, PENDING}      # topics with more than one entry of a group

MAX_GROUPS = 10_000
# Bytes of the log that are looked at in one step, and what a member is given at once.
PAGE = 128 * 1024
# Events that are read where one was asked for: those behind it will be.
_READ_AHEAD = 100
MOST_AT_ONCE = 1 << 20
# Steps of a read that doesn't wait: a filter that matches nothing looks at no more of the log in one call.
STEPS = 32
# Seconds between two times that states are kept.
INTERVAL = 1.0

_KEY = struct.Struct(">Q")


class Given(NamedTuple):
    """An event, given to a member.

    key     what it is acknowledged by: its number, in a group of one stream, else its position
    tries   how often it was given, this time included
    """

    key: int
    tries: int
    event: record.Event


class Portion(NamedTuple):
    """Events that a member is given, which follow one another in a run.

    items        their Items or Entries
    run, begin   the Record that has them, and which of its events is the first of them
    """

    items: list
    run: object
    begin: int

    @property
    def stop(self):
        """The one behind the last of them in the run."""
        return self.begin + len(self.items)

    @property
    def size(self):
        """About how many bytes they have."""
        ends = self.run.ends
        around = len(self.run.body) - self.run.frames_size
        frames = ends[self.stop - 1] - (ends[self.begin - 1] if self.begin else 0)
        return frames + around * len(self.items) // self.run.count

    def given(self):
        """The Givens."""
        return [Given(item.key, item.tries, event)
                for item, event in zip(self.items, self.run.events(self.begin, self.stop))]


class GroupInfo(NamedTuple):
    """How a group stands.

    selector     a stream's name, "$all" or a Prefix
    rules        a Rules
    checkpoint   every event before this key is acknowledged or parked
    next         every one before this was looked at
    lag          events that aren't done; others than those of its prefix and names count until they were looked at
    held         events that members have
    members      {member: how many of these}
    parked       events
    given, acknowledged, refused, late   how often, since the store was opened; late: no answer in time
    cut, lost    events that were gone before they were given: by retention, to damage
    names        of the events that it is of; none: any
    """

    name: str
    selector: object
    rules: Rules
    checkpoint: int
    next: int
    lag: int
    held: int
    members: dict
    parked: int
    given: int
    acknowledged: int
    refused: int
    late: int
    cut: int
    lost: int
    names: tuple = ()


class Definition(NamedTuple):
    """What a group was made with.

    kind, key   "stream" and a name or $all, or "prefix" and a prefix; bytes
    first       the key to begin with
    names       of the events that it is of, sorted; none: any.  Text
    """

    kind: str
    key: bytes
    first: int
    rules: Rules
    names: tuple = ()

    @property
    def by_position(self):
        return self.kind == "prefix" or self.key == ALL

    @property
    def selector(self):
        return Prefix(self.key.decode()) if self.kind == "prefix" else self.key.decode()

    @property
    def filter(self):
        """The Filter for its events, or None if it is of all that there are."""
        prefix = self.key if self.kind == "prefix" else b""
        return Filter(prefix, frozenset(map(encoded, self.names))) if prefix or self.names else None

    def encode(self):
        return json.dumps([self.kind, self.key.decode(), self.first, *self.rules, *self.names]).encode()

    @classmethod
    def decode(cls, value):
        kind, key, first, tries, wait, pause, *names = json.loads(value)
        return cls(kind, key.encode(), first, Rules(tries, wait, pause), tuple(names))


class ConsumerGroup:
    """A group, for its members in any thread.  Made by Store.group_create and Store.group."""

    def __init__(self, store, name, definition, group, cut=0, lost=0):
        self.name = name.decode()
        self.definition = definition
        self._store = store
        self._name = name
        self._group = group
        self._lock = threading.Lock()
        self._keeping = threading.Lock()
        self._kept_parked = set(group.parked)       # that the store has an entry of
        self._kept_blocks = set(group.blocks)
        self._looking = False       # somebody reads a page
        self.version = 0            # goes up when a member that waits may get something
        self._cut = cut
        self._lost = lost
        self._deleted = False
        self._filter = definition.filter
        self.is_shared = definition.rules.shared

    # -- reading -------------------------------------------------------------

    def read(self, member, count=1, timeout=0):
        """Give `member` (str) up to `count` events, [Given, …], of some MOST_AT_ONCE bytes; those of a stream in order.

        It has `rules.wait` seconds to `ack` or `refuse` each; then they are given again, to whoever reads.
        timeout   seconds to wait for one; None waits until close, 0 doesn't.  []: none came
        Raises    ValueError    a count below 1
                  NoGroup       it was deleted
                  StoreClosed, CorruptSegment, CannotRead
        """
        if count < 1:
            raise ValueError(f"count is {count}, expected 1 or more")
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._attended() as stream:
            while True:
                version = self.version
                given, more = self.read_some(member, count)
                left = None if deadline is None else deadline - time.monotonic()
                if given or left is not None and left <= 0:
                    return given
                if not more:
                    self._wait(stream, version, left)

    def read_some(self, member, count, steps=STEPS, **how):
        """(what `read` gives, whether there is more of the log to look at): without waiting, at most so many pages.

        how    acked=True: what a shared group gives is done with that
        """
        portions, more = self.read_portions(member, count, steps, **how)
        return [one for portion in portions for one in portion.given()], more

    def read_portions(self, member, count, steps=STEPS, **how):
        """The same as (Portions, whether there is more), of which none is empty."""
        for _ in range(steps):
            with self._lock:
                self._check()
                items = self._take(member, count, **how)
            portions = self._fetch(items)
            if portions:
                return portions, True
            if not items and not self._look():
                return [], False
        return [], True

    def read_at_once(self, member, count, **how):
        """The Portions of `read_portions` if they were read lately, or [] if there is nothing; None where the log, or
        somebody else, would have to be waited for, and nobody got anything.

        Of a group of several streams it is always None: its pages aren't kept.
        """
        if self.definition.by_position or not self._lock.acquire(blocking=False):
            return None
        try:
            if self._deleted or self._group.waiting < count and self.has_more:
                return None
            items = self._take(member, count, **how)
            if not items and self.has_more:
                return None
        except ValueError:      # which `read_portions` says
            return None
        finally:
            self._lock.release()
        try:
            return self._fetch(items, at_hand=True) or (None if items else [])
        except _NotAtHand:
            return None

    def _take(self, member, count, **how):
        """Under the lock."""
        return self._group.take(member, count, time.monotonic(), self._store.clock(), **how)

    @property
    def watched(self):
        """The name of the stream whose watchers, and who waits on it, hear that a member may get something, or ALL."""
        return ALL if self.definition.by_position else self.definition.key

    @contextmanager
    def _attended(self):
        stream = self._store.attend(self.watched)
        try:
            yield stream
        finally:
            self._store.leave(stream)

    def _wait(self, stream, version, left):
        """Return when there may be something new, or `left` seconds are over."""
        due = self.due
        if due is not None:
            left = min(max(0, due - time.monotonic()), float("inf") if left is None else left)
        condition = stream.condition
        with condition:
            if self._store.closed:
                raise StoreClosed()
            if self.version == version and (self._looking or not self.has_more):
                condition.wait(left)

    @property
    def due(self):
        """The time.monotonic() at which an event may be there that isn't now, or None."""
        with self._lock:
            return self._group.due

    @property
    def is_idle(self):
        """Whether no member could be given an event now, or after a pause, or be told that the group is deleted."""
        return not (self._group.waiting or self.has_more or self._deleted)

    @property
    def has_more(self):
        """Whether there is something of the log to look at, and room for it."""
        return self._group.next < self.visible and self._group.room > 0

    @property
    def visible(self):
        """The key behind the last event that readers see."""
        stream = self._stream()
        return 0 if stream is None else stream.visible

    def _stream(self):
        return self._store.all if self.definition.by_position else self._store.find(self.definition.key)

    @contextmanager
    def rules(self):
        """The Group or SharedGroup, under its lock.  Raises NoGroup."""
        with self._lock:
            self._check()
            yield self._group

    def _check(self):
        """Under the lock."""
        if self._deleted:
            raise NoGroup(self.name)

    # -- the log -------------------------------------------------------------

    def _look(self):
        """Look at a page of the log; False if there is nothing, or somebody else does."""
        with self._lock:
            first, room, stop = self._group.next, self._group.room, self.visible
            if self._looking or first >= stop or room <= 0:
                return False
            self._looking = True
        found, end, cut, lost = [], first, 0, 0
        try:
            found, end, cut = self._page(first, stop, room)
        except EventsLost as error:
            logger.warning("group %s goes on behind them: %s", self.name, error)
            end, lost = min(stop, error.stop), min(stop, error.stop) - first
        finally:
            with self._lock:
                self._looking = False
                if self._group.next == first:       # else it was set to another place meanwhile
                    offer = self._group.offer_run if self.is_shared else self._group.offer
                    for one in found:
                        offer(*one)
                    self._group.look(end)
                    self._cut += cut
                    self._lost += lost
            self.changed()
        return True

    def _page(self, first, stop, room):
        """([(key, stream, number)], the key behind, how many are cut) of what there is from `first` on; of a shared
        group [(first number, the one behind the last, stream)]."""
        found = []
        cut = 0
        for one in self._store.records(self._stream(), first, stop, PAGE, keep=not self.definition.by_position):
            base = one.position if self.definition.by_position else one.number
            begin, end = max(0, first - base), min(one.count, stop - base)
            if one.kind == record.CUT:
                cut += end - begin
            elif self.is_shared:
                end = min(end, begin + room)
                runs = _unredacted(one, begin, end)
                found += [(base + some, base + behind, one.stream.decode()) for some, behind in runs]
                room -= sum([behind - some for some, behind in runs])
                if not room:
                    return found, base + end, cut
            else:
                for i, stream, number in self._events_in(one, begin, end):
                    if len(found) == room:
                        return found, base + i, cut
                    found.append((base + i, stream, number))
            first = base + end
        return found, first, cut

    def _events_in(self, one, begin, end):
        """Yield (which, its stream, its number) of those events of a record that are the group's."""
        wanted = range(begin, end) if self._filter is None else self._filter.passing(one, begin, end)
        if one.pack is None:
            stream = one.stream.decode()
            for i in wanted:
                yield i, stream, one.number + i
        else:
            streams, numbers = one.pack
            for i in wanted:
                yield i, streams[i].decode(), numbers[i]

    def _fetch(self, items, at_hand=False):
        """The Portions of Items, as many as are given at once; the others, and those that are gone, are not held.

        at_hand   raise _NotAtHand rather than read the log
        """
        portions, size, taken = [], 0, 0
        reading = _Reading(self._store, items, at_hand, self.is_shared)
        try:
            while taken < len(items) and size < MOST_AT_ONCE:
                found = reading.portion(taken, MOST_AT_ONCE - size)
                if found is None:
                    self._forget(items[taken].key, reading.lost)
                    taken += 1
                else:
                    portions.append(found)
                    size += found.size
                    taken += len(found.items)
        except BaseException:
            taken, portions = 0, []
            raise
        finally:
            if taken < len(items):
                with self._lock:
                    self._group.take_back(items[taken:])
                self.changed()
        if self.is_shared and portions:
            with self._lock:
                for one in portions:
                    self._group.got(one.items, one.run.clocks[one.begin:one.stop])
        return portions

    def events_of(self, items):
        """Yield the event of each of these Items or Entries, None where there is none, or none any more."""
        visible = self.visible
        reading = _Reading(self._store, items)
        for i, item in enumerate(items):
            event = reading.event(i) if item.key < visible else None
            yield None if event is None or record.is_redacted(event) else event

    def _forget(self, key, lost):
        with self._lock:
            self._group.forget(key)
            if lost:
                self._lost += 1
            else:
                self._cut += 1

    # -- answers -------------------------------------------------------------

    def ack(self, *keys):
        """These events are done; return how many of them a member held.

        What was given back meanwhile, for its time was up or an event before it was refused, is given again.
        """
        return self._ack(keys)

    def ack_at_once(self, keys):
        """`ack`; None rather than wait for somebody else, and it didn't happen."""
        return self._ack(keys, wait=False)

    def ack_ids(self, ids, at_once=False):
        """`ack` events of a group of one stream by their ids, (milliseconds, number): of a shared group those are done
        that were appended then.

        at_once   see `ack_at_once`
        """
        return self._ack(ids, by_id=True, wait=not at_once)

    def _ack(self, which, by_id=False, wait=True):
        if not self._lock.acquire(blocking=wait):
            return None
        try:
            self._check()
            count = self._group.ack_ids(which) if by_id else self._group.ack(which)
        finally:
            self._lock.release()
        self.changed()
        return count

    def refuse(self, key, reason="", park=False):
        """An event can't be done now: give it again after a pause, or park it (at once, or after the last try).

        Returns "later" or "parked", whichever it will be; None if no member held it.
        """
        with self._lock:
            self._check()
            done = self._group.refuse(key, reason, park, time.monotonic(), self._store.clock())
        self.changed()
        return done

    def leave(self, member):
        """A member is gone: others are given what it held.  Returns how many events that were."""
        with self._lock:
            self._check()
            count = self._group.leave(member)
        self.changed()
        return count

    def unread(self, keys):
        """Events that were given and that their member didn't get."""
        with self._lock:
            items = [self._group.item(key) for key in keys]
            self._group.take_back([item for item in items if item is not None])
        self.changed()

    def changed(self):
        """Wake who waits for an event."""
        with self._lock:
            self.version += 1
        stream = self._stream()
        if stream is not None:
            stream.notify()

    # -- parked --------------------------------------------------------------

    def parked(self, first=0, limit=1000):
        """[Parked, …] of the first `limit` events with keys from `first` on."""
        with self._lock:
            self._check()
            keys = sorted(key for key in self._group.parked if key >= first)
            return [self._group.parked[key] for key in keys[:limit]]

    def replay(self, *keys):
        """Give parked events again, all of them if no key is named; return how many.  It is kept by a crash."""
        return self._change_parked(lambda: self._group.replay(keys or sorted(self._group.parked)))

    def discard(self, *keys):
        """Forget parked events; return how many.  It is kept by a crash."""
        return self._change_parked(lambda: self._group.discard(keys))

    def _change_parked(self, change):
        with self._lock:
            self._check()
            count = len(change())
        self.keep()
        self.changed()
        return count

    # -- how it stands -------------------------------------------------------

    @property
    def lag(self):
        """How many events aren't done, as in `info`; it takes no time to say."""
        with self._lock:
            return self._group.pending(max(self.visible, self._group.next))

    @property
    def parked_count(self):
        return len(self._group.parked)

    def info(self):
        """A GroupInfo."""
        with self._lock:
            self._check()
            one = self._group
            one.expire(time.monotonic(), self._store.clock())
            held = one.held
            end = max(self.visible, one.next)
            return GroupInfo(self.name, self.definition.selector, one.rules, one.checkpoint, one.next,
                             one.pending(end), sum(held.values()), held, len(one.parked),
                             one.given, one.acknowledged, one.refused, one.late, self._cut, self._lost,
                             self.definition.names)

    # -- on disk -------------------------------------------------------------

    def keep(self):
        """Put what changed since the last time.

        Raises    StoreFull, StoreFailed, StoreClosed: it is tried again with what changes then
        """
        with self._keeping:
            with self._lock:
                parked = dict(self._group.parked)
                if self._deleted or not self._group.changed and parked.keys() == self._kept_parked:
                    return
                state = self._group.state
                blocks = self._group.changed_blocks() if self.is_shared else {}
                entries = [(STATES, self._name, _encode_state(state, self._cut, self._lost))]
            for number in blocks:
                if blocks[number]:
                    entries.append((PENDING, _numbered(self._name, number), _encode_block(blocks[number])))
                elif number in self._kept_blocks:
                    entries.append((PENDING, _numbered(self._name, number), None))
            for key in parked.keys() - self._kept_parked:
                entries.append((PARKED, _numbered(self._name, key), json.dumps(parked[key][1:]).encode()))
            for key in self._kept_parked - parked.keys():
                entries.append((PARKED, _numbered(self._name, key), None))
            try:
                self._store.put_many(entries)
            except StoreError:
                with self._lock:
                    self._group.not_kept(blocks)
                raise
            for number in blocks:
                (self._kept_blocks.add if blocks[number] else self._kept_blocks.discard)(number)
            self._kept_parked = set(parked)

    def end(self):
        """It is deleted: nothing is given or kept any more.  Returns the entries that take it out."""
        with self._keeping:
            with self._lock:
                self._deleted = True
            self.changed()
            return [(TOPIC, self._name, None), (STATES, self._name, None),
                    *((PARKED, _numbered(self._name, key), None) for key in self._kept_parked),
                    *((PENDING, _numbered(self._name, number), None) for number in self._kept_blocks)]


class _NotAtHand(Exception):
    """It would have to be read from the log."""


class _Reading:
    """The events of Items, each read with those of its stream that follow it.

    at_hand        nothing is read from the log: _NotAtHand is raised instead
    passes_over    what was redacted isn't there
    lost           the one that was asked for last isn't there because of damage
    """

    def __init__(self, store, items, at_hand=False, passes_over=False):
        self.lost = False
        self._store = store
        self._items = items
        self._at_hand = at_hand
        self._passes_over = passes_over
        self._stream = None
        self._runs = []         # of this stream
        self._firsts = []       # their first numbers

    def event(self, i):
        """That of items[i]; None if it is gone."""
        run = self._run_of(i)
        if run is None:
            return None
        at = self._items[i].number - run.number
        return next(iter(run.events(at, at + 1)))

    def portion(self, i, room):
        """The Portion of items[i] and those behind it in its run, of about `room` bytes; None if it is gone."""
        run = self._run_of(i)
        if run is None:
            return None
        begin = self._items[i].number - run.number
        stop = begin + self._following(i, run.count - begin)
        if self._passes_over and run.flags & record.DETAILS:
            stop = next((at for at in range(begin, stop) if _is_redacted(run, at)), stop)
            if stop == begin:
                return None
        ends = run.ends
        stop = min(stop, bisect_left(ends, (ends[begin - 1] if begin else 0) + room, begin, stop) + 1)
        return Portion(self._items[i:i + stop - begin], run, begin)

    def _following(self, i, most):
        """How many of the items from the one on are events of one stream that follow one another, `most` at most."""
        items = self._items
        first = items[i]
        stream, before = first.stream, first.number - i
        stop = min(len(items), i + most)
        for at in range(i + 1, stop):
            one = items[at]
            if one.number - at != before or one.stream != stream:
                return at - i
        return stop - i

    def _run_of(self, i):
        item = self._items[i]
        run = self._known_run(item) or self._read(i)
        return None if run is None or run.kind == record.CUT else run

    def _known_run(self, item):
        at = bisect_right(self._firsts, item.number) - 1
        if at < 0 or item.stream != self._stream or item.number >= self._runs[at].stop:
            return None
        return self._runs[at]

    def _read(self, i):
        """The run that has items[i]; with it come those of the items that follow."""
        first = self._items[i]
        number = first.number
        stop = number + self._following(i, len(self._items))
        stream = self._store.find(first.stream.encode())
        self.lost = False
        runs = self._store.at_hand(stream, number, stop)
        if not runs:
            if self._at_hand:
                raise _NotAtHand
            stop = max(stop, min(stream.visible, number + _READ_AHEAD))
            try:
                runs = self._store.records(stream, number, stop, PAGE, keep=True)
            except EventsLost:
                self.lost = True
                return None
        self._runs = runs
        self._stream = first.stream
        self._firsts = [run.number for run in runs]
        return self._known_run(first)


class Groups:
    """The groups of a store; made when the first of them is asked for."""

    def __init__(self, store):
        self._store = store
        self._lock = threading.Lock()
        self._changing = threading.Lock()
        self._groups = {}
        self._of_streams = {}       # stream -> {name} of those that are of it alone
        self._failing = None        # the failure to keep that was logged last
        self.load()
        self._keeper = Keeper("meilies-groups", self._keep_quietly, interval=INTERVAL)

    def load(self):
        """Take the groups that the store's entries say there are, and that aren't known yet."""
        with self._changing:
            parked, blocks = {}, {}
            for key, value in self._store.entries(PARKED):
                name, key = _split_numbered(key)
                parked.setdefault(name, []).append(Parked(key, *json.loads(value)))
            for key, value in self._store.entries(PENDING):
                blocks.setdefault(_split_numbered(key)[0], []).append(value)
            states = dict(self._store.entries(STATES))
            for name, value in self._store.entries(TOPIC):
                if name in self._groups:
                    continue
                definition = Definition.decode(value)
                self._enter(name, definition, _restored(definition, states.get(name), parked.get(name, ()),
                                                        blocks.get(name, ())))

    def new_among(self, entries):
        """Those of `entries` that aren't of a group which is there."""
        return [(topic, key, value) for topic, key, value in entries if topic not in TOPICS
                or (_split_numbered(key)[0] if topic in _KEYED else key) not in self._groups]

    def create(self, name, definition):
        """The ConsumerGroup, new or with the same definition.

        Raises    ValueError    a name that may not be, or too many groups
                  GroupExists   with another definition; and as Store.put
        """
        _check_definition(name, definition)
        with self._changing:
            known = self._groups.get(name)
            if known is None:
                return self._make(name, definition)
            if known.definition._replace(first=0) != definition._replace(first=0):
                raise GroupExists(name.decode(), known.definition.selector)
            return known

    def create_shared(self, name, definition, state):
        """The ConsumerGroup, new, with a SharedState.  Raises GroupExists whatever is there; else as `create`."""
        _check_definition(name, definition)
        with self._changing:
            if name in self._groups:
                raise GroupExists(name.decode(), self._groups[name].definition.selector)
            return self._make(name, definition, _encode_state(state, 0, 0))

    def _make(self, name, definition, state=None):
        if len(self._groups) >= MAX_GROUPS:
            raise ValueError(f"there are {MAX_GROUPS} groups, expected no more")
        kept = [] if state is None else [(STATES, name, state)]
        self._store.put_many([(TOPIC, name, definition.encode()), *kept])
        return self._enter(name, definition, _restored(definition, state))

    def _enter(self, name, definition, restored):
        made = ConsumerGroup(self._store, name, definition, *restored)
        with self._lock:
            self._groups[name] = made
            if not definition.by_position:
                self._of_streams.setdefault(definition.key, set()).add(name)
        return made

    def get(self, name):
        """Raises NoGroup."""
        with self._lock:
            found = self._groups.get(name)
        if found is None:
            raise NoGroup(name.decode("utf-8", "replace"))
        return found

    def delete(self, name):
        """Raises NoGroup; and as Store.put."""
        with self._changing:
            group = self.get(name)
            self._store.put_many(group.end())
            with self._lock:
                del self._groups[name]
                names = self._of_streams.get(group.definition.key, set())
                names.discard(name)
                if not names:
                    self._of_streams.pop(group.definition.key, None)

    def all(self):
        """The ConsumerGroups, by name."""
        with self._lock:
            return [self._groups[name] for name in sorted(self._groups)]

    def of(self, stream):
        """Those that are of this stream alone, by name."""
        with self._lock:
            return [self._groups[name] for name in sorted(self._of_streams.get(stream, ()))]

    def _keep_quietly(self):
        for group in self.all():
            try:
                group.keep()
            except StoreError as error:
                if type(error) is not self._failing:
                    logger.warning("how far group %s is can't be kept: %s", group.name, error)
                self._failing = type(error)
            else:
                self._failing = None

    def close(self):
        """Keep all states; what happens afterwards isn't kept."""
        self._keeper.stop()
        self._keep_quietly()


def check_entry(topic, key, value):
    """Raise ValueError unless this is an entry as this file puts them."""
    try:
        if topic == TOPIC:
            _check_definition(key, Definition.decode(value))
        elif topic == STATES:
            _check_state(*_decode_state(value))
        elif topic == PENDING:
            _check_block(_split_numbered(key)[1], value)
        else:
            Parked(_split_numbered(key)[1], *json.loads(value))
    except (TypeError, AttributeError, KeyError, struct.error, zlib.error) as error:
        raise ValueError(f"it can't be read: {error}") from None


def _check_state(state, cut, lost):
    if isinstance(state, SharedState):
        SharedGroup(SHARED, state)
        numbers = state.next, *state.last, abs(state.shift or 0), *chain.from_iterable(
            (seen, active or 0) for _, seen, active in state.members)
    else:
        Group(Rules(), state)
        numbers = state.checkpoint, *state.done
    if not all(type(number) is int and number >= 0 for number in (*numbers, cut, lost)):
        raise ValueError(f"found a state from {state[0]!r:.60} on")


def _check_block(number, value):
    for entry in _decode_block(value, ""):
        if entry.key // BLOCK != number or not isinstance(entry.holder, (str, type(None))):
            raise ValueError(f"found event {entry.key!r:.60} of {entry.holder!r:.60} in block {number}")
        if not all(type(one) is int and one >= 0 for one in (entry.time, entry.tries, entry.ms or 0)):
            raise ValueError(f"event {entry.key} was given at {entry.time!r:.60}, {entry.tries!r:.60} times")


def define(selector, first, rules, names=()):
    """The Definition of a group; `selector` is a stream's name, "$all" or a Prefix.  Raises ValueError."""
    names = sorted({encoded(name) for name in names})
    for one in names:
        check_name(one)
    names = tuple([one.decode() for one in names])
    if isinstance(selector, Prefix):
        return Definition("prefix", encoded(selector.text), first, rules, names)
    return Definition("stream", encoded(selector), first, rules, names)


def _check_definition(name, definition):
    try:
        check_name(name)
    except ValueError as error:
        raise ValueError(f"a group's name: {error}") from None
    if definition.key != ALL:
        check_stream(definition.key)
    rules = definition.rules
    if definition.first < 0:
        raise ValueError(f"the first key is {definition.first}, expected 0 or more")
    if rules.shared:
        if definition.by_position or definition.names:
            raise ValueError("a shared group is of one stream, and of all its events")
    elif rules.tries < 1 or not 0 < rules.wait < 1e9 or not 0 <= rules.pause < 1e9:
        raise ValueError(f"found {rules.tries} tries, {rules.wait:g} seconds to wait and a pause of {rules.pause:g}, "
                         f"expected at least 1 try, more than 0 seconds, and 0 or more")


def _numbered(name, number):
    return name + b"\0" + _KEY.pack(number)


def _split_numbered(key):
    return key[:-_KEY.size - 1], _KEY.unpack(key[-_KEY.size:])[0]


# Bytes of a state: its keys are bounded by how far a group may run ahead of its checkpoint.
_MOST_STATE = 256 << 20


def _encode_state(state, cut, lost):
    if isinstance(state, SharedState):
        return _packed({**state._asdict(), "cut": cut, "lost": lost})
    done = [key - state.checkpoint for key in state.done]
    return _packed([state.checkpoint, done, sorted(state.tries.items()), state.again, cut, lost])


def _decode_state(value):
    """(State or SharedState, cut, lost)"""
    found = _unpacked(value)
    if isinstance(found, dict):
        members = tuple(map(tuple, found["members"]))
        return (SharedState(found["next"], tuple(found["last"]), found["shift"], members),
                found["cut"], found["lost"])
    checkpoint, done, tries, again, cut, lost = found
    return State(checkpoint, tuple(checkpoint + key for key in done), dict(tries), tuple(map(tuple, again))), cut, lost


def _encode_block(rows):
    """The rows of SharedGroup.changed_blocks, column by column."""
    return _packed(list(zip(*rows)))


def _decode_block(value, stream):
    """The Entries of a block."""
    return [Entry(key, stream, holder, time, tries, ms)
            for key, holder, ms, time, tries in _rows(_unpacked(value))]


def _rows(columns):
    if len(columns) != 5 or len(set(map(len, columns))) > 1:
        raise ValueError(f"found {len(columns)} columns, expected 5 that are as long as each other")
    return zip(*columns)


def _packed(value):
    return zlib.compress(json.dumps(value).encode(), 1)


def _unpacked(value):
    return json.loads(inflate(value, _MOST_STATE))


def _restored(definition, value=None, parked=(), blocks=()):
    """(Group or SharedGroup, cut, lost): as a state's value says, and what was kept with it; without one, new."""
    if definition.rules.shared:
        stream = definition.key.decode()
        state, cut, lost = (SharedState(definition.first), 0, 0) if value is None else _decode_state(value)
        entries = [entry for block in blocks for entry in _decode_block(block, stream)]
        return SharedGroup(definition.rules, state, parked, entries), cut, lost
    state, cut, lost = (State(definition.first), 0, 0) if value is None else _decode_state(value)
    return Group(definition.rules, state, parked), cut, lost


def _unredacted(one, begin, end):
    """[(begin, end), …] of the events [begin, end) of a record but for those that were redacted."""
    if not one.flags & record.DETAILS:
        return [(begin, end)]
    gone = [i for i in range(begin, end) if _is_redacted(one, i)]
    return [(some, behind) for some, behind in zip((begin, *[i + 1 for i in gone]), (*gone, end)) if some < behind]


def _is_redacted(one, i):
    """Whether an event of a record was redacted; the data is looked at only where it may be."""
    return one.details()[i][1] == record.REDACTED and record.is_redacted(next(iter(one.events(i, i + 1))))
