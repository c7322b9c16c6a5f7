"""Videos cut into scenes whose pictures are known, and clips with captions given by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from plain_scene import plain_scene

from schemas.case import Scene
from schemas.description import Caption, Description
from transforms.annotate.teacher import Reply, Request
from transforms.memo import MemoStore
from transforms.video.measures import COLOR_NAMES, FRAME_SCHEMA, write_table

FPS = 25
COLORS = ("red", "green", "blue", "white", "yellow")


def measured_video(store: MemoStore, clips: int, shots: int, shot_s: float = 2.0) -> list[Scene]:
    """The scenes of a video from 100 s on; each clip has so many shots, each of one colour."""
    rows = np.arange(round(clips * shots * shot_s * FPS))
    part = rows // round(shot_s * FPS)
    colors = np.zeros((len(rows), len(COLOR_NAMES)))
    colors[rows, [COLOR_NAMES.index(COLORS[one % len(COLORS)]) for one in part]] = 1.0
    columns: dict[str, Any] = {
        "time_s": 100.0 + rows / FPS,
        "shot_score": np.where(rows % round(shot_s * FPS), 0.0, 99.0),
        "luma": np.full(len(rows), 0.5),
        "motion_x": np.full(len(rows), -0.25),
        "motion_y": np.zeros(len(rows)),
    }
    empty = np.full(len(rows), np.nan)
    flat = pa.array(colors.reshape(-1).astype(np.float32))
    arrays = [
        pa.FixedSizeListArray.from_arrays(flat, len(COLOR_NAMES))
        if field.name == "colors"
        else pa.array(columns.get(field.name, empty), field.type)
        for field in FRAME_SCHEMA
    ]
    write_table(pa.Table.from_arrays(arrays, schema=FRAME_SCHEMA), store.path("frames.arrow"))
    clip_s = shots * shot_s
    return [
        video_scene(
            100.0 + number * clip_s,
            clip_s,
            video_s=clips * clip_s,
            start_frame=round(number * clip_s * FPS),
            shot_starts_s=tuple(100.0 + number * clip_s + shot * shot_s for shot in range(shots)),
        )
        for number in range(clips)
    ]


def video_scene(
    start_s: float,
    duration_s: float = 10.0,
    captions: Sequence[Caption] = (),
    *,
    video_s: float = 600.0,
    start_frame: int = 0,
    shot_starts_s: Sequence[float] = (),
) -> Scene:
    """A clip of one and the same video, which begins at 100 s."""
    scene = plain_scene(start_s=start_s, duration_s=duration_s, fps=FPS)
    clip = scene.clip.model_copy(
        update={
            "start_frame": start_frame,
            "end_frame": start_frame + round(duration_s * FPS),
            "shot_starts_s": tuple(shot_starts_s) or (start_s,),
        }
    )
    facts = {"first_pts_s": 100.0, "duration_s": video_s, "frames_ref": "frames.arrow"}
    return scene.model_copy(
        update={
            "clip": clip,
            "media": scene.media.model_copy(update={"clip_id": clip.id}),
            "decoded": scene.decoded.model_copy(update=facts),
            "description": Description(captions=tuple(captions)),
        }
    )


def told_scene(start_s: float, text: str = "a dog", **fields: Any) -> Scene:
    """A clip of ten seconds with one caption, from its second to its third second."""
    return video_scene(start_s, captions=[Caption(start_s=2.0, end_s=3.0, text=text)], **fields)


class Talker:
    """Answers requests by a rule, notes them turn by turn, and gives replies in another order."""

    def __init__(self, rule: Callable[[Request], str | Exception]) -> None:
        self._rule = rule
        self.turns: list[list[Request]] = []

    def __call__(self, requests: Sequence[Request]) -> Mapping[str, Reply]:
        self.turns.append(list(requests))
        return {one.id: self._reply(one) for one in reversed(requests)}

    def _reply(self, request: Request) -> Reply:
        said = self._rule(request)
        if isinstance(said, Exception):
            return Reply(request_id=request.id, error=str(said))
        return Reply(request_id=request.id, text=said)
