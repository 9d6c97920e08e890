"""tests/faults/planted.py: its table fits the sources.  That each fault is caught takes longer: see test_parts.py."""

import re

import pytest
from faults.planted import PLANTED, ROOT, planted


@pytest.mark.parametrize("fault", PLANTED, ids=lambda fault: fault.name)
def test_the_fault_can_be_planted_and_who_catches_it_is_there(fault):
    source = (ROOT / fault.path).read_text()
    assert planted(fault, source) != source
    path, name = fault.caught_by.split("::")
    assert re.search(rf"^def {name}\(", (ROOT / path).read_text(), re.M)


def test_no_fault_is_planted_twice():
    assert len({fault.name for fault in PLANTED}) == len(PLANTED)
