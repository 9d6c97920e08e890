"""The benchmark suite in a short form: it runs, and what it counts is what there is."""

import json
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace

import pytest
from conftest import UNMEASURED

from bench import load, report, trial, wire, workloads
from bench.__main__ import _chosen, _parse, main
from bench.load import Load, LoadError, Requests
from bench.servers import Meilies, Redis, ServerError
from bench.trial import OutOfTime, Trial, WrongCount
from bench.workloads import NAME, PAYLOAD, WORKLOADS, Figure, Workload

# Each load is a fork of a process in which pytest's watchdog is a thread.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

SECONDS = 20
STREAM = b"orders"

needs_redis = pytest.mark.skipif(not Redis.is_installed(), reason="redis-server isn't installed")


@pytest.fixture(scope="module", autouse=True)
def unmeasured():
    """What is compared here runs as it does for users: without coverage."""
    with pytest.MonkeyPatch.context() as environ:
        for name in UNMEASURED:
            environ.delenv(name, raising=False)
        yield


@pytest.fixture(scope="module", params=["meilies", pytest.param("redis", marks=needs_redis)])
def running(request, tmp_path_factory):
    """A server of either kind, for all tests of this file."""
    contender = Meilies(sys.executable) if request.param == "meilies" else Redis()
    with contender.run(tmp_path_factory.mktemp("bench") / "data", "no") as server:
        yield server


@pytest.fixture
def one_trial(running, tmp_path):
    """A Trial whose server is the one that runs already, with streams of its own."""
    @contextmanager
    def run(folder, sync, options=()):
        yield running

    contender = SimpleNamespace(run=run, wire=running.wire, takes_redis_benchmark=True, own_process=True)
    return Trial(contender, 0.05, None, tmp_path, time.monotonic() + SECONDS)


def finish(one, window=0.03):
    """Let a Load run, and return its result."""
    one.ready(SECONDS)
    now = time.monotonic()
    one.tell((now, now + window))
    return one.result(SECONDS)


def publish(running, stream, count, in_flight=10):
    request = running.wire.publish(stream, NAME, PAYLOAD)
    with Load(load.fill, running.address, Requests([request] * 7, count), running.wire.publish_reply,
              in_flight) as one:
        return finish(one)


# -- counting without parsing ----------------------------------------------------

def test_bytes_of_frames_are_counted_as_the_events_that_they_hold():
    frames = [b"*5\r\n+event\r\n+s\r\n:%d\r\n+n\r\n$3\r\nabc\r\n" % number for number in range(1234)]
    events_in = partial(wire.Meilies.events_in, stream=b"s", name=b"n", data=b"abc")
    size = 0
    for number, frame in enumerate(frames):
        assert events_in(size) == events_in(size + 1) == events_in(size + len(frame) - 1) == number
        size += len(frame)
    assert events_in(size) == 1234


def test_a_ring_of_requests_comes_round_in_order_and_ends_at_its_limit():
    requests = Requests([b"a", b"bb", b"ccc"], limit=8)
    taken = [requests.take(2) for _ in range(7)]
    assert b"".join(data for data, _ in taken) == b"abbcccabbcccabb"
    assert [count for _, count in taken] == [2, 1, 2, 1, 2, 0, 0]


def test_the_mark_is_once_in_a_payload_of_any_size():
    assert [(len(data), data.count(wire.MARK)) for data in map(wire.payload, (1, 20, 400))] == [
        (1, 1), (20, 1), (400, 1)]


# -- loads on real servers -------------------------------------------------------

def test_all_that_a_fill_publishes_is_stored(running):
    assert publish(running, b"filled", 257) == 257
    assert running.counts([b"filled", b"not-there"]) == [257, 0]


@pytest.mark.parametrize("connections, in_flight", [(1, 1), (1, 100), (8, 10)])
def test_a_window_counts_no_more_than_is_stored_and_all_of_that_in_the_end(running, connections, in_flight):
    stream = b"window-%d-%d" % (connections, in_flight)
    requests = Requests([running.wire.publish(stream, NAME, PAYLOAD)] * 100)
    with Load(load.publish, running.address, requests, running.wire.publish_reply, connections,
              in_flight) as one:
        found = finish(one, 0.05)
    assert [found.total] == running.counts([stream])
    assert 0 < found.counted <= found.total
    assert found.seconds > 0


def test_redis_benchmark_publishes_as_often_as_it_is_told(running):
    command = workloads._benchmark_command(running, b"bench-marked")
    assert load.redis_benchmark(running.address, 8, 333, command, SECONDS) > 0
    assert running.counts([b"bench-marked"]) == [333]


@needs_redis
def test_an_error_that_redis_benchmark_gets_is_no_measurement(running):
    with pytest.raises(LoadError, match="unknown command"):
        load.redis_benchmark(running.address, 1, 10, ["no-such-command"], SECONDS)


