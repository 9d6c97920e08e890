"""The commands that begin and end subscriptions; feed.py serves them."""

import resp
from store.names import ALL, check_stream

from .channels import CHANNEL, acknowledgement, is_classic, touched
from .chunk import CHECKPOINT, Form, notice
from .follower import Follower
from .selecting import filter_of, is_time, parse_from, parse_names, parse_selector, reads_selector
from .table import MAX_NUMBER, CommandError, checked, command, parse_number
from .text import printable
from .users import READ

# What a subscription is said to be, to programs that know Redis, and to those that know MeiliES.
_SUBSCRIBED = b"subscribe", b"subscribed"
_UNSUBSCRIBED = b"unsubscribe", b"unsubscribed"


def _reads(server, arguments):
    return [("read", "stream", argument.split(b":", 1)[0]) for argument in arguments[1:]]


@command("subscribe", -2, "stream[:from[:to]] [stream[:from[:to]] ...]",
         "Follow streams, or $all, from a number on, up to another", READ, _reads, slow=True)
def subscribe(server, connection, arguments):
    ranges = [_parse_range(argument) for argument in arguments[1:]]
    form = Form(False, connection.protocol == 3)
    followers = [(Follower(connection, ("stream", name), stop, form), name, first)
                 for name, first, stop in ranges]
    return begin(server, connection, followers)


@command("follow", -3, "<$all | STREAM name | PREFIX prefix> from|@microseconds|- [TO n] [NAMES n name [name ...]]",
         "Follow with position, id, metadata and time of each event, and say how far it is", READ,
         reads_selector, slow=True)
def follow(server, connection, arguments):
    selector, rest = parse_selector(arguments[1:])
    first, stop, names = _parse_part(server.store, selector, rest)
    form = Form(True, connection.protocol == 3, filter_of(selector, names))
    kind, key = selector
    follower = Follower(connection, selector, stop, form, notices=True)
    # What a time came to is told at once: all before it is passed over.
    begins = notice(CHECKPOINT, key, first, form).data if is_time(rest[0]) else b""
    return begin(server, connection, [(follower, ALL if kind == "prefix" else key, first)], begins)


def _parse_part(store, selector, arguments):
    """(first or None, stop, names) of `FROM [TO n] [NAMES n name ...]`, the options in any order."""
    stop, names = None, None
    if not arguments:
        raise CommandError("ERR syntax error, expected: follow SELECTOR FROM [TO n] [NAMES n name ...]")
    first = parse_from(store, selector, arguments[0])
    rest = arguments[1:]
    while rest:
        option = rest[0].upper()
        if option == b"TO" and stop is None and len(rest) > 1:
            stop, rest = parse_number(rest[1], "TO"), rest[2:]
        elif option == b"NAMES" and names is None:
            names, rest = parse_names(rest[1:])
        else:
            raise CommandError("ERR syntax error, expected: follow SELECTOR FROM [TO n] [NAMES n name ...]")
    if stop is None:
        stop = MAX_NUMBER + 1
    if first is not None and first >= stop and not is_time(arguments[0]):
        raise CommandError(f"ERR FROM is {first}, expected less than TO, which is {stop}")
    return first, stop, names or frozenset()


def begin(server, connection, followers, begins=b""):
    """Subscribe to all of (follower, stream, first) and acknowledge each before its events.

    begins   what is sent behind each acknowledgement

    Each gets a first slice of its replay at once, so that short ones end
    before the next is acknowledged; the rest comes from the workers.
    """
    new = {follower.selector for follower, *_ in followers} - connection.subscriptions.keys()
    count = len(connection.subscriptions) + len(new)
    if count > server.limits.max_subscriptions:
        raise CommandError(f"ERR {count} subscriptions, expected no more than "
                           f"{server.limits.max_subscriptions} a connection")
    feeds = server.feeds
    effective = _effective(connection, followers)
    for follower, name, first in followers:
        wanted = effective.get(follower.selector) is follower
        if wanted:
            replaced = connection.follow(follower)
            if replaced is not None:
                feeds.remove(replaced)
        connection.outbox.put(_acknowledgement(connection, _SUBSCRIBED, follower.selector) + begins)
        if not wanted:
            continue
        feeds.add(follower, name, first)
        if connection.closed:       # `close` may have looked before it was there
            connection.unfollow(follower.selector)
            feeds.remove(follower)
        elif end_unless_permitted(server, connection, follower):    # so may who changed its user
            continue
        elif not feeds.catch_up(follower, near=False):
            connection.catch_up(follower)
    return b""


