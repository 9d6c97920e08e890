"""What a user gets: files that run wherever they are copied, one-file programs, and plain errors."""

import configparser
import os
import shutil
import socket
import subprocess
import sys
import urllib.request
import zipfile

import pytest
from conftest import ROOT, SECONDS, Server, clean_environ

SERVER_FILES = ("meilies_server.py", "resp.py", "server", "store", "terminal")
CLIENT_FILES = ("meilies_cli.py", "meilies_client.py", "meilies_operations.py", "meilies_session.py", "resp.py", "cli",
                "terminal")


def copy(names, directory):
    """Copy the files that README says to copy, and nothing else."""
    for name in names:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, directory / name)
    return directory


def run(*argv, **environ):
    """Run to the end, from the root directory: nothing may depend on where that is."""
    return subprocess.run(argv, env=clean_environ(**environ), cwd="/", stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=SECONDS)


def python(*argv, **environ):
    return run(sys.executable, *map(str, argv), **environ)


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """The directory that `make pyz` fills."""
    directory = tmp_path_factory.mktemp("dist")
    built = python(ROOT / "make" / "pyz.py", directory)
    assert built.returncode == 0, built.stderr
    return directory


@pytest.fixture
def start(tmp_path):
    """Start a server from any file, with options for Python before it; it ends with the test."""
    started = []

    def begin(script, *python_options, options=()):
        started.append(Server(
            ["--db-path", str(tmp_path / "db"), "--port", "0", *options], {}, tmp_path / "server.log",
            script=script, python=python_options))
        return started[-1].wait_until_listening()

    yield begin
    for running in started:
        running.end()


def talk(port, *cli):
    """Publish one event and ask for its number, with the program that `cli` runs."""
    at = ("-h", "127.0.0.1", "-p", port)
    published = python(*cli, *at, "publish", "orders", "created", "one")
    assert (published.returncode, published.stderr) == (0, "")
    asked = python(*cli, *at, "last-event-number", "orders")
    assert (asked.returncode, asked.stderr) == (0, "")
    return asked.stdout


# -- copied files -------------------------------------------------------------

def test_copied_files_run_from_any_directory(tmp_path, start):
    there = tmp_path / "any where"
    there.mkdir()
    server = start(copy(SERVER_FILES, there) / "meilies_server.py")
    here = tmp_path / "client"
    here.mkdir()
    assert "0" in talk(server.port, copy(CLIENT_FILES, here) / "meilies_cli.py")


@pytest.mark.parametrize("name, files", [
    ("meilies_server.py", SERVER_FILES), ("meilies_cli.py", CLIENT_FILES)])
def test_help_needs_nothing_but_the_copied_files_and_80_columns(name, files, tmp_path):
    shown = python("-S", "-E", copy(files, tmp_path) / name, "--help", COLUMNS="80")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith("usage: ")
    assert max(map(len, shown.stdout.splitlines())) <= 80


# -- one file -----------------------------------------------------------------

def test_the_one_file_programs_run_isolated(programs, start):
    server = start(programs / "meilies-server.pyz", "-I")
    assert "0" in talk(server.port, "-I", programs / "meilies-cli.pyz")


@pytest.mark.parametrize("form", ["copied", "one file"])
def test_the_console_has_its_pages_with_it(form, programs, tmp_path, start):
    copied = form == "copied"
    script = copy(SERVER_FILES, tmp_path) / "meilies_server.py" if copied else programs / "meilies-server.pyz"
    server = start(script, options=("--http-port", "0"))
    with urllib.request.urlopen(server.console_url(), timeout=SECONDS) as page:
        assert b"<title>MeiliES</title>" in page.read()


def test_a_one_file_program_runs_by_its_name_alone(programs):
    shown = run(str(programs / "meilies-server.pyz"), "--version")
    assert shown.returncode == 0
    assert shown.stdout.startswith("meilies-server ")


def test_the_same_sources_build_the_same_bytes(programs, tmp_path):
    copy({*SERVER_FILES, *CLIENT_FILES, "make"}, tmp_path)
    for path in tmp_path.rglob("*.py"):
        path.chmod(0o600)
        os.utime(path, (1, 1))
    again = python(tmp_path / "make" / "pyz.py", tmp_path / "dist", TZ="Asia/Kathmandu", PYTHONHASHSEED="7")
    assert again.returncode == 0, again.stderr
    for name in "meilies-server.pyz", "meilies-cli.pyz":
        assert (tmp_path / "dist" / name).read_bytes() == (programs / name).read_bytes()


