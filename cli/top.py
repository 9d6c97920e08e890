"""The live view of a server: top.

    INFO, CLIENT LIST, groups ──> Sample ──┐
    the same, a moment later  ──> Sample ──┴─> View: rates ──> lines ──> a terminal, JSON or a pipe
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple

from meilies_client import Client, ClientError, Refused
from terminal.escaping import columns, fitted, padded, printable
from terminal.fullscreen import FullScreen
from terminal.painting import Painter
from terminal.progress import shown_bytes, shown_duration

from .connecting import connect
from .parsing import Commands, seconds_argument
from .showing import info_of, write

# Groups that are asked for each time, in the order of their names.
MOST_GROUPS = 50
# Samples whose rates stay in the curves.
REMEMBERED = 60

# Counters in INFO that make the rates: what is shown, the counter, how it is shown.
RATES = (
    ("published", "events_published", "{:,.0f} events/s".format),
    ("commands", "total_commands_processed", "{:,.0f}/s".format),
    ("received", "total_net_input_bytes", lambda rate: f"{shown_bytes(rate)}/s"),
    ("sent", "total_net_output_bytes", lambda rate: f"{shown_bytes(rate)}/s"),
)

_BARS = "▁▂▃▄▅▆▇█"
_NARROWEST = 20

Segments = "list[tuple[str, str]]"     # (colour or "", text), side by side


class Sample(NamedTuple):
    """What a server said at one moment.

    when      seconds, of a clock that only goes on
    took      seconds that it took to say it
    info      {name: text} of INFO
    clients   [{name: text}] of CLIENT LIST
    groups    [what group-info says]
    refused   what the user may not ask, in words
    """

    when: float
    took: float
    info: dict[str, str]
    clients: list[dict[str, str]]
    groups: list[dict[str, Any]]
    refused: list[str]


def sample(client: Client, clock: Any = time.monotonic) -> Sample:
    """Ask a server.  Raises ClientError."""
    began = clock()
    fields = {name: value for section in info_of(client).values() for name, value in section.items()}
    took = clock() - began
    refused: list[str] = []
    clients, groups = [], []
    try:
        clients = _clients_of(client)
    except Refused as error:
        refused.append(f"clients: {error.reply}")
    try:
        groups = _groups_of(client)
    except Refused as error:
        refused.append(f"groups: {error.reply}")
    return Sample(clock(), took, fields, clients, groups, refused)


def _clients_of(client: Client) -> list[dict[str, str]]:
    text = client.call("CLIENT", "LIST").decode("utf-8", "backslashreplace")
    return [dict(field.partition("=")[::2] for field in line.split(" ") if "=" in field) for line in text.splitlines()]


def _groups_of(client: Client) -> list[dict[str, Any]]:
    found = []
    for name in client.groups()[:MOST_GROUPS]:
        try:
            found.append(client.group_info(name))
        except Refused:         # it was deleted meanwhile, or isn't for this user
            continue
    return found


def number_in(fields: dict[str, str], name: str) -> int | None:
    """A field of INFO or CLIENT LIST as a number; None if it isn't there, or is none."""
    text = fields.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else None


