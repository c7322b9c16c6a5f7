"""Cases made by hand, with tables, claims and conclusions of which everything is known."""

from __future__ import annotations

from typing import Any

from plain_scene import plain_scene

from schemas.case import Attempt, Case
from schemas.claim import CheckedClaim, Claim, ClaimKind, Shown
from schemas.examination import Asked, Examination
from schemas.rollout import Rollout, Segment, TeacherFacts
from schemas.task import Answer, Origin, Task, TaskKind
from schemas.view import Condition, View
from transforms.annotate.observe import Observation
from transforms.verify.checks import VerifySettings, verify
from transforms.verify.conditions import ViewsWanted

DURATION_S = 10.0
SCENE = plain_scene(duration_s=DURATION_S, fps=10)
OPTIONS = ("a dog", "a cat", "a bird", "a fish")
GOLD = {
    TaskKind.MCQ: "B", TaskKind.COUNT: "3", TaskKind.ORDERING: "B,A,C",
    TaskKind.TEMPORAL_GROUNDING: "2.00 to 6.00", TaskKind.FREE_TEXT: "a red car",
}  # fmt: skip
FACTS = TeacherFacts(
    kind="openai", model="m", revision="", prompt_sha256="", params_json="{}", seed=0
)
SHOWN = (Condition.FULL, Condition.EVIDENCE)


def good_case(
    kind: TaskKind, *, spec_json: str = "{}", observed: Observation | None = None, **changes: Any
) -> Case:
    """A case whose one attempt passes every check; `changes` are fields of its rollout.

    `observed`: what was measured anew, for a question about measurements.
    """
    options = OPTIONS[: 3 if kind is TaskKind.ORDERING else 4]
    options = options if kind in (TaskKind.MCQ, TaskKind.ORDERING) else ()
    gold = Answer(kind=kind, text=GOLD[kind], options=options)
    task = Task(
        clip_id=SCENE.clip.id, kind=kind, question="What?", options=options, gold=gold,
        origin=Origin.PROPOSED if observed else Origin.GIVEN, spec_json=spec_json,
    )  # fmt: skip
    fields: dict[str, Any] = {
        "sample": 0,
        "round": 0,
        "reasoning": f"At 2.00 s a dog runs. So it is {gold.text}.",
        "answer_text": gold.text,
        "segments": (Segment(label="", start_s=2.0, end_s=6.0),),
    }
    rollout = Rollout(task_id=task.id, teacher=FACTS, raw_reply="", **(fields | changes))
    claim = Claim(step=0, kind=ClaimKind.TIME, text="a dog runs", start_s=2.0, end_s=2.0)
    attempt = Attempt(
        rollout=rollout,
        verdict=verify(rollout, task, gold, SCENE, observed, VerifySettings().thresholds),
        examined=True,
        claims=(CheckedClaim(claim=claim, exists=True, shown=Shown.YES),),
        conclusions=(gold.text, gold.text),
    )
    case = Case(scene=SCENE, task=task, asked=1, attempts=(attempt,))
    settings = VerifySettings()
    wanted = ViewsWanted(settings.conditions, settings.prefixes, black=False)
    views = wanted.of_task(DURATION_S, kind) + wanted.of_rollout(rollout, kind, DURATION_S)
    rows = tuple(row(case, view, 4 if view.condition in SHOWN else 0) for view in views)
    return case.model_copy(update={"examination": Examination(model="m", rows=rows)})


def row(case: Case, view: View, right: int, of: int = 4) -> Asked:
    """A row with so many right answers."""
    gold = case.task.gold
    assert gold is not None
    return Asked(view=view, answers=(gold.text,) * right + ("",) * (of - right))


def with_attempt(case: Case, **changes: Any) -> Case:
    """The case with its one attempt changed; a changed rollout is verified anew."""
    attempt = case.attempts[0].model_copy(update=changes)
    if "rollout" in changes:
        thresholds = VerifySettings().thresholds
        verdict = verify(attempt.rollout, case.task, case.task.gold, SCENE, None, thresholds)
        attempt = attempt.model_copy(update={"verdict": verdict})
    return case.model_copy(update={"attempts": (attempt,)})


def changed(case: Case, condition: Condition, right: int, of: int = 4) -> Case:
    """The case with so many right answers under a condition."""
    rows = tuple(
        one if one.condition is not condition else row(case, one.view, right, of)
        for one in case.examination.rows
    )
    return case.model_copy(update={"examination": Examination(model="m", rows=rows)})


def claimed(*shown: Shown, exists: bool = True) -> tuple[CheckedClaim, ...]:
    """Claims with what a look at each gave."""
    return tuple(
        CheckedClaim(
            claim=Claim(step=place, kind=ClaimKind.TIME, text="a dog runs", start_s=1, end_s=1),
            exists=exists,
            shown=one,
        )
        for place, one in enumerate(shown)
    )
