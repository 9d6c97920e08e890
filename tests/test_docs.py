"""What README.md and docs/ show is what happens.

    ```console                      the commands behind `$ ` (and `> `, which go on with one) are
    $ python3 meilies_cli.py ping   run by bash, and print the lines behind them; `...` stands
    pong in ... ms                  for anything, and a last line `^C` says that somebody stops it;
                                    what ends with `&` runs until the end of the page
    ```

    ```python                       is run as a script, which ends well

The blocks of a page are run one after the other, in one folder, beside one server, which is
on the port 6480 as far as they know; 6481 is free for one of their own.  One that can't be run says why in its fence:
`console not run: …`.
"""

import contextlib
import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from typing import NamedTuple

import pytest
from conftest import ROOT, SECONDS, clean_environ

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PORT, FREE_PORT = "6480", "6481"

_FENCE = re.compile(r"^```(console|python)(?: +([^\n]+))?\n(.*?)^```$", re.M | re.S)
_REASON = re.compile(r"not run: \S")

# What each Python of a page begins with: servers are on other ports than its clients think.
REDIRECT = """
import socket

def connect(self, address, there=socket.socket.connect):
    if isinstance(address, tuple):
        address = (address[0], {ports}.get(address[1], address[1]), *address[2:])
    return there(self, address)

socket.socket.connect = connect
"""


class Block(NamedTuple):
    line: int
    language: str
    note: str
    text: str


class Step(NamedTuple):
    """A command and what it prints."""

    command: str
    shows: str


# What pages show and this machine, or this Python, hasn't.
MISSING = [name for name, there in (("redis-cli", shutil.which("redis-cli")),
                                    ("eventsourcing", importlib.util.find_spec("eventsourcing"))) if not there]


def blocks_of(page):
    text = page.read_text()
    return [Block(text.count("\n", 0, match.start()) + 1, match[1], match[2] or "", match[3])
            for match in _FENCE.finditer(text)]


def steps_of(text):
    steps = []
    for line in text.splitlines():
        if line.startswith("$ "):
            steps.append(Step(line[2:], ""))
            continue
        assert steps, f"{line!r} stands before any command"
        command, shows = steps[-1]
        if line.startswith("> ") and not shows:
            steps[-1] = Step(f"{command}\n{line[2:]}", "")
        else:
            steps[-1] = Step(command, f"{shows}{line}\n")
    return steps


def fits(shown, found):
    """Whether `found` is what is `shown`, where `...` stands for anything."""
    return re.fullmatch(".*?".join(map(re.escape, shown.split("..."))), found, re.S) is not None


