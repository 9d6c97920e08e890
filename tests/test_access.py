"""Who a client says it is, what it may do then, and what becomes of it when that changes (server/access.py, acl.py)."""

import logging

import pytest
from serving import OK, Serving, eventually, publish, subscribed

import resp
from server.users import Cost, Users, create

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


def ask(client, *request):
    """The reply, errors too."""
    return client.ask(*request)


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

# Of each command a request that everybody with all rights may make, {S} standing for a stream.
REQUESTS = {
    b"publish": "publish {S} x d",
    b"append": "append {S} any x d - -",
    b"dcb-append": "dcb-append 1 {S} x d - - 1 tag",
    b"snapshot-put": "snapshot-put {S} 0 data",
    b"snapshot-get": "snapshot-get {S}",
    b"snapshot-delete": "snapshot-delete {S}",
    b"last-event-number": "last-event-number {S}",
    b"stream-info": "stream-info {S}",
    b"read": "read stream {S} 0 10",
    b"read-back": "read-back stream {S} - 10",
    b"read-last": "read-last stream {S}",
    b"subscribe": "subscribe {S}:0:1",
    b"follow": "follow stream {S} 0 TO 1",
    b"group-create": "group-create g stream {S} 0",
    b"group-read": "group-read g-{S} m 10",
    b"group-ack": "group-ack g-{S} 0",
    b"group-refuse": "group-refuse g-{S} 0",
    b"group-leave": "group-leave g-{S} m",
    b"group-parked": "group-parked g-{S}",
    b"group-replay": "group-replay g-{S}",
    b"group-discard": "group-discard g-{S} 0",
    b"group-info": "group-info g-{S}",
    b"group-delete": "group-delete g-{S}",
    b"truncate": "truncate {S} 1",
    b"redact": "redact {S} 0",
    b"delete": "delete {S}",
    b"retain": "retain stream {S} MAX-COUNT 1",
}
