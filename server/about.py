"""The commands about the server: INFO, TIME, CONFIG."""

import logging
import time

import resp

from .info import info
from .settings import SettingError, change, matching
from .table import OK, CommandError, command, help_of
from .text import printable
from .users import ADMIN


log = logging.getLogger("meilies.commands")

_REFUSED_CONFIG = {
    b"rewrite": "a change lasts until the server ends; what is to stay belongs into the file of --config",
    b"resetstat": "what is counted goes on, for whoever computes rates of it",
}


@command("info", -1, "[section [section ...]]", "What the server is and does", "")
def info_command(server, connection, arguments):
    user = connection.user
    whole = user.may(ADMIN) or user.may_read_prefix(b"")
    sections = [argument.decode("utf-8", "replace").lower() for argument in arguments[1:]]
    return resp.verbatim(info(server, sections, whole), connection.protocol)


@command("time", 1, "", "The server's clock: seconds and microseconds since 1970", "")
def time_command(server, connection, arguments):
    seconds, microseconds = divmod(time.time_ns() // 1000, 1000000)
    return resp.array([resp.bulk(b"%d" % seconds), resp.bulk(b"%d" % microseconds)])


_CONFIG = "GET pattern [pattern ...] | SET name value [name value ...] | HELP"


@command("config", -2, _CONFIG, "Settings whose names match; change some", ADMIN)
def config_command(server, connection, arguments):
    word = arguments[1].lower()
    given = [argument.decode("utf-8", "replace") for argument in arguments[2:]]
    if word in _REFUSED_CONFIG:
        raise CommandError(f"ERR CONFIG {word.decode().upper()} isn't supported: {_REFUSED_CONFIG[word]}")
    if word == b"help" and not given:
        return help_of("config", _CONFIG)
    if word == b"get" and given:
        found = matching(server, [pattern.lower() for pattern in given])
        return resp.mapping([(resp.bulk(key.encode()), resp.bulk(value.encode("utf-8", "surrogateescape")))
                             for key, value in found], connection.protocol)
    if word == b"set" and given and len(given) % 2 == 0:
        try:
            change(server, [(name.lower().replace("_", "-"), value) for name, value in zip(given[::2], given[1::2])])
        except SettingError as error:
            raise CommandError(f"ERR CONFIG SET failed - {printable(str(error))}") from None
        log.info("client %d at %s set %s", connection.id, connection.peer, printable(" ".join(given)))
        return OK
    if word in (b"get", b"set"):
        raise CommandError(f"ERR wrong number of arguments for 'config|{word.decode()}' command; "
                           f"usage: config {_CONFIG}")
    raise CommandError(f"ERR unknown subcommand '{printable(arguments[1])}'. Try CONFIG HELP.")
