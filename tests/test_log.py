"""store/log.py: rolling from segment to segment, syncing, and what the disk may answer."""

import errno
import itertools
import os
import threading

import pytest
from disk import (SECONDS, Call, Disk, contents, crash, cut, everything, kept, quick_index, records_of,
                  segments, until)

from store import (ALWAYS, EVERYSEC, NO, CorruptSegment, NewEvent, Store, StoreClosed, StoreFailed, StoreFull,
                   database, log, record, runs)
from store.segment import HEADER_SIZE, SHORT_READ, Segment, file_name

__all__ = ["quick_index"]

NO_ROOM = [errno.ENOSPC, errno.EDQUOT, errno.EFBIG]


@pytest.fixture
def disk():
    return Disk()


@pytest.fixture
def open_store(tmp_path, disk):
    """Open stores on `disk`, which are closed when the test ends."""
    opened = []

    def start(**more):
        opened.append(Store(str(tmp_path / "db"), **{"files": disk, **more}))
        return opened[-1]

    yield start
    for store in opened:
        try:
            store.close()
        except StoreFailed:
            pass


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "db"


def datas(store):
    return [data for _, _, data in everything(store)]


def waiters(store):
    """How many threads wait for a sync of another one."""
    return len(store._log._syncing._waiters)


# -- rolling --------------------------------------------------------------------------

def headers(folder):
    found = [Segment.open(Disk(), str(path)) for path in segments(folder)]
    for segment in found:
        segment.close()
    return [segment.header for segment in found]


@pytest.mark.parametrize("size, expected", [(1, 20), (300, 20), (1000, 3), (1 << 20, 1)])
def test_a_segment_is_begun_where_the_next_record_would_pass_its_size(open_store, folder, size, expected):
    store = open_store(segment_size=size)
    for i in range(20):
        store.append("s", "n", b"%02d" % i)
    assert len(segments(folder)) == expected
    assert store.size == sum(path.stat().st_size for path in segments(folder))
    store.close()
    if size > 1:
        assert all(path.stat().st_size <= size + 64 for path in segments(folder))      # and a mark
    for before, after in zip(headers(folder), headers(folder)[1:]):
        assert (after.uuid, after.previous, after.sequence) == (before.uuid, before.id, before.sequence + 1)
        assert after.previous_end == (folder / file_name(before.sequence)).stat().st_size
        assert (after.epoch, after.generation) == (1, 0)
    store = open_store(segment_size=size)
    assert datas(store) == [b"%02d" % i for i in range(20)]
    assert [event.data for event in store.read("s", 7)] == [b"%02d" % i for i in range(7, 20)]


def test_an_append_larger_than_a_segment_has_one_to_itself(open_store, folder):
    store = open_store(segment_size=1000)
    for size in (10, 5000, 10):
        store.append("s", "n", b"x" * size)
    assert [len(records_of(path)) for path in segments(folder)] == [1, 1, 1]


def test_an_append_of_several_records_is_in_one_segment(open_store, folder):
    store = open_store(segment_size=300_000)
    for _ in range(4):
        store.append_many("s", [NewEvent("n", b"x" * 60_000)] * 3)
    assert [len(records_of(path)) for path in segments(folder)] == [3, 3, 3, 3]
    assert len(store.read("s")) == 12


def test_an_append_that_no_segment_holds_is_refused_and_takes_no_number(open_store, monkeypatch):
    monkeypatch.setattr(log, "MAX_SIZE", 5000)
    store = open_store()
    with pytest.raises(ValueError, match="an append of 5[0-9]{3} bytes, expected no more than 4872"):
        store.append("s", "n", b"x" * 5000)
    assert store.append("s", "n", b"x" * 1000) == (0, 0)
    assert store.stream_names() == ["s"]


