"""Followers of a stream: live, behind, and on the way between; without sockets, with a real store."""

import random
import threading

import pytest
from serving import event, eventually

import resp
from server import options
from server.chunk import Form, chunk_of
from server.connection import Connection
from server.feed import FEW, Feed, Feeds
from server.follower import Follower
from store import NO, CorruptSegment, Store
from store.filter import Filter
from store.names import ALL

MAX = 1 << 64
PLAIN = Form(False, False)
LIMITS = options.parse(["--db-path", "unused"], {})


class Client:
    """A connection whose socket takes `room` bytes, and whose worker is `work`."""

    def __init__(self, feeds):
        self.feeds = feeds
        self.room = 1 << 40
        self.got = b""
        self.wanted = False
        self.connection = Connection(1, "here", self._send, LIMITS, lambda one: None, self._want)

    def _send(self, data):
        if not self.room:
            raise BlockingIOError
        some = bytes(data[:self.room])
        self.room -= len(some)
        self.got += some
        return len(some)

    def _want(self, connection):
        self.wanted = True

    def follow(self, name, first, stop=MAX, form=PLAIN, notices=False):
        """Subscribe as the command does."""
        follower = Follower(self.connection, ("stream", name), stop, form, notices)
        replaced = self.connection.follow(follower)
        assert replaced is None
        self.feeds.add(follower, name, first)
        if not self.feeds.catch_up(follower, near=False):
            self.connection.catch_up(follower)
        return follower

    def work(self):
        """What a worker does when it was called, until there is no more to do."""
        while self.wanted:
            self.wanted = self.connection.catch_up_some(self.feeds.catch_up)

    def read(self, room=1 << 40):
        """The socket takes bytes again."""
        self.room = room
        if self.connection.outbox.resume():
            self.connection.go_on()

    def leave(self):
        for follower in self.connection.unfollow_all():
            self.feeds.remove(follower)


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "db", NO) as store:
        yield store


@pytest.fixture
def feeds(store):
    feeds = Feeds(store, lambda function: function())
    yield feeds
    feeds.stop()


@pytest.fixture
def client(feeds):
    client = Client(feeds)
    yield client
    client.leave()
    assert len(feeds) == 0


def publish(store, feeds, stream, *datas):
    """What the committer does with a batch."""
    batch = store.write([(stream, b"x", [data]) for data in datas])
    store.commit(batch)
    feeds.committed(batch)


def break_reading(store, monkeypatch, instead):
    """Reading the log calls `instead`."""
    for name in "records", "frames":
        monkeypatch.setattr(store, name, instead)


def events(stream, first, stop):
    """Those whose data is their number."""
    return b"".join(event(stream, i, "x", str(i)) for i in range(first, stop))


def fill(store, count, size=1, stream="s", first=0):
    store.append_many(stream, [("x", b"%0*d" % (size, i)) for i in range(first, first + count)])


def test_a_follower_gets_what_there_is_and_then_what_comes(store, feeds, client):
    fill(store, 10)
    client.follow(b"s", 3)
    client.work()
    assert client.got == events("s", 3, 10)
    publish(store, feeds, b"s", b"10", b"11")
    publish(store, feeds, b"other", b"0")
    assert client.got == events("s", 3, 12)


def test_without_from_it_begins_with_the_next_event_even_if_that_is_not_visible_yet(tmp_path):
    with Store(tmp_path / "db", "always") as store:
        feeds = Feeds(store, lambda function: function())
        client = Client(feeds)
        first = store.write([(b"s", b"x", [b"0"])])
        client.follow(b"s", None)
        store.commit(first)
        feeds.committed(first)
        assert client.got == b""
        publish(store, feeds, b"s", b"1")
        assert client.got == events("s", 1, 2)
        client.leave()


def test_a_long_replay_takes_many_turns_and_misses_nothing_published_meanwhile(store, feeds, client):
    fill(store, 2000, size=1000)        # 2 MB
    client.follow(b"s", 0)
    turns = 0
    while client.wanted:
        client.wanted = client.connection.catch_up_some(feeds.catch_up)
        publish(store, feeds, b"s", b"%01000d" % (2000 + turns))
        turns += 1
    assert turns > 2
    assert client.got == b"".join(event("s", i, "x", "%01000d" % i) for i in range(2000 + turns))


