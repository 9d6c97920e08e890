"""tests/faults/platter.py: what a loss of power may leave of what wasn't synced, and nothing else."""

import errno

import pytest
from faults.platter import Platter, exhaustive

FILE = "/db/file"


@pytest.fixture
def platter():
    """A disk with an empty file, durable."""
    platter = Platter()
    platter.make_folder("/db")
    platter.close(platter.create(FILE))
    platter.sync_folder("/db")
    return platter


def contents(platter, path=FILE):
    """What the file may hold after a loss of power; None where it isn't there."""
    return {state.get(path) for state in exhaustive(platter.loss())}


def test_a_write_is_there_or_not_or_zeros_or_garbage_until_it_is_synced(platter):
    fd = platter.open(FILE)
    platter.write(fd, b"data", 0)
    found = contents(platter)
    assert {b"", b"data", bytes(4)} < found and len(found) == 4
    platter.sync(fd)
    assert contents(platter) == {b"data"}


def test_a_write_over_a_sector_border_may_end_or_begin_there(platter):
    fd = platter.open(FILE)
    platter.write(fd, b"a" * 600, 0)
    assert {b"a" * 512, bytes(512) + b"a" * 88} < contents(platter)


def test_a_later_write_may_be_there_without_an_earlier_one(platter):
    fd = platter.open(FILE)
    platter.write(fd, b"one", 0)
    platter.write(fd, b"two", 3)
    assert b"\0\0\0two" in contents(platter)


def test_a_truncation_may_not_have_happened(platter):
    fd = platter.open(FILE)
    platter.write(fd, b"data", 0)
    platter.sync(fd)
    platter.truncate(fd, 1)
    assert contents(platter) == {b"d", b"data"}


def test_the_name_of_a_synced_file_may_be_missing(platter):
    fd = platter.create("/db/new")
    platter.write(fd, b"data", 0)
    platter.sync(fd)
    assert contents(platter, "/db/new") == {b"data", None}
    platter.sync_folder("/db")
    assert contents(platter, "/db/new") == {b"data"}


def test_what_is_in_a_folder_that_is_missing_is_missing():
    platter = Platter()
    platter.on_change = lambda verb, path: (_ for _ in ()).throw(OSError()) if path == "/" else None
    with pytest.raises(OSError):
        platter.make_folder("/db")
    platter.create(FILE)
    platter.sync_folder("/db")
    assert contents(platter) == {b"", None}


def test_a_renamed_file_has_one_of_its_names_or_both(platter):
    platter.make_folder("/db/cut")
    platter.rename(FILE, "/db/cut/file")
    states = list(exhaustive(platter.loss()))
    assert {(FILE in state, "/db/cut/file" in state) for state in states} == {(1, 0), (0, 1), (1, 1)}
    platter.sync_folder("/db")
    assert {(FILE in state, "/db/cut/file" in state) for state in exhaustive(platter.loss())} == {(0, 1)}


def test_a_file_that_takes_the_place_of_another_leaves_a_file_there(platter):
    fd = platter.create("/db/new")
    platter.write(fd, b"new", 0)
    platter.sync(fd)
    platter.rename("/db/new", FILE)
    assert contents(platter) == {b"", b"new"}


def test_what_a_failed_sync_left_no_later_sync_writes(platter):
    fd = platter.open(FILE)
    platter.write(fd, b"one", 0)

    def refuse(verb, path):
        raise OSError(errno.EIO, "no")

    platter.on_change = refuse
    with pytest.raises(OSError):
        platter.sync(fd)
    platter.on_change = lambda verb, path: None
    platter.write(fd, b"two", 3)
    platter.sync(fd)
    assert platter.read(fd, 9, 0) == b"onetwo"
    assert {b"\0\0\0two", b"onetwo"} < contents(platter)
    assert all(found.endswith(b"two") for found in contents(platter))
    platter.forget(fd)
    assert contents(platter) == {platter.read(fd, 9, 0)}


def test_the_next_process_finds_what_was_written_and_the_power_takes_it_all_the_same(platter):
    fd = platter.open(FILE)
    platter.write(fd, b"data", 0)
    after = platter.restarted()
    assert after.read(after.open(FILE), 9, 0) == b"data"
    assert contents(after) == contents(platter)
