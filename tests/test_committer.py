"""Batches on their way to a store that does what it is told, and their replies."""

import threading
from types import SimpleNamespace

import pytest
from conftest import SECONDS
from serving import OK, eventually

from server.committer import Batch, Committer
from server.metrics import Metrics
from server.slowlog import SlowLog
from store import ALWAYS, NO, Append, StoreClosed, StoreFailed, StoreFull, WrongVersion


class FakeStore:
    """Takes batches; `error` is raised instead, and `gate` holds up commits while it is clear."""

    def __init__(self, sync_policy):
        self.sync_policy = sync_policy
        self.error = None
        self.written = []
        self.gate = threading.Event()
        self.gate.set()
        self.committing = threading.Event()
        self.note = lambda: None

    def write(self, runs, appends):
        if self.error:
            raise self.error
        self.written.append(runs)
        return len(self.written)

    def commit(self, batch):
        self.committing.set()
        assert self.gate.wait(SECONDS)


class FakeFeeds:
    def __init__(self):
        self.served = []

    def committed(self, batch):
        self.served.append(batch)

    gather = committed


class Client:
    """A connection as far as the committer knows it."""

    def __init__(self):
        self.uncommitted = 0
        self.outbox = self
        self.buffers = []

    @property
    def got(self):
        return b"".join(self.buffers)

    def put_and_flush(self, data):
        self.buffers.append(data)


class Bench:
    """A Committer between fakes."""

    def __init__(self, policy):
        self.store, self.feeds, self.done = FakeStore(policy), FakeFeeds(), []
        self.metrics = Metrics(SlowLog(-1, 10))
        self.committer = Committer(self.store, self.feeds, self.done.append, self.metrics)

    def submit(self, client, *datas):
        batch = Batch()
        batch.add(client, [(b"s", b"x", datas)], len(datas), 40 * len(datas))
        self.committer.submit(batch)
        return batch


@pytest.fixture(params=[ALWAYS, NO])
def bench(request):
    bench = Bench(request.param)
    yield bench
    bench.committer.stop()


@pytest.fixture
def slow(monkeypatch):
    """One that finds any disk slow, and so leaves all to its thread."""
    monkeypatch.setattr("server.committer.SLOW_COMMIT", 0)
    bench = Bench(ALWAYS)
    yield bench
    bench.store.gate.set()
    bench.committer.stop()


def test_a_batch_knows_whose_its_events_are_and_how_large_they_are():
    batch, one, other = Batch(), Client(), Client()
    batch.add(one, [(b"s", b"x", [b"12", b"34"]), (b"t", b"x", (b"567",))], 3, 120)
    batch.add(other, [(b"s", b"x", [b""])], 1, 38)
    batch.add(one, [(b"s", b"x", [b"8"])], 1, 39)
    assert batch.units == [(b"s", b"x", [b"12", b"34"]), (b"t", b"x", (b"567",)), (b"s", b"x", [b""]),
                          (b"s", b"x", [b"8"])]
    assert batch.owed == {one: 4, other: 1}
    assert batch.size == 197
    assert one.uncommitted == other.uncommitted == 1


def append(*places, error=None):
    """An Append that the store has judged."""
    one = Append([(b"s", "any", b"x", b"", b"", b"", b"")] * max(1, len(places)))
    one.places, one.error = list(places), error
    return one


def test_a_batch_knows_the_order_in_which_publishes_and_appends_are_answered():
    batch, one, other, third = Batch(), Client(), Client(), Client()
    first, second, refused = append((1, 1)), append((4, 4), (0, 5)), append(error=StoreClosed())
    batch.add(one, [(b"s", b"x", [b"12"])], 1, 40)
    batch.add_append(one, first, 60)
    batch.add_append(other, second, 90)
    batch.add(one, [(b"s", b"x", [b"8", b"9"])], 2, 39)
    batch.add_append(one, refused, 60)
    batch.add(third, [(b"s", b"x", [b"8"])], 1, 39)
    assert batch.units == [(b"s", b"x", [b"12"]), first, second, (b"s", b"x", [b"8", b"9"]), refused,
                           (b"s", b"x", [b"8"])]
    assert batch.appends == [first, second, refused]
    assert batch.owed == {one: [1, first, 2, refused], other: [second], third: 1}
    assert (batch.size, batch.stored) == (40 + 60 + 90 + 39 + 60 + 39, 7)
    assert one.uncommitted == other.uncommitted == third.uncommitted == 1


def test_the_index_is_brought_up_to_date_when_clients_have_their_answers_and_need_not_be(bench, caplog):
    client, noted = Client(), []

    def note():
        noted.append(list(client.buffers))
        raise MemoryError()

    bench.store.note = note
    bench.submit(client, b"1", b"2")
    bench.submit(client, b"3")
    assert noted == [[OK * 2], [OK * 2, OK]]
    assert "the index isn't up to date" in caplog.text


