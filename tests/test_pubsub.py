"""Redis's pub/sub: who gets what, in which form, and who may (server/pubsub.py)."""

import pytest
from serving import OK, Serving, eventually, publish
from test_access import users  # noqa: F401  (a fixture)

import resp
from resp import ErrorReply, Push

both = pytest.mark.parametrize("protocol", [2, 3])


@pytest.fixture
def listen(serving):
    """listen(command, …, protocol=2) -> a Client that has subscribed so, in database 1."""
    def start(*arguments, protocol=2):
        client = serving.connect()
        client.ask("hello", protocol)
        client.ask("select", 1)
        client.command(*arguments)
        for _ in arguments[1:]:
            client.value()
        return client
    return start


def acknowledgement(word, name, count, kind="*"):
    shown = f"${len(name)}\r\n{name}" if name is not None else "_" if kind == ">" else "$-1"
    return f"{kind}3\r\n${len(word)}\r\n{word}\r\n{shown}\r\n:{count}\r\n".encode()


def message(channel, data, kind="*"):
    return kind.encode() + resp.command("message", channel, data)[1:]


def pmessage(pattern, channel, data, kind="*"):
    return kind.encode() + resp.command("pmessage", pattern, channel, data)[1:]


# -- subscribing --------------------------------------------------------------

@both
def test_channels_and_patterns_are_acknowledged_with_how_many_there_are(serving, protocol):
    client, kind = serving.connect(), ">" if protocol == 3 else "*"
    client.ask("hello", protocol)
    client.ask("select", 1)
    client.command("subscribe", "a", "b:1", "a")
    client.recv_exactly(b"".join(acknowledgement("subscribe", *one, kind) for one in [("a", 1), ("b:1", 2), ("a", 2)]))
    client.command("psubscribe", "a*", "x")
    client.recv_exactly(b"".join(acknowledgement("psubscribe", *one, kind) for one in [("a*", 3), ("x", 4)]))
    client.command("unsubscribe", "nothing", "a")
    client.recv_exactly(b"".join(acknowledgement("unsubscribe", *one, kind) for one in [("nothing", 4), ("a", 3)]))
    client.command("unsubscribe")
    client.recv_exactly(acknowledgement("unsubscribe", "b:1", 2, kind))
    client.command("unsubscribe")
    client.recv_exactly(acknowledgement("unsubscribe", None, 2, kind))
    client.command("punsubscribe")
    client.recv_exactly(b"".join(acknowledgement("punsubscribe", *one, kind) for one in [("a*", 1), ("x", 0)]))
    client.command("punsubscribe")
    client.recv_exactly(acknowledgement("punsubscribe", None, 0, kind))
    assert len(serving.poller.feeds) == 0


@both
def test_subscribers_get_what_comes_to_the_stream_of_their_key(client, listen, protocol):
    kind = ">" if protocol == 3 else "*"
    client.ask("publish", "orders%3A1", "created", "before")
    listener = listen("subscribe", "orders:1", protocol=protocol)
    client.send(publish("orders%3A1", "one", "created") + resp.command("publish", "orders:1", "two")
                + resp.command("append", "orders%3A1", "any", "x", b"\r\n\0", "id", "metadata")
                + publish("orders", "another stream"))
    client.recv_exactly(OK + b":1\r\n" + b"*1\r\n*2\r\n:3\r\n:3\r\n" + OK)
    listener.recv_exactly(b"".join(message("orders:1", data, kind) for data in ("one", "two", b"\r\n\0")))


@both
@pytest.mark.parametrize("pattern, channels", [
    ("orders:*", ["orders:1", "orders:2"]), ("orders:1", ["orders:1"]), ("*", ["orders:1", "orders:2", "orders", "o"]),
    ("*:[2-9]", ["orders:2"]), ("?", ["o"]), ("nothing*", []),
])
def test_patterns_get_what_comes_to_each_key_that_matches(client, listen, pattern, channels, protocol):
    kind = ">" if protocol == 3 else "*"
    listener = listen("psubscribe", pattern, protocol=protocol)
    names = ["orders:1", "orders:2", "orders", "o"]
    for name in names:
        assert client.ask("publish", name, name + "!") == (name in channels)
    client.ask("publish", "the-end", "x", "d")
    listener.recv_exactly(b"".join(pmessage(pattern, name, name + "!", kind) for name in names if name in channels))


