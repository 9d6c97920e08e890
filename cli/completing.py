"""What the TAB key adds: completion."""

from __future__ import annotations

import argparse

from terminal.completion import SHELLS, Program, described, script

from .parsing import Commands, Parser

NAMES = ("meilies_cli.py", "meilies-cli", "meilies-cli.pyz", "meilies_cli")


def program_of(main: Parser, commands: Commands) -> Program:
    """The whole command line, for a shell."""
    options = described("", "", main)
    return Program(NAMES, options, [described(name, text, parser, options.options)
                                    for name, (text, parser) in commands.parsers.items()])


def add(commands: Commands, main: Parser) -> None:
    def run_completion(options: argparse.Namespace) -> None:
        print(script(options.shell, program_of(main, commands)), end="")

    commands.heading("In your shell")
    commands("completion", run_completion, "print a script by which TAB completes commands and options",
             "completion bash > ~/.local/share/bash-completion/completions/meilies_cli.py",
             "completion zsh > ~/.zsh/_meilies_cli",
             "completion fish > ~/.config/fish/completions/meilies_cli.py.fish",
             server=False).add_argument("shell", metavar="SHELL", choices=SHELLS, help=", ".join(SHELLS))
