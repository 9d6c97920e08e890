"""redis-py, with the settings that it has by default."""

from rest import PORT, done, handle, the_rest

# [paste
import redis

r = redis.Redis(port=PORT)
r.execute_command("publish", "orders", "created", "one")
r.execute_command("append", "orders", "0", "paid", "two", "", "")       # if event 0 is its last one
next_number, events = r.execute_command("read", "stream", "orders", "0", "100")     # from 0 on, at most 100
print(events)

last = "0"                                                              # "$": what comes from now on
while True:
    for _, entries in r.xread({"orders": last}, block=1000):            # less than its socket_timeout, 5 s
        for last, fields in entries:
            print(last, fields)                                         # b'1790000000000-0' {b'created': b'one'}
            handle(fields)  # [test]
    if done():  # [test]
        break  # [test]
# paste]

the_rest(redis, redis.Redis, events)
