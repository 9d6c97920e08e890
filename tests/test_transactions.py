"""MULTI and EXEC: all of it or nothing (server/transactions.py)."""

import pytest
from serving import OK, FailingDisk, Serving, eventually, publish
from test_access import users  # noqa: F401  (a fixture)

import resp
from resp import ErrorReply

ABORTED = ErrorReply("EXECABORT Transaction discarded because of previous errors.")


def asked(client, *requests):
    """What a pipeline of these requests is answered."""
    client.send(b"".join(resp.command(*request) for request in requests))
    return [client.value() for _ in requests]


def append(stream, expected, data="d", id=""):
    return "append", stream, expected, "x", data, id, ""


MULTI, EXEC, DISCARD = ("multi",), ("exec",), ("discard",)


def test_what_is_queued_is_stored_by_exec_and_answered_one_by_one(serving, client):
    serving.connect().ask("psubscribe", "ch*")
    replies = asked(client, MULTI, ("publish", "a", "x", "1"), ("publish", "ch:1", "2"), append("a", 0, "3"),
                    ("append", "b", "none", "x", "4", "", "", "b", "0", "x", "5", "", ""), ("ping",), ("ping", "p"),
                    ("echo", "e"), ("unwatch",), EXEC)
    assert replies[:9] == [b"OK", *[b"QUEUED"] * 8]
    assert replies[9] == [b"OK", 1, [[1, 2]], [[0, 3], [1, 4]], b"PONG", b"p", b"e", b"OK"]
    assert [(event.stream, event.data) for event in serving.store.read_all()] == [
        ("a", b"1"), ("ch%3A1", b"2"), ("a", b"3"), ("b", b"4"), ("b", b"5")]


def test_xadd_in_a_transaction_is_answered_with_the_entrys_id(serving, client):
    replies = asked(client, MULTI, ("xadd", "k:1", "*", "f", "1"), ("publish", "k:1", "2"),
                    ("xadd", "k:1", "*", "f", "3", "g", "4"), EXEC)
    assert replies[:4] == [b"OK", *[b"QUEUED"] * 3]
    entries = client.ask("xrange", "k:1", "-", "+")
    assert replies[4] == [entries[0][0], 0, entries[2][0]]
    assert [pairs for _, pairs in entries] == [[b"f", b"1"], [b"message", b"2"], [b"f", b"3", b"g", b"4"]]


def test_xadd_in_a_transaction_trims_when_all_is_stored(serving, client):
    for _ in range(5):
        client.ask("xadd", "k", "*", "f", "v")
    adds = [("xadd", "k", "maxlen", 3, "*", "f", data) for data in "ab"]
    assert asked(client, MULTI, *adds, append("other", 7), EXEC)[-1].code == "WRONGVERSION"
    assert client.ask("xlen", "k") == 5
    [first, second] = asked(client, MULTI, *adds, EXEC)[-1]
    assert [id_ for id_, _ in client.ask("xrange", "k", "-", "+")][1:] == [first, second]


def test_nothing_is_stored_before_exec(serving, client):
    assert asked(client, MULTI, ("publish", "a", "x", "1")) == [b"OK", b"QUEUED"]
    assert serving.store.position == 0
    assert asked(client, EXEC) == [[b"OK"]]
    assert serving.store.position == 1


def test_what_one_transaction_stores_stands_together_among_others(serving):
    clients = [serving.connect() for _ in range(4)]
    for _ in range(20):
        for number, one in enumerate(clients):
            data = str(number)
            one.send(b"".join(resp.command(*request) for request in [
                ("publish", "s", "x", "-"), MULTI, ("publish", "s", "x", data), append("t", "any", data),
                ("publish", "s", data), EXEC, append("s", "any", "-")]))
    for one in clients:
        for _ in range(20):
            assert [type(one.value()) for _ in range(7)][5] is list
    events = [event.data for event in serving.store.read_all()]
    mine = [(at, data) for at, data in enumerate(events) if data != b"-"]
    assert len(mine) == 20 * 4 * 3
    for i in range(0, len(mine), 3):
        (first, data), *others = mine[i:i + 3]
        assert others == [(first + 1, data), (first + 2, data)]


