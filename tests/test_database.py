"""store/database.py: the Store, as those who use it in their own process see it."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from disk import SECONDS, Call, Disk, everything, kept, quick_index, until

import store
from store import (ALWAYS, EVERYSEC, EXISTS, NO, NONE, Appended, Change, Event, NewEvent, Store, StoreClosed,
                   StoreFailed, StoreLocked, WrongVersion, append)
from store.files import Files

__all__ = ["quick_index"]

ROOT = Path(__file__).resolve().parent.parent


def clock():
    """1, 2, 3, …: the time that such a store's appends happen at."""
    clock.now += 1
    return clock.now


@pytest.fixture
def disk():
    return Disk()


@pytest.fixture
def opened(tmp_path, disk):
    clock.now = 0
    with Store(str(tmp_path / "db"), files=disk, clock=clock) as one:
        clock.now = 0
        yield one


# -- appending and reading ----------------------------------------------------------------

def test_an_event_is_read_as_it_was_appended(opened):
    assert opened.append("orders", "created", b"data\r\n\0", id=b"id", metadata=b"metadata") == Appended(0, 0)
    assert opened.append("orders", "paid", b"") == Appended(1, 1)
    assert opened.append("others", "paid", b"x") == (0, 2)
    orders = [Event("orders", 0, 0, 1, "created", b"data\r\n\0", b"id", b"metadata"),
              Event("orders", 1, 1, 2, "paid", b"", b"", b"")]
    others = [Event("others", 0, 2, 3, "paid", b"x")]
    assert opened.read("orders") == orders
    assert opened.read("others") == others
    assert opened.read_all() == orders + others
    assert opened.last_number("orders") == 1
    assert opened.position == opened.synced == 3
    assert opened.stream_names() == ["orders", "others"]
    assert opened.names() == [b"orders", b"others"]
    assert opened.stream_count() == 2


def test_streams_and_names_may_be_text_or_bytes(opened):
    opened.append("fünf", "sechs", bytearray(b"data"))
    opened.append("fünf".encode(), b"sechs", memoryview(b"data"))
    assert [(e.stream, e.number, e.name, e.data) for e in opened.read("fünf".encode())] == [
        ("fünf", 0, "sechs", b"data"), ("fünf", 1, "sechs", b"data")]
    assert opened.last_number("fünf".encode()) == 1


def test_many_are_appended_at_once_as_pairs_or_new_events(opened, disk):
    opened.append("s", "n", b"zero")
    del disk.calls[:]
    assert opened.append_many("s", [("n", b"one"), NewEvent("m", b"two", b"id"), ("n", b"three")]) == (1, 1)
    assert [verb for verb, _ in disk.calls] == ["write", "sync"]
    assert [(e.number, e.name, e.data, e.id) for e in opened.read("s", 1)] == [
        (1, "n", b"one", b""), (2, "m", b"two", b"id"), (3, "n", b"three", b"")]


@pytest.mark.parametrize("sizes", [[70_000] * 3, [30_000] * 7, [10] * 5000,
                                   [65_500, 100, 65_500, 100, 200_000, 1]])
