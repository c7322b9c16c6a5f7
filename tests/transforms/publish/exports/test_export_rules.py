"""What every export keeps, whatever its format: no nulls, no paths of this machine, no word that
counts as a medium, media that are there, a README that starts a training, the same bytes again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from schemas.sample import SPLITS
from transforms.publish.counts import counted
from transforms.publish.exports.base import ExportSettings
from transforms.publish.exports.copies import ShardExporter
from transforms.publish.exports.entries import BadDatasetError
from transforms.publish.exports.export import FORMATS, NAMES, ExportError, export_dataset
from transforms.publish.manifest import is_local_path

MEDIA = re.compile(r"(?:\./)?(?:videos|images)/\S+\.(?:mp4|jpg|png)")
NOT_ROWS = {"dataset_info.json"}


def rows(out: Path) -> Iterator[tuple[str, Any]]:
    """All rows of an export, beside the names of their files."""
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        if path.suffix == ".jsonl":
            for line in path.read_text("utf-8").splitlines():
                yield name, json.loads(line)
        elif path.suffix == ".json" and name not in NOT_ROWS:
            value = json.loads(path.read_text("utf-8"))
            yield from ((name, row) for row in (value if isinstance(value, list) else [value]))
        elif path.suffix == ".parquet":
            yield from ((name, row) for row in pq.read_table(path).to_pylist())


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """All that is no list and no mapping, beside where it stands."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from leaves(inner, f"{path}[{number}]")
    else:
        yield path, value


@pytest.mark.parametrize("name", NAMES)
def test_rows_hold_no_null_and_no_path_of_this_machine(name: str, exported: Any) -> None:
    out, report = exported(name)
    found = list(rows(out))
    assert sum(report.rows.values()) > 0
    for file, row in found:
        for path, value in leaves(row):
            assert value is not None, f"{file}: {path} is null"
            if isinstance(value, str):
                assert not is_local_path(value), f"{file}: {path} is {value}"
                assert str(out.parent) not in value


@pytest.mark.parametrize("name", NAMES)
def test_media_that_rows_name_are_there_and_no_others(name: str, exported: Any) -> None:
    out, _ = exported(name)
    named = {
        (_base(out, file) / value).relative_to(out).as_posix()
        for file, row in rows(out)
        for path, value in leaves(row)
        if isinstance(value, str) and MEDIA.fullmatch(value)
        if not path.endswith("source_uri")  # where a clip was cut from, which is not there
    }
    there = {
        path.relative_to(out).as_posix()
        for path in out.rglob("*")
        if path.suffix in (".mp4", ".jpg", ".png")
    }
    assert named == there
    for path in there:
        assert "." not in Path(path).stem, "some loaders cut names at the first dot"


def _base(out: Path, file: str) -> Path:
    """What the paths in a file of rows count from: `datasets` reads those of metadata.jsonl from
    its own folder, the trainers from where they are started."""
    return (out / file).parent if Path(file).name == "metadata.jsonl" else out


@pytest.mark.parametrize("name", NAMES)
def test_hidden_placeholders_are_rewritten_and_counted(name: str, exported: Any) -> None:
    out, report = exported(name)
    asked = [
        value
        for _, row in rows(out)
        for _, value in leaves(row)
        if isinstance(value, str) and "on the sign?" in value
    ]
    chosen = next(one for one in FORMATS if one.name == name)
    if "sft" not in chosen.splits:
        pytest.skip(f"{name} does not take the split that such a text is in")
    assert any(("left as" if chosen.canonical else "rewritten") in what for what in report.lost)
    if chosen.canonical:
        assert all("Is <video> or < IMAGE >" in text for text in asked), "to the letter"
        return
    for text in asked:
        assert "(video)" in text and "(|im_end|)" in text
        assert text.count("<video>") <= 1 and "<|im_end|>" not in text


