"""Redis's commands for consumer groups: which group that is, what is wrong with a call, and reads that wait.

What the replies are is compared with redis-server's own in test_xgroup_model.py and alike/.
"""

import asyncio
import threading

import pytest
from conftest import SECONDS
from serving import Client, Serving, eventually

from resp import ErrorReply
from server import xgroup
from server.users import Cost, Users, create
from store import NoGroup, groups
from store.sharing import PendingList


def add(client, *values, key="s"):
    return [client.ask("xadd", key, "*", "name", value) for value in values]


def values(reply):
    """[what is read of each event, …] of an XREADGROUP of one key."""
    return [entry[1][1] for entry in reply[0][1]]


def waiting(serving, count=1):
    eventually(lambda: len(serving.poller.blocked) == count)


def users_in(folder, *rules):
    """Users with one of these rules, ann."""
    path = str(folder / "users")
    create(path)
    users = Users(path, Cost(2, 8, 1))
    users.change("ann", ["on", ">word", *rules])
    return users


# -- which group ---------------------------------------------------------------------------

@pytest.mark.parametrize("name, own", [("g", "g@s"), ("a b", "a b@s"), ("g@h", "g%40h@s"), ("50%40", "50%2540@s"),
                                       ("%25", "%2525@s"), ("grün:1", "grün:1@s")])
def test_a_group_of_a_key_is_one_of_the_server_s(serving, client, name, own):
    add(client, "one")
    assert client.ask("xgroup", "create", "s", name, "0") == b"OK"
    assert client.ask("groups") == [own.encode()]
    group = serving.store.group(own)
    assert xgroup.redis_name(group, b"s") == name.encode()
    assert xgroup.group_of(serving.store, b"s", name.encode()) is group
    assert values(client.ask("xreadgroup", "group", name, "m", "streams", "s", ">")) == [b"one"]
    assert client.ask("group-ack", own, 0) == 1
    assert client.ask("xgroup", "destroy", "s", name) == 1
    assert client.ask("groups") == []


def test_a_group_of_another_stream_is_not_taken_for_one_of_this(serving, client):
    add(client, "one", key="b@s"), add(client, "two", key="s")
    client.ask("xgroup", "create", "b@s", "a", "0")         # a@b@s, and nothing else
    assert client.error("xreadgroup", "group", "a@b", "m", "streams", "s", ">").startswith("NOGROUP No such key 's'")
    client.ask("group-create", "all", "$all", "0")
    client.ask("group-create", "other", "stream", "b@s", "0")
    for name in "all", "other", "a":
        assert client.error("xpending", "s", name).startswith("NOGROUP")


def test_a_group_that_group_create_made_keeps_its_rules(serving, client):
    add(client, "one", "two", "three")
    client.ask("group-create", "g", "stream", "s", "0")
    assert client.error("xgroup", "create", "s", "g", "0").startswith("BUSYGROUP Consumer Group name already exists")
    ask = ["xreadgroup", "group", "g"]
    assert values(client.ask(*ask, "ann", "count", 2, "streams", "s", ">")) == [b"one", b"two"]
    assert client.ask(*ask, "bob", "streams", "s", ">") is None         # ann has those before it
    ids = [entry[0] for entry in client.ask(*ask, "ann", "streams", "s", "0")[0][1]]
    assert [row[:2] + row[3:] for row in client.ask("xpending", "s", "g", "-", "+", 9)] == [
        [ids[0], b"ann", 1], [ids[1], b"ann", 1]]
    assert client.ask("xpending", "s", "g") == [2, *ids, [[b"ann", b"2"]]]
    assert client.ask("xack", "s", "g", ids[0]) == 1
    assert client.ask("xgroup", "delconsumer", "s", "g", "ann") == 1
    assert values(client.ask(*ask, "bob", "count", 9, "streams", "s", ">")) == [b"two", b"three"]
    for words in (["xgroup", "setid", "s", "g", "0"], ["xgroup", "createconsumer", "s", "g", "m"],
                  ["xclaim", "s", "g", "m", 0, "1-1"], ["xautoclaim", "s", "g", "m", 0, "0"],
                  [*ask, "m", "noack", "streams", "s", ">"]):
        assert client.error(*words).startswith("ERR group 'g' gives its stream's events in order"), words


