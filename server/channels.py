"""Channels and patterns, as Redis's pub/sub knows them: who subscribes to what.

    SUBSCRIBE orders:1    ──> ("channel", b"orders:1")   the stream of that key, from its next event on
    PSUBSCRIBE orders:*   ──> ("pattern", b"orders:*")   `$all`, what the pattern's literal prefix passes
    PSUBSCRIBE orders:1   ──> ("pattern", b"orders:1")   the stream of that key
                               '-- the selector of a Follower, in front of those of `subscribe` and `follow`
"""

import codecs

import resp
from store.filter import Filter
from store.names import ALL

from .chunk import Form
from .globs import Glob
from .keys import key_of, stream_of
from .table import CommandError

CHANNEL, PATTERN = "channel", "pattern"

# Streams of which it is kept how many subscribers their events are for.
_MOST_KEPT = 10_000


def is_classic(selector):
    """Whether it is of Redis's pub/sub."""
    return selector[0] in (CHANNEL, PATTERN)


def parse_channel(channel):
    """(selector, Form on RESP2, the stream to follow).  Raises CommandError."""
    return (CHANNEL, channel), Form(False, False, opening=b"3\r\n$7\r\nmessage\r\n"), stream_of(channel)


def parse_pattern(pattern):
    """The same of a pattern; the stream may be ALL."""
    glob = glob_of(pattern)
    opening = b"4\r\n$8\r\npmessage\r\n" + resp.bulk(pattern)
    if glob.is_literal:
        return (PATTERN, pattern), Form(False, False, opening=opening), stream_of(glob.prefix)
    prefix = prefix_of(glob)
    form = Form(False, False, Filter(prefix) if prefix else None, opening, glob)
    return (PATTERN, pattern), form, ALL


def glob_of(pattern):
    """Raises CommandError."""
    try:
        return Glob(pattern)
    except ValueError as error:
        raise CommandError(f"ERR {error}") from None


def touched(selector):
    """(kind, name) of what a subscriber reads: ("stream", its name), or ("prefix", what their names begin with)."""
    kind, key = selector
    if kind == CHANNEL:
        return "stream", stream_of(key)
    glob = glob_of(key)
    return ("stream", stream_of(glob.prefix)) if glob.is_literal else ("prefix", prefix_of(glob))


def prefix_of(glob):
    """What the streams of all keys that match begin with.

    What stands for the last bytes of that may depend on what follows them: half a character, a `%`.
    It ends before those.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    decoder.decode(glob.prefix)
    half, _ = decoder.getstate()
    prefix = glob.prefix[:len(glob.prefix) - len(half)].partition(b"%")[0]
    return b"" if ALL.startswith(prefix) else stream_of(prefix)


def acknowledgement(connection, verb, selector):
    """What says that a subscription has begun ("subscribe") or ended ("unsubscribe"), and how many there are now."""
    kind, key = selector
    word = b"p" + verb if kind == PATTERN else verb
    named = resp.null(connection.protocol) if key is None else resp.bulk(key)
    return resp.push([resp.bulk(word), named, resp.integer(connection.listening)], connection.protocol)


class Channels:
    """How many subscribers each channel and each pattern has.

    Whoever changes it holds a lock; whoever asks needs none.
    """

    def __init__(self):
        self._channels = {}         # channel -> subscribers
        self._patterns = {}         # pattern -> (Glob, subscribers)
        self._receivers = {}        # what `receivers` found since then, by stream; replaced by each change

    def add(self, selector):
        kind, key = selector
        if kind == CHANNEL:
            self._channels[key] = self._channels.get(key, 0) + 1
        else:
            glob, count = self._patterns.get(key) or (glob_of(key), 0)
            self._patterns[key] = glob, count + 1
        self._receivers = {}

    def remove(self, selector):
        kind, key = selector
        if kind == CHANNEL:
            count = self._channels.pop(key) - 1
            if count:
                self._channels[key] = count
        else:
            glob, count = self._patterns.pop(key)
            if count > 1:
                self._patterns[key] = glob, count - 1
        self._receivers = {}

    def receivers(self, stream):
        """How many subscribers an event of this stream is for."""
        if not self._channels and not self._patterns:
            return 0
        found = self._receivers         # first: a change meanwhile replaces it
        if stream not in found:
            key = key_of(stream)
            patterns = list(self._patterns.values())
            if len(found) >= _MOST_KEPT:
                found.clear()
            found[stream] = self.subscribers(key) + sum([count for glob, count in patterns if glob.matches(key)])
        return found[stream]

    def subscribers(self, channel):
        """How many subscribe to a channel by its name."""
        return self._channels.get(channel, 0)

    def names(self):
        """The channels that have such a subscriber."""
        return list(self._channels)

    @property
    def count(self):
        """How many those are."""
        return len(self._channels)

    @property
    def patterns(self):
        """How many patterns somebody subscribes to."""
        return len(self._patterns)
