"""What is known of a clip when a task is to be constructed from it, and how choices are drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from schemas.base import unit_interval
from schemas.case import Scene
from schemas.clip import Clip
from schemas.task import TaskKind
from transforms.memo import MemoStore
from transforms.video.alter import altered_size_px
from transforms.video.alter_planes import Planes
from transforms.video.alter_request import Alteration
from transforms.video.cut import CutSettings
from transforms.video.measures import read_rows
from transforms.video.small_frames import small_frames, small_height_px

SMALL_WIDTH_PX = 96

Floats = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]
Item = TypeVar("Item")


class DoesNotFitError(Exception):
    """A family does not fit a clip: the label would be right, but could not be seen."""


@dataclass(frozen=True)
class Construction:
    """A task as it is to be made, not yet rendered."""

    kind: TaskKind
    question: str
    answer: str
    """In the text form of its kind (`schemas.task.Answer`)."""
    evidence: tuple[tuple[int, int], ...]
    """Spans of frames [start, end) of the altered clip."""
    params: dict[str, Any]
    """How it was made, for the record."""
    alteration: Alteration
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Draw:
    """Seeded choices: each is a function of the seeds and of its own name."""

    seeds: tuple[Any, ...]

    def unit(self, *name: Any) -> float:
        """In [0, 1)."""
        return unit_interval(*self.seeds, *name)

    def integer(self, low: int, high: int, *name: Any) -> int:
        """In low..high, both included."""
        return low + int(self.unit(*name) * (high - low + 1))

    def order(self, items: Sequence[Item], *name: Any) -> list[Item]:
        """The items in a drawn order."""
        places = sorted(range(len(items)), key=lambda place: self.unit(*name, place))
        return [items[place] for place in places]


@dataclass(frozen=True)
class Look:
    """A clip's mp4, small, and what was measured on its frames. Times are frames of the mp4."""

    num_frames: int
    fps: float
    size_px: tuple[int, int]
    """Of the altered clip."""
    is_bt709: bool
    cuts: tuple[int, ...]
    """First frames of its shots, the first shot left out."""
    content_box: tuple[float, float, float, float]
    """The picture without bars, as shares of its width and height."""
    frozen_share: float
    flow_at: Floats = field(repr=False)
    """Frames at which the optical flow was measured, none of them across a cut: (m,)."""
    flow: Floats = field(repr=False)
    """Mean length of the flow there, in picture widths per second: (m,)."""
    read_small: Callable[[], Bytes] = field(repr=False)
    """Reads all frames as (n, 3, h, w), planes Y, U, V."""

    def frames_of(self, seconds: float) -> int:
        """The number of frames in a time, at least 1."""
        return max(1, round(seconds * self.fps))

    def demand_length(self, seconds: float) -> None:
        """Raise DoesNotFitError if the clip is shorter."""
        if self.num_frames < seconds * self.fps:
            raise DoesNotFitError(f"shorter than {seconds:g} s")

    def is_near_cut(self, frame: int, seconds: float) -> bool:
        """Whether a cut is less than so far away."""
        return any(abs(frame - cut) < seconds * self.fps for cut in self.cuts)

    def flow_in(self, start: int, end: int) -> Floats:
        """The flow measured in a span of frames."""
        inside = (self.flow_at >= start) & (self.flow_at < end)
        found: Floats = self.flow[inside]
        return found


def planes_of(small: Bytes) -> Planes:
    """The planes of one small frame (3, h, w)."""
    return small[0], small[1], small[2]


def look_at(scene: Scene, store: MemoStore, settings: CutSettings) -> Look:
    """What is known of a scene; its pictures are decoded when they are asked for.

    Raises OSError or ValueError if the frame table can't be read.
    """
    clip, media = scene.clip, scene.media
    fps = media.fps_num / media.fps_den
    rows = read_rows(store.path(scene.decoded.frames_ref), clip.start_frame, clip.end_frame)
    shots_s = [start_s - clip.start_s for start_s in clip.shot_starts_s[1:]]
    until_s = rows["time_s"] - clip.start_s
    since_s = rows["flow_from_s"] - clip.start_s
    measured = ~np.isnan(rows["flow_speed"]) & (since_s >= -1e-6)
    for cut_s in shots_s:
        measured &= ~((since_s < cut_s - 1e-6) & (until_s >= cut_s - 1e-6))
    return Look(
        num_frames=media.num_frames,
        fps=fps,
        size_px=altered_size_px(scene, settings),
        is_bt709=scene.video.probe.color_space == 1,
        cuts=cut_frames(clip, fps),
        content_box=clip.measures.crop_box,
        frozen_share=clip.measures.frozen_share,
        flow_at=until_s[measured] * fps,
        flow=rows["flow_speed"][measured],
        read_small=SmallFrames(scene, store),
    )


def cut_frames(clip: Clip, fps: float) -> tuple[int, ...]:
    """Frames of a clip's mp4 at which its shots begin, the first left out."""
    # As the cutter does: half a frame rounds up.
    return tuple(
        int((start_s - clip.start_s) * fps + 0.5 + 1e-6) for start_s in clip.shot_starts_s[1:]
    )


class SmallFrames:
    """Decodes a clip to small frames when first asked for them, and keeps them."""

    def __init__(self, scene: Scene, store: MemoStore) -> None:
        self._scene = scene
        self._store = store
        self._frames: Bytes | None = None

    def __call__(self) -> Bytes:
        """(n, 3, h, w), Y, U, V. Raises ValueError if the mp4 is not what it is said to be."""
        if self._frames is None:
            media = self._scene.media
            path = self._store.path(media.ref)
            batches = list(small_frames(path, media, SMALL_WIDTH_PX, "yuv444p"))
            shape = (-1, 3, small_height_px(media, SMALL_WIDTH_PX), SMALL_WIDTH_PX)
            frames = np.concatenate([batch.reshape(shape) for batch in batches])
            if len(frames) != media.num_frames:
                raise ValueError(f"{len(frames)} frames decode, {media.num_frames} were meant")
            self._frames = frames
        return self._frames