def test_xinfo_tells_of_both_sorts_of_groups(serving, client):
    add(client, "one", "two")
    client.ask("xgroup", "create", "s", "shared", "0")
    client.ask("group-create", "native", "stream", "s", "0")
    client.ask("group-read", "native", "m", 1)
    client.ask("group-read", "shared@s", "m", 1)
    found = [dict(zip(one[::2], one[1::2])) for one in client.ask("xinfo", "groups", "s")]
    last = client.ask("xrange", "s", "-", "+")
    assert [(one[b"name"], one[b"consumers"], one[b"pending"], one[b"lag"]) for one in found] == [
        (b"native", 1, 1, 0), (b"shared", 1, 1, 1)]
    assert [one[b"last-delivered-id"] for one in found] == [last[1][0], last[0][0]]
    for name in "native", "shared":
        [one] = client.ask("xinfo", "consumers", "s", name)
        assert one[:4] == [b"name", b"m", b"pending", 1]


def test_a_group_may_be_made_before_its_stream(serving, client):
    client.ask("xgroup", "create", "s", "g", "$", "mkstream")
    assert client.ask("exists", "s") == 1
    add(client, "one")
    assert values(client.ask("xreadgroup", "group", "g", "m", "streams", "s", ">")) == [b"one"]


def test_there_may_be_too_many_groups(serving, client, monkeypatch):
    monkeypatch.setattr(groups, "MAX_GROUPS", 1)
    client.ask("xgroup", "create", "s", "g", "$", "mkstream")
    assert client.error("xgroup", "create", "s", "h", "$") == "ERR there are 1 groups, expected no more"


# -- what is wrong with a call ---------------------------------------------------------------

@pytest.mark.parametrize("words, why", [
    ("xgroup create s g 0", "BUSYGROUP Consumer Group name already exists"),
    ("xgroup create absent g 0", "ERR The XGROUP subcommand requires the key to exist"),
    ("xgroup create s h x", "ERR Invalid stream ID"),
    ("xgroup create s h 0 entriesread", "ERR unknown subcommand or wrong number of arguments for 'CREATE'"),
    ("xgroup create s h 0 entriesread -2", "ERR value for ENTRIESREAD must be positive or -1"),
    ("xgroup create s h\n 0", "ERR group name has no CR, LF or NUL"),
    ("xgroup create s h", "ERR wrong number of arguments for 'xgroup|create' command"),
    ("xgroup nonsense s g", "ERR unknown subcommand 'nonsense'. Try XGROUP HELP."),
    ("xgroup setid s nobody 0", "NOGROUP No such consumer group 'nobody' for key name 's'"),
    ("xgroup destroy absent g", "ERR The XGROUP subcommand requires the key to exist"),
    ("xgroup createconsumer absent g m", "ERR The XGROUP subcommand requires the key to exist"),
    ("xgroup createconsumer s g m\r", "ERR consumer name has no CR, LF or NUL"),
    ("xreadgroup group g m count x streams s >", "ERR value is not an integer or out of range"),
    ("xreadgroup group g m count 99999999999999999999 streams s >", "ERR value is not an integer or out of range"),
    ("xreadgroup group g m block -1 streams s >", "ERR timeout is negative"),
    ("xreadgroup group g m block x streams s >", "ERR timeout is not an integer or out of range"),
    ("xreadgroup group g m streams s s >", "ERR Unbalanced XREAD list of streams"),
    ("xreadgroup group g m streams s $", "ERR The $ ID is meaningless in the context of XREADGROUP"),
    ("xreadgroup noack noack noack streams s >", "ERR Missing GROUP option for XREADGROUP"),
    ("xreadgroup group g m noack noack noack", "ERR syntax error"),
    ("xreadgroup group g m nonsense s >", "ERR syntax error"),
    ("xreadgroup group h m streams s >", "NOGROUP No such key 's' or consumer group 'h' in XREADGROUP with GROUP opt"),
    ("xack s g x", "ERR Invalid stream ID"),
    ("xpending s g - +", "ERR syntax error"),
    ("xpending s g idle 5 - +", "ERR syntax error"),
    ("xpending s g - + x", "ERR value is not an integer or out of range"),
    ("xclaim s g m x 1-0", "ERR Invalid min-idle-time argument for XCLAIM"),
    ("xclaim s g m 0 1-0 nonsense", "ERR Unrecognized XCLAIM option 'nonsense'"),
    ("xclaim s g m 0 1-0 idle x", "ERR Invalid IDLE option argument for XCLAIM"),
    ("xclaim s g m 0 1-0 lastid", "ERR Unrecognized XCLAIM option 'lastid'"),
    ("xautoclaim s g m 0 0 count 0", "ERR COUNT must be > 0"),
    ("xautoclaim s g m 0 0 count x", "ERR COUNT must be > 0"),
    ("xautoclaim s g m 0 0 nonsense", "ERR syntax error"),
])
def test_what_is_wrong_with_a_call_is_said(serving, client, words, why):
    add(client, "one")
    client.ask("xgroup", "create", "s", "g", "0")
    assert client.error(*words.split(" ")).startswith(why)
    assert client.ask("xpending", "s", "g") == [0, None, None, None]


