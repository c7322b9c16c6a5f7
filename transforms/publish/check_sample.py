"""Is a sample true to itself? Spans, boxes, verdict and answer of one sample, without its mp4."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from pydantic import ValidationError

from schemas import rewards
from schemas.base import SCHEMA_VERSION
from schemas.sample import Sample, SampleMedia
from schemas.task import ONE_CHOICE_KINDS, OPTION_LETTERS, SPAN_KINDS
from transforms.publish.check_media import half_frame
from transforms.publish.check_split import Found, conditions_faults, loads, split_faults
from transforms.publish.manifest import is_local_path

GRADE_TOLERANCE = 1e-9
TEXT_TOLERANCE_S = 0.01
"""Answers are written with at least two decimals."""
ANSWER_CHECKS = ("answer", "answer_iou", "answer_text")
"""Name of the check whose score is the grade of the answer."""


def parse_sample(data: bytes) -> tuple[Sample | None, list[Found]]:
    """Parse the JSON of an entry; every violation of the schema is named with its field.

    A null is such a violation: no field of the published form allows it.
    """
    try:
        sample = Sample.from_json(data)
    except ValidationError as error:
        found = [
            (".".join(str(part) for part in one["loc"]) or "json", _violation(one))
            for one in error.errors(include_url=False, include_context=False)
        ]
        return None, found
    if sample.to_json().encode("utf-8") != data:
        return sample, [("json", "is not in the canonical form (sorted keys, no spaces, UTF-8)")]
    return sample, []


def _violation(error: Mapping[str, Any]) -> str:
    return "is null" if error["input"] is None else str(error["msg"])


def sample_faults(sample: Sample, thresholds: Mapping[str, Any]) -> Iterator[Found]:
    """All that is wrong inside of a sample; `thresholds` are those that the manifest states."""
    if sample.schema_version != SCHEMA_VERSION:
        yield "schema_version", f"is {sample.schema_version!r}, not {SCHEMA_VERSION!r}"
    yield from _json_faults(sample)
    yield from _media_faults(sample)
    yield from _time_faults(sample)
    yield from _box_faults(sample)
    yield from _verdict_faults(sample, thresholds)
    yield from _answer_faults(sample)
    yield from conditions_faults(sample, thresholds)
    yield from split_faults(sample)


def _json_faults(sample: Sample) -> Iterator[Found]:
    for field, text in (
        ("reward.spec_json", sample.reward.spec_json),
        ("verdict.conditions_json", sample.verdict.conditions_json),
        ("provenance.gen_params_json", sample.provenance.gen_params_json),
        ("extra_json", sample.extra_json),
    ):
        if text and loads(text) is None:
            yield field, "is no JSON object"


def _media_faults(sample: Sample) -> Iterator[Found]:
    ids = [media.id for media in sample.media]
    if len(set(ids)) != len(ids):
        yield "media", "two media have the same id"
    if [media.part for media in sample.media].count("mp4") != 1:
        yield "media", "not exactly one medium is in the part mp4"
    for number, media in enumerate(sample.media):
        at = f"media.{number}"
        for name, uri in (("uri", media.uri), ("source_uri", media.source_uri)):
            if is_local_path(uri):
                yield f"{at}.{name}", f"is an absolute path: {uri!r}"
        if "://" in media.uri or ".." in media.uri.replace("\\", "/").split("/"):
            yield f"{at}.uri", f"is not relative to the dataset: {media.uri!r}"
        if not (media.duration_s > 0 and media.num_frames > 0 and half_frame(media) > 0):
            yield at, "duration, number of frames or frame rate is not above 0"
        if media.source_start_s < 0 or media.source_end_s <= media.source_start_s:
            yield at, f"source span {media.source_start_s:g}..{media.source_end_s:g} is no span"
        if media.frame_pts_s and len(media.frame_pts_s) != media.num_frames:
            yield f"{at}.frame_pts_s", f"has {len(media.frame_pts_s)} times, not {media.num_frames}"
        if any(late <= early for early, late in pairwise(media.frame_pts_s)):
            yield f"{at}.frame_pts_s", "is not in rising order"
        yield from _outside(f"{at}.frame_pts_s", media.frame_pts_s, media)
        yield from _no_box(f"{at}.measures.crop_box", media.measures.crop_box)
    used = [
        (f"messages.{n}", part.media_id)
        for n, one in enumerate(sample.messages)
        for part in one.parts
    ]
    used += [
        (f"grounding.segments.{n}", one.media_id) for n, one in enumerate(sample.grounding.segments)
    ]
    used += [(f"grounding.boxes.{n}", one.media_id) for n, one in enumerate(sample.grounding.boxes)]
    for field, media_id in used:
        if media_id and media_id not in ids:
            yield f"{field}.media_id", f"names {media_id!r}, which the sample does not have"


def _outside(field: str, times_s: Iterable[float], media: SampleMedia) -> Iterator[Found]:
    """Times outside of the clip; half a frame past its end is rounding."""
    for time_s in times_s:
        if not 0 <= time_s <= media.duration_s + half_frame(media):
            yield field, f"{time_s:g} s is outside of the clip, which lasts {media.duration_s:g} s"


def _time_faults(sample: Sample) -> Iterator[Found]:
    media = {one.id: one for one in sample.media}
    clip = next((one for one in sample.media if one.part == "mp4"), None)
    if clip is None:
        return
    spans = [
        (f"grounding.segments.{number}", one.start_s, one.end_s, media.get(one.media_id, clip))
        for number, one in enumerate(sample.grounding.segments)
    ]
    spans += [
        (f"answer.intervals_s.{number}", start, end, clip)
        for number, (start, end) in enumerate(sample.answer.intervals_s)
    ]
    if sample.answer.kind in SPAN_KINDS:
        written = rewards.parse_intervals(sample.answer.text)
        spans += [("answer.text", start, end, clip) for start, end in written or ()]
        if not _same_intervals(written or (), sample.answer.intervals_s):
            yield "answer.text", f"{sample.answer.text!r} does not say what intervals_s says"
    for field, start, end, medium in spans:
        if end < start:
            yield field, f"span {start:g}..{end:g} s ends before it begins"
        yield from _outside(field, (start, end), medium)


def _same_intervals(
    written: Sequence[tuple[float, float]], stated: Sequence[tuple[float, float]]
) -> bool:
    return len(written) == len(stated) and all(
        abs(one - other) <= TEXT_TOLERANCE_S
        for pair, other_pair in zip(written, stated, strict=True)
        for one, other in zip(pair, other_pair, strict=True)
    )


def _box_faults(sample: Sample) -> Iterator[Found]:
    media = {one.id: one for one in sample.media}
    clip = next((one for one in sample.media if one.part == "mp4"), None)
    boxes = [
        (f"grounding.boxes.{number}", one.t_s, one.xyxy_norm, media.get(one.media_id, clip))
        for number, one in enumerate(sample.grounding.boxes)
    ]
    boxes += [
        (f"answer.boxes.{number}", one.t_s, one.xyxy_norm, clip)
        for number, one in enumerate(sample.answer.boxes)
    ]
    for field, time_s, box, medium in boxes:
        # An answer may leave the moment of its box to the question.
        if medium is not None and not (time_s == -1.0 and field.startswith("answer")):
            yield from _outside(field, (time_s,), medium)
        yield from _no_box(field, box)


def _no_box(field: str, box: tuple[float, float, float, float]) -> Iterator[Found]:
    left, top, right, bottom = box
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        corners = ", ".join(f"{one:g}" for one in box)
        yield field, f"corners {corners} are no box inside of the frame (0..1)"


def _verdict_faults(sample: Sample, thresholds: Mapping[str, Any]) -> Iterator[Found]:
    accepted = sample.split in ("sft", "preference", "online")
    if not sample.verdict.checks and (sample.split != "rl" or not _is_constructed(sample)):
        yield "verdict.checks", "is empty: nothing proves this annotation"
    if not (sample.verdict.pass_rate == -1 or 0 <= sample.verdict.pass_rate <= 1):
        yield "verdict.pass_rate", f"is {sample.verdict.pass_rate:g}, neither -1 nor in 0..1"
    names = [one.name for one in sample.verdict.checks]
    if len(set(names)) != len(names):
        yield "verdict.checks", "two checks have the same name"
    for check in sample.verdict.checks:
        field = f"verdict.checks.{check.name}"
        if check.passed != (check.score >= check.threshold):
            yield (
                field,
                f"passed is {str(check.passed).lower()}, "
                f"but score {check.score!r} against threshold {check.threshold!r} says otherwise",
            )
        if accepted and not check.passed:
            yield field, f"failed, so the sample does not belong into {sample.split}"
        configured = thresholds.get(check.name)
        if isinstance(configured, (int, float)) and configured != check.threshold:
            yield (
                field,
                f"threshold {check.threshold!r} is not the {configured!r} "
                f"of verify.thresholds.{check.name} in the manifest",
            )


def _is_constructed(sample: Sample) -> bool:
    """Whether the answer is said to be exact by construction, and of which family."""
    extra = loads(sample.extra_json or "{}") or {}
    made = extra.get("constructed")
    return extra.get("answer_origin") == "constructed" and isinstance(made, dict) and bool(made)


def _answer_faults(sample: Sample) -> Iterator[Found]:
    answer = sample.answer
    if answer.option_index >= len(answer.options) or answer.option_index < -1:
        yield (
            "answer.option_index",
            f"{answer.option_index} is none of {len(answer.options)} options",
        )
    elif answer.kind in ONE_CHOICE_KINDS and answer.text != _letter(answer.option_index):
        yield "answer.text", f"{answer.text!r} is not the letter of option {answer.option_index}"
    yield from _grade_faults(sample)


def _letter(index: int) -> str:
    return OPTION_LETTERS[index] if 0 <= index < len(OPTION_LETTERS) else ""


def _answer_in(text: str) -> str:
    """What a reply answers: what stands between the tags, or all of it where there are none."""
    return rewards.parse_response(text).answer if "<answer>" in text else text.strip()


def _grade_faults(sample: Sample) -> Iterator[Found]:
    """Grade the written answer once more, by the function that a trainer will use."""
    made = [check for check in sample.verdict.checks if check.name in ANSWER_CHECKS]
    replies = [message for message in sample.messages if message.role == "assistant"]
    spec = loads(sample.reward.spec_json or "{}")
    if not made or not replies or spec is None or sample.reward.style != "rule":
        return
    text = "".join(part.text for part in replies[-1].parts if part.type == "text")
    try:
        grade = rewards.grade(sample.reward.fn, _answer_in(text), sample.answer.text, **spec)
    except Exception as error:  # noqa: BLE001 - whatever a hostile spec breaks is its own fault
        yield "reward", f"can't grade the answer again: {type(error).__name__}: {error}"
        return
    if not abs(grade - made[0].score) <= GRADE_TOLERANCE:
        yield (
            f"verdict.checks.{made[0].name}",
            f"score is {made[0].score!r}, but {sample.reward.fn} grades the answer {grade!r}",
        )
