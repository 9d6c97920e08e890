"""Requests of those who mean harm, and of those who took this for another server; each with what has to come of it.

    Closed      the bytes stop being RESP at this byte: one error says so, and the connection ends
    Refused     RESP, but no command that can be carried out: one short error, and the next command is answered
    Answered    odd, but fine: this reply
    Awaited     not whole: nothing comes, and nothing is kept when the client leaves

Each comes behind a good publish, whole or in pieces, from one who stays to
read or from one who doesn't, while a bystander has its pings answered.
"""

import random
import re
import socket
import struct
import time
from typing import NamedTuple

from conftest import UNMEASURED, Server
from serving import OK, Client, publish
from usage import A_SECOND, MIB, descriptors, memory, stat, threads, within

import resp

# Of one round.
REQUESTS = 2_000
# What a client sends in pieces of a byte has no more bytes than this.
SHORT = 300
# Bytes that an error has at most: a client mustn't get back all it sent.
MAX_ERROR = 400
# What the server may have in RAM more than before, when all are gone: the C library keeps what
# the longest of them took, and some more.
MAX_KEPT = 64 * MIB

PING = resp.command("ping")
PONG = b"+PONG\r\n"


class Closed(NamedTuple):
    at: int


class Refused(NamedTuple):
    pass


class Answered(NamedTuple):
    reply: bytes


class Awaited(NamedTuple):
    pass