def test_an_error_reply_to_a_publish_is_no_measurement(running):
    requests = Requests([b"*2\r\n$7\r\npublish\r\n$1\r\nx\r\n"])
    with Load(load.publish, running.address, requests, b"+", 1, 1) as one, \
            pytest.raises(LoadError, match="a publish was answered b.-ERR wrong number"):
        finish(one)


@pytest.mark.parametrize("told, missing, extra", [(0, 0, 0), (3, 15, 0), (-2, 0, 10)])
def test_followers_know_what_is_missing_and_what_is_too_much(running, told, missing, extra):
    """Five followers of one stream, told of as many more or fewer events than there were."""
    stream = b"followed-%d" % told
    request = running.wire.broadcast(stream, NAME, PAYLOAD)
    events_in = partial(running.wire.events_in, stream=stream, name=NAME, data=PAYLOAD)
    subscriptions = [running.wire.subscribe([stream])] * 5
    requests = Requests([request], 120)
    with Load(load.follow, running.address, subscriptions, events_in, 0.6) as following, \
            Load(load.fill, running.address, requests, running.wire.broadcast_reply, 7) as publishing:
        following.ready(SECONDS)
        now = time.monotonic()
        following.tell((now, now + 0.02))
        total = finish(publishing)
        following.tell([total + told] * 5)
        found = following.result(SECONDS)
    assert (total, found.missing, found.extra) == (120, missing, extra)


def test_a_replay_is_of_as_many_events_as_there_are(running):
    publish(running, b"replayed", 321)
    request = running.wire.replay(b"replayed", 321)
    with Load(load.replay, running.address, [(request, 321)], wire.MARK) as one:
        found = finish(one)
    assert found.events == 321
    assert found.rate > 0


def test_a_replay_that_is_larger_than_expected_is_no_measurement(running):
    publish(running, b"short", 30)
    with Load(load.replay, running.address, [(running.wire.replay(b"short", 30), 29)], wire.MARK) as one, \
            pytest.raises(LoadError, match="a replay had 30 events, expected 29"):
        finish(one)


def test_a_page_with_other_entries_than_were_asked_for_is_no_measurement(running):
    publish(running, b"three", 3)
    everything = partial(wire.range_behind, b"three", 9)
    with Load(load.read_pages, running.address, everything, 2, 9, wire.MARK) as one, \
            pytest.raises(LoadError, match="found 3 entries, expected 2"):
        finish(one, window=SECONDS)


def test_a_single_event_arrives_at_every_follower(running):
    request = running.wire.broadcast(b"single", NAME, PAYLOAD)
    with Load(load.single_events, running.address, [running.wire.subscribe([b"single"])] * 9, [request] * 12,
              running.wire.broadcast_reply, 9, wire.MARK) as one:
        found = finish(one)
    assert len(found.times) == 12
    assert min(found.times) > 0


# -- workloads -------------------------------------------------------------------

# One of each kind, but for those that the command's own test runs.
SHORT = {"mixed-zipf", "single-8", "replay-batches", "replay-singles", "replay-interleaved", "replay-all",
         "fanout-200x100", "ok-fanout", "last-of-1000", "spread", "follow-by-each", "follow-by-one", "hop",
         "xadd-1x100", "xadd-8", "xrange-100", "xread-100", "xreadgroup-1", "xreadgroup-100"}
LIVE = {"fanout-200x100", "spread", "hop"}


@pytest.mark.parametrize("name", sorted(SHORT))
def test_a_workload_has_a_value_for_each_of_its_figures(one_trial, name):
    workload, = [one for one in WORKLOADS if one.name == name]
    one_trial.size = 500 if name == "hop" else 20
    if name in LIVE:        # something has to arrive at followers while it lasts, on a machine with other work
        one_trial.seconds = 0.5
    found = workload.measure(one_trial)
    assert list(found) == [figure.name for figure in workload.figures]
    assert min(found.values()) > 0


def test_a_server_that_has_other_events_than_were_published_is_no_measurement(one_trial, running):
    stream, = one_trial.streams(1)
    publish(running, stream, 1)
    with pytest.raises(WrongCount, match="events are stored, and [0-9]+ were published"):
        workloads.publish(one_trial, connections=1, in_flight=10)


def test_events_that_nobody_published_and_events_lost_in_silence_are_no_measurement():
    trial.check_delivery(load.Followed(1.0, missing=5, extra=0, quiet=0.1))
    for missing, extra in ((5, 0), (0, 1)):
        with pytest.raises(WrongCount):
            trial.check_delivery(load.Followed(1.0, missing, extra, quiet=2.0))


def test_a_trial_ends_at_its_deadline(one_trial):
    one_trial.deadline = time.monotonic()
    with pytest.raises(OutOfTime):
        workloads.publish(one_trial, connections=1, in_flight=10)


def test_a_server_that_does_not_start_says_why(tmp_path):
    with pytest.raises(ServerError, match="ended with code 2: .*no-such-option"), \
            Meilies(sys.executable).run(tmp_path / "data", "everysec", ["--no-such-option"]):
        pass


# -- the report ------------------------------------------------------------------

