"""Video-R1's JSON: process and solution joined are the canonical reply; options and the form of
the answer are left to its template; our own reader of manifests takes the file back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from listed_inputs import expand_inputs
from publish_helpers import Item, build_dataset, make_sample

from schemas.sample import Message, Part
from schemas.task import TaskKind
from transforms.annotate.tasks import ANSWER_FORMS
from transforms.publish.exports.base import ExportSettings
from transforms.publish.exports.export import export_dataset
from transforms.publish.exports.turns import harmless
from transforms.publish.exports.video_r1 import PROBLEM_TYPES
from transforms.video.inputs import VIDEO_R1_KINDS


def read(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))
    return rows


def test_process_and_solution_joined_are_the_canonical_reply(
    exported: Any, export_items: list[Item]
) -> None:
    out, report = exported("video-r1")
    samples = {item.sample.id: item.sample for item in export_items}
    rows = read(out / "sft-train.json")
    assert len(rows) == report.rows["sft-train.json"] == 12
    for row in rows:
        sample = samples[row["problem_id"]]
        joined = f"{row['process']}\n{row['solution']}"
        assert joined == sample.messages[-1].parts[-1].text
        assert row["problem"] == harmless(sample.messages[0].parts[1].text)
        assert row["path"].startswith("./videos/") and (out / row["path"]).is_file()
        assert row["problem_type"] == PROBLEM_TYPES[sample.answer.kind]


def test_rl_rows_hold_the_gold_answer_and_no_reasoning(exported: Any) -> None:
    out, _ = exported("video-r1")
    (row,) = read(out / "rl-train.json")
    assert row["solution"] == "<answer>B</answer>" and "process" not in row
    assert row["options"] == ["A. left", "B. right", "C. up", "D. down"]


def test_what_it_has_no_problem_type_for_is_left_out_and_counted(exported: Any) -> None:
    lost = exported("video-r1")[1].lost
    assert lost["left out: Video-R1 has no problem_type for temporal_grounding"] == 3
    assert lost["left out: it looks at parts of the clip, which are no files of their own"] == 1


def test_the_export_is_a_manifest_for_the_next_run(exported: Any) -> None:
    out, _ = exported("video-r1")
    rows = read(out / "sft-train.json")
    sources, rejections = expand_inputs([str(out / "sft-train.json")])
    assert not rejections
    assert {source.path for source in sources} == {str(out / row["path"]) for row in rows}
    found = {
        (one.question, one.options, one.answer, one.answer_kind)
        for source in sources
        for one in source.questions
    }
    assert found == {
        (
            row["problem"],
            tuple(option[3:] for option in row["options"]),
            row["solution"].removeprefix("<answer>").removesuffix("</answer>"),
            VIDEO_R1_KINDS[row["problem_type"]],
        )
        for row in rows
    }


@pytest.mark.parametrize("kind", [TaskKind.MCQ, TaskKind.COUNT])
def test_options_and_the_form_of_the_answer_are_taken_out_of_the_problem(
    kind: TaskKind, tmp_path: Path, export_items: list[Item]
) -> None:
    clip = export_items[0].clip
    sample = make_sample("s1", clip, kind=kind)
    options = [
        f"{letter}. {one}" for letter, one in zip("ABCD", sample.answer.options, strict=False)
    ]
    asked = "\n".join(["Where to?", *options, ANSWER_FORMS[kind]])
    first = Message(
        role="user",
        parts=[Part(type="video", media_id="clip"), Part(type="text", text=asked)],
        loss=0,
    )
    sample = sample.model_copy(update={"messages": [first, sample.messages[1]]})
    build_dataset(tmp_path / "dataset", [Item(sample, "train", clip)])
    export_dataset(tmp_path / "dataset", "video-r1", tmp_path / "out", ExportSettings())
    (row,) = read(tmp_path / "out" / "sft-train.json")
    assert (row["problem"], row["options"]) == ("Where to?", options)
