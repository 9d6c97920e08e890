"""Events by their tags: reading those that match a query, and what an append may be conditioned on.

    Query    any of its Items ──> Item   one of its names, if it has any, and all of its tags

    every item has a tag   positions by the look-up, one list for each tag and name; where the lists agree,
                           records are picked out of the log
    one has none           the log, from the position on, as it stands

A query without items matches every event.  The lists of one item are gone through
together, each jumping to where the others are: the cost is that of the shortest.
"""

from heapq import merge
from itertools import groupby, islice
from typing import NamedTuple

from . import record
from .append import encoded
from .errors import EventsLost
from .keys import tag_key
from .lookup import Cursor
from .names import check_name

# Bytes of the events of a page, of records that are looked at for one, and of those read at once.
PAGE = 256 * 1024
SCAN = 1 << 20
_STEP = 256 * 1024

# Positions that are taken from the look-up at once.
_SOME = 1000


class Item(NamedTuple):
    """names   of events, any of which; empty: any name
    tags    all of which; empty: any tags
    """

    names: frozenset = frozenset()
    tags: frozenset = frozenset()

    def matches(self, name, tags):
        return (not self.names or name in self.names) and self.tags <= tags


class Query(NamedTuple):
    """See the top of this file."""

    items: tuple = ()

    @classmethod
    def of(cls, items):
        """Of (names, tags) pairs, each of text or bytes.  Raises ValueError."""
        return cls(tuple([_item_of(*item) for item in items]))

    def matches(self, name, tags):
        """Whether an event of this name, with this set of tags, does."""
        return not self.items or any(item.matches(name, tags) for item in self.items)

    @property
    def has_keys(self):
        """Whether the look-up knows all that can match."""
        return bool(self.items) and all(item.tags for item in self.items)

    def hashes(self):
        return {hash_ for item in self.items for name in item.names or (None,)
                for hash_ in _hashes_of(item, name)}


def _item_of(names, tags):
    names, tags = frozenset(map(encoded, names)), frozenset(map(encoded, tags))
    for name in names:
        check_name(name)
    for tag in tags:
        if not tag or b"\0" in tag:
            raise ValueError(f"a tag is at least one byte and none that is zero, found {tag[:60]!r}")
    return Item(names, tags)


class Condition(NamedTuple):
    """An append goes ahead if no event matches.

    after   the position up to which events don't matter, None if all do
    """

    query: Query
    after: int = None


class Matching(NamedTuple):
    """found       [(Record, which of its events), …] in the order of positions
    following   the position to go on from; None if there is nothing further
    """

    found: list
    following: int


class Tagged(NamedTuple):
    """events   in the order of positions
    head     the position up to which it was looked; None if there is no event in the store
    """

    events: list
    head: int


def page(log, query, first, stop, count):
    """Up to `count` events with positions in [first, stop) that match, a page of them at most.

    Raises    EventsLost    those it would have begun with; by their tags only as far as the look-up knows of them,
                            which isn't told of what was lost before it was made
              CorruptSegment, IndexUnusable, StoreClosed
    """
    if first >= stop:
        return Matching([], None)
    look = _by_keys if query.has_keys else _by_reading
    return look(log, query, first, stop, count)


def first_match(log, query, first, stop, shown):
    """The position of the first event in [first, stop) that matches, or None.

    shown    gives (Record, which of its events) as readers get it, or None
    Raises   as `page`
    """
    while first is not None:
        found, first = page(log, query, first, stop, 1)
        for one, i in found:
            if shown(one, i):
                return one.position + i
    return None


# -- by keys ---------------------------------------------------------------------------


def _by_keys(log, query, first, stop, count):
    wanted = min(count, _SOME)
    positions = log.with_lookup(_positions, log.lookup, query, first, stop, wanted)
    if not positions:
        return Matching([], None)
    records = log.records_with(positions, PAGE)
    taken = positions[:len(records)]
    found = [(one, position - one.position) for one, position in zip(records, taken)
             if one.kind != record.CUT and _matches(query, one, position - one.position)]
    return Matching(found, taken[-1] + 1 if len(taken) < len(positions) or len(positions) == wanted else None)


def _positions(lookup, query, first, stop, count):
    """The first `count` positions in [first, stop) of events that seem to match."""
    lists = [_of_tags([Cursor(lookup, hash_) for hash_ in _hashes_of(item, name)], first, stop)
             for item in query.items for name in item.names or (None,)]
    return [position for position, _ in islice(groupby(merge(*lists)), count)]


def _hashes_of(item, name):
    return [tag_key(tag, name) for tag in item.tags]


def _of_tags(cursors, position, stop):
    """Yield the positions in [position, stop) that all cursors have."""
    while position < stop:
        for cursor in cursors:
            at = cursor.first(position)
            if at is None or at >= stop:
                return
            if at > position:
                position = at
                break       # the others are asked again, from there on
        else:
            yield position
            position += 1


# -- by reading ------------------------------------------------------------------------


def _by_reading(log, query, first, stop, count):
    found = []
    size = looked = 0
    while first < stop and looked < SCAN:
        for one in log.records(first, stop, _STEP):
            looked += one.size
            if one.lost:
                if found:
                    return Matching(found, one.position)
                raise EventsLost(log.path_at(one.position), None, max(first, one.position), one.position + one.count)
            for i in range(max(0, first - one.position), min(one.count, stop - one.position)):
                if one.kind == record.CUT or not _matches(query, one, i):
                    continue
                if len(found) == count or size >= PAGE:
                    return Matching(found, one.position + i)
                found.append((one, i))
                size += one.size // one.count
            first = max(first, one.position + one.count)
    return Matching(found, first if first < stop else None)


def _matches(query, one, i):
    _, name, _ = record.split_frame(bytes(one.frames(i, i + 1)))
    return query.matches(name, frozenset(record.split_tags(one.details()[i][2])))
