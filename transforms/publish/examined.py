"""What the examination of a task says in a dataset: the table of its views, and its scores."""

from __future__ import annotations

from schemas.case import Attempt, Case
from schemas.conditions import AskedView, Conditions, ConditionScores
from schemas.examination import Asked
from schemas.task import Answer
from schemas.view import Condition
from transforms.verify.checks import VerifySettings
from transforms.verify.conditions import (
    Marked,
    TaskScores,
    cited_spans,
    mark,
    right_answers,
    right_share,
    score_evidence,
    score_task,
)
from transforms.verify.gold import gold_of

DECIMALS = 6
OF_SPANS = (Condition.EVIDENCE, Condition.MASKED)


def scores_of(case: Case, settings: VerifySettings) -> TaskScores:
    """What the views say of the task itself, not of one of its rollouts."""
    return score_task(_marked(case, gold_of(case, settings), settings), settings.thresholds)


def _marked(case: Case, gold: Answer, settings: VerifySettings) -> Marked:
    return mark(case.examination, case.task, gold, settings.thresholds)


def is_guessed(scores: TaskScores, settings: VerifySettings) -> bool:
    """Whether the question was found to be answerable without the clip."""
    return scores.blind >= 0 and 1.0 - scores.blind < settings.thresholds.needs_video


def conditions_of(case: Case, shown: Attempt | None, settings: VerifySettings) -> Conditions:
    """The table of a task; of the views of cited spans those that the shown attempt cites."""
    table, gold = case.examination, gold_of(case, settings)
    duration_s = case.scene.media.duration_s
    marked = _marked(case, gold, settings)
    scores = score_task(marked, settings.thresholds)
    spans = cited_spans(shown.rollout, case.task.kind, duration_s) if shown else ()
    rows = [
        row
        for row in table.rows
        if row.condition not in OF_SPANS or (spans and row.view.spans_s == spans)
    ]
    evidence = score_evidence(marked, spans)
    return Conditions(
        model=table.model,
        # In an order of their own: which rollout was examined first says nothing.
        views=tuple(
            sorted(
                (_asked(case, row, gold, settings) for row in rows),
                key=lambda one: (list(Condition).index(one.condition), one.until_s, one.to_json()),
            )
        ),
        scores=ConditionScores(
            difficulty=round(1.0 - scores.full, DECIMALS) if scores.full >= 0 else -1.0,
            language_prior=round(scores.blind, DECIMALS),
            sufficiency=round(evidence.sufficiency, DECIMALS),
            necessity=round(evidence.necessity, DECIMALS),
            order_sensitivity=round(scores.order_needed, DECIMALS),
            answerable_from_s=scores.answerable_from_s,
        ),
    )


def _asked(case: Case, row: Asked, gold: Answer, settings: VerifySettings) -> AskedView:
    task, thresholds, view = case.task, settings.thresholds, row.view
    return AskedView(
        condition=view.condition,
        spans_s=list(view.spans_s),
        until_s=view.until_s,
        order=view.order,
        black=view.black,
        asked=len(row.answers),
        right=right_answers(row, gold, thresholds),
        share=round(right_share(row, task, gold, thresholds), DECIMALS),
    )
