"""How a client comes to its server: users and passwords, TLS, a Unix socket, an URL."""

import ssl

import pytest
from both_clients import driver, each_client
from certificates import certificates
from fake_server import HELLO, FakeServer, caught_up, free_port, hello, last_number, recorded, subscribed

from meilies_client import (
    BadReply,
    CannotConnect,
    Client,
    Disconnected,
    LoginNeeded,
    NotAllowed,
    NotTrusted,
    Refused,
    Unsupported,
    WrongPassword,
    parse_url,
    tls_context,
)
from resp import command

__all__ = ["driver", "certificates"]

pytestmark = each_client

ASK = command("last-event-number", "s")
WRONG = b"-WRONGPASS invalid username-password pair or user is disabled.\r\n"


def client(server, **options):
    return Client(port=server.port, **{"delay": 0.001, "timeout": 5.0, **options})


def answering(peer):
    peer.answer(ASK, last_number("s", 3))


# -- users

@pytest.mark.parametrize("options, login", [
    ({"user": "ann", "password": "secret"}, command("AUTH", "ann", "secret")),
    ({"password": "secret"}, command("AUTH", "secret")),
    ({"user": "ann", "password": lambda: "asked"}, command("AUTH", "ann", "asked")),
    ({"user": "ann", "password": ""}, command("AUTH", "ann", "")),
])
def test_a_client_logs_in_before_it_asks(options, login):
    def script(peer):
        peer.answer(login, b"+OK\r\n")
        answering(peer)

    with FakeServer(script) as server, client(server, **options) as one:
        assert one.last_event_number("s") == 3


def test_a_client_logs_in_again_on_each_connection_with_the_password_of_then():
    passwords = iter(["first", "second"])

    def first(peer):
        peer.answer(command("AUTH", "ann", "first"), b"+OK\r\n")
        peer.expect(ASK)

    def second(peer):
        peer.answer(command("AUTH", "ann", "second"), b"+OK\r\n")
        answering(peer)

    with FakeServer(first, second) as server, client(server, user="ann", password=lambda: next(passwords)) as one:
        assert one.last_event_number("s") == 3


def test_a_wrong_password_is_not_tried_again():
    def script(peer):
        peer.answer(command("AUTH", "ann", "guess"), WRONG)
        peer.expect_close()

    with FakeServer(script) as server, client(server, user="ann", password="guess") as one:
        with pytest.raises(WrongPassword, match="^the server refused: WRONGPASS invalid username-password"):
            one.publish("s", "n")


def test_a_subscription_logs_in_too_and_ends_when_the_password_was_changed():
    def first(peer):
        peer.answer(command("AUTH", "ann", "secret"), b"+OK\r\n")
        peer.answer(HELLO, hello())
        peer.answer(command("follow", "stream", "s", 0), subscribed("s") + recorded(0, "s", 0) + caught_up("s", 1))

    def second(peer):
        peer.answer(command("AUTH", "ann", "secret"), WRONG)
        peer.expect_close()

    with FakeServer(first, second) as server, client(server, user="ann", password="secret") as one:
        events = one.subscribe("s:0", timeout=5)
        assert next(events).number == 0
        with pytest.raises(WrongPassword):
            next(events)


def test_a_subscription_with_a_wrong_password_is_not_made():
    with FakeServer(lambda peer: peer.answer(command("AUTH", "x"), WRONG)) as server, \
            client(server, password="x") as one, pytest.raises(WrongPassword):
        one.subscribe("s:0")


@pytest.mark.parametrize("reply, error", [
    (b"-ERR AUTH called without any password configured\r\n", Refused),
    (b"-ERR unknown command 'AUTH'\r\n", Unsupported),
    (b":1\r\n", BadReply),
])
def test_a_login_that_is_answered_otherwise_is_not_tried_again(reply, error):
    with FakeServer(lambda peer: peer.answer(command("AUTH", "x"), reply)) as server, \
            client(server, password="x") as one, pytest.raises(error):
        one.ping()


def test_a_server_that_goes_away_during_a_login_was_not_connected_to():
    def gone(peer):
        peer.expect(command("AUTH", "x"))

    def there(peer):
        peer.answer(command("AUTH", "x"), b"+OK\r\n")
        answering(peer)

    with FakeServer(gone, there) as server, client(server, password="x") as one:
        assert one.last_event_number("s") == 3
    with FakeServer(gone) as server, client(server, password="x", tries=0) as one:
        with pytest.raises(CannotConnect, match="closed the connection, while logging in"):
            one.publish("s", "n")


