"""store/blocks.py: replays of scattered streams give what the log has, from memory where they come again."""

import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_replay import WRITES, fill, keys_and_frames, read_both_ways

from store import CorruptSegment, Store, blocks, record, replay
from store.blocks import Blocks

SLICE = 3000


@pytest.fixture
def small(monkeypatch):
    """Blocks of 2,000 bytes, made at the first look; and no places are close."""
    monkeypatch.setattr(blocks, "SIZE", 2000)
    monkeypatch.setattr(blocks, "WORTH_IT", 1)
    monkeypatch.setattr(blocks, "_STAYS", -1)
    monkeypatch.setattr(replay, "CLOSE", 0)
    monkeypatch.setattr(replay, "IN_A_ROW", 1)


def interleave(store, rounds, streams=20, size=100):
    for _ in range(rounds):
        store.commit(store.write([(b"s%d" % i, b"n", [b"x" * size]) for i in range(streams)]))


def replay_of(store, name):
    stream = store.find(name)
    at, found = 0, {}
    while at < stream.visible:
        frames = store.frames(stream, at, stream.visible, SLICE)
        found.update(keys_and_frames(frames, at, stream.visible))
        at = frames.stop
    return found


@settings(max_examples=25)
@given(WRITES, st.integers(0, 30), st.sampled_from([900, 20_000, 1 << 20]), st.sampled_from([0, 0, 6]),
       st.sampled_from([0, 5000, 1 << 20]), st.sampled_from([0, 8192]))
def test_what_blocks_give_is_what_the_log_has_whatever_was_written(tmp_path_factory, writes, first, segment_size, level,
                                                                  memory, close):
    folder = tmp_path_factory.mktemp("db")
    with pytest.MonkeyPatch.context() as patch:
        small.__wrapped__(patch)
        patch.setattr(replay, "CLOSE", close)
        for _ in range(2):          # fresh, and from an index on disk
            with Store(folder, sync="no", segment_size=segment_size, compression=level, replay_memory=memory) as store:
                fill(store, writes)
                for stream in filter(None, map(store.find, (b"s0", b"s1", b"s2"))):
                    for _ in range(2):
                        plain, fast = read_both_ways(store, stream, first)
                        assert fast == plain


@pytest.fixture
def reads(monkeypatch):
    """The sizes of what is read from files."""
    from store.files import Files
    sizes = []
    read = Files.read
    monkeypatch.setattr(Files, "read", lambda self, fd, size, pos: sizes.append(size) or read(self, fd, size, pos))
    return sizes


def test_a_scattered_stream_that_is_replayed_again_is_read_from_memory(tmp_path, monkeypatch, reads):
    monkeypatch.setattr(blocks, "SIZE", 64 * 1024)
    monkeypatch.setattr(blocks, "WORTH_IT", 4)
    with Store(tmp_path / "db", sync="no") as store:
        interleave(store, 100, streams=100)
        before = replay_of(store, b"s7")
        for i in range(30):
            replay_of(store, b"s%d" % i)
        reads.clear()
        assert replay_of(store, b"s7") == before
        assert len(before) == 100
        assert len(reads) < 10      # of what comes last, where no block is whole


def test_small_records_in_a_row_are_read_from_memory_when_they_come_again(tmp_path, monkeypatch, small, reads):
    monkeypatch.setattr(replay, "CLOSE", 8 * 1024)
    with Store(tmp_path / "db", sync="no") as store:
        for i in range(200):
            store.append("alone", "n", b"%d" % i)
        before = replay_of(store, b"alone")
        assert sorted(before) == list(range(200))
        for _ in range(20):         # a slice makes one block at most
            replay_of(store, b"alone")
        reads.clear()
        assert replay_of(store, b"alone") == before
        assert sum(reads) < 4 * blocks.SIZE      # of what comes last, where no block is whole


def test_blocks_take_no_more_memory_than_they_may(tmp_path, monkeypatch, small):
    with Store(tmp_path / "db", sync="no", replay_memory=20_000) as store:
        interleave(store, 50)
        for _ in range(3):
            for i in range(20):
                assert sorted(replay_of(store, b"s%d" % i)) == list(range(50))
            kept = store._log._replays._blocks
            assert 0 < kept._size <= 20_000
            assert kept._size == sum(block.size for block in kept._blocks.values())


def test_without_memory_there_are_none(tmp_path, small):
    with Store(tmp_path / "db", sync="no", replay_memory=0) as store:
        interleave(store, 50)
        assert len(replay_of(store, b"s3")) == 50
        assert not store._log._replays._blocks._blocks


def test_counts_of_blocks_that_are_never_made_are_forgotten(tmp_path, monkeypatch, small):
    monkeypatch.setattr(blocks, "WORTH_IT", 10_000)
    monkeypatch.setattr(blocks, "_COUNTED", 3)
    with Store(tmp_path / "db", sync="no") as store:
        interleave(store, 50)
        replay_of(store, b"s3")
        assert len(store._log._replays._blocks._reads) <= 3


def test_two_threads_may_make_the_same_block(tmp_path, small):
    with Store(tmp_path / "db", sync="no") as store:
        interleave(store, 50)
        made = Blocks(store._log.index)
        segment = store._log._segments[0]
        first = made.make(segment, 2500)
        assert made.make(segment, 2500) == first
        assert made._size == sum(block.size for block in made._blocks.values())


def test_streams_whose_names_have_the_same_hash_are_told_apart(tmp_path, monkeypatch, small):
    monkeypatch.setattr(record, "_crc32", lambda data, start=0: (
        0x11111111 if bytes(data) in (b"a", b"b") else zlib.crc32(data, start)))
    with Store(tmp_path / "db", sync="no") as store:
        for _ in range(30):
            store.commit(store.write([(name, b"n", [name * 50]) for name in (b"a", b"b", b"b", b"c", b"a")]))
        for name in (b"a", b"b", b"c"):
            for _ in range(2):
                plain, fast = read_both_ways(store, store.find(name), 0)
                assert fast == plain
                assert all(frame.startswith(b"*5\r\n+event\r\n+%b\r\n" % name) for frame in fast.values())


def test_damage_in_a_block_is_named_by_who_comes_to_it(tmp_path, small):
    with Store(tmp_path / "db", sync="no") as store:
        interleave(store, 20)
        _, places = store._log.index.places(b"s3", 0)
        with open(tmp_path / "db" / "000000000000.segment", "r+b") as file:
            file.seek(places[10][1] + record.HEADER_SIZE + 40)
            file.write(b"\xff")
        stream = store.find(b"s3")
        at = 0
        with pytest.raises(CorruptSegment) as caught:
            while True:
                at = store.frames(stream, at, 20, SLICE).stop
        assert at == 10
        assert f"byte {places[10][1]}" in str(caught.value)


def test_a_segment_that_is_written_anew_leaves_no_block_behind(tmp_path, small):
    with Store(tmp_path / "db", sync="no", segment_size=64 * 1024) as store:
        interleave(store, 10)
        before = replay_of(store, b"s3")
        assert replay_of(store, b"s3") == before
        assert store._log._replays._blocks._blocks
        store.truncate("s5", 5)
        store.compact()
        assert not store._log._replays._blocks._blocks
        assert replay_of(store, b"s3") == before
