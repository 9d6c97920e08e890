"""server/sessions.py: who is logged in, and until when."""

import re

import pytest

from server import sessions
from server.sessions import IDLE, LONGEST, MOST_OF_ONE, Sessions
from server.users import User

ANN, BOB = User("ann", secret="one"), User("bob", secret="two")


class Clock:
    """Seconds that go on when a test says so."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def kept(clock):
    return Sessions(clock)


def test_a_token_leads_to_the_session_it_was_given_for(kept):
    token, other = kept.begin(ANN), kept.begin(BOB)
    assert (kept.get(token).name, kept.get(token).secret, kept.get(other).name) == ("ann", "one", "bob")


def test_a_token_has_256_random_bits_and_is_not_kept(kept):
    tokens = {kept.begin(ANN) for _ in range(MOST_OF_ONE)}
    assert len(tokens) == MOST_OF_ONE and all(re.fullmatch(r"[A-Za-z0-9_-]{43}", token) for token in tokens)
    assert not any(token.encode() in repr(kept._sessions).encode() for token in tokens)


@pytest.mark.parametrize("token", ["", "x", "\udcff", "A" * 100_000])
def test_a_token_that_was_not_given_out_leads_nowhere(kept, token):
    kept.begin(ANN)
    assert kept.get(token) is None
    kept.end(token)
    assert len(kept) == 1


def test_a_session_ends_when_it_is_idle(kept, clock):
    token = kept.begin(ANN)
    clock.now += IDLE - 1
    session = kept.get(token)
    clock.now += IDLE - 1
    assert kept.lasts(session)
    clock.now += 1
    assert not kept.lasts(session)
    assert kept.get(token) is None and session.ended and len(kept) == 0


def test_a_session_ends_however_much_it_is_used(kept, clock):
    token = kept.begin(ANN)
    began = clock.now
    while clock.now < began + LONGEST - IDLE:
        clock.now += IDLE / 2
        assert kept.get(token)
    clock.now = began + LONGEST
    assert kept.get(token) is None


def test_looking_whether_a_session_lasts_does_not_prolong_it(kept, clock):
    session = kept.get(kept.begin(ANN))
    clock.now += IDLE - 1
    assert kept.lasts(session)
    clock.now += 1
    assert not kept.lasts(session)


def test_logging_out_ends_one_session(kept):
    token, other = kept.begin(ANN), kept.begin(ANN)
    session = kept.get(token)
    kept.end(token)
    assert session.ended and not kept.lasts(session) and kept.get(token) is None and kept.get(other)


def test_who_logs_in_too_often_ends_the_session_he_used_least(kept):
    tokens = [kept.begin(ANN) for _ in range(MOST_OF_ONE)]
    others = kept.begin(BOB)
    kept.get(tokens[0])
    kept.begin(ANN)
    assert [token for token in tokens if kept.get(token) is None] == [tokens[1]]
    assert kept.get(others) and len(kept) == MOST_OF_ONE + 1


def test_there_are_no_more_sessions_than_a_bound(kept, monkeypatch):
    monkeypatch.setattr(sessions, "MOST", 3)
    tokens = [kept.begin(User(f"user{i}")) for i in range(5)]
    assert [kept.get(token) is not None for token in tokens] == [False, False, True, True, True]


def test_a_login_forgets_sessions_that_are_over(kept, clock):
    for _ in range(3):
        kept.begin(ANN)
    clock.now += IDLE
    kept.begin(BOB)
    assert len(kept) == 1
