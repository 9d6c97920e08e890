"""SLOWLOG, LATENCY and MEMORY."""

import time

import pytest
from serving import OK, publish


def test_only_what_takes_long_is_in_the_slow_log(client):
    assert client.ask("ping") == b"PONG"
    assert (client.ask("slowlog", "len"), client.ask("slowlog", "get")) == (0, [])
    assert client.ask("config", "set", "slowlog-log-slower-than", 0) == b"OK"
    before = int(time.time())
    client.ask("read", "$all", 0, 10)
    [id_, when, microseconds, arguments, peer, name] = client.ask("slowlog", "get", 1)[0]
    assert (id_, arguments, name) == (1, [b"read", b"$all", b"0", b"10"], b"")       # 0 is the one that set it
    assert before <= when <= time.time()
    assert 0 < microseconds < 60_000_000
    assert peer == b"%s:%d" % tuple(part.encode() if isinstance(part, str) else part
                                    for part in client.sock.getsockname())


def test_the_slow_log_gives_ten_unless_asked_for_more_and_can_be_emptied(client):
    client.ask("config", "set", "slowlog-log-slower-than", 0, "slowlog-max-len", 20)
    for _ in range(30):
        client.ask("ping")
    assert len(client.ask("slowlog", "get")) == 10
    assert len(client.ask("slowlog", "get", 3)) == 3
    assert len(client.ask("slowlog", "get", "-1")) == client.ask("slowlog", "len") == 20
    client.ask("config", "set", "slowlog-log-slower-than", -1)
    assert client.ask("slowlog", "reset") == b"OK"
    assert client.ask("slowlog", "len") == 0


def test_latency_is_counted_in_buckets_of_microseconds(serving, client):
    client.send(publish("s", "d") * 3)
    client.recv_exactly(OK * 3)
    client.ask("ping")
    client3 = serving.connect()
    client3.ask("hello", 3)
    found = client3.ask("latency", "histogram")
    assert set(found) == {b"publish", b"ping", b"hello"}
    assert found[b"publish"][b"calls"] == 3
    assert [count for _, count in found[b"ping"][b"histogram_usec"]] == [1]
    assert set(client3.ask("latency", "histogram", "PING", "nonsense")) == {b"ping"}


def test_what_redis_notes_as_latency_is_not_noted_and_slowlog_is_named(client):
    assert client.ask("latency", "latest") == client.ask("latency", "history", "command") == []
    assert client.ask("latency", "reset") == client.ask("latency", "reset", "command", "fork") == 0
    assert b"SLOWLOG GET" in client.ask("latency", "doctor")


@pytest.mark.parametrize("arguments, text", [
    (["slowlog", "nope"], "ERR unknown subcommand 'nope'. Try SLOWLOG HELP."),
    (["slowlog", "get", "x"], "ERR COUNT is 'x', expected a number from 0 to 18446744073709551615"),
    (["slowlog", "get", "1", "2"], "ERR wrong number of arguments for 'slowlog|get' command"),
    (["slowlog", "len", "1"], "ERR wrong number of arguments for 'slowlog|len' command"),
    (["latency", "graph", "x"], "ERR unknown subcommand 'graph'. Try LATENCY HELP."),
])
def test_what_is_not_there_is_refused_by_name(client, arguments, text):
    assert client.error(*arguments) == text


def test_help_has_a_line_for_each_subcommand(client):
    assert [line.split()[1] for line in client.ask("slowlog", "help")] == [b"GET", b"LEN", b"RESET"]
    assert b"LATENCY HISTOGRAM [COMMAND ...]" in client.ask("latency", "HELP")
