"""Share of the picture that text covers, by RapidOCR's detector; needs the extra `text`.

Only where text stands is looked for, not what it says, on a few of the sampled frames that the
decode pass stored: switching it on decodes no video. Letters from a thirtieth to a quarter of the
picture's height are found on them.
"""

from __future__ import annotations

import functools
import threading
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from schemas.video import Decoded
from transforms.memo import MemoStore
from transforms.outcome import StopRunError
from transforms.video.decode import Frames
from transforms.video.measures import write_table
from transforms.video.samples import frames_at, read_samples

VERSION = "1"
TEXT_FILE = "text.arrow"
SHORT_SIDE_PX = 320
"""What pictures are scaled up to for the detector. Smaller, it misses small text; larger, it costs
more and takes more for text that is none."""
LEAST_SCORE = 0.6
"""Mean probability of text within a box; ornaments and hands reach more than RapidOCR's 0.5."""
TALLEST = 0.25
"""Of the picture's height. The detector takes whole blurred pictures for one tall line of text."""
THREADS = 1
"""Videos are worked on side by side; more threads would only wait for each other."""

TEXT_SCHEMA = pa.schema([("time_s", pa.float64()), ("share", pa.float32())])

Floats = npt.NDArray[np.float64]

_LOADING = threading.Lock()


class TextSettings(BaseModel):
    """Section `overlay_text` of the configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = Field(
        False, description="measure the share of overlaid text; needs the extra `text`"
    )
    every_s: float = Field(2.0, gt=0, description="how often a picture is searched for text")


@dataclass(frozen=True)
class TextTable:
    """Share of the picture that text covers at some moments of source time."""

    times_s: Floats
    shares: Floats


NO_TEXT = TextTable(np.empty(0), np.empty(0))


def measure_text(decoded: Decoded, store: MemoStore, settings: TextSettings) -> str:
    """Reference of the text table of a decoded video, made once; "" if it is switched off.

    Raises StopRunError if the extra is not installed.
    """
    if not settings.enabled:
        return ""
    detector = load_detector()
    made_of = [decoded.samples_ref, settings.every_s, SHORT_SIDE_PX, LEAST_SCORE, TALLEST]
    entry = store.entry("text", VERSION, made_of, detector.version)
    if entry.get() is None:
        samples = store.path(decoded.samples_ref)
        times_s = look_times(read_samples(samples).times_s, settings.every_s)
        shares = [detector.share(rgb) for _, rgb in frames_at(samples, times_s)]
        with entry.building() as folder:
            _write(times_s, shares, folder / TEXT_FILE)
            entry.finish(folder, {})
    return entry.ref(TEXT_FILE)


def look_times(times_s: Floats, every_s: float) -> Floats:
    """The first of the sampled frames' times in each stretch of `every_s`."""
    stretch = np.floor((times_s + 0.001) / every_s)
    return times_s[np.diff(stretch, prepend=-np.inf) > 0]


class TextDetector:
    """RapidOCR's detector with the weights of its package; nothing is fetched."""

    def __init__(self) -> None:
        import rapidocr

        [weights] = Path(rapidocr.__file__).with_name("models").glob("*_det_*.onnx")
        packages = [f"{name} {metadata.version(name)}" for name in ("rapidocr", "onnxruntime")]
        self.version = ", ".join([*packages, weights.name])
        self._engine = rapidocr.RapidOCR(
            params={
                "Global.log_level": "error",
                "Det.model_path": str(weights),
                "Det.limit_side_len": SHORT_SIDE_PX,
                "Det.box_thresh": LEAST_SCORE,
                "EngineConfig.onnxruntime.intra_op_num_threads": THREADS,
                "EngineConfig.onnxruntime.inter_op_num_threads": THREADS,
            }
        )

    def share(self, rgb: Frames) -> float:
        """Share of a picture (h, w, 3) that boxes of text cover."""
        found = self._engine(rgb[:, :, ::-1].copy(), use_det=True, use_cls=False, use_rec=False)
        boxes = getattr(found, "boxes", None)
        covered = np.zeros(rgb.shape[:2], np.uint8)
        for box in () if boxes is None else boxes:
            corners = np.asarray(box, np.float32)
            _, sides, _ = cv2.minAreaRect(corners)
            if min(sides) <= TALLEST * rgb.shape[0]:
                cv2.fillPoly(covered, [corners.round().astype(np.int32)], 1)
        return float(covered.mean())


def load_detector() -> TextDetector:
    """The detector, loaded once per process. Raises StopRunError if it is not installed."""
    with _LOADING:
        return _load()


@functools.cache
def _load() -> TextDetector:
    try:
        return TextDetector()
    except ImportError as error:
        raise StopRunError(
            "overlay_text.enabled is true, and RapidOCR is not installed: "
            "pip install 'proofreel[text]', or set it to false"
        ) from error


def _write(times_s: Floats, shares: list[float], path: Path) -> None:
    table = pa.Table.from_arrays(
        [pa.array(times_s, pa.float64()), pa.array(shares, pa.float32())], schema=TEXT_SCHEMA
    )
    write_table(table, path)


def read_text(path: Path) -> TextTable:
    """The text table that `measure_text` made."""
    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_file(source).read_all()
        return TextTable(
            table["time_s"].to_numpy().astype(np.float64),
            table["share"].to_numpy().astype(np.float64),
        )