class View:
    """What is shown of the samples until now.

    place   where the server is, in words
    """

    def __init__(self, place: str) -> None:
        self._place = place
        self._last: Sample | None = None
        self.rates: dict[str, float] = {}
        self.curves: dict[str, deque[float]] = {name: deque(maxlen=REMEMBERED) for name, _, _ in RATES}
        self._sent: dict[str, float] = {}       # bytes a second to each client, by its id

    def take(self, new: Sample) -> None:
        """The next sample."""
        old, self._last = self._last, new
        if old is None:
            return
        seconds = max(new.when - old.when, 0.001)
        for name, counter, _ in RATES:
            before, now = number_in(old.info, counter), number_in(new.info, counter)
            if before is not None and now is not None:
                self.rates[name] = max(now - before, 0) / seconds       # less than before: it was started again
                self.curves[name].append(self.rates[name])
        sent = {one.get("id", ""): number_in(one, "tot-net-out") or 0 for one in old.clients}
        self._sent = {one["id"]: max((number_in(one, "tot-net-out") or 0) - sent[one["id"]], 0) / seconds
                      for one in new.clients if one.get("id") in sent}

    def as_json(self) -> dict[str, Any]:
        """What there is as one object."""
        info, last = self._info, self._last
        groups = [{name: group.get(name) for name in ("name", "lag", "held", "parked")} for group in self._groups]
        return {
            "time": time.time(), "milliseconds": round(last.took * 1000, 3) if last else None,
            "events": number_in(info, "events"), "streams": number_in(info, "streams"),
            "log_bytes": number_in(info, "log_bytes"), "clients": number_in(info, "connected_clients"),
            "subscriptions": number_in(info, "subscriptions"), "failed": info.get("failed") == "1",
            "rates": {name: round(rate, 3) for name, rate in self.rates.items()}, "groups": groups}

    def lines(self, width: int, height: int | None, painter: Painter, note: str = "", help_: bool = True) -> list[str]:
        """What there is, in so many columns and rows, any number of rows if that is None."""
        tables = [self._group_rows(width), self._client_rows(width)]
        rows = [*self._head(note), *self._rate_rows(width)]
        last = [[("dim", "q quit  p pause  + faster  - slower")]] if help_ else []
        room = None if height is None else max(height - len(rows) - len(last), 0)
        for i, table in enumerate(tables):
            if len(table) > 1:
                # The first table leaves half of the room to the second.
                share = None if room is None else room - min(len(tables[1]) + 1, room // 2) if i == 0 else room
                shown = [[("", "")], *table] if share is None else [[("", "")], *table][:share]
                rows += shown
                room = None if room is None else room - len(shown)
        rows += last
        return [laid(row, width, painter) for row in (rows if height is None else rows[:height])]

    # -- the parts, each a list of lines, which are segments

    @property
    def _info(self) -> dict[str, str]:
        return self._last.info if self._last else {}

    @property
    def _groups(self) -> list[dict[str, Any]]:
        groups = self._last.groups if self._last else []
        return sorted(groups, key=lambda group: (-(group.get("lag") or 0), str(group.get("name"))))

    def _head(self, note: str) -> list[Segments]:
        info = self._info
        up = number_in(info, "uptime_in_seconds")
        took = f"{self._last.took * 1000:.1f} ms" if self._last else "-"
        first = [("bold", f"MeiliES {info.get('meilies_version', '?')}"), ("", f"  {self._place}"),
                 ("", f"  up {shown_duration(up)}" if up is not None else ""), ("", f"  sync {info.get('sync', '?')}"),
                 ("", f"  answers in {took}")]
        if info.get("failed") == "1":
            first.append(("red", "  THE DISK FAILED: nothing is stored any more"))
        clients = f"{_whole(info, 'connected_clients')} of {_whole(info, 'maxclients')} clients"
        stored = f"{_whole(info, 'events')} events in {_whole(info, 'streams')} streams, {_bytes(info, 'log_bytes')}"
        second = [("", f"{stored};  {clients}, {_whole(info, 'subscriptions')} subscriptions")]
        behind = number_in(info, "blocked_outputs")
        if behind:
            second.append(("yellow", f", {behind} behind"))
        notes = [note] if note else []
        notes += self._last.refused if self._last else []
        return [first, second, *[[("yellow", text)] for text in notes]]

    def _rate_rows(self, width: int) -> list[Segments]:
        room = min(max(width - 34, 0), REMEMBERED)
        return [[("", f"{name:<10}"), ("bold", f"{shown(self.rates[name]):>20}"),
                 ("cyan", "  " + curve(list(self.curves[name])[-room:]) if room else "")]
                for name, _, shown in RATES if name in self.rates]

    def _group_rows(self, width: int) -> list[Segments]:
        rows: list[Segments] = [[("reverse", _row(width, "GROUP", "LAG", "HELD", "PARKED", "MEMBERS", "FOLLOWS"))]]
        for group in self._groups:
            lag, parked = group.get("lag") or 0, group.get("parked") or 0
            text = _row(width, group.get("name"), lag, group.get("held"), parked, len(group.get("members") or {}),
                        f"{group.get('kind')} {group.get('selector')}")
            rows.append([("red" if parked else "yellow" if lag else "", text)])
        return rows

    def _busy(self, client: dict[str, str]) -> tuple[float, ...]:
        """What brings a client to the top: bytes that wait for it, bytes sent to it, no pause."""
        return (-(number_in(client, "omem") or 0), -self._sent.get(client.get("id", ""), 0),
                number_in(client, "idle") or 0)

    def _client_rows(self, width: int) -> list[Segments]:
        heading = _row(width, "CLIENT", "SENT/S", "WAITING", "IDLE", "FOLLOWS", "LAST COMMAND")
        rows: list[Segments] = [[("reverse", heading)]]
        clients = self._last.clients if self._last else []
        for one in sorted(clients, key=self._busy):
            waiting = number_in(one, "omem") or 0
            who = " ".join(filter(None, [one.get("addr", "?"), one.get("user", ""), one.get("name", "")]))
            text = _row(width, who, shown_bytes(self._sent.get(one.get("id", ""), 0)), shown_bytes(waiting),
                        f"{one.get('idle', '?')} s", one.get("sub", "?"), one.get("cmd", "?"))
            rows.append([("yellow" if waiting else "", text)])
        return rows


def _row(width: int, first: Any, *rest: Any) -> str:
    """A line of a table of so many columns; where these are few, the first cell is narrow, too."""
    *numbers, last = rest
    return "".join([padded(printable(str(first)), max(min(26, width - 56), 10)),
                    *(f"{_grouped(one):>10}" for one in numbers), "  " + printable(str(last))])


def _grouped(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _whole(fields: dict[str, str], name: str) -> str:
    value = number_in(fields, name)
    return "?" if value is None else f"{value:,}"


def _bytes(fields: dict[str, str], name: str) -> str:
    value = number_in(fields, name)
    return "?" if value is None else shown_bytes(value)


def curve(values: Iterable[float]) -> str:
    """Bars, one a value, the highest of them as high as can be."""
    values = list(values)
    top = max(values, default=0) or 1
    return "".join(_BARS[min(int(value / top * len(_BARS)), len(_BARS) - 1)] for value in values)


def laid(segments: Segments, width: int, painter: Painter) -> str:
    """Segments side by side, as far as there is room, in their colours."""
    parts = []
    for colour, text in segments:
        text = fitted(printable(text), width)
        width -= columns(text)
        parts.append(painter(colour, text) if colour else text)
    return "".join(parts)


# -- the command -------------------------------------------------------------------

def run_top(options: argparse.Namespace) -> None:
    with connect(options) as client:
        view = View(str(client.address))
        view.take(sample(client))
        if options.json or options.once or not sys.stdout.isatty():
            _print(client, view, options)
        else:
            with FullScreen() as screen:
                _show(client, view, options, screen)


def _print(client: Client, view: View, options: argparse.Namespace) -> None:
    """Once, or a JSON object a line until somebody stops it."""
    painter = Painter(options.color, sys.stdout, os.environ)
    while True:
        time.sleep(options.interval)
        view.take(sample(client))
        if options.json:
            write(json.dumps(view.as_json()).encode() + b"\n")
        else:
            text = "\n".join(view.lines(120, None, painter, help_=False))
            write(f"{text}\n".encode(sys.stdout.encoding, "backslashreplace"))
        if options.once or not options.json:
            return


def _show(client: Client, view: View, options: argparse.Namespace, screen: FullScreen) -> None:
    """Draw it until somebody presses q."""
    painter = Painter(options.color, sys.stdout, os.environ)
    interval, paused, note = options.interval, False, ""
    due = time.monotonic() + min(interval, 0.2)     # rates are wanted soon
    while True:
        size = screen.size
        screen.draw(view.lines(max(size.columns, _NARROWEST), size.lines, painter, "paused" if paused else note))
        key = screen.key(max(due - time.monotonic(), 0))
        if key in ("q", "Q", "\x1b"):
            return
        if key in ("p", " "):
            paused = not paused
        elif key == "+":
            interval = max(interval / 2, 0.125)
        elif key == "-":
            interval = min(interval * 2, 60)
        if time.monotonic() >= due:
            due = time.monotonic() + interval
            if not paused:
                note = _take_next(client, view)


def _take_next(client: Client, view: View) -> str:
    """Ask the server; why there is no answer, if there is none."""
    try:
        view.take(sample(client))
    except ClientError as error:
        return f"{error}; trying again"
    return ""


def add(commands: Commands) -> None:
    top = commands("top", run_top, "show rates, lag of groups and clients, live; once in a pipe",
                   "top", "top --once", "top --json --interval 5")
    top.add_argument("--interval", metavar="SECONDS", type=seconds_argument, default=1.0, help="between two looks (1)")
    top.add_argument("--once", action="store_true", help="print it once, and end")
    top.add_json("one JSON object a line, until it is stopped; with --once a single one")
