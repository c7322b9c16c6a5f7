"""Shots: a score per frame is measured in the decode pass, cuts are decided from the scores.

The two are apart, so that a threshold can change without decoding again. For the content and
adaptive detectors both halves are PySceneDetect's own code: the score is its frame score, and the
decision is its detector run over the stored scores.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator
from scenedetect import AdaptiveDetector, ContentDetector, FrameTimecode

from transforms.video.decode import Frames

Scores = npt.NDArray[np.float32]


class Detector(StrEnum):
    CONTENT = "content"
    ADAPTIVE = "adaptive"
    TRANSNETV2 = "transnetv2"
    FIXED = "fixed"


class ClipUnit(StrEnum):
    SHOT = "shot"
    SCENE = "scene"


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


class ContentScorer(ContentDetector):
    """PySceneDetect's frame score: mean change of hue, saturation and luma, 0..255."""

    def __init__(self) -> None:
        super().__init__()
        self._found: list[float] = []

    def add(self, frames: Frames) -> None:
        zero = FrameTimecode(0, fps=1.0)
        self._found += [self._calculate_frame_score(zero, frame) for frame in frames]

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


def shot_starts(
    times_s: npt.NDArray[np.float64], scores: npt.NDArray[np.float64], settings: ShotSettings
) -> list[int]:
    """Rows at which shots begin, the first row always among them."""
    if settings.detector is Detector.FIXED:
        return [0]
    if settings.detector is Detector.TRANSNETV2:
        cuts = _peaks(scores, settings.transnetv2_threshold)
    else:
        cuts = _replay(_make_detector(settings), scores)
    starts = [0]
    for row in cuts:
        if row > 0 and times_s[row] - times_s[starts[-1]] >= settings.min_shot_s:
            starts.append(row)
    return starts


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


def _peaks(scores: npt.NDArray[np.float64], threshold: float) -> list[int]:
    """Rows after the end of each run of frames above the threshold.

    TransNetV2 marks the frames of a transition; the new shot begins after the last of them.
    """
    above = scores >= threshold
    ends = np.flatnonzero(above[:-1] & ~above[1:]) + 1
    return [int(row) for row in ends]
