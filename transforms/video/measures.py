"""What is measured on every frame, and what follows from it for a clip. Nothing is decided here.

The frame table has one row per frame of the video, in order of time:

- `time_s`: source time of the frame;
- `shot_score`: the shot detector's score (`transforms.video.shots`), 0 for the first frame;
- `luma`, `luma_std`: mean and standard deviation of luma, 0..1;
- `difference`: mean absolute luma difference to the frame before, 0..1;
- `colors`: shares of the picture in each of `COLOR_NAMES`, sum 1;
- `motion_x`, `motion_y`: dominant motion of the picture's content since the frame about a quarter
  of a second before, in picture widths and heights per second (right and down are positive),
  by phase correlation; NaN on frames where it was not measured;
- `motion_peak`: height of the correlation peak, 0..1: how much one motion explains the picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.clip import Measures
from transforms.video.decode import FRAME_HEIGHT_PX, FRAME_WIDTH_PX, Batch, Frames
from transforms.video.shots import ShotScorer

COLOR_NAMES = (
    "black",
    "gray",
    "white",
    "red",
    "orange",
    "brown",
    "yellow",
    "green",
    "cyan",
    "blue",
    "purple",
    "pink",
)
MOTION_STEP_S = 0.25
BLACK_LUMA = 0.06
FROZEN_DIFFERENCE = 0.0005
"""Below this, encoder noise is all that differs."""

Floats = npt.NDArray[np.float64]

FRAME_SCHEMA = pa.schema(
    [
        ("time_s", pa.float64()),
        ("shot_score", pa.float32()),
        ("luma", pa.float32()),
        ("luma_std", pa.float32()),
        ("difference", pa.float32()),
        ("colors", pa.list_(pa.float32(), len(COLOR_NAMES))),
        ("motion_x", pa.float32()),
        ("motion_y", pa.float32()),
        ("motion_peak", pa.float32()),
    ]
)


def _color_table() -> npt.NDArray[np.uint8]:
    """Colour index for each (hue 0..179, saturation / 8, value / 8), flattened."""
    hue, saturation, value = np.meshgrid(
        np.arange(180) * 2.0, np.arange(32) / 31.0, np.arange(32) / 31.0, indexing="ij"
    )
    names = COLOR_NAMES
    table = np.full(hue.shape, names.index("red"), np.uint8)
    for name, low, high in (
        ("orange", 16, 42),
        ("yellow", 42, 70),
        ("green", 70, 165),
        ("cyan", 165, 195),
        ("blue", 195, 260),
        ("purple", 260, 295),
        ("pink", 295, 340),
    ):
        table[(hue >= low) & (hue < high)] = names.index(name)
    # Brown is what a dark orange looks like.
    table[(hue >= 10) & (hue < 42) & (value < 0.6)] = names.index("brown")
    # The darker or paler, the less a hue can be seen.
    colorless = saturation * value < 0.12
    table[colorless & (value >= 0.8)] = names.index("white")
    table[colorless & (value < 0.8)] = names.index("gray")
    table[value < 0.16] = names.index("black")
    return table.reshape(-1)


_COLOR_TABLE = _color_table()


def color_shares(hsv: Frames) -> Floats:
    """Shares of the named colours: (n, h, w, 3) HSV as OpenCV gives it -> (n, 12)."""
    wide = hsv.astype(np.int32)
    index = wide[..., 0] * 1024 + (wide[..., 1] >> 3) * 32 + (wide[..., 2] >> 3)
    names = _COLOR_TABLE[index].reshape(len(hsv), -1).astype(np.int64)
    offsets = np.arange(len(hsv))[:, None] * len(COLOR_NAMES)
    counts = np.bincount((names + offsets).reshape(-1), minlength=len(hsv) * len(COLOR_NAMES))
    shares: Floats = counts.reshape(len(hsv), -1) / names.shape[1]
    return shares


class FrameMeasurer:
    """Takes batches in order and builds the frame table; keeps one frame, not the video."""

    def __init__(self, scorer: ShotScorer) -> None:
        self._scorer = scorer
        self._columns: dict[str, list[npt.NDArray[np.floating]]] = {
            name: [] for name in FRAME_SCHEMA.names
        }
        self._last_luma: npt.NDArray[np.float32] | None = None
        self._motion_from: tuple[float, npt.NDArray[np.float32]] | None = None
        self._window = cv2.createHanningWindow((FRAME_WIDTH_PX, FRAME_HEIGHT_PX), cv2.CV_32F)

    def add(self, batch: Batch) -> None:
        """Measure the next frames."""
        count = len(batch.times_s)
        # One tall picture instead of many small ones: OpenCV's call overhead is paid once.
        tall = batch.frames.reshape(count * FRAME_HEIGHT_PX, FRAME_WIDTH_PX, 3)
        shape = (count, FRAME_HEIGHT_PX, FRAME_WIDTH_PX)
        gray = cv2.cvtColor(tall, cv2.COLOR_BGR2GRAY).reshape(shape).astype(np.float32) / 255.0
        hsv: Frames = np.asarray(cv2.cvtColor(tall, cv2.COLOR_BGR2HSV), np.uint8).reshape(*shape, 3)
        before = gray[:1] if self._last_luma is None else self._last_luma[None]
        difference = np.abs(np.diff(gray, axis=0, prepend=before)).mean(axis=(1, 2))
        motion = self._motion(batch.times_s, gray)
        self._last_luma = gray[-1]
        self._append("time_s", batch.times_s)
        self._append("luma", gray.mean(axis=(1, 2)))
        self._append("luma_std", gray.std(axis=(1, 2)))
        self._append("difference", difference)
        self._append("colors", color_shares(hsv))
        for column, name in enumerate(("motion_x", "motion_y", "motion_peak")):
            self._append(name, motion[:, column])
        self._scorer.add(batch.frames)

    def table(self) -> pa.Table:
        """The frame table, after the last batch."""
        self._columns["shot_score"] = [self._scorer.scores()]
        arrays = []
        for field in FRAME_SCHEMA:
            values = np.concatenate(self._columns[field.name])
            if field.name == "colors":
                flat = pa.array(values.reshape(-1).astype(np.float32))
                arrays.append(pa.FixedSizeListArray.from_arrays(flat, len(COLOR_NAMES)))
            else:
                arrays.append(pa.array(values, field.type))
        return pa.Table.from_arrays(arrays, schema=FRAME_SCHEMA)

    @property
    def empty(self) -> bool:
        return not self._columns["time_s"]

    def _append(self, name: str, values: npt.NDArray[np.floating]) -> None:
        self._columns[name].append(values)

    def _motion(self, times_s: Floats, gray: npt.NDArray[np.float32]) -> Floats:
        motion = np.full((len(times_s), 3), np.nan)
        for row, time_s in enumerate(times_s):
            if self._motion_from is None:
                self._motion_from = (time_s, gray[row].copy())
                continue
            elapsed_s = time_s - self._motion_from[0]
            if elapsed_s < MOTION_STEP_S - 1e-6:
                continue
            # OpenCV multiplies its inputs by the window in place: it gets a copy.
            here = gray[row].copy()
            (shift_x, shift_y), peak = cv2.phaseCorrelate(
                self._motion_from[1], here.copy(), self._window
            )
            motion[row] = (
                shift_x / FRAME_WIDTH_PX / elapsed_s,
                shift_y / FRAME_HEIGHT_PX / elapsed_s,
                peak,
            )
            self._motion_from = (time_s, here)
        return motion


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table as an Arrow file."""
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def read_rows(path: Path, start: int, end: int) -> Mapping[str, npt.NDArray[np.float64]]:
    """Rows [start, end) of a frame table, as float64 columns by name."""
    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_file(source).read_all().slice(start, end - start)
        columns: dict[str, npt.NDArray[np.float64]] = {}
        for name in table.column_names:
            column = table[name].combine_chunks()
            if name == "colors":
                values = column.flatten().to_numpy(zero_copy_only=False)
                columns[name] = values.astype(np.float64).reshape(-1, len(COLOR_NAMES))
            else:
                columns[name] = column.to_numpy(zero_copy_only=False).astype(np.float64)
    return columns


