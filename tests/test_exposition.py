"""What Prometheus reads: every line, every name, and that asking for it harms nobody."""

import contextlib
import re
import shutil
import socket
import subprocess
import threading
import urllib.request

import pytest
from conftest import SECONDS
from prometheus_client.parser import text_string_to_metric_families
from scraping import Scraped
from serving import OK, FailingDisk, Serving, SlowDisk, eventually, publish, subscribed

from server import __version__, exposition, health, web
from server.exposition import CONTENT_TYPE, GROUPS, metrics_server
from server.web import CONNECTIONS

PROMTOOL = shutil.which("promtool")


@pytest.fixture
def scraped(tmp_path):
    with Scraped(tmp_path / "db") as scraped:
        yield scraped


# -- the format -------------------------------------------------------------------

def test_prometheus_understands_every_line(scraped):
    scraped.use()
    status, kind, text = scraped.get("/metrics")
    assert (status, kind) == (200, CONTENT_TYPE)
    families = list(text_string_to_metric_families(text))
    names = [family.name for family in families]
    assert len(set(names)) == len(names) > 40
    for family in families:
        assert family.documentation.endswith(".") and family.type in ("counter", "gauge", "histogram"), family.name
        assert re.match("(meilies|process)_[a-z_]+$", family.name)
    labels = {sample.labels.get("group") for family in families for sample in family.samples}
    assert 'a "quoted" \\ group' in labels


@pytest.mark.skipif(not PROMTOOL, reason="promtool isn't installed")
def test_promtool_finds_nothing_to_complain_of(scraped):
    scraped.use()
    checked = subprocess.run([PROMTOOL, "check", "metrics"], input=scraped.get("/metrics")[2].encode(),
                             capture_output=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_figures_are_those_of_what_happened(scraped):
    client = scraped.use()
    eventually(lambda: scraped.metrics()["meilies_events_sent_total"] == 11)
    found = scraped.metrics()
    assert found["meilies_events"] == found["meilies_events_published_total"] == 11
    assert (found["meilies_streams"], found["meilies_connections"], found["meilies_followers"]) == (1, 2, 1)
    assert found["meilies_commands_total", ("command", "publish")] == 10
    assert found["meilies_commands_total", ("command", "append")] == 1
    assert found["meilies_commands_failed_total", ("command", "publish")] == 0
    assert found["meilies_errors_total", ("code", "ERR")] == 1
    assert found["meilies_commit_seconds_count", ("kind", "append")] == 1
    assert found["meilies_command_seconds_count", ("command", "ping")] == 1
    assert found["meilies_group_lag_events", ("group", 'a "quoted" \\ group')] == 11
    assert found["meilies_groups_lag_events"] == 11
    assert found["meilies_received_bytes_total"] > 500
    assert found["meilies_sent_bytes_total"] > 500
    assert found["meilies_log_bytes"] == scraped.serving.store.size
    assert found["process_resident_memory_bytes"] > 1 << 20
    assert found["process_open_fds"] > 5
    [build] = [key for key in found if key[0] == "meilies_build_info"]
    assert ("version", __version__) in build
    client.ask("ping")
    assert scraped.metrics()["meilies_command_seconds_count", ("command", "ping")] == 2


def test_buckets_add_up_and_end_with_the_count(scraped):
    scraped.use()
    for family in text_string_to_metric_families(scraped.get("/metrics")[2]):
        rows = {}
        for sample in family.samples if family.type == "histogram" else ():
            labels = tuple((name, text) for name, text in sorted(sample.labels.items()) if name != "le")
            rows.setdefault(labels, {"buckets": []})
            if sample.name.endswith("_bucket"):
                rows[labels]["buckets"].append((float(sample.labels["le"]), sample.value))
            else:
                rows[labels][sample.name.rsplit("_", 1)[1]] = sample.value
        for row in rows.values():
            assert row["buckets"] == sorted(row["buckets"])
            assert [count for _, count in row["buckets"]] == sorted(count for _, count in row["buckets"])
            assert row["buckets"][-1] == (float("inf"), row["count"])


def test_there_are_lines_for_so_many_groups_and_a_sum_of_all(scraped):
    client = scraped.serving.connect()
    client.ask("publish", "s", "x", "d")
    for i in range(GROUPS + 5):
        assert client.ask("group-create", f"g{i}", "stream", "s", 0) == b"OK"
    found = scraped.metrics()
    assert (found["meilies_groups"], found["meilies_groups_lag_events"]) == (GROUPS + 5, GROUPS + 5)
    assert len([key for key in found if key[0] == "meilies_group_lag_events"]) == GROUPS


# -- health ---------------------------------------------------------------------------

def test_a_server_that_serves_is_healthy(scraped):
    assert scraped.get("/healthz") == (200, "text/plain; charset=utf-8", "ok\n")


def test_a_store_that_failed_is_not_healthy_and_says_why(tmp_path):
    disk = FailingDisk()
    with Scraped(tmp_path / "db", files=disk) as scraped:
        client = scraped.serving.connect()
        disk.sync_error = OSError(5, "Input/output error")
        client.ask("publish", "s", "x", "d")
        with contextlib.suppress(Exception):
            scraped.serving.store.sync()
        status, _, text = scraped.get("/healthz")
        assert (status, "Input/output error" in text) == (503, True)
        assert scraped.metrics()["meilies_store_failed"] == 1


def test_a_disk_without_room_is_not_healthy_until_there_is_some(tmp_path, monkeypatch):
    with Scraped(tmp_path / "db") as scraped:
        store = scraped.serving.store
        with monkeypatch.context() as patched:
            patched.setattr(store._files, "free", lambda path: 1000)
            assert scraped.get("/healthz")[::2] == (503, "the disk is full: 1000 bytes are left\n")
            patched.setattr(store._files, "free", _unreachable)
            assert scraped.get("/healthz")[::2] == (503, "the disk can't be asked: Stale file handle\n")
            assert "meilies_disk_free_bytes" not in scraped.metrics()
        assert scraped.get("/healthz")[0] == 200


def _unreachable(path):
    raise OSError(116, "Stale file handle")


def test_a_loop_that_hangs_is_not_healthy(tmp_path, monkeypatch):
    monkeypatch.setattr(health, "PATIENCE", 0.05)
    disk = SlowDisk()
    with Scraped(tmp_path / "db", sync="always", files=disk) as scraped:
        client = scraped.serving.connect()
        disk.gate.clear()
        client.send(publish("s", "d"))
        assert disk.waiting.wait(SECONDS)
        assert scraped.get("/healthz")[::2] == (503, "clients haven't been served for 0.05 seconds\n")
        disk.gate.set()
        client.recv_exactly(OK)
        eventually(lambda: scraped.get("/healthz")[0] == 200)


def test_a_server_that_stops_is_not_healthy(scraped):
    scraped.serving.stop()
    assert scraped.get("/healthz")[::2] == (503, "the server stops\n")


# -- the port -----------------------------------------------------------------------------

def test_the_port_has_two_pages_and_no_others(scraped):
    assert scraped.get("/")[0] == scraped.get("/metrics/")[0] == scraped.get("/console")[0] == 404
    assert scraped.get("/metrics", Host="evil.example")[0] == 421
    assert scraped.get("/metrics?x=1")[0] == 200


def test_the_name_that_it_was_given_is_one_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(exposition, "is_loopback", lambda host: True)
    monkeypatch.setattr(web, "_listener", lambda host, port, listen=web._listener: listen("127.0.0.1", port))
    with Scraped(tmp_path / "db", metrics_hostname="this.machine") as scraped:
        assert scraped.get("/metrics", Host="this.machine:6481")[0] == 200
        assert scraped.get("/metrics", Host="evil.example")[0] == 421


def test_a_port_for_all_takes_any_name(tmp_path):
    with Scraped(tmp_path / "db", metrics_hostname="0.0.0.0") as scraped:
        assert scraped.get("/metrics", Host="meilies.example")[0] == 200


def test_without_the_option_there_is_no_port(tmp_path):
    with Serving(tmp_path / "db") as serving:
        assert metrics_server(serving.poller, serving.limits) is None


def metrics_port(running):
    """Where the metrics of a Server are."""
    pattern = re.compile(r"metrics at http://127.0.0.1:(\d+)/metrics")
    eventually(lambda: pattern.search(running.log.read_text()))
    return pattern.search(running.log.read_text())[1]


def test_the_program_says_where_its_metrics_are(server, connect):
    running = server("--metrics-port", "0")
    port = metrics_port(running)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=SECONDS) as answer:
        assert b"meilies_events 0\n" in answer.read()
    assert running.stop() == 0


