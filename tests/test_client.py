"""The client against servers that say exactly what they are told to."""

import contextlib
import socket
import threading
import time
from types import SimpleNamespace

import pytest
from both_clients import blocking_only, driver, each_client
from fake_server import (
    CLOCK,
    HELLO,
    UNKNOWN,
    FakeMeilies,
    FakeServer,
    event,
    free_port,
    hello,
    last_number,
    names,
    recorded,
    subscribed,
)

import meilies_operations
import meilies_session
from meilies_client import (
    BadReply,
    CannotConnect,
    Client,
    ClientError,
    Disconnected,
    Event,
    Gap,
    NothingCame,
    PublishInterrupted,
    Refused,
    Selector,
    ServerInfo,
    StoreChanged,
    TimedOut,
    Unsupported,
)
from meilies_operations import fibonacci
from meilies_session import Reply, Session
from resp import Parser, command

__all__ = ["driver"]

pytestmark = each_client

PUBLISH = command("publish", "orders", "created", b"one")


def client(server, **options):
    return Client(port=server.port, **{"delay": 0.001, "timeout": 5.0, **options})


# -- publish and ask

def test_a_publish_is_one_request_and_returns_when_it_is_acknowledged():
    def script(peer):
        peer.answer(PUBLISH, b"+OK\r\n")
        peer.expect_close()

    with FakeServer(script) as server, client(server) as one:
        one.publish("orders", "created", b"one")


@pytest.mark.parametrize("data", [b"one", "one", bytearray(b"one"), memoryview(b"one")])
def test_data_may_be_bytes_or_text(data):
    with FakeServer(lambda peer: peer.answer(PUBLISH, b"+OK\r\n")) as server, client(server) as one:
        one.publish("orders", "created", data)


def test_data_that_is_neither_is_refused_without_connecting():
    with Client(port=free_port()) as one, pytest.raises(TypeError, match="data is int, expected bytes"):
        one.publish("s", "n", 5)


@pytest.mark.parametrize("stream, name, why", [
    ("", "n", "stream is empty"),
    ("a:b", "n", "stream 'a:b' holds ':'"),
    ("a\r", "n", "holds CR, LF or NUL"),
    ("\ud800", "n", "is not UTF-8 text"),
    ("$all", "n", "nothing can be published to it"),
    ("s", "", "event name is empty"),
    ("s", "a\0", "holds CR, LF or NUL"),
])
def test_what_can_not_be_an_event_is_not_sent(stream, name, why):
    with Client(port=free_port()) as one, pytest.raises(ValueError) as caught:
        one.publish(stream, name)
    assert why in str(caught.value)


def test_a_batch_is_sent_without_waiting_for_each_reply():
    def script(peer):
        peer.expect(PUBLISH * 3)
        peer.send(b"+OK\r\n" * 3)

    with FakeServer(script) as server, client(server) as one:
        assert one.publish_many("orders", [("created", b"one")] * 3) == 3


def test_a_batch_may_mix_streams():
    def script(peer):
        peer.expect(command("publish", "a", "x", b"1") + command("publish", "b", "y", b"2"))
        peer.send(b"+OK\r\n+OK\r\n")

    with FakeServer(script) as server, client(server) as one:
        assert one.publish_batch([("a", "x", b"1"), ("b", "y", b"2")]) == 2


def test_an_empty_batch_needs_no_server():
    assert Client(port=free_port()).publish_batch([]) == 0


def test_no_more_than_two_windows_are_under_way(monkeypatch):
    monkeypatch.setattr(meilies_operations, "WINDOW_EVENTS", 2)
    one = command("publish", "s", "n", b"")

    def script(peer):
        peer.expect(one * 4)
        peer.sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            peer.sock.recv(1)
        peer.sock.settimeout(5)
        peer.send(b"+OK\r\n" * 4)
        peer.expect(one * 1)
        peer.send(b"+OK\r\n")

    with FakeServer(script) as server, client(server) as caller:
        assert caller.publish_many("s", [("n", b"")] * 5) == 5


def test_a_window_ends_at_its_bytes_as_well(monkeypatch):
    monkeypatch.setattr(meilies_operations, "WINDOW_BYTES", 2 * len(command("publish", "s", "n", b"4444")))
    windows = meilies_operations._windows((4, 4, 300, 1), lambda size: command("publish", "s", "n", b"x" * size))
    assert [len(window) for window in windows] == [2, 1, 1]


def test_a_pipeline_larger_than_every_buffer_does_not_deadlock():
    with FakeServer(_acknowledging) as server, client(server) as one:
        assert one.publish_many("s", (("n", bytes(1 << 20)) for _ in range(40))) == 40


def _acknowledging(peer):
    """Take publishes for as long as they come, and reply in RESP's shortest form."""
    requests = Parser()
    while data := peer.sock.recv(1 << 16):
        requests.feed(data)
        for _ in requests.values():
            peer.send(b"+OK\r\n")


def test_a_refused_publish_says_why_and_the_connection_goes_on():
    def script(peer):
        peer.answer(PUBLISH, b"-ERR no room\r\n")
        peer.answer(PUBLISH, b"+OK\r\n")

    with FakeServer(script) as server, client(server) as one:
        with pytest.raises(Refused, match="^the server refused: ERR no room$") as caught:
            one.publish("orders", "created", b"one")
        assert caught.value.reply.code == "ERR"
        one.publish("orders", "created", b"one")


