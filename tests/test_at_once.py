"""Commands that are answered in the poller where a worker isn't needed: the replies are the worker's."""

import random

import pytest
from serving import Serving, eventually

from server.table import COMMANDS

AT_ONCE = [name for name, command in COMMANDS.items() if command.at_once]


class Clock:
    """Microseconds, which go on when the test says so."""

    def __init__(self):
        self.now = 2_000_000_000

    def __call__(self):
        return self.now


@pytest.fixture
def ask(tmp_path):
    """ask(requests, at_once): the replies to requests, by a server whose workers do all that isn't quick, or don't."""
    def replies(requests, at_once):
        clock = Clock()
        kept = {name: COMMANDS[name] for name in AT_ONCE}
        try:
            if not at_once:
                COMMANDS.update({name: command._replace(at_once=None) for name, command in kept.items()})
            with Serving(tmp_path / f"{at_once}", clock=clock) as serving:
                client, found = serving.connect(), []
                for request in requests:
                    clock.now += 1000
                    found.append(client.ask(*request))
                return [repr(one) for one in found]
        finally:
            COMMANDS.update(kept)

    return replies


def some_requests(seed):
    """Calls of consumers, of some of which each is refused, in vain or odd."""
    chosen = random.Random(seed)
    keys, groups, members = ["s", "t:1"], ["g", "h"], ["ann", "bob"]
    made = [("xgroup", "create", key, group, "0", "mkstream") for key in keys for group in groups]
    rules = ("wait", 10 ** 9, "pause", 0)       # nothing comes by itself
    made += [("group-create", "native", "stream", "s", "0", *rules),
             ("group-create", "all", "$all", "0", *rules, "names", 1, "a")]
    added = []
    for _ in range(400):
        key, group, member = chosen.choice(keys), chosen.choice(groups), chosen.choice(members)
        id_ = chosen.choice(added)[1] if added else "1-0"
        what = chosen.random()
        if what < 0.25:
            for _ in range(chosen.randint(1, 12)):
                number = sum(one == key for one, _ in added)
                id_ = f"{1000 + len(added)}-{number}"
                added.append((key, id_))
                fields = ["a", "1"] * chosen.choice([1, 1, 1, 2])
                made.append(("xadd", key, id_, *fields))
        elif what < 0.45:
            count = chosen.choice([(), ("count", 1), ("count", 1), ("count", 5), ("count", 300), ("count", 0)])
            acked = chosen.choice([(), (), (), ("noack",)])
            given = chosen.choice([">", ">", ">", ">", "0", "1-x", "$"])
            made.append(("xreadgroup", "group", group, member, *count, *acked, "streams", key, given))
        elif what < 0.65:
            ids = chosen.choices(added, k=chosen.randint(1, 6)) if added else [(key, "7")]
            made.append(("xack", key, group, *[one for _, one in ids], *chosen.choice([(), (), ("bad",)])))
        elif what < 0.7:
            made.append(("xpending", key, group))
        elif what < 0.74:
            made.append(("xdel", key, id_))
        elif what < 0.76:
            made.append(("xgroup", "setid", key, group, chosen.choice(["0", "$", id_])))
        elif what < 0.78:
            made.append(("xgroup", "delconsumer", key, group, member))
        elif what < 0.79:
            made.append(("xtrim", key, "maxlen", chosen.randint(0, 30)))
        elif what < 0.8:
            made.append(("xclaim", key, group, member, 0, id_))
        elif what < 0.88:
            group = chosen.choice(["native", "all", "none"])
            made.append(("group-read", group, member, chosen.choice([1, 1, 5, 9, 0])))
        elif what < 0.95:
            made.append(("group-ack", chosen.choice(["native", "all"]), *chosen.choices(range(20), k=3)))
        else:
            made.append(("group-refuse", chosen.choice(["native", "all"]), chosen.randrange(20)))
    return [*made, *[("xinfo", "consumers", key, group) for key in keys for group in groups]]


