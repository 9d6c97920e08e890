"""INFO and CLIENT LIST: fields that tools read."""

import pytest
from serving import OK, FailingDisk, Serving, publish, subscribed

from server import __version__
from server.info import _human

USUAL = ["Server", "Clients", "Memory", "Persistence", "Stats", "Replication", "Cpu", "Errorstats", "Cluster",
         "Keyspace", "Streams", "Groups", "Work"]


def sections(client, *wanted):
    """INFO as a dict of dicts."""
    found = {}
    for line in client.ask("info", *wanted).decode().split("\r\n"):
        if line.startswith("# "):
            section = found[line[2:]] = {}
        elif line:
            key, _, value = line.partition(":")
            section[key] = value
    return found


def test_info_has_sections_of_lines_with_one_key_and_one_value(serving):
    found = sections(serving.connect())
    assert list(found) == USUAL
    assert found["Server"]["meilies_version"] == __version__
    assert found["Server"]["tcp_port"] == str(serving.port)
    assert found["Persistence"]["loading"] == "0"
    assert found["Persistence"]["store"] == serving.store.uuid
    assert int(found["Memory"]["used_memory_peak"]) >= int(found["Memory"]["used_memory"]) > 1 << 20
    assert found["Server"]["redis_version"].startswith("7.0.")
    assert len(found["Server"]["run_id"]) == len(found["Replication"].pop("master_replid")) == 40
    assert found["Replication"] == {"role": "master", "connected_slaves": "0", "master_repl_offset": "0",
                                    "repl_backlog_active": "0"}
    assert all(key and value for section in found.values() for key, value in section.items())


def test_sections_are_chosen_by_name_in_any_case(serving):
    client = serving.connect()
    assert list(sections(client, "STREAMS", "server")) == ["Server", "Streams"]
    everything = [*USUAL[:7], "Commandstats", "Latencystats", *USUAL[7:]]
    assert list(sections(client, "everything")) == list(sections(client, "ALL")) == everything
    assert list(sections(client, "default", "commandstats")) == [*USUAL[:7], "Commandstats", *USUAL[7:]]
    assert sections(client, "nope") == {}


def test_info_counts_what_happened(serving):
    client, other = serving.connect(), serving.connect()
    other.command("subscribe", "a", "b")
    other.recv_exactly(subscribed("a") + subscribed("b"))
    client.send(publish("a", "1") * 3 + publish("c", "1"))
    client.recv_exactly(OK * 4)
    assert client.error("nonsense")
    found = sections(client)
    clients = found["Clients"]
    assert (clients["connected_clients"], clients["maxclients"], clients["subscriptions"]) == ("2", "10000", "2")
    assert (clients["blocked_outputs"], clients["feeds"], clients["feed_threads"]) == ("0", "2", "0")
    assert found["Streams"]["events"] == "4"
    assert found["Keyspace"]["db0"].startswith("keys=2,")        # b is only waited for
    stats = found["Stats"]
    assert (stats["total_connections_received"], stats["events_published"], stats["events_sent"]) == ("2", "4", "3")
    assert stats["total_commands_processed"] == "7"       # subscribe, publishes, the unknown one, info
    assert stats["total_error_replies"] == "1"
    assert found["Errorstats"] == {"errorstat_ERR": "count=1"}
    assert int(stats["total_net_input_bytes"]) > 100
    assert int(stats["total_net_output_bytes"]) > 100


def test_what_a_client_was_sent_stays_counted_when_it_is_gone(serving):
    client, other = serving.connect(), serving.connect()
    assert other.ask("echo", "x" * 1000)
    before = int(sections(client, "stats")["Stats"]["total_net_output_bytes"])
    connection = serving.connection_of(other)
    assert client.ask("client", "kill", "id", connection.id) == 1
    assert int(sections(client, "stats")["Stats"]["total_net_output_bytes"]) > before > 1000


def test_commands_have_counts_times_and_failures(serving):
    client = serving.connect()
    client.send(publish("a", "1") * 3)
    client.recv_exactly(OK * 3)
    client.ask("append", "a", "any", "x", "d", "", "")
    client.error("append", "a", "none", "x", "d", "", "")
    client.error("append", "a")
    client.ask("ping")
    client.error("ping", "a", "b")
    found = sections(client, "commandstats", "latencystats")
    stats = {name: dict(field.split("=") for field in line.split(","))
             for name, line in found["Commandstats"].items()}
    calls = {name: (one["calls"], one["failed_calls"]) for name, one in stats.items()}
    assert calls == {"cmdstat_publish": ("3", "0"), "cmdstat_append": ("3", "2"), "cmdstat_ping": ("2", "1")}
    assert float(stats["cmdstat_ping"]["usec_per_call"]) > 0
    assert set(found["Latencystats"]) == {f"latency_percentiles_usec_{name}" for name in ("publish", "append", "ping")}
    assert sections(client, "errorstats")["Errorstats"] == {"errorstat_ERR": "count=2",
                                                           "errorstat_WRONGVERSION": "count=1"}


def test_syncs_are_counted_and_timed(tmp_path):
    with Serving(tmp_path / "db", sync="always") as serving:
        client = serving.connect()
        before = int(sections(client, "persistence")["Persistence"]["syncs"])
        for _ in range(3):
            client.ask("publish", "s", "x", "d")
        found = sections(client, "persistence")["Persistence"]
        assert int(found["syncs"]) == before + 3
        assert int(found["sync_usec"]) > 0
        assert int(found["sync_usec_p50"]) <= int(found["sync_usec_p99"])


def test_groups_show_their_lag(serving):
    client = serving.connect()
    assert sections(client, "groups")["Groups"] == {"groups": "0", "lag": "0", "parked": "0"}
    client.ask("group-create", "readers", "stream", "s", 0)
    client.ask("group-create", "others", "stream", "t", 0)
    for _ in range(3):
        client.ask("publish", "s", "x", "d")
    found = sections(client, "groups")["Groups"]
    assert list(found.items()) == [("groups", "2"), ("lag", "3"), ("parked", "0"),
                                   ("group_readers", "lag=3,parked=0"), ("group_others", "lag=0,parked=0")]


def test_what_the_store_refused_is_not_counted_as_published(tmp_path):
    disk = FailingDisk()
    with Serving(tmp_path / "db", files=disk) as serving:
        client = serving.connect()
        disk.write_error = OSError(28, "No space left on device")
        assert client.ask("publish", "s", "x", "d").code == "STOREFULL"
        assert client.ask("append", "s", "any", "x", "d", "", "").code == "STOREFULL"
        disk.write_error = None
        assert client.ask("publish", "s", "x", "d") == b"OK"
        assert sections(client, "stats")["Stats"]["events_published"] == "1"
        assert sections(client, "errorstats")["Errorstats"] == {"errorstat_STOREFULL": "count=2"}
        stats = sections(client, "commandstats")["Commandstats"]
        assert "failed_calls=1" in stats["cmdstat_publish"] and "failed_calls=1" in stats["cmdstat_append"]


@pytest.mark.parametrize("count, shown", [(0, "0B"), (1023, "1023B"), (1024, "1.00K"), (3 << 19, "1.50M"),
                                          (5 << 30, "5.00G"), (3 << 50, "3072.00T")])
def test_bytes_are_shown_as_redis_shows_them(count, shown):
    assert _human(count) == shown
