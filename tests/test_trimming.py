"""server/trimming.py: XLEN, XTRIM, XDEL, XSETID, DEL and UNLINK."""

import pytest
from serving import Serving

from store import NO

NOW = 1_700_000_000_000     # ms


class Clock:
    ms = NOW

    def __call__(self):
        return self.ms * 1000


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def serving(tmp_path, clock):
    with Serving(tmp_path / "db", sync=NO, clock=clock) as serving:
        for clock.ms in range(NOW, NOW + 10):
            serving.store.append("s", "x", b"data")
        yield serving


def numbers(serving, stream="s"):
    return [event.number for event in serving.store.read(stream)]


def ids(*numbers):
    return [b"%d-%d" % (NOW + number, number) for number in numbers]


def test_the_length_of_a_stream_is_how_many_entries_it_has(client, serving):
    assert [client.ask("xlen", key) for key in ("s", "nobody")] == [10, 0]
    serving.store.truncate("s", 4)
    assert client.ask("xlen", "s") == 6
    serving.store.redact("s", 7)
    assert client.ask("xlen", "s") == 5
    serving.store.retain("s", max_count=2)
    assert client.ask("xlen", "s") == 2


@pytest.mark.parametrize("arguments, taken, left", [
    (["MAXLEN", 4], 6, 4), (["maxlen", "=", 4], 6, 4), (["MAXLEN", 0], 10, 0), (["MAXLEN", 10], 0, 10),
    (["MAXLEN", 1000], 0, 10), (["MAXLEN", "~", 4], 0, 10), (["MAXLEN", "~", 4, "LIMIT", 0], 0, 10),
    (["MINID", NOW + 3], 3, 7), (["MINID", "=", "%d-4" % (NOW + 3)], 4, 6), (["MINID", 0], 0, 10),
    (["MINID", 2**64 - 1], 10, 0),
])
def test_a_stream_is_trimmed(client, serving, arguments, taken, left):
    assert client.ask("xtrim", "s", *arguments) == taken
    assert numbers(serving) == list(range(10 - left, 10))
    assert client.ask("xtrim", "nobody", *arguments) == 0


def test_a_trim_counts_those_that_were_there(client, serving):
    client.ask("xdel", "s", *ids(2, 5, 7))
    assert client.ask("xtrim", "s", "MAXLEN", 3) == 4
    assert client.ask("xlen", "s") == 3 and numbers(serving) == [6, 7, 8, 9]


@pytest.mark.parametrize("arguments, why", [
    (["s"], "ERR wrong number of arguments for 'xtrim' command"),
    (["s", "foo", "1"], "ERR syntax error"),
    (["s", "MAXLEN", "1", "NOMKSTREAM"], "ERR syntax error"),
    (["s", "MAXLEN", "~"], "ERR value is not an integer or out of range"),
    (["s", "LIMIT", "0"], "ERR syntax error, LIMIT cannot be used without the special ~ option"),
    (["s", "MAXLEN", "1", "LIMIT", "1"], "ERR syntax error, LIMIT cannot be used without the special ~ option"),
    (["s", "MINID", "(5"], "ERR Invalid stream ID specified as stream command argument"),
    (["", "MAXLEN", "1"], "ERR a key is at least one byte, found an empty one"),
])
def test_a_trim_that_can_not_be_is_refused(client, serving, arguments, why):
    assert client.error("xtrim", *arguments).startswith(why)
    assert client.ask("xlen", "s") == 10


# -- single entries ------------------------------------------------------------------

def test_an_entry_that_is_taken_out_is_a_marker_to_others(client, serving):
    assert client.ask("xdel", "s", *ids(3, 5), b"%d-6" % NOW, b"7", *ids(3, 11)) == 2
    assert client.ask("xdel", "s", *ids(3, 5)) == 0
    assert client.ask("xdel", "nobody", "1-1") == 0
    assert client.ask("xlen", "s") == 8
    assert [event.data for event in serving.store.read("s", 2, 6)] == [b"data", b"", b"data", b""]


