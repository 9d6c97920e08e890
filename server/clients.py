"""The commands about the connection itself, and about others: HELLO, CLIENT, QUIT and the like."""

import logging
import re
import time

import resp

from . import __version__, caching
from .access import act_for, log_in
from .info import client_line
from .syntax import arity, subcommands
from .table import ANYONE, OK, CommandError, command, help_of, parse_number, subcommand
from .text import printable
from .users import ADMIN

log = logging.getLogger("meilies.commands")


@command("ping", -1, "[text]", "Answers PONG, or the text", "")
def ping(server, connection, arguments):
    if len(arguments) > 2:
        raise CommandError("ERR wrong number of arguments for 'ping' command; usage: ping [text]")
    if connection.only_listens:     # as a message, which is all that such a client reads
        return resp.array([resp.bulk(b"pong"), resp.bulk(arguments[1] if len(arguments) == 2 else b"")])
    return resp.bulk(arguments[1]) if len(arguments) == 2 else b"+PONG\r\n"


@command("echo", 2, "text", "Answers the text", "")
def echo(server, connection, arguments):
    return resp.bulk(arguments[1])


@command("quit", -1, "", "Answers OK and closes", ANYONE)
def quit(server, connection, arguments):
    connection.refuse_input()
    for follower in connection.unfollow_all():
        server.feeds.remove(follower)
    return OK


@command("hello", -1, "[2|3 [AUTH user password] [SETNAME name]]",
         "Choose RESP2 or RESP3, and say who this is; says what this server and its store are", ANYONE)
def hello(server, connection, arguments):
    protocol, options = connection.protocol, {}
    if len(arguments) > 1:
        if not re.match(rb"(?:0|-?[1-9][0-9]{0,18})\Z", arguments[1]):
            raise CommandError("ERR Protocol version is not an integer or out of range, expected 2 or 3")
        if arguments[1] not in (b"2", b"3"):
            raise CommandError("NOPROTO unsupported protocol version, expected 2 or 3")
        protocol = int(arguments[1])
        options = _parse_hello(arguments[2:])
    name = options.get("name", connection.name)
    if "login" in options:
        return log_in(server, connection, *options["login"], lambda: _welcome(server, connection, protocol, name))
    if connection.user is None:
        raise CommandError("NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO "
                           "<proto> AUTH <user> <pass> option can be used to authenticate the client and select the "
                           "RESP protocol version at the same time")
    return _welcome(server, connection, protocol, name)


def _welcome(server, connection, protocol, name):
    connection.name = name
    store = server.store
    fields = [
        ("server", resp.bulk(b"meilies")),
        ("version", resp.bulk(__version__.encode())),
        ("proto", resp.integer(protocol)),
        ("id", resp.integer(connection.id)),
        ("mode", resp.bulk(b"standalone")),
        ("role", resp.bulk(b"master")),
        ("modules", resp.array([])),
        ("store", resp.bulk(store.uuid.encode())),
        ("epoch", resp.integer(store.epoch)),
    ]
    connection.speak(protocol, resp.mapping([(resp.bulk(key.encode()), value) for key, value in fields], protocol))
    return b""


def _parse_hello(options):
    """{"name": bytes, "login": (user, password)} of those that are there.  Raises CommandError."""
    found = {}
    while options:
        option = options[0].upper()
        if option == b"SETNAME" and len(options) > 1:
            found["name"] = _client_name(options[1])
            options = options[2:]
        elif option == b"AUTH" and len(options) > 2:
            found["login"] = options[1], options[2]
            options = options[3:]
        else:
            raise CommandError(f"ERR Syntax error in HELLO option '{printable(options[0])}'")
    return found


@command("reset", 1, "", "Back to what a new connection is: RESP2, no name, no user, no subscription, no MONITOR",
         ANYONE)
def reset(server, connection, arguments):
    for follower in connection.unfollow_all():
        server.feeds.remove(follower)
    server.monitors.remove(connection)
    connection.name = b""
    connection.protocol = 2
    connection.tracking = ()
    connection.database = 0
    connection.transact(None)
    act_for(server, connection, server.users.anonymous)
    return b"+RESET\r\n"


@command("select", 2, "0|1", "Both are the same store; in 1, SUBSCRIBE and UNSUBSCRIBE are Redis's", "")
def select(server, connection, arguments):
    if not re.match(rb"-?(0|[1-9][0-9]{0,8})\Z", arguments[1]):
        raise CommandError("ERR value is not an integer or out of range")
    if arguments[1] not in (b"0", b"1"):
        raise CommandError("ERR DB index is out of range; there is one database, 0, which is called 1 as well "
                           "where SUBSCRIBE is to be Redis's")
    connection.database = int(arguments[1])
    return OK