def test_a_follower_that_is_refused_goes_on_at_the_very_event(store, feeds, client):
    fill(store, 1)
    client.follow(b"s", 0)
    client.room = 0
    for i in range(1, 6):
        publish(store, feeds, b"s", b"%d" % i)
    assert client.got == events("s", 0, 1)
    for _ in range(1000):
        client.read(room=7)
        client.work()
        if client.got == events("s", 0, 6):
            break
    assert client.got == events("s", 0, 6)
    client.read()
    client.work()
    publish(store, feeds, b"s", b"6")
    assert client.got == events("s", 0, 7)


def test_a_follower_ends_with_the_event_before_to(store, feeds, client):
    fill(store, 2)
    ended = [client.follow(b"s", 0, stop=1)]
    assert client.got == events("s", 0, 1)
    ended.append(client.follow(b"s", 1, stop=4))
    client.work()
    publish(store, feeds, b"s", b"2", b"3", b"4")
    assert client.got == events("s", 0, 4)
    assert all(one.ended for one in ended) and client.connection.subscriptions == {} and len(feeds) == 0


def test_all_and_prefixes_share_a_feed_and_each_gets_its_form(store, feeds):
    forms = [Form(False, False), Form(True, False), Form(False, True), Form(False, False, Filter(b"a"))]
    clients = [Client(feeds) for _ in forms]
    for client, form in zip(clients, forms):
        client.follow(ALL, 0, form=form)
    assert len(feeds) == 1
    publish(store, feeds, b"a", b"0")
    publish(store, feeds, b"b", b"0")
    assert clients[0].got == event("a", 0, "x", "0") + event("b", 0, "x", "0")
    assert clients[1].got.count(b"*9\r\n+recorded\r\n") == 2
    assert clients[2].got == event("a", 0, "x", "0", ">") + event("b", 0, "x", "0", ">")
    assert clients[3].got == event("a", 0, "x", "0")
    for client in clients:
        client.leave()
    assert len(feeds) == 0


def test_a_prefix_that_is_far_behind_skips_what_is_not_its_own(store, feeds, client):
    for i in range(30):
        fill(store, 20, size=1000, stream=f"other-{i}")
        fill(store, 1, stream="mine", first=i)
    client.follow(ALL, 0, form=Form(False, False, Filter(b"mine")))
    client.work()
    assert client.got == events("mine", 0, 30)


def test_many_followers_get_a_thread_which_ends_with_the_last_of_them(store, feeds):
    clients = [Client(feeds) for _ in range(FEW + 2)]
    for client in clients:
        client.follow(b"s", 0)
    assert feeds.threads() == 1
    for i in range(50):
        publish(store, feeds, b"s", b"%d" % i)
    eventually(lambda: all(client.got == events("s", 0, 50) for client in clients))
    for client in clients[1:]:
        client.leave()
    publish(store, feeds, b"s", b"50")
    eventually(lambda: clients[0].got == events("s", 0, 51))
    assert feeds.threads() == 1
    clients[0].leave()
    eventually(lambda: feeds.threads() == 0)
    assert len(feeds) == 0


def test_a_feed_for_which_there_is_no_thread_is_served_by_whoever_commits(store, feeds, monkeypatch, caplog):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    clients = [Client(feeds) for _ in range(FEW + 1)]
    for client in clients:
        client.follow(b"s", 0)
    assert feeds.threads() == 0
    publish(store, feeds, b"s", b"0")
    assert [client.got for client in clients] == [events("s", 0, 1)] * len(clients)
    assert caplog.records[0].getMessage() == \
        "no thread for the followers of b's' (can't start new thread); publishers serve them"
    for client in clients:
        client.leave()


def test_records_lately_committed_are_not_read_again_and_do_not_pile_up(store, feeds, client, monkeypatch):
    client.follow(b"s", 0)
    break_reading(store, monkeypatch, None)
    for i in range(100):
        publish(store, feeds, b"s", b"%010000d" % i)
    assert client.got.endswith(event("s", 99, "x", "%010000d" % 99))
    feed = next(iter(client.connection.subscriptions.values())).feed
    assert len(feed._recent) == 0


