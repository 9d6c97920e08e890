"""store/repair.py: what wasn't hit keeps its number and position, what was is told, and nothing is thrown away."""

import errno
import itertools
import os
import shutil

import pytest
from disk import (Disk, add, contents, crash, cut, drop_index, flip, kept, one_record, quick_index, records_of,
                  salt_of, segments, until)
from test_check import opened, overwrite, written

from store import CorruptSegment, EventsLost, StoreLocked, merge, record
from store.check import check
from store.errors import CannotRepair
from store.repair import repair
from store.segment import HEADER_SIZE, file_name

__all__ = ["quick_index"]       # which pytest finds here, and uses by itself


def mended(folder, **more):
    """Repair a store; it is sound then.  Returns what was done."""
    steps = repair(str(folder), files=Disk(), **more).steps
    assert check(str(folder)).problems == []
    return steps


def readable(folder):
    """{(stream, number): (position, data)} of what can be read, and {(stream, number)} of what is said to be lost."""
    there, lost = {}, set()
    with opened(folder) as store:
        for name in store.stream_names():
            number, stop = 0, store.last_number(name) + 1
            while number < stop:
                try:
                    events, number = store.read(name, number), stop
                except EventsLost as error:
                    assert error.stream == name
                    events, number = store.read(name, number, error.first), error.stop
                    lost |= {(name, n) for n in range(error.first, error.stop)}
                there.update({(name, event.number): (event.position, event.data) for event in events})
    return there, lost


