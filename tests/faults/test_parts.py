"""Every part of tests/faults, for a few seconds each."""

import time

import pytest
from faults import Absent
from faults.runner import load

# A round that has begun goes on to its next step; each part gets this many seconds.
SECONDS = 3.0


@pytest.mark.unmeasured
@pytest.mark.parametrize("part", load([]), ids=lambda part: part.NAME)
def test_nothing_is_lost_by(part, tmp_path):
    until = time.monotonic() + SECONDS
    seed = 0
    while time.monotonic() < until:
        folder = tmp_path / str(seed)
        folder.mkdir()
        try:
            counts = part.run(seed, until, folder)
        except Absent as what:
            pytest.skip(f"not here: {what}")
        assert counts, "a round that counts nothing did nothing"
        seed += 1
