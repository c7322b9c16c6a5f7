"""Which of the words on a command line are Beam's, and options of Beam that are kept in a file."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions, _BeamArgumentParser

import runners.dataflow
import runners.flink  # noqa: F401 - it, too
from runners.errors import BadOptionsError


def _beam_parser() -> Any:
    """Knows all of Beam's options."""
    known = _BeamArgumentParser(allow_abbrev=False, add_help=False, conflict_handler="resolve")
    for options in PipelineOptions.__subclasses__():
        options._add_argparse_args(known)
    return known


def _actions(parser: Any) -> dict[str, Any]:
    """What is done for an option, by its text."""
    return {text: action for action in parser._actions for text in action.option_strings}


def split_beam_arguments(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Beam's own options apart from the rest, `--key value` as well as `--key=value`.

    Beam's parsers are asked which options they know, so that an option with a typo stays in the
    rest, where it is an error.
    """
    actions = _actions(_beam_parser())
    beam_arguments: list[str] = []
    rest: list[str] = []
    waiting = list(arguments)
    while waiting:
        argument = waiting.pop(0)
        name, equals, _ = argument.partition("=")
        action = actions.get(name)
        if action is None:
            rest.append(argument)
        elif equals or action.nargs == 0 or not waiting:
            beam_arguments.append(argument)
        else:
            beam_arguments.append(f"{argument}={waiting.pop(0)}")
    return beam_arguments, rest


def with_profile(options: Mapping[str, Any], where: str, typed: Sequence[str]) -> list[str]:
    """Beam's options as a profile keeps them, by name without dashes, with those typed on top.

    What is typed takes the place of what the profile says, of lists also. `where` names the profile
    in errors. Raises BadOptionsError.
    """
    parser = _beam_parser()
    actions = _actions(parser)
    said = {actions[one.partition("=")[0]].dest for one in typed}
    arguments: list[str] = []
    for name, value in options.items():
        action = actions.get(f"--{name}")
        if action is None:
            raise BadOptionsError(f"{where}: Beam has no option {name!r}")
        words = _as_arguments(parser, action, name, value, where)
        if action.dest not in said:
            arguments += words
    return [*arguments, *typed]


def _as_arguments(parser: Any, action: Any, name: str, value: Any, where: str) -> list[str]:
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise BadOptionsError(f"{where}: {name}: is true or false (got {value!r})")
        return [f"--{name}"] if value else []
    several = value if isinstance(value, list) else [value]
    if not several or any(not isinstance(one, str | int | float) for one in several):
        raise BadOptionsError(f"{where}: {name}: is a value or a list of values (got {value!r})")
    for one in several:
        try:
            parser._check_value(action, parser._get_value(action, str(one)))
        except argparse.ArgumentError as error:
            raise BadOptionsError(f"{where}: {name}: {error.message}") from error
    return [f"--{name}={one}" for one in several]
