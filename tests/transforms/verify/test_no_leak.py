"""Repair gives nothing away: no critique holds the answer, no repaired reasoning speaks of one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import SimpleNamespace
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.case import Attempt, Case, Scene
from schemas.claim import CheckedClaim, Claim, ClaimKind, Shown
from schemas.clip import Media
from schemas.examination import Asked, Examination
from schemas.rollout import Rollout, Segment, TeacherFacts
from schemas.task import CHOICE_KINDS, OPTION_LETTERS, Answer, Origin, Task, TaskKind
from schemas.verdict import Verdict
from schemas.view import WHOLE, Condition, View
from transforms.annotate.questions import CannotSolveError
from transforms.annotate.tasks import make_answer
from transforms.verify import checks
from transforms.verify.checks import TRACES, Thresholds, VerifySettings, critique, verify
from transforms.verify.conditions import cited_spans
from transforms.verify.decide import EXAMINED, Examined, decide

FACTS = TeacherFacts(
    kind="openai", model="m", revision="", prompt_sha256="", params_json="{}", seed=0
)
DURATION_S = 9.0
MEDIA = Media(
    clip_id="c", ref="r", sha256="0" * 64, size_bytes=9, width_px=320, height_px=180,
    num_frames=225, fps_num=25, fps_den=1, duration_s=DURATION_S, has_audio=False,
)  # fmt: skip
SCENE = Scene.model_construct(media=MEDIA)
"""All that the checks look at of a scene."""
LIMITS = Thresholds()

WORD = st.text(alphabet="qxzj", min_size=4, max_size=8)
"""No word of any critique."""
SECOND = st.integers(11, 389).map(lambda cents: cents / 100 + 0.003)
"""A time that no critique would name by chance."""


@st.composite
def answers(draw: st.DrawFn, kind: TaskKind, options: tuple[str, ...]) -> str:
    """An answer in the form of its kind."""
    letters = OPTION_LETTERS[: len(options)] or "A"
    chosen = sorted(draw(st.sets(st.sampled_from(letters), min_size=1)))
    start_s, length_s = draw(SECOND), draw(SECOND)
    box = "[0.111, 0.122, 0.533, 0.644]" if draw(st.booleans()) else "[0.2, 0.3, 0.7, 0.9]"
    boxed = (
        f'"time": [{start_s:.3f}, {start_s + length_s:.3f}], "boxes": {{"{start_s:.3f}": {box}}}'
    )
    spoken = {
        TaskKind.MULTI_CHOICE: ",".join(chosen),
        TaskKind.ORDERING: ",".join(draw(st.permutations(letters))),
        TaskKind.COUNT: str(draw(st.integers(11, 99))),
        TaskKind.NUMBER: str(draw(st.integers(1100, 9900)) / 100),
        TaskKind.TEMPORAL_GROUNDING: f"{start_s:.3f} to {start_s + length_s:.3f}",
        TaskKind.SPATIAL_GROUNDING: box,
        TaskKind.SPATIO_TEMPORAL_GROUNDING: f"{{{boxed}}}",
        TaskKind.FREE_TEXT: draw(WORD),
    }
    return spoken.get(kind) or draw(st.sampled_from(letters))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A task whose answer is known, and one attempt: right or wrong, well formed or not."""
    kind = draw(st.sampled_from(list(TaskKind)))
    options = tuple(draw(st.lists(WORD, min_size=3, max_size=5, unique=True)))
    options = options if kind in CHOICE_KINDS else ()
    gold = make_answer(kind, draw(answers(kind, options)), options, -1.0)
    task = Task(
        clip_id="c", kind=kind, question="What?", options=options, gold=gold, origin=Origin.GIVEN
    )
    answer = draw(st.one_of(st.just(gold.text), answers(kind, options), WORD))
    steps = draw(st.lists(st.sampled_from(
        ["At 40 s it ends.", "It is red.", "<think> no </think>", "At 0.5 s it begins."]
    ), max_size=3))  # fmt: skip
    ending = draw(st.sampled_from([f"So the answer is {answer}.", "Who knows."]))
    end_s = draw(st.sampled_from([2.0, 30.0]))
    rollout = Rollout(
        task_id=task.id, sample=0, round=0, reasoning=" ".join([*steps, ending]),
        answer_text=answer, teacher=FACTS, raw_reply="",
        segments=(Segment(label="it", start_s=1.0, end_s=end_s),),
    )  # fmt: skip
    spans = cited_spans(rollout, kind, DURATION_S)
    views = [WHOLE, *(View(condition=one) for one in (Condition.BLIND, Condition.SHUFFLED))]
    views += [
        View(condition=one, spans_s=spans)
        for one in (Condition.EVIDENCE, Condition.MASKED)
        if spans
    ]
    replies = st.lists(st.sampled_from([gold.text, ""]), min_size=1, max_size=3).map(tuple)
    rows = tuple(Asked(view=view, answers=draw(replies)) for view in views)
    claims = tuple(
        CheckedClaim(
            claim=Claim(step=place, kind=ClaimKind.TIME, text=text),
            exists=True,
            shown=draw(st.sampled_from(list(Shown))),
        )
        for place, text in enumerate(steps)
    )
    attempt = Attempt(
        rollout=rollout,
        verdict=Verdict(rollout_id=rollout.id, checks=(), accepted=True),
        claims=claims,
        conclusions=draw(replies),
    )
    table = Examination(model="looker", rows=rows)
    return Case(scene=SCENE, task=task, attempts=(attempt,), asked=1, examination=table)


