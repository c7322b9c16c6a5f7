"""What a model is shown: the pixels at each time are those of the frame with that time.

That holds for every rate and every policy of choosing frames; and each policy sees what it is
for: every shot of a clip, or the place where the picture changes.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from types import ModuleType

import numpy as np
import pytest
from clock_video import Clock, board, read_board, write_pictures
from shown_clips import ONE_CLIP, Cut, cut_whole, settings

import transforms.annotate.seeing as seeing
from transforms.annotate.frame_times import even_frames
from transforms.annotate.seeing import Looker, look, measure_changes
from transforms.annotate.teacher import FramePolicy, Request
from transforms.annotate.teachers import _entries
from transforms.memo import MemoStore

RATES = [Fraction(8), Fraction(25), Fraction(30000, 1001), Fraction(60)]


# Times and pixels --------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("policy", FramePolicy)
@pytest.mark.parametrize(("fps", "most"), [(0.7, 64), (2.0, 64), (8.0, 64), (100.0, 40)])
def test_frames_and_times_belong_together(
    clock: Callable[[Fraction], Cut], rate: Fraction, policy: FramePolicy, fps: float, most: int
) -> None:
    made = clock(rate)
    total = made.media.num_frames
    scene = made.with_shots(0, total // 3, total // 3 + 2, total - 1)
    asked = settings(frames=policy, fps=fps, max_frames=most, frame_height_px=84, family="qwen3_vl")
    frames = Looker(made.store, asked, kept=1).look(scene)
    assert len(frames.pixels) == len(frames.times_s) <= most
    assert sorted(set(frames.times_s)) == list(frames.times_s)
    numbers = [read_board(pixels) for pixels in frames.pixels]
    # The picture itself says which frame it is: its time is that frame's presentation time.
    assert frames.times_s == pytest.approx([float(number / rate) for number in numbers], abs=1e-6)
    assert frames.indices == tuple(numbers)
    assert frames.times_s[0] >= 0 and frames.times_s[-1] < frames.duration_s
    assert frames.is_even is (numbers == list(even_frames(total, len(numbers))))
    if policy is FramePolicy.UNIFORM:
        assert frames.is_even
        wanted = round(made.media.duration_s * fps)
        assert len(frames.times_s) == min(wanted + wanted % 2, most)


def test_frames_at_given_times(clock: Callable[[Fraction], Cut]) -> None:
    made = clock(Fraction(30000, 1001))
    asked = settings(frame_height_px=84)
    looker = Looker(made.store, asked, kept=4)
    tick_s = 1001 / 30000
    # As a tool call names them: rounded. And: off by less than half a frame, twice, past the end.
    for times_s, numbers in (
        ((round(7 * tick_s, 6), round(100 * tick_s, 6)), [7, 100]),
        ((6.6 * tick_s, 7.4 * tick_s, 8.6 * tick_s), [7, 9]),
        ((0.0, 99.0), [0, made.media.num_frames - 1]),
    ):
        frames = looker.look(made.scene, times_s)
        assert [read_board(pixels) for pixels in frames.pixels] == numbers
        assert frames.times_s == pytest.approx([number * tick_s for number in numbers])
        assert not frames.is_even


def test_no_more_frames_than_allowed(scenes: ModuleType, clip_store: MemoStore) -> None:
    media = scenes.make_scene(clip_store, 3, num_frames=40).media
    frames = look(
        clip_store.path(media.ref), media, settings(fps=8, max_frames=5, frame_height_px=56)
    )
    # Qwen2.5-VL, which an unknown family counts as, takes two at a time.
    assert frames.times_s == (0.0, 1.25, 2.5, 3.75)
    assert (frames.fps, frames.num_frames, frames.duration_s) == (8.0, 40, 5.0)
    assert frames.pixels.shape == (4, 56, 84, 3) and frames.pixels.dtype == np.uint8
    asked = settings(fps=8, max_frames=5, frame_height_px=56, family="images")
    images = look(clip_store.path(media.ref), media, asked)
    assert images.times_s == (0.0, 1.0, 2.0, 3.0, 4.0)


def test_a_clip_of_one_frame_is_shown(scenes: ModuleType, clip_store: MemoStore) -> None:
    scene = scenes.make_scene(clip_store, 9, num_frames=1)
    for policy in FramePolicy:
        frames = Looker(clip_store, settings(frames=policy), kept=1).look(scene)
        assert frames.times_s == (0.0,) and frames.is_even


def test_fewer_tokens_mean_fewer_frames(clock: Callable[[Fraction], Cut]) -> None:
    made = clock(Fraction(25))
    asked = {"fps": 4.0, "frame_height_px": 84, "family": "qwen3_vl"}
    free = Looker(made.store, settings(**asked), kept=1).look(made.scene)
    held = Looker(made.store, settings(**asked, max_visual_tokens=150), kept=1).look(made.scene)
    assert len(free.times_s) == 28 and len(held.times_s) == 12
    assert held.pixels.shape[1:] == free.pixels.shape[1:] == (96, 128, 3)
    assert held.is_even


# The policies on pictures ------------------------------------------------------------------------


def test_every_shot_of_a_clip_is_seen(clock: Callable[[Fraction], Cut]) -> None:
    made = clock(Fraction(25))
    starts = [0, 40, 43, 90, 120, 170]
    scene = made.with_shots(*starts)
    asked = settings(frames="shots", fps=1.5, frame_height_px=84, family="images")
    frames = Looker(made.store, asked, kept=1).look(scene)
    numbers = [read_board(pixels) for pixels in frames.pixels]
    edges = [*starts, made.media.num_frames]
    for start, end in pairwise(edges):
        assert any(start <= number < end for number in numbers)
    assert not set(numbers) & set(starts[1:])


def test_shots_are_in_clip_time(clock: Callable[[Fraction], Cut]) -> None:
    """A clip that begins late in its source: the same frames as if it began at 0."""
    made = clock(Fraction(25))
    scene = made.with_shots(0, 100)
    clip = scene.clip
    late = clip.model_copy(
        update={
            "start_s": clip.start_s + 1000,
            "end_s": clip.end_s + 1000,
            "shot_starts_s": tuple(start_s + 1000 for start_s in clip.shot_starts_s),
        }
    )
    asked = settings(frames="shots", frame_height_px=84)
    shown = [
        Looker(made.store, asked, kept=1).look(one)
        for one in (scene, scene.model_copy(update={"clip": late}), made.scene)
    ]
    assert shown[0].indices == shown[1].indices != shown[2].indices


def test_a_reply_is_of_the_shots_that_chose_its_frames(clock: Callable[[Fraction], Cut]) -> None:
    made = clock(Fraction(25))
    requests = [Request(scene=made.with_shots(*starts)) for starts in ((0,), (0, 50))]
    assert requests[0].id == requests[1].id, "neither span nor file tell"
    for policy, keys in ((FramePolicy.SHOTS, 2), (FramePolicy.UNIFORM, 1)):
        asked = settings(kind="openai", model="m", frames=policy)
        found = {
            entry.ref("")
            for request in requests
            for entry in _entries(asked, made.store, ONE_CLIP, [request]).values()
        }
        assert len(found) == keys


@pytest.fixture(scope="module")
def burst(tmp_path_factory: pytest.TempPathFactory) -> Cut:
    """Eight seconds of a still board; from 5 s to 6 s another board with every frame."""
    folder = tmp_path_factory.mktemp("burst")
    clock = Clock("burst.mp4", tuple(range(200)), options={"crf": "8"})
    numbers = [number if 125 <= number < 150 else 7 for number in range(200)]
    pictures = (board(number, *clock.size) for number in numbers)
    path = folder / clock.name
    write_pictures(path, clock, pictures)
    return cut_whole(path, MemoStore(str(folder / "store")))


def test_changes_are_those_of_the_pictures(burst: Cut) -> None:
    changes = measure_changes(burst.store, burst.media)
    assert len(changes) == 200 and changes[0] == 0.0
    big = {number for number, change in enumerate(changes) if change > 5}
    # Batches of 64 frames are joined: 128 lies in the burst, 64 does not.
    assert big == set(range(125, 151))


def test_changes_are_measured_once(burst: Cut, monkeypatch: pytest.MonkeyPatch) -> None:
    first = measure_changes(burst.store, burst.media)
    monkeypatch.setattr(seeing, "small_frames", None)
    assert measure_changes(burst.store, burst.media) == first


def test_detail_looks_where_the_picture_changes(burst: Cut) -> None:
    asked = settings(frames="detail", fps=4.0, frame_height_px=84)
    frames = Looker(burst.store, asked, kept=1).look(burst.scene)
    assert len(frames.times_s) == 32
    seen = [read_board(pixels) for pixels in frames.pixels]
    assert seen == [n if 125 <= n < 150 else 7 for n in frames.indices]
    assert sum(number != 7 for number in seen) == 10, "uniform would show 4"
    # Times that a tool call names need no measuring.
    assert len(Looker(burst.store, asked, kept=1).look(burst.scene, (5.2,)).times_s) == 1
