"""Constructed clips of which everything is known: coloured shapes that appear, move and vanish.

A clip lasts 4 s on a plain ground. It holds none to three shapes of different colours and forms;
each appears at its own moment, moves straight on and vanishes. Times lie on half seconds, boxes at
those times on twentieths of the frame, so that answers are exact and still must be seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

DURATION_S = 4.0
STEP_S = 0.5
"""Distance of the moments at which a model looks, and at which shapes appear and vanish."""
TIMES_S = tuple(STEP_S * step for step in range(round(DURATION_S / STEP_S)))
GRID = 20
"""Boxes lie on multiples of 1 / GRID of the frame at the moments of `TIMES_S`."""
FILE_PX = 224
FILE_FPS = 8
SEEN_PX = 112
"""Width and height of the file's frames, and of what the model sees."""

COLOURS = {
    "red": (215, 35, 35), "green": (40, 175, 60), "blue": (45, 75, 225), "yellow": (230, 215, 50),
    "purple": (175, 60, 200), "white": (240, 240, 240),
}  # fmt: skip
FORMS = ("circle", "square", "triangle", "cross")
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
Box = tuple[float, float, float, float]


class Split(IntEnum):
    """Which stream of seeds a clip is from; no clip of one stream is in the other."""

    TRAIN = 0
    TEST = 1


@dataclass(frozen=True)
class Shape:
    """Visible in [start_s, end_s); the box is given at start_s, in shares of the frame."""

    colour: str
    form: str
    direction: str
    start_s: float
    end_s: float
    left: float
    top: float
    size: float
    speed: float
    """Shares of the frame per second."""

    @property
    def last_s(self) -> float:
        """The last moment of `TIMES_S` at which it is visible."""
        return self.end_s - STEP_S

    def box(self, time_s: float) -> Box:
        """Corners (left, top, right, bottom) at a time, relative to the frame."""
        across, down = DIRECTIONS[self.direction]
        way = self.speed * (time_s - self.start_s)
        left, top = self.left + across * way, self.top + down * way
        # Rounded, since a corner at 0 must not come out as -0.00.
        corners = (left, top, left + self.size, top + self.size)
        left, top, right, bottom = (round(side, 6) + 0.0 for side in corners)
        return left, top, right, bottom


@dataclass(frozen=True)
class Clip:
    """Shapes in the order in which they appear, and the grey of the ground (0..255)."""

    shapes: tuple[Shape, ...]
    ground: tuple[int, int, int]
    start_s: float = 0.0
    end_s: float = DURATION_S

    def within(self, start_s: float, end_s: float) -> Clip:
        """What is seen of the clip in a part of it; a shape there from the start starts there."""
        shapes = []
        for shape in self.shapes:
            first_s, end = max(shape.start_s, start_s), min(shape.end_s, end_s)
            if first_s < end:
                left, top, _, _ = shape.box(first_s)
                shapes.append(replace(shape, start_s=first_s, end_s=end, left=left, top=top))
        return replace(self, shapes=tuple(shapes), start_s=start_s, end_s=end_s)


def make_clip(split: Split, seed: int) -> Clip:
    """The clip of a seed, the same on every machine."""
    rng = np.random.default_rng((split, seed))
    number = int(rng.choice(4, p=(0.05, 0.45, 0.35, 0.15)))
    grey = int(rng.integers(8, 80))
    low, mid, high = (int(np.clip(grey + rng.integers(-8, 9), 0, 255)) for _ in range(3))
    while True:
        shapes = _shapes(rng, number)
        if not _touch(shapes):
            return Clip(shapes, (low, mid, high))


def _shapes(rng: np.random.Generator, number: int) -> tuple[Shape, ...]:
    colours = rng.permutation(list(COLOURS))[:number]
    forms = rng.permutation(FORMS)[:number]
    starts = sorted(rng.permutation(6)[:number])
    shapes = []
    for colour, form, start in zip(colours, forms, starts, strict=True):
        end = int(rng.integers(start + 3, len(TIMES_S) + 1))
        size = int(rng.integers(5, 8))
        direction = str(rng.choice(list(DIRECTIONS)))
        pace = int(rng.integers(1, 3))
        way = pace * (end - 1 - start)
        if way > GRID - size:
            pace, way = 1, end - 1 - start
        # Where it can start so that it is inside the frame until it vanishes.
        across, down = DIRECTIONS[direction]
        corner = [
            int(rng.integers(max(0, -sign * way), GRID - size - max(0, sign * way) + 1))
            for sign in (across, down)
        ]
        shapes.append(
            Shape(
                str(colour), str(form), direction, start * STEP_S, end * STEP_S,
                corner[0] / GRID, corner[1] / GRID, size / GRID, pace / GRID / STEP_S,
            )
        )  # fmt: skip
    return tuple(shapes)


