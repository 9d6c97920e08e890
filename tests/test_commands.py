"""Every command: what it answers, in RESP2 and RESP3, and what it refuses."""

import contextlib
import logging
import socket
import sys
import threading

import pytest
from serving import (OK, Client, FailingDisk, Serving, SlowDisk, caught_up, checkpoint, event, eventually,
                     last_number, publish, subscribed, unsubscribed)

import resp
from resp import ErrorReply, Push
from server import __version__, commands, connection
from server.commands import COMMANDS
from store import CorruptSegment

MAX = 2 ** 64 - 1


@pytest.fixture
def client3(serving):
    """A client that speaks RESP3."""
    client = serving.connect()
    client.ask("hello", 3)
    return client


@pytest.fixture
def restless():
    """Threads take turns every few microseconds."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(usual)


BURST = 10      # events


@contextlib.contextmanager
def bursts(publisher):
    """Gives a function that has BURST events published to stream s while its caller goes on."""
    def publish_on():
        while wanted.acquire() and not ended:
            for _ in range(BURST):      # each is a step of the feed
                publisher.send(publish("s", "d"))
                publisher.recv_exactly(OK)

    wanted, ended = threading.Semaphore(0), []
    thread = threading.Thread(target=publish_on)
    thread.start()
    try:
        yield wanted.release
    finally:
        ended.append(True)
        wanted.release()
        thread.join()


def fill(serving, stream, count, name="x"):
    """Events whose data is their number."""
    for number in range(count):
        serving.store.append(stream, name, b"%d" % number)


def recorded(position, stream, number, data, kind="*", name="x", id="", metadata="", time=None):
    """One event as `follow` sends it, up to its time."""
    head = f"{kind}9\r\n+recorded\r\n:{position}\r\n+{stream}\r\n:{number}\r\n+{name}\r\n"
    return head.encode() + b"".join(resp.bulk(part.encode()) for part in (data, id, metadata)) + b":%d\r\n" % time


def times(serving):
    return [one.time for one in serving.store.read_all()]


# -- the table ----------------------------------------------------------------

BAD_COUNTS = [
    ("publish", ["s"]), ("publish", ["s", "x", "d", "more"]), ("publish", []),
    ("last-event-number", []), ("last-event-number", ["a", "b"]),
    ("subscribe", []), ("follow", ["$all"]), ("unfollow", []), ("echo", []), ("echo", ["a", "b"]),
    ("ping", ["a", "b"]), ("reset", ["x"]), ("select", []), ("client", []), ("time", ["x"]),
]


@pytest.mark.parametrize("name, arguments", BAD_COUNTS)
def test_a_wrong_number_of_arguments_is_refused_with_the_usage(client, name, arguments):
    text = client.error(name, *arguments)
    assert text.startswith(f"ERR wrong number of arguments for '{name}' command; usage: {name}")
    client.recv_nothing()


@pytest.mark.parametrize("spelt", ["PUBLISH", "Publish", "pUbLiSh"])
def test_names_of_commands_are_taken_in_any_case(client, spelt):
    client.send(resp.command(spelt, "s", "x", "d"))
    client.recv_exactly(OK)
    client.command("LAST-event-NUMBER", "s")
    client.recv_exactly(last_number("s", 0))
    client.command("Subscribe", "s:0")
    client.recv_exactly(subscribed("s") + event("s", 0, "x", "d"))
    client.command("UNSUBSCRIBE", "s")
    client.recv_exactly(unsubscribed("s"))


def test_an_unknown_command_is_named_in_redis_words(client):
    assert client.error("nope", "a", "b") == "ERR unknown command 'nope', with args beginning with: 'a' 'b'"
    assert client.error("nope") == "ERR unknown command 'nope', with args beginning with: "


def test_what_a_client_sent_comes_back_in_an_error_on_one_line_and_cut(client):
    text = client.error(b"\r\n-x\x00" + b"y" * 10_000, b"\xff\x1b[31m")
    assert text.startswith(r"ERR unknown command '\r\n-x\x00yyy")
    assert r"\xff\x1b[31m" in text and len(text) < 500


def test_a_handler_that_fails_costs_an_error_and_a_line_in_the_log(client, monkeypatch, caplog):
    def broken(server, connection, arguments):
        raise KeyError("a bug")

    monkeypatch.setitem(COMMANDS, b"echo", COMMANDS[b"echo"]._replace(handler=broken))
    assert client.error("echo", "x").startswith("ERR internal error")
    assert [r.getMessage() for r in caplog.records] == ["echo of client 1 failed"]
    assert client.ask("ping") == b"PONG"


def test_a_handler_that_the_store_fails_answers_with_its_reason(client, monkeypatch):
    def damaged(server, connection, arguments):
        raise CorruptSegment("/db/0.segment", 128, "why")

    monkeypatch.setitem(COMMANDS, b"stream-names", COMMANDS[b"stream-names"]._replace(handler=damaged))
    assert client.error("stream-names").startswith("ERR /db/0.segment: a record at byte 128 is damaged (why)")


def test_every_command_has_a_line_of_help_and_an_arity_that_its_usage_fits():
    for name, one in COMMANDS.items():
        assert name == one.name.encode() == name.lower()
        assert one.summary and "\n" not in one.summary
        assert one.arity > 0 or one.usage or one.name in ("quit", "stream-names")


# -- publish ------------------------------------------------------------------

@pytest.mark.parametrize("stream, name, reason", [
    ("", "x", "stream name is empty"),
    ("a:b", "x", "a stream name has no ':'"),
    ("a\r\nb", "x", "stream name has no CR, LF or NUL"),
    ("a\0b", "x", "stream name has no CR, LF or NUL"),
    (b"\xff", "x", "stream name is UTF-8"),
    ("$all", "x", "$all is every stream"),
    ("s" * 32769, "x", "stream name of 32769 bytes, expected no more than 32768"),
    ("s", "", "event name is empty"),
    ("s", "a\nb", "event name has no CR, LF or NUL"),
    ("s", b"\xc3", "event name is UTF-8"),
])
def test_a_publish_with_a_wrong_name_is_refused_with_the_reason(client, stream, name, reason):
    text = client.error("publish", stream, name, "data")
    assert text.startswith(f"ERR {reason}")
    assert client.ask("stream-names") == [b"stream-names"]


def test_every_wrong_publish_of_a_pipeline_gets_an_error_of_its_own(client):
    client.send(publish("a:b", "one") * 3 + publish("s", "one") + publish("a:b", "one") * 2)
    answers = [client.value() for _ in range(6)]
    assert [isinstance(answer, ErrorReply) for answer in answers] == [True] * 3 + [False] + [True] * 2


def test_names_and_data_of_any_language_and_any_byte_come_back_as_they_were(client):
    client.send(resp.command("publish", "commandés", "créé ✓", bytes(range(256))))
    client.recv_exactly(OK)
    client.command("subscribe", "commandés:0")
    frame = "*5\r\n+event\r\n+commandés\r\n:0\r\n+créé ✓\r\n$256\r\n".encode() + bytes(range(256)) + b"\r\n"
    client.recv_exactly(subscribed("commandés") + frame)


def test_the_size_of_an_event_has_a_limit_and_the_limit_itself_is_allowed(tmp_path):
    with Serving(tmp_path / "db", max_event_size=1000) as serving:
        client = serving.connect()
        client.send(publish("s", "x" * 1000))
        client.recv_exactly(OK)
        assert client.error("publish", "s", "x", "y" * 1001) == \
            "ERR data of 1001 bytes, expected no more than 1000"
        client.command("last-event-number", "s")
        client.recv_exactly(last_number("s", 0))


def test_checked_names_are_forgotten_now_and_then_and_checked_again(tmp_path, monkeypatch):
    monkeypatch.setattr("resp._MAX_KNOWN", 3)
    with Serving(tmp_path / "db") as serving:
        client = serving.connect()
        client.send(b"".join(publish(f"forgotten{i % 5}", "d") for i in range(50)))
        client.recv_exactly(OK * 50)
        assert len(connection._STREAMS) <= 3


# -- last-event-number, stream-names ------------------------------------------

def test_the_last_event_number_of_all_is_the_last_position(client):
    client.command("last-event-number", "$all")
    client.recv_exactly(last_number("$all", None))
    client.send(publish("a", "1") + publish("b", "2") + resp.command("last-event-number", "$all"))
    client.recv_exactly(OK * 2 + last_number("$all", 1))


def test_no_last_event_is_null_in_either_protocol(client, client3):
    client.command("last-event-number", "s")
    client.recv_exactly(b"*3\r\n+last-event-number\r\n+s\r\n$-1\r\n")
    client3.command("last-event-number", "s")
    client3.recv_exactly(b"*3\r\n+last-event-number\r\n+s\r\n_\r\n")


def test_names_of_streams_are_sorted_by_their_bytes(serving, client):
    for name in "b", "é", "a", "B", "a b":
        fill(serving, name, 1)
    client.command("stream-names")
    client.recv_exactly("*6\r\n+stream-names\r\n+B\r\n+a\r\n+a b\r\n+b\r\n+é\r\n".encode())


# -- subscribe ----------------------------------------------------------------

@pytest.mark.parametrize("argument, reason", [
    ("s:1:2:3", "found 's:1:2:3', expected STREAM[:FROM[:TO]]"),
    ("s:", "FROM is '', expected a number from 0"),
    ("s:-1", "FROM is '-1'"),
    ("s:+1", "FROM is '+1'"),
    ("s: 1", "FROM is ' 1'"),
    ("s:1_0", "FROM is '1_0'"),
    ("s:x\r\n", r"FROM is 'x\r\n'"),
    ("s:18446744073709551616", "FROM is '18446744073709551616'"),
    ("s:" + "9" * 5000, "FROM is '999"),
    ("s:0:", "TO is ''"),
    ("s:3:3", "FROM is 3, expected less than TO, which is 3"),
    ("s:3:1", "FROM is 3, expected less than TO, which is 1"),
    ("$all:x", "FROM is 'x'"),
    (":0", "stream name is empty"),
    ("", "stream name is empty"),
    (b"\xff:0", "stream name is UTF-8"),
])
def test_one_bad_argument_refuses_the_whole_subscribe(serving, client, argument, reason):
    fill(serving, "good", 1)
    assert client.error("subscribe", "good:0", argument, "good").startswith(f"ERR {reason}")
    assert serving.only_connection().subscriptions == {}
    client.recv_nothing()


def test_from_past_the_end_waits_for_that_number(serving, client):
    fill(serving, "s", 2)
    client.command("subscribe", "s:4")
    client.recv_exactly(subscribed("s"))
    publisher = serving.connect()
    publisher.send(b"".join(publish("s", str(i)) for i in range(2, 6)))
    publisher.recv_exactly(OK * 4)
    client.recv_exactly(event("s", 4, "x", "4") + event("s", 5, "x", "5"))


def test_the_highest_number_there_is_may_be_subscribed_from(client):
    client.command("subscribe", f"s:{MAX}", f"$all:{MAX}", f"t:0:{MAX}")
    client.recv_exactly(subscribed("s") + subscribed("$all") + subscribed("t"))
    client.send(publish("s", "d"))
    client.recv_exactly(OK)
    client.recv_nothing()


def test_a_subscription_ends_before_to_and_is_gone_then(serving, client):
    fill(serving, "s", 2)
    client.command("subscribe", "s:1:3")
    client.recv_exactly(subscribed("s") + event("s", 1, "x", "1"))
    publisher = serving.connect()
    publisher.send(publish("s", "2") + publish("s", "3"))
    publisher.recv_exactly(OK * 2)
    client.recv_exactly(event("s", 2, "x", "2"))
    client.recv_nothing()
    assert serving.connection_of(client).subscriptions == {}
    assert len(serving.poller.feeds) == 0


def test_all_begins_at_a_position_and_ends_before_one(serving, client):
    for stream in "a", "b", "a", "c":
        serving.store.append(stream, "x", stream.encode())
    client.command("subscribe", "$all:1:3")
    client.recv_exactly(subscribed("$all") + event("b", 0, "x", "b") + event("a", 1, "x", "a"))
    client.recv_nothing()


def test_subscribing_again_replaces_what_was_subscribed(serving, client):
    fill(serving, "s", 2)
    client.command("subscribe", "s")
    client.recv_exactly(subscribed("s"))
    client.command("subscribe", "s:0")
    client.recv_exactly(subscribed("s") + event("s", 0, "x", "0") + event("s", 1, "x", "1"))
    client.send(publish("s", "2"))
    eventually(lambda: serving.store.last_number("s") == 2)
    live = event("s", 2, "x", "2")
    assert client.recv_count(len(OK + live)) in (OK + live, live + OK)
    client.recv_nothing()
    assert len(serving.only_connection().subscriptions) == 1


def test_of_equal_arguments_the_last_counts_and_each_is_acknowledged(serving, client):
    fill(serving, "a", 2)
    fill(serving, "b", 1)
    client.command("subscribe", "a:0", "b:0", "a:1")
    client.recv_exactly(subscribed("a") + subscribed("b") + event("b", 0, "x", "0")
                        + subscribed("a") + event("a", 1, "x", "1"))
    client.recv_nothing()


def test_a_connection_has_so_many_subscriptions_and_no_more(tmp_path):
    with Serving(tmp_path / "db", max_subscriptions=3) as serving:
        client = serving.connect()
        client.command("subscribe", "a", "b", "a")
        client.recv_exactly(subscribed("a") + subscribed("b") + subscribed("a"))
        assert client.error("subscribe", "c", "d") == \
            "ERR 4 subscriptions, expected no more than 3 a connection"
        client.command("subscribe", "c")
        client.recv_exactly(subscribed("c"))
        assert client.error("follow", "$all", 0).startswith("ERR 4 subscriptions")
        client.command("subscribe", "b")        # replaces
        client.recv_exactly(subscribed("b"))
        client.command("unsubscribe", "b")
        client.recv_exactly(unsubscribed("b"))
        client.command("follow", "prefix", "p", 0)
        client.recv_exactly(subscribed("p"))


# -- unsubscribe --------------------------------------------------------------

def test_nothing_comes_after_the_reply_to_unsubscribe(tmp_path, restless):
    with Serving(tmp_path / "db", sync="always") as serving:
        client, publisher = serving.connect(), serving.connect()
        with bursts(publisher) as burst:
            for _ in range(200):
                assert client.ask("subscribe", "s") == [b"subscribed", b"s"]
                burst()
                assert client.value()[0] == b"event"
                client.command("unsubscribe", "s")
                while client.value() != [b"unsubscribed", b"s"]:
                    pass
                assert client.ask("ping") == b"PONG"


def test_unsubscribe_names_each_stream_whether_or_not_it_was_subscribed(client):
    client.command("subscribe", "a", "b", "$all")
    client.recv_exactly(subscribed("a") + subscribed("b") + subscribed("$all"))
    client.command("unsubscribe", "a", "never", "$all")
    client.recv_exactly(unsubscribed("a") + unsubscribed("never") + unsubscribed("$all"))
    client.command("unsubscribe")
    client.recv_exactly(unsubscribed("b"))
    client.command("unsubscribe")
    client.recv_exactly(b"*2\r\n+unsubscribed\r\n$-1\r\n")


def test_a_bad_name_refuses_the_whole_unsubscribe(serving, client):
    client.command("subscribe", "a")
    client.recv_exactly(subscribed("a"))
    assert client.error("unsubscribe", "a", "b:0").startswith("ERR a stream name has no ':'")
    assert list(serving.only_connection().subscriptions) == [("stream", b"a")]


# -- follow -------------------------------------------------------------------

def test_follow_sends_all_that_an_event_has(serving, client):
    serving.store.append("orders", "created", b"one", id=b"id-1", metadata=b"{}")
    fill(serving, "other", 1)
    fill(serving, "orders", 1)
    first, second, third = times(serving)
    client.command("follow", "$all", 0)
    client.recv_exactly(
        subscribed("$all")
        + recorded(0, "orders", 0, "one", name="created", id="id-1", metadata="{}", time=first)
        + recorded(1, "other", 0, "0", time=second) + recorded(2, "orders", 1, "0", time=third)
        + caught_up("$all", 3))


def test_follow_counts_numbers_of_a_stream_and_positions_of_the_rest(serving, client):
    for i, stream in enumerate(["order-1", "other", "order-1", "order-2", "order-1"]):
        serving.store.append(stream, "x", b"%d" % i)
    at = times(serving)
    client.command("follow", "stream", "order-1", 1, "to", 2)
    client.recv_exactly(subscribed("order-1") + recorded(2, "order-1", 1, "2", time=at[2]))
    client.command("FOLLOW", "PREFIX", "order-", 2, "TO", 4)
    client.recv_exactly(subscribed("order-") + recorded(2, "order-1", 1, "2", time=at[2])
                        + recorded(3, "order-2", 0, "3", time=at[3]))
    client.command("follow", "$ALL", 4)
    client.recv_exactly(subscribed("$all") + recorded(4, "order-1", 2, "4", time=at[4]) + caught_up("$all", 5))
    client.recv_nothing()


@pytest.mark.parametrize("selector, stream, key", [
    (["$all"], "new", "$all"), (["stream", "new"], "new", "new"), (["prefix", "n"], "new", "n")])
def test_follow_from_now_on_sends_what_comes_even_of_new_streams(serving, client, selector, stream, key):
    fill(serving, "old", 2)
    client.command("follow", *selector, "-")
    client.recv_exactly(subscribed(key) + caught_up(key, 0 if selector[0] == "stream" else 2))
    serving.connect().ask("publish", stream, "x", "data")
    client.recv_exactly(recorded(2, stream, 0, "data", time=times(serving)[2]))


def test_a_stream_may_be_followed_and_subscribed_once_and_called_like_a_prefix(serving, client):
    serving.store.append("order-", "x", b"0")
    serving.store.append("order-1", "x", b"1")
    at = times(serving)
    client.command("follow", "stream", "order-", 0)
    client.recv_exactly(subscribed("order-") + recorded(0, "order-", 0, "0", time=at[0]) + caught_up("order-", 1))
    client.command("follow", "prefix", "order-", 0)
    client.recv_exactly(subscribed("order-") + recorded(0, "order-", 0, "0", time=at[0])
                        + recorded(1, "order-1", 0, "1", time=at[1]) + caught_up("order-", 2))
    client.command("subscribe", "order-:0")         # replaces the first
    client.recv_exactly(subscribed("order-") + event("order-", 0, "x", "0"))
    connection = serving.only_connection()
    assert sorted(connection.subscriptions) == [("prefix", b"order-"), ("stream", b"order-")]
    client.command("unfollow", "prefix", "order-")
    client.recv_exactly(unsubscribed("order-"))
    client.command("unfollow", "stream", "order-")
    client.recv_exactly(unsubscribed("order-"))
    client.command("unfollow", "$all")
    client.recv_exactly(unsubscribed("$all"))
    assert connection.subscriptions == {}


def test_follow_and_unfollow_end_as_subscribe_does(serving, client):
    client.command("follow", "$all", 0)
    client.recv_exactly(subscribed("$all") + caught_up("$all", 0))
    client.command("unsubscribe", "$all")
    client.recv_exactly(unsubscribed("$all"))
    client.command("follow", "prefix", "p", 0)
    client.recv_exactly(subscribed("p") + caught_up("p", 0))
    client.command("unsubscribe")
    client.recv_exactly(unsubscribed("p"))
    assert serving.only_connection().subscriptions == {}


def test_to_that_is_passed_already_ends_the_following_at_once(serving, client):
    fill(serving, "s", 3)
    client.command("follow", "stream", "s", "-", "TO", 2)
    client.recv_exactly(subscribed("s"))
    client.recv_nothing()
    assert serving.only_connection().subscriptions == {}
    assert len(serving.poller.feeds) == 0


@pytest.mark.parametrize("arguments, reason", [
    (["orders", 0], "found 'orders', expected $all, stream NAME or prefix PREFIX"),
    (["stream", "s"], "syntax error, expected: follow SELECTOR FROM [TO n] [NAMES n name ...]"),
    (["stream", "s", 0, "TO"], "syntax error, expected: follow SELECTOR FROM [TO n] [NAMES n name ...]"),
    (["stream", "s", 0, "UPTO", 5], "syntax error, expected: follow SELECTOR FROM [TO n] [NAMES n name ...]"),
    (["$all", 0, "TO", 5, "more"], "syntax error, expected: follow SELECTOR FROM [TO n] [NAMES n name ...]"),
    (["$all", "x"], "FROM is 'x', expected a number"),
    (["$all", 0, "TO", "-"], "TO is '-', expected a number"),
    (["$all", 5, "TO", 5], "FROM is 5, expected less than TO, which is 5"),
    (["stream", "a:b", 0], "a stream name has no ':'"),
    (["prefix", "", 0], "stream name is empty"),
    (["stream", "$all", 0], "$all is every stream"),
    (["$all", 0, "NAMES"], "syntax error, expected: NAMES n name ..."),
    (["$all", 0, "NAMES", "x"], "the number of NAMES is 'x', expected a number"),
    (["$all", 0, "NAMES", 0], "0 NAMES, expected 1 to 100"),
    (["$all", 0, "NAMES", 101, *"x" * 101], "101 NAMES, expected 1 to 100"),
    (["$all", 0, "NAMES", 2, "x"], "found 1 NAMES, expected 2"),
    (["$all", 0, "NAMES", 1, ""], "event name is empty"),
    (["$all", 0, "NAMES", 1, "x", "NAMES", 1, "y"], "syntax error, expected: follow"),
    (["$all", 0, "TO", 5, "TO", 6], "syntax error, expected: follow"),
])
def test_a_bad_follow_is_refused_with_what_is_expected(serving, client, arguments, reason):
    assert client.error("follow", *arguments).startswith(f"ERR {reason}")
    assert serving.only_connection().subscriptions == {}


def test_a_bad_unfollow_is_refused_with_what_is_expected(client):
    assert client.error("unfollow", "stream", "s", "more") == "ERR syntax error, expected: unfollow SELECTOR"
    assert client.error("unfollow", "s").startswith("ERR found 's', expected $all")
    assert client.error("unfollow", "stream").startswith("ERR found 'stream', expected $all")


def test_follow_sends_events_of_the_names_that_were_asked_for_alone(serving, client):
    for i, (stream, name) in enumerate([("a", "x"), ("a", "y"), ("b", "x"), ("b", "z"), ("a", "z")]):
        serving.store.append(stream, name, b"%d" % i)
    at = times(serving)
    client.command("follow", "$all", 0, "NAMES", 2, "z", "y")
    client.recv_exactly(subscribed("$all") + recorded(1, "a", 1, "1", name="y", time=at[1])
                        + recorded(3, "b", 1, "3", name="z", time=at[3])
                        + recorded(4, "a", 2, "4", name="z", time=at[4]) + caught_up("$all", 5))
    client.command("follow", "stream", "a", 0, "names", 1, "y")
    client.recv_exactly(subscribed("a") + recorded(1, "a", 1, "1", name="y", time=at[1]) + caught_up("a", 3))
    client.command("unfollow", "$all")
    client.recv_exactly(unsubscribed("$all"))
    for name in "x", "y":
        serving.connect().ask("publish", "a", name, "live")
    client.recv_exactly(recorded(6, "a", 4, "live", name="y", time=times(serving)[6]))


def test_follow_from_a_time_says_which_place_that_is(serving, client):
    for stream in "a", "b", "a":
        serving.store.append(stream, "x", b"data")
    first, second, third = times(serving)
    client.command("follow", "$all", f"@{third}", "TO", 3)
    client.recv_exactly(subscribed("$all") + checkpoint("$all", 2) + recorded(2, "a", 1, "data", time=third))
    client.command("follow", "stream", "a", f"@{first + 1}")
    client.recv_exactly(subscribed("a") + checkpoint("a", 1) + recorded(2, "a", 1, "data", time=third)
                        + caught_up("a", 2))
    client.command("follow", "prefix", "b", f"@{third + 1}", "TO", 2)       # which is passed
    client.recv_exactly(subscribed("b") + checkpoint("b", 3))
    client.recv_nothing()
    assert list(serving.connection_of(client).subscriptions) == [("stream", b"a")]
    assert client.error("follow", "$all", "@yesterday").startswith("ERR the time in FROM is 'yesterday', expected a")


def test_a_range_whose_last_events_are_not_wanted_ends_with_a_checkpoint_there(serving, client):
    for i, name in enumerate("xyxx"):
        serving.store.append("s", name, b"%d" % i)
    at = times(serving)
    client.command("follow", "prefix", "s", 0, "NAMES", 1, "y", "TO", 3)
    client.recv_exactly(subscribed("s") + recorded(1, "s", 1, "1", name="y", time=at[1]) + checkpoint("s", 3))
    client.command("follow", "stream", "s", 0, "TO", 6, "NAMES", 1, "y")
    client.recv_exactly(subscribed("s") + recorded(1, "s", 1, "1", name="y", time=at[1]) + caught_up("s", 4))
    publisher = serving.connect()
    publisher.ask("publish", "s", "x", "4")
    client.recv_nothing()
    publisher.ask("publish", "s", "x", "5")
    client.recv_exactly(checkpoint("s", 6))
    connection = serving.connection_of(client)
    eventually(lambda: connection.subscriptions == {}, "its end")


# -- RESP3 --------------------------------------------------------------------

def test_after_hello_3_acknowledgements_and_events_are_pushes(serving, client3):
    fill(serving, "s", 2)
    client3.command("subscribe", "s:0", "t")
    client3.recv_exactly(b">3\r\n$9\r\nsubscribe\r\n$1\r\ns\r\n:1\r\n" + event("s", 0, "x", "0", ">")
                         + event("s", 1, "x", "1", ">") + b">3\r\n$9\r\nsubscribe\r\n$1\r\nt\r\n:2\r\n")
    client3.command("follow", "prefix", "s", 1)
    client3.recv_exactly(b">3\r\n$9\r\nsubscribe\r\n$1\r\ns\r\n:3\r\n"
                         + recorded(1, "s", 1, "1", ">", time=times(serving)[1]) + caught_up("s", 2, ">"))
    client3.command("unfollow", "prefix", "s")
    client3.recv_exactly(b">3\r\n$11\r\nunsubscribe\r\n$1\r\ns\r\n:2\r\n")
    serving.connect().ask("publish", "s", "x", "2")
    client3.recv_exactly(event("s", 2, "x", "2", ">"))
    client3.command("unsubscribe")
    client3.recv_exactly(b">3\r\n$11\r\nunsubscribe\r\n$1\r\ns\r\n:1\r\n"
                         b">3\r\n$11\r\nunsubscribe\r\n$1\r\nt\r\n:0\r\n")
    client3.command("unsubscribe")
    client3.recv_exactly(b">3\r\n$11\r\nunsubscribe\r\n_\r\n:0\r\n")


def test_hello_says_what_this_is_in_the_form_of_its_protocol(serving, client):
    found = client.ask("hello")
    fields = dict(zip(found[::2], found[1::2]))
    assert list(fields) == [b"server", b"version", b"proto", b"id", b"mode", b"role", b"modules", b"store",
                            b"epoch"]
    assert fields == {b"server": b"meilies", b"version": __version__.encode(), b"proto": 2, b"id": 1,
                      b"mode": b"standalone", b"role": b"master", b"modules": [],
                      b"store": serving.store.uuid.encode(), b"epoch": 1}
    assert client.ask("hello", 2) == found
    assert client.ask("hello", 3) == {**fields, b"proto": 3}
    assert client.ask("HELLO") == {**fields, b"proto": 3}


@pytest.mark.parametrize("arguments, text", [
    (["4"], "NOPROTO unsupported protocol version, expected 2 or 3"),
    (["1"], "NOPROTO unsupported protocol version, expected 2 or 3"),
    (["-3"], "NOPROTO unsupported protocol version, expected 2 or 3"),
    (["x"], "ERR Protocol version is not an integer or out of range, expected 2 or 3"),
    ([""], "ERR Protocol version is not an integer or out of range, expected 2 or 3"),
    (["03"], "ERR Protocol version is not an integer or out of range, expected 2 or 3"),
    (["3\n"], "ERR Protocol version is not an integer or out of range, expected 2 or 3"),
    (["9" * 20], "ERR Protocol version is not an integer or out of range, expected 2 or 3"),
    (["setname", "me"], "ERR Protocol version is not an integer or out of range, expected 2 or 3"),
    (["3", "setname", "me", "auth", "default"], "ERR Syntax error in HELLO option 'auth'"),
    (["3", "SETNAME"], "ERR Syntax error in HELLO option 'SETNAME'"),
    (["3", "SETNAME", "a b"], "ERR Client names cannot contain spaces, newlines or special characters."),
    (["3", "nope"], "ERR Syntax error in HELLO option 'nope'"),
    (["3", "AUTH", "default"], "ERR Syntax error in HELLO option 'AUTH'"),
    (["3", "AUTH", "default", "pw"],
     "ERR AUTH called without any password configured; this server asks for none"),
])
def test_a_bad_hello_changes_nothing(serving, client, arguments, text):
    assert client.error("hello", *arguments) == text
    connection = serving.only_connection()
    assert (connection.protocol, connection.name) == (2, b"")


def test_hello_may_name_the_client(client):
    assert client.ask("hello", 3, "setname", "worker-1")[b"proto"] == 3
    assert client.ask("client", "getname") == b"worker-1"


@pytest.mark.parametrize("before, after", [(2, 3), (3, 2)])
def test_live_subscriptions_change_their_form_with_the_reply_to_hello(tmp_path, restless, before, after):
    kinds = {2: list, 3: Push}
    with Serving(tmp_path / "db", sync="always") as serving:
        client, publisher = serving.connect(), serving.connect()
        client.ask("hello", before)
        client.ask("subscribe", "s")
        client.ask("follow", "$all", "-")
        assert client.value()[0] == b"caught-up"        # the only frame that isn't an event
        with bursts(publisher) as burst:
            spoken = before
            for protocol in [after, before] * 100:
                burst()
                assert type(client.value()) is kinds[spoken]        # it has begun
                client.command("hello", protocol)
                for _ in range(2 * BURST):      # each event in two forms, and the reply among them
                    value = client.value()
                    if type(value) is dict or value[0] == b"server":
                        spoken = protocol
                    else:
                        assert type(value) is kinds[spoken]
                assert spoken == protocol


# -- the connection's own -----------------------------------------------------

def test_ping_and_echo_answer_what_they_were_given(client):
    client.command("ping")
    client.recv_exactly(b"+PONG\r\n")
    client.command("ping", "hi\r\n")
    client.recv_exactly(b"$4\r\nhi\r\n\r\n")
    client.command("echo", b"\x00\xff")
    client.recv_exactly(b"$2\r\n\x00\xff\r\n")


def test_quit_is_answered_and_closes_and_nothing_behind_it_is_done(serving, client):
    client.send(publish("s", "1") + resp.command("subscribe", "s:0") + resp.command("quit") + publish("s", "2"))
    client.recv_exactly(OK + subscribed("s") + event("s", 0, "x", "1") + OK)
    client.recv_end()
    assert serving.store.last_number("s") == 0
    eventually(lambda: len(serving.poller.feeds) == 0)


def test_reset_makes_a_connection_as_new(serving, client):
    client.ask("hello", 3, "setname", "me")
    client.ask("subscribe", "s")
    assert client.ask("reset") == b"RESET"
    serving.connect().ask("publish", "s", "x", "d")
    client.command("client", "getname")
    client.recv_exactly(b"$-1\r\n")
    assert serving.connection_of(client).subscriptions == {}
    assert len(serving.poller.feeds) == 0


def test_there_is_one_database_by_two_numbers(serving, client):
    client.ask("publish", "s", "x", "d")
    for number in (0, 1, 0):
        assert client.ask("select", number) == b"OK"
        assert client.ask("stream-names") == [b"stream-names", b"s"]
        assert f" db={number} ".encode() in client.ask("client", "info")
    for number in (2, -1, 16):
        assert client.error("select", number).startswith("ERR DB index is out of range; there is one database, 0")
    for text in ("x", "", "01", " 1", "1.0", "9" * 30):
        assert client.error("select", text) == "ERR value is not an integer or out of range"


def test_reset_goes_back_to_database_0(client):
    client.ask("select", 1)
    client.ask("reset")
    assert b" db=0 " in client.ask("client", "info")


def test_time_is_seconds_and_microseconds(client):
    seconds, microseconds = client.ask("time")
    assert seconds.isdigit() and int(seconds) > 1_700_000_000
    assert microseconds.isdigit() and int(microseconds) < 1_000_000


# -- client -------------------------------------------------------------------

def test_a_client_has_an_id_a_name_and_a_library(serving, client, client3):
    assert (client.ask("client", "id"), client3.ask("client", "id")) == (1, 2)
    assert client.ask("client", "getname") is None
    assert client.ask("CLIENT", "SETNAME", "worker") == b"OK"
    assert client.ask("client", "getname") == b"worker"
    assert client.ask("client", "setinfo", "LIB-NAME", "redis-py") == b"OK"
    assert client.ask("client", "setinfo", "lib-ver", "8.1") == b"OK"
    client3.ask("subscribe", "s", "t")
    lines = client.ask("client", "list").decode().splitlines()
    mine, other = [dict(field.split("=", 1) for field in line.split(" ")) for line in lines]
    assert mine["id"] == "1" and mine["name"] == "worker" and mine["resp"] == "2"
    assert (mine["lib-name"], mine["lib-ver"], mine["cmd"]) == ("redis-py", "8.1", "client")
    assert mine["addr"] == "%s:%d" % client.sock.getsockname()
    assert (other["id"], other["sub"], other["resp"], other["cmd"]) == ("2", "2", "3", "subscribe")
    info = client.ask("client", "info").decode()
    assert info.startswith("id=1 ") and info.endswith("\n") and info.count("\n") == 1


KILL_USAGE = ("CLIENT KILL [ID n] [ADDR host:port] [USER name] [TYPE normal | pubsub] [MAXAGE seconds] "
              "[SKIPME yes | no]")


@pytest.mark.parametrize("arguments, text", [
    (["nope"], "ERR unknown subcommand 'nope'. Try CLIENT HELP."),
    (["id", "x"], "ERR wrong number of arguments for 'client|id' command"),
    (["setname"], "ERR wrong number of arguments for 'client|setname' command"),
    (["kill"], "ERR wrong number of arguments for 'client|kill' command"),
    (["setname", "a b"], "ERR Client names cannot contain spaces, newlines or special characters."),
    (["setname", "a\n"], "ERR Client names cannot contain spaces, newlines or special characters."),
    (["setname", "é"], "ERR Client names cannot contain spaces, newlines or special characters."),
    (["setname", "n" * 1025], "ERR Client names cannot contain spaces, newlines or special characters."),
    (["setinfo", "lib-age", "5"], "ERR unrecognized option 'lib-age', expected LIB-NAME or LIB-VER"),
    (["setinfo", "lib-name", "a b"],
     "ERR Client names cannot contain spaces, newlines or special characters."),
    (["kill", "id", "x"], "ERR ID is 'x', expected a number from 0 to 18446744073709551615"),
    (["kill", "maxage", "-1"], "ERR MAXAGE is '-1', expected a number from 0 to 18446744073709551615"),
    (["kill", "type", "odd"], "ERR Unknown client type 'odd'"),
    (["kill", "id", "1", "addr"], f"ERR syntax error, expected: {KILL_USAGE}"),
    (["kill", "skipme", "maybe"], f"ERR syntax error, expected: {KILL_USAGE}"),
    (["kill", "age", "1"], f"ERR syntax error, expected: {KILL_USAGE}"),
    (["list", "id"], "ERR syntax error, expected: CLIENT LIST [TYPE normal | pubsub] [ID n ...]"),
    (["list", "age", "1"], "ERR syntax error, expected: CLIENT LIST [TYPE normal | pubsub] [ID n ...]"),
    (["list", "type", "odd"], "ERR Unknown client type 'odd'"),
    (["pause", "100"],
     "ERR CLIENT PAUSE isn't supported: nobody is kept waiting for another; CLIENT KILL ends connections"),
    (["maint_notifications", "on"],
     "ERR CLIENT MAINT_NOTIFICATIONS isn't supported: there is one server, and nothing moves"),
    (["no-evict", "maybe"], "ERR syntax error, found 'maybe', expected ON or OFF"),
    (["no-touch"], "ERR wrong number of arguments for 'client|no-touch' command"),
    (["reply", "maybe"], "ERR syntax error, found 'maybe', expected ON"),
    (["unblock", "x"], "ERR ID is 'x', expected a number from 0 to 18446744073709551615"),
    (["unblock", "1", "nope"], "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"),
    (["unblock", "1", "error", "more"], "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"),
    (["kill", "1.2.3.4:5"], "ERR No such client"),
])
def test_a_bad_client_command_is_refused_with_the_reason(client, arguments, text):
    assert client.error("client", *arguments) == text


def test_what_never_happens_here_may_be_switched_on_and_off(client):
    for word in ("no-evict", "no-touch"):
        assert [client.ask("client", word, switch) for switch in ("on", "OFF")] == [b"OK", b"OK"]
    assert client.ask("client", "reply", "on") == client.ask("client", "unpause") == b"OK"
    assert client.ask("client", "unblock", "99") == 0       # and nobody waits


@pytest.mark.parametrize("switch", ["off", "SKIP"])
def test_replies_are_not_switched_off(client, switch):
    assert client.error("client", "reply", switch).startswith("ERR CLIENT REPLY isn't supported but for ON: ")
    assert client.ask("ping") == b"PONG"


def test_client_help_has_a_line_for_each_subcommand(client):
    first, *lines = client.ask("client", "help")
    assert first == b"CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"
    assert b"SETNAME name" in lines and b"UNBLOCK id [TIMEOUT|ERROR]" in lines


@pytest.mark.parametrize("reason, reply", [
    ([], []), (["TIMEOUT"], []), (["error"], ErrorReply("UNBLOCKED client unblocked via CLIENT UNBLOCK"))])
def test_a_client_in_a_blocked_read_is_unblocked_by_another(serving, client, reason, reply):
    client.ask("group-create", "g", "stream", "s", 0)
    waiting = serving.connect()
    id_ = waiting.ask("client", "id")
    waiting.command("group-read", "g", "m", 1, "block", 0)
    eventually(lambda: len(serving.poller.blocked))
    assert client.ask("client", "unblock", id_, *reason) == 1
    found = waiting.value()
    assert found == reply or (type(found), found.args) == (type(reply), reply.args)
    assert waiting.ask("ping") == b"PONG"


# -- client tracking ----------------------------------------------------------

def test_tracking_of_what_is_never_cached_may_be_on(client, client3):
    assert client.ask("client", "trackinginfo") == [b"flags", [b"off"], b"redirect", -1, b"prefixes", []]
    assert client.ask("client", "getredir") == -1
    assert client.ask("client", "tracking", "ON", "optin", "NOLOOP") == b"OK"
    assert client.ask("client", "trackinginfo") == [b"flags", [b"on", b"optin", b"noloop"], b"redirect", 0,
                                                    b"prefixes", []]
    assert client.ask("client", "getredir") == 0
    assert client3.ask("client", "getredir") == -1
    assert client.error("client", "caching", "yes").startswith("ERR CLIENT CACHING isn't supported: ")
    assert client.ask("client", "tracking", "off") == b"OK"
    assert client.ask("client", "getredir") == -1
    client3.ask("client", "tracking", "on", "optin")
    client3.command("client", "trackinginfo")
    client3.recv_exactly(b"%3\r\n$5\r\nflags\r\n~2\r\n$2\r\non\r\n$5\r\noptin\r\n"
                         b"$8\r\nredirect\r\n:0\r\n$8\r\nprefixes\r\n*0\r\n")


@pytest.mark.parametrize("options", ["on", "on bcast", "on optout", "on optin bcast", "on optin redirect 1",
                                     "on optin prefix a", "off bcast"])
def test_tracking_that_would_promise_something_is_refused(client, options):
    assert client.error("client", "tracking", *options.split()).startswith(
        "ERR CLIENT TRACKING isn't supported but for ON OPTIN: this server doesn't say when")
    assert client.ask("client", "getredir") == -1


def test_reset_ends_tracking(client):
    client.ask("client", "tracking", "on", "optin")
    assert client.ask("reset") == b"RESET"
    assert client.ask("client", "getredir") == -1
    assert client.error("client", "tracking", "maybe").startswith("ERR syntax error, found 'maybe'")


def test_a_client_is_killed_by_id_and_by_address(serving, client):
    first, second, third = [serving.connect() for _ in range(3)]
    ids = [one.ask("client", "id") for one in (first, second, third)]
    address = "%s:%d" % second.sock.getsockname()
    first.ask("subscribe", "s")
    assert client.ask("client", "kill", "id", ids[0]) == 1
    first.recv_end()
    assert client.ask("client", "kill", "id", ids[0]) == 0
    assert client.ask("client", "kill", "addr", address) == 1
    second.recv_end()
    assert client.ask("client", "kill", "%s:%d" % third.sock.getsockname()) == b"OK"
    third.recv_end()
    assert len(serving.poller.feeds) == 0
    assert client.ask("ping") == b"PONG"


def test_clients_are_listed_by_type_and_by_id(serving, client):
    other = serving.connect()
    other.ask("subscribe", "s")

    def listed(*arguments):
        return [line.split(" ")[0] for line in client.ask("client", "list", *arguments).decode().splitlines()]

    assert listed() == ["id=1", "id=2"]
    assert (listed("type", "normal"), listed("TYPE", "pubsub"), listed("type", "replica")) == (["id=1"], ["id=2"], [])
    assert (listed("id", 2, 7), listed("ID", 1, 2)) == (["id=2"], ["id=1", "id=2"])


def test_clients_are_killed_if_they_pass_all_filters_and_aren_t_the_one_that_asks(serving, client):
    follower, other = serving.connect(), serving.connect()
    follower.ask("subscribe", "s")
    other.ask("ping")
    assert client.ask("client", "kill", "type", "pubsub", "user", "nobody") == 0
    assert client.ask("client", "kill", "maxage", 3600) == 0
    assert client.ask("client", "kill", "TYPE", "pubsub", "USER", "default", "SKIPME", "yes") == 1
    follower.recv_end()
    assert client.ask("client", "kill", "maxage", 0) == 1
    other.recv_end()
    assert client.ask("client", "kill", "maxage", 0, "skipme", "no") == 1
    client.recv_end()


def test_a_client_may_kill_itself_and_gets_the_reply(serving, client):
    client.ask("subscribe", "s")
    client.send(resp.command("client", "kill", "id", 1) * 3 + publish("s", "d"))
    client.recv_exactly(b":1\r\n")
    client.recv_end()
    assert serving.store.position == 0
    eventually(lambda: len(serving.poller.feeds) == 0)


# -- the server's own ---------------------------------------------------------

def test_config_tells_settings_by_pattern(serving, client, client3):
    found = client.ask("config", "get", "max-*", "PORT")
    settings = dict(zip(found[::2], found[1::2]))
    assert settings[b"port"] == b"%d" % serving.port
    assert settings[b"max-event-size"] == b"%d" % (16 << 20)
    assert set(settings) == {b"port", b"max-request-size", b"max-event-size", b"max-metadata-size", b"max-arguments",
                             b"max-connections", b"max-pending-input", b"max-pending-output",
                             b"max-subscriptions", b"max-unread"}
    assert client.ask("config", "get", "nothing-such") == []
    assert client3.ask("config", "get", "save", "appendonly") == {b"save": b"", b"appendonly": b"yes"}
    assert b"GET pattern [pattern ...]" in client.ask("config", "help")
    assert client.error("config", "odd") == "ERR unknown subcommand 'odd'. Try CONFIG HELP."


# -- order --------------------------------------------------------------------

PIPELINE = b"".join([
    publish("s", "zero"), resp.command("last-event-number", "s"), resp.command("subscribe", "s:0:2"),
    publish("s", "one"), publish("s", "two"), resp.command("nope"), resp.command("stream-names"),
    resp.command("follow", "$all", 2, "TO", 3), publish("t", "x"), resp.command("unsubscribe", "s"),
    resp.command("last-event-number", "s"), resp.command("ping")])

ERROR = b"-ERR unknown command 'nope', with args beginning with: \r\n"


def pipeline_replies(stream_time):
    """The replies to PIPELINE in order, and the one event that comes when it likes, after its publish's commit."""
    return [OK, last_number("s", 0), subscribed("s") + event("s", 0, "x", "zero"), OK + OK, ERROR,
            b"*2\r\n+stream-names\r\n+s\r\n",
            subscribed("$all") + recorded(2, "s", 2, "two", time=stream_time), OK, unsubscribed("s"),
            last_number("s", 2), b"+PONG\r\n"]


