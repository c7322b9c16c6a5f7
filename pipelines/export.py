"""`proofreel export`: a finished dataset in the form that a trainer takes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pydantic import ValidationError
from rich.console import Console

from schemas.sample import SPLITS
from transforms.publish.counts import counted
from transforms.publish.exports import NAMES

OPTIONS = {
    "system": "--system",
    "fps": "--fps",
    "max_frames": "--max-frames",
    "max_side_px": "--max-side",
}
"""The settings that are options of their own, by what the settings call them."""


def add_export(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument(
        "folder", metavar="DIR", help="output folder of a run, or the dataset in it"
    )
    parser.add_argument("--to", required=True, metavar="FORMAT", help=", ".join(NAMES))
    parser.add_argument("--out", required=True, metavar="OUT", help="a new folder")
    parser.add_argument(
        "--split", metavar="SPLIT", action="append", default=[], choices=SPLITS,
        help="only this split (repeatable); all that the format takes unless said",
    )  # fmt: skip
    parser.add_argument(
        "--system", metavar="TEXT",
        help="the system's turn; unless said it tells the form of replies; '' for none",
    )  # fmt: skip
    parser.add_argument(
        "--fps", type=float,
        help="where frames go as images: frames a second (2)",
    )  # fmt: skip
    parser.add_argument(
        "--max-frames", type=int,
        help="where frames go as images: most of a clip (16)",
    )  # fmt: skip
    parser.add_argument(
        "--max-side", type=int, dest="max_side_px", metavar="PX",
        help="where frames go as images: longest side (448)",
    )  # fmt: skip


def export(options: argparse.Namespace, console: Console) -> int:
    """Export, and say what came of it; gives the exit code back."""
    from transforms.publish.exports.base import ExportSettings
    from transforms.publish.exports.entries import BadDatasetError
    from transforms.publish.exports.export import ExportError, export_dataset, refuse_inside

    folder, out = Path(options.folder), Path(options.out)
    dataset = folder / "dataset" if (folder / "dataset").is_dir() else folder
    if not dataset.is_dir():
        print(f"proofreel: {folder}: no such folder", file=sys.stderr)
        return 2
    given = {name: getattr(options, name) for name in OPTIONS if getattr(options, name) is not None}
    try:
        settings = ExportSettings(splits=tuple(options.split), **given)
    except ValidationError as error:
        for one in error.errors(include_url=False):
            print(f"proofreel: {OPTIONS[str(one['loc'][0])]}: {one['msg']}", file=sys.stderr)
        return 2
    try:
        refuse_inside(folder, out)
        if _is_of_a_run(dataset):
            refuse_inside(dataset.parent, out)
        report = export_dataset(dataset, options.to, out, settings)
    except (ExportError, BadDatasetError, OSError) as error:
        print(f"proofreel: {error}", file=sys.stderr)
        return 2 if isinstance(error, ExportError) else 1
    for name, count in report.rows.items():
        console.print(
            f"{name}: {counted(count, 'row')}", highlight=False, markup=False, soft_wrap=True
        )
    for what, count in report.lost.items():
        line = f"{counted(count, 'sample')}: {what}"
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    console.print(
        f"{out / report.guide}: how to train on it", highlight=False, markup=False, soft_wrap=True
    )
    return 0


def _is_of_a_run(dataset: Path) -> bool:
    """Whether a dataset lies in the folder of the run that made it."""
    return dataset.resolve().name == "dataset" and (dataset.resolve().parent / "work").is_dir()
