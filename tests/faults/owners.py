"""Owners: of several processes that open one folder at once, never two have it.

    4 processes ──go──> Store(folder)  ──> owner: makes the file `owner`, which nobody else may have; appends; removes
                                       '─> StoreLocked
    2 servers   ──at once──> one listens, the other says who has the folder and ends
"""

import os
import random
import signal
import time
import traceback
import warnings

from conftest import SECONDS, UNMEASURED, Server

from store import NO, Store, StoreLocked

from .kill import quick_index
from .still import quiet

NAME = "owners"
GOALS = {"contests": 1000, "refused": 1000, "contests of servers": 20}

CONTESTS = 25
PROCESSES = 4
OWNED, REFUSED, FAILED, BROKEN = 0, 3, 4, 5


def contend(folder, start, dies):
    """Try to own the folder, once there is something to read at `start`; return OWNED or REFUSED.

    dies   whether the owner is killed in place of closing
    """
    os.read(start, 1)
    try:
        store = Store(folder, NO)
    except StoreLocked:
        return REFUSED
    mine = os.path.join(folder, "owner")
    try:
        os.close(os.open(mine, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return BROKEN
    store.append("s", "n", b"%d" % os.getpid())
    os.unlink(mine)
    if dies:
        os.kill(os.getpid(), signal.SIGKILL)
    store.close()
    return OWNED


def fork(function, *arguments):
    """Run a function in a process that exits with what it returns; the process's id."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)     # of threads beside a fork: they hold no lock of ours
        child = os.fork()
    if not child:
        code = FAILED
        try:
            code = function(*arguments)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return child


def contest(folder, dies):
    """(how many owned the folder, one after the other; how many were refused)."""
    reading, writing = os.pipe()
    children = [fork(contend, folder, reading, dies and not i) for i in range(PROCESSES)]
    os.write(writing, b"." * PROCESSES)
    codes = []
    for child in children:
        _, status = os.waitpid(child, 0)
        codes.append(OWNED if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))
    os.close(reading)
    os.close(writing)
    assert BROKEN not in codes, "two processes owned the folder at once"
    assert set(codes) <= {OWNED, REFUSED}, f"exit codes {codes}"
    assert OWNED in codes, "nobody owned the folder"
    return codes.count(OWNED), codes.count(REFUSED)


def contest_of_servers(folder):
    """Two servers are started at once: one listens, the other says why not."""
    argv = ["--db-path", str(folder / "db"), "--port", "0"]
    servers = [Server(argv, UNMEASURED, folder / f"log-{i}") for i in range(2)]
    try:
        until = time.monotonic() + SECONDS
        while all(server.process.poll() is None for server in servers):
            assert time.monotonic() < until, "two servers run on one folder"
            time.sleep(0.01)
        [winner] = [server for server in servers if server.process.poll() is None]
        [loser] = [server for server in servers if server is not winner]
        winner.wait_until_listening()
        assert loser.process.returncode not in (0, None)
        assert "is in use" in loser.log.read_text(), loser.complaint()
    finally:
        for server in servers:
            server.end()


def run(seed, until, folder):
    draw = random.Random(seed)
    where = str(folder / "contested")
    contests = owned = refused = 0
    with quick_index(), quiet():
        while contests < CONTESTS and time.monotonic() < until:
            owners, others = contest(where, dies=draw.randrange(2))
            contests += 1
            owned += owners
            refused += others
        if contests:
            with Store(where) as store:
                assert store.position == owned
    counts = {"contests": contests, "refused": refused}
    if time.monotonic() < until:
        contest_of_servers(folder)
        counts["contests of servers"] = 1
    return counts
