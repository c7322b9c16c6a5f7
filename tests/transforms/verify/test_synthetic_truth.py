"""End to end on videos whose truth is known: what is asked, what is answered, what is rejected."""

from __future__ import annotations

import json
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest

from schemas.case import Case
from schemas.rejection import Reason
from schemas.rewards import parse_intervals
from schemas.rollout import Box, Rollout, Segment
from schemas.task import OPTION_LETTERS, TaskKind
from schemas.verdict import Verdict
from transforms.annotate.observe import Observation
from transforms.annotate.questions import DIRECTIONS
from transforms.verify.checks import Thresholds, critique, verify
from transforms.verify.loop import Answered, Verifier
from transforms.verify.remeasure import remeasured
from transforms.video.shots import ShotSettings

FRAME_S = 0.041
"""A frame, and a little for rounding."""
Finder = Callable[[TaskKind], Case]


def gold(case: Case) -> str:
    assert case.task.gold is not None
    return case.task.gold.text


def texts(case: Case) -> list[str]:
    """The options that the gold letters stand for."""
    return [case.task.options[OPTION_LETTERS.index(letter)] for letter in gold(case).split(",")]


def extreme(shots: Any, words: str) -> Any:
    if "darkest" in words:
        return min(shots, key=lambda shot: shot.luma)
    if "brightest" in words:
        return max(shots, key=lambda shot: shot.luma)
    assert "longest" in words
    return max(shots, key=lambda shot: shot.end_s - shot.start_s)


def named(shots: Any, words: str) -> Any:
    """The drawn shot that an option or a question speaks of."""
    if "with the most" in words:
        [shot] = [shot for shot in shots if words.endswith(shot.color)]
        return shot
    if "first shot" in words:
        return shots[0]
    return shots[-1] if "last shot" in words else extreme(shots, words)


def by_ordinal(shots: Any, words: str) -> Any:
    """The drawn shot that `the third shot` speaks of."""
    numbers = {"first": 0, "second": 1, "third": 2, "fourth": 3, "fifth": 4, "last": -1}
    return shots[numbers[words.split()[1]]]


def check_truth(case: Case, shots: Any) -> None:
    """The gold answer of a case, against what was drawn."""
    cuts = [shot.start_s for shot in shots[1:]]
    spec, question = json.loads(case.task.spec_json), case.task.question
    match spec["family"]:
        case "cut_count":
            assert gold(case) == str(len(cuts))
        case "cut_time":
            ordinals = {"first": 0, "second": 1, "third": 2, "last": -1}
            places = [place for word, place in ordinals.items() if f"the {word} cut" in question]
            assert len(cuts) == 1 or len(places) == 1
            assert float(gold(case)) == pytest.approx(cuts[(places or [0])[0]], abs=FRAME_S)
        case "extreme":
            shot = extreme(shots, question)
            assert parse_intervals(gold(case)) == [
                pytest.approx((shot.start_s, shot.end_s), abs=FRAME_S)
            ]
        case "order":
            starts = [named(shots, words).start_s for words in texts(case)]
            assert starts == sorted(set(starts))
            assert len(starts) == len(case.task.options)
        case "rank":
            ranked = [by_ordinal(shots, words) for words in texts(case)]
            value = attrgetter("luma" if "darkest" in question else "duration_s")
            assert ranked == sorted(ranked, key=value)
            assert len(set(ranked)) == len(case.task.options) >= 3
        case "color":
            assert texts(case) == [named(shots, question).color]
        case "motion":
            x, y = named(shots, question).motion
            way = ("to the left" if x < 0 else "to the right") if x else None
            assert texts(case) == [way or ("upwards" if y < 0 else "downwards")]
            assert sorted(case.task.options) == sorted(DIRECTIONS)
        case "brighter":
            first, last = shots[0].luma, shots[-1].luma
            assert texts(case) == ["the first shot" if first > last else "the last shot"]
        case family:
            pytest.fail(f"no truth is known for {family}")


def families(cases: list[Case]) -> list[str]:
    specs = [json.loads(case.task.spec_json) for case in cases]
    return sorted(f"{s['family']} {s.get('what', s.get('place', ''))}".strip() for s in specs)


# The teacher's answers against the truth