def test_a_transaction_of_nothing_is_an_empty_array(serving, client):
    assert asked(client, MULTI, EXEC) == [b"OK", []]
    assert asked(client, MULTI, ("ping",), EXEC) == [b"OK", b"QUEUED", [b"PONG"]]


def test_publishes_of_a_pipeline_are_queued_each(serving, client):
    client.send(publish("a", "0") * 2 + resp.command(*MULTI) + publish("a", "1") * 3 + publish("b", "1")
                + resp.command(*append("a", "any")) * 3 + resp.command(*EXEC) + publish("a", "2") * 2)
    client.recv_exactly(OK * 3 + b"+QUEUED\r\n" * 7 + b"*7\r\n" + OK * 4
                        + b"".join(b"*1\r\n*2\r\n:%d\r\n:%d\r\n" % (5 + i, 6 + i) for i in range(3)) + OK * 2)
    assert serving.store.position == 11


# -- ids of the client's ----------------------------------------------------------

SMALLER = "ERR The ID specified in XADD is equal or smaller than the target stream top item"
LARGER = "ERR the sequence of an explicit ID is the event's number, which is "


def ids(client, key):
    return [id_ for id_, _ in client.ask("xrange", key, "-", "+")]


def test_an_id_in_a_transaction_is_the_time_and_the_next_number(serving, client):
    client.ask("xadd", "k", "5-0", "f", "0")
    follower = serving.connect()
    follower.ask("subscribe", "k")
    replies = asked(client, MULTI, ("xadd", "k", "5-1", "f", "1"), ("xadd", "new", "6-0", "f", "2"), ("ping",),
                    ("xadd", "k", "7-*", "f", "3", "g", "4"), append("other", "none"), ("xadd", "k", "7-3", "f", "5"),
                    EXEC)[-1]
    assert replies == [b"5-1", b"6-0", b"PONG", b"7-2", [[0, 4]], b"7-3"]
    assert (ids(client, "k"), ids(client, "new")) == ([b"5-0", b"5-1", b"7-2", b"7-3"], [b"6-0"])
    assert [event.position for event in serving.store.read_all()] == list(range(6))
    assert [follower.value()[4] for _ in range(3)] == [b"1", b"3", b"5"]


def test_what_has_no_id_of_its_own_beside_one_has_the_clock_but_no_time_before_the_last(tmp_path):
    now = 1_700_000_000_000
    with Serving(tmp_path / "db", clock=lambda: now * 1000) as serving:
        client = serving.connect()
        first = [("xadd", "k", f"{now + 500}-*", "f", "0"), ("xadd", "k", "*", "f", "1"), ("publish", "k", "f", "2"),
                 ("xadd", "j", "5-*", "f", "0"), ("xadd", "j", "*", "f", "1")]
        assert asked(client, MULTI, *first, EXEC)[-1] == [
            b"%d-0" % (now + 500), b"%d-1" % (now + 500), b"OK", b"5-0", b"%d-1" % now]
        assert asked(client, MULTI, ("xadd", "k", "*", "f", "3"), ("xadd", "i", "5-*", "f", "0"), EXEC)[-1] == [
            b"%d-3" % (now + 500), b"5-0"]
        assert ids(client, "k") == [b"%d-%d" % (now + 500, i) for i in range(4)]


@pytest.mark.parametrize("refused, why", [
    ([("xadd", "k", "5-1", "f", "")], SMALLER),
    ([("xadd", "k", "4-2", "f", "")], SMALLER),
    ([("xadd", "k", "9-*", "f", ""), ("xadd", "k", "8-*", "f", "")], SMALLER),
    ([("xadd", "k", "*", "f", ""), ("xadd", "k", "9-*", "f", "")], SMALLER),
    ([("xadd", "k", "5-3", "f", "")], LARGER + "2 now"),
    ([("xadd", "new", "5-1", "f", "")], LARGER + "0 now"),
    ([("xadd", "new", "0-*", "f", "")], LARGER + "0 now"),
    ([append("k", 7)], "WRONGVERSION stream 'k': expected event 7 as its last one, found event 1"),
    ([("xadd", "k", "5-*", "f", ""), append("k", 1)], "WRONGVERSION "),
])
def test_an_id_that_can_not_be_refuses_the_whole_transaction(serving, client, refused, why):
    asked(client, ("xadd", "k", "5-0", "f", ""), ("xadd", "k", "5-1", "f", ""))
    replies = asked(client, MULTI, ("xadd", "other", "5-0", "f", ""), *refused, EXEC)
    assert set(replies[1:-1]) == {b"QUEUED"}
    assert replies[-1].args[0].startswith(why)
    assert serving.store.position == 2
    assert client.ask("exists", "k", "other", "new") == 1


