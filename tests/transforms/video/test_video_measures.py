"""Measures say what is in the picture: colours, exposure, black, sharp; motion has its own file."""

from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest
from clock_video import Clock, analysed, write_pictures
from made_pictures import measured, measures_of, of_level, texture

from transforms.memo import MemoStore
from transforms.video.decode import FRAME_HEIGHT_PX, FRAME_WIDTH_PX
from transforms.video.measures import (
    COLOR_NAMES,
    color_shares,
    read_rows,
)
from transforms.video.pixels import planes
from transforms.video.samples import read_samples, sharpness


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
    shares = color_shares(*planes(picture, cv2.COLOR_BGR2HSV))
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)
    first = dict(zip(COLOR_NAMES, shares[0], strict=True))
    assert (first["red"], first["blue"], first["black"]) == (0.25, 0.25, 0.5)
    assert shares[1][COLOR_NAMES.index("white")] == 1.0


def test_every_colour_has_a_name() -> None:
    levels = np.arange(0, 256, 15, np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 1, 3)
    shares = color_shares(*planes(cube, cv2.COLOR_BGR2HSV))
    assert shares.sum() == pytest.approx(1.0)
    assert (shares > 0).all(), "and every name has a colour"


def test_a_clip_has_the_means_of_its_frames(tmp_path: Path) -> None:
    moving = [of_level(100 + 3 * number) for number in range(10)]
    pictures = [of_level(0)] * 10 + moving + [of_level(200)] * 20
    # The steps into the first frame and into the two new shots are no steps within a shot.
    found = measures_of(measured(pictures, tmp_path), [0, 10, 20], [0.1, 0.3, 0.2])
    assert found.black_share == 0.25
    assert found.motion == pytest.approx(9 * 3 / 255 / 37, abs=1e-5)
    assert found.brightness == pytest.approx(
        np.mean([p[0, 0, 0] / 255 for p in pictures]), abs=1e-5
    )
    assert found.contrast == 0.0
    assert found.sharpness == 0.2
    assert found.average_shot_s == pytest.approx(2 / 3, abs=1e-6)


def test_contrast_is_the_deviation_of_luma(tmp_path: Path) -> None:
    picture = texture(FRAME_WIDTH_PX, FRAME_HEIGHT_PX)
    rows = measured([picture, picture], tmp_path)
    np.testing.assert_allclose(rows["luma"], picture[..., 0].mean() / 255, atol=1e-6)
    np.testing.assert_allclose(rows["luma_std"], picture[..., 0].std() / 255, atol=1e-6)


def test_a_clip_of_one_frame_has_measures(tmp_path: Path) -> None:
    found = measures_of(measured([of_level(50)], tmp_path))
    assert (found.motion, found.frozen_share, found.sharpness) == (0.0, 1.0, 0.0)
    assert (found.motion_speed, found.motion_speed_p90) == (0.0, 0.0)
    assert found.crop_box == (0.0, 0.0, 1.0, 1.0)


@pytest.mark.parametrize(("level", "dark", "bright"), [(15, 1, 0), (16, 0, 0), (240, 0, 1)])
def test_exposure_counts_what_is_nearly_black_or_white(
    tmp_path: Path, level: int, dark: float, bright: float
) -> None:
    half = of_level(128)
    half[:, :48] = level
    found = measures_of(measured([half] * 5, tmp_path))
    assert (found.underexposed_share, found.overexposed_share) == (dark / 2, bright / 2)
    assert found.black_share == 0.0


def test_bars_are_no_underexposure(tmp_path: Path) -> None:
    barred = of_level(128)
    barred[:9] = barred[-9:] = 0
    barred[9:18] = 255
    found = measures_of(measured([barred] * 5, tmp_path), boxes=[[0, 1 / 6, 1, 5 / 6]])
    assert found.underexposed_share == pytest.approx(0.0, abs=1e-6)
    assert found.overexposed_share == pytest.approx(0.25, abs=1e-6)
    assert found.border_share == pytest.approx(1 / 3, abs=1e-5)


def test_a_dark_picture_with_a_light_in_it_is_not_black(tmp_path: Path) -> None:
    night = of_level(4)
    night[20:30, 40:52] = 200
    found = measures_of(measured([night] * 5, tmp_path))
    assert found.brightness < 0.06
    assert found.black_share == 0.0
    night[20:30, 44:52] = 4
    assert measures_of(measured([night] * 5, tmp_path)).black_share == 1.0


def test_rows_do_not_depend_on_batches(tmp_path: Path) -> None:
    world = texture(300, 100)
    pictures = [world[10:64, 2 * n : 2 * n + 96].copy() for n in range(50)]
    one, other = measured(pictures, tmp_path, 64), measured(pictures, tmp_path, 7)
    for name in one:
        np.testing.assert_allclose(one[name], other[name], atol=1e-6)


def test_sharpness_falls_with_blur() -> None:
    picture = texture(320, 224)[..., 0]
    found = [sharpness(picture)]
    found += [sharpness(cv2.GaussianBlur(picture, (0, 0), sigma)) for sigma in (1, 2, 4)]
    assert all(sharper > 3 * blurred for sharper, blurred in itertools.pairwise(found))
    assert sharpness(np.full((224, 224), 90, np.uint8)) == 0.0
    # The formula: the variance of the Laplacian of luma in 0..1.
    laplacian = cv2.Laplacian(picture / 255.0, cv2.CV_64F)
    assert found[0] == pytest.approx(laplacian.var(), rel=1e-6)


def test_bars_do_not_make_a_blurred_picture_sharp() -> None:
    blurred = cv2.GaussianBlur(texture(320, 224)[..., 0], (0, 0), 8)
    barred = blurred.copy()
    barred[:40] = barred[-40:] = 0
    assert sharpness(barred) > 5 * sharpness(blurred)
    assert sharpness(barred, (0, 40, 320, 184)) == pytest.approx(sharpness(blurred), rel=0.3)


def test_sharpness_is_measured_on_sampled_frames(tmp_path: Path) -> None:
    sharp = texture(160, 120)
    blurred = cv2.GaussianBlur(sharp, (0, 0), 4)
    path = tmp_path / "focus.mp4"
    write_pictures(path, Clock("focus.mp4"), [sharp] * 25 + [blurred] * 25)
    store = MemoStore(str(tmp_path / "store"))
    _, decoded = analysed(path, store)
    found = read_samples(store.path(decoded.samples_ref))
    values = found.sharpness
    assert values[found.times_s < 0.9].min() > 3 * values[found.times_s > 1.1].max()