def test_a_refusal_in_a_batch_says_which_and_how_many_were_stored():
    def script(peer):
        peer.expect(PUBLISH * 4)
        peer.send(b"+OK\r\n-ERR first\r\n-ERR second\r\n+OK\r\n")

    with FakeServer(script) as server, client(server) as one:
        with pytest.raises(Refused) as caught:
            one.publish_many("orders", [("created", b"one")] * 4)
    assert str(caught.value) == "the server refused: event 1 of the batch: ERR first"
    assert (caught.value.index, caught.value.acknowledged) == (1, 2)


def test_after_a_refusal_no_further_window_is_sent(monkeypatch):
    monkeypatch.setattr(meilies_operations, "WINDOW_EVENTS", 1)

    def script(peer):
        peer.expect(PUBLISH * 2)
        peer.send(b"-ERR no\r\n+OK\r\n")
        peer.expect_close()

    with FakeServer(script) as server, client(server) as one:
        with pytest.raises(Refused):
            one.publish_many("orders", [("created", b"one")] * 9)


def test_an_interrupted_publish_has_an_unknown_fate_and_is_not_sent_again():
    def script(peer):
        peer.expect(PUBLISH)

    with FakeServer(script) as server, client(server) as one:
        with pytest.raises(PublishInterrupted, match="closed the connection; .* fate of 1 ") as caught:
            one.publish("orders", "created", b"one")
    assert (caught.value.acknowledged, caught.value.unknown) == (0, 1)


def test_an_interrupted_batch_says_how_many_were_acknowledged():
    def script(peer):
        peer.expect(PUBLISH * 5)
        peer.send(b"+OK\r\n+OK\r\n-ERR no\r\n+O")

    with FakeServer(script) as server, client(server) as one:
        with pytest.raises(PublishInterrupted, match="event 2 was refused: ERR no") as caught:
            one.publish_many("orders", [("created", b"one")] * 5)
    assert (caught.value.acknowledged, caught.value.unknown) == (2, 2)


def test_a_publish_whose_reply_is_late_closes_the_connection():
    def late(peer):
        peer.expect(PUBLISH)
        peer.expect_close()

    def second(peer):
        peer.answer(command("last-event-number", "orders"), last_number("orders", 3))

    with FakeServer(late, second) as server, client(server, timeout=0.05) as one:
        with pytest.raises(PublishInterrupted, match="did nothing for 0.05 s") as caught:
            one.publish("orders", "created", b"one")
        assert isinstance(caught.value.__cause__, TimedOut)
        one.timeout = 5.0
        assert one.last_event_number("orders") == 3


@pytest.mark.parametrize("reply", [b"?what\r\n", b":1\r\n", b"$-1\r\n", event("s", 0)])
def test_a_publish_answered_with_anything_else_closes_the_connection(reply):
    def script(peer):
        peer.answer(PUBLISH, reply)
        peer.expect_close()

    with FakeServer(script) as server, client(server) as one:
        with pytest.raises(PublishInterrupted) as caught:
            one.publish("orders", "created", b"one")
        assert isinstance(caught.value.__cause__, BadReply)


def test_what_the_events_raise_passes_through_and_closes_the_connection(monkeypatch):
    monkeypatch.setattr(meilies_operations, "WINDOW_EVENTS", 1)

    def script(peer):
        peer.expect(PUBLISH)
        peer.expect_close()

    def events():
        yield "created", b"one"
        raise KeyboardInterrupt

    with FakeServer(script) as server, client(server) as one:
        with pytest.raises(KeyboardInterrupt):
            one.publish_many("orders", events())


@blocking_only
def test_a_client_that_another_thread_closes_ends_its_request_with_an_error():
    asked = threading.Event()

    def silent(peer):
        peer.expect(command("last-event-number", "orders"))
        asked.set()
        peer.expect_close()

    def ask(one, errors):
        try:
            one.last_event_number("orders")
        except ClientError as error:
            errors.append(error)

    errors = []
    with FakeServer(silent) as server, client(server, timeout=60.0) as one:
        thread = threading.Thread(target=ask, args=(one, errors))
        thread.start()
        assert asked.wait(5)
        one.close()
        thread.join(5)
        assert not thread.is_alive() and [str(error) for error in errors] == ["this Client is closed"]


def test_a_connection_that_was_closed_meanwhile_is_replaced_before_a_publish():
    closed = threading.Event()

    def first(peer):
        peer.answer(PUBLISH, b"+OK\r\n")
        peer.close()
        closed.set()

    with FakeServer(first, lambda peer: peer.answer(PUBLISH, b"+OK\r\n")) as server, client(server) as one:
        one.publish("orders", "created", b"one")
        assert closed.wait(5)
        one.publish("orders", "created", b"one")


def test_a_connection_that_was_reset_meanwhile_is_replaced_before_a_publish():
    closed = threading.Event()

    def first(peer):
        peer.answer(PUBLISH, b"+OK\r\n")
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.close()
        closed.set()

    with FakeServer(first, lambda peer: peer.answer(PUBLISH, b"+OK\r\n")) as server, client(server) as one:
        one.publish("orders", "created", b"one")
        assert closed.wait(5)
        one.publish("orders", "created", b"one")


def test_a_connection_on_which_something_came_unasked_is_replaced():
    acknowledged, sent = threading.Event(), threading.Event()

    def first(peer):
        peer.answer(PUBLISH, b"+OK\r\n")
        assert acknowledged.wait(5)
        peer.send(b"-ERR going down\r\n")
        sent.set()
        peer.expect_close()

    with FakeServer(first, lambda peer: peer.answer(PUBLISH, b"+OK\r\n")) as server, client(server) as one:
        one.publish("orders", "created", b"one")
        acknowledged.set()
        assert sent.wait(5)
        one.publish("orders", "created", b"one")


