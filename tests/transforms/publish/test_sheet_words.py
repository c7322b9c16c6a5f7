"""The words of the sheet: what was accepted, as the pass rate counts it and with repairs."""

from __future__ import annotations

from case_helpers import make_attempt, make_case, make_scene, make_task

from transforms.publish.routing import pass_rate
from transforms.publish.sheet import accepted_words
from transforms.verify.checks import VerifySettings

SETTINGS = VerifySettings(samples=2)


def test_repairs_are_told_apart_from_the_first_round() -> None:
    scene = make_scene()
    task = make_task(scene)
    first = [make_attempt(task, 0), make_attempt(task, 1, failed=("answer",))]
    repaired = make_attempt(task, 1, round=1)
    case = make_case(task, scene, *first, repaired)
    assert accepted_words(case, SETTINGS) == (
        f"first round: 1 of 2 attempts accepted, pass rate {pass_rate(case, SETTINGS):g};   "
        "of all, repairs included: 2 of 3 attempts accepted"
    )
    plain = make_case(task, scene, *first)
    assert accepted_words(plain, SETTINGS) == "first round: 1 of 2 attempts accepted, pass rate 0.5"
    assert accepted_words(make_case(task, scene, repaired), SETTINGS).startswith(
        "first round: 0 of 0 attempts accepted, pass rate not known"
    )
