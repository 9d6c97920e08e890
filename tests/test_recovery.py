"""store/recovery.py and the cut in store/log.py: torn is cut, damaged is refused, and nothing that was
acknowledged is lost."""

import errno
import itertools
import os
import random
import shutil
import struct
import zlib

import pytest
from disk import (Disk, add, contents, crash, cut, drop_index, everything, flip, kept, one_record,
                  quick_index, records_of, salt_of, segments)
from faults.platter import Platter, exhaustive
from faults.still import Shelf, still

from store import (ALWAYS, EVERYSEC, NO, CorruptSegment, LogTooShort, NewEvent, Store, StoreError, StoreFailed,
                   UnknownFormat, record, recovery)
from store.segment import HEADER_SIZE, file_name

__all__ = ["quick_index"]       # which pytest finds here, and uses by itself

DATAS = [b"zero", b"one", b"two", b"three"]
DATA_AT = 92        # where the data of such an event begins in its record
EVENTS = [("s", i, data) for i, data in enumerate(DATAS)]


def opened(folder, disk=None, **more):
    return Store(str(folder), files=disk or Disk(), **more)


def written(folder, end, datas=DATAS, **more):
    """A store with a record an event, ended by `end`: crash, or close.  Returns its segments."""
    disk = Disk()
    store = opened(folder, disk, **more)
    for data in datas:
        store.append("s", "n", data)
    end(store, disk)
    return segments(folder)


def closed(store, _):
    store.close()


def refused(folder, error, match=None):
    """Opening the store fails, and leaves every byte of the log where it was."""
    before = contents(folder)
    with pytest.raises(error, match=match) as caught:
        opened(folder)
    assert contents(folder) == before
    assert not kept(folder)
    return caught.value


def reopened(folder, expected, epoch, **more):
    """The store has these events, and appends and reads them again after another opening."""
    with opened(folder, **more) as store:
        assert everything(store) == expected
        assert store.epoch == epoch
        number = store.append("s", "n", b"new").number
        expected = expected + [("s", number, b"new")]
        assert [(e.stream, e.number, e.data) for e in store.read("s")] == expected
        assert not store._log._rebuilt      # the index was right
    with opened(folder, **more) as store:
        assert everything(store) == expected
        assert [(e.stream, e.number, e.data) for e in store.read("s")] == expected
        assert store.epoch == epoch
        assert not store._log._rebuilt


def copies(folder):
    """Endless copies of a folder, each in place of the last one."""
    copy = folder.parent / "copy"
    for _ in itertools.count():
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folder, copy)
        yield copy


# -- a tear -------------------------------------------------------------------------

def test_a_tail_torn_at_any_byte_is_cut_and_kept_and_raises_the_epoch(tmp_path):
    [path] = written(tmp_path / "db", crash)
    last, _ = records_of(path)[-1]
    whole = path.read_bytes()
    for size, folder in zip(range(last + 1, len(whole)), copies(tmp_path / "db")):
        cut(folder / path.name, size)
        with opened(folder) as store:
            assert everything(store) == EVENTS[:3]
            assert store.epoch == 2
            assert store.size == last + HEADER_SIZE
        assert kept(folder) == [f"{path.name}-{last}.0"]
        assert (folder / "cut" / kept(folder)[0]).read_bytes() == whole[last:size]
        assert (folder / path.name).read_bytes() == whole[:last]


def test_after_a_tear_numbers_go_on_where_they_are_given_up(tmp_path):
    [path] = written(tmp_path, crash)
    cut(path, path.stat().st_size - 1)
    reopened(tmp_path, EVENTS[:3], epoch=2)
    assert [p.name for p in segments(tmp_path)] == [file_name(0), file_name(1)]


def test_a_log_that_ends_with_a_whole_record_is_not_torn(tmp_path):
    written(tmp_path, crash)
    reopened(tmp_path, EVENTS, epoch=1)
    assert kept(tmp_path) == []


def test_good_records_behind_a_tear_are_not_resurrected(tmp_path):
    [path] = written(tmp_path, crash, sync=NO)
    second, _ = records_of(path)[1]
    whole = path.read_bytes()
    flip(path, second + DATA_AT)
    reopened(tmp_path, EVENTS[:1], epoch=2)
    assert [len((tmp_path / "cut" / name).read_bytes()) for name in kept(tmp_path)] == [len(whole) - second]


def test_what_was_cut_twice_is_kept_twice(tmp_path):
    for epoch in (2, 3):
        written(tmp_path, crash, datas=[])
        add(segments(tmp_path)[-1], b"garbage")
        with opened(tmp_path) as store:
            assert store.epoch == epoch
        # The very same cut again, as after a crash before it was final.
        os.unlink(segments(tmp_path)[-1])
        add(segments(tmp_path)[-1], b"garbage")
        drop_index(tmp_path)
        with opened(tmp_path) as store:
            assert store.epoch == epoch
    assert kept(tmp_path) == [f"{file_name(0)}-128.0", f"{file_name(0)}-128.1",
                              f"{file_name(1)}-128.0", f"{file_name(1)}-128.1"]


