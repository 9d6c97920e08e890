"""server/reading.py, and what the client and the command line make of it."""

import json

import pytest
from both_clients import driver
from fake_server import FakeServer
from serving import Serving
from test_cli import run
from test_client import client as client_of

import resp
from meilies_client import BadReply, CaughtUp, Checkpoint, Client, EventsLost, Prefix, Refused, StreamInfo
from store import CorruptSegment, NewEvent, reading
from store import EventsLost as Lost

__all__ = ["driver", "run"]

TIME = 1_700_000_000_000_000


@pytest.fixture
def serving(tmp_path):
    """Streams a and b by turns, 6 events in all, a second between two; the odd ones are called y."""
    with Serving(tmp_path / "db") as serving:
        for i in range(6):
            serving.store._log._clock = lambda time=TIME + i * 1_000_000: time
            serving.store.append_many("ab"[i % 2], [NewEvent("xy"[i % 2], b"%d" % i, b"id" if i == 5 else b"")])
        yield serving


@pytest.fixture
def peer(serving):
    return serving.connect()


@pytest.fixture
def client(serving, driver):
    with Client(port=serving.port) as client:
        yield client


def at(position):
    """The array of the event at `position`."""
    return [b"recorded", position, b"ab"[position % 2:][:1], position // 2, b"xy"[position % 2:][:1], b"%d" % position,
            b"id" if position == 5 else b"", b"", TIME + position * 1_000_000]


# -- on the wire -----------------------------------------------------------------


@pytest.mark.parametrize("arguments, following, positions", [
    ("read $all 0 100", None, [0, 1, 2, 3, 4, 5]),
    ("read $all - 2", 2, [0, 1]),
    ("read $ALL 4 1", 5, [4]),
    ("read $all 5 1", None, [5]),
    ("read $all 6 1", None, []),
    ("read $all 18446744073709551615 18446744073709551615", None, []),
    ("read $all 2 0", 2, []),
    ("read stream a 1 5", None, [2, 4]),
    ("read stream a 1 1", 2, [2]),
    ("read stream none - 1", None, []),
    ("read prefix b 2 5", None, [3, 5]),
    ("read $all - 9 NAMES 1 y", None, [1, 3, 5]),
    ("read $all - 9 names 2 y none", None, [1, 3, 5]),
    ("read stream a - 9 NAMES 1 y", None, []),
    ("read $all @1700000003000000 1", 4, [3]),
    ("read $all @1700000003000001 1", 5, [4]),
    ("read stream a @1700000003000000 9", None, [4]),
    ("read $all @1700000009000000 1", None, []),
    ("READ-BACK $all - 2", 3, [5, 4]),
    ("read-back $all 2 9", None, [2, 1, 0]),
    ("read-back stream b 1 1", 0, [3]),
    ("read-back stream b 99 1", 1, [5]),
    ("read-back prefix a - 9", None, [4, 2, 0]),
    ("read-back $all - 1 NAMES 1 x", 3, [4]),
    ("read-back $all @1700000001000000 9", None, [1, 0]),
])
def test_a_page_is_the_key_to_go_on_with_and_events(peer, arguments, following, positions):
    assert peer.ask(*arguments.split()) == [following, [at(position) for position in positions]]


@pytest.mark.parametrize("arguments, expected", [
    ("read-last $all", 5), ("read-last stream a", 4), ("read-last prefix b", 5), ("read-last stream none", None),
])
def test_the_last_event_is_an_event_or_null(peer, arguments, expected):
    assert peer.ask(*arguments.split()) == (None if expected is None else at(expected))


def test_the_last_event_is_found_however_far_from_the_end(serving, peer, monkeypatch):
    for i in range(reading.FEW + 1):
        serving.store.append(f"many-{i}", "x", b"%d" % i)
    serving.store.append_many("far", [("x", b"y")] * 200)
    monkeypatch.setattr(reading, "SCAN", 100)
    assert peer.ask("read-last", "prefix", "many-")[5] == b"%d" % reading.FEW
    assert peer.ask("read-last", "prefix", "none-") is None


@pytest.mark.parametrize("arguments, why", [
    ("read $all 0", "ERR wrong number of arguments for 'read' command; usage: read <$all | STREAM name"),
    ("read stream a 0", "ERR syntax error, expected: read SELECTOR FROM COUNT [NAMES n name ...]"),
    ("read-back $all 0 1 2", "ERR syntax error, expected: read-back SELECTOR FROM COUNT [NAMES n name ...]"),
    ("read $all 0 1 NAMES", "ERR syntax error, expected: NAMES n name ..."),
    ("read $all 0 1 NAMES 2 x", "ERR found 1 NAMES, expected 2"),
    ("read $all 0 1 NAMES 1 x y", "ERR syntax error, expected: read SELECTOR"),
    ("read some 0 1", "ERR found 'some', expected $all, stream NAME or prefix PREFIX"),
    ("read stream a:1 0 1", "ERR a stream name has no ':'"),
    ("read $all x 1", "ERR FROM is 'x', expected a number from 0 to 18446744073709551615"),
    ("read $all @ 1", "ERR the time in FROM is '', expected a number from 0 to 18446744073709551615"),
    ("read $all 0 -1", "ERR COUNT is '-1', expected a number from 0 to 18446744073709551615"),
    ("read-last stream a b", "ERR syntax error, expected: read-last SELECTOR"),
    ("stream-info $all", "ERR $all is every stream"),
])
def test_what_is_not_understood_is_refused(peer, arguments, why):
    assert peer.error(*arguments.split()).startswith(why)


