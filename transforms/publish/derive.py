"""Datasets made of finished ones: several merged, a part chosen, shards cut to another size.

Samples keep their ids and their bytes. What is held in memory of a sample is its row of the index
and a few counts; its mp4 goes from shard to shard piece by piece.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from schemas.base import content_hash
from schemas.rejection import Reason, Rejection, Stage
from transforms.publish.about import about_of
from transforms.publish.card_counts import count
from transforms.publish.counts import counted
from transforms.publish.files import building
from transforms.publish.finish import Heritage, RunFacts, finish_dataset
from transforms.publish.found import Found, Lazy, mp4_of, read, sample_of
from transforms.publish.index import ID_COLUMNS, index_table, rejected_table
from transforms.publish.lineage import derived_config, derived_funnel, derived_usage, differing
from transforms.publish.manifest import Derived, Manifest, funnel_faults
from transforms.publish.parents import DeriveError, Parent, inherited_files, open_parents
from transforms.publish.planning import plan_shards
from transforms.publish.shards import ShardInfo, write_shard
from transforms.publish.where import Condition, first_failed

DEFAULT_SHARD_BYTES = 1_000_000_000


@dataclass(frozen=True)
class Request:
    """What is wanted of the parents."""

    command: Literal["merge", "subset", "reshard"]
    where: tuple[Condition, ...] = ()
    """Conditions that all have to hold."""
    ids: frozenset[str] | None = None
    """Ids of samples, tasks, clips or videos; None = all."""
    drop_leaks: bool = False
    """Whether train samples go if validation holds their video; otherwise that is an error."""
    shard_bytes: int = 0
    """0 = as in the parents; the largest, if they differ."""


def derive(
    folders: Sequence[Path], out: Path, request: Request, proofreel_version: str
) -> Manifest:
    """Make the dataset `out` of finished ones. Raises DeriveError, and leaves nothing then."""
    _check_free(out)
    parents = open_parents(folders)
    found, rejections = choose(parents, request)
    if not found:
        why = rejections[0].detail if rejections else "the parents hold none"
        raise DeriveError(f"no sample is left: {why}")
    sizes = [_shard_bytes(parent.manifest) for parent in parents]
    shard_bytes = request.shard_bytes or max(sizes)
    with building(out) as folder:
        shards = _write_shards(found, shard_bytes, folder)
        manifests = [parent.manifest for parent in parents]
        funnel = derived_funnel(manifests, len(found), rejections)
        for stage, what in funnel_faults(funnel):
            raise DeriveError(f"a parent's funnel does not add up: {stage}: {what}")
        inherited = [one for parent in parents for one in parent.rejections()]
        return finish_dataset(
            folder,
            _facts(manifests, shard_bytes, proofreel_version),
            funnel,
            [shard.listed for shard in shards],
            count(one.card for one in found),
            [index_table([one.index for one in found], shards)],
            [rejected_table([*inherited, *rejections])],
            derived_usage(manifests),
            _heritage(parents, request, shard_bytes),
        )


def _write_shards(found: Iterable[Found], shard_bytes: int, folder: Path) -> list[ShardInfo]:
    by_key = {one.planned.key: one for one in found}
    shards = []
    try:
        for plan in plan_shards([one.planned for one in by_key.values()], shard_bytes):
            own = {planned.key: by_key[planned.key] for planned in plan.samples}
            shards.append(write_shard(plan, Lazy(own, sample_of), Lazy(own, mp4_of), folder))
    except ValueError as error:
        raise DeriveError(f"{error}; see proofreel check") from error
    return shards


# Choosing ----------------------------------------------------------------------------------------


def choose(parents: Sequence[Parent], request: Request) -> tuple[list[Found], list[Rejection]]:
    """The samples that come into the derived dataset, each once, and why the others don't."""
    _check_known(parents, request.ids)
    found: list[Found] = []
    rejections: list[Rejection] = []
    by_row = [one for one in request.where if not one.about_sample]
    by_sample = [one for one in request.where if one.about_sample]
    for parent in parents:
        wanted = []
        for row in parent.rows:
            why = _not_listed(row, request.ids) or first_failed(by_row, row)
            if why:
                rejections.append(_left_out(row, Reason.NOT_CHOSEN, why))
            else:
                wanted.append(row)
        for one, sample in read(parent, wanted):
            why = first_failed(by_sample, one.row, sample)
            if why:
                rejections.append(_left_out(one.row, Reason.NOT_CHOSEN, why))
            else:
                found.append(one)
    found, leaks = without_leaks(found, drop=request.drop_leaks)
    found, doubles = each_once(found)
    return found, [*rejections, *leaks, *doubles]


def _check_known(parents: Sequence[Parent], ids: frozenset[str] | None) -> None:
    """An id that nothing has is a typo, and would silently give less."""
    if ids is None:
        return
    known = {row[name] for parent in parents for row in parent.rows for name in ID_COLUMNS}
    if unknown := sorted(ids - known):
        shown = ", ".join(unknown[:5]) + (", ..." if len(unknown) > 5 else "")
        said = f"{counted(len(unknown), 'id')} {'is' if len(unknown) == 1 else 'are'}"
        raise DeriveError(f"{said} of no sample, task, clip or video: {shown}")


