"""The commands for consumer groups."""

import time

import resp
from store import GroupExists, NoGroup, Prefix
from store.names import check_name

from .blocked import deadline_of
from .selecting import parse_from, parse_names, parse_selector
from .table import OK, CommandError, at_once, command, parse_number
from .text import printable
from .users import GROUP, READ
from .xread import AT_ONCE

# What one group-read gives at most, and one group-parked lists.
MOST = 1000
_CODES = {NoGroup: "NOGROUP", GroupExists: "GROUPEXISTS"}
# The options of group-create, and what one of their units is.
_OPTIONS = {b"TRIES": ("tries", 1), b"WAIT": ("wait", 1000), b"PAUSE": ("pause", 1000)}
_CREATE = ("ERR syntax error, expected: group-create GROUP SELECTOR FROM [TRIES n] [WAIT ms] [PAUSE ms] "
           "[NAMES n name ...]")


def _touched(group):
    """What its members read, for the table of commands."""
    return READ, group.definition.kind, group.definition.key


def _read(server, arguments):
    """The streams of the group that a request names; none if it isn't there, which the handler says.

    Which these are is for those alone who may read them.
    """
    try:
        group = server.store.group(arguments[1].decode("utf-8", "replace"))
        return [(*_touched(group), f"all that group '{printable(group.name)}' is of")]
    except NoGroup:
        return []


def _made(server, arguments):
    """The streams of a group that is to be made, and of the one that is there by that name."""
    (kind, key), _ = parse_selector(arguments[2:])
    return [(READ, kind, key), *_read(server, arguments)]


@command("group-create", -4, "group <$all | STREAM name | PREFIX prefix> from|- [TRIES n] [WAIT ms] [PAUSE ms] "
         "[NAMES n name [name ...]]",
         "Make a consumer group, or find it made so", GROUP, _made, slow=True)
def group_create(server, connection, arguments):
    name = _name(arguments[1], "group")
    (kind, key), rest = parse_selector(arguments[2:])
    if not rest:
        raise CommandError(_CREATE)
    first = parse_from(server.store, (kind, key), rest[0])
    selector = Prefix(key.decode()) if kind == "prefix" else key.decode()
    options = _parse_options(rest[1:])
    _try(lambda: server.store.group_create(name, selector, first, **options))
    return OK


def _parse_options(words):
    """What Store.group_create is given of the options behind FROM."""
    options = {}
    while words:
        word = words[0].upper()
        if word == b"NAMES":
            options["names"], words = parse_names(words[1:])
        elif word not in _OPTIONS:
            raise CommandError(f"ERR found '{printable(words[0])}', expected TRIES, WAIT, PAUSE or NAMES")
        elif len(words) == 1:
            raise CommandError(_CREATE)
        else:
            option, unit = _OPTIONS[word]
            number = parse_number(words[1], word.decode())
            options[option] = number / unit if unit > 1 else number
            words = words[2:]
    return options


@command("group-delete", 2, "group", "Forget a group, how far it is and what it parked", GROUP,
         _read, slow=True)
def group_delete(server, connection, arguments):
    _try(lambda: server.store.group_delete(_name(arguments[1], "group")))
    return OK


@command("groups", 1, "", "The names of all groups that one may read, sorted", READ, slow=True)
def groups(server, connection, arguments):
    return resp.array([resp.bulk(group.name.encode()) for group in server.store.groups()
                       if connection.user.reaches(*_touched(group))])


@command("group-read", -4, "group member count [BLOCK ms]", "Events for a member, to be acknowledged", GROUP,
         _read, slow=True)
