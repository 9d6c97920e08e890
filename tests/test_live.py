"""From replay to live and back: every event once and in order, whoever joins, stalls or leaves."""

import threading

import pytest
from conftest import ROOT, SECONDS, UNMEASURED, Server
from crowd import Crowd
from serving import eventually

import resp
import server.feed
import store.replay
from server import options
from server.chunk import Form
from server.connection import Connection
from server.feed import Feeds
from server.follower import Follower
from store import CorruptSegment, Store

SOON = 1.2      # seconds that a crowd has


# -- a crowd of clients -------------------------------------------------------

@pytest.mark.parametrize("sync, watchers, streams, seed", [
    ("always", 24, 6, 1), ("everysec", 24, 6, 2), ("always", 60, 3, 3), ("everysec", 60, 3, 4)])
def test_whoever_joins_leaves_and_stalls_sees_every_event_once_and_in_order(sync, watchers, streams, seed, tmp_path):
    running = Server(["--db-path", str(tmp_path / "db"), "--port", "0", "--sync", sync, "--log-level", "warning"],
                     {**UNMEASURED, "PYTHONPATH": str(ROOT)},
                     tmp_path / "server.log", script=ROOT / "tests" / "restless_server.py")
    crowd = Crowd(running.wait_until_listening().port, seed, watchers, streams=streams)
    try:
        crowd.run(SOON)
    finally:
        crowd.close()
        running.end()


# -- one follower, whose socket does as it is told ------------------------------

class Wire:
    """A socket that takes `room` bytes, and then refuses."""

    def __init__(self):
        self.taken = b""
        self.room = 1 << 30
        self.senders = set()    # names of the threads that sent

    def send(self, data):
        data = bytes(data[:self.room])
        if not data:
            raise BlockingIOError
        self.room -= len(data)
        self.taken += data
        self.senders.add(threading.current_thread().name)
        return len(data)


class Hold:
    """Stops whoever sends to a connection in the middle of it: `reached`, until `release`."""

    def __init__(self, connection):
        self.reached = threading.Event()
        self.release = threading.Event()
        self._send = connection.outbox._send
        connection.outbox._send = self._wait_and_send

    def _wait_and_send(self, data):
        self.reached.set()
        assert self.release.wait(SECONDS)
        return self._send(data)


class Live:
    """A store and its feeds, with neither poller nor workers: the test is both."""

    def __init__(self, path):
        self.store = Store(path, "no")
        self.feeds = Feeds(self.store, lambda function: function())
        self.limits = options.parse(["--db-path", str(path)], {})
        self.behind = []        # connections that a worker is wanted for

    def connect(self):
        wire = Wire()
        connection = Connection(1, "", wire.send, self.limits, lambda connection: None, self.behind.append)
        return wire, connection

    def follow(self, connection, name, first, stop=1 << 64):
        follower = Follower(connection, ("stream", name), stop, Form(False, False))
        connection.follow(follower)
        self.feeds.add(follower, name, first)
        connection.catch_up(follower)
        self.work()
        return follower

    def publish(self, *datas, name=b"s"):
        batch = self.store.write([(name, b"n", list(datas))])
        self.store.commit(batch)
        self.feeds.committed(batch)

    def work(self):
        """Be the worker, until nobody needs one."""
        while self.behind:
            connection = self.behind.pop()
            while connection.catch_up_some(self.feeds.catch_up):
                pass

    def resume(self, wire, connection, room=1 << 30):
        """The socket takes bytes again."""
        wire.room = room
        if connection.outbox.resume():
            connection.go_on()
        self.work()


@pytest.fixture
def live(tmp_path):
    live = Live(tmp_path / "db")
    with live.store:
        yield live


def numbers(taken):
    """The numbers of the events in `taken`, which holds whole frames alone."""
    parser = resp.Parser()
    parser.feed(taken)
    found = [value[2] for value in parser.values()]
    assert not parser.mid_value
    return found


def test_a_follower_that_missed_a_batch_while_it_was_behind_gets_it_from_the_log(live):
    wire, connection = live.connect()
    live.follow(connection, b"s", None)
    live.publish(b"0", b"1")
    wire.room = 60                              # event 2 and a part of 3
    live.publish(b"2", b"3", b"4")
    assert connection.outbox.blocked
    live.publish(b"5", b"6")                    # nobody is live
    live.resume(wire, connection)
    live.publish(b"7", b"8")
    assert numbers(wire.taken) == list(range(9))


@pytest.mark.parametrize("room", range(0, 400, 7))
def test_wherever_a_socket_refuses_the_next_byte_is_the_one_it_refused(live, room):
    wire, connection = live.connect()
    live.follow(connection, b"s", 0)
    live.follow(connection, b"$all", None)
    wire.room = room
    expected = []
    for number in range(0, 9, 3):
        live.publish(b"%d" % number, b"", b"x" * 30)
        expected += [number, number + 1, number + 2]
        live.resume(wire, connection, room)
    live.resume(wire, connection)
    found = numbers(wire.taken)
    assert sorted(found) == sorted(expected * 2)


def test_a_batch_that_nobody_live_was_noted_for_is_not_passed_over_by_a_step_under_way(live):
    wire, connection = live.connect()
    first = live.follow(connection, b"s", None)
    hold = Hold(connection)
    publisher = threading.Thread(target=live.publish, args=(b"0",))
    publisher.start()
    hold.reached.wait()
    live.publish(b"1")
    late_wire, late_connection = live.connect()
    late = Follower(late_connection, ("stream", b"s"), 1 << 64, Form(False, False))
    late_connection.follow(late)
    live.feeds.add(late, b"s", 1)
    live.feeds.remove(first)
    live.publish(b"2")                          # nobody is live
    late_connection.catch_up(late)
    live.work()
    live.publish(b"3")
    hold.release.set()
    publisher.join()
    assert numbers(late_wire.taken) == [1, 2, 3]
    assert numbers(wire.taken) == [0]


