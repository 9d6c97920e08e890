"""server/xinfo.py: XINFO STREAM, and what is wrong with a request."""

import pytest
from serving import Serving

MS = 1_700_000_000_000


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with Serving(tmp_path_factory.mktemp("info") / "db", clock=lambda: MS * 1000) as serving:
        serving.store.groups()      # the thread that keeps them
        yield serving


@pytest.fixture
def client(shared):
    return shared.connect()


def fields_of(reply):
    return dict(zip(reply[::2], reply[1::2]))


def entry(number):
    return [b"%d-%d" % (MS, number), [b"n", b"%d" % number]]


def filled(shared, stream, count):
    for number in range(count):
        shared.store.append(stream, "n", b"%d" % number)


def test_a_stream_is_described_by_its_length_its_ids_and_its_ends(shared, client):
    filled(shared, "a", 5)
    shared.store.redact("a", 2)
    shared.store.redact("a", 0)
    assert fields_of(client.ask("xinfo", "stream", "a")) == {
        b"length": 3, b"radix-tree-keys": 1, b"radix-tree-nodes": 2, b"last-generated-id": entry(4)[0],
        b"max-deleted-entry-id": entry(2)[0], b"entries-added": 5, b"recorded-first-entry-id": entry(1)[0],
        b"groups": 0, b"first-entry": entry(1), b"last-entry": entry(4)}
    shared.store.truncate("a", 5)
    found = fields_of(client.ask("xinfo", "STREAM", "a"))
    assert (found[b"length"], found[b"first-entry"], found[b"last-entry"]) == (0, None, None)
    assert found[b"recorded-first-entry-id"] == found[b"max-deleted-entry-id"] == b"0-0"


def test_a_stream_that_only_groups_are_on_has_no_ids(client):
    assert client.ask("xgroup", "create", "made", "g", "$", "MKSTREAM") == b"OK"
    found = fields_of(client.ask("xinfo", "stream", "made"))
    assert (found[b"length"], found[b"last-generated-id"], found[b"groups"]) == (0, b"0-0", 1)


@pytest.mark.parametrize("words, count", [((), 10), (("COUNT", "2"), 2), (("count", "0"), 12), (("COUNT", "-1"), 10)])
def test_in_full_it_has_so_many_entries_and_of_each_group_what_is_pending(shared, client, words, count):
    stream = f"full-{'-'.join(words)}"
    filled(shared, stream, 12)
    client.ask("xgroup", "create", stream, "g", "0")
    client.ask("xreadgroup", "GROUP", "g", "ann", "COUNT", "11", "STREAMS", stream, ">")
    found = fields_of(client.ask("xinfo", "stream", stream, "full", *words))
    assert found[b"entries"] == [entry(number) for number in range(count)]
    [group] = map(fields_of, found[b"groups"])
    shown = [entry(number)[0] for number in range(min(count, 11))]
    assert (group[b"name"], group[b"last-delivered-id"], group[b"entries-read"]) == (b"g", entry(10)[0], 11)
    assert (group[b"lag"], group[b"pel-count"]) == (1, 11)
    assert group[b"pending"] == [[id_, b"ann", MS, 1] for id_ in shown]
    [consumer] = map(fields_of, group[b"consumers"])
    assert consumer == {b"name": b"ann", b"seen-time": MS, b"pel-count": 11,
                        b"pending": [[id_, MS, 1] for id_ in shown]}


@pytest.mark.parametrize("words, why", [
    ("xinfo", "ERR wrong number of arguments for 'xinfo' command"),
    ("xinfo STREAM", "ERR wrong number of arguments for 'xinfo|stream' command"),
    ("xinfo HELP x", "ERR wrong number of arguments for 'xinfo|help' command"),
    ("xinfo nope a", "ERR unknown subcommand 'nope'. Try XINFO HELP."),
    ("xinfo STREAM absent", "ERR no such key"),
    ("xinfo STREAM absent FULL COUNT x", "ERR no such key"),
    ("xinfo STREAM there FULL COUNT x", "ERR value is not an integer or out of range"),
    ("xinfo STREAM there x", "ERR unknown subcommand or wrong number of arguments for 'STREAM'. Try XINFO HELP."),
    ("xinfo STREAM there FULL COUNT", "ERR unknown subcommand or wrong number of arguments for 'STREAM'."),
    ("xinfo STREAM there FULL LIMIT 1", "ERR unknown subcommand or wrong number of arguments for 'STREAM'."),
])
def test_what_is_wrong_with_a_request_is_said_in_redis_words(client, words, why):
    client.ask("XADD", "there", "*", "n", "")
    assert client.error(*words.split()).startswith(why)


def test_help_lists_what_there_is(client):
    assert b"STREAM key [FULL [COUNT count]]" in client.ask("xinfo", "help")
