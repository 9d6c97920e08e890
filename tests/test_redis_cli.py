"""Redis's own programs as clients."""

import fcntl
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import termios
import time

import pytest
from conftest import SECONDS
from serving import subscribed

from resp import command

pytestmark = pytest.mark.skipif(not shutil.which("redis-cli"), reason="redis-tools is not installed")


@pytest.fixture
def port(server):
    return server().port


def redis_cli(port, *arguments, lines=None):
    """Run redis-cli with a command, or with lines on its stdin; return what it prints."""
    ended = subprocess.run(["redis-cli", "-p", str(port), *arguments], capture_output=True, timeout=SECONDS,
                           input="\n".join(lines).encode() + b"\n" if lines else None,
                           stdin=None if lines else subprocess.DEVNULL)
    assert (ended.returncode, ended.stderr) == (0, b"")
    return ended.stdout.decode()


@pytest.mark.parametrize("version", [["-2"], ["-3"]])
def test_commands_are_answered(port, version):
    assert redis_cli(port, *version, "publish", "orders", "created", "one") == "OK\n"
    assert redis_cli(port, *version, "last-event-number", "orders") == "last-event-number\norders\n0\n"
    assert redis_cli(port, *version, "stream-names") == "stream-names\norders\n"
    assert redis_cli(port, *version, "ping") == "PONG\n"
    assert redis_cli(port, *version, "nope").startswith("ERR unknown command 'nope'")
    assert "redis_mode:standalone" in redis_cli(port, *version, "info", "server")
    assert redis_cli(port, *version, "config", "get", "appendonly").split() == ["appendonly", "yes"]


@pytest.mark.parametrize("version", [["-2"], ["-3"]])
def test_lines_on_its_stdin_are_answered_in_order(port, version):
    found = redis_cli(port, *version, lines=["publish s x one", 'publish s x "two\\r\\nlines"', "last-event-number s",
                                             "publish s", "stream-names"])
    assert found == ("OK\nOK\nlast-event-number\ns\n1\n"
                     "ERR wrong number of arguments for 'publish' command; usage: publish <stream name data | "
                     "channel message>\n\n"
                     "stream-names\ns\n")


def test_what_others_wrote_is_piped_in(port):
    requests = b"".join(command("XADD", "s", "*", "n", str(i)) for i in range(1000))
    ended = subprocess.run(["redis-cli", "-p", str(port), "--pipe"], input=requests, capture_output=True,
                           timeout=SECONDS)
    assert ended.returncode == 0
    assert ended.stdout.endswith(b"Last reply received from server.\nerrors: 0, replies: 1000\n")
    assert redis_cli(port, "xlen", "s") == "1000\n"


def test_data_on_its_stdin_is_stored_byte_for_byte(port, connect):
    data = bytes(range(256)) * 1000
    with subprocess.Popen(["redis-cli", "-p", str(port), "-x", "publish", "s", "x"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as program:
        assert program.communicate(data, SECONDS)[0] == b"OK\n"
    peer = connect(port)
    peer.command("subscribe", "s:0")
    frame = b"*5\r\n+event\r\n+s\r\n:0\r\n+x\r\n$%d\r\n%b\r\n" % (len(data), data)
    peer.recv_exactly(subscribed("s") + frame)


@pytest.mark.parametrize("version", [["-2"], ["-3"]])
def test_a_program_follows_through_a_pipe(port, version):
    redis_cli(port, "publish", "orders", "created", "one")
    with subprocess.Popen(["redis-cli", "-p", str(port), *version, "subscribe", "orders:0"], text=True,
                          stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as program:
        shown = read_until(program.stdout, "one")
        assert shown[-5:] == ["event", "orders", "0", "created", "one"]
        redis_cli(port, "publish", "orders", "paid", "two")
        assert read_until(program.stdout, "two") == ["event", "orders", "1", "paid", "two"]
        program.kill()


def read_until(file, last):
    """Lines up to the one that is `last`."""
    lines = []
    while lines[-1:] != [last]:
        line = file.readline()
        assert line, f"it ended after {lines}"
        lines.append(line.rstrip("\n"))
    return lines


class Terminal:
    """A program that believes that a person is typing."""

    def __init__(self, *argv, term="dumb"):
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 400, 0, 0))
        environ = {**os.environ, "TERM": term, "HOME": "/nonexistent"}
        self._program = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave, env=environ)
        os.close(slave)
        self._seen = ""

    def wait_for(self, text):
        """Return when `text` has been shown, with what came before it."""
        until = time.monotonic() + SECONDS
        while text not in self._seen:
            ready, _, _ = select.select([self._master], [], [], max(0, until - time.monotonic()))
            assert ready, f"found {self._seen!r}, expected {text!r}"
            self._seen += os.read(self._master, 4096).decode().replace("\r\n", "\n")
        before, _, self._seen = self._seen.partition(text)
        return before

    def type(self, line):
        self.press(line + "\n")

    def press(self, keys):
        os.write(self._master, keys.encode())

    def close(self):
        self._program.kill()
        self._program.wait()
        os.close(self._master)


