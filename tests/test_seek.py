"""store/seek.py: the position that belongs to a time, and the number that belongs to a position."""

import itertools
import json
import sqlite3

import pytest
from disk import Disk, drop_index, flip, quick_index, segments, until
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from store import NO, CorruptSegment, IndexUnusable, Store, StoreClosed, index, log
from store.export import import_some

__all__ = ["quick_index"]


class Clock:
    """Says what it is told to, and the same until it is told something else."""

    def __init__(self, time=1000):
        self.time = time

    def __call__(self):
        return self.time


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def open_store(tmp_path, clock, monkeypatch):
    monkeypatch.setattr(log, "_PAUSE", 0)
    opened = []

    def start(**more):
        opened.append(Store(str(tmp_path / "db"), **{"files": Disk(), "sync": NO, "clock": clock, **more}))
        return opened[-1]

    yield start
    for store in opened:
        store.close()


def test_a_store_that_is_closed_is_not_asked_for_times(open_store):
    store = open_store()
    store.close()
    with pytest.raises(StoreClosed):
        store.position_at(0)


def at_times(store, clock, times, stream="s"):
    for clock.time in times:
        store.append(stream, "n", b"")


def test_the_first_event_at_or_after_a_time_is_found(open_store, clock):
    store = open_store()
    at_times(store, clock, [10, 20, 20, 30])
    assert [store.position_at(time) for time in (0, 10, 11, 20, 21, 30)] == [0, 0, 1, 1, 3, 3]


def test_a_time_to_come_is_the_next_event(open_store, clock):
    store = open_store()
    assert store.position_at(10) == 0
    at_times(store, clock, [10, 20])
    assert (store.position_at(21), store.position_at(2**64), store.number_at("s", 21)) == (2, 2, 2)


def test_what_follows_the_first_event_at_a_time_belongs_behind_it_though_the_clock_went_back(open_store, clock):
    store = open_store()
    at_times(store, clock, [10, 500, 20, 30, 600])
    assert [store.position_at(time) for time in (11, 20, 30, 500, 501)] == [1, 1, 1, 1, 4]


def test_a_stream_begins_where_all_streams_do(open_store, clock):
    store = open_store()
    at_times(store, clock, [10, 20], "a")
    at_times(store, clock, [500], "b")
    at_times(store, clock, [30, 40], "a")
    assert [store.number_at("a", time) for time in (0, 20, 21, 30, 500, 501)] == [0, 1, 2, 2, 2, 4]
    assert [store.number_at("b", time) for time in (0, 500, 501)] == [0, 0, 1]
    assert store.number_at("c", 10) == 0


def test_a_batch_has_one_time(open_store, clock):
    store = open_store()
    at_times(store, clock, [10])
    clock.time = 20
    store.commit(store.write([(b"s", b"n", [b"x" * 40_000] * 9)]))
    assert [store.position_at(time) for time in (10, 11, 20, 21)] == [0, 1, 1, 10]


def test_the_times_of_what_is_imported_are_found_though_one_append_brings_several_records(open_store, clock):
    store = open_store()
    times = [10, 10, 50, 30, 70, 20]
    lines = [json.dumps({"stream": f"s-{i % 2}", "number": i // 2, "position": i, "time": time, "name": "n",
                         "data": "x" * 100_000}) for i, time in enumerate(times)]
    import_some(store, lines)
    records = store.records(store.all, 0, len(times), 1 << 20)
    assert len(records) > 1
    assert [store.position_at(time) for time in (10, 11, 50, 51, 70, 71)] == [0, 2, 2, 4, 4, 6]


def test_what_is_not_visible_yet_has_no_time(open_store, clock):
    store = open_store(sync="always")
    at_times(store, clock, [10])
    clock.time = 20
    batch = store.write([(b"s", b"n", [b"x"])])
    assert (store.position_at(20), store.number_at("s", 20)) == (1, 1)
    store.commit(batch)
    assert store.position_at(21) == 2
    assert store.position_at(20) == 1


