"""What is seen in a picture: coloured shapes, by colour and outline of connected pixels.

Looks at nothing but the pixels that it is given.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Box = tuple[float, float, float, float]

HUES = {"red": (340, 20), "yellow": (38, 72), "green": (90, 165), "blue": (205, 262),
        "purple": (268, 320)}  # fmt: skip
"""Ranges of hue in degrees, the first over 360."""
COLOURS = (*HUES, "white")
FORMS = ("circle", "square", "triangle", "cross")
LEAST_SHARE = 0.004
"""Of the picture: what is smaller is a trace of the codec."""
LEAST_VALUE, LEAST_SATURATION = 90, 90
"""Of 255: what is darker or greyer is ground."""


@dataclass(frozen=True)
class Seen:
    """A shape in one picture; corners relative to the picture."""

    colour: str
    form: str
    box: Box


def look(pixels: NDArray[np.uint8]) -> tuple[Seen, ...]:
    """The shapes in a picture (H, W, 3) RGB, the largest first."""
    height, width = pixels.shape[:2]
    found = []
    for colour, mask in _masks(pixels).items():
        _, labels, stats, _ = cv2.connectedComponentsWithStats(
            mask.astype(np.uint8), connectivity=4
        )
        for label, (left, top, across, down, area) in enumerate(stats[1:], 1):
            if area < LEAST_SHARE * height * width:
                continue
            piece = labels[top : top + down, left : left + across] == label
            box = (
                left / width, top / height, (left + across) / width, (top + down) / height
            )  # fmt: skip
            found.append((int(area), Seen(colour, form_of(piece), box)))
    return tuple(seen for _, seen in sorted(found, key=lambda one: -one[0]))


def is_black(pixels: NDArray[np.uint8]) -> bool:
    """Whether there is nothing, not even ground: a frame that is hidden."""
    return bool(pixels.max() < 16)


def _masks(pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.bool_]]:
    hsv = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV_FULL)
    hue = hsv[..., 0].astype(np.float32) * (360 / 256)
    saturation, value = hsv[..., 1], hsv[..., 2]
    coloured = (saturation >= LEAST_SATURATION) & (value >= LEAST_VALUE)
    masks = {}
    for colour, (low, high) in HUES.items():
        inside = (hue >= low) & (hue <= high) if low < high else (hue >= low) | (hue <= high)
        masks[colour] = inside & coloured
    masks["white"] = (saturation < 60) & (value >= 175)
    return masks


def form_of(piece: NDArray[np.bool_]) -> str:
    """The form of a shape from the pixels (H, W) of the box around it."""
    fill = float(piece.mean())
    if fill > 0.9:
        return "square"
    if fill > 0.68:
        return "circle"
    third = max(len(piece) // 3, 1)
    above, below = float(piece[:third].mean()), float(piece[-third:].mean())
    return "triangle" if above < 0.6 * below else "cross"
