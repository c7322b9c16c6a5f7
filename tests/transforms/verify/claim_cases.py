"""Cases, rollouts and replies built by hand: a clip of 8 s at 25 fps, and what is said of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from plain_scene import plain_scene

from schemas.case import Attempt, Case
from schemas.claim import CheckedClaim
from schemas.clip import Media
from schemas.rollout import Rollout, TeacherFacts
from schemas.task import CHOICE_KINDS, Origin, Task, TaskKind
from schemas.verdict import check, judge
from transforms.annotate.tasks import make_answer
from transforms.annotate.teacher import Reply, Request

TEACHER = TeacherFacts(
    kind="openai", model="m", revision="", prompt_sha256="", params_json="{}", seed=0
)
OPTIONS = ("it jumps", "it falls", "it sleeps")


def media(fps: int = 25, frames: int = 200) -> Media:
    return plain_scene(duration_s=frames / fps, fps=fps).media


def case(kind: TaskKind = TaskKind.MCQ, gold: str = "", tolerance: float = -1.0) -> Case:
    """A case without attempts."""
    options = OPTIONS if kind in CHOICE_KINDS else ()
    where = plain_scene(duration_s=8.0)
    task = Task(
        clip_id=where.clip.id, kind=kind, question="What does it do?", options=options,
        origin=Origin.GIVEN, gold=make_answer(kind, gold, options, tolerance) if gold else None,
    )  # fmt: skip
    return Case(scene=where, task=task)


def rollout(reasoning: str, answer: str = "B", **fields: Any) -> Rollout:
    return Rollout(
        task_id="t", sample=0, round=0, reasoning=reasoning, answer_text=answer, teacher=TEACHER,
        raw_reply="", **fields,
    )  # fmt: skip


def attempt(made: Rollout, claims: Sequence[CheckedClaim] = (), **fields: Any) -> Attempt:
    """An attempt that passed what needs no model."""
    verdict = judge(made.id, (check("format", 1.0, 1.0),))
    return Attempt(rollout=made, verdict=verdict, claims=tuple(claims), **fields)


def says(shown: str) -> str:
    return json.dumps({"seen": "something", "shown": shown})


def replies(requests: Sequence[Request], text: Callable[[Request], str]) -> dict[str, Reply]:
    """A reply to each request; a text of "" stands for a failure."""
    made = {}
    for request in requests:
        said = text(request)
        made[request.id] = Reply(request_id=request.id, text=said, error="" if said else "no")
    return made
