"""store/record.py: what bytes are a record, and what bytes are not."""

import random
import struct
import sys
import zlib
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store import record
from store.record import BadRecord, Event, ShortRecord

SALT = 0x12345678
NUMBERS = st.integers(0, 2**64 - 1 - 100)
TAGS = st.lists(st.sampled_from([b"a", b"\xffb c"]), max_size=2).map(tuple)
NAMES = st.text(st.characters(blacklist_characters="\r\n\0:", blacklist_categories=["Cs"]), min_size=1,
                max_size=20)


def encoded(datas=(b"first", b"second"), stream=b"s", number=3, position=7, synced=5, **more):
    frames = record.frames(stream, b"n", number, list(datas))
    return record.encode(SALT, number, position, 123, synced, frames, **more)


def decoded(data):
    return record.decode(data, 0, SALT)


def with_header(data, **changes):
    """`data` with other fields in its header, whose checksum is right all the same."""
    names = ("magic", "kind", "zero", "flags", "stored", "count", "frames", "size", "number", "position",
             "clock", "synced", "crc")
    fields = dict(zip(names, struct.unpack_from("<4sBBHIIIIQQQQI", data)), **changes)
    header = struct.pack("<4sBBHIIIIQQQQI", *fields.values())
    return header + struct.pack("<I", zlib.crc32(header, SALT)) + data[64:]


# -- bytes on disk ----------------------------------------------------------------

def laid_out(kind, flags, body, count=0, frames=0, number=0, position=7, clock=123, synced=5, size=None):
    """A record as the picture in record.py has it."""
    header = struct.pack("<4sBBHIIIIQQQQI", b"\xffEV\x01", kind, 0, flags, len(body), count, frames,
                         len(body) if size is None else size, number, position, clock, synced, zlib.crc32(body))
    return header + struct.pack("<I", zlib.crc32(header, SALT)) + body


A = b"*5\r\n+event\r\n+s\r\n:3\r\n+n\r\n$1\r\na\r\n"
BB = b"*5\r\n+event\r\n+s\r\n:4\r\n+n\r\n$2\r\nbb\r\n"
OF_T = b"*5\r\n+event\r\n+t\r\n:0\r\n+n\r\n$2\r\nbb\r\n"


def test_a_run_is_the_bytes_that_the_picture_shows():
    body = A + BB + struct.pack("<2I", 31, 63)
    run = laid_out(1, 0, body, 2, 63, 3)
    assert encoded([b"a", b"bb"]) == run
    assert encoded([b"a", b"bb"], more=True) == laid_out(1, 1, body, 2, 63, 3)
    one = A + struct.pack("<I", 31)
    assert encoded([b"a"]) == laid_out(1, 0, one, 1, 31, 3)
    assert [(event.number, event.position, event.data) for event in decoded(run).events()] == [
        (3, 7, b"a"), (4, 8, b"bb")]


def test_a_run_with_clocks_and_details_is_the_bytes_that_the_picture_shows():
    body = (A + BB + struct.pack("<2I", 31, 63) + struct.pack("<2Q", 123, 456) +
            struct.pack("<HHIHHI", 2, 0, 1, 0, 0, 4) + b"idm" + b"data")
    run = laid_out(1, 4 | 8, body, 2, 63, 3)
    assert encoded([b"a", b"bb"], details=[(b"id", b"m", b""), (b"", b"data", b"")], clocks=[123, 456]) == run
    assert [(event.time, event.id, event.metadata) for event in decoded(run).events()] == [
        (123, b"id", b"m"), (456, b"", b"data")]


def test_tags_stand_between_id_and_metadata():
    body = A + struct.pack("<I", 31) + struct.pack("<HHI", 2, 3, 8) + b"ida\0bmetadata"
    tagged = laid_out(1, 4, body, 1, 31, 3)
    assert encoded([b"a"], details=[(b"id", b"metadata", b"a\0b")]) == tagged
    [event] = decoded(tagged).events()
    assert (event.id, event.tags, event.metadata) == (b"id", (b"a", b"b"), b"metadata")


def test_a_pack_is_the_bytes_that_the_picture_shows():
    body = (A + OF_T + struct.pack("<2I", 31, 63) + struct.pack("<2Q", 3, 0) +
            struct.pack("<2I", zlib.crc32(b"s"), zlib.crc32(b"t")))
    pack = laid_out(3, 0, body, 2, 63, 3)
    assert record.encode(SALT, 3, 7, 123, 5, [A, OF_T], pack=([b"s", b"t"], [3, 0])) == pack
    assert [(event.stream, event.number, event.data) for event in decoded(pack).events()] == [
        ("s", 3, b"a"), ("t", 0, b"bb")]


