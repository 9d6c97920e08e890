"""store/sharing.py: what members of a group hold, listed, claimed and kept over restarts."""

import errno
import itertools
import json
import zlib

import pytest
from disk import Disk, crash, quick_index
from test_groups import fill, keys, no_keeper

from store import EVERYSEC, NO, GroupExists, NoGroup, Store, StoreFull, groups, shared, sharing
from store.group import SHARED
from store.groups import check_entry
from store.sharing import PendingList

__all__ = ["quick_index", "no_keeper"]


@pytest.fixture
def disk():
    return Disk()


@pytest.fixture
def clock():
    """Microseconds, as the stores say; tests move it."""
    return [1_000_000]


@pytest.fixture
def open_store(tmp_path, disk, clock):
    opened = []

    def start(**more):
        opened.append(Store(tmp_path / "db", **{"files": disk, "sync": NO, "clock": lambda: clock[0], **more}))
        return opened[-1]

    yield start
    for store in opened:
        store.close()


def made(store, count=0, first=0):
    """A shared group of a stream with so many events, and its PendingList."""
    fill(store, "s", count)
    group = store.group_create_shared("g@s", "s", first)
    return group, PendingList(store, group)


def held(pending, **which):
    return [(one.key, one.member, one.tries) for one in pending.held(**which)]


def ids(*keys):
    return [(1000, key) for key in keys]


# -- made -------------------------------------------------------------------------------

def test_a_shared_group_is_made_once_whatever_is_there(open_store):
    store = open_store()
    group, pending = made(store, 3)
    assert store.group("g@s") is group
    assert store.groups_of("s") == [group]
    assert store.groups_of("t") == []
    with pytest.raises(GroupExists):
        store.group_create_shared("g@s", "s", 0)
    store.group_create("native", "s", 0)
    with pytest.raises(GroupExists):
        store.group_create_shared("native", "s", 0)
    with pytest.raises(GroupExists):
        store.group_create("g@s", "s", 0)
    store.group_create("all", "$all", 0)
    assert [one.name for one in store.groups_of("s")] == ["g@s", "native"]
    store.group_delete("native")
    assert store.groups_of("s") == [group]


@pytest.mark.parametrize("selector, names", [("$all", ()), ("s", ["x"])])
def test_a_shared_group_is_of_one_stream_and_all_its_events(open_store, selector, names):
    store = open_store()
    definition = groups.define(selector, 0, SHARED, names) if selector == "s" else None
    with pytest.raises(ValueError, match="a shared group is of one stream, and of all its events"):
        if definition is None:
            store.group_create_shared("g", selector, 0)
        else:
            store._made_groups().create(b"g", definition)


def test_where_it_was_made_to_begin_is_kept_by_a_crash(open_store, disk, tmp_path):
    store = open_store()
    fill(store, "s", 5)
    store.group_create_shared("g", "s", 3, (9, 2), 7)
    crash(store, disk)
    with Store(tmp_path / "db", files=Disk()) as store:
        group = store.group("g")
        assert PendingList(store, group).progress() == ((9, 2), 7, 0)
        assert keys(group.read("m", 9)) == [3, 4]


# -- given and acknowledged --------------------------------------------------------------

def test_members_share_the_events_of_a_stream_one_by_one(open_store):
    store = open_store()
    group, pending = made(store, 5)
    assert (keys(group.read("m", 2)), keys(group.read("n", 1)), keys(group.read("m", 9))) == ([0, 1], [2], [3, 4])
    assert held(pending) == [(0, "m", 1), (1, "m", 1), (2, "n", 1), (3, "m", 1), (4, "m", 1)]
    assert held(pending, since=(1000, 1), until=(1000, 3), member="m") == [(1, "m", 1), (3, "m", 1)]
    assert held(pending, count=2) == [(0, "m", 1), (1, "m", 1)]
    assert (group.ack(0, 2), group.ack(0, 2)) == (2, 0)
    assert pending.counts() == {"m": 3}
    assert [one.key for one in pending.ends()] == [1, 4]
    info = group.info()
    assert (info.checkpoint, info.next, info.lag, info.held, info.members) == (1, 5, 3, 3, {"m": 3})
    group.ack(1, 3, 4)
    assert pending.ends() is None
    assert group.info().rules.shared