_CLIENT_USAGE = (
    "ID | SETNAME name | GETNAME | SETINFO LIB-NAME|LIB-VER value | INFO | "
    "LIST [TYPE normal|pubsub | ID id [id ...]] | "
    "KILL <addr | [ID id] [ADDR addr] [USER user] [TYPE normal|pubsub] [MAXAGE seconds] [SKIPME yes|no]> | "
    "UNBLOCK id [TIMEOUT|ERROR] | NO-EVICT ON|OFF | NO-TOUCH ON|OFF | REPLY ON | UNPAUSE | "
    f"{caching.TRACKING} | TRACKINGINFO | GETREDIR | HELP")


@command("client", -2, _CLIENT_USAGE, "About this connection and the others", ADMIN,
         words=dict.fromkeys(b"id setname getname setinfo info list no-evict no-touch reply tracking trackinginfo "
                             b"caching getredir help".split(), ""))
def client(server, connection, arguments):
    word = arguments[1].lower()
    if word in _REFUSED:
        raise CommandError(f"ERR CLIENT {word.decode().upper()} isn't supported: {_REFUSED[word]}")
    return subcommand("client", _CLIENT, _ARITY, arguments)(server, connection, arguments[2:])


def _client_id(server, connection, arguments):
    return resp.integer(connection.id)


def _client_setname(server, connection, arguments):
    connection.name = _client_name(arguments[0])
    return OK


def _client_getname(server, connection, arguments):
    return resp.bulk(connection.name) if connection.name else resp.null(connection.protocol)


def _client_setinfo(server, connection, arguments):
    field = arguments[0].lower()
    if field not in (b"lib-name", b"lib-ver"):
        raise CommandError(f"ERR unrecognized option '{printable(arguments[0])}', expected LIB-NAME or LIB-VER")
    connection.library[field.decode()] = _client_name(arguments[1])
    return OK


def _client_info(server, connection, arguments):
    return resp.verbatim(client_line(connection), connection.protocol)


def _client_list(server, connection, arguments):
    """CLIENT LIST [TYPE type | ID n ...]"""
    everyone = sorted(server.connections.values(), key=lambda one: one.id)
    if not connection.user.may(ADMIN):
        everyone = [one for one in everyone if one.user is not None and one.user.name == connection.user.name]
    if arguments:
        everyone = [one for one in everyone if _listed(arguments)(one)]
    return resp.verbatim(b"".join(map(client_line, everyone)), connection.protocol)


def _listed(arguments):
    """Says of a connection whether CLIENT LIST with these arguments has it."""
    what = arguments[0].lower()
    if what == b"type" and len(arguments) == 2:
        return _of_type(arguments[1])
    if what == b"id" and len(arguments) > 1:
        ids = {parse_number(text, "ID") for text in arguments[1:]}
        return lambda one: one.id in ids
    raise CommandError("ERR syntax error, expected: CLIENT LIST [TYPE normal | pubsub] [ID n ...]")


def _of_type(text):
    kind = text.lower()
    if kind not in (b"normal", b"pubsub", b"master", b"replica", b"slave"):
        raise CommandError(f"ERR Unknown client type '{printable(text)}'")
    return lambda one: kind == (b"pubsub" if one.subscriptions else b"normal")


def _client_kill(server, connection, arguments):
    """CLIENT KILL address, or CLIENT KILL and filters, each with its value: those that pass all of them."""
    if not arguments:
        raise CommandError("ERR wrong number of arguments for 'client|kill' command")
    if len(arguments) == 1:
        victims = _matching(server, [_FILTERS[b"addr"](arguments[0])])
        if not victims:
            raise CommandError("ERR No such client")
        _kill(server, connection, victims)
        return OK
    filters, skipped = [], None
    if len(arguments) % 2:
        raise CommandError(f"ERR syntax error, expected: {_KILL_USAGE}")
    for word, text in zip(arguments[::2], arguments[1::2]):
        word = word.lower()
        if word == b"skipme" and text.lower() in (b"yes", b"no"):
            skipped = text.lower() == b"yes"
        elif word in _FILTERS:
            filters.append(_FILTERS[word](text))
        else:
            raise CommandError(f"ERR syntax error, expected: {_KILL_USAGE}")
    if skipped is None:         # who names a client by its id or address means it
        skipped = not {b"id", b"addr"} & {word.lower() for word in arguments[::2]}
    victims = [one for one in _matching(server, filters) if not skipped or one is not connection]
    _kill(server, connection, victims)
    return resp.integer(len(victims))


