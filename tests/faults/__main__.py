"""python3 -m tests.faults: the long form."""

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS), str(TESTS.parent)]      # as pytest has it: `disk`, `conftest`, and what is tested

from faults.runner import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
