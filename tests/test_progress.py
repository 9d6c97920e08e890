"""terminal/progress.py: how far long work is, on one line."""

import io

import pytest
from terminals import Terminal

from terminal.progress import Progress, shown_bytes, shown_duration, shown_events


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(autouse=True)
def columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def test_it_says_how_far_it_is_how_fast_and_how_long_it_takes_yet(clock):
    progress = Progress("migrate", shown_events, Terminal(), clock)
    progress.begin(10_000)
    clock.now = 2.0
    progress.advance(4_000)
    assert progress.line() == "migrate  40%  4,000 events of 10,000 events  2,000 events/s  0:03 left"
    clock.now = 5.0
    progress.advance(6_000)
    assert progress.line() == "migrate 100%  10,000 events of 10,000 events  2,000 events/s"


def test_the_rate_is_that_of_the_last_seconds(clock):
    progress = Progress("check", shown_bytes, Terminal(), clock)
    for second in range(1, 101):
        clock.now = float(second)
        progress(second if second < 50 else 1024 * second, 1 << 20)
    assert " 1.0 KiB/s " in progress.line()


def test_of_what_nobody_knows_the_size_it_says_how_much_there_was(clock):
    progress = Progress("import", shown_events, Terminal(), clock)
    clock.now = 2.0
    progress(4, 0)
    assert progress.line() == "import  4 events  2 events/s"


def test_more_than_was_foreseen_is_all_there_is(clock):
    progress = Progress("import", shown_events, Terminal(), clock)
    progress(4, 2)
    assert progress.line().startswith("import 100%  4 events of 4 events")


def test_it_is_drawn_on_one_line_and_wiped_out(clock):
    terminal = Terminal()
    with Progress("check", shown_bytes, terminal, clock) as progress:
        clock.now = 1.0
        progress(1, 2)
        assert terminal.getvalue() == "\rcheck  50%  1 bytes of 2 bytes  1 bytes/s  0:01 left\033[K"
    assert terminal.getvalue().endswith("\033[K\r\033[K")
    progress.end()
    assert terminal.getvalue().count("\r\033[K") == 1


def test_it_is_drawn_a_few_times_a_second(clock):
    terminal = Terminal()
    progress = Progress("check", shown_bytes, terminal, clock)
    for i in range(100):
        clock.now = i / 100
        progress(i, 100)
    assert terminal.getvalue().count("\r") == 5


def test_it_is_cut_where_the_terminal_is_narrow(clock, monkeypatch):
    monkeypatch.setenv("COLUMNS", "12")
    terminal = Terminal()
    progress = Progress("check", shown_bytes, terminal, clock)
    progress(1, 2)
    assert terminal.getvalue() == "\rcheck  50%…\033[K"


def test_what_was_done_stays_when_it_is_finished(clock):
    terminal = Terminal()
    progress = Progress("migrate", shown_events, terminal, clock)
    clock.now = 75.0
    progress(150, 150)
    progress.finish()
    assert terminal.getvalue().endswith("\r\033[Kmigrate  150 events in 1:15, 2 events/s\n")


@pytest.mark.parametrize("stream", [io.StringIO(), None])
def test_in_a_pipe_and_without_a_stream_it_says_nothing(stream, monkeypatch):
    monkeypatch.setattr("sys.stderr", stream)
    with Progress("check") as progress:
        progress(1, 2)
        progress.finish()
    assert stream is None or stream.getvalue() == ""


@pytest.mark.parametrize("count, shown", [
    (0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (3 << 30, "3.0 GiB"), (5 << 50, "5120.0 TiB")])
def test_bytes_are_shown_in_the_unit_that_fits(count, shown):
    assert shown_bytes(count) == shown


@pytest.mark.parametrize("seconds, shown", [(0, "0:00"), (75.9, "1:15"), (3600, "1:00:00"), (360000, "100:00:00")])
def test_hours_are_shown_where_there_are_any(seconds, shown):
    assert shown_duration(seconds) == shown
