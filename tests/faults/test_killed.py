"""A server that is killed twice at work: what it acknowledged is there, and what was sent again is there once."""

import random

import pytest
from faults.killed import kill
from faults.load import Load

pytestmark = pytest.mark.unmeasured


def test_a_server_that_is_killed_while_events_are_appended_and_others_compacted_away_keeps_what_it_said(tmp_path):
    load = Load(tmp_path, random.Random(3))
    for _ in range(2):
        kill(load, at_work=True, after=0.4)
    load.check()
