"""Frames of an mp4 of ours at given times, as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import av
from PIL import Image

FRAME_WIDTH_PX = 220


def frames_at(
    mp4: Path, times_s: Sequence[float], width_px: int = FRAME_WIDTH_PX
) -> list[tuple[float, Image.Image]]:
    """The frames that are shown at these times (sorted, each once), with their own times.

    `width_px` 0 = as large as they are.
    """
    found: list[tuple[float, Image.Image]] = []
    with av.open(str(mp4)) as container:
        stream = container.streams.video[0]
        width = width_px or stream.width
        height = round(width * stream.height / stream.width)
        waiting = list(times_s)
        for frame in container.decode(stream):
            if not waiting:
                break
            if frame.time is not None and frame.time >= waiting[0] - 1e-3:
                waiting.pop(0)
                pixels = frame.to_ndarray(format="rgb24")
                picture = Image.fromarray(pixels).resize((width, height))
                found.append((float(frame.time), picture))
    return found