def _effective(connection, followers):
    """{selector: Follower} of those that are wanted of (follower, …): of equal ones the last.

    Who subscribes to a channel again goes on as before, and misses nothing.
    """
    wanted = {}
    for follower, *_ in followers:
        if not is_classic(follower.selector):
            wanted[follower.selector] = follower
        elif follower.selector not in connection.subscriptions:
            wanted.setdefault(follower.selector, follower)
    return wanted


def _acknowledgement(connection, words, selector):
    """What says that a subscription has begun or ended."""
    push, simple = words
    if is_classic(selector):
        return acknowledgement(connection, push, selector)
    key = selector[1]
    if connection.protocol == 3:
        count = len(connection.subscriptions) - connection.listening
        return resp.push([resp.bulk(push), resp.bulk(key), resp.integer(count)], 3)
    return resp.array([resp.simple(simple), resp.simple(key)])


@command("unsubscribe", -1, "[stream [stream ...]]", "End subscriptions to these streams, or all of them", "")
def unsubscribe(server, connection, arguments):
    if len(arguments) > 1:
        selectors = [("stream", name) for name in arguments[1:]]
        for _, name in selectors:
            if name != ALL:
                checked(check_stream, name)
    else:
        selectors = [selector for selector in connection.subscriptions if not is_classic(selector)]
    if not selectors:
        return _nothing_to_end(connection)
    return b"".join([end(server, connection, selector) for selector in selectors])


@command("unfollow", -2, "<$all | STREAM name | PREFIX prefix>", "End what follow began", "")
def unfollow(server, connection, arguments):
    selector, rest = parse_selector(arguments[1:])
    if rest:
        raise CommandError("ERR syntax error, expected: unfollow SELECTOR")
    return end(server, connection, selector)


def end(server, connection, selector):
    """End a subscription, if it is there; what acknowledges that."""
    follower = connection.unfollow(selector)
    if follower is not None:
        server.feeds.remove(follower)
    return _acknowledgement(connection, _UNSUBSCRIBED, selector)


def end_unless_permitted(server, connection, follower):
    """End a subscription that isn't, or isn't any more, for the connection's user, and tell the client.

    Who listens to a channel is cut off, as by Redis: its clients come again, ask anew, and are refused.
    True if it isn't; any thread may call it, once the connection has both the follower and the user.
    """
    user = connection.user
    classic = is_classic(follower.selector)
    kind, key = touched(follower.selector) if classic else follower.selector
    if user is not None and user.may(READ) and user.reaches(READ, kind, key):
        return False
    if connection.drop(follower):
        server.feeds.remove(follower)
        if classic:
            server.call_soon(lambda: server.close(connection))
            return True
        if connection.protocol == 3:
            told = _acknowledgement(connection, _UNSUBSCRIBED, follower.selector)
        else:       # what a client takes for an error, in place of events that never come
            told = resp.error(f"NOPERM the subscription to '{printable(key)}' has ended: "
                              f"user {user.name if user else 'nobody'} may not read it any more")
        connection.outbox.put_and_flush(told)
    return True


def _nothing_to_end(connection):
    if connection.listening:        # to patterns: a client of Redis's, which reads nothing else
        return acknowledgement(connection, b"unsubscribe", (CHANNEL, None))
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
