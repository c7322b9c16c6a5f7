"""Seeking is not trusted: what clips show is what a decode from the start shows."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

import av
import numpy as np
import pytest
from clock_video import THIRDS, Clock, Pixels, Work, work_through, write_clock
from torture_work import read_clock

from transforms.memo import MemoStore
from transforms.video.media_process import ffmpeg_exe
from transforms.video.samples import frames_at, read_samples

OLD_X264 = Path(__file__).with_name("data") / "old_x264_444.mp4"
WHAT_ENCODING_COSTS = 40
"""Largest mean difference (0..255) of a field of 8x8 pixels, source to clip."""


def decoded(path: Path, seek_s: float | None = None) -> dict[float, Pixels]:
    """Pictures (h, w, 3) by time; decoding begins at the start of the file or behind a seek."""
    with av.open(str(path)) as container:
        if seek_s is not None:
            container.seek(round(seek_s * av.time_base))
        return {frame.time: frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)}


def decoded_by_ffmpeg(path: Path, seek_s: float | None = None) -> list[Pixels]:
    """The same by the program; what it thinks of it is thrown away."""
    seek = () if seek_s is None else ("-ss", str(seek_s))
    command = [ffmpeg_exe(), "-nostdin", *seek, "-i", str(path), "-f", "rawvideo"]
    done = subprocess.run(
        [*command, "-pix_fmt", "rgb24", "pipe:1"], check=True, capture_output=True
    )
    with av.open(str(path)) as container:
        width, height = container.streams.video[0].width, container.streams.video[0].height
    return list(np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3))


def distance(one: Pixels, other: Pixels) -> float:
    """How far the field that differs most differs on average, of fields of 8x8 pixels."""
    apart = one.astype(float) - other
    height, width = (side // 8 * 8 for side in apart.shape[:2])
    fields = apart[:height, :width].reshape(height // 8, 8, width // 8, 8, 3)
    return float(np.abs(fields.mean(axis=(1, 3))).max())


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("seeking")
    options = {"bf": "3", "g": "10"}
    open_gop = options | {"x264-params": "open-gop=1:keyint=10:scenecut=0"}
    refreshed = {"x264-params": "intra-refresh=1:keyint=10:bframes=0"}
    clocks = {
        "new x264, 4:4:4": Clock("444.mp4", pix_fmt="yuv444p", options=options),
        "open GOP": Clock("open.ts", options=open_gop),
        "intra refresh": Clock("refresh.mkv", options=refreshed),
    }
    written = {name: write_clock(folder, clock) for name, clock in clocks.items()}
    return {"old x264, 4:4:4": OLD_X264, **written}


NAMES = ("old x264, 4:4:4", "new x264, 4:4:4", "open GOP", "intra refresh")


@functools.cache
def _worked(path: Path, folder: Path) -> Work:
    return work_through(path, MemoStore(str(folder)), THIRDS)


@pytest.fixture(params=NAMES)
def work(
    request: pytest.FixtureRequest,
    sources: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Work:
    folder = tmp_path_factory.getbasetemp() / f"seeking-{NAMES.index(request.param)}"
    return _worked(sources[request.param], folder)


def test_clips_show_what_a_decode_from_the_start_shows(work: Work) -> None:
    source = list(decoded(work.path).values())
    assert len(work.clips) >= 3
    for clip in work.clips:
        shown = list(decoded(work.mp4(clip)).values())
        expected = source[clip.start_frame : clip.end_frame]
        assert len(shown) == len(expected)
        for one, other in zip(shown, expected, strict=True):
            assert distance(one, other) < WHAT_ENCODING_COSTS
        assert read_clock(work.mp4(clip)) == list(range(clip.start_frame, clip.end_frame))


def test_sampled_frames_are_those_of_a_decode_from_the_start(work: Work) -> None:
    with av.open(str(work.path)) as container:
        start_s = container.start_time / av.time_base
    source = {round(time_s - start_s, 3): one for time_s, one in decoded(work.path).items()}
    path = work.store.path(work.decoded.samples_ref)
    sampled = list(frames_at(path, read_samples(path).times_s))
    assert len(sampled) >= 10
    for time_s, pixels in sampled:
        other = source[round(time_s, 3)]
        rows = np.arange(other.shape[0]) * pixels.shape[0] // other.shape[0]
        columns = np.arange(other.shape[1]) * pixels.shape[1] // other.shape[1]
        assert distance(pixels[rows][:, columns], other) < 2 * WHAT_ENCODING_COSTS


@pytest.mark.parametrize("seek_s", [0.45, 1.25])
def test_seeking_first_shows_garbage_in_a_file_of_an_old_x264(seek_s: float) -> None:
    """If this fails, decoders have learned it, and the tests above prove nothing any more."""
    right, wrong = decoded(OLD_X264), decoded(OLD_X264, seek_s)
    assert len(right) == 50
    assert wrong.keys() <= right.keys()
    assert len(wrong) >= 20
    far = [distance(one, right[time_s]) > WHAT_ENCODING_COSTS for time_s, one in wrong.items()]
    assert sum(far) > 0.8 * len(far)
    by_program = decoded_by_ffmpeg(OLD_X264)
    assert all(map(np.array_equal, by_program, right.values()))
    wrong_there = decoded_by_ffmpeg(OLD_X264, seek_s)
    ends = list(right.values())[-len(wrong_there) :]
    assert len(wrong_there) >= 10
    apart = [distance(one, other) for one, other in zip(wrong_there, ends, strict=True)]
    assert min(apart) > WHAT_ENCODING_COSTS
