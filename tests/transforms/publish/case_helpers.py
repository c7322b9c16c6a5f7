"""Cases built by hand, with attempts whose verdicts are what a test wants them to be."""

from __future__ import annotations

from typing import Any

from plain_scene import plain_scene

from schemas.case import Attempt, Case, Scene
from schemas.claim import CheckedClaim, Claim, ClaimKind, Shown
from schemas.examination import Asked, Examination
from schemas.rollout import Box, Rollout, Segment, Step, TeacherFacts
from schemas.task import CHOICE_KINDS, Origin, Task, TaskKind
from schemas.verdict import check, judge
from schemas.view import Condition, View
from transforms.annotate.tasks import make_answer
from transforms.verify.checks import Thresholds, answer_check
from transforms.verify.conditions import cited_spans
from transforms.verify.decide import EXAMINED

OPTIONS = ("zebra", "walrus", "falcon")
GOLD: dict[TaskKind, str] = {
    TaskKind.MCQ: "C",
    TaskKind.MULTI_CHOICE: "A,C",
    TaskKind.COUNT: "3",
    TaskKind.NUMBER: "2.5",
    TaskKind.ORDERING: "B,A,C",
    TaskKind.TEMPORAL_GROUNDING: "2.00 to 4.00",
    TaskKind.SPATIAL_GROUNDING: "[0.1,0.2,0.5,0.6]",
    TaskKind.SPATIO_TEMPORAL_GROUNDING: (
        '{"boxes":{"2":[0.1,0.2,0.5,0.6],"3":[0.2,0.2,0.6,0.6]},"time":[2.0,4.0]}'
    ),
    TaskKind.FREE_TEXT: "a red cup",
    TaskKind.CAUSAL: "C",
    TaskKind.NEXT_EVENT: "C",
}


def make_scene(number: int = 0, **source: Any) -> Scene:
    """The scene of a clip of 8 s at 25 fps, from 2 s into the video."""
    return plain_scene(number, duration_s=8.0, start_s=2.0, uri=f"films/v{number}.mp4", **source)


def make_task(
    scene: Scene,
    kind: TaskKind = TaskKind.MCQ,
    *,
    known: bool = True,
    origin: Origin = Origin.PROPOSED,
    spec_json: str = "{}",
) -> Task:
    options = OPTIONS if kind in CHOICE_KINDS else ()
    tolerance = 0.25 if kind is TaskKind.NUMBER else -1.0
    return Task(
        clip_id=scene.clip.id,
        kind=kind,
        question=f"What about {kind}?",
        options=options,
        gold=make_answer(kind, GOLD[kind], options, tolerance) if known else None,
        origin=origin,
        spec_json=spec_json,
    )


def make_attempt(
    task: Task,
    sample: int,
    answer: str = "",
    *,
    round: int = 0,
    failed: tuple[str, ...] = (),
    scores: dict[str, float] | None = None,
    measured: bool = False,
    reasoning: str = "",
    spans: tuple[tuple[float, float], ...] = ((1.0, 8.0),),
    shown: tuple[Shown, ...] = (),
) -> Attempt:
    """An attempt that fails exactly the checks named; without an answer it gives the gold one.

    `shown`: its steps, each with a claim and what a look at the clip said of it.
    """
    answer = answer or GOLD[task.kind]
    steps = tuple(
        Step(text=f"At {number}.00 s thing {number} is seen.") for number in range(len(shown))
    )
    reasoning = reasoning or " ".join(
        [*(step.text for step in steps), f"At 1.00 s it is seen. So the answer is {answer}."]
    )
    rollout = Rollout(
        task_id=task.id,
        sample=sample,
        round=round,
        reasoning=reasoning,
        answer_text=answer,
        segments=tuple(Segment(label="seen", start_s=one, end_s=other) for one, other in spans),
        steps=steps,
        boxes=(Box(label="it", t_s=1.0, xyxy_norm=(0.1, 0.2, 0.3, 0.4)),) if sample == 0 else (),
        teacher=TeacherFacts(
            kind="openai", model="qwen", revision="r1", prompt_sha256="p" * 64,
            params_json='{"temperature":1.0}', seed=7,
        ),
        raw_reply="raw",
    )  # fmt: skip
    suffix = answer_check(task.kind).removeprefix("answer")
    threshold = {"_iou": 0.7, "_text": 0.5}.get(suffix, 1.0)
    known = {"format": 1.0, "spans_inside": 1.0, "cited_times": 1.0, "ends_in_answer": 1.0}
    known["answer" + suffix] = threshold
    if measured:
        known["measured" + suffix] = threshold
    given = {name: 0.0 if name in failed else 1.0 for name in known} | (scores or {})
    others = [name for name in failed if name not in known]
    assert set(others) <= {*EXAMINED, "no_trace"}
    known |= {name: getattr(Thresholds(), name) for name in others}
    given |= dict.fromkeys(others, 0.0)
    checks = tuple(check(name, given[name], least) for name, least in known.items())
    claims = tuple(
        CheckedClaim(
            claim=Claim(step=n, kind=ClaimKind.TIME, text=steps[n].text, start_s=n, end_s=n),
            exists=True,
            shown=one,
            votes=(one,),
        )
        for n, one in enumerate(shown)
        if one is not Shown.NOT_ASKED
    )
    return Attempt(rollout=rollout, verdict=judge(rollout.id, checks), claims=claims)


def examined(case: Case, model: str = "looker", **answers: str) -> Case:
    """The case asked again: a letter an answer, `-` = none could be read; `prefix2` = up to 2 s.

    The views of spans are those that the first attempt cites.
    """
    spans = cited_spans(case.attempts[0].rollout, case.task.kind, 8.0) if case.attempts else ()
    rows = []
    for name, said in answers.items():
        condition = Condition(name.rstrip("0123456789"))
        of_spans = condition in (Condition.EVIDENCE, Condition.MASKED)
        until_s = float(name.removeprefix("prefix")) if condition is Condition.PREFIX else -1.0
        view = View(condition=condition, spans_s=spans if of_spans else (), until_s=until_s)
        rows.append(Asked(view=view, answers=tuple("" if one == "-" else one for one in said)))
    return case.model_copy(update={"examination": Examination(model=model, rows=tuple(rows))})


def make_case(task: Task, scene: Scene, *attempts: Attempt) -> Case:
    return Case(scene=scene, task=task, attempts=attempts)
