"""The command line: what it prints, where, and how it ends.

Most commands run in this process; those that a signal or a closed pipe ends
run in their own.
"""

import io
import json
import os
import re
import signal
import subprocess
import sys
import threading

import pytest
from conftest import COMPLAINTS, ROOT, WATCHED, clean_environ
from fake_server import (HELLO, FakeMeilies, FakeServer, caught_up, checkpoint, free_port, hello, recorded,
                         subscribed)
from serving import Serving

import meilies_cli
from cli import following, showing, taking
from cli.parsing import address_argument
from meilies_client import Event
from resp import Parser, command

SECONDS = 10


@pytest.fixture(autouse=True)
def no_environ(monkeypatch):
    monkeypatch.delenv("MEILIES_HOSTNAME", raising=False)
    monkeypatch.delenv("MEILIES_PORT", raising=False)


@pytest.fixture
def store():
    with FakeMeilies("ab" * 16) as server:
        yield server


@pytest.fixture
def run(capfdbinary):
    """Run a command in this process: run(*arguments, stdin=b"") -> (exit status, stdout, stderr)."""
    def run(*arguments, stdin=b""):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            try:
                status = meilies_cli.main([str(one) for one in arguments])
            except SystemExit as end:
                status = end.code
        out, err = capfdbinary.readouterr()
        return status, out.decode(), err.decode()
    return run


def start(*arguments, shell="", **options):
    """Start a command as a process of its own, its stdout and stderr in pipes.

    shell   redirections of a shell around it, such as <&- for no stdin at all
    """
    options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, **options}
    return subprocess.Popen(
        ["sh", "-c", f'exec "$@" {shell}', "sh", sys.executable, *WATCHED, str(ROOT / "meilies_cli.py"),
         *map(str, arguments)], env=clean_environ(), stderr=subprocess.PIPE, **options)


def end_of(process):
    """Exit status and stderr of a process that is to end by itself, without a complaint of Python's."""
    _, err = process.communicate(timeout=SECONDS)
    text = err.decode()
    assert not [word for word in COMPLAINTS if word in text], text
    return process.returncode, text


def test_what_the_encoding_of_standard_output_has_not_is_shown_as_an_escape(tmp_path):
    with Serving(tmp_path / "db") as serving:
        serving.connect().ask("group-create", "日本", "$all", 0)
        ran = subprocess.run([sys.executable, str(ROOT / "meilies_cli.py"), "-p", str(serving.port), "groups"],
                             env=clean_environ(PYTHONIOENCODING="ascii"), stdout=subprocess.PIPE, check=True)
    assert ran.stdout == b"\\u65e5\\u672c\n"


def test_a_count_beyond_all_is_all(run, store):
    with pytest.raises(SystemExit) as end:
        meilies_cli.parser().parse_args(["read", "s", "--count", "1" + "0" * 25])
    assert end.value.code == 2
    assert meilies_cli.parser().parse_args(["read", "s", "--count", str(2**64 - 1)]).count == sys.maxsize


# -- publish

def test_publish_stores_its_argument_and_prints_nothing(run, store):
    assert run("-p", store.port, "publish", "orders", "created", "one") == (0, "", "")
    assert store.events == [("orders", 0, "created", b"one")]


@pytest.mark.parametrize("arguments", [[], ["-"]])
def test_publish_stores_standard_input_with_every_byte(run, store, arguments):
    assert run("-p", store.port, "publish", "s", "n", *arguments, stdin=b"a\r\n\xff\n") == (0, "", "")
    assert store.events == [("s", 0, "n", b"a\r\n\xff\n")]


def test_publish_stores_an_argument_that_is_not_text(run, store):
    run("-p", store.port, "publish", "s", "n", os.fsdecode(b"\xff\xfe"))
    assert store.events == [("s", 0, "n", b"\xff\xfe")]


@pytest.mark.parametrize("text, lines", [
    (b"", []), (b"a\n", [b"a"]), (b"a\nb", [b"a", b"b"]), (b"\n\n", [b"", b""]), (b"a\r\n", [b"a\r"])])
def test_publish_lines_stores_each_line(run, store, text, lines):
    assert run("-p", store.port, "publish", "s", "n", "--lines", stdin=text) == (0, "", "")
    assert [data for _, _, _, data in store.events] == lines


