"""store/retention.py: what of a stream readers still see, and what goes on as before."""

import errno
import threading

import pytest
from disk import Disk, crash, drop_index, quick_index, until

from store import (
    ANY,
    EVERYSEC,
    EXISTS,
    NONE,
    Append,
    Appended,
    Change,
    IdConflict,
    NewEvent,
    Prefix,
    Rule,
    Store,
    StoreFailed,
    StoreFull,
    StreamDeleted,
    WrongVersion,
    record,
)
from store.append import Singles
from store.retention import CUTS, FOREVER, REDACTED, Cut

__all__ = ["quick_index"]

SECOND = 1_000_000


class Clock:
    def __init__(self):
        self.now = 1_000 * SECOND

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def disk():
    return Disk()


@pytest.fixture
def opened(tmp_path, disk, clock):
    """Open stores in one folder, which are closed when the test ends."""
    stores = []

    def start(**more):
        stores.append(Store(str(tmp_path / "db"), **{"files": disk, "clock": clock, **more}))
        return stores[-1]

    yield start
    for store in stores:
        try:
            store.close()
        except StoreFailed:
            pass


@pytest.fixture
def store(opened):
    store = opened()
    for i in range(20):
        store.append("ab"[i % 2], "n", b"%d" % i)
    return store


def numbers(store, stream, **more):
    """Those that readers get, by all ways to read a stream."""
    found = [event.number for event in store.read(stream, **more)]
    if not more:
        known = store.find(stream.encode())
        assert store.first_number(stream) == (found[0] if found else known.visible)
        assert [event.number for event in store.read_all(limit=1000) if event.stream == stream] == found
        assert [event.number for event in store.read_all_back(limit=1000) if event.stream == stream] == found[::-1]
        assert [event.number for event in store.read_back(stream)] == found[::-1]
        assert [event.number for event in store.select(Prefix(stream)).events if event.stream == stream] == found
        info = store.info(stream)
        assert (info and info[:3]) == ((found[0], found[-1], len(found)) if found else None)
        for number in range(known.visible):
            some = store.read(stream, number, number + 1)
            assert [event.number for event in some] == [number][:number in found]
    return found


# -- cuts ---------------------------------------------------------------------------------

def test_what_is_below_a_cut_is_gone_at_once_and_the_rest_keeps_its_numbers(store):
    assert store.truncate("a", 7) == 7
    assert numbers(store, "a") == [7, 8, 9]
    assert numbers(store, "b") == list(range(10))
    assert store.append("a", "n", b"next") == Appended(10, 20)
    assert store.last_number("a") == 10 and store.position == 21


def test_a_cut_never_goes_back_and_never_past_the_end(store):
    store.truncate("a", 7)
    assert store.truncate("a", 3) == 7
    assert store.truncate("a", 1000) == 10
    assert numbers(store, "a") == [] and store.stream_names() == ["b"]
    assert store.last_number("a") == 9
    assert store.append("a", "n", b"") == Appended(10, 20)
    assert numbers(store, "a") == [10] and store.stream_names() == ["a", "b"]


def test_reads_go_on_behind_what_is_cut_and_limits_count_what_is_left(store):
    store.truncate("a", 7)
    assert [event.number for event in store.read("a", 2, limit=2)] == [7, 8]
    assert [(event.stream, event.number) for event in store.read_all(limit=3)] == [("b", 0), ("b", 1), ("b", 2)]
    assert [event.position for event in store.read_all(10, 16)] == [11, 13, 14, 15]


@pytest.mark.parametrize("loses_index", [False, True])
@pytest.mark.parametrize("crashes", [False, True])
def test_a_restart_changes_nothing(opened, store, disk, tmp_path, loses_index, crashes):
    store.truncate("a", 7)
    store.delete("b")
    store.redact("a", 8)
    store.retain("a", max_count=2)
    crash(store, disk) if crashes else store.close()
    if loses_index:
        drop_index(tmp_path / "db")
    store = opened(files=Disk())
    assert numbers(store, "a") == [8, 9] and numbers(store, "b") == []
    assert store.read("a", 8, 9)[0].metadata == record.REDACTED
    assert store.retention.rules() == [("a", Rule(2))]


