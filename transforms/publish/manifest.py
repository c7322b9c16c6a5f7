"""manifest.json: what a dataset is made of, from what, by what, and what became of everything."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ConfigDict, Field

from schemas.base import Record
from schemas.rejection import SOURCES, UNITS, Reason, Rejection, Stage
from schemas.usage import Usage

MANIFEST_FILE = "manifest.json"
INDEX_FILE = "index.parquet"
REJECTED_FILE = "rejected.parquet"
CARD_FILE = "README.md"
REWARDS_FILE = "rewards.py"
CROISSANT_FILE = "croissant.json"
MAX_MANIFEST_BYTES = 64 << 20
"""Of a manifest that somebody else wrote."""
FILES = (INDEX_FILE, REJECTED_FILE, CARD_FILE, REWARDS_FILE, CROISSANT_FILE)
"""The files beside the shards; the manifest knows the hash of each."""

SAME_THING: Mapping[str, str] = {"input": "video"}
"""An input that gets through ingest is one video."""


class ShardEntry(Record):
    """A shard, as the manifest lists it."""

    path: str
    sha256: str
    bytes: int = Field(ge=0)
    samples: int = Field(ge=0)


class FunnelStage(Record):
    """What came into a stage, what came out, and why the rest did not."""

    model_config = ConfigDict(populate_by_name=True)

    stage: Stage
    unit: str
    in_: int = Field(alias="in", ge=0)
    """`in` in the file; Python keeps the word for itself."""
    out: int = Field(ge=0)
    rejected: dict[Reason, int]


class Derived(Record):
    """How a dataset came about that was made of others."""

    command: str
    options: dict[str, Any]
    """Those of the command that decide about the outcome."""
    parents: list[str]
    """SHA-256 of the manifests of what it was made of, sorted; each lies in the folder
    (`parent_file`), and so do those of their own parents."""


class Manifest(Record):
    """The whole of manifest.json. It holds no time of day, no host, no absolute path."""

    schema_version: str
    proofreel_version: str
    seed: int
    config: dict[str, Any]
    """The resolved configuration; `portable_config` takes machine paths out of it."""
    versions: dict[str, str]
    shards: list[ShardEntry]
    funnel: list[FunnelStage]
    usage: dict[str, Usage] = Field(default_factory=dict)
    """What the teacher's replies took, by stage; the same on a rerun that asks nothing again."""
    cost: float = 0.0
    """Of these tokens, at the prices of the configuration."""
    files: dict[str, str]
    """SHA-256 of the files in `FILES`, by name."""
    notes: list[str] = Field(default_factory=list)
    """What a user has to know, such as that weights were random."""
    derived: Derived | None = None
    """Only in the file if the dataset was made of others."""

    @property
    def samples(self) -> int:
        return sum(shard.samples for shard in self.shards)

    def to_text(self) -> str:
        """The text of manifest.json: sorted keys, indented for people, one newline at the end."""
        left_out = {"derived"} if self.derived is None else set()
        value = self.model_dump(mode="json", by_alias=True, exclude=left_out)
        text = json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
        return text + "\n"


RejectionCounts = Mapping[tuple[Stage, Reason], int]
"""How many rejections there are of each stage and reason."""


def rejection_counts(rejections: Iterable[Rejection]) -> RejectionCounts:
    """Count rejections that are in memory."""
    return Counter((one.stage, one.reason) for one in rejections)


def funnel_stage(stage: Stage, in_: int, out: int, counts: RejectionCounts) -> FunnelStage:
    """The funnel's line of a stage, from its counts and those of its rejections (others are
    ignored)."""
    rejected = {reason: count for (of, reason), count in sorted(counts.items()) if of == stage}
    return FunnelStage(stage=stage, unit=UNITS[stage], in_=in_, out=out, rejected=rejected)


def funnel_faults(funnel: Iterable[FunnelStage]) -> list[tuple[str, str]]:
    """Where a funnel does not add up: (stage, what is wrong).

    In every stage in = out + rejected. And what comes out of a stage comes into the next one that
    counts the same unit.
    """
    faults: list[tuple[str, str]] = []
    order = list(Stage)
    before: list[Stage] = []
    last_out: dict[str, tuple[str, int]] = {}
    for line in funnel:
        name = line.stage.value
        if line.stage in before:
            faults.append((name, "the stage is listed twice"))
        elif before and order.index(line.stage) < order.index(before[-1]):
            faults.append((name, f"the stage stands after {before[-1].value}, out of order"))
        before.append(line.stage)
        if line.unit != UNITS[line.stage]:
            faults.append((name, f"unit is {line.unit!r}, not {UNITS[line.stage]!r}"))
        lost = sum(line.rejected.values())
        if line.in_ != line.out + lost:
            faults.append(
                (name, f"in {line.in_} is not out {line.out} + rejected {lost} = {line.out + lost}")
            )
        negative = [reason.value for reason, count in line.rejected.items() if count < 0]
        if negative:
            faults.append((name, f"negative counts for {', '.join(sorted(negative))}"))
        unit = UNITS[line.stage]
        earlier, out = last_out.get(unit, ("", line.in_))
        made = line.stage in SOURCES
        if not made and out != line.in_:
            faults.append((name, f"in {line.in_} is not the {out} that came out of {earlier}"))
        if made and earlier:
            # Tasks come from two sides.
            last_out[unit] = (f"{earlier} and {name}", out + line.out)
        else:
            last_out[SAME_THING.get(unit, unit)] = (name, line.out)
    return faults


_LOCAL_PATH = re.compile(r"file:|~?[/\\]|[A-Za-z]:[/\\]")


def is_local_path(text: str) -> bool:
    """Whether a text is an absolute path of some machine: it means nothing anywhere else."""
    return bool(_LOCAL_PATH.match(text)) and "\n" not in text


def portable_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with absolute local paths cut down to their last part.

    What lies behind a path is told by ids and hashes; the path itself would make two equal runs
    on two machines different, and tell the world the names of folders.
    """
    return {name: _portable(value) for name, value in config.items()}


def _portable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return portable_config(value)
    if isinstance(value, (list, tuple)):
        return [_portable(one) for one in value]
    if isinstance(value, str) and is_local_path(value):
        return re.split(r"[/\\]", value.rstrip("/\\"))[-1]
    return value