def test_groups_of_an_earlier_run_show_their_lag_from_the_start(server, connect):
    first = server()
    peer = connect(first.port)
    peer.command("group-create", "g", "stream", "s", 0)
    peer.recv_exactly(OK)
    peer.send(publish("s", "d"))
    peer.recv_exactly(OK)
    assert first.stop() == 0
    port = metrics_port(server("--metrics-port", "0"))
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=SECONDS) as answer:
        assert b'meilies_group_lag_events{group="g"} 1\n' in answer.read()


def test_a_thousand_connections_to_the_port_leave_the_event_server_unharmed(scraped):
    """Silent ones, halves of requests, and huge ones; some stay."""
    client = scraped.serving.connect()
    started = len(threading.enumerate())
    with contextlib.ExitStack() as stack:
        for i in range(1000):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", scraped.web.port), timeout=SECONDS))
            if i % 4:
                with contextlib.suppress(OSError):
                    sock.sendall((b"", b"GET /metr", b"POST /x HTTP/1.1\r\nContent-Length: 9\r\n\r\n",
                                  b"X" * 100_000)[i % 4])
            if i % 100 == 0:
                assert client.ask("publish", "s", "x", "d") == b"OK"
                assert len(threading.enumerate()) <= started + 2 * CONNECTIONS
        assert client.ask("last-event-number", "s")[2] == 9
        assert scraped.get("/healthz")[0] == 200
    eventually(lambda: len(threading.enumerate()) <= started, "the end of their threads")
    assert scraped.metrics()["meilies_connections"] == 1


def test_a_follower_that_lags_is_seen(scraped):
    """Its client doesn't read, so what is published behind that stays in the log."""
    client, slow = scraped.serving.connect(), scraped.serving.connect()
    slow.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.command("subscribe", "s")
    slow.recv_exactly(subscribed("s"))
    for _ in range(100):
        client.send(publish("s", "d" * 100_000))
        client.recv_exactly(OK)
    eventually(lambda: scraped.metrics()["meilies_followers_behind"] == 1)
    found = scraped.metrics()
    assert 10 < found["meilies_follower_lag_events"] == found["meilies_followers_lag_events"] < 100
    assert found["meilies_connections_blocked"] == 1
    assert found["meilies_output_pending_bytes"] > 0
