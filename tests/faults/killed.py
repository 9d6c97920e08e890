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
        server = load.start()
        try:
            if draw.randrange(4):
                server.wait_until_listening()
                load.join()
                time.sleep(draw.random() * 0.4)
            else:
                load.publishers = load.subscribers = []
                time.sleep(draw.random() * 0.3)     # while it starts
            server.process.send_signal(signal.SIGKILL)
            server.process.wait()
            load.leave()
            kills += 1
        finally:
            server.end()
    load.check()
    return {"kills of servers": kills, "events": load.events}
