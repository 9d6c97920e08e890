"""server/appending.py: the append command, alone and in pipelines with publishes and others."""

import errno

import pytest
from disk import Disk
from serving import OK, Serving, event, eventually, last_number, publish, subscribed

import resp


@pytest.fixture
def serving(tmp_path):
    with Serving(tmp_path / "db") as one:
        yield one


@pytest.fixture
def client3(serving):
    one = serving.connect()
    one.ask("hello", 3)
    return one


def appended(*places):
    """The reply that says where events are."""
    return b"*%d\r\n" % len(places) + b"".join([b"*2\r\n:%d\r\n:%d\r\n" % place for place in places])


def append(stream, data, expected="any", name="x", id="", metadata=""):
    return resp.command("append", stream, expected, name, data, id, metadata)


def recorded(client, count):
    """[(stream, number, data, id, metadata)] of the first events there are."""
    client.command("follow", "$all", 0, "TO", count)
    assert client.value()[0] == b"subscribed"
    events = [client.value() for _ in range(count)]
    return [(one[2], one[3], one[5], one[6], one[7]) for one in events]


def test_an_append_is_answered_with_number_and_position_of_each_event(client, client3):
    assert client.ask("append", "s", "none", "x", "one", "id-1", "{}") == [[0, 0]]
    assert client3.ask("append", "t", "none", "x", "two", "", "", "s", 0, "y", "three", "", "m") == [[0, 1], [1, 2]]
    assert recorded(client, 3) == [(b"s", 0, b"one", b"id-1", b"{}"), (b"t", 0, b"two", b"", b""),
                                   (b"s", 1, b"three", b"", b"m")]


@pytest.mark.parametrize("count, expected, why", [
    (0, "exists", "expected an event, found no event"), (0, 0, "expected event 0 as its last one, found no event"),
    (2, "none", "expected no event, found event 1"), (2, "NONE", "expected no event, found event 1"),
    (2, 2**64 - 1, "expected event 18446744073709551615 as its last one, found event 1")])
def test_a_wrong_expectation_says_what_was_found_and_stores_nothing(client, client3, count, expected, why):
    for _ in range(count):
        client.ask("publish", "s", "x", "d")
    for one in client, client3:
        assert one.error("append", "t", "any", "x", "d", "", "", "s", expected, "x", "d", "", "") == \
            f"WRONGVERSION stream 's': {why}; nothing was stored"
    assert client.ask("last-event-number", "s")[2] == (count - 1 if count else None)
    assert client.ask("last-event-number", "t")[2] is None


@pytest.mark.parametrize("expected", ["any", "ANY", "exists", "Exists", "1", "0001", 1])
def test_what_is_as_expected_is_stored(client, expected):
    client.ask("publish", "s", "x", "0")
    client.ask("publish", "s", "x", "1")
    assert client.ask("APPEND", "s", expected, "x", "d", "", "") == [[2, 2]]


@pytest.mark.parametrize("fields, why", [
    (["a:b", "any", "x", "d", "", ""], "a stream name has no ':', found 'a:b'"),
    (["$all", "any", "x", "d", "", ""], "$all is every stream, and can't be appended to"),
    (["s", "any", "", "d", "", ""], "event name is empty"),
    (["s", "new", "x", "d", "", ""], "EXPECTED is 'new', expected any, none, exists or a number from 0 to "
     "18446744073709551615"),
    (["s", 2**64, "x", "d", "", ""], "EXPECTED is '18446744073709551616', expected any, none, exists or a number "
     "from 0 to 18446744073709551615"),
    (["s", "-1", "x", "d", "", ""], "EXPECTED is '-1', expected any, none, exists or a number from 0 to "
     "18446744073709551615"),
    (["s", "", "x", "d", "", ""], "EXPECTED is '', expected any, none, exists or a number from 0 to "
     "18446744073709551615"),
    (["s", "any", "x", b"d" * 101, "", ""], "data of 101 bytes, expected no more than 100"),
    (["s", "any", "x", "d", b"i" * 65536, ""], "an id of 65536 bytes, expected no more than 65535"),
    (["s", "any", "x", "d", "", b"m" * 31], "metadata of 31 bytes, expected no more than 30"),
])
def test_a_wrong_field_is_refused_by_its_place_and_stores_nothing(tmp_path, fields, why):
    with Serving(tmp_path / "db", max_event_size=100, max_metadata_size=30) as serving:
        client = serving.connect()
        assert client.error("append", *fields) == f"ERR {why}"
        good = ["s", "any", "x", b"d" * 100, b"i" * 65535, b"m" * 30]
        assert client.error("append", *good, *fields, *good) == f"ERR event 1 of the append: {why}"
        assert serving.store.position == 0
        assert client.ask("append", *good) == [[0, 0]]


