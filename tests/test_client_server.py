"""The client and the command line against the real server: outages, and migration between two."""

import signal
import subprocess
import sys
import threading

import pytest
from both_clients import driver, each_client
from conftest import ROOT, clean_environ
from test_cli import end_of, start, until

from meilies_client import Client, Event, PublishInterrupted, Refused, StoreChanged

__all__ = ["driver"]

SECONDS = 20


@pytest.fixture
def client():
    """Connect to a server: client(running, **options) -> Client, closed when the test ends."""
    clients = []

    def connect(running, **options):
        clients.append(Client(port=running.port, **{"delay": 0.01, "tries": 500, **options}))
        return clients[-1]

    yield connect
    for one in clients:
        one.close()


@pytest.fixture
def another(server, tmp_path):
    """Start a server on a store of its own: another(name, *argv)."""
    return lambda name, *argv: server("--db-path", str(tmp_path / name), *argv)


def restart(server, running):
    """Kill a server as a crash would, and start another on its port and store."""
    running.kill()
    return server("--port", str(running.port))


def take(subscription, count):
    return [next(subscription) for _ in range(count)]


def command_line(running, *arguments, **options):
    return subprocess.run(
        [sys.executable, str(ROOT / "meilies_cli.py"), "-p", str(running.port), *map(str, arguments)],
        env=clean_environ(), capture_output=True, timeout=SECONDS, check=False, **options)


# -- client

@each_client
def test_what_is_published_is_followed(server, client):
    one = client(server())
    with one.subscribe("orders", timeout=SECONDS) as live:
        one.publish("orders", "created", b"\r\n\x00\xff")
        assert one.publish_many("orders", [("paid", "%d" % i) for i in range(2500)]) == 2500
        assert one.publish_batch([("a", "n", b""), ("b", "n", b"")]) == 2
        first, *others = take(live, 2501)
        assert first == Event("orders", 0, "created", b"\r\n\x00\xff", b"", b"", 0, first.time)
        assert [event.number for event in others] == list(range(1, 2501))
    assert one.last_event_number("orders") == 2500
    assert one.last_event_number("nothing") is None
    assert one.last_event_number("$all") == 2502
    assert one.stream_names() == ["a", "b", "orders"]
    assert one.ping() > 0
    with one.subscribe("$all:2500:2503") as some:
        assert [(event.stream, event.number, event.position) for event in some] == [
            ("orders", 2500, 2500), ("a", 0, 2501), ("b", 0, 2502)]


def test_many_streams_are_followed_in_one_subscription(server, client):
    one = client(server())
    one.publish_batch((f"s{i}", "n", b"%d" % i) for i in range(300))
    with one.subscribe(*[f"s{i}:0:1" for i in range(300)]) as subscription:
        assert sorted(event.data for event in subscription) == sorted(b"%d" % i for i in range(300))


def test_what_is_too_large_is_refused_and_the_client_goes_on(server, client):
    one = client(server("--max-event-size", "10K", "--max-request-size", "1M"))
    for size, why in ((11 << 10, "expected no more than 10240"), (30 << 20, "expected no more than 1048576")):
        with pytest.raises(Refused, match=why) as caught:
            one.publish_many("s", [("n", b"before"), ("n", bytes(size))])
        assert (caught.value.index, caught.value.acknowledged) == (1, 1)
    assert one.last_event_number("s") == 1


@pytest.mark.parametrize("driver, selector, first", [
    ("blocking", "s:1", 1), ("blocking", "s", 2), ("blocking", "$all", 3), ("blocking", "$all:1", 1),
    ("asyncio", "$all", 3)], indirect=["driver"])
def test_a_crash_and_restart_of_the_server_loses_nothing(server, client, driver, selector, first):
    running = server()
    one = client(running)
    one.publish("s", "n", b"0")
    one.publish("s", "n", b"1")
    one.publish("other", "n", b"")
    with one.subscribe(selector, timeout=SECONDS) as subscription:
        running = restart(server, running)
        one.publish("s", "n", b"2")
        one.publish("other", "n", b"")
        one.publish("s", "n", b"3")
        places = []
        while True:
            event = next(subscription)
            places.append(event.position if "$all" in selector else event.number)
            if event.stream == "s" and event.number == 3:
                break
        restart(server, running)
        one.publish("s", "n", b"4")
        event = next(subscription)
        places.append(event.position if "$all" in selector else event.number)
    assert places == list(range(first, first + len(places)))
    assert event.data == b"4"


@each_client
def test_a_subscription_to_a_range_ends_although_the_server_crashed(server, client):
    running = server()
    one = client(running)
    one.publish_many("s", [("n", b"")] * 3)
    with one.subscribe("s:1:5") as subscription:
        assert [event.number for event in take(subscription, 2)] == [1, 2]
        restart(server, running)
        one.publish_many("s", [("n", b"")] * 3)
        assert [event.number for event in subscription] == [3, 4]


