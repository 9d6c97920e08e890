"""Redis's commands for consumer groups, on ours.

    XGROUP CREATE orders billing 0     ──>  the group billing@orders, which is shared (store/shared.py)
    XREADGROUP GROUP billing ann …     ──>  that one; if it isn't there the group `billing` that is of `orders` alone

A group that group-create made works with its own rules: it gives the stream's events in order and
again by itself, so what would break that is refused by name.
"""

import re

import resp
from store import GroupExists, NoGroup
from store.groups import MOST_AT_ONCE
from store.names import check_name
from store.sharing import PendingList

from .blocked import deadline_of
from .entries import (
    MAX_ID,
    entries_in,
    format_id,
    id_at,
    id_of,
    number_from,
    pairs_of,
    parse_end,
    parse_id,
    parse_start,
)
from .kept import Kept
from .keys import exists, has_events, stream_of
from .syntax import arity, subcommands
from .table import MAX_NUMBER, OK, CommandError, at_once, command, help_of, subcommand
from .text import printable
from .users import GROUP, READ
from .xread import AT_ONCE

# What one reply has at most: of pending entries, and of events where a request says no number.
MOST_PENDING = 100_000
MOST = 10_000
# Entries that XAUTOCLAIM looks at for each that it is asked for, and how many it is if nobody says.
_LOOKED_AT = 10
_CLAIMED = 100
# Pages of the log that a read without BLOCK looks at, so that it ends where all was redacted.
_STEPS = 1000
# One of a blocked read that finds something takes a step more to be given it, before another one is.
_STEPS_OF_A_LOOK = 2
_SYNTAX = "ERR syntax error"
_NO_COUNT = "ERR COUNT must be > 0"
_NOT_A_NUMBER = "ERR value is not an integer or out of range"
_NO_KEY = ("ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM "
           "option to create an empty stream automatically.")
_DOLLAR = ("ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer "
           "by specifying a proper ID, or use the > ID to get new messages. The $ ID would just return an empty "
           "result set.")
_INTEGER = re.compile(rb"(0|-?[1-9][0-9]{0,18})\Z")
# What can't stand in the name of a group before the stream's, and what would read as that.
_AT = re.compile(rb"@|%(?=40|25)")
_ESCAPED = re.compile(rb"%(40|25)")


# -- which group -----------------------------------------------------------------------------

def name_of(group, stream):
    """The name (str) of the group that Redis's `group` of a stream is; both bytes.  Raises CommandError."""
    name = _AT.sub(lambda found: b"%%%02X" % ord(found[0]), group) + b"@" + stream
    return _text(name if group else b"", "group")


_names = Kept(lambda names: name_of(*names))


def redis_name(group, stream):
    """What Redis's clients call a ConsumerGroup of a stream."""
    name, end = group.name.encode(), b"@" + stream
    if not name.endswith(end) or not group.is_shared:
        return name
    return _ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), name[:-len(end)])


def group_of(store, stream, name):
    """The ConsumerGroup that Redis's group `name` of a stream is, or None."""
    of_stream = _names[name, stream] if len(name) + len(stream) <= Kept.LONGEST else name_of(name, stream)
    for own, shared in (of_stream, True), (name.decode("utf-8", "replace"), False):
        try:
            found = store.group(own)
        except NoGroup:
            continue
        if not found.definition.by_position and found.definition.key == stream and found.is_shared | (not shared):
            return found
    return None


def _text(name, what):
    try:
        check_name(name)
    except ValueError as error:
        raise CommandError(f"ERR {str(error).replace('event name', f'{what} name')}") from None
    return name.decode()


class _Asked:
    """A group that a request names, with what is said of it.

    stream   its name
    group    the ConsumerGroup
    list     the PendingList
    """

    def __init__(self, server, stream, group):
        self.stream = stream
        self.group = group
        self.list = PendingList(server.store, group)


