"""store/reading.py and store/runs.py: pages of events, both ways, as a list would give them."""

import errno
import itertools

import pytest
from disk import Disk, flip, quick_index, records_of, segments
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from store import (NO, CannotRead, CorruptSegment, EventsLost, NewEvent, Prefix, Store, StoreClosed, index, log,
                   reading, record, runs)
from store.reading import Selection
from store.repair import repair

__all__ = ["quick_index"]

STREAMS = ["order-1", "order-2", "ordering", "a", "z"]
SELECTORS = ["$all", "order-1", "z", "no", Prefix("order-"), Prefix("order"), Prefix("a"), Prefix("none")]


@pytest.fixture
def open_store(tmp_path):
    opened = []

    def start(**more):
        clock = itertools.count(1000)
        options = {"files": Disk(), "sync": NO, "clock": lambda: next(clock), **more}
        opened.append(Store(str(tmp_path / "db"), **options))
        return opened[-1]

    yield start
    for store in opened:
        store.close()


def keys_of(events):
    return [(event.stream, event.number) for event in events]


def wanted(events, selector, names=()):
    """[(key, event)] of what a list has for a selector."""
    if isinstance(selector, Prefix):
        found = [(event.position, event) for event in events if event.stream.startswith(selector.text)]
    elif selector == "$all":
        found = [(event.position, event) for event in events]
    else:
        found = [(event.number, event) for event in events if event.stream == selector]
    return [(key, event) for key, event in found if not names or event.name in names]


def paged(store, selector, names, count, first, back):
    """All events, page by page."""
    selection = Selection.of(selector, names)
    events = []
    while True:
        page = reading.page(store, selection, first, count, back)
        assert len(page.found) <= count
        events += page.events()
        if page.following is None:
            return events
        assert first is None or (page.following < first if back else page.following > first)
        first = page.following


RUN = st.tuples(st.sampled_from(STREAMS), st.sampled_from(["made", "paid"]),
                st.lists(st.integers(0, 250), min_size=1, max_size=6), st.booleans())


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(RUN, min_size=1, max_size=8), max_size=12),
       segment_size=st.sampled_from([1, 900, 1 << 20]), level=st.sampled_from([0, 6]),
       then=st.sampled_from(["as it is", "sealed", "reopened", "merged"]),
       few=st.sampled_from([0, 2, 64]), size=st.sampled_from([300, 1 << 18]), scan=st.sampled_from([1, 500, 1 << 20]),
       first=st.one_of(st.none(), st.integers(0, 70)), count=st.sampled_from([1, 2, 7, 1000, 2**64]),
       names=st.sampled_from([(), ("made",), ("paid", "made"), ("none",)]))
def test_pages_hold_what_a_list_does(tmp_path_factory, batches, segment_size, level, then, few, size, scan, first,
                                     count, names):
    with pytest.MonkeyPatch.context() as patch:
        for module, name, value in ((log, "_PAUSE", 0), (index, "SPACING", 200), (runs, "_PIECE", 300),
                                    (reading, "FEW", few), (reading, "SPARSE", 1), (reading, "PAGE", size),
                                    (reading, "SCAN", scan), (reading, "_STEP", 700), (reading, "_STEP_OF_FEW", 300)):
            patch.setattr(module, name, value)
        patch.setattr(log.merge, "_MANY", 2 if then == "merged" else 1 << 30)
        options = {"sync": NO, "clock": lambda: 7, "segment_size": segment_size, "compression": level}
        folder = str(tmp_path_factory.mktemp("reading") / "db")
        store = Store(folder, files=Disk(), **options)
        ids = itertools.count()
        for batch in batches:
            store.commit(store.write([(stream.encode(), name.encode(), [b"x" * size for size in sizes])
                                      for stream, name, sizes, _ in batch]))
            for stream, name, sizes, has_ids in batch:
                if has_ids:
                    store.append_many(stream, [NewEvent(name, b"x" * size, b"%d" % next(ids)) for size in sizes])
        if then != "as it is":
            store.sync()
            store._log.tidy()
        if then == "reopened":
            store.close()
            store = Store(folder, files=Disk(), **options)
        events = store.read_all(limit=1 << 30)
        for selector in SELECTORS:
            kept = wanted(events, selector, names)
            forwards = [event for key, event in kept if first is None or key >= first]
            backwards = [event for key, event in kept[::-1] if first is None or key <= first]
            assert paged(store, selector, names, count, first, back=False) == forwards
            assert paged(store, selector, names, count, first, back=True) == backwards
            assert store.read_last(selector) == (wanted(events, selector)[-1][1] if wanted(events, selector) else None)
        assert not store._log._rebuilt
        store.close()


