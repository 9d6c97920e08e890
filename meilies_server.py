#!/usr/bin/env python3
"""The server: options, listening sockets, a store, and what serves one with the other.

    python3 meilies_server.py --db-path my-db
    python3 meilies_server.py check --db-path my-db       see server/upkeep.py

    options ──> Store ──> EventServer (socketserver) ──> Poller ──> until a signal
                                                           '──> Vigil, systemd
"""

import logging
import os
import signal
import socketserver
import sys

from server import __version__, accounts, completing, logs, options, upkeep
from server.console import console_of
from server.exposition import metrics_server
from server.handshakes import Handshakes, at_once
from server.listening import listen
from server.poller import Poller
from server.settings import affordable
from server.systemd import Notifier
from server.text import shown_address
from server.tls import Certificates
from server.users import Users, UsersError
from server.vigil import Heartbeat
from store import Store, StoreError

log = logging.getLogger("meilies.server")

# Of the memory that was freed, twice so many bytes wait to be used again.
REUSED = 16 << 20


class EventServer(socketserver.ThreadingTCPServer):
    """A ThreadingTCPServer whose connections are parked until they have something to say.

    `serve_forever` is the poller's loop in place of one that only accepts, and
    `shutdown` may be called in any thread and from a signal handler.
    """

    def __init__(self, listeners, store, limits, tick, users=None, certificates=None):
        self.listeners = listeners
        super().__init__(None, RequestHandlerClass=None, bind_and_activate=False)
        self.socket.close()     # the one that it would have bound
        self.poller = Poller([one.socket for one in listeners if not one.tls], store, limits, tick, users)
        self.poller.port = next((listener.port for listener in listeners if listener.port), 0)
        encrypted = [one.socket for one in listeners if one.tls]
        self.handshakes = Handshakes(encrypted, certificates, self.poller.adopt,
                                     at_once(limits.max_connections)) if encrypted else None

    def serve_forever(self, poll_interval=None):
        if self.handshakes is not None:
            self.handshakes.start()
        self.poller.run()

    def shutdown(self):
        self.poller.stop()

    def server_close(self):
        if self.handshakes is not None:
            self.handshakes.stop()
        for listener in self.listeners:
            listener.close()
        super().server_close()


def keep_freed_memory():
    """Have glibc's malloc keep what is freed for what is allocated next.

    Otherwise it gives it back and asks for it again, and a fault for each page
    costs more than all copies of a long event: those of 70 KB took twice as much
    of the processor.  It takes the largest block that was ever freed for what is
    usual (mallopt(3), M_MMAP_THRESHOLD).  This one is never touched, so it takes
    no memory.  To other allocators it is nothing.
    """
    bytes(REUSED)


