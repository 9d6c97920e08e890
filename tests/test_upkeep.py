"""server/upkeep.py: check and repair at the command line."""

import json
import subprocess
import sys

import pytest
from conftest import ROOT, clean_environ
from disk import quick_index
from test_check import opened, overwrite
from terminals import Terminal
from test_repair import damaged

from meilies_server import main
from server import upkeep
from store import Store
from store.segment import HEADER_SIZE

__all__ = ["quick_index"]       # which pytest finds here, and uses by itself


def ran(capsys, *argv, **environ):
    """(exit code, lines on stdout, text on stderr)."""
    try:
        code = main(list(argv), environ)
    except SystemExit as end:
        code = end.code
    out, err = capsys.readouterr()
    return code, out.splitlines(), err


def test_a_sound_store_is_said_to_be_sound(tmp_path, capsys):
    with opened(tmp_path) as store:
        store.append("s", "n", b"one")
    assert ran(capsys, "check", "--db-path", str(tmp_path)) == (0, [f"{tmp_path}: sound, 1 event in 1 stream"], "")


def test_damage_is_named_and_repaired(tmp_path, capsys):
    path, byte, one = damaged(tmp_path)
    named = [f"{path.name}: bytes {byte} to {byte + one.size} are damaged (its body doesn't match its checksum; it "
             f"looks like event 3 of stream 'a'): 1 event is lost, position 6", "    event 3 of stream 'a'"]
    steps = [f"{path.name}: bytes {byte} to {byte + one.size} are kept, and become a gap", "index.sqlite3 is made anew"]
    argv = "--db-path", str(tmp_path)
    assert one.position == 6
    assert ran(capsys, "check", *argv) == (1, [*named, f"{tmp_path}: damaged, 11 events in 2 streams, 1 event lost; "
                                               f"'repair --dry-run' says what can be done"], "")
    assert ran(capsys, "repair", *argv, "--dry-run") == (
        1, [*named, *(f"would be done: {step}" for step in steps)], "")
    assert ran(capsys, "repair", *argv) == (
        0, [*named, *(f"done: {step}" for step in steps),
            f"{tmp_path}: repaired, 11 events saved, 1 lost; what was taken out is in cut/"], "")
    assert ran(capsys, "check", *argv) == (
        0, ["note: cut/: 1 file, kept when the log was cut or repaired",
            f"note: {path.name}: byte {byte}: 1 event lost to damage, position 6; repaired",
            f"{tmp_path}: sound, 11 events in 2 streams"], "")
    assert ran(capsys, "repair", *argv)[:2] == (
        0, ["note: cut/: 1 file, kept when the log was cut or repaired",
            f"note: {path.name}: byte {byte}: 1 event lost to damage, position 6; repaired",
            f"{tmp_path}: there is nothing to repair"])


def test_what_was_found_is_said_as_json_for_scripts(tmp_path, capsys):
    damaged(tmp_path)
    for argv, expected, code in (
            (["check"], {"sound": False, "events": 11, "streams": 2, "lost": 1}, 1),
            (["repair", "--dry-run"], {"sound": False, "done": False}, 1),
            (["repair"], {"sound": False, "done": True}, 0),
            (["check"], {"sound": True, "problems": []}, 0)):
        ended, [line], error = ran(capsys, *argv, "--db-path", str(tmp_path), "--json")
        found = json.loads(line)
        assert (ended, error) == (code, "") and {name: found[name] for name in expected} == expected
        assert all(isinstance(text, str) for name in ("problems", "notes", "steps") for text in found.get(name, ()))


def test_a_damaged_header_loses_nothing_and_says_so(tmp_path, capsys):
    with opened(tmp_path) as store:
        store.append("s", "n", b"one")
    overwrite(next(tmp_path.glob("*.segment")), 0, bytes(HEADER_SIZE))
    code, lines, _ = ran(capsys, "check", "--db-path", str(tmp_path))
    assert (code, lines[-1]) == (
        1, f"{tmp_path}: damaged, 1 event in 1 stream; 'repair --dry-run' says what can be done")


@pytest.mark.parametrize("command", ["check", "repair"])
def test_a_store_that_is_in_use_is_left_alone(tmp_path, capsys, command):
    with opened(tmp_path):
        code, lines, error = ran(capsys, command, "--db-path", str(tmp_path))
    assert (code, lines) == (2, [])
    assert error.startswith(f"meilies-server {command}: {tmp_path} is in use by process ")


@pytest.mark.parametrize("command", ["check", "repair"])
def test_a_folder_that_is_not_there_is_named(tmp_path, capsys, command):
    assert ran(capsys, command, "--db-path", str(tmp_path / "none")) == (
        2, [], f"meilies-server {command}: {tmp_path / 'none'}: No such file or directory\n")


def test_what_cannot_be_repaired_is_said_with_exit_code_1(tmp_path, capsys):
    with opened(tmp_path) as store:
        store.append("s", "n", b"one")
    next(tmp_path.glob("*.segment")).unlink()
    code, _, error = ran(capsys, "repair", "--db-path", str(tmp_path))
    assert code == 1
    assert error == (f"meilies-server repair: {tmp_path}: it can't be repaired: no segment is there, and 1 events were "
                     f"on disk.  Nothing was changed\n")