EVENTS = {("ab"[i % 2], i // 2): (i, b"data %02d" % i) for i in range(12)}


def without(*positions):
    return {key: event for key, event in EVENTS.items() if event[0] not in positions}


def at(*positions):
    return {key for key, event in EVENTS.items() if event[0] in positions}


def damaged(folder):
    """A store with a damaged record in its second segment, and that record's (path, byte, Record)."""
    paths = written(folder)
    byte, one = records_of(paths[1])[1]
    flip(paths[1], byte + 90)
    return paths[1], byte, one


def test_a_sound_store_is_left_alone(tmp_path):
    written(tmp_path)
    before = contents(tmp_path)
    assert mended(tmp_path) == []
    assert contents(tmp_path) == before


def test_events_around_a_damaged_one_keep_their_numbers_and_positions(tmp_path):
    path, byte, one = damaged(tmp_path)
    whole = path.read_bytes()
    assert mended(tmp_path) == [f"{path.name}: bytes {byte} to {byte + one.size} are kept, and become a gap",
                                "index.sqlite3 is made anew"]
    assert readable(tmp_path) == (without(one.position), at(one.position))
    assert (tmp_path / "cut" / kept(tmp_path)[0]).read_bytes() == whole[byte:byte + one.size]
    there = path.read_bytes()
    assert (there[:byte], there[byte + one.size:len(whole)]) == (whole[:byte], whole[byte + one.size:])


def test_the_repaired_store_takes_events_and_is_opened_again(tmp_path):
    damaged(tmp_path)
    mended(tmp_path)
    for number in (6, 7):
        with opened(tmp_path) as store:
            assert store.append("a", "n", b"new") == (number, 6 + number)
            assert store.epoch == 1
    drop_index(tmp_path)
    with opened(tmp_path) as store:
        assert [event.number for event in store.read("a", 6)] == [6, 7]
        assert not store._log._rebuilt
    assert check(str(tmp_path)).problems == []


def test_a_read_that_comes_to_what_is_lost_says_what_that_is_and_where_to_read_on(tmp_path):
    _, _, one = damaged(tmp_path)
    mended(tmp_path)
    name = one.stream.decode()
    with opened(tmp_path) as store:
        for first in (0, one.number):
            with pytest.raises(EventsLost, match=f"event {one.number} of stream '{name}' is lost to damage; what was "
                                                 f"left of the bytes is kept in cut/, read on from event "
                                                 f"{one.number + 1}"):
                store.read(name, first)
        assert [event.number for event in store.read(name, 0, one.number)] == list(range(one.number))
        assert [event.position for event in store.read_all(0, one.position)] == list(range(one.position))
        with pytest.raises(EventsLost, match=f"position {one.position} is lost to damage") as caught:
            store.read_all(one.position)
        assert (caught.value.stream, caught.value.first, caught.value.stop) == (None, one.position, one.position + 1)
        assert store.read_all(one.position + 1)[0].position == one.position + 1


def test_a_replay_of_a_segment_that_lost_its_end_says_so(tmp_path):
    paths = written(tmp_path)
    byte, one = records_of(paths[1])[-1]
    cut(paths[1], byte + 20)
    with opened(tmp_path) as store:
        stream = store.find(one.stream)
        with pytest.raises(CorruptSegment, match=f"at byte {byte}"):
            store.frames(stream, one.number, stream.visible, 1 << 20)


def test_what_follows_a_gap_of_its_own_stream_is_read(tmp_path):
    [path] = written(tmp_path, streams="a", segment_size=1 << 20)
    flip(path, records_of(path)[1][0] + 90)
    mended(tmp_path)
    with opened(tmp_path) as store:
        assert [event.number for event in store.read("a", 2)] == list(range(2, 12))
        assert store.frames(store.find(b"a"), 2, 12, 1 << 20).first == 2


def test_what_precedes_a_gap_of_another_stream_is_read(tmp_path):
    paths = written(tmp_path)
    byte, one = records_of(paths[0])[-1]
    flip(paths[0], byte + 90)
    mended(tmp_path)
    other = "b" if one.stream == b"a" else "a"
    with opened(tmp_path) as store:
        assert [event.number for event in store.read(other)] == list(range(6))


def test_replays_end_before_what_is_lost_and_say_so(tmp_path):
    _, _, one = damaged(tmp_path)
    mended(tmp_path)
    with opened(tmp_path) as store:
        for stream, key in ((store.find(one.stream), one.number), (store.all, one.position)):
            some = store.frames(stream, 0, stream.visible, 1 << 20)
            while some.stop < key:
                some = store.frames(stream, some.stop, stream.visible, 1 << 20)
            assert some.stop == key
            with pytest.raises(EventsLost):
                store.frames(stream, key, stream.visible, 1 << 20)
            assert store.frames(stream, key + 1, stream.visible, 1 << 20).first == key + 1


def test_several_streams_lose_events_in_one_gap(tmp_path):
    paths = written(tmp_path, streams="abcdef", segment_size=1 << 20)
    records = records_of(paths[0])
    overwrite(paths[0], records[3][0], bytes(records[8][0] - records[3][0]))
    mended(tmp_path)
    there, lost = readable(tmp_path)
    assert lost == {("abcdef"[i % 6], i // 6) for i in range(3, 8)}
    assert len(there) == 7


def test_a_stream_that_lost_every_event_goes_on_with_the_next_number(tmp_path):
    [path] = written(tmp_path, streams="abc", count=3)
    flip(path, records_of(path)[1][0] + 90)
    mended(tmp_path)
    assert readable(tmp_path)[1] == {("b", 0)}
    with opened(tmp_path) as store:
        assert store.append("b", "n", b"new").number == 1
        assert store.read("b", 1)[0].data == b"new"


def test_events_of_nobody_knows_which_stream_raise_the_epoch(tmp_path):
    paths = written(tmp_path, streams="abcdefghijkl")
    drop_index(tmp_path)
    byte, one = records_of(paths[-1])[0]
    flip(paths[-1], byte + 90)
    assert "epoch 2 begins" in mended(tmp_path)
    with opened(tmp_path) as store:
        assert (store.epoch, store.position) == (2, 12)
        assert one.stream.decode() not in store.stream_names()
        assert len(store.stream_names()) == 11
        with pytest.raises(EventsLost):
            store.read_all(one.position)
    assert mended(tmp_path) == []


def test_an_unfinished_segment_makes_way_for_the_one_of_the_next_epoch(tmp_path):
    paths = written(tmp_path, streams="abcdefghijkl")
    drop_index(tmp_path)
    flip(paths[-1], records_of(paths[-1])[0][0] + 90)
    (tmp_path / file_name(len(paths))).write_bytes(b"MEIL")
    assert "epoch 2 begins" in mended(tmp_path)
    assert f"{file_name(len(paths))}.0" in kept(tmp_path)


def test_a_tear_is_cut_as_on_every_start(tmp_path):
    [path] = written(tmp_path, count=3, closed=False)
    cut(path, path.stat().st_size - 1)
    assert mended(tmp_path) == ["the tear is cut off, and kept"]
    assert readable(tmp_path) == (without(*range(2, 12)), set())
    assert len(kept(tmp_path)) == 1


def test_damage_before_a_tear_is_repaired_and_the_tear_cut(tmp_path):
    [path] = written(tmp_path, count=6, closed=False, streams="abcdef", segment_size=1 << 20)
    records = records_of(path)
    flip(path, records[1][0] + 90)
    cut(path, path.stat().st_size - 1)
    assert mended(tmp_path)[-1] == "the tear is cut off, and kept"
    with opened(tmp_path) as store:
        assert (store.epoch, store.position) == (2, 5)
        assert store.stream_names() == ["a", "c", "d", "e"]


@pytest.mark.parametrize("i", [0, 1, 2])
def test_a_missing_segment_becomes_one_with_a_gap(tmp_path, i):
    paths = written(tmp_path)
    lost = [one.position for _, one in records_of(paths[i]) if one.count]
    paths[i].unlink()
    mended(tmp_path)
    there, said = readable(tmp_path)
    assert (there, said) == (without(*lost), at(*lost))
    if i < 2:
        assert paths[i].stat().st_blocks * 512 <= 4096


def test_segments_that_are_missing_in_a_row_become_gaps(tmp_path):
    paths = written(tmp_path, count=20)
    lost = [one.position for path in paths[1:3] for _, one in records_of(path) if one.count]
    for path in paths[1:3]:
        path.unlink()
    mended(tmp_path)
    _, said = readable(tmp_path)
    assert said == {("ab"[i % 2], i // 2) for i in lost}


@pytest.mark.parametrize("order", [(1, 0, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1)])
def test_segments_get_their_names_back(tmp_path, order):
    paths = written(tmp_path)
    whole = contents(tmp_path)
    data = [path.read_bytes() for path in paths]
    for path, i in zip(paths, order):
        path.write_bytes(data[i])
    assert any(".moving" in step for step in mended(tmp_path))
    assert contents(tmp_path) == whole
    assert readable(tmp_path) == (EVENTS, set())


def test_a_segment_under_a_name_that_nobody_has_gets_its_own_back(tmp_path):
    paths = written(tmp_path)
    paths[1].rename(tmp_path / file_name(8))
    assert mended(tmp_path) == [f"{file_name(8)} becomes {paths[1].name}"]
    assert readable(tmp_path) == (EVENTS, set())


def test_a_stranger_is_moved_to_the_cuts_and_the_segment_that_it_hid_becomes_a_gap(tmp_path):
    paths = written(tmp_path / "db")
    strange = written(tmp_path / "other")
    lost = [one.position for _, one in records_of(paths[1]) if one.count]
    shutil.copy(strange[1], paths[1])
    mended(tmp_path / "db")
    assert (tmp_path / "db" / "cut" / f"{paths[1].name}.0").read_bytes() == strange[1].read_bytes()
    assert readable(tmp_path / "db") == (without(*lost), at(*lost))


@pytest.mark.parametrize("i", [0, 1, 2])
@pytest.mark.parametrize("spoil", [lambda path: flip(path, 50), lambda path: overwrite(path, 0, bytes(HEADER_SIZE))])
def test_a_header_is_written_anew_and_what_was_there_is_kept(tmp_path, spoil, i):
    paths = written(tmp_path)
    spoil(paths[i])
    header = paths[i].read_bytes()[:HEADER_SIZE]
    assert mended(tmp_path) == [f"the header of {paths[i].name} is written anew, and what was there is kept"]
    assert (tmp_path / "cut" / f"{paths[i].name}-0.0").read_bytes() == header
    assert readable(tmp_path) == (EVENTS, set())


def test_a_stores_only_header_is_written_anew(tmp_path):
    [path] = written(tmp_path, segment_size=1 << 20)
    overwrite(path, 0, bytes(HEADER_SIZE))
    mended(tmp_path)
    assert readable(tmp_path) == (EVENTS, set())


def test_an_index_that_is_of_no_use_is_made_anew(tmp_path):
    written(tmp_path)
    flip(tmp_path / "index.sqlite3", 5000)
    (tmp_path / "index.sqlite3").write_bytes(b"garbage")
    assert mended(tmp_path) == ["index.sqlite3 is made anew"]
    assert readable(tmp_path) == (EVENTS, set())


def test_a_mark_that_is_damaged_becomes_a_gap_that_lost_nothing(tmp_path):
    written(tmp_path, count=2)
    [path] = written(tmp_path, count=2, segment_size=1 << 20)
    byte = next(byte for byte, one in records_of(path) if one.kind == record.MARK)
    flip(path, byte + 30)
    mended(tmp_path)
    assert check(str(tmp_path)).notes == ["cut/: 1 file, kept when the log was cut or repaired"]
    with opened(tmp_path) as store:
        assert [event.position for event in store.read_all()] == [0, 1, 2, 3]
        assert [event.number for event in store.read("a")] == [0, 1]


def test_damage_to_a_gap_is_repaired_by_a_gap(tmp_path):
    path, byte, one = damaged(tmp_path)
    mended(tmp_path)
    flip(path, byte + 10)
    mended(tmp_path)
    assert readable(tmp_path) == (without(one.position), at(one.position))


def test_damage_before_a_repaired_place_is_repaired_as_well(tmp_path):
    [path] = written(tmp_path, segment_size=1 << 20, streams="abcdefghijkl")
    records = records_of(path)
    for i in (8, 3):
        drop_index(tmp_path)
        flip(path, records[i][0] + 90)
        mended(tmp_path)
    with opened(tmp_path) as store:
        assert store.epoch == 3
        assert len(store.stream_names()) == 10


def test_a_compressed_pack_of_many_streams_has_room_for_their_names(tmp_path, monkeypatch):
    with opened(tmp_path, compression=9, segment_size=1 << 20) as store:
        store.append("first", "n", b"")
        store.commit(store.write([(b"a-long-name-%d" % i, b"n", [b""]) for i in range(60)]))
        store.append("last", "n", b"")
    [path] = segments(tmp_path)
    byte, one = records_of(path)[1]
    assert one.kind == record.PACK and one.size < 60 * 27
    flip(path, byte + 90)
    mended(tmp_path)
    with opened(tmp_path) as store:
        with pytest.raises(EventsLost):
            store.read("a-long-name-7")
        assert store.last_number("a-long-name-59") == 0
        assert store.append("a-long-name-59", "n", b"").number == 1


# -- what isn't done ----------------------------------------------------------------

def test_a_dry_run_says_what_would_be_done_and_changes_nothing(tmp_path):
    path, byte, one = damaged(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    steps = repair(str(tmp_path), dry_run=True).steps
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert steps == mended(tmp_path)


def test_a_dry_run_goes_through_every_step(tmp_path):
    paths = written(tmp_path / "db", count=30, streams=[f"s{i}" for i in range(30)])
    drop_index(tmp_path / "db")
    strange = written(tmp_path / "other")
    shutil.copy(strange[0], tmp_path / "db" / file_name(99))
    paths[1].unlink()
    flip(paths[2], 50)
    a, b = paths[3].read_bytes(), paths[4].read_bytes()
    paths[3].write_bytes(b)
    paths[4].write_bytes(a)
    flip(paths[-1], records_of(paths[-1])[0][0] + 90)
    before = contents(tmp_path / "db")
    steps = repair(str(tmp_path / "db"), dry_run=True).steps
    assert contents(tmp_path / "db") == before
    assert steps == mended(tmp_path / "db")
    assert "epoch 2 begins" in steps


def test_a_store_that_is_in_use_is_not_repaired(tmp_path):
    with opened(tmp_path), pytest.raises(StoreLocked):
        repair(str(tmp_path))


def refused(folder, match):
    before = contents(folder)
    with pytest.raises(CannotRepair, match=match):
        repair(str(folder), files=Disk())
    assert contents(folder) == before


def test_a_store_without_a_segment_that_had_events_is_not_repaired(tmp_path):
    for path in written(tmp_path):
        path.unlink()
    refused(tmp_path, "no segment is there, and 12 events were on disk")


def test_a_folder_without_a_store_gets_none(tmp_path):
    assert repair(str(tmp_path), files=Disk()).steps == []
    assert contents(tmp_path) == {}


def test_segments_of_two_copies_of_a_store_are_not_mixed(tmp_path):
    written(tmp_path / "db", count=6)
    shutil.copytree(tmp_path / "db", tmp_path / "other")
    for name in ("db", "other"):
        written(tmp_path / name, count=12)
    shutil.copy(segments(tmp_path / "other")[2], segments(tmp_path / "db")[2])
    refused(tmp_path / "db", "one of the two is from another copy")


def test_records_that_contradict_each_other_are_left_alone(tmp_path):
    written(tmp_path, count=1, closed=False)
    [path] = segments(tmp_path)
    salt = salt_of(path)
    add(path, one_record(salt, b"a", 2, 2, synced=2) + one_record(salt, b"b", 1, 3, synced=3) +
        one_record(salt, b"b", 2, 4, synced=4))
    refused(tmp_path, "numbers and positions of its records contradict each other")


def test_bytes_that_are_missing_in_the_middle_leave_no_room_for_a_gap(tmp_path):
    paths = written(tmp_path)
    byte, one = records_of(paths[1])[1]
    data = paths[1].read_bytes()
    paths[1].write_bytes(data[:byte] + data[byte + one.size:])
    refused(tmp_path, f"a gap of .* bytes, expected no more than 0, at byte {byte}")


# -- crashes ------------------------------------------------------------------------

def spoilings(folder):
    """Yield functions that damage a copy of a store with 20 events, each needing other steps."""
    paths = [path.name for path in written(folder, count=20)]
    byte = records_of(folder / paths[1])[1][0]
    yield lambda copy: flip(copy / paths[1], byte + 90)
    yield lambda copy: (copy / paths[1]).unlink()
    yield lambda copy: flip(copy / paths[2], 50)
    yield lambda copy: cut(copy / paths[1], byte + 20)
    yield lambda copy: (drop_index(copy), overwrite(copy / paths[-1], 0, bytes(HEADER_SIZE + 100)))

    def swap(copy):
        os.rename(copy / paths[1], copy / "x")
        os.rename(copy / paths[2], copy / paths[1])
        os.rename(copy / "x", copy / paths[2])
    yield swap


def test_a_repair_that_is_killed_anywhere_is_finished_by_the_next(tmp_path):
    for spoil in spoilings(tmp_path / "db"):
        expected = None
        for changes in itertools.count(1):
            copy = tmp_path / "copy"
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(tmp_path / "db", copy)
            spoil(copy)
            if expected is None:
                expected = _after_repair(tmp_path / "whole", copy)
            disk = Disk()
            disk.die_in(changes)
            try:
                repair(str(copy), files=disk)
            except OSError:
                assert disk.dead
            _may_open(copy, expected[0])
            mended(copy)
            assert readable(copy) == expected
            if not disk.dead:
                break


def _after_repair(folder, copy):
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(copy, folder)
    mended(folder)
    return readable(folder)


def _may_open(folder, events):
    """Half repaired, it opens or not, and serves nothing but what was there."""
    copy = folder.parent / "half"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy)
    try:
        store = opened(copy)
    except Exception as error:
        assert "Nothing was changed" in str(error) or isinstance(error, CorruptSegment)
        return
    with store:
        for (name, number), (_, data) in events.items():
            try:
                [event] = store.read(name, number, limit=1)
                assert event.data == data
            except (CorruptSegment, EventsLost):
                pass


def test_a_repair_that_finds_no_room_to_keep_what_it_cuts_changes_nothing(tmp_path):
    damaged(tmp_path)
    before = contents(tmp_path)
    disk = Disk()
    disk.refuse("write", errno.ENOSPC)
    with pytest.raises(OSError, match="No space left"):
        repair(str(tmp_path), files=disk)
    assert contents(tmp_path) == before
    mended(tmp_path)


def test_a_crashed_store_with_damage_is_repaired(tmp_path):
    disk = Disk()
    store = opened(tmp_path, files=disk, segment_size=1 << 20)
    for i in range(12):
        store.append("ab"[i % 2], "n", b"data %02d" % i)
    crash(store, disk)
    [path] = segments(tmp_path)
    flip(path, records_of(path)[4][0] + 90)
    mended(tmp_path)
    assert readable(tmp_path) == (without(4), at(4))


def test_the_files_of_the_disk_itself_are_used_when_none_are_given(tmp_path):
    _, _, one = damaged(tmp_path)
    repair(str(tmp_path))
    assert readable(tmp_path) == (without(one.position), at(one.position))


# -- segments that are rewritten ------------------------------------------------------

def test_a_gap_in_a_segment_that_is_rewritten_still_says_what_is_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(merge, "_MANY", 1)
    paths = written(tmp_path, count=3)
    byte, one = records_of(paths[0])[1]
    flip(paths[0], byte + 90)
    mended(tmp_path)
    with opened(tmp_path) as store:
        for _ in range(8):
            store.append("a", "n", b"more")
        until(lambda: store._log._segments[0].header.generation)
        assert [(e.number, e.position) for e in store.read("a", 0, 1)] == [(0, 0)]
        with pytest.raises(EventsLost, match="event 0 of stream 'b' is lost"):
            store.read("b")
        with pytest.raises(EventsLost, match="position 1 is lost"):
            store.read_all()
    [gap] = [one for _, one in records_of(paths[0]) if one.kind == record.GAP]
    assert gap.size < one.size
    assert check(str(tmp_path)).problems == []
    drop_index(tmp_path)
    there, lost = readable(tmp_path)
    assert lost == {("b", 0)}
    assert len(there) == 10


@pytest.mark.parametrize("spoil", [
    lambda path: flip(path, 50),
    lambda path: overwrite(path, 0, bytes(HEADER_SIZE)),
    lambda path: flip(path, HEADER_SIZE + 90),
    lambda path: cut(path, path.stat().st_size - 1),
    lambda path: cut(path, HEADER_SIZE),
    lambda path: (overwrite(path, 0, bytes(HEADER_SIZE)), cut(path, path.stat().st_size - 1)),
    lambda path: path.unlink(),
])
def test_a_segment_that_was_rewritten_is_repaired(tmp_path, monkeypatch, spoil):
    monkeypatch.setattr(merge, "_MANY", 1)
    with opened(tmp_path) as store:
        for i in range(12):
            store.append("ab"[i % 2], "n", b"data %02d" % i)
        until(lambda: store._log._segments[0].header.generation)
    path, following = segments(tmp_path)[:2]
    stop = records_of(following)[0][1].position
    assert check(str(tmp_path)).problems == []
    spoil(path)
    mended(tmp_path)
    there, lost = readable(tmp_path)
    assert set(there) | lost == set(EVENTS)
    assert there.items() <= EVENTS.items()
    assert all(EVENTS[key][0] < stop for key in lost)
