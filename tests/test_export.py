"""store/export.py: a store as lines of JSON, and back."""

import base64
import json
import zlib

import pytest
from disk import drop_index, flip, quick_index, records_of
from hypothesis import given, settings
from hypothesis import strategies as st

from store import export as export_module
from store import Change, NewEvent, Store, StreamDeleted, WrongVersion
from store.check import check
from store.errors import BadExport
from store.export import Counted, entry_lines, export, import_, import_some
from store.repair import repair
from store.retention import Cut

__all__ = ["quick_index"]


@pytest.fixture
def stores(tmp_path):
    """Make stores, which are closed when the test ends."""
    made = []

    def make(**options):
        made.append(Store(str(tmp_path / f"db{len(made)}"), sync="no", **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def lines_of(store):
    lines = []
    export(store, lines.append)
    return lines


def everything(store):
    return store.read_all(limit=1 << 20)


def test_the_lines_say_all_that_an_event_has(stores):
    store = stores(clock=lambda: 1234)
    store.append_all([Change("orders", NewEvent("created", b"one", b"id", b"{}", (b"a", b"b"))),
                      Change("ö", NewEvent("ä", b"\xff", tags=(b"\xff",)))])
    store.put("topic", b"key", b"\xfe")
    head, first, second, entry, end = map(json.loads, lines_of(store))
    assert head == {"meilies-export": 1, "store": store.uuid, "epoch": 1, "position": 2}
    assert first == {"stream": "orders", "number": 0, "position": 0, "time": 1234, "name": "created", "data": "one",
                     "id": "id", "metadata": "{}", "tags": ["a", "b"]}
    assert second == {"stream": "ö", "number": 0, "position": 1, "time": 1234, "name": "ä", "data_base64": "/w==",
                      "tags_base64": ["/w=="]}
    assert entry == {"topic": "topic", "key": "key", "value_base64": "/g=="}
    assert end == {"end": True, "events": 2, "entries": 1}


def test_an_import_makes_the_same_store(stores):
    clock = iter(range(10 ** 6, 10 ** 9, 7))
    one, other = stores(clock=lambda: next(clock)), stores()
    for i in range(2500):
        one.append(f"s{i % 7}", "happened", b"%d" % i, id=b"%d" % i if i % 2 else b"", metadata=b"m" if i % 3 else b"")
    one.append("long", "happened", b"\xff" * (1 << 21), id=b"x")
    one.append_all([Change(f"t{i % 3}", NewEvent("n", b"", tags=(b"t",))) for i in range(100)])
    one.put("topic", b"key", b"value")
    one.put("topic", b"gone", b"value")
    one.put("topic", b"gone", None)
    assert import_(other, lines_of(one)) == Counted(2601, 1)
    assert everything(other) == everything(one)
    assert other.topics() == ["topic"] and other.entries("topic") == [(b"key", b"value")]
    assert import_(other, lines_of(one)) == Counted(2601, 1, 2601)
    assert everything(other) == everything(one)


texts = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0:"), min_size=1, max_size=5)
events = st.tuples(texts.filter(lambda name: name != "$all"), texts, st.binary(max_size=20), st.binary(max_size=3),
                   st.binary(max_size=3), st.lists(st.binary(min_size=1, max_size=3).filter(lambda tag: 0 not in tag),
                                                   max_size=2), st.integers(0, 2 ** 63))


@settings(max_examples=25)
@given(st.lists(events, max_size=8))
def test_any_events_come_through(tmp_path_factory, drawn):
    folder = tmp_path_factory.mktemp("export")
    clock = iter([time for *_, time in drawn])
    with Store(str(folder / "one"), sync="no", clock=lambda: next(clock, 0)) as one:
        for i, (stream, name, data, id, metadata, tags, _) in enumerate(drawn):
            id = b"%d%b" % (i, id) if id else b""       # of each its own
            one.append_all([Change(stream, NewEvent(name, data, id, metadata, tuple(tags)))])
        lines, before = lines_of(one), everything(one)
    with Store(str(folder / "other"), sync="no") as other:
        import_(other, lines)
        assert everything(other) == before


def test_entries_come_in_pages(stores, monkeypatch):
    monkeypatch.setattr(export_module, "_BYTES", 100)
    one, other = stores(), stores()
    for i in range(20):
        one.put(f"topic{i % 3}", b"%d" % i, b"x" * 30)
    lines, cursor = entry_lines(one)
    assert 0 < len(lines) < 20 and cursor is not None
    assert import_(other, lines_of(one)) == Counted(0, 20)
    assert [other.entries(topic) for topic in other.topics()] == [one.entries(topic) for topic in one.topics()]


def test_an_import_that_was_interrupted_goes_on(stores):
    one, other = stores(), stores()
    for i in range(2500):
        one.append("s", "n", b"%d" % i)
    lines = lines_of(one)
    with pytest.raises(BadExport, match="line 1701: .* missing"):
        import_(other, lines[:1701])
    assert other.position == 1700
    assert import_(other, lines) == Counted(2500, 0, 1700)
    assert everything(other) == everything(one)


def test_events_that_are_others_are_refused(stores):
    one, other = stores(), stores()
    one.append("s", "n", b"one")
    other.append("s", "n", b"other")
    with pytest.raises(WrongVersion):
        import_(other, lines_of(one))
    assert [event.data for event in everything(other)] == [b"other"]


def test_what_is_published_meanwhile_is_exported_up_to_where_it_began(stores):
    store = stores()
    for _ in range(10):
        store.append("s", "n", b"")
    lines = []

    def write(line):
        lines.append(line)
        store.append("s", "n", b"later")

    assert export(store, write) == Counted(10, 0)
    assert json.loads(lines[-1]) == {"end": True, "events": 10, "entries": 0}


GOOD = [b'{"meilies-export": 1, "store": "", "epoch": 1, "position": 1}',
        b'{"stream": "s", "number": 0, "position": 0, "time": 1, "name": "n", "data": ""}',
        b'{"end": true, "events": 1, "entries": 0}']


@pytest.mark.parametrize("line, text, why", [
    (1, b'{"meilies-export": 2}', "an export of version 2"),
    (1, b'{}', "KeyError"),
    (2, b'rubbish', "Expecting value"),
    (2, b'[]', "TypeError"),
    (2, b'{}', "KeyError"),
    (2, b'{"stream": "s", "number": -1, "position": 0, "time": 1, "name": "n", "data": ""}', "number is -1"),
    (2, b'{"stream": "s", "number": 0, "position": 0, "time": 1.5, "name": "n", "data": ""}', "time is 1.5"),
    (2, b'{"stream": "s", "number": 0, "position": 0, "time": 1, "name": "n"}', "KeyError"),
    (2, b'{"stream": "s", "number": 0, "position": 0, "time": 1, "name": "n", "data_base64": "!"}', "Error"),
    (2, b'{"stream": "s", "number": 0, "position": 0, "time": 1, "name": "n", "data": 5}', "AttributeError"),
    (3, b'{"stream": "a:b", "number": 0, "position": 0, "time": 1, "name": "n", "data": ""}', "no ':'"),
    (3, b'{"end": true, "events": 2, "entries": 0}', "expected 2 and 0"),
    (4, b'{}', "behind the end"),
])
def test_a_line_that_is_wrong_is_named(stores, line, text, why):
    lines = [*GOOD[:line - 1], text]
    if line == 3 and b"stream" in text:
        lines.append(GOOD[2])
    with pytest.raises(BadExport, match=why) as raised:
        import_(stores(), lines)
    assert raised.value.line == len(lines)


def test_nothing_is_no_export(stores):
    with pytest.raises(BadExport, match="line 0: .* missing"):
        import_(stores(), [])


def test_progress_is_told_up_to_the_end(stores):
    one, other = stores(), stores()
    for _ in range(2500):
        one.append("s", "n", b"")
    told = []
    lines = []
    export(one, lines.append, lambda *so_far: told.append(so_far))
    import_(other, lines, lambda *so_far: told.append(so_far))
    assert told.count((2500, 2500)) == 2 and told.index((2500, 2500)) < len(told) - 1
    assert (1000, 2500) in told


# -- what isn't there any more ------------------------------------------------------------

def test_numbers_of_a_stream_that_was_cut_stay(stores):
    one, other = stores(), stores()
    for i in range(20):
        one.append(f"s{i % 2}", "n", b"%d" % i)
    one.truncate("s0", 7)
    one.truncate("s1", 10)      # all that is there
    import_(other, lines_of(one))
    assert [(event.stream, event.number, event.data) for event in everything(other)] == [
        (event.stream, event.number, event.data) for event in everything(one)]
    assert other.append("s0", "n", b"") == (10, 20)
    assert other.append("s1", "n", b"").number == 10
    assert import_(other, lines_of(one)).passed_over == 3


def test_streams_that_were_deleted_stay_so(tmp_path):
    with Store(str(tmp_path / "one"), sync="no") as one:
        for stream in "kept", "gone", "over":
            one.append_many(stream, [("n", b"")] * 5)
        one.delete("gone")
        one.delete("over", forever=True)
        lines = lines_of(one)
    with Store(str(tmp_path / "other"), sync="no") as other:
        import_(other, lines)
    with Store(str(tmp_path / "other"), sync="no") as other:
        assert [event.stream for event in everything(other)] == ["kept"] * 5
        assert other.append("gone", "n", b"").number == 5
        with pytest.raises(StreamDeleted):
            other.append("over", "n", b"")


def test_what_streams_keep_comes_into_effect_at_once_and_the_same_may_be_imported_again(stores):
    one, other = stores(), stores()
    for i in range(12):
        one.append("ab"[i % 2], "n", b"%d" % i)
    one.retain("a", max_count=4)
    one.truncate("b", 2)
    one.redact("b", 3)
    one.snapshot_put("b", 3, b"state")
    lines = lines_of(one)
    assert import_(other, lines).passed_over == 0
    for number in 6, 7:
        assert other.append("a", "n", b"").number == number
    assert [event.number for event in other.read("a")] == [4, 5, 6, 7]
    assert other.first_number("b") == 2 and other.snapshot_get("b").data == b"state"
    assert other.read("b", 3)[0].data == b""
    other.truncate("b", 5)
    other.redact("b", 5)
    assert import_(other, lines).passed_over == 8
    assert [event.number for event in other.read("b")] == [5], "what was cut since stays cut"
    assert [event.number for event in other.read("a")] == [4, 5, 6, 7]


def test_numbers_that_a_rule_hides_stay_those_of_events_that_were_there(stores):
    now = [10 ** 6]
    one, other = stores(clock=lambda: now[0]), stores()
    one.append_many("s", [("n", b"")] * 3)
    one.retain("s", max_age=5)
    now[0] += 10 ** 7
    import_(other, lines_of(one))
    assert everything(other) == [] and other.append("s", "n", b"").number == 3


def test_groups_come_with_how_far_they_are_and_those_that_are_there_stay(stores):
    one, other = stores(), stores()
    one.append_many("s", [("n", b"%d" % i) for i in range(6)])
    for name in "new", "there":
        group = one.group_create(name, "s", 0, names=["n"])
        group.read("m", 4)
        group.ack(0, 1)
        group.refuse(2, "why", park=True)
        group.keep()
    other.group_create("there", "s", 5)
    lines = lines_of(one)
    for _ in range(2):
        import_(other, lines)
        group = other.group("new")
        assert [given.key for given in group.read("m", 9)] == [3, 4, 5]
        assert [parked.key for parked in group.parked()] == [2]
        group.leave("m")
        assert [given.key for given in other.group("there").read("m", 9)] == [5]
        other.group("there").leave("m")
    other.close()
    with Store(other.path, sync="no") as again:
        assert [given.key for given in again.group("there").read("m", 9)] == [5]


ENTRIES = [
    ("retention", "s", "nonsense"), ("retention", "s", "[]"), ("retention", "xname", '{"max_count": 1}'),
    ("retention", "s", "{}"), ("retention", "sname", '{"max_count": 0}'), ("retention", "sname", '{"max": 1}'),
    ("cut", "s", "short"), ("redacted", "s", ""), ("snapshot", "s", "1"), ("group", "g", "nonsense"),
    ("group", "g", '["stream", "a:b", 0, 1, 1, 1]'), ("group", "g", "[1, 2, 3, 4, 5, 6]"), ("group-state", "g", "[]"),
    ("group-parked", "g", "[]"), ("group-parked", "g\0........", "1"),
]


@pytest.mark.parametrize("topic, key, value", ENTRIES)
def test_an_entry_that_could_not_be_read_again_is_refused(stores, topic, key, value):
    store = stores()
    store.append("s", "n", b"one")
    with pytest.raises(BadExport, match="line 1"):
        import_some(store, [json.dumps({"topic": topic, "key": key, "value": value}).encode()])
    assert store.topics() == []


@pytest.mark.parametrize("fields, why", [
    ({"stream": "a:b", "number": 0, "position": 0, "time": 1, "name": "n", "data": ""}, "a stream name has no ':'"),
    ({"topic": "cut", "key": "s", "value_base64": base64.b64encode(Cut(1 << 40).encode()).decode()},
     "is to go on from 1099511627776"),
])
def test_what_the_store_can_not_take_is_said_of_the_line_where_it_ends(stores, fields, why):
    store = stores()
    with pytest.raises(BadExport, match=f"line 1: .*{why}"):
        import_some(store, [json.dumps(fields).encode()])
    assert (store.position, store.topics()) == (0, [])


def test_a_cut_of_a_stream_that_is_not_there_yet_waits_for_it(stores):
    store = stores()
    value = base64.b64encode(Cut().encode()).decode()
    import_some(store, [json.dumps({"topic": "cut", "key": "s", "value_base64": value}).encode()])
    assert store.append("s", "n", b"") == (0, 0) and store.read("s") != []


def test_a_state_of_nonsense_is_refused(stores):
    state = base64.b64encode(zlib.compress(b'["0", [], [], [], 0, 0]')).decode()
    with pytest.raises(BadExport, match="line 1"):
        import_some(stores(), [json.dumps({"topic": "group-state", "key": "g", "value_base64": state}).encode()])


def test_events_that_damage_took_are_said_to_be_lost(tmp_path):
    with Store(str(tmp_path / "one")) as one:
        for i in range(5):
            one.append("s", "n", b"%d" % i)
    path = tmp_path / "one" / "000000000000.segment"
    flip(path, records_of(path)[2][0] + 90)
    repair(str(tmp_path / "one"))
    with Store(str(tmp_path / "one")) as one, Store(str(tmp_path / "other")) as other:
        lines = lines_of(one)
        assert json.loads(lines[3]) == {"lost": True, "first": 2, "stop": 3}
        assert import_(other, lines) == Counted(4, 0)
        assert [event.number for event in everything(other)] == [0, 1, 3, 4]
        assert other.append("s", "n", b"") == (5, 5)
        assert other.check().sound


def test_numbers_given_up_survive_everything(tmp_path):
    with Store(str(tmp_path)) as store:
        store.skip([("s", 3), ("t", (1 << 32) - 2), ("s", 2)])
        store.skip([("s", 2)])
        with pytest.raises(ValueError, match="4294967295 or less"):
            store.skip([("s", 1 << 32)])
        assert store.append("s", "n", b"") == (3, (1 << 32) + 1)
        assert store.append("t", "n", b"").number == (1 << 32) - 2
    drop_index(tmp_path)
    with Store(str(tmp_path)) as store:
        assert [(event.stream, event.number) for event in everything(store)] == [("s", 3), ("t", (1 << 32) - 2)]
        assert [event.number for event in store.read("s")] == [3]
        assert store.check().sound
    assert check(str(tmp_path)).sound
