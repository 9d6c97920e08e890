"""server/keys.py: keys and the names of streams, one to one."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from server.keys import exists, has_group, key_of, stream_of, touches_key, touches_keys
from server.table import CommandError
from store import Store
from store.names import check_stream

# What may be near the edge of something that is escaped, most of all.
KEYS = st.lists(st.sampled_from([b"%", b"25", b"2", b"5", b"3A", b"A", b":", b"\r", b"\0", b"C3", b"%A9", b"\xc3",
                                 b"\xa9", b"$all", b"24all", b"x"]), min_size=1, max_size=12).map(b"".join)


@pytest.mark.parametrize("key, stream", [
    (b"orders", b"orders"),
    (b"orders:1", b"orders%3A1"),
    (b"\r\n\0", b"%0D%0A%00"),
    ("ünïcödé".encode(), "ünïcödé".encode()),
    (b"\xff\xc3", b"%FF%C3"),
    (b"100%", b"100%"),
    (b"100% of it", b"100% of it"),
    (b"50%3A1", b"50%253A1"),
    (b"50%3a1", b"50%3a1"),
    (b"%C3%A9", b"%C3%A9"),
    (b"%FF", b"%25FF"),
    (b"%25", b"%25"),
    (b"$all", b"%24all"),
    (b"%24all", b"%2524all"),
    (b"%24alls", b"%24alls"),
    (b"x%24all", b"x%24all"),
])
def test_a_key_is_written_as_a_stream_and_back(key, stream):
    assert (stream_of(key), key_of(stream)) == (stream, key)


@given(KEYS)
@example(b"%" + b"25" * 40 + b"3A%FF")
def test_each_key_is_a_stream_of_its_own_and_no_two_share_one(key):
    stream = stream_of(key)
    check_stream(stream)
    assert key_of(stream) == key


@given(KEYS)
def test_each_stream_is_the_key_of_its_own(name):
    try:
        check_stream(name)
    except ValueError:
        return
    assert stream_of(key_of(name)) == name


def test_what_was_escaped_thousands_of_times_is_done_in_no_time():
    for key in (b"%" + b"25" * 16_000, b"%" + b"25" * 8_000 + b"3A", b"%25" * 10_000):
        assert key_of(stream_of(key)) == key


@pytest.mark.parametrize("key, why", [
    (b"", "ERR a key is at least one byte, found an empty one"),
    (b"x" * 32769, "ERR a key that makes a stream name of 32769 bytes, expected no more than 32768"),
    (b":" * 10923, "ERR a key that makes a stream name of 32769 bytes, expected no more than 32768"),
])
def test_a_key_that_can_not_be_a_stream_is_refused(key, why):
    with pytest.raises(CommandError) as caught:
        stream_of(key)
    assert str(caught.value) == why


def test_a_key_exists_from_the_first_event_of_its_stream_until_that_is_deleted(tmp_path):
    with Store(tmp_path / "db", sync="no") as store:
        assert not exists(store, b"s")
        store.append("s", "x", b"")
        assert exists(store, b"s")
        store.truncate("s", 1)
        assert exists(store, b"s")
        store.delete("s")
        assert not exists(store, b"s")
        store.append("s", "x", b"")
        assert exists(store, b"s")
        store.delete("s", forever=True)
        assert not exists(store, b"s")


def test_a_group_that_was_made_for_a_key_keeps_the_key(tmp_path):
    with Store(tmp_path / "db", sync="no") as store:
        store.group_create("plain", "s")
        store.group_create("everything@s", "$all")
        store.group_create("other@s", "t")
        assert not exists(store, b"s")
        store.group_create("mine@s", "s")
        assert exists(store, b"s") and has_group(store, b"s")
        assert not exists(store, b"t")


def test_a_command_touches_the_streams_of_its_keys():
    arguments = [b"xadd", b"a:b", b"c"]
    assert touches_key("append")(None, arguments) == [("append", "stream", b"a%3Ab")]
    assert touches_key("read", 2)(None, arguments) == [("read", "stream", b"c")]
    assert touches_keys("read")(None, arguments) == [("read", "stream", b"a%3Ab"), ("read", "stream", b"c")]
