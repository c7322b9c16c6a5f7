"""Which alterations fit a clip: only those that show, and whose answer leaves no doubt.

Their edges keep away from the cuts of the clip and from its ends, a picture that an effect leaves
as it is does not get that effect, and the right answers are spread over all that there are.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from constructed_clips import CUT
from hypothesis import given
from hypothesis import strategies as st

import transforms.annotate.construct_time as construct_time
from schemas.case import Scene
from transforms.annotate.construct_look import DoesNotFitError, Draw, Look, look_at
from transforms.annotate.construct_pictures import effect_change
from transforms.annotate.construct_time import backward, seams_tell, speed, speed_shows
from transforms.annotate.constructed import PLANS, ConstructedFamily
from transforms.memo import MemoStore


def look(num_frames: int = 250, **values: object) -> Look:
    """A clip at 25 fps in which everything moves alike."""
    at = np.arange(6.0, num_frames, 6.0)
    plain = Look(
        num_frames=num_frames,
        fps=25.0,
        size_px=(320, 180),
        is_bt709=False,
        cuts=(),
        content_box=(0.0, 0.0, 1.0, 1.0),
        frozen_share=0.0,
        flow_at=at,
        flow=np.full(len(at), 0.2),
        read_small=lambda: np.zeros((num_frames, 3, 54, 96), np.uint8),
    )
    return replace(plain, **values)  # type: ignore[arg-type]


def test_edges_keep_away_from_cuts_and_ends(bikes: Scene, store: MemoStore) -> None:
    known = look_at(bikes, store, CUT)
    assert len(known.cuts) == 5
    for family in (ConstructedFamily.ANOMALY, ConstructedFamily.SPEED):
        placed = 0
        for seed in range(12):
            try:
                plan = PLANS[family](known, Draw((seed, "edges")))
            except DoesNotFitError:
                continue
            placed += 1
            start, end = plan.evidence[0]
            if family is ConstructedFamily.SPEED:
                first, changed, *rest = plan.alteration.stretches
                # Where the cuts lie is known for the clip, not for the altered one.
                start, end = changed.first, changed.first + changed.count * changed.step
                assert first.count == start and rest[0].first == end
            assert start >= 12 and end <= known.num_frames - 12
            assert all(abs(edge - cut) >= 7 for edge in (start, end) for cut in known.cuts)
        assert placed


def test_what_is_played_faster_keeps_its_cuts_away_from_its_edges() -> None:
    cuts = tuple(range(20, 250, 33))
    known = look(cuts=cuts)
    placed = 0
    for seed in range(60):
        try:
            plan = speed(known, Draw((seed, "cuts")))
        except DoesNotFitError:
            continue
        placed += 1
        before, changed, after = plan.alteration.stretches
        start, end = changed.first, after.first
        assert before.count == start
        assert all(abs(edge - cut) >= 7 for edge in (start, end) for cut in cuts)
        inside = [cut - start for cut in cuts if start < cut < end]
        shown = [cut / changed.step for cut in inside]
        length = (end - start) / changed.step
        assert all(7 <= cut <= length - 7 for cut in shown if changed.step > 1)
    assert placed > 10


def test_a_picture_that_is_its_own_mirror_is_not_mirrored() -> None:
    half = np.random.default_rng(0).integers(16, 235, (4, 3, 30, 24), np.uint8)
    symmetrical = np.concatenate([half, half[..., ::-1]], axis=3)
    assert effect_change(symmetrical, "mirrored").max() == 0.0
    assert effect_change(symmetrical, "turned").min() > 0.2
    colorless = symmetrical.copy()
    colorless[:, 1:] = 128
    assert effect_change(colorless, "gray").max() == effect_change(colorless, "swapped").max() == 0


@given(st.integers(3, 6), st.integers(0, 1000))
def test_seams_tell_only_what_follows_smoothly(pieces: int, seed: int) -> None:
    rough = np.random.default_rng(seed).uniform(0.2, 0.4, (pieces, pieces))
    smooth = rough.copy()
    for piece in range(pieces - 1):
        smooth[piece, piece + 1] = 0.02
    assert seams_tell(smooth)
    # A cut at each seam: every order is as good as the true one.
    assert not seams_tell(np.full((pieces, pieces), 0.3))
    # The end looks like the beginning: the video could as well begin elsewhere.
    looping = smooth.copy()
    looping[-1, 0] = 0.01
    assert not seams_tell(looping)


def test_another_speed_must_show() -> None:
    assert speed_shows(look(), 80, 160, 2) and speed_shows(look(), 80, 160, 1 / 3)
    # What moves half as fast by itself would look even when played twice as fast.
    slow = look().flow.copy()
    slow[(look().flow_at >= 80) & (look().flow_at < 160)] /= 2
    assert not speed_shows(look(flow=slow), 80, 160, 2)
    assert speed_shows(look(flow=slow), 80, 160, 4)
    assert not speed_shows(look(flow=look().flow * 0.01), 80, 160, 4), "nothing moves"
    assert not speed_shows(look(cuts=(81, 159)), 80, 160, 4), "nothing known of the edges' shots"


def test_half_of_the_clips_are_played_backward() -> None:
    plans = [backward(look(), Draw((seed, "half"))) for seed in range(400)]
    assert 160 < sum(plan.params["backward"] for plan in plans) < 240
    letters = Counter(plan.answer for plan in plans)
    assert set(letters) == {"A", "B"} and min(letters.values()) > 160
    for still in (look(frozen_share=0.5), look(flow=look().flow * 0.1)):
        with pytest.raises(DoesNotFitError):
            backward(still, Draw((0,)))


def test_numbers_of_shapes_and_pieces_are_spread(
    carphone: Scene, store: MemoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(construct_time, "seams_tell", lambda differences: True)
    known = look_at(carphone, store, CUT)
    shapes = Counter(PLANS[ConstructedFamily.SHAPES](known, Draw((n,))).answer for n in range(60))
    assert set(shapes) == {"2", "3", "4", "5", "6", "7"}
    orders = {PLANS[ConstructedFamily.ORDER](known, Draw((n,))).answer for n in range(40)}
    assert len(orders) > 12
