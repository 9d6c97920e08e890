"""What the TAB key adds to a command line, in bash, zsh and fish: scripts made from a program's option parser.

    ArgumentParser ──described()──> Command ──┐
    names, and commands of the same kind ─────┴─> Program ──script()──> text for a shell to read

A script knows options and what they take, commands, and words that are a choice of few; where
a file is expected it leaves that to the shell.  It runs nothing of ours.
"""

import argparse
from typing import NamedTuple

SHELLS = ("bash", "zsh", "fish")

# The names of values that are files, or folders.
_FILES = {"FILE", "PATH"}
_FOLDERS = {"DIR"}


class Option(NamedTuple):
    """names    -n, --name
    text     a line about it
    value    what stands for its value in the help; "" if it takes none
    choices  what that may be, if it is one of a few
    """

    names: tuple
    text: str
    value: str
    choices: tuple

    @property
    def is_file(self):
        return self.value in _FILES

    @property
    def is_folder(self):
        return self.value in _FOLDERS


class Command(NamedTuple):
    """words   what its first argument may be, if it is one of a few"""

    name: str
    text: str
    options: list
    words: tuple = ()


class Program(NamedTuple):
    """names     what it is called as
    command   what may stand before a command, or without one
    commands  by what they are called
    """

    names: tuple
    command: Command
    commands: list


def described(name, text, parser, explained=()):
    """The Command that an ArgumentParser parses.

    explained   options that say what those of the same name do whose help is hidden here
    """
    texts = {name: option.text for option in explained for name in option.names}
    options, words = [], ()
    for action in parser._actions:      # argparse has no other way to tell
        choices = tuple(action.choices or ())
        if action.option_strings:
            names = tuple(action.option_strings)
            help_ = texts.get(names[-1], "") if action.help in (None, argparse.SUPPRESS) else action.help
            value = "" if action.nargs == 0 else action.metavar or action.dest.upper()
            options.append(Option(names, _line(help_ % {"default": action.default} if "%(" in help_ else help_),
                                  value, choices))
        elif choices and not isinstance(action, argparse._SubParsersAction):
            words = words or choices
    return Command(name, _line(text), options, words)


def script(shell, program):
    """The text for a shell, one of SHELLS, to read."""
    return _SCRIPTS[shell](program)


def _line(text):
    return " ".join(text.split())


def _taking(options):
    """The names of options that take a value."""
    return [name for option in options if option.value for name in option.names]


# -- bash ---------------------------------------------------------------------

_BASH = """\
# What TAB adds to {program} in bash; read it with:  source <({program} completion bash)
{function}() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}} command= i
    local options= words= values= files=
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${{COMP_WORDS[i]}} in
            {taking}) ((i++)) ;;
            -*) ;;
            *) command=${{COMP_WORDS[i]}}; break ;;
        esac
    done
    ((i < COMP_CWORD)) || command=
    case $command in
{cases}
        *) files=f ;;
    esac
    if [[ $files ]]; then
        compopt -o filenames 2> /dev/null
        mapfile -t COMPREPLY < <(compgen -"$files" -- "$current")
    elif [[ $values ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$values" -- "$current")
    elif [[ $current == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current")
    else
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
    fi
}}
complete -F {function} {names}
"""

_BASH_CASE = """\
        {name})
            options={options}
            words={words}
            case $previous in
{values}
                *) ;;
            esac ;;"""


def _bash(program):
    cases = [_bash_case("''", program.command, [one.name for one in program.commands])]
    cases += [_bash_case(one.name, one, one.words) for one in program.commands]
    return _BASH.format(program=program.names[0], function=_function(program), names=" ".join(program.names),
                        taking="|".join(_taking(program.command.options)), cases="\n".join(cases))


def _bash_case(name, command, words):
    values = []
    for option in command.options:
        names = "|".join(option.names)
        if option.choices:
            values.append(f"{names}) values={_quoted(' '.join(option.choices))} ;;")
        elif option.is_file or option.is_folder:
            values.append(f"{names}) files={'f' if option.is_file else 'd'} ;;")
        elif option.value:
            values.append(f"{names}) return ;;")
    return _BASH_CASE.format(
        name=name, options=_quoted(" ".join(name for option in command.options for name in option.names)),
        words=_quoted(" ".join(words)), values="\n".join(f"                {line}" for line in values))


