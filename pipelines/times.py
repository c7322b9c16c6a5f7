"""Where the time of a run went, as its workers told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from pipelines.told import LegTime
from transforms.progress import ProgressLog, Slowest

TITLES = ("leg", "elements", "busy", "share", "mean", "p50", "p95", "longest", "found")
LEFT_OUT = ("mean", "p50", "found", "elements")
"""In this order, where there is no room."""
SHOWN_SHARE = 0.005
"""Of all busy time; legs below it stand together in the last line."""


def time_table(times: Sequence[LegTime], width_chars: int) -> Table:
    """Legs, the busiest first: how long workers were at their elements, all in all and at one.

    Columns that a terminal of this width has no room for are left out; names and numbers are whole.
    """
    unlimited = Console(width=1000)
    for number in range(len(LEFT_OUT) + 1):
        table = _table(times, LEFT_OUT[:number])
        if unlimited.measure(table).maximum <= width_chars:
            break
    return table


def _table(times: Sequence[LegTime], left_out: Sequence[str]) -> Table:
    titles = [title for title in TITLES if title not in left_out]
    table = Table(title="where the time went", box=SIMPLE_HEAD)
    for title in titles:
        table.add_column(title, justify="left" if title == "leg" else "right", no_wrap=True)
    total_s = sum(time.busy_s for time in times)
    shown = [time for time in times if time.busy_s >= SHOWN_SHARE * total_s]
    rows = [_row(time, total_s) for time in shown]
    if rest := times[len(shown) :]:
        busy_s = sum(time.busy_s for time in rest)
        rows.append({"leg": "the rest", "busy": seconds(busy_s), "share": "<1%"})
    for row in rows:
        table.add_row(*(row.get(title, "") for title in titles))
    return table


def _row(time: LegTime, total_s: float) -> dict[str, str]:
    return {
        "leg": time.leg,
        "elements": str(time.elements),
        "busy": seconds(time.busy_s),
        "share": f"{time.busy_s / total_s:.0%}" if total_s else "",
        "mean": seconds(time.mean_s),
        "p50": seconds(time.percentile_s(50)),
        "p95": seconds(time.percentile_s(95)),
        "longest": seconds(time.longest_s),
        "found": _found(time),
    }


def _found(time: LegTime) -> str:
    """Of what a leg looked for in the memo store; nothing for one that never looks."""
    looked = time.reused + time.worked
    return f"{time.reused} of {looked}" if looked else ""


def seconds(time_s: float) -> str:
    """A time with two digits or so, in the unit that people would say it in."""
    if time_s >= 3 * 3600:
        return f"{time_s / 3600:.0f} h"
    if time_s >= 600:
        return f"{time_s / 60:.0f} min"
    if time_s >= 100:
        return f"{time_s:.0f} s"
    return f"{time_s:.1f} s" if time_s >= 1 else f"{1000 * time_s:.0f} ms"


def slowest(log: ProgressLog) -> list[Slowest]:
    """By leg, the element that took longest, the longest first; only what took a while is there."""
    found: dict[str, Slowest] = {}
    for line in log.read_all():
        if isinstance(line, Slowest):
            found[line.leg] = max(line, found.get(line.leg, line), key=lambda one: one.busy_s)
    return sorted(found.values(), key=lambda one: -one.busy_s)


def times_as_json(times: Sequence[LegTime]) -> dict[str, Any]:
    """The same as numbers, by leg."""
    return {
        time.leg: {
            "elements": time.elements,
            "busy_s": round(time.busy_s, 4),
            "mean_s": round(time.mean_s, 4),
            "p50_s": round(time.percentile_s(50), 4),
            "p95_s": round(time.percentile_s(95), 4),
            "longest_s": round(time.longest_s, 4),
            "reused": time.reused,
            "worked": time.worked,
        }
        for time in times
    }
