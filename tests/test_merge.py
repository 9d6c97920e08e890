"""store/merge.py, and how the log puts what it makes in place of a segment: the same events, in fewer records."""

import errno
import itertools
import logging
import threading

import pytest
from disk import Call, Disk, crash, drop_index, everything, flip, quick_index, records_of, segments, until
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from store import EVERYSEC, NO, Change, CorruptSegment, NewEvent, Store, StoreFailed, log, merge, record
from store.append import append_of
from store.segment import HEADER_SIZE, MERGING

__all__ = ["quick_index"]

FEW = 100       # small records, more than are too few to be worth it


@pytest.fixture
def disk():
    return Disk()


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(log, "_PAUSE", 0)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "db"


@pytest.fixture
def open_store(folder, disk):
    """Open stores on `disk`, which are closed when the test ends."""
    opened = []

    def start(**more):
        clock = itertools.count(1_000_000)
        opened.append(Store(str(folder), **{"files": disk, "sync": NO, "clock": lambda: next(clock), **more}))
        return opened[-1]

    yield start
    for store in opened:
        try:
            store.close()
        except StoreFailed:
            pass


def fill(store, count=FEW, streams=("s",), size=10):
    for i in range(count):
        store.append(streams[i % len(streams)], "n", b"%d " % i + b"x" * size)


def seal(store):
    """Roll on, and return when the index of what is sealed is in sqlite3."""
    with store._log.lock:
        store._log._roll()
    store.sync()
    until(lambda: len(store._log.index._fresh) == 1)


def generations(store):
    return [segment.header.generation for segment in store._log._segments]


def found(store):
    """Everything that readers get, by position and by stream, the slow way and the fast one."""
    return (store.read_all(limit=1 << 30),
            {name: store.read(name, limit=1 << 30) for name in store.stream_names()},
            {name: replayed(store, store.find(name)) for name in store.names()}, replayed(store, store.all))


def replayed(store, stream):
    data, at = b"", 0
    while at < stream.visible:
        frames = store.frames(stream, at, stream.visible, 5000)
        start = frames.ends[at - frames.first - 1] if at > frames.first else 0
        data += frames.data[start:]
        at = frames.stop
    return data


# -- what it does to a segment ---------------------------------------------------------

def test_small_records_of_one_stream_become_a_run(open_store, folder):
    store = open_store()
    fill(store)
    before, size = found(store), store.size
    seal(store)
    assert generations(store) == [1, 0]
    assert found(store) == before
    (byte, only), = records_of(segments(folder)[0])
    assert (byte, only.count, only.pack, only.synced) == (HEADER_SIZE, FEW, None, FEW)
    assert store.size < size


def test_small_records_of_several_streams_become_packs(open_store, folder):
    store = open_store()
    fill(store, streams=("s", "t", "u"), size=100)
    before = found(store)
    seal(store)
    assert found(store) == before
    packs = [one for _, one in records_of(segments(folder)[0])]
    assert 2 <= len(packs) < 10
    assert all(one.pack and one.frames_size <= record.MAX_PACK for one in packs)


def test_each_event_keeps_its_time(open_store):
    store = open_store()
    fill(store, streams=("s", "s", "t"))
    times = [event.time for event in store.read_all(limit=FEW)]
    assert len(set(times)) == FEW
    seal(store)
    assert [event.time for event in store.read_all(limit=FEW)] == times
    assert [event.time for event in store.read("t")] == times[2::3]


def test_ids_and_metadata_stay_with_their_events(open_store):
    store = open_store()
    for i in range(FEW):
        store.append("st"[i % 2], "n", b"data", id=b"%d" % i, metadata=b"m" * (i % 3))
    before = found(store)
    seal(store)
    assert generations(store) == [1, 0]
    assert found(store) == before


EVENTS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([b"", b"x", b"y" * 700, b"z" * 5000]),
                            st.sampled_from([b"", b"id"])), min_size=1, max_size=5)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(writes=st.lists(st.tuples(EVENTS, st.booleans()), min_size=1, max_size=30), level=st.sampled_from([0, 6]),
       reopened=st.booleans())
