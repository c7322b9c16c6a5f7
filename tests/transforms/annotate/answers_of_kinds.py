"""An answer and a proposal of every kind of question, and what makes an answer canonical."""

from __future__ import annotations

from typing import Any

import pytest
from plain_scene import plain_scene

from schemas.rejection import Reason, Rejected
from schemas.task import CHOICE_KINDS, Answer, TaskKind
from transforms.annotate.replies import ProposedTask
from transforms.annotate.tasks import make_answer
from transforms.verify.checks import score_answer

SCENE = plain_scene(duration_s=10.0)
OPTIONS = ("a cup", "a hat", "a key", "a dog")
TUBE = '{"time": [2.5, 4.8], "boxes": {"3": [0.1, 0.2, 0.3, 0.6], "4": [0.2, 0.2, 0.4, 0.6]}}'
ANSWERS: dict[TaskKind, str] = {
    TaskKind.MCQ: "B",
    TaskKind.MULTI_CHOICE: "A,C",
    TaskKind.COUNT: "3",
    TaskKind.NUMBER: "12.5",
    TaskKind.ORDERING: "B,A,D,C",
    TaskKind.TEMPORAL_GROUNDING: "3.20 to 7.75",
    TaskKind.SPATIAL_GROUNDING: "[0.12, 0.3, 0.4, 0.75]",
    TaskKind.SPATIO_TEMPORAL_GROUNDING: TUBE,
    TaskKind.FREE_TEXT: "a red cup",
    TaskKind.CAUSAL: "D",
    TaskKind.NEXT_EVENT: "C",
}
QUESTION = "What falls from the table?"


def options_of(kind: TaskKind) -> tuple[str, ...]:
    return OPTIONS if kind in CHOICE_KINDS else ()


def answer_of(kind: TaskKind, text: str = "", tolerance: float = -1.0) -> Answer:
    return make_answer(kind, text or ANSWERS[kind], options_of(kind), tolerance)


def proposal(kind: TaskKind, **fields: Any) -> ProposedTask:
    usual = {
        "question": QUESTION,
        "options": options_of(kind),
        "answer": ANSWERS[kind],
        "evidence": ((1.0, 8.0),),
    }
    return ProposedTask(kind=kind, **(usual | fields))


def refusal(kind: TaskKind, text: str, options: tuple[str, ...] | None = None) -> str:
    with pytest.raises(Rejected) as caught:
        make_answer(kind, text, options_of(kind) if options is None else options, -1.0)
    assert caught.value.reason is Reason.BAD_TASK
    return caught.value.detail


def is_canonical(answer: Answer, options: tuple[str, ...], tolerance: float = -1.0) -> bool:
    """Graded as right by its own reward, and made from its own text once more."""
    again = make_answer(answer.kind, answer.text, options, tolerance)
    assert score_answer(answer.text, answer) == 1.0
    assert again.text == answer.text
    if answer.kind is TaskKind.TEMPORAL_GROUNDING:
        # Its record keeps what the text rounds to hundredths.
        rounded = [(round(s, 2), round(e, 2)) for s, e in answer.intervals_s]
        assert rounded == list(again.intervals_s)
    else:
        assert again == answer
    return True
