"""Beam gets the same answers about its steps as from itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.coders import VarIntCoder
from apache_beam.pipeline import AppliedPTransform, PipelineVisitor
from apache_beam.transforms import core, userstate
from apache_beam.transforms.timeutil import TimeDomain
from built_jobs import ALL_LEGS, NOTHING, curate

from pipelines.config import load_config
from runners import signatures

COUNT = userstate.CombiningValueStateSpec("count", VarIntCoder(), sum)
END = userstate.TimerSpec("end", TimeDomain.WATERMARK)
COUNTED, ENDED = beam.DoFn.StateParam(COUNT), beam.DoFn.TimerParam(END)


class Counting(beam.DoFn):
    def process(self, element: Any, weight: int = 1, count: Any = COUNTED) -> Iterator[Any]:
        count.add(weight)
        yield element


class Ending(Counting):
    @userstate.on_timer(END)
    def at_end(self, end: Any = ENDED) -> None:
        end.clear()


class Methods:
    def with_state(self, pair: Any, count: Any = COUNTED) -> Any:
        count.add(1)
        return [pair]

    def without_state(self, pair: Any, times: int = 2) -> Any:
        return [pair] * times


def function(pair: Any, times: int = 2) -> Any:
    return [pair] * times


def steps_of_a_run() -> list[core.DoFn]:
    """Every step of the whole way with all legs."""
    pipeline = beam.Pipeline()
    _ = pipeline | "Curate" >> curate(load_config(None, ALL_LEGS), NOTHING)
    found = []

    class Visitor(PipelineVisitor):
        def visit_transform(self, node: AppliedPTransform) -> None:
            if isinstance(node.transform, beam.ParDo):
                found.append(node.transform.fn)

    pipeline.visit(Visitor())
    return found


def methods_of(step: core.DoFn) -> list[str]:
    return [name for name in dir(step) if callable(getattr(step, name)) and name[0] != "_"]


def assert_same(step: core.DoFn) -> None:
    assert signatures.specs_of(step) == signatures.beams_specs(step)
    for name in methods_of(step):
        method = getattr(step, name)
        assert signatures.arguments_of(method) == signatures.beams_arguments(method), name


def test_steps_of_a_run() -> None:
    steps = steps_of_a_run()
    assert len(steps) > 150
    for step in steps:
        assert_same(step)


@pytest.mark.parametrize("times", [1, 2])
def test_steps_with_state_and_timers(times: int) -> None:
    methods = Methods()
    functions = (methods.without_state, methods.with_state, methods.without_state, function)
    wrapped = [beam.FlatMap(one).fn for one in functions]
    steps = [Counting(), Ending(), *wrapped, *(beam.Map(one, 3).fn for one in functions)]
    for step in steps * times:
        assert_same(step)
    assert signatures.specs_of(steps[1]) == ({COUNT}, {END})
    assert signatures.specs_of(wrapped[1]) == ({COUNT}, set())
    assert signatures.specs_of(wrapped[2]) == (set(), set())


def test_an_answer_is_the_askers_own() -> None:
    """Beam changes the lists that it gets."""
    names, defaults = signatures.arguments_of(Counting().process)
    names.clear()
    defaults.clear()
    signatures.specs_of(Counting())[0].clear()
    assert_same(Counting())


def test_from_then_on_beam_asks_here(monkeypatch: pytest.MonkeyPatch) -> None:
    class Another(Ending):
        pass

    monkeypatch.setattr(core, "get_function_args_defaults", signatures.beams_arguments)
    monkeypatch.setattr(userstate, "get_dofn_specs", signatures.beams_specs)
    signatures.read_signatures_once()
    beam.ParDo(Another())
    assert Another in signatures._specs
