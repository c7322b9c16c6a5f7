"""Frames of an mp4 in memory: only those asked for are decoded, with the times at which they show.

Which frames these are is decided by the presentation times of the file's packets, which are read
without decoding. Decoding then begins at the last keyframe before each of them.
"""

from __future__ import annotations

import io
import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from transforms.publish.check_media import OPEN_OPTIONS
from transforms.video.scaling import scaled_rgb

MAX_FRAME_PIXELS = 1 << 28
"""16,384 x 16,384; a file that says more is not decoded."""
MAX_MOMENTS = 1 << 22
"""Of a look by `fps`, 38 hours at 30 a second: two frames of a file can lie a century apart."""
SAME_S = 1e-6
"""Times closer than this are the same: less than a tick of a file, more than floats are off."""


@dataclass(frozen=True)
class Look:
    """Which frames of a clip to decode, and how large. Exactly one of the first three is set.

    `frames`: so many, from the middles of as many equal stretches of the clip's frames, so that its
    beginning and its end weigh the same; a clip with fewer shows some of them twice, so that there
    are always as many. `fps`: those on show at 0, 1/fps, 2/fps ... s,
    each once. `times_s`: those on show at these moments, one for each, in this order.
    """

    frames: int | None = None
    fps: float | None = None
    times_s: Sequence[float] | None = None
    size_px: tuple[int, int] | None = None
    """Width and height; 0 for one of them = in proportion to the other. None = as in the file."""

    def __post_init__(self) -> None:
        given = [one for one in (self.frames, self.fps, self.times_s) if one is not None]
        if len(given) != 1:
            raise ValueError("give one of frames, fps and times_s")
        if self.frames is not None and self.frames < 1:
            raise ValueError(f"frames is {self.frames}; at least 1")
        if self.fps is not None and not (0 < self.fps < math.inf):
            raise ValueError(f"fps is {self.fps}; it must be above 0")
        if self.size_px is not None and (min(self.size_px) < 0 or max(self.size_px) < 1):
            raise ValueError(f"size_px is {self.size_px}; width and height, one may be 0")


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """Decoded frames."""

    frames: NDArray[np.uint8]
    """(T, H, W, 3) RGB."""
    times_s: NDArray[np.float64]
    """(T,) presentation times in seconds from the clip's first frame."""


def decode(mp4: bytes, look: Look, *, from_start: bool = False) -> Shown:
    """The frames that `look` asks for; exactly those that decoding the whole file gives.

    `from_start`: decode from the beginning on, which a file needs whose keyframes don't cut it in
    independent pieces. Raises ValueError when the file can't be decoded, or a moment is before its
    first frame or after the end of its last.
    """
    try:
        with av.open(io.BytesIO(mp4), "r", format="mp4", options=OPEN_OPTIONS) as container:
            if not container.streams.video:
                raise ValueError("it has no video stream")
            stream: Any = container.streams.video[0]
            packets: list[Any] = [
                one for one in container.demux(stream) if one.size and one.pts is not None
            ]
            ticks = np.array(sorted({one.pts for one in packets if not one.is_discard}), np.int64)
            if not len(ticks):
                raise ValueError("it has no frame")
            unit = float(stream.time_base)
            times_s = np.array([float((tick - ticks[0]) * stream.time_base) for tick in ticks])
            last = max(one.duration or 0 for one in packets if one.pts == ticks[-1]) * unit
            chosen = choose(look, times_s, float(times_s[-1]) + last)
            frames = _decoded(stream, packets, ticks[chosen], look.size_px, from_start)
            return Shown(frames, times_s[chosen])
    except (av.FFmpegError, OSError) as error:
        raise ValueError(f"it does not decode as mp4: {error}") from error


