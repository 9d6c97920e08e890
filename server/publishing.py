"""PUBLISH, which is MeiliES's with three arguments and Redis's with two.

    publish STREAM NAME DATA  ──> runs ─────> the batch ──> +OK
    PUBLISH CHANNEL MESSAGE   ──> Messages ──────'    ──> how many subscribers it is for

A channel is the stream of that key; who subscribes to it is in channels.py.
"""

import resp
from store import ANY
from store.append import Append, Singles
from store.names import check_name, check_stream

from .appending import ALIKE, BATCHED
from .committer import error_reply
from .keys import stream_of
from .table import OK, CommandError, checked, command
from .users import APPEND

# What an event is called that has no name of its own.
MESSAGE = b"message"


class Messages(Singles):
    """PUBLISHes to channels, one behind the other, each stored or refused by itself.

    channels   the Channels, which know who subscribes
    """

    __slots__ = ("channels",)

    command = "publish"

    def __init__(self, events, channels):
        super().__init__(events)
        self.channels = channels

    def replies(self, stored):
        """How many subscribers each is for, as Redis counts them: who follows in another way isn't among them."""
        streams = {stream for stream, *_ in self.events}
        counts = {stream: resp.integer(self.channels.receivers(stream)) for stream in streams}
        return b"".join([counts[event[0]] if type(one) is tuple else error_reply(one)
                         for event, one in zip(self.events, self.outcomes)])


class Named(Append):
    """A publish with a name that doesn't come in a run."""

    __slots__ = ()

    command = "publish"

    def reply(self, stored):
        return OK


def _appends(server, arguments):
    return [("append", "stream", stream_of(arguments[1]) if len(arguments) == 3 else arguments[1])]


@command("publish", -3, "<stream name data | channel message>",
         "Store an event; answers when it is as safe as --sync says", APPEND, _appends)
def publish(server, connection, arguments):
    """Says what is wrong; those that are right never come here but go to the store in batches."""
    event_of(arguments, server.limits)


def event_of(arguments, limits):
    """What an Append has of the event of a PUBLISH, with a name or, to a channel, without.  Raises CommandError."""
    if len(arguments) == 3:
        stream, name = stream_of(arguments[1]), MESSAGE
    elif len(arguments) == 4:
        _, stream, name, _ = arguments
        checked(check_stream, stream)
        checked(check_name, name)
    else:
        raise CommandError("ERR wrong number of arguments for 'publish' command; usage: publish <stream name data | "
                           "channel message>")
    data = bytes(arguments[-1])
    if len(data) > limits.max_event_size:
        raise CommandError(f"ERR data of {len(data)} bytes, expected no more than {limits.max_event_size}")
    return stream, ANY, name, data, b"", b"", b""


def _alone(server, connection, arguments):
    event = event_of(arguments, server.limits)
    append = Messages([event], server.feeds.channels) if len(arguments) == 3 else Named([event])
    return append, sum(map(len, arguments))


def _messages_of(server, connection, commands):
    """The Messages of PUBLISHes to channels, None if something is wrong with one of them."""
    most = server.limits.max_event_size
    try:
        events = [(stream_of(channel), ANY, MESSAGE, message, b"", b"", b"") for _, channel, message in commands
                  if len(message) <= most]
    except CommandError:
        return None
    return Messages(events, server.feeds.channels) if len(events) == len(commands) else None


BATCHED[b"publish"] = _alone
ALIKE[b"publish"] = _messages_of
