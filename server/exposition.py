"""The figures as Prometheus reads them, and the two pages that show how the server is.

    GET /metrics    # HELP, # TYPE and samples of each family
    GET /healthz    200 ok, or 503 and why not

Names are part of the contract with dashboards and alerts: docs/operations.md lists them.
A scrape has no more lines than there are commands and kinds of errors; of groups it has those
that are the farthest behind.
"""

import contextlib
import platform
from itertools import accumulate

from store.times import BOUNDS

from . import __version__
from .figures import process
from .health import problem
from .options import is_loopback
from .web import TEXT, Answer, WebServer

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# Groups that have a line of their own.
GROUPS = 50


def metrics_server(server, limits):
    """The WebServer that --metrics-port asks for, to be started; None without it.  Raises OSError."""
    if limits.metrics_port is None:
        return None
    # Elsewhere than on loopback it has no login to be protected by the names that it is asked by.
    names = (limits.metrics_hostname,) if is_loopback(limits.metrics_hostname) else None
    web = WebServer(limits.metrics_hostname, limits.metrics_port, server, names=names)
    add_routes(web)
    return web


def add_routes(web):
    """Have a WebServer answer both pages."""
    @web.route("GET", "/metrics")
    def metrics(request):
        return Answer(200, CONTENT_TYPE, exposition(request.server, web).encode())

    @web.route("GET", "/healthz")
    def healthz(request):
        why = problem(request.server)
        return Answer(503 if why else 200, TEXT, f"{why or 'ok'}\n".encode())


def exposition(server, web):
    """The text of /metrics.

    server   the Poller
    web      the WebServer that is asked
    """
    page = _Page()
    _about(page, server)
    _events(page, server)
    _clients(page, server)
    _groups(page, server)
    _commands(page, server)
    _disk(page, server)
    _process(page, server)
    page.counter("meilies_http_requests_total", "HTTP requests to this port.", web.requests)
    page.counter("meilies_http_turned_away_total", "HTTP connections that were too many.", web.turned_away)
    return page.text()


class _Page:
    """Families, in the order in which they are added."""

    def __init__(self):
        self._lines = []

    def gauge(self, name, help, value, **labels):
        self.family(name, "gauge", help, [(labels, value)])

    def counter(self, name, help, value):
        self.family(name, "counter", help, [({}, value)])

    def family(self, name, kind, help, samples):
        """samples   [({label: text}, value), …]"""
        self._begin(name, kind, help)
        self._lines += [f"{name}{_labels(labels)} {_number(value)}" for labels, value in samples]

    def histograms(self, name, help, samples):
        """samples   [({label: text}, a Times), …]"""
        self._begin(name, "histogram", help)
        for labels, times in samples:
            sums = list(accumulate(times.counts))
            for bound, count in zip(_BOUNDS, sums):
                self._lines.append(f"{name}_bucket{_labels({**labels, 'le': bound})} {count}")
            self._lines.append(f"{name}_sum{_labels(labels)} {_number(times.seconds)}")
            self._lines.append(f"{name}_count{_labels(labels)} {sums[-1]}")

    def _begin(self, name, kind, help):
        self._lines += [f"# HELP {name} {help}", f"# TYPE {name} {kind}"]

    def text(self):
        return "\n".join([*self._lines, ""])


def _labels(labels):
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items()) + "}"


def _escaped(text):
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value):
    return f"{value:.9f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


_BOUNDS = [*map(_number, BOUNDS), "+Inf"]


def _about(page, server):
    store = server.store
    page.gauge("meilies_build_info", "The version and what it runs on.", 1, version=__version__,
               python=platform.python_version(), implementation=platform.python_implementation(),
               system=f"{platform.system()} {platform.release()}", machine=platform.machine())
    page.gauge("meilies_store_info", "The store that is served.", 1, store=store.uuid, sync=store.sync_policy)
    page.gauge("meilies_store_epoch", "Goes up when recovery cut off events that had been numbered.", store.epoch)
    page.gauge("meilies_store_failed", "1 when the disk failed: appends are refused until a restart.",
               int(store.failed is not None))


def _events(page, server):
    store = server.store
    page.gauge("meilies_events", "Events ever stored and seen by readers: the position of the next one.",
               store.position)
    page.gauge("meilies_synced_events", "Events known to be on disk, counted like meilies_events.", store.synced)
    page.gauge("meilies_streams", "Streams that there are.", store.stream_count())
    page.counter("meilies_events_published_total", "Events that clients published or appended since the start.",
                 server.published)
    page.counter("meilies_events_sent_total", "Events, and notices about them, sent to followers.",
                 server.figures.clients().frames)
    page.counter("meilies_received_bytes_total", "Bytes received from clients.", server.received)
    page.counter("meilies_sent_bytes_total", "Bytes sent to clients.", server.figures.clients().sent)


