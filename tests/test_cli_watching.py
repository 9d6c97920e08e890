"""cli/watching.py: ping, info, monitor."""

import json
import signal
import threading

import pytest
from conftest import ROOT, SECONDS
from serving import Serving, eventually
from terminals import Screen
from test_cli import end_of, run, start

__all__ = ["run"]       # which pytest finds here


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


# -- how far the server is

@pytest.mark.parametrize("command, method", [(["check"], "check"), (["backup", "monday"], "back_up")])
def test_on_a_terminal_the_work_of_the_server_shows_how_far_it_is(tmp_path, monkeypatch, command, method):
    with Serving(tmp_path / "db", backup_path=str(tmp_path / "copies")) as serving:
        seen = threading.Event()
        original = getattr(serving.store, method)

        def slow(*arguments):
            arguments[-1](1 << 20, 4 << 20)
            assert seen.wait(SECONDS)
            return original(*arguments)

        monkeypatch.setattr(serving.store, method, slow)
        with Screen(ROOT / "meilies_cli.py", *command, "-p", serving.port) as screen:
            screen.until(f"{command[0]}  25%  1.0 MiB of 4.0 MiB")
            seen.set()
            assert screen.end() == 0
            assert "\r\033[K" in screen.shown


def test_a_server_that_does_not_say_how_far_it_is_does_its_work_all_the_same(tmp_path, monkeypatch):
    with Serving(tmp_path / "db") as serving:
        monkeypatch.setattr(serving.poller.works, "fields", lambda: [("check_1", "soon")])
        with Screen(ROOT / "meilies_cli.py", "check", "-p", serving.port) as screen:
            assert screen.end() == 0
            assert "sound, 0 events" in screen.shown
