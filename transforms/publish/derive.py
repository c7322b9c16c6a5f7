"""Datasets made of finished ones: several merged, a part chosen, shards cut to another size.

Samples keep their ids and their bytes. What is known of all of them lies on disk (`chosen.py`);
memory holds the rows of one shard, and an mp4 goes from shard to shard piece by piece.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from schemas.base import content_hash
from schemas.rejection import Reason, Rejection, Stage
from transforms.on_disk import minding_disk, temporary_database
from transforms.publish.about import about_of
from transforms.publish.card_counts import card_entry
from transforms.publish.chosen import Chosen, ChosenOnDisk
from transforms.publish.counts import counted
from transforms.publish.files import building
from transforms.publish.finish import Heritage, RunFacts, finish_dataset
from transforms.publish.found import Lazy, mp4_of, read, sample_of
from transforms.publish.index import ID_COLUMNS
from transforms.publish.lineage import derived_config, derived_funnel, derived_usage, differing
from transforms.publish.manifest import Derived, Manifest, ShardEntry, funnel_faults
from transforms.publish.parents import DeriveError, Parent, inherited_files, open_parents
from transforms.publish.planning import (
    ShardPlan,
    check_plannable,
    check_shard_bytes,
    check_shard_count,
    cut_chunks,
    entry_bytes,
    lead_keys,
    shard_path,
)
from transforms.publish.shards import write_shard
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
    """Make the dataset `out` of finished ones. Raises DeriveError, and leaves nothing then;
    StopRunError if temporary files can't be written."""
    _check_free(out)
    parents = open_parents(folders)
    with minding_disk("the samples"), temporary_database() as database:
        chosen = ChosenOnDisk(database)
        choose(parents, request, chosen)
        if not len(chosen):
            why = next((one.detail for one in chosen.rejections()), "the parents hold none")
            raise DeriveError(f"no sample is left: {why}")
        sizes = [_shard_bytes(parent.manifest) for parent in parents]
        shard_bytes = request.shard_bytes or max(sizes)
        with building(out) as folder:
            shards = _write_shards(parents, chosen, shard_bytes, folder)
            manifests = [parent.manifest for parent in parents]
            funnel = derived_funnel(manifests, len(chosen), chosen.rejections())
            for stage, what in funnel_faults(funnel):
                raise DeriveError(f"a parent's funnel does not add up: {stage}: {what}")
            for parent in parents:
                for one in parent.rejections():
                    chosen.reject(one)
            return finish_dataset(
                folder,
                _facts(manifests, shard_bytes, proofreel_version),
                funnel,
                shards,
                chosen.counts(),
                chosen.index_tables(),
                chosen.rejected_tables(),
                derived_usage(manifests),
                _heritage(parents, request, shard_bytes),
            )


def _write_shards(
    parents: Sequence[Parent], chosen: ChosenOnDisk, shard_bytes: int, folder: Path
) -> list[ShardEntry]:
    shards: list[ShardEntry] = []
    try:
        for path, own in _plans(chosen, shard_bytes):
            plan = ShardPlan(path=path, samples=tuple(one.planned for one in own))
            places = {one.row["id"]: (parents[one.parent].folder, one.row) for one in own}
            shard = write_shard(plan, Lazy(places, sample_of), Lazy(places, mp4_of), folder)
            chosen.place(shard)
            shards.append(shard.listed)
    except ValueError as error:
        raise DeriveError(f"{error}; see proofreel check") from error
    return shards


def _plans(chosen: ChosenOnDisk, shard_bytes: int) -> Iterator[tuple[str, list[Chosen]]]:
    """Each shard and its samples, as `plan_shards` has them, which would hold them all. Raises
    ValueError as that does, before the first one."""
    check_shard_bytes(shard_bytes)
    for planned in chosen.planned():
        check_plannable(planned)
    leads = {group: lead_keys(chosen.firsts(group)) for group in chosen.groups()}
    for group, lead in leads.items():
        sizes = chosen.sizes(group, lead)
        check_shard_count(*group, sum(1 for _ in cut_chunks(sizes, int, shard_bytes)))
    for group, lead in leads.items():
        samples = chosen.of_group(group, lead)
        chunks = cut_chunks(samples, lambda one: entry_bytes(one.planned), shard_bytes)
        for number, chunk in enumerate(chunks):
            yield shard_path(*group, number), chunk


