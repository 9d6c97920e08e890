"""Store.put, get and entries: what the store keeps for its own use is as safe as an event, and in no event's way."""

import errno
import itertools
import random
import shutil
import sqlite3

import pytest
from disk import Call, Disk, add, contents, crash, cut, drop_index, everything, flip, quick_index, records_of, segments
from test_merge import seal
from test_recovery import copies

from store import (ALWAYS, EVERYSEC, NO, CorruptSegment, Entry, IndexUnusable, LogTooShort, NewEvent, Store,
                   StoreClosed, StoreFailed, StoreFull, index, log, record)
from store.check import check
from store.draft import drafts_of
from store.repair import repair

__all__ = ["quick_index"]

LONG = b"long" * 1000


@pytest.fixture
def disk():
    return Disk()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "db"


@pytest.fixture
def open_store(folder, disk):
    opened = []

    def start(**more):
        opened.append(Store(str(folder), **{"files": disk, **more}))
        return opened[-1]

    yield start
    for store in opened:
        try:
            store.close()
        except StoreFailed:
            pass


# -- what was put is there -------------------------------------------------------------

def test_the_value_that_was_put_last_is_there(open_store):
    store = open_store()
    assert store.get("t", b"k") is None
    store.put("t", b"k", b"one")
    store.put("t", b"k", b"two")
    store.put("t", b"", b"")
    store.put("other", b"k", LONG)
    assert (store.get("t", b"k"), store.get("t", b""), store.get("other", b"k")) == (b"two", b"", LONG)
    assert store.entries("t") == [(b"", b""), (b"k", b"two")]
    assert store.entries("none") == []


def test_an_entry_that_is_taken_out_is_gone_wherever_it_was(open_store):
    store = open_store()
    store.put_many([("t", b"a", b"1"), ("t", b"b", b"2"), ("t", b"c", b"3")])
    seal(store)
    store.put("t", b"a", None)
    assert store.get("t", b"a") is None
    seal(store)
    store.put("t", b"b", None)
    assert store.entries("t") == [(b"c", b"3")]
    store.close()
    assert open_store().entries("t") == [(b"c", b"3")]


def test_puts_take_no_number_and_no_position(open_store):
    store = open_store()
    store.append("s", "n", b"one")
    store.put("t", b"k", b"value")
    assert store.append("s", "n", b"two") == (1, 1)
    assert everything(store) == [("s", 0, b"one"), ("s", 1, b"two")]
    assert [event.number for event in store.read("s")] == [0, 1]


@pytest.mark.parametrize("topic, key", [("", b"k"), ("t" * 70_000, b"k"), ("t", b"k" * 70_000)])
def test_a_topic_or_key_that_is_too_long_is_refused(open_store, topic, key):
    with pytest.raises(ValueError, match="a topic of .* bytes and a key of .*, expected 1 and 0 to 65535"):
        open_store().put(topic, key, b"")


def test_values_that_are_too_long_are_refused(open_store, monkeypatch):
    monkeypatch.setattr("store.database.MAX_VALUE", 10)
    store = open_store()
    with pytest.raises(ValueError, match="values of 11 bytes, expected no more than 10"):
        store.put_many([("t", b"a", b"x" * 6), ("t", b"b", b"x" * 5)])
    assert store.entries("t") == []


def test_putting_nothing_writes_nothing(open_store, disk):
    store = open_store()
    before = len(disk.calls)
    store.put_many([])
    assert len(disk.calls) == before


def test_a_closed_store_takes_and_gives_nothing(open_store):
    store = open_store()
    store.close()
    for call in (lambda: store.put("t", b"k", b""), lambda: store.get("t", b"k"), lambda: store.entries("t")):
        with pytest.raises(StoreClosed):
            call()


# -- when it is seen -------------------------------------------------------------------