def _touch(shapes: Sequence[Shape]) -> bool:
    """Whether two shapes meet at some moment."""
    for place, one in enumerate(shapes):
        for other in shapes[:place]:
            for time_s in np.arange(one.start_s, min(one.end_s, other.end_s), STEP_S / 2):
                a, b = one.box(float(time_s)), other.box(float(time_s))
                if min(a[2], b[2]) > max(a[0], b[0]) and min(a[3], b[3]) > max(a[1], b[1]):
                    return True
    return False


def draw(clip: Clip, time_s: float, size_px: int = FILE_PX) -> Image.Image:
    """The picture at a time, square."""
    picture = Image.new("RGB", (size_px, size_px), clip.ground)
    pen = ImageDraw.Draw(picture)
    for shape in clip.shapes:
        if shape.start_s <= time_s < shape.end_s:
            left, top, right, bottom = (size_px * side for side in shape.box(time_s))
            colour, third = COLOURS[shape.colour], (right - left) / 3
            if shape.form == "circle":
                pen.ellipse((left, top, right - 1, bottom - 1), fill=colour)
            elif shape.form == "square":
                pen.rectangle((left, top, right - 1, bottom - 1), fill=colour)
            elif shape.form == "triangle":
                corners = [((left + right) / 2, top), (right - 1, bottom - 1), (left, bottom - 1)]
                pen.polygon(corners, fill=colour)
            else:
                pen.rectangle((left + third, top, right - third - 1, bottom - 1), fill=colour)
                pen.rectangle((left, top + third, right - 1, bottom - third - 1), fill=colour)
    return picture


def frames(clip: Clip, times_s: Sequence[float] = TIMES_S) -> NDArray[np.uint8]:
    """What a model sees at these times: (T, SEEN_PX, SEEN_PX, 3) RGB."""
    pictures = [draw(clip, time_s).reduce(FILE_PX // SEEN_PX) for time_s in times_s]
    return np.stack([np.asarray(picture) for picture in pictures])


def worn(pictures: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """The frames as a camera and a codec could have left them: brightness, blur, noise."""
    light = pictures.astype(np.float32) * rng.uniform(0.92, 1.08) + rng.uniform(-6, 6)
    if rng.random() < 0.5:
        share = rng.uniform(0.0, 0.2)
        for axis in (1, 2):
            around = np.roll(light, 1, axis) + np.roll(light, -1, axis)
            light = (1 - 2 * share) * light + share * around
    light += rng.standard_normal(light.shape, np.float32) * np.float32(rng.uniform(0, 5))
    return np.asarray(np.clip(light + 0.5, 0, 255), dtype=np.uint8)


def write_mp4(path: Path, clip: Clip, crf: int = 20) -> None:
    """The clip as H.264 in yuv420p with B-frames, FILE_FPS frames per second."""
    write_reel(path, (clip,), crf)


def write_reel(path: Path, parts: Sequence[Clip], crf: int = 20) -> None:
    """Clips one after the other, as shots of one file."""
    with av.open(str(path), "w", format="mp4") as container:
        # Without the last, x264's bytes depend on the processor, and now and then on chance.
        options = {"crf": str(crf), "bf": "2", "threads": "1", "x264-params": "cpu-independent=1"}
        stream = container.add_stream("libx264", rate=FILE_FPS, options=options)
        stream.width = stream.height = FILE_PX
        stream.pix_fmt = "yuv420p"
        pictures = (
            draw(part, number / FILE_FPS)
            for part in parts
            for number in range(math.ceil(part.end_s * FILE_FPS))
        )
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_image(picture)
            frame.pts, frame.time_base = number, Fraction(1, FILE_FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def metadata(times_s: Sequence[float]) -> dict[str, object]:
    """What vLLM is told of the frames, so that it knows their times."""
    return {
        "fps": float(FILE_FPS),
        "total_num_frames": round(len(times_s) * STEP_S * FILE_FPS),
        "frames_indices": [round(time_s * FILE_FPS) for time_s in times_s],
        "duration": len(times_s) * STEP_S,
        "video_backend": "constructed",
        "do_sample_frames": False,
    }
