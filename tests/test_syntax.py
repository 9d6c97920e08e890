"""What a command's usage says, as a tree (server/syntax.py)."""

import pytest

from server.commands import COMMANDS
from server.syntax import (BLOCK, INTEGER, KEY, ONEOF, PATTERN, STRING, TOKEN, Argument, alternatives, arity, parse,
                           subcommands)


def shown(arguments):
    """Arguments as a usage again, by which trees are compared at a glance."""
    return " ".join(map(_shown, arguments))


def _shown(one):
    parts = {ONEOF: "|".join, BLOCK: " ".join}
    text = parts[one.kind](map(_shown, one.arguments)) if one.arguments else one.token or one.name
    if one.token and one.kind != TOKEN:
        text = f"{one.token} {text if one.arguments else one.name}"
    if one.optional:
        return f"[{text}{' ...' if one.multiple else ''}]"
    return f"{text} [{text} ...]" if one.multiple else text


@pytest.mark.parametrize("usage, tree", [
    ("", ()),
    ("name", (Argument("name", STRING),)),
    ("stream number", (Argument("stream", KEY), Argument("number", INTEGER))),
    ("pattern", (Argument("pattern", PATTERN),)),
    ("NOW", (Argument("now", TOKEN, "NOW"),)),
    ("$all", (Argument("$all", TOKEN, "$all"),)),
    ("[COUNT count]", (Argument("count", INTEGER, "COUNT", optional=True),)),
    ("key [key ...]", (Argument("key", KEY, multiple=True),)),
    ("[name [name ...]]", (Argument("name", STRING, optional=True, multiple=True),)),
    ("[name ...]", (Argument("name", STRING, optional=True, multiple=True),)),
    ("*|id", (Argument("*_or_id", ONEOF, arguments=(Argument("*", TOKEN, "*"), Argument("id", STRING))),)),
    ("f v [f v ...]", (Argument("f_v", BLOCK, multiple=True,
                                arguments=(Argument("f", STRING), Argument("v", STRING))),)),
    ("[A | B c]", (Argument("a_or_b_c", ONEOF, optional=True, arguments=(
        Argument("a", TOKEN, "A"),
        Argument("b_c", BLOCK, arguments=(Argument("b", TOKEN, "B"), Argument("c", STRING))))),)),
    ("s[:from[:to]] [s[:from[:to]] ...]", (Argument("s[:from[:to]]", STRING, multiple=True),)),
])
def test_a_usage_is_a_tree(usage, tree):
    assert parse(usage) == tree


def test_what_repeats_is_taken_from_what_stands_before_it():
    usage = "key [MAXLEN|MINID [=|~] threshold [LIMIT count]] *|id field value [field value ...]"
    assert shown(parse(usage)) == usage


@pytest.mark.parametrize("usage", ["[a", "a]", "<a", "a>", "[a>", "a ...", "[a ... b]", "<", "..."])
def test_brackets_that_do_not_fit_and_dots_that_stand_alone_are_refused(usage):
    with pytest.raises(ValueError):
        parse(usage)


def test_a_list_that_begins_with_words_is_one_of_subcommands():
    found = subcommands("GET name | RESET | SET name value [name value ...]")
    assert {word: shown(arguments) for word, arguments in found.items()} == {
        "GET": "name", "RESET": "", "SET": "name value [name value ...]"}


@pytest.mark.parametrize("usage", ["", "name", "[GET name | RESET]", "<GET | RESET>", "GET | name", "*|id"])
def test_what_does_not_begin_with_words_has_no_subcommands(usage):
    assert subcommands(usage) == {}


@pytest.mark.parametrize("usage, count", [
    ("", 1), ("a b", 3), ("a [b]", -2), ("a [a ...]", -2), ("[a [a ...]]", -1), ("a|b", 2), ("<A | B c>", -2),
    ("<A a | B c>", 3), ("COUNT n", 3), ("[COUNT n]", -1), ("f v [f v ...]", -3), ("key [MAXLEN [=|~] n] *|id f v", -5),
])
def test_the_number_of_arguments_follows_from_a_usage(usage, count):
    assert arity(parse(usage)) == count


@pytest.mark.parametrize("one", COMMANDS.values(), ids=lambda one: one.name)
def test_each_command_takes_as_many_arguments_as_its_usage_says(one):
    if not subcommands(one.usage):
        found = arity(parse(one.usage))
        assert one.arity == found or one.arity < 0 and -one.arity <= abs(found)


def test_the_alternatives_of_a_usage_are_told_one_by_one():
    assert alternatives("A b|c [D | E f [g ...]] | <X | Y z> | W") == ["A b|c [D | E f [g ...]]", "<X | Y z>", "W"]
