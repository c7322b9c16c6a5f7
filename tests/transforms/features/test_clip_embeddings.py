"""CLIP on real frames: copies are found, others are not, and what is missing is said in a line."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy as np
import pyarrow as pa
import pytest

from schemas.case import PlannedClip
from schemas.rejection import Reason, Stage
from transforms.features.duplicates import BlockVectors, alike_in
from transforms.features.embed import (
    ClipModel,
    FeatureSettings,
    WeightsError,
    check_weights,
    load_model,
    prepare,
)
from transforms.features.pictures import (
    VECTORS_FILE,
    Embedded,
    Wanted,
    embed_wanted,
    frame_vectors,
    mean_vector,
    sample_times,
    store_vectors,
)
from transforms.features.select import SelectSettings
from transforms.features.stage import RejectNearDuplicates, want_clip
from transforms.memo import MemoStore
from transforms.outcome import StopRunError

NAMES = ("bigbuckbunny", "bikes", "carphone_distorted", "carphone_pristine")
Plan = Callable[[str], PlannedClip]


@pytest.fixture(scope="module")
def clips(
    planned: Plan, feature_store: MemoStore, feature_settings: FeatureSettings
) -> list[Wanted[PlannedClip]]:
    return [want_clip(planned(name), feature_store, feature_settings) for name in NAMES]


@pytest.fixture(scope="module")
def embedded(
    clips: list[Wanted[PlannedClip]], feature_store: MemoStore, encoder: ClipModel
) -> list[Embedded[PlannedClip]]:
    return [embed_wanted(wanted, feature_store, lambda: encoder) for wanted in clips]


def test_a_copy_that_was_encoded_anew_is_found_and_others_are_not(
    embedded: list[Embedded[PlannedClip]],
) -> None:
    """carphone_distorted is carphone_pristine at an 80th of its bytes."""
    means = np.stack([mean_vector(one.vectors) for one in embedded])
    block = BlockVectors(0, means, lambda row: embedded[row].vectors)
    threshold = SelectSettings().near_duplicate_cosine
    alike = alike_in(block, block, threshold)
    assert [(NAMES[one["row"]], NAMES[one["other"]]) for one in alike] == [
        ("carphone_pristine", "carphone_distorted")
    ]
    # Not by a hair: all others are much farther apart than the threshold.
    cosines = means @ means.T
    others = [cosines[a, b] for a in range(4) for b in range(a) if (a, b) != (3, 2)]
    assert max(others) < threshold - 0.1


def test_vectors_are_of_length_one_and_of_the_times_they_say(
    clips: list[Wanted[PlannedClip]], embedded: list[Embedded[PlannedClip]]
) -> None:
    for wanted, found in zip(clips, embedded, strict=True):
        assert found.error == ""
        assert found.wanted == wanted
        assert len(wanted.times_s) == len(found.vectors) >= 8
        np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1.0, atol=1e-5)
        np.testing.assert_allclose(np.diff(wanted.times_s), 0.5, atol=0.05)


def test_each_picture_gets_its_own_vector(
    clips: list[Wanted[PlannedClip]],
    embedded: list[Embedded[PlannedClip]],
    feature_store: MemoStore,
    encoder: ClipModel,
) -> None:
    """Pictures that are wanted alone or in another number are the same pictures."""
    wanted, whole = clips[1], embedded[1].vectors
    for places in ([7], [2, 3, 11]):
        some = dataclasses.replace(wanted, times_s=tuple(wanted.times_s[p] for p in places))
        found = embed_wanted(some, feature_store, lambda: encoder)
        # Batches of other sizes sum in another order, in bf16 where the CPU has it.
        np.testing.assert_allclose(found.vectors, whole[places], atol=0.02)
        assert (found.vectors @ whole.T).argmax(axis=1).tolist() == places


def test_more_pictures_than_fit_one_forward_pass(
    clips: list[Wanted[PlannedClip]],
    embedded: list[Embedded[PlannedClip]],
    feature_store: MemoStore,
    encoder: ClipModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("transforms.features.pictures.PICTURES_PER_FORWARD", 7)
    found = embed_wanted(clips[1], feature_store, lambda: encoder)
    assert len(clips[1].times_s) % 7
    np.testing.assert_allclose(found.vectors, embedded[1].vectors, atol=0.02)


def test_pictures_that_cannot_be_had_cost_only_themselves(
    clips: list[Wanted[PlannedClip]], feature_store: MemoStore, encoder: ClipModel, tmp_path: Path
) -> None:
    elsewhere = dataclasses.replace(clips[0], times_s=(*clips[0].times_s[:2], 99.0))
    found = embed_wanted(elsewhere, feature_store, lambda: encoder)
    assert "2 of 3 sampled frames are there" in found.error
    assert len(found.vectors) == 0
    # A picture that is none, as after a bit flip on the disk.
    with pa.memory_map(str(feature_store.path(clips[0].samples_ref))) as source:
        table = pa.ipc.open_file(source).read_all().slice(0, 2)
    place = table.column_names.index("jpeg")
    table = table.set_column(place, "jpeg", pa.array([b"none", b"none"], pa.binary()))
    store = MemoStore(str(tmp_path))
    sink = pa.OSFile(str(tmp_path / "broken.arrow"), "wb")
    with sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    times = tuple(table["time_s"].to_pylist())
    broken = dataclasses.replace(clips[0], samples_ref="broken.arrow", times_s=times)
    assert "UnidentifiedImageError" in embed_wanted(broken, store, lambda: encoder).error


def test_weights_that_fail_stop_the_run(
    clips: list[Wanted[PlannedClip]], feature_store: MemoStore
) -> None:
    def fail() -> ClipModel:
        raise WeightsError("none")

    with pytest.raises(StopRunError):
        embed_wanted(clips[0], feature_store, fail)


def test_no_pictures_need_no_model(
    clips: list[Wanted[PlannedClip]], feature_store: MemoStore
) -> None:
    nothing = dataclasses.replace(clips[0], times_s=())
    found = embed_wanted(nothing, feature_store, lambda: pytest.fail("a model was loaded"))
    assert (found.error, len(found.vectors)) == ("", 0)


def test_stored_vectors_are_read_back(
    planned: Plan, feature_store: MemoStore, feature_settings: FeatureSettings
) -> None:
    settings = feature_settings.model_copy(update={"fps": 3.0})
    entry = want_clip(planned("bikes"), feature_store, settings).entry
    assert entry.get() is None
    vectors = np.eye(3, 4, dtype=np.float32)
    store_vectors(entry, [0.0, 0.5, 1.0], vectors)
    assert entry.get() == {"frames": 3}
    np.testing.assert_array_equal(
        frame_vectors(feature_store.path(entry.ref(VECTORS_FILE))), vectors
    )


def test_features_of_other_weights_are_other_features(
    planned: Plan, feature_store: MemoStore, tmp_path: Path
) -> None:
    weights = tmp_path / "weights.pt"
    keys = set()
    for content in (b"1", b"22"):
        weights.write_bytes(content)
        settings = FeatureSettings(pretrained=str(weights))
        keys.add(want_clip(planned("bikes"), feature_store, settings).entry.key)
    for settings in (FeatureSettings(), FeatureSettings(model="RN50"), FeatureSettings(fps=1.0)):
        keys.add(want_clip(planned("bikes"), feature_store, settings).entry.key)
    other = want_clip(planned("carphone_pristine"), feature_store, FeatureSettings())
    keys.add(other.entry.key)
    assert len(keys) == 6


def test_the_middle_of_a_picture_is_what_is_seen() -> None:
    picture = np.zeros((40, 100, 3), np.uint8)
    picture[:, 30:70] = 200
    for shaped in (picture, picture.transpose(1, 0, 2).copy()):
        seen = prepare(shaped, 20)
        assert seen.shape == (20, 20, 3)
        assert seen.min() == seen.max() == 200


# Weights that can't be had


def one_line(error: WeightsError) -> str:
    text = str(error)
    assert "\n" not in text
    assert text.startswith("features.")
    return text


def test_an_unknown_tag_is_told_with_the_known_ones() -> None:
    with pytest.raises(WeightsError) as caught:
        check_weights(FeatureSettings(pretrained="laion999"))
    text = one_line(caught.value)
    assert "'laion999'" in text
    assert "laion2b_s34b_b79k" in text


def test_an_unknown_model_is_told() -> None:
    with pytest.raises(WeightsError) as caught:
        load_model(FeatureSettings(model="ViT-Q-1", pretrained="random"))
    assert "'ViT-Q-1'" in one_line(caught.value)
    with pytest.raises(WeightsError):
        check_weights(FeatureSettings(model="ViT-Q-1"))


def test_random_and_no_features_need_no_weights() -> None:
    check_weights(FeatureSettings(pretrained="random"))
    check_weights(FeatureSettings(model="none", pretrained="whatever"))
    assert "no meaning" in FeatureSettings(pretrained="random").note
    assert "not looked for" in FeatureSettings(model="none").note
    assert FeatureSettings().note == ""


def test_without_a_hub_the_option_to_use_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As HF_HUB_OFFLINE=1 with an empty cache; the library reads those when it is imported."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsError) as caught:
        check_weights(FeatureSettings())
    text = one_line(caught.value)
    assert "laion2b_s34b_b79k" in text
    assert "--set features.pretrained=random" in text
    assert len(text) < 500
    assert list(tmp_path.rglob("*.safetensors")) == []


def test_broken_weights_are_told(tmp_path: Path) -> None:
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"no weights at all")
    settings = FeatureSettings(model="ViT-S-32-alt", pretrained=str(weights))
    check_weights(settings)
    with pytest.raises(WeightsError) as caught:
        load_model(settings)
    assert "features.pretrained=random" in one_line(caught.value)


def test_weights_that_a_workers_machine_lacks_are_told(tmp_path: Path) -> None:
    """The run stops with it: a StopRunError, and no clip's fault."""
    weights = tmp_path / "weights.pt"
    with pytest.raises(WeightsError) as caught:
        load_model(FeatureSettings(model="ViT-S-32-alt", pretrained=str(weights)))
    said = f"features.pretrained: {weights} is not on {socket.gethostname()}, and each machine"
    assert one_line(caught.value).startswith(said)