def test_a_publish_waits_for_a_server_that_is_not_there_yet():
    port = free_port()
    tried = threading.Event()

    class Pauses(list):
        def __next__(self):
            tried.set()
            return 0.01

    started = []

    def start_late():
        assert tried.wait(5)
        with FakeServer(lambda peer: peer.answer(PUBLISH, b"+OK\r\n"), port=port) as server:
            started.append(server.port)

    thread = threading.Thread(target=start_late)
    thread.start()
    with pytest.MonkeyPatch.context() as patch, Client(port=port, tries=1000) as one:
        patch.setattr(meilies_operations, "fibonacci", lambda first: Pauses())
        one.publish("orders", "created", b"one")
    thread.join(5)
    assert started == [port]


def test_without_tries_a_refused_connection_is_told_at_once():
    port = free_port()
    with pytest.raises(CannotConnect, match=f"^cannot connect to 127.0.0.1:{port}: Connection refused$"):
        Client(port=port, tries=0).publish("s", "n")


def test_no_more_than_the_tries_are_made(caplog):
    with pytest.raises(CannotConnect):
        Client(port=free_port(), tries=3, delay=0.001).last_event_number("s")
    assert len(caplog.records) == 3


def test_a_name_that_does_not_resolve_can_not_be_connected_to():
    with pytest.raises(CannotConnect, match="cannot connect to name.invalid:6480"):
        Client("name.invalid", tries=0).ping()


def test_pauses_grow_as_fibonacci_numbers_to_a_hundred_times_the_first():
    pauses = fibonacci(0.1)
    assert [round(next(pauses), 3) for _ in range(7)] == [0.1, 0.1, 0.2, 0.3, 0.5, 0.8, 1.3]
    assert [next(pauses) for _ in range(100)][-1] == 10.0


def test_last_event_number_is_a_number_or_none():
    def script(peer):
        peer.answer(command("last-event-number", "s"), last_number("s", 4))
        peer.answer(command("last-event-number", "s"), last_number("s", None))

    with FakeServer(script) as server, client(server) as one:
        assert one.last_event_number("s") == 4
        assert one.last_event_number("s") is None


def test_stream_names_are_text():
    with FakeServer(lambda peer: peer.answer(command("stream-names"), names("ä", "b"))) as server:
        with client(server) as one:
            assert one.stream_names() == ["ä", "b"]


def test_ping_takes_some_time():
    with FakeServer(lambda peer: peer.answer(command("PING"), b"+PONG\r\n")) as server, client(server) as one:
        assert 0 < one.ping() < 5


def test_a_question_whose_answer_was_lost_is_asked_again():
    request = command("last-event-number", "s")

    def cut(peer):
        peer.answer(request, b"*3\r\n")

    with FakeServer(cut, lambda peer: peer.answer(request, last_number("s", 1))) as server:
        with client(server) as one:
            assert one.last_event_number("s") == 1


def test_a_question_whose_answer_is_lost_again_and_again_ends_in_an_error():
    def cut(peer):
        peer.expect(command("PING"))

    with FakeServer(cut, cut) as server, client(server, tries=1) as one:
        with pytest.raises(Disconnected):
            one.ping()


def test_a_late_answer_does_not_reach_the_next_question():
    def late(peer):
        peer.expect(command("stream-names"))
        peer.expect_close()

    with FakeServer(late, lambda peer: peer.answer(command("stream-names"), names("new"))) as server:
        with client(server, timeout=0.05) as one:
            with pytest.raises(TimedOut):
                one.stream_names()
            one.timeout = 5.0
            assert one.stream_names() == ["new"]


@pytest.mark.parametrize("reply", [
    b"+OK\r\n", b"*2\r\n+last-event-number\r\n+s\r\n", b"*3\r\n+last-event-number\r\n+s\r\n+x\r\n",
    names("s"), b"*0\r\n",
])
def test_an_answer_to_something_else_closes_the_connection(reply):
    def script(peer):
        peer.answer(command("last-event-number", "s"), reply)
        peer.expect_close()

    with FakeServer(script) as server, client(server) as one, pytest.raises(BadReply):
        one.last_event_number("s")


def test_a_name_that_is_not_text_is_a_bad_reply():
    reply = b"*2\r\n+stream-names\r\n+\xff\r\n"
    with FakeServer(lambda peer: peer.answer(command("stream-names"), reply)) as server:
        with client(server) as one, pytest.raises(BadReply, match="expected a name"):
            one.stream_names()


def test_a_refused_question_leaves_the_connection_open():
    def script(peer):
        peer.answer(command("stream-names"), b"-ERR no\r\n")
        peer.answer(command("stream-names"), names())

    with FakeServer(script) as server, client(server) as one:
        with pytest.raises(Refused):
            one.stream_names()
        assert one.stream_names() == []


def test_an_interrupt_in_the_middle_of_a_question_closes_the_connection(monkeypatch):
    def interrupt(self, timeout):
        raise KeyboardInterrupt

    def script(peer):
        peer.expect(command("PING"))
        peer.expect_close()

    monkeypatch.setattr(meilies_operations.Connection, "receive_replies", interrupt)
    with FakeServer(script) as server, client(server) as one, pytest.raises(KeyboardInterrupt):
        one.ping()


@blocking_only
def test_a_second_thread_is_told_that_the_client_is_in_use():
    asked, answer = threading.Event(), threading.Event()

    def script(peer):
        peer.expect(command("PING"))
        asked.set()
        assert answer.wait(5)
        peer.send(b"+PONG\r\n")

    with FakeServer(script) as server, client(server) as one:
        thread = threading.Thread(target=one.ping)
        thread.start()
        assert asked.wait(5)
        with pytest.raises(RuntimeError, match="give each thread a Client of its own"):
            one.publish("s", "n")
        answer.set()
        thread.join(5)


