"""Questions about measurements, asked and answered, and what every solution must hold up to."""

from __future__ import annotations

import json

from schemas import rewards
from schemas.task import OPTION_LETTERS, TaskKind
from transforms.annotate.families import FAMILIES, solve
from transforms.annotate.observe import Observation
from transforms.annotate.questions import Question
from transforms.annotate.tasks import make_answer

CHOICES = (TaskKind.MCQ, TaskKind.ORDERING)
BIT = 1e-6
"""Less than any margin, more than floating point noise."""


def asked(family: str, observation: Observation, seed: str = "s") -> list[Question]:
    return FAMILIES[family].propose(observation, seed)


def answer_to(question: Question, observation: Observation) -> str:
    return solve(observation, question.spec, question.options).answer


def check_solution(question: Question, observation: Observation) -> None:
    """Whatever a family asks, its own solution must hold up in every check of form."""
    solution = solve(observation, question.spec, question.options)
    response = rewards.format_response("\n".join(solution.steps), solution.answer)
    assert rewards.grade("format", response, "") == 1.0
    assert rewards.grade("consistency", response, "") == 1.0, (solution.answer, solution.steps[-1])
    times = rewards.cited_times_in("\n".join(solution.steps))
    assert times
    assert all(0.0 <= time_s <= observation.duration_s + 0.005001 for time_s in times)
    assert solution.segments
    for _, start_s, end_s in solution.segments:
        assert 0.0 <= start_s < end_s <= observation.duration_s
    if question.kind in CHOICES:
        assert len(question.options) == len(set(question.options)) >= 2
    else:
        assert question.options == ()
    # Raises if the text is no answer of this kind.
    gold = make_answer(question.kind, solution.answer, question.options, question.tolerance)
    spec = {"tolerance": question.tolerance} if question.kind is TaskKind.NUMBER else {}
    reward = rewards.REWARD_FOR_KIND[question.kind]
    assert rewards.grade(reward, solution.answer, gold.text, **spec) == 1.0
    assert not rewards.cited_times_in(question.text)
    assert json.loads(json.dumps(question.spec)) == question.spec


def option_said(question: Question, observation: Observation) -> str:
    return question.options[OPTION_LETTERS.index(answer_to(question, observation))]