# The stage in a pipeline


def test_the_stage_rejects_copies_and_what_cannot_be_read(
    planned: Plan, feature_store: MemoStore, feature_settings: FeatureSettings
) -> None:
    import apache_beam as beam
    from apache_beam.testing.util import assert_that, equal_to

    from transforms.legs import OUT, REJECTED

    clips = [planned(name) for name in ("carphone_pristine", "carphone_distorted", "bikes")]
    decoded = clips[2].footage.decoded.model_copy(update={"samples_ref": "gone.arrow"})
    footage = clips[2].footage.model_copy(update={"decoded": decoded})
    clips[2] = clips[2].model_copy(update={"footage": footage})
    original, copy = sorted(clips[:2], key=lambda one: one.clip.video_id)
    settings = feature_settings.model_copy(update={"fps": 2.5})
    with beam.Pipeline() as pipeline:
        stage = RejectNearDuplicates(settings, SelectSettings(), feature_store)
        found = pipeline | beam.Create(clips) | stage
        kept = found[OUT] | "Ids" >> beam.Map(lambda one: one.clip.id)
        rejected = found[REJECTED] | beam.Map(
            lambda one: (one.stage, one.reason, one.subject, one.detail.split(",")[0][:40])
        )
        assert_that(kept, equal_to([original.clip.id]), label="kept")
        gone = f"of {original.clip.id}"
        assert_that(
            rejected | beam.Map(lambda one: (*one[:3], one[3] if one[3] == gone else "")),
            equal_to(
                [
                    (Stage.SELECT, Reason.NEAR_DUPLICATE, copy.clip.id, gone),
                    (Stage.SELECT, Reason.FEATURES_FAILED, clips[2].clip.id, ""),
                ]
            ),
            label="rejected",
        )