def _matching(server, filters):
    return [one for one in list(server.connections.values()) if all(passes(one) for passes in filters)]


def _kill(server, connection, victims):
    for victim in victims:
        log.info("client %d at %s is ended by client %d at %s", victim.id, victim.peer, connection.id, connection.peer)
        if victim is connection:
            victim.refuse_input()       # after the reply
            for follower in victim.unfollow_all():
                server.feeds.remove(follower)
        else:
            server.close(victim)


def _with_id(text):
    id_ = parse_number(text, "ID")
    return lambda one: one.id == id_


def _at(text):
    peer = text.decode("utf-8", "replace")
    return lambda one: one.peer == peer


def _of_user(text):
    name = text.decode("utf-8", "replace")
    return lambda one: one.user is not None and one.user.name == name


def _older_than(text):
    began = time.monotonic() - parse_number(text, "MAXAGE")
    return lambda one: one.began <= began


_KILL_USAGE = ("CLIENT KILL [ID n] [ADDR host:port] [USER name] [TYPE normal | pubsub] [MAXAGE seconds] "
               "[SKIPME yes | no]")
_FILTERS = {b"id": _with_id, b"addr": _at, b"user": _of_user, b"type": _of_type, b"maxage": _older_than}

def _client_unblock(server, connection, arguments):
    """Answer a client that waits in a blocked read: as if its time were up, or with an error."""
    id_ = parse_number(arguments[0], "ID")
    word = arguments[1].upper() if len(arguments) > 1 else b"TIMEOUT"
    if word not in (b"TIMEOUT", b"ERROR") or len(arguments) > 2:
        raise CommandError("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
    waiting = [one for one in _matching(server, [_with_id(arguments[0])]) if one in server.blocked]
    for one in waiting:
        log.info("client %d is unblocked by client %d at %s", id_, connection.id, connection.peer)
        if word == b"TIMEOUT":
            server.blocked.end(one)
        else:
            server.blocked.refuse(one, CommandError("UNBLOCKED client unblocked via CLIENT UNBLOCK"))
    return resp.integer(len(waiting))


def _client_switch(server, connection, arguments):
    """NO-EVICT, NO-TOUCH: no client is evicted for want of memory and no read is noted with its key, so be it."""
    if arguments[0].upper() not in (b"ON", b"OFF"):
        raise CommandError(f"ERR syntax error, found '{printable(arguments[0])}', expected ON or OFF")
    return OK


def _client_reply(server, connection, arguments):
    if arguments[0].upper() in (b"OFF", b"SKIP"):
        raise CommandError("ERR CLIENT REPLY isn't supported but for ON: what was refused, or isn't on disk, would be "
                           "lost without a word; send many requests at once and read their replies behind them")
    if arguments[0].upper() != b"ON":
        raise CommandError(f"ERR syntax error, found '{printable(arguments[0])}', expected ON")
    return OK


def _client_unpause(server, connection, arguments):
    return OK


def _client_help(server, connection, arguments):
    return help_of("client", _CLIENT_USAGE)


_REFUSED = {
    b"caching": caching.WHY,
    b"pause": "nobody is kept waiting for another; CLIENT KILL ends connections",
    b"maint_notifications": "there is one server, and nothing moves",
}

_CLIENT = {
    b"id": _client_id,
    b"setname": _client_setname,
    b"getname": _client_getname,
    b"setinfo": _client_setinfo,
    b"info": _client_info,
    b"list": _client_list,
    b"kill": _client_kill,
    b"unblock": _client_unblock,
    b"no-evict": _client_switch,
    b"no-touch": _client_switch,
    b"reply": _client_reply,
    b"unpause": _client_unpause,
    b"tracking": caching.tracking,
    b"trackinginfo": caching.trackinginfo,
    b"getredir": caching.getredir,
    b"help": _client_help,
}
_ARITY = {word.lower().encode(): arity(arguments, words=2)
          for word, arguments in subcommands(_CLIENT_USAGE).items()}


def _client_name(name):
    if len(name) > 1024 or not re.match(rb"[!-~]*\Z", name):
        raise CommandError("ERR Client names cannot contain spaces, newlines or special characters.")
    return name
