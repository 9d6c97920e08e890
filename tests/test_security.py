"""What docs/security.md promises and no one module holds alone."""

import ast
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from certificates import certificates
from conftest import ROOT, SECONDS, clean_environ
from serving import Client
from test_layers import SOURCES, imports

import resp
from meilies_client import Client as OurClient
from meilies_client import NewEvent
from server.users import Cost, Users, create

__all__ = ["certificates"]

each_source = pytest.mark.parametrize("path", [path for _, path in SOURCES],
                                      ids=[str(path.relative_to(ROOT)) for _, path in SOURCES])

PASSWORD = "pass-word-of-ops"
WRONG = "a-password-that-is-wrong"
SECRET_DATA = "data-of-an-event"


# -- code -----------------------------------------------------------------------

# They run what they read, or take as much memory as it says; or numbers that nobody may guess would follow from
# others (random).
MODULES = {"pickle", "marshal", "shelve", "dbm", "gzip", "bz2", "lzma", "zipfile", "tarfile", "xml", "code", "pty",
           "imp", "xmlrpc", "telnetlib", "ctypes", "random"}
# Whose names say enough, wherever they are from.
CALLS = {"eval", "exec", "compile", "__import__", "system", "popen", "mktemp", "import_module",
         "_create_unverified_context", "input"}
FINE = {("re", "compile"), ("platform", "system")}


def calls(path):
    """(module or None, name, node) of each call."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            function = node.func
            if isinstance(function, ast.Name):
                yield None, function.id, node
            elif isinstance(function, ast.Attribute):
                yield getattr(function.value, "id", ""), function.attr, node


@each_source
def test_nothing_that_is_read_is_run(path):
    assert not {name.split(".")[0] for name in imports(path)} & MODULES
    assert not {(module, name) for module, name, _ in calls(path) if name in CALLS} - FINE


@each_source
def test_no_shell_is_started_that_nobody_asked_for(path):
    """`inspect` starts the user's own, on the command that the user gave."""
    for _, _, node in calls(path):
        assert not any(word.arg == "shell" for word in node.keywords), f"{path.name}:{node.lineno}"


@each_source
def test_nothing_is_inflated_without_a_bound(path):
    for module, name, node in calls(path):
        if name == "decompress":
            assert module != "zlib" and len(node.args) == 2, f"{path.name}:{node.lineno}: expected a bound"


# -- files ------------------------------------------------------------------------

