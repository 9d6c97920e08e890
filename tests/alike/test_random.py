"""Random sequences of calls to this server and to Redis's: each reply is the same."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving import Serving

from .playing import are_alike, both_sides, play
from .redis import Redis, needs_redis
from .wire import Reply, changed, shown

EXAMPLES = 40       # of each protocol; 2,000 take some minutes

KEY = st.sampled_from(["orders", "orders", "orders", "bills"])
GROUP = st.sampled_from(["g", "g", "h"])
CONSUMER = st.sampled_from(["ann", "bob"])
MOST = 8            # numbers that calls speak of; entries have few more
NUMBER = st.integers(0, MOST)


def words(*parts):
    """Calls: each part is a strategy or what stands there always; what is empty is left out."""
    parts = [part if isinstance(part, st.SearchStrategy) else st.just(part) for part in parts]
    return st.tuples(*parts).map(lambda found: " ".join(filter(None, found)))


def maybe(*parts):
    return st.just("") | words(*parts)


ID = NUMBER.map("<{}>".format)        # what `numbered` makes an id of
PLACE = ID | st.integers(0, MOST + 2).map(str)
FROM = PLACE | PLACE.map("({}".format) | st.just("-")
TO = PLACE | PLACE.map("({}".format) | st.just("+")
COUNT = maybe("COUNT", st.integers(0, 4).map(str))
TRIM = words(st.sampled_from(["MAXLEN", "MAXLEN ="]), st.integers(0, 4).map(str)) | words("MINID", PLACE)
AFTER = st.just("$") | PLACE
FIELDS = st.sampled_from(["a 1", "a 1 b 2", "a 1 a 2", "b ''"])

ADD = words("XADD", KEY, maybe("NOMKSTREAM"), st.just("") | st.just("") | TRIM, "<next>", FIELDS)
READ_GROUP = words("XREADGROUP GROUP", GROUP, CONSUMER, COUNT, maybe("NOACK"), "STREAMS", KEY,
                   st.sampled_from([">", ">", ">"]) | PLACE)
CALLS = st.one_of(
    ADD, ADD, ADD, READ_GROUP, READ_GROUP, READ_GROUP,
    words("XACK", KEY, GROUP, ID, maybe(ID)),
    words("XDEL", KEY, ID, maybe(ID)),
    words("XTRIM", KEY, TRIM),
    words("XRANGE", KEY, FROM, TO, COUNT),
    words("XREVRANGE", KEY, TO, FROM, COUNT),
    words("XREAD", COUNT, "STREAMS", KEY, AFTER),
    words("XREAD", COUNT, "STREAMS orders bills", AFTER, AFTER),
    words("XLEN", KEY),
    words("XINFO STREAM", KEY, maybe("FULL")),
    words("XINFO GROUPS", KEY),
    words("XINFO CONSUMERS", KEY, GROUP),
    words("XGROUP CREATE", KEY, GROUP, st.sampled_from(["0", "$"]), maybe("MKSTREAM")),
    words("XGROUP SETID", KEY, GROUP, st.sampled_from(["0", "$"])),
    words("XGROUP SETID orders", GROUP, st.sampled_from(["<0>", "1"])),     # no id that is yet to come
    words("XGROUP DESTROY orders", GROUP),      # a stream without events ends with its last group
    words("XGROUP CREATECONSUMER", KEY, GROUP, CONSUMER),
    words("XGROUP DELCONSUMER", KEY, GROUP, CONSUMER),
    words("XPENDING", KEY, GROUP),
    words("XPENDING", KEY, GROUP, maybe("IDLE 0"), FROM, TO, st.integers(0, 4).map(str), st.just("") | CONSUMER),
    words("XCLAIM", KEY, GROUP, CONSUMER, "0", ID, maybe(ID), maybe("FORCE"), maybe("JUSTID"),
          maybe("RETRYCOUNT", st.integers(0, 3).map(str)), maybe("LASTID <0>")),
    words("XAUTOCLAIM", KEY, GROUP, CONSUMER, "0", FROM, maybe("COUNT", st.integers(1, 4).map(str)), maybe("JUSTID")),
)


# Fields of XINFO that differ, as differences.py says; and those that name an event which may be gone: then its
# number is known, and no longer its time.
OTHERWISE = {b"lag", b"inactive", b"max-deleted-entry-id", b"radix-tree-keys", b"radix-tree-nodes"}
LAST = {b"last-generated-id", b"last-delivered-id"}


def without_differences(reply):
    """A reply without what differs in it, be it a map or a list of fields and values."""
    kind, value = reply
    if kind == "%":
        return Reply(kind, [(key, _known(key, one)) for key, one in value if key.value not in OTHERWISE])
    if kind == "*" and value:
        fields = [Reply("", None), *value]      # before each of them
        return Reply(kind, [_known(field, one) for field, one in zip(fields, value)
                            if not _is_in(OTHERWISE, field) and not _is_in(OTHERWISE, one)])
    return reply


def _known(field, value):
    return Reply(value.kind, value.value.rpartition(b"-")[2]) if _is_in(LAST, field) else value


def _is_in(names, reply):
    return isinstance(reply.value, bytes) and reply.value in names


BEGIN = ["XADD orders <next> a 1", "XGROUP CREATE orders g 0"]


def numbered(calls):
    """Calls with ids: <3> is that of the event of number 3, <next> that of the next event of its key."""
    following = {"orders": 0, "bills": 0}
    existing = set()
    for call in calls:
        command, *_ = parts = call.split()
        if command == "XGROUP" and parts[-1] == "MKSTREAM":
            existing.add(parts[2])
        if command == "XADD":
            key = parts[1]
            if "NOMKSTREAM" not in parts:
                existing.add(key)
            call = call.replace("<next>", id_of(following[key]))
            following[key] += key in existing
        for number in range(MOST + 1):
            call = call.replace(f"<{number}>", id_of(number))
        yield call


def id_of(number):
    return f"{number - number % 3 + 1}-{number}"


@needs_redis
@pytest.mark.parametrize("protocol", [2, 3])
def test_any_sequence_of_calls_has_the_same_replies(tmp_path, protocol):
    with Redis() as redis, Serving(tmp_path / "db") as serving, both_sides(protocol, redis, serving.port) as sides:

        @settings(max_examples=EXAMPLES, derandomize=True, database=None,
                  suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
        @given(st.lists(CALLS, min_size=8, max_size=30))
        def replies_are_alike(calls):
            for compared in play("\n".join(numbered([*BEGIN, *calls])), *sides):
                redis_said, we_said = (changed(reply, without_differences) for reply in compared[1:])
                assert are_alike(redis_said, we_said), (
                    f"{compared.step.text}\n    Redis: {shown(compared.redis)}\n    ours:  {shown(compared.ours)}")

        replies_are_alike()
