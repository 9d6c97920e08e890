"""store/groups.py: groups of a store, what they are given of its log, and how far they are after a restart."""

import errno
import itertools
import shutil
import time

import pytest
from disk import Call, Disk, crash, drop_index, flip, quick_index, records_of, segments, until

from store import (ALWAYS, EVERYSEC, NO, CannotRead, CorruptSegment, GroupExists, NewEvent, NoGroup, Prefix, Store,
                   StoreClosed, StoreFailed, group, groups, record)
from store.repair import repair

__all__ = ["quick_index"]


@pytest.fixture
def disk():
    return Disk()


@pytest.fixture(autouse=True)
def no_keeper(monkeypatch):
    """States are kept when a test says so."""
    monkeypatch.setattr(groups, "INTERVAL", 1000.0)


@pytest.fixture
def open_store(tmp_path, disk):
    opened = []

    def start(**more):
        opened.append(Store(tmp_path / "db", **{"files": disk, "sync": NO, **more}))
        return opened[-1]

    yield start
    for store in opened:
        try:
            store.close()
        except StoreFailed:
            pass


def fill(store, streams, count=1):
    for i in range(count):
        for stream in streams:
            store.append(stream, "n", b"%d" % i)


def keys(given):
    return [one.key for one in given]


# -- making and finding -----------------------------------------------------------------

def test_a_group_is_found_by_its_name_until_it_is_deleted(open_store):
    store = open_store()
    assert store.groups() == []
    made = store.group_create("g", "$all", 0)
    assert store.group("g") is made
    store.group_create("f", Prefix("a"))
    assert [one.name for one in store.groups()] == ["f", "g"]
    store.group_delete("g")
    with pytest.raises(NoGroup, match="there is no group 'g'"):
        store.group("g")
    for call in (lambda: made.read("m"), lambda: made.ack(1), lambda: made.refuse(1), lambda: made.leave("m"),
                 made.info, made.parked, made.replay, lambda: made.discard(1)):
        with pytest.raises(NoGroup):
            call()
    made.keep()
    store.close()
    assert [one.name for one in open_store().groups()] == ["f"]


def test_a_group_is_made_once(open_store):
    store = open_store()
    made = store.group_create("g", "s", 0)
    assert store.group_create("g", "s", None) is made
    with pytest.raises(GroupExists, match="group 'g' is there already, of 's' or with other rules"):
        store.group_create("g", "s", 0, tries=1)
    with pytest.raises(GroupExists):
        store.group_create("g", Prefix("s"), 0)


@pytest.mark.parametrize("name, selector, options, why", [
    ("", "s", {}, "a group's name: event name is empty"),
    ("g", "a:b", {}, "a stream name has no ':'"),
    ("g", "s", {"first": -1}, "the first key is -1, expected 0 or more"),
    ("g", "s", {"tries": 0}, "found 0 tries"),
    ("g", "s", {"wait": 0}, "0 seconds to wait"),
    ("g", "s", {"pause": -1}, "a pause of -1"),
    ("g", "s", {"names": ["a\n"]}, "event name has no CR, LF or NUL"),
])
def test_what_a_group_may_not_be_is_refused(open_store, name, selector, options, why):
    with pytest.raises(ValueError, match=why):
        open_store().group_create(name, selector, **options)


def test_there_are_no_more_groups_than_may_be(open_store, monkeypatch):
    monkeypatch.setattr(groups, "MAX_GROUPS", 1)
    store = open_store()
    store.group_create("g", "s")
    with pytest.raises(ValueError, match="there are 1 groups, expected no more"):
        store.group_create("h", "s")


def test_a_store_without_a_group_has_no_thread_for_them(open_store):
    store = open_store()
    assert store._groups is None
    store.close()
    with pytest.raises(StoreClosed):
        store.groups()


# -- what is given ----------------------------------------------------------------------