# -- zsh ----------------------------------------------------------------------

_ZSH = """\
#compdef {names}
# What TAB adds to {program} in zsh; read it, behind compinit, with:  source <({program} completion zsh)
{function}() {{
    local state line
    local -a commands
    commands=(
{commands}
    )
    _arguments -C {main} \\
        '1: :->command' '*:: :->rest' && return
    case $state in
        command) _describe command commands ;;
        rest)
            case $words[1] in
{cases}
                *) _files ;;
            esac ;;
    esac
}}
compdef {function} {names}
"""


def _zsh(program):
    commands = [f"        {_quoted(one.name + ':' + one.text.replace(':', chr(92) + ':'))}" for one in program.commands]
    cases = [f"                {one.name}) _arguments {_zsh_options(one)} {_zsh_words(one)} ;;"
             for one in program.commands]
    return _ZSH.format(program=program.names[0], function=_function(program), names=" ".join(program.names),
                       commands="\n".join(commands), main=_zsh_options(program.command), cases="\n".join(cases))


def _zsh_words(command):
    return _quoted(f"*: :({' '.join(command.words)})") if command.words else "'*: :_files'"


def _zsh_options(command):
    return " ".join(_zsh_option(option, name) for option in command.options for name in option.names)


def _zsh_option(option, name):
    others = [other for other in option.names if other != name]
    spec = f"({' '.join(others)})" if others else ""
    spec += name + "[" + "".join(f"\\{c}" if c in "[]:\\" else c for c in option.text) + "]"
    if option.value:
        values = (f"({' '.join(option.choices)})" if option.choices else "_files" if option.is_file
                  else "_files -/" if option.is_folder else " ")
        spec += f":{option.value.replace(':', chr(92) + ':')}:{values}"
    return _quoted(spec)


# -- fish ---------------------------------------------------------------------

_FISH = """\
# What TAB adds to {program} in fish; read it with:  {program} completion fish | source
function {function}_command
    set -l words (commandline -opc)
    set -e words[1]
    while set -q words[1]
        switch $words[1]
            case {taking}
                set -e words[1]
            case '-*'
            case '*'
                echo $words[1]
                return
        end
        set -e words[1]
    end
end
function {function}_is
    set -l command ({function}_command)
    test "$command" = "$argv"
end
for program in {names}
    complete -c $program -e
{lines}
end
"""


def _fish(program):
    none = f"-n {_function(program)}_is"
    lines = [f"{none} -f -a {one.name} -d {_fish_quoted(one.text)}" for one in program.commands]
    lines += [f"{none} {_fish_option(option)}" for option in program.command.options]
    for one in program.commands:
        here = _fish_quoted(f"{_function(program)}_is {one.name}")
        lines += [f"-n {here} {_fish_option(option)}" for option in one.options]
        if one.words:
            lines.append(f"-n {here} -f -a {_fish_quoted(' '.join(one.words))}")
    return _FISH.format(
        program=program.names[0], function=_function(program), names=" ".join(program.names),
        taking=" ".join(map(_fish_quoted, _taking(program.command.options))),
        lines="\n".join(f"    complete -c $program {line}" for line in lines))


def _fish_option(option):
    parts = [f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names]
    parts.append(f"-d {_fish_quoted(option.text)}")
    if option.choices:
        parts.append(f"-x -a {_fish_quoted(' '.join(option.choices))}")
    elif option.is_folder:
        parts.append("-x -a '(__fish_complete_directories)'")
    elif option.is_file:
        parts.append("-r -F")
    elif option.value:
        parts.append("-x")
    return " ".join(parts)


def _fish_quoted(text):
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


# -- what they share ----------------------------------------------------------

def _quoted(text):
    """`text` as one word of bash and zsh."""
    return "'" + text.replace("'", "'\\''") + "'"


def _function(program):
    return "_" + "".join(c if c.isalnum() else "_" for c in program.names[0].split(".")[0])


_SCRIPTS = {"bash": _bash, "zsh": _zsh, "fish": _fish}