def test_a_compressed_record_is_the_bytes_that_the_picture_shows():
    data = b"again and again " * 20
    frame = b"*5\r\n+event\r\n+s\r\n:3\r\n+n\r\n$320\r\n" + data + b"\r\n"
    body = frame + struct.pack("<I", len(frame))
    one = laid_out(1, 2, zlib.compress(body, 6), 1, len(frame), 3, size=len(body))
    assert encoded([data], level=6) == one
    assert [event.data for event in decoded(one).events()] == [data]


def test_a_mark_is_the_bytes_that_the_picture_shows():
    assert record.encode_mark(SALT, 42, 123) == laid_out(2, 0, b"", position=42, synced=42)


LOST = [(b"stream", 3, 2), (record.unknown(9), 0, 1)]
TABLE = struct.pack("<HQI", 6, 3, 2) + b"stream" + struct.pack("<HQI", 2, 0, 1) + b"\x009"


def test_a_gap_is_the_bytes_that_the_picture_shows_and_padding():
    room = 64 + len(TABLE) + 10
    gap = record.encode_gap(SALT, 7, 123, 10, LOST, room)
    padded = laid_out(4, 0, TABLE + bytes(10), 3, len(TABLE), synced=10, size=len(TABLE))
    head = struct.unpack_from("<I", gap, 56)[0]
    assert head == zlib.crc32(TABLE)                # what is padding has no part in it
    assert gap == with_header(padded, crc=head)[:-10]
    assert record.gap_size(LOST) == 64 + len(TABLE)


@pytest.mark.parametrize("room", [record.gap_size(LOST), 1000])
def test_a_gap_says_who_lost_what(room):
    gap = record.encode_gap(SALT, 7, 123, 10, LOST, room)
    found = decoded(gap + b"?" * (room - len(gap)))
    assert (found.kind, found.size, found.count, found.position, found.synced) == (record.GAP, room, 3, 7, 10)
    assert found.runs() == [record.Lost(b"stream", 3, 2, 7, 123, room), record.Lost(b"\x009", 0, 1, 9, 123, room)]
    assert [(one.stop, one.pack) for one in found.runs()] == [(5, None), (1, None)]


def test_a_gap_without_room_for_its_table_is_compressed_and_without_room_for_that_is_none():
    lost = [(b"stream", 100 * i, 1) for i in range(50)]
    size = len(zlib.compress(b"".join([struct.pack("<HQI", 6, 100 * i, 1) + b"stream" for i in range(50)])))
    for room in (64 + size, record.gap_size(lost) - 1):
        gap = record.encode_gap(SALT, 7, 123, 57, lost, room)
        assert len(gap) == 64 + size
        assert [(one.stream, one.number, one.count) for one in decoded(gap).runs()] == lost
    with pytest.raises(ValueError, match=f"^a gap of {64 + size} bytes, expected no more than {63 + size}$"):
        record.encode_gap(SALT, 7, 123, 57, lost, 63 + size)


def test_a_gap_may_be_cut_off_behind_its_table():
    gap = record.encode_gap(SALT, 7, 123, 10, LOST, 1000)
    assert decoded(gap).size == 1000
    with pytest.raises(ShortRecord) as caught:
        decoded(gap[:-1])
    assert caught.value.size == len(gap)


# -- round trip -----------------------------------------------------------------

@given(stream=NAMES, name=NAMES, number=NUMBERS, position=NUMBERS, clock=NUMBERS, synced=NUMBERS,
       events=st.lists(st.tuples(st.binary(max_size=50), st.binary(max_size=9), st.binary(max_size=9), TAGS),
                       min_size=1, max_size=9),
       more=st.booleans(), details=st.booleans(), level=st.sampled_from([0, 1, 9]))
