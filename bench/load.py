"""What uses a server, each load in a process of its own.

    parent                           child
    Load(publish, address, …) ──────> connects, makes ready
        ready()      <──────────────  link.start()
        tell((begin, end)) ─────────> works; counts from `begin` to `end`
        result()     <──────────────  what the function returned

`begin` and `end` are time.monotonic(), which all processes share.  The load must
not be what limits: requests are made beforehand, and of the answers only bytes
are counted, which the kernel throws away where it can.
"""

import csv
import multiprocessing
import re
import select
import socket
import subprocess
import sys
import time
from itertools import accumulate
from typing import NamedTuple

_FORK = multiprocessing.get_context("fork")

# Makes Linux drop what is received from TCP instead of copying it to us.
DISCARD = socket.MSG_TRUNC if sys.platform == "linux" else 0
_RECEIVE = 1 << 20

# Seconds without any answer after which a server counts as stuck.
STUCK = 15


class LoadError(Exception):
    """A server answered something else than it should, or not at all."""


class Load:
    """`function(link, *arguments)` in a process, which ends with the `with` block."""

    def __init__(self, function, *arguments):
        self._pipe, theirs = _FORK.Pipe()
        self._process = _FORK.Process(target=_run, args=(function, theirs, arguments), daemon=True)
        self._process.start()
        theirs.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self._process.kill()
        self._process.join()
        self._process.close()
        self._pipe.close()

    def ready(self, timeout):
        """Return when it is ready to begin, within `timeout` seconds."""
        return self._hear("ready", timeout)

    def tell(self, value):
        self._pipe.send(value)

    def result(self, timeout):
        """What the function returned, within `timeout` seconds."""
        return self._hear("result", timeout)

    def _hear(self, expected, timeout):
        if not self._pipe.poll(max(0, timeout)):
            raise LoadError(f"no {expected} in time")
        try:
            kind, value = self._pipe.recv()
        except EOFError:
            raise LoadError("the process of a load died") from None
        if kind != expected:
            raise LoadError(value)
        return value


class Link:
    """The child's end of a Load."""

    def __init__(self, pipe):
        self._pipe = pipe

    def start(self, what=None):
        """Say that all is ready, and wait for (begin, end)."""
        self._pipe.send(("ready", what))
        return self.hear()

    def hear(self):
        return self._pipe.recv()


def _run(function, pipe, arguments):
    try:
        pipe.send(("result", function(Link(pipe), *arguments)))
    except KeyboardInterrupt:
        pass        # the parent has it as well
    except Exception as error:
        pipe.send(("failed", f"{type(error).__name__}: {error}"))


# -- publishing ----------------------------------------------------------------

class Requests:
    """Requests made beforehand, taken some at a time, over and over or `limit` in all."""

    def __init__(self, requests, limit=None):
        self._data = memoryview(b"".join(requests))
        self._ends = [0, *accumulate(map(len, requests))]
        self._next = 0
        self.left = limit       # None: without end

    def take(self, count):
        """(bytes, the number of requests in them), which is less than `count` now and then."""
        first = self._next
        stop = min(first + count, len(self._ends) - 1)
        if self.left is not None:
            stop = min(stop, first + self.left)
            self.left -= stop - first
        self._next = stop if stop < len(self._ends) - 1 else 0
        return self._data[self._ends[first]:self._ends[stop]], stop - first


class Published(NamedTuple):
    total: int      # requests that were answered, ever
    counted: int    # those of the window
    seconds: float  # that the window lasted

    @property
    def rate(self):
        """Requests answered a second."""
        return self.counted / self.seconds


def publish(link, address, requests, reply, connections, in_flight):
    """Keep `in_flight` requests on each connection without an answer, until the window ends.

    reply   a byte that each answer has once, and an error reply doesn't have first
    """
    with _Pump(address, requests, reply, connections, in_flight) as pump:
        begin, end = link.start()
        pump.run_until(begin)
        before, at = pump.answered, time.monotonic()
        pump.run_until(end)
        counted, seconds = pump.answered - before, time.monotonic() - at
        requests.left = 0
        pump.run()
        return Published(pump.answered, counted, seconds)


def fill(link, address, requests, reply, in_flight):
    """Publish all of `requests`; return how many they were."""
    with _Pump(address, requests, reply, 1, in_flight) as pump:
        link.start()
        pump.run()
        return pump.answered


