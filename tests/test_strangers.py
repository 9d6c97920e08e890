"""Clients that haven't said who they are (server/strangers.py)."""

import math

from server.strangers import Strangers


class Client:
    def __init__(self, working=False):
        self.working = working


def test_nobody_waits_for_nobody():
    strangers = Strangers()
    assert strangers.wait(5.0) == math.inf and strangers.overdue(5.0) == [] and not strangers


def test_who_says_nothing_is_overdue_after_a_while():
    strangers = Strangers(patience=10)
    one, other = Client(), Client()
    assert strangers.add(one, 0.0) is None and strangers.add(other, 3.0) is None
    assert strangers.wait(4.0) == 6.0
    assert strangers.overdue(9.9) == [] and strangers.overdue(10.0) == [one] and strangers.overdue(13.0) == [one, other]


def test_who_logged_in_is_not_waited_for():
    strangers = Strangers()
    one = Client()
    strangers.add(one, 0.0)
    strangers.remove(one)
    strangers.remove(one)
    assert strangers.overdue(99.0) == [] and len(strangers) == 0


def test_who_is_there_already_gets_no_more_time():
    strangers = Strangers(patience=10)
    one = Client()
    strangers.add(one, 0.0)
    strangers.add(one, 9.0)
    assert strangers.overdue(10.0) == [one]


def test_of_too_many_the_oldest_goes_whose_password_is_not_looked_at():
    strangers = Strangers(most=3)
    first, second = Client(working=True), Client()
    for one in (first, second, Client()):
        assert strangers.add(one, 0.0) is None
    assert strangers.add(Client(), 1.0) is second


def test_who_waits_for_us_gets_more_time():
    strangers = Strangers(patience=10)
    one, other = Client(working=True), Client()
    strangers.add(one, 0.0)
    strangers.add(other, 0.0)
    assert strangers.overdue(10.0) == [other]
    one.working = False
    assert strangers.overdue(19.0) == [other] and set(strangers.overdue(20.0)) == {one, other}
