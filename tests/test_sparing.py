"""Warnings that others can cause as often as they like (server/sparing.py)."""

import logging

from server.sparing import Sparing


def test_one_is_logged_and_those_that_follow_are_counted(caplog):
    now = [0.0]
    sparing = Sparing(logging.getLogger("there"), interval=60, clock=lambda: now[0])
    for i in range(10):
        sparing.warning("client %d", i)
    now[0] = 60.0
    sparing.warning("client %d", 10)
    now[0] = 120.0
    sparing.warning("client %d", 11)
    assert caplog.messages == ["client 0", "client 10 (and 9 like it before, since the last such line)", "client 11"]