NOT_RESP = {
    "an HTTP request": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 0),
    "an HTTP request with a body": (b"POST /x HTTP/1.1\r\nContent-Length: 14\r\n\r\n" + PING, 0),
    "a TLS hello": (bytes.fromhex("16030100c8010000c40303") + bytes(200), 0),
    "an SSH banner": (b"SSH-2.0-OpenSSH_9.2\r\n", 0),
    "an inline command": (b"PING\r\n", 0),
    "half an empty line": (b"\r" + PING, 0),
    "an empty line inside a request": (b"*1\r\n\r\n$4\r\nping\r\n", 4),
    "lines that end in LF": (b"*1\n$4\nping\n" + PING, 0),
    "zeros": (bytes(100), 0),
    "a count past the limit": (b"*100001\r\n", 0),
    "a huge count": (b"*999999999999999999\r\n", 0),
    "a count past every integer": (b"*18446744073709551616\r\n", 0),
    "a long string of digits": (b"*" + b"9" * 60_000 + b"\r\n", 0),
    "a long string of zeros": (b"*1\r\n$" + b"0" * 60_000 + b"4\r\nping\r\n", 4),
    "a negative count": (b"*-2\r\n", 0),
    "a negative length": (b"*1\r\n$-2\r\n", 4),
    "a negative zero as count": (b"*-0\r\n", 0),
    "a negative zero as length": (b"*1\r\n$-0\r\n\r\n", 4),
    "a signed length": (b"*1\r\n$+4\r\nping\r\n", 4),
    "a length with a space": (b"*1\r\n$ 4\r\nping\r\n", 4),
    "a length with an underline": (b"*1\r\n$1_0\r\n0123456789\r\n", 4),
    "a length in other digits": (b"*1\r\n$\xd9\xa4\r\nping\r\n", 4),
    "no length": (b"*1\r\n$\r\n", 4),
    "a length past the limit": (b"*1\r\n$67108865\r\n", 4),
    "a length past every integer": (b"*1\r\n$99999999999999999999\r\n", 4),
    "a string that is longer than said": (b"*1\r\n$3\r\nping\r\n", 11),
    "a string that is shorter than said": (b"*1\r\n$6\r\nping\r\n" + PING, 14),
    "a nest of arrays": (b"*1\r\n" * 200, 32),
    "a nest of maps": (b"%1\r\n+k\r\n" * 50, 64),
    "a nest of attributes": (b"|1\r\n" * 200, 32),
    "a line without end": (b"*1\r\n+" + b"x" * 70_000, 4),
    "a streamed string": (b"*1\r\n$?\r\n;4\r\nping\r\n;0\r\n", 4),
    "a streamed array": (b"*?\r\n$4\r\nping\r\n.\r\n", 0),
    "a map whose count doubles past the limit": (b"%50001\r\n", 0),
    "many arrays past the limit together": (b"*2\r\n*50000\r\n" + b"+\r\n" * 50_000 + b"*50000\r\n", 150_012),
    "a type that there isn't": (b"*1\r\n@4\r\nping\r\n", 4),
    "a double that is none": (b"*1\r\n,1.2.3\r\n", 4),
    "a boolean that is none": (b"*1\r\n#x\r\n", 4),
}
NO_COMMAND = {
    "a null array": b"*-1\r\n",
    "a null": b"$-1\r\n",
    "an empty array": b"*0\r\n",
    "an error": b"-ERR what\r\n",
    "a reply": b"+OK\r\n",
    "a push": b">1\r\n$4\r\nping\r\n",
    "a map": b"%1\r\n$4\r\nping\r\n$0\r\n\r\n",
    "a null among the arguments": b"*2\r\n$4\r\necho\r\n$-1\r\n",
    "a null as the command": b"*2\r\n_\r\n$1\r\nx\r\n",
    "a number among the arguments": b"*2\r\n$4\r\necho\r\n:1\r\n",
    "arrays as deep as is allowed": b"*1\r\n" * 8 + b"+ping\r\n",
    "an empty command": b"*1\r\n$0\r\n\r\n",
    "a command of zeros": b"*1\r\n$9\r\n" + bytes(9) + b"\r\n",
    "a command with line ends in it": b"*1\r\n$8\r\na\r\n-ERR \r\n",
    "a long command": resp.command("x" * 1_000_000),
    "as many empty arguments as are allowed": b"*100000\r\n" + b"$0\r\n\r\n" * 100_000,
    "as many pings as are allowed": b"*100000\r\n" + b"$4\r\nping\r\n" * 100_000,
    "a publish without data": resp.command("publish", "s"),
    "a publish with more": resp.command("publish", "s", "n", "x", "y"),
    "a stream without a name": resp.command("publish", "", "n", "x"),
    "a stream of everything": resp.command("publish", "$all", "n", "x"),
    "a stream with a colon": resp.command("publish", "s:0", "n", "x"),
    "a stream that ends the line": resp.command("publish", "s\r\n+OK", "n", "x"),
    "an event that ends the line": resp.command("publish", "s", "n\n", "x"),
    "a stream that isn't UTF-8": resp.command("publish", b"\xff", "n", "x"),
    "a long stream": resp.command("publish", "s" * 100_000, "n", "x"),
    "a long event name": resp.command("publish", "s", "n" * 100_000, "x"),
    "an event past the limit": resp.command("publish", "s", "n", bytes(16 * MIB + 1)),
    "a subscription from nowhere": resp.command("subscribe", "s:-1"),
    "a subscription from past all numbers": resp.command("subscribe", "s:18446744073709551616"),
    "a subscription from a long number": resp.command("subscribe", "s:" + "9" * 60_000),
    "more subscriptions than are allowed": resp.command("subscribe", *(f"s{i}" for i in range(20_001))),
    "a follower of nothing": resp.command("follow", "prefix", "x"),
}
ODD = {
    "a count with zeros": (b"*01\r\n$04\r\nping\r\n", PONG),
    "simple strings": (b"*2\r\n+echo\r\n+x\r\n", b"$1\r\nx\r\n"),
    "a set": (b"~1\r\n$4\r\nping\r\n", PONG),
    "a verbatim string": (b"*2\r\n+echo\r\n=5\r\ntxt:x\r\n", b"$1\r\nx\r\n"),
    "an attribute before it": (b"|1\r\n+ttl\r\n:1\r\n" + PING, PONG),
    "letters of any size": (resp.command("pInG"), PONG),
    "what looks like RESP": (resp.command("echo", "\r\n*1\r\n"), b"$6\r\n\r\n*1\r\n\r\n"),
    "an empty string": (resp.command("echo", ""), b"$0\r\n\r\n"),
    "thousands at once": (PING * 5_000, PONG * 5_000),
}
CUT_SHORT = {
    "a count": b"*",
    "a count without its end": b"*1\r",
    "a command": b"*2\r\n$4\r\necho\r\n$100\r\nx",
    "an announced string": b"*1\r\n$67000000\r\n",
    "an announced string with some of it": publish("s", bytes(1_000_000))[:300_000],
    "an announced array": b"*100000\r\n",
    "nests": b"*1\r\n" * 8,
}

TABLE = {
    **{name: (request, Closed(at)) for name, (request, at) in NOT_RESP.items()},
    **{name: (request, Refused()) for name, request in NO_COMMAND.items()},
    **{name: (request, Answered(reply)) for name, (request, reply) in ODD.items()},
    **{f"the begin of {name}": (request, Awaited()) for name, request in CUT_SHORT.items()},
}


