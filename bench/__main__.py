"""The command: options, the order of what is measured, and what is printed.

    python3 -m bench                    all of it, in ten minutes
    python3 -m bench --quick            whether it runs at all
    python3 -m bench --only 'publish*,single-50' --rounds 5

Rounds are outermost, and in each round the servers come one after the other in
each workload, so that whatever else the machine does falls on all of them.
"""

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from fnmatch import fnmatchcase
from pathlib import Path

from . import report
from .load import LoadError
from .servers import Meilies, Redis, Remote, ServerError
from .trial import OutOfTime, Trial, WrongCount
from .workloads import WORKLOADS

# Parts of the time for the whole run that are spent in windows; the rest goes
# to starting servers and to filling them.
_IN_WINDOWS = 0.25
_SHORTEST, _LONGEST = 0.1, 2.0      # seconds of a window
# Seconds to finish what runs when the time is over.
_GRACE = 10


def main(argv=None):
    """Run the suite.  Returns 0 if all was measured that was to be, 1 if not, 2 for options that can't be."""
    options = _parse(argv)
    if options.list:
        print(_listed(WORKLOADS))
        return 0
    chosen = _chosen(options)
    contenders = _contenders(options)
    environment = _environment(options, contenders)
    print("\n".join(f"{key:<12} {value}" for key, value in environment.items()), "\n", sep="", flush=True)
    _allow_many_connections()
    suite = Suite(options, chosen, contenders)
    before = _processor_seconds()
    try:
        suite.run()
    except KeyboardInterrupt:
        suite.remarks.append("interrupted")
    suite.remarks.append(_disturbance(before, _processor_seconds()))
    lines = suite.lines()
    others = [one.name for one in contenders if one.name not in (report.OURS, report.REDIS)]
    print(report.table(lines, others))
    print(f"\n{report.LEGEND}", *suite.remarks, sep="\n")
    if options.json:
        options.json.write_text(report.as_json(lines, environment, suite.remarks), encoding="utf-8")
    if options.svg:
        subtitle = f"{environment['interpreter']}, {environment['kernel']}, {environment['cores']} cores"
        options.svg.write_text(report.as_svg(lines, subtitle), encoding="utf-8")
    return 1 if suite.failed else 0


# -- options -------------------------------------------------------------------

def _parse(argv):
    parser = argparse.ArgumentParser(prog="python3 -m bench",
                                     description="How fast the server is, beside Redis.")
    parser.add_argument("--list", action="store_true", help="show the workloads and what they are to reach")
    parser.add_argument("--only", metavar="PATTERN", action="append",
                        help="workloads whose name matches (* and ?); several with commas between, or given again")
    parser.add_argument("--rounds", type=_rounds, metavar="N", help="rounds of all workloads [3]")
    parser.add_argument("--seconds", type=_seconds, metavar="S",
                        help="time for all of it; what doesn't fit is left out [600]")
    parser.add_argument("--window", type=_seconds, metavar="S",
                        help="seconds of one measurement [what --seconds has room for]")
    parser.add_argument("--full", action="store_true", help="full sizes, and what takes long")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, one round: to see whether it runs")
    parser.add_argument("--size", type=_size, action="append", default=[], metavar="WORKLOAD=N",
                        help="the size of one workload")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to FILE")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="write a plot of the ratios to FILE")
    parser.add_argument("--meilies", type=_address, metavar="HOST:PORT",
                        help="compare with this server as well, which speaks MeiliES's protocol")
    parser.add_argument("--no-redis", action="store_true", help="don't compare with Redis")
    parser.add_argument("--python", default=sys.executable, metavar="PATH",
                        help="the interpreter that our server runs on [this one]")
    parser.add_argument("--dir", default=tempfile.gettempdir(), metavar="DIR",
                        help="where the servers' folders are made, on the disk to measure [%(default)s]")
    options = parser.parse_args(argv)
    unknown = [name for name, _ in options.size if name not in _sized()]
    if unknown:
        parser.error(f"--size {unknown[0]}: found no such workload with a size; --list shows them")
    for path in filter(None, [options.json, options.svg]):
        if not path.absolute().parent.is_dir():     # better said now than when all is measured
            parser.error(f"{path}: there is no such folder")
    if not _chosen(options):
        parser.error(f"--only {','.join(options.only)}: no workload matches; --list shows them")
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.seconds = options.seconds or (120 if options.quick else 600)
    options.window = options.window or (_SHORTEST if options.quick else None)
    return options


