"""store/group.py: every event is given until it is done, in the order of its stream, whatever members do."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from store import group
from store.group import Group, Parked, Rules, State

RULES = Rules(tries=3, wait=10.0, pause=1.0)


def of(*streams, rules=RULES, state=State(0)):
    """A group that was offered an event of each of these streams; their numbers count up."""
    one = Group(rules, state)
    offer(one, *streams)
    return one


def offer(one, *streams, numbers=None):
    numbers = {} if numbers is None else numbers
    for key, stream in enumerate(streams, one.next):
        number = numbers.get(stream, 0)
        numbers[stream] = number + 1
        one.offer(key, stream, number)


def take(one, member, count=100, now=0.0):
    return [item.key for item in one.take(member, count, now, 7)]


def test_members_share_the_streams_and_each_has_its_own_in_order():
    one = of("a", "b", "a", "b", "c")
    assert take(one, "m", 1) == [0]
    assert take(one, "n", 3) == [1, 3, 4]
    assert take(one, "o") == []
    assert take(one, "m") == [2]
    assert one.held == {"m": 2, "n": 3}


def test_an_event_that_comes_later_goes_to_who_holds_its_stream():
    one = of("a")
    assert take(one, "m") == [0]
    offer(one, "a")
    assert take(one, "n") == []
    assert take(one, "m") == [1]


def test_a_stream_goes_to_another_member_when_all_that_was_given_of_it_is_done():
    one = of("a", "a", "a")
    assert take(one, "m", 2) == [0, 1]
    assert one.ack([1]) == 1
    assert take(one, "n") == []
    assert one.ack([0]) == 1
    assert take(one, "n") == [2]


def test_the_checkpoint_is_before_the_first_event_that_is_not_done():
    one = of("a", "b", "c", "d")
    take(one, "m")
    assert one.ack([1, 3, 3, 99]) == 2
    assert (one.checkpoint, one.pending(6)) == (0, 4)
    assert one.state == State(0, (1, 3))
    one.ack([0])
    assert (one.checkpoint, one.state.done) == (2, (3,))
    one.ack([2])
    assert (one.checkpoint, one.pending(4)) == (4, 0)
    one.look(9)
    one.look(8)
    assert one.checkpoint == 9


def test_an_event_that_nobody_was_given_cannot_be_acknowledged_or_refused():
    one = of("a", "a")
    take(one, "m", 1)
    assert one.ack([1]) == 0
    assert not one.refuse(1, "", False, 0.0, 7)
    assert not one.refuse(9, "", True, 0.0, 7)


def test_a_refused_event_comes_again_after_a_pause_that_doubles_and_is_parked_after_its_last_try():
    one = of("a")
    for now, pause in (0.0, 1.0), (5.0, 2.0):
        assert take(one, "m", now=now) == [0]
        assert one.refuse(0, "why", False, now, 7)
        assert one.due is not None
        assert take(one, "m", now=now + pause - 0.1) == []
        assert take(one, "n", now=now + pause) == [0]
        one.leave("n")
    assert take(one, "m", now=100.0) == [0]
    assert one.refuse(0, "last", False, 100.0, 7)
    assert one.parked == {0: Parked(0, "a", 0, 3, 7, "last")}
    assert one.checkpoint == 1


def test_what_stands_behind_a_refused_event_of_its_stream_comes_again_behind_it():
    one = of("a", "a", "a", "b")
    assert take(one, "m") == [0, 1, 2, 3]
    one.refuse(1, "", False, 0.0, 7)
    assert one.held == {"m": 2}
    assert take(one, "m", now=0.5) == []
    assert one.ack([0]) == 1
    assert take(one, "n", now=1.0) == [1, 2]
    assert one.state.tries == {1: 1}


def test_a_parked_event_lets_its_stream_go_on():
    one = of("a", "a")
    take(one, "m", 1)
    assert one.refuse(0, "x" * 1000, True, 0.0, 7)
    assert len(one.parked[0].reason) == group.MAX_REASON
    assert take(one, "n") == [1]


def test_an_event_without_an_answer_in_time_is_given_to_another_at_once():
    one = of("a", "a")
    assert take(one, "m") == [0, 1]
    assert take(one, "n", now=9.9) == []
    assert take(one, "n", now=10.0) == [0, 1]
    assert one.late == 1
    assert one.ack([0]) == 1        # whoever says so
    assert take(one, "o", now=20.0) == [1]


def test_what_was_given_back_cannot_be_acknowledged_before_it_is_given_again():
    one = of("a", "a")
    take(one, "m")
    one.refuse(0, "", False, 0.0, 7)
    assert one.ack([0, 1]) == 0
    assert take(one, "n", now=1.0) == [0, 1]
    assert one.ack([0, 1]) == 2


def test_an_event_whose_time_is_up_again_and_again_is_parked():
    one = of("a")
    for i in range(3):
        assert take(one, "m", now=10.0 * i) == [0]
    one.expire(30.0, 7)
    assert one.parked[0].reason == "no answer within 10 seconds"


def test_a_member_that_leaves_gives_back_what_it_holds_and_no_try_is_counted():
    one = of("a", "b", "a")
    take(one, "m")
    assert one.leave("m") == 3
    assert one.leave("m") == 0
    assert one.held == {}
    assert take(one, "n") == [0, 2, 1]
    assert one.state.tries == {}


def test_what_a_member_did_not_get_is_taken_back():
    one = of("a", "a", "b")
    items = one.take("m", 9, 0.0, 7)
    one.take_back(items[1:])
    assert one.given == 1
    one.ack([0])
    one.take_back(items[:1])
    assert sorted(take(one, "n")) == [1, 2]


def test_no_more_than_a_window_is_looked_at(monkeypatch):
    monkeypatch.setattr(group, "WINDOW", 3)
    one = of("a", "b", "c")
    assert one.room == 0
    take(one, "m")
    one.ack([1, 2])
    assert one.room == 0
    one.ack([0])
    assert one.room == 3


def test_with_too_many_parked_an_event_stays_in_its_line(monkeypatch):
    monkeypatch.setattr(group, "MAX_PARKED", 1)
    one = of("a", "b")
    take(one, "m")
    for key in 0, 1:
        assert one.refuse(key, "", True, 0.0, 7)
    assert list(one.parked) == [0]
    assert take(one, "m", now=1.0) == [1]


def test_a_replayed_event_is_given_again_with_all_its_tries_and_once():
    one = of("a", "a")
    take(one, "m")
    one.refuse(0, "", True, 0.0, 7)
    assert one.replay([0, 1, 5]) == [0]
    assert one.parked == {}
    assert one.state == State(1, (), {}, ((0, "a", 0),))
    again = Group(RULES, one.state)
    assert take(again, "m") == [0]
    assert take(one, "m") == [0]
    one.ack([0, 1])
    assert one.state == State(2)
    assert one.pending(2) == 0


def test_a_discarded_event_is_forgotten():
    one = of("a")
    take(one, "m")
    one.refuse(0, "", True, 0.0, 7)
    assert one.discard([0, 1]) == [0]
    assert (one.parked, one.replay([0])) == ({}, [])


def test_the_pause_of_a_refused_event_may_end_while_those_before_it_are_held():
    one = of("a", "a")
    take(one, "m")
    one.refuse(1, "", False, 0.0, 7)
    assert take(one, "n", now=2.0) == []
    assert take(one, "m", now=2.0) == [1]


def test_an_event_that_is_gone_before_it_is_given_is_done():
    one = of("a", "a")
    one.forget(0)
    assert (one.checkpoint, one.given, take(one, "m")) == (1, 0, [1])


def test_an_event_that_is_gone_is_done():
    one = of("a", "a")
    take(one, "m")
    one.forget(0)
    one.forget(0)
    assert (one.checkpoint, one.given) == (1, 1)
    assert one.ack([0]) == 0


def test_what_was_done_before_a_restart_is_not_given_again():
    one = of("a", "b", "c", "d")
    take(one, "m")
    one.ack([1, 3])
    one.refuse(2, "", False, 0.0, 7)
    again = Group(RULES, one.state)
    assert not again.changed
    assert again.pending(5) == 3
    offer(again, "a", "b", "c", "d", "e")
    assert take(again, "m") == [0, 2, 4]
    assert again.state.tries == {2: 1}
    again.ack([0, 2, 4])
    assert again.checkpoint == 5


def test_what_was_done_and_is_passed_over_later_is_forgotten():
    one = Group(RULES, State(0, (0, 2, 5)))
    one.offer(0, "a", 0)
    one.look(4)
    assert one.state == State(4, (5,))


def test_what_was_done_and_is_gone_is_not_counted_when_the_look_ends_with_an_event():
    one = Group(Rules(), State(0, done=(1,)))
    for key in 0, 2:
        one.offer(key, "s", key)
    one.look(3)
    assert one.pending(3) == 2


def test_timers_of_events_that_are_done_are_dropped(monkeypatch):
    monkeypatch.setattr(group, "WINDOW", 10)
    one = Group(RULES, State(0))
    for i in range(200):
        one.offer(i, "a", i)
        assert take(one, "m") == [i]
        if i < 199:
            one.ack([i])
    assert len(one._timers) <= 41
    assert take(one, "n", now=10.0) == [199]


class Members(RuleBasedStateMachine):
    """Members of a group take, answer, leave and die; the group is killed, and begins from what was kept."""

    def __init__(self):
        super().__init__()
        self.now = 0.0
        self.log = []           # the stream of each event
        self.numbers = []
        self.acked = set()
        self.given = {}         # key -> the member that was given it last, and hasn't answered
        self.ever = set()
        self.kept = State(0), []
        self.group = Group(RULES, State(0))

    @rule(streams=st.lists(st.sampled_from("abc"), min_size=1, max_size=5))
    def append(self, streams):
        for stream in streams:
            self.numbers.append(self.log.count(stream))
            self.log.append(stream)

    @rule(count=st.integers(1, 6))
    def look(self, count):
        for key in range(self.group.next, min(len(self.log), self.group.next + min(count, self.group.room))):
            if self.log[key] == "c" and key % 2:        # a filter, which the group doesn't see
                self.acked.add(key)
                self.group.look(key + 1)
            else:
                self.group.offer(key, self.log[key], self.numbers[key])

    @rule(member=st.sampled_from("mno"), count=st.integers(1, 4))
    def take(self, member, count):
        for item in self.group.take(member, count, self.now, 7):
            self.given[item.key] = member
            self.ever.add(item.key)
            assert item.key not in self.group.parked
            replayed = item.key in self.group._again
            for key in range(item.key):
                if self.log[key] == item.stream and not replayed and not self.is_done(key):
                    assert self.given.get(key) == member or key in self.group._again, (key, item.key)

    def is_done(self, key):
        return key in self.acked or key in self.group.parked

    def held(self, data):
        keys = [key for key, item in self.group._items.items() if item.holder is not None]
        return data.draw(st.sampled_from(sorted(keys)))

    @precondition(lambda self: self.group.held)
    @rule(data=st.data())
    def ack(self, data):
        key = self.held(data)
        assert self.group.ack([key]) == 1
        self.acked.add(key)

    @precondition(lambda self: self.group.held)
    @rule(data=st.data(), park=st.booleans())
    def refuse(self, data, park):
        assert self.group.refuse(self.held(data), "why", park, self.now, 7)

    @rule(member=st.sampled_from("mno"))
    def leave(self, member):
        self.group.leave(member)

    @precondition(lambda self: self.group.held)
    @rule(member=st.sampled_from("mno"))
    def read_in_vain(self, member):
        self.group.take_back(self.group.take(member, 3, self.now, 7))

    @rule(seconds=st.sampled_from([0.5, 2.0, 11.0, 100.0]))
    def wait(self, seconds):
        self.now += seconds

    @precondition(lambda self: self.group.parked)
    @rule(data=st.data())
    def replay(self, data):
        key = data.draw(st.sampled_from(sorted(self.group.parked)))
        assert self.group.replay([key]) == [key]
        self.acked.discard(key)

    @rule()
    def keep(self):
        self.kept = self.group.state, list(self.group.parked.values())

    @rule(cleanly=st.booleans())
    def restart(self, cleanly):
        if cleanly:
            self.keep()
        self.group = Group(RULES, *self.kept)
        self.given.clear()

    @invariant()
    def nothing_is_passed_over(self):
        done = {key for key in range(self.group.checkpoint) if key not in self.group._again}
        assert all(self.is_done(key) for key in done)
        for key in range(self.group.checkpoint, self.group.next):
            assert self.is_done(key) or key in self.group._items

    @invariant()
    def the_lines_are_whole(self):
        for stream, line in self.group._lines.items():
            items = list(line.items)
            assert items and all(item.stream == stream and not item.done for item in items)
            assert [item.holder for item in items[:line.held]] == [line.holder] * line.held
            assert not any(item.holder for item in items[line.held:])
            assert (line.holder is None) == (line.held == 0)
        held = sum(line.held for line in self.group._lines.values())
        assert sum(self.group.held.values()) == held
        assert self.group.waiting == sum(len(line.items) for line in self.group._lines.values()) - held

    def teardown(self):
        """Whatever was before: in the end all is done."""
        for _ in range(200):
            self.look(6)
            self.now += 100
            for item in self.group.take("last", 10, self.now, 7):
                self.ever.add(item.key)
                self.group.ack([item.key])
                self.acked.add(item.key)
            if self.group.next == len(self.log) and not self.group._items:
                break
        assert self.group.checkpoint == len(self.log)
        assert self.group.state.done == ()
        for key, stream in enumerate(self.log):
            assert self.is_done(key)
            assert key in self.ever or stream == "c" and key % 2


Members.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None,
                                     suppress_health_check=list(HealthCheck))


def test_a_group_gives_every_event_in_order_until_it_is_done():
    Members.TestCase().runTest()


@pytest.mark.parametrize("limit", [4])
def test_the_same_with_a_window_that_is_always_full(monkeypatch, limit):
    monkeypatch.setattr(group, "WINDOW", limit)
    Members.TestCase().runTest()