def test_under_always_a_put_is_seen_when_it_is_on_disk_and_the_one_before_until_then(open_store, disk):
    store = open_store()
    store.put("t", b"k", b"one")
    gate = disk.hold("sync")
    call = Call(store.put, "t", b"k", b"two")
    gate.wait_for_call()
    assert store.get("t", b"k") == b"one"
    gate.open()
    call.result()
    assert store.get("t", b"k") == b"two"


def test_under_the_other_policies_a_put_waits_for_no_sync(open_store, disk):
    store = open_store(sync=NO)
    before = disk.count("sync")
    store.put("t", b"k", b"one")
    assert store.get("t", b"k") == b"one"
    assert disk.count("sync") == before


def test_under_everysec_the_thread_syncs_what_was_put(open_store):
    store = open_store(sync=EVERYSEC)
    store.put("t", b"k", b"one")
    assert store._log.controls_synced == 0
    store._sync_quietly()
    assert store._log.controls_synced == 1


@pytest.mark.parametrize("sync", [ALWAYS, EVERYSEC, NO])
def test_after_a_failed_sync_readers_see_what_is_on_disk(open_store, disk, sync):
    store = open_store(sync=sync)
    store.put("t", b"k", b"one")
    store.sync()
    disk.refuse("sync", errno.EIO, name=".segment")
    with pytest.raises(StoreFailed):
        store.put("t", b"k", b"two")
        store.sync()
    assert store.get("t", b"k") == b"one"
    assert store.entries("t") == [(b"k", b"one")]
    with pytest.raises(StoreFailed):
        store.put("t", b"k", b"three")


def test_a_put_without_room_is_taken_back_and_the_next_one_works(open_store, disk):
    store = open_store()
    store.put("t", b"k", b"one")
    disk.refuse("write", errno.ENOSPC)
    with pytest.raises(StoreFull):
        store.put("t", b"k", b"two")
    assert store.get("t", b"k") == b"one"
    store.put("t", b"k", b"three")
    store.close()
    assert open_store().get("t", b"k") == b"three"


def test_a_long_value_that_is_damaged_is_named(open_store, folder):
    store = open_store()
    store.put("t", b"k", LONG)
    flip(segments(folder)[0], 500)
    with pytest.raises(CorruptSegment, match="a record at byte 128 is damaged"):
        store.get("t", b"k")


# -- across openings -------------------------------------------------------------------

def test_entries_survive_a_kill_and_a_lost_index(open_store, folder, disk):
    store = open_store(segment_size=2000)
    for i in range(60):
        store.put("t", b"%d" % (i % 7), b"value %d" % i)
        if i % 3 == 0:
            store.append("s", "n", b"%d" % i)
    expected = store.entries("t")
    crash(store, disk)
    with Store(str(folder)) as store:
        assert store.entries("t") == expected
    drop_index(folder)
    with Store(str(folder)) as store:
        assert store.entries("t") == expected
        assert len(everything(store)) == 20
        assert store._log.controls == 60


def test_a_store_without_an_index_row_for_an_entry_makes_the_index_anew(open_store, folder):
    with open_store() as store:
        store.append("s", "n", b"one")
        store.put("t", b"k", b"value")
        store.put("t", b"long", LONG)
    for statement in ("update controls set value = x'00' where key = x'6b'", "update controls set segment = 'x'",
                      "update controls set key = 5 where key = x'6b'", "drop table controls"):
        with sqlite3.connect(folder / "index.sqlite3") as connection:
            connection.execute(statement)
        connection.close()
        with Store(str(folder)) as store:
            assert store.entries("t") == [(b"k", b"value"), (b"long", LONG)]


def test_an_entry_that_is_not_where_the_index_says_makes_the_index_anew(open_store, folder):
    with open_store() as store:
        store.put("t", b"long", LONG)
        store.put("t", b"other", LONG)
    paths = segments(folder)
    at = [byte for byte, _ in records_of(paths[0])]
    for byte in (at[1], at[2]):     # another control, and the mark
        with sqlite3.connect(folder / "index.sqlite3") as connection:
            crc = index._entry_sum("t", b"long", None, 0, byte)
            connection.execute("update controls set byte = ?, crc = ? where key = ?", (byte, crc, b"long"))
        connection.close()
        with Store(str(folder)) as store:
            assert store.get("t", b"long") == LONG
            assert store._log._rebuilt == 1


