"""How often passwords may be tried (server/attempts.py)."""

import pytest

from server import attempts as module
from server.attempts import (
    FORGOTTEN,
    FREE_OF_ADDRESS,
    FREE_OF_BOTH,
    FREE_OF_USER,
    LONGEST_WAIT,
    Attempts,
    TooManyAttempts,
    network_of,
)


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def attempts(clock):
    return Attempts(clock)


def wait(attempts, user, address):
    """Seconds until it may be tried, 0 for now."""
    try:
        attempts.admit(user, address)
    except TooManyAttempts as error:
        assert f"try again in {error.wait} s" in str(error)
        return error.wait
    return 0


def fail(attempts, user, address, times):
    for _ in range(times):
        attempts.failed(user, address)


def test_some_failures_are_free_and_then_each_makes_the_next_wait_longer(attempts, clock):
    fail(attempts, "ann", "1.2.3.4:1", FREE_OF_BOTH - 1)
    assert wait(attempts, "ann", "1.2.3.4:2") == 0
    waits = []
    for _ in range(12):
        attempts.failed("ann", "1.2.3.4:3")
        waits.append(wait(attempts, "ann", "1.2.3.4:4"))
        clock.now += waits[-1]
        assert wait(attempts, "ann", "1.2.3.4:4") == 0
    assert waits[:4] == [2, 3, 5, 9] and waits[-1] == LONGEST_WAIT + 1


def test_others_are_not_kept_out_by_a_few_failures(attempts):
    fail(attempts, "ann", "1.2.3.4:1", FREE_OF_BOTH)
    assert wait(attempts, "ann", "1.2.3.4:1")
    assert not wait(attempts, "bob", "1.2.3.4:1") and not wait(attempts, "ann", "1.2.3.5:1")


def test_an_address_that_tries_many_users_waits_for_all_of_them(attempts):
    for i in range(FREE_OF_ADDRESS):
        attempts.failed(f"u{i}", "1.2.3.4:1")
    assert wait(attempts, "ann", "1.2.3.4:1") and not wait(attempts, "ann", "1.2.3.5:1")


def test_a_user_who_is_tried_from_many_addresses_waits(attempts):
    for i in range(FREE_OF_USER):
        attempts.failed("ann", f"1.2.3.{i}:1")
    assert wait(attempts, "ann", "9.9.9.9:1") and not wait(attempts, "bob", "9.9.9.9:1")


def test_one_client_that_tries_for_ever_keeps_out_nobody_else(attempts, clock):
    """After a restart, when nobody has logged in yet."""
    for _ in range(1000):
        clock.now += wait(attempts, "ann", "1.2.3.4:1")
        attempts.failed("ann", "1.2.3.4:1")
    assert wait(attempts, "ann", "1.2.3.4:1")
    assert not wait(attempts, "bob", "1.2.3.4:1") and not wait(attempts, "ann", "1.2.3.5:1")


def test_who_logged_in_from_there_before_is_not_kept_out_by_others(attempts):
    attempts.succeeded("ann", "1.2.3.4:1")
    for i in range(FREE_OF_ADDRESS):
        attempts.failed(f"u{i}", "1.2.3.4:1")
    for i in range(FREE_OF_USER):
        attempts.failed("ann", f"9.9.9.{i}:1")
    assert not wait(attempts, "ann", "1.2.3.4:9")
    fail(attempts, "ann", "1.2.3.4:1", FREE_OF_BOTH)
    assert wait(attempts, "ann", "1.2.3.4:1")


def test_a_success_forgives_that_user_there_and_not_the_address(attempts):
    fail(attempts, "ann", "1.2.3.4:1", FREE_OF_BOTH - 1)
    attempts.succeeded("ann", "1.2.3.4:1")
    fail(attempts, "ann", "1.2.3.4:1", 1)
    assert not wait(attempts, "ann", "1.2.3.4:1")
    for i in range(FREE_OF_ADDRESS):        # with a password of his own in between
        attempts.failed(f"u{i}", "1.2.3.4:1")
        attempts.succeeded("mallory", "1.2.3.4:1")
    assert wait(attempts, "carol", "1.2.3.4:1")


def test_failures_are_forgotten_when_nothing_is_tried_for_a_while(attempts, clock):
    fail(attempts, "ann", "1.2.3.4:1", 50)
    clock.now += FORGOTTEN + 1
    assert not wait(attempts, "ann", "1.2.3.4:1")
    attempts.failed("ann", "1.2.3.4:1")
    assert not wait(attempts, "ann", "1.2.3.4:1")


def test_the_tables_are_bounded(attempts, monkeypatch):
    monkeypatch.setattr(module, "MOST", 10)
    for i in range(100):
        attempts.failed(f"u{i}", f"1.2.3.{i}:1")
        attempts.succeeded(f"u{i}", f"1.2.3.{i}:1")
    assert len(attempts._failures) <= 10 and len(attempts._welcome) <= 10


@pytest.mark.parametrize("peer, network", [
    ("1.2.3.4:5", "1.2.3.4"), ("[::1]:5", "::/64"), ("[2001:db8:1:2:3:4:5:6]:7", "2001:db8:1:2::/64"),
    ("[::ffff:1.2.3.4]:5", "1.2.3.4"), ("[fe80::1%eth0]:5", "fe80::/64"), ("unix", "unix"), ("console", "console"),
])
def test_what_counts_as_one_address(peer, network):
    assert network_of(peer) == network
