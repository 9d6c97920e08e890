"""store/stream.py: who waits on a stream, and when there is a Condition to wait on."""

import threading

from store.stream import Stream


def test_a_stream_has_no_condition_until_somebody_waits():
    stream = Stream(b"s", 3)
    assert (stream.next, stream.visible, stream.condition) == (3, 3, None)
    stream.attend(waiting=False)
    assert stream.condition is None
    stream.attend(waiting=True)
    assert stream.condition is not None


def test_all_who_wait_share_a_condition_and_the_last_one_drops_it():
    stream = Stream(b"s", 0)
    stream.attend(waiting=True)
    condition = stream.condition
    stream.attend(waiting=True)
    assert stream.condition is condition
    assert not stream.leave()
    assert stream.condition is condition
    assert stream.leave()
    assert stream.condition is None


def test_notify_wakes_all_who_wait():
    stream = Stream(b"s", 0)
    stream.attend(waiting=True)
    ready = threading.Semaphore(0)
    woken = []

    def wait():
        with stream.condition:
            ready.release()
            woken.append(stream.condition.wait(10))

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
        ready.acquire()
    stream.notify()
    for thread in threads:
        thread.join(10)
    assert woken == [True] * 3


def test_notify_without_anybody_is_nothing():
    Stream(b"s", 0).notify()


def test_notify_calls_all_who_watch_until_as_often_as_they_watched_they_do_no_more():
    stream = Stream(b"s", 0)
    told = []
    stream.attend(waiting=True)
    for _ in range(2):
        stream.watch(told.append)
    stream.notify()
    assert told == [stream]
    stream.unwatch(told.append)
    stream.notify()
    stream.unwatch(told.append)
    stream.notify()
    assert told == [stream] * 2
