"""The commands that say what streams keep, cut them, delete them, and redact events."""

import resp
from store import Prefix, StreamDeleted
from store.append import Append
from store.expect import ANY
from store.names import ALL, check_stream

from .selecting import appends_selector, appends_stream, parse_selector
from .table import OK, CommandError, checked, command, parse_number
from .text import printable
from .users import ADMIN, READ

_RULES = {b"MAX-COUNT": "max_count", b"MAX-AGE": "max_age"}


@command("retain", -2, "<$all | STREAM name | PREFIX prefix> [MAX-COUNT n] [MAX-AGE seconds]",
         "What streams keep: the last n events, or those so young; without either, all from now on",
         ADMIN, appends_selector, slow=True)
def retain(server, connection, arguments):
    selector, rest = parse_selector(arguments[1:])
    rule = {}
    while rest:
        what = _RULES.get(rest[0].upper())
        if what is None or what in rule or len(rest) < 2:
            raise CommandError("ERR syntax error, expected: retain SELECTOR [MAX-COUNT n] [MAX-AGE seconds]")
        rule[what] = parse_number(rest[1], printable(rest[0].upper()))
        rest = rest[2:]
    _changed(server.store.retain, _selected(selector), **rule)
    return OK


@command("retention", -1, "[$all | STREAM name | PREFIX prefix]", "The rules that say what streams keep", READ,
         slow=True)
def retention(server, connection, arguments):
    rules = server.store.retention.rules()
    if len(arguments) > 1:
        selector, rest = parse_selector(arguments[1:])
        if rest:
            raise CommandError("ERR syntax error, expected: retention [SELECTOR]")
        wanted = _named(_selected(selector))
        rules = [(one, rule) for one, rule in rules if _named(one) == wanted]
    return resp.array([_shown(connection, selector, rule) for selector, rule in rules
                       if connection.user.reaches(*_touched(selector))])


@command("truncate", 3, "stream number",
         "Cut the events of a stream below a number; the number that it begins with now", ADMIN, appends_stream,
         slow=True)
def truncate(server, connection, arguments):
    _, stream, number = arguments
    return resp.integer(_changed(server.store.truncate, _stream(stream), parse_number(number, "NUMBER")))


@command("delete", -2, "stream [FOREVER]", "Cut all events of a stream; FOREVER: and take no more", ADMIN,
         appends_stream, slow=True)
def delete(server, connection, arguments):
    if len(arguments) > 3 or len(arguments) == 3 and arguments[2].upper() != b"FOREVER":
        raise CommandError("ERR syntax error, expected: delete STREAM [FOREVER]")
    _changed(server.store.delete, _stream(arguments[1]), forever=len(arguments) == 3)
    return OK


@command("redact", 3, "stream number", "Take the data and metadata of one event", ADMIN, appends_stream,
         slow=True)
def redact(server, connection, arguments):
    _, stream, number = arguments
    _changed(server.store.redact, _stream(stream), parse_number(number, "NUMBER"))
    return OK


@command("compact", 1, "", "Take from the disk what was cut or redacted; how many segments, and bytes freed",
         ADMIN, slow=True)
def compact(server, connection, arguments):
    done = server.store.compact()
    return resp.array([resp.integer(done.segments), resp.integer(done.bytes)])


def refused(runs, closed):
    """Split runs of publishes where one is to a stream that was deleted for good: [(runs, events) or an Append, …].

    closed   the names of such streams
    An Append of one of those is refused in its turn, as the publish is to be.
    """
    parts = []
    for run in runs:
        stream, name, _ = run
        datas = resp.lasts_of(run)
        if stream in closed:
            parts += [Append([(stream, ANY, name, bytes(data), b"", b"", b"")]) for data in datas]
        elif parts and type(parts[-1]) is tuple:
            some, count = parts[-1]
            some.append(run)
            parts[-1] = some, count + len(datas)
        else:
            parts.append(([run], len(datas)))
    return parts


def _changed(change, *arguments, **options):
    """Call what changes the store.  Raises CommandError."""
    try:
        return change(*arguments, **options)
    except StreamDeleted as error:
        raise CommandError(f"DELETED {error}") from None
    except ValueError as error:
        raise CommandError(f"ERR {error}") from None


def _stream(name):
    checked(check_stream, name)
    return name


def _selected(selector):
    """What the store calls a parsed SELECTOR."""
    kind, key = selector
    return Prefix(key) if kind == "prefix" else key


def _touched(selector):
    """What a rule's SELECTOR touches, for users."""
    word, _, name = _named(selector).partition(b" ")
    return (READ, word.decode(), name) if name else (READ, "prefix", b"")


def _named(selector):
    """SELECTOR in one string: "stream NAME", "prefix P" or "$all"."""
    if isinstance(selector, Prefix):
        text = selector.text if isinstance(selector.text, bytes) else selector.text.encode()
        return b"prefix " + text if text else ALL
    name = selector if isinstance(selector, bytes) else selector.encode()
    return ALL if name == ALL else b"stream " + name


def _shown(connection, selector, rule):
    return resp.array([resp.bulk(_named(selector)),
                       *[resp.null(connection.protocol) if value is None else resp.integer(value) for value in rule]])
