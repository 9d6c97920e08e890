"""Who a client says it is, what it may do then, and what becomes of it when that changes (server/access.py, acl.py)."""

import logging
import os
import shutil
import socket
import subprocess
import threading

import pytest
from conftest import SECONDS
from serving import OK, Serving, eventually, publish, subscribed

import resp
from server import streams
from server.access import judged
from server.commands import COMMANDS
from server.users import RIGHTS, Cost, Users, create

CHEAP = Cost(2, 8, 1)       # a password costs nothing here

NOAUTH = "NOAUTH Authentication required."
WRONGPASS = "WRONGPASS invalid username-password pair or user is disabled."


@pytest.fixture
def users(tmp_path):
    path = str(tmp_path / "users")
    create(path)
    users = Users(path, CHEAP)
    users.change("ops", ["on", ">secret", "+@all", "~*"])
    users.change("ann", ["on", ">word", "+@read", "+@append", "~orders-*"])
    users.change("reader", ["on", ">word", "+@read", "~orders-*", "%R~cart"])
    users.change("writer", ["on", ">word", "+@append", "~orders-*"])
    users.change("worker", ["on", ">word", "+@group", "%R~orders-*"])
    users.change("new", ["on", ">word"])
    return users


@pytest.fixture
def serving(tmp_path, users):
    with Serving(tmp_path / "db", users=users) as serving:
        yield serving


@pytest.fixture
def log_in(serving):
    """log_in(name) -> a Client that is this user."""
    def start(name, protocol=2):
        client = serving.connect()
        client.command("hello", protocol, "auth", name, "secret" if name == "ops" else "word")
        assert not isinstance(client.value(), resp.ErrorReply)
        return client
    return start


# -- saying who one is -----------------------------------------------------------

def test_a_client_that_has_not_said_who_it_is_may_do_nothing_else(serving):
    client = serving.connect()
    for request in (["ping"], ["publish", "orders-1", "x", "d"], ["append", "orders-1", "any", "x", "d", "", ""],
                    ["subscribe", "$all"], ["acl", "whoami"], ["client", "id"], ["info"], ["command"]):
        assert client.error(*request) == NOAUTH
    assert serving.store.position == 0


def test_an_unknown_command_tells_a_stranger_nothing(serving):
    assert serving.connect().error("nonsense", "x") == NOAUTH


def test_auth_takes_a_user_and_a_password(serving):
    client = serving.connect()
    assert client.ask("auth", "ann", "word") == b"OK"
    assert client.ask("acl", "whoami") == b"ann"


def test_auth_with_a_password_alone_is_of_the_user_called_default(serving, users):
    users.change("default", ["on", ">word"])
    client = serving.connect()
    assert client.ask("auth", "word") == b"OK"
    assert client.ask("acl", "whoami") == b"default"


@pytest.mark.parametrize("name, password", [("ann", "wor"), ("ann", ""), ("ann", "words"), ("nobody", "word"),
                                            ("", ""), ("ops", "word"), ("ann\0", "word"), ("\udcff", "word")])
def test_a_wrong_password_and_a_user_that_is_not_there_are_the_same(serving, name, password):
    client = serving.connect()
    assert client.error("auth", name.encode("utf-8", "surrogateescape"), password) == WRONGPASS
    assert client.error("ping") == NOAUTH


def test_a_user_who_is_off_can_not_log_in(serving, users):
    users.change("ann", ["off"])
    assert serving.connect().error("auth", "ann", "word") == WRONGPASS


def test_a_user_without_a_password_can_not_log_in(serving, users):
    users.change("ann", ["resetpass"])
    assert serving.connect().error("auth", "ann", "") == WRONGPASS


def test_a_wrong_password_leaves_a_client_who_it_was(serving, log_in):
    client = log_in("ann")
    assert client.error("auth", "ops", "no") == WRONGPASS
    assert client.ask("acl", "whoami") == b"ann"


def test_hello_says_who_one_is_what_one_is_called_and_which_protocol_one_speaks(serving):
    client = serving.connect()
    reply = client.ask("hello", "3", "auth", "ann", "word", "setname", "till")
    assert reply[b"proto"] == 3
    assert client.ask("client", "getname") == b"till"
    assert client.ask("acl", "whoami") == b"ann"


@pytest.mark.parametrize("request_", [
    ["hello", "3", "auth", "ann", "no", "setname", "till"],
    ["hello", "3", "setname", "till", "auth", "ann", "no"],
    ["hello", "3", "auth", "ann", "word", "setname", "not a name"],
    ["hello", "3", "auth", "ann", "word", "nonsense"],
    ["hello", "4", "auth", "ann", "word"],
    ["hello", "3", "auth", "ann"],
    ["hello", "3"],
    ["hello"],
])
def test_a_hello_that_fails_in_part_fails_as_a_whole(serving, request_):
    client = serving.connect()
    assert isinstance(client.ask(*request_), resp.ErrorReply)
    connection = serving.connection_of(client)
    assert (connection.user, connection.protocol, connection.name) == (None, 2, b"")
    assert client.error("ping") == NOAUTH


