"""The commands that begin and end subscriptions; feed.py serves them."""

import resp
from store.names import ALL, check_stream

from .chunk import Form
from .feed import Follower
from .table import MAX_NUMBER, CommandError, checked, command, parse_number
from .text import printable


@command("subscribe", -2, "STREAM[:FROM[:TO]] ...", "Follow streams, or $all; FROM a number on, up to TO", slow=True)
def subscribe(server, connection, arguments):
    ranges = [_parse_range(argument) for argument in arguments[1:]]
    form = Form(False, connection.protocol == 3)
    followers = [(Follower(connection, ("stream", name), stop, form), name, name, first)
                 for name, first, stop in ranges]
    return _begin(server, connection, followers)


@command("follow", -3, "$all | stream NAME | prefix PREFIX   FROM | - [TO n]",
         "Follow with position, id, metadata and time of each event", slow=True)
def follow(server, connection, arguments):
    selector, rest = _parse_selector(arguments[1:])
    if len(rest) not in (1, 3) or (len(rest) == 3 and rest[1].upper() != b"TO"):
        raise CommandError("ERR syntax error, expected: follow SELECTOR FROM [TO n]")
    first = None if rest[0] == b"-" else parse_number(rest[0], "FROM")
    stop = parse_number(rest[2], "TO") if len(rest) == 3 else MAX_NUMBER + 1
    if first is not None and first >= stop:
        raise CommandError(f"ERR FROM is {first}, expected less than TO, which is {stop}")
    kind, key = selector
    prefix = key if kind == "prefix" else b""
    form = Form(True, connection.protocol == 3, prefix)
    name = ALL if kind == "prefix" else key
    return _begin(server, connection, [(Follower(connection, selector, stop, form), name, key, first)])


def _begin(server, connection, followers):
    """Subscribe to all of (follower, stream, key, first) and acknowledge each before its events.

    Each gets a first slice of its replay at once, so that short ones end
    before the next is acknowledged; the rest comes from the workers.
    """
    new = {follower.selector for follower, *_ in followers} - connection.subscriptions.keys()
    count = len(connection.subscriptions) + len(new)
    if count > server.limits.max_subscriptions:
        raise CommandError(f"ERR {count} subscriptions, expected no more than "
                           f"{server.limits.max_subscriptions} a connection")
    feeds = server.feeds
    effective = {follower.selector: follower for follower, *_ in followers}     # of equal ones the last
    for follower, name, key, first in followers:
        if effective[follower.selector] is follower:
            replaced = connection.follow(follower)
            if replaced is not None:
                feeds.remove(replaced)
        connection.outbox.put(_acknowledgement(connection, b"subscribe", b"subscribed", key))
        if effective[follower.selector] is not follower:
            continue
        feeds.add(follower, name, first)
        if connection.closed:       # `close` may have looked before it was there
            connection.unfollow(follower.selector)
            feeds.remove(follower)
        elif not feeds.catch_up(follower, near=False):
            connection.catch_up(follower)
    return b""


def _acknowledgement(connection, push, simple, key):
    """What says that a subscription has begun or ended."""
    if connection.protocol == 3:
        count = len(connection.subscriptions)
        return resp.push([resp.bulk(push), resp.bulk(key), resp.integer(count)], 3)
    return resp.array([resp.simple(simple), resp.simple(key)])


@command("unsubscribe", -1, "[STREAM ...]", "End subscriptions to these streams, or all of them")
def unsubscribe(server, connection, arguments):
    if len(arguments) > 1:
        selectors = [("stream", name) for name in arguments[1:]]
        for _, name in selectors:
            if name != ALL:
                checked(check_stream, name)
    else:
        selectors = list(connection.subscriptions)
    if not selectors:
        return _nothing_to_end(connection)
    return b"".join([_end(server, connection, selector) for selector in selectors])


@command("unfollow", -2, "$all | stream NAME | prefix PREFIX", "End what follow began")
def unfollow(server, connection, arguments):
    selector, rest = _parse_selector(arguments[1:])
    if rest:
        raise CommandError("ERR syntax error, expected: unfollow SELECTOR")
    return _end(server, connection, selector)


def _end(server, connection, selector):
    follower = connection.unfollow(selector)
    if follower is not None:
        server.feeds.remove(follower)
    return _acknowledgement(connection, b"unsubscribe", b"unsubscribed", selector[1])


def _nothing_to_end(connection):
    nothing = resp.null(connection.protocol)
    if connection.protocol == 3:
        return resp.push([resp.bulk(b"unsubscribe"), nothing, resp.integer(0)], 3)
    return resp.array([b"+unsubscribed\r\n", nothing])


def _parse_range(argument):
    """(stream, first or None, stop) of STREAM[:FROM[:TO]]."""
    name, *numbers = argument.split(b":")
    if len(numbers) > 2:
        raise CommandError(f"ERR found '{printable(argument)}', expected STREAM[:FROM[:TO]]")
    if name != ALL:
        checked(check_stream, name)
    first = parse_number(numbers[0], "FROM") if numbers else None
    stop = parse_number(numbers[1], "TO") if len(numbers) == 2 else MAX_NUMBER + 1
    if first is not None and first >= stop:
        raise CommandError(f"ERR FROM is {first}, expected less than TO, which is {stop}")
    return name, first, stop


def _parse_selector(arguments):
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
