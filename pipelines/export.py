"""`proofreel export`: a finished dataset in the form that a trainer takes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from schemas.sample import SPLITS
from transforms.publish.exports.base import ExportSettings
from transforms.publish.exports.entries import BadDatasetError
from transforms.publish.exports.export import NAMES, ExportError, export_dataset

_DEFAULTS = ExportSettings()


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
        "--system", default=_DEFAULTS.system, metavar="TEXT",
        help="the system's turn, which tells the form of replies; '' for none",
    )  # fmt: skip
    parser.add_argument(
        "--fps", type=float, default=_DEFAULTS.fps,
        help="where frames go as images: frames a second (%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--max-frames", type=int, default=_DEFAULTS.max_frames,
        help="where frames go as images: most of a clip (%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--max-side", type=int, default=_DEFAULTS.max_side_px, metavar="PX",
        help="where frames go as images: longest side (%(default)s)",
    )  # fmt: skip


def export(options: argparse.Namespace, console: Console) -> int:
    """Export, and say what came of it; gives the exit code back."""
    folder, out = Path(options.folder), Path(options.out)
    dataset = folder / "dataset" if (folder / "dataset").is_dir() else folder
    try:
        settings = ExportSettings(
            splits=tuple(options.split),
            system=options.system,
            fps=options.fps,
            max_frames=options.max_frames,
            max_side_px=options.max_side,
        )
        report = export_dataset(dataset, options.to, out, settings)
    except (ExportError, BadDatasetError, ValueError, OSError) as error:
        print(f"proofreel: {error}", file=sys.stderr)
        return 2 if isinstance(error, ExportError) else 1
    for name, count in report.rows.items():
        console.print(f"{name}: {count} rows", highlight=False, markup=False)
    for what, count in report.lost.items():
        console.print(f"{count} samples: {what}", highlight=False, markup=False)
    console.print(f"{out / 'README.md'}: how to train on it", highlight=False, markup=False)
    return 0
