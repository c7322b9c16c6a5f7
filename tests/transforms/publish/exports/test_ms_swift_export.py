"""ms-swift's rows: a `<video>` for each file, a loss for each message, keys of sampling and boxes
only where they are set and in files of their own, labels that its reward class reads."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from publish_helpers import Item, build_dataset
from row_helpers import (
    json_lines,
    named,
    question_of,
    right_reply,
    samples_of,
    shipped_rewards,
    wrong_reply,
)

from schemas.sample import Reward, Sampling
from transforms.publish.exports.base import ExportSettings
from transforms.publish.exports.dialects import NORM1
from transforms.publish.exports.export import export_dataset
from transforms.publish.exports.sampling import sampling_keys


@pytest.fixture(scope="module")
def out(exported: Any) -> Path:
    folder: Path = exported("ms-swift")[0]
    return folder


def test_places_and_files_agree(out: Path) -> None:
    for row in named(out, "*.jsonl"):
        said = [message["content"] for message in row["messages"]]
        said.append(row.get("rejected_response", ""))
        assert sum(text.count("<video>") for text in said) == len(row["videos"]) == 1
        assert sum(text.count("<image>") for text in said) == len(row.get("images", []))


def test_rows_of_a_file_have_the_same_keys_at_every_depth(out: Path) -> None:
    for path in out.glob("*.jsonl"):
        found = json_lines(path)
        for column in ("chat_template_kwargs", "objects"):
            assert len({tuple(row.get(column, {})) for row in found}) == 1
        assert len({tuple(row) for row in found}) == 1
        assert len({tuple(m) for row in found for m in row["messages"]}) == 1
        if "chat_template_kwargs" in found[0]:
            assert all(row["chat_template_kwargs"] == {"fps": 2.0} for row in found)
    assert (out / "sft-train.jsonl").exists() and (out / "sft-train-fps.jsonl").exists()


def test_keys_of_sampling_are_there_only_when_set_and_never_both() -> None:
    assert sampling_keys(Sampling()) == {}
    assert sampling_keys(Sampling(fps=1.5, max_frames=8)) == {"fps": 1.5, "max_frames": 8}
    assert sampling_keys(Sampling(fps=1.5, nframes=8)) == {"nframes": 8}


def test_conversations_come_back(out: Path, export_items: list[Item]) -> None:
    samples = samples_of(export_items)
    rows = named(out, "*.jsonl")
    wanted = {one.id for one in samples.values() if one.split in ("sft", "preference", "rl")}
    assert sorted(row["id"] for row in rows) == sorted(wanted)
    for row in rows:
        sample = samples[row["id"]]
        system, asked, *replies = row["messages"]
        assert (system["role"], asked["role"]) == ("system", "user")
        if sample.id != "h01":
            assert asked["content"] == f"<video>\n{question_of(sample)}"
        if sample.split == "rl":
            assert not replies
            continue
        assert replies[-1]["content"] == sample.messages[-1].parts[0].text
        if sample.split == "preference":
            assert row["rejected_response"] == sample.preference.rejected[-1].parts[0].text


def test_the_loss_of_each_message(out: Path, export_items: list[Item], tmp_path: Path) -> None:
    for row in named(out, "sft-*.jsonl"):
        for message in row["messages"]:
            assert message["loss"] is (message["role"] == "assistant")
    item = next(item for item in export_items if item.sample.id == "t01")
    first, call, *rest = item.sample.messages
    messages = [first, call.model_copy(update={"loss": 0}), *rest]
    silent = item.sample.model_copy(update={"messages": messages})
    build_dataset(tmp_path / "d", [Item(silent, "train", item.clip)])
    export_dataset(tmp_path / "d", "ms-swift", tmp_path / "out", ExportSettings())
    (row,) = named(tmp_path / "out", "sft-*.jsonl")
    assert [m["loss"] for m in row["messages"]] == [False, False, False, False, True]


def test_a_look_shows_its_frames_as_pictures(out: Path) -> None:
    (row,) = named(out, "sft-train-fps-images.jsonl")
    roles = [message["role"] for message in row["messages"]]
    assert row["id"] == "t01" and roles == ["system", "user", "assistant", "tool", "assistant"]
    assert row["messages"][3]["content"] == ("0.20 s:\n<image>\n0.30 s:\n<image>\n0.40 s:\n<image>")
    assert [Path(path).stem for path in row["images"]] == ["0000200", "0000300", "0000400"]


def test_boxes_come_back_from_their_shares(out: Path, export_items: list[Item]) -> None:
    rows = named(out, "*-objects*.jsonl")
    boxed = {one.id: one for one in samples_of(export_items).values() if one.grounding.boxes}
    assert {row["id"] for row in rows} == {key for key in boxed if boxed[key].split == "sft"}
    for row in rows:
        objects, sample = row["objects"], boxed[row["id"]]
        assert objects["bbox_type"] == "norm1"
        back = [NORM1.read(box) for box in objects["bbox"]]
        assert back == [pytest.approx(box.xyxy_norm, abs=1e-6) for box in sample.grounding.boxes]
        assert objects["ref"] == [box.ref for box in sample.grounding.boxes]


def test_the_reward_class_reads_the_columns_and_grades(out: Path, export_items: list[Item]) -> None:
    rows, samples = named(out, "rl-*.jsonl"), samples_of(export_items)
    reward = shipped_rewards(out).SwiftReward()
    columns = {name: [row[name] for row in rows] for name in ("id", "kind", "solution")}
    for reply, total in ((right_reply, 1.0), (wrong_reply, 0.1)):
        scores = reward([reply(samples[row["id"]]) for row in rows], **columns)
        assert scores == pytest.approx([total] * len(rows))


def test_the_plugin_registers_what_the_command_names(out: Path, exported: Any) -> None:
    tree = ast.parse((out / "plugin.py").read_text("utf-8"))
    imports = {
        (node.module, name.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    }
    assert imports == {("rewards", "SwiftReward"), ("swift.rewards", "orms")}
    readme = (out / "README.md").read_text("utf-8")
    assert "--external_plugins plugin.py --reward_funcs proofreel" in readme
    assert "--dataset sft-train-fps-images.jsonl sft-train-fps-objects.jsonl" in readme
    tuned, _ = exported("ms-swift", splits=("sft",))
    assert not (tuned / "plugin.py").exists()


def test_what_only_a_model_can_grade_is_left_out(export_items: list[Item], tmp_path: Path) -> None:
    task = next(item for item in export_items if item.sample.id == "r02")
    by_model = Reward(style="model", fn="", spec_json="{}")
    sample = task.sample.model_copy(update={"reward": by_model, "id": "r03"})
    build_dataset(tmp_path / "d", [task, Item(sample, "train", task.clip)])
    report = export_dataset(tmp_path / "d", "ms-swift", tmp_path / "out", ExportSettings())
    assert report.rows == {"rl-train-fps.jsonl": 1}
    assert report.lost["left out: no function of rewards.py grades it"] == 1


def test_boxes_are_said_to_lose_their_time(out: Path, exported: Any) -> None:
    _, report = exported("ms-swift")
    count = sum("objects" in row for row in named(out, "*.jsonl"))
    assert report.lost["when its boxes are seen: `objects` have no time"] == count
    assert json.dumps(report.lost).count("left out") == 0