def test_all_that_is_true_of_the_colours_is_asked(color_cases: list[Case]) -> None:
    assert families(color_cases) == [
        "brighter", "color first", "color last", "color longest", "cut_count", "cut_time",
        "extreme brightest", "extreme darkest", "extreme longest", "order",
        "rank brightness", "rank length",
    ]  # fmt: skip


def test_gold_answers_about_colours_are_true(color_cases: list[Case], films: Any) -> None:
    for case in color_cases:
        check_truth(case, films["colors"])


def test_gold_answers_about_pans_are_true(studio: Any, pan_cases: list[Case], films: Any) -> None:
    assert {"motion first", "motion last", "color first", "color last"} <= set(families(pan_cases))
    for case in pan_cases:
        check_truth(case, films["pans"])
    reversed_cases = studio.tasks(studio.scenes("reversed"))
    assert families(reversed_cases) == families(pan_cases)
    for case in reversed_cases:
        check_truth(case, films["reversed"])


def test_every_rollout_about_clear_films_is_accepted(
    color_cases: list[Case], pan_cases: list[Case]
) -> None:
    for case in [*color_cases, *pan_cases]:
        assert len(case.attempts) == len(case.accepted) == 4
        for attempt in case.attempts:
            names = [check.name for check in attempt.verdict.checks]
            assert names[:4] == ["format", "spans_inside", "cited_times", "ends_in_answer"]
            assert [name.removesuffix("_iou") for name in names[4:]] == ["answer", "measured"]


def test_times_of_a_later_clip_are_its_own(studio: Any, films: Any) -> None:
    shots = ShotSettings(max_clip_s=8.0)
    first, second = studio.scenes("colors", shots)
    assert (first.clip.end_s, second.clip.start_s) == (7.6, 7.6)
    assert second.media.duration_s == pytest.approx(4.4)
    truth = [
        type(shot)(round(shot.start_s - 7.6, 3), round(shot.end_s - 7.6, 3), shot.color, shot.rgb)
        for shot in films["colors"][3:]
    ]
    cases = studio.round(studio.tasks([second], shots), 0, shots)
    assert "cut_time" in families(cases)
    for case in cases:
        check_truth(case, truth)
        assert len(case.accepted) == 4


# The independent measurement


def test_remeasuring_the_mp4_finds_what_was_drawn(studio: Any, films: Any) -> None:
    for name, shots in films.items():
        [scene] = studio.scenes(name)
        found = remeasured(scene.media, studio.store, motion=True)
        drawn = [(shot.start_s, shot.end_s) for shot in shots]
        assert [(s.start_s, s.end_s) for s in found.shots] == [
            pytest.approx(span, abs=FRAME_S) for span in drawn
        ]
        assert [shot.main_color for shot in found.shots] == [shot.color for shot in shots]
        if name == "colors":
            order = sorted(range(len(shots)), key=lambda n: shots[n].luma)
            assert sorted(range(len(shots)), key=lambda n: found.shots[n].brightness) == order
        for shot, seen in zip(shots, found.shots, strict=True):
            width, height = scene.media.width_px, scene.media.height_px
            speed = (shot.motion[0] * 25 / width, shot.motion[1] * 25 / height)
            assert (seen.motion_x, seen.motion_y) == pytest.approx(speed, rel=0.15, abs=0.03)


def test_a_second_look_is_looked_up(studio: Any) -> None:
    [scene] = studio.scenes("colors")
    first = remeasured(scene.media, studio.store, motion=False)
    gone = scene.media.model_copy(update={"ref": "nowhere/clip.mp4"})
    assert remeasured(gone, studio.store, motion=False) == first


def test_the_mp4_of_another_clip_confirms_nothing(
    studio: Any, color_cases: list[Case], pan_cases: list[Case]
) -> None:
    """The check looks at the published pixels, not at what the teacher saw."""
    [other] = studio.scenes("other")
    for cases, media in ((color_cases, other.media), (pan_cases, other.media)):
        for case in cases:
            scene = case.scene.model_copy(update={"media": media})
            swapped = case.model_copy(update={"scene": scene, "attempts": ()})
            rollouts = tuple(attempt.rollout for attempt in case.attempts)
            [done] = Verifier(studio.verify, studio.store)(Answered(swapped, rollouts)).outputs
            # Both films move to a side in one shot and have a last shot; all else differs.
            for attempt in done.attempts:
                failed = failed_names(attempt.verdict)
                assert any(name.startswith("measured") for name in failed), case.task.question


