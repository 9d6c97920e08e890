"""COMMAND: what the table says of each command, in the form in which Redis's clients ask for it.

    usage, right, slow ──> Description ──> COMMAND INFO    arity, flags, where the keys are
                                      '──> COMMAND DOCS    summary and arguments, which redis-cli shows while one types

All of it follows from the table, so nothing is written twice.  Positions count from the
command's name, which is 0.
"""

from typing import NamedTuple

import resp

from . import __version__
from .globs import Glob
from .summaries import HELP, SUMMARIES
from .syntax import BLOCK, KEY, TOKEN, arity, parse, subcommands
from .table import ANYONE, COMMANDS, CommandError, command, help_of, subcommand, takes
from .text import printable
from .users import ADMIN, APPEND, GROUP, READ

# Redis's groups of commands, by the module that has them; what isn't here is about streams.
_GROUPS = {
    "connection": "access clients",
    "server": "about acl alone describing monitoring observing safekeeping",
    "generic": "keyspace",
    "pubsub": "following pubsub",
    "transactions": "transactions",
}
_GROUP_OF = {module: group for group, modules in _GROUPS.items() for module in modules.split()}
_CATEGORY_OF = {"generic": "@keyspace", "stream": "@stream", "connection": "@connection", "pubsub": "@pubsub",
                "transactions": "@transaction"}
# All others came with this version.
_OF_0_3_0 = frozenset("publish subscribe unsubscribe follow unfollow last-event-number stream-names ping echo quit "
                      "hello reset select client info time config command".split())
_SLOW = "O(N) with N being the events and names that it looks at; other clients are served meanwhile"
_FAST = "O(N) with N being the bytes of the request and of the reply"
_DELETE = frozenset("del unlink xdel xtrim delete truncate redact".split())


class KeySpec(NamedTuple):
    """Where keys are: from `index` on, or behind the word `keyword`, which is looked for from there.

    last    the last of them: 0 the first, -1 the last argument
    step    arguments from one to the next
    limit   2: the keys are the first half of what there is up to `last`; 0 otherwise
    """

    index: int
    keyword: str
    last: int
    step: int
    limit: int

    def keys(self, arguments):
        """The keys of a request."""
        first = self.index
        if self.keyword:
            upper = [one.upper() for one in arguments]
            try:
                first = upper.index(self.keyword.encode(), self.index) + 1
            except ValueError:
                return []
        behind = len(arguments) - first
        count = behind // self.limit if self.limit else behind if self.last else min(behind, 1)
        return arguments[first:first + count:self.step]


class Description(NamedTuple):
    """A command or a subcommand.

    name        of a subcommand with that of its command, `client|id`
    inside      the Descriptions of its subcommands
    specs       [KeySpec, …]
    access      flags of the keys: RO access, …
    """

    name: str
    arity: int
    flags: list
    categories: list
    specs: list
    access: list
    summary: str
    since: str
    group: str
    complexity: str
    arguments: tuple
    inside: list


def described(one):
    """The Description of a Command."""
    inside = subcommands(one.usage)
    found = _described(one, one.name, one.right, () if inside else parse(one.usage), 1)._replace(arity=one.arity)
    if not inside:
        return found
    return found._replace(flags=[], categories=["@slow"], arguments=(), inside=[
        _described(one, f"{one.name}|{word.lower()}", one.words.get(word.lower().encode(), one.right), arguments, 2)
        for word, arguments in inside.items()])


def _described(one, name, right, arguments, words):
    group = _GROUP_OF.get(one.handler.__module__.rpartition(".")[2], "stream")
    specs = [] if group == "pubsub" else _key_specs(arguments, words)
    flags = _flags(one, right, group, arguments, specs)
    summary = one.summary if words == 1 else HELP if name.endswith("|help") else SUMMARIES.get(name, one.summary)
    since = "0.3.0" if one.name in _OF_0_3_0 else __version__
    return Description(name, arity(arguments, words), flags, _categories(flags, group), specs, _access(one.name, right),
                       summary, since, group, _SLOW if one.slow else _FAST, arguments, [])


def _flags(one, right, group, arguments, specs):
    flags = {READ: ["readonly"], APPEND: ["write", "denyoom"], GROUP: ["write"], ADMIN: ["admin"]}.get(
        right, ["loading", "stale"])
    if right == ADMIN and (specs or one.name in _DELETE):
        flags = ["write", "admin"]
    return [*flags,
            *(["no_auth"] if right == ANYONE else []),
            *(["blocking"] if any(inner.token == "BLOCK" for inner in arguments) else []),
            *(["pubsub"] if group == "pubsub" else []),
            *(["movablekeys"] if any(spec.keyword for spec in specs) else []),
            *([] if one.slow else ["fast"])]


