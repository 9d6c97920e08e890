"""store/backup.py: copies of a store that is in use."""

import errno
import os
import shutil
import threading
from pathlib import Path

import pytest
from disk import SECONDS, Call, Disk, quick_index, until

from store import CannotBackUp, Store, StoreFailed
from store.check import check
from store.segment import COPYING, MERGING

__all__ = ["quick_index"]

SMALL = 8192        # bytes of a segment: enough records for it to be rewritten


@pytest.fixture
def disk():
    return Disk()


@pytest.fixture
def store(tmp_path, disk):
    with Store(str(tmp_path / "db"), files=disk, segment_size=SMALL) as one:
        yield one


@pytest.fixture
def target(tmp_path):
    return tmp_path / "copies" / "monday"


def fill(store, count, first=0):
    for i in range(first, first + count):
        store.append(f"s{i % 3}", "happened", b"%d" % i * 20, id=b"id%d" % i, metadata=b"m")


def copied(folder):
    """All events of the store in `folder`, opened."""
    with Store(str(folder)) as one:
        return everything(one)


def everything(store):
    return store.read_all(limit=1 << 20)


def segments(folder):
    return sorted(path.name for path in Path(folder).glob("*.segment"))


def test_a_copy_has_every_event_as_it_was(store, target):
    fill(store, 100)
    outcome = store.back_up(str(target))
    assert outcome.position == 100 and outcome.segments == outcome.copied == len(segments(store.path)) > 1
    assert outcome.size == outcome.written == store.size
    assert check(str(target)).sound
    assert copied(target) == everything(store)


def test_an_empty_store_is_copied(store, target):
    assert store.back_up(str(target)).position == 0
    assert copied(target) == []


def test_who_opens_a_copy_begins_a_new_epoch_with_numbers_going_on(store, target):
    fill(store, 3)
    store.back_up(str(target))
    with Store(str(target)) as copy:
        assert (copy.uuid, copy.epoch) == (store.uuid, store.epoch + 1)
        assert copy.append("s0", "happened", b"in the copy") == (1, 3)
    with Store(str(target)) as copy:
        assert copy.epoch == store.epoch + 1


def test_a_second_backup_copies_what_is_new(store, target):
    fill(store, 100)
    first = store.back_up(str(target))
    assert store.back_up(str(target)).copied == 0
    fill(store, 5, 100)
    second = store.back_up(str(target))
    assert 0 < second.copied < first.segments and second.written < first.size
    assert copied(target) == everything(store)


@pytest.fixture
def rewriting(store, disk):
    """Have a segment be rewritten, up to where its new file is made; call it to let that go on, to the end."""
    gate = disk.hold("create", MERGING)
    for _ in range(100):
        store.append("s", "n", b"")
    gate.wait_for_call()

    def go_on():
        gate.open()
        until(lambda: disk.count("rename", MERGING))
        until(lambda: store._log.index.flushed_through.sequence > 0)

    yield go_on
    gate.open()


def test_a_segment_that_was_rewritten_since_is_copied_again(store, rewriting, target):
    store.back_up(str(target))
    rewriting()
    assert store.back_up(str(target)).copied > 0
    assert check(str(target)).sound
    assert copied(target) == everything(store)


def test_events_go_on_being_appended_while_a_copy_is_made(store, disk, target):
    fill(store, 100)
    gate = disk.hold("create", COPYING)
    call = Call(lambda: store.back_up(str(target)))
    gate.wait_for_call()
    fill(store, 60, 100)
    gate.open()
    outcome = call.result()
    assert 100 <= outcome.position <= 160
    events = copied(target)
    assert events == everything(store)[:len(events)] and len(events) >= 100


def test_a_copy_is_whole_whenever_it_was_begun(store, tmp_path):
    publisher = threading.Thread(target=lambda: fill(store, 300))
    publisher.start()
    rounds = 0
    while publisher.is_alive() or not rounds:
        least = store.position
        folder = tmp_path / f"copy{rounds % 3}"         # an earlier one, from the fourth round on
        outcome = store.back_up(str(folder))
        assert outcome.position >= least
        assert check(str(folder)).sound
        events = copied_twin(folder)
        assert len(events) >= outcome.position
        assert events == everything(store)[:len(events)]
        rounds += 1
    publisher.join(SECONDS)


