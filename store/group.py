"""The rules of a consumer group: who gets which event, and what is done.  No I/O, no thread, no clock.

    key        0 1 2 3 4 5 6 7 8 9          number in the group's stream, or position
               d d d d h d h w . .          done (acknowledged or parked), held, waiting, not looked at
                       |       '-- next: to be looked at
                       '-- checkpoint: everything before it is done

    offer ──> waiting ──take──> held ──ack──> done
                 ^                |
                 '-- later, or    '-- refused, or out of time, for the last try ──> parked, which is done

The events of a stream are in its line, in order.  Those that are held are the first
of it, and one member holds all of them: the next event of a stream goes to nobody
else until they are done.  When one is given back, those of its line behind it are
too; so what a member is given of a stream is always in order, and nothing is passed
over.  Each event is given at least once, until it is acknowledged or parked.

What is between `checkpoint` and `next` is the window, which is bounded: nothing more
is looked at while it is full.  A state is the checkpoint and what is done behind it.
"""

import heapq
from collections import deque
from itertools import islice
from typing import NamedTuple

# Events between the checkpoint and what is looked at next.
WINDOW = 5000
# Events that may be parked; with more, those that would be stay in their lines.
MAX_PARKED = 10_000
# Seconds: the longest pause between two tries.
LONGEST_PAUSE = 60.0
# What becomes of an event that is refused.
LATER, PARKED = "later", "parked"
# Characters that are kept of a reason.
MAX_REASON = 500


class Rules(NamedTuple):
    """How a group treats its events.

    tries   how often one is given before it is parked
    wait    seconds that a member has for one
    pause   seconds between the first try and the second; it doubles each time
    """

    tries: int = 10
    wait: float = 30.0
    pause: float = 1.0

    @property
    def shared(self):
        """Whether there is no limit to any of them, and no order either: see shared.py."""
        return self == SHARED


SHARED = Rules(0, 0.0, 0.0)


class Parked(NamedTuple):
    """An event that nobody gets until it is replayed.

    time   microseconds since 1970 when it was parked
    """

    key: int
    stream: str
    number: int
    tries: int
    time: int
    reason: str


class State(NamedTuple):
    """What has to be kept of a group; see Group.state.

    checkpoint   the key before which everything is done
    done         keys behind it that are done
    tries        {key: how often it was given in vain}
    again        [(key, stream, number)] of events that were parked and are replayed
    """

    checkpoint: int
    done: tuple = ()
    tries: dict = {}
    again: tuple = ()


class Item:
    """An event that isn't done, or whose predecessors aren't.

    holder   the member that has it, or None
    until    when its time is up, if it is held; else when it may be given
    """

    __slots__ = ("key", "stream", "number", "tries", "holder", "until", "done")

    ms = None       # nobody asked when it was appended

    def __init__(self, key, stream, number, tries=0):
        self.key = key
        self.stream = stream
        self.number = number
        self.tries = tries
        self.holder = None
        self.until = 0.0
        self.done = False


class _Line:
    """Events of one stream that aren't done, in order; the first `held` of them are held by `holder`."""

    __slots__ = ("items", "held", "holder")

    def __init__(self):
        self.items = deque()
        self.held = 0
        self.holder = None


