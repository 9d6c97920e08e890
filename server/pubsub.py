"""The commands of Redis's pub/sub; what they subscribe to are streams, from their next event on.

    publish, append, XADD ──> stream ──> who subscribes to its key, or to a pattern that it matches

SUBSCRIBE and UNSUBSCRIBE are these in database 1 alone; in 0 they are MeiliES's, see following.py.
"""

import resp

from .channels import CHANNEL, PATTERN, acknowledgement, glob_of, parse_channel, parse_pattern, touched
from .follower import Follower
from .following import begin, end
from .keys import stream_of
from .table import COMMANDS, MAX_NUMBER, REDIS_COMMANDS, CommandError, command, help_of
from .text import printable
from .users import READ


def _reads_channels(server, arguments):
    return [("read", "stream", stream_of(channel)) for channel in arguments[1:]]


def _reads_patterns(server, arguments):
    return [("read", *touched((PATTERN, pattern))) for pattern in arguments[1:]]


@command("subscribe", -2, "channel [channel ...]", "Get the data of events that come to the streams of these keys",
         READ, _reads_channels, slow=True, table=REDIS_COMMANDS)
def subscribe(server, connection, arguments):
    return _listen(server, connection, [parse_channel(one) for one in arguments[1:]])


@command("psubscribe", -2, "pattern [pattern ...]",
         "Get the data of events that come to the streams of keys that match these patterns", READ, _reads_patterns,
         slow=True)
def psubscribe(server, connection, arguments):
    return _listen(server, connection, [parse_pattern(one) for one in arguments[1:]])


def _listen(server, connection, wanted):
    """Subscribe to each of (selector, form, stream), which were looked at, or say once more that it is so."""
    followers = [(Follower(connection, selector, MAX_NUMBER + 1, form._replace(push=connection.protocol == 3)),
                  stream, None) for selector, form, stream in wanted]
    return begin(server, connection, followers)


@command("unsubscribe", -1, "[channel [channel ...]]", "End what SUBSCRIBE began, of these channels or of all", "",
         table=REDIS_COMMANDS)
def unsubscribe(server, connection, arguments):
    return _listen_no_more(server, connection, CHANNEL, arguments[1:])


@command("punsubscribe", -1, "[pattern [pattern ...]]", "End what PSUBSCRIBE began, of these patterns or of all", "")
def punsubscribe(server, connection, arguments):
    return _listen_no_more(server, connection, PATTERN, arguments[1:])


def _listen_no_more(server, connection, kind, keys):
    selectors = [(kind, key) for key in keys]
    if not keys:
        selectors = [selector for selector in connection.subscriptions if selector[0] == kind]
    if not selectors:
        return acknowledgement(connection, b"unsubscribe", (kind, None))
    return b"".join([end(server, connection, selector) for selector in selectors])


# -- who subscribes -------------------------------------------------------------

def _seen(server, arguments):
    """Whom one may ask about is whom one may read; of CHANNELS the others are left out."""
    if arguments[1].lower() != b"numsub":
        return []
    return [("read", "stream", stream_of(channel)) for channel in arguments[2:]]


@command("pubsub", -2, "CHANNELS [pattern] | NUMSUB [channel [channel ...]] | NUMPAT | HELP",
         "Who subscribes to channels and patterns", READ, _seen, slow=True)
def pubsub(server, connection, arguments):
    word = arguments[1].lower()
    handler, least, most = _PUBSUB.get(word, (None, 0, 0))
    if handler is None:
        raise CommandError(f"ERR unknown subcommand '{printable(arguments[1])}'. Try PUBSUB HELP.")
    if not least <= len(arguments) - 2 <= most:
        raise CommandError(f"ERR unknown subcommand or wrong number of arguments for '{word.decode()}'. "
                           f"Try PUBSUB HELP.")
    return handler(server, connection, arguments[2:])


def _channels(server, connection, arguments):
    glob = glob_of(arguments[0] if arguments else b"*")
    user = connection.user
    return resp.array([resp.bulk(channel) for channel in server.feeds.channels.names()
                       if glob.matches(channel) and user.may_see(stream_of(channel))])


def _numsub(server, connection, arguments):
    count = server.feeds.channels.subscribers
    return resp.array([part for one in arguments for part in (resp.bulk(one), resp.integer(count(one)))])


def _numpat(server, connection, arguments):
    return resp.integer(server.feeds.channels.patterns)


def _no_shards(server, connection, arguments):
    return resp.array([part for one in arguments for part in (resp.bulk(one), resp.integer(0))])


def _help(server, connection, arguments):
    return help_of("pubsub", COMMANDS[b"pubsub"].usage)


_PUBSUB = {     # subcommand -> (handler, least and most arguments behind it)
    b"channels": (_channels, 0, 1),
    b"numsub": (_numsub, 0, MAX_NUMBER),
    b"numpat": (_numpat, 0, 0),
    b"shardchannels": (_no_shards, 0, 0),
    b"shardnumsub": (_no_shards, 0, MAX_NUMBER),
    b"help": (_help, 0, 0),
}
