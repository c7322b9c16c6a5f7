"""The published form of a sample: whole, without nulls, and true to itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from case_helpers import GOLD, OPTIONS, make_attempt, make_case, make_scene, make_task

from schemas.case import Case
from schemas.description import Caption, Description
from schemas.rejection import Reason, Rejected
from schemas.rewards import grade, make_label, parse_response, read_label, score_response
from schemas.sample import Sample
from schemas.task import Origin, TaskKind
from transforms.publish.check_sample import parse_sample, sample_faults
from transforms.publish.planning import KEY_PATTERN
from transforms.publish.routing import PublishSettings, routes
from transforms.publish.samples import make_sample
from transforms.publish.stage import Router
from transforms.verify.checks import VerifySettings, answer_check

SETTINGS = VerifySettings(samples=4)
THRESHOLDS = SETTINGS.thresholds.model_dump(mode="json")
WRONG = {
    TaskKind.MCQ: "A",
    TaskKind.MULTI_CHOICE: "B",
    TaskKind.COUNT: "4",
    TaskKind.NUMBER: "7",
    TaskKind.ORDERING: "A,B,C",
    TaskKind.TEMPORAL_GROUNDING: "6.00 to 7.00",
    TaskKind.SPATIAL_GROUNDING: "[0.5,0.2,0.9,0.6]",
    TaskKind.SPATIO_TEMPORAL_GROUNDING: '{"boxes":{"6":[0.1,0.2,0.5,0.6]},"time":[6.0,7.0]}',
    TaskKind.FREE_TEXT: "two blue hats",
    TaskKind.CAUSAL: "A",
    TaskKind.NEXT_EVENT: "A",
}


def mixed_case(kind: TaskKind, *, measured: bool = False, **source: Any) -> Case:
    """Two right, one wrong and one repaired attempt: good for every split."""
    scene = make_scene(**source)
    spec_json = '{"family":"cut_count"}' if measured else "{}"
    task = make_task(scene, kind, spec_json=spec_json)
    failed = (answer_check(kind),)
    return make_case(
        task,
        scene,
        make_attempt(task, 0, WRONG[kind], failed=failed, measured=measured),
        make_attempt(task, 1, measured=measured),
        make_attempt(task, 2, measured=measured),
        make_attempt(task, 0, round=1, measured=measured),
    )


def samples_of(case: Case) -> dict[str, Sample]:
    made = [
        make_sample(case, route, SETTINGS, pipeline_version="0.1.0")
        for route in routes(case, SETTINGS)
    ]
    return {sample.split: sample for sample in made}


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, f"{path}[]")
    else:
        yield path, value


@pytest.mark.parametrize("kind", list(TaskKind))
def test_samples_of_every_kind_and_split_pass_the_check(kind: TaskKind) -> None:
    samples = samples_of(mixed_case(kind))
    assert set(samples) == {"sft", "rl", "preference"}
    for sample in samples.values():
        assert list(sample_faults(sample, THRESHOLDS)) == []
        read, faults = parse_sample(sample.to_json().encode())
        assert faults == []
        assert read == sample


@pytest.mark.parametrize("kind", list(TaskKind))
def test_nothing_is_null_and_every_field_is_there(kind: TaskKind) -> None:
    for sample in samples_of(mixed_case(kind)).values():
        value = json.loads(sample.to_json())
        assert [path for path, leaf in leaves(value) if leaf is None] == []
        assert set(value) == set(Sample.model_fields)
        for text in (
            sample.reward.spec_json, sample.verdict.conditions_json,
            sample.provenance.gen_params_json, sample.extra_json,
        ):  # fmt: skip
            assert [path for path, leaf in leaves(json.loads(text)) if leaf is None] == []
    # Lists of one record have the same fields in every sample, whatever the split.
    fields = [
        {path for path, _ in leaves(json.loads(sample.to_json()))}
        for sample in samples_of(mixed_case(kind)).values()
    ]
    shared = set.intersection(*fields)
    for found in fields:
        # Fields that one split has and another lacks may only be those of a pair or a reply.
        of_reply = (".preference.rejected[]", ".steps[]")
        assert all(path.startswith(of_reply) for path in found - shared)


def test_ids_are_unique_keys_of_a_shard() -> None:
    cases = [mixed_case(kind) for kind in TaskKind]
    ids = [sample.id for case in cases for sample in samples_of(case).values()]
    assert len(set(ids)) == len(ids) == 3 * len(TaskKind)
    assert all(KEY_PATTERN.fullmatch(one) for one in ids)
    for case in cases:
        for split, sample in samples_of(case).items():
            assert sample.id == f"{split}-{case.task.id}"
            assert sample.media[0].uri == f"{sample.id}.mp4"


def test_messages_are_what_each_trainer_needs() -> None:
    case = mixed_case(TaskKind.MCQ)
    samples = samples_of(case)
    for split, sample in samples.items():
        question, *replies = sample.messages
        assert [part.type for part in question.parts] == ["video", "text"]
        assert question.parts[0].media_id == sample.media[0].id
        assert case.task.question in question.parts[1].text
        for letter, option in zip("ABC", OPTIONS, strict=True):
            assert f"{letter}. {option}" in question.parts[1].text
        assert (question.role, question.loss) == ("user", 0)
        assert len(replies) == (split != "rl")
    [_, reply] = samples["sft"].messages
    response = parse_response(reply.parts[0].text)
    assert response.well_formed
    assert (response.think, response.answer) == (reply.reasoning, "C")
    assert (reply.role, reply.loss) == ("assistant", 1)
    # An RL prompt must not hold its answer.
    assert "<answer>" not in samples["rl"].messages[0].parts[1].text


@pytest.mark.parametrize("kind", list(TaskKind))
def test_the_reward_that_is_shipped_grades_as_the_verifier_did(kind: TaskKind) -> None:
    case = mixed_case(kind)
    sample = samples_of(case)["rl"]
    spec = json.loads(sample.reward.spec_json)
    assert grade(sample.reward.fn, GOLD[kind], sample.answer.text, **spec) == 1.0
    assert grade(sample.reward.fn, WRONG[kind], sample.answer.text, **spec) < 0.7
    if kind is TaskKind.NUMBER:
        assert spec == {"tolerance": 0.25}
        assert grade(sample.reward.fn, "2.7", sample.answer.text, **spec) == 1.0


@pytest.mark.parametrize("kind", list(TaskKind))
def test_the_label_for_a_trainer_grades_as_the_verifier_did(kind: TaskKind) -> None:
    sample = samples_of(mixed_case(kind))["sft"]
    label = make_label(sample.model_dump(mode="json"))
    assert read_label(label).gold == sample.answer.text
    reply = sample.messages[-1].parts[0].text
    check = next(c for c in sample.verdict.checks if c.name == answer_check(kind))
    assert score_response(reply, label).answer == pytest.approx(check.score)
    assert score_response(reply, label).format == 1.0


def test_the_pair_of_a_preference_differs_in_its_answer() -> None:
    sample = samples_of(mixed_case(TaskKind.COUNT))["preference"]
    [rejected] = sample.preference.rejected
    assert parse_response(rejected.parts[0].text).answer == "4"
    assert parse_response(sample.messages[-1].parts[0].text).answer == "3"
    assert sample.preference.margin == 1.0
    assert json.loads(sample.extra_json)["rejected_because"] == ["answer"]
    assert all(check.passed for check in sample.verdict.checks)
    others = samples_of(mixed_case(TaskKind.COUNT))
    assert (others["sft"].preference.rejected, others["sft"].preference.margin) == ([], 0.0)


def test_times_are_those_of_the_clip_with_the_source_beside() -> None:
    [media] = samples_of(mixed_case(TaskKind.MCQ))["sft"].media
    assert len(media.frame_pts_s) == media.num_frames == 200
    assert (media.frame_pts_s[0], media.frame_pts_s[1], media.frame_pts_s[-1]) == (0.0, 0.04, 7.96)
    assert (media.source_start_s, media.source_end_s) == (2.0, 10.0)
    assert media.source_uri == "films/v0.mp4"
    assert media.source_truncated == ""


def test_a_medium_has_the_measures_of_its_clip() -> None:
    case = mixed_case(TaskKind.MCQ)
    for sample in samples_of(case).values():
        assert sample.media[0].measures == case.scene.clip.measures
        stored = json.loads(sample.to_json())["media"][0]["measures"]
        assert stored["crop_box"] == [0.0, 0.0, 1.0, 1.0]
        assert stored["shot_type"] == "edited"
        assert None not in stored.values()


def test_what_is_missing_of_the_source_is_said() -> None:
    case = mixed_case(TaskKind.MCQ)
    decoded = case.scene.decoded.model_copy(update={"truncated": "decodes to 10.00 s of 60.00 s"})
    scene = case.scene.model_copy(update={"decoded": decoded})
    for sample in samples_of(case.model_copy(update={"scene": scene})).values():
        assert sample.media[0].source_truncated == "decodes to 10.00 s of 60.00 s"


def test_where_it_comes_from_travels_along() -> None:
    source = {"license": "cc-by-4.0", "source_url": "https://example.org/v", "user_id": "u7"}
    case = mixed_case(TaskKind.MCQ, **source)
    sample = samples_of(case)["sft"]
    facts = sample.provenance
    assert (facts.teacher, facts.teacher_revision, facts.seed) == ("qwen", "r1", 7)
    assert (facts.license, facts.source_url) == ("cc-by-4.0", "https://example.org/v")
    extra = json.loads(sample.extra_json)
    assert extra["user_id"] == "u7"
    assert extra["video_id"] == case.scene.video.id
    assert (extra["attempts"], extra["repaired"]) == (4, False)
    assert "measurement" not in facts.verifier
    assert (
        "measurement"
        in samples_of(mixed_case(TaskKind.COUNT, measured=True))["sft"].provenance.verifier
    )
    # Where the file lay on this machine is nobody's business.
    assert '"location"' not in sample.to_json()


@pytest.mark.parametrize(
    ("origin", "spec_json", "known", "expected"),
    [
        (Origin.GIVEN, "{}", True, "given"),
        (Origin.GIVEN, "{}", False, "consensus"),
        (Origin.PROPOSED, "{}", True, "proposed"),
        (Origin.PROPOSED, '{"family":"cut_count"}', True, "measured"),
    ],
)
def test_the_origin_of_the_answer_is_said(
    origin: Origin, spec_json: str, known: bool, expected: str
) -> None:
    scene = make_scene()
    task = make_task(scene, TaskKind.COUNT, known=known, origin=origin, spec_json=spec_json)
    case = make_case(task, scene, *(make_attempt(task, n) for n in range(3)))
    sample = samples_of(case)["sft"]
    assert json.loads(sample.extra_json)["answer_origin"] == expected
    assert sample.answer.text == "3"


def test_boxes_and_segments_are_published_with_their_medium() -> None:
    scene = make_scene()
    task = make_task(scene)
    case = make_case(task, scene, make_attempt(task, 0))
    grounding = samples_of(case)["sft"].grounding
    assert [(one.label, one.start_s, one.end_s) for one in grounding.segments] == [
        ("seen", 1.0, 8.0)
    ]
    assert [(one.ref, one.t_s, one.xyxy_norm) for one in grounding.boxes] == [
        ("it", 1.0, (0.1, 0.2, 0.3, 0.4))
    ]
    assert {one.media_id for one in [*grounding.boxes, *grounding.segments]} == {"clip"}


def test_the_captions_of_the_clip_are_published_in_its_own_time() -> None:
    case = mixed_case(TaskKind.MCQ)
    assert "captions" not in json.loads(samples_of(case)["sft"].extra_json)
    captions = (
        Caption(start_s=0.0, end_s=3.5, text="A dog sits."),
        Caption(start_s=3.5, end_s=8.0, text="It runs."),
    )
    told = Description(captions=captions, event="A dog's day.", story="Dogs.", error="story: no")
    scene = case.scene.model_copy(update={"description": told})
    for sample in samples_of(case.model_copy(update={"scene": scene})).values():
        extra = json.loads(sample.extra_json)
        assert [Caption(**one) for one in extra["captions"]] == list(captions)
        # What is said of the rest of the video is nothing that this clip shows.
        assert "A dog's day." not in sample.to_json()
        assert list(sample_faults(sample, THRESHOLDS)) == []


def test_the_router_keeps_the_samples_of_a_video_together() -> None:
    publish = PublishSettings(validation_share=0.5)
    router = Router(SETTINGS, publish, 0, "0.1.0")
    sides = set()
    for number in range(12):
        scene = make_scene(number)
        routed = []
        for kind in (TaskKind.MCQ, TaskKind.COUNT):
            task = make_task(scene, kind)
            outcome = router(make_case(task, scene, make_attempt(task, 0)))
            assert outcome.entered == 1
            [several] = outcome.outputs
            routed += several
        assert len({one.planned.partition for one in routed}) == 1
        assert {one.video_id for one in routed} == {scene.video.id}
        assert {one.planned.media_ref for one in routed} == {scene.media.ref}
        sides.add(routed[0].planned.partition)
    assert sides == {"train", "validation"}


@pytest.mark.parametrize(
    ("stated", "detail"),
    [
        ("CC BY 4.0", ""),
        ("cc_by-4.0 ", ""),
        ("", "no licence is stated, so it is not among publish.licenses (CC-BY-4.0, cc0 1.0)"),
        ("CC-BY-NC-4.0", "licence 'CC-BY-NC-4.0' is not among publish.licenses"),
        ("CC-BY", "licence 'CC-BY' is not among publish.licenses"),
    ],
)
def test_only_allowed_licences_are_published(stated: str, detail: str) -> None:
    case = mixed_case(TaskKind.MCQ)
    source = case.scene.video.source.model_copy(update={"license": stated})
    video = case.scene.video.model_copy(update={"source": source})
    case = case.model_copy(update={"scene": case.scene.model_copy(update={"video": video})})
    ungated = Router(SETTINGS, PublishSettings(), 0, "0.1.0")
    gated = Router(SETTINGS, PublishSettings(licenses=("cc0 1.0", "CC-BY-4.0")), 0, "0.1.0")
    assert ungated(case).outputs
    if not detail:
        assert gated(case) == ungated(case)
        return
    with pytest.raises(Rejected) as raised:
        gated(case)
    assert raised.value.reason is Reason.LICENSE
    assert detail in raised.value.detail


def test_no_machine_path_is_published(tmp_path: Path) -> None:
    case = mixed_case(TaskKind.MCQ)
    source = case.scene.video.source.model_copy(update={"location": str(tmp_path)})
    video = case.scene.video.model_copy(update={"source": source})
    scene = case.scene.model_copy(update={"video": video})
    for sample in samples_of(case.model_copy(update={"scene": scene})).values():
        assert str(tmp_path) not in sample.to_json()
