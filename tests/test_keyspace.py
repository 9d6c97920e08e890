"""Which keys there are and what they are, for Redis's tools (server/keyspace.py)."""

import random

import pytest
from serving import Serving
from test_access import CHEAP

from resp import ErrorReply
from server import keyspace
from server.keys import stream_of
from server.users import Users, create
from store import CorruptSegment, EventsLost
from store.database import PLACES


@pytest.fixture
def client3(serving):
    client = serving.connect()
    client.ask("hello", 3)
    return client


def fill(serving, *keys):
    for key in keys:
        serving.store.append(stream_of(key).decode(), "x", b"data")


def scanned(client, *options):
    """Each page of a scan, to its end."""
    pages, cursor = [], b"0"
    while True:
        cursor, keys = client.ask("scan", cursor, *options)
        pages.append(keys)
        if cursor == b"0":
            return pages


def all_of(pages):
    return sorted(key for page in pages for key in page)


# -- SCAN ------------------------------------------------------------------------

def test_a_scan_of_nothing_is_over_at_once(client):
    assert client.ask("scan", 0) == [b"0", []]


def test_a_few_keys_are_on_one_page(serving, client):
    fill(serving, b"a", b"order:1", b"\xff", b"$all")
    cursor, keys = client.ask("scan", 0)
    assert (cursor, sorted(keys)) == (b"0", sorted([b"a", b"order:1", b"\xff", b"$all"]))


def test_a_scan_gives_each_key_once_and_no_page_has_many_more_than_were_asked_for(serving, client):
    keys = [b"key:%d" % i for i in range(2000)]
    fill(serving, *keys)
    for count in (1, 10, 100, 10 ** 15):
        pages = scanned(client, "COUNT", count)
        assert all_of(pages) == sorted(keys)
        assert max(map(len, pages)) <= 8 * count
        assert len(pages) >= len(keys) / min(count, keyspace._MOST) / 2


def test_whatever_is_there_all_the_while_is_found_however_many_come_and_go(serving, client):
    staying = [b"stay:%d" % i for i in range(300)]
    fill(serving, *staying)
    random.seed(1)
    cursor, found, coming = b"0", set(), []
    for turn in range(10 ** 6):
        cursor, keys = client.ask("scan", cursor, "count", 5)
        found.update(keys)
        if cursor == b"0":
            break
        coming.append(b"come:%d" % turn)
        fill(serving, coming[-1])
        if turn % 3 == 0:
            serving.store.delete(stream_of(random.choice(coming)).decode())
    assert found >= set(staying)


def test_a_cursor_is_good_on_any_connection_and_after_a_restart(tmp_path):
    keys = [b"k%d" % i for i in range(100)]
    with Serving(tmp_path / "db") as serving:
        fill(serving, *keys)
        cursor, found = serving.connect().ask("scan", 0, "count", 20)
        assert cursor != b"0" and int(cursor) < 2 ** 53
    with Serving(tmp_path / "db") as serving:
        client = serving.connect()
        while cursor != b"0":
            cursor, more = client.ask("scan", cursor)
            found += more
    assert sorted(found) == sorted(keys)


def test_names_that_crowd_in_one_place_are_on_smaller_pages(serving, client, monkeypatch):
    monkeypatch.setattr(type(serving.store), "place_of", lambda store, name: int(name[1:]))
    fill(serving, *[b"k%d" % i for i in range(500)])
    pages = scanned(client, "count", 2)
    assert all_of(pages) == sorted(b"k%d" % i for i in range(500))
    assert max(map(len, pages)) <= 16


def test_names_with_the_same_place_are_on_the_same_page(serving, client, monkeypatch):
    monkeypatch.setattr(type(serving.store), "place_of", lambda store, name: 7)
    fill(serving, *[b"k%d" % i for i in range(100)])
    assert [len(page) for page in scanned(client, "count", 1) if page] == [100]


def test_a_scan_may_be_of_keys_that_match_and_of_one_type(serving, client):
    fill(serving, b"order:1", b"order:2", b"cart:1", b"orders")
    assert all_of(scanned(client, "MATCH", "order:*", "COUNT", 2)) == [b"order:1", b"order:2"]
    assert all_of(scanned(client, "type", "STREAM", "match", "*:1")) == [b"cart:1", b"order:1"]
    assert client.ask("scan", 0, "TYPE", "hash") == [b"0", []]
    assert client.ask("scan", 2 ** 64 - 1) == client.ask("scan", -1) == [b"0", []]