def run(seed, until, folder):
    draw = random.Random(f"hostile {seed}")
    server = Server(["--db-path", str(folder / "db"), "--port", "0", "--sync", "no", "--log-level", "error"],
                    UNMEASURED, folder / "server.log")
    try:
        with_bystander = Besieged(server.wait_until_listening())
        names = list(TABLE)
        count = 0
        while count < REQUESTS and time.monotonic() < until:
            with_bystander.attack(names[count] if count < len(names) else draw.choice(names), draw)
            count += 1
        with_bystander.close()
    finally:
        server.end()
    return {"hostile requests": count}


class Besieged:
    """A server, somebody who minds his own business there, and what the server used when he came."""

    def __init__(self, running):
        self._running = running
        self._bystander = Client("127.0.0.1", running.port)
        self._bystander.recv_nothing()
        self._before = memory(running), threads(running), descriptors(running)

    def attack(self, name, draw):
        """Let one client send what the table has by this name."""
        request, outcome = TABLE[name]
        try:
            with_ = _in_pieces(publish("s", "good") + request, draw)
            client = Client("127.0.0.1", self._running.port)
            try:
                if draw.random() < 0.1:
                    _send_and_leave(client, with_)
                else:
                    _CHECKS[type(outcome)](client, with_, outcome)
            finally:
                client.close()
            self._bystander.recv_nothing()
        except (AssertionError, OSError) as error:
            raise AssertionError(f"{name}: {type(error).__name__}: {error}") from error

    def close(self):
        """All that the others cost goes with them."""
        within(A_SECOND, lambda: stat(self._bystander, "connected_clients"), lambda found: found == 1)
        size, thread_count, descriptor_count = self._before
        within(A_SECOND, lambda: threads(self._running), lambda found: found <= thread_count)
        within(A_SECOND, lambda: descriptors(self._running), lambda found: found <= descriptor_count)
        assert memory(self._running) - size < MAX_KEPT
        self._bystander.close()


def _in_pieces(data, draw):
    """`data` as it may come: whole, in two pieces, or byte by byte."""
    how = draw.randrange(3)
    if how == 0 or (how == 1 and len(data) > SHORT):
        return [data]
    if how == 1:
        return [data[i:i + 1] for i in range(len(data))]
    at = draw.randrange(len(data))
    return [data[:at], data[at:]]


def _send_and_leave(client, pieces):
    """Be gone, rudely, without a look at what comes."""
    client.sock.setblocking(False)
    try:
        for piece in pieces:
            client.sock.send(piece)
    except OSError:
        pass
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _check_closed(client, pieces, outcome):
    try:
        for piece in pieces:
            client.send(piece)
    except OSError:
        pass            # it was closed before it had read all
    found = _read_up_to_end(client.sock)
    at = len(publish("s", "good")) + outcome.at
    assert re.fullmatch(rb"\+OK\r\n-ERR Protocol error at byte %d: [^\r]*\r\n" % at, found), f"found {found[:500]!r}"
    assert len(found) < MAX_ERROR, f"found {len(found)} bytes"


def _read_up_to_end(sock):
    """What came before the end, which is a reset if the server left bytes unread."""
    found = b""
    try:
        while data := sock.recv(4096):
            found += data
    except ConnectionResetError:
        pass
    return found


def _check_refused(client, pieces, outcome):
    for piece in pieces:
        client.send(piece)
    client.send(PING)
    answers = [client.value() for _ in range(3)]
    assert isinstance(answers[1], resp.ErrorReply), f"found {answers}, expected an error"
    assert (answers[0], answers[2]) == (b"OK", b"PONG"), f"found {answers}"
    assert len(str(answers[1])) < MAX_ERROR, f"an error of {len(str(answers[1]))} bytes"


def _check_answered(client, pieces, outcome):
    for piece in pieces:
        client.send(piece)
    client.recv_exactly(OK + outcome.reply)
    client.recv_nothing()


def _check_awaited(client, pieces, outcome):
    for piece in pieces:
        client.send(piece)
    client.recv_exactly(OK)
    client.end_output()
    client.recv_end()


_CHECKS = {Closed: _check_closed, Refused: _check_refused, Answered: _check_answered, Awaited: _check_awaited}
