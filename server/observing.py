"""The commands for whoever looks why the server is slow: SLOWLOG, LATENCY."""

import resp
from store.times import BOUNDS

from .table import OK, CommandError, command, parse_number
from .text import printable
from .users import ADMIN

_NEWEST = 10        # entries that SLOWLOG GET gives unasked, as Redis


@command("slowlog", -2, "GET [count] | LEN | RESET | HELP", "Commands that took long, the newest first", ADMIN)
def slowlog(server, connection, arguments):
    return _subcommand(_SLOWLOG, server, connection, arguments)


def _slowlog_get(server, connection, arguments):
    """Each entry as Redis has it: id, seconds since 1970, microseconds, arguments, address, name."""
    count = _NEWEST
    if arguments:
        count = None if arguments[0] == b"-1" else parse_number(arguments[0], "COUNT")
    return resp.array([
        resp.array([resp.integer(one.id), resp.integer(one.time), resp.integer(one.microseconds),
                    resp.array([resp.bulk(argument) for argument in one.arguments]),
                    resp.bulk(one.peer.encode()), resp.bulk(one.name)])
        for one in server.metrics.slow_log.entries(count)])


def _slowlog_len(server, connection, arguments):
    return resp.integer(len(server.metrics.slow_log))


def _slowlog_reset(server, connection, arguments):
    server.metrics.slow_log.reset()
    return OK


@command("latency", -2, "HISTOGRAM [command [command ...]] | LATEST | HISTORY event | "
         "RESET [event [event ...]] | DOCTOR | HELP", "How long commands take", ADMIN)
def latency(server, connection, arguments):
    return _subcommand(_LATENCY, server, connection, arguments)


def _latency_histogram(server, connection, arguments):
    """{command: {calls, {microseconds: how many took no longer}}}, of those commands, or all."""
    wanted = {argument.lower().decode("utf-8", "replace") for argument in arguments}
    rows = [row for row in server.metrics.rows(server.published) if not wanted or row.name in wanted]
    return resp.mapping([(resp.bulk(row.name.encode()), _histogram(row, connection.protocol)) for row in rows],
                        connection.protocol)


def _histogram(row, protocol):
    sums, total = [], 0
    for bound, count in zip(BOUNDS, row.times.counts):
        total += count
        if count:
            sums.append((resp.integer(round(bound * 1e6)), resp.integer(total)))
    return resp.mapping([(resp.bulk(b"calls"), resp.integer(row.calls)),
                         (resp.bulk(b"histogram_usec"), resp.mapping(sums, protocol))], protocol)


def _latency_events(server, connection, arguments):
    """As a Redis says it that doesn't note what was slow in this way."""
    return resp.array([])


def _latency_reset(server, connection, arguments):
    return resp.integer(0)


def _latency_doctor(server, connection, arguments):
    text = "SLOWLOG GET has the commands that took long, LATENCY HISTOGRAM how long all of them take.\n"
    return resp.verbatim(text.encode(), connection.protocol)


def _subcommand(table, server, connection, arguments):
    name = arguments[0].lower().decode()
    word = arguments[1].lower()
    handler, most, _ = table.get(word, (None, 0, ""))
    if word == b"help":
        return resp.array([resp.bulk(line.encode()) for line in
                           (f"{name.upper()} {one.decode().upper()} {usage}".rstrip()
                            for one, (_, _, usage) in table.items())])
    if handler is None:
        raise CommandError(f"ERR unknown subcommand '{printable(arguments[1])}'. Try {name.upper()} HELP.")
    if len(arguments) - 2 > most:
        raise CommandError(f"ERR wrong number of arguments for '{name}|{word.decode()}' command")
    return handler(server, connection, arguments[2:])


# subcommand -> (handler, arguments that it takes at most, what they are)
_SLOWLOG = {
    b"get": (_slowlog_get, 1, "[COUNT]: the newest so many of them, 10 unless said, -1 all"),
    b"len": (_slowlog_len, 0, "how many are kept"),
    b"reset": (_slowlog_reset, 0, "forget them"),
}
_LATENCY = {
    b"histogram": (_latency_histogram, 1000, "[COMMAND ...]"),
    b"latest": (_latency_events, 0, "nothing: what is slow is in SLOWLOG"),
    b"history": (_latency_events, 1, "EVENT: likewise"),
    b"reset": (_latency_reset, 1000, "[EVENT ...]: 0, there is nothing to forget"),
    b"doctor": (_latency_doctor, 0, "where to look"),
}
