"""server/shown.py: what a browser gets of events loses no digit and no byte."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.shown import PREVIEW, PREVIEW_HEX, WHOLE, brief, value, whole

EVENT = [b"recorded", 2 ** 63, "ä".encode(), 2 ** 64 - 1, b"paid", b'{"a": 1}', b"id\xff", b"m", 1_700_000_000_000_000]


def test_keys_are_text_for_a_browser_has_only_53_bits():
    shown = json.loads(json.dumps(brief(EVENT)))
    assert shown == {
        "position": str(2 ** 63), "stream": "ä", "number": str(2 ** 64 - 1), "name": "paid", "id": "id\\xff",
        "time": 1_700_000_000_000_000, "data": {"size": 8, "cut": False, "text": '{"a": 1}'}, "metadata_size": 1}


def test_a_page_of_its_own_shows_all_of_an_event():
    shown = whole([*EVENT[:5], b"x" * (WHOLE - 1), b"", b"meta", 1])
    assert shown["data"] == {"size": WHOLE - 1, "cut": False, "text": "x" * (WHOLE - 1)}
    assert shown["metadata"] == {"size": 4, "cut": False, "text": "meta"}


@pytest.mark.parametrize("data, expected", [
    (b"", {"size": 0, "cut": False, "text": ""}),
    (b"a\0b", {"size": 3, "cut": False, "text": "a\0b"}),
    (b"\xff\x00", {"size": 2, "cut": False, "hex": "ff00"}),
    (b"\xff" * 100, {"size": 100, "cut": True, "hex": "ff" * PREVIEW_HEX}),
    (b"x" * 500, {"size": 500, "cut": True, "text": "x" * PREVIEW}),
    ("é".encode() * 200 + b"x", {"size": 401, "cut": True, "text": "é" * 200}),
    (b"x" + "é".encode() * 200, {"size": 401, "cut": True, "text": "x" + "é" * 199}),
])
def test_a_value_is_text_or_digits_and_says_what_there_is_more(data, expected):
    assert value(data, PREVIEW, PREVIEW_HEX) == expected


@given(st.binary(max_size=60), st.integers(1, 60))
def test_what_is_shown_is_how_the_data_begins(data, longest):
    shown = value(data, longest, longest)
    begun = bytes.fromhex(shown["hex"]) if "hex" in shown else shown["text"].encode()
    assert data.startswith(begun) and len(begun) <= longest and shown["cut"] == (len(data) > longest)
    assert shown["cut"] or begun == data
