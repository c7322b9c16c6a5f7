"""A source video: what its bytes are and what decodes from them."""

from __future__ import annotations

from schemas.base import Record, content_id
from schemas.source import Source


class AudioStream(Record):
    """The audio stream that clips keep."""

    index: int
    codec: str
    sample_rate_hz: int
    channels: int


class SubtitleStream(Record):
    """A stream of subtitles in the container."""

    index: int
    codec: str
    language: str
    """As the container has it; "" if it does not say."""
    is_default: bool
    is_forced: bool
    """Whether it holds only what everybody needs, such as foreign words and signs."""


class Probe(Record):
    """What the container claims. Claims, not truth: only decoding tells (`Decoded`)."""

    container: str
    video_index: int
    codec: str
    pix_fmt: str
    width_px: int
    height_px: int
    """Size as shown: square pixels, after rotation."""
    rotation_deg: int
    start_time_s: float
    """Presentation time at which the container starts; source times count from here."""
    claimed_duration_s: float
    """Of the video stream; -1 when the stream does not say."""
    container_duration_s: float
    """Of the longest stream; -1 when the container does not say."""
    color_range: int
    color_space: int
    color_primaries: int
    color_transfer: int
    """Colour facts as code points of ITU-T H.273; 2 = unspecified (range: 0; 1 = tv, 2 = pc)."""
    audio: AudioStream | None
    subtitles: tuple[SubtitleStream, ...] = ()
    ends_early: str = ""
    """How the file ends before its pictures and sound do, in words; empty if nothing says so."""


class Video(Record):
    """An input that can be opened: its bytes, its container's claims, its origin."""

    sha256: str
    size_bytes: int
    probe: Probe
    source: Source
    changed_ns: int = 0
    """When its file was last changed, as its file system says (ns of Unix time); 0 where nobody
    looked. Never published, and part of no key."""

    @property
    def id(self) -> str:
        return video_id(self.sha256)


class Decoded(Record):
    """What one decode pass over a whole video found; tables are in the memo store."""

    video_id: str
    num_frames: int
    first_pts_s: float
    duration_s: float
    """From the first frame's presentation time to the end of the last frame."""
    fps_num: int
    fps_den: int
    """The constant frame rate that fits the presentation times best; clips are cut at it."""
    is_vfr: bool
    truncated: str
    """What is missing, in words; empty when the file is whole. The rest is what is told of here."""
    damaged_frames: int = 0
    """How many frames the decoder had to patch up, as it says itself."""
    frames_ref: str
    """Arrow file in the memo store: one row per frame (`transforms.video.measures`)."""
    samples_ref: str
    """Arrow file in the memo store: sampled frames as JPEG (`transforms.video.samples`)."""
    loudness_ref: str = ""
    """Arrow file in the memo store: loudness of sound (`transforms.video.sound`); "" if none."""
    text_ref: str = ""
    """Arrow file in the memo store: share of text (`transforms.video.overlay_text`); "" if off."""


def video_id(sha256: str) -> str:
    """Id of a video, from the SHA-256 of its bytes."""
    return content_id("v", sha256)
