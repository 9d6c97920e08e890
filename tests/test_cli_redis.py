"""migrate from and to a Redis server: each entry once, in order, over kills and outages."""

import signal

import pytest
from alike.redis import Redis, needs_redis
from serving import Serving, eventually
from test_cli import end_of, start

import meilies_cli
from cli import redis_streams
from meilies_client import Client, Disconnected

pytestmark = needs_redis

MS = 1_700_000_000_000


@pytest.fixture(autouse=True)
def settled(monkeypatch):
    monkeypatch.setattr(redis_streams, "SETTLED", 0.01)


@pytest.fixture(scope="module")
def redis_server():
    with Redis() as server:
        yield server


@pytest.fixture
def redis(redis_server):
    with Client(unix=redis_server.path) as client:
        client.call("FLUSHALL")
        client.path = redis_server.path
        yield client


@pytest.fixture
def serving(tmp_path):
    with Serving(tmp_path / "db") as serving:
        yield serving


@pytest.fixture
def ours(serving):
    with Client(port=serving.port) as client:
        yield client


def words(direction, redis, serving, *more):
    here = f"127.0.0.1:{serving.port}"
    if direction == "from":
        return ["migrate", "--from-redis", f"redis+unix://{redis.path}", "--dst-server", here, *more]
    return ["migrate", "--to-redis", f"redis+unix://{redis.path}", "--src-server", here, *more]


@pytest.fixture
def migrate(capfd, redis, serving):
    """Run it in this process: migrate("from" or "to", *more) -> (exit status, stderr)."""
    def migrate(direction, *more):
        try:
            status = meilies_cli.main(words(direction, redis, serving, *more))
        except SystemExit as end:
            status = end.code
        out, err = capfd.readouterr()
        assert out == ""
        return status, err
    return migrate


def fields(client, key):
    return [pairs for _, pairs in client.call("XRANGE", key, "-", "+")]


def times(client, key):
    return [id_.partition(b"-")[0] for id_, _ in client.call("XRANGE", key, "-", "+")]


def fill(client, key, first, stop, each=3):
    """Entries of which `each` share a millisecond, most with more than one pair."""
    more = "more", b"\xff"
    client.call_all([("XADD", key, f"{MS + i // each}-{i % each + 1}", "n", str(i), *(more if i % 4 else ()))
                     for i in range(first, stop)])


def test_streams_from_redis_have_all_fields_in_order_and_the_times_they_had(migrate, redis, ours):
    fill(redis, "orders:1", 0, 550)
    fill(redis, "bills", 0, 5)
    redis.call("SET", "text", "x")
    assert migrate("from") == (0, "")
    for key in "orders:1", "bills":
        assert fields(ours, key) == fields(redis, key) and times(ours, key) == times(redis, key)
    numbers = [int(id_.partition(b"-")[2]) for id_, _ in ours.call("XRANGE", "bills", "-", "+")]
    assert numbers == [0, 1, 2, 3, 4]
    assert ours.stream_names() == ["bills", "orders%3A1"]


def test_run_again_it_copies_what_is_new_and_nothing_twice(migrate, redis, ours):
    for stop in 4, 5, 5, 550:
        fill(redis, "orders", redis.call("XLEN", "orders"), stop, each=1000)
        assert migrate("from") == (0, "")
        assert fields(ours, "orders") == fields(redis, "orders")


def test_patterns_and_keys_say_what_is_copied(migrate, redis, ours):
    for key in "orders:1", "orders:2", "bills", "other":
        fill(redis, key, 0, 1)
    assert migrate("from", "orders:*", "bills") == (0, "")
    assert sorted(ours.stream_names()) == ["bills", "orders%3A1", "orders%3A2"]


def test_what_the_source_has_forgotten_meanwhile_is_no_reason_to_stop(migrate, redis, ours):
    fill(redis, "orders", 0, 6)
    assert migrate("from") == (0, "")
    fill(redis, "orders", 6, 12)
    redis.call("XTRIM", "orders", "MAXLEN", "3")
    assert migrate("from") == (0, "")
    assert [int(pairs[1]) for pairs in fields(ours, "orders")] == [*range(6), 9, 10, 11]


