"""The table of workloads: what is done, what it is to reach, and how it is measured.

    WORKLOADS ──> Workload.measure(trial) ──> {figure: value}
                        '─── trial.server(…), trial.run(load, …)

A measurement that finds other events in a server than were published raises
WrongCount: a figure that counts wrong is worse than none.
"""

import random
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Optional

from . import load, wire
from .load import Load, Requests
from .servers import folder_state
from .trial import MIB, RING, WrongCount, check, check_delivery, same
from .wire import MARK, payload

NAME = b"created"
PAYLOAD = payload(100)

# A hop is watched for so many windows: one event in a thousand is to be told apart.
_HOP_WINDOWS = 4

# Seconds to wait for what is under way to followers; it may be more than can ever be waited for.
PATIENCE = 1.5


class Figure(NamedTuple):
    """One number of a workload, and what it is to reach.

    name      "" if it is the only one
    unit      of the value
    least     ratio to Redis below which it isn't good enough, or None
    aim       ratio that is wanted, or None
    smaller   the smaller the value, the better; the ratio is turned over then
    absolute  `least` and `aim` are values of ours, not ratios
    """

    name: str
    unit: str
    least: Optional[float] = None
    aim: Optional[float] = None
    smaller: bool = False
    absolute: bool = False


class Size(NamedTuple):
    """How large a workload is: as it is run, in full, and to try whether it runs at all."""

    of: str
    usual: int
    full: int
    quick: int


class Workload(NamedTuple):
    """One line of the table.

    measure    function of a Trial: {figure's name: value}
    once       too long for more than the first round
    long       left out unless it is asked for
    remote     can be done with a server that we don't start
    redis      can be done with Redis
    """

    name: str
    title: str
    figures: tuple
    measure: Callable
    size: Optional[Size] = None
    once: bool = False
    long: bool = False
    remote: bool = True
    redis: bool = True


# -- publishing ----------------------------------------------------------------

def publish(trial, connections, in_flight, sync="everysec", size=100):
    """Events a second to one stream."""
    stream, = trial.streams(1)
    with trial.server(sync) as server:
        requests = same(server.wire.publish(stream, NAME, payload(size)))
        return {"": trial.publish(server, requests, [stream], connections, in_flight).rate}


def publish_large(trial):
    """MB a second of 1 MB events."""
    return publish(trial, connections=1, in_flight=4, size=1_000_000)


def publish_mixed(trial, weights):
    """Streams, names and lengths that change with every event."""
    streams = trial.streams(1000)
    chosen = random.Random(7)
    names = [b"created", b"changed", b"moved-on", b"closed"]
    heads = chosen.choices(streams, [weights(rank) for rank in range(1, 1001)], k=RING)
    with trial.server() as server:
        requests = [server.wire.publish(stream, chosen.choice(names), payload(chosen.randint(20, 400)))
                    for stream in heads]
        return {"": trial.publish(server, Requests(requests), streams).rate}


def zipf(rank):
    return 1 / rank


def uniform(rank):
    return 1


def publish_one_at_a_time(trial, connections, sync="everysec"):
    """redis-benchmark where the server can answer what it asks, or else a load of our own."""
    if not trial.contender.takes_redis_benchmark:
        return publish(trial, connections, in_flight=1, sync=sync)
    stream, = trial.streams(1)
    with trial.server(sync) as server:
        rate, published = one_at_a_time(trial, server, _benchmark_command(server, stream), connections)
        check(server, [stream], published)
    return {"": rate}


def one_at_a_time(trial, server, command, connections):
    """(rate, events published) of redis-benchmark; a short run says how many requests fill the window."""
    short = 2 * connections + 300
    rate = load.redis_benchmark(server.address, connections, short, command, trial.left)
    count = max(short, int(rate * min(trial.seconds, trial.left)))
    rate = load.redis_benchmark(server.address, connections, count, command, trial.left)
    return rate, short + count


def _benchmark_command(server, stream):
    return _words(server.wire.publish(stream, NAME, PAYLOAD))


def _words(request):
    return request.decode().split("\r\n")[2::2]


# -- replay --------------------------------------------------------------------

def replay_batches(trial):
    with trial.server() as server:
        stream, = trial.streams(1)
        trial.fill(server, same(server.wire.publish(stream, NAME, PAYLOAD), trial.size), in_flight=100)
        return _replayed(trial, server, [(server.wire.replay(stream, trial.size), trial.size)])


