"""server/adding.py: XADD, alone and in pipelines, with ids of the server's and of the client's, and trimming."""

import itertools
import random
import threading

import pytest
from disk import Disk
from serving import OK, Client, Serving, event, eventually, subscribed

import resp
from server import adding
from server.entries import id_of
from server.users import Cost, Users, create
from store import Store
from store.append import Append

NOW = 1_700_000_000_000     # ms


class Clock:
    ms = NOW

    def __call__(self):
        return self.ms * 1000 + 7


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def serving(tmp_path, clock):
    with Serving(tmp_path / "db", clock=clock) as serving:
        yield serving


def events_of(serving, stream):
    return serving.store.read(stream)


def numbers(serving, stream):
    return [event.number for event in serving.store.read(stream)]


def id_reply(ms, number):
    return resp.bulk(b"%d-%d" % (ms, number))


# -- ids of the server's ---------------------------------------------------------

def test_an_entry_is_an_event_whose_id_is_its_time_and_number(client, serving):
    assert client.ask("xadd", "s", "*", "created", "one") == b"%d-0" % NOW
    assert client.ask("XADD", "s", "*", "f1", "v1", "f2", "v2") == b"%d-1" % NOW
    assert client.ask("publish", "s", "x", "data") == b"OK"
    client.ask("hello", 3)
    assert client.ask("xadd", "s", "*", "created", "") == b"%d-3" % NOW
    found = events_of(serving, "s")
    assert [(one.name, one.data, one.metadata) for one in found] == [
        ("created", b"one", b""), ("f1", b"v1", b"fields:*2\r\n$2\r\nf2\r\n$2\r\nv2\r\n"), ("x", b"data", b""),
        ("created", b"", b"")]
    assert [id_of(one) for one in found][3] == b"%d-3" % NOW


def test_a_key_with_a_colon_is_a_stream_with_that_escaped(client, serving):
    client.ask("xadd", "orders:1", "*", "x", "d")
    assert [one.stream for one in serving.store.read_all()] == ["orders%3A1"]


def test_followers_get_entries_as_events(client, serving):
    follower = serving.connect()
    follower.command("subscribe", "s:0")
    follower.recv_exactly(subscribed("s"))
    client.ask("xadd", "s", "*", "x", "one")
    client.ask("xadd", "s", "NOMKSTREAM", "*", "x", "two")      # goes its own way
    follower.recv_exactly(event("s", 0, "x", "one") + event("s", 1, "x", "two"))


def test_a_pipeline_of_all_kinds_is_answered_in_its_order(client, serving):
    client.send(resp.command("xadd", "s", "*", "x", "0") * 3 + resp.command("publish", "s", "x", "3")
                + resp.command("xadd", "s", "*", "x", "4", "y", "") + resp.command("xadd", "s", "*", "x")
                + resp.command("append", "s", "any", "x", "5", "", "") + resp.command("xadd", "", "*", "x", "d")
                + resp.command("xadd", "s", "MAXLEN", "~", 1000, "*", "x", "6") * 2 + resp.command("xlen", "s"))
    client.recv_exactly(b"".join(id_reply(NOW, i) for i in range(3)) + OK + id_reply(NOW, 4))
    assert client.value().args[0].startswith("ERR wrong number of arguments for 'xadd' command; usage: xadd key [NOMK")
    assert client.value() == [[5, 5]]
    assert client.value().args[0] == "ERR a key is at least one byte, found an empty one"
    assert [client.value() for _ in range(3)] == [b"%d-6" % NOW, b"%d-7" % NOW, 8]
    assert numbers(serving, "s") == list(range(8))


def test_entries_of_a_pipeline_are_stored_up_to_one_that_is_refused_and_behind_it(client, serving):
    serving.store.append("gone", "x", b"")
    serving.store.delete("gone", forever=True)
    client.send(b"".join(resp.command("xadd", key, "*", "x", "d") for key in ("s", "gone", "s")))
    client.recv_exactly(id_reply(NOW, 0) + b"-DELETED stream 'gone' was deleted for good; nothing was stored\r\n"
                        + id_reply(NOW, 1))
    assert client.error("xadd", "gone", "*", "x", "d", "y", "").startswith("DELETED")
    assert client.error("xadd", "gone", "5-1", "x", "d").startswith("DELETED")
    assert client.error("xadd", "gone", "MINID", 5, "*", "x", "d").startswith("DELETED")