def test_what_is_sent_behind_auth_waits_for_it(serving):
    client = serving.connect()
    client.send(resp.command("auth", "ann", "word") + publish("orders-1", "a") * 3 + resp.command("acl", "whoami"))
    client.recv_exactly(OK * 4 + b"$3\r\nann\r\n")
    assert serving.store.position == 3


def test_what_is_sent_behind_an_auth_that_fails_is_refused(serving):
    client = serving.connect()
    client.send(resp.command("auth", "ann", "no") + publish("orders-1", "a") * 3
                + resp.command("append", "orders-1", "any", "x", "d", "", "") * 3 + resp.command("auth", "ann", "word"))
    client.recv_exactly(f"-{WRONGPASS}\r\n".encode() + f"-{NOAUTH}\r\n".encode() * 6 + OK)
    assert serving.store.position == 0


def test_a_request_behind_auth_may_be_larger_than_a_stranger_s(serving):
    client = serving.connect()
    client.send(resp.command("auth", "ann", "word") + publish("orders-1", "a" * 100_000))
    client.recv_exactly(OK * 2)


def test_reset_forgets_who_one_is(serving, log_in):
    client = log_in("ann")
    client.send(resp.command("subscribe", "orders-1") + resp.command("reset") + publish("orders-1", "a") * 2)
    client.recv_exactly(subscribed("orders-1") + b"+RESET\r\n" + f"-{NOAUTH}\r\n".encode() * 2)
    assert serving.store.position == 0
    eventually(lambda: not serving.connection_of(client).subscriptions)


def test_the_user_default_without_a_password_is_everybody_who_does_not_log_in(serving, users):
    users.change("default", ["on", "nopass", "+@read", "~open-*"])
    client = serving.connect()
    assert client.ask("acl", "whoami") == b"default"
    assert client.error("subscribe", "orders-1").startswith("NOPERM")
    assert client.ask("subscribe", "open-1") == [b"subscribed", b"open-1"]
    users.change("default", ["resetpass"])
    assert client.value().args[0].startswith("NOAUTH")
    client.recv_end()


def test_without_users_auth_is_refused_and_everybody_may_do_everything(tmp_path):
    with Serving(tmp_path / "db") as serving:
        client = serving.connect()
        assert "without any password configured" in client.error("auth", "x")
        assert "without any password configured" in client.error("hello", "3", "auth", "ann", "x")
        assert client.ask("acl", "whoami") == b"default"
        assert client.ask("acl", "list") == [b"user default on nopass +@read +@append +@group +@admin ~*"]
        assert "--users" in client.error("acl", "setuser", "ann", "on")


def test_no_password_is_logged(serving, users, log_in, caplog):
    caplog.set_level(logging.DEBUG)
    client = log_in("ops")
    client.ask("auth", "ann", "hunter2")
    client.ask("auth", "hunter2", "word")
    client.ask("acl", "setuser", "bob", "on", ">hunter2", "~x")
    client.ask("acl", "setuser", "bob", ">hunter2", "nonsense")
    client.ask("hello", "3", "auth", "ann", "hunter2", "x")
    assert "hunter2" not in caplog.text
    for request in (["acl", "list"], ["acl", "getuser", "bob"], ["client", "list"], ["info"]):
        assert b"hunter2" not in repr(client.ask(*request)).encode()


# -- what one may do -------------------------------------------------------------

# A request of each command that touches streams, {} standing for one.
TOUCHING = """
    publish {} x d
    append {} any x d id metadata
    dcb-append 1 {} x d id metadata 1 tag
    xadd {} * field value
    xadd {} 0-* field value
    xlen {}
    snapshot-put {} 0 data
    snapshot-get {}
    snapshot-delete {}
    last-event-number {}
    stream-info {}
    read stream {} 0 10
    read-back stream {} - 10
    read-last stream {}
    xrange {} - +
    xrevrange {} + -
    xread COUNT 1 STREAMS {} 0
    xinfo STREAM {}
    xinfo GROUPS {}
    subscribe {}:0:1
    psubscribe {}
    pubsub numsub {}
    publish {} data
    follow stream {} 0 TO 1
    group-read g-{} member 10
    group-ack g-{} 0
    group-refuse g-{} 0
    group-leave g-{} member
    group-parked g-{}
    group-replay g-{}
    group-discard g-{} 0
    group-info g-{}
    xgroup create {} g 0
    xgroup setid {} g 0
    xgroup destroy {} g
    xgroup createconsumer {} g ann
    xgroup delconsumer {} g ann
    xreadgroup group g ann streams {} >
    xack {} g 1-0
    xpending {} g
    xclaim {} g ann 0 1-0
    xautoclaim {} g ann 0 0
    group-create g-{} stream {} 0
    group-delete g-{}
    type {}
    exists {}
    touch {}
    ttl {}
    pttl {}
    expiretime {}
    pexpiretime {}
    persist {}
    object encoding {}
    memory usage {}
"""
# ... and take an admin.
OF_STREAMS_ADMINS = """
    truncate {} 0
    redact {} 0
    retain stream {} MAX-COUNT 5
    delete {}
    xtrim {} MAXLEN 5
    xdel {} 0-1
    xsetid {} 7-7
    del {}
    unlink {}
"""
TOUCHING += OF_STREAMS_ADMINS
# ... that are of all streams.
OF_ALL = """
    subscribe $all
    psubscribe *
    follow $all 0
    read $all 0 10
    read-back $all - 10
    read-last $all
    last-event-number $all
    dcb-read - 10
    dcb-append 1 orders-1 x d id metadata 0 UNLESS - ITEM 0 1 tag
    group-create all $all 0
    retain $all MAX-COUNT 5
    export
    import line
    chain-head
    monitor
"""
# ... that take an admin and no streams.
OF_ADMINS = """
    compact
    backup name
    check
    verify
    config get *
    client kill id 99
    slowlog get
    latency histogram
    memory stats
    config set log-level debug
    acl list
    acl users
    acl getuser ann
    acl setuser ann on
    acl deluser ann
    acl load
    acl save
"""
# ... that show what one may see, and those of the connection itself.
OTHERS = """
    stream-names
    search-streams
    groups
    retention
    scan 0
    keys *
    dbsize
    randomkey
    ping
    echo x
    quit
    hello
    auth ann word
    reset
    select 0
    client id
    info
    time
    command
    role
    wait 0 0
    module list
    lastsave
    lolwut
    unsubscribe
    unfollow $all
    punsubscribe
    multi
    exec
    discard
    unwatch
    watch orders-1
"""


