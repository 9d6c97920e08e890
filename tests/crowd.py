"""A crowd of clients that publish and follow at random, each checking all that it sees.

    publishers ──> server ──> watchers: join, leave, join again, stall, go, come back

    Frame        what one event looked like on the wire
    View         one subscription, and what it has shown so far
    Client       one connection: what it asked, its views, a socket that may be left unread
    Crowd        all of them, one selector, one seed

A view of streams checks as it goes that numbers are consecutive; one of `$all`,
of a prefix or of names keeps what it saw.  When the publishers have ended, the
whole order is read once by itself, and every view must be a run of it: no gap, no
repeat, and the same bytes; and what notices said must be true: nothing came later
that stands before them.

Run it for as long as you like:  python3 tests/crowd.py --seconds 60 --sync always --seed 7
"""

import argparse
import random
import re
import selectors
import socket
import struct
import subprocess
import sys
import tempfile
import time
from bisect import bisect_left
from collections import Counter, deque
from itertools import islice
from pathlib import Path
from zlib import crc32

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import resp

PATIENCE = 10.0     # seconds for what should take none

# What comes from the server, and nothing else may.
_EVENT = re.compile(rb"([*>])5\r\n\+event\r\n\+([^\r]*)\r\n:([0-9]+)\r\n\+([^\r]*)\r\n\$([0-9]+)\r\n")
_RECORDED = re.compile(rb"([*>])9\r\n\+recorded\r\n:([0-9]+)\r\n\+([^\r]*)\r\n:([0-9]+)\r\n\+([^\r]*)\r\n"
                       rb"\$([0-9]+)\r\n")
_BEHIND = re.compile(rb"\r\n\$0\r\n\r\n\$0\r\n\r\n:[0-9]+\r\n")
_OK = re.compile(rb"\+OK\r\n")
_ACK2 = re.compile(rb"\*2\r\n\+(subscribed|unsubscribed)\r\n\+([^\r]*)\r\n")
_ACK3 = re.compile(rb">3\r\n\$[0-9]+\r\n(subscribe|unsubscribe)\r\n\$[0-9]+\r\n([^\r]*)\r\n:[0-9]+\r\n")
_NOTICE = re.compile(rb"([*>])3\r\n\+(checkpoint|caught-up)\r\n\+([^\r]*)\r\n:([0-9]+)\r\n")
_HELLO = re.compile(rb"%9\r\n.*?\r\nepoch\r\n:[0-9]+\r\n", re.DOTALL)
_MAX_HEAD = 1000

NAMES = [b"e", b"f", b"ff"]


class Frame:
    """One event as it came.  `position` is None in the short form."""

    __slots__ = ("stream", "number", "position", "name", "mark")

    def __init__(self, stream, number, position, name, data):
        self.stream = stream
        self.number = number
        self.position = position
        self.name = name
        self.mark = crc32(data, crc32(name))

    def __repr__(self):
        return f"{self.stream.decode()}:{self.number}@{self.position}"


def read(buffer, pos, protocol):
    """(Frame or Match of another reply, the byte after it) at `pos`, or (None, pos) if it isn't whole."""
    match = _EVENT.match(buffer, pos)
    if match:
        kind, stream, number, name, size = match.groups()
        end = match.end() + int(size)
        if len(buffer) < end + 2:
            return None, pos
        assert buffer[end:end + 2] == b"\r\n"
        assert kind == (b">" if protocol == 3 else b"*"), f"{match} in protocol {protocol}"
        return Frame(stream, int(number), None, name, buffer[match.end():end]), end + 2
    match = _RECORDED.match(buffer, pos)
    if match:
        kind, position, stream, number, name, size = match.groups()
        end = match.end() + int(size)
        behind = _BEHIND.match(buffer, end)
        if not behind:
            assert len(buffer) < end + _MAX_HEAD
            return None, pos
        assert kind == (b">" if protocol == 3 else b"*"), f"{match} in protocol {protocol}"
        return Frame(stream, int(number), int(position), name, buffer[match.end():end]), behind.end()
    for pattern in _OK, _NOTICE, _ACK2, _ACK3, _HELLO:
        match = pattern.match(buffer, pos)
        if match:
            return match, match.end()
    assert len(buffer) - pos < _MAX_HEAD, f"found {bytes(buffer[pos:pos + 200])!r}"
    return None, pos