def test_while_a_step_is_under_way_only_so_many_records_wait_in_memory(store, feeds, client):
    follower = client.follow(b"s", 0)
    feed = follower.feed
    feed._stepping = True           # by another thread
    for i in range(100):
        publish(store, feeds, b"s", b"%010000d" % i)
    assert feed._recent_size < 300_000
    feed._stepping = False
    feed.step()
    client.work()
    assert client.got == b"".join(event("s", i, "x", "%010000d" % i) for i in range(100))


def test_a_record_that_was_noted_before_the_pool_was_empty_is_not_taken_for_the_next(store, feeds, client):
    one = client.follow(b"s", 0)
    feed = one.feed
    other = Client(feeds)
    other.follow(b"s", 50)          # keeps the feed
    feed._stepping = True
    publish(store, feeds, b"s", b"0")
    feed._stepping = False
    client.leave()
    publish(store, feeds, b"s", b"1")
    client.follow(b"s", 0)
    client.work()
    publish(store, feeds, b"s", b"2")
    assert client.got == events("s", 0, 3)
    other.leave()


@pytest.mark.parametrize("error", [CorruptSegment("/db/0.segment", 128, "why", "s", 1), KeyError("a bug")])
def test_live_followers_of_what_can_not_be_read_are_told_once_and_the_others_live_on(store, feeds, client, error,
                                                                                     monkeypatch, caplog):
    def damaged(*arguments):
        raise error

    follower = client.follow(b"s", 0)
    other = Client(feeds)
    other.follow(b"t", 0)
    break_reading(store, monkeypatch, damaged)
    store.append("s", "x", b"0")
    follower.feed.wake()                # a step that has to read the log
    if isinstance(error, CorruptSegment):
        client.work()
        assert client.got == resp.error(f"CORRUPT {error}")
        assert client.connection.subscriptions == {}
    else:
        with pytest.raises(KeyError):
            client.work()
        assert caplog.records[0].exc_info[1] is error
    publish(store, feeds, b"t", b"0")
    assert other.got == events("t", 0, 1)
    other.leave()


def test_a_follower_that_a_step_failed_may_live_again_when_it_has_read_the_log(store, feeds, client, monkeypatch):
    follower = client.follow(b"s", 0)
    feed = follower.feed
    with monkeypatch.context() as broken:
        break_reading(store, broken, lambda *arguments: {}["a bug"])
        store.append("s", "x", b"0")
        feed.wake()
        assert client.wanted and client.got == b""
    client.work()
    assert client.got == events("s", 0, 1) and follower in feed.pool and not follower.alone
    publish(store, feeds, b"s", b"1")
    assert client.got == events("s", 0, 2)


def test_one_who_left_before_it_was_added_is_not_added(store, feeds, client):
    follower = Follower(client.connection, ("stream", b"s"), MAX, Form(False, False))
    feeds.remove(follower)
    feeds.add(follower, b"s", 0)
    assert follower.feed is None and len(feeds) == 0
    assert feeds.catch_up(follower)


def test_one_who_ended_is_sent_nothing_by_a_step_that_had_it_already(store, feeds, client):
    fill(store, 1)
    follower = client.follow(b"s", 1)
    feed = follower.feed
    follower.ended = True
    assert feed.join(follower, True)        # its worker is done with it
    publish(store, feeds, b"s", b"1")
    follower.ended = False
    assert client.got == b""


def test_a_feed_is_removed_once_and_a_new_one_of_the_same_name_stays(store, feeds, client):
    first = client.follow(b"s", 0)
    client.leave()
    client.follow(b"s", 0)
    feeds.remove(first)
    assert len(feeds) == 1
    assert feeds.catch_up(first)


def test_a_follower_past_what_a_failed_sync_left_reads_nothing_and_asks_again(store, feeds, client, monkeypatch):
    fill(store, 3)
    follower = client.follow(b"s", 0)
    monkeypatch.setattr(Feed, "join", lambda *_: False)
    follower.next = 3
    assert not feeds.catch_up(follower)
    assert follower.next == 3 and not follower.ended


# -- the short way of a step --------------------------------------------------

FORMS = [PLAIN] * 6 + [Form(False, True), Form(True, False), Form(False, False, Filter(b"a"))]