@pytest.mark.parametrize("content", [b"", b"no mp4 at all", None])
def test_an_mp4_that_cannot_be_measured_costs_its_rollouts_not_the_case(
    studio: Any, color_cases: list[Case], content: bytes | None
) -> None:
    """A case that vanished here would break the balance of tasks, and with it the whole run."""
    case = color_cases[0].model_copy(update={"attempts": ()})
    rollouts = tuple(attempt.rollout for attempt in color_cases[0].attempts)
    ref = f"broken-{content!r}.mp4"
    if content is not None:
        Path(studio.store.root, ref).write_bytes(content)
    media = case.scene.media.model_copy(update={"ref": ref, "sha256": ref})
    broken = case.model_copy(update={"scene": case.scene.model_copy(update={"media": media})})
    outcome = Verifier(studio.verify, studio.store)(Answered(broken, rollouts))
    assert outcome.outputs == [broken]
    assert outcome.entered == len(outcome.rejections) == 4
    assert {one.reason for one in outcome.rejections} == {Reason.INTERNAL_ERROR}
    assert [one.subject for one in outcome.rejections] == [rollout.id for rollout in rollouts]


# Rollouts that are wrong in one way


def failed_names(verdict: Verdict) -> set[str]:
    assert verdict.accepted == all(check.passed for check in verdict.checks)
    return {check.name for check in verdict.checks if not check.passed}


def judged(studio: Any, case: Case, **changes: Any) -> Verdict:
    """The verdict on an accepted rollout of the case after the changes."""
    good = case.accepted[0].rollout
    rollout = good.model_copy(update=changes)
    spec = json.loads(case.task.spec_json)
    observation = None
    if spec:
        motion = spec["family"] == "motion"
        observation = remeasured(case.scene.media, studio.store, motion=motion)
    return judge_rollout(case, rollout, observation)


def judge_rollout(case: Case, rollout: Rollout, observation: Observation | None) -> Verdict:
    return verify(rollout, case.task, case.task.gold, case.scene, observation, Thresholds())


def ending(case: Case, answer: str) -> str:
    """The good reasoning with another answer at its end."""
    good = case.accepted[0].rollout
    return "\n".join([*good.reasoning.splitlines()[:-1], f"So the answer is {answer}."])


WRONG: dict[TaskKind, Callable[[str], str]] = {
    TaskKind.COUNT: lambda right: str(int(right) + 1),
    TaskKind.NUMBER: lambda right: f"{float(right) + 0.3:.2f}",
    TaskKind.MCQ: lambda right: "B" if right == "A" else "A",
    TaskKind.ORDERING: lambda right: ",".join([*right.split(",")[1:], right[0]]),
    TaskKind.TEMPORAL_GROUNDING: lambda right: " to ".join(
        f"{float(time_s) - 1.0:.2f}" for time_s in right.split(" to ")
    ),
}


@pytest.mark.parametrize("kind", list(WRONG))
def test_a_wrong_answer_fails_by_gold_and_by_measurement_only(
    studio: Any, case_of: Finder, kind: TaskKind
) -> None:
    case = case_of(kind)
    wrong = WRONG[kind](gold(case))
    verdict = judged(studio, case, answer_text=wrong, reasoning=ending(case, wrong))
    suffix = "_iou" if kind is TaskKind.TEMPORAL_GROUNDING else ""
    assert failed_names(verdict) == {f"answer{suffix}", f"measured{suffix}"}
    # The critique goes back to the teacher, so it must not give the answer away.
    assert not any(gold(case) in line.replace(wrong, "") for line in critique(verdict))


def test_an_answer_within_its_tolerance_is_right(studio: Any, case_of: Finder) -> None:
    case = case_of(TaskKind.NUMBER)
    near = f"{float(gold(case)) + 0.2:.2f}"
    assert judged(studio, case, answer_text=near, reasoning=ending(case, near)).accepted