def test_a_stream_that_never_was_can_not_be_cut_deleted_or_redacted(store):
    for change in (lambda: store.truncate("x", 1), lambda: store.delete("x"), lambda: store.redact("x", 0)):
        with pytest.raises(ValueError, match="there is no stream 'x'"):
            change()
    with pytest.raises(ValueError, match="no ':'"):
        store.truncate("x:y", 1)
    assert store.first_number("x") is None and store.find(b"x") is None


def test_a_disk_without_room_leaves_things_as_they_were(store, disk):
    for change in (lambda: store.truncate("a", 5), lambda: store.delete("a"), lambda: store.redact("a", 0),
                   lambda: store.delete("a", forever=True), lambda: store.retain("a", max_count=1)):
        disk.refuse("write", errno.ENOSPC)
        with pytest.raises(StoreFull):
            change()
        assert numbers(store, "a") == list(range(10))
    assert store.append("a", "n", b"").number == 10


# -- rules -------------------------------------------------------------------------------

def test_a_stream_keeps_its_last_events(store):
    store.retain("a", max_count=3)
    assert numbers(store, "a") == [7, 8, 9]
    store.append("a", "n", b"")
    assert numbers(store, "a") == [8, 9, 10]
    assert len(numbers(store, "b")) == 10


def test_a_stream_keeps_what_is_young_enough(store, clock):
    store.retain("a", max_age=10)
    assert len(numbers(store, "a")) == 10
    clock.now += 6 * SECOND
    store.append("a", "n", b"younger")
    clock.now += 6 * SECOND
    assert numbers(store, "a") == [10]
    clock.now += 10 * SECOND
    assert numbers(store, "a") == [] and store.last_number("a") == 10
    clock.now -= 20 * SECOND
    assert numbers(store, "a") == []        # what was gone doesn't come back with a clock that goes back
    assert len(numbers(store, "b")) == 10


def test_an_older_event_behind_a_younger_one_is_not_shown_either(store, clock):
    clock.now += 100 * SECOND
    store.append("a", "n", b"young")
    clock.now -= 50 * SECOND
    store.append("a", "n", b"its clock was wrong")
    clock.now += 60 * SECOND
    store.retain("a", max_age=30)
    assert [event.number for event in store.read("a")] == [10]
    assert store.first_number("a") == 10


def test_a_stream_that_has_a_rule_of_its_own_has_no_other(store):
    store.append("ab", "n", b"")
    store.retain("a", max_count=5)
    store.retain(Prefix("ab"), max_count=1)
    store.retain(Prefix("a"), max_count=2)
    store.retain("$all", max_count=4)
    assert (len(numbers(store, "a")), len(numbers(store, "b")), len(numbers(store, "ab"))) == (5, 4, 1)
    store.append("ab", "n", b"")
    store.append("abc", "n", b"")
    assert numbers(store, "ab") == [1]
    assert store.retention.rules() == [
        (Prefix(""), Rule(4)), (Prefix("a"), Rule(2)), (Prefix("ab"), Rule(1)), ("a", Rule(5))]


def test_what_a_rule_hid_stays_hidden_without_it(store, clock):
    store.retain("a", max_count=3)
    store.retain("b", max_age=10)
    clock.now += 11 * SECOND
    store.retain("a", max_count=8)
    store.retain("b")
    assert numbers(store, "a") == [7, 8, 9] and numbers(store, "b") == []
    assert store.retention.rules() == [("a", Rule(8))]
    store.retain("nobody")


def test_what_a_rule_hid_stays_hidden_under_one_that_comes_before_it(opened):
    store = opened()
    store.append_many("a", [NewEvent("n", b"")] * 10)
    store.retain(Prefix("a"), max_count=3)
    store.retain("a", max_count=8)
    assert numbers(store, "a") == [7, 8, 9]
    store.close()
    assert numbers(opened(), "a") == [7, 8, 9]