def test_an_index_that_cannot_be_made_anew_is_named(open_store, folder, monkeypatch):
    store = open_store()
    store.put("t", b"k", b"value")
    seal(store)
    store._log.index._connection.execute("drop table controls")
    monkeypatch.setattr(log.Log, "_make_index_anew", lambda self: None)
    with pytest.raises(IndexUnusable):
        store.get("t", b"k")


def test_an_index_of_an_earlier_version_is_made_anew(open_store, folder, caplog):
    with open_store() as store:
        store.append("s", "n", b"one")
        store.put("t", b"k", b"value")
    with sqlite3.connect(folder / "index.sqlite3") as earlier:
        earlier.execute("update about set value = 2 where key = 'version'")
    with Store(str(folder)) as store:
        assert "has version 2 of its format, this is 3; it is made anew from the log" in caplog.text
        assert (everything(store), store.get("t", b"k")) == ([("s", 0, b"one")], b"value")
    with Store(str(folder)) as store:
        assert store._log.index.says("version") == 3


def test_a_clean_close_marks_the_controls_that_are_on_disk_once(open_store, folder):
    with open_store() as store:
        store.append("s", "n", b"one")
    for _ in range(2):
        with Store(str(folder)) as store:
            store.put("t", b"k", b"value")
        for _ in range(2):
            Store(str(folder)).close()
    kinds = [(one.kind, one.controls, one.controls_synced) for _, one in records_of(segments(folder)[0])]
    assert kinds == [(record.EVENTS, 0, 0), (record.MARK, 0, 0), (record.CONTROL, 1, 0), (record.MARK, 1, 1),
                     (record.CONTROL, 2, 1), (record.MARK, 2, 2)]


def test_many_entries_of_one_put_are_there_as_a_whole_or_not_at_all(open_store, folder, disk):
    store = open_store()
    store.put_many([("t", b"%d" % i, b"old") for i in range(9)])
    store.put_many([("t", b"%d" % i, b"new") for i in range(9)])
    crash(store, disk)
    path, = segments(folder)
    last = records_of(path)[-1][0]
    whole = path.read_bytes()
    for size, copy in zip(range(last, len(whole) + 1, 7), copies(folder)):
        cut(copy / path.name, size)
        with Store(str(copy), files=Disk()) as store:
            assert store.entries("t") == [(b"%d" % i, b"old") for i in range(9)]
    with Store(str(folder)) as store:
        assert store.entries("t") == [(b"%d" % i, b"new") for i in range(9)]


# -- torn or damaged -------------------------------------------------------------------

def refused(folder, error):
    before = contents(folder)
    with pytest.raises(error) as caught:
        Store(str(folder), files=Disk())
    assert contents(folder) == before
    return caught.value


@pytest.mark.parametrize("closed", [True, False])
def test_damage_to_a_control_that_was_on_disk_is_not_a_tear(open_store, folder, disk, closed):
    store = open_store()
    store.append("s", "n", b"one")
    store.put("t", b"k", b"one")
    store.put("t", b"k", b"two")
    if closed:
        store.close()
    else:
        crash(store, disk)
    path, = segments(folder)
    records = records_of(path)
    for byte, one in records[1:3] if closed else records[1:2]:
        for copy in itertools.islice(copies(folder), 1):
            flip(copy / path.name, byte + one.size - 1)
            drop_index(copy)
            refused(copy, CorruptSegment)


def test_a_put_that_was_never_finished_is_cut_off(open_store, folder, disk):
    store = open_store(sync=NO)
    store.append("s", "n", b"one")
    store.put("t", b"k", b"one")
    store.sync()
    store.put("t", b"k", b"two")
    crash(store, disk)
    path, = segments(folder)
    cut(path, path.stat().st_size - 1)
    with Store(str(folder)) as store:
        assert store.get("t", b"k") == b"one"
        assert store.epoch == 2
        store.put("t", b"k", b"three")
    with Store(str(folder)) as store:
        assert store.get("t", b"k") == b"three"