def lines(text, stream=""):
    return [line.format(stream, stream).split() for line in text.splitlines() if line.strip()]


def denied(reply):
    return isinstance(reply, resp.ErrorReply) and reply.code == "NOPERM"


def prepared(serving):
    """Streams that are there, and groups of them."""
    for stream in ("orders-1", "cart", "orders", "Orders-1", "other"):
        serving.store.append(stream, "x", b"data")
        serving.store.group_create(f"g-{stream}", stream, 0)
    return serving.store


def what_there_is(store):
    """All that a request might have changed."""
    return (store.position, sorted(store.names()), store.retention.rules(), [group.name for group in store.groups()],
            [store.bounds(name) for name in store.names()], [group.info().acknowledged for group in store.groups()],
            store.snapshot_get("cart"), store.snapshot_get("orders-1"))


def test_every_command_there_is_was_tried_by_those_who_may_not(serving):
    tried = {words[0].encode() for text in (TOUCHING, OF_ALL, OF_ADMINS, OTHERS) for words in lines(text, "s")}
    assert tried == set(COMMANDS)


def test_a_new_user_may_nothing(serving, log_in):
    store = prepared(serving)
    before = what_there_is(store)
    client = log_in("new")
    for words in (*lines(TOUCHING, "orders-1"), *lines(OF_ALL), *lines(OF_ADMINS), *lines(OTHERS)[:8]):
        assert denied(client.ask(*words)), words
    assert what_there_is(store) == before


def test_nobody_touches_streams_of_others(serving, users, log_in):
    store = prepared(serving)
    users.change("ann", ["+@all"])      # of orders-* alone
    before = what_there_is(store)
    client = log_in("ann")
    for stream in ("cart", "orders", "Orders-1", "other"):
        for words in lines(TOUCHING, stream):
            assert denied(client.ask(*words)), words
    for stream in ("orders_1", "xorders-1", "order"):
        for words in lines(TOUCHING, stream):
            reply = client.ask(*words)
            assert denied(reply) or words[1].startswith("g-") and reply.code == "NOGROUP", words
    assert what_there_is(store) == before


def test_nobody_touches_all_streams_who_may_touch_some(serving, users, log_in):
    store = prepared(serving)
    users.change("ann", ["+@all"])
    before = what_there_is(store)
    client = log_in("ann")
    for words in lines(OF_ALL):
        assert denied(client.ask(*words)), words
    assert what_there_is(store) == before


def test_nobody_does_what_takes_an_admin(serving, log_in):
    for name in ("ann", "reader", "writer", "worker"):
        client = log_in(name)
        for words in lines(OF_ADMINS) + lines(OF_ALL) + lines(OF_STREAMS_ADMINS, "orders-1"):
            assert denied(client.ask(*words)), words


def test_one_does_what_one_may_with_one_s_own_streams(serving, users, log_in):
    prepared(serving)
    users.change("ann", ["+@all"])
    for words in lines(TOUCHING, "orders-1"):
        assert not denied(log_in("ann").ask(*words)), words


@pytest.mark.parametrize("right", RIGHTS)
def test_streams_without_the_right_are_not_enough(serving, users, log_in, right):
    prepared(serving)
    users.change("ann", ["+@all", f"-@{right}"])
    client = log_in("ann")
    for words in lines(TOUCHING, "orders-1"):
        if COMMANDS[words[0].encode()].right == right:
            assert denied(client.ask(*words)), words