def test_lines_longer_than_a_block_are_joined(monkeypatch):
    monkeypatch.setattr(taking, "BLOCK", 4)
    lines = [line for batch in taking.lines_as_they_come(io.BytesIO(b"0123456789\nab\ncd\nlast one"))
             for line in batch]
    assert lines == [b"0123456789", b"ab", b"cd", b"last one"]


def test_a_line_too_long_is_refused_before_it_fills_memory(run, store, monkeypatch):
    monkeypatch.setattr(taking, "BLOCK", 4)
    monkeypatch.setattr(taking, "LONGEST_LINE", 9)
    status, _, err = run("-p", store.port, "publish", "s", "n", "--lines", stdin=b"a\n0123456789012\nb\n")
    assert (status, len(store.events)) == (1, 1)
    assert err == "meilies_cli: a line is longer than 9 bytes; it and what follows was not published\n"


def test_publish_lines_sends_a_line_while_the_next_is_still_to_come(store):
    process = start("-p", store.port, "publish", "s", "n", "--lines", stdin=subprocess.PIPE)
    with process:
        process.stdin.write(b"first\nsec")
        process.stdin.flush()
        until(lambda: len(store.events) == 1)
        process.stdin.write(b"ond\n")
        assert end_of(process) == (0, "")
    assert [data for _, _, _, data in store.events] == [b"first", b"second"]


def test_publish_lines_ended_by_ctrl_c_says_what_is_stored(store):
    process = start("-p", store.port, "publish", "s", "n", "--lines", stdin=subprocess.PIPE)
    with process:
        for count in (1, 2, 3):
            process.stdin.write(b"line %d\n" % count)
            process.stdin.flush()
            until(lambda count=count: len(store.events) == count)
        process.stdin.write(b"sec")
        process.stdin.flush()
        process.send_signal(signal.SIGINT)
        status, said = end_of(process)
    # The third is sent after the first was answered; the answers to the others may be on their way.
    stored = re.fullmatch("meilies_cli: interrupted; ([123]) lines are stored, more may be\n", said)
    assert (status, bool(stored)) == (130, True), said


def until(condition):
    tick = threading.Event()
    for _ in range(SECONDS * 100):
        if condition():
            return
        tick.wait(0.01)
    raise AssertionError("it did not come to be")


def _acknowledging(count, then):
    """A script: take publishes, say OK to the first `count`, `then` to what follows."""
    def script(peer):
        requests = Parser()
        seen = 0
        while data := peer.sock.recv(65536):
            requests.feed(data)
            for _ in requests.values():
                peer.send(b"+OK\r\n" if seen < count else then)
                seen += 1
                if seen > count and not then:
                    return
    return script


def test_publish_lines_says_which_line_was_refused(run):
    with FakeServer(_acknowledging(2, b"-ERR no \x1b room\r\n")) as server:
        status, _, err = run("-p", server.port, "publish", "s", "n", "--lines", stdin=b"1\n2\n3\n4\n")
    assert (status, err) == (1, "meilies_cli: line 3 was refused: ERR no \\x1b room; 2 lines are stored\n")


def test_publish_lines_says_how_many_were_stored_when_interrupted(run):
    with FakeServer(_acknowledging(2, b"")) as server:
        status, _, err = run("-p", server.port, "publish", "s", "n", "--lines", stdin=b"1\n2\n3\n4\n")
    assert (status, err) == (1, f"meilies_cli: 127.0.0.1:{server.port} closed the connection; "
                                "2 lines are stored, the fate of 2 more is unknown\n")


def test_publish_lines_says_how_many_were_stored_before_the_server_went(run, monkeypatch):
    monkeypatch.setattr(taking, "BLOCK", 2)

    def script(peer):
        peer.answer(command("publish", "s", "n", b"1"), b"+OK\r\n")

    with FakeServer(script) as server:
        status, _, err = run("-p", server.port, "publish", "s", "n", "--lines", stdin=b"1\n2\n")
    assert status == 1
    assert "1 lines are stored" in err
    assert run("-p", server.port, "publish", "s", "n", "--lines", stdin=b"1\n") == (
        1, "", f"meilies_cli: cannot connect to 127.0.0.1:{server.port}: Connection refused; "
               "0 lines are stored\n")


