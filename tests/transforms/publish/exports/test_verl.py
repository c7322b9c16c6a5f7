"""verl's Parquet: as many `<video>` as videos, labels that grade, no null possible, sampling keys
only where set, canonical turns back from the rows. Its real loader: tests/trainers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from publish_helpers import Item, build_dataset, make_sample

from schemas.rewards import compute_score, read_label
from schemas.sample import Reward, Sampling
from transforms.publish.exports.base import ExportSettings
from transforms.publish.exports.export import export_dataset
from transforms.publish.exports.turns import SYSTEM, harmless


@pytest.fixture
def out(exported: Any) -> Path:
    folder: Path = exported("verl")[0]
    return folder


def read(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


def test_files_are_kept_apart_by_sampling_keys(out: Path, exported: Any) -> None:
    assert exported("verl")[1].rows == {
        "rl-train-fps.parquet": 2,
        "sft-train-fps.parquet": 13,
        "sft-train.parquet": 1,
        "sft-validation-fps.parquet": 1,
    }
    (without,) = read(out / "sft-train.parquet")
    assert [set(video) for video in without["videos"]] == [{"video"}]
    for row in read(out / "sft-train-fps.parquet"):
        assert [(set(video), video["fps"]) for video in row["videos"]] == [({"video", "fps"}, 2.0)]


def test_rl_rows_start_a_run_and_their_labels_grade(out: Path, export_items: list[Item]) -> None:
    samples = {item.sample.id: item.sample for item in export_items}
    rows = read(out / "rl-train-fps.parquet")
    assert [row["extra_info"]["index"] for row in rows] == [0, 1]
    for row in rows:
        sample = samples[row["extra_info"]["id"]]
        assert [turn["role"] for turn in row["prompt"]] == ["system", "user"]
        assert row["prompt"][0]["content"] == SYSTEM
        assert row["prompt"][1]["content"] == f"<video>\n{sample.messages[0].parts[1].text}"
        assert row["reward_model"]["style"] == "rule" and row["ability"] == sample.ability
        label = row["reward_model"]["ground_truth"]
        assert read_label(label).gold == sample.answer.text
        right = f"<think>Seen.</think><answer>{sample.answer.text}</answer>"
        scored = compute_score(row["data_source"], right, label, row["extra_info"])
        assert scored == {"score": 1.0, "acc": 1.0, "format": 1.0}


def test_sft_rows_give_the_canonical_turns_back(out: Path, export_items: list[Item]) -> None:
    kept = {
        tuple(harmless(part.text) for one in item.sample.messages for part in one.parts[-1:])
        for item in export_items
        if item.sample.split == "sft" and len(item.sample.messages) == 2
    }
    rows = [row for path in sorted(out.glob("sft-*.parquet")) for row in read(path)]
    found = set()
    for row in rows:
        assert [turn["role"] for turn in row["messages"]] == ["system", "user", "assistant"]
        texts = [turn["content"] for turn in row["messages"][1:]]
        assert sum(text.count("<video>") for text in texts) == len(row["videos"]) == 1
        found.add((texts[0].removeprefix("<video>\n"), texts[1]))
    assert found == kept


def test_nothing_in_the_files_can_be_null(out: Path) -> None:
    def fields(kind: pa.DataType | pa.Schema) -> list[pa.Field]:
        if isinstance(kind, pa.ListType):
            return [kind.value_field, *fields(kind.value_type)]
        if isinstance(kind, (pa.StructType, pa.Schema)):
            return [one for field in kind for one in (field, *fields(field.type))]
        return []

    for path in sorted(out.glob("*.parquet")):
        for field in fields(pq.read_schema(path)):
            assert not field.nullable, f"{path.name}: {field}"


def test_commands_name_files_that_are_there_and_batches_that_can_be_filled(
    out: Path, exported: Any
) -> None:
    text = (out / "README.md").read_text("utf-8")
    counts = exported("verl")[1].rows
    commands = [line for line in text.splitlines() if line.startswith("Train:")]
    assert len(commands) == 3, "one for each file to train on"
    for command in commands:
        options = dict(part.split("=", 1) for part in command.strip("` ").split() if "=" in part)
        assert int(options["data.train_batch_size"]) <= counts[options["data.train_files"]]
        for name in ("data.train_files", "data.val_files", "reward.custom_reward_function.path"):
            assert name not in options or (out / options[name]).is_file()
    assert "data.val_files=rl-train-fps.parquet" in text, "RL insists on one"


def test_a_sample_that_only_a_model_can_grade_is_left_out_and_counted(
    tmp_path: Path, export_items: list[Item]
) -> None:
    clip = export_items[0].clip
    judged = make_sample("r2", clip, split="rl")
    judged = judged.model_copy(update={"reward": Reward(style="model", fn="", spec_json="{}")})
    items = [Item(one, "train", clip) for one in (make_sample("r1", clip, split="rl"), judged)]
    build_dataset(tmp_path / "dataset", items)
    for name in ("verl", "easyr1"):
        report = export_dataset(tmp_path / "dataset", name, tmp_path / name, ExportSettings())
        assert sum(report.rows.values()) == 1
        assert report.lost["left out: no function of rewards.py grades it"] == 1


def test_a_number_of_frames_takes_the_place_of_the_rate(
    tmp_path: Path, export_items: list[Item]
) -> None:
    clip = export_items[0].clip
    sampling = Sampling(fps=2.0, nframes=16, max_pixels=100_000)
    sample = make_sample("s1", clip).model_copy(update={"sampling": sampling})
    build_dataset(tmp_path / "dataset", [Item(sample, "train", clip)])
    export_dataset(tmp_path / "dataset", "verl", tmp_path / "out", ExportSettings())
    (row,) = read(tmp_path / "out" / "sft-train-nframes-max_pixels.parquet")
    (video,) = row["videos"]
    assert {**video, "video": ""} == {"video": "", "nframes": 16, "max_pixels": 100_000}
