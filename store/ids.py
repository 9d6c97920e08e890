"""Events that came before: the same id in the same stream again isn't stored again.

    Appends ──> Known ──> look-up, log            before the append lock
                  |
                  '──> recall: place or conflict  under it

What is known is read before the append lock is taken, for it may take a look at the
disk.  Under the lock it is only asked whether an event with the same key was written
meanwhile; then the look is repeated.  The appends of one batch know of each other.
"""

from typing import NamedTuple

from .errors import EventsLost, IdConflict
from .record import CUT, is_redacted, join_tags, split_tags

# Where in an event of an Append its stream, id and tags are, and what has to be the same when it comes again.
_STREAM, _ID, _TAGS, _CONTENT = 0, 4, 6, slice(2, 6)


class First(NamedTuple):
    """An event as it was stored.

    event   as Append has it
    gone    only its stream and id are known any more
    """

    number: int
    position: int
    event: tuple
    gone: bool = False

    def is_same(self, event):
        if self.event[_STREAM] != event[_STREAM]:
            return False
        if self.gone:
            return True
        return self.event[_CONTENT] == event[_CONTENT] and _are_same_tags(self.event[_TAGS], event[_TAGS])


def _are_same_tags(some, others):
    """Whether these tags, joined, are the same, in any order: who keeps them in a set has them in another each time."""
    return some == others or sorted(split_tags(some)) == sorted(split_tags(others))


