"""What a dataset says of the examination: the table of views, its scores, and who was asked."""

from __future__ import annotations

import json

import pytest
from case_helpers import examined, make_attempt, make_case, make_scene, make_task
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.case import Case
from schemas.conditions import Conditions, ConditionScores
from schemas.sample import Sample
from schemas.task import Origin, TaskKind
from transforms.publish.check_sample import sample_faults
from transforms.publish.examined import conditions_of, is_guessed, scores_of
from transforms.publish.index import index_entry
from transforms.publish.routing import routes
from transforms.publish.samples import make_sample
from transforms.verify.checks import VerifySettings

SETTINGS = VerifySettings()
THRESHOLDS = SETTINGS.thresholds.model_dump(mode="json")
SCENE = make_scene()
TASK = make_task(SCENE)
VIEWS = {
    "full": "CCCC", "blind": "ABCA", "evidence": "CCCA", "masked": "AABB", "shuffled": "CCAA",
    "prefix2": "AAAA", "prefix4": "CCCC", "prefix6": "CCCC", "prefix8": "CCCC",
}  # fmt: skip


def asked_case() -> Case:
    right, wrong = make_attempt(TASK, 0), make_attempt(TASK, 1, "A", failed=("answer",))
    return examined(make_case(TASK, SCENE, right, wrong), **VIEWS)


def samples(case: Case) -> dict[str, Sample]:
    made = [
        make_sample(case, one, SETTINGS, pipeline_version="1") for one in routes(case, SETTINGS)
    ]
    return {one.split: one for one in made}


def test_the_table_says_who_was_asked_what_came_back_and_what_follows() -> None:
    case = asked_case()
    table = conditions_of(case, case.attempts[0], SETTINGS)
    assert table.model == "looker"
    counted = {(one.condition.value, one.until_s): (one.asked, one.right) for one in table.views}
    assert counted == {
        ("full", -1): (4, 4), ("blind", -1): (4, 1), ("evidence", -1): (4, 3),
        ("masked", -1): (4, 0), ("shuffled", -1): (4, 2), ("prefix", 2): (4, 0),
        ("prefix", 4): (4, 4), ("prefix", 6): (4, 4), ("prefix", 8): (4, 4),
    }  # fmt: skip
    # Three options: (3/4 - 1/3) / (2/3), and a guess in four is no more than chance.
    assert [one.share for one in table.views if one.condition == "evidence"] == [0.625]
    assert [one.share for one in table.views if one.condition == "blind"] == [0.0]
    assert table.scores == ConditionScores(
        difficulty=0.0,
        language_prior=0.0,
        sufficiency=0.625,
        necessity=1.0,
        order_sensitivity=0.75,
        answerable_from_s=4.0,
    )


def test_nobody_asked_is_said_in_the_same_form() -> None:
    case = make_case(TASK, SCENE, make_attempt(TASK, 0))
    assert conditions_of(case, case.attempts[0], SETTINGS) == Conditions()
    [sample] = samples(case).values()
    assert set(json.loads(sample.verdict.conditions_json)["scores"].values()) == {-1.0}
    assert "asked again" not in sample.provenance.verifier


def test_every_split_carries_the_table_and_names_the_model() -> None:
    made = samples(asked_case())
    assert set(made) == {"sft", "rl", "preference", "online"}
    for sample in made.values():
        assert list(sample_faults(sample, THRESHOLDS)) == []
        table = Conditions.from_json(sample.verdict.conditions_json)
        assert table.scores.difficulty == 0.0
        assert sample.provenance.verifier.endswith("asked again: looker")
        entry = index_entry(sample, "train", video_id="v", clip_id="c", task_id="t")
        assert json.loads(entry.condition_scores_json) == table.scores.model_dump()


def test_the_order_in_which_rollouts_were_examined_does_not_show() -> None:
    case = asked_case()
    table = case.examination
    turned = table.model_copy(update={"rows": table.rows[::-1]})
    other = case.model_copy(update={"examination": turned})
    shown = case.attempts[0]
    assert conditions_of(other, shown, SETTINGS) == conditions_of(case, shown, SETTINGS)


def test_of_cited_spans_only_those_of_the_reply_shown_are_told() -> None:
    case = asked_case()
    elsewhere = make_attempt(TASK, 3, spans=((2.0, 3.0),))
    table = conditions_of(case, elsewhere, SETTINGS)
    assert {one.condition.value for one in table.views}.isdisjoint({"evidence", "masked"})
    assert (table.scores.sufficiency, table.scores.necessity) == (-1.0, -1.0)
    assert table.scores.difficulty == 0.0
    assert conditions_of(case, None, SETTINGS) == table


def test_a_constructed_task_that_was_asked_again_names_the_model() -> None:
    task = make_task(SCENE, origin=Origin.CONSTRUCTED, spec_json='{"family":"anomaly"}')
    right, wrong = make_attempt(task, 0), make_attempt(task, 1, "A", failed=("answer",))
    made = samples(examined(make_case(task, SCENE, right, wrong), full="CCCC", blind="AAAA"))
    assert made["rl"].provenance.verifier == "construction; asked again: looker"
    assert Conditions.from_json(made["rl"].verdict.conditions_json).scores.difficulty == 0.0


@pytest.mark.parametrize(("blind", "guessed"), [("CCCC", True), ("CCCA", True), ("CCAA", False)])
def test_guessed_is_what_is_right_more_often_than_by_chance(blind: str, guessed: bool) -> None:
    case = examined(make_case(TASK, SCENE, make_attempt(TASK, 0)), blind=blind)
    assert is_guessed(scores_of(case, SETTINGS), SETTINGS) is guessed


ROW = st.text(alphabet="ABC-", min_size=1, max_size=6)


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from(sorted(VIEWS)), ROW),
    st.sampled_from([TaskKind.MCQ, TaskKind.MULTI_CHOICE, TaskKind.FREE_TEXT]),
)
def test_whatever_came_back_the_check_finds_the_scores_again(
    rows: dict[str, str], kind: TaskKind
) -> None:
    task = make_task(SCENE, kind)
    case = examined(make_case(task, SCENE, make_attempt(task, 0)), **rows)
    for sample in samples(case).values():
        assert list(sample_faults(sample, THRESHOLDS)) == []
