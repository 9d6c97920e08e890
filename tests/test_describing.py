"""COMMAND: what clients are told of the commands (server/describing.py)."""

import pytest
from alike.redis import Redis, needs_redis
from serving import Serving

import resp
from resp import Parser
from server.commands import COMMANDS
from server.summaries import HELP, SUMMARIES

GROUPS = {b"connection", b"server", b"generic", b"pubsub", b"stream", b"transactions"}
# Where COMMAND INFO says otherwise than Redis, and why.
OTHER = {
    "append": "appends events, not to a string",
    "publish": "stores an event: three arguments, too",
    "subscribe": "takes streams",
    "unsubscribe": "takes streams",
    "client|kill": "an empty list of filters is refused by itself",
}


@pytest.fixture(autouse=True)
def deep(monkeypatch):
    """Arguments of arguments of subcommands are deeper than events ever are."""
    monkeypatch.setattr(resp, "MAX_DEPTH", 20)


@pytest.fixture(scope="module")
def serving(tmp_path_factory):
    """One server for all: nothing here changes anything."""
    with Serving(tmp_path_factory.mktemp("describing") / "db") as serving:
        yield serving


@pytest.fixture
def client3(serving):
    client = serving.connect()
    client.ask("hello", 3)
    return client


def by_name(entries):
    """{name: entry} of COMMAND's entries, those of subcommands among them."""
    found = {}
    for entry in entries:
        found[entry[0]] = entry
        found.update(by_name(entry[9]))
    return found


@pytest.fixture
def entries(client):
    return by_name(client.ask("command"))


# -- COMMAND INFO ----------------------------------------------------------------

def test_each_command_there_is_is_described(client, entries):
    assert {name for name in entries if b"|" not in name} == set(COMMANDS)
    assert client.ask("command", "count") == len(COMMANDS)
    assert by_name(client.ask("command", "info")) == entries
    for name, entry in entries.items():
        assert len(entry) == 10 and isinstance(entry[1], int) and all(isinstance(one, int) for one in entry[3:6])
        assert {b"@fast", b"@slow"} & set(entry[6]), name


@pytest.mark.parametrize("name, flags, categories", [
    ("publish", "write denyoom fast", "@write @stream @fast"),
    ("read", "readonly", "@read @stream @slow"),
    ("group-read", "write blocking", "@write @stream @slow @blocking"),
    ("subscribe", "readonly pubsub", "@read @pubsub @slow"),
    ("delete", "write admin", "@write @admin @dangerous @stream @slow"),
    ("compact", "admin", "@admin @dangerous @stream @slow"),
    ("auth", "loading stale no_auth fast", "@connection @fast"),
    ("ping", "loading stale fast", "@connection @fast"),
    ("scan", "readonly", "@read @keyspace @slow"),
    ("client|id", "loading stale fast", "@connection @fast"),
    ("client|kill", "admin fast", "@admin @dangerous @connection @fast"),
    ("client", "", "@slow"),
    ("multi", "loading stale fast", "@transaction @fast"),
])
def test_flags_and_categories_follow_from_who_may_use_a_command_and_how_it_is_done(entries, name, flags, categories):
    entry = entries[name.encode()]
    assert (entry[2], entry[6]) == (flags.encode().split(), categories.encode().split())


@pytest.mark.parametrize("name, places", [
    ("append", [1, -1, 6]), ("read", [0, 0, 0]), ("exists", [1, -1, 1]), ("object|encoding", [2, 2, 1]),
    ("last-event-number", [1, 1, 1]), ("subscribe", [0, 0, 0]), ("unsubscribe", [0, 0, 0]), ("ping", [0, 0, 0]),
])
def test_places_of_keys_follow_from_the_usage(entries, name, places):
    assert entries[name.encode()][3:6] == places
    assert len(entries[name.encode()][8]) == (places[0] > 0)


