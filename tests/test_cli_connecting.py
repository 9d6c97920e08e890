"""cli/connecting.py: where the server is, and who asks."""

import subprocess
import sys

import pytest
from certificates import certificates
from conftest import ROOT
from fake_server import FakeServer
from terminals import Screen
from test_cli import run

import meilies_cli
from cli.connecting import place_of
from resp import command

__all__ = ["certificates", "run"]       # which pytest finds here

PONG = b"+PONG\r\n"
WRONG = b"-WRONGPASS invalid username-password pair or user is disabled.\r\n"


@pytest.fixture(autouse=True)
def no_environ(monkeypatch):
    for name in ("URL", "HOSTNAME", "PORT", "USER", "PASSWORD"):
        monkeypatch.delenv(f"MEILIES_{name}", raising=False)


def place(*arguments, **environ):
    return place_of(meilies_cli.parser().parse_args([*arguments]), environ)


def logs_in(*words):
    """A server's script: somebody logs in so, and then pings."""
    def script(peer):
        peer.answer(command("AUTH", *words), b"+OK\r\n")
        peer.answer(command("PING"), PONG)
    return script


@pytest.mark.parametrize("arguments, environ, found", [
    (["ping"], {}, {"host": "127.0.0.1", "port": 6480}),
    (["ping", "-p", "1"], {"MEILIES_HOSTNAME": "b", "MEILIES_PORT": "2"}, {"host": "b", "port": 1}),
    (["ping"], {"MEILIES_URL": "meilies://c:3", "MEILIES_PORT": "2"}, {"host": "c", "port": 3, "user": ""}),
    (["ping", "-h", "a"], {"MEILIES_URL": "meilies://c:3"}, {"host": "a", "port": 6480}),
    (["ping", "--unix", "/s"], {"MEILIES_URL": "meilies://c:3"}, {"unix": "/s"}),
    (["--unix", "/s", "ping"], {}, {"unix": "/s"}),
    (["ping", "--url", "meilies+unix:///s"], {"MEILIES_URL": "meilies://c:3"}, {"unix": "/s", "user": ""}),
    (["ping", "--user", "ann"], {"MEILIES_USER": "bob", "MEILIES_PASSWORD": "x"},
     {"host": "127.0.0.1", "port": 6480, "user": "ann", "password": "x"}),
    (["ping"], {"MEILIES_USER": "bob"}, {"host": "127.0.0.1", "port": 6480, "user": "bob"}),
    (["ping"], {"MEILIES_URL": "meilies://ann:x@c:3"}, {"host": "c", "port": 3, "user": "ann", "password": "x"}),
])
def test_an_option_goes_before_the_environment(arguments, environ, found):
    assert place(*arguments, **environ) == found


@pytest.mark.parametrize("arguments, environ, why", [
    (["ping", "--unix", "/s", "-h", "a"], {}, "found --unix and --hostname and --port, expected one place"),
    (["ping", "--unix", "/s", "--url", "meilies://a"], {}, "found --url and --unix, expected one place"),
    (["ping", "--url", "http://a"], {}, "the URL begins with 'http', expected meilies"),
    (["ping"], {"MEILIES_URL": "redis://a"}, "in the environment: the URL begins with 'redis', expected"),
])
def test_a_place_that_is_none_is_wrong_usage(run, monkeypatch, arguments, environ, why):
    for name, text in environ.items():
        monkeypatch.setenv(name, text)
    status, _, err = run(*arguments)
    assert status == 2 and why in err


def test_a_password_is_no_argument(run):
    status, _, err = run("ping", "--url", "meilies://ann:secret@host")
    assert status == 2
    assert "everybody on this machine can read here" in err and "secret" not in err


def test_the_password_may_be_in_a_file_or_in_the_environment(run, tmp_path, monkeypatch):
    (tmp_path / "password").write_text("from a file\nand more\n")
    monkeypatch.setenv("MEILIES_PASSWORD", "from there")
    with FakeServer(logs_in("ann", "from a file"), logs_in("ann", "from there"), logs_in("from there")) as server:
        at = ("-p", server.port)
        for who in (["--user", "ann", "--password-file", tmp_path / "password"], ["--user", "ann"], []):
            assert run("ping", *at, *who)[0] == 0


