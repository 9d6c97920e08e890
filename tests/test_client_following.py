"""A subscription's core without sockets: cut anywhere and as often as may be, it sees each event once.

    Following --- requests ---> World: events, and what a server answers
              <-- bytes, cut at a random place; then the next connection ---
"""

import contextlib
import random

import pytest
from fake_server import UNKNOWN, event, hello, last_number, names, recorded, subscribed

from meilies_client import BadReply, ClientError, Following, Gap, Selector, Session
from resp import Parser

STREAMS = "a", "b", "c"


class World:
    """Events of a few streams, and the bytes with which a server answers about them.

    plain   as MeiliES 0.2.0 does; now and then it loses an event between replay and live
    """

    def __init__(self, chance, plain):
        self.chance = chance
        self.plain = plain
        self.still = False      # nothing is published, and nothing lost, any more
        self.events = []        # (stream, number)

    def grow(self, most):
        for _ in range(self.chance.randrange(most)):
            stream = self.chance.choice(STREAMS)
            self.events.append((stream, len(self.of(stream))))

    def of(self, stream):
        return [number for name, number in self.events if name == stream]

    def answer(self, name, *arguments):
        arguments = [argument.decode() for argument in arguments]
        return getattr(self, "answer_" + name.decode().lower().replace("-", "_"))(*arguments)

    def answer_hello(self, _):
        return UNKNOWN if self.plain else hello()

    def answer_last_event_number(self, stream):
        last = len(self.events if stream == "$all" else self.of(stream)) - 1
        return last_number(stream, None if last < 0 else last)

    def answer_stream_names(self):
        return names(*sorted({stream for stream, _ in self.events}))

    def answer_follow(self, kind, *rest):
        stream, first, *to = rest if kind == "stream" else (None, *rest)
        first, end = int(first), int(to[1]) if to else 2**64
        replay = [
            recorded(position, name, number) for position, (name, number) in enumerate(self.events)
            if stream in (None, name) and first <= (position if stream is None else number) < end]
        return subscribed(stream or kind) + b"".join(replay)

    def answer_subscribe(self, selector):
        stream, first, *to = selector.split(":")
        first, last = int(first), int(to[0]) if to else None
        numbers = [n for n in self.of(stream) if n >= first and (last is None or n < last)]
        if not self.still:
            self.grow(3)
        if last is None:
            live = [n for n in self.of(stream) if n > first]
            lost = 0 if self.still else self.chance.randrange(2)
            numbers = numbers[:1] + live[lost:]
        return subscribed(stream) + b"".join(event(stream, number) for number in numbers)


def connection(following, world, cut):
    """One connection from beginning to end, which comes after `cut` bytes of the server's."""
    requests = Parser()
    following.connect()
    while True:
        requests.feed(following.data_to_send())
        said = b"".join(world.answer(*request) for request in requests.values())
        if not said:
            return
        while said and cut > 0:
            piece = said[:min(cut, world.chance.randrange(1, 200))]
            said = said[len(piece):]
            cut -= len(piece)
            following.receive_data(piece)
            if following.reconnect:
                return
        if cut <= 0:
            return


def follow_through_outages(seed, selectors, plain):
    chance = random.Random(seed)
    world = World(chance, plain)
    world.grow(20)
    following = Following([Selector.parse(text) for text in selectors])
    connection(following, world, 10_000)            # established, so that "new" means after this
    if plain:
        connection(following, world, 10_000)
    before = list(world.events)
    for _ in range(chance.randrange(1, 6)):
        world.grow(20)
        connection(following, world, chance.randrange(1500))
    world.still = True
    connection(following, world, 10_000_000)
    return world, before, following


@pytest.mark.parametrize("plain", [False, True])
def test_a_stream_is_seen_whole_and_in_order_through_any_outages(plain):
    for seed in range(150):
        world, before, following = follow_through_outages(seed, ["a:0", "b:2:9", "c"], plain)
        seen = {stream: [e.number for e in following.events if e.stream == stream] for stream in STREAMS}
        new = len([1 for stream, _ in before if stream == "c"])
        assert seen["a"] == world.of("a"), seed
        assert seen["b"] == world.of("b")[2:9], seed
        assert seen["c"] == world.of("c")[-len(seen["c"]) or len(world.of("c")):], seed
        assert len(seen["c"]) >= len(world.of("c")) - new, seed


def test_all_is_seen_whole_and_in_order_through_any_outages():
    for seed in range(150):
        world, _, following = follow_through_outages(seed, ["$all:0"], False)
        assert [(e.stream, e.number) for e in following.events] == world.events, seed
        assert [e.position for e in following.events] == list(range(len(world.events))), seed


def test_on_meilies_all_is_every_stream_seen_whole_through_any_outages():
    for seed in range(150):
        world, _, following = follow_through_outages(seed, ["$all:0"], True)
        for stream in STREAMS:
            assert [e.number for e in following.events if e.stream == stream] == world.of(stream), seed


def test_no_flipped_byte_makes_an_event_out_of_order():
    """Whatever comes, events are handed on with numbers that go up by one, or not at all."""
    said = hello() + subscribed("a") + b"".join(recorded(i, "a", i, data=b"x" * i) for i in range(5))
    chance = random.Random(1)
    for _ in range(2000):
        damaged = bytearray(said)
        damaged[chance.randrange(len(said))] = chance.randrange(256)
        following = Following([Selector("a", 0)])
        following.connect()
        following.data_to_send()
        with contextlib.suppress(ClientError):
            for at in range(0, len(damaged), 50):
                following.receive_data(bytes(damaged[at:at + 50]))
                following.data_to_send()
        assert [e.number for e in following.events] == list(range(len(following.events)))


def test_a_session_says_what_a_reply_answers():
    session = Session()
    session.request("one", "PING")
    session.request("two", "PING")
    assert session.unanswered == 2
    assert session.data_to_send() == b"*1\r\n$4\r\nPING\r\n" * 2
    assert session.data_to_send() == b""
    assert [reply.asked for reply in session.receive_data(b"+PONG\r\n+PONG\r\n")] == ["one", "two"]
    assert session.unanswered == 0


def test_what_came_before_a_gap_is_kept():
    following = Following([Selector("a", 0)])
    following.connect()
    following.data_to_send()
    following.receive_data(hello())
    following.data_to_send()
    with pytest.raises(Gap):
        following.receive_data(subscribed("a") + recorded(0, "a", 0) + recorded(5, "a", 5))
    assert [e.number for e in following.events] == [0]
    with pytest.raises(BadReply):
        following.receive_data(b"?")