def main(argv=None, environ=os.environ):
    """Run the server, or the command that comes first; return the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] == "user":
        return accounts.run(argv[1:], environ)
    if argv and argv[0] in options.UPKEEP:
        return upkeep.run(argv[0], argv[1:], environ)
    if argv and argv[0] == options.COMPLETION:
        return completing.run(argv[1:])
    keep_freed_memory()
    chosen = options.parse(argv, environ)
    try:
        file = logs.begin(chosen.log_level, chosen.log_file)
        for warning in chosen.warnings:
            log.warning("%s", warning)
        try:
            return serve(chosen, environ, [file.reopen] if file else [])
        finally:
            logs.end(file)
    except (StoreError, UsersError, OSError) as error:
        print(f"meilies-server: {_explained(error)}", file=sys.stderr)
        return 1


def serve(chosen, environ, at_hangup=()):
    """Open the store and serve it until SIGTERM or SIGINT; return the exit code.

    at_hangup   functions to be called at SIGHUP, besides those that are found here: see _Errands
    """
    certificates = _certificates(chosen)
    wanted, chosen.max_connections = chosen.max_connections, affordable(chosen.max_connections, chosen)
    if chosen.max_connections < wanted:
        log.warning("the system doesn't allow more open files, so no more than %d connections are",
                    chosen.max_connections)
    notifier = Notifier(environ)
    heartbeat = None if chosen.no_vigil else Heartbeat(environ)
    stop = _Stop()      # from here on a signal is remembered, however early it comes
    hangup = _Errands(signal.SIGHUP, *at_hangup)
    debug = _Errands(signal.SIGUSR1, lambda: logs.toggle_debug(chosen.log_level))
    users = Users(chosen.users or None)
    with Store(chosen.db_path, chosen.sync, chosen.compression_factor, chosen.segment_size,
               hash_chain=chosen.hash_chain, replay_memory=chosen.replay_memory,
               recent_memory=chosen.recent_memory) as store:
        server = EventServer(listen(chosen, environ, certificates is not None), store, chosen, notifier.tick, users,
                             certificates)
        metrics = console = None
        try:
            if store.has_groups:
                store.groups()      # so that their lag is known before somebody asks for one
            metrics = metrics_server(server.poller, chosen)
            console = console_of(server.poller, chosen, certificates and (lambda: certificates.context))
            # A signal just before the poller waits would be handled only after the wait; this ends it.
            signal.set_wakeup_fd(server.poller.wake_descriptor, warn_on_full_buffer=False)
            stop.when_asked(server.shutdown)
            if users.required:
                hangup.functions.append(users.reload_and_log)
            if certificates:
                hangup.functions.append(certificates.read_again)
            hangup.give_to(server.poller.workers)
            debug.give_to(server.poller.workers)
            log.info("version %s, store %s, epoch %d, %d events in %d streams", __version__, store.uuid,
                     store.epoch, store.position, store.stream_count())
            print("".join(f"server is listening on {listener}\n" for listener in server.listeners), end="", flush=True)
            if console:
                console.start()
                print(f"console is at {console.url}", flush=True)
            notifier.ready(f"listening on {', '.join(map(str, server.listeners))}")
            if heartbeat:
                heartbeat.start()
            if metrics:
                metrics.start()
                log.info("metrics at http://%s/metrics", shown_address((chosen.metrics_hostname, metrics.port)))
            server.serve_forever()
        finally:
            notifier.stopping()
            if heartbeat:
                heartbeat.stop()
            if metrics:
                metrics.stop()
            if console:
                console.stop()
            server.server_close()
            store.close()
    log.info("stopped; all is on disk")
    return 0


class _Stop:
    """SIGTERM and SIGINT, which may come before there is anything to stop."""

    def __init__(self):
        self._asked = False
        self._function = None
        signal.signal(signal.SIGTERM, self._handle)
        signal.signal(signal.SIGINT, self._handle)

    def _handle(self, number, frame):
        # In the main thread, between any two of its steps: no lock, no log.
        if not self._asked:
            self._asked = True
            self._call()

    def when_asked(self, function):
        """Call `function`, now if the signal has come already."""
        self._function = function
        if self._asked:
            self._call()

    def _call(self):
        if self._function:
            signal.set_wakeup_fd(-1)        # the descriptor is about to be closed
            self._function()


class _Errands:
    """What is done at a signal.  At SIGHUP, what was read from files is read again.

    functions   each is called in a worker; it logs its own errors
    """

    def __init__(self, number, *functions):
        self.functions = list(functions)
        self._workers = None
        signal.signal(number, self._handle)

    def give_to(self, workers):
        """From now on there is somebody to do it."""
        self._workers = workers

    def _handle(self, number, frame):
        # In the main thread, between any two of its steps; a SimpleQueue's put is made for that.
        if self._workers is not None:
            for function in self.functions:
                self._workers.put(function)


def _certificates(chosen):
    """What the server shows to those who speak TLS; None if nobody can."""
    if not chosen.tls_certificate:
        return None
    return Certificates(chosen.tls_certificate, chosen.tls_key or None, chosen.tls_client_ca or None,
                        chosen.tls_clients == "required")


def _explained(error):
    """An error as one line for whoever started the server."""
    if isinstance(error, OSError) and error.strerror:
        name = f"{error.filename}: " if error.filename else ""
        return f"not started: {name}{error.strerror}"
    return str(error)


if __name__ == "__main__":
    sys.exit(main())