@pytest.fixture
def terminal(port):
    opened = []

    def start(*options, term="dumb"):
        opened.append(Terminal("redis-cli", "-p", str(port), *options, term=term))
        opened[-1].wait_for(f"127.0.0.1:{port}> ")      # it has read COMMAND DOCS by now
        return opened[-1]

    yield start
    for one in opened:
        one.close()


@pytest.mark.parametrize("version", [["-2"], ["-3"]])
def test_a_person_publishes_and_asks(terminal, version):
    person = terminal(*version)
    person.type("publish orders created one")
    person.wait_for("OK\n")
    person.type("last-event-number orders")
    person.wait_for('(integer) 0\n')
    person.type("help publish")
    person.wait_for("Store an event")
    person.type("nope")
    person.wait_for("(error) ERR unknown command 'nope'")


CLEAR = "\x15"      # Ctrl-U


@pytest.mark.parametrize("version", [["-2"], ["-3"]])
def test_a_person_who_types_sees_what_comes_next(terminal, version):
    person = terminal(*version, term="xterm")
    for typed, hint in (
            ("publish ", "stream name data|channel message"),
            ("append ", "stream expected name data id metadata [stream expected name data id metadata ...]"),
            ("group-create g ", "$all|STREAM name|PREFIX prefix from|- [TRIES n] [WAIT ms] [PAUSE ms] [NAMES n name "),
            ("XADD ", "key [NOMKSTREAM] [MAXLEN|MINID [=|~] threshold [LIMIT count]] *|id field value "),
            ("CLIENT LIST ", "[TYPE normal|pubsub|ID id [id ...]]"),
            ("group-cre\t", "GROUP-CREATE")):
        person.press(typed)
        person.wait_for(hint)
        person.press(CLEAR)


@pytest.mark.parametrize("version", [["-2"], ["-3"]])
def test_a_person_appends_and_sees_where_events_are_and_why_they_are_not(terminal, version):
    person = terminal(*version)
    person.type('append orders none created one id-1 "" stock any reserved two "" {}')
    shown = person.wait_for("2) 1)")
    assert "1) 1) (integer) 0\n   2) (integer) 0\n" in shown
    person.wait_for("(integer) 0\n   2) (integer) 1\n")
    person.type('append orders NONE created one "" ""')
    person.wait_for("(error) WRONGVERSION stream 'orders': expected no event, found event 0; nothing was stored")


@pytest.mark.parametrize("version", [["-2"], ["-3"]])
def test_a_person_follows_and_sees_events_as_they_come(terminal, port, version):
    redis_cli(port, "publish", "orders", "created", "one")
    person = terminal(*version)
    person.type("subscribe orders:0")
    person.wait_for("orders")
    person.wait_for('"one"')
    redis_cli(port, "publish", "orders", "paid", "two")
    shown = person.wait_for('"two"')
    assert "(integer) 1" in shown and "paid" in shown


# -- looking around -----------------------------------------------------------

@pytest.fixture
def filled(port):
    redis_cli(port, lines=[f"publish s{number} x {'data' * number}" for number in range(20)])
    return port


def test_all_keys_are_scanned(filled):
    assert sorted(redis_cli(filled, "--scan").split()) == sorted(f"s{number}" for number in range(20))
    assert sorted(redis_cli(filled, "--scan", "--pattern", "s1?").split()) == [f"s1{number}" for number in range(10)]


def test_the_keys_with_the_most_and_the_largest_events_are_found(filled):
    found = redis_cli(filled, "--memkeys")
    assert "Biggest stream found" in found and '"s19"' in found.split("summary")[1]
    assert "20 streams with" in found
    redis_cli(filled, "xadd", "s7", "*", "name", "data")
    found = redis_cli(filled, "--bigkeys")
    assert '"s7"\' has 2 entries' in found.split("summary")[1]


def test_what_happens_is_shown_each_second(filled):
    with subprocess.Popen(["redis-cli", "-p", str(filled), "--stat", "-i", "0.01"], text=True,
                          stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as program:
        assert "keys" in program.stdout.readline() + program.stdout.readline()
        keys, memory, *_ = program.stdout.readline().split()
        assert keys == "20" and memory[-1] in "MG"
        program.kill()


def benchmark(port, *arguments):
    ended = subprocess.run(["redis-benchmark", "-p", str(port), *arguments], capture_output=True, text=True,
                           timeout=3 * SECONDS)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "error" not in (ended.stdout + ended.stderr).lower()
    return ended.stdout


@pytest.mark.parametrize("options", [[], ["-P", "16"], ["-3"], ["-c", "200"]])
def test_redis_benchmark_publishes_and_all_of_it_is_stored(port, options):
    found = benchmark(port, "-q", "-n", "2000", *options, "publish", "s", "n", "__data__")
    assert re.search("requests per second", found)
    assert redis_cli(port, "last-event-number", "s").endswith("\n1999\n")


def test_redis_benchmark_finds_what_it_asks_for_when_it_starts(port):
    assert "100.000%" in benchmark(port, "-n", "1000", "publish", "s", "n", "__data__")
    assert "PING_MBULK" in benchmark(port, "-n", "500", "-t", "ping_mbulk", "-q")
