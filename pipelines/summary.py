"""What a person is told when a run is done: what there is, what it took, why the rest is not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pipelines.records import find_record
from pipelines.times import seconds, time_table
from pipelines.told import LegTime
from schemas.base import ID_HEX_CHARS
from schemas.case import Case, Footage
from schemas.clip import Clip
from schemas.rejection import OPTIONAL
from schemas.usage import Usage
from transforms.progress import Replied, Slowest
from transforms.publish.index import table_rows
from transforms.publish.manifest import REJECTED_FILE, FunnelStage, Manifest

_ID = re.compile(rf"([vctr][0-9a-f]{{{ID_HEX_CHARS}}})(-[qk][0-9]+)?")
"""An id of ours; what was not made yet is named after its clip, with a number."""


def print_summary(
    console: Console,
    manifest: Manifest,
    folder: Path,
    replied: Replied,
    times: Sequence[LegTime] = (),
    slow: Sequence[Slowest] = (),
    place: str = "",
) -> None:
    """Where the dataset is, what is in it, what the replies took and where the time went.

    `replied`, `times` and `slow` are those of this run. `place`: where the dataset is, if `folder`
    has only its table of rejections.
    """
    if times:
        console.print(time_table(times, console.width))
    for one in slow:
        name = named(folder.parent / "work" / "records", one.subject, one.parent)
        said = f"slowest {one.leg}: {seconds(one.busy_s)}, {name}"
        console.print(said, highlight=False, markup=False, soft_wrap=True)
    console.print(funnel_table(manifest.funnel))
    console.print(f"dataset: {place or folder}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"holds: {held(manifest)}", highlight=False)
    if replied.asked or replied.reused:
        console.print(replies_line(manifest, replied), highlight=False, soft_wrap=True)
    for line in examples(folder):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def held(manifest: Manifest) -> str:
    """What a dataset holds: samples of each split, and shards."""
    splits: dict[str, int] = {}
    for shard in manifest.shards:
        split = shard.path.split("/")[0]
        splits[split] = splits.get(split, 0) + shard.samples
    samples = ", ".join(f"{count} {split}" for split, count in splits.items()) or "no samples"
    return f"{samples} in {len(manifest.shards)} shards"


def replies_line(manifest: Manifest, replied: Replied) -> str:
    """How many replies this run asked for and how many it found, with their tokens and cost."""
    total = sum(manifest.usage.values(), Usage())
    said = f"teacher: {replied.asked} replies asked for, {replied.reused} found in the store"
    if total.prompt_tokens or total.completion_tokens:
        said += (
            f"; {replied.prompt_tokens:,} prompt and {replied.completion_tokens:,} completion "
            f"tokens in this run, {total.prompt_tokens:,} and {total.completion_tokens:,} in all"
        )
    if manifest.cost or replied.cost:
        said += f"; cost {replied.cost:.4g} in this run, {manifest.cost:.4g} in all"
    return said


def funnel_table(funnel: Sequence[FunnelStage]) -> Table:
    """The funnel as a table for the terminal."""
    table = Table("stage", "unit", title="funnel")
    table.add_column("in", justify="right")
    table.add_column("out", justify="right")
    table.add_column("rejected")
    for stage in funnel:
        reasons = ", ".join(f"{reason} {count}" for reason, count in stage.rejected.items())
        table.add_row(str(stage.stage), stage.unit, str(stage.in_), str(stage.out), reasons)
    return table


def examples(dataset: Path) -> list[str]:
    """One example for every reason that something was rejected for, with the file that it is of."""
    return [f"{where} {why}, such as {said}" for (where, why), said in _examples(dataset).items()]


def _examples(dataset: Path) -> dict[tuple[str, str], str]:
    first: dict[tuple[str, str], dict[str, str]] = {}
    for row in table_rows(dataset / REJECTED_FILE):
        first.setdefault((row["stage"], row["reason"]), row)
    records = dataset.parent / "work" / "records"
    return {
        why: f"{named(records, row['subject'], row['parent'])}: {row['detail']}"
        for why, row in first.items()
    }


def named(records: Path, subject: str, parent: str) -> str:
    """What was rejected, in words that a person knows: its file, then its id if it has one."""
    if not _ID.fullmatch(subject):
        return subject
    # A video that did not decode has its file's name for a parent.
    by_parent = file_of(records, parent) if _ID.fullmatch(parent) else parent
    name = file_of(records, subject) or by_parent
    return f"{name} ({subject})" if name else subject


def file_of(records: Path, identity: str) -> str:
    """The video file that a record of a finished run comes from; "" if that is not known."""
    found = _ID.fullmatch(identity)
    if found is None:
        return ""
    identity = found[1]
    if identity[0] == "c":
        text = find_record(records, "clip", identity)
        identity = "" if text is None else Clip.from_json(text).video_id
    if identity[:1] == "v":
        text = find_record(records, "video", identity)
        return "" if text is None else Footage.from_json(text).video.source.uri
    if identity[:1] == "t":
        text = find_record(records, "case", identity)
        return "" if text is None else Case.from_json(text).scene.video.source.uri
    return ""


def why_empty(manifest: Manifest, dataset: Path) -> str:
    """Why a dataset holds no sample: where nothing came out, and of what; "" if it holds some."""
    if any(shard.samples for shard in manifest.shards):
        return ""
    for stage in manifest.funnel:
        if stage.in_ and not stage.out and stage.stage not in OPTIONAL and stage.rejected:
            reason, count = max(stage.rejected.items(), key=lambda one: one[1])
            example = _examples(dataset)[stage.stage, reason]
            return (
                f"the dataset is empty: nothing came out of {stage.stage}, mostly {reason} "
                f"({count} of {stage.in_} {stage.unit}s), such as {example}"
            )
    return "the dataset is empty: nothing came in that a question could be asked about"
