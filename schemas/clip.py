"""A clip: a span of a source video, first as a plan, then as an mp4."""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache

from schemas.base import Record, content_id

NOT_MEASURED = -1.0
SILENCE_LUFS = -70.0
"""What silence is given as: the absolute gate of ITU-R BS.1770, below which nothing counts."""


class ShotType(StrEnum):
    """How long the shots of a clip are on average (average shot length, ASL: Salt 1974).

    Hollywood's films ranged from 8 to 11 s before 1960 and from 4 to 6 s around 2000 (Bordwell
    2006); the fastest stay just under 2 s. What lies beyond is out of the ordinary.
    """

    MONTAGE = "montage"
    """Less than 2 s a shot."""
    EDITED = "edited"
    """2 to 10 s a shot."""
    LONG_TAKE = "long_take"
    """More than 10 s a shot."""


class Measures(Record):
    """Plain numbers about the pictures and the sound of a clip, each 0..1 unless said."""

    brightness: float
    """Mean luma."""
    contrast: float
    """Mean over frames of the standard deviation of luma."""
    underexposed_share: float
    """Share of the picture, bars left out, that is nearly black (luma up to 15 of 255)."""
    overexposed_share: float
    """Share of the picture, bars left out, that is nearly white (luma from 240 of 255)."""
    sharpness: float
    """Median over sampled frames of the variance of the Laplacian of luma in 0..1."""
    motion: float
    """Mean over frames of the absolute luma difference to the frame before, cuts left out."""
    motion_speed: float
    """Mean length of the optical flow in picture widths per second; median over time."""
    motion_speed_p90: float
    """The same, 90th percentile over time."""
    black_share: float
    """Share of frames that are nearly black all over."""
    frozen_share: float
    """Share of moments, four a second, at which nothing moves or changes."""
    crop_box: tuple[float, float, float, float]
    """What is left of the picture without bars (letterbox, pillarbox): x1, y1, x2, y2."""
    text_share: float
    """Mean share of the picture that text covers; -1 = not measured."""
    loudness_lufs: float
    """Integrated loudness (ITU-R BS.1770) of two-channel sound; -70 = silence or no sound."""
    sound_share: float
    """Share of the time that is not silent."""
    average_shot_s: float
    """Mean length of the clip's shots, in seconds."""
    shot_type: ShotType

    @property
    def border_share(self) -> float:
        """Share of the picture that is bars."""
        x1, y1, x2, y2 = self.crop_box
        return round(1.0 - (x2 - x1) * (y2 - y1), 6)


class Clip(Record):
    """A span [start_s, end_s) of a video in source time, whole shots or an even part of one."""

    video_id: str
    start_s: float
    end_s: float
    start_frame: int
    end_frame: int
    """Rows [start_frame, end_frame) of the video's frame table."""
    shot_starts_s: tuple[float, ...]
    """Source times at which the clip's shots begin; the first is `start_s`."""
    measures: Measures
    copied: bool = False
    """Whether it begins and ends where its packets can be copied, and is to be made so."""

    @property
    def id(self) -> str:
        return clip_id(self.video_id, self.start_s, self.end_s)

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s


class Media(Record):
    """The mp4 of a clip. Clip time 0 is its first frame."""

    clip_id: str
    ref: str
    """Path in the memo store."""
    sha256: str
    size_bytes: int
    width_px: int
    height_px: int
    num_frames: int
    fps_num: int
    fps_den: int
    duration_s: float
    has_audio: bool
    copied: bool = False
    """Whether the pictures are the source's own packets, not encoded anew."""

    @property
    def half_frame_s(self) -> float:
        """How far past the end a time may lie and still mean the end: rounding, no more."""
        return self.fps_den / self.fps_num / 2


@lru_cache(maxsize=1024)
def clip_id(video_id: str, start_s: float, end_s: float) -> str:
    """Id of a clip, from its video and its span (microseconds)."""
    # On its way each clip is asked for it a hundred times.
    return content_id("c", video_id, round(start_s * 1_000_000), round(end_s * 1_000_000))
