"""PUBLISH, with a name or to a channel (server/publishing.py); what subscribers get of it is in test_pubsub.py."""

from types import SimpleNamespace

import pytest
from serving import OK, Serving, publish

import resp
from server.appending import ALIKE, BATCHED
from server.channels import Channels
from server.table import CommandError

SERVER = SimpleNamespace(limits=SimpleNamespace(max_event_size=5), feeds=SimpleNamespace(channels=Channels()))


def test_a_message_is_an_event_called_message_of_the_stream_of_its_channel(serving, client):
    assert [client.ask("publish", *request) for request in (["a:1", "one"], ["a:1", "x"], ["b", ""])] == [0] * 3
    assert [(one.stream, one.name, one.data) for one in serving.store.read_all()] == [
        ("a%3A1", "message", b"one"), ("a%3A1", "message", b"x"), ("b", "message", b"")]


def test_both_forms_may_be_mixed_in_a_pipeline(serving, client):
    client.send((publish("a", "1") + resp.command("PUBLISH", "a", "2") * 2 + publish("a", "3") * 2) * 20)
    client.recv_exactly((OK + b":0\r\n" * 2 + OK * 2) * 20)
    assert [event.data for event in serving.store.read("a", 0)] == [b"1", b"2", b"2", b"3", b"3"] * 20


def test_a_message_that_is_too_long_is_refused_and_no_other(tmp_path):
    with Serving(tmp_path / "db", max_event_size=1000) as serving:
        client = serving.connect()
        client.send(resp.command("publish", "a", "d" * 1000) + resp.command("publish", "a", "d" * 1001)
                    + resp.command("publish", "a", "d"))
        assert [client.value() for _ in range(3)] == [
            0, resp.ErrorReply("ERR data of 1001 bytes, expected no more than 1000"), 0]


@pytest.mark.parametrize("wrong", [[b"publish", b"", b"d"], [b"publish", b"a", b"123456"]])
def test_one_that_is_wrong_is_for_the_handler_to_answer(wrong):
    right = [b"publish", b"a", b"d"]
    assert ALIKE[b"publish"](SERVER, None, [right, wrong]) is None
    assert len(ALIKE[b"publish"](SERVER, None, [right, right]).events) == 2
    with pytest.raises(CommandError):
        BATCHED[b"publish"](SERVER, None, wrong)


def test_a_publish_with_a_name_that_comes_alone_is_answered_ok():
    append, size = BATCHED[b"publish"](SERVER, None, [b"publish", b"a", b"x", b"d"])
    assert (append.events[0][:4], append.reply(None), size) == ((b"a", append.events[0][1], b"x", b"d"), OK, 10)
