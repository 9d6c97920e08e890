"""store/replay.py: the fast way gives what the plain one gives, and leaves what it can't read."""

import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store import Change, CorruptSegment, NewEvent, Store, record
from store.record import HEADER_SIZE, LONG_BODY, Frames
from store.segment import SHORT_READ, Checked

SLICE = 3000

# (which stream, how many bytes each event has): what one write stores.
WRITE = st.lists(st.tuples(st.integers(0, 2), st.sampled_from([0, 1, 50, 700, 5000])), min_size=1, max_size=8)
WRITES = st.lists(WRITE, min_size=1, max_size=25)


def fill(store, writes):
    for i, write in enumerate(writes):
        if i % 3:
            store.commit(store.write([(b"s%d" % stream, b"n", [bytes([i % 256]) * size]) for stream, size in write]))
        else:
            store.append_all([Change(f"s{stream}", NewEvent("n", bytes([i % 256]) * size)) for stream, size in write])


def keys_and_frames(frames, first, stop):
    """{key: frame} of what Frames have of [first, stop)."""
    starts = [0, *frames.ends[:-1]]
    assert len(frames.ends) == frames.stop - frames.first
    assert not frames.ends or frames.ends[-1] == len(frames.data)
    return {key: bytes(frames.data[start:end])
            for key, start, end in zip(range(frames.first, frames.stop), starts, frames.ends)
            if first <= key < stop}


def read_both_ways(store, stream, first):
    """The frames from `first` on, by slices of records and by slices of frames."""
    stop = stream.visible
    plain, fast = {}, {}
    at = first
    while at < stop:
        found = Frames.of(store.records(stream, at, stop, SLICE), stream is store.all)
        plain.update(keys_and_frames(found, at, stop))
        at = found.stop
    at = first
    while at < stop:
        found = store.frames(stream, at, stop, SLICE)
        assert found.first <= at < found.stop
        fast.update(keys_and_frames(found, at, stop))
        at = found.stop
    return plain, fast


@settings(max_examples=60)
@given(WRITES, st.integers(0, 30), st.sampled_from([900, 20_000, 1 << 20]), st.sampled_from([0, 0, 6]))
def test_frames_are_those_of_the_records_whatever_was_written(tmp_path_factory, writes, first, segment_size, level):
    folder = tmp_path_factory.mktemp("db")
    for _ in range(2):          # fresh, and from an index on disk
        with Store(folder, sync="no", segment_size=segment_size, compression=level) as store:
            fill(store, writes)
            for stream in [store.all, *filter(None, map(store.find, (b"s0", b"s1", b"s2")))]:
                plain, fast = read_both_ways(store, stream, first)
                assert fast == plain
                assert sorted(plain) == list(range(first, stream.visible))


@pytest.fixture
def spy(monkeypatch):
    """The calls of the plain path, which the fast one is to make needless."""
    from store.log import Log
    calls = []

    def watch(name):
        read = getattr(Log, name)
        monkeypatch.setattr(Log, name, lambda self, *args: calls.append(name) or read(self, *args))

    watch("_read_all")
    watch("_read_stream")
    return calls


@pytest.mark.parametrize("size", [10, 3000, 70_000])
def test_plain_records_are_never_decoded(tmp_path, spy, size):
    with Store(tmp_path / "db", sync="no", segment_size=1 << 20) as store:
        for i in range(60):
            store.commit(store.write([(b"a", b"n", [b"x" * size]), (b"b%d" % (i % 5), b"n", [b"y"] * (1 + i % 3))]))
        for stream in (store.all, store.find(b"a"), store.find(b"b3")):
            at = 0
            while at < stream.visible:
                at = store.frames(stream, at, stream.visible, SLICE).stop
            assert not spy


def test_records_of_one_stream_in_a_row_are_gathered_though_places_are_far_apart(tmp_path, spy):
    with Store(tmp_path / "db", sync="no") as store:
        for _ in range(2000):
            store.commit(store.write([(b"a", b"n", [b"x" * 100])]))
        stream = store.find(b"a")
        for first in (0, 1, 700, 1999):
            assert store.frames(stream, first, stream.visible, 1 << 20).stop == 2000
        assert not spy


