"""Runs of the whole product on an engine, to be compared with the local runner's."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from pipeline_helpers import FAST, carphone, piece_of_long_video, sha256_of_files, start

TIMEOUT_S = 400
SETTINGS = (*FAST, "--set", "shots.max_clip_s=10", "--set", "publish.validation_share=0.6")


def make_videos(folder: Path) -> None:
    """Two real videos: one gives clips and questions, the other nothing to ask."""
    folder.mkdir()
    piece_of_long_video(folder / "street.mp4", 75, 14)
    shutil.copyfile(carphone(), folder / "one shot.mp4")


@contextlib.contextmanager
def started(videos: Path, out: Path, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """`proofreel run` at work; ended with the block if it has not ended itself."""
    with start("run", videos, "--out", out, *SETTINGS, *arguments) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def finish(process: subprocess.Popen[str]) -> None:
    """Wait for a run that has to succeed."""
    _, stderr = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, stderr[-4000:]


def dataset_of(videos: Path, out: Path, *arguments: object) -> dict[str, str]:
    """Hashes of the files of the dataset that a run makes."""
    with started(videos, out, *arguments) as process:
        finish(process)
    return sha256_of_files(out / "dataset")