def test_patterns_are_redis_s_in_database_0_as_well(client, listen):
    listener = listen("psubscribe", "a*")
    listener.ask("punsubscribe")
    listener.ask("select", 0)
    listener.command("psubscribe", "a*")
    listener.recv_exactly(acknowledgement("psubscribe", "a*", 1))


def test_each_subscription_that_an_event_is_for_is_sent_it(client, listen):
    listener = listen("subscribe", "abc")
    listener.command("psubscribe", "a*", "abc")
    listener.value(), listener.value()
    assert client.ask("publish", "abc", "d") == 3
    assert sorted([listener.value() for _ in range(3)]) == [
        [b"message", b"abc", b"d"], [b"pmessage", b"a*", b"abc", b"d"], [b"pmessage", b"abc", b"abc", b"d"]]


def test_a_pipeline_of_messages_is_answered_one_by_one_wherever_one_is_wrong(serving, client, listen):
    listener = listen("psubscribe", "b*")
    serving.store.append("gone", "x", b"")
    serving.store.delete("gone", forever=True)
    sent = [["publish", name, str(number)] for number in range(50) for name in ("a", "bb", "b:1")]
    sent[20] = ["publish", "", "x"]
    sent[100] = ["publish", "gone", "x"]
    sent[130:130] = [["publish", "bb", "x", "named"]]
    client.send(b"".join(resp.command(*request) for request in sent))
    for request in sent:
        reply = client.value()
        if len(request) == 4:
            assert reply == b"OK"
        elif request[1] in ("", "gone"):
            assert isinstance(reply, ErrorReply)
        else:
            assert reply == (request[1] != "a")
    told = [request for request in sent if request[1].startswith("b")]
    assert [listener.value()[2:] for _ in told] == [[one[1].encode(), one[-1].encode()] for one in told]


def test_nothing_comes_twice_or_is_missed_when_a_channel_is_subscribed_to_again(serving, client, listen):
    listener = listen("subscribe", "a", protocol=3)
    publisher = serving.connect()
    for number in range(100):
        publisher.send(publish("a", str(number)))
        if number % 5 == 0:
            listener.command("subscribe", "a")
    found = []
    while len(found) < 100:
        value = listener.value()
        if value[0] == b"message":
            found.append(int(value[2]))
    assert found == list(range(100))


def test_database_0_has_meilies_s_subscribe_beside_it(serving, listen):
    listener = listen("subscribe", "a", protocol=3)
    listener.ask("select", 0)
    assert listener.ask("subscribe", "a:0") == [b"subscribe", b"a", 1]
    serving.connect().ask("publish", "a", "x", "d")
    assert sorted([listener.value(), listener.value()]) == [[b"event", b"a", 0, b"x", b"d"], [b"message", b"a", b"d"]]
    assert listener.ask("unsubscribe") == [b"unsubscribe", b"a", 0]
    assert listener.ask("unsubscribe") == [b"unsubscribe", None, 1]
    listener.ask("select", 1)
    assert listener.ask("unsubscribe") == [b"unsubscribe", b"a", 0]


@both
def test_who_listens_to_patterns_in_database_0_is_told_in_redis_s_way_that_no_channel_is_left(serving, protocol):
    client = serving.connect()
    client.ask("hello", protocol)
    client.ask("psubscribe", "a*")
    client.command("unsubscribe")
    client.recv_exactly(acknowledgement("unsubscribe", None, 1, ">" if protocol == 3 else "*"))


