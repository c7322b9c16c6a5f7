"""How a dataset follows from those that it was made of: sums of funnels, settings, and their check.

The manifests of all forebears lie in the folder of a derived dataset, each under the hash that the
next one names. So the whole way can be followed and counted again without them.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from schemas.base import canonical_json
from schemas.rejection import SOURCES, UNITS, Reason, Rejection, Stage
from schemas.usage import Usage
from transforms.publish.check_shards import Fault
from transforms.publish.manifest import (
    CARD_FILE,
    MANIFEST_FILE,
    MAX_MANIFEST_BYTES,
    REWARDS_FILE,
    SAME_THING,
    FunnelStage,
    Manifest,
    funnel_faults,
)

INHERITED_FILE = re.compile(r"parent-[0-9a-f]{64}\.(json|md)")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def parent_file(sha256: str) -> str:
    """Name of the manifest of a parent, given its hash."""
    return f"parent-{sha256}.json"


def parent_card(sha256: str) -> str:
    """Name of the card of a parent, given the hash of its manifest."""
    return f"parent-{sha256}.md"


# Funnels -----------------------------------------------------------------------------------------


def derived_funnel(
    parents: Sequence[Manifest], samples: int, rejections: Iterable[Rejection]
) -> list[FunnelStage]:
    """The parents' funnels, line by line, and at the end what became of their samples.

    `samples` are those of the derived dataset, `rejections` those of the derivation itself. Of a
    parent that is derived itself, its line `derive` goes on: what came into it comes into this one.
    """
    lost = Counter(rejection.reason for rejection in rejections)
    lost.update(_lost_before(parents))
    line = FunnelStage(
        stage=Stage.DERIVE,
        unit=UNITS[Stage.DERIVE],
        in_=sum(map(_samples_entered, parents)),
        out=samples,
        rejected=dict(sorted(lost.items())),
    )
    return [*_summed([parent.funnel for parent in parents]), line]


def _derive_line(manifest: Manifest) -> FunnelStage | None:
    return next((line for line in manifest.funnel if line.stage is Stage.DERIVE), None)


def _samples_entered(parent: Manifest) -> int:
    line = _derive_line(parent)
    return parent.samples if line is None else line.in_


def _lost_before(parents: Iterable[Manifest]) -> Counter[Reason]:
    lost: Counter[Reason] = Counter()
    for parent in parents:
        line = _derive_line(parent)
        lost.update({} if line is None else line.rejected)
    return lost


def _summed(funnels: Sequence[Sequence[FunnelStage]]) -> list[FunnelStage]:
    present = {line.stage for funnel in funnels for line in funnel} - {Stage.DERIVE}
    stages = [stage for stage in Stage if stage in present]
    columns = zip(*(_with_all(funnel, stages) for funnel in funnels), strict=True)
    return [_sum(lines) for lines in columns]


def _with_all(funnel: Iterable[FunnelStage], stages: Iterable[Stage]) -> Iterator[FunnelStage]:
    """A funnel's line of each stage; one that it went without let everything pass."""
    lines = {line.stage: line for line in funnel}
    came_out: Counter[str] = Counter()
    for stage in stages:
        unit = UNITS[stage]
        passing = 0 if stage in SOURCES else came_out[unit]
        line = lines.get(
            stage, FunnelStage(stage=stage, unit=unit, in_=passing, out=passing, rejected={})
        )
        if stage in SOURCES:
            came_out[unit] += line.out
        else:
            came_out[SAME_THING.get(unit, unit)] = line.out
        yield line


def _sum(lines: Sequence[FunnelStage]) -> FunnelStage:
    lost: Counter[Reason] = Counter()
    for line in lines:
        lost.update(line.rejected)
    return FunnelStage(
        stage=lines[0].stage,
        unit=lines[0].unit,
        in_=sum(line.in_ for line in lines),
        out=sum(line.out for line in lines),
        rejected=dict(sorted(lost.items())),
    )


# Settings ----------------------------------------------------------------------------------------