# -- what may be asked -----------------------------------------------------------


def fill(store, count, streams=("s",), size=10):
    for i in range(count):
        store.append(streams[i % len(streams)], "n", b"%d " % i + b"x" * size)


def test_what_is_appended_while_reading_back_is_not_damage(open_store, monkeypatch):
    store = open_store()
    store.append("a", "n", b"")

    class Appending(runs.Reader):
        def record(self, *arguments):
            store.append("a", "n", b"")
            return super().record(*arguments)

    monkeypatch.setattr(runs, "Reader", Appending)
    assert keys_of(store.read_all_back()) == [("a", 0)]
    assert keys_of(store.read_back("a", before=1)) == [("a", 0)]
    assert len(store.read_all_back(before=2)) == 2


def test_what_comes_last_is_read_first_going_back(open_store):
    store = open_store()
    fill(store, 5, ["a", "b"])
    assert keys_of(store.read_back("a")) == [("a", 2), ("a", 1), ("a", 0)]
    assert keys_of(store.read_back("a", before=2, limit=1)) == [("a", 1)]
    assert keys_of(store.read_all_back(before=3)) == [("a", 1), ("b", 0), ("a", 0)]
    assert (store.read_back("a", before=0), store.read_back("no"), store.read_all_back(before=0)) == ([], [], [])


def test_a_read_says_where_to_go_on(open_store):
    store = open_store()
    fill(store, 5, ["a", "b"])
    assert store.select("a", limit=2).following == 2
    assert store.select("a", limit=3).following is None
    assert store.select(Prefix("b"), limit=1) == (store.read("b", 0, limit=1), 2)
    assert store.select(limit=1, back=True).following == 3
    assert store.select("a", first=99) == ([], None)
    assert keys_of(store.select("a", first=99, limit=1, back=True).events) == [("a", 2)]


def test_nothing_is_looked_at_for_a_page_of_no_event(open_store):
    store = open_store()
    fill(store, 3)
    for selector, first, back, following in (("s", None, False, 0), ("s", 1, False, 1), ("s", None, True, 2),
                                             ("s", 9, True, 2), ("s", 9, False, None), ("t", None, True, None)):
        assert reading.page(store, Selection.of(selector), first, 0, back) == ([], following)


@pytest.mark.parametrize("call", [
    lambda store: store.select("s", limit=0), lambda store: store.read_back("s", before=-1),
    lambda store: store.select("a:b"), lambda store: store.select(Prefix("")), lambda store: store.select(names=[""]),
])
def test_what_cannot_be_asked_is_a_value_error(open_store, call):
    with pytest.raises(ValueError):
        call(open_store())


def test_a_closed_store_says_so(open_store):
    store = open_store()
    fill(store, 1)
    store.close()
    for call in (store.read_last, store.info):
        with pytest.raises(StoreClosed):
            call("s")


def test_events_that_are_not_visible_are_not_read(open_store):
    store = open_store(sync="always")
    fill(store, 2)
    batch = store.write([(b"s", b"n", [b"x"]), (b"t", b"n", [b"x"])])
    assert keys_of(store.read_all_back()) == [("s", 1), ("s", 0)]
    assert (store.read_last("s").number, store.read_last("t"), store.info("t")) == (1, None, None)
    store.commit(batch)
    assert (store.read_last("s").number, store.read_last("t").number) == (2, 0)


