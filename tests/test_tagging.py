"""server/tagging.py: dcb-read and dcb-append, by hand and by the client."""

import pytest
from both_clients import driver
from fake_server import FakeServer
from serving import Serving

from meilies_client import (
    BadReply,
    Client,
    ConditionFailed,
    IdConflict,
    NewEvent,
    PublishInterrupted,
    Refused,
    Tagged,
)
from meilies_client import EventsLost as LostThere
from resp import ErrorReply, command
from store import CorruptSegment, EventsLost, StoreFull

__all__ = ["driver"]


@pytest.fixture
def serving(tmp_path):
    with Serving(tmp_path / "db") as one:
        yield one


@pytest.fixture
def client(serving, driver):
    with Client(port=serving.port) as one:
        yield one


@pytest.fixture
def by_hand(serving):
    return serving.connect()


def event(name, *tags, stream="s", data=b"", id_=b""):
    return NewEvent(stream, name, data, id=id_, tags=tags)


def test_events_are_stored_with_their_tags_and_found_by_them(client):
    assert client.dcb_append([event("a", "x", "y"), event("b", b"x", stream="t")]) == [(0, 0), (0, 1)]
    both = client.dcb_read([((), ["x"])])
    assert [(e.stream, e.name, e.position, e.tags) for e in both.events] == [
        ("s", "a", 0, (b"x", b"y")), ("t", "b", 1, (b"x",))]
    assert both.head == 1
    assert client.dcb_read([((), ["x", "y"])]).events == both.events[:1]
    assert client.dcb_read([(["b"], ())]).events == client.dcb_read(after=0).events == both.events[1:]
    assert client.dcb_read(limit=1) == Tagged(both.events[:1], 1)


def test_an_empty_store_has_no_head(client):
    assert client.dcb_read() == Tagged([], None)


def test_pages_follow_one_another(client):
    client.dcb_append([event("n", "x", data=b"d" * 1000) for _ in range(2500)])
    assert [e.position for e in client.dcb_read([((), ["x"])]).events] == list(range(2500))
    assert [e.position for e in client.dcb_read(after=3, limit=2100).events] == list(range(4, 2104))


def test_an_append_is_refused_if_an_event_matches(client, serving):
    unless = [((), ["seat-1"])]
    client.dcb_append([event("taken", "seat-1")], unless=unless)
    with pytest.raises(ConditionFailed, match="CONDITION the event at position 0 matches, expected none; nothing"):
        client.dcb_append([event("taken", "seat-1")], unless=unless)
    assert client.dcb_append([event("left", "seat-1")], unless=unless, after=0) == [(1, 1)]
    with pytest.raises(ConditionFailed):
        client.dcb_append([event("any")], unless=[], after=0)
    assert serving.store.position == 2


def test_of_those_who_append_at_once_on_one_condition_one_is_let_through(serving):
    peers = [serving.connect() for _ in range(4)]
    for seat in range(10):
        for peer in peers:
            peer.command("dcb-append", 1, "s", "taken", "", "", "", 1, f"seat-{seat}",
                         "UNLESS", "-", "ITEM", 0, 1, f"seat-{seat}")
        answers = [peer.value() for peer in peers]
        assert [one for one in answers if isinstance(one, list)] == [[[seat, seat]]]
        assert [one.code for one in answers if isinstance(one, ErrorReply)] == ["CONDITION"] * 3


def test_an_id_is_known_here_too(client):
    for _ in range(2):
        assert client.dcb_append([event("a", "x", id_=b"1")], unless=[((), ["x"])]) == [(0, 0)]
    with pytest.raises(IdConflict):
        client.dcb_append([event("b", "x", id_=b"1")])


def test_followers_get_what_is_stored_in_order(client, serving):
    with client.subscribe("s:0", timeout=10) as events:
        for _ in range(50):
            client.dcb_append([event("a", "x")])
            client.publish("s", "b")
        assert [next(events).number for _ in range(100)] == list(range(100))
    with client.subscribe("$all:0:100", timeout=10) as events:
        assert [one.position for one in events] == list(range(100))


