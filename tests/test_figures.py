"""Figures that are read when somebody asks."""

import time
import types

import pytest
from serving import Serving

from server import figures
from server.figures import Clients, Figures, Rates


class Counters:
    """A Poller as far as figures go: many connections, a clock of its own."""

    def __init__(self, count=0):
        self.now = 100.0
        self.sent = self.frames = self.executed = self.published = self.received = 0
        self.is_own_thread = True
        self.looks = 0
        outbox = types.SimpleNamespace(blocked=False, size=3, sent=5, frames=2)
        one = types.SimpleNamespace(outbox=outbox, subscriptions={"s": 1}, behind_count=0)
        self.all = dict.fromkeys(range(count), one)
        self.figures = Figures(self, lambda: self.now)

    @property
    def connections(self):
        self.looks += 1
        return self.all


def test_a_look_adds_up_all_connections():
    assert Counters(4).figures.clients() == Clients(4, 0, 12, 4, 0, 0, 0, 20, 8)


@pytest.mark.parametrize("took, looks", [(0.0005, 3), (0.002, 1)])
def test_keys_are_counted_each_time_unless_that_takes_long(took, looks):
    server = Counters()
    asked = []

    def begun_count():
        server.now += took
        asked.append(True)
        return 7

    server.store = types.SimpleNamespace(begun_count=begun_count)
    assert [server.figures.keys() for _ in range(3)] == [7, 7, 7]
    assert len(asked) == looks
    server.now += figures._KEPT
    assert server.figures.keys() == 7
    assert len(asked) == looks + 1


def test_many_connections_are_looked_at_once_a_second():
    server = Counters(figures._MANY + 1)
    for _ in range(3):
        assert server.figures.clients().connections == figures._MANY + 1
    assert server.looks == 1
    server.now += 1
    server.figures.clients()
    assert server.looks == 2
    few = Counters(3)
    for _ in range(3):
        few.figures.clients()
    assert few.looks == 3


def test_what_was_sent_never_goes_down_while_a_connection_closes():
    server = Counters(2)
    assert server.figures.clients().sent == 10
    del server.all[1]       # and what it was sent isn't counted yet
    assert server.figures.clients().sent == 10
    server.sent = 7
    assert server.figures.clients().sent == 12


def test_only_the_poller_looks_without_a_pause(monkeypatch):
    pauses = []
    monkeypatch.setattr(figures, "time", types.SimpleNamespace(sleep=pauses.append, monotonic=time.monotonic))
    server = Counters(2 * figures._PORTION)
    server.figures.clients()
    assert pauses == []
    server.is_own_thread = False
    server.figures.clients()
    assert pauses == [figures._PAUSE] * 2


def test_rates_are_those_since_somebody_asked_a_second_ago_or_more():
    server = Counters(1)
    assert server.figures.rates() == Rates(0.0, 0.0, 0.0)
    server.now, server.executed, server.published, server.received = 102.0, 10, 30, 100
    assert server.figures.rates() == Rates(20.0, 50.0, 2.5)
    server.now, server.published = 102.9, 1000
    assert server.figures.rates() == Rates(20.0, 50.0, 2.5)
    server.now = 104.0
    assert server.figures.rates() == Rates(485.0, 0.0, 0.0)


def test_followers_behind_are_looked_at_up_to_a_bound(monkeypatch):
    monkeypatch.setattr(figures, "_LOOKED_AT", 3)
    stream = types.SimpleNamespace(visible=100)
    feed = types.SimpleNamespace(stream=stream)
    followers = [types.SimpleNamespace(feed=feed, next=90 - i, stop=95) for i in range(4)]
    followers.append(types.SimpleNamespace(feed=None, next=0, stop=10))
    server = Counters(1)
    server.all[0] = types.SimpleNamespace(**{**vars(server.all[0]), "behind_count": len(followers),
                                             "behind": lambda most: followers[:most]})
    found = server.figures.clients()
    assert (found.behind, found.lag, found.most) == (5, 5 + 6 + 7, 7)


def test_a_follower_without_a_feed_and_one_that_is_past_its_end_lag_by_nothing():
    assert figures._lag_of(types.SimpleNamespace(feed=None, next=0, stop=10)) == 0
    feed = types.SimpleNamespace(stream=types.SimpleNamespace(visible=5))
    assert figures._lag_of(types.SimpleNamespace(feed=feed, next=7, stop=10)) == 0


def test_the_process_has_memory_threads_and_files():
    found = figures.process()
    assert found.peak >= found.memory > 1 << 20
    assert found.threads >= 1 and found.user > 0
    assert found.most > found.files > 2


def test_a_system_without_proc_says_what_it_can(monkeypatch):
    monkeypatch.setattr(figures, "open", _missing, raising=False)
    assert figures.process().memory > 1 << 20
    assert figures._open_files("/nowhere") == 0
    monkeypatch.setattr(figures.os, "sysconf", _missing)
    assert figures.system_memory() == 0


def _missing(*arguments):
    raise FileNotFoundError(2, "No such file or directory")


def test_open_files_are_counted_where_the_system_does_not_say_how_many_there_are(tmp_path, monkeypatch):
    (tmp_path / "0").touch()
    monkeypatch.setattr(figures.os, "stat", lambda path: types.SimpleNamespace(st_size=0))
    assert figures._open_files(str(tmp_path)) == 1


@pytest.mark.parametrize("groups", [0, 2])
def test_groups_are_sorted_by_their_lag(tmp_path, groups):
    with Serving(tmp_path / "db") as serving:
        client = serving.connect()
        client.ask("publish", "s", "x", "d")
        for i in range(groups):
            client.ask("group-create", f"g{i}", "stream", "s", i)
        assert [(one.name, one.events) for one in serving.poller.figures.groups()] == [("g0", 1), ("g1", 0)][:groups]