def test_what_is_encoded_is_decoded(stream, name, number, position, clock, synced, events, more, details,
                                    level):
    frames = record.frames(stream.encode(), name.encode(), number, [data for data, *_ in events])
    some = [(id_, metadata, record.join_tags(tags)) for _, id_, metadata, tags in events] if details else None
    data = record.encode(SALT, number, position, clock, synced, frames, more, some, level)

    found = record.decode(b"before" + data + b"behind", 6, SALT)

    assert found.size == len(data)
    assert (found.stream, found.number, found.position) == (stream.encode(), number, position)
    assert (found.clock, found.synced, found.more_follows) == (clock, synced, more)
    assert bytes(found.frames()) == b"".join(frames)
    assert list(found.events()) == [
        Event(stream, number + i, position + i, clock, name, data, *(rest if details else ()))
        for i, (data, *rest) in enumerate(events)]


def test_compression_changes_the_bytes_in_the_file_and_no_event():
    datas = [b"again and again " * 20] * 9
    plain, zipped = encoded(datas), encoded(datas, level=6)
    assert len(zipped) < len(plain)
    assert list(decoded(zipped).events()) == list(decoded(plain).events())
    assert decoded(zipped).size == len(zipped)


def test_what_compression_would_make_longer_is_left_as_it_is():
    assert encoded([bytes(range(200))], level=9) == encoded([bytes(range(200))])


def test_what_compression_makes_no_shorter_is_left_as_it_is(monkeypatch):
    class Vain:
        """Its output is as long as its input."""

        def __init__(self, level):
            self._size = 0

        def compress(self, data):
            self._size += len(data)
            return b""

        def flush(self):
            return bytes(self._size)

    monkeypatch.setattr(zlib, "compressobj", Vain)
    monkeypatch.setattr(zlib, "compress", lambda data, level: bytes(len(data)))
    assert encoded(level=9) == encoded()
    assert encoded([LONG], level=9).buffers == encoded([LONG]).buffers


def test_numbers_in_the_body_are_swapped_on_a_big_endian_machine(monkeypatch):
    ends = struct.unpack("<2I", encoded()[-8:])
    monkeypatch.setattr(sys, "byteorder", "big")
    swapped = encoded()
    assert struct.unpack(">2I", swapped[-8:]) == ends     # on this machine, the swap shows
    assert tuple(decoded(swapped).ends) == ends


def test_frames_are_what_subscribers_get():
    assert record.frames(b"orders", b"made", 9, [b"", b"\r\n"]) == [
        b"*5\r\n+event\r\n+orders\r\n:9\r\n+made\r\n$0\r\n\r\n",
        b"*5\r\n+event\r\n+orders\r\n:10\r\n+made\r\n$2\r\n\r\n\r\n"]
    assert record.frames(b"orders", b"made", 9, [b"x"]) == [
        b"*5\r\n+event\r\n+orders\r\n:9\r\n+made\r\n$1\r\nx\r\n"]


# -- packs ------------------------------------------------------------------------

PACKED = st.lists(st.tuples(st.sampled_from(["s", "t", "ü"]), st.integers(0, 3), st.binary(max_size=50),
                            st.binary(max_size=9), st.binary(max_size=9), TAGS), min_size=1, max_size=9)


@given(events=PACKED, position=NUMBERS, details=st.booleans(), level=st.sampled_from([0, 9]))
def test_what_is_packed_is_unpacked_in_runs_of_one_stream(events, position, details, level):
    streams, numbers, frames, expected = [], [], [], []
    following = {}
    for stream, gap, data, id_, metadata, tags in events:
        number = following.get(stream, 0) + (gap == 3)      # most go on where their stream was
        following[stream] = number + 1
        streams.append(stream.encode())
        numbers.append(number)
        frames += record.frames(stream.encode(), b"n", number, [data])
        expected.append(Event(stream, number, position + len(expected), 123, "n", data,
                              *((id_, metadata, tags) if details else ())))
    some = [(id_, metadata, record.join_tags(tags)) for *_, id_, metadata, tags in events] if details else None
    data = record.encode(SALT, numbers[0], position, 123, 5, frames, details=some, level=level,
                         pack=(streams, numbers))

    found = decoded(data)

    assert found.kind == record.PACK and found.size == len(data)
    assert found.pack[0] == streams and list(found.pack[1]) == numbers
    assert bytes(found.frames()) == b"".join(frames)
    assert list(found.events()) == expected
    runs = found.runs()
    assert [event for run in runs for event in run.events()] == expected
    assert [run.stream for run in runs for _ in range(run.count)] == streams
    assert all(run.pack is None and run.runs() == [run] for run in runs)
    for stream in {*streams, b"none"}:
        of_it = [(run.number, run.count, run.position) for run in found.of(stream)]
        assert of_it == [(run.number, run.count, run.position) for run in runs if run.stream == stream]
        assert [event for run in found.of(stream) for event in run.events()] == [
            event for event in expected if event.stream == stream.decode()]
    assert b"".join([bytes(run.frames()) for run in runs]) == b"".join(frames)
    for before, after in zip(runs, runs[1:]):       # as few as can be
        assert before.position + before.count == after.position
        assert (before.stream, before.stop) != (after.stream, after.number)


