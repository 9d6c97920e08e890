"""Consumer groups on the wire: what each command answers, and reads that wait."""

import threading

import pytest
from serving import Serving, eventually

from resp import ErrorReply
from store import NO, Store


def fill(serving, *streams):
    for i, stream in enumerate(streams):
        serving.store.append(stream, "n", b"%d" % i)


def keys(reply):
    return [one[0] for one in reply]


def test_a_group_from_its_making_to_its_end(serving, client):
    fill(serving, "a", "a")
    client.command("group-create", "g", "stream", "a", "0")
    client.recv_exactly(b"+OK\r\n")
    client.command("groups")
    client.recv_exactly(b"*1\r\n$1\r\ng\r\n")
    time = serving.store.read("a")[0].time
    client.command("group-read", "g", "m", 1)
    client.recv_exactly(b"*1\r\n*3\r\n:0\r\n:1\r\n*9\r\n+recorded\r\n:0\r\n+a\r\n:0\r\n+n\r\n$1\r\n0\r\n$0\r\n\r\n$0\r\n\r\n:%d\r\n"
                        % time)
    client.command("group-ack", "g", 0, 1)
    client.recv_exactly(b":1\r\n")
    assert keys(client.ask("group-read", "g", "m", 10)) == [1]
    client.command("group-refuse", "g", 1, "park", "no such order")
    client.recv_exactly(b"+parked\r\n")
    client.command("group-refuse", "g", 1)
    client.recv_exactly(b"$-1\r\n")
    [parked] = client.ask("group-parked", "g")
    assert (parked[:4], parked[5]) == ([1, b"a", 1, 1], b"no such order")
    client.command("group-read", "g", "m", 1)
    client.recv_exactly(b"*0\r\n")
    client.command("group-replay", "g")
    client.recv_exactly(b":1\r\n")
    assert keys(client.ask("group-read", "g", "m", 1)) == [1]
    client.command("group-leave", "g", "m")
    client.recv_exactly(b":1\r\n")
    client.command("group-delete", "g")
    client.recv_exactly(b"+OK\r\n")
    assert client.error("group-read", "g", "m", 1) == "NOGROUP there is no group 'g'"


def test_parked_events_are_listed_by_pages_and_discarded(serving, client):
    fill(serving, *"abc")
    client.ask("group-create", "g", "$all", "0")
    client.ask("group-read", "g", "m", 3)
    for key in range(3):
        client.ask("group-refuse", "g", key, "PARK")
    assert keys(client.ask("group-parked", "g", 1, 1)) == [1]
    assert client.ask("group-discard", "g", 0, 1, 7) == 2
    assert keys(client.ask("group-parked", "g")) == [2]
    assert client.ask("group-replay", "g", 0) == 0


def test_info_says_how_a_group_stands(serving, client):
    fill(serving, "a", "b", "a1")
    assert client.ask("group-create", "g", "prefix", "a", "0", "TRIES", 3, "wait", 1500, "PAUSE", 250) == b"OK"
    client.ask("group-read", "g", "m", 1)
    reply = client.ask("group-info", "g")
    found = dict(zip(reply[::2], reply[1::2]))
    assert found == {
        b"name": b"g", b"kind": b"prefix", b"selector": b"a", b"checkpoint": 0, b"next": 3, b"lag": 2, b"held": 1,
        b"parked": 0, b"given": 1, b"acknowledged": 0, b"refused": 0, b"late": 0, b"cut": 0, b"lost": 0, b"tries": 3,
        b"wait": 1500, b"pause": 250, b"members": [b"m", 1]}
    client.ask("hello", 3)
    assert client.ask("group-info", "g")[b"members"] == {b"m": 1}


def test_from_a_dash_only_new_events_are_given(serving, client):
    fill(serving, "a", "b")
    for name, selector in ("all", ["$all"]), ("one", ["stream", "a"]), ("none", ["stream", "new"]):
        assert client.ask("group-create", name, *selector, "-") == b"OK"
    fill(serving, "a", "new")
    assert keys(client.ask("group-read", "all", "m", 10)) == [2, 3]
    assert keys(client.ask("group-read", "one", "m", 10)) == [1]
    assert keys(client.ask("group-read", "none", "m", 10)) == [0]