def test_more_members_than_a_group_may_have_are_refused(serving, client, monkeypatch):
    monkeypatch.setattr("store.shared.MAX_MEMBERS", 1)
    add(client, "one")
    client.ask("xgroup", "create", "s", "g", "0")
    assert client.ask("xgroup", "createconsumer", "s", "g", "m") == 1
    for words in (["xgroup", "createconsumer", "s", "g", "n"], ["xreadgroup", "group", "g", "n", "streams", "s", ">"]):
        assert client.error(*words).startswith("ERR a group has 1 members, expected no more")


def test_who_may_not_read_a_stream_is_refused(tmp_path):
    users = users_in(tmp_path, "+@group", "+@append", "~mine")
    with Serving(tmp_path / "db", users=users) as serving:
        client = serving.connect()
        client.ask("auth", "ann", "word")
        assert client.error("xgroup", "create", "s", "g", "$", "mkstream").startswith("NOPERM")
        assert client.error("xreadgroup", "group", "g", "m", "streams", "mine", "s", ">", ">").startswith("NOPERM")
        assert client.error("xreadgroup", "group", "g", "m", "streams", "mine").startswith("ERR")
        assert isinstance(client.ask("xgroup", "help"), list)


# -- how much there is in a reply ------------------------------------------------------------

def test_a_reply_ends_at_some_size_and_the_next_goes_on(serving, client, monkeypatch):
    monkeypatch.setattr(xgroup, "MOST_AT_ONCE", 1000)
    monkeypatch.setattr(groups, "MOST_AT_ONCE", 400)
    add(client, *["x" * 300] * 8)
    client.ask("xgroup", "create", "s", "g", "0")
    ask = ["xreadgroup", "group", "g", "m", "streams", "s", ">"]
    assert [len(values(client.ask(*ask))) for _ in range(2)] == [4, 4]
    assert client.ask(*ask) is None


def test_a_group_that_is_full_gives_nothing_new_until_something_is_done(serving, client, monkeypatch):
    monkeypatch.setattr("store.shared.MAX_PENDING", 2)
    ids = add(client, "one", "two", "three")
    client.ask("xgroup", "create", "s", "g", "0")
    ask = ["xreadgroup", "group", "g", "m", "streams", "s", ">"]
    assert values(client.ask(*ask)) == [b"one", b"two"]
    assert client.ask(*ask) is None
    assert client.ask("xack", "s", "g", ids[0]) == 1
    assert values(client.ask(*ask)) == [b"three"]


# -- reads that wait ---------------------------------------------------------------------------