def test_what_is_unpacked_keeps_its_clocks():
    pack = decoded(record.encode(SALT, 3, 7, 123, 5, [A, OF_T, BB], pack=([b"s", b"t", b"s"], [3, 0, 4]),
                                 clocks=[123, 456, 789]))
    assert [event.time for event in pack.events()] == [123, 456, 789]
    assert [[event.time for event in run.events()] for run in pack.runs()] == [[123], [456], [789]]
    assert [[event.time for event in run.events()] for run in pack.of(b"s")] == [[123], [789]]


def test_a_pack_is_unpacked_on_a_big_endian_machine(monkeypatch):
    monkeypatch.setattr(sys, "byteorder", "big")
    pack = decoded(record.encode(SALT, 3, 7, 123, 5, [A, BB, OF_T], pack=([b"s", b"s", b"t"], [3, 4, 0])))
    assert [[event.data for event in run.events()] for run in pack.runs()] == [[b"a", b"bb"], [b"bb"]]


def test_gathering_takes_nothing_of_a_pack_that_has_other_numbers():
    frames = record.frames(b"s", b"n", 3, [b"x"]) + record.frames(b"t", b"n", 0, [b"x"])
    data = record.encode(SALT, 3, 0, 1, 0, frames, pack=([b"s", b"t"], [3, 0]))
    for key, taken in ((2, []), (3, frames[:1]), (4, [])):
        parts, tails = [], []
        pos, following = record.gather(data, 0, 0, SALT, set(), record.wanted(b"s"), key, 9, parts, tails)
        assert (parts, following) == (taken, key + len(taken))
        assert pos == (len(data) if taken else 0)


def test_a_pack_that_has_no_room_for_its_columns_is_no_record():
    frames = record.frames(b"s", b"n", 0, [b"x"]) + record.frames(b"t", b"n", 0, [b"x"])
    data = record.encode(SALT, 0, 0, 1, 0, frames, pack=([b"s", b"t"], [0, 0]))
    size = len(data) - 64
    with pytest.raises(BadRecord, match="contradict"):
        decoded(with_header(data, stored=size - 1, size=size - 1))


# -- gathering ----------------------------------------------------------------------

@st.composite
def logs(draw):
    """(the bytes of plain records that follow one another, [(stream, number, frame)] of their events)"""
    data, events, following = b"", [], {b"s": 0, b"t": 0}
    for kind in draw(st.lists(st.sampled_from(["one", "one", "long", "run", "pack", "details", "mark"]), max_size=12)):
        if kind == "mark":
            data += record.encode_mark(SALT, len(events), 1)
            continue
        streams = [b"s", b"t", b"s"] if kind == "pack" else [draw(st.sampled_from([b"s", b"s", b"t"]))]
        if kind == "run":
            streams *= draw(st.integers(2, 4))
        size = 5000 if kind == "long" else draw(st.sampled_from([0, 1, 100]))
        some = []
        for stream in streams:
            some.append((stream, following[stream], record.frames(stream, b"n", following[stream], [bytes(size)])[0]))
            following[stream] += 1
        _, numbers, frames = map(list, zip(*some))
        data += record.encode(SALT, numbers[0], len(events), 1, 0, frames,
                              pack=(streams, numbers) if kind == "pack" else None,
                              details=[(b"id", b"", b"")] if kind == "details" else None)
        events += some
    return data, events


def gathered(data, stream, key=0):
    parts, tails = [], []
    wanted = None if stream is None else record.wanted(stream)
    pos, following = record.gather(data, 0, 0, SALT, set(), wanted, key, 1000, parts, tails)
    return pos, record.Frames(key, following, parts, tails)


def decoded_for(data, stream):
    """The frames that `gathered` is to find, by way of `decode`."""
    found, pos, key = [], 0, 0
    while pos < len(data):
        one = record.decode(data, pos, SALT)
        if one.kind == record.EVENTS and (one.stream, one.number) != (stream, key):
            break
        some = [frame for frame, of in zip(one.split(), one.pack[0] if one.pack else [stream] * one.count)
                if of == stream] if one.count else []
        if one.count and not some:
            break
        found += some
        key += len(some)
        pos += one.size
    return b"".join(found)


