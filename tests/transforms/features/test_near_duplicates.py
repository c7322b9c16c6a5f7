"""Which clips are near-duplicates, decided from vectors alone."""

from __future__ import annotations

import random
import shutil
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.testing.util import assert_that, equal_to
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from schemas.base import content_id
from transforms.features import duplicates as module
from transforms.features.comparing import ALIKE_FILE, MEANS_FILE, FindDuplicates
from transforms.features.duplicates import (
    ALIKE,
    BlockVectors,
    Candidate,
    Duplicate,
    Uncompared,
    alike_in,
    block_of,
    duplicates_of,
    first_alike,
    worst_match,
)
from transforms.features.pictures import VECTORS_FILE, mean_vector, store_vectors
from transforms.memo import MemoStore
from transforms.outcome import StopRunError

Vectors = NDArray[np.float32]
Clips = dict[tuple[str, float], Vectors]
"""Frame vectors of clips, by video and start."""


def angle(degrees: float) -> Vectors:
    return np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], np.float32)


def fan(*degrees: float) -> Vectors:
    """The frames of a clip: unit vectors at these angles."""
    return np.stack([angle(one) for one in degrees])


def candidates_of(clips: Clips) -> list[Candidate]:
    return [
        Candidate(f"{video}@{start:g}", video, start, f"{video}/{start}") for video, start in clips
    ]


def duplicates(
    clips: Clips, threshold: float, block_clips: int = 1_000, seed: int = 0
) -> set[Duplicate]:
    """As `FindDuplicates` finds them, in one process; `seed` is of the order of arrival."""
    chance = random.Random(seed)
    blocks: dict[int, list[Candidate]] = defaultdict(list)
    for candidate in chance.sample(candidates_of(clips), len(clips)):
        blocks[block_of(candidate, len(clips), block_clips)].append(candidate)
    ordered = {
        number: sorted(own, key=lambda one: one.order) for number, own in sorted(blocks.items())
    }
    vectors = {number: block_vectors(number, own, clips) for number, own in ordered.items()}
    found = []
    for number, later in vectors.items():
        before = [other for other in vectors if other <= number]
        parts = [alike_in(later, vectors[other], threshold) for other in before]
        found.append((number, first_alike(chance.sample(parts, len(parts)))))
    return {
        Duplicate(
            ordered[number][pair["row"]].clip_id,
            ordered[pair["block"]][pair["other"]].clip_id,
            pair["worst"],
        )
        for number, chosen in duplicates_of(found)
        for pair in chosen
    }


def block_vectors(number: int, own: list[Candidate], clips: Clips) -> BlockVectors:
    frames = [clips[one.video_id, one.start_s] for one in own]
    return BlockVectors(number, np.stack([mean_vector(one) for one in frames]), frames.__getitem__)


def plain(clips: Clips, threshold: float, most: int = 1_000_000) -> set[Duplicate]:
    """The rule, said plainly: one clip after the other, against all before it."""
    kept: set[tuple[str, float]] = set()
    found = set()
    ordered = sorted(clips)
    for place, key in enumerate(ordered):
        cosines = {
            other: (mean_cosine(clips[key], clips[other]), worst_match(clips[key], clips[other]))
            for other in ordered[:place]
        }
        alike = [other for other, both in cosines.items() if min(both) >= threshold][:most]
        if originals := [other for other in alike if other in kept]:
            best = max(originals, key=lambda other: cosines[other][0])
            found.add(Duplicate(name(key), name(best), cosines[best][1]))
        else:
            kept.add(key)
    return found


def mean_cosine(one: Vectors, other: Vectors) -> float:
    means = mean_vector(one).astype(np.float64), mean_vector(other).astype(np.float64)
    return round(float(means[0] @ means[1]), 5)


def name(key: tuple[str, float]) -> str:
    return f"{key[0]}@{key[1]:g}"


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


VIDEOS = [content_id("v", number) for number in range(6)]
CLIPS = st.dictionaries(
    st.tuples(st.sampled_from(VIDEOS), st.sampled_from([0.0, 2.0, 4.0])),
    st.lists(st.integers(0, 12), min_size=1, max_size=2).map(lambda ds: fan(*(5 * d for d in ds))),
    min_size=1,
    max_size=18,
)
"""Near to one another, so that there are chains and many that are alike."""
THRESHOLDS = st.sampled_from([0.9, 0.97, 0.99, 0.9999])