def test_a_closed_client_connects_no_more():
    one = Client(port=free_port(), tries=0)
    one.close()
    with pytest.raises(ClientError, match="this Client is closed"):
        one.ping()


def test_server_info_tells_the_store_and_its_epoch():
    with FakeServer(lambda peer: peer.answer(HELLO, hello("cd" * 16, 3))) as server, client(server) as one:
        assert one.server_info() == ServerInfo("1.0.0", "cd" * 16, 3)


def test_server_info_understands_a_map():
    reply = b"%2\r\n$6\r\nserver\r\n$7\r\nmeilies\r\n$7\r\nversion\r\n$1\r\n2\r\n"
    with FakeServer(lambda peer: peer.answer(HELLO, reply)) as server, client(server) as one:
        assert one.server_info() == ServerInfo("2", None, None)


def test_server_info_of_meilies_is_none_and_the_next_question_gets_a_new_connection():
    def refuses(peer):
        peer.answer(HELLO, UNKNOWN)

    with FakeServer(refuses, lambda peer: peer.answer(command("stream-names"), names())) as server:
        with client(server) as one:
            assert one.server_info() is None
            assert one.stream_names() == []


@pytest.mark.parametrize("reply, error", [
    (b"*2\r\n$6\r\nserver\r\n$5\r\nredis\r\n", Unsupported), (b"+OK\r\n", BadReply), (b"*0\r\n", BadReply),
    (b"-NOAUTH who are you\r\n", Refused),
])
def test_server_info_of_anything_else_is_an_error(reply, error):
    with FakeServer(lambda peer: peer.answer(HELLO, reply)) as server, client(server) as one:
        with pytest.raises(error):
            one.server_info()


def test_a_connection_that_breaks_while_sending_is_an_interrupted_publish():
    def script(peer):
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.sock.recv(10)

    with FakeServer(script) as server, client(server) as one:
        with pytest.raises(PublishInterrupted, match="connection to .* lost"):
            one.publish("s", "n", b"x" * (30 << 20))


# -- the bytes of a connection

SAID = (recorded(0, "s", 0, "n", b"\r\n*9\r\n") + b"+OK\r\n" + recorded(1, "ü", 9, "n", b"x" * 50)
        + recorded(2, "s", 1, "n", b"", b"id") + last_number("s", 2) + event("s", 3) + recorded(3, "s", 2))


def said(session, *pieces):
    session.request("first", "a")
    session.request("second", "b")
    return [item for piece in pieces for item in session.receive_data(piece)]


def test_however_it_is_split_the_same_is_read():
    whole = said(Session(), SAID)
    assert [item.position for item in whole if isinstance(item, Event)] == [0, 1, 2, None, 3]
    assert [(item.asked, item.value) for item in whole if isinstance(item, Reply)] == [
        ("first", b"OK"), ("second", [b"last-event-number", b"s", 2])]
    assert said(Session(), *[bytes([byte]) for byte in SAID]) == whole
    for at in range(len(SAID)):
        assert said(Session(), SAID[:at], SAID[at:]) == whole


def test_an_event_of_a_stream_that_is_not_text_is_a_bad_reply_behind_the_events_before_it():
    items = Session().receive_data(recorded(0, "s", 0) + recorded(1, "?", 0).replace(b"?", b"\xff"))
    assert next(items).position == 0
    with pytest.raises(BadReply):
        next(items)


def test_what_no_request_asked_for_is_a_bad_reply():
    with pytest.raises(BadReply, match="nothing was asked"):
        list(Session().receive_data(b"+OK\r\n"))


# -- selectors

@pytest.mark.parametrize("text, selector", [
    ("orders", Selector("orders")),
    ("orders:5", Selector("orders", from_=5)),
    ("orders:5:9", Selector("orders", from_=5, to=9)),
    ("$all:00", Selector("$all", 0)),
    ("a b:18446744073709551615", Selector("a b", 2**64 - 1)),
])
def test_a_selector_is_read_and_written(text, selector):
    assert Selector.parse(text) == selector
    assert Selector.parse(str(selector)) == selector


@pytest.mark.parametrize("text", [
    "", ":0", "s:", "s:-1", "s:+1", "s::0", "s:0:", "s: 1", "s:1_0", "s:x", "s:3:3", "s:3:1", "s:1:2:3",
    "s:18446744073709551616", "s:" + "9" * 5000, "s:٣", "a\n:0",
])
def test_what_is_no_selector_is_refused(text):
    with pytest.raises(ValueError):
        Selector.parse(text)


@pytest.mark.parametrize("arguments", [("s", -1), ("s", 0, 2**64), ("s:0",)])
def test_a_selector_can_not_be_made_wrong(arguments):
    with pytest.raises(ValueError):
        Selector(*arguments)


def test_a_selector_without_from_may_have_a_to():
    assert str(Selector("s", to=9)) == "s"


@pytest.mark.parametrize("selectors, why", [
    ([], "no stream to follow"), (["a", "a:3"], "named twice"), (["$all", "a"], "holds every stream")])
def test_selectors_that_contradict_are_refused_before_connecting(selectors, why):
    with Client(port=free_port()) as one, pytest.raises(ValueError, match=why):
        one.subscribe(*selectors)


# -- subscribe

FOLLOW_5 = command("follow", "stream", "orders", 5)