@pytest.mark.parametrize("reply, error", [
    (b"-NOAUTH Authentication required.\r\n", LoginNeeded),
    (b"-NOPERM this user has no permissions to access the stream\r\n", NotAllowed),
])
def test_what_a_user_may_not_do_is_an_error_of_its_own(reply, error):
    with FakeServer(lambda peer: peer.answer(ASK, reply)) as server, client(server) as one, pytest.raises(error):
        one.last_event_number("s")


def test_a_password_is_in_no_text_of_a_client_and_is_text():
    with Client(user="ann", password="secret") as one:
        assert "secret" not in f"{one!r} {one.address!r} {one.address}"
    with Client(port=free_port(), password=b"secret") as one:
        with pytest.raises(TypeError, match="^password is bytes, expected str, or a callable that returns one$"):
            one.ping()


def test_a_user_without_a_password_is_a_mistake():
    with pytest.raises(ValueError, match="user 'ann' has no password"):
        Client(user="ann")


# -- Unix sockets

def test_a_client_speaks_through_a_unix_socket(tmp_path):
    path = tmp_path / "socket"
    with FakeServer(answering, unix=path) as server, client(server, unix=str(path)) as one:
        assert one.last_event_number("s") == 3


def test_a_unix_socket_that_is_not_there_is_told_by_its_path(tmp_path):
    with Client(unix=str(tmp_path / "none"), tries=0) as one:
        with pytest.raises(CannotConnect, match=f"cannot connect to {tmp_path / 'none'}: No such file"):
            one.ping()


def test_a_unix_socket_has_no_tls():
    with pytest.raises(ValueError, match="unix and tls are both given"):
        Client(unix="/x", tls=True)


# -- TLS

def test_a_client_speaks_tls_and_notices_that_the_server_closed_meanwhile(certificates):
    with FakeServer(answering, answering, tls=certificates.context) as server:
        with client(server, ca_file=certificates.authority) as one:
            assert one.last_event_number("s") == 3
            assert one.last_event_number("s") == 3      # the first script is over, so this is the second's


def test_a_connection_with_tls_is_kept(certificates):
    def script(peer):
        answering(peer)
        answering(peer)

    with FakeServer(script, tls=certificates.context) as server:
        with client(server, tls=ssl.create_default_context(cafile=certificates.authority)) as one:
            assert [one.last_event_number("s"), one.last_event_number("s")] == [3, 3]


@pytest.mark.parametrize("options", [{"tls": True}, {"ca_file": "other"}])
def test_a_server_that_nobody_vouches_for_gets_nothing_and_is_not_tried_again(certificates, options):
    options = {name: certificates.other_authority if value == "other" else value for name, value in options.items()}
    with FakeServer(lambda peer: peer.expect_close(), tls=certificates.context) as server:
        with client(server, **options) as one, pytest.raises(NotTrusted, match="self.signed"):
            one.ping()


def test_a_server_may_be_believed_without_being_known(certificates):
    with FakeServer(answering, tls=certificates.context) as server:
        with client(server, tls=tls_context(verify=False)) as one:
            assert one.last_event_number("s") == 3


def test_a_server_that_is_silent_in_the_handshake_is_not_waited_for():
    with FakeServer(lambda peer: peer.sock.recv(10_000) and peer.sock.recv(1)) as server:
        with client(server, tls=True, timeout=0.05, tries=0) as one, pytest.raises(CannotConnect, match="timed out"):
            one.ping()


def test_a_server_without_tls_is_told_from_one_that_is_not_there():
    with FakeServer(lambda peer: peer.send(b"-ERR what is this\r\n")) as server:
        with client(server, tls=True) as one, pytest.raises(NotTrusted, match="cannot speak TLS with"):
            one.ping()


def test_a_client_shows_its_own_certificate(certificates):
    strict = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    strict.load_cert_chain(*certificates.server)
    strict.load_verify_locations(certificates.client[0])
    strict.verify_mode = ssl.CERT_REQUIRED
    cert_file, key_file = certificates.client
    with FakeServer(answering, tls=strict) as server:
        with client(server, ca_file=certificates.authority, cert_file=cert_file, key_file=key_file) as one:
            assert one.last_event_number("s") == 3


