"""Events on their way to followers: which frames, in which form, and where they may be cut."""

import pytest

import resp
from server.chunk import CAUGHT_UP, Form, chunk_at_hand, chunk_of, chunk_of_found, chunk_of_frames, notice
from server.globs import Glob
from store import record
from store.filter import Filter

PLAIN = Form(False, False)
PUSH = Form(False, True)
RECORDED = Form(True, False)
CHANNEL = Form(False, False, opening=b"3\r\n$7\r\nmessage\r\n")
PATTERN = Form(False, True, opening=b"4\r\n$8\r\npmessage\r\n$1\r\n?\r\n", glob=Glob(b"?"))


def run(stream, number, position, datas, details=None, clock=1000):
    """A record of events called x."""
    frames = record.frames(stream, b"x", number, datas)
    return record.decode(record.encode(0, number, position, clock, 0, frames, details=details), 0, 0)


@pytest.fixture
def records():
    """Positions 10 to 15: a 3, a 4, b 0, a 5, a 6, a 7."""
    return [run(b"a", 3, 10, [b"3", b"4"]), run(b"b", 0, 12, [b""]), run(b"a", 5, 13, [b"5", b"66", b"777"])]


def frame(stream, number, data, kind=b"*"):
    return b"%b5\r\n+event\r\n+%b\r\n:%d\r\n+x\r\n$%d\r\n%b\r\n" % (kind, stream, number, len(data), data)


ALL = [frame(b"a", 3, b"3"), frame(b"a", 4, b"4"), frame(b"b", 0, b""), frame(b"a", 5, b"5"),
       frame(b"a", 6, b"66"), frame(b"a", 7, b"777")]


def test_a_chunk_has_the_frames_of_its_range_and_no_other(records):
    for first in range(10, 16):
        for stop in range(first + 1, 18):
            chunk = chunk_of(records, first, stop, True, PLAIN)
            assert (chunk.first, chunk.stop) == (first, min(stop, 16))
            assert chunk.data == b"".join(ALL[first - 10:stop - 10])
            assert chunk.count == chunk.stop - first


def test_keys_are_numbers_for_a_stream_and_positions_for_all(records):
    of_stream = chunk_of([records[0], records[2]], 4, 7, False, PLAIN)
    assert (of_stream.first, of_stream.stop) == (4, 7)
    assert of_stream.data == ALL[1] + ALL[3] + ALL[4]


def test_ends_are_where_the_frames_end(records):
    chunk = chunk_of(records, 11, 15, True, PLAIN)
    frames = ALL[1:5]
    assert chunk.ends == [sum(map(len, frames[:i + 1])) for i in range(4)]


@pytest.mark.parametrize("form", [PLAIN, PUSH, RECORDED, CHANNEL, PATTERN, Form(True, True, Filter(b"a")),
                                  Form(False, False, Filter()), PATTERN._replace(filter=Filter(b"b"))])
def test_a_part_is_what_a_chunk_of_that_range_is(records, form):
    whole = chunk_of(records, 10, 16, True, form)
    for first in range(9, 17):
        for stop in range(first + 1, 18):
            part = whole.between(first, stop)
            assert (part.first, part.stop) == (max(first, 10), min(stop, 16))
            if part.first < part.stop:
                alone = chunk_of(records, part.first, part.stop, True, form)
                assert (part.data, part.ends, part.count) == (alone.data, alone.ends, alone.count)
            else:
                assert (part.data, part.count) == (b"", 0)


def test_the_whole_range_is_the_chunk_itself(records):
    whole = chunk_of(records, 10, 16, True, PLAIN)
    assert whole.between(0, 99) is whole


def test_a_cut_finishes_the_frame_that_was_begun(records):
    chunk = chunk_of(records, 10, 16, True, PLAIN)
    assert chunk.cut(0) == (0, 0)
    for taken in range(1, len(chunk.data) + 1):
        begun, end = chunk.cut(taken)
        assert end >= taken and end == chunk.ends[begun - 1]
        assert begun == 1 or chunk.ends[begun - 2] < taken


