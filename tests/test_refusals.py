"""Commands of Redis that are refused by name (server/refusals.py)."""

import pytest

from server.commands import COMMANDS
from server.refusals import refused


def test_nothing_is_both_there_and_refused():
    assert not set(refused()) & {name.decode() for name in COMMANDS}


@pytest.mark.parametrize("request_, text", [
    ("SET a 1", "ERR unknown command 'SET': there are streams of events here, and no values"),
    ("expire a 10", "ERR unknown command 'expire': a key has no time to live; `retain"),
    ("rename a b", "ERR unknown command 'rename': a stream keeps its name"),
    ("FlushAll", "ERR unknown command 'FlushAll': all streams aren't deleted at once"),
    ("bgsave", "ERR unknown command 'bgsave': all that was acknowledged is on disk"),
    ("eval x 0", "ERR unknown command 'eval': there are no scripts"),
    ("replicaof no one", "ERR unknown command 'replicaof': this server has no replicas"),
    ("shutdown", "ERR unknown command 'shutdown': the process is ended by SIGTERM"),
    ("cluster info", "ERR This instance has cluster support disabled"),
    ("debug sleep 10", "ERR DEBUG command not allowed."),
])
def test_a_command_of_redis_is_refused_with_the_reason_and_what_to_use(client, request_, text):
    assert client.error(*request_.split()).startswith(text)
    assert client.ask("ping") == b"PONG"


def test_each_is_refused_and_none_ends_the_connection(client):
    for name in refused():
        assert client.error(name)
    assert client.ask("dbsize") == 0