def _clients(page, server):
    clients = server.figures.clients()
    page.gauge("meilies_connections", "Clients that are connected.", clients.connections)
    page.gauge("meilies_connections_limit", "Clients that may be.", server.limits.max_connections)
    page.counter("meilies_connections_accepted_total", "Connections, ever.", server.accepted)
    page.counter("meilies_connections_refused_total", "Of them, those that were too many.", server.refused)
    page.gauge("meilies_connections_blocked", "Clients that don't take what they are sent.", clients.blocked)
    page.gauge("meilies_output_pending_bytes", "Bytes that wait for such clients.", clients.pending)
    page.gauge("meilies_followers", "Subscriptions of all clients.", clients.subscriptions)
    page.gauge("meilies_followers_behind", "Of them, those that read the log to catch up.", clients.behind)
    page.gauge("meilies_follower_lag_events", "Events that the farthest of those is behind.", clients.most)
    page.gauge("meilies_followers_lag_events", "Events that they all are behind.", clients.lag)
    page.gauge("meilies_feeds", "Streams that somebody follows.", len(server.feeds))
    page.gauge("meilies_feed_threads", "Of them, those with so many followers that they have a thread.",
               server.feeds.threads())
    page.counter("meilies_logins_refused_total", "Attempts to log in that were refused.", server.refused_logins)
    page.gauge("meilies_blocked_reads", "Reads that wait for events.", len(server.blocked))


def _groups(page, server):
    groups = server.figures.groups()
    page.gauge("meilies_groups", "Consumer groups.", len(groups))
    page.gauge("meilies_groups_lag_events", "Events that they haven't done yet, all together.",
               sum(one.events for one in groups))
    page.gauge("meilies_groups_parked_events", "Events that they have parked.", sum(one.parked for one in groups))
    farthest = groups[:GROUPS]
    page.family("meilies_group_lag_events", "gauge", f"Events not done yet, of the {GROUPS} groups with the most.",
                [({"group": one.name}, one.events) for one in farthest])
    page.family("meilies_group_parked_events", "gauge", "Events that the same groups have parked.",
                [({"group": one.name}, one.parked) for one in farthest])


def _commands(page, server):
    metrics = server.metrics
    rows = metrics.rows(server.published)
    page.family("meilies_commands_total", "counter", "Commands that were executed.",
                [({"command": row.name}, row.calls) for row in rows])
    page.family("meilies_commands_failed_total", "counter", "Of them, those whose reply was an error.",
                [({"command": row.name}, row.failed) for row in rows])
    page.family("meilies_errors_total", "counter", "Replies that were errors, by their first word.",
                [({"code": code}, count) for code, count in metrics.codes()])
    page.counter("meilies_slow_commands_total", "Commands that came into the slow log.", metrics.slow_log.count)
    page.histograms("meilies_command_seconds", "Execution of a command other than publish and append.",
                    [({"command": row.name}, row.times) for row in rows if row.name not in ("publish", "append")])
    page.histograms("meilies_commit_seconds",
                    "A batch of publishes, or one with appends, from its write until it is as safe as --sync says.",
                    [({"kind": "publish"}, metrics.commits), ({"kind": "append"}, metrics.append_commits)])


def _disk(page, server):
    store = server.store
    page.histograms("meilies_sync_seconds", "Syncs of the log.", [({}, store.sync_times)])
    page.gauge("meilies_log_bytes", "Bytes of the log.", store.size)
    page.gauge("meilies_log_segments", "Files of the log.", store.segment_count)
    page.gauge("meilies_index_bytes", "Bytes of the files that are made from the log.", store.index_size)
    with contextlib.suppress(OSError):      # a disk that can't be asked: /healthz says so
        page.gauge("meilies_disk_free_bytes", "Bytes that may still be written to its disk.", store.free())


def _process(page, server):
    found = process()
    page.gauge("process_start_time_seconds", "When the process began, in seconds since 1970.", server.began)
    page.counter("process_cpu_seconds_total", "Seconds of the processor.", found.user + found.system)
    page.gauge("process_resident_memory_bytes", "Memory that it has.", found.memory)
    page.gauge("process_open_fds", "Open files and sockets.", found.files)
    page.gauge("process_max_fds", "As many may be open.", found.most)
    page.gauge("meilies_threads", "Threads.", found.threads)