def test_whatever_was_written_is_read_as_before(tmp_path_factory, monkeypatch, writes, level, reopened):
    monkeypatch.setattr(merge, "_SMALL", 1 << 30)       # whatever the records are
    path = tmp_path_factory.mktemp("merge") / "db"
    clock = itertools.count(1)
    options = {"sync": NO, "compression": level, "clock": lambda: next(clock)}
    store = Store(path, **options)
    try:
        for i, (events, whole) in enumerate(writes):
            if reopened and i == 3:
                store.close()           # leaves a mark in the middle, and an index of what is before it
                store = Store(path, **options)
            if whole:
                store.append_all([Change(stream, NewEvent("n", data, id_)) for stream, data, id_ in events])
            else:
                store.commit(store.write([append_of([Change(stream, NewEvent("n", data, id_))]) if i % 2 and id_ else
                                          (stream.encode(), b"n", [data]) for stream, data, id_ in events]))
        fill(store, streams=("a", "b", "d"))
        before = found(store)
        seal(store)
        assert generations(store) == [1, 0]
        assert found(store) == before
        for loses_index in (False, True):
            store.close()
            if loses_index:
                drop_index(path)
            store = Store(path, **options)
            assert found(store) == before
    finally:
        store.close()


def test_a_long_segment_is_written_piece_by_piece(open_store, disk, monkeypatch):
    monkeypatch.setattr(merge, "_WRITE", 10_000)
    store = open_store()
    fill(store, 400, streams=("s", "t"), size=300)
    before = found(store)
    seal(store)
    assert generations(store) == [1, 0]
    assert found(store) == before
    assert disk.count("write", MERGING) > 10


@pytest.mark.parametrize("count, size", [(20, 10), (FEW, 3000)])
def test_few_records_or_long_ones_are_left_as_they_are(open_store, count, size):
    store = open_store()
    fill(store, count, size=size)
    seal(store)
    assert generations(store) == [0, 0]


# -- in place of the segment --------------------------------------------------------------

