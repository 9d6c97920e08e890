"""server/retaining.py, the client and the command line: rules, cuts, deletion, redaction, compaction."""

import pytest
from both_clients import driver
from fake_server import FakeServer
from serving import OK, Serving, caught_up, checkpoint, event, subscribed
from test_cli import run
from test_client import client as client_of

import resp
from meilies_client import BadReply, Client, Compacted, Prefix, Refused, Rule, StreamDeleted
from resp import command

__all__ = ["driver", "run"]


@pytest.fixture
def serving(tmp_path):
    with Serving(tmp_path / "db") as serving:
        for i in range(5):
            serving.store.append("s", "x", b"%d" % i)
        serving.store.append("t", "x", b"other")
        yield serving


@pytest.fixture
def peer(serving):
    return serving.connect()


@pytest.fixture
def client(serving, driver):
    with Client(port=serving.port) as client:
        yield client


# -- on the wire ---------------------------------------------------------------------------

def test_a_stream_is_cut_and_readers_begin_where_it_does(peer):
    assert peer.ask("truncate", "s", 3) == 3
    peer.command("subscribe", "s:0:5")
    peer.recv_exactly(subscribed("s") + event("s", 3, "x", "3") + event("s", 4, "x", "4"))
    assert peer.ask("truncate", "s", 100) == 5
    assert peer.ask("last-event-number", "s") == [b"last-event-number", b"s", 4]
    assert peer.ask("stream-names") == [b"stream-names", b"t"]
    peer.command("subscribe", "$all:0")
    peer.recv_exactly(subscribed("$all") + event("t", 0, "x", "other"))
    peer.command("publish", "s", "x", "next")
    peer.recv_exactly(OK + event("s", 5, "x", "next"))


def test_a_publish_like_the_one_before_it_is_refused_once_its_stream_was_deleted_for_good(serving, peer):
    publish = command("publish", "s", "x", "again")
    for _ in range(3):      # one like the one before it takes a short way
        peer.send(publish)
        peer.recv_exactly(OK)
    serving.connect().ask("delete", "s", "FOREVER")
    for _ in range(2):
        peer.send(publish)
        peer.recv_exactly(b"-DELETED stream 's' was deleted for good; nothing was stored\r\n")


def test_followers_are_told_by_a_checkpoint_that_events_are_no_more(serving, peer):
    serving.store.truncate("s", 3)
    peer.command("follow", "stream", "s", 0)
    peer.recv_exactly(subscribed("s") + checkpoint("s", 3))
    assert [peer.value()[2:4] for _ in range(2)] == [[b"s", 3], [b"s", 4]]
    assert peer.value() == resp_of(caught_up("s", 5))
    peer.command("unfollow", "stream", "s")
    assert peer.value() == [b"unsubscribed", b"s"]
    peer.command("follow", "$all", 0)
    assert peer.value() == [b"subscribed", b"$all"]
    assert peer.value() == [b"checkpoint", b"$all", 3]
    assert [peer.value()[1:4] for _ in range(3)] == [[3, b"s", 3], [4, b"s", 4], [5, b"t", 0]]


@pytest.mark.parametrize("cut", [("truncate", "one", 3), ("retain", "stream", "one", "MAX-COUNT", 2)])
def test_what_is_cut_is_shown_to_no_follower_though_it_is_in_one_record_with_what_is_left(peer, cut):
    peer.ask("append", *["one", "any", "x", "data", "", ""] * 5)
    peer.ask(*cut)
    for first in 0, 1, 3:
        peer.command("subscribe", f"one:{first}:5")
        peer.recv_exactly(subscribed("one") + event("one", 3, "x", "data") + event("one", 4, "x", "data"))
    peer.command("follow", "stream", "one", 1, "TO", 5)
    peer.recv_exactly(subscribed("one") + checkpoint("one", 3))
    assert [peer.value()[2:4] for _ in range(2)] == [[b"one", 3], [b"one", 4]]


def resp_of(data):
    parser = resp.Parser()
    parser.feed(data)
    return parser.get()