def test_an_epoch_is_not_given_to_two_cuts_even_if_the_second_undoes_the_first(tmp_path):
    [path] = written(tmp_path, crash, sync=NO)
    cut(path, path.stat().st_size - 1)
    with opened(tmp_path) as store:
        assert (everything(store), store.epoch) == (EVENTS[:3], 2)
    drop_index(tmp_path)
    for segment in segments(tmp_path)[1:]:      # as if the mark of the close hadn't reached the disk
        cut(segment, HEADER_SIZE)
    flip(path, HEADER_SIZE + DATA_AT)
    reopened(tmp_path, [], epoch=3)


def test_a_cut_that_finds_no_room_for_what_it_keeps_changes_nothing_and_is_made_later(tmp_path):
    [path] = written(tmp_path, crash)
    cut(path, path.stat().st_size - 1)
    before = contents(tmp_path)
    disk = Disk()
    disk.refuse("write", errno.ENOSPC, name=".0")
    with pytest.raises(OSError, match="No space left"):
        opened(tmp_path, disk)
    assert contents(tmp_path) == before
    reopened(tmp_path, EVENTS[:3], epoch=2)


@pytest.mark.parametrize("size", [1, 63, 64, 5000])
def test_zeros_behind_the_last_record_are_its_end(tmp_path, size):
    [path] = written(tmp_path, crash)
    whole = path.read_bytes()
    add(path, bytes(size))
    with opened(tmp_path) as store:
        assert (everything(store), store.epoch) == (EVENTS, 1)
        assert path.read_bytes() == whole
    assert kept(tmp_path) == []
    reopened(tmp_path, EVENTS, epoch=1)


@pytest.fixture
def filling(monkeypatch):
    """A disk that fills, a thousand bytes at a time."""
    monkeypatch.setattr("store.segment.AHEAD", 1000)
    disk = Disk()
    disk.fills = True
    return disk


def test_a_crash_at_any_step_of_writing_ahead_keeps_what_was_acknowledged(tmp_path, filling):
    datas = [b"%d" % i * 100 for i in range(20)]
    for steps in itertools.count(1):
        folder = tmp_path / str(steps)
        store = opened(folder, filling, segment_size=1500)
        filling.die_in(steps)
        done = []
        try:
            for data in datas:
                store.append("s", "n", data)
                done.append(data)
        except StoreError:
            pass
        whole = not filling.dead
        crash(store, filling)
        filling.die_in(1 << 30)
        with opened(folder) as store:
            found = [data for _, _, data in everything(store)]
            assert found[:len(done)] == done
            assert found == datas[:len(found)] and len(found) <= len(done) + 1
        if whole:
            break
    assert steps > 40 and done == datas


def test_a_tear_among_zeros_is_cut_at_any_byte_and_nothing_is_one_if_no_byte_was_written(tmp_path, filling):
    store = opened(tmp_path / "db", filling)
    for data in DATAS:
        store.append("s", "n", data)
    end = store.size
    crash(store, filling)
    [path] = segments(tmp_path / "db")
    whole = path.read_bytes()
    assert whole[end:] == bytes(len(whole) - end) != b""
    last = whole.rindex(record.MAGIC)
    for byte, folder in zip(range(last, end), copies(tmp_path / "db")):
        torn = whole[:byte] + bytes(len(whole) - byte)
        (folder / path.name).write_bytes(torn)
        with opened(folder) as store:
            assert everything(store) == (EVENTS if torn == whole else EVENTS[:3])
            assert store.epoch == (1 if torn == whole or byte == last else 2)


def test_zeros_with_something_behind_them_are_a_tear(tmp_path, monkeypatch):
    monkeypatch.setattr(recovery, "_SEARCH", 1000)
    [path] = written(tmp_path, crash)
    add(path, bytes(3000) + b"x")
    reopened(tmp_path, EVENTS, epoch=2)


def test_the_writes_of_everysec_may_tear_in_any_segment(tmp_path):
    paths = written(tmp_path, crash, sync=NO, segment_size=300)
    assert len(paths) == 4
    flip(paths[1], HEADER_SIZE + DATA_AT)
    reopened(tmp_path, EVENTS[:1], epoch=2, segment_size=300)
    assert kept(tmp_path) == [f"{file_name(1)}-128.0", f"{file_name(2)}.0", f"{file_name(3)}.0"]