def test_an_info_says_what_is_known_of_a_stream(open_store):
    store = open_store()
    fill(store, 5, ["a", "b"])
    size = sum(one.frames_size for one in store.runs(b"a", 0, 3, 1 << 20))
    assert store.info("a") == (0, 2, 3, size, 1001, 1005)
    assert store.info("no") is None


def test_the_bytes_of_a_stream_count_ids_and_metadata(open_store):
    store = open_store()
    store.append("s", "n", b"data")
    without = store.info("s").bytes
    assert without == len(b"*5\r\n+event\r\n+s\r\n:0\r\n+n\r\n$4\r\ndata\r\n")
    store.append("s", "n", b"data", b"id", b"metadata")
    assert store.info("s").bytes == 2 * without + 10


def test_the_bytes_of_a_long_stream_are_estimated(open_store, monkeypatch):
    store = open_store()
    for i in range(6000):
        store.append("s", "n", b"x" * (200 + i))
    exact = sum(one.frames_size for one in store.runs(b"s", 0, 6000, 1 << 30))
    size, info = bytes_read(store, monkeypatch, store.info, "s")
    assert abs(info.bytes - exact) < exact / 50
    assert size < exact / 3


# -- what it costs ---------------------------------------------------------------


def bytes_read(store, monkeypatch, call, *arguments):
    """(how many bytes of files `call` reads, what it returns)."""
    read = []
    plain = store._files.read
    with monkeypatch.context() as patch:
        patch.setattr(store._files, "read", lambda fd, size, pos: read.append(size) or plain(fd, size, pos))
        result = call(*arguments)
    return sum(read), result


def test_a_page_looks_at_a_bounded_part_of_the_log(open_store, monkeypatch):
    store = open_store()
    store.commit(store.write([(b"s%d" % (i % 9), b"n", [b"x" * 3000]) for i in range(1500)]))
    wanted_by = Selection.of("$all", ["rare"])
    for back in False, True:
        size, page = bytes_read(store, monkeypatch, reading.page, store, wanted_by, None, 9, back)
        assert size < 2 << 20
        assert page.found == [] and page.following is not None


def test_a_page_has_a_bounded_size(open_store):
    store = open_store()
    store.append_many("s", [NewEvent("n", b"", metadata=b"x" * 100_000) for _ in range(9)])
    page = reading.page(store, Selection.of("s"), None, 9)
    assert (len(page.found), page.following) == (3, 3)


def test_few_streams_of_a_prefix_are_read_without_the_others(open_store, monkeypatch):
    store = open_store()
    for i in range(3000):
        store.append("other", "n", b"x" * 1000)
        if i % 1000 == 500:
            store.append("few-%d" % i, "n", b"")
    found = {}
    for back in False, True:
        size, found[back] = bytes_read(store, monkeypatch, store.select, Prefix("few-"), None, 9, (), back)
        assert size < 300_000
    assert [event.stream for event in found[False].events] == ["few-500", "few-1500", "few-2500"]
    assert found[True].events == found[False].events[::-1]
    assert keys_of(store.select(Prefix("few-"), first=600).events) == [("few-1500", 0), ("few-2500", 0)]


def test_the_last_event_is_read_alone(open_store, monkeypatch):
    store = open_store()
    fill(store, 500, ["a", "b"], size=1000)
    size, last = bytes_read(store, monkeypatch, store.read_last, "a")
    assert size < 20_000 and last.number == 249


# -- damage ------------------------------------------------------------------------


def damaged(open_store, tmp_path, events, record):
    """A store with a flipped bit in one record, of `fill`."""
    store = open_store()
    fill(store, *events)
    store.close()
    path = segments(tmp_path / "db")[0]
    byte, _ = records_of(path)[record]
    flip(path, byte + 80)
    return path


