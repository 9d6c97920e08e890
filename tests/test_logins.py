"""Passwords are looked at in a thread of their own, and stall nobody else (server/logins.py)."""

import gc
import threading
import weakref

import pytest
from conftest import SECONDS
from serving import OK, Serving, eventually, publish

import resp
from server import logins as module
from server.attempts import TooManyAttempts
from server.logins import MOST, Logins
from server.users import COST, Cost, Users, create

CHEAP = Cost(2, 8, 1)


class Connection:
    closed = False
    peer = "here:1"


class SlowUsers:
    """Passwords that are looked at while `gate` is set."""

    def __init__(self):
        self.gate = threading.Event()
        self.checked = []

    def check(self, name, password, peer):
        assert self.gate.wait(SECONDS)
        self.checked.append(name)
        if name == "broken":
            raise ValueError("it broke")
        if name == "often":
            raise TooManyAttempts(9)
        return name


@pytest.fixture
def users():
    return SlowUsers()


@pytest.fixture
def logins(users):
    logins = Logins(users, lambda function: function())
    yield logins
    users.gate.set()
    logins.stop()


def test_each_is_answered_with_what_came_of_it(users, logins, caplog):
    users.gate.set()
    answers = []
    for name in ("ann", "often", "broken"):
        logins.put(Connection(), name, b"word", answers.append)
    eventually(lambda: len(answers) == 3)
    assert answers[0] == "ann" and answers[1].wait == 9 and answers[2] is None
    assert "can't be looked at" in caplog.text


def test_of_too_many_the_next_is_turned_away(users, logins):
    answers = []
    with pytest.raises(TooManyAttempts):
        for i in range(MOST + 2):       # one of them is looked at
            logins.put(Connection(), str(i), b"word", answers.append)
    users.gate.set()
    eventually(lambda: len(answers) >= MOST)


def test_nothing_is_done_for_who_is_gone(users, logins):
    answers = []
    here, gone = Connection(), Connection()
    logins.put(here, "first", b"word", answers.append)
    logins.put(gone, "gone", b"word", answers.append)
    logins.put(here, "last", b"word", answers.append)
    gone.closed = True
    users.gate.set()
    eventually(lambda: answers == ["first", "last"])
    assert users.checked == ["first", "last"]


def test_stopping_forgets_who_waits_and_takes_nobody(users, logins):
    answers = []
    for name in ("first", "second"):
        logins.put(Connection(), name, b"word", answers.append)
    eventually(lambda: len(logins._queue) == 1)         # the first is looked at
    stopper = threading.Thread(target=logins.stop)
    stopper.start()
    eventually(lambda: logins._stopping)
    users.gate.set()
    stopper.join(SECONDS)
    assert not stopper.is_alive() and answers == ["first"]
    with pytest.raises(TooManyAttempts):
        logins.put(Connection(), "late", b"word", answers.append)


def test_a_connection_is_not_kept_when_it_was_answered(users, logins):
    users.gate.set()
    answers = []
    connection = Connection()
    known = weakref.ref(connection)
    logins.put(connection, "ann", b"word", answers.append)
    eventually(lambda: answers)
    del connection
    eventually(lambda: gc.collect() is not None and known() is None)


# -- in a server -----------------------------------------------------------------

@pytest.fixture
def real_users(tmp_path):
    path = str(tmp_path / "users")
    create(path)
    users = Users(path, CHEAP)
    users.change("ann", ["on", ">word", "+@all", "~*"])
    return users


def test_200_logins_at_once_keep_no_publisher_waiting(tmp_path, real_users):
    """Those are of a real password's cost: some 40 s of a core, if they were all looked at."""
    slow = Users(real_users.path, COST)
    slow.change("bob", ["on", ">word"])
    with Serving(tmp_path / "db", users=slow) as serving:
        publisher = serving.connect()
        assert publisher.ask("auth", "ann", "word") == b"OK"
        strangers = [serving.connect() for _ in range(200)]
        for stranger in strangers:
            stranger.command("auth", "bob", "wrong")
        for _ in range(300):        # each waits for its reply
            publisher.send(publish("s", "x"))
            publisher.recv_exactly(OK)
        answered = sum(not one.working for one in list(serving.poller.connections.values()) if one.user is None)
        codes = {stranger.value().code for stranger in strangers[100:]}
        assert codes <= {"ERR", "WRONGPASS"} and "ERR" in codes
        assert answered >= 100      # more than may wait were told so at once
        assert publisher.ask("ping") == b"PONG"


def test_who_was_known_lately_does_not_wait_for_others(tmp_path, real_users, monkeypatch):
    with Serving(tmp_path / "db", users=real_users) as serving:
        assert serving.connect().ask("auth", "ann", "word") == b"OK"
        gate = threading.Event()
        check = real_users.check

        def slow(*arguments):
            assert gate.wait(SECONDS)
            return check(*arguments)

        monkeypatch.setattr(real_users, "check", slow)
        others = [serving.connect() for _ in range(5)]
        for other in others:
            other.command("auth", "ann", "wrong")
        assert serving.connect().ask("auth", "ann", "word") == b"OK"
        gate.set()
        assert {other.value().code for other in others} == {"WRONGPASS"}


def test_who_fails_often_waits_and_is_told_how_long(tmp_path, real_users, caplog):
    with Serving(tmp_path / "db", users=real_users) as serving:
        client = serving.connect()
        replies = [client.error("auth", "ann", "wrong") for _ in range(6)]
        assert [reply.split(" ", 1)[0] for reply in replies] == ["WRONGPASS"] * 5 + ["ERR"]
        assert "try again in 1 s" in replies[5] or "try again in 2 s" in replies[5]
        assert client.error("auth", "ann", "word") == replies[5]     # the right one as well, for nobody looks at it
        assert serving.poller.refused_logins == 7
    lines = [record.getMessage() for record in caplog.records if record.name == "meilies.users"]
    assert len(lines) == 1 and "as user ann is refused" in lines[0]


def test_a_server_stops_while_passwords_are_looked_at(tmp_path, real_users, monkeypatch):
    gate = threading.Event()

    def slow(*arguments):
        assert gate.wait(SECONDS)

    monkeypatch.setattr(real_users, "check", slow)
    with Serving(tmp_path / "db", users=real_users) as serving:
        for _ in range(3):
            serving.connect().command("auth", "ann", "word")
        eventually(lambda: len(serving.poller.connections) == 3)
        eventually(lambda: all(one.working for one in list(serving.poller.connections.values())))
        serving.server.shutdown()
        gate.set()


def test_a_client_that_leaves_while_its_password_is_looked_at_is_forgotten(tmp_path, real_users, monkeypatch):
    gate = threading.Event()
    check = real_users.check

    def slow(*arguments):
        assert gate.wait(SECONDS)
        return check(*arguments)

    monkeypatch.setattr(real_users, "check", slow)
    with Serving(tmp_path / "db", users=real_users) as serving:
        client = serving.connect()
        client.command("auth", "ann", "word")
        eventually(lambda: serving.only_connection().working)
        client.close()
        gate.set()
        eventually(lambda: not serving.poller.connections)


def test_only_whole_passwords_count(tmp_path, real_users):
    real_users.change("long", ["on", ">" + "x" * 4096])
    with Serving(tmp_path / "db", users=real_users) as serving:
        client = serving.connect()
        for size in (4095, 4097, 10_000):
            assert isinstance(client.ask("auth", "long", "x" * size), resp.ErrorReply)
        assert client.ask("auth", "long", "x" * 4096) == b"OK"
        assert module.MOST == 50
