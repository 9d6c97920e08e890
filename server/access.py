"""The commands by which a client says who it is, and what becomes of connections when users change.

    AUTH, HELLO AUTH ──> log_in ──> known lately, or logins.py ──> `act_for`
    Users.watch      ──> users_changed ──> each connection: closed, or `act_for` the new User
                                                                       |
        subscriptions and blocked reads that aren't for that user: ended, and said so

All of it happens in the poller's thread.  A worker that begins a subscription or a blocked
read looks once more at the connection's user when that is registered: so either it or
`act_for` sees that it may not be.
"""

import logging

import resp

from .attempts import TooManyAttempts
from .following import end_unless_permitted
from .keys import stream_of
from .table import ANYONE, NOAUTH, OK, CommandError, command, why_not
from .users import APPEND, EVERYTHING, MAX_PASSWORD, NOPASS

log = logging.getLogger("meilies.users")

WRONGPASS = "WRONGPASS invalid username-password pair or user is disabled."
_NO_USERS = "ERR AUTH called without any password configured; this server asks for none"


@command("auth", -2, "[user] password", "Says who this is; without a user the one called default", ANYONE)
def auth(server, connection, arguments):
    if len(arguments) > 3:
        raise CommandError("ERR syntax error, expected: auth [user] password")
    name = arguments[1] if len(arguments) == 3 else EVERYTHING.name.encode()
    return log_in(server, connection, name, arguments[-1], lambda: OK)


def log_in(server, connection, name, password, welcome):
    """Have a connection act for a user; the reply, or None: it comes later.

    name, password   bytes
    welcome          makes the reply, when the connection acts for that user
    Raises    CommandError
    """
    users = server.users
    if not users.required:
        raise CommandError(_NO_USERS)
    name, password = name[:MAX_PASSWORD].decode("utf-8", "replace"), password[:MAX_PASSWORD + 1]

    def answer(outcome):
        if connection.closed:
            return
        connection.outbox.put_and_flush(_reply(server, connection, name, outcome, welcome))
        if not connection.pending:
            connection.take()
        server.worked(connection)

    try:
        user = users.recall(name, password, connection.peer)
        if user is None:
            server.logins.put(connection, name, password, answer)
            connection.working = True
            return None
    except TooManyAttempts as error:
        user = error
    return _reply(server, connection, name, user, welcome)


def _reply(server, connection, name, outcome, welcome):
    """What a client is told whose password was looked at; outcome is as in Logins.put."""
    if isinstance(outcome, TooManyAttempts):
        server.refused_logins += 1
        server.warn_of_logins.warning("a login from %s is put off: %s", connection.peer, outcome)
        return resp.error(f"ERR {outcome}")
    user = None if outcome is None else server.users.get(outcome.name)
    if user is None or not user.enabled or user.secret != outcome.secret:       # it may have changed meanwhile
        server.refused_logins += 1
        # Not what isn't a name: it may be a password that was typed in the wrong place.
        known = f"user {name}" if server.users.get(name) else "nobody that is known"
        server.warn_of_logins.warning("a login from %s as %s is refused", connection.peer, known)
        return resp.error(WRONGPASS)
    log.debug("client %d at %s is %s", connection.id, connection.peer, name)
    act_for(server, connection, user)
    return welcome()


def judged(user, publishes):
    """Publishes apart: [those that may be, or a CommandError for one that may not], in order.

    publishes   (runs, count, size) as resp.Requests has them
    user        a User, or None: nobody said who he is
    """
    runs, _, size = publishes
    if user is not None and all(user.may_append(stream) for stream, _, _ in runs):
        return [publishes]
    parts = []
    for run in runs:
        stream, count = run[0], len(resp.lasts_of(run))
        if user is None or not user.may_append(stream):
            why = NOAUTH if user is None else why_not(user, "publish", APPEND, [("append", "stream", stream)])
            parts += [CommandError(why)] * count
        elif parts and type(parts[-1]) is tuple:
            some, others, before = parts[-1]
            some.append(run)
            parts[-1] = some, others + count, before
        else:
            parts.append(([run], count, size))
            size = 0        # counted once
    return parts


def may_append_all(user, commands):
    """Whether a user, or None, may do all of these appends of one event each, XADDs, or PUBLISHes to channels."""
    if user is None:
        return False
    if commands[0][0].lower() == b"append":
        return all(user.may_append(one[1]) for one in commands)
    try:
        return all(user.may_append(stream_of(one[1])) for one in commands)
    except CommandError:
        return False


# -- connections and the users they act for --------------------------------------

def act_for(server, connection, user):
    """Have a connection act for a User from now on, or for None; what it has that isn't for that user ends."""
    server.become(connection, user)
    for follower in list(connection.subscriptions.values()):
        end_unless_permitted(server, connection, follower)
    server.blocked.refuse_unless_permitted(connection)


def users_changed(server):
    """The file of users was read anew, or written."""
    for connection in list(server.connections.values()):
        before = connection.user
        if before is None or before is EVERYTHING:
            continue
        user = server.users.get(before.name)
        if user is None or not user.enabled or (before.secret is NOPASS and user.secret is not NOPASS):
            log.info("client %d at %s is cut off: user %s is removed, disabled, or has to log in", connection.id,
                     connection.peer, before.name)
            connection.outbox.put_and_flush(resp.error("NOAUTH the user of this connection may not be logged in"))
            server.close(connection)
        elif user is not before:
            act_for(server, connection, user)
