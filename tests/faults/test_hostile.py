"""Hostile requests, one after the other, on one server: what each leads to, and that nobody else notices."""

import random

import pytest
from faults.hostile import TABLE, Answered, Besieged, Closed, Refused

import resp

pytestmark = pytest.mark.unmeasured


def test_every_hostile_request_is_answered_as_it_should_be_and_nothing_is_left_of_it(server):
    besieged = Besieged(server("--sync", "no", "--log-level", "error"))
    draw = random.Random(1)
    for name in TABLE:
        besieged.attack(name, draw)
    besieged.close()


@pytest.mark.parametrize("name, outcome", [
    ("an inline command", Refused()), ("an inline command", Answered(b"+PONG\r\n")), ("no length", Closed(5)),
    ("a null", Answered(b"+PONG\r\n")), ("a set", Refused())])
def test_another_outcome_is_noticed(name, outcome, server, monkeypatch):
    monkeypatch.setitem(TABLE, name, (TABLE[name][0], outcome))
    besieged = Besieged(server("--sync", "no", "--log-level", "error"))
    with pytest.raises(AssertionError, match=f"^{name}: "):
        besieged.attack(name, Whole())
    besieged._bystander.close()


class Whole:
    """Draws that send a request in one piece, and stay."""

    def randrange(self, *_):
        return 0

    def random(self):
        return 1.0


def test_the_table_has_each_request_once():
    requests = [request for request, _ in TABLE.values()]
    assert len(set(requests)) == len(requests)
    assert resp.command("ping") not in requests
