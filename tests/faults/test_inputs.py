"""The oracles: the kept inputs pass, others made of them too, and an oracle sees what it is there to see."""

import re
import struct

import pytest
from faults import corpus
from faults.inputs import judge
from faults.oracles import ORACLES, same

import resp
from store import record, recovery, segment

SOME = 300


def inputs_of(name, seed=1):
    """The kept inputs, and some that are made of them."""
    kept = corpus.load(name)
    mutator = corpus.Mutator(seed, kept)
    return kept + [mutator.next() for _ in range(SOME)]


@pytest.mark.parametrize("name", ORACLES)
def test_the_kept_inputs_and_some_made_of_them_show_nothing(name):
    for data in inputs_of(name):
        judge(name, data)


def test_inputs_made_by_chance_are_the_same_from_the_same_seed_and_not_too_long():
    one, again, other = (inputs_of("parser", seed) for seed in (1, 1, 2))
    assert one == again != other
    assert max(map(len, one)) <= corpus.LONGEST


def test_what_is_kept_is_loaded_as_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "FOLDER", tmp_path)
    corpus.save("parser", [b"\r\n\x00", b"'\"\\", b"", b"'\"\\"])
    assert corpus.load("parser") == [b"", b"\r\n\x00", b"'\"\\"]


def is_found(name):
    """Whether some input makes the oracle complain, now that something is broken."""
    for data in inputs_of(name):
        try:
            judge(name, data)
        except AssertionError as error:
            assert repr(data)[:20] in str(error)
            return True
    return False


def decode_anything(buffer, pos, salt, decode=record.decode):
    """A decoder that believes bodies."""
    try:
        return decode(buffer, pos, salt)
    except record.BadRecord as bad:
        if "body doesn't match" not in bad.why:
            raise
        stored, = struct.unpack_from("<I", buffer, pos + 8)
        start = pos + record.HEADER_SIZE
        body = buffer[start:start + stored]
        fields = record._header(buffer, pos, salt)
        return record.Record(fields[1], 0, record.HEADER_SIZE + stored, fields[5], *fields[8:12], body, fields[6])


def read_forever(data):
    raise ZeroDivisionError(data)


BREAKS = {
    "a negative zero is a length": ("parser", resp, "_LENGTH", re.compile(rb"-?[0-9]{1,18}\Z")),
    "a line may be short": ("parser", resp, "MAX_LINE", 30),
    "arrays may be nested deeper": ("parser", resp, "MAX_DEPTH", 9),
    "pushes are arrays": ("parser", resp, "Push", list),
    "a bulk string ends anywhere": ("commands", resp, "_LENGTH", re.compile(rb"[0-9]{0,18}\Z")),
    "headers aren't checked": ("segment", record, "_header_checks", lambda header, salt: True),
    "bodies aren't checked": ("segment", record, "decode", decode_anything),
    "records need not follow": ("segment", recovery.Scan, "_check_follows", lambda scan, found: None),
    "a bad record is passed over": ("segment", segment.Segment, "has_only_zeros", lambda self, byte: True),
    "a body inflates as it likes": ("forged", record, "_inflate", lambda body, size: read_forever(body)),
    "a segment's header isn't checked": ("header", segment, "zlib", type("none", (), {"crc32": lambda *_: 0})),
}


@pytest.mark.parametrize("name, module, attribute, broken", BREAKS.values(), ids=BREAKS)
def test_what_is_broken_is_found(name, module, attribute, broken, monkeypatch):
    monkeypatch.setattr(module, attribute, broken)
    assert is_found(name)


def test_an_input_that_takes_long_is_a_find(monkeypatch):
    monkeypatch.setattr("faults.oracles.SLOW", 0)
    assert is_found("parser")


@pytest.mark.parametrize("found, kind, what", [
    (True, "integer", 1), (1, "boolean", True), (1.0, "integer", 1), (b"1", "error", "1"), ([], "push", []),
    (resp.Push(), "list", []), ({}, "list", []), ([[b"a", 1]], "map", [(("string", b"a"), ("integer", 1))]),
    ([1], "list", []), (None, "string", b""), (float("nan"), "double", "inf"),
    ({b"b": 1, b"a": 1}, "map", [(("string", b"a"), ("integer", 1)), (("string", b"b"), ("integer", 1))])])
def test_values_of_different_kinds_are_not_the_same(found, kind, what):
    assert not same(found, (kind, what))
