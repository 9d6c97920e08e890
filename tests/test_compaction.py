"""store/compaction.py: what is cut goes from the disk, and nothing else changes; whatever happens meanwhile."""

import errno
import logging
import sqlite3
import threading

import pytest
from disk import Call, Disk, crash, drop_index, flip, quick_index, records_of, segments, until

from store import NO, CannotCompact, Compacted, NewEvent, Prefix, Store, StoreClosed, StoreFailed, StoreFull, log
from store.check import check
from store.repair import repair
from store.segment import MERGING

__all__ = ["quick_index"]

SMALL = 4000        # bytes of a segment


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(log, "_PAUSE", 0)


THE_THREADS_WORK = Store._tidy


@pytest.fixture(autouse=True)
def nobody_compacts_meanwhile(monkeypatch):
    """The thread writes the index; what is cut goes when a test says so."""
    monkeypatch.setattr(Store, "_tidy", lambda self: self._log.tidy())


@pytest.fixture
def disk():
    return Disk()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "db"


@pytest.fixture
def opened(folder, disk):
    stores = []

    def start(**more):
        stores.append(Store(str(folder), **{"files": disk, "sync": NO, "segment_size": SMALL, **more}))
        return stores[-1]

    yield start
    for store in stores:
        try:
            store.close()
        except StoreFailed:
            pass


def fill(store, count=120, streams=("a", "b")):
    for i in range(count):
        store.append(streams[i % len(streams)], "n", b"event %d " % i + b"x" * 60, id=b"id %d" % store.position)


def on_disk(folder):
    return b"".join(path.read_bytes() for path in segments(folder))


def found(store):
    return store.read_all(limit=1000), {name: store.read(name, limit=1000) for name in store.stream_names()}


def compacted(store):
    """Have what is worth it compacted, as the thread does in its time."""
    store.sync()
    store._log.tidy()
    store._compaction.look()
    return [segment.header.generation for segment in store._log._segments]


def tidied(store):
    """Return when its thread has no more to do."""
    store.sync()
    until(lambda: len(store._log.index._fresh) == 1)
    store._compaction.look()


def test_what_is_cut_goes_from_the_disk_and_nothing_else_changes(opened, folder):
    store = opened()
    fill(store)
    store.truncate("a", 30)
    store.delete("b")
    store.append("b", "n", b"begins again")
    before, size = found(store), store.size
    assert b"event 7 " in on_disk(folder) and b"event 58 " in on_disk(folder)
    done = store.compact()
    assert found(store) == before
    assert done.segments > 2 and done.bytes > size // 3
    for gone in (0, 7, 58, 59, 119):
        assert b"event %d " % gone not in on_disk(folder)
    for left in (60, 118):
        assert b"event %d " % left in on_disk(folder)
    assert (store.append("a", "n", b""), store.append("b", "n", b"")) == ((60, 121), (61, 122))


@pytest.mark.parametrize("loses_index", [False, True])
def test_after_a_restart_it_is_the_same(opened, folder, loses_index):
    store = opened()
    fill(store)
    store.truncate("a", 30)
    store.delete("b")
    store.compact()
    before = found(store)
    store.close()
    assert check(str(folder)).problems == []
    if loses_index:
        drop_index(folder)
    store = opened()
    assert found(store) == before
    assert store.compact() == Compacted(0, 0)
    assert store.append("b", "n", b"") == (60, 120)


def test_ids_of_what_was_cut_stay_known_and_those_of_a_deleted_stream_do_not(opened, folder):
    store = opened()
    fill(store)
    store.truncate("a", 60)
    store.delete("b")
    store.compact()
    assert b"id 118" in on_disk_unpacked(folder) and b"id 119" not in on_disk_unpacked(folder)
    stubs = [stub for path in segments(folder) for _, one in records_of(path) if one.kind == 6
             for gone in one.cut_parts()[2] for stub in gone.stubs]
    assert stubs == [(i, 2 * i, b"id %d" % (2 * i)) for i in range(60)]


