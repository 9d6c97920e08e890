"""The programs: each a client with its default settings."""

import re
from typing import NamedTuple, Optional

from clients.languages import HERE, Go, Java, Node, Python, Shell
from conftest import ROOT


class Program(NamedTuple):
    """A client and what tries it.

    client     what it is called
    language   what runs it
    program    what the language runs, beside this file
    source     the file whose lines docs/redis.md shows
    speaks     the protocol that it chooses, 2 or 3
    pinned     the file that says which version, and how: None for what Debian has
    """

    client: str
    language: type
    program: str
    source: str
    speaks: int
    pinned: Optional[tuple] = None

    def version(self):
        """Its version as the docs have it."""
        if self.pinned is None:
            return "7.0.15"
        path, pattern = self.pinned
        return re.search(pattern, path.read_text(), re.M)[1]


_PYTHON = ROOT / "requirements-dev.txt"
_NODE = HERE / "node" / "package.json"
_GO = HERE / "go" / "go.mod"
_JAVA = HERE / "java" / "pom.xml"

PROGRAMS = (
    Program("redis-cli", Shell, "redis-cli/redis-cli.sh", "redis-cli/redis-cli.sh", 2),
    Program("redis-py", Python, "python/redis_py.py", "python/redis_py.py", 3, (_PYTHON, r"^redis==([\d.]+);.*>=")),
    Program("valkey-py", Python, "python/valkey_py.py", "python/valkey_py.py", 2, (_PYTHON, r"^valkey==([\d.]+);.*>=")),
    Program("node-redis", Node, "node/node-redis.mjs", "node/node-redis.mjs", 3, (_NODE, r'"redis": "([\d.]+)"')),
    Program("ioredis", Node, "node/ioredis.mjs", "node/ioredis.mjs", 3, (_NODE, r'"ioredis": "([\d.]+)"')),
    Program("go-redis", Go, "go/go-redis", "go/go-redis/main.go", 3, (_GO, r"go-redis/v9 v([\d.]+)$")),
    Program("rueidis", Go, "go/rueidis", "go/rueidis/main.go", 3, (_GO, r"rueidis v([\d.]+)$")),
    Program("Jedis", Java, "JedisProgram", "java/JedisProgram.java", 3,
            (_JAVA, r"jedis</artifactId>\s*<version>([\d.]+)")),
    Program("Lettuce", Java, "LettuceProgram", "java/LettuceProgram.java", 3,
            (_JAVA, r"lettuce-core</artifactId>\s*<version>([\d.]+\d)")),
)