def test_wrong_gold_is_found_by_measurement_alone(studio: Any, case_of: Finder) -> None:
    """A question whose gold answer is wrong, answered as wrongly."""
    case = case_of(TaskKind.COUNT)
    assert case.task.gold is not None
    wrong = case.task.gold.model_copy(update={"text": "7"})
    lying = case.model_copy(update={"task": case.task.model_copy(update={"gold": wrong})})
    verdict = judged(studio, lying, answer_text="7", reasoning=ending(case, "7"))
    assert failed_names(verdict) == {"measured"}


@pytest.mark.parametrize("line", ["At 99.00 s it is dark.", "From 3 s to 12.2 s it is green."])
def test_a_time_past_the_end_fails_cited_times_only(
    studio: Any, color_cases: list[Case], line: str
) -> None:
    case = color_cases[0]
    reasoning = f"{line}\n{case.accepted[0].rollout.reasoning}"
    verdict = judged(studio, case, reasoning=reasoning)
    assert failed_names(verdict) == {"cited_times"}
    [check] = [check for check in verdict.checks if check.name == "cited_times"]
    assert 0.0 < check.score < 1.0


@pytest.mark.parametrize(
    ("start_s", "end_s"), [(1.0, 17.0), (11.0, 12.03), (15.0, 17.0), (4.0, 4.0), (5.0, 4.0)]
)
def test_a_span_that_is_not_in_the_clip_fails_spans_inside_only(
    studio: Any, color_cases: list[Case], start_s: float, end_s: float
) -> None:
    segment = Segment(label="here", start_s=start_s, end_s=end_s)
    good = color_cases[0].accepted[0].rollout.segments
    verdict = judged(studio, color_cases[0], segments=(*good, segment))
    assert failed_names(verdict) == {"spans_inside"}


@pytest.mark.parametrize(
    ("t_s", "xyxy"),
    [(12.5, (0.1, 0.1, 0.2, 0.2)), (1.0, (0.1, 0.1, 1.2, 0.2)), (1.0, (0.3, 0.1, 0.2, 0.2)),
     (1.0, (0.1, -0.1, 0.2, 0.2)), (1.0, (0.1, 0.1, 0.2, 0.1)), (-0.1, (0.1, 0.1, 0.2, 0.2))],
)  # fmt: skip
def test_a_box_that_is_not_in_the_picture_fails_spans_inside_only(
    studio: Any, color_cases: list[Case], t_s: float, xyxy: tuple[float, float, float, float]
) -> None:
    box = Box(label="thing", t_s=t_s, xyxy_norm=xyxy)
    assert failed_names(judged(studio, color_cases[0], boxes=(box,))) == {"spans_inside"}
    inside = Box(label="thing", t_s=1.0, xyxy_norm=(0.0, 0.0, 1.0, 1.0))
    assert judged(studio, color_cases[0], boxes=(inside,)).accepted


@pytest.mark.parametrize("kind", list(WRONG))
def test_reasoning_that_ends_in_another_answer_fails_ends_in_answer_only(
    studio: Any, case_of: Finder, kind: TaskKind
) -> None:
    case = case_of(kind)
    verdict = judged(studio, case, reasoning=ending(case, WRONG[kind](gold(case))))
    assert failed_names(verdict) == {"ends_in_answer"}


@pytest.mark.parametrize("tag", ["<think>", "</think>", "<answer>", "</answer>"])
def test_tags_inside_the_reasoning_fail_format(studio: Any, case_of: Finder, tag: str) -> None:
    case = case_of(TaskKind.COUNT)
    good = case.accepted[0].rollout
    verdict = judged(studio, case, reasoning=f"{tag}{good.reasoning}")
    # What can't be taken apart has no last sentence either: the trainer's grader says the same.
    assert failed_names(verdict) == {"format", "ends_in_answer"}
    failed = failed_names(judged(studio, case, answer_text=f"{good.answer_text}{tag}"))
    assert "format" in failed


def test_what_is_left_alone_is_accepted(
    studio: Any, color_cases: list[Case], pan_cases: list[Case]
) -> None:
    for case in [*color_cases, *pan_cases]:
        verdict = judged(studio, case)
        assert verdict.accepted
        assert verdict == case.accepted[0].verdict
        assert critique(verdict) == ()