def on_disk_unpacked(folder):
    return b"".join(one.body for path in segments(folder) for _, one in records_of(path))


@pytest.mark.parametrize("size", [10, 60, 500])
def test_a_cut_that_is_rewritten_stands_where_it_stood(opened, folder, size):
    store = opened(segment_size=1 << 20)
    for step in range(4):
        for i in range(70):
            store.append("ab"[i % 2], "n", b"%d " % i + b"x" * size)
        store.append_many("t", [("n", b"%d" % i, b"" if i % 3 else b"id-%d-%d" % (step, i)) for i in range(140)])
    for first in 3, 150, 300, 301, 500:
        store.truncate("t", first)
        store.truncate("a", first // 20)
        before = [(event.position, event.stream, event.number, event.data) for event in store.read_all(limit=10_000)]
        assert store.compact().segments
        assert store.check().problems == []
        assert [(event.position, event.stream, event.number, event.data)
                for event in store.read_all(limit=10_000)] == before
        assert len(before) == 4 * 210 - first - first // 20


def test_a_time_is_found_though_the_events_at_it_are_gone(opened):
    times = iter(range(1, 100))
    store = opened(clock=lambda: next(times))
    for i in range(8):
        store._clock = store._log._clock = lambda i=i: 10 * i
        store.append("ab"[i % 2], "n", b"%d" % i)
    store.truncate("a", 3)
    store.compact()
    left = [(event.position, event.time) for event in store.read_all()]
    assert left == [(1, 10), (3, 30), (5, 50), (6, 60), (7, 70)]
    for time in range(75):
        first = store.position_at(time)
        assert [one for one in left if one[0] >= first] == [one for one in left if one[1] >= time]
    store.truncate("b", 4)
    store.truncate("a", 4)
    store.compact()
    assert all(store.position_at(time) <= 8 for time in range(75)) and store.read_all() == []


def test_the_time_of_a_redacted_event_counts_where_others_beside_it_are_cut(opened):
    store = opened(segment_size=1 << 20)
    for i in range(70):
        store._clock = store._log._clock = lambda i=i: 10 * i
        store.append("ab"[i % 2], "n", b"%d" % i)
    store._log.seal()
    store._log.tidy()       # which joins them
    store.redact("b", 34)
    store.truncate("a", 3)
    store.compact()
    assert [store.position_at(time) for time in (55, 645, 685, 690, 691)] == [6, 65, 69, 69, 70]


def test_redacted_data_goes_from_the_disk_and_its_entry_when_the_event_is_cut(opened, folder):
    store = opened()
    fill(store)
    store.redact("a", 3)
    store.redact("b", 59)
    before = found(store)
    assert b"event 6 " in on_disk(folder) and b"event 119 " in on_disk(folder)
    assert store.compact().segments == 2
    assert b"event 6 " not in on_disk(folder) and b"event 119 " not in on_disk(folder)
    assert found(store) == before
    assert [value for _, value in store.entries("redacted")] == [b"1"] * 2 and store.retention.redacted() == {}
    assert store.compact() == Compacted(0, 0)
    store.truncate("a", 4)
    assert [value for _, value in store.entries("redacted")] == [b"1"]


def test_without_a_request_a_segment_is_rewritten_when_enough_of_it_is_dead(opened):
    store = opened()
    fill(store)
    assert set(compacted(store)) == {0}
    first = store._log.events_in(0)
    store.truncate("a", first // 2 // 4)
    assert set(compacted(store)) == {0}
    store.truncate("a", first // 2)
    assert compacted(store)[:2] == [1, 0]
    assert compacted(store)[:2] == [1, 0]
    store.redact("b", 5)                        # at once, however small a part it is
    assert compacted(store)[:2] == [2, 0]
    store.delete("b")
    generations = compacted(store)
    assert generations[0] == 3 and set(generations[1:-1]) == {1} and generations[-1] == 0


def test_rules_are_looked_after_too(opened):
    store = opened()
    fill(store)
    store.retain(Prefix("a"), max_count=5)
    store.retain("b", max_count=60)
    before = found(store)
    assert set(compacted(store)[:-1]) == {1}
    assert found(store) == before
    assert store.retention.cut_of(b"a").first == 55 and store.retention.cut_of(b"b").first == 0


def test_the_thread_does_it_when_a_segment_is_sealed(opened, monkeypatch):
    monkeypatch.setattr(Store, "_tidy", THE_THREADS_WORK)
    store = opened()
    store.retain("a", max_count=5)
    fill(store, 200, streams=("a",))
    store.sync()
    until(lambda: store._log._segments[0].header.gone)     # and again, perhaps, as more of it is cut


def test_a_segment_that_was_rewritten_is_rewritten_again(opened, folder):
    store = opened()
    fill(store)
    for number in range(0, 60, 7):
        store.truncate("a", number)
        before = found(store)
        store.compact()
        assert found(store) == before
    store.close()
    assert check(str(folder)).problems == []


@pytest.mark.parametrize("compression", [0, 6])
def test_appends_of_many_events_are_taken_apart(opened, folder, compression):
    store = opened(compression=compression)
    for n in range(4):
        store.append_many("a", [NewEvent("n", b"event " * 40, b"id %d %d" % (n, i), b"m", ("tag",)) for i in range(30)])
        store.commit(store.write([(b"s%d" % (i % 7), b"n", [b"pack %d" % i]) for i in range(50)]))
    store.truncate("a", 45)
    store.truncate("s3", 9)
    store.redact("a", 47)
    before = found(store)
    store.compact()
    assert found(store) == before
    store.close()
    assert check(str(folder)).problems == []
    assert found(opened()) == before


def test_publishes_and_reads_go_on_meanwhile(opened, disk):
    store = opened()
    fill(store)
    store.truncate("a", 30)
    gate = disk.hold("write", MERGING)
    running = Call(store.compact)
    gate.wait_for_call()
    fill(store, 10)
    assert len(store.read("a", limit=1000)) == 35 and len(store.read("b", limit=1000)) == 65
    gate.open()
    assert running.result().segments > 1


def test_a_second_one_waits_for_the_first(opened, disk):
    store = opened()
    fill(store)
    store.truncate("a", 30)
    gate = disk.hold("write", MERGING)
    first = Call(store.compact)
    gate.wait_for_call()
    second = Call(store.compact)
    gate.open()
    assert first.result().segments + second.result().segments > 1


def test_a_close_ends_it(opened, disk, folder, monkeypatch):
    store = opened()
    fill(store)
    store.truncate("a", 60)
    paused = threading.Event()
    wait = store._log._closing.wait
    monkeypatch.setattr(store._log._closing, "wait", lambda seconds: (paused.set(), wait(10))[1])
    running = Call(store.compact)
    assert paused.wait(10)
    store.close()
    with pytest.raises(StoreClosed):
        running.result()
    with pytest.raises(StoreClosed):
        store.compact()
    assert not list(folder.glob("*" + MERGING))
    store = opened()
    assert len(store.read("b", limit=1000)) == 60


def test_a_close_ends_it_between_two_segments(opened, monkeypatch):
    store = opened()
    fill(store)
    store.truncate("a", 60)
    monkeypatch.setattr(store._log, "rewrite", lambda sequence, sieve: None)
    assert store.compact() == Compacted(0, 0)


# -- what may be in the way -------------------------------------------------------------------

@pytest.mark.parametrize("verb", ["create", "write", "sync", "rename"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_says_no_keeps_everything_as_it_was(opened, folder, disk, verb, code):
    store = opened()
    fill(store)
    tidied(store)
    store.truncate("a", 30)
    store.redact("b", 3)
    before = found(store)
    disk.refuse(verb, code, MERGING)
    with pytest.raises(CannotCompact, match="couldn't be taken out"):
        store.compact()
    assert found(store) == before
    store.append("b", "n", b"goes on")
    store.compact()
    assert not list(folder.glob("*" + MERGING))
    assert b"event 7 " not in on_disk(folder)


def test_without_room_nothing_is_begun(opened, disk):
    store = opened()
    fill(store)
    store.truncate("a", 30)
    disk.free = lambda path: 1000
    with pytest.raises(StoreFull):
        store.compact()
    assert disk.count("create", MERGING) == 0


def test_damage_is_left_where_it_is_and_said(opened, folder, caplog):
    store = opened()
    fill(store)
    tidied(store)
    byte, _ = records_of(segments(folder)[0])[-1]
    flip(segments(folder)[0], byte + 100)
    store.truncate("b", 60)
    with pytest.raises(CannotCompact, match="000000000000.segment: what was cut"):
        store.compact()
    with caplog.at_level(logging.WARNING):
        compacted(store)
    assert "compaction failed" in caplog.text
    assert not list(folder.glob("*" + MERGING))


def test_what_sqlite_refuses_is_made_up_for_later(opened, monkeypatch):
    store = opened()
    fill(store)
    tidied(store)
    store.truncate("a", 30)
    before = found(store)

    def refuse(*args):
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(store._log.index, "_put_about", refuse)
        with pytest.raises(CannotCompact):
            store.compact()
    assert found(store) == before
    store.compact()
    assert found(store) == before and not store._log.index.shadows()


def test_what_sqlite_refused_is_made_up_for_before_it_is_told_of_more(opened, folder, disk, monkeypatch):
    store = opened()
    fill(store)
    tidied(store)
    store.truncate("a", 30)

    def refuse(*args):
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(store._log.index, "replace", refuse)
        with pytest.raises(CannotCompact):
            store.compact()
    fill(store)
    until(lambda: (store.sync(), len(store._log.index._fresh) == 1)[1])
    assert not store._log.index.shadows()
    crash(store, disk)
    findings = check(str(folder))
    assert findings.problems == [] and not any("rewritten since" in note for note in findings.notes)


def rewritten_with_a_newer_control_behind(store):
    """Two entries of one segment and a newer one behind it: the control that said two of them at first is there still,
    the one between isn't."""
    fill(store, 10)
    store.put_many([("t", b"replaced", b"first"), ("t", b"kept", b"only")])
    store.put("t", b"replaced", b"second")
    fill(store, 110)
    tidied(store)
    store.put("t", b"replaced", b"last")
    store.truncate("a", 8)
    assert compacted(store)[0] == 1


def test_entries_of_a_control_that_lost_its_followers_are_the_newest_still(opened):
    store = opened()
    rewritten_with_a_newer_control_behind(store)
    assert sorted(store.entries("t")) == [(b"kept", b"only"), (b"replaced", b"last")]
    assert store._log._rebuilt == 0


def test_entries_are_the_newest_while_sqlite_has_not_heard_that_some_are_gone(opened, monkeypatch):
    store = opened()
    monkeypatch.setattr(store._log, "write_shadows", lambda: None)
    fill(store, 10)
    store.put("t", b"replaced", b"first")
    fill(store, 110)
    tidied(store)
    store.put("t", b"replaced", b"last")
    store.truncate("a", 8)
    assert compacted(store)[0] == 1 and store._log.index.shadows()
    assert store.entries("t") == [(b"replaced", b"last")]
    assert store._log._rebuilt == 0


def test_a_store_that_died_with_such_entries_is_sound(opened, folder, disk):
    store = opened()
    rewritten_with_a_newer_control_behind(store)
    store.sync()
    crash(store, disk)
    assert check(str(folder)).problems == []


def test_a_store_that_died_before_sqlite_was_told_what_was_compacted_is_sound(opened, folder, disk, monkeypatch):
    store = opened()
    fill(store)
    tidied(store)
    store.truncate("a", 30)

    def never(*args):
        raise sqlite3.OperationalError("it died")

    monkeypatch.setattr(store._log.index, "replace", never)
    assert any(compacted(store))
    crash(store, disk)
    findings = check(str(folder))
    assert findings.problems == []
    assert any("rewritten since; the next start makes it anew" in note for note in findings.notes)


def without_what_follows(opened, folder):
    """A store whose last segment but one was rewritten, and whose last one is gone; (their paths)."""
    store = opened()
    fill(store, 30)
    store.truncate("a", 10)
    store.compact()
    store.close()
    *_, rewritten, last = segments(folder)
    last.unlink()
    drop_index(folder)
    return rewritten, last


@pytest.mark.parametrize("header", [None, b"", b"x" * 100])
def test_behind_a_rewritten_segment_whose_follower_is_gone_begins_a_new_one(opened, folder, header, caplog):
    rewritten, last = without_what_follows(opened, folder)
    if header is not None:
        last.write_bytes(header)
    store = opened()
    assert store.epoch == 2
    assert f"there was a segment behind {rewritten.name}; what came last may be missing" in caplog.text
    for i in range(3):
        store.append("c", "n", b"%d" % i * 3000)        # too long to be joined with others
    store.close()
    assert check(str(folder)).problems == []
    assert [event.number for event in opened().read("c")] == [0, 1, 2]


def test_a_rewritten_segment_that_lost_its_end_and_its_follower_ends_where_it_was_cut(opened, folder):
    rewritten, _ = without_what_follows(opened, folder)
    with open(rewritten, "r+b") as file:
        file.truncate(rewritten.stat().st_size - 10)
    repair(str(folder))
    store = opened()
    store.append("c", "n", b"x" * 3000)
    store.close()
    assert check(str(folder)).problems == []
    assert opened().read("c")[0].data == b"x" * 3000


def test_what_stands_behind_a_rewritten_segment_that_is_the_last_one_is_looked_at(opened, folder):
    rewritten, _ = without_what_follows(opened, folder)
    with open(rewritten, "ab") as file:
        file.write(b"x" * 100)
    assert any("was never finished" in note for note in check(str(folder)).notes)


def test_after_a_folder_could_not_be_synced_redacted_data_is_hidden_still(opened, disk):
    store = opened()
    fill(store)
    store.redact("a", 3)
    store.compact()
    store.redact("a", 4)
    disk.refuse("sync_folder", errno.EIO)
    with pytest.raises(CannotCompact):
        store.compact()
    assert store.retention.is_redacted(b"a", 4)     # the old file may come back with the power
    store.compact()
    assert not store.retention.is_redacted(b"a", 4)


def test_an_open_segment_is_left_alone_if_nothing_in_it_is_hidden(opened):
    store = opened(segment_size=1 << 20)
    fill(store)
    assert store.compact() == Compacted(0, 0)
    store.truncate("a", 30)
    assert store.compact().segments == 1
    fill(store)
    assert store.compact() == Compacted(0, 0) and len(store._log._segments) == 2
    store.redact("b", 100)
    assert store.compact().segments == 1 and len(store._log._segments) == 3


def test_a_new_file_is_on_disk_before_it_takes_the_old_ones_name(opened, disk, folder):
    store = opened()
    fill(store, 60)
    store.truncate("a", 25)
    store.sync()
    before = len(disk.calls)
    assert store.compact().segments
    calls = [call for call in disk.calls[before:] if call[1].endswith(MERGING) or call[0] == "sync_folder"]
    at = next(i for i, (verb, _) in enumerate(calls) if verb == "rename")
    name = calls[at][1]
    assert calls[at - 2:at + 2] == [("write", name), ("sync", name), ("rename", name), ("sync_folder", folder.name)]


@pytest.mark.parametrize("changes", range(1, 40))
def test_the_power_may_go_at_any_moment(opened, folder, disk, changes):
    store = opened()
    fill(store, 60)
    store.truncate("a", 25)
    store.redact("b", 28)
    store.sync()
    before = found(store)
    disk.die_in(changes)
    try:
        store.compact()
    except (CannotCompact, StoreFailed, StoreFull):
        pass
    crash(store, disk)
    assert check(str(folder)).problems == []
    again = opened(files=Disk())
    assert found(again) == before
    again.compact()
    assert found(again) == before
    assert not list(folder.glob("*" + MERGING))
