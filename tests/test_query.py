"""store/query.py: events by their tags, and appends on the condition that nothing matches."""

import shutil
import threading

import pytest
from disk import SECONDS, Disk, flip, quick_index, records_of, segments
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from store import (
    ALWAYS,
    NO,
    Change,
    Condition,
    ConditionFailed,
    CorruptSegment,
    EventsLost,
    NewEvent,
    Query,
    Store,
    StoreClosed,
    StreamDeleted,
    Tagged,
    WrongVersion,
    database,
    keys,
    lookup,
    query,
    record,
)
from store.append import append_of
from store.repair import repair

__all__ = ["quick_index"]


@pytest.fixture
def store(tmp_path):
    with Store(str(tmp_path / "db"), sync=NO, files=Disk()) as one:
        yield one


def append(store, stream="s", name="n", data=b"", tags=(), id=b"", **more):
    return store.append_all([Change(stream, NewEvent(name, data, id, b"", tags))], **more)[0]


def found(store, items, **more):
    return [event.position for event in store.read_tagged(items, **more).events]


def new(*tags, after=None):
    """The condition that no event has all of these tags."""
    return Condition(Query.of([((), tags)]), after)


# -- reading ------------------------------------------------------------------------------

def test_an_item_matches_what_has_one_of_its_names_and_all_of_its_tags(store):
    append(store, name="a", tags=["x", "y"])
    append(store, "t", name="b", tags=["x"])
    append(store, name="c", tags=["y"])
    store.append("s", "a", b"without tags")
    assert found(store, [((), ["x"])]) == [0, 1]
    assert found(store, [((), ["x", "y"])]) == [0]
    assert found(store, [(["b", "c"], ["x"])]) == [1]
    assert found(store, [(["a"], ["x"]), ((), ["y"])]) == [0, 2]
    assert found(store, [(["a"], ())]) == [0, 3]
    assert found(store, [(["a"], ()), ((), ["y"])]) == [0, 2, 3]
    assert found(store, [((), ())]) == found(store, []) == [0, 1, 2, 3]
    assert found(store, [((), ["z"])]) == found(store, [(["z"], ())]) == []


def test_an_event_is_read_with_all_it_has(store):
    append(store, name="a", data=b"one", tags=("x", b"\xff"), id=b"id")
    assert store.read_tagged([((), ["x"])]) == Tagged(store.read_all(), 0)
    assert store.read_all()[0].tags == (b"x", b"\xff")


def test_head_is_how_far_it_was_looked(store):
    assert store.read_tagged([]) == Tagged([], None)
    append(store, tags=["x"])
    append(store)
    assert store.read_tagged([((), ["x"])]).head == 1
    assert store.read_tagged([((), ["x"])], limit=1).head == 1


@pytest.mark.parametrize("items", [[((), ["x"])], []])
def test_it_begins_behind_a_position_and_ends_at_a_limit(store, items):
    for _ in range(10):
        append(store, tags=["x"])
    assert found(store, items, after=6) == [7, 8, 9]
    assert found(store, items, after=2, limit=3) == [3, 4, 5]
    assert found(store, items, after=9) == found(store, items, after=100) == []
    with pytest.raises(ValueError, match="limit is 0, expected 1 or more"):
        store.read_tagged(items, limit=0)


@pytest.mark.parametrize("items, why", [
    ([((), [""])], "a tag is at least one byte and none that is zero, found b''"),
    ([((), ["a\0"])], "a tag is at least one byte and none that is zero, found b'a.x00'"),
    ([([""], ())], "name is empty"),
])
def test_what_can_not_be_a_query_is_refused(store, items, why):
    with pytest.raises(ValueError, match=why):
        store.read_tagged(items)


@pytest.mark.parametrize("items", [[((), ["x"])], []])
def test_a_page_goes_on_where_the_one_before_ended(store, monkeypatch, items):
    monkeypatch.setattr(query, "PAGE", 500)
    monkeypatch.setattr(query, "SCAN", 1000)
    monkeypatch.setattr(query, "_STEP", 300)
    monkeypatch.setattr(query, "_SOME", 7)
    for i in range(100):
        append(store, "st"[i % 2], tags=["x"], data=b"%d" % i * 30)
    assert found(store, items) == list(range(100))
    assert found(store, items, limit=41) == list(range(41))
    assert found(store, [(["n"], ()), ((), ["z"])]) == list(range(100))
    assert found(store, [(["z"], ())]) == []


@pytest.mark.parametrize("size", [10, 3000, 200_000])
def test_events_far_from_one_another_are_found(store, size):
    for i in range(60):
        append(store, "s", data=b"x" * size, tags=["x", f"t{i % 20}"] if i % 3 else ())
        store.append("plain", "n", b"y" * 100)
    assert found(store, [((), ["x"])]) == [2 * i for i in range(60) if i % 3]
    assert found(store, [((), ["x", "t7"])]) == [14, 94]


