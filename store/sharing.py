"""What members of a group hold, as Redis's commands for its consumer groups ask for it.

    XPENDING     ──> PendingList.held, summary          any group of one stream
    XREADGROUP 0 ──> history
    XCLAIM       ──> claim         ┐
    XAUTOCLAIM   ──> claim_idle    ┴──> SharedGroup     shared groups only, as all that follows

Times are in milliseconds, since 1970 where they aren't how long ago.  Events are read without
the group's lock, so what is true of one that is claimed is asked for under it once more.
"""

import time
from itertools import islice
from typing import NamedTuple

from .groups import MOST_AT_ONCE
from .shared import Entry


class Held(NamedTuple):
    """An event that a member has.

    ms      when it was appended; None: it is to be looked for in the event
    idle    how long ago it was given last
    tries   how often it was given
    """

    key: int
    ms: int
    member: str
    idle: int
    tries: int


class MemberInfo(NamedTuple):
    """held   how many events it has
    idle     how long ago it asked for something, inactive: got something; None: never, or nobody knows"""

    name: str
    held: int
    idle: int
    inactive: int


class Progress(NamedTuple):
    """How far a shared group is.

    last     (milliseconds, number) of the event that was given last, or what the group was set to
    read     how many events the stream had when that one was there; None: nobody said
    unread   how many events are new to all members
    """

    last: tuple
    read: int
    unread: int


class PendingList:
    """What members of `group`, a ConsumerGroup of one stream, hold.  Whatever it is asked for may raise NoGroup."""

    def __init__(self, store, group):
        self._store = store
        self._group = group

    # -- any group -----------------------------------------------------------

    def held(self, first=0, stop=None, count=None, member=None, idle=0):
        """[Held, …] of keys [first, stop), up to `count` of those that were given at least `idle` ago; in order."""
        found = []
        with self._group.rules() as rules:
            age = self._age(rules)
            for one in rules.held_from(first, member):
                if stop is not None and one.key >= stop or len(found) == count:
                    break
                if age(one) >= idle:
                    found.append(self._held(one, age))
        return found

    def counts(self):
        """{member: how many events it holds}"""
        with self._group.rules() as rules:
            return rules.held

    def ends(self):
        """The Held with the lowest key and the one with the highest, or None."""
        with self._group.rules() as rules:
            age = self._age(rules)
            first, last = next(rules.held_from(0), None), rules.last_held()
            return None if first is None or last is None else (self._held(first, age), self._held(last, age))

    def times(self, keys):
        """{key: when the event was appended} of those of `keys` that members hold, as far as it is known."""
        with self._group.rules() as rules:
            items = [rules.item(key) for key in keys]
            return {one.key: one.ms for one in items if one is not None and one.holder is not None}

    def history(self, member, first, count):
        """[(Held, its Event), …]: up to `count` of what a member has from `first` on, of some MOST_AT_ONCE bytes.

        None stands for an event that is there no more.
        """
        with self._group.rules() as rules:
            age = self._age(rules)
            items = list(islice(rules.held_from(first, member), count))
            found = [self._held(one, age) for one in items]
        return list(_some(zip(found, self._group.events_of(items))))

    def _age(self, rules):
        """What says of an Item or Entry how long ago it was given."""
        if self._group.is_shared:
            now = self._now()
            return lambda entry: max(0, now - entry.time)
        since = time.monotonic() + rules.rules.wait
        return lambda item: max(0, round((since - item.until) * 1000))

    def _held(self, one, age):
        return Held(one.key, one.ms, one.holder, age(one), one.tries)

    def _now(self):
        return self._store.clock() // 1000

    def members(self):
        """[MemberInfo, …] by name; of a group that isn't shared those that hold something."""
        with self._group.rules() as rules:
            if not self._group.is_shared:
                return [MemberInfo(name, count, None, None) for name, count in sorted(rules.held.items())]
            now = self._now()
            return [MemberInfo(name, one.held, max(0, now - one.seen),
                               None if one.active is None else max(0, now - one.active))
                    for name, one in sorted(rules.members.items())]

    # -- shared groups -------------------------------------------------------

    def progress(self):
        """The Progress."""
        with self._group.rules() as rules:
            return Progress(rules.last, rules.entries_read, max(0, rules.unread(self._group.visible)))

    def set_to(self, first, last, read=None):
        """The next event that is new to all is `first`; see Progress for `last` and `read`.  It is kept by a crash."""
        with self._group.rules() as rules:
            rules.set_to(first, last, None if read is None else read - first)
        self._group.keep()
        self._group.changed()

    def skip_to(self, first, last):
        """As `set_to`, if it isn't before where the group is."""
        with self._group.rules() as rules:
            if first > rules.passed:
                rules.set_to(first, last, rules.shift)

    def meet(self, member):
        """A member asks for something; whether it is new.  Raises ValueError: there are too many."""
        with self._group.rules() as rules:
            return rules.meet(member, self._now())

    def drop(self, member):
        """Forget a member; what it holds is done.  Returns how many events that were."""
        with self._group.rules() as rules:
            return rules.drop(member)

    def claim(self, keys, member, idle=0, force=False, at=None, tries=None, counted=True):
        """Give a member what others hold of `keys`, if it is there and was given at least `idle` ago; [Event, …].

        Of what isn't there any more nobody holds anything afterwards.
        force    also what nobody holds
        at, tries, counted   see SharedGroup.claim
        Raises   ValueError    too many members
        """
        stream = self._group.definition.key.decode()
        wanted = [Entry(key, stream) for key in keys]
        claimed = []
        for entry, event in zip(wanted, self._group.events_of(wanted)):
            with self._group.rules() as rules:
                if event is None:
                    rules.forget(entry.key)
                    continue
                entry.ms = event.time // 1000
                if rules.claim(entry.key, member, self._now(), idle, at, tries, counted, entry if force else None):
                    claimed.append(event)
        return claimed

    def claim_idle(self, member, idle, first, count, looked_at, counted=True):
        """Give a member up to `count` events that others have had for at least `idle`; look at so many of them.

        Returns ([Event, …], [(milliseconds, number), …] of those held that are there no more, which nobody holds
        any longer; the Held to go on with, or None)
        Raises ValueError: too many members
        """
        with self._group.rules() as rules:
            rules.meet(member, self._now())
            entries = list(islice(rules.held_from(first), looked_at + 1))
        claimed, gone, size = [], [], 0
        for entry, event in zip(entries[:looked_at], self._group.events_of(entries[:looked_at])):
            if len(claimed) + len(gone) == count or size > MOST_AT_ONCE:
                return claimed, gone, self._from(entry.key)
            with self._group.rules() as rules:
                if event is None:
                    if rules.item(entry.key) is not None:
                        rules.forget(entry.key)
                        gone.append((entry.ms, entry.key))
                elif rules.claim(entry.key, member, self._now(), idle, counted=counted):
                    claimed.append(event)
                    size += _size(event)
        return claimed, gone, self._from(entries[looked_at].key) if len(entries) > looked_at else None

    def _from(self, key):
        """The first Held from a key on, or None."""
        return next(iter(self.held(key, count=1)), None)


def _some(found):
    """Those of (…, event) that make up about MOST_AT_ONCE bytes."""
    size = 0
    for one in found:
        if size >= MOST_AT_ONCE:
            return
        yield one
        size += 0 if one[1] is None else _size(one[1])


def _size(event):
    return len(event.data) + len(event.metadata) + len(event.name)
