"""server/blocked.py by itself: reads that wait, and what ends them."""

import threading
import time

import pytest
from disk import quick_index, until

from server.blocked import _OUTDATED, Blocked
from server.table import CommandError
from store import NO, Store, StoreClosed
from store.names import ALL

__all__ = ["quick_index"]


class Connection:
    """replies   what it was answered"""

    def __init__(self):
        self.closed = False
        self.outbox = self
        self.replies = []

    def put_and_flush(self, reply):
        self.replies.append(reply)


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path, sync=NO) as store:
        yield store


@pytest.fixture
def blocked(store):
    blocked = Blocked(store, lambda connection: None)
    yield blocked
    blocked.stop()


class Read:
    """A read of one event, the next one of any of its streams that nobody has."""

    def __init__(self, store, *streams, deadline=None, due=None, taken=None):
        self.store = store
        self.streams = streams
        self.deadline = deadline
        self.due = due
        self.looks = 0
        self.taken = set() if taken is None else taken

    def look(self):
        self.looks += 1
        for stream in self.streams:
            known = self.store.all if stream == ALL else self.store.find(stream)
            for number in range(known.visible):
                if (stream, number) not in self.taken:
                    self.taken.add((stream, number))
                    self.given = stream, number
                    return stream, number
        return None

    def nothing(self):
        return "nothing"

    def undo(self):
        self.taken.discard(self.given)

    def why_not(self, user):
        return None if user == "who may" else f"NOPERM {user}"


def test_a_read_waits_for_an_event_and_so_does_the_next(store, blocked):
    taken = set()
    connection = Connection()
    for _ in range(3):
        blocked.add(connection, Read(store, b"s", taken=taken))
        assert connection in blocked and len(blocked) == 1
        store.append("s", "n", b"")
        until(lambda: connection not in blocked)
    assert connection.replies == [(b"s", 0), (b"s", 1), (b"s", 2)]


def test_an_event_that_came_before_the_read_was_there_is_not_passed_over(store, blocked):
    connection = Connection()
    read = Read(store, b"s")
    store.append("s", "n", b"")
    blocked.add(connection, read)
    until(lambda: connection.replies)


def test_of_two_who_wait_the_first_is_given_the_event_and_the_other_waits_on(store, blocked):
    taken = set()
    waiting = [Connection(), Connection()]
    for connection in waiting:
        blocked.add(connection, Read(store, b"s", taken=taken))
    store.append("s", "n", b"")
    until(lambda: waiting[0].replies)
    assert not waiting[1].replies
    store.append("s", "n", b"")
    until(lambda: waiting[1].replies)
    assert [one.replies for one in waiting] == [[(b"s", 0)], [(b"s", 1)]]


def test_a_read_of_many_streams_is_answered_by_any_and_once(store, blocked):
    connection, other = Connection(), Connection()
    blocked.add(connection, Read(store, b"a", b"b", b"c", b"a"))
    blocked.add(other, Read(store, ALL))
    store.append("b", "n", b"")
    until(lambda: connection.replies and other.replies)
    store.append("a", "n", b"")
    assert (connection.replies, other.replies) == ([(b"b", 0)], [(ALL, 0)])
    assert blocked._waiting == blocked._watched == blocked._alarm == {}
    until(lambda: not store._attended)
    assert store.find(b"c") is None


def test_events_of_other_streams_have_nobody_look(store, blocked):
    connections = [Connection() for _ in range(50)]
    reads = [Read(store, b"s%d" % i) for i in range(50)]
    for connection, read in zip(connections, reads):
        blocked.add(connection, read)
    until(lambda: all(read.looks for read in reads))
    for _ in range(20):
        store.append("other", "n", b"")
        store.append("s7", "n", b"")
    until(lambda: connections[7].replies)
    assert [read.looks for i, read in enumerate(reads) if i != 7] == [1] * 49


def test_a_read_whose_time_is_up_is_answered_with_nothing(store, blocked):
    connection, other = Connection(), Connection()
    blocked.add(other, Read(store, b"s"))
    blocked.add(connection, Read(store, b"s", deadline=time.monotonic() + 0.01))
    until(lambda: connection.replies)
    assert (connection.replies, other.replies) == (["nothing"], [])


def test_a_read_is_looked_at_unasked_when_something_is_due(store, blocked):
    connection = Connection()
    read = Read(store, b"s", deadline=time.monotonic() + 60, due=time.monotonic() + 0.01)
    blocked.add(connection, read)
    until(lambda: read.looks >= 2)
    assert not connection.replies
    read.due = None


def test_alarms_of_reads_that_were_answered_are_not_kept(store, blocked):
    connection = Connection()
    for i in range(3 * _OUTDATED):
        blocked.add(connection, Read(store, b"s", deadline=time.monotonic() + 1000 + i))
        until(lambda: connection in blocked._alarm)
        blocked.refuse(connection, CommandError("ERR no"))
    assert len(blocked._alarms) <= _OUTDATED + 2


