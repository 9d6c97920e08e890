"""Consumer groups by Redis's commands, compared with redis-server: the same random calls to both, reply by reply.

Events are the same on both, and their ids are told as `#0`, `#1` …; what is given in vain, again, to another,
acknowledged, deleted and set back is so on both.  Times aren't compared, and of how far a group is only what
redis-server knows itself.
"""

import random
import re

import pytest
from alike.redis import Redis, needs_redis
from alike.wire import Reply, Wire, changed
from serving import Serving

pytestmark = needs_redis

CALLS = 250
_ID = re.compile(rb"[0-9]+-[0-9]+\Z")
GROUPS = (b"g", b"h")
MEMBERS = (b"ann", b"bob", b"carl")
STREAMS = (b"s", b"t:1")


class Both:
    """The two servers, and the ids of their events."""

    def __init__(self, redis, ours, protocol):
        self.sides = [Wire(redis), Wire(ours)]
        self.ids = [{}, {}]         # side -> {id: its mark}
        self.marks = []
        for side in self.sides:
            side.ask(b"HELLO", b"%d" % protocol)

    def close(self):
        for side in self.sides:
            side.close()

    def add(self, stream):
        """An event on both."""
        number = len(self.marks)
        mark = b"#%d" % number
        self.marks.append((stream, mark))
        for side, ids in zip(self.sides, self.ids):
            ids[side.ask(b"XADD", stream, b"%d-*" % (1000 + number), b"name", mark).value] = mark

    def call(self, *words):
        """(what redis-server replies, what we do), ids as marks."""
        return [self._marked(side.ask(*(self._id(ids, word) for word in words)), ids)
                for side, ids in zip(self.sides, self.ids)]

    def _id(self, ids, word):
        """A word as it is, or the id of a mark in it."""
        if b"#" not in word:
            return word
        before, _, number = word.partition(b"#")
        return before + next(one for one, mark in ids.items() if mark == b"#" + number)

    def _marked(self, reply, ids):
        def mark(one):
            if isinstance(one.value, bytes) and _ID.match(one.value):
                return Reply(one.kind, ids.get(one.value, one.value))
            return one
        return changed(reply, mark)


