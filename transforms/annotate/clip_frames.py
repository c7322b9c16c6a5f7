"""Decoding chosen frames of a clip's mp4, and no more of it than they need."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import groupby
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from schemas.clip import Media
from transforms.video.decode import DECODER_THREADS
from transforms.video.scaling import scaled_rgb

Box = tuple[float, float, float, float]
CELL_PX = 28
"""Sides of a part that is shown are multiples of this, like those of whole frames."""
LEAST_PX = 8
"""A box narrower than this is widened: so little shows nothing."""
Shown = tuple[float, NDArray[np.uint8]]
"""Presentation time in seconds from the clip's first frame, and pixels (H, W, 3) RGB."""


def decode_frames(
    path: Path,
    media: Media,
    numbers: Sequence[int],
    size_px: tuple[int, int],
    box: Box | tuple[()] = (),
) -> list[Shown]:
    """The frames of these numbers (0 = first; rising, distinct), scaled to (width, height).

    Of a part of the frame (`box`, corners relative to the frame) what is shown fits into that size.
    They are exactly those that decoding all of the file gives. Raises ValueError if the file can't
    be decoded or lacks one of them.
    """
    found: dict[int, Shown] = {}
    try:
        # Only mp4: a clip's file is of our own making, and nothing else may be opened in its place.
        with av.open(str(path), format="mp4", options={"protocol_whitelist": "file"}) as container:
            stream = container.streams.video[0]
            clock = _Clock(stream, Fraction(media.fps_num, media.fps_den))
            for number, frame in _wanted(container, stream, clock, media, numbers):
                found[number] = clock.seconds(frame.pts), _rgb(frame, size_px, box)
    except (av.FFmpegError, OSError, IndexError) as error:
        raise ValueError(f"the clip's file can't be decoded: {type(error).__name__}") from error
    for number in numbers:
        if number not in found:
            raise ValueError(
                f"the clip's file can't be decoded: frame {number} of {media.num_frames} is missing"
            )
    return [found[number] for number in numbers]


class _Clock:
    """Between the PTS of a stream and the numbers of its frames."""

    def __init__(self, stream: Any, rate: Fraction) -> None:
        self._start: int = stream.start_time or 0
        self._unit: Fraction = stream.time_base
        self._rate = rate

    def number(self, pts: int) -> int:
        """The frame with this PTS; a copy's times can be rounded to milliseconds."""
        return round((pts - self._start) * self._unit * self._rate)

    def pts(self, number: int) -> int:
        return self._start + round(number / self._rate / self._unit)

    def seconds(self, pts: int) -> float:
        """Clip time."""
        return float((pts - self._start) * self._unit)


def _wanted(
    container: Any, stream: Any, clock: _Clock, media: Media, numbers: Sequence[int]
) -> Iterator[tuple[int, Any]]:
    # The cutter's files are one slice per frame, which slice threads can't share out.
    stream.thread_type, stream.thread_count = "AUTO", DECODER_THREADS
    # Our encoder closes every group of pictures, so decoding can begin at any keyframe. What was
    # copied from a source can be of any kind: only from its beginning is it sure to be right.
    jumps = not media.copied
    for run in _by_keyframe(stream, clock, numbers) if jumps else [list(numbers)]:
        if jumps and run[0] > 0:
            container.seek(clock.pts(run[0]), stream=stream)
        left = set(run)
        for frame in _decoded(container, stream, clock, left, lean=jumps):
            number = clock.number(frame.pts)
            if number in left:
                left.remove(number)
                yield number, frame
            if not left:
                break


def _by_keyframe(stream: Any, clock: _Clock, numbers: Sequence[int]) -> list[list[int]]:
    """The frames in runs with no keyframe between.

    The index has times of decoding, which with our encoder are as far before those of showing for
    all keyframes. Were they not, a run would only begin at an earlier keyframe than it must.
    """
    keys = [entry.timestamp for entry in stream.index_entries if entry.is_keyframe]
    ahead = clock.pts(0) - keys[0] if keys else 0
    runs = groupby(numbers, lambda number: bisect_right(keys, clock.pts(number) - ahead))
    return [list(run) for _, run in runs]


def _decoded(
    container: Any, stream: Any, clock: _Clock, wanted: set[int], *, lean: bool
) -> Iterator[Any]:
    """Decoded frames in order of time from where the container stands.

    `lean`: but for the wanted ones, only frames that others refer to (H.264).
    """
    for packet in container.demux(stream):
        if lean and packet.pts is not None:
            needed = clock.number(packet.pts) in wanted
            stream.codec_context.skip_frame = "DEFAULT" if needed else "NONREF"
        yield from (frame for frame in packet.decode() if frame.pts is not None)


def _rgb(frame: av.VideoFrame, size_px: tuple[int, int], box: Box | tuple[()]) -> NDArray[np.uint8]:
    width_px, height_px = size_px
    if not box:
        return scaled_rgb(frame, width_px, height_px)
    whole = scaled_rgb(frame, frame.width, frame.height)
    left, top, right, bottom = _corners(box, frame.width, frame.height)
    part = av.VideoFrame.from_ndarray(np.ascontiguousarray(whole[top:bottom, left:right]), "rgb24")
    # As large as fits; its shape stays, to within the cells that the models count in.
    share = min(width_px / part.width, height_px / part.height)
    cell = min(CELL_PX, width_px, height_px)
    width_px, height_px = (
        max(round(side * share / cell), 1) * cell for side in (part.width, part.height)
    )
    return scaled_rgb(part, width_px, height_px)


def _corners(box: Box, width_px: int, height_px: int) -> tuple[int, int, int, int]:
    """Pixels of a box that lies at least in part inside the frame; at least `LEAST_PX` a side."""
    left, right = _side(box[0], box[2], width_px)
    top, bottom = _side(box[1], box[3], height_px)
    return left, top, right, bottom


def _side(start: float, end: float, size_px: int) -> tuple[int, int]:
    least = min(LEAST_PX, size_px)
    first = min(max(int(start * size_px), 0), size_px - least)
    return first, min(max(int(end * size_px + 0.5), first + least), size_px)