def test_what_is_about_the_connection_itself_is_for_everybody(serving, users, log_in):
    users.change("ann", ["resetkeys"])
    for words in lines(OTHERS):
        assert not denied(log_in("ann").ask(*words)), words


def test_a_shorter_prefix_and_all_streams_are_more_than_a_user_has(serving, users, log_in):
    store = prepared(serving)
    users.change("ann", ["+@all", "~$*", "~$all-of-it"])
    before = what_there_is(store)
    client = log_in("ann")
    for words in lines("""
            subscribe orders-1 $all
            subscribe orders-1 cart:0:5
            subscribe $all:0:5
            SUBSCRIBE $all
            follow $ALL 0
            follow PREFIX orders 0
            follow prefix o 0
            read prefix orders 0 10
            read-back prefix order - 10
            read-last prefix orders
            last-event-number $all
            snapshot-get $all
            group-create g prefix orders 0
            group-create g-cart stream orders-1 0
            retain prefix orders MAX-COUNT 1"""):
        assert denied(client.ask(*words)), words
    for words in lines("""
            follow prefix $all 0
            follow stream $all 0
            read-last stream $all
            group-create g stream $all 0
            publish $all x d
            append $all any x d id metadata"""):
        assert isinstance(client.ask(*words), resp.ErrorReply), words
    assert what_there_is(store) == before


def test_a_longer_prefix_is_within_what_a_user_has(serving, users, log_in):
    users.change("ann", ["+@all"])
    client = log_in("ann")
    for words in lines("""
            read prefix orders- 0 10
            read-back prefix orders-12 - 10
            group-create g prefix orders-x 0
            follow prefix orders-1 0"""):
        assert not isinstance(client.ask(*words), resp.ErrorReply), words


def test_what_a_group_is_of_is_told_to_nobody_who_may_not_read_it(serving, log_in):
    serving.store.group_create("billing", "secret-7", 0)
    for name, *request in (["ann", "group-info", "billing"], ["worker", "group-read", "billing", "m", 1],
                           ["worker", "group-create", "billing", "stream", "orders-1", 0]):
        refused = str(log_in(name).ask(*request))
        assert refused.endswith(f" user {name} may not read all that group 'billing' is of")


def test_a_group_of_all_streams_is_for_those_who_may_read_all(serving, users, log_in):
    serving.store.group_create("all", "$all", 0)
    client = log_in("worker")
    for words in lines(TOUCHING.replace("g-{}", "all"), "orders-1"):
        if words[0].startswith("group-") and words[0] != "group-create":
            assert denied(client.ask(*words)), words
    users.change("worker", ["+@read"])
    assert client.ask("groups") == []
    users.change("worker", ["%R~*"])
    assert client.ask("groups") == [b"all"]


def test_of_an_append_to_several_streams_of_which_one_is_not_allowed_nothing_is_stored(serving, log_in):
    client = log_in("ann")
    fields = ["any", "x", "d", "", ""]
    for some in (("orders-1", "cart"), ("cart", "orders-1"), ("orders-1", "orders-2", "cart"), ("cart", "cart")):
        assert denied(client.ask("append", *[field for stream in some for field in (stream, *fields)]))
        assert denied(client.ask("dcb-append", len(some), *[
            field for stream in some for field in (stream, "x", "d", "", "", 0)]))
    assert serving.store.position == 0


def test_a_condition_on_what_one_may_not_read_is_refused_and_tells_nothing(serving, users, log_in):
    client = log_in("ann")
    request = ["dcb-append", "1", "orders-1", "x", "d", "", "", "0", "UNLESS", "-", "ITEM", "0", "1", "tag"]
    assert denied(client.ask(*request)) and serving.store.position == 0
    users.change("ann", ["%R~*"])
    assert client.ask(*request) == [[0, 0]]


def test_in_a_pipeline_what_one_may_is_stored_and_what_one_may_not_is_refused_in_order(serving, log_in):
    client = log_in("ann")
    may, may_not = publish("orders-1", "a"), publish("cart", "b")
    single = resp.command("append", "orders-1", "any", "x", "c", "", "")
    strange = resp.command("append", "cart", "any", "x", "d", "", "")
    client.send((may + may_not + may + single + strange + single + may_not * 3 + may * 3) * 20)
    no = b"-NOPERM No permissions to access a key: user ann may not append to stream 'cart'\r\n"
    for i in range(20):
        n = i * 7
        place = b"*1\r\n*2\r\n:%d\r\n:%d\r\n"
        client.recv_exactly(OK + no + OK + place % (n + 2, n + 2) + no + place % (n + 3, n + 3) + no * 3 + OK * 3)
    assert serving.store.names() == [b"orders-1"] and serving.store.position == 140


@pytest.mark.parametrize("single", [lambda data: [data], lambda data: b"1\r\n" + data])
def test_publishes_that_came_together_are_taken_apart_where_one_may_not_be(users, single):
    one, other = (b"orders-1", b"x", single(b"a")), (b"orders-2", b"x", [b"b", b"c"])
    strange = b"cart", b"x", single(b"d")
    first, refusal, last = judged(users.get("ann"), ([one, other, strange, one], 5, 100))
    assert first == ([one, other], 3, 100) and last == ([one], 1, 0)
    assert "may not append to stream 'cart'" in str(refusal)


