"""A client that follows with filters, over a bad network: each event that passes once, in order, and none missed."""

import random

import pytest
from both_clients import driver
from conftest import ROOT, SECONDS, UNMEASURED, Server
from faults.network import quiet
from faults.proxy import CUT, DOWN, LOSE_CLIENT, RESET, Fate, Proxy

from meilies_client import Client, Event, Prefix

__all__ = ["driver"]

LINKS = 40      # so many are ended early
LAST = 10       # events behind all others, so that a checkpoint says that these have passed


@pytest.fixture
def restless(tmp_path):
    """A server that refuses in the middle of frames, and sends a checkpoint each few events."""
    running = Server(["--db-path", str(tmp_path / "db"), "--port", "0", "--sync", "no", "--log-level", "error"],
                     {**UNMEASURED, "PYTHONPATH": str(ROOT)}, tmp_path / "server.log",
                     ROOT / "tests" / "restless_server.py")
    try:
        yield running.wait_until_listening()
    finally:
        running.end()


def draw_events(draw):
    """[(stream, name), …] as they are to be published."""
    events = []
    for _ in range(60):
        events += [(draw.choice(["a-1", "a-2", "b"]), draw.choice("xyz"))] * draw.choice([1, 1, 20])
    return events


def passing(events, selector, names):
    """[(stream, number), …] of those that a follower is to see."""
    counts = {}
    found = []
    for stream, name in events:
        number = counts[stream] = counts.get(stream, -1) + 1
        of = stream.startswith(selector.text) if isinstance(selector, Prefix) else selector in ("$all", stream)
        if of and (not names or name in names):
            found.append((stream, number))
    return found


def read_up_to(follower, key, by_position):
    """What comes until its reader knows of everything before `key`."""
    found = []
    while True:
        found += follower.read(timeout=SECONDS)
        last = found[-1]
        told = last.next if not isinstance(last, Event) else (last.position if by_position else last.number) + 1
        if told >= key:
            return found


@pytest.mark.parametrize("driver, seed", [("blocking", 1), ("blocking", 2), ("asyncio", 1)], indirect=["driver"])
@pytest.mark.parametrize("selector, names", [
    (Prefix("a"), ()), (Prefix("a"), ("x",)), ("$all", ("x", "y")), ("a-1", ("y",)), ("$all", ()), ("a-1", ("none",))])
def test_whatever_the_network_does_a_follower_misses_nothing_and_sees_nothing_twice(
        restless, driver, selector, names, seed):
    draw = random.Random(seed)
    fates = [Fate(draw.choice([CUT, RESET, LOSE_CLIENT]), DOWN, draw.randrange(400) if i else 50)
             for i in range(LINKS)]      # the first before anything is followed
    events = draw_events(draw)
    with quiet(), Proxy(restless.port) as proxy, Client(port=restless.port) as publisher, \
            Client(port=proxy.port, delay=0.001, tries=1000) as client:
        proxy.fate_of = lambda index: fates[index] if index < LINKS else None
        publisher.publish_batch((stream, name, b"." * 50) for stream, name in events[:200])
        with client.follow(selector, 0, names=names) as follower:
            publisher.publish_batch((stream, name, b"." * 50) for stream, name in events[200:])
            publisher.publish_batch([("a-1", "last", b"")] * LAST)
            key = len(passing(events, "a-1", ())) if selector == "a-1" else len(events)
            found = read_up_to(follower, key, selector != "a-1")
        assert proxy.links > 1
    seen = [(one.stream, one.number) for one in found if isinstance(one, Event) and one.name != "last"]
    assert seen == passing(events, selector, names)