@pytest.fixture
def careless():
    """A process that gives away all that it makes, unless it takes care."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def users(tmp_path):
    path = str(tmp_path / "users")
    create(path)
    Users(path, Cost(2, 8, 1)).change("ops", ["on", f">{PASSWORD}", "+@all", "~*"])
    return path


def modes(folder):
    """{path: mode} of what is in a folder, and its own."""
    found = {path: path.lstat().st_mode for path in [folder, *folder.rglob("*")]}
    return {str(path.relative_to(folder)): (stat.S_ISDIR(mode), stat.S_IMODE(mode)) for path, mode in found.items()}


def test_all_that_is_written_is_its_owners_alone(careless, server, tmp_path, users):
    running = server("--users", users, "--backup-path", str(tmp_path / "copies"), "--hash-chain",
                     "--segment-size", "64K", "--unix-socket", "meilies.sock", "--log-file", str(tmp_path / "log"))
    with OurClient(port=running.port, user="ops", password=PASSWORD) as client:
        for i in range(20):
            client.append_all([NewEvent("orders", "created", os.urandom(8000), id=f"id-{i}", tags=("a",))])
        client.call("group-create", "workers", "stream", "orders", "0")
        client.back_up("monday")
    assert os.lstat(tmp_path / "meilies.sock").st_mode & 0o077 == 0
    assert running.stop() == 0
    subprocess.run([sys.executable, str(ROOT / "meilies_server.py"), "export", "--db-path", str(tmp_path / "db"),
                    "--file", str(tmp_path / "lines")], check=True, capture_output=True, timeout=SECONDS)
    for folder in "db", "copies":
        found = modes(tmp_path / folder)
        assert len(found) > 3
        assert {name: mode for name, mode in found.items() if mode not in ((True, 0o700), (False, 0o600))} == {}
    for name in "users", "lines", "log":
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600, name


def refused(tmp_path, *argv):
    """Run the server, which must not start; what it says."""
    ended = subprocess.run([sys.executable, str(ROOT / "meilies_server.py"), "--port", "0", *argv],
                           cwd=tmp_path, env=clean_environ(), capture_output=True, text=True, timeout=SECONDS)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (1, "", 1)
    return ended.stderr


def test_a_folder_that_is_a_link_is_refused(tmp_path):
    (tmp_path / "there").mkdir()
    os.symlink("there", tmp_path / "db")
    assert f"{tmp_path / 'db'}: found a symbolic link to there" in refused(tmp_path, "--db-path", "db")
    assert os.listdir(tmp_path / "there") == []


@pytest.mark.skipif(os.geteuid() != 0, reason="who isn't root can't give files away")
def test_a_folder_of_another_user_is_refused_even_by_root(tmp_path):
    (tmp_path / "db").mkdir()
    os.chown(tmp_path / "db", 12345, -1)
    assert "found a folder of user 12345, expected one of user 0" in refused(tmp_path, "--db-path", "db")
    assert os.listdir(tmp_path / "db") == []


# -- secrets ----------------------------------------------------------------------

def test_no_secret_is_shown_where_others_look(server, tmp_path, users, certificates):
    """Not in the process's arguments or environment, the log, INFO, lists, errors, settings or metrics."""
    running = server("--users", users, "--log-level", "debug", "--tls-port", "0", "--tls-certificate",
                     certificates.server[0], "--tls-key", certificates.server[1], "--slowlog-log-slower-than", "0")
    client = Client("127.0.0.1", running.port)
    shown = [client.ask("auth", "ops", WRONG), client.ask("hello", "3", "auth", "ops", WRONG, "setname", "me")]
    assert client.ask("auth", "ops", PASSWORD) == b"OK"
    assert client.ask("publish", "orders", "created", SECRET_DATA) == b"OK"
    assert client.ask("acl", "setuser", "bob", "on", f">{WRONG}") == b"OK"
    shown.append(client.ask("acl", "setuser", "bob", f">{WRONG}", "+@nonsense"))
    shown.append(client.ask("auth", "ops", "x", WRONG, "x"))
    for request in (["info", "all"], ["client", "list"], ["slowlog", "get", "1000"], ["config", "get", "*"],
                    ["acl", "list"], ["acl", "getuser", "bob"], ["command"]):
        shown.append(client.ask(*request))
    client.close()
    with open(certificates.server[1]) as file:
        key = file.read().splitlines()[1]
    text = repr(shown) + running.log.read_text()
    if os.path.isdir("/proc/self"):
        for name in "cmdline", "environ":
            text += Path(f"/proc/{running.process.pid}/{name}").read_text(errors="replace")
    for secret in PASSWORD, WRONG, SECRET_DATA, key:
        assert secret not in text


def test_no_program_takes_a_password_as_an_argument():
    """Everybody on the machine can read those."""
    for program in "meilies_server.py", "meilies_cli.py":
        shown = subprocess.run([sys.executable, str(ROOT / program), "--help"], capture_output=True, text=True,
                               env=clean_environ(), timeout=SECONDS).stdout
        assert shown and not re.search(r"--(password|pass|secret|token)[ =]", shown)


# -- bytes from strangers ------------------------------------------------------------

HOSTILE = [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"POST /publish HTTP/1.0\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"\x80\x2e\x01\x03\x01", b"SSH-2.0-x\r\n", bytes(100), b"\xff" * 100, b"*-1\r\n" * 10 + b"!",
    b"*1\r\n$99999999999\r\n",
]


@pytest.mark.parametrize("sent", HOSTILE)
def test_what_is_not_the_protocol_ends_its_own_connection_and_nothing_else(server, connect, sent):
    running = server()
    peer, other = connect(running.port), connect(running.port)
    peer.send(sent)
    peer.send(resp.command("publish", "orders", "created", "smuggled"))
    try:
        found = b""
        while True:
            more = peer.sock.recv(4096)
            if not more:
                break
            found += more
        assert found.startswith(b"-ERR") or not found
    except ConnectionResetError:
        pass
    other.command("last-event-number", "orders")
    other.recv_exactly(b"*3\r\n+last-event-number\r\n+orders\r\n$-1\r\n")

# -- the page -------------------------------------------------------------------------

def test_each_test_that_the_page_names_is_there():
    page = (ROOT / "docs" / "security.md").read_text()
    there = {(path.name, name) for path in (ROOT / "tests").glob("test_*.py")
             for name in re.findall(r"^def (test_\w+)", path.read_text(), re.M)}
    named = re.findall(r"`(test_\w+\.py)(?:::(test_\w+))?`", page)
    assert len(named) > 20
    for file, test in named:
        assert (file, test) in there if test else (ROOT / "tests" / file).exists(), f"{file}::{test}"