@pytest.mark.parametrize("sync", ["always", "no"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, len(PIPELINE)])
def test_a_pipeline_is_answered_in_order_however_it_is_cut(tmp_path, sync, size):
    with Serving(tmp_path / "db", sync=sync) as serving:
        client = serving.connect()
        for i in range(0, len(PIPELINE), size):
            client.send(PIPELINE[i:i + size])
        found = b""
        while not found.endswith(b"+PONG\r\n"):
            found += client.sock.recv(4096)
        live = event("s", 1, "x", "one")
        assert found.count(live) == 1
        assert found.index(live) > found.index(b"zero")
        assert found.replace(live, b"") == b"".join(pipeline_replies(times(serving)[2]))


def test_a_pipeline_of_every_kind_is_answered_in_order_under_a_slow_disk(tmp_path):
    disk = SlowDisk()
    with Serving(tmp_path / "db", sync="always", files=disk) as serving:
        client, other = serving.connect(), serving.connect()
        disk.gate.clear()
        client.send(publish("s", "0") + publish("s", "1"))
        assert disk.waiting.wait(10)
        client.send(publish("s", "2") + resp.command("last-event-number", "s") + publish("s", "3"))
        other.send(publish("s", "4") + resp.command("ping"))
        other.sock.settimeout(0.05)
        with pytest.raises(socket.timeout):
            other.sock.recv(1)
        other.sock.settimeout(10)
        disk.gate.set()
        client.recv_exactly(OK * 3)
        assert client.value()[2] in (2, 3)      # the other's may have come before
        assert client.value() == b"OK"          # which may have come with it
        other.recv_exactly(OK + b"+PONG\r\n")


