"""Client.append, append_all and append_batch: against a server, and against one that answers as it is told."""

import pytest
from both_clients import driver, each_client
from disk import until
from fake_server import FakeServer, free_port
from serving import Serving

import meilies_operations
from meilies_client import (
    Appended,
    BadReply,
    CannotConnect,
    Client,
    Disconnected,
    IdConflict,
    NewEvent,
    PublishInterrupted,
    Refused,
    WrongVersion,
)
from meilies_session import append_request
from resp import command

__all__ = ["driver"]

pytestmark = each_client


@pytest.fixture
def serving(tmp_path):
    with Serving(tmp_path / "db") as one:
        yield one


@pytest.fixture
def client(serving):
    with Client(port=serving.port) as one:
        yield one


def stored(serving):
    return [(e.stream, e.number, e.name, e.data, e.id, e.metadata) for e in serving.store.read_all()]


def test_an_append_says_where_its_event_is(serving, client):
    assert client.append("s", "n", "one", expected="none", id=b"i", metadata="{}") == Appended(0, 0)
    assert client.append("s%b", "n%%", bytearray(b"two")) == Appended(0, 1)
    assert client.append("s", "n", memoryview(b"three"), expected=0) == Appended(1, 2)
    assert stored(serving) == [("s", 0, "n", b"one", b"i", b"{}"), ("s%b", 0, "n%%", b"two", b"", b""),
                               ("s", 1, "n", b"three", b"", b"")]


@pytest.mark.parametrize("expected, actual", [("none", 0), (7, 0), ("exists", None)])
def test_a_stream_that_is_otherwise_is_told_and_the_connection_goes_on(serving, client, expected, actual):
    if actual is not None:
        client.publish("s", "n", b"")
    with pytest.raises(WrongVersion, match="the server refused: WRONGVERSION stream 's': expected") as caught:
        client.append("s", "n", b"", expected=expected)
    assert (caught.value.actual, caught.value.index, caught.value.acknowledged) == (actual, 0, 0)
    connected = client.call("client", "id")
    assert client.append("t", "n") == (0, 0 if actual is None else 1) and client.call("client", "id") == connected


def test_events_of_several_streams_are_appended_together_or_not_at_all(serving, client):
    events = [NewEvent("s", "n", b"0", "none"), ("t", "n", b"1"), NewEvent("s", "n", b"2", 0)]
    assert client.append_all(events) == [Appended(0, 0), Appended(0, 1), Appended(1, 2)]
    with pytest.raises(WrongVersion):
        client.append_all(events)
    assert serving.store.position == 3


def test_appends_of_a_batch_are_kept_or_refused_each_by_itself(serving, client, monkeypatch):
    monkeypatch.setattr(meilies_operations, "WINDOW_EVENTS", 2)
    appends = [[NewEvent("s", "n", b"%d" % i, "any" if i % 3 else "none")] * (1 + i % 2) for i in range(9)]
    results = client.append_batch(iter(appends))
    assert [type(one) for one in results] == [list, list, list, WrongVersion, list, list, WrongVersion, list, list]
    assert [number for one in results if type(one) is list for number, _ in one] == list(range(10))
    assert client.append_batch([]) == []


def test_what_the_server_refuses_otherwise_is_no_wrong_version(serving, client):
    with pytest.raises(Refused, match="ERR an id of 70000 bytes") as caught:
        client.append("s", "n", b"", id=bytes(70_000))
    assert type(caught.value) is Refused


@pytest.mark.parametrize("event, error, why", [
    (("a:b", "n"), ValueError, "holds ':'"), (("$all", "n"), ValueError, "nothing can be published to it"),
    (("s", ""), ValueError, "event name is empty"), (("s", "n", 5), TypeError, "data is int, expected bytes or str"),
    (("s", "n", b"", "any", 5), TypeError, "id is int"),
    (("s", "n", b"", "any", b"", None), TypeError, "metadata is None"),
    (("s", "n", b"", "new"), ValueError, "expected is 'new', expected 'any', 'none', 'exists' or a number"),
    (("s", "n", b"", -1), ValueError, "expected is -1"), (("s", "n", b"", True), ValueError, "expected is True"),
    (("s", "n", b"", 2**64), ValueError, "expected is 18446744073709551616")])
