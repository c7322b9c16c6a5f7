"""Cases, rollouts and replies built by hand: a clip of 8 s at 25 fps, and what is said of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from schemas.case import Attempt, Case, Scene
from schemas.claim import CheckedClaim
from schemas.clip import Clip, Measures, Media, ShotType
from schemas.rollout import Rollout, TeacherFacts
from schemas.source import Source
from schemas.task import CHOICE_KINDS, Origin, Task, TaskKind
from schemas.verdict import check, judge
from schemas.video import Decoded, Probe, Video
from transforms.annotate.tasks import make_answer
from transforms.annotate.teacher import Reply, Request

TEACHER = TeacherFacts(
    kind="openai", model="m", revision="", prompt_sha256="", params_json="{}", seed=0
)
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
OPTIONS = ("it jumps", "it falls", "it sleeps")


def media(fps: int = 25, frames: int = 200) -> Media:
    return Media(
        clip_id="c", ref="clip.mp4", sha256="1" * 64, size_bytes=9, width_px=320, height_px=180,
        num_frames=frames, fps_num=fps, fps_den=1, duration_s=frames / fps, has_audio=False,
    )  # fmt: skip


def scene() -> Scene:
    video = Video(sha256="0" * 64, size_bytes=9, probe=PROBE, source=Source(uri="v", location="v"))
    decoded = Decoded(
        video_id=video.id, num_frames=200, first_pts_s=0.0, duration_s=8.0, fps_num=25, fps_den=1,
        is_vfr=False, truncated="", frames_ref="f", samples_ref="s",
    )  # fmt: skip
    clip = Clip(
        video_id=video.id, start_s=0.0, end_s=8.0, start_frame=0, end_frame=200,
        shot_starts_s=(0.0,), measures=MEASURES,
    )  # fmt: skip
    return Scene(video=video, decoded=decoded, clip=clip, media=media())


def case(kind: TaskKind = TaskKind.MCQ, gold: str = "", tolerance: float = -1.0) -> Case:
    """A case without attempts."""
    options = OPTIONS if kind in CHOICE_KINDS else ()
    where = scene()
    task = Task(
        clip_id=where.clip.id, kind=kind, question="What does it do?", options=options,
        origin=Origin.GIVEN, gold=make_answer(kind, gold, options, tolerance) if gold else None,
    )  # fmt: skip
    return Case(scene=where, task=task)


def rollout(reasoning: str, answer: str = "B", **fields: Any) -> Rollout:
    return Rollout(
        task_id="t", sample=0, round=0, reasoning=reasoning, answer_text=answer, teacher=TEACHER,
        raw_reply="", **fields,
    )  # fmt: skip


def attempt(made: Rollout, claims: Sequence[CheckedClaim] = (), **fields: Any) -> Attempt:
    """An attempt that passed what needs no model."""
    verdict = judge(made.id, (check("format", 1.0, 1.0),))
    return Attempt(rollout=made, verdict=verdict, claims=tuple(claims), **fields)


def says(shown: str) -> str:
    return json.dumps({"seen": "something", "shown": shown})


def replies(requests: Sequence[Request], text: Callable[[Request], str]) -> dict[str, Reply]:
    """A reply to each request; a text of "" stands for a failure."""
    made = {}
    for request in requests:
        said = text(request)
        made[request.id] = Reply(request_id=request.id, text=said, error="" if said else "no")
    return made