def choose(look: Look, times_s: NDArray[np.float64], end_s: float) -> NDArray[np.intp]:
    """Numbers of the frames to show of a clip whose frames show at `times_s` (rising, from 0) and
    which ends at `end_s`. Raises ValueError when a moment is outside of [0, end_s]."""
    total = len(times_s)
    if look.frames is not None:
        # Frame n holds the stretch [n, n + 1) of the clip's `total`.
        return (2 * np.arange(look.frames) + 1) * total // (2 * look.frames)
    if look.fps is not None:
        count = max(math.ceil((end_s - SAME_S) * look.fps), 1)
        if count > MAX_MOMENTS:
            raise ValueError(f"it says that it lasts {end_s:g} s; too long for {look.fps:g} fps")
        return np.unique(_on_show(times_s, np.arange(count) / look.fps))
    moments = np.asarray(look.times_s, np.float64).reshape(-1)
    outside = moments[~((moments >= -SAME_S) & (moments <= end_s + SAME_S))]
    if len(outside):
        raise ValueError(f"{outside[0]:g} s is outside of the clip, which lasts {end_s:g} s")
    return _on_show(times_s, moments)


def _on_show(times_s: NDArray[np.float64], moments: NDArray[np.float64]) -> NDArray[np.intp]:
    """The last frames that begin at or before each moment."""
    return np.maximum(np.searchsorted(times_s, moments + SAME_S, side="right") - 1, 0)


def _decoded(
    stream: Any,
    packets: Sequence[Any],
    ticks: NDArray[np.int64],
    size_px: tuple[int, int] | None,
    from_start: bool,
) -> NDArray[np.uint8]:
    """The frames at these ticks, in this order."""
    if stream.width * stream.height > MAX_FRAME_PIXELS:
        raise ValueError(f"its frames have {stream.width}x{stream.height} pixels")
    width_px, height_px = _size(size_px, stream.width, stream.height)
    frames = np.empty((len(ticks), height_px, width_px, 3), np.uint8)
    places: dict[int, list[int]] = {}
    for place, tick in enumerate(ticks.tolist()):
        places.setdefault(tick, []).append(place)
    for tick, frame in _wanted(stream.codec_context, packets, sorted(places), from_start):
        if not frame.is_corrupt:
            frames[places.pop(tick)] = scaled_rgb(frame, width_px, height_px)
    if places:
        missing_s = float((min(places) - min(one.pts for one in packets)) * stream.time_base)
        raise ValueError(f"its frame at {missing_s:g} s can't be decoded")
    return frames


def _size(size_px: tuple[int, int] | None, width_px: int, height_px: int) -> tuple[int, int]:
    if size_px is None:
        return width_px, height_px
    wide, high = size_px
    return (
        wide or max(round(high * width_px / height_px), 1),
        high or max(round(wide * height_px / width_px), 1),
    )


def _wanted(
    codec: Any, packets: Sequence[Any], ticks: Sequence[int], from_start: bool
) -> Iterator[tuple[int, Any]]:
    """The frames at these ticks (rising), each with its tick."""
    codec.thread_count = 1  # loaders decode in as many processes as there is use for
    for begin, wanted in _by_keyframe(packets, ticks, from_start):
        left = set(wanted)
        codec.flush_buffers()
        for frame in _frames(codec, packets[begin:], left, lean=not from_start):
            if frame.pts in left:
                left.remove(frame.pts)
                yield frame.pts, frame
            if not left:
                break


def _by_keyframe(
    packets: Sequence[Any], ticks: Sequence[int], from_start: bool
) -> list[tuple[int, list[int]]]:
    """Ticks grouped by the packet from which on they are decoded: that of the last keyframe before,
    which our encoder makes the beginning of a closed group of pictures."""
    begins = [(one.pts, number) for number, one in enumerate(packets) if one.is_keyframe]
    if from_start or not begins:
        return [(0, list(ticks))]
    begins.sort()
    keys = [pts for pts, _ in begins]
    groups = groupby(ticks, lambda tick: bisect_right(keys, tick) - 1)
    return [(begins[key][1] if key >= 0 else 0, list(some)) for key, some in groups]


def _frames(codec: Any, packets: Iterable[Any], wanted: set[int], *, lean: bool) -> Iterator[Any]:
    """Decoded frames in order of time. `lean`: but for the wanted ones, only frames that others
    refer to (H.264)."""
    for packet in packets:
        if lean:
            codec.skip_frame = "DEFAULT" if packet.pts in wanted else "NONREF"
        yield from codec.decode(packet)
    yield from codec.decode(None)
