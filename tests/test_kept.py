"""Tests of server/kept.py."""

import pytest

from server.kept import Kept


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(Kept, "MOST", 3)


def test_what_was_made_is_kept_and_not_made_again(few):
    made = []
    kept = Kept(lambda name: made.append(name) or name.upper())
    assert [kept[name] for name in (b"a", b"b", b"a")] == [b"A", b"B", b"A"]
    assert made == [b"a", b"b"]


def test_what_is_kept_is_few_and_short(few):
    kept = Kept(bytes.upper)
    for name in b"a", b"b", b"c", b"a", b"n" * 257:
        assert kept[name] == name.upper()
    assert set(kept) == {b"a", b"b", b"c"}
    assert kept[b"d"] == b"D" and set(kept) == {b"d"}


def test_what_could_not_be_made_is_tried_again():
    answers = [ValueError("no"), b"made"]

    def make(name):
        answer = answers.pop(0)
        if isinstance(answer, ValueError):
            raise answer
        return answer

    kept = Kept(make)
    with pytest.raises(ValueError):
        kept[b"a"]
    assert kept[b"a"] == b"made"
