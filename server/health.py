"""Whether the server can do what it is there for: what /healthz says, and whoever watches it acts on."""

import threading

# Seconds that the poller's loop may take to come round.
PATIENCE = 2.0
# Bytes below which a disk is full.
ROOM = 1 << 20


def problem(server):
    """Why events can't be published or read now, or "".  Not for the poller's thread: it waits for that.

    server   the Poller
    """
    if server.stopping:
        return "the server stops"
    store = server.store
    if store.failed is not None:
        return str(store.failed)
    try:
        free = store.free()
    except OSError as error:
        return f"the disk can't be asked: {error.strerror}"
    if free < ROOM:
        return f"the disk is full: {free} bytes are left"
    turned = threading.Event()
    server.call_soon(turned.set)
    if not turned.wait(PATIENCE) and not server.stopping:
        return f"clients haven't been served for {PATIENCE:g} seconds"
    return ""
