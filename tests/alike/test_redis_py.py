"""redis-py's methods for streams, keys, transactions and pub/sub: the same results here and from Redis's own server."""

import re

import pytest
from conftest import SECONDS
from serving import Serving

from .redis import Redis, needs_redis

redis = pytest.importorskip("redis")

# What programs in Python do, one after the other; each gets what came of all before it.
STREAM_CALLS = [
    lambda r: r.xadd("orders", {"created": "one"}, id="1-0"),
    lambda r: r.xadd("orders", {"paid": "two", "by": "card"}, id="2-1"),
    lambda r: r.xadd("orders", {"shipped": 3}, id="3-2", maxlen=100),
    lambda r: r.xadd("orders", {"a": b"\x00\xff"}, id="4-3", minid="1", limit=10),
    lambda r: r.xadd("orders", {"a": "b"}, id="4-3"),
    lambda r: r.xadd("orders", {"a": "b"}, id="nonsense"),
    lambda r: r.xadd("orders", {}),
    lambda r: r.xadd("orders", {"a": "b"}, maxlen=1, minid=1),
    lambda r: r.xadd("absent", {"a": "b"}, nomkstream=True),
    lambda r: r.xadd("clock", {"a": "b"}, maxlen=2, approximate=False),
    lambda r: r.xlen("orders"),
    lambda r: r.xlen("absent"),
    lambda r: r.xrange("orders"),
    lambda r: r.xrange("orders", min="2", max="3-2", count=5),
    lambda r: r.xrange("orders", min="(2-1"),
    lambda r: r.xrange("orders", count=0),
    lambda r: r.xrevrange("orders"),
    lambda r: r.xrevrange("orders", max="3", min="1-0", count=1),
    lambda r: r.xread({"orders": "0"}),
    lambda r: r.xread({"orders": "2-1", "absent": "0"}, count=1),
    lambda r: r.xread({"orders": "$"}, block=1),
    lambda r: r.xread({"orders": "9"}),
    lambda r: r.xread({"orders": ">"}),
    lambda r: r.xgroup_create("orders", "g", id="0"),
    lambda r: r.xgroup_create("orders", "g", id="0"),
    lambda r: r.xgroup_create("orders", "h", entries_read=3),
    lambda r: r.xgroup_create("absent", "g"),
    lambda r: r.xgroup_create("bills", "g", mkstream=True),
    lambda r: r.xgroup_createconsumer("orders", "g", "ann"),
    lambda r: r.xreadgroup("g", "ann", {"orders": ">"}, count=2),
    lambda r: r.xreadgroup("g", "bob", {"orders": ">"}, block=1),
    lambda r: r.xreadgroup("g", "bob", {"orders": ">"}),
    lambda r: r.xreadgroup("g", "ann", {"orders": "0"}),
    lambda r: r.xreadgroup("h", "ann", {"orders": ">"}, noack=True),
    lambda r: r.xreadgroup("g", "ann", {"orders": ">", "bills": ">"}),
    lambda r: r.xreadgroup("absent", "ann", {"orders": ">"}),
    lambda r: r.xpending("orders", "g"),
    lambda r: r.xpending("orders", "h"),
    lambda r: r.xpending("orders", "absent"),
    lambda r: r.xpending_range("orders", "g", "-", "+", 10),
    lambda r: r.xpending_range("orders", "g", "1-0", "3", 1, consumername="bob", idle=0),
    lambda r: r.xclaim("orders", "g", "bob", 0, ["1-0", "9-9"]),
    lambda r: r.xclaim("orders", "g", "ann", 0, ["1-0"], idle=5, retrycount=3, force=True, justid=True),
    lambda r: r.xclaim("orders", "g", "ann", 0, ["1-0"], time=5000),
    lambda r: r.xclaim("orders", "g", "ann", 3600000, ["2-1"]),
    lambda r: r.xautoclaim("orders", "g", "carl", 0, count=2),
    lambda r: r.xautoclaim("orders", "g", "carl", 0, start_id="2-1", justid=True),
    lambda r: r.xautoclaim("orders", "g", "carl", 3600000),
    lambda r: r.xack("orders", "g", "1-0", "9-9"),
    lambda r: r.xack("absent", "g", "1-0"),
    lambda r: r.xinfo_groups("orders"),
    lambda r: r.xinfo_groups("absent"),
    lambda r: r.xinfo_consumers("orders", "g"),
    lambda r: r.xinfo_consumers("orders", "absent"),
    lambda r: r.xinfo_stream("orders"),
    lambda r: r.xinfo_stream("orders", full=True),
    lambda r: r.xinfo_stream("absent"),
    lambda r: r.xdel("orders", "2-1", "9-9"),
    lambda r: r.xreadgroup("g", "ann", {"orders": "0"}),
    lambda r: r.xautoclaim("orders", "g", "ann", 0),
    lambda r: r.xtrim("orders", maxlen=2, approximate=False),
    lambda r: r.xtrim("orders", minid="4", approximate=False),
    lambda r: r.xtrim("orders", maxlen=1, limit=5),
    lambda r: r.xtrim("orders"),
    lambda r: r.xgroup_setid("orders", "g", "0"),
    lambda r: r.xgroup_setid("orders", "g", "3-2", entries_read=3),
    lambda r: r.xgroup_delconsumer("orders", "g", "bob"),
    lambda r: r.xgroup_destroy("orders", "h"),
    lambda r: r.xgroup_destroy("orders", "h"),
]

