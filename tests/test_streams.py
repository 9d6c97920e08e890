"""server/streams.py: streams are found by their names, a page at a time."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serving import Serving

from server import streams

NAMES = ("Order-1", "a", "b", "order-2", "order-3", "reorder", "ä")


@pytest.fixture
def serving(tmp_path):
    with Serving(tmp_path / "db") as serving:
        for name in NAMES:
            serving.store.append(name, "x", b"")
        yield serving


def search(client, *options):
    """(the name to go on after, names), in text."""
    following, names = client.ask("search-streams", *options)
    return following and following.decode(), [name.decode() for name in names]


@pytest.mark.parametrize("options, following, names", [
    ((), None, NAMES),
    (("count", 3), "b", NAMES[:3]),
    (("after", "b", "COUNT", 2), "order-3", NAMES[3:5]),
    (("after", "order-3"), None, ("reorder", "ä")),
    (("prefix", "order-"), None, ("order-2", "order-3")),
    (("prefix", "order-", "after", "a"), None, ("order-2", "order-3")),
    (("prefix", "order-", "after", "order-2"), None, ("order-3",)),
    (("containing", "ORDER"), None, ("Order-1", "order-2", "order-3", "reorder")),
    (("containing", "order", "prefix", "r"), None, ("reorder",)),
    (("containing", "no such"), None, ()),
    (("count", 7), None, NAMES),
])
def test_a_page_has_what_is_searched_and_where_to_go_on(client, options, following, names):
    assert search(client, *options) == (following, list(names))


def test_a_stream_without_events_is_not_found(client):
    client.ask("delete", "b")
    assert "b" not in search(client)[1]


@pytest.mark.parametrize("options, why", [
    (("prefix",), "found 'prefix', expected each of PREFIX p"),
    (("what", "a"), "found 'what', expected each of PREFIX p"),
    (("prefix", "a", "PREFIX", "b"), "found 'PREFIX', expected each of PREFIX p"),
    (("count", "x"), "COUNT is 'x', expected a number"),
    (("count", "0"), "COUNT is 0, expected 1 to 10000"),
    (("count", "10001"), "COUNT is 10001, expected 1 to 10000"),
    ((b"\xff", "a"), "expected each of PREFIX p"),
])
def test_what_is_not_understood_is_refused(client, options, why):
    assert why in client.error("search-streams", *options)


@settings(max_examples=30)
@given(names=st.sets(st.text("abC", min_size=1, max_size=3), min_size=1), text=st.text("abc", max_size=2),
       count=st.integers(1, 4), portion=st.integers(1, 4), portions=st.integers(1, 3))
def test_page_by_page_each_name_comes_once_however_little_is_looked_at(tmp_path_factory, names, text, count, portion,
                                                                      portions):
    with pytest.MonkeyPatch.context() as patch, Serving(tmp_path_factory.mktemp("db")) as serving:
        patch.setattr(streams, "_PORTION", portion)
        patch.setattr(streams, "_PORTIONS", portions)
        for name in names:
            serving.store.append(name, "x", b"")
        client, found, after = serving.connect(), [], ()
        while after is not None:
            following, page = search(client, "containing", text, "count", count, *after)
            assert len(page) <= count
            found += page
            after = following and ("after", following)
        assert found == sorted(name for name in names if text in name.lower())
