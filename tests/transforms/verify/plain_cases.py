"""Cases made by hand, with tables, claims and conclusions of which everything is known."""

from __future__ import annotations

from typing import Any

from schemas.case import Attempt, Case, Scene
from schemas.claim import CheckedClaim, Claim, ClaimKind, Shown
from schemas.clip import Media
from schemas.examination import Asked, Examination
from schemas.rollout import Rollout, Segment, TeacherFacts
from schemas.task import Answer, Origin, Task, TaskKind
from schemas.view import Condition, View
from transforms.verify.checks import VerifySettings, verify
from transforms.verify.conditions import ViewsWanted

DURATION_S = 10.0
OPTIONS = ("a dog", "a cat", "a bird", "a fish")
GOLD = {
    TaskKind.MCQ: "B", TaskKind.COUNT: "3", TaskKind.ORDERING: "B,A,C",
    TaskKind.TEMPORAL_GROUNDING: "2.00 to 6.00", TaskKind.FREE_TEXT: "a red car",
}  # fmt: skip
FACTS = TeacherFacts(
    kind="openai", model="m", revision="", prompt_sha256="", params_json="{}", seed=0
)
SHOWN = (Condition.FULL, Condition.EVIDENCE)


def scene() -> Scene:
    known: dict[str, Any] = {
        "clip_id": "c", "duration_s": DURATION_S, "fps_num": 10, "fps_den": 1, "num_frames": 100,
    }  # fmt: skip
    media = Media.model_construct(**known)
    parts: dict[str, Any] = {"media": media}
    return Scene.model_construct(**parts)


def good_case(kind: TaskKind, **changes: Any) -> Case:
    """A case whose one attempt passes every check; `changes` are fields of its rollout."""
    options = OPTIONS[: 3 if kind is TaskKind.ORDERING else 4]
    options = options if kind in (TaskKind.MCQ, TaskKind.ORDERING) else ()
    gold = Answer(kind=kind, text=GOLD[kind], options=options)
    task = Task(
        clip_id="c", kind=kind, question="What?", options=options, gold=gold, origin=Origin.GIVEN
    )
    fields: dict[str, Any] = {
        "reasoning": f"At 2.00 s a dog runs. So it is {gold.text}.",
        "answer_text": gold.text,
        "segments": (Segment(label="", start_s=2.0, end_s=6.0),),
    }
    rollout = Rollout(
        task_id=task.id, sample=0, round=0, teacher=FACTS, raw_reply="", **(fields | changes)
    )
    claim = Claim(step=0, kind=ClaimKind.TIME, text="a dog runs", start_s=2.0, end_s=2.0)
    attempt = Attempt(
        rollout=rollout,
        verdict=verify(rollout, task, gold, scene(), None, VerifySettings().thresholds),
        claims=(CheckedClaim(claim=claim, exists=True, shown=Shown.YES),),
        conclusions=(gold.text, gold.text),
    )
    known: dict[str, Any] = {"scene": scene(), "task": task, "asked": 1, "attempts": (attempt,)}
    case = Case.model_construct(examination=Examination(), **known)
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
        verdict = verify(attempt.rollout, case.task, case.task.gold, case.scene, None, thresholds)
        attempt = attempt.model_copy(update={"verdict": verdict})
    return case.model_copy(update={"attempts": (attempt,)})


def _with_rows(kind: TaskKind, condition: Condition, right: int) -> Case:
    case = good_case(kind)
    rows = tuple(
        row(case, one.view, right) if one.condition is condition else one
        for one in case.examination.rows
    )
    return case.model_copy(update={"examination": Examination(model="m", rows=rows)})


def _claims(shown: tuple[Shown, ...]) -> tuple[CheckedClaim, ...]:
    claim = Claim(step=0, kind=ClaimKind.TIME, text="a dog runs", start_s=2.0, end_s=2.0)
    return tuple(CheckedClaim(claim=claim, exists=True, shown=one) for one in shown)


_TIMES = "At 2.00 s a dog runs and at 30.00 s a cat. So it is 3."
_SEGMENTS = (
    Segment(label="", start_s=2.0, end_s=6.0),
    Segment(label="", start_s=8.0, end_s=30.0),
)
AT_EDGE: dict[str, tuple[Case, float]] = {
    "format": (good_case(TaskKind.COUNT, reasoning="<think>3."), 0.0),
    "spans_inside": (good_case(TaskKind.COUNT, segments=_SEGMENTS), 0.5),
    "cited_times": (good_case(TaskKind.COUNT, reasoning=_TIMES), 0.5),
    "ends_in_answer": (good_case(TaskKind.COUNT, reasoning="At 2.00 s 3 dogs run. I see."), 0.0),
    "answer": (good_case(TaskKind.COUNT, answer_text="4", reasoning="So it is 4."), 0.0),
    "answer_iou": (
        good_case(
            TaskKind.TEMPORAL_GROUNDING, answer_text="2.00 to 4.00", reasoning="So 2.00 to 4.00."
        ),
        0.5,
    ),
    "answer_text": (
        good_case(TaskKind.FREE_TEXT, answer_text="car", reasoning="So car."), 1 / 3,
    ),
    "confirmed": (_with_rows(TaskKind.COUNT, Condition.FULL, 3), 0.75),
    "needs_video": (_with_rows(TaskKind.COUNT, Condition.BLIND, 1), 0.75),
    "sufficient": (_with_rows(TaskKind.COUNT, Condition.EVIDENCE, 3), 0.75),
    "necessary": (_with_rows(TaskKind.COUNT, Condition.MASKED, 1), 0.75),
    "order_needed": (_with_rows(TaskKind.ORDERING, Condition.SHUFFLED, 1), 0.75),
    "claims": (
        with_attempt(good_case(TaskKind.COUNT), claims=_claims((Shown.YES, Shown.NO))), 0.5,
    ),
    "concludes": (with_attempt(good_case(TaskKind.COUNT), conclusions=("3", "")), 0.5),
}  # fmt: skip
"""Per threshold a case whose score under it is known; all its other checks pass."""
