"""Datasets of others that are not what they seem: exports write nothing outside of their folder,
take nothing that the dataset does not vouch for, and say in words what is wrong."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from publish_helpers import edit_sample, find_shard, rewrite_shard

from transforms.publish.exports.base import ExportSettings
from transforms.publish.exports.entries import BadDatasetError
from transforms.publish.exports.export import export_dataset


@pytest.fixture
def hostile(export_source: Path, tmp_path: Path) -> Path:
    """A copy of the dataset, to be made hostile."""
    return Path(shutil.copytree(export_source, tmp_path / "dataset"))


@pytest.mark.parametrize("name", ["verl", "trl"])
@pytest.mark.parametrize("place", ["../../out", "ABSOLUTE"])
def test_no_medium_is_written_outside(name: str, place: str, hostile: Path, tmp_path: Path) -> None:
    named = place if place.startswith(".") else "/tmp/0d3c7a52f1b9e64"
    # Of a late sample, so that the folder of media is there already.
    edit_sample(hostile, "s93", lambda value: value["media"][0].update(sha256=named))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(BadDatasetError, match=r"s93: .* is no SHA-256"):
        export_dataset(hostile, name, tmp_path / "out", ExportSettings())
    assert sorted(tmp_path.iterdir()) == before
    assert not Path(f"{named}.mp4").exists() and not Path(named).exists()


@pytest.mark.parametrize("name", ["verl", "trl"])
def test_a_clip_that_is_another_than_the_sample_says_is_refused(
    name: str, hostile: Path, tmp_path: Path
) -> None:
    edit_sample(hostile, "s00", lambda value: value["media"][0].update(sha256="0" * 64))
    with pytest.raises(BadDatasetError, match="s00: its mp4 is not the one that the sample names"):
        export_dataset(hostile, name, tmp_path / "out", ExportSettings())


def test_a_clip_that_does_not_decode_is_named(hostile: Path, tmp_path: Path) -> None:
    shard, zeros = find_shard(hostile, "s00"), bytes(2_000)
    rewrite_shard(
        hostile,
        shard,
        lambda members: [(name, zeros if name == "s00.mp4" else data) for name, data in members],
    )
    sha256 = hashlib.sha256(zeros).hexdigest()
    edit_sample(hostile, "s00", lambda value: value["media"][0].update(sha256=sha256))
    with pytest.raises(BadDatasetError, match=f"{shard}: s00: the clip's mp4 can't be opened"):
        export_dataset(hostile, "trl", tmp_path / "out", ExportSettings())


def _unknown_medium(value: dict[str, Any]) -> None:
    value["messages"][0]["parts"][0]["media_id"] = "other"


def _no_question(value: dict[str, Any]) -> None:
    del value["messages"][0]


def _no_reply(value: dict[str, Any]) -> None:
    del value["messages"][1:]


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (_unknown_medium, "shows 'other', which the sample does not have"),
        (_no_question, "no question comes first"),
        (_no_reply, "holds no reply"),
    ],
)
def test_samples_that_lack_something_are_named(
    edit: Callable[[dict[str, Any]], None], why: str, hostile: Path, tmp_path: Path
) -> None:
    edit_sample(hostile, "s00", edit)
    with pytest.raises(BadDatasetError, match=f"s00: .*{why}"):
        export_dataset(hostile, "qwen", tmp_path / "out", ExportSettings())


def test_a_key_that_is_a_path_is_refused(hostile: Path, tmp_path: Path) -> None:
    shard = find_shard(hostile, "s00")
    rewrite_shard(
        hostile,
        shard,
        lambda members: [
            (name.replace("s00.", "../s00."), data.replace(b'"id":"s00"', b'"id":"../s00"'))
            for name, data in members
        ],
    )
    with pytest.raises(BadDatasetError, match="is no key"):
        export_dataset(hostile, "qwen", tmp_path / "out", ExportSettings())


@pytest.mark.parametrize(
    "file", ["manifest.json", "rewards.py", "README.md", "sft/train-000000.tar"]
)
def test_a_pipe_is_no_file(file: str, hostile: Path, tmp_path: Path) -> None:
    (hostile / file).unlink()
    os.mkfifo(hostile / file)
    with pytest.raises(BadDatasetError, match=f"{file}: is no file"):
        export_dataset(hostile, "hf", tmp_path / "out", ExportSettings())


def test_a_grader_that_the_manifest_does_not_list_stays_out(hostile: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("mine")
    (hostile / "rewards.py").unlink()
    (hostile / "rewards.py").symlink_to(secret)
    with pytest.raises(BadDatasetError, match=r"rewards.py: is not the one that the manifest"):
        export_dataset(hostile, "verl", tmp_path / "out", ExportSettings())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "front", ["a: &a [b]\nc: [*a, *a]\n", "a: &a [*a]\n", f"a: {'[' * 2000}\n"]
)
def test_a_card_whose_yaml_refers_to_itself_is_refused(
    front: str, hostile: Path, tmp_path: Path
) -> None:
    card = hostile / "README.md"
    card.write_text(card.read_text("utf-8").replace("---\n", f"---\n{front}", 1), "utf-8")
    with pytest.raises(BadDatasetError, match="begins with no YAML"):
        export_dataset(hostile, "hf", tmp_path / "out", ExportSettings())


def test_the_folder_one_stands_in_is_a_place_too(
    export_source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    export_dataset(export_source, "easyr1", Path(), ExportSettings())
    assert (tmp_path / "here" / "README.md").exists()


@pytest.mark.parametrize("name", ["verl", "easyr1", "trl", "ms-swift", "openrlhf"])
def test_a_sample_that_nothing_grades_is_left_out(name: str, hostile: Path, tmp_path: Path) -> None:
    """Its answer earns nothing by its own reward: the hooks would refuse such a label."""
    edit_sample(hostile, "r01", lambda value: value["answer"].update(text="never"))
    settings = ExportSettings(splits=("rl",))
    report = export_dataset(hostile, name, tmp_path / "out", settings)
    assert report.lost["left out: no function of rewards.py grades it"] == 1
    assert sum(report.rows.values()) == 1, "the other one"
