"""The rules of a shared group: any member gets the next event, and has it until it is done.  No I/O, thread or clock.

    number   0 1 2 3 4 5 6 7 8 9
             d h d h w d h . . .      done, held by a member, waiting to be given again
                           '-- first_new: was given to nobody yet

    ahead ──take──> held ──ack──> done
                    |  '──claim──> held by another
                    '── taken back, or its member left ──> waiting, which goes before what is ahead

It is of one stream, so keys are numbers.  Nothing comes again by itself, and as often as
members ask for it: there is no time in which they have to answer and no last try.  Redis
calls what is held the pending entries of a consumer group.

What is held or waits stands in a Table, in blocks of BLOCK numbers.  What is kept of a group
is its SharedState and of the blocks those that changed, so that a long list of pending
events costs no more to keep than what happens in it.
"""

from bisect import bisect_left, insort
from collections import OrderedDict, deque
from itertools import dropwhile, islice
from typing import NamedTuple

from .group import LATER, MAX_PARKED, MAX_REASON, PARKED, WINDOW, Parked

# Numbers of a block.
BLOCK = 512
# Events that may be held or wait; with so many nothing new is given.
MAX_PENDING = 1_000_000
MAX_MEMBERS = 10_000


class SharedState(NamedTuple):
    """What has to be kept of a shared group besides its blocks.

    next      the number of the next event that is new to all
    last      (milliseconds, number) of the one before it that was given, or what its group was set to
    shift     what is added to a number to say how many events were read before it; None: nobody said
    members   ((name, seen, active), …), times in milliseconds since 1970, active None: never
    """

    next: int
    last: tuple = (0, 0)
    shift: int = None
    members: tuple = ()


class Entry:
    """An event that was given and isn't done.

    holder   the member that has it; None: it waits to be given again
    time     milliseconds since 1970 when it was given last
    tries    how often it was given
    ms       the event's own time, in milliseconds; None until it was read for its member
    """

    __slots__ = ("key", "stream", "holder", "time", "tries", "ms", "done")

    def __init__(self, key, stream, holder=None, time=0, tries=0, ms=None):
        self.key = key
        self.stream = stream
        self.holder = holder
        self.time = time
        self.tries = tries
        self.ms = ms
        self.done = False


Entry.number = Entry.key        # it is of one stream