def secrets(case: Case) -> Iterator[str]:
    """What only the answer key knows: its text, its numbers, its letters, its options' words."""
    gold = case.task.gold
    assert gold is not None
    yield gold.text
    yield from re.findall(r"[0-9]+(?:\.[0-9]+)?", gold.text)
    letters = re.findall(r"\b[A-J]\b", gold.text) if case.task.kind in CHOICE_KINDS else []
    yield from letters
    yield from (case.task.options[OPTION_LETTERS.index(letter)] for letter in letters)


def leaks(case: Case, verdict: Verdict) -> list[str]:
    """Secrets that stand in a critique though the rollout did not say them."""
    rollout = case.attempts[0].rollout
    said = f"{rollout.reasoning} {rollout.answer_text}"
    text = "\n".join(critique(verdict))
    return [
        secret
        for secret in secrets(case)
        if re.search(rf"(?<![\w.]){re.escape(secret)}(?![\w])", text) and secret not in said
    ]


@settings(deadline=None)
@given(cases(), st.booleans())
def test_no_critique_of_a_check_without_a_model_gives_the_answer_away(
    case: Case, solvable: bool
) -> None:
    gold = case.task.gold
    assert gold is not None

    def solve(*_: object) -> object:
        if not solvable:
            raise CannotSolveError(f"{gold.text!r} is not among the options {case.task.options}")
        return SimpleNamespace(answer=gold.text)

    # No family of measurements asks for a free text.
    measured = case.task.kind is not TaskKind.FREE_TEXT
    observation: object = SimpleNamespace() if measured else None
    with patch.object(checks, "solve", solve):
        verdict = verify(
            case.attempts[0].rollout, case.task, gold, SCENE, observation, LIMITS  # type: ignore[arg-type]
        )  # fmt: skip
    assert leaks(case, verdict) == []


@settings(deadline=None)
@given(cases())
def test_no_critique_of_the_examination_gives_the_answer_away(case: Case) -> None:
    [attempt] = case.attempts
    assert case.task.gold is not None
    found = Examined(case, case.task.gold, LIMITS).checks(attempt)
    assert {one.name for one in found} <= set(EXAMINED)
    verdict = Verdict(rollout_id=attempt.rollout.id, checks=tuple(found), accepted=False)
    assert leaks(case, verdict) == []
    [decided] = decide(case, VerifySettings()).attempts
    assert leaks(case, decided.verdict) == []


def test_the_search_for_leaks_finds_one() -> None:
    options = ("zjq", "xxq", "qqz")
    gold = Answer(kind=TaskKind.MCQ, text="B", options=options, option_index=1)
    task = Task(
        clip_id="c", kind=TaskKind.MCQ, question="What?", options=options, gold=gold,
        origin=Origin.GIVEN,
    )  # fmt: skip
    attempt = repaired("It is A.", 0)
    case = Case(scene=SCENE, task=task, attempts=(attempt,))
    for detail in ("the answer is B", "look for the xxq"):
        failed = checks.check("answer", 0.0, 1.0, detail)
        verdict = Verdict(rollout_id="r", checks=(failed,), accepted=False)
        assert leaks(case, verdict)


# Traces of a repair ------------------------------------------------------------------------------


def repaired(reasoning: str, round: int = 1, label: str = "it") -> Attempt:
    rollout = Rollout(
        task_id="t", sample=0, round=round, reasoning=reasoning, answer_text="A", teacher=FACTS,
        raw_reply="", segments=(Segment(label=label, start_s=1.0, end_s=2.0),),
    )  # fmt: skip
    task = Task(clip_id="c", kind=TaskKind.COUNT, question="How many?", origin=Origin.GIVEN)
    verdict = verify(rollout, task, None, SCENE, None, LIMITS)
    return Attempt(rollout=rollout, verdict=verdict)


def failed(attempt: Attempt) -> list[str]:
    return [check.name for check in attempt.verdict.checks if not check.passed]


@pytest.mark.parametrize("trace", TRACES)
def test_a_repaired_reasoning_that_speaks_of_the_repair_is_turned_down_for_that_alone(
    trace: str,
) -> None:
    said = f"At 1.00 s {trace}, a ball falls. So the answer is A."
    assert failed(repaired(said)) == ["no_trace"]
    assert failed(repaired(said.upper().replace(" S ", " s "))) == ["no_trace"]
    assert failed(repaired(said.replace(trace, "\n  ".join(trace.split())))) == ["no_trace"]
    # In a first try the same words speak of the clip.
    assert failed(repaired(said, round=0)) == []
    assert "no_trace" not in [one.name for one in repaired(said, round=0).verdict.checks]


@pytest.mark.parametrize(
    "said",
    [
        "He attempts a jump, earlier than she does.",
        "She turned down the street.",
        "The ball is not right of the box.",
        "A mistake of the goalkeeper.",
        "My eyes go to the ball.",
        "The hypercritiqued film is shown.",
    ],
)
def test_words_of_the_clip_are_no_trace(said: str) -> None:
    assert failed(repaired(f"{said} So the answer is A.")) == []


def test_labels_of_spans_may_not_speak_of_it_either() -> None:
    assert failed(repaired("So the answer is A.", label="see the critique")) == ["no_trace"]


def test_the_threshold_of_traces_decides() -> None:
    attempt = repaired("After the critique I see it. So the answer is A.")
    task = Task(clip_id="c", kind=TaskKind.COUNT, question="How many?", origin=Origin.GIVEN,
                gold=Answer(kind=TaskKind.COUNT, text="3"))  # fmt: skip
    case = Case(scene=SCENE, task=task, attempts=(attempt,))
    for least, accepted in ((1.0, False), (0.0, True)):
        settings = VerifySettings(thresholds=Thresholds(no_trace=least))
        assert decide(case, settings).attempts[0].verdict.accepted is accepted