def test_of_transactions_at_the_same_time_each_gets_its_ids_as_a_whole(serving):
    clients = [serving.connect() for _ in range(4)]
    requests = [MULTI, *[("xadd", "k", "5-*", "f", "")] * 3, EXEC]
    for one in clients:
        one.send(b"".join(resp.command(*request) for request in requests * 10))
    found = []
    for one in clients:
        found += [[one.value() for _ in range(5)][-1] for _ in range(10)]
    assert sorted(found, key=lambda some: int(some[0][2:])) == [
        [b"5-%d" % (first + i) for i in range(3)] for first in range(0, 120, 3)]


# -- nothing by half ------------------------------------------------------------

@pytest.mark.parametrize("refused, code", [
    (append("a", 7), "WRONGVERSION stream 'a': expected event 7 as its last one, found event 0; nothing was stored"),
    (append("a", "none"), "WRONGVERSION "),
    (("publish", "gone", "x", "d"), "DELETED "),
    (append("ids", "any", "one", "id"), "IDCONFLICT "),     # stored before, and the others weren't
])
def test_what_the_store_refuses_refuses_the_whole_transaction(serving, client, refused, code):
    client.ask(*append("ids", "any", "one", "id"))
    client.ask("publish", "gone", "x", "d")
    serving.store.delete("gone", forever=True)
    before = serving.store.position
    replies = asked(client, MULTI, ("publish", "a", "x", "1"), refused, ("publish", "b", "x", "1"), EXEC)
    assert replies[:-1] == [b"OK", *[b"QUEUED"] * 3]
    assert replies[-1].args[0].startswith(code)
    assert serving.store.position == before
    assert asked(client, ("publish", "c", "x", "d"), EXEC) == [b"OK", ErrorReply("ERR EXEC without MULTI")]


@pytest.mark.parametrize("refused", [
    ("nonsense",), ("publish", "a"), ("publish", "a", "x", "d", "more"), ("publish", "a:b", "x", "d"),
    ("publish", "", "d"), ("publish", "a", "", "d"), ("append", "a", "any", "x", "d", "id"),
    ("append", "a", "some", "x", "d", "", ""), ("ping", "a", "b"), ("echo",), ("get", "a"),
    ("read", "stream", "a", 0, 1), ("stream-names",), ("subscribe", "a"), ("psubscribe", "a"), ("follow", "$all", 0),
    ("truncate", "a", 0), ("delete", "a"), ("group-read", "g", "m", 1), ("snapshot-put", "a", 0, "d"),
    ("xadd", "a", "minid", 5, "*", "f", "v"), ("xadd", "a", "nomkstream", "*", "f", "v"),
    ("xadd", "a", "0-0", "f", "v"), ("xadd", "a", "99999999999999-0", "f", "v"), ("xadd", "a", "5-x", "f", "v"),
    ("xadd", "a", "nomkstream", "1-0", "f", "v"), ("xadd", "a", "*", "f"), ("xadd", "", "*", "f", "v"), ("xlen", "a"),
    ("dcb-append", 1), ("hello", 3), ("select", 1), ("client", "id"), ("info",), ("monitor",), ("time",),
])
def test_any_other_command_is_refused_at_once_and_exec_does_nothing(serving, client, refused):
    replies = asked(client, MULTI, ("publish", "a", "x", "1"), refused, ("publish", "a", "x", "2"), EXEC, ("ping",))
    assert isinstance(replies[2], ErrorReply)
    assert replies[:2] + replies[3:] == [b"OK", b"QUEUED", b"QUEUED", ABORTED, b"PONG"]
    assert serving.store.position == 0
    assert serving.connection_of(client).subscriptions == {}


