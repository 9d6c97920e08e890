"""SIGTERM and Ctrl-C: what was received is answered, what was acknowledged is kept, and it ends in time."""

import random
import re
import signal
import subprocess
import threading
import time

import pytest
from conftest import Server
from serving import OK, eventually, publish, subscribed
from usage import Clients, fill, stat, within

import resp
from store import Store

pytestmark = pytest.mark.unmeasured

# Seconds in which it ends, whatever goes on.
IN_TIME = 5.0

DATA = re.compile(rb"([0-9]+)\.([0-9]+)\Z")


class Publisher:
    """Publishes to a stream of its own, as fast as the server takes it, in a thread that ends with the connection.

    acknowledged   how many of its events the server has said to have, which are its first
    """

    def __init__(self, client, stream):
        self.acknowledged = 0
        self._client = client
        self._stream = stream
        self._thread = threading.Thread(target=self._run, name="publisher")
        self._thread.start()

    def _run(self):
        number = 0
        try:
            while True:
                self._client.send(b"".join(publish(self._stream, f"{number + i}") for i in range(100)))
                number += 100
                while self.acknowledged < number - 200:
                    self._read()
        except OSError:
            pass            # it has stopped; the acknowledgements before that can still be read
        try:
            while True:
                self._read()
        except OSError:
            pass

    def _read(self):
        found = self._client.sock.recv(1 << 16)
        if not found:
            raise ConnectionResetError
        self._rest = getattr(self, "_rest", b"") + found
        whole = len(self._rest) // len(OK)
        assert self._rest[:whole * len(OK)] == OK * whole
        self._rest = self._rest[whole * len(OK):]
        self.acknowledged += whole

    def join(self):
        self._thread.join()


def stop_in_time(running, *signals):
    """Ask it to stop, and fail unless it ends well and in time."""
    began = time.monotonic()
    for number in signals:
        running.process.send_signal(number)
    assert running.wait() == 0, running.complaint()
    assert time.monotonic() - began < IN_TIME


def expect_kept(path, publishers):
    """Every acknowledged event is there, in its place; what else is there was sent."""
    with Store(path) as store:
        for stream, publisher in publishers.items():
            events = store.read(stream, limit=1 << 30)
            assert len(events) >= publisher.acknowledged
            assert [event.data for event in events] == [b"%d" % number for number in range(len(events))]


@pytest.mark.parametrize("sync, number", [
    ("always", signal.SIGTERM), ("everysec", signal.SIGINT), ("no", signal.SIGTERM)])
def test_it_stops_in_time_under_everything_and_keeps_what_it_acknowledged(sync, number, server, tmp_path):
    running = server("--sync", sync)
    with Clients(running.port) as clients:
        observer = clients.join()
        observer.send(publish("large", "x" * 100_000) * 300)
        observer.recv_exactly(OK * 300)
        for _ in range(100):
            clients.join()                                                              # idle
        for _ in range(12):
            clients.join().command("subscribe", "published-0", "published-1", "$all")   # followers of feeds' threads
            clients.join().command("subscribe", "large:0")                              # replays that nobody reads
        fill(clients.join(), resp.command("command", "docs") * 20_000)                  # replies that nobody reads
        clients.join().send(publish("large", "x" * 1000)[:-500])                        # half a request
        within(IN_TIME, lambda: stat(observer, "blocked_outputs"), lambda found: found >= 13)
        publishers = {f"published-{i}": Publisher(clients.join(), f"published-{i}") for i in range(4)}
        for publisher in publishers.values():
            eventually(lambda publisher=publisher: publisher.acknowledged > 300, "some acknowledgements")
        stop_in_time(running, number)
        for publisher in publishers.values():
            publisher.join()
    expect_kept(tmp_path / "db", publishers)


def test_it_stops_in_time_with_tens_of_thousands_of_subscriptions(server):
    names = [f"stream-{i}" for i in range(15_000)]
    running = server("--sync", "no")
    with Clients(running.port) as clients:
        for _ in range(3):
            clients.join().command("subscribe", *names)
        for client in clients:
            client.recv_exactly(b"".join(map(subscribed, names)))
        stop_in_time(running, signal.SIGTERM)


def test_what_was_received_before_the_signal_is_answered(server):
    running = server("--sync", "always")
    with Clients(running.port) as clients:
        client = clients.join()
        assert client.ask("ping") == b"PONG"        # accepted
        client.send(publish("orders", "one") * 1000 + resp.command("last-event-number", "orders"))
        running.process.send_signal(signal.SIGTERM)
        client.recv_exactly(OK * 1000 + b"*3\r\n+last-event-number\r\n+orders\r\n:999\r\n")
        client.recv_end()
        assert running.wait() == 0


@pytest.mark.parametrize("signals", [(signal.SIGTERM, signal.SIGTERM), (signal.SIGTERM, signal.SIGINT)])
def test_a_second_signal_changes_nothing(signals, server):
    running = server("--sync", "always")
    with Clients(running.port) as clients:
        client = clients.join()
        client.send(publish("orders", "x" * 10_000) * 1000)
        client.recv_exactly(OK * 1000)
        clients.join().command("subscribe", "orders:0")     # it is waited for, so that the second comes in time
        stop_in_time(running, *signals)


def ended(process, seconds):
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def test_signals_until_the_very_end_do_no_harm(server, tmp_path):
    running = server("--sync", "no")
    with Clients(running.port) as clients:
        clients.join().send(publish("orders", "one") * 5000)
        clients[0].recv_exactly(OK * 5000)
        while not ended(running.process, 0.001):
            running.process.send_signal(signal.SIGTERM)
    assert running.process.returncode in (0, -signal.SIGTERM)      # the interpreter itself may be the last to go
    with Store(tmp_path / "db") as store:
        assert store.position == 5000


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_it_starts_ends_it_as_later_ones_do(number, tmp_path):
    with Store(tmp_path / "db") as store:
        for i in range(20):
            store.append_many("orders", [("created", b"%d" % i)] * 1000)
    (tmp_path / "db" / "lock").unlink()
    (tmp_path / "db" / "index.sqlite3").unlink()            # there is something to do before it listens
    running = Server(["--db-path", str(tmp_path / "db"), "--port", "0"], {}, tmp_path / "log")
    try:
        eventually((tmp_path / "db" / "lock").exists, "its lock")
        stop_in_time(running, number)
    finally:
        running.end()


def test_20_stops_at_random_moments_lose_nothing(server, tmp_path):
    """Each goes on with what the one before it left."""
    draw = random.Random(50)
    kept = {}           # stream -> events acknowledged
    for round_ in range(20):
        running = server("--sync", draw.choice(["always", "everysec", "no"]))
        with Clients(running.port) as clients:
            follower = clients.join()
            follower.command("subscribe", "$all:0")
            publishers = {f"round-{round_}-{i}": Publisher(clients.join(), f"round-{round_}-{i}") for i in range(2)}
            enough = draw.choice([0, 1, 1000, draw.randrange(5000)])
            eventually(lambda: sum(one.acknowledged for one in publishers.values()) >= enough,    # noqa: B023
                       "acknowledgements")
            stop_in_time(running, signal.SIGTERM)
            for publisher in publishers.values():
                publisher.join()
        kept.update(publishers)
    expect_kept(tmp_path / "db", kept)