def test_a_read_of_a_closed_connection_is_not_kept(store, blocked):
    connection = Connection()
    connection.closed = True
    blocked.add(connection, Read(store, b"s"))
    assert connection not in blocked and not store._attended
    blocked.forget(connection)
    blocked.end(connection)
    blocked.refuse(connection, CommandError("ERR no"))
    blocked.refuse_unless_permitted(connection)
    assert connection.replies == []


def test_what_was_given_to_a_connection_that_closed_meanwhile_is_taken_back(store, blocked, monkeypatch):
    connection, read = Connection(), Read(store, b"s")
    look = read.look

    def look_late():
        found = look()
        if found:
            blocked.forget(connection)
        return found

    monkeypatch.setattr(read, "look", look_late)
    blocked.add(connection, read)
    store.append("s", "n", b"")
    until(lambda: read.looks and connection not in blocked and not read.taken)
    assert connection.replies == []


def test_a_reply_to_a_read_that_was_refused_meanwhile_is_not_taken_for_the_next_ones(store, blocked, monkeypatch):
    connection, read, following = Connection(), Read(store, b"s"), Read(store, b"t")
    look = read.look

    def look_late():
        found = look()
        if found:
            blocked.refuse(connection, CommandError("UNBLOCKED at once"))
            blocked.add(connection, following)
        return found

    monkeypatch.setattr(read, "look", look_late)
    blocked.add(connection, read)
    store.append("s", "n", b"")
    until(lambda: following.looks)
    assert connection.replies == [b"-UNBLOCKED at once\r\n"] and connection in blocked and not read.taken


def test_who_waits_no_longer_is_answered_with_what_there_is(store, blocked):
    connection, other = Connection(), Connection()
    blocked.add(other, Read(store, b"s"))
    blocked.add(connection, Read(store, b"s"))
    blocked.end(connection)
    until(lambda: connection.replies)
    assert (connection.replies, other.replies) == (["nothing"], [])


@pytest.mark.parametrize("error, reply", [
    (CommandError("NOGROUP it is gone"), b"-NOGROUP it is gone\r\n"), (StoreClosed(), b"-ERR %b\r\n"),
    (ZeroDivisionError(), b"-ERR internal error; the server's log has the details\r\n")])
def test_a_read_that_fails_is_told_and_others_wait_on(store, blocked, error, reply):
    def look():
        raise error

    connection, other, broken = Connection(), Connection(), Read(store, b"s")
    broken.look = look
    blocked.add(other, Read(store, b"s"))
    blocked.add(connection, broken)
    until(lambda: connection.replies)
    assert connection.replies == [reply.replace(b"%b", str(error).encode())]
    store.append("s", "n", b"")
    until(lambda: other.replies)


def test_a_read_that_is_not_for_a_new_user_ends(store, blocked):
    connection = Connection()
    blocked.add(connection, Read(store, b"s"))
    connection.user = "who may"
    blocked.refuse_unless_permitted(connection)
    assert connection in blocked
    connection.user = "nobody"
    blocked.refuse_unless_permitted(connection)
    assert connection.replies == [b"-NOPERM nobody\r\n"] and connection not in blocked


def test_stopping_answers_who_waits_and_who_comes_later(store):
    blocked = Blocked(store, lambda connection: None)
    connection, late = Connection(), Connection()
    blocked.add(connection, Read(store, b"s"))
    blocked.stop()
    blocked.add(late, Read(store, b"s"))
    assert (connection.replies, late.replies, store._attended) == (["nothing"], ["nothing"], set())


def test_reads_that_wait_when_the_store_is_closed_are_looked_at_and_later_ones_told(tmp_path):
    store = Store(tmp_path, sync=NO)
    blocked = Blocked(store, lambda connection: None)
    waiting, late, read = Connection(), Connection(), Read(store, b"s")
    blocked.add(waiting, read)
    until(lambda: read.looks == 1)
    store.close()
    until(lambda: read.looks == 2)
    blocked.add(late, Read(store, b"s"))
    assert late.replies == [b"-ERR %b\r\n" % str(StoreClosed()).encode()]
    blocked.stop()


def test_an_end_while_the_thread_looks_is_seen(store):
    blocked = Blocked(store, lambda connection: None)
    ending = threading.Thread(target=blocked.stop)
    connection, read = Connection(), Read(store, b"s")
    look = read.look

    def look_late():
        ending.start()
        until(lambda: blocked._stopping)
        return look()

    read.look = look_late
    blocked.add(connection, read)
    until(lambda: ending.ident)
    ending.join()
    assert connection.replies == ["nothing"]
