"""A scene without files, and observations built by hand, for the tests of several rooms."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from schemas.case import Scene
from schemas.clip import Clip, Measures, Media, ShotType
from schemas.source import Source
from schemas.video import Decoded, Probe, Video
from transforms.annotate.observe import Observation, ShotFacts
from transforms.video.measures import COLOR_NAMES

MEASURES = Measures(
    brightness=0.5, contrast=0.2, underexposed_share=0.0, overexposed_share=0.0, sharpness=0.1,
    motion=0.1, motion_speed=0.1, motion_speed_p90=0.2, black_share=0.0, frozen_share=0.0,
    crop_box=(0.0, 0.0, 1.0, 1.0), text_share=-1.0, loudness_lufs=-20.0, sound_share=1.0,
    average_shot_s=2.5, shot_type=ShotType.EDITED,
)  # fmt: skip
PROBE = Probe(
    container="mp4",
    video_index=0,
    codec="h264",
    pix_fmt="yuv420p",
    width_px=320,
    height_px=180,
    rotation_deg=0,
    start_time_s=0.0,
    claimed_duration_s=10.0,
    container_duration_s=10.0,
    color_range=1,
    color_space=1,
    color_primaries=1,
    color_transfer=1,
    audio=None,
)


def plain_scene(
    number: int = 0,
    *,
    duration_s: float = 10.0,
    start_s: float = 0.0,
    fps: int = 25,
    **source: Any,
) -> Scene:
    """A scene of its own for each number; nothing lies in a store. `source`: more of the file."""
    name = f"v{number}.mp4"
    origin = Source(**({"uri": name, "location": name} | source))
    video = Video(sha256=f"{number:064x}", size_bytes=1, probe=PROBE, source=origin)
    frames = round(duration_s * fps)
    decoded = Decoded(
        video_id=video.id,
        num_frames=frames,
        first_pts_s=start_s,
        duration_s=duration_s,
        fps_num=fps,
        fps_den=1,
        is_vfr=False,
        truncated="",
        frames_ref="frames",
        samples_ref="samples",
    )
    clip = Clip(
        video_id=video.id,
        start_s=start_s,
        end_s=start_s + duration_s,
        start_frame=round(start_s * fps),
        end_frame=round(start_s * fps) + frames,
        shot_starts_s=(start_s,),
        measures=MEASURES,
    )
    media = Media(
        clip_id=clip.id,
        ref="clip.mp4",
        sha256=f"{number + 1:064x}",
        size_bytes=1,
        width_px=320,
        height_px=180,
        num_frames=frames,
        fps_num=fps,
        fps_den=1,
        duration_s=duration_s,
        has_audio=False,
    )
    return Scene(video=video, decoded=decoded, clip=clip, media=media)


def shot(
    start_s: float,
    end_s: float,
    *,
    brightness: float = 0.5,
    colors: Mapping[str, float] | None = None,
    motion: tuple[float, float] = (0.0, 0.0),
    steadiness: float = 1.0,
) -> ShotFacts:
    """Facts of a shot; the picture that no colour is named for is gray."""
    named = dict(colors or {})
    named["gray"] = named.get("gray", 0.0) + 1.0 - sum(named.values())
    return ShotFacts(
        start_s=start_s,
        end_s=end_s,
        brightness=brightness,
        colors=tuple(named.get(name, 0.0) for name in COLOR_NAMES),
        motion_x=motion[0],
        motion_y=motion[1],
        motion_steadiness=steadiness,
    )


def observed(*shots: ShotFacts) -> Observation:
    """The observation of these shots, which follow each other without gaps."""
    assert all(one.end_s == two.start_s for one, two in pairwise(shots))
    return Observation(duration_s=shots[-1].end_s, shots=shots)


def even(count: int, length_s: float = 1.0) -> Observation:
    """An observation of shots that differ in nothing."""
    return observed(
        *(shot(round(n * length_s, 3), round((n + 1) * length_s, 3)) for n in range(count))
    )