def live_through(folder, seed, serve=Feeds.committed, most=MAX):
    """What each of some clients got while they followed, stalled, read and left at random.

    serve   as Feeds.committed, or what leaves something to `deliver`, which is done before all but a publish
    most    subscriptions that a client has at a time
    """
    draw = random.Random(seed)
    with Store(folder, NO, clock=lambda: 1000) as store:
        feeds = Feeds(store, lambda function: function())
        clients = [Client(feeds) for _ in range(4)]
        for _ in range(60):
            client = draw.choice(clients)
            does = draw.randrange(12)
            if does < 5:
                feeds.deliver()
            if does == 0:
                client.leave()
            elif does == 1:
                client.room = draw.randrange(200)
            elif does == 2:
                client.read()
                client.work()
            elif does < 5:
                name = draw.choice([b"a", b"b", ALL])
                subscriptions = client.connection.subscriptions
                if ("stream", name) not in subscriptions and len(subscriptions) < most and not client.wanted:
                    form = draw.choice(FORMS if name == ALL else FORMS[:-1])
                    client.follow(name, draw.choice([None, 0, 5, 50]), draw.choice([MAX, MAX, 30]), form)
                    client.work()
            else:
                # Packed with others, or long enough for a record of its own.
                runs = [(draw.choice([b"a", b"b", b"c"]), b"x",
                         [b"." * draw.choice([0, 9, 9, 9, 5000, 70_000])] * draw.choice([1, 1, 3]))
                        for _ in range(draw.choice([1, 1, 4]))]
                batch = store.write(runs)
                store.commit(batch)
                serve(feeds, batch)
        feeds.deliver()
        for client in clients:
            client.read()
            client.work()
        got = [client.got for client in clients]
        for client in clients:
            client.leave()
        assert len(feeds) == 0
        return got


def test_the_short_way_of_a_step_sends_what_the_long_way_sends(tmp_path, monkeypatch):
    send_at_once = Feed.send_at_once
    taken = []

    def count(feed, frames, first):
        sent = bool(feed.pool) and send_at_once(feed, frames, first)
        taken.append(sent)
        return sent

    for seed in range(60):
        with monkeypatch.context() as patch:
            patch.setattr(Feed, "send_at_once", count)
            short = live_through(tmp_path / f"short-{seed}", seed)
        with monkeypatch.context() as patch:
            patch.setattr(Feed, "send_at_once", lambda feed, frames, first: False)
            assert live_through(tmp_path / f"long-{seed}", seed) == short
    assert taken.count(True) > 100 < taken.count(False)


@pytest.mark.parametrize("form, is_read", [(PLAIN, False), (Form(False, True), False), (Form(True, False), True)])
def test_what_is_sent_as_frames_alone_is_not_read_as_records(store, feeds, client, monkeypatch, form, is_read):
    client.follow(b"s", 0, form=form)
    client.follow(ALL, 0, form=form)
    batch = store.write([(b"s", b"x", [b"0"]), (b"t", b"x", [b"0"]), (b"s", b"x", [b"1"])])
    store.commit(batch)
    reads = []
    record = type(batch).record
    monkeypatch.setattr(type(batch), "record", lambda batch, i: reads.append(i) or record(batch, i))
    feeds.committed(batch)
    kind = ">" if form.push else "*"
    s0, t0, s1 = event("s", 0, "x", "0", kind), event("t", 0, "x", "0", kind), event("s", 1, "x", "1", kind)
    assert bool(reads) == is_read
    assert client.got.count(b"recorded") == 5 if is_read else client.got == s0 + s1 + s0 + t0 + s1


def test_a_bug_in_the_short_way_leaves_a_feed_that_serves(store, feeds, client, monkeypatch, caplog):
    client.follow(b"s", 0)
    with monkeypatch.context() as broken:
        broken.setattr("server.feed.chunk_at_hand", None)
        publish(store, feeds, b"s", b"0")
    client.work()
    publish(store, feeds, b"s", b"1")
    assert client.got == events("s", 0, 2)
    assert [one.getMessage() for one in caplog.records] == \
        ["serving the followers of b's' failed; each reads the log by itself"]


