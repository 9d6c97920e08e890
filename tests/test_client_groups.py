"""Consumer groups from the client library and the command line, against the real server and one that says otherwise."""

import json

import pytest
from both_clients import driver, each_client
from fake_server import FakeServer, recorded
from test_cli import run

from meilies_client import BadReply, Client, Given, Parked, Prefix, Refuse, Refused
from resp import command

__all__ = ["driver", "run"]

pytestmark = each_client


@pytest.fixture
def client(serving):
    with Client(port=serving.port) as client:
        client.publish_batch([("a", "n", "0"), ("b", "n", "1"), ("a", "n", "2")])
        yield client


def keys(given):
    return [one.key for one in given]


# -- client ----------------------------------------------------------------------------

def test_a_member_reads_and_acknowledges(client):
    client.group_create("g", "$all", 0)
    [given] = client.group_read("g", "m")
    assert given == Given(0, 1, given.event)
    assert (given.event.stream, given.event.number, given.event.position, given.event.data) == ("a", 0, 0, b"0")
    assert client.group_ack("g", 0, 5) == 1
    assert keys(client.group_read("g", "m", 10)) == [1, 2]
    assert client.group_read("g", "n") == []
    assert client.group_leave("g", "m") == 2
    assert client.groups() == ["g"]
    client.group_delete("g")
    with pytest.raises(Refused, match="NOGROUP"):
        client.group_read("g", "m")


def test_a_group_is_of_a_stream_or_a_prefix_and_begins_where_it_is_told(client):
    client.group_create("one", "a", 1, tries=3, wait=1.5, pause=0.25)
    assert keys(client.group_read("one", "m", 9)) == [1]
    info = client.group_info("one")
    assert (info["kind"], info["selector"], info["tries"], info["wait"], info["pause"]) == ("stream", "a", 3, 1500, 250)
    assert info["members"] == {"m": 1}
    client.group_create("prefix", Prefix("b"), 0)
    assert keys(client.group_read("prefix", "m", 9)) == [1]
    client.group_create("new", Prefix("b"))
    assert client.group_read("new", "m") == []


def test_a_group_may_be_of_events_called_so(client, serving, run):
    client.publish_many("s", [("x", b"0"), ("y", b"1"), ("x", b"2")])
    client.group_create("g", "s", 0, names=["x", "z"])
    assert [one.key for one in client.group_read("g", "m", 9)] == [0, 2]
    assert client.group_info("g")["names"] == ["x", "z"]
    assert run("group-create", "-p", serving.port, "h", "s", "--from", 0, "--name", "y") == (0, "", "")
    assert run("group-read", "-p", serving.port, "h", "m", 9)[1] == "1 s:1 y 1\n"
    assert "of y\n" in run("group-info", "-p", serving.port, "h")[1]


def test_a_read_waits_as_long_as_it_may_or_until_an_event_comes(client):
    client.group_create("g", "$all")
    assert client.group_read("g", "m", block=0.05) == []
    client.publish("a", "n", "new")
    assert keys(client.group_read("g", "m", block=None)) == [3]


def test_a_read_asks_again_before_the_client_has_waited_too_long_for_a_reply():
    def script(peer):
        for _ in range(3):
            peer.answer(command("group-read", "g", "m", 1, "BLOCK", 2500), b"*0\r\n")
        peer.answer(command("group-read", "g", "m", 1, "BLOCK", 2500),
                    b"*1\r\n*3\r\n:3\r\n:1\r\n" + recorded(3, "a", 0))

    with FakeServer(script) as server, Client(port=server.port, timeout=5.0) as one:
        assert keys(one.group_read("g", "m", block=None)) == [3]


def test_events_are_parked_listed_replayed_and_discarded(client):
    client.group_create("g", "$all", 0)
    client.group_read("g", "m", 3)
    assert client.group_refuse("g", 0, "why \r\n", park=True) == "parked"
    assert client.group_refuse("g", 2) == "later"
    assert client.group_refuse("g", 1, park=True) == "parked"
    assert client.group_refuse("g", 7) is None
    first, second = client.group_parked("g")
    assert first == Parked(0, "a", 0, 1, first.time, "why \r\n")
    assert client.group_parked("g", 1) == [second]
    assert client.group_discard("g", 1) == 1
    assert client.group_replay("g") == 1
    assert client.group_parked("g") == []


