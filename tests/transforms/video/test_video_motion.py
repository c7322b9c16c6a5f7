"""Motion: direction and speed as they are; what stands still, and what only seems to."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from clock_video import Clock, analysed, write_pictures
from made_pictures import (
    FPS,
    FRAMES,
    measured,
    measures_of,
    measures_of_file,
    of_level,
    real_picture,
    texture,
)

from transforms.memo import MemoStore
from transforms.video.decode import FRAME_HEIGHT_PX, FRAME_WIDTH_PX, Batch
from transforms.video.measures import FrameMeasurer, read_rows
from transforms.video.shots import NoScorer


@pytest.mark.parametrize(
    ("right_px", "down_px"), [(3, 0), (-3, 0), (0, 2), (0, -2), (2, 1), (-4, -2), (0, 0)]
)
def test_motion_of_a_pan_has_its_direction_and_speed(
    tmp_path: Path, right_px: int, down_px: int
) -> None:
    """Through the whole decode pass: (right, down) pixels a frame in a video of 160x120."""
    world = texture(700, 500)
    pictures = []
    for number in range(FRAMES):
        # The content moves right when the window on it moves left.
        x, y = 270 - number * right_px, 190 - number * down_px
        pictures.append(np.ascontiguousarray(world[y : y + 120, x : x + 160]))
    path = tmp_path / "pan.mp4"
    clock = Clock("pan.mp4", tuple(range(FRAMES)), Fraction(1, FPS), Fraction(FPS))
    write_pictures(path, clock, pictures)
    store = MemoStore(str(tmp_path / "store"))
    _, decoded = analysed(path, store)
    rows = read_rows(store.path(decoded.frames_ref), 0, FRAMES)
    known = ~np.isnan(rows["motion_x"])
    assert np.flatnonzero(known).tolist() == list(range(5, FRAMES, 5)), "every quarter of a second"
    right, down = right_px * FPS / 160, down_px * FPS / 120
    assert np.median(rows["motion_x"][known]) == pytest.approx(right, abs=0.04)
    assert np.median(rows["motion_y"][known]) == pytest.approx(down, abs=0.04)
    assert np.median(rows["motion_peak"][known]) > 0.3
    assert rows["difference"][0] == 0.0
    assert (rows["difference"][1:].mean() > 0.005) == bool(right_px or down_px)


def test_noise_has_no_dominant_motion(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    pictures = [
        random.integers(0, 256, (FRAME_HEIGHT_PX, FRAME_WIDTH_PX, 3), np.uint8) for _ in range(11)
    ]
    peaks = measured(pictures, tmp_path)["motion_peak"]
    assert np.nanmax(peaks) < 0.2


# Motion between pairs of frames.


def panned(step_px: float, count: int = 20) -> list[np.ndarray]:
    """Small frames of a world that moves right, in small-frame pixels a frame."""
    world = texture(1400, 500)
    pictures = []
    for number in range(count):
        shift = np.array([[1, 0, 700 - 5 * step_px * number], [0, 1, 60]], np.float32)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        view = cv2.warpAffine(world, shift, (480, 270), flags=flags)
        size = (FRAME_WIDTH_PX, FRAME_HEIGHT_PX)
        pictures.append(cv2.resize(view, size, interpolation=cv2.INTER_AREA))
    return pictures


@pytest.mark.parametrize("step_px", [0.0, 0.1, 0.5, 1.0, 2.0])
def test_flow_has_the_speed_of_a_pan(tmp_path: Path, step_px: float) -> None:
    rows = measured(panned(step_px), tmp_path)
    known = np.flatnonzero(~np.isnan(rows["flow_speed"]))
    # Pairs of frames three apart (0.15 s), the next pair as much later.
    assert known.tolist() == [3, 9, 15]
    np.testing.assert_allclose(rows["flow_from_s"][known], np.array([0, 6, 12]) / FPS)
    speed = step_px * FPS / FRAME_WIDTH_PX
    np.testing.assert_allclose(rows["flow_speed"][known], speed, atol=0.05 * speed + 0.003)


def test_flow_is_measured_in_widths_of_the_picture_as_shown(tmp_path: Path) -> None:
    """A portrait video that moves down: its height is more than its width."""
    upright = [np.ascontiguousarray(p.transpose(1, 0, 2)[:54, :54]) for p in panned(1.0)]
    pictures = [cv2.resize(p, (FRAME_WIDTH_PX, FRAME_HEIGHT_PX)) for p in upright]
    speeds = []
    for height_per_width in (9 / 16, 16 / 9):
        measurer = FrameMeasurer(NoScorer(), height_per_width)
        measurer.add(Batch(np.arange(20) / FPS, np.stack(pictures)))
        speeds.append(np.nanmedian(measurer.table()["flow_speed"].to_numpy()))
    assert speeds[0] == pytest.approx(FPS / FRAME_HEIGHT_PX * 9 / 16, rel=0.05)
    assert speeds[1] == pytest.approx(FPS / FRAME_HEIGHT_PX * 16 / 9, rel=0.05)


def test_flow_does_not_depend_on_threads(tmp_path: Path, bikes: Path) -> None:
    before = cv2.getNumThreads()
    found = []
    try:
        for threads in (1, 2, 5):
            cv2.setNumThreads(threads)
            store = MemoStore(str(tmp_path / str(threads)))
            _, decoded = analysed(bikes, store)
            rows = read_rows(store.path(decoded.frames_ref), 0, decoded.num_frames)
            found.append(rows["flow_speed"])
    finally:
        cv2.setNumThreads(before)
    assert np.isfinite(found[0]).sum() > 30
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_noise_in_a_plain_picture_does_not_move(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    shape = (20, FRAME_HEIGHT_PX, FRAME_WIDTH_PX, 1)
    noisy = np.repeat(np.clip(100 + random.normal(0, 0.7, shape), 0, 255).astype(np.uint8), 3, 3)
    found = measures_of(measured(list(noisy), tmp_path))
    assert found.motion_speed < 0.002
    assert found.frozen_share == 1.0


def test_speeds_of_a_clip_leave_cuts_out(tmp_path: Path) -> None:
    rows = measured(panned(1.0, 40), tmp_path)
    # The pair of the frames 18 and 21 lies across the cut, whatever is measured there.
    rows["flow_speed"][21] = 9.0
    speed = FPS / FRAME_WIDTH_PX
    whole, cut = measures_of(rows), measures_of(rows, [0, 20])
    assert whole.motion_speed_p90 > 2 * speed
    assert cut.motion_speed_p90 == pytest.approx(speed, rel=0.05)
    assert cut.motion_speed == pytest.approx(speed, rel=0.05)
    # A new shot at the very frame of a pair's end is another shot, at its begin it is the same.
    assert measures_of(rows, [0, 21]).motion_speed_p90 < 2 * speed
    assert measures_of(rows, [0, 18]).motion_speed_p90 > 2 * speed


def test_median_and_tail_of_the_speeds(tmp_path: Path) -> None:
    rows = measured(panned(0.25, 60), tmp_path)
    known = np.flatnonzero(~np.isnan(rows["flow_speed"]))
    rows["flow_speed"][known] = np.arange(len(known)) / 100
    found = measures_of(rows)
    assert found.motion_speed == pytest.approx(np.median(np.arange(len(known))) / 100)
    assert found.motion_speed_p90 == pytest.approx(0.9 * (len(known) - 1) / 100)


# Frozen is what stands still, not what is slow or shown many times a second.


@pytest.mark.parametrize("crf", ["18", "34"])
def test_a_still_picture_is_frozen_whatever_its_encoder_does(
    tmp_path: Path, bikes: Path, crf: str
) -> None:
    clock = Clock("still.mp4", tuple(range(75)), options={"crf": crf, "g": "12"})
    write_pictures(tmp_path / "still.mp4", clock, [real_picture(bikes)] * 75)
    found = measures_of_file(tmp_path / "still.mp4", MemoStore(str(tmp_path / "store")))
    assert found.frozen_share == 1.0
    assert found.motion_speed < 0.001


def test_slow_motion_at_a_high_frame_rate_is_not_frozen(tmp_path: Path) -> None:
    world = texture(700, 300)
    pictures = []
    for number in range(120):
        shift = np.array([[1, 0, 200 - 0.02 * number], [0, 1, 60]], np.float32)
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        pictures.append(cv2.warpAffine(world, shift, (320, 180), flags=flags))
    rate = Fraction(120)
    clock = Clock("slow.mp4", tuple(range(120)), 1 / rate, rate, options={"crf": "20"})
    write_pictures(tmp_path / "slow.mp4", clock, pictures)
    found = measures_of_file(tmp_path / "slow.mp4", MemoStore(str(tmp_path / "store")))
    assert found.motion < 0.001, "hardly anything changes from frame to frame"
    assert found.frozen_share < 0.2
    assert found.motion_speed == pytest.approx(0.02 * 120 / 320, rel=0.15)


def test_a_slow_zoom_into_a_still_is_not_frozen(tmp_path: Path, bikes: Path) -> None:
    still = real_picture(bikes)
    height, width = still.shape[:2]
    pictures = []
    for number in range(75):
        grow = 1 + 0.0005 * number
        zoom = cv2.getRotationMatrix2D((width / 2, height / 2), 0.0, grow)
        pictures.append(cv2.warpAffine(still, zoom, (width, height), flags=cv2.INTER_CUBIC))
    write_pictures(tmp_path / "zoom.mp4", Clock("zoom.mp4", tuple(range(75))), pictures)
    found = measures_of_file(tmp_path / "zoom.mp4", MemoStore(str(tmp_path / "store")))
    assert found.frozen_share < 0.1


def test_a_fade_of_a_plain_picture_is_not_frozen(tmp_path: Path) -> None:
    """Nothing in it can be followed, but all of it changes."""
    found = measures_of(measured([of_level(60 + 2 * number) for number in range(60)], tmp_path))
    assert found.motion_speed == 0.0
    assert found.frozen_share == 0.0


def test_no_change_between_few_frames_is_missed(tmp_path: Path) -> None:
    """Two frames a second, of which the second and third, fourth and fifth, ... differ."""
    slides = [texture(FRAME_WIDTH_PX, FRAME_HEIGHT_PX, number // 2) for number in range(8)]
    measurer = FrameMeasurer(NoScorer())
    measurer.add(Batch(np.arange(8) / 2, np.stack(slides)))
    speeds = measurer.table()["flow_speed"].to_numpy()
    assert (speeds[1:] > 0.01).tolist() == [False, True, False, True, False, True, False]


def test_dominant_motion_does_not_hang_on_the_pairs_before(tmp_path: Path) -> None:
    world = texture(400, 200)
    shown = [world[60:114, 100 - x : 196 - x].copy() for x in (0, 5, 8, 20, 22)]
    rows = measured([one for one in shown for _ in range(5)], tmp_path)
    for number in range(1, 5):
        pair = [one for one in shown[number - 1 : number + 1] for _ in range(5)]
        alone = measured(pair, tmp_path)
        for name in ("motion_x", "motion_y", "motion_peak"):
            assert rows[name][5 * number] == alone[name][5]


def test_a_slide_show_of_few_frames_is_frozen_in_between(tmp_path: Path) -> None:
    """Four pictures, each for five seconds: no cuts are known, so that the changes count."""
    slides = [texture(320, 180, seed) for seed in range(4)]
    clock = Clock("slides.mp4", (0, 125, 250, 375))
    write_pictures(tmp_path / "slides.mp4", clock, slides)
    found = measures_of_file(tmp_path / "slides.mp4", MemoStore(str(tmp_path / "store")))
    assert found.frozen_share == pytest.approx(1 - 0.25 / 5, abs=0.01)