def test_reads_that_wait_are_given_what_comes_in_the_order_in_which_they_came(serving, client):
    client.ask("xgroup", "create", "s", "g", "$", "mkstream")
    client.ask("xgroup", "create", "t", "g", "$", "mkstream")
    members = [serving.connect() for _ in range(4)]
    for i, member in enumerate(members):
        member.command("xreadgroup", "group", "g", f"m{i}", "count", 1, "block", 0, "streams", "t", "s", ">", ">")
        waiting(serving, i + 1)
    for i, member in enumerate(members):
        add(client, str(i), key="st"[i % 2])
        assert member.value()[0][1][0][1] == [b"name", b"%d" % i]


def test_a_read_that_waits_ends_with_the_null_reply_of_its_protocol(serving, client):
    client.ask("xgroup", "create", "s", "g", "$", "mkstream")
    client.command("xreadgroup", "group", "g", "m", "block", 5, "streams", "s", ">")
    client.recv_exactly(b"*-1\r\n")
    client.ask("hello", 3)
    client.command("xreadgroup", "group", "g", "m", "block", 5, "streams", "s", ">")
    client.recv_exactly(b"_\r\n")


def test_a_read_for_what_is_the_member_s_own_does_not_wait(serving, client):
    client.ask("xgroup", "create", "s", "g", "$", "mkstream")
    assert client.ask("xreadgroup", "group", "g", "m", "block", 0, "streams", "s", "0") == [[b"s", []]]


@pytest.mark.parametrize("end, why", [
    (["xgroup", "destroy", "s", "g"], "NOGROUP the consumer group this client was blocked on no longer exists"),
    (["del", "s"], "UNBLOCKED the stream key no longer exists")])
def test_a_read_that_waits_for_what_is_deleted_is_told(serving, client, end, why):
    add(client, "one")
    client.ask("xgroup", "create", "s", "g", "$")
    member = serving.connect()
    member.command("xreadgroup", "group", "g", "m", "block", 0, "streams", "s", ">")
    waiting(serving)
    assert client.ask(*end) == 1
    reply = member.value()
    assert isinstance(reply, ErrorReply) and str(reply) == why


def test_a_read_whose_client_is_gone_takes_nothing(serving, client):
    client.ask("xgroup", "create", "s", "g", "$", "mkstream")
    gone = serving.connect()
    gone.command("xreadgroup", "group", "g", "gone", "block", 0, "streams", "s", ">")
    waiting(serving)
    gone.close()
    waiting(serving, 0)
    add(client, "one")
    assert values(client.ask("xreadgroup", "group", "g", "m", "streams", "s", ">")) == [b"one"]


def test_a_read_that_waits_ends_when_its_user_may_no_more(tmp_path):
    with Serving(tmp_path / "db", users=users_in(tmp_path, "+@all", "~*")) as serving:
        client, other = serving.connect(), serving.connect()
        for one in client, other:
            one.ask("auth", "ann", "word")
        client.ask("xgroup", "create", "s", "g", "$", "mkstream")
        client.command("xreadgroup", "group", "g", "m", "block", 0, "streams", "s", ">")
        waiting(serving)
        other.ask("acl", "setuser", "ann", "-@group")
        assert str(client.value()).startswith("NOPERM the read has ended: user ann may not read s any more")


def test_what_was_taken_for_a_reply_that_fails_is_given_to_the_next(serving, client, monkeypatch, caplog):
    add(client, "one", key="s"), add(client, "two", key="t")
    client.ask("xgroup", "create", "s", "g", "0"), client.ask("xgroup", "create", "t", "g", "0")
    usual = groups.ConsumerGroup.read_portions

    def read_portions(group, *arguments, **how):
        given = usual(group, *arguments, **how)
        if group.name == "g@s" and not given[0]:
            raise RuntimeError
        return given

    monkeypatch.setattr(groups.ConsumerGroup, "read_portions", read_portions)
    failed = client.error("xreadgroup", "group", "g", "m", "count", 9, "streams", "s", ">")
    assert failed.startswith("ERR internal error")
    monkeypatch.undo()
    assert values(client.ask("xreadgroup", "group", "g", "n", "streams", "s", ">")) == [b"one"]