@each_client
def test_another_store_on_the_same_port_is_noticed(server, another, client):
    running = server()
    one = client(running)
    one.publish("s", "n", b"")
    with one.subscribe("s:0", timeout=SECONDS) as subscription:
        next(subscription)
        running.kill()
        another("other", "--port", str(running.port))
        with pytest.raises(StoreChanged):
            next(subscription)


def test_a_publish_to_a_server_that_stands_still_has_an_unknown_fate(server, client):
    running = server()
    one = client(running, timeout=0.2)
    one.publish("s", "n", b"before")
    running.process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(PublishInterrupted) as caught:
            one.publish("s", "n", b"unknown")
    finally:
        running.process.send_signal(signal.SIGCONT)
    assert (caught.value.acknowledged, caught.value.unknown) == (0, 1)
    one.timeout = SECONDS
    one.publish("s", "n", b"after")
    with one.subscribe("s:0", timeout=SECONDS) as subscription:
        data = [event.data for event in take(subscription, one.last_event_number("s") + 1)]
    assert [found for found in data if found != b"unknown"] == [b"before", b"after"]
    assert data.count(b"unknown") <= 1


@each_client
def test_what_a_crash_in_a_pipeline_leaves_is_what_was_acknowledged_and_some_of_the_unknown(server, client):
    running = server()
    one = client(running)
    sent = threading.Event()

    def events():
        for number in range(10**7):
            if number == 5000:
                sent.set()
            yield "n", b"%d" % number

    def crash():
        assert sent.wait(SECONDS)
        running.kill()

    thread = threading.Thread(target=crash)
    thread.start()
    with pytest.raises(PublishInterrupted) as caught:
        one.publish_many("s", events())
    thread.join()
    server("--port", str(running.port))
    stored = (one.last_event_number("s") or 0) + 1
    assert caught.value.acknowledged <= stored <= caught.value.acknowledged + caught.value.unknown


# -- command line

def test_the_commands_work_against_the_server(server):
    running = server()
    assert command_line(running, "publish", "s", "n", "--lines", input=b"one\ntwo\n").returncode == 0
    assert command_line(running, "subscribe", "s:0:2").stdout == b"s:0 n one\ns:1 n two\n"
    failing = command_line(running, "inspect", "--stream", "$all:0", "test $MEILIES_EVENT_NUMBER -lt 1")
    assert (failing.returncode, failing.stdout) == (1, b"")
    assert failing.stderr.startswith(b"meilies_cli: event 1 of s: the command ended with status 1")


def test_a_live_tail_survives_a_crash_and_ends_with_ctrl_c(server, client):
    running = server()
    one = client(running)
    one.publish("s", "n", b"0")
    with start("-p", running.port, "subscribe", "s:0") as process:
        assert process.stdout.readline() == b"s:0 n 0\n"
        restart(server, running)
        one.publish("s", "n", b"1")
        assert process.stdout.readline() == b"s:1 n 1\n"
        process.send_signal(signal.SIGINT)
        status, err = end_of(process)
    assert status == 130
    assert "trying again in 0.1 s" in err


def content(one):
    with one.subscribe(f"$all:0:{one.last_event_number('$all') + 1}") as subscription:
        return [event[:4] for event in subscription]


def fill(one, count, size=10):
    one.publish_batch((f"s{i % 7}", f"n{i % 3}", b"%010d" % i * (size // 10)) for i in range(count))


def migration(source, destination, *more):
    return ("migrate", "--src-server", f"127.0.0.1:{source.port}",
            "--dst-server", f"127.0.0.1:{destination.port}", *more)


def test_a_migration_killed_midway_and_run_again_copies_each_event_once(another, client):
    source, destination = another("source", "--sync", "no"), another("destination", "--sync", "no")
    here, there = client(source), client(destination)
    fill(here, 2500, 8000)
    with start(*migration(source, destination)) as process:
        until(lambda: (there.last_event_number("$all") or 0) > 100 or process.poll() is not None)
        assert process.poll() is None, "it ended before it could be killed"
        process.kill()
    assert there.last_event_number("$all") < 2499
    with start(*migration(source, destination)) as process:
        assert end_of(process) == (0, "")
    assert content(there) == content(here)


def test_a_migration_waits_for_a_destination_that_crashed(server, another, client):
    source, destination = another("source", "--sync", "no"), server()
    here, there = client(source), client(destination)
    fill(here, 1500, 8000)
    with start(*migration(source, destination)) as process:
        until(lambda: (there.last_event_number("$all") or 0) > 100)
        restart(server, destination)
        status, err = end_of(process)
    assert status == 0, err
    assert content(there) == content(here)


def test_a_migration_that_follows_waits_for_a_source_that_crashed(server, another, client):
    source, destination = server(), another("destination", "--sync", "no")
    here, there = client(source), client(destination)
    fill(here, 10)
    with start(*migration(source, destination, "--follow")) as process:
        until(lambda: there.last_event_number("$all") == 9)
        restart(server, source)
        fill(here, 10)
        until(lambda: there.last_event_number("$all") == 19)
        process.send_signal(signal.SIGINT)
        assert end_of(process)[0] == 130
    assert content(there) == content(here)
