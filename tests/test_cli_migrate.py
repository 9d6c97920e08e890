"""migrate: each event once, in order, and never into a stream that isn't a copy."""

import signal
import sys
import threading
from types import SimpleNamespace

import pytest
from fake_server import FakeMeilies, free_port
from terminals import Terminal
from test_cli import end_of, start, until

import meilies_cli
from cli import migrating
from cli.migrating import Copy, Migration
from cli.problems import Failed
from meilies_client import Client, Event, Selector
from terminal.progress import Progress

HERE, THERE = "ab" * 16, "cd" * 16


@pytest.fixture(autouse=True)
def settled(monkeypatch):
    monkeypatch.setattr(migrating, "SETTLED", 0.01)


@pytest.fixture
def source():
    with FakeMeilies(HERE) as server:
        yield server


@pytest.fixture
def destination():
    with FakeMeilies(THERE) as server:
        yield server


@pytest.fixture
def meilies():
    with FakeMeilies() as server:
        yield server


def servers(source, destination):
    return "--src-server", f"127.0.0.1:{source.port}", "--dst-server", f"127.0.0.1:{destination.port}"


@pytest.fixture
def migrate(capfd):
    """Run it in this process: migrate(source, destination, *more) -> (exit status, stdout, stderr)."""
    def migrate(source, destination, *more):
        try:
            status = meilies_cli.main(["migrate", *servers(source, destination), *more])
        except SystemExit as end:
            status = end.code
        return (status, *capfd.readouterr())
    return migrate


def fill(server):
    server.publish("a", b"a0", b"\xff\x00")
    server.publish("b", b"b0", name="other name")
    server.publish("a", b"a2")


def test_all_streams_are_copied_in_order_and_nothing_is_printed(migrate, source, destination):
    fill(source)
    assert migrate(source, destination) == (0, "", "")
    assert destination.events == source.events


def test_run_again_it_copies_what_is_new_and_nothing_twice(migrate, source, destination):
    fill(source)
    migrate(source, destination)
    source.publish("a", b"a3")
    source.publish("new", b"0")
    assert migrate(source, destination)[0] == 0
    assert migrate(source, destination)[0] == 0
    assert destination.events == source.events


def test_an_empty_source_is_copied_at_once(migrate, source, destination):
    assert migrate(source, destination) == (0, "", "")
    assert destination.events == []


def test_named_streams_are_copied_and_no_others(migrate, source, destination):
    fill(source)
    assert migrate(source, destination, "b") == (0, "", "")
    assert destination.events == [("b", 0, "other name", b"b0")]


def test_run_again_it_goes_on_in_the_middle_of_the_source(migrate, source, destination):
    fill(source)
    migrate(source, destination)
    source.publish("new", b"0")
    migrate(source, destination)
    assert source.asked("follow")[-1] == ["$all", "4", "TO", "5"]
    assert destination.events == source.events


def test_streams_that_were_copied_in_another_order_are_completed(migrate, source, destination):
    fill(source)
    assert migrate(source, destination, "b")[0] == 0
    assert migrate(source, destination)[0] == 0
    assert migrate(source, destination)[0] == 0
    assert sorted(destination.events) == sorted(source.events)


def test_nothing_is_copied_when_one_stream_of_all_can_not_be(migrate, source, destination):
    fill(source)
    destination.publish("b", b"mine")
    assert migrate(source, destination)[0] == 1
    assert len(destination.events) == 1


def test_a_range_becomes_events_from_0_and_resumes_in_itself(migrate, source, destination):
    source.publish("s", *[b"%d" % i for i in range(10)])
    assert migrate(source, destination, "s:4:6")[0] == 0
    assert migrate(source, destination, "s:4:9")[0] == 0
    assert migrate(source, destination, "s:4:5")[0] == 0
    assert [event[3] for event in destination.events] == [b"4", b"5", b"6", b"7", b"8"]


def test_a_range_past_the_end_ends_where_the_source_does(migrate, source, destination):
    source.publish("s", b"0", b"1")
    assert migrate(source, destination, "s:1:100")[0] == 0
    assert migrate(source, destination, "s:7:100")[0] == 1
    assert [event[3] for event in destination.events] == [b"1"]


