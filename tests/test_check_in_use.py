"""store/check.py on a store that is open: what it finds, and that nobody waits for it."""

import errno
import threading
from pathlib import Path

import pytest
from disk import SECONDS, Call, Disk, flip, quick_index, records_of, until

from store import CannotRead, Store, StoreClosed, check
from store.segment import HEADER_SIZE, MERGING

__all__ = ["quick_index"]


@pytest.fixture
def disk():
    return Disk()


@pytest.fixture
def store(tmp_path, disk):
    with Store(str(tmp_path / "db"), files=disk, segment_size=8192) as one:
        yield one


def fill(store, count):
    for i in range(count):
        store.append(f"s{i % 3}", "happened", b"%d" % i * 20)


def first_segment(store):
    return Path(store.path) / "000000000000.segment"


def test_a_sound_store_is_found_sound(store):
    fill(store, 200)
    findings = store.check()
    assert findings.sound and not findings.notes
    assert (findings.events, findings.streams, findings.lost, findings.position) == (200, 3, 0, 200)


def test_an_empty_store_is_sound(store):
    assert store.check().sound


def test_events_that_are_lost_are_named(store):
    fill(store, 100)
    path = first_segment(store)
    byte = records_of(path)[5][0]
    flip(path, byte + 100)
    findings = store.check()
    assert findings.lost == 1 and "event 1 of stream 's2'" in findings.problems[0]


def test_the_last_event_is_named_when_it_is_damaged(store):
    fill(store, 3)
    path = first_segment(store)
    flip(path, records_of(path)[2][0] + 100)
    assert store.check().lost == 1


def test_a_header_that_changed_since_is_named(store):
    fill(store, 3)
    flip(first_segment(store), 70)
    assert "its header isn't what it was" in store.check().problems[0]


def test_a_gap_of_an_earlier_repair_is_a_note(tmp_path):
    from store.repair import repair
    folder = tmp_path / "db"
    with Store(str(folder)) as store:
        fill(store, 3)
        path = first_segment(store)
    flip(path, records_of(path)[1][0] + 100)
    repair(str(folder))
    with Store(str(folder)) as store:
        findings = store.check()
    assert findings.sound and "lost to damage" in findings.notes[0]


def test_appends_and_rewriting_go_on_meanwhile(store, disk, monkeypatch):
    monkeypatch.setattr(check, "_STEP", 1)
    fill(store, 20)
    reached, go_on = threading.Event(), threading.Event()

    def pause():
        reached.set()
        return not go_on.wait(SECONDS)

    monkeypatch.setattr(store._log, "pause", pause)
    call = Call(store.check)
    assert reached.wait(SECONDS)
    monkeypatch.undo()
    for _ in range(100):
        store.append("small", "n", b"")
    until(lambda: disk.count("rename", MERGING))
    go_on.set()
    findings = call.result()
    assert findings.sound and findings.events == 20


def test_it_ends_when_the_store_is_closed(tmp_path, monkeypatch):
    monkeypatch.setattr(check, "_STEP", 1)
    store = Store(str(tmp_path / "db"))
    fill(store, 3)
    reached, go_on = threading.Event(), threading.Event()
    really = store._log.pause

    def pause():
        reached.set()
        assert go_on.wait(SECONDS)
        return really()

    monkeypatch.setattr(store._log, "pause", pause)
    call = Call(store.check)
    assert reached.wait(SECONDS)
    store.close()
    go_on.set()
    with pytest.raises(StoreClosed):
        call.result()
    with pytest.raises(StoreClosed):
        store.check()


def test_a_disk_that_cannot_be_read_is_said_so(store, disk):
    fill(store, 3)
    disk.refuse("read", errno.EIO, ".segment")
    with pytest.raises(CannotRead):
        store.check()


def test_progress_is_told_up_to_the_end(store):
    fill(store, 100)
    told = []
    store.check(lambda done, of: told.append((done, of)))
    assert told == sorted(told) and told[-1][1] == store.size
    assert told[-1][0] > store.size - 4 * HEADER_SIZE * len(list(Path(store.path).glob("*.segment")))
