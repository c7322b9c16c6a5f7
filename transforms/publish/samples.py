"""From a case to its published samples, in the canonical form (`schemas.sample`)."""

from __future__ import annotations

import json

from schemas.base import SCHEMA_VERSION, canonical_json
from schemas.case import Attempt, Case
from schemas.rewards import REWARD_FOR_KIND
from schemas.rollout import Rollout
from schemas.sample import (
    PROMPT_SPLITS,
    GroundedBox,
    GroundedSegment,
    Grounding,
    Message,
    Preference,
    Provenance,
    PublishedCheck,
    PublishedVerdict,
    Reward,
    Sample,
    SampleMedia,
    Sampling,
    StepLabel,
)
from schemas.task import Origin
from transforms.publish.examined import conditions_of, scores_of
from transforms.publish.messages import (
    MEDIA_ID,
    crop_media,
    question_message,
    reply_messages,
)
from transforms.publish.pairs import failed_checks
from transforms.publish.routing import Route, pass_rate
from transforms.verify.checks import VerifySettings, reward_spec
from transforms.verify.gold import answer_origin, gold_of
from transforms.verify.steps import reasoning_steps, step_labels

REJECTED = "rejected-"
"""Before the media of a rejected reply."""
DATA_SOURCE = "proofreel"
VERIFIER = "proofreel model-free checks"
CONSTRUCTED, CONSTRUCTION = "constructed", "construction"
"""What stands for teacher and verifier where the answer is exact because the clip was made so."""
MEASURING_VERIFIER = "proofreel model-free checks and measurement of the published clip"


def make_sample(
    case: Case, route: Route, settings: VerifySettings, *, pipeline_version: str
) -> Sample:
    """The sample of one route of a case. Its id is unique in the dataset."""
    key = sample_id(case, route)
    answer = gold_of(case, settings)
    messages, rejected = [question_message(case)], list[Message]()
    media = [_media(case, key)]
    if route.split not in PROMPT_SPLITS:
        assert route.best is not None, "only prompts show no attempt"
        messages += _replies(route)
        media += crop_media(media[0], route.best.rollout.tool_calls)
    if route.rejected is not None:
        rejected = reply_messages(route.rejected.rollout, REJECTED)
        media += crop_media(media[0], route.rejected.rollout.tool_calls, REJECTED)
    return Sample(
        schema_version=SCHEMA_VERSION,
        id=key,
        split=route.split,
        data_source=DATA_SOURCE,
        ability=case.task.kind,
        media=media,
        sampling=Sampling(),
        messages=messages,
        answer=answer,
        reward=Reward(
            style="rule",
            fn=REWARD_FOR_KIND[case.task.kind],
            spec_json=canonical_json(reward_spec(answer)),
        ),
        preference=Preference(rejected=rejected, margin=_margin(route)),
        steps=_steps(route),
        grounding=_grounding(route.best.rollout) if route.best else _evidence(case),
        verdict=_verdict(case, route.best, settings),
        provenance=_provenance(case, route.best, pipeline_version),
        extra_json=canonical_json(_extra(case, route, settings)),
    )


def sample_id(case: Case, route: Route) -> str:
    """Split and task; of labelled steps there is one sample per rollout."""
    if route.split == "process":
        assert route.best is not None
        return f"{route.split}-{route.best.rollout.id}"
    return f"{route.split}-{case.task.id}"


def _replies(route: Route) -> list[Message]:
    assert route.best is not None
    messages = reply_messages(route.best.rollout)
    if route.split == "process":
        # Its labels are learnt, not its words: they may be wrong.
        messages = [message.model_copy(update={"loss": 0}) for message in messages]
    return messages


def _media(case: Case, key: str) -> SampleMedia:
    media, clip = case.scene.media, case.scene.clip
    tick_s = media.fps_den / media.fps_num
    return SampleMedia(
        id=MEDIA_ID,
        kind="video",
        part="mp4",
        uri=f"{key}.mp4",
        sha256=media.sha256,
        width_px=media.width_px,
        height_px=media.height_px,
        duration_s=media.duration_s,
        num_frames=media.num_frames,
        fps_num=media.fps_num,
        fps_den=media.fps_den,
        is_cfr=True,
        is_copied=media.copied,
        has_audio=media.has_audio,
        frame_pts_s=[round(number * tick_s, 6) for number in range(media.num_frames)],
        source_uri=case.scene.video.source.uri,
        source_start_s=clip.start_s,
        source_end_s=clip.end_s,
        source_truncated=case.scene.decoded.truncated,
        measures=clip.measures,
    )