@pytest.mark.parametrize("name", NAMES)
def test_readme_says_how_to_start_and_what_is_lost(name: str, exported: Any) -> None:
    out, report = exported(name)
    text = (out / report.guide).read_text("utf-8")
    chosen = next(one for one in FORMATS if one.name == name)
    # Whoever only loads is not said to train.
    start = "Read:    `" if issubclass(chosen, ShardExporter) else "Train:   `"
    assert "Install: `" in text and start in text and "Reward:" in text
    assert ("Train:" in text) == ("Train:" in start)
    for file, count in report.rows.items():
        assert f"- `{file}`: {counted(count, 'row')}\n" in text and (out / file).exists()
    behind = text.split("## What this format does not carry\n\n")[1]
    assert "stay" in behind.split("\n\n")[0], "where the rest is, which no row has"
    for what, count in report.lost.items():
        assert f"- {counted(count, 'sample')}: {what}" in behind


@pytest.mark.parametrize("name", NAMES)
def test_the_same_dataset_gives_the_same_bytes(
    name: str, exported: Any, export_source: Path, tmp_path: Path
) -> None:
    out, _ = exported(name)
    export_dataset(export_source, name, tmp_path / "again", ExportSettings())
    first = {p.relative_to(out): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    again = tmp_path / "again"
    assert {p.relative_to(again): p.read_bytes() for p in again.rglob("*") if p.is_file()} == first


def test_an_export_into_its_own_dataset_is_refused(export_source: Path, tmp_path: Path) -> None:
    before = sorted(export_source.rglob("*"))
    (tmp_path / "link").symlink_to(export_source)
    for out in (export_source / "mine", tmp_path / "link" / "sft" / "mine"):
        with pytest.raises(ExportError, match=r"lies in .*name another place"):
            export_dataset(export_source, "verl", out, ExportSettings())
    assert sorted(export_source.rglob("*")) == before


def test_splits_that_a_format_has_no_place_for_are_lost(exported: Any) -> None:
    out, report = exported("easyr1", splits=("rl", "preference"))
    lost = "of the split preference, which easyr1 does not take"
    assert report.lost[lost] > 0 and "split sft" not in str(report.lost), "as it was asked for"
    assert f"{counted(report.lost[lost], 'sample')}: {lost}" in (out / "README.md").read_text()
    taken = next(one for one in FORMATS if one.name == "easyr1").splits
    said = {what for what in exported("easyr1")[1].lost if "the split" in what}
    assert len(said) == len(set(SPLITS) - set(taken)), "all that are there, where all were asked"
    assert not any("the split" in what for what in exported("webdataset")[1].lost)


@pytest.mark.parametrize("one", FORMATS, ids=lambda one: one.name)
def test_every_split_of_a_format_gives_rows_or_a_reason(one: Any, exported: Any) -> None:
    for split in one.splits:
        _, report = exported(one.name, splits=(split,))
        assert sum(report.rows.values()) > 0, split


def test_asked_wrongly(export_source: Path, tmp_path: Path) -> None:
    settings = ExportSettings()
    with pytest.raises(ExportError, match="no such format; known are"):
        export_dataset(export_source, "nemo", tmp_path / "out", settings)
    with pytest.raises(ExportError, match=r"no such format; did you mean trl\?; known are"):
        export_dataset(export_source, "trll", tmp_path / "out", settings)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(ExportError, match="not empty"):
        export_dataset(export_source, NAMES[0], tmp_path / "full", settings)
    with pytest.raises(BadDatasetError, match="is it a dataset"):
        export_dataset(tmp_path / "full", NAMES[0], tmp_path / "out", settings)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["full"], "nothing is left behind"


def test_a_damaged_shard_is_named_and_nothing_is_left(
    exported: Any, export_source: Path, tmp_path: Path
) -> None:
    import shutil

    dataset = Path(shutil.copytree(export_source, tmp_path / "dataset"))
    shard = sorted((dataset / "sft").glob("train-*.tar"))[0]
    shard.write_bytes(shard.read_bytes()[:5_000])
    with pytest.raises(BadDatasetError, match=f"sft/{shard.name}"):
        export_dataset(dataset, "llama-factory", tmp_path / "out", ExportSettings())
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*"))


def test_the_names_on_the_command_line_are_those_of_the_formats() -> None:
    assert tuple(one.name for one in FORMATS) == NAMES