def _asked(server, key, name, missing):
    """The _Asked.  Raises CommandError with the text `missing`, of {key} and {group}, where there is none."""
    stream = stream_of(key)
    group = group_of(server.store, stream, name)
    if group is None:
        raise CommandError(missing.format(key=printable(key), group=printable(name)))
    return _Asked(server, stream, group)


_NO_SUCH_GROUP = "NOGROUP No such consumer group '{group}' for key name '{key}'"
_NO_KEY_OR_GROUP = "NOGROUP No such key '{key}' or consumer group '{group}'"


def _only_shared(asked, command):
    """Raise CommandError if this isn't for the group."""
    if not asked.group.is_shared:
        raise CommandError(f"ERR group '{printable(asked.group.name)}' gives its stream's events in order, and again "
                           f"by itself, as group-create made it; {command} is for groups that XGROUP CREATE made")


# -- arguments -------------------------------------------------------------------------------

def _integer(text, error=_NOT_A_NUMBER):
    if not _INTEGER.match(text) or not -1 << 63 <= int(text) < 1 << 63:
        raise CommandError(error)
    return int(text)


def _key_at(at):
    """Of commands whose argument `at` is a key that they read, if there are so many."""
    return lambda server, arguments: [(READ, "stream", stream_of(key)) for key in arguments[at:at + 1]]


def last_id(store, stream):
    """(ms, seq) of the event that a stream had last, (0, 0) if it never had one."""
    _, stop = store.bounds(stream)
    if not stop:
        return 0, 0
    return id_at(store, stream, stop - 1) or (0, stop - 1)


def _behind(store, stream, last):
    """The number of the first event behind an id."""
    if last >= MAX_ID:
        return store.bounds(stream)[1]
    ms, seq = last
    return number_from(store, stream, *((ms, seq + 1) if seq < MAX_NUMBER else (ms + 1, 0))) if last > (0, 0) else (
        store.bounds(stream)[0])


def _place(store, stream, text):
    """(the number to go on with, the id before it) of `$` or an id."""
    last = last_id(store, stream) if text == b"$" else parse_id(text)
    return (store.bounds(stream)[1] if text == b"$" else _behind(store, stream, last)), last


# -- XGROUP ----------------------------------------------------------------------------------

_XGROUP_USAGE = ("CREATE key group id|$ [MKSTREAM] [ENTRIESREAD entries-read] | "
                 "SETID key group id|$ [ENTRIESREAD entries-read] | DESTROY key group | "
                 "CREATECONSUMER key group consumer | DELCONSUMER key group consumer | HELP")
_XGROUP_ARITY = {word.lower().encode(): arity(arguments, words=2)
                 for word, arguments in subcommands(_XGROUP_USAGE).items()}


@command("xgroup", -2, _XGROUP_USAGE, "Make, move and delete consumer groups of a stream", GROUP, _key_at(2),
         words={b"help": ""}, slow=True)
def xgroup(server, connection, arguments):
    return subcommand("xgroup", _XGROUP, _XGROUP_ARITY, arguments)(server, arguments)


def _create(server, arguments):
    store, key, name = server.store, arguments[2], arguments[3]
    make, read = _create_options(arguments[5:])
    stream = stream_of(key)
    if not make and not exists(store, stream):
        raise CommandError(_NO_KEY)
    if arguments[4] != b"$":
        parse_id(arguments[4])
    if group_of(store, stream, name) is not None:
        raise CommandError("BUSYGROUP Consumer Group name already exists")
    first, last = _place(store, stream, arguments[4])
    try:
        store.group_create_shared(name_of(name, stream), stream, first, last, read)
    except GroupExists:
        raise CommandError("BUSYGROUP Consumer Group name already exists") from None
    except ValueError as error:
        raise CommandError(f"ERR {error}") from None
    return OK


def _create_options(words):
    """(whether MKSTREAM is said, what ENTRIESREAD says or None)"""
    make, rest = False, []
    while words:
        if words[0].upper() == b"MKSTREAM":
            make, words = True, words[1:]
        else:
            rest, words = rest + words[:2], words[2:]
    return make, _entries_read(rest, "CREATE")


