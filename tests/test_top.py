"""cli/top.py and terminal/fullscreen.py: the live view."""

import json
import signal
from pathlib import Path

import pytest
from conftest import ROOT
from serving import Serving, eventually
from terminals import Screen, Terminal
from test_cli import end_of, run, start

from cli.top import Sample, View, curve, number_in
from meilies_client import Client
from terminal.escaping import columns
from terminal.painting import PLAIN, Painter

__all__ = ["run"]       # which pytest finds here

CLI = ROOT / "meilies_cli.py"


def taken(when, published=0, clients=(), groups=(), refused=(), **info):
    fields = {"meilies_version": "9", "events_published": str(published), "events": "5", "streams": "1",
              "connected_clients": "2", "log_bytes": "2048", "uptime_in_seconds": "75", **info}
    return Sample(when, 0.001, fields, [dict(one) for one in clients], [dict(one) for one in groups], list(refused))


def view_of(*samples):
    view = View("here")
    for one in samples:
        view.take(one)
    return view


def text_of(view, width=80, height=None):
    return "\n".join(view.lines(width, height, PLAIN))


# -- what is shown

def test_a_rate_is_the_difference_of_two_counters_in_the_time_between():
    view = view_of(taken(10.0, 100), taken(12.0, 300))
    assert view.rates == {"published": 100.0}
    assert "published         100 events/s  █" in text_of(view)


def test_a_server_that_was_started_again_has_no_negative_rate():
    assert view_of(taken(0.0, 100), taken(1.0, 3)).rates == {"published": 0.0}


def test_the_head_says_what_there_is_and_how_quickly_it_answers():
    assert text_of(view_of(taken(0.0))).splitlines()[:2] == [
        "MeiliES 9  here  up 1:15  sync ?  answers in 1.0 ms",
        "5 events in 1 streams, 2.0 KiB;  2 of ? clients, ? subscriptions"]


def test_before_anything_is_known_it_says_so():
    assert "answers in -" in text_of(view_of())
    assert view_of().as_json()["milliseconds"] is None


def test_a_failed_disk_and_what_may_not_be_asked_are_told():
    shown = text_of(view_of(taken(0.0, failed="1", blocked_outputs="3", refused=["groups: NOPERM"])))
    assert "THE DISK FAILED" in shown and ", 3 behind" in shown and "groups: NOPERM" in shown


def test_groups_with_most_to_do_come_first():
    shown = text_of(view_of(taken(0.0, groups=[
        {"name": "done", "lag": 0}, {"name": "late", "lag": 12345, "parked": 1, "members": {"anna": 3},
                                     "kind": "prefix", "selector": "order-"}])))
    assert shown.index("late") < shown.index("done")
    assert "12,345" in shown and "prefix order-" in shown


def test_clients_that_wait_come_first_then_those_that_are_sent_most():
    before = [{"id": "1", "addr": "a:1", "tot-net-out": "0"}, {"id": "2", "addr": "b:2", "tot-net-out": "0"}]
    after = [{"id": "1", "addr": "a:1", "tot-net-out": "10"}, {"id": "2", "addr": "b:2", "tot-net-out": "2048"},
             {"id": "3", "addr": "c:3", "omem": "4096", "user": "ann"}]
    shown = text_of(view_of(taken(0.0, clients=before), taken(1.0, clients=after)))
    assert shown.index("c:3 ann") < shown.index("b:2") < shown.index("a:1")
    assert "2.0 KiB" in shown and "4.0 KiB" in shown


def test_what_others_chose_can_not_drive_the_terminal():
    shown = text_of(view_of(taken(0.0, sync="\033[2J", clients=[{"addr": "\033]0;x\a", "cmd": "\x9b31m"}],
                                  groups=[{"name": "\u202egnp", "selector": "\r"}])))
    assert all(line.isprintable() for line in shown.splitlines())


@pytest.mark.parametrize("width", [20, 40, 80, 200])
@pytest.mark.parametrize("height", [1, 5, 24, 100])
def test_it_fits_whatever_size_the_terminal_has(width, height):
    many = [{"name": f"group 日本 {i}", "lag": i, "kind": "all", "selector": "$all"} for i in range(40)]
    clients = [{"id": str(i), "addr": f"127.0.0.1:{i}", "cmd": "publish"} for i in range(40)]
    view = view_of(taken(0.0, 1), *[taken(i, i * i, clients, many) for i in range(1, 100)])
    lines = view.lines(width, height, PLAIN, "a note")
    assert len(lines) <= height and max(map(columns, lines)) <= width
    if height == 24:
        assert sum("group" in line for line in lines) > 2 and sum("127.0.0.1" in line for line in lines) > 2


