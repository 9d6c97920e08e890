"""The checker of histories: a good one passes, and each way to break a promise is found."""

import math

import pytest
from faults.history import ACKNOWLEDGED, ALL, REFUSED, UNKNOWN, Answer, History, Publish, Seen, View, complaints

A, B = "orders", "paid"


class Told:
    """A good history of six events, to be spoiled: what was sent at 10, 20 … was answered 5 later.

    The third publish was refused, the last one's fate is unknown and it isn't there.
    """

    def __init__(self):
        self.history = History()
        sent = [(A, b"0"), (B, b"1"), (A, b"full"), (A, b"2"), (A, b"3"), (B, b"4"), (A, b"5"), (A, b"cut")]
        for i, (stream, data) in enumerate(sent):
            fate = {b"full": REFUSED, b"cut": UNKNOWN}.get(data, ACKNOWLEDGED)
            answered = math.inf if fate == UNKNOWN else 10 * i + 5
            self.history.publishes.append(Publish(i // 4, stream, data, 10 * i, answered, fate))
        there = [(A, 0, b"0"), (B, 0, b"1"), (A, 1, b"2"), (A, 2, b"3"), (B, 1, b"4"), (A, 3, b"5")]
        self.history.order = [Seen(stream, number, position, data)
                              for position, (stream, number, data) in enumerate(there)]
        self.sort_streams()
        self.add_view(ALL, 0, self.history.order)
        self.add_view(A, 1, self.history.streams[A][1:])
        self.add_view(B, None, self.history.streams[B][1:]).asked = 20
        self.history.views[-1].begun = 30
        self.history.answers = [Answer(A, -2, -1, -1), Answer(A, 6, 7, 0), Answer(ALL, 56, 59, 4), Answer(A, 70, 80, 3)]

    def sort_streams(self):
        self.history.streams = {name: [one for one in self.history.order if one.stream == name] for name in (A, B)}

    def add_view(self, selector, first, seen, to_the_end=True):
        view = View(selector, first)
        view.seen = [one._replace(at=200 + i) for i, one in enumerate(seen)]
        view.to_the_end = to_the_end
        self.history.views.append(view)
        return view

    def store(self, *there):
        """Let what is there be this, and every view see all of it."""
        self.history.order, numbers = [], {}
        for position, (stream, data) in enumerate(there):
            number = numbers[stream] = numbers.get(stream, -1) + 1
            self.history.order.append(Seen(stream, number, position, data))
        self.sort_streams()
        self.history.views.clear()
        self.history.answers.clear()
        self.add_view(ALL, 0, self.history.order)

    def lose_answers(self):
        """No client was told what became of anything, but for what was refused."""
        self.history.publishes = [one if one.fate == REFUSED else one._replace(fate=UNKNOWN, answered=math.inf)
                                  for one in self.history.publishes]

    def promises_broken(self):
        return {one.promise for one in complaints(self.history)}


@pytest.fixture
def told():
    return Told()


def test_a_history_without_fault_has_no_complaint(told):
    told.history.check()


def test_an_event_of_unknown_fate_may_be_there_as_well(told):
    told.history.order.append(Seen(A, 4, 6, b"cut"))
    told.sort_streams()
    for view in told.history.views[:2]:
        view.seen.append(Seen(A, 4, 6, b"cut", 300))
    told.history.check()


def test_nothing_recorded_is_no_contradiction():
    History().check()


GOOD = [(A, b"0"), (B, b"1"), (A, b"2"), (A, b"3"), (B, b"4"), (A, b"5")]


@pytest.mark.parametrize("there, promise, what", [
    (GOOD[:-1], "fate", "is lost: b'5'"),
    (GOOD[:2] + GOOD[3:], "fate", "is lost: b'2'"),
    (GOOD + [GOOD[2]], "fate", "there twice: b'2'"),
    (GOOD + [(B, b"cut")], "fate", "never published: b'cut'"),
    (GOOD + [(A, b"phantom")], "fate", "never published: b'phantom'"),
    (GOOD + [(A, b"full")], "fate", "though it was refused"),
    ([GOOD[1], GOOD[0], *GOOD[2:]], "connection", "sent after position 1"),
    ([*GOOD[:2], GOOD[3], GOOD[2], *GOOD[4:]], "time", "had been acknowledged"),
], ids=["lost at the end", "lost inside", "doubled", "misfiled", "phantom", "refused", "reordered", "against time"])
def test_what_is_there_must_be_what_was_promised(told, there, promise, what):
    told.store(*there)
    found = [one for one in complaints(told.history) if one.promise == promise]
    assert any(what in one.what for one in found), list(complaints(told.history))


def test_what_was_sent_behind_something_that_is_missing_may_not_be_there(told):
    told.lose_answers()
    told.store(*GOOD[:3])
    assert not list(complaints(told.history))
    told.store(GOOD[0], GOOD[2])
    assert told.promises_broken() == {"connection"}


@pytest.mark.parametrize("spoil", [
    lambda history: history.order.pop(1),
    lambda history: history.order.insert(1, history.order[1]),
    lambda history: history.order.__setitem__(2, history.order[2]._replace(number=2)),
    lambda history: history.order.__setitem__(2, history.order[2]._replace(position=3)),
    lambda history: history.streams[A].pop(),
    lambda history: history.streams[A].reverse(),
    lambda history: history.streams.pop(B),
    lambda history: history.streams.__setitem__("new", [Seen("new", 0, 6, b"6")]),
    lambda history: history.streams[A].__setitem__(0, history.streams[A][0]._replace(data=b"other")),
    lambda history: history.streams[A].__setitem__(0, history.streams[A][0]._replace(position=1)),
], ids=["gap", "repeat", "number", "position", "short stream", "turned", "no stream", "more", "bytes", "elsewhere"])
def test_all_streams_together_are_the_streams(told, spoil):
    spoil(told.history)
    assert "order" in told.promises_broken()


@pytest.mark.parametrize("spoil, what", [
    (lambda views: views[0].seen.pop(2), "expected orders:1 at position 2"),
    (lambda views: views[0].seen.insert(2, views[0].seen[1]), "expected orders:1 at position 2"),
    (lambda views: views[0].seen.reverse(), "expected orders:0 at position 0"),
    (lambda views: views[0].seen.append(Seen(A, 4, 6, b"cut", 300)), "expected None at 6"),
    (lambda views: views[0].seen.__setitem__(0, views[0].seen[0]._replace(data=b"other")), "b'other'"),
    (lambda views: views[0].seen.__setitem__(0, views[0].seen[0]._replace(at=-1)), "seen before it was sent"),
    (lambda views: views[0].seen.pop(), "ends at 5, there are 6"),
    (lambda views: views[1].seen.pop(0), "expected orders:1 at position 2"),
    (lambda views: views[1].seen.pop(), "ends at 3, there are 4"),
    (lambda views: views[1].seen.__setitem__(0, views[1].seen[0]._replace(position=7)), "found orders:1 at position 7"),
    (lambda views: views[2].seen.pop(), "lacks paid:1"),
    (lambda views: views[2].seen.insert(0, Seen(B, 0, 1, b"1", 200)), "acknowledged before it was asked for"),
], ids=["gap", "repeat", "reordered", "phantom", "bytes", "too early", "short", "gap of a stream", "short of a stream",
        "elsewhere", "missed when new", "old as new"])
def test_a_view_is_a_run_of_the_order(told, spoil, what):
    spoil(told.history.views)
    [found] = complaints(told.history)
    assert found.promise == "view"
    assert what in found.what


def test_a_view_that_was_left_may_end_anywhere(told):
    told.history.views[0].to_the_end = False
    del told.history.views[0].seen[2:]
    told.history.check()


def test_a_view_of_new_events_that_was_left_before_any_came_says_nothing(told):
    told.history.views[2].seen.clear()
    assert told.promises_broken() == {"view"}
    told.history.views[2].to_the_end = False
    told.history.check()


@pytest.mark.parametrize("answer, what", [
    (Answer(A, 46, 47, 1), "2 was known before"),
    (Answer(ALL, 46, 47, 2), "3 was known before"),
    (Answer(A, 46, 47, 3), "which was sent later"),
    (Answer(A, 90, 91, 4), "there are 4"),
    (Answer("none", 90, 91, 0), "there are 0"),
    (Answer(A, 301, 302, -1), "3 was known before"),
])
def test_an_answer_knows_all_that_was_acknowledged_and_nothing_of_the_future(told, answer, what):
    told.history.answers.append(answer)
    [found] = complaints(told.history)
    assert found.promise == "answer"
    assert what in found.what


def test_an_answer_knows_what_anybody_has_seen(told):
    told.lose_answers()
    del told.history.views[1:]
    told.history.answers = [Answer(B, 203, 210, 0)]
    told.history.check()        # paid:1 was seen at 204
    told.history.answers = [Answer(B, 204.5, 210, 0)]
    assert told.promises_broken() == {"answer"}


def test_no_answer_is_less_than_one_before(told):
    told.lose_answers()
    told.history.answers = [Answer(A, 100, 101, 3), Answer(A, 102, 103, 2)]
    assert told.promises_broken() == {"answer"}
    told.history.answers = [Answer(A, 100, 102, 3), Answer(A, 101, 103, 2)]      # at the same time
    assert not told.promises_broken()


def test_a_complaint_is_shown_with_its_promise(told):
    told.history.views[0].seen.pop()
    with pytest.raises(AssertionError, match=r"contradicts itself\nview: view of \$all, from 0, 5 seen: ends at 5"):
        told.history.check()