def test_what_is_read_as_done_is_never_held(open_store):
    store = open_store()
    group, pending = made(store, 2)
    assert keys(group.read_some("m", 5, acked=True)[0]) == [0, 1]
    assert (held(pending), group.lag, pending.progress().read) == ([], 0, 2)


def test_redacted_events_are_passed_over_and_what_stands_between_is_given(open_store):
    store = open_store()
    for i in range(6):
        store.append("s", "n", b"%d" % i, metadata=b"{}")
    for number in 0, 2, 3, 5:
        store.redact("s", number)
    group, pending = made(store)
    assert keys(group.read("m", 9)) == [1, 4]
    assert (group.lag, pending.progress()) == (2, ((1000, 4), 5, 0))


def test_an_event_that_is_redacted_after_it_was_looked_at_is_not_given(open_store):
    store = open_store()
    group, pending = made(store, 3)
    assert keys(group.read("m", 1)) == [0]
    store.redact("s", 1)
    assert keys(group.read("m", 5)) == [2]
    assert held(pending) == [(0, "m", 1), (2, "m", 1)]


def test_what_was_cut_is_passed_over(open_store):
    store = open_store()
    group, pending = made(store, 5)
    store.truncate("s", 3)
    assert keys(group.read("m", 9)) == [3, 4]


def test_damage_is_passed_over_and_what_was_given_with_it_comes_again(open_store, tmp_path, monkeypatch):
    monkeypatch.setattr(groups, "MOST_AT_ONCE", 1)
    store = open_store()
    group, pending = made(store, 3)
    assert keys(group.read("m", 2)) == [0]
    assert held(pending) == [(0, "m", 1)]
    assert (keys(group.read("n", 1)), group.is_idle) == ([1], False)


def test_a_read_that_nobody_gets_is_given_to_the_next(open_store):
    store = open_store()
    group, pending = made(store, 2)
    group.unread(keys(group.read("m", 2)))
    assert held(pending) == []
    assert [(one.key, one.tries) for one in group.read("n", 2)] == [(0, 1), (1, 1)]


def test_what_is_had_at_once_was_read_lately_and_is_refused_to_nobody(open_store, monkeypatch):
    store = open_store()
    group, pending = made(store, 4)
    assert group.read_at_once("m", 1) is None
    assert keys(group.read("m", 1)) == [0]
    given = [one for portion in group.read_at_once("m", 2) for one in portion.given()]
    assert [(one.key, one.event.data) for one in given] == [(1, b"1"), (2, b"2")]
    monkeypatch.setattr(shared, "MAX_MEMBERS", 1)
    assert group.read_at_once("n", 1) is None       # which a read has words for
    assert keys(group.read("m", 1)) == [3]
    assert group.read_at_once("m", 1) == []
    assert [one.key for one in pending.held()] == [0, 1, 2, 3]
    store.group_delete(group.name)
    assert group.read_at_once("m", 1) is None


def test_what_is_gone_is_not_given_at_once(open_store):
    store = open_store()
    group, pending = made(store, 3)
    assert keys(group.read("m", 1)) == [0]
    store.redact("s", 1)
    assert group.read_at_once("m", 1) is None
    assert keys(group.read("m", 2)) == [2]


def test_a_look_that_a_set_back_overtakes_offers_nothing(open_store, monkeypatch):
    store = open_store()
    group, pending = made(store, 3, first=1)
    usual = store.records

    def records(*arguments, **how):
        monkeypatch.setattr(store, "records", usual)
        pending.set_to(2, (0, 0))
        return usual(*arguments, **how)

    monkeypatch.setattr(store, "records", records)
    assert keys(group.read("m", 9)) == [2]


# -- how far it is -----------------------------------------------------------------------

def test_how_far_it_is_and_what_is_new(open_store, clock):
    store = open_store()
    group, pending = made(store, 4)
    assert pending.progress() == ((0, 0), None, 4)
    clock[0] = 5_000_000
    fill(store, "s", 1)
    group.read("m", 2)
    assert pending.progress() == ((1000, 1), 2, 3)
    group.read("m", 3)
    assert pending.progress() == ((5000, 4), 5, 0)
    pending.set_to(1, (1, 1), 11)
    assert pending.progress() == ((1, 1), 11, 0)
    pending.skip_to(0, (2, 2)), pending.skip_to(1, (1, 0))
    assert pending.progress().last == (1, 1)
    pending.skip_to(4, (3, 3))
    assert pending.progress() == ((3, 3), 14, 0)
    assert keys(group.read("m", 9)) == [4]


