"""Which clips are near-duplicates, decided from vectors alone."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from transforms.features.pictures import mean_vector
from transforms.features.select import (
    Candidate,
    Duplicate,
    find_duplicates,
    worst_match,
)

Vectors = NDArray[np.float32]
Clips = dict[tuple[str, float], Vectors]
"""Frame vectors of clips, by video and start."""


def angle(degrees: float) -> Vectors:
    return np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], np.float32)


def fan(*degrees: float) -> Vectors:
    """The frames of a clip: unit vectors at these angles."""
    return np.stack([angle(one) for one in degrees])


def duplicates(clips: Clips, threshold: float, order: list[int] | None = None) -> set[Duplicate]:
    keys = list(clips)
    keys = [keys[place] for place in (order or range(len(keys)))]
    candidates = [
        Candidate(f"{video}@{start:g}", video, start, f"{video}/{start}") for video, start in keys
    ]
    means = np.stack([mean_vector(clips[key]) for key in keys])
    return set(find_duplicates(candidates, means, lambda row: clips[keys[row]], threshold))


def names(found: set[Duplicate]) -> dict[str, str]:
    return {one.clip_id: one.original_id for one in found}


def test_a_copy_names_the_clip_that_comes_first() -> None:
    clips = {("b", 0.0): fan(0, 10), ("a", 4.0): fan(0, 10), ("c", 0.0): fan(90, 100)}
    assert names(duplicates(clips, 0.97)) == {"b@0": "a@4"}
    assert names(duplicates({("a", 4.0): fan(0, 10), ("a", 0.0): fan(0, 10)}, 0.97)) == {
        "a@4": "a@0"
    }


def test_the_threshold_itself_is_alike() -> None:
    clips = {("a", 0.0): fan(0), ("b", 0.0): fan(30)}
    cosine = round(float(np.cos(np.radians(30))), 5)
    [found] = duplicates(clips, cosine)
    assert found.cosine == cosine
    assert duplicates(clips, cosine + 0.00001) == set()


def test_alike_means_are_not_enough() -> None:
    """Different shots of one place: alike on average, but not frame by frame."""
    wide, narrow = fan(-40, 40), fan(-1, 1)
    assert mean_vector(wide) @ mean_vector(narrow) > 0.9999
    assert duplicates({("a", 0.0): wide, ("b", 0.0): narrow}, 0.97) == set()
    assert worst_match(wide, narrow) == worst_match(narrow, wide) < 0.8


def test_every_frame_of_each_needs_a_partner() -> None:
    part, whole = fan(0, 5), fan(0, 5, 60)
    assert worst_match(part, part) == 1.0
    assert worst_match(part, whole) == worst_match(whole, part) < 0.6


def test_a_chain_of_likeness_does_not_swallow_its_end() -> None:
    """b is like a, c is like b but not like a: c stays, since b is gone."""
    clips = {("a", 0.0): fan(0), ("b", 0.0): fan(10), ("c", 0.0): fan(20)}
    assert names(duplicates(clips, float(np.cos(np.radians(12))))) == {"b@0": "a@0"}


def test_the_most_alike_of_several_originals_is_named() -> None:
    clips = {("a", 0.0): fan(0), ("b", 0.0): fan(20), ("c", 0.0): fan(14)}
    assert names(duplicates(clips, float(np.cos(np.radians(15))))) == {"c@0": "b@0"}


CLIPS = st.dictionaries(
    st.tuples(st.sampled_from("abcd"), st.sampled_from([0.0, 2.0, 4.0])),
    st.lists(st.integers(0, 35), min_size=1, max_size=3).map(lambda ds: fan(*(10 * d for d in ds))),
    min_size=1,
    max_size=10,
)


@settings(max_examples=150, deadline=None)
@given(CLIPS, st.sampled_from([0.5, 0.9, 0.97, 0.9999]), st.integers(0, 99))
def test_the_order_of_arrival_does_not_decide(clips: Clips, threshold: float, seed: int) -> None:
    order = list(range(len(clips)))
    random.Random(seed).shuffle(order)
    found = duplicates(clips, threshold)
    assert duplicates(clips, threshold, order) == found
    by_name = {f"{video}@{start:g}": (video, start) for video, start in clips}
    gone = set(names(found))
    assert len(gone) == len(found)
    kept = set(by_name) - gone
    assert kept
    for one in found:
        assert one.original_id in kept
        assert by_name[one.original_id] < by_name[one.clip_id]
        cosine = worst_match(clips[by_name[one.clip_id]], clips[by_name[one.original_id]])
        assert one.cosine == cosine >= threshold
    for one_name in kept:
        for other in kept - {one_name}:
            a, b = clips[by_name[one_name]], clips[by_name[other]]
            means = round(float(mean_vector(a) @ mean_vector(b)), 5)
            assert min(means, worst_match(a, b)) < threshold
