"""Every kind of question can be proposed, come with the video, be put to a model, and be wanted.

Times of questions that came with the video become times of the clip, and an answer of theirs that
can't be read is not taken for none.
"""

from __future__ import annotations

import json
import re

import pytest
from answers_of_kinds import (
    ANSWERS,
    OPTIONS,
    QUESTION,
    SCENE,
    TUBE,
    is_canonical,
    options_of,
    proposal,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_scene import plain_scene

from schemas.rejection import Rejected
from schemas.source import GivenQuestion
from schemas.task import OPTION_LETTERS, SPAN_KINDS, Origin, TaskKind
from transforms.annotate.tasks import (
    ANSWER_FORMS,
    TaskSettings,
    given_task,
    make_answer,
    proposed_task,
    question_text,
    wanted_kinds,
)

# Questions that are proposed


@pytest.mark.parametrize("kind", list(TaskKind))
def test_every_kind_of_proposal_becomes_a_task(kind: TaskKind) -> None:
    task = proposed_task(proposal(kind), SCENE, 3)
    assert (task.kind, task.origin) == (kind, Origin.PROPOSED)
    assert task.gold is not None
    assert is_canonical(task.gold, task.options)
    assert sorted(task.options) == sorted(options_of(kind))
    meant = [OPTIONS[OPTION_LETTERS.index(one)] for one in re.findall("[A-D]", ANSWERS[kind])]
    if task.options:
        said = [task.options[OPTION_LETTERS.index(one)] for one in task.gold.text.split(",")]
        if kind is TaskKind.MULTI_CHOICE:
            said.sort(key=OPTIONS.index)
        assert said == meant


@pytest.mark.parametrize("kind", list(TaskKind))
def test_every_question_cites_its_evidence(kind: TaskKind) -> None:
    """A span that is the answer is its own evidence."""
    bare = proposal(kind, evidence=())
    if kind in SPAN_KINDS:
        task = proposed_task(bare, SCENE, 0)
        assert task.gold is not None
        assert task.evidence_s == task.gold.intervals_s != ()
    else:
        with pytest.raises(Rejected, match="no evidence is cited"):
            proposed_task(bare, SCENE, 0)


# Questions that came with the video


@pytest.mark.parametrize("kind", list(TaskKind))
def test_every_kind_can_be_given(kind: TaskKind) -> None:
    given_q = GivenQuestion(
        question=QUESTION, options=options_of(kind), answer=ANSWERS[kind], answer_kind=kind
    )
    task = given_task(given_q, SCENE)
    assert (task.kind, task.origin, task.options) == (kind, Origin.GIVEN, options_of(kind))
    assert task.gold is not None
    assert is_canonical(task.gold, task.options)
    unanswered = given_task(given_q.model_copy(update={"answer": ""}), SCENE)
    assert unanswered.gold is None


def test_given_times_become_times_of_the_clip() -> None:
    """The first frame of some videos comes late; clip time begins with it."""
    scene = plain_scene(start_s=1.5, duration_s=10.0)
    tube = GivenQuestion(question="Where?", answer=TUBE, answer_kind="spatio_temporal_grounding")
    gold = given_task(tube, scene).gold
    assert gold is not None
    assert gold.intervals_s == ((1.0, 3.3),)
    assert [(one.t_s, one.xyxy_norm) for one in gold.boxes] == [
        (1.5, (0.1, 0.2, 0.3, 0.6)),
        (2.5, (0.2, 0.2, 0.4, 0.6)),
    ]
    assert is_canonical(gold, ())
    when = GivenQuestion(question="When?", answer="0.5 to 3", answer_kind="temporal_grounding")
    moved = given_task(when, scene).gold
    assert moved is not None
    assert moved.intervals_s == ((0.0, 1.5),)
    box = GivenQuestion(
        question="Where?", answer="[0, 0, 0.5, 0.5]", answer_kind="spatial_grounding"
    )
    still = given_task(box, scene).gold
    assert still is not None
    assert (still.boxes[0].t_s, still.boxes[0].xyxy_norm) == (-1.0, (0.0, 0.0, 0.5, 0.5))


@settings(max_examples=100, deadline=None)
@given(
    st.floats(0.0, 5.0),
    st.lists(st.integers(0, 9_000), min_size=1, max_size=6, unique=True),
)
def test_boxes_keep_their_distance_to_the_first_frame(shift_s: float, millis: list[int]) -> None:
    scene = plain_scene(start_s=shift_s, duration_s=10.0)
    times = [shift_s + one / 1_000 for one in millis]
    boxes = [{"t_s": t_s, "xyxy_norm": [0.1, 0.1, 0.5, 0.5]} for t_s in times]
    answer = json.dumps({"time": [min(times), max(times) + 0.5], "boxes": boxes})
    tube = GivenQuestion(question="Where?", answer=answer, answer_kind="spatio_temporal_grounding")
    gold = given_task(tube, scene).gold
    assert gold is not None
    found = [one.t_s for one in gold.boxes]
    assert found == pytest.approx([one / 1_000 for one in sorted(millis)], abs=0.0011)
    assert is_canonical(gold, ())


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("temporal_grounding", "at the end"),
        ("temporal_grounding", "9 to 12"),
        ("spatial_grounding", "on the left"),
        ("spatial_grounding", "[10, 20, 30, 40]"),
        ("spatio_temporal_grounding", "at the end"),
        ("spatio_temporal_grounding", TUBE.replace("4.8", "14.8")),
        ("spatio_temporal_grounding", TUBE.replace('"4"', '"3.0"')),
        ("count", "few"),
        ("free_text", "?!"),
        ("causal", "because"),
    ],
)
def test_a_given_answer_that_cannot_be_read_is_not_taken_for_none(kind: str, answer: str) -> None:
    """Silently without its answer, the question would be graded by what the samples agree on."""
    options = OPTIONS if kind == "causal" else ()
    question = GivenQuestion(question="?", options=options, answer=answer, answer_kind=kind)
    with pytest.raises(Rejected):
        given_task(question, SCENE)


# What is put to a model


@pytest.mark.parametrize("kind", list(TaskKind))
def test_each_kind_says_in_which_form_to_answer(kind: TaskKind) -> None:
    task = proposed_task(proposal(kind), SCENE, 0)
    lines = question_text(task).splitlines()
    assert lines[0] == QUESTION
    assert lines[-1] == ANSWER_FORMS[kind]
    assert len(lines) == 2 + len(task.options)
    example = ANSWER_FORMS[kind].partition("such as ")[2].rstrip(".")
    if example:
        # It is an answer of this kind.
        make_answer(kind, example, OPTIONS[:3] if task.options else (), -1.0)


def test_all_kinds_can_be_wanted() -> None:
    tasks = TaskSettings(mix=dict.fromkeys(TaskKind, 1.0))
    orders = {wanted_kinds(plain_scene(number).clip, tasks, 0) for number in range(200)}
    assert all(sorted(order) == sorted(TaskKind) for order in orders)
    assert {order[0] for order in orders} == set(TaskKind)
    heavy = tasks.model_copy(update={"mix": tasks.mix | {TaskKind.CAUSAL: 50.0}})
    first = [wanted_kinds(plain_scene(number).clip, heavy, 0)[0] for number in range(200)]
    # Of the weight of all, 50 of 60.
    assert 0.74 < first.count(TaskKind.CAUSAL) / 200 < 0.92