@pytest.mark.parametrize("count", [0, 1, 5, 7, 11])
def test_fields_that_are_no_whole_events_are_refused_and_usage_is_told(client, count):
    assert client.error("append", *["s"] * count).startswith(
        "ERR wrong number of arguments for 'append' command; usage: append stream expected name data id metadata [")


def test_publishes_and_appends_of_a_pipeline_take_their_numbers_in_order_in_one_write(tmp_path):
    disk = Disk()
    with Serving(tmp_path / "db", files=disk) as serving:
        client = serving.connect()
        del disk.calls[:]
        client.send(publish("s", "0") + append("s", "1", expected=0) + publish("s", "2") + append("s", "x", expected=0)
                    + append("s", "3", id="i") + publish("t", "0"))
        client.recv_exactly(
            OK + appended((1, 1)) + OK + b"-WRONGVERSION stream 's': expected event 0 as its last one, found event 2; "
            b"nothing was stored\r\n" + appended((3, 3)) + OK)
        assert [verb for verb, _ in disk.calls] == ["write"]
        assert recorded(client, 5) == [(b"s", 0, b"0", b"", b""), (b"s", 1, b"1", b"", b""), (b"s", 2, b"2", b"", b""),
                                       (b"s", 3, b"3", b"i", b""), (b"t", 0, b"0", b"", b"")]
        eventually(lambda: serving.poller.published == 5)


def test_other_commands_between_appends_are_answered_in_their_turn(client):
    client.send(append("s", "0") + resp.command("last-event-number", "s") + append("s", "1") + resp.command("append")
                + append("s", "2", expected="nonsense") + append("s", "3") + resp.command("last-event-number", "s"))
    client.recv_exactly(appended((0, 0)) + last_number("s", 0) + appended((1, 1)))
    assert client.value().args[0].startswith("ERR wrong number of arguments")
    assert client.value().args[0].startswith("ERR EXPECTED is 'nonsense'")
    assert [client.value(), client.value()] == [[[2, 2]], [b"last-event-number", b"s", 2]]


def test_appends_that_are_all_refused_write_nothing_and_serve_nobody(serving, client):
    client.command("subscribe", "$all:0")
    client.recv_exactly(subscribed("$all"))
    client.send(append("s", "0", expected=3) * 2)
    for _ in range(2):
        assert client.value().args[0].startswith("WRONGVERSION ")
    client.send(append("s", "1"))
    found = client.recv_count(len(appended((0, 0)) + event("s", 0, "x", "1")))
    assert sorted([found.find(appended((0, 0))), found.find(event("s", 0, "x", "1"))])[0] == 0
    eventually(lambda: serving.poller.published == 1)


def test_followers_get_an_append_of_several_streams_in_order(client):
    client.send(resp.command("subscribe", "$all:0") + resp.command(
        "append", "s", "any", "x", "0", "", "", "t", "any", "x", b"1" * 5000, "", "", "s", "any", "x", "2", "", ""))
    client.recv_exactly(subscribed("$all"))
    values = [client.value() for _ in range(4)]
    assert [[0, 0], [0, 1], [1, 2]] in values
    assert [one[1:4:2] + one[4:] for one in values if one[0] == b"event"] == [
        [b"s", b"x", b"0"], [b"t", b"x", b"1" * 5000], [b"s", b"x", b"2"]]