@pytest.mark.parametrize("details", [False, True])
def test_an_append_of_any_size_is_read_in_any_part(opened, sizes, details):
    events = [NewEvent("n", b"%d" % (i % 10) * size, b"%d" % i if details else b"")
              for i, size in enumerate(sizes)]
    opened.append("s", "n", b"before")
    assert opened.append_many("s", events) == (1, 1)
    for first, stop in [(1, None), (2, 3), (len(sizes), None), (len(sizes) // 2, len(sizes))]:
        found = opened.read("s", first, stop, limit=1 << 20)
        assert [(e.number, e.data, e.id) for e in found] == [
            (i, events[i - 1].data, events[i - 1].id)
            for i in range(first, len(sizes) + 1 if stop is None else stop)]
        assert opened.read_all(first, stop, limit=1 << 20) == found


def test_an_append_that_expects_otherwise_is_refused_and_nothing_is_stored(opened, disk):
    assert opened.append("s", "n", b"zero", expected=NONE) == (0, 0)
    assert opened.append("s", "n", b"one", expected=0) == (1, 1)
    assert opened.append_many("s", [("n", b"two"), ("n", b"three")], expected=1) == (2, 2)
    del disk.calls[:]
    for expected in NONE, 0, 2, 4:
        with pytest.raises(WrongVersion) as caught:
            opened.append_many("s", [("n", b"x"), ("n", b"y")], expected=expected)
        assert (caught.value.stream, caught.value.expected, caught.value.actual) == ("s", expected, 3)
    with pytest.raises(WrongVersion):
        opened.append("t", "n", b"x", expected=EXISTS)
    assert disk.calls == []
    assert opened.stream_names() == ["s"] and opened.position == 4


def test_events_of_several_streams_are_appended_together_or_not_at_all(opened, disk):
    opened.append("s", "n", b"zero")
    del disk.calls[:]
    changes = [Change("t", NewEvent("n", b"a", tags=("x", b"y")), NONE), Change("s", NewEvent("n", b"b"), 0),
               Change("t", NewEvent("n", b"c", b"id", b"metadata"), 0)]
    assert opened.append_all(changes) == [Appended(0, 1), Appended(1, 2), Appended(1, 3)]
    assert [verb for verb, _ in disk.calls] == ["write", "sync"]
    with pytest.raises(WrongVersion) as caught:
        opened.append_all([changes[1], Change("t", NewEvent("n", b"c", b"new id"), 0), changes[0]])
    assert (caught.value.stream, caught.value.expected, caught.value.actual) == ("s", 0, 1)
    assert [(e.stream, e.data, e.id, e.metadata, e.tags) for e in opened.read_all(1)] == [
        ("t", b"a", b"", b"", (b"x", b"y")), ("s", b"b", b"", b"", ()), ("t", b"c", b"id", b"metadata", ())]


def test_what_an_append_was_refused_for_is_on_disk_before_the_refusal_is_out(opened, disk):
    batch = opened.write([(b"s", b"n", [b"zero"])])
    with pytest.raises(WrongVersion):
        opened.append("s", "n", b"one", expected=NONE)
    assert opened.synced == 1 and opened.last_number("s") == 0
    opened.commit(batch)


def test_refusals_too_stop_when_the_store_has_failed(opened, disk):
    opened.append("s", "n", b"zero")
    disk.refuse("sync", errno.EIO)
    with pytest.raises(StoreFailed):
        opened.append("s", "n", b"lost")
    with pytest.raises(StoreFailed):
        opened.append("s", "n", b"one", expected=NONE)
    with pytest.raises(StoreFailed):
        opened.close()


def test_a_batch_of_many_streams_keeps_its_order_in_all(opened):
    runs = [(b"a", b"n", [b"0"]), (b"b", b"n", [b"1", b"2"]), (b"a", b"m", [b"3"]), (b"a", b"n", [b"4"]),
            (b"b", b"n", [b"x" * 40_000] * 3), (b"b", b"n", [b"y" * 40_000])]
    batch = opened.write(runs)
    assert opened.position == 0
    opened.commit(batch)
    assert [(s, n, d[:1]) for s, n, d in everything(opened)] == [
        ("a", 0, b"0"), ("b", 0, b"1"), ("b", 1, b"2"), ("a", 1, b"3"), ("a", 2, b"4"),
        ("b", 2, b"x"), ("b", 3, b"x"), ("b", 4, b"x"), ("b", 5, b"y")]
    assert [e.name for e in opened.read("a")] == ["n", "m", "n"]
    assert sorted((stream.name, number) for stream, number in batch.shown.items()) == [(b"a", 3), (b"b", 6)]
    assert batch.position == opened.position == 9
    first = batch.record(0)
    assert (first.stream, first.number, first.position, list(first.events())[0].data) == (b"a", 0, 0, b"0")


def test_ranges_are_from_first_to_before_stop_and_no_more_than_limit(opened):
    for i in range(10):
        opened.append("s", "n", b"%d" % i)
    for read in (lambda *given: opened.read("s", *given), opened.read_all):
        def numbers(*given):
            return [event.number for event in read(*given)]     # noqa: B023
        assert numbers() == numbers(0) == numbers(0, 99) == numbers(0, 2**64) == list(range(10))
        assert numbers(3) == list(range(3, 10))
        assert numbers(3, 5) == [3, 4]
        assert numbers(3, 9, 2) == [3, 4]
        assert numbers(3, 3) == numbers(5, 3) == numbers(10) == numbers(2**64) == numbers(0, 0) == []
    assert opened.read("unknown") == []


@pytest.mark.parametrize("call, why", [
    (lambda s: s.append("", "n", b""), "stream name is empty"),
    (lambda s: s.append("a:b", "n", b""), "a stream name has no ':', found 'a:b'"),
    (lambda s: s.append("$all", "n", b""), "$all is every stream, and can't be appended to"),
    (lambda s: s.append("s", "", b""), "event name is empty"),
    (lambda s: s.append("s", "a\nb", b""), r"event name has no CR, LF or NUL, found 'a\nb'"),
    (lambda s: s.append_many("s", []), "an append takes at least one event"),
    (lambda s: s.append("s", "n", b"", id=b"x" * 65_536),
     "an id of 65536 bytes, expected no more than 65535"),
    (lambda s: s.append_many("s", [("n", b""), ("n", b"x" * 101)]),
     "event 1 of the append: data of 101 bytes, expected no more than 100"),
    (lambda s: s.append_many("s", [("n", b"", b"", b"x" * 30)] * 2),
     "ids, metadata and tags of 60 bytes, expected no more than 50"),
    (lambda s: s.read("s", -1), "first is -1, expected 0 or more"),
    (lambda s: s.read_all(-1), "first is -1, expected 0 or more"),
    (lambda s: s.read("s", 0, limit=0), "limit is 0, expected 1 or more"),
])
def test_a_wrong_argument_is_refused_and_changes_nothing(opened, monkeypatch, call, why):
    monkeypatch.setattr(append, "MAX_EVENT", 100)
    monkeypatch.setattr(append, "MAX_DETAILS", 50)
    with pytest.raises(ValueError) as caught:
        call(opened)
    assert str(caught.value) == why
    assert opened.stream_names() == [] and opened.stream_count() == 0
    assert opened.append("s", "n", b"") == (0, 0)


def test_the_largest_that_may_be_appended_is(opened, monkeypatch):
    monkeypatch.setattr(append, "MAX_EVENT", 100)
    monkeypatch.setattr(append, "MAX_DETAILS", 2 * 65_535)
    largest = NewEvent("n" * 32_768, b"x" * 100, b"i" * 65_535)
    opened.append_many("s" * 32_768, [largest, largest._replace(id=b"j" * 65_535)])
    assert [event.id for event in opened.read("s" * 32_768)] == [largest.id, b"j" * 65_535]


@pytest.mark.parametrize("options, why", [
    (dict(sync="sometimes"), "sync is 'sometimes', expected 'always', 'everysec' or 'no'"),
    (dict(compression=10), "compression is 10, expected 0 to 9"),
])
def test_a_wrong_option_makes_no_folder(tmp_path, options, why):
    with pytest.raises(ValueError) as caught:
        Store(str(tmp_path / "db"), **options)
    assert str(caught.value) == why
    assert not (tmp_path / "db").exists()


@pytest.mark.parametrize("sync", [ALWAYS, EVERYSEC, NO])
@pytest.mark.parametrize("compression", [0, 6])
def test_everything_is_there_after_closing_and_opening(tmp_path, sync, compression):
    folder = tmp_path / "deep" / "db"
    with Store(folder, sync=sync, compression=compression, files=Disk()) as first:
        assert (first.epoch, first.position, first.size, first.sync_policy) == (1, 0, 128, sync)
        assert len(first.uuid) == 32
        for i in range(20):
            first.append(f"s{i % 3}", "n", b"again and again" * i, metadata=b"m" * i)
        events = first.read_all()
    with Store(folder, files=Disk()) as again:
        assert again.read_all() == events
        assert (again.uuid, again.epoch, again.position, again.synced) == (first.uuid, 1, 20, 20)
        assert again.path == str(folder)
        assert again.append("s0", "n", b"") == (7, 20)


def test_a_store_keeps_time_in_microseconds(tmp_path):
    with Store(str(tmp_path), files=Files()) as one:
        one.append("s", "n", b"")
        [event] = one.read("s")
    assert 1.6e15 < event.time < 2.5e15


# -- many threads -------------------------------------------------------------------------------

@pytest.mark.parametrize("sync", [ALWAYS, NO])
def test_numbers_and_positions_have_no_gap_whoever_appends(tmp_path, sync):
    disk = Disk()
    with Store(str(tmp_path), sync=sync, files=disk, segment_size=5000) as one:
        def append(name):
            return [one.append(name if i % 2 else "shared", "n", b"%d" % i) for i in range(50)]

        calls = [Call(append, f"s{k}") for k in range(8)]
        found = [place for call in calls for place in call.result()]
        assert sorted(place.position for place in found) == list(range(400))
        assert [event.number for event in one.read("shared")] == list(range(200))
        for k in range(8):
            assert [event.data for event in one.read(f"s{k}")] == [b"%d" % i for i in range(50) if i % 2]
        assert [event.position for event in one.read_all(0)] == list(range(400))


def test_readers_see_whole_appends_in_order_while_they_are_appended(tmp_path):
    with Store(str(tmp_path), files=Disk(), segment_size=20_000) as one:
        done = threading.Event()

        def watch():
            seen = 0
            while not done.is_set() or seen < one.position:
                events = one.read_all(seen)
                assert [event.position for event in events] == list(range(seen, seen + len(events)))
                assert not len(events) % 3 or len(events) == 1000
                seen += len(events)
            return seen

        watching = [Call(watch) for _ in range(2)]
        for _ in range(200):
            one.append_many("s", [("n", b"x" * 100)] * 3)
        done.set()
        assert [call.result() for call in watching] == [600, 600]


# -- waiting ------------------------------------------------------------------------------------

def waiting(one, *names):
    """Whether somebody waits on each of these streams."""
    streams = [one.all if name == "$all" else one.find(name.encode()) for name in names]
    return all(stream is not None and stream.condition is not None and stream.condition._waiters
               for stream in streams)


def test_who_waits_is_woken_by_the_append_and_by_no_other(opened):
    calls = [Call(opened.wait, "s", 1), Call(opened.wait, "s", 0), Call(opened.wait_all, 2)]
    until(lambda: waiting(opened, "s", "$all"))
    opened.append("s", "n", b"")
    assert calls[1].result() is True
    assert not calls[0].over
    opened.append("s", "n", b"")
    assert calls[0].result() is True
    assert not calls[2].over
    opened.append("t", "n", b"")
    assert calls[2].result() is True
    assert opened.find(b"s").condition is opened.all.condition is None
    assert not opened._attended


def test_what_is_there_is_not_waited_for(opened):
    opened.append("s", "n", b"")
    assert opened.wait("s", 0) is True
    assert opened.wait_all(0, timeout=0) is True
    assert opened.wait("s", 1, timeout=0) is False
    assert opened.wait("s", 1, timeout=0.001) is False
    assert opened.wait_all(1, timeout=-1) is False


def test_waiting_for_a_stream_does_not_make_it(opened):
    assert opened.wait("new", 0, timeout=0) is False
    assert (opened.stream_count(), opened.stream_names(), opened.last_number("new")) == (0, [], None)
    call = Call(opened.wait, "new", 0)
    until(lambda: waiting(opened, "new"))
    assert (opened.stream_names(), opened.last_number("new")) == ([], None)
    opened.append("new", "n", b"")
    assert call.result() is True
    assert opened.stream_names() == ["new"]


def test_a_write_that_fails_leaves_a_stream_to_those_who_wait_for_it(opened, disk):
    call = Call(opened.wait, "new", 0)
    until(lambda: waiting(opened, "new"))
    stream = opened.find(b"new")
    disk.refuse("write", errno.ENOSPC)
    with pytest.raises(store.StoreFull):
        opened.append("new", "n", b"")
    assert opened.find(b"new") is stream
    opened.append("new", "n", b"")
    assert call.result() is True


def test_close_wakes_all_who_wait(opened):
    calls = [Call(opened.wait, "s", 0), Call(opened.wait, "t", 0, SECONDS), Call(opened.wait_all, 0)]
    until(lambda: waiting(opened, "s", "t", "$all"))
    opened.close()
    for call in calls:
        with pytest.raises(StoreClosed):
            call.result()


def test_a_stream_that_is_attended_stays_until_it_is_left(opened):
    first = opened.attend(b"s", waiting=False)
    second = opened.attend(b"s")
    assert first is second and first.condition is not None
    opened.leave(second)
    assert opened.find(b"s") is first
    opened.append("s", "n", b"")
    opened.leave(first)
    assert opened.find(b"s") is first
    assert opened.attend(b"$all") is opened.all
    opened.leave(opened.all)


def test_the_next_key_counts_what_waits_for_a_sync(opened, disk):
    opened.append("s", "n", b"")
    gate = disk.hold("sync")
    call = Call(opened.append, "s", "n", b"")
    gate.wait_for_call()
    assert opened.last_number("s") == 0
    assert opened.next_of(opened.find(b"s")) == opened.next_of(opened.all) == 2
    gate.open()
    assert call.result() == (1, 1)


# -- closing --------------------------------------------------------------------------------------

def test_a_closed_store_says_so(opened):
    opened.append("s", "n", b"")
    stream = opened.find(b"s")
    assert not opened.closed
    opened.close()
    assert opened.closed
    for call in (opened.sync, lambda: opened.append("s", "n", b""), lambda: opened.read("s"),
                 lambda: opened.read("unknown"), lambda: opened.read_all(99), lambda: opened.wait("s", 0),
                 lambda: opened.wait_all(0), lambda: opened.attend(b"s"),
                 lambda: opened.records(stream, 0, 1, 1)):
        with pytest.raises(StoreClosed, match="the store is closed"):
            call()
    opened.close()


def test_closing_leaves_no_thread_and_no_open_file(tmp_path):
    files, threads = os.listdir("/proc/self/fd"), threading.active_count()
    Store(str(tmp_path), sync=EVERYSEC, segment_size=1, files=Disk()).close()
    with Store(str(tmp_path), sync=EVERYSEC, segment_size=1, files=Disk()) as one:
        one.append("s", "n", b"")
        one.append("s", "n", b"")
        assert threading.active_count() == threads + 2
    assert (os.listdir("/proc/self/fd"), threading.active_count()) == (files, threads)


def test_closing_ends_though_readers_read_on_and_on(tmp_path):
    one = Store(str(tmp_path), files=Disk())
    for _ in range(100):
        one.append("s", "n", b"x" * 1000)
    reading = threading.Semaphore(0)

    def read():
        while True:
            assert len(one.read("s")) == 100
            reading.release()

    calls = [Call(read) for _ in range(3)]
    for _ in calls:
        assert reading.acquire(timeout=SECONDS)
    one.close()
    for call in calls:
        with pytest.raises(StoreClosed):
            call.result()


def test_appends_that_were_begun_are_stored_or_refused_when_the_store_closes(tmp_path):
    one = Store(str(tmp_path), files=Disk())
    stored = threading.Semaphore(0)

    def append():
        for i in range(10**9):
            try:
                one.append("s", "n", b"%d" % i)
            except StoreClosed:
                return i
            stored.release()

    calls = [Call(append) for _ in range(4)]
    for _ in range(20):
        assert stored.acquire(timeout=SECONDS)
    one.close()
    total = sum(call.result() for call in calls)
    with Store(str(tmp_path), files=Disk()) as again:
        assert again.position == total
        assert (again.epoch, kept(tmp_path)) == (1, [])


def test_a_close_whose_sync_fails_closes_all_the_same(tmp_path):
    disk = Disk()
    one = Store(str(tmp_path), sync=NO, files=disk)
    one.append("s", "n", b"")
    disk.refuse("sync", errno.EIO)
    with pytest.raises(StoreFailed):
        one.close()
    Store(str(tmp_path), files=Disk()).close()


# -- one owner --------------------------------------------------------------------------------------

HOLDER = """
import sys
from store import Store
store = Store(sys.argv[1])
store.append("s", "n", b"from a child")
print("open", flush=True)
sys.stdin.read()
store.close()
"""


@pytest.fixture
def holder(tmp_path):
    """Start processes that hold the store open until their stdin ends."""
    started = []

    def start():
        process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path / "db")], cwd=ROOT,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "open\n"
        return process

    yield start
    for process in started:
        process.communicate(timeout=SECONDS)


