"""Near-duplicates block by block against all clips in one place.

Clips are made up: vectors of 512 numbers as spread as CLIP's, eight frames each, eight clips to a
video; a tenth are copies that were encoded anew, a hundredth one and the same title, and neighbours
in a video drift slowly. Each measurement has a process of its own.

- `stage`: the step of the pipeline on DirectRunner, vectors in a real memo store, against the plain
  rule with all mean vectors in one array; both have to find the same.
- `functions`: the functions alone on means in a file, for more clips than anybody likes to write
  files of: what one worker holds, and the time of all pairs of blocks one after the other.

Usage: python bench/near_duplicates.py [stage|functions] [--clips N ...] [--block-clips N]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import apache_beam as beam
import numpy as np

from schemas.base import content_id
from transforms.features.comparing import FindDuplicates
from transforms.features.duplicates import (
    BLOCK_CLIPS,
    BlockVectors,
    Candidate,
    alike_in,
    block_of,
    duplicates_of,
    first_alike,
    worst_match,
)
from transforms.features.embed import Vectors, unit_vectors
from transforms.features.pictures import VECTORS_FILE, frame_vectors, mean_vector, store_vectors
from transforms.memo import MemoStore

STAGE_CLIPS = (1_000, 10_000)
FUNCTION_CLIPS = (10_000, 100_000)
WIDTH = 512
FRAMES = 8
CLIPS_OF_VIDEO = 8
THRESHOLD = 0.97
FILE = "vectors.npy"


def write_means(clips: int, path: Path) -> None:
    """Mean vectors of clips in order, some thousand at a time."""
    chance = np.random.default_rng(0)
    common, title = chance.standard_normal((2, WIDTH)).astype(np.float32)
    means = np.lib.format.open_memmap(path, "w+", np.float32, (clips, WIDTH))
    for start in range(0, clips, 10_000):
        rows = np.arange(start, min(start + 10_000, clips))
        videos = np.repeat(
            chance.standard_normal((-(-len(rows) // CLIPS_OF_VIDEO), WIDTH)), CLIPS_OF_VIDEO, axis=0
        )
        own = videos[: len(rows)] + 0.25 * chance.standard_normal((len(rows), WIDTH))
        own = own + common
        # Copies of clips of this part, and the title.
        copies = rows[chance.random(len(rows)) < 0.1] - start
        own[copies] = own[chance.integers(0, len(rows), len(copies))]
        own[chance.random(len(rows)) < 0.01] = title + common
        own += 0.1 * np.linalg.norm(own[0]) / WIDTH**0.5 * chance.standard_normal(own.shape)
        means[rows] = unit_vectors(own)
    means.flush()


def frames_of(mean: Vectors, row: int) -> Vectors:
    """The frames of a clip: its mean vector, moved a little eight ways."""
    moves = np.random.default_rng(row).standard_normal((FRAMES, WIDTH)) * 0.05 / WIDTH**0.5
    return unit_vectors(mean + moves.astype(np.float32))


def candidates(clips: int) -> Iterator[Candidate]:
    """In the order of videos, which is that of the vectors."""
    videos = sorted(content_id("v", number) for number in range(-(-clips // CLIPS_OF_VIDEO)))
    for row in range(clips):
        video, place = divmod(row, CLIPS_OF_VIDEO)
        yield Candidate(f"c{row}", videos[video], float(place), "")


# What is measured --------------------------------------------------------------------------------


def in_blocks(folder: Path, clips: int, block_clips: int) -> int:
    """The step of the pipeline; gives the number of duplicates."""
    store = MemoStore(str(folder / "store"))
    listed = [json.loads(line) for line in (folder / "refs").read_text().splitlines()]
    with beam.Pipeline(runner="DirectRunner") as pipeline:
        _ = (
            pipeline
            | beam.Create([Candidate(*one) for one in listed])
            | FindDuplicates(THRESHOLD, store, block_clips)
            | beam.combiners.Count.Globally()
            | beam.Map(lambda found: (folder / "found").write_text(str(found)))
        )
    return int((folder / "found").read_text())


def in_one_place(folder: Path, clips: int, _: int) -> int:
    """The rule as it is said, one clip after the other against all that were kept."""
    store = MemoStore(str(folder / "store"))
    listed = [json.loads(line) for line in (folder / "refs").read_text().splitlines()]
    ordered = sorted((Candidate(*one) for one in listed), key=lambda one: one.order)

    def frames(row: int) -> Vectors:
        return frame_vectors(store.path(ordered[row].feature_ref))

    means = np.stack([mean_vector(frames(row)) for row in range(clips)])
    kept: list[int] = []
    for row in range(clips):
        cosines = np.round((means[kept] @ means[row]).astype(np.float64), 5)
        near = np.flatnonzero(cosines >= THRESHOLD)
        if not any(worst_match(frames(row), frames(kept[one])) >= THRESHOLD for one in near):
            kept.append(row)
    return clips - len(kept)


def functions(folder: Path, clips: int, block_clips: int) -> int:
    """All pairs of blocks one after the other; means are read block by block."""
    places = [block_of(one, clips, block_clips) for one in candidates(clips)]
    edges = np.searchsorted(places, range(max(places) + 2))
    # Read, not mapped: pages of a mapped file would count as memory of this process.
    header = (folder / FILE).stat().st_size - clips * WIDTH * 4

    def block(number: int) -> BlockVectors:
        start, stop = edges[number : number + 2].tolist()
        place = header + start * WIDTH * 4
        own = np.fromfile(folder / FILE, np.float32, (stop - start) * WIDTH, offset=place)
        own = own.reshape(-1, WIDTH)
        return BlockVectors(number, own, lambda row: frames_of(own[row], start + row))

    found = []
    for number in range(len(edges) - 1):
        later = block(number)
        parts = (alike_in(later, block(other), THRESHOLD) for other in range(number + 1))
        found.append((number, first_alike(parts)))
    return sum(len(chosen) for _, chosen in duplicates_of(found))


WORK: dict[str, Callable[[Path, int, int], int]] = {
    work.__name__: work for work in (in_blocks, in_one_place, functions)
}


def child(name: str, folder: Path, clips: int, block_clips: int) -> None:
    """Do one work and print seconds, peak memory and what it found."""
    before_mib = memory_mib("VmRSS")
    start = time.perf_counter()
    found = WORK[name](folder, clips, block_clips)
    taken_s = time.perf_counter() - start
    peak_mib = memory_mib("VmHWM")
    print(json.dumps([taken_s, peak_mib, peak_mib - before_mib, found]))


def memory_mib(name: str) -> float:
    """Of this process: what it has (VmRSS) or had at its peak (VmHWM). What the system counts as
    the use of resources begins with that of the process that started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))


