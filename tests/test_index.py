"""store/index.py: where events are; and that no harm to it changes an answer."""

import os
import random
import shutil
import sqlite3
import sys
import threading
from types import SimpleNamespace

import pytest
from disk import SECONDS, Disk, crash, drop_index, quick_index, records_of, segments

from store import IndexUnusable, NewEvent, Store, index, record
from store.index import SPACING, Fresh, Index, IndexDamaged, Through
from store.segment import HEADER_SIZE, Reader

__all__ = ["quick_index"]

UUID = b"u" * 16
START = Through(0, 128, 0, 77, 0)


def one(stream, number, size=100, count=1, position=None):
    """What the index has to know of a record."""
    position = number if position is None else position
    return SimpleNamespace(stream=stream, number=number, count=count, position=position, size=size, latest=5, pack=None)


def pack(streams, numbers, position=0, size=100):
    """What the index needs of a record of several streams."""
    return SimpleNamespace(pack=(streams, numbers), position=position, size=size, latest=5)


def fresh_of(*records, byte=128):
    fresh = Fresh(START)
    fresh.add(records, byte)
    return fresh


@pytest.fixture
def new(tmp_path):
    made = Index(str(tmp_path / "index.sqlite3"))
    made.uuid = UUID
    assert made.load() is None
    made.begin(START)
    yield made
    made.close()


def again(known):
    """The same index, opened by another process."""
    known.close()
    other = Index(known.path)
    other.uuid = UUID
    try:
        return other.load()
    finally:
        other.close()


def through(byte, position, sequence=0):
    return Through(sequence, byte, position, 77, 0)


# -- places in memory ---------------------------------------------------------------

def test_a_record_behind_one_of_the_same_stream_has_no_place_of_its_own():
    fresh = fresh_of(one(b"s", 0), one(b"s", 1), one(b"t", 0), one(b"s", 2))
    assert fresh.find(b"s", 0, 9) == [0 << 32 | 128, 2 << 32 | 428]
    assert fresh.find(b"s", 1, 9) == [0 << 32 | 128, 2 << 32 | 428]
    assert fresh.find(b"s", 2, 9) == [2 << 32 | 428]
    assert fresh.find(b"s", 0, 1) == [0 << 32 | 128]
    assert fresh.find(b"t", 0, 9) == [328]
    assert fresh.find(b"u", 0, 9) is None


def test_a_record_that_does_not_touch_the_one_before_has_a_place():
    fresh = fresh_of(one(b"s", 0))
    fresh.add([one(b"s", 1)], 292)      # 64 bytes of a mark stand between them
    assert fresh.find(b"s", 0, 9) == [128, 1 << 32 | 292]


