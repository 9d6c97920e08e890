"""store/ids.py: the same id again is the same event, whatever happened in between."""

import errno
import itertools
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from disk import SECONDS, Disk, crash, drop_index, flip, quick_index, records_of, segments, until
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from store import (
    ALWAYS,
    EXISTS,
    NO,
    NONE,
    Change,
    CorruptSegment,
    EventsLost,
    IdConflict,
    IndexUnusable,
    NewEvent,
    Store,
    StoreClosed,
    StoreFailed,
    StoreFull,
    WrongVersion,
    keys,
    lookup,
)
from store.append import Singles, append_of
from store.record import CUT
from store.repair import repair

__all__ = ["quick_index"]

LOOKUP = "lookup.sqlite3"


@pytest.fixture
def disk():
    return Disk()


@pytest.fixture
def folder(tmp_path):
    return str(tmp_path / "db")


@pytest.fixture
def open_store(folder, disk):
    """Open stores in one folder, one after the other; the last one is closed when the test ends."""
    opened = []

    def start(files=disk, **options):
        opened.append(Store(folder, files=files, **options))
        return opened[-1]

    yield start
    for store in opened:
        with suppress(Exception):
            store.close()


def path_of(store):
    return Path(store.path, LOOKUP)


def fill(store, stop, first=0, stream="s"):
    for i in range(first, stop):
        assert store.append(stream, "n", b"%d" % i, id=b"id-%d" % i) == (i, i)


def all_again(store, stop, stream="s"):
    """Append them again: each must be known."""
    before = store.position
    for i in range(stop):
        assert store.append(stream, "n", b"%d" % i, id=b"id-%d" % i) == (i, i)
    assert store.position == before


@pytest.fixture
def small(monkeypatch):
    """Keys move to the file a few at a time."""
    monkeypatch.setattr(lookup, "FULL", 3)
    monkeypatch.setattr(lookup.Lookup.__init__, "__defaults__", (3,))


# -- known ------------------------------------------------------------------------------

def test_the_same_id_again_gets_the_place_of_the_first(open_store, disk):
    store = open_store()
    assert store.append("s", "n", b"one", id=b"id") == (0, 0)
    store.append("s", "n", b"two")
    del disk.calls[:]
    assert store.append("s", "n", b"one", id=b"id") == (0, 0)
    assert store.position == 2 and disk.calls == []


def test_an_id_is_one_of_its_stream_alone(open_store):
    store = open_store()
    assert store.append("s", "n", b"one", id=b"id") == (0, 0)
    assert store.append("t", "n", b"two", id=b"id") == (0, 1)
    assert store.append("t", "n", b"two", id=b"id") == (0, 1)


@pytest.mark.parametrize("name, data, metadata", [("m", b"one", b""), ("n", b"two", b""), ("n", b"one", b"{}")])
def test_the_same_id_with_other_content_is_refused(open_store, name, data, metadata):
    store = open_store()
    store.append("s", "n", b"zero")
    store.append("s", "n", b"one", id=b"\xff")
    with pytest.raises(IdConflict) as caught:
        store.append("s", name, data, id=b"\xff", metadata=metadata)
    assert str(caught.value) == ("stream 's': id '\\\\xff' is that of event 1, which is another; nothing was stored")
    assert (caught.value.stream, caught.value.id, caught.value.number) == ("s", b"\xff", 1)
    assert store.position == 2


def test_the_same_id_with_other_tags_is_refused_and_with_the_same_in_another_order_is_known(open_store):

    def append(*tags):
        return store.append_all([Change("s", NewEvent("n", b"one", b"id", tags=tags))])

    store = open_store()
    first = append("seat:7", "show:3")
    store.close()
    store = open_store()
    assert append("show:3", "seat:7") == first
    for others in (), ("seat:7",), ("seat:7", "show:4"):
        with pytest.raises(IdConflict, match="is that of event 0, which is another"):
            append(*others)
    store.redact("s", 0)
    assert append("seat:8") == first


