"""All families of measured questions: choosing among them, and solving one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from schemas.base import unit_interval
from schemas.task import TaskKind
from transforms.annotate.cut_questions import CUT_FAMILIES
from transforms.annotate.look_questions import LOOK_FAMILIES
from transforms.annotate.observe import Observation
from transforms.annotate.questions import (
    CannotSolveError,
    Family,
    Question,
    Solution,
    Spec,
)
from transforms.annotate.shot_questions import SHOT_FAMILIES

FAMILIES: Mapping[str, Family] = {
    family.name: family for family in (*CUT_FAMILIES, *SHOT_FAMILIES, *LOOK_FAMILIES)
}


def solve(observation: Observation, spec: Spec, options: Sequence[str]) -> Solution:
    """Answer a question of any family. Raises CannotSolveError."""
    family = FAMILIES.get(str(spec.get("family")))
    if family is None:
        raise CannotSolveError(f"not a question about measurements: {dict(spec)}")
    return family.solve(observation, spec, options)


def choose(
    observation: Observation, wanted: int, kinds: Sequence[TaskKind], seed: str
) -> list[Question]:
    """Up to `wanted` questions, the kinds in turn, each from a family not used yet if possible."""
    pool = [
        question for family in FAMILIES.values() for question in family.propose(observation, seed)
    ]
    pool.sort(key=lambda question: unit_interval(seed, question.text))
    chosen: list[Question] = []
    while len(chosen) < wanted:
        before = len(chosen)
        for kind in kinds:
            used = {question.spec["family"] for question in chosen}
            left = [question for question in pool if question.kind is kind]
            left = [question for question in left if question not in chosen]
            left.sort(key=lambda question: question.spec["family"] in used)
            chosen += left[: min(1, wanted - len(chosen))]
        if len(chosen) == before:
            break
    return chosen
