"""The program: how it starts, what it refuses, and how it ends."""

import os
import platform
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import types

import pytest
from conftest import ROOT, SECONDS, clean_environ
from serving import OK, event, eventually, publish, subscribed

import meilies_server
import resp


def refused(tmp_path, *argv, **environ):
    """Run the program, which must not start; return (exit code, what it says on stderr)."""
    ended = subprocess.run(
        [sys.executable, str(ROOT / "meilies_server.py"), "--db-path", str(tmp_path / "db"), "--port", "0", *argv],
        cwd=tmp_path, env=clean_environ(**environ), capture_output=True, text=True, timeout=SECONDS)
    assert ended.stdout == ""
    return ended.returncode, ended.stderr


# -- starting -----------------------------------------------------------------

def test_it_says_where_it_listens_and_two_of_them_take_two_free_ports(server, connect, tmp_path):
    first = server()
    second = server("--db-path", str(tmp_path / "other"))
    assert first.port != second.port
    for running in first, second:
        connect(running.port).recv_nothing()
    assert f"store {store_of(first, connect)}, epoch 1, 0 events in 0 streams" in first.log.read_text()


def store_of(running, connect):
    peer = connect(running.port)
    peer.command("info", "persistence")
    return re.search(rb"store:([0-9a-f]{32})\r\n", peer.sock.recv(4096)).group(1).decode()


def test_it_listens_on_the_port_and_address_that_it_is_told(server, connect):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert server("--port", str(port)).port == port
    connect(port).recv_nothing()


def test_ipv6_is_listened_on_as_well(server, connect):
    running = server("--hostname", "::1")
    connect(running.port, host="::1").recv_nothing()


def test_options_come_from_the_environment_and_a_mistaken_one_is_named(server):
    running = server(MEILIES_LOG_LEVEL="debug", MEILIES_SYNK="no")
    assert "MEILIES_SYNK in the environment: no such option; did you mean MEILIES_SYNC?" in running.log.read_text()


def test_what_was_published_is_there_after_a_restart_under_the_same_store(server, connect):
    running = server()
    store = store_of(running, connect)
    peer = connect(running.port)
    peer.send(publish("s", "0") + publish("s", "1"))
    peer.recv_exactly(OK * 2)
    assert running.stop() == 0
    running = server()
    assert store_of(running, connect) == store
    peer = connect(running.port)
    peer.command("subscribe", "s:0")
    peer.recv_exactly(subscribed("s") + event("s", 0, "x", "0") + event("s", 1, "x", "1"))
    assert "2 events in 1 streams" in running.log.read_text()


# -- refusing to start --------------------------------------------------------

def test_a_second_server_on_the_same_directory_is_refused_and_told_by_whom(server, tmp_path):
    running = server()
    code, text = refused(tmp_path)
    assert code == 1
    assert text == (f"meilies-server: {tmp_path / 'db'} is in use by process {running.process.pid}; "
                    "a store has one owner at a time, nothing was touched\n")


