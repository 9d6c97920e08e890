"""A scene on both sides: calls out, replies in, and what may differ by nature made the same.

    XADD orders 1-1 created one         a call, whose reply is awaited; words are quoted as in a shell, \\x00 is a byte
    one = XADD orders * created one     the reply is an id that each side makes for itself: `one` in replies,
    XRANGE orders {one} +               {one} in calls
    sorted KEYS *                       the reply's elements have no order
    2 PING                              on a second connection
    2 waits XREAD BLOCK 0 ...           sent, and the server has begun to wait
    2 gets                              the next thing that comes on it
    XADD orders 0-9 a b                 # numbers       the replies differ, as differences.py says under `numbers`

The keys `orders`, `bills` and `absent` are others in each scene, so that scenes can share a server; a scene that
asks what keys there are is `alone`, with servers of its own.
"""

import codecs
import contextlib
import itertools
import re
import shlex
import socket
import time
from typing import NamedTuple, Optional

from conftest import SECONDS

from .wire import Reply, Wire, changed

KEYS = {"orders", "bills", "absent"}
_MARK = "~"         # stands between a key and the number of its scene

# What is followed by a time, or by how long something is ago.
TIMED = {b"idle", b"inactive", b"seen-time", b"active-time"}
_ID = re.compile(rb"[0-9]+-[0-9]+\Z")
_LINE = re.compile(r"(?:(?P<name>\w+) = )?(?P<sorted>sorted )?(?:(?P<peer>[2-9]) )?(?P<waits>waits )?(?P<call>.*)")
_BLOCKED = re.compile(rb"blocked_clients:([0-9]+)")

_numbers = itertools.count()


class Step(NamedTuple):
    """One line of a scene.

    words       of the call; none where something is only awaited
    name        what to call the id that is the reply, or None
    difference  the name of that which makes the replies differ, or None
    """

    text: str
    words: list
    name: Optional[str]
    is_sorted: bool
    peer: str
    waits: bool
    difference: Optional[str]

    @property
    def command(self):
        """What the table has a row for: a command, with its subcommand where it has some."""
        parts = 2 if self.words[:1] and self.words[0].upper() in CONTAINERS else 1
        return " ".join(self.words[:parts]).upper()


CONTAINERS = {"XINFO", "XGROUP", "OBJECT", "CLIENT", "PUBSUB", "MEMORY", "COMMAND", "CONFIG", "MODULE"}


class Compared(NamedTuple):
    step: Step
    redis: Reply
    ours: Reply

    @property
    def is_alike(self):
        return are_alike(self.redis, self.ours)


def are_alike(redis, ours):
    """Whether two replies are the same; our errors may go on where Redis's end."""
    if redis.kind == ours.kind == "-":
        return ours.value.startswith(redis.value.rstrip(b" ."))
    return redis == ours


def steps_of(text):
    return [_step(line.strip()) for line in text.splitlines() if line.strip()]


def _step(line):
    text, _, mark = line.partition("  # ")
    match = _LINE.match(text.strip())
    words = [] if match["call"] == "gets" else shlex.split(match["call"])
    return Step(text.strip(), words, match["name"], bool(match["sorted"]), match["peer"] or "1", bool(match["waits"]),
                mark.strip() or None)


class Side:
    """One of the two servers.

    connect   returns a socket that is connected to it
    """

    def __init__(self, connect, protocol):
        self._connect = connect
        self._protocol = protocol
        self._wires = {}
        self._ids = {}
        self._control = Wire(connect())

    def begin(self, mark):
        """A scene begins: new connections, other keys."""
        self._mark = mark.encode()
        self._ids = {}
        for wire in self._wires.values():
            wire.close()
        self._wires = {}

    def send(self, step):
        wire = self._wire(step.peer)
        if not step.words:
            return
        blocked = self._blocked() if step.waits else 0
        wire.say(*map(self._word, step.words))
        if step.waits:
            until = time.monotonic() + SECONDS
            while self._blocked() <= blocked:
                assert time.monotonic() < until, f"{step.text}: the server does not wait"
                time.sleep(0.001)

    def reply(self, step):
        """What comes of a step, in the words that both sides share."""
        try:
            reply = self._wire(step.peer).reply()
        except OSError:
            return Reply("nothing comes", None)
        if step.name:
            self._ids[step.name.encode()] = reply.value
        if step.is_sorted:
            reply = Reply(reply.kind, sorted(reply.value))
        return changed(changed(reply, without_times), self._named)

    def close(self):
        self.begin("")
        self._control.close()

    def _wire(self, peer):
        if peer not in self._wires:
            self._wires[peer] = Wire(self._connect())
            if self._protocol == 3:
                self._wires[peer].ask(b"HELLO", b"3")
        return self._wires[peer]

    def _blocked(self):
        return int(_BLOCKED.search(self._control.ask(b"INFO", b"clients").value)[1])

    def _word(self, word):
        if word in KEYS:
            return word.encode() + self._mark
        for name, id in self._ids.items():
            word = word.replace("{%s}" % name.decode(), id.decode())
        return codecs.escape_decode(word.encode())[0]

    def _named(self, reply):
        """A reply with ids by their names, and keys without their mark."""
        kind, value = reply
        if not isinstance(value, bytes):
            return reply
        for name, id in self._ids.items():
            if value == id:
                return Reply(kind, name)
        return Reply(kind, value.replace(self._mark, b"")) if self._mark else reply


def without_times(reply):
    """A reply whose times, and times since, are `time`."""
    kind, value = reply
    if kind == "%":
        return Reply(kind, [(key, _time(one) if key.kind == "$" and key.value in TIMED else one) for key, one in value])
    if not isinstance(value, list):
        return reply
    kinds = "".join(one.kind for one in value)
    if value and kinds in ("$$::", "$::") and _ID.match(value[0].value):      # a pending entry
        value = [*value[:-2], _time(value[-2]), value[-1]]
    for at, one in enumerate(value[:-1]):
        if one.kind == "$" and one.value in TIMED:
            value = [*value[:at + 1], _time(value[at + 1]), *value[at + 2:]]
    return Reply(kind, value)


def _time(reply):
    return Reply(reply.kind, b"time") if reply.kind == ":" else reply


def compare(scene, protocol, redis, port):
    """Play a Scene on a Redis and on our server at `port`; return what was Compared."""
    with both_sides(protocol, redis, port) as sides:
        return list(play(scene.text, *sides, scene.alone))


@contextlib.contextmanager
def both_sides(protocol, redis, port):
    """A Side for each server."""
    sides = [Side(redis.connect, protocol),
             Side(lambda: socket.create_connection(("127.0.0.1", port), SECONDS), protocol)]
    try:
        yield sides
    finally:
        for side in sides:
            side.close()


def play(text, redis, ours, alone=False):
    """Play a scene on two Sides; yield a Compared for each of its steps."""
    mark = "" if alone else f"{_MARK}{next(_numbers)}"
    for side in (redis, ours):
        side.begin(mark)
    for step in steps_of(text):
        for side in (redis, ours):
            side.send(step)
        if not step.waits:
            yield Compared(step, redis.reply(step), ours.reply(step))
