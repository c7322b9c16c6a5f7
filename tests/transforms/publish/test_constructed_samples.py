"""Constructed tasks on their way into a dataset: their answer is exact without any rollout."""

from __future__ import annotations

import json

import pytest
from case_helpers import make_attempt, make_case, make_scene, make_task

from schemas.case import Case
from schemas.rejection import Reason, Rejected
from schemas.sample import Sample
from schemas.task import Origin, Task, TaskKind
from transforms.publish.check_sample import sample_faults
from transforms.publish.index import index_entry
from transforms.publish.routing import Route, routes
from transforms.publish.samples import make_sample
from transforms.verify.checks import VerifySettings

SETTINGS = VerifySettings()
SPEC = {"family": "anomaly", "effect": "turned", "frames": [50, 100]}


def constructed(answers: tuple[str, ...] = (), asked: int | None = None) -> Case:
    """A case with first-round attempts that gave these answers; the gold one is C."""
    scene = make_scene()
    plain = make_task(scene, TaskKind.MCQ, origin=Origin.CONSTRUCTED, spec_json=json.dumps(SPEC))
    task = Task.model_validate(plain.model_dump() | {"evidence_s": ((2.0, 4.0),)})
    attempts = [
        make_attempt(task, sample, answer, failed=() if answer == "C" else ("answer",))
        for sample, answer in enumerate(answers)
    ]
    case = make_case(task, scene, *attempts)
    return case.model_copy(update={"asked": len(answers) if asked is None else asked})


def sample_of(case: Case, split: str) -> Sample:
    [route] = [route for route in routes(case, SETTINGS) if route.split == split]
    return make_sample(case, route, SETTINGS, pipeline_version="1")


def splits(case: Case) -> list[str]:
    return [route.split for route in routes(case, SETTINGS)]


def test_nobody_has_to_be_asked() -> None:
    case = constructed()
    assert routes(case, SETTINGS) == [Route("rl", None)]
    sample = sample_of(case, "rl")
    assert [message.role for message in sample.messages] == ["user"]
    assert sample.answer == case.task.gold
    assert sample.verdict.pass_rate == -1 and not sample.verdict.checks
    assert (sample.provenance.teacher, sample.provenance.verifier) == (
        "constructed",
        "construction",
    )
    [segment] = sample.grounding.segments
    assert (segment.start_s, segment.end_s) == (2.0, 4.0)
    extra = json.loads(sample.extra_json)
    assert extra["answer_origin"] == "constructed" and extra["constructed"] == SPEC
    assert extra["attempts"] == 0 and not extra["repaired"]
    assert list(sample_faults(sample, SETTINGS.thresholds.model_dump())) == []
    entry = index_entry(sample, "train", video_id="v", clip_id="c", task_id="t")
    assert entry.pass_rate == -1 and entry.spans_s == ((2.0, 4.0),)


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ("CAAA", ["sft", "rl", "preference"]),
        ("CCCC", ["sft"]),
        ("CCCA", ["sft", "rl", "preference"]),
    ],
)
def test_who_was_asked_decides_how_hard_it_is(answers: str, expected: list[str]) -> None:
    case = constructed(tuple(answers))
    assert splits(case) == expected
    for split in expected:
        sample = sample_of(case, split)
        assert sample.verdict.pass_rate == answers.count("C") / 4
        assert json.loads(sample.extra_json)["constructed"] == SPEC
        assert list(sample_faults(sample, SETTINGS.thresholds.model_dump())) == []
        roles = [message.role for message in sample.messages]
        assert roles == (["user"] if split == "rl" else ["user", "assistant"])
        exact = sample.provenance.verifier == "construction"
        assert exact == (split == "rl"), "a rollout is checked, not constructed"
        assert "measurement" not in sample.provenance.verifier


@pytest.mark.parametrize("case", [constructed(tuple("AAAA")), constructed((), asked=4)])
def test_what_nobody_solved_is_no_sample(case: Case) -> None:
    with pytest.raises(Rejected) as rejected:
        routes(case, SETTINGS)
    assert rejected.value.reason is Reason.NO_ACCEPTED_ROLLOUT


def test_other_tasks_still_need_an_accepted_rollout() -> None:
    scene = make_scene()
    with pytest.raises(Rejected):
        routes(make_case(make_task(scene), scene), SETTINGS)


@pytest.mark.parametrize(
    "extra",
    [
        {"answer_origin": "proposed"},
        {"answer_origin": "constructed"},
        {"answer_origin": "proposed", "constructed": SPEC},
        {"answer_origin": "constructed", "constructed": {}},
        {"answer_origin": "constructed", "constructed": "yes"},
    ],
)
def test_only_construction_stands_in_for_checks(extra: dict[str, object]) -> None:
    sample = sample_of(constructed(), "rl")
    told = Sample.model_validate(sample.model_dump() | {"extra_json": json.dumps(extra)})
    [(field, _)] = sample_faults(told, SETTINGS.thresholds.model_dump())
    assert field == "verdict.checks"
