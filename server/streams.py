"""The commands that MeiliES has for streams, but for those that follow them (following.py)."""

import resp
from store.names import ALL, check_name, check_stream

from .table import CommandError, checked, command


@command("publish", 4, "STREAM NAME DATA", "Store an event; +OK when it is as safe as --sync says")
def publish(server, connection, arguments):
    """Says what is wrong; those that are right never come here but go to the store in batches."""
    _, stream, name, data = arguments
    checked(check_stream, stream)
    checked(check_name, name)
    raise CommandError(f"ERR data of {len(data)} bytes, expected no more than "
                       f"{server.limits.max_event_size}")


@command("last-event-number", 2, "STREAM", "The number of a stream's last event; of $all, its position")
def last_event_number(server, connection, arguments):
    name = arguments[1]
    if name == ALL:
        position = server.store.position
        last = position - 1 if position else None
    else:
        checked(check_stream, name)
        last = server.store.last_number(name)
    number = resp.null(connection.protocol) if last is None else resp.integer(last)
    return resp.array([b"+last-event-number\r\n", resp.simple(name), number])


@command("stream-names", -1, "", "The names of all streams that have an event, sorted", slow=True)
def stream_names(server, connection, arguments):
    return resp.array([b"+stream-names\r\n", *map(resp.simple, server.store.names())])