# Choosing ----------------------------------------------------------------------------------------


def choose(parents: Sequence[Parent], request: Request, chosen: ChosenOnDisk) -> None:
    """The samples that come into the derived dataset, each once, and why the others don't."""
    _check_known(parents, request.ids)
    by_row = [one for one in request.where if not one.about_sample]
    by_sample = [one for one in request.where if one.about_sample]
    for number, parent in enumerate(parents):
        for row in parent.rows():
            why = _not_listed(row, request.ids) or first_failed(by_row, row)
            if why:
                chosen.reject(_left_out(row, Reason.NOT_CHOSEN, why))
            else:
                chosen.want(number, row)
        for one in read(parent, chosen.wanted(number)):
            why = first_failed(by_sample, one.row, one.sample)
            if why:
                chosen.reject(_left_out(one.row, Reason.NOT_CHOSEN, why))
            else:
                card = card_entry(one.sample, one.planned.partition)
                chosen.add(number, one.row, one.planned, card)
    _leave_out_leaks(parents, chosen, drop=request.drop_leaks)
    _leave_out_doubles(parents, chosen)


def _check_known(parents: Sequence[Parent], ids: frozenset[str] | None) -> None:
    """An id that nothing has is a typo, and would silently give less."""
    if ids is None:
        return
    unknown = set(ids)
    for parent in parents:
        for row in parent.rows():
            unknown.difference_update(row[name] for name in ID_COLUMNS)
    if unknown:
        shown = ", ".join(sorted(unknown)[:5]) + (", ..." if len(unknown) > 5 else "")
        said = f"{counted(len(unknown), 'id')} {'is' if len(unknown) == 1 else 'are'}"
        raise DeriveError(f"{said} of no sample, task, clip or video: {shown}")


def _not_listed(row: Mapping[str, Any], ids: frozenset[str] | None) -> str:
    listed = ids is None or any(row[name] in ids for name in ID_COLUMNS)
    return "" if listed else "not among the ids asked for"


def _left_out(row: Mapping[str, Any], reason: Reason, detail: str) -> Rejection:
    return Rejection(
        stage=Stage.DERIVE, reason=reason, subject=row["id"], parent=row["task_id"], detail=detail
    )


def _leave_out_leaks(parents: Sequence[Parent], chosen: ChosenOnDisk, *, drop: bool) -> None:
    """Train without what validation shows: neither a video of it, nor a clip of the same bytes.

    Validation stays whole, so that results on it can be compared. Raises DeriveError unless `drop`.
    """
    for one, seen in chosen.leaks():
        same = "video" if seen.row["video_id"] == one.row["video_id"] else "bytes of the clip"
        if not drop:
            raise DeriveError(
                f"{one.row['id']} is in train of {parents[one.parent].name}, and "
                f"{seen.row['id']}, with the same {same}, in validation of "
                f"{parents[seen.parent].name}: a model would be "
                "tested on what it was trained on. --on-leak drop leaves such samples out of train"
            )
        detail = f"the same {same} as {seen.row['id']}, which is in validation"
        chosen.reject(_left_out(one.row, Reason.IN_VALIDATION, detail))
    chosen.drop("leaks")


def _leave_out_doubles(parents: Sequence[Parent], chosen: ChosenOnDisk) -> None:
    """Of samples with the same id one stays. Raises DeriveError if their content differs."""
    for one, first in chosen.doubles():
        key, there, here = one.row["id"], parents[first.parent].name, parents[one.parent].name
        for part in ("json_sha256", "mp4_sha256"):
            if first.row[part] != one.row[part]:
                raise DeriveError(
                    f"{key} is in {there} and in {here}, but "
                    f"its {part.split('_')[0]} is not the same. Leave it out of one of them first: "
                    f"proofreel subset {here} --where 'id!={key}' --out ..."
                )
        chosen.reject(_left_out(one.row, Reason.DUPLICATE, "the same sample in another parent"))
    chosen.drop("doubles")


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
