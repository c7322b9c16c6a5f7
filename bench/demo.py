"""The demo: the main job on real video from packages, without GPU, model hub or root.

Usage: python bench/demo.py [FOLDER]     (default: demo-out)
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import pyarrow.parquet as pq
import videos

PICTURES = 6


def proofreel(*arguments: str, quiet: bool = False) -> None:
    """Run the command line as a user would, showing what is typed."""
    if not quiet:
        print("$ proofreel " + " ".join(arguments), flush=True)
    command = [sys.executable, "-m", "pipelines.cli", *arguments]
    done = subprocess.run(command, check=False, stdout=subprocess.DEVNULL if quiet else None)
    if done.returncode != 0:
        sys.exit(done.returncode)


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "demo-out")
    inputs, out, pictures = folder / "videos", folder / "run", folder / "pictures"
    for place in (inputs, pictures):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
    for video in (videos.big_buck_bunny(), videos.bikes(), videos.many_shots()):
        shutil.copy(video, inputs / video.name)
    # Random CLIP weights find near-duplicates and need no hub; see `proofreel doctor`.
    settings = ("--set", "features.pretrained=random", "--set", "shots.max_clip_s=15")
    proofreel("run", str(inputs), "--out", str(out), *settings)
    proofreel("check", str(out))
    draw_tasks(out, pictures)


def draw_tasks(out: Path, pictures: Path) -> None:
    """Draw a few tasks of a run, and say where everything lies."""
    for task in _some_tasks(out):
        picture = pictures / f"{task}.png"
        proofreel("inspect", str(out), task, "--picture", str(picture), quiet=True)
    print(f"dataset:  {out / 'dataset'}  (start with its README.md)")
    print(f"pictures: {pictures}  (question, reasoning, spans on the frames, checks)")


def _some_tasks(out: Path) -> list[str]:
    """A few tasks, one of each kind first."""
    index = pq.read_table(out / "dataset" / "index.parquet", columns=["task_id", "task_kind"])
    kinds: dict[str, list[str]] = {}
    for row in index.to_pylist():
        tasks = kinds.setdefault(row["task_kind"], [])
        if row["task_id"] not in tasks:
            tasks.append(row["task_id"])
    rounds = max(map(len, kinds.values()), default=0)
    order = [tasks[n] for n in range(rounds) for tasks in kinds.values() if n < len(tasks)]
    return order[:PICTURES]


if __name__ == "__main__":
    main()