class _Pump:
    """Connections that send a new request for each answer."""

    def __init__(self, address, requests, reply, connections, in_flight):
        self.answered = 0
        self._requests = requests
        self._reply = reply
        self._in_flight = in_flight
        self._sockets = {sock.fileno(): sock for sock in (_connect(address) for _ in range(connections))}
        self._owed = dict.fromkeys(self._sockets, 0)
        self._epoll = _epoll(self._sockets)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self._epoll.close()
        for sock in self._sockets.values():
            sock.close()

    def run_until(self, end):
        """Go on until the time `end`, and for one turn at least."""
        self._begin()
        self._turn()
        while time.monotonic() < end:
            self._turn()

    def run(self):
        """Go on until all requests are sent and answered."""
        self._begin()
        while any(self._owed.values()):
            self._turn()

    def _begin(self):
        for fd in self._sockets:
            self._send(fd)

    def _turn(self):
        ready = self._epoll.poll(STUCK)
        if not ready:
            raise LoadError(f"no answer for {STUCK} s; {sum(self._owed.values())} requests wait")
        for fd, _ in ready:
            data = self._sockets[fd].recv(1 << 16)
            if not data or re.match(b"-[A-Z]", data):
                raise LoadError(f"a publish was answered {data[:100]!r}")
            count = data.count(self._reply)
            self.answered += count
            self._owed[fd] -= count
            self._send(fd)

    def _send(self, fd):
        while self._owed[fd] < self._in_flight:
            data, count = self._requests.take(self._in_flight - self._owed[fd])
            if not count:
                return
            self._sockets[fd].sendall(data)
            self._owed[fd] += count


class Timed(NamedTuple):
    total: int      # requests that were answered, ever
    times: list     # ns until the answer, of each in the window


def time_publishes(link, address, request, reply):
    """Publish one at a time until the window ends."""
    times = []
    total = 0
    with _connect(address) as sock:
        begin, end = link.start()
        now = time.monotonic()
        while now < end:
            sent = time.perf_counter_ns()
            sock.sendall(request)
            _receive_reply(sock, reply)
            if now >= begin:
                times.append(time.perf_counter_ns() - sent)
            total += 1
            now = time.monotonic()
    return Timed(total, times)


def redis_benchmark(address, connections, count, command, timeout):
    """Run redis-benchmark, each connection one request at a time; requests answered a second."""
    host, port = address
    done = subprocess.run(["redis-benchmark", "-h", host, "-p", str(port), "-c", str(connections),
                           "-n", str(count), "--csv", *command], capture_output=True, timeout=timeout)
    rows = list(csv.reader(done.stdout.decode().splitlines()))
    if len(rows) != 2 or len(rows[1]) < 2:
        raise LoadError(f"redis-benchmark: {done.stderr.decode(errors='replace').strip() or done.stdout!r}")
    return float(rows[1][1])


# -- following -----------------------------------------------------------------

class Followed(NamedTuple):
    rate: float     # events delivered a second in the window, to all connections together
    missing: int    # events published and not delivered before we stopped waiting for them
    extra: int      # events delivered that nobody published
    quiet: float    # seconds for which nothing had come when we stopped waiting


def follow(link, address, subscriptions, events_in, patience):
    """Count what comes on each of many connections.

    subscriptions   [(request, acknowledgement)], one for each connection
    events_in       how many events so many bytes are
    patience        seconds to wait, once told, for what is under way

    After the window the parent tells how many events each connection was to get; it may take a while to know.
    """
    receiver = _Receiver(address, subscriptions)
    begin, end = link.start()
    receiver.run_until(begin)
    before, at = receiver.events(events_in), time.monotonic()
    receiver.run_until(end)
    after, now = receiver.events(events_in), time.monotonic()
    expected = link.hear()
    quiet = receiver.run_until(time.monotonic() + patience, lambda: receiver.events(events_in) == expected)
    found = receiver.events(events_in)
    return Followed((sum(after) - sum(before)) / (now - at),
                    sum(max(0, e - f) for e, f in zip(expected, found)),
                    sum(max(0, f - e) for e, f in zip(expected, found)), quiet)


