"""server/history.py: the last hour, in a ring."""

import threading

import pytest
from serving import eventually

from server import history
from server.history import SAMPLES, History


def test_counters_are_shown_as_rates_and_gauges_as_they_stand():
    times = iter([100.0, 110.0, 115.0])
    samples = iter([({"events": 5}, {"open": 1}), ({"events": 25}, {"open": 7}), ({"events": 25}, {"open": 3})])
    one = History(lambda: next(samples), lambda: next(times))
    for _ in range(3):
        one.take()
    assert one.columns() == {"time": [110.0, 115.0], "events": [2.0, 0.0], "open": [7, 3]}


def test_before_the_first_sample_there_is_no_column():
    assert History(lambda: ({}, {})).columns() == {"time": []}


def test_the_first_sample_alone_shows_nothing():
    one = History(lambda: ({"events": 5}, {"open": 1}))
    one.take()
    assert one.columns() == {"time": [], "events": [], "open": []}


@pytest.mark.parametrize("times, rates", [([10.0, 5.0], [None]), ([10.0, 10.0], [None])])
def test_where_the_clock_went_back_there_is_no_rate(times, rates):
    times = iter(times)
    one = History(lambda: ({"events": 5}, {}), lambda: next(times))
    one.take()
    one.take()
    assert one.columns()["events"] == rates


def test_no_more_than_an_hour_is_kept():
    time = iter(range(0, 100_000, 10))
    one = History(lambda: ({"events": 0}, {}), lambda: next(time))
    for _ in range(SAMPLES + 50):
        one.take()
    columns = one.columns()
    assert len(columns["time"]) == SAMPLES - 1 and columns["time"][-1] - columns["time"][0] == 10 * (SAMPLES - 2)


def test_a_sample_is_taken_at_once_and_then_each_step(monkeypatch):
    monkeypatch.setattr(history, "STEP", 0.01)
    taken = []
    one = History(lambda: taken.append(threading.current_thread().name) or ({}, {}))
    one.start()
    eventually(lambda: len(taken) > 2)
    one.stop()
    count = len(taken)
    assert set(taken) == {"meilies-history"} and len(taken) == count


def test_a_sample_that_can_not_be_taken_is_missing_and_others_come(monkeypatch, caplog):
    monkeypatch.setattr(history, "STEP", 0.01)
    wrong = [ZeroDivisionError(), ZeroDivisionError()]

    def sample():
        if wrong:
            raise wrong.pop()
        return {}, {"open": 1}

    one = History(sample)
    one.start()
    eventually(lambda: len(one.columns().get("open", [])) > 1)
    one.stop()
    assert [record.getMessage() for record in caplog.records] == ["a sample for the charts is missing"] * 2


def test_stopping_what_was_not_started_is_nothing():
    History(lambda: ({}, {})).stop()
