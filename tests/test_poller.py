"""The loop that serves all connections: limits, order, those who leave, and those who send rubbish."""

import errno
import gc
import logging
import math
import os
import random
import select
import socket
import struct
import sysconfig
import threading
import time
import weakref
from types import SimpleNamespace

import pytest
from conftest import SECONDS
from serving import OK, Client, Serving, SlowDisk, event, eventually, publish, subscribed
from usage import fill

import resp
from server import poller
from server.chunk import Form
from server.follower import Follower
from server.poller import Poller
from server.users import EVERYTHING

PING = resp.command("ping")
PONG = b"+PONG\r\n"

# Bytes, more than both ends of a connection hold for one that doesn't read.
TOO_MUCH = 10 << 20


def read_all(sock):
    """All bytes up to the end of input."""
    parts = []
    while True:
        data = sock.recv(1 << 20)
        if not data:
            return b"".join(parts)
        parts.append(data)


def send_in_background(client, data):
    """Send more than the buffers hold; join the thread that is returned when all was read."""
    thread = threading.Thread(target=client.send, args=(data,))
    thread.start()
    return thread


def test_publishes_that_come_alone_keep_their_order_with_all_else_that_a_client_asks(serving, monkeypatch):
    taken = []
    take_again = resp.Requests.take_again
    monkeypatch.setattr(resp.Requests, "take_again",
                        lambda requests, data: taken.append(take_again(requests, data)) or taken[-1])
    chosen = random.Random(5)
    clients = [serving.connect() for _ in range(3)]
    expected = {f"s{i}": [] for i in range(3)}
    for step in range(300):
        turn = chosen.sample(range(3), chosen.randint(1, 3))
        replies = {}
        for i in turn:
            asked, replies[i] = b"", b""
            for _ in range(chosen.choice((1, 1, 1, 2))):
                if chosen.random() < 0.8:
                    data = f"{step:04d}" if chosen.random() < 0.8 else "longer or not"
                    expected[f"s{i}"].append(data.encode())
                    asked, replies[i] = asked + publish(f"s{i}", data), replies[i] + OK
                else:
                    asked, replies[i] = asked + PING, replies[i] + PONG
            cut = chosen.choice((0, 0, 0, len(asked) // 2, len(asked) - 1))
            for piece in (asked[:cut], asked[cut:]):
                clients[i].send(piece)
        for i in turn:
            clients[i].recv_exactly(replies[i])
    for stream, datas in expected.items():
        assert [one.data for one in serving.store.read(stream)] == datas
    assert serving.poller.published == serving.store.position == sum(map(len, expected.values()))
    assert len(list(filter(None, taken))) > 50


# -- what gathers for followers -------------------------------------------------

@pytest.fixture
def busy(monkeypatch):
    """A poller that has no time for followers while it needn't take it."""
    monkeypatch.setattr(Poller, "_deliver", lambda poller: None)


def test_what_was_answered_before_a_command_is_delivered_before_that_is_answered(busy, serving):
    follower, publisher = serving.connect(), serving.connect()
    follower.send(resp.command("subscribe", "s"))
    follower.recv_exactly(subscribed("s"))
    for i in range(3):
        publisher.send(publish("s", str(i)))
        publisher.recv_exactly(OK)
    assert serving.poller.feeds.due
    follower.send(PING)
    follower.recv_exactly(event("s", 0, "x", "0") + event("s", 1, "x", "1") + event("s", 2, "x", "2") + PONG)


def test_who_follows_and_sends_no_more_gets_what_it_published_itself(busy, serving):
    client = serving.connect()
    client.send(resp.command("subscribe", "s") + publish("s", "d"))
    client.end_output()
    assert read_all(client.sock) == subscribed("s") + OK + event("s", 0, "x", "d")


def test_a_server_that_stops_delivers_what_it_answered(busy, serving):
    follower, publisher = serving.connect(), serving.connect()
    follower.send(resp.command("subscribe", "s"))
    follower.recv_exactly(subscribed("s"))
    publisher.send(publish("s", "d"))
    publisher.recv_exactly(OK)
    serving.stop()
    assert read_all(follower.sock) == event("s", 0, "x", "d")


@pytest.mark.parametrize("took, stopping, until", [
    (0.04, False, 100.02), (0.0, False, 100 + poller._MOMENT), (0.04, True, math.inf)])
def test_followers_get_half_as_much_time_as_the_turn_took_or_a_moment_or_all_before_the_end(monkeypatch, took, stopping,
                                                                                            until):
    monkeypatch.setattr(poller.time, "monotonic", lambda: 100.0)
    given = []
    busy = SimpleNamespace(feeds=SimpleNamespace(deliver=given.append), _now=100.0 - took, _stopping=stopping)
    Poller._deliver(busy)
    assert given == [pytest.approx(until)]


def test_while_publishers_keep_it_busy_followers_get_all_in_order(serving):
    streams = [f"s{i:03d}" for i in range(100)]
    followers = [serving.connect() for _ in streams]
    for stream, follower in zip(streams, followers):
        follower.send(resp.command("subscribe", stream))
        follower.recv_exactly(subscribed(stream))
    publisher = serving.connect()
    rounds = 50
    sender = send_in_background(publisher, b"".join([publish(stream, str(i)) for i in range(rounds)
                                                     for stream in streams]))
    publisher.recv_exactly(OK * rounds * len(streams))
    sender.join()
    for stream, follower in zip(streams, followers):
        follower.recv_exactly(b"".join([event(stream, i, "x", str(i)) for i in range(rounds)]))


# -- clients that have sent all that they will --------------------------------

@pytest.mark.parametrize("sync", ["always", "no"])
def test_what_came_before_the_end_of_input_is_done_and_answered_before_it_closes(tmp_path, sync):
    with Serving(tmp_path / "db", sync=sync) as serving:
        client = serving.connect()
        client.send(publish("s", "d") * 3 + resp.command("stream-names") + PING)
        client.end_output()
        assert read_all(client.sock) == OK * 3 + b"*2\r\n+stream-names\r\n+s\r\n" + PONG


def test_a_pipeline_longer_than_one_receive_is_answered_whole_before_it_closes(serving):
    serving.store.append("s", "x", b"d")
    client = serving.connect()
    request = resp.command("stream-names") + PING * 100
    reply = b"*2\r\n+stream-names\r\n+s\r\n" + PONG * 100
    count = 500         # 0.8 MB

    def send():
        client.send(request * count)
        client.end_output()

    thread = threading.Thread(target=send)
    thread.start()
    found = read_all(client.sock)
    thread.join()
    assert found == reply * count


def test_the_end_of_input_inside_a_request_drops_that_request_alone(serving):
    client = serving.connect()
    client.send(publish("s", "whole") + publish("s", "cut short")[:-4])
    client.end_output()
    assert read_all(client.sock) == OK
    assert serving.store.last_number("s") == 0


def test_a_replay_that_was_asked_for_before_the_end_of_input_is_sent_whole(serving):
    data = b"x" * 1000
    serving.store.append_many("s", [("x", data)] * 5000)
    expected = subscribed("s") + b"".join(event("s", i, "x", data.decode()) for i in range(5000))
    for first in b"s:0", b"s:0:5000":
        client = serving.connect()
        client.send(resp.command("subscribe", first))
        client.end_output()
        assert read_all(client.sock) == expected


def test_the_last_step_of_a_replay_comes_before_the_end_that_was_asked_for(serving):
    data = "x" * 1000
    serving.store.append_many("s", [("x", data.encode())] * 900)       # a slice, and a rest that is near the end
    client = serving.connect()
    poller, connection = serving.poller, serving.connection_of(client)
    due = []
    poller.feeds._soon = due.append
    client.command("subscribe", "s:0")
    eventually(lambda: due and not connection.working and not connection._catching_up)

    def end_input():
        poller.call_soon(due[0])
        connection.end_input()
        poller._settle(connection)

    poller.call_soon(end_input)
    assert read_all(client.sock) == subscribed("s") + b"".join(event("s", i, "x", data) for i in range(900))


def test_a_replay_that_fails_ends_its_connection_and_is_logged(serving, monkeypatch, caplog):
    def broken(*arguments):
        raise KeyError("a bug")

    serving.store.append_many("s", [("x", bytes(1000))] * 900)
    for name in "records", "frames":
        monkeypatch.setattr(serving.store, name, broken)
    client, other = serving.connect(), serving.connect()
    serving.connection_of(client).catch_up(follower_of(serving, client, "s"))
    assert read_all(client.sock) == b""
    other.recv_nothing()
    assert [r.getMessage() for r in caplog.records] == [
        "serving the followers of b's' failed; each reads the log by itself",
        "a replay for client 1 failed; it is cut off"]


def follower_of(serving, client, stream):
    """A follower of `stream` from its first event on that was subscribed, and is about to catch up."""
    connection = serving.connection_of(client)
    follower = Follower(connection, ("stream", stream.encode()), 1 << 64, Form(False, False))
    connection.follow(follower)
    serving.poller.feeds.add(follower, stream.encode(), 0)
    return follower


def test_who_closes_is_forgotten_at_once_with_all_subscriptions(serving):
    clients = [serving.connect() for _ in range(3)]
    for client in clients:
        client.command("subscribe", "a", "b", "$all")
        client.recv_exactly(subscribed("a") + subscribed("b") + subscribed("$all"))
    assert len(serving.poller.feeds) == 3
    clients[0].close()
    clients[1].sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    clients[1].close()          # with a reset
    clients[2].end_output()
    eventually(lambda: not len(serving.poller.feeds), "the subscriptions' end")
    assert not serving.poller.connections


@pytest.mark.parametrize("asked", [
    b"", PING, publish("s", "x" * 100_000)[:50_000], b"*1\r\n$-2\r\n", resp.command("stream-names"),
    resp.command("subscribe", "s", "t:0", "$all"), resp.command("hello", "3") + resp.command("subscribe", "s:0"),
    resp.command("echo", "x" * 100_000) * 100,
], ids=["nothing", "a ping", "half a request", "rubbish", "a slow command", "to follow", "a replay", "what isn't read"])
@pytest.mark.skipif(sysconfig.get_config_var("Py_GIL_DISABLED"),
                    reason="without the interpreter lock, what several threads knew waits for the collector")
def test_all_that_a_client_had_goes_with_it_and_waits_for_no_garbage_collector(serving, asked):
    """It may be 64 MiB for each, and the collector counts objects, not bytes."""
    first = serving.connect()
    for _ in range(100):
        assert first.ask("publish", "s", "n", "x" * 10_000) == b"OK"
    client = serving.connect()
    client.recv_nothing()
    left = weakref.ref(serving.connection_of(client))
    gc.disable()
    try:
        fill(client, asked)
        client.close()
        first.recv_nothing()
        eventually(lambda: left() is None, "the end of its connection")
    finally:
        gc.enable()


def test_a_client_whose_machine_is_gone_is_noticed_in_minutes(serving):
    """Its idle connection would stay for ever otherwise: no end of it ever comes."""
    sock = serving.connection_of(serving.connect()).socket
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    idle, interval, count = (sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, option))
                             for option in ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT"))
    assert idle + interval * count < 600


def test_publishes_of_who_leaves_without_reading_are_stored_and_harm_nobody(tmp_path):
    disk = SlowDisk()
    with Serving(tmp_path / "db", sync="always", files=disk) as serving:
        client, other = serving.connect(), serving.connect()
        disk.gate.clear()
        client.send(publish("s", "d") * 100 + PING)
        assert disk.waiting.wait(SECONDS)
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        disk.gate.set()
        other.send(publish("s", "d"))
        other.recv_exactly(OK)
        eventually(lambda: len(serving.poller.connections) == 1, "the end of the one that left")
        assert serving.store.last_number("s") == 100


# -- limits -------------------------------------------------------------------

def test_arguments_of_a_request_have_a_limit_which_is_allowed(tmp_path):
    with Serving(tmp_path / "db", max_arguments=10) as serving:
        client = serving.connect()
        names = [f"s{i}" for i in range(9)]
        client.command("subscribe", *names)
        client.recv_exactly(b"".join(map(subscribed, names)))
        client.send(resp.command("subscribe", *names, "one more"))
        text = read_all(client.sock)
        assert text.startswith(b"-ERR Protocol error") and b"found 11 elements" in text


def test_the_size_of_a_request_has_a_limit_which_is_allowed(tmp_path):
    head = len(resp.command("echo", "x" * 1000)) - 1000
    with Serving(tmp_path / "db", max_request_size=2000) as serving:
        client = serving.connect()
        fitting = "x" * (2000 - head)
        assert client.ask("echo", fitting) == fitting.encode()
        client.send(resp.command("echo", fitting + "x"))
        assert read_all(client.sock).startswith(b"-ERR Protocol error at byte ")


def test_long_requests_in_pieces_are_executed_as_short_ones_are(serving):
    client, other = serving.connect(), serving.connect()
    datas = ["%d" % size * size for size in (3, 70_000, 300_000, 1_000_000, 2)]
    request = b"".join(publish("s", data) for data in datas) + resp.command("echo", datas[2])
    thread = send_in_background(client, request[:-5])
    assert client.recv_count(len(OK) * len(datas)) == OK * len(datas)
    thread.join()
    eventually(lambda: serving.connection_of(client).unread > 250_000)
    other.recv_nothing()
    client.send(request[-5:])
    assert client.value() == datas[2].encode()
    client.send(resp.command("subscribe", "s:0"))
    expected = subscribed("s") + b"".join(event("s", i, "x", data) for i, data in enumerate(datas))
    assert client.recv_count(len(expected)) == expected


def test_a_long_event_reaches_a_follower_as_it_is_in_the_log(serving):
    client, follower = serving.connect(), serving.connect()
    follower.command("subscribe", "s", "$all")
    follower.recv_exactly(subscribed("s") + subscribed("$all"))
    client.send(publish("s", "x" * 500_000))
    client.recv_exactly(OK)
    expected = event("s", 0, "x", "x" * 500_000)
    assert follower.recv_count(2 * len(expected)) == expected * 2


def test_an_event_over_its_limit_is_refused_and_the_next_long_one_is_stored(tmp_path):
    with Serving(tmp_path / "db", max_event_size=500_000) as serving:
        client = serving.connect()
        send_in_background(client, publish("s", "x" * 600_000) + publish("s", "y" * 500_000)).join()
        assert client.value().args == ("ERR data of 600000 bytes, expected no more than 500000",)
        assert client.value() == b"OK"
        assert client.ask("last-event-number", "s")[2] == 0


def test_connections_past_the_limit_are_turned_away_with_an_error_until_one_leaves(tmp_path, caplog):
    with Serving(tmp_path / "db", max_connections=2) as serving:
        first, second = serving.connect(), serving.connect()
        assert first.ask("ping") == second.ask("ping") == b"PONG"
        for _ in range(3):
            assert read_all(serving.connect().sock) == b"-ERR max number of clients reached\r\n"
        assert b"rejected_connections:3\r\n" in first.ask("info", "stats")
        assert [r.getMessage() for r in caplog.records] == ["more than 2 connections; some are turned away"]
        second.close()
        eventually(lambda: len(serving.poller.connections) == 1)
        assert serving.connect().ask("ping") == b"PONG"


def test_a_pipeline_to_many_streams_is_stored_and_answered_in_its_order(serving):
    chance = random.Random(5)
    events = [(b"s%d" % chance.randrange(40), chance.choice([b"made", b"sent"]), bytes(chance.randrange(1200)))
              for _ in range(500)]
    requests = [resp.command("publish", *event) for event in events]
    replies = [OK] * len(events)
    for at, request, reply in [
            (400, resp.command("publish", "a:b", "x", "d"), b"-ERR a stream name has no ':', found 'a:b'\r\n"),
            (300, resp.command("ping"), b"+PONG\r\n"),
            (3, b"*0\r\n", b"-ERR a request without a command\r\n")]:
        requests.insert(at, request)
        replies.insert(at, reply)
    client = serving.connect()
    client.send(b"".join(requests))
    client.recv_exactly(b"".join(replies))
    stored = [(one.stream.encode(), one.name.encode(), one.data) for one in serving.store.read_all(limit=1000)]
    assert stored == events
    eventually(lambda: serving.poller.published == len(events))


def test_long_names_are_as_good_as_short_ones(serving):
    client = serving.connect()
    client.send(publish("s" * 300, "d") * 3 + publish("s", "d"))
    client.recv_exactly(OK * 4)
    assert serving.store.last_number("s" * 300) == 2


@pytest.mark.parametrize("arguments", [["command", "docs", "xadd"], ["config", "get", "*", "*"], ["echo", "x" * 1000]])
def test_who_does_not_read_replies_is_not_answered_on_and_costs_no_more_memory(tmp_path, arguments):
    with Serving(tmp_path / "db", max_pending_output=64 * 1024) as serving:
        client, other = serving.connect(), serving.connect()
        client.command(*arguments)
        reply = client.sock.recv(1 << 16)
        count = TOO_MUCH // len(reply)
        thread = send_in_background(client, resp.command(*arguments) * count)
        connection = serving.connection_of(client)
        eventually(lambda: connection.outbox.blocked and is_still(connection.outbox), "the end of sending")
        assert not connection.wants_input
        assert idle_cpu() < 0.1
        assert connection.outbox.size < 64 * 1024 + 2 * len(reply)
        other.recv_nothing()
        assert client.recv_count(count * len(reply)) == reply * count
        thread.join()
        client.recv_nothing()


def is_still(outbox):
    """Whether nothing is sent for a while."""
    before = outbox.sent
    select.select([], [], [], 0.1)
    return outbox.sent == before


def idle_cpu():
    """Seconds of CPU that other threads take while this one does nothing for a while."""
    before = time.process_time() - time.thread_time()
    select.select([], [], [], 0.2)
    return time.process_time() - time.thread_time() - before


def test_one_long_pipeline_does_not_keep_the_others_waiting(serving):
    client, other = serving.connect(), serving.connect()
    count = 20_000
    thread = send_in_background(client, resp.command("echo", "x") * count)
    reader = threading.Thread(target=client.recv_count, args=(count * len(resp.bulk(b"x")),))
    reader.start()
    for _ in range(10):
        other.recv_nothing()
    thread.join()
    reader.join()
    client.recv_nothing()


# -- rubbish ------------------------------------------------------------------

RUBBISH = {
    "an HTTP request": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a TLS hello": bytes.fromhex("16030100c8010000c40303") + bytes(range(200)),
    "an SSH banner": b"SSH-2.0-OpenSSH_9.2\r\n",
    "an inline command": b"PING\r\n",
    "a huge array": b"*1000000000\r\n",
    "a longer number than there is": b"*" + b"9" * 1000 + b"\r\n",
    "a huge string": b"*1\r\n$1000000000000\r\n",
    "a negative string": b"*1\r\n$-2\r\n",
    "a negative array": b"*-2\r\n",
    "a number with a sign": b"*+1\r\n",
    "a number with spaces": b"* 1\r\n",
    "no number": b"*\r\n",
    "a bulk string without its end": b"*1\r\n$4\r\npingXX",
    "arrays in arrays": b"*1\r\n" * 100,
    "zeros": bytes(1000),
    "0xff": b"\xff" * 1000,
    "a line without an end": b"*1\r\n+" + b"x" * 100_000,
}
WHOLE_RUBBISH = {
    "a simple string": b"+hello\r\n",
    "an error": b"-hello\r\n",
    "an integer": b":5\r\n",
    "a null array": b"*-1\r\n",
    "a null": b"$-1\r\n",
    "an empty array": b"*0\r\n",
    "an integer as argument": b"*2\r\n$4\r\nping\r\n:1\r\n",
    "a null as argument": b"*1\r\n$-1\r\n",
    "an array as argument": b"*1\r\n*1\r\n$4\r\nping\r\n",
    "an empty name": b"*1\r\n$0\r\n\r\n",
    "a map": b"%1\r\n+a\r\n+b\r\n",
    "a push": b">1\r\n$4\r\nping\r\n",
}


@pytest.mark.parametrize("rubbish", RUBBISH.values(), ids=RUBBISH)
def test_bytes_that_are_not_resp_end_their_connection_with_an_error_that_says_where(serving, rubbish):
    client, other = serving.connect(), serving.connect()
    client.send(publish("s", "before") + rubbish)
    text = read_up_to_reset(client.sock)
    assert text.startswith(OK + b"-ERR Protocol error at byte ")
    assert text.endswith(b"\r\n") and text.count(b"\r\n") == 2 and len(text) < 300
    other.recv_nothing()
    assert serving.store.last_number("s") == 0


def read_up_to_reset(sock):
    """What came before the end, which is a reset if the server left bytes unread."""
    found = b""
    try:
        while True:
            data = sock.recv(4096)
            if not data:
                return found
            found += data
    except ConnectionResetError:
        return found


@pytest.mark.parametrize("rubbish", WHOLE_RUBBISH.values(), ids=WHOLE_RUBBISH)
def test_resp_that_is_no_command_is_an_error_and_the_connection_goes_on(serving, rubbish):
    client = serving.connect()
    client.send(rubbish * 3 + publish("s", "behind"))
    for _ in range(3):
        answer = client.value()
        assert isinstance(answer, resp.ErrorReply) and answer.code == "ERR"
    assert client.value() == b"OK"


def test_random_bytes_harm_nobody_else(serving):
    chance = random.Random(1)
    other = serving.connect()
    pieces = [PING, publish("s", "x"), b"*3\r\n", b"$5\r\n", b"\r\n", b"*1\r\n", resp.command("subscribe", "s:0")]
    for _ in range(150):
        client = serving.connect()
        client.send(b"".join(chance.choice([*pieces, chance.randbytes(chance.randrange(20))]) for _ in range(20)))
        client.close()
        other.recv_nothing()
    eventually(lambda: len(serving.poller.connections) == 1, "the end of the others")


# -- accepting ----------------------------------------------------------------

class FailingListener:
    """A listening socket whose next `accept` calls raise what they are told to."""

    def __init__(self, sock):
        self._sock = sock
        self.errors = []
        self.accepts = 0

    def accept(self):
        self.accepts += 1
        if self.errors:
            raise self.errors.pop(0)
        return self._sock.accept()

    def __getattr__(self, name):
        return getattr(self._sock, name)


@pytest.fixture
def listener(serving):
    [(fd, sock)] = serving.poller._listeners.items()
    serving.poller._listeners[fd] = failing = FailingListener(sock)
    return failing


def test_too_many_open_files_delay_accepting_and_do_not_spin(serving, listener, caplog):
    listener.errors = [OSError(errno.EMFILE, "Too many open files")] * 3
    began = time.monotonic()
    client = serving.connect()
    assert client.ask("ping") == b"PONG"
    assert time.monotonic() - began > 0.25          # three pauses
    assert listener.accepts <= 6
    assert [r.getMessage() for r in caplog.records] == \
        ["no connection can be accepted (Too many open files); trying again in 0.1 s"] * 3


def test_those_already_there_are_served_while_no_connection_can_be_accepted(serving, listener):
    client = serving.connect()
    assert client.ask("ping") == b"PONG"
    listener.errors = [OSError(errno.ENFILE, "Too many open files in system")]
    late = Client("127.0.0.1", serving.port)
    for _ in range(20):
        client.recv_nothing()
    late.recv_nothing()
    late.close()


def test_a_connection_that_is_gone_before_it_is_accepted_is_passed_over(serving, listener):
    listener.errors = [ConnectionAbortedError(errno.ECONNABORTED, "gone")]
    assert serving.connect().ask("ping") == b"PONG"


# -- adopted connections --------------------------------------------------------

@pytest.fixture
def pair():
    """Two ends of a connection that nobody accepted."""
    ours, theirs = socket.socketpair()
    ours.settimeout(SECONDS)
    with ours, theirs:
        yield ours, theirs


def test_an_adopted_socket_is_served_as_one_that_was_accepted(serving, pair):
    ours, theirs = pair
    ada = EVERYTHING._replace(name="ada")
    serving.poller.adopt(theirs, "console", user=ada)
    ours.sendall(publish("s", "data") + resp.command("client", "info"))
    assert ours.recv(len(OK)) == OK
    assert b" addr=console " in ours.recv(4096)
    [connection] = serving.poller.connections.copy().values()
    assert connection.user is ada
    ours.close()
    eventually(lambda: not serving.poller.connections, "the end of the connection")


def test_an_adopted_socket_counts_as_a_connection(tmp_path, pair):
    ours, theirs = pair
    with Serving(tmp_path / "db", max_connections=1) as serving:
        serving.connect().recv_nothing()
        serving.poller.adopt(theirs, "console")
        assert read_all(ours) == b"-ERR max number of clients reached\r\n"


def test_a_socket_that_a_stopped_server_is_to_adopt_is_closed(serving, pair):
    ours, theirs = pair
    serving.stop()
    serving.poller.adopt(theirs, "console")
    assert ours.recv(1) == b""


def test_a_socket_that_a_stopping_server_is_to_adopt_is_closed(serving, pair):
    ours, theirs = pair
    serving.poller.call_soon(lambda: (serving.poller.stop(), serving.poller.adopt(theirs, "console")))
    assert ours.recv(1) == b""


def test_a_connection_is_named_by_its_address(tmp_path):
    """IPv4, IPv6 and UNIX sockets are one to the loop."""
    shown = []
    for family, address in [(socket.AF_INET, ("127.0.0.1", 0)), (socket.AF_INET6, ("::1", 0)),
                            (socket.AF_UNIX, str(tmp_path / "socket"))]:
        with Serving(tmp_path / f"db{len(shown)}") as serving, socket.socket(family) as listening, \
                socket.socket(family) as sock:
            listening.bind(address)
            listening.listen()
            poller = Poller([listening], serving.store, serving.limits)
            thread = threading.Thread(target=poller.run)
            thread.start()
            sock.connect(listening.getsockname())
            sock.sendall(resp.command("client", "info"))
            shown.append(sock.recv(4096).split(b" addr=")[1].split(b" ")[0])
            poller.stop()
            thread.join()
    assert shown[0].startswith(b"127.0.0.1:") and shown[1].startswith(b"[::1]:") and shown[2] == b"unix"


# -- the loop itself ----------------------------------------------------------

def test_a_server_without_epoll_serves_as_well(tmp_path, monkeypatch):
    monkeypatch.delattr(select, "epoll")
    with Serving(tmp_path / "db", sync="always") as serving:
        client, follower = serving.connect(), serving.connect()
        data = "x" * 4000
        count = TOO_MUCH // len(data)
        client.send(publish("s", data) * count)
        client.recv_exactly(OK * count)
        outbox = serving.connection_of(follower).outbox
        follower.command("subscribe", "s:0")
        follower.recv_exactly(subscribed("s"))
        eventually(lambda: outbox.blocked and is_still(outbox))     # a worker was refused, and the loop waits
        for i in range(count):
            follower.recv_exactly(event("s", i, "x", data))
        client.close()
        follower.close()
        eventually(lambda: not serving.poller.connections)


def test_the_tick_is_called_when_it_asked_to_be(tmp_path):
    calls = []

    def tick(now):
        calls.append(now)
        return 0.02 if len(calls) < 4 else None

    with Serving(tmp_path / "db", tick=tick) as serving:
        eventually(lambda: len(calls) == 4)
        serving.connect().recv_nothing()
        assert len(calls) == 4                      # None: never again
    assert all(later - earlier >= 0.02 for earlier, later in zip(calls, calls[1:]))


def test_a_wake_up_that_is_already_on_its_way_is_enough(serving):
    asked = threading.Event()
    release = threading.Event()
    serving.poller.call_soon(lambda: (asked.set(), release.wait(SECONDS)))
    assert asked.wait(SECONDS)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(serving.poller._wake_write, bytes(4096))       # full
    done = threading.Event()
    serving.poller.call_soon(done.set)
    serving.poller._wake()
    release.set()
    assert done.wait(SECONDS)


def test_stopping_twice_is_nothing(tmp_path):
    with Serving(tmp_path / "db") as serving:
        serving.stop()
        serving.server.shutdown()


def test_no_more_is_received_in_a_turn_than_fits_and_all_are_served(tmp_path, monkeypatch):
    monkeypatch.setattr("server.poller.TURN", 1000)
    with Serving(tmp_path / "db", sync="always") as serving:
        clients = [serving.connect() for _ in range(10)]
        for client in clients:
            client.send(publish("s", "x" * 300) * 20)
        for client in clients:
            client.recv_exactly(OK * 20)
        assert serving.store.position == 200


def test_what_a_client_sends_is_logged_at_debug_when_it_resets(serving, caplog, monkeypatch):
    caplog.set_level(logging.DEBUG)
    client = serving.connect()
    client.ask("ping")
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    eventually(lambda: not serving.poller.connections)
    assert any("client 1 at 127.0.0.1:" in r.getMessage() and "reset" in r.getMessage() for r in caplog.records)


def test_among_many_that_send_much_everybody_has_a_turn_before_anybody_has_two(tmp_path, monkeypatch):
    monkeypatch.setattr("server.poller._READING", 0)        # a turn has time for one
    received = []
    receive = Poller._receive
    monkeypatch.setattr(Poller, "_receive", lambda poller, connection, *rest: (
        received.append(connection.id), receive(poller, connection, *rest))[1])
    with Serving(tmp_path / "db") as serving:
        clients = [serving.connect() for _ in range(30)]
        for client in clients:
            assert client.ask("ping") == b"PONG"
        held, all_sent = threading.Event(), threading.Event()
        serving.poller.call_soon(lambda: (held.set(), all_sent.wait(SECONDS)))
        assert held.wait(SECONDS)       # or the first would have had a turn by now
        for client in clients:
            client.send(resp.command("ping") * 3000)
        received.clear()
        all_sent.set()
        for client in clients:
            client.recv_exactly(b"+PONG\r\n" * 3000)
    assert len(set(received[:len(clients)])) == len(clients)
    assert len(received) > 2 * len(clients)