@settings(max_examples=200, deadline=None)
@given(CLIPS, THRESHOLDS, st.integers(1, 6), st.integers(1, 4), st.integers(0, 99))
def test_blocks_of_any_size_find_what_one_clip_after_the_other_finds(
    clips: Clips, threshold: float, block_clips: int, tile: int, seed: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "TILE_ROWS", tile)
        patch.setattr(module, "CANDIDATES", tile)
        patch.setattr(module, "HELD_EDGES", tile)
        assert duplicates(clips, threshold, block_clips, seed) == plain(clips, threshold)


@settings(max_examples=100, deadline=None)
@given(CLIPS, THRESHOLDS, st.integers(1, 6), st.integers(1, 3))
def test_how_many_are_compared_does_not_depend_on_blocks(
    clips: Clips, threshold: float, block_clips: int, most: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "COMPARED_WITH", most)
        patch.setattr(module, "HELD_EDGES", 1)
        assert duplicates(clips, threshold, block_clips) == plain(clips, threshold, most)


@settings(max_examples=100, deadline=None)
@given(CLIPS, THRESHOLDS)
def test_who_goes_names_one_that_stays_and_who_stays_is_alike_to_none(
    clips: Clips, threshold: float
) -> None:
    found = duplicates(clips, threshold, 4)
    by_name = {name(key): key for key in clips}
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
            assert min(mean_cosine(a, b), worst_match(a, b)) < threshold


@pytest.mark.parametrize("held", [1, 1_000])
def test_the_first_ones_are_kept_whatever_part_they_come_in(
    held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "COMPARED_WITH", 3)
    monkeypatch.setattr(module, "HELD_EDGES", held)
    pairs = [
        (row, block, other, 1.0, 1.0) for row in (4, 7) for block in (0, 2) for other in (1, 5)
    ]
    parts = [np.array(pairs[place::3], ALIKE) for place in (2, 0, 1)]
    found = first_alike(parts)
    assert found[["row", "block", "other"]].tolist() == [
        *((4, 0, 1), (4, 0, 5), (4, 2, 1)),
        *((7, 0, 1), (7, 0, 5), (7, 2, 1)),
    ]


def test_of_many_that_are_the_same_little_is_remembered() -> None:
    """A title that a thousand videos begin with: all pairs would be half a million."""
    clips = {(content_id("v", number), 0.0): fan(0, 10) for number in range(1_000)}
    keys = sorted(clips)
    read: list[int] = []

    def frames(row: int) -> Vectors:
        read.append(row)
        return clips[keys[row]]

    block = BlockVectors(0, np.stack([mean_vector(clips[key]) for key in keys]), frames)
    alike = alike_in(block, block, 0.97)
    assert len(alike) < 1_000 * module.COMPARED_WITH
    assert len(read) == 1_000, "each is read once"
    [(_, chosen)] = duplicates_of([(0, alike)])
    assert set(chosen["other"].tolist()) == {0}
    assert len(chosen) == 999


def test_vectors_of_frames_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FRAME_CACHE_BYTES", 3 * fan(0).nbytes)
    read: list[int] = []

    def frames(row: int) -> Vectors:
        read.append(row)
        return fan(row)

    block = BlockVectors(0, fan(*range(9)), frames)
    for row in (0, 1, 2, 0, 3, 0, 1, 4):
        np.testing.assert_array_equal(block.frames(row), fan(row))
    assert read == [0, 1, 2, 3, 1, 4]


def test_blocks_are_about_as_large_as_one_another() -> None:
    """Ids of videos are hashes: ranges of them hold equal shares, and are in order."""
    candidates = [Candidate("", content_id("v", number), 0.0, "") for number in range(20_000)]
    blocks = [block_of(one, 20_000, 2_000) for one in sorted(candidates, key=lambda one: one.order)]
    assert blocks == sorted(blocks)
    sizes = [blocks.count(number) for number in range(10)]
    assert 1_800 < min(sizes) <= max(sizes) < 2_200
    assert sum(sizes) == 20_000


# In a pipeline -----------------------------------------------------------------------------------


def stored(clips: Clips, store: MemoStore) -> list[Candidate]:
    candidates = []
    for (video, start_s), frames in clips.items():
        entry = store.entry("features", video, start_s)
        store_vectors(entry, range(len(frames)), frames)
        ref = entry.ref(VECTORS_FILE)
        candidates.append(Candidate(name((video, start_s)), video, start_s, ref))
    return candidates


