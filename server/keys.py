"""Redis's keys and the names of streams: two ways to write the same.

    key                     stream
    orders          <->     orders
    orders:1        <->     orders%3A1          what a name may not have: ':' CR LF NUL, and what isn't UTF-8
    50%3A1          <->     50%253A1            a '%' that would read as one of these, or as one of itself
    $all            <->     %24all

Each key that isn't empty and not too long is a stream, and each stream is a key, one to one.  A name
that no key is written as, such as `a%25`, is a key by itself; and then what that would be written as
is one as well, and so on: see `_is_itself`.
"""

import re

from store.names import ALL, MAX_NAME, check_stream

from .kept import Kept
from .table import CommandError

_FORBIDDEN = re.compile("[:\r\n\0\udc80-\udcff]")
# What is written for a byte; `%24` but where it begins `$all`.
_ESCAPE = re.compile(rb"%(0[0AD]|25|3A|[89A-F][0-9A-F]|24(?=all\Z)(?<=\A%24))")
# How often one was escaped again, and what it was at first, if that was no '%'.
_NESTED = re.compile(rb"%((?:25)*)(0[0AD]|3A|[89A-F][0-9A-F])?")


def stream_of(key):
    """The name of the stream that a key stands for.

    Raises    CommandError    an empty key, or one that makes a name of more than 32 KiB
    """
    return _streams[key]


def key_of(stream):
    """The key of a stream's name."""
    return stream if b"%" not in stream or _is_itself(stream) else _unescaped(stream)


def _stream_of(key):
    if not key:
        raise CommandError("ERR a key is at least one byte, found an empty one")
    stream = key if len(key) > MAX_NAME or _is_itself(key) else _escaped(key)
    if len(stream) > MAX_NAME:
        raise CommandError(f"ERR a key that makes a stream name of {len(stream)} bytes, expected no more "
                           f"than {MAX_NAME}")
    return stream


_streams = Kept(_stream_of)


def _escaped(key):
    """A key with each byte that may not be in a name, and each '%' that could be taken for one, as %XX."""
    if key == ALL:
        return b"%24" + ALL[1:]
    text = _ESCAPE.sub(rb"%25\1", key).decode("utf-8", "surrogateescape")
    return _FORBIDDEN.sub(lambda found: f"%{ord(found[0]) & 0xFF:02X}", text).encode()


def _unescaped(name):
    return _ESCAPE.sub(lambda found: bytes([int(found[1], 16)]), name)


def _is_itself(name):
    """Whether a name is the same as a key and as a stream.

    So it is if nothing in it is escaped, or would be.  If it is what another key is escaped as, it is to be
    escaped once more as that one is: all of them but those that begin with a stream's name that nothing is
    escaped as.
    """
    name = _less_nested(name)
    while b"%" in name:
        before = _unescaped(name)
        if before == name or _escaped(before) != name:
            break
        name = before
    return _may_name(name)


def _less_nested(name):
    """A name with as many escapes taken back as all that is escaped in it was escaped more than once.

    What was escaped thousands of times isn't gone through one by one.
    """
    depth = min([len(found[1]) // 2 - (found[2] is None) for found in _NESTED.finditer(name)
                 if found[1] or found[2]], default=0)
    if not depth:
        return name
    return _NESTED.sub(lambda found: b"%" + found[1][2 * depth:] + (found[2] or b""), name)


def _may_name(name):
    try:
        check_stream(name)
    except ValueError:
        return False
    return True


def exists(store, stream):
    """Whether there is a key for a stream's name: it has had an event and isn't deleted, or a key's group is on it.

    It may read what groups there are: not for the poller's thread.
    """
    return has_events(store, stream) or has_group(store, stream)


def has_events(store, stream):
    """Whether a stream has had an event, there or not, since it was deleted, if it was."""
    known = store.find(stream)
    return known is not None and known.visible > known.deleted


def has_group(store, stream):
    """Whether a consumer group is on this stream that was made for its key."""
    return bool(groups_of(store, stream))


def groups_of(store, stream):
    """The ConsumerGroups that were made for the key of a stream."""
    return [group for group in store.groups_of(stream) if is_of_key(group, stream)] if store.has_groups else []


def is_of_key(group, stream):
    """Whether a ConsumerGroup was made for the key of a stream: then the stream's name is the end of its own."""
    definition = group.definition
    return not definition.by_position and definition.key == stream and group.name.encode().endswith(b"@" + stream)


# -- which streams a request touches, for the table ----------------------------

def touches_key(how, at=1):
    """Of commands with one key, as the argument `at`: touches(server, arguments), which reads or appends its stream."""
    return lambda server, arguments: [(how, "stream", stream_of(arguments[at]))]


def touches_keys(how):
    """Of commands all of whose arguments are keys."""
    return lambda server, arguments: [(how, "stream", stream_of(key)) for key in arguments[1:]]
