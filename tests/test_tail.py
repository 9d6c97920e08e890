"""server/tail.py: what is newest, then what comes, and never more than can be read."""

import json
import threading

import pytest
from serving import OK, eventually, publish

from server import tail
from server.inside import Inside
from server.tail import MOST, Tail
from server.users import User

ALL, ONE, SOME = ("$all",), ("stream", "s"), ("prefix", "order-")


class Watcher:
    """Takes the pieces of a tail; `goes_on` as the test wants it."""

    def __init__(self, serving, selector, names=(), seen=None, user=None):
        self.goes_on = True
        self.pieces = Tail(lambda: Inside(serving.poller, "console:tail", user), selector, names, seen,
                           lambda: self.goes_on).pieces()

    def next(self):
        """(kind, object) of the next piece that says something."""
        for piece in self.pieces:
            if piece.startswith(b"event: "):
                kind, data = piece.decode().rstrip("\n").split("\n")
                return kind[len("event: "):], json.loads(data[len("data: "):])
        return None

    def events(self):
        """The data of the events of the next piece, and what it passed over."""
        kind, said = self.next()
        assert kind == "events", said
        return [event["data"]["text"] for event in said["events"]], said["skipped"]

    def gather(self, count):
        """The data of so many events, in pieces of any size, none passed over."""
        found = []
        while len(found) < count:
            texts, skipped = self.events()
            assert skipped is None
            found += texts
        return found


@pytest.fixture
def watch(serving):
    watchers = []

    def begin(*arguments, **more):
        watchers.append(Watcher(serving, *arguments, **more))
        return watchers[-1]

    yield begin
    for watcher in watchers:
        watcher.pieces.close()


def fill(serving, stream, texts, name="x"):
    """Publish, as a client does; return when it is stored."""
    client = serving.connect()
    client.send(b"".join([publish(stream, str(text), name) for text in texts]))
    client.recv_exactly(OK * len(texts))
    client.close()


@pytest.mark.parametrize("selector, stream", [(ONE, "s"), (ALL, "s"), (SOME, "order-1")])
def test_the_newest_come_first_in_order_and_then_what_is_published(serving, watch, selector, stream):
    fill(serving, stream, range(MOST + 10))
    watcher = watch(selector)
    assert watcher.events() == ([str(i) for i in range(10, MOST + 10)], None)
    fill(serving, "other", ["not for all"] if selector != ALL else [])
    fill(serving, stream, ["new"])
    assert watcher.gather(1) == ["new"]
    fill(serving, stream, ["newer", "newest"])
    assert watcher.gather(2) == ["newer", "newest"]


def test_a_stream_without_events_is_waited_for(serving, watch):
    watcher = watch(ONE)
    assert next(watcher.pieces) == b""
    fill(serving, "s", ["first"])
    assert watcher.gather(1) == ["first"]


def test_only_events_of_these_names_are_shown(serving, watch):
    fill(serving, "s", [1], "paid")
    fill(serving, "s", [2], "sent")
    watcher = watch(ONE, names=("paid",))
    assert watcher.gather(1) == ["1"]
    fill(serving, "s", [3], "sent")
    fill(serving, "s", [4], "paid")
    assert watcher.gather(1) == ["4"]


def test_who_comes_back_is_shown_what_came_meanwhile(serving, watch):
    fill(serving, "s", range(5))
    assert watch(ONE, seen=2).events() == (["3", "4"], None)
    watcher = watch(ONE, seen=4)
    next(watcher.pieces)
    fill(serving, "s", [5])
    assert watcher.gather(1) == ["5"]


@pytest.mark.parametrize("selector, stream, exact", [(ONE, "s", True), (ALL, "s", True), (SOME, "order-1", False)])
def test_what_is_passed_over_is_said_with_its_keys(serving, watch, selector, stream, exact):
    fill(serving, stream, range(MOST + 100))
    texts, skipped = watch(selector, seen=9).events()
    assert texts == [str(i) for i in range(100, MOST + 100)]
    assert skipped == {"first": "10", "stop": "100", "exact": exact}