def test_a_segment_that_is_rewritten_while_it_is_copied_is_copied_as_it_was(store, disk, rewriting, target):
    gate = disk.hold("create", COPYING)
    call = Call(lambda: store.back_up(str(target)))
    gate.wait_for_call()
    rewriting()
    gate.open()
    call.result()
    assert check(str(target)).sound
    assert copied(target) == everything(store)


@pytest.mark.parametrize("what", ["another store", "the copy after it was opened", "rubbish"])
def test_nothing_but_a_backup_of_the_same_store_is_written_over(store, target, what):
    fill(store, 100)
    if what == "another store":
        with Store(str(target)) as other:
            other.append("s", "n", b"mine")
    elif what == "the copy after it was opened":
        store.back_up(str(target))
        with Store(str(target)) as copy:
            copy.append("s", "n", b"mine")
    else:
        target.mkdir(parents=True)
        (target / "000000000000.segment").write_bytes(b"rubbish")
    before = {path: path.read_bytes() for path in target.glob("*.segment")}
    with pytest.raises(CannotBackUp) as refused:
        store.back_up(str(target))
    assert str(target) in str(refused.value)
    assert {path: path.read_bytes() for path in target.glob("*.segment")} == before


def test_a_store_is_not_copied_to_itself(store):
    fill(store, 10)
    with pytest.raises(CannotBackUp, match="in use"):
        store.back_up(store.path)
    assert len(everything(store)) == 10


def test_a_copy_that_has_more_segments_than_the_store_is_refused(tmp_path, target):
    with Store(str(tmp_path / "db"), segment_size=SMALL) as store:
        fill(store, 10)
        store.back_up(str(target))
        shutil.copyfile(target / "000000000000.segment", target / "000000000001.segment")
        with pytest.raises(CannotBackUp):
            store.back_up(str(target))


@pytest.mark.parametrize("verb", ["create", "write", "sync", "rename", "sync_folder"])
def test_a_backup_that_the_disk_refuses_can_be_made_again(store, disk, target, verb):
    fill(store, 100)
    store.back_up(str(target))
    fill(store, 100, 100)
    before = copied_twin(target)
    disk.refuse(verb, errno.EIO, target.name if verb == "sync_folder" else COPYING)
    with pytest.raises(OSError):
        store.back_up(str(target))
    assert not list(target.glob("*" + COPYING))
    events = copied_twin(target)
    assert events[:len(before)] == before and events == everything(store)[:len(events)]
    store.back_up(str(target))
    assert copied(target) == everything(store)


def copied_twin(target):
    """What is in a copy of a backup: to open the backup itself would make it a store of its own."""
    twin = target.with_name("twin")
    shutil.rmtree(twin, ignore_errors=True)
    shutil.copytree(target, twin)
    return copied(twin)


def test_what_a_crash_left_half_copied_is_written_over(store, target):
    fill(store, 100)
    target.mkdir(parents=True)
    (target / ("000000000000.segment" + COPYING)).write_bytes(b"half")
    store.back_up(str(target))
    assert not list(target.glob("*" + COPYING))
    assert copied(target) == everything(store)


def test_a_segment_that_lost_its_end_is_refused(store, target):
    fill(store, 100)
    path = Path(store.path) / "000000000000.segment"
    size = path.stat().st_size
    os.truncate(path, size - 10)
    with pytest.raises(CannotBackUp, match=f"ends at byte {size - 10}, expected {size}"):
        store.back_up(str(target))
    assert segments(target) == []


def test_a_store_whose_sync_failed_is_not_copied(tmp_path, disk, target):
    store = Store(str(tmp_path / "db"), files=disk)
    disk.refuse("sync", errno.EIO, ".segment")
    with pytest.raises(StoreFailed):
        store.append("s", "n", b"")
    with pytest.raises(StoreFailed):
        store.back_up(str(target))
    assert not target.exists()
    with pytest.raises(StoreFailed):
        store.close()


def test_progress_is_told_up_to_the_end(store, target):
    fill(store, 100)
    told = []
    store.back_up(str(target), lambda done, of: told.append((done, of)))
    assert told == sorted(told) and told[-1] == (store.size, store.size)


def test_the_chain_of_digests_is_copied_with_the_events(tmp_path, target):
    with Store(str(tmp_path / "db"), hash_chain=True) as store:
        fill(store, 10)
        noted = store.hash_chain.head()
        store.back_up(str(target))
        fill(store, 10, 10)
        store.back_up(str(target))
    with Store(str(target)) as copy:
        assert copy.hash_chain.verify(noted).same == 20