def test_members_of_a_group_of_all_share_the_streams(open_store):
    store = open_store()
    fill(store, "ab", 3)
    one = store.group_create("g", "$all", 0)
    first = one.read("m", 3)
    assert [(given.key, given.tries, given.event.stream, given.event.data) for given in first] == [
        (0, 1, "a", b"0"), (2, 1, "a", b"1"), (4, 1, "a", b"2")]
    assert keys(one.read("n", 10)) == [1, 3, 5]
    assert one.read("o", 10) == []
    assert one.info().members == {"m": 3, "n": 3}


def test_a_group_of_a_stream_goes_by_numbers_and_one_of_a_prefix_by_positions(open_store):
    store = open_store()
    fill(store, ["b", "a1", "a2"], 2)
    assert keys(store.group_create("stream", "a1", 1).read("m", 9)) == [1]
    prefix = store.group_create("prefix", Prefix("a"), 0)
    assert sorted(keys(prefix.read("m", 9))) == [1, 2, 4, 5]
    store.append("a3", "n", b"new")
    assert keys(prefix.read("m", 9)) == [6]


@pytest.mark.parametrize("selector, expected", [
    ("s", [0, 2, 3]), (Prefix("s"), [0, 4, 6, 9]), ("$all", [0, 3, 4, 6, 9])])
def test_a_group_is_of_events_called_so_also_after_a_restart(open_store, selector, expected):
    store = open_store()
    for i in range(4):
        store.append_many("s", [("xy"[i % 2] if i < 2 else "x", b"")])
        store.append("t", "z" if i != 1 else "x", b"")
    store.append("t", "y", b"")
    store.append("sa", "x", b"")
    one = store.group_create("g", selector, 0, names=["x", "w", "x"])
    assert one.info().names == ("w", "x")
    given = keys(one.read("m", 2))
    one.ack(*given)
    assert store.group_create("g", selector, 0, names=["x", "w"]) is one
    with pytest.raises(GroupExists):
        store.group_create("g", selector, 0)
    store.close()
    one = open_store().group("g")
    rest = keys(one.read("m", 9))
    assert sorted(given + rest) == expected
    one.ack(*rest)
    assert (one.info().names, one.info().lag, one.read("m")) == (("w", "x"), 0, [])


@pytest.mark.parametrize("selector, expected", [("$all", [2, 3]), ("s", [1]), ("new", [0]), (Prefix("s"), [2])])
def test_a_group_without_a_beginning_begins_now(open_store, selector, expected):
    store = open_store()
    fill(store, ["s", "t"])
    one = store.group_create("g", selector)
    fill(store, ["s", "new"])
    assert keys(one.read("m", 9)) == expected


def test_events_of_packs_are_given_by_stream(open_store):
    store = open_store()
    store.commit(store.write([(b"s%d" % (i % 3), b"n", [b"%d" % i]) for i in range(9)]))
    assert store.records(store.all, 0, 9, 1 << 20)[0].kind == record.PACK
    one = store.group_create("g", Prefix("s1"), 0)
    assert [given.event.data for given in one.read("m", 9)] == [b"1", b"4", b"7"]
    assert sorted(keys(store.group_create("h", "$all", 2).read("m", 9))) == list(range(2, 9))


@pytest.mark.parametrize("together", [False, True])
def test_a_read_gives_so_many_bytes_and_no_more(open_store, monkeypatch, together):
    monkeypatch.setattr(groups, "MOST_AT_ONCE", 1300)       # of frames, which have some 45 beside the data
    store = open_store()
    events = [NewEvent("n", b"x" * 300)] * 20
    for some in [events] if together else [[event] for event in events]:
        store.append_many("s", some)
    one = store.group_create("g", "$all", 0)
    for first in range(0, 20, 4):
        assert keys(one.read("m", 20)) == list(range(first, first + 4))
    assert one.info().held == 20


def test_a_filter_that_matches_nothing_is_gone_over_in_steps_and_remembered(open_store, monkeypatch):
    monkeypatch.setattr(groups, "PAGE", 500)
    store = open_store()
    for i in range(200):
        store.append("s%d" % (i % 7), "n", b"x" * 100)
    one = store.group_create("g", Prefix("t"), 0)
    assert one.read_some("m", 1) == ([], True)
    assert 0 < one.info().next < 200
    assert one.read("m", 1) == []           # its time is up, and it goes on the next time
    while one.info().next < 200:
        one.read("m", 1)
    assert one.info().checkpoint == 200
    store.close()
    assert open_store().group("g").info().checkpoint == 200


