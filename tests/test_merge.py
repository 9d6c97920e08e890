"""store/merge.py, and how the log puts what it makes in place of a segment: the same events, in fewer records."""

import errno
import itertools
import logging
import sqlite3
import threading

import pytest
from disk import SECONDS, Call, Disk, crash, drop_index, everything, flip, quick_index, records_of, segments, until
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from store import (EVERYSEC, NO, Change, CorruptSegment, EventsLost, IndexUnusable, NewEvent, Store, StoreClosed,
                   StoreFailed, StoreFull, log, merge, record)
from store.append import append_of
from store.check import check
from store.index import IndexDamaged
from store.record import Gone
from store.repair import repair
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
    ids = (b"%d" % i for i in itertools.count())
    writes = [([(stream, data, id_ and next(ids)) for stream, data, id_ in events], whole) for events, whole in writes]
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
    monkeypatch.setattr(merge, "_WRITE", 5_000)
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
    assert check(str(folder)).problems == []
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
    assert check(str(folder)).problems == []
    again = open_store(files=Disk())
    assert everything(again) == before
    assert not list(folder.glob("*" + MERGING))


@pytest.mark.parametrize("openings", [2, 3])
def test_every_part_of_a_segment_that_was_indexed_before_is_known_where_it_is_now(open_store, folder, openings):
    for _ in range(openings):
        store = open_store()
        fill(store, streams=("s", "t"))
        store.close()
    store = open_store()
    fill(store, streams=("s", "t"))
    before = found(store)
    seal(store)
    assert generations(store) == [1, 0]
    for number in range(len(before[1]["s"])):
        assert store.read("s", number, number + 1) == [before[1]["s"][number]]
        assert store.read_all(number, number + 1) == [before[0][number]]
    assert not store._log._rebuilt
    store.close()
    assert check(str(folder)).problems == []


# -- what goes ---------------------------------------------------------------------------

def shed(*going):
    """A sieve that takes out the events of these (stream, number)."""
    def sieve(one):
        pieces = []
        touched = False
        for run in one.runs():
            for i in range(run.count):
                part = run.part(i, i + 1)
                if (part.stream.decode(), part.number) in going:
                    id_ = part.details()[0][0]
                    stubs = [(part.number, part.position, id_)] if id_ else []
                    pieces.append(merge.Shed(part.position, part.latest, Gone(part.stream, part.number, 1, stubs)))
                    touched = True
                else:
                    pieces.append(part)
        return pieces if touched else None
    return sieve


def rewrite(store, *going):
    """Take these events out of the first segment, which is sealed."""
    return store._log.rewrite(0, shed(*going))


def left(events, *going):
    return [event for event in events if (event.stream, event.number) not in going]


def sealed(store):
    """A store with a sealed segment of events of two streams; everything in it."""
    for i in range(FEW):
        store.append("st"[i % 2], "n", b"%d " % i + b"x" * 50, id=b"%d" % i)
    before = store.read_all(limit=FEW)
    seal(store)
    return before


FIRST = tuple(("s", number) for number in range(20))


@pytest.mark.parametrize("level", [0, 6])
def test_what_goes_is_passed_over_and_what_stays_keeps_its_numbers_and_positions(open_store, folder, level):
    store = open_store(compression=level)
    before = sealed(store)
    size = store.size
    freed = rewrite(store, *FIRST)
    assert freed == size - store.size > 0 or level
    assert store.read_all(limit=FEW) == left(before, *FIRST)
    assert [event.number for event in store.read("s")] == list(range(20, 50))
    assert [event.number for event in store.read("t")] == list(range(50))
    assert store.last_number("s") == 49 and store.position == FEW
    assert store._log._segments[0].header.gone == 20
    for number in range(50):
        assert [event.number for event in store.read("s", number, number + 1)] == [number][:number >= 20]
    assert not store._log._rebuilt
    store.close()
    assert check(str(folder)).problems == []
    assert check(str(folder)).cut == 20


def test_after_a_restart_with_or_without_the_index_it_is_as_before(open_store, folder):
    store = open_store()
    before = sealed(store)
    rewrite(store, *FIRST)
    for loses_index in (False, True):
        store.close()
        if loses_index:
            drop_index(folder)
        store = open_store()
        assert store.read_all(stop=FEW, limit=FEW) == left(before, *FIRST)
        assert [event.number for event in store.read("s", stop=50)] == list(range(20, 50))
        assert store.append("s", "n", b"next").number == 50 + loses_index


def test_what_went_is_not_on_the_disk(open_store, folder):
    store = open_store()
    sealed(store)
    assert b"\r\n38 xxxxx" in segments(folder)[0].read_bytes()
    rewrite(store, *FIRST)
    assert b"\r\n38 xxxxx" not in segments(folder)[0].read_bytes()
    assert b"\r\n39 xxxxx" in segments(folder)[0].read_bytes()