def test_a_log_that_ends_before_its_puts_is_too_short(open_store, folder):
    with open_store() as store:
        store.append("s", "n", b"one")
        store.put("t", b"k", b"one")
    path, = segments(folder)
    cut(path, records_of(path)[1][0])
    refused(folder, LogTooShort)


def test_a_control_that_counts_less_than_came_before_it_is_damage(open_store, folder, disk):
    store = open_store()
    store.put("t", b"k", b"one")
    store.put("t", b"k", b"two")
    salt = store._log._segments[-1].salt
    crash(store, disk)
    path, = segments(folder)
    add(path, record.encode_control(salt, 1, 0, 0, 7, 0, [Entry("t", b"k", b"three")]))
    with Store(str(folder)) as store:       # nobody was told that it is there: it is cut
        assert store.get("t", b"k") == b"two"
        assert store.epoch == 2


def test_events_and_entries_of_one_write_are_kept_together_or_not_at_all(open_store, folder, disk):
    store = open_store()
    with store._log.lock:
        drafts = drafts_of([(b"s", b"n", [b"one"])], store._streams, store._new_stream, 0, {})
        drafts[-1].more = True
        store._log.write(drafts, [Entry("t", b"k", b"value")])
    store.sync()
    crash(store, disk)
    path, = segments(folder)
    for copy in itertools.islice(copies(folder), 1):
        cut(copy / path.name, path.stat().st_size - 1)
        with Store(str(copy), files=Disk()) as store:
            assert (everything(store), store.get("t", b"k")) == ([], None)
    with Store(str(folder)) as store:
        assert (everything(store), store.get("t", b"k")) == ([("s", 0, b"one")], b"value")


# -- beside events ---------------------------------------------------------------------

@pytest.mark.parametrize("segment_size", [1 << 20, 1500])
def test_events_between_puts_are_read_and_replayed_whole(open_store, segment_size):
    store = open_store(sync=NO, segment_size=segment_size)
    draw = random.Random(5)
    for i in range(300):
        if draw.random() < 0.5:
            store.put("t", b"%d" % i, b"x" * draw.randrange(300))
        store.append("ab"[i % 2], "n", b"%d" % i)
    assert [data for _, _, data in everything(store)] == [b"%d" % i for i in range(300)]
    for stream in (store.all, store.find(b"a"), store.find(b"b")):
        for limit in (100, 5000, 1 << 20):
            at, data = 0, b""
            while at < stream.visible:
                frames = store.frames(stream, at, stream.visible, limit)
                data += frames.data[frames.ends[at - frames.first - 1] if at > frames.first else 0:]
                at = frames.stop
            assert data.count(b"+event\r\n") == stream.visible


def test_a_replay_passes_puts_that_are_longer_than_what_is_read_at_once(open_store, monkeypatch):
    monkeypatch.setattr("store.replay.LONG_READ", 4000)
    store = open_store(sync=NO)
    for i in range(6):
        store.append("s", "n", b"%d" % i)
        store.put("t", b"k", b"x" * 3000 * i)
    monkeypatch.setattr(log.Log, "_read_all", None)     # the slow way isn't needed
    frames = store.frames(store.all, 0, 6, 1 << 20)
    assert (frames.first, frames.stop) == (0, 6)


def test_a_replay_ends_at_a_damaged_control(open_store, folder):
    store = open_store(sync=NO)
    store.append("s", "n", b"one")
    store.put("t", b"k", b"value")
    store.append("s", "n", b"two")
    flip(segments(folder)[0], records_of(segments(folder)[0])[1][0] + 20)
    frames = store.frames(store.all, 0, 2, 1 << 20)
    assert frames.stop == 1


# -- in segments that are rewritten ----------------------------------------------------

@pytest.fixture
def quick_merge(monkeypatch):
    monkeypatch.setattr(log, "_PAUSE", 0)


