"""Build each program as one file: python3 make/pyz.py DIRECTORY

    meilies-server.pyz    meilies_server.py  resp.py  server/  store/  terminal/
    meilies-cli.pyz       meilies_cli.py  cli/  terminal/  meilies_client.py  meilies_operations.py
                          meilies_session.py  resp.py

The same sources give the same bytes, whoever builds them, when and where:
files are sorted, dated 1980, readable by all, and not compressed.
"""

import io
import sys
import zipapp
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

PROGRAMS = {
    "meilies-server.pyz": ("meilies_server", ("meilies_server.py", "resp.py", "server", "store", "terminal")),
    "meilies-cli.pyz": ("meilies_cli", ("meilies_cli.py", "cli", "terminal", "meilies_client.py",
                                        "meilies_operations.py", "meilies_session.py", "resp.py")),
}

MAIN = "import sys\n\nimport {0}\n\nsys.exit({0}.main())\n"


def main(directory):
    target = Path(directory)
    target.mkdir(parents=True, exist_ok=True)
    for name, (module, sources) in PROGRAMS.items():
        # Given an archive rather than a directory, zipapp leaves its entries as they are.
        zipapp.create_archive(archive(module, sources), target / name, "/usr/bin/env python3")
        (target / name).chmod(0o755)
        print(target / name)


def archive(module, sources):
    """A zip file, rewound, of `sources` and a __main__.py that runs main() of `module`."""
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w") as entries:
        add(entries, "__main__.py", MAIN.format(module).encode("utf-8"))
        for path in sorted(path for source in sources for path in files(ROOT / source)):
            add(entries, path.relative_to(ROOT).as_posix(), path.read_bytes())
    found.seek(0)
    return found


def files(path):
    """The modules at a path, and the pages of the console."""
    return [*path.rglob("*.py"), *path.glob("pages/*.*")] if path.is_dir() else [path]


def add(entries, name, data):
    entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    entry.create_system = 3  # Unix, where the mode below has a meaning
    entry.external_attr = 0o100644 << 16
    entries.writestr(entry, data)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python3 make/pyz.py DIRECTORY")
    main(sys.argv[1])