class _Receiver:
    """Connections that follow, and how many bytes each has got."""

    def __init__(self, address, subscriptions):
        self._sockets = [_subscribed(address, *one) for one in subscriptions]
        self._by_fd = {sock.fileno(): sock for sock in self._sockets}
        self._received = dict.fromkeys(self._by_fd, 0)
        self._buffer = bytearray(_RECEIVE)
        self._epoll = _epoll(self._by_fd)

    def events(self, events_in):
        """How many events each connection has got."""
        return [events_in(size) for size in self._received.values()]

    def run_until(self, end, done=lambda: False):
        """Receive until the time `end`, or until all is `done`, which is asked when nothing comes.

        Returns the seconds for which nothing had come.
        """
        heard = now = time.monotonic()
        while now < end and not (now > heard and done()):
            ready = self._epoll.poll(min(0.02, end - now))
            now = time.monotonic()
            if ready:
                heard = now
            for fd, _ in ready:
                size = self._by_fd[fd].recv_into(self._buffer, _RECEIVE, DISCARD)
                if not size:
                    raise LoadError("the server hung up on a follower")
                self._received[fd] += size
        return now - heard


class Hops(NamedTuple):
    startup: float      # seconds from the first connection to the last acknowledgement
    times: list         # ns from each publish to its arrival at the last follower


def single_events(link, address, subscriptions, requests, reply, listeners, mark):
    """Publish `requests`, each when the one before has reached its `listeners` and all is quiet.

    An arrival is when epoll reports it: nothing is received while time is taken.
    """
    began = time.monotonic()
    sockets = {sock.fileno(): sock for sock in (_subscribed(address, *one) for one in subscriptions)}
    startup = time.monotonic() - began
    times = []
    with _epoll(sockets, select.EPOLLIN | select.EPOLLET) as epoll, _connect(address) as publisher:
        link.start()
        for request in requests:
            arrived = set()
            sent = time.perf_counter_ns()
            publisher.sendall(request)
            while len(arrived) < listeners:
                ready = epoll.poll(STUCK)
                if not ready:
                    raise LoadError(f"after {STUCK} s an event has reached {len(arrived)} of {listeners}")
                arrived.update([fd for fd, _ in ready])
            times.append(time.perf_counter_ns() - sent)
            _receive_reply(publisher, reply)
            for fd in arrived:
                data = sockets[fd].recv(1 << 16)
                if data.count(mark) != 1 or not data.endswith(mark + b"\r\n"):
                    raise LoadError(f"found {data[:200]!r}, expected one event")
            time.sleep(0.002)
    return Hops(startup, times)


# -- a hop: from one who publishes at a steady rate to one who follows ------------

STAMP = 20      # bytes: "t" and 19 digits, the ns of time.monotonic_ns()


def publish_steadily(link, address, before, after, count, interval):
    """Publish `count` events, one each `interval` seconds: `before`, a stamp, `after`."""
    buffer = bytearray(1 << 16)
    with _connect(address) as sock:
        link.start()
        due = time.monotonic()
        for _ in range(count):
            time.sleep(max(0, due - time.monotonic()))
            sock.sendall(b"%bt%019d%b" % (before, time.monotonic_ns(), after))
            due += interval
            try:
                sock.recv_into(buffer, len(buffer), socket.MSG_DONTWAIT)
            except BlockingIOError:
                pass
        link.hear()     # close, when nothing is under way


def arrivals(link, address, subscription, count):
    """The ns that each of `count` stamped events was under way."""
    stamps = re.compile(rb"t([0-9]{19})")
    times = []
    unread = b""
    with _subscribed(address, *subscription) as sock:
        link.start()
        while len(times) < count:
            unread += sock.recv(1 << 16)
            now = time.monotonic_ns()
            end = 0
            for found in stamps.finditer(unread):
                times.append(now - int(found.group(1)))
                end = found.end()
            unread = unread[end:]
    return times


# -- replay --------------------------------------------------------------------

class Replayed(NamedTuple):
    events: int     # in one pass over all requests
    rate: float     # events a second


def replay(link, address, requests, mark):
    """Ask for (request, events) again and again until the window ends, one after the other.

    A first pass, which isn't timed, counts the `mark` that each event has once,
    and with them the bytes; from then on bytes are all that is looked at.
    """
    with _connect(address) as sock:
        sizes = [_measure_replay(sock, request, events, mark) for request, events in requests]
        begin, end = link.start()
        time.sleep(max(0, begin - time.monotonic()))
        began, done = time.monotonic(), 0
        while time.monotonic() < end:
            for (request, events), size in zip(requests, sizes):
                sock.sendall(request)
                _discard(sock, size)
                done += events
                if time.monotonic() >= end:
                    break
        return Replayed(sum(events for _, events in requests), done / (time.monotonic() - began))


