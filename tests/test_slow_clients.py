"""Clients that don't read, or read late: they cost nothing that grows, delay nobody, and miss nothing."""

import re
import signal
import threading

import pytest
from conftest import SECONDS
from serving import OK, SlowDisk, Serving, event, eventually, last_number, publish, subscribed
from usage import A_SECOND, MIB, Clients, exchange, fill, memory, stat, within

import resp

pytestmark = pytest.mark.unmeasured

BIG = 100_000                       # bytes of an event
EVENTS = 240                        # of these, more than all buffers of a connection hold


def data_of(number):
    return f"{number:08}" * (BIG // 8)


def frames(first, stop, stream="large", kind="*"):
    return b"".join(event(stream, number, "x", data_of(number), kind) for number in range(first, stop))


def publish_big(client, first, stop):
    """Publish the events [first, stop) and read that they are stored."""
    for number in range(first, stop):
        client.send(publish("large", data_of(number)))
    client.recv_exactly(OK * (stop - first))


# -- who never reads ----------------------------------------------------------

@pytest.mark.parametrize("many", [0, 10], ids=["few followers", "many followers"])
def test_a_follower_that_never_reads_costs_no_memory_delays_nobody_and_gets_all_when_it_reads(server, many):
    running = server("--sync", "no")
    with Clients(running.port) as clients:
        publisher, reader = clients.join(), clients.join()
        publisher.ask("publish", "large", "x", data_of(0))
        stuck, stuck3, long = clients.join(), clients.join(), clients.join()
        stuck3.ask("hello", "3")
        for client in reader, stuck, stuck3, *(clients.join() for _ in range(many)):
            client.command("subscribe", "large")
        long.command("follow", "$all", "0")
        reader.recv_exactly(subscribed("large"))
        within(A_SECOND, lambda: stat(publisher, "subscriptions"), lambda found: found == 4 + many)

        for first in range(1, EVENTS, 10):
            publish_big(publisher, first, min(first + 10, EVENTS))
            expected = frames(first, min(first + 10, EVENTS))
            assert exchange(reader, b"", len(expected)) == expected
            if first == 61:
                before = memory(running)
        assert memory(running) - before < 10 * MIB      # while 18 MB went by for each

        expected = subscribed("large") + frames(1, EVENTS)
        assert exchange(stuck, b"", len(expected)) == expected
        expected = b">3\r\n$9\r\nsubscribe\r\n$5\r\nlarge\r\n:1\r\n" + frames(1, EVENTS, kind=">")
        assert exchange(stuck3, b"", len(expected)) == expected
        assert long.value() == [b"subscribed", b"$all"]
        for number in range(EVENTS):
            found = long.value()
            if found[0] == b"caught-up":
                assert found == [b"caught-up", b"$all", number]
                found = long.value()
            assert found[:6] == [b"recorded", number, b"large", number, b"x", data_of(number).encode()]


def test_who_reads_again_goes_on_live(server):
    running = server("--sync", "no")
    with Clients(running.port) as clients:
        publisher, stuck = clients.join(), clients.join()
        stuck.command("subscribe", "large")
        stuck.recv_exactly(subscribed("large"))
        number = 0
        for _ in range(3):
            publish_big(publisher, number, number + 100)
            expected = frames(number, number + 100)
            assert exchange(stuck, b"", len(expected)) == expected
            number += 100
            within(A_SECOND, lambda: stat(publisher, "blocked_outputs"), lambda found: found == 0)
            publish_big(publisher, number, number + 1)
            expected = frames(number, number + 1)
            assert exchange(stuck, b"", len(expected)) == expected
            number += 1


def test_unread_replays_keep_no_worker_from_others(server):
    running = server("--sync", "no", "--workers", "1")
    with Clients(running.port) as clients:
        publisher = clients.join()
        publish_big(publisher, 0, EVENTS)
        before = memory(running)
        for _ in range(20):
            clients.join().command("subscribe", "large:0", "$all:0")
        within(SECONDS, lambda: stat(publisher, "blocked_outputs"), lambda found: found == 20)
        expected = subscribed("large") + frames(0, EVENTS)
        assert exchange(clients.join(), resp.command("subscribe", "large:0"), len(expected)) == expected
        assert memory(running) - before < 20 * MIB      # 480 MB are owed


# -- who publishes and follows ------------------------------------------------

def test_a_publisher_on_a_connection_with_an_unread_replay_is_served(server):
    running = server("--sync", "always")
    with Clients(running.port) as clients:
        observer, client = clients.join(), clients.join()
        publish_big(observer, 0, EVENTS)
        client.command("subscribe", "large:0")
        within(SECONDS, lambda: stat(observer, "blocked_outputs"), lambda found: found == 1)
        for number in range(100):       # the replay stands still, but not this
            client.send(publish("small", f"{number}"))
        eventually(lambda: observer.ask("last-event-number", "small")[2] == 99, "the last publish")
        assert stat(observer, "blocked_outputs") == 1
        expected = subscribed("large") + frames(0, EVENTS)
        found = exchange(client, b"", len(expected) + len(OK) * 100)
        # Replies go between frames, not behind the replay.
        assert found.index(OK) < len(found) - 2 * BIG
        assert found.replace(OK, b"") == expected


# -- replies that nobody reads ------------------------------------------------

def test_eight_connections_with_50_unread_publishes_each_stop_nobody(server):
    running = server("--sync", "always")
    with Clients(running.port) as clients:
        stuck = [clients.join() for _ in range(8)]
        for client in stuck:
            client.send(publish("orders", "one") * 50)
        other = clients.join()
        for _ in range(50):
            assert other.ask("publish", "orders", "x", "two") == b"OK"
        for client in stuck:
            client.recv_exactly(OK * 50)
        assert other.ask("last-event-number", "orders") == [b"last-event-number", b"orders", 449]


def test_thousands_of_unread_publishes_stop_their_own_client_alone(server):
    running = server("--sync", "no", "--max-pending-output", "4K")
    with Clients(running.port) as clients:
        stuck, other = clients.join(), clients.join()
        count = 0
        request = publish("orders", "one")
        before = memory(running)
        rest = request * 2000
        while True:     # until the server reads no more of it
            sent = fill(stuck, rest)
            count += 2000
            rest = rest[sent:] + request * 2000
            if sent < 2000 * len(request) and stat(other, "blocked_outputs"):
                break
        assert memory(running) - before < 20 * MIB
        assert other.ask("publish", "orders", "x", "two") == b"OK"
        rest = rest[:-2000 * len(request)]
        assert exchange(stuck, rest, len(OK) * count) == OK * count
        assert other.ask("last-event-number", "orders") == [b"last-event-number", b"orders", count]


def test_large_requests_of_which_little_comes_cost_little_memory(server):
    running = server("--sync", "no")
    announced = resp.command("publish", "s", "x", bytes(60 * MIB))[:1000]
    with Clients(running.port) as clients:
        client = clients.join()
        publish_big(client, 0, 10)
        before = memory(running)
        for _ in range(300):
            clients.join().send(announced)
        within(SECONDS, lambda: client.ask("client", "list").splitlines(),
               lambda found: [b" qbuf=0 " in line for line in found] == [True] + [False] * 300)
        assert memory(running) - before < 300 * 20_000


def test_of_long_replies_that_nobody_reads_those_beyond_what_all_may_leave_are_dropped_with_their_clients(server):
    running = server("--sync", "no", "--max-unread", "64M")
    with Clients(running.port) as clients:
        observer = clients.join()
        publish_big(observer, 0, EVENTS)
        stuck = [clients.join() for _ in range(10)]
        for client in stuck:        # 24 MB each
            client.command("xrange", "large", "-", "+")
        within(SECONDS, lambda: observer.ask("info", "commandstats"), lambda text: b"cmdstat_xrange:calls=10," in text)
        within(SECONDS, lambda: stat(observer, "connected_clients"), lambda found: found <= 4)
        unread = re.findall(rb"omem=(\d+)", observer.ask("client", "list"))
        assert 0 < sum(map(int, unread)) <= 64 * MIB
        assert len(clients.join().ask("xrange", "large", "-", "+", "count", 100)) == 100
        assert stat(observer, "connected_clients") >= 3     # not all of them
    assert "it leaves the most unread" in running.log.read_text()


@pytest.mark.parametrize("request_", [
    resp.command("stream-names"), resp.command("command", "docs"), resp.command("config", "get", "*", "*")],
    ids=["slow command", "command docs", "run of alike"])
def test_large_replies_that_nobody_reads_cost_no_memory_and_come_when_they_are_read(server, request_):
    running = server("--sync", "no")
    with Clients(running.port) as clients:
        other, stuck = clients.join(), clients.join()
        names = [f"stream-{i:05}" for i in range(2000)]
        other.send(b"".join(publish(name, "one") for name in names))
        other.recv_exactly(OK * len(names))
        reply = exchange(other, request_, _size_of(other, request_))
        count = 16_000_000 // len(reply)
        requests = request_ * count
        before = memory(running)
        sent = fill(stuck, requests)
        within(SECONDS, lambda: stat(other, "blocked_outputs"), lambda found: found == 1)
        _wait_until_nothing_is_executed(other)
        assert memory(running) - before < 6 * MIB
        assert exchange(stuck, requests[sent:], len(reply) * count) == reply * count
        assert memory(running) - before < 6 * MIB


def _wait_until_nothing_is_executed(client):
    """Return when the server's turns bring nothing but what this client asks."""
    idle = 0
    before = stat(client, "total_commands_processed", "stats")
    while idle < 200:
        now = stat(client, "total_commands_processed", "stats")
        idle = idle + 1 if now == before + 1 else 0
        before = now


def _size_of(client, request):
    """How long the reply to a request is."""
    client.send(request + resp.command("echo", "the end"))
    end = resp.bulk(b"the end")
    found = b""
    while not found.endswith(end):
        found += client.sock.recv(MIB)
    return len(found) - len(end)


def test_a_pipeline_of_commands_that_take_time_keeps_nobody_waiting(server):
    running = server("--sync", "no")
    with Clients(running.port) as clients:
        busy, others = clients.join(), [clients.join() for _ in range(20)]
        for one in (busy, *others):
            one.ask("ping")
        count = 4000
        # All of it is there when the server looks, however slowly we send it.
        running.process.send_signal(signal.SIGSTOP)
        pipeline = resp.command("info") * count
        assert fill(busy, pipeline) == len(pipeline)
        for one in others:
            one.send(resp.command("info", "stats"))
        running.process.send_signal(signal.SIGCONT)
        executed = [_total_in(one.sock.makefile("rb")) for one in others]
        assert max(executed) < count // 2      # they were served while most of the pipeline was still to be executed


def _total_in(replies):
    """How many commands had been executed, by the reply to INFO that comes next."""
    with replies:
        text = replies.read(int(replies.readline()[1:]))
    return int(text.split(b"total_commands_processed:", 1)[1].split(b"\r\n", 1)[0])


# -- who has said all ---------------------------------------------------------

def test_what_was_received_before_the_end_of_input_is_answered(server):
    running = server("--sync", "always")
    with Clients(running.port) as clients:
        client = clients.join()
        rounds = 50
        data = (publish("orders", "x" * 1000) * 20 + resp.command("ping")) * rounds     # more than one read takes
        expected = (OK * 20 + b"+PONG\r\n") * rounds
        reader = threading.Thread(target=client.recv_exactly, args=(expected,))
        reader.start()
        client.send(data)
        client.end_output()
        reader.join()
        client.recv_end()
        assert clients.join().ask("last-event-number", "orders")[2] == 20 * rounds - 1


def test_a_replay_is_sent_to_its_end_after_the_end_of_input(server):
    running = server("--sync", "no")
    with Clients(running.port) as clients:
        publish_big(clients.join(), 0, EVENTS)
        client = clients.join()
        client.command("subscribe", "large:0")
        client.end_output()
        expected = subscribed("large") + frames(0, EVENTS)
        assert exchange(client, b"", len(expected)) == expected
        client.recv_end()


# -- order --------------------------------------------------------------------

def test_slow_commands_and_publishes_of_a_connection_are_answered_in_their_order(tmp_path):
    disk = SlowDisk()
    with Serving(tmp_path / "db", "always", disk) as serving:
        client = serving.connect()
        asked = [publish("a", "1"), resp.command("stream-names"), publish("b", "1"), publish("a", "2"),
                 resp.command("subscribe", "c:0:1"), resp.command("last-event-number", "a"),
                 publish("b", "2"), resp.command("stream-names")]
        answers = [OK, resp.array([b"+stream-names\r\n", b"+a\r\n"]), OK, OK, subscribed("c"),
                   last_number("a", 1), OK, resp.array([b"+stream-names\r\n", b"+a\r\n", b"+b\r\n"])]
        for request in asked:       # in as many reads
            client.send(request)
        client.recv_exactly(b"".join(answers))


def test_publishes_in_two_batches_let_the_slow_command_behind_them_end_before_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr("server.committer.SLOW_COMMIT", 0)      # the disk is known to be slow
    disk = SlowDisk()
    with Serving(tmp_path / "db", "always", disk) as serving:
        client, other = serving.connect(), serving.connect()
        for _ in range(100):
            disk.waiting.clear()
            disk.gate.clear()
            client.send(publish("a", "1"))
            assert disk.waiting.wait(SECONDS)
            client.send(publish("a", "2") + resp.command("stream-names") + resp.command("ping"))
            # Received, when what another sent afterwards is answered.
            other.ask("ping")
            disk.gate.set()
            client.recv_exactly(OK * 2 + resp.array([b"+stream-names\r\n", b"+a\r\n"]) + b"+PONG\r\n")
