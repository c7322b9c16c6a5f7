"""The last step: index, rejections, card, rewards and manifest, once all shards are written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

import schemas.rewards
from schemas.base import SCHEMA_VERSION
from schemas.rejection import OPTIONAL, Stage
from schemas.usage import Usage
from transforms.outcome import StopRunError
from transforms.publish.about import about_of
from transforms.publish.card import CardFacts, render_card
from transforms.publish.card_counts import Counts
from transforms.publish.croissant import DESCRIBED, WrittenFile, render_croissant
from transforms.publish.files import write_bytes, write_text
from transforms.publish.index import INDEX_SCHEMA, REJECTED_SCHEMA, write_tables
from transforms.publish.manifest import (
    CARD_FILE,
    CROISSANT_FILE,
    INDEX_FILE,
    MANIFEST_FILE,
    REJECTED_FILE,
    REWARDS_FILE,
    Derived,
    FunnelStage,
    Manifest,
    RejectionCounts,
    ShardEntry,
    funnel_faults,
    funnel_stage,
    portable_config,
)


class ConservationError(StopRunError):
    """Something vanished or doubled on the way: law 1 is broken, the dataset is not published."""


def not_conserved(what: str) -> ConservationError:
    """In one line that says what to do.

    Some engines do a part again whose results they have lost or not kept, and what failed by chance
    the first time, such as a decoder that took too long, may go right the second time: then what is
    counted comes from two different ends.
    """
    return ConservationError(
        f"{what}. Something vanished or doubled on the way, so nothing is published. That can be "
        "where an engine did a part twice and something failed only once, by a time-out or a "
        "crash: run the same command again, what was finished is looked up. If it comes again, "
        "report it"
    )


@dataclass(frozen=True)
class RunFacts:
    """What the manifest and the card say of the run as a whole."""

    proofreel_version: str
    seed: int
    config: dict[str, Any]
    versions: dict[str, str]
    prompts: dict[str, str]
    notes: tuple[str, ...]
    prices: tuple[float, float] = (0.0, 0.0)
    """Of a million prompt tokens and of a million completion tokens."""
    verifier_prices: tuple[float, float] = (0.0, 0.0)
    """Those of the model that the verifier asks."""

    def cost(self, usage: Mapping[str, Usage]) -> float:
        """Of what was used, by stage."""
        return sum(
            one.cost(*(self.verifier_prices if stage == Stage.EXAMINE else self.prices))
            # A sum of floats depends on their order.
            for stage, one in sorted(usage.items())
        )


@dataclass(frozen=True)
class Heritage:
    """What a dataset that is made of others takes over from them."""

    derived: Derived
    rewards: bytes
    """The grader of the parents."""
    cost: float
    """Of the replies in the parents."""
    differing: tuple[tuple[str, str], ...] = ()
    """Settings on which the parents don't agree, each with their values in words."""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """Manifests and cards of the parents, by name."""


def make_funnel(
    entered: Mapping[Stage, int], out: Mapping[Stage, int], rejected: RejectionCounts
) -> list[FunnelStage]:
    """The funnel of the stages in order. Raises ConservationError, naming stage and numbers."""
    rejecting = {stage for (stage, _), count in rejected.items() if count}
    funnel = [
        funnel_stage(stage, entered.get(stage, 0), out.get(stage, 0), rejected)
        for stage in Stage
        if stage not in OPTIONAL or entered.get(stage) or out.get(stage) or stage in rejecting
    ]
    faults = funnel_faults(funnel)
    if faults:
        raise not_conserved("; ".join(f"{where}: {what}" for where, what in faults))
    return funnel