def test_a_store_without_room_refuses_publishes_and_appends_alike(tmp_path):
    disk = Disk()
    with Serving(tmp_path / "db", files=disk) as serving:
        client = serving.connect()
        disk.refuse("write", errno.ENOSPC)
        client.send(publish("s", "0") * 2 + append("s", "1") + append("s", "x", expected=7) + publish("s", "2"))
        for _ in range(5):
            assert client.value().args[0].startswith("STOREFULL ")
        assert client.ask("append", "s", "none", "x", "0", "", "") == [[0, 0]]
        eventually(lambda: serving.poller.published == 1)


def test_appends_of_a_pipeline_are_answered_as_those_that_come_alone(tmp_path):
    commands = [append(f"s{i % 3}", data, expected, name, id, metadata)
                for i, (data, expected, name, id, metadata) in enumerate([
                    ("one", "any", "x", "", ""), ("a\r\nb", "none", "x", "", ""), ("x" * 1500, "NONE", "x", "i", "m"),
                    ("two", 0, "x", "i", ""), ("two", 0, "x", "i", ""), ("three", "exists", "x", "i", "m"),
                    ("four", "any", "bad\nname", "", ""), ("five", "none", "y", "", ""), ("six", "newest", "y", "", ""),
                    ("x" * 3001, "any", "y", "", ""), ("seven", "any", "y", "", "m" * 301), ("eight", 1, "y", "", ""),
                    ("nine", "any", "y", "i" * 65_536, "")])]
    replies = []
    for at_once in (True, False):
        with Serving(tmp_path / f"{at_once}", max_event_size=3000, max_metadata_size=300) as serving:
            client = serving.connect()
            if at_once:
                client.send(b"".join(commands))
                replies.append([client.value() for _ in commands])
            else:
                replies.append([])
                for command in commands:
                    client.send(command)
                    replies[-1].append(client.value())
            assert serving.poller.published == serving.store.position
    assert replies[0] == replies[1]
    assert sum(type(reply) is list for reply in replies[0]) == 5


# -- several at once ----------------------------------------------------------------------

def all_at_once(serving, requests):
    """The values that answer [what each connection sends], which are sent before any answer is read."""
    clients = [serving.connect() for _ in requests]
    for client, some in zip(clients, requests):
        client.send(b"".join(some))
    return [[client.value() for _ in some] for client, some in zip(clients, requests)]


def test_the_same_ids_from_several_connections_at_once_are_stored_once(serving):
    ids = list(range(60))
    orders = [ids, ids[::-1], ids[30:] + ids[:30], ids * 2]
    answers = all_at_once(serving, [[append("s", f"data {i}", id=f"id-{i}") for i in order] for order in orders])
    places = dict(zip(orders[0], answers[0]))
    for order, some in zip(orders, answers):
        assert some == [places[i] for i in order]
    assert serving.store.position == len(ids)
    assert sorted(place for [place] in places.values()) == [[i, i] for i in ids]


def test_of_those_who_expect_the_same_at_once_one_is_let_through_each_time(serving):
    requests = [[append("s", f"{who}", expected="none" if i == 0 else i - 1) for i in range(20)] for who in range(4)]
    answers = all_at_once(serving, requests)
    for i in range(20):
        through = [who for who in range(4) if isinstance(answers[who][i], list)]
        refused = [answers[who][i].code for who in range(4) if who not in through]
        assert len(through) <= 1 and set(refused) <= {"WRONGVERSION"}
    stored = [one for some in answers for one in some if isinstance(one, list)]
    assert sorted(stored) == [[[i, i]] for i in range(serving.store.position)] != []
