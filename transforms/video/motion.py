"""Motion between small frames some time apart: one dominant shift, and dense optical flow.

Both take every frame in order of time, and measure about four times a second.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from transforms.video.pixels import Pixels

SHIFT_STEP_S = 0.25
FLOW_STEP_S = 0.125
"""Between the two frames of a pair; the next pair begins as much later, so there are four a second.

So close, a pan of more than half of the picture's width per second can still be followed (the flow
finds up to some 9 of 96 pixels), and animation that holds each drawing for three frames moves.
"""
TEXTURE_SLOPE = 2
"""Luma levels (0..255) from one pixel to the next that flow can follow; where it is plainer, flow
follows noise."""
REACH_PX = 9
"""How far from texture flow is believed: the size of the patches that it compares."""

_EPSILON_S = 1e-6
_REACH = np.ones((REACH_PX, REACH_PX), np.uint8)


@dataclass(frozen=True)
class Shift:
    """One motion of the whole picture, in picture widths and heights per second."""

    x: float
    y: float
    peak: float
    """Height of the correlation peak, 0..1: how much one motion explains the picture."""


class ShiftMeter:
    """Dominant motion by phase correlation, from measured frame to measured frame."""

    def __init__(self, height_px: int, width_px: int) -> None:
        self._window = cv2.createHanningWindow((width_px, height_px), cv2.CV_32F)
        self._from: tuple[float, npt.NDArray[np.float32]] | None = None

    def measure(self, time_s: float, luma: Pixels) -> Shift | None:
        """The motion since the frame about a quarter of a second before, if it is time for it."""
        if self._from is not None and time_s - self._from[0] < SHIFT_STEP_S - _EPSILON_S:
            return None
        here = luma.astype(np.float32) / 255.0
        before, self._from = self._from, (time_s, here)
        if before is None:
            return None
        # OpenCV multiplies its inputs by the window in place: what is needed again is copied.
        (x, y), peak = cv2.phaseCorrelate(before[1], here.copy(), self._window)
        elapsed_s, (height, width) = time_s - before[0], luma.shape
        return Shift(x / width / elapsed_s, y / height / elapsed_s, peak)


@dataclass(frozen=True)
class Flow:
    """What moved between two frames."""

    from_s: float
    """Time of the earlier frame."""
    speed: float
    """Mean over the picture of the length of the optical flow, in picture widths per second."""
    difference: float
    """Mean absolute luma difference of the two frames, 0..1."""


class FlowMeter:
    """Dense inverse search flow (Kroeger et al. 2016), OpenCV's fastest preset, one level finer.

    Its result does not depend on OpenCV's number of threads (there is a test).
    """

    def __init__(self, height_per_width: float) -> None:
        """`height_per_width`: of the picture as shown; the small frames are squeezed."""
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._flow.setFinestScale(1)
        self._height_per_width = height_per_width
        self._from: tuple[float, Pixels] | None = None
        self._next_s = -np.inf

    def measure(self, time_s: float, luma: Pixels) -> Flow | None:
        """The flow since the first frame of the pair, if this is the second of one."""
        if self._from is None:
            if time_s >= self._next_s - _EPSILON_S:
                self._from = (time_s, luma.copy())
            return None
        from_s, before = self._from
        elapsed_s = time_s - from_s
        if elapsed_s < FLOW_STEP_S - _EPSILON_S:
            return None
        self._from, self._next_s = None, time_s + FLOW_STEP_S
        if elapsed_s >= 2 * FLOW_STEP_S - _EPSILON_S:
            # Few frames: what happens between one and the next must not be missed.
            self._from = (time_s, luma.copy())
        return Flow(
            from_s=from_s,
            speed=self._mean_length(before, luma) / elapsed_s,
            difference=float(cv2.norm(before, luma, cv2.NORM_L1)) / (255 * luma.size),
        )

    def _mean_length(self, before: Pixels, after: Pixels) -> float:
        """In picture widths; where there is no texture to follow, no motion is seen: 0."""
        height, width = before.shape
        # Not zeros: they would be taken for a guess to begin with.
        no_guess: Any = None
        x, y = cv2.split(self._flow.calc(before, after, no_guess))
        length = cv2.magnitude(x / width, y * (self._height_per_width / height))
        mask = _textured(before)
        return float(cv2.mean(length, mask=mask)[0]) * cv2.countNonZero(mask) / mask.size


def _textured(luma: Pixels) -> Pixels:
    """Mask (0 or 1) of the pixels near which luma changes enough to follow it."""
    across, down = cv2.spatialGradient(luma)
    steep = cv2.max(cv2.convertScaleAbs(across), cv2.convertScaleAbs(down))
    # The 3x3 Sobel operator gives 8 for a slope of one level per pixel.
    mask = (np.asarray(steep) >= 8 * TEXTURE_SLOPE).view(np.uint8)
    return np.asarray(cv2.dilate(mask, _REACH), np.uint8)
