"""A task: one question about one clip, with its answer if it is known."""

from __future__ import annotations

from enum import StrEnum

from schemas.base import Record, content_id

OPTION_LETTERS = "ABCDEFGHIJ"


class TaskKind(StrEnum):
    """What kind of answer a question asks for; the reward function follows from it."""

    MCQ = "mcq"
    MULTI_CHOICE = "multi_choice"
    COUNT = "count"
    NUMBER = "number"
    ORDERING = "ordering"
    TEMPORAL_GROUNDING = "temporal_grounding"
    FREE_TEXT = "free_text"


class Origin(StrEnum):
    """Who asked."""

    GIVEN = "given"
    PROPOSED = "proposed"


class AnswerBox(Record):
    """A box at a clip time; corners relative to the frame, x to the right, y down."""

    t_s: float
    xyxy_norm: tuple[float, float, float, float]


class Answer(Record):
    """An answer in the canonical form; empty values are "", () or -1, never null.

    `text` is what a model writes between the answer tags: `B`; `A,C`; `3`; `12.5`; `B,A,C`
    (ordering, option letters in order); `3.2 to 7.75` (seconds, several joined by `; `).
    """

    kind: TaskKind
    text: str
    options: tuple[str, ...] = ()
    option_index: int = -1
    intervals_s: tuple[tuple[float, float], ...] = ()
    boxes: tuple[AnswerBox, ...] = ()
    tolerance: float = -1.0
    """Largest absolute error that still counts as right, for numbers."""


class Task(Record):
    """A question about a clip. Times in it are clip times."""

    clip_id: str
    kind: TaskKind
    question: str
    options: tuple[str, ...] = ()
    gold: Answer | None = None
    origin: Origin
    evidence_s: tuple[tuple[float, float], ...] = ()
    """Spans that hold the evidence, as far as known when the question was made."""
    spec_json: str = "{}"
    """For measured tasks: what to measure, so that the verifier can measure it again."""

    @property
    def id(self) -> str:
        return content_id("t", self.clip_id, self.kind, self.question, list(self.options))