def test_a_new_segment_is_on_disk_before_anything_is_written_to_it(open_store, disk):
    store = open_store(segment_size=300)
    store.append("s", "n", b"x" * 100)
    del disk.calls[:]
    store.append("s", "n", b"x" * 100)
    name = file_name(1)
    assert disk.calls == [("create", name), ("write", name), ("sync", name), ("sync_folder", "db"),
                          ("write", name), ("sync", name)]


# -- zeros ahead of the records ------------------------------------------------------------

@pytest.fixture
def filling(disk, monkeypatch):
    """The disk, which fills a thousand bytes at a time."""
    monkeypatch.setattr("store.segment.AHEAD", 1000)
    disk.fills = True
    return disk


def test_under_always_appends_go_where_zeros_are_on_disk_already(open_store, filling, folder):
    store = open_store()
    store.append("s", "n", b"zero")
    [path] = segments(folder)
    size = path.stat().st_size
    del filling.calls[:]
    store.append("s", "n", b"one")
    assert filling.calls == [("write", path.name), ("sync", path.name)]
    assert (size, path.stat().st_size - store.size > 0) == (path.stat().st_size, True)


@pytest.mark.parametrize("sync", [EVERYSEC, NO])
def test_under_the_other_policies_there_are_no_zeros(open_store, filling, folder, sync):
    store = open_store(sync=sync)
    store.append("s", "n", b"zero")
    assert filling.count("fill") == 0
    assert segments(folder)[0].stat().st_size == store.size


@pytest.mark.parametrize("size", [1000, 1500])
def test_sealed_segments_end_where_their_records_end(open_store, filling, folder, size):
    store = open_store(segment_size=size)
    for i in range(30):
        store.append("s", "n", b"%d" % i * 100)
    sizes = [path.stat().st_size for path in segments(folder)]
    assert max(sizes) <= size
    assert [header.previous_end for header in headers(folder)][1:] == sizes[:-1]
    store.close()
    assert sum(path.stat().st_size for path in segments(folder)) == store.size
    assert len(everything(open_store(segment_size=size))) == 30


def test_a_segment_whose_zeros_stay_is_sealed_all_the_same(open_store, filling, folder):
    store = open_store(segment_size=1000)
    store.append("s", "n", b"zero")
    filling.refuse("truncate", errno.EIO)
    store.append("s", "n", b"x" * 900)
    assert segments(folder)[0].stat().st_size == 1000
    assert store.failed is None
    store.close()
    assert datas(open_store()) == [b"zero", b"x" * 900]


def test_a_write_into_zeros_that_finds_no_room_is_taken_back_with_them(open_store, filling, folder):
    store = open_store()
    store.append("s", "n", b"zero")
    filling.refuse("write", errno.ENOSPC)
    with pytest.raises(StoreFull):
        store.append("s", "n", b"lost")
    assert segments(folder)[0].stat().st_size == store.size
    assert store.append("s", "n", b"one") == (1, 1)
    store.close()
    assert datas(open_store()) == [b"zero", b"one"]


@pytest.mark.parametrize("code", NO_ROOM)
def test_a_disk_with_no_room_for_zeros_takes_events(open_store, filling, code):
    store = open_store()
    filling.refuse("fill", code, times=99)
    for i in range(20):
        assert store.append("s", "n", b"%02d" % i * 50).number == i
    crash(store, filling)
    store = open_store(files=Disk())
    assert (len(datas(store)), store.epoch) == (20, 1)


# -- a full disk ------------------------------------------------------------------------

@pytest.mark.parametrize("code", NO_ROOM)
@pytest.mark.parametrize("sync", [ALWAYS, EVERYSEC, NO])
def test_a_write_without_room_is_taken_back_and_appending_goes_on_later(open_store, disk, folder, code, sync):
    store = open_store(sync=sync)
    store.append("s", "n", b"zero")
    before = contents(folder)
    disk.refuse("write", code, times=2)
    for stream in ("s", "new"):
        with pytest.raises(StoreFull, match=f"{os.strerror(code)}; nothing of this append was stored"):
            store.append(stream, "n", b"lost" * 100)
        assert contents(folder) == before
    assert store.failed is None
    assert datas(store) == [b"zero"]
    assert store.stream_names() == ["s"]
    assert store.append("s", "n", b"one") == (1, 1)
    assert store.append("new", "n", b"two") == (0, 2)
    store.close()
    store = open_store()
    assert (datas(store), store.epoch) == ([b"zero", b"one", b"two"], 1)


