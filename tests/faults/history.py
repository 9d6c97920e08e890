"""What clients did and saw at the same time, and whether one order of all events explains it.

    publishers   ──> Publish   when it was sent, when it was answered, and what with
    subscribers  ──> View      what was asked for, and what came
    askers       ──> Answer    of last-event-number
    afterwards   ──> order     `$all`, read once by itself; and each stream, read by itself
                       |
                    check() ──> complaints, none if all is well

It knows neither sockets nor files: tests give it histories made by hand.  A
moment is time.monotonic().  A place is a number in a stream, a position in `$all`.

    order       positions and numbers have no gap; `$all` holds what the streams hold
    fate        acknowledged: there once.  Refused: not there.  Unknown: there once, or not.
                Nothing else is there
    connection  publishes of one are in the order in which they were sent; if one is
                there, those before it are
    time        what was acknowledged before another was sent stands before it
    view        a run of the order, from where it was asked for; and to the end, if it
                was there until then
    answer      all that was acknowledged or seen before the question, nothing that was
                sent after the answer; later questions get no lesser answers
"""

import math
from bisect import bisect_left
from itertools import accumulate, islice
from typing import NamedTuple

ALL = "$all"

# What became of a publish, as far as its client was told.
ACKNOWLEDGED = "acknowledged"
REFUSED = "refused"
UNKNOWN = "unknown"

# Of what breaks one promise a thousand times, so many are shown.
SHOWN = 10


class Publish(NamedTuple):
    """One event that was sent.

    connection   whatever tells connections apart
    data         unlike that of any other event
    answered     when its answer came; math.inf if none did
    fate         ACKNOWLEDGED, REFUSED or UNKNOWN
    """

    connection: object
    stream: str
    data: bytes
    sent: float
    answered: float
    fate: str


class Seen(NamedTuple):
    """An event as a subscriber was told it; `at`: when."""

    stream: str
    number: int
    position: int
    data: bytes
    at: float = math.inf

    def place(self, selector):
        return self.position if selector == ALL else self.number

    def __str__(self):
        return f"{self.stream}:{self.number} at position {self.position}"


class View:
    """One subscription, however many connections it took.

    selector     a stream, or `$all`
    first        the place that was asked for; None for new events only
    asked        when; what was acknowledged before and is new to nobody doesn't belong to it
    begun        when the subscription stood: what was sent later belongs to it
    seen         [Seen, …]
    to_the_end   it was there until everything had been published
    """

    def __init__(self, selector, first, asked=-math.inf):
        self.selector = selector
        self.first = first
        self.asked = asked
        self.begun = math.inf
        self.seen = []
        self.to_the_end = False

    @property
    def next(self):
        """The place of the event that has to come next, None if that isn't known."""
        return self.seen[-1].place(self.selector) + 1 if self.seen else self.first

    def __str__(self):
        first = "new events" if self.first is None else f"from {self.first}"
        return f"view of {self.selector}, {first}, {len(self.seen)} seen"


class Answer(NamedTuple):
    """What last-event-number said; `last` is -1 for no event."""

    stream: str
    asked: float
    answered: float
    last: int


class Complaint(NamedTuple):
    """A promise that was broken, in a word, and how."""

    promise: str
    what: str

    def __str__(self):
        return f"{self.promise}: {self.what}"


class History:
    """Everything that was recorded.

    publishes   in the order in which each connection sent them
    order       [Seen, …] of `$all`
    streams     {name: [Seen, …]}
    """

    def __init__(self):
        self.publishes = []
        self.views = []
        self.answers = []
        self.order = []
        self.streams = {}

    def check(self):
        """Raise AssertionError with the first complaints, if there are any."""
        found = list(islice(complaints(self), SHOWN))
        assert not found, "\n".join(["the history contradicts itself", *map(str, found)])


def complaints(history):
    """Yield a Complaint for each promise that this history breaks."""
    facts = _Facts(history)
    yield from _of_the_order(facts)
    yield from _of_fates(facts)
    yield from _of_connections(facts)
    yield from _of_time(facts)
    for view in history.views:
        yield from _of_a_view(view, facts)
    yield from _of_answers(facts)


class _Facts:
    """A history, looked up in other ways.

    published   {data: Publish}
    positions   {data: position} of what is there
    """

    def __init__(self, history):
        self.history = history
        self.published = {one.data: one for one in history.publishes}
        self.positions = {one.data: one.position for one in history.order}

    def order_of(self, selector):
        return self.history.order if selector == ALL else self.history.streams.get(selector, [])

    def sent(self, one):
        """When an event was sent; what nobody published is complained of elsewhere."""
        publish = self.published.get(one.data)
        return publish.sent if publish else -math.inf

    def acknowledged(self, one):
        """When the answer to an event came, math.inf if none did."""
        publish = self.published.get(one.data)
        return publish.answered if publish and publish.fate == ACKNOWLEDGED else math.inf


