"""cli/following.py: tail; and colours of events."""

import signal

import pytest
from conftest import ROOT
from disk import quick_index
from serving import Serving, eventually
from terminals import Screen
from test_cli import end_of, run, start
from test_repair import damaged

from meilies_client import Client
from store.repair import repair

__all__ = ["quick_index", "run"]       # which pytest finds here


@pytest.fixture
def serving(tmp_path):
    with Serving(tmp_path / "db") as serving:
        with Client(port=serving.port) as client:
            client.publish_batch((f"order-{i % 2}", "even" if i % 4 == 0 else "odd", b"%d" % i) for i in range(20))
        yield serving


@pytest.mark.parametrize("arguments, shown", [
    ([], range(10, 20)), (["-n", "3"], (17, 18, 19)), (["order-1", "-n", "2"], (17, 19)), (["-n", "0"], ()),
    (["$all", "-n", "100"], range(20)), (["order-", "--prefix", "-n", "2", "--name", "even"], (12, 16)),
    (["none"], ()), (["none", "--prefix"], ())])
def test_tail_prints_the_last_events_oldest_first(run, serving, arguments, shown):
    assert run("tail", "-p", serving.port, "--raw", *arguments) == (0, "".join(f"{i}\n" for i in shown), "")


def test_tail_shows_events_as_read_does(run, serving):
    assert run("tail", "-p", serving.port, "-n", "1") == (0, "order-1:9 odd 19\n", "")
    assert '"position": 19' in run("tail", "-p", serving.port, "-n", "1", "--json")[1]


@pytest.mark.parametrize("arguments", [["order-0"], ["order-", "--prefix", "--name", "odd"], []])
def test_tail_follow_goes_on_with_what_is_new_until_ctrl_c(serving, arguments):
    process = start("tail", "-p", serving.port, "-f", "-n", "1", "--raw", *arguments)
    with process, Client(port=serving.port) as client:
        assert process.stdout.readline() in (b"18\n", b"19\n")
        client.publish("order-0", "odd", b"20")
        client.publish("order-0", "odd", b"21")
        assert [process.stdout.readline(), process.stdout.readline()] == [b"20\n", b"21\n"]
        process.send_signal(signal.SIGINT)
        assert end_of(process) == (130, "")


def test_tail_follow_of_a_stream_that_is_not_there_waits_for_its_first_event(serving):
    process = start("tail", "new", "-f", "-p", serving.port)
    with process, Client(port=serving.port) as client:
        # Or it might be read before anybody waits, and Ctrl-C come while they connect.
        eventually(lambda: len(serving.poller.feeds) == 1, "somebody waits for it")
        client.publish("new", "n", b"first")
        assert process.stdout.readline() == b"new:0 n first\n"
        process.send_signal(signal.SIGINT)
        assert end_of(process) == (130, "")


@pytest.fixture
def with_losses(tmp_path):
    damaged(tmp_path / "lossy")
    repair(tmp_path / "lossy")
    with Serving(tmp_path / "lossy") as serving:
        yield serving


def test_tail_prints_what_is_behind_lost_events_and_says_that_they_are(run, with_losses):
    status, out, err = run("tail", "-p", with_losses.port, "-n", "100")
    assert (status, out.count("\n")) == (1, 5) and "EVENTSLOST 6 7" in err


def test_tail_follow_goes_on_behind_lost_events(with_losses):
    process = start("tail", "-f", "-p", with_losses.port, "-n", "100", "--raw")
    with process, Client(port=with_losses.port) as client:
        for _ in range(5):
            process.stdout.readline()
        client.publish("s", "n", b"new")
        assert process.stdout.readline() == b"new\n"
        process.send_signal(signal.SIGINT)
        status, err = end_of(process)
    assert status == 130 and "EVENTSLOST" in err


def test_events_have_colours_on_a_terminal_unless_somebody_says_no(run, serving):
    coloured = "\033[36morder-1:9\033[m \033[1modd\033[m 19"
    tail = ("tail", "-p", serving.port, "-n", "1")
    for environ, shown in (({}, coloured), ({"NO_COLOR": "1"}, "order-1:9 odd 19")):
        with Screen(ROOT / "meilies_cli.py", *tail, **environ) as screen:
            assert screen.end() == 0
            assert screen.shown == f"{shown}\r\n"
    assert run(*tail, "--color", "always")[1] == f"{coloured}\n"
    assert run("--color", "always", *tail, "--raw")[1] == "19\n"
    assert run(*tail, "--color", "sometimes")[0] == 2