def test_a_merge_drops_what_is_superseded_in_the_segment_and_nothing_else(quick_merge, open_store, folder, disk):
    store = open_store()
    store.put_many([("t", b"first", b"1"), ("t", b"both", b"1")])
    for i in range(200):
        store.put("t", b"k", b"value %d" % i)
        store.append("s", "n", b"%d" % i)
    store.put("t", b"both", LONG)
    store.put("t", b"gone", None)
    seal(store)
    kinds = [one.kind for _, one in records_of(segments(folder)[0])]
    assert kinds.count(record.CONTROL) == 4
    expected = [(b"both", LONG), (b"first", b"1"), (b"k", b"value 199")]
    assert store.entries("t") == expected
    assert len(everything(store)) == 200
    crash(store, disk)
    assert check(str(folder)).sound
    for _ in range(2):
        with Store(str(folder)) as store:
            assert store._log.controls == 203
            assert store.entries("t") == expected
        drop_index(folder)


def test_a_merge_keeps_controls_that_the_index_had_before_it(quick_merge, open_store, folder):
    with open_store() as store:
        store.put("t", b"early", LONG)
        store.put("t", b"k", b"old")
    with Store(str(folder)) as store:
        for i in range(200):
            store.put("t", b"k", b"%d" % i)
        seal(store)
        assert store._log._segments[0].header.generation == 1
        assert store.entries("t") == [(b"early", LONG), (b"k", b"199")]
    assert check(str(folder)).sound


def test_a_rewritten_segment_says_how_many_controls_there_were(quick_merge, open_store, folder, disk, monkeypatch):
    """Otherwise what is torn behind it would look like damage."""
    store = open_store()
    for i in range(100):
        store.put("t", b"k", b"%d" % i)
    monkeypatch.setattr(index.Fresh, "is_old", lambda self, control, byte: True)     # as a compaction may find
    seal(store)
    monkeypatch.undo()
    assert [one.kind for _, one in records_of(segments(folder)[0])] == [record.MARK]
    store.put("t", b"k", b"new")
    salt = store._log._segments[-1].salt
    crash(store, disk)
    add(segments(folder)[1], record.encode_control(salt, 101, 1, 0, 7, 0, [Entry("t", b"k", b"torn")])[:-1])
    drop_index(folder)
    with Store(str(folder)) as store:
        assert store.epoch == 2
        assert store.get("t", b"k") == b"new"


def test_a_compressed_store_keeps_entries(open_store, folder):
    with open_store(compression=6) as store:
        store.put("t", b"k", LONG)
        store.put("t", b"s", b"x")
    assert records_of(segments(folder)[0])[0][1].size < 200
    with Store(str(folder)) as store:
        assert store.entries("t") == [(b"k", LONG), (b"s", b"x")]


# -- check and repair ------------------------------------------------------------------

def damaged(folder, i, end):
    """A store of four controls and an event behind them, of which the i-th record is damaged."""
    disk = Disk()
    store = Store(str(folder), files=disk)
    for one in range(4):
        store.put("t", b"k", b"%d" % one)
    store.append("s", "n", b"one")
    store.append("s", "n", b"two")
    end(store, disk)
    path, = segments(folder)
    byte, one = records_of(path)[i]
    flip(path, byte + one.size - 1)
    return byte, one


@pytest.mark.parametrize("end", [crash, lambda store, _: store.close()])
def test_a_damaged_control_is_named_and_repaired(folder, end):
    byte, one = damaged(folder, 1, end)
    problems = check(str(folder)).problems
    assert problems[0] == (
        f"000000000000.segment: bytes {byte} to {byte + one.size} are damaged (its body doesn't match its checksum): "
        f"no event is lost; up to 1 control (settings, checkpoints, snapshots) may be lost")
    repair(str(folder))
    assert check(str(folder)).sound
    with Store(str(folder)) as store:
        assert store.get("t", b"k") == b"3"
        assert len(everything(store)) == 2


