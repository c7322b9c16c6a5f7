"""Labelled steps for process supervision, and questions with the moment of their answer."""

from __future__ import annotations

import json

import pytest
from case_helpers import examined, make_attempt, make_case, make_scene, make_task

from schemas.case import Attempt, Case
from schemas.claim import Shown
from schemas.rejection import Rejected
from schemas.sample import Sample
from schemas.task import Origin
from transforms.publish.check_sample import sample_faults
from transforms.publish.pairs import PROCESS_CHECKS
from transforms.publish.planning import KEY_PATTERN
from transforms.publish.routing import routes
from transforms.publish.samples import make_sample
from transforms.verify.checks import Thresholds, VerifySettings
from transforms.verify.steps import reasoning_steps, step_labels

SETTINGS = VerifySettings()
THRESHOLDS = SETTINGS.thresholds.model_dump(mode="json")
SCENE = make_scene()
TASK = make_task(SCENE)
MIXED = (Shown.YES, Shown.NO, Shown.NOT_ASKED)


def samples(case: Case, split: str, settings: VerifySettings = SETTINGS) -> list[Sample]:
    found = [route for route in routes(case, settings) if route.split == split]
    made = [make_sample(case, one, settings, pipeline_version="1") for one in found]
    for sample in made:
        assert list(sample_faults(sample, settings.thresholds.model_dump())) == []
    return made


# Steps


def test_each_attempt_with_labelled_steps_is_a_sample_of_its_own() -> None:
    accepted = make_attempt(TASK, 0, shown=(Shown.YES,))
    refuted = make_attempt(TASK, 1, shown=MIXED, failed=("claims",))
    silent = make_attempt(TASK, 2, shown=(Shown.UNCLEAR, Shown.NOT_ASKED))
    case = make_case(TASK, SCENE, accepted, refuted, silent)
    made = samples(case, "process")
    assert len({one.id for one in made}) == len(made) == 2
    for sample, attempt in zip(made, (accepted, refuted), strict=True):
        assert KEY_PATTERN.fullmatch(sample.id)
        assert [step.text for step in sample.steps] == list(reasoning_steps(attempt.rollout))
        assert [step.label for step in sample.steps] == list(step_labels(attempt))
        assert [message.loss for message in sample.messages] == [0, 0]
        assert sample.messages[-1].reasoning == attempt.rollout.reasoning
    assert [step.label for step in made[1].steps][:3] == ["good", "bad", "unknown"]
    assert "rejected_because" not in json.loads(made[0].extra_json)
    assert json.loads(made[1].extra_json)["rejected_because"] == ["claims"]
    # The best reply carries its labels, too.
    [best] = samples(case, "sft")
    assert best.steps[0].label == "good"


@pytest.mark.parametrize(
    ("failed", "taught"),
    [
        *(((name,), True) for name in sorted(PROCESS_CHECKS)),
        (("answer",), True),
        (("format",), False),
        (("no_trace",), False),
        (("answer", "format"), False),
        (("cited_times",), False),
        (("spans_inside",), False),
        (("confirmed",), False),
    ],
)
def test_only_what_failed_by_its_content_teaches_steps(
    failed: tuple[str, ...], taught: bool
) -> None:
    answer = "A" if "answer" in failed else ""
    attempt = make_attempt(TASK, 0, answer, shown=MIXED, failed=failed)
    case = make_case(TASK, SCENE, make_attempt(TASK, 1), attempt)
    assert bool(samples(case, "process")) is taught


def test_bad_steps_are_taught_even_where_no_attempt_was_accepted() -> None:
    case = make_case(TASK, SCENE, make_attempt(TASK, 0, shown=MIXED, failed=("claims",)))
    assert [route.split for route in routes(case, SETTINGS)] == ["process"]
    nothing = make_attempt(TASK, 0, shown=(Shown.UNCLEAR,), failed=("claims",))
    with pytest.raises(Rejected):
        routes(make_case(TASK, SCENE, nothing), SETTINGS)


def test_a_prompt_shows_no_steps() -> None:
    wrong = make_attempt(TASK, 1, "A", failed=("answer",))
    case = make_case(TASK, SCENE, make_attempt(TASK, 0, shown=MIXED), wrong)
    [prompt] = samples(case, "rl")
    assert prompt.steps == []


# Repair


def test_what_was_thought_before_a_repaired_reply_is_not_published() -> None:
    for number, kept in ((0, True), (1, False)):
        attempt = make_attempt(TASK, 0, round=number)
        rollout = attempt.rollout.model_copy(update={"thinking": "They said it was wrong."})
        [best] = samples(make_case(TASK, SCENE, thought(attempt, rollout)), "sft")
        extra = json.loads(best.extra_json)
        assert ("thinking" in extra) is kept
        assert (extra["repair_round"], extra["repaired"]) == (number, number > 0)


def thought(attempt: Attempt, rollout: object) -> Attempt:
    return attempt.model_copy(update={"rollout": rollout})


# Online


def prefixed(**rows: str) -> Case:
    return examined(make_case(TASK, SCENE, make_attempt(TASK, 0)), **rows)


def test_the_moment_is_the_first_after_which_every_longer_beginning_is_answered() -> None:
    case = prefixed(prefix2="CCCC", prefix4="AAAA", prefix6="CCCC", prefix8="CCCC")
    [sample] = samples(case, "online")
    assert json.loads(sample.extra_json)["answerable_from_s"] == 6.0
    assert [message.role for message in sample.messages] == ["user"]
    assert sample.answer.text == "C" and sample.id == f"online-{TASK.id}"


@pytest.mark.parametrize(
    "rows",
    [
        {"full": "CCCC"},
        {"prefix4": "CCCC", "prefix8": "AAAA"},
        {"blind": "CCCC", "prefix4": "CCCC", "prefix8": "CCCC"},
    ],
    ids=["not asked", "never answered", "guessed"],
)
def test_without_a_moment_there_is_nothing_for_online(rows: dict[str, str]) -> None:
    assert samples(prefixed(**rows), "online") == []


def test_the_threshold_decides_on_the_moment() -> None:
    case = prefixed(prefix4="CCCA", prefix8="CCCC")
    [strict] = samples(case, "online")
    lenient = VerifySettings(thresholds=Thresholds(answerable=0.5))
    [early] = samples(case, "online", lenient)
    moments = [json.loads(one.extra_json)["answerable_from_s"] for one in (strict, early)]
    assert moments == [8.0, 4.0]


def test_nothing_is_online_without_an_accepted_attempt() -> None:
    task = make_task(SCENE, origin=Origin.CONSTRUCTED)
    case = examined(make_case(task, SCENE), prefix8="CCCC")
    assert [route.split for route in routes(case, SETTINGS)] == ["rl"]
