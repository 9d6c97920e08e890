"""Data of others, made fit to be shown: it can't move a cursor, hide, or take more room than there is."""

import unicodedata

CUT = "…"


def printable(text):
    """`text` with every character that could move a cursor, or hide, as its escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def columns(text):
    """How many columns of a terminal `text`, which is printable, takes."""
    if text.isascii():
        return len(text)
    return sum(map(_columns_of, text))


def _columns_of(character):
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def fitted(text, room):
    """`text`, cut if it takes more than `room` columns; what is cut ends with an ellipsis."""
    if columns(text) <= room:
        return text
    taken, used = [], columns(CUT)
    for character in text:
        used += _columns_of(character)
        if used > room:
            break
        taken.append(character)
    return "".join(taken) + CUT if room > 0 else ""


def padded(text, room):
    """`text` in exactly `room` columns: cut, or with spaces behind it."""
    text = fitted(text, room)
    return text + " " * (room - columns(text))
