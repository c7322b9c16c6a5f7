"""The checks of one rollout that need no model, and the verdict that follows.

Each check measures a score and compares it with its threshold; the name of the check is the name
of the threshold in the configuration (`verify.thresholds`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from schemas.case import Scene
from schemas.clip import Media
from schemas.rewards import (
    REWARD_FOR_KIND,
    cited_times_in,
    format_response,
    grade,
    parse_intervals,
)
from schemas.rollout import Rollout
from schemas.task import BOX_KINDS, SPAN_KINDS, Answer, Task, TaskKind
from schemas.verdict import Check, Verdict, check, judge
from transforms.annotate.families import solve
from transforms.annotate.observe import Observation
from transforms.annotate.questions import CannotSolveError


class Thresholds(BaseModel):
    """`verify.thresholds`: the least score with which each check passes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: float = Field(1.0, ge=0, le=1, description="think and answer tags, each once")
    spans_inside: float = Field(
        1.0, ge=0, le=1, description="share of cited spans and boxes that lie inside the clip"
    )
    cited_times: float = Field(
        1.0, ge=0, le=1, description="share of times in the reasoning that exist in the clip"
    )
    ends_in_answer: float = Field(
        1.0, ge=0, le=1, description="the reasoning ends in the answer that is given"
    )
    answer: float = Field(1.0, ge=0, le=1, description="reward of the answer, exact kinds")
    answer_iou: float = Field(0.7, ge=0, le=1, description="reward of a time span or a box")
    answer_text: float = Field(0.5, ge=0, le=1, description="reward of a free text")
    measured: float = Field(
        1.0, ge=0, le=1, description="reward against the answer measured anew, exact kinds"
    )
    measured_iou: float = Field(
        0.7, ge=0, le=1, description="reward against the span measured anew"
    )
    agreement: float = Field(
        0.5, ge=0, le=1, description="share of samples that agree, where no gold answer is known"
    )
    pass_rate_min: float = Field(
        0.1, ge=0, le=1, description="RL: tasks passed less often are too hard or wrong"
    )
    pass_rate_max: float = Field(
        0.9, ge=0, le=1, description="RL: tasks passed more often teach nothing"
    )