def test_a_feed_keeps_no_record_that_all_have(live):
    wire, connection = live.connect()
    follower = live.follow(connection, b"s", None)
    for _ in range(10):
        live.publish(b"x" * 100_000)
        assert not follower.feed._recent
    assert numbers(wire.taken) == list(range(10))


def test_a_step_that_fails_leaves_a_follower_alone_that_a_worker_has_already(live, monkeypatch):
    monkeypatch.setattr(server.feed, "SLICE", 1000)
    monkeypatch.setattr(store.replay, "LONG_READ", 1100)
    monkeypatch.setattr(store.replay, "SHORT_READ", 1100)
    (slow_wire, slow), (wire, connection) = live.connect(), live.connect()
    slow_follower, follower = (live.follow(one, b"s", None) for one in (slow, connection))
    feed = follower.feed
    slow_wire.room = 100                        # it falls behind in the second slice
    for number in range(3):                     # three records, which are three slices
        live.store.commit(live.store.write([(b"s", b"n", [b"%d" % number * 900])]))
    in_worker, step_ended = threading.Event(), threading.Event()
    catch_up = live.feeds.catch_up

    def slow_catch_up(follower):
        in_worker.set()
        assert step_ended.wait(SECONDS)
        return catch_up(follower)

    worker = threading.Thread(target=live.resume, args=(slow_wire, slow))
    frames, reads = live.store.frames, []

    def fail_at_the_third(*arguments):
        reads.append(arguments)
        if len(reads) == 3:
            worker.start()
            assert in_worker.wait(SECONDS)
            raise CorruptSegment("a segment", 0, "for a test")
        return frames(*arguments)

    monkeypatch.setattr(live.feeds, "catch_up", slow_catch_up)
    monkeypatch.setattr(live.store, "frames", fail_at_the_third)
    feed.step()
    assert list(connection._behind) == [follower]
    assert not slow._behind
    step_ended.set()
    worker.join()
    live.work()
    assert slow_follower in feed.pool
    assert not slow._behind
    assert numbers(slow_wire.taken) == numbers(wire.taken) == [0, 1, 2]


def test_a_visible_end_that_goes_back_leaves_no_follower_reading_nothing(live):
    """A failed sync does so; then there is nothing to read for who comes later, and no event will."""
    wire, connection = live.connect()
    follower = live.follow(connection, b"s", 0)
    live.publish(b"0", b"1")
    stream = follower.feed.stream
    stream.visible = 1
    late = Follower(live.connect()[1], ("stream", b"s"), 1 << 64, Form(False, False))
    live.feeds.add(late, b"s", 1)
    assert live.feeds.catch_up(late)
    assert numbers(wire.taken) == [0, 1]


# -- feeds' threads -----------------------------------------------------------

def test_a_feed_with_many_followers_gets_a_thread_that_ends_with_the_last_of_them(live):
    wires = [live.connect() for _ in range(server.feed.FEW + 1)]
    followers = [live.follow(connection, b"s", None) for _, connection in wires]
    assert live.feeds.threads() == 1
    live.publish(b"0", b"1")
    for wire, _ in wires:
        eventually(lambda wire=wire: wire.taken.count(b"event") == 2, "both events")
    live.publish(b"2")
    for follower in followers:
        eventually(lambda follower=follower: follower.next == 3, "the third event")
        live.feeds.remove(follower)
    live.feeds.stop()
    assert live.feeds.threads() == 0
    assert len(live.feeds) == 0


def test_without_a_thread_to_be_had_whoever_commits_serves_many_followers(live, monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    wires = [live.connect() for _ in range(server.feed.FEW + 3)]
    for _, connection in wires:
        live.follow(connection, b"s", None)
    live.publish(b"0", b"1")
    assert [numbers(wire.taken) for wire, _ in wires] == [[0, 1]] * len(wires)
    assert live.feeds.threads() == 0


def test_a_step_under_way_is_handed_to_the_thread_that_the_feed_gets_meanwhile(live, monkeypatch):
    """Or it would be kept by whoever began it for as long as others publish."""
    wire, connection = live.connect()
    follower = live.follow(connection, b"s", None)
    steps = []
    step = server.feed.Feed.step
    monkeypatch.setattr(server.feed.Feed, "step", lambda feed: (steps.append(None), step(feed)))
    hold = Hold(connection)
    publisher = threading.Thread(target=live.publish, args=(b"0",))
    publisher.start()
    hold.reached.wait()
    wires = [live.connect() for _ in range(server.feed.FEW)]
    others = [live.follow(connection, b"s", 1) for _, connection in wires]
    assert live.feeds.threads() == 1
    for number in range(1, 51):     # the thread's to serve, when the step has ended
        live.publish(b"%d" % number)
    hold.release.set()
    publisher.join()
    for one in [follower, *others]:
        eventually(lambda one=one: one.next == 51, "the last event")
        live.feeds.remove(one)
    live.feeds.stop()
    assert numbers(wire.taken) == list(range(51))
    for wire, _ in wires:
        assert numbers(wire.taken) == list(range(1, 51))
        assert wire.senders == {"meilies-feed"}
    assert len(steps) < 120         # it waits for the end of that step, and doesn't ask again and again