def test_no_more_is_looked_at_than_a_window(open_store, monkeypatch):
    monkeypatch.setattr(group, "WINDOW", 5)
    store = open_store()
    store.append_many("s", [("n", b"%d" % i) for i in range(12)])
    one = store.group_create("g", "s", 0)
    assert keys(one.read("m", 100)) == [0, 1, 2, 3, 4]
    assert one.read("m", 100) == []
    one.ack(1, 2, 3, 4)
    assert one.read("m", 100) == []
    one.ack(0)
    assert keys(one.read("m", 100)) == [5, 6, 7, 8, 9]


def test_a_count_is_at_least_one(open_store):
    with pytest.raises(ValueError, match="count is 0, expected 1 or more"):
        open_store().group_create("g", "s").read("m", 0)


# -- waiting ----------------------------------------------------------------------------

@pytest.mark.parametrize("selector", ["$all", "s", Prefix("s")])
def test_a_read_waits_for_an_event(open_store, selector):
    store = open_store()
    one = store.group_create("g", selector, 0)
    call = Call(one.read, "m", 1, None)
    until(lambda: store._attended)
    store.append("s", "n", b"one")
    assert keys(call.result()) == [0]


def test_a_read_that_waits_looks_at_all_of_the_log(open_store, monkeypatch):
    monkeypatch.setattr(groups, "PAGE", 300)
    monkeypatch.setattr(groups, "STEPS", 2)
    store = open_store()
    for i in range(50):
        store.append("s%d" % i, "n", b"x" * 100)
    store.append("t", "n", b"")
    assert keys(store.group_create("g", Prefix("t"), 0).read("m", 1, None)) == [50]


def test_a_read_that_waits_does_not_wait_while_there_is_more_to_look_at(open_store, monkeypatch):
    one = open_store().group_create("g", "s", 0)
    answers = [([], True), (["given"], True)]
    monkeypatch.setattr(one, "read_some", lambda member, count: answers.pop(0))
    assert one.read("m", 1, None) == ["given"]


def test_a_change_between_a_look_and_the_wait_is_not_missed(open_store, monkeypatch):
    one = open_store().group_create("g", "s", 0)
    answers = [([], False), (["given"], True)]

    def read_some(*arguments):
        one.changed()
        return answers.pop(0)

    monkeypatch.setattr(one, "read_some", read_some)
    assert one.read("m", 1, None) == ["given"]


def test_a_read_that_waits_gives_up_when_its_time_is_over(open_store):
    one = open_store().group_create("g", "s", 0)
    began = time.monotonic()
    assert one.read("m", 1, 0.05) == []
    assert time.monotonic() - began >= 0.05


def test_a_read_waits_for_what_another_gives_back(open_store):
    store = open_store()
    fill(store, "s")
    one = store.group_create("g", "s", 0, pause=0)
    one.read("n")
    for give_back in (lambda: one.leave("n"), lambda: one.refuse(0)):
        call = Call(one.read, "n", 1, None)
        until(lambda: store._attended)
        give_back()
        call.result()


def test_a_read_waits_for_the_next_try(open_store):
    store = open_store()
    fill(store, "s")
    one = store.group_create("g", "s", 0, pause=0.05)
    one.read("m")
    one.refuse(0)
    [given] = one.read("m", 1, None)
    assert given.tries == 2


def test_a_read_that_waits_ends_with_the_store(open_store):
    store = open_store()
    one = store.group_create("g", "s", 0)
    call = Call(one.read, "m", 1, None)
    until(lambda: store._attended)
    store.close()
    with pytest.raises(StoreClosed):
        call.result()


