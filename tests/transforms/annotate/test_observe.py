"""Facts of shots from a frame table whose every number is known."""

from __future__ import annotations

import numpy as np
import pytest

from transforms.annotate.observe import GAZES, Gaze, Rows, observe
from transforms.video.measures import COLOR_NAMES

FPS = 10


def table(count: int = 40) -> dict[str, np.ndarray]:
    """Brightness counts up by row, so that a mean tells which rows it was taken over."""
    return {
        "luma": np.arange(count, dtype=float) / 100,
        "colors": np.eye(len(COLOR_NAMES))[np.arange(count) // 10 % len(COLOR_NAMES)],
        "motion_x": np.full(count, np.nan),
        "motion_y": np.full(count, np.nan),
    }


def times(count: int = 40) -> np.ndarray:
    return np.arange(count) / FPS


def test_shots_follow_each_other_from_nought_to_the_end_of_the_clip() -> None:
    # The first row's own time and the rounding of the table's end do not matter.
    found = observe(table(), times() + 0.004, [0, 10, 25], 4.0)
    assert [shot.start_s for shot in found.shots] == [0.0, 1.004, 2.504]
    assert [shot.end_s for shot in found.shots] == [1.004, 2.504, 4.0]
    assert found.cut_times_s == (1.004, 2.504)
    assert sum(shot.duration_s for shot in found.shots) == pytest.approx(4.0)


def test_means_are_taken_over_the_rows_of_the_shot() -> None:
    found = observe(table(), times(), [0, 10, 25], 4.0)
    assert [shot.brightness for shot in found.shots] == pytest.approx([0.045, 0.17, 0.32])
    assert [shot.main_color for shot in found.shots] == ["black", "gray", "red"]
    assert found.shots[1].share("gray") == pytest.approx(10 / 15)
    assert found.shots[1].share("white") == pytest.approx(5 / 15)


@pytest.mark.parametrize(
    ("gaze", "rows"),
    [(Gaze(0.0, 0.5, 1.0), range(10)), (Gaze(0.5, 1.0, 1.0), range(10, 20)),
     (Gaze(0.25, 0.75, 1.0), range(5, 15)), (Gaze(0.75, 1.0, 1.0), range(15, 20))],
)  # fmt: skip
def test_a_gaze_takes_its_part_of_each_shot(gaze: Gaze, rows: range) -> None:
    found = observe(table(), times(), [0, 20], 4.0, gaze)
    assert found.shots[0].brightness == pytest.approx(np.mean(rows) / 100)
    assert found.shots[1].brightness == pytest.approx(np.mean(rows) / 100 + 0.2)


def test_every_gaze_sees_something_of_a_shot_of_one_frame() -> None:
    for gaze in GAZES:
        found = observe(table(3), times(3), [0, 1, 2], 0.3, gaze)
        assert [shot.brightness for shot in found.shots] == [0.0, 0.01, 0.02]


def moving(values: list[tuple[int, float, float]]) -> Rows:
    rows = table()
    for row, x, y in values:
        rows["motion_x"][row], rows["motion_y"][row] = x, y
    return rows


def test_motion_across_a_cut_does_not_count() -> None:
    # Row 20 is the first measured in the second shot: it compares with a frame of the first.
    rows = moving([(0, 9, 9), (5, 0.2, 0), (10, 0.2, 0), (20, -9, 9), (25, 0, 0.1), (30, 0, 0.3)])
    first, second = observe(rows, times(), [0, 20], 4.0).shots
    assert (first.motion_x, first.motion_y) == pytest.approx((0.2, 0.0))
    assert (second.motion_x, second.motion_y) == pytest.approx((0.0, 0.2))
    assert first.motion_steadiness == second.motion_steadiness == pytest.approx(1.0)


def test_motion_to_and_fro_is_not_steady() -> None:
    rows = moving([(0, 0, 0), (5, 0.4, 0), (10, -0.4, 0), (15, 0.4, 0), (18, -0.4, 0)])
    [shot] = observe(rows, times(), [0], 4.0).shots
    assert shot.motion_x == pytest.approx(0.0)
    assert shot.motion_steadiness == pytest.approx(0.0)


def test_motion_that_was_not_measured_is_none() -> None:
    still = observe(table(), times(), [0], 4.0).shots[0]
    once = observe(moving([(5, 0.4, 0.4)]), times(), [0], 4.0).shots[0]
    nought = observe(moving([(5, 0, 0), (10, 0, 0)]), times(), [0], 4.0).shots[0]
    for shot in (still, once, nought):
        assert (shot.motion_x, shot.motion_y, shot.motion_steadiness) == (0.0, 0.0, 0.0)
