"""Eleven things that MeiliES 0.2.0 gets wrong, each shown to be right here by the whole server."""

import os
import signal

import pytest
from conftest import SECONDS
from serving import (OK, CountingDisk, Serving, SlowDisk, event, eventually, last_number, publish, subscribed,
                     unsubscribed)

import resp
from meilies_client import Client, PublishInterrupted


def fill(peer, stream, count, first=0):
    """Publish the numbers from `first` on, as data."""
    peer.send(b"".join(publish(stream, str(i)) for i in range(first, first + count)))
    peer.recv_exactly(OK * count)


def events(stream, first, stop):
    return b"".join(event(stream, i, "x", str(i)) for i in range(first, stop))


def test_fault_1_a_subscription_gets_every_event_from_its_number_on_and_then_live_ones(server, connect):
    port = server().port
    publisher, follower = connect(port), connect(port)
    fill(publisher, "s", 5)
    follower.command("subscribe", "s:2")
    follower.recv_exactly(subscribed("s") + events("s", 2, 5))
    fill(publisher, "s", 2, first=5)
    follower.recv_exactly(events("s", 5, 7))


def test_fault_2_a_payload_with_crlf_is_stored_whole_and_is_no_request(server, connect):
    peer = connect(server().port)
    data = "a\r\n*1\r\n$4\r\nping\r\n\r\nb\r\n"
    peer.send(publish("s", data))
    peer.recv_exactly(OK)
    peer.command("subscribe", "s:0:1")
    peer.recv_exactly(subscribed("s") + event("s", 0, "x", data))
    peer.recv_nothing()


def test_fault_3_many_pipelines_whose_replies_nobody_reads_stop_nobody(server, connect):
    port = server().port
    greedy = [connect(port) for _ in range(8)]
    for i, peer in enumerate(greedy):
        peer.send(b"".join(publish(f"s{i}", str(n)) for n in range(50)))
    other = connect(port)
    fill(other, "other", 1)
    for i, peer in enumerate(greedy):
        peer.recv_exactly(OK * 50)
        peer.command("last-event-number", f"s{i}")
        peer.recv_exactly(last_number(f"s{i}", 49))


def test_fault_4_a_pipeline_shares_its_writes_and_syncs(tmp_path):
    count = 20_000
    disk = CountingDisk()
    with Serving(tmp_path / "db", sync="always", files=disk) as serving:
        before = disk.syncs
        serving.connect().send(b"".join(publish("s", str(i)) for i in range(count)))
        eventually(lambda: serving.store.position == count, "all of them stored")
        assert 0 < disk.syncs - before < count / 10


def test_fault_5_subscriptions_cost_no_threads_and_end_with_their_client(server, connect):
    running = server()
    watcher = connect(running.port)
    fill(watcher, "s", 1)

    def threads():
        return len(os.listdir(f"/proc/{running.process.pid}/task"))

    def clients():
        watcher.command("info", "clients")
        text = watcher.sock.recv(4096).decode()
        return dict(line.split(":") for line in text.split("\r\n") if line.count(":") == 1)

    before = threads()
    peers = [connect(running.port) for _ in range(10)]
    names = [f"s{i}" for i in range(100)]
    for peer in peers:
        peer.command("subscribe", *names)
        peer.recv_exactly(b"".join(map(subscribed, names)))
    assert clients()["subscriptions"] == "1000"
    assert threads() - before <= 100        # a stream's that has many followers, no client's
    for peer in peers:
        peer.close()
    eventually(lambda: clients()["subscriptions"] == "0", "the subscriptions' end")
    eventually(lambda: threads() == before, "the threads' end")
    assert clients()["feeds"] == "0"


def test_fault_6_all_has_streams_created_later_in_order_and_other_arguments_count(server, connect):
    port = server().port
    publisher, follower = connect(port), connect(port)
    fill(publisher, "old", 1)
    follower.command("subscribe", "$all:0", "other")
    follower.recv_exactly(subscribed("$all") + event("old", 0, "x", "0") + subscribed("other"))
    for stream in "later", "old", "latest":
        publisher.send(publish(stream, "data"))
    publisher.recv_exactly(OK * 3)
    follower.recv_exactly(event("later", 0, "x", "data") + event("old", 1, "x", "data")
                          + event("latest", 0, "x", "data"))
    follower.command("unsubscribe", "$all")
    follower.recv_exactly(unsubscribed("$all"))
    fill(publisher, "other", 1)
    follower.recv_exactly(event("other", 0, "x", "0"))