def _of_the_order(facts):
    streams = {}
    for position, one in enumerate(facts.history.order):
        numbers = streams.setdefault(one.stream, [])
        if (one.position, one.number) != (position, len(numbers)):
            yield Complaint("order", f"found {one}, expected number {len(numbers)} at position {position}")
            return
        numbers.append(one)
    for stream in sorted(streams.keys() | facts.history.streams.keys()):
        alone, of_all = (list(map(_told, found.get(stream, []))) for found in (facts.history.streams, streams))
        if alone != of_all:
            yield Complaint("order", f"{stream} has {len(alone)} events by itself and {len(of_all)} in {ALL}, "
                            f"alike up to number {_alike(alone, of_all)}")


def _told(one):
    """An event but for when it was told."""
    return one.stream, one.number, one.position, one.data


def _alike(one, other):
    """How many elements two lists have in common from the start."""
    return next((i for i, (a, b) in enumerate(zip(one, other)) if a != b), min(len(one), len(other)))


def _of_fates(facts):
    there = set()
    for one in facts.history.order:
        publish = facts.published.get(one.data)
        if publish is None or publish.stream != one.stream:
            yield Complaint("fate", f"{one} was never published: {one.data[:60]!r}")
        elif publish.fate == REFUSED:
            yield Complaint("fate", f"{one} is there, though it was refused")
        elif one.data in there:
            yield Complaint("fate", f"{one} is there twice: {one.data[:60]!r}")
        there.add(one.data)
    for one in facts.history.publishes:
        if one.fate == ACKNOWLEDGED and one.data not in there:
            yield Complaint("fate", f"an acknowledged event of {one.stream} is lost: {one.data[:60]!r}")


def _of_connections(facts):
    last, missing = {}, {}
    for one in facts.history.publishes:
        position = facts.positions.get(one.data)
        if position is None:
            if one.fate != REFUSED:
                missing.setdefault(one.connection, one)
            continue
        if position < last.get(one.connection, -1):
            yield Complaint("connection", f"position {position} holds what connection {one.connection} sent after "
                            f"position {last[one.connection]}")
        elif one.connection in missing:
            yield Complaint("connection", f"position {position} is there, what connection {one.connection} sent "
                            f"before isn't: {missing[one.connection].data[:60]!r}")
        last[one.connection] = position


def _of_time(facts):
    acknowledged = math.inf     # the earliest answer to anything that stands later
    for one in reversed(facts.history.order):
        if facts.sent(one) > acknowledged:
            yield Complaint("time", f"{one} was sent after an event behind it had been acknowledged")
        acknowledged = min(acknowledged, facts.acknowledged(one))


def _of_a_view(view, facts):
    order = facts.order_of(view.selector)
    start = view.first
    if start is None:
        if not view.seen and not view.to_the_end:
            return      # it was left before anything came
        start = view.seen[0].place(view.selector) if view.seen else len(order)
        yield from _of_a_beginning(view, order, start, facts)
    for place, one in enumerate(view.seen, start):
        expected = order[place] if place < len(order) else None
        if expected is None or _told(one) != _told(expected):
            yield Complaint("view", f"{view}: found {one} ({one.data[:60]!r}), expected {expected} at {place}")
            return
        if one.at < facts.sent(one):
            yield Complaint("view", f"{view}: {one} was seen before it was sent")
            return
    if view.to_the_end and start + len(view.seen) < len(order):
        yield Complaint("view", f"{view}: ends at {start + len(view.seen)}, there are {len(order)}")


def _of_a_beginning(view, order, start, facts):
    """A view of new events lacks what was old when it was asked for, and has what was new once it stood."""
    for one in order[start:]:
        if facts.acknowledged(one) < view.asked:
            yield Complaint("view", f"{view}: {one} was acknowledged before it was asked for")
            return
    for one in order[:start]:
        if facts.sent(one) > view.begun:
            yield Complaint("view", f"{view}: lacks {one}, which was sent when it stood")
            return


def _of_answers(facts):
    by_stream = {}
    for one in facts.history.answers:
        by_stream.setdefault(one.stream, []).append(one)
    for stream, answers in by_stream.items():
        order = facts.order_of(stream)
        known = _Highest((facts.acknowledged(one), place) for place, one in enumerate(order))
        seen = _Highest((one.at, one.place(stream)) for view in facts.history.views for one in view.seen
                        if stream in (ALL, one.stream))
        given = _Highest((one.answered, one.last) for one in answers)
        for one in answers:
            least = max(highest.before(one.asked) for highest in (known, seen, given))
            if one.last < least:
                yield Complaint("answer", f"the last of {stream} was said to be {one.last}, {least} was known before")
            elif one.last >= len(order):
                yield Complaint("answer", f"the last of {stream} was said to be {one.last}, there are {len(order)}")
            elif one.last >= 0 and facts.sent(order[one.last]) > one.answered:
                yield Complaint("answer", f"the last of {stream} was said to be {one.last}, which was sent later")


class _Highest:
    """The highest place of what was known before a moment.

    known   (moment, place) pairs, in any order
    """

    def __init__(self, known):
        known = sorted(known)
        self._moments = [moment for moment, _ in known]
        self._highest = list(accumulate((place for _, place in known), max))

    def before(self, moment):
        """-1 if nothing was."""
        at = bisect_left(self._moments, moment)
        return self._highest[at - 1] if at else -1