def agreed(configs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The settings that all configurations have in common; sections stay, if only empty."""
    found: dict[str, Any] = {}
    for name, value in configs[0].items():
        values = [config[name] for config in configs if name in config]
        if len(values) < len(configs):
            continue
        if all(isinstance(one, Mapping) and one for one in values):
            found[name] = agreed(values)
        elif all(one == value for one in values):
            found[name] = value
    return found


def derived_config(parents: Sequence[Manifest], shard_bytes: int) -> dict[str, Any]:
    """What the parents agree on, with the size of the derived dataset's own shards."""
    config = agreed([parent.config for parent in parents])
    publish = config.get("publish")
    kept = publish if isinstance(publish, Mapping) else {}
    return {**config, "publish": {**kept, "shard_bytes": shard_bytes}}


def derived_usage(parents: Iterable[Manifest]) -> dict[str, Usage]:
    """What the replies in all parents took, by stage."""
    total: dict[str, Usage] = {}
    for parent in parents:
        for stage, usage in parent.usage.items():
            total[stage] = total.get(stage, Usage()) + usage
    return total


def differing(
    configs: Sequence[Mapping[str, Any]], prefix: str = ""
) -> Iterator[tuple[str, list[str]]]:
    """The settings on which configurations don't agree, each with their values as JSON."""
    for name in sorted({name for config in configs for name in config}):
        values = [config.get(name) for config in configs]
        if all(isinstance(one, Mapping) and one for one in values):
            sections = [one for one in values if isinstance(one, Mapping)]
            yield from differing(sections, f"{prefix}{name}.")
        elif any(one != values[0] for one in values):
            said = [
                canonical_json(config[name]) if name in config else "not set" for config in configs
            ]
            yield f"{prefix}{name}", said


# Checking ----------------------------------------------------------------------------------------


@dataclass
class Lineage:
    """The forebears of a dataset, and what is wrong with how it follows from them."""

    faults: list[Fault] = field(default_factory=list)
    runs: list[Manifest] = field(default_factory=list)
    """The manifests of the runs that it all began with; its own if it is not derived."""


def lineage_of(folder: Path, manifest: Manifest) -> Lineage:
    """Follow a dataset back to the runs. That the files have the hashes which the manifest lists
    is for the caller to see to."""
    found = Lineage()
    waiting = [(MANIFEST_FILE, manifest)]
    seen: set[str] = set()
    while waiting:
        name, one = waiting.pop()
        if one.derived is None:
            found.runs.append(one)
            if _derive_line(one) is not None:
                found.faults.append(
                    Fault(f"{name}: funnel: derive", "the dataset names no parents")
                )
            continue
        parents = []
        for sha256 in one.derived.parents:
            if not _SHA256.fullmatch(sha256) or manifest.files.get(parent_file(sha256)) != sha256:
                found.faults.append(
                    Fault(f"{MANIFEST_FILE}: files", f"does not list {parent_file(sha256)}")
                )
                continue
            try:
                parents.append(_read_parent(folder, sha256))
            except ValueError as error:
                found.faults.append(Fault(parent_file(sha256), str(error)))
                continue
            if sha256 not in seen:
                seen.add(sha256)
                found.faults += _parent_faults(manifest, sha256, parents[-1])
                waiting.append((parent_file(sha256), parents[-1]))
        if len(parents) == len(one.derived.parents):
            found.faults += [Fault(f"{name}: {at}", what) for at, what in _sum_faults(one, parents)]
    return found


def _read_parent(folder: Path, sha256: str) -> Manifest:
    path = folder / parent_file(sha256)
    try:
        if not path.is_file():
            raise ValueError("is not there")
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise ValueError(f"is larger than {MAX_MANIFEST_BYTES} bytes")
        return Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ValueError(f"can't be read: {error.strerror}") from error
    except ValidationError as error:
        raise ValueError(f"is no manifest: {error.errors()[0]['msg']}") from error


def _parent_faults(manifest: Manifest, sha256: str, parent: Manifest) -> Iterator[Fault]:
    for stage, what in funnel_faults(parent.funnel):
        yield Fault(f"{parent_file(sha256)}: funnel: {stage}", what)
    if manifest.files.get(parent_card(sha256)) != parent.files.get(CARD_FILE):
        yield Fault(parent_card(sha256), f"is not the card that {parent_file(sha256)} names")


def _sum_faults(manifest: Manifest, parents: Sequence[Manifest]) -> Iterator[tuple[str, str]]:
    """Where a derived funnel is not the sum of its parents' funnels."""
    if not parents or manifest.derived is None:
        yield "derived: parents", "is empty"
        return
    if manifest.derived.parents != sorted(set(manifest.derived.parents)):
        yield "derived: parents", "are not sorted, or one is there twice"
    shard_bytes = manifest.derived.options.get("shard_bytes", 0)
    if manifest.config != derived_config(parents, shard_bytes):
        yield "config", "is not what the parents agree on"
    if manifest.usage != derived_usage(parents):
        yield "usage", "is not the sum of the parents"
    if any(one.files.get(REWARDS_FILE) != manifest.files.get(REWARDS_FILE) for one in parents):
        yield f"files: {REWARDS_FILE}", "is not that of the parents"
    expected = derived_funnel(parents, manifest.samples, [])
    lines = {line.stage: line for line in manifest.funnel}
    for stage in sorted(lines.keys() - {line.stage for line in expected}):
        yield f"funnel: {stage}", "no parent has this stage"
    for line in expected:
        stated = lines.get(line.stage)
        if stated is None:
            yield f"funnel: {line.stage}", "is missing"
        elif line.stage is not Stage.DERIVE:
            if stated != line:
                yield f"funnel: {line.stage}", f"is not the sum of the parents, {_shown(line)}"
        elif (stated.in_, stated.out) != (line.in_, line.out):
            yield (
                f"funnel: {line.stage}",
                f"in {stated.in_}, out {stated.out}, but the parents and the shards hold "
                f"{line.in_} and {line.out} samples",
            )
        elif Counter(line.rejected) - Counter(stated.rejected):
            yield f"funnel: {line.stage}", "has lost rejections of its parents"


def _shown(line: FunnelStage) -> str:
    lost = json.dumps({reason.value: count for reason, count in line.rejected.items()})
    return f"in {line.in_}, out {line.out}, rejected {lost}"
