"""Exports that copy shards: the dataset's own bytes, a card that loads, commands that run."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from publish_helpers import Item, edit_manifest, fix_hash

from schemas.sample import SPLITS
from transforms.publish.exports import energon, hf
from transforms.publish.exports.base import ExportSettings
from transforms.publish.exports.copies import ShardExporter, braced
from transforms.publish.exports.entries import BadDatasetError
from transforms.publish.exports.export import FORMATS, export_dataset
from transforms.publish.exports.turns import PLACEHOLDER

os.environ["HF_HUB_OFFLINE"] = "1"  # read when `datasets` is imported
import datasets

COPYING = [one.name for one in FORMATS if issubclass(one, ShardExporter)]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "hf"))
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


@pytest.fixture
def damaged(export_source: Path, tmp_path: Path) -> Path:
    """A copy of the dataset, to be damaged."""
    return Path(shutil.copytree(export_source, tmp_path / "dataset"))


def shards(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.tar")}


@pytest.mark.parametrize("name", COPYING)
def test_shards_are_the_dataset_s_own_and_no_links(
    name: str, exported: Any, export_source: Path
) -> None:
    out, report = exported(name)
    assert shards(out) == shards(export_source)
    assert set(shards(out)) <= set(report.rows)
    for shard in shards(out):
        copy, own = (out / shard).lstat(), (export_source / shard).stat()
        assert copy.st_nlink == 1 and (copy.st_dev, copy.st_ino) != (own.st_dev, own.st_ino)


@pytest.mark.parametrize("name", COPYING)
def test_only_the_splits_asked_for(name: str, exported: Any, export_source: Path) -> None:
    out, report = exported(name, splits=("rl", "process"))
    own = shards(export_source)
    wanted = {one: own[one] for one in own if one.split("/")[0] in ("rl", "process")}
    assert shards(out) == wanted and len(wanted) == 2
    assert not (out / "sft").exists() and not any("sft" in file for file in report.rows)


def test_a_shard_that_the_manifest_does_not_list_so_is_refused(
    damaged: Path, tmp_path: Path
) -> None:
    """Every entry can be read, but it is another's."""
    shutil.copy(damaged / "preference" / "train-000000.tar", damaged / "rl" / "train-000000.tar")
    with pytest.raises(
        BadDatasetError, match=r"rl/train-000000\.tar: (key p01 comes twice|is not)"
    ):
        export_dataset(damaged, "webdataset", tmp_path / "out", ExportSettings())
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*"))
    with pytest.raises(BadDatasetError, match="is not the shard that the manifest lists"):
        export_dataset(damaged, "webdataset", tmp_path / "out", ExportSettings(splits=("rl",)))


def test_a_gap_in_the_numbers_is_refused(damaged: Path, tmp_path: Path) -> None:
    def forget(manifest: dict[str, Any]) -> None:
        kept = [one for one in manifest["shards"] if one["path"] != "sft/train-000001.tar"]
        assert len(kept) == len(manifest["shards"]) - 1
        manifest["shards"] = kept

    edit_manifest(damaged, forget)
    with pytest.raises(BadDatasetError, match=r"sft/train-000001\.tar: is missing"):
        export_dataset(damaged, "webdataset", tmp_path / "out", ExportSettings())


def test_a_key_that_comes_twice_is_refused(damaged: Path, tmp_path: Path) -> None:
    """Readers would join its parts, or take one of the two."""
    first, second = damaged / "sft" / "train-000000.tar", damaged / "sft" / "train-000001.tar"
    shutil.copy(first, second)
    fix_hash(damaged, "sft/train-000001.tar")
    with pytest.raises(BadDatasetError, match=r"sft/train-000001\.tar: key \w+ comes twice"):
        export_dataset(damaged, "webdataset", tmp_path / "out", ExportSettings())


def test_braces() -> None:
    assert braced(["rl/train-000000.tar"]) == "rl/train-000000.tar"
    names = [f"sft/train-{number:06}.tar" for number in range(12)]
    assert braced(names) == "sft/train-{000000..000011}.tar"


