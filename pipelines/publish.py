"""`proofreel publish`: a finished dataset on the hub, private unless said otherwise."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePath

from rich.console import Console
from rich.table import Table

from pipelines.hub import Upload, upload
from proofreel import __version__
from transforms.publish.card_counts import NOT_STATED
from transforms.publish.check import dataset_faults
from transforms.publish.counts import counted
from transforms.publish.exports.entries import read_entries, read_manifest
from transforms.publish.files import sha256_file
from transforms.publish.manifest import MANIFEST_FILE, Manifest, is_local_path

REPO = re.compile(r"[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?/[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?", re.A)
MAX_NAMED = 20
"""Files that are held back, or sources, that are named one by one."""

MAX_LISTED = 40
"""Files up to which each has a line of its own; of more, the shards of a split share one."""


class NoSuchError(Exception):
    """Asked wrongly: the message says what was named and how it is meant."""


class RefusedError(Exception):
    """The dataset may not go up as it is; the message says why and what to do."""


@dataclass(frozen=True)
class Plan:
    """What would go up."""

    files: tuple[Upload, ...]
    """The manifest comes last: it lists the others."""
    held_back: tuple[str, ...]
    """Files in the folder of the dataset that the manifest does not list."""

    @property
    def total_bytes(self) -> int:
        return sum(one.bytes for one in self.files)


def publish(
    folder: Path,
    repo: str,
    *,
    public: bool,
    allow_unlicensed: bool,
    dry_run: bool,
    console: Console,
) -> None:
    """Check a dataset, say what would go up, and upload it.

    Raises NoSuchError if there is no such folder or name, RefusedError, BadDatasetError, HubError.
    """
    dataset = folder / "dataset" if (folder / "dataset").is_dir() else folder
    if not dataset.is_dir():
        raise NoSuchError(f"{folder}: no such folder")
    if not REPO.fullmatch(repo):
        raise NoSuchError(f"{repo}: name the dataset as owner/name, such as me/clips")

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    refuse_faulty(dataset)
    manifest = read_manifest(dataset)
    plan = planned(dataset, manifest)
    licenses = licenses_of(dataset)
    console.print(_table(plan))
    for line in _lines(repo, plan, licenses, public=public):
        say(line)
    if public and not allow_unlicensed:
        refuse_unlicensed(licenses)
    if dry_run:
        say("dry run: nothing was sent")
        return
    address = upload(dataset, repo, plan.files, public=public, message=_message(manifest), say=say)
    say(f"published: {address}")


def _message(manifest: Manifest) -> str:
    samples = sum(shard.samples for shard in manifest.shards)
    shards = counted(len(manifest.shards), "shard")
    return f"{counted(samples, 'sample')} in {shards} by proofreel {__version__}"


def refuse_faulty(dataset: Path) -> None:
    """Raises RefusedError naming the first faults of a dataset that `proofreel check` finds."""
    faults = dataset_faults(dataset)
    named = list(islice(faults, MAX_NAMED))
    if named:
        number = len(named) + sum(1 for _ in faults)
        shown = "".join(f"\n  {fault}" for fault in named)
        raise RefusedError(
            f"{dataset} has {counted(number, 'fault')} and stays here; proofreel check lists them "
            f"all:{shown}"
        )


def planned(dataset: Path, manifest: Manifest) -> Plan:
    """What the manifest lists, with the manifest itself, and what else lies there."""
    names = [*sorted(shard.path for shard in manifest.shards), *sorted(manifest.files)]
    hashes = {shard.path: shard.sha256 for shard in manifest.shards} | manifest.files
    files = [Upload(name, (dataset / name).stat().st_size, hashes[name]) for name in names]
    path = dataset / MANIFEST_FILE
    files.append(Upload(MANIFEST_FILE, path.stat().st_size, sha256_file(path)))
    going = {one.path for one in files}
    found = (path for path in dataset.rglob("*") if path.is_symlink() or not path.is_dir())
    others = sorted({path.relative_to(dataset).as_posix() for path in found} - going)
    return Plan(files=tuple(files), held_back=tuple(others))


def licenses_of(dataset: Path) -> Counter[tuple[str, str]]:
    """(source, licence) -> samples, as the samples themselves say it."""
    found: Counter[tuple[str, str]] = Counter()
    for entry in read_entries(dataset):
        said = entry.sample.provenance
        uri = entry.sample.media[0].source_uri
        source = said.source_url or (PurePath(uri).name if is_local_path(uri) else uri)
        found[source, said.license.strip()] += 1
    return found


def refuse_unlicensed(licenses: Iterable[tuple[str, str]]) -> None:
    """Raises RefusedError naming the sources without a licence."""
    without = sorted({source for source, name in licenses if not name})
    if without:
        raise RefusedError(
            f"no licence is stated for {len(without)} sources, so this may not go public: "
            f"{_some(without)}. State them in the input's manifest (column license) and run again, "
            "leave --public out, or take it upon you with --allow-unlicensed"
        )


def _some(names: Sequence[str]) -> str:
    more = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


def _table(plan: Plan) -> Table:
    table = Table("file", "bytes")
    table.columns[1].justify = "right"
    groups: dict[str, list[Upload]] = {}
    for one in plan.files:
        folder = one.path.partition("/")[0]
        many = len(plan.files) > MAX_LISTED and folder != one.path
        groups.setdefault(f"{folder}/*.tar" if many else one.path, []).append(one)
    for name, files in groups.items():
        count = f" ({len(files)} files)" if len(files) > 1 else ""
        table.add_row(name + count, f"{sum(one.bytes for one in files):,}")
    return table


def _lines(
    repo: str, plan: Plan, licenses: Counter[tuple[str, str]], *, public: bool
) -> Iterator[str]:
    reach = "public" if public else "private"
    yield f"to: datasets/{repo}, {reach}; {len(plan.files)} files, {plan.total_bytes:,} bytes"
    by_license: dict[str, dict[str, int]] = {}
    for (source, name), count in sorted(licenses.items()):
        by_license.setdefault(name or NOT_STATED, {})[source] = count
    for name, sources in by_license.items():
        yield f"licence {name}: {sum(sources.values())} samples of {_some(list(sources))}"
    for name in plan.held_back[:MAX_NAMED]:
        yield f"stays here, not in the manifest: {name}"
    if len(plan.held_back) > MAX_NAMED:
        yield f"and {len(plan.held_back) - MAX_NAMED} more files"
