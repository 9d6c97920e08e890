"""store/shared.py: any member gets the next event of a shared group, and has it until it is done."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from store import shared
from store.group import LATER, PARKED, SHARED, Parked
from store.shared import Entry, SharedGroup, SharedState, Table

MS = 1000       # microseconds


def of(count=0, **state):
    """A group that was offered so many events."""
    one = SharedGroup(SHARED, SharedState(**{"next": 0, **state}))
    offer(one, count)
    return one


def offer(one, count):
    if count:
        one.offer_run(one.next, one.next + count, "s")


def take(one, member, count=100, clock=0, got=True, **how):
    items = one.take(member, count, 0.0, clock * MS, **how)
    if got:
        one.got(items, [7 * MS] * len(items))
    return [item.key for item in items]


def held(one, member=None, first=0):
    return [(entry.key, entry.holder, entry.tries) for entry in one.held_since((7, first) if first else (0, 0), member)]


def blocks_of(one):
    """{number: rows} of what was kept of a group, brought up to date."""
    kept = one.__dict__.setdefault("kept", {})
    kept.update(one.changed_blocks())
    return {number: rows for number, rows in kept.items() if rows}


def again(one):
    """The group after a restart."""
    blocks = blocks_of(one)
    found = SharedGroup(SHARED, one.state, one.parked.values(), [
        Entry(key, "s", holder, time, tries, ms)
        for rows in blocks.values() for key, holder, ms, time, tries in rows])
    found.kept = blocks
    return found


def test_each_event_goes_to_the_member_that_asks_next():
    one = of(5)
    assert (take(one, "m", 2), take(one, "n", 1), take(one, "m")) == ([0, 1], [2], [3, 4])
    assert one.held == {"m": 4, "n": 1}
    assert (one.waiting, one.checkpoint, one.pending(7), one.given) == (0, 0, 7, 5)
    assert held(one, "m", first=1) == [(1, "m", 1), (3, "m", 1), (4, "m", 1)]
    assert one.last_held().key == 4


def test_what_is_acknowledged_is_done():
    one = of(3)
    take(one, "m", 2)
    assert one.ack([1, 1, 2, 99]) == 1
    assert (one.checkpoint, one.pending(3), one.acknowledged) == (0, 2, 1)
    assert one.ack([0]) == 1
    assert (one.checkpoint, one.held, one.last_held(), one.item(0)) == (2, {}, None, None)


def test_what_is_acknowledged_as_it_is_given_is_never_held():
    one = of(2)
    assert take(one, "m", acked=True) == [0, 1]
    assert (one.held, one.checkpoint, one.acknowledged, one.last) == ({}, 2, 2, (7, 1))


def test_what_was_given_back_may_be_given_as_done():
    one = of(1)
    take(one, "m")
    one.leave("m")
    assert (take(one, "n", acked=True), one.held, one.waiting, one.checkpoint) == ([0], {}, 0, 1)


def test_what_a_member_has_and_nothing_else_is_given_once_more():
    one = of(2)
    take(one, "m", 1, clock=1), take(one, "n", 1, clock=1)
    one.give_again([0, 1, 9], "m", 5)
    assert [(one.item(key).tries, one.item(key).time) for key in (0, 1)] == [(2, 5), (1, 1)]


def test_what_a_member_did_not_get_is_given_to_the_next():
    one = of(4)
    items = one.take("m", 3, 0.0, 0)
    one.take_back(items[1:])
    assert (one.held, one.given, one.waiting, one.first_new) == ({"m": 1}, 1, 3, 3)
    one.take_back(items[1:])
    assert one.given == 1
    assert take(one, "n", 3) == [1, 2, 3]
    assert held(one, "n") == [(1, "n", 1), (2, "n", 1), (3, "n", 1)]


def test_what_was_acknowledged_unseen_comes_again_if_it_was_not_got():
    one = of(1)
    one.take_back(one.take("m", 1, 0.0, 0, acked=True))
    assert (take(one, "n"), held(one)) == ([0], [(0, "n", 1)])


def test_an_event_that_is_not_read_yet_is_not_listed():
    one = of(2)
    take(one, "m", 1, got=False)
    assert (held(one), one.last_held(), one.held) == ([], None, {"m": 1})


def test_a_member_that_leaves_gives_back_and_one_that_is_dropped_is_done_with_what_it_held():
    one = of(6)
    take(one, "m", 2), take(one, "n", 2), take(one, "m", 2)
    assert (one.leave("m"), one.leave("m"), one.drop("nobody")) == (4, 0, 0)
    assert (sorted(one.members), one.waiting) == (["n"], 4)
    assert one.drop("n") == 2
    assert (one.checkpoint, take(one, "o")) == (0, [0, 1, 4, 5])
    assert one.item(0).tries == 2


def test_a_refused_event_comes_again_or_is_parked(monkeypatch):
    monkeypatch.setattr(shared, "MAX_PARKED", 1)
    one = of(2)
    take(one, "m")
    assert one.refuse(0, "why", False, 0.0, 5) == LATER
    assert one.refuse(0, "why", False, 0.0, 5) is None
    assert one.refuse(9, "why", False, 0.0, 5) is None
    assert take(one, "n") == [0]
    assert one.refuse(0, "x" * 1000, True, 0.0, 5) == PARKED
    assert one.parked == {0: Parked(0, "s", 0, 2, 5, "x" * 500)}
    assert one.refuse(1, "", True, 0.0, 5) == LATER     # no more are parked
    assert one.refused == 3
    assert one.replay([0, 5]) == [0]
    assert (one.parked, take(one, "m")) == ({}, [1, 0])
    one.refuse(1, "", True, 0.0, 5)
    assert (one.discard([1, 2]), one.parked) == ([1], {})


def test_no_more_is_pending_than_may_be(monkeypatch):
    monkeypatch.setattr(shared, "MAX_PENDING", 3)
    monkeypatch.setattr(shared, "WINDOW", 2)
    one = of()
    assert (one.room, one.is_full) == (2, False)
    offer(one, 2)
    assert one.room == 0
    take(one, "m")
    assert one.room == 1
    offer(one, 1)
    take(one, "m")
    assert (one.room, one.is_full) == (0, True)
    assert one.claim(9, "m", 0, new=Entry(9, "s")) is None
    one.ack([1])
    assert (one.room, one.is_full) == (1, False)


def test_there_are_no_more_members_than_may_be(monkeypatch):
    monkeypatch.setattr(shared, "MAX_MEMBERS", 1)
    one = of(1)
    assert (one.meet("m", 1), one.meet("m", 2), one.members["m"].seen) == (True, False, 2)
    with pytest.raises(ValueError, match="a group has 1 members, expected no more"):
        take(one, "n")
    assert take(one, "m") == [0]


def test_it_is_known_when_a_member_asked_and_when_it_got_something():
    one = of(1)
    take(one, "m", clock=5), take(one, "m", clock=9), take(one, "n", clock=7), one.meet("o", 8)
    assert [(name, each.seen, each.active) for name, each in one.members.items()] == [("m", 9, 5), ("o", 8, None)]


def test_how_far_it_is_goes_by_what_is_new_to_all():
    one = of(3, next=10, last=(5, 3))
    assert (one.last, one.entries_read, one.passed) == ((5, 3), None, 10)
    take(one, "m", 2)
    assert (one.last, one.entries_read, one.passed) == ((7, 11), 12, 12)
    one.leave("m")
    take(one, "n", 1)
    assert (one.last, one.entries_read, one.passed) == ((7, 11), 12, 12)
    one.set_to(20, (8, 8), -15)
    assert (one.last, one.entries_read, one.passed) == ((8, 8), 5, 20)
    one.look(21)
    one.look(20)
    offer(one, 1)
    take(one, "n", 2)
    assert (one.entries_read, one.passed) == (7, 22)


def test_a_group_that_is_set_back_gives_again_what_is_held_as_new():
    one = of(3)
    take(one, "m"), one.ack([1])
    one.claim(0, "m", 0)
    one.set_to(0, (0, 0))
    offer(one, 2)
    assert take(one, "n") == [0, 1]
    assert held(one) == [(0, "n", 1), (1, "n", 1), (2, "m", 1)]


def test_a_group_that_is_set_back_leaves_what_is_gone_to_who_has_it():
    one = of(2)
    take(one, "m", 1, clock=5), take(one, "n", 1)
    one.set_to(0, (0, 0))
    offer(one, 2)
    take(one, "n", got=False, clock=9)
    one.drop("m")
    one.forget(0)
    one.forget(1)
    assert held(one) == [(1, "n", 1)]
    one.set_to(1, (0, 0))
    offer(one, 1)
    take(one, "n")
    one.forget(1)
    assert held(one) == []


def test_what_is_given_as_done_and_gone_is_left_to_who_has_it():
    one = of(1)
    take(one, "m")
    one.set_to(0, (0, 0))
    offer(one, 1)
    take(one, "n", got=False, acked=True)
    one.forget(0)
    assert held(one) == [(0, "m", 1)]


def test_an_event_that_is_gone_is_done():
    one = of(2)
    take(one, "m", 1)
    one.leave("m")
    one.forget(0)
    one.forget(0)
    assert (one.given, one.waiting) == (1, 1)
    take(one, "m")
    one.forget(1)
    assert (one.given, one.checkpoint) == (1, 2)


def test_a_claim_takes_an_event_from_its_holder():
    one = of(2)
    take(one, "m", clock=100)
    assert one.claim(0, "n", 150, idle=51) is None
    assert "n" not in one.members
    entry = one.claim(0, "n", 150, idle=50)
    assert (entry.holder, entry.time, entry.tries) == ("n", 150, 2)
    assert one.claim(0, "n", 160, at=90, counted=False).tries == 2
    assert (entry.time, one.held) == (90, {"n": 1, "m": 1})
    assert one.claim(0, "m", 170, tries=9).tries == 9
    assert one.held == {"m": 2}
    assert one.claim(1, "n", 170, counted=False).tries == 1
    assert one.claim(2, "n", 170) is None
    assert one.claim(2, "n", 170, new=Entry(2, "s", ms=7)).tries == 1
    one.leave("n")
    assert one.claim(1, "m", 0, idle=10).holder == "m"        # that waits for anybody


def test_what_is_kept_is_what_it_goes_on_with():
    one = of(4)
    take(one, "m", 2, clock=3), take(one, "n", 1, clock=4)
    one.leave("n"), one.ack([0])
    found = again(one)
    assert not found.changed and found.changed_blocks() == {}
    assert held(found) == [(1, "m", 1)]
    assert (found.next, found.last, found.entries_read, found.members["m"].active) == (3, (7, 2), 3, 3)
    assert take(found, "o") == [2]
    assert found.item(2).tries == 2


def test_what_was_not_read_for_its_member_or_is_of_nobody_is_given_again_after_a_restart():
    one = of(2)
    take(one, "m", 1, got=False), take(one, "m", 1)
    assert take(again(one), "n") == [0]
    entry = Entry(5, "s", "gone", 1, 1, 7)
    assert take(SharedGroup(SHARED, SharedState(9), entries=[entry]), "n") == [5]


def test_a_block_is_kept_when_something_in_it_changed():
    one = of(shared.BLOCK + 1)
    take(one, "m", 1000)
    assert list(one.changed_blocks()) == one.blocks == [0, 1]
    assert one.changed_blocks() == {}
    one.ack([shared.BLOCK])
    blocks = one.changed_blocks()
    assert (blocks, one.blocks) == ({1: []}, [0])
    one.not_kept(blocks)
    assert one.changed and one.changed_blocks() == {1: []}


def test_a_table_gives_its_entries_from_any_id_on():
    table = Table()
    for key in 3, 600, 601, 1100, 1101, 2000:
        table.add(Entry(key, "s", ms=key // 10))
    for since in (0, 0), (0, 4), (60, 0), (60, 601), (61, 0), (110, 0), (110, 1101), (150, 0), (200, 2000), (200, 2001):
        assert [entry.key for entry in table.since_id(*since)] == [
            entry.key for entry in table.since() if (entry.ms, entry.key) >= since]
    table.add(Entry(2001, "s"))         # that was not read yet: it may be of any id
    table.add(Entry(2002, "s", ms=400))
    assert [entry.key for entry in table.since_id(300, 0)] == [2002]


def test_a_table_gives_its_entries_in_order_from_any_key_on():
    table = Table()
    keys = [5, 2000, 3, 600, 601, 1]
    for key in keys:
        table.add(Entry(key, "s"))
    for first in 0, 3, 4, 602, 1999, 2001:
        assert [entry.key for entry in table.since(first)] == sorted(key for key in keys if key >= first)
    assert [entry.key for entry in table.backwards()] == sorted(keys, reverse=True)
    for key in keys:
        table.remove(table.get(key))
    assert (len(table), table.blocks, table.get(5), list(table.since())) == (0, [], None, [])


class Members(RuleBasedStateMachine):
    """Members take, answer, claim and leave, and the group is killed and begins from what was kept: nothing is lost."""

    members = st.sampled_from("mno")
    keys = st.integers(0, 30)

    def __init__(self):
        super().__init__()
        self.group = of()
        self.acked = set()
        self.kept = again(self.group)

    @rule(count=st.integers(1, 5))
    def look(self, count):
        offer(self.group, min(count, self.group.room))

    @rule(member=members, count=st.integers(1, 5), got=st.booleans())
    def take(self, member, count, got):
        items = self.group.take(member, count, 0.0, 0)
        if got:
            self.group.got(items, [7 * MS] * len(items))
        else:
            self.group.take_back(items)

    @rule(keys=st.lists(keys))
    def ack(self, keys):
        done = [key for key in keys if getattr(self.group.item(key), "holder", None) is not None]
        assert self.group.ack(keys) == len(set(done))
        self.acked.update(done)

    @rule(member=members)
    def leave(self, member):
        self.group.leave(member)

    @rule(key=keys, member=members)
    def claim(self, key, member):
        self.group.claim(key, member, 0)

    @rule(key=keys)
    def refuse(self, key):
        self.group.refuse(key, "", False, 0.0, 0)

    @rule()
    def keep(self):
        self.kept = again(self.group)

    @rule()
    def restart(self):
        self.group, self.kept = self.kept, again(self.kept)

    @invariant()
    def nothing_is_passed_over(self):
        for key in range(self.group.first_new):
            assert key in self.acked or self.group.item(key) is not None

    @invariant()
    def counts_are_right(self):
        entries = list(self.group._table.since())
        holders = [entry.holder for entry in entries]
        assert self.group.held == {name: holders.count(name) for name in set(holders) - {None}}
        assert {entry.key for entry in entries if entry.holder is None} == set(self.group._waiting)
        assert len(entries) == len(self.group._table)


Members.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None,
                                     suppress_health_check=list(HealthCheck))


def test_a_shared_group_passes_over_nothing():
    Members.TestCase().runTest()