def test_those_who_follow_what_is_all_cut_wait_for_what_comes(serving, peer):
    serving.store.delete("s")
    third = serving.connect()
    third.ask("hello", 3)
    third.send(command("subscribe", "s:0"))
    third.recv_exactly(b">3\r\n$9\r\nsubscribe\r\n$1\r\ns\r\n:1\r\n")
    peer.command("subscribe", "s:0")
    peer.recv_exactly(subscribed("s"))
    assert serving.connect().ask("publish", "s", "x", "again") == b"OK"
    peer.recv_exactly(event("s", 5, "x", "again"))
    third.recv_exactly(event("s", 5, "x", "again", kind=">"))


def test_rules_are_made_shown_and_taken_out(peer):
    assert peer.ask("retain", "prefix", "s", "MAX-COUNT", 2, "max-age", 1000) == b"OK"
    assert peer.ask("retain", "$all", "MAX-COUNT", 4) == b"OK"
    assert peer.ask("retain", "stream", "t", "MAX-AGE", 7) == b"OK"
    everything = [[b"$all", 4, None], [b"prefix s", 2, 1000], [b"stream t", None, 7]]
    assert peer.ask("retention") == everything
    assert peer.ask("retention", "prefix", "s") == everything[1:2]
    assert peer.ask("retention", "stream", "s") == []
    assert [one[3] for one in peer.ask("read", "stream", "s", "-", 10)[1]] == [3, 4]
    assert peer.ask("retain", "prefix", "s") == b"OK"
    assert peer.ask("retention") == [everything[0], everything[2]]


@pytest.mark.parametrize("arguments, why", [
    (("retain", "stream", "s", "MAX-COUNT"), "ERR syntax error, expected: retain SELECTOR"),
    (("retain", "stream", "s", "MAX-SIZE", 1), "ERR syntax error"),
    (("retain", "stream", "s", "MAX-AGE", 1, "MAX-AGE", 2), "ERR syntax error"),
    (("retain", "stream", "s", "MAX-COUNT", 0), "ERR max_count is 0, expected a number from 1 on"),
    (("retain", "stream", "s", "MAX-COUNT", "x"), "ERR MAX-COUNT is 'x', expected a number"),
    (("retention", "stream", "s", "x"), "ERR syntax error, expected: retention [SELECTOR]"),
    (("truncate", "nobody", 1), "ERR there is no stream 'nobody'"),
    (("truncate", "a:b", 1), "ERR a stream name has no ':'"),
    (("delete", "s", "never"), "ERR syntax error, expected: delete STREAM [FOREVER]"),
    (("delete", "s", "forever", "x"), "ERR syntax error"),
    (("redact", "s", 5), "ERR stream 's' has no event 5"),
])
def test_what_is_wrong_is_said(peer, arguments, why):
    assert peer.error(*arguments).startswith(why)


def test_publishes_to_a_stream_deleted_for_good_are_refused_alone_and_in_their_turn(serving, peer):
    assert peer.ask("delete", "s", "FOREVER") == b"OK"
    requests = [("t", "one"), ("s", "no"), ("t", "two"), ("t", "three"), ("s", "no"), ("s", "no"), ("u", "four")]
    peer.send(b"".join(command("publish", stream, "x", data) for stream, data in requests))
    refusal = b"-DELETED stream 's' was deleted for good; nothing was stored\r\n"
    peer.recv_exactly(OK + refusal + OK * 2 + refusal * 2 + OK)
    assert [event.data for event in serving.store.read("t")] == [b"other", b"one", b"two", b"three"]
    assert peer.error("append", "s", "any", "x", "data", "", "").startswith("DELETED")
    for arguments in (("delete", "s"), ("truncate", "s", 1), ("redact", "s", 1)):
        assert peer.error(*arguments).startswith("DELETED stream 's' was deleted for good")
    assert peer.ask("read", "stream", "s", "-", 10)[1] == []