def _measure_replay(sock, request, events, mark):
    """How many bytes answer `request`, which has `events` events."""
    sock.settimeout(STUCK)
    sock.sendall(request)
    size = count = 0
    last = b""
    while count < events or not last.endswith(b"\r\n"):
        try:
            data = sock.recv(_RECEIVE)
        except socket.timeout:
            raise LoadError(f"a replay stopped after {count} events, expected {events}") from None
        count += data.count(mark)
        size += len(data)
        last = (last + data)[-2:]
        if not data:
            raise LoadError(f"the server hung up after {count} events of {events}")
    sock.settimeout(None)
    if count != events:
        raise LoadError(f"a replay had {count} events, expected {events}")
    return size


def _discard(sock, size):
    buffer = bytearray(_RECEIVE)
    while size:
        received = sock.recv_into(buffer, min(size, _RECEIVE), DISCARD)
        if not received:
            raise LoadError("the server hung up during a replay")
        size -= received


# -- entries -------------------------------------------------------------------

# An entry's id, which stands before its fields.
_ID = re.compile(rb"\$[0-9]+\r\n([0-9]+-[0-9]+)\r\n\*")


class Done(NamedTuple):
    events: int
    seconds: float

    @property
    def rate(self):
        """Events a second."""
        return self.events / self.seconds


def read_pages(link, address, page, count, events, mark):
    """Go through a stream of `events` entries, page after page, again and again until the window ends.

    page    page(id) asks for the `count` entries behind an id
    mark    is in each entry once
    """
    with _connect(address) as sock:
        begin, end = link.start()
        time.sleep(max(0, begin - time.monotonic()))
        began, done, left, last = time.monotonic(), 0, events, b"0-0"
        while time.monotonic() < end:
            sock.sendall(page(last))
            ids = _receive_ids(sock, min(count, left), mark)
            done += len(ids)
            left, last = (left - len(ids), ids[-1]) if left > len(ids) else (events, b"0-0")
        return Done(done, time.monotonic() - began)


def consume(link, address, create, read, acknowledge, count, events, mark):
    """Make a group of a stream of `events` entries, and be given and acknowledge them, one read after the other, until
    the window ends or there are no more.

    read          asks for `count` of them
    acknowledge   acknowledge(ids) is the request to
    """
    with _connect(address) as sock:
        sock.sendall(create)
        _receive_reply(sock, b"+OK\r\n")
        begin, end = link.start()
        time.sleep(max(0, begin - time.monotonic()))
        began, done = time.monotonic(), 0
        while done < events and time.monotonic() < end:
            sock.sendall(read)
            ids = _receive_ids(sock, min(count, events - done), mark)
            sock.sendall(acknowledge(ids))
            _receive_reply(sock, b":%d\r\n" % len(ids))
            done += len(ids)
        return Done(done, time.monotonic() - began)


def _receive_ids(sock, count, mark):
    """The ids of the `count` entries that come."""
    data = b""
    while data.count(mark) < count or not data.endswith(mark + b"\r\n"):
        more = sock.recv(_RECEIVE)
        data += more
        if not more or data[:1] == b"-":
            raise LoadError(f"{count} entries were asked for and {data[:100]!r} came")
    ids = _ID.findall(data)
    if len(ids) != count:
        raise LoadError(f"found {len(ids)} entries, expected {count}")
    return ids


# -- sockets -------------------------------------------------------------------

def _connect(address):
    sock = socket.create_connection(address, timeout=STUCK)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.settimeout(None)       # with a timeout, Python asks the system twice each time
    return sock


def _subscribed(address, request, acknowledgement):
    sock = _connect(address)
    sock.settimeout(STUCK)
    sock.sendall(request)
    found = b""
    while len(found) < len(acknowledgement):
        data = sock.recv(len(acknowledgement) - len(found))
        found += data
        if not data or not acknowledgement.startswith(found):
            raise LoadError(f"a subscription was answered {found[-100:]!r}")
    sock.settimeout(None)
    return sock


def _receive_reply(sock, reply):
    data = sock.recv(1 << 16)
    while data and data.count(reply) == 0 and data[:1] != b"-":
        data = sock.recv(1 << 16)
    if data[:1] in (b"", b"-"):
        raise LoadError(f"a publish was answered {data[:100]!r}")


def _epoll(fds, mask=select.EPOLLIN):
    epoll = select.epoll()
    for fd in fds:
        epoll.register(fd, mask)
    return epoll
