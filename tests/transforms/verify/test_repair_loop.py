"""Answer, verify, try again: what goes back to the teacher, and what is kept and counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asked import ScriptedTeacher, ask_about

from schemas.case import Case, Scene
from schemas.rejection import Reason, Stage
from schemas.task import Origin, Task, TaskKind
from transforms.annotate import teachers
from transforms.annotate.tasks import make_answer
from transforms.annotate.teacher import Request, TeacherKind, TeacherSettings
from transforms.memo import MemoStore
from transforms.publish.routing import pass_rate, routes
from transforms.publish.samples import make_sample
from transforms.verify.checks import Thresholds, VerifySettings
from transforms.verify.loop import Answerer, Verifier

OPTIONS = ("zebra", "walrus", "falcon")
GOLD = "C"
Script = Callable[[Request], str]


def said(answer: str, **fields: Any) -> str:
    reply = {"reasoning": f"It flies. So the answer is {answer}.", "answer": answer}
    return json.dumps(reply | fields)


class Loop:
    """Rounds of answering and verifying one case, with the ledger of each."""

    def __init__(
        self, script: Script, folder: Path, monkeypatch: pytest.MonkeyPatch, **verify: Any
    ) -> None:
        self.settings = TeacherSettings(kind=TeacherKind.OPENAI, model="m", samples=4)
        self.teacher = ScriptedTeacher(self.settings, script)
        monkeypatch.setattr(teachers, "make_teacher", lambda *_: self.teacher)
        self.store = MemoStore(str(folder / "store"))
        self.verify = VerifySettings(**verify)
        self.entered: list[tuple[int, int]] = []
        self.rejections: list[Any] = []

    def run(self, *cases: Case) -> list[Case]:
        several = list(cases)
        for number in range(self.verify.repair_rounds + 1):
            answered = ask_about(
                Answerer(self.settings, 0, number), several, self.settings, self.store,
                stage=Stage.ANSWER, named=lambda case: (case.task.id, case.task.clip_id),
            )  # fmt: skip
            self.rejections += answered.rejections
            outcomes = [Verifier(self.verify, self.store)(one) for one in answered.outputs]
            self.rejections += [one for outcome in outcomes for one in outcome.rejections]
            verified = sum(outcome.entered for outcome in outcomes)
            self.entered.append((answered.entered, verified))
            several = [case for outcome in outcomes for case in outcome.outputs]
            assert [case.task.id for case in several] == [case.task.id for case in cases]
        return several


@pytest.fixture
def scene(studio: Any) -> Scene:
    [scene] = studio.scenes("colors")
    return scene


def case_about(scene: Scene, *, known: bool = True, question: str = "Which animal?") -> Case:
    gold = make_answer(TaskKind.MCQ, GOLD, OPTIONS, -1.0) if known else None
    task = Task(
        clip_id=scene.clip.id,
        kind=TaskKind.MCQ,
        question=question,
        options=OPTIONS,
        gold=gold,
        origin=Origin.GIVEN,
    )
    return Case(scene=scene, task=task)


MakeLoop = Callable[..., Loop]


@pytest.fixture
def loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeLoop:
    def make(script: Script, **verify: Any) -> Loop:
        return Loop(script, tmp_path, monkeypatch, **verify)

    return make


def wrong_then_right(request: Request) -> str:
    return said(GOLD if request.round else "A")


def test_a_wrong_answer_is_repaired(loop: MakeLoop, scene: Scene) -> None:
    run = loop(wrong_then_right)
    [case] = run.run(case_about(scene))
    assert run.entered == [(4, 4), (4, 4)]
    assert [(a.rollout.round, a.rollout.sample, a.verdict.accepted) for a in case.attempts] == [
        *((0, sample, False) for sample in range(4)),
        *((1, sample, True) for sample in range(4)),
    ]
    assert len({attempt.rollout.id for attempt in case.attempts}) == 8
    failed = [one for one in run.rejections if one.stage is Stage.VERIFY]
    assert [(one.reason, one.detail) for one in failed] == [(Reason.CHECK_FAILED, "answer")] * 4
    assert {one.subject for one in failed} == {a.rollout.id for a in case.attempts[:4]}


def test_the_critique_goes_back_and_does_not_hold_the_answer(loop: MakeLoop, scene: Scene) -> None:
    run = loop(wrong_then_right)
    run.run(case_about(scene))
    first = [request for request in run.teacher.requests if request.round == 0]
    second = [request for request in run.teacher.requests if request.round == 1]
    assert all(request.critique == () for request in first)
    assert {request.critique for request in second} == {("the answer 'A' is not right",)}
    for line in second[0].critique:
        assert "falcon" not in line
        assert GOLD not in line


def test_each_attempt_gets_the_critique_of_its_own_faults(loop: MakeLoop, scene: Scene) -> None:
    segment = {"label": "x", "start_s": 11.0, "end_s": 99.0}

    def script(request: Request) -> str:
        if request.round or request.sample == 0:
            return said(GOLD)
        wrong = {
            1: said("B"),
            2: said(GOLD, segments=[segment]),
            3: said(GOLD, reasoning="At 99 s it flies. So the answer is A."),
        }
        return wrong[request.sample]

    run = loop(script)
    [case] = run.run(case_about(scene))
    assert run.entered == [(4, 4), (3, 3)]
    critiques = {r.sample: r.critique for r in run.teacher.requests if r.round == 1}
    assert set(critiques) == {1, 2, 3}
    assert ["not right" in " ".join(critiques[n]) for n in (1, 2, 3)] == [True, False, False]
    assert [len(critiques[n]) for n in (1, 2, 3)] == [1, 1, 2]
    assert "not inside the clip" in critiques[2][0]
    assert "time that does not exist" in critiques[3][0]
    assert "last sentence" in critiques[3][1]
    assert len(case.accepted) == 4


def test_repaired_samples_say_so(loop: MakeLoop, scene: Scene) -> None:
    settings = VerifySettings()
    [case] = loop(wrong_then_right).run(case_about(scene))
    assert pass_rate(case, settings) == 0.0
    found = routes(case, settings)
    assert [route.split for route in found] == ["sft", "preference"]
    samples = [make_sample(case, route, settings, pipeline_version="1") for route in found]
    for sample in samples:
        extra = json.loads(sample.extra_json)
        assert extra["repaired"] is True
        assert extra["attempts"] == 8
    [rejected] = samples[1].preference.rejected
    assert "<answer>A</answer>" in rejected.parts[0].text
    assert "<answer>C</answer>" in samples[1].messages[-1].parts[0].text


def test_without_repair_rounds_it_is_asked_once(loop: MakeLoop, scene: Scene) -> None:
    run = loop(wrong_then_right, repair_rounds=0)
    [case] = run.run(case_about(scene))
    assert run.entered == [(4, 4)]
    assert {request.round for request in run.teacher.requests} == {0}
    assert case.accepted == ()


def test_only_what_failed_in_the_round_before_is_tried_again(loop: MakeLoop, scene: Scene) -> None:
    def script(request: Request) -> str:
        """Sample n is right from round n on."""
        return said(GOLD if request.round >= request.sample else "B")

    run = loop(script, repair_rounds=4)
    [case] = run.run(case_about(scene))
    assert run.entered == [(4, 4), (3, 3), (2, 2), (1, 1), (0, 0)]
    assert len(case.attempts) == 10
    assert len(case.accepted) == 4
    rejected = [one for one in run.rejections if one.stage is Stage.VERIFY]
    assert len(rejected) == 6
    assert len({one.id for one in rejected}) == 6


def test_replies_that_fail_are_rejected_and_counted_and_not_repaired(
    loop: MakeLoop, scene: Scene
) -> None:
    replies = ["", "no JSON", said("B"), said(GOLD)]
    run = loop(lambda request: replies[request.sample] if not request.round else said(GOLD))
    [case] = run.run(case_about(scene))
    assert run.entered == [(4, 2), (1, 1)]
    reasons = [one.reason for one in run.rejections if one.stage is Stage.ANSWER]
    assert reasons == [Reason.TEACHER_FAILED, Reason.BAD_REPLY]
    assert all(one.parent == case.task.id for one in run.rejections)
    assert len(case.attempts) == 3
    assert len(case.accepted) == 2


@pytest.mark.parametrize("monster", ["1" * 6_000, "[" * 5_000, '"\\ud800"', "NaN", "x" * 300_000])
def test_a_monstrous_reply_costs_only_itself(loop: MakeLoop, scene: Scene, monster: str) -> None:
    """What escapes as another error would cost the whole batch, and the run its balance."""

    def script(request: Request) -> str:
        good = said(GOLD)
        return good if request.sample else good.replace(f'"{GOLD}"', monster)

    run = loop(script, repair_rounds=0)
    cases = run.run(case_about(scene), case_about(scene, question="Which bird?"))
    assert [len(case.accepted) for case in cases] == [3, 3]
    assert [one.reason for one in run.rejections] == [Reason.BAD_REPLY] * 2


def test_replies_of_several_cases_stay_with_their_case(loop: MakeLoop, scene: Scene) -> None:
    def script(request: Request) -> str:
        assert request.task is not None
        number = int(request.task.question.split()[-1])
        return said("ABC"[(number + request.sample) % 3])

    run = loop(script, repair_rounds=0)
    cases = run.run(*(case_about(scene, question=f"Which animal in {n}") for n in range(6)))
    for number, case in enumerate(cases):
        answers = [attempt.rollout.answer_text for attempt in case.attempts]
        assert answers == ["ABC"[(number + sample) % 3] for sample in range(4)]
        assert {attempt.rollout.task_id for attempt in case.attempts} == {case.task.id}


# Where no answer is known


def test_agreement_stands_in_for_a_known_answer(loop: MakeLoop, scene: Scene) -> None:
    run = loop(lambda request: said("A" if request.sample == 1 else GOLD), repair_rounds=0)
    [case] = run.run(case_about(scene, known=False))
    assert [attempt.verdict.accepted for attempt in case.attempts] == [True, False, True, True]
    found = routes(case, run.verify)
    # There is no gold answer, so the task is none for RL.
    assert [route.split for route in found] == ["sft", "preference"]
    sample = make_sample(case, found[0], run.verify, pipeline_version="1")
    assert sample.answer.text == GOLD
    assert json.loads(sample.extra_json)["answer_origin"] == "consensus"


def test_without_agreement_nothing_is_accepted(loop: MakeLoop, scene: Scene) -> None:
    run = loop(lambda request: said("ABCB"[request.sample]), repair_rounds=0,
               thresholds=Thresholds(agreement=0.51))  # fmt: skip
    [case] = run.run(case_about(scene, known=False))
    assert case.accepted == ()
    assert {one.detail for one in run.rejections} == {"answer"}


def test_just_enough_agreement_is_enough(loop: MakeLoop, scene: Scene) -> None:
    run = loop(lambda request: said("ABCB"[request.sample]), repair_rounds=0)
    [case] = run.run(case_about(scene, known=False))
    assert [attempt.rollout.sample for attempt in case.accepted] == [1, 3]


def test_repairs_have_no_vote(loop: MakeLoop, scene: Scene) -> None:
    """Else a teacher that is told to change its mind would make its own new truth."""

    def script(request: Request) -> str:
        return said("B" if request.round else "AABC"[request.sample])

    run = loop(script, thresholds=Thresholds(agreement=0.51))
    [case] = run.run(case_about(scene, known=False))
    # Two of four is no agreement; with the four repairs, B would have five of eight.
    assert run.entered == [(4, 4), (4, 4)]
    assert case.accepted == ()


def test_only_so_many_samples_vote(loop: MakeLoop, scene: Scene) -> None:
    run = loop(lambda request: said("ABBB"[request.sample]), repair_rounds=0, samples=1)
    [case] = run.run(case_about(scene, known=False))
    assert [attempt.rollout.sample for attempt in case.accepted] == [0]
    assert pass_rate(case, run.verify) == 1.0
