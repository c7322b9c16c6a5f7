"""From the text of a reply to a task to what it says: an answer, or a wish to look closer."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from schemas.clip import Media
from schemas.rejection import Reason, Rejected
from schemas.rewards import parse_intervals, parse_response, parse_timed_boxes
from schemas.rollout import Box, Segment, Step, ToolCall
from transforms.annotate.asker import Replies
from transforms.annotate.frame_times import choose_times
from transforms.annotate.replies import (
    MAX_REPLY_CHARS,
    CropCall,
    SolveReply,
    StepsReply,
    ToolReply,
    read_reply,
)
from transforms.annotate.reply_forms import may_call_tool
from transforms.annotate.teacher import ReplyForm, Request, TeacherSettings

_TOOL_CALL = re.compile(r"<tool_call>(.{2,400}?)</tool_call>", re.DOTALL)


@dataclass(frozen=True)
class Solved:
    """What a reply to a task says, whatever its form; times are clip times."""

    reasoning: str
    answer: str
    segments: tuple[Segment, ...]
    boxes: tuple[Box, ...]
    steps: tuple[Step, ...] = ()


def read_solution(text: str, form: ReplyForm) -> Solved:
    """Read the reply to a task. Raises Rejected(bad_reply) with what is wrong and where."""
    if form is ReplyForm.THINK:
        return _from_tags(text)
    if form is ReplyForm.STEPS:
        return _from_steps(read_reply(text, StepsReply))
    read = read_reply(text, SolveReply)
    return Solved(
        reasoning=read.reasoning.strip(),
        answer=read.answer.strip(),
        segments=tuple(
            Segment(label=one.label, start_s=one.start_s, end_s=one.end_s) for one in read.segments
        ),
        boxes=_boxes(read),
    )


def _boxes(read: SolveReply | StepsReply) -> tuple[Box, ...]:
    return tuple(Box(label=one.label, t_s=one.t_s, xyxy_norm=one.xyxy_norm) for one in read.boxes)


def _from_steps(read: StepsReply) -> Solved:
    steps = tuple(
        Step(text=step.text.strip(), start_s=step.start_s, end_s=step.end_s) for step in read.steps
    )
    for number, step in enumerate(steps):
        if (step.start_s < 0) != (step.end_s < 0) or -1 < min(step.start_s, step.end_s) < 0:
            where = f"steps.{number}: {step.start_s:g} to {step.end_s:g} s is no span"
            raise Rejected(Reason.BAD_REPLY, where)
    return Solved(
        reasoning="\n".join(step.text for step in steps),
        answer=read.answer.strip(),
        segments=tuple(
            Segment(label=step.text, start_s=step.start_s, end_s=step.end_s)
            for step in steps
            if step.start_s >= 0
        ),
        boxes=_boxes(read),
        steps=steps,
    )


def _from_tags(text: str) -> Solved:
    if len(text) > MAX_REPLY_CHARS:
        raise Rejected(Reason.BAD_REPLY, f"{len(text)} characters, more than {MAX_REPLY_CHARS}")
    response = parse_response(text)
    reasoning, answer = response.think.strip(), response.answer.strip()
    for name, part in (("think", reasoning), ("answer", answer)):
        if not part:
            raise Rejected(Reason.BAD_REPLY, f"nothing stands between <{name}> and </{name}>")
    return Solved(
        reasoning=reasoning,
        answer=answer,
        segments=tuple(
            Segment(label="", start_s=start_s, end_s=end_s)
            for start_s, end_s in parse_intervals(reasoning)
        ),
        boxes=tuple(
            Box(label="", t_s=t_s, xyxy_norm=box) for t_s, box in parse_timed_boxes(reasoning)
        ),
    )


def read_tool_call(text: str, settings: TeacherSettings, media: Media) -> ToolCall | None:
    """The part of the clip that a reply asks to see more closely; None if it does not ask.

    What is shown are frames of the clip's file at `tool_fps` between the times asked for, which are
    first brought inside the clip. Raises Rejected(bad_reply) for a call that can't be granted.
    """
    call = _call_in(text, settings.reply_form)
    if call is None:
        return None
    start_s, end_s = min(call.start_s, media.duration_s), min(call.end_s, media.duration_s)
    tick_s = media.fps_den / media.fps_num
    if end_s - start_s < tick_s:
        raise Rejected(
            Reason.BAD_REPLY,
            f"crop_video from {call.start_s:g} to {call.end_s:g} s shows nothing of a clip of "
            f"{media.duration_s:g} s",
        )
    fps = min(settings.tool_fps, 1 / tick_s)
    chosen = choose_times(end_s - start_s, fps, settings.tool_max_frames)
    last = media.num_frames - 1
    # The frame that is on screen then; 1e-6 because a tick is rarely a whole number in binary.
    ticks = sorted({min(int((start_s + time_s) / tick_s + 1e-6), last) for time_s in chosen})
    return ToolCall(
        text=text.strip(),
        start_s=start_s,
        end_s=end_s,
        frame_times_s=tuple(round(tick * tick_s, 6) for tick in ticks),
    )


def chain(first: Request, replies: Replies, settings: TeacherSettings) -> list[Request]:
    """A request and those that followed from it because the model asked to see more.

    The last is the one whose reply counts, or that is still to be answered.
    """
    requests = [first]
    while True:
        last = requests[-1]
        reply = replies.get(last.id)
        if reply is None or reply.error or not may_call_tool(last, settings):
            return requests
        assert last.scene is not None
        try:
            call = read_tool_call(reply.text, settings, last.scene.media)
        except Rejected:
            # Read as an answer it is rejected once more, with its reason.
            return requests
        if call is None:
            return requests
        requests.append(last.model_copy(update={"tool_calls": (*last.tool_calls, call)}))


def _call_in(text: str, form: ReplyForm) -> CropCall | None:
    if form is ReplyForm.THINK:
        found = _TOOL_CALL.search(text)
        if found is None or "<answer>" in text:
            return None
        return read_reply(found[1], CropCall)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or "tool_call" not in value:
        return None
    return read_reply(text, ToolReply).tool_call
