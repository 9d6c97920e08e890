"""store/keeper.py: a thread that works when it is wanted, or when time has gone by."""

import threading

from store.keeper import Keeper

SECONDS = 10


def test_a_keeper_works_each_time_that_it_is_wanted():
    wanted = threading.Event()
    done = threading.Semaphore(0)
    keeper = Keeper("keeper", done.release, wanted=wanted)
    try:
        for _ in range(3):
            wanted.set()
            assert done.acquire(timeout=SECONDS)
    finally:
        keeper.stop()
    assert not done.acquire(blocking=False)


def test_a_keeper_works_when_its_interval_went_by():
    done = threading.Semaphore(0)
    keeper = Keeper("keeper", done.release, interval=0.001)
    try:
        for _ in range(3):
            assert done.acquire(timeout=SECONDS)
    finally:
        keeper.stop()


def test_what_is_wanted_during_work_is_done_after_it():
    wanted = threading.Event()
    begun, go_on = threading.Semaphore(0), threading.Semaphore(0)

    def work():
        begun.release()
        assert go_on.acquire(timeout=SECONDS)

    keeper = Keeper("keeper", work, wanted=wanted)
    wanted.set()
    assert begun.acquire(timeout=SECONDS)
    wanted.set()
    go_on.release()
    assert begun.acquire(timeout=SECONDS)
    go_on.release()
    keeper.stop()


def test_stop_waits_for_work_that_has_begun():
    wanted = threading.Event()
    begun, go_on = threading.Event(), threading.Event()
    finished = []

    def work():
        begun.set()
        assert go_on.wait(SECONDS)
        finished.append(True)

    keeper = Keeper("keeper", work, wanted=wanted)
    wanted.set()
    assert begun.wait(SECONDS)
    stopping = threading.Thread(target=lambda: (keeper.stop(), finished.append("stopped")))
    stopping.start()
    go_on.set()
    stopping.join(SECONDS)
    assert finished == [True, "stopped"]
    assert "keeper" not in [thread.name for thread in threading.enumerate()]
