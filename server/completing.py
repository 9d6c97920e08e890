"""What the TAB key adds to the server's command line.

    python3 meilies_server.py completion bash|zsh|fish       prints a script for that shell; exit 0, or 2
"""

import os
import sys

from terminal.completion import SHELLS, Command, Program, described, script

from . import options

NAMES = ("meilies_server.py", "meilies-server", "meilies-server.pyz", "meilies_server")

_SUMMARY = "Prints a script by which TAB completes commands and options"

_HELP = f"""\
usage: python3 meilies_server.py completion {"|".join(SHELLS)}

{_SUMMARY}.

examples:
  python3 meilies_server.py completion bash > ~/.local/share/bash-completion/completions/meilies_server.py
  python3 meilies_server.py completion zsh > ~/.zsh/_meilies_server
  python3 meilies_server.py completion fish > ~/.config/fish/completions/meilies_server.py.fish"""


def run(argv):
    """Print the script for the shell that `argv` names; return the exit code."""
    if argv == ["--help"]:
        print(_HELP)
        return 0
    if len(argv) != 1 or argv[0] not in SHELLS:
        print(f"{options.PROGRAM} completion: found {' '.join(argv)!r}, expected one of {', '.join(SHELLS)}",
              file=sys.stderr)
        return 2
    try:
        print(script(argv[0], program()), end="", flush=True)
    except BrokenPipeError:     # of `completion zsh | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def program():
    """The whole command line, for a shell."""
    known = {name: _with_choices(described(name, text.partition(".")[0], parser))
             for name, (text, parser) in options.parsers().items()}
    known["user"] = known["user"]._replace(words=tuple(options.USER))
    return Program(NAMES, known.pop(""), [*known.values(), Command(options.COMPLETION, _SUMMARY, [], SHELLS)])


def _with_choices(command):
    """The words that an option's own parser takes, which argparse knows nothing of."""
    return command._replace(options=[
        one._replace(choices=getattr(options.BY_NAME[one.names[-1][2:]].parse, "words", ()))
        if one.names[-1][2:] in options.BY_NAME else one for one in command.options])