def some_reads(seed):
    """Pages of streams, some of which was trimmed, deleted or isn't there; limits of which some are odd."""
    chosen = random.Random(seed)
    made, ids = [], {"s": [], "t:1": [], "none": []}
    if seed % 2:
        made.append(("retain", "stream", "t%3A1", "max-count", 30))
    for _ in range(500):
        key = chosen.choice(["s", "s", "t:1", "none"])
        known = ids[key]
        id_ = chosen.choice([*known[-40:], "0-0", "7", f"{chosen.randrange(3000)}-{chosen.randrange(60)}"])
        what = chosen.random()
        if what < 0.2 and key != "none":
            for _ in range(chosen.randint(1, 12)):
                known.append(f"{1000 + len(made)}-{len(known)}")
                made.append(("xadd", key, known[-1], *["a", "1"] * chosen.choice([1, 1, 1, 2])))
        elif what < 0.5:
            count = chosen.choice([1, 2, 10, 100, 0, -1, "x"])
            start = chosen.choice(["-", "0", id_, "(" + id_, "(" + id_, "+", "(-"])
            end = chosen.choice(["+", "+", "+", id_, chosen.choice(known or ["5"]), "(" + id_, "-"])
            made.append(("xrange", key, start, end, *chosen.choice([("count", count)] * 4 + [(), ("limit", 3)])))
        elif what < 0.9:
            count = chosen.choice([("count", 1), ("count", 10), ("count", 100), ("count", 0), ()])
            places = chosen.choice([(key, id_)] * 5 + [(key, "$"), (key, ">"), (key,)])
            made.append(("xread", *count, "streams", *places))
        elif what < 0.94:
            made.append(("xdel", key, id_))
        elif what < 0.96:
            made.append(("xtrim", key, "maxlen", chosen.randint(0, 60)))
        else:
            made.append(("xrevrange", key, "+", "-", "count", 3))
    return made


@pytest.mark.parametrize("some", [some_requests, some_reads])
@pytest.mark.parametrize("seed", range(4))
def test_what_is_answered_at_once_is_what_a_worker_answers(ask, some, seed):
    requests = some(seed)
    for request, at_once, worked in zip(requests, ask(requests, True), ask(requests, False)):
        assert at_once == worked, request


def test_a_page_that_is_read_is_given_at_once_from_then_on(tmp_path, monkeypatch):
    """... and acknowledged: no worker is needed."""
    with Serving(tmp_path / "db") as serving:
        client = serving.connect()
        for i in range(20):
            client.ask("xadd", "s", "*", "n", str(i))
        client.ask("xgroup", "create", "s", "g", "0")
        client.ask("xreadgroup", "group", "g", "m", "count", 1, "streams", "s", ">")
        monkeypatch.setattr(serving.poller.workers, "put", lambda task: pytest.fail("a worker was asked"))
        for i in range(1, 20):
            [[_, [[id_, pair]]]] = client.ask("xreadgroup", "group", "g", "m", "count", 1, "streams", "s", ">")
            assert pair == [b"n", b"%d" % i]
            assert client.ask("xack", "s", "g", id_) == 1
        assert client.ask("xreadgroup", "group", "g", "m", "count", 1, "streams", "s", ">") is None


def test_who_reads_page_after_page_needs_a_worker_for_the_first(tmp_path, monkeypatch):
    with Serving(tmp_path / "db") as serving:
        client = serving.connect()
        ids = [client.ask("xadd", "s", "*", "n", str(i)) for i in range(50)]
        assert len(client.ask("xrange", "s", "-", "+", "count", 5)) == 5
        monkeypatch.setattr(serving.poller.workers, "put", lambda task: pytest.fail("a worker was asked"))
        for first in range(5, 50, 5):
            page = client.ask("xrange", "s", b"(" + ids[first - 1], "+", "count", 5)
            assert [one[0] for one in page] == ids[first:first + 5]
            assert client.ask("xread", "count", 5, "streams", "s", ids[first - 1]) == [[b"s", page]]
            assert client.ask("xrange", "s", ids[first], ids[first + 2], "count", 5) == page[:3]
        assert client.ask("xread", "count", 5, "streams", "s", ids[-1]) is None


def test_a_group_that_somebody_else_is_busy_with_is_a_worker_s(tmp_path):
    with Serving(tmp_path / "db") as serving:
        client = serving.connect()
        client.ask("xadd", "s", "*", "n", "1"), client.ask("xadd", "s", "*", "n", "2")
        client.ask("xgroup", "create", "s", "g", "0")
        [[_, [[id_, _]]]] = client.ask("xreadgroup", "group", "g", "m", "count", 1, "streams", "s", ">")
        group = serving.store.group("g@s")
        executed, other, third = serving.poller.executed, serving.connect(), serving.connect()
        with group.rules():
            client.command("xack", "s", "g", id_)
            eventually(lambda: serving.poller.executed == executed + 1)
            assert third.ask("ping") == b"PONG"     # the poller doesn't wait
            other.command("xreadgroup", "group", "g", "m", "count", 1, "streams", "s", ">")
            eventually(lambda: serving.poller.executed == executed + 3)
            assert third.ask("ping") == b"PONG"
        assert client.value() == 1
        [[_, [[_, pair]]]] = other.value()
        assert pair == [b"n", b"2"]
