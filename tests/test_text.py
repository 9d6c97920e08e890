"""What clients send, in a line of the log."""

import pytest

from server.text import printable


@pytest.mark.parametrize("sent, shown", [
    ("plain text, ünïcödé ✓", "plain text, ünïcödé ✓"),
    (b"bytes \xc3\xbc", "bytes ü"),
    (b"not UTF-8: \xff\xfe", r"not UTF-8: \xff\xfe"),
    ("lines\r\nmore\x00\x1b[31mred", r"lines\r\nmore\x00\x1b[31mred"),
    ("\u2028\u202eabc\U000e0001", r"\u2028\u202eabc\U000e0001"),
    ("", ""),
])
def test_control_characters_are_escaped_and_the_rest_stays(sent, shown):
    assert printable(sent) == shown


def test_what_is_long_is_cut_and_shows_it():
    assert printable("x" * 200) == "x" * 200
    assert printable("x" * 201) == "x" * 200 + "..."
    assert len(printable(b"\xff" * 100_000)) < 1000
