"""Where the replies differ, and why: scenes.py says behind a call which of these makes its replies differ."""

from typing import NamedTuple


class Difference(NamedTuple):
    """title   of what differs, as a heading of the documentation
    why        it does, and what to do about it
    same_code  both replies are errors, with the same first word
    """

    title: str
    why: str
    same_code: bool = False


DIFFERENCES = {
    "words": Difference(
        "an error's words", "The error's first word is the same, and the others say more.", same_code=True),
}
