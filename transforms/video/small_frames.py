"""All frames of a clip of ours, made small by ffmpeg in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import ffmpeg
import numpy as np
import numpy.typing as npt

from schemas.clip import Media
from transforms.video.decode import SCALE_EXACT
from transforms.video.media_process import MediaProcess, ffmpeg_exe, read_frames, time_limit_s

BATCH_FRAMES = 64

Frames = npt.NDArray[np.uint8]


def small_frames(
    path: Path,
    media: Media,
    width_px: int,
    pix_fmt: Literal["gray", "bgr24", "yuv444p"],
    every: int = 1,
) -> Iterator[Frames]:
    """Every n-th frame at this width: batches (n, height, width * channels) of the bytes as the
    pixel format lays them out.

    Raises ValueError if the clip does not decode, Rejected if that takes too long or crashes.
    """
    height = small_height_px(media, width_px)
    source = ffmpeg.input(
        f"file:{path}", format_whitelist="mov", protocol_whitelist="file", threads=1
    ).video
    if every > 1:
        source = source.filter("select", f"not(mod(n,{every}))")
    small = (
        source.filter("scale", width_px, height, flags=f"area+{SCALE_EXACT}")
        .output("pipe:1", format="rawvideo", pix_fmt=pix_fmt, fps_mode="passthrough")
        .global_args("-nostdin", "-hide_banner", "-loglevel", "error", "-nostats")
    )
    row_bytes = width_px * (1 if pix_fmt == "gray" else 3)
    limit_s = time_limit_s(media.size_bytes, media.duration_s)
    with MediaProcess(small.compile(cmd=ffmpeg_exe()), timeout_s=limit_s) as process:
        batch: list[Frames] = []
        for buffer in read_frames(process.stdout, row_bytes * height):
            batch.append(np.frombuffer(buffer, np.uint8).reshape(height, row_bytes))
            if len(batch) == BATCH_FRAMES:
                yield np.stack(batch)
                batch = []
        if batch:
            yield np.stack(batch)
        code = process.wait()
        process.raise_if_killed()
        if code != 0:
            raise ValueError(f"the clip does not decode: {process.complaint}")


def small_height_px(media: Media, width_px: int) -> int:
    """Height of the small frames: the clip's aspect, even."""
    return max(2, round(width_px * media.height_px / media.width_px / 2) * 2)
