"""What a reply to a request must be: the model that reads it, and the schema that is sent along."""

from __future__ import annotations

import copy
from functools import lru_cache
from typing import Any

from transforms.annotate.prompts import kinds_of
from transforms.annotate.replies import (
    CheckReply,
    ConcludeReply,
    DescribeReply,
    ProposeReply,
    ReplyModel,
    SolveReply,
    StepsReply,
    SummaryReply,
    ToolReply,
)
from transforms.annotate.teacher import Purpose, ReplyForm, Request, TeacherSettings


def reply_model(request: Request, settings: TeacherSettings) -> type[ReplyModel]:
    """What the reply to a request must be; an answer in tags is read by `think_reply` instead."""
    solving = StepsReply if settings.reply_form is ReplyForm.STEPS else SolveReply
    return {
        Purpose.DESCRIBE: DescribeReply,
        Purpose.SUMMARIZE: SummaryReply,
        Purpose.PROPOSE: ProposeReply,
        Purpose.SOLVE: solving,
        Purpose.CHECK: CheckReply,
        Purpose.CONCLUDE: ConcludeReply,
    }[request.purpose]


def may_call_tool(request: Request, settings: TeacherSettings) -> bool:
    """Whether the model may still ask for a part of the clip in more detail."""
    return request.purpose is Purpose.SOLVE and len(request.tool_calls) < settings.tool_calls


def reply_schema(request: Request, settings: TeacherSettings) -> dict[str, Any] | None:
    """The JSON schema that a server or engine holds the reply to; None for plain text.

    It is the schema of `reply_model`, in the part of JSON Schema that all of them understand: no
    references, every field required, arrays of one type. Bounds of length are left to
    `read_reply`, which reads every reply anyway: grammars unroll them. For a request for questions
    it allows only the kinds asked for and no more questions than wanted.
    """
    if request.purpose is Purpose.SOLVE and settings.reply_form is ReplyForm.THINK:
        return None
    schema = copy.deepcopy(_wire_schema(reply_model(request, settings)))
    if request.purpose is Purpose.PROPOSE:
        tasks = schema["properties"]["tasks"]
        tasks |= {"minItems": 1, "maxItems": max(request.wanted, 1)}
        tasks["items"]["properties"]["kind"]["enum"] = [kind.value for kind in kinds_of(request)]
    if may_call_tool(request, settings):
        return {"anyOf": [schema, copy.deepcopy(_wire_schema(ToolReply))]}
    return schema


def schemas_version() -> list[Any]:
    """Changes with the schemas of all replies."""
    models = (
        *(DescribeReply, SummaryReply, ProposeReply, SolveReply, StepsReply, ToolReply),
        *(CheckReply, ConcludeReply),
    )
    return [_wire_schema(model) for model in models]


@lru_cache(maxsize=16)
def _wire_schema(model: type[ReplyModel]) -> dict[str, Any]:
    schema = model.model_json_schema()
    wired: dict[str, Any] = _wire(schema, schema.get("$defs", {}))
    return wired


def _wire(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in node:
        return _wire(definitions[node["$ref"].rsplit("/", 1)[-1]], definitions)
    if "const" in node:
        return {"type": "string", "enum": [node["const"]]}
    if node["type"] == "object":
        properties = {name: _wire(part, definitions) for name, part in node["properties"].items()}
        return {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }
    if node["type"] == "array":
        parts = node.get("prefixItems")
        wired = {"type": "array", "items": _wire(parts[0] if parts else node["items"], definitions)}
        # Pairs and boxes: as many entries as the tuple has.
        return wired | ({"minItems": len(parts), "maxItems": len(parts)} if parts else {})
    return {key: node[key] for key in ("type", "enum") if key in node}
