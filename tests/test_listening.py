"""server/listening.py: TCP, Unix sockets, and sockets that systemd opened."""

import errno
import os
import signal
import socket
import stat
import sys

import pytest
from conftest import ROOT, SECONDS, WATCHED, Server, clean_environ
from serving import OK, publish

import resp
from server import listening, options

PING = resp.command("ping")
PONG = b"+PONG\r\n"


def exchange(address, sent=PING, expected=PONG):
    """Connect, send, and fail unless the answer is `expected`."""
    family = socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX
    with socket.socket(family) as sock:
        sock.settimeout(SECONDS)
        sock.connect(address)
        sock.sendall(sent)
        assert sock.recv(4096) == expected


@pytest.fixture
def path(tmp_path, monkeypatch):
    """Where a Unix socket is to be: a short name, for the system takes no long ones."""
    monkeypatch.chdir(tmp_path)
    return "meilies.sock"


# -- Unix sockets ---------------------------------------------------------------

def test_a_unix_socket_is_another_way_to_the_same_store(server, connect, tmp_path):
    running = server("--unix-socket", "meilies.sock")
    assert running.next_listener() == "meilies.sock"
    exchange(str(tmp_path / "meilies.sock"), publish("s", "data"), OK)
    peer = connect(running.port)
    peer.command("last-event-number", "s")
    peer.recv_exactly(b"*3\r\n+last-event-number\r\n+s\r\n:0\r\n")


def test_its_owner_alone_can_connect_to_it_and_it_goes_with_its_server(server, tmp_path):
    running = server("--unix-socket", "meilies.sock")
    mode = os.lstat(tmp_path / "meilies.sock").st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600
    assert running.stop() == 0
    assert not (tmp_path / "meilies.sock").exists()


def test_there_need_be_no_port(server, tmp_path):
    running = server("--port", "none", "--unix-socket", "meilies.sock")
    assert running.port is None
    exchange(str(tmp_path / "meilies.sock"))
    assert "listening on meilies.sock" not in running.log.read_text()   # that is for systemd


def test_the_file_of_a_server_that_died_makes_room(server, tmp_path):
    dead = server("--unix-socket", "meilies.sock")
    dead.kill()
    assert (tmp_path / "meilies.sock").exists()
    server("--unix-socket", "meilies.sock")
    exchange(str(tmp_path / "meilies.sock"))


def test_a_living_server_keeps_its_unix_socket(path):
    listener = listening.at_path(path)
    with pytest.raises(OSError) as caught:
        listening.at_path(path)
    assert (caught.value.strerror, caught.value.filename) == ("another server listens there", path)
    listener.close()


def test_a_living_server_with_no_room_for_one_more_keeps_its_unix_socket(path):
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as waiting:
        busy.bind(path)
        busy.listen(0)
        waiting.connect(path)
        with pytest.raises(OSError, match="another server listens there"):
            listening.at_path(path)


def test_what_is_no_socket_is_left_as_it_is(path, tmp_path):
    (tmp_path / path).write_text("mine")
    with pytest.raises(OSError, match="isn't a socket"):
        listening.at_path(path)
    assert (tmp_path / path).read_text() == "mine"


def test_a_link_to_a_socket_is_left_as_it_is(path):
    os.symlink("elsewhere.sock", path)
    with pytest.raises(OSError, match="isn't a socket"):
        listening.at_path(path)


