"""server/inside.py: a client in the server's own process."""

import pytest
from serving import Serving, SlowDisk, eventually

import resp
from server import inside
from server.inside import Inside, Unavailable
from server.users import User


@pytest.fixture
def one(serving):
    with Inside(serving.poller, "console:test") as one:
        yield one


def test_it_asks_as_other_clients_do(serving, one):
    assert one.ask("append", "s", "any", "created", "data", "", "") == [[0, 0]]
    _, [event] = one.ask("read", "stream", "s", 0, 10)
    assert event[2:6] == [b"s", 0, b"created", b"data"]
    assert b"addr=console:test name=console " in serving.connect().ask("client", "list")


def test_a_few_questions_are_answered_in_their_order_errors_among_them(one):
    assert one.ask_all([("echo", "a"), ("nope",), ("echo", "b")]) == [
        b"a", resp.ErrorReply("ERR unknown command 'nope', with args beginning with: "), b"b"]


def test_a_refusal_is_raised(one):
    with pytest.raises(resp.ErrorReply, match="ERR unknown command 'nope'"):
        one.ask("nope")


def test_it_has_the_rights_of_its_user_and_no_others(serving):
    user = User("ann", True, None, frozenset({"read"}))
    with Inside(serving.poller, "console:test", user) as one, pytest.raises(resp.ErrorReply, match="^NOPERM"):
        one.ask("append", "s", "any", "created", "data", "", "")


def test_replies_are_told_from_what_a_subscription_pushes(serving, one):
    one.send("follow", "stream", "s", "-")
    assert isinstance(one.take(10), resp.Push)
    serving.store.append("s", "x", b"1")
    one.ask("publish", "other", "x", "1")
    assert one.ask("echo", "a") == b"a"


def test_nothing_is_taken_for_an_answer_when_none_comes(one):
    assert one.take(0) is resp.INCOMPLETE
    assert one.take(-1) is resp.INCOMPLETE


def test_an_answer_that_takes_too_long_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(inside, "PATIENCE", 0.05)
    disk = SlowDisk()
    with Serving(tmp_path / "db", sync="always", files=disk) as serving:
        with Inside(serving.poller, "console:test") as one:
            disk.gate.clear()
            with pytest.raises(Unavailable, match=r"the server hasn't answered for 0\.05 seconds"):
                one.ask("append", "s", "any", "created", "data", "", "")
            disk.gate.set()


def test_a_server_that_closes_the_connection_is_unavailable(serving, one):
    client = serving.connect()
    assert client.ask("client", "kill", "addr", "console:test") == 1
    with pytest.raises(Unavailable, match="has closed the connection"):
        one.take(10)
    with pytest.raises(Unavailable, match="has closed the connection"):
        for _ in range(2):
            one.ask("ping")


def test_a_server_that_has_stopped_is_unavailable(tmp_path):
    serving = Serving(tmp_path / "db")
    serving.stop()
    with pytest.raises(Unavailable):
        Inside(serving.poller, "console:test")


def test_one_connection_too_many_is_refused_in_words(tmp_path):
    with Serving(tmp_path / "db", max_connections=1) as serving:
        serving.connect().ask("ping")
        with pytest.raises((resp.ErrorReply, Unavailable), match="max number of clients|has closed"):
            Inside(serving.poller, "console:test")


def test_no_socket_is_left_when_nobody_adopts_the_other_end():
    made = []

    class Refusing:
        def adopt(self, sock, peer, user):
            made.append(sock)
            raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        Inside(Refusing(), "console:test")
    assert made[0].fileno() == -1


def test_the_server_lets_go_of_it_when_it_is_closed(serving):
    with Inside(serving.poller, "console:test"):
        assert len(serving.poller.connections) == 1
    eventually(lambda: not serving.poller.connections)