def test_a_control_that_is_lost_leaves_what_was_put_before_it(folder):
    damaged(folder, 3, lambda store, _: store.close())
    repair(str(folder))
    with Store(str(folder)) as store:
        assert store.get("t", b"k") == b"2"
        store.put("t", b"k", b"new")
    drop_index(folder)
    with Store(str(folder)) as store:
        assert store.get("t", b"k") == b"new"
        assert store._log.controls == 5


def test_controls_and_events_that_are_lost_together_are_named_together(folder):
    with Store(str(folder)) as store:
        store.put("t", b"a", b"1")
        store.put("t", b"b", b"2")
        store.append("s", "n", b"one")
        store.append("s", "n", b"two")
    path, = segments(folder)
    for byte, _ in records_of(path)[:3]:
        flip(path, byte)
    findings = check(str(folder))
    assert "1 event is lost, position 0; up to 2 controls (settings, checkpoints, snapshots) may be lost" in \
        findings.problems[0]


def test_the_end_of_a_log_that_is_zeroed_lost_controls(folder):
    with Store(str(folder)) as store:
        store.append("s", "n", b"one")
        store.put("t", b"k", b"one")
    path, = segments(folder)
    byte = records_of(path)[1][0]
    size = path.stat().st_size
    cut(path, byte)
    cut(path, size)
    findings = check(str(folder))
    assert "no event is lost; up to 1 control (" in findings.problems[0]
    repair(str(folder))
    with Store(str(folder)) as store:
        assert (everything(store), store.entries("t")) == ([("s", 0, b"one")], [])


def test_a_torn_control_is_a_tear_to_a_check_as_well(folder):
    disk = Disk()
    store = Store(str(folder), files=disk)
    store.put("t", b"k", b"one")
    store.put("t", b"k", b"two")
    crash(store, disk)
    path, = segments(folder)
    cut(path, path.stat().st_size - 1)
    findings = check(str(folder))
    assert findings.sound and findings.tear


def test_an_index_whose_entries_are_not_the_logs_is_of_no_use(folder):
    with Store(str(folder)) as store:
        store.put("t", b"k", b"one")
        store.put("u", b"k", b"one")
    with sqlite3.connect(folder / "index.sqlite3") as connection:
        connection.execute("delete from controls where topic = 'u'")
    connection.close()
    assert "its entries aren't those that the controls of the log make" in check(str(folder)).problems[0]


@pytest.mark.parametrize("body, why", [
    (b"\xff" * 20, "what is in it isn't entries"),
    (record._ENTRY.pack(1, 0, 0) + b"\xff", "what is in it isn't entries"),
    (record._ENTRY.pack(1, 0, 9) + b"t" + b"x", "what is in it isn't what its entries make"),
])
def test_a_control_that_matches_its_checksums_and_has_no_entries_is_damage(folder, monkeypatch, body, why):
    with Store(str(folder)) as store:
        store.put("t", b"k", b"one")
        salt = store._log._segments[-1].salt
    path, = segments(folder)
    header = record._HEADER.pack(record.MAGIC, record.CONTROL, 0, 0, len(body), 0, 0, len(body), 1, 0, 7, 0,
                                 record.zlib.crc32(body))
    add(path, header + record._U32.pack(record.zlib.crc32(header, salt)) + body +
        record.encode_mark(salt, 0, 0, 2))
    assert f"({why}" in check(str(folder)).problems[0]
    assert shutil.rmtree(folder) is None


def test_a_control_that_goes_back_in_its_counting_is_damage_to_a_check(folder):
    with Store(str(folder)) as store:
        store.put("t", b"k", b"one")
        store.append_many("s", [NewEvent("n", b"one")])
        salt = store._log._segments[-1].salt
    path, = segments(folder)
    control = record.encode_control(salt, 0, 0, 1, 7, 1, [Entry("t", b"k", b"three")])
    add(path, control + record.encode_mark(salt, 1, 0, 2))
    assert "it says that 0 controls came before it, found 1" in check(str(folder)).problems[0]