def test_tags_that_all_have_the_same_hash_are_told_apart(store, monkeypatch):
    monkeypatch.setattr(keys, "hash_of", lambda key: 7)
    for i in range(50):
        append(store, name="ab"[i % 2], tags=[f"t{i % 5}"])
    assert found(store, [(["a"], ["t3"])]) == list(range(8, 50, 10))


def test_what_is_lost_is_told(store, monkeypatch):
    append(store, tags=["x"])
    append(store, tags=["x"])
    gap = record.decode(record.encode_gap(1, 1, 5, 0, [(b"s", 1, 1)], 200) + bytes(200), 0, 1)
    [whole] = store._log.records(0, 1, 1)
    monkeypatch.setattr(store._log, "records", lambda first, stop, limit: [whole, gap][first:])
    assert found(store, [], limit=1) == [0]
    with pytest.raises(EventsLost) as caught:
        store.read_tagged([])
    assert (caught.value.first, caught.value.stop) == (1, 2)


@pytest.mark.parametrize("repaired, error", [(False, CorruptSegment), (True, EventsLost)])
def test_what_stands_before_damage_is_found_by_tags_and_then_the_damage_is_told(tmp_path, repaired, error):
    folder = tmp_path / "db"
    with Store(str(folder), sync=NO, files=Disk()) as store:
        for i in range(4):
            append(store, tags=["x"], data=b"%d" % i)
    [path] = segments(folder)
    byte, _ = records_of(path)[2]
    flip(path, byte + 90)
    if repaired:
        repair(str(folder), files=Disk())
    seat = Query.of([((), ["x"])])
    with Store(str(folder), sync=NO, files=Disk()) as store:
        found, following = store.matching(seat, 0, store.position, 10)
        assert ([one.position + i for one, i in found], following) == ([0, 1], 2)
        for ask in lambda: store.read_tagged(seat), lambda: append(store, condition=Condition(seat, 1)):
            with pytest.raises(error):
                ask()
        assert store.position == 4
        if repaired:
            assert [event.position for event in store.read_tagged(seat, after=2).events] == [3]


def test_what_retention_hides_or_redacts_is_hidden_and_redacted_here(store):
    for i in range(4):
        append(store, data=b"%d" % i, tags=["x"])
    store.redact("s", 3)
    store.truncate("s", 2)
    assert found(store, [((), ["x"])]) == [2, 3]
    assert [event.data for event in store.read_tagged([((), ["x"])]).events][0] == b"2"
    assert b"3" not in [event.data for event in store.read_tagged([((), ["x"])]).events]
    assert append(store, "t", tags=["x"], condition=new("x", after=3)) == (0, 4)


def test_a_store_that_is_closed_is_not_read(tmp_path):
    store = Store(str(tmp_path / "db"), files=Disk())
    append(store)
    store.close()
    with pytest.raises(StoreClosed):
        store.read_tagged([])


# -- appending on a condition ------------------------------------------------------------------

def test_an_append_goes_ahead_if_nothing_matches(store):
    assert append(store, tags=["seat-1"], condition=new("seat-1")) == (0, 0)
    with pytest.raises(ConditionFailed) as caught:
        append(store, tags=["seat-1"], condition=new("seat-1"))
    assert str(caught.value) == "the event at position 0 matches, expected none; nothing was stored"
    assert (caught.value.position, caught.value.after) == (0, None)
    assert append(store, tags=["seat-1"], condition=new("seat-1", after=0)) == (1, 1)
    with pytest.raises(ConditionFailed, match="the event at position 1 matches, expected none behind 0; nothing"):
        append(store, tags=["seat-1"], condition=new("seat-1", after=0))
    assert store.position == 2


def test_a_condition_without_tags_or_names_is_that_nothing_came(store):
    nothing = Condition(Query())
    assert append(store, condition=nothing) == (0, 0)
    with pytest.raises(ConditionFailed):
        append(store, condition=nothing)
    assert append(store, condition=Condition(Query(), 0)) == (1, 1)
    named = Condition(Query.of([(["n"], ())]), 1)
    assert append(store, condition=named) == (2, 2)
    with pytest.raises(ConditionFailed):
        append(store, condition=named)


def test_a_condition_and_an_expectation_both_have_to_be_met(store):
    with pytest.raises(WrongVersion):
        store.append_all([Change("s", NewEvent("n", b""), 5)], new("x"))
    append(store, tags=["x"])
    with pytest.raises(ConditionFailed):
        store.append_all([Change("s", NewEvent("n", b""), 5)], new("x"))


