"""Mutants: one thing in a source is not what it was, and the tests that are about that source notice.

    python3 -m tests.faults.mutants store/record.py tests/test_record.py
    python3 -m tests.faults.mutants resp.py tests/test_resp.py --sample 100

    a copy of the sources ──one change──> a mutant ──the tests──> killed, or it SURVIVES and is printed

A mutant that survives says that a test is missing, unless it does the same as the original: those that do are named in
docs/reliability.md.  Tests that killed before are asked first, since they are likely to kill again.
"""

import argparse
import ast
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import hypothesis
import pytest

from .planted import copy_sources

# Seconds of all tests, of work in one of them, and bytes: a mutant that hangs or grows is noticed too.
LIMIT = 300
WORK = 12
MEMORY = 2 << 30
# What an operator is taken for.
OPERATORS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitOr, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
    ast.And: ast.Or, ast.Or: ast.And,
}
# Statements that can be left out.
STEPS = (ast.Expr, ast.Assign, ast.AugAssign, ast.Raise, ast.Return, ast.Break, ast.Continue)


# -- what can be changed -------------------------------------------------------

def mutants(text):
    """Yield (line, what was there and what is there now, source of the mutant)."""
    tree = ast.parse(text)
    original = ast.unparse(tree)
    for node in ast.walk(tree):
        for place, field, other in changes(node):
            usual = getattr(node, field)
            setattr(node, field, other)
            mutant = ast.unparse(ast.fix_missing_locations(tree))
            setattr(node, field, usual)
            if mutant != original:
                yield place.lineno, _difference(original, mutant), mutant


def changes(node):
    """Yield (where it is, field of the node, other value of it) for each change that leaves a program."""
    if isinstance(node, ast.Compare):
        for i, operator in enumerate(node.ops):
            yield node, "ops", [*node.ops[:i], OPERATORS[type(operator)](), *node.ops[i + 1:]]
    elif isinstance(node, (ast.BinOp, ast.AugAssign, ast.BoolOp)):
        if type(node.op) in OPERATORS and not _formats_text(node):
            yield node, "op", OPERATORS[type(node.op)]()
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield node, "operand", ast.UnaryOp(ast.Not(), node.operand)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int):
        yield node, "value", not node.value if isinstance(node.value, bool) else node.value + 1
    elif isinstance(node, (ast.If, ast.IfExp)):
        yield node, "test", ast.Constant(True)
        yield node, "test", ast.Constant(False)
    for field in ("body", "orelse", "finalbody"):
        statements = getattr(node, field, None)
        for i, statement in enumerate(statements if isinstance(statements, list) else []):
            if isinstance(statement, STEPS) and not _is_text(statement):
                yield statement, field, [*statements[:i], ast.Pass(), *statements[i + 1:]]


def _formats_text(node):
    return isinstance(node, ast.BinOp) and isinstance(getattr(node.left, "value", None), (str, bytes))


def _is_text(statement):
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _difference(original, mutant):
    """The first line in which they differ, as it was and as it is."""
    was, is_now = next(pair for pair in zip(original.splitlines(), mutant.splitlines()) if pair[0] != pair[1])
    return f"{was.strip()}  ──>  {is_now.strip()}"


# -- who notices ---------------------------------------------------------------

class Judges:
    """A plugin of pytest's: who killed most comes first, and who is asked says so."""

    def __init__(self, kills, tell):
        self._kills = kills
        self._tell = tell

    def pytest_collection_modifyitems(self, items):
        items.sort(key=lambda item: -self._kills[item.nodeid])

    def pytest_runtest_setup(self, item):
        os.write(self._tell, f"{item.nodeid}\n".encode())
        signal.setitimer(signal.ITIMER_VIRTUAL, WORK)


def judge(folder, tests, kills):
    """Run the tests in a process of its own, on the sources in a folder; return who killed, or None."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        code = 1
        try:
            os.close(reading)
            signal.alarm(LIMIT)
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            code = _run_tests(folder, tests, Judges(kills, writing))
        finally:
            os._exit(code)
    os.close(writing)
    with open(reading, encoding="utf-8") as told:
        asked = told.read().splitlines() or ["import"]
    _, status = os.waitpid(child, 0)
    return asked[-1] if status else None


def _run_tests(folder, tests, judges):
    os.chdir(folder)
    sys.path[:0] = [str(folder / "tests"), str(folder)]
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    # An example that fails is enough: no time for a smaller one.
    quick = [phase for phase in hypothesis.Phase if phase not in (hypothesis.Phase.shrink, hypothesis.Phase.explain)]
    hypothesis.settings.register_profile("default", phases=quick, database=None, derandomize=True)
    hypothesis.settings.load_profile("default")
    options = ["-x", "-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    return pytest.main([*options, *tests], plugins=[judges])


def run(source, tests, sample, seed):
    """Judge the mutants of a source; return how many survive."""
    kills = Counter()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        folder = Path(folder)
        copy_sources(folder)
        path = folder / source
        some = list(mutants(path.read_text()))
        print(f"{source} has {len(some)} mutants", flush=True)
        if sample and sample < len(some):
            some = random.Random(seed).sample(some, sample)
        if killer := judge(folder, tests, kills):
            raise SystemExit(f"{killer} fails without a mutant")
        for n, (line, what, mutant) in enumerate(some, 1):
            path.write_text(mutant)
            os.utime(path, (n, n))      # what was compiled of the one before isn't taken for it
            killer = judge(folder, tests, kills)
            kills[killer] += 1
            if killer is None:
                print(f"SURVIVES {source}:{line}: {what}", flush=True)
    print(f"{len(some)} tried, {kills[None]} survive, {time.monotonic() - began:.0f} s")
    return kills[None]


def main():
    parser = argparse.ArgumentParser(prog="python3 -m tests.faults.mutants", description="Look for missing tests.")
    parser.add_argument("source")
    parser.add_argument("tests", nargs="+")
    parser.add_argument("--sample", type=int, help="try so many of the mutants, drawn by --seed; else all")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    return 1 if run(options.source, options.tests, options.sample, options.seed) else 0


if __name__ == "__main__":
    sys.exit(main())
