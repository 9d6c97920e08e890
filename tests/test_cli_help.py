"""What the command line says of itself: help, examples, mistakes."""

import shlex

import pytest
from test_cli import run

import meilies_cli
from cli.parsing import did_you_mean

__all__ = ["run"]       # which pytest finds here

PARSER, COMMANDS = meilies_cli.commands()
EXAMPLES = [(name, example) for name, examples in COMMANDS.examples.items() for example in examples]


def words_of(example):
    """The words of an example, without what a shell would take of them."""
    words = shlex.split(example)
    return words[:min([words.index(one) for one in ("<", ">", "|") if one in words], default=len(words))]


@pytest.mark.parametrize("name", COMMANDS.parsers)
def test_the_help_of_each_command_has_examples_and_fits_80_columns(run, monkeypatch, name):
    monkeypatch.setenv("COLUMNS", "80")
    status, out, err = run(name, "--help")
    assert (status, err) == (0, "")
    _, _, examples = out.partition("\nexamples:\n")
    assert f"  python3 meilies_cli.py {name}" in examples
    assert max(map(len, out.partition("\nexamples:\n")[0].splitlines())) <= 80


@pytest.mark.parametrize("name, example", EXAMPLES)
def test_each_example_is_a_command_line_of_its_command(name, example):
    options, unknown = PARSER.parse_known_args(words_of(example))
    assert (options.command, unknown) == (name, [])


def test_the_help_has_every_command_with_a_line_about_it(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = run("--help")
    for name, (text, _) in COMMANDS.parsers.items():
        assert f"\n  {name} " in out and text.split()[0] in out


@pytest.mark.parametrize("arguments, why", [
    (["pubish"], "'pubish': no such command; did you mean publish?"),
    (["stream_names"], "'stream_names': no such command; did you mean stream-names?"),
    (["zzz"], "'zzz': no such command; see 'meilies_cli.py --help'"),
    (["read", "s", "--form", "3"], "meilies_cli read: --form: no such option; did you mean --from?"),
    (["read", "s", "--form=3"], "--form: no such option; did you mean --from?"),
    (["read", "s", "--qqq"], "--qqq: no such option; see 'meilies_cli.py read --help'"),
    (["ping", "now"], "meilies_cli ping: found 'now', expected nothing more; see 'meilies_cli.py ping --help'"),
    (["ping", "\033[2J"], r"found '\x1b[2J', expected nothing more"),
])
def test_a_mistake_is_told_with_what_was_meant(run, arguments, why):
    status, out, err = run(*arguments)
    assert (status, out) == (2, "") and why in err and err.count("\n") == 1 and "\033" not in err


def test_nothing_is_meant_that_is_not_near():
    assert did_you_mean("publsh", ["publish", "read"]) == "; did you mean publish?"
    assert did_you_mean("x", ["publish", "read"]) == ""