class View:
    """One subscription, from its acknowledgement on.

    first   the number or position that was asked for, None for new events only
    after   nothing up to here may come: all of it was seen before this was asked for
    stop    where it ends, or None
    long    made by `follow`
    names   of the events that were asked for; empty: of all
    """

    def __init__(self, selector, first, after, stop, long=True, names=frozenset()):
        self.selector = selector
        self.next = first
        self.after = after
        self.stop = stop
        self.long = long
        self.names = names
        self.wanted = (*selector, names)
        self.by_position = selector[0] == "prefix" or selector[1] == b"$all"
        self.seen = []          # of `$all` and what is filtered: Frames
        self.told = []          # what notices said: (key, how many Frames had been seen)
        self.live = 0           # how often it was told that it caught up
        self.first = first

    def key_of(self, frame):
        return frame.position if self.by_position else frame.number

    def take(self, frame):
        kind, key = self.selector
        if kind == "prefix":
            assert frame.stream.startswith(key), f"{frame} of prefix {key}"
        assert not self.names or frame.name in self.names, f"{frame} is called {frame.name} on {self}"
        if self.by_position or self.names:
            self.seen.append(frame)
            if kind == "prefix" or self.names or frame.position is None:
                return
        here = frame.position if key == b"$all" else frame.number
        assert key in (b"$all", frame.stream), f"{frame} of {self.selector}"
        if self.next is None:
            assert here > self.after, f"found {frame} on {self}, expected later ones"
        else:
            assert here == self.next, f"found {frame} on {self}"
        assert self.stop is None or here < self.stop, f"found {frame} on {self}"
        self.next = here + 1

    def take_notice(self, what, key):
        assert self.long and not (self.told and key < self.told[-1][0]), f"found {what} {key} on {self}, {self.told}"
        if self.first is None and not self.seen and not self.told:
            self.first = key        # now it is known, and all from there must come
        self.told.append((key, len(self.seen)))
        if what == b"caught-up":
            self.live += 1
        elif self.next is not None and not self.names and self.selector[0] == "stream":
            raise AssertionError(f"found a checkpoint at {key} on {self}, where nothing is passed over")

    def check(self, orders):
        """What an ended or completed view of `$all`, a prefix or names saw is a run of the whole order."""
        self._check_notices(orders)
        if not self.seen:
            return
        order = orders[self.wanted]
        begin = orders.place(self.wanted, self.seen[0])
        if self.first is None:
            assert self.key_of(order[begin]) > self.after, f"{self} has {order[begin]}"
        else:
            assert self.key_of(order[begin]) >= self.first, f"{self} has {order[begin]}"
            assert begin == 0 or self.key_of(order[begin - 1]) < self.first, f"{self} lacks {order[begin - 1]}"
        assert len(self.seen) <= len(order) - begin, f"{self} has more than there is"
        for found, expected in zip(self.seen, islice(order, begin, None)):
            assert (found.stream, found.number) == (expected.stream, expected.number), \
                f"found {found} on {self}, expected {expected}"
            assert found.position in (None, expected.position)
        if self.stop is not None:
            assert self.key_of(order[begin + len(self.seen) - 1]) < self.stop

    def _check_notices(self, orders):
        """All that stands before the key of a notice had been seen, and nothing behind it."""
        if not self.by_position and not self.names:
            return          # it knows of no jump, and says what it saw by `next`
        keys = [self.key_of(frame) for frame in orders[self.wanted]]
        first = self.first
        if first is None and self.seen:
            first = self.key_of(orders[self.wanted][orders.place(self.wanted, self.seen[0])])
        if first is not None:
            begin = bisect_left(keys, first)
            for key, seen in self.told:
                expected = max(0, bisect_left(keys, key) - begin)
                assert seen == expected, f"{self} had {seen} events when it was told {key}, expected {expected}"

    def is_complete(self, orders):
        """Whether it has shown all that there is for it."""
        if self.long and not self._knows_its_end(orders):
            return False
        order = orders[self.wanted]
        if not self.by_position and not self.names:
            return self.next is not None and self.next >= min(len(order), self.stop or len(order))
        stop = len(order)
        while self.stop is not None and stop and self.key_of(order[stop - 1]) >= self.stop:
            stop -= 1
        if not stop or (self.first is not None and self.key_of(order[stop - 1]) < self.first):
            return True
        return bool(self.seen) and orders.place(self.wanted, self.seen[-1]) == stop - 1

    def _knows_its_end(self, orders):
        """Whether it was told that it is live, or that it has come to its end."""
        kind, key = self.selector
        there = len(orders["stream", b"$all" if self.by_position else key, frozenset()])
        if self.stop is None or self.stop > there:
            return self.live > 0
        last = self.key_of(self.seen[-1]) + 1 if self.seen else 0
        return max(last, self.next or 0, self.told[-1][0] if self.told else 0) >= self.stop

    def __repr__(self):
        return f"View({self.wanted}, first={self.first}, after={self.after}, stop={self.stop}, next={self.next})"