def test_what_becomes_visible_during_the_short_way_is_sent_after_it(store, feeds, client):
    client.follow(b"s", 0)
    send = client._send

    def publish_meanwhile(data):
        client.connection.outbox._send = send
        batch = store.write([(b"s", b"x", [b"1"])])
        store.commit(batch)
        feeds.committed(batch)          # finds the step under way
        return send(data)

    client.connection.outbox._send = publish_meanwhile
    publish(store, feeds, b"s", b"0")
    assert client.got == events("s", 0, 2)
    assert next(iter(client.connection.subscriptions.values())).feed._recent_size == 0


# -- what gathers ---------------------------------------------------------------

def write(store, feeds, *streams, data=b"."):
    """A batch of an event in each of `streams`, of which something gathers."""
    batch = store.write([(stream, b"x", [data]) for stream in streams])
    store.commit(batch)
    feeds.gather(batch)


def sends_of(client):
    """A list of what the client's socket is sent, at a time, from now on."""
    sends, outbox = [], client.connection.outbox
    send = outbox._send
    outbox._send = lambda data: sends.append(bytes(data)) or send(data)
    return sends


def test_what_gathers_is_sent_as_it_would_have_been_at_once(tmp_path):
    draw = random.Random(1)

    def gather(feeds, batch):
        feeds.gather(batch)
        if draw.random() < 0.3:
            feeds.deliver()

    for seed in range(30):
        at_once = live_through(tmp_path / f"at-once-{seed}", seed, most=1)
        assert live_through(tmp_path / f"gathered-{seed}", seed, gather, most=1) == at_once


@pytest.mark.parametrize("form", [PLAIN, Form(False, True), Form(True, False)])
def test_what_gathers_for_a_stream_goes_out_in_one_send_and_is_read_from_nowhere(store, feeds, client, form,
                                                                                 monkeypatch):
    client.follow(b"s", 0, form=form)
    sends = sends_of(client)
    break_reading(store, monkeypatch, None)
    for _ in range(3):
        write(store, feeds, b"s", b"t", b"s")
    assert feeds.due and not sends
    feeds.deliver()
    assert len(sends) == 1 and sends[0].count(b"+s\r\n") == 6
    assert not feeds.due
    feeds.deliver()
    assert len(sends) == 1


def test_the_longest_due_is_sent_first_and_the_rest_when_there_is_time(store, feeds, client):
    for name in b"a", b"b", b"c":
        client.follow(name, 0)
    sends = sends_of(client)
    write(store, feeds, b"b", b"a")
    write(store, feeds, b"c", b"b")
    feeds.deliver(until=0)
    assert sends == [event("b", 0, "x", ".") + event("b", 1, "x", ".")] and feeds.due
    feeds.deliver(until=0)
    feeds.deliver(until=0)
    assert sends[1:] == [event("a", 0, "x", "."), event("c", 0, "x", ".")] and not feeds.due


@pytest.mark.parametrize("limit, value", [("_LATE", 0), ("_MOST_DUE", 1)])
def test_what_is_overdue_or_too_much_is_sent_whatever_else_there_is_to_do(store, feeds, client, monkeypatch, limit,
                                                                          value):
    monkeypatch.setattr(f"server.feed.{limit}", value)
    for name in b"a", b"b", b"c":
        client.follow(name, 0)
    write(store, feeds, b"a", b"b", b"c")
    feeds.deliver(until=0)
    assert not feeds.due
    assert client.got == b"".join(event(name, 0, "x", ".") for name in "abc")


def test_who_joins_while_something_gathers_misses_nothing_and_gets_nothing_twice(store, feeds, client):
    other = Client(feeds)
    client.follow(b"s", 0)
    write(store, feeds, b"s")
    other.follow(b"s", 0, form=Form(True, False))       # what gathered isn't in its form
    other.work()
    write(store, feeds, b"s")
    feeds.deliver()
    assert client.got == event("s", 0, "x", ".") + event("s", 1, "x", ".")
    assert other.got.count(b"+recorded") == 2
    other.leave()
    assert feeds._feeds[b"s"].takes_frames


def test_what_gathers_for_those_who_left_is_dropped(store, feeds, client):
    client.follow(b"s", 0)
    write(store, feeds, b"s")
    client.leave()
    client.follow(b"s", None)
    feeds.deliver()
    write(store, feeds, b"s")
    feeds.deliver()
    assert client.got == event("s", 1, "x", ".")