@pytest.mark.parametrize("verb", ["truncate", "sync"])
def test_a_write_that_cannot_be_taken_back_is_the_last(open_store, disk, verb):
    store = open_store()
    store.append("s", "n", b"zero")
    disk.refuse("write", errno.ENOSPC)
    disk.refuse(verb, errno.EIO)
    with pytest.raises(StoreFailed, match="taking back a write that the disk had no room for failed"):
        store.append("s", "n", b"lost")
    with pytest.raises(StoreFailed):
        store.append("s", "n", b"refused")
    assert datas(store) == [b"zero"]
    store.close()
    store = open_store()
    assert datas(store)[:1] == [b"zero"]
    store.append("s", "n", b"on")


@pytest.mark.parametrize("verb, code", [
    ("create", errno.ENOSPC), ("write", errno.ENOSPC), ("sync", errno.ENOSPC), ("sync_folder", errno.ENOSPC),
    ("create", errno.EMFILE), ("create", errno.ENFILE), ("sync_folder", errno.EMFILE)])
def test_a_segment_that_has_no_room_is_not_left_behind(open_store, disk, folder, verb, code):
    store = open_store(segment_size=450)
    store.append("s", "n", b"x" * 100)
    disk.refuse(verb, code)
    with pytest.raises(StoreFull):
        store.append("s", "n", b"y" * 100)
    assert len(segments(folder)) == 1
    store.append("s", "n", b"z")        # there is room for this one where the first is
    assert len(segments(folder)) == 1
    store.append("s", "n", b"y" * 100)
    assert len(segments(folder)) == 2
    store.close()
    store = open_store()
    assert [event.data[:1] for event in store.read("s")] == [b"x", b"z", b"y"]
    assert store.epoch == 1


def test_a_segment_that_cannot_be_removed_either_is_the_last(open_store, disk, folder):
    """Left there whole, it says where the segment before it ends: what came behind would be lost."""
    store = open_store(segment_size=450)
    store.append("s", "n", b"x" * 100)
    disk.refuse("sync", errno.ENOSPC)
    disk.refuse("remove", errno.EACCES)
    with pytest.raises(StoreFailed, match="removing an unfinished segment failed"):
        store.append("s", "n", b"y" * 100)
    with pytest.raises(StoreFailed):
        store.append("s", "n", b"z")
    store.close()
    store = open_store()
    assert datas(store) == [b"x" * 100]


def test_a_strange_file_where_the_next_segment_goes_is_left_alone_and_ends_appending(open_store, folder):
    store = open_store(segment_size=450)
    store.append("s", "n", b"x" * 100)
    (folder / file_name(1)).write_bytes(b"strange")
    with pytest.raises(StoreFailed, match="making a segment failed .*File exists"):
        store.append("s", "n", b"y" * 200)
    assert (folder / file_name(1)).read_bytes() == b"strange"
    assert datas(store) == [b"x" * 100]


def test_a_segment_that_the_disk_fails_to_make_is_the_last(open_store, disk):
    store = open_store(segment_size=300)
    store.append("s", "n", b"x" * 100)
    disk.refuse("sync", errno.EIO, name=file_name(1))
    with pytest.raises(StoreFailed, match="making a segment failed"):
        store.append("s", "n", b"y" * 100)
    assert datas(store) == [b"x" * 100]
    store.close()
    assert datas(open_store()) == [b"x" * 100]


