"""Measures say what is in the picture: direction, speed, colours, black, frozen, sharp."""

from __future__ import annotations

import itertools
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from clock_video import Clock, analysed, write_pictures

from transforms.memo import MemoStore
from transforms.video.analyse import sharpness_column
from transforms.video.decode import FRAME_HEIGHT_PX, FRAME_WIDTH_PX, Batch
from transforms.video.measures import (
    COLOR_NAMES,
    FrameMeasurer,
    clip_measures,
    color_shares,
    read_rows,
    sharpness,
    write_table,
)
from transforms.video.shots import NoScorer

FPS = 20
FRAMES = 40


def texture(width_px: int, height_px: int, seed: int = 7) -> np.ndarray:
    """A picture with detail at all sizes, (h, w, 3)."""
    random = np.random.default_rng(seed)
    picture = np.zeros((height_px, width_px))
    for cell in (1, 2, 4, 8, 16, 32):
        coarse = random.random((height_px // cell + 2, width_px // cell + 2))
        picture += cv2.resize(coarse, (width_px, height_px), interpolation=cv2.INTER_CUBIC)
    span = np.ptp(picture)
    levels = ((picture - picture.min()) / span * 255).astype(np.uint8)
    return np.repeat(levels[..., None], 3, axis=2)


def measured(pictures: list[np.ndarray], folder: Path, batch: int = 16) -> dict[str, np.ndarray]:
    """Rows of the frame table for small frames at 20 per second."""
    measurer = FrameMeasurer(NoScorer())
    for start in range(0, len(pictures), batch):
        part = pictures[start : start + batch]
        times = (start + np.arange(len(part))) / FPS
        measurer.add(Batch(times, np.stack(part)))
    path = folder / f"rows{batch}.arrow"
    write_table(measurer.table(), path)
    return dict(read_rows(path, 0, len(pictures)))


def of_level(level: int) -> np.ndarray:
    return np.full((FRAME_HEIGHT_PX, FRAME_WIDTH_PX, 3), level, np.uint8)


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


@pytest.mark.parametrize(
    ("name", "rgb"),
    [
        ("black", (0, 0, 0)),
        ("black", (25, 20, 25)),
        ("gray", (128, 128, 128)),
        ("gray", (90, 95, 92)),
        ("white", (255, 255, 255)),
        ("white", (240, 238, 235)),
        ("red", (255, 0, 0)),
        ("red", (180, 20, 20)),
        ("orange", (255, 140, 0)),
        ("brown", (120, 70, 20)),
        ("yellow", (255, 255, 0)),
        ("green", (0, 128, 0)),
        ("green", (100, 220, 90)),
        ("cyan", (0, 255, 255)),
        ("blue", (0, 0, 255)),
        ("blue", (40, 90, 200)),
        ("purple", (128, 0, 160)),
        ("pink", (255, 105, 180)),
    ],
)
def test_plain_pictures_have_the_colour_that_one_sees(
    tmp_path: Path, name: str, rgb: tuple[int, int, int]
) -> None:
    picture = np.full((96, 128, 3), rgb, np.uint8)
    clock = Clock("color.mp4", tuple(range(5)), options={"crf": "1"})
    write_pictures(tmp_path / "color.mp4", clock, [picture] * 5)
    store = MemoStore(str(tmp_path / "store"))
    _, decoded = analysed(tmp_path / "color.mp4", store)
    rows = read_rows(store.path(decoded.frames_ref), 0, 5)
    shares = dict(zip(COLOR_NAMES, rows["colors"][2], strict=True))
    assert shares[name] == pytest.approx(1.0)
    luma = (0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]) / 255
    assert rows["luma"][2] == pytest.approx(luma, abs=0.03)


def test_colour_shares_are_shares_of_the_picture() -> None:
    picture = np.zeros((2, 40, 40, 3), np.uint8)
    picture[0, :, :10] = (0, 0, 255)
    picture[0, :, 10:20] = (255, 0, 0)
    picture[1] = (255, 255, 255)
    hsv = np.stack([cv2.cvtColor(one, cv2.COLOR_BGR2HSV) for one in picture])
    shares = color_shares(hsv)
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)
    first = dict(zip(COLOR_NAMES, shares[0], strict=True))
    assert (first["red"], first["blue"], first["black"]) == (0.25, 0.25, 0.5)
    assert shares[1][COLOR_NAMES.index("white")] == 1.0


def test_every_colour_has_a_name() -> None:
    levels = np.arange(0, 256, 15, np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 1, 3)
    hsv = cv2.cvtColor(np.ascontiguousarray(cube[0]), cv2.COLOR_BGR2HSV)[None]
    assert color_shares(hsv).sum() == pytest.approx(1.0)
    assert (color_shares(hsv) > 0).all(), "and every name has a colour"


def test_black_and_frozen_shares(tmp_path: Path) -> None:
    moving = [of_level(100 + 3 * number) for number in range(10)]
    pictures = [of_level(0)] * 10 + moving + [of_level(200)] * 20
    rows = measured(pictures, tmp_path)
    # The steps into the first frame and into the two new shots are no steps within a shot.
    found = clip_measures(rows, [0, 10, 20], [0.1, 0.3, 0.2])
    assert found.black_share == 0.25
    assert found.frozen_share == pytest.approx((9 + 19) / 37, abs=1e-6)
    assert found.motion == pytest.approx(9 * 3 / 255 / 37, abs=1e-5)
    assert found.brightness == pytest.approx(
        np.mean([p[0, 0, 0] / 255 for p in pictures]), abs=1e-5
    )
    assert found.contrast == 0.0
    assert found.sharpness == 0.2


def test_a_clip_of_one_frame_has_measures(tmp_path: Path) -> None:
    found = clip_measures(measured([of_level(50)], tmp_path), [0], [])
    assert (found.motion, found.frozen_share, found.sharpness) == (0.0, 1.0, 0.0)


def test_rows_do_not_depend_on_batches(tmp_path: Path) -> None:
    world = texture(300, 100)
    pictures = [world[10:64, 2 * n : 2 * n + 96].copy() for n in range(50)]
    one, other = measured(pictures, tmp_path, 64), measured(pictures, tmp_path, 7)
    for name in one:
        np.testing.assert_allclose(one[name], other[name], atol=1e-6)


def test_sharpness_falls_with_blur() -> None:
    picture = texture(320, 224)
    found = [sharpness(picture)]
    found += [sharpness(cv2.GaussianBlur(picture, (0, 0), sigma)) for sigma in (1, 2, 4)]
    assert all(sharper > 3 * blurred for sharper, blurred in itertools.pairwise(found))
    assert sharpness(np.full((224, 224, 3), 90, np.uint8)) == 0.0


def test_sharpness_is_measured_on_sampled_frames(tmp_path: Path) -> None:
    sharp = texture(160, 120)
    blurred = cv2.GaussianBlur(sharp, (0, 0), 4)
    path = tmp_path / "focus.mp4"
    write_pictures(path, Clock("focus.mp4"), [sharp] * 25 + [blurred] * 25)
    store = MemoStore(str(tmp_path / "store"))
    _, decoded = analysed(path, store)
    times, values = sharpness_column(store.path(decoded.samples_ref))
    assert values[times < 0.9].min() > 3 * values[times > 1.1].max()
