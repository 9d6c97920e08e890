"""Stopped: a server that gets SIGTERM at any moment ends with exit code 0, in time, and loses nothing."""

import random
import signal
import time

from .load import Load

NAME = "stopped"
GOALS = {"stops": 1000}

# Seconds in which it ends.
IN_TIME = 5.0
STOPS = 5


def run(seed, until, folder):
    draw = random.Random(seed)
    load = Load(folder, draw)
    stops = 0
    for _ in range(STOPS):
        if time.monotonic() > until:
            break
        server = load.start()
        try:
            server.wait_until_listening()
            load.join(draw.randrange(1, 4))
            time.sleep(draw.choice((0, 0.01, 0.1, 0.3)) * draw.random())
            began = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            code = server.wait()
            took = time.monotonic() - began
            load.leave()
            assert code == 0, f"exit code {code}; {server.complaint()}"
            assert took < IN_TIME, f"it took {took:.1f} s to end"
            stops += 1
        finally:
            server.end()
    load.check()
    return {"stops": stops, "events": load.events}