def test_where_it_is_set_to_is_kept_by_a_crash(open_store, disk, tmp_path):
    store = open_store()
    group, pending = made(store, 4)
    group.read("m", 4)
    pending.set_to(1, (1, 0))
    crash(store, disk)
    with Store(tmp_path / "db", files=Disk()) as store:
        assert keys(store.group("g@s").read("n", 9)) == [1, 2, 3]


def test_a_group_of_no_stream_yet_may_be_set(open_store):
    store = open_store()
    group = store.group_create_shared("g", "s", 0)
    pending = PendingList(store, group)
    pending.set_to(0, (5, 0), 3)
    assert pending.progress() == ((5, 0), 3, 0)
    fill(store, "s", 2)
    assert keys(group.read("m", 5)) == [0, 1]


# -- members ------------------------------------------------------------------------------

def test_members_are_known_from_their_first_request_on(open_store, clock):
    store = open_store()
    group, pending = made(store, 2)
    group.read("n", 1)
    assert (pending.meet("m"), pending.meet("m")) == (True, False)
    clock[0] += 30_000
    group.read("o", 1)
    group.read("n", 5)
    assert pending.members() == [("m", 0, 30, None), ("n", 1, 0, 30), ("o", 1, 0, 0)]
    assert (pending.drop("o"), pending.drop("o")) == (1, 0)
    assert held(pending) == [(0, "n", 1)]
    assert group.leave("n") == 1
    assert [one.name for one in pending.members()] == ["m"]


def test_a_native_group_is_listed_as_well(open_store):
    store = open_store()
    fill(store, "s", 3)
    group = store.group_create("g", "s", 0, wait=50)
    pending = PendingList(store, group)
    assert (pending.ends(), pending.members()) == (None, [])
    group.read("m", 2)
    first, last = pending.ends()
    assert (first.key, first.ms, first.member, first.tries, last.key) == (0, 1000, "m", 1, 1)
    assert 0 <= first.idle < 10_000
    assert (held(pending, since=(1000, 1)), held(pending, member="n")) == ([(1, "m", 1)], [])
    assert [event.number for _, event in pending.history("m", (1000, 1), 5)] == [1]
    assert pending.members() == [("m", 2, None, None)]


# -- history and claims --------------------------------------------------------------------

def test_a_member_reads_what_it_has_again(open_store, monkeypatch):
    store = open_store()
    group, pending = made(store, 5)
    group.read("m", 3), group.read("n", 1)
    store.redact("s", 1)
    found = pending.history("m", (0, 0), 9)
    assert [(one.key, one.ms, event and event.data) for one, event in found] == [
        (0, 1000, b"0"), (1, 1000, None), (2, 1000, b"2")]
    assert [one.key for one, _ in pending.history("m", (1000, 1), 1)] == [1]
    monkeypatch.setattr(sharing, "MOST_AT_ONCE", 1)
    assert [one.key for one, _ in pending.history("m", (1000, 1), 9)] == [1, 2]
    assert [one.key for one, _ in pending.history("m", (0, 0), 9)] == [0]
    assert list(group.events_of([])) == []
    assert pending.history("o", (0, 0), 9) == []
    assert group.ack_ids([(1000, 0), (999, 2), (1000, 9), (1000, 0)]) == 1
    assert [one.key for one in pending.held()] == [1, 2, 3]


def test_what_another_holds_for_long_enough_is_claimed(open_store, clock):
    store = open_store()
    group, pending = made(store, 5)
    group.read("m", 3)
    clock[0] += 10_000
    assert pending.claim(ids(0, 1), "n", idle=11) == []
    assert [event.number for event in pending.claim(ids(1, 0, 4), "n", idle=10)] == [1, 0]
    assert held(pending) == [(0, "n", 2), (1, "n", 2), (2, "m", 1)]
    assert [event.number for event in pending.claim(ids(4, 99), "n", force=True, counted=False)] == [4]
    assert pending.claim([(7, 4)], "n", force=True) == []
    store.redact("s", 2)
    assert pending.claim([(7, 2)], "n") == []
    assert held(pending, member="m") == [(2, "m", 1)]
    assert pending.claim(ids(2), "n") == []
    assert held(pending, idle=0, member="m") == []
    clock[0] += 5_000
    assert [one.idle for one in pending.held(idle=5)] == [5, 5, 5]
    assert pending.held(idle=6) == []
    pending.claim(ids(0), "n", at=1, tries=7)
    assert (pending.held()[0].tries, pending.held()[0].idle) == (7, 1014)
    assert keys(group.read("o", 9)) == [3, 4]