@given(logs())
def test_gathering_by_position_finds_what_was_written(log):
    data, events = log
    pos, frames = gathered(data, None)
    assert pos == len(data)
    assert (frames.stop, frames.data) == (len(events), b"".join([frame for _, _, frame in events]))
    assert [frames.data[begin:end] for begin, end in zip([0, *frames.ends], frames.ends)] == [one[2] for one in events]


@given(logs())
def test_gathering_of_a_stream_finds_what_decoding_finds_as_far_as_its_events_follow(log):
    data, _ = log
    assert bytes(gathered(data, b"s")[1].data) == decoded_for(data, b"s")


@given(logs(), st.data())
def test_gathering_takes_nothing_from_a_damaged_record_on(log, more):
    data, events = log
    if data:
        at = more.draw(st.integers(0, len(data) - 1))
        damaged = data[:at] + bytes([data[at] ^ 1 << more.draw(st.integers(0, 7))]) + data[at + 1:]
        pos, frames = gathered(damaged, None)
        assert pos <= at
        assert frames.data == b"".join([frame for _, _, frame in events[:frames.stop]])
        cut = more.draw(st.integers(0, len(data)))
        _, frames = gathered(data[:cut], None)
        assert frames.data == b"".join([frame for _, _, frame in events[:frames.stop]])


def test_any_number_of_sizes_is_gathered(monkeypatch):
    monkeypatch.setattr(record._Shapes, "MOST", 3)
    for size in [*range(10), *range(10)]:
        data = encoded([bytes(size)], number=0, position=0)
        assert gathered(data, None)[0] == gathered(data, b"s")[0] == len(data)
    assert len(record._shapes) <= 3


# -- long events ------------------------------------------------------------------

LONG = b"long again and again " * 4000


@pytest.mark.parametrize("more", [
    {}, {"more": True}, {"details": [(b"id", b"metadata", b"a\0b")]}, {"level": 6},
    {"level": 6, "details": [(b"id", b"", b"tag")]}])
@pytest.mark.parametrize("data", [LONG, memoryview(LONG), random.Random(6480).randbytes(len(LONG))],
                         ids=["bytes", "view", "random"])
def test_the_record_of_a_long_event_is_that_of_a_short_one_but_longer(data, more, monkeypatch):
    long = encoded([data], **more)
    monkeypatch.setattr(record, "MAX_FRAMES", 1 << 20)
    plain = encoded([data], **more)
    assert (type(long), type(plain)) == (record.LongRecord, bytes)
    joined = b"".join(long.buffers)
    assert len(long) == len(joined)
    found, expected = decoded(joined), decoded(plain)
    for name in ("flags", "number", "position", "clock", "synced", "stream", "body", "frames_size"):
        assert getattr(found, name) == getattr(expected, name)
    assert list(found.events()) == list(expected.events())
    if "level" not in more:
        assert joined == plain


@pytest.mark.parametrize("datas, level", [([LONG], 0), ([LONG], 6), ([b"a", b"bb"], 0), ([b"a" * 99], 6)])
def test_what_was_written_is_what_will_be_read(datas, level):
    one = encoded(datas, level=level, details=[(b"id", b"", b"")] * len(datas))
    found, expected = record.written(one, SALT), decoded(b"".join(record.buffers([one])))
    for name in record.Record.__slots__[:10]:
        assert getattr(found, name) == getattr(expected, name)


def test_long_data_is_not_copied_before_it_is_written():
    before, data, behind = record.buffers([encoded([LONG])])
    assert data is LONG
    assert len(before) + len(behind) < 200


def test_short_records_are_joined_between_long_ones():
    short, long = encoded(), encoded([LONG])
    for records, count in (([short], 1), ([short, short], 1), ([long], 3), ([short, short, long, long, short], 8),
                           ([long, short, long], 7)):
        buffers = record.buffers(records)
        assert len(buffers) == count
        assert b"".join(buffers) == b"".join(one if one is short else b"".join(long.buffers) for one in records)