def measure(name: str, folder: Path, clips: int, block_clips: int) -> int:
    """In a process of its own."""
    command = [sys.executable, __file__, "--child", name, str(folder)]
    command += ["--clips", str(clips), "--block-clips", str(block_clips)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    taken_s, peak_mib, grown_mib, found = json.loads(done.stdout.splitlines()[-1])
    print(
        f"  {name}: {taken_s:.1f} s, peak {peak_mib:.0f} MiB ({grown_mib:.0f} MiB above what was "
        f"imported), {found} duplicates"
    )
    return int(found)


def bench_stage(folder: Path, clips: int, block_clips: int) -> None:
    store = MemoStore(str(folder / "store"))
    means = np.load(folder / FILE, mmap_mode="r")
    with (folder / "refs").open("w") as file:
        for row, one in enumerate(candidates(clips)):
            entry = store.entry("features", row)
            store_vectors(entry, range(FRAMES), frames_of(means[row], row))
            ref = entry.ref(VECTORS_FILE)
            file.write(json.dumps([one.clip_id, one.video_id, one.start_s, ref]) + "\n")
    found = {
        name: measure(name, folder, clips, block_clips) for name in ("in_one_place", "in_blocks")
    }
    assert len(set(found.values())) == 1, found


def bench(part: str, clips: int, block_clips: int) -> None:
    print(f"{part}: {clips} clips, about {block_clips} to a block")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_means(clips, folder / FILE)
        if part == "stage":
            bench_stage(folder, clips, block_clips)
        else:
            measure("functions", folder, clips, block_clips)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("part", nargs="?", choices=("stage", "functions"))
    parser.add_argument("--clips", type=int, nargs="+")
    parser.add_argument("--block-clips", type=int, default=BLOCK_CLIPS)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        child(options.child[0], Path(options.child[1]), options.clips[0], options.block_clips)
        return
    for part, clips in (("stage", STAGE_CLIPS), ("functions", FUNCTION_CLIPS)):
        if options.part in (None, part):
            for count in options.clips or clips:
                bench(part, count, options.block_clips)


if __name__ == "__main__":
    main()
