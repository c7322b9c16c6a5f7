"""Is a sample what its split says, and does its table of conditions bear out its scores?"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from schemas.base import canonical_json
from schemas.conditions import AskedView, Conditions
from schemas.sample import PROMPT_SPLITS, Message, Sample
from schemas.task import ONE_CHOICE_KINDS
from schemas.view import Condition
from transforms.publish.check_media import half_frame
from transforms.publish.pairs import FORM_CHECKS, LENGTH_RATIO, is_as_long
from transforms.verify.checks import Thresholds

Found = tuple[str, str]
"""A field and what is wrong with it, in words."""
TOLERANCE = 1e-5
"""Shares are published with six decimals, and scores are made of two of them."""
AT = "verdict.conditions_json"


def loads(text: str) -> dict[str, Any] | None:
    """The JSON object in a text; None if it is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


# Conditions --------------------------------------------------------------------------------------


def conditions_faults(sample: Sample, thresholds: Mapping[str, Any]) -> Iterator[Found]:
    """Shape, bounds, and whether the scores follow from the answers counted."""
    table, faults = _read_table(sample.verdict.conditions_json)
    yield from faults
    if table is None:
        return
    if table.views and not table.model:
        yield AT, "names no model, but says what one answered"
    counted = {"asked", "right", "share"}
    keys = [canonical_json(one.model_dump(mode="json", exclude=counted)) for one in table.views]
    if len(set(keys)) != len(keys):
        yield AT, "holds a view twice"
    for number, view in enumerate(table.views):
        yield from _view_faults(f"{AT}.views.{number}", view, sample)
    for name, score in table.scores:
        if name != "answerable_from_s" and score != -1 and not 0 <= score <= 1:
            yield f"{AT}.scores.{name}", f"is {score:g}, neither -1 nor in 0..1"
    stated = table.scores.model_dump()
    for name, score in _expected(table).items():
        if abs(stated[name] - score) > TOLERANCE:
            yield f"{AT}.scores.{name}", f"is {stated[name]:g}, but the views say {score:g}"
    yield from _moment_faults(table, thresholds)


def _read_table(text: str) -> tuple[Conditions | None, list[Found]]:
    try:
        table = Conditions.from_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join([AT, *map(str, first["loc"])])
        return None, [(where, f"is no table of conditions: {first['msg']}")]
    if table.to_json() != text:
        return table, [(AT, "is not in the canonical form, with every field")]
    return table, []


def _view_faults(at: str, view: AskedView, sample: Sample) -> Iterator[Found]:
    if not 0 <= view.right <= view.asked:
        yield f"{at}.right", f"{view.right} of {view.asked} can't be"
        return
    options = len(sample.answer.options)
    one_of = sample.answer.kind in ONE_CHOICE_KINDS and options > 1
    guess = 1 / options if one_of else 0.0
    share = max(view.right / view.asked - guess, 0.0) / (1 - guess) if view.asked else 0.0
    if abs(share - view.share) > TOLERANCE:
        yield f"{at}.share", f"is {view.share:g}, but {view.right} of {view.asked} are {share:g}"
    clip = next((one for one in sample.media if one.part == "mp4"), None)
    end_s = clip.duration_s + half_frame(clip) if clip else float("inf")
    for start, end in view.spans_s:
        if not 0 <= start <= end <= end_s:
            yield f"{at}.spans_s", f"{start:g}..{end:g} s is no span of the clip"
    spanned = view.condition in (Condition.EVIDENCE, Condition.MASKED)
    if spanned != bool(view.spans_s):
        yield f"{at}.spans_s", f"has {len(view.spans_s)} spans under {view.condition}"
    if view.order != 0 and view.condition is not Condition.SHUFFLED:
        yield f"{at}.order", f"is {view.order} under {view.condition}"
    timed = view.condition is Condition.PREFIX
    if timed != (view.until_s != -1) or not (view.until_s == -1 or 0 < view.until_s <= end_s):
        yield f"{at}.until_s", f"is {view.until_s:g} under {view.condition}"


def _expected(table: Conditions) -> dict[str, float]:
    """The scores that follow from the shares, where all that they need was asked."""

    def share(condition: Condition) -> float:
        return next((one.share for one in table.views if one.condition is condition), -1.0)

    full, blind = share(Condition.FULL), share(Condition.BLIND)
    evidence, masked = share(Condition.EVIDENCE), share(Condition.MASKED)
    shuffled = share(Condition.SHUFFLED)
    if full < 0:
        # Without it a ratio has nothing below the line.
        return {"difficulty": -1.0, "language_prior": blind}
    if full > 0:
        sufficiency = min(evidence / full, 1.0) if evidence >= 0 else -1.0
        necessity = 1 - min(masked / full, 1.0) if masked >= 0 else -1.0
        order = 1 - min(shuffled / full, 1.0) if shuffled >= 0 else -1.0
    else:
        sufficiency, necessity = (0.0 if one >= 0 else -1.0 for one in (evidence, masked))
        order = -1.0
    return {
        "difficulty": 1 - full,
        "language_prior": blind,
        "sufficiency": sufficiency,
        "necessity": necessity,
        "order_sensitivity": order,
    }


