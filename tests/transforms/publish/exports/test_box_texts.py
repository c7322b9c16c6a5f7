"""Boxes in the scale of a model family: question and reply change together, and reading the reply
gives the canonical boxes back as far as the scale keeps them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from publish_helpers import Item, build_dataset, make_sample

from schemas.rewards import parse_boxes, parse_timed_boxes
from schemas.sample import Message, Part, Reward, Sample
from schemas.task import TaskKind
from transforms.annotate.tasks import ANSWER_FORMS
from transforms.publish.exports.base import ExportSettings
from transforms.publish.exports.dialects import THOUSAND, read_boxes
from transforms.publish.exports.export import export_dataset
from transforms.publish.exports.qwen import OWN_WORDS

BOX = (0.1, 0.25, 0.5004, 1.0)
THOUGHT = (
    "From 0.2 s on <obj>cup</obj><box>[0.1, 0.2, 0.3, 0.4]</box>at<t>0.5</t>s is there, then at "
    "[0.1, 0.25, 0.5, 1]; not [3, 2, 1, 9]."
)
ANSWERS = {
    TaskKind.SPATIAL_GROUNDING: "[0.1, 0.25, 0.5004, 1.0]",
    TaskKind.SPATIO_TEMPORAL_GROUNDING: '{"boxes":{"1":[0.1,0.25,0.5004,1.0]},"time":[0.2,1.2]}',
}


def grounded(item: Item, kind: TaskKind, form: str | None = None) -> Sample:
    sample = make_sample("b1", item.clip)
    asked = f"Where is the cup?\n{ANSWER_FORMS[kind] if form is None else form}"
    said = f"<think>{THOUGHT}</think>\n<answer>{ANSWERS[kind]}</answer>"
    turns = [
        Message(
            role="user",
            parts=[Part(type="video", media_id="clip"), Part(type="text", text=asked)],
            loss=0,
        ),
        Message(role="assistant", parts=[Part(type="text", text=said)], loss=1),
    ]
    answer = sample.answer.model_copy(
        update={"kind": kind, "text": ANSWERS[kind], "options": (), "option_index": -1}
    )
    fn = "box_iou" if kind is TaskKind.SPATIAL_GROUNDING else "spatio_temporal"
    reward = Reward(style="rule", fn=fn, spec_json="{}")
    return sample.model_copy(update={"messages": turns, "answer": answer, "reward": reward})


def exported_row(name: str, sample: Sample, item: Item, tmp_path: Path) -> tuple[Any, Any]:
    build_dataset(tmp_path / "dataset", [Item(sample, "train", item.clip)])
    report = export_dataset(tmp_path / "dataset", name, tmp_path / "out", ExportSettings(system=""))
    text = next((tmp_path / "out").glob("sft-train*.json*")).read_text("utf-8")
    row = json.loads(text) if text.startswith("{") else json.loads(text)[0]
    return [turn["value"] for turn in row["conversations"]], report


def close(one: Any, other: Any) -> bool:
    return bool(one == pytest.approx(other, abs=THOUSAND.resolution + 1e-9))


def test_qwen_asks_for_and_gives_bbox_2d(tmp_path: Path, export_items: list[Item]) -> None:
    item, kind = export_items[0], TaskKind.SPATIAL_GROUNDING
    (asked, said), report = exported_row("qwen", grounded(item, kind), item, tmp_path)
    assert ANSWER_FORMS[kind] not in asked and "bbox_2d" in asked and "0 to 1000" in asked
    assert said.endswith('<answer>{"bbox_2d": [100, 250, 500, 1000]}</answer>')
    assert "<box>[100, 200, 300, 400]</box>at<t>0.5</t>s" in said, "what is cited on the way, too"
    assert "then at [100, 250, 500, 1000]; not [3, 2, 1, 9]." in said
    assert "From 0.2 s on" in said, "times stay"
    answer = said.rpartition("<answer>")[2].removesuffix("</answer>")
    ((_, back),) = read_boxes(f"[{answer}]", THOUSAND)
    assert close(back, BOX) and OWN_WORDS not in report.lost


def test_internvl_asks_for_and_gives_box_tags(tmp_path: Path, export_items: list[Item]) -> None:
    item, kind = export_items[0], TaskKind.SPATIAL_GROUNDING
    (asked, said), _ = exported_row("internvl", grounded(item, kind), item, tmp_path)
    assert ANSWER_FORMS[kind] not in asked and "<box>[[100, 200, 300, 400]]</box>" in asked
    assert said.endswith("<answer><box>[[100, 250, 500, 1000]]</box></answer>")
    assert "<obj>cup</obj><box>[[100, 200, 300, 400]]</box>at<t>0.5</t>s" in said
    (back,) = parse_boxes(said.rpartition("<answer>")[2])
    assert close(THOUSAND.read(back), BOX)


@pytest.mark.parametrize("name", ["qwen", "internvl"])
def test_timed_boxes_keep_their_seconds(
    name: str, tmp_path: Path, export_items: list[Item]
) -> None:
    item, kind = export_items[0], TaskKind.SPATIO_TEMPORAL_GROUNDING
    (asked, said), _ = exported_row(name, grounded(item, kind), item, tmp_path)
    assert ANSWER_FORMS[kind] not in asked and "[100, 200, 300, 400]" in asked
    answer = said.rpartition("<answer>")[2].removesuffix("</answer>")
    assert json.loads(answer)["time"] == [0.2, 1.2]
    ((t_s, box),) = parse_timed_boxes(answer)
    assert t_s == 1.0 and close(THOUSAND.read(box), BOX)


@pytest.mark.parametrize("name", ["qwen", "internvl"])
def test_a_question_in_its_own_words_keeps_its_canonical_answer(
    name: str, tmp_path: Path, export_items: list[Item]
) -> None:
    item, kind = export_items[0], TaskKind.SPATIAL_GROUNDING
    sample = grounded(item, kind, "Give shares of the frame.")
    (asked, said), report = exported_row(name, sample, item, tmp_path)
    assert asked.endswith("Give shares of the frame.")
    assert said == sample.messages[1].parts[0].text
    assert report.lost[OWN_WORDS] == 1


@pytest.mark.parametrize("name", ["qwen", "internvl"])
def test_without_a_question_for_boxes_only_those_in_tags_change(
    name: str, tmp_path: Path, export_items: list[Item]
) -> None:
    item = export_items[0]
    sample = make_sample("b2", item.clip)
    said = sample.messages[1].model_copy(
        update={"parts": [Part(type="text", text=f"<think>{THOUGHT}</think>\n<answer>B</answer>")]}
    )
    sample = sample.model_copy(update={"messages": [sample.messages[0], said]})
    (asked, reply), _ = exported_row(name, sample, item, tmp_path)
    assert "[100, 200, 300, 400]" in reply and "[0.1, 0.25, 0.5, 1]" in reply
    assert asked.endswith("What is in b2?") and reply.endswith("<answer>B</answer>")


def test_llava_speaks_of_shares_itself(tmp_path: Path, export_items: list[Item]) -> None:
    item, kind = export_items[0], TaskKind.SPATIAL_GROUNDING
    sample = grounded(item, kind)
    (asked, said), _ = exported_row("llava", sample, item, tmp_path)
    assert asked.endswith(ANSWER_FORMS[kind]) and said == sample.messages[1].parts[0].text


def test_a_number_that_is_all_but_nothing_is_one_of_a_box(
    tmp_path: Path, export_items: list[Item]
) -> None:
    """Python and JSON write 1e-05; left as it is, shares would stand among thousandths."""
    item, kind = export_items[0], TaskKind.SPATIAL_GROUNDING
    sample = grounded(item, kind)
    reply = sample.messages[1]
    tiny = [Part(type="text", text=reply.parts[0].text.replace("[0.1, 0.25,", "[1e-05, 2.5e-1,"))]
    assert tiny != reply.parts
    messages = [sample.messages[0], reply.model_copy(update={"parts": tiny})]
    sample = sample.model_copy(update={"messages": messages})
    (_, said), _ = exported_row("qwen", sample, item, tmp_path)
    assert said.endswith('<answer>{"bbox_2d": [0, 250, 500, 1000]}</answer>') and "e-" not in said
