"""What can be done to a picture: on its luma and chroma planes, as they come from the decoder.

Nothing is converted to RGB and back, so what is not altered stays as it is. The functions take
planes of any size (chroma may be half as wide and high), so that the same change can be measured on
small pictures and made on large ones. Values are of limited range: luma 16..235, chroma 16..240.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.uint8]
Planes = tuple[Plane, Plane, Plane]
"""Y, U, V."""

LUMA_BLACK, LUMA_WHITE, NO_CHROMA = 16, 235, 128
BLUR_SHARE = 0.06
"""Width of the blur as a share of the picture's height."""
OUTLINE_SHARE = 0.14
"""Width of a shape's outline as a share of its radius."""
LETTER_SHARE = 0.16
"""Height of a letter's box as a share of the picture's shorter side."""
SHIFT = 4
"""Bits of fraction in coordinates."""


def turned(planes: Planes) -> Planes:
    """Turned by half a circle."""
    return _each(planes, lambda plane: cv2.flip(plane, -1))


def mirrored(planes: Planes) -> Planes:
    return _each(planes, lambda plane: cv2.flip(plane, 1))


def negative(planes: Planes) -> Planes:
    y, u, v = planes
    chroma = _opposite(2 * NO_CHROMA)
    luma = _opposite(LUMA_BLACK + LUMA_WHITE)
    return _u8(cv2.LUT(y, luma)), _u8(cv2.LUT(u, chroma)), _u8(cv2.LUT(v, chroma))


def _opposite(total: int) -> Plane:
    """For each value what is missing to the total, as far as a byte goes."""
    return _u8(np.clip(total - np.arange(256), 0, 255))


def gray(planes: Planes) -> Planes:
    y, u, v = planes
    return y, np.full_like(u, NO_CHROMA), np.full_like(v, NO_CHROMA)


def swapped(planes: Planes) -> Planes:
    """Chroma exchanged: red looks blue, blue looks red."""
    y, u, v = planes
    return y, v, u


def blurred(planes: Planes) -> Planes:
    return _each(planes, _blur)


EFFECTS: Mapping[str, Callable[[Planes], Planes]] = {
    "turned": turned,
    "mirrored": mirrored,
    "negative": negative,
    "gray": gray,
    "swapped": swapped,
    "blurred": blurred,
}


def _blur(plane: Plane) -> Plane:
    # Box filters of whole numbers: the same on every processor. Two make a triangle.
    size = max(3, round(plane.shape[0] * BLUR_SHARE / 2) * 2 + 1)
    return _u8(cv2.blur(cv2.blur(plane, (size, size)), (size, size)))


def _each(planes: Planes, change: Callable[[Plane], Any]) -> Planes:
    y, u, v = planes
    return _u8(change(y)), _u8(change(u)), _u8(change(v))


def _u8(plane: Any) -> Plane:
    return np.ascontiguousarray(plane, np.uint8)


def draw_shape(
    planes: Planes,
    kind: str,
    yuv: tuple[int, int, int],
    center_px: tuple[float, float],
    radius_px: float,
) -> None:
    """Draw a filled shape with a black outline into the planes; sizes are of the luma plane."""
    corners = SHAPES[kind]()
    for share, values in ((1.0, (LUMA_BLACK, NO_CHROMA, NO_CHROMA)), (1.0 - OUTLINE_SHARE, yuv)):
        for plane, value in zip(planes, values, strict=True):
            scale = plane.shape[1] / planes[0].shape[1]
            points = (np.array(center_px) + corners * radius_px * share) * scale
            fixed = np.round(points * (1 << SHIFT)).astype(np.int32)
            cv2.fillPoly(plane, [fixed], value, lineType=cv2.LINE_8, shift=SHIFT)


def _polygon(count: int, turn: float = -0.25, inner: float = 1.0) -> npt.NDArray[np.float64]:
    """Corners on a circle of radius 1, every other at `inner`; turns are parts of a circle."""
    at = [(n / count + turn) * 2 * math.pi for n in range(count)]
    radii = [inner if n % 2 else 1.0 for n in range(count)]
    return np.array([(r * math.cos(a), r * math.sin(a)) for a, r in zip(at, radii, strict=True)])


SHAPES: Mapping[str, Callable[[], npt.NDArray[np.float64]]] = {
    "circle": lambda: _polygon(48),
    "square": lambda: _polygon(4, turn=0.125),
    "triangle": lambda: _polygon(3),
    "star": lambda: _polygon(10, inner=0.4),
}


def draw_letter(planes: Planes, text: str) -> None:
    """Draw a white letter on a black box into the top left corner."""
    y, u, v = planes
    side = max(16, round(min(y.shape) * LETTER_SHARE / 2) * 2)
    scale = cv2.getFontScaleFromHeight(cv2.FONT_HERSHEY_SIMPLEX, round(side * 0.6), 1)
    thickness = max(1, round(side / 10))
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    y[:side, :side] = LUMA_BLACK
    for plane in (u, v):
        plane[: side // 2, : side // 2] = NO_CHROMA
    box = y[:side, :side]
    at = ((side - width) // 2, (side + height) // 2)
    cv2.putText(box, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, LUMA_WHITE, thickness)


def yuv_of(rgb: tuple[int, int, int], *, is_bt709: bool) -> tuple[int, int, int]:
    """A colour in limited range (ITU-R BT.601 or BT.709)."""
    red, green, blue = (value / 255 for value in rgb)
    kr, kb = (0.2126, 0.0722) if is_bt709 else (0.299, 0.114)
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    u, v = (blue - luma) / (1 - kb) / 2, (red - luma) / (1 - kr) / 2
    return round(16 + 219 * luma), round(128 + 224 * u), round(128 + 224 * v)
