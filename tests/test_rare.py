"""What happens to a store rarely, and at the wrong moment: each branch for it is taken once."""

import errno
import os

import pytest
from disk import Disk, quick_index, until

from store import NO, Change, NewEvent, Prefix, Store, StoreClosed, StoreFailed, StoreFull, database, log, record
from store.errors import IndexUnusable
from store.lookup import LookupDamaged
from store.record import Gone
from store.retention import CUTS, Cut

__all__ = ["quick_index"]

SALT = 7


@pytest.fixture
def disk():
    return Disk()


@pytest.fixture
def store(tmp_path, disk):
    with Store(str(tmp_path / "db"), NO, files=disk, segment_size=4000) as one:
        yield one


def fill(store, count=60):
    for i in range(count):
        store.append("ab"[i % 2], "n", b"%d" % i)


def test_a_store_whose_rules_cannot_be_read_is_closed_again(tmp_path, monkeypatch):
    Store(str(tmp_path)).close()

    def refuse(*_):
        raise IndexUnusable("index", "as if")

    with monkeypatch.context() as patch:
        patch.setattr(database, "Retention", refuse)
        with pytest.raises(IndexUnusable):
            Store(str(tmp_path))
    Store(str(tmp_path)).close()


def test_a_stream_that_is_forgotten_already_is_not_forgotten_again(store):
    stream = store.attend("s")
    store._forget(stream)
    store._forget(stream)
    store.leave(stream)
    assert store.find(b"s") is None


def test_keys_that_wait_for_a_sync_which_fails_stay_in_memory(store, monkeypatch):
    monkeypatch.setattr(store._log, "flush_lookup", lambda: 5)

    def fail(_):
        raise StoreFailed(store.path, "a sync", OSError(errno.EIO, "as if"))

    with monkeypatch.context() as patch:
        patch.setattr(store, "_sync", fail)
        store._move_keys()


def test_a_closed_store_has_no_position_at_a_time(tmp_path):
    store = Store(str(tmp_path))
    store.close()
    with pytest.raises(StoreClosed):
        store.position_at(0)


def test_a_read_of_a_group_that_has_more_to_look_at_looks_on(store, monkeypatch):
    store.group_create("g", "s", 0)
    group = store.group("g")
    found = [([], True), ([], True), (["event"], False)]
    monkeypatch.setattr(group, "read_some", lambda member, count: found.pop(0))
    assert group.read("ann", timeout=10) == ["event"]


def test_a_rewrite_that_is_ended_frees_nothing(store, monkeypatch):
    fill(store)
    store.sync()
    until(lambda: store._log.index.flushed_through.sequence)
    monkeypatch.setattr(store._log, "_write_anew", lambda *_: None)
    assert store._log.rewrite(0, None) is None


def test_a_disk_without_room_for_a_rewrite_says_so(store, disk, monkeypatch):
    fill(store)
    store.sync()
    until(lambda: store._log.index.flushed_through.sequence)
    monkeypatch.setattr(disk, "free", lambda path: 0)
    with pytest.raises(StoreFull):
        store._log.rewrite(0, None)


def test_times_and_places_of_a_segment_just_rewritten_are_those_of_its_new_file(store, monkeypatch):
    fill(store)
    store.sync()
    until(lambda: store._log.index.flushed_through.sequence)
    store.truncate("a", 3)
    monkeypatch.setattr(store._log, "write_shadows", lambda: None)      # it is done a moment later
    store.compact()
    assert store._log.index.shadows()
    first, *_, last = store.read_all()
    assert store.position_at(last.time) <= last.position and store.position_at(0) <= first.position
    for event in store.read_all():
        assert store.number_from(event.stream.encode(), event.position) == event.number
        assert store.number_at(event.stream, event.time) <= event.number


def test_a_look_up_that_is_found_wrong_while_it_is_moved_is_made_anew_or_the_reason_logged(store, monkeypatch, caplog):
    def wrong(*_):
        raise LookupDamaged("as if")

    def refuse(*_):
        raise IndexUnusable("lookup", "as if")

    monkeypatch.setattr(store._log.lookup, "flush", wrong)
    assert store._log.flush_lookup() is None
    monkeypatch.setattr(store._log, "_remake_lookup", refuse)
    assert store._log.flush_lookup() is None
    assert "as if" in caplog.text


def test_a_look_up_that_somebody_else_made_anew_is_not_made_anew_again(store, monkeypatch):
    made = []
    monkeypatch.setattr(store._log, "_make_lookup_anew", made.append)
    store._log._remake_lookup("damage", store._log._lookup_remade - 1)
    assert not made


def test_a_look_up_is_made_anew_in_portions(tmp_path, monkeypatch):
    monkeypatch.setattr(log, "FULL", 1)
    folder = str(tmp_path)
    with Store(folder) as store:
        for i in range(5):
            store.append("s", "n", b"", id=b"%d" % i)
    for name in os.listdir(folder):
        if name.startswith("lookup"):
            os.unlink(os.path.join(folder, name))
    with Store(folder) as store:
        assert [store.append("s", "n", b"", id=b"%d" % i).number for i in range(5)] == list(range(5))


def test_entries_that_are_not_on_disk_yet_are_not_shown(store):
    store.put("topic", b"key", b"value")
    assert store._log.index.entries("topic", 0) == {}


def test_the_clocks_of_a_cut_are_those_of_what_is_left(store):
    frames = [record.FRAME % (b"s", 1, b"n", 1, b"x")]
    left = record.decode(record.encode(SALT, 1, 8, 123, 5, frames), 0, SALT)
    some = record.decode(record.encode_cut(SALT, 7, 123, 5, [Gone(b"t", 0, 1, [])], [left]), 0, SALT)
    assert list(some.clocks) == [0, 123]
    none = record.decode(record.encode_cut(SALT, 7, 123, 5, [Gone(b"t", 0, 2, [])]), 0, SALT)
    assert list(none.clocks) == [0, 0]


def test_a_cut_that_zlib_makes_no_smaller_stays_as_it_is():
    gone = [Gone(b"t", 0, 1, [(0, 7, os.urandom(4000))])]
    cut = record.decode(record.encode_cut(SALT, 7, 123, 5, gone), 0, SALT)
    assert not cut.flags & record.ZIPPED and cut.cut_parts()[2] == gone


def test_a_way_to_a_record_ends_where_none_begins():
    assert record.seek(b"no record" * 20, 3, 5) == 3


def test_a_cut_of_a_stream_that_is_not_there_waits_for_it(tmp_path):
    with Store(str(tmp_path)) as store:
        store.put(CUTS, b"s", Cut(3).encode())
    with Store(str(tmp_path)) as store:
        store.skip([("s", 3)])
        assert store.append("s", "n", b"").number == 3


def test_the_prefix_of_nothing_is_all(store):
    store.retain(Prefix(""), max_count=2)
    store.append_all([Change("s", NewEvent("n", b"")) for _ in range(5)])
    assert [event.number for event in store.read("s")] == [3, 4]
    with pytest.raises(ValueError):
        store.retain(Prefix("a:b"), max_count=2)