class Desk:
    """Where somebody sits who tries a page: a folder with the project's files, and programs that find the server."""

    def __init__(self, folder, port):
        self._ports = {PORT: str(port), FREE_PORT: str(free_port())}
        self.folder = folder / "desk"
        self.folder.mkdir()
        for name in ("meilies_async.py", "meilies_cli.py", "meilies_client.py", "meilies_eventsourcing.py",
                     "meilies_operations.py", "meilies_server.py", "meilies_session.py", "resp.py", "cli",
                     "server", "store", "terminal"):
            (self.folder / name).symlink_to(ROOT / name)
        programs, redirect = folder / "programs", folder / "redirect"
        programs.mkdir()
        redirect.mkdir()
        (redirect / "sitecustomize.py").write_text(
            REDIRECT.format(ports={int(known): int(port) for known, port in self._ports.items()}))
        self._sessions = []     # of the steps that left a program running
        self._provide(programs / "python3", f'exec "{sys.executable}" "$@"')
        if shutil.which("redis-cli"):
            self._provide(programs / "redis-cli", f'exec "{shutil.which("redis-cli")}" --no-raw "$@"')
        self.environ = clean_environ(PATH=f"{programs}:{os.environ['PATH']}", PYTHONPATH=str(redirect))

    def _provide(self, path, line):
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)

    def run(self, step):
        """What a step prints, the port called as the page does; the step is over then."""
        stopped, stays = step.shows.endswith("^C\n"), step.command.endswith("&")
        awaited = step.shows[:-len("^C\n")]
        log = self.folder.parent / "printed"
        with open(log, "wb") as output:
            process = subprocess.Popen(
                ["bash", "-c", self._told(step.command)], cwd=self.folder, env=self.environ,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
        try:
            if stopped:
                self._wait_until_shown(awaited, log, process)
                found = self._printed(log) + "^C\n"
                os.killpg(process.pid, signal.SIGINT)
            process.wait(SECONDS)
            if stays:
                self._sessions.append(process.pid)
                self._wait_until_shown(step.shows, log)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        return found if stopped else self._printed(log)

    def _wait_until_shown(self, awaited, log, process=None):
        """Return when a page's words are there, when `process` has ended, or when time is up."""
        until = time.monotonic() + SECONDS
        while not fits(awaited, self._printed(log)) and time.monotonic() < until:
            if process is not None and process.poll() is not None:
                break
            time.sleep(0.01)

    def end(self):
        """End what steps left running."""
        for session in self._sessions:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(session, signal.SIGKILL)

    def _printed(self, log):
        text = log.read_text()
        for known, port in self._ports.items():
            text = text.replace(port, known)
        return text

    def _told(self, command):
        for known, port in self._ports.items():
            command = command.replace(known, port)
        return command


def free_port():
    """A port below those that the system gives out itself, so that nobody gets it meanwhile."""
    for port in range(20_000 + os.getpid() % 10_000, 32_000):
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port
    raise AssertionError("all ports are taken")


def test_blocks_are_found_with_their_lines_and_notes(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A\n\n```\nfree\n```\n```console\n$ a\nb\n```\n\n```python not run: it is long\nx\n```\n"
                    "```sh\n```\n")
    assert blocks_of(page) == [Block(6, "console", "", "$ a\nb\n"), Block(11, "python", "not run: it is long", "x\n")]


def test_a_command_may_go_on_in_lines_behind_it_and_prints_the_others():
    assert steps_of("$ one \\\n> two\nprinted\n> too\n$ three\n") == [
        Step("one \\\ntwo", "printed\n> too\n"), Step("three", "")]


@pytest.mark.parametrize("shown, found, expected", [
    ("a\n", "a\n", True), ("a\n", "a\nb\n", False), ("", "x", False), ("a...b\n", "a\nxb\n", True),
    ("...\n", "a\nb\n", True), ("a.b\n", "axb\n", False)])
def test_dots_stand_for_anything_and_the_rest_for_itself(shown, found, expected):
    assert fits(shown, found) == expected


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_is_not_run_says_why(page):
    for block in blocks_of(page):
        assert not block.note or _REASON.match(block.note), f"{page.name}:{block.line}: {block.note!r}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_shows_is_what_happens(page, server, tmp_path):
    running = server("--backup-path", str(tmp_path / "desk" / "copies"), "--hash-chain")
    desk = Desk(tmp_path, running.port)
    try:
        follow(page, desk)
    finally:
        desk.end()


def follow(page, desk):
    """Run the blocks of a page, each of which must print what it shows."""
    for block in blocks_of(page):
        if block.note or any(name in block.text for name in MISSING):
            continue
        where = f"{page.name}:{block.line}"
        if block.language == "python":
            script = desk.folder / "example.py"
            script.write_text(block.text)
            ended = subprocess.run(["python3", script.name], cwd=desk.folder, env=desk.environ, timeout=SECONDS,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
            assert ended.returncode == 0, f"{where}: it ended with {ended.returncode}\n{ended.stdout.decode()}"
            continue
        for step in steps_of(block.text):
            found = desk.run(step)
            assert fits(step.shows, found), f"{where}: $ {step.command}\nprinted:\n{found}expected:\n{step.shows}"
