"""terminal/completion.py: what TAB adds, asked of the shells themselves."""

import argparse
import shutil
import subprocess

import pytest
from conftest import clean_environ
from terminals import Screen

import meilies_cli
from cli.completing import program_of
from meilies_server import main as server_main
from server import completing, options
from terminal.completion import SHELLS, Command, Option, Program, described, script


def needs(shell):
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} isn't installed")


each_shell = pytest.mark.parametrize("shell", [pytest.param(shell, marks=needs(shell)) for shell in SHELLS])


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    """The scripts of both programs, in a folder with files that could be completed."""
    folder = tmp_path_factory.mktemp("completion")
    (folder / "some.pem").touch()
    (folder / "some folder").mkdir()
    programs = {"meilies_cli": program_of(*meilies_cli.commands()), "meilies_server": completing.program()}
    for program, source in programs.items():
        for shell in SHELLS:
            (folder / f"{program}.{shell}").write_text(script(shell, source))
    return folder


def bash(folder, program, words):
    line = " ".join(f"'{word}'" for word in [f"{program}.py", *words])
    return ["bash", "--norc", "-c", f"source {program}.bash; COMP_WORDS=({line}); COMP_CWORD={len(words)}; "
            f"_{program}; printf '%s\\n' \"${{COMPREPLY[@]}}\""]


def fish(folder, program, words):
    return ["fish", "--no-config", "-c", f"source {program}.fish; complete -C '{program}.py {' '.join(words)}'"]


ASK = {"bash": bash, "fish": fish}


def offered(shell, folder, program, *words):
    """What a shell offers at the end of a command line, without its explanations."""
    ended = subprocess.run(ASK[shell](folder, program, words), cwd=folder, capture_output=True, text=True,
                           env=clean_environ(HOME=str(folder)), check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    return {line.split("\t")[0].rstrip("/") for line in ended.stdout.splitlines() if line}


CASES = [
    ("meilies_cli", ["pub"], {"publish"}),
    ("meilies_cli", ["-p", "1", "--tls", "stream-"], {"stream-names", "stream-info"}),
    ("meilies_cli", ["-h", "publish", "comp"], {"compact", "completion"}),
    ("meilies_cli", ["tail", "--fo"], {"--follow"}),
    ("meilies_cli", ["read", "orders", "--pass"], {"--password-file"}),
    ("meilies_cli", ["tail", "--color", ""], {"auto", "always", "never"}),
    ("meilies_cli", ["completion", ""], set(SHELLS)),
    ("meilies_cli", ["ping", "--ca-file", "some.p"], {"some.pem"}),
    ("meilies_cli", ["--user", ""], set()),
    ("meilies_cli", ["--unre"], set()),
    ("meilies_server", ["re"], {"repair"}),
    ("meilies_server", ["--sync", ""], {"always", "everysec", "no"}),
    ("meilies_server", ["--db-path", "some"], {"some folder"}),
    ("meilies_server", ["check", "--js"], {"--json"}),
    ("meilies_server", ["completion", "f"], {"fish"}),
    ("meilies_server", ["user", "re"], {"remove"}),
]


@pytest.mark.parametrize("shell", [pytest.param(shell, marks=needs(shell)) for shell in ASK])
@pytest.mark.parametrize("program, words, expected", CASES)
def test_a_shell_offers_what_fits(scripts, shell, program, words, expected):
    assert offered(shell, scripts, program, *words) == expected


@pytest.mark.parametrize("shell", [pytest.param(shell, marks=needs(shell)) for shell in ASK])
def test_every_command_of_both_programs_is_offered(scripts, shell):
    known = set(meilies_cli.commands()[1].parsers)
    assert len(known) > 40 and offered(shell, scripts, "meilies_cli", "") >= known
    assert offered(shell, scripts, "meilies_server", "") >= set(options.COMMANDS)


TYPED = [("meilies_cli.py pub", "meilies_cli.py publish "), ("meilies_cli.py -p 1 publish --l", "-p 1 publish --lines"),
         ("meilies_cli.py tail --color n", "--color never"), ("meilies_cli.py ping --ca-file some.p", "some.pem"),
         ("meilies_server.py rep", "meilies_server.py repair"), ("meilies_server.py --sync ev", "--sync everysec")]


@pytest.mark.parametrize("shell", [pytest.param(shell, marks=needs(shell)) for shell in ("bash", "zsh")])
def test_tab_completes_at_a_prompt(scripts, shell):
    begin = {"bash": ["--norc", "--noprofile", "-i"], "zsh": ["-f", "-i"]}[shell]
    setup = {"bash": "", "zsh": "autoload -U compinit; compinit -u -D; "}[shell]
    with Screen(*begin, program=shutil.which(shell), cwd=scripts, TERM="dumb", HOME=str(scripts), INPUTRC="/dev/null",
                columns=200) as screen:
        screen.send(f"{setup}PS1='READ''Y '; source meilies_cli.{shell}; source meilies_server.{shell}\n")
        screen.until("READY ")
        for typed, completed in TYPED:
            screen.forget()
            screen.send(f"{typed}\t")
            screen.until(completed)
            screen.send("\x15")     # the line is taken back


@each_shell
def test_a_shell_reads_its_script_whatever_the_help_says(tmp_path, shell):
    odd = "a 'quoted' \"word\" $HOME `id` [x]: 100% \\ | ; & <b>\t(c)"
    source = Program(("odd",), Command("", odd, [Option(("-x", "--xx"), odd, "VALUE", ())]), [
        Command("one", odd, [Option(("--yy",), odd, "", ()), Option(("--zz",), odd, "FILE", ())], ("a", "b"))])
    (tmp_path / "script").write_text(script(shell, source))
    before = {"zsh": "autoload -U compinit; compinit -u -D; "}.get(shell, "")
    ended = subprocess.run([shell, "-c", f"{before}source ./script"], cwd=tmp_path, capture_output=True, text=True,
                           env=clean_environ(HOME=str(tmp_path)), check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_a_parser_is_described_by_its_options_and_choices():
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("-f", "--file", metavar="FILE", help="what  to\n read [%(default)s]", default="x")
    parser.add_argument("--flag", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("kind", choices=["a", "b"])
    parser.add_argument("rest", nargs="*")
    found = described("n", "A\nline", parser, [Option(("--flag",), "said elsewhere", "", ())])
    assert found == Command("n", "A line", [Option(("-f", "--file"), "what to read [x]", "FILE", ()),
                                            Option(("--flag",), "said elsewhere", "", ())], ("a", "b"))
    assert found.options[0].is_file and not found.options[0].is_folder


@pytest.mark.parametrize("shell", SHELLS)
def test_both_programs_print_their_scripts(shell, capsys):
    assert meilies_cli.main(["completion", shell]) == 0
    assert capsys.readouterr().out == script(shell, program_of(*meilies_cli.commands()))
    assert server_main(["completion", shell], {}) == 0
    assert capsys.readouterr().out == script(shell, completing.program())


def test_a_shell_that_is_none_is_wrong_usage(capsys):
    with pytest.raises(SystemExit) as end:
        meilies_cli.main(["completion", "tcsh"])
    assert end.value.code == 2
    assert server_main(["completion", "tcsh"], {}) == 2
    assert "found 'tcsh', expected one of bash, zsh, fish" in capsys.readouterr().err
    assert server_main(["completion", "--help"], {}) == 0
    assert "completion bash|zsh|fish" in capsys.readouterr().out