def _steps(route: Route) -> list[StepLabel]:
    """The steps of the reasoning that is shown, each with what the clip says of it."""
    if route.best is None or route.split in PROMPT_SPLITS:
        return []
    texts, labels = reasoning_steps(route.best.rollout), step_labels(route.best)
    return [
        StepLabel.model_validate({"text": text, "label": label})
        for text, label in zip(texts, labels, strict=True)
    ]


def _grounding(rollout: Rollout) -> Grounding:
    return Grounding(
        boxes=[
            GroundedBox(ref=box.label, media_id=MEDIA_ID, t_s=box.t_s, xyxy_norm=box.xyxy_norm)
            for box in rollout.boxes
        ],
        segments=[
            GroundedSegment(
                label=segment.label,
                media_id=MEDIA_ID,
                start_s=segment.start_s,
                end_s=segment.end_s,
            )
            for segment in rollout.segments
        ],
    )


def _evidence(case: Case) -> Grounding:
    """Where the evidence of a constructed task lies."""
    segments = [
        GroundedSegment(label="evidence", media_id=MEDIA_ID, start_s=start_s, end_s=end_s)
        for start_s, end_s in case.task.evidence_s
    ]
    return Grounding(boxes=[], segments=segments)


def _verdict(case: Case, best: Attempt | None, settings: VerifySettings) -> PublishedVerdict:
    checks = [
        PublishedCheck(
            name=check.name, score=check.score, threshold=check.threshold, passed=check.passed
        )
        for check in (best.verdict.checks if best else ())
    ]
    share = round(pass_rate(case, settings), 6)
    table = conditions_of(case, best, settings)
    return PublishedVerdict(pass_rate=share, checks=checks, conditions_json=table.to_json())


def _provenance(case: Case, best: Attempt | None, pipeline_version: str) -> Provenance:
    source = case.scene.video.source
    if best is None:
        return Provenance(
            teacher=CONSTRUCTED,
            teacher_revision="",
            verifier=_verifier(CONSTRUCTION, case),
            prompt_sha256="",
            gen_params_json="{}",
            pipeline_version=pipeline_version,
            seed=-1,
            license=source.license,
            source_url=source.source_url,
        )
    facts = best.rollout.teacher
    return Provenance(
        teacher=facts.model or facts.kind,
        teacher_revision=facts.revision,
        verifier=_verifier(MEASURING_VERIFIER if case.task.is_measured else VERIFIER, case),
        prompt_sha256=facts.prompt_sha256,
        gen_params_json=facts.params_json,
        pipeline_version=pipeline_version,
        seed=facts.seed,
        license=source.license,
        source_url=source.source_url,
    )


def _verifier(checks: str, case: Case) -> str:
    """Who checked: our own checks, and the model that was asked again, if one was."""
    model = case.examination.model
    return f"{checks}; asked again: {model}" if model else checks


def _margin(route: Route) -> float:
    """How much worse the rejected reply did on the check that it failed most clearly."""
    if route.rejected is None:
        return 0.0
    checks = route.rejected.verdict.checks
    # Never 0: it did fail.
    return max(round(1.0 - min(one.score for one in checks if not one.passed), 6), 1e-6)


def _extra(case: Case, route: Route, settings: VerifySettings) -> dict[str, object]:
    repair_round = route.best.rollout.round if route.best else 0
    extra: dict[str, object] = {
        "video_id": case.scene.video.id,
        "clip_id": case.scene.clip.id,
        "task_id": case.task.id,
        "answer_origin": answer_origin(case),
        "attempts": len(case.attempts),
        "repaired": repair_round > 0,
        "repair_round": repair_round,
    }
    if case.task.origin is Origin.CONSTRUCTED:
        extra["constructed"] = json.loads(case.task.spec_json)
    if case.scene.description.captions:
        # In clip time, like all that is published.
        captions = case.scene.description.captions
        extra["captions"] = [caption.model_dump(mode="json") for caption in captions]
    if case.scene.lines:
        extra["lines"] = [line.model_dump(mode="json") for line in case.scene.lines]
    if case.scene.video.source.user_id:
        extra["user_id"] = case.scene.video.source.user_id
    if route.best is not None and route.best.rollout.thinking and not repair_round:
        # What is thought before a repaired reply is about the attempt that failed.
        extra["thinking"] = route.best.rollout.thinking
    rejected = route.best if route.split == "process" else route.rejected
    if rejected is not None and not rejected.verdict.accepted:
        extra["rejected_because"] = failed_checks(rejected)
    if route.split == "online":
        extra["answerable_from_s"] = scores_of(case, settings).answerable_from_s
    return extra
