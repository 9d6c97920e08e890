"""store/recent.py: events that were written last among others are replayed from memory, and bounded memory it is."""

import zlib

import pytest
from test_blocks import interleave, reads, replay_of  # noqa: F401
from test_replay import read_both_ways

from store import Change, CorruptSegment, NewEvent, Store, blocks, record
from store.recent import Recent

ROOM = 1 << 20

def recent_of(store):
    return store._log._recent


def put(store, *names, size=100):
    """One record, or several, of an event of each stream."""
    store.commit(store.write([(name, b"n", [b"x" * size]) for name in names]))


def assert_both_ways_agree(store, *names):
    for name in names:
        for first in (0, 1, 7):
            plain, fast = read_both_ways(store, store.find(name), first)
            assert fast == plain
            assert sorted(plain) == list(range(first, store.find(name).visible))


def test_the_first_replay_of_what_was_written_among_others_reads_nothing(tmp_path, monkeypatch, reads):  # noqa: F811
    monkeypatch.setattr(blocks, "SIZE", 20_000)
    with Store(tmp_path / "db", sync="no", recent_memory=ROOM) as store:
        interleave(store, 50)
        reads.clear()
        assert sorted(replay_of(store, b"s3")) == list(range(50))
        assert not reads
        assert_both_ways_agree(store, b"s3", b"s19")
    with Store(tmp_path / "db", sync="no", recent_memory=ROOM) as store:        # which knows nothing of it any more
        reads.clear()
        assert sorted(replay_of(store, b"s3")) == list(range(50))
        assert reads


def test_events_that_came_one_at_a_time_among_others_are_kept_as_well(tmp_path, reads):     # noqa: F811
    with Store(tmp_path / "db", sync="no", recent_memory=ROOM) as store:
        for _ in range(30):
            for name in (b"a", b"b", b"c"):
                put(store, name)
        reads.clear()
        assert sorted(replay_of(store, b"b")) == list(range(30))
        assert not reads
        assert_both_ways_agree(store, b"a", b"b", b"c")


def test_packs_that_are_compressed_are_kept_as_well(tmp_path, reads):       # noqa: F811
    with Store(tmp_path / "db", sync="no", recent_memory=ROOM, compression=6) as store:
        interleave(store, 30)
        reads.clear()
        assert sorted(replay_of(store, b"s5")) == list(range(30))
        assert not reads
        assert_both_ways_agree(store, b"s5")


@pytest.mark.parametrize("size", [100, 5000])
def test_of_a_stream_that_is_read_as_it_lies_nothing_is_kept(tmp_path, size):
    with Store(tmp_path / "db", sync="no", recent_memory=ROOM) as store:
        for _ in range(20):
            put(store, b"alone", size=size)
            store.commit(store.write([(b"alone", b"n", [b"x" * 100] * 50)]))
        assert recent_of(store).get(b"alone", store._log._segments[0], 5000) is None
        assert recent_of(store)._size < 500
        assert_both_ways_agree(store, b"alone")


@pytest.mark.parametrize("between", [1, 60, 900])
def test_a_run_between_scattered_events_leaves_out_no_number(tmp_path, between):
    with Store(tmp_path / "db", sync="no", recent_memory=ROOM) as store:
        for _ in range(3):
            for _ in range(3):
                put(store, b"a", b"b", b"a", b"c")
            store.commit(store.write([(b"a", b"n", [b"y" * 100] * between)]))
            put(store, b"b", size=6000)
        assert_both_ways_agree(store, b"a", b"b", b"c")


def test_numbers_that_were_skipped_begin_anew(tmp_path):
    with Store(tmp_path / "db", sync="no", recent_memory=ROOM) as store:
        for _ in range(4):
            put(store, b"a", b"b")
        store.skip([("a", 100)])
        for _ in range(4):
            put(store, b"a", b"b")
        found = store.frames(store.find(b"a"), 100, 104, 1 << 20)
        assert (found.first, found.stop) == (100, 104)
        assert b":103\r\n" in found.data
        assert sorted(replay_of(store, b"b")) == list(range(8))


def test_no_more_is_given_than_was_asked_for(tmp_path):
    with Store(tmp_path / "db", sync="no", recent_memory=ROOM) as store:
        interleave(store, 20)
        found = store.frames(store.find(b"s3"), 4, 9, 1 << 20)
        assert (found.first, found.stop) == (4, 9)
        found = store.frames(store.find(b"s3"), 4, 20, 300)     # bytes, of events of 134
        assert (found.first, found.stop) == (4, 7)


def test_events_of_an_append_are_kept_with_those_of_others(tmp_path, reads):        # noqa: F811
    with Store(tmp_path / "db", sync="no", recent_memory=ROOM) as store:
        for i in range(20):
            store.append_all([Change(name, NewEvent("n", b"%d" % i, b"%b-%d" % (name.encode(), i), tags=(b"t",)))
                              for name in ("a", "b")])
        reads.clear()
        assert sorted(replay_of(store, b"a")) == list(range(20))
        assert not reads
        assert_both_ways_agree(store, b"a", b"b")