def test_a_sealed_segment_that_lost_its_end_is_a_tear(tmp_path):
    paths = written(tmp_path, crash, sync=NO, segment_size=300)
    cut(paths[1], HEADER_SIZE)
    reopened(tmp_path, EVENTS[:1], epoch=2)


# -- an append of several records ---------------------------------------------------

def test_an_append_is_there_as_a_whole_or_not_at_all(tmp_path):
    disk = Disk()
    store = opened(tmp_path / "db", disk)
    store.append("s", "n", b"zero")
    big = [NewEvent("n", bytes([i]) * 40_000) for i in range(5)]
    store.append_many("s", big)
    crash(store, disk)
    [path] = segments(tmp_path / "db")
    records = records_of(path)
    assert [one.more_follows for _, one in records] == [False, True, True, True, True, False]
    group = records[1][0]
    ends = [byte + one.size for byte, one in records[1:]]
    sizes = [size for end in ends for size in (end - 40_001, end - 1, end)][:-1] + [group + 1, group + 64]
    for size, folder in zip(sizes, copies(tmp_path / "db")):
        cut(folder / path.name, size)
        with opened(folder) as store:
            assert everything(store) == EVENTS[:1]
            assert store.epoch == 2
        assert (folder / path.name).stat().st_size == group
    with opened(tmp_path / "db") as store:
        assert store.last_number("s") == 5


def test_damage_inside_an_append_is_named_by_its_own_record(tmp_path):
    with opened(tmp_path) as store:
        store.append_many("s", [NewEvent("n", bytes([i]) * 40_000) for i in range(4)])
    drop_index(tmp_path)
    [path] = segments(tmp_path)
    third, _ = records_of(path)[2]
    flip(path, third + 1000)
    error = refused(tmp_path, CorruptSegment)
    assert (error.pos, error.stream, error.number, error.position) == (third, "s", 2, 2)


def test_zeros_behind_half_an_append_do_not_make_it_whole(tmp_path):
    [path] = written(tmp_path, crash)
    add(path, one_record(salt_of(path), number=4, position=4, more=True) + bytes(1000))
    reopened(tmp_path, EVENTS, epoch=2)


def test_an_append_of_two_streams_counts_in_both(tmp_path):
    [path] = written(tmp_path, crash)
    salt = salt_of(path)
    add(path, one_record(salt, b"s", 4, 4, more=True) + one_record(salt, b"t", 0, 5, more=True) +
        one_record(salt, b"s", 5, 6))
    with opened(tmp_path) as store:
        assert (store.last_number("s"), store.last_number("t"), store.position) == (5, 0, 7)


def one_pack(salt, position, *events, more=False):
    """A record with events (stream, number) of several streams."""
    streams, numbers = map(list, zip(*events))
    frames = [frame for stream, number in events for frame in record.frames(stream, b"n", number, [b"data"])]
    return record.encode(salt, numbers[0], position, 0, 0, frames, more, pack=(streams, numbers))


def test_a_pack_counts_in_each_of_its_streams(tmp_path):
    [path] = written(tmp_path, crash)
    salt = salt_of(path)
    add(path, one_pack(salt, 4, (b"s", 4), (b"t", 0), (b"s", 5), (b"u", 0), (b"t", 1), more=True) +
        one_pack(salt, 9, (b"t", 2), (b"s", 6)) + one_record(salt, b"u", 1, 11))
    with opened(tmp_path) as store:
        assert [store.last_number(stream) for stream in "stu"] == [6, 2, 1]
        assert (store.position, store.epoch) == (12, 1)


@pytest.mark.parametrize("events, why", [
    ([(b"s", 5), (b"t", 0)], "it says number 5 of its stream, expected 4"),
    ([(b"t", 0), (b"s", 5)], "it says number 5 of its stream, expected 4"),
    ([(b"s", 4), (b"t", 1)], "it says number 1 of its stream, expected 0"),
    ([(b"s", 4), (b"t", 0), (b"s", 4)], "it says number 4 of its stream, expected 5"),
    ([(b"t", 0), (b"s", 4), (b"t", 2)], "it says number 2 of its stream, expected 1"),
])
def test_a_pack_follows_in_each_of_its_streams_or_ends_the_log(tmp_path, events, why, caplog):
    [path] = written(tmp_path, crash)
    add(path, one_pack(salt_of(path), 4, *events))
    with opened(tmp_path) as store:
        assert everything(store) == EVENTS
        assert store.epoch == 2
    assert why in caplog.text
    assert kept(tmp_path)


# -- damage -------------------------------------------------------------------------