# -- a store that fails -------------------------------------------------------

def test_a_full_disk_refuses_publishes_by_code_and_they_go_on_when_there_is_room(tmp_path, caplog):
    disk = FailingDisk()
    with Serving(tmp_path / "db", files=disk) as serving:
        client = serving.connect()
        for _ in range(2):
            disk.write_error = OSError(28, "No space left on device")
            client.send(publish("s", "lost") * 3)
            for _ in range(3):
                answer = client.value()
                assert answer.code == "STOREFULL" and "No space left on device" in answer.args[0]
            disk.write_error = None
            assert client.ask("publish", "s", "x", "kept") == b"OK"
        assert client.ask("last-event-number", "s") == [b"last-event-number", b"s", 1]
        refused = [r for r in caplog.records if r.name == "meilies.commit"]
        assert len(refused) == 2                # one line for each time that the disk was full
        client.command("subscribe", "s:0")
        client.recv_exactly(subscribed("s") + event("s", 0, "x", "kept") + event("s", 1, "x", "kept"))


@pytest.mark.parametrize("sync", ["always", "no"])
def test_a_failed_disk_refuses_publishes_for_good_and_reading_goes_on(tmp_path, caplog, sync):
    disk = FailingDisk()
    with Serving(tmp_path / "db", sync=sync, files=disk) as serving:
        client = serving.connect()
        assert client.ask("publish", "s", "x", "kept") == b"OK"
        serving.store.sync()
        if sync == "always":
            disk.sync_error = OSError(5, "Input/output error")
        else:
            disk.write_error = OSError(5, "Input/output error")
        for _ in range(2):
            answer = client.ask("publish", "s", "x", "lost")
            assert answer.code == "STOREFAILED" and "Input/output error" in answer.args[0]
            disk.sync_error = disk.write_error = None       # that helps nobody
        assert client.ask("last-event-number", "s") == [b"last-event-number", b"s", 0]
        assert b"failed:1\r\n" in client.ask("info", "persistence")
        client.command("subscribe", "s:0", "$all:0")
        client.recv_exactly(subscribed("s") + event("s", 0, "x", "kept")
                            + subscribed("$all") + event("s", 0, "x", "kept"))
        client.recv_nothing()
        assert len([r for r in caplog.records if r.name == "meilies.commit"]) == 1


