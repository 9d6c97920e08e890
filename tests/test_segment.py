"""store/segment.py: the header of a file of records, and reading records through a window."""

import errno
import os
import struct
import zlib

import pytest
from disk import Disk, flip, one_record

from store import CorruptSegment, UnknownFormat
from store.files import Files
from store.record import BadRecord
from store.segment import (HEADER_SIZE, LONG_READ, SHORT_READ, Header, Reader, Segment, decode_header,
                           file_name, is_segment)

HEADER = Header(b"u" * 16, b"salt" + b"i" * 12, b"p" * 16, 7, 2, 100, 4096, 0, 123)
SALT = 0x746C6173


@pytest.fixture
def segment(tmp_path):
    made = Segment.create(Files(), str(tmp_path), HEADER)
    yield made
    made.close()


def put(segment, *records):
    """Write records, or what is to pass for them, one behind the other; return their bytes in the file."""
    places = []
    for data in records:
        places.append(segment.end)
        segment.files.write(segment.fd, data, segment.end)
        segment.end += len(data)
    return places


def run(number, size=10, **more):
    return one_record(SALT, number=number, position=number, datas=[b"x" * size], **more)


# -- the header ---------------------------------------------------------------------

def test_a_header_is_read_as_it_was_written(segment):
    opened = Segment.open(Files(), segment.path)
    assert opened.header == HEADER
    assert (opened.sequence, opened.salt, opened.end) == (7, SALT, HEADER_SIZE)
    assert os.path.basename(opened.path) == "000000000007.segment"
    opened.close()


def test_no_single_flipped_bit_of_a_header_decodes():
    data = HEADER.encode()
    for bit in range(8 * len(data)):
        spoilt = bytearray(data)
        spoilt[bit >> 3] ^= 1 << (bit & 7)
        assert decode_header(bytes(spoilt), "path") is None


def test_no_part_of_a_header_decodes(tmp_path):
    path = tmp_path / file_name(7)
    for size in (0, 1, HEADER_SIZE - 1):
        path.write_bytes(HEADER.encode()[:size])
        assert Segment.open(Files(), str(path)) is None


@pytest.mark.parametrize("at, value, version", [(8, 2, 2), (12, 1, 1)])
def test_a_segment_of_a_newer_version_is_refused_by_name(tmp_path, at, value, version):
    data = bytearray(HEADER.encode())
    struct.pack_into("<I", data, at, value)
    data[124:] = struct.pack("<I", zlib.crc32(data[:124]))
    path = tmp_path / file_name(7)
    path.write_bytes(data)
    with pytest.raises(UnknownFormat, match=f"segment version {version} at byte 8 is not known"):
        Segment.open(Files(), str(path))


def test_a_segments_name_is_its_number_in_12_digits():
    assert is_segment(file_name(0)) and is_segment(file_name(10**12 - 1))
    for name in ("1.segment", "000000000001.segment.0", "000000000001.segment\n", "x000000000001.segment"):
        assert not is_segment(name)


def test_the_header_and_the_name_are_on_disk_before_the_segment_is_there(tmp_path):
    disk = Disk()
    Segment.create(disk, str(tmp_path), HEADER).close()
    name = file_name(7)
    assert disk.calls == [("create", name), ("write", name), ("sync", name), ("sync_folder", tmp_path.name)]


@pytest.mark.parametrize("verb", ["create", "write", "sync", "sync_folder"])
def test_a_segment_that_cannot_be_made_leaves_no_open_file(tmp_path, verb):
    disk = Disk()
    disk.refuse(verb, errno.EIO)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError):
        Segment.create(disk, str(tmp_path), HEADER)
    assert os.listdir("/proc/self/fd") == before


def test_a_segment_that_cannot_be_read_leaves_no_open_file(segment):
    disk = Disk()
    disk.refuse("read", errno.EIO)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError):
        Segment.open(disk, segment.path)
    assert os.listdir("/proc/self/fd") == before


# -- zeros ahead of the records --------------------------------------------------------

FAR = 1 << 40       # no limit


@pytest.fixture
def filling(tmp_path, monkeypatch):
    """A segment of a Disk that fills, a thousand bytes at a time."""
    monkeypatch.setattr("store.segment.AHEAD", 1000)
    monkeypatch.setattr("store.segment._WORTH_IT", 500)
    disk = Disk()
    disk.fills = True
    made = Segment.create(disk, str(tmp_path), HEADER)
    yield made
    made.close()


def append(segment, data, limit=FAR):
    put(segment, data)
    segment.fill_ahead(len(data), limit)


def content(segment):
    return Files().read(segment.fd, 1 << 20, HEADER_SIZE)


def test_appends_go_where_zeros_are_and_more_zeros_follow_when_these_are_used_up(filling):
    append(filling, b"a" * 300)
    assert content(filling) == b"a" * 300 + bytes(1000)
    append(filling, b"b" * 500)
    append(filling, b"c" * 500)
    assert content(filling) == b"a" * 300 + b"b" * 500 + b"c" * 500
    assert filling.files.count("fill") == 1
    append(filling, b"d")
    assert content(filling) == b"a" * 300 + b"b" * 500 + b"c" * 500 + b"d" + bytes(1000)
    assert filling.files.count("fill") == 2


def test_no_zeros_follow_an_append_that_is_large(filling):
    append(filling, b"a" * 501)
    assert content(filling) == b"a" * 501
    append(filling, b"b" * 500)
    assert content(filling) == b"a" * 501 + b"b" * 500 + bytes(1000)