# -- a failing disk ----------------------------------------------------------------------

@pytest.mark.parametrize("sync", [ALWAYS, EVERYSEC, NO])
def test_after_a_failed_write_readers_see_what_is_on_disk_and_no_more(open_store, disk, sync):
    store = open_store(sync=sync)
    store.append("s", "n", b"zero")
    store.sync()
    store.append("s", "n", b"one")
    store.append("t", "n", b"two")
    disk.refuse("write", errno.EIO)
    with pytest.raises(StoreFailed, match="a write failed .*; the disk may not hold") as caught:
        store.append("s", "n", b"lost")
    assert store.failed is caught.value
    on_disk = [b"zero", b"one", b"two"] if sync == ALWAYS else [b"zero"]
    assert datas(store) == on_disk
    assert store.last_number("s") == on_disk.count(b"one")
    assert store.stream_names() == (["s", "t"] if sync == ALWAYS else ["s"])
    with pytest.raises(StoreFailed):
        store.append("s", "n", b"refused")
    if sync != ALWAYS:
        with pytest.raises(StoreFailed):
            store.sync()
        with pytest.raises(StoreFailed):
            store.close()
    store.close()
    store = open_store()
    assert datas(store)[:len(on_disk)] == on_disk
    assert store.append("u", "n", b"on").number == 0


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_after_a_failed_sync_nothing_is_acknowledged(open_store, disk, code):
    store = open_store()
    store.append("s", "n", b"zero")
    disk.refuse("sync", code)
    with pytest.raises(StoreFailed, match="a sync failed"):
        store.append("s", "n", b"unknown")
    assert (datas(store), store.position, store.synced, store.last_number("s")) == ([b"zero"], 1, 1, 0)
    syncs = disk.count("sync")
    for call in (lambda: store.append("s", "n", b"refused"), store.sync, store.close):
        with pytest.raises(StoreFailed):
            call()
    assert disk.count("sync") == syncs      # a second one might report success, and have lost the data
    store = open_store()
    assert datas(store) in ([b"zero"], [b"zero", b"unknown"])


def test_a_failed_sync_takes_back_what_readers_saw_before_it(open_store, disk):
    store = open_store(sync=NO)
    store.append("s", "n", b"zero")
    store.sync()
    store.append("s", "n", b"one")
    store.append("t", "n", b"two")
    assert datas(store) == [b"zero", b"one", b"two"]
    gate = disk.hold("sync")
    disk.refuse("sync", errno.EIO)
    first = Call(store.sync)
    gate.wait_for_call()
    store.append("s", "n", b"three")
    gate.open()
    first.result()
    with pytest.raises(StoreFailed):
        store.sync()
    assert datas(store) == [b"zero", b"one", b"two"]
    assert store.last_number("s") == 1


def test_what_was_written_during_a_sync_that_fails_is_taken_back_too(open_store, disk):
    store = open_store(sync=NO)
    store.append("s", "n", b"zero")
    gate = disk.hold("sync")
    first = Call(store.sync)
    gate.wait_for_call()
    store.append("s", "n", b"one")
    store.append("t", "n", b"two")
    disk._orders.clear()
    sync = disk.sync
    disk.sync = lambda fd: (_ for _ in ()).throw(OSError(errno.EIO, "EIO"))
    gate.open()
    first.result()
    assert (store.synced, store.position) == (1, 3)
    with pytest.raises(StoreFailed):
        store.sync()
    disk.sync = sync
    assert datas(store) == [b"zero"]
    assert store.stream_names() == ["s"]


def test_a_sync_that_succeeds_beside_a_write_that_fails_acknowledges_nothing(open_store, disk):
    store = open_store()
    store.append("s", "n", b"zero")
    gate = disk.hold("sync")
    appending = Call(store.append, "s", "n", b"unknown")
    gate.wait_for_call()
    disk.refuse("write", errno.EIO)
    with pytest.raises(StoreFailed):
        store.append("s", "n", b"lost")
    gate.open()
    with pytest.raises(StoreFailed):
        appending.result()
    assert datas(store) == [b"zero"]
    with pytest.raises(StoreFailed):
        store.close()
    assert datas(open_store())[:2] == [b"zero", b"unknown"]


