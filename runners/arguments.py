"""Which of the words on a command line are Beam's."""

from __future__ import annotations

from collections.abc import Sequence

from apache_beam.options.pipeline_options import PipelineOptions, _BeamArgumentParser

import runners.flink  # noqa: F401 - it adds options of its own to Beam's


def split_beam_arguments(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Beam's own options apart from the rest, `--key value` as well as `--key=value`.

    Beam's parsers are asked which options they know, so that an option with a typo stays in the
    rest, where it is an error.
    """
    known = _BeamArgumentParser(allow_abbrev=False, add_help=False, conflict_handler="resolve")
    for options in PipelineOptions.__subclasses__():
        options._add_argparse_args(known)
    actions = {text: action for action in known._actions for text in action.option_strings}
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
