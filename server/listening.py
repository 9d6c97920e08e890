"""Where the server listens.

    --hostname, --port        TCP     one address
    --hostname, --tls-port    TLS     the same, encrypted; see tls.py
    --unix-socket             Unix    a file that its owner alone can connect to
    LISTEN_FDS                any     sockets that systemd opened, and then no others

A Unix socket's file stays behind when its server dies.  Whether one does is told by
connecting to it: refused, nobody listens, and the file makes room.  A file that isn't
a socket is never touched.
"""

import errno
import os
import socket
import stat

from .options import is_loopback
from .text import shown_address

# Connections that the system keeps until they are accepted; it cuts this to what it allows.
_BACKLOG = 4096
# A peer whose machine is gone says nothing.  After so many seconds of silence the system asks it, then
# each so many seconds, so many times.
_PROBES = (("TCP_KEEPIDLE", 300), ("TCP_KEEPINTVL", 60), ("TCP_KEEPCNT", 3))
# The first descriptor that systemd passes on.
_FIRST_FD = 3
# What FileDescriptorName= calls a socket whose clients speak TLS.
TLS = "tls"


class Listener:
    """A listening socket.

    tls    its clients speak TLS
    path   the file to remove in the end, of a Unix socket that is our own
    """

    def __init__(self, sock, tls=False, path=None):
        self.socket = sock
        self.tls = tls
        _notice_dead_peers(sock)
        self._path = path
        self._file = path and _file_of(path)

    @property
    def port(self):
        """The port's number; None for a Unix socket."""
        address = self.socket.getsockname()
        return address[1] if isinstance(address, tuple) else None

    def __str__(self):
        address = self.socket.getsockname()
        if isinstance(address, tuple):
            return shown_address(address) + (" over TLS" if self.tls else "")
        return os.fsdecode(address).replace("\0", "@", 1)

    def close(self):
        """Listen no more.  Closing twice is nothing."""
        self.socket.close()
        if self._path is not None and self._file == _file_of(self._path):   # else another server's by now
            os.unlink(self._path)
        self._path = None


def listen(chosen, environ, speaks_tls=True):
    """The Listeners that the options ask for, or those that systemd holds for this process.

    speaks_tls   whether there is a certificate, without which a socket for TLS is no use
    Raises       OSError   an address that can't be had; it is named
    """
    listeners = passed_on(environ)
    if any(one.tls for one in listeners) and not speaks_tls:
        raise OSError(errno.EINVAL, "TLS takes a certificate, expected --tls-certificate", "socket 'tls' of systemd")
    if listeners:
        _refuse_strangers(listeners, chosen)
        return listeners
    try:
        if chosen.port is not None:
            listeners.append(on_tcp(chosen.hostname, chosen.port))
        if chosen.tls_port is not None:
            listeners.append(on_tcp(chosen.hostname, chosen.tls_port, tls=True))
        if chosen.unix_socket:
            listeners.append(at_path(chosen.unix_socket))
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    if not listeners:
        raise OSError(errno.EINVAL, "there is nothing to listen on: expected a --port, --tls-port or --unix-socket")
    return listeners


def _refuse_strangers(listeners, chosen):
    """Raise OSError if others' machines reach a socket of systemd's, and clients aren't asked who they are.

    For sockets of our own the options are looked at before.
    """
    for listener in listeners:
        host = listener.socket.getsockname()[0] if listener.port is not None else None
        if host is not None and not (chosen.users or chosen.allow_anyone or is_loopback(host)):
            raise OSError(errno.EINVAL, "other machines can reach it, and clients aren't asked who they are: expected "
                          "--users, or --allow-anyone as well", f"socket {listener} of systemd")


def on_tcp(host, port, tls=False):
    """Listen on the first address that `host` has; port 0 is a free one."""
    family, _, _, _, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM,
                                                  flags=socket.AI_PASSIVE)[0]
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise OSError(error.errno, error.strerror, shown_address(address)) from None
    return Listener(sock, tls)


def at_path(path):
    """Listen at a Unix socket that this process's user alone can connect to."""
    _make_room(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
        os.chmod(path, 0o600)       # before it listens: until then nobody can connect
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise OSError(error.errno, error.strerror, path) from None
    return Listener(sock, path=path)


def _make_room(path):
    """Remove the file of a Unix socket on which nobody listens any more."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EEXIST, "found something that isn't a socket, it is left as it is", path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:
            pass        # so many wait to be accepted that there is no room for one more
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from None
    raise OSError(errno.EADDRINUSE, "another server listens there", path)


def _notice_dead_peers(listener):
    """The sockets that it accepts inherit this."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _PROBES:
        if listener.family != socket.AF_UNIX and hasattr(socket, option):
            listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def _file_of(path):
    """What tells a file from another that has its name later; None if it is gone."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


# -- sockets from systemd (sd_listen_fds(3)) ------------------------------------

def passed_on(environ):
    """The Listeners that systemd opened for this process; none if it didn't.

    Raises    OSError   what it passed on isn't a listening stream socket
    """
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = environ.get("LISTEN_FDS", "")
    if not (count.isascii() and count.isdigit() and len(count) < 5):
        raise OSError(errno.EINVAL, f"found {count!r}, expected how many sockets are passed on", "LISTEN_FDS")
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    names += [""] * (int(count) - len(names))
    return [_taken(_FIRST_FD + i, name) for i, name in zip(range(int(count)), names)]


def _taken(fd, name):
    place = f"descriptor {fd}, passed on by systemd"
    try:
        sock = socket.socket(fileno=fd)
    except OSError as error:
        raise OSError(error.errno, error.strerror, place) from None
    if sock.type != socket.SOCK_STREAM or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        sock.close()
        raise OSError(errno.EINVAL, "expected a listening stream socket, such as ListenStream= makes", place)
    sock.set_inheritable(False)
    return Listener(sock, tls=name == TLS)
