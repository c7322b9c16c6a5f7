"""Sums over many small pictures at once, in whole numbers: the same on every processor.

OpenCV's vector code does in a microsecond per picture what conversions to float would take ten for.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Counts = npt.NDArray[np.int64]

# Several videos are worked on side by side. On pictures as small as ours, OpenCV's threads would
# mostly wait for each other, which costs half as much again.
cv2.setNumThreads(1)


def sums(pictures: Pixels) -> Counts:
    """Sum of each picture's pixels: (n, h, w) -> (n,). At most 8 million pixels a picture."""
    return _reduced(pictures, cv2.REDUCE_SUM)


def square_sums(pictures: Pixels) -> Counts:
    """Sum of the squares of each picture's pixels: (n, h, w) -> (n,). At most 33,000 pixels."""
    return _reduced(pictures, cv2.REDUCE_SUM2)


def shares(masks: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Share of each mask that is set: (n, h, w) -> (n,)."""
    found: npt.NDArray[np.float64] = sums(masks.view(np.uint8)) / masks[0].size
    return found


def changes(pictures: Pixels, before: Pixels) -> Counts:
    """Sum of absolute differences to the picture before: (n, h, w), (h, w) -> (n,)."""
    chain = np.concatenate([before[None], pictures])
    return sums(np.asarray(cv2.absdiff(chain[1:], chain[:-1]), np.uint8))


def planes(bgr: Pixels, conversion: int) -> list[Pixels]:
    """The channels of pictures after a conversion of OpenCV: (n, h, w, 3) -> each (n, h, w).

    One tall picture is converted instead of many small ones.
    """
    count, height, width = bgr.shape[:3]
    tall = cv2.cvtColor(bgr.reshape(count * height, width, 3), conversion)
    return [np.asarray(plane, np.uint8).reshape(count, height, width) for plane in cv2.split(tall)]


def _reduced(pictures: Pixels, operation: int) -> Counts:
    flat = pictures.reshape(len(pictures), -1)
    found = np.asarray(cv2.reduce(flat, 1, operation, dtype=cv2.CV_32S))
    return found[:, 0].astype(np.int64)