def test_all_who_wait_for_a_sync_that_fails_are_told(open_store, disk):
    store = open_store()
    gate = disk.hold("sync")
    first = Call(store.append, "s", "n", b"first")
    gate.wait_for_call()
    others = [Call(store.append, "s", "n", b"other") for _ in range(3)]
    until(lambda: waiters(store) == 3)
    disk.refuse("sync", errno.EIO)
    gate.open()
    first.result()
    for other in others:
        with pytest.raises(StoreFailed):
            other.result()
    assert datas(store) == [b"first"]


def test_running_out_of_memory_while_counting_refuses_the_next_append(open_store, monkeypatch):
    store = open_store()
    store.append("s", "n", b"zero")

    def full(*given):
        raise MemoryError()

    monkeypatch.setattr(log.Index, "add", full)
    with pytest.raises(MemoryError):
        store.append("s", "n", b"unknown")
    monkeypatch.undo()
    with pytest.raises(StoreFailed, match="counting what was written failed"):
        store.append("s", "n", b"refused")
    assert datas(store) == [b"zero"]
    store.close()
    store = open_store()
    assert datas(store) == [b"zero", b"unknown"]
    assert store.epoch == 1


LONG = bytes(range(256)) * 1000


def test_short_and_long_events_of_one_append_are_one_write_in_order(open_store, disk):
    store = open_store()
    before = disk.count("write")
    expected = [b"one", LONG, b"two", b"three", LONG[1:], memoryview(LONG)[2:], b"four"]
    store.append_many("s", [("n", data) for data in expected])
    assert disk.count("write") == before + 1
    assert datas(store) == expected
    store.close()
    assert datas(open_store()) == expected


@pytest.mark.parametrize("level", [0, 6])
def test_an_append_with_a_long_event_that_is_cut_short_is_taken_back(open_store, disk, level):
    store = open_store(compression=level)
    store.append("s", "n", b"zero")
    disk.refuse("write", errno.ENOSPC)
    with pytest.raises(StoreFull):
        store.append_many("s", [("n", b"short"), ("n", LONG), ("n", b"short")])
    assert datas(store) == [b"zero"]
    assert store.append_many("s", [("n", LONG), ("n", b"short")]) == (1, 1)
    assert datas(store) == [b"zero", LONG, b"short"]
    store.close()
    assert datas(open_store()) == [b"zero", LONG, b"short"]


def test_running_out_of_memory_before_the_write_takes_no_number(open_store, monkeypatch):
    store = open_store()
    frames = record.frames

    def full(stream, name, number, datas):
        if datas == [b"much", b"more"]:
            raise MemoryError()
        return frames(stream, name, number, datas)

    monkeypatch.setattr(record, "frames", full)
    with pytest.raises(MemoryError):
        store.write([(b"s", b"n", [b"little"]), (b"s", b"n", [b"much", b"more"])])
    assert store.append("s", "n", b"zero") == (0, 0)
    store.close()
    assert datas(open_store()) == [b"zero"]


# -- syncing ------------------------------------------------------------------------------

def test_under_always_an_event_is_on_disk_before_anybody_sees_it(open_store, disk):
    store = open_store()
    gate = disk.hold("sync")
    appending = Call(store.append, "s", "n", b"zero")
    gate.wait_for_call()
    assert (store.position, store.synced, store.last_number("s")) == (0, 0, None)
    assert store.read("s") == store.read_all() == store.stream_names() == []
    assert store.wait("s", 0, timeout=0) is False
    assert not appending.over
    gate.open()
    assert appending.result() == (0, 0)
    assert (store.position, store.synced, store.last_number("s")) == (1, 1, 0)