def test_what_is_held_for_too_long_is_claimed_in_pages(open_store, clock):
    store = open_store()
    group, pending = made(store, 8)
    group.read("m", 8)
    clock[0] += 10_000
    for number in 1, 2:
        store.redact("s", number)
    pending.claim(ids(3), "o")

    def page(first, count, looked_at=10, **more):
        events, gone, following = pending.claim_idle("n", 10, (1000, first), count, looked_at, **more)
        return [event.number for event in events], gone, following and following[1]

    assert page(0, 2, 1) == ([0], [], 1)
    assert page(1, 1) == ([], [(1000, 1)], 2)
    assert page(2, 5, 3) == ([4], [(1000, 2)], 5)
    assert page(5, 1, counted=False) == ([5], [], 6)
    assert page(6, 5) == ([6, 7], [], None)
    assert held(pending) == [(0, "n", 2), (3, "o", 2), (4, "n", 2), (5, "n", 1), (6, "n", 2), (7, "n", 2)]


def test_claims_of_long_events_come_in_smaller_pages_and_miss_what_is_done_meanwhile(open_store, monkeypatch):
    monkeypatch.setattr(sharing, "MOST_AT_ONCE", 1)
    store = open_store()
    group, pending = made(store, 5)
    group.read("m", 5)
    events, _, following = pending.claim_idle("n", 0, (0, 0), 5, 5)
    assert ([event.number for event in events], following) == ([0], (1000, 1))
    usual = group.events_of

    def events_of(items):
        group.ack(1, 2)
        store.redact("s", 2)
        return usual(items)

    monkeypatch.setattr(group, "events_of", events_of)
    events, gone, following = pending.claim_idle("n", 0, (1000, 1), 2, 5)
    assert ([event.number for event in events], gone) == ([3], [])


def test_of_a_deleted_group_nothing_is_said(open_store):
    store = open_store()
    group, pending = made(store, 1)
    group.read("m", 1)
    store.group_delete("g@s")
    for call in (pending.held, pending.counts, pending.ends, pending.members, pending.progress,
                 lambda: pending.history("m", (0, 0), 1), lambda: pending.claim(ids(0), "m")):
        with pytest.raises(NoGroup):
            call()
    store.close()
    assert open_store().groups() == []


# -- kept ------------------------------------------------------------------------------------

def test_what_members_hold_is_theirs_after_a_restart(open_store, clock):
    store = open_store()
    group, pending = made(store, 1100)
    group.read("m", 1050), group.read("n", 20)
    group.ack(*range(512))
    group.refuse(600, "no", park=True)
    pending.claim(ids(601), "n")
    before, progress = pending.held(), pending.progress()
    store.close()
    store = open_store()
    group = store.group("g@s")
    pending = PendingList(store, group)
    assert (pending.held(), pending.progress()) == (before, progress)
    assert [one.key for one in group.parked()] == [600]
    assert keys(group.read("o", 99)) == list(range(1070, 1100))
    group.ack(*range(1100))
    store.close()
    store = open_store()
    assert PendingList(store, store.group("g@s")).held() == []
    assert store.entries(groups.PENDING) == []


@pytest.mark.parametrize("sync", [EVERYSEC, NO])
def test_after_a_kill_what_was_not_acknowledged_is_held_or_given_again(open_store, disk, tmp_path, sync):
    store = open_store(sync=sync)
    group, pending = made(store, 20)
    group.read("m", 4), group.ack(1)
    group.keep()
    store.sync()
    group.ack(0), group.read("n", 8), group.ack(5)
    crash(store, disk)
    with Store(tmp_path / "db", files=Disk()) as store:
        group = store.group("g@s")
        assert held(PendingList(store, group)) == [(0, "m", 1), (2, "m", 1), (3, "m", 1)]
        assert keys(group.read("o", 99)) == list(range(4, 20))


