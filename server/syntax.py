"""What a command's usage says: one line, read by people as it is, and by redis-cli as a tree.

    key [MAXLEN|MINID [=|~] threshold] *|id field value [field value ...]
    |    |                             |    '-- what repeats is said once more, in brackets with dots
    |    '-- in capitals: the word itself      '-- | without spaces: one of these words
    '-- in small letters: a value

    [a | b c]   one of these, or nothing      <a | b c>   one of these
    GET name | RESET                          at the top, beginning with words: subcommands

A word without a small letter is sent as it is, and so is `$all`.
"""

import re
from functools import cache
from typing import NamedTuple

# A word may have brackets of its own, as in stream[:from[:to]].
_PARTS = re.compile(r"\.\.\.|[][<>]|[^][<>\s]+(?:\[:\S*\])?")
_LITERALS = ("$all",)

KEY, STRING, INTEGER, PATTERN, TOKEN, ONEOF, BLOCK = "key string integer pattern pure-token oneof block".split()

_KEYS = ("key", "stream")
_INTEGERS = frozenset("bits count cursor db entries-read iterations limit m maxage milliseconds min-idle-time ms n "
                      "number numkeys position retries seconds since tries".split())


class Argument(NamedTuple):
    """One argument, or several that belong together.

    name        what it is called
    kind        KEY, STRING, INTEGER, PATTERN; TOKEN is a word that is sent as it is, `token`;
                ONEOF and BLOCK are one and all of `arguments`
    optional    whether it may be left out
    multiple    whether it may be there more than once
    """

    name: str
    kind: str
    token: str = ""
    optional: bool = False
    multiple: bool = False
    arguments: tuple = ()

    @property
    def least(self):
        """The number of strings that it takes at least."""
        return 0 if self.optional else self.needed

    @property
    def needed(self):
        """The same where it isn't left out."""
        counts = [one.least for one in self.arguments]
        inside = {ONEOF: min, BLOCK: sum}[self.kind](counts) if counts else 1
        return inside + bool(self.token and self.kind != TOKEN)

    @property
    def fixed(self):
        """Whether it takes the same number of strings each time."""
        same = self.kind != ONEOF or len({one.least for one in self.arguments}) == 1
        return not (self.optional or self.multiple) and same and all(one.fixed for one in self.arguments)


@cache
def parse(usage):
    """The tuple of Arguments that a usage names.  Raises ValueError where it isn't one."""
    return _sequence(_alternatives(_Reader(usage)))


def alternatives(usage):
    """[text, …] of what a usage has between the bars at its top."""
    found, depth = [""], 0
    for part in _PARTS.findall(usage):
        depth += part in ("[", "<")
        depth -= part in ("]", ">")
        if part == "|" and not depth:
            found.append("")
        else:
            found[-1] += part if part in ("]", ">") or found[-1][-1:] in ("", "[", "<") else f" {part}"
    return found


@cache
def subcommands(usage):
    """{word in capitals: the tuple of its Arguments} of a usage that is a list of subcommands; {} if it isn't."""
    found = _alternatives(_Reader(usage))
    if not all(one and one[0].kind == TOKEN and one[0].token.isupper() for one in found):
        return {}
    return {one[0].token: one[1:] for one in found}


def arity(arguments, words=1):
    """Redis's arity of a command of so many words and these arguments: at least, if it is negative."""
    least = words + sum(one.least for one in arguments)
    return least if all(one.fixed for one in arguments) else -least


class _Reader:
    """The parts of a usage, one after the other."""

    def __init__(self, usage):
        self.usage = usage
        self._parts = _PARTS.findall(usage)
        self._at = 0

    def next(self):
        """The next part; "" at the end."""
        part = self._parts[self._at] if self._at < len(self._parts) else ""
        self._at += 1
        return part


def _alternatives(reader, end=""):
    """[a tuple of Arguments, …] up to the part `end`; behind `...` the last one is None."""
    found, sequence = [], []
    while True:
        part = reader.next()
        if part in (end, "|"):
            found.append(tuple(sequence))
            if part == end:
                return found
            sequence = []
        elif part == "...":
            if reader.next() != end or not end:
                raise ValueError(f"'...' isn't the last in brackets of its own in {reader.usage!r}")
            return [*found, tuple(sequence), None]
        elif part == "[":
            _add_optional(sequence, _alternatives(reader, "]"))
        elif part == "<":
            sequence.append(_one(_sequence(_alternatives(reader, ">"))))
        elif part in ("]", ">", ""):
            raise ValueError(f"{part or 'the end'!r} where {end or 'no bracket'!r} is expected in {reader.usage!r}")
        else:
            sequence.append(_word(part))


def _add_optional(sequence, alternatives):
    """Put what stands in brackets behind a sequence, whose end it may repeat."""
    repeats = alternatives[-1] is None
    inside = _sequence(alternatives[:-1] if repeats else alternatives)
    if repeats and tuple(sequence[-len(inside):]) == inside:
        del sequence[-len(inside):]
        sequence.append(_one(inside)._replace(multiple=True))
    else:
        one = _with_token(inside)
        sequence.append(one._replace(optional=True, multiple=one.multiple or repeats))


def _sequence(alternatives):
    if len(alternatives) == 1:
        return alternatives[0]
    return (_oneof(map(_one, alternatives)),)


def _one(arguments):
    """A sequence as one Argument."""
    return arguments[0] if len(arguments) == 1 else Argument(_named("_", arguments), BLOCK, arguments=tuple(arguments))


def _oneof(arguments):
    arguments = tuple(arguments)
    return Argument(_named("_or_", arguments), ONEOF, arguments=arguments)


def _with_token(arguments):
    """`COUNT n` is the argument n, which has a word before it."""
    if len(arguments) == 2 and arguments[0].kind == TOKEN and not (arguments[1].token or arguments[1].arguments):
        return arguments[1]._replace(token=arguments[0].token)
    return _one(arguments)


def _named(between, arguments):
    return between.join(one.name for one in arguments)


def _word(part):
    words = part.split("|")
    return _oneof(map(_value, words)) if len(words) > 1 and all(words) else _value(part)


def _value(word):
    if word in _LITERALS or not any(letter.islower() for letter in word):
        return Argument(word.lower(), TOKEN, token=word)
    kind = KEY if word in _KEYS else INTEGER if word in _INTEGERS else PATTERN if word == "pattern" else STRING
    return Argument(word, kind)
