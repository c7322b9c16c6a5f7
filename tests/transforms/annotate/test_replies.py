"""Replies are read strictly: what is not in the form is rejected, with the place of the fault."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from schemas.rejection import Reason, Rejected
from transforms.annotate.replies import (
    MAX_REPLY_CHARS,
    MeasuredProposeReply,
    ProposeReply,
    ReplyModel,
    SolveReply,
    read_reply,
)

GOOD: dict[str, Any] = {
    "reasoning": "The cup falls at 3.2 s. So the answer is B.",
    "answer": "B",
    "segments": [{"label": "fall", "start_s": 3, "end_s": 4.5}],
    "boxes": [{"label": "cup", "t_s": 3.2, "xyxy_norm": [0.1, 0.2, 0.3, 0.4]}],
}
TASK: dict[str, Any] = {
    "kind": "mcq",
    "question": "What falls down?",
    "options": ["a cup", "a hat"],
    "answer": "A",
    "evidence": [[3.0, 4.5]],
    "tolerance": -1,
}


def refusal(text: str, model: type[ReplyModel] = SolveReply) -> str:
    with pytest.raises(Rejected) as caught:
        read_reply(text, model)
    assert caught.value.reason is Reason.BAD_REPLY
    assert caught.value.lasting
    assert len(caught.value.detail) < 500
    return caught.value.detail


def test_a_good_reply_is_read_whole() -> None:
    read = read_reply(json.dumps(GOOD), SolveReply)
    assert read.model_dump(mode="json") == GOOD
    assert read_reply('{"reasoning": "r", "answer": "A"}', SolveReply).segments == ()
    [task] = read_reply(json.dumps({"tasks": [TASK]}), ProposeReply).tasks
    assert task.model_dump(mode="json") == TASK


@pytest.mark.parametrize(
    "fenced", ["```json\n{}\n```", "```\n{}\n```", "\n  ```json\n{}\n  ```\n\n", "  {}\n"]
)
def test_a_fence_around_the_json_is_no_fault(fenced: str) -> None:
    text = fenced.replace("{}", json.dumps(GOOD, indent=1))
    assert read_reply(text, SolveReply).answer == "B"


@pytest.mark.parametrize(
    "around",
    ["Sure! {}", "{} Hope that helps", "```json\n{}", "```yaml\n{}\n```", "```json\n{}\n```\nDone.",
     "[{}]", "{}{}", "<think>hm</think>{}"],
)  # fmt: skip
def test_words_around_the_json_are_a_fault(around: str) -> None:
    refusal(around.replace("{}", json.dumps(GOOD)))


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"reasoning": ""}, "reasoning"),
        ({"reasoning": None}, "reasoning"),
        ({"reasoning": ["because"]}, "reasoning"),
        ({"answer": 3}, "answer"),
        ({"answer": ""}, "answer"),
        ({"answer": "A" * 2_001}, "answer"),
        ({"reasoning": "x" * 50_001}, "reasoning"),
        ({"verdict": "accepted"}, "verdict"),
        ({"spec": {}}, "spec"),
        ({"segments": [{"label": "x", "start_s": 1, "end_s": "2"}]}, "segments.0.end_s"),
        ({"segments": [{"label": "x", "start_s": True, "end_s": 2}]}, "segments.0.start_s"),
        ({"segments": [{"label": "x", "start_s": -1, "end_s": 2}]}, "segments.0.start_s"),
        ({"segments": [{"label": "x", "start_s": 1, "end_s": 1e9}]}, "segments.0.end_s"),
        ({"segments": [{"label": "x", "start_s": 1}]}, "segments.0.end_s"),
        ({"segments": [{"label": "x", "start_s": 1, "end_s": 2, "why": ""}]}, "segments.0.why"),
        ({"segments": {"label": "x", "start_s": 1, "end_s": 2}}, "segments"),
        ({"segments": GOOD["segments"] * 65}, "segments"),
        ({"boxes": [{"label": "", "t_s": 1, "xyxy_norm": [0, 0, 1]}]}, "boxes.0.xyxy_norm"),
        ({"boxes": GOOD["boxes"] * 257}, "boxes"),
    ],
)
def test_the_place_of_a_fault_is_named(change: dict[str, Any], place: str) -> None:
    assert refusal(json.dumps(GOOD | change)).startswith(f"{place}")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "1" * 6_000])
def test_numbers_that_are_none_are_a_fault(number: str) -> None:
    text = json.dumps(GOOD).replace("4.5", number)
    assert number in text
    refusal(text)


@pytest.mark.parametrize(
    "text", ["", "   ", "null", "true", "7", '"B"', "[]", "{}", "{'answer': 'B'}", "not JSON", "{",
             '{"reasoning": "\\ud800", "answer": "A"}', "\ud800", "\x00"],
)  # fmt: skip
def test_what_is_no_reply_is_a_fault_of_the_reply(text: str) -> None:
    assert refusal(text)
    assert refusal(text, ProposeReply)


def test_monstrous_replies_are_refused_at_once() -> None:
    started = time.perf_counter()
    assert str(MAX_REPLY_CHARS) in refusal("x" * 10_000_000)
    refusal("[" * (MAX_REPLY_CHARS - 1))
    refusal('{"a":' * (MAX_REPLY_CHARS // 5 - 1))
    refusal("```json\n" * (MAX_REPLY_CHARS // 8 - 1))
    refusal('{"reasoning":' + "[" * 1_000 + "]" * 1_000 + ',"answer":"A"}')
    assert time.perf_counter() - started < 2.0


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"kind": "riddle"}, "tasks.1.kind"),
        ({"question": "Why?"}, "tasks.1.question"),
        ({"question": "w" * 1_001}, "tasks.1.question"),
        ({"options": ["a"] * 11}, "tasks.1.options"),
        ({"options": [""]}, "tasks.1.options.0"),
        ({"options": "ab"}, "tasks.1.options"),
        ({"evidence": [[1.0]]}, "tasks.1.evidence.0"),
        ({"evidence": [[-1.0, 2.0]]}, "tasks.1.evidence.0.0"),
        ({"evidence": [[0.0, 1.0]] * 17}, "tasks.1.evidence"),
        ({"tolerance": None}, "tasks.1.tolerance"),
    ],
)
def test_a_proposal_out_of_form_is_named(change: dict[str, Any], place: str) -> None:
    text = json.dumps({"tasks": [TASK, TASK | change]})
    assert refusal(text, ProposeReply).startswith(place)


def test_only_the_measuring_teacher_says_what_to_measure() -> None:
    """Else a model could choose by what measurement its own answer is confirmed."""
    text = json.dumps({"tasks": [TASK | {"spec": {"family": "cut_count"}}]})
    assert refusal(text, ProposeReply).startswith("tasks.0.spec")
    assert read_reply(text, MeasuredProposeReply).tasks[0].spec == {"family": "cut_count"}
    assert refusal(json.dumps({"tasks": [TASK]}), MeasuredProposeReply).startswith("tasks.0.spec")


def test_too_many_proposals_are_refused() -> None:
    assert len(read_reply(json.dumps({"tasks": [TASK] * 32}), ProposeReply).tasks) == 32
    assert refusal(json.dumps({"tasks": [TASK] * 33}), ProposeReply).startswith("tasks")