def _entries_read(words, command):
    """What ENTRIESREAD says, None if nothing."""
    read = None
    while words:
        if words[0].upper() != b"ENTRIESREAD" or len(words) < 2:
            raise CommandError(f"ERR unknown subcommand or wrong number of arguments for '{command}'. Try XGROUP HELP.")
        read = _integer(words[1])
        if read < -1:
            raise CommandError("ERR value for ENTRIESREAD must be positive or -1")
        words = words[2:]
    return None if read == -1 else read


def _on_group(server, arguments):
    """The _Asked of XGROUP's key and group."""
    if not exists(server.store, stream_of(arguments[2])):
        raise CommandError(_NO_KEY)
    return _asked(server, arguments[2], arguments[3], _NO_SUCH_GROUP)


def _set_id(server, arguments):
    asked = _on_group(server, arguments)
    read = _entries_read(arguments[5:], "SETID")
    _only_shared(asked, "XGROUP SETID")
    first, last = _place(server.store, asked.stream, arguments[4])
    asked.list.set_to(first, last, read)
    return OK


def _destroy(server, arguments):
    stream = stream_of(arguments[2])
    if not exists(server.store, stream):
        raise CommandError(_NO_KEY)
    group = group_of(server.store, stream, arguments[3])
    if group is None:
        return resp.integer(0)
    try:
        server.store.group_delete(group.name)
    except NoGroup:         # by somebody else, meanwhile
        return resp.integer(0)
    return resp.integer(1)


def _create_consumer(server, arguments):
    asked = _on_group(server, arguments)
    _only_shared(asked, "XGROUP CREATECONSUMER")
    member = _text(arguments[4], "consumer")
    return resp.integer(_said(lambda: asked.list.meet(member)))


def _delete_consumer(server, arguments):
    asked = _on_group(server, arguments)
    member = _text(arguments[4], "consumer")
    return resp.integer(asked.list.drop(member) if asked.group.is_shared else asked.group.leave(member))


_XGROUP = {b"create": _create, b"setid": _set_id, b"destroy": _destroy, b"createconsumer": _create_consumer,
           b"delconsumer": _delete_consumer, b"help": lambda server, arguments: help_of("xgroup", _XGROUP_USAGE)}


def _said(call):
    """What `call` returns; what a group has too much of, in words for the client."""
    try:
        return call()
    except ValueError as error:
        raise CommandError(f"ERR {error}") from None


# -- XREADGROUP, XACK ------------------------------------------------------------------------

