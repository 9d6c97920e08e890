"""Commands that took long, the last so many of them, for whoever asks why.

    number   when          took us   what                                        whose
    17       1700000000    25113     read  $all  0  1000                         127.0.0.1:50122, reports
    16       1699999998    10822     publish  (a batch of 300, of 12 clients)

What clients sent is shown as far as it names things: of a command that isn't known here to have nothing
else, the name alone.  Data, metadata and passwords are counted, never shown.

Lock: `_lock` guards the entries.
"""

import threading
import time
from collections import deque
from itertools import islice
from typing import NamedTuple

# Arguments, and bytes of one, that are kept.
_MOST = 16
_LONGEST = 64

# Commands whose arguments are names, numbers and words.
_OPEN = frozenset("""
    subscribe unsubscribe follow unfollow last-event-number stream-names search-streams
    read read-back read-last stream-info dcb-read
    group-create group-delete groups group-read group-ack group-leave group-parked group-replay group-discard group-info
    xlen xtrim xdel xsetid del unlink
    retain retention truncate delete redact compact snapshot-get snapshot-delete backup check export chain-head verify
    psubscribe punsubscribe pubsub multi exec discard watch unwatch
    info time command select slowlog latency memory
    xrange xrevrange xread xinfo
    xgroup xreadgroup xack xpending xclaim xautoclaim
    scan keys dbsize randomkey type exists touch ttl pttl expiretime pexpiretime persist object
    """.split())
# How many of the others' arguments are, the command itself among them.
_LEADING = {"publish": 3, "append": 4, "xadd": 2, "dcb-append": 2, "snapshot-put": 3, "group-refuse": 4, "client": 2,
            "config": 3, "acl": 2, "hello": 2}


class Slow(NamedTuple):
    """One entry.

    id            goes up, never back
    time          seconds since 1970, when it ended
    microseconds  that it took
    arguments     [bytes, …], shortened
    peer, name    whose it was; "" and b"" of a batch
    """

    id: int
    time: int
    microseconds: int
    arguments: list
    peer: str
    name: bytes


class SlowLog:
    """See the top of this file.

    slower_than   microseconds from which on a command is slow; -1: none is
    length        entries that are kept
    """

    def __init__(self, slower_than, length):
        self.count = 0              # ever
        self._lock = threading.Lock()
        self._entries = deque(maxlen=length)
        self.set_threshold(slower_than)

    def set_threshold(self, slower_than):
        self.slower_than = slower_than
        self.seconds = slower_than / 1e6 if slower_than >= 0 else float("inf")

    def set_length(self, length):
        with self._lock:
            self._entries = deque(islice(self._entries, length), length)

    @property
    def length(self):
        return self._entries.maxlen

    def add(self, arguments, seconds, peer="", name=b""):
        """A command took so long; its arguments are fit to be shown."""
        with self._lock:
            self._entries.appendleft(Slow(self.count, int(time.time()), round(seconds * 1e6), arguments, peer, name))
            self.count += 1

    def entries(self, limit=None):
        """The newest `limit` of them, or all, newest first."""
        with self._lock:
            return list(islice(self._entries, limit))

    def __len__(self):
        return len(self._entries)

    def reset(self):
        with self._lock:
            self._entries.clear()


def shown(name, arguments):
    """Of the arguments of the command `name`, itself the first, what may be kept."""
    count = len(arguments) if name in _OPEN else min(len(arguments), _LEADING.get(name, 1))
    if name == "publish":       # what comes last is data, whether there is a name before it or not
        count = min(count, len(arguments) - 1)
    found = [_shortened(one) for one in arguments[:min(count, _MOST)]]
    if len(arguments) > len(found):
        rest = arguments[len(found):]
        found.append(b"(%d more arguments, %d bytes)" % (len(rest), sum(map(len, rest))))
    return found


def _shortened(argument):
    argument = bytes(argument)
    if len(argument) <= _LONGEST:
        return argument
    return b"%b... (%d more bytes)" % (argument[:_LONGEST], len(argument) - _LONGEST)
