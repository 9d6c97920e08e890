"""The command that changes users: `meilies_server.py user` (server/accounts.py)."""

import io
import os
import signal
import stat
import subprocess
import sys
from types import SimpleNamespace

import pytest
from conftest import ROOT, SECONDS, clean_environ
from terminals import Screen

from server import accounts
from server.users import Cost, Users, rules_of


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "users")


@pytest.fixture
def user(path, monkeypatch, capsys):
    """user(*argv, stdin="") -> (exit code, what it printed, what it complained); passwords cost nothing there."""
    monkeypatch.setattr(accounts, "Users", lambda path: Users(path, Cost(2, 8, 1)))

    def run(*argv, stdin="", environ=None):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        try:
            code = accounts.run(list(argv), {"MEILIES_USERS": path} if environ is None else environ)
        except SystemExit as stop:
            code = stop.code
        return (code, *capsys.readouterr())
    return run


def test_a_user_is_added_with_a_password_from_a_pipe(user, path):
    assert user("add", "ann", "+@read", "~orders-*", stdin="word\nmore\n") == (0, "ann on +@read ~orders-*\n", "")
    assert Users(path).check("ann", b"word", "here")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_a_user_without_a_password_is_added_if_that_is_said(user, path):
    assert user("add", "default", "NOPASS") == (0, "default on nopass\n", "")
    assert user("add", "bob", "nopass", "resetpass", "off") == (
        0, "bob off  (without a password: nobody can log in)\n", "")


def test_a_user_is_changed_and_only_as_asked(user, path):
    user("add", "ann", "+@read", "~a", stdin="word")
    assert user("set", "ann", "-@read", "--users", path, "+@append", environ={})[:2] == (0, "ann on +@append ~a\n")
    assert Users(path).check("ann", b"word", "here")
    assert user("set", "ann", "--password", stdin="new\r\n")[:2] == (0, "ann on +@append ~a\n")
    assert Users(path).check("ann", b"new", "here") and not Users(path).check("ann", b"word", "here")


def test_users_are_listed_and_removed(user, path):
    user("add", "bob", stdin="word")
    user("add", "ann", stdin="word")
    assert user("list") == (0, "ann on\nbob on\n", "")
    assert user("remove", "bob") == (0, "", "")
    assert [one.name for one in Users(path)] == ["ann"]


@pytest.mark.parametrize("argv, code, text", [
    (["add", "ann"], 1, "there is a user ann already"),
    (["set", "bob", "on"], 1, "there is no user bob"),
    (["remove", "bob"], 1, "there is no user bob"),
    (["set", "ann"], 2, "there is nothing to change"),
    (["set", "ann", "nonsense"], 2, "found 'nonsense'"),
    (["set", "ann", "-@nonsense"], 2, "expected -@ and one of read"),
    (["set", "ann", ">hunter2"], 2, "a password among the arguments"),
    (["set", "ann", "<hunter2"], 2, "a password among the arguments"),
    (["set", "ann", "--password"], 2, "a password of 0 bytes"),
    (["add", "a b"], 2, "expected up to 64"),
    (["add"], 2, "expected a NAME"),
    (["remove", "ann", "on"], 2, "expected a NAME and no rules"),
    (["list", "ann"], 2, "expected no NAME"),
    (["list", "--nonsense"], 2, "--nonsense: no such option"),
    (["list", "--users"], 2, "expected one argument"),
    (["list", "--users", ""], 2, "--users is missing"),
    (["list", "--users", "/nowhere/users"], 2, "/nowhere/users: No such file"),
    (["add", "bob", "--users", "/nowhere/users"], 2, "No such file"),
    (["nonsense"], 2, "found 'nonsense', expected add, set, remove, list"),
    ([], 2, "expected add, set, remove, list"),
])
def test_what_can_not_be_done_is_said_in_a_line(user, path, argv, code, text):
    user("add", "ann", stdin="word")
    before = rules_of(Users(path).get("ann"))
    found, printed, complained = user(*argv)
    assert (found, printed) == (code, "")
    assert complained.startswith("meilies-server user: ") and text in complained and complained.count("\n") == 1
    assert "hunter2" not in complained
    assert [rules_of(one) for one in Users(path)] == [before]


def test_a_file_that_can_not_be_used_is_left_as_it_is(user, path):
    with open(path, "w") as file:
        file.write("something else\n")
    assert user("add", "ann", stdin="word")[0] == user("list")[0] == 2
    with open(path) as file:
        assert file.read() == "something else\n"


def test_help_says_what_there_is(user):
    for argv in (["--help"], ["add", "--help"], ["list", "--help"]):
        code, printed, _ = user(*argv)
        assert code == 0 and printed.startswith("usage: python3 meilies_server.py user") and "+@RIGHT" in printed


def test_at_a_terminal_the_password_is_asked_for_twice(user, path, monkeypatch):
    answers = ["word", "word", "one", "other"]
    monkeypatch.setattr(accounts.getpass, "getpass", lambda prompt: answers.pop(0))
    monkeypatch.setattr(accounts, "sys", SimpleNamespace(
        stdin=SimpleNamespace(isatty=lambda: True), stdout=sys.stdout, stderr=sys.stderr))
    assert accounts.run(["add", "ann"], {"MEILIES_USERS": path}) == 0
    assert Users(path).check("ann", b"word", "here")
    assert accounts.run(["set", "ann", "--password"], {"MEILIES_USERS": path}) == 2


def test_ctrl_c_at_the_question_changes_nothing(path):
    with Screen(ROOT / "meilies_server.py", "user", "add", "ann", "--users", path) as screen:
        screen.until("password of ann:")
        screen.send("\x03")
        assert screen.end() == 130
        assert "nothing was changed" in screen.shown
    assert not os.path.exists(path) or not list(Users(path))


def test_a_pipe_that_nobody_reads_is_no_traceback(path):
    script = [sys.executable, str(ROOT / "meilies_server.py"), "user"]
    environ = clean_environ(MEILIES_USERS=path)
    subprocess.run([*script, "add", "ann"], input=b"word", env=environ, timeout=SECONDS, check=True,
                   stdout=subprocess.DEVNULL)
    lister = subprocess.Popen([*script, "list"], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    lister.stdout.close()
    with lister.stderr as complaints:
        assert complaints.read() == b""
    assert lister.wait(SECONDS) == 2


def test_a_server_takes_the_file_over_at_sighup(user, path, server, connect):
    user("add", "ann", "+@append", "~*", stdin="word")
    running = server("--users", path)
    peer = connect(running.port)
    peer.command("auth", "ann", "word")
    peer.command("publish", "s", "x", "d")
    peer.recv_exactly(b"+OK\r\n" * 2)
    user("set", "ann", "off")
    running.process.send_signal(signal.SIGHUP)
    peer.recv_exactly(b"-NOAUTH the user of this connection may not be logged in\r\n")
    peer.recv_end()


def test_a_server_does_not_start_with_a_file_of_users_that_it_can_not_use(path, tmp_path):
    for text, why in ((None, "No such file"), ("nonsense", "expected '# meilies users, version 1'")):
        if text:
            with open(path, "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
                file.write(text)
        done = subprocess.run([sys.executable, str(ROOT / "meilies_server.py"), "--db-path", str(tmp_path / "db"),
                               "--users", path, "--port", "0"], env=clean_environ(), capture_output=True, text=True,
                              timeout=SECONDS, check=False)
        assert done.returncode == 1 and why in done.stderr and done.stderr.count("\n") == 1
