"""MULTI and EXEC: some commands that store events become one append, all of them or none.

    MULTI ──> Transaction ── publish, append, … : +QUEUED each ──> EXEC ──> one Append ──> the batch
                  │                                                  '── with ids of the client's: a worker
                  '── anything else: an error, and EXEC does nothing

So what a transaction stores stands together in `$all`, and nobody sees a part of it.  What could
be done by half, or only looks as if it were one step with the rest, is refused by name.
"""

import resp
from store import StoreError
from store.append import Append

from .adding import check_time, event_to_add, is_simple, parse_add, store_as, trim_behind
from .appending import BATCHED, append_of
from .committer import error_reply, places_reply
from .entries import format_id
from .publishing import event_of
from .table import NOAUTH, OK, CommandError, check, command, takes, why_not
from .users import ADMIN, APPEND

_TRIMMING = "xadd with MAXLEN or MINID"
_QUEUED = b"+QUEUED\r\n"
# What is done at once, in a transaction too.
_FOR_NOW = frozenset("multi exec discard watch quit reset".split())


class Transaction:
    """What was queued since MULTI.

    events    what an Append has of each
    ids       {which of them: (ms, seq)} of XADDs with ids of the client's; see adding.py
    parts     [(how many of the events are its own, reply(their places, the clock of the first)), …] of each command
    size      bytes of what was queued
    trims     whether some of them trim streams
    broken    something was refused: EXEC does nothing
    """

    __slots__ = ("events", "ids", "parts", "size", "trims", "broken")

    def __init__(self):
        self.events = []
        self.ids = {}
        self.parts = []
        self.size = 0
        self.trims = False
        self.broken = False


class Stored(Append):
    """The events of a transaction on their way to the store."""

    __slots__ = ("_parts",)

    command = "exec"
    ascending = True        # as entries do, which may be among them

    def __init__(self, transaction):
        super().__init__(transaction.events)
        self._parts = transaction.parts

    def reply(self, stored):
        return reply_of(self._parts, self.places, [stored.clock] * len(self.places))


def reply_of(parts, places, clocks):
    """The reply to EXEC, whose events have these places and clocks."""
    replies, at = [], 0
    for count, reply in parts:
        replies.append(reply(places[at:at + count], clocks[at] if count else None))
        at += count
    return resp.array(replies)


def is_exec(request):
    return type(request) is list and request[0].lower() == b"exec"


def is_for_now(command, arguments):
    """Whether a request for a Command, or None, is executed inside a transaction and not queued."""
    return command is not None and command.name in _FOR_NOW and takes(command.arity, arguments)


def queue(command, server, connection, arguments):
    """Queue a command; the reply, an error if it isn't one for transactions."""
    if command.name == "exec":      # with arguments
        connection.transact(None)
        return resp.error("EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command")
    try:
        check(command, server, connection.user, arguments)
        _add(server, connection, command.name, arguments)
    except CommandError as error:
        return resp.error(str(error))
    return _QUEUED


def _add(server, connection, name, arguments):
    transaction, make = connection.transaction, _QUEUEABLE.get(name)
    if make is None:
        raise CommandError(f"ERR {name.upper()} isn't for transactions, which are of commands that store events, such "
                           f"as PUBLISH and XADD, and PING and ECHO; send it without MULTI")
    limits = server.limits
    size = transaction.size + sum(map(len, arguments))
    if size > limits.max_request_size or len(transaction.parts) >= limits.max_arguments:
        raise CommandError(f"ERR a transaction of {size} bytes and {len(transaction.parts) + 1} commands, expected no "
                           f"more than {limits.max_request_size} bytes and {limits.max_arguments} commands")
    events, reply = make(server, connection, arguments)
    transaction.size = size
    transaction.events += events
    transaction.parts.append((len(events), reply))


def _publish(server, connection, arguments):
    event = event_of(arguments, server.limits)
    if len(arguments) == 4:
        return [event], lambda places, clock: OK
    return [event], lambda places, clock: resp.integer(server.feeds.channels.receivers(event[0]))


def _append(server, connection, arguments):
    append, _ = append_of(arguments, server.limits)
    return append.events, lambda places, clock: places_reply(places)


