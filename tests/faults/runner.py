"""Give the parts their turns, add up what they count, and say how to repeat what failed.

    power    states 1,204,611 of 1,000,000   openings 1,310,004      61 rounds  905 s
    kill     kills 11,800 of 12,000 …

The part that has used the least time is next.  One that has reached its goals waits until all have.
"""

import argparse
import faulthandler
import importlib
import math
import os
import shlex
import shutil
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

from . import PARTS, Absent

# Seconds after which a round hangs rather than takes long.
ROUND_LIMIT = 900
# A part that has failed this often gets no more turns.
ENOUGH_FAILURES = 5


class Tally:
    """What the rounds of one part have come to.

    counts     {what: int or set}
    failures   seeds of the rounds that broke a promise
    absent     {what a round needed: how many rounds did}
    """

    def __init__(self, part):
        self.part = part
        self.next_seed = 0
        self.rounds = 0
        self.seconds = 0.0
        self.counts = {}
        self.failures = []
        self.absent = {}

    @property
    def over(self):
        """Whether another round makes no sense."""
        return len(self.failures) >= ENOUGH_FAILURES or (self.absent and self.rounds == 0)

    @property
    def reached(self):
        return self.over or all(self.count(what) >= goal for what, goal in self.part.GOALS.items())

    def count(self, what):
        counted = self.counts.get(what, 0)
        return counted if isinstance(counted, int) else len(counted)

    def add(self, counts):
        for what, counted in counts.items():
            if isinstance(counted, int):
                self.counts[what] = self.counts.get(what, 0) + counted
            else:
                self.counts.setdefault(what, set()).update(counted)

    def run(self, seed, until, workplace):
        """Run one round; say what it broke."""
        folder = Path(tempfile.mkdtemp(prefix=f"{self.part.NAME}-{seed}-", dir=workplace))
        began = time.monotonic()
        hung = threading.Timer(ROUND_LIMIT, _end_hung_round, [self.part.NAME, seed])
        hung.daemon = True
        hung.start()
        try:
            self.add(self.part.run(seed, until, folder))
            self.rounds += 1
        except Absent as what:
            self.absent[str(what)] = self.absent.get(str(what), 0) + 1
        except Exception:
            self.failures.append(seed)
            print(f"\n{self.part.NAME}: round {seed} FAILED; its files are in {folder}\n"
                  f"{traceback.format_exc()}again: {replay(self.part.NAME, seed)}\n", flush=True)
            return
        finally:
            hung.cancel()
            self.seconds += time.monotonic() - began
        shutil.rmtree(folder, ignore_errors=True)

    def line(self):
        """One line of the report."""
        shown = []
        for what in [*self.part.GOALS, *(what for what in self.counts if what not in self.part.GOALS)]:
            goal = self.part.GOALS.get(what)
            shown.append(f"{what} {self.count(what):,}" + (f" of {goal:,}" if goal else ""))
        shown.append(f"{self.rounds:,} rounds in {self.seconds:.0f} s")
        if self.failures:
            shown.append(f"FAILED: rounds {', '.join(map(str, self.failures))}")
        shown += [f"not here: {what}" for what in self.absent]
        return f"{self.part.NAME:12s} " + "; ".join(shown)


def replay(name, seed):
    """The command that runs one round again."""
    return f"{shlex.quote(sys.executable)} -m tests.faults --only {name} --seed {seed}"


def _end_hung_round(name, seed):
    print(f"\n{name}: round {seed} HANGS after {ROUND_LIMIT} s; again: {replay(name, seed)}", flush=True)
    faulthandler.dump_traceback(all_threads=True)
    os._exit(2)


def load(names):
    """The parts of these names; every one if there are none.

    Raises    KeyError    there is no such part
    """
    parts = {part.NAME: part for part in (importlib.import_module(f".{name}", __package__) for name in PARTS)}
    return [parts[name] for name in names] if names else list(parts.values())


def take_turns(tallies, until, workplace, every=lambda: None):
    """Run rounds until the time is up, or every goal is reached if there is no end of it."""
    while time.monotonic() < until:
        waiting = [tally for tally in tallies if not tally.reached]
        if not waiting and until == math.inf:
            return
        waiting = waiting or [tally for tally in tallies if not tally.over]
        if not waiting:
            return
        tally = min(waiting, key=lambda tally: tally.seconds)
        seed, tally.next_seed = tally.next_seed, tally.next_seed + 1
        tally.run(seed, until, workplace)
        every()


def main(argv=None):
    """Run what the command line says; return the exit code, 1 if anything failed."""
    options = _options(argv)
    try:
        tallies = [Tally(part) for part in load(options.only)]
    except KeyError as missing:
        print(f"there is no part {missing}; there are {', '.join(part.NAME for part in load([]))}", file=sys.stderr)
        return 2
    workplace = tempfile.mkdtemp(prefix="torture-", dir=options.folder)
    if options.seed is not None and not options.minutes:
        for tally in tallies:
            tally.run(options.seed, math.inf, workplace)
    else:
        for tally in tallies:
            tally.next_seed = options.seed or 0
        until = time.monotonic() + 60 * options.minutes if options.minutes else math.inf
        take_turns(tallies, until, workplace, _progress(tallies))
    for tally in tallies:
        print(tally.line())
    if any(tally.failures for tally in tallies):
        return 1
    shutil.rmtree(workplace, ignore_errors=True)
    return 0


def _progress(tallies, seconds=60):
    """Prints the report once a minute."""
    shown = time.monotonic()

    def every():
        nonlocal shown
        if time.monotonic() - shown > seconds:
            shown = time.monotonic()
            print(*(tally.line() for tally in tallies), "", sep="\n", flush=True)

    return every


def _options(argv):
    parser = argparse.ArgumentParser(
        prog="python3 -m tests.faults", description="Provoke faults until the time is up or every goal is reached.")
    parser.add_argument("--minutes", type=float, help="how long; else until every goal is reached")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="this part; may be repeated")
    parser.add_argument("--seed", type=int, help="run this round alone; with --minutes, begin with it")
    parser.add_argument("--folder", help="where stores are made; else in the folder for temporary files")
    return parser.parse_args(argv)