def _read_keys(server, arguments):
    """The streams of an XREADGROUP; none where it is mistyped, which the handler says."""
    words = [word.upper() for word in arguments]
    if b"STREAMS" not in words[1:]:
        return []
    keys = arguments[words.index(b"STREAMS", 1) + 1:]
    return [(READ, "stream", stream_of(key)) for key in keys[:len(keys) // 2]]


class _Request:
    """An XREADGROUP, as it is said."""

    def __init__(self, arguments):
        self.group = self.member = self.block = None
        self.count = 0
        self.acked = False
        self.keys = self.ids = ()
        self._take(arguments[1:])
        if not self.keys:
            raise CommandError(_SYNTAX)
        if self.group is None:
            raise CommandError("ERR Missing GROUP option for XREADGROUP")

    def _take(self, words):
        while words:
            word = words[0].upper()
            if word == b"NOACK":
                self.acked, words = True, words[1:]
            elif word == b"GROUP" and len(words) > 2:
                (self.group, self.member), words = words[1:3], words[3:]
            elif word == b"COUNT" and len(words) > 1:
                self.count, words = max(0, _integer(words[1])), words[2:]
            elif word == b"BLOCK" and len(words) > 1:
                self.block, words = _block(words[1]), words[2:]
            elif word == b"STREAMS" and len(words) > 1:
                self._take_streams(words[1:])
                return
            else:
                raise CommandError(_SYNTAX)

    def _take_streams(self, words):
        if len(words) % 2:
            raise CommandError("ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be "
                               "specified.")
        half = len(words) // 2
        self.keys, self.ids = words[:half], words[half:]


def _block(text):
    block = _integer(text, "ERR timeout is not an integer or out of range")
    if block < 0:
        raise CommandError("ERR timeout is negative")
    return block


@command("xreadgroup", -7, "<GROUP group consumer> [COUNT count] [BLOCK milliseconds] [NOACK] "
         "STREAMS key [key ...] id [id ...]", "Events for a consumer, new to its group or its own again",
         GROUP, _read_keys, slow=True)
def xreadgroup(server, connection, arguments):
    """With nothing there and BLOCK, the reply comes later: see blocked.py."""
    request = _Request(arguments)
    read = _GroupsRead(server, connection, request)
    reply = read.first()
    if reply is not None:
        return reply
    if request.block is None:
        return read.nothing()
    server.blocked.add(connection, read)
    server.blocked.refuse_unless_permitted(connection)      # who changed its user may have looked before it was there
    return None


class _GroupsRead:
    """What an XREADGROUP reads, now or later; see blocked.py for those that wait."""

    def __init__(self, server, connection, request):
        self.deadline = None if request.block is None else deadline_of(request.block)
        self._server = server
        self._protocol = connection.protocol
        self._member = _text(request.member, "consumer")
        self._count = request.count or MOST
        self._how = {"acked": True} if request.acked else {}
        self._given = []        # (group, Givens) of the last look
        self._more = False      # of the log to look at
        self._sources = [(key, self._source(key, request.group, id_), _start(id_))
                         for key, id_ in zip(request.keys, request.ids)]
        self._keys = request.keys
        self.streams = [asked.stream for _, asked, _ in self._sources]

    def _source(self, key, name, id_):
        missing = f"{_NO_KEY_OR_GROUP} in XREADGROUP with GROUP option"
        asked = _asked(self._server, key, name, missing)
        if self._how:
            _only_shared(asked, "NOACK")
        return asked

    def first(self):
        """What there is at once: what is the member's own may be nothing, and is said."""
        return self._look(_STEPS)

    def look(self):
        for _, asked, _ in self._sources:
            self._check(asked)
        return None if all(asked.group.is_idle for _, asked, _ in self._sources) else self._look(_STEPS_OF_A_LOOK)

    def _look(self, steps):
        found = []
        self._given, self._more = [], False
        for key, asked, since in self._sources:
            if since is not None:
                found.append((key, self._own(asked, since)))
                continue
            portions = self._new(asked, steps)
            if portions:
                self._given.append((asked.group, portions))
                found.append((key, _entries_of(portions)))
        return _reply(found, self._protocol) if found else None

    def _new(self, asked, steps):
        """The Portions of events that are new to the group, of about MOST_AT_ONCE bytes."""
        portions, count, size, more = [], 0, 0, True
        try:
            while more and count < self._count and size < MOST_AT_ONCE:
                some, more = self._read_some(asked, self._count - count, steps)
                if not some:
                    break
                portions += some
                count += sum([len(one.items) for one in some])
                size += sum([one.size for one in some])
        except BaseException:
            asked.group.unread(_keys_of(portions))
            raise
        self._more = self._more or more and not portions
        return portions

    def _read_some(self, asked, count, steps):
        try:
            return _said(lambda: asked.group.read_portions(self._member, count, steps, **self._how))
        except NoGroup:
            self._check(asked)
            raise

    def _own(self, asked, since):
        if asked.group.is_shared:
            _said(lambda: asked.list.meet(self._member))
        return resp.array([resp.array([resp.bulk(format_id(held.ms, held.key)),
                                       resp.null_array(self._protocol) if event is None else _fields(event)])
                           for held, event in asked.list.history(self._member, since, self._count)])

    def _check(self, asked):
        """Raise CommandError if a group is gone."""
        try:
            asked.list.counts()
        except NoGroup:
            if not has_events(self._server.store, asked.stream):
                raise CommandError("UNBLOCKED the stream key no longer exists") from None
            raise CommandError("NOGROUP the consumer group this client was blocked on no longer exists") from None

    @property
    def due(self):
        if self._more:
            return 0
        return min((due for due in (asked.group.due for _, asked, _ in self._sources) if due is not None), default=None)

    def nothing(self):
        return resp.null_array(self._protocol)

    def undo(self):
        for group, portions in self._given:
            group.unread(_keys_of(portions))

    def why_not(self, user):
        if user is not None and user.may(GROUP) and all(user.reaches(READ, "stream", one) for one in self.streams):
            return None
        return (f"NOPERM the read has ended: user {user.name if user else 'nobody'} may not read "
                f"{', '.join(printable(key) for key in self._keys[:3])} any more")


def _keys_of(portions):
    return [item.key for one in portions for item in one.items]


def _entries_of(portions):
    """The events of Portions as RESP."""
    if len(portions) == 1:
        one = portions[0]
        return resp.array(entries_in(one.run, one.begin, one.stop))
    return resp.array([entry for one in portions for entry in entries_in(one.run, one.begin, one.stop)])


def _reply(found, protocol):
    """The reply to an XREADGROUP that has found something: [(key, entries in RESP), …]."""
    if protocol == 3:
        return resp.mapping([(resp.bulk(key), entries) for key, entries in found], 3)
    return resp.array([resp.array([resp.bulk(key), entries]) for key, entries in found])


@at_once("xreadgroup")
def _xreadgroup_at_once(server, connection, arguments):
    """What is new to a group, in small numbers, and was read lately."""
    request = _Request(arguments)
    if len(request.keys) > 1 or request.ids[0] != b">" or not 0 < request.count <= AT_ONCE:
        return None
    group = group_of(server.store, stream_of(request.keys[0]), request.group)
    if group is None or request.acked and not group.is_shared:
        return None
    how = {"acked": True} if request.acked else {}
    portions = group.read_at_once(_text(request.member, "consumer"), request.count, **how)
    if portions:
        return _reply([(request.keys[0], _entries_of(portions))], connection.protocol)
    return resp.null_array(connection.protocol) if portions is not None and request.block is None else None


def _start(id_):
    """The first (ms, seq) of what is a member's own that a read asks for; None: it asks for what is new."""
    if id_ == b">":
        return None
    if id_ == b"$":
        raise CommandError(_DOLLAR)
    ms, seq = parse_id(id_)
    return (ms, seq + 1) if seq < MAX_NUMBER else (ms + 1, 0)


def entry_of(event, protocol):
    """An Event as the stream commands show it."""
    return b"*2\r\n" + resp.bulk(id_of(event)) + _fields(event)


def _fields(event):
    return resp.array([resp.bulk(one) for one in pairs_of(event)])


@command("xack", -4, "key group id [id ...]", "These events are done; how many of them a consumer had", GROUP,
         _key_at(1), slow=True)
def xack(server, connection, arguments):
    stream = stream_of(arguments[1])
    group = group_of(server.store, stream, arguments[2])
    if group is None:
        return resp.integer(0)
    try:
        return resp.integer(group.ack_ids([parse_id(text) for text in arguments[3:]]))
    except NoGroup:
        return resp.integer(0)


@at_once("xack")
def _xack_at_once(server, connection, arguments):
    if len(arguments) > AT_ONCE:
        return None
    group = group_of(server.store, stream_of(arguments[1]), arguments[2])
    if group is None:
        return resp.integer(0)
    count = group.ack_ids([parse_id(text) for text in arguments[3:]], at_once=True)
    return None if count is None else resp.integer(count)


# -- XPENDING --------------------------------------------------------------------------------

@command("xpending", -3, "key group [[IDLE min-idle-time] start end count [consumer]]",
         "What consumers of a group have", READ, _key_at(1), slow=True)
def xpending(server, connection, arguments):
    if len(arguments) == 3:
        return _summary(_asked(server, arguments[1], arguments[2], _NO_KEY_OR_GROUP), connection.protocol)
    words, idle = arguments[3:], 0
    if words[0].upper() == b"IDLE":
        if len(words) < 5:
            raise CommandError(_SYNTAX)
        idle, words = _integer(words[1]), words[2:]
    if not 3 <= len(words) <= 4:
        raise CommandError(_SYNTAX)
    count = max(0, _integer(words[2]))
    since, until = parse_start(words[0]), parse_end(words[1])
    asked = _asked(server, arguments[1], arguments[2], _NO_KEY_OR_GROUP)
    member = _text(words[3], "consumer") if len(words) == 4 else None
    found = asked.list.held(since, until, min(count, MOST_PENDING), member, idle)
    return resp.array([resp.array([resp.bulk(format_id(one.ms, one.key)), resp.bulk(one.member.encode()),
                                   resp.integer(one.idle), resp.integer(one.tries)]) for one in found])


def _summary(asked, protocol):
    ends = asked.list.ends()
    if ends is None:
        return resp.array([resp.integer(0), resp.null(protocol), resp.null(protocol), resp.null_array(protocol)])
    counts = asked.list.counts()
    return resp.array([resp.integer(sum(counts.values())),
                       *(resp.bulk(format_id(one.ms, one.key)) for one in ends),
                       resp.array([resp.array([resp.bulk(name.encode()), resp.bulk(b"%d" % counts[name])])
                                   for name in sorted(counts)])])


# -- XCLAIM, XAUTOCLAIM ----------------------------------------------------------------------

@command("xclaim", -6, "key group consumer min-idle-time id [id ...] [IDLE ms] [TIME ms] [RETRYCOUNT count] [FORCE] "
         "[JUSTID] [LASTID id]", "Give a consumer what others have had for long", GROUP, _key_at(1), slow=True)
def xclaim(server, connection, arguments):
    asked = _asked(server, arguments[1], arguments[2], _NO_KEY_OR_GROUP)
    idle = max(0, _integer(arguments[4], "ERR Invalid min-idle-time argument for XCLAIM"))
    ids, words = _leading_ids(arguments[5:])
    how, last = _claim_options(words, server.store.clock() // 1000)
    _only_shared(asked, "XCLAIM")
    member = _text(arguments[3], "consumer")
    if last is not None:
        asked.list.skip_to(_behind(server.store, asked.stream, last), last)
    claimed = _said(lambda: asked.list.claim(ids, member, idle, **how))
    return _claimed(claimed, not how["counted"], connection.protocol)


def _leading_ids(words):
    """([(ms, seq), …] at the beginning, the words behind them)"""
    ids = []
    for at, word in enumerate(words):
        try:
            ids.append(parse_id(word))
        except CommandError:
            return ids, words[at:]
    return ids, []


def _claim_options(words, now):
    """(what PendingList.claim is given, the LASTID or None)"""
    how, last = {"counted": True}, None
    while words:
        word = words[0].upper()
        if word == b"FORCE":
            how["force"], words = True, words[1:]
        elif word == b"JUSTID":
            how["counted"], words = False, words[1:]
        elif word == b"LASTID" and len(words) > 1:
            last, words = parse_id(words[1]), words[2:]
        elif word in (b"IDLE", b"TIME", b"RETRYCOUNT") and len(words) > 1:
            number = _integer(words[1], f"ERR Invalid {word.decode()} option argument for XCLAIM")
            if word == b"RETRYCOUNT":
                how["tries"] = number if number >= 0 else None
            else:
                at = now - number if word == b"IDLE" else number
                how["at"] = at if 0 <= at <= now else now
            words = words[2:]
        else:
            raise CommandError(f"ERR Unrecognized XCLAIM option '{printable(words[0])}'")
    return how, last


def _claimed(events, just_ids, protocol):
    return resp.array([resp.bulk(id_of(event)) if just_ids else entry_of(event, protocol) for event in events])


@command("xautoclaim", -6, "key group consumer min-idle-time start [COUNT count] [JUSTID]",
         "Give a consumer what others have had for long, page by page", GROUP, _key_at(1), slow=True)
def xautoclaim(server, connection, arguments):
    idle = max(0, _integer(arguments[4], "ERR Invalid min-idle-time argument for XAUTOCLAIM"))
    since = parse_start(arguments[5])
    count, just_ids = _autoclaim_options(arguments[6:])
    asked = _asked(server, arguments[1], arguments[2], _NO_KEY_OR_GROUP)
    _only_shared(asked, "XAUTOCLAIM")
    member = _text(arguments[3], "consumer")
    claimed, gone, following = _said(lambda: asked.list.claim_idle(
        member, idle, since, count, count * _LOOKED_AT, counted=not just_ids))
    return resp.array([resp.bulk(format_id(*following or (0, 0))), _claimed(claimed, just_ids, connection.protocol),
                       resp.array([resp.bulk(format_id(*one)) for one in gone])])


def _autoclaim_options(words):
    """(COUNT, whether JUSTID is said)"""
    count, just_ids = _CLAIMED, False
    while words:
        word = words[0].upper()
        if word == b"COUNT" and len(words) > 1:
            count, words = _integer(words[1], _NO_COUNT), words[2:]
            if count < 1:
                raise CommandError(_NO_COUNT)
            count = min(count, MOST)
        elif word == b"JUSTID":
            just_ids, words = True, words[1:]
        else:
            raise CommandError(_SYNTAX)
    return count, just_ids


# -- XINFO -----------------------------------------------------------------------------------

def groups_of_key(store, stream):
    """[(Redis's name, ConsumerGroup), …] of a stream, by name."""
    return sorted(((redis_name(group, stream), group) for group in store.groups_of(stream)), key=lambda one: one[0])


def info_groups(server, connection, arguments):
    """The reply to XINFO GROUPS key."""
    stream = stream_of(arguments[2])
    if not exists(server.store, stream) and not server.store.groups_of(stream):
        raise CommandError("ERR no such key")
    found = [_group_fields(server, stream, name, group, connection.protocol)
             for name, group in groups_of_key(server.store, stream)]
    return resp.array([resp.mapping([(resp.bulk(key), value) for key, value in fields], connection.protocol)
                       for fields in found if fields])


def progress_fields(store, stream, group, protocol):
    """The fields last-delivered-id, entries-read and lag."""
    if group.is_shared:
        last, read, unread = PendingList(store, group).progress()
    else:
        info = group.info()
        last, read, unread = id_at(store, stream, info.next - 1) or (0, 0), None, group.visible - info.next
    return [(b"last-delivered-id", resp.bulk(format_id(*last))),
            (b"entries-read", resp.null(protocol) if read is None else resp.integer(read)),
            (b"lag", resp.integer(unread))]


def _group_fields(server, stream, name, group, protocol):
    """[(field, value), …] of a group; [] if it is gone."""
    pending = PendingList(server.store, group)
    try:
        members, counts = pending.members(), pending.counts()
        return [(b"name", resp.bulk(name)), (b"consumers", resp.integer(len(members))),
                (b"pending", resp.integer(sum(counts.values()))),
                *progress_fields(server.store, stream, group, protocol)]
    except NoGroup:
        return []


def info_consumers(server, connection, arguments):
    """The reply to XINFO CONSUMERS key group."""
    if not exists(server.store, stream_of(arguments[2])):
        raise CommandError("ERR no such key")
    asked = _asked(server, arguments[2], arguments[3], _NO_SUCH_GROUP)
    return resp.array([resp.mapping([
        (resp.bulk(b"name"), resp.bulk(one.name.encode())), (resp.bulk(b"pending"), resp.integer(one.held)),
        (resp.bulk(b"idle"), resp.integer(one.idle or 0)),
        (resp.bulk(b"inactive"), resp.integer(-1 if one.inactive is None else one.inactive))],
        connection.protocol) for one in asked.list.members()])
