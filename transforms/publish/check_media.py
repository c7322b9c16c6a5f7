"""Does the mp4 of a sample hold what the sample says? Read packet by packet, nothing decoded."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import IO, Any

import av

from schemas.sample import SampleMedia

# The demuxer is named, so that a playlist called .mp4 is not followed, and no protocol is allowed,
# so that no reference inside the file opens another one.
OPEN_OPTIONS = {"protocol_whitelist": "none", "enable_drefs": "0"}


@dataclass(frozen=True)
class MediaFacts:
    """What an mp4 holds, from its packets."""

    width_px: int
    height_px: int
    num_frames: int
    first_s: float
    duration_s: float
    """From the first frame to the end of the last."""
    fps: Fraction
    has_audio: bool


def media_facts(file: IO[bytes] | io.RawIOBase) -> MediaFacts:
    """Read an mp4's streams and packets. Raises ValueError when it is none or has no video."""
    try:
        with av.open(file, mode="r", format="mp4", options=OPEN_OPTIONS) as container:
            if not container.streams.video:
                raise ValueError("it has no video stream")
            stream = container.streams.video[0]
            spans = [
                (packet.pts, packet.pts + (packet.duration or 0))
                for packet in container.demux(stream)
                if packet.size and packet.pts is not None
            ]
            if not spans or stream.time_base is None:
                raise ValueError("it has no frame")
            first = min(start for start, _ in spans)
            return MediaFacts(
                width_px=stream.width,
                height_px=stream.height,
                num_frames=len(spans),
                first_s=float(first * stream.time_base),
                duration_s=float((max(end for _, end in spans) - first) * stream.time_base),
                fps=Fraction(stream.average_rate or 0),
                has_audio=bool(container.streams.audio),
            )
    except (av.FFmpegError, OSError) as error:
        raise ValueError(f"it does not open as mp4: {error}") from error


def media_faults(media: SampleMedia, facts: MediaFacts) -> Iterator[tuple[str, str]]:
    """Where the sample and its mp4 disagree: (field, what is wrong)."""
    exact: tuple[tuple[str, Any, Any], ...] = (
        ("width_px", media.width_px, facts.width_px),
        ("height_px", media.height_px, facts.height_px),
        ("num_frames", media.num_frames, facts.num_frames),
        ("has_audio", media.has_audio, facts.has_audio),
    )
    for name, stated, found in exact:
        if stated != found:
            yield name, f"says {stated}, the mp4 has {found}"
    half_frame_s = half_frame(media)
    if abs(media.duration_s - facts.duration_s) > half_frame_s:
        yield "duration_s", f"says {media.duration_s:g}, the mp4 lasts {facts.duration_s:g}"
    if abs(facts.first_s) > half_frame_s:
        yield "frame_pts_s", f"the mp4 begins at {facts.first_s:g} s; clip time begins at 0"
    rate = media.fps_num / media.fps_den if media.fps_den > 0 else 0.0
    if media.is_cfr and abs(rate - float(facts.fps)) > 1e-3 * max(rate, 1.0):
        yield "fps_num", f"says {media.fps_num}/{media.fps_den}, the mp4 has {facts.fps}"


def half_frame(media: SampleMedia) -> float:
    """Half the time of a frame, in seconds; 0 where the stated rate makes no sense."""
    return media.fps_den / media.fps_num / 2 if min(media.fps_num, media.fps_den) > 0 else 0.0