def _rounds(text):
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected 1 or more")
    return int(text)


def _seconds(text):
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e6:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected more than 0 seconds")
    return seconds


def _size(text):
    name, equals, count = text.partition("=")
    if not equals or not count.isdigit() or not int(count):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected WORKLOAD=N")
    return name, int(count)


def _address(text):
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit():
        raise argparse.ArgumentTypeError(f"found {text!r}, expected HOST:PORT")
    return host.strip("[]"), int(port)


def _sized():
    return {one.name for one in WORKLOADS if one.size}


def _chosen(options):
    """The workloads to run.  What takes long must be asked for, by name or with --full."""
    patterns = ",".join(options.only or ["*"]).split(",")
    return [one for one in WORKLOADS
            if any(fnmatchcase(one.name, pattern) for pattern in patterns)
            and (not one.long or options.full or options.quick or one.name in patterns)]


def _contenders(options):
    contenders = [Meilies(options.python)]
    if not options.no_redis:
        if Redis.is_installed():
            contenders.append(Redis())
        else:
            print("bench: redis-server or redis-benchmark isn't installed: no ratios", file=sys.stderr)
    if options.meilies:
        contenders.append(Remote(*options.meilies))
    return contenders


def _listed(workloads):
    rows = [("WORKLOAD", "LEAST", "AIM", "SIZE (IN FULL)", "WHAT")]
    for one in workloads:
        size = f"{one.size.usual:,} ({one.size.full:,}) {one.size.of}" if one.size else ""
        title = one.title + (" (by name or with --full only)" if one.long else "")
        rows.append((one.name, _bounds(one, "least"), _bounds(one, "aim"), size, title))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _bounds(workload, which):
    bounds = [(getattr(figure, which), figure) for figure in workload.figures]
    return ", ".join(report.shown_bound(bound, figure) for bound, figure in bounds if bound is not None)


# -- the machine ---------------------------------------------------------------

def _environment(options, contenders):
    """What the figures depend on, in words."""
    cores = len(os.sched_getaffinity(0))
    return {
        **{one.name: f"version {one.version}" for one in contenders},
        "interpreter": _interpreter(options.python),
        "load": f"Python {platform.python_version()}",
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": str(cores),
        "processor": _first("/proc/cpuinfo", "model name") or platform.processor() or "?",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2 ** 30:.0f} GiB",
        "disk": f"{options.dir} ({_file_system(options.dir)})",
        "busy": f"load average {os.getloadavg()[0]:.1f} before it began",
        "began": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