def test_a_group_that_is_deleted_in_the_moment_is_said_to_be_gone(serving, client, monkeypatch):
    ids = add(client, "one")
    client.ask("xgroup", "create", "s", "g", "0")

    def gone(*arguments):
        raise NoGroup("g@s")

    monkeypatch.setattr(groups.ConsumerGroup, "ack", gone)
    monkeypatch.setattr(serving.store, "group_delete", gone)
    assert client.ask("xack", "s", "g", ids[0]) == 0
    assert client.ask("xgroup", "destroy", "s", "g") == 0
    monkeypatch.setattr(groups.ConsumerGroup, "rules", gone)
    assert client.ask("xinfo", "groups", "s") == []
    assert client.error("xpending", "s", "g").startswith("ERR there is no group")


# -- many members, and a server that is killed -------------------------------------------------

def test_members_in_many_threads_share_all_events_and_each_is_given_once(serving, client):
    client.ask("xgroup", "create", "s", "g", "0", "mkstream")
    given = []

    def work(name, member):
        while True:
            reply = member.ask("xreadgroup", "group", "g", name, "count", 7, "block", 2000, "streams", "s", ">")
            if reply is None:
                return
            got = values(reply)
            given.extend(got)
            member.ask("xack", "s", "g", *[entry[0] for entry in reply[0][1]])
            if b"end" in got:
                return

    threads = [threading.Thread(target=work, args=(f"m{i}", serving.connect())) for i in range(4)]
    for thread in threads:
        thread.start()
    wanted = [b"%d" % i for i in range(500)]
    add(client, *wanted)
    eventually(lambda: len(given) == 500)
    add(client, *["end"] * 40)      # which is enough for each to come to one
    for thread in threads:
        thread.join()
    assert sorted(one for one in given if one != b"end") == sorted(wanted)
    assert client.ask("xpending", "s", "g")[0] == 0


def test_after_a_kill_what_was_not_acknowledged_is_pending_or_given_again(server):
    running = server("--sync", "no")
    client = Client("127.0.0.1", running.port)
    client.ask("xgroup", "create", "s", "g", "0", "mkstream")
    ids = add(client, *map(str, range(60)))
    acked = set()
    for i in range(6):
        reply = client.ask("xreadgroup", "group", "g", f"m{i % 2}", "count", 8, "streams", "s", ">")
        some = [entry[0] for entry in reply[0][1]][:5]
        assert client.ask("xack", "s", "g", *some) == 5
        acked.update(some)
        if i == 2:      # what is until then is kept with that
            client.ask("xgroup", "setid", "s", "g", ids[23])
    client.close()
    running.kill()
    client = Client("127.0.0.1", server("--sync", "no").port)
    held = [row[0] for row in client.ask("xpending", "s", "g", "-", "+", 100)]
    given = [entry[0] for entry in client.ask("xreadgroup", "group", "g", "m", "streams", "s", ">")[0][1]]
    client.close()
    assert not set(held) & set(given)
    assert set(ids) - set(held) - set(given) <= acked
    assert len(set(ids) - set(held) - set(given)) >= 15


# -- a program that knows Redis Streams only -----------------------------------------------------

def test_a_worker_of_faststream_is_given_what_is_published(serving):
    redis = pytest.importorskip("faststream.redis")

    async def work():
        broker = redis.RedisBroker(f"redis://127.0.0.1:{serving.port}", logger=None)
        found, all_found = [], asyncio.Event()

        @broker.subscriber(stream=redis.StreamSub("jobs:mail", group="senders", consumer="first"))
        async def send(body: str):
            found.append(body)
            if len(found) == 20:
                all_found.set()

        async with broker:
            await broker.start()
            for i in range(20):
                await broker.publish(f"mail {i}", stream="jobs:mail")
            await asyncio.wait_for(all_found.wait(), SECONDS)
        return found

    assert sorted(asyncio.run(work())) == sorted(f"mail {i}" for i in range(20))
    assert PendingList(serving.store, serving.store.group("senders@jobs%3Amail")).counts() == {}
