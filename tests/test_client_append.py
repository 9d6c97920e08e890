"""Client.append, append_all and append_batch: against a server, and against one that answers as it is told."""

import pytest
from fake_server import FakeServer
from serving import Serving

import meilies_client
from meilies_client import (
    Appended,
    BadReply,
    Client,
    NewEvent,
    PublishInterrupted,
    Refused,
    WrongVersion,
    append_request,
)
from resp import command


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
    connection = client._connection
    assert client.append("t", "n") == (0, 0 if actual is None else 1) and client._connection is connection


def test_events_of_several_streams_are_appended_together_or_not_at_all(serving, client):
    events = [NewEvent("s", "n", b"0", "none"), ("t", "n", b"1"), NewEvent("s", "n", b"2", 0)]
    assert client.append_all(events) == [Appended(0, 0), Appended(0, 1), Appended(1, 2)]
    with pytest.raises(WrongVersion):
        client.append_all(events)
    assert serving.store.position == 3


def test_appends_of_a_batch_are_kept_or_refused_each_by_itself(serving, client, monkeypatch):
    monkeypatch.setattr(meilies_client, "WINDOW_EVENTS", 2)
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
        assert isinstance(caught.value.__cause__, BadReply) and client._connection is None