@pytest.mark.parametrize("arguments, text", [
    (["x"], "ERR invalid cursor"),
    (["--1"], "ERR invalid cursor"),
    (["-"], "ERR invalid cursor"),
    ([2 ** 64], "ERR invalid cursor"),
    (["9" * 5000], "ERR invalid cursor"),
    ([0, "match"], "ERR syntax error"),
    ([0, "odd", "x"], "ERR syntax error, found 'ODD'"),
    ([0, "count", 0], "ERR syntax error, COUNT is 0"),
    ([0, "count", -1], "ERR syntax error, COUNT is -1"),
    ([0, "count", "x"], "ERR value is not an integer or out of range"),
    ([0, "count", "9" * 50], "ERR value is not an integer or out of range"),
    ([0, "match", "x" * 5000], "ERR a pattern of 5000 bytes"),
])
def test_a_bad_scan_is_refused_with_the_reason(client, arguments, text):
    assert client.error("scan", *arguments).startswith(text)


# -- KEYS, DBSIZE, RANDOMKEY -----------------------------------------------------

@pytest.mark.parametrize("pattern, found", [
    ("*", [b"$all", b"a", b"a%3A", b"cart:1", b"order", b"order:1", b"order:2", b"\xc3\xa9t\xc3\xa9", b"\xff"]),
    ("order:*", [b"order:1", b"order:2"]),
    ("order*", [b"order", b"order:1", b"order:2"]),
    ("$*", [b"$all"]),
    ("a%*", [b"a%3A"]),
    (b"\xc3*", [b"\xc3\xa9t\xc3\xa9"]),
    ("[ac]*", [b"a", b"a%3A", b"cart:1"]),
    ("order", [b"order"]),
    ("nothing", []),
])
def test_keys_are_those_that_match(serving, client, pattern, found):
    fill(serving, b"$all", b"a", b"a%3A", b"cart:1", b"order", b"order:1", b"order:2", "été".encode(), b"\xff")
    assert sorted(client.ask("keys", pattern)) == sorted(found)


@pytest.mark.parametrize("pattern, prefix", [
    ("order:*", b"order"), ("order*", b"order"), ("order", b"order"), ("*", b""), ("a%3A*", b"a"), ("$all", b""),
    ("caf\u00e9*", b"caf"), ("[ab]*", b"")])
def test_only_names_that_begin_as_the_pattern_does_are_looked_at(serving, client, monkeypatch, pattern, prefix):
    asked = []
    find = serving.store.names_beginning
    monkeypatch.setattr(serving.store, "names_beginning", lambda *words: asked.append(words[0]) or find(*words))
    client.ask("keys", pattern)
    assert asked == [prefix]


def test_keys_are_looked_for_in_portions(serving, client, monkeypatch):
    monkeypatch.setattr(keyspace, "_PORTION", 7)
    fill(serving, *[b"k%d" % i for i in range(30)])
    assert len(client.ask("keys", "k*")) == client.ask("dbsize") == 30
    assert client.ask("randomkey").startswith(b"k")


def test_a_stream_that_was_deleted_or_that_is_only_waited_for_is_no_key(serving, client):
    fill(serving, b"gone", b"there", b"cut", b"back")
    serving.store.delete("gone")
    serving.store.truncate("cut", 1)
    serving.store.delete("back")
    fill(serving, b"back")
    client.ask("subscribe", "waited-for")
    assert sorted(client.ask("keys", "*")) == all_of(scanned(client)) == [b"back", b"cut", b"there"]
    assert client.ask("dbsize") == 3
    assert client.ask("exists", "gone", "there", "waited-for", "there", "cut") == 3
    assert [client.ask("type", key) for key in ("gone", "there", "cut")] == [b"none", b"stream", b"stream"]


def test_any_key_is_some_key_and_each_comes(serving, client):
    assert client.ask("randomkey") is None
    fill(serving, b"a:1", b"b", b"c")
    # However near to another one's their places are: each comes about once in three times.
    assert {client.ask("randomkey") for _ in range(200)} == {b"a:1", b"b", b"c"}


def test_a_key_that_lies_right_behind_another_comes_as_often(serving, client, monkeypatch):
    fill(serving, b"a", b"b")
    right_behind = min(map(serving.store.place_of, (b"a", b"b"))) + 1
    monkeypatch.setattr(keyspace.secrets, "randbelow", lambda stop: right_behind)
    assert {client.ask("randomkey") for _ in range(100)} == {b"a", b"b"}


def test_a_key_that_is_there_for_its_group_alone_is_a_key(serving, client):
    fill(serving, b"a")
    serving.store.group_create("workers@empty%3A1", "empty%3A1", 0)
    serving.store.group_create("plain", "other", 0)         # is no group of a key
    assert sorted(client.ask("keys", "*")) == all_of(scanned(client)) == [b"a", b"empty:1"]
    assert client.ask("dbsize") == 2
    assert client.ask("exists", "empty:1", "other") == 1
    assert client.ask("memory", "usage", "empty:1") == 0
    serving.store.delete("a")
    assert client.ask("randomkey") == b"empty:1"