def test_a_request_like_the_one_before_it_is_judged_anew(serving, users, log_in):
    users.change("ann", ["~*"])
    client = log_in("ann")
    for _ in range(3):      # from the second one on the short way of clients that wait for each reply
        client.send(publish("cart", "a"))
        client.recv_exactly(OK)
    users.change("ann", ["resetkeys", "~orders-*"])
    eventually(lambda: not serving.connection_of(client).publishes_freely)
    for _ in range(3):
        assert denied(client.ask("publish", "cart", "x", "a"))
    assert serving.store.position == 3


def test_lists_show_what_one_may_see(serving, users, log_in):
    store = prepared(serving)
    store.retain("cart", max_count=5)
    store.retain("orders-1", max_count=5)
    users.change("reader", ["%W~other"])
    client = log_in("reader")
    assert client.ask("stream-names") == [b"stream-names", b"cart", b"orders-1", b"other"]
    assert client.ask("search-streams") == [None, [b"cart", b"orders-1", b"other"]]
    assert client.ask("search-streams", "COUNT", "1") == [b"cart", [b"cart"]]
    assert client.ask("groups") == [b"g-cart", b"g-orders-1"]
    assert [one[0] for one in client.ask("retention")] == [b"stream cart", b"stream orders-1"]
    ops = log_in("ops")
    assert client.ask("client", "list").count(b"\n") == 1
    assert ops.ask("client", "list").count(b"\n") == 2


def test_a_search_shows_no_name_of_others_as_the_one_to_go_on_after(serving, users, log_in, monkeypatch):
    monkeypatch.setattr(streams, "_PORTION", 2)
    monkeypatch.setattr(streams, "_PORTIONS", 1)
    for name in "abcdefgh":
        serving.store.append(name, "x", b"")
    users.change("reader", ["resetkeys", "%R~c", "%R~g"])
    client = log_in("reader")
    found, after = [], b""
    while after is not None:
        after, names = client.ask("search-streams", "AFTER", after)
        assert after in (None, b"c", b"g")
        found += names
    assert found == [b"c", b"g"]


# -- changes while the server runs -----------------------------------------------

def test_setuser_says_what_is_wrong_and_changes_nothing(serving, users, log_in):
    client = log_in("ops")
    before = users.get("ann")
    for rules in (["nonsense"], ["+get"], ["#abc"], ["!abc"], ["~a*b"], ["+@nonsense"], [">"], ["off", "nonsense"],
                  ["<other"], ["~$all"], [b"~\xff"], ["(~x)"], ["&*"]):
        assert client.error("acl", "setuser", "ann", *rules).endswith("nothing was changed"), rules
    assert users.get("ann") == before
    assert "expected up to 64" in client.error("acl", "setuser", "a b", "on")
    assert "unknown subcommand" in client.error("acl", "nonsense")
    assert "wrong number" in client.error("acl", "getuser")


def test_acl_shows_who_there_is_and_what_they_may(serving, log_in):
    client = log_in("ops")
    assert client.ask("acl", "users") == [b"ann", b"new", b"ops", b"reader", b"worker", b"writer"]
    assert b"user reader on +@read ~orders-* %R~cart" in client.ask("acl", "list")
    assert client.ask("acl", "getuser", "nobody") is None
    reader = client.ask("acl", "getuser", "reader")
    assert dict(zip(reader[::2], reader[1::2])) == {
        b"flags": [b"on"], b"passwords": [], b"commands": b"+@read", b"keys": b"~orders-* %R~cart", b"channels": b"",
        b"selectors": []}
    assert client.ask("acl", "cat") == [b"read", b"append", b"group", b"admin"]
    assert b"publish" in client.ask("acl", "cat", "append")
    assert "Unknown category" in client.error("acl", "cat", "nonsense")
    assert len(client.ask("acl", "genpass")) == 64 and len(client.ask("acl", "genpass", "5")) == 2
    assert "number of bits" in client.error("acl", "genpass", "0")
    assert client.ask("acl", "save") == b"OK"


def test_a_change_holds_for_connections_that_are_there_when_it_is_answered(serving, log_in):
    ops, client = log_in("ops"), log_in("ann")
    assert ops.ask("acl", "setuser", "ann", "-@append") == b"OK"
    assert denied(client.ask("publish", "orders-1", "x", "d"))
    assert ops.ask("acl", "setuser", "ann", "+@append", "~cart") == b"OK"
    assert client.ask("publish", "cart", "x", "d") == b"OK"


@pytest.mark.parametrize("change", [["acl", "deluser", "ann"], ["acl", "setuser", "ann", "off"]])
def test_who_is_removed_or_turned_off_is_cut_off(serving, log_in, change):
    ops, client = log_in("ops"), log_in("ann")
    client.ask("subscribe", "orders-1")
    assert not isinstance(ops.ask(*change), resp.ErrorReply)
    assert client.value().code == "NOAUTH"
    client.recv_end()
    assert ops.ask("publish", "orders-1", "x", "d") == b"OK"
    assert serving.connect().error("auth", "ann", "word") == WRONGPASS


