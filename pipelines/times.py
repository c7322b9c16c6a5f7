"""Where the time of a run went, as its workers told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from pipelines.told import LegTime
from transforms.progress import ProgressLog, Slowest

SHOWN_SHARE = 0.005
"""Of all busy time; legs below it stand together in the last line."""


def time_table(times: Sequence[LegTime]) -> Table:
    """Legs, the busiest first: how long workers were at their elements, all in all and at one."""
    table = Table("leg", title="where the time went", box=SIMPLE_HEAD)
    for title in ("elements", "busy", "share", "p50", "p95", "longest", "found"):
        table.add_column(title, justify="right", no_wrap=True)
    total_s = sum(time.busy_s for time in times)
    shown = [time for time in times if time.busy_s >= SHOWN_SHARE * total_s]
    for time in shown:
        table.add_row(
            time.leg,
            str(time.elements),
            seconds(time.busy_s),
            f"{time.busy_s / total_s:.0%}" if total_s else "",
            *(seconds(one) for one in (time.percentile_s(50), time.percentile_s(95))),
            seconds(time.longest_s),
            _found(time),
        )
    if rest := times[len(shown) :]:
        busy_s = sum(time.busy_s for time in rest)
        table.add_row("the rest", "", seconds(busy_s), "<1%")
    return table


def _found(time: LegTime) -> str:
    """Of what a leg looked for in the memo store; nothing for one that never looks."""
    looked = time.reused + time.worked
    return f"{time.reused} of {looked}" if looked else ""


def seconds(time_s: float) -> str:
    """A time with two digits or so."""
    if time_s >= 100:
        return f"{time_s:.0f} s"
    return f"{time_s:.1f} s" if time_s >= 1 else f"{1000 * time_s:.0f} ms"


def slowest(log: ProgressLog) -> list[Slowest]:
    """By leg, the element that took longest, the longest first; only what took a while is there."""
    found: dict[str, Slowest] = {}
    for line in log.read_from(0)[0]:
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
