"""What is counted as it happens."""

import threading
import types

import pytest

from server.adding import Entries
from server.committer import Batch
from server.metrics import Metrics
from server.slowlog import SlowLog
from store import Change, NewEvent, WrongVersion
from store.append import append_of

PING = types.SimpleNamespace(name="ping")
CLIENT = types.SimpleNamespace(peer="here", name=b"me")


@pytest.fixture
def metrics():
    return Metrics(SlowLog(10_000, 10))


class Owner:
    """A connection as far as batches go."""

    uncommitted = 0


def an_append(error=None):
    found = append_of([Change("s", NewEvent("x", b"d"))])
    found.error = error
    found.places = [] if error else [(0, 0)]
    return found


def batch(published=0, appends=(), slow=0.0, refused=b""):
    made = Batch()
    if published:
        made.add(Owner(), [(b"s", b"x", [b"d"] * published)], published, 10)
    for one in appends:
        made.add_append(Owner(), one, 10)
    made.slow, made.refused = slow, refused
    return made


def test_commands_are_counted_with_their_times_and_errors(metrics):
    metrics.executed(CLIENT, PING, [b"ping"], b"+PONG\r\n", 0.5)
    metrics.executed(CLIENT, PING, [b"ping"], b"-NOPERM no\r\n", 0.25)
    metrics.executed(CLIENT, PING, [b"ping"], None, 0.25)
    [row] = metrics.rows(0)
    assert (row.name, row.calls, row.failed, row.times.seconds) == ("ping", 3, 1, 1.0)
    assert metrics.codes() == [("NOPERM", 1)]
    assert [one.microseconds for one in metrics.slow_log.entries()] == [250_000, 250_000, 500_000]


@pytest.mark.parametrize("reply", [b"-err x\r\n", b"-\r\n", b"-ERR\r\n", b"-\xff x\r\n", b"-" + b"A" * 100 + b" x\r\n"])
def test_an_error_without_a_word_of_its_own_is_err(metrics, reply):
    metrics.failed(reply)
    assert metrics.codes() == [("ERR", 1)]


def test_publishes_are_those_events_that_were_not_appended_and_those_that_were_refused(metrics):
    metrics.committed(batch(published=2, appends=[an_append()]))
    metrics.commits.add(1.0)
    metrics.append_commits.add(2.0)
    rows = {row.name: (row.calls, row.failed, row.times.seconds) for row in metrics.rows(5)}
    assert rows == {"publish": (4, 0, 1.0), "append": (1, 0, 2.0)}
    assert len(metrics.slow_log) == 0
    metrics.committed(batch(published=3, refused=b"-STOREFULL no room\r\n"))
    assert {row.name: row[1:3] for row in metrics.rows(5)} == {"publish": (7, 3), "append": (1, 0)}


def test_other_commands_that_append_are_counted_by_their_own_names(metrics):
    one = Entries([(b"s", "any", b"x", b"d", b"", b"", b"")] * 3)
    one.outcomes, one.stored = [(0, 0), (1, 1), WrongVersion("s", 1, None)], 2
    metrics.committed(batch(published=1, appends=[one, an_append()]))
    assert {row.name: (row.calls, row.failed) for row in metrics.rows(4)} == {
        "publish": (1, 0), "append": (1, 0), "xadd": (3, 1)}
    metrics.committed(batch(appends=[one], refused=b"-STOREFULL no room\r\n"))
    assert {row.name: (row.calls, row.failed) for row in metrics.rows(4)}["xadd"] == (6, 4)


def test_of_appends_those_that_were_refused_are_failures(metrics):
    error = WrongVersion("s", 1, None)
    metrics.committed(batch(published=1, appends=[an_append(), an_append(error), an_append(error)]))
    assert {row.name: (row.calls, row.failed) for row in metrics.rows(2)} == {"publish": (1, 0), "append": (3, 2)}
    assert metrics.codes() == [("WRONGVERSION", 2)]


def test_a_batch_that_the_store_refused_is_a_failure_for_each(metrics):
    metrics.committed(batch(published=3, appends=[an_append()], refused=b"-STOREFULL no room\r\n"))
    assert {row.name: (row.calls, row.failed) for row in metrics.rows(0)} == {"publish": (3, 3), "append": (1, 1)}
    assert metrics.codes() == [("STOREFULL", 4)]


def test_a_batch_that_takes_long_is_in_the_slow_log_by_its_size(metrics):
    metrics.committed(batch(published=3, slow=0.02))
    metrics.committed(batch(appends=[an_append(), an_append()], slow=0.03))
    assert [one.arguments for one in metrics.slow_log.entries()] == [
        [b"append", b"(a batch of 2, of 2 clients)"], [b"publish", b"(a batch of 3, of 1 clients)"]]


def test_what_was_wrong_before_it_came_into_a_batch_is_counted_with_the_others(metrics):
    metrics.executed(CLIENT, types.SimpleNamespace(name="publish"), [b"publish"], b"-ERR no\r\n", 0.0)
    [row] = metrics.rows(2)
    assert (row.name, row.calls, row.failed) == ("publish", 3, 1)


def test_no_command_is_lost_between_threads(metrics):
    def execute():
        for _ in range(2000):
            metrics.executed(CLIENT, PING, [b"ping"], b"-ERR no\r\n", 0.0)

    threads = [threading.Thread(target=execute) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [row] = metrics.rows(0)
    assert (row.calls, row.failed, metrics.codes()) == (8000, 8000, [("ERR", 8000)])
