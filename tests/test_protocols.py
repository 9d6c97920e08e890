"""Every command answers in the protocol of its connection: each is asked in RESP2 and in RESP3.

A reply in RESP2 has the types of RESP2 alone, one in RESP3 has none of RESP2's nulls, and both say the same.
"""

import shlex

import pytest
from naive_resp import IN_RESP2, NOT_IN_RESP3, Cut, Reader, in_resp2, types
from serving import Serving

from server.commands import COMMANDS
from server.users import Cost, Users, create

# One after the other, each line by a connection of its own: what is asked, and the type of the last reply in RESP3.
CALLS = """
    publish s created one                               simple
    publish s created two                               simple
    publish t moved three                               simple
    append s any paid four id-1 meta                    array
    append s 0 paid five id-2 meta                      error
    dcb-append 1 d made six id-3 meta 1 tag             array
    dcb-read 0 10 ITEM 1 made 1 tag                     array
    last-event-number s                                 array
    last-event-number nowhere                           array
    stream-names                                        array
    search-streams COUNT 1                              array
    search-streams PREFIX nowhere                       array
    read stream s 0 10                                  array
    read-back $all - 10                                 array
    read-last stream s                                  array
    read-last stream nowhere                            null _
    stream-info s                                       map
    stream-info nowhere                                 null _
    snapshot-put s 0 kept                               simple
    snapshot-get s                                      array
    snapshot-get nowhere                                null _
    snapshot-delete s                                   simple

    group-create g stream s 0                           simple
    groups                                              array
    group-read g m 2                                    array
    group-read g m 2 ; group-read g m 2                 array
    group-info g                                        map
    group-info nowhere                                  error
    group-ack g 0                                       integer
    group-refuse g 1                                    simple
    group-refuse g 99                                   null _
    group-refuse g 3 park why                           null _
    group-parked g                                      array
    group-replay g                                      integer
    group-discard g 0                                   integer
    group-leave g m                                     integer
    group-delete g                                      simple

    retain stream s MAX-COUNT 100                       simple
    retention                                           array
    truncate s 1                                        integer
    redact s 1                                          simple
    delete t                                            simple
    compact                                             array
    chain-head                                          error
    verify                                              error
    check                                               map
    export                                              bulk
    export 0 3                                          array
    import nonsense                                     error
    backup nowhere                                      error

    xadd k 1-0 f v                                      bulk
    xadd k 2-1 f v g w                                  bulk
    xadd k 2-1 f v                                      error
    xadd nowhere NOMKSTREAM * f v                       null _
    xlen k                                              integer
    xrange k - +                                        array
    xrange nowhere - +                                  array
    xrevrange k + - COUNT 1                             array
    xread STREAMS s 0                                   map
    xread STREAMS k $                                   null _
    xread BLOCK 1 STREAMS k $                           null _
    xinfo STREAM k                                      map
    xinfo STREAM k FULL                                 map
    xinfo HELP                                          array
    xgroup CREATE k g 0                                 simple
    xgroup CREATE k g 0                                 error
    xgroup CREATECONSUMER k g c                         integer
    xinfo GROUPS k                                      array
    xinfo CONSUMERS k g                                 array
    xreadgroup GROUP g c COUNT 1 STREAMS k >            map
    xreadgroup GROUP g c STREAMS k 0                    map
    xpending k g                                        array
    xpending k g - + 10                                 array
    xclaim k g c 0 1-0                                  array
    xautoclaim k g c 0 0                                array
    xack k g 1-0                                        integer
    xreadgroup GROUP g c STREAMS k >                    map
    xreadgroup GROUP g c STREAMS k >                    null _
    xsetid k 9-9                                        error
    xdel k 1-0                                          integer
    xtrim k MAXLEN 1                                    integer
    xgroup DESTROY k g                                  integer

    scan 0                                              array
    keys *                                              array
    dbsize                                              integer
    randomkey                                           bulk
    type k                                              simple
    type nowhere                                        simple
    exists k nowhere                                    integer
    touch k                                             integer
    ttl k                                               integer
    pttl k                                              integer
    expiretime k                                        integer
    pexpiretime nowhere                                 integer
    persist k                                           integer
    publish k f v                                       simple
    object ENCODING k                                   bulk
    object ENCODING nowhere                             null _
    object HELP                                         array
    memory USAGE k                                      integer
    memory USAGE nowhere                                null _
    memory STATS                                        map
    memory DOCTOR                                       verbatim
    del k nowhere                                       integer
    unlink nowhere                                      integer
    randomkey                                           bulk

    ping                                                simple
    ping text                                           bulk
    echo text                                           bulk
    time                                                array
    hello                                               map
    hello 4                                             error
    reset                                               simple
    select 0                                            simple
    auth ops secret                                     simple
    auth ops wrong                                      error
    info                                                verbatim
    info everything                                     verbatim
    config GET *                                        map
    config SET maxclients 99                            simple
    command                                             array
    command COUNT                                       integer
    command LIST                                        array
    command DOCS ping xadd nothing                      map
    command INFO ping nothing                           array
    client ID                                           integer
    client GETNAME                                      null _
    client SETNAME me ; client GETNAME                  bulk
    client SETINFO LIB-NAME mine                        simple
    client INFO                                         verbatim
    client LIST                                         verbatim
    client KILL ID 99999                                integer
    client UNBLOCK 99999                                integer
    client TRACKINGINFO                                 map
    client GETREDIR                                     integer
    client HELP                                         array
    acl WHOAMI                                          bulk
    acl LIST                                            array
    acl USERS                                           array
    acl GETUSER ops                                     map
    acl GETUSER nobody                                  null _
    acl CAT                                             array
    acl GENPASS                                         bulk
    slowlog GET                                         array
    slowlog LEN                                         integer
    latency HISTOGRAM                                   map
    latency HISTOGRAM ping                              map
    latency HELP                                        array
    role                                                array
    wait 0 1                                            integer
    module LIST                                         array
    lastsave                                            integer
    lolwut                                              verbatim

    multi                                               simple
    multi ; publish s queued e ; exec                   array
    multi ; discard                                     simple
    multi ; info ; exec                                 error
    exec                                                error
    discard                                             error
    watch s                                             error
    unwatch                                             simple
    pubsub CHANNELS                                     array
    pubsub NUMSUB s                                     array
    pubsub NUMPAT                                       integer
    subscribe s                                         push
    subscribe s ; unsubscribe s                         push
    unsubscribe                                         push
    follow stream s -                                   push
    unfollow stream s                                   push
    select 1 ; subscribe s                              push
    psubscribe s*                                       push
    punsubscribe                                        push
    monitor                                             simple
    quit                                                simple
"""
ROWS = [tuple(map(str.strip, line.rsplit("  ", 1))) for line in CALLS.splitlines() if line]


