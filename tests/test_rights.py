"""Who may use which command, and for which streams: `denial` of server/table.py, over the whole table."""

import re

import pytest
from conftest import ROOT

from server.commands import COMMANDS
from server.table import ANYONE
from server.users import ADMIN, APPEND, GROUP, READ, RIGHTS


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_each_command_and_subcommand_has_a_right(name):
    one = COMMANDS[name]
    assert {one.right, *one.words.values()} <= {ANYONE, "", *RIGHTS}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_command_that_appends_or_reads_says_of_which_streams_or_lists_what_one_may_see(name):
    one = COMMANDS[name]
    if one.right in (READ, APPEND, GROUP):
        assert one.touches or one.name in ("stream-names", "search-streams", "groups", "retention",
                                           "keys", "scan", "dbsize", "randomkey")


def test_what_changes_or_copies_the_store_takes_an_admin():
    admins = {name for name, one in COMMANDS.items() if one.right == ADMIN}
    assert {b"retain", b"truncate", b"delete", b"redact", b"compact", b"backup", b"check", b"export", b"import",
            b"verify", b"config", b"client"} <= admins


def test_the_page_about_users_names_the_right_of_each_command():
    text = (ROOT / "docs" / "users.md").read_text()
    table = text[text.index("| right | commands |"):text.index("- `group` is a right of its own")]
    found, right = {}, None
    for row in table.splitlines()[2:]:
        if not row.startswith("|"):
            continue
        title, commands, _ = [cell.strip() for cell in row.strip("|").split("|")]
        right = title.strip("`") or right
        for name in re.findall("`([a-z-]+)`", commands):
            assert name not in found, f"{name} stands there twice"
            found[name] = {"none": "", "before logging in": ANYONE}.get(right, right)
    assert found == {one.name: one.right for one in COMMANDS.values()}
