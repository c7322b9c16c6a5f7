"""What other thresholds would change: samples that come and go, checks that fail and pass."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from pipelines.config import Config
from schemas.case import Case
from schemas.rejection import Rejected
from schemas.sample import SPLITS
from transforms.publish.licenses import why_held_back
from transforms.publish.manifest import portable_config
from transforms.publish.routing import Route, partition, routes
from transforms.publish.samples import sample_id
from transforms.verify.decide import NOT_EXAMINED, decide, is_missing_examination

EXAMPLES = 3
KEPT, OTHER, DROPPED, ADDED = ENDS = ("kept", "other_reply", "dropped", "added")
"""What becomes of a sample: stays, stays but shows another reply, goes, comes."""


@dataclass
class Tasks:
    """How many of something there are, with the tasks of the first few."""

    number: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, task_id: str) -> None:
        self.number += 1
        if task_id not in self.examples and len(self.examples) < EXAMPLES:
            self.examples.append(task_id)

    def to_dict(self) -> dict[str, Any]:
        return {"number": self.number, "tasks": self.examples}


@dataclass
class Changes:
    """What would change if all cases were decided by other settings."""

    before: Config
    after: Config
    splits: dict[str, Counter[str]] = field(default_factory=lambda: {s: Counter() for s in SPLITS})
    moved: Tasks = field(default_factory=Tasks)
    """Tasks that are in other splits than before, but in some."""
    partitions: Tasks = field(default_factory=Tasks)
    """Samples that change between train and validation."""
    fails: dict[str, Tasks] = field(default_factory=dict)
    """By check: attempts that passed it, and fail it now."""
    passes: dict[str, Tasks] = field(default_factory=dict)
    attempts: int = 0
    accepted: Counter[str] = field(default_factory=Counter)
    """Attempts accepted "before" and "after"."""
    not_examined: Tasks = field(default_factory=Tasks)
    """Attempts against which nothing speaks but that nobody examined them."""
    held_back: Counter[str] = field(default_factory=Counter)
    """Samples that only the licence of their source keeps out now, by the reason in words."""

    def add(self, case: Case) -> Case:
        """Count a case in; gives it back as it is decided now."""
        examines = self.before.examiner is not None
        old = decide(case, self.before.verify, examines=examines)
        new = decide(case, self.after.verify, examines=examines)
        self._add_samples(old, new)
        self._add_checks(old, new)
        return new

    def _add_samples(self, old: Case, new: Case) -> None:
        task, video = old.task.id, old.scene.video.id
        before, after = _routes(old, self.before), _routes(new, self.after)
        if why := why_held_back(new.scene.video.source.license, self.after.publish.licenses):
            self.held_back[why] += len(after)
            after = {}
        if why_held_back(old.scene.video.source.license, self.before.publish.licenses):
            before = {}
        splits = [{route.split for route in found.values()} for found in (before, after)]
        if all(splits) and splits[0] != splits[1]:
            self.moved.add(task)
        other_partition = _partition(video, self.before) != _partition(video, self.after)
        for sample, route in (before | after).items():
            count = self.splits[route.split]
            if sample not in before or sample not in after:
                count[ADDED if sample in after else DROPPED] += 1
                continue
            count[KEPT if _shown(before[sample]) == _shown(after[sample]) else OTHER] += 1
            if other_partition:
                self.partitions.add(task)

    def _add_checks(self, old: Case, new: Case) -> None:
        self.attempts += len(new.attempts)
        for name, case in (("before", old), ("after", new)):
            self.accepted[name] += len(case.accepted)
        for was, now in zip(old.attempts, new.attempts, strict=True):
            passed = {check.name: check.passed for check in was.verdict.checks}
            for check in now.verdict.checks:
                if check.name == NOT_EXAMINED or passed.get(check.name, check.passed) == (
                    check.passed
                ):
                    continue
                found = self.passes if check.passed else self.fails
                found.setdefault(check.name, Tasks()).add(new.task.id)
            if is_missing_examination(now):
                self.not_examined.add(new.task.id)

    @property
    def is_nothing(self) -> bool:
        """Whether the dataset would be the same, but for the thresholds that it names."""
        ends = sum(self.splits.values(), Counter())
        return not (
            any(ends[end] for end in (OTHER, DROPPED, ADDED)) or self.fails or self.passes
        ) and not (self.partitions.number or self.not_examined.number)

    def to_dict(self) -> dict[str, Any]:
        """For programs to read."""
        names = sorted(self.fails.keys() | self.passes.keys())
        return {
            "splits": {
                split: {end: count[end] for end in ENDS} for split, count in self.splits.items()
            },
            "moved": self.moved.to_dict(),
            "other_partition": self.partitions.to_dict(),
            "attempts": self.attempts,
            "accepted": {name: self.accepted[name] for name in ("before", "after")},
            "checks": {
                name: {
                    "now_fail": self.fails.get(name, Tasks()).to_dict(),
                    "now_pass": self.passes.get(name, Tasks()).to_dict(),
                }
                for name in names
            },
            "not_examined": self.not_examined.to_dict(),
            "held_back": dict(sorted(self.held_back.items())),
            "settings": list(changed_settings(self.before, self.after)),
        }


def changed_settings(before: Config, after: Config) -> dict[str, tuple[str, str]]:
    """By dotted name: what a setting was and is, as JSON or `not set`.

    As they are published: where servers are and folders lie does not matter here.
    """
    old, new = (dict(_leaves(portable_config(one.resolved()))) for one in (before, after))
    return {
        name: (_said(old, name), _said(new, name))
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name)
    }


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _said(leaves: Mapping[str, Any], name: str) -> str:
    return json.dumps(leaves[name]) if name in leaves else "not set"


def _routes(case: Case, config: Config) -> dict[str, Route]:
    """By the id of the sample, whatever its licence."""
    try:
        return {sample_id(case, route): route for route in routes(case, config.verify)}
    except Rejected:
        return {}


def _shown(route: Route) -> list[str]:
    """The replies that a sample shows."""
    return [one.rollout.id for one in (route.best, route.rejected) if one is not None]


def _partition(video_id: str, config: Config) -> str:
    return partition(video_id, config.seed, config.publish)


# In the terminal ---------------------------------------------------------------------------------


def print_changes(changes: Changes, console: Console) -> None:
    """What would change, as tables and sentences."""
    console.print(_samples_table(changes))
    for line in _sentences(changes):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    if changes.fails or changes.passes:
        console.print(_checks_table(changes))
    for line in _warnings(changes):
        console.print(line, style="yellow", highlight=False, markup=False, soft_wrap=True)


def _samples_table(changes: Changes) -> Table:
    table = Table("split", title="samples")
    for name in ("kept", "with another reply", "dropped", "added"):
        table.add_column(name, justify="right")
    for split, count in changes.splits.items():
        table.add_row(split, *(str(count[end]) for end in ENDS))
    return table


def _sentences(changes: Changes) -> Iterator[str]:
    settings = ", ".join(changed_settings(changes.before, changes.after))
    if changes.is_nothing:
        yield f"no sample changes; of the settings: {settings}" if settings else "nothing changes"
    before, after = changes.accepted["before"], changes.accepted["after"]
    yield f"attempts: {changes.attempts}, accepted {after}, before {before}"
    if changes.moved.number:
        yield f"moved: {changes.moved.number} tasks are in other splits{_such(changes.moved)}"
    if changes.partitions.number:
        yield (
            f"moved: {changes.partitions.number} samples change between train and validation"
            f"{_such(changes.partitions)}"
        )
    if changes.not_examined.number:
        yield (
            f"not examined: {changes.not_examined.number} attempts pass all checks that need no "
            f"model now, but were not examined: they failed before, or the examination broke"
            f"{_such(changes.not_examined)}; they are not accepted; proofreel run with these "
            "settings examines them"
        )


def _warnings(changes: Changes) -> Iterator[str]:
    """What the person who asked probably does not want."""
    ends = sum(changes.splits.values(), Counter())
    for why, count in sorted(changes.held_back.items()):
        if count:
            yield f"warning: {count} samples are left out: {why}"
    if sum(changes.held_back.values()):
        yield (
            "state the licences of the sources in the input's manifest (column license) and use "
            "proofreel run, or let more licences pass with publish.licenses ([] lets all pass)"
        )
    if ends[DROPPED] and not (ends[KEPT] or ends[OTHER] or ends[ADDED]):
        yield f"warning: no sample is left, all {ends[DROPPED]} are dropped"


def _such(tasks: Tasks) -> str:
    return f", such as {', '.join(tasks.examples)}"


def _checks_table(changes: Changes) -> Table:
    table = Table("check", title="checks of attempts")
    table.add_column("fail now", justify="right")
    table.add_column("pass now", justify="right")
    table.add_column("such as", overflow="fold")
    for name in sorted(changes.fails.keys() | changes.passes.keys()):
        fails, passes = changes.fails.get(name, Tasks()), changes.passes.get(name, Tasks())
        such = dict.fromkeys([*fails.examples, *passes.examples])
        table.add_row(name, str(fails.number), str(passes.number), ", ".join(list(such)[:EXAMPLES]))
    return table