def test_streams_whose_names_have_the_same_hash_are_told_apart(tmp_path, monkeypatch):
    # All bytes of the hash are alike, so that it is found between two columns' entries, too.
    monkeypatch.setattr(record, "_crc32", lambda data, start=0: (
        0x11111111 if bytes(data) in (b"a", b"b") else zlib.crc32(data, start)))
    with Store(tmp_path / "db", sync="no") as store:
        for _ in range(3):
            store.commit(store.write([(name, b"n", [name]) for name in (b"a", b"b", b"b", b"c", b"a")]))
        for name in (b"a", b"b", b"c"):
            plain, fast = read_both_ways(store, store.find(name), 0)
            assert fast == plain
            assert len(fast) == store.find(name).next
            assert all(frame.startswith(b"*5\r\n+event\r\n+%b\r\n" % name) for frame in fast.values())


def test_the_next_slice_goes_on_without_the_index(tmp_path, monkeypatch):
    with Store(tmp_path / "db", sync="no") as store:
        for _ in range(50):
            store.commit(store.write([(b"a", b"n", [b"x" * 200])]))
        first = store.frames(store.find(b"a"), 0, 50, SLICE)
        monkeypatch.setattr(store._log.index, "places", None)
        assert store.frames(store.find(b"a"), first.stop, 50, SLICE).first == first.stop


def test_places_of_replays_that_never_go_on_are_forgotten(tmp_path, monkeypatch):
    monkeypatch.setattr("store.replay._MAX_PLACES", 3)
    with Store(tmp_path / "db", sync="no") as store:
        for _ in range(20):
            store.commit(store.write([(b"a", b"n", [b"x"])]))
        for first in range(20):
            assert store.frames(store.find(b"a"), 0, first + 1, SLICE).stop == first + 1
        assert len(store._log._replays._places) <= 3


@pytest.mark.parametrize("size", [10, 6000])
@pytest.mark.parametrize("of", ["a", None])
@pytest.mark.parametrize("where", [30, HEADER_SIZE + 20])
def test_damage_ends_a_slice_and_is_named_by_the_next(tmp_path, size, of, where):
    with Store(tmp_path / "db", sync="no") as store:
        byte = []
        for _ in range(4):
            byte.append(store._log._segments[0].end)
            store.commit(store.write([(b"a", b"n", [b"x" * size])]))
        with open(tmp_path / "db" / "000000000000.segment", "r+b") as file:
            file.seek(byte[2] + where)
            flipped = bytes([file.read(1)[0] ^ 4])
            file.seek(byte[2] + where)
            file.write(flipped)
        stream = store.find(b"a") if of else store.all
        assert store.frames(stream, 0, 4, 1 << 20).stop == 2
        with pytest.raises(CorruptSegment) as caught:
            store.frames(stream, 2, 4, 1 << 20)
        assert caught.value.pos == byte[2]


def test_a_mark_between_records_is_passed(tmp_path):
    for _ in range(3):
        with Store(tmp_path / "db") as store:       # leaves a mark when it closes
            store.append("a", "n", b"x")
    with Store(tmp_path / "db") as store:
        for stream in (store.all, store.find(b"a")):
            assert list(read_both_ways(store, stream, 0)[1]) == [0, 1, 2]


def test_long_records_are_compared_once():
    checked = Checked()
    places = [0, 5 * LONG_BODY, 5 * LONG_BODY + 17, 1_000_000 * LONG_BODY]
    assert not [place for place in places if place in checked]
    checked.add(5 * LONG_BODY + 3)
    assert [place for place in places if place in checked] == places[1:3]
    checked.add(0)
    checked.add(1_000_000 * LONG_BODY)
    assert [place for place in places if place in checked] == places
    assert 4 * LONG_BODY not in checked and 1_000_001 * LONG_BODY not in checked


def test_a_mark_behind_the_last_event_of_a_stream_in_a_segment_is_passed(tmp_path):
    with Store(tmp_path / "db") as store:       # leaves a mark when it closes
        store.append("a", "n", b"x" * (SHORT_READ - 132))       # which ends where what is read at once ends
    with Store(tmp_path / "db", segment_size=12_500) as store:
        store.append("b", "n", b"y" * 1500)
        store.append("a", "n", b"z" * 1500)     # which goes to the next segment
    with Store(tmp_path / "db", segment_size=12_500) as store:
        assert store._log.segment_count == 2
        plain, fast = read_both_ways(store, store.find(b"a"), 0)
        assert fast == plain
        assert sorted(plain) == [0, 1]
