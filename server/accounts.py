"""The server's command for its users: `meilies_server.py user add|set|remove|list`.

    python3 meilies_server.py user add --users FILE ann +@read '~orders-*'      the password: asked for, or stdin's
    python3 meilies_server.py user set --users FILE ann --password +@append     first line; never an argument
    python3 meilies_server.py user remove --users FILE ann
    python3 meilies_server.py user list --users FILE

exit status: 0 done, 1 there is no such user, or one already, 2 it couldn't be done.

It changes the file alone; a server that runs takes it over at SIGHUP, or ACL LOAD.
"""

import getpass
import os
import sys

from . import options
from .users import MAX_PASSWORD, Users, UsersError, check_user_name, create, rules_of


class _WrongUser(Exception):
    """There is no such user, or there is one already."""


def run(argv, environ):
    """Run the command with the arguments behind `user`; return the exit code."""
    chosen = options.parse_user(argv, environ)
    try:
        _ACTIONS[chosen.action](chosen)
        sys.stdout.flush()
        return 0
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    except _WrongUser as error:
        return _failed(error, 1)
    except UsersError as error:
        return _failed(f"{error}; nothing was changed", 2)
    except OSError as error:
        return _failed(f"{error.filename or chosen.users}: {error.strerror}", 2)
    except KeyboardInterrupt:
        return _failed("interrupted; nothing was changed", 130)


def _add(chosen):
    check_user_name(chosen.name)
    if not os.path.lexists(chosen.users):
        create(chosen.users)
    users = Users(chosen.users)
    if users.get(chosen.name):
        raise _WrongUser(f"{chosen.users}: there is a user {chosen.name} already; 'user set' changes one")
    rules = ["on", *chosen.rules]
    if "nopass" not in map(str.lower, rules):
        rules.append(">" + _new_password(chosen.name))
    _show(users.change(chosen.name, rules))


def _set(chosen):
    users = Users(chosen.users)
    _existing(users, chosen)
    rules = list(chosen.rules)
    if chosen.password:
        rules.append(">" + _new_password(chosen.name))
    if not rules:
        raise UsersError("there is nothing to change: expected rules, or --password")
    _show(users.change(chosen.name, rules))


def _remove(chosen):
    users = Users(chosen.users)
    _existing(users, chosen)
    users.remove([chosen.name])


def _list(chosen):
    for user in Users(chosen.users):
        _show(user)


_ACTIONS = {"add": _add, "set": _set, "remove": _remove, "list": _list}


def _existing(users, chosen):
    if not users.get(chosen.name):
        raise _WrongUser(f"{chosen.users}: there is no user {chosen.name}")


def _new_password(name):
    """A password, from whoever sits at the terminal, twice, or the first line of a pipe."""
    if sys.stdin.isatty():
        password = getpass.getpass(f"password of {name}: ")
        if getpass.getpass("the same again: ") != password:
            raise UsersError("the two passwords aren't the same")
        return password
    line = sys.stdin.buffer.readline(MAX_PASSWORD + 2)
    return line.rstrip(b"\r\n").decode("utf-8", "surrogateescape")


def _show(user):
    unknown = "" if user.secret else "  (without a password: nobody can log in)"
    print(" ".join([user.name, *rules_of(user)]) + unknown)


def _failed(error, code):
    print(f"{options.PROGRAM} user: {error}", file=sys.stderr)
    return code
