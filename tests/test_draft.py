"""store/draft.py: how runs of events are cut into records."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store import WrongVersion, record
from store.append import Append
from store.draft import LONG, drafts_of, drafts_of_units
from store.stream import Stream

DATAS = st.sampled_from([b"", b"x" * 30, b"y" * 900, b"z" * 9000, b"l" * 70_000])
# One event may come with its length, in place of a list.
ONE = st.sampled_from([b"0\r\n", b"5\r\n\r\n\r\nx", b"900\r\n" + b"y" * 900])
RUNS = st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.sampled_from([b"n", b"m"]),
                          ONE | st.lists(DATAS, min_size=1, max_size=40)), max_size=30)


def drafted(runs, position=0, streams=None):
    """(drafts, nexts) of `runs`."""
    streams = {} if streams is None else streams
    nexts = {}
    return drafts_of(runs, streams, lambda name: streams.setdefault(name, Stream(name, 0)), position, nexts), nexts


def as_list(run):
    """The same run with its data in a list."""
    stream, name, datas = run
    return (stream, name, [datas[datas.index(b"\r\n") + 2:]]) if type(datas) is bytes else run


def events_of(draft):
    """[(stream, number, frame)] of a draft."""
    frames = list(map(bytes, draft.frames))
    if draft.pack is None:
        return [(draft.stream, draft.number + i, frame) for i, frame in enumerate(frames)]
    return list(zip(*draft.pack, frames))


def units_drafted(units, position=0, streams=None):
    """(drafts, nexts) of units."""
    streams = {} if streams is None else streams
    nexts = {}
    return drafts_of_units(units, streams, lambda name: streams.setdefault(name, Stream(name, 0)), position,
                           nexts), nexts


def append(*events, expected="any"):
    """An Append of (stream, data, …)."""
    return Append([(stream, expected, b"n", data, *(details or record.NO_DETAILS))
                   for stream, data, *details in events])


def singles(count, stream=b"s", size=100):
    return [(stream, b"n", [b"x" * size])] * count


@given(RUNS, st.integers(0, 1 << 40))
def test_every_event_is_in_one_draft_in_order_with_its_number(runs, position):
    heads = {}
    expected = []
    for stream, name, datas in map(as_list, runs):
        for data in datas:
            number = heads[stream] = heads.get(stream, -1) + 1
            frame, = record.frames(stream, name, number, [data])
            expected.append((stream, number, bytes(frame)))

    streams = {}
    drafts, nexts = drafted(runs, position, streams)

    assert [event for draft in drafts for event in events_of(draft)] == expected
    assert {stream.name: stream.next - 1 for stream in streams.values()} == heads
    assert {stream.name: number for stream, number in nexts.items()} == dict.fromkeys(heads, 0)
    for draft in drafts:
        assert draft.position == position
        position += len(draft.frames)
        size = sum(map(len, draft.frames))
        assert len(draft.frames) == 1 or size <= (record.MAX_FRAMES if draft.pack is None else record.MAX_PACK)
        if draft.pack is not None:
            assert len(set(draft.pack[0])) > 1
            assert (draft.stream, draft.number) == (draft.pack[0][0], draft.pack[1][0])


def test_single_events_of_many_streams_are_packed():
    drafts, _ = drafted([(b"s%d" % i, b"n", [b"x"]) for i in range(10)])
    assert [len(draft.frames) for draft in drafts] == [10] and drafts[0].pack is not None


def test_single_events_of_one_stream_are_a_run():
    drafts, _ = drafted(singles(10))
    assert [len(draft.frames) for draft in drafts] == [10] and drafts[0].pack is None


def test_a_long_run_is_not_packed_and_goes_on_as_long_as_there_is_room():
    datas = [b"x" * 100] * (LONG // 100)
    drafts, _ = drafted([(b"t", b"n", [b"x"]), (b"s", b"n", datas), (b"s", b"m", datas), (b"t", b"n", [b"x"])])
    assert [(draft.stream, len(draft.frames)) for draft in drafts] == [(b"t", 1), (b"s", 2 * len(datas)), (b"t", 1)]


@pytest.mark.parametrize("between", [[], singles(1, b"t")])
def test_a_long_run_that_has_no_room_left_or_another_before_it_begins_a_record(between):
    datas = [b"x" * 1000] * 40
    drafts, _ = drafted([(b"s", b"n", datas), *between, (b"s", b"n", datas)])
    assert [len(draft.frames) for draft in drafts] == [40, *([1] if between else []), 40]


def test_an_event_that_fills_a_record_is_alone_in_it():
    large = (b"s", b"n", [b"x" * 2 * record.MAX_FRAMES])
    drafts, _ = drafted([*singles(2), large, *singles(2)])
    assert [len(draft.frames) for draft in drafts] == [2, 1, 2]


def test_numbers_go_on_where_the_stream_is():
    stream = Stream(b"s", 7)
    drafts, nexts = drafted(singles(2), 3, {b"s": stream})
    assert (drafts[0].number, drafts[0].position, stream.next, nexts) == (7, 3, 9, {stream: 7})


# -- appends among the runs ---------------------------------------------------------------

EVENTS = st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), DATAS, st.sampled_from([b"", b"id"]),
                            st.sampled_from([b"", b"m" * 3000]), st.sampled_from([b"", b"tag"])),
                  min_size=1, max_size=9)
UNITS = st.lists(st.one_of(EVENTS, st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.just(b"m"),
                                             ONE | st.lists(DATAS, min_size=1, max_size=9))), max_size=20)


@given(UNITS, st.integers(0, 1 << 40))
def test_every_event_of_a_unit_is_in_one_draft_in_order_and_no_append_is_tied_to_another(units, position):
    heads, expected, spans = {}, [], []
    given_units = []
    for unit in units:
        if type(unit) is list:
            given_units.append(append(*unit))
            spans.append((len(expected), len(expected) + len(unit)))
            events = [(stream, b"n", data, tuple(details)) for stream, data, *details in unit]
        else:
            given_units.append(unit)
            events = [(unit[0], b"m", data, record.NO_DETAILS) for data in as_list(unit)[2]]
        for stream, name, data, details in events:
            number = heads[stream] = heads.get(stream, -1) + 1
            frame, = record.frames(stream, name, number, [data])
            expected.append((stream, number, bytes(frame), details))

    drafts, nexts = units_drafted(given_units, position)

    found, ties = [], []
    for draft in drafts:
        assert draft.position == position + len(found)
        details = draft.details or [record.NO_DETAILS] * len(draft.frames)
        found += [(*event, some) for event, some in zip(events_of(draft), details)]
        size = sum(map(len, draft.frames)) + sum(map(len, [part for some in details for part in some]))
        assert len(draft.frames) == 1 or size <= (record.MAX_FRAMES if draft.pack is None else record.MAX_PACK)
        assert record.LongFrame not in map(type, draft.frames) or len(draft.frames) == 1
        assert draft.pack is None or len(set(draft.pack[0])) > 1
        assert not draft.details or any(map(any, details))
        ties.append((len(found), draft.more))
    assert found == expected
    assert {stream.name: number for stream, number in nexts.items()} == dict.fromkeys(heads, 0)
    # Each append is in one record, or in some that hold nothing else, tied to each other.
    ends = [0, *(end for end, _ in ties)]
    tied = {end for end, more in ties if more}
    for (first, stop), unit in zip(spans, [unit for unit in given_units if type(unit) is Append]):
        assert unit.places == [(expected[i][1], position + i) for i in range(first, stop)]
        inside = {end for end in ends if first < end < stop}
        assert inside <= tied and (not inside or {first, stop} <= set(ends))
        tied -= inside
    assert not tied


def test_what_an_append_expects_is_compared_with_the_units_before_it():
    streams = {b"s": Stream(b"s", 7)}
    units = [append((b"s", b""), expected=6), append((b"s", b""), expected=6), (b"s", b"n", [b"", b""]),
             append((b"t", b""), (b"s", b""), expected="none"), append((b"s", b""), expected=9)]
    drafts, nexts = units_drafted(units, 3, streams)
    assert [unit.places for unit in units if type(unit) is Append] == [[(7, 3)], None, None, [(10, 6)]]
    errors = [unit.error for unit in units if type(unit) is Append]
    assert [type(error) for error in errors] == [type(None), WrongVersion, WrongVersion, type(None)]
    assert (errors[2].stream, errors[2].expected, errors[2].actual) == ("s", "none", 9)
    assert [len(draft.frames) for draft in drafts] == [4]
    assert streams.keys() == {b"s"} and nexts == {streams[b"s"]: 7}


def test_appends_that_are_all_refused_make_no_draft():
    streams = {}
    units = [append((b"s", b""), expected=0), append((b"s", b""), expected="exists")]
    assert units_drafted(units, 0, streams) == ([], {})
    assert streams == {}


def test_single_appends_of_one_stream_are_a_run_and_of_several_a_pack():
    drafts, _ = units_drafted([append((b"s", b"x")) for _ in range(9)] + [(b"s", b"n", [b"y"])])
    assert [(len(draft.frames), draft.pack, draft.details) for draft in drafts] == [(10, None, None)]
    drafts, _ = units_drafted([append((b"s%d" % i, b"x", b"id", b"", b"")) for i in range(9)] + [(b"s", b"n", [b"y"])])
    assert [(len(draft.frames), draft.pack is None) for draft in drafts] == [(10, False)]
    assert drafts[0].details == [(b"id", b"", b"")] * 9 + [record.NO_DETAILS]
