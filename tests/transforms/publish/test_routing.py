"""Which samples a case gives, and on which side of the train/validation split they stand."""

from __future__ import annotations

import random

import pytest
from case_helpers import examined, make_attempt, make_case, make_scene, make_task

from schemas.case import Case
from schemas.rejection import Reason, Rejected
from schemas.task import Origin, TaskKind
from transforms.publish.routing import (
    PublishSettings,
    partition,
    pass_rate,
    routes,
    why_not,
)
from transforms.verify.checks import Thresholds, VerifySettings

SCENE = make_scene()
TASK = make_task(SCENE)
SETTINGS = VerifySettings(samples=4)


def case(right: int, wrong: int = 0, *, measured: bool = False, known: bool = True) -> Case:
    """A case with so many accepted attempts, then so many that gave another answer."""
    task = make_task(SCENE, known=known)
    good = [make_attempt(task, n, measured=measured) for n in range(right)]
    bad = [
        make_attempt(task, right + n, "A", failed=("answer",), measured=measured)
        for n in range(wrong)
    ]
    return make_case(task, SCENE, *good, *bad)


def splits(one: Case, settings: VerifySettings = SETTINGS) -> list[str]:
    return [route.split for route in routes(one, settings)]


def band(low: float, high: float) -> VerifySettings:
    return VerifySettings(samples=4, thresholds=Thresholds(pass_rate_min=low, pass_rate_max=high))


@pytest.mark.parametrize(
    ("right", "wrong", "expected"),
    [
        (4, 0, ["sft"]),
        (3, 1, ["sft", "rl", "preference"]),
        (1, 3, ["sft", "rl", "preference"]),
        (1, 0, ["sft"]),
    ],
)
def test_what_a_case_is_good_for(right: int, wrong: int, expected: list[str]) -> None:
    assert splits(case(right, wrong)) == expected


def test_a_case_without_an_accepted_attempt_is_rejected_with_what_failed() -> None:
    attempts = [
        make_attempt(TASK, 0, "A", failed=("answer", "ends_in_answer")),
        make_attempt(TASK, 1, "B", failed=("answer",)),
        make_attempt(TASK, 2, failed=("cited_times",)),
    ]
    for several, words in (
        (attempts, "answer, cited_times, ends_in_answer"),
        ([], "no rollout came back"),
    ):
        with pytest.raises(Rejected) as caught:
            routes(make_case(TASK, SCENE, *several), SETTINGS)
        assert (caught.value.reason, caught.value.detail) == (Reason.NO_ACCEPTED_ROLLOUT, words)
        assert why_not(make_case(TASK, SCENE, *several)) == words


@pytest.mark.parametrize(
    ("low", "high", "fits"),
    [(0.5, 0.5, True), (0.5, 0.9, True), (0.1, 0.5, True), (0.51, 0.9, False), (0.1, 0.49, False)],
)
def test_the_edges_of_the_band_belong_to_it(low: float, high: float, fits: bool) -> None:
    assert ("rl" in splits(case(2, 2), band(low, high))) is fits


def test_a_confirmed_label_is_for_rl_however_easy() -> None:
    assert "rl" not in splits(case(4))
    assert "rl" in splits(case(4, measured=True))
    # The measurement must have confirmed an accepted attempt.
    task = make_task(SCENE)
    doubted = make_attempt(task, 1, "A", failed=("measured",), measured=True)
    assert "rl" not in splits(make_case(task, SCENE, make_attempt(task, 0), doubted), band(0.9, 1))


def test_without_a_gold_answer_there_is_nothing_to_reward() -> None:
    assert splits(case(2, 2, known=False)) == ["sft", "preference"]


def best(*attempts: object) -> tuple[int, int]:
    route = routes(make_case(TASK, SCENE, *attempts), SETTINGS)[0]  # type: ignore[arg-type]
    return route.best.rollout.round, route.best.rollout.sample


def test_the_best_attempt_is_unrepaired_then_best_scored_then_first() -> None:
    grounded = make_task(SCENE, TaskKind.TEMPORAL_GROUNDING)

    def attempt(sample: int, score: float, round: int = 0) -> object:
        return make_attempt(grounded, sample, round=round, scores={"answer_iou": score})

    assert best(attempt(0, 0.8), attempt(1, 0.95), attempt(2, 0.9)) == (0, 1)
    assert best(attempt(0, 1.0, round=1), attempt(1, 0.75)) == (0, 1)
    assert best(attempt(2, 0.8), attempt(1, 0.8)) == (0, 1)
    assert best(attempt(0, 0.2), attempt(1, 0.8, round=1)) == (1, 1)


def cites(sample: int, *spans: tuple[float, float], round: int = 0, score: float = 1.0) -> object:
    return make_attempt(TASK, sample, spans=spans, round=round, scores={"spans_inside": score})