def test_a_publish_behind_a_deletion_in_the_same_pipeline_is_refused(peer):
    peer.send(command("publish", "s", "x", "before") + command("delete", "s", "FOREVER") +
              command("publish", "s", "x", "behind"))
    peer.recv_exactly(OK * 2 + b"-DELETED stream 's' was deleted for good; nothing was stored\r\n")


def test_a_redacted_event_is_followed_without_its_data(peer):
    assert peer.ask("redact", "s", 3) == b"OK"
    assert peer.ask("compact")[0] == 1
    peer.command("subscribe", "s:2:5")
    peer.recv_exactly(subscribed("s") + event("s", 2, "x", "2") + event("s", 3, "x", "") + event("s", 4, "x", "4"))
    assert peer.ask("compact") == [0, 0]


def test_live_followers_get_what_a_rule_hides_at_once(serving, peer):
    serving.store.retain("s", max_count=1)
    peer.command("subscribe", "s")
    peer.recv_exactly(subscribed("s"))
    other = serving.connect()
    other.send(command("publish", "s", "x", "a") + command("publish", "s", "x", "b"))
    other.recv_exactly(OK * 2)
    peer.recv_exactly(event("s", 5, "x", "a") + event("s", 6, "x", "b"))


# -- the client library -----------------------------------------------------------------------

def test_the_client_cuts_deletes_redacts_and_compacts(serving, client):
    assert client.truncate("s", 2) == 2
    client.redact("s", 3)
    client.retain(Prefix("t"), max_age=5)
    client.retain("$all", max_count=7)
    client.retain("s", max_count=2)
    assert client.retention() == [("$all", Rule(7)), (Prefix("t"), Rule(None, 5)), ("s", Rule(2))]
    client.retain("s")
    assert [event.number for event in client.read("s")] == [3, 4]
    assert client.compact() == Compacted(1, client_freed(serving))
    client.delete("s")
    assert list(client.read("s")) == []
    client.publish("s", "x", "again")
    client.delete("s", forever=True)
    with pytest.raises(StreamDeleted):
        client.delete("s")
    with pytest.raises(Refused, match="DELETED"):
        client.publish("s", "x", "never")
    with pytest.raises(ValueError):
        client.retain(Prefix("a:b"))


def client_freed(serving):
    """What the only sealed segment, which began as these six events, takes less than it did."""
    segment = serving.store._log._segments[0]
    following = serving.store._log._segments[1]
    return following.header.previous_end - segment.end


@pytest.mark.parametrize("ask, request_, answer, what", [
    (Client.retention, ("retention",), b"*1\r\n*2\r\n:1\r\n:2\r\n", "a rule"),
    (lambda client: client.truncate("s", 1), ("truncate", "s", 1), b"+OK\r\n", "a number"),
    (Client.compact, ("compact",), b"*1\r\n:1\r\n", "two numbers"),
])
def test_an_answer_that_is_none_is_a_bad_reply(ask, request_, answer, what):
    with FakeServer(lambda peer: peer.answer(command(*request_), answer)) as server, \
            client_of(server) as one, pytest.raises(BadReply, match=f"expected {what}"):
        ask(one)


# -- the command line --------------------------------------------------------------------------

def test_the_command_line_does_all_of_it(serving, run):
    at = ("-p", serving.port)
    assert run("retain", *at, "s", "--prefix", "--max-count", 3) == (0, "", "")
    assert run("retain", *at, "t", "--max-age", 60, "--max-count", 1) == (0, "", "")
    assert run("retention", *at) == (0, "prefix s: max-count 3\nt: max-count 1 max-age 60\n", "")
    assert run("truncate", *at, "s", 3) == (0, "3\n", "")
    assert run("redact", *at, "s", 4) == (0, "", "")
    status, said, _ = run("compact", *at)
    assert status == 0 and said.startswith("1 segment rewritten, ")
    assert run("compact", *at) == (0, "0 segments rewritten, 0 bytes freed\n", "")
    assert run("delete", *at, "s") == (0, "", "")
    assert run("delete", *at, "s", "--forever") == (0, "", "")
    status, _, complaint = run("publish", *at, "s", "x", "data")
    assert status == 1 and "was deleted for good" in complaint