def test_damage_anywhere_before_what_was_synced_is_refused(tmp_path):
    [path] = written(tmp_path / "db", crash)
    drop_index(tmp_path / "db")
    last, _ = records_of(path)[-1]      # its header says that all before it is on disk
    for byte, folder in zip(range(HEADER_SIZE, last, 3), copies(tmp_path / "db")):
        flip(folder / path.name, byte, bit=byte % 8)
        assert refused(folder, CorruptSegment).path == str(folder / path.name)


def test_after_a_clean_close_the_last_record_is_known_to_be_on_disk_too(tmp_path):
    [path] = written(tmp_path, closed)
    drop_index(tmp_path)
    (last, _), (mark, _) = records_of(path)[-2:]
    flip(path, last + DATA_AT)
    error = refused(tmp_path, CorruptSegment)
    assert (error.pos, error.stream, error.number, error.position) == (last, "s", 3, 3)
    flip(path, last + DATA_AT)
    reopened(tmp_path, EVENTS, epoch=1)


def test_damage_in_a_sealed_segment_is_refused_and_nothing_behind_it_is_touched(tmp_path):
    paths = written(tmp_path, crash, segment_size=300)
    assert len(paths) == 4
    drop_index(tmp_path)
    flip(paths[1], HEADER_SIZE + DATA_AT)
    error = refused(tmp_path, CorruptSegment)
    assert (error.path, error.pos) == (str(paths[1]), HEADER_SIZE)


@pytest.mark.parametrize("search", range(1, 140, 9))
def test_the_highest_synced_is_found_wherever_a_read_ends(tmp_path, monkeypatch, search):
    monkeypatch.setattr(recovery, "_SEARCH", search)
    [path] = written(tmp_path, crash)
    drop_index(tmp_path)
    places = [byte for byte, _ in records_of(path)]
    flip(path, places[1])
    flip(path, places[2])
    refused(tmp_path, CorruptSegment, "an event of stream 's' .position 1.")


def test_damage_behind_the_index_is_found_when_it_is_read(tmp_path):
    [path] = written(tmp_path, closed)
    second, _ = records_of(path)[1]
    flip(path, second + DATA_AT)
    with opened(tmp_path) as store:
        assert [e.data for e in store.read("s", 0, limit=1)] == [b"zero"]
        with pytest.raises(CorruptSegment, match=f"event 1 of stream 's' at byte {second} is damaged"):
            store.read("s", 0)
        with pytest.raises(CorruptSegment, match="event 1 of stream 's' .position 1. at byte"):
            store.read_all(1)
        assert [e.data for e in store.read_all(0, limit=1)] == [b"zero"]


@pytest.mark.parametrize("closing", [crash, closed])
def test_a_torn_segment_made_last_is_not_moved_when_the_log_is_damaged(tmp_path, closing):
    [path] = written(tmp_path, closing)
    drop_index(tmp_path)
    flip(path, HEADER_SIZE + DATA_AT)
    (tmp_path / file_name(1)).write_bytes(b"MEILIES")
    refused(tmp_path, CorruptSegment)


def rewritten(path, i, **fields):
    """Change fields in the header of record `i`, and make its checksum right again."""
    byte, _ = records_of(path)[i]
    data = bytearray(path.read_bytes())
    for at, form, value in fields.values():
        struct.pack_into(form, data, byte + at, value)
    struct.pack_into("<I", data, byte + 60, zlib.crc32(data[byte:byte + 60], salt_of(path)))
    path.write_bytes(data)
    return byte


@pytest.mark.parametrize("field, why", [
    (dict(number=(24, "<Q", 9)), "it says number 9 of its stream, expected 1"),
    (dict(position=(32, "<Q", 9)), "it says position 9, expected 1"),
])
def test_a_record_that_does_not_follow_the_one_before_it_is_damage(tmp_path, field, why):
    [path] = written(tmp_path, closed)
    drop_index(tmp_path)
    rewritten(path, 1, **field)
    assert why in str(refused(tmp_path, CorruptSegment))


@pytest.mark.parametrize("i", [0, 3])
def test_a_record_of_a_newer_version_is_refused_wherever_it_is(tmp_path, i):
    [path] = written(tmp_path, crash)
    drop_index(tmp_path)
    byte = rewritten(path, i, version=(3, "<B", 7))
    error = refused(tmp_path, UnknownFormat, f"record version 7 at byte {byte} is not known")
    assert error.path == str(path)


def reheaded(path, at, form, value):
    """Change a field in a segment's header, and make its checksum right again."""
    data = bytearray(path.read_bytes())
    struct.pack_into(form, data, at, value)
    struct.pack_into("<I", data, 124, zlib.crc32(data[:124]))
    path.write_bytes(data)


def test_a_segment_that_does_not_begin_where_the_one_before_it_ends_is_refused(tmp_path):
    paths = written(tmp_path, closed, segment_size=300)
    drop_index(tmp_path)
    reheaded(paths[1], 80, "<Q", 2)
    error = refused(tmp_path, CorruptSegment, "it begins at position 2, the segment before it ends at 1")
    assert (error.path, error.pos, error.position) == (str(paths[1]), 0, 1)