class Orders(dict):
    """(kind, key, names) -> the events that are wanted so, in their order, when no more will come."""

    def __init__(self, everything):
        self._everything = everything
        self._places = {}

    def __missing__(self, wanted):
        kind, key, names = wanted
        if kind == "prefix":
            found = [one for one in self._everything if one.stream.startswith(key)]
        else:
            found = [one for one in self._everything if key in (b"$all", one.stream)]
        self[wanted] = found = [one for one in found if not names or one.name in names]
        self._places[wanted] = {(one.stream, one.number): i for i, one in enumerate(found)}
        return found

    def place(self, wanted, frame):
        """Where in the order of `wanted` an event is."""
        self[wanted]
        return self._places[wanted][frame.stream, frame.number]


class Client:
    """One connection: commands out, acknowledgements and frames in, all of it checked."""

    def __init__(self, crowd, protocol):
        self.crowd = crowd
        self.protocol = 2
        self.views = {}             # selector -> View
        self.kinds = []             # (form, what) that it may follow: a frame is of one view at most
        self.prefix = b""
        self.awaited = deque()      # what to do at each reply that isn't an event
        self.stalled_until = 0.0
        self.own = []               # (stream, mark) that it published
        self._out = bytearray()
        self._in = b""
        self.sock = socket.socket()
        if crowd.random.random() < 0.5:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        self.sock.connect(("127.0.0.1", crowd.port))
        self.sock.setblocking(False)
        crowd.selector.register(self.sock, selectors.EVENT_READ, self)
        self._mask = selectors.EVENT_READ
        if protocol == 3:
            self.ask(["hello", "3"], self._hello)

    def _hello(self, match):
        assert match.re is _HELLO
        self.protocol = 3

    # -- out -----------------------------------------------------------------

    def ask(self, arguments, on_reply):
        self._out += resp.command(*arguments)
        self.awaited.append(on_reply)

    def publish(self, stream, name, datas):
        for data in datas:
            self._out += resp.command("publish", stream, name, data)
        self.awaited.append([len(datas)])
        self.own += [(stream, crc32(data, crc32(name))) for data in datas]

    def flush(self):
        while self._out:
            try:
                sent = self.sock.send(self._out[:1 << 16])
            except BlockingIOError:
                break
            del self._out[:sent]

    def watch(self, now):
        """Have the selector look at what this client waits for."""
        mask = (0 if now < self.stalled_until else selectors.EVENT_READ) | (selectors.EVENT_WRITE if self._out else 0)
        if mask != self._mask:
            if not self._mask:
                self.crowd.selector.register(self.sock, mask, self)
            elif not mask:
                self.crowd.selector.unregister(self.sock)
            else:
                self.crowd.selector.modify(self.sock, mask, self)
            self._mask = mask

    # -- in ------------------------------------------------------------------

    def receive(self):
        try:
            data = self.sock.recv(1 << 16)
        except BlockingIOError:
            return
        if hasattr(socket, "TCP_QUICKACK"):     # or small buffers make TCP wait for itself
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        assert data, "the server closed a connection"
        self.crowd.received += len(data)
        buffer = self._in + data if self._in else data
        pos = 0
        while True:
            found, pos = read(buffer, pos, self.protocol)
            if found is None:
                break
            self._take(found)
        self._in = buffer[pos:]

    def _take(self, found):
        if isinstance(found, Frame):
            self.crowd.see(found)
            view = self._view_of(found)
            view.take(found)
            return
        if found.re is _NOTICE:
            self._take_notice(*found.groups())
            return
        assert self.awaited, f"{found} was not asked for"
        expected = self.awaited[0]
        if isinstance(expected, list):      # publishes
            assert found.re is _OK, f"found {found}, expected +OK"
            expected[0] -= 1
            if not expected[0]:
                self.awaited.popleft()
        else:
            self.awaited.popleft()
            expected(found)

    def _take_notice(self, push, what, key, at):
        assert push == (b">" if self.protocol == 3 else b"*"), f"{what} in protocol {self.protocol}"
        [view] = [view for view in self.views.values() if view.long and view.selector[1] == key]
        view.take_notice(what, int(at))

    def _view_of(self, frame):
        long = frame.position is not None
        for selector, view in self.views.items():
            kind, key = selector
            if (view.long == long and (key in (b"$all", frame.stream)
                                       or (kind == "prefix" and frame.stream.startswith(key)))):
                return view
        raise AssertionError(f"{frame} is of none of {self.views}")

    # -- subscriptions -------------------------------------------------------

    def follow(self, selector, long, first, stop=None, names=frozenset()):
        kind, key = selector
        after = self.crowd.last_seen(selector)
        if long:
            what = ["$all"] if key == b"$all" else [kind, key]
            arguments = ["follow", *what, b"-" if first is None else first, *(["TO", stop] if stop else []),
                         *(["NAMES", len(names), *names] if names else [])]
        else:
            arguments = ["subscribe", b":".join([key, *(b"%d" % n for n in (first, stop) if n is not None)])]
        view = View(selector, first, after, stop, long, names)
        self.ask(arguments, lambda match: self._followed(match, view))

    def _followed(self, match, view):
        assert match[1] in (b"subscribed", b"subscribe") and match[2] == view.selector[1], f"{match} for {view}"
        self.crowd.retire(self.views.get(view.selector))
        self.views[view.selector] = view

    def unfollow(self, selector):
        kind, key = selector
        arguments = ["unsubscribe", key] if kind == "stream" else ["unfollow", "prefix", key]
        self.ask(arguments, lambda match: self._unfollowed(match, selector))

    def _unfollowed(self, match, selector):
        assert match[1] in (b"unsubscribed", b"unsubscribe") and match[2] == selector[1], f"{match} for {selector}"
        self.crowd.retire(self.views.pop(selector, None))

    # -- the end -------------------------------------------------------------

    def close(self, reset=False):
        if self._mask:
            self.crowd.selector.unregister(self.sock)
        self._mask = 0
        if reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()
        for view in self.views.values():
            self.crowd.retire(view)


