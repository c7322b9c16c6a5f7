"""Which frames a model is shown, and that their times are true."""

from __future__ import annotations

import threading
from fractions import Fraction
from itertools import pairwise
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.clip import Media
from transforms.annotate.seeing import Recent, choose_times, look, scaled_size
from transforms.annotate.teacher import TeacherSettings
from transforms.memo import MemoStore


def settings(**fields: object) -> TeacherSettings:
    return TeacherSettings.model_validate(fields)


def test_times_are_at_the_rate_asked_for() -> None:
    assert choose_times(3.0, 2.0, 64) == (0.0, 0.5, 1.0, 1.5, 2.0, 2.5)
    assert choose_times(10.0, 2.0, 4) == (0.0, 2.5, 5.0, 7.5)
    assert choose_times(0.1, 2.0, 64) == (0.0,)
    with pytest.raises(ValueError, match="nothing to show"):
        choose_times(0.0, 2.0, 64)


@given(
    duration_s=st.floats(0.01, 10_000.0), fps=st.floats(0.05, 60.0), max_frames=st.integers(2, 500)
)
def test_times_lie_in_the_clip_and_are_even(duration_s: float, fps: float, max_frames: int) -> None:
    times = choose_times(duration_s, fps, max_frames)
    assert 1 <= len(times) <= max_frames
    assert times[0] == 0.0 and times[-1] < duration_s
    step = duration_s / len(times)
    for before, after in pairwise(times):
        assert after - before == pytest.approx(step)
    # Within half a frame of what was asked for, unless there is room for one frame only.
    assert len(times) == max_frames or abs(len(times) - max(duration_s * fps, 1)) <= 0.5


@pytest.mark.parametrize(
    ("size", "to_height", "expected"),
    [
        ((1280, 720), 336, (598, 336)),
        ((720, 1280), 336, (188, 336)),
        ((320, 240), 28, (38, 28)),
        ((320, 240), 29, (38, 28)),
        ((4000, 2), 28, (56000, 28)),
        ((2, 4000), 28, (2, 28)),
    ],
)
def test_size_is_even_and_keeps_the_aspect(
    size: tuple[int, int], to_height: int, expected: tuple[int, int]
) -> None:
    assert scaled_size(*size, to_height) == expected


@pytest.mark.parametrize("fps", [Fraction(8), Fraction(25), Fraction(30000, 1001), Fraction(1)])
@pytest.mark.parametrize("rate", [0.7, 2.0, 8.0, 100.0])
def test_frames_and_times_belong_together(
    scenes: ModuleType, clip_store: MemoStore, fps: Fraction, rate: float
) -> None:
    num_frames = 50
    media = scenes.make_scene(clip_store, 17, num_frames=num_frames, fps=fps).media
    frames = look(clip_store.path(media.ref), media, settings(fps=rate, frame_height_px=64))
    assert frames.pixels.shape[1:] == (64, 86, 3) and frames.pixels.dtype.name == "uint8"
    assert len(frames.pixels) == len(frames.times_s) > 0
    assert sorted(set(frames.times_s)) == list(frames.times_s)
    read = [scenes.read_board(pixels) for pixels in frames.pixels]
    # The picture itself says which frame it is: its time is that frame's presentation time.
    assert [code for code, _ in read] == [17] * len(read)
    for (_, number), time_s, index in zip(read, frames.times_s, frames.indices, strict=True):
        assert time_s == pytest.approx(float(number / fps), abs=1e-4)
        assert index == number
    # Each is the frame on screen at the time chosen.
    chosen = choose_times(media.duration_s, min(rate, float(fps)), 64)
    on_screen = [int(Fraction(time_s).limit_denominator(10**6) * fps) for time_s in chosen]
    assert [number for _, number in read] == on_screen


def test_no_more_frames_than_allowed(scenes: ModuleType, clip_store: MemoStore) -> None:
    media = scenes.make_scene(clip_store, 3, num_frames=40).media
    frames = look(
        clip_store.path(media.ref), media, settings(fps=8, max_frames=5, frame_height_px=28)
    )
    assert frames.times_s == (0.0, 1.0, 2.0, 3.0, 4.0)
    assert (frames.fps, frames.num_frames, frames.duration_s) == (8.0, 40, 5.0)


def test_a_broken_file_is_said_to_be_one(scenes: ModuleType, clip_store: MemoStore) -> None:
    media = scenes.make_scene(clip_store, 4).media
    content = clip_store.path(media.ref).read_bytes()
    broken = clip_store.path("broken.mp4")
    for bad in (b"", b"#EXTM3U\n/etc/passwd\n", content[: len(content) // 2]):
        broken.write_bytes(bad)
        with pytest.raises(ValueError, match="decoded"):
            look(broken, media, settings())
    broken.unlink()
    with pytest.raises(ValueError, match="decoded"):
        look(broken, media, settings())


def test_requests_about_one_clip_share_one_look(scenes: ModuleType, clip_store: MemoStore) -> None:
    first, second, third = (scenes.make_scene(clip_store, code).media for code in (1, 2, 3))
    made: list[str] = []
    gate = threading.Event()

    def make(media: Media) -> str:
        made.append(media.ref)
        gate.wait(5)
        return media.ref

    recent = Recent(make, size=2)
    threads = [threading.Thread(target=recent.of, args=(first,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join(5)
    assert made == [first.ref]
    for media in (second, third, first):
        assert recent.of(media) == media.ref
    assert made == [first.ref, second.ref, third.ref, first.ref]


def test_a_failed_look_is_not_kept(scenes: ModuleType, clip_store: MemoStore) -> None:
    media = scenes.make_scene(clip_store, 1).media
    calls: list[int] = []

    def make(media: Media) -> str:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("not now")
        return "seen"

    recent = Recent(make, size=2)
    with pytest.raises(ValueError, match="not now"):
        recent.of(media)
    assert recent.of(media) == "seen"
