"""terminal/escaping.py and painting.py: what reaches a terminal."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as some
from terminals import Terminal

from terminal.escaping import columns, fitted, padded, printable
from terminal.painting import Painter


@given(some.text())
def test_nothing_that_drives_a_terminal_is_left(text):
    assert printable(text).isprintable()


@pytest.mark.parametrize("text, shown", [
    ("plain é 日", "plain é 日"), ("\033[2J", r"\x1b[2J"), ("a\r\nb", r"a\r\nb"), ("\u202egnp", r"\u202egnp"),
    ("\x9b31m", r"\x9b31m"), ("\udcff", r"\udcff")])
def test_what_would_move_the_cursor_or_hide_is_its_escape(text, shown):
    assert printable(text) == shown


@pytest.mark.parametrize("text, room, shown", [
    ("orders", 6, "orders"), ("orders", 5, "orde…"), ("orders", 1, "…"), ("orders", 0, ""), ("日本語", 6, "日本語"),
    ("日本語", 5, "日本…"), ("日本語", 4, "日…"), ("e\u0301a", 2, "e\u0301a")])
def test_what_is_too_wide_ends_with_an_ellipsis(text, room, shown):
    assert fitted(text, room) == shown
    assert columns(padded(text, room)) == room


@given(some.text(max_size=20), some.integers(0, 20))
def test_what_is_padded_takes_the_room_there_is(text, room):
    assert columns(padded(printable(text), room)) == room


@pytest.mark.parametrize("choice, stream, environ, paints", [
    ("auto", Terminal(), {}, True), ("auto", io.StringIO(), {}, False), ("auto", Terminal(), {"NO_COLOR": "1"}, False),
    ("auto", Terminal(), {"NO_COLOR": ""}, True), ("auto", Terminal(), {"TERM": "dumb"}, False),
    ("always", io.StringIO(), {"NO_COLOR": "1"}, True), ("never", Terminal(), {}, False)])
def test_who_asks_for_colours_goes_before_the_environment_and_that_before_the_terminal(choice, stream, environ, paints):
    painter = Painter(choice, stream, environ)
    assert painter("red", "x") == ("\033[31mx\033[m" if paints else "x")
    assert painter("red", "") == ""
