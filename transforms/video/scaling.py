"""Frames as RGB pixels of another size: the one way in which we scale what anybody looks at."""

from __future__ import annotations

import av
import numpy as np
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

# AREA averages when it makes smaller, so that thin things do not vanish; the flags make it the same
# on every processor.
_SCALING = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.BITEXACT


def scaled_rgb(frame: av.VideoFrame, width_px: int, height_px: int) -> NDArray[np.uint8]:
    """A frame's pixels at a size: (height_px, width_px, 3) RGB."""
    small = frame.reformat(width_px, height_px, format="rgb24", interpolation=_SCALING, threads=1)
    return np.asarray(small.to_ndarray(), dtype=np.uint8)
