"""The commands that copy the store, and look whether it is sound and what it was, while it is in use."""

import logging
import os
import re

import resp
from store import StoreError, export
from store.errors import BadExport, ChainBroken

from .committer import error_reply
from .table import READS_ALL, CommandError, command, parse_number
from .text import printable
from .users import ADMIN, READ

log = logging.getLogger("meilies.commands")

_NAME = re.compile(rb"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}\Z")
_HEAD = re.compile(rb"[0-9a-fA-F]{64}\Z")


def _reads_all(server, arguments):
    return READS_ALL


def _appends_all(server, arguments):
    return [("append", "prefix", b"")]


@command("backup", 2, "name", "Copy the store as it is now to a folder of this name in --backup-path", ADMIN, slow=True)
def backup(server, connection, arguments):
    name = arguments[1]
    if not _NAME.match(name):
        raise CommandError(f"ERR NAME is '{printable(name[:60])}', expected letters, digits and _ . - "
                           f"(no '.' or '-' first), up to 200 of them")
    if not server.limits.backup_path:
        raise CommandError("ERR the server was started without --backup-path; it writes copies nowhere else")
    folder = os.path.join(server.limits.backup_path, name.decode())
    try:
        with server.works.under_way("backup", connection) as progress:
            done = server.store.back_up(folder, progress)
    except OSError as error:
        raise CommandError(f"ERR {folder}: the copy isn't whole ({error.strerror or error}); "
                           f"the next backup to it goes on") from None
    log.info("backup %s: %d events, %d of %d segments copied", folder, done.position, done.copied, done.segments)
    return _mapping({key: resp.integer(value) for key, value in done._asdict().items()}, connection.protocol)


@command("check", 1, "", "Read the whole log and name what is bad in it", ADMIN, slow=True)
def check(server, connection, arguments):
    with server.works.under_way("check", connection) as progress:
        found = server.store.check(progress)
    for problem in found.problems:
        log.error("check: %s", problem)
    texts = {"problems": found.problems, "notes": found.notes}
    counts = {"events": found.events, "streams": found.streams, "lost": found.lost}
    fields = {key: resp.integer(value) for key, value in counts.items()}
    fields.update({key: resp.array([resp.bulk(text.encode()) for text in some]) for key, some in texts.items()})
    return _mapping(fields, connection.protocol)


@command("export", -1, "[from stop | ENTRIES [cursor]]",
         "The store as lines of JSON: the first line, some events, or what is kept beside them", ADMIN,
         _reads_all, slow=True)
def export_command(server, connection, arguments):
    null = resp.null(connection.protocol)
    if len(arguments) == 1:
        return resp.bulk(export.head(server.store, server.store.position))
    if arguments[1].lower() == b"entries" and len(arguments) < 4:
        lines, cursor = export.entry_lines(server.store, b"".join(arguments[2:]))
        return resp.array([null if cursor is None else resp.bulk(cursor), resp.array([*map(resp.bulk, lines)])])
    if len(arguments) != 3:
        raise CommandError("ERR syntax error, expected: export [FROM STOP | ENTRIES [CURSOR]]")
    first, stop = parse_number(arguments[1], "FROM"), min(parse_number(arguments[2], "STOP"), server.store.position)
    lines, _, following = export.lines_of(server.store, first, stop)
    more = resp.integer(following) if lines and following < stop else null
    return resp.array([more, resp.array([*map(resp.bulk, lines)])])


@command("import", -2, "line [line ...]", "Append what lines of an export have, but for its first and last one", ADMIN,
         _appends_all, slow=True)
def import_command(server, connection, arguments):
    try:
        done = export.import_some(server.store, arguments[1:])
    except BadExport as error:
        raise CommandError(f"ERR {error}") from None
    except StoreError as error:
        return error_reply(error)
    return resp.array([resp.integer(done.events - done.passed_over), resp.integer(done.passed_over)])


@command("chain-head", 1, "", "How far the chain of digests is, and its head", READ, _reads_all, slow=True)
def chain_head(server, connection, arguments):
    position, head = _chain(server).head()
    return resp.array([resp.integer(position), resp.bulk(head.encode())])


@command("verify", -1, "[position head]", "Compare every event with the chain of digests, and that with a head noted "
         "earlier", ADMIN, slow=True)
def verify(server, connection, arguments):
    chain = _chain(server)
    known = None
    if len(arguments) > 1:
        if len(arguments) != 3 or not _HEAD.match(arguments[2]):
            raise CommandError("ERR syntax error, expected: verify [POSITION HEAD], HEAD with 64 hexadecimal digits")
        known = parse_number(arguments[1], "POSITION"), arguments[2].decode()
    try:
        with server.works.under_way("verify", connection) as progress:
            found = chain.verify(known, progress)
    except ChainBroken as broken:
        log.error("verify: %s", broken)
        raise CommandError(f"BROKEN {broken}") from None
    except OSError as error:
        raise CommandError(f"ERR the chain can't be read or written ({error.strerror or error})") from None
    return _mapping({"position": resp.integer(found.position), "head": resp.bulk(found.head.encode()),
                     "same": resp.integer(found.same), "gone": resp.integer(found.gone)}, connection.protocol)


def _chain(server):
    if server.store.hash_chain is None:
        raise CommandError("ERR there is no chain of digests; --hash-chain begins one")
    return server.store.hash_chain


def _mapping(fields, protocol):
    return resp.mapping([(resp.bulk(key.encode()), value) for key, value in fields.items()], protocol)
