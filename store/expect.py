"""What a stream must look like for an append to go ahead.

    ANY      whatever it looks like
    NONE     it has no event yet
    EXISTS   it has one
    7        its last event is number 7

A stream that was deleted has no event until it has one again; its last number stays.
"""

ANY = "any"
NONE = "none"
EXISTS = "exists"

WORDS = {ANY, NONE, EXISTS}
MAX_EXPECTED = (1 << 64) - 1


def check_expected(expected):
    """Raise ValueError unless `expected` is one of these."""
    if type(expected) is int:
        fits = 0 <= expected <= MAX_EXPECTED
    else:
        fits = type(expected) is str and expected in WORDS
    if not fits:
        raise ValueError(f"expected is {expected!r:.60}, expected 'any', 'none', 'exists' or the number of "
                         f"the stream's last event, from 0 to {MAX_EXPECTED}")


def is_met(expected, following, deleted=0):
    """Whether a stream whose next event gets the number `following` is as expected.

    deleted   the `following` that it had when it was deleted, 0 if it wasn't
    """
    if expected == ANY:
        return True
    if expected == NONE:
        return following <= deleted
    if expected == EXISTS:
        return following > deleted
    return expected == following - 1