def test_a_retry_by_id_is_known_whatever_matches(store):
    for _ in range(3):
        assert append(store, tags=["x"], id=b"1", condition=new("x")) == (0, 0)
    assert store.position == 1


def test_an_event_that_is_not_on_disk_yet_matches_and_is_on_disk_before_the_refusal(tmp_path):
    disk = Disk()
    with Store(str(tmp_path / "db"), sync=ALWAYS, files=disk) as store:
        first = append_of([Change("s", NewEvent("n", b"", tags=("x",)))])
        store.write([first], [first])
        assert store.position == 0
        with pytest.raises(ConditionFailed):
            append(store, condition=new("x"))
        assert store.position == store.synced == 1


def test_a_stream_deleted_for_good_takes_nothing_on_a_condition_either(store):
    append(store, tags=["x"])
    store.delete("s", forever=True)
    with pytest.raises(StreamDeleted):
        append(store, tags=["y"], condition=new("y"))
    assert append(store, "t", tags=["y"], condition=new("y")) == (0, 1)


def test_what_is_cut_does_not_stand_in_the_way(store):
    append(store, tags=(b"t",))
    append(store, tags=(b"other",))
    with pytest.raises(ConditionFailed):
        append(store, condition=new("t"))
    store.truncate("s", 1)
    assert append(store, condition=new("t")) == (2, 2)


def test_of_those_who_append_at_once_one_is_let_through(store):
    went = []

    def try_each():
        for i in range(100):
            try:
                append(store, tags=[f"seat-{i}"], condition=new(f"seat-{i}"))
                went.append(i)
            except ConditionFailed:
                pass

    threads = [threading.Thread(target=try_each) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert sorted(went) == list(range(100)) and store.position == 100


@pytest.mark.parametrize("items", [[((), ["x"])], [(["n"], ())]])
@pytest.mark.parametrize("name, refused", [("n", True), ("m", False)])
def test_what_comes_between_look_and_lock_is_looked_at_again(store, monkeypatch, items, name, refused):
    real = database.first_match
    came = []

    def first_match(*arguments):
        found = real(*arguments)
        if not came:
            came.append(append(store, "t", name=name, tags=["x"] if refused else ["y"]))
        return found

    monkeypatch.setattr(database, "first_match", first_match)
    if refused:
        with pytest.raises(ConditionFailed):
            append(store, condition=Condition(Query.of(items)))
    else:
        assert append(store, condition=Condition(Query.of(items))) == (0, 1)


@pytest.mark.parametrize("name", ["n", "m"])
def test_others_who_write_on_and_on_do_not_keep_it_from_ending(store, monkeypatch, name):
    real = database.first_match

    def first_match(log, *arguments):
        found = real(log, *arguments)
        if not log.lock.locked():
            append(store, "others", name="other" if store.position < 7 else name)
        return found

    monkeypatch.setattr(database, "first_match", first_match)
    condition = Condition(Query.of([(["n"], ())]))
    if name == "n":
        with pytest.raises(ConditionFailed):
            append(store, condition=condition)
    else:
        assert append(store, condition=condition) == (0, 8)


NAMES = st.lists(st.sampled_from("abc"), max_size=2)
TAGS = st.lists(st.sampled_from("xyz"), max_size=2)
QUERIES = st.lists(st.tuples(NAMES, TAGS), max_size=3)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=st.lists(st.tuples(st.sampled_from("abc"), TAGS), max_size=30), items=QUERIES,
       after=st.none() | st.integers(0, 30), limit=st.integers(1, 30), reopened=st.booleans())
def test_it_finds_what_a_look_at_each_event_would(tmp_path_factory, monkeypatch, events, items, after, limit, reopened):
    folder = str(tmp_path_factory.mktemp("query") / "db")
    with monkeypatch.context() as patch:
        patch.setattr(lookup.Lookup.__init__, "__defaults__", (5,))
        patch.setattr(query, "_SOME", 3)
        store = Store(folder, sync=NO, segment_size=2000, files=Disk())
        for name, tags in events:
            append(store, name=name, tags=tags)
        if reopened:
            store.close()
            store = Store(folder, sync=NO, segment_size=2000, files=Disk())
        with store:
            first = 0 if after is None else after + 1
            expected = [i for i, (name, tags) in enumerate(events) if i >= first and (
                not items or any((not names or name in names) and set(of) <= set(tags) for names, of in items))]
            assert found(store, items, after=after, limit=limit) == expected[:limit]
            condition = Condition(Query.of(items), after)
            if expected:
                with pytest.raises(ConditionFailed) as caught:
                    append(store, condition=condition)
                assert caught.value.position == expected[0]
            else:
                assert append(store, "t", condition=condition) == (0, len(events))
    shutil.rmtree(folder)