def _xadd(server, connection, arguments):
    addition = parse_add(arguments)
    trim = addition.trim
    if trim is not None:
        why = why_not(connection.user, _TRIMMING, ADMIN, ())
        if why:
            raise CommandError(why)
    if not addition.creates or trim is not None and not is_simple(trim, connection.user):
        raise CommandError("ERR XADD in a transaction takes no option but MAXLEN; send it without MULTI")
    event = event_to_add(addition.key, addition.pairs, server.limits)
    transaction = connection.transaction
    if addition.id is not None:
        check_time(server.store, addition.id[0])
        transaction.ids[len(transaction.events)] = addition.id

    def reply(places, clock):
        [(number, _)] = places
        if trim is not None:
            trim_behind(server.store, event[0], trim, number)
        return resp.bulk(format_id(clock // 1000, number))

    transaction.trims |= trim is not None
    return [event], reply


def _ping(server, connection, arguments):
    if len(arguments) > 2:
        raise CommandError("ERR wrong number of arguments for 'ping' command; usage: ping [text]")
    reply = resp.bulk(arguments[1]) if len(arguments) == 2 else b"+PONG\r\n"
    return [], lambda places, clock: reply


_QUEUEABLE = {      # name -> make(server, connection, arguments), which gives (events, reply(their places, stored))
    "publish": _publish,
    "append": _append,
    "xadd": _xadd,
    "ping": _ping,
    "echo": _ping,
    "unwatch": lambda server, connection, arguments: ([], lambda places, clock: OK),
}


@command("multi", 1, "", "Begin a transaction: what follows is kept until EXEC", "")
def multi(server, connection, arguments):
    if connection.transaction is not None:
        raise CommandError("ERR MULTI calls can not be nested")
    connection.transact(Transaction())
    return OK


@command("exec", 1, "", "Store the events of all commands since MULTI, as one append, or none of them", "", slow=True)
def exec_(server, connection, arguments):
    """Answers those without events, and those with ids of the client's; others go to the store in batches."""
    transaction = connection.transaction
    if transaction is None:
        raise CommandError("ERR EXEC without MULTI")
    connection.transact(None)
    if transaction.broken:
        raise CommandError("EXECABORT Transaction discarded because of previous errors.")
    why = _why_not(connection.user, transaction)
    if why:
        raise CommandError(why)
    if not transaction.ids:
        return reply_of(transaction.parts, [], [])
    try:
        batch, append = store_as(server.store, transaction.events, transaction.ids)
    except StoreError as error:
        return error_reply(error)
    server.call_soon(lambda: server.feeds.committed(batch))
    return reply_of(transaction.parts, append.places, append.clocks)


def _why_not(user, transaction):
    """What a transaction is refused with if its user may not append all of it any more, or None."""
    if user is None:
        return NOAUTH
    if transaction.trims and not user.may(ADMIN):
        return why_not(user, _TRIMMING, ADMIN, ())
    streams = dict.fromkeys(event[0] for event in transaction.events)
    return why_not(user, "exec", APPEND if streams else "", [("append", "stream", stream) for stream in streams])


def _exec_of(server, connection, arguments):
    """(The Append of a transaction that has events and may be stored, its bytes)."""
    transaction = connection.transaction
    if (len(arguments) != 1 or transaction is None or transaction.broken or not transaction.events
            or transaction.ids or _why_not(connection.user, transaction)):
        raise CommandError("ERR it is answered by itself")
    connection.transact(None)
    return Stored(transaction), transaction.size


BATCHED[b"exec"] = _exec_of


@command("discard", 1, "", "Forget what was kept since MULTI", "")
def discard(server, connection, arguments):
    if connection.transaction is None:
        raise CommandError("ERR DISCARD without MULTI")
    connection.transact(None)
    return OK


@command("watch", -2, "key [key ...]", "Refused: append says by EXPECTED what a stream has to be like", "")
def watch(server, connection, arguments):
    if connection.transaction is not None:
        raise CommandError("ERR WATCH inside MULTI is not allowed")
    raise CommandError("ERR WATCH isn't supported: nothing is watched between two commands; append takes the number "
                       "of the stream's last event as EXPECTED, also between MULTI and EXEC, and stores nothing if it "
                       "is another by then")


@command("unwatch", 1, "", "Answers OK: nothing is watched", "")
def unwatch(server, connection, arguments):
    return OK