def test_a_user_finds_the_keys_that_he_may_see(tmp_path):
    path = str(tmp_path / "users")
    create(path)
    users = Users(path, CHEAP)
    users.change("ann", ["on", ">word", "+@read", "~order%3A*"])
    with Serving(tmp_path / "db", users=users) as serving:
        fill(serving, b"order:1", b"order:2", b"cart:1", *[b"x%d" % i for i in range(50)])
        ann = serving.connect()
        ann.ask("auth", "ann", "word")
        assert sorted(ann.ask("keys", "*")) == all_of(scanned(ann)) == [b"order:1", b"order:2"]
        assert ann.ask("dbsize") == 2
        assert ann.ask("randomkey") in (b"order:1", b"order:2")
        assert ann.ask("type", "order:1") == b"stream"
        assert ann.error("type", "cart:1").startswith("NOPERM")
        assert ann.error("memory", "stats").startswith("NOPERM")


# -- what a key is ---------------------------------------------------------------

def test_a_key_stays_for_ever(serving, client):
    fill(serving, b"a:1")
    for word in ("ttl", "pttl", "expiretime", "pexpiretime"):
        assert (client.ask(word, "a:1"), client.ask(word, "b")) == (-1, -2)
    assert client.ask("persist", "a:1") == client.ask("persist", "b") == 0
    assert client.ask("touch", "a:1", "a:1", "b") == 2


def test_an_object_is_a_stream_that_is_idle_since_its_last_event(serving, client, client3, monkeypatch):
    fill(serving, b"a:1")
    assert client.ask("object", "ENCODING", "a:1") == b"stream"
    assert client.ask("object", "refcount", "a:1") == 1
    now = serving.store.clock()
    monkeypatch.setattr(serving.store, "clock", lambda: now + 90 * 10 ** 6)
    assert client.ask("object", "idletime", "a:1") in (89, 90)
    serving.store.truncate("a%3A1", 1)
    assert client.ask("object", "idletime", "a:1") in range(80, 200)        # since the server began
    assert client.error("object", "freq", "a:1").startswith("ERR An LFU maxmemory policy is not selected")
    for word in ("encoding", "refcount", "idletime", "freq"):
        client3.command("object", word, "none")
        client3.recv_exactly(b"_\r\n")
    assert b"ENCODING key" in client.ask("object", "help")
    assert client.error("object", "odd", "a") == "ERR unknown subcommand 'odd'. Try OBJECT HELP."
    assert client.error("object", "encoding") == "ERR wrong number of arguments for 'object|encoding' command"


def test_memory_usage_is_the_bytes_of_a_key_s_events(serving, client):
    fill(serving, b"a:1")
    small = client.ask("memory", "usage", "a:1")
    serving.store.append("a%3A1", "x", b"y" * 1000)
    assert client.ask("memory", "usage", "a:1", "SAMPLES", 0) >= small + 1000 > 1000
    assert client.ask("memory", "usage", "none") is None


def test_memory_says_what_the_process_takes(client, client3):
    stats = client3.ask("memory", "stats")
    assert stats[b"peak.allocated"] >= stats[b"total.allocated"] > 1 << 20
    assert b"on disk" in client.ask("memory", "doctor")
    assert b"USAGE key [SAMPLES count]" in client.ask("memory", "help")


@pytest.mark.parametrize("arguments, text", [
    ("usage", "ERR wrong number of arguments for 'memory|usage' command"),
    ("usage a odd 1", "ERR syntax error"),
    ("usage a samples", "ERR syntax error"),
    ("usage a samples x", "ERR value is not an integer or out of range"),
    ("purge", "ERR unknown subcommand 'purge'. Try MEMORY HELP."),
    ("stats more", "ERR wrong number of arguments for 'memory|stats' command"),
])
def test_a_bad_question_about_memory_is_refused(client, arguments, text):
    assert client.error("memory", *arguments.split()).startswith(text)


def test_damage_is_told_by_its_code(serving, client, monkeypatch):
    fill(serving, b"a")
    for error, code in ((CorruptSegment("/db/0.segment", 128, "why"), "CORRUPT"),
                        (EventsLost("/db/0.segment", "a", 1, 2), "EVENTSLOST")):
        def lost(name, error=error):
            raise error
        monkeypatch.setattr(serving.store, "info", lost)
        assert client.ask("memory", "usage", "a").code == code


@pytest.mark.parametrize("words", ["type", "exists", "ttl", "object encoding", "memory usage"])
@pytest.mark.parametrize("key", ["", "k" * 40000, ":" * 20000])
def test_what_cannot_be_a_key_is_refused(client, words, key):
    assert isinstance(client.ask(*words.split(), key), ErrorReply)


def test_places_are_numbers_that_a_double_has(serving):
    assert all(serving.store.place_of(b"s%d" % i) < PLACES <= 1 << 53 for i in range(1000))
