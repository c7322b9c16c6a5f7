"""A model may look closer before it answers: what it asked for and saw is kept and published."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from asked import ScriptedTeacher, ask_about

from schemas.case import Case, Scene
from schemas.rejection import Reason, Stage
from schemas.sample import Sample
from schemas.task import Origin, Task, TaskKind
from transforms.annotate import teachers
from transforms.annotate.tasks import make_answer
from transforms.annotate.teacher import ReplyForm, Request, TeacherKind, TeacherSettings
from transforms.memo import MemoStore
from transforms.outcome import Outcome
from transforms.publish.check_sample import sample_faults
from transforms.publish.routing import routes
from transforms.publish.samples import make_sample
from transforms.verify.checks import VerifySettings
from transforms.verify.loop import Answered, Answerer, Verifier


def answer(number: int) -> str:
    said = {"reasoning": f"I see them. So the number is {number}.", "answer": str(number)}
    return json.dumps(said | {"segments": [], "boxes": []})


def look(start_s: float, end_s: float) -> str:
    wish = {"name": "crop_video", "start_s": start_s, "end_s": end_s}
    return json.dumps({"tool_call": wish})


@pytest.fixture
def case(studio: Any) -> Case:
    scene: Scene = studio.scenes("colors")[0]
    task = Task(
        clip_id=scene.clip.id, kind=TaskKind.COUNT, question="How many?", origin=Origin.GIVEN,
        gold=make_answer(TaskKind.COUNT, "3", (), -1.0),
    )  # fmt: skip
    return Case(scene=scene, task=task)


Script = Callable[[Request], str]
Answer = Callable[..., tuple[Outcome[Answered], ScriptedTeacher]]


@pytest.fixture
def answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: Case) -> Answer:
    def ask(script: Script, **fields: Any) -> tuple[Outcome[Answered], ScriptedTeacher]:
        known = {"kind": TeacherKind.OPENAI, "model": "m", "samples": 2, "tool_calls": 2}
        settings = TeacherSettings.model_validate(known | fields)
        teacher = ScriptedTeacher(settings, script)
        monkeypatch.setattr(teachers, "make_teacher", lambda *_: teacher)
        outcome = ask_about(
            Answerer(settings, 0, 0), [case], settings, MemoStore(str(tmp_path / "store")),
            stage=Stage.ANSWER, named=lambda one: (one.task.id, one.task.clip_id),
        )  # fmt: skip
        return outcome, teacher

    return ask


def looks_then_answers(request: Request) -> str:
    """Sample 0 looks twice and is right, sample 1 looks once and is wrong."""
    wishes = [look(1.0, 2.0), look(3.0, 3.5)] if request.sample == 0 else [look(0.0, 0.5)]
    seen = len(request.tool_calls)
    return wishes[seen] if seen < len(wishes) else answer(3 if request.sample == 0 else 5)


def test_each_rollout_keeps_its_own_looks(answered: Answer, case: Case) -> None:
    outcome, teacher = answered(looks_then_answers)
    [found] = outcome.outputs
    assert outcome.entered == 2 and not outcome.rejections
    spans = [[(c.start_s, c.end_s) for c in one.tool_calls] for one in found.rollouts]
    assert spans == [[(1.0, 2.0), (3.0, 3.5)], [(0.0, 0.5)]]
    assert [one.answer_text for one in found.rollouts] == ["3", "5"]
    assert len({one.id for one in found.rollouts}) == 2
    # Three turns of the first sample, two of the second; each with what was seen before.
    turns = sorted((one.sample, len(one.tool_calls)) for one in teacher.requests)
    assert turns == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    for rollout in found.rollouts:
        for call in rollout.tool_calls:
            assert all(call.start_s - 0.1 < t < call.end_s for t in call.frame_times_s)


def test_the_trace_is_published(answered: Answer, case: Case, studio: Any) -> None:
    outcome, _ = answered(looks_then_answers)
    settings = VerifySettings(samples=2)
    [verified] = Verifier(settings, studio.store)(outcome.outputs[0]).outputs
    samples = {
        route.split: make_sample(verified, route, settings, pipeline_version="1")
        for route in routes(verified, settings)
    }
    for sample in samples.values():
        assert Sample.from_json(sample.to_json()) == sample
        faults = list(sample_faults(sample, settings.thresholds.model_dump()))
        assert faults == []
    sft = samples["sft"]
    roles = [message.role for message in sft.messages]
    assert roles == ["user", "assistant", "tool", "assistant", "tool", "assistant"]
    said = sft.messages[1].parts[0].text
    assert json.loads(said.removeprefix("<tool_call>").removesuffix("</tool_call>")) == {
        "name": "crop_video",
        "arguments": {"start_time": 1.0, "end_time": 2.0},
    }
    shown = media_of(sft)[sft.messages[2].parts[0].media_id]
    clip = media_of(sft)["clip"]
    assert shown.kind == "frames" and shown.part == "" and shown.uri == clip.uri
    assert shown.frame_pts_s == list(outcome.outputs[0].rollouts[0].tool_calls[0].frame_times_s)
    pair = samples["preference"]
    rejected = pair.preference.rejected
    assert [message.role for message in rejected] == ["assistant", "tool", "assistant"]
    assert rejected[1].parts[0].media_id in media_of(pair)
    assert set(media_of(pair)) == {"clip", "crop1", "crop2", "rejected-crop1"}
    assert set(media_of(samples["rl"])) == {"clip"}, "a task shows no reply"


def media_of(sample: Sample) -> Mapping[str, Any]:
    return {one.id: one for one in sample.media}


def test_more_looks_than_granted_are_no_answer(answered: Answer) -> None:
    outcome, teacher = answered(lambda _: look(0.0, 1.0), tool_calls=1)
    assert outcome.outputs[0].rollouts == () and len(teacher.requests) == 4
    assert [(one.reason, one.detail) for one in outcome.rejections] == [
        (Reason.BAD_REPLY, "asked to see more than teacher.tool_calls = 1")
    ] * 2


def test_a_look_outside_of_the_clip_costs_only_its_rollout(answered: Answer) -> None:
    def script(request: Request) -> str:
        return look(50.0, 60.0) if request.sample else answer(3)

    outcome, _ = answered(script)
    assert [one.sample for one in outcome.outputs[0].rollouts] == [0]
    [rejection] = outcome.rejections
    assert rejection.reason is Reason.BAD_REPLY and "shows nothing" in rejection.detail


def test_without_the_tool_a_wish_is_no_answer(answered: Answer) -> None:
    outcome, teacher = answered(lambda _: look(0.0, 1.0), tool_calls=0)
    assert [one.reason for one in outcome.rejections] == [Reason.BAD_REPLY] * 2
    assert len(teacher.requests) == 2


def test_looking_closer_in_tags(answered: Answer) -> None:
    def script(request: Request) -> str:
        if request.tool_calls:
            return "<think>Three cups. So the number is 3.</think><answer>3</answer>"
        return '<tool_call>{"name": "crop_video", "start_s": 1.0, "end_s": 2.0}</tool_call>'

    outcome, _ = answered(script, reply_form=ReplyForm.THINK)
    assert [one.answer_text for one in outcome.outputs[0].rollouts] == ["3", "3"]
    assert all(len(one.tool_calls) == 1 for one in outcome.outputs[0].rollouts)
