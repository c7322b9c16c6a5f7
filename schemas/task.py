"""A task: one question about one clip, with its answer if it is known."""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache

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
    SPATIAL_GROUNDING = "spatial_grounding"
    SPATIO_TEMPORAL_GROUNDING = "spatio_temporal_grounding"
    FREE_TEXT = "free_text"
    CAUSAL = "causal"
    """Why something happens: one of several options."""
    NEXT_EVENT = "next_event"
    """What happens after something else: one of several options."""


ONE_CHOICE_KINDS = frozenset({TaskKind.MCQ, TaskKind.CAUSAL, TaskKind.NEXT_EVENT})
"""Answered with the letter of one option."""
CHOICE_KINDS = ONE_CHOICE_KINDS | {TaskKind.MULTI_CHOICE, TaskKind.ORDERING}
"""Answered with letters of options."""
SPAN_KINDS = frozenset({TaskKind.TEMPORAL_GROUNDING, TaskKind.SPATIO_TEMPORAL_GROUNDING})
"""Their answer names spans of time."""
BOX_KINDS = frozenset({TaskKind.SPATIAL_GROUNDING, TaskKind.SPATIO_TEMPORAL_GROUNDING})
"""Their answer names boxes."""


class Origin(StrEnum):
    """Who asked."""

    GIVEN = "given"
    PROPOSED = "proposed"
    CONSTRUCTED = "constructed"
    """Made together with its media, so that the answer is exact: nobody had to be asked."""


class AnswerBox(Record):
    """A box at a clip time; corners relative to the frame, x to the right, y down."""

    t_s: float
    """-1 where the question alone says which moment is meant."""
    xyxy_norm: tuple[float, float, float, float]


class Answer(Record):
    """An answer in the canonical form; empty values are "", () or -1, never null.

    `text` is what a model writes between the answer tags: `B`; `A,C`; `3`; `12.5`; `B,A,C`
    (ordering, option letters in order); `3.2 to 7.75` (seconds, several joined by `; `);
    `[0.1, 0.2, 0.3, 0.4]` (a box, corners as shares of the frame); `{"time": [3.2, 7.75],
    "boxes": {"4": [0.1, 0.2, 0.3, 0.4], ...}}` (a span, and a box for each whole second in it).
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
    """For measured tasks: what to measure, so that the verifier can measure it again. For
    constructed ones: how the media were made."""

    @property
    def id(self) -> str:
        return task_id(self.clip_id, self.kind, self.question, self.options)

    @property
    def is_measured(self) -> bool:
        """Whether the answer can be measured in the clip."""
        return self.origin is Origin.PROPOSED and self.spec_json != "{}"


@lru_cache(maxsize=1024)
def task_id(clip_id: str, kind: TaskKind, question: str, options: tuple[str, ...]) -> str:
    """Id of a task, from its clip and what is asked."""
    return content_id("t", clip_id, kind, question, list(options))
