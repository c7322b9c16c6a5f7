"""The choice of frames: laws that hold for every clip and every setting."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.annotate.frame_times import (
    choose_frames,
    choose_times,
    count_frames,
    detail_frames,
    even_frames,
    shot_frames,
)
from transforms.annotate.teacher import FramePolicy

totals = st.integers(1, 2_000)
numbers = st.integers(1, 300)


def test_times_are_at_the_rate_asked_for() -> None:
    assert choose_times(3.0, 2.0, 64) == (0.0, 0.5, 1.0, 1.5, 2.0, 2.5)
    assert choose_times(10.0, 2.0, 4) == (0.0, 2.5, 5.0, 7.5)
    assert choose_times(0.1, 2.0, 64) == (0.0,)
    with pytest.raises(ValueError, match="nothing to show"):
        choose_times(0.0, 2.0, 64)


@given(
    duration_s=st.floats(0.01, 10_000.0), fps=st.floats(0.05, 60.0), max_frames=st.integers(2, 500)
)
def test_times_lie_in_the_span_and_are_even(duration_s: float, fps: float, max_frames: int) -> None:
    times = choose_times(duration_s, fps, max_frames)
    assert 1 <= len(times) <= max_frames
    assert times[0] == 0.0 and times[-1] < duration_s
    step = duration_s / len(times)
    for before, after in pairwise(times):
        assert after - before == pytest.approx(step)
    # Within half a frame of what was asked for, unless there is room for one frame only.
    assert len(times) == max_frames or abs(len(times) - max(duration_s * fps, 1)) <= 0.5


@given(
    duration_s=st.floats(0.01, 10_000.0),
    fps=st.floats(0.05, 60.0),
    max_frames=st.integers(2, 500),
    total=totals,
    together=st.sampled_from([1, 2]),
)
def test_as_many_frames_as_asked_for(
    duration_s: float, fps: float, max_frames: int, total: int, together: int
) -> None:
    number = count_frames(duration_s, fps, max_frames, total, together)
    assert 1 <= number <= min(max_frames, total)
    # A step of two frames is never filled up with a repeat, unless there is but one frame.
    assert number % together == 0 or total == 1
    wanted = min(max(duration_s * fps, 1), max_frames, total)
    assert abs(number - wanted) <= 0.5 + (together - 1)


def test_nothing_to_show_is_said() -> None:
    for bad in ((0.0, 2.0, 8, 50), (1.0, 0.0, 8, 50), (1.0, 2.0, 0, 50), (1.0, 2.0, 8, 0)):
        with pytest.raises(ValueError, match="nothing to show"):
            count_frames(*bad)


@given(
    policy=st.sampled_from(FramePolicy),
    total=totals,
    number=numbers,
    starts=st.lists(st.integers(-10, 2_100), max_size=40),
    changes=st.lists(st.floats(0.0, 255.0, width=32), max_size=2_100),
    together=st.sampled_from([1, 2]),
)
def test_chosen_frames_are_in_the_clip_rising_and_no_more_than_allowed(
    policy: FramePolicy,
    total: int,
    number: int,
    starts: list[int],
    changes: list[float],
    together: int,
) -> None:
    chosen = choose_frames(policy, total, number, starts, changes, together)
    assert 1 <= len(chosen) <= min(number, total)
    assert all(0 <= frame < total for frame in chosen)
    assert all(before < after for before, after in pairwise(chosen))
    assert chosen == choose_frames(policy, total, number, starts, changes, together)
    if policy is not FramePolicy.SHOTS:
        assert len(chosen) == min(number, total)


@given(total=totals, number=numbers)
def test_uniform_is_even_to_half_a_frame(total: int, number: int) -> None:
    chosen = even_frames(total, number)
    for place, frame in enumerate(chosen):
        assert abs(frame - place * total / len(chosen)) <= 0.5


@st.composite
def shots(draw: st.DrawFn) -> tuple[int, list[int]]:
    """(number of frames, first frames of the shots)."""
    lengths = draw(st.lists(st.integers(1, 80), min_size=2, max_size=30))
    starts = [sum(lengths[:place]) for place in range(len(lengths))]
    return sum(lengths), starts


@given(shots(), numbers, st.sampled_from([1, 2]))
def test_every_shot_is_seen_when_there_is_room(
    cut: tuple[int, list[int]], number: int, together: int
) -> None:
    total, starts = cut
    number = max(number // together * together, together)
    chosen = shot_frames(total, number, starts, together)
    spans = list(pairwise([*starts, total]))
    counts = [sum(start <= frame < end for frame in chosen) for start, end in spans]
    if number >= len(spans):
        assert min(counts) >= 1
    else:
        unseen = [
            end - start for (start, end), count in zip(spans, counts, strict=True) if not count
        ]
        seen = [end - start for (start, end), count in zip(spans, counts, strict=True) if count]
        assert set(counts) == {0, 1} and max(unseen) <= min(seen)
    if number < total:
        for (start, end), count in zip(spans[1:], counts[1:], strict=True):
            assert count == end - start or start not in chosen, "the frame of a cut"


@given(shots(), st.integers(1, 150))
def test_both_frames_of_a_step_come_from_one_shot(cut: tuple[int, list[int]], steps: int) -> None:
    total, starts = cut
    edges = [*starts, total]
    if 2 * len(starts) > 2 * steps or min(b - a for a, b in pairwise(edges)) < 2:
        return
    if 2 * steps >= total:
        return
    chosen = shot_frames(total, 2 * steps, starts, together=2)
    assert len(chosen) % 2 == 0
    for one, two in zip(chosen[::2], chosen[1::2], strict=True):
        assert not any(one < start <= two for start in starts)


@given(st.integers(2, 60), st.integers(1, 20), st.integers(1, 8))
def test_equal_shots_get_equally_many(length: int, count: int, each: int) -> None:
    each = min(each, length)
    chosen = shot_frames(length * count, each * count, [length * n for n in range(count)])
    if count == 1 or each == length:
        return
    assert [sum(frame // length == n for frame in chosen) for n in range(count)] == [each] * count


def test_frames_lie_in_the_middles_of_parts_of_shots() -> None:
    assert shot_frames(30, 2, [0, 20]) == (10, 25)
    assert shot_frames(30, 3, [0, 20]) == (5, 15, 25)
    # Shots of one and two frames: the only frame, and not the one of the cut.
    assert shot_frames(13, 3, [0, 10, 11]) == (5, 10, 12)
    # Without a cut there is nothing to go by.
    for starts in ([], [0], [0, 30, 99], [-5]):
        assert shot_frames(30, 4, starts) == even_frames(30, 4)


def test_detail_shows_half_of_the_frames_where_most_changes() -> None:
    changes = [1.0] * 400
    changes[210:250] = [9.0] * 40
    chosen = detail_frames(400, 32, changes)
    assert set(even_frames(400, 16)) <= set(chosen)
    close = [frame for frame in chosen if frame not in even_frames(400, 16)]
    assert min(close) > 175 and max(close) < 275 and len(close) == 16
    # Evenly, those of the wide look among them.
    inside = [frame for frame in chosen if 175 <= frame <= 275]
    assert {after - before for before, after in pairwise(inside)} == {5}


def test_what_changes_most_is_not_at_the_edge_of_the_closer_look() -> None:
    for cut in range(100, 300, 7):
        changes = [0.0] * 400
        changes[cut] = 60.0
        chosen = detail_frames(400, 64, changes)
        close = [frame for frame in chosen if frame not in even_frames(400, 32)]
        assert min(close) + 25 < cut < max(close) - 25


def test_detail_of_a_still_clip_is_uniform() -> None:
    assert detail_frames(400, 32, [0.0] * 400) == even_frames(400, 32)
    assert detail_frames(400, 32, []) == even_frames(400, 32)


@given(st.integers(2, 400), st.data())
def test_detail_finds_room_for_all_its_frames(total: int, data: st.DataObject) -> None:
    number = data.draw(st.integers(2, total))
    busy = data.draw(st.integers(0, total - 1))
    changes = [0.0] * total
    changes[busy] = 1.0
    assert len(detail_frames(total, number, changes)) == number