def test_one_page_is_read_by_one_member_while_others_wait_for_it(open_store, monkeypatch):
    store = open_store()
    fill(store, "ab")
    one = store.group_create("g", "$all", 0)
    usual, calls = store.records, []

    def records(*arguments, **how):
        if not calls:
            calls.append(1)
            assert one.read_some("n", 1) == ([], False)
        return usual(*arguments, **how)

    monkeypatch.setattr(store, "records", records)
    assert keys(one.read("m", 1)) == [0]


# -- answers ----------------------------------------------------------------------------

def test_a_refused_event_is_given_again_and_parked_after_its_last_try(open_store):
    store = open_store()
    fill(store, "s", 2)
    one = store.group_create("g", "s", 0, tries=2, pause=0)
    for tries in 1, 2:
        [given] = one.read("m")
        assert (given.key, given.tries) == (0, tries)
        assert one.refuse(0, "no such order") == ("later", "parked")[tries - 1]
    assert one.refuse(0) is None
    [parked] = one.parked()
    assert (parked.key, parked.stream, parked.tries, parked.reason) == (0, "s", 2, "no such order")
    assert keys(one.read("m")) == [1]
    assert one.parked(1) == []
    info = one.info()
    assert (info.parked, info.checkpoint, info.lag, info.refused) == (1, 1, 1, 2)


def test_parked_events_are_replayed_and_discarded_for_good(open_store, disk):
    store = open_store()
    fill(store, "abc")
    one = store.group_create("g", "$all", 0)
    for given in one.read("m", 3):
        one.refuse(given.key, park=True)
    assert one.replay(1) == 1
    assert one.discard(0, 9) == 1
    crash(store, disk)
    store = open_store(files=Disk())
    one = store.group("g")
    assert [parked.key for parked in one.parked()] == [2]
    assert keys(one.read("m", 9)) == [1]
    assert one.replay() == 1
    assert keys(one.read("m", 9)) == [2]
    one.ack(1, 2)
    assert (one.info().lag, one.parked()) == (0, [])


def test_what_a_member_did_not_get_is_given_to_another(open_store):
    store = open_store()
    fill(store, "s", 3)
    one = store.group_create("g", "s", 0)
    given = one.read("m", 3)
    one.ack(0)
    one.unread(keys(given))
    assert [(again.key, again.tries) for again in one.read("n", 3)] == [(1, 1), (2, 1)]


# -- after a restart --------------------------------------------------------------------

def test_what_was_acknowledged_is_not_given_again_after_a_clean_close(open_store):
    store = open_store()
    fill(store, "ab", 3)
    one = store.group_create("g", "$all", 0, tries=5, wait=2.5, pause=0.5)
    given = keys(one.read("m", 6))
    one.ack(*given[1:4])
    one.refuse(given[5])
    store.close()
    store = open_store()
    one = store.group("g")
    assert one.info().rules == (5, 2.5, 0.5)
    assert one.info().lag == 3
    again = {each.key: each.tries for each in one.read("m", 9)}
    assert again.keys() == {given[0], given[4], given[5]}
    assert again[given[5]] == 2


@pytest.mark.parametrize("sync", [ALWAYS, EVERYSEC, NO])
def test_after_a_kill_what_was_not_kept_is_given_again_and_nothing_is_left_out(open_store, disk, tmp_path, sync):
    store = open_store(sync=sync)
    fill(store, "ab", 10)
    one = store.group_create("g", "$all", 0)
    one.ack(*keys(one.read("m", 4)))
    one.keep()
    store.sync()
    one.ack(*keys(one.read("m", 4)))
    crash(store, disk)
    with Store(tmp_path / "db", files=Disk()) as store:
        again = store.group("g")
        found = again.read("m", 99)
        assert sorted(keys(found)) == [key for key in range(20) if key not in (0, 2, 4, 6)]
        for stream in "ab":
            numbers = [given.event.number for given in found if given.event.stream == stream]
            assert numbers == sorted(numbers)


def test_states_are_kept_while_the_store_is_open_by_a_thread(open_store, monkeypatch, disk, tmp_path):
    monkeypatch.setattr(groups, "INTERVAL", 0.001)
    store = open_store()
    fill(store, "a")
    one = store.group_create("g", "$all", 0)
    one.ack(*keys(one.read("m")))
    until(lambda: store.get(groups.STATES, b"g") is not None and not one._group.changed)
    crash(store, disk)
    with Store(tmp_path / "db", files=Disk()) as store:
        assert store.group("g").info().checkpoint == 1


