"""proofreel from file to shards, without models, against the floor: plain ffmpeg.

Floor: one decode of everything, plus one decode-and-encode of what was kept, with the same encoder
settings, two files at a time as proofreel takes them. Both run in this one call, alternately, on
the same files and cores; what counts is the ratio. CPU seconds are steadier than wall seconds on
a shared machine. Start-up (importing Beam) is measured by itself, on one tiny video.

Usage: python bench/curate.py [--rounds N] [--memory]
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
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import videos

from transforms.video.media_process import ffmpeg_exe

SETTINGS = ("--set", "features.model=none", "--set", "shots.max_clip_s=15")
ENCODE = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-c:a", "aac", "-b:a", "128k")


@dataclass(frozen=True)
class Cost:
    wall_s: float
    cpu_s: float

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.wall_s - other.wall_s, self.cpu_s - other.cpu_s)


def measured(work: Callable[[], None]) -> Cost:
    """Wall and CPU seconds of work that is done by child processes."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    work()
    after, ended = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(ended - began, cpu_s)


def ffmpeg(*arguments: str) -> None:
    command = [ffmpeg_exe(), "-v", "error", "-y", "-nostdin", *arguments]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def floor(files: Sequence[Path], folder: Path) -> None:
    """What nobody can do without: decode all once, decode and encode what is kept."""

    def one(file: Path) -> None:
        ffmpeg("-i", str(file), "-map", "0:v", "-f", "null", "-")
        scale = ["-vf", "scale=-2:'min(720,ih)'"]
        ffmpeg("-i", str(file), *scale, *ENCODE, str(folder / f"{file.stem}.mp4"))

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(one, files))


def proofreel(files: Sequence[Path], out: Path) -> None:
    """The whole command, from files to shards."""
    command = [sys.executable, "-m", "pipelines.cli", "run", *map(str, files)]
    command += ["--out", str(out), *SETTINGS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
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


def peak_memory_mib(file: Path, out: Path) -> float:
    """Largest resident size of proofreel's main process on one file."""
    command = [sys.executable, "-m", "pipelines.cli", "run", str(file), "--out", str(out)]
    process = subprocess.Popen(
        [*command, *SETTINGS], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"proofreel ended with {process.returncode}")
    return usage.ru_maxrss / 1024


def bench_speed(folder: Path, rounds: int) -> None:
    files = make_files(folder)
    tiny = videos.remade(videos.bikes(), folder / "tiny.mp4", height_px=48)
    costs: list[tuple[Cost, Cost, Cost, Cost]] = []
    for number in range(rounds):
        plain, out = folder / f"plain{number}", folder / f"out{number}"
        plain.mkdir()
        base = measured(lambda plain=plain: floor(files, plain))
        whole = measured(lambda out=out: proofreel(files, out))
        again = measured(lambda out=out: proofreel(files, out))
        start = measured(lambda n=number: proofreel([tiny], folder / f"tiny{n}"))
        costs.append((base, whole, again, start))
        print(f"round {number + 1}: floor {base}  proofreel {whole}  rerun {again}  start {start}")
    cpu = statistics.median(whole.cpu_s / base.cpu_s for base, whole, _, _ in costs)
    wall = statistics.median(whole.wall_s / base.wall_s for base, whole, _, _ in costs)
    net_cpu = statistics.median((w - s).cpu_s / b.cpu_s for b, w, _, s in costs)
    net_wall = statistics.median((w - s).wall_s / b.wall_s for b, w, _, s in costs)
    rerun = statistics.median(again.wall_s / whole.wall_s for _, whole, again, _ in costs)
    print(f"proofreel / floor: CPU {cpu:.2f}, wall {wall:.2f} (aim: at most 1.5)")
    print(f"proofreel / floor without start-up: CPU {net_cpu:.2f}, wall {net_wall:.2f}")
    print(f"rerun / first run: wall {rerun:.2f}")


def bench_memory(folder: Path) -> None:
    """Memory must not grow with the length of a video."""
    short = videos.remade(videos.many_shots(), folder / "short.mp4")
    long = videos.remade(videos.many_shots(), folder / "long.mp4", loops=7)
    small = peak_memory_mib(short, folder / "short-out")
    large = peak_memory_mib(long, folder / "long-out")
    print(f"peak memory: {small:.0f} MiB for 212 s, {large:.0f} MiB for 1696 s of video")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", action="store_true", help="measure memory instead of speed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="proofreel-bench-") as name:
        if options.memory:
            bench_memory(Path(name))
        else:
            bench_speed(Path(name), options.rounds)


if __name__ == "__main__":
    main()
