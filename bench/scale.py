"""How proofreel scales on one machine: workers, overhead, growth, reruns; and what a million hours
would take.

Everything is compared side by side in one call. CPU seconds are user and system time of the run and
of all its child processes; on a shared machine they are the steadier figures, and all but `workers`
give their ratios in them.

- `workers`: one worker against two, in threads and in processes, in turns, beside what two plain
  decoders gain over one: with decoding (clips copied, not encoded), with decoding and encoding,
  with CLIP, and with a teacher behind a server that takes a fixed time. Start-up (the same run over
  finished work) is taken off.
- `overhead`: CPU per clip outside media and models: reruns over finished work with two numbers of
  clips. All media and all replies are looked up, so what grows from the one to the other is our
  own Python, Beam's, and the store's; start-up is the same in both. Once with some fifteen clips a
  video, and once with one, where all that is done for a video falls on a single clip.
- `growth`: seconds per video and peak memory for 100, 1,000 and --most tiny videos.
- `rerun`: a rerun over finished work against the first run, on real video.
- `million`: the table of docs/scale.md, from the constants in `million.py`; runs nothing.

Usage: python bench/scale.py [workers|overhead|growth|rerun|million] [--rounds N] [--most N]
           [--only decoding encoding clip teacher]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parent))
import million
import videos
from curate import cpu_seconds, ffmpeg

STEP_S = 0.2
WORKERS_S = 80
"""Of each of the four videos of `workers`."""
DELAY_S = 0.5
"""What the teacher of `workers` takes for a reply, whoever else waits."""

TINY = ("features.model=none", "shots.min_clip_s=0.5")
SHORT = (*TINY, "shots.max_clip_s=1")
PLAIN = ("features.model=none", "shots.max_clip_s=15", "shots.min_clip_s=0.5")
CLIP = ("features.model=ViT-B-32", "features.pretrained=random", *PLAIN[1:])
ONE = ("--direct_num_workers=1",)
THREADS = ("--direct_num_workers=2",)
PROCESSES = ("--direct_num_workers=2", "--direct_running_mode=multi_processing")
AS_INSTALLED = {
    name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
}
"""Modules are compiled once, as for those who install proofreel."""
EMPTY_EXIT = 1
"""A run whose teacher found nothing to ask has no dataset and says so; its cost counts all the
same."""


@dataclass(frozen=True)
class Cost:
    """What a run took."""

    wall_s: float
    cpu_s: float
    main_mib: float
    """Peak resident size of the main process."""
    tree_mib: float
    """Of it and all its children together."""


def run(inputs: Path, out: Path, settings: Sequence[str], more: Sequence[str] = ()) -> Cost:
    """The whole command in a process of its own. Raises RuntimeError if it fails."""
    given = [part for setting in settings for part in ("--set", setting)]
    begin = [sys.executable, "-m", "pipelines.cli", "run", str(inputs), "--out", str(out)]
    wall_s, cpu_s = time.perf_counter(), cpu_seconds()
    main_peak = tree_peak = 0
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            [*begin, *given, *more], stdout=said, stderr=said, env=AS_INSTALLED
        )
        main = psutil.Process(process.pid)
        while process.poll() is None:
            sizes = _sizes(main)
            main_peak, tree_peak = max(main_peak, sizes[0]), max(tree_peak, sum(sizes))
            time.sleep(STEP_S)
        said.seek(0)
        text = said.read()
    if process.returncode and not (
        process.returncode == EMPTY_EXIT and "the dataset is empty" in text
    ):
        raise RuntimeError(text[-3000:])
    return Cost(
        time.perf_counter() - wall_s, cpu_seconds() - cpu_s, main_peak / 2**20, tree_peak / 2**20
    )


def _sizes(main: psutil.Process) -> list[int]:
    """Resident bytes of a process and of each of its children."""
    sizes = [0]
    try:
        sizes = [main.memory_info().rss]
        sizes += [child.memory_info().rss for child in main.children(recursive=True)]
    except psutil.NoSuchProcess:
        pass
    return sizes


# Inputs ------------------------------------------------------------------------------------------


def tiny_videos(folder: Path, count: int) -> list[Path]:
    """Real pictures at 64x48, 10 frames/s, 1 s each. The hue turns, so no two are the same."""
    folder.mkdir()
    ffmpeg(
        *("-stream_loop", "-1", "-i", str(videos.many_shots()), "-an", "-t", str(count)),
        *("-vf", "fps=10,scale=64:48,hue=h=t/7", "-c:v", "libx264", "-preset", "ultrafast"),
        *("-g", "10", "-keyint_min", "10", "-sc_threshold", "0", "-f", "segment"),
        *("-segment_time", "1", "-reset_timestamps", "1", str(folder / "%06d.mp4")),
    )
    return sorted(folder.glob("*.mp4"))[:count]


def joined(files: Sequence[Path], length: int, folder: Path) -> list[Path]:
    """Videos of so many files each, one after the other, not encoded again."""
    folder.mkdir()
    for number in range(len(files) // length):
        parts = files[number * length : (number + 1) * length]
        names = folder / "names.txt"
        names.write_text("".join(f"file '{part}'\n" for part in parts), "utf-8")
        ffmpeg(
            *("-f", "concat", "-safe", "0", "-i", str(names), "-c", "copy"),
            str(folder / f"{number:06d}.mp4"),
        )
    return sorted(folder.glob("*.mp4"))


def first_of(files: Sequence[Path], count: int, folder: Path) -> Path:
    """A folder that holds the first of the files."""
    folder.mkdir()
    for file in files[:count]:
        (folder / file.name).hardlink_to(file)
    return folder


def real_videos(folder: Path, height_px: int, count: int, duration_s: int = 212) -> Path:
    """So many times the beginning of 212 s with 130 shots, no two the same."""
    folder.mkdir()
    for number in range(count):
        ffmpeg(
            *("-t", str(duration_s), "-i", str(videos.many_shots())),
            *("-vf", f"scale=-2:{height_px},hue=h={9 * number}"),
            *("-c:v", "libx264", "-preset", "veryfast", "-g", "25", "-c:a", "aac"),
            str(folder / f"{number}.mp4"),
        )
    return folder


# Workers -----------------------------------------------------------------------------------------


class _SlowTeacher(BaseHTTPRequestHandler):
    """Says the same to everybody, after a while: an empty list is no question about any clip."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._send({"data": [{"id": "slow"}]})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(DELAY_S)
        ready = b"test of the connection" in body
        text = '{"ready": true}' if ready else "I have nothing to say."
        message = {"role": "assistant", "content": text}
        self._send({"choices": [{"message": message, "finish_reason": "stop"}]})

    def _send(self, value: dict[str, Any]) -> None:
        content = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def slow_teacher() -> Iterator[str]:
    """The base URL of a server that takes DELAY_S for a reply."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _SlowTeacher)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


MODES = {
    "one, on one core": ONE,
    "one": ONE,
    "two threads": THREADS,
    "two processes": PROCESSES,
}


def machine_speedup(files: Sequence[Path]) -> float:
    """How much faster two plain decoders are than one: more can't be had here. Two cores that share
    their units, or a host that has other guests, are less than twice one."""

    def decode(file: Path) -> None:
        ffmpeg("-threads", "1", "-i", str(file), "-f", "null", "-")

    def wall_s(at_once: int) -> float:
        began_s = time.perf_counter()
        with ThreadPoolExecutor(at_once) as threads:
            list(threads.map(decode, files))
        return time.perf_counter() - began_s

    return wall_s(1) / wall_s(2)


WORK = ("decoding", "encoding", "clip", "teacher")


def bench_workers(folder: Path, rounds: int, only: Sequence[str] = WORK) -> None:
    inputs = real_videos(folder / "in", 480, 4, WORKERS_S)
    files = sorted(inputs.glob("*.mp4"))
    floor = statistics.median(machine_speedup(files) for _ in range(3))
    print(
        f"plain decoders: two at once {floor:.2f} times as fast as one after the other", flush=True
    )
    with slow_teacher() as url:
        teacher = (
            *("teacher.kind=openai", f"teacher.url={url}", "teacher.model=slow"),
            *("describe.levels=none", "run.max_failed_share=1", *PLAIN),
        )
        # What is made before is in the store that each round begins with.
        base = folder / "base"
        if {"clip", "teacher"} & set(only):
            run(inputs, base, PLAIN)
        for kind, name, before, settings in (
            ("decoding", "decoding", (), ("cut.mode=copy", *PLAIN)),
            ("encoding", "decoding and encoding", (), PLAIN),
            ("clip", "CLIP", PLAIN, CLIP),
            ("teacher", f"teacher of {DELAY_S} s", PLAIN, teacher),
        ):
            if kind not in only:
                continue
            found: dict[str, list[float]] = {mode: [] for mode in MODES}
            for number in range(rounds):
                for mode, options in MODES.items():
                    out = folder / f"{name}-{mode}-{number}"
                    if before:
                        shutil.copytree(base, out)
                    first, again = (_pinned(mode, inputs, out, settings, options) for _ in "12")
                    found[mode].append(first.wall_s - again.wall_s)
                    print(
                        f"  {name}, {mode}: {first.wall_s:.1f} s, rerun {again.wall_s:.1f} s; CPU "
                        f"{first.cpu_s:.1f} and {again.cpu_s:.1f} s; {first.tree_mib:.0f} MiB",
                        flush=True,
                    )
                    shutil.rmtree(out)
            _tell_speedup(name, found)


def _pinned(
    mode: str, inputs: Path, out: Path, settings: Sequence[str], options: Sequence[str]
) -> Cost:
    """A run on as many cores as the mode says."""
    cores = os.sched_getaffinity(0)
    if mode == "one, on one core":
        os.sched_setaffinity(0, {min(cores)})
    try:
        return run(inputs, out, settings, options)
    finally:
        os.sched_setaffinity(0, cores)


def _tell_speedup(name: str, found: dict[str, list[float]]) -> None:
    for one in ("one, on one core", "one"):
        for many in ("two threads", "two processes"):
            pairs = list(zip(found[one], found[many], strict=True))
            if min(min(pair) for pair in pairs) <= 0.0:
                # Less work than start-up varies by: a ratio would mean nothing.
                print(f"{name}: {many} against {one}: too short to tell", flush=True)
                continue
            ratio = statistics.median(a / b for a, b in pairs)
            print(f"{name}: {many} {ratio:.2f} times as fast as {one}", flush=True)


# Overhead, growth, rerun -------------------------------------------------------------------------


def clips_of(out: Path) -> int:
    manifest = json.loads((out / "dataset" / "manifest.json").read_text("utf-8"))
    return int(next(line["out"] for line in manifest["funnel"] if line["stage"] == "cut"))


def bench_overhead(folder: Path, rounds: int) -> None:
    tiny = tiny_videos(folder / "all", 1_200)
    longer = joined(tiny, 12, folder / "joined")
    for name, files, settings in (
        ("some fifteen clips a video", longer, SHORT),
        ("one clip a video", tiny[:1_000], TINY),
    ):
        few, many = (
            first_of(files, count, folder / f"in-{files[0].parent.name}-{count}")
            for count in (len(files) // 10, len(files))
        )
        for inputs in (few, many):
            run(inputs, folder / f"out-{inputs.name}", settings)
        clips = clips_of(folder / f"out-{many.name}") - clips_of(folder / f"out-{few.name}")
        for mode, options in (("one worker", ONE), ("two threads", THREADS)):
            per_clip = []
            for _ in range(rounds):
                small, large = (
                    run(one, folder / f"out-{one.name}", settings, options) for one in (few, many)
                )
                per_clip.append(1_000 * (large.cpu_s - small.cpu_s) / clips)
                print(
                    f"  {name}, {mode}: reruns {small.cpu_s:.1f} and {large.cpu_s:.1f} CPU s for "
                    f"{clips} clips between them: {per_clip[-1]:.1f} ms each",
                    flush=True,
                )
            print(
                f"{name}, {mode}: overhead {statistics.median(per_clip):.1f} ms of CPU a clip "
                "(aim 5)",
                flush=True,
            )


def bench_growth(folder: Path, most: int) -> None:
    """Time must grow with the number of videos, not faster, and memory not at all."""
    files = tiny_videos(folder / "all", most)
    start = run(first_of(files, 1, folder / "in1"), folder / "out1", TINY)
    per_video: dict[int, float] = {}
    for count in sorted({100, min(1_000, most), most}):
        out = folder / f"out{count}"
        cost = run(first_of(files, count, folder / f"in{count}"), out, TINY)
        per_video[count] = (cost.cpu_s - start.cpu_s) / count
        print(
            f"{count} videos: {cost.cpu_s:.0f} CPU s ({cost.wall_s:.0f} s), "
            f"{1_000 * per_video[count]:.0f} CPU ms each; peak of the main process "
            f"{cost.main_mib:.0f} MiB, with its children {cost.tree_mib:.0f} MiB",
            flush=True,
        )
    print(f"CPU per video at {most} over 100: {per_video[most] / per_video[100]:.2f} (aim 1)")


def bench_rerun(folder: Path, rounds: int) -> None:
    inputs = real_videos(folder / "in", 480, 4)
    tiny = tiny_videos(folder / "all", 200)
    for number, (name, source, settings) in enumerate(
        (
            ("848 s of video at 480p", inputs, PLAIN),
            ("848 s of video at 480p, with CLIP", inputs, CLIP),
            ("200 tiny videos", first_of(tiny, 200, folder / "in200"), TINY),
        )
    ):
        out = folder / f"out-{number}"
        first = run(source, out, settings)
        again = [run(source, out, settings) for _ in range(rounds)]
        cpu_s = statistics.median(one.cpu_s for one in again)
        wall_s = statistics.median(one.wall_s for one in again)
        print(
            f"{name}: first run {first.cpu_s:.0f} CPU s ({first.wall_s:.0f} s), rerun {cpu_s:.1f} "
            f"({wall_s:.1f} s): {cpu_s / first.cpu_s:.1%} of the CPU, "
            f"{wall_s / first.wall_s:.1%} of the time (aim 3%)",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    kinds = ["workers", "overhead", "growth", "rerun", "million"]
    parser.add_argument("what", nargs="?", default="overhead", choices=kinds)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--most", type=int, default=10_000, help="videos of growth's last run")
    parser.add_argument("--only", nargs="+", choices=WORK, default=WORK, help="of workers")
    options = parser.parse_args()
    if options.what == "million":
        print(million.table())
        return
    with tempfile.TemporaryDirectory(prefix="proofreel-bench-") as name:
        if options.what == "workers":
            bench_workers(Path(name), options.rounds, options.only)
        elif options.what == "overhead":
            bench_overhead(Path(name), options.rounds)
        elif options.what == "growth":
            bench_growth(Path(name), options.most)
        else:
            bench_rerun(Path(name), options.rounds)


if __name__ == "__main__":
    main()