def test_what_is_not_for_transactions_is_refused_by_name(client):
    client.ask(*MULTI)
    assert client.error("read", "stream", "a", 0, 1).startswith("ERR READ isn't for transactions")


def test_a_request_that_is_none_breaks_the_transaction(serving, client):
    client.send(resp.command(*MULTI) + publish("a", "1") + b"*1\r\n:1\r\n" + resp.command(*EXEC))
    assert [client.value() for _ in range(2)] == [b"OK", b"QUEUED"]
    assert isinstance(client.value(), ErrorReply)
    assert client.value() == ABORTED
    assert serving.store.position == 0


def test_discard_forgets_what_was_queued(serving, client):
    assert asked(client, MULTI, ("publish", "a", "x", "1"), ("nonsense",), DISCARD)[-1] == b"OK"
    assert client.error(*EXEC) == "ERR EXEC without MULTI"
    assert client.error(*DISCARD) == "ERR DISCARD without MULTI"
    assert asked(client, ("publish", "a", "x", "2")) == [b"OK"]
    assert serving.store.position == 1


@pytest.mark.parametrize("end", [("reset",), ("quit",), None])
def test_a_connection_that_ends_in_a_transaction_leaves_nothing(serving, client, end):
    asked(client, MULTI, ("publish", "a", "x", "1"))
    if end is None:
        client.end_output()
        client.recv_end()
    else:
        assert client.ask(*end) in (b"RESET", b"OK")
    assert serving.connect().ask("publish", "b", "x", "d") == b"OK"
    assert serving.store.position == 1


def test_multi_within_multi_and_watch_are_refused_and_break_nothing(serving, client):
    replies = asked(client, MULTI, MULTI, ("watch", "a"), ("publish", "a", "x", "1"), EXEC)
    assert replies == [b"OK", ErrorReply("ERR MULTI calls can not be nested"),
                       ErrorReply("ERR WATCH inside MULTI is not allowed"), b"QUEUED", [b"OK"]]


def test_watch_is_refused_and_says_what_to_use(client):
    assert client.error("watch", "a").startswith("ERR WATCH isn't supported: ")
    assert "EXPECTED" in client.error("watch", "a", "b")
    assert client.ask("unwatch") == b"OK"


def test_exec_with_arguments_ends_the_transaction(serving, client):
    replies = asked(client, MULTI, ("publish", "a", "x", "1"), ("exec", "x"), EXEC)
    assert replies[2].args[0].startswith("EXECABORT Transaction discarded because of: wrong number of arguments")
    assert replies[3] == ErrorReply("ERR EXEC without MULTI")
    assert serving.store.position == 0


@pytest.mark.parametrize("limits, most", [({"max_request_size": 1000, "max_event_size": 500}, "1000 bytes"),
                                          ({"max_arguments": 10}, "10 commands")])
def test_what_is_queued_is_bounded(tmp_path, limits, most):
    with Serving(tmp_path / "db", **limits) as serving:
        client = serving.connect()
        client.ask(*MULTI)
        replies = [client.ask("publish", "a", "x", "d" * 100) for _ in range(12)]
        assert replies[0] == b"QUEUED"
        assert most in replies[-1].args[0]
        assert client.ask(*EXEC) == ABORTED
        assert serving.store.position == 0


@pytest.mark.parametrize("more", [append("a", "any"), ("xadd", "b", "5-0", "f", "v")])
def test_a_disk_that_fails_fails_the_transaction_as_a_whole(tmp_path, more):
    disk = FailingDisk()
    with Serving(tmp_path / "db", files=disk) as serving:
        client = serving.connect()
        client.ask("publish", "a", "x", "d")
        disk.write_error = OSError(28, "No space left on device")
        replies = asked(client, MULTI, ("publish", "a", "x", "1"), more, EXEC)
        assert replies[-1].code == "STOREFULL"
        disk.write_error = None
        assert serving.store.position == 1


def test_followers_get_all_of_a_transaction(serving, client):
    follower = serving.connect()
    follower.ask("subscribe", "a")
    asked(client, MULTI, ("publish", "a", "x", "1"), ("publish", "b", "x", "2"), ("publish", "a", "x", "3"), EXEC)
    assert [follower.value()[4] for _ in range(2)] == [b"1", b"3"]