def test_damage_is_an_error_when_the_next_event_cannot_be_read(open_store, tmp_path):
    store = open_store()
    fill(store, 20, ["a", "b"], size=6000)
    path = segments(tmp_path / "db")[0]
    byte, found = records_of(path)[8]
    assert (found.stream, found.number) == (b"a", 4)
    flip(path, byte + 80)
    assert [event.number for event in store.read_back("a", limit=3)] == [9, 8, 7]
    for call in (lambda: store.read_back("a", before=5), lambda: store.read_back("a"),
                 lambda: store.read_all_back(before=9), store.read_all_back):
        with pytest.raises(CorruptSegment):
            call()
    assert [event.number for event in store.read_back("a", before=4)] == [3, 2, 1, 0]
    page = reading.page(store, Selection.of("a"), None, 100, back=True)
    assert page.following == 4


def test_damage_in_a_stretch_is_an_error_for_what_is_behind_it(open_store, tmp_path):
    store = open_store()
    fill(store, 20)
    path = segments(tmp_path / "db")[0]
    flip(path, records_of(path)[8][0] + 80)
    with pytest.raises(CorruptSegment):
        store.read_back("s")
    assert [event.number for event in store.read_back("s", before=8, limit=3)] == [7, 6, 5]


def test_what_is_lost_is_said_and_reading_goes_on(open_store, tmp_path):
    damaged(open_store, tmp_path, (20, ["a", "b"]), 8)
    repair(str(tmp_path / "db"))
    store = open_store()
    for selector, back, lost, text in (
            ("a", False, (4, 5), "read on from event 5"), ("a", True, (4, 5), "read on from event 3"),
            ("$all", False, (8, 9), "read on from position 9"), ("$all", True, (8, 9), "read on from position 7"),
            (Prefix("a"), False, (8, 9), "position 8 is lost"), (Prefix("a"), True, (8, 9), "position 8 is lost")):
        with pytest.raises(EventsLost, match=text) as caught:
            store.select(selector, back=back)
        assert (caught.value.first, caught.value.stop, caught.value.back) == (*lost, back)
        before = store.select(selector, limit=4, back=back)
        assert len(before.events) == 4
        on = store.select(selector, lost[0] - 1 if back else lost[1], back=back)
        assert len(on.events) == {"$all": 8 if back else 11}.get(selector, 4 if back else 5)
    assert len(store.select(Prefix("b")).events) == 10
    assert store.info("a").count == 10


def test_what_is_lost_first_has_nothing_before_it(open_store, tmp_path):
    damaged(open_store, tmp_path, (5,), 0)
    repair(str(tmp_path / "db"))
    with pytest.raises(EventsLost, match="nothing is before"):
        open_store().read_back("s", before=1)


def test_a_prefix_of_few_streams_says_what_is_lost_of_them_alone(open_store, tmp_path, monkeypatch):
    damaged(open_store, tmp_path, (80, ["a", "b", "c", "d", "e", "f", "g", "h", "i"]), 10)
    repair(str(tmp_path / "db"))
    store = open_store()
    for few in 64, 0:
        monkeypatch.setattr(reading, "FEW", few)
        for back in False, True:
            with pytest.raises(EventsLost) as caught:
                store.select(Prefix("b"), back=back)
            assert (caught.value.first, caught.value.stop, caught.value.stream) == (10, 11, None)
            assert len(store.select(Prefix("c"), back=back).events) == 9


def test_a_disk_that_does_not_give_what_it_has_is_an_error(open_store):
    store = open_store()
    fill(store, 3)
    store._files.refuse("read", errno.EIO)
    with pytest.raises(CannotRead):
        store.read_last("s")
    assert store.read_last("s").number == 2


@pytest.mark.parametrize("statement", ["delete from places", "update places set packed = x'7200'"])
@pytest.mark.parametrize("selector", ["s", Prefix("s")])
def test_rows_that_are_missing_or_altered_change_no_answer(open_store, statement, selector):
    store = open_store(segment_size=600)
    fill(store, 40, "sabcdefghi")
    store.sync()
    store._log.tidy()
    store._log.index._connection.execute(statement)
    later = [] if selector == "s" else [1, 2, 3]
    assert [event.number for event in store.select(selector, 10, back=False).events] == later
    assert [event.number for event in store.select(selector, 30, back=True).events] == [3, 2, 1, 0]
    assert store._log._rebuilt <= 2