def test_ids_do_not_go_back_with_the_clock(client, clock):
    assert client.ask("xadd", "s", "*", "x", "") == b"%d-0" % NOW
    clock.ms -= 5000
    assert client.ask("xadd", "s", "*", "x", "") == b"%d-1" % NOW
    clock.ms += 5001
    assert client.ask("xadd", "s", "*", "x", "") == b"%d-2" % (NOW + 1)


def test_entries_that_the_disk_has_no_room_for_are_refused(tmp_path):
    disk = Disk()
    with Serving(tmp_path / "db", files=disk) as serving:
        client = serving.connect()
        for request in (["*"], ["MINID", "1", "*"], ["1-1"]):
            disk.refuse("write", 28)
            assert client.error("xadd", "s", *request, "x", "d").startswith("STOREFULL")
        assert events_of(serving, "s") == []


@pytest.mark.parametrize("arguments, why", [
    (["s"], "ERR wrong number of arguments for 'xadd' command"),
    (["s", "*"], "ERR wrong number of arguments for 'xadd' command"),
    (["s", "*", "f", "v", "g"], "ERR wrong number of arguments for 'xadd' command"),
    (["s", "MAXLEN", "5", "NOMKSTREAM"], "ERR wrong number of arguments for 'xadd' command"),
    (["s", "x", "f", "v"], "ERR Invalid stream ID specified as stream command argument"),
    (["s", "1-1-*", "f", "v"], "ERR Invalid stream ID specified as stream command argument"),
    (["s", "0-0", "f", "v"], "ERR The ID specified in XADD must be greater than 0-0"),
    (["s", "0", "f", "v"], "ERR The ID specified in XADD must be greater than 0-0"),
    (["s", "*", "", "v"], "ERR the first field is the event's name: event name is empty"),
    (["s", "*", "a\nb", "v"], "ERR the first field is the event's name: event name has no CR, LF or NUL"),
    (["s", "*", b"\xff", "v", "g", "w"], "ERR the first field is the event's name: event name is UTF-8"),
    (["s", "*", "f", "v" * 101], "ERR the first value has 101 bytes, expected no more than 100"),
    (["s", "*", "f", "v", "g", "w" * 60], "ERR the fields and values behind the first take 85 bytes, expected no more "
     "than 50"),
    (["s", "MAXLEN", "-1", "*", "f", "v"], "ERR The MAXLEN argument must be >= 0."),
    (["s", "MAXLEN", "x", "*", "f", "v"], "ERR value is not an integer or out of range"),
    (["s", "MAXLEN", "9223372036854775808", "*", "f", "v"], "ERR value is not an integer or out of range"),
    (["s", "MINID", "x", "*", "f", "v"], "ERR Invalid stream ID specified as stream command argument"),
    (["s", "MAXLEN", "5", "MINID", "5", "*", "f", "v"], "ERR syntax error, MAXLEN and MINID options at the same time "
     "are not compatible"),
    (["s", "MAXLEN", "5", "LIMIT", "5", "*", "f", "v"], "ERR syntax error, LIMIT cannot be used without the special ~"),
    (["s", "LIMIT", "5", "*", "f", "v"], "ERR syntax error, LIMIT cannot be used without specifying a trimming"),
    (["s", "LIMIT", "-5", "*", "f", "v"], "ERR The LIMIT argument must be >= 0."),
])
def test_what_is_wrong_is_said_and_nothing_is_stored(tmp_path, arguments, why):
    with Serving(tmp_path / "db", max_event_size=100, max_metadata_size=50) as serving:
        client = serving.connect()
        assert client.error("xadd", *arguments).startswith(why)
        client.send(resp.command("xadd", *arguments) + resp.command("xadd", "t", "*", "x", "d"))
        assert client.value().args[0].startswith(why)
        assert client.value().endswith(b"-0")
        assert serving.store.names() == [b"t"]


def test_without_a_stream_nomkstream_stores_nothing(client, serving):
    assert client.ask("xadd", "s", "nomkstream", "*", "x", "d") is None
    client.ask("hello", 3)
    client.command("xadd", "s", "NOMKSTREAM", "*", "x", "d")
    client.recv_exactly(b"_\r\n")
    assert serving.store.names() == []
    serving.store.group_create("g@s", "s")
    assert client.ask("xadd", "s", "NOMKSTREAM", "*", "x", "d") == b"%d-0" % NOW
    assert client.ask("xadd", "s", "NOMKSTREAM", "*", "x", "d") == b"%d-1" % NOW


