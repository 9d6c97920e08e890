"""What Redis has for streams beside XADD and what reads them: how long they are, and what goes.

    XLEN            events that readers see, those that were redacted not counted
    XTRIM           cuts a stream, as `truncate` does
    XDEL            redacts events; with those before the first that is left, cuts the stream
    DEL, UNLINK     delete streams, as `delete` does, and the groups that were made for their keys
    XSETID          gives up numbers

All of it may read from the disk or write to it, so workers do it.
"""

import resp
from store import StreamDeleted
from store.record import is_redacted

from .adding import give_up, parse_trim
from .adding import trim as cut
from .entries import id_at, id_of, parse_id
from .keys import exists, groups_of, has_events, stream_of, touches_key, touches_keys
from .table import OK, CommandError, command
from .users import ADMIN, READ


@command("xlen", 2, "key", "How many entries a stream has", READ, touches_key("read"), slow=True)
def xlen(server, connection, arguments):
    return resp.integer(server.store.length(stream_of(arguments[1])))


@command("xtrim", -4, "key MAXLEN|MINID [=|~] threshold [LIMIT count]",
         "Cut a stream's oldest entries; how many that were", ADMIN, touches_key("append"), slow=True)
def xtrim(server, connection, arguments):
    wanted = parse_trim(arguments)
    return resp.integer(cut(server.store, stream_of(arguments[1]), wanted))


@command("xdel", -3, "key id [id ...]", "Take entries out by their ids; how many there were", ADMIN,
         touches_key("append"), slow=True)
def xdel(server, connection, arguments):
    stream = stream_of(arguments[1])
    if not exists(server.store, stream):
        return resp.integer(0)
    ids = list(map(parse_id, arguments[2:]))
    return resp.integer(_take_out(server.store, stream, dict.fromkeys(ids)))


def _take_out(store, stream, ids):
    """Take those of these entries out that are there; how many.  Raises StoreError."""
    first, stop = store.bounds(stream)
    numbers = [number for ms, number in ids if first <= number < stop and _is_there(store, stream, ms, number)]
    if not numbers:
        return 0
    first_kept, taken = store.retention.first_kept, set(numbers)
    begin = first_kept(stream, first)
    while begin in taken:
        begin = first_kept(stream, begin + 1)
    left = [number for number in numbers if number >= begin]
    if left:
        store.redact_many(stream, left)
    if begin > first:
        store.truncate(stream, begin)
    return len(numbers)


def _is_there(store, stream, ms, number):
    return any(id_of(event) == b"%d-%d" % (ms, number) and not is_redacted(event)
               for event in store.read(stream, number, number + 1))


@command("del", -2, "key [key ...]", "Delete streams, with the groups that were made for them; how many there were",
         ADMIN, touches_keys("append"), slow=True)
def delete_keys(server, connection, arguments):
    keys = dict.fromkeys(arguments[1:])
    return resp.integer(sum([_delete(server.store, stream_of(key)) for key in keys]))


@command("unlink", -2, "key [key ...]", "The same as del", ADMIN, touches_keys("append"), slow=True)
def unlink(server, connection, arguments):
    return delete_keys(server, connection, arguments)


def _delete(store, stream):
    """Delete a stream, which goes on with its next number; whether it was there.  Raises StoreError."""
    if not exists(store, stream):
        return False
    if has_events(store, stream):
        try:
            store.delete(stream)
        except StreamDeleted:       # meanwhile, and for good
            return False
    for group in groups_of(store, stream):
        store.group_delete(group.name)
    return True


@command("xsetid", -3, "key id [ENTRIESADDED count] [MAXDELETEDID id]",
         "Have a stream go on behind an id; numbers up to it are given up", ADMIN, touches_key("append"), slow=True)
def xsetid(server, connection, arguments):
    ms, seq = parse_id(arguments[2])
    if len(arguments) > 3:
        raise CommandError("ERR ENTRIESADDED and MAXDELETEDID can't be set here: they follow from what happened to the "
                           "stream; expected: xsetid key id")
    store, stream = server.store, stream_of(arguments[1])
    if not exists(store, stream):
        raise CommandError("ERR no such key")
    first, following = store.bounds(stream)
    last = id_at(store, stream, following - 1) if following else None
    if seq < following - 1 or last is not None and (ms, seq) < last:
        raise CommandError("ERR The ID specified in XSETID is smaller than the target stream top item")
    if seq >= following:
        if first < following:
            raise CommandError("ERR numbers of events can't be given up behind events; nothing was changed")
        give_up(store, stream, seq + 1)
    return OK