def test_a_poison_clip_and_damaged_vectors_cost_only_themselves(
    planned: Plan,
    feature_store: MemoStore,
    feature_settings: FeatureSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import apache_beam as beam
    from apache_beam.testing.util import assert_that, equal_to

    from transforms.features import stage as selecting
    from transforms.legs import OUT, REJECTED

    good, poison, damaged = (
        planned(name) for name in ("carphone_pristine", "bikes", "bigbuckbunny")
    )
    settings = feature_settings
    wanted = want_clip(damaged, feature_store, settings)
    feature_store.forget(wanted.entry.ref(VECTORS_FILE))
    with wanted.entry.building() as folder:
        (folder / VECTORS_FILE).write_bytes(b"no vectors")
        wanted.entry.finish(folder, {})

    def meets(clip: PlannedClip, *arguments: Any) -> Any:
        if clip.clip.id == poison.clip.id:
            raise KeyError("poison")
        return want_clip(clip, *arguments)

    monkeypatch.setattr(selecting, "want_clip", meets)
    for mended in (False, True):
        with beam.Pipeline() as pipeline:
            stage = RejectNearDuplicates(settings, SelectSettings(), feature_store)
            found = pipeline | beam.Create([good, poison, damaged]) | stage
            kept = found[OUT] | "Ids" >> beam.Map(lambda one: one.clip.id)
            rejected = found[REJECTED] | beam.Map(lambda one: (one.reason, one.subject))
            lost = [(Reason.INTERNAL_ERROR, poison.clip.id)]
            ids = [good.clip.id, damaged.clip.id]
            if not mended:
                lost += [(Reason.FEATURES_FAILED, ids.pop())]
            assert_that(kept, equal_to(ids), label="kept")
            assert_that(rejected, equal_to(lost), label="rejected")


def test_vectors_that_vanish_before_clips_are_compared_cost_their_clip(
    planned: Plan,
    feature_store: MemoStore,
    feature_settings: FeatureSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import apache_beam as beam
    from apache_beam.testing.util import assert_that, equal_to

    from transforms.features import stage as selecting
    from transforms.features.pictures import frame_vectors
    from transforms.legs import OUT, REJECTED

    good, lost = planned("carphone_pristine"), planned("bikes")
    gone = feature_store.path(
        want_clip(lost, feature_store, feature_settings).entry.ref(VECTORS_FILE)
    )

    def read(path: Path) -> Any:
        vectors = frame_vectors(path)
        if path == gone:
            path.unlink()
        return vectors

    monkeypatch.setattr(selecting, "frame_vectors", read)
    with beam.Pipeline() as pipeline:
        stage = RejectNearDuplicates(feature_settings, SelectSettings(), feature_store)
        found = pipeline | beam.Create([good, lost]) | stage
        kept = found[OUT] | "Ids" >> beam.Map(lambda one: one.clip.id)
        rejected = found[REJECTED] | beam.Map(lambda one: (one.reason, one.subject, one.parent))
        assert_that(kept, equal_to([good.clip.id]), label="kept")
        of_lost = (Reason.FEATURES_FAILED, lost.clip.id, lost.clip.video_id)
        assert_that(rejected, equal_to([of_lost]), label="rejected")


def test_the_picture_of_a_clip_between_two_samples_is_the_one_before(
    planned: Plan, feature_store: MemoStore
) -> None:
    path = feature_store.path(planned("bikes").footage.decoded.samples_ref)
    assert sample_times(path, 1.1, 1.3) == pytest.approx((1.0,), abs=0.05)
    assert sample_times(path, 1.1, 2.3) == pytest.approx((1.5, 2.0), abs=0.05)