# -- segments that are missing, strange or unfinished -------------------------------

def test_a_missing_segment_is_refused(tmp_path):
    paths = written(tmp_path / "db", closed, segment_size=300)
    for missing, folder in zip(paths[:-1], copies(tmp_path / "db")):
        (folder / missing.name).unlink()
        refused(folder, CorruptSegment, "one is missing or from another store")
        drop_index(folder)
        refused(folder, CorruptSegment, "one is missing or from another store")


def test_swapped_segments_are_refused(tmp_path):
    paths = written(tmp_path, closed, segment_size=300)
    first, second = paths[1].read_bytes(), paths[2].read_bytes()
    paths[1].write_bytes(second)
    paths[2].write_bytes(first)
    refused(tmp_path, CorruptSegment, "this is segment 2 with id [0-9a-f]{32}, expected the one that follows")


@pytest.mark.parametrize("i", [0, 1, 2, 3])
def test_a_segment_of_another_store_is_refused(tmp_path, i):
    paths = written(tmp_path / "db", closed, segment_size=300)
    strange = written(tmp_path / "other", closed, segment_size=300)
    paths[i].write_bytes(strange[i].read_bytes())
    refused(tmp_path / "db", CorruptSegment, "from another store")


def test_a_segment_under_another_name_is_refused(tmp_path):
    [path] = written(tmp_path, closed)
    path.rename(tmp_path / file_name(3))
    refused(tmp_path, CorruptSegment, "expected segment 0")


@pytest.mark.parametrize("i", [0, 3])
def test_a_damaged_header_of_a_segment_with_records_is_refused(tmp_path, i):
    paths = written(tmp_path, closed, segment_size=300)
    flip(paths[i], 20)
    refused(tmp_path, CorruptSegment, "at byte 0 is damaged .its header doesn't match its checksum")


@pytest.mark.parametrize("size", [0, 1, 127, 128])
def test_a_segment_that_was_being_made_is_set_aside(tmp_path, size):
    written(tmp_path, crash)
    (tmp_path / file_name(1)).write_bytes(bytes(size))
    reopened(tmp_path, EVENTS, epoch=1)
    assert kept(tmp_path) == [f"{file_name(1)}.0"]


def test_a_first_segment_that_was_being_made_is_set_aside(tmp_path):
    (tmp_path / file_name(0)).write_bytes(b"MEILIES")
    reopened(tmp_path, [], epoch=1)
    assert kept(tmp_path) == [f"{file_name(0)}.0"]


def test_a_tear_behind_a_segment_that_was_being_made_is_cut_all_the_same(tmp_path):
    [path] = written(tmp_path, crash)
    cut(path, path.stat().st_size - 1)
    (tmp_path / file_name(1)).write_bytes(b"")
    reopened(tmp_path, EVENTS[:3], epoch=2)


# -- a log that is too short ----------------------------------------------------------

def shortened(folder, paths):
    cut(paths[-1], records_of(paths[-1])[0][0])


def without_the_last(folder, paths):
    paths[-1].unlink()


def without_any(folder, paths):
    for path in paths:
        path.unlink()


@pytest.mark.parametrize("spoil", [shortened, without_the_last, without_any])
def test_a_log_shorter_than_what_the_index_remembers_is_refused(tmp_path, spoil):
    paths = written(tmp_path, closed, segment_size=300)
    spoil(tmp_path, paths)
    error = refused(tmp_path, LogTooShort, "but 4 events were on disk; a segment was removed")
    assert error.expected == 4
    assert error.found in (0, 2, 3)


def test_a_log_whose_synced_end_was_overwritten_with_zeros_is_refused(tmp_path):
    disk = Disk()
    store = opened(tmp_path, disk, sync=EVERYSEC)
    store.append("s", "n", b"zero")
    store.append("s", "n", b"one")
    store.sync()
    store.append("s", "n", b"two")      # its header says that two events are on disk
    crash(store, disk)
    drop_index(tmp_path)
    [path] = segments(tmp_path)
    (_, first), (second, _), (third, mark) = records_of(path)
    data = path.read_bytes()
    # What says so comes first, as if the disk had mixed up the order.
    path.write_bytes(data[:HEADER_SIZE] + one_record(salt_of(path), synced=2, datas=[b"zero"]) + bytes(500))
    refused(tmp_path, LogTooShort, "the log ends at position 1, but 2 events were on disk")


# -- a crash on the way ---------------------------------------------------------------

