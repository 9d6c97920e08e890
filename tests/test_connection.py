"""One client without a socket: what it wants, what it owes, when it is finished."""

import pytest

from resp import BadRequest, ProtocolError, command
from server import options
from server.chunk import Form
from server.connection import Connection
from server.follower import Follower


class Taker:
    """Stands for a socket, and for the workers: keeps what it is given."""

    def __init__(self):
        self.refuses = False
        self.taken = b""
        self.called = []

    def send(self, data):
        if self.refuses:
            raise BlockingIOError
        self.taken += data
        return len(data)


@pytest.fixture
def taker():
    return Taker()


@pytest.fixture
def connection(taker):
    limits = options.parse(["--db-path", "unused", "--max-pending-output", "1K"], {})
    return Connection(1, "here:1", taker.send, limits, on_blocked=lambda one: None, on_behind=taker.called.append)


def follower(connection, stream=b"s"):
    return Follower(connection, ("stream", stream), 1 << 64, Form(False, False))


def test_whole_requests_are_pending_and_a_part_of_one_is_not(connection):
    request = command("publish", "s", "x", "data")
    connection.receive(request + request[:10])
    assert list(connection.pending) == [([(b"s", b"x", [b"data"])], 1, len(request))]
    assert connection.unread > 0
    connection.receive(request[10:] + b"*0\r\n?")
    assert [type(one) for one in list(connection.pending)[1:]] == [tuple, BadRequest, ProtocolError]


def test_the_rest_of_a_long_request_is_received_to_its_place(connection):
    request = command("publish", "s", "x", bytes(1 << 20))
    assert connection.room() is None
    connection.receive(request[:500_000])
    connection.room()[:200_000] = request[500_000:700_000]
    connection.received(200_000)
    assert not connection.pending
    room = connection.room()
    room[:] = request[700_000:]
    connection.received(len(room))
    assert list(connection.pending) == [([(b"s", b"x", [bytes(1 << 20)])], 1, len(request))]
    assert (connection.unread, connection.room()) == (0, None)


def test_it_wants_input_while_nothing_waits_and_what_it_is_owed_is_taken(connection, taker):
    assert connection.wants_input
    connection.receive(command("ping"))
    assert not connection.wants_input
    connection.pending.clear()
    connection.working = True
    assert not connection.wants_input
    connection.working = False
    taker.refuses = True
    connection.outbox.put_and_flush(bytes(1024))
    assert connection.wants_input
    connection.outbox.put_and_flush(b"1")
    assert connection.owes_too_much and not connection.wants_input
    taker.refuses = False
    connection.outbox.resume()
    assert connection.wants_input
    connection.end_input()
    assert not connection.wants_input


def test_it_is_finished_when_all_is_answered_and_sent(connection, taker):
    connection.receive(command("ping"))
    connection.end_input()
    assert not connection.finished
    connection.pending.clear()
    assert connection.finished
    connection.working = True
    assert not connection.finished
    connection.working = False
    connection.uncommitted = 1
    assert not connection.finished
    connection.uncommitted = 0
    taker.refuses = True
    connection.outbox.put_and_flush(b"reply")
    assert not connection.finished
    taker.refuses = False
    assert connection.outbox.resume() and connection.finished
    connection.catch_up(follower(connection))
    assert not connection.finished


def test_refusing_input_drops_what_waits(connection):
    connection.receive(command("ping") * 3)
    connection.refuse_input()
    assert connection.finished


def test_a_subscription_replaces_the_one_with_its_selector(connection):
    first, second, other = follower(connection), follower(connection), follower(connection, b"t")
    assert connection.follow(first) is None
    assert connection.follow(other) is None
    assert connection.follow(second) is first
    assert connection.unfollow(("stream", b"s")) is second
    assert connection.unfollow(("stream", b"s")) is None
    assert connection.unfollow_all() == [other]
    assert connection.unfollow_all() == []


def test_a_worker_is_called_once_for_all_who_are_behind(connection, taker):
    one, two = follower(connection), follower(connection, b"t")
    connection.catch_up(one)
    connection.catch_up(two)
    connection.go_on()
    assert taker.called == [connection]
    served = []
    assert not connection.catch_up_some(lambda f: served.append(f) or True)
    assert served == [one, two]
    connection.go_on()
    assert taker.called == [connection]         # nobody is behind
    connection.catch_up(one)
    assert taker.called == [connection] * 2


def test_who_got_a_slice_goes_to_the_end_of_the_line_and_others_have_their_turn(connection):
    one, two = follower(connection), follower(connection, b"t")
    for each in one, two:
        connection.catch_up(each)
    served = []

    def serve(follower):
        served.append(follower)
        follower.next += 1
        return follower.next == 2

    assert connection.catch_up_some(serve)
    assert connection.catch_up_some(serve)
    assert not connection.catch_up_some(serve)
    assert served == [one, two, one, two]


def test_many_who_need_nothing_are_served_some_at_a_time(connection):
    for i in range(100):
        connection.catch_up(follower(connection, b"%d" % i))
    served = []
    assert connection.catch_up_some(lambda f: served.append(f) or True)
    assert 0 < len(served) < 100
    assert not connection.catch_up_some(lambda f: served.append(f) or True)
    assert len(served) == 100


def test_nothing_is_served_while_the_socket_refuses_and_all_is_when_it_takes_bytes(connection, taker):
    one = follower(connection)
    connection.catch_up(one)
    taker.refuses = True

    def refused(follower):
        connection.outbox.put_and_flush(b"event")
        return False

    assert not connection.catch_up_some(refused)
    connection.go_on()
    assert taker.called == [connection]         # blocked: no use
    taker.refuses = False
    connection.outbox.resume()
    connection.go_on()
    assert taker.called == [connection] * 2
    assert not connection.catch_up_some(lambda f: True)


def test_who_ended_or_whose_connection_closed_is_not_served(connection, taker):
    one = follower(connection)
    one.ended = True
    connection.catch_up(one)
    assert taker.called == []
    two = follower(connection, b"t")
    connection.follow(two)
    connection.catch_up(two)
    connection.unfollow(("stream", b"t"))
    assert not connection.catch_up_some(pytest.fail)
    three = follower(connection, b"u")
    connection.catch_up(three)

    def ends(follower):
        follower.ended = True       # by an unsubscribe, while it was served
        return False

    assert not connection.catch_up_some(ends)
    with connection.outbox.lock:
        connection.outbox.forget()
    connection.catch_up(follower(connection))
    assert not connection.catch_up_some(pytest.fail)


def test_a_protocol_begins_with_its_reply_for_subscriptions_as_well(connection, taker):
    one = follower(connection)
    connection.follow(one)
    connection.speak(3, b"reply")
    connection.outbox.flush()
    assert (connection.protocol, one.form.push, taker.taken) == (3, True, b"reply")
    connection.speak(2, b"reply")
    assert (connection.protocol, one.form.push) == (2, False)


def test_those_who_catch_up_are_counted_and_shown_up_to_a_bound(connection):
    followers = [follower(connection, b"%d" % i) for i in range(3)]
    assert (connection.behind_count, connection.behind(5)) == (0, [])
    for one in followers:
        connection.catch_up(one)
    assert (connection.behind_count, connection.behind(2), connection.behind(5)) == (3, followers[:2], followers)
