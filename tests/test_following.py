"""store/following.py: what is there, that it was all, and what comes; in one's own process."""

import random
import threading

import pytest

from store import NO, CaughtUp, Checkpoint, Event, Prefix, Store, StoreClosed, following
from store.record import Passed

STREAMS = ["a", "ab", "b"]
NAMES = ["x", "y", "z"]


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "db", NO) as store:
        yield store


def there(found):
    """The events among what was given."""
    return [one for one in found if isinstance(one, Event)]


def test_it_gives_what_is_there_says_so_and_gives_what_comes(store):
    store.append_many("s", [("x", b"0"), ("x", b"1")])
    follower = store.follow("s", 1)
    assert next(follower).number == 1
    assert next(follower) == CaughtUp(2)
    store.append("other", "x", b"")
    store.append("s", "x", b"2")
    assert next(follower).data == b"2"
    follower.close()


def test_what_comes_before_it_caught_up_is_new_nevertheless(store):
    store.append("s", "x", b"0")
    follower = store.follow("$all", timeout=0)
    assert next(follower).position == 0
    store.append("s", "x", b"1")
    found = list(follower)
    assert found[0] == CaughtUp(1) and [one.position for one in found[1:]] == [1]


def test_it_waits_for_what_is_not_there_and_ends_when_the_time_is_up(store):
    follower = store.follow("s", 1)
    assert next(follower) == CaughtUp(1)
    timer = threading.Timer(0.05, lambda: store.append_many("s", [("x", b"0"), ("x", b"1")]))
    timer.start()
    assert next(follower).number == 1
    timer.join()
    assert list(store.follow("s", 5, timeout=0.01)) == [CaughtUp(5)]


def test_a_stream_of_which_all_was_cut_goes_on_behind_that(store):
    store.append_many("s", [("x", b"0"), ("x", b"1")])
    store.truncate("s", 2)
    follower = store.follow("s", 0)
    found = [next(follower)]
    while not isinstance(found[-1], CaughtUp):
        found.append(next(follower))
    assert found[-1] == CaughtUp(2) and not there(found)
    store.append("s", "x", b"2")
    assert next(one for one in follower if isinstance(one, Event)).number == 2
    follower.close()


@pytest.mark.parametrize("selector, key", [("s", 1), ("$all", 2), (Prefix("s"), 2), ("new", 0)])
def test_without_a_first_it_begins_with_what_is_appended_after_the_call(store, selector, key):
    store.append("s", "x", b"0")
    store.append("other", "x", b"0")
    follower = store.follow(selector, None, timeout=0)
    store.append("s", "x", b"1")
    store.append("new", "x", b"1")
    found = list(follower)
    assert [one.data for one in there(found)] == [b"1"] * len(there(found)) and there(found)
    assert min(one.number if selector in ("s", "new") else one.position for one in there(found)) == key


def test_its_stream_is_held_no_longer_than_it_runs(store):
    follower = store.follow("nobody", timeout=0)
    assert store.find(b"nobody") is None
    assert next(follower) == CaughtUp(0)
    assert store.find(b"nobody") is not None
    follower.close()
    assert store.find(b"nobody") is None


def test_one_who_waits_is_told_that_the_store_was_closed(store):
    follower = store.follow("s")
    assert next(follower) == CaughtUp(0)
    timer = threading.Timer(0.05, store.close)
    timer.start()
    with pytest.raises(StoreClosed):
        next(follower)
    timer.join()
    with pytest.raises(StoreClosed):
        next(store.follow("s"))


@pytest.mark.parametrize("arguments", [("s", -1), ("s", 5, 5), ("a:b",), (Prefix(""),), ("s", 0, None, [""])])
def test_what_can_not_be_followed_is_refused_at_once(store, arguments):
    with pytest.raises(ValueError):
        store.follow(*arguments)


def test_what_is_passed_over_is_told_at_intervals_and_at_the_end(store, monkeypatch):
    monkeypatch.setattr(following, "EVERY", 10)
    monkeypatch.setattr("store.reading.SCAN", 1)        # a record a turn
    for _ in range(5):
        store.append_many("s", [("x", b"")] * 7)
    store.append("s", "y", b"")
    found = list(store.follow("s", names=["y"], timeout=0))
    assert found[:2] == [Checkpoint(14), Checkpoint(28)]
    assert found[2].number == 35 and found[3:] == [CaughtUp(36)]
    assert list(store.follow("s", stop=9, names=["y"])) == [Checkpoint(9)]
    assert [type(one) for one in store.follow("s", 30, 36, ["y"])] == [Event]


@pytest.mark.parametrize("instead", [lambda one: [], lambda one: [Passed(None, 0, one.count, one.position)]])
def test_what_is_no_more_is_told_before_the_event_behind_it(store, monkeypatch, instead):
    for i in range(6):
        store.append("s" if i % 3 else "t", "x", b"%d" % i)
    records = store.records
    monkeypatch.setattr(store, "records", lambda *asked: [
        some for one in records(*asked) for some in (instead(one) if one.stream == b"t" else [one])])
    found = list(store.follow("$all", timeout=0))
    assert found[0] == Checkpoint(1) and found[3] == Checkpoint(4)
    assert [one.position for one in there(found)] == [1, 2, 4, 5]
    assert found[-1] == CaughtUp(6)


def test_each_gets_what_passes_its_filter_and_notices_tell_the_truth(store, monkeypatch):
    draw = random.Random(1)
    everything = []
    for _ in range(40):
        stream, name = draw.choice(STREAMS), draw.choice(NAMES)
        count = draw.choice([1, 1, 5])
        store.append_many(stream, [(name, b"")] * count)
        everything += [(stream, name)] * count
    for _ in range(200):
        monkeypatch.setattr(following, "EVERY", draw.choice([1, 5, 1000]))
        selector = draw.choice(["$all", Prefix("a"), Prefix("ab"), Prefix("z")])
        names = draw.sample(NAMES, draw.randrange(3))
        first = draw.randrange(len(everything))
        stop = draw.choice([None, first + 1 + draw.randrange(len(everything) - first)])
        prefix = "" if selector == "$all" else selector.text
        wanted = [i for i in range(first, stop or len(everything))
                  if everything[i][0].startswith(prefix) and (not names or everything[i][1] in names)]
        seen = []
        for one in store.follow(selector, first, stop, names, timeout=0):
            if isinstance(one, Event):
                seen.append(one.position)
            else:
                assert seen == [i for i in wanted if i < one.next]
        assert seen == wanted
