"""Cases built by hand, with attempts whose verdicts are what a test wants them to be."""

from __future__ import annotations

from typing import Any

from schemas.case import Attempt, Case, Scene
from schemas.clip import Clip, Measures, Media, ShotType
from schemas.rollout import Box, Rollout, Segment, TeacherFacts
from schemas.source import Source
from schemas.task import CHOICE_KINDS, Origin, Task, TaskKind
from schemas.verdict import check, judge
from schemas.video import Decoded, Probe, Video
from transforms.annotate.tasks import make_answer
from transforms.verify.checks import answer_check

OPTIONS = ("zebra", "walrus", "falcon")
PROBE = Probe(
    container="mp4", video_index=0, codec="h264", pix_fmt="yuv420p", width_px=320, height_px=180,
    rotation_deg=0, start_time_s=0.0, claimed_duration_s=10.0, container_duration_s=10.0,
    color_range=1, color_space=1, color_primaries=1, color_transfer=1, audio=None,
)  # fmt: skip
MEASURES = Measures(
    brightness=0.5, contrast=0.2, underexposed_share=0.0, overexposed_share=0.0, sharpness=0.1,
    motion=0.1, motion_speed=0.1, motion_speed_p90=0.2, black_share=0.0, frozen_share=0.0,
    crop_box=(0.0, 0.0, 1.0, 1.0), text_share=-1.0, loudness_lufs=-20.0, sound_share=1.0,
    average_shot_s=2.5, shot_type=ShotType.EDITED,
)  # fmt: skip
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
    origin = Source(uri=f"films/v{number}.mp4", location="x", **source)
    video = Video(sha256=f"{number:064x}", size_bytes=9, probe=PROBE, source=origin)
    decoded = Decoded(
        video_id=video.id, num_frames=250, first_pts_s=0.0, duration_s=10.0, fps_num=25, fps_den=1,
        is_vfr=False, truncated="", frames_ref="f", samples_ref="s",
    )  # fmt: skip
    clip = Clip(
        video_id=video.id, start_s=2.0, end_s=10.0, start_frame=50, end_frame=250,
        shot_starts_s=(2.0,), measures=MEASURES,
    )  # fmt: skip
    media = Media(
        clip_id=clip.id, ref="cut/clip.mp4", sha256=f"{number + 1:064x}", size_bytes=9,
        width_px=320, height_px=180, num_frames=200, fps_num=25, fps_den=1, duration_s=8.0,
        has_audio=False,
    )  # fmt: skip
    return Scene(video=video, decoded=decoded, clip=clip, media=media)


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
) -> Attempt:
    """An attempt that fails exactly the checks named; without an answer it gives the gold one."""
    answer = answer or GOLD[task.kind]
    rollout = Rollout(
        task_id=task.id,
        sample=sample,
        round=round,
        reasoning=f"At 1.00 s it is seen. So the answer is {answer}.",
        answer_text=answer,
        segments=(Segment(label="seen", start_s=1.0, end_s=8.0),),
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
    assert set(failed) <= set(known)
    checks = tuple(check(name, given[name], least) for name, least in known.items())
    return Attempt(rollout=rollout, verdict=judge(rollout.id, checks))


def make_case(task: Task, scene: Scene, *attempts: Attempt) -> Case:
    return Case(scene=scene, task=task, attempts=attempts)
