"""The server's other commands: check a store, repair it, write it as lines and read them.

    python3 meilies_server.py check --db-path DIR        exit 0 sound, 1 damaged, 2 it couldn't be done
    python3 meilies_server.py repair --db-path DIR       exit 0 sound now, 1 it still isn't, 2 it couldn't be done
    python3 meilies_server.py export --db-path DIR       exit 0 done, 2 it couldn't be done
    python3 meilies_server.py import --db-path DIR       exit 0 done, 2 not all of it

None touches a store that a server has open.  Ctrl-C ends each with 130.
"""

import errno
import json
import logging
import os
import sys

from store import NO, Store, StoreError
from store.check import check
from store.errors import CannotRepair
from store.files import open_private
from store.export import export, import_
from store.repair import repair
from terminal.progress import Progress, shown_bytes, shown_events

from . import options
from .text import printable


def run(command, argv, environ):
    """Run a command with the options in `argv`; return the exit code."""
    chosen = options.parse_upkeep(command, argv, environ)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    progress = Progress(command, shown_events if command in ("export", "import") else shown_bytes)
    try:
        with progress:
            return _COMMANDS[command](chosen, progress)
    except KeyboardInterrupt:   # what was done until then is whole: each of them can be run again
        return 130
    except BrokenPipeError:     # of `export | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    except CannotRepair as error:
        _complain(command, error)
        return 1
    except (StoreError, OSError) as error:
        _complain(command, error)
        return 2


def _check(chosen, progress):
    findings = check(chosen.db_path, progress)
    progress.end()
    if chosen.json:
        print(json.dumps(_fields(findings)))
    else:
        _show(findings)
        print(f"{printable(chosen.db_path)}: {_summary(findings)}")
    return 0 if findings.sound else 1


def _repair(chosen, progress):
    outcome = repair(chosen.db_path, chosen.dry_run, progress=progress)
    progress.end()
    damaged = 1 if chosen.dry_run and not outcome.findings.sound else 0
    if chosen.json:
        print(json.dumps({**_fields(outcome.findings), "steps": outcome.steps, "done": not chosen.dry_run}))
        return damaged
    _show(outcome.findings)
    for step in outcome.steps:
        print(f"{'would be done' if chosen.dry_run else 'done'}: {step}")
    if not outcome.steps:
        print(f"{printable(chosen.db_path)}: there is nothing to repair")
    elif not chosen.dry_run:
        print(f"{printable(chosen.db_path)}: repaired, {_counted(outcome.findings.events, 'event')} saved, "
              f"{outcome.findings.lost} lost; what was taken out is in cut/")
    return damaged


def _export(chosen, progress):
    if not os.path.isdir(chosen.db_path):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), chosen.db_path)
    with Store(chosen.db_path) as store:
        if chosen.file is None:
            export(store, sys.stdout.buffer.write, progress)
            sys.stdout.buffer.flush()
        else:
            with open(chosen.file, "wb", opener=open_private) as file:
                done = export(store, file.write, progress)
                file.flush()
                os.fsync(file.fileno())
            progress.end()
            print(f"{printable(chosen.file)}: {_counted(done.events, 'event')}")
    return 0


def _import(chosen, progress):
    source = sys.stdin.buffer if chosen.file is None else open(chosen.file, "rb")
    # Nothing is promised before the end, which is when all of it is synced.
    with source, Store(chosen.db_path, NO) as store:
        done = import_(store, source, progress)
    progress.end()
    there = f", {done.passed_over} of them were there already" if done.passed_over else ""
    print(f"{printable(chosen.db_path)}: {_counted(done.events, 'event')}{there}")
    return 0


_COMMANDS = {"check": _check, "repair": _repair, "export": _export, "import": _import}


def _fields(findings):
    """What was found, as --json has it."""
    return {"sound": findings.sound, "events": findings.events, "streams": findings.streams, "lost": findings.lost,
            "problems": list(map(str, findings.problems)), "notes": list(map(str, findings.notes))}


def _show(findings):
    for problem in findings.problems:
        print(problem)
    for note in findings.notes:
        print(f"note: {note}")


def _summary(findings):
    there = f"{_counted(findings.events, 'event')} in {_counted(findings.streams, 'stream')}"
    if findings.sound:
        return f"sound, {there}"
    lost = f", {_counted(findings.lost, 'event')} lost" if findings.lost else ""
    return f"damaged, {there}{lost}; 'repair --dry-run' says what can be done"


def _counted(count, what):
    return f"1 {what}" if count == 1 else f"{count} {what}s"


def _complain(command, error):
    text = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
    print(f"{options.PROGRAM} {command}: {text}", file=sys.stderr)
