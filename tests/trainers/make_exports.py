"""Makes what the tests of the trainers load: a real run, and its dataset in each trainer's form.

Usage: python tests/trainers/make_exports.py FOLDER

In FOLDER then are `run/`, one folder per format under `exports/`, and `graded.json`: what the
verifier gave each reply of the teacher, right and wrong ones, by sample.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "pipelines"))
sys.path.insert(0, str(Path(__file__).parents[2]))

import pyarrow.parquet as pq
from pipeline_helpers import FAST, bikes, piece_of_long_video, run_here

from pipelines.cli import main
from pipelines.records import find_record
from schemas.case import Case
from schemas.rewards import format_response
from transforms.verify.checks import answer_check

FORMATS = ("trl", "verl", "ms-swift", "llama-factory", "energon", "openrlhf")
SETTINGS = (
    *FAST,
    *("--set", "shots.max_clip_s=10"),
    *("--set", "publish.validation_share=0.5"),
)


def make(folder: Path) -> None:
    """Run the pipeline on three real videos and export what comes of it."""
    videos, run = folder / "videos", folder / "run"
    videos.mkdir(parents=True)
    shutil.copyfile(bikes(), videos / "bikes.mp4")
    piece_of_long_video(videos / "street.mp4", 75, 14)
    piece_of_long_video(videos / "town.mkv", 110, 14)
    if run_here(videos, "--out", run, *SETTINGS) != 0:
        sys.exit("the run failed")
    text = json.dumps(graded_replies(run), indent=1, sort_keys=True)
    (folder / "graded.json").write_text(text, "utf-8")
    for name in FORMATS:
        out = folder / "exports" / name
        # Few and small frames: the small model knows pictures of 112x112 pixels.
        small = ("--max-frames", "4", "--max-side", "112")
        if main(["export", str(run), "--to", name, "--out", str(out), *small]) != 0:
            sys.exit(f"the export to {name} failed")


def graded_replies(run: Path) -> dict[str, list[tuple[str, float]]]:
    """By id of each sample: (reply as it is published, what the verifier gave its answer)."""
    index = pq.read_table(run / "dataset" / "index.parquet", columns=["id", "task_id"])
    return {row["id"]: _replies(run, row["task_id"]) for row in index.to_pylist()}


def _replies(run: Path, task_id: str) -> list[tuple[str, float]]:
    text = find_record(run / "work" / "records", "case", task_id)
    if text is None:
        sys.exit(f"no record of task {task_id}")
    case = Case.from_json(text)
    name = answer_check(case.task.kind)
    return [
        (format_response(one.rollout.reasoning, one.rollout.answer_text), check.score)
        for one in case.attempts
        for check in one.verdict.checks
        if check.name == name
    ]


if __name__ == "__main__":
    target = Path(sys.argv[1])
    shutil.rmtree(target, ignore_errors=True)
    make(target)
