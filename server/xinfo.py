"""XINFO: what is known of a stream, of its groups and of their consumers, in Redis's fields.

Ids that name no event are 0-0.  There is no radix tree here: what is said of one
is what Redis says of few entries, or none.
"""

from itertools import chain

import resp
from store import NoGroup
from store.sharing import PendingList

from .entries import format_id, id_at
from .keys import exists, stream_of
from .syntax import arity, subcommands
from .table import CommandError, command, help_of, subcommand
from .text import printable
from .users import READ
from .xgroup import MOST_PENDING, groups_of_key, info_consumers, info_groups, last_id, progress_fields
from .xread import Entries, parse_integer

_USAGE = "STREAM key [FULL [COUNT count]] | GROUPS key | CONSUMERS key group | HELP"
# Entries, and pending ones of each group, that FULL shows if nobody says how many.
_SHOWN = 10


def _touched(server, arguments):
    return [(READ, "stream", stream_of(arguments[2]))] if len(arguments) > 2 else []


@command("xinfo", -2, _USAGE, "What is known of a stream, its groups and their consumers", READ, _touched,
         words={b"help": ""}, slow=True)
def xinfo(server, connection, arguments):
    return subcommand("xinfo", _HANDLERS, _ARITY, arguments)(server, connection, arguments)


def _stream(server, connection, arguments):
    store, stream, protocol = server.store, stream_of(arguments[2]), connection.protocol
    if not exists(store, stream):
        raise CommandError("ERR no such key")
    count = _count_of(arguments)
    fields = _fields(store, stream) + (_ends(store, stream, protocol) if count is None else
                                       _whole(store, stream, count, protocol))
    return _mapping(fields, protocol)


def _count_of(arguments):
    """How much of everything FULL wants, 0 for all; None without it."""
    words = arguments[3:]
    if not words:
        return None
    if words[0].upper() != b"FULL" or len(words) not in (1, 3) or len(words) == 3 and words[1].upper() != b"COUNT":
        raise CommandError(f"ERR unknown subcommand or wrong number of arguments for '{printable(arguments[1])}'. "
                           "Try XINFO HELP.")
    if len(words) == 1:
        return _SHOWN
    count = parse_integer(words[2])
    return count if count >= 0 else _SHOWN


def _fields(store, stream):
    """What both forms begin with."""
    known = store.find(stream)
    length = store.length(stream.decode())
    first, stop = store.bounds(stream)
    redacted = store.retention.last_redacted(stream)
    deleted = None if redacted is None else id_at(store, stream, redacted)
    recorded = store.retention.first_kept(stream, first)
    return [
        (b"length", resp.integer(length)),
        (b"radix-tree-keys", resp.integer(1 if length else 0)), (b"radix-tree-nodes", resp.integer(2 if length else 1)),
        (b"last-generated-id", _id(last_id(store, stream))),
        (b"max-deleted-entry-id", _id(deleted)),
        (b"entries-added", resp.integer(stop if known is not None else 0)),
        (b"recorded-first-entry-id", _id(id_at(store, stream, recorded) if recorded < stop else None))]


def _ends(store, stream, protocol):
    first, stop = store.bounds(stream)
    ends = [Entries(1).between(store, stream, first, stop, back) for back in (False, True)]
    first_entry, last_entry = [end[0] if end else resp.null(protocol) for end in ends]
    return [(b"groups", resp.integer(len(groups_of_key(store, stream)))),
            (b"first-entry", first_entry), (b"last-entry", last_entry)]


def _whole(store, stream, count, protocol):
    first, stop = store.bounds(stream)
    groups = [_group(store, stream, name, group, count, protocol) for name, group in groups_of_key(store, stream)]
    return [(b"entries", resp.array(Entries(count or None).between(store, stream, first, stop))),
            (b"groups", resp.array(list(chain.from_iterable(groups))))]


def _group(store, stream, name, group, count, protocol):
    """A group as FULL has it, in a list; [] if it is gone."""
    listed = PendingList(store, group)
    most = min(count or MOST_PENDING, MOST_PENDING)
    try:
        now = store.clock() // 1000
        counts = listed.counts()
        pending = [resp.array([_id((one.ms, one.key)), resp.bulk(one.member.encode()), resp.integer(now - one.idle),
                               resp.integer(one.tries)]) for one in listed.held(count=most)]
        consumers = [_mapping([
            (b"name", resp.bulk(one.name.encode())), (b"seen-time", resp.integer(now - (one.idle or 0))),
            (b"pel-count", resp.integer(one.held)),
            (b"pending", resp.array([
                resp.array([_id((item.ms, item.key)), resp.integer(now - item.idle), resp.integer(item.tries)])
                for item in listed.held(count=most, member=one.name)]))], protocol) for one in listed.members()]
        return [_mapping([
            (b"name", resp.bulk(name)), *progress_fields(store, stream, group, protocol),
            (b"pel-count", resp.integer(sum(counts.values()))), (b"pending", resp.array(pending)),
            (b"consumers", resp.array(consumers))], protocol)]
    except NoGroup:
        return []


def _mapping(fields, protocol):
    return resp.mapping([(resp.bulk(name), value) for name, value in fields], protocol)


def _id(id_):
    return resp.bulk(format_id(*(id_ or (0, 0))))


_ARITY = {word.lower().encode(): arity(arguments, words=2) for word, arguments in subcommands(_USAGE).items()}
_HANDLERS = {b"stream": _stream, b"groups": info_groups, b"consumers": info_consumers,
             b"help": lambda server, connection, arguments: help_of("xinfo", _USAGE)}
