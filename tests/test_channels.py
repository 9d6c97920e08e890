"""What channels and patterns stand for (server/channels.py)."""

import pytest

from server.channels import CHANNEL, PATTERN, Channels, parse_channel, parse_pattern, touched
from server.keys import stream_of
from server.table import CommandError
from store.filter import Filter
from store.names import ALL


def test_a_channel_is_the_stream_of_its_key():
    selector, form, stream = parse_channel(b"orders:1")
    assert (selector, stream) == ((CHANNEL, b"orders:1"), b"orders%3A1")
    assert not form.as_stored
    assert touched(selector) == ("stream", b"orders%3A1")


def test_a_pattern_that_means_one_key_is_its_stream():
    selector, form, stream = parse_pattern(rb"orders\:\*")
    assert stream == b"orders%3A*" and form.filter is None and form.glob is None
    assert touched(selector) == ("stream", b"orders%3A*")


@pytest.mark.parametrize("pattern, prefix", [
    (b"*", b""), (b"orders*", b"orders"), (b"orders:*", b"orders%3A"), (b"o[a-z]*", b"o"), (b"?", b""),
    ("grö*".encode(), "grö".encode()),
    ("grö".encode()[:3] + b"*", b"gr"),         # half a character
    (b"gr\xff-*", b"gr%FF-"),
    (b"a%*", b"a"), (b"a%3*", b"a"), (b"a%25b*", b"a"),
    (b"$*", b""), (b"$all*", b""), (b"$all-of-it*", b"$all-of-it"),
])
def test_a_pattern_is_of_all_streams_that_its_beginning_passes(pattern, prefix):
    selector, form, stream = parse_pattern(pattern)
    assert stream == ALL
    assert form.filter == (Filter(prefix) if prefix else None)
    assert touched(selector) == ("prefix", prefix)


KEYS = [b"orders", b"orders:1", b"$all", b"$allx", b"a%", b"a%3", b"a%3A", b"a%25", b"a%25b", b"a%25:", b"a:%25",
        b"a\r\n", "grö".encode(), "größe".encode(), b"gr\xc3", b"gr\xc3z", b"gr\xff-x"]


@pytest.mark.parametrize("key", KEYS)
def test_no_beginning_of_a_key_passes_over_its_stream(key):
    for length in range(len(key) + 1):
        pattern = key[:length] + b"*"
        _, prefix = touched((PATTERN, pattern))
        assert stream_of(key).startswith(prefix), pattern


@pytest.mark.parametrize("parse, name", [(parse_channel, b""), (parse_pattern, b""), (parse_pattern, b"a" * 5000),
                                         (parse_channel, b"a" * 40_000)])
def test_what_no_key_can_be_is_refused(parse, name):
    with pytest.raises(CommandError, match="^ERR "):
        parse(name)


def test_who_an_event_is_for_is_counted_once_for_each_subscription():
    channels = Channels()
    for selector in ((CHANNEL, b"a:1"), (CHANNEL, b"a:1"), (CHANNEL, b"b"),
                     (PATTERN, b"a*"), (PATTERN, b"a*"), (PATTERN, b"*1")):
        channels.add(selector)
    assert channels.receivers(b"a%3A1") == 5
    assert [channels.receivers(stream) for stream in (b"b", b"a", b"c1", b"c")] == [1, 2, 1, 0]
    assert (channels.subscribers(b"a:1"), channels.subscribers(b"a")) == (2, 0)
    assert (sorted(channels.names()), channels.count, channels.patterns) == ([b"a:1", b"b"], 2, 2)
    for selector in ((CHANNEL, b"a:1"), (PATTERN, b"a*"), (PATTERN, b"*1"), (CHANNEL, b"b")):
        channels.remove(selector)
    assert (channels.receivers(b"a%3A1"), channels.names(), channels.patterns) == (2, [b"a:1"], 1)
    assert channels.receivers(b"a%3A1") == 2        # asked again, and nothing has changed
    channels.remove((CHANNEL, b"a:1"))
    channels.remove((PATTERN, b"a*"))
    assert (channels.receivers(b"a%3A1"), channels.names(), channels.patterns) == (0, [], 0)


def test_so_many_counts_are_kept_and_no_more(monkeypatch):
    monkeypatch.setattr("server.channels._MOST_KEPT", 5)
    channels = Channels()
    channels.add((PATTERN, b"1*"))
    assert [channels.receivers(b"%d" % number) for number in (*range(20), *range(20))] == [
        int(str(number).startswith("1")) for number in (*range(20), *range(20))]
    assert len(channels._receivers) <= 5