@pytest.mark.parametrize("sync", ["always", "everysec"])
def test_fault_7_nothing_is_missed_between_replay_and_live_events(server, connect, sync):
    port = server("--sync", sync).port
    publisher = connect(port)
    followers = []
    published = 0
    for _ in range(20):
        publisher.send(b"".join(publish("s", str(i)) for i in range(published, published + 100)))
        published += 100
        followers.append(connect(port))
        followers[-1].command("subscribe", "s:0")       # while that is being stored
    publisher.recv_exactly(OK * published)
    for follower in followers:
        follower.recv_exactly(subscribed("s") + events("s", 0, published))
        follower.recv_nothing()


def test_fault_8_ok_is_said_when_the_event_is_on_disk_and_not_before(tmp_path, monkeypatch):
    monkeypatch.setattr("server.committer.SLOW_COMMIT", 0)      # the disk is known to be slow
    disk = SlowDisk()
    with Serving(tmp_path / "db", sync="always", files=disk) as serving:
        publisher, reader = serving.connect(), serving.connect()
        disk.gate.clear()
        publisher.send(publish("s", "data"))
        assert disk.waiting.wait(SECONDS)
        reader.command("last-event-number", "s")
        reader.recv_exactly(last_number("s", None))
        publisher.sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            publisher.sock.recv(1)
        publisher.sock.settimeout(SECONDS)
        disk.gate.set()
        publisher.recv_exactly(OK)
        reader.command("last-event-number", "s")
        reader.recv_exactly(last_number("s", 0))


def test_fault_8_what_was_answered_survives_a_kill_without_a_hole(server, connect):
    running = server()
    peer = connect(running.port)
    fill(peer, "s", 1000)
    peer.send(b"".join(publish("s", str(i)) for i in range(1000, 3000)))       # whose replies aren't awaited
    running.kill()
    peer = connect(server().port)
    peer.command("subscribe", "s:0:1000")
    peer.recv_exactly(subscribed("s") + events("s", 0, 1000))
    peer.send(publish("s", "mine"))
    peer.recv_exactly(OK)
    peer.command("last-event-number", "s")
    number = int(peer.sock.recv(100).rsplit(b":", 1)[1])
    assert 1000 <= number <= 3000
    peer.command("subscribe", "s:1000")
    peer.recv_exactly(subscribed("s") + events("s", 1000, number) + event("s", number, "x", "mine"))


def test_fault_9_a_bad_request_is_answered_and_the_next_one_served(server, connect):
    peer = connect(server().port)
    for bad in resp.command("nope"), resp.command("publish", "s"), b"*0\r\n", resp.command("subscribe", "a:b"):
        peer.send(bad + publish("s", "data"))
        answer = b""
        while not answer.endswith(OK):
            answer += peer.sock.recv(4096)
        assert answer.startswith(b"-ERR ") and answer.count(b"\r\n") == 2


def test_fault_9_a_request_that_claims_to_be_huge_costs_nothing_but_its_connection(server, connect):
    running = server()
    other = connect(running.port)
    for claim in b"*1000000000\r\n", b"*1\r\n$1000000000000\r\n", b"*2\r\n*1000000000\r\n":
        peer = connect(running.port)
        peer.send(claim)
        assert peer.sock.recv(4096).startswith(b"-ERR Protocol error")
        peer.recv_end()
    other.recv_nothing()


def test_fault_10_reading_makes_no_stream_and_subscribing_twice_delivers_once(server, connect):
    port = server().port
    peer, publisher = connect(port), connect(port)
    peer.command("last-event-number", "fresh")
    peer.recv_exactly(last_number("fresh", None))
    peer.command("subscribe", "fresh", "fresh:0")
    peer.recv_exactly(subscribed("fresh") * 2)
    peer.command("stream-names")
    peer.recv_exactly(b"*1\r\n+stream-names\r\n")
    peer.command("subscribe", "fresh")
    peer.recv_exactly(subscribed("fresh"))
    fill(publisher, "fresh", 1)
    peer.recv_exactly(event("fresh", 0, "x", "0"))
    peer.recv_nothing()


def test_fault_11_a_client_loses_nothing_of_an_outage_and_is_told_of_a_lost_publish(server):
    running = server()
    with Client(port=running.port, timeout=0.5) as client, Client(port=running.port, delay=0.01) as other:
        client.publish("other", "x")
        with other.subscribe("s", timeout=SECONDS) as subscription:     # without FROM
            running.process.send_signal(signal.SIGSTOP)
            with pytest.raises(PublishInterrupted):
                client.publish("other", "x", b"in flight")
            running.kill()
            running = server("--port", str(running.port))
            with Client(port=running.port) as third:
                for i in range(3):
                    third.publish("s", "x", b"%d" % i)
            assert [next(subscription).data for _ in range(3)] == [b"0", b"1", b"2"]
