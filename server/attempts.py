"""How often passwords may be tried: after some failures each next one makes the next try wait longer.

    what is counted              free    because
    ---------------------------  ------  ------------------------------------------
    a user from one address      5       somebody guesses one password
    an address                   20      ... or those of many users
    a user                       100     ... from many addresses

The wait doubles from one second up to a minute, and failures are forgotten when
nothing was tried for a while.  Of a user at an address only the free failures count for
the address and for the user: one client with a wrong password that tries for ever keeps
out itself.  Who logged in from an address before isn't kept out by what others do there,
or do to that user elsewhere; only by his own failures there.

Lock: `_lock` guards the tables; nothing is done under it but that.
"""

import ipaddress
import threading
import time
from collections import OrderedDict

# Failures that cost no wait.
FREE_OF_BOTH, FREE_OF_ADDRESS, FREE_OF_USER = 5, 20, 100
# Seconds: the longest wait, and until failures are forgotten.
LONGEST_WAIT = 60
FORGOTTEN = 900
# Entries of a table; past it those that changed longest ago go.
MOST = 10_000


class TooManyAttempts(Exception):
    """Nothing was looked at, for too much is tried.

    wait   seconds until it may be tried again
    """

    def __init__(self, wait):
        super().__init__(f"too many login attempts, try again in {wait} s; the password was not looked at")
        self.wait = wait


class Attempts:
    """See the top of this file; any thread may call it.

    clock   seconds, going up
    """

    def __init__(self, clock=time.monotonic):
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = OrderedDict()      # what is counted -> (failures, the last one's time)
        self._welcome = OrderedDict()       # (user, address) that logged in -> None

    def admit(self, user, address):
        """Return if a password may be tried.  Raises TooManyAttempts."""
        with self._lock:
            wait = max(self._wait(*one) for one in self._counted(user, network_of(address)))
        if wait > 0:
            raise TooManyAttempts(int(wait) + 1)

    def failed(self, user, address):
        network = network_of(address)
        with self._lock:
            if self._count((user, network)) <= FREE_OF_BOTH:    # from then on he is kept out by himself
                self._count((None, network))
                self._count((user, None))

    def _count(self, key):
        """Count a failure; how many there are."""
        now = self._clock()
        failures, last = self._failures.pop(key, (0, now))
        failures = 1 if now - last > FORGOTTEN else failures + 1
        _remember(self._failures, key, (failures, now))
        return failures

    def succeeded(self, user, address):
        pair = user, network_of(address)
        with self._lock:
            self._failures.pop(pair, None)
            self._welcome.pop(pair, None)
            _remember(self._welcome, pair, None)

    def _counted(self, user, network):
        """[(what is counted, how many failures are free), …] of a try."""
        pair = user, network
        if pair in self._welcome:
            return [(pair, FREE_OF_BOTH)]
        return [(pair, FREE_OF_BOTH), ((None, network), FREE_OF_ADDRESS), ((user, None), FREE_OF_USER)]

    def _wait(self, key, free):
        failures, last = self._failures.get(key, (0, 0.0))
        since = self._clock() - last
        if failures < free or since > FORGOTTEN:
            return 0.0
        return min(LONGEST_WAIT, 2.0 ** min(failures - free, 10)) - since


def _remember(table, key, value):
    table[key] = value
    if len(table) > MOST:
        table.popitem(last=False)


def network_of(peer):
    """What of a peer's address counts as one: an IPv4 address, the first 64 bits of an IPv6 one, or what isn't either.

    peer   "1.2.3.4:5", "[::1]:5", "unix"
    """
    host = peer.rsplit(":", 1)[0].strip("[]").split("%", 1)[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    mapped = getattr(address, "ipv4_mapped", None)
    if mapped or address.version == 4:
        return str(mapped or address)
    return str(ipaddress.ip_network((address, 64), strict=False))