def test_a_port_that_is_in_use_is_named(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert refused(tmp_path, "--port", str(port)) == (
            1, f"meilies-server: not started: 127.0.0.1:{port}: Address already in use\n")


def test_a_directory_that_can_not_be_one_is_named(tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    for path in file, file / "below":
        assert refused(tmp_path, "--db-path", str(path)) == (
            1, f"meilies-server: not started: {file}: File exists\n")
    assert file.read_text() == "mine"


def test_a_damaged_store_is_named_and_left_as_it_is(server, connect, tmp_path):
    running = server()
    peer = connect(running.port)
    peer.send(publish("s", "data"))
    peer.recv_exactly(OK)
    running.stop()
    for index in (tmp_path / "db").glob("index*"):
        index.unlink()
    segment = tmp_path / "db" / "000000000000.segment"
    damaged = segment.read_bytes().replace(b"data", b"dada")
    segment.write_bytes(damaged)
    code, text = refused(tmp_path)
    assert code == 1 and text.count("\n") == 1
    assert text.startswith(f"meilies-server: {segment}: event 0 of stream 's'") and "is damaged" in text
    assert segment.read_bytes() == damaged


@pytest.mark.parametrize("argv, text", [
    (["--sync", "sometimes"], "--sync: found 'sometimes', expected always, everysec or no"),
    (["--hostname", "0.0.0.0"], "--hostname: '0.0.0.0' can be reached from other machines"),
    (["--nope"], "--nope: no such option"),
])
def test_a_wrong_option_is_a_matter_of_usage(tmp_path, argv, text):
    code, found = refused(tmp_path, *argv)
    assert code == 2 and found.startswith(f"meilies-server: not started: {text}") and found.count("\n") == 1
    assert not (tmp_path / "db").exists()


# -- ending -------------------------------------------------------------------

@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("sync", ["always", "everysec", "no"])
def test_a_signal_ends_it_cleanly_with_all_on_disk(server, connect, number, sync):
    running = server("--sync", sync)
    peer, idle = connect(running.port), connect(running.port)
    idle.command("subscribe", "$all:0")
    idle.recv_exactly(subscribed("$all"))
    peer.send(publish("s", "0"))
    peer.recv_exactly(OK)
    running.process.send_signal(number)
    assert running.wait() == 0
    assert running.log.read_text().splitlines()[-1].endswith("meilies.server: stopped; all is on disk")
    idle.recv_exactly(event("s", 0, "x", "0"))
    idle.recv_end()


SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


@pytest.fixture
def signals_kept():
    """Give signals back to whom they belong."""
    kept = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


def test_a_signal_before_it_listens_is_remembered(signals_kept):
    stop = meilies_server._Stop()
    asked = []
    os.kill(os.getpid(), signal.SIGTERM)
    eventually(lambda: stop._asked)
    stop.when_asked(lambda: asked.append(1))
    assert asked == [1]
    seen = threading.Event()
    stop.when_asked(seen.set)
    os.kill(os.getpid(), signal.SIGINT)
    assert seen.is_set() and asked == [1]       # it was asked already; once more changes nothing


def test_what_a_signal_asks_for_is_left_to_a_worker_once_there_is_one(signals_kept):
    called, put = [], []
    errands = meilies_server._Errands(signal.SIGHUP, lambda: called.append(1))
    errands.functions.append(lambda: called.append(2))
    signal.raise_signal(signal.SIGHUP)
    errands.give_to(types.SimpleNamespace(put=put.append))
    signal.raise_signal(signal.SIGHUP)
    assert (len(put), called) == (2, [])
    for function in put:
        function()
    assert called == [1, 2]


def test_the_log_goes_on_in_a_new_file_after_a_hangup(server, connect, tmp_path):
    log = tmp_path / "meilies.log"
    running = server("--log-file", str(log))
    assert "events in 0 streams" in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600
    log.rename(tmp_path / "meilies.log.1")
    running.process.send_signal(signal.SIGHUP)
    eventually(lambda: log.exists() and "opened again" in log.read_text())
    running.process.send_signal(signal.SIGUSR1)
    eventually(lambda: "the log has the level debug from now on" in log.read_text())
    running.process.send_signal(signal.SIGUSR1)
    eventually(lambda: "the log has the level info from now on" in log.read_text())
    connect(running.port).recv_nothing()
    assert running.stop() == 0
    assert log.read_text().splitlines()[-1].endswith("stopped; all is on disk")
    assert "opened again" not in (tmp_path / "meilies.log.1").read_text()
    assert running.log.read_text() == ""


def test_a_log_file_that_cannot_be_is_named_and_nothing_started(server, tmp_path, capsys):
    argv = ["--db-path", str(tmp_path / "db"), "--log-file", str(tmp_path / "no" / "log")]
    assert meilies_server.main(argv, {}) == 1
    assert capsys.readouterr().err == f"meilies-server: not started: {tmp_path}/no/log: No such file or directory\n"
    assert not (tmp_path / "db").exists()


def test_systemd_is_told_when_it_is_ready_and_when_it_stops(server, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(SECONDS)
        running = server(NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="200000")
        assert sock.recv(4096).decode() == f"READY=1\nSTATUS=listening on 127.0.0.1:{running.port}"
        assert sock.recv(4096) == sock.recv(4096) == b"WATCHDOG=1"
        running.stop()
        last = sock.recv(4096)
        while last == b"WATCHDOG=1":
            last = sock.recv(4096)
        assert last == b"STOPPING=1\nSTATUS=stopping"


@pytest.mark.unmeasured     # what coverage writes could not grow either
def test_a_file_that_may_not_grow_refuses_publishes_and_the_server_ends_cleanly(server, connect, tmp_path):
    running = server("--sync", "everysec")
    peer = connect(running.port)
    peer.send(publish("s", "kept"))
    peer.recv_exactly(OK)
    size = (tmp_path / "db" / "000000000000.segment").stat().st_size
    resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (size + 500, size + 500))
    peer.send(publish("s", "x" * 1000))
    assert peer.sock.recv(4096).startswith(b"-STOREFULL ")
    peer.send(publish("s", "small"))
    peer.recv_exactly(OK)
    assert running.stop() == 0
    peer = connect(server().port)
    peer.command("subscribe", "s:0")
    peer.recv_exactly(subscribed("s") + event("s", 0, "x", "kept") + event("s", 1, "x", "small"))


# -- descriptors --------------------------------------------------------------

def test_without_descriptors_it_pauses_and_accepts_when_there_are_some(server, connect):
    running = server()
    first = connect(running.port)
    first.recv_nothing()
    pid = running.process.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (len(os.listdir(f"/proc/{pid}/fd")), hard))
    late = connect(running.port)
    eventually(lambda: "no connection can be accepted (Too many open files)" in running.log.read_text())
    before = cpu(pid)
    eventually(lambda: running.log.read_text().count("no connection can be accepted") >= 4)    # 0.3 s
    assert cpu(pid) - before < 0.2
    first.recv_nothing()
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
    late.recv_nothing()


def cpu(pid):
    """Seconds of CPU that a process has taken."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_an_error_is_explained_in_one_line():
    explained = meilies_server._explained
    assert explained(PermissionError(13, "Permission denied", "/db")) == "not started: /db: Permission denied"
    assert explained(OSError(24, "Too many open files")) == "not started: Too many open files"
    assert explained(OSError("odd")) == "odd"


FAULTS = """
import resource, meilies_server
if {keeps}:
    meilies_server.keep_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    [bytes([place]) * (4 << 20) for place in range(4)]
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(keeps):
    """The pages that a program asks the system for while it allocates 4 x 4 MiB, 50 times."""
    ran = subprocess.run([sys.executable, "-c", FAULTS.format(keeps=keeps)], cwd=ROOT, check=True,
                         env=clean_environ(), capture_output=True, timeout=SECONDS)
    return int(ran.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is about glibc's malloc")
def test_memory_that_is_freed_is_used_again_and_not_asked_for_anew():
    pages = (16 << 20) // resource.getpagesize()
    assert page_faults(keeps=True) < 3 * pages < page_faults(keeps=False)


def test_main_returns_the_exit_code_and_serves_until_it_is_told_to_stop(tmp_path, capsys, signals_kept):
    """In this process, as `python3 -m` or a program of one's own would."""
    signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    try:
        argv = ["--db-path", str(tmp_path / "db"), "--port", "0", "--no-vigil"]
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        assert meilies_server.main(argv, {}) == 0
        (tmp_path / "file").touch()
        assert meilies_server.main(["--db-path", str(tmp_path / "file")], {}) == 1
    finally:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
    out, err = capsys.readouterr()
    assert out.startswith("server is listening on 127.0.0.1:")
    assert err.startswith("meilies-server: not started: ") and err.count("\n") == 1


def test_the_log_has_one_line_for_each_client_that_is_cut_off_whatever_it_sent(server, connect):
    running = server()
    peer = connect(running.port)
    peer.send(b"*1\r\n$1\x1b[31m\nforged: line\r\n")
    assert peer.sock.recv(4096).startswith(b"-ERR Protocol error")
    peer.recv_end()
    peer = connect(running.port)
    peer.send(resp.command("no\r\nsuch\x1bcommand"))
    assert peer.sock.recv(4096).startswith(rb"-ERR unknown command 'no\r\nsuch\x1bcommand'")
    lines = [line for line in running.log.read_text().splitlines() if "cut off" in line]
    assert len(lines) == 1 and lines[0].isprintable()
