"""server/waiting.py: who asks again and again is answered sooner, and asks in vain now and then only."""

import pytest

from server.waiting import Waiting

LONGEST = 100e-6
ASKING = 10e-6      # seconds that one question takes


class Clients:
    """A clock, and a poll that finds something `gap` seconds after it found something last."""

    def __init__(self, gap):
        self.gap = gap
        self.now = 0.0
        self.due = gap
        self.asked = 0          # how often, without sleeping
        self.slept = 0

    def clock(self):
        return self.now

    def poll(self, timeout):
        if timeout == 0:
            self.asked += 1
            self.now += ASKING
            if self.now < self.due:
                return []
        else:
            self.slept += 1
            self.now = max(self.now, self.due)
        self.due = self.now + self.gap
        return ["a request"]


def served(gap, waits=200, longest=LONGEST, alone=True):
    clients = Clients(gap)
    waiting = Waiting(clients.poll, longest, clients.clock)
    for _ in range(waits):
        assert waiting.wait(-1, alone) == ["a request"]
    return clients


@pytest.mark.parametrize("gap", [0, 30e-6, 90e-6])
def test_who_is_asked_again_soon_sleeps_once_to_find_out(gap):
    assert served(gap).slept == 1


@pytest.mark.parametrize("gap", [300e-6, 1e-3, 3600])
def test_where_waits_are_long_nothing_is_asked(gap):
    assert served(gap).asked == 0


def test_where_waits_are_a_little_too_long_asking_is_rare():
    clients = served(150e-6, waits=1000)
    assert clients.slept == 1000
    assert clients.asked * ASKING < 0.03 * clients.now


def test_what_comes_soon_again_is_asked_for_again():
    clients = Clients(150e-6)
    waiting = Waiting(clients.poll, LONGEST, clients.clock)
    for _ in range(1000):
        waiting.wait(-1)
    clients.gap, clients.slept = 30e-6, 0
    for _ in range(1000):
        waiting.wait(-1)
    assert clients.slept <= 64


@pytest.mark.parametrize("how", [{"longest": 0}, {"alone": False}])
def test_nothing_is_asked_where_it_may_not_be(how):
    clients = served(30e-6, **how)
    assert clients.asked == 0
    assert clients.slept == 200


def test_who_sleeps_wakes_when_the_time_is_over():
    asked = []
    waiting = Waiting(lambda timeout: asked.append(timeout) or [], LONGEST)
    assert [waiting.wait(0.25), waiting.wait(0.5)] == [[], []]
    assert asked[0] == 0.25 and asked[-1] == 0.5