def test_a_look_reads_about_the_distance_of_two_marks(open_store, clock, monkeypatch):
    disk = Disk()
    store = open_store(files=disk)
    for clock.time in range(400):
        store.append("s", "n", b"x" * 4000)
    read = []
    plain = disk.read
    monkeypatch.setattr(disk, "read", lambda fd, size, pos: read.append(size) or plain(fd, size, pos))
    assert store.position_at(300) == 300
    assert sum(read) < 400_000


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=st.lists(st.tuples(st.integers(0, 30), st.sampled_from("abc"), st.integers(0, 300)), max_size=60),
       segment_size=st.sampled_from([1, 900, 1 << 20]), level=st.sampled_from([0, 6]),
       then=st.sampled_from(["as it is", "reopened", "rebuilt", "merged", "reopened and merged"]))
def test_times_are_found_as_in_a_list(tmp_path_factory, monkeypatch, events, segment_size, level, then):
    monkeypatch.setattr(log, "_PAUSE", 0)
    monkeypatch.setattr(log.merge, "_MANY", 2)
    monkeypatch.setattr(index, "SPACING", 200)
    clock = Clock()
    folder = str(tmp_path_factory.mktemp("seek") / "db")

    def opened():
        return Store(folder, sync=NO, files=Disk(), clock=clock, segment_size=segment_size, compression=level)

    store = opened()
    for i, (clock.time, stream, size) in enumerate(events):
        store.append(stream, "n", b"x" * size)
        if then == "reopened and merged" and i % 7 == 6:
            store.close()
            store = opened()
    if then != "as it is":
        store.sync()
        store._log.tidy()
        store.close()
        if then == "rebuilt":
            drop_index(folder)
        store = opened()
    store._log.tidy()
    highest = list(itertools.accumulate([time for time, _, _ in events], max))
    for time in range(32):
        position = next((i for i, high in enumerate(highest) if high >= time), len(events))
        assert store.position_at(time) == position
        for stream in "abc":
            before = sum(1 for _, of, _ in events[:position] if of == stream)
            assert store.number_at(stream, time) == before
    assert not store._log._rebuilt
    store.close()


def sealed(open_store, clock):
    """A store of several segments whose rows are in sqlite3, at times 0, 1, 2 and so on; and its index's file."""
    store = open_store(segment_size=500)
    at_times(store, clock, range(20))
    store.sync()
    store._log.tidy()
    until(lambda: store._log.index.oldest().through is None)
    return store, store._log.index.path


@pytest.mark.parametrize("statement", [
    "delete from marks where segment = 2", "update marks set latest = 3", "update marks set latest = null",
    "update marks set packed = x'00'", "update marks set crc = 0", "drop table marks",
])
def test_an_altered_row_of_marks_is_noticed(open_store, clock, statement):
    store, path = sealed(open_store, clock)
    with sqlite3.connect(path) as other:
        other.execute(statement)
    assert [store.position_at(time) for time in range(22)] == [*range(20), 20, 20]
    assert store._log._rebuilt == 1


def test_a_time_that_no_event_has_is_noticed_though_its_checksum_is_right(open_store, clock):
    store, path = sealed(open_store, clock)
    row = [2, store._log._segments[2].header.first, 99]
    with sqlite3.connect(path) as other:
        other.execute("update marks set latest = 99, latest_crc = ? where segment = 2",
                      (index._checksum(repr(row).encode()),))
    assert store.position_at(50) == 20
    assert store._log._rebuilt == 1


def test_a_row_that_goes_between_two_looks_is_noticed(open_store, clock, monkeypatch):
    store, _ = sealed(open_store, clock)
    known = store._log.index.latest()
    monkeypatch.setattr(store._log.index, "latest", lambda: {**known, (0, 1): 99})
    with pytest.raises(IndexUnusable, match="no marks of segment 0 from position 1 on any more"):
        store.position_at(50)


def test_a_place_that_lies_rows_back_is_found(open_store, clock):
    store = open_store(segment_size=400)
    at_times(store, clock, range(5), "a")
    at_times(store, clock, range(5, 30), "b")
    at_times(store, clock, [30], "a")
    store.sync()
    store._log.tidy()
    assert [store.number_at("a", time) for time in (4, 5, 20, 30, 31)] == [4, 5, 5, 5, 6]


def test_damage_on_the_way_is_said(open_store, clock, tmp_path):
    store = open_store()
    at_times(store, clock, range(20))
    flip(segments(tmp_path / "db")[0], store._log._segments[0].end - 10)
    with pytest.raises(CorruptSegment):
        store.position_at(19)
