"""What a client is owed, over a socket that takes what it is told to take."""

import pytest

from server.chunk import Form, chunk_of
from server.outbox import Outbox
from store import record

PLAIN = Form(False, False)


class Socket:
    """Takes `room` bytes, then refuses; `gone` makes it fail."""

    def __init__(self, room=1 << 40):
        self.room = room
        self.gone = False
        self.taken = b""

    def send(self, data):
        if self.gone:
            raise ConnectionResetError
        if not self.room:
            raise BlockingIOError
        some = bytes(data[:self.room])
        self.room -= len(some)
        self.taken += some
        return len(some)


class Follower:
    ended = False
    form = PLAIN


class Owed(Outbox):
    """An outbox on a Socket, that counts how often it was refused."""

    def __init__(self, room=1 << 40):
        self.socket = Socket(room)
        self.refusals = 0
        super().__init__(lambda data: self.socket.send(data), self._refused)

    def _refused(self):
        assert self.lock.locked()
        self.refusals += 1


def chunk(count=3, size=10):
    """Frames of `size` bytes of data each."""
    frames = record.frames(b"s", b"x", 0, [b"%0*d" % (size, i) for i in range(count)])
    return chunk_of([record.decode(record.encode(0, 0, 0, 0, 0, frames), 0, 0)], 0, count, False, PLAIN)


def test_replies_wait_for_a_flush_and_go_out_together():
    outbox = Owed()
    outbox.put(b"one")
    outbox.put(b"two")
    assert (outbox.socket.taken, outbox.size) == (b"", 6)
    outbox.flush()
    assert (outbox.socket.taken, outbox.size, outbox.sent) == (b"onetwo", 0, 6)
    outbox.put_and_flush(b"three")
    assert outbox.socket.taken == b"onetwothree"
    outbox.flush()
    assert (outbox.size, outbox.blocked, outbox.refusals) == (0, False, 0)


def test_what_a_socket_refuses_stays_and_nothing_overtakes_it():
    outbox = Owed(room=4)
    outbox.put(b"012")
    outbox.put_and_flush(b"345")
    assert (outbox.socket.taken, outbox.size, outbox.blocked) == (b"0123", 2, True)
    outbox.socket.room = 100
    outbox.put_and_flush(b"67")         # not before `resume`
    outbox.flush()
    assert outbox.offer(chunk(), Follower()) == 0
    assert (outbox.socket.taken, outbox.size, outbox.refusals) == (b"0123", 4, 1)
    assert outbox.resume()
    assert (outbox.socket.taken, outbox.size, outbox.blocked) == (b"01234567", 0, False)
    assert outbox.resume()


def test_a_socket_that_refuses_again_is_waited_for_again():
    outbox = Owed(room=0)
    outbox.put_and_flush(b"0123")
    for i in range(1, 4):
        outbox.socket.room = 1
        assert not outbox.resume()
        assert (outbox.size, outbox.refusals) == (4 - i, i + 1)
    outbox.socket.room = 1
    assert outbox.resume()
    assert outbox.socket.taken == b"0123"


def test_a_frame_that_was_begun_is_sent_whole_and_of_the_rest_nothing_is_kept():
    frames = chunk()
    for room in range(len(frames.data) + 2):
        outbox = Owed(room)
        begun = outbox.offer(frames, Follower())
        whole = frames.ends[begun - 1] if begun else 0
        assert len(outbox.socket.taken) == min(room, len(frames.data)) <= whole
        assert outbox.size == whole - len(outbox.socket.taken)
        assert outbox.blocked == (room < len(frames.data))
        outbox.socket.room = len(frames.data)
        assert outbox.resume()
        assert outbox.socket.taken == frames.data[:whole]


def test_events_come_behind_the_replies_that_wait():
    outbox = Owed()
    outbox.put(b"reply")
    assert outbox.offer(chunk(1), Follower()) == 1
    assert outbox.socket.taken == b"reply" + chunk(1).data
    outbox = Owed(room=3)
    outbox.put(b"reply")
    assert outbox.offer(chunk(1), Follower()) == 0
    assert outbox.socket.taken == b"rep"


def test_a_follower_that_ended_or_wants_another_form_gets_nothing():
    outbox = Owed()
    follower = Follower()
    follower.form = PLAIN._replace(push=True)
    assert outbox.offer(chunk(), follower) == 0
    follower.form = Form(False, False)          # equal
    assert outbox.offer(chunk(), follower) == 3
    follower.ended = True
    assert outbox.offer(chunk(), follower) == 0
    assert outbox.socket.taken == chunk().data


def test_a_change_is_made_in_the_step_that_queues_its_reply():
    outbox = Owed()
    outbox.put(b"before")
    sizes = []
    outbox.put(b"after", lambda: sizes.append((outbox.lock.locked(), outbox.size)))
    assert sizes == [(True, 6)]
    assert outbox.size == 11


def test_a_large_reply_is_sent_in_pieces():
    outbox = Owed()
    data = bytes(range(256)) * (12 << 10)       # 3 MiB
    pieces = []
    send = outbox._send
    outbox._send = lambda piece: pieces.append(len(piece)) or send(piece)
    outbox.put_and_flush(data)
    assert outbox.socket.taken == data
    assert max(pieces) == 1 << 20


@pytest.mark.parametrize("how", ["put", "offer", "resume"])
def test_who_is_gone_is_owed_nothing_any_more(how):
    outbox = Owed(room=1)
    if how == "resume":
        outbox.put_and_flush(b"waits")
    outbox.socket.gone = True
    if how == "put":
        outbox.put_and_flush(b"reply")
    elif how == "offer":
        outbox.offer(chunk(), Follower())
    else:
        outbox.resume()
    assert (outbox.closed, outbox.size, outbox.blocked) == (True, 0, False)
    outbox.put(b"more")
    outbox.put_and_flush(b"more")
    outbox.flush()
    assert outbox.offer(chunk(), Follower()) == 0
    assert outbox.size == 0


def test_who_goes_while_replies_are_sent_before_events_gets_none():
    outbox = Owed()
    outbox.put(b"reply")
    outbox.socket.gone = True
    assert outbox.offer(chunk(), Follower()) == 0
    assert outbox.closed
