"""The shards as trainers load them, by webdataset and Hugging Face `datasets`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from publish_helpers import Item

from schemas.sample import SPLITS, Sample
from transforms.publish.features import dataset_features

os.environ["HF_HUB_OFFLINE"] = "1"  # read when `datasets` is imported
import datasets
import webdataset


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "hf"))
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


@pytest.fixture
def expected(items: list[Item]) -> dict[str, dict[str, Any]]:
    return {
        item.sample.id: {
            "json": json.loads(item.sample.to_json()),
            "mp4": item.clip.path.read_bytes(),
            "place": (item.sample.split, item.partition),
        }
        for item in items
    }


def test_webdataset(built: Path, expected: dict[str, dict[str, Any]]) -> None:
    shards = sorted(str(path) for path in built.rglob("*.tar"))
    found = {}
    for entry in webdataset.WebDataset(shards, shardshuffle=False).decode():
        assert set(entry) == {"__key__", "__url__", "__local_path__", "json", "mp4"}
        found[entry["__key__"]] = entry
    assert found.keys() == expected.keys()
    for key, entry in found.items():
        assert entry["json"] == expected[key]["json"]
        assert entry["mp4"] == expected[key]["mp4"]
        Sample.model_validate(entry["json"])


def test_webdataset_expands_a_range_of_shards(built: Path) -> None:
    last = max(path.stem for path in (built / "sft").glob("train-*.tar")).split("-")[1]
    pattern = f"{built}/sft/train-{{000000..{last}}}.tar"
    assert len(list(webdataset.WebDataset(pattern, shardshuffle=False))) == 12


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("split", SPLITS)
def test_hugging_face_with_the_card(
    built: Path, expected: dict[str, dict[str, Any]], split: str, streaming: bool
) -> None:
    loaded = datasets.load_dataset(str(built), split, streaming=streaming)
    wanted = {one["place"][1] for one in expected.values() if one["place"][0] == split}
    assert set(loaded) == wanted
    for partition in wanted:
        check_rows(loaded[partition], expected, split, partition)


def check_rows(rows: Any, expected: dict[str, dict[str, Any]], split: str, partition: str) -> None:
    rows = rows.cast_column("mp4", datasets.Video(decode=False))
    found = {row["__key__"]: row for row in rows}
    assert found.keys() == {
        key for key, one in expected.items() if one["place"] == (split, partition)
    }
    for key, row in found.items():
        assert row["json"] == expected[key]["json"]
        assert row["mp4"]["bytes"] == expected[key]["mp4"]


def test_the_card_names_a_default(built: Path) -> None:
    loaded = datasets.load_dataset(str(built), split="train", streaming=True)
    assert (
        next(iter(loaded.cast_column("mp4", datasets.Video(decode=False))))["json"]["split"]
        == "sft"
    )


@pytest.mark.parametrize("streaming", [True, False])
def test_hugging_face_without_the_card(
    built: Path, expected: dict[str, dict[str, Any]], streaming: bool
) -> None:
    """The types are guessed from the first five samples, and must fit all the later ones."""
    files = sorted(str(path) for path in (built / "sft").glob("train-*.tar"))
    loaded = datasets.load_dataset(
        "webdataset", data_files={"train": files}, split="train", streaming=streaming
    )
    check_rows(loaded, expected, "sft", "train")


def test_features_are_what_datasets_would_write(built: Path) -> None:
    features = datasets.Features._from_yaml_list(dataset_features())
    assert features._to_yaml_list() == dataset_features()
    builder = datasets.load_dataset_builder(str(built), "sft")
    assert builder.info.features == features


def test_guessed_features_agree_with_the_stated_ones(built: Path) -> None:
    """Every field that the first samples of `sft` fill has the stated type."""
    files = [str(built / "sft" / "train-000000.tar")]
    guessed = datasets.load_dataset("webdataset", data_files=files, split="train", streaming=True)
    stated = datasets.Features._from_yaml_list(dataset_features())
    first = guessed.features

    def compare(one: Any, other: Any, path: str) -> None:
        if isinstance(one, dict):
            assert one.keys() == other.keys(), path
            for name in one:
                compare(one[name], other[name], f"{path}.{name}")
        elif isinstance(one, datasets.List):
            compare(one.feature, other.feature, f"{path}[]")
        elif isinstance(one, datasets.Value) and one.dtype != "null":
            assert one == other, path

    compare(dict(first["json"]), dict(stated["json"]), "json")
