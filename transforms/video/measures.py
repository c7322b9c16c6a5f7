"""What is measured on every frame of a video. Nothing is decided here.

The frame table has one row per frame of the video, in order of time:

- `time_s`: source time of the frame;
- `shot_score`: the shot detector's score (`transforms.video.shots`), 0 for the first frame;
- `luma`, `luma_std`: mean and standard deviation of luma, 0..1;
- `difference`: mean absolute luma difference to the frame before, 0..1;
- `dark_share`, `bright_share`: shares of the picture that are nearly black and nearly white;
- `colors`: shares of the picture in each of `COLOR_NAMES`, sum 1;
- `motion_x`, `motion_y`: dominant motion of the picture's content since the frame about a quarter
  of a second before, in picture widths and heights per second (right and down are positive),
  by phase correlation; NaN on frames where it was not measured;
- `motion_peak`: height of the correlation peak, 0..1: how much one motion explains the picture;
- `flow_speed`: mean length of the optical flow since the frame at `flow_from_s`, about an eighth of
  a second before, in picture widths per second, and `flow_difference`: mean absolute luma
  difference to that frame, 0..1; all NaN on frames where flow was not measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from transforms.video.decode import FRAME_HEIGHT_PX, FRAME_WIDTH_PX, Batch, Frames
from transforms.video.motion import FlowMeter, ShiftMeter
from transforms.video.pixels import changes, planes, shares, square_sums, sums
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
NEARLY_BLACK = 15
"""Of 255: luma up to here shows nothing on most screens."""
NEARLY_WHITE = 240
"""Of 255: as far from white as `NEARLY_BLACK` is from black."""

Floats = npt.NDArray[np.float64]

FRAME_SCHEMA = pa.schema(
    [
        ("time_s", pa.float64()),
        ("shot_score", pa.float32()),
        ("luma", pa.float32()),
        ("luma_std", pa.float32()),
        ("difference", pa.float32()),
        ("dark_share", pa.float32()),
        ("bright_share", pa.float32()),
        ("colors", pa.list_(pa.float32(), len(COLOR_NAMES))),
        ("motion_x", pa.float32()),
        ("motion_y", pa.float32()),
        ("motion_peak", pa.float32()),
        ("flow_speed", pa.float32()),
        ("flow_difference", pa.float32()),
        ("flow_from_s", pa.float64()),
    ]
)


BLACK, GRAY, WHITE, DARK, BRIGHT = range(5)
"""Tones of a colour by saturation and value; a hue is seen only in the last two."""


def _tone_table() -> npt.NDArray[np.uint8]:
    """Tone of each pair of saturation and value, two bytes read as one number."""
    saturation, value = np.meshgrid(np.arange(256), np.arange(256), indexing="ij")
    # Steps of 8 keep noise from deciding.
    s, v = (saturation >> 3) / 31.0, (value >> 3) / 31.0
    # The darker or paler, the less a hue can be seen.
    colorless = s * v < 0.12
    tones = np.where(v < 0.6, DARK, BRIGHT)
    tones[colorless] = np.where(v < 0.8, GRAY, WHITE)[colorless]
    tones[v < 0.16] = BLACK
    pairs = np.stack([saturation, value], axis=-1).astype(np.uint8)
    table = np.zeros(1 << 16, np.uint8)
    table[pairs.view(np.uint16)[..., 0]] = tones
    return table


def _hue_tables() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Number of each hue (0..179), spaced for a tone to be added; colour name of each such sum."""
    hue = np.arange(180) * 2.0
    names = COLOR_NAMES
    bright = np.full(180, names.index("red"))
    for name, low, high in (
        ("orange", 16, 42),
        ("yellow", 42, 70),
        ("green", 70, 165),
        ("cyan", 165, 195),
        ("blue", 195, 260),
        ("purple", 260, 295),
        ("pink", 295, 340),
    ):
        bright[(hue >= low) & (hue < high)] = names.index(name)
    # Brown is what a dark orange looks like.
    dark = np.where((hue >= 10) & (hue < 42), names.index("brown"), bright)
    kinds, number = np.unique(np.stack([dark, bright]), axis=1, return_inverse=True)
    tones = BRIGHT + 1
    hues = np.zeros(256, np.uint8)
    hues[:180] = number.reshape(-1) * tones
    found = np.zeros(256, np.uint8)
    for at, (in_dark, in_bright) in enumerate(kinds.T):
        plain = [names.index(name) for name in ("black", "gray", "white")]
        found[at * tones : (at + 1) * tones] = [*plain, in_dark, in_bright]
    return hues, found