def finish_dataset(
    folder: Path,
    facts: RunFacts,
    funnel: Sequence[FunnelStage],
    shards: Iterable[ShardEntry],
    counts: Counts,
    index: Iterable[pa.Table],
    rejected: Iterable[pa.Table],
    usage: Mapping[str, Usage],
    heritage: Heritage | None = None,
) -> Manifest:
    """Write everything beside the shards into `folder`; the manifest last.

    `index` and `rejected` are the rows of the two tables in order, read once; what is held of them
    is a row group. One line per shard is. Raises ConservationError if samples were lost or doubled
    between counting, shards and index, or rejections between funnel and table.
    """
    entries = tuple(sorted(shards, key=lambda shard: shard.path))
    check_samples(counts, entries)
    index_rows = Rows(index, "id")
    rejected_rows = Rows(rejected)
    config = portable_config(facts.config)
    card = CardFacts(
        title=about_of(config).title,
        proofreel_version=facts.proofreel_version,
        config=config,
        versions=facts.versions,
        shards=entries,
        funnel=tuple(funnel),
        prompts=facts.prompts,
        notes=facts.notes,
        derived=heritage.derived if heritage else None,
        differing=heritage.differing if heritage else (),
    )
    rewards = heritage.rewards if heritage else Path(schemas.rewards.__file__).read_bytes()
    inherited = heritage.files if heritage else {}
    files = {
        **{name: write_bytes(folder / name, data) for name, data in sorted(inherited.items())},
        INDEX_FILE: write_tables(index_rows, INDEX_SCHEMA, folder / INDEX_FILE),
        REJECTED_FILE: write_tables(rejected_rows, REJECTED_SCHEMA, folder / REJECTED_FILE),
        CARD_FILE: write_text(folder / CARD_FILE, render_card(card, counts)),
        REWARDS_FILE: write_bytes(folder / REWARDS_FILE, rewards),
    }
    _check_rows(INDEX_FILE, index_rows.number, sum(shard.samples for shard in entries), "samples")
    if heritage is None:
        lost = sum(sum(line.rejected.values()) for line in funnel)
        _check_rows(REJECTED_FILE, rejected_rows.number, lost, "rejections")
    described = {
        name: WrittenFile(files[name], (folder / name).stat().st_size) for name in DESCRIBED
    }
    croissant = render_croissant(card, counts, described)
    files[CROISSANT_FILE] = write_text(folder / CROISSANT_FILE, croissant)
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        proofreel_version=facts.proofreel_version,
        seed=facts.seed,
        config=config,
        versions=facts.versions,
        shards=list(entries),
        funnel=list(funnel),
        usage=dict(sorted(usage.items())),
        cost=round(heritage.cost if heritage else facts.cost(usage), 6),
        files=files,
        notes=list(facts.notes),
        derived=heritage.derived if heritage else None,
    )
    write_text(folder / MANIFEST_FILE, manifest.to_text())
    return manifest


def check_samples(counts: Counts, shards: Iterable[ShardEntry]) -> None:
    """Raises ConservationError if the shards don't hold the samples that were counted."""
    held: Counter[str] = Counter()
    for shard in shards:
        held[shard.path.rpartition("-")[0]] += shard.samples
    counted = {f"{split}/{part}": number for (split, part), number in counts.samples.items()}
    for group in sorted(held.keys() | counted.keys()):
        if held[group] != counted.get(group, 0):
            raise not_conserved(
                f"{group}: {counted.get(group, 0)} samples were made, the shards hold {held[group]}"
            )


def _check_rows(name: str, rows: int, wanted: int, what: str) -> None:
    if rows != wanted:
        raise not_conserved(f"{name}: has {rows} rows, but there are {wanted} {what}")


class Rows:
    """Tables on their way through: counted, and looked at for rows that come twice."""

    def __init__(self, tables: Iterable[pa.Table], key: str = "") -> None:
        """`key`: a column of texts by which the rows are sorted and told apart, if there is one."""
        self._tables = tables
        self._key = key
        self.number = 0
        """Of the rows so far."""

    def __iter__(self) -> Iterator[pa.Table]:
        last = ""
        for table in self._tables:
            if self._key and table.num_rows:
                keys = table[self._key].combine_chunks()
                before = pa.concat_arrays([pa.array([last], keys.type), keys[:-1]])
                if not pc.all(pc.less(before, keys)).as_py():
                    at = pc.index(pc.less(before, keys), False).as_py()
                    raise not_conserved(
                        f"sample {keys[at]} comes after {before[at]}: it is there twice, or the "
                        "rows are out of order"
                    )
                last = keys[-1].as_py()
            self.number += table.num_rows
            yield table
