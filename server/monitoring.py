"""MONITOR: whoever asked for it gets a line for each request that the server receives.

    +1339518083.107412 [0 127.0.0.1:60866] "publish" "orders" "created" "one"
     time, seconds       |                 the arguments, each escaped and cut
                         the client's address

In Redis's format, which its tools read.  Passwords are left out, and all arguments of a
client that hasn't said who it is.  A monitor that takes its lines too slowly misses
some, and is told how many: `[0 monitor] "passed over" "17"`.

While nobody monitors, all that this costs is the look whether anybody does, once for
each piece that a socket gave.  Everything here runs in the poller's thread.
"""

import time

import resp
from resp import Alike

from .table import COMMANDS, OK, READS_ALL, command, denial
from .text import redacted
from .users import ADMIN

# What is shown of one argument, and how many are: a request may have 64 MiB and 100,000.
_LONGEST = 1024
_MOST = 64

# As Redis writes bytes: printable ASCII as it is.
_ESCAPES = {byte: f"\\x{byte:02x}" for byte in (*range(32), *range(127, 256))}
_ESCAPES.update({ord(plain): escaped for plain, escaped in (
    ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t"), ("\a", "\\a"), ("\b", "\\b"), ('"', '\\"'), ("\\", "\\\\"))})


class Monitors:
    """See the top of this file.

    watching   the connections that monitor, each with the number of requests that it missed
    """

    def __init__(self, clock=time.time):
        self.watching = {}
        self._clock = clock

    def add(self, connection):
        self.watching.setdefault(connection, 0)

    def remove(self, connection):
        self.watching.pop(connection, None)

    def tell(self, connection):
        """Show what was received from a connection, all of which is pending."""
        seconds = self._clock()
        requests = [request for one in connection.pending for request in requests_of(one)]
        lines = None
        for monitor, missed in list(self.watching.items()):
            why = denial(COMMANDS[b"monitor"], None, monitor.user, [b"monitor"])
            if why:
                self.remove(monitor)
                monitor.outbox.put_and_flush(resp.error(why))
            elif monitor.owes_too_much:
                self.watching[monitor] = missed + len(requests)
            else:
                if missed:
                    self.watching[monitor] = 0
                    monitor.outbox.put_and_flush(line_of(seconds, "monitor", [b"passed over", b"%d" % missed]))
                if lines is None:
                    lines = b"".join([line_of(seconds, connection.peer, _shown(request, connection.user))
                                      for request in requests])
                monitor.outbox.put_and_flush(lines)


def requests_of(pending):
    """The requests, as lists of arguments, of one thing that Requests.take gave; see there."""
    if type(pending) is tuple:
        return [[b"publish", *run[:2], data] for run in pending[0] for data in resp.lasts_of(run)]
    if type(pending) is Alike:
        return pending.commands
    if type(pending) is list and pending[0].lower() in COMMANDS:
        return [pending]
    return []       # what is no request of ours: who knows what stands in it


def line_of(seconds, peer, arguments):
    """The line that shows a request."""
    shown = " ".join([f'"{_quoted(argument)}"' for argument in arguments[:_MOST]])
    more = f' "... {len(arguments) - _MOST} more"' if len(arguments) > _MOST else ""
    return f"+{seconds:.6f} [0 {peer}] {shown}{more}\r\n".encode()


def _shown(arguments, user):
    """What others may see of a request."""
    return redacted(arguments) if user is not None else [arguments[0], *[b"(redacted)"] * (len(arguments) - 1)]


def _quoted(argument):
    text = str(argument[:_LONGEST], "latin-1").translate(_ESCAPES)
    return text if len(argument) <= _LONGEST else f"{text}... ({len(argument)} bytes)"


@command("monitor", 1, "", "A line for each request that the server receives, from now on; RESET ends it", ADMIN,
         touches=lambda server, arguments: READS_ALL)
def monitor(server, connection, arguments):
    server.monitors.add(connection)
    return OK
