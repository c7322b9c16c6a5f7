"""LLaMA-Factory's files: a `<video>` and an `<image>` for each file, one rate per file, roles that
alternate, pairs in `chosen` and `rejected`, a dataset_info.json that names things as they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from publish_helpers import Item, build_dataset
from row_helpers import Row, question_of, samples_of

from schemas.sample import Sampling
from transforms.publish.exports.base import ExportSettings
from transforms.publish.exports.export import export_dataset


@pytest.fixture(scope="module")
def out(exported: Any) -> Path:
    folder: Path = exported("llama-factory")[0]
    return folder


@pytest.fixture(scope="module")
def files(out: Path) -> dict[str, list[Row]]:
    """Rows by file, of all files that dataset_info.json names."""
    info = json.loads((out / "dataset_info.json").read_text("utf-8"))
    names = [entry["file_name"] for entry in info.values()]
    assert sorted(names) == sorted(
        path.name for path in out.glob("*.json") if path.name != "dataset_info.json"
    )
    return {name: json.loads((out / name).read_text("utf-8")) for name in names}


def _said(row: Row) -> list[Row]:
    return [*row["messages"], *(row[name] for name in ("chosen", "rejected") if name in row)]


def test_places_and_files_agree_in_all_roles(files: dict[str, list[Row]]) -> None:
    for rows in files.values():
        for row in rows:
            texts = [message["content"] for message in _said(row)]
            assert sum(text.count("<video>") for text in texts) == len(row["videos"]) == 1
            assert sum(text.count("<image>") for text in texts) == len(row.get("images", []))


def test_roles_alternate_as_its_converter_asks(files: dict[str, list[Row]]) -> None:
    for name, rows in files.items():
        for row in rows:
            roles = [message["role"] for message in row["messages"]]
            assert roles.pop(0) == "system"
            accepted = ({"user", "observation"}, {"assistant"})
            assert all(role in accepted[n % 2] for n, role in enumerate(roles))
            # Of a pair it wants the prompt alone, an odd number of turns.
            assert len(roles) % 2 == (1 if name.startswith("preference") else 0)
            if name.startswith("preference"):
                assert {row["chosen"]["role"], row["rejected"]["role"]} == {"assistant"}


def test_each_file_has_one_rate(
    files: dict[str, list[Row]], out: Path, export_items: list[Item]
) -> None:
    samples = samples_of(export_items)
    by_question = {question_of(one): one.sampling.fps for one in samples.values()}
    for name, rows in files.items():
        asked = [row["messages"][1]["content"].removeprefix("<video>\n") for row in rows]
        rates = {by_question[text] for text in asked if text in by_question}
        assert rates == ({2.0} if "fps2" in name else {-1.0})
    assert {"sft-train-fps2.json", "sft-train.json"} <= files.keys()


def test_rows_come_back_as_they_were_published(
    files: dict[str, list[Row]], export_items: list[Item]
) -> None:
    wanted = {
        (question_of(one), one.messages[-1].parts[0].text, one.split)
        for one in samples_of(export_items).values()
        if one.split in ("sft", "preference") and one.id != "h01"
    }
    found = set()
    for name, rows in files.items():
        for row in rows:
            reply = row.get("chosen", row["messages"][-1])["content"]
            question = row["messages"][1]["content"].removeprefix("<video>\n")
            found.add((question, reply, name.split("-")[0]))
    assert {one for one in found if "on the sign?" not in one[0]} == wanted


def test_the_columns_it_is_told_of_are_those_of_the_rows(
    files: dict[str, list[Row]], out: Path
) -> None:
    info = json.loads((out / "dataset_info.json").read_text("utf-8"))
    for entry in info.values():
        assert entry["formatting"] == "sharegpt"
        pair = entry["file_name"].startswith("preference")
        assert entry.get("ranking", False) is pair
        for row in files[entry["file_name"]]:
            assert set(row) == set(entry["columns"].values())
    readme = (out / "README.md").read_text("utf-8")
    lines = [line for line in readme.splitlines() if line.startswith("Train:")]
    named = {line.split("--dataset ")[1].split()[0] for line in lines}
    assert named == {title for title in info if "_train" in title}
    for line in lines:
        assert ("--video_fps 2 " in line) is ("_fps2" in line.split("--dataset ")[1])
        assert ("--stage dpo" in line) is ("--dataset preference" in line)


def test_a_look_is_an_observation_that_shows_its_frames(
    files: dict[str, list[Row]], out: Path, export_items: list[Item]
) -> None:
    (row,) = files["sft-train-fps2-images.json"]
    sample = samples_of(export_items)["t01"]
    _, _, call, look, _ = row["messages"]
    assert call == {"role": "assistant", "content": sample.messages[1].parts[0].text}
    assert look["role"] == "observation"
    assert look["content"] == "0.20 s:\n<image>\n0.30 s:\n<image>\n0.40 s:\n<image>"
    assert all((out / path).is_file() for path in row["images"])
    info = json.loads((out / "dataset_info.json").read_text("utf-8"))
    assert info["sft_train_fps2_images"]["columns"]["images"] == "images"


def test_what_it_cannot_carry_is_left_out_and_counted(
    export_items: list[Item], tmp_path: Path
) -> None:
    by_id = {item.sample.id: item for item in export_items}
    look, pair, plain = by_id["t01"], by_id["p01"], by_id["s00"]
    first, call, *rest = look.sample.messages
    silent = look.sample.model_copy(
        update={"messages": [first, call.model_copy(update={"loss": 0}), *rest]}
    )
    rejected = [call, rest[0], *pair.sample.preference.rejected]
    looks = pair.sample.model_copy(
        update={
            "preference": pair.sample.preference.model_copy(update={"rejected": rejected}),
            "media": look.sample.media,
        }
    )
    limited = plain.sample.model_copy(update={"sampling": Sampling(fps=0.5, max_frames=8)})
    items = [
        Item(one, "train", clip)
        for one, clip in ((silent, look.clip), (looks, look.clip), (limited, plain.clip))
    ]
    build_dataset(tmp_path / "d", items)
    report = export_dataset(tmp_path / "d", "llama-factory", tmp_path / "o", ExportSettings())
    assert report.rows == {"sft-train-fps0p5.json": 1}
    assert "--video_fps 0.5 " in (tmp_path / "o" / "README.md").read_text("utf-8")
    for part in ("in a pair", "not to be learnt", "settings of a run"):
        assert [count for what, count in report.lost.items() if part in what] == [1]
