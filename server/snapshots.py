"""The commands for snapshots of streams."""

import resp
from store.names import check_stream

from .selecting import appends_stream, reads_stream
from .table import OK, CommandError, checked, command, parse_number
from .users import APPEND, READ


@command("snapshot-put", 4, "stream number data", "Keep what was made of a stream's events up to a number", APPEND,
         appends_stream, slow=True)
def snapshot_put(server, connection, arguments):
    _, stream, number, data = arguments
    checked(check_stream, stream)
    number = parse_number(number, "NUMBER")
    limit = server.limits.max_event_size
    if len(data) > limit:
        raise CommandError(f"ERR data of {len(data)} bytes, expected no more than {limit}")
    checked(lambda name: server.store.snapshot_put(name, number, data), stream)
    return OK


@command("snapshot-get", 2, "stream", "The snapshot that was put last: the number and the data", READ,
         reads_stream, slow=True)
def snapshot_get(server, connection, arguments):
    checked(check_stream, arguments[1])
    found = server.store.snapshot_get(arguments[1])
    if found is None:
        return resp.null(connection.protocol)
    return resp.array([resp.integer(found.number), resp.bulk(found.data)])


@command("snapshot-delete", 2, "stream", "Take a stream's snapshot out", APPEND, appends_stream, slow=True)
def snapshot_delete(server, connection, arguments):
    checked(check_stream, arguments[1])
    server.store.snapshot_delete(arguments[1])
    return OK