def test_from_a_time_events_since_then_are_given(serving, client):
    fill(serving, *"aba")
    time = serving.store.read_all()[1].time
    assert client.ask("group-create", "all", "$all", f"@{time}") == b"OK"
    assert client.ask("group-create", "one", "stream", "a", f"@{time}") == b"OK"
    assert sorted(keys(client.ask("group-read", "all", "m", 10))) == [1, 2]
    assert keys(client.ask("group-read", "one", "m", 10)) == [1]


def test_a_group_may_be_of_events_called_so(serving, client):
    for name in "xyzx":
        serving.store.append("a", name, b"")
    assert client.ask("group-create", "g", "stream", "a", "0", "names", "2", "x", "z", "TRIES", "3") == b"OK"
    assert keys(client.ask("group-read", "g", "m", 10)) == [0, 2, 3]
    info = client.ask("group-info", "g")
    assert dict(zip(info[::2], info[1::2]))[b"names"] == [b"x", b"z"]


@pytest.mark.parametrize("arguments, why", [
    (("group-create", "g", "$all"), "ERR wrong number of arguments"),
    (("group-create", "g", "stream", "a"), "ERR syntax error, expected: group-create"),
    (("group-create", "g", "$all", "x"), "ERR FROM is 'x'"),
    (("group-create", "g", "$all", "0", "TRIES"), "ERR syntax error, expected: group-create"),
    (("group-create", "g", "$all", "0", "TRY", "1"), "ERR found 'TRY', expected TRIES, WAIT, PAUSE or NAMES"),
    (("group-create", "g", "$all", "0", "NAMES", "2", "x"), "ERR found 1 NAMES, expected 2"),
    (("group-create", "g", "$all", "0", "TRIES", "0"), "ERR found 0 tries"),
    (("group-create", "g", "$all", "0", "WAIT", "x"), "ERR WAIT is 'x'"),
    (("group-create", "", "$all", "0"), "ERR group name is empty"),
    (("group-create", "there", "stream", "a", "0"), "GROUPEXISTS group 'there' is there already, of '$all'"),
    (("group-delete", "g"), "NOGROUP there is no group 'g'"),
    (("group-read", "there", "m", "0"), "ERR COUNT is 0, expected 1 to 1000"),
    (("group-read", "there", "m", "1001"), "ERR COUNT is 1001, expected 1 to 1000"),
    (("group-read", "there", "m\n", "1"), "ERR member name has no CR, LF or NUL"),
    (("group-read", "there", "m", "1", "WAIT", "1"), "ERR syntax error, expected: group-read"),
    (("group-read", "there", "m", "1", "BLOCK"), "ERR syntax error, expected: group-read"),
    (("group-ack", "there", "x"), "ERR KEY is 'x'"),
    (("group-refuse", "there", "1", "never"), "ERR syntax error, expected: group-refuse"),
    (("group-parked", "there", "0", "0"), "ERR expected: group-parked"),
])
def test_what_is_wrong_with_a_command_is_said(serving, client, arguments, why):
    client.ask("group-create", "there", "$all", "0")
    assert client.error(*arguments).startswith(why)


# -- reads that wait -------------------------------------------------------------------

def waiting(serving, count=1):
    eventually(lambda: len(serving.poller.blocked._reads) == count)


def test_a_blocked_read_is_answered_when_an_event_comes(serving, client):
    other = serving.connect()
    client.ask("group-create", "g", "$all", "0")
    client.command("group-read", "g", "m", 10, "BLOCK", 0)
    client.command("ping")
    waiting(serving)
    other.ask("publish", "s", "n", "one")
    assert keys(client.value()) == [0]
    assert client.value() == b"PONG"


def test_a_blocked_read_is_answered_with_nothing_when_its_time_is_up(serving, client):
    client.ask("group-create", "g", "$all", "0")
    client.command("group-read", "g", "m", 10, "BLOCK", 20)
    client.recv_exactly(b"*0\r\n")
    assert client.ask("ping") == b"PONG"