def test_publish_without_standard_input_is_an_error(store):
    process = start("-p", store.port, "publish", "s", "n", shell="<&-")
    with process:
        assert end_of(process) == (1, "meilies_cli: standard input is closed, expected the data to publish\n")


def test_without_standard_output_nothing_is_done(store):
    process = start("-p", store.port, "stream-names", shell=">&-")
    with process:
        assert end_of(process) == (1, "meilies_cli: standard output is closed\n")


# -- ask

def test_last_event_number_prints_the_number_or_none(run, store):
    store.publish("s", b"", b"")
    assert run("-p", store.port, "last-event-number", "s") == (0, "1\n", "")
    assert run("-p", store.port, "last-event-number", "empty") == (0, "none\n", "")


def test_stream_names_prints_one_a_line(run, store):
    store.publish("b ü", b"")
    store.publish("a", b"")
    assert run("-p", store.port, "stream-names") == (0, "a\nb ü\n", "")


def test_stream_names_are_escaped_on_a_terminal(run, store, monkeypatch):
    store.publish("a\x1b[2J", b"")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert run("-p", store.port, "stream-names") == (0, "a\\x1b[2J\n", "")


def test_ping_prints_milliseconds(run, store):
    status, out, _ = run("-p", store.port, "ping")
    assert status == 0
    assert float(out.split()[0]) > 0


# -- subscribe

def test_subscribe_prints_a_readable_line_for_each_event(run, store):
    store.publish("orders", b"one", "zwei ü".encode(), name="created")
    assert run("-p", store.port, "subscribe", "orders:0:2") == (
        0, "orders:0 created one\norders:1 created zwei ü\n", "")


def test_subscribe_escapes_whatever_could_drive_the_terminal(run, store):
    store.publish("s", b"\x1b[2J\r\n\x00\x7f\xff\xc2\x9b", "\u202edcba\u2028".encode())
    out = run("-p", store.port, "subscribe", "s:0:2")[1]
    assert out == "s:0 n \\x1b[2J\\r\\n\\x00\\x7f\\xff\\x9b\ns:1 n \\u202edcba\\u2028\n"


