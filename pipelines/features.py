"""`proofreel features`: embed videos, so that runs can keep out what is alike to them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines.exits import EXIT_ASKED_WRONGLY, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK


def add_command(commands: Any, add_settings: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add the command to the command line."""
    features = commands.add_parser(
        "features",
        help="embed videos, such as those of benchmarks, to keep them out of runs",
        description="Embed videos and write DIR/features.parquet. A run with select.reference="
        "[DIR] rejects clips that are alike to one of them, and files with the same bytes. Run it "
        "again to go on where it was stopped.",
        allow_abbrev=False,
    )
    features.add_argument("inputs", metavar="INPUT", nargs="+", help="as for run")
    features.add_argument("--out", required=True, metavar="DIR", help="output folder")
    add_settings(features)
    features.set_defaults(command=_features)


def _features(options: argparse.Namespace, _: list[str]) -> int:
    from rich.console import Console

    from pipelines.config import ConfigError, load_config
    from pipelines.embed import make_features
    from pipelines.run import BusyError
    from runners.launch import prepare
    from transforms.features.embed import WeightsError
    from transforms.outcome import StopRunError
    from transforms.video.inputs import BadInputError

    console = Console()
    try:
        config = load_config(options.config, options.set)
        written = make_features(options.inputs, Path(options.out), config, prepare)
    except (ConfigError, BadInputError, WeightsError) as error:
        return _say(error, EXIT_ASKED_WRONGLY)
    except (BusyError, StopRunError) as error:
        return _say(error, EXIT_FAILED)
    except KeyboardInterrupt:
        return _say("interrupted; run the same command again to go on", EXIT_INTERRUPTED)
    for one in written.rejections:
        _say(f"left out: {one.parent or one.subject}: {one.reason} {one.detail}".strip(), EXIT_OK)
    if not written.videos:
        return _say("no video could be embedded; nothing was written", EXIT_FAILED)
    for line in (
        f"{written.videos} videos, {written.pictures} pictures: {written.path}",
        f"keep them out of a run: --set 'select.reference=[{options.out}]'",
    ):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    return EXIT_OK


def _say(error: object, code: int) -> int:
    print(f"proofreel: {error}", file=sys.stderr)
    return code