def test_entries_that_are_taken_out_from_the_first_on_are_cut(client, serving):
    assert client.ask("xdel", "s", *ids(1, 3)) == 2
    assert numbers(serving) == list(range(10))
    assert client.ask("xdel", "s", *ids(0)) == 1
    assert numbers(serving) == list(range(2, 10))
    assert client.ask("xdel", "s", *ids(2, 6)) == 2
    assert numbers(serving) == list(range(4, 10)) and client.ask("xlen", "s") == 5
    for number in (4, 5, 7, 8, 9):
        assert client.ask("xdel", "s", *ids(number)) == 1
    assert (numbers(serving), client.ask("xlen", "s")) == ([], 0)
    assert client.ask("xadd", "s", "*", "x", "d").endswith(b"-10")


def test_what_is_no_id_is_refused_before_anything_is_taken_out(client, serving):
    assert client.error("xdel", "s", *ids(1), "x") == "ERR Invalid stream ID specified as stream command argument"
    assert client.error("xdel", "s").startswith("ERR wrong number of arguments")
    assert client.ask("xlen", "s") == 10


# -- streams -------------------------------------------------------------------------

@pytest.mark.parametrize("word", ["del", "unlink"])
def test_streams_are_deleted_with_the_groups_of_their_keys(client, serving, word):
    store = serving.store
    store.append("a%3Ab", "x", b"")
    store.group_create("mine@s", "s")
    store.group_create("theirs", "s")
    store.group_create("mine@empty", "empty")
    store.append("gone", "x", b"")
    store.delete("gone", forever=True)
    assert client.ask(word, "s", "a:b", "s", "nobody", "gone", "empty") == 3
    assert client.ask(word, "s", "empty") == 0
    assert [group.name for group in store.groups()] == ["theirs"]
    assert (store.names(), client.ask("xlen", "s")) == ([], 0)
    assert client.ask("xadd", "s", "*", "x", "d") == b"%d-10" % (NOW + 9)


def test_a_stream_that_is_deleted_for_good_meanwhile_is_not_counted(client, serving, monkeypatch):
    serving.store.delete("s", forever=True)
    monkeypatch.setattr("server.trimming.exists", lambda store, stream: True)
    monkeypatch.setattr("server.trimming.has_events", lambda store, stream: True)
    assert client.ask("del", "s") == 0


# -- where a stream goes on ----------------------------------------------------------

def test_a_stream_without_events_goes_on_behind_an_id(client, serving):
    assert client.ask("xsetid", "s", "%d-9" % (NOW + 9)) == b"OK"       # as it is
    client.ask("xtrim", "s", "MAXLEN", 0)
    assert client.ask("xsetid", "s", "%d-20" % (NOW + 9)) == b"OK"
    assert (client.ask("xlen", "s"), client.ask("xadd", "s", "*", "x", "d")) == (0, b"%d-21" % (NOW + 9))
    serving.store.group_create("g@t", "t")
    assert client.ask("xsetid", "t", "7-7") == b"OK"
    assert client.ask("xadd", "t", "8-8", "x", "d") == b"8-8"


@pytest.mark.parametrize("arguments, why", [
    (["nobody", "1-1"], "ERR no such key"),
    (["s", "x"], "ERR Invalid stream ID specified as stream command argument"),
    (["s", "1-20"], "ERR The ID specified in XSETID is smaller than the target stream top item"),
    (["s", "%d-8" % (NOW + 99)], "ERR The ID specified in XSETID is smaller than the target stream top item"),
    (["s", "%d-10" % (NOW + 99)], "ERR numbers of events can't be given up behind events; nothing was changed"),
    (["s", "%d-9" % (NOW + 9), "ENTRIESADDED", 5, "MAXDELETEDID", "1-1"], "ERR ENTRIESADDED and MAXDELETEDID can't be"),
    (["s"], "ERR wrong number of arguments for 'xsetid' command"),
])
def test_an_id_that_a_stream_can_not_go_on_behind_is_refused(client, arguments, why):
    assert client.error("xsetid", *arguments).startswith(why)
    assert client.ask("xlen", "s") == 10
