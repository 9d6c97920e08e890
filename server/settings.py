"""CONFIG GET and CONFIG SET: the options as they are now, and those that may change while the server runs.

    CONFIG SET max-connections 500 log-level debug
                   '── parsed as on the command line, all of them, before the first is changed

Nothing is written to the configuration file: a change lasts until the server ends.
"""

import logging
import resource
from fnmatch import fnmatchcase

from . import web
from .handshakes import at_once
from .options import BY_NAME, NO, YES

# Descriptors for all that is not a connection: segments, index, epoll, logs.
SPARE_DESCRIPTORS = 64


class SettingError(Exception):
    """A setting that can't be changed so; the text says why."""


def settings(server):
    """{name: text} of all that CONFIG GET knows."""
    store, limits = server.store, server.limits
    found = {
        # What redis-benchmark and others ask a Redis for, in its words.
        "save": "",
        "appendonly": "yes",
        "appendfsync": store.sync_policy,
        "databases": "1",
        "maxmemory": "0",
        "maxmemory-policy": "noeviction",
        "timeout": "0",
        "notify-keyspace-events": "",
        "latency-monitor-threshold": "0",
        "maxclients": str(limits.max_connections),
        "dir": store.path,
    }
    for name, option in BY_NAME.items():
        if hasattr(limits, option.attribute):
            found[name] = _shown(getattr(limits, option.attribute), option)
    found["port"] = str(server.port)
    return found


def matching(server, patterns):
    """[(name, text), …] of the settings that match one of the `patterns` (lower case, * and ?)."""
    return [(name, text) for name, text in settings(server).items()
            if any(fnmatchcase(name, pattern) for pattern in patterns)]


def change(server, pairs):
    """Change settings, all of them or none.

    pairs     [(name, text), …], with names as on the command line; maxclients is max-connections
    Raises    SettingError
    """
    changes = {}
    for name, text in pairs:
        name = _ALIASES.get(name, name)
        if name in changes:
            raise SettingError(f"duplicate parameter '{name}'")
        changes[name] = _parsed(server, name, text)
    for name, value in changes.items():
        _CHANGEABLE[name](server, value)
        setattr(server.limits, BY_NAME[name].attribute, value)


def affordable(wanted, limits):
    """As many connections as there are descriptors for, of so many; it asks the system for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    servers = (limits.metrics_port is not None) + (limits.http_port is not None)
    spare = SPARE_DESCRIPTORS + servers * 2 * web.CONNECTIONS
    if limits.tls_certificate:
        spare += at_once(wanted if hard == resource.RLIM_INFINITY else min(wanted, hard))
    if soft == resource.RLIM_INFINITY:
        return wanted
    needed = wanted + spare
    if soft < needed and (hard == resource.RLIM_INFINITY or soft < hard):
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return min(wanted, max(1, soft - spare))


def set_log_level(name):
    """Log from this level on."""
    logging.getLogger().setLevel(name.upper())


def _parsed(server, name, text):
    if name not in _CHANGEABLE:
        known = name in BY_NAME or name in settings(server)
        why = "it can't be changed while the server runs" if known else "there is no such setting"
        raise SettingError(f"'{name}': {why}; what can be: {', '.join(_CHANGEABLE)}")
    try:
        value = BY_NAME[name].parse(text)
    except ValueError as error:
        raise SettingError(f"'{name}': found '{text[:100]}', expected {error}") from None
    if name == "max-connections":
        most = affordable(value, server.limits)
        if most < value:
            raise SettingError(f"'{name}': the operating system allows no more than {most}")
    return value


def _shown(value, option):
    if value is None:
        return "none"
    if value is True or value is False:
        return (YES if value else NO)[0]
    return str(value)


def _as_it_is(server, value):
    """Whoever needs it looks at the options each time."""


# What may be changed, and what has to be done for it.
_CHANGEABLE = {
    "log-level": lambda server, value: set_log_level(value),
    "max-connections": _as_it_is,
    "max-metadata-size": _as_it_is,
    "max-pending-input": lambda server, value: server.make_room(value),
    "max-pending-output": _as_it_is,
    "max-subscriptions": _as_it_is,
    "max-unread": _as_it_is,
    "slowlog-log-slower-than": lambda server, value: server.metrics.slow_log.set_threshold(value),
    "slowlog-max-len": lambda server, value: server.metrics.slow_log.set_length(value),
}
_ALIASES = {"maxclients": "max-connections"}
