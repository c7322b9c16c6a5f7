"""Every threshold alone turns what it is there for: a verdict, or the split that a task is for.

Per threshold there is a case to which nothing else can be said, and of which the score under it is
known. Just there it passes; a hundredth beyond, that alone turns it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest
from plain_cases import changed, claimed, good_case, row, with_attempt
from plain_scene import even, observed, shot

from schemas.case import Case
from schemas.claim import Shown
from schemas.examination import Examination
from schemas.rejection import Rejected
from schemas.rollout import Segment
from schemas.task import TaskKind
from schemas.view import Condition, View
from transforms.publish.routing import routes
from transforms.verify.checks import OWN_CHECKS, Thresholds, VerifySettings, answer_check
from transforms.verify.decide import EXAMINED, NOT_EXAMINED, decide

COUNT, SPAN = TaskKind.COUNT, TaskKind.TEMPORAL_GROUNDING
BEYOND = 0.01


@dataclass(frozen=True)
class Edge:
    """A case at the edge of a threshold."""

    case: Case
    score: float
    """Its score under the threshold."""
    fails: str = ""
    """The check that the first attempt fails beyond it; "" = none, the task only leaves a split."""
    split: str = "sft"
    """The split that the task is for at the edge, and is not beyond it."""
    beyond: float = BEYOND
    others: dict[str, float] = field(default_factory=dict)
    """Other thresholds, the same at the edge and beyond."""


def outcome(case: Case, settings: VerifySettings) -> tuple[list[str], list[str]]:
    """Checks that the first attempt fails, and the splits that the task is for."""
    done = decide(case, settings, examines=True)
    failed = [one.name for one in done.attempts[0].verdict.checks if not one.passed]
    try:
        return failed, [route.split for route in routes(done, settings)]
    except Rejected:
        return failed, []


def under(case: Case, **thresholds: float) -> tuple[list[str], list[str]]:
    return outcome(case, VerifySettings(thresholds=Thresholds(**thresholds)))


def with_more(case: Case, *answers: str) -> Case:
    """The case with more attempts, which give these answers and say so."""
    first = case.attempts[0]
    more = []
    for sample, answer in enumerate(answers, 1):
        said = {"sample": sample, "answer_text": answer, "reasoning": f"So it is {answer}."}
        [other] = with_attempt(
            case, rollout=first.rollout.model_copy(update=said), conclusions=(answer, answer)
        ).attempts
        more.append(other)
    return case.model_copy(update={"attempts": (first, *more), "asked": 1 + len(more)})


def agreed(*answers: str) -> Case:
    """The case of a question without a known answer."""
    case = with_more(good_case(COUNT), *answers)
    task = case.task.model_copy(update={"gold": None})
    # Nobody is asked again, so that nothing but the agreement decides.
    attempts = tuple(
        one.model_copy(update={"claims": (), "conclusions": ()}) for one in case.attempts
    )
    bare = {"task": task, "attempts": attempts, "examination": Examination()}
    return case.model_copy(update=bare)


def answered_from(*rights: int) -> Case:
    """The case with so many right answers of four after each quarter of the clip."""
    case = good_case(COUNT)
    rows = tuple(
        row(case, View(condition=Condition.PREFIX, until_s=2.5 * (place + 1)), right)
        for place, right in enumerate(rights)
    )
    table = Examination(model="m", rows=(*case.examination.rows, *rows))
    return case.model_copy(update={"examination": table})


def measured(kind: TaskKind, family: str, seen: object, **rollout: object) -> Case:
    """The case of a measured question; measuring it anew gives what was `seen`."""
    spec = json.dumps({"family": family, "what": "longest"})
    return good_case(kind, spec_json=spec, observed=seen, **rollout)


_TIMES = "At 2.00 s a dog runs and at 30.00 s a cat. So it is 3."
_SEGMENTS = tuple(Segment(label="", start_s=one, end_s=end) for one, end in ((2, 6), (8, 30)))
_TRACE = "As was pointed out, at 2.00 s a dog runs. So it is 3."
_LONGER = observed(shot(0, 2), shot(2, 8), shot(8, 10))
"""Its longest shot and the answer, 2 to 6 s, have two thirds of their union in common."""

EDGES: dict[str, Edge] = {
    # Tags in a text leave no text to look for the answer in.
    "format": Edge(
        good_case(COUNT, reasoning="<think>3."), 0.0, "format", others={"ends_in_answer": 0.0}
    ),
    "spans_inside": Edge(good_case(COUNT, segments=_SEGMENTS), 0.5, "spans_inside"),
    "cited_times": Edge(good_case(COUNT, reasoning=_TIMES), 0.5, "cited_times"),
    "ends_in_answer": Edge(
        good_case(COUNT, reasoning="At 2.00 s 3 dogs run. I see."), 0.0, "ends_in_answer"
    ),
    "no_trace": Edge(good_case(COUNT, round=1, reasoning=_TRACE), 0.0, "no_trace"),
    "answer": Edge(
        with_attempt(
            good_case(COUNT, answer_text="4", reasoning="So it is 4."), conclusions=("4", "4")
        ), 0.0, "answer",
    ),
    "answer_iou": Edge(
        with_attempt(
            good_case(SPAN, answer_text="2.00 to 4.00", reasoning="So 2.00 to 4.00."),
            conclusions=("2.00 to 4.00",),
        ), 0.5, "answer_iou",
    ),
    "answer_text": Edge(
        with_attempt(
            good_case(TaskKind.FREE_TEXT, answer_text="car", reasoning="So car."),
            conclusions=("car",),
        ), 1 / 3, "answer_text",
    ),
    "measured": Edge(measured(COUNT, "cut_count", even(6)), 0.0, "measured"),
    "measured_iou": Edge(measured(SPAN, "extreme", _LONGER), 2 / 3, "measured_iou"),
    # Without an agreement there is no answer that an answer could equal.
    "agreement": Edge(agreed("4"), 0.5, "answer"),
    "confirmed": Edge(changed(good_case(COUNT), Condition.FULL, 3), 0.75, "confirmed"),
    "needs_video": Edge(changed(good_case(COUNT), Condition.BLIND, 1), 0.75, "needs_video"),
    "sufficient": Edge(changed(good_case(COUNT), Condition.EVIDENCE, 3), 0.75, "sufficient"),
    "necessary": Edge(changed(good_case(COUNT), Condition.MASKED, 1), 0.75, "necessary"),
    "order_needed": Edge(
        changed(good_case(TaskKind.ORDERING), Condition.SHUFFLED, 1), 0.75, "order_needed"
    ),
    "claims": Edge(
        with_attempt(good_case(COUNT), claims=claimed(Shown.YES, Shown.NO)), 0.5, "claims"
    ),
    "concludes": Edge(with_attempt(good_case(COUNT), conclusions=("3", "")), 0.5, "concludes"),
    "answerable": Edge(answered_from(0, 0, 0, 3), 0.75, split="online"),
    "pass_rate_min": Edge(with_more(good_case(COUNT), "4", "5", "6"), 0.25, split="rl"),
    "pass_rate_max": Edge(
        with_more(good_case(COUNT), "3", "3", "4"), 0.75, split="rl", beyond=-BEYOND
    ),
}  # fmt: skip
NOT_OF_A_CHECK = frozenset({"agreement", "answerable", "pass_rate_min", "pass_rate_max"})
"""Thresholds under which no check of that name is made."""


def test_every_threshold_and_every_check_has_its_edge() -> None:
    """One that is new without a case here fails; `examined` has no threshold, and a test below."""
    assert list(EDGES) == list(Thresholds.model_fields)
    checks = set(Thresholds.model_fields) - NOT_OF_A_CHECK
    assert {name for name, edge in EDGES.items() if edge.fails == name} == checks
    answers = {answer_check(kind) for kind in TaskKind}
    assert answers | OWN_CHECKS | set(EXAMINED) == {
        name for name in checks if not name.startswith("measured")
    }


@pytest.mark.parametrize("name", EDGES)
def test_each_threshold_alone_decides(name: str) -> None:
    edge = EDGES[name]
    failed, splits = under(edge.case, **edge.others, **{name: edge.score})
    assert not failed and edge.split in splits
    failed, splits = under(edge.case, **edge.others, **{name: edge.score + edge.beyond})
    assert failed == ([edge.fails] if edge.fails else [])
    assert edge.split not in splits
    assert edge.fails or "sft" in splits, "only the one split is left"


def test_that_nobody_examined_it_alone_decides() -> None:
    case = good_case(COUNT)
    failed, splits = under(case)
    assert not failed and "sft" in splits
    attempt = case.attempts[0].model_copy(update={"examined": False})
    unseen = case.model_copy(update={"attempts": (attempt,)})
    assert under(unseen) == ([NOT_EXAMINED], [])


def test_how_many_samples_count_alone_decides() -> None:
    """Of two samples all are right; of four, three: not too easy to train on."""
    case = with_more(good_case(COUNT), "3", "4", "3")
    assert "rl" in outcome(case, VerifySettings(samples=4))[1]
    assert "rl" not in outcome(case, VerifySettings(samples=2))[1]


def test_a_guess_alone_keeps_a_task_from_training_by_reward() -> None:
    """Its verdicts are older than the view in which it was guessed."""
    settings = VerifySettings()
    case = decide(with_more(good_case(COUNT), "4"), settings)
    splits = [route.split for route in routes(case, settings)]
    guessed = [route.split for route in routes(changed(case, Condition.BLIND, 3), settings)]
    assert "rl" in splits and guessed == [one for one in splits if one != "rl"]


ASKING = {
    "repair_rounds": 0, "repair_budget": 0, "conditions": (), "condition_samples": 1,
    "prefixes": 1, "hide": "black", "claims": False, "claim_samples": 2, "conclusions": 0,
}  # fmt: skip
"""Settings that say what is asked, and how often."""


def test_all_other_settings_only_say_what_is_asked() -> None:
    """They decide nothing about what came back: neither a verdict nor a split."""
    assert set(VerifySettings.model_fields) == {*ASKING, "samples", "thresholds"}
    for edge in EDGES.values():
        others = VerifySettings(thresholds=Thresholds(**edge.others))
        asked_otherwise = others.model_copy(update=ASKING)
        assert outcome(edge.case, others) == outcome(edge.case, asked_otherwise)