def follows(*values, request=FOLLOW_5, store="ab" * 16, epoch=1, key="orders"):
    """A script: HELLO, the request, its acknowledgement and then `values`; then it closes."""
    def script(peer):
        peer.answer(HELLO, hello(store, epoch))
        peer.answer(request, subscribed(key) + b"".join(values))
    return script


def stays(script):
    """The same, but it is the client that closes."""
    def waits(peer):
        script(peer)
        peer.expect_close()
    return waits


def test_a_subscription_is_an_iterator_over_events():
    values = recorded(70, "orders", 5, "created", b"five", b"id", b"meta"), recorded(71, "orders", 6)
    with FakeServer(stays(follows(*values))) as server, client(server) as one:
        with one.subscribe("orders:5") as subscription:
            assert next(subscription) == Event("orders", 5, "created", b"five", b"id", b"meta", 70, CLOCK)
            assert next(subscription).number == 6
            assert subscription.server == ServerInfo("1.0.0", "ab" * 16, 1)


def test_an_event_can_not_be_changed():
    with pytest.raises(AttributeError):
        Event("s", 0, "n", b"").number = 1
    assert not hasattr(Event("s", 0, "n", b""), "__dict__")


def test_a_subscription_ends_before_its_to():
    script = follows(recorded(0, "orders", 5), recorded(1, "orders", 6),
                     request=command("follow", "stream", "orders", 5, "TO", 7))
    with FakeServer(stays(script)) as server, client(server) as one:
        assert [event.number for event in one.subscribe("orders:5:7")] == [5, 6]


def test_a_subscription_to_all_counts_positions():
    script = follows(recorded(3, "a", 0), recorded(4, "b", 9), request=command("follow", "$all", 3, "TO", 5),
                     key="$all")
    with FakeServer(stays(script)) as server, client(server) as one:
        assert [event.position for event in one.subscribe("$all:3:5")] == [3, 4]


def test_without_from_it_asks_for_the_last_number_and_follows_from_the_next():
    def script(peer):
        peer.answer(HELLO, hello())
        peer.expect(command("last-event-number", "a") + command("last-event-number", "b"))
        peer.send(last_number("a", 4) + last_number("b", None))
        peer.expect(command("follow", "stream", "a", 5) + command("follow", "stream", "b", 0))
        peer.send(subscribed("a") + subscribed("b") + recorded(9, "b", 0))
        peer.expect_close()

    with FakeServer(script) as server, client(server) as one:
        with one.subscribe("a", "b") as subscription:
            assert next(subscription).stream == "b"


def test_all_without_from_asks_for_the_last_position():
    def script(peer):
        peer.answer(HELLO, hello())
        peer.answer(command("last-event-number", "$all"), last_number("$all", 8))
        peer.answer(command("follow", "$all", 9), subscribed("$all") + recorded(9, "a", 2))
        peer.expect_close()

    with FakeServer(script) as server, client(server) as one:
        with one.subscribe(Selector("$all")) as subscription:
            assert next(subscription).position == 9


def test_nothing_is_asked_when_nothing_is_left_before_to():
    def script(peer):
        peer.answer(HELLO, hello())
        peer.answer(command("last-event-number", "s"), last_number("s", 8))
        peer.expect_close()

    with FakeServer(script) as server, client(server) as one:
        assert list(one.subscribe(Selector("s", to=9))) == []


def test_many_streams_are_asked_for_a_hundred_at_a_time():
    streams = [f"s{i}" for i in range(150)]

    def script(peer):
        peer.answer(HELLO, hello())
        peer.expect(b"".join(command("follow", "stream", s, 0) for s in streams[:100]))
        peer.sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            peer.sock.recv(1)
        peer.sock.settimeout(5)
        peer.send(b"".join(map(subscribed, streams[:100])))
        peer.expect(b"".join(command("follow", "stream", s, 0) for s in streams[100:]))
        peer.send(b"".join(map(subscribed, streams[100:])) + recorded(0, "s149", 0))
        peer.expect_close()

    with FakeServer(script) as server, client(server) as one:
        with one.subscribe(*[f"{s}:0" for s in streams]) as subscription:
            assert next(subscription).stream == "s149"


def test_events_that_come_together_are_read_together():
    script = follows(recorded(0, "orders", 5), recorded(1, "orders", 6), recorded(2, "orders", 7))
    with FakeServer(stays(script)) as server, client(server) as one:
        subscription = one.subscribe("orders:5")
        came = subscription.read(5)
        while len(came) < 2:
            came += subscription.read(5)
        first = came[0]
        subscription.close()
    assert first.number == 5


def test_read_gives_what_the_iterator_left():
    script = follows(b"".join(recorded(i, "orders", 5 + i) for i in range(3)))
    with FakeServer(stays(script)) as server, client(server) as one:
        subscription = one.subscribe("orders:5")
        seen = [next(subscription)]
        while len(seen) < 3:
            seen += subscription.read(5)
    assert [event.number for event in seen] == [5, 6, 7]


def test_after_an_outage_it_resumes_behind_the_last_event_seen_and_keeps_to():
    first = follows(recorded(0, "orders", 5), recorded(1, "orders", 6),
                    request=command("follow", "stream", "orders", 5, "TO", 9))
    second = follows(recorded(2, "orders", 7), recorded(9, "orders", 8),
                     request=command("follow", "stream", "orders", 7, "TO", 9))
    with FakeServer(first, stays(second)) as server, client(server) as one:
        assert [event.number for event in one.subscribe("orders:5:9")] == [5, 6, 7, 8]


