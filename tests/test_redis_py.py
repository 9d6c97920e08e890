"""redis-py as it is: its pub/sub in all its ways, and its pipelines, against this server."""

import contextlib
import queue

import pytest
from serving import eventually

redis = pytest.importorskip("redis")

both = pytest.mark.parametrize("protocol", [2, 3])
SECONDS = 10.0


@pytest.fixture
def ask(serving):
    """ask(db=…, protocol=…, …) -> a redis.Redis of the server."""
    with contextlib.ExitStack() as opened:
        def start(**options):
            client = redis.Redis(port=serving.port, **options)
            opened.callback(client.close)
            return client
        yield start


@pytest.fixture
def listen(ask):
    """The same, its pubsub()."""
    with contextlib.ExitStack() as opened:
        def start(**options):
            listener = ask(**options).pubsub()
            opened.callback(listener.close)
            return listener
        yield start


def messages(listener, count, **options):
    """The next `count` of what get_message gives, each as (type, pattern, channel, data)."""
    found = [listener.get_message(timeout=SECONDS, **options) for _ in range(count)]
    return [(one["type"], one["pattern"], one["channel"], one["data"]) for one in found]


@both
def test_channels_in_database_1_and_patterns_in_any(ask, listen, protocol):
    publisher = ask(protocol=protocol)
    listener, other = listen(db=1, protocol=protocol), listen(protocol=protocol)
    listener.subscribe("orders:1", "bills")
    listener.psubscribe("o*")
    other.psubscribe("b[a-i]lls")
    assert messages(listener, 3) == [("subscribe", None, b"orders:1", 1), ("subscribe", None, b"bills", 2),
                                     ("psubscribe", None, b"o*", 3)]
    assert messages(other, 1) == [("psubscribe", None, b"b[a-i]lls", 1)]
    assert (publisher.publish("orders:1", b"\0\r\n"), publisher.publish("bills", "2")) == (2, 2)
    assert sorted(messages(listener, 3), key=lambda one: (one[0], one[2])) == [
        ("message", None, b"bills", b"2"), ("message", None, b"orders:1", b"\0\r\n"),
        ("pmessage", b"o*", b"orders:1", b"\0\r\n")]
    assert messages(other, 1) == [("pmessage", b"b[a-i]lls", b"bills", b"2")]
    assert sorted(publisher.pubsub_channels()) == [b"bills", b"orders:1"]
    assert (publisher.pubsub_numsub("bills", "x"), publisher.pubsub_numpat()) == ([(b"bills", 1), (b"x", 0)], 2)
    listener.ping("hello")
    assert messages(listener, 1) == [("pong", None, None, b"hello")]
    listener.unsubscribe()
    listener.punsubscribe()
    other.unsubscribe()     # of which it has none, in database 0
    assert [one[0] for one in messages(listener, 3)] == ["unsubscribe", "unsubscribe", "punsubscribe"]
    assert messages(other, 1)[0][:3] == ("unsubscribe", None, None)
    assert not listener.subscribed


@both
def test_entries_and_events_are_messages_too(ask, listen, protocol):
    publisher, listener = ask(protocol=protocol), listen(db=1, protocol=protocol)
    listener.subscribe("orders:1")
    assert listener.get_message(timeout=SECONDS)["type"] == "subscribe"
    publisher.xadd("orders:1", {"created": "one"})
    publisher.execute_command("publish", "orders%3A1", "paid", "two")
    assert [one[3] for one in messages(listener, 2)] == [b"one", b"two"]


@both
def test_listen_gives_messages_until_nothing_is_subscribed_to(ask, listen, protocol):
    publisher, listener = ask(protocol=protocol), listen(db=1, protocol=protocol)
    listener.subscribe("a")
    found = []
    for message in listener.listen():
        found.append(message["data"])
        if message["type"] == "subscribe":
            publisher.publish("a", "one")
        elif message["type"] == "message":
            listener.unsubscribe("a")
    assert found == [1, b"one", 0]


@both
def test_a_thread_hands_messages_to_handlers_and_asks_whether_the_server_is_well(ask, protocol):
    publisher, found = ask(protocol=protocol), queue.Queue()
    listener = ask(db=1, protocol=protocol, health_check_interval=0.01).pubsub(ignore_subscribe_messages=True)
    listener.subscribe(a=lambda message: found.put(message["data"]))
    listener.psubscribe(**{"b*": lambda message: found.put(message["data"])})
    thread = listener.run_in_thread(sleep_time=0.02)
    eventually(lambda: publisher.pubsub_numpat() == 1, "the subscription")
    for number in range(20):
        publisher.publish("a" if number % 2 else "bb", str(number))
        assert found.get(timeout=SECONDS) == b"%d" % number
    thread.stop()
    thread.join(SECONDS)
    assert not thread.is_alive()


@both
def test_a_listener_subscribes_again_when_the_server_was_away(server, protocol):
    first = server()
    with redis.Redis(port=first.port, db=1, protocol=protocol) as client, client.pubsub() as listener:
        listener.subscribe("a")
        listener.psubscribe("b*")
        assert len(messages(listener, 2)) == 2
        assert first.stop() == 0
        server("--port", str(first.port))
        assert sorted((one[0], one[2]) for one in messages(listener, 2)) == [("psubscribe", b"b*"), ("subscribe", b"a")]
        assert (client.publish("a", "one"), client.publish("bb", "two")) == (1, 1)
        assert sorted(one[3] for one in messages(listener, 2)) == [b"one", b"two"]


@both
def test_a_pipeline_is_a_transaction_or_none(serving, ask, protocol):
    client = ask(protocol=protocol)
    pipeline = client.pipeline()
    pipeline.xadd("k:1", {"f": "1"}).publish("k:1", "2").execute_command("publish", "s", "x", "3")
    pipeline.xadd("k:1", {"f": "4"}, maxlen=2, approximate=False).ping()
    first, receivers, named, second, pong = pipeline.execute()
    assert (receivers, named, pong) == (0, b"OK", True)
    assert client.xrange("k:1") == [(client.xrange("k:1")[0][0], {b"message": b"2"}), (second, {b"f": b"4"})]
    assert first < second

    before = serving.store.position
    with pytest.raises(redis.ResponseError, match=r"Command # 2 \(XLEN k:1\) of pipeline caused error: XLEN isn't for"):
        client.pipeline().xadd("k:1", {"f": "5"}).xlen("k:1").execute()
    assert serving.store.position == before
    with pytest.raises(redis.ResponseError, match="WATCH isn't supported"):
        client.pipeline().watch("k:1")
    assert client.pipeline(transaction=False).xadd("k:1", {"f": "5"}).xlen("k:1").execute()[1] == 3