class Crowd:
    """Publishers and watchers of the server at `port`; everything that is drawn comes from `seed`.

    watchers, publishers   how many
    events                 published in all, about
    """

    def __init__(self, port, seed, watchers=24, publishers=4, streams=6):
        self.port = port
        self.random = random.Random(seed)
        self.selector = selectors.DefaultSelector()
        self.streams = [b"%b-%d" % (b"ab"[i % 2:i % 2 + 1], i) for i in range(streams)]
        self.marks = {}             # (stream, number) -> mark, by whoever saw it first
        self.last = {}              # stream -> the highest number seen
        self.last_position = -1
        self.retired = []           # views that ended
        self.size = watchers
        self.watchers = []
        self.publishers = [Client(self, 2) for _ in range(publishers)]
        self.gone = []              # publishers' own events, of clients that were closed
        self.serial = 0
        self.received = 0           # bytes, by all

    # -- what all have seen --------------------------------------------------

    def see(self, frame):
        mark = self.marks.setdefault((frame.stream, frame.number), frame.mark)
        assert mark == frame.mark, f"{frame} has other bytes than somebody else saw"
        if frame.number > self.last.get(frame.stream, -1):
            self.last[frame.stream] = frame.number
        if frame.position is not None and frame.position > self.last_position:
            self.last_position = frame.position

    def last_seen(self, selector):
        kind, key = selector
        return self.last_position if key == b"$all" or kind == "prefix" else self.last.get(key, -1)

    def retire(self, view):
        if view is not None and (view.seen or view.told):
            self.retired.append(view)

    # -- what they do --------------------------------------------------------

    def run(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._act()
            self._turn(self.random.choice([0, 0, 0.001, 0.01]))
        for client in self.clients():
            client.stalled_until = 0.0
        self._turn_until(lambda: not any(client.awaited for client in self.clients()), "every reply")
        self._publish_last()
        order = self._read_order()
        orders = Orders(order)
        try:
            self._turn_until(lambda: not self._incomplete(orders), "every event")
        except AssertionError as error:
            raise AssertionError(f"{error}: {self._incomplete(orders)} of {len(order)}") from None
        for view in self.retired + [view for client in self.watchers for view in client.views.values()]:
            view.check(orders)
        self._check_publishers(order)
        return len(order), len(self.retired)

    def clients(self):
        return self.publishers + self.watchers

    def _act(self):
        draw = self.random
        while len(self.watchers) < self.size:
            self.watchers.append(self._new_watcher())
        for publisher in self.publishers:
            if not publisher.awaited and draw.random() < 0.2:
                self._publish(publisher, draw.choice([1, 1, 2, 20, 300]))
        for _ in range(2):
            self._disturb(draw.choice(self.watchers))

    def _publish(self, client, count):
        draw = self.random
        for _ in range(draw.choice([1, 1, 3])):
            size = draw.choice([0, 10, 100, 100, 1000, 5000 if count < 50 else 50])
            datas = []
            for _ in range(count):
                self.serial += 1
                datas.append(b"%010d" % self.serial + b"x" * size)
            client.publish(draw.choice(self.streams), draw.choice(NAMES), datas)

    def _publish_last(self):
        """An event for every stream, so that whoever waits for new ones sees some."""
        for stream in self.streams:
            self.publishers[0].publish(stream, b"last", [b"last"])
        self._turn_until(lambda: not self.publishers[0].awaited, "the last replies")

    def _new_watcher(self):
        draw = self.random
        client = Client(self, draw.choice([2, 3]))
        kinds = [("short", "streams"), ("short", "all"), ("long", "streams"), ("long", "all"), ("long", "prefix")]
        client.kinds = [draw.choice(kinds)]
        client.prefix = draw.choice([b"a-", b"b-", b"a-2"])     # one: frames don't tell of which they are
        if client.kinds[0][0] == "short" and draw.random() < 0.3:
            client.kinds.append(("long", "prefix"))
        for _ in range(draw.choice([1, 1, 3])):
            self._follow(client)
        return client

    def _follow(self, client):
        draw = self.random
        form, kind = draw.choice(client.kinds)
        if kind == "streams":
            selector = ("stream", draw.choice(self.streams))
            last = self.last.get(selector[1], -1)
        else:
            selector = ("prefix", client.prefix) if kind == "prefix" else ("stream", b"$all")
            last = self.last_position
        first = draw.choice([None, None, 0, last + 1, max(0, last - draw.randrange(300)), max(0, last + 3)])
        stop = None
        if first is not None and draw.random() < 0.15:
            stop = first + draw.randrange(1, 500)
        names = draw.choice([[], [], NAMES[:1], NAMES[1:], [b"none"]]) if form == "long" else []
        client.follow(selector, form == "long", first, stop, frozenset(names))

    def _disturb(self, client):
        draw = self.random
        what = draw.random()
        if what < 0.04:
            self._replace(client, reset=draw.random() < 0.5)
        elif what < 0.14:
            if len(client.awaited) < 5:
                self._follow(client)
        elif what < 0.18:
            if client.views and len(client.awaited) < 5:
                client.unfollow(draw.choice(list(client.views)))
        elif what < 0.30:
            client.stalled_until = time.monotonic() + draw.choice([0.02, 0.1, 0.5, 1.5])
        elif what < 0.32 and not client.awaited:
            self._publish(client, draw.choice([1, 5]))

    def _replace(self, client, reset):
        if any(isinstance(one, list) for one in client.awaited):
            return      # what becomes of publishes that were not answered is nobody's to say
        client.close(reset)
        self.gone += client.own
        self.watchers.remove(client)

    # -- the loop ------------------------------------------------------------

    def _turn(self, timeout):
        now = time.monotonic()
        for client in self.clients():
            client.flush()
            client.watch(now)
        for key, mask in self.selector.select(timeout):
            if mask & selectors.EVENT_READ:
                key.data.receive()

    def _turn_until(self, condition, what):
        """Turn while there is progress, until `condition`, which is looked at when all is quiet."""
        deadline = time.monotonic() + PATIENCE
        while True:
            before = self.received
            self._turn(0.01)
            if self.received != before:
                deadline = time.monotonic() + PATIENCE
            elif condition():
                return
            else:
                assert time.monotonic() < deadline, f"no sign of {what}"

    def _incomplete(self, orders):
        return [view for client in self.watchers for view in client.views.values()
                if not view.is_complete(orders)]

    def _read_order(self):
        """All events in their order, read once by a client that does nothing else."""
        total = sum(len(client.own) for client in self.clients()) + len(self.gone)
        reader = Client(self, 2)
        reader.follow(("stream", b"$all"), True, 0, total)
        self.watchers.append(reader)
        self._turn_until(lambda: reader.views and reader.views["stream", b"$all"].next == total, "the whole order")
        self.watchers.remove(reader)
        order = reader.views["stream", b"$all"].seen
        reader.close()
        counts = Counter()
        for one in order:
            assert one.number == counts[one.stream], f"found {one}, expected number {counts[one.stream]}"
            counts[one.stream] += 1
        return order

    def _check_publishers(self, order):
        """Each acknowledged event is there once, and each publisher's are in its order."""
        published = Counter(self.gone)
        for client in self.clients():
            published.update(client.own)
        stored = Counter((one.stream, one.mark) for one in order)
        assert stored == published, f"{stored - published} too many, {published - stored} missing"
        places = {(one.stream, one.mark): one.position for one in order}
        for client in self.clients():
            at = [places[one] for one in client.own if published[one] == 1]
            assert at == sorted(at), "a client's events are not in its order"

    def close(self):
        for client in self.clients():
            client.close()
        self.selector.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--sync", default="everysec")
    parser.add_argument("--watchers", type=int, default=24)
    parser.add_argument("--streams", type=int, default=6)
    parser.add_argument("--calm", action="store_true", help="the server as users run it")
    chosen = parser.parse_args()
    script = Path(__file__).resolve().parent / "restless_server.py"
    if chosen.calm:
        script = script.parent.parent / "meilies_server.py"
    for seed in range(chosen.seed, chosen.seed + chosen.rounds):
        with tempfile.TemporaryDirectory() as folder:
            process = subprocess.Popen(
                [sys.executable, "-X", "faulthandler", str(script), "--db-path", folder, "--port", "0", "--sync",
                 chosen.sync, "--log-level", "warning"],
                env={"PYTHONPATH": str(script.parent.parent)}, stdout=subprocess.PIPE)
            port = int(process.stdout.readline().rsplit(b":", 1)[1])
            crowd = Crowd(port, seed, chosen.watchers, streams=chosen.streams)
            try:
                events, views = crowd.run(chosen.seconds)
                print(f"seed {seed}: {events} events, {views} views ended, no gap, no repeat", flush=True)
            except BaseException:
                print(f"seed {seed} found something", flush=True)
                if "-v" in sys.argv:
                    process.send_signal(6)
                raise
            finally:
                crowd.close()
                began = time.monotonic()
                process.terminate()
                code = process.wait(20)
                print(f"   exit {code} in {time.monotonic() - began:.2f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
