"""What `merge`, `subset` and `reshard` say of what they did, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from schemas.rejection import Reason, Stage
from transforms.publish.exports.entries import read_manifest
from transforms.publish.manifest import Manifest

WORDS = {
    Reason.DUPLICATE: "were in another of them already (each is kept once)",
    Reason.IN_VALIDATION: "were in train although validation shows their video",
    Reason.NOT_CHOSEN: "do not fulfil what was asked for",
}


def parent_manifest(folder: Path) -> Manifest:
    """The manifest of a run's dataset, or of a dataset. Raises BadDatasetError."""
    return read_manifest(folder / "dataset" if (folder / "dataset").is_dir() else folder)


def what_became(parents: Sequence[tuple[str, Manifest]], made: Manifest) -> Iterator[str]:
    """What went in, by the name of each parent, what was taken out and why, and what came out.

    Unlike the funnel, which goes on with that of parents that were derived themselves, this is of
    the last step alone.
    """
    told = ", ".join(f"{manifest.samples} of {name}" for name, manifest in parents)
    yield f"went in: {sum(one.samples for _, one in parents)} samples ({told})"
    lost = _left_out([made])
    lost.subtract(_left_out([manifest for _, manifest in parents]))
    for reason, count in sorted(lost.items()):
        if count:
            yield f"taken out: {count} samples that {WORDS.get(reason, reason)}"
    yield f"came out: {made.samples} samples"


def _left_out(manifests: Sequence[Manifest]) -> Counter[Reason]:
    """Samples that the derivation of these left out, by reason."""
    found: Counter[Reason] = Counter()
    for manifest in manifests:
        for line in manifest.funnel:
            if line.stage is Stage.DERIVE:
                found.update(line.rejected)
    return found