def test_a_subscriber_who_changes_the_protocol_gets_messages_in_the_new_one(client, listen):
    listener = listen("subscribe", "a", protocol=3)
    client.ask("publish", "a", "1")
    assert type(listener.value()) is Push
    listener.ask("hello", 2)
    client.ask("publish", "a", "2")
    listener.recv_exactly(message("a", "2"))
    assert "only (P|S)SUBSCRIBE" in listener.error("hello", 3)


def test_a_redacted_event_is_nobodys_message(serving, client, listen):
    """One that fell behind reads it from the log."""
    listener = listen("subscribe", "a")
    for follower in serving.connection_of(listener).subscriptions.values():
        serving.poller.feeds._feeds[b"a"].pool.pop(follower)        # as if its socket had refused
    for data in ("0", "1", "2", ""):
        client.ask("publish", "a", data)
    client.ask("redact", "a", 1)
    connection = serving.connection_of(listener)
    connection.catch_up(follower)
    listener.recv_exactly(message("a", "0") + message("a", "2") + message("a", ""))


def test_a_subscriber_that_reads_slowly_misses_nothing_and_slows_nobody(serving, client, listen):
    listener = listen("psubscribe", "*")
    outbox, count, data = serving.connection_of(listener).outbox, 0, "x" * 100_000
    while count < 30 or not outbox.blocked:
        assert client.ask("publish", "a", data) == 1
        count += 1
    for _ in range(count):
        assert listener.value() == [b"pmessage", b"*", b"a", data.encode()]


def test_the_events_of_a_deleted_stream_are_passed_over_without_a_word(serving, client, listen):
    listener = listen("subscribe", "a")
    [follower] = serving.connection_of(listener).subscriptions.values()
    serving.poller.feeds._feeds[b"a"].pool.pop(follower)
    for number in range(5):
        client.ask("publish", "a", str(number))
    client.ask("truncate", "a", 3)
    serving.connection_of(listener).catch_up(follower)
    listener.recv_exactly(message("a", "3") + message("a", "4"))


# -- what a subscriber may ask -------------------------------------------------

@pytest.mark.parametrize("command", [
    ["publish", "a", "x", "d"], ["publish", "a", "d"], ["append", "a", "any", "x", "d", "", ""], ["hello", "3"],
    ["stream-names"], ["select", "0"], ["multi"], ["exec"], ["read", "$all", "0", "1"], ["echo", "x"],
])
def test_a_subscriber_on_resp2_asks_nothing_whose_reply_it_would_take_for_a_message(serving, listen, command):
    listener = listen("subscribe", "a")
    assert listener.error(*command) == (f"ERR Can't execute '{command[0]}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / "
                                        f"PING / QUIT / RESET are allowed in this context")
    assert serving.store.position == 0
    listener.ask("unsubscribe")
    assert "only" not in str(listener.ask(*command))


def test_publishes_in_a_pipeline_behind_a_subscription_are_refused_each(serving, listen):
    client = serving.connect()
    client.ask("select", 1)
    append = resp.command("append", "a", "any", "x", "d", "", "")
    client.send(publish("a", "1") * 2 + resp.command("subscribe", "a") + publish("a", "2") * 3 + append * 3
                + resp.command("unsubscribe") + publish("a", "3") * 2 + append * 2)
    values = [client.value() for _ in range(14)]
    assert values[:2] == values[10:12] == [b"OK"] * 2
    assert [type(value) for value in values[3:9]] == [ErrorReply] * 6
    assert [value[0] for value in (values[2], values[9])] == [b"subscribe", b"unsubscribe"]
    assert serving.store.position == 6


def test_ping_of_a_subscriber_is_answered_as_a_message_on_resp2(listen):
    listener = listen("subscribe", "a")
    assert (listener.ask("ping"), listener.ask("ping", "x")) == ([b"pong", b""], [b"pong", b"x"])
    listener.ask("unsubscribe")
    assert (listener.ask("ping"), listener.ask("ping", "x")) == (b"PONG", b"x")