def test_an_info_is_a_map(serving, peer):
    assert peer.ask("stream-info", "none") is None
    fields = [b"first", 0, b"last", 2, b"count", 3, b"bytes", 93, b"first-time", TIME, b"last-time", TIME + 4_000_000]
    assert peer.ask("stream-info", "a") == fields
    peer.ask("HELLO", 3)
    assert peer.ask("stream-info", "a") == dict(zip(fields[::2], fields[1::2]))
    assert peer.ask("read-back", "$all", "-", 1) == [4, [at(5)]]


def test_a_read_sees_what_its_connection_published_before(peer):
    for i in range(20):
        peer.command("publish", "s", "x", str(i))
        peer.command("read-last", "stream", "s")
        assert peer.value() == b"OK"
        assert peer.value()[5] == b"%d" % i


def test_what_is_lost_or_damaged_is_told_with_a_code(monkeypatch, peer):
    def raising(error):
        monkeypatch.setattr("server.reading.page", lambda *arguments, **more: (_ for _ in ()).throw(error))

    raising(Lost("/db/0.segment", "a", 1, 3))
    assert peer.error("read", "stream", "a", 1, 1).startswith("EVENTSLOST 1 3 /db/0.segment: events 1 to 2 of stream")
    raising(CorruptSegment("/db/0.segment", 128, "why", "a", 1))
    assert peer.error("read-last", "stream", "a").startswith("CORRUPT /db/0.segment: event 1 of stream 'a'")


def test_a_page_ends_before_it_is_large_whatever_is_asked_for(serving, peer):
    serving.store.append_many("large", [NewEvent("x", b"x" * 100_000)] * 9)
    following, events = peer.ask("read", "stream", "large", "-", 1000)
    assert (following, len(events)) == (3, 3)


# -- the client ------------------------------------------------------------------


def positions(events):
    return [event.position for event in events]


def test_the_client_reads_page_by_page(client):
    assert positions(client.read()) == [0, 1, 2, 3, 4, 5]
    assert positions(client.read("a", page=1)) == [0, 2, 4]
    assert positions(client.read(Prefix("b"), 2, page=2)) == [3, 5]
    assert positions(client.read(names=["y", "none"])) == [1, 3, 5]
    assert positions(client.read(since=TIME + 3_500_000)) == [4, 5]
    assert positions(client.read_back(page=4)) == [5, 4, 3, 2, 1, 0]
    assert positions(client.read_back("a", 1)) == [2, 0]
    assert positions(client.read("none")) == []
    [event] = client.read("b", 2)
    assert (event.stream, event.number, event.name, event.data, event.id, event.metadata, event.time) == (
        "b", 2, "y", b"5", b"id", b"", TIME + 5_000_000)


def test_the_client_follows_from_a_time_on(client):
    with client.follow("a", since=TIME + 3_000_000) as follower:
        assert [next(follower) for _ in range(3)][::2] == [Checkpoint("a", 2), CaughtUp("a", 3)]
    with client.follow(Prefix("b"), since=TIME + 3_000_000, to=5) as follower:
        assert [getattr(one, "position", None) for one in follower] == [None, 3, None]


def test_the_client_knows_the_last_event_and_what_a_stream_is(client):
    assert client.read_last("a").position == 4
    assert client.read_last(Prefix("b")).position == 5
    assert client.read_last("none") is None
    assert client.stream_info("a") == StreamInfo(0, 2, 3, 93, TIME, TIME + 4_000_000)
    assert client.stream_info("none") is None


@pytest.mark.parametrize("more, why", [
    ({"from_": 1, "since": 1}, "both given"), ({"from_": -1}, "found -1"),
    ({"since": 2**64}, "found 18446744073709551616"),
    ({"page": 0}, "a page of 0 events"), ({"names": [""]}, "event name is empty"), ({"selector": "a:1"}, "holds ':'"),
    ({"selector": Prefix("")}, "empty"),
])
def test_the_client_says_at_once_what_cannot_be_asked(client, more, why):
    with pytest.raises(ValueError, match=why):
        client.read(**more)


