"""What was recorded from MeiliES 0.2.0: byte for byte the same where it is right, and right where it isn't."""

import json
from pathlib import Path

import pytest
from serving import OK, event, publish, subscribed

RECORDED = json.loads((Path(__file__).parent / "meilies-transcripts.json").read_text(encoding="utf-8"))
CASES = RECORDED["cases"]

# What the recording's set-up says was published after the first case.
SET_UP = [publish("orders", data, "paid") for data in ("two", "three", "four", "five")]

ORDERS = [event("orders", 0, "created", "one"), event("orders", 1, "paid", "two"),
          event("orders", 2, "paid", "three"), event("orders", 3, "paid", "four"),
          event("orders", 4, "paid", "five")]
OTHER = event("other", 0, "x", "")
# Every event that the cases before `subscribe $all` publish, in the order received.
ALL = [*ORDERS, OTHER, b"*5\r\n+event\r\n+bin\r\n:0\r\n+x\r\n$3\r\n\0\xff\xfe\r\n", event("a b", 0, "x", "d"),
       event("orders2", 0, "message", "x"), event("orders3", 0, "x", "data"), event("orders2", 1, "x", "y")]
NAMES = b"*7\r\n+stream-names\r\n+a b\r\n+bin\r\n+orders\r\n+orders2\r\n+orders3\r\n+other\r\n"
ERROR = b"-"

# Replies that MeiliES gets wrong, or that show what it got wrong before; and what it lacks: PING, and Redis's PUBLISH.
RIGHT = {
    "ping": b"+PONG\r\n",
    "publish few": b":0\r\n",
    "publish $all": ERROR,
    "PUBLISH upper": OK,
    "bad bulk end": ERROR,
    "names": NAMES,
    "names extra": NAMES,
    "subscribe orders:0": subscribed("orders") + b"".join(ORDERS),
    "subscribe orders:2": subscribed("orders") + b"".join(ORDERS[2:]),
    "subscribe orders:+1": ERROR,
    "subscribe orders:00": subscribed("orders") + b"".join(ORDERS),
    "subscribe $all:0:2": subscribed("$all") + b"".join(ALL[:2]),
    "subscribe none": ERROR,
    "subscribe twice": subscribed("orders") * 2 + ORDERS[0],
    "subscribe $all": subscribed("$all") + b"".join(ALL),
    "subscribe $all + other": subscribed("orders") + ORDERS[0] + subscribed("$all") + ALL[0],
    "error then publish": ERROR + OK,
    "names after": NAMES.replace(b"*7", b"*8").replace(b"+bin", b"+after\r\n+bin"),
    "crlf payload": OK,
    "crlf read": subscribed("crlf") + event("crlf", 0, "x", "a\r\nb"),
}

# The requests that aren't RESP; only these end a connection.
NOT_RESP = {"inline", "bad prefix", "bad int", "bad bulk end"}


def test_the_recording_names_each_case_once_and_every_correction_is_of_one():
    names = [case["name"] for case in CASES]
    assert len(set(names)) == len(names)
    assert set(RIGHT) | NOT_RESP <= set(names)
    assert {case["name"] for case in CASES if "fault" in case} <= set(RIGHT)


def play(case, peer):
    """Send a recorded request and check what comes of it."""
    expected = RIGHT.get(case["name"], case["reply"].encode("latin-1"))
    peer.send(case["request"].encode("latin-1"))
    if expected.startswith(ERROR):
        assert read_line(peer.sock).startswith(b"-ERR ")
        expected = OK if expected.endswith(OK) else b""
    peer.recv_exactly(expected)
    if case["name"] in NOT_RESP:
        peer.recv_end()
    else:
        peer.recv_nothing()


def read_line(sock):
    line = b""
    while not line.endswith(b"\r\n"):
        byte = sock.recv(1)
        assert byte, f"the connection ended behind {line!r}"
        line += byte
    return line


@pytest.mark.parametrize("again", range(3))
@pytest.mark.parametrize("sync", ["always", "everysec"])
def test_every_reply_is_the_recorded_one_or_the_right_one(server, connect, sync, again):
    port = server("--sync", sync).port
    for case in CASES:
        peer = connect(port)
        play(case, peer)
        if case["name"] == "publish":
            for request in SET_UP:
                peer.send(request)
                peer.recv_exactly(OK)
        peer.close()