def test_a_second_process_is_refused_and_told_who_has_the_store(tmp_path, holder):
    first = holder()
    with pytest.raises(StoreLocked) as caught:
        Store(str(tmp_path / "db"))
    assert str(caught.value) == (f"{tmp_path / 'db'} is in use by process {first.pid}; a store has one owner "
                                 "at a time, nothing was touched")
    assert (caught.value.path, caught.value.owner) == (str(tmp_path / "db"), first.pid)
    first.communicate(timeout=SECONDS)
    with Store(str(tmp_path / "db")) as one:
        assert [event.data for event in one.read("s")] == [b"from a child"]


def test_a_killed_process_holds_nothing(tmp_path, holder):
    first = holder()
    first.send_signal(signal.SIGKILL)
    first.wait(SECONDS)
    with Store(str(tmp_path / "db")) as one:
        assert [event.data for event in one.read("s")] == [b"from a child"]
        assert one.epoch == 1


WRITER = """
import sys
from store import Store
store = Store(sys.argv[1], segment_size=5000)
for i in range(store.position, 10**9):
    number, position = store.append("ab"[i % 2], "n", b"%d" % i)
    print(position, flush=True)
"""


def test_a_killed_process_loses_nothing_that_it_acknowledged(tmp_path):
    acknowledged = 0
    for lines in (1, 17, 100):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path / "db")], cwd=ROOT,
                                   stdout=subprocess.PIPE, text=True)
        for _ in range(lines):
            acknowledged = int(process.stdout.readline()) + 1
        process.kill()
        acknowledged += len(process.communicate()[0].split("\n")) - 1
        with Store(str(tmp_path / "db")) as one:
            assert one.position in (acknowledged, acknowledged + 1)     # the last one's answer may be lost
            assert [data for _, _, data in everything(one)] == [b"%d" % i for i in range(one.position)]
            assert one.last_number("a") == (one.position - 1) // 2


