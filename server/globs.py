"""Redis's patterns for keys and channels, matched in a time that no pattern can make long.

    h?llo   [ab]c  [^a]  [a-z]   \\*            as Redis reads them, what is odd included
    news.*.[ab]?  ──>  "news."  *  ".[ab]?"    pieces between the stars, each of a fixed length

A key matches if it begins with the first piece, ends with the last, and has those between
them in order: each is searched once, from where the one before it was found first.  So a
star is never tried twice, and `*a*a*a*a*b` costs no more than its length times the key's.
"""

import re

# Bytes of a pattern.  A key may be longer, but nobody writes such a pattern by hand.
MAX_PATTERN = 4096


class Glob:
    """One pattern (bytes).

    pattern     as it was written; equal patterns are equal globs
    prefix      what each key that matches begins with
    is_literal  whether `prefix` is the one key that matches
    Raises      ValueError  more than MAX_PATTERN bytes
    """

    __slots__ = ("pattern", "prefix", "is_literal", "_first", "_between", "_last", "_last_length")

    def __init__(self, pattern):
        if len(pattern) > MAX_PATTERN:
            raise ValueError(f"a pattern of {len(pattern)} bytes, expected no more than {MAX_PATTERN}")
        pieces = _pieces(pattern)
        self.pattern = pattern
        self.prefix = b"".join(_leading_literals(pieces[0]))
        self.is_literal = len(pieces) == 1 and all(map(_is_literal, pieces[0]))
        self._first = _compiled(pieces[0])
        self._between = [_compiled(piece) for piece in pieces[1:-1] if piece]
        self._last, self._last_length = None, 0
        if len(pieces) > 1:
            self._last, self._last_length = _compiled(pieces[-1]), len(pieces[-1])

    def __eq__(self, other):
        return isinstance(other, Glob) and self.pattern == other.pattern

    def __hash__(self):
        return hash(self.pattern)

    def matches(self, key):
        """Whether `key` (bytes) is one of those that the pattern means."""
        if self._last is None:
            return self._first.fullmatch(key) is not None
        found = self._first.match(key)
        for piece in self._between:
            if found is None:
                return False
            found = piece.search(key, found.end())
        end = len(key) - self._last_length
        return found is not None and found.end() <= end and self._last.match(key, end) is not None


def _pieces(pattern):
    """What stands between the stars of a pattern, each as regular expressions of one byte each."""
    pieces = [[]]
    at = 0
    while at < len(pattern):
        byte = pattern[at:at + 1]
        at += 1
        if byte == b"*":
            pieces.append([])
        elif byte == b"?":
            pieces[-1].append(b".")
        elif byte == b"[":
            one, at = _class_at(pattern, at)
            pieces[-1].append(one)
        else:
            if byte == b"\\" and at < len(pattern):
                byte = pattern[at:at + 1]
                at += 1
            pieces[-1].append(re.escape(byte))
    return pieces


def _class_at(pattern, at):
    """(What stands in brackets from `at` on as a regular expression, where it ends).

    As in Redis a bracket that isn't closed ends with the pattern, one that is closed
    at once holds nothing, and what a range ends with may be the closing bracket.
    """
    negated = pattern.startswith(b"^", at)
    at += negated
    ranges = []
    while at < len(pattern):
        left = len(pattern) - at
        byte = pattern[at]
        if byte == 92 and left >= 2:        # a backslash
            ranges.append((pattern[at + 1], pattern[at + 1]))
            at += 2
        elif byte == 93:                    # ]
            at += 1
            break
        elif left >= 3 and pattern[at + 1] == 45:       # -
            ranges.append(tuple(sorted((byte, pattern[at + 2]))))
            at += 3
        else:
            ranges.append((byte, byte))
            at += 1
    if not ranges:
        return (b"." if negated else b"(?!.)."), at
    inside = b"".join([b"\\x%02x-\\x%02x" % one for one in ranges])
    return b"[%b%b]" % (b"^" if negated else b"", inside), at


def _is_literal(one):
    return len(one) == 1 and one != b"." or one[:1] == b"\\"


def _leading_literals(piece):
    """The bytes that a piece begins with, up to the first that may be another."""
    for one in piece:
        if not _is_literal(one):
            return
        yield one[-1:]


def _compiled(piece):
    return re.compile(b"".join(piece), re.DOTALL)
