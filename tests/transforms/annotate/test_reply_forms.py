"""What the schema of a reply allows, the reader takes; and no more than was asked for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import pytest

from schemas.description import Caption
from schemas.rollout import ToolCall
from schemas.task import TaskKind
from transforms.annotate.replies import ToolReply, read_reply
from transforms.annotate.reply_forms import (
    may_call_tool,
    reply_model,
    reply_schema,
    schemas_version,
)
from transforms.annotate.teacher import ReplyForm, Request, TeacherSettings
from transforms.memo import MemoStore

SETTINGS = TeacherSettings()
STEPS = TeacherSettings(reply_form=ReplyForm.STEPS)


@pytest.fixture
def solve(scenes: ModuleType, clip_store: MemoStore) -> Request:
    scene = scenes.make_scene(clip_store, 1)
    return Request(scene=scene, task=scenes.make_task(scene))


@pytest.fixture
def propose(scenes: ModuleType, clip_store: MemoStore) -> Request:
    scene = scenes.make_scene(clip_store, 1)
    return Request(scene=scene, wanted=3, kinds=(TaskKind.MCQ, TaskKind.NUMBER))


@pytest.fixture
def every(solve: Request, propose: Request) -> Sequence[tuple[Request, TeacherSettings]]:
    """A request of each purpose, and of each form that has a schema."""
    captions = (Caption(start_s=0.0, end_s=1.0, text="It rains."),)
    describe = propose.model_copy(update={"wanted": 0})
    checked = Request(scene=propose.scene, statement="It rains.")
    concluded = Request(task=solve.task, reasoning="It rains.")
    plain = (propose, describe, Request(captions=captions), checked, concluded)
    others = [(one, SETTINGS) for one in plain]
    return [(solve, SETTINGS), (solve, STEPS), *others]


def schema_of(request: Request, settings: TeacherSettings = SETTINGS) -> dict[str, Any]:
    schema = reply_schema(request, settings)
    assert schema is not None
    return schema


def nodes(node: object) -> list[dict[str, object]]:
    if isinstance(node, dict):
        return [node, *(found for part in node.values() for found in nodes(part))]
    if isinstance(node, list):
        return [found for part in node for found in nodes(part)]
    return []


Every = Sequence[tuple[Request, TeacherSettings]]


def test_schemas_are_plain_and_closed(every: Every) -> None:
    for request, settings in every:
        schema = schema_of(request, settings)
        assert list(schema["properties"]) == list(reply_model(request, settings).model_fields)
        for node in nodes(schema):
            assert not {"$ref", "$defs", "default", "prefixItems", "maxLength"} & set(node)
            if node.get("type") == "object":
                assert node["additionalProperties"] is False
                properties = node["properties"]
                assert isinstance(properties, dict) and node["required"] == list(properties)
        json.dumps(schema)


def test_the_reasoning_comes_before_the_answer(solve: Request) -> None:
    assert list(schema_of(solve)["properties"])[:2] == ["reasoning", "answer"]
    assert list(schema_of(solve, STEPS)["properties"])[:2] == ["steps", "answer"]


def test_plain_text_has_no_schema(solve: Request, propose: Request) -> None:
    think = TeacherSettings(reply_form=ReplyForm.THINK, tool_calls=1)
    assert reply_schema(solve, think) is None
    assert schema_of(propose, think) == schema_of(propose), "questions are always JSON"


def test_the_schema_of_questions_allows_what_was_asked_for(propose: Request) -> None:
    tasks = schema_of(propose)["properties"]["tasks"]
    assert tasks["maxItems"] == 3
    assert tasks["items"]["properties"]["kind"]["enum"] == ["mcq", "number"]
    other = schema_of(propose.model_copy(update={"kinds": (), "wanted": 1}))
    assert len(other["properties"]["tasks"]["items"]["properties"]["kind"]["enum"]) == len(TaskKind)
    assert schema_of(propose)["properties"]["tasks"]["maxItems"] == 3, "no schema is shared"


def test_what_the_schemas_describe_can_be_read(every: Every) -> None:
    for request, settings in every:
        text = json.dumps(example(schema_of(request, settings)))
        assert read_reply(text, reply_model(request, settings))


def test_a_closer_look_may_be_asked_for_so_often_and_no_more(
    solve: Request, propose: Request
) -> None:
    settings = TeacherSettings(tool_calls=2)
    call = ToolCall(text="{}", start_s=0.0, end_s=1.0, frame_times_s=(0.0,))
    for made, allowed in ((0, True), (1, True), (2, False)):
        request = solve.model_copy(update={"tool_calls": (call,) * made})
        assert may_call_tool(request, settings) is allowed
        schema = schema_of(request, settings)
        assert ("anyOf" in schema) is allowed
        if allowed:
            answer, wish = schema["anyOf"]
            assert answer == schema_of(solve)
            assert read_reply(json.dumps(example(wish)), ToolReply)
    assert not may_call_tool(propose, settings)
    assert not may_call_tool(solve, SETTINGS)


def test_the_version_holds_every_schema(every: Every) -> None:
    wired = [json.dumps(schema) for schema in schemas_version()]
    assert len(set(wired)) == 8
    for request, settings in every:
        fields = list(schema_of(request, settings)["properties"])
        assert any(list(json.loads(text)["properties"]) == fields for text in wired)


def example(schema: dict[str, Any]) -> object:
    """The smallest value that a schema allows."""
    if "enum" in schema:
        return schema["enum"][0]
    if schema["type"] == "object":
        return {name: example(part) for name, part in schema["properties"].items()}
    if schema["type"] == "array":
        return [example(schema["items"]) for _ in range(schema.get("minItems", 1))]
    return {"string": "some text", "number": 0.5}[schema["type"]]