def torn_in_the_middle(folder):
    """A log with a tear in its second segment and two more segments behind it."""
    paths = written(folder, crash, sync=NO, segment_size=300)
    flip(paths[1], HEADER_SIZE + DATA_AT)
    return EVENTS[:1]


def torn_at_the_end(folder):
    [path] = written(folder, crash)
    cut(path, path.stat().st_size - 1)
    return EVENTS[:3]


@pytest.mark.parametrize("torn", [torn_in_the_middle, torn_at_the_end])
def test_a_crash_between_any_two_steps_of_a_cut_loses_nothing_and_raises_the_epoch_once(tmp_path, torn):
    expected = torn(tmp_path / "db")
    for steps, folder in zip(itertools.count(1), copies(tmp_path / "db")):
        disk = Disk()
        # The lock's own two calls come first: they are no steps.
        disk.die_in(steps + 2)
        try:
            store = opened(folder, disk)
        except OSError:
            reopened(folder, expected, epoch=2)
            continue
        crash(store, disk)
        break
    assert steps > 10


def test_a_crash_between_any_two_steps_of_a_cut_and_another_in_the_next_one_lose_nothing(tmp_path):
    expected = torn_in_the_middle(tmp_path / "db")
    for steps, folder in zip(range(3, 20, 2), copies(tmp_path / "db")):
        for again in (steps, steps + 5):
            disk = Disk()
            disk.die_in(again)
            try:
                crash(opened(folder, disk), disk)
            except OSError:
                pass
        reopened(folder, expected, epoch=2)


@pytest.mark.parametrize("sync", [ALWAYS, NO])
def test_a_crash_between_any_two_steps_of_a_life_loses_nothing_that_was_acknowledged(tmp_path, sync):
    for steps in itertools.count(3):
        folder = tmp_path / str(steps)
        disk = Disk()
        disk.die_in(steps)
        acknowledged = []
        store = None
        try:
            store = opened(folder, disk, sync=sync, segment_size=400)
            for data in DATAS:
                store.append("s", "n", data)
                acknowledged.append(data)
        except OSError:
            pass
        except Exception as error:
            assert type(error).__name__ == "StoreFailed"
        if store is not None:
            crash(store, disk)
        with opened(folder) as store:
            found = [data for _, _, data in everything(store)]
            if sync == ALWAYS:
                assert found[:len(acknowledged)] == acknowledged
            assert found == DATAS[:len(found)]
            assert store.append("s", "n", b"new").number == len(found)
        if len(acknowledged) == len(DATAS):
            break
    assert steps > 15


# -- details of a scan ----------------------------------------------------------------

def test_opening_syncs_what_it_serves(tmp_path):
    written(tmp_path, crash, sync=NO, segment_size=300)
    disk = Disk()
    with opened(tmp_path, disk):
        synced = {name for verb, name in disk.calls if verb == "sync"}
        assert synced == {"lock", *(file_name(i) for i in range(4))}
        assert ("sync_folder", tmp_path.name) in disk.calls


def test_empty_segments_between_two_others_are_read_over(tmp_path):
    for _ in range(3):
        written(tmp_path, crash, datas=[])
        add(segments(tmp_path)[-1], b"garbage")     # each cut begins a segment
    written(tmp_path, crash)
    drop_index(tmp_path)
    assert len(segments(tmp_path)) == 4
    reopened(tmp_path, EVENTS, epoch=4)


def test_a_record_with_nothing_but_a_good_header_counts_for_what_is_synced(tmp_path):
    """The header of a torn record is whole, and says that what is damaged before it was on disk."""
    [path] = written(tmp_path, crash)
    drop_index(tmp_path)
    places = [byte for byte, _ in records_of(path)]
    flip(path, places[2] + DATA_AT)
    cut(path, places[3] + record.HEADER_SIZE)
    refused(tmp_path, CorruptSegment, "event 2 of stream 's'")


# -- lost without a tear ------------------------------------------------------------

def boot(monkeypatch, folder, name):
    """From now on the machine has been started once more, unless `name` is that of before."""
    path = folder.parent / "boot_id"
    path.write_text(f"{name}\n")
    monkeypatch.setattr("store.files.BOOT_ID", str(path))


@pytest.mark.parametrize("policy, end, boot_after, epoch", [
    (EVERYSEC, crash, "second", 2),
    (NO, crash, "second", 2),
    (EVERYSEC, crash, "first", 1),      # the process died, not the machine: all is there
    (ALWAYS, crash, "second", 1),       # nothing was acknowledged that wasn't on disk
    (NO, closed, "second", 1),
])
def test_the_epoch_is_raised_where_acknowledged_events_may_be_missing(
        tmp_path, monkeypatch, policy, end, boot_after, epoch):
    folder = tmp_path / "db"
    boot(monkeypatch, folder, "first")
    written(folder, end, sync=policy)
    boot(monkeypatch, folder, boot_after)
    reopened(folder, [("s", i, data) for i, data in enumerate(DATAS)], epoch)


