"""What a model is shown of a clip: which frames, their pixels, and their true times."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import av
import numpy as np
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

from schemas.clip import Media
from transforms.annotate.teacher import TeacherSettings

EPSILON_S = 1e-4
"""Slack when a chosen time meets a presentation time: both are rounded, frames are 1e-3 apart."""


@dataclass(frozen=True)
class Frames:
    """Frames of a clip in order of time, with what places them in the clip."""

    pixels: NDArray[np.uint8]
    """(T, H, W, 3) RGB."""
    times_s: tuple[float, ...]
    """Presentation time of each frame, clip time."""
    fps: float
    """Frame rate of the clip's file, not of the frames shown."""
    num_frames: int
    """Frames in the clip's file."""
    duration_s: float

    @property
    def indices(self) -> tuple[int, ...]:
        """Place of each frame in the clip's file, which has a constant frame rate."""
        return tuple(round(time_s * self.fps) for time_s in self.times_s)


def choose_times(duration_s: float, fps: float, max_frames: int) -> tuple[float, ...]:
    """Times at which to look: evenly over the clip from 0, about `fps` per second.

    The step is duration / number exactly, not 1 / fps: models that rebuild times from the number
    of frames and the duration (Qwen2.5-VL: seconds per grid) then meet the true ones. All times
    are in [0, duration). Raises ValueError unless duration, fps and max_frames are positive.
    """
    if duration_s <= 0 or fps <= 0 or max_frames < 1:
        raise ValueError(f"nothing to show: {duration_s} s at {fps} fps, {max_frames} frames")
    number = min(max(round(duration_s * fps), 1), max_frames)
    return tuple(index * duration_s / number for index in range(number))


def scaled_size(width_px: int, height_px: int, to_height_px: int) -> tuple[int, int]:
    """Width and height with the same aspect, `to_height_px` high, both rounded to even."""
    width = to_height_px * width_px / height_px
    return max(2 * round(width / 2), 2), max(2 * round(to_height_px / 2), 2)


def look(path: Path, media: Media, settings: TeacherSettings) -> Frames:
    """The frames of a clip that the settings ask for.

    Never more frames than the clip has. Raises ValueError if the file can't be decoded.
    """
    fps = media.fps_num / media.fps_den
    times_s = choose_times(media.duration_s, min(settings.fps, fps), settings.max_frames)
    size = scaled_size(media.width_px, media.height_px, settings.frame_height_px)
    try:
        shown = _decode(path, times_s, size)
    except (av.FFmpegError, OSError) as error:
        raise ValueError(f"the clip's file can't be decoded: {type(error).__name__}") from error
    if not shown:
        raise ValueError("the clip's file holds no frame")
    return Frames(
        pixels=np.stack([pixels for _, pixels in shown]),
        times_s=tuple(time_s for time_s, _ in shown),
        fps=fps,
        num_frames=media.num_frames,
        duration_s=media.duration_s,
    )


def _decode(
    path: Path, times_s: Sequence[float], size: tuple[int, int]
) -> list[tuple[float, NDArray[np.uint8]]]:
    """For each time the frame on screen then, once: (its presentation time, (H, W, 3) RGB)."""
    shown: list[tuple[float, NDArray[np.uint8]]] = []
    # Only mp4: a clip's file is of our own making, and nothing else may be opened in its place.
    with av.open(str(path), format="mp4", options={"protocol_whitelist": "file"}) as container:
        stream = container.streams.video[0]
        origin_s: float | None = None
        on_screen: tuple[float, av.VideoFrame] | None = None
        waiting = list(times_s)
        for frame in container.decode(stream):
            if frame.pts is None or frame.time_base is None:
                continue
            time_s = float(frame.pts * frame.time_base)
            origin_s = time_s if origin_s is None else origin_s
            time_s -= origin_s
            if on_screen and waiting and waiting[0] < time_s - EPSILON_S:
                shown.append((on_screen[0], _rgb(on_screen[1], size)))
                # A slow clip shows one frame at several chosen times: it is taken once.
                while waiting and waiting[0] < time_s - EPSILON_S:
                    waiting.pop(0)
            if not waiting:
                return shown
            on_screen = time_s, frame
        if on_screen and waiting:
            shown.append((on_screen[0], _rgb(on_screen[1], size)))
    return shown


def _rgb(frame: av.VideoFrame, size: tuple[int, int]) -> NDArray[np.uint8]:
    width, height = size
    # AREA averages when it makes smaller, so that thin things do not vanish.
    small = frame.reformat(width, height, format="rgb24", interpolation=Interpolation.AREA)
    return np.asarray(small.to_ndarray(), dtype=np.uint8)


T = TypeVar("T")


class Recent(Generic[T]):
    """What was made of the last few clips, for the several requests about the same clip.

    Safe for threads: who asks for what another thread is making waits for it.
    """

    def __init__(self, make: Callable[[Media], T], size: int) -> None:
        self._make = make
        self._size = size
        self._lock = threading.Lock()
        self._made: OrderedDict[str, Future[T]] = OrderedDict()

    def of(self, media: Media) -> T:
        """What `make` gives for the clip, or raises."""
        with self._lock:
            future = self._made.get(media.ref)
            ours = future is None
            if future is None:
                future = self._made[media.ref] = Future()
                while len(self._made) > self._size:
                    self._made.popitem(last=False)
            self._made.move_to_end(media.ref)
        if ours:
            try:
                future.set_result(self._make(media))
            except BaseException as error:  # noqa: BLE001 - else those who wait would wait for ever
                with self._lock:
                    self._made.pop(media.ref, None)
                future.set_exception(error)
        return future.result()