def test_the_replies_in_full(by_hand):
    assert by_hand.ask("dcb-append", 1, "s", "n", "data", "id", "{}", 2, "x", "y",
                       "UNLESS", "-", "ITEM", 0, 1, "x") == [[0, 0]]
    assert by_hand.ask("dcb-append", 1, "s", "n", "", "", "", 0, "unless", 0) == [[1, 1]]
    after, head, [[recorded, tags], [second, none]] = by_hand.ask("dcb-read", "-", 10)
    assert (after, head, tags, none) == (None, 1, [b"x", b"y"], [])
    assert recorded[:8] == [b"recorded", 0, b"s", 0, b"n", b"data", b"id", b"{}"] and second[1] == 1
    assert by_hand.ask("dcb-read", "-", 1)[:2] == [0, 1]
    assert by_hand.ask("dcb-read", 1, 9, "ITEM", 1, "n", 0) == [None, 1, []]


@pytest.mark.parametrize("request_, why", [
    (["dcb-read", "-", "1", "ITEM"], "ERR syntax error, expected: dcb-read after"),
    (["dcb-read", "-", "1", "ITEM", "1"], "ERR syntax error, expected: dcb-read after"),
    (["dcb-read", "-", "1", "WHAT"], "ERR found 'WHAT', expected ITEM: dcb-read after"),
    (["dcb-read", "-", "0"], "ERR COUNT is 0, expected 1 or more"),
    (["dcb-read", "x", "1"], "ERR AFTER is 'x', expected a number"),
    (["dcb-read", "-", "1", "ITEM", "0", "1", ""], "ERR a tag is at least one byte"),
    (["dcb-append", "2", "s", "n", "", "", "", "0"], "ERR syntax error, expected: dcb-append n stream"),
    (["dcb-append", "0", "s", "n", "", "", "", "0"], "ERR found 's', expected UNLESS: dcb-append"),
    (["dcb-append", "0", "UNLESS", "-", "ITEM", "0", "0"], "ERR an append takes at least one event"),
    (["dcb-append", "1", "s", "", "", "", "", "0"], "ERR event name is empty"),
    (["dcb-append", "1", "s", "n", "", "", "", "1", ""], "ERR a tag is at least one byte"),
    (["dcb-append", "1", "s", "n", "x" * 200, "", "", "0"], "ERR data of 200 bytes, expected no more than 100"),
    (["dcb-append", "1", "s", "n", "", "", "x" * 200, "0"], "ERR metadata of 200 bytes, expected no more than 100"),
])
def test_what_is_wrong_is_told(tmp_path, request_, why):
    with Serving(tmp_path / "db", max_event_size=100, max_metadata_size=100) as serving:
        error = serving.connect().ask(*request_)
        assert isinstance(error, ErrorReply) and str(error).startswith(why)


@pytest.mark.parametrize("error, code", [
    (EventsLost("/db/0.segment", None, 3, 5), "EVENTSLOST 3 5 "),
    (CorruptSegment("/db/0.segment", 1, "why"), "CORRUPT "),
])
def test_damage_is_told(serving, by_hand, monkeypatch, error, code):
    def damaged(*arguments):
        raise error

    monkeypatch.setattr(serving.store, "matching", damaged)
    assert str(by_hand.ask("dcb-read", "-", 1)).startswith(code)


def test_a_disk_without_room_is_told(serving, client, monkeypatch):
    def full(*arguments):
        raise StoreFull("/db", OSError(28, "No space left on device"))

    monkeypatch.setattr(serving.store, "write", full)
    with pytest.raises(Refused, match="STOREFULL"):
        client.dcb_append([event("a")])


def test_an_append_without_an_event_is_not_sent():
    with Client(port=1) as client, pytest.raises(ValueError, match="at least one event"):
        client.dcb_append([])


def test_no_event_can_not_be_asked_for():
    with Client(port=1) as client, pytest.raises(ValueError, match="limit is 0, expected 1 or more"):
        client.dcb_read(limit=0)


@pytest.mark.parametrize("reply, error", [
    (b"+OK\r\n", BadReply), (b"*3\r\n:1\r\n:1\r\n*1\r\n:1\r\n", BadReply), (b"-EVENTSLOST 3 5 no\r\n", LostThere),
    (b"-ERR no\r\n", Refused)])
def test_what_is_no_page_closes_the_connection_or_says_why(reply, error):
    with FakeServer(lambda peer: peer.answer(command("dcb-read", "-", 1000), reply)) as server:
        with Client(port=server.port, tries=0) as client, pytest.raises(error):
            client.dcb_read()


def test_an_append_whose_reply_does_not_come_has_an_unknown_fate():
    def script(peer):
        peer.expect(command("dcb-append", 1, "s", "a", b"", b"", b"", 0))

    with FakeServer(script) as server, Client(port=server.port, tries=0) as client:
        with pytest.raises(PublishInterrupted) as caught:
            client.dcb_append([event("a")])
    assert caught.value.unknown == 1