@pytest.mark.parametrize("wrong", [{"max_count": 0}, {"max_age": -1}, {"max_age": 1.5}, {"max_count": 1 << 60}])
def test_a_rule_of_nonsense_is_refused(store, wrong):
    with pytest.raises(ValueError, match="expected a number from 1 on"):
        store.retain("a", **wrong)


def test_many_streams_are_settled_in_portions(opened, monkeypatch):
    monkeypatch.setattr("store.retention._PUT", 2)
    store = opened()
    for i in range(10):
        store.append("s%d" % (i % 5), "n", b"")
    store.retain(Prefix("s"), max_count=1)
    store.retain(Prefix("s"))
    assert [numbers(store, f"s{i}") for i in range(5)] == [[1]] * 5
    assert len(store.entries(CUTS)) == 5


def test_a_long_stream_is_looked_at_from_where_it_was_left(opened, clock, monkeypatch):
    monkeypatch.setattr("store.retention._STEP", 100)
    store = opened()
    for _ in range(50):
        store.append("a", "n", b"x" * 30)
        clock.now += SECOND
    store.retain("a", max_age=20)
    assert store.first_number("a") == 30
    looked = []
    runs = store._log.runs
    monkeypatch.setattr(store._log, "runs", lambda *args: (looked.append(args[1]), runs(*args))[1])
    assert store.first_number("a") == 30 and looked == []
    clock.now += 2 * SECOND
    assert store.first_number("a") == 32 and looked == [30, 31, 32]


# -- deletion ------------------------------------------------------------------------------

def test_a_deleted_stream_has_no_event_until_it_has_one_again(store):
    store.snapshot_put("a", 3, b"as of then")
    store.delete("a")
    assert numbers(store, "a") == [] and store.last_number("a") == 9
    assert store.stream_names() == ["b"] and store.snapshot_get("a") is None
    with pytest.raises(WrongVersion, match="found no event"):
        store.append("a", "n", b"", expected=EXISTS)
    assert store.append("a", "n", b"", expected=NONE).number == 10
    with pytest.raises(WrongVersion):
        store.append("a", "n", b"", expected=NONE)
    assert store.append("a", "n", b"", expected=EXISTS).number == 11
    assert numbers(store, "a") == [10, 11]
    assert store.retention.forgotten(b"a") == 10 and store.retention.forgotten(b"b") == 0
    store.delete("a")
    assert store.append("a", "n", b"", expected=11).number == 12


def test_what_is_expected_of_a_deleted_stream_is_compared_event_by_event(store):
    store.delete("a")
    changes = [Change("a", NewEvent("n", b""), NONE), Change("a", NewEvent("n", b""), 10)]
    assert [one.number for one in store.append_all(changes)] == [10, 11]


def test_a_stream_deleted_for_good_takes_nothing_any_more(opened, store):
    store.delete("a", forever=True)
    for _ in range(2):
        for expected in (ANY, NONE, 9):
            with pytest.raises(StreamDeleted, match="'a' was deleted for good; nothing was stored"):
                store.append("a", "n", b"", expected=expected)
        with pytest.raises(StreamDeleted):
            store.append_all([Change("b", NewEvent("n", b"")), Change("a", NewEvent("n", b""))])
        with pytest.raises(StreamDeleted):
            store.truncate("a", 1)
        with pytest.raises(StreamDeleted):
            store.delete("a")
        with pytest.raises(StreamDeleted):
            store.redact("a", 1)
        assert numbers(store, "b")[-1] == store.last_number("b")
        assert (store.read("a"), store.first_number("a"), store.last_number("a")) == ([], FOREVER, 9)
        store.append("b", "n", b"")
        store.close()
        store = opened()


def test_what_was_on_its_way_to_a_stream_when_it_was_deleted_is_not_shown(store):
    batch = store.write([(b"a", b"n", [b"on its way"])])
    store.delete("a", forever=True)
    store.commit(batch)
    assert store.read("a") == [] and store.last_number("a") == 10
    assert all(event.stream == "b" for event in store.read_all())


