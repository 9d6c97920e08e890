"""store/lookup.py: which events have a key; and that no harm to its file goes unnoticed."""

import os
import random
import shutil
import sqlite3
import tempfile
import threading

import pytest
from disk import SECONDS, quick_index
from hypothesis import given, settings
from hypothesis import strategies as st

from store import StoreFull, lookup
from store.lookup import MAX_HASH, MIN_HASH, Cursor, Lookup, LookupDamaged, Reach

__all__ = ["quick_index"]

UUID = b"u" * 16


def reach(position):
    return Reach(0, 128, position, 77)


def opened(path, full=lookup.FULL):
    made = Lookup(str(path), full)
    made.uuid = UUID
    made.load()
    made.begin(0)
    return made


@pytest.fixture
def new(tmp_path):
    made = opened(tmp_path / "lookup.sqlite3")
    yield made
    made.close()


def keep(known, entries):
    """Have `entries` in the file."""
    known.add(entries)
    last = max([position for _, position in entries], default=-1)
    known.seal(reach(last + 1))
    assert known.flush(last + 1) is None


def spoil(known, statement, *values):
    """Change rows behind its back, and open it again."""
    known.close()
    connection = sqlite3.connect(known.path)
    with connection:
        connection.execute(statement, values)
    connection.close()
    again = Lookup(known.path)
    again.uuid = UUID
    return again


# -- found ---------------------------------------------------------------------------

def test_an_entry_is_found_in_memory_and_in_the_file(new):
    new.add([(5, 0), (-5, 1), (5, 2)])
    assert (new.find(5), new.find(-5), new.find(4)) == ([0, 2], [1], [])
    keep(new, [(5, 3)])
    new.add([(5, 4)])
    assert (new.find(5), new.find(-5), new.find(4)) == ([0, 2, 3, 4], [1], [])


def test_the_highest_and_the_lowest_hash_are_found(new):
    keep(new, [(MIN_HASH, 0), (MAX_HASH, 1), (0, 2), (-1, 3)])
    assert [new.find(hash_) for hash_ in (MIN_HASH, MAX_HASH, 0, -1)] == [[0], [1], [2], [3]]


def test_what_was_in_the_file_is_found_after_it_was_opened_again(new):
    keep(new, [(i * 7919, i) for i in range(1000)])
    new.close()
    again = opened(new.path)
    assert all(again.find(i * 7919) == [i] for i in range(1000))
    assert again.find(1) == []
    again.close()
    again = Lookup(new.path)
    again.uuid = UUID
    assert again.load() == reach(1000)
    again.close()


def test_a_hash_with_more_entries_than_a_leaf_takes_is_found_whole(new):
    keep(new, [(1, i) for i in range(500)] + [(2, 500)])
    keep(new, [(1, i) for i in range(501, 1000)])
    assert new.find(1) == [*range(500), *range(501, 1000)]
    assert new.find(2) == [500]
    assert new.find(0) == []


def test_entries_that_are_added_again_are_there_once(new):
    entries = [(i % 10, i) for i in range(300)]
    keep(new, entries)
    new.fill_up([(entries, reach(300))])
    assert list(new.entries()) == sorted(entries)


def test_a_cursor_gives_the_first_position_at_or_after_any(new):
    keep(new, [(1, i) for i in range(0, 2000, 2)] + [(0, 5), (2, 7)])
    new.add([(1, 3001), (1, 3005)])
    cursor = Cursor(new, 1)
    for position in (0, 1999, 700, 701, 1500, 3, 1998):
        expected = position + position % 2
        assert cursor.first(position) == (expected if expected < 2000 else 3001)
    assert [cursor.first(position) for position in (2500, 3001, 3002, 3006)] == [3001, 3001, 3005, None]


def test_a_cursor_without_a_file_knows_what_is_in_memory(new):
    new.add([(1, 5)])
    cursor = Cursor(new, 1)
    assert (cursor.first(0), cursor.first(5), cursor.first(6)) == (5, 5, None)
    assert Cursor(new, 2).first(0) is None


def test_what_is_moved_to_the_file_under_a_cursor_is_given_once(new):
    new.add([(1, 0), (1, 1)])
    cursor = Cursor(new, 1)
    keep(new, [(1, 2)])
    assert [cursor.first(i) for i in range(4)] == [0, 1, 2, None]


@settings(max_examples=40)
@given(st.lists(st.lists(st.tuples(st.integers(-3, 3) | st.sampled_from([MIN_HASH, MAX_HASH]),
                                   st.integers(1, 300))), max_size=6), st.integers(1, 200))
def test_it_finds_what_a_dict_of_all_entries_would(batches, full):
    folder = tempfile.mkdtemp()
    known = opened(os.path.join(folder, "lookup.sqlite3"), full)
    expected = {}
    position = 0
    try:
        for batch in batches:
            for hash_, count in batch:
                entries = [(hash_, position + i) for i in range(count)]
                expected.setdefault(hash_, []).extend(position for _, position in entries)
                position += count
                if known.add(entries):
                    known.seal(reach(position))
                    known.flush(position)
            for hash_ in (MIN_HASH, -1, 0, 1, MAX_HASH):
                assert known.find(hash_) == expected.get(hash_, [])
    finally:
        known.close()
        shutil.rmtree(folder)


