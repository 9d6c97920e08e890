"""server/monitoring.py: MONITOR, and what it must not show."""

import shutil
import subprocess

import pytest
from conftest import SECONDS
from serving import OK, eventually, publish

import resp
from server.monitoring import Monitors, line_of, requests_of
from server.text import redacted
from server.users import ADMIN, EVERY_STREAM, EVERYTHING, NOPASS, READ, Streams, User


@pytest.fixture
def monitor(serving):
    client = serving.connect()
    assert client.ask("monitor") == b"OK"
    return client


def shown(monitor):
    """The arguments of the next line, as they stand there."""
    line = monitor.value()
    assert not isinstance(line, resp.ErrorReply), line
    return line.decode().partition("] ")[2]


def test_a_line_is_in_the_format_of_redis():
    assert line_of(1339518083.107412, "127.0.0.1:60866", [b"keys", b"*"]) == (
        b'+1339518083.107412 [0 127.0.0.1:60866] "keys" "*"\r\n')


@pytest.mark.parametrize("argument, text", [
    (b'a"b\\', r'"a\"b\\"'), (b"\r\n\t\a\b\0", r'"\r\n\t\a\b\x00"'), (b"\x1b[2J", r'"\x1b[2J"'),
    (b"\xff\xc3\xa9", r'"\xff\xc3\xa9"'), (memoryview(b"seen"), '"seen"'),
    (b"x" * 1025, '"' + "x" * 1024 + '... (1025 bytes)"')])
def test_an_argument_is_shown_escaped_and_cut(argument, text):
    assert line_of(0.0, "p", [argument]) == f"+0.000000 [0 p] {text}\r\n".encode()


def test_of_many_arguments_the_first_are_shown():
    line = line_of(0.0, "p", [b"a"] * 70)
    assert line.count(b'"a"') == 64 and line.endswith(b'"... 6 more"\r\n')


def test_every_kind_of_request_is_shown_in_its_order(serving, monitor):
    client = serving.connect()
    client.send(publish("s", "1") + publish("s", "2") + resp.command("append", "s", "any", "n", "3", "", "") * 2
                + resp.command("last-event-number", "s"))
    peer = serving.connection_of(client).peer
    line = monitor.value().decode()
    assert f' [0 {peer}] "publish" "s" "x" "1"' in line
    assert [shown(monitor) for _ in range(4)] == [
        '"publish" "s" "x" "2"', '"append" "s" "any" "n" "3" "" ""', '"append" "s" "any" "n" "3" "" ""',
        '"last-event-number" "s"']


def test_publishes_that_differ_are_shown_each_as_it_is(serving, monitor):
    client = serving.connect()
    client.send(b"".join([publish(f"s{i}", "x" * i) for i in range(10)]))
    assert [shown(monitor) for _ in range(10)] == [f'"publish" "s{i}" "x" "{"x" * i}"' for i in range(10)]


def test_publishes_one_at_a_time_are_shown_as_well(serving, monitor):
    client = serving.connect()
    for i in range(3):
        client.send(publish("s", str(i)))
        client.recv_exactly(OK)
        assert shown(monitor) == f'"publish" "s" "x" "{i}"'


def test_what_is_no_command_is_not_shown(serving, monitor):
    client = serving.connect()
    assert client.error("atuh", "ann", "secret").startswith("ERR unknown command")
    client.ask("ping")
    assert shown(monitor) == '"ping"'
    assert requests_of(resp.BadRequest("what")) == []


@pytest.mark.parametrize("request_, hidden", [
    (["AUTH", "secret"], 1), (["auth", "ann", "secret"], 2),
    (["HELLO", "3", "auth", "ann", "secret", "SETNAME", "x"], 2),
    (["hello", "3", "AUTH"], 0), (["acl", "SETUSER", "ann", "on", ">secret", "<secret", "#secret", "+@read"], 3)])
def test_no_password_is_shown(request_, hidden):
    arguments = redacted([one.encode() for one in request_])
    assert b"".join(arguments).count(b"(redacted)") == hidden and len(arguments) == len(request_)
    assert b"secret" not in b"".join(arguments)


def test_other_requests_are_shown_as_they_are():
    assert redacted([b"publish", b"auth", b">x"]) == [b"publish", b"auth", b">x"]


class Outbox:
    def __init__(self):
        self.sent = []

    def put_and_flush(self, data):
        self.sent.append(data)


class Connected:
    """A connection, as far as monitors look."""

    def __init__(self, user=EVERYTHING, pending=()):
        self.user, self.pending = user, pending
        self.peer, self.outbox, self.owes_too_much = "p", Outbox(), False


def test_of_a_client_that_has_not_said_who_it_is_the_commands_alone_are_shown():
    monitors, monitor = Monitors(lambda: 0.0), Connected()
    monitors.add(monitor)
    monitors.tell(Connected(None, [[b"publish", b"s", b"n", b"secret"]]))
    assert monitor.outbox.sent == [b'+0.000000 [0 p] "publish" "(redacted)" "(redacted)" "(redacted)"\r\n']


def test_a_monitor_that_is_slow_misses_requests_and_is_told_how_many():
    monitors, monitor = Monitors(lambda: 0.0), Connected()
    monitors.add(monitor)
    monitor.owes_too_much = True
    monitors.tell(Connected(pending=[[b"ping"], [b"ping"]]))
    monitors.tell(Connected(pending=[[b"ping"]]))
    assert monitor.outbox.sent == []
    monitor.owes_too_much = False
    for _ in range(2):
        monitors.tell(Connected(pending=[[b"ping"]]))
    line = b'+0.000000 [0 p] "ping"\r\n'
    assert monitor.outbox.sent == [b'+0.000000 [0 monitor] "passed over" "3"\r\n', line, line]


@pytest.mark.parametrize("user", [
    User("ann", True, NOPASS, frozenset({READ}), EVERY_STREAM, EVERY_STREAM),
    User("ann", True, NOPASS, frozenset({ADMIN, READ}), Streams(), EVERY_STREAM)])
def test_who_may_not_see_everything_any_more_is_told_and_sees_nothing(user):
    monitors, monitor = Monitors(), Connected()
    monitors.add(monitor)
    monitor.user = user
    monitors.tell(Connected(pending=[[b"ping"]]))
    assert monitor.outbox.sent[0].startswith(b"-NOPERM") and len(monitor.outbox.sent) == 1
    assert not monitors.watching


def test_reset_ends_it(serving, monitor):
    assert monitor.ask("reset").endswith(b'"reset"')
    assert monitor.value() == b"RESET"
    serving.connect().ask("ping")
    assert monitor.ask("ping") == b"PONG"
    assert not serving.poller.monitors.watching


def test_a_monitor_that_goes_is_forgotten_at_once(serving, monitor):
    monitor.close()
    eventually(lambda: not serving.poller.monitors.watching, "that it is forgotten")


@pytest.mark.skipif(shutil.which("redis-cli") is None, reason="redis-cli (Debian's redis-tools) isn't here")
def test_redis_cli_shows_it(serving):
    process = subprocess.Popen(["redis-cli", "-p", str(serving.port), "monitor"], stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"OK\n"
        serving.connect().ask("echo", "hello")
        assert process.stdout.readline().endswith(b'"echo" "hello"\n')
    finally:
        process.kill()
        process.communicate(timeout=SECONDS)
