"""store/lately.py: what was read last of streams is what the log has, and no more than there is room for."""

import random

import pytest

from store import Store, lately
from store.lately import _RUN, Lately


class Run:
    def __init__(self, number, stop, size=100):
        self.number = number
        self.stop = stop
        self.size = size


def numbers(runs):
    return [(one.number, one.stop) for one in runs]


def test_what_follows_is_there_from_any_number_on():
    one = Lately()
    one.put(b"s", [Run(3, 5), Run(5, 6), Run(6, 9)])
    assert numbers(one.get(b"s", 3, 9)) == numbers(one.get(b"s", 4, 99)) == [(3, 5), (5, 6), (6, 9)]
    assert numbers(one.get(b"s", 5, 7)) == [(5, 6), (6, 9)]
    assert numbers(one.get(b"s", 8, 9)) == [(6, 9)]
    for number in 0, 2, 9, 99:
        assert one.get(b"s", number, 100) == []
    assert one.get(b"t", 3, 9) == []
    one.put(b"s", [])
    assert numbers(one.get(b"s", 5, 6)) == [(5, 6)]


def test_each_place_of_a_stream_is_known_by_itself_and_the_newest_of_one_counts():
    one = Lately()
    one.put(b"s", [Run(10, 20)])
    one.put(b"s", [Run(0, 5)])
    one.put(b"s", [Run(10, 12), Run(12, 30)])
    assert numbers(one.get(b"s", 1, 30)) == [(0, 5)]
    assert one.get(b"s", 7, 30) == []
    assert numbers(one.get(b"s", 11, 30)) == [(10, 12), (12, 30)]
    one.forget()
    assert one.get(b"s", 1, 30) == one.get(b"s", 11, 30) == []


def test_what_was_used_last_stays_and_what_is_too_much_is_not_kept():
    each = 1000 + _RUN
    one = Lately(8 * each)
    for number in range(8):
        one.put(b"s%d" % (number % 3), [Run(number, number + 1, 1000)])
    assert numbers(one.get(b"s0", 0, 1)) == [(0, 1)]
    one.put(b"s", [Run(0, 1, 1000)])
    assert one.get(b"s1", 1, 2) == []       # which nobody asked for
    assert numbers(one.get(b"s0", 0, 1)) == [(0, 1)]
    one.put(b"t", [Run(0, 1, 2 * each)])
    assert one.get(b"t", 0, 1) == []


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "db", "no", segment_size=1 << 16) as store:
        yield store


def seen(records, first, stop):
    """{number: (clock, data)} of those events [first, stop) that are shown."""
    found = {}
    for one in records:
        for event in one.events():
            if first <= event.number < stop:
                found[event.number] = event.time, event.data
    return found


def read(store, stream, first, stop, keep=False):
    return store.records(store.find(stream), first, stop, 1 << 30, keep)


@pytest.mark.parametrize("seed", range(6))
def test_what_is_at_hand_is_what_a_read_gives(store, monkeypatch, seed):
    """Whatever was kept when, and whatever is trimmed, redacted and compacted meanwhile."""
    monkeypatch.setattr(lately, "MEMORY", 4000)
    chosen = random.Random(seed)
    names = [b"a", b"b"]
    begun = dict.fromkeys(names, 0)
    hits = 0
    for _ in range(250):
        name = chosen.choice(names)
        stop = store.bounds(name)[1]
        first = chosen.randint(begun[name], stop)
        what = chosen.random()
        if what < 0.4 or first == stop:
            store.commit(store.write([(name, b"n", [b"%d" % chosen.random()] * chosen.randint(1, 9))]))
        elif what < 0.6:
            read(store, name, first, stop, keep=True)
        elif what < 0.62:
            begun[name] = first
            store.truncate(name, first)
        elif what < 0.66:
            store.redact(name.decode(), first)
        elif what < 0.67:
            store.compact()
        else:
            found = store.at_hand(store.find(name), first, stop)
            if found:
                hits += 1
                end = min(stop, found[-1].stop)
                assert seen(found, first, end) == seen(read(store, name, first, end), first, end)
    assert hits > 5


def test_nothing_is_at_hand_when_a_segment_was_replaced_or_the_store_is_closed(tmp_path):
    with Store(tmp_path / "db", "no") as store:
        store.append_many("s", [("n", b"secret"), ("n", b"more")])
        stream = store.find(b"s")
        read(store, b"s", 0, 2, keep=True)
        assert [one.count for one in store.at_hand(stream, 0, 2)] == [2]
        store.redact("s", 0)
        assert store.at_hand(stream, 0, 2) == []
        store.compact()
        assert store.at_hand(stream, 0, 2) == []
        read(store, b"s", 0, 2, keep=True)
        assert [event.data for one in store.at_hand(stream, 0, 2) for event in one.events()] == [b"", b"more"]
    assert store.at_hand(stream, 0, 2) == []
