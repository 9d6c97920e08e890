"""What to say to either server, and how to count what it answers without parsing it.

                MeiliES                     Redis
    publish     publish S NAME DATA         XADD S * NAME DATA
    broadcast   the same                    PUBLISH S DATA
    subscribe   subscribe S …               SUBSCRIBE S …
    replay      subscribe S:0:N             XRANGE S - +

Both classes have the same functions.  Each reply to a publish holds the byte
`publish_reply` once, and each to a broadcast `broadcast_reply`.
"""

import resp

# In a payload once, at its end, and nowhere else in what a server sends.
MARK = b"~"


def entry(stream, name, data):
    """A request of Redis's, which both servers take; so are those below."""
    return resp.command("XADD", stream, "*", name, data)


def create_group(stream):
    return resp.command("XGROUP", "CREATE", stream, "group", "0")


def read_group(stream, count):
    return resp.command("XREADGROUP", "GROUP", "group", "ann", "COUNT", b"%d" % count, "STREAMS", stream, ">")


def acknowledge(stream, ids):
    return resp.command("XACK", stream, "group", *ids)


def range_behind(stream, count, id_):
    return resp.command("XRANGE", stream, b"(" + id_, "+", "COUNT", b"%d" % count)


def read_behind(stream, count, id_):
    return resp.command("XREAD", "COUNT", b"%d" % count, "STREAMS", stream, id_)


def payload(size):
    """`size` bytes to publish."""
    return b"x" * (size - 1) + MARK


class Meilies:
    publish_reply = broadcast_reply = b"+"

    @staticmethod
    def publish(stream, name, data):
        return resp.command("publish", stream, name, data)

    broadcast = publish

    @staticmethod
    def subscribe(streams):
        """(request, its acknowledgement)"""
        acks = [b"*2\r\n+subscribed\r\n+%b\r\n" % stream for stream in streams]
        return resp.command("subscribe", *streams), b"".join(acks)

    @staticmethod
    def events_in(size, stream, name, data):
        """How many whole events, from number 0 on, are in `size` bytes."""
        frame = len(b"*5\r\n+event\r\n+%b\r\n:\r\n+%b\r\n$%d\r\n%b\r\n" % (stream, name, len(data), data))
        first, digits = 0, 1
        while True:
            stop = 10 ** digits
            room = (stop - first) * (frame + digits)
            if size < room:
                return first + size // (frame + digits)
            size -= room
            first, digits = stop, digits + 1

    @staticmethod
    def replay(stream, events):
        return resp.command("subscribe", b"%b:0:%d" % (stream, events))

    @staticmethod
    def replay_all(streams, events):
        return resp.command("subscribe", b"$all:0:%d" % events)

    @staticmethod
    def count(stream):
        return resp.command("last-event-number", stream)

    @staticmethod
    def counted(reply):
        """How many events a stream has, from the value that answers `count`."""
        return 0 if reply[2] is None else reply[2] + 1


class Redis:
    publish_reply = b"$"
    broadcast_reply = b":"

    @staticmethod
    def publish(stream, name, data):
        return resp.command("XADD", stream, "*", name, data)

    @staticmethod
    def broadcast(stream, name, data):
        return resp.command("PUBLISH", stream, data)

    @staticmethod
    def subscribe(streams):
        acks = [b"*3\r\n$9\r\nsubscribe\r\n$%d\r\n%b\r\n:%d\r\n" % (len(stream), stream, count)
                for count, stream in enumerate(streams, 1)]
        return resp.command("SUBSCRIBE", *streams), b"".join(acks)

    @staticmethod
    def events_in(size, stream, name, data):
        return size // len(b"*3\r\n$7\r\nmessage\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (
            len(stream), stream, len(data), data))

    @staticmethod
    def replay(stream, events):
        return resp.command("XRANGE", stream, "-", "+")

    @staticmethod
    def replay_all(streams, events):
        """It has no order of all streams: they come one after the other."""
        return b"".join([resp.command("XRANGE", stream, "-", "+") for stream in streams])

    @staticmethod
    def count(stream):
        return resp.command("XLEN", stream)

    @staticmethod
    def counted(reply):
        return reply