class Calls:
    """Random calls, most of which find something."""

    def __init__(self, both, seed):
        self.both = both
        self.random = random.Random(seed)

    def one(self):
        makers = (self.add, self.add, self.read, self.read, self.read, self.own, self.ack, self.ack, self.pending,
                  self.claim, self.claim, self.autoclaim, self.create, self.set_id, self.destroy, self.consumer,
                  self.delete, self.info, self.summary)
        return self.random.choice(makers)()

    def pick(self, *of):
        return self.random.choice(of)

    def where(self):
        return self.pick(*STREAMS), self.pick(*GROUPS)

    def event(self, stream):
        """A mark, of this stream mostly."""
        marks = [mark for of, mark in self.both.marks if of == stream][-15:]
        return self.random.choice(marks) if marks and self.random.random() < 0.9 else b"5-%d" % self.random.randrange(3)

    def events(self, stream):
        return [self.event(stream) for _ in range(self.random.randrange(1, 5))]

    def add(self):
        for _ in range(self.random.randrange(1, 4)):
            self.both.add(self.pick(*STREAMS))

    def read(self):
        more = self.pick((), (b"COUNT", b"2"), (b"NOACK",), (b"COUNT", b"1", b"BLOCK", b"1"))
        streams = self.pick(STREAMS, STREAMS[:1], STREAMS[1:])
        ids = [self.pick(b">", b">", b">", b"0") for _ in streams]
        return b"XREADGROUP", b"GROUP", self.pick(*GROUPS), self.pick(*MEMBERS), *more, b"STREAMS", *streams, *ids

    def own(self):
        stream, group = self.where()
        return (b"XREADGROUP", b"GROUP", group, self.pick(*MEMBERS), b"COUNT", self.pick(b"1", b"3", b"0"), b"STREAMS",
                stream, self.event(stream))

    def ack(self):
        stream, group = self.where()
        return b"XACK", stream, group, *self.events(stream)

    def pending(self):
        stream, group = self.where()
        begin = self.pick(b"-", self.event(stream), b"(" + self.event(stream))
        end = self.pick(b"+", self.event(stream))
        return b"XPENDING", stream, group, begin, end, self.pick(b"1", b"10"), *self.pick((), (self.pick(*MEMBERS),))

    def summary(self):
        return b"XPENDING", *self.where()

    def claim(self):
        stream, group = self.where()
        more = self.pick((), (b"JUSTID",), (b"FORCE",), (b"RETRYCOUNT", b"4"), (b"IDLE", b"1000"),
                         (b"LASTID", self.event(stream)), (b"FORCE", b"JUSTID"))
        return (b"XCLAIM", stream, group, self.pick(*MEMBERS), self.pick(b"0", b"0", b"10000000"), *self.events(stream),
                *more)

    def autoclaim(self):
        stream, group = self.where()
        return (b"XAUTOCLAIM", stream, group, self.pick(*MEMBERS), self.pick(b"0", b"10000000"),
                self.pick(b"-", self.event(stream)), *self.pick((), (b"COUNT", b"1"), (b"COUNT", b"2", b"JUSTID")))

    def create(self):
        stream, group = self.where()
        place = self.pick(b"0", b"0", b"$", self.event(stream))
        return b"XGROUP", b"CREATE", stream, group, place, *self.pick((b"MKSTREAM",), ())

    def set_id(self):
        stream, group = self.where()
        return b"XGROUP", b"SETID", stream, group, self.pick(b"0", b"$", self.event(stream))

    def destroy(self):
        return (b"XGROUP", b"DESTROY", *self.where()) if self.random.random() < 0.2 else self.summary()

    def consumer(self):
        return b"XGROUP", self.pick(b"CREATECONSUMER", b"DELCONSUMER"), *self.where(), self.pick(*MEMBERS)

    def delete(self):
        stream = self.pick(*STREAMS)
        return self.pick((b"XDEL", stream, self.event(stream)), (b"XTRIM", stream, b"MAXLEN", b"12"))

    def info(self):
        stream, group = self.where()
        return self.pick((b"XINFO", b"GROUPS", stream), (b"XINFO", b"CONSUMERS", stream, group))


def comparable(words, reply):
    """A reply without times and what redis-server guesses; nested, None for nulls."""
    plain = _plain(reply)
    if words[0] == b"XPENDING" and len(words) > 3 and isinstance(plain, list):
        return [[*one[:2], one[3]] for one in plain]
    if words[0] == b"XINFO" and isinstance(plain, list):
        fields = (b"name", b"pending", b"consumers", b"last-delivered-id")
        return [{key: one[key] for key in fields if key in one} for one in map(_mapped, plain)]
    return plain


def _mapped(one):
    return one if isinstance(one, dict) else dict(zip(one[::2], one[1::2]))


def _plain(reply):
    if reply.kind == "-":
        return reply.value.split(b" ")[0]
    if reply.kind == "%":
        return {_plain(key): _plain(one) for key, one in reply.value}
    return [_plain(one) for one in reply.value] if isinstance(reply.value, list) else reply.value


@pytest.mark.parametrize("seed", range(6))
def test_random_calls_have_the_replies_of_redis_server(tmp_path, seed):
    with Redis() as redis, Serving(tmp_path / "db") as serving:
        both = Both(redis.connect(), serving.connect().sock, 2 + seed % 2)
        calls = Calls(both, seed)
        told = []
        try:
            for group in GROUPS:
                for stream in STREAMS:
                    both.call(b"XGROUP", b"CREATE", stream, group, b"0", b"MKSTREAM")
            for _ in range(CALLS):
                words = calls.one()
                if words:
                    theirs, ours = both.call(*words)
                    told.append(b" ".join(words).decode())
                    assert comparable(words, ours) == comparable(words, theirs), "\n".join(told[-12:])
        finally:
            both.close()
