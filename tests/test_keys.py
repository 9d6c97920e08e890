"""store/keys.py: what an event is looked up by."""

from store import record
from store.keys import entries_of, hash_of, id_key, keys_of, tag_key
from store.record import join_tags


def encoded(frames, pack=None, details=None, position=7):
    number = pack[1][0] if pack else 0
    return record.decode(record.encode(1, number, position, 5, 0, frames, details=details, pack=pack), 0, 1)


def test_a_hash_is_the_same_on_every_machine_and_has_a_sign():
    assert hash_of(b"ione\0two") == -7706343157598943502
    assert id_key(b"one", b"two") == hash_of(b"ione\0two")
    assert {hash_of(b"%d" % i) < 0 for i in range(20)} == {False, True}


def test_keys_of_different_kinds_differ_though_their_bytes_are_alike():
    keys = [id_key(b"a", b"b"), id_key(b"ab", b""), id_key(b"", b"ab"), tag_key(b"a\0b"), tag_key(b"b", b"a"),
            tag_key(b"b")]
    assert len(set(keys)) == len(keys)


def test_an_event_is_found_by_its_id_and_by_each_tag_alone_and_with_its_name():
    assert keys_of(b"s", b"n", b"", ()) == []
    assert keys_of(b"s", b"n", b"id", ()) == [id_key(b"s", b"id")]
    assert sorted(keys_of(b"s", b"n", b"id", (b"a", b"b", b"a"))) == sorted([
        id_key(b"s", b"id"), tag_key(b"a"), tag_key(b"a", b"n"), tag_key(b"b"), tag_key(b"b", b"n")])


def test_the_keys_of_a_record_are_those_of_its_events():
    frames = record.frames(b"s", b"n", 0, [b"one"]) + record.frames(b"s", b"m", 1, [b"two"])
    assert entries_of(encoded(frames)) == []
    details = [(b"id", b"metadata", b""), (b"", b"", join_tags([b"tag"]))]
    expected = [(id_key(b"s", b"id"), 7), (tag_key(b"tag"), 8), (tag_key(b"tag", b"m"), 8)]
    assert entries_of(encoded(frames, details=details)) == expected


def test_the_keys_of_a_pack_are_those_of_each_stream():
    frames = record.frames(b"s", b"n", 3, [b"one"]) + record.frames(b"t", b"n", 0, [b"two"])
    found = encoded(frames, pack=([b"s", b"t"], [3, 0]), details=[(b"id", b"", b"")] * 2)
    assert entries_of(found) == [(id_key(b"s", b"id"), 7), (id_key(b"t", b"id"), 8)]
