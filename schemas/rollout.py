"""A rollout: one reply of the teacher to one task."""

from __future__ import annotations

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
    teacher: TeacherFacts
    raw_reply: str

    @property
    def id(self) -> str:
        return rollout_id(self.task_id, self.round, self.sample)


def rollout_id(task_id: str, round: int, sample: int) -> str:
    """Id of a rollout, from its task and its place among the attempts."""
    return content_id("r", task_id, round, sample)
