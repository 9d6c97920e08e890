"""tests/faults/mutants.py: what it changes, and that it tells who survives."""

import subprocess
import sys

import pytest
from faults.mutants import mutants
from faults.planted import ROOT, unmeasured


@pytest.mark.parametrize("text, expected", [
    ("x = a < b", ["x = a <= b"]),
    ("x = a + 1", ["x = a - 1", "x = a + 2"]),
    ("x = a and (not b)", ["x = a or not b", "x = a and (not not b)"]),
    ("x = True", ["x = False"]),
    ("x = a if b else c", ["x = a if True else c", "x = a if False else c"]),
    ("if a:\n    x = b", ["if True:", "if False:"]),
    ("x = b'%d' % a", []),
])
def test_one_thing_is_changed_at_a_time(text, expected):
    found = [what.split("──>")[1].strip() for _, what, _ in mutants(text)]
    assert sorted(found) == sorted([*expected, "pass"])


def test_a_docstring_is_no_step_and_where_a_change_is_is_told():
    found = list(mutants("def f():\n    'text'\n    return\n"))
    assert found == [(3, "return  ──>  pass", 'def f():\n    """text"""\n    pass')]


def test_every_mutant_is_another_program():
    source = (ROOT / "store" / "cut.py").read_text()
    found = [mutant for _, _, mutant in mutants(source)]
    for mutant in found:
        compile(mutant, "mutant", "exec")
    assert len({*found}) == len(found) > 20


def test_who_survives_is_told():
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.mutants", "store/names.py", "tests/test_names.py", "--sample", "3"],
        cwd=ROOT, env=unmeasured(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.stdout.count("SURVIVES") == done.returncode == 0, done.stdout
    assert "3 tried, 0 survive" in done.stdout
