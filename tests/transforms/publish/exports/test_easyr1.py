"""EasyR1's JSON lines: one prompt with as many `<video>` as videos, the form of the reply in it,
the label as the only answer, and no column `images`, which would hide the clips."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from publish_helpers import Item

from schemas.rewards import easyr1_score, read_label
from transforms.publish.exports.turns import SYSTEM


def test_rows_hold_prompt_clip_and_label(exported: Any, export_items: list[Item]) -> None:
    out, report = exported("easyr1")
    assert report.rows == {"rl-train-fps2.jsonl": 2}
    samples = {item.sample.id: item.sample for item in export_items}
    for line in (out / "rl-train-fps2.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        sample = samples[row["id"]]
        assert set(row) == {"id", "prompt", "videos", "answer"}
        assert row["prompt"].count("<video>") == len(row["videos"]) == 1
        question = row["prompt"].removeprefix("<video>\n").removesuffix("\n" + SYSTEM)
        assert question == sample.messages[0].parts[1].text
        assert read_label(row["answer"]).gold == sample.answer.text
        right = f"<think>Seen.</think><answer>{sample.answer.text}</answer>"
        asked = {"response": right, "response_length": 9, "ground_truth": row["answer"]}
        assert easyr1_score([asked]) == [{"overall": 1.0, "accuracy": 1.0, "format": 1.0}]


def test_the_command_tells_the_trainer_all_that_it_must_know(exported: Any) -> None:
    out: Path = exported("easyr1")[0]
    text = (out / "README.md").read_text("utf-8")
    for option in (
        "data.train_files=rl-train-fps2.jsonl",
        "data.val_files=rl-train-fps2.jsonl",
        "data.image_dir=.",
        "data.video_fps=2 ",
        "worker.reward.reward_function=rewards.py:easyr1_score",
        "data.rollout_batch_size=2 worker.actor.global_batch_size=2",
        "Note:    no validation rows go with rl-train-fps2.jsonl",
    ):
        assert option in text


def test_without_a_systems_turn_nothing_is_put_behind_the_question(exported: Any) -> None:
    out, _ = exported("easyr1", system="")
    first = (out / "rl-train-fps2.jsonl").read_text("utf-8").splitlines()[0]
    assert json.loads(first)["prompt"] == "<video>\nWhat is in r01?"