def test_zeros_end_at_the_limit(filling):
    append(filling, b"a" * 300, HEADER_SIZE + 310)
    assert content(filling) == b"a" * 300 + bytes(10)
    for data in (b"b" * 10, b"c"):
        append(filling, data, HEADER_SIZE + 310)
    assert content(filling) == b"a" * 300 + b"b" * 10 + b"c"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_refuses_zeros_is_asked_again_when_they_would_have_been_used_up(filling, code):
    filling.files.refuse("fill", code)
    append(filling, b"a" * 300)
    append(filling, b"b" * 500)
    append(filling, b"c" * 500)
    assert content(filling).rstrip(b"\0") == b"a" * 300 + b"b" * 500 + b"c" * 500
    assert filling.files.count("fill") == 1
    append(filling, b"d")
    assert filling.files.count("fill") == 2
    assert content(filling)[-1001:] == b"d" + bytes(1000)


def test_no_memory_for_zeros_is_no_harm(filling, monkeypatch):
    def fill(fd, start, stop):
        raise MemoryError

    monkeypatch.setattr(filling.files, "fill", fill)
    append(filling, b"a")
    assert content(filling) == b"a"


def test_trimming_gives_back_the_zeros_and_no_more(filling):
    append(filling, b"a" * 300)
    for _ in range(2):
        filling.trim()
        assert content(filling) == b"a" * 300
    assert filling.files.count("truncate") == 1


def test_a_disk_that_does_not_take_zeros_back_is_warned_of(filling, caplog):
    append(filling, b"a" * 300)
    filling.files.refuse("truncate", errno.EIO)
    filling.trim()
    assert content(filling) == b"a" * 300 + bytes(1000)
    assert "the zeros behind its records stay" in caplog.text


# -- reading ------------------------------------------------------------------------

class Counting(Files):
    def __init__(self):
        self.reads = []

    def read(self, fd, size, pos):
        self.reads.append(size)
        return super().read(fd, size, pos)


def test_records_one_behind_the_other_are_read_in_long_reads(segment):
    places = put(segment, *[run(i, 5000) for i in range(100)])
    segment.files = Counting()
    found = list(Reader(segment).records(HEADER_SIZE))
    assert [(byte, one.number) for byte, one in found] == [(byte, i) for i, byte in enumerate(places)]
    assert len(segment.files.reads) == 2    # 520,000 bytes, 262,144 at once
    assert max(segment.files.reads) == LONG_READ


@pytest.mark.parametrize("size", [SHORT_READ - 200, SHORT_READ, LONG_READ, 2 * LONG_READ])
def test_a_record_is_read_whole_wherever_the_window_ends(segment, size):
    first, second = put(segment, run(0, size), run(1, size))
    for span in (SHORT_READ, LONG_READ):
        reader = Reader(segment)
        assert [reader.record(byte, span).number for byte in (first, second, first)] == [0, 1, 0]


def test_one_record_is_read_in_a_short_read(segment):
    first, second = put(segment, run(0), run(1))
    segment.files = Counting()
    assert Reader(segment).record(second, SHORT_READ).number == 1
    assert segment.files.reads == [segment.end - second]


def test_reading_ends_at_the_end_even_if_the_file_goes_on(segment):
    first, second = put(segment, run(0), run(1))
    assert [byte for byte, _ in Reader(segment, second).records(HEADER_SIZE)] == [first]
    for byte in (second, second + 1):
        with pytest.raises(BadRecord, match="0 bytes where a header takes 64"):
            Reader(segment, second).record(byte)


@pytest.mark.parametrize("size", [100, LONG_READ])
def test_a_record_that_the_file_ends_in_is_bad_and_those_before_it_are_not(segment, size):
    places = put(segment, run(0, size), run(1, size))
    segment.end -= 1
    reader = Reader(segment)
    for _ in range(2):      # the second time it is at hand
        found = []
        with pytest.raises(BadRecord, match="bytes where the record takes"):
            found.extend(byte for byte, _ in reader.records(HEADER_SIZE))
    assert reader.record(places[0]).number == 0


def test_the_error_for_a_damaged_record_says_which_one_it_was(segment):
    [first, second] = put(segment, run(0), run(1))
    flip(segment.path, second + 60 + 40)
    with pytest.raises(BadRecord) as caught:
        Reader(segment).record(second)
    error = segment.corrupt(second, caught.value, position=1)
    assert isinstance(error, CorruptSegment)
    assert str(error) == (
        f"{segment.path}: event 1 of stream 's' (position 1) at byte {second} is damaged (its body doesn't "
        "match its checksum); the file is left as it is, events before it are readable")
    assert (error.path, error.pos, error.stream, error.number, error.position) == (
        segment.path, second, "s", 1, 1)


def test_the_error_for_a_damaged_record_says_no_more_than_can_be_read(segment):
    [byte] = put(segment, run(0))
    flip(segment.path, byte)
    error = segment.corrupt(byte, BadRecord("why"))
    assert str(error).startswith(f"{segment.path}: an event of stream 's' at byte {byte} is damaged (why)")
    flip(segment.path, byte + 64)
    error = segment.corrupt(byte, BadRecord("why"))
    assert str(error).startswith(f"{segment.path}: a record at byte {byte} is damaged (why)")


def test_the_error_for_a_record_of_a_newer_version_is_not_damage(segment):
    error = segment.corrupt(200, BadRecord("record version 2", unknown=True))
    assert isinstance(error, UnknownFormat)
    assert "record version 2 at byte 200 is not known to this version; nothing was changed" in str(error)
