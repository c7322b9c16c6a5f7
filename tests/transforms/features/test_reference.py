"""Reference videos: which clips are of one, and files that can't be taken."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.features.embed import FeatureSettings, Vectors
from transforms.features.reference import (
    Match,
    Reference,
    ReferenceVideo,
    hashes_of,
    keep_reference,
    kept_reference,
    likeness,
    read_reference,
    write_reference,
)
from transforms.memo import MemoStore
from transforms.outcome import StopRunError
from transforms.video.inputs import BadInputError

MODEL = FeatureSettings(model="ViT-S-32-alt", pretrained="random")


def fan(*degrees: float) -> Vectors:
    """The pictures of a clip: unit vectors at these angles."""
    turned = np.radians(degrees)
    return np.stack([np.cos(turned), np.sin(turned)], axis=1).astype(np.float32)


def reference(*videos: Sequence[float]) -> Reference:
    lengths = [len(video) for video in videos]
    return Reference(
        names=tuple(f"{number}.mp4" for number in range(len(videos))),
        hashes=tuple(str(number) * 64 for number in range(len(videos))),
        starts=np.cumsum([0, *lengths]),
        vectors=fan(*(angle for video in videos for angle in video)),
    )


def test_a_clip_cut_from_a_video_is_of_it() -> None:
    found = reference([0, 90], [0, 20, 40, 60, 80]).find(fan(21, 39), 0.97)
    assert found == Match("1.mp4", likeness(fan(21, 39), fan(0, 20, 40, 60, 80), 0.97))
    assert found.cosine == round(float(np.cos(np.radians(1))), 5)


def test_a_clip_that_holds_a_video_is_of_it() -> None:
    assert reference([200], [20, 40]).find(fan(0, 20, 40, 60), 0.97) == Match("1.mp4", 1.0)


def test_one_picture_in_common_is_not_enough() -> None:
    assert reference([0, 90]).find(fan(0, 45), 0.97) is None
    # A black picture at the beginning is not a video that is black throughout.
    assert reference([0, 0, 1]).find(fan(0, 45), 0.97) is None
    assert reference([0]).find(fan(0, 45), 0.97) is None
    # But a clip that shows nothing else is of it.
    assert reference([0, 0, 1]).find(fan(0, 1), 0.97) == Match("0.mp4", 1.0)


def test_pictures_of_two_videos_are_of_neither() -> None:
    assert reference([0, 10], [90, 100]).find(fan(0, 90), 0.97) is None


def test_the_threshold_itself_is_alike_and_the_best_is_named() -> None:
    cosine = round(float(np.cos(np.radians(30))), 5)
    several = reference([30, 100], [330, 260], [80, 170])
    assert several.find(fan(0), cosine) == Match("0.mp4", cosine), "of equals the first name"
    assert several.find(fan(0), cosine + 0.00001) is None
    assert several.find(fan(20), 0.9) == Match("0.mp4", round(float(np.cos(np.radians(10))), 5))


ANGLES = st.lists(st.integers(0, 35).map(lambda angle: angle * 10.0), min_size=1, max_size=5)


@settings(max_examples=150, deadline=None)
@given(st.lists(ANGLES, min_size=1, max_size=5), ANGLES, st.sampled_from([0.5, 0.9, 0.97, 0.9999]))
def test_none_is_overlooked(videos: list[list[float]], clip: list[float], threshold: float) -> None:
    """Against the definition, applied to each video."""
    scores = [likeness(fan(*clip), fan(*video), threshold) for video in videos]
    found = reference(*videos).find(fan(*clip), threshold)
    if max(scores) < threshold:
        assert found is None
    else:
        assert found == Match(f"{scores.index(max(scores))}.mp4", max(scores))


# The file ----------------------------------------------------------------------------------------


def videos() -> list[ReferenceVideo]:
    return [
        ReferenceVideo("a/x.mp4", "1" * 64, np.array([0.0, 0.5]), fan(0, 10)),
        ReferenceVideo("b.mp4", "2" * 64, np.array([0.25]), fan(90)),
    ]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "features.parquet"
    assert write_reference(videos(), MODEL, path) == (2, 3)
    first = path.read_bytes()
    write_reference(videos(), MODEL, path)
    assert path.read_bytes() == first
    for name in (path, tmp_path):
        found = read_reference(str(name), MODEL)
        assert found.names == ("a/x.mp4", "b.mp4")
        assert found.starts.tolist() == [0, 2, 3]
        np.testing.assert_array_equal(found.vectors, fan(0, 10, 90))
    assert pq.read_table(path)["time_s"].to_pylist() == [0.0, 0.5, 0.25]
    assert hashes_of([(str(path), found)])["2" * 64] == "the video 'b.mp4' of features.parquet"
    assert read_reference(str(path), MODEL.model_copy(update={"fps": 1.0})) == found


def test_another_model_is_refused(tmp_path: Path) -> None:
    write_reference(videos(), MODEL, tmp_path / "features.parquet")
    other = FeatureSettings(model="ViT-B-32", pretrained="random")
    with pytest.raises(BadInputError, match=r"made by ViT-S-32-alt random .* ViT-B-32 random"):
        read_reference(str(tmp_path), other)


def test_weights_of_another_content_are_another_model(tmp_path: Path) -> None:
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"one")
    local = FeatureSettings(model="ViT-S-32-alt", pretrained=str(weights))
    write_reference(videos(), local, tmp_path / "features.parquet")
    assert read_reference(str(tmp_path), local).names
    assert str(tmp_path).encode() not in (tmp_path / "features.parquet").read_bytes()
    weights.write_bytes(b"other")
    with pytest.raises(BadInputError, match="was made by"):
        read_reference(str(tmp_path), local)


def test_what_is_no_reference_is_said(tmp_path: Path) -> None:
    path = tmp_path / "features.parquet"
    with pytest.raises(BadInputError, match="is not there; make it with proofreel features"):
        read_reference(str(path), MODEL)
    path.write_bytes(b"no parquet")
    with pytest.raises(BadInputError, match=r"^select\.reference: "):
        read_reference(str(path), MODEL)
    write_reference(videos(), MODEL, path)
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata(None), path)
    with pytest.raises(BadInputError, match="does not say which model made it"):
        read_reference(str(path), MODEL)
    pq.write_table(table.drop_columns("time_s"), path)
    with pytest.raises(BadInputError, match="has columns name, sha256, vector"):
        read_reference(str(path), MODEL)
    long = [ReferenceVideo("a", "1" * 64, np.array([0.0]), 2 * fan(0))]
    write_reference(long, MODEL, path)
    with pytest.raises(BadInputError, match="not of length 1"):
        read_reference(str(path), MODEL)
    with pytest.raises(ValueError, match="no video"):
        write_reference([], MODEL, path)


# On its way to the workers ------------------------------------------------------------------------


def test_workers_read_it_from_the_memo_store(tmp_path: Path) -> None:
    """So the file need not be on their machines; it is kept once, whatever it is called."""
    store = MemoStore(str(tmp_path / "store"))
    path = tmp_path / "features.parquet"
    write_reference(videos(), MODEL, path)
    ref = keep_reference(str(path), store)
    path.rename(tmp_path / "other.parquet")
    assert keep_reference(str(tmp_path / "other.parquet"), store) == ref
    assert len(list((tmp_path / "store" / "reference").glob("*/*"))) == 1
    (tmp_path / "other.parquet").unlink()
    found = kept_reference(ref, store)
    assert found.names == ("a/x.mp4", "b.mp4")
    np.testing.assert_array_equal(found.vectors, fan(0, 10, 90))


def test_a_kept_reference_that_is_damaged_or_gone_stops_the_run(tmp_path: Path) -> None:
    """No clip could be compared; the next run puts it there anew."""
    store = MemoStore(str(tmp_path / "store"))
    path = tmp_path / "features.parquet"
    write_reference(videos(), MODEL, path)
    ref = keep_reference(str(path), store)
    kept = store.path(ref)
    kept.write_bytes(b"x" * kept.stat().st_size)
    for said in ("was damaged and was removed", "is gone; run the same command again"):
        with pytest.raises(StopRunError, match=rf"select\.reference in the memo store .* {said}"):
            kept_reference(ref, store)
    assert keep_reference(str(path), store) == ref
    assert kept_reference(ref, store).names == ("a/x.mp4", "b.mp4")