# -- moved to the file -----------------------------------------------------------------

def test_it_says_when_what_is_in_memory_should_be_moved(tmp_path):
    known = opened(tmp_path / "lookup.sqlite3", full=3)
    assert not known.add([(1, 0), (2, 0)])
    assert known.add([(3, 1)])
    known.seal(reach(2))
    assert known.wanted.is_set()
    assert not known.add([(4, 2)])
    known.close()


def waiting_for_room(known):
    """A thread in `wait_for_room`, and what became of it."""
    came = []

    def wait():
        try:
            known.wait_for_room()
            came.append(None)
        except StoreFull as full:
            came.append(full)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread, came


def test_who_adds_waits_while_too_much_is_in_memory(new):
    for i in range(4):
        new.wait_for_room()
        new.add([(i, i)])
        new.seal(reach(i + 1))
    thread, came = waiting_for_room(new)
    thread.join(0.01)
    assert not came
    new.flush(1)
    thread.join(SECONDS)
    assert came == [None]
    assert new.moved == 1


def test_who_would_wait_for_what_can_not_be_moved_is_told(new, monkeypatch):
    for i in range(4):
        new.add([(i, i)])
        new.seal(reach(i + 1))
    thread, came = waiting_for_room(new)
    with monkeypatch.context() as patch:
        patch.setattr(lookup, "_rows", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            new.flush(4)
        thread.join(SECONDS)
        new.wanted.clear()
        with pytest.raises(StoreFull, match="what is in memory can't be moved to it .division by zero.; nothing of"):
            new.wait_for_room()
        assert isinstance(came[0], StoreFull)
        assert new.wanted.is_set(), "it is tried again"
    new.flush(4)
    new.wait_for_room()


def test_only_what_is_on_disk_is_moved(new):
    new.add([(1, 0)])
    new.seal(reach(1))
    new.add([(2, 1)])
    new.seal(reach(2))
    new.add([(3, 2)])
    assert new.flush(0) == 2
    assert not os.path.exists(new.path)
    assert new.flush(1) == 2
    assert list(new.entries()) == [(1, 0)]
    assert new.flush(2) is None
    assert list(new.entries()) == [(1, 0), (2, 1)]
    assert [new.find(i) for i in (1, 2, 3)] == [[0], [1], [2]]


def test_without_an_entry_there_is_no_file(new):
    new.seal(reach(50))
    assert new.flush(50) is None
    assert list(new.entries()) == []
    assert not os.path.exists(new.path)


def test_nobody_has_to_wait_for_the_disk_where_nothing_was_added(new):
    new.seal(reach(5))
    assert new.flush(0) is None
    assert not new.wanted.is_set()


def test_a_file_that_is_there_learns_how_far_it_goes_though_nothing_was_added(new):
    keep(new, [(1, 0)])
    new.seal(reach(9))
    new.flush(9)
    new.close()
    again = Lookup(new.path)
    again.uuid = UUID
    assert again.load() == reach(9)
    again.close()


def test_entries_added_since_a_look_up_began_are_told(new):
    new.add([(1, 0)])
    seen = new.added
    assert not new.has_since([1, 2], seen, 1)
    new.add([(1, 1)])
    assert new.has_since([2, 1], seen, 1)
    assert not new.has_since([2], seen, 1)
    assert not new.has_since([1], seen, 2)
    keep(new, [])
    assert not new.has_since([2], seen, 0)
    keep(new, [(3, 5)])
    assert new.has_since([2], seen, 1), "what was moved to the file since can't be told from here"


def test_a_move_that_fails_leaves_everything_findable_and_is_made_up_for(new, monkeypatch):
    keep(new, [(i, i) for i in range(200)])
    new.add([(i, 200 + i) for i in range(200)])
    new.seal(reach(400))
    real, calls = lookup._rows, []

    def rows(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise sqlite3.OperationalError("disk I/O error")
        return real(*arguments)

    monkeypatch.setattr(lookup, "_rows", rows)
    with pytest.raises(sqlite3.OperationalError):
        new.flush(400)
    assert [new.find(i) for i in range(200)] == [[i, 200 + i] for i in range(200)]
    assert len(list(new.entries())) == 200, "half of a move is in the file"
    assert new.flush(400) is None
    assert len(list(new.entries())) == 400


def test_a_move_after_it_was_closed_is_refused(new):
    new.add([(1, 0)])
    new.seal(reach(1))
    real = new._put_in_leaf

    def close_first(entries, at):
        new._disconnect()
        return real(entries, at)

    new._put_in_leaf = close_first
    with pytest.raises(LookupDamaged, match="the look-up is closed"):
        new.flush(1)


def test_look_ups_get_in_between_the_leaves_of_a_move(new, monkeypatch):
    keep(new, [(i, i) for i in range(20_000)])
    monkeypatch.setattr(lookup, "_LEAVES_AT_ONCE", 1)
    stop = threading.Event()
    wrong = []

    def look():
        rnd = random.Random(1)
        while not stop.is_set():
            hash_ = rnd.randrange(20_000)
            if new.find(hash_)[:1] != [hash_]:
                wrong.append(hash_)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        keep(new, [(i, 20_000 + i) for i in range(0, 20_000, 3)])
    finally:
        stop.set()
        thread.join(SECONDS)
    assert not wrong
    assert new.find(3) == [3, 20_003]


# -- harm ------------------------------------------------------------------------------

def test_no_file_is_no_harm(tmp_path):
    known = Lookup(str(tmp_path / "lookup.sqlite3"))
    assert known.load() is None
    known.discard()
    known.close()


@pytest.mark.parametrize("statement", [
    "update about set value = value + 1 where key = 'position'",
    "update about set value = 9 where key = 'version'",
    "delete from about where key = 'print'",
    "delete from about",
    "drop table about",
    "update about set value = x'00' where key = 'uuid'",
])
def test_a_file_that_contradicts_itself_or_is_of_another_store_is_not_loaded(new, statement):
    keep(new, [(1, 0)])
    again = spoil(new, statement)
    with pytest.raises(LookupDamaged):
        again.load()
    again.close()


def test_what_is_no_file_of_sqlite_is_not_loaded(tmp_path):
    path = tmp_path / "lookup.sqlite3"
    path.write_bytes(b"nonsense" * 1000)
    known = Lookup(str(path))
    with pytest.raises(LookupDamaged):
        known.load()
    known.discard()
    assert not path.exists()
    known.close()


@pytest.mark.parametrize("statement", [
    "delete from leaves where hash = (select max(hash) from leaves)",
    "delete from leaves where hash = (select hash from leaves order by hash limit 1 offset 1)",
    "delete from leaves",
    "update leaves set crc = crc + 1",
    "update leaves set packed = substr(packed, 2)",
    "update leaves set packed = 7",
    "update leaves set next_hash = next_hash - 1",
    "drop table leaves",
])
def test_no_harm_to_leaves_makes_an_entry_disappear(new, statement):
    keep(new, [(i, i) for i in range(400)])
    again = spoil(new, statement)
    assert again.load() == reach(400)
    again.begin(0)
    told = 0
    for i in range(400):
        try:
            assert again.find(i) == [i]
        except LookupDamaged:
            told += 1
    assert told
    again.close()


def test_any_byte_of_the_file_may_be_another_and_no_answer_is_wrong(new, tmp_path):
    keep(new, [(i * 12345678901 % 999983, i) for i in range(300)])
    new.close()
    with open(new.path, "rb") as file:
        whole = file.read()
    rnd = random.Random(5)
    told = 0
    for n in range(60):
        at = rnd.randrange(len(whole))
        path = tmp_path / f"{n}.sqlite3"
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << rnd.randrange(8)]) + whole[at + 1:])
        known = Lookup(str(path))
        known.uuid = UUID
        try:
            assert known.load() in (None, reach(300))
            known.begin(0)
            for i in range(300):
                assert known.find(i * 12345678901 % 999983) == [i]
        except LookupDamaged:
            told += 1
        finally:
            known.close()
            path.unlink()
    assert told