def test_a_subscriber_on_resp3_asks_what_it_wants(listen):
    listener = listen("psubscribe", "a*", protocol=3)
    assert (listener.ask("ping"), listener.ask("ping", "x")) == (b"PONG", b"x")
    listener.command("publish", "a", "x", "d")
    assert sorted([listener.value(), listener.value()], key=bytes.__instancecheck__) == [
        [b"pmessage", b"a*", b"a", b"d"], b"OK"]


def test_reset_and_quit_end_all_subscriptions(serving, client, listen):
    for command, reply in (("reset", b"RESET"), ("quit", b"OK")):
        listener = listen("subscribe", "a")
        assert listener.ask(command) == reply
        assert client.ask("publish", "a", "d") == 0
        assert client.ask("pubsub", "channels") == []


def test_who_is_gone_is_counted_no_more(serving, client, listen):
    listeners = [listen("subscribe", "a"), listen("psubscribe", "a*"), listen("psubscribe", "a*")]
    assert client.ask("publish", "a", "d") == 3
    for listener in listeners:
        listener.close()
    eventually(lambda: client.ask("publish", "a", "d") == 0, "that all are gone")
    assert (client.ask("pubsub", "channels"), client.ask("pubsub", "numpat")) == ([], 0)
    eventually(lambda: not len(serving.poller.feeds), "that no feed is left")


def test_too_many_subscriptions_are_refused_as_a_whole(tmp_path):
    with Serving(tmp_path / "db", max_subscriptions=3) as serving:
        client = serving.connect()
        client.ask("select", 1)
        assert client.error("subscribe", "a", "b", "c", "d").startswith("ERR 4 subscriptions, expected no more than 3")
        assert client.ask("pubsub", "channels") == []
        client.command("subscribe", "a", "b", "c", "a")
        assert [client.value()[2] for _ in range(4)] == [1, 2, 3, 3]


def test_one_bad_name_refuses_the_whole_command(client):
    client.ask("select", 1)
    for request in (["subscribe", "a", ""], ["psubscribe", "a", "b" * 5000], ["subscribe", "a" * 40_000]):
        assert client.error(*request).startswith("ERR ")
    assert (client.ask("pubsub", "channels"), client.ask("pubsub", "numpat")) == ([], 0)


# -- who subscribes -------------------------------------------------------------

@both
def test_pubsub_says_who_subscribes(client, listen, protocol):
    listen("subscribe", "news:1", "a"), listen("subscribe", "a"), listen("psubscribe", "x*", "a")
    client.ask("hello", protocol)
    assert sorted(client.ask("pubsub", "channels")) == [b"a", b"news:1"]
    assert client.ask("PUBSUB", "Channels", "news:*") == [b"news:1"]
    assert client.ask("pubsub", "numsub", "a", "news:1", "x") == [b"a", 2, b"news:1", 1, b"x", 0]
    assert client.ask("pubsub", "numsub") == []
    assert client.ask("pubsub", "numpat") == 2
    assert client.ask("pubsub", "shardchannels") == []      # which tools ask for
    assert client.ask("pubsub", "shardnumsub", "a") == [b"a", 0]
    assert client.ask("pubsub", "help")[0].startswith(b"PUBSUB <subcommand>")


def test_pubsub_refuses_what_it_does_not_know(client):
    assert client.error("pubsub", "nope") == "ERR unknown subcommand 'nope'. Try PUBSUB HELP."
    assert client.error("pubsub", "numpat", "x").startswith(
        "ERR unknown subcommand or wrong number of arguments for 'numpat'")
    assert client.error("pubsub", "channels", "a" * 5000).startswith("ERR a pattern of 5000 bytes")


@pytest.mark.parametrize("name", ["ssubscribe", "sunsubscribe", "spublish"])
def test_shards_are_refused_by_name(client, name):
    assert client.error(name, "a", "b").startswith(f"ERR unknown command '{name}': a channel of one shard")


