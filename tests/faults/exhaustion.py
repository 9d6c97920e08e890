"""More clients than a server has use for: readers that don't read, connections by the thousand, half requests;
and a system without descriptors or threads.

    before   what the server uses
    load     somebody who only minds his own business is answered all the time, about as soon as
             by a server beside it that has nothing else to do
    after    what the server uses is what it was; after a second load, no more than after the first

A round is one of these; the short form has less of each.
"""

import math
import os
import random
import resource
import socket
import struct
import time

from conftest import ROOT, SECONDS, UNMEASURED, Server
from serving import OK, Client, publish
from usage import A_SECOND, MIB, descriptors, memory, stat, threads, within

import resp

NAME = "exhaustion"
GOALS = {"opened and closed": 100_000, "idle": 10_000, "stuck readers": 1_000, "half requests": 1_000,
         "turned away or delayed": 500, "followers without a thread": 100}

PROBES = 300
# How much later than by the idle server a bystander may be answered in a load, in the middle and of 99 in 100:
# so many times, and so many seconds.
TIMES, MORE = 5, (0.02, 0.25)
# What a second load may add to what the server has in RAM, and the first one.
GROWTH, FIRST_GROWTH = 16 * MIB, 160 * MIB
# Source addresses: from each there are only so many ports.
ADDRESSES = [f"127.0.0.{i}" for i in range(2, 12)]
# Descriptors that this process has besides those of a load.
OWN = 200

PING = resp.command("ping")


def run(seed, until, folder):
    loads = [_no_descriptors, _no_threads, _half_requests, _churn, _stuck_readers, _idle]
    load = loads[seed % len(loads)]
    return load(random.Random(f"exhaustion {seed}"), until, folder)


def _start(folder, name, *options, script="meilies_server.py"):
    argv = ["--db-path", str(folder / name), "--port", "0", "--sync", "no", "--log-level", "error", *options]
    environ = {**UNMEASURED, "PYTHONPATH": str(ROOT)}
    return Server(argv, environ, folder / f"{name}.log", ROOT / script).wait_until_listening()


class Bystander:
    """A client that nothing may disturb, and how long it waited for each answer."""

    def __init__(self, running):
        self.running = running
        self.client = Client("127.0.0.1", running.port)
        self.times = []

    def probe(self):
        began = time.perf_counter()
        self.client.send(publish("mine", "x"))
        self.client.recv_exactly(OK)
        self.times.append(time.perf_counter() - began)

    def share_within(self, share):
        """The seconds in which this share of the answers came."""
        return sorted(self.times)[int(share * len(self.times))]

    def end(self):
        self.client.close()
        self.running.end()


class Host:
    """A server that gets a load and one beside it that gets none, with a bystander each; a context manager."""

    def __init__(self, folder, *options, script="meilies_server.py"):
        self._bystander = Bystander(_start(folder, "loaded", *options, script=script))
        self._idle = Bystander(_start(folder, "idle"))
        self.running = self._bystander.running
        self.client = self._bystander.client
        self.port = self.running.port
        for _ in range(PROBES):
            self.probe()
        self._used = descriptors(self.running), threads(self.running), memory(self.running)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        try:
            self._idle.end()
        finally:
            self._bystander.end()

    def probe(self):
        """Have both bystanders answered once."""
        self._idle.probe()
        self._bystander.probe()

    def check_answers(self):
        """Nobody waited because of the load."""
        for share, more in zip((0.5, 0.99), MORE):
            idle, loaded = (one.share_within(share) for one in (self._idle, self._bystander))
            assert loaded <= TIMES * idle + more, \
                f"{share:.0%} were answered in {loaded:.4f} s, in {idle:.4f} s where there was no load"

    def check_rest(self):
        """What the others cost has gone with them, but for memory, which is returned."""
        within(A_SECOND, lambda: stat(self.client, "connected_clients"), lambda found: found == 1)
        descriptor_count, thread_count, size = self._used
        within(A_SECOND, lambda: descriptors(self.running), lambda found: found <= descriptor_count)
        within(A_SECOND, lambda: threads(self.running), lambda found: found <= thread_count)
        grown = memory(self.running) - size
        assert grown < FIRST_GROWTH, f"{grown / MIB:.0f} MiB are left of it"
        return grown

    def bear_twice(self, load):
        """Call load() twice, which returns what it counted; the second time nothing more is left of it."""
        first = load()
        left = self.check_rest()
        second = load()
        grown = self.check_rest() - left
        assert grown < GROWTH, f"the second load left {grown / MIB:.0f} MiB"
        self.check_answers()
        return first + second


def _scaled(count, until):
    """`count`, or less where time is short."""
    return count if until == math.inf else max(2, min(count, int(count * (until - time.monotonic()) / 60)))