def _moment_faults(table: Conditions, thresholds: Mapping[str, Any]) -> Iterator[Found]:
    """Whether the moment is the first after which every longer prefix was answered."""
    least = thresholds.get("answerable", Thresholds().answerable)
    prefixes = [one for one in table.views if one.condition is Condition.PREFIX]
    moment_s = -1.0
    for view in sorted(prefixes, key=lambda one: -one.until_s):
        if not isinstance(least, (int, float)) or view.share < least - TOLERANCE:
            break
        moment_s = view.until_s
    if moment_s != table.scores.answerable_from_s:
        stated = table.scores.answerable_from_s
        yield f"{AT}.scores.answerable_from_s", f"is {stated:g}, but the views say {moment_s:g}"


# Splits ------------------------------------------------------------------------------------------


def split_faults(sample: Sample) -> Iterator[Found]:
    """Whether a sample has what its split promises, and nothing that betrays its answer."""
    replies = [message for message in sample.messages if message.role == "assistant"]
    if sample.split in PROMPT_SPLITS and replies:
        yield "messages", f"a sample of {sample.split} shows no reply"
    if sample.split not in PROMPT_SPLITS and not replies:
        yield "messages", f"a sample of {sample.split} shows a reply"
    if sample.split in PROMPT_SPLITS and sample.steps:
        yield "steps", f"a sample of {sample.split} shows no reasoning"
    extra = loads(sample.extra_json or "{}") or {}
    yield from _pair_faults(sample, replies, extra)
    if sample.split == "process":
        yield from _process_faults(sample)
    yield from _online_faults(sample, extra)


def _pair_faults(
    sample: Sample, replies: list[Message], extra: Mapping[str, Any]
) -> Iterator[Found]:
    rejected, margin = sample.preference.rejected, sample.preference.margin
    if sample.split != "preference":
        if rejected or margin != 0:
            yield "preference", f"is filled in a sample of {sample.split}"
        return
    if not 0 < margin <= 1:
        yield "preference.margin", f"is {margin:g}, not above 0 and at most 1"
    if not any(message.role == "assistant" for message in rejected):
        yield "preference.rejected", "holds no reply"
        return
    yield from _reason_faults(extra.get("rejected_because"))
    if replies and not is_as_long(replies[-1].reasoning, rejected[-1].reasoning):
        yield (
            "preference.rejected",
            f"one reasoning has more than {LENGTH_RATIO:g} times as many words as the other",
        )
    if replies and replies[-1].parts == rejected[-1].parts:
        yield "preference.rejected", "is the same as the reply that it is compared with"


def _reason_faults(reasons: Any) -> Iterator[Found]:
    at = "extra_json.rejected_because"
    if not isinstance(reasons, list) or not reasons:
        yield at, "names no check"
    elif any(one not in Thresholds.model_fields for one in reasons):
        yield at, f"names something that is no check: {reasons!r}"[:200]
    elif FORM_CHECKS.intersection(reasons):
        yield at, "the form was wrong: such a pair teaches form"


def _process_faults(sample: Sample) -> Iterator[Found]:
    if all(step.label == "unknown" for step in sample.steps):
        yield "steps", "none is labelled good or bad"
    for check in sample.verdict.checks:
        if check.name in FORM_CHECKS and not check.passed:
            yield f"verdict.checks.{check.name}", "failed: such a sample teaches form"
    if any(message.loss == 1 for message in sample.messages):
        yield "messages", "loss is 1, but the words of such a reply may be wrong"


def _online_faults(sample: Sample, extra: Mapping[str, Any]) -> Iterator[Found]:
    moment_s = extra.get("answerable_from_s")
    if sample.split != "online":
        if moment_s is not None:
            yield "extra_json.answerable_from_s", f"is set in a sample of {sample.split}"
        return
    table, _ = _read_table(sample.verdict.conditions_json)
    known_s = table.scores.answerable_from_s if table else -1.0
    if not isinstance(moment_s, (int, float)) or moment_s < 0 or moment_s != known_s:
        yield "extra_json.answerable_from_s", f"is {moment_s!r}, the views say {known_s:g}"
