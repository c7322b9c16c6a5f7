"""The shards of a real run in the readers that users have: webdataset and Hugging Face datasets."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest
import webdataset
from pipeline_helpers import samples, sha256_of_files


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Hugging Face `datasets` with its cache in a folder of the test, and no network."""
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.setenv(name, "1")
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    return datasets


def assert_is_the_clip(sample: dict[str, Any], mp4: bytes) -> None:
    [media] = sample["media"]
    with av.open(io.BytesIO(mp4)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        assert (stream.codec_context.width, stream.codec_context.height) == (
            media["width_px"],
            media["height_px"],
        )
        assert bool(container.streams.audio) == media["has_audio"]
    assert len(frames) == media["num_frames"]
    assert float(frames[0].time or 0.0) == 0.0
    times = [frame.time for frame in frames]
    assert times == sorted(times)
    step_s = media["fps_den"] / media["fps_num"]
    assert times[-1] == pytest.approx((len(frames) - 1) * step_s, abs=step_s / 2)


@pytest.mark.parametrize("split", ["sft", "rl", "preference"])
def test_webdataset(split: str, finished: Path) -> None:
    shards = [str(path) for path in sorted((finished / "dataset" / split).glob("*.tar"))]
    assert shards
    dataset = webdataset.WebDataset(shards, shardshuffle=False, empty_check=False)
    found = {one["__key__"]: one for one in dataset}
    expected = {key: one for key, one in samples(finished).items() if one["split"] == split}
    assert found.keys() == expected.keys()
    for key, one in found.items():
        assert set(one) == {"__key__", "__url__", "__local_path__", "json", "mp4"} or set(one) == {
            *("__key__", "__url__", "json", "mp4"),
        }
        assert json.loads(one["json"]) == expected[key]
    first = found[min(found)]
    assert_is_the_clip(expected[min(found)], first["mp4"])


def test_webdataset_decodes_json(finished: Path) -> None:
    shards = [str(path) for path in sorted((finished / "dataset" / "sft").glob("*.tar"))]
    dataset = webdataset.WebDataset(shards, shardshuffle=False).decode().to_tuple("json", "__key__")
    for sample, key in dataset:
        assert sample["id"] == key


def read(rows: Iterator[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {row["__key__"]: row for row in rows}


@pytest.mark.parametrize("streaming", [True, False], ids=["streaming", "whole"])
@pytest.mark.parametrize("split", ["sft", "rl", "preference"])
def test_hugging_face_datasets(split: str, streaming: bool, finished: Path, hub: Any) -> None:
    before = sha256_of_files(finished / "dataset")
    loaded = hub.load_dataset(str(finished / "dataset"), split, streaming=streaming)
    expected = {key: one for key, one in samples(finished).items() if one["split"] == split}
    partitions = {path.name.split("-")[0] for path in (finished / "dataset" / split).glob("*.tar")}
    assert set(loaded) == partitions
    found: dict[str, dict[str, Any]] = {}
    for part in loaded.values():
        column = "mp4"
        found |= read(iter(part.cast_column(column, hub.Video(decode=False))))
    assert found.keys() == expected.keys()
    for key, row in found.items():
        assert row["json"]["id"] == key
        assert row["json"]["answer"]["text"] == expected[key]["answer"]["text"]
        assert row["json"]["verdict"]["checks"] == expected[key]["verdict"]["checks"]
        assert row["json"]["grounding"]["segments"] == expected[key]["grounding"]["segments"]
    first = found[min(found)]
    assert_is_the_clip(expected[min(found)], bytes_of(first["mp4"]))
    assert sha256_of_files(finished / "dataset") == before


def bytes_of(video: Any) -> bytes:
    if isinstance(video, bytes):
        return video
    if video.get("bytes") is not None:
        data: bytes = video["bytes"]
        return data
    return Path(os.fspath(video["path"])).read_bytes()
