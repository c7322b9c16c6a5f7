"""The checks of one rollout that need no model, and the verdict that follows.

Each check measures a score and compares it with its threshold; the name of the check is the name
of the threshold in the configuration (`verify.thresholds`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

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
from schemas.view import Condition
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
    no_trace: float = Field(
        1.0,
        ge=0,
        le=1,
        description="a repaired reasoning says nothing of the attempt before it",
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
    confirmed: float = Field(
        0.5,
        ge=0,
        le=1,
        description="share of right answers when the verifier's model is asked, "
        "corrected for guessing like all that follow",
    )
    needs_video: float = Field(
        0.5, ge=0, le=1, description="1 - share of right answers without any frame"
    )
    sufficient: float = Field(
        0.5, ge=0, le=1, description="right answers from the cited spans alone, over those from all"
    )
    necessary: float = Field(
        0.5,
        ge=0,
        le=1,
        description="1 - right answers without the cited spans, over those from all",
    )
    order_needed: float = Field(
        0.5,
        ge=0,
        le=1,
        description="questions about order: 1 - right answers from frames in "
        "another order, over those from all",
    )
    claims: float = Field(
        1.0, ge=0, le=1, description="share of the reasoning's claims that the clip does not refute"
    )
    concludes: float = Field(
        0.5,
        ge=0,
        le=1,
        description="share of those who were told the reasoning without its last "
        "sentence, and came to its answer",
    )
    answerable: float = Field(
        0.75,
        ge=0,
        le=1,
        description="share of right answers from which on a question counts as answerable (online)",
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
    repair_budget: int = Field(
        4, ge=0, description="most rollouts of a task that are sent back for repair, all rounds"
    )
    conditions: tuple[Condition, ...] = Field(
        tuple(one for one in Condition if one is not Condition.PREFIX),
        description="under which evidence the verifier's model is asked again: full, blind, "
        "evidence, masked, shuffled, prefix; [] = not at all",
    )
    condition_samples: int = Field(4, ge=1, le=64, description="how often under each")
    prefixes: int = Field(4, ge=1, le=64, description="at how many moments, for prefix")
    hide: Literal["drop", "black"] = Field(
        "drop", description="what becomes of hidden frames: left out, or shown black"
    )
    claims: bool = Field(
        True, description="whether the verifier's model looks up what the reasoning claims"
    )
    claim_samples: int = Field(1, ge=1, le=16, description="how often each claim is looked up")
    conclusions: int = Field(
        2, ge=0, le=16, description="how often the reasoning is told to somebody without frames"
    )
    thresholds: Thresholds = Field(default_factory=Thresholds)


OF_ASKING = frozenset(
    {"conditions", "condition_samples", "prefixes", "hide", "claims", "claim_samples"}
    | {"conclusions", "thresholds.confirmed", "thresholds.needs_video", "thresholds.sufficient"}
    | {"thresholds.necessary", "thresholds.order_needed", "thresholds.claims"}
    | {"thresholds.concludes", "thresholds.answerable"}
)
"""Settings of `verify` without any effect where no model is asked."""

_SUFFIX = {
    **dict.fromkeys(SPAN_KINDS | BOX_KINDS, "_iou"),
    TaskKind.FREE_TEXT: "_text",
}
"""Kinds that are graded by degree have thresholds of their own."""
OWN_CHECKS = frozenset({"format", "spans_inside", "cited_times", "ends_in_answer", "no_trace"})
"""Checks that look at nothing but the rollout and the length of the clip."""
TRACES = (
    "critique", "critiques", "critiqued", "earlier attempt", "earlier attempts",
    "previous attempt", "previous attempts", "prior attempt", "prior attempts", "past attempt",
    "first attempt at this question", "last attempt at this question", "my attempt",
    "earlier answer", "previous answer", "prior answer", "earlier reasoning",
    "previous reasoning", "earlier reply", "previous reply", "earlier response",
    "previous response", "was turned down", "were turned down", "these faults", "avoid the fault",
    "avoid the faults", "my mistake", "my earlier", "my previous", "as pointed out",
    "was pointed out", "i was told that", "the feedback", "verifier",
)  # fmt: skip
"""What a repaired reasoning says when it speaks of the attempt before, or of what was said of it:
words of the request for repair (`annotate/prompts/solve`), of critiques, and their like."""
_TRACE = re.compile(rf"\b(?:{'|'.join(map(re.escape, TRACES))})\b")
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
    return _graded(REWARD_FOR_KIND[gold.kind], answer_text, gold.text, **reward_spec(gold))


@lru_cache(maxsize=256)
def _graded(fn: str, answer_text: str, gold_text: str, **spec: float) -> float:
    # In a task's table the same few answers come again and again.
    return grade(fn, answer_text, gold_text, **spec)


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
    checks = own_checks(rollout, task, scene.media, thresholds)
    if gold is not None:
        checks.append(graded(rollout, gold, thresholds))
    if observation is not None:
        checks.append(_measured(rollout, task, observation, thresholds))
    return judge(rollout.id, tuple(checks))


def own_checks(rollout: Rollout, task: Task, media: Media, thresholds: Thresholds) -> list[Check]:
    """The checks that need no answer to compare with."""
    checks = [
        _format(rollout, thresholds),
        _spans_inside(rollout, task, media, thresholds),
        _cited_times(rollout, media.duration_s, thresholds),
        _ends_in_answer(rollout, thresholds),
    ]
    return [*checks, _no_trace(rollout, thresholds)] if rollout.round > 0 else checks


def graded(rollout: Rollout, gold: Answer, thresholds: Thresholds) -> Check:
    """The check of an answer against the known or agreed one."""
    score = score_answer(rollout.answer_text, gold)
    # The detail goes into critiques, so it must not hold the gold answer.
    detail = f"the answer {rollout.answer_text!r} is not right"
    return made_check(answer_check(gold.kind), score, thresholds, detail)


def made_check(name: str, score: float, thresholds: Thresholds, detail: str) -> Check:
    """A check by the threshold of its name; `detail` says what is wrong, if anything is.

    That does not hang on the threshold, so that deciding anew with another one loses nothing.
    """
    threshold = float(getattr(thresholds, name))
    # Exact, not rounded: whoever grades the answer again must get the same.
    return check(name, score, threshold, "" if score >= 1.0 else detail)


def _format(rollout: Rollout, thresholds: Thresholds) -> Check:
    try:
        score = grade("format", format_response(rollout.reasoning, rollout.answer_text), "")
    except ValueError:
        score = 0.0
    detail = "reasoning and answer must not hold think or answer tags"
    return made_check("format", score, thresholds, detail)


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
    return made_check(
        "spans_inside",
        _share(good),
        thresholds,
        f"a cited span or box is not inside the clip, which lasts {media.duration_s:.2f} s",
    )


def _cited_times(rollout: Rollout, duration_s: float, thresholds: Thresholds) -> Check:
    times = cited_times_in(rollout.reasoning)
    return made_check(
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
    return made_check("ends_in_answer", score, thresholds, detail)


def _no_trace(rollout: Rollout, thresholds: Thresholds) -> Check:
    labels = [one.label for one in rollout.segments] + [one.label for one in rollout.boxes]
    said = " ".join(" ".join([rollout.reasoning, *labels]).lower().split())
    detail = "the reasoning must stand alone, as if nothing had been written or said before it"
    return made_check("no_trace", 0.0 if _TRACE.search(said) else 1.0, thresholds, detail)


def _measured(
    rollout: Rollout, task: Task, observation: Observation, thresholds: Thresholds
) -> Check:
    name = "measured" + _SUFFIX.get(task.kind, "")
    try:
        found = solve(observation, json.loads(task.spec_json), task.options).answer
    except CannotSolveError:
        # What was measured instead may be, or betray, the answer.
        detail = "measuring the clip anew gives no clear answer to this question"
        return made_check(name, 0.0, thresholds, detail)
    tolerance = task.gold.tolerance if task.gold is not None else -1.0
    anew = Answer(kind=task.kind, text=found, options=task.options, tolerance=tolerance)
    score = score_answer(rollout.answer_text, anew)
    return made_check(name, score, thresholds, "measuring the clip anew gives another answer")


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