def test_what_is_consumed_is_acknowledged_or_refused(client):
    client.group_create("g", "$all", 0, pause=0)
    seen = []

    def handle(event):
        seen.append(event.position)
        if event.position == 1:
            raise Refuse("not now", park=len(seen) > 3)

    assert client.consume("g", "m", handle, count=2, block=0.05) == 3
    assert sorted(seen) == [0, 1, 1, 2]
    assert [one.reason for one in client.group_parked("g")] == ["not now"]


def test_what_comes_behind_a_refused_event_is_consumed_behind_it(client):
    client.group_create("g", "a", 0, pause=0)
    seen = []

    def handle(event):
        seen.append(event.number)
        if len(seen) == 1:
            raise Refuse

    assert client.consume("g", "m", handle, block=0.05) == 2
    assert seen == [0, 0, 1]
    assert client.group_info("g")["lag"] == 0


def test_consuming_that_ends_by_an_error_gives_back_what_was_held(client):
    client.group_create("g", "$all", 0)
    with pytest.raises(ZeroDivisionError):
        client.consume("g", "m", lambda event: 1 / 0, block=0)
    assert client.group_info("g")["members"] == {}
    assert sorted(keys(client.group_read("g", "n", 9))) == [0, 1, 2]


@pytest.mark.parametrize("ask, request_, answer", [
    (lambda one: one.group_read("g", "m", block=0), command("group-read", "g", "m", 1), b"*1\r\n:1\r\n"),
    (lambda one: one.group_parked("g"), command("group-parked", "g", 0, 1000), b"*1\r\n*1\r\n:1\r\n"),
    (lambda one: one.group_ack("g", 1), command("group-ack", "g", 1), b"+OK\r\n"),
    (lambda one: one.group_info("g"), command("group-info", "g"), b"*2\r\n+name\r\n+g\r\n"),
])
def test_what_answers_something_else_is_a_bad_reply(ask, request_, answer):
    with FakeServer(lambda peer: peer.answer(request_, answer)) as server, Client(port=server.port) as one, \
            pytest.raises(BadReply):
        ask(one)


# -- command line ----------------------------------------------------------------------

def test_the_command_line_works_a_group(serving, client, run):
    at = ("-p", serving.port)
    assert run("group-create", *at, "g", "$all", "--from", 0, "--max-tries", 2, "--wait", 5, "--pause", 0.01) == \
        (0, "", "")
    assert run("groups", *at) == (0, "g\n", "")
    assert run("group-read", *at, "g", "m") == (0, "0 a:0 n 0\n", "")
    _, out, _ = run("group-read", *at, "g", "n", 5, "--json")
    assert out.startswith('{"key": 1, "tries": 1, "stream": "b", "number": 0')
    assert run("group-ack", *at, "g", 1, 9) == (0, "1\n", "")
    assert run("group-refuse", *at, "g", 9) == (1, "", "meilies_cli: event 9 isn't held by a member of g\n")
    assert run("group-refuse", *at, "g", 0, "a reason", "--park") == (0, "", "")
    status, out, _ = run("group-parked", *at, "g")
    assert (status, out.split()[:3], out.split()[4:]) == (0, ["0", "a:0", "1"], ["a", "reason"])
    assert run("group-replay", *at, "g", 0) == (0, "1\n", "")
    assert run("group-discard", *at, "g", 0) == (0, "0\n", "")
    assert run("group-read", *at, "g", "m", 5, "--block", 1)[1].count("\n") == 2
    assert run("group-leave", *at, "g", "m") == (0, "2\n", "")
    status, out, _ = run("group-info", *at, "g")
    assert out.startswith("name g\nkind all\nselector $all\ncheckpoint 2\n")
    assert json.loads(run("group-info", *at, "g", "--json")[1])["members"] == {}
    assert run("group-delete", *at, "g") == (0, "", "")


def test_the_command_line_runs_a_command_for_each_event(serving, client, run):
    at = ("-p", serving.port)
    run("group-create", *at, "g", "--prefix", "a", "--from", 0, "--pause", 0.01, "--max-tries", 2)
    status, out, err = run("consume", *at, "g", "m", 'test $MEILIES_EVENT_NUMBER = 1 && cat', "--block", 0.5)
    assert (status, out) == (0, "2")
    assert err.count("meilies_cli: event 0 of a: the command ended with status 1; it is given again\n") == 2
    info = client.group_info("g")
    assert (info["parked"], info["lag"]) == (1, 0)
    run("group-ack", *at, "g", 0)
    client.group_create("h", "a", 0)
    client.group_read("h", "m", 2)
    assert "member m 2" in run("group-info", *at, "h")[1]
