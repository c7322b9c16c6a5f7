"""Clips of 8 to 12 s of which everything is known, with shapes that come one after the other."""

from __future__ import annotations

import importlib.util
import sys
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from tiny_vlm import clips

from schemas.case import Scene
from schemas.source import Source
from schemas.video import Decoded, Probe, Video
from transforms.memo import MemoStore

FPS = clips.FILE_FPS
STEP_S = clips.STEP_S
"""Shapes come and go on multiples of this."""
LEAST_S, MOST_S = 1.5, 2.0
"""How long a shape is there."""
SIZES = (5, 6, 7)
PACES = (2, 3)
"""In 1 / GRID of the frame per STEP_S: so fast that half a second later it is elsewhere."""

Film = clips.Clip
Shape = clips.Shape


def make_film(seed: int) -> Film:
    """Three or four shapes of different colours and forms, one after the other."""
    rng = np.random.default_rng((7, seed))
    number = int(rng.integers(3, 5))
    duration_s = int(rng.integers(8 if number == 3 else 10, 13))
    slot_s = duration_s / number
    shapes = []
    colours, forms = rng.permutation(list(clips.COLOURS)), rng.permutation(clips.FORMS)
    for place in range(number):
        length_s = float(rng.choice((LEAST_S, MOST_S)))
        first = place * slot_s
        # Half a second is left free before the next, so that no two share a frame.
        late = int((slot_s - length_s - STEP_S) / STEP_S)
        start = np.ceil(first / STEP_S) * STEP_S + int(rng.integers(0, late + 1)) * STEP_S
        start_s = max(float(start), STEP_S)
        shapes.append(_moving(rng, str(colours[place]), str(forms[place]), start_s, length_s))
    return Film(tuple(shapes), _ground(rng), 0.0, float(duration_s))


def still_film(seed: int) -> Film:
    """Three shapes that stay where they are all along: nothing in it hangs on order."""
    rng = np.random.default_rng((8, seed))
    duration_s = float(rng.integers(8, 13))
    shapes = []
    colours, forms = rng.permutation(list(clips.COLOURS)), rng.permutation(clips.FORMS)
    for place, column in enumerate(rng.permutation(3)):
        top = int(rng.integers(1, 14)) / clips.GRID
        left = (1 + 6 * int(column)) / clips.GRID
        shape = Shape(str(colours[place]), str(forms[place]), "left", 0.0, duration_s, left, top,
                      5 / clips.GRID, 0.0)  # fmt: skip
        shapes.append(shape)
    return Film(tuple(shapes), _ground(rng), 0.0, duration_s)


def mirrored_film(seed: int) -> Film:
    """A shape, another, and the first again: backwards it is the same."""
    rng = np.random.default_rng((9, seed))
    colours, forms = rng.permutation(list(clips.COLOURS)), rng.permutation(clips.FORMS)
    left, top = (float(rng.integers(1, 14)) / clips.GRID for _ in range(2))
    times_s = ((1.0, 3.0), (4.0, 6.0), (7.0, 9.0))
    shapes = [
        Shape(str(colours[which]), str(forms[which]), "left", start_s, end_s, left, top,
              6 / clips.GRID, 0.0)
        for which, (start_s, end_s) in zip((0, 1, 0), times_s, strict=True)
    ]  # fmt: skip
    return Film(tuple(shapes), _ground(rng), 0.0, 10.0)


def _ground(rng: np.random.Generator) -> tuple[int, int, int]:
    grey = int(rng.integers(32, 80))
    low, mid, high = (grey + int(rng.integers(-6, 7)) for _ in range(3))
    return low, mid, high


def _moving(
    rng: np.random.Generator, colour: str, form: str, start_s: float, length_s: float
) -> Shape:
    size, pace = int(rng.choice(SIZES)), int(rng.choice(PACES))
    direction = str(rng.choice(list(clips.DIRECTIONS)))
    steps = round(length_s / STEP_S)
    # In the file it moves on between the steps, and must be inside until it vanishes.
    if pace * steps > clips.GRID - size:
        pace = PACES[0]
    way = pace * steps
    across, down = clips.DIRECTIONS[direction]
    corner = [
        int(rng.integers(max(0, -sign * way), clips.GRID - size - max(0, sign * way) + 1))
        for sign in (across, down)
    ]
    return Shape(colour, form, direction, start_s, start_s + length_s, corner[0] / clips.GRID,
                 corner[1] / clips.GRID, size / clips.GRID, pace / clips.GRID / STEP_S)  # fmt: skip


# Scenes ------------------------------------------------------------------------------------------


def _load_scenes() -> ModuleType:
    """How a scene with an mp4 in a store is made, as the tests of teachers make theirs."""
    path = Path(__file__).parents[2] / "tests" / "transforms" / "annotate" / "scenes.py"
    spec = importlib.util.spec_from_file_location("planted_scenes", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


_SCENES = _load_scenes()


def make_scene(store: MemoStore, code: int, *parts: Film) -> Scene:
    """The film as a clip in a store, or several as its shots; `code` tells it from the others
    there."""

    def write(path: Path, *_: Any) -> None:
        clips.write_reel(path, parts)

    _SCENES.write_clip = write  # type: ignore[attr-defined]
    scene: Scene = _SCENES.make_scene(
        store, code, num_frames=round(sum(part.end_s for part in parts) * FPS), fps=Fraction(FPS),
        width_px=clips.FILE_PX, height_px=clips.FILE_PX,
    )  # fmt: skip
    return _whole(scene)


def _whole(scene: Scene) -> Scene:
    """With all that is known of a source, so that it can be stored and read again."""
    media = scene.media
    probe = Probe(
        container="mp4", video_index=0, codec="h264", pix_fmt="yuv420p", width_px=media.width_px,
        height_px=media.height_px, rotation_deg=0, start_time_s=0.0,
        claimed_duration_s=media.duration_s, container_duration_s=media.duration_s, color_range=0,
        color_space=2, color_primaries=2, color_transfer=2, audio=None,
    )  # fmt: skip
    video = Video(
        sha256=media.sha256, size_bytes=media.size_bytes, probe=probe,
        source=Source(uri="film.mp4", location="film.mp4"),
    )  # fmt: skip
    decoded = Decoded(
        video_id=video.id, num_frames=media.num_frames, first_pts_s=0.0,
        duration_s=media.duration_s, fps_num=media.fps_num, fps_den=media.fps_den, is_vfr=False,
        truncated="", frames_ref="", samples_ref="",
    )  # fmt: skip
    return scene.model_copy(update={"video": video, "decoded": decoded})