def test_a_replay_that_is_under_way_goes_on_in_the_new_file(open_store):
    store = open_store()
    fill(store, streams=("s", "t"), size=300)
    of = store.find(b"s")
    first = store.frames(of, 0, FEW // 2, 1000)
    assert first.stop < FEW // 2
    seal(store)
    rest = store.frames(of, first.stop, FEW // 2, 1 << 20)
    assert rest.data.endswith(b"x" * 300 + b"\r\n") and rest.stop == FEW // 2


def test_reads_wait_while_a_segment_is_replaced_and_it_waits_for_reads(open_store, disk, monkeypatch):
    store = open_store()
    fill(store)
    gate = disk.hold("read", "000000000000.segment")
    reading = Call(store.read, "s")
    gate.wait_for_call()
    with store._log.lock:
        store._log._roll()
    store.sync()
    until(lambda: store._log._replacing)
    waiting = Call(store.read, "s")
    assert generations(store) == [0, 0] and not waiting.over
    gate.open()
    assert len(reading.result()) == len(waiting.result()) == FEW
    until(lambda: generations(store) == [1, 0])


def test_the_part_of_a_segment_that_was_indexed_before_is_joined_too(open_store):
    store = open_store()
    fill(store, streams=("s", "t"))
    store.close()
    store = open_store()
    fill(store, streams=("t", "u"))
    before = found(store)
    seal(store)
    assert generations(store) == [1, 0]
    assert found(store) == before
    store.close()
    assert found(open_store()) == before


def test_an_index_of_the_file_as_it_was_is_thrown_away(open_store, folder, disk, caplog):
    store = open_store()
    fill(store)
    before = found(store)
    put = store._log.index.put
    crash_now = threading.Event()       # before the index is written
    store._log.index.put = lambda *args: (crash_now.set(), disk.unplug())
    with store._log.lock:
        store._log._roll()
    store.sync()
    assert crash_now.wait(10)
    store._log.index.put = put
    crash(store, disk)
    assert found(open_store(files=Disk())) == before


def test_an_index_that_knows_another_generation_is_made_anew(open_store, folder, caplog):
    store = open_store()
    fill(store)
    before = found(store)
    seal(store)
    store.close()
    store = open_store()
    store._log._segments[0].header = store._log._segments[0].header._replace(generation=7)
    store.append("s", "n", b"one more")
    store.close()       # and so it says in the index
    caplog.clear()
    store = open_store()
    assert "rewritten" in caplog.text
    assert store.read_all(limit=FEW) == before[0]


@pytest.mark.parametrize("changes", range(1, 30))
def test_the_power_may_go_at_any_moment(open_store, folder, disk, changes):
    store = open_store()
    fill(store)
    before = everything(store)
    with store._log.lock:
        store._log._roll()
    disk.die_in(changes)
    try:
        store.sync()
    except StoreFailed:
        pass
    until(lambda: disk.dead or len(store._log.index._fresh) == 1)
    crash(store, disk)
    again = open_store(files=Disk())
    assert everything(again) == before
    assert not list(folder.glob("*" + MERGING))


# -- when it is given up ---------------------------------------------------------------------

def test_damage_is_left_where_it_is_and_said(open_store, folder, caplog):
    store = open_store()
    fill(store)
    byte, _ = records_of(segments(folder)[0])[50]
    flip(segments(folder)[0], byte + 100)
    content = segments(folder)[0].read_bytes()
    with caplog.at_level(logging.WARNING):
        seal(store)
    assert "joining its small records failed" in caplog.text
    assert segments(folder)[0].read_bytes() == content and generations(store) == [0, 0]
    assert not list(folder.glob("*" + MERGING))
    assert len(store.read("s", limit=50)) == 50
    with pytest.raises(CorruptSegment):
        store.read("s", 50)


@pytest.mark.parametrize("verb", ["create", "write", "sync", "rename"])
def test_a_disk_that_says_no_keeps_the_segment_as_it_is(open_store, folder, disk, caplog, verb):
    store = open_store()
    fill(store)
    before = found(store)
    disk.refuse(verb, errno.ENOSPC, MERGING)
    seal(store)
    assert generations(store) == [0, 0]
    assert found(store) == before
    assert not list(folder.glob("*" + MERGING))
    store.append("s", "n", b"goes on")


def test_a_folder_that_cannot_be_synced_costs_nothing(open_store, disk, folder, caplog):
    store = open_store()
    fill(store)
    before = found(store)
    with store._log.lock:
        store._log._roll()
    disk.refuse("sync_folder", errno.EIO)
    store.sync()
    until(lambda: len(store._log.index._fresh) == 1)
    assert generations(store) == [1, 0]
    assert found(store) == before


def test_without_room_for_both_nothing_is_begun(open_store, disk):
    disk.free = lambda path: 1000
    store = open_store()
    fill(store)
    seal(store)
    assert generations(store) == [0, 0] and not disk.count("create", MERGING)


def test_a_close_ends_it(open_store, folder, disk, monkeypatch):
    store = open_store()
    fill(store, 2000, size=100)
    paused = threading.Event()
    wait = store._log._closing.wait
    monkeypatch.setattr(store._log._closing, "wait", lambda seconds: (paused.set(), wait(10))[1])
    with store._log.lock:
        store._log._roll()
    store.sync()
    assert paused.wait(10)
    store.close()
    assert not list(folder.glob("*" + MERGING))
    store = open_store()
    assert generations(store) == [0, 0] and store.position == 2000


def test_when_too_many_wait_the_oldest_are_left_as_they_are(open_store, disk, monkeypatch):
    monkeypatch.setattr(log, "_BACKLOG", 1)
    store = open_store(sync=EVERYSEC)
    for _ in range(3):                  # nothing is flushed before it is on disk
        fill(store)
        with store._log.lock:
            store._log._roll()
    store.sync()
    until(lambda: len(store._log.index._fresh) == 1)
    assert generations(store) == [0, 0, 1, 0]


def test_a_store_that_failed_rewrites_nothing(open_store, disk):
    store = open_store()
    fill(store)
    with store._log.lock:
        store._log._roll()
        store._log.fail("here", "a test", OSError(errno.EIO, "no"))
    store._log.tidy()
    assert generations(store) == [0, 0]


def test_appends_of_several_records_are_kept_whole(open_store, folder):
    store = open_store()
    fill(store)
    store.append_many("s", [NewEvent("n", b"y" * 3000)] * 50)
    fill(store)
    before = found(store)
    seal(store)
    assert found(store) == before
    assert [one.more_follows for _, one in records_of(segments(folder)[0])].count(True) >= 1
