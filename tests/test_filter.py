"""store/filter.py: which events of a record pass, whatever their data looks like."""

import random

import pytest

from store import record
from store.filter import Filter

STREAMS = [b"a", b"ab", b"abc", b"b", b"\xc3\xa4"]
NAMES = [b"x", b"xy", b"y", b"x|y", b"."]


def forged(draw):
    """Data that looks like the beginning of an event's frame."""
    return record.FRAME % (draw.choice(STREAMS), 1, draw.choice(NAMES), 9, b"")


def record_of(draw, packed):
    """(a Record, [(stream, name) of each of its events])."""
    one = draw.choice(STREAMS)
    events = [(draw.choice(STREAMS) if packed else one, draw.choice(NAMES)) for _ in range(draw.randrange(1, 9))]
    datas = [draw.choice([b"", b"data", forged(draw), forged(draw)[:-3]]) for _ in events]
    frames = [record.FRAME % (stream, i, name, len(data), data)
              for i, ((stream, name), data) in enumerate(zip(events, datas))]
    pack = ([stream for stream, _ in events], range(len(events))) if packed else None
    return record.decode(record.encode(0, 0, 0, 1000, 0, frames, pack=pack), 0, 0), events


@pytest.mark.parametrize("packed", [False, True])
def test_those_pass_whose_stream_begins_so_and_who_are_called_so(packed):
    draw = random.Random(1)
    found = 0
    for _ in range(3000):
        one, events = record_of(draw, packed)
        wanted = Filter(draw.choice([b"", b"a", b"ab", b"\xc3", b"z"]),
                        frozenset(draw.sample(NAMES, draw.randrange(4))))
        begin, stop = draw.randrange(len(events) + 1), draw.choice([None, draw.randrange(len(events) + 2)])
        passing = list(wanted.passing(one, begin, stop))
        assert passing == [i for i in range(*slice(begin, stop).indices(len(events)))
                           if events[i][0].startswith(wanted.prefix)
                           and (not wanted.names or events[i][1] in wanted.names)]
        assert wanted.may_pass(one) or not passing
        found += len(passing)
    assert found > 1000


@pytest.mark.parametrize("wanted", [Filter(b"z"), Filter(names=frozenset([b"z"])), Filter(b"a", frozenset([b"z"]))])
@pytest.mark.parametrize("packed", [False, True])
def test_a_record_that_holds_none_is_told_without_a_look_at_its_events(wanted, packed, monkeypatch):
    one, events = record_of(random.Random(2), packed)
    assert len(events) > 1
    monkeypatch.setattr("store.filter._pattern", None)
    assert not wanted.may_pass(one) and not wanted.passing(one)


def test_equal_filters_are_one_key():
    assert len({Filter(b"a", frozenset([b"x", b"y"])), Filter(b"a", frozenset([b"y", b"x"]))}) == 1
