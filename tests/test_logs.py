"""Where the log goes."""

import logging

import pytest
from conftest import ROOT

from server import logs

LOGGER = logging.getLogger("meilies.tests")


@pytest.fixture
def file(tmp_path):
    root = logging.getLogger()
    level = root.level
    found = logs.begin("info", str(tmp_path / "log"))
    yield found
    logs.end(found)
    root.setLevel(level)


def test_lines_go_to_the_file_and_after_reopening_to_the_one_of_that_name(tmp_path, file):
    LOGGER.info("one \udcff")
    (tmp_path / "log").rename(tmp_path / "old")
    LOGGER.info("two")
    file.reopen()
    LOGGER.info("three")
    assert [line.split(": ")[1] for line in (tmp_path / "old").read_text().splitlines()] == ["one \\udcff", "two"]
    assert (tmp_path / "log").read_text().splitlines()[0].endswith(f"{tmp_path}/log: opened again")
    assert (tmp_path / "log").read_text().endswith("INFO meilies.tests: three\n")


def test_a_file_that_cannot_be_opened_again_leaves_the_log_where_it_is(tmp_path, file):
    (tmp_path / "log").rename(tmp_path / "old")
    (tmp_path / "log").mkdir()
    file.reopen()
    LOGGER.info("still")
    lines = (tmp_path / "old").read_text().splitlines()
    assert lines[0].endswith(f"{tmp_path}/log: not opened again: Is a directory; the log goes on where it went")
    assert lines[1].endswith("still")


def test_a_disk_that_is_full_takes_lines_and_nothing_else(capsys):
    file = logs.begin("info", "/dev/full")
    try:
        LOGGER.warning("lost")
    finally:
        logs.end(file)
    assert "Traceback" not in capsys.readouterr().err


def test_debug_is_toggled_from_any_level():
    root = logging.getLogger()
    level = root.level
    try:
        for usual in ("info", "error"):
            root.setLevel(usual.upper())
            logs.toggle_debug(usual)
            assert root.level == logging.DEBUG
            logs.toggle_debug(usual)
            assert root.level == getattr(logging, usual.upper())
        root.setLevel(logging.DEBUG)
        logs.toggle_debug("debug")
        assert root.level == logging.DEBUG
    finally:
        root.setLevel(level)


def test_logrotate_keeps_what_is_written_to_the_names_that_the_docs_have():
    assert "postrotate" in (ROOT / "deploy" / "meilies.logrotate").read_text()