def test_an_info_says_no_time_of_what_is_lost(open_store, tmp_path):
    damaged(open_store, tmp_path, (5,), 0)
    repair(str(tmp_path / "db"))
    info = open_store().info("s")
    assert (info.count, info.first_time, info.last_time) == (5, None, 1005)
    assert info.bytes == 4 * len(b"*5\r\n+event\r\n+s\r\n:0\r\n+n\r\n$12\r\n0 xxxxxxxxxx\r\n")


def altered_place(store, table, packed, segment=0):
    """Put other places or marks, with their right checksum, in a row of one segment."""
    connection = store._log.index._connection
    if table == "marks":
        row = (packed, index._checksum(packed, segment))
        connection.execute("update marks set packed = ?, crc = ? where segment = 0", row)
    else:
        stream, first, last = connection.execute("select stream, first, last from places where segment = 0").fetchone()
        connection.execute("update places set packed = ?, crc = ? where segment = 0",
                           (packed, index._checksum(stream + packed, first, last, segment)))


@pytest.mark.parametrize("table", ["places", "marks"])
def test_a_place_that_is_wrong_is_noticed_going_back_though_its_checksum_is_right(open_store, table):
    store = open_store(segment_size=600)
    fill(store, 40)
    store.sync()
    store._log.tidy()
    end = store._log._segments[0].end
    altered_place(store, table, index._pack(index.array("Q", [0, end, 0] if table == "marks" else [end])))
    events = store.read_back("s") if table == "places" else store.read_all_back()
    assert [event.number for event in events] == list(range(39, -1, -1))
    assert store._log._rebuilt == 1


def test_what_the_store_keeps_for_itself_is_passed_over(open_store):
    store = open_store()
    for i in range(3):
        fill(store, 2)
        store.put("topic", b"%d" % i, b"value")
    assert [event.position for event in store.read_all_back()] == [5, 4, 3, 2, 1, 0]


def test_nothing_outside_of_the_bounds_is_read(open_store, monkeypatch):
    store = open_store()
    store.commit(store.write([(b"abcd"[i % 4:i % 4 + 1], b"n", [b"x"] * 3) for i in range(40)]))
    fill(store, 20, ["b", "e"])
    few = [event.position for event in store.read("b") if 50 <= event.position < 100 and 5 <= event.number < 29]
    monkeypatch.setattr(store, "bounds", lambda stream: (50, 100) if stream is None else (5, 29))
    expected = list(range(50, 100))
    assert positions(store.select()) == expected
    assert positions(store.select(back=True)) == expected[::-1]
    for back in False, True:
        order = -1 if back else 1
        assert [event.number for event in store.select("b", back=back).events] == list(range(5, 29))[::order]
        monkeypatch.setattr(reading, "SPARSE", 1)
        assert positions(store.select(Prefix("b"), back=back)) == few[::order]
    monkeypatch.setattr(store, "bounds", lambda stream: (125, 130))
    assert positions(store.select(back=True)) == [129, 128, 127, 126, 125]


def positions(selected):
    return [event.position for event in selected.events]


def test_what_is_gone_is_passed_over_among_few_streams(open_store, monkeypatch):
    store = open_store()
    fill(store, 30, ["a", "b", "c"])
    gone = record.Passed(b"b", 2, 3, 7)
    plain = store.runs

    def runs(stream, first, stop, limit, back=False):
        found = [one for one in plain(stream, first, stop, limit, back) if stream != b"b" or not 2 <= one.number < 5]
        at = next((i for i, one in enumerate(found) if (one.number < 2 if back else one.number >= 5)), len(found))
        return found[:at] + [gone] + found[at:] if stream == b"b" and first < 5 and stop > 2 else found

    monkeypatch.setattr(store, "runs", runs)
    monkeypatch.setattr(reading, "SPARSE", 1)
    for back in False, True:
        events = store.select(Prefix("b"), back=back).events
        assert [event.number for event in events] == [0, 1, 5, 6, 7, 8, 9][::-1 if back else 1]