@pytest.mark.parametrize("argv, complaint", [
    (["check", "--dry-run"], "meilies-server check: --dry-run: no such option\n"),
    (["check", "--db-path"], "meilies-server check: --db-path: expected one argument\n"),
    (["repair", "--db-path", ""], "meilies-server repair: --db-path: found '', expected a path\n"),
    (["check", "--port", "1"], "meilies-server check: --port: no such option\n"),
])
def test_wrong_usage_is_said_in_one_line_with_exit_code_2(capsys, argv, complaint):
    assert ran(capsys, *argv) == (2, [], complaint)


def test_the_folder_may_be_a_variable_or_in_a_file(tmp_path, capsys):
    with opened(tmp_path / "db"):
        pass
    (tmp_path / "ini").write_text(f"[server]\ndb-path = {tmp_path / 'db'}\nport = 1\n")
    said = [f"{tmp_path / 'db'}: sound, 0 events in 0 streams"]
    assert ran(capsys, "check", MEILIES_DB_PATH=str(tmp_path / "db")) == (0, said, "")
    assert ran(capsys, "check", "--config", str(tmp_path / "ini")) == (0, said, "")


@pytest.mark.parametrize("command", ["check", "repair"])
def test_help_names_the_exit_codes(capsys, command):
    code, lines, _ = ran(capsys, command, "--help")
    assert code == 0
    assert f"usage: python3 meilies_server.py {command} [OPTION]..." in lines
    assert any(line.startswith("exit status: 0 ") for line in lines)
    assert any("--dry-run" in line for line in lines) == (command == "repair")


def test_it_runs_as_a_program(tmp_path):
    damaged(tmp_path)
    done = subprocess.run([sys.executable, str(ROOT / "meilies_server.py"), "check", "--db-path", str(tmp_path)],
                          env=clean_environ(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    assert "event 3 of stream 'a'" in done.stdout


def test_on_a_terminal_it_says_how_far_it_is_and_wipes_that_out(tmp_path, monkeypatch, capsys):
    with opened(tmp_path) as store:
        store.append("s", "n", b"one")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert main(["check", "--db-path", str(tmp_path)], {}) == 0
    first, *_, last = terminal.getvalue().split("\033[K")
    assert first.startswith("\rcheck ") and "/s" in first
    assert (terminal.getvalue()[-4:], last) == ("\r\033[K", "")


# -- lines of JSON ------------------------------------------------------------

def test_a_store_goes_through_a_file(tmp_path, capsys):
    one, other, file = str(tmp_path / "one"), str(tmp_path / "other"), str(tmp_path / "lines")
    with Store(one) as store:
        store.append("s", "n", b"data", id=b"id")
        before = store.read_all()
    assert ran(capsys, "export", "--db-path", one, "--file", file) == (0, [f"{file}: 1 event"], "")
    assert ran(capsys, "import", "--db-path", other, "--file", file) == (0, [f"{other}: 1 event"], "")
    assert ran(capsys, "import", "--db-path", other, "--file", file) == (
        0, [f"{other}: 1 event, 1 of them were there already"], "")
    with Store(other) as store:
        assert store.read_all() == before


def test_a_store_goes_through_a_pipe(tmp_path):
    with Store(str(tmp_path / "one")) as store:
        for i in range(10):
            store.append("s", "n", b"%d" % i)
        before = store.read_all()
    program = f"{sys.executable} {ROOT / 'meilies_server.py'}"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {program} export --db-path one | {program} import "
                           f"--db-path other"], cwd=tmp_path, env=clean_environ(), capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "other: 10 events\n", "")
    with Store(str(tmp_path / "other")) as store:
        assert store.read_all() == before


def test_a_reader_that_goes_away_ends_an_export_quietly(tmp_path):
    with Store(str(tmp_path / "one"), sync="no") as store:
        store.append_many("s", [("n", b"x" * 1000)] * 1000)
    command = f"{sys.executable} {ROOT / 'meilies_server.py'} export --db-path one | head -1"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=clean_environ(), capture_output=True,
                          text=True)
    assert done.stderr == "" and done.stdout.startswith('{"meilies-export": 1')


@pytest.mark.parametrize("command", ["export", "import"])
def test_what_is_missing_is_named(tmp_path, capsys, command):
    argv = ["--db-path", str(tmp_path / "missing"), "--file", str(tmp_path / "also" / "missing")]
    code, out, err = ran(capsys, command, *argv)
    assert (code, out) == (2, []) and "No such file or directory" in err and "missing" in err


def test_a_line_that_is_wrong_is_named(tmp_path, capsys):
    (tmp_path / "lines").write_text("rubbish\n")
    code, out, err = ran(capsys, "import", "--db-path", str(tmp_path / "db"), "--file", str(tmp_path / "lines"))
    assert (code, out) == (2, []) and "line 1: " in err


@pytest.mark.parametrize("command", ["check", "repair", "export", "import"])
def test_ctrl_c_ends_each_without_a_word(tmp_path, capsys, monkeypatch, command):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setitem(upkeep._COMMANDS, command, interrupted)
    assert ran(capsys, command, "--db-path", str(tmp_path)) == (130, [], "")
