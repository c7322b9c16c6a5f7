"""When a large share of a stage fails by the fault of machines, the run stops; else it goes on."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that, equal_to
from hypothesis import given
from hypothesis import strategies as st

from runners.launch import prepare
from schemas.rejection import FAILURES, OF_CONTENT, Reason, Rejected, Rejection, Stage
from transforms.failure_limit import NO_LIMIT, FailureLimit, TooManyFailedError, check_totals
from transforms.legs import OUT, REJECTED, Care, Leg
from transforms.outcome import Outcome
from transforms.progress import NOWHERE


def limit(share: float = 0.2, least: int = 20) -> FailureLimit:
    """One of a run of its own."""
    return FailureLimit(share, least, uuid4().hex)


def rejected(number: int, reason: Reason) -> Rejection:
    return Rejection(
        stage=Stage.DECODE, reason=reason, subject=f"v{number}", detail=f"why\n{number}"
    )


@dataclass(frozen=True)
class Worker:
    """Every third number breaks it; even ones are dark."""

    dark: bool = False

    def __call__(self, number: int) -> Outcome[int]:
        if self.dark and number % 2 == 0:
            raise Rejected(Reason.TOO_DARK)
        if number % 3 == 0:
            raise KeyError(number)
        return Outcome([number])


def run(numbers: int, care: Care, *arguments: str, dark: bool = False) -> None:
    runner, options = prepare(arguments)
    subjects = lambda number: [(str(number), "")]  # noqa: E731 - it has to travel
    with beam.Pipeline(runner=runner, options=options) as pipeline:
        leg = Leg(Stage.SELECT, Worker(dark), subjects, NOWHERE, care)
        done = pipeline | beam.Create(range(1, numbers + 1)) | leg
        everything = (done[OUT], done[REJECTED] | beam.Map(lambda one: int(one.subject)))
        found = everything | beam.Flatten()
        assert_that(found, equal_to(list(range(1, numbers + 1))))


def test_every_reason_speaks_of_content_or_of_failure() -> None:
    assert set(Reason) == FAILURES | OF_CONTENT
    assert not FAILURES & OF_CONTENT


def test_it_stops_where_the_share_is_passed_and_says_so_in_one_line() -> None:
    few = limit()
    few.note(Stage.DECODE, "leg", 80, [])
    for number in range(20):
        # 20 of 100: not more than the share.
        few.note(Stage.DECODE, "leg", 1, [rejected(number, Reason.DECODE_TIMEOUT)])
    few.note(Stage.DECODE, "leg", 1, [])
    with pytest.raises(TooManyFailedError) as caught:
        few.note(Stage.DECODE, "leg", 1, [rejected(20, Reason.DECODER_CRASHED)])
    said = str(caught.value)
    assert said.startswith("decode: 21 of 102 videos")
    assert "run.max_failed_share = 0.2" in said
    assert "Mostly decode_timeout (20 times), such as v0: why 0." in said
    assert "run the same command again" in said and "\n" not in said


@pytest.mark.parametrize("reason", sorted(OF_CONTENT))
def test_what_speaks_of_the_subjects_stops_nothing(reason: Reason) -> None:
    care = limit(0.0, 1)
    for number in range(100):
        care.note(Stage.DECODE, "leg", 1, [rejected(number, reason)])


def test_a_few_failures_are_no_share() -> None:
    care = limit()
    for number in range(19):
        care.note(Stage.DECODE, "leg", 1, [rejected(number, Reason.INTERNAL_ERROR)])
    with pytest.raises(TooManyFailedError):
        care.note(Stage.DECODE, "leg", 1, [rejected(19, Reason.INTERNAL_ERROR)])


def test_runs_stages_and_legs_count_for_themselves() -> None:
    one, other = limit(least=2), limit(least=2)
    for number in range(4):
        kind = (one, other)[number % 2], (Stage.DECODE, Stage.CUT)[number // 2]
        kind[0].note(kind[1], "leg", 1, [rejected(number, Reason.INTERNAL_ERROR)])
    one.note(Stage.CUT, "another leg", 1, [rejected(5, Reason.INTERNAL_ERROR)])
    with pytest.raises(TooManyFailedError, match="cut: 2 of 2"):
        one.note(Stage.CUT, "leg", 1, [rejected(6, Reason.INTERNAL_ERROR)])


Totals = Mapping[tuple[Stage, Reason], int]


def stopped(limit: FailureLimit, entered: int, rejections: Totals) -> str:
    """What is said of these totals of decoding; "" if the run goes on."""
    try:
        check_totals(limit, {Stage.DECODE: entered}, rejections, example)
    except TooManyFailedError as error:
        return str(error)
    return ""


def example(stage: Stage, reason: Reason) -> Rejection:
    return Rejection(stage=stage, reason=reason, subject="v7", detail="so\nit is")


def test_many_workers_of_whom_each_has_seen_too_few_are_stopped_by_their_totals() -> None:
    for _ in range(1_000):
        worker = limit()
        for number in range(19):
            worker.note(Stage.DECODE, "leg", 1, [rejected(number, Reason.UNREADABLE)])
    lost = {(Stage.DECODE, Reason.UNREADABLE): 18_999, (Stage.DECODE, Reason.CUT_FAILED): 1}
    said = stopped(limit(), 19_000, lost)
    assert said.startswith("decode: 19000 of all 19000 videos failed, a larger share than run.max_")
    assert "Mostly unreadable (18999 times), such as v7: so it is. Mend it and run the" in said
    assert not stopped(NO_LIMIT, 19_000, lost)


@given(
    share=st.floats(0.0, 0.99),
    least=st.integers(1, 30),
    lost=st.dictionaries(st.sampled_from(Reason), st.integers(0, 30)),
    good=st.integers(0, 100),
)
def test_totals_stop_the_run_where_one_worker_that_saw_all_would_have_stopped(
    share: float, least: int, lost: dict[Reason, int], good: int
) -> None:
    one, all_lost = limit(share, least), {(Stage.DECODE, why): n for why, n in lost.items()}
    entered = good + sum(lost.values())
    several = [rejected(place, why) for why, n in lost.items() for place in range(n)]
    try:
        one.note(Stage.DECODE, "leg", entered, several)
    except TooManyFailedError as error:
        told = re.sub(r"such as .*?\. Mend", "Mend", str(error))
        said = re.sub(r"such as .*?\. Mend", "Mend", stopped(one, entered, all_lost))
        numbers, _, rest = told.partition(" that a worker has seen failed")
        assert said == numbers.replace(" of ", " of all ", 1) + " failed" + rest
    else:
        assert not stopped(one, entered, all_lost)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--direct_num_workers=1",),
        ("--direct_running_mode=multi_processing", "--direct_num_workers=2"),
    ],
    ids=["threads", "one", "processes"],
)
def test_it_stops_the_run_wherever_the_workers_are(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Processes have to find this module.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *sys.path]))
    with pytest.raises(Exception, match=re.escape("run.max_failed_share = 0.2")) as caught:
        run(600, Care(limit=limit()), *arguments)
    assert "Mostly internal_error" in str(caught.value)


def test_it_does_not_stop_a_run_for_what_is_to_be_expected() -> None:
    # A third of the bright ones: a sixth of all. They come in any order, so the margin is wide.
    run(600, Care(limit=limit(0.26, 60)), dark=True)
    run(57, Care(limit=limit()))
    run(600, Care(limit=limit(share=1.0)))
