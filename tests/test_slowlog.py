"""The slow log: what it keeps, and that it keeps no data."""

import pytest
from serving import OK, Serving, publish

from server.commands import COMMANDS
from server.slowlog import SlowLog, shown

SECRET = b"xyzzy-hunter2"


@pytest.fixture
def serving(tmp_path):
    with Serving(tmp_path / "db", slowlog_log_slower_than=0) as serving:
        yield serving


def test_it_keeps_the_newest_and_counts_all():
    log = SlowLog(0, 3)
    for i in range(5):
        log.add([b"%d" % i], i / 1000)
    assert [(one.id, one.microseconds, one.arguments) for one in log.entries()] == [
        (4, 4000, [b"4"]), (3, 3000, [b"3"]), (2, 2000, [b"2"])]
    assert (len(log), log.count, [one.id for one in log.entries(1)]) == (3, 5, [4])


def test_its_length_can_change_and_the_newest_stay():
    log = SlowLog(0, 3)
    for _ in range(5):
        log.add([b"x"], 1)
    log.set_length(2)
    assert ([one.id for one in log.entries()], log.length) == ([4, 3], 2)
    log.set_length(10)
    log.add([b"x"], 1)
    assert [one.id for one in log.entries()] == [5, 4, 3]
    log.set_length(0)
    log.add([b"x"], 1)
    assert (log.entries(), log.count) == ([], 7)


def test_after_a_reset_ids_go_on():
    log = SlowLog(0, 3)
    log.add([b"x"], 1)
    log.reset()
    log.add([b"x"], 1)
    assert [one.id for one in log.entries()] == [1]


@pytest.mark.parametrize("slower_than, seconds", [(0, 0.0), (10_000, 0.01), (-1, float("inf"))])
def test_the_threshold_is_in_microseconds_and_minus_one_is_never(slower_than, seconds):
    assert SlowLog(slower_than, 1).seconds == seconds


# -- what is shown ------------------------------------------------------------------

@pytest.mark.parametrize("name, arguments, expected", [
    ("read", [b"read", b"stream", b"orders", b"0", b"10"], [b"read", b"stream", b"orders", b"0", b"10"]),
    ("publish", [b"publish", b"s", b"x", SECRET], [b"publish", b"s", b"x", b"(1 more arguments, 13 bytes)"]),
    ("append", [b"append", b"s", b"any", b"x", SECRET, b"id", SECRET],
     [b"append", b"s", b"any", b"x", b"(3 more arguments, 28 bytes)"]),
    ("hello", [b"HELLO", b"3", b"AUTH", b"ann", SECRET], [b"HELLO", b"3", b"(3 more arguments, 20 bytes)"]),
    ("auth", [b"auth", SECRET], [b"auth", b"(1 more arguments, 13 bytes)"]),
    ("acl", [b"acl", b"setuser", b"ann", b">" + SECRET], [b"acl", b"setuser", b"(2 more arguments, 17 bytes)"]),
    ("echo", [b"echo"], [b"echo"]),
    ("read", [b"read", b"n" * 100], [b"read", b"n" * 64 + b"... (36 more bytes)"]),
    ("subscribe", [b"subscribe", *[b"s"] * 20], [b"subscribe", *[b"s"] * 15, b"(5 more arguments, 5 bytes)"])])
def test_arguments_are_shown_if_they_are_names_and_shortened_if_they_are_many(name, arguments, expected):
    assert shown(name, arguments) == expected


# What each of these is given that may not be seen, behind its name and what may.
HIDDEN = {"publish": 2, "append": 3, "dcb-append": 1, "snapshot-put": 2, "import": 0, "echo": 0, "ping": 0, "auth": 0,
          "hello": 1, "acl": 1, "client": 1, "config": 2, "group-refuse": 3, "monitor": 0}


@pytest.mark.parametrize("name", sorted({*HIDDEN, *(name.decode() for name in COMMANDS)}))
def test_no_command_shows_what_may_be_data_or_a_password(name):
    if name in HIDDEN:
        arguments = [name.encode(), *[b"x"] * HIDDEN[name], *[SECRET] * 20]
        assert SECRET not in b" ".join(shown(name, arguments))
    else:       # names and numbers
        assert b" ".join(shown(name, [name.encode(), b"name", b"7"])).startswith(name.encode())


def test_of_a_publish_to_a_channel_the_channel_is_shown_and_of_one_with_a_name_the_name_too():
    assert shown("publish", [b"publish", b"channel", SECRET]) == [
        b"publish", b"channel", b"(1 more arguments, %d bytes)" % len(SECRET)]
    assert shown("publish", [b"publish", b"stream", b"name", SECRET])[:3] == [b"publish", b"stream", b"name"]


def test_all_that_a_server_was_asked_is_in_its_slow_log_without_the_data(serving):
    client = serving.connect()
    client.ask("client", "setname", "me")
    client.send(publish("s", SECRET.decode()) * 3)
    client.recv_exactly(OK * 3)
    client.ask("append", "s", "any", "x", SECRET, "", SECRET)
    client.error("hello", "3", "auth", "ann", SECRET)
    client.ask("echo", SECRET)
    client.ask("snapshot-put", "s", 0, SECRET)
    client.ask("import", SECRET)
    entries = client.ask("slowlog", "get", "-1")
    assert SECRET not in repr(entries).encode()
    assert [b" ".join(entry[3]).split(b" ")[0] for entry in entries] == [
        b"import", b"snapshot-put", b"echo", b"hello", b"append", b"publish", b"client"]
    assert entries[5][3] == [b"publish", b"(a batch of 3, of 1 clients)"]
    assert entries[0][5] == b"me"
    assert entries[0][4] == ("%s:%d" % client.sock.getsockname()).encode()