def clip_measures(
    rows: Mapping[str, npt.NDArray[np.float64]],
    shot_rows: Sequence[int],
    sharpness: Sequence[float],
) -> Measures:
    """The clip's measures from its rows; `shot_rows` are the rows at which its shots begin."""
    inner = np.ones(len(rows["time_s"]), bool)
    inner[list(shot_rows)] = False
    steps = rows["difference"][inner]
    return Measures(
        brightness=_rounded(rows["luma"].mean()),
        contrast=_rounded(rows["luma_std"].mean()),
        sharpness=_rounded(float(np.median(sharpness)) if len(sharpness) else 0.0),
        motion=_rounded(steps.mean() if len(steps) else 0.0),
        black_share=_rounded((rows["luma"] < BLACK_LUMA).mean()),
        frozen_share=_rounded((steps < FROZEN_DIFFERENCE).mean() if len(steps) else 1.0),
    )


def sharpness(rgb: Frames) -> float:
    """Variance of the Laplacian of luma in 0..1 (Pech-Pacheco et al. 2000), for one picture."""
    gray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255.0
    return float(cv2.Laplacian(gray, cv2.CV_32F).var())


def _rounded(value: float) -> float:
    """Six digits: more would only carry the noise of the order of summation."""
    return round(float(value), 6)
