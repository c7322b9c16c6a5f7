"""Clips whose frames tell which clip and which frame they are, for tests of teachers.

Each frame is a 4x4 board of black and white fields: 16 bits, the clip's code above the frame's
number. The fields survive H.264, scaling and JPEG, so that whoever is shown a frame can say
exactly what it was shown.
"""

from __future__ import annotations

import hashlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from schemas.case import Scene
from schemas.clip import Clip, Measures, Media, ShotType
from schemas.task import Answer, Origin, Task, TaskKind
from schemas.video import Decoded, Video
from transforms.memo import MemoStore

FIELDS = 4


def board(code: int, number: int, width_px: int, height_px: int) -> NDArray[np.uint8]:
    """The frame `number` of the clip `code`: (H, W, 3)."""
    bits = [((code << 8 | number) >> bit) & 1 for bit in range(FIELDS * FIELDS)]
    fields = np.array(bits, dtype=np.uint8).reshape(FIELDS, FIELDS) * 200 + 28
    high = fields.repeat(height_px // FIELDS, axis=0).repeat(width_px // FIELDS, axis=1)
    return np.stack([high] * 3, axis=-1)


def read_board(pixels: NDArray[np.uint8]) -> tuple[int, int]:
    """(code, number) of a frame (H, W, 3) of any size."""
    height, width = pixels.shape[:2]
    value = 0
    for bit in range(FIELDS * FIELDS):
        row, column = divmod(bit, FIELDS)
        y, x = int((row + 0.5) * height / FIELDS), int((column + 0.5) * width / FIELDS)
        value |= int(pixels[y - 1 : y + 2, x - 1 : x + 2].mean() > 128) << bit
    return value >> 8, value & 0xFF


def write_clip(
    path: Path, code: int, num_frames: int, fps: Fraction, width_px: int, height_px: int
) -> None:
    """An H.264 mp4 of a constant frame rate, with B-frames, so that order is not file order."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "12", "bf": "3"})
        stream.width, stream.height, stream.pix_fmt = width_px, height_px, "yuv420p"
        for number in range(num_frames):
            picture = board(code, number, width_px, height_px)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, 1 / fps
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def make_scene(
    store: MemoStore,
    code: int,
    *,
    num_frames: int = 24,
    fps: Fraction = Fraction(8),
    width_px: int = 128,
    height_px: int = 96,
) -> Scene:
    """A scene whose clip lies in the store."""
    entry = store.entry("test_clip", code, num_frames, str(fps), width_px, height_px)
    if entry.get() is None:
        with entry.building() as folder:
            write_clip(folder / "clip.mp4", code, num_frames, fps, width_px, height_px)
            entry.finish(folder, {})
    ref = entry.ref("clip.mp4")
    content = store.path(ref).read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    duration_s = float(num_frames / fps)
    measures = Measures(
        brightness=0.5, contrast=0.2, underexposed_share=0.0, overexposed_share=0.0, sharpness=0.1,
        motion=0.1, motion_speed=0.1, motion_speed_p90=0.2, black_share=0.0, frozen_share=0.0,
        crop_box=(0.0, 0.0, 1.0, 1.0), text_share=-1.0, loudness_lufs=-20.0, sound_share=1.0,
        average_shot_s=2.5, shot_type=ShotType.EDITED,
    )  # fmt: skip
    # What is known of the source is of no matter to a teacher.
    known: dict[str, Any] = {"sha256": sha256}
    video = Video.model_construct(**known)
    known = {"video_id": video.id}
    decoded = Decoded.model_construct(**known)
    clip = Clip(
        video_id=video.id, start_s=0.0, end_s=duration_s, start_frame=0, end_frame=num_frames,
        shot_starts_s=(0.0,), measures=measures,
    )  # fmt: skip
    media = Media(
        clip_id=clip.id, ref=ref, sha256=sha256, size_bytes=len(content), width_px=width_px,
        height_px=height_px, num_frames=num_frames, fps_num=fps.numerator,
        fps_den=fps.denominator, duration_s=duration_s, has_audio=False,
    )  # fmt: skip
    return Scene(video=video, decoded=decoded, clip=clip, media=media)


def make_task(
    scene: Scene,
    question: str = "What comes first?",
    *,
    kind: TaskKind = TaskKind.FREE_TEXT,
    options: tuple[str, ...] = (),
    gold: str = "",
) -> Task:
    """A task about a scene, with the expected answer if given."""
    return Task(
        clip_id=scene.clip.id,
        kind=kind,
        question=question,
        options=options,
        gold=Answer(kind=kind, text=gold, options=options) if gold else None,
        origin=Origin.GIVEN,
        evidence_s=((0.123, 0.456),),
    )
