"""Run programs, those of one language after one another and the languages beside one another.

Exit status 0 if all did well, 1 otherwise; programs whose language isn't there count as failed unless the
environment has ALLOW_MISSING=1.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from certificates import self_signed
from clients.languages import Failed, missing
from clients.programs import PROGRAMS
from clients.story import Stage, tell
from conftest import ROOT, Server

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


def main(argv):
    parser = argparse.ArgumentParser(prog="python3 -m tests.clients", description="Redis's clients against this server")
    parser.add_argument("client", nargs="*", help=", ".join(program.client for program in PROGRAMS))
    parser.add_argument("--cache", type=Path, default=ROOT / ".clients", metavar="DIR",
                        help="where libraries are installed, and kept for the next time [.clients]")
    options = parser.parse_args(argv)
    unknown = set(options.client) - {program.client for program in PROGRAMS}
    if unknown:
        parser.error(f"no such client: {', '.join(sorted(unknown))}")
    chosen = [program for program in PROGRAMS if program.client in options.client or not options.client]
    outcomes = run_all(chosen, options.cache, allow_missing=os.environ.get("ALLOW_MISSING") == "1")
    report(f"{outcomes[PASSED]} passed, {outcomes[FAILED]} failed, {outcomes[SKIPPED]} skipped")
    return 1 if outcomes[FAILED] else 0


def run_all(programs, cache, allow_missing):
    """Run the programs; return how many had which outcome, as a Counter."""
    cache.mkdir(parents=True, exist_ok=True)
    by_language = {}
    for program in programs:
        by_language.setdefault(program.language, []).append(program)
    with tempfile.TemporaryDirectory(prefix="clients-") as folder, guarded_server(Path(folder)) as secure:
        with ThreadPoolExecutor(len(by_language)) as pool:
            return sum(pool.map(lambda item: run_language(*item, cache.resolve(), Path(folder), secure, allow_missing),
                                by_language.items()), Counter())


def run_language(language, programs, cache, folder, secure, allow_missing):
    """Run the programs of one language; return how many had which outcome, as a Counter."""
    absent = missing(language)
    if absent:
        for program in programs:
            say(program, f"not run: this machine lacks {', '.join(absent)}")
        return Counter({SKIPPED if allow_missing else FAILED: len(programs)})
    started = time.monotonic()
    instance = language(cache)
    try:
        instance.install()
    except Failed as failure:
        for program in programs:
            say(program, f"FAILED to install:\n{failure}")
        return Counter({FAILED: len(programs)})
    report(f"{language.__name__} was ready after {time.monotonic() - started:.0f} s")
    return Counter(run_program(program, instance, folder, secure) for program in programs)


def run_program(program, language, folder, secure):
    """Run one program; return its outcome."""
    started = time.monotonic()
    own = folder / program.client
    own.mkdir()
    try:
        with Stage(own, secure, program.speaks) as stage:
            tell(language.command(program.program), language.environ, stage)
    except (AssertionError, OSError) as failure:        # the program's, and the server's
        say(program, f"FAILED: {failure}")
        return FAILED
    say(program, f"did well in {time.monotonic() - started:.1f} s")
    return PASSED


@contextlib.contextmanager
def guarded_server(folder):
    """A server with TLS where only ann may log in: (port, certificate)."""
    certificate, key = self_signed(folder, "server")
    subprocess.run([sys.executable, str(ROOT / "meilies_server.py"), "user", "add", "--users", str(folder / "users"),
                    "ann", "+@all", "~*"], input=b"correct horse\n", check=True, stdout=subprocess.DEVNULL)
    server = Server(["--db-path", str(folder / "guarded"), "--port", "none", "--tls-port", "0", "--tls-certificate",
                     certificate, "--tls-key", key, "--users", str(folder / "users")], {}, folder / "guarded.log")
    try:
        yield server.next_listener().split(":")[1].split()[0], certificate
    finally:
        server.end()


def say(program, what):
    report(f"{program.client} {program.version()}: {what}")


def report(text):
    """Print a line in one step, for other threads print as well."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
