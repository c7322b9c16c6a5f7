"""Beam reads what a step's methods take some five times a step and process, each time of some
thirty methods, to find state and timers. That is a third of what a run takes beside its work.

What a function takes does not change, so here it is read once.
"""

from __future__ import annotations

import functools
import types
from typing import Any

from apache_beam.transforms import core, userstate

beams_arguments = core.get_function_args_defaults
beams_specs = userstate.get_dofn_specs


def read_signatures_once() -> None:
    """From here on, in this process. Before a pipeline is built, or a worker begins."""
    core.get_function_args_defaults = arguments_of
    userstate.get_dofn_specs = specs_of


def arguments_of(f: Any) -> tuple[list[str], list[Any]]:
    """The names of the arguments without the bound ones, and the defaults, as Beam gives them."""
    if type(f) is not types.MethodType or type(f.__func__) is not types.FunctionType:
        return beams_arguments(f)
    names, defaults = _method_arguments(f.__func__)
    return list(names), list(defaults)


@functools.cache
def _method_arguments(function: Any) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    names, defaults = beams_arguments(types.MethodType(function, object()))
    return tuple(names), tuple(defaults)


def specs_of(dofn: core.DoFn) -> tuple[set[Any], set[Any]]:
    """The state and the timers that a step uses, as Beam gives them."""
    if _is_its_own(dofn):
        return beams_specs(dofn)
    kind = type(dofn)
    if kind not in _specs:
        _specs[kind] = beams_specs(dofn)
    states, timers = _specs[kind]
    return set(states), set(timers)


_specs: dict[type[core.DoFn], tuple[set[Any], set[Any]]] = {}


def _is_its_own(step: core.DoFn) -> bool:
    """Whether a step may take other things than the next of its class: it stands for another, or is
    made of a function, and takes what that takes."""
    kind = type(step)
    if kind is core.CallableWrapperDoFn:
        _, defaults = step.get_function_arguments("process")
        return any(isinstance(default, core._DoFnParam) for default in defaults)
    stands_for_another = (
        kind.__getattribute__ is not object.__getattribute__
        or hasattr(kind, "__getattr__")
        or hasattr(kind, "_inspect_process")
    )
    methods = (types.MethodType, types.FunctionType)
    return stands_for_another or any(isinstance(one, methods) for one in vars(step).values())
