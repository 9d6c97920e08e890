"""Counts of how long things took."""

import pytest

from store.times import BOUNDS, Times


def times(*seconds):
    found = Times()
    for one in seconds:
        found.add(one)
    return found


def test_each_time_is_in_the_bucket_that_ends_above_or_at_it():
    found = times(0.0, 0.00001, 0.000011, 10.0, 10.1, 1e9)
    assert found.counts == [2, 1, *[0] * (len(BOUNDS) - 3), 1, 2]
    assert (found.count, found.seconds) == (6, pytest.approx(1e9 + 20.100021))


def test_a_copy_stays_as_it_is():
    found = times(1.0)
    kept = found.copy()
    found.add(1.0)
    assert (kept.count, kept.seconds, found.count) == (1, 1.0, 2)


def test_bounds_go_up():
    assert list(BOUNDS) == sorted(set(BOUNDS))


@pytest.mark.parametrize("share, expected", [(0.01, 0.001), (0.5, 0.001), (0.51, 0.1), (1, 0.1)])
def test_a_share_is_done_within_the_bound_that_so_many_keep_to(share, expected):
    assert times(0.0009, 0.0009, 0.09, 0.09).within(share) == expected


def test_no_times_are_within_nothing_and_endless_ones_within_the_last_bound():
    assert Times().within(0.99) == 0.0
    assert times(100.0).within(0.5) == BOUNDS[-1]
