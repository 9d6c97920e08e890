"""Faults in numbers: what becomes of a store and its clients when power, disk, network or a process fails.

    make torture MINUTES=60                             every part, in turns
    python3 -m tests.faults --only power --seed 7       what a failure prints: its one round again

The suite runs each part for a few seconds (`test_parts.py`), the command for as long as it is told to, or until
every goal is reached.

A **part** is a module of this package whose name stands in PARTS, and which has

    NAME     what --only and the report call it
    GOALS    {what: how many}, which the long form is to reach; the report shows both
    run(seed, until, folder) -> {what: how many}
             One round.  All it does follows from `seed` (0, 1, 2, …, an int) as far as that can be: so that a
             failing round is repeated by its seed alone, and a part that enumerates takes the seed for the
             number of a slice.  A round is finite, and takes seconds rather than minutes.
             until    time.monotonic() after which it ends as soon as it can and returns what it has counted;
                      math.inf when a round is replayed
             folder   an empty folder (pathlib.Path), removed after a round that succeeded
             counts   an int is added to those of the rounds before; a set (of hashes, say) is united with
                      them, and the report shows how many there are
    Raises   anything    a promise was broken: the message says what was found and what was expected.  It is
                         shown with the seed and the command that replays it; other parts go on
             Absent      what this round needs isn't here (mount, strace, …); the report says so

A part may use anything of tests/ (`from disk import Disk`, `from conftest import Server`) and starts and ends its own
processes and threads.  `test_parts.py` needs no change for a new one.
"""

# Modules of this package, in the order in which they get their turns.
PARTS = (
    "power",
    "kill",
    "answers",
    "killed",
    "stopped",
    "owners",
    "real",
    "exhaustion",
    "inputs",
    "network",
    "outages",
    "damage",
    "repairs",
    "planted",
)


class Absent(Exception):
    """What a round needs isn't on this machine; the message says what."""
