"""Pictures made for tests of measures, and the measures of pictures as one clip."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import av
import cv2
import numpy as np
from clock_video import analysed

from schemas.clip import Measures
from transforms.memo import MemoStore
from transforms.video.clip_measures import VideoTables, clip_measures
from transforms.video.decode import FRAME_HEIGHT_PX, FRAME_WIDTH_PX, Batch
from transforms.video.measures import FrameMeasurer, read_rows, write_table
from transforms.video.samples import SampleTable
from transforms.video.segment import segment
from transforms.video.shots import NoScorer, ShotSettings

FPS = 20
FRAMES = 40


def texture(width_px: int, height_px: int, seed: int = 7) -> np.ndarray:
    """A picture with detail at all sizes, (h, w, 3)."""
    random = np.random.default_rng(seed)
    picture = np.zeros((height_px, width_px))
    for cell in (1, 2, 4, 8, 16, 32):
        coarse = random.random((height_px // cell + 2, width_px // cell + 2))
        picture += cv2.resize(coarse, (width_px, height_px), interpolation=cv2.INTER_CUBIC)
    span = np.ptp(picture)
    levels = ((picture - picture.min()) / span * 255).astype(np.uint8)
    return np.repeat(levels[..., None], 3, axis=2)


def measured(pictures: list[np.ndarray], folder: Path, batch: int = 16) -> dict[str, np.ndarray]:
    """Rows of the frame table for small frames at 20 per second."""
    measurer = FrameMeasurer(NoScorer())
    for start in range(0, len(pictures), batch):
        part = pictures[start : start + batch]
        times = (start + np.arange(len(part))) / FPS
        measurer.add(Batch(times, np.stack(part)))
    path = folder / f"rows{batch}.arrow"
    write_table(measurer.table(), path)
    return dict(read_rows(path, 0, len(pictures)))


def measures_of(
    rows: dict[str, np.ndarray],
    shots: Sequence[int] = (0,),
    sharp: Sequence[float] = (),
    boxes: Sequence[Sequence[float]] = (),
) -> Measures:
    """Measures of all rows as one clip."""
    count = max(len(sharp), len(boxes))
    samples = SampleTable(
        np.arange(count) / FPS,
        np.array([*sharp] or [0.0] * count),
        np.array([*boxes] or [[0.0, 0.0, 1.0, 1.0]] * count).reshape(-1, 4),
    )
    end_s = float(rows["time_s"][-1]) + 1 / FPS
    tables = VideoTables(rows=rows, samples=samples)
    return clip_measures(tables, (0, len(rows["time_s"])), (0.0, end_s), shots)


def of_level(level: int) -> np.ndarray:
    return np.full((FRAME_HEIGHT_PX, FRAME_WIDTH_PX, 3), level, np.uint8)


def real_picture(bikes: Path, number: int = 100) -> np.ndarray:
    with av.open(str(bikes)) as container:
        frame = next(itertools.islice(container.decode(video=0), number, None))
        return np.asarray(frame.to_ndarray(format="rgb24"))


def measures_of_file(path: Path, store: MemoStore) -> Measures:
    video, decoded = analysed(path, store)
    shots = ShotSettings(detector="fixed", unit="shot", min_clip_s=0.1)
    [clip], _ = segment(video, decoded, store, shots)
    return clip.measures