def _connect(port, i=0):
    sock = socket.create_connection(("127.0.0.1", port), SECONDS, (ADDRESSES[i % len(ADDRESSES)], 0))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _close(sock, rudely):
    if rudely:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def _churn(draw, until, folder):
    """Connections that come and go, some with a word, some rudely."""
    words = [b"", b"", PING, PING[:5], resp.command("subscribe", "mine:0", "new"), publish("other", "x"), b"GET /\r\n"]
    count = _scaled(10_000, until)
    with Host(folder) as host:
        def load():
            for i in range(count):
                with _connect(host.port, i) as sock:
                    sock.sendall(draw.choice(words))
                    _close(sock, draw.random() < 0.7)
                if i % 20 == 0:
                    host.probe()
            return count

        return {"opened and closed": host.bear_twice(load)}


def _idle(draw, until, folder):
    """Connections that do nothing."""
    count = _scaled(10_000, until)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        count = min(count, hard - OWN)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count + OWN), hard))
    try:
        with Host(folder, "--max-connections", str(count + 10)) as host:
            def load():
                idle = []
                try:
                    for i in range(count):
                        idle.append(_connect(host.port, i))
                        if i % 20 == 0:
                            host.probe()
                    within(A_SECOND, lambda: stat(host.client, "connected_clients"), lambda found: found == count + 1)
                    for _ in range(PROBES):
                        host.probe()
                finally:
                    for sock in idle:
                        sock.close()
                return count

            return {"idle": host.bear_twice(load) // 2}
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _stuck_readers(draw, until, folder):
    """Clients that ask for more than a socket holds, live, from the log or as replies, and don't read."""
    large = "x" * 100_000
    asks = [resp.command("subscribe", "large"), resp.command("subscribe", "large:0"),
            resp.command("follow", "$all", "0"), resp.command("echo", large) * 50]
    count = _scaled(200, until)
    with Host(folder) as host:
        def load():
            stuck = [_connect(host.port) for _ in range(count)]
            try:
                for i, sock in enumerate(stuck):
                    sock.setblocking(False)
                    sock.send(asks[i % len(asks)])
                for _ in range(100):
                    host.client.send(publish("large", large))
                    host.client.recv_exactly(OK)
                    host.probe()
            finally:
                for sock in stuck:
                    _close(sock, draw.random() < 0.5)
            return count

        return {"stuck readers": host.bear_twice(load)}


def _half_requests(draw, until, folder):
    """Clients that send some MiB of a request, and leave."""
    count = _scaled(100, until)
    half = publish("large", "x" * (8 * MIB))[:5 * MIB]
    with Host(folder) as host:
        def load():
            for _ in range(count):
                with _connect(host.port) as sock:
                    sock.sendall(half)
                    host.probe()
                    _close(sock, draw.random() < 0.5)
            return count

        return {"half requests": host.bear_twice(load)}


def _no_descriptors(draw, until, folder):
    """No descriptor is left for those who connect, nor for the log when it needs another file."""
    count = 100
    with Host(folder, "--segment-size", "64K") as host:
        pid = host.running.process.pid
        limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)

        def load():
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (descriptors(host.running) + count // 2, limits[1]))
            waiting = [_connect(host.port, i) for i in range(count)]
            try:
                _check_idle(pid)
                for _ in range(PROBES):
                    host.probe()
                answers = [host.client.ask("publish", "large", "x", bytes(30_000)) for _ in range(5)]
                assert any(isinstance(answer, resp.ErrorReply) for answer in answers), answers
                for sock in waiting[:count // 2]:       # these leave, and the others are served
                    sock.close()
                for sock in waiting[count // 2:]:
                    sock.sendall(PING)
                    assert sock.recv(7) == b"+PONG\r\n"
            finally:
                for sock in waiting:
                    sock.close()
                resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
            assert host.client.ask("publish", "large", "x", bytes(30_000)) == b"OK"
            stored = sum(answer == b"OK" for answer in answers) + 1
            assert host.client.ask("last-event-number", "large")[2] >= stored - 1
            return count // 2

        counted = load()
        host.check_answers()
        return {"turned away or delayed": counted}


def _check_idle(pid, seconds=0.3):
    """A server that can't accept waits; it doesn't try as often as it can."""
    before = _cpu(pid)
    time.sleep(seconds)
    assert _cpu(pid) - before < seconds / 2, "the server is busy with accepting nobody"


def _cpu(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def _no_threads(draw, until, folder):
    """A stream has so many followers that it should get a thread, and there is none to be had."""
    count = 20
    with Host(folder, script="tests/faults/threadless_server.py") as host:
        def load():
            followers = [Client("127.0.0.1", host.port) for _ in range(count)]
            for follower in followers:
                follower.ask("subscribe", "theirs")
            for i in range(50):
                host.client.ask("publish", "theirs", "x", b"%d" % i)
                host.probe()
            for follower in followers:
                found = [follower.value()[4] for _ in range(50)]
                assert found == [b"%d" % i for i in range(50)], found
                follower.close()
            return count

        return {"followers without a thread": host.bear_twice(load)}