def test_a_socket_of_another_kind_is_named_and_left_as_it_is(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(path)
        with pytest.raises(OSError) as caught:
            listening.at_path(path)
    assert (caught.value.errno, caught.value.filename) == (errno.EPROTOTYPE, path)


def test_a_folder_that_is_not_there_is_named(path):
    with pytest.raises(FileNotFoundError) as caught:
        listening.at_path(f"nowhere/{path}")
    assert caught.value.filename == f"nowhere/{path}"


def test_a_file_that_another_server_put_there_meanwhile_is_not_removed(path):
    ours = listening.at_path(path)
    os.unlink(path)
    theirs = listening.at_path(path)
    ours.close()
    assert os.path.exists(path)
    theirs.close()
    theirs.close()
    assert not os.path.exists(path)


def test_a_path_that_is_too_long_for_a_socket_is_refused_with_its_length():
    with pytest.raises(ValueError, match="at most 1.. bytes"):
        options.socket_path_or_none("x" * 108)


def test_what_cannot_be_had_leaves_nothing_open(path):
    chosen = options.parse(["--port", "0", "--unix-socket", f"nowhere/{path}"], {})
    with pytest.raises(FileNotFoundError):      # an open socket would be a ResourceWarning
        listening.listen(chosen, {})


def test_without_any_way_to_listen_it_does_not_start():
    with pytest.raises(OSError, match="nothing to listen on"):
        listening.listen(options.parse(["--port", "none"], {}), {})


# -- systemd --------------------------------------------------------------------

# Opens sockets and becomes the server, as systemd does.
ACTIVATE = """\
import os, socket, sys

tcp = socket.create_server(("127.0.0.1", 0))
unix = socket.socket(socket.AF_UNIX)
unix.bind("activated.sock")
unix.listen()
held = [os.dup(one.fileno()) for one in (tcp, unix)]
for fd, one in enumerate(held, start=3):
    os.dup2(one, fd)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="2", LISTEN_FDNAMES="meilies.socket:local")
os.execv(sys.executable, [sys.executable, *%r, %r, *sys.argv[1:]])
"""


def test_a_server_that_systemd_listens_for_opens_nothing_itself(tmp_path):
    script = tmp_path / "activate.py"
    script.write_text(ACTIVATE % (list(WATCHED), str(ROOT / "meilies_server.py")))
    running = Server(["--db-path", str(tmp_path / "db"), "--port", "1", "--unix-socket", "nowhere/x"], clean_environ(),
                     tmp_path / "log", script=script).wait_until_listening()
    try:
        assert running.next_listener() == "activated.sock"
        exchange(("127.0.0.1", running.port))
        exchange(str(tmp_path / "activated.sock"))
    finally:
        running.end()
    assert (tmp_path / "activated.sock").exists()       # it is systemd's


def test_sockets_for_another_process_are_not_taken():
    assert listening.passed_on({"LISTEN_PID": "1", "LISTEN_FDS": "1"}) == []


def environ(count="1", names=""):
    return {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": count, "LISTEN_FDNAMES": names}


@pytest.fixture
def passed(monkeypatch):
    """A listening socket whose descriptor is the first that is passed on."""
    sock = socket.create_server(("127.0.0.1", 0))
    monkeypatch.setattr(listening, "_FIRST_FD", sock.fileno())
    yield sock
    sock.detach()


def test_a_socket_called_tls_is_one_for_tls(passed):
    [listener] = listening.passed_on(environ(names="tls"))
    assert listener.tls and listener.port == passed.getsockname()[1]
    assert str(listener) == f"127.0.0.1:{listener.port} over TLS"
    assert not os.get_inheritable(passed.fileno())
    listener.close()


def test_a_name_is_not_needed(passed):
    [listener] = listening.passed_on(environ())
    assert not listener.tls
    listener.close()


@pytest.mark.parametrize("count", ["", "-1", "1x", "²", "99999"])
def test_a_count_that_is_none_is_named(count):
    with pytest.raises(OSError, match="LISTEN_FDS"):
        listening.passed_on(environ(count))


def test_a_descriptor_that_is_no_listening_socket_is_named(monkeypatch, tmp_path):
    with open(tmp_path / "file", "w") as file, socket.socket() as idle:
        for other in file, idle:
            fd = os.dup(other.fileno())
            monkeypatch.setattr(listening, "_FIRST_FD", fd)
            with pytest.raises(OSError, match=f"descriptor {fd}, passed on by systemd"):
                listening.passed_on(environ())
            if other is file:       # a socket is closed, what is none isn't ours
                os.close(fd)


@pytest.mark.skipif(sys.platform != "linux", reason="others have no abstract names")
def test_a_socket_without_a_file_is_shown_by_its_name():
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(f"\0meilies-{os.getpid()}")
        assert str(listening.Listener(sock)) == f"@meilies-{os.getpid()}"


# -- SIGHUP ---------------------------------------------------------------------

def test_a_hangup_does_not_end_it(server, connect):
    running = server()
    running.process.send_signal(signal.SIGHUP)
    connect(running.port).recv_nothing()


@pytest.mark.parametrize("argv", [["--users", "users"], ["--allow-anyone"]])
def test_a_socket_that_other_machines_reach_takes_users_or_an_explicit_word(monkeypatch, argv):
    for host in ("0.0.0.0", "127.0.0.1"):
        with socket.create_server((host, 0)) as sock:
            listener = listening.Listener(sock)
            monkeypatch.setattr(listening, "passed_on", lambda environ, listener=listener: [listener])
            assert listening.listen(options.parse(argv, {}), {}) == [listener]
            if host == "127.0.0.1":
                assert listening.listen(options.parse([], {}), {}) == [listener]
            else:
                with pytest.raises(OSError, match="clients aren't asked who they are"):
                    listening.listen(options.parse([], {}), {})