class Group:
    """See the top of this file.  Whoever calls it has a lock around it.

    rules     a Rules
    state     a State to begin with
    parked    {key: Parked}
    blocks    what of it is kept beside the state: nothing
    next      the key to look at next
    changed   whether `state` isn't what it was when it was last called
    """

    blocks = ()

    def __init__(self, rules, state, parked=()):
        self.rules = rules
        self.parked = {one.key: one for one in parked}
        self.next = state.checkpoint
        self.changed = False
        self.given = self.acknowledged = self.refused = self.late = 0
        self._window = deque()      # Items from the checkpoint on
        self._items = {}            # key -> Item that isn't done
        self._held = 0              # how many of them are held
        self._lines = {}            # stream -> _Line that isn't empty
        self._ready = {}            # streams whose first event may be given to anybody, as keys
        self._members = {}          # member -> {stream: None} of what it holds
        self._timers = []           # (time, key): perhaps something is due
        self._done = set(state.done)        # that aren't looked at yet
        self._tries = dict(state.tries)
        self._again = {}            # key -> Item that is replayed
        for key, stream, number in state.again:
            self._replay(Item(key, stream, number, self._tries.pop(key, 0)))
        self.changed = False

    # -- what there is -------------------------------------------------------

    @property
    def room(self):
        """How many events may be looked at."""
        return WINDOW - len(self._window)

    def offer(self, key, stream, number):
        """The event `key`, which is at or behind `next`, is one of the group's."""
        self.next = key + 1
        self.changed = True
        if key in self._done:
            self._done.discard(key)
            if self._window:
                self._window.append(_done_item(key))
            return
        item = Item(key, stream, number, self._tries.pop(key, 0))
        self._window.append(item)
        self._enter(item)

    def look(self, key):
        """Everything before `key` was looked at."""
        if key > self.next:
            self.next = key
            self.changed = True
        if self._done:
            self._done = {one for one in self._done if one >= self.next}

    def _enter(self, item):
        self._items[item.key] = item
        line = self._lines.get(item.stream)
        if line is None:
            line = self._lines[item.stream] = _Line()
        line.items.append(item)
        if line.holder is None:
            self._ready[item.stream] = None

    @property
    def checkpoint(self):
        """Every event before it is done, but for those that are replayed."""
        return self._window[0].key if self._window else self.next

    def pending(self, end):
        """How many events before the key `end` aren't done, if all that weren't looked at are the group's."""
        return end - self.next - len(self._done) + len(self._items)

    @property
    def waiting(self):
        """How many events that were looked at aren't done and nobody's."""
        return len(self._items) - self._held

    @property
    def held(self):
        """{member: how many events it holds}."""
        return {member: sum(self._lines[stream].held for stream in streams)
                for member, streams in self._members.items()}

    @property
    def state(self):
        """The State to keep; `changed` is False from then on."""
        self.changed = False
        tries = dict(self._tries)
        for item in self._items.values():
            given = item.tries - (item.holder is not None)
            if given:
                tries[item.key] = given
        done = [item.key for item in self._window if item.done] + sorted(self._done)
        return State(self.checkpoint, tuple(done), tries,
                     tuple((item.key, item.stream, item.number) for item in self._again.values()))

    def held_by(self, member=None):
        """Yield the Items that members hold, or one of them, in the order of their keys."""
        for item in self._window:
            if item.holder is not None and (member is None or item.holder == member):
                yield item

    def not_kept(self, blocks):
        """The state that was called last didn't come on the disk."""
        self.changed = True

    # -- giving --------------------------------------------------------------

    def take(self, member, count, now, clock):
        """Give a member up to `count` events, as Items; first those of the streams that it has some of.

        now     seconds, of a clock that never goes back
        clock   microseconds since 1970
        """
        self.expire(now, clock)
        given = []
        for stream in list(self._members.get(member, ())):
            self._give(stream, member, count, now, given)
        while self._ready and len(given) < count:
            stream = next(iter(self._ready))
            del self._ready[stream]
            self._give(stream, member, count, now, given)
        self.given += len(given)
        return given

    def _give(self, stream, member, count, now, given):
        line = self._lines[stream]
        while len(given) < count and line.held < len(line.items):
            item = line.items[line.held]
            if item.until > now:
                break       # `expire` makes it ready
            item.tries += 1
            item.holder = line.holder = member
            self._set_timer(item, now + self.rules.wait)
            line.held += 1
            self._held += 1
            given.append(item)
        if line.holder is not None:
            self._members.setdefault(member, {})[stream] = None

    def _set_timer(self, item, until):
        item.until = until
        heapq.heappush(self._timers, (until, item.key))
        if len(self._timers) > 4 * WINDOW:      # most are of events that are done
            self._timers = [(one.until, one.key) for one in self._items.values() if one.until]
            heapq.heapify(self._timers)

    def take_back(self, items):
        """These were taken last, by a member that didn't get them: as if they had not been."""
        for item in items:
            if item.holder is not None and not item.done:
                self.given -= self._give_back_from(item)

    # -- done ----------------------------------------------------------------

    def ack(self, keys):
        """Events are acknowledged; return how many of them somebody held."""
        count = 0
        for key in keys:
            item = self._items.get(key)
            if item is not None and item.holder is not None:
                self._finish(item)
                count += 1
        self.acknowledged += count
        return count

    def ack_ids(self, ids):
        """The same of events with these ids, (milliseconds, number): nobody asked for their times."""
        return self.ack([key for _, key in ids])

    def item(self, key):
        """The Item of an event that isn't done, or None."""
        return self._items.get(key)

    def forget(self, key):
        """The event `key` is there no more: nobody can get it."""
        item = self._items.get(key)
        if item is not None:
            self.given -= item.holder is not None
            self._finish(item)

    def _finish(self, item):
        item.done = self.changed = True
        del self._items[item.key]
        self._again.pop(item.key, None)
        line = self._lines[item.stream]
        line.items.remove(item)
        if item.holder is not None:
            line.held -= 1
            self._held -= 1
        self._settle(item.stream, line)
        while self._window and self._window[0].done:
            self._window.popleft()

    def _settle(self, stream, line):
        """The line may be empty now, or anybody's."""
        if not line.held and line.holder is not None:
            streams = self._members[line.holder]
            del streams[stream]
            if not streams:
                del self._members[line.holder]
            line.holder = None
        if not line.items:
            del self._lines[stream]
            self._ready.pop(stream, None)
        elif line.holder is None:
            self._ready[stream] = None

    # -- given back ----------------------------------------------------------

    def refuse(self, key, reason, park, now, clock):
        """A member can't do with an event: it is given again later, or parked, now or after the last try.

        clock   microseconds since 1970
        Returns LATER or PARKED; None if nobody held it.
        """
        item = self._items.get(key)
        if item is None or item.holder is None:
            return None
        self.refused += 1
        self._fail(item, reason, park, now, clock, self.rules.pause)
        return PARKED if item.done else LATER

    def _fail(self, item, reason, park, now, clock, pause):
        self.changed = True
        if (park or item.tries >= self.rules.tries) and len(self.parked) < MAX_PARKED:
            self.parked[item.key] = Parked(item.key, item.stream, item.number, item.tries, clock, reason[:MAX_REASON])
            self._finish(item)
            return
        item.tries += 1     # which giving it back takes off
        self._give_back_from(item)
        self._set_timer(item, now + min(pause * 2 ** min(item.tries - 1, 60), LONGEST_PAUSE))

    def _give_back_from(self, item):
        """This event and those held of its line behind it are nobody's, and weren't tried; how many these are."""
        line = self._lines[item.stream]
        at = line.items.index(item)
        count = line.held - at
        for one in islice(line.items, at, line.held):
            one.holder = None
            one.until = 0.0
            one.tries -= 1
        line.held = at
        self._held -= count
        self._settle(item.stream, line)
        return count

    def leave(self, member):
        """A member is gone: what it holds is given to others.  Returns how many events that were."""
        count = 0
        for stream in list(self._members.get(member, ())):
            count += self._give_back_from(self._lines[stream].items[0])
        return count

    # -- time ----------------------------------------------------------------

    def expire(self, now, clock):
        """What members had no answer for in time may be given again, and what waited for its next try."""
        while self._timers and self._timers[0][0] <= now:
            time, key = heapq.heappop(self._timers)
            item = self._items.get(key)
            if item is None or item.until != time:
                continue
            item.until = 0.0
            if item.holder is not None:
                self.late += 1
                self._fail(item, f"no answer within {self.rules.wait:g} seconds", False, now, clock, 0)
            elif self._lines[item.stream].holder is None:
                self._ready[item.stream] = None

    @property
    def due(self):
        """When `expire` may find something, or None."""
        return self._timers[0][0] if self._timers else None

    # -- parked --------------------------------------------------------------

    def replay(self, keys):
        """Parked events are given again, with all their tries; return those of `keys` that are, WINDOW at most."""
        found = [key for key in keys if key in self.parked][:WINDOW - len(self._again)]
        for key in found:
            one = self.parked.pop(key)
            self._replay(Item(key, one.stream, one.number))
        return found

    def _replay(self, item):
        self.changed = True
        self._again[item.key] = item
        self._enter(item)

    def discard(self, keys):
        """Parked events are forgotten; return those of `keys` that were parked."""
        return [key for key in keys if self.parked.pop(key, None) is not None]


def _done_item(key):
    item = Item(key, None, 0)
    item.done = True
    return item