def test_cuts_that_become_neighbours_are_joined_and_keep_the_ids(open_store, folder):
    store = open_store()
    sealed(store)
    rewrite(store, *[("s", number) for number in range(50)])
    rewrite(store, *[("t", number) for number in range(50)])
    (_, only), = records_of(segments(folder)[0])
    assert (only.kind, only.position, only.count) == (record.CUT, 0, FEW)
    _, _, (s, t) = only.cut_parts()
    assert (s.stream, s.number, s.count) == (b"s", 0, 50)
    assert t.stubs == [(number, 2 * number + 1, b"%d" % (2 * number + 1)) for number in range(50)]
    assert store.read_all() == store.read("s") == store.read("t") == []
    assert store.append("t", "n", b"goes on") == (50, FEW)


def test_a_long_cut_is_several(open_store, folder, monkeypatch):
    monkeypatch.setattr(record, "MAX_FRAMES", 500)
    store = open_store()
    sealed(store)
    rewrite(store, *[(stream, number) for stream in "st" for number in range(50)])
    cuts = [one for _, one in records_of(segments(folder)[0])]
    assert len(cuts) > 3 and sum(one.count for one in cuts) == FEW
    assert not store.read_all()


def test_a_gap_stays_a_gap_between_cuts(open_store, folder):
    store = open_store()
    before = sealed(store)
    store.close()
    byte, _ = records_of(segments(folder)[0])[1]
    flip(segments(folder)[0], byte + 100)
    lost = repair(str(folder)).findings.holes[0]
    store = open_store()
    rewrite(store, *FIRST)
    gap, = [one for _, one in records_of(segments(folder)[0]) if one.kind == record.GAP]
    assert (gap.position, gap.count) == (lost.position, lost.count)
    with pytest.raises(EventsLost):
        store.read_all(lost.position)
    assert store.read_all(0, lost.position) == left(before[:lost.position], *FIRST)
    assert store.read_all(lost.end, FEW) == left(before[lost.end:], *FIRST)


def test_a_segment_that_goes_on_behind_a_restart_is_rewritten_as_one(open_store):
    store = open_store()
    fill(store, 30, streams=("s", "t"))
    store.close()
    store = open_store()
    fill(store, 30, streams=("s", "t"))
    before = store.read_all()
    seal(store)
    assert generations(store) == [0, 0]         # few records are left as they are
    rewrite(store, *FIRST)
    assert store.read_all() == left(before, *FIRST)
    for number in range(30):
        assert [event.number for event in store.read("s", number, number + 1)] == [number][:number >= 20]


def test_replays_pass_over_what_went(open_store):
    store = open_store()
    sealed(store)
    rewrite(store, *FIRST)
    assert store.frames(store.all, 0, FEW, 1 << 20) is None     # there is more to know than frames tell
    assert store.frames(store.find(b"s"), 0, 50, 1 << 20) is None
    passed, *_ = store.records(store.find(b"s"), 0, 50, 1 << 20)
    assert (passed.stream, passed.number, passed.stop, passed.runs(), passed.events()) == (b"s", 0, 20, [], []) or \
        passed.stop <= 20
    frames = store.frames(store.find(b"s"), 45, 50, 1 << 20)
    assert frames.stop == 50


def test_entries_stay_and_are_found_where_they_are_then(open_store, folder, monkeypatch):
    store = open_store()
    long = b"long" * 500
    store.put_many([("t", b"long", long), ("t", b"short", b"1"), ("t", b"out", b"1")])
    store.put("t", b"out", None)
    store.put("t", b"later", b"1")
    store.put("t", b"gone later", b"1")
    sealed(store)
    store.put("t", b"later", b"2")
    store.put("t", b"gone later", None)
    store.sync()
    expected = [(b"later", b"2"), (b"long", long), (b"short", b"1")]
    with monkeypatch.context() as patch:
        patch.setattr(store._log.index, "_put_about", refuse)
        with pytest.raises(sqlite3.OperationalError):
            rewrite(store, *FIRST)
    assert (store.entries("t"), store.get("t", b"long")) == (expected, long)    # as memory has it
    store._log.write_shadows()
    assert (store.entries("t"), store.get("t", b"long")) == (expected, long)
    left_ = [entry[1] for _, one in records_of(segments(folder)[0]) if one.kind == record.CONTROL
             for entry in one.entries()]
    assert left_ == [b"long", b"short", b"out", b"out"]
    for loses_index in (False, True):
        store.close()
        assert check(str(folder)).problems == []
        if loses_index:
            drop_index(folder)
        store = open_store()
        assert (store.entries("t"), store.get("t", b"long")) == (expected, long)