def test_who_removes_himself_is_cut_off(serving, log_in):
    ops = log_in("ops")
    ops.command("acl", "deluser", "ops")
    assert ops.value().code == "NOAUTH"
    ops.recv_end()


def test_the_file_is_read_again_when_it_is_asked_for(serving, users, log_in):
    client, ops = log_in("ann"), log_in("ops")
    Users(users.path, CHEAP).change("ann", ["-@append"])      # as the program's command does it
    assert client.ask("publish", "orders-1", "x", "d") == b"OK"
    assert ops.ask("acl", "load") == b"OK"
    assert denied(client.ask("publish", "orders-1", "x", "d"))


def test_a_file_that_can_not_be_used_changes_nothing(serving, users, log_in, caplog):
    client, ops = log_in("ann"), log_in("ops")
    with open(users.path, "w") as file:
        file.write("nonsense")
    assert "expected '# meilies users, version 1'" in ops.error("acl", "load")
    assert "nothing was changed" in ops.error("acl", "setuser", "ann", "off")
    users.reload_and_log()
    assert "the users stay as they were" in caplog.text
    assert client.ask("publish", "orders-1", "x", "d") == b"OK"
    os.unlink(users.path)
    assert "can't be read or written" in ops.error("acl", "load")
    assert ops.ask("acl", "save") == b"OK" and ops.ask("acl", "load") == b"OK"


# -- subscriptions and reads that are under way when rights change ----------------

def test_a_subscription_that_is_not_allowed_any_more_ends_and_the_others_go_on(serving, log_in):
    ops, client = log_in("ops"), log_in("reader")
    assert client.ask("subscribe", "cart") == [b"subscribed", b"cart"]
    assert client.ask("subscribe", "orders-1") == [b"subscribed", b"orders-1"]
    assert ops.ask("acl", "setuser", "reader", "resetkeys", "~orders-*") == b"OK"
    for stream in ("cart", "orders-1"):
        assert ops.ask("publish", stream, "x", "d") == b"OK"
    assert client.value().args[0] == ("NOPERM the subscription to 'cart' has ended: "
                                      "user reader may not read it any more")
    assert client.value() == [b"event", b"orders-1", 0, b"x", b"d"]
    client.recv_nothing()


def test_in_resp3_a_subscription_that_ends_is_told_by_a_push(serving, log_in):
    ops, client = log_in("ops"), log_in("reader", protocol=3)
    client.command("subscribe", "cart")
    client.recv_exactly(b">3\r\n$9\r\nsubscribe\r\n$4\r\ncart\r\n:1\r\n")
    assert ops.ask("acl", "setuser", "reader", "resetkeys") == b"OK"
    client.recv_exactly(b">3\r\n$11\r\nunsubscribe\r\n$4\r\ncart\r\n:0\r\n")


@pytest.mark.parametrize("rules", [["-@read"], ["resetkeys"], ["resetkeys", "~other-*"], ["reset", "on"]])
@pytest.mark.parametrize("words", [["follow", "prefix", "orders-", "-"], ["follow", "stream", "orders-1", "-"],
                                   ["subscribe", "orders-1"]])
def test_no_event_comes_after_the_right_was_taken(serving, log_in, rules, words):
    ops, client = log_in("ops"), log_in("reader")
    client.command(*words)
    eventually(lambda: serving.connection_of(client).subscriptions)
    assert ops.ask("acl", "setuser", "reader", *rules) == b"OK"
    assert ops.ask("publish", "orders-1", "x", "secret") == b"OK"
    found = []
    while not (found and isinstance(found[-1], resp.ErrorReply)):
        found.append(client.value())
    assert denied(found[-1]) and b"secret" not in repr(found).encode()
    client.recv_nothing()


def test_a_replay_that_is_under_way_ends(serving, log_in):
    for _ in range(40):
        serving.store.append("orders-1", "x", bytes(1 << 18))
    ops, client = log_in("ops"), log_in("reader")
    client.command("subscribe", "orders-1:0")
    eventually(lambda: serving.connection_of(client).outbox.blocked)
    assert ops.ask("acl", "setuser", "reader", "resetkeys") == b"OK"
    assert client.value() == [b"subscribed", b"orders-1"]
    values = []
    while not isinstance(client_value := client.value(), resp.ErrorReply):
        values.append(client_value)
    assert denied(client_value) and len(values) < 40
    client.recv_nothing()


