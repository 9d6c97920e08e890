"""The ACL command, in Redis's words as far as they fit: who there is, what they may do, and changes of that."""

import logging
import re
import secrets

import resp

from .attempts import TooManyAttempts
from .table import COMMANDS, OK, CommandError, command
from .text import printable
from .users import ADMIN, EVERYTHING, RIGHTS, UsersError, rules_of

log = logging.getLogger("meilies.users")

_BITS = 256
_MAX_BITS = 4096


@command("acl", -2, "WHOAMI | LIST | USERS | GETUSER name | SETUSER name [rule [rule ...]] | DELUSER name [name ...] | "
         "CAT [right] | GENPASS [bits] | LOAD | SAVE", "Who may use this server, and for what", ADMIN,
         words=dict.fromkeys([b"whoami", b"cat", b"genpass"], ""), slow=True)
def acl(server, connection, arguments):
    word = arguments[1].lower()
    handler, least, most = _ACL.get(word, (None, 0, 0))
    if handler is None:
        raise CommandError(f"ERR unknown subcommand '{printable(arguments[1][:128])}'; expected one of "
                           f"{', '.join(word.decode().upper() for word in _ACL)}")
    if not least <= len(arguments) - 2 <= most:
        raise CommandError(f"ERR wrong number of arguments for 'acl|{word.decode()}' command")
    return handler(server, connection, [argument.decode("utf-8", "surrogateescape") for argument in arguments[2:]])


def _whoami(server, connection, arguments):
    return resp.bulk(connection.user.name.encode())


def _list(server, connection, arguments):
    lines = [" ".join(["user", user.name, *rules_of(user)]) for user in _everybody(server)]
    return resp.array([resp.bulk(line.encode()) for line in lines])


def _users(server, connection, arguments):
    return resp.array([resp.bulk(user.name.encode()) for user in _everybody(server)])


def _getuser(server, connection, arguments):
    found = [user for user in _everybody(server) if user.name == arguments[0]]
    if not found:
        return resp.null(connection.protocol)
    rules = rules_of(found[0])
    flags = [rule for rule in rules if rule in ("on", "off", "nopass")]
    rights = " ".join(rule for rule in rules if rule[0] == "+")
    streams = " ".join(rule for rule in rules if "~" in rule)
    nothing = resp.array([])
    fields = [("flags", resp.members([resp.bulk(flag.encode()) for flag in flags], connection.protocol)),
              ("passwords", nothing),       # of which nothing is shown
              ("commands", resp.bulk(rights.encode() or b"-@all")), ("keys", resp.bulk(streams.encode())),
              ("channels", resp.bulk(b"")), ("selectors", nothing)]
    return resp.mapping([(resp.bulk(key.encode()), value) for key, value in fields], connection.protocol)


def _setuser(server, connection, arguments):
    name, *rules = arguments
    user = _changed(lambda: server.users.change(name, rules))
    log.info("user %s is now %s, as %s said", name, " ".join(rules_of(user)), connection.user.name)
    return _answered_later(server, connection, OK)


def _deluser(server, connection, arguments):
    count = _changed(lambda: server.users.remove(arguments))
    log.info("%d users were removed, as %s said", count, connection.user.name)
    return _answered_later(server, connection, resp.integer(count))


def _load(server, connection, arguments):
    _changed(server.users.reload)
    return _answered_later(server, connection, OK)


def _save(server, connection, arguments):
    _changed(server.users.save)
    return OK


def _cat(server, connection, arguments):
    if not arguments:
        return resp.array([resp.bulk(right.encode()) for right in RIGHTS])
    [right] = arguments
    if right.lower() not in RIGHTS:
        raise CommandError(f"ERR Unknown category '{printable(right[:80])}', expected one of {', '.join(RIGHTS)}")
    return resp.array([resp.bulk(one.name.encode()) for one in COMMANDS.values() if one.right == right.lower()])


def _genpass(server, connection, arguments):
    bits = arguments[0] if arguments else str(_BITS)
    if not re.fullmatch("[0-9]{1,4}", bits) or not 0 < int(bits) <= _MAX_BITS:
        raise CommandError(f"ERR ACL GENPASS argument must be the number of bits for the output password, a positive "
                           f"number up to {_MAX_BITS}")
    digits = (int(bits) + 3) // 4
    return resp.bulk(secrets.token_hex((digits + 1) // 2)[:digits].encode())


_ACL = {        # subcommand -> (handler, least and most arguments behind it)
    b"whoami": (_whoami, 0, 0),
    b"list": (_list, 0, 0),
    b"users": (_users, 0, 0),
    b"getuser": (_getuser, 1, 1),
    b"setuser": (_setuser, 1, 1000),
    b"deluser": (_deluser, 1, 1000),
    b"cat": (_cat, 0, 1),
    b"genpass": (_genpass, 0, 1),
    b"load": (_load, 0, 0),
    b"save": (_save, 0, 0),
}


def _everybody(server):
    return list(server.users) if server.users.required else [EVERYTHING]


def _changed(change):
    """What `change` returns.  Raises CommandError."""
    try:
        return change()
    except UsersError as error:
        raise CommandError(f"ERR {error}; nothing was changed") from None
    except OSError as error:
        raise CommandError(f"ERR the file of users can't be read or written ({error.strerror or error}); nothing was "
                           f"changed") from None
    except TooManyAttempts:
        raise CommandError("ERR too many passwords are being looked at, try again; nothing was changed") from None


def _answered_later(server, connection, reply):
    """Answer when the change has come to all connections, which the poller was told before."""
    def answer():
        connection.outbox.put_and_flush(reply)
        server.worked(connection)

    server.call_soon(answer)
    return None
