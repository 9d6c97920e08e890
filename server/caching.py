"""CLIENT TRACKING: what clients that keep copies of keys ask for, and are told that they can't have.

    TRACKING ON OPTIN ──> OK             nothing is copied but what CACHING YES announced,
    CACHING YES       ──> an error       which never succeeds: so no copy can be out of date

Some clients begin with the first and use the second only for what their programs want
copied.  All other ways of tracking promise to say when any key changes that was read.
That isn't done here, so they are refused.
"""

import resp

from .table import OK, CommandError
from .text import printable

TRACKING = "TRACKING ON|OFF [REDIRECT id] [PREFIX prefix [PREFIX prefix ...]] [BCAST] [OPTIN] [OPTOUT] [NOLOOP]"

# Why CLIENT CACHING and most of TRACKING are refused.
WHY = "this server doesn't say when a key that was read has changed"


def tracking(server, connection, arguments):
    """CLIENT TRACKING, without the two words."""
    switch, options = arguments[0].upper(), {option.upper() for option in arguments[1:]}
    if switch == b"OFF" and not options:
        connection.tracking = ()
        return OK
    if switch not in (b"ON", b"OFF"):
        raise CommandError(f"ERR syntax error, found '{printable(arguments[0])}', expected ON or OFF")
    if b"OPTIN" not in options or options - {b"OPTIN", b"NOLOOP"}:
        raise CommandError(f"ERR CLIENT TRACKING isn't supported but for ON OPTIN: {WHY}")
    if switch == b"ON":
        connection.tracking = ("optin", "noloop") if b"NOLOOP" in options else ("optin",)
    return OK


def getredir(server, connection, arguments):
    return resp.integer(0 if connection.tracking else -1)


def trackinginfo(server, connection, arguments):
    flags = ["on", *connection.tracking] if connection.tracking else ["off"]
    return resp.mapping([
        (resp.bulk(b"flags"), resp.members([resp.bulk(flag.encode()) for flag in flags], connection.protocol)),
        (resp.bulk(b"redirect"), getredir(server, connection, arguments)),
        (resp.bulk(b"prefixes"), resp.array([]))], connection.protocol)
