"""meilies_server.py on a bad day: what is rare becomes common.

Its threads take turns every few microseconds, the sockets that it accepts have
room for little, so that sends are refused in the middle of frames, and followers
get a checkpoint each few events.
"""

import socket
import sys

import meilies_server
import server.follower

SEND_BUFFER = 8 * 1024
SWITCH = 1e-5  # seconds
CHECKPOINTS = 7


class RestlessServer(meilies_server.EventServer):
    def __init__(self, listeners, *more):
        for listener in listeners:
            listener.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)    # accepted ones inherit it
        super().__init__(listeners, *more)


if __name__ == "__main__":
    sys.setswitchinterval(SWITCH)
    meilies_server.EventServer = RestlessServer
    server.follower.EVERY = CHECKPOINTS
    sys.exit(meilies_server.main())