def test_a_stream_that_is_not_there_is_copied_as_nothing(migrate, source, destination):
    assert migrate(source, destination, "nothing:3") == (0, "", "")


def test_from_meilies_all_streams_are_copied(migrate, meilies, destination):
    fill(meilies)
    meilies.listed.update(["$all", "only asked for"])
    assert migrate(meilies, destination) == (0, "", "")
    assert sorted(destination.events) == sorted(meilies.events)
    meilies.publish("a", b"a3")
    assert migrate(meilies, destination)[0] == 0
    assert sorted(destination.events) == sorted(meilies.events)


def test_to_meilies_all_streams_are_copied(migrate, source, meilies):
    fill(source)
    assert migrate(source, meilies) == (0, "", "")
    assert meilies.events == source.events


def test_what_meilies_would_cut_is_not_copied_to_it(migrate, source, meilies):
    source.publish("s", b"ok", b"a\r\nb")
    status, _, err = migrate(source, meilies)
    assert status == 1
    assert err.startswith("meilies_cli: event 1 of s holds CR LF, where the destination")
    assert meilies.events == []


def test_a_copy_to_itself_is_refused(migrate, source):
    with FakeMeilies(HERE) as same_store:
        status, _, err = migrate(source, same_store)
    assert (status, err) == (
        1, "meilies_cli: source and destination are the same store; nothing was copied\n")


def test_a_destination_with_more_events_than_the_source_is_refused(migrate, source, destination):
    source.publish("s", b"0")
    destination.publish("s", b"0", b"mine")
    status, _, err = migrate(source, destination)
    assert (status, err) == (
        1, "meilies_cli: s: the destination has 2 events, the source 1; nothing was copied to it\n")
    assert len(destination.events) == 2


@pytest.mark.parametrize("data, name", [(b"other", "n"), (b"1", "m")])
def test_a_destination_that_is_no_copy_is_refused(migrate, source, destination, data, name):
    source.publish("s", b"0", b"1", b"2")
    destination.publish("s", b"0")
    destination.publish("s", data, name=name)
    status, _, err = migrate(source, destination)
    assert (status, err) == (1, "meilies_cli: s: event 1 at the destination is not event 1 of the source; "
                                "nothing was copied to it\n")
    assert len(destination.events) == 2


def test_name_and_data_are_not_mixed_up_when_compared():
    assert migrating._digest(Event("s", 0, "ab", b"c")) != migrating._digest(Event("s", 0, "a", b"bc"))


def test_a_destination_lost_in_the_middle_of_a_batch_gets_each_event_once(migrate, source, destination):
    source.publish("s", *[b"%d" % i for i in range(50)])
    destination.publishes = 20
    original = destination._publish_command

    def publish(sock, *arguments):
        goes_on = original(sock, *arguments)
        if not goes_on:
            destination.publishes = None
        return goes_on

    destination._publish_command = publish
    status, _, err = migrate(source, destination)
    assert (status, err) == (0, "")
    assert destination.events == source.events


def test_a_destination_lost_again_and_again_is_an_error(migrate, source, destination):
    source.publish("s", b"0", b"1")
    destination.publishes = 0
    status, _, err = migrate(source, destination, "--tries", "1")
    assert (status, destination.events) == (1, [])
    assert "lost again and again" in err


def test_a_source_lost_in_the_middle_is_waited_for(migrate, source, destination):
    source.publish("s", b"0")
    with start("migrate", *servers(source, destination), "--follow") as process:
        until(lambda: len(destination.events) == 1)
        source.disconnect()
        source.publish("s", b"1")
        source.publish("new", b"0")
        until(lambda: destination.events == source.events)
        process.send_signal(signal.SIGINT)
        status, err = end_of(process)
    assert status == 130
    assert "trying again in 0.1 s" in err


def test_a_refused_event_is_named(migrate, source, destination):
    source.publish("s", b"0", b"1")
    source.publish("s", b"2", name="bad")
    status, _, err = migrate(source, destination)
    assert (status, err) == (1, "meilies_cli: the destination refused event 2 of s: ERR bad name; "
                                "what is before it was copied\n")
    assert len(destination.events) == 2