def test_damage_leaves_a_segment_as_it_is_when_events_are_to_go(open_store, folder):
    store = open_store()
    sealed(store)
    byte, _ = records_of(segments(folder)[0])[1]
    flip(segments(folder)[0], byte + 100)
    with pytest.raises(record.BadRecord):
        rewrite(store, *FIRST)
    assert not list(folder.glob("*" + MERGING))


def test_without_room_nothing_is_taken_out(open_store, disk):
    store = open_store()
    sealed(store)
    disk.free = lambda path: 1000
    with pytest.raises(StoreFull):
        rewrite(store, *FIRST)


def test_a_close_ends_taking_events_out(open_store):
    store = open_store()
    sealed(store)
    store._log.end_tidying()
    assert rewrite(store, *FIRST) is None or len(store.read("s")) == 30
    assert not store._log.index.shadows()


def test_what_sqlite_did_not_take_is_known_in_memory_until_it_does(open_store, monkeypatch, folder):
    store = open_store()
    before = sealed(store)
    with monkeypatch.context() as patch:
        patch.setattr(store._log.index, "_put_about", refuse)
        with pytest.raises(sqlite3.OperationalError):
            rewrite(store, *FIRST)
    assert [fresh.sequence for fresh in store._log.index.shadows()] == [0]
    fill(store, 3, streams=("s", "u"))
    for number in range(52):
        assert [event.number for event in store.read("s", number, number + 1)] == [number][:number >= 20]
    assert store.read_all(1, limit=FEW)[:FEW - 20] == left(before, *FIRST)
    store._log.write_shadows()
    assert not store._log.index.shadows()
    assert store.read_all(limit=FEW)[:FEW - 20] == left(before, *FIRST)


def refuse(*args):
    raise sqlite3.OperationalError("disk I/O error")


def test_an_index_that_was_not_told_is_made_anew(open_store, monkeypatch, caplog):
    store = open_store()
    before = sealed(store)
    monkeypatch.setattr(store._log.index, "_put_about", refuse)
    with pytest.raises(sqlite3.OperationalError):
        rewrite(store, *FIRST)
    store.close()
    caplog.clear()
    store = open_store()
    assert "rewritten" in caplog.text
    assert store.read_all(limit=FEW) == left(before, *FIRST)


def test_an_open_segment_is_sealed_on_request(open_store):
    store = open_store()
    store._log.seal()
    assert generations(store) == [0]
    fill(store, 3)
    store._log.seal()
    until(lambda: len(store._log.flushed()) == 1)
    assert store._log.events_in(0) == 3
    assert store._log.segment_of(b"s", 2) == 0
    with pytest.raises(IndexUnusable):
        store._log.segment_of(b"nobody", 2)
    store._log.fail("here", "a test", OSError(errno.EIO, "no"))
    with pytest.raises(StoreFailed):
        store._log.seal()


@pytest.mark.parametrize("changes", range(1, 12))
def test_the_power_may_go_while_events_are_taken_out(open_store, folder, disk, changes):
    store = open_store()
    before = sealed(store)
    disk.die_in(changes)
    try:
        rewrite(store, *FIRST)
    except OSError:
        pass
    crash(store, disk)
    again = open_store(files=Disk())
    assert again.read_all(limit=FEW) in (before, left(before, *FIRST))
    assert [event.number for event in again.read("s")][-30:] == list(range(20, 50))
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


def test_a_reader_who_finds_the_index_wrong_meanwhile_waits_for_the_merge_and_it_not_for_him(open_store, disk):
    store = open_store()
    fill(store)
    gate = disk.hold("rename", MERGING)
    with store._log.lock:
        store._log._roll()
    store.sync()
    gate.wait_for_call()        # it moves rows of the index, and will replace the segment once nobody reads
    found = [IndexDamaged("as if"), "read"]

    def read():
        one = found.pop(0)
        if isinstance(one, IndexDamaged):
            raise one
        return one

    reader = Call(store._log._while_open, store._log._with_index, read)
    until(lambda: not found[1:])
    gate.open()
    assert reader.result() == "read"
    until(lambda: generations(store)[0] == 1)
    assert store._log._readers == 0


def test_a_reader_who_waits_to_make_the_index_anew_ends_with_the_store(open_store):
    store = open_store()
    fill(store, 3)
    log_ = store._log
    reading = threading.Event()

    def read():
        reading.set()
        raise IndexDamaged("as if")

    with log_._index_writing:
        reader = Call(log_._while_open, log_._with_index, read)
        assert reading.wait(SECONDS)
        until(lambda: log_._readers == 0)
        log_._closed = True
    with pytest.raises(StoreClosed):
        reader.result()
    log_._closed = False
    assert log_._readers == 0