def test_the_same_process_is_refused_a_second_time(tmp_path, opened):
    with pytest.raises(StoreLocked, match=f"is in use by process {os.getpid()};"):
        Store(str(tmp_path / "db"))
    opened.append("s", "n", b"")
    opened.close()
    Store(str(tmp_path / "db"), files=Disk()).close()


def test_an_owner_that_has_not_said_its_number_is_no_less_an_owner(tmp_path, opened):
    (tmp_path / "db" / "lock").write_bytes(b"")
    with pytest.raises(StoreLocked, match="is in use; a store has one owner") as caught:
        Store(str(tmp_path / "db"))
    assert caught.value.owner is None


def test_the_example_in_the_package_works(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    lines = store.__doc__.split("\n\n", 1)[1]
    exec(compile(textwrap.dedent(lines), "the example", "exec"), {})
    assert capsys.readouterr().out == "0 created b'...'\n"
    assert (tmp_path / "my-db").is_dir()


def test_a_lock_file_that_can_not_be_emptied_is_no_reason_to_fail_a_close(tmp_path, disk, caplog):
    one = Store(str(tmp_path / "db"), files=disk)
    one.append("s", "n", b"x")
    disk.refuse("truncate", errno.EIO, "lock")
    one.close()
    assert "the lock file couldn't be emptied" in caplog.text
    with Store(str(tmp_path / "db")) as again:
        assert again.read("s")[0].data == b"x"


def test_a_disk_that_does_not_read_is_an_error_of_the_store_and_may_get_better(opened, disk):
    opened.append("s", "n", b"x")
    disk.refuse("read", errno.EIO, ".segment", times=3)
    for read in (lambda: opened.read("s"), opened.read_all, lambda: opened.frames(opened.find(b"s"), 0, 1, 100)):
        with pytest.raises(store.CannotRead, match="reading failed"):
            read()
    assert opened.read("s")[0].data == b"x"


# -- figures ---------------------------------------------------------------------

def test_a_store_counts_its_syncs_and_how_long_they_took(tmp_path):
    with Store(tmp_path / "db", ALWAYS) as store:
        before = store.sync_times.count
        for _ in range(3):
            store.append("s", "x", b"d")
        assert store.sync_times.count == before + 3
        assert 0 < store.sync_times.seconds < 60


def test_a_sync_that_fails_is_counted_as_well(tmp_path):
    class Failing(Files):
        works = True

        def sync(self, fd):
            if not self.works:
                raise OSError(errno.EIO, "Input/output error")
            super().sync(fd)

    disk = Failing()
    store = Store(tmp_path / "db", NO, files=disk)
    store.append("s", "x", b"d")
    before = store.sync_times.count
    disk.works = False
    with pytest.raises(StoreFailed):
        store.sync()
    assert store.sync_times.count == before + 1
    with pytest.raises(StoreFailed):
        store.close()


def test_the_files_of_a_store_are_counted_and_weighed(tmp_path):
    with Store(tmp_path / "db", NO, segment_size=64 << 10) as store:
        assert (store.segment_count, store.index_size > 0) == (1, True)
        before = store.index_size
        for i in range(5):
            store.append("s", "x", bytes(50 << 10), id=b"%d" % i)
        assert store.segment_count > 2
        assert store.size > 5 * (50 << 10)
        until(lambda: store.index_size > before)
        assert store.free() > 0
