"""Snapshots: in the store, on the wire, from the client and from the command line."""

import pytest
from both_clients import driver
from fake_server import FakeServer
from serving import Serving
from test_cli import run
from test_client import client as client_of

from meilies_client import BadReply, Client
from meilies_client import Snapshot as ClientSnapshot
from resp import command
from store import NO, Snapshot, Store

__all__ = ["driver", "run"]


@pytest.fixture
def client(serving, driver):
    with Client(port=serving.port) as client:
        client.publish_many("s", [("n", "%d" % i) for i in range(5)])
        yield client


def test_the_snapshot_that_was_put_last_is_there_after_a_restart(tmp_path):
    with Store(tmp_path, sync=NO) as store:
        store.append_many("s", [("n", b"one"), ("n", b"two")])
        assert store.snapshot_get("s") is None
        store.snapshot_put("s", 1, b"state" * 1000)
        store.snapshot_put("s", 0, b"\0\r\n")
        assert store.snapshot_get("s") == (0, b"\0\r\n")
        assert store.position == 2
    with Store(tmp_path) as store:
        assert store.snapshot_get("s") == Snapshot(0, b"\0\r\n")
        store.snapshot_delete("s")
        store.snapshot_delete("s")
        assert store.snapshot_get("s") is None


@pytest.mark.parametrize("stream, number, why", [
    ("s", 1, "a snapshot of event 1, where stream 's' has events up to 0"),
    ("s", -1, "a snapshot of event -1, where stream 's' has events up to 0"),
    ("t", 0, "a snapshot of event 0, where stream 't' has no event"),
    ("a:b", 0, "a stream name has no ':'"),
    ("gone", 1, "a snapshot of event 1, where stream 'gone' has events up to 2, and was deleted before event 2"),
])
def test_a_snapshot_is_of_an_event_that_is_there(tmp_path, stream, number, why):
    with Store(tmp_path) as store:
        store.append("s", "n", b"one")
        store.append_many("gone", [("n", b"one")] * 2)
        store.delete("gone")
        store.append("gone", "n", b"two")
        with pytest.raises(ValueError, match=why):
            store.snapshot_put(stream, number, b"")
        store.snapshot_put("gone", 2, b"")


def test_snapshots_on_the_wire(serving, client):
    peer = serving.connect()
    peer.command("snapshot-get", "s")
    peer.recv_exactly(b"$-1\r\n")
    peer.command("snapshot-put", "s", 4, "state")
    peer.recv_exactly(b"+OK\r\n")
    peer.command("snapshot-get", "s")
    peer.recv_exactly(b"*2\r\n:4\r\n$5\r\nstate\r\n")
    peer.command("snapshot-delete", "s")
    peer.recv_exactly(b"+OK\r\n")
    peer.command("snapshot-get", "s")
    peer.recv_exactly(b"$-1\r\n")


@pytest.mark.parametrize("arguments, why", [
    (("s", "5", "x"), "ERR a snapshot of event 5, where stream 's' has events up to 4"),
    (("s", "x", "x"), "ERR NUMBER is 'x', expected a number from 0 to"),
    (("a:b", "0", "x"), "ERR a stream name has no ':'"),
    (("s", "0", "x" * 200), "ERR data of 200 bytes, expected no more than 100"),
])
def test_a_bad_snapshot_is_refused_with_what_is_expected(tmp_path, arguments, why):
    with Serving(tmp_path / "db", max_event_size=100) as serving:
        for i in range(5):
            serving.store.append("s", "n", b"%d" % i)
        assert serving.connect().error("snapshot-put", *arguments).startswith(why)


def test_the_client_puts_gets_and_deletes_snapshots(client):
    assert client.snapshot_get("s") is None
    client.snapshot_put("s", 4, "state")
    assert client.snapshot_get("s") == ClientSnapshot(4, b"state")
    client.snapshot_delete("s")
    assert client.snapshot_get("s") is None


def test_what_is_no_snapshot_is_a_bad_reply():
    with FakeServer(lambda peer: peer.answer(command("snapshot-get", "s"), b"*1\r\n:1\r\n")) as server, \
            client_of(server) as one, pytest.raises(BadReply, match="expected a snapshot"):
        one.snapshot_get("s")


def test_the_command_line_puts_gets_and_deletes_snapshots(serving, client, run):
    at = ("-p", serving.port)
    assert run("snapshot-get", *at, "s") == (1, "", "meilies_cli: s has no snapshot\n")
    assert run("snapshot-put", *at, "s", 2, stdin=b"\x1b\n") == (0, "", "")
    assert run("snapshot-get", *at, "s") == (0, "2 \\x1b\\n\n", "")
    assert run("snapshot-get", *at, "s", "--raw-bytes") == (0, "\x1b\n", "")
    assert run("snapshot-put", *at, "s", 4, "state") == (0, "", "")
    assert run("snapshot-get", *at, "s") == (0, "4 state\n", "")
    assert run("snapshot-delete", *at, "s") == (0, "", "")
    status, _, complaint = run("snapshot-put", *at, "s", "x", "state")
    assert status == 2 and "found 'x', expected a number from 0 to" in complaint