class VerifySettings(BaseModel):
    """Section `verify` of the configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    samples: int = Field(
        4, ge=1, le=64, description="first-round rollouts that count for pass rate and agreement"
    )
    repair_rounds: int = Field(1, ge=0, le=8, description="tries to repair a failed rollout")
    thresholds: Thresholds = Field(default_factory=Thresholds)


_SUFFIX = {
    **dict.fromkeys(SPAN_KINDS | BOX_KINDS, "_iou"),
    TaskKind.FREE_TEXT: "_text",
}
"""Kinds that are graded by degree have thresholds of their own."""
EDGE_S = 0.05
"""Slack for times in a text: rounded to hundredths, or the end of the last frame."""


def reward_spec(answer: Answer) -> dict[str, float]:
    """The keyword parameters of the reward function for this answer."""
    return {"tolerance": answer.tolerance} if answer.kind is TaskKind.NUMBER else {}


def answer_check(kind: TaskKind) -> str:
    """Name of the check, and of the threshold, by which an answer of this kind is judged."""
    return "answer" + _SUFFIX.get(kind, "")


def score_answer(answer_text: str, gold: Answer) -> float:
    """The reward of an answer: the same function that the trainer gets."""
    return grade(REWARD_FOR_KIND[gold.kind], answer_text, gold.text, **reward_spec(gold))


def verify(
    rollout: Rollout,
    task: Task,
    gold: Answer | None,
    scene: Scene,
    observation: Observation | None,
    thresholds: Thresholds,
) -> Verdict:
    """All checks of a rollout. `gold` is the known or agreed answer, `observation` what was
    measured anew on the published mp4; without them their checks are not made.
    """
    checks = [
        _format(rollout, thresholds),
        _spans_inside(rollout, task, scene.media, thresholds),
        _cited_times(rollout, scene.media.duration_s, thresholds),
        _ends_in_answer(rollout, thresholds),
    ]
    if gold is not None:
        name = answer_check(task.kind)
        score = score_answer(rollout.answer_text, gold)
        # The detail goes into critiques, so it must not hold the gold answer.
        detail = f"the answer {rollout.answer_text!r} is not right"
        checks.append(_made(name, score, thresholds, detail))
    if observation is not None:
        checks.append(_measured(rollout, task, observation, thresholds))
    return judge(rollout.id, tuple(checks))


def _made(name: str, score: float, thresholds: Thresholds, detail: str) -> Check:
    threshold = float(getattr(thresholds, name))
    # Exact, not rounded: whoever grades the answer again must get the same.
    return check(name, score, threshold, "" if score >= threshold else detail)


def _format(rollout: Rollout, thresholds: Thresholds) -> Check:
    try:
        score = grade("format", format_response(rollout.reasoning, rollout.answer_text), "")
    except ValueError:
        score = 0.0
    detail = "reasoning and answer must not hold think or answer tags"
    return _made("format", score, thresholds, detail)


def _spans_inside(rollout: Rollout, task: Task, media: Media, thresholds: Thresholds) -> Check:
    spans = [(segment.start_s, segment.end_s) for segment in rollout.segments]
    if task.kind in SPAN_KINDS:
        spans += parse_intervals(rollout.answer_text)
    # Spans are published, so they get no more slack than the check of a dataset gives them.
    end_s = media.duration_s + media.half_frame_s
    good = [0.0 <= start < end <= end_s for start, end in spans]
    for box in rollout.boxes:
        left, top, right, bottom = box.xyxy_norm
        inside = 0.0 <= left < right <= 1.0 and 0.0 <= top < bottom <= 1.0
        good.append(inside and 0.0 <= box.t_s <= end_s)
    return _made(
        "spans_inside",
        _share(good),
        thresholds,
        f"a cited span or box is not inside the clip, which lasts {media.duration_s:.2f} s",
    )


def _cited_times(rollout: Rollout, duration_s: float, thresholds: Thresholds) -> Check:
    times = cited_times_in(rollout.reasoning)
    return _made(
        "cited_times",
        _share([0.0 <= time_s <= duration_s + EDGE_S for time_s in times]),
        thresholds,
        f"the reasoning cites a time that does not exist in a clip of {duration_s:.2f} s",
    )


def _ends_in_answer(rollout: Rollout, thresholds: Thresholds) -> Check:
    try:
        response = format_response(rollout.reasoning, rollout.answer_text)
        score = grade("consistency", response, "")
    except ValueError:
        score = 0.0
    detail = f"the last sentence of the reasoning does not give the answer {rollout.answer_text!r}"
    return _made("ends_in_answer", score, thresholds, detail)


def _measured(
    rollout: Rollout, task: Task, observation: Observation, thresholds: Thresholds
) -> Check:
    name = "measured" + _SUFFIX.get(task.kind, "")
    try:
        found = solve(observation, json.loads(task.spec_json), task.options).answer
    except CannotSolveError as error:
        return _made(name, 0.0, thresholds, f"measured on the clip: {error}")
    tolerance = task.gold.tolerance if task.gold is not None else -1.0
    anew = Answer(kind=task.kind, text=found, options=task.options, tolerance=tolerance)
    score = score_answer(rollout.answer_text, anew)
    return _made(name, score, thresholds, "measuring the clip anew gives another answer")


def _share(good: Sequence[bool]) -> float:
    """Share of what is good; of nothing, all is."""
    return sum(good) / len(good) if good else 1.0


def critique(verdict: Verdict) -> tuple[str, ...]:
    """What a failed rollout got wrong, in plain words, without giving the answer away."""
    return tuple(
        check.detail or f"the check {check.name} failed"
        for check in verdict.checks
        if not check.passed
    )
