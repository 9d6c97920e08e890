"""What docs/redis.md says of what is alike: a row for each command, then each difference with a call that shows it.

    PYTHONPATH=.:tests python3 -m alike.table       writes it there
"""

import re
import tempfile
import textwrap
from collections import Counter, defaultdict
from pathlib import Path

from conftest import ROOT
from serving import Serving

from .differences import DIFFERENCES
from .playing import compare, steps_of
from .redis import Redis
from .scenes import SCENES
from .wire import shown

PAGE = ROOT / "docs" / "redis.md"
_BEGIN = "<!-- Below: written by tests/alike/table.py. -->\n"
_END = "<!-- Above: written by tests/alike/table.py. -->\n"
_PART = re.compile(f"{re.escape(_BEGIN)}(.*){re.escape(_END)}", re.S)

# Replies are shown to their beginning, without what the clock says.
_WIDTH = 110
_TIME = re.compile(r"\b1[0-9]{12}\b")


def written():
    """The part of the page that this module writes, as it is."""
    return _PART.search(PAGE.read_text())[1]


def wanted():
    """That part as it should be: calls are made to both servers for it."""
    return "".join(f"{line}\n" for line in ["", *rows(), "", *explanations()])


def rows():
    calls, differing = Counter(), defaultdict(Counter)
    for step in all_steps():
        calls[step.command] += 1
        if step.difference:
            differing[step.command][step.difference] += 1
    yield "| command | calls compared | alike | what isn't |"
    yield "| --- | ---: | ---: | --- |"
    for command in sorted(calls):
        found = differing[command]
        why = ", ".join(DIFFERENCES[name].title for name in sorted(found))
        yield f"| `{command}` | {calls[command]} | {calls[command] - sum(found.values())} | {why} |"


def all_steps():
    """Each call of the scenes once: those that all of a kind begin with aren't counted again."""
    seen = set()
    for scene in SCENES:
        for step in steps_of(scene.text):
            if step.words and "NONSENSE" not in step.command and (step.text, step.difference) not in seen:
                seen.add((step.text, step.difference))
                yield step


def explanations():
    shown_by = examples()
    for name, difference in DIFFERENCES.items():
        compared = shown_by[name]
        yield from textwrap.wrap(f"**{difference.title[0].upper()}{difference.title[1:]}.** {difference.why}", 118)
        yield ""
        yield "```"
        yield f"> {compared.step.text}"
        yield f"Redis:  {beginning(shown(compared.redis))}"
        yield f"here:   {beginning(shown(compared.ours))}"
        yield "```"
        yield ""


def beginning(text):
    line = _TIME.sub("...", " ".join(text.split()))
    return line if len(line) <= _WIDTH else line[:_WIDTH - 3] + "..."


def examples():
    """{name of a difference: the first Compared that shows it whole, or else the first}"""
    found = {}
    for compared in differing():
        name = compared.step.difference
        if name not in found or is_cut(found[name]) and not is_cut(compared):
            found[name] = compared
    return found


def is_cut(compared):
    return any(len(shown(reply)) > _WIDTH for reply in (compared.redis, compared.ours))


def differing():
    """Yield each Compared of a call whose replies differ."""
    with tempfile.TemporaryDirectory() as folder, Redis() as redis, Serving(Path(folder) / "db") as serving:
        for scene in SCENES:
            if any(step.difference for step in steps_of(scene.text)):
                for compared in compare(scene._replace(alone=False), 2, redis, serving.port):
                    if compared.step.difference:
                        yield compared


if __name__ == "__main__":
    PAGE.write_text(_PART.sub(lambda _: _BEGIN + wanted() + _END, PAGE.read_text()))
