"""A clip: a span of a source video, first as a plan, then as an mp4."""

from __future__ import annotations

from schemas.base import Record, content_id


class Measures(Record):
    """Plain numbers about the pictures of a clip, each 0..1 unless said."""

    brightness: float
    """Mean luma."""
    contrast: float
    """Mean over frames of the standard deviation of luma."""
    sharpness: float
    """Median over sampled frames of the variance of the Laplacian of luma in 0..1."""
    motion: float
    """Mean over frames of the absolute luma difference to the frame before, cuts left out."""
    black_share: float
    """Share of frames whose mean luma is below 0.06."""
    frozen_share: float
    """Share of frames that do not differ from the frame before."""


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

    @property
    def half_frame_s(self) -> float:
        """How far past the end a time may lie and still mean the end: rounding, no more."""
        return self.fps_den / self.fps_num / 2


def clip_id(video_id: str, start_s: float, end_s: float) -> str:
    """Id of a clip, from its video and its span (microseconds)."""
    return content_id("c", video_id, round(start_s * 1_000_000), round(end_s * 1_000_000))
