"""store/pick.py: the records that hold some positions, wherever they stand, and in spite of damage elsewhere."""

import pytest
from disk import Disk, flip, quick_index, segments

from store import NO, CorruptSegment, EventsLost, NewEvent, Store, pick
from store.repair import repair

__all__ = ["quick_index"]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "db"


@pytest.fixture
def store(folder):
    with Store(str(folder), NO, files=Disk()) as store:
        for i in range(60):
            store.append("ab"[i % 2], "n", b"event %d" % i + b"x" * (500 if i == 30 else 50), id=b"id %d" % i)
        yield store


def picked(store, positions, limit=1 << 20):
    """(position, data) of each event, as far as a call goes."""
    found = store._log.records_with(positions, limit)
    return [(at, event.data) for one, at in zip(found, positions)
            for event in one.events(at - one.position, at - one.position + 1)]


def all_of(store, positions):
    return [(at, store.read_all(at, at + 1)[0].data) for at in positions]


@pytest.mark.parametrize("window", [100, 150, 260, 1000, 1 << 16])
def test_records_are_found_whatever_part_of_them_is_read_at_once(store, monkeypatch, window):
    monkeypatch.setattr(pick, "_WINDOW", window)
    for step in 1, 2, 7, 29:
        assert picked(store, range(0, 60, step)) == all_of(store, range(0, 60, step))


def test_no_more_are_read_than_a_limit_of_bytes(store):
    assert [at for at, _ in picked(store, range(60), 1)] == [0]
    assert [at for at, _ in picked(store, [7, 9, 20], 300)] == [7, 9]


def test_a_damaged_record_is_named_and_those_around_it_are_found(store, folder):
    around = all_of(store, [19, 21])
    [path] = segments(folder)
    flip(path, path.read_bytes().index(b"event 20"))
    assert picked(store, [19, 21]) == around
    with pytest.raises(CorruptSegment, match="event 10 of stream 'a'"):
        store._log.records_with([20], 1)


def test_what_a_repair_gave_up_is_lost(store, folder):
    store.close()
    [path] = segments(folder)
    flip(path, path.read_bytes().index(b"event 20"))
    repair(str(folder))
    with Store(str(folder), NO, files=Disk()) as again:
        assert picked(again, [19, 21, 59]) == all_of(again, [19, 21, 59])
        assert len(again._log.records_with([19, 20], 1 << 20)) == 1
        with pytest.raises(EventsLost) as lost:
            again._log.records_with([20], 1 << 20)
        assert (lost.value.first, lost.value.stop) == (20, 21)


def test_events_of_one_record_are_given_by_one_record_each(store):
    store.append_many("c", [NewEvent("n", b"%d" % i) for i in range(9)])
    assert picked(store, [61, 62, 68]) == [(61, b"1"), (62, b"2"), (68, b"8")]
