"""What members of a group hold, as Redis's commands for its consumer groups ask for it.

    XPENDING     ──> PendingList.held, counts           any group of one stream
    XREADGROUP 0 ──> history
    XCLAIM       ──> claim         ┐
    XAUTOCLAIM   ──> claim_idle    ┴──> SharedGroup     shared groups only, as all that follows

Times are in milliseconds, since 1970 where they aren't how long ago; an id is (milliseconds,
number).  Events are read without the group's lock, so what is true of one that is claimed is
asked for under it once more.
"""

import time
from itertools import islice, takewhile
from typing import NamedTuple

from .group import Item
from .groups import MOST_AT_ONCE
from .shared import Entry


class Held(NamedTuple):
    """An event that a member has.

    ms      when it was appended
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
    unread   how many events of the stream are new to all members, less those that `read` has beyond their numbers
    """

    last: tuple
    read: int
    unread: int


class PendingList:
    """What members of `group`, a ConsumerGroup of one stream, hold.  Whatever it is asked for may raise NoGroup."""

    def __init__(self, store, group):
        self._store = store
        self._group = group
        self._stream = group.definition.key.decode()

    # -- any group -----------------------------------------------------------

    def held(self, since=(0, 0), until=None, count=None, member=None, idle=0):
        """[Held, …] with ids from `since` up to `until`, up to `count` of those given at least `idle` ago; in order.

        since, until   (milliseconds, number)
        """
        def picked(found):
            before_end = takewhile(lambda one: until is None or (one.ms, one.key) <= until, found)
            return list(islice((one for one in before_end if one.idle >= idle), count))

        if not self._group.is_shared:
            return picked(one for one in self._held_in_order(member) if (one.ms, one.key) >= since)
        now = self._now()
        with self._group.rules() as rules:
            return picked(Held(one.key, one.ms, one.holder, max(0, now - one.time), one.tries)
                          for one in rules.held_since(since, member))

    def _held_in_order(self, member):
        """The Helds of a group that isn't shared; when they were appended stands in the events."""
        with self._group.rules() as rules:
            now = time.monotonic() + rules.rules.wait
            items = list(rules.held_by(member))
            found = [Held(one.key, 0, one.holder, max(0, round((now - one.until) * 1000)), one.tries)
                     for one in items]
        return [one._replace(ms=event.time // 1000)
                for one, event in zip(found, self._group.events_of(items)) if event is not None]

    def counts(self):
        """{member: how many events it holds}"""
        with self._group.rules() as rules:
            return rules.held

    def ends(self):
        """The Held with the lowest key and the one with the highest, or None."""
        if not self._group.is_shared:
            found = self._held_in_order(None)
            return (found[0], found[-1]) if found else None
        first = self.held(count=1)
        with self._group.rules() as rules:
            last = rules.last_held()
        return (first[0], Held(last.key, last.ms, last.holder, 0, last.tries)) if first and last else None

    def history(self, member, since, count):
        """[(Held, its Event), …]: up to `count` of what a member has from `since` on, of some MOST_AT_ONCE bytes.

        None stands for an event that is there no more.  Of a shared group, that counts as giving it once more.
        """
        held = self.held(since, count=count, member=member)
        items = [Item(one.key, self._stream, one.key) for one in held]
        found = list(_some(zip(held, self._group.events_of(items))))
        if self._group.is_shared:
            with self._group.rules() as rules:
                rules.give_again([one.key for one, event in found if event is not None], member, self._now())
        return found

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
            last, read, passed, shift = rules.last, rules.entries_read, rules.passed, rules.shift or 0
        return Progress(last, read, max(0, self._store.length(self._stream, passed) - shift))

    def set_to(self, first, last, read=None):
        """The next event that is new to all is `first`; see Progress for `last` and `read`.  It is kept by a crash."""
        with self._group.rules() as rules:
            rules.set_to(first, last, None if read is None else read - first)
        self._group.keep()
        self._group.changed()

    def skip_to(self, first, last):
        """As `set_to`, if it isn't before where the group is."""
        with self._group.rules() as rules:
            if first >= rules.passed and last > rules.last:
                rules.set_to(first, last, rules.shift)

    def meet(self, member):
        """A member asks for something; whether it is new.  Raises ValueError: there are too many."""
        with self._group.rules() as rules:
            return rules.meet(member, self._now())

    def drop(self, member):
        """Forget a member; what it holds is done.  Returns how many events that were."""
        with self._group.rules() as rules:
            return rules.drop(member)

    def claim(self, ids, member, idle=0, force=False, at=None, tries=None, counted=True):
        """Give a member what others hold of `ids`, if it is there and was given at least `idle` ago; [Event, …].

        ids      (milliseconds, number) each.  Of what isn't there any more nobody holds anything afterwards.
        force    also what nobody holds
        at, tries, counted   see SharedGroup.claim
        Raises   ValueError    too many members
        """
        wanted = [Entry(key, self._stream, ms=ms, tries=1) for ms, key in ids]      # as if it had been given before
        claimed = []
        for entry, event in zip(wanted, self._group.events_of(wanted)):
            with self._group.rules() as rules:
                if event is None:
                    _forget(rules, entry)
                elif event.time // 1000 == entry.ms and rules.claim(
                        entry.key, member, self._now(), idle, at, tries, counted, entry if force else None):
                    claimed.append(event)
        return claimed

    def claim_idle(self, member, idle, since, count, looked_at, counted=True):
        """Give a member up to `count` events that others have had for at least `idle`; look at so many of them.

        Returns ([Event, …], [(milliseconds, number), …] of those held that are there no more, which nobody holds
        any longer; the id to go on from, or None)
        Raises ValueError: too many members
        """
        with self._group.rules() as rules:
            if member in rules.members:
                rules.meet(member, self._now())
            entries = list(islice(rules.held_since(since), looked_at + 1))
        claimed, gone, size = [], [], 0
        for entry, event in zip(entries[:looked_at], self._group.events_of(entries[:looked_at])):
            if len(claimed) + len(gone) == count or size > MOST_AT_ONCE:
                return claimed, gone, (entry.ms, entry.key)
            with self._group.rules() as rules:
                if event is None:
                    if _forget(rules, entry):
                        gone.append((entry.ms, entry.key))
                elif rules.claim(entry.key, member, self._now(), idle, counted=counted):
                    claimed.append(event)
                    size += _size(event)
        following = entries[looked_at] if len(entries) > looked_at else None
        return claimed, gone, None if following is None else (following.ms, following.key)


def _forget(rules, entry):
    """Whether an event was held that isn't there any more, and is held no more."""
    found = rules.item(entry.key)
    if found is None or found.ms != entry.ms:
        return False
    rules.forget(entry.key)
    return True


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