def test_after_a_kill_at_any_write_nothing_is_lost(tmp_path):
    """What a member answered is done or comes again; all else is held or given."""
    for changes in itertools.count(1):
        folder = tmp_path / str(changes)
        disk = Disk()
        store = Store(folder, files=disk, sync=EVERYSEC)
        acked = set()
        over = False
        try:
            group, pending = made(store, 12)
            disk.die_in(changes)
            for _ in range(3):
                given = keys(group.read("m", 3))
                group.ack(*given[:2])
                acked.update(given[:2])
                group.keep()
                store.sync()
            over = not disk.dead
        except Exception as error:
            assert disk.dead, error
        crash(store, disk)
        with Store(folder, files=Disk()) as store:
            group = store.group("g@s")
            there = {one.key for one in PendingList(store, group).held()} | set(keys(group.read("n", 99)))
            assert set(range(12)) - there <= acked
        if over:
            return


def test_blocks_that_find_no_room_are_kept_later(open_store, disk, tmp_path):
    store = open_store()
    group, pending = made(store, 3)
    group.read("m", 3)
    disk.refuse("write", errno.ENOSPC)
    with pytest.raises(StoreFull):
        group.keep()
    group.keep()
    crash(store, disk)
    with Store(tmp_path / "db", files=Disk()) as store:
        assert held(PendingList(store, store.group("g@s"))) == [(0, "m", 1), (1, "m", 1), (2, "m", 1)]


def test_a_member_that_only_asks_writes_nothing(open_store):
    store = open_store()
    group, _ = made(store, 1)
    group.read("m", 1)
    group.keep()
    before = store._log.controls
    group.read("m", 1)
    group.keep()
    assert store._log.controls == before


def test_entries_are_taken_over_by_another_store_with_what_is_held(open_store, tmp_path):
    store = open_store()
    group, _ = made(store, 3)
    group.read("m", 2)
    group.keep()
    entries = [(topic, key, value) for topic in sorted(groups.TOPICS) for key, value in store.entries(topic)]
    for entry in entries:
        check_entry(*entry)
    with Store(tmp_path / "other", files=Disk()) as other:
        fill(other, "s", 3)
        other.take(entries)
        pending = PendingList(other, other.group("g@s"))
        assert held(pending) == [(0, "m", 1), (1, "m", 1)]
        other.group("g@s").ack(0)
        other.take(entries)
        assert held(pending) == [(1, "m", 1)]


def packed(value):
    return zlib.compress(json.dumps(value).encode())


STATE = {"next": 1, "last": [1, 0], "shift": None, "members": [["m", 1, None]], "cut": 0, "lost": 0}
BLOCK_KEY = b"g\0" + bytes(8)


@pytest.mark.parametrize("topic, key, value", [
    (groups.STATES, b"g", packed({**STATE, "next": -1})),
    (groups.STATES, b"g", packed({**STATE, "next": "a"})),
    (groups.STATES, b"g", packed({**STATE, "members": [["m", -1, None]]})),
    (groups.STATES, b"g", packed({**STATE, "members": [["m"]]})),
    (groups.STATES, b"g", packed({"next": 1})),
    (groups.PENDING, BLOCK_KEY, packed([[1], ["m"], [1], [1]])),
    (groups.PENDING, BLOCK_KEY, packed([[1, 2], ["m"], [1], [1], [1]])),
    (groups.PENDING, BLOCK_KEY, packed([[512], ["m"], [1], [1], [1]])),
    (groups.PENDING, BLOCK_KEY, packed([[1], [5], [1], [1], [1]])),
    (groups.PENDING, BLOCK_KEY, packed([[1], ["m"], [1], [-1], [1]])),
    (groups.PENDING, BLOCK_KEY, b"no"),
    (groups.PENDING, b"g", packed([[1], ["m"], [1], [1], [1]])),
])
def test_what_no_group_puts_is_refused(topic, key, value):
    with pytest.raises(ValueError):
        check_entry(topic, key, value)


def test_what_groups_put_is_let_through():
    check_entry(groups.STATES, b"g", packed(STATE))
    check_entry(groups.PENDING, BLOCK_KEY, packed([[1, 2], ["m", None], [1, None], [1, 1], [1, 0]]))
