"""Measure a published mp4 anew, by other means than those the teacher saw.

The teacher's numbers come from the source video at 96x54 pixels: HSV differences, HSV colour
names, phase correlation. Here the clip's own mp4 is decoded: cuts come from Lab histograms of a
grid of blocks, colours from the nearest of a set of reference colours in Lab, motion from dense
optical flow. The result has the form of a frame table, so the same questions can be answered.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.clip import Media
from transforms.annotate.observe import Observation, Rows, observe
from transforms.memo import MemoStore
from transforms.video.measures import COLOR_NAMES, read_rows, write_table
from transforms.video.small_frames import small_frames

VERSION = "6"
TABLE_FILE = "table.arrow"
WIDTH_PX = 112
BLOCKS = 3
COLOR_STEP_S = 0.15
"""Colours and brightness change slowly, apart from cuts; the frames between take the last value."""
FLOW_WIDTH_PX = 192
FLOW_STEP_S = 0.2
CUT_SCORE = 0.42
"""Hellinger distance of block histograms: 0 = the same colours in the same places, 1 = none."""
CUT_CONTRAST = 2.0
"""How far a cut stands out from the frames around it, since motion blurs histograms too."""
CUT_NEIGHBOURS = 5
MIN_SHOT_S = 0.25

REFERENCE_COLORS: dict[str, tuple[tuple[int, int, int], ...]] = {
    "black": ((0, 0, 0), (18, 18, 22), (30, 28, 26)),
    "gray": ((64, 64, 64), (96, 96, 96), (128, 128, 128), (160, 160, 160), (180, 182, 186)),
    "white": ((255, 255, 255), (225, 225, 225), (240, 238, 230)),
    "red": ((220, 20, 30), (150, 15, 20), (90, 12, 14), (230, 90, 90)),
    "orange": ((240, 140, 30), (220, 150, 90), (250, 180, 110), (230, 190, 160)),
    "brown": ((120, 75, 35), (80, 50, 28), (100, 75, 55), (60, 38, 22), (140, 100, 70)),
    "yellow": ((240, 230, 40), (200, 190, 60), (150, 140, 40), (240, 235, 150)),
    "green": ((40, 170, 50), (20, 90, 30), (120, 190, 70), (90, 120, 60), (150, 210, 140)),
    "cyan": ((40, 200, 210), (20, 110, 120), (140, 220, 225)),
    "blue": ((30, 60, 200), (20, 30, 100), (90, 140, 220), (130, 170, 220), (50, 80, 120)),
    "purple": ((120, 40, 180), (70, 25, 100), (160, 120, 200)),
    "pink": ((240, 60, 170), (240, 150, 190), (150, 40, 100)),
}
"""sRGB colours that people call by these names, several per name."""

Frames = npt.NDArray[np.uint8]

_LOOK_SCHEMA = pa.schema(
    [
        ("time_s", pa.float64()),
        ("shot_score", pa.float32()),
        ("luma", pa.float32()),
        ("colors", pa.list_(pa.float32(), len(COLOR_NAMES))),
    ]
)
_MOTION_SCHEMA = pa.schema([("motion_x", pa.float32()), ("motion_y", pa.float32())])


def remeasured(media: Media, store: MemoStore, *, motion: bool) -> Observation:
    """What the published mp4 shows, measured once per mp4; motion, which costs most, if asked."""
    rows = dict(_stored(media, store, "look", measure_look))
    if motion:
        rows |= _stored(media, store, "motion", measure_motion)
    else:
        rows |= {name: np.full(media.num_frames, np.nan) for name in _MOTION_SCHEMA.names}
    return observe(rows, rows["time_s"], cut_rows(rows), media.duration_s)


def _stored(
    media: Media, store: MemoStore, what: str, measure: Callable[[Path, Media], pa.Table]
) -> Rows:
    entry = store.entry("remeasure", VERSION, what, media.sha256)
    if entry.get() is None:
        with entry.building() as folder:
            write_table(measure(store.path(media.ref), media), folder / TABLE_FILE)
            entry.finish(folder, {})
    return read_rows(store.path(entry.ref(TABLE_FILE)), 0, media.num_frames)


def measure_look(path: Path, media: Media) -> pa.Table:
    """Cut scores, brightness and colours of an mp4 of ours, one row per frame.

    Raises ValueError if it does not decode to as many frames as it is said to hold.
    """
    tick_s = media.fps_den / media.fps_num
    step = max(1, round(COLOR_STEP_S / tick_s))
    scores, lumas, colors = [], [], []
    before: npt.NDArray[np.float32] | None = None
    count = 0
    for frames in small_frames(path, media, WIDTH_PX, "bgr24"):
        shape = (*frames.shape[:2], WIDTH_PX, 3)
        tall = frames.reshape(-1, WIDTH_PX, 3)
        lab = np.asarray(cv2.cvtColor(tall, cv2.COLOR_BGR2LAB), np.uint8).reshape(shape)
        histograms = block_histograms(lab)
        previous = histograms[:1] if before is None else before
        own = hellinger(np.concatenate([previous, histograms[:-1]]), histograms)
        before = histograms[-1:]
        # Only some frames and those after a cut are looked at; the others take the last value.
        looked = ((np.arange(count, count + len(lab)) % step) == 0) | (own >= CUT_SCORE)
        looked[0] = True
        place = np.cumsum(looked) - 1
        # Lab lightness, not luma: it is only compared with itself.
        lumas.append((lab[looked][..., 0].mean(axis=(1, 2)) / 255.0)[place])
        colors.append(np.stack([nearest_color_shares(one) for one in lab[looked]])[place])
        scores.append(own)
        count += len(lab)
    if count != media.num_frames:
        raise ValueError(f"{count} frames decode, {media.num_frames} were meant")
    flat = pa.array(np.concatenate(colors).reshape(-1).astype(np.float32))
    return pa.Table.from_arrays(
        [
            pa.array(np.arange(count) * tick_s, pa.float64()),
            pa.array(np.concatenate(scores).astype(np.float32)),
            pa.array(np.concatenate(lumas).astype(np.float32)),
            pa.FixedSizeListArray.from_arrays(flat, len(COLOR_NAMES)),
        ],
        schema=_LOOK_SCHEMA,
    )


def measure_motion(path: Path, media: Media) -> pa.Table:
    """Dominant motion of an mp4 of ours, one row per frame; NaN on frames in between."""
    tick_s = media.fps_den / media.fps_num
    every = max(1, math.ceil(FLOW_STEP_S / tick_s - 1e-6))
    motions = np.full((media.num_frames, 2), np.nan, np.float32)
    before: Frames | None = None
    for number, gray in enumerate(
        one for batch in small_frames(path, media, FLOW_WIDTH_PX, "gray", every) for one in batch
    ):
        if before is not None and number * every < media.num_frames:
            motions[number * every] = dominant_motion(before, gray, every * tick_s)
        before = gray
    return pa.Table.from_arrays(
        [pa.array(motions[:, 0]), pa.array(motions[:, 1])], schema=_MOTION_SCHEMA
    )


@functools.lru_cache(maxsize=8)
def _block_offsets(height: int, width: int) -> npt.NDArray[np.int32]:
    """Where the histogram of each pixel's block begins."""
    rows = np.minimum(np.arange(height) * BLOCKS // height, BLOCKS - 1)
    columns = np.minimum(np.arange(width) * BLOCKS // width, BLOCKS - 1)
    block = rows[:, None] * BLOCKS + columns[None, :]
    offsets: npt.NDArray[np.int32] = (block * 512).astype(np.int32)
    return offsets


@functools.cache
def _axis_steps() -> npt.NDArray[np.int32]:
    """Histogram step of each value of a and b, which only fill the middle half in real pictures."""
    steps: npt.NDArray[np.int32] = np.clip((np.arange(256) - 64) >> 4, 0, 7).astype(np.int32)
    return steps


def block_histograms(lab: Frames) -> npt.NDArray[np.float32]:
    """Square roots of the Lab histograms (8x8x8) of a 3x3 grid: (n, h, w, 3) -> (n, 9, 512)."""
    steps, bins = _axis_steps(), BLOCKS * BLOCKS * 512
    index = _block_offsets(*lab.shape[1:3]) + (lab[..., 0] >> 5).astype(np.int32) * 64
    index += steps[lab[..., 1]] * 8 + steps[lab[..., 2]]
    index += (np.arange(len(lab), dtype=np.int32) * bins)[:, None, None]
    counts = np.bincount(index.reshape(-1), minlength=len(lab) * bins)
    shares = counts.reshape(len(lab), BLOCKS * BLOCKS, 512).astype(np.float32)
    # A very flat picture leaves blocks without a pixel.
    totals = np.maximum(shares.sum(axis=2, keepdims=True), 1.0)
    roots: npt.NDArray[np.float32] = np.sqrt(shares / totals)
    return roots


def hellinger(
    one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]
) -> npt.NDArray[np.float64]:
    """Mean over blocks of the Hellinger distance of histograms (n, 9, 512), each 0..1: (n,)."""
    overlap = np.clip(np.einsum("nbk,nbk->nb", one, other), 0.0, 1.0)
    distances: npt.NDArray[np.float64] = np.sqrt(1.0 - overlap).mean(axis=1).astype(np.float64)
    return distances


@functools.cache
def _nearest_table() -> npt.NDArray[np.uint8]:
    """Name of the nearest reference colour for each Lab cell of 8 x 4 x 4."""
    names: list[int] = []
    swatches: list[tuple[int, int, int]] = []
    for name, colors in REFERENCE_COLORS.items():
        names += [COLOR_NAMES.index(name)] * len(colors)
        swatches += colors
    rgb = np.array([swatches], np.uint8)
    reference = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB), np.uint8)[0].astype(np.float32)
    cells = np.stack(
        np.meshgrid(
            np.arange(32) * 8 + 4, np.arange(64) * 4 + 2, np.arange(64) * 4 + 2, indexing="ij"
        ),
        axis=-1,
    ).reshape(-1, 3)
    # OpenCV's 8-bit lightness is stretched by 2.55 against a and b.
    weight = np.array([100 / 255, 1.0, 1.0], np.float32)
    best = np.zeros(len(cells), np.uint8)
    for at in range(0, len(cells), 16_384):
        part = (cells[at : at + 16_384, None] - reference[None]) * weight
        best[at : at + 16_384] = np.array(names)[(part**2).sum(axis=2).argmin(axis=1)]
    return best