def test_a_client_of_resp3_gets_sets_and_maps(client3):
    client3.command("command", "info", "type", "nope", "client|id")
    client3.recv_exactly(
        b"*3\r\n*10\r\n$4\r\ntype\r\n:2\r\n~1\r\n+readonly\r\n:1\r\n:1\r\n:1\r\n"
        b"~3\r\n+@read\r\n+@keyspace\r\n+@slow\r\n~0\r\n"
        b"~1\r\n%3\r\n$5\r\nflags\r\n~2\r\n+RO\r\n+access\r\n"
        b"$12\r\nbegin_search\r\n%2\r\n$4\r\ntype\r\n$5\r\nindex\r\n$4\r\nspec\r\n%1\r\n$5\r\nindex\r\n:1\r\n"
        b"$9\r\nfind_keys\r\n%2\r\n$4\r\ntype\r\n$5\r\nrange\r\n"
        b"$4\r\nspec\r\n%3\r\n$7\r\nlastkey\r\n:0\r\n$7\r\nkeystep\r\n:1\r\n$5\r\nlimit\r\n:0\r\n~0\r\n"
        b"_\r\n*10\r\n$9\r\nclient|id\r\n:2\r\n~3\r\n+loading\r\n+stale\r\n+fast\r\n:0\r\n:0\r\n:0\r\n"
        b"~2\r\n+@connection\r\n+@fast\r\n~0\r\n~0\r\n~0\r\n")


def test_what_is_not_there_is_null(client):
    client.command("command", "info", "nope", "client|nope", "ping|x")
    client.recv_exactly(b"*3\r\n$-1\r\n$-1\r\n$-1\r\n")


@needs_redis
def test_what_redis_has_too_takes_as_many_arguments_and_has_its_keys_where_redis_has_them(entries):
    with Redis() as redis, redis.connect() as sock:
        sock.sendall(resp.command("command"))
        parser = Parser()
        found = resp.INCOMPLETE
        while found is resp.INCOMPLETE:
            parser.feed(sock.recv(1 << 20))
            found = parser.get()
    theirs = by_name(found)
    both = set(theirs) & set(entries)
    differing = {name.decode() for name in both if _places(theirs[name]) != _places(entries[name])}
    assert differing <= set(OTHER)


def _places(entry):
    """Arity, places of keys, and how they are found, of an entry; without what Redis says for people."""
    specs = [dict(zip(spec[::2], spec[1::2])) for spec in entry[8]]
    return entry[1], entry[3:6], [(spec[b"begin_search"], spec[b"find_keys"]) for spec in specs]


# -- COMMAND DOCS ----------------------------------------------------------------

def test_each_command_is_documented_in_redis_s_types(client3):
    docs = client3.ask("command", "docs")
    assert set(docs) == set(COMMANDS)
    for name, fields in docs.items():
        check_document(name, fields)


def check_document(name, fields):
    assert all(fields[key] for key in (b"summary", b"since", b"complexity")), name
    assert fields[b"group"] in GROUPS
    for argument in fields.get(b"arguments", []):
        check_argument(name, argument)
    for inner, more in fields.get(b"subcommands", {}).items():
        assert inner.startswith(name + b"|")
        check_document(inner, more)


def test_each_subcommand_has_a_summary_of_its_own(client3):
    docs = client3.ask("command", "docs")
    found = {name.decode(): more[b"summary"].decode() for fields in docs.values()
             for name, more in fields.get(b"subcommands", {}).items()}
    helps = {name for name in found if name.endswith("|help")}
    assert {found.pop(name) for name in helps} == {HELP}
    assert found.items() <= SUMMARIES.items()


def check_argument(name, fields):
    kinds = {b"key", b"string", b"integer", b"pattern", b"pure-token", b"oneof", b"block"}
    assert fields[b"name"] and fields[b"type"] in kinds, name
    assert (fields[b"type"] == b"pure-token") <= (b"token" in fields)
    assert (fields[b"type"] in (b"oneof", b"block")) == (b"arguments" in fields) == (b"display_text" not in fields)
    assert set(fields.get(b"flags", ())) <= {b"optional", b"multiple"}
    for inner in fields.get(b"arguments", []):
        check_argument(name, inner)


