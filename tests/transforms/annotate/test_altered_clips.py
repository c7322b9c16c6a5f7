"""An altered clip shows the frames that it should, each as bright as it was, in any kind of clip.

Its shots begin where the pictures change; copies and full-range pictures are altered too; and
frames that do not fit into memory at once come out in the same order.
"""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from clock_video import DARK, LIGHT, decoded_clock
from constructed_clips import CUT, ONE_CLIP, clock_scene, constructor, scene_of
from hypothesis import given
from hypothesis import strategies as st

import transforms.video.alter
from schemas.case import Scene
from transforms.annotate.construct_look import look_at
from transforms.annotate.constructed import ConstructedFamily
from transforms.annotate.seeing import measure_changes
from transforms.memo import MemoStore
from transforms.video.alter import alter
from transforms.video.alter_request import Alteration, Effect, Stretch, passes
from transforms.video.cut import CutMode, CutSettings


def test_shots_begin_where_the_altered_clip_shows_them(bikes: Scene, store: MemoStore) -> None:
    """On real cuts: around each start the picture changes more than anywhere within shots."""
    known = look_at(bikes, store, CUT)
    for family in (ConstructedFamily.ORDER, ConstructedFamily.REVERSED, ConstructedFamily.SPEED):
        for seed in range(3):
            outcome = constructor(store, family, seed=seed)(bikes)
            for case in outcome.outputs:
                clip, media = case.scene.clip, case.scene.media
                assert clip.id == bikes.clip.id and clip.shot_starts_s[0] == clip.start_s
                fps = media.fps_num / media.fps_den
                starts = [round((one - clip.start_s) * fps) for one in clip.shot_starts_s]
                assert starts[-1] < media.num_frames
                changes = measure_changes(store, media)
                within = np.delete(changes, starts)
                cuts = [one for one in starts[1:] if changes[one] > 15]
                assert len(cuts) >= len(known.cuts)
                assert np.percentile(within, 95) < min(changes[one] for one in cuts)
                assert starts[1:] == cuts or family is ConstructedFamily.ORDER
    plain = Alteration((Stretch(0, 40, repeat=1), Stretch(40, 10, repeat=3), Stretch(50, 50)))
    assert plain.shot_starts([45]) == [0, 55]
    assert Alteration((Stretch(99, 100, -1),)).shot_starts([30]) == [0, 70]
    assert Alteration((Stretch(50, 50), Stretch(0, 50))).shot_starts([]) == [0, 50]


def test_copied_clips_are_altered_too(store: MemoStore, tmp_path: Path) -> None:
    options = {"bf": "2", "x264-params": "keyint=10:min-keyint=10:scenecut=0:open-gop=0"}
    exact = clock_scene(tmp_path, store, options=options)
    copy = CutSettings(mode=CutMode.COPY)
    scene = scene_of(tmp_path / "clock.mp4", store, copy, ONE_CLIP)
    assert scene.media.copied and not exact.media.copied
    media = alter(scene, Alteration((Stretch(199, 200, -1),)), store, copy)
    numbers = [number for _, number in decoded_clock(store.path(media.ref))]
    assert numbers == list(range(199, -1, -1))
    assert not media.copied


@pytest.mark.parametrize("mode", CutMode)
def test_full_range_pictures_keep_their_brightness(
    mode: CutMode, store: MemoStore, tmp_path: Path
) -> None:
    options = {"color_range": "pc", "x264-params": "keyint=10:min-keyint=10:scenecut=0"}
    clock_scene(tmp_path, store, 100, pix_fmt="yuvj420p", options=options)
    settings = CutSettings(mode=mode)
    scene = scene_of(tmp_path / "clock.mp4", store, settings, ONE_CLIP)
    assert scene.video.probe.pix_fmt == "yuvj420p"
    shown = Alteration((Stretch(0, 100),), effects=(Effect("mirrored", 50, 100),))
    media = alter(scene, shown, store, settings)
    # Dark and light fields as anybody sees them, whatever range the file is in.
    for ref in (scene.media.ref, media.ref):
        with av.open(str(store.path(ref))) as container:
            for frame in container.decode(video=0):
                levels = frame.to_ndarray(format="rgb24")
                assert np.median(levels[levels < 128]) == pytest.approx(DARK, abs=4)
                assert np.median(levels[levels > 128]) == pytest.approx(LIGHT, abs=4)


def test_frames_that_do_not_fit_into_memory_are_decoded_again(
    store: MemoStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transforms.video.alter, "HELD_BYTES", 23 * 320 * 240 * 3 // 2)
    scene = clock_scene(tmp_path, store, frames=100)
    shown = Alteration((Stretch(99, 100, -1), Stretch(30, 40), Stretch(0, 7, 2, 3)))
    media = alter(scene, shown, store, CUT)
    numbers = [number for _, number in decoded_clock(store.path(media.ref))]
    assert numbers == shown.shown()


@given(st.lists(st.integers(0, 50), min_size=1, max_size=80), st.integers(1, 20))
def test_passes_cover_all_and_hold_no_more_than_they_may(shown: list[int], held: int) -> None:
    spans = passes(shown, held)
    assert [place for start, end in spans for place in range(start, end)] == list(range(len(shown)))
    for start, end in spans:
        wanted = shown[start:end]
        assert wanted == sorted(wanted) or len(wanted) <= held


def test_frames_that_there_are_not_are_refused(carphone: Scene, store: MemoStore) -> None:
    with pytest.raises(ValueError, match="that there are not"):
        alter(carphone, Alteration((Stretch(0, 121),)), store, CUT)
