"""A clip that nobody has cut yet: what prompts are reckoned with before there are real ones."""

from __future__ import annotations

import numpy as np

from pipelines.config import Config
from schemas.case import Scene
from schemas.clip import Clip, Measures, Media, ShotType
from schemas.description import Caption, Description
from schemas.source import Source
from schemas.task import Origin, Task, TaskKind
from schemas.video import Decoded, Probe, Video
from schemas.view import WHOLE, Condition, View
from transforms.annotate.seeing import Frames
from transforms.annotate.teacher import Request, TeacherSettings
from transforms.annotate.views import LEAST_EVIDENCE
from transforms.annotate.visual_tokens import plan_frames

FPS = 30
MOMENT_S = 0.4
"""Around a claimed time."""
SECONDS_PER_CAPTION = 5.0
CAPTION = "A person in a red coat walks past a shop window and turns to the left."
QUESTION = "Which of these things does the person in the red coat do after passing the shop?"
OPTIONS = ("turns to the left", "turns to the right", "stops and waits", "goes into the shop")


def typical_scene(duration_s: float, width_px: int, height_px: int) -> Scene:
    """A clip of this length and size, with as many captions as a model would write."""
    source = Source(uri="clip.mp4", location="clip.mp4")
    probe = Probe(
        container="mp4",
        video_index=0,
        codec="h264",
        pix_fmt="yuv420p",
        width_px=width_px,
        height_px=height_px,
        rotation_deg=0,
        start_time_s=0.0,
        claimed_duration_s=duration_s,
        container_duration_s=duration_s,
        color_range=0,
        color_space=2,
        color_primaries=2,
        color_transfer=2,
        audio=None,
    )
    video = Video(sha256="0" * 64, size_bytes=1, probe=probe, source=source)
    frames = max(round(duration_s * FPS), 1)
    decoded = Decoded(
        video_id=video.id,
        num_frames=frames,
        first_pts_s=0.0,
        duration_s=duration_s,
        fps_num=FPS,
        fps_den=1,
        is_vfr=False,
        truncated="",
        frames_ref="",
        samples_ref="",
    )
    clip = Clip(
        video_id=video.id,
        start_s=0.0,
        end_s=duration_s,
        start_frame=0,
        end_frame=frames,
        shot_starts_s=(0.0,),
        measures=_MEASURES,
    )
    media = Media(
        clip_id=clip.id,
        ref="",
        sha256="0" * 64,
        size_bytes=1,
        width_px=width_px,
        height_px=height_px,
        num_frames=frames,
        fps_num=FPS,
        fps_den=1,
        duration_s=duration_s,
        has_audio=False,
    )
    captions = tuple(
        Caption(start_s=start_s, end_s=min(start_s + SECONDS_PER_CAPTION, duration_s), text=CAPTION)
        for start_s in np.arange(0.0, duration_s, SECONDS_PER_CAPTION).tolist()
    )
    told = Description(captions=captions, event=f"{CAPTION} " * 4, story=f"{CAPTION} " * 6)
    return Scene(video=video, decoded=decoded, clip=clip, media=media, description=told)


_MEASURES = Measures(
    brightness=0.5, contrast=0.2, underexposed_share=0.0, overexposed_share=0.0, sharpness=0.1,
    motion=0.1, motion_speed=0.1, motion_speed_p90=0.2, black_share=0.0, frozen_share=0.0,
    crop_box=(0.0, 0.0, 1.0, 1.0), text_share=-1.0, loudness_lufs=-20.0, sound_share=1.0,
    average_shot_s=5.0, shot_type=ShotType.EDITED,
)  # fmt: skip


def describe_request(scene: Scene) -> Request:
    return Request(scene=scene)


def summarize_request(scene: Scene, clips: int) -> Request:
    """Of an event of so many clips like this one."""
    return Request(captions=scene.description.captions * clips)


def propose_request(scene: Scene, config: Config) -> Request:
    kinds = tuple(kind for kind, weight in config.tasks.mix.items() if weight > 0)
    return Request(scene=scene, wanted=config.tasks.per_clip, kinds=kinds)


def solve_request(scene: Scene, critique: tuple[str, ...] = ()) -> Request:
    return Request(scene=scene, task=_task(scene), critique=critique)


def check_request(scene: Scene) -> Request:
    """About a claim of a moment."""
    moment = View(condition=Condition.EVIDENCE, spans_s=((0.0, MOMENT_S),))
    return Request(scene=scene, statement=f"At 0.20 s: {CAPTION}", view=moment)


def conclude_request(scene: Scene) -> Request:
    return Request(task=_task(scene), reasoning=f"{CAPTION} " * 3)


def _task(scene: Scene) -> Task:
    return Task(
        clip_id=scene.clip.id,
        kind=TaskKind.MCQ,
        question=QUESTION,
        options=OPTIONS,
        origin=Origin.PROPOSED,
    )


def unseen_frames(
    scene: Scene,
    settings: TeacherSettings,
    times_s: tuple[float, ...] | None = None,
    view: View = WHOLE,
) -> Frames:
    """What `look` would show of a clip, by number, size and even times; its pixels are black.

    Of cited spans as few as are shown of a moment; of any other view as much as of the whole clip.
    """
    media = scene.media
    plan = plan_frames(
        settings, media.duration_s, media.num_frames, media.width_px, media.height_px
    )
    if view.condition is Condition.EVIDENCE:
        times_s = tuple(
            round(MOMENT_S * place / LEAST_EVIDENCE, 6) for place in range(LEAST_EVIDENCE)
        )
    if times_s is None:
        step_s = media.duration_s / plan.number
        times_s = tuple(round(place * step_s, 6) for place in range(plan.number))
    shape = (len(times_s), plan.height_px, plan.width_px, 3)
    return Frames(
        # One zero stands for all: nothing is allocated.
        pixels=np.broadcast_to(np.uint8(0), shape),
        times_s=times_s,
        fps=media.fps_num / media.fps_den,
        num_frames=media.num_frames,
        duration_s=media.duration_s,
    )
