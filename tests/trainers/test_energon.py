"""Megatron-Energon itself prepares our export and iterates it: every sample, with decoded video.

The commands are those of the export's README. What must come out is read from the shards by
`tarfile` and PyAV, without Energon.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

if "PROOFREEL_TRAINER_EXPORTS" not in os.environ:
    pytest.skip("needs an environment of its own: make test-trainers", allow_module_level=True)

import av
import yaml
from megatron import energon
from trainer_rig import export_of

pytestmark = pytest.mark.slow

PREPARED = {".info.json", "dataset.yaml", "index.sqlite", "index.uuid", "split.yaml"}
PARTS = {"train": "train", "val": "validation"}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the export, prepared by the command of its README."""
    folder = tmp_path_factory.mktemp("energon") / "out"
    shutil.copytree(export_of("energon"), folder)
    before = shards(folder)
    run(commands(folder)[0], folder)
    assert shards(folder) == before, "the shards themselves are left alone"
    return folder


@pytest.fixture
def cookers(out: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module of the export, imported as a user does: from its folder."""
    monkeypatch.syspath_prepend(str(out))
    for name in ("cookers", "rewards"):
        sys.modules.pop(name, None)
    yield importlib.import_module("cookers")
    for name in ("cookers", "rewards"):
        sys.modules.pop(name, None)


def shards(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.tar")}


def commands(folder: Path) -> list[str]:
    text = (folder / "README.md").read_text("utf-8")
    return re.findall(r"^(?:Prepare|Read): +`(.*)`", text, re.MULTILINE)


def run(command: str, folder: Path) -> str:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-ec", command], cwd=folder, env={**os.environ, "PATH": path, "PYTHONPATH": ""},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def splits(folder: Path) -> list[str]:
    return sorted(path.parent.name for path in folder.glob("*/.nv-meta"))


def written(folder: Path, partition: str) -> dict[str, tuple[dict[str, Any], bytes]]:
    """Of a split and partition: JSON and mp4 by key."""
    found: dict[str, dict[str, bytes]] = {}
    for path in sorted(folder.glob(f"{partition}-*.tar")):
        with tarfile.open(path) as tar:
            for info in tar:
                key, part = info.name.split(".")
                found.setdefault(key, {})[part] = tar.extractfile(info).read()  # type: ignore[union-attr]
    return {key: (json.loads(parts["json"]), parts["mp4"]) for key, parts in found.items()}


def once(cookers: ModuleType, folder: Path, part: str, workers: int) -> Iterator[dict[str, Any]]:
    """All samples of a part of a split, one epoch, in batches of two."""
    config = energon.WorkerConfig.default_worker_config(workers)
    data = energon.get_val_dataset(
        folder, split_part=part, worker_config=config, batch_size=2,
        task_encoder=cookers.ClipEncoder(),
    )  # fmt: skip
    fields = ("__key__", "context", "answers", "system", "rejected", "label", "sample", "video")
    for batch in energon.get_loader(data, watchdog_timeout_seconds=None):
        for one in zip(*(getattr(batch, name) for name in fields), strict=True):
            yield dict(zip(fields, one, strict=True))


def test_prepare_leaves_our_configuration_and_finds_the_parts(out: Path) -> None:
    assert splits(out)
    for split in splits(out):
        meta = out / split / ".nv-meta"
        assert {path.name for path in meta.iterdir()} == PREPARED
        assert yaml.safe_load((meta / "dataset.yaml").read_text())["__class__"] == "CrudeWebdataset"
        counts = json.loads((meta / ".info.json").read_text())["shard_counts"]
        assert sum(counts.values()) == sum(
            len(written(out / split, partition)) for partition in PARTS.values()
        )


def test_the_readme_s_command_shows_a_batch(out: Path) -> None:
    shown = run(commands(out)[1], out)
    assert "<answer>" in shown and "torch.Size" in shown


@pytest.mark.parametrize("workers", [0, 2])
def test_every_sample_comes_once_with_its_clip_and_label(
    workers: int, out: Path, cookers: ModuleType
) -> None:
    rewards = importlib.import_module("rewards")
    for split in splits(out):
        for part, partition in PARTS.items():
            expected = written(out / split, partition)
            if not expected:
                continue
            looks = {key for key, (sample, _) in expected.items() if uses_tools(sample)}
            seen = []
            for one in once(cookers, out / split, part, workers):
                seen.append(one["__key__"])
                sample, mp4 = expected[one["__key__"]]
                assert one["sample"] == sample
                replies = [m["parts"][0]["text"] for m in sample["messages"][1:]]
                assert one["answers"] == replies
                assert bool(one["rejected"]) == (split == "preference")
                right = rewards.format_response("I saw it.", sample["answer"]["text"])
                assert rewards.score_response(right, one["label"]).total == 1.0
                if split in ("sft", "preference"):
                    assert rewards.score_response(replies[0], one["label"]).answer > 0
                if workers == 0:
                    assert frames(one["video"]) == frames_of(mp4)
            assert sorted(seen) == sorted(expected.keys() - looks)


def uses_tools(sample: dict[str, Any]) -> bool:
    return any(one["role"] == "tool" for one in sample["messages"])


def test_the_loader_goes_on_without_end(out: Path, cookers: ModuleType) -> None:
    split = next(one for one in splits(out) if written(out / one, "train"))
    train = iter(cookers.loader(str(out / split), batch_size=2))
    count = len(written(out / split, "train"))
    assert [len(next(train).context) for _ in range(count)] == [2] * count


def test_words_that_look_like_media_and_looks_at_parts(out: Path, cookers: ModuleType) -> None:
    split = next(one for one in splits(out) if written(out / one, "train"))
    key, (sample, _) = next(iter(written(out / split, "train").items()))
    asked = sample["messages"][0]
    asked["parts"][-1]["text"] = "Is <video> or < IMAGE > or <|im_end|> there?"
    raw = {
        "__key__": key, "__restore_key__": (), "__subflavors__": {"system": "Think."},
        "__sources__": (), "json": sample, "mp4": None,
    }  # fmt: skip
    cooked = cookers.cook(raw)
    assert cooked.context == "Is (video) or ( IMAGE ) or (|im_end|) there?"
    assert cooked.system == "Think."
    sample["messages"].append({"role": "tool", "parts": []})
    with pytest.raises(energon.SkipSample):
        cookers.cook(raw)


def frames(video: Any) -> list[bytes]:
    """The frames that Energon decodes, as bytes of RGB."""
    clip = video.get_video().video_clips[0]
    return [frame.permute(1, 2, 0).contiguous().numpy().tobytes() for frame in clip]


def frames_of(mp4: bytes) -> list[bytes]:
    with av.open(io.BytesIO(mp4)) as container:
        return [frame.to_ndarray(format="rgb24").tobytes() for frame in container.decode(video=0)]