def test_a_place_is_kept_each_64_KiB():
    fresh = fresh_of(*[one(b"s", i, size=SPACING // 4) for i in range(9)])
    assert [place >> 32 for place in fresh.find(b"s", 0, 9)] == [0, 4, 8]
    assert list(fresh.marks[::3]) == [0, 4, 8]


def test_a_number_before_the_first_place_is_not_found():
    fresh = fresh_of(one(b"one", 5), one(b"two", 5), one(b"three", 0), one(b"two", 6))
    assert fresh.find(b"one", 4, 9) is None
    assert fresh.find(b"two", 4, 9) is None


@pytest.mark.parametrize("number", [2**32 - 2, 2**32 - 1, 2**32, 2**40])
def test_numbers_beyond_32_bits_are_found(new, number):
    records = [r for i in range(3) for r in (one(b"s", number + i, position=2 * i),
                                             one(b"t", i, position=2 * i + 1))]
    new.add(records, 128)
    expected = [(number + i, 128 + 200 * i) for i in range(3)]
    assert new.places(b"s", number + 9) == (0, expected[2:])
    assert new.places(b"s", number) == (0, expected)
    new.seal(through(728, 6))
    assert not new.flush(6)
    assert new.places(b"s", number) == (0, expected)
    assert new.places(b"s", number + 2) == (0, expected[2:])


# -- moved to sqlite3 -----------------------------------------------------------------

def test_only_what_is_on_disk_is_moved(new):
    new.add([one(b"s", 0)], 128)
    new.seal(through(228, 1))
    new.add([one(b"s", 1)], 228)
    new.seal(through(328, 2))
    assert new.flush(0) is True
    assert new.flushed_through == START
    assert new.flush(1) is True
    assert new.flushed_through == through(228, 1)
    assert new.flush(2) is False
    assert again(new) == (through(328, 2)._replace(durable=2), {b"s": 2})


def byte_of(index, sequence, position):
    """Where a record begins, at or before `position`, or None."""
    mark = index.mark_at(sequence, position)
    return mark and mark[1]


def test_what_was_moved_is_found_as_before(new):
    records = [one(b"s" if i % 3 else b"t", i // 3 if i % 3 == 0 else i // 3 * 2 + i % 3 - 1, position=i)
               for i in range(3000)]
    new.add(records, 128)

    def looks():
        return ([new.places(stream, number, limit) for stream in (b"s", b"t", b"u")
                 for number in (0, 1, 777, 2**64) for limit in (1, 512)
                 if stream != b"u" or number < 2**64],
                [byte_of(new, 0, position) for position in (0, 1, 1500, 2999, 2**64)],
                byte_of(new, 1, 0))

    before = looks()
    new.seal(through(300_128, 3000))
    new.flush(3000)
    after = looks()
    # In memory the last place goes for all that follows; on disk a row says where it ends.
    assert [a for a, b in zip(after[0], before[0]) if a != b] == [None] * 4
    assert after[1:] == before[1:]
    assert before[1][0] == 128 and before[2] is None
    heads = again(new)[1]
    assert heads == {b"t": 1000, b"s": 2000}


def test_a_number_that_no_row_holds_has_no_place(new):
    new.add([one(b"s", 5)], 128)
    new.seal(through(228, 1))
    new.flush(1)
    assert new.places(b"s", 4) is None
    assert new.places(b"s", 6) is None
    assert new.places(b"s", 5) == (0, [(5, 128)])


def test_the_mark_in_sqlite_is_found_when_memory_begins_later_in_the_segment(new):
    new.add([one(b"s", 0)], 128)
    new.seal(through(228, 1))
    new.add([one(b"s", 1)], 228)
    new.flush(1)
    assert [byte_of(new, 0, position) for position in (0, 1)] == [128, 228]


def test_marks_are_unpacked_once_and_no_more_of_them_are_kept_than_should_be(new, monkeypatch):
    monkeypatch.setattr(index, "_MARKS_KEPT", 2)
    for i in range(3):
        new.add([one(b"s", i, position=i)], 128)
        new.seal(Through(i + 1, 128, i + 1, 0, 0))
    new.flush(3)
    unpacked = []
    unpack = index._unpack
    monkeypatch.setattr(index, "_unpack", lambda packed: unpacked.append(packed) or unpack(packed))
    for sequence in (0, 0, 1, 1, 0, 2, 2):
        assert new.mark_at(sequence, 5) == (sequence, 128)
    assert len(unpacked) == 3
    assert new.mark_at(0, 5) == (0, 128)
    assert len(unpacked) == 4, "for those before it were dropped"


def test_a_row_is_swapped_on_a_big_endian_machine(new, monkeypatch):
    monkeypatch.setattr(sys, "byteorder", "big")
    new.add([one(b"s", 0), one(b"t", 0, position=1), one(b"s", 1, position=2)], 128)
    new.seal(through(428, 3))
    new.flush(3)
    assert new.places(b"s", 1) == (0, [(1, 328)])
    assert again(new) == (through(428, 3)._replace(durable=3), {b"s": 2, b"t": 1})


def test_a_pack_is_a_place_for_each_of_its_streams(new):
    new.add([pack([b"s", b"t", b"s"], [0, 0, 1]), one(b"s", 2, position=3)], 128)
    new.add([pack([b"t", b"s", b"s"], [1, 3, 4], position=4), pack([b"s", b"t"], [5, 2], position=7)], 328)
    assert new.places(b"s", 9, 1) == (0, [(5, 428)])
    assert new.places(b"s", 0) == (0, [(0, 128), (2, 228), (3, 328), (5, 428)])
    assert new.places(b"t", 0) == (0, [(0, 128), (1, 328), (2, 428)])
    new.seal(through(528, 9))
    new.flush(9)
    assert again(new) == (through(528, 9)._replace(durable=9), {b"s": 6, b"t": 3})


def test_what_was_added_last_is_noted_by_whoever_looks_or_adds_or_is_told_to(new):
    known = new._fresh[0]
    new.add([one(b"s", 0)], 128)
    assert not known.places         # whoever wrote it doesn't wait for that
    assert new.places(b"s", 0) == (0, [(0, 128)])
    new.add([one(b"t", 0, position=1)], 228)
    new.add([one(b"u", 0, position=2)], 328)
    assert known.places.keys() == {b"s", b"t"}
    new.note()
    assert known.places.keys() == {b"s", b"t", b"u"}
    new.add([one(b"v", 0, position=3)], 428)
    new.seal(through(528, 4))
    assert known.places.keys() == {b"s", b"t", b"u", b"v"}


@pytest.mark.parametrize("failing", range(1, 5))
def test_noting_goes_on_where_there_was_no_memory_for_it(new, monkeypatch, failing):
    records = [pack([b"s", b"t"], [0, 0]), one(b"s", 1, position=2, size=SPACING),
               pack([b"t", b"s"], [1, 2], position=3), one(b"s", 3, position=5)]
    left = [failing]

    def short_of_memory(note):
        def noting(*arguments):
            left[0] -= 1
            if not left[0]:
                raise MemoryError()
            note(*arguments)
        return noting

    for name in ("_add_pack", "_add_run"):
        monkeypatch.setattr(Fresh, name, short_of_memory(getattr(Fresh, name)))
    new.add(records, 128)
    with pytest.raises(MemoryError):
        new.note()
    assert new.places(b"s", 0) == (0, [(0, 128), (1, 228), (2, 228 + SPACING), (3, 328 + SPACING)])
    known, expected = new._fresh[0], fresh_of(*records)
    assert (known.places, known.lasts, known.marks, known.records) == (
        expected.places, expected.lasts, expected.marks, expected.records)


def test_a_stream_that_comes_twice_in_a_pack_has_one_place_there(new):
    new.add([pack([b"s", b"t", b"s"], [0, 0, 1])], 128)
    assert new.places(b"s", 1) == (0, [(0, 128)])
    new.add([pack([b"s"] * 3 + [b"t"], [2, 3, 4, 1], position=3)], 228)
    new.add([pack([b"s"] * 3 + [b"t"], [2**32 - 1, 2**32, 2**32 + 1, 2], position=7)], 328)
    new.add([pack([b"s"] * 3 + [b"t"], [2**32 + 2, 2**32 + 3, 2**32 + 4, 3], position=11)], 428)
    assert new.places(b"s", 2) == (0, [(2, 228), (2**32 - 1, 328), (2**32 + 2, 428)])


def test_a_failed_move_changes_nothing(new):
    new.add([one(b"s", 0), one(b"t", 2**63, position=1)], 128)      # more than a row holds
    new.seal(through(328, 2))
    with pytest.raises(OverflowError):
        new.flush(2)
    assert new.places(b"s", 0) == (0, [(0, 128)])
    assert new.flushed_through == START
    new._fresh[0].lasts[b"t"] = new._fresh[0].places[b"t"] = 0
    new.flush(2)
    assert again(new) == (through(328, 2)._replace(durable=2), {b"s": 1, b"t": 1})


def test_a_closed_index_says_so(new):
    new.add([one(b"s", 0)], 128)
    new.seal(through(228, 1))
    new.close()
    new.close()
    with pytest.raises(sqlite3.ProgrammingError, match="the index is closed"):
        new.flush(1)
    with pytest.raises(IndexDamaged, match="the index is closed"):
        new.places(b"t", 0)


def test_trouble_in_closing_is_told_and_does_no_harm(new, caplog):
    class Troubled:
        def close(self):
            raise sqlite3.OperationalError("disk I/O error")

    connection, new._connection = new._connection, Troubled()
    new.close()
    connection.close()
    assert "closing it failed (disk I/O error); it will be made anew" in caplog.text


# -- what doesn't fit -----------------------------------------------------------------

def filled(new):
    new.add([one(b"s", 0), one(b"t", 0, position=1), one(b"s", 1, position=2)], 128)
    new.seal(through(428, 3))
    new.flush(3)


ALTERED = [
    "update about set value = x'00' where key = 'uuid'",
    "update about set value = 1 where key = 'version'",
    "update about set value = 9 where key = 'version'",
    "update about set value = 5 where key = 'controls'",
    "update about set value = 4 where key = 'position'",
    "update about set value = 'far' where key = 'byte'",
    "update about set value = 9e999 where key = 'byte'",
    "update about set value = null where key = 'sequence'",
    "update about set value = 99 where key = 'durable'",
    "delete from about where key = 'byte'",
    "delete from about where key = 'uuid'",
    "update heads set next = next + 1",
    "update heads set next = 'many'",
    "update heads set name = 'text' where name = x'73'",
    "update heads set crc = crc + 1",
    "delete from heads where name = x'73'",
    "drop table heads",
    "drop table about",
]


@pytest.mark.parametrize("statement", ALTERED)
def test_an_index_that_contradicts_itself_is_not_loaded(new, statement):
    filled(new)
    new._connection.execute(statement)
    with pytest.raises(IndexDamaged):
        again(new)


ALTERED_ROWS = [
    "update places set first = first - 1",
    "update places set last = last + 1",
    "update places set segment = segment + 1",
    "update places set segment = null",
    "update places set packed = null",
    "update places set packed = 'text'",
    "update places set crc = crc + 1",
    "update places set last = 9e999",
    "update places set stream = x'75' where stream = x'73'",
    "delete from places",
    "drop table places",
    "update places set packed = x'72c800000000000000'",
    "update marks set packed = x'7200'",
    "update marks set packed = x'720000000000000000c8000000000000000000000000000000'",
    "update marks set packed = null",
    "update marks set crc = crc - 1",
    "delete from marks",
    "drop table marks",
]


@pytest.mark.parametrize("statement", ALTERED_ROWS)
def test_an_altered_row_gives_no_wrong_place(new, statement):
    filled(new)
    new._connection.execute(statement)
    for look, nothing, right in [(lambda: new.places(b"s", 1), None, (0, [(1, 328)])),
                                 (lambda: byte_of(new, 0, 2), None, 128)]:
        try:
            assert look() in (nothing, right)
        except IndexDamaged:
            pass


@pytest.mark.parametrize("content", [b"", b"nonsense" * 1000, b"SQLite format 3\0" + bytes(5000)])
def test_a_file_that_is_no_index_is_made_anew(tmp_path, content):
    path = tmp_path / "index.sqlite3"
    path.write_bytes(content)
    found = Index(str(path))
    found.uuid = UUID
    try:
        assert found.load() is None
    except IndexDamaged:
        found.discard()
        assert found.load() is None
    found.begin(START)
    filled(found)
    assert again(found)[1] == {b"s": 2, b"t": 1}


# -- in a store -------------------------------------------------------------------------

STREAMS = [f"s{i}" for i in range(5)]


def fill(folder, size=60, seed=1, segment_size=1500):
    """A store of several segments and some marks; what a store answers to `asked`."""
    chance = random.Random(seed)
    with Store(str(folder), segment_size=segment_size, files=Disk()) as store:
        for i in range(size):
            if i % 13 == 0:
                store.append_many("s0", [NewEvent("n", b"%d" % i)] * chance.randrange(1, 5))
            store.append(chance.choice(STREAMS), "n", b"%d" % i)
        return asked(store)


def asked(store):
    """Answers to all sorts of questions."""
    return (store.stream_names(), store.position, [store.last_number(name) for name in STREAMS],
            [store.read(name, first, limit=limit) for name in STREAMS for first in range(0, 20, 3)
             for limit in (1, 1000)],
            [store.read_all(first, limit=limit) for first in range(0, 70, 7) for limit in (1, 1000)])


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """(folder of a closed store, what it answers)."""
    folder = tmp_path_factory.mktemp("example") / "db"
    return folder, fill(folder)


@pytest.fixture
def copy(example, tmp_path):
    """(a copy of its own of the example, what it answers)"""
    shutil.copytree(example[0], tmp_path / "db")
    return tmp_path / "db", example[1]


def reopened(folder, **more):
    return Store(str(folder), segment_size=1500, files=Disk(), **more)


def test_answers_are_the_same_from_disk_and_from_memory(copy):
    folder, answers = copy
    with reopened(folder) as store:
        assert asked(store) == answers
        assert not store._log._rebuilt
    assert len(segments(folder)) > 5


def test_answers_are_the_same_without_the_index(copy):
    folder, answers = copy
    drop_index(folder)
    with reopened(folder) as store:
        assert asked(store) == answers
    with reopened(folder) as store:
        assert asked(store) == answers


def test_answers_are_the_same_with_a_stale_index(tmp_path):
    fill(tmp_path / "db", 20)
    stale = (tmp_path / "db" / "index.sqlite3").read_bytes()
    answers = fill(tmp_path / "db", 40, seed=2)
    (tmp_path / "db" / "index.sqlite3").write_bytes(stale)
    with reopened(tmp_path / "db") as store:
        assert asked(store) == answers


def test_answers_are_the_same_with_the_index_of_another_store(copy, tmp_path, caplog):
    folder, answers = copy
    fill(tmp_path / "other", 50, seed=3)
    shutil.copy(tmp_path / "other" / "index.sqlite3", folder / "index.sqlite3")
    with reopened(folder) as store:
        assert asked(store) == answers
    assert "belongs to another store; it is made anew from the log" in caplog.text


@pytest.mark.parametrize("size", [1, 3, 20])
@pytest.mark.parametrize("segment_size", [1500, 1 << 20])
def test_answers_are_the_same_with_the_index_of_a_copy_that_went_another_way(
        tmp_path, caplog, size, segment_size):
    folder, other = tmp_path / "db", tmp_path / "other"
    fill(folder, 20, segment_size=segment_size)
    shutil.copytree(folder, other)
    answers = fill(folder, 40, seed=4, segment_size=segment_size)
    fill(other, size, seed=5, segment_size=segment_size)
    shutil.copy(other / "index.sqlite3", folder / "index.sqlite3")
    with reopened(folder) as store:
        assert asked(store) == answers
        assert store.epoch == 1
    assert "it is of another copy of this store" in caplog.text


@pytest.mark.parametrize("seed", range(30))
def test_answers_are_the_same_with_bytes_of_the_index_spoilt(copy, seed):
    folder, answers = copy
    chance = random.Random(seed)
    data = bytearray((folder / "index.sqlite3").read_bytes())
    for _ in range(chance.choice([1, 3, 30])):
        data[chance.randrange(len(data))] = chance.choice([0, 1, 2, 255, chance.randrange(256)])
    (folder / "index.sqlite3").write_bytes(data)
    with reopened(folder) as store:
        assert asked(store) == answers


@pytest.mark.parametrize("seed", range(10))
def test_answers_are_the_same_with_a_page_of_the_index_overwritten(copy, seed):
    folder, answers = copy
    data = bytearray((folder / "index.sqlite3").read_bytes())
    page = random.Random(seed).randrange(len(data) // 4096)
    other = random.Random(seed + 100).randrange(len(data) // 4096)
    data[4096 * page:4096 * (page + 1)] = data[4096 * other:4096 * (other + 1)]
    (folder / "index.sqlite3").write_bytes(data)
    with reopened(folder) as store:
        assert asked(store) == answers


@pytest.mark.parametrize("statement", ALTERED_ROWS + [
    "delete from places where rowid is null or first > 2", "delete from places where segment = 3",
    "delete from marks where segment = 3", "delete from heads; delete from about",
    "update places set packed = (select packed from places limit 1), crc = (select crc from places limit 1)",
])
def test_answers_are_the_same_when_rows_change_under_an_open_store(copy, statement):
    folder, answers = copy
    with reopened(folder) as store:
        connection = sqlite3.connect(folder / "index.sqlite3")
        connection.executescript(statement.replace("rowid is null or ", ""))
        connection.close()
        assert asked(store) == answers
        store.append("s0", "n", b"more")
        number = store.last_number("s0")
    with reopened(folder) as store:
        assert store.last_number("s0") == number
        assert [event.number for event in store.read("s0")] == list(range(number + 1))


def altered(folder, *statements):
    connection = sqlite3.connect(folder / "index.sqlite3")
    for statement in statements:
        connection.execute(*statement)
    connection.commit()
    connection.close()


@pytest.mark.parametrize("statement", ["delete from places", "delete from marks"])
def test_replays_are_the_same_when_rows_are_missing(copy, statement):
    folder, _ = copy
    with reopened(folder) as store:
        def replayed(stream):
            frames, first = b"", 0
            while first < stream.visible:
                some = store.frames(stream, first, stream.visible, 1)
                assert some.first == first
                frames, first = frames + some.data, some.stop
            return frames

        streams = [store.all, *(store.find(name.encode()) for name in STREAMS)]
        for stream in streams:
            events = store.read(stream.name, limit=1000) if stream is not store.all else store.read_all()
            altered(folder, (statement,))
            assert replayed(stream) == b"".join(
                record.frames(one.stream.encode(), one.name.encode(), one.number, [one.data])[0]
                for one in events)


def test_a_place_of_another_streams_record_is_noticed_though_its_checksum_is_right(copy, caplog):
    folder, answers = copy
    with reopened(folder) as store:
        connection = sqlite3.connect(folder / "index.sqlite3")
        [(first, last, segment)] = connection.execute(
            "select first, last, segment from places where stream = x'7330' order by first limit 1")
        connection.close()
        byte = next(byte for byte, found in records_of(segments(folder)[segment]) if found.stream != b"s0")
        packed = index._pack(index.array("Q", [byte]))
        crc = index._checksum(b"s0" + packed, first, last, segment)
        altered(folder, ("update places set packed = ?, crc = ? where stream = x'7330' and first = ?",
                         (packed, crc, first)))
        assert asked(store) == answers
    assert "event 0 of stream b's0' isn't where it says" in caplog.text


def test_a_mark_behind_what_it_is_for_is_noticed_though_its_checksum_is_right(copy, caplog):
    folder, answers = copy
    with reopened(folder) as store:
        end = store._log._segments[0].end
        packed = index._pack(index.array("Q", [0, end, 0]))
        altered(folder, ("update marks set packed = ?, crc = ? where segment = 0",
                         (packed, index._checksum(packed, 0))))
        assert asked(store) == answers
    assert "position 0 isn't in" in caplog.text


def test_an_index_that_cannot_be_made_anew_is_an_error_of_the_read_and_of_no_more(copy, monkeypatch):
    folder, answers = copy
    with reopened(folder) as store:
        altered(folder, ("delete from places",))
        monkeypatch.setattr(os, "unlink", lambda path: (_ for _ in ()).throw(PermissionError(13, "no")))
        with pytest.raises(IndexUnusable, match="can't be made anew .*; the log is untouched"):
            store.read("s0")
        monkeypatch.undo()
        assert asked(store) == answers


def test_a_store_whose_index_cannot_be_made_at_all_says_so_and_lets_go(copy, monkeypatch):
    folder, answers = copy

    def refuse(self):
        raise sqlite3.OperationalError("unable to open database file")

    (folder / "index.sqlite3").write_bytes(b"nonsense" * 1000)
    monkeypatch.setattr(Index, "discard", refuse)
    with pytest.raises(IndexUnusable, match="unable to open database file"):
        reopened(folder)
    monkeypatch.undo()
    with reopened(folder) as store:
        assert asked(store) == answers


def test_an_index_that_stays_wrong_is_an_error(copy, monkeypatch):
    folder, _ = copy
    with reopened(folder) as store:
        monkeypatch.setattr(Index, "places", lambda *given: None)
        with pytest.raises(IndexUnusable, match="it has no place for event 0 of stream"):
            store.read("s0")


def test_a_damaged_index_is_made_anew_once_for_all_who_find_it_damaged(copy, monkeypatch):
    folder, answers = copy
    discards = []
    discard = Index.discard
    monkeypatch.setattr(Index, "discard", lambda self: (discards.append(1), discard(self)))
    with reopened(folder) as store:
        altered(folder, ("delete from places",))
        barrier = threading.Barrier(4)
        found = []

        def read():
            barrier.wait(SECONDS)
            found.append([store.read(name) for name in STREAMS])

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SECONDS)
        assert found == [found[0]] * 4
        assert asked(store) == answers
    assert len(discards) == 1


def test_an_index_is_not_made_anew_while_rows_are_moved_to_it(copy, monkeypatch):
    folder, answers = copy
    moving, go_on = threading.Event(), threading.Event()
    order = []
    put, discard = Index.put, Index.discard

    def slow_put(self, *given):
        if not moving.is_set():
            moving.set()
            assert go_on.wait(SECONDS)
            put(self, *given)
            order.append("moved")
        else:
            put(self, *given)

    monkeypatch.setattr(Index, "discard", lambda self: (order.append("discarded"), discard(self)))
    with reopened(folder) as store:
        altered(folder, ("delete from places",))
        monkeypatch.setattr(Index, "put", slow_put)
        store.append("s4", "n", b"x" * 2000)        # begins a segment: the one before it is moved
        assert moving.wait(SECONDS)
        found = []
        reading = threading.Thread(target=lambda: found.append(store.read("s0")))
        reading.start()
        while not store._log._index_writing.locked():
            pass
        go_on.set()
        reading.join(SECONDS)
        assert order == ["moved", "discarded"]
        assert [event.number for event in found[0]] == list(range(store.last_number("s0") + 1))


def test_reads_meet_no_gap_while_rows_move_from_memory_to_disk(tmp_path):
    with Store(str(tmp_path), segment_size=600, files=Disk()) as store:
        wrong = []
        done = threading.Event()

        def read():
            while not done.is_set():
                last = store.last_number("s")
                if last is not None:
                    found = [event.number for event in store.read("s", 0, last + 1, limit=10_000)]
                    if found != list(range(last + 1)):
                        wrong.append(found)

        readers = [threading.Thread(target=read) for _ in range(2)]
        for reader in readers:
            reader.start()
        for i in range(300):
            store.append("s" if i % 2 else "t", "n", b"x")
        done.set()
        for reader in readers:
            reader.join(SECONDS)
        assert wrong == []


def test_a_move_that_fails_is_told_and_done_later(tmp_path, monkeypatch, caplog):
    with Store(str(tmp_path), segment_size=600, files=Disk()) as store:
        failed = threading.Event()
        put = Index.put

        def refuse(self, fresh, durable, *more):
            failed.set()
            raise sqlite3.OperationalError("database or disk is full")

        monkeypatch.setattr(Index, "put", refuse)
        for i in range(10):
            store.append("s", "n", b"%d" % i)
        assert failed.wait(SECONDS)
        monkeypatch.setattr(Index, "put", put)
        assert [event.data for event in store.read("s")] == [b"%d" % i for i in range(10)]
    assert "writing it failed (database or disk is full); it stays in memory" in caplog.text
    with Store(str(tmp_path), files=Disk()) as store:
        assert [event.data for event in store.read("s")] == [b"%d" % i for i in range(10)]


def test_opening_a_long_log_without_an_index_moves_segment_by_segment(copy, monkeypatch):
    folder, answers = copy
    drop_index(folder)
    most = []
    flush = Index.flush

    def watched(self, durable, *more):
        most.append(len(self._fresh))
        return flush(self, durable, *more)

    monkeypatch.setattr(Index, "flush", watched)
    with reopened(folder) as store:
        assert max(most) == 2
        assert asked(store) == answers


def test_a_crash_leaves_the_index_behind_and_it_catches_up(tmp_path):
    disk = Disk()
    store = Store(str(tmp_path), segment_size=600, files=disk)
    for i in range(20):
        store.append("s", "n", b"%d" % i)
    crash(store, disk)
    with Store(str(tmp_path), segment_size=600, files=Disk()) as store:
        assert [event.data for event in store.read("s")] == [b"%d" % i for i in range(20)]


def test_a_byte_where_a_record_begins_is_known_close_before_any_other(tmp_path):
    store = Store(tmp_path / "db", sync="no", segment_size=1 << 20)
    for _ in range(2):          # from memory, and from rows
        with store:
            for _ in range(50):
                store.append("a", "n", b"x" * 10_000)
            log = store._log
            begins = {byte for byte, _ in Reader(log._segments[0]).records(HEADER_SIZE)}
            for byte in range(HEADER_SIZE, log._segments[0].end, 9000):
                found = log.index.byte_up_to(0, byte)
                assert found in begins and byte - 80_000 < found <= byte
            assert log.index.byte_up_to(0, HEADER_SIZE - 1) is None
            assert log.index.byte_up_to(7, 1 << 30) is None
        store = Store(tmp_path / "db", sync="no", segment_size=1 << 20)
    store.close()