def test_streams_whose_names_have_the_same_hash_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "_crc32", lambda data, start=0: (
        0x11111111 if bytes(data) in (b"a", b"b") else zlib.crc32(data, start)))
    with Store(tmp_path / "db", sync="no", recent_memory=ROOM) as store:
        for _ in range(30):
            put(store, b"a", b"b", b"b", b"c", b"a")
        assert_both_ways_agree(store, b"a", b"b", b"c")


def test_the_oldest_are_forgotten_when_there_is_no_room(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "SIZE", 4000)
    with Store(tmp_path / "db", sync="no", recent_memory=30_000) as store:
        interleave(store, 60)
        store.note()
        recent = recent_of(store)
        assert 0 < recent._size <= 30_000
        assert recent._size == sum(piece.size for piece in recent._pieces.values())
        assert recent.get(b"s3", store._log._segments[0], 200) is None
        pieces = list(recent._pieces.values())
        assert [piece.count for piece in pieces] == [sum(map(len, piece.frames.values())) for piece in pieces]
        assert_both_ways_agree(store, b"s3")


@pytest.mark.parametrize("limit", [0, 1])
def test_where_there_is_no_room_nothing_is_kept(tmp_path, limit):
    with Store(tmp_path / "db", sync="no", recent_memory=limit) as store:
        interleave(store, 20)
        assert not recent_of(store)._pieces
        assert recent_of(store)._size == 0
        assert_both_ways_agree(store, b"s3")


def test_what_was_written_is_served_whatever_the_disk_has_now_and_damage_is_named_when_it_is_read(tmp_path):
    with Store(tmp_path / "db", sync="no", recent_memory=ROOM) as store:
        interleave(store, 20)
        before = replay_of(store, b"s3")
        _, places = store._log.index.places(b"s3", 0)
        with open(tmp_path / "db" / "000000000000.segment", "r+b") as file:
            file.seek(places[10][1] + record.HEADER_SIZE + 40)
            file.write(b"\xff")
        assert replay_of(store, b"s3") == before
    with Store(tmp_path / "db", sync="no", recent_memory=ROOM) as store:
        stream = store.find(b"s3")
        assert store.frames(stream, 0, 20, 1 << 20).stop == 10
        with pytest.raises(CorruptSegment):
            store.frames(stream, 10, 20, 1 << 20)


def test_nothing_is_left_of_an_event_that_was_redacted(tmp_path):
    with Store(tmp_path / "db", sync="no", recent_memory=ROOM, segment_size=4000) as store:
        for i in range(40):
            store.append_all([Change(name, NewEvent("n", b"secret-%d" % i)) for name in ("a", "b")])
        assert b"secret-3\r\n" in replay_of(store, b"a")[3]
        store.redact("a", 3)
        store.compact()
        assert not recent_of(store)._pieces
        found = store.frames(store.find(b"a"), 0, 40, 1 << 20)
        assert found is None or b"secret-3\r\n" not in found.data
        assert [event.data for event in store.read("a", 2, 5)] == [b"secret-2", b"", b"secret-4"]


def test_a_stream_that_goes_on_in_the_next_segment_is_whole(tmp_path):
    with Store(tmp_path / "db", sync="no", recent_memory=ROOM, segment_size=20_000) as store:
        interleave(store, 60)
        assert store._log.segment_count > 3
        assert_both_ways_agree(store, b"s0", b"s11")


# -- kept behind the answers -----------------------------------------------------------------

def test_what_was_written_is_kept_when_somebody_has_time_or_looks_or_writes_more(tmp_path):
    with Store(tmp_path / "db", sync="no", recent_memory=ROOM) as store:
        put(store, b"a", b"b")
        put(store, b"a", b"b")
        recent, segment = recent_of(store), store._log._segments[0]
        piece, = recent._pieces.values()
        assert len(piece.frames[b"a"]) == 1
        store.note()
        assert len(piece.frames[b"a"]) == 2
        put(store, b"a", b"b")
        assert len(recent.get(b"a", segment, 5000)) == 3
        store.note()
        assert len(piece.frames[b"a"]) == 3


def test_what_is_not_kept_yet_when_a_segment_is_replaced_never_will_be(tmp_path):
    with Store(tmp_path / "db", sync="no", recent_memory=ROOM) as store:
        put(store, b"a", b"b")
        recent = recent_of(store)
        recent.forget()
        store.note()
        assert recent.get(b"a", store._log._segments[0], 5000) is None
        assert_both_ways_agree(store, b"a", b"b")


def test_where_there_is_no_memory_for_a_part_nothing_is_kept_and_the_log_is_read(tmp_path, monkeypatch):
    with Store(tmp_path / "db", sync="no", recent_memory=ROOM) as store:
        recent = recent_of(store)
        keep, asked = Recent._keep, []

        def keep_some(self, *what):
            asked.append(what)
            if len(asked) == 3:
                raise MemoryError
            keep(self, *what)

        monkeypatch.setattr(Recent, "_keep", keep_some)
        for _ in range(6):
            put(store, b"a", b"b")
        store.note()
        assert len(recent.get(b"a", store._log._segments[0], 5000)) == 3
        assert_both_ways_agree(store, b"a", b"b")
