"""The last step: index, rejections, card, rewards and manifest, once all shards are written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import schemas.rewards
from schemas.base import SCHEMA_VERSION
from schemas.rejection import OPTIONAL, Rejection, Stage
from schemas.usage import Usage
from transforms.publish.about import about_of
from transforms.publish.card import CardEntry, CardFacts, render_card
from transforms.publish.croissant import DESCRIBED, WrittenFile, render_croissant
from transforms.publish.files import write_bytes, write_text
from transforms.publish.index import IndexEntry, index_table, rejected_table, write_parquet
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
    ShardEntry,
    funnel_faults,
    funnel_stage,
    portable_config,
)
from transforms.publish.shards import ShardInfo


class ConservationError(Exception):
    """Something vanished or doubled on the way: law 1 is broken, the dataset is not published."""


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
            for stage, one in usage.items()
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
    entered: Mapping[Stage, int], out: Mapping[Stage, int], rejections: Iterable[Rejection]
) -> list[FunnelStage]:
    """The funnel of the stages in order. Raises ConservationError, naming stage and numbers."""
    by_stage: dict[Stage, list[Rejection]] = {stage: [] for stage in Stage}
    for rejection in rejections:
        by_stage[rejection.stage].append(rejection)
    funnel = [
        funnel_stage(stage, entered.get(stage, 0), out.get(stage, 0), by_stage[stage])
        for stage in Stage
        if stage not in OPTIONAL or entered.get(stage) or out.get(stage) or by_stage[stage]
    ]
    faults = funnel_faults(funnel)
    if faults:
        raise ConservationError("; ".join(f"{where}: {what}" for where, what in faults))
    return funnel


def finish_dataset(
    folder: Path,
    facts: RunFacts,
    funnel: Sequence[FunnelStage],
    shards: Iterable[ShardInfo],
    index_entries: Iterable[IndexEntry],
    card_entries: Iterable[CardEntry],
    rejections: Iterable[Rejection],
    usage: Mapping[str, Usage],
    heritage: Heritage | None = None,
) -> Manifest:
    """Write everything beside the shards into `folder`; the manifest last."""
    written = sorted(shards, key=lambda shard: shard.path)
    entries = tuple(ShardEntry(**shard.model_dump(exclude={"entries"})) for shard in written)
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
    # Both count them.
    card_entries = list(card_entries)
    rewards = heritage.rewards if heritage else Path(schemas.rewards.__file__).read_bytes()
    inherited = heritage.files if heritage else {}
    files = {
        **{name: write_bytes(folder / name, data) for name, data in sorted(inherited.items())},
        INDEX_FILE: write_parquet(index_table(index_entries, written), folder / INDEX_FILE),
        REJECTED_FILE: write_parquet(rejected_table(rejections), folder / REJECTED_FILE),
        CARD_FILE: write_text(folder / CARD_FILE, render_card(card, card_entries)),
        REWARDS_FILE: write_bytes(folder / REWARDS_FILE, rewards),
    }
    described = {
        name: WrittenFile(files[name], (folder / name).stat().st_size) for name in DESCRIBED
    }
    croissant = render_croissant(card, card_entries, described)
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