def test_who_followed_more_than_a_failed_disk_kept_waits_and_no_error_is_logged(tmp_path, caplog):
    disk = FailingDisk()
    with Serving(tmp_path / "db", files=disk) as serving:
        client = serving.connect()
        client.ask("publish", "s", "x", "kept")
        serving.store.sync()
        client.ask("subscribe", "s:2")
        for data in "1", "2":
            assert client.ask("publish", "s", "x", data) == b"OK"
        assert client.value() == [b"event", b"s", 2, b"x", b"2"]
        disk.sync_error = OSError(5, "Input/output error")
        with pytest.raises(Exception, match="Input/output"):
            serving.store.sync()
        assert serving.store.last_number("s") == 0
        other = serving.connect()
        other.command("subscribe", "s:1", "$all:0")
        other.recv_exactly(subscribed("s") + subscribed("$all") + event("s", 0, "x", "kept"))
        other.recv_nothing()
        assert not [r for r in caplog.records if r.name in ("meilies.feed", "meilies.workers")]


def test_damage_that_a_follower_meets_is_told_and_ends_its_subscription_alone(serving, client, monkeypatch):
    fill(serving, "s", 3)

    def damaged(*arguments):
        raise CorruptSegment("/db/0.segment", 128, "why", "s", 1)

    for name in "records", "frames":
        monkeypatch.setattr(serving.store, name, damaged)
    client.command("subscribe", "s:1", "t")
    assert client.value() == [b"subscribed", b"s"]
    answers = [client.value(), client.value()]
    assert [b"subscribed", b"t"] in answers
    error = next(one for one in answers if isinstance(one, ErrorReply))
    assert error.args[0].startswith("CORRUPT /db/0.segment: event 1 of stream 's' at byte 128")
    assert list(serving.only_connection().subscriptions) == [("stream", b"t")]
    assert client.ask("publish", "s", "x", "3") == b"OK"


