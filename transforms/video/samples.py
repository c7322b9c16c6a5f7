"""Sampled frames: a few a second as JPEG in an Arrow file, with what is measured on each.

One row per sampled frame, in order of time:

- `time_s`: source time;
- `sharpness`: variance of the Laplacian of luma in 0..1 within the content box;
- `content_box`: [x1, y1, x2, y2] in 0..1 of the picture, without bars of constant dark lines at the
  edges (letterbox, pillarbox); [0, 0, 0, 0] where all is dark, which says nothing about bars;
- `jpeg`: the picture, short side 224 pixels.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute
from PIL import Image

from transforms.video.decode import Frames
from transforms.video.measures import NEARLY_BLACK

JPEG_QUALITY = 92
BAR_SHARE = 0.99
"""A line belongs to a bar when so much of it is nearly black; the rest is noise of the encoder."""

SAMPLE_SCHEMA = pa.schema(
    [
        ("time_s", pa.float64()),
        ("sharpness", pa.float32()),
        ("content_box", pa.list_(pa.float32(), 4)),
        ("jpeg", pa.binary()),
    ]
)

Box = tuple[float, float, float, float]
BoxPx = tuple[int, int, int, int]


class SampleWriter:
    """Measures sampled frames and writes them to an Arrow file as they come."""

    BATCH = 32

    def __init__(self, path: Path) -> None:
        self._sink = pa.OSFile(str(path), "wb")
        self._writer = pa.ipc.new_file(self._sink, SAMPLE_SCHEMA)
        self._rows: list[dict[str, Any]] = []

    def __enter__(self) -> SampleWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, time_s: float, rgb: Frames) -> None:
        """Add one frame, (h, w, 3) RGB."""
        luma: Frames = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)
        box = content_box_px(luma)
        self._rows.append(
            {
                "time_s": time_s,
                "sharpness": sharpness(luma, box),
                "content_box": as_shares(box, luma.shape[1], luma.shape[0]),
                "jpeg": _jpeg(rgb),
            }
        )
        if len(self._rows) == self.BATCH:
            self._flush()

    def close(self) -> None:
        """Write what is left and close the file; more than once does no harm."""
        if self._sink.closed:
            return
        self._flush()
        self._writer.close()
        self._sink.close()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_batch(pa.RecordBatch.from_pylist(self._rows, SAMPLE_SCHEMA))
            self._rows = []


def _jpeg(rgb: Frames) -> bytes:
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    done, coded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise ValueError(f"no JPEG can be made of a picture of {rgb.shape}")
    return bytes(coded.tobytes())


def content_box_px(luma: Frames) -> BoxPx:
    """Columns and rows [x1, y1, x2, y2) that hold more than bars; all 0 where all is dark.

    A bar is a run of lines from the edge on, each nearly black along (almost) all of its length.
    So the box never cuts off what can be seen, but a picture with a dark margin (a night sky) has
    a smaller box than the video has: only several pictures together tell (`union_box`).
    """
    lit = (luma > NEARLY_BLACK).view(np.uint8)
    height, width = luma.shape
    rows = cv2.reduce(lit, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[:, 0]
    columns = cv2.reduce(lit, 0, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[0]
    found_y = np.flatnonzero(rows > width * (1 - BAR_SHARE))
    found_x = np.flatnonzero(columns > height * (1 - BAR_SHARE))
    if not len(found_x) or not len(found_y):
        return 0, 0, 0, 0
    return int(found_x[0]), int(found_y[0]), int(found_x[-1]) + 1, int(found_y[-1]) + 1


def as_shares(box: BoxPx, width_px: int, height_px: int) -> Box:
    """A box in pixels as shares of the picture's width and height."""
    x1, y1, x2, y2 = box
    return x1 / width_px, y1 / height_px, x2 / width_px, y2 / height_px


def union_box(boxes: npt.NDArray[np.float64]) -> Box:
    """The smallest box that holds the content of all pictures: (n, 4) -> x1, y1, x2, y2.

    Pictures that are all dark say nothing; where no other is left, the whole picture is content.
    """
    known = boxes[boxes[:, 2] > boxes[:, 0]]
    if not len(known):
        return 0.0, 0.0, 1.0, 1.0
    (x1, y1), (x2, y2) = known[:, :2].min(axis=0), known[:, 2:].max(axis=0)
    return float(x1), float(y1), float(x2), float(y2)


def sharpness(luma: Frames, box: BoxPx | None = None) -> float:
    """Variance of the Laplacian of luma in 0..1 (Pech-Pacheco et al. 2000) within a box.

    The box's own edge is left out: against a bar even a blurred picture has a sharp one.
    """
    if box is not None:
        height, width = luma.shape
        x1, y1, x2, y2 = box
        left, top = x1 + 2 * (x1 > 0), y1 + 2 * (y1 > 0)
        luma = luma[top : y2 - 2 * (y2 < height), left : x2 - 2 * (x2 < width)]
        if not luma.size:
            return 0.0
    _, deviation = cv2.meanStdDev(cv2.Laplacian(luma, cv2.CV_16S))
    return float(deviation[0, 0] / 255) ** 2


def drop_after(path: Path, last_s: float) -> None:
    """Rewrite the file without the sampled frames that come after a time."""
    with pa.OSFile(str(path), "rb") as source:
        table = pa.ipc.open_file(source).read_all()
    kept = table.filter(pa.compute.less_equal(table["time_s"], last_s))
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, SAMPLE_SCHEMA) as writer:
        writer.write_table(kept, max_chunksize=SampleWriter.BATCH)


@dataclass(frozen=True)
class SampleTable:
    """What was measured on sampled frames; no picture is decoded for it."""

    times_s: npt.NDArray[np.float64]
    sharpness: npt.NDArray[np.float64]
    boxes: npt.NDArray[np.float64]
    """(n, 4)."""

    def between(self, start_s: float, end_s: float) -> SampleTable:
        """Those with start_s <= time < end_s."""
        here = (self.times_s >= start_s) & (self.times_s < end_s)
        return SampleTable(self.times_s[here], self.sharpness[here], self.boxes[here])


def read_samples(path: Path) -> SampleTable:
    """The measures of all sampled frames of a video."""
    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_file(source).read_all().select(SAMPLE_SCHEMA.names[:-1])
        boxes = table["content_box"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        return SampleTable(
            table["time_s"].to_numpy().astype(np.float64),
            table["sharpness"].to_numpy().astype(np.float64),
            boxes.astype(np.float64).reshape(-1, 4),
        )


def frames_at(path: Path, times_s: npt.NDArray[np.float64]) -> Iterator[tuple[float, Frames]]:
    """The sampled frames of these times, in order of time: source time and (h, w, 3) RGB."""
    wanted = set(times_s.tolist())
    with pa.memory_map(str(path)) as source:
        reader = pa.ipc.open_file(source)
        for number in range(reader.num_record_batches):
            batch = reader.get_batch(number)
            for row, time_s in enumerate(batch["time_s"].to_pylist()):
                if time_s in wanted:
                    yield time_s, read_jpeg(batch["jpeg"][row].as_py())


def read_jpeg(coded: bytes) -> Frames:
    """A stored picture as (h, w, 3) RGB."""
    image = Image.open(io.BytesIO(coded), formats=["JPEG"])
    return np.asarray(image.convert("RGB"))
