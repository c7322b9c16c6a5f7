"""Many cases in memory, as a large run has them, to measure what the verifier takes per task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from planted.items import RIGHT, Item

from schemas.case import Attempt, Case
from schemas.claim import CheckedClaim, Claim, ClaimKind, Shown
from schemas.examination import Asked, Examination
from schemas.rollout import Rollout
from schemas.task import Task
from schemas.view import Condition, View
from transforms.verify.checks import VerifySettings, verify
from transforms.verify.conditions import ViewsWanted


@dataclass(frozen=True)
class Written:
    """A task with its rollouts, not verified yet."""

    item: Item
    task: Task
    rollouts: tuple[Rollout, ...]


def written(items: Sequence[Item], tasks: int, samples: int) -> Iterator[Written]:
    """`tasks` different tasks with `samples` rollouts each, after the right items."""
    right = [item for item in items if item.twin == RIGHT]
    for number in range(tasks):
        item = right[number % len(right)]
        question = f"{item.task.question} ({number})"
        task = item.task.model_copy(update={"question": question})
        rollouts = tuple(
            item.rollout.model_copy(update={"task_id": task.id, "sample": sample})
            for sample in range(samples)
        )
        yield Written(item, task, rollouts)


def examined_case(one: Written, settings: VerifySettings) -> Case:
    """The case with a full table, claims and conclusions, as if everybody had seen the clip."""
    scene, task, gold = one.item.scene, one.task, one.task.gold
    assert gold is not None
    wanted = ViewsWanted(settings.conditions, settings.prefixes, settings.hide == "black")
    views = wanted.of_task(scene.media.duration_s, task.kind)
    views += wanted.of_rollout(one.rollouts[0], task.kind, scene.media.duration_s)
    rows = tuple(_row(view, gold.text, settings.condition_samples) for view in views)
    attempts = tuple(
        Attempt(
            rollout=rollout,
            verdict=verify(rollout, task, gold, scene, None, settings.thresholds),
            claims=tuple(
                CheckedClaim(
                    claim=Claim(
                        step=step, kind=ClaimKind.TIME, text=rollout.reasoning[:60],
                        start_s=1.0 + step, end_s=1.0 + step,
                    ),
                    exists=True,
                    shown=Shown.YES,
                    votes=(Shown.YES,),
                )
                for step in range(3)
            ),
            conclusions=(gold.text,) * settings.conclusions,
            examined=True,
        )
        for rollout in one.rollouts
    )  # fmt: skip
    return Case(
        scene=scene, task=task, asked=len(attempts), attempts=attempts,
        examination=Examination(model="reader", rows=rows),
    )  # fmt: skip


def _row(view: View, gold: str, samples: int) -> Asked:
    knows = view.condition in (Condition.FULL, Condition.EVIDENCE)
    return Asked(view=view, answers=(gold if knows else "1",) * samples)
