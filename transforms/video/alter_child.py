"""Runs in a process of its own: makes an altered clip from a clip's mp4.

Usage: python -I -m transforms.video.alter_child, with one line of JSON (`AlterRequest`) on stdin,
which stays open: when it ends, the parent is gone, and so is the process.
Prints one line of JSON (`ClipReport`). Decoding and encoding are the cutter's. A pass over the clip
makes as much of the altered clip as its frames may wait for in memory; frames that are not altered
pass from decoder to encoder by reference.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

import av
import numpy as np

from transforms.video.alter_planes import EFFECTS, Planes, draw_letter, draw_shape
from transforms.video.alter_request import Alteration, AlterRequest, passes
from transforms.video.cut_child import ClipWriter
from transforms.video.cut_request import ClipReport, CutRequest
from transforms.video.cut_source import (
    EndedEarlyError,
    MissingFrameError,
    Pictures,
    open_source,
    packets_of,
)


def altered(frame: Any, alteration: Alteration, number: int) -> Any:
    """The frame as it is shown at place `number` of the altered clip; itself if nothing changes."""
    effects = [one for one in alteration.effects if one.start <= number < one.end]
    shapes = [one for one in alteration.shapes if one.start <= number < one.end]
    letters = [one for one in alteration.letters if one.start <= number < one.end]
    if not effects and not shapes and not letters:
        return frame
    planes = planes_of(frame)
    for effect in effects:
        planes = EFFECTS[effect.name](planes)
    for shape in shapes:
        draw_shape(planes, shape.kind, shape.yuv, (shape.x_px, shape.y_px), shape.radius_px)
    for letter in letters:
        draw_letter(planes, letter.text)
    flat = np.concatenate([plane.reshape(-1) for plane in planes])
    return av.VideoFrame.from_ndarray(flat.reshape(-1, frame.width), format="yuv420p")


def planes_of(frame: Any) -> Planes:
    """Copies of the planes of a yuv420p frame of even size."""
    flat = frame.to_ndarray(format="yuv420p").reshape(-1)
    luma, half = frame.width * frame.height, (frame.height // 2, frame.width // 2)
    chroma = half[0] * half[1]
    y = flat[:luma].reshape(frame.height, frame.width)
    u = flat[luma : luma + chroma].reshape(half)
    v = flat[luma + chroma :].reshape(half)
    return y.copy(), u.copy(), v.copy()


def shown_frames(
    request: CutRequest, shown: Sequence[int], span: tuple[int, int]
) -> Iterator[tuple[int, Any]]:
    """(place, frame) of one pass, by place. Raises MissingFrameError, EndedEarlyError."""
    start, end = span
    wanted = shown[start:end]
    rising = all(one <= two for one, two in pairwise(wanted))
    with open_source(request) as container:
        rows = Pictures(container, request).rows(min(wanted), max(wanted) + 1)
        if not rising:
            needed = set(wanted)
            held = {row: frame for row, frame in rows if row in needed}
            yield from ((place, held[shown[place]]) for place in range(start, end))
            return
        place = start
        for row, frame in rows:
            while place < end and shown[place] == row:
                yield place, frame
                place += 1


def alter(request: AlterRequest) -> ClipReport:
    """Make the altered clip."""
    cut = dataclasses.replace(request.cut, times_us=times_of(request.cut))
    [clip] = cut.clips
    shown = request.alteration.shown()
    try:
        with ClipWriter(clip, cut, None) as writer:
            for span in passes(shown, request.held_frames):
                for number, frame in shown_frames(cut, shown, span):
                    writer.show(altered(frame, request.alteration, number))
            writer.finish()
        with av.open(clip.file) as container:
            return ClipReport(0, sum(packet.size > 0 for packet in container.demux(video=0)))
    except (MissingFrameError, EndedEarlyError) as error:
        return ClipReport(0, failed=str(error))
    except (av.error.FFmpegError, OSError, ValueError) as error:
        words = f"{type(error).__name__}: {getattr(error, 'strerror', None) or error}"
        return ClipReport(0, failed=words, errno=getattr(error, "errno", 0) or 0)


def times_of(request: CutRequest) -> list[int]:
    """Times of the frames of the clip's mp4 in order, in microseconds, as its packets state them.

    Where packets were copied, they stand off the constant rate by the rounding of their source.
    """
    with open_source(request) as container:
        stream = container.streams[request.video_index]
        pts = sorted(
            packet.pts
            for packet in packets_of(container, stream)
            if packet.size and packet.pts is not None
        )
        return [round(Fraction(one) * Fraction(stream.time_base) * 1_000_000) for one in pts]


def main() -> None:
    """Read the request from stdin and print the report."""
    request = AlterRequest.from_json(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    print(alter(request).to_json(), flush=True)


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
