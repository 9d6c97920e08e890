"""The same calls to this server and to Redis's own, reply by reply.

    scenes.py        what is called, and which replies are known to differ
    differences.py   why they do
    redis.py         a redis-server for a test
    wire.py          replies as they stand on the wire, and how they are shown
    table.py         what docs/redis.md says of all this; `make alike` writes it
    playing.py       a scene on both sides: calls out, replies in, times and names made the same

A reply that differs and isn't listed fails a test, and so does one that is listed and doesn't differ.
"""