def test_after_an_outage_all_resumes_at_the_next_position():
    first = follows(recorded(3, "a", 0), request=command("follow", "$all", 3, "TO", 5), key="$all")
    second = follows(recorded(4, "b", 0), request=command("follow", "$all", 4, "TO", 5), key="$all")
    with FakeServer(first, stays(second)) as server, client(server) as one:
        assert [event.position for event in one.subscribe("$all:3:5")] == [3, 4]


def test_an_outage_before_the_first_event_loses_nothing_without_from():
    def first(peer):
        peer.answer(HELLO, hello())
        peer.answer(command("last-event-number", "s"), last_number("s", 8))
        peer.answer(command("follow", "stream", "s", 9), subscribed("s"))

    second = follows(recorded(0, "s", 9), request=command("follow", "stream", "s", 9), key="s")
    with FakeServer(first, stays(second)) as server, client(server) as one:
        with one.subscribe("s") as subscription:
            assert next(subscription).number == 9


def test_an_outage_while_asking_for_numbers_asks_again():
    def first(peer):
        peer.answer(HELLO, hello())
        peer.expect(command("last-event-number", "a") + command("last-event-number", "b"))
        peer.send(last_number("a", 8))

    def second(peer):
        peer.answer(HELLO, hello())
        peer.answer(command("last-event-number", "b"), last_number("b", 1))
        peer.expect(command("follow", "stream", "a", 9) + command("follow", "stream", "b", 2))
        peer.send(subscribed("a") + subscribed("b") + recorded(7, "a", 9))
        peer.expect_close()

    with FakeServer(first, second) as server, client(server) as one:
        with one.subscribe("a", "b") as subscription:
            assert next(subscription).number == 9


def test_events_seen_already_are_dropped():
    script = follows(recorded(0, "orders", 4), recorded(1, "orders", 5), recorded(1, "orders", 5),
                     recorded(2, "orders", 6))
    with FakeServer(stays(script)) as server, client(server) as one:
        subscription = one.subscribe("orders:5")
        assert [next(subscription).number, next(subscription).number] == [5, 6]


def test_a_gap_is_an_error_after_the_events_before_it():
    script = follows(recorded(0, "orders", 5), recorded(2, "orders", 7))
    with FakeServer(stays(script)) as server, client(server) as one:
        subscription = one.subscribe("orders:5")
        assert next(subscription).number == 5
        for _ in range(2):
            with pytest.raises(Gap, match="^orders: found event 7, expected 6; the subscription ends") as gap:
                next(subscription)
        assert (gap.value.stream, gap.value.expected, gap.value.found) == ("orders", 6, 7)


def test_a_gap_of_positions_is_an_error():
    script = follows(recorded(4, "a", 0), request=command("follow", "$all", 3), key="$all")
    with FakeServer(stays(script)) as server, client(server) as one:
        with pytest.raises(Gap, match=r"\$all: found position 4, expected 3"):
            next(one.subscribe("$all:3"))


@pytest.mark.parametrize("changed", [{"store": "cd" * 16}, {"epoch": 2}])
def test_resuming_on_another_store_or_epoch_is_an_error(changed):
    def second(peer):
        peer.answer(HELLO, hello(**changed))
        peer.expect_close()

    with FakeServer(follows(recorded(0, "orders", 5)), second) as server, client(server) as one:
        subscription = one.subscribe("orders:5")
        assert next(subscription).number == 5
        with pytest.raises(StoreChanged, match="numbers may mean other events now") as caught:
            next(subscription)
        assert caught.value.before == ServerInfo("1.0.0", "ab" * 16, 1)
        assert caught.value.after != caught.value.before


def test_resuming_on_another_store_is_possible_when_asked_for():
    second = follows(recorded(0, "orders", 6), store="cd" * 16,
                     request=command("follow", "stream", "orders", 6))
    with FakeServer(follows(recorded(0, "orders", 5)), stays(second)) as server, client(server) as one:
        subscription = one.subscribe("orders:5", accept_other_store=True)
        assert [next(subscription).number, next(subscription).number] == [5, 6]


def test_resuming_on_a_server_without_hello_is_an_error():
    with FakeServer(follows(), lambda peer: peer.answer(HELLO, UNKNOWN)) as server, client(server) as one:
        with pytest.raises(StoreChanged, match="found a server without HELLO") as caught:
            next(one.subscribe("orders:5"))
        assert caught.value.after is None


def test_a_subscription_that_can_not_connect_says_so_at_once():
    with Client(port=free_port(), tries=0) as one, pytest.raises(CannotConnect):
        one.subscribe("s:0")


def test_after_an_outage_no_more_than_the_tries_of_the_subscription_are_made(caplog):
    with FakeServer(follows(recorded(0, "orders", 5))) as server, client(server, tries=0) as one:
        subscription = one.subscribe("orders:5", tries=2)
        next(subscription)
        with pytest.raises(CannotConnect):
            next(subscription)
    assert len(caplog.records) == 2
    assert "closed the connection; trying again in 0.0 s" in caplog.records[0].getMessage()


def test_tries_count_anew_after_each_connection_that_worked():
    scripts = [follows(recorded(i, "orders", 5 + i), request=command("follow", "stream", "orders", 5 + i))
               for i in range(4)]
    with FakeServer(*scripts[:-1], stays(scripts[-1])) as server, client(server, tries=1) as one:
        subscription = one.subscribe("orders:5")
        assert [next(subscription).number for _ in range(4)] == [5, 6, 7, 8]


def test_a_server_that_is_silent_while_it_owes_a_reply_is_an_outage():
    def silent(peer):
        peer.expect(HELLO)
        peer.expect_close()

    with FakeServer(silent, stays(follows(recorded(0, "orders", 5)))) as server:
        with client(server, timeout=0.2) as one:
            with one.subscribe("orders:5") as subscription:
                assert next(subscription).number == 5


