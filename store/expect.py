"""What a stream must look like for an append to go ahead.

    ANY      whatever it looks like
    NONE     it has no event yet
    EXISTS   it has one
    7        its last event is number 7
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


def is_met(expected, following):
    """Whether a stream whose next event gets the number `following` is as expected."""
    if expected == ANY:
        return True
    if expected == NONE:
        return following == 0
    if expected == EXISTS:
        return following > 0
    return expected == following - 1
