"""store/check.py, walk.py and chain.py: everything that is bad is named, what is lost is told, and nothing is
changed."""

import os
import shutil
import sqlite3
import struct
import zlib

import pytest
from disk import (Disk, add, crash, cut, drop_index, flip, one_record, quick_index, records_of, salt_of,
                  segments)

from store import NO, NewEvent, Store, StoreLocked, UnknownFormat, draft, record, walk
from store.check import check
from store.segment import HEADER_SIZE, file_name

__all__ = ["quick_index"]       # which pytest finds here, and uses by itself

LONG = b"long again and again " * 4000
SMALL = 700     # bytes of a segment: four or five records


def opened(folder, **more):
    return Store(str(folder), files=more.pop("files", None) or Disk(), **{"segment_size": SMALL, **more})


def written(folder, count=12, closed=True, streams="ab", **more):
    """A store with events of streams in turns, a record each; returns the paths of its segments."""
    disk = Disk()
    store = opened(folder, files=disk, **more)
    for i in range(count):
        store.append(streams[i % len(streams)], "n", b"data %02d" % i)
    if closed:
        store.close()
    else:
        crash(store, disk)
    return segments(folder)


def found(folder):
    """The Findings of a store, of which nothing was changed."""
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    findings = check(str(folder))
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    return findings


def overwrite(path, byte, data):
    with open(path, "r+b") as file:
        file.seek(byte)
        file.write(data)


@pytest.mark.parametrize("compression", [0, 6])
def test_events_too_long_for_a_record_with_others_are_sound_wherever_they_stand(tmp_path, compression):
    with Store(str(tmp_path), sync=NO, compression=compression, segment_size=64 << 10) as store:
        for data in (LONG, b"short", os.urandom(len(LONG))):
            store.append("s", "n", data)
            store.append("t", "n", data, id=b"id %d" % store.position, metadata=b"{}")
        store.redact("t", 0)
        store.truncate("s", 1)
        store.append_many("u", [NewEvent("n", b"1"), NewEvent("n", LONG), NewEvent("n", b"3")])
        store.compact()
    findings = check(str(tmp_path))
    assert (findings.problems, findings.position) == ([], 9)


def test_a_sound_store_has_no_problems(tmp_path):
    written(tmp_path)
    findings = found(tmp_path)
    assert (findings.problems, findings.notes, findings.sound) == ([], [], True)
    assert (findings.events, findings.streams, findings.lost, findings.position) == (12, 2, 0, 12)


def test_a_new_store_is_sound(tmp_path):
    with opened(tmp_path):
        pass
    assert found(tmp_path).sound


def test_packs_groups_details_and_compressed_records_are_sound(tmp_path, monkeypatch):
    monkeypatch.setattr(draft, "MAX_PACK", 200)
    monkeypatch.setattr(draft, "MAX_FRAMES", 200)
    for level in (0, 9):
        with opened(tmp_path / str(level), compression=level) as store:
            store.commit(store.write([(b"s%d" % (i % 3), b"n", [b"data"]) for i in range(9)]))
            store.append_many("g", [NewEvent("n", b"x" * 50, b"%d" % i, b"metadata") for i in range(8)])
            store.append("s1", "n", b"")
        findings = found(tmp_path / str(level))
        assert (findings.problems, findings.events, findings.streams) == ([], 18, 4)


def test_a_store_that_is_in_use_is_not_read(tmp_path):
    with opened(tmp_path), pytest.raises(StoreLocked, match=f"in use by process {os.getpid()}"):
        check(str(tmp_path))


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        check(str(tmp_path / "none"))
    assert caught.value.filename == str(tmp_path / "none")


def test_a_copy_without_a_lock_file_is_read(tmp_path):
    written(tmp_path)
    (tmp_path / "lock").unlink()
    assert found(tmp_path).sound


def test_an_empty_folder_is_no_store_and_not_damaged(tmp_path):
    findings = found(tmp_path)
    assert (findings.problems, findings.notes[0]) == ([], "no segment is there: this is a new store, or not one")


def test_segments_that_are_all_gone_are_missed_by_the_index(tmp_path):
    for path in written(tmp_path):
        path.unlink()
    assert found(tmp_path).problems == ["no segment is there, and 12 events were on disk"]