def test_a_caller_who_asks_often_does_not_hide_that_the_server_is_silent():
    def silent(peer):
        peer.answer(HELLO, hello())
        peer.expect(FOLLOW_5)
        peer.expect_close()

    with FakeServer(silent, stays(follows(recorded(0, "orders", 5)))) as server:
        with client(server, timeout=0.2) as one:
            subscription = one.subscribe("orders:5")
            assert _read_patiently(subscription, 0.01)[0].number == 5


def _read_patiently(subscription, timeout):
    until = time.monotonic() + 5
    while time.monotonic() < until:
        try:
            return subscription.read(timeout)
        except NothingCame:
            continue
    raise AssertionError("nothing came")


def test_a_subscription_may_be_silent_for_longer_than_the_timeout():
    told = threading.Event()

    def script(peer):
        follows()(peer)
        assert told.wait(5)
        peer.send(recorded(0, "orders", 5))
        peer.expect_close()

    with FakeServer(script) as server, client(server, timeout=0.05) as one:
        with one.subscribe("orders:5", timeout=0.2) as subscription:
            with pytest.raises(NothingCame):
                next(subscription)
            told.set()
            assert next(subscription).number == 5


def test_half_an_event_is_kept_when_the_caller_time_is_up():
    told = threading.Event()
    value = recorded(0, "orders", 5, data=b"five")

    def script(peer):
        follows(value[:30])(peer)
        assert told.wait(5)
        peer.send(value[30:])
        peer.expect_close()

    with FakeServer(script) as server, client(server) as one:
        subscription = one.subscribe("orders:5")
        with pytest.raises(NothingCame):
            subscription.read(0.1)
        told.set()
        assert subscription.read(5)[0].data == b"five"


def test_the_caller_time_also_ends_a_pause_between_tries():
    with FakeServer(follows(recorded(0, "orders", 5))) as server, client(server, delay=60) as one:
        subscription = one.subscribe("orders:5")
        next(subscription)
        started = time.monotonic()
        with pytest.raises(NothingCame):
            subscription.read(0.1)
        assert time.monotonic() - started < 5


@pytest.mark.parametrize("value, error", [
    (b"?\r\n", BadReply),
    (recorded(0, "other", 5), BadReply),
    (b"*5\r\n+event\r\n+orders\r\n+5\r\n+n\r\n$0\r\n\r\n", BadReply),
    (b"*9\r\n+recorded\r\n:0\r\n+orders\r\n:5\r\n+n\r\n:0\r\n$0\r\n\r\n$0\r\n\r\n:0\r\n", BadReply),
    (b"*9\r\n+recorded\r\n+0\r\n+orders\r\n:5\r\n+n\r\n$0\r\n\r\n$0\r\n\r\n$0\r\n\r\n:0\r\n", BadReply),
    (b"*5\r\n+event\r\n:1\r\n:5\r\n+n\r\n$0\r\n\r\n", BadReply),
    (b"-ERR unasked\r\n", BadReply),
    (b"*0\r\n", BadReply),
])
def test_a_bad_value_ends_the_subscription_after_what_was_good(value, error):
    with FakeServer(stays(follows(recorded(0, "orders", 5), value))) as server, client(server) as one:
        subscription = one.subscribe("orders:5")
        assert next(subscription).number == 5
        with pytest.raises(error):
            next(subscription)


def test_an_event_without_its_position_is_no_answer_to_following_all():
    script = follows(event("a", 0), request=command("follow", "$all", 0), key="$all")
    with FakeServer(stays(script)) as server, client(server) as one, pytest.raises(BadReply):
        next(one.subscribe("$all:0"))


def test_a_refused_follow_ends_the_subscription():
    def script(peer):
        peer.answer(HELLO, hello())
        peer.answer(FOLLOW_5, b"-ERR too many subscriptions\r\n")
        peer.expect_close()

    with FakeServer(script) as server, client(server) as one:
        with pytest.raises(Refused, match="too many subscriptions"):
            next(one.subscribe("orders:5"))


def test_an_interrupt_closes_the_subscription(monkeypatch):
    def interrupt(self, data):
        raise KeyboardInterrupt

    with FakeServer(stays(follows(recorded(0, "orders", 5)))) as server, client(server) as one:
        subscription = one.subscribe("orders:5")
        monkeypatch.setattr(meilies_session.Following, "receive_data", interrupt)
        with pytest.raises(KeyboardInterrupt):
            next(subscription)
        with pytest.raises(ClientError, match="was interrupted"):
            next(subscription)


def test_closing_a_subscription_ends_the_iteration():
    with FakeServer(stays(follows())) as server, client(server) as one:
        subscription = one.subscribe("orders:5")
        subscription.close()
        assert list(subscription) == []


def test_closing_the_client_closes_its_subscriptions():
    with FakeServer(stays(follows())) as server:
        with client(server) as one:
            subscription = one.subscribe("orders:5")
        assert list(subscription) == []


# -- MeiliES 0.2.0

def refuses_hello(peer):
    peer.answer(HELLO, UNKNOWN)