def test_to_redis_and_back_ids_are_kept_and_only_new_entries_are_copied(migrate, redis, ours):
    for stop in 5, 5, 700:
        first = ours.call("XLEN", "a:1")
        ours.call_all([("XADD", "a:1", "*", "n", str(i), "m", "2") for i in range(first, stop)])
        assert migrate("to") == (0, "")
        assert redis.call("XRANGE", "a:1", "-", "+") == ours.call("XRANGE", "a:1", "-", "+")
    redis.call("XTRIM", "a:1", "MAXLEN", "0")
    ours.call("XADD", "a:1", "*", "n", "last")
    assert migrate("to", "a:1") == (0, "")
    assert fields(redis, "a:1") == [[b"n", b"last"]]


def test_ids_at_redis_ascend_where_our_clock_went_back(tmp_path, redis, capfd):
    moments = iter([50, 60, 40, 40, 70, 30])
    clock = {"now": MS * 1000}
    with Serving(tmp_path / "back", clock=lambda: clock["now"]) as serving:
        for count in 4, 6:
            while serving.store.position < count:
                clock["now"] = (MS + next(moments)) * 1000
                serving.store.append("s", "n", b"%d" % serving.store.position)
            assert meilies_cli.main(words("to", redis, serving)) == 0
        found = redis.call("XRANGE", "s", "-", "+")
    assert [id_ for id_, _ in found] == [b"%d-%d" % (MS + ms, i) for i, ms in enumerate([50, 60, 60, 60, 70, 70])]
    assert [pairs[1] for _, pairs in found] == [b"%d" % i for i in range(6)]


@pytest.mark.parametrize("direction", ["from", "to"])
def test_a_destination_that_is_no_copy_is_left_as_it_is(migrate, redis, ours, direction):
    source, destination = (redis, ours) if direction == "from" else (ours, redis)
    source.call("XADD", "s", "5-1", "n", "one")
    destination.call("XADD", "s", "5-1", "n", "other")
    status, err = migrate(direction)
    assert status == 1 and "is none of the source's; nothing was copied to it" in err
    assert fields(destination, "s") == [[b"n", b"other"]]


@pytest.mark.parametrize("first, why", [("", "the first field is the event's name"), ("a\r\nb", "the first field is")])
def test_nothing_behind_an_entry_that_is_refused_is_copied(migrate, redis, ours, first, why):
    for seq, field in enumerate(["n", "n", "n", first, "n", "n"], 1):
        redis.call("XADD", "s", f"5-{seq}", field, str(seq))
    status, err = migrate("from")
    assert status == 1 and "the destination refused an entry, 5-3: " in err and why in err
    assert fields(ours, "s") == [[b"n", b"1"], [b"n", b"2"], [b"n", b"3"]]


def test_a_first_entry_that_is_refused_keeps_the_others_out(migrate, redis, ours):
    redis.call("XADD", "s", "5-1", "", "1")
    redis.call("XADD", "s", "5-2", "n", "2")
    assert migrate("from")[0] == 1
    assert ours.stream_names() == []


@pytest.mark.parametrize("arguments, status, why", [
    (("nothing",), 1, "nothing: found nothing at the source, expected a stream; nothing was copied"),
    (("text",), 1, "text: found a string at the source, expected a stream; nothing was copied"),
])
def test_a_key_that_is_no_stream_is_told(migrate, redis, arguments, status, why):
    redis.call("SET", "text", "x")
    found, err = migrate("from", *arguments)
    assert found == status and why in err


@pytest.mark.parametrize("arguments, why", [
    ("--from-redis redis://a --to-redis redis://b", "both servers are Redis's"),
    ("--from-redis meilies://a --dst-server b", "expected redis://USER@HOST:PORT/DATABASE"),
    ("--from-redis redis://a/x --dst-server b", "expected the number of a database"),
    ("--from-redis redis://u:secret@a --dst-server b", "the URL has a password"),
    ("--from-redis redis://a --src-server b --dst-server c", "not allowed with argument"),
    ("--from-redis redis://a", "--dst-server --to-redis is required"),
])
def test_wrong_usage_is_told(capfd, arguments, why):
    try:
        status = meilies_cli.main(["migrate", *arguments.split()])
    except SystemExit as end:
        status = end.code
    assert status == 2 and why in capfd.readouterr().err