class SecondSignatureFails(Disk):
    def sync(self, fd):
        super().sync(fd)
        if self.count("sync", "lock") == 1:
            self.refuse("sync", errno.EIO, "lock")


@pytest.mark.parametrize("left", [b"\0\xff", b"17 first", b"17 second everysec more"])
def test_a_lock_file_of_which_nothing_is_left_may_have_told_of_a_loss(tmp_path, monkeypatch, left):
    folder = tmp_path / "db"
    boot(monkeypatch, folder, "first")
    written(folder, crash, sync=NO)
    (folder / "lock").write_bytes(left)
    boot(monkeypatch, folder, "second")
    reopened(folder, [("s", i, data) for i, data in enumerate(DATAS)], 2)


def test_a_loss_is_not_forgotten_by_a_crash_of_the_recovery_from_it(tmp_path, monkeypatch):
    boot(monkeypatch, tmp_path / "db", "first")
    written(tmp_path / "db", crash, sync=EVERYSEC)
    boot(monkeypatch, tmp_path / "db", "second")
    for changes, folder in zip(itertools.count(1), copies(tmp_path / "db")):
        disk = Disk()
        disk.die_in(changes)
        try:
            store = opened(folder, disk, sync=EVERYSEC)
        except OSError:
            store = None
        if store:
            crash(store, disk)
            break
        with opened(folder, sync=EVERYSEC) as store:
            assert store.epoch in (2, 3)
    assert changes > 8


def test_a_loss_that_was_dealt_with_is_not_found_again(tmp_path, monkeypatch):
    folder = tmp_path / "db"
    boot(monkeypatch, folder, "first")
    written(folder, crash, sync=EVERYSEC)
    boot(monkeypatch, folder, "second")
    for _ in range(2):
        disk = Disk()
        store = opened(folder, disk, sync=EVERYSEC)
        assert store.epoch == 2
        crash(store, disk)      # the process alone


def test_a_disk_that_fails_when_a_loss_was_dealt_with_fails_the_opening(tmp_path, monkeypatch):
    folder = tmp_path / "db"
    boot(monkeypatch, folder, "first")
    written(folder, crash, sync=EVERYSEC)
    boot(monkeypatch, folder, "second")
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError):
        opened(folder, SecondSignatureFails())
    assert os.listdir("/proc/self/fd") == before
    with opened(folder) as store:
        assert store.epoch == 2
        assert everything(store) == [("s", i, data) for i, data in enumerate(DATAS)]


def test_a_system_that_does_not_name_its_starts_raises_no_epoch(tmp_path, monkeypatch):
    monkeypatch.setattr("store.files.BOOT_ID", str(tmp_path / "missing"))
    written(tmp_path / "db", crash, sync=NO)
    reopened(tmp_path / "db", [("s", i, data) for i, data in enumerate(DATAS)], 1)


def test_what_only_the_index_knew_to_be_on_disk_is_marked_by_the_next_close(tmp_path):
    folder = tmp_path / "db"
    written(folder, crash, sync=ALWAYS, segment_size=300)   # the last segment's header is all that it has
    for _ in range(2):
        with opened(folder, segment_size=300):
            pass
    (folder / "index.sqlite3").unlink()
    last = segments(folder)[-1]
    data = bytearray(last.read_bytes())
    data[HEADER_SIZE + 70] ^= 1
    last.write_bytes(data)
    refused(folder, CorruptSegment)


# -- answers of the disk, and then the power ----------------------------------------

def refuse_once(platter, verb, name):
    """The next `verb` on a file or folder whose path ends with `name` fails."""
    def answer(called, path):
        if called == verb and path.endswith(name):
            platter.on_change = lambda verb, path: None
            raise OSError(errno.EIO, "the disk says no")

    platter.on_change = answer


def expect_kept_in_every_state(platter, expected):
    """Whatever a loss of power leaves, these events are there."""
    for state in exhaustive(platter.loss()):
        with Store("/db", files=Platter(state)) as store:
            assert everything(store) == expected


def test_what_a_failed_sync_left_in_memory_alone_is_not_served_after_a_restart():
    for chance in range(20):
        with still(Shelf()):
            platter = Platter(draw=random.Random(chance))
            store = Store("/db", files=platter)
            store.append("s", "n", b"zero")
            refuse_once(platter, "sync", ".segment")
            with pytest.raises(StoreFailed):
                store.append("s", "n", b"one")
            platter = platter.restarted()
            store = Store("/db", files=platter)
            seen = everything(store)
            assert ("s", 0, b"zero") in seen
            expect_kept_in_every_state(platter, seen)