def test_on_meilies_a_range_is_asked_for_to_its_present_end_and_then_what_is_new():
    def script(peer):
        peer.answer(command("last-event-number", "s"), last_number("s", 3))
        peer.answer(command("subscribe", "s:2:4"), subscribed("s") + event("s", 2) + event("s", 3))
        peer.answer(command("last-event-number", "s"), last_number("s", 4))
        peer.answer(command("subscribe", "s:4:5"), subscribed("s") + event("s", 4))
        peer.answer(command("last-event-number", "s"), last_number("s", 4))
        peer.answer(command("subscribe", "s:5"), subscribed("s") + event("s", 5) + event("s", 6))
        peer.expect_close()

    with FakeServer(refuses_hello, script) as server, client(server) as one:
        subscription = one.subscribe("s:2")
        assert [next(subscription).number for _ in range(5)] == [2, 3, 4, 5, 6]
        assert subscription.server is None


def test_on_meilies_an_event_has_no_position_and_no_time():
    def script(peer):
        peer.answer(command("last-event-number", "s"), last_number("s", 0))
        peer.answer(command("subscribe", "s:0:1"), subscribed("s") + event("s", 0, "n", b"x"))
        peer.expect_close()

    with FakeServer(refuses_hello, script) as server, client(server) as one:
        assert list(one.subscribe("s:0:1")) == [Event("s", 0, "n", b"x", b"", b"", None, None)]


def test_on_meilies_an_event_lost_between_replay_and_live_is_fetched():
    def loses(peer):
        peer.answer(command("last-event-number", "s"), last_number("s", 0))
        peer.answer(command("subscribe", "s:1"), subscribed("s") + event("s", 2))
        peer.expect_close()

    def replays(peer):
        peer.answer(command("last-event-number", "s"), last_number("s", 2))
        peer.answer(command("subscribe", "s:1:3"), subscribed("s") + event("s", 1) + event("s", 2))
        peer.expect(command("last-event-number", "s"))
        peer.expect_close()

    with FakeServer(refuses_hello, loses, replays) as server, client(server) as one:
        subscription = one.subscribe("s:1")
        assert [next(subscription).number, next(subscription).number] == [1, 2]


def test_on_meilies_a_hole_in_a_replay_is_a_gap():
    def script(peer):
        peer.answer(command("last-event-number", "s"), last_number("s", 2))
        peer.answer(command("subscribe", "s:0:3"), subscribed("s") + event("s", 0) + event("s", 2))
        peer.expect_close()

    with FakeServer(refuses_hello, script) as server, client(server) as one:
        subscription = one.subscribe("s:0")
        assert next(subscription).number == 0
        with pytest.raises(Gap):
            next(subscription)


def test_on_meilies_a_replay_that_stops_short_ends_in_an_error():
    def script(peer):
        peer.answer(command("last-event-number", "s"), last_number("s", 2))
        peer.answer(command("subscribe", "s:0:3"), subscribed("s"))
        peer.expect_close()

    with FakeServer(refuses_hello, script, script) as server, client(server, timeout=0.1, tries=0) as one:
        with pytest.raises(TimedOut):
            next(one.subscribe("s:0", tries=1))


def test_on_meilies_a_replay_may_take_longer_than_the_timeout_if_it_goes_on(monkeypatch):
    now = [0.0]
    go_on = [threading.Event(), threading.Event()]
    monkeypatch.setattr(meilies_operations, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=time.sleep))

    def script(peer):
        peer.answer(command("last-event-number", "s"), last_number("s", 2))
        peer.answer(command("subscribe", "s:0:3"), subscribed("s") + event("s", 0))
        for number, told in enumerate(go_on, 1):
            assert told.wait(5)
            peer.send(event("s", number))
        peer.expect_close()

    with FakeServer(refuses_hello, script) as server, client(server, timeout=5.0) as one:
        with one.subscribe("s:0:3") as subscription:
            assert next(subscription).number == 0
            for number, told in enumerate(go_on, 1):
                now[0] += 4.0
                threading.Timer(0.05, told.set).start()
                assert next(subscription).number == number


def test_on_meilies_all_is_every_stream_by_itself():
    with FakeMeilies() as server, client(server) as one:
        server.publish("a", b"0", b"1")
        server.publish("b", b"0")
        server.listed.add("$all")
        subscription = one.subscribe("$all:0")
        seen = []
        while len(seen) < 3:
            seen += [(event.stream, event.number) for event in subscription.read(5)]
        assert sorted(seen) == [("a", 0), ("a", 1), ("b", 0)]
        while [s for s, in server.asked("last-event-number")].count("a") < 2:
            with contextlib.suppress(NothingCame):      # it asks again as the replies come
                subscription.read(0.05)


def test_on_meilies_all_finds_a_new_stream_from_its_start_after_an_outage():
    with FakeMeilies() as server, client(server) as one:
        server.publish("a", b"old")
        subscription = one.subscribe("$all")
        server.disconnect()
        server.publish("new", b"0")
        server.publish("a", b"1")
        seen = []
        while len(seen) < 2:
            seen += [(event.stream, event.number) for event in subscription.read(5)]
        assert sorted(seen) == [("a", 1), ("new", 0)]


def test_on_meilies_without_streams_all_waits():
    with FakeMeilies() as server, client(server) as one:
        subscription = one.subscribe("$all:0", timeout=0.05)
        with pytest.raises(NothingCame):
            next(subscription)


@pytest.mark.parametrize("selector", ["$all:3", "$all:0:9"])
def test_on_meilies_positions_are_unsupported(selector):
    with FakeMeilies() as server, client(server) as one, pytest.raises(Unsupported, match="no positions"):
        one.subscribe(selector)


def test_another_error_than_an_unknown_command_is_not_taken_for_meilies():
    with FakeServer(lambda peer: peer.answer(HELLO, b"-ERR too many connections\r\n")) as server:
        with client(server) as one, pytest.raises(Refused, match="too many connections"):
            one.subscribe("s:0")