def test_only_an_event_too_long_for_a_record_with_others_has_a_long_frame():
    datas = [bytes(record.MAX_FRAMES + 1), b"short", bytes(record.MAX_FRAMES), bytes(record.MAX_FRAMES + 1)]
    frames = record.frames(b"s", b"n", 7, datas)
    assert [type(one) for one in frames] == [record.LongFrame, bytes, bytes, record.LongFrame]
    assert [len(one) for one in frames] == [
        len(record.frames(b"s", b"n", number, [data])[0]) for number, data in enumerate(datas, 7)]
    assert frames[1] == record.frames(b"s", b"n", 8, [b"short"])[0]
    head = b"*5\r\n+event\r\n+s\r\n:%d\r\n+n\r\n$65537\r\n"
    assert (frames[0].head, frames[3].head) == (head % 7, head % 10)
    assert bytes(frames[0]) == head % 7 + datas[0] + b"\r\n"
    assert frames[3].data is datas[3]


# -- a part of a record -----------------------------------------------------------

@pytest.mark.parametrize("first", range(4))
@pytest.mark.parametrize("stop", [0, 1, 2, 3, 4, 99, None])
def test_frames_and_events_are_sliced_alike(first, stop):
    found = decoded(encoded([b"a", b"bb", b"ccc"]))
    frames = record.frames(b"s", b"n", 3, [b"a", b"bb", b"ccc"])
    assert bytes(found.frames(first, stop)) == b"".join(frames[first:stop])
    assert list(found.events(first, stop)) == list(found.events())[first:stop]


def test_the_only_frame_ends_where_the_frames_do():
    found = decoded(encoded([b"a"]))
    assert list(found.ends) == [found.frames_size] == [len(found.frames())]


def test_a_byte_of_the_frames_belongs_to_one_event():
    found = decoded(encoded([b"a", b"bb"]))
    first = found.ends[0]
    assert [found.index_at(pos) for pos in (0, first - 1, first, found.frames_size - 1)] == [0, 0, 1, 1]


def test_details_are_ids_and_metadata_and_tags_or_nothing():
    details = [(b"id", b"", b"one\0two"), (b"", b"metadata", b"")]
    found = decoded(encoded(details=details))
    assert [found.details_of(i) for i in range(2)] == details == found.details()
    assert found.details_of(1) == details[1]
    assert [event.tags for event in found.events()] == [(b"one", b"two"), ()]
    assert decoded(encoded()).details() == [record.NO_DETAILS] * 2
    assert decoded(encoded()).details_of(1) == record.NO_DETAILS


def test_the_longest_id_is_kept_whole():
    details = [(b"i" * record.MAX_ID, b"m", b""), (b"", b"", b"")]
    assert record.MAX_ID == 0xFFFF
    assert decoded(encoded(details=details)).details() == details


def test_a_mark_says_how_far_the_log_is_on_disk_and_has_no_event():
    found = decoded(record.encode_mark(SALT, 42, 123))
    assert (found.kind, found.count) == (record.MARK, 0)
    assert (found.position, found.synced, found.clock) == (42, 42, 123)
    assert found.size == record.HEADER_SIZE
    assert list(found.ends) == []


# -- what is no record ------------------------------------------------------------

@pytest.mark.parametrize("more", [{}, {"level": 9}, {"details": [(b"id", b"m", b"t"), (b"", b"", b"")]}])
def test_no_single_flipped_bit_decodes(more):
    data = encoded([b"a" * 40, b"b"], **more)
    for bit in range(8 * len(data)):
        spoilt = bytearray(data)
        spoilt[bit >> 3] ^= 1 << (bit & 7)
        with pytest.raises(BadRecord) as caught:
            decoded(bytes(spoilt))
        assert not caught.value.unknown


def test_no_truncation_decodes_and_a_whole_header_says_how_much_is_missing():
    data = encoded()
    for size in range(len(data)):
        with pytest.raises(BadRecord) as caught:
            decoded(data[:size])
        if size >= record.HEADER_SIZE:
            assert isinstance(caught.value, ShortRecord)
            assert caught.value.size == len(data)
            assert caught.value.why == f"{size} bytes where the record takes {len(data)}"
        else:
            assert caught.value.why == f"{size} bytes where a header takes 64"


@pytest.mark.parametrize("size", [1, 63, 64, 4096])
def test_zeros_left_by_a_crash_do_not_decode(size):
    with pytest.raises(BadRecord):
        decoded(bytes(size))


@given(st.binary(min_size=64, max_size=200))
def test_random_bytes_do_not_decode(data):
    with pytest.raises(BadRecord):
        decoded(data)


