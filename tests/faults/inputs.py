"""Bytes that nobody meant: for the parser, for a connection, for the records on a disk, and for a whole server.

    kept inputs ──> changed, by atheris or by chance ──> oracles
    hostile requests ──> a server, beside others who must not notice

A round is either of these.  By chance alone, so many inputs reach less than
atheris finds in as many; it is in requirements-torture.txt.
"""

import importlib.util
import itertools
import math
import re
import subprocess
import sys
import time

from conftest import ROOT

from . import corpus, hostile
from .oracles import ORACLES

NAME = "inputs"
GOALS = {"inputs": 10_000_000, "hostile requests": 10_000}

# Of one round.
INPUTS = 100_000
# Seconds that are too short for a fuzzer, which has to start.
FUZZER_STARTS = 30
# Inputs between two looks at the clock.
AT_ONCE = 100


def run(seed, until, folder):
    """The oracles have their turns, and then the server."""
    turn = seed % (len(ORACLES) + 1)
    if turn == len(ORACLES):
        return hostile.run(seed, until, folder)
    name = list(ORACLES)[turn]
    if until - time.monotonic() > FUZZER_STARTS and importlib.util.find_spec("atheris"):
        return _by_fuzzer(name, seed, until, folder)
    return _by_chance(name, seed, until)


def _by_chance(name, seed, until):
    """The kept inputs themselves, and then others made of them."""
    kept = corpus.load(name)
    mutator = corpus.Mutator(f"{name} {seed}", kept)
    inputs = itertools.chain(kept, (mutator.next() for _ in range(INPUTS)))
    count = 0
    while time.monotonic() < until and (some := list(itertools.islice(inputs, AT_ONCE))):
        for data in some:
            judge(name, data)
        count += len(some)
    return {"inputs": count}


def judge(name, data):
    """Raise AssertionError, with the input, if an oracle raises anything at all."""
    try:
        ORACLES[name](data)
    except Exception as error:
        raise AssertionError(f"{name}, with the input {data!r}: {type(error).__name__}: {error}") from error


def _by_fuzzer(name, seed, until, folder):
    minutes = 10 if until == math.inf else max(0.02, min(10, (until - time.monotonic()) / 60))
    command = [sys.executable, "-m", "tests.faults.fuzz", name, "--no-keep", "--runs", str(INPUTS),
               "--seed", str(seed), "--minutes", str(minutes), "--crashes", str(folder)]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False)
    done = re.search("Done ([0-9]+) runs", found.stderr)
    assert found.returncode == 0 and done, f"{name}: {found.stdout[-2000:]}{found.stderr[-2000:]}"
    return {"inputs": int(done[1]), "of them led by coverage": int(done[1])}
