"""Real detectors on clock videos of several shots: clips begin and end exactly at the cuts."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from clock_video import Clock, Pixels, Work, board, read_board, work_through, write_pictures

from transforms.memo import MemoStore
from transforms.video.measures import read_rows
from transforms.video.shots import ShotSettings

SIZE = (320, 180)
BOARD = (128, 96)
"""The clock stands in a corner: its flicker from frame to frame is no cut."""
COLORS = ((200, 30, 30), (30, 60, 200), (230, 220, 60), (20, 110, 40), (240, 240, 240))
BFRAMES = {"bf": "3", "g": "250", "sc_threshold": "0"}
"""One group of pictures, so that no cut is a key frame."""
LENGTHS = (37, 24, 51, 30, 43)
"""Frames of the shots."""


def gaps(count: int) -> tuple[int, ...]:
    """PTS in milliseconds with a still half second in each shot and a faster stretch, as phones
    and screen recordings have them."""
    steps = [500 if n % 29 == 11 else 20 if n % 40 > 30 else 40 for n in range(count - 1)]
    return tuple(itertools.accumulate(steps, initial=0))


ALL = sum(LENGTHS)
CLOCKS = [
    Clock("constant.mp4", tuple(range(ALL)), options={"bf": "0"}),
    Clock("bframes.mp4", tuple(range(ALL)), options=BFRAMES),
    Clock("bframes.mkv", tuple(range(ALL)), options=BFRAMES),
    Clock("bframes.ts", tuple(range(ALL)), options=BFRAMES),
    Clock(
        "open_gop.mp4",
        tuple(range(ALL)),
        options={"bf": "3", "x264-params": "open-gop=1:keyint=8"},
    ),
    Clock(
        "film.mp4",
        tuple(range(ALL)),
        Fraction(1_001, 24_000),
        Fraction(24_000, 1_001),
        options=BFRAMES,
    ),
    Clock("fast.mp4", tuple(range(4 * ALL)), Fraction(1, 120), Fraction(120), options=BFRAMES),
    Clock("gaps.mp4", gaps(ALL), Fraction(1, 1_000), options=BFRAMES),
    Clock("gaps.mkv", gaps(ALL), Fraction(1, 1_000), options=BFRAMES),
]


def first_rows(clock: Clock) -> list[int]:
    """Rows at which the shots begin."""
    stretch = len(clock.ticks) // ALL
    return [stretch * row for row in itertools.accumulate(LENGTHS[:-1], initial=0)]


def shot_of(number: int, clock: Clock) -> int:
    return int(np.searchsorted(first_rows(clock), number, side="right")) - 1


def pictures(clock: Clock) -> Iterator[Pixels]:
    """Shots of distinct colours and stripes; in each a clock, and a bar that moves."""
    for number in range(len(clock.ticks)):
        shot = shot_of(number, clock)
        pixels = np.empty((SIZE[1], SIZE[0], 3), np.uint8)
        pixels[:] = COLORS[shot]
        pixels[:: 4 + shot] //= 2
        at = BOARD[0] + 10 + number % 100
        pixels[: SIZE[1] // 4, at : at + 12] = 128
        pixels[: BOARD[1], : BOARD[0]] = board(number, *BOARD)
        yield pixels


def shown(path: Path) -> list[tuple[float, int, int]]:
    """(PTS in seconds, number, shot by its colour) of all frames of an mp4."""
    with av.open(str(path)) as container:
        frames = [(f.time, f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]
    found = []
    for time_s, pixels in frames:
        assert time_s is not None
        # A line of plain colour between two stripes, in the lower half.
        seen = np.median(pixels[SIZE[1] * 3 // 4 :, BOARD[0] + 10 :].reshape(-1, 3), axis=0)
        distances = np.abs(np.array(COLORS) - seen).sum(axis=1)
        assert distances.min() < 60, seen
        number = read_board(pixels[: BOARD[1], : BOARD[0]])
        found.append((time_s, number, int(distances.argmin())))
    return found


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {"": tmp_path_factory.mktemp("shots")}


@pytest.fixture(params=CLOCKS, ids=lambda clock: clock.name)
def clock(request: pytest.FixtureRequest) -> Clock:
    return request.param


@pytest.fixture(params=["content", "adaptive"])
def work(request: pytest.FixtureRequest, clock: Clock, written: dict[str, Path]) -> Work:
    """The clock worked through with one shot a clip."""
    if clock.name not in written:
        written[clock.name] = written[""] / clock.name
        write_pictures(written[clock.name], clock, pictures(clock))
    store = MemoStore(str(written[""] / f"store-{clock.name}"))
    shots = ShotSettings(detector=request.param, unit="shot", min_clip_s=0.3)
    return work_through(written[clock.name], store, shots)


def test_every_clip_is_one_shot_from_its_first_frame_to_its_last(clock: Clock, work: Work) -> None:
    assert [clip.start_frame for clip in work.clips] == first_rows(clock)
    rows = read_rows(work.store.path(work.decoded.frames_ref), 0, work.decoded.num_frames)
    times = rows["time_s"]
    tick_s = work.decoded.fps_den / work.decoded.fps_num
    for shot, clip in enumerate(work.clips):
        frames = shown(work.mp4(clip))
        assert {seen for _, _, seen in frames} == {shot}
        assert frames[0][1] == clip.start_frame
        last = frames[-1][1]
        if work.decoded.is_vfr:
            # Of frames closer than a tick one is shown, which need not be the last.
            assert last < clip.end_frame
            assert clip.end_s - times[last] <= 2 * tick_s
        else:
            assert last == clip.end_frame - 1
        assert clip.shot_starts_s == (clip.start_s,)


def test_no_frame_between_shots_is_lost_or_doubled(clock: Clock, work: Work) -> None:
    rows = read_rows(work.store.path(work.decoded.frames_ref), 0, work.decoded.num_frames)
    assert len(rows["time_s"]) == len(clock.ticks)
    edges = [(clip.start_frame, clip.end_frame) for clip in work.clips]
    assert edges[0][0] == 0
    assert edges[-1][1] == len(clock.ticks)
    assert all(left[1] == right[0] for left, right in itertools.pairwise(edges))
    for clip in work.clips:
        assert clip.start_s == rows["time_s"][clip.start_frame]
    numbers = [number for clip in work.clips for _, number, _ in shown(work.mp4(clip))]
    if work.decoded.is_vfr:
        # In a gap a frame stands for several ticks; of frames closer than a tick one is shown.
        assert numbers == sorted(numbers)
        assert set(first_rows(clock)) <= set(numbers)
    else:
        assert numbers == list(range(len(clock.ticks)))


def test_published_lengths_are_what_decodes(clock: Clock, work: Work) -> None:
    for clip in work.clips:
        media = work.media[clip.id]
        frames = shown(work.mp4(clip))
        tick_s = media.fps_den / media.fps_num
        assert media.num_frames == len(frames)
        assert media.duration_s == pytest.approx(len(frames) * tick_s, abs=1e-6)
        assert frames[-1][0] + tick_s == pytest.approx(media.duration_s, abs=1e-4)
        assert media.duration_s == pytest.approx(clip.duration_s, abs=tick_s / 2 + 1e-5)
    lengths = sum(work.media[clip.id].duration_s for clip in work.clips)
    assert lengths == pytest.approx(work.decoded.duration_s, abs=0.03 * len(work.clips))


def test_the_colour_of_a_shot_can_be_told(tmp_path: Path) -> None:
    """The test can fail: where a cut is not where it is looked for, two colours are seen."""
    clock = CLOCKS[0]
    path = tmp_path / clock.name
    write_pictures(path, clock, pictures(clock))
    found = shown(path)
    assert [number for _, number, _ in found] == list(range(ALL))
    assert [seen for _, _, seen in found] == [shot_of(number, clock) for number in range(ALL)]
