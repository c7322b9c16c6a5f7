"""OpenRLHF's rows: text with `<image>` for each path, split by the library's rule into the places
that the pictures fill; labels that its reward function reads out of a whole query."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from publish_helpers import Item
from row_helpers import (
    named,
    question_of,
    right_reply,
    samples_of,
    shipped_rewards,
    wrong_reply,
)

from transforms.publish.exports.base import ExportSettings
from transforms.publish.exports.export import ExportError, export_dataset


@pytest.fixture(scope="module")
def out(exported: Any) -> Path:
    folder: Path = exported("openrlhf")[0]
    return folder


def test_places_and_pictures_agree_and_times_stand_before_them(
    out: Path, export_items: list[Item]
) -> None:
    samples = samples_of(export_items)
    rows = named(out, "*.jsonl")
    assert {row["id"] for row in rows} == {one.id for one in samples.values() if one.split == "rl"}
    for row in rows:
        system, asked = row["prompt"]
        assert system["role"] == "system" and "<image>" not in system["content"]
        pieces = [piece.strip() for piece in asked["content"].split("<image>")]
        assert len(pieces) == len(row["images"]) + 1 > 1
        assert pieces[-1] == question_of(samples[row["id"]])
        stems = [int(Path(path).stem) / 1000 for path in row["images"]]
        assert [f"{time_s:.2f} s:" for time_s in stems] == pieces[:-1]
        assert all((out / path).is_file() for path in row["images"])


def test_the_label_grades_a_reply_inside_a_query(out: Path, export_items: list[Item]) -> None:
    torch = pytest.importorskip("torch")
    rows, samples = named(out, "*.jsonl"), samples_of(export_items)
    prompts = ["".join(message["content"] for message in row["prompt"]) for row in rows]
    labels = [row["label"] for row in rows]
    reward = shipped_rewards(out).reward_func
    for reply, total, answer in ((right_reply, 1.0, 1.0), (wrong_reply, 0.1, 0.0)):
        queries = [
            prompt + reply(samples[row["id"]]) + "<|im_end|>"
            for prompt, row in zip(prompts, rows, strict=True)
        ]
        given = reward(queries, prompts, labels)
        assert torch.allclose(given["rewards"], torch.full((len(rows),), total))
        assert torch.allclose(given["scores"], torch.full((len(rows),), answer))


def test_replies_without_their_pictures_are_no_data(export_source: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="openrlhf takes rl"):
        export_dataset(export_source, "openrlhf", tmp_path / "o", ExportSettings(splits=("sft",)))


def test_readme_names_the_columns_and_says_what_is_lost(out: Path, exported: Any) -> None:
    text = (out / "README.md").read_text("utf-8")
    for part in (
        "--data.prompt_dataset rl-train.jsonl",
        "--data.input_key prompt --data.label_key label --data.apply_chat_template",
        "--data.max_images_per_prompt 16",
        "--reward.remote_url rewards.py",
    ):
        assert part in text
    _, report = exported("openrlhf", fps=1.0, max_frames=3)
    assert any("1 a second are there as pictures, 3 at most" in what for what in report.lost)
    assert report.lost["its sound"] == 1
