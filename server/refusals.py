"""Commands of Redis that this server hasn't, with what to use instead.

    SET a 1  ──>  ERR unknown command 'SET': there are streams of events here, and no values; XADD or publish stores …

They aren't in the table, so no client takes them to be there.
"""

import resp

from .text import printable

_VALUES = ("there are streams of events here, and no values that are changed; XADD, publish or append stores an event, "
           "XRANGE or read gives events, and snapshot-put keeps what was made of them")
_EXPIRING = "a key has no time to live; `retain stream NAME MAX-AGE seconds` says how long a stream keeps its events"
_NAMED = "a stream keeps its name; its events can be read and appended to another one (`meilies_cli.py migrate`)"
_MOVED = "a key isn't moved as a whole; `export` and `import`, or `meilies_cli.py migrate`, take events elsewhere"
_EMPTIED = "all streams aren't deleted at once; DEL or `delete` deletes one, for those who may"
_SAVED = "all that was acknowledged is on disk as --sync says; `backup NAME` makes a copy of the store"
_SCRIPTS = ("there are no scripts; `append` stores events only where their streams are as expected, and MULTI ... EXEC "
            "all or none")
_ALONE = "this server has no replicas and is none; `backup`, or a reader that follows $all, makes a copy"

_REASONS = {
    _VALUES: """
        bitcount bitfield bitfield_ro bitop bitpos blmove blmpop blpop brpop brpoplpush bzmpop bzpopmax
        bzpopmin decr decrby geoadd geodist geohash geopos georadius georadius_ro georadiusbymember
        georadiusbymember_ro geosearch geosearchstore get getbit getdel getex getrange getset hdel hexists hget hgetall
        hincrby hincrbyfloat hkeys hlen hmget hmset hrandfield hscan hset hsetnx hstrlen hvals incr incrby incrbyfloat
        lcs lindex linsert llen lmove lmpop lpop lpos lpush lpushx lrange lrem lset ltrim mget mset msetnx pfadd pfcount
        pfdebug pfmerge pfselftest psetex rpop rpoplpush rpush rpushx sadd scard sdiff sdiffstore set setbit setex setnx
        setrange sinter sintercard sinterstore sismember smembers smismember smove sort sort_ro spop srandmember srem
        sscan strlen substr sunion sunionstore zadd zcard zcount zdiff zdiffstore zincrby zinter zintercard zinterstore
        zlexcount zmpop zmscore zpopmax zpopmin zrandmember zrange zrangebylex zrangebyscore zrangestore zrank zrem
        zremrangebylex zremrangebyrank zremrangebyscore zrevrange zrevrangebylex zrevrangebyscore zrevrank zscan zscore
        zunion zunionstore""",
    _EXPIRING: "expire expireat pexpire pexpireat",
    _NAMED: "rename renamenx",
    _MOVED: "copy dump migrate move restore restore-asking",
    _EMPTIED: "flushall flushdb swapdb",
    _SAVED: "bgrewriteaof bgsave save",
    _SCRIPTS: "eval eval_ro evalsha evalsha_ro fcall fcall_ro function script",
    _ALONE: "failover psync replconf replicaof slaveof sync",
    "the process is ended by SIGTERM, or by whoever started it (`systemctl stop`)": "shutdown",
    "a channel of one shard is no other here; SUBSCRIBE, PSUBSCRIBE and PUBLISH have all of them":
        "spublish ssubscribe sunsubscribe",
}
# In Redis's words, by which clients know what kind of server this is.
_IN_REDIS_WORDS = {
    "ERR This instance has cluster support disabled": "asking cluster readonly readwrite",
    "ERR DEBUG command not allowed. There is none; INFO, `check` and SLOWLOG say what is known of a running server":
        "debug",
}

_TEXTS = {name: reason for reason, names in _REASONS.items() for name in names.split()}
_WHOLE_TEXTS = {name: text for text, names in _IN_REDIS_WORDS.items() for name in names.split()}


def refusal(name):
    """The reply to a command of Redis (bytes, in any case) that is refused by name; None for any other."""
    word = name.lower().decode("latin-1")
    if word in _WHOLE_TEXTS:
        return resp.error(_WHOLE_TEXTS[word])
    if word in _TEXTS:
        return resp.error(f"ERR unknown command '{printable(name)}': {_TEXTS[word]}")
    return None


def refused():
    """The names of all commands that are refused by name, sorted."""
    return sorted([*_TEXTS, *_WHOLE_TEXTS])