def test_publishes_and_appends_are_answered_in_their_order_in_one_buffer(bench):
    client, batch = Client(), Batch()
    batch.add(client, [(b"s", b"x", [b"d"])], 1, 40)
    batch.add_append(client, append((1, 1)), 60)
    batch.add(client, [(b"s", b"x", [b"d", b"d"])], 2, 80)
    batch.add_append(client, append(error=WrongVersion("s", 7, None)), 60)
    batch.add_append(client, append((4, 4), (0, 5)), 60)
    bench.committer.submit(batch)
    eventually(lambda: bench.done == [batch])
    assert client.buffers == [
        OK + b"*1\r\n*2\r\n:1\r\n:1\r\n" + OK * 2 + b"-WRONGVERSION stream 's': expected event 7 as its last one, "
        b"found no event; nothing was stored\r\n*2\r\n*2\r\n:4\r\n:4\r\n*2\r\n:0\r\n:5\r\n"]


def test_a_store_that_says_no_is_quoted_for_each_publish_and_each_append(bench):
    client, batch = Client(), Batch()
    batch.add(client, [(b"s", b"x", [b"d", b"d"])], 2, 80)
    batch.add_append(client, append((4, 4), (0, 5)), 60)
    bench.store.error = StoreClosed()
    bench.committer.submit(batch)
    eventually(lambda: bench.done == [batch])
    assert client.got == b"-ERR the store is closed\r\n" * 3 and batch.stored == 0


@pytest.mark.parametrize("count", [1, 256, 257, 5000])
def test_each_event_is_answered_once_and_followers_are_served(bench, count):
    client = Client()
    batch = bench.submit(client, *[b"d"] * count)
    eventually(lambda: bench.done == [batch])
    assert client.got == OK * count
    assert bench.feeds.served == [1]
    assert not batch.refused and not bench.committer.busy


@pytest.mark.parametrize("error, code", [
    (StoreFull("/db", OSError(28, "No space left on device")), b"-STOREFULL /db: No space left on device;"),
    (StoreFailed("/db", "a sync", OSError(5, "Input/output error")), b"-STOREFAILED /db: a sync failed"),
    (StoreClosed(), b"-ERR the store is closed\r\n"),
    (KeyError("a bug"), b"-ERR 'a bug'\r\n")])
def test_a_store_that_says_no_is_quoted_for_each_event(bench, caplog, error, code):
    client = Client()
    bench.store.error = error
    batch = bench.submit(client, b"1", b"2")
    eventually(lambda: bench.done == [batch])
    lines = client.got.split(b"\r\n")
    assert len(lines) == 3 and lines[0] == lines[1] and client.got.startswith(code)
    assert batch.refused and bench.feeds.served == []


def test_a_failure_is_logged_when_it_begins_and_when_it_comes_back_and_not_in_between(bench, caplog):
    client = Client()
    full, closed = StoreFull("/db", OSError(28, "No room")), StoreClosed()
    for error in full, full, closed, full, None, full, full:
        bench.store.error = error
        batch = bench.submit(client, b"d")
        eventually(lambda batch=batch: bench.done[-1:] == [batch])
    refusals = [r.getMessage() for r in caplog.records]
    assert refusals == [f"publishes are refused: {error}" for error in (full, closed, full, full)]


def test_the_thread_takes_one_batch_at_a_time_and_says_when_it_is_busy(slow):
    client = Client()
    slow.store.gate.clear()
    slow.submit(client, b"1")
    assert slow.store.committing.wait(SECONDS)
    assert slow.committer.busy and client.got == b""
    second = threading.Thread(target=slow.submit, args=(client, b"2"))
    second.start()              # waits
    assert len(slow.store.written) == 1
    slow.store.gate.set()
    second.join(SECONDS)
    eventually(lambda: len(slow.done) == 2)
    assert client.got == OK * 2 and [runs[0][2] for runs in slow.store.written] == [(b"1",), (b"2",)]


def test_a_batch_behind_a_slow_one_goes_to_the_thread_and_those_behind_quick_ones_do_not(bench, monkeypatch):
    client, threads = Client(), []
    monkeypatch.setattr(bench.committer, "_on_done", lambda _: threads.append(threading.current_thread()))
    here = threading.current_thread()
    clock = iter([0, 1, 10, 10.001, 20, 20.001])        # the first takes a second
    monkeypatch.setattr("server.committer.time", SimpleNamespace(monotonic=lambda: next(clock)))
    for done in 1, 2, 3:
        bench.submit(client, b"d")
        eventually(lambda done=done: len(threads) == done)
    there = bench.committer._thread or here
    assert threads == [here, there, here]


def test_stopping_waits_for_what_was_submitted(slow):
    client = Client()
    slow.store.gate.clear()
    slow.submit(client, b"1")
    assert slow.store.committing.wait(SECONDS)
    stopping = threading.Thread(target=slow.committer.stop)
    stopping.start()
    slow.store.gate.set()
    stopping.join(SECONDS)
    assert not stopping.is_alive()
    assert client.got == OK and len(slow.done) == 1


def test_each_batch_is_timed_by_its_kind_unless_the_store_refuses_it():
    bench = Bench(NO)
    client = Client()
    bench.submit(client, b"0")
    bench.submit(client, b"1")
    bench.store.error = StoreClosed()
    bench.submit(client, b"2")
    assert (bench.metrics.commits.count, bench.metrics.append_commits.count) == (2, 0)
    assert bench.metrics.commits.seconds > 0
    assert [batch.slow for batch in bench.done] == [0.0] * 3
    bench.metrics.slow_log.set_threshold(0)
    bench.store.error = None
    bench.submit(client, b"3")
    assert bench.done[-1].slow > 0
