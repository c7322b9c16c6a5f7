"""What `check` says of labels, tables of conditions and splits that do not hold together."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from case_helpers import examined, make_attempt, make_case, make_scene, make_task
from publish_helpers import edit_sample

from schemas.base import canonical_json
from schemas.claim import Shown
from schemas.sample import SPLITS, Sample
from transforms.publish.check import check_dataset
from transforms.publish.check_sample import parse_sample, sample_faults
from transforms.publish.routing import routes
from transforms.publish.samples import make_sample
from transforms.verify.checks import VerifySettings

SETTINGS = VerifySettings()
THRESHOLDS = SETTINGS.thresholds.model_dump(mode="json")
Edit = Callable[[dict[str, Any]], Any]


def made() -> dict[str, dict[str, Any]]:
    """A sample of each split, as JSON."""
    scene = make_scene()
    task = make_task(scene)
    attempts = (
        make_attempt(task, 0, shown=(Shown.YES, Shown.NO)),
        make_attempt(task, 1, "A", failed=("answer",), shown=(Shown.UNCLEAR,)),
    )
    case = examined(
        make_case(task, scene, *attempts),
        full="CCCC", blind="AAAA", evidence="CCCC", masked="AAAA", prefix4="AAAA", prefix8="CCCC",
    )  # fmt: skip
    samples = [
        make_sample(case, route, SETTINGS, pipeline_version="1") for route in routes(case, SETTINGS)
    ]
    return {sample.split: json.loads(sample.to_json()) for sample in samples}


def faults(value: dict[str, Any]) -> list[str]:
    sample, found = parse_sample(canonical_json(value).encode())
    if sample is not None:
        found += list(sample_faults(sample, THRESHOLDS))
    return [f"{field}: {what}" for field, what in found]


def table(value: dict[str, Any], edit: Edit) -> None:
    conditions = json.loads(value["verdict"]["conditions_json"])
    edit(conditions)
    value["verdict"]["conditions_json"] = canonical_json(conditions)


def extra(value: dict[str, Any], **more: Any) -> None:
    value["extra_json"] = canonical_json(json.loads(value["extra_json"]) | more)


def test_samples_of_all_splits_are_whole() -> None:
    values = made()
    assert set(values) == set(SPLITS)
    assert [fault for value in values.values() for fault in faults(value)] == []


AT = "verdict.conditions_json"
EDITS: list[tuple[str, Edit, str]] = [
    ("sft", lambda s: s["steps"][0].update(label="fine"), "steps.0.label: Input should be 'good'"),
    ("sft", lambda s: s["verdict"].update(conditions_json="{}"), f"{AT}: is not in the canonical"),
    ("sft", lambda s: s["verdict"].update(conditions_json="[]"), f"{AT}: is no table"),
    ("sft", lambda s: s["verdict"].update(conditions_json="[" * 9999), f"{AT}: is no table"),
    ("sft", lambda s: table(s, lambda t: t.update(more=1)), f"{AT}.more: is no table"),
    (
        "sft",
        lambda s: table(s, lambda t: t["scores"].update(difficulty=None)),
        f"{AT}.scores.difficulty: is no table",
    ),
    ("sft", lambda s: table(s, lambda t: t.update(model="")), f"{AT}: names no model"),
    (
        "sft",
        lambda s: table(s, lambda t: t["views"].append(t["views"][0])),
        f"{AT}: holds a view twice",
    ),
    (
        "sft",
        lambda s: table(s, lambda t: t["views"][0].update(order=-1)),
        "views.0.order: is -1 under full",
    ),
    ("sft", lambda s: table(s, lambda t: t["views"][0].update(right=5)), "right: 5 of 4 can't be"),
    ("sft", lambda s: table(s, lambda t: t["views"][0].update(right=3)), "share: is 1, but 3 of 4"),
    (
        "sft",
        lambda s: table(s, lambda t: t["views"][2].update(spans_s=[[1.0, 99.0]])),
        "1..99 s is no span of the clip",
    ),
    (
        "sft",
        lambda s: table(s, lambda t: t["views"][2].update(spans_s=[])),
        "has 0 spans under evidence",
    ),
    (
        "sft",
        lambda s: table(s, lambda t: t["views"][-1].update(until_s=-1.0)),
        "is -1 under prefix",
    ),
    *(
        (
            "sft",
            lambda s, n=name: table(s, lambda t: t["scores"].update({n: 0.5})),
            f"{name}: is 0.5",
        )
        for name in ("difficulty", "language_prior", "sufficiency", "necessity")
    ),
    (
        "sft",
        lambda s: table(s, lambda t: t["scores"].update(order_sensitivity=0.5)),
        "order_sensitivity: is 0.5, but the views say -1",
    ),
    ("sft", lambda s: table(s, lambda t: t["scores"].update(necessity=1.5)), "neither -1 nor in 0"),
    (
        "sft",
        lambda s: table(s, lambda t: t["scores"].update(answerable_from_s=4.0)),
        "answerable_from_s: is 4, but the views say 8",
    ),
    (
        "sft",
        lambda s: s["preference"].update(margin=0.5),
        "preference: is filled in a sample of sft",
    ),
    ("sft", lambda s: extra(s, answerable_from_s=8.0), "is set in a sample of sft"),
    ("sft", lambda s: s["messages"].pop(), "messages: a sample of sft shows a reply"),
    (
        "rl",
        lambda s: s["steps"].append({"text": "It is C.", "label": "good"}),
        "shows no reasoning",
    ),
    (
        "rl",
        lambda s: s["messages"].append(made()["sft"]["messages"][-1]),
        "messages: a sample of rl shows no reply",
    ),
    ("preference", lambda s: s["preference"].update(margin=0.0), "margin: is 0, not above 0"),
    ("preference", lambda s: s["preference"].update(margin=1.5), "margin: is 1.5, not above"),
    ("preference", lambda s: s["preference"].update(rejected=[]), "rejected: holds no reply"),
    ("preference", lambda s: extra(s, rejected_because=[]), "rejected_because: names no check"),
    ("preference", lambda s: extra(s, rejected_because=["luck"]), "names something that is no"),
    ("preference", lambda s: extra(s, rejected_because=["format"]), "such a pair teaches form"),
    (
        "preference",
        lambda s: s["preference"]["rejected"][-1].update(reasoning="so " * 90),
        "more than 2 times as many words",
    ),
    (
        "preference",
        lambda s: s["preference"].update(rejected=[s["messages"][-1]]),
        "is the same as the reply that it is compared with",
    ),
    (
        "process",
        lambda s: [step.update(label="unknown") for step in s["steps"]],
        "steps: none is labelled good or bad",
    ),
    ("process", lambda s: s["messages"][-1].update(loss=1), "messages: loss is 1"),
    ("process", lambda s: s["verdict"].update(checks=[]), "verdict.checks: is empty"),
    (
        "process",
        lambda s: s["verdict"]["checks"][0].update(score=0.0, passed=False),
        "verdict.checks.format: failed: such a sample teaches form",
    ),
    ("online", lambda s: extra(s, answerable_from_s=4.0), "is 4.0, the views say 8"),
    ("online", lambda s: extra(s, answerable_from_s=None), "is None, the views say 8"),
    (
        "online",
        lambda s: s["verdict"]["checks"][0].update(score=0.0, passed=False),
        "failed, so the sample does not belong into online",
    ),
]


@pytest.mark.parametrize(("split", "edit", "named"), EDITS, ids=[one[2][-40:] for one in EDITS])
def test_what_does_not_hold_together_is_named(split: str, edit: Edit, named: str) -> None:
    value = made()[split]
    edit(value)
    assert any(named in fault for fault in faults(value)), faults(value)


def test_a_label_in_a_shard_is_checked(dataset: Path) -> None:
    shard = edit_sample(dataset, "c01", lambda s: s["steps"][0].update(label=""))
    found = "\n".join(map(str, check_dataset(dataset)))
    assert f"{shard}: c01: steps.0.label: Input should be" in found


def test_the_index_knows_the_scores_of_the_table(dataset: Path) -> None:
    def other(sample: dict[str, Any]) -> None:
        table(sample, lambda t: t["scores"].update(answerable_from_s=-1.0))

    edit_sample(dataset, "o01", other)
    assert "o01: condition_scores_json: is" in "\n".join(map(str, check_dataset(dataset)))


def test_the_schema_of_a_sample_is_flat_and_known() -> None:
    assert set(made()["online"]) == set(Sample.model_fields)