def test_after_some_frames_the_next_key_follows_gaps_included(records):
    plain = chunk_of(records, 10, 16, True, PLAIN)
    assert [plain.key_after(n) for n in range(7)] == [10, 11, 12, 13, 14, 15, 16]
    prefixed = chunk_of(records, 10, 16, True, Form(False, False, Filter(b"b")))
    assert prefixed.data == ALL[2]
    assert [prefixed.key_after(n) for n in range(2)] == [12, 16]


def test_a_prefix_that_nothing_has_makes_an_empty_chunk_of_the_same_range(records):
    chunk = chunk_of(records, 10, 16, True, Form(True, False, Filter(b"zz")))
    assert (chunk.first, chunk.stop, chunk.data, chunk.count) == (10, 16, b"", 0)
    assert chunk.key_after(0) == 16


def test_pushes_differ_in_the_first_byte_of_each_frame(records):
    chunk = chunk_of(records, 10, 16, True, PUSH)
    assert chunk.data == b"".join(b">" + one[1:] for one in ALL)
    assert chunk.ends == chunk_of(records, 10, 16, True, PLAIN).ends


def test_the_long_form_has_position_id_metadata_and_time():
    one = run(b"s", 3, 7, [b"a\r\nb", b""], [(b"id", b"{}", b""), (b"", b"m\r\n", b"tag")], clock=1234567)
    chunk = chunk_of([one], 3, 5, False, RECORDED)
    assert chunk.data == (
        b"*9\r\n+recorded\r\n:7\r\n+s\r\n:3\r\n+x\r\n$4\r\na\r\nb\r\n$2\r\nid\r\n$2\r\n{}\r\n:1234567\r\n"
        b"*9\r\n+recorded\r\n:8\r\n+s\r\n:4\r\n+x\r\n$0\r\n\r\n$0\r\n\r\n$3\r\nm\r\n\r\n:1234567\r\n")
    assert chunk_of([one], 3, 5, False, Form(True, True)).data == chunk.data.replace(b"*9", b">9")


@pytest.mark.parametrize("form", [PLAIN, PUSH])
def test_a_chunk_of_frames_is_the_chunk_of_their_records(records, form):
    for first in range(10, 16):
        for stop in range(first + 1, 18):
            expected = chunk_of(records, first, stop, True, form)
            found = chunk_of_frames(record.Frames.of(records, True), first, stop, form)
            assert (found.first, found.stop, found.data, found.count, found.ends, found.form) == \
                (expected.first, expected.stop, expected.data, expected.count, expected.ends, form)
            taken = range(len(expected.data) + 1)
            assert [found.cut(n) for n in taken] == [expected.cut(n) for n in taken]


@pytest.mark.parametrize("form", [PLAIN, PUSH, CHANNEL, PATTERN._replace(glob=None)])
@pytest.mark.parametrize("count", [1, 6])
def test_a_chunk_of_frames_at_hand_is_the_chunk_of_their_records(records, count, form):
    expected = chunk_of(records, 10, 10 + count, True, form)
    found = chunk_at_hand(ALL[:count], 10, form)
    assert (found.first, found.stop, found.data, found.count, list(found.ends), found.form) == \
        (expected.first, expected.stop, expected.data, expected.count, expected.ends, form)
    taken = range(len(expected.data) + 1)
    assert [found.cut(n) for n in taken] == [expected.cut(n) for n in taken]
    assert [found.key_after(n) for n in range(count + 1)] == [expected.key_after(n) for n in range(count + 1)]


# -- where events are no more ---------------------------------------------------

def test_what_is_no_more_is_left_out_and_the_keys_tell_of_it(records):
    for gone in ([records[0], records[2]], [records[0], record.Passed(None, 0, 1, 12), records[2]]):
        chunk = chunk_of(gone, 10, 16, True, PLAIN)
        assert (chunk.first, chunk.stop, chunk.count) == (10, 16, 5)
        assert chunk.data == b"".join(ALL[:2] + ALL[3:])
        assert [chunk.key_after(n) for n in range(6)] == [10, 11, 13, 14, 15, 16]
        assert [chunk.told_by(n) for n in range(1, 6)] == [11, 12, 14, 15, 16]
        long = chunk_of(gone, 10, 16, True, RECORDED)
        assert long.data.count(b"+recorded") == 5 and long.data.count(b"*3\r\n+checkpoint\r\n+$all\r\n:13\r\n") == 1
        assert long.key_after(2) == long.key_after(3) == 13
        assert long.between(13, 16).data.startswith(b"*3\r\n+checkpoint")


