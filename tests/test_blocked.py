"""server/blocked.py by itself: reads that wait, and what ends them."""

import threading

import pytest
from disk import quick_index, until

from server.blocked import Blocked, BlockedRead
from store import NO, Store, StoreClosed

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


def read_of(group, **more):
    fields = {"group": group, "member": "m", "count": 1, "deadline": None,
              "answer": lambda given, error: error or [one.key for one in given], **more}
    return BlockedRead(**fields)


def test_a_read_waits_for_an_event_and_so_does_the_next(store, blocked):
    group = store.group_create("g", "$all", 0)
    connection = Connection()
    for key in range(3):
        blocked.add(connection, read_of(group))
        assert connection in blocked
        store.append("s", "n", b"")
        until(lambda: connection not in blocked)
        group.ack(key)
    until(lambda: len(connection.replies) == 3)
    assert connection.replies == [[0], [1], [2]]


def test_of_two_who_wait_one_is_given_the_event_and_the_other_waits_on(store, blocked):
    group = store.group_create("g", "s", 0)
    waiting = [Connection(), Connection()]
    for connection, member in zip(waiting, "mn"):
        blocked.add(connection, read_of(group, member=member))
    store.append("s", "n", b"")
    until(lambda: waiting[0].replies or waiting[1].replies)
    store.append("s", "n", b"")
    group.ack(0)
    until(lambda: waiting[0].replies and waiting[1].replies)
    assert sorted(connection.replies for connection in waiting) == [[[0]], [[1]]]


def test_a_read_of_a_closed_connection_is_not_kept(store, blocked):
    connection = Connection()
    connection.closed = True
    blocked.add(connection, read_of(store.group_create("g", "$all", 0)))
    assert connection not in blocked
    blocked.forget(connection)
    blocked.end(connection)
    assert connection.replies == []


def test_what_was_given_to_a_connection_that_closed_meanwhile_is_given_to_another(store, blocked, monkeypatch):
    group = store.group_create("g", "$all", 0)
    connection = Connection()
    usual = group.read_some

    def read_some(*arguments):
        found = usual(*arguments)
        if found[0]:
            blocked.forget(connection)
        return found

    monkeypatch.setattr(group, "read_some", read_some)
    blocked.add(connection, read_of(group))
    store.append("s", "n", b"")
    until(lambda: connection not in blocked)
    until(lambda: group.info().held == 0 and group.info().next == 1)
    assert connection.replies == []
    assert [(one.key, one.tries) for one in group.read("n")] == [(0, 1)]


def test_who_sends_no_more_is_answered_with_what_there_is(store, blocked):
    connection = Connection()
    blocked.add(connection, read_of(store.group_create("g", "$all", 0)))
    blocked.end(connection)
    until(lambda: connection.replies)
    assert connection.replies == [[]]


def test_after_the_end_a_read_is_answered_at_once(store):
    blocked = Blocked(store, lambda connection: None)
    blocked.stop()
    connection = Connection()
    blocked.add(connection, read_of(store.group_create("g", "$all", 0)))
    assert connection.replies == [[]]


def test_a_read_that_waits_when_the_store_is_closed_is_told(tmp_path):
    store = Store(tmp_path, sync=NO)
    group = store.group_create("g", "$all", 0)
    blocked = Blocked(store, lambda connection: None)
    store.close()
    connection = Connection()
    blocked.add(connection, read_of(group))
    until(lambda: connection.replies)
    assert isinstance(connection.replies[0], StoreClosed)
    blocked.stop()


def test_an_end_between_two_looks_of_the_thread_is_seen(store, monkeypatch):
    blocked = Blocked(store, lambda connection: None)
    ending = threading.Thread(target=blocked.stop)
    see = blocked._seen

    def see_late(stream):
        if not ending.ident:
            changes = blocked._changes
            ending.start()
            until(lambda: blocked._changes > changes)
        return see(stream)

    monkeypatch.setattr(blocked, "_seen", see_late)
    connection = Connection()
    blocked.add(connection, read_of(store.group_create("g", "s", 0)))
    until(lambda: connection.replies)
    assert connection.replies == [[]]
    ending.join()