class Table:
    """Entries in the order of their keys; `changed` are the blocks that aren't as they were kept."""

    def __init__(self):
        self.changed = set()
        self._blocks = {}       # number of a block -> {key: Entry}
        self._order = []        # these numbers, sorted
        self._count = 0

    def __len__(self):
        return self._count

    def get(self, key):
        block = self._blocks.get(key // BLOCK)
        return None if block is None else block.get(key)

    def add(self, entry):
        number = entry.key // BLOCK
        block = self._blocks.get(number)
        if block is None:
            block = self._blocks[number] = {}
            insort(self._order, number)
        block[entry.key] = entry
        self._count += 1
        self.changed.add(number)

    def add_run(self, entries):
        """Add Entries whose keys follow one another."""
        first, done = entries[0].key, 0
        while done < len(entries):
            key = first + done
            number = key // BLOCK
            block = self._blocks.get(number)
            if block is None:
                block = self._blocks[number] = {}
                insort(self._order, number)
            some = entries[done:done + (number + 1) * BLOCK - key]
            block.update(zip(range(key, key + len(some)), some))
            self.changed.add(number)
            done += len(some)
        self._count += done

    def has_any(self, first, stop):
        """Whether there is an Entry with one of the keys [first, stop)."""
        for number in range(first // BLOCK, (stop - 1) // BLOCK + 1):
            block = self._blocks.get(number)
            if block is not None and not block.keys().isdisjoint(range(first, stop)):
                return True
        return False

    def remove(self, entry):
        number = entry.key // BLOCK
        block = self._blocks[number]
        del block[entry.key]
        if not block:
            del self._blocks[number]
            del self._order[bisect_left(self._order, number)]
        self._count -= 1
        self.changed.add(number)

    def touch(self, entry):
        """It isn't as it was kept."""
        self.changed.add(entry.key // BLOCK)

    def since(self, first=0):
        """Yield the Entries with keys from `first` on."""
        at = bisect_left(self._order, first // BLOCK)
        for number in islice(self._order, at, None):
            block = self._blocks[number]
            for key in sorted(block):
                if key >= first:
                    yield block[key]

    def since_id(self, ms, key):
        """Yield the Entries from the first on whose id, (milliseconds, key), is so or more; ids are taken to ascend."""
        low, high = 0, len(self._order)
        while low < high:
            middle = (low + high) // 2
            block = self._blocks[self._order[middle]]
            last = block[max(block)]
            if last.ms is None or (last.ms, last.key) >= (ms, key):
                high = middle
            else:
                low = middle + 1
        if low < len(self._order):
            yield from dropwhile(lambda one: one.ms is None or (one.ms, one.key) < (ms, key),
                                 self.since(self._order[low] * BLOCK))

    def backwards(self):
        """Yield the Entries, the one with the highest key first."""
        for number in reversed(self._order):
            yield from reversed(self.block(number))

    @property
    def blocks(self):
        return list(self._order)

    def block(self, number):
        """The Entries of a block, in order."""
        block = self._blocks.get(number, {})
        return [block[key] for key in sorted(block)]


class Member:
    """seen, active   milliseconds since 1970 when it asked last, and when it got something last; None: never
    held   how many events"""

    __slots__ = ("seen", "active", "held")

    def __init__(self, seen, active=None):
        self.seen = seen
        self.active = active
        self.held = 0


class SharedGroup:
    """See the top of this file.  Whoever calls it has a lock around it.

    state     a SharedState to begin with, `entries` the Entries that were kept with it
    parked    {key: Parked}
    members   {name: Member}
    next      the key to look at next
    passed    the key behind the event that was given last of those that were new to all
    last, shift   see SharedState
    changed   whether `state` isn't what it was when it was last called
    """

    due = None      # nothing comes again by itself

    def __init__(self, rules, state, parked=(), entries=()):
        self.rules = rules
        self.parked = {one.key: one for one in parked}
        self.next = state.next
        self.last = state.last
        self.passed = state.next
        self.shift = state.shift
        self.members = {}           # name -> Member
        self.given = self.acknowledged = self.refused = 0
        self.late = 0               # never: see the top
        self._ahead = deque()       # [key, the one behind the last, stream] of events that were looked at and not given
        self._ahead_count = 0
        self._table = Table()
        self._waiting = OrderedDict()       # keys of those that nobody holds, in the order to give them
        self._before = {}           # key -> (holder, tries, time) of Entries that are given as new, and not read yet
        for name, seen, active in state.members:
            self.members[name] = Member(seen, active)
        for entry in entries:
            self._restore(entry)
        self._table.changed.clear()
        self.changed = False

    def _restore(self, entry):
        """An event whose member didn't get it before the end, or is there no more, waits."""
        holder = entry.holder if entry.ms is not None and entry.holder in self.members else None
        entry.holder = None
        self._table.add(entry)
        if holder is None:
            self._waiting[entry.key] = None
        else:
            self._hold(entry, holder)

    # -- what there is -------------------------------------------------------

    @property
    def room(self):
        """How many events may be looked at."""
        return max(0, min(WINDOW, MAX_PENDING - len(self._table)) - self._ahead_count)

    @property
    def is_full(self):
        """Whether nothing new is given before something is done."""
        return len(self._table) >= MAX_PENDING

    def offer_run(self, first, stop, stream):
        """The events [first, stop), which are at or behind `next`, are there."""
        self.next = stop
        self._ahead_count += stop - first
        if self._ahead and self._ahead[-1][1] == first:
            self._ahead[-1][1] = stop
        else:
            self._ahead.append([first, stop, stream])

    def look(self, key):
        """Everything before `key` was looked at."""
        self.changed |= key > self.next
        self.next = max(self.next, key)

    @property
    def entries_read(self):
        """How many events the stream had when the one was there that was given last; None: nobody said."""
        return None if self.shift is None else self.passed + self.shift

    @property
    def first_new(self):
        """The number of the next event that is new to all."""
        return self._ahead[0][0] if self._ahead else self.next

    @property
    def checkpoint(self):
        """Every event before it is done."""
        first = next(self._table.since(), None)
        return self.first_new if first is None else min(first.key, self.first_new)

    def pending(self, end):
        """How many events before the key `end` aren't done, if all that weren't looked at are there."""
        return end - self.next + self._ahead_count + len(self._table)

    @property
    def waiting(self):
        """How many events that were looked at aren't done and nobody's."""
        return self._ahead_count + len(self._waiting)

    @property
    def held(self):
        """{member: how many events it holds}."""
        return {name: member.held for name, member in self.members.items() if member.held}

    def item(self, key):
        """The Entry of an event that was given and isn't done, or None."""
        return self._table.get(key)

    def held_since(self, since=(0, 0), member=None):
        """Yield the Entries that members hold, or one of them, from the first on whose id is `since` or more.

        since    (milliseconds, number)
        """
        if member is not None and member not in self.held:
            return
        for entry in self._table.since_id(*since):
            if entry.holder is not None and entry.ms is not None and (member is None or entry.holder == member):
                yield entry

    def last_held(self):
        """The Entry with the highest key that a member holds, or None."""
        return next((one for one in self._table.backwards() if one.holder is not None and one.ms is not None), None)

    # -- what is kept --------------------------------------------------------

    @property
    def blocks(self):
        """The numbers of the blocks that have something in them."""
        return self._table.blocks

    @property
    def state(self):
        """The SharedState to keep; `changed` is False from then on."""
        self.changed = False
        members = tuple((name, one.seen, one.active) for name, one in self.members.items())
        return SharedState(self.first_new, self.last, self.shift, members)

    def changed_blocks(self):
        """{number: [(key, holder, ms, time, tries), …]} of the blocks that changed since this was called last."""
        changed, self._table.changed = self._table.changed, set()
        return {number: [(entry.key, entry.holder, entry.ms, entry.time, entry.tries)
                         for entry in self._table.block(number)] for number in sorted(changed)}

    def not_kept(self, blocks):
        """What `changed_blocks` gave didn't come on the disk."""
        self.changed = True
        self._table.changed.update(blocks)

    # -- members -------------------------------------------------------------

    def meet(self, name, clock):
        """A member asks for something; whether it is new.

        clock    milliseconds since 1970
        Raises   ValueError    there are too many
        """
        found = self.members.get(name)
        if found is not None:
            found.seen = clock
            return False
        if len(self.members) >= MAX_MEMBERS:
            raise ValueError(f"a group has {MAX_MEMBERS} members, expected no more: take out those that are gone")
        self.members[name] = Member(clock)
        self.changed = True
        return True

    def drop(self, name):
        """Forget a member, and that it holds something: these events are done.  How many; 0 if there is no such."""
        return self._part(name, self._finish)

    def leave(self, name):
        """A member is gone: what it holds is given to others.  Returns how many events that were."""
        return self._part(name, self._give_back)

    def _part(self, name, do):
        member = self.members.get(name)
        if member is None:
            return 0
        entries = list(self._entries_of(name, member.held))
        for entry in entries:
            do(entry)
        del self.members[name]
        self.changed = True
        return len(entries)

    def _entries_of(self, name, count):
        """Yield what a member holds, as many as it has."""
        found = (entry for entry in self._table.since() if entry.holder == name)
        return islice(found, count)

    def _hold(self, entry, name):
        self._let_go(entry)
        del self._waiting[entry.key]
        entry.holder = name
        self.members[name].held += 1

    def _let_go(self, entry):
        """It waits, now if not before."""
        if entry.holder is not None:
            self.members[entry.holder].held -= 1
            entry.holder = None
        self._waiting[entry.key] = None
        self._table.touch(entry)

    # -- giving --------------------------------------------------------------

    def take(self, member, count, now, clock, acked=False):
        """Give a member up to `count` events, as Entries; first those that were given back.

        now      not used
        clock    microseconds since 1970
        acked    they are done with that
        """
        clock //= 1000
        if member in self.members or self.waiting:      # who comes in vain isn't a member by that
            self.meet(member, clock)
        given = []
        while len(given) < count and (self._waiting or self._ahead):
            if self._waiting:
                given.append(self._give(self._first_waiting(), member, clock, acked))
            else:
                given += self._give_ahead(member, count - len(given), clock, acked)
        if given:
            self.changed = True
            self.given += len(given)
            self.acknowledged += acked * len(given)
            self.members[member].active = clock
        return given

    def _give(self, entry, member, clock, acked):
        entry.tries += 1
        entry.time = clock
        if not entry.done:
            self._hold(entry, member)
            if acked:
                self._finish(entry)
        return entry

    def _first_waiting(self):
        return self._table.get(next(iter(self._waiting)))

    def _give_ahead(self, member, count, clock, acked):
        """Give a member the first events that are new to all, no more than `count`, as Entries."""
        first, stop, stream = self._ahead[0]
        stop = min(stop, first + count)
        if acked or self._table.has_any(first, stop):       # the group was set back
            return [self._give(self._first_ahead(acked), member, clock, acked)]
        entries = [Entry(key, stream, member, clock, 1) for key in range(first, stop)]
        self._table.add_run(entries)
        self.members[member].held += len(entries)
        self._pass_ahead(len(entries))
        return entries

    def _pass_ahead(self, count):
        """The first events that are new to all, so many of one run, are that no more."""
        run = self._ahead[0]
        run[0] += count
        self._ahead_count -= count
        if run[0] == run[1]:
            self._ahead.popleft()

    def _first_ahead(self, acked):
        """The Entry of an event that is new to all; if it is done with that, one beside the table."""
        key, _, stream = self._ahead[0]
        self._pass_ahead(1)
        entry = self._table.get(key)
        if entry is not None and entry.holder is not None:      # the group was set back
            self._before[key] = entry.holder, entry.tries, entry.time
        if acked:
            entry = Entry(key, stream)
            entry.done = True
            return entry
        if entry is None:
            entry = Entry(key, stream)
            self._table.add(entry)
        entry.tries = 0
        self._let_go(entry)
        return entry

    def got(self, entries, clocks):
        """The events of Entries that were taken were read for their member; `clocks` in microseconds since 1970."""
        for entry, clock in zip(entries, clocks):
            key, ms = entry.key, clock // 1000
            if self._before:
                self._before.pop(key, None)
            entry.ms = ms
            self._table.touch(entry)
            if key >= self.passed:
                self.last = ms, key
                self.passed = key + 1
                self.shift = self.shift or 0
                self.changed = True

    def take_back(self, items):
        """These were taken last, by a member that didn't get them: as if they had not been."""
        for item in items:
            if item.done and self._table.get(item.key) is None:
                item.done = False
                self._table.add(item)
            elif item.holder is None:
                continue
            item.tries -= 1
            self.given -= 1
            self._give_back(item)

    def _give_back(self, entry):
        self._let_go(entry)
        self.changed = True

    def set_to(self, number, last, shift=None):
        """The next event that is new is `number`; see SharedState for the others."""
        self._ahead.clear()
        self._ahead_count = 0
        self.next = self.passed = number
        self.last = last
        self.shift = shift
        self.changed = True

    def expire(self, now, clock):
        """Nothing is ever too late."""

    # -- done ----------------------------------------------------------------

    def ack(self, keys):
        """Events are acknowledged; return how many of them somebody held."""
        count = 0
        for key in keys:
            entry = self._table.get(key)
            if entry is not None and entry.holder is not None:
                self._finish(entry)
                count += 1
        self.acknowledged += count
        return count

    def ack_ids(self, ids):
        """The same of events with these ids, (milliseconds, number)."""
        get = self._table.get
        count = 0
        for ms, key in ids:
            entry = get(key)
            if entry is not None and entry.holder is not None and (entry.ms == ms or entry.ms is None):
                self._finish(entry)
                count += 1
        self.acknowledged += count
        return count

    def forget(self, key):
        """The event `key` is there no more: nobody can get it."""
        before = self._before.pop(key, None)
        entry = self._table.get(key)
        if entry is None:
            return
        self.given -= entry.holder is not None
        if before is not None and before[0] in self.members:        # who has it knows that it was there
            self._hold(entry, before[0])
            entry.tries, entry.time = before[1:]
        else:
            self._finish(entry)

    def _finish(self, entry):
        if entry.holder is None:
            self._waiting.pop(entry.key, None)
        else:
            self.members[entry.holder].held -= 1
            entry.holder = None
        self._table.remove(entry)
        entry.done = self.changed = True

    def refuse(self, key, reason, park, now, clock):
        """See Group.refuse; without `park` the event is given again to who asks next."""
        entry = self._table.get(key)
        if entry is None or entry.holder is None:
            return None
        self.refused += 1
        if park and len(self.parked) < MAX_PARKED:
            self.parked[key] = Parked(key, entry.stream, key, entry.tries, clock, reason[:MAX_REASON])
            self._finish(entry)
            return PARKED
        self._give_back(entry)
        return LATER

    def replay(self, keys):
        """Parked events are given again; return those of `keys` that are."""
        found = [key for key in keys if key in self.parked][:self.room]
        for key in found:
            entry = Entry(key, self.parked.pop(key).stream)
            self._table.add(entry)
            self._give_back(entry)
        return found

    def discard(self, keys):
        """Parked events are forgotten; return those of `keys` that were parked."""
        return [key for key in keys if self.parked.pop(key, None) is not None]

    def give_again(self, keys, member, clock):
        """A member got what it has once more; `clock` in milliseconds."""
        for key in keys:
            entry = self._table.get(key)
            if entry is not None and entry.holder == member:
                entry.tries += 1
                entry.time = clock
                self._table.touch(entry)
                self.changed = True

    # -- claiming ------------------------------------------------------------

    def claim(self, key, member, clock, idle=0, at=None, tries=None, counted=True, new=None):
        """Give a member an event that another holds, or waits; the Entry, or None.

        clock     milliseconds since 1970
        idle      milliseconds that it must have been held without having been given again
        at        milliseconds since 1970 that stand for when it was given
        tries     how often it was given; None: once more than it was, if `counted`
        new       Entry for one that isn't here
        Raises    ValueError    too many members
        """
        entry = self._table.get(key)
        if entry is None:
            if new is None or self.is_full:
                return None
            entry = new
            self._table.add(entry)
            self._let_go(entry)
        elif entry.holder is not None and clock - entry.time < idle:
            return None
        self.meet(member, clock)
        self._hold(entry, member)
        entry.time = clock if at is None else at
        entry.tries = tries if tries is not None else entry.tries + counted
        self._table.touch(entry)
        self.members[member].active = clock
        self.changed = True
        return entry
