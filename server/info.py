"""What the server says of itself: INFO, and a line of CLIENT LIST.  Redis's names, where it has one for the same."""

import hashlib
import os
import platform
import time

from . import __version__
from .exposition import GROUPS
from .figures import process, system_memory

# As in Redis, these are for those who ask for them, or for all.
_LONG = ("commandstats", "latencystats")

# Whose commands are spoken: by this clients decide what they may ask for.
REDIS_VERSION = "7.0.15"


def info(server, wanted, whole=True):
    """The text of INFO, with the sections in `wanted` (lower-case names), or those that are of use to most.

    whole   False: only what clients look for when they connect, and nothing of what others do
    """
    sections = _SECTIONS if whole else _FOR_EVERYBODY
    wanted = set(wanted)
    everything = {"all", "everything"} & wanted
    usual = not wanted or "default" in wanted
    chosen = [name for name in sections if everything or name in wanted or (usual and name not in _LONG)]
    parts = []
    for name in chosen:
        lines = [f"{key}:{value}" for key, value in sections[name](server)]
        parts.append("\r\n".join([f"# {name.capitalize()}", *lines, ""]))
    return "\r\n".join(parts).encode()


def _server(server):
    uptime = int(time.time() - server.began)
    return [
        ("redis_version", REDIS_VERSION),
        ("meilies_version", __version__),
        ("redis_mode", "standalone"),
        ("os", f"{platform.system()} {platform.release()} {platform.machine()}"),
        ("arch_bits", 64 if platform.architecture()[0] == "64bit" else 32),
        ("python_version", platform.python_version()),
        ("python_implementation", platform.python_implementation()),
        ("process_id", os.getpid()),
        ("run_id", _as_run_id(server, server.began)),
        ("tcp_port", server.port),
        ("server_time_usec", time.time_ns() // 1000),
        ("uptime_in_seconds", uptime),
        ("uptime_in_days", uptime // 86400),
    ]


def _clients(server):
    clients = server.figures.clients()
    return [
        ("connected_clients", clients.connections),
        ("maxclients", server.limits.max_connections),
        ("blocked_clients", len(server.blocked)),
        ("subscriptions", clients.subscriptions),
        ("subscriptions_behind", clients.behind),
        ("subscriptions_lag", clients.lag),
        ("subscriptions_lag_max", clients.most),
        ("blocked_outputs", clients.blocked),
        ("pending_output_bytes", clients.pending),
        ("feeds", len(server.feeds)),
        ("feed_threads", server.feeds.threads()),
    ]


def _memory(server):
    found, machine = process(), system_memory()
    return [
        ("used_memory", found.memory),
        ("used_memory_human", _human(found.memory)),
        ("used_memory_rss", found.memory),
        ("used_memory_rss_human", _human(found.memory)),
        ("used_memory_lua", 0),
        ("used_memory_peak", found.peak),
        ("used_memory_peak_human", _human(found.peak)),
        ("total_system_memory", machine),
        ("total_system_memory_human", _human(machine)),
        ("maxmemory", 0),
        ("maxmemory_policy", "noeviction"),
    ]


def _human(count):
    """Bytes as Redis shows them: 1.50M."""
    for unit in ("B", "K", "M", "G"):
        if count < 1024:
            return f"{count}B" if unit == "B" else f"{count:.2f}{unit}"
        count /= 1024
    return f"{count:.2f}T"


def _persistence(server):
    store = server.store
    times = store.sync_times
    return [
        ("loading", 0),
        ("rdb_changes_since_last_save", max(0, store.position - store.synced)),
        ("rdb_bgsave_in_progress", 0),
        ("aof_enabled", 1),
        ("aof_rewrite_in_progress", 0),
        ("aof_last_write_status", "ok" if store.failed is None else "err"),
        ("sync", store.sync_policy),
        ("store", store.uuid),
        ("epoch", store.epoch),
        ("log_bytes", store.size),
        ("log_segments", store.segment_count),
        ("index_bytes", store.index_size),
        ("synced_position", store.synced),
        ("syncs", times.count),
        ("sync_usec", _micros(times.seconds)),
        ("sync_usec_p50", _micros(times.within(0.5))),
        ("sync_usec_p99", _micros(times.within(0.99))),
        ("failed", int(store.failed is not None)),
    ]


def _stats(server):
    rates, clients, metrics = server.figures.rates(), server.figures.clients(), server.metrics
    return [
        ("total_connections_received", server.accepted),
        ("total_commands_processed", server.executed + server.published),
        ("instantaneous_ops_per_sec", round(rates.commands)),
        ("events_published", server.published),
        ("events_sent", clients.frames),
        ("total_net_input_bytes", server.received),
        ("total_net_output_bytes", clients.sent),
        ("instantaneous_input_kbps", f"{rates.received / 1024:.2f}"),
        ("instantaneous_output_kbps", f"{rates.sent / 1024:.2f}"),
        ("rejected_connections", server.refused),
        ("expired_keys", 0),
        ("evicted_keys", 0),
        ("total_error_replies", sum(count for _, count in metrics.codes())),
        ("slow_commands", metrics.slow_log.count),
        ("pubsub_channels", server.feeds.channels.count),
        ("pubsub_patterns", server.feeds.channels.patterns),
    ]


def _replication(server):
    store = server.store
    return [("role", "master"), ("connected_slaves", 0), ("master_replid", _as_run_id(server, store.epoch)),
            ("master_repl_offset", store.position), ("repl_backlog_active", 0)]


def _as_run_id(server, what):
    """40 hexadecimal digits, as Redis has for this start of it and for what it replicates, of the store and `what`."""
    return hashlib.sha1(f"{server.store.uuid} {what}".encode()).hexdigest()


def _cpu(server):
    found = process()
    return [("used_cpu_sys", f"{found.system:.6f}"), ("used_cpu_user", f"{found.user:.6f}"),
            ("threads", found.threads)]


def _commandstats(server):
    return [(f"cmdstat_{row.name}", f"calls={row.calls},usec={_micros(row.times.seconds)},"
             f"usec_per_call={row.times.seconds * 1e6 / row.calls:.2f},rejected_calls=0,failed_calls={row.failed}")
            for row in server.metrics.rows(server.published)]


def _latencystats(server):
    return [(f"latency_percentiles_usec_{row.name}",
             ",".join(f"p{share:g}={row.times.within(share / 100) * 1e6:.3f}" for share in (50, 99, 99.9)))
            for row in server.metrics.rows(server.published)]


def _errorstats(server):
    return [(f"errorstat_{code}", f"count={count}") for code, count in server.metrics.codes()]


def _cluster(server):
    return [("cluster_enabled", 0)]


def _keyspace(server):
    keys = server.figures.keys()
    return [("db0", f"keys={keys},expires=0,avg_ttl=0")] if keys else []


def _streams(server):
    return [("streams", server.store.stream_count()), ("events", server.store.position)]


def _groups(server):
    groups = server.figures.groups()
    return [("groups", len(groups)), ("lag", sum(one.events for one in groups)),
            ("parked", sum(one.parked for one in groups)),
            *((f"group_{one.name}", f"lag={one.events},parked={one.parked}") for one in groups[:GROUPS])]


_SECTIONS = {
    "server": _server,
    "clients": _clients,
    "memory": _memory,
    "persistence": _persistence,
    "stats": _stats,
    "replication": _replication,
    "cpu": _cpu,
    "commandstats": _commandstats,
    "latencystats": _latencystats,
    "errorstats": _errorstats,
    "cluster": _cluster,
    "keyspace": _keyspace,
    "streams": _streams,
    "groups": _groups,
    "work": lambda server: server.works.fields(),
}

_FOR_EVERYBODY = {"server": _server, "persistence": lambda server: [("loading", 0)]}


def _micros(seconds):
    return round(seconds * 1e6)


def client_line(connection):
    """One line of CLIENT LIST, in bytes."""
    now = time.monotonic()
    subscriptions = len(connection.subscriptions)
    patterns = sum(1 for kind, _ in list(connection.subscriptions) if kind == "pattern")
    transaction = connection.transaction
    fields = [
        ("id", connection.id),
        ("addr", connection.peer),
        ("name", connection.name.decode()),
        ("age", int(now - connection.began)),
        ("idle", int(now - connection.active)),
        ("flags", "P" if subscriptions else "x" if transaction is not None else "N"),
        ("db", connection.database),
        ("sub", subscriptions - patterns),
        ("psub", patterns),
        ("multi", -1 if transaction is None else len(transaction.parts)),
        ("qbuf", connection.unread),
        ("omem", connection.outbox.size),
        ("tot-net-out", connection.outbox.sent),
        ("cmd", connection.last_command or "publish"),
        ("user", connection.user.name if connection.user is not None else ""),
        ("resp", connection.protocol),
        ("lib-name", connection.library.get("lib-name", b"").decode()),
        ("lib-ver", connection.library.get("lib-ver", b"").decode()),
    ]
    return (" ".join(f"{key}={value}" for key, value in fields) + "\n").encode()