def test_a_retry_is_answered_whatever_it_expects_for_it_worked(open_store):
    store = open_store()
    changes = [Change("s", NewEvent("n", b"one", b"1"), NONE), Change("t", NewEvent("n", b"two", b"2"), NONE),
               Change("s", NewEvent("n", b"three", b"3"), EXISTS)]
    places = store.append_all(changes)
    assert places == [(0, 0), (0, 1), (1, 2)]
    store.append("s", "n", b"four")
    assert store.append_all(changes) == places
    with pytest.raises(WrongVersion):
        store.append("s", "n", b"one", id=b"another", expected=NONE)
    assert store.position == 4


def test_some_known_and_some_new_is_refused(open_store):
    store = open_store()
    store.append("s", "n", b"one", id=b"1")
    with pytest.raises(IdConflict) as caught:
        store.append_many("s", [NewEvent("n", b"two", b"2"), NewEvent("n", b"one", b"1")])
    assert str(caught.value) == "stream 's': id '1' is that of event 0, which was appended without the others; " \
                                "nothing was stored"
    assert store.position == 1


def test_an_append_with_an_id_among_its_events_is_known_by_that_one(open_store):
    store = open_store()
    changes = [Change("s", NewEvent("n", b"one")), Change("t", NewEvent("n", b"two", b"id", b"{}"), NONE),
               Change("s", NewEvent("n", b"three"))]
    places = store.append_all(changes)
    store.append("s", "n", b"four")
    assert store.append_all(changes) == places
    with pytest.raises(IdConflict, match="appended without the others"):
        store.append_all([*changes[:2], Change("s", NewEvent("n", b"other"))])
    with pytest.raises(IdConflict, match="appended without the others"):
        store.append_all([*changes, Change("t", NewEvent("n", b"four"))])
    with pytest.raises(IdConflict, match="appended without the others"):
        store.append_all([changes[1], *[Change("s", NewEvent("n", b"more"))] * 5])
    assert store.position == 4


def test_the_same_id_twice_in_one_append_is_refused(open_store):
    store = open_store()
    with pytest.raises(IdConflict) as caught:
        store.append_many("s", [NewEvent("n", b"one", b"1"), NewEvent("n", b"one", b"1")])
    assert str(caught.value) == "stream 's': id '1' is there twice in one append; nothing was stored"
    assert caught.value.number is None and store.position == 0


def appends_of(*events):
    return [append_of([Change("s", NewEvent("n", data, id_))]) for data, id_ in events]


@pytest.mark.parametrize("policy", [ALWAYS, NO])
def test_appends_of_one_batch_know_of_each_other(open_store, policy):
    store = open_store(sync=policy)
    appends = appends_of((b"one", b"1"), (b"two", b""), (b"one", b"1"), (b"other", b"1"), (b"three", b"3"))
    appends.append(append_of([Change("s", NewEvent("n", b"one", b"1")), Change("s", NewEvent("n", b"two"))]))
    store.commit(store.write([*appends, (b"s", b"n", [b"last"])]))
    assert [append.places for append in appends] == [
        [(0, 0)], [(1, 1)], [(0, 0)], None, [(2, 2)], [(0, 0), (1, 1)]]
    assert isinstance(appends[3].error, IdConflict)
    assert [event.data for event in store.read("s")] == [b"one", b"two", b"three", b"last"]


def test_a_retry_waits_until_the_first_is_on_disk(open_store, disk):
    store = open_store()
    store.append("s", "n", b"zero")
    gate = disk.hold("sync")
    first, again = appends_of((b"one", b"1"), (b"one", b"1"))
    batch = store.write([first])
    thread = threading.Thread(target=store.commit, args=(batch,))
    thread.start()
    gate.wait_for_call()
    second = store.write([again])
    assert again.places == [(1, 1)]
    assert store.last_number("s") == 0
    waiting = threading.Thread(target=store.commit, args=(second,))
    waiting.start()
    waiting.join(0.01)
    assert waiting.is_alive()
    gate.open()
    thread.join(SECONDS)
    waiting.join(SECONDS)
    assert store.last_number("s") == 1


def test_who_appends_the_same_id_at_once_gets_one_place(open_store):
    store = open_store(sync=NO)
    places = [[] for _ in range(4)]

    def append(mine):
        for i in range(200):
            mine.append(store.append("s", "n", b"%d" % i, id=b"%d" % i))

    threads = [threading.Thread(target=append, args=(mine,)) for mine in places]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert places[0] == places[1] == places[2] == places[3]
    assert store.position == 200


