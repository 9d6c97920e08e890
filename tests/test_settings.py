"""CONFIG GET and CONFIG SET: what is set, and what may be changed while the server runs."""

import logging
import types

import pytest
from serving import OK, publish

from server import settings
from server.poller import RECEIVE


@pytest.fixture
def log_level():
    """The root's level is as it was afterwards."""
    level = logging.getLogger().level
    yield
    logging.getLogger().setLevel(level)


def setting(client, name):
    [found, value] = client.ask("config", "get", name)
    assert found == name.encode()
    return value.decode()


# -- get ------------------------------------------------------------------------

def test_every_option_can_be_asked_for(serving, client):
    found = client.ask("config", "get", "*")
    names = {name.decode(): value.decode() for name, value in zip(found[::2], found[1::2])}
    assert names["appendfsync"] == "no"
    assert (names["metrics-port"], names["allow-anyone"], names["port"]) == ("none", "no", str(serving.port))
    assert names["db-path"] == names["dir"] == serving.store.path
    assert {name.replace("_", "-") for name in vars(serving.limits)} - {"warnings"} <= set(names)


# -- set ------------------------------------------------------------------------

def test_what_is_set_is_what_is_shown_and_counts_at_once(serving, client):
    assert client.ask("config", "set", "max-subscriptions", "1") == b"OK"
    assert setting(client, "max-subscriptions") == "1"
    assert client.error("subscribe", "a", "b").startswith("ERR 2 subscriptions, expected no more than 1")
    assert client.ask("CONFIG", "SET", "Max-Pending-Output", "64K", "max_metadata_size", "0") == b"OK"
    assert (setting(client, "max-pending-output"), setting(client, "max-metadata-size")) == ("65536", "0")
    assert client.error("append", "s", "any", "x", "d", "", "m")


def test_fewer_connections_may_be_allowed_than_there_are(serving, client):
    assert client.ask("config", "set", "maxclients", "1") == b"OK"
    assert (setting(client, "maxclients"), setting(client, "max-connections")) == ("1", "1")
    other = serving.connect()
    assert other.value().args[0] == "ERR max number of clients reached"
    assert client.ask("ping") == b"PONG"


def test_more_connections_than_descriptors_are_refused(client, monkeypatch):
    limits = Limits(1024, 1024)
    monkeypatch.setattr(settings, "resource", limits)
    text = client.error("config", "set", "max-connections", "5000")
    assert text == "ERR CONFIG SET failed - 'max-connections': the operating system allows no more than 960"
    assert setting(client, "max-connections") == "10000"


def test_less_is_received_at_once_and_everything_still_arrives(serving, client):
    assert client.ask("config", "set", "max-pending-input", "1K") == b"OK"
    client.send(publish("s", "d" * 10_000) * 30)
    client.recv_exactly(OK * 30)
    assert client.ask("config", "set", "max-pending-input", "1M") == b"OK"
    assert len(serving.poller._input) == RECEIVE
    client.send(publish("s", "d" * 1_000_000))
    client.recv_exactly(OK)


def test_the_log_has_the_level_that_is_set(client, log_level, caplog):
    assert client.ask("config", "set", "log-level", "ERROR") == b"OK"
    assert (logging.getLogger().level, setting(client, "log-level")) == (logging.ERROR, "error")


def test_of_several_settings_all_are_changed_or_none(serving, client):
    assert client.error("config", "set", "max-subscriptions", "7", "slowlog-max-len", "x")
    assert client.error("config", "set", "max-subscriptions", "7", "max-subscriptions", "8") == (
        "ERR CONFIG SET failed - duplicate parameter 'max-subscriptions'")
    assert setting(client, "max-subscriptions") == "20000"


@pytest.mark.parametrize("arguments, why", [
    (["sync", "no"], "'sync': it can't be changed while the server runs; what can be: log-level, "),
    (["save", ""], "'save': it can't be changed while the server runs"),
    (["nonsense", "1"], "'nonsense': there is no such setting"),
    (["max-connections", "0"], "'max-connections': found '0', expected a number from 1 to 1000000"),
    (["max-connections", "-1"], "'max-connections': found '-1', expected a number"),
    (["slowlog-log-slower-than", "-2"], "'slowlog-log-slower-than': found '-2', expected a number from 0 to 10"),
    (["log-level", "loud"], "'log-level': found 'loud', expected debug, info, warning or error"),
    (["log-level", b"\xff\r\n"], "'log-level': found '"), (["max-pending-output", "9" * 500], "found '999")])
def test_what_cannot_be_set_is_refused_with_the_reason(client, arguments, why):
    text = client.error("config", "set", *arguments)
    assert text.startswith("ERR CONFIG SET failed - ") and why in text


@pytest.mark.parametrize("arguments", [["set"], ["set", "log-level"], ["set", "log-level", "info", "port"], ["get"]])
def test_a_setting_without_its_value_is_refused_with_the_usage(client, arguments):
    assert client.error("config", *arguments) == (
        f"ERR wrong number of arguments for 'config|{arguments[0]}' command; usage: config GET pattern [pattern ...] | "
        "SET name value [name value ...] | HELP")


@pytest.mark.parametrize("word", ["rewrite", "RESETSTAT"])
def test_what_redis_has_and_this_server_has_not_is_refused_by_name(client, word):
    assert client.error("config", word).startswith(f"ERR CONFIG {word.upper()} isn't supported: ")


# -- descriptors ------------------------------------------------------------------

class Limits:
    """A system that allows so many descriptors, and so many more on asking."""

    RLIMIT_NOFILE = 7
    RLIM_INFINITY = -1

    def __init__(self, soft, hard):
        self.allowed = soft, hard

    def getrlimit(self, which):
        return self.allowed

    def setrlimit(self, which, limits):
        self.allowed = limits


def options_with(**chosen):
    return types.SimpleNamespace(**{"metrics_port": None, "http_port": None, "tls_certificate": "", **chosen})


@pytest.mark.parametrize("soft, hard, wanted, allowed, connections", [
    (1024, 20_000, 900, (1024, 20_000), 900),           # enough as it is
    (1024, 20_000, 10_000, (10_064, 20_000), 10_000),
    (1024, -1, 10_000, (10_064, -1), 10_000),
    (-1, -1, 10_000, (-1, -1), 10_000),
    (1024, 4096, 10_000, (4096, 4096), 4032),
    (1024, 1024, 10_000, (1024, 1024), 960),
    (32, 32, 10_000, (32, 32), 1),
])
def test_connections_are_as_many_as_there_are_descriptors_for(monkeypatch, soft, hard, wanted, allowed, connections):
    limits = Limits(soft, hard)
    monkeypatch.setattr(settings, "resource", limits)
    assert settings.affordable(wanted, options_with()) == connections
    assert limits.allowed == allowed


def test_a_port_for_metrics_takes_descriptors_too(monkeypatch):
    monkeypatch.setattr(settings, "resource", Limits(1024, 1024))
    assert settings.affordable(10_000, options_with(metrics_port=0)) == 960 - 64
    assert settings.affordable(10_000, options_with(metrics_port=0, http_port=0)) == 960 - 128


@pytest.mark.parametrize("hard, connections", [(20_000, 10_000), (4096, 4096 - 64 - 1000), (1024, 1024 - 64 - 256)])
def test_handshakes_take_descriptors_too(monkeypatch, hard, connections):
    monkeypatch.setattr(settings, "resource", Limits(1024, hard))
    assert settings.affordable(10_000, options_with(tls_certificate="c")) == connections
