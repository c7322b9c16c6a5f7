"""proofreel without models against the floor: plain ffmpeg.

Floor: one decode of everything, plus one decode-and-encode of what was kept, with the same encoder
settings, as many files at a time as there are cores, as proofreel takes them. Everything runs in
this one call, alternately, on the same files and cores; what counts is the ratio. CPU seconds are
steadier than wall seconds on a shared machine.

- `speed`: media legs alone (from file to clips, what splitters do) and the whole command (with
  questions, answers, verification and shards), each over the floor; per leg, the seconds of video
  that one core gets through in a second.
- `memory`: peak of the process tree on a short and on an hour-long video.
- `growth`: seconds per video for 10, 100 and 1,000 short videos, start-up taken off.

Usage: python bench/curate.py [speed|memory|growth] [--rounds N]
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parent))
import videos

from pipelines.config import load_config
from schemas.clip import Media
from schemas.source import Source, location
from transforms.memo import MemoStore
from transforms.video.analyse import Analyser
from transforms.video.cut import cut
from transforms.video.ingest import ingest
from transforms.video.media_process import ffmpeg_exe
from transforms.video.segment import segment

SETTINGS = ("features.model=none", "shots.max_clip_s=15", "shots.min_clip_s=0.5")
ENCODE = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-c:a", "aac", "-b:a", "128k")
CORES = len(os.sched_getaffinity(0))
MEMORY_STEP_S = 0.1


@dataclass
class Cost:
    wall_s: float = 0.0
    cpu_s: float = 0.0


def cpu_seconds() -> float:
    """CPU seconds of this process and of its children that have ended."""
    uses = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(use.ru_utime + use.ru_stime for use in uses)


@contextmanager
def measured(cost: Cost) -> Iterator[None]:
    """Add what the block takes."""
    wall_s, cpu_s = time.perf_counter(), cpu_seconds()
    yield
    cost.wall_s += time.perf_counter() - wall_s
    cost.cpu_s += cpu_seconds() - cpu_s


def at_once(work: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """Work on as many items at a time as there are cores."""
    with ThreadPoolExecutor(CORES) as pool:
        return list(pool.map(work, items))


def ffmpeg(*arguments: str) -> None:
    command = [ffmpeg_exe(), "-v", "error", "-y", "-nostdin", *arguments]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def floor(files: Sequence[Path], folder: Path) -> None:
    """What nobody can do without: decode all once, decode and encode what is kept."""

    def one(file: Path) -> None:
        ffmpeg("-i", str(file), "-map", "0:v", "-f", "null", "-")
        scale = ["-vf", "scale=-2:'min(720,ih)'"]
        ffmpeg("-i", str(file), *scale, *ENCODE, str(folder / f"{file.stem}.mp4"))

    at_once(one, files)


@dataclass
class Legs:
    """Cost of each media leg over all files, and how much video went in and was kept."""

    costs: dict[str, Cost] = field(default_factory=dict)
    video_s: float = 0.0
    kept_s: float = 0.0

    @property
    def whole(self) -> Cost:
        parts = self.costs.values()
        return Cost(sum(part.wall_s for part in parts), sum(part.cpu_s for part in parts))


def media_legs(files: Sequence[Path], folder: Path) -> Legs:
    """From files to clips with proofreel's functions, leg by leg."""
    config = load_config(None, SETTINGS)
    store, legs = MemoStore(str(folder)), Legs()
    for name in ("ingest", "analyse", "segment", "cut"):
        legs.costs[name] = Cost()
    with measured(legs.costs["ingest"]):
        sources = [Source(uri=file.name, location=location(file)) for file in files]
        found = at_once(lambda source: ingest(source, store), sources)
    with measured(legs.costs["analyse"]):
        analyser = Analyser(config.input, config.shots.score_family, config.features.fps, store)
        footage = [one for done in at_once(analyser, found) for one in done.outputs]
        decoded = [one.decoded for one in footage]
    with measured(legs.costs["segment"]):
        pairs = list(zip(found, decoded, strict=True))
        planned = [segment(video, facts, store, config.shots)[0] for video, facts in pairs]
    with measured(legs.costs["cut"]):
        ends = at_once(
            lambda job: cut(*job[0], job[1], store, config.cut), zip(pairs, planned, strict=True)
        )
    legs.video_s = sum(facts.duration_s for facts in decoded)
    media = [end for several in ends for end in several.values() if isinstance(end, Media)]
    legs.kept_s = sum(one.duration_s for one in media)
    return legs


def command(inputs: Iterable[Path], out: Path) -> list[str]:
    """The whole command, from files to shards."""
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    begin = [sys.executable, "-m", "pipelines.cli", "run", *map(str, inputs)]
    return [*begin, "--out", str(out), *settings]


def proofreel(inputs: Iterable[Path], out: Path) -> None:
    done = subprocess.run(command(inputs, out), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)


def make_files(folder: Path) -> list[Path]:
    """Real pictures at 240p to 1080p, some minutes in all."""
    return [
        videos.remade(videos.many_shots(), folder / "shots240.mp4", height_px=240),
        videos.remade(videos.many_shots(), folder / "shots480.mp4", height_px=480),
        videos.remade(videos.bikes(), folder / "bikes.mp4", loops=2),
        videos.remade(videos.big_buck_bunny(), folder / "bunny720.mp4", loops=5),
        videos.remade(videos.big_buck_bunny(), folder / "bunny1080.mp4", height_px=1080, loops=3),
    ]


