"""Imports point one way, and nothing is imported at run time but the standard library.

    meilies_server -> server -> store, resp
    meilies_cli -> cli -> meilies_client -> meilies_operations -> meilies_session -> resp
    meilies_async -> meilies_operations
    server, cli -> terminal
    meilies_eventsourcing -> meilies_client, store; and the package that it is for
"""

import ast
import importlib.util
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# What each module at the top, and each package, may import of ours.
ALLOWED = {
    "resp": set(),
    "store": set(),
    "terminal": set(),
    "server": {"store", "resp", "terminal"},
    "meilies_server": {"server", "store", "resp"},
    "meilies_session": {"resp"},
    "meilies_operations": {"meilies_session", "resp"},
    "meilies_client": {"meilies_operations", "meilies_session"},
    "meilies_async": {"meilies_operations", "meilies_session"},
    "cli": {"meilies_client", "terminal"},
    "meilies_cli": {"cli", "meilies_client", "terminal"},
    "meilies_eventsourcing": {"meilies_client", "store"},
}

# What a module is there for, and is used by nobody else.
STRANGERS = {"meilies_eventsourcing": {"eventsourcing"}}

# Inside a package, each module may import those before it.
ORDER = {
    "store": (
        "errors",
        "files",
        "inflate",
        "keeper",
        "names",
        "times",
        "arrays",
        "sqlite",
        "stream",
        "record",
        "expect",
        "keys",
        "append",
        "snapshot",
        "draft",
        "index",
        "lookup",
        "segment",
        "cut",
        "merge",
        "filter",
        "recovery",
        "blocks",
        "recent",
        "replay",
        "runs",
        "lately",
        "pick",
        "seek",
        "log",
        "reading",
        "roster",
        "ids",
        "query",
        "retention",
        "compaction",
        "backup",
        "following",
        "chain",
        "walk",
        "check",
        "digests",
        "group",
        "shared",
        "groups",
        "sharing",
        "database",
        "export",
        "repair",
        "__init__",
    ),
    "terminal": (
        "__init__",
        "escaping",
        "painting",
        "progress",
        "fullscreen",
        "completion",
    ),
    "cli": (
        "__init__",
        "problems",
        "showing",
        "taking",
        "parsing",
        "connecting",
        "publishing",
        "reading",
        "following",
        "keeping",
        "groups",
        "copies",
        "redis_streams",
        "migrating",
        "watching",
        "top",
        "completing",
    ),
    "server": (
        "__init__",
        "options",
        "logs",
        "systemd",
        "text",
        "attempts",
        "users",
        "globs",
        "refusals",
        "syntax",
        "table",
        "kept",
        "keys",
        "completing",
        "accounts",
        "upkeep",
        "listening",
        "web",
        "vigil",
        "slowlog",
        "metrics",
        "figures",
        "health",
        "exposition",
        "info",
        "sparing",
        "tls",
        "handshakes",
        "settings",
        "waiting",
        "workers",
        "works",
        "outbox",
        "strangers",
        "connection",
        "chunk",
        "channels",
        "follower",
        "feed",
        "committer",
        "selecting",
        "entries",
        "keyspace",
        "alone",
        "summaries",
        "describing",
        "appending",
        "adding",
        "publishing",
        "trimming",
        "streams",
        "reading",
        "following",
        "pubsub",
        "blocked",
        "xread",
        "grouping",
        "xgroup",
        "xinfo",
        "snapshots",
        "monitoring",
        "logins",
        "access",
        "acl",
        "caching",
        "clients",
        "about",
        "observing",
        "retaining",
        "safekeeping",
        "tagging",
        "transactions",
        "commands",
        "poller",
        "history",
        "inside",
        "sessions",
        "shown",
        "tail",
        "console",
    ),
}

FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_MODULES = {"pickle", "marshal", "shelve"}


def files(name):
    """The source files of a module or package of ours."""
    package = ROOT / name
    return sorted(package.rglob("*.py")) if package.is_dir() else [ROOT / f"{name}.py"]


SOURCES = [(name, path) for name in ALLOWED for path in files(name)]
each_source = pytest.mark.parametrize(
    "owner, path", SOURCES, ids=[str(path.relative_to(ROOT)) for _, path in SOURCES])


def imports(path):
    """Full names of all that `path` imports, functions' own imports among them.

    `from . import x` in store/y.py is store.x, and so is `from .x import z`.
    """
    package = path.relative_to(ROOT).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            begin = list(package[:len(package) - node.level + 1]) if node.level else []
            module = ".".join([*begin, *([node.module] if node.module else [])])
            inside = [f"{module}.{alias.name}" for alias in node.names]
            yield from (name if is_ours(name) else module for name in inside)


def is_ours(name):
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def is_standard(name):
    if sys.version_info >= (3, 10):
        return name in sys.stdlib_module_names
    if name in sys.builtin_module_names:
        return True
    spec = importlib.util.find_spec(name)
    library = sysconfig.get_path("stdlib")
    return bool(spec and spec.origin and (spec.origin == "frozen" or (
        spec.origin.startswith(library) and "site-packages" not in spec.origin)))


@each_source
def test_only_the_standard_library_and_what_lies_below_is_imported(owner, path):
    for name in imports(path):
        top = name.split(".")[0]
        if top in ALLOWED:
            assert top == owner or top in ALLOWED[owner], f"{path.name} imports {name}"
        else:
            assert is_standard(top) or top in STRANGERS.get(owner, ()), f"{path.name} imports {name}"


@each_source
def test_nothing_runs_text_as_code_or_unpickles(owner, path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    called = {node.func.id for node in ast.walk(tree)
              if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert not called & FORBIDDEN_CALLS
    assert not {name.split(".")[0] for name in imports(path)} & FORBIDDEN_MODULES


@pytest.mark.parametrize("package", ORDER)
def test_every_module_of_a_package_has_a_place_in_its_order(package):
    assert sorted(ORDER[package]) == sorted(path.stem for path in files(package))


@pytest.mark.parametrize("owner, path", [source for source in SOURCES if source[0] in ORDER],
                         ids=lambda value: getattr(value, "stem", value))
def test_inside_a_package_imports_point_to_what_stands_before(owner, path):
    order = ORDER[owner]
    for name in imports(path):
        top, _, module = name.partition(".")
        if top == owner:
            assert order.index(module or "__init__") < order.index(path.stem), f"{path.name} imports {name}"