@pytest.mark.parametrize("name", ["webdataset", "hf"])
def test_the_readme_s_commands_run(
    name: str, exported: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, report = exported(name)
    monkeypatch.chdir(out)
    text = (out / report.guide).read_text("utf-8")
    commands = re.findall(r"^Read: +`(.*)`", text, re.MULTILINE)
    assert commands
    for command in commands:
        program, option, code = shlex.split(command.replace("$PWD", str(out)))
        assert (program, option) == ("python", "-c")
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, {})
        assert "What is in s" in printed.getvalue()


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("split", SPLITS)
def test_both_views_of_the_hub_layout_load(
    split: str, streaming: bool, exported: Any, export_items: list[Item]
) -> None:
    out, _ = exported("hf")
    expected: dict[str, dict[str, Any]] = {}
    for item in export_items:
        if item.sample.split == split:
            sample = json.loads(item.sample.to_json())
            expected.setdefault(item.partition, {})[item.sample.id] = sample
    rows = datasets.load_dataset(str(out / "rows"), split, streaming=streaming)
    assert set(rows) == set(expected)
    whole = datasets.load_dataset(str(out), split, streaming=streaming)
    assert set(whole) == set(expected)
    for partition, samples in expected.items():
        found = list(rows[partition])
        places = {row["id"]: row.pop("shard") for row in found}
        assert {row["id"]: row for row in found} == samples
        entries = whole[partition].cast_column("mp4", datasets.Video(decode=False))
        seen = {}
        for entry in entries:
            seen[entry["__key__"]] = entry["json"]
            assert Path(entry["__url__"]).as_posix().endswith(places[entry["__key__"]])
        assert seen == samples


def test_the_hub_s_card_states_types_and_a_default(exported: Any) -> None:
    out, _ = exported("hf")
    assert datasets.load_dataset_builder(str(out)).config.name == "sft"
    stated = datasets.Features._from_yaml_list(hf.ROW_FEATURES)
    builder = datasets.load_dataset_builder(str(out / "rows"))
    assert builder.config.name == "sft" and builder.info.features == stated
    file = str(out / "rows" / "rl" / "train.parquet")
    own = datasets.load_dataset("parquet", data_files=file, split="train", streaming=True)
    assert own.features == stated, "the file says the same by itself"
    card = (out / "README.md").read_text("utf-8")
    assert card.count("# Small") == 1 and "exported as hf" not in card
    guide = (out / "EXPORT.md").read_text("utf-8")
    assert guide.startswith("# proofreel, exported as hf\n\nInstall: `"), "found at once"


def test_the_hub_s_card_of_some_splits_names_no_others(exported: Any) -> None:
    out, _ = exported("hf", splits=("rl",))
    for folder in (out, out / "rows"):
        assert datasets.get_dataset_config_names(str(folder)) == ["rl"]


def test_the_hub_layout_needs_the_card(damaged: Path, tmp_path: Path) -> None:
    (damaged / "README.md").write_text("# Mine\n", "utf-8")
    with pytest.raises(BadDatasetError, match=r"README\.md: begins with no YAML"):
        export_dataset(damaged, "hf", tmp_path / "out", ExportSettings())


def test_energon_s_folders(exported: Any) -> None:
    out, report = exported("energon", system="Think.")
    for split in SPLITS:
        config = yaml.safe_load((out / split / ".nv-meta" / "dataset.yaml").read_text("utf-8"))
        assert config["__class__"] == "CrudeWebdataset"
        assert config["subflavors"] == {"system": "Think."}
        assert len(list((out / split / ".nv-meta").iterdir())) == 1, "the rest is energon prepare's"
    assert report.lost["skipped by cookers.py: it looks at parts of the clip, which are no media"]


def test_energon_s_cooker_rewrites_what_the_others_rewrite(exported: Any) -> None:
    """It is a file of its own, and can't import the pattern."""
    out, _ = exported("energon")
    text = (out / energon.COOKERS_FILE).read_text("utf-8")
    calls = {
        node.targets[0].id: ast.literal_eval(node.value.args[0])
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Call)
    }
    assert calls["PLACEHOLDER"] == PLACEHOLDER.pattern