# -- ids of the client's ---------------------------------------------------------

def test_an_id_of_the_client_s_is_the_time_and_the_next_number(client, serving):
    assert client.ask("xadd", "s", "5-0", "x", "") == b"5-0"
    assert client.ask("xadd", "s", "5-1", "x", "") == b"5-1"
    assert client.ask("xadd", "s", "7-*", "x", "") == b"7-2"
    assert [(one.number, one.time) for one in events_of(serving, "s")] == [(0, 5000), (1, 5000), (2, 7000)]
    assert client.ask("xadd", "s", "*", "x", "") == b"%d-3" % NOW
    before = client.ask("xlen", "s")
    smaller = "ERR The ID specified in XADD is equal or smaller than the target stream top item"
    for id_ in ("8-4", "7-*", "9", "%d-3" % NOW, "%d-2" % (NOW + 1)):
        assert client.error("xadd", "s", id_, "x", "") == smaller
    assert client.error("xadd", "s", "%d-5" % NOW, "x", "") == (
        "ERR the sequence of an explicit ID is the event's number, which is 4 now; found 5, nothing was stored")
    assert client.error("xadd", "s", "%d-4" % (NOW + 60_001), "x", "") == (
        f"ERR the time of the ID is {NOW + 60_001} ms, which is ahead of the server's clock, {NOW}; nothing was stored")
    assert client.ask("xlen", "s") == before
    assert client.ask("xadd", "s", "%d-4" % (NOW + 59_000), "x", "") == b"%d-4" % (NOW + 59_000)
    assert client.ask("xadd", "s", "*", "x", "") == b"%d-5" % (NOW + 59_000)


def test_a_stream_without_events_begins_where_an_id_says(client, serving):
    assert client.ask("xadd", "s", "0-1", "x", "") == b"0-1"
    assert client.ask("xadd", "s", "0-*", "x", "") == b"0-2"
    assert client.ask("xadd", "t", "0-*", "x", "") == b"0-1"
    assert client.ask("xadd", "u", "1-1000", "x", "") == b"1-1000"
    assert [client.ask("xlen", key) for key in "stu"] == [2, 1, 1]
    assert numbers(serving, "u") == [1000]
    client.ask("del", "s")
    assert client.error("xadd", "s", "9-2", "x", "").startswith("ERR The ID specified in XADD is equal or smaller")
    assert client.ask("xadd", "s", "9-7", "x", "") == b"9-7"
    assert client.error("xadd", "v", "1-%d" % (2**32 + 1), "x", "").startswith(
        "ERR the sequence of an ID is the event's number: stream 'v' is to go on from 4294967297")


def test_where_there_is_a_chain_of_digests_few_numbers_are_given_up(tmp_path):
    Store(tmp_path / "db", hash_chain=True).close()
    with Serving(tmp_path / "db") as serving:
        client = serving.connect()
        assert client.error("xadd", "s", "1-4000000000", "x", "") == (
            "ERR 4000000000 numbers would be given up, expected no more than 1000, for the chain of digests has each "
            "of them; nothing was stored")
        assert serving.store.position == 0
        assert client.ask("xadd", "s", "1-1000", "x", "") == b"1-1000"
        serving.store.sync()
        assert serving.store.length("s") == 1


def test_an_id_goes_behind_events_that_were_trimmed(client):
    client.ask("xadd", "s", "5-1", "x", "")
    client.ask("xtrim", "s", "MAXLEN", 0)
    assert client.error("xadd", "s", "9-1", "x", "").startswith("ERR The ID specified in XADD is equal or smaller")
    assert client.ask("xadd", "s", "9-2", "x", "") == b"9-2"


