"""INFO, CONFIG GET and CLIENT LIST: fields that tools read."""

import pytest
from serving import OK, FailingDisk, Serving, publish, subscribed

from server import __version__


@pytest.fixture
def serving(tmp_path):
    with Serving(tmp_path / "db") as serving:
        yield serving


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
    assert list(found) == ["Server", "Clients", "Memory", "Persistence", "Stats", "Streams"]
    assert found["Server"]["meilies_version"] == __version__
    assert found["Server"]["tcp_port"] == str(serving.port)
    assert found["Persistence"]["loading"] == "0"
    assert found["Persistence"]["store"] == serving.store.uuid
    assert int(found["Memory"]["used_memory_peak"]) > 1 << 20
    assert all(key and value for section in found.values() for key, value in section.items())


def test_sections_are_chosen_by_name_in_any_case(serving):
    client = serving.connect()
    assert list(sections(client, "STREAMS", "server")) == ["Server", "Streams"]
    assert len(sections(client, "everything")) == 6
    assert sections(client, "nope") == {}


def test_info_counts_what_happened(serving):
    client, other = serving.connect(), serving.connect()
    other.command("subscribe", "a", "b")
    other.recv_exactly(subscribed("a") + subscribed("b"))
    client.send(publish("a", "1") * 3 + publish("c", "1"))
    client.recv_exactly(OK * 4)
    found = sections(client)
    assert found["Clients"] == {"connected_clients": "2", "maxclients": "10000", "subscriptions": "2",
                                "blocked_outputs": "0", "feeds": "2", "feed_threads": "0"}
    assert found["Streams"]["events"] == "4"
    stats = found["Stats"]
    assert (stats["total_connections_received"], stats["events_published"]) == ("2", "4")
    assert stats["total_commands_processed"] == "6"       # subscribe, publishes, info
    assert int(stats["total_net_input_bytes"]) > 100


def test_what_the_store_refused_is_not_counted_as_published(tmp_path):
    disk = FailingDisk()
    with Serving(tmp_path / "db", files=disk) as serving:
        client = serving.connect()
        disk.write_error = OSError(28, "No space left on device")
        assert client.ask("publish", "s", "x", "d").code == "STOREFULL"
        disk.write_error = None
        assert client.ask("publish", "s", "x", "d") == b"OK"
        assert sections(client, "stats")["Stats"]["events_published"] == "1"
