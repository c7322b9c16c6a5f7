"""The messages of a sample: the question, the looks that the model asked for, and its reply."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.base import canonical_json
from schemas.case import Case
from schemas.rewards import format_response
from schemas.rollout import Rollout, ToolCall
from schemas.sample import Message, Part, SampleMedia
from transforms.annotate.tasks import question_text

MEDIA_ID = "clip"


def question_message(case: Case) -> Message:
    """The user's turn: the clip, then the question with the form of its answer."""
    return Message(
        role="user",
        parts=[
            Part(type="video", media_id=MEDIA_ID),
            Part(type="text", text=question_text(case.task)),
        ],
        loss=0,
    )


def reply_messages(rollout: Rollout, prefix: str = "") -> list[Message]:
    """The assistant's turns, with a tool's turn after each look that it asked for.

    `prefix` keeps the media of two rollouts of one sample apart.
    """
    messages: list[Message] = []
    for number, call in enumerate(rollout.tool_calls, 1):
        shown = Part(type="video", media_id=crop_id(number, prefix))
        messages += [
            Message(role="assistant", parts=[Part(type="text", text=tool_call_text(call))], loss=1),
            Message(role="tool", parts=[shown], loss=0),
        ]
    text = format_response(rollout.reasoning, rollout.answer_text)
    messages.append(
        Message(
            role="assistant",
            parts=[Part(type="text", text=text)],
            reasoning=rollout.reasoning,
            loss=1,
        )
    )
    return messages


def tool_call_text(call: ToolCall) -> str:
    """A look as trainers of tool use write it (LongVT): JSON between tool_call tags."""
    arguments = {"start_time": round(call.start_s, 3), "end_time": round(call.end_s, 3)}
    wish = canonical_json({"name": "crop_video", "arguments": arguments})
    return f"<tool_call>{wish}</tool_call>"


def crop_id(number: int, prefix: str = "") -> str:
    """Name of the frames that were shown after the call of this number, from 1."""
    return f"{prefix}crop{number}"


def crop_media(clip: SampleMedia, calls: Sequence[ToolCall], prefix: str = "") -> list[SampleMedia]:
    """The frames shown after each call: no files of their own, but times in the clip's mp4."""
    return [
        clip.model_copy(
            update={
                "id": crop_id(number, prefix),
                "kind": "frames",
                "part": "",
                "num_frames": len(call.frame_times_s),
                "frame_pts_s": list(call.frame_times_s),
            }
        )
        for number, call in enumerate(calls, 1)
    ]