def test_a_transaction_that_waits_for_the_disk_is_answered_in_its_turn(tmp_path):
    with Serving(tmp_path / "db", sync="always") as serving:
        client = serving.connect()
        replies = asked(client, ("publish", "a", "x", "0"), MULTI, ("publish", "a", "x", "1"), EXEC,
                        ("last-event-number", "a"), MULTI, append("a", 1), EXEC, ("last-event-number", "a"),
                        MULTI, ("xadd", "b", "5-0", "x", "3"), EXEC, ("last-event-number", "b"))
        assert replies[3:] == [[b"OK"], [b"last-event-number", b"a", 1], b"OK", b"QUEUED", [[[2, 2]]],
                               [b"last-event-number", b"a", 2], b"OK", b"QUEUED", [b"5-0"],
                               [b"last-event-number", b"b", 0]]


# -- who may --------------------------------------------------------------------

@pytest.fixture
def guarded(tmp_path, users):       # noqa: F811
    with Serving(tmp_path / "db", users=users) as serving:
        yield serving


def log_in(serving, name):
    client = serving.connect()
    client.ask("auth", name, "word")
    return client


def test_what_one_may_not_append_to_breaks_the_transaction(guarded):
    ann = log_in(guarded, "ann")
    for refused in (("publish", "cart", "x", "d"), ("publish", "cart", "d"), append("cart", "any")):
        replies = asked(ann, MULTI, ("publish", "orders-1", "x", "1"), refused, EXEC)
        assert replies[2].code == "NOPERM" and replies[3] == ABORTED
    assert guarded.store.position == 0
    assert asked(ann, MULTI, ("publish", "orders-1", "x", "1"), EXEC)[-1] == [b"OK"]


@pytest.mark.parametrize("rules", [["resetkeys", "~cart"], ["-@append"]])
def test_rights_that_go_before_exec_refuse_it(guarded, users, rules):       # noqa: F811
    ann = log_in(guarded, "ann")
    connection = guarded.connection_of(ann)
    before = connection.user
    asked(ann, MULTI, ("publish", "orders-1", "x", "1"))
    users.change("ann", rules)
    eventually(lambda: connection.user is not before, "the change")
    [reply] = asked(ann, EXEC)
    assert reply.code == "NOPERM"
    assert guarded.store.position == 0
    assert asked(ann, EXEC) == [ErrorReply("ERR EXEC without MULTI")]


def test_who_may_not_trim_does_not_in_a_transaction_either(guarded, users):       # noqa: F811
    trimming = [MULTI, ("xadd", "orders-1", "maxlen", 0, "*", "f", "v")]
    ann = log_in(guarded, "ann")
    assert [getattr(one, "code", one) for one in asked(ann, *trimming, EXEC)] == [b"OK", "NOPERM", "EXECABORT"]
    connection = guarded.connection_of(ann)
    before = connection.user
    users.change("ann", ["+@admin"])
    eventually(lambda: connection.user is not before, "the change")
    assert asked(ann, *trimming, ("xadd", "orders-1", "*", "f", "v")) == [b"OK", b"QUEUED", b"QUEUED"]
    before = connection.user
    users.change("ann", ["-@admin"])
    eventually(lambda: connection.user is not before, "the change")
    [reply] = asked(ann, EXEC)
    assert reply.code == "NOPERM"
    assert guarded.store.position == 0


def test_a_stranger_begins_no_transaction(guarded):
    stranger = guarded.connect()
    assert stranger.ask(*MULTI).code == stranger.ask(*EXEC).code == "NOAUTH"


# -- what others see of it -------------------------------------------------------

def test_client_list_says_how_many_are_queued(serving, client):
    other = serving.connect()
    asked(client, MULTI, ("ping",), ("publish", "a", "x", "d"))
    lines = [dict(field.split("=", 1) for field in line.split(" "))
             for line in other.ask("client", "list").decode().splitlines()]
    assert [(line["flags"], line["multi"]) for line in lines] == [("x", "2"), ("N", "-1")]
