"""An element that can't say what it stands for costs itself alone."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to

from schemas.rejection import Reason, Rejection, Stage
from transforms.legs import OUT, REJECTED, TALLY, Leg
from transforms.outcome import Outcome
from transforms.progress import ProgressLog, Step
from transforms.subjects import subjects_told


@dataclass(frozen=True)
class Film:
    name: str | None


class Unspeakable:
    def __repr__(self) -> str:
        raise KeyError("repr")


@dataclass(frozen=True)
class Named:
    id: str


class Grouped:
    """As Beam hands over what it grouped: to be iterated over, and no list."""

    def __init__(self, values: list[Any]) -> None:
        self._values = values

    def __iter__(self) -> Any:
        return iter(self._values)


def subjects(element: Any) -> list[tuple[str, str]]:
    if isinstance(element, tuple):
        return [(one.name.upper(), element[0]) for one in element[1]]
    if isinstance(element, list):
        return [(one.name.upper(), "") for one in element]
    return [(element.name.upper(), "")]


def work(element: Any) -> Outcome[str]:
    return Outcome([name for name, _ in subjects(element)], entered=len(subjects(element)))


def test_a_leg_rejects_it_once_and_the_counts_balance(tmp_path: Path) -> None:
    log = ProgressLog(str(tmp_path / "progress"))
    elements = [Film("a"), Film(None), Film("b"), 3]
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        done = pipeline | beam.Create(elements) | Leg(Stage.SELECT, work, subjects, log)
        told = done[REJECTED] | beam.Map(_told)
        assert_that(done[OUT], equal_to(["A", "B"]), label="out")
        assert_that(
            told,
            equal_to([("Film", "'NoneType' has no 'upper'"), ("int", "'int' has no 'name'")]),
            label="rejected",
        )
        assert_that(done[TALLY], equal_to([("select", 4)]), label="tally")
    lines, _ = log.read_from(0)
    steps = [line for line in lines if isinstance(line, Step)]
    assert sum(step.entered for step in steps) == 4
    assert sum(step.rejected for step in steps) == 2


def _told(one: Rejection) -> tuple[str, str]:
    assert (one.stage, one.reason) == (Stage.SELECT, Reason.INTERNAL_ERROR)
    words = one.detail.removeprefix("AttributeError: ").replace(
        " object has no attribute", " has no"
    )
    return one.subject.split()[0], words


def test_of_a_group_each_part_is_told_of() -> None:
    group = [Film("a"), Film(None), Film("b")]
    assert [name.split()[0] for name, _ in subjects_told(subjects, group)] == ["A", "Film", "B"]
    keyed = subjects_told(subjects, ("sha", Grouped(group)))
    assert [(name.split()[0], parent) for name, parent in keyed] == [
        ("A", "sha"),
        ("Film", ""),
        ("B", "sha"),
    ]


def test_what_stands_in_its_place_is_the_same_each_time() -> None:
    [one], [again], [other] = (
        subjects_told(subjects, element) for element in ([Film(None)], [Film(None)], [object()])
    )
    assert one == again != other
    assert subjects_told(subjects, [object()]) == [other], "no address of memory"
    assert subjects_told(subjects, Named("c1")) == [("c1", "")]
    assert subjects_told(subjects, Unspeakable()) == [("Unspeakable", "")]


def test_a_name_that_is_none_is_told_otherwise() -> None:
    [(name, parent)] = subjects_told(lambda one: [(one, "")], 7)
    assert name.startswith("int ")
    assert parent == ""


def test_what_is_about_the_machine_is_raised() -> None:
    def full(element: Any) -> Any:
        raise OSError(errno.EIO, "no disk")

    with pytest.raises(OSError, match="no disk"):
        subjects_told(full, 1)