def test_a_password_file_that_can_not_be_read_is_an_error_in_one_line(run, tmp_path):
    assert run("ping", "--user", "a", "--password-file", tmp_path / "none") == (
        1, "", f"meilies_cli: {tmp_path / 'none'}: the password can't be read: No such file or directory\n")
    (tmp_path / "bytes").write_bytes(b"\xff")
    assert "the password can't be read" in run("ping", "--user", "a", "--password-file", tmp_path / "bytes")[2]


def test_the_password_is_asked_for_at_the_terminal_and_not_shown():
    with FakeServer(logs_in("ann", "secret")) as server:
        with Screen(ROOT / "meilies_cli.py", "ping", "-p", server.port, "--user", "ann",
                    stdin=subprocess.DEVNULL) as screen:
            screen.until("Password of ann: ")
            screen.send("secret\n")
            assert screen.end() == 0
            assert " ms" in screen.shown and "secret" not in screen.shown


@pytest.mark.parametrize("keys, status", [("\x03", 130), ("\x04", 1)])
def test_who_gives_no_password_ends_it_in_one_line(keys, status):
    with Screen(ROOT / "meilies_cli.py", "ping", "--user", "ann") as screen:
        screen.until("Password of ann: ")
        screen.send(keys)
        assert screen.end() == status


def test_without_a_terminal_nobody_is_asked():
    ended = subprocess.run([sys.executable, str(ROOT / "meilies_cli.py"), "ping", "--user", "ann"],
                           stdin=subprocess.DEVNULL, capture_output=True, text=True, start_new_session=True,
                           check=False)
    assert (ended.returncode, ended.stderr) == (
        1, "meilies_cli: user ann needs a password and there is no terminal to ask at; "
           "give --password-file or MEILIES_PASSWORD\n")


def test_a_wrong_password_and_a_missing_one_say_what_to_do(run, monkeypatch):
    def wrong(peer):
        peer.answer(command("AUTH", "ann", "guess"), WRONG)

    def missing(peer):
        peer.answer(command("stream-names"), b"-NOAUTH Authentication required.\r\n")

    with FakeServer(wrong, missing) as server:
        monkeypatch.setenv("MEILIES_PASSWORD", "guess")
        status, _, err = run("stream-names", "-p", server.port, "--user", "ann")
        assert status == 1 and "WRONGPASS invalid" in err and "guess" not in err
        monkeypatch.delenv("MEILIES_PASSWORD")
        status, _, err = run("stream-names", "-p", server.port)
        assert status == 1 and "NOAUTH" in err and "--user NAME" in err


def test_a_server_is_spoken_to_in_tls(run, certificates):
    def pings(peer):
        peer.answer(command("PING"), PONG)

    with FakeServer(pings, pings, pings, pings, tls=certificates.context) as server:
        at = ("ping", "-p", server.port)
        assert run(*at, "--ca-file", certificates.authority)[0] == 0
        assert run("ping", "--url", f"meiliess://localhost:{server.port}", "--ca-file", certificates.authority)[0] == 0
        assert run(*at, "--insecure")[0] == 0
        status, _, err = run(*at, "--tls")
        assert status == 1 and "certificate" in err and err.count("\n") == 1


def test_a_certificate_that_is_none_is_an_error_in_one_line(run, tmp_path):
    (tmp_path / "none").write_text("")
    status, _, err = run("ping", "--ca-file", tmp_path / "none")
    assert status == 1 and "found no certificates in it" in err and err.count("\n") == 1


def test_a_server_is_reached_by_a_socket_of_the_machine(run, tmp_path):
    def pings(peer):
        peer.answer(command("PING"), PONG)

    with FakeServer(pings, unix=str(tmp_path / "socket")) as server:
        assert server and run("ping", "--unix", tmp_path / "socket")[0] == 0


def test_a_server_without_users_does_not_make_the_password_shown(run, monkeypatch):
    """Its error repeats what it was asked."""
    def script(peer):
        peer.answer(command("AUTH", "ann", "secret"),
                    b"-ERR unknown command 'AUTH', with args beginning with: 'ann' 'secret'\r\n")

    monkeypatch.setenv("MEILIES_PASSWORD", "secret")
    with FakeServer(script) as server:
        assert run("ping", "-p", server.port, "--user", "ann") == (
            1, "", "meilies_cli: the server knows no users, so nobody can log in\n")
