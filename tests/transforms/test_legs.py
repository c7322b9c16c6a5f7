"""Legs in a real Beam pipeline: what goes wrong with one element costs only that element."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to

from schemas.rejection import Reason, Rejected, Rejection, Stage
from transforms.legs import OUT, REJECTED, TALLY, Leg
from transforms.outcome import Outcome, rejection, rejections
from transforms.progress import ProgressLog, Step


@dataclass(frozen=True)
class Doubler:
    """Numbers are doubled; some words go wrong, each in its own way."""

    fatal: int = 0

    def __call__(self, element: str) -> Outcome[int]:
        if element.isdigit():
            return Outcome([int(element) * 2])
        if element == "reject":
            raise Rejected(Reason.TOO_DARK, "at night")
        if element == "several":
            end = rejection(Stage.SELECT, ("part", "several"), Rejected(Reason.FROZEN, "ice"))
            return Outcome([1, 2], [end], 3)
        if element == "fatal":
            raise OSError(self.fatal, os.strerror(self.fatal))
        if element == "missing":
            raise FileNotFoundError(errno.ENOENT, "no such file")
        if element == "group":
            raise Rejected(Reason.CUT_FAILED)
        raise KeyError(element)


def subjects(element: str) -> list[tuple[str, str]]:
    if element == "group":
        return [("first", element), ("second", element)]
    return [(element, "parent")]


def run_leg(elements: list[str], work: Doubler, log: Path | None = None, **expected: list) -> None:
    progress = ProgressLog(str(log) if log else "")
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        ends = pipeline | beam.Create(elements) | Leg(Stage.SELECT, work, subjects, progress)
        for name, values in expected.items():
            assert_that(ends[name], equal_to(values), label=name)


def rejected(subject: str, reason: Reason, detail: str, parent: str = "parent") -> Rejection:
    return Rejection(
        stage=Stage.SELECT, reason=reason, subject=subject, parent=parent, detail=detail
    )


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log") / "progress"


def test_one_bad_element_costs_only_itself(log: Path) -> None:
    run_leg(
        ["1", "reject", "2", "oops", "several", "missing", "group", "3"],
        Doubler(),
        log,
        **{
            OUT: [2, 4, 1, 2, 6],
            REJECTED: [
                rejected("reject", Reason.TOO_DARK, "at night"),
                rejected("oops", Reason.INTERNAL_ERROR, "KeyError: 'oops'"),
                rejected("part", Reason.FROZEN, "ice", "several"),
                rejected(
                    "missing",
                    Reason.INTERNAL_ERROR,
                    "FileNotFoundError: [Errno 2] no such file",
                ),
                rejected("first", Reason.CUT_FAILED, "", "group"),
                rejected("second", Reason.CUT_FAILED, "", "group"),
            ],
            # 5 out + 6 rejected.
            TALLY: [("select", 11)],
        },
    )
    steps, _ = ProgressLog(str(log)).read_from(0)
    counted = [one for one in steps if isinstance(one, Step)]
    assert {one.stage for one in counted} == {Stage.SELECT}
    assert sum(one.entered for one in counted) == 11
    assert sum(one.rejected for one in counted) == 6


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO])
def test_what_would_hit_every_element_stops_the_run(number: int) -> None:
    with pytest.raises(Exception, match=os.strerror(number)):
        run_leg(["1", "fatal", "2"], Doubler(number))


def test_details_are_bounded() -> None:
    run_leg(
        ["x" * 5_000],
        Doubler(),
        **{
            REJECTED: [
                rejected("x" * 5_000, Reason.INTERNAL_ERROR, ("KeyError: '" + "x" * 5_000)[:500])
            ]
        },
    )


def test_rejections_name_all_subjects_of_an_element() -> None:
    found = list(rejections(Stage.CUT, [("a", "v"), ("b", "v")], Reason.CUT_FAILED, "why"))
    assert [(one.subject, one.parent, one.detail) for one in found] == [
        ("a", "v", "why"),
        ("b", "v", "why"),
    ]
    assert len({one.id for one in found}) == 2