@pytest.mark.parametrize("registered", [False, True])
def test_a_subscription_that_begins_while_its_right_is_taken_ends(serving, users, log_in, monkeypatch, registered):
    client = log_in("reader")
    connection = serving.connection_of(client)
    owner, name = (serving.poller.feeds, "add") if registered else (connection, "follow")
    step = getattr(owner, name)

    def step_late(*arguments):
        changed = threading.Event()
        users.change("reader", ["resetkeys"])
        serving.poller.call_soon(changed.set)
        assert changed.wait(SECONDS)
        return step(*arguments)

    monkeypatch.setattr(owner, name, step_late)
    client.command("subscribe", "orders-1", "cart")
    values = [client.value() for _ in range(4)]
    assert sum(map(denied, values)) == 2
    eventually(lambda: not connection.subscriptions and not len(serving.poller.feeds))


def test_a_read_of_a_group_that_waits_ends(serving, log_in):
    serving.store.group_create("g", "orders-1", 0)
    ops, client = log_in("ops"), log_in("worker")
    client.command("group-read", "g", "m", "1", "BLOCK", "0")
    eventually(lambda: serving.connection_of(client) in serving.poller.blocked)
    assert ops.ask("acl", "setuser", "worker", "resetkeys") == b"OK"
    assert client.value().args[0].startswith("NOPERM the read has ended")
    assert ops.ask("publish", "orders-1", "x", "d") == b"OK"
    assert client.ask("ping") == b"PONG"
    assert ops.ask("acl", "setuser", "worker", "%R~orders-*") == b"OK"
    assert len(client.ask("group-read", "g", "m", "1")) == 1


def test_a_read_of_a_group_that_begins_to_wait_while_its_right_is_taken_ends(serving, users, log_in, monkeypatch):
    serving.store.group_create("g", "orders-1", 0)
    client = log_in("worker")
    add = serving.poller.blocked.add

    def add_late(*arguments):
        changed = threading.Event()
        users.change("worker", ["-@group"])
        serving.poller.call_soon(changed.set)
        assert changed.wait(SECONDS)
        add(*arguments)

    monkeypatch.setattr(serving.poller.blocked, "add", add_late)
    assert denied(client.ask("group-read", "g", "m", "1", "BLOCK", "0"))
    assert client.ask("ping") == b"PONG"


def test_a_read_of_entries_that_waits_ends(serving, log_in):
    ops, client = log_in("ops"), log_in("reader")
    assert denied(client.ask("xread", "BLOCK", "0", "STREAMS", "orders-1", "secret", "$", "$"))
    client.command("xread", "BLOCK", "0", "STREAMS", "orders-1", "$")
    eventually(lambda: serving.connection_of(client) in serving.poller.blocked)
    assert ops.ask("acl", "setuser", "reader", "resetkeys") == b"OK"
    assert denied(client.value())
    assert ops.ask("publish", "orders-1", "x", "d") == b"OK"
    assert client.ask("ping") == b"PONG"


def test_who_logs_in_as_another_keeps_only_what_is_for_that_one(serving, log_in):
    client = log_in("reader")
    client.ask("subscribe", "cart")
    client.ask("subscribe", "orders-1")
    client.command("auth", "ann", "word")
    answers = [client.value() for _ in range(2)]
    assert b"OK" in answers and sum(map(denied, answers)) == 1
    assert list(serving.connection_of(client).subscriptions) == [("stream", b"orders-1")]


@pytest.mark.parametrize("change", [
    lambda users: users.remove(["ann"]), lambda users: users.change("ann", ["off"]),
    lambda users: users.change("ann", [">other"]), lambda users: users.change("ann", ["resetpass"])])
def test_a_user_who_changes_while_his_password_is_looked_at_does_not_get_in(serving, users, monkeypatch, change):
    check = users.check

    def check_slowly(*arguments):
        user = check(*arguments)
        change(users)
        return user

    monkeypatch.setattr(users, "check", check_slowly)
    assert serving.connect().error("auth", "ann", "word") == WRONGPASS


def test_users_change_while_others_subscribe_and_publish(serving, log_in):
    ops, writer = log_in("ops"), log_in("ops")
    readers = [log_in("reader") for _ in range(5)]
    for reader in readers:
        assert reader.ask("subscribe", "orders-1") == [b"subscribed", b"orders-1"]
    stop = threading.Event()

    def change():
        flip = False
        while not stop.is_set():
            flip = not flip
            assert ops.ask("acl", "setuser", "reader", "resetkeys", "~orders-*", *(["~cart"] if flip else [])) == b"OK"

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(100):
            for reader in readers:
                reader.command("subscribe", "cart")
            writer.ask("publish", "cart", "x", "d")
            assert writer.ask("publish", "orders-1", "x", "d") == b"OK"
    finally:
        stop.set()
        thread.join()
    assert ops.ask("acl", "setuser", "reader", "resetkeys", "~orders-*") == b"OK"
    writer.ask("publish", "cart", "x", "secret")
    writer.ask("publish", "orders-1", "x", "last")
    for reader in readers:
        seen = []
        while seen[-1:] != [[b"event", b"orders-1", 100, b"x", b"last"]]:
            seen.append(reader.value())
        numbers = [one[2] for one in seen if isinstance(one, list) and one[:2] == [b"event", b"orders-1"]]
        assert numbers == list(range(101))
        assert b"secret" not in repr(seen).encode()


