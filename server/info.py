"""What the server says of itself: INFO, CONFIG GET, and a line of CLIENT LIST."""

import os
import platform
import resource
import sys
import time
from fnmatch import fnmatchcase

from . import __version__


def info(server, wanted):
    """The text of INFO, with the sections in `wanted` (lower-case names), or all of them."""
    everything = not wanted or {"all", "default", "everything"} & set(wanted)
    chosen = [name for name in _SECTIONS if everything or name in wanted]
    parts = []
    for name in chosen:
        lines = [f"{key}:{value}" for key, value in _SECTIONS[name](server)]
        parts.append("\r\n".join([f"# {name.capitalize()}", *lines, ""]))
    return "\r\n".join(parts).encode()


def _server(server):
    uptime = int(time.time() - server.began)
    return [
        ("meilies_version", __version__),
        ("redis_mode", "standalone"),
        ("os", f"{platform.system()} {platform.release()} {platform.machine()}"),
        ("python_version", platform.python_version()),
        ("process_id", os.getpid()),
        ("tcp_port", server.port),
        ("uptime_in_seconds", uptime),
        ("uptime_in_days", uptime // 86400),
    ]


def _clients(server):
    everyone = list(server.connections.values())
    return [
        ("connected_clients", len(everyone)),
        ("maxclients", server.limits.max_connections),
        ("subscriptions", sum(len(one.subscriptions) for one in everyone)),
        ("blocked_outputs", sum(one.outbox.blocked for one in everyone)),
        ("feeds", len(server.feeds)),
        ("feed_threads", server.feeds.threads()),
    ]


def _memory(server):
    # Linux counts the peak in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return [("used_memory_peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)]


def _persistence(server):
    store = server.store
    return [
        ("loading", 0),
        ("sync", store.sync_policy),
        ("store", store.uuid),
        ("epoch", store.epoch),
        ("log_bytes", store.size),
        ("synced_position", store.synced),
        ("failed", int(store.failed is not None)),
    ]


def _stats(server):
    return [
        ("total_connections_received", server.accepted),
        ("rejected_connections", server.refused),
        ("total_commands_processed", server.executed + server.published),
        ("events_published", server.published),
        ("total_net_input_bytes", server.received),
    ]


def _streams(server):
    return [("streams", server.store.stream_count()), ("events", server.store.position)]


_SECTIONS = {
    "server": _server,
    "clients": _clients,
    "memory": _memory,
    "persistence": _persistence,
    "stats": _stats,
    "streams": _streams,
}


def config(server, patterns):
    """[(name, value), …] of the settings that match one of the `patterns` (lower case, * and ?)."""
    store = server.store
    settings = {
        # What redis-benchmark and others ask a Redis for, in its words.
        "save": "",
        "appendonly": "yes",
        "appendfsync": store.sync_policy,
        "databases": "1",
        "maxclients": str(server.limits.max_connections),
        "dir": store.path,
        "port": str(server.port),
    }
    settings.update((name.replace("_", "-"), str(value)) for name, value in sorted(vars(server.limits).items())
                    if name.startswith("max_"))
    return [(name, value) for name, value in settings.items()
            if any(fnmatchcase(name, pattern) for pattern in patterns)]


def client_line(connection):
    """One line of CLIENT LIST, in bytes."""
    now = time.monotonic()
    fields = [
        ("id", connection.id),
        ("addr", connection.peer),
        ("name", connection.name.decode()),
        ("age", int(now - connection.began)),
        ("idle", int(now - connection.active)),
        ("db", 0),
        ("sub", len(connection.subscriptions)),
        ("qbuf", connection.unread),
        ("omem", connection.outbox.size),
        ("tot-net-out", connection.outbox.sent),
        ("cmd", connection.last_command or "publish"),
        ("resp", connection.protocol),
        ("lib-name", connection.library.get("lib-name", b"").decode()),
        ("lib-ver", connection.library.get("lib-ver", b"").decode()),
    ]
    return (" ".join(f"{key}={value}" for key, value in fields) + "\n").encode()
