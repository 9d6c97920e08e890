"""Compaction under loss of power: whatever that leaves, readers see what they saw, and it can be done again."""

import random

import pytest

from store import ALWAYS, Store, log

from .platter import Platter, sampled
from .still import Shelf, still, tick

FOLDER = "/db"
STATES = 2      # of each moment, with an index each


def opened(platter):
    return Store(FOLDER, ALWAYS, 0, 2500, platter, lambda: 7)


def found(store):
    events = store.read_all(limit=1000)
    for name in ("a", "b", "c"):
        assert store.read(name, limit=1000) == [event for event in events if event.stream == name]
        assert store.read_back(name, limit=1000) == store.read(name, limit=1000)[::-1]
    return events, [store.last_number(name) for name in ("a", "b", "c")], store.position


def fill(store, draw):
    for i in range(60):
        store.append(draw.choice("abc"), "n", b"event %d" % i + b"x" * draw.choice((10, 300)))
    tick(store)
    store.truncate("a", draw.randrange(1, store.last_number("a") + 1))
    store.redact("b", draw.randrange(store.last_number("b")))
    store.delete("c")
    store.append("c", "n", b"again")


@pytest.mark.parametrize("seed", range(2))
def test_whatever_the_power_leaves_of_a_compaction_is_read_as_before(monkeypatch, seed):
    monkeypatch.setattr(log, "_PAUSE", 0)
    shelf, draw, moments = Shelf(), random.Random(seed), []
    with still(shelf, room=300):
        shelf.keeping = True
        platter = Platter()
        store = opened(platter)
        fill(store, draw)
        before = found(store)
        platter.on_done = lambda: moments.append((platter.loss(), len(shelf.versions)))
        assert store.compact().segments > 2
        shelf.keeping = False
        assert found(store) == before and len(moments) > 20
        for loss, versions in draw.sample(moments, 20):
            for i, state in enumerate(sampled(loss, draw, STATES)):
                version = draw.choice((versions - 1, versions - 1, draw.randrange(versions)))
                shelf.put(None if i % 4 == 3 else shelf.versions[version])
                again = opened(Platter(state, "second"))
                assert found(again) == before
                again.compact()
                assert found(again) == before
                again.close()
        store.close()