def test_client_list_and_info_count_channels_and_patterns(client, listen):
    listen("psubscribe", "a*", "b"), listen("subscribe", "a")
    assert b"\r\npubsub_channels:1\r\npubsub_patterns:2\r\n" in client.ask("info", "stats")
    lines = client.ask("client", "list", "type", "pubsub").decode().splitlines()
    assert [line.split(" sub=")[1].split()[:2] for line in lines] == [["0", "psub=2"], ["1", "psub=0"]]


# -- who may --------------------------------------------------------------------

@pytest.fixture
def guarded(tmp_path, users):       # noqa: F811
    with Serving(tmp_path / "db", users=users) as serving:
        yield serving


def log_in(serving, name, protocol=2):
    client = serving.connect()
    client.ask("hello", protocol, "auth", name, "secret" if name == "ops" else "word")
    client.ask("select", 1)
    return client


def test_one_listens_to_what_one_may_read(guarded):
    ann = log_in(guarded, "ann")
    for request in (["subscribe", "orders-1"], ["psubscribe", "orders-*"], ["psubscribe", "orders-[12]x*"],
                    ["psubscribe", "orders-1"]):
        assert ann.ask(*request)[1] == request[1].encode()
    for request in (["subscribe", "cart"], ["subscribe", "orders-2", "cart"], ["psubscribe", "*"],
                    ["psubscribe", "order*"], ["psubscribe", "[o]rders-*"], ["psubscribe", "cart"]):
        assert ann.error(*request).startswith("NOPERM "), request
    assert log_in(guarded, "writer").error("subscribe", "orders-1").startswith("NOPERM ")


def test_one_publishes_to_channels_one_may_append_to(guarded, users):       # noqa: F811
    users.change("ann", ["~orders%3A*"])
    ann = log_in(guarded, "ann")
    assert ann.ask("publish", "orders:1", "d") == ann.ask("publish", "orders-1", "d") == 0
    assert ann.error("publish", "cart", "d").startswith("NOPERM ")
    ann.send(b"".join(resp.command("publish", name, "d") for name in ("orders:1", "cart", "", "orders:2")))
    assert [type(ann.value()) for _ in range(4)] == [int, ErrorReply, ErrorReply, int]
    assert log_in(guarded, "reader").error("publish", "orders-1", "d").startswith("NOPERM ")
    assert guarded.store.position == 4


def test_one_sees_subscribers_of_what_one_may_read(guarded):
    ops, ann = log_in(guarded, "ops", 3), log_in(guarded, "ann", 3)
    ops.command("subscribe", "orders-1", "cart")
    ops.value(), ops.value()
    assert ann.ask("pubsub", "channels") == [b"orders-1"]
    assert ann.error("pubsub", "numsub", "cart").startswith("NOPERM ")
    assert ann.ask("pubsub", "numsub", "orders-1") == [b"orders-1", 1]


@both
def test_who_may_listen_no_more_is_cut_off_as_by_redis(guarded, users, protocol):     # noqa: F811
    ann = log_in(guarded, "ann", protocol)
    ann.ask("psubscribe", "orders-*")
    users.change("ann", ["resetkeys", "~cart"])
    ann.recv_end()
    again = log_in(guarded, "ann", protocol)
    assert again.error("psubscribe", "orders-*").startswith("NOPERM ")
    eventually(lambda: not len(guarded.poller.feeds), "that no feed is left")


def test_who_becomes_somebody_who_may_not_is_answered_before_being_cut_off(guarded):
    ann = log_in(guarded, "ann", 3)
    ann.ask("subscribe", "orders-1")
    assert ann.ask("auth", "new", "word") == b"OK"
    ann.recv_end()


def test_a_change_of_rights_that_leaves_the_channels_changes_nothing(guarded, users):       # noqa: F811
    ann = log_in(guarded, "ann", 3)
    ann.ask("subscribe", "orders-1")
    users.change("ann", ["~cart", "-@append"])
    log_in(guarded, "ops").ask("publish", "orders-1", "d")
    assert ann.value() == [b"message", b"orders-1", b"d"]