@pytest.mark.parametrize("text, place", [
    ("redis://", {"host": "127.0.0.1", "port": 6379, "database": None}),
    ("redis://u@old:6380/3", {"host": "old", "port": 6380, "user": "u", "database": 3}),
    ("rediss://old", {"host": "old", "port": 6379, "tls": True, "database": None}),
    ("redis+unix:///tmp/r.sock", {"unix": "/tmp/r.sock", "database": None}),
])
def test_an_url_says_where_redis_is(text, place):
    found = redis_streams.redis_argument(text)
    assert {key: value for key, value in found.items() if value != ""} == place


def test_a_database_of_redis_is_the_one_that_is_copied(redis, serving, ours):
    redis.call("SELECT", "3")
    fill(redis, "three", 0, 2)
    side = redis_streams.Side(redis, 3)
    redis.call("SELECT", "0")
    assert side.keys([]) == [b"three"] and side.length(b"three") == 2


@pytest.mark.parametrize("direction", ["from", "to"])
def test_no_more_bytes_are_sent_together_than_a_page_has(migrate, redis, ours, direction, monkeypatch):
    source, destination = (redis, ours) if direction == "from" else (ours, redis)
    source.call_all([("XADD", "s", "*", "n", "x" * size) for size in [300_000] * 9 + [3_000_000, 1, 300_000]])
    sizes = []
    add = redis_streams.Side.add

    def noting(side, key, entries, together=False):
        sizes.append([sum(map(len, fields)) for _, fields in entries])
        return add(side, key, entries, together)

    monkeypatch.setattr(redis_streams.Side, "add", noting)
    assert migrate(direction) == (0, "")
    assert fields(destination, "s") == fields(source, "s")
    assert all(sum(some) <= 1 << 20 or len(some) == 1 for some in sizes)
    assert max(map(len, sizes)) == 3


# -- kills and outages ---------------------------------------------------------------------

@pytest.mark.parametrize("direction", ["from", "to"])
def test_killed_again_and_again_it_ends_with_each_entry_once(redis, serving, ours, direction):
    total = 6000
    source, destination = (redis, ours) if direction == "from" else (ours, redis)
    for first in range(0, total, 500):
        source.call_all([("XADD", "s", "*", "n", str(i)) for i in range(first, first + 500)])
    for _ in range(2):
        kill_once_it_goes_on(words(direction, redis, serving), lambda: destination.call("XLEN", "s"))
    assert end_of(start(*words(direction, redis, serving)))[0] == 0
    assert [int(pairs[1]) for pairs in fields(destination, "s")] == list(range(total))


def kill_once_it_goes_on(arguments, length):
    before = length()
    running = start(*arguments)
    eventually(lambda: length() > before or running.poll() is not None)
    running.send_signal(signal.SIGKILL)
    running.communicate()


def test_what_comes_is_followed(redis, serving, ours):
    fill(redis, "s", 0, 2)
    running = start(*words("from", redis, serving, "--follow"))
    try:
        for stop in 2, 3, 10:
            fill(redis, "s", redis.call("XLEN", "s"), stop)
            eventually(lambda stop=stop: ours.call("XLEN", "s") == stop)
    finally:
        running.kill()
        running.communicate()
    assert fields(ours, "s") == fields(redis, "s")


@pytest.mark.parametrize("reached", [5, None])
def test_an_outage_of_the_destination_is_waited_out(migrate, redis, serving, ours, monkeypatch, reached):
    """The connection is lost when half of a page has come, and none of it is stored, or before the answer is back."""
    fill(redis, "s", 0, 20)
    exchange = Client.call_all

    def lose(client, requests):
        requests = list(requests)
        if any(request[0] == "XADD" for request in requests) and len(requests) > 5:
            monkeypatch.undo()
            monkeypatch.setattr(redis_streams, "SETTLED", 0.01)
            with Client(port=serving.port) as lost:
                exchange(lost, requests[:reached])
            raise Disconnected("lost")
        return exchange(client, requests)

    monkeypatch.setattr(Client, "call_all", lose)
    assert migrate("from")[0] == 0
    assert fields(ours, "s") == fields(redis, "s")
