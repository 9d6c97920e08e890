"""What publishers and subscribers of a store were told, compared with what is there afterwards.

    acknowledged PUBLISHER INDEX COUNT STREAM NUMBER POSITION       an append of COUNT events, STREAM+STREAM by turns
    seen         POSITION CRC                                       all events before it, and a checksum of these

Each is a line that the process writes to a pipe when it knows; what came before its death can be read.  The data of
an event says whose it is, which of its appends, and which event of it, and what follows is made from that: so an
event that is not as it was sent is known without being told what was.
"""

import random
import re
import threading
import zlib

from store import Change, NewEvent, Store

from .still import quiet

_DATA = re.compile(rb"(?P<publisher>[\w-]+)\.(?P<index>\d+)\.(?P<i>\d+)\.(?P<count>\d+)\.(?P<size>\d+):")
LIMIT = 1 << 30


def data_of(publisher, index, i, count, size):
    """The data of event `i` of the `count` that are append `index`; `size` bytes follow."""
    head = b"%s.%d.%d.%d.%d:" % (publisher.encode(), index, i, count, size)
    return head + filler(head, size)


def filler(head, size):
    block = b"%08x" % zlib.crc32(head)
    return (block * (size // 8 + 1))[:size]


class Publisher:
    """Appends to a stream of its own and to one that it shares, in a thread."""

    def __init__(self, store, name, seed, appends, say):
        self._store = store
        self._name = name
        self._draw = random.Random(seed)
        self._appends = appends
        self._say = say
        self._thread = threading.Thread(target=self._run, name=f"publisher {name}", daemon=True)
        self._thread.start()

    def _run(self):
        for index in range(self._appends):
            count = self._draw.choice((1, 1, 2, 5))
            streams = self._draw.choice(((self._name,), ("shared",), (self._name, "shared")))[:count]
            size = self._draw.choice((400, 400, 3000))
            changes = [Change(streams[i % len(streams)],
                              NewEvent("n", data_of(self._name, index, i, count, self._draw.randrange(size))))
                       for i in range(count)]
            done = self._store.append_all(changes)[0]
            stream = "+".join(streams)
            self._say(f"acknowledged {self._name} {index} {count} {stream} {done.number} {done.position}\n".encode())

    def join(self):
        self._thread.join()


def subscribe(store, stop, say):
    """Follow the store until `stop` is set, and say what was seen."""
    position = crc = 0
    while not stop.is_set():
        if store.wait_all(position, 0.005):
            for event in store.read_all(position):
                crc = checksum(event, crc)
                position += 1
            say(b"seen %d %d\n" % (position, crc))


def checksum(event, crc):
    return zlib.crc32(b"%s %d %s" % (event.stream.encode(), event.number, event.data), crc)


class Ledger:
    """What they said.

    acknowledged   {(publisher, index): (count, stream, number, position)}
    seen           [(position, checksum of the events before it)]
    """

    def __init__(self):
        self.acknowledged = {}
        self.seen = []

    def take(self, line):
        """A line of theirs; one that was cut off says nothing."""
        words = line.decode().split()
        if not line.endswith(b"\n"):
            return
        if words[0] == "acknowledged":
            publisher, index, count, stream, number, position = words[1:]
            self.acknowledged[publisher, int(index)] = int(count), stream, int(number), int(position)
        else:
            self.seen.append((int(words[1]), int(words[2])))

    @staticmethod
    def events_in(folder):
        """All events of a store, by position."""
        with Store(folder) as store:
            return store.read_all(limit=LIMIT)

    def check(self, folder, before=()):
        """Fail unless everything acknowledged is in the store once, in order and unharmed.

        before   the events that were there at first
        """
        with quiet(), Store(folder) as store:
            events = store.read_all(limit=LIMIT)
            _check_order(store, events)
        assert events[:len(before)] == list(before), "what was there before isn't there now"
        there = _appends(events[len(before):])
        for (publisher, index), told in self.acknowledged.items():
            assert (publisher, index) in there, f"append {index} of {publisher} was acknowledged and is gone"
            assert there[publisher, index] == told, \
                f"append {index} of {publisher} is at {there[publisher, index]}, acknowledged was {told}"
        self._check_seen(events)

    def _check_seen(self, events):
        """Subscribers saw a prefix of what is there."""
        told = dict(self.seen)
        crc = 0
        assert max(told, default=0) <= len(events), f"{max(told)} events were seen, {len(events)} are there"
        for position, event in enumerate(events, 1):
            crc = checksum(event, crc)
            assert told.get(position, crc) == crc, f"the first {position} events aren't those that were seen"


def _check_order(store, events):
    """Positions and numbers have no gap, and reading by streams gives the same."""
    assert [event.position for event in events] == list(range(store.position))
    streams = {}
    for event in events:
        streams.setdefault(event.stream, []).append(event)
    for name, of in streams.items():
        assert [event.number for event in of] == list(range(len(of))), f"the numbers of {name} have a gap"
        assert store.read(name, limit=LIMIT) == of, f"{name} reads otherwise by itself"


def _appends(events):
    """{(publisher, index): (count, stream, number, position)}; each is whole, and later than the one before."""
    there = {}
    latest = {}
    at = 0
    while at < len(events):
        first = events[at]
        found = _DATA.match(first.data)
        assert found, f"event {first.position} holds {first.data[:60]!r}"
        publisher = found["publisher"].decode()
        index, count = int(found["index"]), int(found["count"])
        assert len(events) >= at + count, f"append {index} of {publisher} isn't whole"
        for i, event in enumerate(events[at:at + count]):
            part = _DATA.match(event.data)
            assert part and event.data == data_of(publisher, index, i, count, int(part["size"])), \
                f"event {event.position} holds {event.data[:60]!r}, expected event {i} of append {index} of {publisher}"
            assert event.stream in (first.stream, events[at + min(1, count - 1)].stream)
        assert latest.get(publisher, -1) < index, f"append {index} of {publisher} is there twice, or out of order"
        latest[publisher] = index
        streams = "+".join(dict.fromkeys(event.stream for event in events[at:at + count]))
        there[publisher, index] = count, streams, first.number, first.position
        at += count
    return there
