"""What crosses the shuffles of a run, in bytes, by step: the constants of `million.py`.

The whole command in this process, on a real video of 212 s, with CLIP's random weights and the
measure teacher. Beam's local runner hands each grouping its packed elements, as a cluster would
send them over its network; they are counted there.

Usage: python bench/shuffles.py
"""

from __future__ import annotations

import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import videos
from apache_beam.runners.portability.fn_api_runner import execution

from pipelines.cli import main

SETTINGS = (
    *("features.model=ViT-B-32", "features.pretrained=random"),
    *("shots.max_clip_s=15", "shots.min_clip_s=0.5"),
)
OF = (
    ("sample", re.compile(r"/(WriteShards/(OfShard|OfBucket)|KeepIndex/OfPiece)/")),
    ("rejection", re.compile(r"/KeepRejections/OfPiece/")),
    ("task", re.compile(r"/(Spread3|KeepCases)/")),
    (
        "clip",
        re.compile(
            r"/(Spread4|ByVideo|SameBytes|ScenesByVideo|NearDuplicates|Keep(Scenes|Clips))/"
        ),
    ),
)
"""What a step's bytes grow with; of all others there is a number per bundle, or one per video."""


@contextmanager
def counting() -> Iterator[Counter[str]]:
    """Bytes by the step that hands them to a grouping."""
    found: Counter[str] = Counter()
    named: dict[int, str] = {}
    kept: list[Any] = []
    append = execution.GroupingBuffer.append
    get_buffer = execution.BundleContextManager.get_buffer

    def counted(buffer: Any, elements: bytes) -> None:
        found[named.get(id(buffer), "?")] += len(elements)
        append(buffer, elements)

    def noted(manager: Any, buffer_id: bytes, transform_id: str) -> Any:
        buffer = get_buffer(manager, buffer_id, transform_id)
        named[id(buffer)] = transform_id
        # Kept, so that no other gets its id.
        kept.append(buffer)
        return buffer

    execution.GroupingBuffer.append = counted
    execution.BundleContextManager.get_buffer = noted
    try:
        yield found
    finally:
        execution.GroupingBuffer.append = append
        execution.BundleContextManager.get_buffer = get_buffer


def bench(folder: Path) -> None:
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    out = folder / "out"
    with counting() as found:
        code = main(["run", str(videos.many_shots()), "--out", str(out), "--quiet", *settings])
    if code:
        raise SystemExit(code)
    manifest = json.loads((out / "dataset" / "manifest.json").read_text())
    funnel = {row["stage"]: row for row in manifest["funnel"]}
    numbers = {
        "clip": funnel["cut"]["out"],
        "task": funnel["task"]["out"],
        "sample": sum(shard["samples"] for shard in manifest["shards"]),
        "rejection": sum(sum(row["rejected"].values()) for row in manifest["funnel"]),
    }
    total: Counter[str] = Counter()
    for step, size in found.most_common():
        kind = next((kind for kind, pattern in OF if pattern.search(step)), "")
        total[kind] += size
        each = f"{size / numbers[kind]:8,.0f} a {kind}" if kind else ""
        print(f"{size:10,d} {step.removesuffix('/Write')} {each}")
    for kind, number in numbers.items():
        print(f"{total[kind] / number:,.0f} bytes a {kind}, {number} of them")
    print(f"{total['']:,d} bytes of everything else")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="proofreel-bench-") as folder:
        bench(Path(folder))