@pytest.mark.parametrize("name, files", [
    ("meilies-server.pyz", SERVER_FILES), ("meilies-cli.pyz", CLIENT_FILES)])
def test_a_one_file_program_holds_its_own_sources_alone(name, files, programs):
    sources = {str(path.relative_to(ROOT)) for file in files
               for path in ([ROOT / file] if file.endswith(".py") else (ROOT / file).rglob("*.*"))
               if path.suffix != ".pyc"}
    with zipfile.ZipFile(programs / name) as archive:
        held = {entry for entry in archive.namelist() if not entry.endswith("/")}
    assert held == sources | {"__main__.py"}


def test_pyz_without_a_directory_is_a_usage_error():
    ended = python(ROOT / "make" / "pyz.py")
    assert (ended.returncode, ended.stderr) == (1, "usage: python3 make/pyz.py DIRECTORY\n")


def test_setup_cfg_names_every_module_and_package():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    modules, packages = (setup["options"][key].split() for key in ("py_modules", "packages"))
    assert sorted(modules) == sorted(path.stem for path in ROOT.glob("*.py"))
    assert sorted(packages) == sorted(path.parent.name for path in ROOT.glob("[a-z]*/__init__.py")
                                      if path.parent.name not in ("bench", "tests"))
    assert setup["options"]["python_requires"] == ">=3.9"


# -- errors -------------------------------------------------------------------

def one_line(ended, code):
    """The single line on stderr of a program that refused to start."""
    assert ended.returncode == code, ended.stderr
    assert ended.stdout == ""
    assert ended.stderr.endswith("\n") and ended.stderr.count("\n") == 1, ended.stderr
    return ended.stderr[:-1]


def serve(*argv, **environ):
    return python(ROOT / "meilies_server.py", "--port", "0", *argv, **environ)


@pytest.mark.parametrize("argv", [
    ("--prot", "1"), ("--port", "-1"), ("--sync", "often"), ("--hostname", "0.0.0.0"),
    ("--config", "/no/such"), ("extra",), ("--db-path", "")])
def test_a_usage_error_of_the_server_is_one_line_and_code_2(argv):
    assert one_line(serve(*argv), 2).startswith("meilies-server: not started: ")


@pytest.mark.parametrize("argv", [
    (), ("frobnicate",), ("--nonsense",), ("-p", "x", "stream-names"), ("publish", "orders"),
    ("subscribe", "orders:x")])
def test_a_usage_error_of_the_client_is_code_2_and_no_traceback(argv):
    ended = python(ROOT / "meilies_cli.py", *argv)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.strip()
    assert "Traceback" not in ended.stderr


def test_a_server_that_is_not_there_is_one_line_and_code_1():
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    line = one_line(python(ROOT / "meilies_cli.py", "-p", port, "stream-names"), 1)
    assert str(port) in line


def test_a_directory_below_a_file_is_one_line_and_code_1(tmp_path):
    file = tmp_path / "file"
    file.touch()
    assert str(file) in one_line(serve("--db-path", file / "db"), 1)


def test_a_file_in_the_place_of_the_directory_is_one_line_and_code_1(tmp_path):
    file = tmp_path / "file"
    file.touch()
    assert str(file) in one_line(serve("--db-path", file), 1)


def test_missing_rights_are_one_line_and_code_1(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    # The superuser has every right, until these two are taken away.
    lowered = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
    server = (sys.executable, str(ROOT / "meilies_server.py"), "--port", "0")
    line = one_line(run(*lowered, *server, "--db-path", str(closed / "db")), 1)
    assert str(closed) in line
    assert "Permission denied" in line


def test_a_port_in_use_is_one_line_and_code_1(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = python(ROOT / "meilies_server.py", "--db-path", tmp_path / "db", "--port", port)
    assert str(port) in one_line(ended, 1)


def test_a_directory_in_use_is_one_line_and_code_1(server, tmp_path):
    server()
    assert str(tmp_path / "db") in one_line(serve("--db-path", tmp_path / "db"), 1)