def test_of_those_who_want_the_same_id_one_gets_it(serving):
    serving.store.append("s", "x", b"")
    answers = []

    def add(client):
        for seq in range(1, 20):
            answers.append(client.ask("xadd", "s", "%d-%d" % (NOW, seq), "x", ""))

    threads = [threading.Thread(target=add, args=(serving.connect(),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer for answer in answers if type(answer) is bytes) == sorted(
        b"%d-%d" % (NOW, seq) for seq in range(1, 20))
    assert numbers(serving, "s") == list(range(20))


def test_an_id_is_given_up_where_others_append_all_the_time(serving, client, monkeypatch):
    numbers = itertools.count(7)
    monkeypatch.setattr(adding, "_append_as", lambda store, events, ids: Append(
        [(events[0][0], next(numbers), *events[0][2:])], [5000]))
    assert client.error("xadd", "s", "5-*", "x", "").startswith("ERR others append to the stream all the time")


# -- trimming ----------------------------------------------------------------------

def test_a_stream_keeps_the_last_so_many(client, serving):
    client.send(resp.command("xadd", "s", "MAXLEN", 3, "*", "x", "d") * 5
                + resp.command("xadd", "t", "MAXLEN", "=", 0, "*", "x", "d"))
    assert [client.value() for _ in range(6)][4:] == [b"%d-4" % NOW, b"%d-0" % NOW]
    assert (numbers(serving, "s"), numbers(serving, "t")) == ([2, 3, 4], [])
    assert [client.ask("xlen", key) for key in "st"] == [3, 0]


def some_pipelines(seed):
    """Pipelines of entries, most of which are alike for a while, some refused."""
    chosen = random.Random(seed)
    found = []
    for _ in range(40):
        key, field = chosen.choice(["s", "s", "t", "gone"]), chosen.choice(["a", "a", "b", "b\r"])
        trims = ("maxlen", chosen.randint(0, 9)), ("maxlen", "~", 3), ("minid", 5), ("odd",)
        options, id_ = chosen.choice([()] * 4 + [*trims]), chosen.choice(["*"] * 6 + ["5-*"])
        more = chosen.choice([()] * 4 + [("c", "2")])
        found.append([("xadd", key, *options, id_, field, str(chosen.randrange(200)), *more)
                      for _ in range(chosen.choice([1, 2, 30]))])
        if chosen.random() < 0.3:
            found.append([found[-1][0], chosen.choice([("publish", "s", "x", "1"), ("xlen", "s")]), found[-1][0]])
    return found


@pytest.mark.parametrize("seed", range(3))
def test_entries_that_are_alike_are_stored_and_answered_as_each_by_itself(tmp_path, monkeypatch, clock, seed):
    told = []
    for alike in True, False:
        if not alike:
            monkeypatch.setattr(adding, "_are_alike", lambda commands: False)
        with Serving(tmp_path / str(alike), clock=clock) as serving:
            client = serving.connect()
            client.ask("publish", "gone", "x", "1"), client.ask("delete", "gone", "forever")
            replies = []
            for pipeline in some_pipelines(seed):
                client.send(b"".join([resp.command(*map(str, one)) for one in pipeline]))
                replies += [repr(client.value()) for _ in pipeline]
            told.append((replies, client.ask("xrange", "s", "-", "+"), client.ask("xrange", "t", "-", "+")))
    assert told[0] == told[1]
    assert len(told[0][0]) > 300 and any("DELETED" in reply for reply in told[0][0])


def test_each_entry_of_a_pipeline_trims_by_its_own_measure(client, serving):
    client.send(resp.command("xadd", "s", "*", "x", "d") * 5 + resp.command("xadd", "s", "MAXLEN", 2, "*", "x", "d")
                + resp.command("xadd", "s", "MAXLEN", 9, "*", "x", "d") + resp.command("xadd", "s", "*", "x", "d"))
    for _ in range(8):
        client.value()
    assert numbers(serving, "s") == [4, 5, 6, 7]


def test_who_follows_a_stream_gets_what_is_trimmed_in_the_moment_that_it_comes(client, serving):
    follower = serving.connect()
    follower.command("subscribe", "s:0")
    follower.recv_exactly(subscribed("s"))
    client.send(resp.command("xadd", "s", "MAXLEN", 1, "*", "x", "d") * 50)
    follower.recv_exactly(b"".join(event("s", number, "x", "d") for number in range(50)))
    assert [client.value() for _ in range(50)] and numbers(serving, "s") == [49]


def test_an_entry_is_answered_though_its_stream_can_not_be_trimmed(client, serving, monkeypatch, caplog):
    def fail(stream, number):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(serving.store, "trim", fail)
    assert client.ask("xadd", "s", "MAXLEN", 0, "*", "x", "d") == b"%d-0" % NOW
    assert client.ask("xlen", "s") == 1 and "a stream wasn't trimmed" in caplog.text


def test_redacted_entries_are_not_among_those_that_are_kept(client, serving):
    client.send(resp.command("xadd", "s", "*", "x", "d") * 6)
    assert [client.value() for _ in range(6)]
    assert client.ask("xdel", "s", *["%d-%d" % (NOW, number) for number in (2, 4)]) == 2
    client.ask("xadd", "s", "MAXLEN", 3, "*", "x", "d")
    assert client.ask("xlen", "s") == 3
    assert numbers(serving, "s") == [3, 4, 5, 6]


def test_about_so_many_are_trimmed_when_it_is_worth_it(client, serving):
    client.send(resp.command("xadd", "s", "MAXLEN", "~", 10, "*", "x", "d") * 109)
    assert [client.value() for _ in range(109)]
    assert len(numbers(serving, "s")) == 109
    client.ask("xadd", "s", "MAXLEN", "~", 10, "LIMIT", 60, "*", "x", "d")
    assert len(numbers(serving, "s")) == 50
    client.send(resp.command("xadd", "s", "MAXLEN", "~", 10, "LIMIT", 0, "*", "x", "d") * 60)
    assert [client.value() for _ in range(60)]
    assert len(numbers(serving, "s")) == 10


def test_an_entry_trims_its_stream_up_to_an_id(client, serving, clock):
    for _ in range(4):
        client.ask("xadd", "s", "*", "x", "d")
        clock.ms += 10
    assert client.ask("xadd", "s", "MINID", NOW + 15, "*", "x", "d") == b"%d-4" % (NOW + 40)
    assert numbers(serving, "s") == [2, 3, 4]
    client.ask("xadd", "s", "MINID", "~", NOW + 35, "*", "x", "d")
    assert numbers(serving, "s") == [2, 3, 4, 5]
    client.ask("xadd", "s", "MINID", "=", "%d-%d" % (NOW + 999, 9), "*", "x", "d")
    assert numbers(serving, "s") == []


def test_who_may_not_cut_streams_may_not_trim_them(tmp_path):
    path = str(tmp_path / "users")
    create(path)
    users = Users(path, Cost(2, 8, 1))
    users.change("ann", ["on", ">word", "+@append", "~s*"])
    users.change("eve", ["on", ">word", "+@append", "~*"])
    with Serving(tmp_path / "db", users=users) as serving:
        for name in ("ann", "eve"):
            client = serving.connect()
            client.ask("auth", name, "word")
            assert client.ask("xadd", "s", "*", "x", "d", "y", "e").endswith(b"-%d" % (name == "eve"))
            for option in ("MAXLEN", "MINID"):
                assert client.error("xadd", "s", option, 0, "*", "x", "d").startswith(
                    f"NOPERM User {name} has no permissions to run the 'xadd with MAXLEN or MINID' command")
        client = serving.connect()
        client.ask("auth", "ann", "word")
        client.send(b"".join(resp.command("xadd", key, "*", "x", "d") for key in ("s", "t", "s", "")))
        assert client.value().endswith(b"-2")
        assert client.value().args[0].startswith("NOPERM No permissions to access a key: user ann may not append to "
                                                 "stream 't'")
        assert client.value().endswith(b"-3")
        assert client.value().args[0].startswith("ERR a key is at least one byte")
        assert numbers(serving, "s") == [0, 1, 2, 3]


def test_what_was_acknowledged_and_trimmed_is_so_after_a_crash(server, tmp_path):
    running = server()
    client = Client("127.0.0.1", running.port)
    client.send(resp.command("xadd", "s", "MAXLEN", "5", "*", "x", "d") * 500
                + resp.command("xtrim", "s", "MAXLEN", "2"))
    assert [client.value() for _ in range(501)][-1] == 3
    client.close()
    running.kill()
    with Store(tmp_path / "db") as store:
        assert [event.number for event in store.read("s")] == [498, 499]


def test_what_an_entry_trimmed_is_in_the_log_soon(client, serving):
    client.ask("xadd", "s", "MAXLEN", 0, "*", "x", "d")
    eventually(lambda: serving.store.entries("cut"))
