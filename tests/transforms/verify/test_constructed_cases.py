"""Constructed tasks in the loop: a model is asked, the measure teacher is not, none is measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from schemas.case import Case, Scene
from schemas.clip import Clip, Measures, Media, ShotType
from schemas.rollout import Rollout, TeacherFacts
from schemas.source import Source
from schemas.task import Origin, Task, TaskKind
from schemas.video import Decoded, Probe, Video
from transforms.annotate.tasks import make_answer
from transforms.annotate.teacher import TeacherKind, TeacherSettings
from transforms.memo import MemoStore
from transforms.verify.checks import VerifySettings
from transforms.verify.loop import Answered, Answerer, Verifier

PROBE = Probe(
    container="mp4", video_index=0, codec="h264", pix_fmt="yuv420p", width_px=320, height_px=180,
    rotation_deg=0, start_time_s=0.0, claimed_duration_s=8.0, container_duration_s=8.0,
    color_range=1, color_space=1, color_primaries=1, color_transfer=1, audio=None,
)  # fmt: skip
MEASURES = Measures(
    brightness=0.5, contrast=0.2, underexposed_share=0.0, overexposed_share=0.0, sharpness=0.1,
    motion=0.1, motion_speed=0.1, motion_speed_p90=0.2, black_share=0.0, frozen_share=0.0,
    crop_box=(0.0, 0.0, 1.0, 1.0), text_share=-1.0, loudness_lufs=-20.0, sound_share=1.0,
    average_shot_s=2.5, shot_type=ShotType.EDITED,
)  # fmt: skip


@pytest.fixture
def case() -> Case:
    """A case whose clip lies in no store: whoever wanted to look at it would fail."""
    video = Video(
        sha256="0" * 64, size_bytes=9, probe=PROBE, source=Source(uri="v.mp4", location="v.mp4")
    )
    decoded = Decoded(
        video_id=video.id, num_frames=200, first_pts_s=0.0, duration_s=8.0, fps_num=25, fps_den=1,
        is_vfr=False, truncated="", frames_ref="f", samples_ref="s",
    )  # fmt: skip
    clip = Clip(
        video_id=video.id, start_s=0.0, end_s=8.0, start_frame=0, end_frame=200,
        shot_starts_s=(0.0,), measures=MEASURES,
    )  # fmt: skip
    media = Media(
        clip_id=clip.id, ref="alter/clip.mp4", sha256="1" * 64, size_bytes=9, width_px=320,
        height_px=180, num_frames=200, fps_num=25, fps_den=1, duration_s=8.0, has_audio=False,
    )  # fmt: skip
    task = Task(
        clip_id=clip.id,
        kind=TaskKind.COUNT,
        question="How many red stars are there in all?",
        gold=make_answer(TaskKind.COUNT, "3", (), -1.0),
        origin=Origin.CONSTRUCTED,
        spec_json=json.dumps({"family": "motion"}),
    )
    return Case(scene=Scene(video=video, decoded=decoded, clip=clip, media=media), task=task)


def test_the_measure_teacher_is_not_asked(case: Case) -> None:
    settings = TeacherSettings(kind=TeacherKind.MEASURE, samples=4)
    for number in range(2):
        answerer = Answerer(settings, 0, number)
        assert list(answerer.requests(case, {})) == []
        outcome = answerer.read(case, {})
        assert (outcome.entered, outcome.rejections) == (0, [])
        assert [one.rollouts for one in outcome.outputs] == [()]
        assert outcome.outputs[0].case.asked == 0


def test_a_model_is_asked_as_about_any_task(case: Case) -> None:
    settings = TeacherSettings(kind=TeacherKind.VLLM, model="m", samples=4)
    requests = Answerer(settings, 0, 0).requests(case, {})
    assert len({request.id for request in requests}) == 4
    original = case.scene.media.model_copy(update={"sha256": "2" * 64, "ref": "cut/clip.mp4"})
    other = case.model_copy(update={"scene": case.scene.model_copy(update={"media": original})})
    theirs = Answerer(settings, 0, 0).requests(other, {})
    assert not {one.id for one in requests} & {one.id for one in theirs}, "other media, other reply"


def test_its_answer_is_graded_and_not_measured(case: Case, tmp_path: Path) -> None:
    verifier = Verifier(VerifySettings(), MemoStore(str(tmp_path)))
    rollouts = tuple(
        Rollout(
            task_id=case.task.id,
            sample=sample,
            round=0,
            reasoning=f"I count them. So the answer is {answer}.",
            answer_text=answer,
            teacher=TeacherFacts(
                kind="vllm", model="m", revision="", prompt_sha256="", params_json="{}", seed=0
            ),
            raw_reply="",
        )
        for sample, answer in enumerate(("3", "4"))
    )
    [done] = verifier(Answered(case, rollouts)).outputs
    right, wrong = done.attempts
    assert right.verdict.accepted and not wrong.verdict.accepted
    names = [check.name for check in right.verdict.checks]
    assert "answer" in names and not any(name.startswith("measured") for name in names)
