"""What was measured: as a table, as JSON, and as an SVG.

    Results[workload, figure] ──> Line ──> table, JSON
                                     '───> a bar of the plot
"""

import json
import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple, Optional
from xml.sax.saxutils import escape

from .workloads import Figure, Workload

OURS, REDIS = "meilies", "redis"


class Values(NamedTuple):
    """One figure of one server, in all rounds."""

    rounds: Sequence

    @property
    def median(self):
        return statistics.median(self.rounds)

    @property
    def spread(self):
        """Half of what lies between the lowest and the highest, in parts of the median."""
        return (max(self.rounds) - min(self.rounds)) / 2 / self.median if self.median else 0.0


class Line(NamedTuple):
    """One figure of all servers.

    values  {contender's name: {round: value}}
    size    how large the workload was, if it has a size
    """

    workload: Workload
    figure: Figure
    size: Optional[int]
    values: dict

    @property
    def title(self):
        return " ".join(filter(None, [self.workload.name, self.figure.name]))

    def of(self, name):
        """Its Values for a contender, or None."""
        rounds = self.values.get(name)
        return Values(list(rounds.values())) if rounds else None

    def ratios(self, other=REDIS):
        """How many times better we are, round by round."""
        ours, theirs = self.values.get(OURS, {}), self.values.get(other, {})
        pairs = [(ours[i], theirs[i]) for i in ours if theirs.get(i) and ours[i]]
        return [b / a if self.figure.smaller else a / b for a, b in pairs]

    @property
    def verdict(self):
        """Whether it reached what it is to reach; "" if that isn't known."""
        figure = self.figure
        if figure.least is figure.aim is None or not self.ratios() and not figure.absolute:
            return ""
        if figure.aim is not None and self._reaches(figure.aim):
            return "aim"
        if figure.least is None:
            return "short"
        return "ok" if self._reaches(figure.least) else "BELOW"

    def _reaches(self, bound):
        if self.figure.absolute:
            return OURS in self.values and self.of(OURS).median <= bound
        return statistics.median(self.ratios()) >= bound


# -- the table -----------------------------------------------------------------

LEGEND = """\
Medians of all rounds; ±: half of what lies between lowest and highest.  Ratio: how many times better than
Redis, the median of the rounds' ratios, and between what they were.  aim: as good as wanted; ok: at least
good enough; BELOW: neither; short: less than wanted, where no least is set."""

HEAD = ("workload", "", OURS, REDIS, "ratio", "", "least", "aim", "")


def table(lines, others=()):
    """The text of the table; `others` are contenders besides ours and Redis."""
    head = [*HEAD]
    for name in others:
        head += [name, "ratio"]
    rows = [head, *(_row(line, others) for line in lines)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), row[1].ljust(widths[1]),
                   *(cell.rjust(width) for cell, width in zip(row[2:], widths[2:]))]).rstrip()
        for row in rows)


def _row(line, others):
    figure = line.figure
    ratios = line.ratios()
    row = [line.title, figure.unit, _shown_values(line.of(OURS)), _shown_values(line.of(REDIS)),
           _shown_ratio(ratios), _shown_range(ratios),
           shown_bound(figure.least, figure), shown_bound(figure.aim, figure), line.verdict]
    for name in others:
        row += [_shown_values(line.of(name)), _shown_ratio(line.ratios(name))]
    return row


def shown_bound(bound, figure):
    """What a figure is to reach; "" for None."""
    if bound is None:
        return ""
    return f"{bound:g} {figure.unit}" if figure.absolute else f"{bound:.1f}"


def _shown_values(values):
    if values is None:
        return "-"
    more = f" ±{values.spread:.0%}" if len(values.rounds) > 1 else ""
    return shown(values.median) + more.rjust(6)


def shown(value):
    """Three digits, or all of those before the point."""
    digits = max(0, 2 - int(math.floor(math.log10(abs(value))))) if value else 0
    return f"{value:,.{digits}f}"


def _shown_ratio(ratios):
    return f"{statistics.median(ratios):.2f}" if ratios else ""


def _shown_range(ratios):
    return f"{min(ratios):.2f}-{max(ratios):.2f}" if len(ratios) > 1 else ""


# -- files ---------------------------------------------------------------------

def as_json(lines, environment, remarks):
    """The text of the JSON file: all values of all rounds, and what they come to."""
    return json.dumps({"environment": environment, "remarks": remarks,
                       "figures": [_as_dict(line) for line in lines]}, indent=1, ensure_ascii=False) + "\n"


def _as_dict(line):
    workload, figure = line.workload, line.figure
    ratios = line.ratios()
    return {
        "workload": workload.name, "figure": figure.name, "title": workload.title, "unit": figure.unit,
        "size": line.size, "full size": workload.size and workload.size.full,
        "smaller is better": figure.smaller, "least": figure.least, "aim": figure.aim,
        "bounds are": "values" if figure.absolute else "ratios",
        "values": {name: list(rounds.values()) for name, rounds in line.values.items()},
        "median": {name: line.of(name).median for name in line.values},
        "spread": {name: line.of(name).spread for name in line.values},
        "ratios": ratios, "ratio": statistics.median(ratios) if ratios else None, "verdict": line.verdict,
    }


ROW, LEFT, WIDTH = 20, 230, 560     # pixels
LOW, HIGH = 0.1, 100                # ratios
COLOURS = {"aim": "#2a9d5c", "ok": "#8cc063", "short": "#e9c46a", "BELOW": "#d1495b", "": "#8d99ae"}


def as_svg(lines, subtitle):
    """A bar for each ratio to Redis on a logarithmic scale, with its least and its aim."""
    bars = [line for line in lines if line.ratios()]
    parts = [_text(LEFT, 18, "Times better than Redis", 'font-weight="bold"'), _text(LEFT, 34, subtitle)]
    top, bottom = 56, 60 + ROW * len(bars)
    for ratio in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100):
        stroke = "#333" if ratio == 1 else "#ddd"
        parts.append(f'<path d="M{_x(ratio):.1f} {top}V{bottom}" stroke="{stroke}"/>')
        parts.append(_text(_x(ratio), top - 4, f"{ratio:g}", 'text-anchor="middle" fill="#777"'))
    for i, line in enumerate(bars):
        parts += _bar(line, top + 4 + ROW * i)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 60}" height="{bottom + 10}" '
            'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="#fff"/>\n'
            + "\n".join(parts) + "\n</svg>\n")


def _bar(line, y):
    ratio = statistics.median(line.ratios())
    begin, end = sorted([_x(1), _x(ratio)])
    yield _text(LEFT - 8, y + 12, line.title, 'text-anchor="end"')
    yield (f'<rect x="{begin:.1f}" y="{y + 2}" width="{max(1, end - begin):.1f}" height="{ROW - 7}" '
           f'fill="{COLOURS[line.verdict]}"/>')
    yield _text(LEFT + WIDTH + 8, y + 12, shown(ratio))
    if not line.figure.absolute:
        for bound, colour in ((line.figure.least, "#000"), (line.figure.aim, "#2a9d5c")):
            if bound is not None:
                yield f'<path d="M{_x(bound):.1f} {y}v{ROW - 3}" stroke="{colour}" stroke-width="2"/>'


def _x(ratio):
    ratio = min(HIGH, max(LOW, ratio))
    return LEFT + WIDTH * math.log(ratio / LOW) / math.log(HIGH / LOW)


def _text(x, y, text, more=""):
    return f'<text x="{x:.1f}" y="{y}" {more}>{escape(text)}</text>'
