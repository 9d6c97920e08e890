"""What a server's process uses, as /proc says, and clients by the hundred.

    with Clients(running.port) as clients:
        client = clients.join()
        assert threads(running) < 20
"""

import os
import socket
import struct
import time

from conftest import SECONDS
from serving import Client

# How long what the clients leave behind may take to go.
A_SECOND = 1.0
MIB = 1 << 20


def threads(running):
    return len(os.listdir(f"/proc/{running.process.pid}/task"))


def descriptors(running):
    return len(os.listdir(f"/proc/{running.process.pid}/fd"))


def memory(running):
    """Bytes that it has in RAM."""
    with open(f"/proc/{running.process.pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def within(seconds, look, wanted):
    """Fail unless `wanted(look())` is true within so many seconds."""
    until = time.monotonic() + seconds
    while True:
        found = look()
        if wanted(found):
            return
        assert time.monotonic() < until, f"found {found} after {seconds} s"
        time.sleep(0.005)


def stat(client, field, section="clients"):
    """A field of INFO, as an integer."""
    text = client.ask("info", section).decode()
    return int(text.split(f"{field}:", 1)[1].split("\r\n", 1)[0])


class Clients(list):
    """Connections to one server, closed together."""

    def __init__(self, port):
        super().__init__()
        self._port = port

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.leave()

    def join(self):
        self.append(Client("127.0.0.1", self._port))
        return self[-1]

    def leave(self, reset=False):
        """Close all; with `reset` as if each process had been killed with bytes unread."""
        while self:
            client = self.pop()
            if reset:
                client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()


def fill(client, data):
    """Send as much of `data` as is taken without being read; return how much that was."""
    client.sock.setblocking(False)
    sent = 0
    try:
        while sent < len(data):
            sent += client.sock.send(data[sent:sent + MIB])
    except BlockingIOError:
        pass
    client.sock.settimeout(SECONDS)
    return sent


def exchange(client, data, size):
    """Send `data` while reading `size` bytes; return these."""
    found = bytearray()
    data = memoryview(data)
    until = time.monotonic() + SECONDS
    while len(found) < size:
        if data:
            data = data[fill(client, data[:MIB]):]
        client.sock.settimeout(0.01 if data else SECONDS)
        try:
            more = client.sock.recv(min(MIB, size - len(found)))
            assert more, "the server closed the connection"
            found += more
        except socket.timeout:
            assert time.monotonic() < until, f"found {len(found)} of {size} bytes"
    return bytes(found)