# -- what a client may send before it has said who it is ---------------------------

@pytest.mark.parametrize("request_", [
    resp.command("auth", *["x"] * 10),
    resp.command("auth", "ann", "x" * (16 * 1024 + 1)),
    resp.command("x", *["y" * 15_000] * 6),
    b"*2\r\n$4\r\nauth\r\n$1000000\r\n",
    b"*1000000\r\n",
    b"*1\r\n" * 3 + b"$4\r\nauth\r\n",
    b"+auth\r\n",
    b"*0\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: 27\r\n\r\n*3\r\n$4\r\nauth\r\n$3\r\nann\r\n$4\r\nword\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 32,
])
def test_a_stranger_who_sends_too_much_or_nonsense_is_cut_off(serving, request_):
    client = serving.connect()
    client.send(request_)
    reply = client.value()
    assert isinstance(reply, resp.ErrorReply) and reply.code in ("ERR", "NOAUTH")
    client.recv_end()


def test_a_stranger_may_send_what_logging_in_takes(serving):
    client = serving.connect()
    client.send(b"".join(resp.command("auth", "ann", "x" * size) for size in (100, 4096, 16 * 1024)))
    assert [client.value().code for _ in range(3)] == ["WRONGPASS"] * 3


def test_of_many_who_send_nonsense_one_line_is_logged(serving, caplog):
    for _ in range(20):
        client = serving.connect()
        client.send(b"GET / HTTP/1.1\r\n\r\n")
        assert "Protocol error at byte 0: found 'G'" in client.value().args[0]
        client.recv_end()
    assert len([record for record in caplog.records if "is cut off" in record.getMessage()]) == 1


def test_a_stranger_who_says_nothing_is_cut_off_and_users_are_not(serving, log_in, caplog):
    serving.poller._strangers._patience = 0.05
    user, strangers = log_in("ann"), [serving.connect() for _ in range(3)]
    strangers[1].send(b"*2\r\n$4\r\nau")
    for stranger in strangers:
        stranger.recv_end()
    assert user.ask("ping") == b"PONG"
    assert "it didn't say who it is" in caplog.text


def test_asking_for_a_reset_gives_a_stranger_no_more_time(serving):
    serving.poller._strangers._patience = 0.5
    client = serving.connect()
    with pytest.raises((AssertionError, OSError)):
        while True:
            client.command("reset")
            client.recv_exactly(b"+RESET\r\n")


def test_of_too_many_strangers_the_oldest_goes(serving, log_in):
    serving.poller._strangers._most = 3
    user = log_in("ann")
    strangers = [serving.connect() for _ in range(5)]
    for stranger in strangers[:2]:
        stranger.recv_end()
    for stranger in strangers[2:]:
        assert stranger.error("ping") == NOAUTH
    assert user.ask("ping") == b"PONG"


def test_who_logged_in_as_nobody_s_business_is_gone_before_it_is_served(serving, users):
    """A connection that is adopted for a user who was removed meanwhile."""
    ann = users.get("ann")
    users.remove(["ann"])
    ours, theirs = socket.socketpair()
    with ours:
        ours.settimeout(SECONDS)
        serving.poller.adopt(theirs, "inside", user=ann)
        ours.sendall(resp.command("ping"))
        assert ours.recv(100) == f"-{NOAUTH}\r\n".encode()


# -- with Redis's own tools ------------------------------------------------------

@pytest.mark.skipif(not shutil.which("redis-cli"), reason="redis-cli isn't there")
def test_redis_cli_logs_in(serving, users):
    users.change("default", ["on", ">word", "+@read", "~*"])

    def run(*arguments):
        done = subprocess.run(["redis-cli", "-p", str(serving.port), *arguments], capture_output=True, text=True,
                              timeout=SECONDS, check=False)
        return done.stdout.strip()

    assert run("--no-auth-warning", "--user", "ann", "--pass", "word", "acl", "whoami") == "ann"
    assert run("--no-auth-warning", "-a", "word", "acl", "whoami") == "default"
    assert run("--no-auth-warning", "-3", "--user", "ann", "--pass", "word", "publish", "orders-1", "x", "d") == "OK"
    assert "NOPERM" in run("--no-auth-warning", "--user", "ann", "--pass", "word", "publish", "cart", "x", "d")
    assert "NOAUTH" in run("ping")
    assert "user ann on +@read +@append ~orders-*" in run("--no-auth-warning", "--user", "ops", "--pass", "secret",
                                                           "acl", "list")


def test_who_may_not_read_everything_is_told_little_of_the_server(serving, users, log_in):
    shown = log_in("ann").ask("info", "everything")
    assert b"meilies_version:" in shown and b"loading:0" in shown
    assert b"connected_clients" not in shown and b"events" not in shown and b"group" not in shown
    assert b"connected_clients" not in log_in("ann").ask("info", "clients")
    assert b"connected_clients" in log_in("ops").ask("info")
    users.change("reader", ["%R~*"])
    assert b"connected_clients" in log_in("reader").ask("info")
