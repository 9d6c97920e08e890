"""Messages to systemd, read from a real datagram socket."""

import logging
import os
import socket

import pytest

from server import systemd


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path):
    """systemd's side: a datagram socket and the NOTIFY_SOCKET that leads to it."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@meilies-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(name.replace("@", "\0", 1))
        sock.settimeout(5)
        yield Manager(sock, name)


class Manager:
    def __init__(self, sock, name):
        self.sock = sock
        self.environ = {"NOTIFY_SOCKET": name}

    def watching(self, micros, **more):
        return {**self.environ, "WATCHDOG_USEC": str(micros), **more}

    def heard(self):
        return self.sock.recv(4096).decode("utf-8")

    def heard_nothing(self):
        self.sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            self.sock.recv(4096)
        self.sock.settimeout(5)
        return True


def test_ready_is_told_with_a_status(manager):
    systemd.Notifier(manager.environ).ready("listening on 127.0.0.1:6480")
    assert manager.heard() == "READY=1\nSTATUS=listening on 127.0.0.1:6480"


def test_stopping_is_told(manager):
    systemd.Notifier(manager.environ).stopping()
    assert manager.heard() == "STOPPING=1\nSTATUS=stopping"


def test_a_status_cannot_smuggle_in_another_message(manager):
    systemd.Notifier(manager.environ).status("a\nMAINPID=1\udc80")
    assert manager.heard() == "STATUS=a MAINPID=1\\udc80"


def test_a_sign_of_life_comes_at_half_of_the_watchdog_time(manager):
    notifier = systemd.Notifier(manager.watching(20_000_000))
    assert notifier.tick(now=100) == 10
    assert manager.heard() == "WATCHDOG=1"
    assert notifier.tick(now=104) == 6
    assert manager.heard_nothing()
    assert notifier.tick(now=110.5) == 10
    assert manager.heard() == "WATCHDOG=1"


def test_a_watchdog_for_this_process_is_answered(manager):
    notifier = systemd.Notifier(manager.watching(2_000_000, WATCHDOG_PID=str(os.getpid())))
    assert notifier.tick(now=0) == 1
    assert manager.heard() == "WATCHDOG=1"


def test_a_watchdog_for_another_process_is_not_answered(manager):
    notifier = systemd.Notifier(manager.watching(2_000_000, WATCHDOG_PID=str(os.getppid())))
    assert notifier.tick(now=0) is None
    assert manager.heard_nothing()


@pytest.mark.parametrize("micros", ["", "0", "-1", "soon", "٣", "9" * 5000])
def test_a_watchdog_time_that_is_none_asks_for_no_signs(manager, micros):
    assert systemd.Notifier(manager.watching(micros)).tick(now=0) is None
    assert manager.heard_nothing()


@pytest.mark.parametrize("address", [None, "", "vsock:2:1234", "relative/path"])
def test_without_a_socket_every_call_does_nothing(address, caplog):
    environ = {} if address is None else {"NOTIFY_SOCKET": address}
    notifier = systemd.Notifier({**environ, "WATCHDOG_USEC": "2000000"})
    notifier.ready("x")
    notifier.status("x")
    notifier.stopping()
    assert notifier.tick(now=0) is None
    assert caplog.records == []


def test_a_socket_that_is_gone_is_one_line_in_the_log_and_no_error(tmp_path, caplog):
    path = str(tmp_path / "notify")
    notifier = systemd.Notifier({"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "2000000"})
    notifier.ready("x")
    assert notifier.tick(now=0) == 1
    notifier.stopping()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert path in caplog.text


def test_a_second_incident_is_a_second_line(tmp_path, caplog):
    path = str(tmp_path / "notify")
    notifier = systemd.Notifier({"NOTIFY_SOCKET": path})
    notifier.status("1")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        notifier.status("2")
        assert sock.recv(100) == b"STATUS=2"
    notifier.status("3")
    assert len(caplog.records) == 2


def test_a_full_socket_does_not_hold_up_the_loop(manager):
    notifier = systemd.Notifier(manager.watching(2_000_000))
    for now in range(1000):
        assert notifier.tick(now) == 1
    assert manager.heard() == "WATCHDOG=1"


def test_a_server_tells_when_it_is_ready_and_when_it_stops(manager, server):
    running = server(**manager.watching(20_000_000))
    ready, _, status = manager.heard().partition("\n")
    assert ready == "READY=1"
    assert f"127.0.0.1:{running.port}" in status
    assert manager.heard() == "WATCHDOG=1"
    assert running.stop() == 0
    assert manager.heard().startswith("STOPPING=1\n")
