"""Megatron-Energon itself prepares our export and iterates it: every sample, with decoded video.

Runs in an environment with `megatron-energon[av_decode]==7.4.1` and what proofreel's export needs
(pydantic, pyarrow, jinja2, pyyaml); elsewhere it is skipped.
"""

from __future__ import annotations

import importlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "transforms" / "publish"))

from publish_helpers import Item, build_dataset, make_clip, make_items, make_sample

from schemas import rewards
from schemas.sample import SPLITS, Message, Part, Sample
from transforms.publish.exports.base import ExportSettings
from transforms.publish.exports.export import export_dataset

pytestmark = pytest.mark.slow
av = pytest.importorskip("av")
energon = pytest.importorskip("megatron.energon")

HOSTILE = "Is <video> or <|im_end|> on the sign?"
PREPARED = {".info.json", "dataset.yaml", "index.sqlite", "index.uuid", "split.yaml"}


def with_messages(sample: Sample, *messages: Message) -> Sample:
    return sample.model_copy(update={"messages": list(messages)})


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> list[Item]:
    folder = tmp_path_factory.mktemp("clips")
    clips = [
        make_clip(folder / "c1.mp4", 1.5, "testsrc"),
        make_clip(folder / "c2.mp4", 2.0, "testsrc2", audio=True),
    ]
    hostile, tools = make_sample("h01", clips[1]), make_sample("t01", clips[1])
    asked, reply = hostile.messages
    text = Part(type="text", text=HOSTILE)
    look = Message(role="tool", parts=[Part(type="text", text="frames")], loss=0)
    return [
        *make_items(clips),
        Item(
            with_messages(
                hostile, asked.model_copy(update={"parts": [asked.parts[0], text]}), reply
            ),
            "train",
            clips[1],
        ),
        Item(with_messages(tools, tools.messages[0], reply, look, reply), "train", clips[1]),
    ]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, items: list[Item]) -> Path:
    """The export, prepared by the command of its README."""
    folder = tmp_path_factory.mktemp("energon")
    build_dataset(folder / "dataset", items)
    export_dataset(folder / "dataset", "energon", folder / "out", ExportSettings(system="Think."))
    before = shards(folder / "out")
    run(commands(folder / "out")[0], folder / "out")
    assert shards(folder / "out") == before == shards(folder / "dataset")
    return folder / "out"


def shards(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.tar")}


def commands(out: Path) -> list[str]:
    text = (out / "README.md").read_text("utf-8")
    return re.findall(r"^Train: +`(.*)`", text, re.MULTILINE)


def run(command: str, folder: Path) -> str:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-ec", command], cwd=folder, env={**os.environ, "PATH": path, "PYTHONPATH": ""},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def cookers(out: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module of the export, imported as a user does: from its folder."""
    monkeypatch.syspath_prepend(str(out))
    yield importlib.import_module("cookers")
    for name in ("cookers", "rewards"):
        sys.modules.pop(name, None)


def once(cookers: ModuleType, folder: Path, part: str, workers: int = 0) -> list[Any]:
    """All samples of a part of a split, one epoch, in batches of two."""
    config = energon.WorkerConfig.default_worker_config(workers)
    data = energon.get_val_dataset(
        folder, split_part=part, worker_config=config, batch_size=2,
        task_encoder=cookers.ClipEncoder(),
    )  # fmt: skip
    fields = ("__key__", "context", "answers", "system", "rejected", "label", "sample", "video")
    return [
        dict(zip(fields, one, strict=True))
        for batch in energon.get_loader(data)
        for one in zip(*(getattr(batch, name) for name in fields), strict=True)
    ]


def test_prepare_leaves_our_configuration_and_finds_the_parts(out: Path) -> None:
    for split in SPLITS:
        meta = out / split / ".nv-meta"
        assert {path.name for path in meta.iterdir()} == PREPARED
        assert yaml.safe_load((meta / "dataset.yaml").read_text())["__class__"] == "CrudeWebdataset"
    parts = yaml.safe_load((out / "sft" / ".nv-meta" / "split.yaml").read_text())["split_parts"]
    assert len(parts["train"]) >= 1 and parts["val"] == ["validation-000000.tar"]


def test_the_readme_s_command_shows_a_batch(out: Path) -> None:
    assert "What is in s" in (shown := run(commands(out)[1], out)) and "torch.Size" in shown


@pytest.mark.parametrize("split", SPLITS)
def test_every_sample_comes_once_with_its_clip_and_label(
    split: str, out: Path, cookers: ModuleType, items: list[Item]
) -> None:
    expected = {i.sample.id: i for i in items if i.sample.split == split and i.partition == "train"}
    expected.pop("t01", None)  # a look on the way: skipped
    found = once(cookers, out / split, "train", workers=2 if split == "sft" else 0)
    assert sorted(one["__key__"] for one in found) == sorted(expected)
    for one in found:
        item = expected[one["__key__"]]
        sample = item.sample
        assert one["sample"] == sample.model_dump(mode="json")
        assert one["system"] == "Think."
        replies = [m.parts[0].text for m in sample.messages if m.role == "assistant"]
        assert one["answers"] == replies
        rejected = [part.text for m in sample.preference.rejected for part in m.parts]
        assert one["rejected"] == "\n".join(rejected)
        right = rewards.format_response("I saw it.", sample.answer.text)
        assert rewards.score_response(right, one["label"]).total == 1.0
        if replies and split == "sft":
            assert rewards.score_response(replies[0], one["label"]).total == 1.0
        assert frames(one["video"]) == frames_of(item.clip.path)


def test_hidden_placeholders_are_rewritten(out: Path, cookers: ModuleType) -> None:
    found = {one["__key__"]: one["context"] for one in once(cookers, out / "sft", "train")}
    assert found["h01"] == "Is (video) or (|im_end|) on the sign?"


def test_the_loader_goes_on_without_end_and_val_ends(out: Path, cookers: ModuleType) -> None:
    train = iter(cookers.loader(str(out / "rl"), batch_size=2))
    assert [len(next(train).context) for _ in range(4)] == [2] * 4
    val = list(cookers.loader(str(out / "sft"), split="val"))
    assert [one.__key__ for one in val] == [["s95"]]


def frames(video: Any) -> list[bytes]:
    """The frames that Energon decodes, as bytes of RGB."""
    clip = video.get_video().video_clips[0]
    return [frame.permute(1, 2, 0).contiguous().numpy().tobytes() for frame in clip]


def frames_of(path: Path) -> list[bytes]:
    with av.open(io.BytesIO(path.read_bytes())) as container:
        return [frame.to_ndarray(format="rgb24").tobytes() for frame in container.decode(video=0)]