def test_what_comes_between_look_and_lock_is_looked_at_again(open_store, monkeypatch):
    store = open_store()
    real = lookup.Lookup.has_since
    came = []

    def has_since(*arguments):
        if not came:
            came.append(None)
            store._log.lock.release()       # another append gets in before this one
            came[0] = store.append("s", "n", b"one", id=b"1")
            store._log.lock.acquire()
        return real(*arguments)

    monkeypatch.setattr(lookup.Lookup, "has_since", has_since)
    assert store.append("s", "n", b"one", id=b"1") == (0, 0)
    assert came == [(0, 0)] and store.position == 1


def test_a_write_that_fails_leaves_nothing_known(open_store, disk):
    store = open_store()
    disk.refuse("write", errno.ENOSPC)
    with pytest.raises(StoreFull):
        store.append("s", "n", b"one", id=b"1")
    store.append("s", "n", b"zero")
    assert store.append("s", "n", b"one", id=b"1") == (1, 1)


@pytest.mark.parametrize("compression", [0, 6])
@pytest.mark.parametrize("size", [10, 3000, 100_000])
def test_ids_that_all_have_the_same_hash_are_told_apart(open_store, monkeypatch, size, compression):
    monkeypatch.setattr(keys, "hash_of", lambda key: 7)
    store = open_store(compression=compression)
    for i in range(40):
        assert store.append("st"[i % 2], "n", b"%d" % i * size, id=b"%d" % (i // 2)) == (i // 2, i)
    for i in range(40):
        assert store.append("st"[i % 2], "n", b"%d" % i * size, id=b"%d" % (i // 2)) == (i // 2, i)
    assert store.position == 40


# -- after whatever happened ---------------------------------------------------------------

@pytest.mark.parametrize("policy", [ALWAYS, NO])
def test_ids_are_known_after_it_was_closed_and_opened(open_store, small, policy):
    store = open_store(sync=policy)
    fill(store, 20)
    store.close()
    store = open_store(sync=policy)
    all_again(store, 20)
    fill(store, 25, first=20)
    store.close()
    all_again(open_store(), 25)


def test_who_has_no_ids_has_no_file_and_no_thread_for_them(open_store, disk):
    threads = threading.active_count()
    store = open_store(segment_size=500)
    for _ in range(20):
        store.append("s", "n", b"x" * 50, metadata=b"{}")
    assert threading.active_count() == threads + 1
    store.close()
    open_store(segment_size=500)
    assert not path_of(store).exists()


@pytest.mark.parametrize("changes", range(0, 40, 3))
def test_ids_are_known_after_the_power_went_at_any_point(open_store, small, changes):
    disk = Disk()
    store = open_store(files=disk, segment_size=400)
    fill(store, 5)
    known = 5
    disk.die_in(changes + 1)
    with suppress(Exception):
        for i in range(5, 30):
            store.append("s", "n", b"%d" % i, id=b"id-%d" % i)
            known += 1
    crash(store, disk)
    store = open_store(files=Disk(), segment_size=400)
    assert store.position >= known
    all_again(store, store.position)


def test_ids_are_known_after_a_process_was_killed_at_any_moment(tmp_path):
    """It appends ids without end, and says which it has been given a place for."""
    script = tmp_path / "appender.py"
    script.write_text(
        "import sys\n"
        "from store import NO, Store, lookup\n"
        "lookup.Lookup.__init__.__defaults__ = (50,)\n"
        "store = Store(sys.argv[1], sync=NO, segment_size=20_000)\n"
        "for i in range(store.position, 10**9):\n"
        "    assert store.append('s', 'n', b'%d' % i, id=b'id-%d' % i) == (i, i)\n"
        "    print(i, flush=True)\n")
    root = Path(__file__).resolve().parent.parent
    known = -1
    for kills in (20, 333, 1000):
        process = subprocess.Popen([sys.executable, str(script), str(tmp_path / "db")], cwd=root, text=True,
                                   env={**os.environ, "PYTHONPATH": str(root)}, stdout=subprocess.PIPE)
        with process:
            for line in process.stdout:
                known = int(line)
                if known >= kills:
                    break
            process.send_signal(signal.SIGKILL)
            for line in process.stdout:
                if line.endswith("\n"):
                    known = int(line)
        with Store(str(tmp_path / "db"), sync=NO) as store:
            assert store.position > known
            all_again(store, store.position)


def copy_as_killed(store, folder):
    """Copy its files as kill -9 leaves them, at a moment when none is half written."""
    log = store._log
    with log._index_writing, log.lookup._writing, log.lock:
        shutil.copytree(store.path, folder)


def remove(path):
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def spoil(path, statement):
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(statement)
    connection.close()


HARM = {
    "lost": remove,
    "nonsense": lambda path: path.write_bytes(b"nonsense" * 2000),
    "without its leaves": lambda path: spoil(path, "delete from leaves"),
    "with a leaf less": lambda path: spoil(path, "delete from leaves where hash > 0"),
    "with another position": lambda path: spoil(path, "update leaves set packed = zeroblob(length(packed))"),
    "of another store": lambda path: spoil(path, "update about set value = x'00' where key = 'uuid'"),
    "of another copy": lambda path: (spoil(path, "update about set value = value + 1 where key = 'print'")),
}


@pytest.mark.parametrize("harm", HARM)
@pytest.mark.parametrize("segment_size", [1000, 1 << 20])
def test_ids_are_known_whatever_becomes_of_the_look_up(open_store, small, caplog, harm, segment_size):
    store = open_store(segment_size=segment_size)
    fill(store, 200)
    store.close()
    HARM[harm](path_of(store))
    store = open_store(segment_size=segment_size)
    all_again(store, 200)
    assert "it is made anew from the log" in caplog.text
    fill(store, 210, first=200)
    store.close()
    caplog.clear()
    all_again(open_store(segment_size=segment_size), 210)
    assert "made anew" not in caplog.text


def test_ids_are_known_though_the_index_is_lost(open_store, small):
    store = open_store(segment_size=1000)
    fill(store, 100)
    store.close()
    for lose in (lambda: drop_index(store.path), lambda: remove(path_of(store))):
        lose()
        again = open_store(segment_size=1000)
        all_again(again, 100)
        again.close()
    drop_index(store.path)
    remove(path_of(store))
    all_again(open_store(segment_size=1000), 100)


def test_ids_are_known_with_a_look_up_from_before(open_store, small, tmp_path):
    store = open_store(segment_size=1000)
    fill(store, 50)
    store.close()
    shutil.copy(path_of(store), tmp_path / "before")
    store = open_store(segment_size=1000)
    fill(store, 120, first=50)
    store.close()
    shutil.copy(tmp_path / "before", path_of(store))
    all_again(open_store(segment_size=1000), 120)


def test_ids_are_known_with_the_look_up_of_a_copy_that_went_another_way(open_store, small, folder):
    store = open_store()
    fill(store, 10)
    store.close()
    copy = f"{folder}-copy"
    shutil.copytree(folder, copy)
    clock = itertools.count(10**15)
    with Store(copy, clock=lambda: next(clock)) as other:
        for i in range(40):
            other.append("s", "n", b"other", id=b"other-%d" % i)
    store = open_store()
    fill(store, 40, first=10)
    store.close()
    shutil.copy(Path(copy, LOOKUP), path_of(store))
    all_again(open_store(), 40)


def restarted(store, open_store):
    store.close()
    return open_store(segment_size=1000)


def without_look_up(store, open_store):
    store.close()
    remove(path_of(store))
    return open_store(segment_size=1000)


def without_look_up_and_index(store, open_store):
    store.close()
    drop_index(store.path)
    remove(path_of(store))
    return open_store(segment_size=1000)


def went_on(store, open_store):
    return store


@pytest.fixture
def nobody_compacts_meanwhile(monkeypatch):
    """What is cut goes from the log when a test says so."""
    monkeypatch.setattr(Store, "_tidy", lambda self: self._log.tidy())


AFTERWARDS = [went_on, restarted, without_look_up, without_look_up_and_index]


@pytest.mark.usefixtures("nobody_compacts_meanwhile")
@pytest.mark.parametrize("afterwards", AFTERWARDS)
@pytest.mark.parametrize("compacts", [False, True])
def test_ids_of_events_that_were_cut_or_redacted_give_their_numbers_uncompared(open_store, folder, small, afterwards,
                                                                               compacts):
    store = open_store(segment_size=1000)
    fill(store, 60)
    store.truncate("s", 40)
    store.redact("s", 50)
    if compacts:
        assert store.compact().segments > 3
        stubs = [stub for path in segments(folder) for _, one in records_of(path) if one.kind == CUT
                 for gone in one.cut_parts()[2] for stub in gone.stubs]
        assert stubs == [(i, i, b"id-%d" % i) for i in range(40)], "which is all that is left of them in the log"
    store = afterwards(store, open_store)
    for number in [*range(40), 50]:
        assert store.append("s", "other", b"content", id=b"id-%d" % number) == (number, number)
    for number in [*range(40, 50), *range(51, 60)]:
        with pytest.raises(IdConflict, match=f"is that of event {number}, which is another"):
            store.append("s", "other", b"content", id=b"id-%d" % number)
    assert store.position == 60
    assert store.append("s", "n", b"new", id=b"id-60") == (60, 60)


@pytest.mark.usefixtures("nobody_compacts_meanwhile")
@pytest.mark.parametrize("afterwards", AFTERWARDS)
def test_an_append_that_was_cut_is_known_by_one_id_also_when_its_events_without_are_gone(open_store, small, afterwards):
    store = open_store(segment_size=1000)
    events = [NewEvent("n", b"one"), NewEvent("n", b"two", b"id"), NewEvent("n", b"three")]
    apart = [Change("t", NewEvent("n", b"four")), Change("s", NewEvent("n", b"five", b"other"))]
    store.append_many("s", [("n", b"before")] * 3)
    assert store.append_many("s", events) == (3, 3)
    assert store.append_all(apart) == [(0, 6), (6, 7)]
    store.append_many("s", [("n", b"behind")] * 3)
    store.truncate("s", 8)
    store.truncate("t", 1)
    store.compact()
    store = afterwards(store, open_store)
    assert store.append_many("s", events) == (3, 3)
    for others in events[:1] * 8 + events[1:], events + [NewEvent("n", b"")] * 8, \
            events[:2] + [NewEvent("n", b"", b"new")]:
        with pytest.raises(IdConflict, match="was appended without the others"):
            store.append_many("s", others)
    with pytest.raises(IdConflict, match="was appended without the others"):    # for nothing tells the number in t
        store.append_all(apart)
    assert store.position == 11


@pytest.mark.usefixtures("nobody_compacts_meanwhile")
@pytest.mark.parametrize("afterwards", AFTERWARDS)
@pytest.mark.parametrize("compacts", [False, True])
def test_a_stream_that_was_deleted_and_opened_again_forgets_its_ids(open_store, small, afterwards, compacts):
    store = open_store(segment_size=1000)
    fill(store, 60)
    store.truncate("s", 20)
    store.compact()
    store.delete("s")
    if compacts:
        assert store.compact().segments > 3
    store = afterwards(store, open_store)
    for i in range(60):
        assert store.append("s", "other", b"%d" % i, id=b"id-%d" % i) == (60 + i, 60 + i)
    store = afterwards(store, open_store)
    for i in range(60):
        assert store.append("s", "other", b"%d" % i, id=b"id-%d" % i) == (60 + i, 60 + i)
    assert store.position == 120


def test_a_look_up_of_a_store_without_ids_is_thrown_away(open_store, folder):
    store = open_store()
    store.append("s", "n", b"zero")
    store.close()
    with Store(f"{folder}-other") as other:
        other.append("s", "n", b"zero", id=b"0")
    shutil.copy(Path(f"{folder}-other", LOOKUP), path_of(store))
    store = open_store()
    assert not path_of(store).exists()
    assert store.append("s", "n", b"zero", id=b"0") == (1, 1)


def test_a_look_up_that_is_harmed_while_it_is_used_is_made_anew(open_store, small, caplog):
    store = open_store(segment_size=1000)
    fill(store, 100)
    store._log.flush_lookup()
    store._log.lookup._connection.execute("update leaves set crc = 0")
    all_again(store, 100)
    assert "a leaf doesn't match its checksum; it is made anew from the log" in caplog.text


def test_a_look_up_that_harm_is_found_in_while_keys_move_is_made_anew(open_store, caplog):
    store = open_store()
    fill(store, 10)
    with store._log.lock:
        store._log._roll()
    store.sync()
    store._log.flush_lookup()
    store._log.lookup._connection.execute("update leaves set crc = 0")
    fill(store, 20, first=10)
    store.close()
    assert "it is made anew from the log" in caplog.text
    all_again(open_store(), 20)


def test_a_look_up_that_can_not_be_made_anew_says_so(open_store, small, monkeypatch):
    store = open_store()
    fill(store, 10)
    store._log.flush_lookup()
    store._log.lookup._connection.execute("update leaves set crc = 0")
    with monkeypatch.context() as patch:
        patch.setattr(lookup.Lookup, "make_anew", lambda self, portions: None)
        with pytest.raises(IndexUnusable, match="a leaf doesn't match its checksum"):
            store.append("s", "n", b"0", id=b"id-0")
        patch.setattr(lookup.Lookup, "discard", lambda self: (_ for _ in ()).throw(OSError("no")))
        patch.undo()
    with monkeypatch.context() as patch:
        patch.setattr(lookup.Lookup, "discard", lambda self: (_ for _ in ()).throw(OSError("no")))
        with pytest.raises(IndexUnusable, match="can't be made anew .no."):
            store.append("s", "n", b"0", id=b"id-0")
    all_again(store, 10)


def test_keys_stay_in_memory_after_a_sync_that_failed(open_store, disk, small):
    store = open_store(sync=NO)
    store.append("s", "n", b"0", id=b"id-0")
    with store._log.lock:
        store._log._roll()
    disk.refuse("sync", errno.EIO, ".segment")
    with pytest.raises(StoreFailed):
        store.sync()
    store._move_keys()
    with pytest.raises(StoreFailed):
        store.append("s", "n", b"1", id=b"id-1")


@pytest.mark.parametrize("while_open", [False, True])
def test_a_damaged_log_from_which_no_look_up_can_be_made_refuses_ids_and_takes_the_rest(open_store, folder, small,
                                                                                        caplog, while_open):
    store = open_store(sync=NO, segment_size=1000)
    fill(store, 40)
    if not while_open:
        store.close()
        remove(Path(folder, LOOKUP))
    else:
        until(lambda: not store._log.flush_lookup() and store._log.lookup.moved > 30)
        harm_leaves(store)
    path = segments(Path(folder))[2]
    flip(path, path.read_bytes().index(b"id-"))
    if not while_open:
        store = open_store(sync=NO, segment_size=1000)
        assert "it can't be made from a log that is damaged" in caplog.text
    before = store.position
    for _ in range(2):
        with pytest.raises(CorruptSegment, match="event [0-9]+ of stream 's'"):
            store.append("s", "n", b"0", id=b"id-0")
        with pytest.raises(CorruptSegment):
            store.append_many("t", [NewEvent("n", b"", tags=("x",))])
        with pytest.raises(CorruptSegment):
            store.read_tagged([((), ["x"])])
        single, several = Singles([append_of([Change("s", NewEvent("n", b"", b"new"))]).events[0]] * 2), \
            append_of([Change("s", NewEvent("n", b"", b"id-1"))] * 2)
        store.commit(store.write([(b"s", b"n", [b"plain"]), several, single]))
        assert [type(error) for error in (several.error, *single.outcomes)] == [CorruptSegment] * 3
        assert (several.stored, single.stored) == (0, 0)
    assert store.position == before + 2
    assert caplog.text.count("it can't be made from a log that is damaged") == 1
    store.close()
    repair(folder, files=Disk())
    store = open_store(segment_size=1000)
    assert store.append("s", "n", b"0", id=b"id-0") == (0, 0)
    assert store.append("s", "n", b"39", id=b"id-39") == (39, 39)


def harm_leaves(store):
    with sqlite3.connect(path_of(store)) as other:
        other.execute("update leaves set crc = crc + 1")
    other.close()


def test_a_file_that_takes_no_more_is_tried_again(open_store, small, monkeypatch, caplog):
    store = open_store()
    fill(store, 2)
    with monkeypatch.context() as patch:
        patch.setattr(lookup, "_rows", lambda *arguments: (_ for _ in ()).throw(sqlite3.OperationalError("full")))
        with pytest.raises(StoreFull, match="lookup.sqlite3: what is in memory can't be moved to it .full."):
            fill(store, 40, first=2)
        until(lambda: "writing it failed (full); it stays in memory" in caplog.text)
        all_again_but_for_room(store)
    count = store.position
    with suppress(StoreFull):       # by whom it is tried again
        store.append("s", "n", b"%d" % count, id=b"id-%d" % count)
    store._log.flush_lookup()
    all_again(store, count)


def all_again_but_for_room(store):
    """Nothing is taken for new while there is no room."""
    before = store.position
    with pytest.raises(StoreFull):
        store.append("s", "n", b"0", id=b"id-0")
    assert store.position == before


def test_the_power_that_goes_while_keys_move_loses_none(open_store, small):
    disk = Disk()
    store = open_store(files=disk)
    fill(store, 100)
    copy = f"{store.path}-killed"
    copy_as_killed(store, copy)
    with Store(copy, files=Disk()) as killed:
        all_again(killed, 100)
    crash(store, disk)


def test_what_damage_took_is_forgotten_with_its_id(open_store, monkeypatch):
    store = open_store()
    store.append("s", "n", b"one", id=b"1")

    def lost(positions, limit):
        raise EventsLost("a file", None, 0, 1)

    monkeypatch.setattr(store._log, "records_with", lost)
    assert store.append("s", "n", b"one", id=b"1") == (1, 1)


def test_appends_can_be_closed_upon(open_store):
    store = open_store()
    store.close()
    with pytest.raises(StoreClosed):
        store.append("s", "n", b"one", id=b"1")


OPERATIONS = st.lists(st.one_of(
    st.tuples(st.just("append"), st.lists(st.tuples(st.sampled_from("st"), st.integers(0, 12), st.booleans()),
                                          min_size=1, max_size=3)),
    st.tuples(st.sampled_from(["close", "kill", "lose", "roll", "flush", "plain"]), st.none())), max_size=30)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=OPERATIONS, collide=st.booleans())
def test_it_answers_as_a_dict_of_all_ids_would(tmp_path_factory, monkeypatch, operations, collide):
    folder = str(tmp_path_factory.mktemp("ids") / "db")
    with monkeypatch.context() as patch:
        patch.setattr(lookup.Lookup.__init__, "__defaults__", (4,))
        if collide:
            patch.setattr(keys, "hash_of", lambda key: len(key) % 2)
        check_against_a_dict(folder, operations)


def check_against_a_dict(folder, operations):
    known = {}
    counts = {"s": 0, "t": 0}
    position = 0
    killed = 0
    store = Store(folder, files=Disk())
    try:
        for what, events in operations:
            if what == "append":
                changes = [Change(stream, NewEvent("n", b"%d%d" % (id_, other), b"%d" % id_))
                           for stream, id_, other in events]
                ids = [(stream, id_) for stream, id_, _ in events]
                found = [known.get(one) for one in ids]
                expected = None
                if len(set(ids)) == len(ids) and not any(found):
                    expected = []
                    for (stream, id_), change in zip(ids, changes):
                        known[stream, id_] = (counts[stream], position), change.event.data
                        expected.append((counts[stream], position))
                        counts[stream] += 1
                        position += 1
                elif len(set(ids)) == len(ids) and all(
                        one and one[1] == change.event.data for one, change in zip(found, changes)):
                    expected = [place for place, _ in found]
                if expected is None:
                    with pytest.raises(IdConflict):
                        store.append_all(changes)
                else:
                    assert store.append_all(changes) == expected
            elif what == "plain":
                store.append("s", "n", b"plain")
                counts["s"] += 1
                position += 1
            elif what == "flush":
                store._log.flush_lookup()
            elif what == "roll":
                with store._log.lock:
                    store._log._roll()
                store.sync()
            elif what == "kill":
                killed += 1
                copy_as_killed(store, f"{folder}{killed}")
                store.close()
                folder = f"{folder}{killed}"
                store = Store(folder, files=Disk())
            else:
                store.close()
                if what == "lose":
                    remove(Path(folder, LOOKUP))
                store = Store(folder, files=Disk())
            assert store.position == position
    finally:
        store.close()
