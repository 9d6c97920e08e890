"""How commands name the events that they read or follow: SELECTOR, and NAMES."""

from store.filter import Filter
from store.names import ALL, check_name, check_stream

from .table import CommandError, checked, parse_number
from .text import printable

# In one NAMES.
MAX_NAMES = 100


def parse_selector(arguments):
    """((kind, key), the arguments behind it) of `$all`, `stream NAME` or `prefix PREFIX`.

    `$all` is a stream called so.
    """
    kind = arguments[0].lower()
    if kind == ALL:
        return ("stream", ALL), arguments[1:]
    if kind not in (b"stream", b"prefix") or len(arguments) < 2:
        raise CommandError(f"ERR found '{printable(arguments[0])}', expected $all, stream NAME or prefix PREFIX")
    checked(check_stream, arguments[1])
    return (kind.decode(), arguments[1]), arguments[2:]


def parse_names(arguments):
    """(a frozenset of names, the arguments behind them) of `n name ...`, which stands behind NAMES."""
    if not arguments:
        raise CommandError("ERR syntax error, expected: NAMES n name ...")
    count = parse_number(arguments[0], "the number of NAMES")
    if not 0 < count <= MAX_NAMES:
        raise CommandError(f"ERR {count} NAMES, expected 1 to {MAX_NAMES}")
    names, rest = arguments[1:1 + count], arguments[1 + count:]
    if len(names) < count:
        raise CommandError(f"ERR found {len(names)} NAMES, expected {count}")
    for name in names:
        checked(check_name, name)
    return frozenset(names), rest


def filter_of(selector, names):
    """The Filter for those events of what is read by number or by position, or None if all pass."""
    kind, key = selector
    prefix = key if kind == "prefix" else b""
    return Filter(prefix, names) if prefix or names else None


def parse_from(store, selector, text):
    """The key that FROM stands for: a number, `-` (None, new events only), or `@` and a time."""
    if text == b"-":
        return None
    if not is_time(text):
        return parse_number(text, "FROM")
    time = parse_number(text[1:], "the time in FROM")
    kind, key = selector
    return store.position_at(time) if kind == "prefix" or key == ALL else store.number_at(key, time)


def is_time(text):
    return text.startswith(b"@")


# -- which streams a request touches, for the table ----------------------------

def reads_stream(server, arguments):
    """Of commands whose first argument is a stream, or `$all`."""
    return [("read", "stream", arguments[1])]


def appends_stream(server, arguments):
    return [("append", "stream", arguments[1])]


def reads_selector(server, arguments):
    """Of commands whose first argument is a SELECTOR."""
    (kind, key), _ = parse_selector(arguments[1:])
    return [("read", kind, key)]


def appends_selector(server, arguments):
    (kind, key), _ = parse_selector(arguments[1:])
    return [("append", kind, key)]