_TONES = _tone_table()
_HUES, _NAMES = _hue_tables()


def color_shares(hue: Frames, saturation: Frames, value: Frames) -> Floats:
    """Shares of the named colours; HSV as OpenCV gives it, each (n, h, w) -> (n, 12)."""
    flat = hue.reshape(len(hue), -1)
    pairs = np.asarray(cv2.merge([saturation.reshape(-1), value.reshape(-1)]), np.uint8)
    tones = np.take(_TONES, pairs.view(np.uint16).reshape(flat.shape))
    names = cv2.LUT(np.asarray(cv2.LUT(flat, _HUES), np.uint8) + tones, _NAMES)
    count = len(COLOR_NAMES)
    counts = [cv2.calcHist([row], [0], None, [count], [0, count]) for row in names]
    found: Floats = np.reshape(counts, (-1, count)).astype(np.float64) / flat.shape[1]
    return found


class FrameMeasurer:
    """Takes batches in order and builds the frame table; keeps one frame, not the video."""

    def __init__(
        self, scorer: ShotScorer, height_per_width: float = FRAME_HEIGHT_PX / FRAME_WIDTH_PX
    ) -> None:
        """`height_per_width`: of the picture as shown; the small frames are squeezed."""
        self._scorer = scorer
        self._columns: dict[str, list[npt.NDArray[np.floating]]] = {
            name: [] for name in FRAME_SCHEMA.names
        }
        self._last_luma: Frames | None = None
        self._shift = ShiftMeter(FRAME_HEIGHT_PX, FRAME_WIDTH_PX)
        self._flow = FlowMeter(height_per_width)

    def add(self, batch: Batch) -> None:
        """Measure the next frames."""
        [luma] = planes(batch.frames, cv2.COLOR_BGR2GRAY)
        before = luma[0] if self._last_luma is None else self._last_luma
        self._last_luma = luma[-1]
        pixels = luma[0].size
        total = sums(luma)
        self._append("time_s", batch.times_s)
        self._append("luma", total / (255 * pixels))
        variance = (pixels * square_sums(luma) - total**2) / pixels**2
        self._append("luma_std", np.sqrt(variance) / 255)
        self._append("difference", changes(luma, before) / (255 * pixels))
        self._append("dark_share", shares(luma <= NEARLY_BLACK))
        self._append("bright_share", shares(luma >= NEARLY_WHITE))
        self._append("colors", color_shares(*planes(batch.frames, cv2.COLOR_BGR2HSV)))
        self._measure_motion(batch.times_s, luma)
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

    def _append(self, name: str, values: npt.NDArray[np.floating]) -> None:
        self._columns[name].append(values)

    def _measure_motion(self, times_s: Floats, luma: Frames) -> None:
        found = np.full((6, len(times_s)), np.nan)
        for row, time_s in enumerate(times_s.tolist()):
            shift = self._shift.measure(time_s, luma[row])
            if shift is not None:
                found[:3, row] = shift.x, shift.y, shift.peak
            flow = self._flow.measure(time_s, luma[row])
            if flow is not None:
                found[3:, row] = flow.speed, flow.difference, flow.from_s
        names = ("motion_x", "motion_y", "motion_peak")
        for name, values in zip(
            (*names, "flow_speed", "flow_difference", "flow_from_s"), found, strict=True
        ):
            self._append(name, values)


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table as an Arrow file."""
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def read_times(path: Path, count: int) -> npt.NDArray[np.float64]:
    """Times of the first `count` rows of a frame table, in seconds."""
    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_file(source).read_all().slice(0, count)
        times_s: npt.NDArray[np.float64] = table["time_s"].to_numpy().astype(np.float64)
    return times_s


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
