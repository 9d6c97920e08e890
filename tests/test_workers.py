"""Threads that call what they are given."""

import threading

import pytest
from conftest import SECONDS

from server.workers import Workers


@pytest.fixture
def workers():
    workers = Workers(3)
    yield workers
    workers.stop()


def test_tasks_are_called_in_as_many_threads_as_there_are(workers):
    together = threading.Barrier(4)
    for _ in range(3):
        workers.put(lambda: together.wait(SECONDS))
    together.wait(SECONDS)


def test_a_task_that_fails_is_logged_and_its_thread_goes_on(caplog):
    workers = Workers(1)
    done = threading.Event()
    workers.put(lambda: {}["a bug"])
    workers.put(done.set)
    assert done.wait(SECONDS)
    workers.stop()
    [record] = caplog.records
    assert record.getMessage() == "a task failed" and record.exc_info[0] is KeyError


def test_stopping_does_what_waits_first():
    workers = Workers(1)
    done = []
    for i in range(10):
        workers.put(lambda i=i: done.append(i))
    workers.stop()
    assert done == list(range(10))
