"""What a model is shown of a clip: which frames, their pixels, and their true times."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from schemas.case import Scene
from schemas.clip import Media
from schemas.view import WHOLE, View
from transforms.annotate.clip_frames import decode_frames
from transforms.annotate.frame_times import choose_frames, even_frames
from transforms.annotate.teacher import FramePolicy, TeacherSettings
from transforms.annotate.views import HIDDEN, frames_of_view
from transforms.annotate.visual_tokens import plan_frames
from transforms.memo import MemoStore
from transforms.video.media_process import ffmpeg_version
from transforms.video.small_frames import small_frames

VERSION = "3"
"""Raise when the same settings would show other frames or other pixels."""

CHANGES_VERSION = "1"
CHANGES_WIDTH_PX = 64


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
    view: View = WHOLE
    """What of the clip is shown; pixels at the same times differ between views."""

    @property
    def is_even(self) -> bool:
        """Whether the frames lie evenly over the clip, to within half a frame of its file."""
        return self.indices == even_frames(self.num_frames, len(self.times_s))

    @property
    def indices(self) -> tuple[int, ...]:
        """Place of each frame in the clip's file, which has a constant frame rate."""
        return tuple(round(time_s * self.fps) for time_s in self.times_s)


def look(
    path: Path,
    media: Media,
    settings: TeacherSettings,
    times_s: Sequence[float] | None = None,
    *,
    view: View = WHOLE,
    starts_s: Sequence[float] = (),
    changes: Sequence[float] = (),
) -> Frames | None:
    """The frames of a clip nearest to these clip times, or those that the settings ask for.

    `view` says which of them are shown; None if none is.

    `starts_s` are the clip times at which its shots begin, `changes` how much each frame differs
    from the one before: what the policies `shots` and `detail` go by. Never more frames than the
    clip has. Raises ValueError if the file can't be decoded, or if the settings allow too few
    tokens for two frames.
    """
    fps = media.fps_num / media.fps_den
    total = media.num_frames
    plan = plan_frames(settings, media.duration_s, total, media.width_px, media.height_px)
    if times_s is None:
        # As the cutter does: half a frame rounds up.
        starts = [int(start_s * fps + 0.5 + 1e-6) for start_s in starts_s]
        numbers: Sequence[int] = choose_frames(
            settings.frames, total, plan.number, starts, changes, plan.together
        )
    else:
        numbers = sorted({min(max(round(time_s * fps), 0), total - 1) for time_s in times_s})
    shown = frames_of_view(view, numbers, fps, total)
    if not shown.numbers:
        return None
    size_px = (plan.width_px, plan.height_px)
    wanted = sorted({*shown.numbers, *shown.pictures} - {HIDDEN})
    decoded = dict(zip(wanted, decode_frames(path, media, wanted, size_px, view.box), strict=True))
    black = np.zeros_like(next(iter(decoded.values()))[1])
    pixels = [black if one == HIDDEN else decoded[one][1] for one in shown.pictures]
    return Frames(
        pixels=np.stack(pixels),
        times_s=tuple(decoded[number][0] for number in shown.numbers),
        fps=fps,
        num_frames=total,
        duration_s=media.duration_s,
        view=view,
    )


def measure_changes(store: MemoStore, media: Media) -> list[float]:
    """How much each frame of a clip differs from the one before: mean absolute difference of luma.

    0..255, cuts included, 0 for the first frame; measured once per file. Raises ValueError if the
    file does not decode, Rejected if that takes too long or crashes.
    """
    entry = store.entry(
        "changes", CHANGES_VERSION, media.sha256, CHANGES_WIDTH_PX, ffmpeg_version()
    )
    changes: list[float] | None = entry.get()
    if changes is None:
        changes = []
        before: NDArray[np.int16] | None = None
        for batch in small_frames(store.path(media.ref), media, CHANGES_WIDTH_PX, "gray"):
            frames = batch.astype(np.int16)
            joined = np.concatenate([frames[:1] if before is None else before, frames])
            changes += np.abs(np.diff(joined, axis=0)).mean(axis=(1, 2)).round(3).tolist()
            before = frames[-1:]
        entry.put(changes)
    return changes


class Looker:
    """Looks at clips of a store, and keeps the last few for the other requests about them.

    Safe for threads.
    """

    def __init__(self, store: MemoStore, settings: TeacherSettings, kept: int) -> None:
        self._store = store
        self._settings = settings
        self._recent: Recent[tuple[str, tuple[float, ...] | None, View], Frames | None]
        self._recent = Recent(kept)

    def look(
        self, scene: Scene, times_s: tuple[float, ...] | None = None, view: View = WHOLE
    ) -> Frames | None:
        """The frames of a scene at these times, or those that the settings ask for.

        Of them those that the view shows; None if it shows none.

        Raises ValueError if the clip can't be decoded, Rejected if that takes too long or crashes.
        """
        key = (scene.media.ref, times_s, view)
        return self._recent.of(key, lambda: self._look(scene, times_s, view))

    def _look(self, scene: Scene, times_s: tuple[float, ...] | None, view: View) -> Frames | None:
        media, policy = scene.media, self._settings.frames
        detail = policy is FramePolicy.DETAIL and times_s is None
        return look(
            self._store.path(media.ref),
            media,
            self._settings,
            times_s,
            view=view,
            starts_s=[start_s - scene.clip.start_s for start_s in scene.clip.shot_starts_s],
            changes=measure_changes(self._store, media) if detail else (),
        )


K = TypeVar("K")
T = TypeVar("T")


class Recent(Generic[K, T]):
    """The last few things that were made, for those who ask for the same again.

    Safe for threads: who asks for what another thread is making waits for it.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._made: OrderedDict[K, Future[T]] = OrderedDict()

    def of(self, key: K, make: Callable[[], T]) -> T:
        """What was made for this key, or what `make` gives now; raises what it raises."""
        with self._lock:
            future = self._made.get(key)
            ours = future is None
            if future is None:
                future = self._made[key] = Future()
                while len(self._made) > self._size:
                    self._made.popitem(last=False)
            self._made.move_to_end(key)
        if ours:
            try:
                future.set_result(make())
            except BaseException as error:  # noqa: BLE001 - else those who wait would wait for ever
                with self._lock:
                    self._made.pop(key, None)
                future.set_exception(error)
        return future.result()