def test_what_can_not_be_appended_is_not_sent(event, error, why):
    with pytest.raises(error, match=why):
        append_request([("s", "n"), event])


def test_an_append_without_an_event_is_not_sent():
    with pytest.raises(ValueError, match="an append takes at least one event"):
        append_request([])


def test_the_largest_expectation_is_sent():
    assert append_request([NewEvent("s", "n", b"d", 2**64 - 1)]) == command(
        "append", "s", str(2**64 - 1), "n", "d", "", "")


def test_an_append_whose_reply_does_not_come_has_an_unknown_fate_and_is_not_sent_again():
    def script(peer):
        peer.expect(command("append", "s", "any", "n", "", "", "") * 2
                    + command("append", *["s", "any", "n", "", "", ""] * 2))
        peer.send(b"*1\r\n*2\r\n:0\r\n:0\r\n")

    with FakeServer(script) as server, Client(port=server.port, tries=0) as client:
        one = NewEvent("s", "n")
        with pytest.raises(PublishInterrupted) as caught:
            client.append_batch([[one], [one], [one, one]])
        assert (caught.value.acknowledged, caught.value.unknown) == (1, 3)


@pytest.mark.parametrize("reply", [b"+OK\r\n", b"*0\r\n", b"*1\r\n:1\r\n", b"*1\r\n*1\r\n:1\r\n",
                                   b"*1\r\n*2\r\n:1\r\n+x\r\n"])
def test_an_append_answered_with_anything_else_closes_the_connection(reply):
    def script(peer):
        peer.expect(command("append", "s", "any", "n", "", "", ""))
        peer.send(reply)
        peer.expect_close()

    with FakeServer(script) as server, Client(port=server.port, tries=0) as client:
        with pytest.raises(PublishInterrupted) as caught:
            client.append("s", "n")
        assert isinstance(caught.value.__cause__, BadReply)


# -- ids ------------------------------------------------------------------------------

def append_of(data, id_="i"):
    return command("append", "s", "any", "n", data, id_, "")


def place(number):
    return b"*1\r\n*2\r\n:%d\r\n:%d\r\n" % (number, number)


def test_the_same_id_again_gets_the_place_of_the_first(serving, client):
    client.publish("s", "n", b"zero")
    assert client.append("s", "n", b"one", id=b"i", expected=0) == (1, 1)
    client.publish("s", "n", b"two")
    assert client.append("s", "n", b"one", id=b"i", expected=0) == (1, 1)
    client.publish("s", "n", b"one", id="i")
    assert serving.store.position == 3


def test_an_id_of_another_event_is_refused(client):
    client.publish("s", "n", b"one", id=b"i")
    with pytest.raises(IdConflict, match="IDCONFLICT stream 's': id 'i' is that of event 0, which is another; nothing"):
        client.publish("s", "n", b"two", id=b"i")
    assert client.append("s", "n", b"two") == (1, 1)


def test_what_is_pipelined_knows_its_own_ids(serving, client):
    one, two = NewEvent("s", "n", b"one", id=b"1"), NewEvent("s", "n", b"two", id=b"2")
    results = client.append_batch([[one], [two], [one], [one._replace(data=b"x")], [one, two]])
    assert [results[0], results[1], results[2], results[4]] == [[(0, 0)], [(1, 1)], [(0, 0)], [(0, 0), (1, 1)]]
    assert isinstance(results[3], IdConflict) and serving.store.position == 2


def test_an_append_with_an_id_is_sent_again_after_an_outage():
    def first(peer):
        peer.expect(append_of("a", "1") + append_of("b", "2") + append_of("c", "3"))
        peer.send(place(7))

    def second(peer):
        peer.expect(append_of("b", "2") + append_of("c", "3"))
        peer.send(place(8) + b"-IDCONFLICT no\r\n")

    with FakeServer(first, second) as server, Client(port=server.port, delay=0) as client:
        results = client.append_batch([[NewEvent("s", "n", data, id=id_)]
                                       for data, id_ in ((b"a", b"1"), (b"b", b"2"), (b"c", b"3"))])
    assert results[:2] == [[(7, 7)], [(8, 8)]]
    assert isinstance(results[2], IdConflict)