def run(
    candidates: Iterable[Candidate], store: MemoStore, wanted: set[Duplicate] | set[Any]
) -> None:
    """Find duplicates in a pipeline, in many blocks."""
    with beam.Pipeline() as pipeline:
        found = pipeline | beam.Create(list(candidates)) | FindDuplicates(0.97, store, 5)
        assert_that(found, equal_to(list(wanted)))


def test_a_pipeline_finds_them_in_many_blocks(tmp_path: Path) -> None:
    chance = random.Random(1)
    clips = {
        (content_id("v", chance.randrange(15)), float(start)): fan(
            *(6 * chance.randrange(30) for _ in range(chance.randint(1, 2)))
        )
        for start in range(60)
    }
    wanted = plain(clips, 0.97)
    assert 10 < len(wanted) < 50
    store = MemoStore(str(tmp_path))
    candidates = stored(clips, store)
    run(candidates, store, wanted)
    entries = sorted(path.name for path in tmp_path.glob("*/*/*"))
    run(candidates[::-1], store, wanted)
    assert sorted(path.name for path in tmp_path.glob("*/*/*")) == entries, "something is new"


@pytest.mark.parametrize("file", [MEANS_FILE, ALIKE_FILE])
def test_what_is_damaged_in_the_store_is_said_and_made_anew(file: str, tmp_path: Path) -> None:
    clips = {(content_id("v", number), 0.0): fan(number % 3 * 40) for number in range(12)}
    store, wanted = MemoStore(str(tmp_path)), plain(clips, 0.97)
    candidates = stored(clips, store)
    run(candidates, store, wanted)
    [damaged, *_] = sorted(tmp_path.rglob(file))
    damaged.write_bytes(bytes(damaged.stat().st_size))
    with pytest.raises(StopRunError) as caught:
        run(candidates, store, wanted)
    told = str(caught.value)
    ref = damaged.relative_to(tmp_path).as_posix()
    assert f"in the memo store {tmp_path} was damaged ({ref}) and was removed" in told
    assert "run the same command again" in told
    run(candidates, store, wanted)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("damaged", [False, True])
def test_a_clip_that_cant_be_read_any_more_costs_itself_alone(
    packed: bool, damaged: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Before its block is packed, or later, when the frames of clips with alike means are read."""
    clips = {(content_id("v", number), 0.0): fan(number % 3 * 40) for number in range(12)}
    store = MemoStore(str(tmp_path))
    candidates = stored(clips, store)
    if packed:
        run(candidates, store, plain(clips, 0.97))
    # The first of those that are alike: the others must not be named duplicates of it.
    lost = min(candidates, key=lambda one: one.order)
    path = store.path(lost.feature_ref)
    if damaged:
        path.write_bytes(bytes(path.stat().st_size))
    else:
        path.unlink()
    left = {key: frames for key, frames in clips.items() if name(key) != lost.clip_id}
    run(candidates, store, plain(left, 0.97) | {Uncompared(lost.clip_id)})
    assert f"{lost.feature_ref} can't be read any more" in caplog.text
    assert not path.exists(), "so that the next run makes it anew"


def test_a_block_of_which_nothing_can_be_read_is_none(tmp_path: Path) -> None:
    clips = {(content_id("v", number), 0.0): fan(number) for number in range(2)}
    store = MemoStore(str(tmp_path))
    candidates = stored(clips, store)
    for one in candidates:
        store.path(one.feature_ref).unlink()
    run(candidates, store, {Uncompared(one.clip_id) for one in candidates})


def test_a_store_that_is_gone_stops_the_run(tmp_path: Path) -> None:
    clips = {(content_id("v", 0), 0.0): fan(0)}
    store = MemoStore(str(tmp_path / "memo")).prepare()
    candidates = stored(clips, store)
    shutil.rmtree(tmp_path / "memo")
    with pytest.raises(Exception, match="is gone or can't be reached"):
        run(candidates, store, set())


def test_a_pipeline_without_clips_finds_none(tmp_path: Path) -> None:
    run([], MemoStore(str(tmp_path)), set())


def test_nothing_alike_is_nothing_to_decide() -> None:
    assert len(first_alike([])) == 0
    assert [len(chosen) for _, chosen in duplicates_of([(0, np.zeros(0, ALIKE))])] == [0]