@given(st.integers(0, 2**32 - 1).filter(lambda salt: salt != SALT))
def test_a_record_of_another_segment_does_not_decode(salt):
    with pytest.raises(BadRecord, match="its header doesn't match its checksum"):
        record.decode(encoded(), 0, salt)


@pytest.mark.parametrize("changes, why", [
    ({"magic": b"\xffEV\x02"}, "record version 2"),
    ({"kind": 7}, "record kind 7"),
    ({"flags": 16}, "record flags 0x10"),
    ({"zero": 1}, "record flags 0x10000"),
])
def test_what_a_newer_version_wrote_is_refused_by_name(changes, why):
    with pytest.raises(BadRecord, match=f"^{why}$") as caught:
        decoded(with_header(encoded(), **changes))
    assert caught.value.unknown


@pytest.mark.parametrize("changes", [
    {"size": (1 << 30) + 1, "flags": record.ZIPPED},
    {"size": 1},
    {"frames": 1000},
    {"count": 1000},
    {"stored": 10},
    {"stored": 1000},
])
def test_sizes_that_contradict_each_other_are_refused_before_they_are_used(changes):
    with pytest.raises(BadRecord, match="the sizes in its header contradict each other"):
        decoded(with_header(encoded(), **changes))


def test_bytes_with_another_magic_are_no_record_of_any_version():
    for magic in (b"\xfeEV\x01", b"\xffEW\x01", b"\xffWV\x02"):
        with pytest.raises(BadRecord, match="^no record begins here$") as caught:
            decoded(with_header(encoded(), magic=magic))
        assert not caught.value.unknown


def test_what_is_wrong_is_the_text_of_the_error():
    assert str(BadRecord("why", unknown=True)) == BadRecord("why").why == "why"
    assert str(ShortRecord(3, 64)) == "3 bytes where the record takes 64"


def zipped(body, size):
    """A record that claims `size` bytes and holds `body`."""
    changes = dict(flags=record.ZIPPED, stored=len(body), crc=zlib.crc32(body), size=size, frames=8, count=1)
    return with_header(encoded()[:64] + body, **changes)


def test_inflating_stops_one_byte_past_what_the_header_claims(monkeypatch):
    asked = []

    class Watched:
        def __init__(self):
            self._inner = real()

        def decompress(self, data, limit):
            asked.append(limit)
            return self._inner.decompress(data, limit)

    real = zlib.decompressobj
    monkeypatch.setattr(zlib, "decompressobj", Watched)
    with pytest.raises(BadRecord, match="its body doesn't inflate to 20 bytes"):
        decoded(zipped(zlib.compress(bytes(10_000_000)), 20))
    assert asked == [21]


def test_a_body_that_inflates_to_less_than_it_claims_is_refused():
    with pytest.raises(BadRecord, match="its body doesn't inflate to 20 bytes"):
        decoded(zipped(zlib.compress(bytes(19)), 20))


def test_a_body_that_is_not_zlibs_is_refused():
    with pytest.raises(BadRecord, match="its body can't be inflated"):
        decoded(zipped(b"nonsense", 20))


# -- what is left of a damaged one --------------------------------------------------

def test_synced_is_read_from_a_whole_header_even_if_the_body_is_damaged():
    assert record.synced_in(encoded()[:64], 0, SALT) == (5, 0)
    assert record.synced_in(encoded()[:63], 0, SALT) is None


@pytest.mark.parametrize("pos", [0, 7])
def test_the_salt_is_found_by_a_header(pos):
    data = b"?" * pos + encoded()
    assert record.salt_behind(data, pos) == SALT


@pytest.mark.parametrize("spoil, expected", [
    (lambda data: data, ("stream", 3)),
    (lambda data: b"?" + data[1:], ("stream", None)),
    (lambda data: data[:64] + b"?" + data[65:], (None, 3)),
    (lambda data: data[:20], (None, None)),
    (lambda data: data.replace(b"stream", b"str\xffam"), ("str\ufffdam", 3)),
])
def test_a_guess_names_what_can_still_be_read(spoil, expected):
    assert record.guess(spoil(encoded(stream=b"stream")), SALT) == expected


# -- cuts ------------------------------------------------------------------------------

RUNS = st.lists(st.tuples(st.sampled_from([b"a", b"b"]), st.booleans(), st.binary(max_size=20), st.binary(max_size=3)),
                min_size=1, max_size=12)