def test_windows_that_were_not_sent_follow_those_that_are_sent_again(monkeypatch):
    monkeypatch.setattr(meilies_operations, "WINDOW_EVENTS", 2)
    events = [[NewEvent("s", "n", b"%d" % i, id=b"%d" % i)] for i in range(7)]
    requests = [append_of(b"%d" % i, b"%d" % i) for i in range(7)]

    def first(peer):
        peer.expect(b"".join(requests[:4]))
        peer.send(place(0))

    def second(peer):
        peer.expect(b"".join(requests[1:4]))
        peer.send(place(1) + place(2))
        peer.expect(b"".join(requests[4:6]))
        peer.send(place(3))
        peer.expect(requests[6])
        peer.send(b"".join(map(place, range(4, 7))))

    with FakeServer(first, second) as server, Client(port=server.port, delay=0) as client:
        assert client.append_batch(events) == [[(i, i)] for i in range(7)]


def test_one_without_an_id_among_those_that_were_sent_stops_it():
    def script(peer):
        peer.expect(append_of("a", "1") + append_of("b", ""))

    with FakeServer(script) as server, Client(port=server.port) as client:
        with pytest.raises(PublishInterrupted) as caught:
            client.append_batch([[NewEvent("s", "n", b"a", id=b"1")], [NewEvent("s", "n", b"b")]])
    assert (caught.value.acknowledged, caught.value.unknown) == (0, 2)


def test_one_that_was_answered_needs_no_id():
    def first(peer):
        peer.expect(append_of("a", "") + append_of("b", "2"))
        peer.send(place(0))

    def second(peer):
        peer.answer(append_of("b", "2"), place(1))

    with FakeServer(first, second) as server, Client(port=server.port, delay=0) as client:
        results = client.append_batch([[NewEvent("s", "n", b"a")], [NewEvent("s", "n", b"b", id=b"2")]])
    assert results == [[(0, 0)], [(1, 1)]]


def test_an_outage_that_goes_on_leaves_its_fate_unknown():
    def script(peer):
        peer.expect(append_of("a", "1"))

    with FakeServer(script, script) as server, Client(port=server.port, tries=1, delay=0) as client:
        with pytest.raises(PublishInterrupted) as caught:
            client.append("s", "n", b"a", id=b"1")
    assert isinstance(caught.value.__cause__, Disconnected)


def test_a_server_that_does_not_come_back_leaves_its_fate_unknown():
    def script(peer):
        peer.expect(append_of("a", "1"))
        until(lambda: server._listener.fileno() < 0)    # nobody else gets in

    with FakeServer(script) as server, Client(port=server.port, tries=1, delay=0) as client:
        with pytest.raises(PublishInterrupted) as caught:
            client.append("s", "n", b"a", id=b"1")
    assert isinstance(caught.value.__cause__, CannotConnect)


def test_a_server_that_was_never_reached_got_nothing():
    with Client(port=free_port(), tries=0) as client, pytest.raises(CannotConnect):
        client.append("s", "n", b"a", id=b"1")


def test_a_client_that_gives_ids_gives_each_publish_its_own(serving):
    with Client(port=serving.port, ids=True) as client:
        client.publish("s", "n", b"one")
        assert client.publish_many("s", [("n", b"one")] * 3) == 3
        client.publish("s", "n", b"mine", id=b"mine")
    ids = [event.id for event in serving.store.read("s")]
    assert len(set(ids)) == 5 and ids[4] == b"mine"
    assert all(len(id_) == 32 for id_ in ids[:4])


def test_a_publish_with_an_id_that_is_refused_is_told_like_one_without(monkeypatch):
    monkeypatch.setattr(meilies_operations.os, "urandom", lambda count: b"\xab" * count)

    def script(peer):
        peer.expect(append_of("one", "ab" * 16) + append_of("two", "ab" * 16) + append_of("three", "ab" * 16))
        peer.send(place(0) + b"-STOREFULL no\r\n" + place(1))

    with FakeServer(script) as server, Client(port=server.port, ids=True) as client:
        with pytest.raises(Refused, match="event 1 of the batch: STOREFULL no") as caught:
            client.publish_many("s", [("n", b"one"), ("n", b"two"), ("n", b"three")])
    assert (caught.value.index, caught.value.acknowledged) == (1, 2)
