"""server/entries.py: ids of entries and numbers of events, fields and what an event has."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.entries import (
    MAX_ID,
    entries_in,
    entry_at,
    event_of,
    format_id,
    id_at,
    id_of,
    number_from,
    pairs_of,
    parse_end,
    parse_id,
    parse_start,
)
from server.table import CommandError
from store import Event, EventsLost, Store, record
from store.record import REDACTED

U64 = (1 << 64) - 1


# -- ids -----------------------------------------------------------------------------------

@pytest.mark.parametrize("text, id_", [
    (b"5", (5, 0)), (b"5-7", (5, 7)), (b"0-0", (0, 0)), (b"007-08", (7, 8)),
    (b"18446744073709551615-18446744073709551615", MAX_ID),
])
def test_an_id_is_milliseconds_and_a_sequence(text, id_):
    assert parse_id(text) == id_


@pytest.mark.parametrize("text", [
    b"", b"-", b"+", b"x", b"5-", b"-5", b"5-x", b"5-*", b"+5", b" 5", b"5 ", b"5-7-9", b"5\n", b"1_0", b"(5",
    b"\xd9\xa3", b"18446744073709551616", b"1-18446744073709551616", b"9" * 41, b"9" * 100_000,
])
def test_anything_else_is_no_id(text):
    for parse in (parse_id,) if text in (b"-", b"+", b"(5") else (parse_id, parse_start, parse_end):
        with pytest.raises(CommandError, match="^ERR Invalid stream ID specified as stream command argument$"):
            parse(text)


@pytest.mark.parametrize("text, start, end", [
    (b"-", (0, 0), (0, 0)),
    (b"+", MAX_ID, MAX_ID),
    (b"5", (5, 0), (5, U64)),
    (b"5-7", (5, 7), (5, 7)),
    (b"(5-7", (5, 8), (5, 6)),
    (b"(5", (5, 1), (5, U64 - 1)),
    (b"(5-0", (5, 1), (4, U64)),
    (b"(5-%d" % U64, (6, 0), (5, U64 - 1)),
])
def test_an_interval_begins_and_ends_as_redis_has_it(text, start, end):
    assert (parse_start(text), parse_end(text)) == (start, end)


def test_an_interval_may_not_begin_behind_the_last_id_or_end_before_the_first():
    with pytest.raises(CommandError, match="^ERR invalid start ID for the interval$"):
        parse_start(b"(%d-%d" % MAX_ID)
    with pytest.raises(CommandError, match="^ERR invalid end ID for the interval$"):
        parse_end(b"(0-0")
    with pytest.raises(CommandError, match="Invalid stream ID"):
        parse_start(b"(")


def test_an_event_s_id_is_its_time_and_its_number():
    assert id_of(Event("s", 7, 100, 1_700_000_000_123_999, "x", b"")) == format_id(1_700_000_000_123, 7)
    assert format_id(5, 0) == b"5-0"


class Clock:
    def __init__(self, ms=0):
        self.ms = ms

    def __call__(self):
        return self.ms * 1000 + 999


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(tmp_path, clock):
    with Store(tmp_path / "db", sync="no", clock=clock) as store:
        yield store


def append_at(store, clock, *times):
    for clock.ms in times:
        store.append("s", "x", b"")


@given(ms=st.integers(0, 60), seq=st.integers(0, 12))
def test_the_first_event_from_an_id_on_is_found(ten_events, ms, seq):
    store, ids = ten_events
    assert number_from(store, b"s", ms, seq) == sum(id_ < (ms, seq) for id_ in ids)


@pytest.fixture(scope="module")
def ten_events(tmp_path_factory):
    clock = Clock()
    with Store(tmp_path_factory.mktemp("ten") / "db", sync="no", clock=clock) as store:
        times = (10, 10, 10, 11, 20, 20, 30, 30, 30, 50)
        append_at(store, clock, *times)
        yield store, [(ms, number) for number, ms in enumerate(times)]


def test_no_id_is_before_the_first_event_or_behind_the_next(store, clock):
    assert number_from(store, b"s", 5, 5) == 0
    append_at(store, clock, 1, 2, 3, 4)
    store.truncate("s", 2)
    assert [number_from(store, b"s", *id_) for id_ in ((0, 0), (0, 1), (1, 0), (3, 2), (4, 0), *[MAX_ID] * 2)] == [
        2, 2, 2, 2, 3, 4, 4]


def test_an_id_that_is_there_is_found_though_the_clock_went_back(store, clock):
    times = (100, 101, 50, 51, 52)
    append_at(store, clock, *times)
    for number, ms in enumerate(times):
        assert number_from(store, b"s", ms, number) == number


def test_the_id_of_an_event_is_known_while_it_is_there(store, clock):
    append_at(store, clock, 1, 2, 3)
    store.truncate("s", 1)
    store.redact("s", 1)
    assert [id_at(store, b"s", number) for number in range(4)] == [None, (2, 1), (3, 2), None]
    assert id_at(store, b"t", 0) is None


def test_a_search_goes_past_what_damage_took():
    class Damaged:
        """Of events 0 to 9, those from 3 to 6 are lost; each came in the millisecond of its number."""

        def find(self, stream):
            return None

        def bounds(self, stream):
            return 0, 10

        def read(self, stream, first, stop, limit):
            if 3 <= first < 7:
                raise EventsLost("/db/0.segment", "s", first, 7)
            return [Event("s", first, first, first * 1000, "x", b"")][:stop - first]

    assert [number_from(Damaged(), b"s", ms, 0) for ms in (1, 2, 3, 5, 7, 8)] == [1, 2, 3, 3, 3, 8]
    assert id_at(Damaged(), b"s", 6) is None


# -- fields --------------------------------------------------------------------------------

@given(st.lists(st.binary(max_size=20), max_size=9).map(lambda some: some * 2))
def test_fields_and_values_are_given_back_as_they_were(pairs):
    pairs = [b"first", b"\r\n\0data", *pairs]
    name, data, metadata = event_of(pairs)
    assert pairs_of(Event("s", 0, 0, 0, name.decode(), data, metadata=metadata)) == pairs


def test_one_pair_is_a_name_and_data_and_nothing_else():
    assert event_of([b"name", b"data"]) == (b"name", b"data", b"")


@pytest.mark.parametrize("metadata", [
    b'{"user":1}', b"fields:", b"fields:*1\r\n$1\r\na\r\n", b"fields:*2\r\n$1\r\na\r\n", b"fields:*2\r\nab",
    b"fields:*2\r\n$1\r\na\r\n$5\r\nb\r\n", b"fields:*2\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n", b"fields:*x\r\n",
])
def test_metadata_of_another_kind_is_not_shown(metadata):
    assert pairs_of(Event("s", 0, 0, 0, "name", b"data", metadata=metadata)) == [b"name", b"data"]


def test_a_redacted_event_has_no_fields():
    assert pairs_of(Event("s", 0, 0, 0, "name", b"", metadata=REDACTED)) is None


@pytest.mark.parametrize("field", [b"", b"a\r", b"a\n", b"a\0", b"\xff", b"x" * 32769])
def test_a_first_field_that_is_no_name_is_refused(field):
    with pytest.raises(CommandError, match="^ERR the first field is the event's name: event name"):
        event_of([field, b"data"])


# -- entries in RESP -----------------------------------------------------------------------

METADATA = [b"", b"", b"", b"fields:*2\r\n$1\r\na\r\n$1\r\nb\r\n", REDACTED]
EVENTS = st.tuples(st.sampled_from([b"created", b"x", b"n\xc3\xb6"]), st.sampled_from(METADATA),
                   st.binary(max_size=9) | st.just(b"*5\r\n+event\r\n+s\r\n:1\r\n+x"))


@given(st.integers(0, 3), st.lists(EVENTS, min_size=1, max_size=130),
       st.sampled_from([[7], [7, 9], [7, 999_999, 1_000_000]]), st.booleans(), st.data())
def test_many_entries_are_made_as_each_by_itself(first, events, clocks, plain, data):
    frames = [record.FRAME % (b"s", number, name, len(value), value)
              for number, (name, _, value) in enumerate(events, 10 ** first - 1)]
    details = [(b"", metadata, b"") for _, metadata, _ in events]
    drafted = record.encode(7, 10 ** first - 1, 0, 5_000_000, 0, frames,
                            details=None if plain else details,
                            clocks=[clocks[i % len(clocks)] * 1000 for i in range(len(events))])
    one = record.decode(bytes(drafted), 0, 7)
    begin = data.draw(st.integers(0, len(events)))
    stop = data.draw(st.integers(begin, len(events)))
    each = [entry_at(one, i) for i in range(begin, stop)]
    assert entries_in(one, begin, stop) == [entry for entry in each if entry is not None]