def test_the_first_segment_whose_header_was_never_synced_is_made_anew():
    for chance in range(20):
        with still(Shelf()):
            platter = Platter(draw=random.Random(chance))
            refuse_once(platter, "sync", ".segment")
            with pytest.raises(OSError):
                Store("/db", files=platter)
            store = Store("/db", files=platter)
            store.append("s", "n", b"zero")
            expect_kept_in_every_state(platter, [("s", 0, b"zero")])


def test_a_folder_that_was_made_by_one_who_failed_is_synced_by_the_next():
    with still(Shelf()):
        platter = Platter()
        refuse_once(platter, "sync_folder", "/")
        with pytest.raises(OSError):
            Store("/db", files=platter)
        store = Store("/db", files=platter)
        store.append("s", "n", b"zero")
        expect_kept_in_every_state(platter, [("s", 0, b"zero")])


def test_events_that_were_seen_and_not_synced_raise_the_epoch_of_the_next_start():
    with still(Shelf()):
        platter = Platter(draw=random.Random(0))
        store = Store("/db", EVERYSEC, files=platter)
        store.append("s", "n", b"zero")
        refuse_once(platter, "sync", ".segment")
        with pytest.raises(StoreFailed):
            store.sync()
        with Store("/db", EVERYSEC, files=platter.restarted()) as store:
            assert store.epoch == 2


def test_a_disk_that_takes_no_word_of_a_loss_is_warned_of(tmp_path, caplog):
    disk = Disk()
    store = opened(tmp_path, disk, sync=NO)
    disk.refuse("write", errno.EIO, ".segment")
    disk.refuse("write", errno.EIO, "lock")
    with pytest.raises(StoreFailed):
        store.append("s", "n", b"zero")
    assert "the lock file doesn't take that events may be lost" in caplog.text
    store.close()


@pytest.mark.parametrize("policy, epoch", [(EVERYSEC, 2), (ALWAYS, 1)])
def test_a_sync_that_fails_on_opening_may_have_been_of_what_was_seen_before_a_crash(tmp_path, policy, epoch):
    folder = tmp_path / "db"
    written(folder, crash, sync=policy)
    disk = Disk()
    disk.refuse("sync", errno.EIO, ".segment")
    with pytest.raises(OSError):
        opened(folder, disk)
    with opened(folder) as store:
        assert store.epoch == epoch
@pytest.mark.parametrize("datas", [DATAS[:1], DATAS])
def test_an_index_of_a_copy_that_went_another_way_is_not_believed(tmp_path, datas):
    written(tmp_path / "db", closed, datas=[b"zero"])
    shutil.copytree(tmp_path / "db", tmp_path / "other")
    for name, stream in (("db", "s"), ("other", "t")):
        with opened(tmp_path / name) as store:
            for data in datas:
                store.append(stream, "n", data)
    shutil.copy(tmp_path / "other" / "index.sqlite3", tmp_path / "db" / "index.sqlite3")
    with opened(tmp_path / "db") as store:
        assert store.stream_names() == ["s"]
        assert store.append("s", "n", b"new").number == 1 + len(datas)


def spoilt_end(folder, byte, data):
    """A closed store whose last mark and what stands before it from `byte` on are overwritten."""
    [path] = written(folder, closed)
    at = records_of(path)[byte][0]
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(data(path.stat().st_size - at))
    return at


@pytest.mark.parametrize("data", [bytes, lambda size: b"x" * size])
def test_damage_that_hides_what_the_index_goes_by_is_not_taken_for_a_tear(tmp_path, data):
    at = spoilt_end(tmp_path, 2, data)
    if data(1) == b"x":
        assert refused(tmp_path, CorruptSegment).pos == at
    else:
        refused(tmp_path, LogTooShort, "ends at position 2, but 4 events were on disk")


def test_a_mark_alone_that_is_damaged_is_cut_as_a_tear(tmp_path):
    spoilt_end(tmp_path, -1, lambda size: b"x" * size)
    reopened(tmp_path, EVENTS, epoch=2)


def test_a_strange_index_does_not_keep_damage_behind_it_from_being_named(tmp_path):
    written(tmp_path / "db", closed, datas=[b"zero"])
    shutil.copytree(tmp_path / "db", tmp_path / "other")
    for name in ("db", "other"):
        with opened(tmp_path / name) as store:
            store.append("s", "n", b"one")
    with opened(tmp_path / "db") as store:
        store.append("s", "n", b"two")
    shutil.copy(tmp_path / "other" / "index.sqlite3", tmp_path / "db" / "index.sqlite3")
    [path] = segments(tmp_path / "db")
    byte, _ = records_of(path)[-2]
    flip(path, byte + DATA_AT)
    assert refused(tmp_path / "db", CorruptSegment).pos == byte