def nearest_color_shares(lab: Frames) -> npt.NDArray[np.float64]:
    """Shares of the named colours in one picture, by nearest reference colour."""
    wide = lab.reshape(-1, 3).astype(np.int32)
    index = (wide[:, 0] >> 3) * 4096 + (wide[:, 1] >> 2) * 64 + (wide[:, 2] >> 2)
    counts = np.bincount(_nearest_table()[index], minlength=len(COLOR_NAMES))
    shares: npt.NDArray[np.float64] = counts / len(wide)
    return shares


def dominant_motion(before: Frames, after: Frames, elapsed_s: float) -> tuple[float, float]:
    """Median optical flow (Farnebäck 2003) in picture widths and heights per second.

    Only where there is texture to follow: flow in plain areas is always nought.
    """
    start = np.zeros((*before.shape, 2), np.float32)
    flow = np.asarray(cv2.calcOpticalFlowFarneback(before, after, start, 0.5, 4, 21, 3, 7, 1.5, 0))
    gradient = np.hypot(
        cv2.Sobel(before, cv2.CV_32F, 1, 0, ksize=3), cv2.Sobel(before, cv2.CV_32F, 0, 1, ksize=3)
    )
    textured = gradient > max(20.0, float(np.median(gradient)))
    if textured.sum() < 100:
        return 0.0, 0.0
    height, width = before.shape
    shift_x = float(np.median(flow[..., 0][textured])) / width / elapsed_s
    shift_y = float(np.median(flow[..., 1][textured])) / height / elapsed_s
    return shift_x, shift_y


def cut_rows(rows: Rows) -> list[int]:
    """First rows of the shots: frames that differ from the one before, and stand out in that."""
    scores, times = rows["shot_score"], rows["time_s"]
    starts = [0]
    for row in np.flatnonzero(scores >= CUT_SCORE):
        low = max(1, row - CUT_NEIGHBOURS)
        around = np.concatenate([scores[low:row], scores[row + 1 : row + 1 + CUT_NEIGHBOURS]])
        usual = float(np.median(around)) if len(around) else 0.0
        is_peak = scores[row] >= scores[max(0, row - 1) : row + 2].max()
        stands_out = is_peak and scores[row] >= CUT_CONTRAST * usual
        if stands_out and times[row] - times[starts[-1]] >= MIN_SHOT_S:
            starts.append(int(row))
    return starts
