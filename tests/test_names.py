"""store/names.py: what a stream and an event may be called."""

import pytest

from store.names import MAX_NAME, check_name, check_stream


@pytest.mark.parametrize("name", [b"s", b"a stream", "fünf".encode(), b"$al", b"$all2", b"s" * MAX_NAME])
def test_a_name_that_fits_a_line_names_a_stream_and_an_event(name):
    check_stream(name)
    check_name(name)


@pytest.mark.parametrize("name, why", [
    (b"", "{} is empty"),
    (b"a\rb", r"{} has no CR, LF or NUL, found 'a\rb'"),
    (b"a\nb", r"{} has no CR, LF or NUL, found 'a\nb'"),
    (b"a\0b", r"{} has no CR, LF or NUL, found 'a\x00b'"),
    (b"a\xffb", r"{} is UTF-8, found 'a\xffb'"),
    (b"\xff" * 100, "{} is UTF-8, found '" + r"\xff" * 60 + "'..."),
    (b"s" * (MAX_NAME + 1), "{} of 32769 bytes, expected no more than 32768"),
])
def test_what_would_break_a_line_is_refused(name, why):
    with pytest.raises(ValueError) as caught:
        check_stream(name)
    assert str(caught.value) == why.format("stream name")
    with pytest.raises(ValueError) as caught:
        check_name(name)
    assert str(caught.value) == why.format("event name")


def test_a_colon_ends_the_name_of_a_stream_and_may_be_in_that_of_an_event():
    check_name(b"a:b")
    with pytest.raises(ValueError) as caught:
        check_stream(b"a:b")
    assert str(caught.value) == "a stream name has no ':', found 'a:b'"


def test_all_is_no_stream_to_append_to():
    check_name(b"$all")
    with pytest.raises(ValueError, match=r"\$all is every stream"):
        check_stream(b"$all")
