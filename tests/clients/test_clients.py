"""The lines that docs show are those that programs run, and a program that tells another story fails."""

import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
from clients import runner
from clients.languages import HERE, Failed, fetch, install_once, missing, run
from clients.paste import lines_to_paste
from clients.programs import PROGRAMS
from clients.story import Line, Mismatch, tell
from conftest import ROOT

PAGE = (ROOT / "docs" / "redis.md").read_text()
STAGE = SimpleNamespace(environ={"PORT": "1"})


def told_by(script, *story):
    tell([sys.executable, "-c", script], {}, STAGE, story)


def test_the_lines_between_the_marks_are_pasted_but_for_those_of_tests():
    source = 'a\n    # [paste\n    b = PORT\n      c  # [test]\n      d\n    # paste]\ne\n'
    source += '// [paste\n"h:" + PORT, $PORT\n// paste]\n'
    assert lines_to_paste(source) == 'b = 6480\n  d\n"h:6480", 6480\n'


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.client)
def test_docs_show_the_lines_that_a_program_runs(program):
    lines = lines_to_paste((HERE / program.source).read_text())
    assert re.search(rf"^```[a-z]+(?: not run: .*)?\n{re.escape(lines)}```$", PAGE, re.M), lines


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.client)
def test_docs_name_the_version_and_the_protocol_that_are_tried(program):
    row = f"| {program.client} | {program.version()} | RESP{program.speaks} |"
    assert f"\n{row}" in PAGE, row


def test_a_program_that_tells_the_story_and_ends_well_is_fine():
    told_by("print('noise'); print('- one'); print('- two')", Line("one"), Line("two"))


@pytest.mark.parametrize("script", [
    "print('- one')",
    "print('- one'); print('- three')",
    "print('- one'); print('- two'); print('- three')",
    "print('- one'); print('- two'); exit(1)",
    "",
])
def test_a_program_that_tells_another_story_fails_with_what_it_printed(script):
    with pytest.raises(Mismatch, match="and it printed|and printed"):
        told_by(script, Line("one"), Line("two"))


def test_what_happens_at_a_line_is_over_before_the_program_goes_on():
    happened = []
    told_by("print('- one', flush=True); input(); print('- two')",
            Line("one", then=happened.append, tells=True), Line("two"))
    assert happened == [STAGE]


def test_what_was_installed_stays_until_its_versions_change(tmp_path):
    pins, kept, installed = tmp_path / "pins", tmp_path / "kept", []
    for versions in ("1", "1", "2"):
        pins.write_text(versions)
        install_once(pins, kept, lambda versions=versions: installed.append(versions))
    assert installed == ["1", "2"]


def test_what_failed_to_install_is_tried_again(tmp_path):
    pins = tmp_path / "pins"
    pins.write_text("1")
    with pytest.raises(Failed, match="ended with 3, and printed:\nno such package"):
        install_once(pins, tmp_path / "kept",
                     lambda: run(["sh", "-c", "echo no such package; exit 3"], tmp_path, {}))
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize("allow_missing, outcome", [(False, runner.FAILED), (True, runner.SKIPPED)])
def test_a_language_that_is_not_there_fails_unless_that_is_allowed(tmp_path, capsys, allow_missing, outcome):
    language = SimpleNamespace(needs={"no-such-program": "its-package"})
    assert missing(language) == ["its-package"]
    program = SimpleNamespace(client="someone", version=lambda: "1.0")
    assert runner.run_language(language, [program], tmp_path, tmp_path, None, allow_missing) == {outcome: 1}
    assert capsys.readouterr().out == "someone 1.0: not run: this machine lacks its-package\n"


def test_a_client_that_is_not_known_is_refused_by_name():
    ended = subprocess.run([sys.executable, "-m", "tests.clients", "redis-pie"], cwd=ROOT, capture_output=True,
                           text=True, check=False)
    assert (ended.returncode, "no such client: redis-pie" in ended.stderr) == (2, True)


def test_what_a_registry_gives_is_asked_for_once_more(tmp_path):
    once = 'test -e asked && exit 0; touch asked; exit 1'
    fetch(["sh", "-c", once], tmp_path, {})
    with pytest.raises(Failed, match="ended with 3"):
        fetch(["sh", "-c", "exit 3"], tmp_path, {})