def _not_listed(row: Mapping[str, Any], ids: frozenset[str] | None) -> str:
    listed = ids is None or any(row[name] in ids for name in ID_COLUMNS)
    return "" if listed else "not among the ids asked for"


def _left_out(row: Mapping[str, Any], reason: Reason, detail: str) -> Rejection:
    return Rejection(
        stage=Stage.DERIVE, reason=reason, subject=row["id"], parent=row["task_id"], detail=detail
    )


def without_leaks(found: Sequence[Found], *, drop: bool) -> tuple[list[Found], list[Rejection]]:
    """Train without what validation shows: neither a video of it, nor a clip of the same bytes.

    Validation stays whole, so that results on it can be compared. Raises DeriveError unless `drop`.
    """
    shown: dict[str, Found] = {}
    for one in found:
        if one.index.partition == "validation":
            shown.setdefault(one.row["video_id"], one)
            shown.setdefault(one.row["mp4_sha256"], one)
    kept: list[Found] = []
    rejections: list[Rejection] = []
    for one in found:
        seen = shown.get(one.row["video_id"]) or shown.get(one.row["mp4_sha256"])
        if one.index.partition == "validation" or seen is None:
            kept.append(one)
            continue
        same = "video" if seen.row["video_id"] == one.row["video_id"] else "bytes of the clip"
        if not drop:
            raise DeriveError(
                f"{one.planned.key} is in train of {one.parent.name}, and {seen.planned.key}, "
                f"with the same {same}, in validation of {seen.parent.name}: a model would be "
                "tested on what it was trained on. --on-leak drop leaves such samples out of train"
            )
        detail = f"the same {same} as {seen.planned.key}, which is in validation"
        rejections.append(_left_out(one.row, Reason.IN_VALIDATION, detail))
    return kept, rejections


def each_once(found: Iterable[Found]) -> tuple[list[Found], list[Rejection]]:
    """Of samples with the same id one. Raises DeriveError if their content differs."""
    firsts: dict[str, Found] = {}
    rejections: list[Rejection] = []
    for one in found:
        first = firsts.setdefault(one.planned.key, one)
        if first is one:
            continue
        for part in ("json_sha256", "mp4_sha256"):
            if first.row[part] != one.row[part]:
                raise DeriveError(
                    f"{one.planned.key} is in {first.parent.name} and in {one.parent.name}, but "
                    f"its {part.split('_')[0]} is not the same. Leave it out of one of them first: "
                    f"proofreel subset {one.parent.name} --where 'id!={one.planned.key}' --out ..."
                )
        rejections.append(_left_out(one.row, Reason.DUPLICATE, "the same sample in another parent"))
    return list(firsts.values()), rejections


# What is said of it ------------------------------------------------------------------------------


def _shard_bytes(manifest: Manifest) -> int:
    publish = manifest.config.get("publish")
    stated = publish.get("shard_bytes") if isinstance(publish, Mapping) else None
    return stated if isinstance(stated, int) and stated > 0 else DEFAULT_SHARD_BYTES


def _facts(manifests: Sequence[Manifest], shard_bytes: int, proofreel_version: str) -> RunFacts:
    seeds = {one.seed for one in manifests}
    names = sorted({name for one in manifests for name in one.versions})
    versions = {
        name: ", ".join(sorted({one.versions[name] for one in manifests if name in one.versions}))
        for name in names
    }
    notes = dict.fromkeys(note for one in manifests for note in one.notes)
    config = derived_config(manifests, shard_bytes)
    try:
        about_of(config)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        at = ".".join(["publish.about", *map(str, first["loc"])])
        raise DeriveError(f"a parent's configuration: {at}: {first['msg']}") from error
    return RunFacts(
        proofreel_version=proofreel_version,
        seed=seeds.pop() if len(seeds) == 1 else -1,
        config=config,
        versions=versions,
        prompts={},
        notes=tuple(notes),
    )


def _heritage(parents: Sequence[Parent], request: Request, shard_bytes: int) -> Heritage:
    options: dict[str, Any] = {"shard_bytes": shard_bytes}
    if request.command == "merge":
        options["on_leak"] = "drop" if request.drop_leaks else "error"
    if request.where:
        options["where"] = [one.text for one in request.where]
    if request.ids is not None:
        options["ids"] = len(request.ids)
        options["ids_sha256"] = content_hash(*sorted(request.ids))
    configs = [parent.manifest.config for parent in parents]
    differ = [
        (name, "; ".join(f"{p.sha256[:8]}: {one}" for p, one in zip(parents, said, strict=True)))
        for name, said in differing(configs)
        if name != "publish.shard_bytes"
    ]
    return Heritage(
        derived=Derived(
            command=request.command,
            options=options,
            parents=[parent.sha256 for parent in parents],
        ),
        rewards=parents[0].rewards,
        cost=sum(parent.manifest.cost for parent in parents),
        differing=tuple(differ),
        files=inherited_files(parents),
    )


def _check_free(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DeriveError(f"{out}: is there already; name a new folder")