def test_how_far_it_is_is_told(tmp_path):
    written(tmp_path)
    told = []
    check(str(tmp_path), lambda done, of: told.append((done, of)))
    assert told == sorted(told)
    assert told[-1][0] <= told[-1][1] == sum(path.stat().st_size for path in segments(tmp_path))


def test_a_long_segment_tells_how_far_it_is_meanwhile(tmp_path, monkeypatch):
    monkeypatch.setattr(walk, "_SEARCH", 200)
    written(tmp_path, segment_size=1 << 20)
    told = []
    check(str(tmp_path), lambda done, of: told.append(done))
    assert len(told) > 5


# -- holes --------------------------------------------------------------------------

def test_a_damaged_record_is_named_with_its_bytes_stream_number_and_position(tmp_path):
    paths = written(tmp_path)
    byte, one = records_of(paths[1])[1]
    flip(paths[1], byte + 90)
    findings = found(tmp_path)
    assert findings.problems == [
        f"{paths[1].name}: bytes {byte} to {byte + one.size} are damaged (its body doesn't match its checksum; it "
        f"looks like event {one.number} of stream '{one.stream.decode()}'): 1 event is lost, position {one.position}\n"
        f"    event {one.number} of stream '{one.stream.decode()}'"]
    assert (findings.events, findings.lost, findings.raise_epoch) == (11, 1, False)


def test_records_behind_a_bad_one_are_found_wherever_a_read_ends(tmp_path, monkeypatch):
    paths = written(tmp_path, segment_size=1 << 20)
    records = records_of(paths[0])
    overwrite(paths[0], records[2][0], b"\0" * (records[5][0] - records[2][0]))
    for search in range(1, 140, 9):
        monkeypatch.setattr(walk, "_SEARCH", search)
        findings = found(tmp_path)
        [hole] = findings.holes
        assert (hole.byte, hole.stop, hole.position, hole.end) == (records[2][0], records[5][0], 2, 5)
        assert hole.lost == [(b"b", 1, 1), (b"a", 1, 2)] or sorted(hole.lost) == [(b"a", 1, 2), (b"b", 1, 1)]


def test_bytes_that_look_like_a_record_are_not_taken_for_one(tmp_path):
    with opened(tmp_path, segment_size=1 << 20) as store:
        store.append("s", "n", b"zero")
        store.append("s", "n", one_record(7, number=2, position=2) * 2)
        store.append("s", "n", b"two")
    [path] = segments(tmp_path)
    flip(path, records_of(path)[1][0])
    [hole] = found(tmp_path).holes
    assert (hole.position, hole.end, hole.lost) == (1, 2, [(b"s", 1, 1)])


def test_an_old_record_of_the_same_file_is_not_taken_for_a_new_one(tmp_path):
    [path] = written(tmp_path, segment_size=1 << 20)
    records = records_of(path)
    (first, one), (later, _) = records[0], records[7]
    overwrite(path, later, path.read_bytes()[first:first + one.size])
    [hole] = found(tmp_path).holes
    assert hole.why == "it says position 0, expected 7"
    assert (hole.byte, hole.stop, hole.lost) == (later, records[8][0], [(b"b", 3, 1)])


