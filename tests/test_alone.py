"""What a server that stands alone says of others (server/alone.py)."""

import time

import pytest

from server import __version__


def test_there_are_no_replicas_and_none_is_waited_for(serving, client):
    serving.store.append("s", "x", b"")
    assert client.ask("role") == [b"master", 1, []]
    assert client.ask("wait", 3, 10 ** 9) == 0
    assert client.error("wait", "x", 0).startswith("ERR the number is 'x'")


def test_there_are_no_modules(client):
    assert client.ask("module", "LIST") == []
    assert b"LIST" in client.ask("module", "help")
    assert client.error("module", "load", "x") == "ERR unknown subcommand 'load'. Try MODULE HELP."


def test_what_was_saved_is_what_is_on_disk(serving, client):
    serving.store.sync()
    assert abs(client.ask("lastsave") - time.time()) < 60
    serving.poller.began = 1000
    serving.store.append("s", "x", b"")     # nobody syncs
    assert client.ask("lastsave") == 1000


@pytest.mark.parametrize("version", [[], ["version", 6]])
def test_art_says_which_version_this_is(client, version):
    assert client.ask("lolwut", *version) == f"MeiliES ver. {__version__}\n".encode()
