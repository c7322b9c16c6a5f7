"""What a reply must look like, for every teacher: the JSON schemas, and the strict reading."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas.rejection import Reason, Rejected
from schemas.task import TaskKind

MAX_REPLY_CHARS = 200_000
"""A longer reply is a model gone wild, not a chain of thought."""

ShortText = Annotated[str, Field(min_length=1, max_length=2_000)]
LongText = Annotated[str, Field(min_length=1, max_length=50_000)]
Label = Annotated[str, Field(max_length=2_000)]
Seconds = Annotated[float, Field(ge=0.0, le=1_000_000.0)]


class ReplyModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class CitedSegment(ReplyModel):
    label: Label
    start_s: Seconds
    end_s: Seconds


class CitedBox(ReplyModel):
    label: Label
    t_s: Seconds
    xyxy_norm: tuple[float, float, float, float]


class SolveReply(ReplyModel):
    """Reply to a task: the reasoning first, then the answer, then what it cites (clip time)."""

    reasoning: LongText
    answer: ShortText
    segments: Annotated[tuple[CitedSegment, ...], Field(max_length=64)] = ()
    boxes: Annotated[tuple[CitedBox, ...], Field(max_length=256)] = ()


class ReasoningStep(ReplyModel):
    """One step, with the span of the clip that it rests on; -1 to -1 = none."""

    text: ShortText
    start_s: Annotated[float, Field(ge=-1.0, le=1_000_000.0)]
    end_s: Annotated[float, Field(ge=-1.0, le=1_000_000.0)]


class StepsReply(ReplyModel):
    """Reply to a task step by step; what the steps rest on are its cited spans."""

    steps: Annotated[tuple[ReasoningStep, ...], Field(min_length=1, max_length=64)]
    answer: ShortText
    boxes: Annotated[tuple[CitedBox, ...], Field(max_length=256)] = ()


class CropCall(ReplyModel):
    """Instead of an answer: a wish to see a part of the clip in more detail."""

    name: Literal["crop_video"]
    start_s: Seconds
    end_s: Seconds


class ToolReply(ReplyModel):
    tool_call: CropCall


class ProposedTask(ReplyModel):
    """One proposed question. `answer` is in the text form of its kind (`schemas.task.Answer`)."""

    kind: TaskKind
    question: Annotated[str, Field(min_length=8, max_length=1_000)]
    options: Annotated[tuple[ShortText, ...], Field(max_length=10)] = ()
    answer: ShortText
    evidence: Annotated[tuple[tuple[Seconds, Seconds], ...], Field(max_length=16)] = ()
    tolerance: float = -1.0


class ProposeReply(ReplyModel):
    """Reply to a request for questions."""

    tasks: Annotated[tuple[ProposedTask, ...], Field(max_length=32)]


class MeasuredTask(ProposedTask):
    """A question of the `measure` teacher: also says what to measure to check the answer."""

    spec: dict[str, Any]


class MeasuredProposeReply(ReplyModel):
    """Reply of the `measure` teacher to a request for questions."""

    tasks: Annotated[tuple[MeasuredTask, ...], Field(max_length=32)]


class TimedCaption(ReplyModel):
    """What happens in a span of a clip."""

    start_s: Seconds
    end_s: Seconds
    text: ShortText


class DescribeReply(ReplyModel):
    """Reply to a request to describe a clip: captions in order of time."""

    captions: Annotated[tuple[TimedCaption, ...], Field(min_length=1, max_length=256)]


class SummaryReply(ReplyModel):
    """Reply to a request to sum up captions."""

    summary: Annotated[str, Field(min_length=1, max_length=10_000)]


class CheckReply(ReplyModel):
    """Reply to a request to check a statement against frames: what is seen first, then the word."""

    seen: ShortText
    shown: Literal["yes", "no", "unclear"]


class ConcludeReply(ReplyModel):
    """Reply to a request to draw the conclusion of a reasoning."""

    answer: ShortText


_FENCE = re.compile(r"\A\s*```(?:json)?\s*\n(.*?)\n\s*```\s*\Z", re.DOTALL)


Model = TypeVar("Model", bound=ReplyModel)


def read_reply(text: str, model: type[Model]) -> Model:
    """Read a reply strictly; a code fence around the JSON is the only liberty.

    Raises Rejected(bad_reply) with what is wrong and where.
    """
    if len(text) > MAX_REPLY_CHARS:
        raise Rejected(Reason.BAD_REPLY, f"{len(text)} characters, more than {MAX_REPLY_CHARS}")
    fenced = _FENCE.match(text)
    try:
        return model.model_validate_json(fenced[1] if fenced else text, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "reply"
        raise Rejected(Reason.BAD_REPLY, f"{where}: {first['msg']}") from error
