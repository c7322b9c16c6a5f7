"""Joining: which borders can be judged, by which samples, and what follows from their vectors."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from transforms.features.pictures import VECTORS_FILE, store_vectors
from transforms.memo import MemoStore
from transforms.video.joining import (
    joined_starts,
    read_vectors,
    sides_of_borders,
    times_to_embed,
    without_joined,
)
from transforms.video.shots import ShotSettings, find_borders, shot_starts

FPS = 25
SHOTS = ShotSettings(min_shot_s=0.4)
CUT = 100.0


def times(count: int) -> NDArray[np.float64]:
    return np.arange(count) / FPS


def scores(count: int, *rows: int) -> NDArray[np.float64]:
    """Scores of a video in which the picture changes at these rows."""
    found = np.zeros(count)
    found[list(rows)] = CUT
    return found


def sides(
    change_rows: list[int], sample_rows: list[int], count: int = 200
) -> list[tuple[int, int, int]]:
    """Start and rows of the two samples of each border that can be judged."""
    borders = find_borders(times(count), scores(count, *change_rows), SHOTS)
    found = sides_of_borders(times(count), borders, times(count)[sample_rows])
    return [(one.start, round(one.before_s * FPS), round(one.after_s * FPS)) for one in found]


def test_a_border_is_judged_by_the_samples_nearest_to_it() -> None:
    assert sides([60, 130], [0, 12, 50, 60, 70, 129, 140]) == [(60, 50, 60), (130, 129, 140)]


def test_what_a_sample_shows_of_a_flash_does_not_count() -> None:
    """A flash begins at row 50 and ends at row 54; row 51 was sampled while it lasted."""
    assert sides([50, 54], [40, 51, 63]) == [(50, 40, 63)]
    # The start of the video may be a flash too.
    assert sides([4, 60], [0, 2, 20, 62]) == [(60, 20, 62)]
    assert sides([4, 60], [0, 2, 62]) == []


def test_shots_without_a_sample_are_not_judged() -> None:
    """The shot of rows 50 to 61 holds no sample: whether it is another, nobody saw."""
    assert sides([50, 62], [40, 49, 62, 80]) == []
    assert sides([50, 62, 100], [40, 49, 62, 80, 110]) == [(100, 80, 110)]
    assert sides([50], [49]) == []
    assert sides([50], []) == []


def test_frames_of_a_transition_belong_to_neither_shot() -> None:
    """TransNetV2 marks the middle of a dissolve, which lasts longer; rows 40 and 60 show both."""
    found = np.zeros(100)
    found[49:51] = 0.9
    shots = ShotSettings(detector="transnetv2")
    borders = find_borders(times(100), found, shots)
    assert [border.start for border in borders] == [0, 51]
    [side] = sides_of_borders(times(100), borders, times(100)[[10, 35, 40, 48, 52, 60, 65, 80]])
    assert (round(side.before_s * FPS), round(side.after_s * FPS)) == (35, 65)
    # Two dissolves so close that no frame between them is of one shot alone.
    found[70:72] = 0.9
    borders = find_borders(times(100), found, shots)
    assert [border.start for border in borders] == [0, 51, 72]
    assert sides_of_borders(times(100), borders, times(100)[[10, 35, 55, 65, 95]]) == []


def angle(degrees: float) -> NDArray[np.float32]:
    return np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], np.float32)


def joined(
    change_rows: list[int], shown: dict[int, float], threshold: float, count: int = 200
) -> list[int]:
    """Rows at which shots begin; `shown` gives what each sampled row shows, as an angle."""
    at = times(count)
    borders = find_borders(at, scores(count, *change_rows), SHOTS)
    vectors = {float(at[row]): angle(degrees) for row, degrees in shown.items()}
    return joined_starts(at, borders, at[sorted(shown)], vectors, threshold)


def test_a_flash_is_joined_and_a_cut_is_not() -> None:
    shown = {40.0: 0, 60: 3, 90: 1, 110: 80, 140: 82}
    shown_rows = {int(row): float(degrees) for row, degrees in shown.items()}
    assert joined([50, 52, 100], shown_rows, 0.9) == [0, 100]
    assert joined([50, 52, 100], shown_rows, 0.9999) == [0, 50, 100]


def test_a_flash_just_before_a_cut_hides_no_cut() -> None:
    """A flash at row 50, another shot from row 56 on: too soon to begin one of its own."""
    assert joined([50, 52, 56], {45: 0.0, 53: 0.0, 70: 80.0}, 0.9) == [0, 50]


def test_the_threshold_itself_is_alike() -> None:
    cosine = round(float(np.cos(np.radians(20))), 5)
    assert joined([50], {40: 0.0, 60: 20.0}, cosine) == [0]
    assert joined([50], {40: 0.0, 60: 20.0}, cosine + 0.00001) == [0, 50]


def test_a_slow_change_over_joined_shots_stays_joined() -> None:
    """Each border is judged by what is next to it, as a viewer would."""
    shown = {10: 0.0, 40: 10.0, 60: 12.0, 90: 30.0, 110: 33.0}
    assert joined([50, 100], shown, 0.99) == [0]


def test_a_missing_vector_is_no_silent_cut() -> None:
    at = times(100)
    borders = find_borders(at, scores(100, 50), SHOTS)
    with pytest.raises(KeyError):
        joined_starts(at, borders, at[[40, 60]], {float(at[40]): angle(0)}, 0.9)


@settings(max_examples=300)
@given(
    st.sets(st.integers(0, 199), max_size=12),
    st.dictionaries(st.integers(0, 199), st.integers(0, 8), max_size=30),
)
def test_only_starts_are_dropped_and_more_of_them_by_a_lower_threshold(
    changes: set[int], seen: dict[int, int]
) -> None:
    shown = {row: 10.0 * step for row, step in seen.items()}
    all_starts = shot_starts(times(200), scores(200, *changes), SHOTS)
    kept = [joined(sorted(changes), shown, threshold) for threshold in (0.5, 0.9, 1.1)]
    assert kept[2] == all_starts
    assert all(set(few) <= set(more) and few[0] == 0 for few, more in itertools.pairwise(kept))
    borders = find_borders(times(200), scores(200, *changes), SHOTS)
    found = sides_of_borders(times(200), borders, times(200)[sorted(shown)])
    needed = times_to_embed(found)
    assert list(needed) == sorted(set(needed))
    for side in found:
        before, after = round(side.before_s * FPS), round(side.after_s * FPS)
        assert before < side.start <= after
        # No start between the samples but the one that is judged, so each is in the shot it is for.
        assert [row for row in all_starts if before < row <= after] == [side.start]


def test_vectors_are_stored_with_their_times(tmp_path: Path) -> None:
    store = MemoStore(str(tmp_path))
    entry = store.entry("borders", 1)
    store_vectors(entry, [0.1, 7.25], np.stack([angle(10), angle(70)]))
    found = read_vectors(store.path(entry.ref(VECTORS_FILE)))
    assert list(found) == [0.1, 7.25]
    np.testing.assert_array_equal(found[7.25], angle(70))
    empty = store.entry("borders", 2)
    store_vectors(empty, [], np.zeros((0, 0), np.float32))
    assert read_vectors(store.path(empty.ref(VECTORS_FILE))) == {}


def test_what_was_joined_is_joined_for_other_thresholds_too() -> None:
    """Detected at 50 (a flash) and 100 (a cut); a lower threshold also sees 55 and 150."""
    at = times(200)
    assert without_joined(at, [0, 50, 100, 150], [0, 50, 100], [0, 100], 0.4) == [0, 100, 150]
    assert without_joined(at, [0, 55, 100], [0, 50, 100], [0, 100], 0.4) == [0, 100]
    assert without_joined(at, [0, 60, 100], [0, 50, 100], [0, 100], 0.4) == [0, 60, 100]
    # A cut that was kept is one, however close to a flash.
    assert without_joined(at, [0, 100], [0, 95, 100], [0, 100], 0.4) == [0, 100]
    assert without_joined(at, [0, 50, 100], [0, 50, 100], [0, 50, 100], 0.4) == [0, 50, 100]
