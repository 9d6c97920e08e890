"""store/append.py: what an append is made of, and what stands in its way."""

import pytest

from store import Change, NewEvent, WrongVersion
from store.append import Append, append_of
from store.stream import Stream


def test_changes_become_bytes_whatever_they_were_made_of():
    tags = ("ü", b"\xff")
    append = append_of([("fünf", ("n", bytearray(b"data"))),
                        Change(b"s", NewEvent(b"m", memoryview(b"x"), b"i", b"{}", tags), 3)])
    assert append.events == [("fünf".encode(), "any", b"n", b"data", b"", b"", b""),
                             (b"s", 3, b"m", b"x", b"i", b"{}", "ü".encode() + b"\0\xff")]
    assert (append.places, append.error) == (None, None)


@pytest.mark.parametrize("change, why", [
    (("a:b", ("n", b"")), "a stream name has no ':', found 'a:b'"),
    (("s", ("", b"")), "event name is empty"),
    (("s", ("n", b""), "new"), "expected is 'new', expected 'any', 'none', 'exists' or the number of the stream's last "
     "event, from 0 to 18446744073709551615"),
    (("s", ("n", b"", b"i" * 65_536)), "an id of 65536 bytes, expected no more than 65535"),
    (("s", ("n", b"", b"", b"", ("t" * 65_535, "t"))), "tags of 65537 bytes, expected no more than 65535"),
    (("s", ("n", b"", b"", b"", ("",))), "a tag is at least one byte and none that is zero, found b''"),
    (("s", ("n", b"", b"", b"", (b"a\0b",))), "a tag is at least one byte and none that is zero, found b'a\\x00b'"),
])
def test_a_wrong_change_is_refused_by_its_place(change, why):
    with pytest.raises(ValueError) as caught:
        append_of([change])
    assert str(caught.value) == why
    with pytest.raises(ValueError) as caught:
        append_of([("s", ("n", b"")), change])
    assert str(caught.value) == f"event 1 of the append: {why}"


@pytest.mark.parametrize("expected, why", [
    (["any", "any"], None), (["none", "exists"], None), (["none", 0], None), (["any", "none"], ("t", "none", 0)),
    (["any", 1], ("t", 1, 0)), (["exists", "any"], ("t", "exists", None)), ([0, "any"], ("t", 0, None))])
def test_a_change_finds_what_those_before_it_made(expected, why):
    refusal = Append([(b"t", one, b"n", b"", b"", b"", b"") for one in expected]).refusal({b"s": Stream(b"s", 3)})
    assert why == (refusal and (refusal.stream, refusal.expected, refusal.actual))


@pytest.mark.parametrize("expected, actual, why", [
    ("none", 7, "stream 's': expected no event, found event 7; nothing was stored"),
    ("exists", None, "stream 's': expected an event, found no event; nothing was stored"),
    (7, 8, "stream 's': expected event 7 as its last one, found event 8; nothing was stored")])
def test_a_wrong_version_says_what_was_expected_and_found(expected, actual, why):
    assert str(WrongVersion("s", expected, actual)) == why
