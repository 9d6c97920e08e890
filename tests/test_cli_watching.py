"""cli/watching.py: ping, info, monitor."""

import json
import signal

import pytest
from serving import Serving, eventually
from test_cli import end_of, run, start

__all__ = ["run"]       # which pytest finds here


@pytest.fixture
def serving(tmp_path):
    with Serving(tmp_path / "db") as serving:
        yield serving


def test_ping_as_json_is_a_number_of_milliseconds(run, serving):
    status, out, _ = run("ping", "-p", serving.port, "--json")
    assert status == 0 and json.loads(out)["milliseconds"] > 0


def test_info_prints_sections_of_names_and_values(run, serving):
    status, out, _ = run("info", "-p", serving.port)
    assert status == 0 and f"  tcp_port {serving.port}\n" in out and "persistence\n" in out
    status, out, _ = run("info", "-p", serving.port, "server", "--json")
    assert json.loads(out)["server"]["tcp_port"] == str(serving.port)


def test_a_section_that_is_not_there_is_an_error(run, serving):
    assert run("info", "-p", serving.port, "sevrer") == (
        1, "", "meilies_cli: there is no section sevrer; without a name, all are printed\n")


def test_monitor_prints_each_request_as_it_comes_until_ctrl_c(serving):
    process = start("monitor", "-p", serving.port)
    with process:
        eventually(lambda: serving.poller.monitors.watching, "that somebody monitors")
        serving.connect().ask("echo", "\033[2J")
        assert process.stdout.readline().endswith(b'] "echo" "\\x1b[2J"\n')
        process.send_signal(signal.SIGINT)
        assert end_of(process) == (130, "")