@pytest.fixture
def with_losses(monkeypatch):
    """A server whose events 2 and 3 are lost."""
    whole = reading.page

    def page(store, selection, key, count, back=False):
        if back and (key is None or key > 3) or not back and key is None:
            limit = 4 if back else 2
            found = whole(store, selection, key, min(count, 2), back)
            return found if back and found.following > 3 or not back and found.following < limit else \
                found._replace(following=3 if back else 2)
        if key in (2, 3):
            raise Lost("/db/0.segment", None, 2, 4, back)
        return whole(store, selection, key, count, back)

    monkeypatch.setattr("server.reading.page", page)


def test_the_client_is_told_what_is_lost_and_reads_on(client, with_losses):
    events = client.read()
    assert positions([next(events), next(events)]) == [0, 1]
    with pytest.raises(EventsLost, match="positions 2 to 3 are lost") as lost:
        next(events)
    assert (lost.value.first, lost.value.stop) == (2, 4)
    assert positions(client.read("$all", lost.value.stop)) == [4, 5]


@pytest.mark.parametrize("reply, error, why", [
    (b"*1\r\n$-1\r\n", BadReply, "expected a page"), (b"*2\r\n+x\r\n*0\r\n", BadReply, "expected a page"),
    (b"*2\r\n$-1\r\n*1\r\n:1\r\n", BadReply, "expected a recorded event"), (b"-ERR no\r\n", Refused, "refused: ERR no"),
])
def test_what_is_no_page_is_not_taken_for_one(reply, error, why):
    asked = resp.command("read", "stream", "s", "-", 1000)
    with FakeServer(lambda peer: peer.answer(asked, reply)) as server, client_of(server) as one, \
            pytest.raises(error, match=why):
        next(one.read("s"))


def test_what_is_no_info_is_a_bad_reply():
    with FakeServer(lambda peer: peer.answer(resp.command("stream-info", "s"), b"*2\r\n+first\r\n:1\r\n")) as server, \
            client_of(server) as one, pytest.raises(BadReply, match="with 'last'"):
        one.stream_info("s")


# -- the command line --------------------------------------------------------------


def test_the_command_line_reads(serving, run):
    def read(*arguments):
        return run(arguments[0], "-p", serving.port, *arguments[1:])

    assert read("read", "a") == (0, "a:0 x 0\na:1 x 2\na:2 x 4\n", "")
    assert read("read", "a", "--from", 1, "--count", 1) == (0, "a:1 x 2\n", "")
    assert read("read", "a", "--count", 0) == (0, "", "")
    assert read("read", "$all", "--name", "y", "--name", "z", "--raw") == (0, "1\n3\n5\n", "")
    assert read("read", "b", "--prefix", "--since", "2023-11-14T22:13:22Z", "--raw") == (0, "3\n5\n", "")
    assert read("read", "b", "--since", TIME + 4_000_000, "--raw-bytes") == (0, "5", "")
    assert read("read-back", "$all", "--count", 2, "--raw") == (0, "5\n4\n", "")
    status, out, _ = read("read-last", "b", "--prefix", "--json")
    assert (status, json.loads(out)["position"]) == (0, 5)
    assert read("read-last", "none") == (1, "", "meilies_cli: none has no event\n")


def test_the_command_line_says_what_is_known_of_a_stream(serving, run):
    at_port = ("-p", serving.port)
    assert run("stream-info", *at_port, "a") == (
        0, "first 0\nlast 2\ncount 3\nbytes 93\nfirst-time 2023-11-14T22:13:20.000000Z\n"
           "last-time 2023-11-14T22:13:24.000000Z\n", "")
    status, out, _ = run("stream-info", *at_port, "a", "--json")
    assert (status, json.loads(out)["last_time"]) == (0, TIME + 4_000_000)
    assert run("stream-info", *at_port, "none") == (1, "", "meilies_cli: none has no event\n")


@pytest.mark.parametrize("back, order", [("read", "0\n1\n4\n5\n"), ("read-back", "5\n4\n1\n0\n")])
def test_the_command_line_tells_what_is_lost_and_reads_on(serving, run, with_losses, back, order):
    status, out, complaints = run(back, "-p", serving.port, "$all", "--raw")
    assert (status, out) == (1, order)
    assert "positions 2 to 3 are lost" in complaints and "2 events are lost; the others were read" in complaints


@pytest.mark.parametrize("options, why", [
    (("--since", "noon"), "found 'noon', expected microseconds since 1970, or a time"),
    (("--since", "1969-01-01"), "found '1969-01-01', expected"),
    (("--from", "x"), "found 'x', expected a number from 0"), (("--from", "1", "--since", "1"), "not allowed with"),
])
def test_the_command_line_says_what_it_expects(run, options, why):
    status, _, complaint = run("read", "a", *options)
    assert status == 2 and why in complaint
