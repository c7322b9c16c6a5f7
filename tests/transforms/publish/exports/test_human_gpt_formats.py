"""Formats of `human` and `gpt` (Qwen, InternVL, LLaVA): speakers in turn, the placeholder first and
once for the one clip, the form of the reply behind the question, canonical texts back."""

from __future__ import annotations

import json
import runpy
import shutil
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import yaml
from publish_helpers import Item, edit_sample

from schemas.sample import Sample
from transforms.publish.exports.base import ExportSettings
from transforms.publish.exports.export import export_dataset
from transforms.publish.exports.llava import ROUNDED
from transforms.publish.exports.turns import SYSTEM, harmless

FORMATS = {"qwen": "<video>", "internvl": "<video>", "llava": "<image>"}


def read(out: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for path in out.glob("sft-*.jsonl") for line in path.open("rb")]
    return rows + [row for path in out.glob("sft-*.json") for row in json.loads(path.read_bytes())]


def samples_of(items: list[Item]) -> dict[str, Sample]:
    return {item.sample.id: item.sample for item in items}


@pytest.mark.parametrize("name", FORMATS)
def test_turns_give_the_canonical_texts_back(
    name: str, exported: Any, export_items: list[Item]
) -> None:
    out, report = exported(name)
    samples = samples_of(export_items)
    rows = read(out)
    assert len(rows) == sum(count for file, count in report.rows.items() if file[:3] == "sft") == 15
    for row in rows:
        sample = samples[row["id"]]
        assert [turn["from"] for turn in row["conversations"]] == ["human", "gpt"]
        asked, reply = (turn["value"] for turn in row["conversations"])
        assert asked.startswith(f"{FORMATS[name]}\n"), "the loaders want it there, and a new line"
        question = asked.removeprefix(f"{FORMATS[name]}\n").removesuffix("\n" + SYSTEM)
        assert question == harmless(sample.messages[0].parts[1].text)
        assert reply == sample.messages[1].parts[0].text
        assert (asked + reply).count(FORMATS[name]) == 1 and isinstance(row["video"], str)
        assert (out / row["video"]).is_file()


@pytest.mark.parametrize("name", FORMATS)
def test_looks_and_records_are_counted(name: str, exported: Any) -> None:
    lost = exported(name)[1].lost
    assert lost["left out: it looks at parts of the clip, which are no files of their own"] == 1
    assert lost["its boxes as records (what the reply says of them stays)"] == 1
    assert lost["its spans as records (what the reply says of them stays)"] == 3
    assert lost["the labels of its steps"] == 1


@pytest.mark.parametrize("name", ["qwen", "llava"])
def test_rates_are_one_setting_so_files_are_kept_apart(name: str, exported: Any) -> None:
    out, report = exported(name)
    assert set(report.rows) == {
        "sft-train-fps2.json",
        "sft-train.json",
        "sft-validation-fps2.json",
    }
    commands = [line for line in (out / "README.md").read_text().splitlines() if "Train:" in line]
    assert len(commands) == 2 and all(
        "--video_fps" in command and "sft-train" in command for command in commands
    )


def test_qwens_table_learns_of_the_files_and_training_is_started(
    exported: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Qwen's package is on no registry: its table and its start, under the names they have."""
    out: Path = exported("qwen")[0]
    table: dict[str, dict[str, str]] = {}
    started: list[str] = []
    for name in ("qwenvl", "qwenvl.data", "qwenvl.train", "qwenvl.train.train_qwen"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules["qwenvl.data"].data_dict = table  # type: ignore[attr-defined]
    sys.modules["qwenvl.train.train_qwen"].train = (  # type: ignore[attr-defined]
        lambda attn_implementation: started.append(attn_implementation)
    )
    runpy.run_path(str(out / "train.py"), run_name="__main__")
    assert set(table) == {"sft-train-fps2", "sft-train", "sft-validation-fps2"}
    for name, entry in table.items():
        assert Path(entry["annotation_path"]) == (out / f"{name}.json").resolve()
        for row in json.loads(Path(entry["annotation_path"]).read_bytes()):
            assert (Path(entry["data_path"]) / row["video"]).is_file()
    assert started == ["flash_attention_2"]


def test_llavas_list_names_the_file_beside_it(exported: Any) -> None:
    out: Path = exported("llava")[0]
    for stem in ("sft-train", "sft-train-fps2"):
        listed = yaml.safe_load((out / f"{stem}.yaml").read_text())
        assert listed == {"datasets": [{"json_path": f"{stem}.json", "sampling_strategy": "all"}]}
        assert f"--data_path {stem}.yaml" in (out / "README.md").read_text()
    assert not (out / "sft-validation-fps2.yaml").exists()


def test_internvls_meta_files_name_what_to_train_on(exported: Any) -> None:
    out, report = exported("internvl")
    for split in ("sft", "preference"):
        (entry,) = json.loads((out / f"meta-{split}.json").read_bytes()).values()
        assert entry["annotation"] == f"{split}-train.jsonl" and entry["root"] == "."
        assert entry["length"] == report.rows[entry["annotation"]]
        assert f"--meta_path meta-{split}.json" in (out / "README.md").read_text()
    assert report.lost["its sampling settings: InternVL takes a number of frames for the run"] > 0


def test_internvls_pairs_share_their_question(exported: Any, export_items: list[Item]) -> None:
    out: Path = exported("internvl")[0]
    (line,) = (out / "preference-train.jsonl").read_text("utf-8").splitlines()
    row = json.loads(line)
    sample = samples_of(export_items)[row["id"]]
    assert row["question"] == f"<video>\n{sample.messages[0].parts[1].text}\n{SYSTEM}"
    assert row["chosen"] == sample.messages[1].parts[0].text
    assert row["rejected"] == sample.preference.rejected[0].parts[0].text


def test_a_rate_that_llava_can_not_take_is_counted(export_source: Path, tmp_path: Path) -> None:
    dataset = Path(shutil.copytree(export_source, tmp_path / "dataset"))
    edit_sample(dataset, "s00", lambda value: value["sampling"].update(fps=0.5))
    report = export_dataset(dataset, "llava", tmp_path / "out", ExportSettings())
    assert report.rows["sft-train-fps0p5.json"] == 1
    assert "--video_fps 1 " in (tmp_path / "out" / "README.md").read_text("utf-8")
    assert report.lost[ROUNDED] == 1
