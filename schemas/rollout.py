"""A rollout: one reply of the teacher to one task."""

from __future__ import annotations

from functools import lru_cache

from schemas.base import Record, content_id


class Segment(Record):
    """A cited span, in clip time."""

    label: str
    start_s: float
    end_s: float


class Box(Record):
    """A cited box at a clip time; corners relative to the frame, x to the right, y down."""

    label: str
    t_s: float
    xyxy_norm: tuple[float, float, float, float]


class Step(Record):
    """One step of the reasoning, with the span that it speaks of; -1 = none."""

    text: str
    start_s: float = -1.0
    end_s: float = -1.0


class ToolCall(Record):
    """A look at a part of the clip that the model asked for, and what it was then shown."""

    text: str
    """What the model wrote, as it came."""
    start_s: float
    end_s: float
    frame_times_s: tuple[float, ...]


class TeacherFacts(Record):
    """What made a reply: enough to ask for it again."""

    kind: str
    model: str
    revision: str
    prompt_sha256: str
    params_json: str
    seed: int


class Rollout(Record):
    """One attempt at a task: reasoning, answer and what they cite."""

    task_id: str
    sample: int
    """Which of the n samples of a round."""
    round: int
    """0 = first try, 1.. = repair rounds."""
    reasoning: str
    answer_text: str
    segments: tuple[Segment, ...] = ()
    boxes: tuple[Box, ...] = ()
    steps: tuple[Step, ...] = ()
    """The reasoning step by step, if it was asked for so; `reasoning` holds the same words."""
    tool_calls: tuple[ToolCall, ...] = ()
    thinking: str = ""
    """What a model with native thinking thought before it replied; no part of the reasoning."""
    teacher: TeacherFacts
    raw_reply: str

    @property
    def id(self) -> str:
        return rollout_id(self.task_id, self.round, self.sample)


@lru_cache(maxsize=1024)
def rollout_id(task_id: str, round: int, sample: int) -> str:
    """Id of a rollout, from its task and its place among the attempts."""
    # Whoever looks at a case asks for the same few again and again.
    return content_id("r", task_id, round, sample)