def test_what_a_terminal_can_not_show_is_escaped(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert showing.readable_line(Event("s", 0, "n", "ü".encode())) == b"s:0 n \\xfc\n"


def test_subscribe_raw_prints_the_data_and_a_line_feed(run, store):
    store.publish("s", b"a\x1b", b"b")
    assert run("-p", store.port, "subscribe", "--raw", "s:0:2")[1] == "a\x1b\nb\n"


def test_subscribe_raw_bytes_prints_the_data_alone(run, store):
    store.publish("s", b"a", b"b\n")
    assert run("-p", store.port, "subscribe", "--raw-bytes", "s:0:2")[1] == "ab\n"


def test_subscribe_json_prints_an_object_a_line(run, store):
    store.publish("s", "ü\x9b".encode(), b"\xff")
    lines = run("-p", store.port, "subscribe", "--json", "s:0:2")[1].splitlines()
    assert [json.loads(line) for line in lines] == [
        {"stream": "s", "number": 0, "name": "n", "data": "ü\x9b", "position": 0, "time": 1700000000000000},
        {"stream": "s", "number": 1, "name": "n", "data_base64": "/w==", "position": 1,
         "time": 1700000000000000}]
    assert all(line.isascii() for line in lines)


def test_json_has_id_and_metadata_where_there_are_any_and_no_time_where_there_is_none():
    line = showing.json_line(Event("s", 0, "n", b"", b"id", b"\xff"))
    assert json.loads(line) == {
        "stream": "s", "number": 0, "name": "n", "data": "", "id": "id", "metadata_base64": "/w=="}


def test_subscribe_shows_an_event_as_soon_as_it_comes(store):
    store.publish("s", b"old")
    process = start("-p", store.port, "subscribe", "s:0")
    with process:
        assert process.stdout.readline() == b"s:0 n old\n"
        store.publish("s", b"new")
        assert process.stdout.readline() == b"s:1 n new\n"
        process.send_signal(signal.SIGINT)
        assert end_of(process) == (130, "")


def test_subscribe_filters_and_tells_notices_on_standard_error(run):
    def script(peer):
        peer.answer(HELLO, hello())
        peer.answer(command("follow", "prefix", "o-", 0, "TO", 9, "NAMES", 2, "a", "b"),
                    subscribed("o-") + recorded(2, "o-1", 0, "a", b"one") + checkpoint("o-", 5)
                    + caught_up("o-", 6) + checkpoint("o-", 9))

    with FakeServer(script) as server:
        status, out, err = run("-p", server.port, "subscribe", "--prefix", "--name", "a", "--name", "b", "--notices",
                               "o-:0:9")
    assert (status, out, err) == (0, "o-1:0 a one\n", "checkpoint o-:5\ncaught-up o-:6\ncheckpoint o-:9\n")


@pytest.mark.parametrize("arguments, why", [
    (["--prefix", "a:0", "b:0"], "are of one selector, no more"), (["--prefix", "$all"], "no prefix"),
    (["--name", "", "a"], "event name is empty")])
def test_subscribe_with_what_can_not_be_filtered_is_wrong_usage(run, store, arguments, why):
    status, _, err = run("-p", store.port, "subscribe", *arguments)
    assert status == 2 and why in err


def test_subscribe_waits_an_outage_out_and_says_so(store):
    process = start("-p", store.port, "subscribe", "s:0")
    with process:
        store.publish("s", b"old")
        process.stdout.readline()
        store.disconnect()
        store.publish("s", b"new")
        assert process.stdout.readline() == b"s:1 n new\n"
        process.send_signal(signal.SIGINT)
        status, err = end_of(process)
    assert status == 130
    assert err == f"meilies_cli: 127.0.0.1:{store.port} closed the connection; trying again in 0.1 s\n"


def test_subscribe_ends_with_an_error_when_there_are_no_tries(run, store):
    def script(peer):
        peer.answer(HELLO, hello())
        peer.answer(command("follow", "stream", "s", 0), subscribed("s") + recorded(0, "s", 0))

    with FakeServer(script) as server:
        status, out, err = run("-p", server.port, "subscribe", "--tries", "0", "s:0")
    assert (status, out) == (1, "s:0 n \n")
    assert err == f"meilies_cli: 127.0.0.1:{server.port} closed the connection\n"


def test_a_reader_that_closes_its_pipe_is_no_error(store):
    store.publish("s", *[b"x" * 1000] * 500)
    process = start("-p", store.port, "subscribe", "s:0:500")
    with process:
        assert process.stdout.readline()
        process.stdout.close()
        process.wait(SECONDS)
        err = process.stderr.read()
    assert (process.returncode, err) == (0, b"")


def test_a_quiet_subscription_notices_that_its_reader_is_gone(store):
    store.publish("s", b"x")
    process = start("-p", store.port, "subscribe", "s:0")
    with process:
        assert process.stdout.readline()
        process.stdout.close()
        process.wait(SECONDS)
        err = process.stderr.read()
    assert (process.returncode, err) == (0, b"")


def test_a_quiet_subscription_whose_reader_is_there_goes_on(run, monkeypatch):
    monkeypatch.setattr(following, "LOOK_FOR_READER", 0.001)
    looked = threading.Event()
    original = showing.reader_is_gone

    def look():
        gone = original()
        looked.set()
        return gone

    def script(peer):
        peer.answer(HELLO, hello())
        peer.answer(command("follow", "stream", "s", 0, "TO", 1), subscribed("s"))
        assert looked.wait(SECONDS)
        peer.send(recorded(0, "s", 0))

    monkeypatch.setattr(following, "reader_is_gone", look)
    with FakeServer(script) as server:
        assert run("-p", server.port, "subscribe", "--timeout", "5", "s:0:1") == (0, "s:0 n \n", "")


def test_where_there_is_no_poll_the_reader_counts_as_there(monkeypatch):
    monkeypatch.delattr(showing.select, "poll")
    assert not showing.reader_is_gone()


def test_an_answer_that_nobody_reads_is_no_error(store):
    store.publish("s", b"x")
    read, write = os.pipe()
    os.close(read)
    process = start("-p", store.port, "last-event-number", "s", stdout=write)
    os.close(write)
    with process:
        assert end_of(process) == (0, "")


def test_a_full_disk_is_an_error_in_one_line(store):
    store.publish("s", b"x")
    with open("/dev/full", "wb") as full:
        process = start("-p", store.port, "last-event-number", "s", stdout=full)
        with process:
            assert end_of(process) == (1, "meilies_cli: [Errno 28] No space left on device\n")


# -- inspect

def test_inspect_runs_the_command_with_the_data_and_the_environment(run, store):
    store.publish("s", b"one\n", b"two\n", name="created")
    shell = 'echo "$MEILIES_STREAM_NAME $MEILIES_EVENT_NAME $MEILIES_EVENT_NUMBER"; cat'
    assert run("-p", store.port, "inspect", "--stream", "s:0:2", shell) == (
        0, "s created 0\none\ns created 1\ntwo\n", "")


def test_inspect_stops_at_the_first_command_that_fails_and_tells_its_status(run, store):
    store.publish("s", b"", b"", b"")
    status, out, err = run("-p", store.port, "inspect", "--stream", "s:0:3",
                           "echo $MEILIES_EVENT_NUMBER; exit $((MEILIES_EVENT_NUMBER * 7))")
    assert (status, out) == (1, "0\n1\n")
    assert err == ("meilies_cli: event 1 of s: the command ended with status 7; "
                   "no further event was inspected\n")


def test_inspect_tells_the_signal_that_ended_the_command(run, store):
    store.publish("s", b"")
    err = run("-p", store.port, "inspect", "--stream", "s:0:1", "kill -TERM $$")[2]
    assert "the command ended by SIGTERM" in err


def test_inspect_does_not_mind_a_command_that_reads_nothing(run, store):
    store.publish("s", b"x" * (1 << 20), b"")
    assert run("-p", store.port, "inspect", "--stream", "s:0:2", "true") == (0, "", "")


def test_inspect_is_ended_by_ctrl_c(store):
    store.publish("s", b"")
    process = start("-p", store.port, "inspect", "--stream", "s:0", "echo inspected")
    with process:
        assert process.stdout.readline() == b"inspected\n"
        process.send_signal(signal.SIGINT)
        assert end_of(process) == (130, "")


# -- options, errors

def test_help_is_help_and_h_is_the_host(run):
    status, out, _ = run("--help")
    assert status == 0
    assert "-h HOST" in out
    assert "--hostname HOST" in out
    for name in ("publish", "subscribe", "last-event-number", "stream-names", "inspect", "migrate"):
        assert name in out
        assert run(name, "--help")[0] == 0


def test_server_options_may_stand_before_and_behind_the_command(run, store):
    assert run("-h", "127.0.0.1", "-p", store.port, "stream-names")[0] == 0
    assert run("stream-names", "-h", "127.0.0.1", "--port", store.port)[0] == 0


def test_the_environment_gives_host_and_port(run, store, monkeypatch):
    monkeypatch.setenv("MEILIES_HOSTNAME", "127.0.0.1")
    monkeypatch.setenv("MEILIES_PORT", str(store.port))
    assert run("stream-names")[0] == 0
    assert run("-h", "name.invalid", "stream-names")[0] == 1


@pytest.mark.parametrize("arguments, why", [
    ([], "required: COMMAND"),
    (["nothing"], "'nothing': no such command"),
    (["publish", "s"], "required: NAME"),
    (["publish", "a:b", "n", "x"], "holds ':'"),
    (["publish", "$all", "n", "x"], "nothing can be published to it"),
    (["publish", "s", "", "x"], "event name is empty"),
    (["publish", "s", "n", "x", "--lines"], "DATA must be missing"),
    (["subscribe"], "required: STREAM"),
    (["subscribe", "s:x"], "expected a number"),
    (["subscribe", "s:0", "s:1"], "named twice"),
    (["subscribe", "s", "--json", "--raw"], "not allowed with"),
    (["subscribe", "s", "--tries", "-1"], "expected a number from 0"),
    (["subscribe", "s", "--timeout", "0"], "expected seconds"),
    (["subscribe", "s", "--timeout", "x"], "expected seconds"),
    (["last-event-number", "a:b"], "holds ':'"),
    (["group-info", "\udcff"], "expected UTF-8 text"),
    (["read", "s", "--name", "\udcff"], "expected UTF-8 text"),
    (["ping", "--unix", "/s", "--tls"], "unix and tls are both given"),
    (["inspect", "--stream", "s"], "required: COMMAND"),
    (["inspect", "true"], "required: --stream"),
    (["-p", "0", "stream-names"], "expected a port from 1 to 65535"),
    (["-p", "x", "stream-names"], "expected a port from 1 to 65535"),
    (["migrate", "--src-server", "a"], "--dst-server --to-redis is required"),
    (["migrate", "--src-server", "a", "--dst-server", "a:6480"], "are the same server"),
    (["migrate", "--src-server", "a", "--dst-server", "b", "$all"], "name no stream to copy all of them"),
    (["migrate", "--src-server", "a", "--dst-server", "b", "s", "s:3"], "named twice"),
    (["migrate", "--src-server", "a:x", "--dst-server", "b"], "expected a port"),
    (["migrate", "--src-server", "::1", "--dst-server", "b"], r"expected HOST:PORT or [HOST]:PORT"),
    (["migrate", "--src-server", ":1", "--dst-server", "b"], "expected HOST:PORT"),
])
def test_wrong_usage_is_told_with_status_2(run, arguments, why):
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith("meilies_cli") and err.endswith(" --help'\n") and err.count("\n") == 1
    assert why in err


def test_a_wrong_port_in_the_environment_is_wrong_usage(run, monkeypatch):
    monkeypatch.setenv("MEILIES_PORT", "nine")
    status, _, err = run("stream-names")
    assert status == 2
    assert "found 'nine', expected a port" in err


@pytest.mark.parametrize("text, address", [
    ("a", ("a", 6480)), ("a:1", ("a", 1)), ("[::1]:2", ("::1", 2)), ("[::1]", ("::1", 6480))])
def test_an_address_may_lack_its_port(text, address):
    assert address_argument(text) == address


@pytest.mark.parametrize("arguments", [
    ["publish", "s", "n", "x"], ["subscribe", "s:0"], ["last-event-number", "s"], ["stream-names"], ["ping"],
    ["inspect", "--stream", "s", "true"]])
def test_a_refused_connection_is_one_line_and_status_1(run, arguments):
    port = free_port()
    assert run("-p", port, *arguments) == (
        1, "", f"meilies_cli: cannot connect to 127.0.0.1:{port}: Connection refused\n")


# -- append ---------------------------------------------------------------------------

@pytest.fixture
def served(tmp_path):
    with Serving(tmp_path / "db") as serving:
        yield serving


@pytest.fixture
def append(run, served):
    """Append to `served`: append(*arguments, stdin=b"") -> (exit status, stdout, stderr)."""
    return lambda *arguments, stdin=b"": run("-p", served.port, "append", *arguments, stdin=stdin)


def test_append_stores_an_event_with_all_it_has_and_prints_where_it_is(append, served):
    assert append("s", "n", "data", "--id", "i", "--metadata", "{}", "--expected", "None") == (
        0, "0 0\n", "")
    assert append("s", "n", "-", "--expected", "0", stdin=b"\xff\n") == (0, "1 1\n", "")
    assert [(e.name, e.data, e.id, e.metadata) for e in served.store.read("s")] == [
        ("n", b"data", b"i", b"{}"), ("n", b"\xff\n", b"", b"")]


def test_publish_with_an_id_stores_an_event_once(run, served):
    for _ in range(2):
        assert run("-p", served.port, "publish", "s", "n", "data", "--id", "i") == (0, "", "")
    status, _, err = run("-p", served.port, "publish", "s", "n", "other", "--id", "i")
    assert status == 1 and "IDCONFLICT stream 's': id 'i' is that of event 0, which is another" in err
    assert [(e.data, e.id) for e in served.store.read("s")] == [(b"data", b"i")]


def test_publish_gives_each_line_an_id_of_its_own(run, served):
    assert run("-p", served.port, "publish", "s", "n", "--lines", "--ids", stdin=b"a\na\n") == (0, "", "")
    events = served.store.read("s")
    assert [e.data for e in events] == [b"a", b"a"] and len({e.id for e in events} - {b""}) == 2


@pytest.mark.parametrize("more", [["--lines"], ["--ids"]])
def test_an_id_is_of_one_publish(run, served, more):
    status, _, err = run("-p", served.port, "publish", "s", "n", "--id", "i", *more)
    assert status == 2 and "--id is of a single event, --lines and --ids must be missing" in err


def test_events_with_tags_are_stored_unless_others_match_and_printed(run, served):
    tagged = ("-p", served.port, "dcb-append", "s", "n", "--tag", "a:1", "--tag", "b", "--unless", "m,n+a:1")
    assert run(*tagged, stdin=b"data") == (0, "0 0\n", "")
    status, _, err = run(*tagged, stdin=b"data")
    assert status == 1 and "CONDITION the event at position 0 matches, expected none; nothing was stored" in err
    assert run("-p", served.port, "dcb-append", "s", "m", "x", "--after", "0") == (0, "1 1\n", "")
    status, out, _ = run("-p", served.port, "dcb-read", "n+b", "--after", "0")
    assert (status, out) == (0, "")
    status, out, _ = run("-p", served.port, "dcb-read", "+b", "m+", "--limit", "9")
    assert [json.loads(line).get("tags") for line in out.splitlines()] == [["a:1", "b"], None]


@pytest.mark.parametrize("arguments, why", [
    (["dcb-read", "name"], "found 'name', expected"), (["dcb-read", "--after", "x"], "found 'x', expected a number")])
def test_what_is_no_query_is_told(run, arguments, why):
    status, _, err = run(*arguments)
    assert status == 2 and why in err


def test_append_says_why_a_stream_is_not_as_expected(append, served):
    status, out, err = append("s", "n", "data", "--expected", "exists")
    assert (status, out) == (1, "")
    assert "WRONGVERSION stream 's': expected an event, found no event; nothing was stored" in err


def test_append_takes_events_of_several_streams_as_json(append, served):
    lines = [{"stream": "s", "name": "n", "data": "ü", "expected": "none", "id": "i"}, {"stream": "t", "name": "n"},
             {"stream": "s", "name": "n", "data_base64": "/w==", "expected": 0, "metadata": "m"}]
    stdin = b"\n\n".join(json.dumps(line).encode() for line in lines)
    assert append("--json", stdin=stdin) == (0, "0 0\n0 1\n1 2\n", "")
    assert [(e.stream, e.data, e.id, e.metadata) for e in served.store.read_all()] == [
        ("s", "ü".encode(), b"i", b""), ("t", b"", b"", b""), ("s", b"\xff", b"", b"m")]
    status, _, err = append("--json", stdin=stdin.replace(b'"id": "i"', b'"id": "j"'))
    assert status == 1 and "WRONGVERSION" in err and served.store.position == 3


@pytest.mark.parametrize("line", [b"nonsense", b"[]", b"{}", b'{"stream": "s"}', b'{"stream": "s", "name": 1}',
                                  b'{"stream": "s", "name": "n", "what": "x"}', b"\xff",
                                  b'{"stream": "s", "name": "n", "data_base64": "?"}'])
def test_a_line_that_is_no_event_is_told_and_nothing_is_sent(append, served, line):
    status, out, err = append("--json", stdin=b'{"stream": "s", "name": "n"}\n' + line)
    assert (status, out) == (1, "")
    assert "line 2: found " in err and "expected a JSON object with stream, name and data" in err
    assert err.count("\n") == 1 and served.store.position == 0


@pytest.mark.parametrize("line, why", [
    (b'{"stream": "a:b", "name": "n"}', "holds ':'"), (b'{"stream": "s", "name": "n", "expected": "new"}', "'new'"),
    (b"", "an append takes at least one event")])
def test_what_can_not_be_appended_is_an_error_in_one_line(append, served, line, why):
    status, _, err = append("--json", stdin=line)
    assert status == 1 and why in err and err.count("\n") == 1


@pytest.mark.parametrize("arguments, why", [
    (["s", "n", "--json"], "STREAM must be missing"), (["s"], "expected STREAM and NAME, or --json"),
    (["a:b", "n"], "holds ':'"), (["s", "n", "--expected", "new"], "expected any, none, exists"),
    (["s", "n", "--expected", "-1"], "expected")])
def test_append_refuses_what_makes_no_sense(append, served, arguments, why):
    status, _, err = append(*arguments)
    assert status == 2 and why in err