class Known:
    """What is known of the events of some appends, those of them that have an id, before they are stored.

    keyed       [(Append or Singles, its `keys`), …]
    retention   says which of them aren't shown any more
    Raises    CorruptSegment, IndexUnusable, CannotRead, StoreClosed
    """

    def __init__(self, log, keyed, retention):
        self._log = log
        self._retention = retention
        with log.lock:
            self._added, self._position = log.lookup.added, log.next_position
        self._firsts = {}       # (stream, id) or position -> First
        self._hashes = {hash_ for append, keys in keyed for hash_ in append.id_hashes(keys)}
        self._look_up()
        for append, _ in keyed if self._firsts else ():
            if append.whole:
                self._look_between(append)

    def _look_up(self):
        for positions in self._log.look_up(self._hashes).values() if self._hashes else ():
            for position in positions:
                first = self._read(position)
                if first is not None and first.event[_ID]:
                    self._firsts.setdefault((first.event[_STREAM], first.event[_ID]), first)

    def _read(self, position):
        """The First at a position, None if there is nothing left of it, or its stream was deleted since."""
        one = self._record_at(position)
        if one is None:
            return None
        first = _first_of_stub(one, position) if one.kind == CUT else self._first_of(one, position)
        if first is None or first.number < self._retention.forgotten(first.event[_STREAM]):
            return None
        return first

    def _record_at(self, position):
        """The Record of an event, of a cut what it left, or the cut; None if it is lost."""
        try:
            [one] = self._log.records_with([position], 1)
        except EventsLost:
            return None
        return one

    def _first_of(self, one, position):
        i = position - one.position
        [event] = one.events(i, i + 1)
        name = event.stream.encode()
        gone = is_redacted(event) or not self._retention.shows(name, event.number)
        return First(event.number, position, (name, None, event.name.encode(), event.data, event.id, event.metadata,
                                               join_tags(event.tags)), gone)

    def _look_between(self, append):
        """If an append came before, read those of its events that have no id."""
        begin = self._begin_of(append)
        if begin is None:
            return
        for i, event in enumerate(append.events):
            position = begin + i
            if not event[_ID] and 0 <= position < self._position:
                first = self._read(position) or self._taken_out(append, i, position)
                if first is not None:
                    self._firsts[position] = first

    def _taken_out(self, append, i, position):
        """The First of an event without an id that was taken out of the log; None if it may be another's.

        Its number is what those of its stream say that have an id, and those that went have to be of its stream.
        """
        stream = append.events[i][_STREAM]
        number = self._number_by_others(append, i)
        one = self._record_at(position) if number is not None else None
        for gone in one.cut_parts()[2] if one is not None and one.kind == CUT else ():
            if gone.stream == stream and gone.number <= number < gone.number + gone.count:
                return First(number, position, (stream, None, None, None, b"", None, b""), gone=True)
        return None

    def _number_by_others(self, append, i):
        """The number of an event of an append that came before, by another of its stream with an id; or None."""
        stream = append.events[i][_STREAM]
        same = [j for j, event in enumerate(append.events) if event[_STREAM] == stream]
        for at, j in enumerate(same):
            first = self._firsts.get((stream, append.events[j][_ID]))
            if first is not None:
                return first.number + same.index(i) - at
        return None

    def _begin_of(self, append):
        """The position of the first of its events, told by one whose id is known; None if none is."""
        for i, event in enumerate(append.events):
            first = self._firsts.get((event[_STREAM], event[_ID]))
            if first is not None:
                return first.position - i
        return None

    @property
    def position(self):
        """The next one when the look began."""
        return self._position

    def is_current(self, hashes=frozenset()):
        """Whether no event came since that would be found now, by an id or one of these hashes; the caller holds
        the append lock."""
        return not self._log.lookup.has_since(self._hashes | hashes, self._added, self._position)

    def recall(self, append):
        """If its ids are known, give an append its places, or the error that they aren't its own; True then."""
        ids = list(ids_of(append))
        if len(set(ids)) < len(ids):
            stream, id_ = next(one for i, one in enumerate(ids) if one in ids[:i])
            append.error = IdConflict(stream.decode(), id_, None, "is there twice in one append")
            return True
        begin = self._begin_of(append)
        if begin is None:
            return False
        firsts = [self._firsts.get((event[_STREAM], event[_ID]) if event[_ID] else begin + i)
                  for i, event in enumerate(append.events)]
        append.error = _conflict(append, firsts)
        if append.error is None:
            append.places = [(first.number, first.position) for first in firsts]
        return True

    def recall_single(self, event):
        """The (number, position) of an append of one event whose id is known, or the error that they aren't its own.

        None if it is new.
        """
        first = self._firsts.get((event[_STREAM], event[_ID]))
        if first is None:
            return None
        if not first.is_same(event):
            return _is_another(event, first)
        return first.number, first.position

    def note_single(self, event, number, position):
        """Know of an event that will be stored in the same write."""
        self._firsts[event[_STREAM], event[_ID]] = First(number, position, event)

    def note(self, append):
        """Know of an append that will be stored in the same write."""
        for event, (number, position) in zip(append.events, append.places):
            self._firsts[(event[_STREAM], event[_ID]) if event[_ID] else position] = First(number, position, event)


def _first_of_stub(cut, position):
    """The First of an event that was taken out, None if it had no id."""
    for gone in cut.cut_parts()[2]:
        for number, its_position, id_ in gone.stubs:
            if its_position == position:
                return First(number, position, (gone.stream, None, None, None, id_, None, b""), gone=True)
    return None


def ids_of(append):
    """Yield (stream, id) of each event that has one."""
    for event in append.events:
        if event[_ID]:
            yield event[_STREAM], event[_ID]


def _conflict(append, firsts):
    """The IdConflict of an append whose events were stored as `firsts`, None if they are the same."""
    for event, first in zip(append.events, firsts):
        if first is not None and event[_ID] and not first.is_same(event):
            return _is_another(event, first)
    for event, first in zip(append.events, firsts):
        if first is None or not first.is_same(event):
            known, its_first = next((one, two) for one, two in zip(append.events, firsts)
                                    if one[_ID] and two is not None)
            return IdConflict(known[_STREAM].decode(), known[_ID], its_first.number,
                              f"is that of event {its_first.number}, which was appended without the others")
    return None


def _is_another(event, first):
    return IdConflict(event[_STREAM].decode(), event[_ID], first.number,
                      f"is that of event {first.number}, which is another")
