"""What scripts get: --json of the commands whose lines are for people."""

import json

import pytest
from fake_server import FakeServer
from serving import Serving
from test_cli import run

from cli.top import sample
from meilies_client import Client, Prefix, Refused
from resp import command

__all__ = ["run"]       # which pytest finds here

NO_RIGHT = "NOPERM User ann has no permissions to run the 'client' command"


@pytest.fixture
def serving(tmp_path):
    with Serving(tmp_path / "db", backup_path=str(tmp_path / "copies")) as serving:
        with Client(port=serving.port) as client:
            client.publish_many("s", [("n", b"one"), ("n", b"two")])
            client.group_create("mail", "s", 0)
            client.retain("s", 5)
            client.retain(Prefix("log-"), max_age=60)
            client.snapshot_put("s", 1, b"\xff")
        yield serving


@pytest.fixture
def ask(run, serving):
    """ask(*arguments, stdin=b"") -> what the JSON that a command prints says."""
    def ask(*arguments, stdin=b""):
        status, out, err = run(*arguments, "--json", "-p", serving.port, stdin=stdin)
        assert (status, err) == (0, "")
        return json.loads(out)
    return ask


def test_lists_are_arrays(ask):
    assert ask("stream-names") == ["s"]
    assert ask("groups") == ["mail"]
    assert ask("retention") == [{"prefix": "log-", "max_count": None, "max_age": 60},
                                {"stream": "s", "max_count": 5, "max_age": None}]


def test_what_is_known_or_was_done_is_an_object(ask):
    assert ask("compact") == {"segments": 0, "bytes": 0}
    assert ask("snapshot-get", "s") == {"number": 1, "data_base64": "/w=="}
    assert ask("backup", "monday")["position"] == 2
    found = ask("check")
    assert (found["sound"], found["events"], found["problems"]) == (True, 2, [])
    assert ask("group-read", "mail", "anna")["key"] == 0
    assert ask("group-info", "mail")["held"] == 1


def test_an_import_says_what_was_there_already(ask, run, serving):
    _, lines, _ = run("export", "-p", serving.port)
    assert ask("import", stdin=lines.encode()) == {"events": 0, "passed_over": 2}


def test_parked_events_are_an_object_each(ask, serving):
    with Client(port=serving.port) as client:
        client.group_read("mail", "anna")
        client.group_refuse("mail", 0, "no", park=True)
    found = ask("group-parked", "mail")
    assert (found["key"], found["stream"], found["reason"]) == (0, "s", "no")


def test_the_chain_is_an_object(run):
    head = "ab" * 32
    reply = f"*2\r\n:5\r\n$64\r\n{head}\r\n".encode()
    verified = (f"*8\r\n$8\r\nposition\r\n:5\r\n$4\r\nhead\r\n$64\r\n{head}\r\n"
                "$4\r\nsame\r\n:5\r\n$4\r\ngone\r\n:0\r\n").encode()
    with FakeServer(lambda peer: peer.answer(command("chain-head"), reply)) as server:
        assert json.loads(run("chain-head", "-p", server.port, "--json")[1]) == {"position": 5, "head": head}
    with FakeServer(lambda peer: peer.answer(command("verify"), verified)) as server:
        assert json.loads(run("verify", "-p", server.port, "--json")[1])["same"] == 5


class Restricted:
    """A client whose user may not ask for everything."""

    def call(self, *words):
        if words[0] == "CLIENT":
            raise Refused(NO_RIGHT)
        return b"# Server\r\nmeilies_version:9\r\n"

    def groups(self):
        return ["gone", "there"]

    def group_info(self, name):
        if name == "gone":
            raise Refused(NO_RIGHT)
        return {"name": name}


def test_top_shows_what_its_user_may_see_and_says_what_not():
    found = sample(Restricted())
    assert found.groups == [{"name": "there"}]
    assert found.refused == [f"clients: {NO_RIGHT}"]
    client = Restricted()
    client.groups = lambda: client.call("CLIENT")
    assert sample(client).refused[1].startswith("groups: NOPERM")