def test_colours_take_no_room():
    view = view_of(taken(0.0), taken(1.0, 5, groups=[{"name": "g", "lag": 1}]))
    painted = view.lines(80, None, Painter("always", Terminal(), {}))
    assert any("\033[" in line for line in painted)


@pytest.mark.parametrize("values, bars", [([], ""), ([0, 0], "▁▁"), ([1, 4, 8], "▂▅█")])
def test_the_highest_bar_of_a_curve_is_the_highest_value(values, bars):
    assert curve(values) == bars


@pytest.mark.parametrize("text, number", [("12", 12), ("", None), ("x", None), ("-1", None), ("9" * 30, None)])
def test_a_field_that_is_no_number_counts_as_missing(text, number):
    assert number_in({"a": text}, "a") == number


# -- the command

def test_once_it_prints_what_there_is_and_ends(run, serving):
    with Client(port=serving.port) as client:
        client.publish_many("s", [("n", b"x")] * 3)
        client.group_create("mail", "s", 0)
    status, out, _ = run("top", "-p", serving.port, "--once", "--interval", "0.01")
    assert status == 0 and "3 events in 1 streams" in out and "mail" in out and "q quit" not in out
    status, out, _ = run("top", "-p", serving.port, "--json", "--once", "--interval", "0.01")
    found = json.loads(out)
    assert found["events"] == 3 and "published" in found["rates"]
    assert found["groups"] == [{"name": "mail", "lag": 3, "held": 0, "parked": 0}]


def test_in_a_pipe_it_is_printed_once(run, serving):
    status, out, _ = run("top", "-p", serving.port, "--interval", "0.01")
    assert status == 0 and "\033" not in out


def test_json_goes_on_until_ctrl_c(serving):
    process = start("top", "--json", "--interval", "0.01", "-p", serving.port)
    with process:
        assert [json.loads(process.stdout.readline())["streams"] for _ in range(3)] == [0, 0, 0]
        process.send_signal(signal.SIGINT)
        assert end_of(process) == (130, "")


def test_on_a_terminal_it_goes_on_until_q_and_gives_the_screen_back(serving):
    with Screen(CLI, "top", "-p", serving.port, "--interval", "0.05") as screen:
        screen.until("0 events in 0 streams")
        with Client(port=serving.port) as client:
            client.publish("s", "n")
        screen.until("1 events in 1 streams")
        screen.send("p")
        screen.until("paused")
        screen.send("p+-\033[Aq")
        assert screen.end() == 0
        assert screen.shown.endswith("\033[?25h\033[?1049l")


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_whatever_ends_it_the_screen_comes_back(serving, number, status):
    with Screen(CLI, "top", "-p", serving.port) as screen:
        screen.until("q quit")
        screen.process.send_signal(number)
        assert screen.end() == status
        assert screen.shown.endswith("\033[?25h\033[?1049l")


def test_it_is_drawn_anew_when_the_terminal_gets_another_size(serving):
    with Screen(CLI, "top", "-p", serving.port, "--interval", "60", columns=30, rows=5) as screen:
        screen.until("publi")       # of the second look
        screen.forget()
        screen.resize(100, 30)
        screen.until("answers in")
        screen.send("q")
        assert screen.end() == 0


def test_ctrl_z_gives_the_screen_back_until_it_goes_on(serving):
    with Screen(CLI, "top", "-p", serving.port) as screen:
        screen.until("q quit")
        screen.process.send_signal(signal.SIGTSTP)
        screen.until("\033[?1049l")
        screen.forget()
        stopped = Path(f"/proc/{screen.process.pid}/stat")
        eventually(lambda: stopped.read_text().rpartition(") ")[2][0] == "T", "that it stops")
        screen.process.send_signal(signal.SIGCONT)
        screen.until("\033[?1049h")
        screen.send("q")
        assert screen.end() == 0


def test_a_server_that_goes_is_waited_for(tmp_path):
    with Serving(tmp_path / "db") as serving:
        with Screen(CLI, "top", "-p", serving.port, "--interval", "0.05") as screen:
            screen.until("q quit")
            serving.stop()
            screen.until("trying again")
            screen.send("q")
            assert screen.end() == 0


def test_a_server_that_is_not_there_is_an_error(run):
    status, _, err = run("top", "-p", 1)
    assert status == 1 and err == "meilies_cli: cannot connect to 127.0.0.1:1: Connection refused\n"