def test_it_is_made_anew_from_what_the_log_has(new):
    keep(new, [(1, 0)])
    new.add([(2, 9)])
    new.make_anew(iter([([(5, 1), (3, 0)], reach(2)), ([(5, 3)], reach(4))]))
    assert list(new.entries()) == [(3, 0), (5, 1), (5, 3)]
    assert new.find(2) == [9], "memory keeps what it has"
    assert new.load() == reach(4)


def test_closing_a_file_that_does_not_let_itself_be_closed_says_so(new, caplog):
    class Stubborn:
        def close(self):
            raise sqlite3.OperationalError("unable to close")

    keep(new, [(1, 0)])
    new._connection.close()
    new._connection = Stubborn()
    new.close()
    assert "closing it failed (unable to close); it will be made anew" in caplog.text


def test_a_file_that_is_of_no_use_says_so_to_whoever_looks_or_adds(new):
    keep(new, [(1, 0), (2, 1)])
    new.unusable = ValueError("why")
    for ask in (lambda: new.find_many({1, 3}), lambda: new.find(1), new.wait_for_room):
        with pytest.raises(ValueError, match="why"):
            ask()
    assert new.flush(99) is None


def test_a_connection_that_fails_is_damage(new):
    keep(new, [(1, 0)])
    new._connection.close()
    with pytest.raises(LookupDamaged, match="ProgrammingError"):
        new.find_many({1, 2, 3, 4, 5})
    new._connection = None
