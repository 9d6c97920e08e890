"""store/append.py: what an append is made of, and what stands in its way."""

import random

import pytest

from store import NO, Change, NewEvent, Query, Store, WrongVersion
from store.append import Append, Singles, append_of
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


@pytest.mark.parametrize("change, why", [
    (Change("s", NewEvent("n", b"", metadata=5)), "metadata is int, expected bytes"),
    (Change("s", NewEvent("n", [1, 2])), "data is list, expected bytes"),
    (Change("s", NewEvent("n", b"", id="id")), "id is str, expected bytes"),
    (Change(None, NewEvent("n", b"")), "a name is NoneType, expected bytes"),
    (Change("s", NewEvent(5, b"")), "a name is int, expected bytes")])
def test_what_is_no_bytes_is_refused_and_not_made_into_other_bytes(change, why):
    with pytest.raises(TypeError, match=f"^{why}$"):
        append_of([change])


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


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("count", [1, 40])
def test_singles_become_what_as_many_appends_become(tmp_path, seed, count):
    chance = random.Random(seed)
    ids = [b"", b"1", b"2", b"3"] if seed % 2 else [b""]
    events = [(chance.choice([b"s", b"t", b"gone", b"over"]), chance.choice(["any", "any", "none", "exists", 0, 1, 2]),
               b"n", b"x" * chance.choice([0, 9, 100, 5000, 70_000]), chance.choice(ids), chance.choice([b"", b"m"]),
               chance.choice([b"", b"", b"tag"])) for _ in range(80)]
    outcomes, stored = [], []
    for as_singles in (True, False):
        with Store(tmp_path / f"{as_singles}", sync=NO) as store:
            for name in ("gone", "over"):
                store.append(name, "n", b"first")
                store.delete(name, forever=name == "over")
            found = []
            for begin in range(0, len(events), count):
                some = events[begin:begin + count]
                before = store.position
                units = [Singles(some)] if as_singles else [Append([event]) for event in some]
                store.commit(store.write(units))
                assert sum(unit.stored for unit in units) == store.position - before
                found += units[0].outcomes if as_singles else [unit.error or unit.places[0] for unit in units]
            outcomes.append([one if type(one) is tuple else str(one) for one in found])
            stored.append([one._replace(time=0) for one in store.read_all(2)])
            if seed % 2:
                assert [one.position for one in store.read_tagged(Query.of([((), ("tag",))])).events] == [
                    one.position for one in store.read_all(2) if one.tags]
    assert outcomes[0] == outcomes[1]
    assert stored[0] == stored[1]
    assert {type(one) for one in outcomes[0]} == {tuple, str}
