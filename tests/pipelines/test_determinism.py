"""Law 4: the same bytes whatever the parallelism, the order, the place."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pipeline_helpers import call, memo_entries, run_here, sha256_of_files


@pytest.fixture
def elsewhere(videos: Path, tmp_path: Path) -> Path:
    """The same videos in another place, with other times and in another order on disk."""
    place = tmp_path / "quite" / "another place"
    for path in sorted(videos.rglob("*"), reverse=True):
        if path.is_file():
            copy = place / path.relative_to(videos)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    return place


@pytest.mark.parametrize(
    "workers",
    [
        ("--direct_num_workers=1", "--direct_running_mode=in_memory"),
        ("--direct_num_workers=3",),
        ("--direct_num_workers=2", "--direct_running_mode=multi_threading"),
    ],
    ids=["one", "three", "two by gRPC"],
)
def test_workers_order_and_place_do_not_matter(
    workers: tuple[str, ...],
    elsewhere: Path,
    finished: Path,
    settings: tuple[str, ...],
    tmp_path: Path,
) -> None:
    out = tmp_path / "somewhere" / "else"
    inputs = (elsewhere / "second", elsewhere / "first")
    assert run_here(*inputs, "--out", out, *settings, *workers) == 0
    assert sha256_of_files(out / "dataset") == sha256_of_files(finished / "dataset")
    assert memo_entries(out).keys() == memo_entries(finished).keys()


def test_workers_in_processes_of_their_own(
    elsewhere: Path, finished: Path, settings: tuple[str, ...], tmp_path: Path
) -> None:
    workers = ("--direct_num_workers=2", "--direct_running_mode=multi_processing")
    out = tmp_path / "out"
    inputs = (elsewhere / "second", elsewhere / "first")
    code, _, stderr = call("run", *inputs, "--out", out, *settings, *workers)
    assert code == 0, stderr
    assert sha256_of_files(out / "dataset") == sha256_of_files(finished / "dataset")


def test_the_order_of_single_files_does_not_matter(videos: Path, tmp_path: Path) -> None:
    files = [videos / "first" / "deep" / "er" / "street.mp4", videos / "second" / "one shot.mp4"]
    fast = ("--set", "features.model=none", "--set", "teacher.samples=1")
    found = []
    for number, order in enumerate((files, [files[1], files[0], files[1]])):
        out = tmp_path / f"out{number}"
        assert run_here(*order, "--out", out, *fast) == 0
        found.append(sha256_of_files(out / "dataset"))
    assert found[0] == found[1]


def test_another_seed_gives_other_bytes(
    out: Path, videos: Path, finished: Path, settings: tuple[str, ...]
) -> None:
    """The comparison above would notice a difference."""
    inputs = (videos / "first", videos / "second")
    assert run_here(*inputs, "--out", out, *settings, "--set", "seed=1") == 0
    ours, others = sha256_of_files(out / "dataset"), sha256_of_files(finished / "dataset")
    assert ours["index.parquet"] != others["index.parquet"]