def test_a_blocked_read_is_answered_when_another_member_gives_back(serving, client):
    fill(serving, "s")
    other = serving.connect()
    client.ask("group-create", "g", "stream", "s", "0", "PAUSE", "0")
    assert keys(other.ask("group-read", "g", "n", 1)) == [0]
    client.command("group-read", "g", "m", 1, "BLOCK", 0)
    waiting(serving)
    assert other.ask("group-refuse", "g", 0) == b"later"
    assert client.value()[0][:2] == [0, 2]


def test_a_blocked_read_is_answered_when_another_members_time_is_up(serving, client):
    fill(serving, "s")
    other = serving.connect()
    client.ask("group-create", "g", "stream", "s", "0", "WAIT", "50")
    assert keys(other.ask("group-read", "g", "n", 1)) == [0]
    client.command("group-read", "g", "m", 1, "BLOCK", 0)
    assert client.value()[0][:2] == [0, 2]


def test_blocked_reads_of_many_take_no_thread_each(serving, client):
    client.ask("group-create", "g", "$all", "0")
    clients = [serving.connect() for _ in range(40)]
    before = threading.active_count()
    for i, one in enumerate(clients):
        one.command("group-read", "g", f"m{i}", 1, "BLOCK", 0)
    waiting(serving, 40)
    assert threading.active_count() <= before + 2
    assert client.ask("ping") == b"PONG"
    fill(serving, *[f"s{i}" for i in range(40)])
    assert sorted(key for one in clients for key in keys(one.value())) == list(range(40))


def test_a_blocked_read_whose_client_is_gone_takes_nothing(serving, client):
    client.ask("group-create", "g", "$all", "0")
    gone = serving.connect()
    gone.command("group-read", "g", "gone", 1, "BLOCK", 0)
    waiting(serving)
    gone.close()
    waiting(serving, 0)
    fill(serving, "s")
    assert keys(client.ask("group-read", "g", "m", 1)) == [0]


def test_a_blocked_read_of_a_group_that_is_deleted_is_told(serving, client):
    other = serving.connect()
    client.ask("group-create", "g", "$all", "0")
    client.command("group-read", "g", "m", 1, "BLOCK", 0)
    waiting(serving)
    other.ask("group-delete", "g")
    assert str(client.value()) == "NOGROUP there is no group 'g'"


def test_a_blocked_read_that_fails_is_told_and_others_wait_on(serving, client, caplog, monkeypatch):
    other = serving.connect()
    client.ask("group-create", "g", "$all", "0")
    client.ask("group-create", "h", "stream", "t", "0")
    client.command("group-read", "g", "m", 1, "BLOCK", 0)
    other.command("group-read", "h", "m", 1, "BLOCK", 0)
    waiting(serving, 2)
    broken = serving.store.group("g")
    monkeypatch.setattr(broken, "read_some", lambda *arguments: 1 / 0)
    fill(serving, "s")
    reply = client.value()
    assert isinstance(reply, ErrorReply) and str(reply).startswith("ERR internal error")
    assert "ZeroDivisionError" in caplog.text
    fill(serving, "t")
    assert keys(other.value()) == [0]


def test_stopping_answers_blocked_reads(tmp_path):
    with Serving(tmp_path / "db") as serving:
        client = serving.connect()
        client.ask("group-create", "g", "$all", "0")
        client.command("group-read", "g", "m", 1, "BLOCK", 0)
        waiting(serving)
        serving.poller.stop()
        client.recv_exactly(b"*0\r\n")
        client.recv_end()


def test_what_was_acknowledged_over_the_wire_is_not_given_again_after_a_restart(tmp_path):
    with Serving(tmp_path / "db") as serving:
        fill(serving, "a", "b", "c")
        client = serving.connect()
        client.ask("group-create", "g", "$all", "0")
        assert keys(client.ask("group-read", "g", "m", 3)) == [0, 1, 2]
        client.ask("group-ack", "g", 0, 2)
    with Store(tmp_path / "db", sync=NO) as store:
        assert [one.key for one in store.group("g").read("m", 10)] == [1]
