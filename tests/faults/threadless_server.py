"""meilies_server.py on a system that gives it no more threads once it listens."""

import sys
import threading

import meilies_server


class ThreadlessServer(meilies_server.EventServer):
    def serve_forever(self, poll_interval=None):
        threading.Thread.start = refuse
        super().serve_forever(poll_interval)


def refuse(thread):
    raise RuntimeError("can't start new thread")


if __name__ == "__main__":
    meilies_server.EventServer = ThreadlessServer
    sys.exit(meilies_server.main())