@pytest.fixture(scope="module")
def replies(tmp_path_factory):
    """{what is asked: (replies in RESP2, replies in RESP3)}, all as the naive reader reads them."""
    folder = tmp_path_factory.mktemp("protocols")
    path = str(folder / "users")
    create(path)
    users = Users(path, Cost(2, 8, 1))
    users.change("ops", ["on", ">secret", "+@all", "~*"])
    asked = []
    for protocol in (2, 3):
        with Serving(folder / f"db-{protocol}", users=users) as serving:
            asked.append([ask(serving, protocol, calls.split(" ; ")) for calls, _ in ROWS])
    return list(zip(*asked))


def ask(serving, protocol, calls):
    """The first value that each of some calls on a new connection is answered with."""
    client = serving.connect()
    received = bytearray()
    client.command("hello", protocol, "auth", "ops", "secret")
    assert next_value(client, received)[0] in ("array", "map")
    found = []
    for call in calls:
        client.command(*shlex.split(call))
        found.append(next_value(client, received))
    client.close()
    return found


def next_value(client, received):
    """The next value that the server sends, as the naive reader reads it; `received` is what was read so far."""
    while True:
        try:
            value, end = Reader(bytes(received), 1 << 20, 1 << 20).read(0, 0)
        except Cut:
            data = client.sock.recv(1 << 16)
            assert data, "the server closed the connection"
            received += data
        else:
            del received[:end]
            return value


def skeleton(value):
    """What a value is made of, without strings and numbers: those of times and of ids aren't the same twice."""
    kind, content = value
    return kind, [skeleton(item) for item in content] if kind == "array" else None


@pytest.mark.parametrize("row", range(len(ROWS)), ids=[calls for calls, _ in ROWS])
def test_a_command_answers_in_the_protocol_of_its_connection(replies, row):
    calls, expected = ROWS[row]
    name = calls.split()[0]
    in_2, in_3 = replies[row]
    kind, content = in_3[-1]
    assert f"{kind} {content}".split()[:len(expected.split())] == expected.split(), in_3[-1]
    for one in in_2:
        assert types(one) <= IN_RESP2
    for one in in_3:
        assert not types(one) & NOT_IN_RESP3
    if name not in OWN_FORMS and not calls.startswith(VARYING):
        assert [skeleton(in_resp2(one)) for one in in_2] == [skeleton(in_resp2(one)) for one in in_3]


# Subscriptions are told in MeiliES's way in RESP2 and by pushes in RESP3; what XREAD gives is a map
# in RESP3, and in RESP2 an array of pairs.
OWN_FORMS = ("subscribe", "unsubscribe", "follow", "unfollow", "xread", "xreadgroup")
# What these say is as long as what happened before took time.
VARYING = ("slowlog GET", "latency HISTOGRAM")


def test_every_command_is_asked():
    assert {calls.split()[0] for calls, _ in ROWS} >= {name.decode() for name in COMMANDS}


# What redis-py makes values of by itself, whichever protocol it speaks.
def seen_by_redis_py(client):
    return {
        "info": set(client.info("server")),
        "config": client.config_get("max*"),
        "client": [one["name"] for one in client.client_list()],
        "name": client.client_getname(),
        "nobody": client.acl_getuser("nobody"),
        "nothing": client.execute_command("stream-info", "nowhere"),
        "keys": (client.keys(), client.scan(), client.dbsize(), client.type("s"), client.ttl("s"), client.exists("s")),
        "entries": (client.xrange("s"), client.xrevrange("s", count=1)),
        "nothing to read": not client.xread({"s": "$"}),
        "memory": set(client.memory_stats()),
        "commands": set(client.command()),
        "role": client.role(),
        "channels": client.pubsub_numsub("s"),
    }


def test_redis_py_reads_the_same_in_both_protocols(serving):
    redis = pytest.importorskip("redis")
    serving.store.append("s", "created", b"one")
    seen = []
    for protocol in (2, 3):
        with redis.Redis(port=serving.port, protocol=protocol) as client:
            seen.append(seen_by_redis_py(client))
    assert seen[0] == seen[1]
    [(_, fields)] = seen[0]["entries"][0]
    assert fields == {b"created": b"one"}
