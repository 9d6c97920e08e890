"""store/roster.py: sorted names, as a sorted list would have them."""

import pytest
from disk import Call, Disk, quick_index, until
from hypothesis import given, settings
from hypothesis import strategies as st

from store import NO, Prefix, Store, roster
from store.database import PLACES
from store.roster import Roster, in_order

__all__ = ["quick_index"]

NAMES = st.text("abc", min_size=1, max_size=4).map(str.encode)


@settings(max_examples=100)
@given(before=st.sets(NAMES), changes=st.lists(NAMES), prefix=st.text("abc", max_size=2).map(str.encode),
       limit=st.integers(1, 20), missed=st.integers(0, 10), after=st.just(b"") | NAMES)
def test_names_are_found_as_in_a_sorted_list(before, changes, prefix, limit, missed, after):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(roster, "_CHUNK", 2)
        patch.setattr(roster, "_PORTION", 3)
        known = set(before)
        one = Roster()
        one.add(b"nobody asked yet")
        one.discard(b"nobody asked yet")
        one.begin()

        def change(name):
            (one.discard if name in known else one.add)(name)
            known.symmetric_difference_update({name})

        for name in changes[:missed]:
            change(name)
        assert not one.filled
        one.fill(in_order(list(before)))
        for name in changes[missed:]:
            change(name)
        assert one.filled
        expected = sorted(name for name in known if name.startswith(prefix))
        assert one.beginning(prefix, limit) == expected[:limit]
        assert one.beginning(prefix, limit, after) == [name for name in expected if name > after][:limit]


@pytest.fixture
def store(tmp_path):
    with Store(str(tmp_path / "db"), sync=NO, files=Disk()) as opened:
        yield opened


def test_streams_that_come_and_go_are_in_it(store):
    store.append("order-1", "n", b"")
    assert store.names_beginning(b"order-", 9) == [b"order-1"]
    store.append("order-2", "n", b"")
    waiting = store.attend(b"order-3", waiting=False)
    assert store.names_beginning(b"order-", 9) == [b"order-1", b"order-2", b"order-3"]
    assert [event.stream for event in store.select(Prefix("order-")).events] == ["order-1", "order-2"]
    store.leave(waiting)
    assert store.names_beginning(b"order-", 9) == [b"order-1", b"order-2"]


def test_a_stream_whose_only_append_failed_is_not_in_it(store):
    assert store.names_beginning(b"s", 9) == []
    store._files.refuse("write", 28)
    with pytest.raises(Exception, match="nothing of this append was stored"):
        store.append("s", "n", b"")
    assert store.names_beginning(b"s", 9) == []


def test_what_comes_while_it_is_filled_is_in_it(store, monkeypatch):
    store.append("s1", "n", b"")
    gate = []

    def slow(names):
        gate.append(names)
        until(lambda: len(gate) > 1)
        return sorted(names)

    monkeypatch.setattr("store.database.in_order", slow)
    asked = Call(store.names_beginning, b"s", 9)
    until(lambda: gate)
    store.append("s2", "n", b"")
    gate.append("go on")
    assert asked.result() == [b"s1", b"s2"]


# -- places of names ----------------------------------------------------------------

def test_each_stream_has_a_place_of_its_own_for_good(tmp_path):
    names = [b"s%d" % i for i in range(50)]
    with Store(str(tmp_path / "db"), sync=NO) as store:
        for name in names[:40]:
            store.append(name.decode(), "n", b"")
        assert sorted(store.names_scattered(0, PLACES, 99)) == sorted(names[:40])
        for name in names[40:]:
            store.append(name.decode(), "n", b"")
        found = store.names_scattered(0, PLACES, 99)
        assert sorted(found) == sorted(names)
        assert [store.place_of(name) for name in found] == sorted(map(store.place_of, names))
        middle = store.place_of(found[20])
        assert store.names_scattered(0, middle, 99) + store.names_scattered(middle, PLACES, 99) == found
        assert store.names_scattered(middle, PLACES, 3) == found[20:23]
        waiting = store.attend(b"waited for", waiting=False)
        assert b"waited for" in store.names_scattered(0, PLACES, 99)
        store.leave(waiting)
        assert store.names_scattered(0, PLACES, 99) == found
    with Store(str(tmp_path / "db"), sync=NO) as store:
        assert store.names_scattered(0, PLACES, 99) == found


def test_streams_that_have_begun_are_counted_without_those_that_are_waited_for_or_deleted(store):
    assert store.begun_count() == 0
    for name in ("a", "b", "c", "d"):
        store.append(name, "n", b"")
    store.delete("b")
    store.truncate("c", 1)
    waiting = [store.attend(name, waiting=False) for name in (b"a", b"new")]
    assert store.begun_count() == 3         # a, c, d
    for one in waiting:
        store.leave(one)
    store.append("b", "n", b"")
    assert store.begun_count() == 4