def test_less_evidence_is_better_than_better_scores() -> None:
    lenient = {"cited_times": 1.0}
    long = make_attempt(TASK, 0, spans=((1.0, 7.0),), scores=lenient)
    short = make_attempt(TASK, 1, spans=((2.0, 4.0),), scores={"answer": 1.0})
    assert best(long, short) == best(short, long) == (0, 1)
    # Spans that overlap count once.
    assert best(cites(0, (1, 4), (2, 5)), cites(1, (1, 3), (4, 7))) == (0, 0)
    # No repaired attempt comes before an unrepaired one, however little it cites.
    assert best(cites(0, (1, 7)), cites(1, (2, 3), round=1)) == (0, 0)


def test_a_frame_more_or_less_is_no_better_evidence() -> None:
    grounded = make_task(SCENE, TaskKind.FREE_TEXT)
    several = [
        make_attempt(grounded, 0, spans=((2.0, 4.0),), scores={"answer_text": 0.6}),
        make_attempt(grounded, 1, spans=((2.0, 4.04),), scores={"answer_text": 0.9}),
        make_attempt(grounded, 2, spans=((2.0, 4.9),), scores={"answer_text": 1.0}),
    ]
    for seed in range(5):
        random.Random(seed).shuffle(several)
        assert best(*several) == (0, 1)


def test_who_cites_nothing_rests_on_the_whole_clip() -> None:
    assert best(cites(0), cites(1, (1.0, 6.0))) == (0, 1)


def test_a_shorter_span_is_no_better_answer_where_the_answer_is_a_span() -> None:
    grounded = make_task(SCENE, TaskKind.TEMPORAL_GROUNDING)
    short = make_attempt(
        grounded, 0, "2.00 to 3.50", spans=((2.0, 3.5),), scores={"answer_iou": 0.75}
    )
    full = make_attempt(grounded, 1, spans=((2.0, 4.0),), scores={"answer_iou": 1.0})
    assert best(short, full) == (0, 1)


def test_what_is_guessed_without_the_clip_is_not_for_rl() -> None:
    # The verdicts of this case were given before anybody was asked: the view alone decides.
    assert "rl" in splits(examined(case(2, 2), full="CCCC", blind="AABB"))
    assert "rl" in splits(examined(case(2, 2), full="CCCC"))
    guessed = examined(case(2, 2), full="CCCC", blind="CCCC")
    assert "rl" not in splits(guessed)
    lenient = VerifySettings(thresholds=Thresholds(needs_video=0.0))
    assert "rl" in splits(guessed, lenient)


def test_a_constructed_task_that_is_guessed_is_not_for_rl() -> None:
    task = make_task(SCENE, origin=Origin.CONSTRUCTED)
    failed = make_attempt(task, 0, failed=("needs_video",))
    asked = make_case(task, SCENE, failed).model_copy(update={"asked": 1})
    settings = band(0.0, 0.9)
    assert splits(examined(asked, blind="ABAB"), settings) == ["rl"]
    with pytest.raises(Rejected):
        routes(examined(asked, blind="CCCC"), settings)


# Pass rate


def test_the_pass_rate_is_that_of_the_first_round() -> None:
    assert pass_rate(case(1, 3), SETTINGS) == 0.25
    assert pass_rate(case(0, 2), SETTINGS) == 0.0
    assert pass_rate(make_case(TASK, SCENE), SETTINGS) == -1.0
    repaired = [make_attempt(TASK, n, round=1) for n in range(3)]
    mixed = make_case(TASK, SCENE, make_attempt(TASK, 0, "A", failed=("answer",)), *repaired)
    assert pass_rate(mixed, SETTINGS) == 0.0
    assert pass_rate(make_case(TASK, SCENE, *repaired), SETTINGS) == -1.0


def test_only_the_samples_that_count_count() -> None:
    # Samples 0 and 1 are right, 2 and 3 wrong.
    assert pass_rate(case(2, 2), VerifySettings(samples=2)) == 1.0
    assert pass_rate(case(2, 2), VerifySettings(samples=3)) == pytest.approx(2 / 3)


# Train and validation


def test_a_video_is_on_one_side_and_stays_there() -> None:
    publish = PublishSettings(validation_share=0.1)
    ids = [f"v{number}" for number in range(4_000)]
    sides = {video_id: partition(video_id, 0, publish) for video_id in ids}
    assert all(partition(video_id, 0, publish) == side for video_id, side in sides.items())
    held_out = [video_id for video_id, side in sides.items() if side == "validation"]
    # Five standard deviations of a fair draw.
    assert abs(len(held_out) - 400) < 5 * (4_000 * 0.1 * 0.9) ** 0.5
    # A larger share keeps what was held out before: no video moves from validation to train.
    wider = PublishSettings(validation_share=0.2)
    assert all(partition(video_id, 0, wider) == "validation" for video_id in held_out)
    assert any(partition(video_id, 1, publish) != side for video_id, side in sides.items())


def test_no_validation_share_holds_nothing_out() -> None:
    publish = PublishSettings(validation_share=0.0)
    assert {partition(f"v{number}", 0, publish) for number in range(500)} == {"train"}
