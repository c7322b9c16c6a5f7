"""Exporting a dataset: entries in, the files of one format and its README out."""

from __future__ import annotations

from pathlib import Path

from transforms.publish.exports import NAMES
from transforms.publish.exports.base import Exporter, ExportSettings, Report
from transforms.publish.exports.easyr1 import EasyR1
from transforms.publish.exports.energon import Energon
from transforms.publish.exports.entries import read_entries, read_rewards
from transforms.publish.exports.hf import HuggingFace
from transforms.publish.exports.internvl import InternVL
from transforms.publish.exports.llama_factory import LlamaFactory
from transforms.publish.exports.llava import Llava
from transforms.publish.exports.ms_swift import MsSwift
from transforms.publish.exports.openrlhf import OpenRlhf
from transforms.publish.exports.qwen import Qwen
from transforms.publish.exports.trl import Trl
from transforms.publish.exports.verl import Verl
from transforms.publish.exports.video_r1 import VideoR1
from transforms.publish.exports.webdataset import WebDataset
from transforms.publish.files import building, write_bytes, write_text
from transforms.publish.manifest import REWARDS_FILE

__all__ = ["FORMATS", "NAMES", "ExportError", "export_dataset"]

FORMATS: tuple[type[Exporter], ...] = (
    WebDataset,
    Energon,
    HuggingFace,
    LlamaFactory,
    MsSwift,
    OpenRlhf,
    Trl,
    Verl,
    EasyR1,
    VideoR1,
    Qwen,
    InternVL,
    Llava,
)


class ExportError(ValueError):
    """An export can't be made as asked; the message says what to do."""


def export_dataset(dataset: Path, name: str, out: Path, settings: ExportSettings) -> Report:
    """Write a dataset in a format into the new folder `out`.

    It is built beside its place and renamed into it, so that what is there is whole. The same
    dataset and settings give the same bytes. Raises ExportError if the format is unknown, the
    folder is not new, or nothing would be in it; BadDatasetError if the dataset can't be read.
    """
    chosen = next((one for one in FORMATS if one.name == name), None)
    if chosen is None:
        raise ExportError(f"--to {name}: there is no such format; known are {', '.join(NAMES)}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ExportError(f"--out {out}: exists and is not empty; name a new folder")
    wanted = [one for one in chosen.splits if not settings.splits or one in settings.splits]
    if not wanted:
        raise ExportError(
            f"--split: {name} takes {', '.join(chosen.splits)}, none of which was asked for"
        )
    with building(out) as folder:
        exporter = chosen(folder, settings, dataset)
        try:
            for entry in read_entries(dataset, wanted):
                exporter.note_losses(entry)
                exporter.add(entry)
        finally:
            exporter.files.close()
        if not exporter.files.counts:
            why = "".join(f"; left out: {count}, {what}" for what, count in exporter.lost.items())
            raise ExportError(
                f"{dataset}: holds no sample of {', '.join(wanted)} that {name} takes{why}"
            )
        exporter.finish()
        write_bytes(folder / REWARDS_FILE, read_rewards(dataset))
        report = Report(
            dict(sorted(exporter.files.counts.items())), dict(sorted(exporter.lost.items()))
        )
        write_text(folder / "README.md", exporter.page(_readme(exporter, report)))
    return report


def _readme(exporter: Exporter, report: Report) -> str:
    """The lines that start a training, and what the format could not carry."""
    readme = exporter.readme()
    lines = [f"Install: `{readme.install}`"]
    lines += [f"Train:   `{command}`" for command in readme.commands]
    lines.append(f"Reward:  {readme.reward or 'none here'}")
    files = [f"- `{name}`: {count} rows" for name, count in report.rows.items()]
    lost = [f"- {count} samples: {what}" for what, count in report.lost.items()]
    lost = lost or ["- nothing"]
    parts = [
        f"# proofreel, exported as {exporter.name}",
        "  \n".join(lines),
        "## Files",
        "\n".join(files),
        "## What this format does not carry",
        "\n".join(lost),
    ]
    return "\n\n".join(parts) + "\n"