def test_an_event_that_somebody_else_publishes_meanwhile_is_noticed(migrate, source, destination):
    source.publish("s", b"0", b"1")
    original = destination._publish_command

    def publish(sock, *arguments):
        destination._publish("s", "foreign", b"")
        return original(sock, *arguments)

    destination._publish_command = publish
    status, _, err = migrate(source, destination)
    assert (status, err) == (1, "meilies_cli: s: the destination's last event is 3, expected 1: "
                                "somebody else publishes to it; stopped\n")


def test_a_destination_that_lost_events_is_told_apart(source, destination):
    with Client(port=source.port) as here, Client(port=destination.port) as there:
        migration = Migration(here, there, False, Progress("migrate"))
        migration._copies = {"s": Copy("s", 0, 9)}
        with pytest.raises(Failed, match="^s: found event 4, expected 0, which the destination lacks"):
            migration._copy([Event("s", 4, "n", b"")])


def test_the_destination_must_stand_still_before_a_copy_is_joined(source, destination):
    source.publish("s", b"0", b"1", b"2")
    destination.publish("s", b"0")
    original = destination._last_event_number_command
    late = [b"1", b"2"]

    def answer(sock, stream):
        original(sock, stream)
        if late:
            destination.publish("s", late.pop(0))

    destination._last_event_number_command = answer
    copy = Copy("s", 0, 9)
    with Client(port=source.port) as here, Client(port=destination.port) as there:
        Migration(here, there, False, Progress("migrate")).join([copy])
    assert copy.next == 3


def test_follow_copies_named_streams_as_they_grow(source, destination):
    source.publish("a", b"0")
    with start("migrate", *servers(source, destination), "--follow", "a", "b:0:1") as process:
        until(lambda: len(destination.events) == 1)
        source.publish("a", b"1")
        source.publish("b", b"0", b"1")
        until(lambda: len(destination.events) == 3)
        process.send_signal(signal.SIGINT)
        assert end_of(process) == (130, "")


def test_follow_ends_when_every_to_is_reached(migrate, source, destination):
    source.publish("a", b"0", b"1")
    assert migrate(source, destination, "--follow", "a:0:2")[0] == 0
    assert migrate(source, destination, "--follow", "a:0:2")[0] == 0
    assert len(destination.events) == 2


def test_streams_are_taken_a_few_at_a_time(migrate, meilies, destination, monkeypatch):
    monkeypatch.setattr(migrating, "STREAMS_AT_ONCE", 2)
    for i in range(5):
        meilies.publish(f"s{i}", b"0")
    for _ in range(2):
        assert migrate(meilies, destination)[0] == 0
    assert len(destination.events) == 5


def test_a_server_that_is_not_there_is_an_error_at_once(migrate, source):
    status, _, err = migrate(source, SimpleNamespace(port=free_port()))
    assert status == 1
    assert "Connection refused" in err


def test_what_is_left_of_a_copy_is_nothing_at_its_end():
    copy = Copy("s", 2, 3)
    assert copy.left == Selector("s", 2, 3)
    copy.next = 3
    assert copy.left is None


# -- progress

def on_terminal(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    return terminal


def test_on_a_terminal_a_migration_ends_with_its_progress(source, destination, monkeypatch):
    terminal = on_terminal(monkeypatch)
    fill(source)
    assert meilies_cli.main(["migrate", *servers(source, destination)]) == 0
    assert terminal.getvalue().split("\033[K")[-1].startswith("migrate  4 events in ")


def test_two_migrations_at_once_never_publish_between_each_other_unnoticed(source, destination):
    source.publish("s", *[b"%d" % i for i in range(5000)])
    done = threading.Event()
    found = []

    def one():
        with Client(port=source.port) as here, Client(port=destination.port) as there:
            try:
                Migration(here, there, False, Progress("migrate")).run([])
            except Failed as error:
                found.append(str(error))
        done.set()

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert done.is_set()
    assert found or destination.events == source.events