def test_a_state_that_did_not_change_is_not_kept_again(open_store):
    store = open_store()
    fill(store, "a")
    one = store.group_create("g", "$all", 0)
    one.read("m")
    one.keep()
    before = store._log.controls
    one.keep()
    assert store._log.controls == before


def test_a_state_that_finds_no_room_is_kept_later_and_that_is_said_once(open_store, disk, caplog):
    store = open_store()
    fill(store, "a")
    one = store.group_create("g", "$all", 0)
    one.ack(*keys(one.read("m")))
    disk.refuse("write", errno.ENOSPC, times=2)
    for _ in range(2):
        store._groups._keep_quietly()
    assert [line.getMessage().split(":")[0] for line in caplog.records] == ["how far group g is can't be kept"]
    store._groups._keep_quietly()
    store.close()
    assert open_store().group("g").info().checkpoint == 1


def test_states_of_groups_survive_a_merge_and_a_lost_index(open_store, tmp_path, monkeypatch):
    monkeypatch.setattr("store.log._PAUSE", 0)
    store = open_store(segment_size=4000)
    one = store.group_create("g", "$all", 0)
    for i in range(200):
        store.append("s", "n", b"%d" % i)
        if i % 2 == 0:
            one.ack(*keys(one.read("m", 9)))
            one.keep()
    store.sync()
    until(lambda: len(store._log.index._fresh) == 1)
    store.close()
    for _ in range(2):
        with Store(tmp_path / "db", files=Disk()) as store:
            assert store.group("g").info().checkpoint == 199
        drop_index(tmp_path / "db")


# -- events that are gone ---------------------------------------------------------------

def test_events_that_were_lost_are_counted_and_the_group_goes_on(open_store, tmp_path, caplog):
    store = open_store()
    fill(store, "ab", 5)
    store.group_create("all", "$all", 0)
    store.group_create("one", "a", 0)
    store.close()
    path, = segments(tmp_path / "db")
    byte, damaged = next((byte, one) for byte, one in records_of(path) if one.count and one.position == 4)
    flip(path, byte + damaged.size - 5)
    with Store(tmp_path / "db", files=Disk()) as store:
        one = store.group("all")
        with pytest.raises(CorruptSegment):
            for _ in range(9):
                one.ack(*keys(one.read("m", 1)))
        assert one.info().checkpoint <= 4
    repair(str(tmp_path / "db"))
    with Store(tmp_path / "db", files=Disk()) as store:
        one = store.group("all")
        given = [each for _ in range(9) for each in one.read("m", 9)]
        assert max(keys(given)) == 9 and 4 not in keys(given)
        assert one.info().lost == 1
        one = store.group("one")
        assert keys([each for _ in range(9) for each in one.read("m", 9)]) == [0, 1, 3, 4]
        assert one.info().lost == 1
        one.ack(0, 1, 3, 4)
    assert "goes on behind them" in caplog.text
    with Store(tmp_path / "db", files=Disk()) as store:
        assert store.group("one").info()[3:6] == (5, 5, 0)
        assert store.group("one").info().lost == 1


def test_events_that_the_disk_does_not_give_now_are_given_later(open_store, disk):
    store = open_store()
    fill(store, "a", 3)
    one = store.group_create("g", "$all", 0)
    assert one._look()
    disk.refuse("read", errno.EIO)
    with pytest.raises(CannotRead):
        one.read("m", 3)
    assert one.info().held == 0
    assert [(given.key, given.tries) for given in one.read("m", 3)] == [(0, 1), (1, 1), (2, 1)]


