"""Frames are those of the times asked for, bear their true times, and fit the size; the same clip
gives the same bytes."""

from __future__ import annotations

import io
import itertools
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from publish_helpers import FPS, HEIGHT, WIDTH, make_clip

from transforms.publish.exports.frames import (
    frame_times,
    frames_at,
    jpeg,
    nearest,
    spread,
)


@pytest.fixture(scope="module")
def mp4(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    clip = make_clip(tmp_path_factory.mktemp("clip") / "c.mp4", 2.0, "testsrc", audio=True)
    return clip.path.read_bytes()


@pytest.fixture(scope="module")
def every_frame(mp4: bytes) -> list[tuple[float, Any]]:
    """All frames by a plain decode: what the times must lead to."""
    with av.open(io.BytesIO(mp4)) as container:
        frames = list(container.decode(video=0))
    return [(float(f.time), f.to_ndarray(format="rgb24")) for f in frames]


def test_the_frames_are_those_of_a_whole_decode(mp4: bytes, every_frame: list) -> None:
    assert frame_times(mp4) == pytest.approx([time_s for time_s, _ in every_frame])
    wanted = [0.0, 0.3, 1.1, 1.9]
    shown = frames_at(mp4, wanted)
    assert [time_s for time_s, _ in shown] == pytest.approx(wanted)
    by_time = {round(time_s, 3): pixels for time_s, pixels in every_frame}
    for time_s, picture in shown:
        assert picture.size == (WIDTH, HEIGHT)
        off = np.abs(np.asarray(picture, int) - by_time[round(time_s, 3)].astype(int))
        others = min(
            np.abs(np.asarray(picture, int) - pixels.astype(int)).mean()
            for other_s, pixels in every_frame
            if abs(other_s - time_s) > 0.05
        )
        # Another scaler turns the colours: a little off, but nearer than any other frame.
        assert off.mean() < others


def test_a_time_between_frames_gives_the_nearest_with_its_own_time(mp4: bytes) -> None:
    shown = frames_at(mp4, [0.34, 0.32, 1.0, 99.0])
    assert [time_s for time_s, _ in shown] == pytest.approx([0.3, 1.0, 1.9])


def test_times_count_from_the_first_frame_where_the_stream_starts_later(tmp_path: Path) -> None:
    path = tmp_path / "late.mp4"
    with av.open(str(path), "w", options={"use_editlist": "0"}) as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.max_b_frames = 2
        for number in range(12):
            pixels = np.full((HEIGHT, WIDTH, 3), number * 20, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = number + 30
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    late = path.read_bytes()
    assert frame_times(late) == pytest.approx([number / FPS for number in range(12)])
    ((time_s, picture),) = frames_at(late, [0.5])
    assert time_s == pytest.approx(0.5)
    assert np.asarray(picture).mean() == pytest.approx(100, abs=4)


@pytest.mark.parametrize(("side", "size"), [(32, (32, 24)), (31, (30, 22)), (500, (64, 48))])
def test_sides_fit_are_even_and_never_grow(mp4: bytes, side: int, size: tuple) -> None:
    ((_, picture),) = frames_at(mp4, [0.0], side)
    assert picture.size == size


def test_jpeg_is_the_same_again_and_close(mp4: bytes) -> None:
    (first,), (again,) = frames_at(mp4, [0.7], 32), frames_at(mp4, [0.7], 32)
    data = jpeg(first[1])
    assert data == jpeg(again[1])
    opened = Image.open(io.BytesIO(data))
    assert opened.format == "JPEG"
    # In brightness: colours are kept at half the size.
    gray, was = (np.asarray(picture.convert("L"), int) for picture in (opened, first[1]))
    assert np.abs(gray - was).mean() < 6


def test_a_grid_from_the_first_frame_and_no_more_than_told() -> None:
    times_s = [n / 25 for n in range(251)]
    assert spread(times_s, 2.0, 100) == pytest.approx([n / 2 for n in range(21)], abs=0.021)
    few = spread(times_s, 2.0, 5)
    assert few == pytest.approx([0.0, 2.5, 5.0, 7.5, 10.0], abs=0.021)
    assert spread(times_s, 2.0, 1) == [0.0]
    assert spread([0.0], 2.0, 8) == [0.0]
    assert set(spread(times_s, 7.0, 60)) <= set(times_s), "only times of frames"


def test_frames_of_unequal_length_are_chosen_by_time_not_by_number() -> None:
    times_s = [0.0, 0.1, 0.2, 0.3, 2.0, 4.0]
    assert spread(times_s, 0.5, 8) == [0.0, 2.0, 4.0]
    assert spread(times_s, 1.0, 8) == [0.0, 0.3, 2.0, 4.0], "none twice"
    assert nearest(times_s, 3.0) == 2.0


def test_what_is_no_mp4_is_said(mp4: bytes) -> None:
    for bad in (b"", b"#EXTM3U\nhttp://example.org/x.mp4\n", mp4[:200]):
        with pytest.raises(ValueError, match="the clip's mp4"):
            frames_at(bad, [0.0])


def test_every_subset_gives_the_same_pictures(mp4: bytes) -> None:
    whole = dict(frames_at(mp4, [n / FPS for n in range(20)]))
    for one, other in itertools.pairwise([0.0, 0.4, 1.3, 1.9]):
        for time_s, picture in frames_at(mp4, [one, other]):
            assert picture.tobytes() == whole[time_s].tobytes()
