"""What redis-py and valkey-py do alike, once they have shown how they connect, publish, append, read and follow.

Both raise the same errors and have the same methods, in modules of other names.
"""

import os
import sys
import time

PORT = int(os.environ["PORT"])

_handled = []


def say(*words):
    print("-", *words, flush=True)


def shown(fields):
    """An entry's fields, or an event's name and data, as the lines have them."""
    return " ".join(f"{name.decode()}={data.decode()}" for name, data in dict(fields).items())


def handle(fields):
    """What a program does with an event."""
    say("xread", shown(fields))
    _handled.append(fields)


def done():
    return len(_handled) == 3


def the_rest(module, make, events):
    """All other steps.

    module   redis or valkey
    make     its class of clients
    events   what `read` has answered
    """
    r = make(port=PORT)
    say("read", shown((name, data) for _, _, _, _, name, data, *_ in events))
    patterns(r)
    channels(make)
    message(r)
    group(r)
    takeover(r)
    together(module, r)
    outage(module, r)
    secure(make)


def patterns(r):
    with r.pubsub() as pubsub:
        pubsub.psubscribe("ord*")
        first_message(pubsub, "psubscribe", "psubscribed")
        message = first_message(pubsub, "pmessage")
    say("psubscribe", message["channel"].decode(), message["data"].decode())


def channels(make):
    with make(port=PORT, db=1).pubsub() as pubsub:
        pubsub.subscribe("orders")
        first_message(pubsub, "subscribe", "subscribed")
        message = first_message(pubsub, "message")
    say("subscribe", message["channel"].decode(), message["data"].decode())


def first_message(pubsub, kind, line=None):
    for message in pubsub.listen():
        if message["type"] == kind:
            if line:
                say(line)
            return message


def message(r):
    """One that nobody listens for, and that is kept all the same."""
    say("published", r.publish("news:1", "hello"), *(shown(fields) for _, fields in r.xrange("news:1")))


def group(r):
    say("xadd", r.xadd("orders", {"closed": "six"}).decode().partition("-")[2])
    r.xgroup_create("orders", "billing", "0")
    [[_, entries]] = r.xreadgroup("billing", "ann", {"orders": ">"}, count=2)
    say("xreadgroup", *(shown(fields) for _, fields in entries))
    say("xack", r.xack("orders", "billing", *(id_ for id_, _ in entries)))
    say("xpending", r.xpending("orders", "billing")["pending"])


def takeover(r):
    """Bob takes what ann was given and didn't finish, and an operator sees that."""
    r.xreadgroup("billing", "ann", {"orders": ">"}, count=1)
    _, entries, *_ = r.xautoclaim("orders", "billing", "bob", 0)
    say("xautoclaim", *(shown(fields) for _, fields in entries))
    [waiting] = r.xpending_range("orders", "billing", "-", "+", 10)
    say("waits for", waiting["consumer"].decode(), waiting["times_delivered"])
    [group] = r.xinfo_groups("orders")
    consumers = [consumer["name"].decode() for consumer in r.xinfo_consumers("orders", "billing")]
    say("xinfo", r.xinfo_stream("orders")["length"], group["name"].decode(), group["pending"], *consumers)


def together(module, r):
    """A pipeline, and what is stored as a whole or not at all."""
    with r.pipeline(transaction=False) as pipeline:
        for number in range(100):
            pipeline.xadd("batch:1", {"counted": number})
        say("pipelined", len(pipeline.execute()), "stored", r.xlen("batch:1"))
    with r.pipeline() as transaction:
        say("multi", len(transaction.xadd("pair", {"debited": "1"}).xadd("pair", {"credited": "1"}).execute()))
    try:
        with r.pipeline() as transaction:
            transaction.xadd("pair", {"debited": "2"}).xlen("pair").execute()
    except module.RedisError:
        say("multi refused", r.xlen("pair"))


def outage(module, r):
    """The same client and the same subscription go on."""
    pubsub = r.pubsub()
    pubsub.psubscribe("ord*")
    first_message(pubsub, "psubscribe")
    say("ready for an outage")
    sys.stdin.readline()
    tried_again(module, r.ping)
    say("reconnected")
    message = tried_again(module, lambda: first_message(pubsub, "pmessage"))
    say("psubscribe", message["channel"].decode(), message["data"].decode())


def tried_again(module, ask):
    """What `ask()` returns once the server is there."""
    while True:
        try:
            return ask()
        except module.ConnectionError:
            time.sleep(0.05)


def secure(make):
    r = make(port=int(os.environ["TLS_PORT"]), username="ann", password="correct horse", ssl=True,
             ssl_ca_certs=os.environ["CA"])
    say("secure", r.execute_command("acl", "whoami").decode())
