"""python3 -m tests.clients: install what is missing, run the programs, say which did well."""

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS), str(TESTS.parent)]      # as pytest has it: `conftest`, `certificates`, `resp`

from clients.runner import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
