"""server/xread.py: XRANGE, XREVRANGE and XREAD, over the wire."""

import threading

import pytest
from conftest import SECONDS
from serving import Serving, eventually

import resp
from server import xread
from store.record import REDACTED

MS = 1_700_000_000_000


class Clock:
    """Stands at MS milliseconds until it is set."""

    def __init__(self):
        self.ms = MS

    def __call__(self):
        return self.ms * 1000


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def serving(tmp_path, clock):
    with Serving(tmp_path / "db", clock=clock) as serving:
        yield serving


@pytest.fixture
def client(serving):
    return serving.connect()


def fill(serving, clock, stream="s", count=5):
    """Events 0, 1, … of which event n is of MS + 10 * (n // 2): two of them share each time."""
    for number in range(count):
        clock.ms = MS + 10 * (number // 2)
        serving.store.append(stream, "n%d" % number, b"%d" % number)


def id_of(number):
    return b"%d-%d" % (MS + 10 * (number // 2), number)


def entry_of(number):
    return [id_of(number), [b"n%d" % number, b"%d" % number]]


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A server with the stream `s` of five events, for tests that change nothing."""
    clock = Clock()
    with Serving(tmp_path_factory.mktemp("shared") / "db", clock=clock) as serving:
        fill(serving, clock)
        yield serving


@pytest.fixture
def reader(shared):
    return shared.connect()


def numbers(reply):
    return [int(id_.partition(b"-")[2]) for id_, _ in reply]


# -- XRANGE, XREVRANGE ---------------------------------------------------------------------

@pytest.mark.parametrize("words, found", [
    ("- +", [0, 1, 2, 3, 4]),
    (f"{MS} {MS}", [0, 1]),
    (f"{MS + 1} +", [2, 3, 4]),
    (f"- {MS + 10}", [0, 1, 2, 3]),
    (f"- {MS + 9}", [0, 1]),
    (f"{MS}-1 {MS + 10}-2", [1, 2]),
    (f"({MS}-1 +", [2, 3, 4]),
    (f"({MS}-0 ({MS + 10}-3", [1, 2]),
    (f"{MS + 10}-0 +", [2, 3, 4]),
    (f"{MS + 10}-99 +", [4]),
    (f"{MS + 20}-5 +", []),
    ("+ -", []),
    ("0-1 1-0", []),
    ("- + COUNT 2", [0, 1]),
    (f"{MS}-1 + count 2", [1, 2]),
    ("- + COUNT 99 COUNT 1", [0]),
])
def test_a_range_has_the_entries_between_two_ids_and_backwards_it_has_the_last_first(reader, words, found):
    start, end, *count = words.split()
    assert reader.ask("xrange", "s", start, end, *count) == [entry_of(number) for number in found]
    if not count:
        assert reader.ask("XREVRANGE", "s", end, start) == [entry_of(number) for number in found[::-1]]


def test_a_range_backwards_is_counted_from_its_end(reader):
    assert numbers(reader.ask("xrevrange", "s", "+", "-", "COUNT", "2")) == [4, 3]
    assert numbers(reader.ask("xrevrange", "s", b"(" + id_of(3), "-", "COUNT", "2")) == [2, 1]


@pytest.mark.parametrize("count", ["0", "-1", "-9223372036854775808"])
def test_a_range_of_no_entries_is_nothing_and_of_no_stream_an_empty_one(reader, count):
    reader.command("xrange", "s", "-", "+", "COUNT", count)
    reader.recv_exactly(b"*-1\r\n")
    reader.command("xrange", "absent", "-", "+", "COUNT", count)
    reader.recv_exactly(b"*0\r\n")
    reader.ask("hello", "3")
    reader.command("xrevrange", "s", "-", "+", "COUNT", count)
    reader.recv_exactly(b"_\r\n")


@pytest.mark.parametrize("words, why", [
    ("xrange s x +", "ERR Invalid stream ID specified as stream command argument"),
    ("xrange s - 5-*", "ERR Invalid stream ID specified as stream command argument"),
    ("xrange s (- +", "ERR Invalid stream ID specified as stream command argument"),
    ("xrange s (18446744073709551615-18446744073709551615 +", "ERR invalid start ID for the interval"),
    ("xrange s - (0-0", "ERR invalid end ID for the interval"),
    ("xrange s - + COUNT x", "ERR value is not an integer or out of range"),
    ("xrange s - + COUNT 9223372036854775808", "ERR value is not an integer or out of range"),
    ("xrange s - + COUNT", "ERR syntax error"),
    ("xrange s - + LIMIT 5", "ERR syntax error"),
    ("xrange s -", "ERR wrong number of arguments for 'xrange' command"),
    ("xread STREAMS s", "ERR wrong number of arguments for 'xread' command"),
    ("xread COUNT 1 STREAMS", "ERR syntax error"),
    ("xread STREAMS s 0 t", "ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be"),
    ("xread STREAMS s >", "ERR The > ID can be specified only when calling XREADGROUP"),
    ("xread STREAMS s +", "ERR Invalid stream ID specified as stream command argument"),
    ("xread STREAMS s -", "ERR Invalid stream ID specified as stream command argument"),
    ("xread BLOCK x STREAMS s 0", "ERR timeout is not an integer or out of range"),
    ("xread BLOCK -1 STREAMS s 0", "ERR timeout is negative"),
    ("xread COUNT x STREAMS s 0", "ERR value is not an integer or out of range"),
    ("xread GROUP g c STREAMS s 0", "ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead."),
    ("xread NOACK STREAMS s 0", "ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead."),
    ("xread s 0 STREAMS t", "ERR syntax error"),
])
def test_what_is_wrong_with_a_request_is_said_in_redis_words(reader, words, why):
    assert reader.error(*words.split()).startswith(why)


def test_keys_with_colons_and_bytes_are_streams_by_their_escaped_names(serving, client, clock):
    serving.store.append("orders%3A1%FF", "n", b"1")
    assert client.ask("xrange", b"orders:1\xff", "-", "+") == [[id_of(0), [b"n", b"1"]]]
    assert client.ask("xread", "STREAMS", b"orders:1\xff", "0") == [[b"orders:1\xff", [[id_of(0), [b"n", b"1"]]]]]


def test_entries_have_all_their_fields_and_redacted_ones_are_absent(serving, client, clock):
    fill(serving, clock, count=3)
    more = b"fields:" + resp.array([resp.bulk(b"b"), resp.bulk(b"2")])
    serving.store.append("s", "a", b"1", metadata=more)
    serving.store.append("s", "a", b"1", metadata=b"about something else")
    serving.store.redact("s", 1)
    assert [fields for _, fields in client.ask("xrange", "s", "-", "+")] == [
        [b"n0", b"0"], [b"n2", b"2"], [b"a", b"1", b"b", b"2"], [b"a", b"1"]]
    assert numbers(client.ask("xrange", "s", "-", "+", "COUNT", "2")) == [0, 2]
    assert numbers(client.ask("xrevrange", "s", "+", "-", "COUNT", "4")) == [4, 3, 2, 0]
    assert numbers(client.ask("xread", "COUNT", "1", "STREAMS", "s", id_of(0))[0][1]) == [2]
    assert REDACTED not in repr(client.ask("xrange", "s", "-", "+")).encode()


def test_a_stream_that_was_cut_begins_where_readers_see_it(serving, client, clock):
    fill(serving, clock)
    serving.store.truncate("s", 3)
    assert numbers(client.ask("xrange", "s", "-", "+")) == [3, 4]
    assert numbers(client.ask("xrange", "s", id_of(1), "+")) == [3, 4]
    assert numbers(client.ask("xrevrange", "s", "+", id_of(1))) == [4, 3]
    assert numbers(client.ask("xread", "STREAMS", "s", id_of(0))[0][1]) == [3, 4]
    assert client.ask("xrange", "s", "-", id_of(2)) == []


def test_going_on_from_each_id_passes_over_nothing_though_the_clock_went_back(serving, client, clock):
    for ms in (50, 60, 40, 40, 70, 10, 80):
        clock.ms = MS + ms
        serving.store.append("s", "n", b"")
    for start, words in (("-", ("xrange", "s")), ("0", None)):
        found = []
        while True:
            if words:
                reply = client.ask(*words, start if start == "-" else b"(" + start, "+", "COUNT", "1")
            else:
                reply = (client.ask("xread", "COUNT", "1", "STREAMS", "s", start) or [[b"s", []]])[0][1]
            if not reply:
                break
            start = reply[0][0]
            found += numbers(reply)
        assert found == list(range(7))


def test_a_long_stream_is_read_page_by_page_into_one_reply(serving, client, clock):
    serving.store.append_many("s", [("n", bytes(1000))] * 3000)
    reply = client.ask("xrange", "s", "-", "+")
    assert numbers(reply) == list(range(3000)) and all(fields == [b"n", bytes(1000)] for _, fields in reply)
    assert numbers(client.ask("xrevrange", "s", "+", "-", "COUNT", "2500")) == list(range(2999, 499, -1))
    assert numbers(client.ask("xread", "STREAMS", "s", "0")[0][1]) == list(range(3000))


def test_a_reply_that_is_too_long_is_refused_and_says_how_to_have_it_in_parts(serving, client, clock, monkeypatch):
    monkeypatch.setattr(xread, "MOST_BYTES", 1 << 20)
    serving.store.append_many("s", [("n", bytes(1000))] * 1500)
    assert "read it in parts: with COUNT" in client.error("xrange", "s", "-", "+")
    assert "read it in parts: with COUNT" in client.error("xread", "STREAMS", "s", "0")
    assert numbers(client.ask("xrange", "s", "-", "+", "COUNT", "900")) == list(range(900))


# -- XREAD ---------------------------------------------------------------------------------

def test_a_read_has_what_is_behind_the_ids_of_each_stream_that_has_something(serving, client, clock):
    fill(serving, clock, "a", 3)
    fill(serving, clock, "b", 2)
    ask = ("xread", "COUNT", "2", "streams", "a", "none", "b", "a", "0", "0", id_of(0), "$")
    assert client.ask(*ask) == [[b"a", [entry_of(0), entry_of(1)]], [b"b", [entry_of(1)]]]
    assert client.ask("xread", "COUNT", "0", "STREAMS", "a", "0")[0][1] == [entry_of(i) for i in range(3)]
    client.command("xread", "STREAMS", "a", "none", id_of(2), "0")
    client.recv_exactly(b"*-1\r\n")


@pytest.mark.parametrize("id_", ["99999999999999", f"{MS + 20}-99", "18446744073709551615-18446744073709551615"])
def test_there_is_nothing_behind_an_id_that_is_to_come(reader, id_):
    assert reader.ask("xread", "STREAMS", "s", id_) is None


def test_on_resp3_a_read_is_a_map(serving, client, clock):
    fill(serving, clock, "a", 1)
    client.ask("hello", "3")
    client.command("xread", "STREAMS", "a", "0")
    client.recv_exactly(b"%1\r\n" + resp.bulk(b"a") + resp.array([resp.array([
        resp.bulk(id_of(0)), resp.array([resp.bulk(b"n0"), resp.bulk(b"0")])])]))
    client.command("xread", "STREAMS", "a", "$")
    client.recv_exactly(b"_\r\n")


def waiting(serving, count=1):
    eventually(lambda: len(serving.poller.blocked) == count)


@pytest.mark.parametrize("id_", ["$", "0", "5-5"])
def test_a_blocked_read_of_streams_to_come_is_answered_by_the_first_event_of_any(serving, client, clock, id_):
    other = serving.connect()
    client.command("xread", "BLOCK", "0", "STREAMS", "a", "b:1", id_, id_)
    client.command("ping")
    waiting(serving)
    other.ask("publish", "c", "n", "")
    other.ask("publish", "b%3A1", "n0", "0")
    assert client.value() == [[b"b:1", [entry_of(0)]]]
    assert client.value() == b"PONG"
    assert client.ask("dbsize") == 2


def test_a_blocked_read_waits_for_an_id_above_its_own(serving, client, clock):
    fill(serving, clock, count=2)
    client.command("xread", "BLOCK", "0", "STREAMS", "s", f"{MS + 15}-0")
    waiting(serving)
    for number in range(2, 5):
        fill_at(serving, clock, number)
    assert client.value() == [[b"s", [entry_of(4)]]]


def fill_at(serving, clock, number):
    clock.ms = MS + 10 * (number // 2)
    serving.store.append("s", "n%d" % number, b"%d" % number)


def test_a_blocked_read_goes_on_behind_the_newest_event_when_it_came(serving, client, clock):
    fill(serving, clock, count=3)
    client.command("xread", "BLOCK", "0", "STREAMS", "s", "$")
    waiting(serving)
    fill_at(serving, clock, 3)
    assert client.value() == [[b"s", [entry_of(3)]]]


def test_a_blocked_read_is_answered_with_nothing_when_its_time_is_up(serving, client):
    client.command("xread", "BLOCK", "20", "STREAMS", "s", "$")
    client.recv_exactly(b"*-1\r\n")
    client.ask("hello", "3")
    client.command("xread", "BLOCK", "20", "STREAMS", "s", "$")
    client.recv_exactly(b"_\r\n")


def test_blocked_reads_of_other_streams_are_not_looked_at(serving, client, monkeypatch):
    looks = []
    look = xread._Read.look
    monkeypatch.setattr(xread._Read, "look", lambda read: looks.append(read.streams) or look(read))
    clients = [serving.connect() for _ in range(60)]
    for i, one in enumerate(clients):
        one.command("xread", "BLOCK", "0", "STREAMS", f"s{i}", "$")
    waiting(serving, 60)
    eventually(lambda: len(looks) == 120)       # before it waited, and after
    for _ in range(50):
        client.ask("publish", "other", "n", "")
    client.ask("publish", "s7", "n", "")
    clients[7].value()
    assert looks[120:] == [[b"s7"]]


def test_blocked_reads_take_one_thread(serving, client):
    clients = [serving.connect() for _ in range(30)]
    before = threading.active_count()
    for one in clients:
        one.command("xread", "BLOCK", "0", "STREAMS", "s", "$")
    waiting(serving, 30)
    assert threading.active_count() <= before + 1
    client.ask("publish", "s", "n0", "0")
    assert all(numbers(one.value()[0][1]) == [0] for one in clients)


def test_who_reads_one_after_the_other_misses_nothing_while_others_append(serving, clock):
    total = 300
    done = threading.Thread(target=lambda: [serving.store.append("s", "n", b"") for _ in range(total)])
    reader = serving.connect()
    reader.sock.settimeout(SECONDS)
    done.start()
    last, found = b"0", []
    while len(found) < total:
        reply = reader.ask("xread", "COUNT", "7", "BLOCK", "0", "STREAMS", "s", last)[0][1]
        found += numbers(reply)
        last = reply[-1][0]
    done.join()
    assert found == list(range(total))