def replay_singles(trial, sealed):
    """Events that came one at a time, which makes a record of each."""
    in_log = 64 + 4 + 60 + len(PAYLOAD)     # bytes of one: a header, an end, a frame
    segment = max(64 * 1024, min(8 * MIB, trial.size * in_log // 4))
    options = ["--segment-size", str(segment)] if sealed else []
    stream, filler = trial.streams(2)
    with trial.server(options=options) as server:
        if server.takes_redis_benchmark:
            command = _benchmark_command(server, stream)
            load.redis_benchmark(server.address, 1, trial.size, command, trial.left)
        else:
            trial.fill(server, same(server.wire.publish(stream, NAME, PAYLOAD), trial.size), in_flight=1)
        check(server, [stream], trial.size)
        if sealed:
            # One that fills what is left of the segment, and one that needs the next.
            trial.fill(server, same(server.wire.publish(filler, NAME, payload(segment)), 2), in_flight=1)
            _wait_until_idle(trial, server, 0.5)
        return _replayed(trial, server, [(server.wire.replay(stream, trial.size), trial.size)])


def _wait_until_idle(trial, server, seconds):
    """Return when its files have been as they are for so long."""
    if not trial.contender.own_process:
        return
    before, since = None, time.monotonic()
    while time.monotonic() < since + seconds and trial.left:
        now = folder_state(server.folder)
        if now != before:
            before, since = now, time.monotonic()
        time.sleep(0.05)


def replay_interleaved(trial, everything):
    """Streams whose events came by turns: one of them after the other, or the whole store."""
    streams = trial.streams(min(1000, trial.size))
    each = trial.size // len(streams)
    events = each * len(streams)
    with trial.server() as server:
        requests = Requests([server.wire.publish(stream, NAME, PAYLOAD) for stream in streams], events)
        trial.fill(server, requests, in_flight=100)
        if everything:
            asked = [(server.wire.replay_all(streams, events), events)]
        else:
            asked = [(server.wire.replay(stream, each), each) for stream in streams[::10]]
        return _replayed(trial, server, asked)


def _replayed(trial, server, requests):
    found = trial.run(load.replay, server.address, requests, MARK)
    if found.events != sum(events for _, events in requests):
        raise WrongCount(f"{found.events} events were replayed")
    return {"": found.rate}


# -- Redis's commands, at both servers --------------------------------------------

def add_entries(trial, in_flight):
    """XADDs a second to one stream, on one connection."""
    stream, = trial.streams(1)
    with trial.server() as server:
        entries = same(wire.entry(stream, NAME, PAYLOAD))
        found = trial.run(load.publish, server.address, entries, b"$", 1, in_flight)
        check(server, [stream], found.total)
    return {"": found.rate}


def add_entries_one_at_a_time(trial, connections):
    stream, = trial.streams(1)
    with trial.server() as server:
        rate, added = one_at_a_time(trial, server, _words(wire.entry(stream, NAME, PAYLOAD)), connections)
        check(server, [stream], added)
    return {"": rate}


def read_pages(trial, page, count):
    """Entries a second, page after page behind the one before; `page` is of wire.py."""
    stream, = trial.streams(1)
    with trial.server() as server:
        trial.fill(server, same(server.wire.publish(stream, NAME, PAYLOAD), trial.size), in_flight=100)
        found = trial.run(load.read_pages, server.address, partial(page, stream, count), count, trial.size, wire.MARK)
    return {"": found.rate}


def consume(trial, count):
    """Entries a second that a consumer of a group reads, so many at once, and acknowledges."""
    stream, = trial.streams(1)
    with trial.server() as server:
        trial.fill(server, same(server.wire.publish(stream, NAME, PAYLOAD), trial.size), in_flight=100)
        found = trial.run(load.consume, server.address, wire.create_group(stream), wire.read_group(stream, count),
                          partial(wire.acknowledge, stream), count, trial.size, wire.MARK)
    return {"": found.rate}


# -- live ----------------------------------------------------------------------

def fan_out(trial, followers, in_flight):
    """One stream, followed by all."""
    stream, = trial.streams(1)
    return _delivered(trial, [stream] * followers, [stream], in_flight)


def fan_out_spread(trial, in_flight):
    """Each stream followed by one, and published to by turns."""
    streams = trial.streams(trial.size)
    return _delivered(trial, streams, streams, in_flight)


def _delivered(trial, followed, published, in_flight):
    with trial.server() as server:
        wire = server.wire
        requests = [wire.broadcast(stream, NAME, PAYLOAD) for stream in published]
        ring = Requests(requests * (RING // len(requests)))
        found, _ = _while_followed(trial, server, followed, published,
                                   load.publish, ring, wire.broadcast_reply, 1, in_flight)
    return {"": found.rate}


def time_to_ok(trial):
    """How long a publisher waits while many follow: the median."""
    stream, = trial.streams(1)
    with trial.server() as server:
        request = server.wire.broadcast(stream, NAME, PAYLOAD)
        _, timed = _while_followed(trial, server, [stream] * trial.size, [stream],
                                   load.time_publishes, request, server.wire.broadcast_reply)
    return {"": statistics.median(timed.times) / 1e3}


def _while_followed(trial, server, followed, published, function, *arguments):
    """(Followed, result of the load `function`), which publishes to `published` by turns.

    followed   the stream that each connection follows
    """
    wire = server.wire
    subscriptions = [wire.subscribe([stream]) for stream in followed]
    events_in = partial(wire.events_in, stream=published[0], name=NAME, data=PAYLOAD)
    with Load(load.follow, server.address, subscriptions, events_in, PATIENCE) as following, \
            Load(function, server.address, *arguments) as publishing:
        trial.start([following, publishing])
        result = publishing.result(trial.left)
        each, more = divmod(result.total, len(published))
        expected = {stream: each + (i < more) for i, stream in enumerate(published)}
        following.tell([expected[stream] for stream in followed])
        found = following.result(trial.left)
    check_delivery(found)
    return found, result


def last_follower(trial):
    """From a publish to the arrival at the last of many followers, all quiet before: the median."""
    stream, = trial.streams(1)
    with trial.server() as server:
        requests = [server.wire.broadcast(stream, NAME, PAYLOAD)] * _single_events(trial)
        found = _single(trial, server, [[stream]] * trial.size, requests, trial.size)
    return {"": statistics.median(found.times) / 1e3}


def follow_many_streams(trial, connections=None):
    """Many streams, shared out among connections, or one for each: what they cost, and a hop in one."""
    streams = trial.streams(trial.size)
    connections = connections or trial.size
    shares = [streams[i::connections] for i in range(connections)]
    with trial.server() as server:
        chosen = random.Random(7).sample(streams, _single_events(trial))
        requests = [server.wire.broadcast(stream, NAME, PAYLOAD) for stream in chosen]
        found = _single(trial, server, shares, requests, 1)
        return {"start-up": found.startup, "memory": server.peak, "threads": server.threads,
                "hop": statistics.median(found.times) / 1e3}


def _single_events(trial):
    """How many events, each alone, are measured in a window."""
    return max(10, min(200, int(trial.seconds * 200)))


def _single(trial, server, shares, requests, listeners):
    return trial.run(load.single_events, server.address, [server.wire.subscribe(share) for share in shares],
                     requests, server.wire.broadcast_reply, listeners, MARK)


def hop(trial):
    """From a publisher to a follower, at a steady rate."""
    stream, = trial.streams(1)
    interval = 1 / trial.size
    count = max(20, int(trial.seconds * _HOP_WINDOWS * trial.size))
    data = b"@" * load.STAMP + payload(100 - load.STAMP)
    with trial.server() as server:
        before, after = server.wire.broadcast(stream, NAME, data).split(b"@" * load.STAMP)
        times = _under_way(trial, server, stream, before, after, count, interval)
    times = sorted(times[count // 10:])
    return {name: times[int(len(times) * part)] / 1e3
            for name, part in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999))}


def _under_way(trial, server, stream, before, after, count, interval):
    """The ns that each of `count` events was under way."""
    with Load(load.arrivals, server.address, server.wire.subscribe([stream]), count) as following, \
            Load(load.publish_steadily, server.address, before, after, count, interval) as publishing:
        trial.start([following, publishing])
        times = following.result(trial.left)
        publishing.tell(None)
        publishing.result(trial.left)
    return times


# -- size ----------------------------------------------------------------------

def many_streams(trial):
    """As many streams, an event in each: memory, and the next boot."""
    streams = trial.streams(trial.size)
    sample = streams[::trial.size // 1000 or 1]
    with trial.server() as server:
        requests = [server.wire.publish(stream, NAME, PAYLOAD) for stream in streams]
        trial.fill(server, Requests(requests, trial.size))
        check(server, sample, len(sample))
        peak = server.peak
        server.stop()
        boot = server.start()
        check(server, sample, len(sample))
        return {"memory": peak, "boot": boot, "memory after boot": server.peak}


def boot_after_kill(trial):
    """A log of so many MB in one stream, whose server is killed."""
    stream, = trial.streams(1)
    with trial.server() as server:
        request = server.wire.publish(stream, NAME, PAYLOAD)
        # About what an event takes in either log.
        count = trial.size * 1_000_000 // len(request)
        trial.fill(server, same(request, count))
        _kill(trial, server)
        boot = server.start()
        check(server, [stream], count)
    return {"": boot}


def history(trial):
    """What publishing, memory and boots cost when there are so many events already."""
    stream, = trial.streams(1)
    with trial.server() as server:
        request = server.wire.publish(stream, NAME, PAYLOAD)
        trial.fill(server, same(request, trial.size))
        found = trial.run(load.publish, server.address, same(request), server.wire.publish_reply, 1, 100)
        peak = server.peak
        server.stop()
        clean = server.start()
        trial.fill(server, same(request, 1000))
        _kill(trial, server)
        killed = server.start()
        check(server, [stream], trial.size + found.total + 1000)
    return {"publish": found.rate, "memory": peak, "boot": clean, "boot after kill -9": killed}


def _kill(trial, server):
    """End it as a crash would, when all is written: Redis holds back for 2 s while it syncs."""
    _wait_until_idle(trial, server, 2.2)
    server.kill()


# -- the table -----------------------------------------------------------------

def _rate(least, aim, unit="/s"):
    return (Figure("", unit, least, aim),)


def _time(least, aim, unit="us", absolute=False):
    return (Figure("", unit, least, aim, smaller=True, absolute=absolute),)


def _connections(count):
    return "1 connection" if count == 1 else f"{count} connections"


def _all_of(events):
    return Size("events", events, events, events // 1000)


_HOP = (Figure("p50", "us", None, 1.0, smaller=True), Figure("p99", "us", 0.5, 1.0, smaller=True),
        Figure("p99.9", "us", None, 1.0, smaller=True))
_FOLLOWING = (Figure("start-up", "s", smaller=True), Figure("memory", "MiB", smaller=True),
              Figure("threads", "", smaller=True), Figure("hop", "us", smaller=True))
_MANY = (Figure("memory", "MiB", 400, None, smaller=True, absolute=True),
         Figure("boot", "s", 5, 1, smaller=True, absolute=True),
         Figure("memory after boot", "MiB", smaller=True))
_HISTORY = (Figure("publish", "/s"), Figure("memory", "MiB", smaller=True),
            Figure("boot", "s", smaller=True), Figure("boot after kill -9", "s", smaller=True))

_MILLION = Size("events", 1_000_000, 1_000_000, 20_000)
_SINGLES = Size("events", 50_000, 1_000_000, 2_000)
_INTERLEAVED = Size("events", 500_000, 1_000_000, 10_000)
_FOLLOWERS = Size("followers", 1000, 1000, 200)
_STREAMS = Size("streams", 1000, 1000, 200)

PUBLISH = (
    *(Workload(f"publish-{n}x100", f"publish, {_connections(n)}, 100 in flight", _rate(1.0, aim),
               partial(publish, connections=n, in_flight=100))
      for n, aim in ((1, 2.0), (8, 1.5), (50, 1.5))),
    *(Workload(f"mixed-{weights.__name__}",
               f"publish to 1,000 streams ({weights.__name__}), 4 names, 20 to 400 bytes, 100 in flight",
               _rate(1.0, 1.5), partial(publish_mixed, weights=weights))
      for weights in (zipf, uniform)),
    *(Workload(f"single-{n}", f"publish one at a time, {_connections(n)}", _rate(0.8, 1.0),
               partial(publish_one_at_a_time, connections=n))
      for n in (1, 8, 50, 200)),
    *(Workload(f"always-{n}", f"sync always, publish one at a time, {_connections(n)}", _rate(0.8, 1.2),
               partial(publish_one_at_a_time, connections=n, sync="always"), remote=False)
      for n in (1, 8, 50, 200)),
    *(Workload(f"always-{n}x100", f"sync always, publish, {_connections(n)}, 100 in flight", _rate(1.0, 2.0),
               partial(publish, connections=n, in_flight=100, sync="always"), remote=False)
      for n in (1, 8)),
    Workload("large", "publish 1 MB payloads, 1 connection, 4 in flight",
             _rate(1.0, 2.0, "MB/s"), publish_large),
)

REPLAY = (
    Workload("replay-batches", "replay of a stream published in batches, against XRANGE",
             _rate(2.0, 5.0), replay_batches, _MILLION),
    Workload("replay-singles", "replay of a stream published one at a time, fresh",
             _rate(0.3, 1.0), partial(replay_singles, sealed=False), _SINGLES),
    Workload("replay-sealed", "replay of a stream published one at a time, after its segment is sealed",
             _rate(1.0, 2.0), partial(replay_singles, sealed=True), _SINGLES),
    Workload("replay-interleaved", "replay of one stream among 1,000 interleaved",
             _rate(0.3, 0.8), partial(replay_interleaved, everything=False), _INTERLEAVED),
    Workload("replay-all", "replay of $all, 1,000 streams interleaved, against XRANGE of each",
             _rate(1.0, 2.0), partial(replay_interleaved, everything=True), _INTERLEAVED, remote=False),
)

_PAGED = Size("events", 50_000, 50_000, 500)

ENTRIES = (
    Workload("xadd-1x100", "XADD, 1 connection, 100 in flight", _rate(None, None), partial(add_entries, in_flight=100),
             remote=False),
    *(Workload(f"xadd-{n}", f"XADD one at a time, {_connections(n)}", _rate(None, None),
               partial(add_entries_one_at_a_time, connections=n), remote=False)
      for n in (1, 8, 50)),
    Workload("xrange-100", "XRANGE COUNT 100, page after page", _rate(None, None),
             partial(read_pages, page=wire.range_behind, count=100), _PAGED, remote=False),
    Workload("xread-100", "XREAD COUNT 100, page after page", _rate(None, None),
             partial(read_pages, page=wire.read_behind, count=100), _PAGED, remote=False),
    *(Workload(f"xreadgroup-{n}", f"XREADGROUP COUNT {n}, and XACK of these; events", _rate(None, None),
               partial(consume, count=n), Size("events", size, size, 500), remote=False)
      for n, size in ((1, 50_000), (10, 250_000), (100, 1_000_000))),
)

LIVE = (
    *(Workload(f"fanout-{n}", f"one stream to {n:,} followers, published one at a time; delivered",
               _rate(5.0, 15.0), partial(fan_out, followers=n, in_flight=1))
      for n in (200, 1000, 5000)),
    *(Workload(f"fanout-{n}x100", f"one stream to {n:,} followers, 100 in flight; delivered",
               _rate(2.0, 4.0), partial(fan_out, followers=n, in_flight=100))
      for n in (200, 1000, 5000)),
    Workload("ok-fanout", "time to +OK while 1,000 follow the stream", _time(10, 50), time_to_ok, _FOLLOWERS),
    Workload("last-of-1000", "a single event to the last of 1,000 followers",
             _time(0.8, 1.0), last_follower, _FOLLOWERS),
    Workload("spread", "1,000 streams followed by one client each, one at a time; delivered",
             _rate(0.8, 1.5), partial(fan_out_spread, in_flight=1), _STREAMS),
    Workload("spread-x100", "1,000 streams followed by one client each, 100 in flight; delivered",
             _rate(0.8, 1.5), partial(fan_out_spread, in_flight=100), _STREAMS),
    Workload("follow-by-each", "10,000 streams followed by one client each",
             _FOLLOWING, follow_many_streams, Size("streams", 10_000, 10_000, 500), remote=False),
    Workload("follow-by-one", "10,000 streams followed by one client", _FOLLOWING,
             partial(follow_many_streams, connections=1), Size("streams", 10_000, 10_000, 500), remote=False),
    Workload("hop", "from a publisher to a follower, at 2,000 events/s",
             _HOP, hop, Size("events a second", 2000, 2000, 500)),
)

SIZE = (
    Workload("many-streams", "1,000,000 streams of one event; boot after a clean stop",
             _MANY, many_streams, Size("streams", 1_000_000, 1_000_000, 5_000), once=True, remote=False),
    Workload("boot-killed", "boot after kill -9 with a log of 1 GB", _time(5, 2, "s", absolute=True),
             boot_after_kill, Size("MB", 1000, 1000, 5), once=True, remote=False),
    *(Workload(f"history-{millions}m", f"one stream of {millions},000,000 events: publish, memory, boots",
               _HISTORY, history, _all_of(millions * 1_000_000), once=True, remote=False,
               long=millions == 100, redis=millions == 1)
      for millions in (1, 10, 100)),
)

WORKLOADS = (*PUBLISH, *REPLAY, *ENTRIES, *LIVE, *SIZE)