@pytest.mark.parametrize("sync", [EVERYSEC, NO])
def test_under_the_other_policies_an_append_waits_for_no_sync(open_store, disk, sync):
    store = open_store(sync=sync)
    syncs = disk.count("sync")
    store.append("s", "n", b"zero")
    assert (store.position, store.synced, disk.count("sync")) == (1, 0, syncs)
    store.sync()
    assert (store.synced, disk.count("sync")) == (1, syncs + 1)
    store.sync()
    assert disk.count("sync") == syncs + 1      # there is nothing to sync


def test_who_appends_during_a_sync_shares_the_next_one(open_store, disk):
    store = open_store()
    syncs = disk.count("sync")
    gate = disk.hold("sync")
    first = Call(store.append, "s", "n", b"first")
    gate.wait_for_call()
    others = [Call(store.append, "s", "n", b"other") for _ in range(20)]
    until(lambda: waiters(store) == 20)
    gate.open()
    found = [first.result()] + sorted(other.result() for other in others)
    assert found == [(i, i) for i in range(21)]
    assert disk.count("sync") == syncs + 2


def test_a_sync_waits_for_one_that_began_before_it(open_store, disk):
    store = open_store(sync=NO)
    store.append("s", "n", b"zero")
    gate = disk.hold("sync")
    first = Call(store.sync)
    gate.wait_for_call()
    second = Call(lambda: (store.sync(), store.synced)[1])
    until(lambda: waiters(store) or second.over)
    gate.open()
    assert second.result() == 1
    first.result()


def test_closing_waits_for_a_sync_that_runs(open_store, disk):
    store = open_store()
    gate = disk.hold("sync")
    appending = Call(store.append, "s", "n", b"zero")
    gate.wait_for_call()
    closing = Call(store.close)
    until(lambda: waiters(store) or closing.over)
    gate.open()
    assert appending.result() == (0, 0)
    closing.result()
    assert datas(open_store()) == [b"zero"]


def test_a_sync_covers_each_segment_that_was_written_to(open_store, disk):
    store = open_store(sync=NO, segment_size=300)
    for _ in range(3):
        store.append("s", "n", b"x" * 100)
    del disk.calls[:]
    store.sync()
    assert disk.calls == [("sync", file_name(i)) for i in range(3)]


def test_sealed_segments_enter_the_index_when_a_sync_has_covered_them(open_store):
    store = open_store(sync=NO, segment_size=300)
    for _ in range(3):
        store.append("s", "n", b"x" * 100)
    until(lambda: store._log._flush_waits)
    assert store._log.index.flushed_through.position == 0
    store.sync()
    until(lambda: store._log.index.flushed_through.position == 2)


def quick_keepers(monkeypatch):
    """Threads that wait for seconds to go by wait for thousandths of them."""
    keeper = database.Keeper
    monkeypatch.setattr(database, "Keeper", lambda name, work, wanted=None, interval=None: keeper(
        name, work, wanted, interval and interval / 1000))


def test_under_everysec_a_thread_syncs_what_was_appended(open_store, monkeypatch):
    quick_keepers(monkeypatch)
    store = open_store(sync=EVERYSEC)
    store.append("s", "n", b"zero")
    until(lambda: store.synced == 1)


def test_under_everysec_a_failed_sync_is_told_to_who_appends(open_store, disk, monkeypatch, caplog):
    quick_keepers(monkeypatch)
    store = open_store(sync=EVERYSEC)
    disk.refuse("sync", errno.EIO)
    store.append("s", "n", b"zero")
    until(lambda: store.failed)
    with pytest.raises(StoreFailed):
        store.append("s", "n", b"refused")
    until(lambda: store.position == 0)
    until(lambda: "a sync failed" in caplog.text)
    with pytest.raises(StoreFailed):
        store.close()
    assert caplog.text.count("a sync failed") == 1