def test_a_batch_that_is_served_at_once_takes_along_what_gathered_before(store, feeds, client):
    client.follow(b"s", 0)
    write(store, feeds, b"s", data=b"0")
    publish(store, feeds, b"s", b"1")
    assert client.got == events("s", 0, 2)
    feeds.deliver()
    assert client.got == events("s", 0, 2)


# -- filters and notices --------------------------------------------------------

def recorded_form(prefix=b"", names=()):
    return Form(True, False, Filter(prefix, frozenset(names)) if prefix or names else None)


def values(got):
    """What was sent, as values: whole frames alone."""
    parser = resp.Parser()
    parser.feed(got)
    found = list(parser.values())
    assert not parser.mid_value
    return found


def shown(got):
    """Each event as its position, each notice as (what, key)."""
    return [one[1] if one[0] == b"recorded" else (one[0].decode(), one[2]) for one in values(got)]


def test_caught_up_stands_behind_what_was_there_and_before_what_comes(store, feeds, client):
    fill(store, 3)
    client.follow(b"s", 1, form=recorded_form(), notices=True)
    client.work()
    publish(store, feeds, b"s", b"3")
    assert shown(client.got) == [1, 2, ("caught-up", 3), 3]


@pytest.mark.parametrize("room", range(0, 300, 3))
def test_wherever_a_socket_refuses_notices_come_once_for_each_time_that_it_caught_up(store, feeds, client, room):
    for i in range(4):
        fill(store, 1, stream="mine" if i % 2 else "other")
    client.room = room
    client.follow(ALL, 0, form=recorded_form(b"mine"), notices=True)
    client.work()
    publish(store, feeds, b"mine", b"4")
    for _ in range(200):
        client.read(room=room + 1)
        client.work()
    client.read()
    client.work()
    publish(store, feeds, b"other", b"5")
    publish(store, feeds, b"mine", b"6")
    found = shown(client.got)
    assert [one for one in found if isinstance(one, int)] == [1, 3, 4, 6]
    live = [i for i, one in enumerate(found) if isinstance(one, tuple)]
    assert live and found[-1] == 6 and found[live[-1] + 1:] in ([6], [4, 6])
    for i in live:
        before = [one for one in found[:i] if isinstance(one, int)]
        assert before == [one for one in (1, 3, 4, 6) if one < found[i][1]]
    assert all(j > i + 1 for i, j in zip(live, live[1:])), "it was told twice, and nothing came between"


def test_who_falls_behind_is_told_again_when_it_caught_up(store, feeds, client):
    client.follow(b"s", 0, form=recorded_form(), notices=True)
    client.room = 30
    publish(store, feeds, b"s", b"0", b"1")
    client.read()
    client.work()
    publish(store, feeds, b"s", b"2")
    assert shown(client.got) == [("caught-up", 0), 0, 1, ("caught-up", 2), 2]


def test_who_changes_its_form_while_frames_are_made_for_it_has_not_fallen_behind(store, feeds, client, monkeypatch):
    follower = client.follow(b"s", 0, form=recorded_form(), notices=True)

    def chunk_before_hello(*arguments):
        follower.form, made = follower.form._replace(push=True), chunk_of(*arguments)
        return made

    monkeypatch.setattr("server.feed.chunk_of", chunk_before_hello)
    publish(store, feeds, b"s", b"0", b"1")
    monkeypatch.undo()
    client.work()
    publish(store, feeds, b"s", b"2")
    assert shown(client.got) == [("caught-up", 0), 0, 1, 2]


@pytest.mark.parametrize("live", [False, True])
def test_a_filter_that_nothing_passes_is_told_how_far_it_is_at_intervals(store, feeds, client, monkeypatch, live):
    monkeypatch.setattr("server.follower.EVERY", 10)
    monkeypatch.setattr("server.feed._PAGE", 1)
    monkeypatch.setattr("store.reading.SCAN", 1)        # a record a turn
    if live:
        client.follow(b"s", 0, form=recorded_form(names=[b"y"]), notices=True)
    for _ in range(8):
        publish(store, feeds, b"s", *[b"."] * 4)
    if not live:
        client.follow(b"s", 0, form=recorded_form(names=[b"y"]), notices=True)
        client.work()
    expected = [("checkpoint", 12), ("checkpoint", 24)]
    assert shown(client.got) == ([("caught-up", 0), *expected] if live else [*expected, ("caught-up", 32)])


