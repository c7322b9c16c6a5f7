"""A question that gives its answer away is turned down; one that only comes near it is not."""

from __future__ import annotations

import pytest
from answers_of_kinds import SCENE, TUBE, answer_of, proposal

from schemas.rejection import Rejected
from schemas.task import TaskKind
from transforms.annotate.leaks import gives_away
from transforms.annotate.tasks import proposed_task


@pytest.mark.parametrize(
    ("kind", "answer", "question", "leaks"),
    [
        (TaskKind.FREE_TEXT, "a red cup", "What does A Red Cup stand on?", True),
        (TaskKind.FREE_TEXT, "a red cup", "What does a red cupboard stand on?", False),
        (TaskKind.COUNT, "3", "How many of the 3 cups fall?", True),
        (TaskKind.COUNT, "3", "How many of the three cups fall?", True),
        (TaskKind.COUNT, "3", "How many of the 30 cups fall?", False),
        (TaskKind.COUNT, "7", "How many cans of 7up fall?", False),
        (TaskKind.COUNT, "1", "How many times does one of them fall?", False),
        (TaskKind.COUNT, "3", "How many of the 3.5 l bottles fall?", False),
        (TaskKind.NUMBER, "12.5", "Is the rope of 12.50 m long enough, and how long?", True),
        (TaskKind.NUMBER, "1000", "How many metres are the 1,000 m?", True),
        (TaskKind.NUMBER, "-2", "Is it -2, or how many degrees?", True),
        (TaskKind.NUMBER, "2", "How many degrees are between 3-4?", False),
        (TaskKind.MCQ, "B", "Does a hat fall?", True),
        (TaskKind.MCQ, "B", "Does a cup or a hat fall?", False),
        (TaskKind.MCQ, "B", "Does a chat begin?", False),
        (TaskKind.CAUSAL, "D", "Why does the noise of a dog scare her?", True),
        (TaskKind.CAUSAL, "D", "Why does she run?", False),
        (TaskKind.NEXT_EVENT, "C", "What comes after a key is lost?", True),
        (TaskKind.NEXT_EVENT, "C", "What comes after a dog barks?", False),
        (TaskKind.MULTI_CHOICE, "A,C", "Which are seen, a key or a cup?", True),
        (TaskKind.MULTI_CHOICE, "A,C", "Which are seen, a key or a hat?", False),
        (TaskKind.MULTI_CHOICE, "A,C", "Is a cup seen?", False),
        (TaskKind.MULTI_CHOICE, "A,B,C,D", "Which of a cup, a hat, a key, a dog?", False),
        (TaskKind.ORDERING, "B,A,D,C", "Order: a hat, a cup, a dog, a key.", True),
        (TaskKind.ORDERING, "B,A,D,C", "Order: a cup, a hat, a key, a dog.", False),
        (TaskKind.ORDERING, "B,A,D,C", "Order: a hat, a cup, a dog.", False),
        (TaskKind.TEMPORAL_GROUNDING, "3.20 to 7.75", "When, from 3.2 to 7.7, is it?", True),
        (TaskKind.TEMPORAL_GROUNDING, "3.20 to 7.75", "When do the 2 to 3 men run?", False),
        (TaskKind.SPATIAL_GROUNDING, "[0.1, 0.2, 0.3, 0.4]", "What is at [0.1,0.2,0.3,0.4]?", True),
        (TaskKind.SPATIAL_GROUNDING, "[0.1, 0.2, 0.3, 0.4]", "Where is it when he falls?", False),
        (TaskKind.SPATIO_TEMPORAL_GROUNDING, TUBE, "When is it at [0.1, 0.2, 0.3, 0.6]?", True),
        (TaskKind.SPATIO_TEMPORAL_GROUNDING, TUBE, "Where is it between 3 and 4?", True),
        (TaskKind.SPATIO_TEMPORAL_GROUNDING, TUBE, "When and where is the cup seen?", False),
    ],
)
def test_a_question_gives_nothing_away(
    kind: TaskKind, answer: str, question: str, leaks: bool
) -> None:
    assert gives_away(question, answer_of(kind, answer)) is leaks
    proposed = proposal(kind, question=question, answer=answer)
    if leaks:
        with pytest.raises(Rejected, match="gives the answer away"):
            proposed_task(proposed, SCENE, 0)
    else:
        assert proposed_task(proposed, SCENE, 0).question == question


def test_what_counts_as_right_counts_as_given_away() -> None:
    near = answer_of(TaskKind.NUMBER, "12.5", tolerance=0.5)
    assert gives_away("How long are the 12.2 m?", near)
    assert not gives_away("How long are the 11.9 m?", near)