def _categories(flags, group):
    return [*(["@read"] if "readonly" in flags else []),
            *(["@write"] if "write" in flags else []),
            *(["@admin", "@dangerous"] if "admin" in flags else []),
            *([_CATEGORY_OF[group]] if group in _CATEGORY_OF else []),
            "@fast" if "fast" in flags else "@slow",
            *(["@blocking"] if "blocking" in flags else [])]


def _access(name, right):
    if name in _DELETE or right == ADMIN:
        return ["RW", "delete"]
    return ["RO", "access"] if right == READ else ["RW", "update"]


# -- where the keys are ------------------------------------------------------------------

def _key_specs(arguments, words):
    """[KeySpec] of the keys whose places are known, [] without any."""
    at = words
    for i, one in enumerate(arguments):
        if one.kind == KEY:
            return [_spec_of(arguments, i, at)]
        if one.kind == BLOCK and one.multiple:
            return _specs_of_block(one, at)
        if not one.fixed:
            return _specs_behind_word(arguments[i:], at)
        at += one.needed
    return []


def _spec_of(arguments, i, at):
    if not arguments[i].multiple:
        return KeySpec(at, "", 0, 1, 0)
    if arguments[i + 1:]:       # as many more of another kind behind them
        return KeySpec(at, "", -1, 1, 2)
    return KeySpec(at, "", -1, 1, 0)


def _specs_of_block(block, at):
    for i, one in enumerate(block.arguments):
        if one.kind == KEY and all(before.fixed for before in block.arguments):
            return [KeySpec(at + i, "", -1, block.needed, 0)]
    return []


def _specs_behind_word(arguments, at):
    """The first keys behind a word that is always there, such as STREAMS."""
    for i, one in enumerate(arguments[:-1]):
        if one.kind == TOKEN and not one.optional and arguments[i + 1].kind == KEY:
            return [_spec_of(arguments, i + 1, at)._replace(keyword=one.token)]
    return []


# -- the command -------------------------------------------------------------------------

_USAGE = ("COUNT | LIST [FILTERBY <MODULE module | ACLCAT category | PATTERN pattern>] | INFO [name [name ...]] | "
          "DOCS [name [name ...]] | GETKEYS command argument [argument ...] | "
          "GETKEYSANDFLAGS command argument [argument ...] | HELP")


@command("command", -1, _USAGE, "The commands of this server", "", slow=True)
def command_command(server, connection, arguments):
    if len(arguments) == 1:
        return resp.array([_entry(described(one), connection.protocol) for one in COMMANDS.values()])
    return subcommand("command", _HANDLERS, _ARITY, arguments)(connection.protocol, arguments[2:])


def _count(protocol, arguments):
    return resp.integer(len(COMMANDS))


def _list(protocol, arguments):
    chosen = _filter(arguments)
    return resp.array([resp.bulk(one.name.encode()) for outer in map(described, list(COMMANDS.values()))
                       for one in (outer, *outer.inside) if chosen(one)])


def _filter(words):
    """Says of a Description whether LIST has it.  Raises CommandError."""
    if not words:
        return lambda one: True
    if len(words) != 3 or words[0].upper() != b"FILTERBY":
        raise CommandError("ERR syntax error, expected: COMMAND LIST [FILTERBY MODULE name | ACLCAT category | "
                           "PATTERN pattern]")
    kind, value = words[1].upper(), words[2]
    if kind == b"MODULE":       # there are none
        return lambda one: False
    if kind == b"ACLCAT":
        return lambda one: f"@{value.lower().decode('latin-1')}" in one.categories
    if kind == b"PATTERN":
        try:
            glob = Glob(value.lower())
        except ValueError as error:
            raise CommandError(f"ERR {error}") from None
        return lambda one: glob.matches(one.name.encode())
    raise CommandError(f"ERR syntax error, found '{printable(words[1])}', expected MODULE, ACLCAT or PATTERN")


def _find(name):
    """The Description of a command or subcommand (bytes), or None."""
    outer, _, word = name.lower().partition(b"|")
    if outer not in COMMANDS:
        return None
    found = described(COMMANDS[outer])
    wanted = name.lower().decode("latin-1")
    return next((one for one in (found, *found.inside) if one.name == wanted), None)


def _info(protocol, names):
    found = map(_find, names or list(COMMANDS))
    return resp.array([_entry(one, protocol) if one else resp.null(protocol) for one in found])