def a_line(ours, redis, least=0.8, aim=1.2, **more):
    workload = Workload("some", "Some work", (), None)
    values = {"meilies": dict(enumerate(ours)), "redis": dict(enumerate(redis))}
    return report.Line(workload, Figure("", "/s", least, aim, **more), None, values)


@pytest.mark.parametrize("ours, smaller, verdict", [
    (70, False, "BELOW"), (80, False, "ok"), (120, False, "aim"),
    (130, True, "BELOW"), (125, True, "ok"), (80, True, "aim")])
def test_a_ratio_says_how_many_times_better_we_are(ours, smaller, verdict):
    assert a_line([ours], [100], smaller=smaller).verdict == verdict


@pytest.mark.parametrize("ours, verdict", [(401, "BELOW"), (400, "ok"), (100, "aim")])
def test_an_absolute_bound_needs_no_redis(ours, verdict):
    assert a_line([ours], [], 400, 100, smaller=True, absolute=True).verdict == verdict


def test_the_table_has_medians_spread_and_the_median_of_the_rounds_ratios():
    text = report.table([a_line([90, 100, 120], [50, 100, 100])])
    assert text.splitlines()[1].split() == [
        "some", "/s", "100", "±15%", "100", "±25%", "1.20", "1.00-1.80", "0.8", "1.2", "aim"]


def test_a_round_that_one_of_them_missed_has_no_ratio():
    line = a_line([90, 100], [45])
    assert line.ratios() == [2.0]


# -- the command -----------------------------------------------------------------

def test_the_command_writes_a_table_and_json_and_a_plot(tmp_path, capsys, server):
    remote = f"127.0.0.1:{server('--sync', 'no').port}"
    code = main([
        "--only", "publish-1x100,many-streams", "--quick", "--window", "0.03", "--size", "many-streams=500",
        "--dir", str(tmp_path), "--meilies", remote, "--json", str(tmp_path / "b.json"),
        "--svg", str(tmp_path / "b.svg")])
    printed = capsys.readouterr().out
    assert code == 0, printed
    assert "many-streams: 500 streams, in full 1,000,000" in printed
    assert "% of the machine's processor time went elsewhere" in printed
    written = json.loads((tmp_path / "b.json").read_text(encoding="utf-8"))
    assert [one["workload"] for one in written["figures"]] == ["publish-1x100"] + ["many-streams"] * 3
    assert written["figures"][0]["median"].keys() == {
        "meilies", remote, *(["redis"] if Redis.is_installed() else [])}
    assert "Linux" in written["environment"]["kernel"]
    assert ElementTree.parse(tmp_path / "b.svg").getroot().tag.endswith("svg")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("bench-")) == []


def test_patterns_add_up_whether_they_are_in_one_option_or_several():
    def chosen(*argv):
        return [one.name for one in _chosen(_parse(argv))]

    assert chosen("--only", "single-1", "--only", "xadd-*,hop") == [
        "single-1", "xadd-1x100", "xadd-1", "xadd-8", "xadd-50", "hop"]
    assert len(chosen()) > 30


def test_what_there_is_no_time_for_is_left_out_and_named(tmp_path, capsys):
    code = main(["--only", "publish-1x100", "--rounds", "50", "--seconds", "0.5", "--no-redis",
                 "--dir", str(tmp_path)])
    printed = capsys.readouterr().out
    assert code == 0, printed
    assert "of 50 measurements (--seconds 0.5): publish-1x100" in printed
    assert "publish-1x100  /s" in printed


@pytest.mark.parametrize("argv, why", [
    (["--only", "nothing"], "no workload matches"),
    (["--size", "single-1=5"], "no such workload with a size"),
    (["--size", "single-1"], "expected WORKLOAD=N"), (["--meilies", "there"], "expected HOST:PORT"),
    (["--rounds", "0"], "expected 1 or more"), (["--window", "0"], "expected more than 0"),
    (["--json", "/not/there/at-all.json"], "there is no such folder")])
def test_an_option_that_cannot_be_is_said_in_one_line(capsys, argv, why):
    with pytest.raises(SystemExit) as ended:
        main(argv)
    assert ended.value.code == 2
    assert why in capsys.readouterr().err


def test_an_interpreter_that_is_none_is_said_in_one_line():
    with pytest.raises(SystemExit, match="--python /not/there: No such file"):
        main(["--only", "single-1", "--python", "/not/there"])


def test_the_list_has_every_workload_once():
    done = subprocess.run([sys.executable, "-m", "bench", "--list"], capture_output=True, text=True,
                          check=True)
    names = [line.split()[0] for line in done.stdout.splitlines()]
    assert names == ["WORKLOAD", *(one.name for one in WORKLOADS)]
    assert len(set(names)) == len(names)


def test_the_suite_runs_without_redis(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert main(["--only", "publish-1x100", "--quick", "--window", "0.02", "--dir", str(tmp_path)]) == 0
    assert "isn't installed: no ratios" in capsys.readouterr().err