def test_the_documents_of_one_command_are_told_in_either_protocol(client, client3):
    [name, fields] = client.ask("command", "docs", "LAST-EVENT-NUMBER", "nope")
    assert name == b"last-event-number"
    fields = dict(zip(fields[::2], fields[1::2]))
    assert fields[b"since"] == b"0.3.0" and fields[b"group"] == b"stream"
    assert fields[b"arguments"] == [[b"name", b"stream", b"type", b"key", b"display_text", b"stream",
                                     b"key_spec_index", 0]]
    assert client3.ask("command", "docs", "nope") == {}
    assert set(client3.ask("command", "docs", "client|kill")) == {b"client|kill"}


# -- COMMAND LIST, GETKEYS -------------------------------------------------------

def test_commands_are_listed_by_pattern_and_by_category(client):
    everything = client.ask("command", "list")
    assert set(COMMANDS) < set(everything) and b"client|id" in everything
    assert client.ask("command", "list", "filterby", "pattern", "group-re*") == [
        b"group-read", b"group-refuse", b"group-replay"]
    assert client.ask("command", "list", "FILTERBY", "ACLCAT", "transaction") == [
        b"multi", b"exec", b"discard", b"watch", b"unwatch"]
    assert client.ask("command", "list", "filterby", "aclcat", "nope") == []
    assert client.ask("command", "list", "filterby", "module", "any") == []


@pytest.mark.parametrize("request_, keys", [
    ("append a any x y z w b any x y z w", [b"a", b"b"]),
    ("exists a b c", [b"a", b"b", b"c"]),
    ("OBJECT encoding a", [b"a"]),
    ("snapshot-put a 0 data", [b"a"]),
    ("xread COUNT 2 streams a b 0 0", [b"a", b"b"]),
    ("xreadgroup GROUP g streams STREAMS a b > >", [b"a", b"b"]),
    ("xgroup create a g $", [b"a"]),
])
def test_the_keys_of_a_request_are_told(client, request_, keys):
    assert client.ask("command", "getkeys", *request_.split()) == keys


def test_keys_are_told_with_what_is_done_to_them(client, client3):
    assert client.ask("command", "getkeysandflags", "delete", "a") == [[b"a", [b"RW", b"delete"]]]
    client3.command("command", "getkeysandflags", "type", "a")
    client3.recv_exactly(b"*1\r\n*2\r\n$1\r\na\r\n~2\r\n+RO\r\n+access\r\n")


@pytest.mark.parametrize("arguments, text", [
    ("nope", "ERR unknown subcommand 'nope'. Try COMMAND HELP."),
    ("count x", "ERR wrong number of arguments for 'command|count' command"),
    ("getkeys ping", "ERR wrong number of arguments for 'command|getkeys' command"),
    ("getkeys nope a", "ERR Invalid command specified"),
    ("getkeys object nope", "ERR Invalid command specified"),
    ("getkeys ping a", "ERR The command has no key arguments"),
    ("getkeys type a b", "ERR Invalid number of arguments specified for command"),
    ("getkeys xread count 2 a 0", "ERR Invalid arguments specified for command"),
    ("list x", "ERR syntax error"),
    ("list filterby odd x", "ERR syntax error, found 'odd'"),
    (f"list filterby pattern {'x' * 5000}", "ERR a pattern of 5000 bytes"),
])
def test_a_bad_question_about_commands_is_refused(client, arguments, text):
    assert client.error("command", *arguments.split()).startswith(text)


def test_command_help_has_a_line_for_each_subcommand(client):
    assert b"GETKEYS command argument [argument ...]" in client.ask("command", "help")