def test_under_everysec_appends_wait_for_a_sync_that_is_slow(open_store, disk, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(log.time, "monotonic", lambda: now[0])
    store = open_store(sync=EVERYSEC)
    store.append("s", "n", b"zero")
    gate = disk.hold("sync")
    syncing = Call(store.sync)
    gate.wait_for_call()
    now[0] += log.SLOW_SYNC - 0.1
    assert store.append("s", "n", b"one") == (1, 1)
    now[0] += 0.1
    appending = Call(store.append, "s", "n", b"two")
    while not waiters(store):
        assert not appending.over
    gate.open()
    assert appending.result() == (2, 2)
    syncing.result()


# -- the mark of a clean close ---------------------------------------------------------------

def test_a_clean_close_marks_what_is_on_disk_once(open_store, folder):
    store = open_store()
    store.append("s", "n", b"zero")
    store.close()
    [path] = segments(folder)
    size = path.stat().st_size
    assert [one.synced for _, one in records_of(path)] == [0, 1]
    for _ in range(3):
        open_store().close()
    assert path.stat().st_size == size


def test_a_close_without_room_for_the_mark_is_clean_all_the_same(open_store, disk, folder, caplog):
    store = open_store()
    store.append("s", "n", b"zero")
    before = contents(folder)
    disk.refuse("write", errno.ENOSPC)
    store.close()
    assert contents(folder) == before
    assert "closed without a mark" in caplog.text
    store = open_store()
    assert (datas(store), store.epoch) == ([b"zero"], 1)


@pytest.mark.parametrize("verb", ["write", "sync"])
def test_a_mark_that_the_disk_fails_to_write_is_told_and_costs_no_event(open_store, disk, caplog, verb):
    store = open_store()
    store.append("s", "n", b"zero")
    disk.refuse(verb, errno.EIO)
    store.close()
    assert "restart to recover" in caplog.text
    assert datas(open_store()) == [b"zero"]


def test_records_before_and_behind_a_mark_are_read_as_one_run(open_store):
    for i in range(4):
        store = open_store()
        store.append_many("s", [NewEvent("n", b"%d" % i)] * 2)
        store.close()
    store = open_store()
    assert [event.data for event in store.read("s")] == [b"%d" % (i // 2) for i in range(8)]
    assert [event.number for event in store.read("s", 3, 6)] == [3, 4, 5]
    assert [event.position for event in store.read_all(3, 6)] == [3, 4, 5]


# -- reading ------------------------------------------------------------------------------------

def test_reading_and_closing_wait_for_each_other(open_store, disk, monkeypatch):
    store = open_store()
    store.append("s", "n", b"zero")
    reading, go_on = threading.Event(), threading.Event()
    read = log.Log._read_stream

    def slow(*given):
        reading.set()
        assert go_on.wait(SECONDS)
        return read(*given)

    monkeypatch.setattr(log.Log, "_read_stream", slow)
    first = Call(store.read, "s")
    assert reading.wait(SECONDS)
    closing = Call(store.close)
    until(lambda: store._log._closed)
    late = Call(store.records, store.find(b"s"), 0, 1, 100)     # who comes now doesn't keep it from closing
    with pytest.raises(StoreClosed):
        late.result()
    assert not closing.over
    go_on.set()
    assert [event.data for event in first.result()] == [b"zero"]
    closing.result()


def test_a_long_read_goes_on_over_many_places(open_store, monkeypatch):
    monkeypatch.setattr(runs, "PLACES_AT_ONCE", 3)
    store = open_store(segment_size=4000)
    for i in range(60):
        store.append("s", "n", b"%d" % i)
        store.append("t", "n", b"%d" % i)
    for first in (0, 1, 17, 59):
        assert [event.number for event in store.read("s", first)] == list(range(first, 60))


def test_a_read_takes_about_as_many_bytes_as_it_may(open_store):
    store = open_store()
    for _ in range(50):
        store.append("s", "n", b"x" * 1000)
        store.append("t", "n", b"x" * 1000)
    stream = store.find(b"s")
    for limit, expected in [(1, 1), (1164, 2), (5000, 5), (1 << 20, 50)]:
        assert len(store.records(stream, 0, 50, limit)) == expected
        assert len(store.records(store.all, 0, 50, limit)) == expected
    assert store.records(stream, 5, 5, 100) == []


def test_events_of_other_streams_cost_a_short_read_each(open_store, disk):
    store = open_store()
    for _ in range(20):
        store.append("s", "n", b"x")
        store.append("t", "n", b"x" * 20_000)
    sizes = []
    read = disk.read
    disk.read = lambda fd, size, pos: (sizes.append(size), read(fd, size, pos))[1]
    assert len(store.read("s")) == 20
    assert len(sizes) == 20 and sum(sizes) <= 20 * SHORT_READ


def test_damage_in_the_middle_of_a_read_ends_it_and_the_next_one_says_so(open_store, folder):
    store = open_store()
    for i in range(9):
        store.append("s", "n", b"%d" % i)
    [path] = segments(folder)
    fourth, _ = records_of(path)[4]
    with open(path, "r+b") as file:
        file.seek(fourth + 92)
        file.write(b"?")
    stream = store.find(b"s")
    assert [one.number for one in store.records(stream, 0, 9, 1 << 20)] == [0, 1, 2, 3]
    assert [one.number for one in store.records(store.all, 0, 9, 1 << 20)] == [0, 1, 2, 3]
    for of in (stream, store.all):
        with pytest.raises(CorruptSegment, match=f"at byte {fourth} is damaged"):
            store.records(of, 4, 9, 1 << 20)


def test_opening_that_fails_leaves_no_file_open_and_the_folder_free(open_store, disk, folder):
    open_store(segment_size=300).close()
    for verb, name in [("write", "lock"), ("sync", "lock"), ("sync", ".segment"), ("sync_folder", "db")]:
        before = os.listdir("/proc/self/fd")
        disk.refuse(verb, errno.EIO, name=name)
        with pytest.raises(OSError):
            open_store()
        assert os.listdir("/proc/self/fd") == before
    open_store().close()


def test_each_crash_and_recovery_adds_an_epoch_and_a_kept_file(open_store, folder):
    for i in itertools.count():
        disk = Disk()
        store = open_store(files=disk)
        assert store.epoch == i + 1
        if i == 3:
            break
        store.append("s", "n", b"%d" % i)
        store.append("s", "n", b"torn")
        crash(store, disk)
        path = segments(folder)[-1]
        cut(path, path.stat().st_size - 1)
    assert datas(store) == [b"0", b"1", b"2"]
    assert len(kept(folder)) == 3


def test_a_header_says_how_far_the_disk_was_when_it_was_written(open_store, folder):
    store = open_store(sync=NO)
    for i in range(4):
        store.append("s", "n", b"x")
        if i == 1:
            store.sync()
    assert [one.synced for _, one in records_of(segments(folder)[0])] == [0, 0, 2, 2]
    assert records_of(segments(folder)[0])[0][0] == HEADER_SIZE


def test_a_sync_that_ends_while_the_index_is_looked_at_is_not_missed(open_store, monkeypatch):
    store = open_store(sync=NO)
    monkeypatch.setattr(store._log, "sealed", threading.Event())       # its thread is told nothing more
    store.append("s", "n", b"x")
    with store._log.lock:
        store._log._roll()
    flush = store._log.index.flush

    def late(durable, *more):
        waits = flush(durable, *more)
        if durable == 0:
            store.sync()        # between the look and the answer
        return waits

    monkeypatch.setattr(store._log.index, "flush", late)
    store._log.tidy()
    assert len(store._log.index._fresh) == 1