def test_events_that_go_between_a_look_and_a_read_are_counted(open_store, monkeypatch):
    store = open_store()
    fill(store, "a", 4)
    one = store.group_create("g", "$all", 0)
    assert one._look()
    usual = store.records

    def cut(stream, first, stop, limit, **how):
        if first == 0:
            return [record.Passed(None, 0, 1, 0), *usual(stream, 1, stop, limit)]
        return usual(stream, first, stop, limit)

    monkeypatch.setattr(store, "records", cut)
    assert keys(one.read("m", 9)) == [1, 2, 3]
    assert (one.info().cut, one.info().checkpoint) == (1, 1)


def test_events_that_are_lost_between_a_look_and_a_read_are_counted(open_store, monkeypatch):
    store = open_store()
    fill(store, "a", 3)
    one = store.group_create("g", "$all", 0)
    assert one._look()
    usual = store.records

    def lost(stream, first, stop, limit, **how):
        if first < 2:
            raise groups.EventsLost("/db/0.segment", None, first, 2)
        return usual(stream, first, stop, limit)

    monkeypatch.setattr(store, "records", lost)
    assert keys(one.read("m", 9)) == [2]
    assert one.info().lost == 2


def test_events_that_were_cut_before_a_look_are_counted(open_store, monkeypatch):
    store = open_store()
    fill(store, "a", 4)
    one = store.group_create("g", "a", 1)
    monkeypatch.setattr(store, "records", lambda stream, first, stop, limit, **how: [record.Passed(b"a", 0, 4, 0)])
    assert one.read("m", 9) == []
    assert (one.info().cut, one.info().checkpoint) == (3, 4)


def test_events_that_retention_takes_are_counted_before_and_behind_a_look(open_store):
    store = open_store()
    fill(store, "ab", 6)
    made = [store.group_create(name, selector, 0) for name, selector in
            (("all", "$all"), ("one", "a"), ("prefix", Prefix("a")))]
    late = store.group_create("late", "b", 0)
    assert late._look()
    store.truncate("a", 2)
    store.truncate("b", 3)
    store.redact("b", 4)
    store.compact()
    for one, expected in zip(made, ([4, 6, 7, 8, 9, 10, 11], [2, 3, 4, 5], [4, 6, 8, 10])):
        assert sorted(keys(one.read("m", 99))) == expected
        assert one.info().given == len(expected)
    assert [one.info().cut for one in made[:2]] == [5, 2]
    assert [(given.key, given.event.data) for given in late.read("m", 99)] == [(3, b"3"), (4, b""), (5, b"5")]
    assert (late.info().cut, late.info().given) == (3, 3)


def test_a_group_that_was_killed_at_any_point_gives_each_event_that_was_not_acknowledged(tmp_path):
    """The power goes after each change of the disk that a group's work makes."""
    for changes in itertools.count(1):
        folder = tmp_path / "db"
        shutil.rmtree(folder, ignore_errors=True)
        disk = Disk()
        store = Store(folder, files=disk, segment_size=1500)
        acked, parked = set(), set()
        try:
            one = store.group_create("g", "$all", 0)
            fill(store, "abc", 3)
            disk.die_in(changes)
            for _ in range(4):
                given = keys(one.read("m", 3))
                one.ack(*given[1:])
                acked |= set(given[1:])
                parked |= set(given[:1])
                for key in given[:1]:
                    one.refuse(key, park=True)
                one.keep()
                store.append("d", "n", b"more")
            over = not disk.dead
        except StoreFailed:
            over = False
        crash(store, disk)
        with Store(folder, files=Disk()) as store:
            one = store.group("g")
            again = set(keys(one.read("m", 99)))
            listed = {each.key for each in one.parked()}
            every = set(range(store.position))
            assert every - again <= (acked | parked) & every
            assert every - again - acked <= listed
        if over:
            return


def test_the_lag_of_a_group_is_told_without_the_rest(open_store):
    store = open_store()
    for i in range(5):
        store.append("orders", "x", b"%d" % i)
    one = store.group_create("g", "orders", 0)
    assert (one.lag, one.parked_count) == (5, 0)
    given = one.read("m", 2)
    one.ack(given[0].key)
    one.refuse(given[1].key, park=True)
    assert (one.lag, one.parked_count) == (3, 1)
    assert one.lag == one.info().lag
    assert store.group_create("h", "nobody", 0).lag == 0