@given(events=RUNS, level=st.sampled_from([0, 6]))
def test_a_cut_gives_what_is_left_and_says_of_which_stream_the_rest_was(events, level):
    nexts = {}
    left, gone, expected = [], {}, []
    for i, (stream, goes, data, id_) in enumerate(events):
        number = nexts.get(stream, 5)
        nexts[stream] = number + 1
        goes = goes and not any(run.stream == stream for run in left)       # what goes is what a stream begins with
        if goes:
            known = gone.setdefault(stream, record.Gone(stream, number, 0, []))
            gone[stream] = known._replace(count=known.count + 1, stubs=known.stubs + [(number, 70 + i, id_)])
        else:
            frames = record.frames(stream, b"n", number, [data])
            one = record.encode(0, number, 70 + i, 9 + i, 1, frames, details=[(id_, b"m", b"")])
            left.append(record.decode(one, 0, 0))
            expected += left[-1].events()
    if not gone:
        return
    found = record.decode(record.encode_cut(3, 70, 9, 1, gone.values(), left, level), 0, 3)
    assert (found.kind, found.position, found.count, found.number) == (record.CUT, 70, len(events), len(left))
    assert found.cut_parts()[2] == list(gone.values())
    parts = found.left()
    assert [event for part in parts for event in part.events()] == expected
    assert [part.position for part in parts] == [70 + sum(one.count for one in parts[:i]) for i in range(len(parts))]
    assert sum(part.count for part in parts) == len(events)
    assert sorted((one.stream, one.number, one.count) for one in found.runs()) == sorted(
        (stream, 5, stop - 5) for stream, stop in nexts.items())
    for stream in (b"a", b"b"):
        parts = found.left_of(stream)
        assert [part.stop for part in parts[:-1]] == [part.number for part in parts[1:]]
        assert [event for part in parts for event in part.events()] == [
            event for event in expected if event.stream == stream.decode()]


def test_a_cut_whose_sizes_contradict_each_other_is_no_record():
    good = record.encode_cut(1, 0, 0, 0, [record.Gone(b"s", 0, 1, [])])
    header = bytearray(good[:60])
    header[16:20] = (1000).to_bytes(4, "little")        # bytes of frames
    bad = bytes(header) + zlib.crc32(header, 1).to_bytes(4, "little") + good[64:]
    with pytest.raises(record.BadRecord, match="contradict"):
        record.decode(bad, 0, 1)


def test_the_first_stretch_of_each_stream_ends_where_numbers_jump_or_a_record_is_bad():
    pack = record.encode(SALT, 0, 5, 1, 0, [frame for stream, number in ((b"a", 3), (b"b", 7), (b"a", 5))
                                           for frame in record.frames(stream, b"n", number, [b"x"])],
                         pack=([b"a", b"b", b"a"], [3, 7, 5]))
    parts = [encoded([b"1", b"22"], b"a", 1), pack, encoded([b"y" * 5000], b"b", 8), encoded([b"333"], b"b", 8),
             encoded([b"4"], b"b", 20), encoded([b"5", b"6"], b"b", 30),
             record.encode_mark(SALT, 9, 1)]
    whole = b"".join(parts)
    found = record.stretches(whole + encoded([b"5"], b"c", 0), 0, len(whole) + 1, 1000, SALT)
    assert {stream: one[:2] for stream, one in found.items()} == {b"a": (1, 4), b"b": (7, 9), b"c": (0, 1)}
    of_a = [*record.frames(b"a", b"n", 1, [b"1", b"22"]), *record.frames(b"a", b"n", 3, [b"x"])]
    for number in (1, 2, 3):
        since = found[b"a"].since(number)
        assert since.behind == 1000 + len(parts[0]) + len(pack)
        assert (since.first, since.stop, since.data) == (number, 4, b"".join(of_a[number - 1:]))
        assert record.Frames(*since[:2], [since.data], [(len(since.data), since.ends)]).ends == \
            list(accumulate(map(len, of_a[number - 1:])))
    for i in range(len(parts[0])):      # one of two events, and a single one: as far as bytes are right
        for bad in (parts[0], encoded([b"7"], b"d", 7)):
            bad = bytearray(bad)
            if i < len(bad):
                bad[i] ^= 1
                assert not record.stretches(bytes(bad), 0, 1, 0, SALT)
                assert not record.stretches(bytes(bad[:i]), 0, 1, 0, SALT)
    assert record.stretches(parts[0] + bytes(100), 0, 1000, 0, SALT).keys() == {b"a"}