def test_changes_wait_for_one_another(store, disk):
    gate = disk.hold("write", ".segment")
    first = threading.Thread(target=store.delete, args=("a",))
    first.start()
    gate.wait_for_call()
    second = threading.Thread(target=store.truncate, args=("a", 3))
    second.start()
    gate.open()
    first.join()
    second.join()
    assert store.retention.cut_of(b"a")[:2] == (10, 10)


# -- redaction -----------------------------------------------------------------------------

def test_the_data_of_a_redacted_event_is_gone_and_its_place_is_kept(opened):
    store = opened()
    for i in range(5):
        store.append("a", "n%d" % i, b"secret %d" % i, b"id%d" % i, b"metadata")
    before = store.read("a")
    store.redact("a", 2)
    store.redact("a", 4)
    expected = [event._replace(data=b"", metadata=b'{"redacted":true}') if event.number in (2, 4) else event
                for event in before]
    assert store.read("a") == store.read_all() == expected
    assert [record.is_redacted(event) for event in store.read("a")] == [False, False, True, False, True]
    assert store.retention.is_redacted(b"a", 2) and not store.retention.is_redacted(b"a", 1)
    assert store.frames(store.all, 0, 5, 1000) is None is store.frames(store.find(b"a"), 0, 5, 1000)
    for number in (5, 1000):
        with pytest.raises(ValueError, match=f"has no event {number}"):
            store.redact("a", number)
    store.truncate("a", 1)
    with pytest.raises(ValueError, match="has no event 0"):
        store.redact("a", 0)
    store.retention.forget_redacted([(b"a", 2)])
    assert store.retention.redacted() == {b"a": {4}}
    assert [value for _, value in store.entries(REDACTED)] == [b"1", b""]
    store.retention.forget_redacted([(b"a", 4)])
    assert store.retention.redacted() == {}


def test_of_a_run_of_events_only_those_that_were_redacted_change(opened):
    store = opened()
    store.append_many("a", [NewEvent("n", b"data %d" % i) for i in range(6)])
    for number in (0, 2, 3):
        store.redact("a", number)
    assert [event.data for event in store.read("a")] == [b"", b"data 1", b"", b"", b"data 4", b"data 5"]
    assert [event.number for event in store.read("a")] == list(range(6))
    store.append("b", "n", b"in the way")
    assert store.read("b")[0].data == b"in the way"


def test_an_event_of_a_pack_is_hidden_alone(opened):
    store = opened()
    store.commit(store.write([(b"s%d" % (i % 3), b"n", [b"%d" % i]) for i in range(9)]))
    store.truncate("s0", 2)
    store.redact("s1", 1)
    store.retain("s2", max_count=1)
    assert [(event.stream, event.data) for event in store.read_all()] == [
        ("s1", b"1"), ("s1", b""), ("s0", b"6"), ("s1", b"7"), ("s2", b"8")]


# -- what it costs others --------------------------------------------------------------------

def test_streams_of_which_nothing_is_hidden_are_read_as_ever(store):
    store.truncate("a", 7)
    assert not store.retention.hides(store.find(b"b"), 0) and not store.retention.hides(store.find(b"a"), 7)
    assert store.frames(store.find(b"b"), 0, 10, 1000) is not None
    assert store.retention.hides(store.all, 0) and store.retention.is_hidden_at_once(store.all, 19)
    for _ in range(3):
        store.append("b", "n", b"")
    assert not store.retention.hides(store.all, 20) and not store.retention.is_hidden_at_once(store.all, 20)
    assert store.retention.is_hidden_at_once(store.find(b"a"), 6)
    store.retain("b", max_count=3)
    assert store.retention.hides(store.all, 20) and not store.retention.hides(store.find(b"b"), 12)
    assert store.retention.hides(store.find(b"b"), 2)
    store.retain("b", max_age=3)
    assert store.retention.hides(store.find(b"b"), 12)


def frames_of_all(store, first, stop):
    found = store.frames(store.all, first, stop, 1)
    return found and [found.first, found.stop]