def test_a_stream_that_is_too_fast_is_looked_at_now_and_then_and_nothing_is_lost_unsaid(serving, watch, monkeypatch):
    monkeypatch.setattr(tail, "GATHER", 0.01)
    watcher = watch(ONE)
    ending, published = threading.Event(), []

    def publish_on():
        while not ending.is_set():
            fill(serving, "s", range(len(published), len(published) + 500))
            published.extend(range(500))

    thread = threading.Thread(target=publish_on)
    thread.start()
    try:
        numbers, passed_over, sizes = [], 0, []
        while passed_over < 5000:
            _, said = watcher.next()
            if said["skipped"]:
                assert int(said["skipped"]["first"]) == (numbers[-1] + 1 if numbers else 0)
                passed_over += int(said["skipped"]["stop"]) - int(said["skipped"]["first"])
                numbers.append(int(said["skipped"]["stop"]) - 1)
            for event in said["events"]:
                assert int(event["number"]) == (numbers[-1] + 1 if numbers else int(event["number"]))
                numbers.append(int(event["number"]))
            sizes.append(len(said["events"]))
    finally:
        ending.set()
        thread.join()
    assert max(sizes) <= 2 * MOST
    last = len(published) - 1
    while numbers[-1] < last:       # the newest is shown in the end, not only what came first
        _, said = watcher.next()
        numbers.append(int(said["events"][-1]["number"]))


def test_it_ends_when_it_may_not_go_on(serving, watch):
    watcher = watch(ONE)
    assert next(watcher.pieces) == b""
    watcher.goes_on = False
    assert watcher.next() == ("ended", {"error": "you are logged out"})
    assert watcher.next() is None
    eventually(lambda: not serving.poller.connections)


def test_who_may_not_follow_is_told_so(serving, watch):
    watcher = watch(ALL, user=User("ann", True, None, frozenset({"read"})))
    kind, said = watcher.next()
    assert kind == "refused" and said["error"].startswith("NOPERM ")
    assert watcher.next() is None


def test_it_ends_when_the_server_closes_its_connection(serving, watch):
    watcher = watch(ONE)
    assert next(watcher.pieces) == b""
    assert serving.connect().ask("client", "kill", "addr", "console:tail") == 1
    kind, said = watcher.next()
    assert kind == "ended" and "has closed the connection" in said["error"]


def test_it_ends_when_the_server_stops(serving, watch):
    watcher = watch(ONE)
    assert next(watcher.pieces) == b""
    serving.stop()
    assert watcher.next()[0] == "ended"


def test_an_error_that_ends_the_subscription_is_told(serving, watch, monkeypatch):
    watcher = watch(ONE)
    assert next(watcher.pieces) == b""
    [connection] = serving.poller.connections.values()
    connection.outbox.put_and_flush(b"-EVENTSLOST 1 2 they are lost\r\n")
    assert watcher.next() == ("refused", {"error": "EVENTSLOST 1 2 they are lost"})


def test_a_subscription_that_the_server_takes_back_is_over(serving, watch):
    watcher = watch(ONE)
    assert next(watcher.pieces) == b""
    [connection] = serving.poller.connections.values()
    connection.outbox.put_and_flush(b">3\r\n$11\r\nunsubscribe\r\n$1\r\ns\r\n:0\r\n")
    assert watcher.next() == ("ended", {"error": "this may not be followed any more"})


def test_silence_is_broken_now_and_then_for_proxies(serving, watch, monkeypatch):
    monkeypatch.setattr(tail, "HEARTBEAT", 0.02)
    monkeypatch.setattr(tail, "TURN", 0.01)
    watcher = watch(ONE)
    assert b":\n\n" in {next(watcher.pieces) for _ in range(10)}


def test_closing_it_lets_go_of_its_connection(serving, watch):
    watcher = watch(ONE)
    next(watcher.pieces)
    assert len(serving.poller.connections) == 1
    watcher.pieces.close()
    eventually(lambda: not serving.poller.connections)
