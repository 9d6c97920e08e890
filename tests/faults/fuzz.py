"""A fuzzer that is led by what its inputs reach in the code: python3 -m tests.faults.fuzz ORACLE --minutes 10

    --runs N       end after so many inputs
    --seed N       of what is drawn
    --no-keep      don't add to tests/corpus what was found

It needs atheris.  An input that breaks what it should not is shown, and written to a file that is named.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

# What libFuzzer is told besides: inputs stay small, and one that takes so many seconds is a find.
FIXED = ["-max_len=1024", "-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"]
MEASURED = ["resp", "store.record", "store.segment"]


def main():
    options = _options()
    if options.folder:
        _fuzz(options)
        return 0
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        return _fuzz_and_keep(options, Path(folder))


def _options():
    parser = argparse.ArgumentParser(prog="python3 -m tests.faults.fuzz", description="Look for inputs that break it.")
    parser.add_argument("oracle")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--runs", type=int, default=-1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-keep", action="store_true")
    parser.add_argument("--crashes", default=tempfile.gettempdir(), help="folder for inputs that broke it")
    parser.add_argument("--folder", help=argparse.SUPPRESS)     # of the inputs: this process is to fuzz
    return parser.parse_args()


def _fuzz_and_keep(options, folder):
    """Fuzz in a process of its own, which libFuzzer ends as it likes."""
    from faults import corpus

    kept = corpus.load(options.oracle)
    for i, data in enumerate(kept):
        (folder / f"kept-{i}").write_bytes(data)
    code = subprocess.call([sys.executable, "-m", "tests.faults.fuzz", *sys.argv[1:], "--folder", str(folder)])
    if code == 0 and not options.no_keep:
        found = [path.read_bytes() for path in folder.iterdir() if not path.name.startswith("kept-")]
        corpus.save(options.oracle, kept + [data for data in found if len(data) <= corpus.LONGEST_KEPT])
    return code


def _fuzz(options):
    import atheris

    with atheris.instrument_imports(include=MEASURED):
        from faults.oracles import ORACLES, segments
    segments()      # which takes longer than any input may
    crashes = os.path.join(options.crashes, f"{options.oracle}-")
    atheris.Setup([sys.argv[0], f"-runs={options.runs}", f"-seed={options.seed + 1}", f"-artifact_prefix={crashes}",
                   f"-max_total_time={int(60 * options.minutes)}", *FIXED, options.folder], ORACLES[options.oracle])
    atheris.Fuzz()


if __name__ == "__main__":
    TESTS = Path(__file__).resolve().parent.parent
    sys.path[:0] = [str(TESTS), str(TESTS.parent)]
    sys.exit(main())
