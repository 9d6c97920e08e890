"""The commands that copy the store and look whether it is sound, while it is in use."""

import logging
import os
import re

import resp

from .table import CommandError, command
from .text import printable

log = logging.getLogger("meilies.commands")

_NAME = re.compile(rb"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}\Z")


@command("backup", 2, "NAME", "Copy the store as it is now to the folder NAME in --backup-path", slow=True)
def backup(server, connection, arguments):
    name = arguments[1]
    if not _NAME.match(name):
        raise CommandError(f"ERR NAME is '{printable(name[:60])}', expected letters, digits and _ . - "
                           f"(no '.' or '-' first), up to 200 of them")
    if not server.limits.backup_path:
        raise CommandError("ERR the server was started without --backup-path; it writes copies nowhere else")
    folder = os.path.join(server.limits.backup_path, name.decode())
    try:
        done = server.store.back_up(folder)
    except OSError as error:
        raise CommandError(f"ERR {folder}: the copy isn't whole ({error.strerror or error}); "
                           f"the next backup to it goes on") from None
    log.info("backup %s: %d events, %d of %d segments copied", folder, done.position, done.copied, done.segments)
    return _mapping({key: resp.integer(value) for key, value in done._asdict().items()}, connection.protocol)


@command("check", 1, "", "Read the whole log and name what is bad in it", slow=True)
def check(server, connection, arguments):
    found = server.store.check()
    for problem in found.problems:
        log.error("check: %s", problem)
    texts = {"problems": found.problems, "notes": found.notes}
    counts = {"events": found.events, "streams": found.streams, "lost": found.lost}
    fields = {key: resp.integer(value) for key, value in counts.items()}
    fields.update({key: resp.array([resp.bulk(text.encode()) for text in some]) for key, some in texts.items()})
    return _mapping(fields, connection.protocol)


def _mapping(fields, protocol):
    return resp.mapping([(resp.bulk(key.encode()), value) for key, value in fields.items()], protocol)