def test_a_chunk_of_nothing_reaches_to_where_it_was_looked():
    for gone in ([], [record.Passed(b"s", 3, 4, 10)]):
        chunk = chunk_of(gone, 3, 7, False, RECORDED)
        assert (chunk.first, chunk.stop, chunk.count, chunk.data) == (3, 7, 0, b"")


def test_subscribers_of_channels_get_data_and_the_key_of_its_stream():
    one = run(b"a%3A1", 3, 7, [b"a\r\nb", b""])
    assert chunk_of([one], 3, 5, False, CHANNEL).data == (resp.command("message", "a:1", "a\r\nb")
                                                         + resp.command("message", "a:1", ""))
    push = CHANNEL._replace(push=True)
    assert chunk_of([one], 4, 5, False, push).data == b">" + resp.command("message", "a:1", "")[1:]


def test_subscribers_of_channels_are_told_nothing_of_what_is_no_more(records):
    chunk = chunk_of([records[0], records[2]], 10, 16, True, CHANNEL)
    assert (chunk.first, chunk.stop, chunk.count) == (10, 16, 5)
    assert chunk.data == b"".join(resp.command("message", "a", data) for data in (b"3", b"4", b"5", b"66", b"777"))
    assert [chunk.key_after(n) for n in range(6)] == [10, 11, 13, 14, 15, 16]


def test_subscribers_of_channels_get_no_event_that_was_redacted():
    events = run(b"a", 0, 0, [b"0", b"1"], [(b"", record.REDACTED, b"")] * 2)
    redacted = record.redacted(run(b"a", 2, 2, [b"2"], [(b"", b"", b"")]))
    empty = run(b"a", 3, 3, [b""], [(b"", b"metadata", b"")])
    for find in (lambda: chunk_of([events, redacted, empty], 0, 4, True, CHANNEL),
                 lambda: chunk_of_found([(events, 0), (events, 1), (redacted, 0), (empty, 0)], 0, 4, True, CHANNEL)):
        chunk = find()
        assert (chunk.count, chunk.key_after(2), chunk.stop) == (3, 3, 4)
        assert chunk.data == b"".join(resp.command("message", "a", data) for data in ("0", "1", ""))


def test_a_pattern_passes_the_keys_that_match_and_no_streams_that_do_not(records):
    chunk = chunk_of([run(b"a%3A", 0, 9, [b"x"]), *records], 9, 16, True, PATTERN._replace(glob=Glob(b"[^:]")))
    assert (chunk.first, chunk.stop, chunk.count, chunk.key_after(0), chunk.key_after(1)) == (9, 16, 6, 10, 11)
    assert chunk_of(records, 10, 16, True, PATTERN._replace(glob=Glob(b"a:"))).count == 0


@pytest.mark.parametrize("form", [Form(True, False, Filter(b"a")), Form(True, True, Filter(b"", frozenset([b"x"])))])
def test_what_a_page_found_is_the_chunk_of_its_records(records, form):
    expected = chunk_of(records, 10, 16, True, form)
    passing = [(one, i) for one in records for i in form.filter.passing(one)]
    found = chunk_of_found(passing, 10, 12, True, form)
    assert (found.data, found.ends, found.count, found.stop) == (expected.data, expected.ends, expected.count, 16)
    assert chunk_of_found([], 10, 12, True, form).stop == 12


@pytest.mark.parametrize("push", [False, True])
def test_a_notice_is_one_frame_before_which_and_behind_which_its_key_stands(push):
    one = notice(CAUGHT_UP, b"s", 7, Form(True, push))
    assert one.data == b"%b3\r\n+caught-up\r\n+s\r\n:7\r\n" % (b">" if push else b"*")
    assert (one.count, one.key_after(0), one.key_after(1), one.cut(3)) == (1, 7, 7, (1, len(one.data)))
