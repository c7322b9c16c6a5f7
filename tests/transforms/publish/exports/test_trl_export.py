"""TRL's rows: as many pictures as places for them, their times in the text, the loss on what is
learnt alone, labels that its reward hook reads, and nothing that Arrow would fill with nulls."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from publish_helpers import Item, build_dataset
from row_helpers import (
    Row,
    named,
    question_of,
    right_reply,
    samples_of,
    shipped_rewards,
    wrong_reply,
)

from schemas.sample import Message, Part, Reward
from transforms.publish.exports.base import ExportSettings
from transforms.publish.exports.export import export_dataset

SPLITS = ("sft", "preference", "rl")


@pytest.fixture(scope="module")
def out(exported: Any) -> Path:
    folder: Path = exported("trl")[0]
    return folder


def _places(messages: list[Row]) -> int:
    """As TRL counts them: of no tool, without a key of their own name."""
    return sum(
        part["type"] == "image" and "image" not in part
        for message in messages
        if message["role"] != "tool"
        for part in message["content"]
    )


def _text(message: Row) -> str:
    return "".join(part["text"] for part in message["content"])


def test_every_place_has_its_picture_of_the_size_told(out: Path) -> None:
    for split in SPLITS:
        for path in out.glob(f"{split}/*/metadata.jsonl"):
            for row in map(json.loads, path.read_text("utf-8").splitlines()):
                names = row["images_file_names"]
                assert _places(row["prompt"]) == len(names) > 0
                for name in names:
                    with Image.open(path.parent / name) as picture:
                        assert (picture.format, picture.size) == ("JPEG", (64, 48))


def test_pictures_stand_after_their_times_at_the_rate_told(out: Path, exported: Any) -> None:
    row = next(row for row in named(out, "sft/train/*.jsonl") if row["id"] == "s00")
    question = row["prompt"][1]["content"]
    times = [part["text"] for part in question if part["type"] == "text"][:-1]
    assert times == ["0.00 s:", "0.50 s:", "1.00 s:"]
    kinds = [part["type"] for part in question]
    assert kinds == ["text", "image"] * 3 + ["text"]
    few, _ = exported("trl", max_frames=2, max_side_px=32)
    row = next(row for row in named(few, "sft/train/*.jsonl") if row["id"] == "s00")
    assert len(row["images_file_names"]) == 2
    with Image.open(few / "sft/train" / row["images_file_names"][1]) as picture:
        assert picture.size == (32, 24)
    assert "1.40 s:" in _text(row["prompt"][1]), "the last frame of 1.5 s at 10 frames a second"


def test_arrow_has_nothing_to_fill(out: Path) -> None:
    for path in out.rglob("metadata.jsonl"):
        found = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        assert len({tuple(row) for row in found}) == 1
        for row in found:
            for column in ("prompt", "completion", "chosen", "rejected"):
                for message in row.get(column, []):
                    assert tuple(message) == ("role", "content")
                    assert all(tuple(part) == ("type", "text") for part in message["content"])


def test_replies_come_back_as_they_were_published(out: Path, export_items: list[Item]) -> None:
    samples = samples_of(export_items)
    rows = [*named(out, "sft/*/*.jsonl"), *named(out, "preference/*/*.jsonl")]
    assert {row["id"] for row in rows} == {
        one.id for one in samples.values() if one.split in ("sft", "preference")
    }
    for row in rows:
        sample = samples[row["id"]]
        roles = [message["role"] for message in row["prompt"]]
        assert roles[:2] == ["system", "user"] and roles[-1] == "user"
        if sample.id != "h01":  # what was rewritten is the business of the rules for all formats
            assert row["prompt"][1]["content"][-1]["text"] == question_of(sample)
        if row.get("completion") and len(roles) == 2 and sample.id != "t01":
            assert _text(row["completion"][0]) == sample.messages[-1].parts[0].text
        if "chosen" in row:
            assert _text(row["chosen"][0]) == sample.messages[-1].parts[0].text
            assert _text(row["rejected"][0]) == sample.preference.rejected[-1].parts[0].text


def test_a_look_is_a_row_of_its_own_and_its_frames_are_shown(
    out: Path, export_items: list[Item]
) -> None:
    asks, answers = [row for row in named(out, "sft/train/*.jsonl") if row["id"] == "t01"]
    sample = samples_of(export_items)["t01"]
    call, shown = sample.messages[1].parts[0].text, [0.2, 0.3, 0.4]
    assert _text(asks["completion"][0]) == call
    assert [message["role"] for message in answers["prompt"]] == [
        "system", "user", "assistant", "user",
    ]  # fmt: skip
    assert _text(answers["prompt"][2]) == call
    texts = [part["text"] for part in answers["prompt"][3]["content"]]
    assert texts[0] == "<tool_response>\n" and texts[-1] == "\n</tool_response>"
    assert [text for text in texts[1:-1] if text] == [f"{time_s:.2f} s:" for time_s in shown]
    assert len(answers["images_file_names"]) == len(asks["images_file_names"]) + len(shown)
    assert _text(answers["completion"][0]) == sample.messages[-1].parts[0].text


def test_a_turn_that_is_not_learnt_is_no_completion(
    export_items: list[Item], tmp_path: Path
) -> None:
    item = next(item for item in export_items if item.sample.id == "t01")
    first, call, *rest = item.sample.messages
    messages = [first, call.model_copy(update={"loss": 0}), *rest]
    silent = item.sample.model_copy(update={"messages": messages})
    build_dataset(tmp_path / "d", [Item(silent, "train", item.clip)])
    export_dataset(tmp_path / "d", "trl", tmp_path / "out", ExportSettings())
    (row,) = named(tmp_path / "out", "sft/train/*.jsonl")
    assert "<answer>" in _text(row["completion"][0])


def test_the_hook_reads_the_columns_and_grades(out: Path, export_items: list[Item]) -> None:
    rows, samples = named(out, "rl/*/*.jsonl"), samples_of(export_items)
    rewards = shipped_rewards(out)
    columns = {
        name: [row[name] for row in rows]
        for name in rows[0]
        if name not in ("prompt", "images_file_names")
    }
    assert {"id", "kind", "data_source", "solution"} <= columns.keys()
    for reply, total in ((right_reply, 1.0), (wrong_reply, 0.1)):
        said = [reply(samples[row["id"]]) for row in rows]
        completions = [[{"role": "assistant", "content": text}] for text in said]
        scores = rewards.trl_reward([row["prompt"] for row in rows], completions, **columns)
        assert scores == pytest.approx([total] * len(rows))
    for row in rows:
        assert "<think>" in _text(row["prompt"][0]), "the form that the reward asks for"


def test_what_it_cannot_carry_is_left_out_and_counted(
    export_items: list[Item], tmp_path: Path
) -> None:
    by_id = {item.sample.id: item for item in export_items}
    pair, task = by_id["p01"], by_id["r02"]
    look = by_id["t01"].sample
    looks = [*look.messages[1:3], *pair.sample.preference.rejected]
    rejected = pair.sample.preference.model_copy(update={"rejected": looks})
    with_look = pair.sample.model_copy(update={"preference": rejected, "media": look.media})
    by_model = task.sample.model_copy(
        update={"reward": Reward(style="model", fn="", spec_json="{}"), "id": "r03"}
    )
    items = [Item(with_look, "train", by_id["t01"].clip), Item(by_model, "train", task.clip), task]
    build_dataset(tmp_path / "d", items)
    report = export_dataset(tmp_path / "d", "trl", tmp_path / "out", ExportSettings())
    assert report.rows == {"rl/train/metadata.jsonl": 1}
    assert report.lost["left out: a reply that looks at parts of the clip, in a pair"] == 1
    assert report.lost["left out: no function of rewards.py grades it"] == 1


def test_without_a_system_turn(exported: Any) -> None:
    plain, _ = exported("trl", system="")
    assert all(row["prompt"][0]["role"] == "user" for row in named(plain, "rl/train/*.jsonl"))


def test_a_message_of_text_alone_has_no_frame(export_items: list[Item], tmp_path: Path) -> None:
    item = export_items[0]
    first, reply = item.sample.messages
    more = [
        first,
        Message(role="assistant", parts=[Part(type="text", text="Which one?")], loss=0),
        Message(role="user", parts=[Part(type="text", text="The square.\n")]),
        reply,
    ]
    talk = item.sample.model_copy(update={"messages": more})
    build_dataset(tmp_path / "d", [Item(talk, "train", item.clip)])
    export_dataset(tmp_path / "d", "trl", tmp_path / "out", ExportSettings(system=""))
    (row,) = named(tmp_path / "out", "sft/train/*.jsonl")
    assert [message["role"] for message in row["prompt"]] == ["user", "assistant", "user"]
    assert [part["text"] for part in row["prompt"][2]["content"]] == ["The square.\n"]
