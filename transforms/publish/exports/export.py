"""Exporting a dataset: entries in, the files of one format and its README out."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from schemas.sample import SPLITS, Split
from transforms.publish.counts import counted
from transforms.publish.exports import NAMES
from transforms.publish.exports.base import Exporter, ExportSettings, Report
from transforms.publish.exports.easyr1 import EasyR1
from transforms.publish.exports.energon import Energon
from transforms.publish.exports.entries import read_entries, read_manifest, read_rewards
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
    folder is not new or lies in the dataset, or nothing would be in it; BadDatasetError if the
    dataset can't be read.
    """
    chosen = next((one for one in FORMATS if one.name == name), None)
    if chosen is None:
        meant = "".join(f"; did you mean {one}?" for one in get_close_matches(name, NAMES, 1))
        raise ExportError(
            f"--to {name}: there is no such format{meant}; known are {', '.join(NAMES)}"
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ExportError(f"--out {out}: exists and is not empty; name a new folder")
    refuse_inside(dataset, out)
    wanted = [one for one in chosen.splits if not settings.splits or one in settings.splits]
    if not wanted:
        raise ExportError(
            f"--split: {name} takes {', '.join(chosen.splits)}, none of which was asked for"
        )
    with building(out) as folder:
        exporter = chosen(folder, settings, dataset)
        for split, count in _not_taken(dataset, chosen, settings.splits).items():
            exporter.lost[f"of the split {split}, which {name} does not take"] = count
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
            chosen.guide,
            dict(sorted(exporter.files.counts.items())),
            dict(sorted(exporter.lost.items())),
        )
        write_text(folder / chosen.guide, _guide(exporter, report))
    return report


def refuse_inside(folder: Path, out: Path) -> None:
    """Raise ExportError if `out` would lie in a folder that is not ours to write into."""
    if out.resolve().is_relative_to(folder.resolve()):
        raise ExportError(f"--out {out}: lies in {folder}, what is exported; name another place")


def _not_taken(dataset: Path, chosen: type[Exporter], asked: Sequence[Split]) -> dict[Split, int]:
    """Of splits that were asked for, or are there where all were, and that a format has no place
    for: how many samples the dataset lists."""
    counts: dict[Split, int] = {}
    shards = read_manifest(dataset).shards
    for split in SPLITS:
        count = sum(one.samples for one in shards if one.path.startswith(f"{split}/"))
        if split not in chosen.splits and (split in asked if asked else count):
            counts[split] = count
    return counts


def _guide(exporter: Exporter, report: Report) -> str:
    """The lines that start a training, and what the format could not carry."""
    readme = exporter.readme()
    lines = [f"Install: `{readme.install}`"]
    lines += [f"Prepare: `{command}`" for command in readme.prepare]
    lines += [f"Train:   `{command}`" for command in readme.commands]
    lines += [f"Read:    `{command}`" for command in readme.reads]
    lines.append(f"Reward:  {readme.reward or 'none here'}")
    lines += [f"Note:    {note}" for note in readme.notes]
    files = [f"- `{name}`: {counted(count, 'row')}" for name, count in report.rows.items()]
    lost = [f"- {counted(count, 'sample')}: {what}" for what, count in report.lost.items()]
    lost = lost or ["- nothing else"]
    parts = [
        f"# proofreel, exported as {exporter.name}",
        "  \n".join(lines),
        "## Files",
        "\n".join(files),
        "## What this format does not carry",
        exporter.behind,
        "\n".join(lost),
    ]
    return "\n\n".join(parts) + "\n"
