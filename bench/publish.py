"""Shards written and read, each against its floor in the same run, in turns.

Input: what a run makes of a real video at two sizes, its sft samples and clips repeated under other
ids until there are some hundred samples, four to a clip, with a megabyte or more each.

- `write`: MB/s of `write_shard` (tar, hashes of shard and parts, renamed into place, on the disk)
  against a plain copy of the finished shards that ends up on the disk just the same. Aim 0.7.
- `read`: samples/s of `proofreel.open` against `webdataset.WebDataset(...).decode()`: JSON parsed,
  the mp4 as bytes; in this process, and through a DataLoader with two workers. Aim 1.0.

Usage: python bench/publish.py [write|read] [--samples N] [--rounds N]
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import webdataset
from torch.utils.data import DataLoader

sys.path.insert(0, str(Path(__file__).parent))
import videos

import proofreel
from schemas.base import SCHEMA_VERSION
from schemas.sample import Sample
from transforms.publish.files import write_text
from transforms.publish.index import index_entry, index_table, write_parquet
from transforms.publish.manifest import INDEX_FILE, MANIFEST_FILE, Manifest, ShardEntry
from transforms.publish.planning import ShardPlan
from transforms.publish.shards import ShardInfo, plan_sample, plan_shards, write_shard

SHARD_BYTES = 200_000_000
"""A fifth of the default, so that there are several."""
RUN = (sys.executable, "-m", "pipelines.cli", "run")
SETTINGS = ("features.model=none", "publish.validation_share=0")
SAMPLES_PER_CLIP = 4
"""As `tasks.per_clip` has it."""
HEIGHTS_PX = (400, 540)
"""Clips of ten seconds and six shots then have 1.0 and 1.6 MB."""


@dataclass(frozen=True)
class Material:
    """What is written: samples and the files of their clips by key, and the plan of the shards."""

    samples: Mapping[str, Sample]
    media: Mapping[str, Path]
    plans: tuple[ShardPlan, ...]


def real_entries(folder: Path) -> list[proofreel.Entry]:
    """The sft samples that a run makes of a real video at two sizes."""
    inputs = folder / "videos"
    inputs.mkdir()
    for height_px in HEIGHTS_PX:
        videos.remade(videos.bikes(), inputs / f"bikes{height_px}.mp4", height_px=height_px)
    settings = [part for one in SETTINGS for part in ("--set", one)]
    command = [*RUN, str(inputs), "--out", str(folder / "run"), *settings]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return list(proofreel.open(folder / "run"))


def make_material(folder: Path, count: int) -> Material:
    """`count` samples out of the few real ones."""
    by_clip: dict[str, list[proofreel.Entry]] = {}
    for entry in real_entries(folder):
        by_clip.setdefault(entry.json["media"][0]["sha256"], []).append(entry)
    groups = [by_clip[sha256] for sha256 in sorted(by_clip)]
    samples: dict[str, Sample] = {}
    media: dict[str, Path] = {}
    for number in range(count):
        copy_number, place = divmod(number, SAMPLES_PER_CLIP)
        group = groups[copy_number % len(groups)]
        entry = group[place % len(group)]
        key = f"sft-{number * 7_919 % 1_000_003:07d}"  # samples of a clip lie apart, as in a run
        mp4 = folder / f"{copy_number}.mp4"
        data = entry.mp4 + free_box(copy_number)
        mp4.write_bytes(data)
        [clip] = entry.sample().media
        clip = clip.model_copy(update={"sha256": hashlib.sha256(data).hexdigest()})
        samples[key] = entry.sample().model_copy(update={"id": key, "media": [clip]})
        media[key] = mp4
    planned = [plan_sample(one, "train", media[key].stat().st_size) for key, one in samples.items()]
    return Material(samples, media, tuple(plan_shards(planned, SHARD_BYTES)))


def free_box(number: int) -> bytes:
    """What an mp4 can carry without a meaning: makes another file of a clip."""
    return struct.pack(">I4sI", 12, b"free", number)


def write(material: Material, folder: Path) -> list[ShardInfo]:
    """All shards."""
    return [write_shard(plan, material.samples, material.media, folder) for plan in material.plans]


def copy(shards: Iterable[Path], folder: Path) -> None:
    """A plain copy of each file; data and names are on the disk when this returns."""
    folder.mkdir()
    for path in shards:
        target = folder / path.name
        shutil.copyfile(path, target)
        sync(target)
    sync(folder)


def sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


def finish(material: Material, shards: list[ShardInfo], folder: Path) -> None:
    """Index and manifest: what reading needs beside the shards."""
    entries = [
        index_entry(one, "train", video_id="v", clip_id="c", task_id=key)
        for key, one in material.samples.items()
    ]
    digest = write_parquet(index_table(entries, shards), folder / INDEX_FILE)
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        proofreel_version=proofreel.__version__,
        seed=0,
        config={},
        versions={},
        shards=[ShardEntry(**one.model_dump(exclude={"entries"})) for one in shards],
        funnel=[],
        files={INDEX_FILE: digest},
    )
    write_text(folder / MANIFEST_FILE, manifest.to_text())


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_turns(
    ours: Callable[[], object],
    floor: Callable[[], object],
    rounds: int,
    clear: Callable[[], object] = int,
) -> list[float]:
    """Medians of seconds of ours, seconds of the floor, and the ratio of neighbours, which saw the
    same machine. One round before them warms up; `clear` comes before each and takes no time."""
    pairs = []
    for number in range(rounds + 1):
        # Neither is always the first one.
        order = (ours, floor) if number % 2 else (floor, ours)
        taken = {}
        for work in order:
            clear()
            taken[work] = seconds(work)
        pairs.append((taken[ours], taken[floor]))
    return [median(column) for column in zip(*pairs[1:], strict=True)] + [
        median(floor_s / ours_s for ours_s, floor_s in pairs[1:])
    ]


def median(values: Iterable[float]) -> float:
    return statistics.median(values)


def bench_write(material: Material, dataset: Path, folder: Path, rounds: int) -> None:
    """Shards against copies of them."""
    shards = sorted(dataset.glob("sft/*.tar"))
    megabytes = sum(path.stat().st_size for path in shards) / 1e6
    ours, plain = folder / "written", folder / "copied"

    def clear() -> None:
        for target in (ours, plain):
            shutil.rmtree(target, ignore_errors=True)
        for path in set(material.media.values()):
            path.touch()  # what is known of it from the round before does not count

    ours_s, floor_s, ratio = in_turns(
        lambda: write(material, ours), lambda: copy(shards, plain), rounds, clear
    )
    print(f"write: {megabytes:.0f} MB in {len(shards)} shards")
    print(
        f"  write_shard {megabytes / ours_s:.0f} MB/s, copy {megabytes / floor_s:.0f} MB/s, "
        f"ratio {ratio:.2f} (aim 0.70)"
    )


def bench_read(dataset: Path, count: int, rounds: int) -> None:
    """Our dataset against webdataset's, over the same shards."""
    shards = [str(path) for path in sorted(dataset.glob("sft/*.tar"))]

    def drained(make: Callable[[], Iterable[object]]) -> Callable[[], object]:
        def run() -> None:
            found = sum(1 for _ in make())
            assert found == count, f"{found} of {count} samples"

        return run

    def ours() -> proofreel.EntryDataset:
        return proofreel.open(dataset)

    def theirs() -> webdataset.WebDataset:
        return webdataset.WebDataset(shards, shardshuffle=False, empty_check=False).decode()

    def loaded(data: Callable[[], object]) -> Callable[[], Iterable[object]]:
        return lambda: DataLoader(data(), batch_size=None, num_workers=2)

    for name, first, second in (
        ("in one process", ours, theirs),
        ("DataLoader, 2 workers", loaded(ours), loaded(theirs)),
    ):
        ours_s, floor_s, ratio = in_turns(drained(first), drained(second), rounds)
        print(
            f"read, {name}: proofreel.open {count / ours_s:.0f} samples/s, webdataset "
            f"{count / floor_s:.0f}, ratio {ratio:.2f} (aim 1.00)"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("part", nargs="?", choices=("write", "read"))
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        material = make_material(folder, options.samples)
        dataset = folder / "dataset"
        finish(material, write(material, dataset), dataset)
        if options.part in (None, "write"):
            bench_write(material, dataset, folder, options.rounds)
        if options.part in (None, "read"):
            bench_read(dataset, options.samples, options.rounds)


if __name__ == "__main__":
    main()