def bench_speed(folder: Path, rounds: int) -> None:
    files = make_files(folder)
    tiny = videos.remade(videos.bikes(), folder / "tiny.mp4", height_px=48)
    names = ("floor", "legs", "whole", "rerun", "start")
    found: list[dict[str, Cost]] = []
    for number in range(rounds):
        costs = {name: Cost() for name in names}
        plain, out = folder / f"plain{number}", folder / f"out{number}"
        plain.mkdir()
        with measured(costs["floor"]):
            floor(files, plain)
        legs = media_legs(files, folder / f"store{number}")
        costs["legs"] = legs.whole
        for name, inputs, target in (
            ("whole", files, out),
            ("rerun", files, out),
            ("start", [tiny], folder / f"tiny{number}"),
        ):
            with measured(costs[name]):
                proofreel(inputs, target)
        found.append(costs)
        shown = ", ".join(f"{n} {c.cpu_s:.1f} ({c.wall_s:.1f})" for n, c in costs.items())
        print(f"round {number + 1}, CPU (wall) seconds: {shown}")
        print(f"{legs.video_s:.0f} s of video, {legs.kept_s / legs.video_s:.1%} kept as clips")
        for name, cost in legs.costs.items():
            if cost.cpu_s > 0.1:
                print(f"  {name}: {legs.video_s / cost.cpu_s:.1f} video-s per core-s")

    def over_floor(cost: Callable[[dict[str, Cost]], float], kind: str) -> float:
        return statistics.median(cost(one) / getattr(one["floor"], kind) for one in found)

    for label, kind in (("CPU", "cpu_s"), ("wall", "wall_s")):
        legs_ratio = over_floor(lambda one, kind=kind: getattr(one["legs"], kind), kind)
        whole = over_floor(lambda one, kind=kind: getattr(one["whole"], kind), kind)
        net = over_floor(
            lambda one, kind=kind: getattr(one["whole"], kind) - getattr(one["start"], kind), kind
        )
        print(
            f"{label} over the floor: media legs {legs_ratio:.2f} (aim 1.25), whole command "
            f"{whole:.2f}, without start-up {net:.2f}"
        )
    rerun = statistics.median(one["rerun"].wall_s / one["whole"].wall_s for one in found)
    print(f"rerun over first run: wall {rerun:.2f}")


def peak_memory_mib(inputs: Iterable[Path], out: Path) -> tuple[float, float]:
    """Largest resident size of proofreel's main process, and of all its processes together."""
    run = subprocess.Popen(
        command(inputs, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    main = psutil.Process(run.pid)
    own_peak = tree_peak = 0.0
    while run.poll() is None:
        try:
            own = main.memory_info().rss
            children = sum(one.memory_info().rss for one in main.children(recursive=True))
        except psutil.NoSuchProcess:
            continue
        own_peak, tree_peak = max(own_peak, own), max(tree_peak, own + children)
        time.sleep(MEMORY_STEP_S)
    if run.returncode != 0:
        raise RuntimeError(f"proofreel ended with {run.returncode}")
    return own_peak / 2**20, tree_peak / 2**20


def bench_memory(folder: Path) -> None:
    """Memory must not grow with the length of a video."""
    short = videos.remade(videos.many_shots(), folder / "short.mp4")
    long = videos.remade(videos.many_shots(), folder / "long.mp4", loops=16)
    for name, file in (("212 s", short), ("one hour", long)):
        own, tree = peak_memory_mib([file], folder / f"{file.stem}-out")
        print(f"{name} of video: main process {own:.0f} MiB, with its children {tree:.0f} MiB")


def bench_growth(folder: Path) -> None:
    """Time must grow with the number of videos, not faster."""
    source = folder / "shorts"
    source.mkdir()
    # The hue turns all the time, so that no two pieces are the same.
    ffmpeg(
        *("-stream_loop", "9", "-i", str(videos.many_shots()), "-vf", "hue=h=t/7", "-an"),
        *("-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-t", "2000"),
        *("-f", "segment", "-segment_time", "2", "-reset_timestamps", "1"),
        str(source / "%04d.mp4"),
    )
    files = sorted(source.glob("*.mp4"))[:1_000]
    per_video: dict[int, float] = {}
    start = Cost()
    with measured(start):
        proofreel(files[:1], folder / "out-start")
    for count in (10, 100, len(files)):
        cost = Cost()
        inputs = folder / f"in{count}"
        inputs.mkdir()
        for file in files[:count]:
            (inputs / file.name).hardlink_to(file)
        with measured(cost):
            proofreel([inputs], folder / f"out{count}")
        per_video[count] = (cost.wall_s - start.wall_s) / count
        print(f"{count} videos of 2 s: {cost.wall_s:.1f} s, {per_video[count]:.3f} s each")
    most = max(per_video)
    print(f"seconds per video at {most} over 100: {per_video[most] / per_video[100]:.2f} (aim 1)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", default="speed", choices=["speed", "memory", "growth"])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="proofreel-bench-") as name:
        if options.what == "speed":
            bench_speed(Path(name), options.rounds)
        elif options.what == "memory":
            bench_memory(Path(name))
        else:
            bench_growth(Path(name))


if __name__ == "__main__":
    main()