def _allow_many_connections():
    """As many open files as there may be; servers inherit it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _interpreter(python):
    """What the interpreter of our server says it is."""
    ask = ("import platform, sys; print(platform.python_implementation(), platform.python_version(), "
           "'' if getattr(sys, '_is_gil_enabled', lambda: True)() else '(free-threaded)')")
    try:
        done = subprocess.run([python, "-c", ask], capture_output=True, timeout=30)
    except OSError as error:
        raise SystemExit(f"bench: --python {python}: {error.strerror}") from None
    if done.returncode:
        raise SystemExit(f"bench: --python {python}: it isn't a Python: {done.stderr[:200]!r}")
    return done.stdout.decode().strip()


def _processor_seconds():
    """(time, processor seconds of the whole machine that weren't idle, those of us and of what we started)"""
    fields = _first("/proc/stat", "cpu ", " ").split()
    user, nice, system, _, _, irq, softirq, steal = map(int, fields[:8])
    busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    own = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return time.monotonic(), busy, own


def _disturbance(before, after):
    """How busy the machine was with other things, which makes figures worse and less certain."""
    seconds, busy, own = (b - a for a, b in zip(before, after))
    part = max(0.0, busy - own) / (seconds * os.cpu_count())
    return f"meanwhile {part:.0%} of the machine's processor time went elsewhere"


def _first(path, key, separator=":"):
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((line.partition(separator)[2].strip() for line in lines if line.startswith(key)), None)


def _file_system(folder):
    """The kind of file system that `folder` is on."""
    folder = os.path.realpath(folder)
    mounts = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
    under = [(len(place), kind) for _, place, kind, *_ in map(str.split, mounts)
             if f"{folder}/".startswith(f"{place.rstrip('/')}/")]
    return max(under)[1] if under else "?"


# -- the run -------------------------------------------------------------------

# What a measurement can end with beside figures.
_FAILURES = (LoadError, OSError, OutOfTime, ServerError, WrongCount, subprocess.SubprocessError)


class Suite:
    """All measurements, in their order, within their time.

    remarks   what is to be known beside the figures
    failed    something went wrong that was no matter of time
    """

    def __init__(self, options, workloads, contenders):
        self.remarks = []
        self.failed = False
        self._options = options
        self._workloads = workloads
        self._contenders = contenders
        self._values = {}       # (workload's name, figure's name) -> {contender: {round: value}}
        self._took = {}         # (workload's name, contender) -> seconds, the last time
        self._left_out = {}     # measurements that there was no time for, as keys
        self._plan = [(workload, number, contender)
                      for number in range(options.rounds)
                      for workload in workloads
                      for contender in self._order(workload, number)]
        self._window = options.window or min(_LONGEST, max(
            _SHORTEST, options.seconds * _IN_WINDOWS / max(1, len(self._plan))))
        self._end = None

    def _order(self, workload, number):
        """Who is measured in a round: each is the first in turn."""
        if workload.once and number:
            return []
        able = [one for one in self._contenders if (one.own_process or workload.remote)
                and (one.name != report.REDIS or workload.redis)]
        first = number % len(able)
        return able[first:] + able[:first]

    def run(self):
        """Measure all; raises KeyboardInterrupt."""
        self._end = time.monotonic() + self._options.seconds
        self._remark_sizes()
        for i, (workload, number, contender) in enumerate(self._plan):
            self._progress(f"[{i + 1}/{len(self._plan)}] round {number + 1} of {self._options.rounds}, "
                           f"{workload.name}, {contender.name}")
            if time.monotonic() + self._took.get((workload.name, contender.name), 0) > self._end:
                self._left_out[workload.name, number, contender.name] = None
            else:
                self._measure(workload, number, contender)
        self._progress("")
        if self._left_out:
            names = list(dict.fromkeys(name for name, *_ in self._left_out))
            self.remarks.append(f"out of time for {len(self._left_out)} of {len(self._plan)} measurements "
                                f"(--seconds {self._options.seconds:g}): {', '.join(names)}")

    def _measure(self, workload, number, contender):
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="bench-", dir=self._options.dir) as folder:
            trial = Trial(contender, self._window, self.size_of(workload), Path(folder, "data"),
                          deadline=self._end + _GRACE)
            try:
                found = workload.measure(trial)
            except _FAILURES as error:
                self._not_measured(workload, number, contender, error)
                return
        self._took[workload.name, contender.name] = time.monotonic() - began
        for name, value in found.items():
            self._values.setdefault((workload.name, name), {}).setdefault(contender.name, {})[number] = value

    def _not_measured(self, workload, number, contender, error):
        if time.monotonic() > self._end:
            self._left_out[workload.name, number, contender.name] = None
            return
        self.failed = True
        self.remarks.append(f"{workload.name} with {contender.name}, round {number + 1}, "
                            f"couldn't be measured: {type(error).__name__}: {error}")

    def size_of(self, workload):
        if workload.size is None:
            return None
        if self._options.quick:
            size = workload.size.quick
        else:
            size = workload.size.full if self._options.full else workload.size.usual
        return dict(self._options.size).get(workload.name, size)

    def _remark_sizes(self):
        for one in self._workloads:
            size = self.size_of(one)
            if size != (one.size and one.size.full):
                self.remarks.append(f"{one.name}: {size:,} {one.size.of}, in full {one.size.full:,}")

    def _progress(self, text):
        if sys.stderr.isatty():
            left = f", {max(0, self._end - time.monotonic()):.0f} s left" if text else ""
            print(f"\r\x1b[K{text}{left}", end="", file=sys.stderr, flush=True)

    def lines(self):
        """A report.Line for each figure that somebody has."""
        return [report.Line(one, figure, self.size_of(one), self._values[one.name, figure.name])
                for one in self._workloads for figure in one.figures
                if (one.name, figure.name) in self._values]


if __name__ == "__main__":
    sys.exit(main())
