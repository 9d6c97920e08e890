"""Redis's patterns (server/globs.py)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.globs import MAX_PATTERN, Glob

# What Redis 7.0.15 says of each, the odd ones included.
MATCHES = [
    (b"", [b""], [b"a"]),
    (b"hello", [b"hello"], [b"hell", b"hello!", b""]),
    (b"*", [b"", b"a", b"a\r\n\0\xff"], []),
    (b"h?llo", [b"hello", b"h\nllo", b"h\xffllo"], [b"hllo", b"heello"]),
    (b"h*llo", [b"hllo", b"heeello"], [b"hell", b"ello"]),
    (b"h[ae]llo", [b"hello", b"hallo"], [b"hillo", b"hllo"]),
    (b"h[^e]llo", [b"hallo", b"h\nllo"], [b"hello"]),
    (b"h[a-c]llo", [b"hallo", b"hcllo"], [b"hdllo", b"h-llo"]),
    (b"h[c-a]llo", [b"hallo", b"hbllo"], [b"hdllo"]),
    (b"a*b*c", [b"abc", b"a-b-b-c-c"], [b"acb", b"ab"]),
    (b"a*ab", [b"aab", b"abab"], [b"ab"]),
    (b"**a**", [b"a", b"bab"], [b"b", b""]),
    (rb"h\*llo", [b"h*llo"], [b"hello", rb"h\*llo"]),
    (rb"[\]]", [b"]"], [b"\\"]),
    ("gr?ß*".encode(), ["größ".encode()[:2] + b"x" + "ß".encode()], ["größe".encode()]),     # bytes, not letters
    (b"[]", [], [b"", b"[]", b"]"]),
    (b"[^]", [b"a", b"\n"], [b"", b"ab"]),
    (b"[ab", [b"a", b"b"], [b"[ab", b"c"]),
    (b"[a-]b]", [b"a", b"]", b"b"], [b"ab]", b"-"]),
    (b"a\\", [b"a\\"], [b"a"]),
    (b"[\\", [b"\\"], [b"["]),
    (b"a.c$", [b"a.c$"], [b"abc", b"abc$"]),
]


@pytest.mark.parametrize("pattern, matching, others", MATCHES)
def test_a_pattern_means_what_it_means_to_redis(pattern, matching, others):
    glob = Glob(pattern)
    assert [key for key in matching + others if glob.matches(key)] == matching


@pytest.mark.parametrize("pattern, prefix, literal", [
    (b"orders", b"orders", True), (b"orders*", b"orders", False), (b"*orders", b"", False), (b"", b"", True),
    (rb"a\*b*", b"a*b", False), (rb"a\*b", b"a*b", True), (b"a.?", b"a.", False), (b"a[b]", b"a", False),
    (b"a\n\xff*", b"a\n\xff", False), (b"a[]", b"a", False),
])
def test_a_pattern_says_what_its_keys_begin_with_and_whether_there_is_only_one(pattern, prefix, literal):
    glob = Glob(pattern)
    assert (glob.prefix, glob.is_literal) == (prefix, literal)


@given(st.lists(st.sampled_from([b"a", b"b", b"*", b"?"]), max_size=8).map(b"".join),
       st.lists(st.sampled_from([b"a", b"b"]), max_size=8).map(b"".join))
def test_stars_match_what_trying_everything_finds(pattern, key):
    assert Glob(pattern).matches(key) == _matches(pattern, key)


def _matches(pattern, key):
    if pattern[:1] == b"*":
        return any(_matches(pattern[1:], key[at:]) for at in range(len(key) + 1))
    if not pattern or not key:
        return pattern == key
    return pattern[:1] in (b"?", key[:1]) and _matches(pattern[1:], key[1:])


@pytest.mark.parametrize("pattern", [b"*a" * 2000 + b"b", b"*[ab]" * 800 + b"c", b"*" * 4096])
def test_no_pattern_takes_longer_than_its_length_times_the_keys(pattern):
    assert Glob(pattern).matches(b"a" * 30000) == (pattern == b"*" * 4096)    # otherwise this takes years


def test_a_pattern_that_nobody_writes_by_hand_is_refused():
    Glob(b"a" * MAX_PATTERN)
    with pytest.raises(ValueError, match="a pattern of 4097 bytes, expected no more than 4096"):
        Glob(b"a" * (MAX_PATTERN + 1))
