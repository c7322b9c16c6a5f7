"""What the cutting process is asked and what it answers: JSON, one line per finished clip."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass

AUDIO_RATE_HZ = 48_000


@dataclass(frozen=True)
class ClipRequest:
    """One mp4 to be made."""

    file: str
    start_row: int
    counts: list[int]
    """How often each source frame from `start_row` on is shown."""
    start_sample: int
    """Source time of the first sample of sound, in 1/48000 s."""
    end_sample: int
    """Where its sound ends: the last tick of the pictures may reach beyond, in silence."""


@dataclass(frozen=True)
class CutRequest:
    """All clips of a video that are to be made, in order of time and without overlap."""

    source: str
    protocols: str
    demuxers: str
    decoder_threads: int
    scale_flags: str
    video_index: int
    audio_index: int
    """-1 where there is no sound."""
    start_time_s: float
    times_us: list[int]
    """Source times of all frames, microseconds: the rows of the frame table."""
    size: tuple[int, int]
    rate: tuple[int, int]
    full_range: bool
    copy_delay_us: int | None
    """Copy the packets of the pictures, rows being packets then (see `copying`); how far decoding
    runs ahead of showing. None: encode."""
    encoder: dict[str, str]
    muxer: dict[str, str]
    clips: list[ClipRequest]

    def to_json(self) -> str:
        """One line."""
        return json.dumps(dataclasses.asdict(self)) + "\n"

    @classmethod
    def from_json(cls, text: str) -> CutRequest:
        values = json.loads(text)
        clips = [ClipRequest(**clip) for clip in values.pop("clips")]
        return cls(clips=clips, **values)


@dataclass(frozen=True)
class ClipReport:
    """What became of one clip."""

    number: int
    num_frames: int = 0
    """As counted in the mp4; in a copy, those that decode whole."""
    has_audio: bool = False
    failed: str = ""
    """Why there is no mp4, in words."""
    errno: int = 0
    """What the system said, if it did."""

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> ClipReport:
        return cls(**json.loads(text))


def reports(lines: Iterator[bytes]) -> Iterator[ClipReport]:
    """The reports in what the process printed; a line that was cut off by its death is none."""
    for line in lines:
        if line.endswith(b"\n"):
            yield ClipReport.from_json(line)
