"""What installs the libraries of a language into a folder, and runs programs that use them.

A folder keeps what was installed until the versions that a program is pinned to change.  Where it comes from is what
the language's own client is set to.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


class Failed(Exception):
    """A command did not end well; says which, and what it printed."""


class Shell:
    """Debian's redis-cli, and bash."""

    needs = {"bash": "bash", "redis-cli": "redis-tools"}

    def __init__(self, cache):
        self.environ = dict(os.environ)

    def install(self):
        """It is there, or Debian has it."""

    def command(self, program):
        return ["bash", str(HERE / program)]


class Python:
    """This Python, for which requirements-dev.txt has both libraries."""

    needs = {}

    def __init__(self, cache):
        self.environ = dict(os.environ)

    def install(self):
        """Who runs this has installed them."""

    def command(self, program):
        return [sys.executable, str(HERE / program)]


class Node:
    """node_modules stand beside copies of the programs, where they are looked for."""

    needs = {"node": "nodejs", "npm": "npm"}

    def __init__(self, cache):
        self._folder = cache / "node"
        self._cache = cache / "npm"
        self.environ = dict(os.environ)

    def install(self):
        self._folder.mkdir(parents=True, exist_ok=True)
        install_once(HERE / "node" / "package.json", self._folder / ".installed", self._fetch)

    def _fetch(self):
        shutil.copy(HERE / "node" / "package.json", self._folder)
        fetch(["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--cache", str(self._cache)],
              self._folder, self.environ)

    def command(self, program):
        for source in (HERE / program).parent.glob("*.mjs"):
            shutil.copy(source, self._folder)
        return ["node", str(self._folder / Path(program).name)]


class Go:
    """Built without optimisation, which takes two thirds of the time."""

    needs = {"go": "golang"}

    def __init__(self, cache):
        self._bin = cache / "go" / "bin"
        self.environ = {**os.environ, "GOCACHE": str(cache / "go" / "build"), "GOMODCACHE": str(cache / "go" / "mod"),
                        "GOFLAGS": f"{os.environ.get('GOFLAGS', '')} -modcacherw".strip(), "CGO_ENABLED": "0",
                        "GOTOOLCHAIN": "local"}

    def install(self):
        self._bin.mkdir(parents=True, exist_ok=True)
        fetch(["go", "mod", "download"], HERE / "go", self.environ)
        run(["go", "build", "-gcflags=all=-N -l", "-ldflags=-s -w", "-o", f"{self._bin}/", "./..."],
            HERE / "go", self.environ)

    def command(self, program):
        return [str(self._bin / Path(program).name)]


class Java:
    """Compiled at each run, which takes less time than to look whether that must be."""

    needs = {"java": "default-jre-headless", "javac": "default-jdk-headless", "mvn": "maven"}

    def __init__(self, cache):
        self._folder = cache / "java"
        self.environ = dict(os.environ)

    def install(self):
        self._folder.mkdir(parents=True, exist_ok=True)
        install_once(HERE / "java" / "pom.xml", self._folder / ".installed", self._fetch)
        run(["javac", "-nowarn", "-Xlint:none", "-cp", f"{self._folder / 'jars'}/*", "-d",
             str(self._folder / "classes"), *sorted(map(str, (HERE / "java").glob("*.java")))], HERE, self.environ)

    def _fetch(self):
        shutil.rmtree(self._folder / "jars", ignore_errors=True)
        fetch(["mvn", "--batch-mode", "--quiet", f"-Dmaven.repo.local={self._folder / 'm2'}",
               "dependency:copy-dependencies", f"-DoutputDirectory={self._folder / 'jars'}"],
              HERE / "java", self.environ)

    def command(self, program):
        return ["java", "-XX:TieredStopAtLevel=1", "-cp", f"{self._folder / 'classes'}:{self._folder / 'jars'}/*",
                program]


def missing(language):
    """The packages of Debian's that have what `language` needs and this machine hasn't."""
    return [package for program, package in language.needs.items() if not shutil.which(program)]


def install_once(pins, kept, install):
    """Call `install` unless it went well for this content of the file `pins`, of which `kept` is a copy then."""
    if kept.exists() and kept.read_bytes() == pins.read_bytes():
        return
    kept.unlink(missing_ok=True)
    install()
    shutil.copy(pins, kept)


def fetch(command, folder, environ):
    """`run` a command that asks a registry, once more if it fails: a network may."""
    try:
        run(command, folder, environ)
    except Failed:
        run(command, folder, environ)


def run(command, folder, environ):
    """Run a command that prints nothing which anybody wants to read; raise Failed with it if the command fails.

    It leaves the processor to the programs of other languages, whose clients have time-outs.
    """
    ended = subprocess.run(["nice", *command], cwd=folder, env=environ, stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="backslashreplace",
                           check=False)
    if ended.returncode:
        raise Failed(f"{' '.join(command)}\nended with {ended.returncode}, and printed:\n{ended.stdout}")
