"""store/draft.py: how runs of events are cut into records."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store import record
from store.draft import LONG, drafts_of
from store.stream import Stream

RUNS = st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.sampled_from([b"n", b"m"]),
                          st.lists(st.sampled_from([b"", b"x" * 30, b"y" * 900, b"z" * 9000, b"l" * 70_000]),
                                   min_size=1, max_size=40)), max_size=30)


def drafted(runs, position=0, streams=None):
    """(drafts, nexts) of `runs`."""
    streams = {} if streams is None else streams
    nexts = {}
    return drafts_of(runs, streams, lambda name: streams.setdefault(name, Stream(name, 0)), position, nexts), nexts


def events_of(draft):
    """[(stream, number, frame)] of a draft."""
    if draft.pack is None:
        return [(draft.stream, draft.number + i, frame) for i, frame in enumerate(draft.frames)]
    return list(zip(*draft.pack, draft.frames))


def singles(count, stream=b"s", size=100):
    return [(stream, b"n", [b"x" * size])] * count


@given(RUNS, st.integers(0, 1 << 40))
def test_every_event_is_in_one_draft_in_order_with_its_number(runs, position):
    heads = {}
    expected = []
    for stream, name, datas in runs:
        for data in datas:
            number = heads[stream] = heads.get(stream, -1) + 1
            expected.append((stream, number, record.frames(stream, name, number, [data])[0]))

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