def test_files_that_are_not_what_they_should_be_are_named(certificates, tmp_path):
    junk = tmp_path / "junk"
    junk.write_text("nothing")
    for options, why in (
            ({"ca_file": "/none/here"}, "/none/here: cannot be read: No such file"),
            ({"ca_file": str(junk)}, f"{junk}: found no certificates in it"),
            ({"cert_file": str(junk)}, f"{junk}: found no certificate with its key"),
            ({"key_file": certificates.client[1]}, "a key is of no use without its certificate")):
        with pytest.raises(ValueError, match=why):
            Client(**options)


# -- URLs

@pytest.mark.parametrize("url, expected", [
    ("meilies://", {"user": ""}),
    ("meilies://here:7000", {"user": "", "host": "here", "port": 7000}),
    ("meiliess://ann@[::1]/", {"user": "ann", "host": "::1", "tls": True}),
    ("meilies://ann:p%40ss%3A@here", {"user": "ann", "password": "p@ss:", "host": "here"}),
    ("meilies+unix:///run/a%20b", {"user": "", "unix": "/run/a b"}),
    ("meilies+unix://ann:x@/run/s", {"user": "ann", "password": "x", "unix": "/run/s"}),
])
def test_an_url_says_where_and_who(url, expected):
    assert parse_url(url) == expected


@pytest.mark.parametrize("url, why", [
    ("redis://here", "begins with 'redis'"), ("here:7000", "begins with 'here'"), ("", "begins with ''"),
    ("meilies://here:x", "host or port isn't one"), ("meilies://here:99999", "host or port isn't one"),
    ("meilies://[here", "host or port isn't one"), ("meilies://here?a=b", r"has a '\?' or '#'"),
    ("meilies://ann:sec#ret@here", "host or port isn't one"), ("meilies://here/0", "goes on with '/0'"),
    ("meilies+unix://here/s", "names no socket"), ("meilies+unix://", "names no socket"),
])
def test_what_is_no_url_of_a_server_is_told_without_its_password(url, why):
    with pytest.raises(ValueError, match=why) as caught:
        parse_url(url)
    assert "sec" not in str(caught.value)


def test_a_client_is_made_of_an_url_and_what_is_given_besides():
    one = Client.from_url("meilies://ann:secret@here:7000", port=7001, timeout=1.0)
    assert (str(one.address), one.address.user, one.address.password, one.timeout) == (
        "here:7001", "ann", "secret", 1.0)


# -- any command

def test_any_command_can_be_called_and_is_not_sent_again():
    def script(peer):
        peer.answer(command("slowlog", "get", 2), b"*2\r\n:1\r\n$1\r\nx\r\n")
        peer.answer(command("nonsense"), b"-ERR unknown command\r\n")
        peer.expect(command("acl", "list"))

    with FakeServer(script) as server, client(server) as one:
        assert one.call("slowlog", "get", 2) == [1, b"x"]
        with pytest.raises(Refused, match="unknown command"):
            one.call("nonsense")
        with pytest.raises(Disconnected):
            one.call("acl", "list")


def test_commands_that_are_called_together_are_answered_each():
    def script(peer):
        peer.answer(command("ping") + command("nonsense") + command("echo", 5), b"+PONG\r\n-ERR unknown\r\n$1\r\n5\r\n")
        peer.expect(command("ping"))

    with FakeServer(script) as server, client(server) as one:
        pong, refused, five = one.call_all([("ping",), ("nonsense",), ("echo", 5)])
        assert (pong, five) == (b"PONG", b"5") and isinstance(refused, Refused)
        with pytest.raises(Disconnected):
            one.call_all([("ping",)])


def test_what_a_server_is_asked_is_monitored_line_by_line():
    def script(peer):
        peer.answer(command("MONITOR"), b"+OK\r\n+1.5 [0 127.0.0.1:5] \"PING\"\r\n+2.5 \"a")
        peer.send(b"b\"\r\n")
        peer.expect_close()

    with FakeServer(script) as server, client(server) as one:
        lines = one.monitor()
        assert [next(lines), next(lines)] == ['1.5 [0 127.0.0.1:5] "PING"', '2.5 "ab"']
        lines.close()


def test_a_server_that_lets_nobody_monitor_says_so():
    with FakeServer(lambda peer: peer.answer(command("MONITOR"), b"-NOPERM no\r\n")) as server, client(server) as one:
        with pytest.raises(NotAllowed):
            next(one.monitor())