@pytest.mark.parametrize("refused", [False, True])
def test_a_range_ends_when_its_client_knows_that_it_does(store, feeds, client, refused):
    follower = client.follow(b"s", 0, stop=3, form=recorded_form(names=[b"y"]), notices=True)
    client.room = 0 if refused else 1 << 40
    publish(store, feeds, b"s", *[b"."] * 5)
    assert follower.ended != refused
    client.read()
    client.work()
    assert follower.ended and len(feeds) == 0
    assert shown(client.got) == [("caught-up", 0), ("checkpoint", 3)]


@pytest.mark.parametrize("form", [PLAIN, recorded_form(), recorded_form(b"s")])
def test_who_is_replaced_or_leaves_hears_nothing_more(store, feeds, client, form):
    fill(store, 1)
    client.room = 0
    client.follow(ALL, 0, form=form, notices=form.recorded)
    client.leave()
    client.read()
    client.work()
    publish(store, feeds, b"s", b"1")
    assert client.got == b"" and len(feeds) == 0


def test_what_is_no_more_is_told_before_the_next_event_in_a_chunk_and_between_two(store, feeds, client, monkeypatch):
    for i in range(6):
        fill(store, 1, stream="s" if i % 3 else "t", first=i)
    records = store.records

    def without_t(stream, first, stop, limit):
        return [one for one in records(stream, first, min(stop, first + 2), limit) if one.stream != b"t"]

    monkeypatch.setattr(store, "records", without_t)
    client.follow(ALL, 0, form=recorded_form(), notices=True)
    client.work()
    assert shown(client.got) == [("checkpoint", 1), 1, 2, ("checkpoint", 4), 4, 5, ("caught-up", 6)]


def test_what_was_passed_over_before_a_chunk_is_told_before_its_first_event(store, feeds, client):
    fill(store, 5)
    follower = client.follow(b"s", 5, form=recorded_form(), notices=True)
    follower.begin(1)
    assert follower.give(chunk_of([], 1, 4, False, follower.form))
    assert follower.give(chunk_of(store.records(follower.feed.stream, 4, 5, 1), 4, 5, False, follower.form))
    assert shown(client.got) == [("caught-up", 5), ("checkpoint", 4), 4]


def test_equal_filters_share_what_a_step_finds(store, feeds, monkeypatch):
    clients = [Client(feeds) for _ in range(5)]
    for one in clients:
        one.follow(ALL, None, form=recorded_form(b"mine", [b"x"]), notices=True)
    looks = []
    passing = Filter.passing
    monkeypatch.setattr(Filter, "passing", lambda *arguments: looks.append(arguments) or passing(*arguments))
    publish(store, feeds, b"mine", b"0", b"1")
    assert [shown(one.got) for one in clients] == [[("caught-up", 0), 0, 1]] * 5
    assert len(looks) == 1
    for one in clients:
        one.leave()


def test_a_step_looks_for_nobody_who_is_gone_meanwhile(store, feeds, monkeypatch):
    """With thousands of filters it would take long, and who stops the server waits for it."""
    clients = [Client(feeds) for _ in range(5)]
    for i, one in enumerate(clients):
        one.follow(ALL, None, form=Form(False, False, Filter(b"mine-%d" % i)))
    looks = []
    may_pass = Filter.may_pass

    def all_leave(*arguments):
        looks.append(arguments)
        for one in clients:
            one.leave()
        return may_pass(*arguments)

    monkeypatch.setattr(Filter, "may_pass", all_leave)
    publish(store, feeds, b"mine", b"0")
    assert len(looks) == 1


def test_the_replay_of_a_prefix_of_few_events_looks_at_no_others(store, feeds, client, monkeypatch):
    for i in range(200):
        fill(store, 10, stream=f"other-{i}")
    fill(store, 2, stream="mine")
    monkeypatch.setattr(store, "records", None)
    monkeypatch.setattr(store, "all_records", None)
    client.follow(ALL, 0, form=recorded_form(b"mine"), notices=True)
    client.work()
    assert shown(client.got) == [2000, 2001, ("caught-up", 2002)]