def test_a_replay_of_all_goes_its_short_way_where_nothing_is_that_may_be_hidden(opened, monkeypatch):
    store = opened()
    store.append_many("c", [("n", b"%d" % i) for i in range(5)])
    for i in range(20):
        store.append("ab"[i % 2], "n", b"%d" % i)
    store.append("d", "n", b"5")
    for change in (lambda: store.retain("a", max_age=5), lambda: store.retain("b", max_count=3),
                   lambda: store.retain("b"), lambda: store.truncate("b", 4), lambda: store.redact("b", 8),
                   lambda: store.retain(Prefix("b"), max_count=9)):
        change()
        assert frames_of_all(store, 0, 5) == [0, 5]
        assert frames_of_all(store, 0, 6) is None
    monkeypatch.setattr("store.retention._MOST_SOUGHT", 2)
    store.retain("ca", max_count=9)
    assert frames_of_all(store, 0, 5) is None, "for there are too many to search for"
    store.retain("ca")
    assert frames_of_all(store, 0, 5) == [0, 5]
    store.truncate("d", 1)
    assert frames_of_all(store, 0, 5) is None
    monkeypatch.undo()
    store.retain("$all", max_count=9)
    assert frames_of_all(store, 0, 5) is None


def test_what_is_hidden_is_found_by_the_search_for_it_as_by_a_look_at_each(opened, monkeypatch):
    store = opened()
    for i in range(60):
        store.append(("a", "ab", "b", "ba")[i % 4], "n", b"*5\r\n+event\r\n+a\r\n" if i % 3 else b"%d" % i)
    store.append_many("a", [("n", b"x" * 9000)] * 9)
    store.truncate("ab", 9)
    store.redact("b", 14)
    store.retain("a", max_count=5)
    store.retain(Prefix("ba"), max_count=3)
    found = store.read_all()
    assert store.frames(store.all, 0, 60, 1 << 20) is None
    monkeypatch.setattr(store.retention, "_sought", None)
    assert store.read_all() == found
    assert [(event.stream, event.number) for event in found] == [
        *(("ab" if i % 4 == 1 else "b", i // 4) for i in range(48) if i % 4 == 2 or i % 4 == 1 and i >= 36),
        *((("a", "ab", "b", "ba")[i % 4], i // 4) for i in range(48, 60) if i % 4), *(("a", i) for i in range(19, 24))]


def test_under_a_failed_sync_what_is_cut_stays_cut(opened, disk):
    store = opened(sync=EVERYSEC)
    for i in range(10):
        store.append("a", "n", b"%d" % i)
    store.sync()
    store.retain("a", max_count=3)
    store.sync()
    store.append("a", "n", b"lost")
    disk.refuse("sync", errno.EIO, ".segment")
    with pytest.raises(StoreFailed):
        store.sync()
    assert [event.number for event in store.read("a")] == [7, 8, 9]


def test_lost_events_are_passed_over_when_their_time_is_asked_for(opened, clock):
    store = opened()
    store.append("a", "n", b"")
    clock.now += 100 * SECOND
    store.append("a", "n", b"")
    store.retain("a", max_age=50)
    lost = record.Lost(b"a", 0, 1, 0, 0, 100)
    runs = store._log.runs
    store._log.runs = lambda *args: [lost if one.number == 0 else one for one in runs(*args)]
    assert store.first_number("a") == 1




# -- with ids, and with a chain of digests -----------------------------------------------------

def test_an_id_of_what_was_cut_still_gives_its_number_uncompared(opened):
    store = opened()
    for i in range(4):
        store.append("a", "n", b"%d" % i, id=b"id %d" % i)
    store.truncate("a", 2)
    store.redact("a", 3)
    for _ in range(2):
        assert store.append("a", "other", b"content", id=b"id 1") == (1, 1)
        assert store.append("a", "other", b"content", id=b"id 3") == (3, 3)
        with pytest.raises(IdConflict):
            store.append("a", "other", b"content", id=b"id 2")
        store.compact()


def test_a_stream_that_was_deleted_forgets_its_ids(opened):
    store = opened()
    for i in range(4):
        store.append("a", "n", b"%d" % i, id=b"id %d" % i)
    store.truncate("a", 2)
    store.compact()
    store.delete("a")
    assert store.append("a", "n", b"anew", id=b"id 1").number == 4
    store.compact()
    assert store.append("a", "n", b"anew", id=b"id 2").number == 5
    assert store.append("a", "n", b"anew", id=b"id 1").number == 4


def test_a_chain_of_digests_stands_when_events_are_cut_and_redacted(opened):
    store = opened(hash_chain=True)
    for i in range(10):
        store.append("a", "n", b"%d" % i)
    noted = store.hash_chain.head()
    store.truncate("a", 2)
    store.redact("a", 3)
    for _ in range(2):
        verified = store.hash_chain.verify(noted)
        assert (verified.same, verified.gone) == (7, 3)
        store.compact()


# -- trims, and how long a stream is --------------------------------------------

def test_a_trim_is_seen_at_once_and_never_goes_back(store):
    store.trim("a", 4)
    assert [event.number for event in store.read("a")] == [4, 5, 6, 7, 8, 9]
    store.trim("a", 2)
    store.trim("nobody", 2)
    assert store.bounds(b"a") == (4, 10) and store.find(b"nobody") is None
    store.trim("a", 100)
    assert store.bounds(b"a") == (10, 10)
    assert store.append("a", "n", b"next").number == 10
    store.delete("b", forever=True)
    store.trim("b", FOREVER)
    assert dict(store.entries(CUTS))[b"b"] == Cut(10, 10, True).encode()


def test_a_trim_is_in_the_log_soon_and_at_the_latest_when_the_store_is_closed(store, opened):
    store.trim("a", 4)
    until(lambda: (b"a", Cut(4).encode()) in store.entries(CUTS))
    store.trim("a", 6)
    store.close()
    assert opened().bounds(b"a") == (6, 10)


def test_a_cut_that_does_not_go_further_than_a_trim_puts_that_into_the_log(store, monkeypatch):
    monkeypatch.setattr(store.retention, "keep_trims", lambda: None)
    store.trim("a", 4)
    assert store.entries(CUTS) == []
    assert store.truncate("a", 3) == 4
    assert store.entries(CUTS) == [(b"a", Cut(4).encode())]


def test_a_trim_while_one_is_put_into_the_log_is_put_there_next(store, monkeypatch):
    retention = store.retention
    put = retention._put_many
    later = iter([6])

    def slowly(entries):
        put(entries)
        for number in later:
            store.trim("a", number)

    monkeypatch.setattr(retention, "_put_many", slowly)
    store.trim("a", 4)
    until(lambda: (b"a", Cut(6).encode()) in store.entries(CUTS))


def test_trims_that_the_disk_has_no_room_for_are_put_into_the_log_later(store, disk, caplog):
    disk.refuse("write", errno.ENOSPC)
    store.trim("a", 4)
    until(lambda: "what was trimmed isn't in the log yet" in caplog.text)
    assert store.bounds(b"a") == (4, 10) and store.entries(CUTS) == []
    store.trim("b", 2)
    until(lambda: store.entries(CUTS) == [(b"a", Cut(4).encode()), (b"b", Cut(2).encode())])


def test_trims_wait_for_a_thread_where_the_system_has_none(store, monkeypatch, caplog):
    def refuse(*arguments, **options):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr("store.database.Keeper", refuse)
        store.trim("a", 4)
    assert store.bounds(b"a") == (4, 10) and "isn't in the log yet (can't start new thread)" in caplog.text
    store.trim("b", 2)
    until(lambda: store.entries(CUTS) == [(b"a", Cut(4).encode()), (b"b", Cut(2).encode())])


def test_a_store_that_is_closed_begins_no_thread_for_trims(store):
    store.close()
    store.trim("a", 4)
    assert not store._keeps_trims


def test_the_length_of_a_stream_is_what_readers_see_without_what_was_redacted(store, opened):
    assert [store.length(name) for name in ("a", "b", "nobody")] == [10, 10, 0]
    store.redact_many("a", [2, 5, 9])
    store.redact("a", 5)
    assert store.length("a") == 7
    store.truncate("a", 3)
    assert store.length("a") == 5
    store.compact()
    assert store.length("a") == 5
    store.close()
    again = opened()
    assert again.length("a") == 5
    again.truncate("a", 6)
    assert again.length("a") == 3
    again.delete("a")
    assert again.length("a") == 0
    assert again.entries(REDACTED) == []


def test_of_several_events_none_is_redacted_if_one_is_not_there(store):
    with pytest.raises(ValueError, match="has no event 10"):
        store.redact_many("a", [1, 10])
    assert store.length("a") == 10


def test_events_of_a_store_with_digests_are_redacted_one_by_one(opened):
    store = opened(hash_chain=True)
    store.append_many("a", [NewEvent("n", b"%d" % i) for i in range(4)])
    store.redact_many("a", [1, 3])
    assert [event.data for event in store.read("a")] == [b"0", b"", b"2", b""]
    assert store.length("a") == 2


@pytest.mark.parametrize("missing", [(), (0,), (9,), (3, 4, 5), (2, 4, 6, 8), tuple(range(10)), (7, 8, 9), (0, 1, 2)])
def test_the_last_so_many_events_begin_where_counting_one_by_one_says(store, missing):
    if missing:
        store.redact_many("a", missing)
    for stop in range(11):
        left = [number for number in range(stop) if number not in missing]
        for count in range(12):
            first = store.retention.first_of_last(b"a", count, stop)
            assert [number for number in left if number >= first] == left[len(left) - min(count, len(left)):]
    for first in range(11):
        assert store.retention.first_kept(b"a", first) == next(
            number for number in range(first, 12) if number not in missing)


def test_many_redacted_events_of_a_stream_cost_a_short_record_no_look_at_all_of_them(opened):
    store = opened(sync="no")
    for _ in range(3):
        store.append("a", "n", b"1")
        store.append("b", "n", b"1")
    store.redact_many("a", [0, 2])
    assert [event.data for event in store.read("a")] == [b"", b"1", b""]


# -- the order of times ----------------------------------------------------------

def appended_in_order(store):
    """The time of an entry as Redis's commands append it."""
    class Ascending(Singles):
        ascending = True

    single = Ascending([(b"a", ANY, b"n", b"", b"", b"", b"")])
    batch = store.write([single])
    store.commit(batch)
    [(number, _)] = single.outcomes
    [event] = store.read("a", number, number + 1)
    assert event.time == batch.clock
    return event.time


def test_events_that_are_to_ascend_are_no_older_than_the_latest_when_the_clock_goes_back(opened, clock):
    store = opened()
    before = clock.now
    assert appended_in_order(store) == before
    clock.now -= 5 * SECOND
    assert appended_in_order(store) == before
    store.append("b", "n", b"")
    assert store.read("b")[0].time == before - 5 * SECOND
    store.close()
    again = opened()
    assert appended_in_order(again) == before
    clock.now += 6 * SECOND
    assert appended_in_order(again) == before + SECOND


def test_events_are_no_older_than_the_latest_of_many_that_brought_their_times(opened, clock):
    store = opened()
    ahead = clock.now + 30 * SECOND
    append = Append([(stream, ANY, b"n", b"x" * 20_000, b"", b"", b"") for stream in (b"a", b"b")], [ahead, clock.now])
    store.commit(store.write([append]))
    assert appended_in_order(store) == ahead


def test_events_of_a_clock_that_was_days_ahead_do_not_hold_the_others_back(opened, clock):
    store = opened()
    clock.now += 2 * 86_400 * SECOND
    store.append("a", "n", b"")
    clock.now -= 2 * 86_400 * SECOND
    assert appended_in_order(store) == clock.now


def test_a_batch_of_which_nothing_is_stored_has_no_clock(store):
    append = Append([(b"a", NONE, b"n", b"", b"", b"", b"")])
    assert store.write([append]).clock == 0