def group_read(server, connection, arguments):
    """With nothing there and BLOCK, the reply comes later: see blocked.py."""
    group = _group(server, arguments)
    member = _name(arguments[2], "member")
    count = parse_number(arguments[3], "COUNT")
    if not 0 < count <= MOST:
        raise CommandError(f"ERR COUNT is {count}, expected 1 to {MOST}")
    options = arguments[4:]
    if options and (len(options) != 2 or options[0].upper() != b"BLOCK"):
        raise CommandError("ERR syntax error, expected: group-read GROUP MEMBER COUNT [BLOCK ms]")
    block = parse_number(options[1], "BLOCK") if options else None
    given, _ = _try(lambda: group.read_some(member, count))
    if given or block is None:
        return _given(given)
    server.blocked.add(connection, _GroupRead(group, member, count, deadline_of(block)))
    server.blocked.refuse_unless_permitted(connection)  # who changed its user may have looked before it was there
    return None


@at_once("group-read")
def _group_read_at_once(server, connection, arguments):
    """A few events that were read lately."""
    count = parse_number(arguments[3], "COUNT")
    if not 0 < count <= AT_ONCE or len(arguments) > 4 and (len(arguments) != 6 or arguments[4].upper() != b"BLOCK"):
        return None
    portions = _group(server, arguments).read_at_once(_name(arguments[2], "member"), count)
    if portions is None or not portions and len(arguments) > 4:
        return None
    return _given([one for portion in portions for one in portion.given()])


class _GroupRead:
    """A group-read that waits; see blocked.py."""

    def __init__(self, group, member, count, deadline):
        self.streams = [group.watched]
        self.deadline = deadline
        self._group = group
        self._member = member
        self._count = count
        self._given = []
        self._more = False      # of the log to look at

    def look(self):
        due = self._group.due
        if self._group.is_idle and (due is None or due > time.monotonic()):
            self._more = False
            return None
        self._given, self._more = _try(lambda: self._group.read_some(self._member, self._count, 2))
        return _given(self._given) if self._given else None

    @property
    def due(self):
        return 0 if self._more else self._group.due

    def nothing(self):
        return _given([])

    def undo(self):
        self._group.unread([one.key for one in self._given])

    def why_not(self, user):
        if user is not None and user.may(GROUP) and user.reaches(*_touched(self._group)):
            return None
        return (f"NOPERM the read has ended: user {user.name if user else 'nobody'} may not read group "
                f"'{printable(self._group.name)}' any more")


def _with_keys(server, arguments, work):
    """The reply to GROUP KEY ...: of how many events `work(group, keys)` says that it was so."""
    group = _group(server, arguments)
    keys = [parse_number(key, "KEY") for key in arguments[2:]]
    return resp.integer(_try(lambda: work(group, keys)))


@command("group-ack", -3, "group position [position ...]", "These events are done; how many of them a member held",
         GROUP, _read, slow=True)
def group_ack(server, connection, arguments):
    return _with_keys(server, arguments, lambda group, keys: group.ack(*keys))


@at_once("group-ack")
def _group_ack_at_once(server, connection, arguments):
    if len(arguments) > AT_ONCE:
        return None
    keys = [parse_number(key, "KEY") for key in arguments[2:]]
    count = _group(server, arguments).ack_at_once(keys)
    return None if count is None else resp.integer(count)


@command("group-refuse", -3, "group position [LATER | PARK [reason]]", "This event can't be done now", GROUP,
         _read, slow=True)
def group_refuse(server, connection, arguments):
    group = _group(server, arguments)
    key = parse_number(arguments[2], "KEY")
    word = arguments[3].upper() if len(arguments) > 3 else b"LATER"
    if word not in (b"LATER", b"PARK") or len(arguments) > 5:
        raise CommandError("ERR syntax error, expected: group-refuse GROUP KEY [LATER | PARK [REASON]]")
    reason = arguments[4].decode("utf-8", "replace") if len(arguments) == 5 else ""
    fate = _try(lambda: group.refuse(key, reason, park=word == b"PARK"))
    return resp.null(connection.protocol) if fate is None else resp.simple(fate.encode())


@command("group-leave", 3, "group member", "A member is gone: others get what it held", GROUP,
         _read, slow=True)
def group_leave(server, connection, arguments):
    group = _group(server, arguments)
    return resp.integer(_try(lambda: group.leave(_name(arguments[2], "member"))))


