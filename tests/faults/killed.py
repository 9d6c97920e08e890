"""Killed: a server that gets SIGKILL at any moment, with publishers and subscribers at work, keeps what it said."""

import random
import signal
import time

from .load import Load

NAME = "killed"
GOALS = {"kills of servers": 1000}

# Each on what the one before it left.
KILLS = 5


def run(seed, until, folder):
    draw = random.Random(seed)
    load = Load(folder, draw)
    kills = 0
    for _ in range(KILLS):
        if time.monotonic() > until:
            break
        at_work = draw.randrange(4) > 0
        kill(load, at_work, draw.random() * (0.4 if at_work else 0.3))
        kills += 1
    load.check()
    return {"kills of servers": kills, "events": load.events}


def kill(load, at_work, after):
    """Start a server and kill it so many seconds later: with everybody at work, or while it starts."""
    server = load.start()
    try:
        if at_work:
            server.wait_until_listening()
            load.join()
        time.sleep(after)
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
        load.leave()
    finally:
        server.end()