def test_what_the_index_knows_is_whose_events_are_lost_at_the_end(tmp_path):
    paths = written(tmp_path, streams="abcde")
    byte, _ = records_of(paths[-1])[0]
    overwrite(paths[-1], byte, bytes(paths[-1].stat().st_size - byte))
    findings = found(tmp_path)
    [hole] = findings.holes
    lost = {(stream.decode(), number) for stream, first, count in hole.lost for number in range(first, first + count)}
    assert lost == {("abcde"[i % 5], i // 5) for i in range(hole.position, 12)}
    assert not findings.raise_epoch


def test_without_the_index_nobody_knows_whose_events_are_lost_at_the_end(tmp_path):
    paths = written(tmp_path, streams="abcdefghijkl")
    drop_index(tmp_path)
    byte, one = records_of(paths[-1])[0]
    flip(paths[-1], byte + 90)
    findings = found(tmp_path)
    assert findings.problems[0].endswith(
        f"1 event is lost, position {one.position}\n    1 event of which nobody knows the stream")
    assert findings.notes == ["index.sqlite3: there is none; the next start makes it from the log"]
    assert findings.raise_epoch


def test_a_mark_that_is_damaged_loses_no_event(tmp_path):
    written(tmp_path, count=2)
    with opened(tmp_path) as store:
        store.append_many("a", [("n", b"x")] * 3)
        store.append("a", "n", b"y")
    [path] = segments(tmp_path)
    byte = next(byte for byte, one in records_of(path) if one.kind == record.MARK)
    flip(path, byte + 30)
    [problem] = found(tmp_path).problems
    assert problem == (f"{path.name}: bytes {byte} to {byte + 64} are damaged (its header doesn't match its "
                       f"checksum): no event is lost")


def test_a_segment_that_lost_its_end_is_named_with_all_that_was_there(tmp_path):
    paths = written(tmp_path)
    byte, one = records_of(paths[1])[-1]
    cut(paths[1], byte + 10)
    [hole] = found(tmp_path).holes
    assert (hole.byte, hole.stop) == (byte, byte + one.size)
    assert hole.lost == [(one.stream, one.number, 1)]


def test_a_log_that_is_shorter_than_the_index_remembers_is_named(tmp_path):
    paths = written(tmp_path)
    cut(paths[-1], HEADER_SIZE)
    findings = found(tmp_path)
    assert f"at byte {HEADER_SIZE} something is missing" in findings.problems[0]
    assert findings.position == 12


def test_half_an_append_is_damage_when_it_was_on_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(draft, "MAX_FRAMES", 100)
    with opened(tmp_path, segment_size=1 << 20) as store:
        store.append("a", "n", b"zero")
        store.append_many("g", [("n", b"x" * 50)] * 4)
    [path] = segments(tmp_path)
    records = records_of(path)
    cut(path, records[3][0])
    [hole] = found(tmp_path).holes
    assert hole.why == "the append that goes on here isn't whole"
    assert (hole.position, hole.end, hole.lost) == (3, 5, [(b"g", 2, 2)])


def test_events_that_are_not_what_their_record_says_are_damage_though_the_checksums_match(tmp_path):
    [path] = written(tmp_path, count=3, segment_size=1 << 20)
    records = records_of(path)
    byte, one = records[1]
    frames = record.frames(b"b", b"n", 7, [b"data 01"])
    changed = record.encode(salt_of(path), 0, 1, one.clock, one.synced, frames)
    assert len(changed) == one.size
    overwrite(path, byte, changed)
    [hole] = found(tmp_path).holes
    assert (hole.why, hole.lost) == ("what is in it isn't what its events make", [(b"b", 0, 1)])


@pytest.mark.parametrize("frame, why", [
    (b"*5\r\n+event\r\n+b\r\n:0\r\n+n\r\n", "what is in it isn't events"),
    (b"*5\r\n+event\r\n+:\r\n:0\r\n+n\r\n$0\r\n\r\n", "a stream name has no ':'"),
])
def test_what_is_no_event_is_damage(tmp_path, frame, why):
    written(tmp_path, count=1, closed=False)
    [path] = segments(tmp_path)
    stream = b"b" if b"+b" in frame else b":"
    salt = salt_of(path)
    add(path, record.encode(salt, 0, 1, 1, 1, [frame]) + one_record(salt, b"a", 1, 2, synced=2) +
        one_record(salt, b"a", 2, 3, synced=3))
    [hole] = found(tmp_path).holes
    assert why in hole.why
    assert stream


def test_an_event_of_another_stream_in_a_run_is_damage(tmp_path):
    written(tmp_path, count=1, closed=False)
    [path] = segments(tmp_path)
    salt = salt_of(path)
    frames = record.frames(b"b", b"n", 0, [b""]) + record.frames(b"c", b"n", 1, [b""])
    add(path, record.encode(salt, 0, 1, 1, 1, frames) + one_record(salt, b"a", 1, 3, synced=3))
    add(path, one_record(salt, b"a", 2, 4, synced=4))
    [hole] = found(tmp_path).holes
    assert (hole.why, hole.count) == ("an event of stream 'c' is in it", 2)


def test_a_record_that_goes_behind_the_next_segment_is_damage(tmp_path):
    paths = written(tmp_path)
    byte, one = records_of(paths[0])[-1]
    frames = record.frames(one.stream, b"n", one.number, [b"1", b"2"])
    data = record.encode(salt_of(paths[0]), one.number, one.position, one.clock, one.synced, frames)
    overwrite(paths[0], byte, data[:one.size].ljust(one.size, b"\0"))
    with open(paths[0], "ab") as file:
        file.write(data[one.size:])
    reheaded(paths[1], 88, "<Q", byte + len(data))
    findings = found(tmp_path)
    assert f"it ends at position {one.position + 2}, the next segment begins at {one.position + 1}" in \
        findings.problems[0]


def reheaded(path, at, form, value):
    """Change a field in a segment's header, and make its checksum right again."""
    data = bytearray(path.read_bytes())
    struct.pack_into(form, data, at, value)
    struct.pack_into("<I", data, 124, zlib.crc32(data[:124]))
    path.write_bytes(data)


def test_a_record_that_skips_numbers_is_damage(tmp_path):
    written(tmp_path, count=1, closed=False)
    [path] = segments(tmp_path)
    salt = salt_of(path)
    add(path, one_record(salt, b"b", 5, 1, synced=1) + one_record(salt, b"a", 1, 2, synced=2) +
        one_record(salt, b"a", 2, 3, synced=3))
    [hole] = found(tmp_path).holes
    assert (hole.why, hole.lost) == ("it says number 5 of its stream, expected 0", [(b"\x001", 0, 1)])


def test_a_record_that_skips_positions_shows_that_something_is_missing_before_it(tmp_path):
    written(tmp_path, count=1, closed=False)
    [path] = segments(tmp_path)
    salt = salt_of(path)
    byte = path.stat().st_size
    add(path, one_record(salt, b"a", 3, 4, synced=4) + one_record(salt, b"a", 4, 5, synced=5))
    findings = found(tmp_path)
    assert findings.problems == [
        f"{path.name}: at byte {byte} something is missing (the next record is of position 4, expected 1): 3 events "
        f"are lost, positions 1 to 3\n    events 1 to 2 of stream 'a'\n    1 event of which nobody knows the stream"]


def test_a_record_of_a_newer_version_is_not_called_damage(tmp_path):
    written(tmp_path, count=1, closed=False)
    [path] = segments(tmp_path)
    data = bytearray(one_record(salt_of(path), b"a", 1, 1))
    data[4] = 77
    struct.pack_into("<I", data, 60, zlib.crc32(data[:60], salt_of(path)))
    add(path, data)
    with pytest.raises(UnknownFormat, match="record kind 77"):
        check(str(tmp_path))


def test_events_of_one_stream_that_are_lost_in_two_places_are_named_in_both(tmp_path):
    [path] = written(tmp_path, segment_size=1 << 20)
    for byte in [records_of(path)[i][0] for i in (2, 4)]:
        flip(path, byte + 90)
    assert [hole.lost for hole in found(tmp_path).holes] == [[(b"a", 1, 1)], [(b"a", 2, 1)]]


@pytest.mark.parametrize("position", [4, 9])
def test_records_that_miss_more_than_was_lost_are_not_damage_but_a_contradiction(tmp_path, position):
    written(tmp_path, count=1, closed=False)
    [path] = segments(tmp_path)
    salt = salt_of(path)
    add(path, one_record(salt, b"a", 2, 2, synced=2) + one_record(salt, b"b", 1, 3, synced=3) +
        one_record(salt, b"b", 2, position, synced=position))
    assert found(tmp_path).problems[0] == "numbers and positions of its records contradict each other"


# -- tears --------------------------------------------------------------------------

def test_a_write_that_was_never_finished_is_no_damage(tmp_path):
    [path] = written(tmp_path, count=3, closed=False)
    last, _ = records_of(path)[-1]
    cut(path, last + 70)
    findings = found(tmp_path)
    assert findings.problems == []
    assert findings.notes[0].startswith(f"{path.name}: the write at byte {last} was never finished")
    assert (findings.events, findings.tear.byte) == (2, last)


def test_what_stands_behind_a_tear_is_not_counted(tmp_path):
    paths = written(tmp_path, closed=False, sync=NO)
    byte, one = records_of(paths[1])[1]
    flip(paths[1], byte + 90)
    findings = found(tmp_path)
    assert (findings.sound, findings.events, findings.tear.byte) == (True, one.position, byte)


def test_zeros_behind_the_last_record_are_neither(tmp_path):
    [path] = written(tmp_path, count=3, closed=False)
    add(path, bytes(100))
    findings = found(tmp_path)
    assert (findings.problems, findings.tear, findings.events) == ([], None, 3)


def test_damage_before_a_tear_is_told_from_it(tmp_path):
    [path] = written(tmp_path, count=6, closed=False, segment_size=1 << 20)
    records = records_of(path)
    flip(path, records[1][0] + 90)
    cut(path, path.stat().st_size - 1)
    findings = found(tmp_path)
    assert [(hole.byte, hole.count) for hole in findings.holes] == [(records[1][0], 1)]
    assert (findings.tear.byte, findings.events) == (records[5][0], 4)


def test_a_segment_that_was_being_made_is_no_damage(tmp_path):
    written(tmp_path, count=2)
    (tmp_path / file_name(1)).write_bytes(b"MEIL")
    findings = found(tmp_path)
    assert findings.sound
    assert findings.notes == [f"{file_name(1)}: it was being made when the machine or process stopped, and holds "
                              f"nothing; the next start sets it aside"]


def test_what_was_cut_earlier_is_mentioned(tmp_path):
    written(tmp_path, count=2)
    (tmp_path / "cut").mkdir()
    assert found(tmp_path).notes == []
    (tmp_path / "cut" / "x").write_bytes(b"x")
    assert found(tmp_path).notes == ["cut/: 1 file, kept when the log was cut or repaired"]


# -- files --------------------------------------------------------------------------

def test_a_missing_segment_is_named_with_all_that_was_in_it(tmp_path):
    paths = written(tmp_path)
    records = records_of(paths[1])
    paths[1].unlink()
    findings = found(tmp_path)
    first, stop = records[0][1].position, records[-1][1].position + 1
    assert findings.problems[0] == f"{paths[1].name}: it is missing"
    assert findings.problems[1].startswith(
        f"{paths[1].name}: what was in it isn't there: {stop - first} events are lost, positions {first} to {stop - 1}")


def test_segments_under_each_others_names_are_named_and_nothing_is_lost(tmp_path):
    paths = written(tmp_path)
    one, other = paths[1].read_bytes(), paths[2].read_bytes()
    paths[1].write_bytes(other)
    paths[2].write_bytes(one)
    findings = found(tmp_path)
    assert findings.problems == [f"{paths[1].name}: by its header it is {paths[2].name}",
                                 f"{paths[2].name}: by its header it is {paths[1].name}"]
    assert findings.lost == 0


def test_a_segment_of_another_store_is_a_stranger(tmp_path):
    paths = written(tmp_path / "db")
    strange = written(tmp_path / "other")
    shutil.copy(strange[1], paths[1])
    findings = found(tmp_path / "db")
    assert findings.problems[:2] == [f"{paths[1].name}: it isn't part of the log: it is of another store",
                                     f"{paths[1].name}: it is missing"]


def test_a_copy_of_a_segment_under_another_name_is_a_stranger(tmp_path):
    paths = written(tmp_path)
    shutil.copy(paths[1], tmp_path / file_name(9))
    findings = found(tmp_path)
    assert findings.problems == [f"{file_name(9)}: it isn't part of the log: it is another segment 1"]
    assert findings.lost == 0


def test_a_segment_with_a_damaged_header_gives_way_to_one_that_says_it_is_this(tmp_path):
    paths = written(tmp_path)
    shutil.copy(paths[1], tmp_path / file_name(9))
    overwrite(paths[1], 20, b"garbage")
    findings = found(tmp_path)
    assert findings.problems == [
        f"{paths[1].name}: it isn't part of the log: its header is damaged, and another file is this segment",
        f"{file_name(9)}: by its header it is {paths[1].name}"]
    assert findings.lost == 0


def test_segments_of_two_copies_of_a_store_are_not_put_in_a_row(tmp_path):
    paths = written(tmp_path / "db", count=6)
    shutil.copytree(tmp_path / "db", tmp_path / "other")
    for name in ("db", "other"):
        written(tmp_path / name, count=12)
    shutil.copy(segments(tmp_path / "other")[2], segments(tmp_path / "db")[2])
    findings = found(tmp_path / "db")
    assert "one of the two is from another copy of this store" in findings.problems[0]
    assert len(paths) < 3


@pytest.mark.parametrize("i", [0, 1, -1])
def test_a_header_with_a_bit_turned_is_read_as_it_was(tmp_path, i):
    paths = written(tmp_path)
    flip(paths[i], 50, 3)
    findings = found(tmp_path)
    assert findings.problems == [f"{paths[i].name}: a bit of its header is turned; the rest of it says which"]
    assert findings.events == 12


@pytest.mark.parametrize("i", [0, 1, -1])
def test_records_behind_a_header_that_is_gone_are_all_found(tmp_path, i):
    paths = written(tmp_path)
    overwrite(paths[i], 0, bytes(HEADER_SIZE))
    findings = found(tmp_path)
    assert findings.problems == [f"{paths[i].name}: its header is damaged; what it said follows from the rest"]
    assert findings.events == 12


def test_a_single_segment_without_a_header_is_read_with_the_salt_that_its_records_tell(tmp_path):
    [path] = written(tmp_path, segment_size=1 << 20)
    first, one = records_of(path)[0]
    overwrite(path, 0, bytes(first + one.size))
    findings = found(tmp_path)
    assert (findings.events, [hole.lost for hole in findings.holes]) == (11, [[(b"a", 0, 1)]])


def test_a_payload_that_looks_like_records_does_not_pass_for_the_salt(tmp_path):
    fake = record.MAGIC + b"".join(one_record(99, b"s", i, i) for i in range(5))
    with opened(tmp_path, segment_size=1 << 20) as store:
        store.append("s", "n", fake)
        for i in range(20):
            store.append("s", "n", b"real %d" % i)
    [path] = segments(tmp_path)
    overwrite(path, 0, bytes(HEADER_SIZE + 80))
    assert found(tmp_path).events == 20


def test_a_last_segment_of_which_nothing_can_be_read_is_a_stranger(tmp_path):
    paths = written(tmp_path)
    overwrite(paths[-1], 0, bytes(paths[-1].stat().st_size))
    findings = found(tmp_path)
    assert findings.problems[0] == (f"{paths[-1].name}: it isn't part of the log: neither its header nor any record "
                                    f"in it can be read")
    assert findings.events + findings.lost == 12


def test_two_segments_in_a_row_without_headers_are_read(tmp_path):
    paths = written(tmp_path, count=20)
    assert len(paths) > 3
    for path in paths[1:3]:
        overwrite(path, 0, bytes(HEADER_SIZE))
    assert found(tmp_path).events == 20


def test_a_segment_without_a_header_behind_one_that_lost_its_end_says_what_is_lost(tmp_path):
    paths = written(tmp_path)
    byte, one = records_of(paths[1])[-1]
    cut(paths[1], byte + 10)
    overwrite(paths[2], 0, bytes(HEADER_SIZE))
    [hole] = found(tmp_path).holes
    assert (hole.position, hole.end, hole.lost) == (one.position, one.position + 1, [(one.stream, one.number, 1)])


def test_a_segment_without_a_header_and_first_record_goes_on_where_the_one_before_it_ends(tmp_path):
    paths = written(tmp_path)
    cut(paths[1], records_of(paths[1])[-1][0] + 10)
    overwrite(paths[2], 0, bytes(HEADER_SIZE + 20))
    holes = found(tmp_path).holes
    assert sum(hole.count for hole in holes) == 2


def test_files_that_are_missing_in_a_row_are_all_named(tmp_path):
    paths = written(tmp_path)
    for path in paths[:2]:
        path.unlink()
    findings = found(tmp_path)
    assert findings.problems[:2] == [f"{path.name}: it is missing" for path in paths[:2]]
    assert findings.events + findings.lost == 12


def test_a_header_that_seems_to_be_of_a_newer_version_with_a_bit_turned_is_not(tmp_path):
    paths = written(tmp_path)
    data = bytearray(paths[1].read_bytes())
    struct.pack_into("<I", data, 8, 9)
    struct.pack_into("<I", data, 124, zlib.crc32(data[:124]))
    data[50] ^= 1
    paths[1].write_bytes(data)
    assert found(tmp_path).problems[0] == f"{paths[1].name}: its header is damaged; what it said follows from the rest"


def test_a_segment_of_a_newer_version_is_not_called_damage(tmp_path):
    paths = written(tmp_path)
    reheaded(paths[1], 8, "<I", 9)
    with pytest.raises(UnknownFormat, match="segment version 9"):
        check(str(tmp_path))


# -- the index ----------------------------------------------------------------------

def in_index(folder, *statements):
    connection = sqlite3.connect(folder / "index.sqlite3", isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


@pytest.mark.parametrize("statement, why", [
    ("update about set value = 9 where key = 'position'", "what it says of itself doesn't match its checksum"),
    ("delete from about where key = 'uuid'", "KeyError: 'uuid'"),
    ("update heads set next = 9 where name = x'61'", "a stream's row doesn't match its checksum"),
    ("update places set crc = 9 where first = 0 and stream = x'61'", "a row of places doesn't match its checksum"),
    ("update places set packed = 'text' where first = 0 and stream = x'61'", "TypeError"),
    ("delete from places where first = 0 and stream = x'61'", "events 0 to 2 of stream b'a' have no place"),
    ("delete from places where first > 0 and stream = x'61'", "events 3 to"),
    ("insert into places select x'7a', first, last, segment, packed, crc from places limit 1",
     "it has places of events that aren't in the log"),
    ("drop table places", "no such table"),
    ("update marks set crc = 9 where segment = 0", "a row of marks doesn't match its checksum"),
    ("update marks set packed = 9 where segment = 0", "TypeError"),
    ("drop table marks", "no such table"),
])
def test_an_index_that_contradicts_itself_or_the_log_is_named(tmp_path, statement, why):
    written(tmp_path)
    in_index(tmp_path, statement)
    [problem] = found(tmp_path).problems
    assert problem.startswith("index.sqlite3: ")
    assert why in problem
    assert problem.endswith("; it is of no use, and is made anew from the log")


def test_an_index_of_an_empty_store_without_its_tables_is_named(tmp_path):
    with opened(tmp_path):
        pass
    in_index(tmp_path, "drop table places")
    assert "no such table: places" in found(tmp_path).problems[0]


def test_an_index_that_lost_the_first_places_in_a_segment_is_named(tmp_path):
    for _ in range(2):
        written(tmp_path, count=2, segment_size=1 << 20)
    in_index(tmp_path, "delete from places where first = 0 and stream = x'61'")
    assert "events 0 to 0 of stream b'a' have no place" in found(tmp_path).problems[0]


def test_an_index_of_another_store_is_named(tmp_path):
    written(tmp_path / "db")
    written(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "index.sqlite3", tmp_path / "db" / "index.sqlite3")
    [problem] = found(tmp_path / "db").problems
    assert "it belongs to another store" in problem


@pytest.mark.parametrize("more", [0, 3])
def test_an_index_of_another_copy_of_the_store_is_named(tmp_path, more):
    written(tmp_path / "db", count=2)
    shutil.copytree(tmp_path / "db", tmp_path / "other")
    written(tmp_path / "db", count=2 + more)
    written(tmp_path / "other", count=2)
    shutil.copy(tmp_path / "other" / "index.sqlite3", tmp_path / "db" / "index.sqlite3")
    [problem] = found(tmp_path / "db").problems
    assert "it is of another copy of this store" in problem


def test_an_index_that_is_behind_the_log_is_sound(tmp_path):
    written(tmp_path / "db", count=3)
    shutil.copy(tmp_path / "db" / "index.sqlite3", tmp_path / "old")
    written(tmp_path / "db", count=20)
    shutil.copy(tmp_path / "old", tmp_path / "db" / "index.sqlite3")
    assert found(tmp_path / "db").sound


def test_an_index_that_goes_on_behind_the_log_is_of_no_use(tmp_path):
    paths = written(tmp_path, count=3)
    cut(paths[0], paths[0].stat().st_size - 64)     # the mark: no event is lost
    [problem] = found(tmp_path).problems
    assert "it goes on behind the end of the log" in problem


def test_an_index_that_was_left_open_is_read_with_its_journal(tmp_path):
    written(tmp_path / "db")
    connection = sqlite3.connect(tmp_path / "db" / "index.sqlite3", isolation_level=None)
    connection.execute("pragma journal_mode=wal")
    connection.execute("update heads set next = 9 where name = x'61'")
    shutil.copytree(tmp_path / "db", tmp_path / "left")
    connection.close()
    assert (tmp_path / "left" / "index.sqlite3-wal").stat().st_size
    [problem] = found(tmp_path / "left").problems
    assert "a stream's row doesn't match its checksum" in problem


def test_an_index_that_contradicts_the_streams_does_not_say_whose_events_are_lost(tmp_path):
    paths = written(tmp_path)
    flip(paths[1], records_of(paths[1])[1][0] + 90)
    heads = {b"a": 60, b"b": 60}
    in_index(tmp_path, "delete from heads", *(
        f"insert into heads values (x'{name.hex()}', {number}, {zlib.crc32(name, number)})"
        for name, number in heads.items()))
    connection = sqlite3.connect(tmp_path / "index.sqlite3", isolation_level=None)
    about = dict(connection.execute("select key, value from about"))
    about["position"] = 120
    through = [about[field] for field in ("sequence", "byte", "position", "print", "durable")]
    from store.index import Through, _checksum
    through = Through(*through)
    connection.execute("update about set value = 120 where key = 'position'")
    connection.execute("update about set value = ? where key = 'crc'",
                       (_checksum(repr(through).encode(), *through[:3]),))
    connection.close()
    findings = found(tmp_path)
    assert findings.lost == 1
    assert "what it says of the streams contradicts the log" in findings.problems[-1]


def with_cut(folder, spoil):
    """A store that begins with a cut of two events, one of them left, after `spoil` changed its body."""
    path, *_ = written(folder, count=2, segment_size=1 << 20)
    salt = salt_of(path)
    (_, a), (_, b), *_ = records_of(path)
    cut_ = record.encode_cut(salt, 0, a.clock, 2, [record.Gone(b"a", 0, 1, [(0, 0, b"id")])], [b])
    header, body = spoil(bytearray(cut_[:record.HEADER_SIZE - 4]), cut_[record.HEADER_SIZE:])
    header[56:60] = zlib.crc32(body).to_bytes(4, "little")
    header += zlib.crc32(header, salt).to_bytes(4, "little")
    overwrite(path, HEADER_SIZE, bytes(header + body))
    mark = record.encode_mark(salt, 2, 7)
    overwrite(path, HEADER_SIZE + len(header + body), mark)
    cut(path, HEADER_SIZE + len(header + body) + len(mark))
    drop_index(folder)
    return found(folder)


def test_events_that_were_cut_are_not_lost(tmp_path):
    findings = with_cut(tmp_path, lambda header, body: (header, body))
    assert findings.problems == []
    assert (findings.events, findings.cut, findings.lost, findings.position) == (1, 1, 0, 2)
    assert "taken out on purpose, by retention or deletion: 1 event" in findings.notes


@pytest.mark.parametrize("spoil", [
    lambda header, body: (header, body.replace(b"\1\0\0\0a", b"\1\0\0\0\n")),
    lambda header, body: (header, body[:-4] + b"\xff\xff\0\0"),
    lambda header, body: (header, body.replace(b"*5", b"*6", 1)),
    lambda header, body: (header[:12] + b"\3" + header[13:], body),
])
def test_a_cut_that_is_none_is_damage(tmp_path, spoil):
    assert not with_cut(tmp_path, spoil).sound