def test_the_protocol_is_spoken_by_hand_too(serving):
    """RESP takes an array of simple strings, which people type into nc."""
    client = Client("127.0.0.1", serving.port)
    client.send(b"*4\r\n+publish\r\n+s\r\n+x\r\n+typed\r\n*2\r\n+subscribe\r\n+s:0\r\n")
    client.recv_exactly(OK + subscribed("s") + event("s", 0, "x", "typed"))
    client.close()


def test_the_log_names_a_client_that_is_cut_off_on_one_line(serving, client, caplog):
    caplog.set_level(logging.WARNING)
    client.send(b"*1\r\n$\x1b[31m\r\nFAKE LOG LINE\r\n")
    assert client.sock.recv(4096).startswith(b"-ERR Protocol error at byte 4: ")
    client.recv_end()
    [record] = [r for r in caplog.records if r.name == "meilies.server"]
    line = record.getMessage()
    assert line.startswith("client 1 at 127.0.0.1:") and "is cut off: Protocol error at byte 4" in line
    assert line.isprintable()


def test_commands_modules_names_are_what_the_transcript_and_design_name():
    assert {b"publish", b"subscribe", b"unsubscribe", b"follow", b"unfollow", b"last-event-number",
            b"search-streams",
            b"stream-names", b"hello", b"ping", b"echo", b"quit", b"reset", b"select", b"client", b"info",
            b"psubscribe", b"punsubscribe", b"pubsub",
            b"multi", b"exec", b"discard", b"watch", b"unwatch",
            b"time", b"config", b"command", b"slowlog", b"latency",
            b"append",
            b"xadd", b"xlen", b"xtrim", b"xdel", b"xsetid", b"del", b"unlink",
            b"dcb-read", b"dcb-append",
            b"read", b"read-back", b"read-last", b"stream-info",
            b"group-create", b"group-delete", b"groups", b"group-read", b"group-ack", b"group-refuse", b"group-leave",
            b"group-parked", b"group-replay", b"group-discard", b"group-info", b"xgroup", b"xreadgroup", b"xack",
            b"xpending", b"xclaim", b"xautoclaim",
            b"retain", b"retention", b"truncate", b"delete", b"redact", b"compact",
            b"monitor", b"backup", b"check", b"export", b"import", b"chain-head", b"verify",
            b"snapshot-put", b"snapshot-get", b"snapshot-delete", b"auth", b"acl",
            b"scan", b"keys", b"dbsize", b"randomkey", b"type", b"exists", b"touch", b"ttl", b"pttl", b"expiretime",
            b"pexpiretime", b"persist", b"object", b"memory",
            b"xrange", b"xrevrange", b"xread", b"xinfo",
            b"role", b"wait", b"module", b"lastsave", b"lolwut"} == set(commands.COMMANDS)