@command("group-parked", -2, "group [from [count]]", "Events that nobody gets until they are replayed", READ,
         _read, slow=True)
def group_parked(server, connection, arguments):
    group = _group(server, arguments)
    first = parse_number(arguments[2], "FROM") if len(arguments) > 2 else 0
    count = parse_number(arguments[3], "COUNT") if len(arguments) > 3 else MOST
    if len(arguments) > 4 or not 0 < count <= MOST:
        raise CommandError(f"ERR expected: group-parked GROUP [FROM [COUNT]], COUNT from 1 to {MOST}")
    found = _try(lambda: group.parked(first, count))
    return resp.array([
        resp.array([resp.integer(one.key), resp.simple(one.stream.encode()), resp.integer(one.number),
                    resp.integer(one.tries), resp.integer(one.time), resp.bulk(one.reason.encode())])
        for one in found])


@command("group-replay", -2, "group [position [position ...]]", "Give parked events again, these or all; how many",
         GROUP, _read, slow=True)
def group_replay(server, connection, arguments):
    return _with_keys(server, arguments, lambda group, keys: group.replay(*keys))


@command("group-discard", -3, "group position [position ...]", "Forget parked events; how many", GROUP,
         _read, slow=True)
def group_discard(server, connection, arguments):
    return _with_keys(server, arguments, lambda group, keys: group.discard(*keys))


@command("group-info", 2, "group", "How a group stands", READ,
         _read, slow=True)
def group_info(server, connection, arguments):
    one = _try(_group(server, arguments).info)
    text = one.selector if isinstance(one.selector, str) else one.selector.text
    kind = "prefix" if isinstance(one.selector, Prefix) else "all" if text == "$all" else "stream"
    numbers = [("checkpoint", one.checkpoint), ("next", one.next), ("lag", one.lag), ("held", one.held),
               ("parked", one.parked), ("given", one.given), ("acknowledged", one.acknowledged),
               ("refused", one.refused), ("late", one.late), ("cut", one.cut), ("lost", one.lost),
               ("tries", one.rules.tries), ("wait", round(one.rules.wait * 1000)),
               ("pause", round(one.rules.pause * 1000))]
    members = resp.mapping([(resp.bulk(name.encode()), resp.integer(count))
                            for name, count in sorted(one.members.items())], connection.protocol)
    fields = [("name", resp.bulk(one.name.encode())), ("kind", resp.bulk(kind.encode())),
              ("selector", resp.bulk(text.encode())), *((key, resp.integer(number)) for key, number in numbers),
              ("members", members)]
    if one.names:
        fields.append(("names", resp.array([resp.bulk(name.encode()) for name in one.names])))
    return resp.mapping([(resp.bulk(key.encode()), value) for key, value in fields], connection.protocol)


# -- what they share -----------------------------------------------------------

def _group(server, arguments):
    return _try(lambda: server.store.group(_name(arguments[1], "group")))


def _name(name, what):
    """The name of a group or member, as text."""
    try:
        check_name(name)
    except ValueError as error:
        raise CommandError(f"ERR {str(error).replace('event name', f'{what} name')}") from None
    return name.decode()


def _try(call):
    """What `call` returns; what is wrong with it, in words for the client."""
    try:
        return call()
    except ValueError as error:
        raise CommandError(f"ERR {error}") from None
    except (NoGroup, GroupExists) as error:
        raise CommandError(f"{_CODES[type(error)]} {error}") from None


def _given(given):
    return resp.array([resp.array([resp.integer(one.key), resp.integer(one.tries), _recorded(one.event)])
                       for one in given])


def _recorded(event):
    """An event as `follow` sends it."""
    return resp.array([b"+recorded\r\n", resp.integer(event.position), resp.simple(event.stream.encode()),
                       resp.integer(event.number), resp.simple(event.name.encode()), resp.bulk(event.data),
                       resp.bulk(event.id), resp.bulk(event.metadata), resp.integer(event.time)])