def _docs(protocol, names):
    found = [one for one in map(_find, names or list(COMMANDS)) if one]
    return _documents(found, protocol)


def _getkeys(protocol, arguments):
    keys, _ = _keys_of(arguments)
    return resp.array([resp.bulk(key) for key in keys])


def _getkeysandflags(protocol, arguments):
    keys, one = _keys_of(arguments)
    flags = _statuses(one.access, protocol)
    return resp.array([resp.array([resp.bulk(key), flags]) for key in keys])


def _keys_of(arguments):
    """(the keys of a request, its Description).  Raises CommandError."""
    one = _find(arguments[0])
    if one and one.inside:
        one = _find(arguments[0] + b"|" + arguments[1])
    if one is None:
        raise CommandError("ERR Invalid command specified")
    if not one.specs:
        raise CommandError("ERR The command has no key arguments")
    if not takes(one.arity, arguments):
        raise CommandError("ERR Invalid number of arguments specified for command")
    keys = [key for spec in one.specs for key in spec.keys(arguments)]
    if not keys:
        raise CommandError("ERR Invalid arguments specified for command")
    return keys, one


def _help(protocol, arguments):
    return help_of("command", _USAGE)


_HANDLERS = {
    b"count": _count,
    b"list": _list,
    b"info": _info,
    b"docs": _docs,
    b"getkeys": _getkeys,
    b"getkeysandflags": _getkeysandflags,
    b"help": _help,
}
_ARITY = {word.lower().encode(): arity(arguments, words=2) for word, arguments in subcommands(_USAGE).items()}


# -- in Redis's form ---------------------------------------------------------------------

def _statuses(words, protocol):
    return resp.members([resp.simple(word.encode()) for word in words], protocol)


def _fields(protocol, **fields):
    """A map of texts, numbers and what is encoded already; those that are None are left out."""
    return resp.mapping([(resp.bulk(name.encode()), _encoded(value)) for name, value in fields.items()
                         if value is not None], protocol)


def _encoded(value):
    if isinstance(value, bytes):
        return value
    return resp.integer(value) if isinstance(value, int) else resp.bulk(value.encode())


def _entry(one, protocol):
    """As COMMAND INFO has it: name, arity, flags, first and last key and step, categories, tips, keys, subcommands."""
    spec = next((spec for spec in one.specs if not spec.keyword and not spec.limit), None)
    first, last, step = (0, 0, 0) if spec is None else (spec.index, spec.last or spec.index, spec.step)
    return resp.array([resp.bulk(one.name.encode()), resp.integer(one.arity), _statuses(one.flags, protocol),
                       resp.integer(first), resp.integer(last), resp.integer(step),
                       _statuses(one.categories, protocol), resp.members([], protocol),
                       resp.members([_spec(spec, one.access, protocol) for spec in one.specs], protocol),
                       resp.members([_entry(inner, protocol) for inner in one.inside], protocol)])


def _spec(spec, access, protocol):
    if spec.keyword:
        begin = _fields(protocol, type="keyword", spec=_fields(protocol, keyword=spec.keyword, startfrom=spec.index))
    else:
        begin = _fields(protocol, type="index", spec=_fields(protocol, index=spec.index))
    found = _fields(protocol, lastkey=spec.last, keystep=spec.step, limit=spec.limit)
    return _fields(protocol, flags=_statuses(access, protocol), begin_search=begin,
                   find_keys=_fields(protocol, type="range", spec=found))


def _documents(found, protocol):
    return resp.mapping([(resp.bulk(one.name.encode()), _document(one, protocol)) for one in found], protocol)


def _document(one, protocol):
    return _fields(protocol, summary=one.summary, since=one.since, group=one.group,
                   complexity="Depends on subcommand." if one.inside else one.complexity,
                   arguments=_arguments(one.arguments, bool(one.specs), protocol),
                   subcommands=_documents(one.inside, protocol) if one.inside else None)


def _arguments(arguments, has_keys, protocol):
    """None if there are none."""
    return resp.array([_argument(one, has_keys, protocol) for one in arguments]) if arguments else None


def _argument(one, has_keys, protocol):
    flags = [*(["optional"] if one.optional else []), *(["multiple"] if one.multiple else [])]
    return _fields(protocol, name=one.name, type=one.kind,
                   display_text=None if one.arguments else one.name,
                   key_spec_index=0 if one.kind == KEY and has_keys else None,
                   token=one.token or None,
                   flags=_statuses(flags, protocol) if flags else None,
                   arguments=_arguments(one.arguments, has_keys, protocol))