# Newer than Redis 7.0, so that neither server has them; and newer than some versions of redis-py.
NEWER_CALLS = [
    lambda r: r.xackdel("orders", "g", "1-0"),
    lambda r: r.xdelex("orders", "1-0"),
    lambda r: r.xcfgset("orders", idmp_duration=5),
    lambda r: r.xnack("orders", "g", "FAIL", "1-0"),
]
STREAM_CALLS += [call for call in NEWER_CALLS if hasattr(redis.Redis, call.__code__.co_names[0])]

OTHER_CALLS = [
    lambda r: r.ping(),
    lambda r: r.echo("hello"),
    lambda r: sorted(r.keys("*")),
    lambda r: sorted(r.scan_iter("ord*")),
    lambda r: sorted(r.scan_iter("*", _type="stream")),
    lambda r: r.type("orders"),
    lambda r: r.exists("orders", "bills", "absent"),
    lambda r: r.dbsize(),
    lambda r: r.ttl("orders"),
    lambda r: r.object("encoding", "orders"),
    lambda r: r.memory_usage("absent"),
    lambda r: r.delete("orders", "absent"),
    lambda r: r.unlink("bills"),
    lambda r: r.exists("orders"),
    lambda r: r.pipeline().xadd("p", {"a": "b"}).xadd("p", {"c": "d"}).ping().execute(),
    lambda r: r.pipeline(transaction=False).xlen("p").xrange("p").xread({"p": "1"}).execute(),
    lambda r: r.pipeline(transaction=False).xadd("q", {"a": "b"}, id="1-0").xadd("q", {}, id="x").execute(),
    lambda r: r.pipeline(transaction=False).xadd("q", {"a": "b"}, id="x").xlen("q").execute(raise_on_error=False),
    lambda r: r.client_getname(),
    lambda r: r.client_setname("me"),
    lambda r: r.client_getname(),
    lambda r: r.pubsub_numpat(),
    lambda r: r.pubsub_channels(),
    lambda r: r.pubsub_numsub("orders"),
    lambda r: r.execute_command("NONSENSE"),
    lambda r: r.select(0),
    lambda r: r.module_list(),
    lambda r: r.role()[0],
]

# What is otherwise each time; and what only newer Redises, and this server, say.
VARYING = {"idle", "time_since_delivered", "seen-time"}
NEWER = {"inactive"}


@pytest.fixture
def on_both(tmp_path):
    """A client for each server, with these options: on_both(**options) -> Redis's, ours."""
    clients = []
    with Redis() as real, Serving(tmp_path / "db") as serving:
        def connect(**options):
            options = {**options, "socket_timeout": SECONDS}
            clients.append(redis.Redis(unix_socket_path=real.path, **options))
            clients.append(redis.Redis(port=serving.port, **options))
            return clients[-2:]

        real.connect().close()
        yield connect
        for client in clients:
            client.close()


# redis-py 7 asks what address a Unix socket has, and fails.
needs_redis_py_8 = pytest.mark.skipif(int(redis.__version__.split(".")[0]) < 8, reason="needs redis-py 8")


@needs_redis
@pytest.mark.parametrize("options", [{"protocol": 2}, pytest.param({"protocol": 3}, marks=needs_redis_py_8), {},
                                     {"decode_responses": True}],
                         ids=lambda options: str(options) if options else "as they are")
def test_methods_have_the_same_results(on_both, options):
    theirs, ours = on_both(**options)
    for call in STREAM_CALLS + OTHER_CALLS:
        assert result(call, ours) == result(call, theirs), f"the call in line {call.__code__.co_firstlineno}"


def result(call, client):
    """What a call returns, or which error it raises, without what varies."""
    try:
        return constant(call(client))
    except (redis.RedisError, ValueError) as error:
        return type(error), str(error).partition(",")[0].partition(";")[0][:30]


def constant(value):
    """A result without times and such, and with ids of the clock's making as one."""
    if isinstance(value, dict):
        return {key: "varies" if text_of(key) in VARYING else constant(one) for key, one in value.items()
                if text_of(key) not in NEWER}
    if isinstance(value, (list, tuple)):
        return type(value)(map(constant, value))
    if isinstance(value, int) and value > 1e12:
        return "a time"
    if isinstance(value, Exception):
        return type(value), str(value)
    if re.fullmatch(r"1[0-9]{12}-[0-9]+", text_of(value)):
        return "an id"
    return value


def text_of(value):
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def test_no_method_for_streams_is_left_out():
    called = {name for call in STREAM_CALLS for name in call.__code__.co_names}
    methods = {name for name in dir(redis.commands.core.StreamCommands) if name.startswith("x")}
    assert methods <= called, methods - called
