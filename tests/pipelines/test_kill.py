"""Killed at any moment and started again: the same end, and nothing finished is done twice."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from pipeline_helpers import (
    FAST,
    below,
    left_half_built,
    long_video,
    memo_entries,
    piece_of_long_video,
    run_here,
    sha256_of_files,
    start,
)

from transforms.publish.check import check_dataset

MOMENTS = 6
SEED = 20261123
END_BY_THEMSELVES_S = 10.0

RUN = (*FAST, "--set", "shots.max_clip_s=6", "--set", "teacher.samples=2")


@pytest.fixture(scope="module")
def short_videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("short")
    for number, start_s in enumerate((75, 110, 150)):
        piece_of_long_video(folder / f"{number}.mp4", start_s, 7)
    return folder


@pytest.fixture(scope="module")
def undisturbed(
    short_videos: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, float, float]:
    """The output of a run that was left alone; when its work began and ended after its start."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    began = time.monotonic()
    with start("run", short_videos, "--out", out, *RUN) as process:
        while not (out / "work" / "lock").exists():
            assert process.poll() is None
            time.sleep(0.005)
        work_began_s = time.monotonic() - began
        _, stderr = process.communicate(timeout=180)
    assert process.returncode == 0, stderr
    return out, work_began_s, time.monotonic() - began


def wait_for_work(out: Path, process: subprocess.Popen[str]) -> None:
    """Until the run has taken its lock: from there on it works."""
    while not (out / "work" / "lock").exists():
        assert process.poll() is None
        time.sleep(0.005)


def family(parent: psutil.Process) -> list[psutil.Process]:
    return [parent, *parent.children(recursive=True)]


def kill_all(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """SIGKILL to a run and all its children; those that there were."""
    killed: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        killed = kill_family(psutil.Process(process.pid))
    process.communicate(timeout=30)
    return killed


def kill_family(parent: psutil.Process) -> list[psutil.Process]:
    """SIGKILL to a process and all its children; those that there were."""
    killed: dict[int, psutil.Process] = {}
    # A child that is born between looking and killing is found the next time.
    with contextlib.suppress(psutil.NoSuchProcess):
        for one in family(parent):
            killed[one.pid] = one
            with contextlib.suppress(psutil.NoSuchProcess):
                one.send_signal(signal.SIGSTOP)
        for one in family(parent):
            killed[one.pid] = one
    for one in killed.values():
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    return list(killed.values())


def still_there(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [
        one
        for one in processes
        if one.is_running() and one.status() != psutil.STATUS_ZOMBIE and one.pid != os.getpid()
    ]


def wait_for_end(processes: list[psutil.Process], timeout_s: float) -> list[psutil.Process]:
    """Those that are still there after the time."""
    end = time.monotonic() + timeout_s
    while (left := _alive(processes)) and time.monotonic() < end:
        time.sleep(0.02)
    return left


def _alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    found = []
    for one in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            found += still_there([one])
    return found


def assert_same_end(out: Path, whole: Path, kept: dict[str, tuple[int, int]]) -> None:
    """As a run that was left alone, and what was finished at the kill was not touched."""
    assert sha256_of_files(out / "dataset") == sha256_of_files(whole / "dataset")
    assert check_dataset(out / "dataset") == []
    assert left_half_built(out) == []
    after = memo_entries(out)
    assert {place: after.get(place) for place in kept} == kept
    assert after.keys() == memo_entries(whole).keys()


def moments() -> list[float]:
    """One random moment in each equal part of the run, as a share of its working time."""
    chance = random.Random(SEED)
    return [(number + chance.random()) / MOMENTS for number in range(MOMENTS)]


@pytest.mark.parametrize("moment", moments(), ids=lambda moment: f"{moment:.2f}")
def test_killed_and_started_again(
    moment: float,
    short_videos: Path,
    undisturbed: tuple[Path, float, float],
    tmp_path: Path,
) -> None:
    whole, began_s, ended_s = undisturbed
    out = tmp_path / "out"
    process = start("run", short_videos, "--out", out, *RUN)
    wait_for_work(out, process)
    time.sleep(moment * (ended_s - began_s))
    killed = kill_all(process)
    assert wait_for_end(killed, 5.0) == []
    kept = memo_entries(out)
    assert run_here(short_videos, "--out", out, *RUN) == 0
    assert_same_end(out, whole, kept)


def test_killed_again_and_again(
    short_videos: Path, undisturbed: tuple[Path, float, float], tmp_path: Path
) -> None:
    """Each time a little further: at the latest when a new result was stored."""
    whole = undisturbed[0]
    out = tmp_path / "out"
    chance = random.Random(SEED)
    seen: dict[str, tuple[int, int]] = {}
    for _ in range(2):
        process = start("run", short_videos, "--out", out, *RUN)
        goal = len(seen) + chance.randint(1, 4)
        while len(memo_entries(out)) < goal and process.poll() is None:
            time.sleep(0.01)
        kill_all(process)
        now = memo_entries(out)
        assert {place: now.get(place) for place in seen} == seen
        seen = now
    assert len(seen) >= 2
    assert run_here(short_videos, "--out", out, *RUN) == 0
    assert_same_end(out, whole, seen)


def test_a_kill_leaves_an_existing_dataset_whole(
    short_videos: Path, undisturbed: tuple[Path, float, float], tmp_path: Path
) -> None:
    """A reader finds the old dataset or the new one, never a mixture or half of one."""
    out = Path(shutil.copytree(undisturbed[0], tmp_path / "out"))
    old = sha256_of_files(out / "dataset")
    other = (*RUN, "--set", "verify.repair_rounds=0")
    (out / "work" / "progress.jsonl").unlink()
    process = start("run", short_videos, "--out", out, *other)
    while process.poll() is None and not (out / "work" / "progress.jsonl").exists():
        time.sleep(0.005)
    kill_all(process)
    between = sha256_of_files(out / "dataset")
    assert check_dataset(out / "dataset") == []
    assert run_here(short_videos, "--out", out, *other) == 0
    new = sha256_of_files(out / "dataset")
    assert between in (old, new)
    assert new != old
    assert check_dataset(out / "dataset") == []
    assert left_half_built(out) == []


def test_killed_while_the_dataset_was_replaced(
    short_videos: Path, undisturbed: tuple[Path, float, float], tmp_path: Path
) -> None:
    """The moment is too short to be met by chance: the old one is away, the new one not there."""
    whole = undisturbed[0]
    out = Path(shutil.copytree(whole, tmp_path / "out"))
    kept = memo_entries(out)
    draft = out / "work" / "partial" / "of-a-killed-run"
    shutil.copytree(out / "dataset", draft / "dataset")
    (out / "dataset").rename(out / "work" / "dataset.old")
    shutil.copytree(out / "work" / "records", draft / "records")
    left = out / "work" / "memo" / "tmp" / f"0123-{socket.gethostname()}-4567"
    left.mkdir(parents=True)
    left.with_name(f"{left.name}.lock").touch()
    assert run_here(short_videos, "--out", out, *RUN) == 0
    assert_same_end(out, whole, kept)


@pytest.mark.parametrize("step", ["decode", "cut"])
def test_media_processes_end_when_their_parent_died(step: str, tmp_path: Path) -> None:
    """Only the run itself is killed, as by the system when memory is short."""
    out = tmp_path / "out"
    process = start("run", long_video(), "--out", out, *FAST, "--direct_num_workers=1")
    memo = out / "work" / "memo"
    children: list[psutil.Process] = []
    while not children and process.poll() is None:
        time.sleep(0.005)
        if step == "cut" and not (memo / "decode").exists():
            continue
        with contextlib.suppress(psutil.NoSuchProcess):
            found = psutil.Process(process.pid).children(recursive=True)
            name = {"decode": "-nostdin", "cut": "transforms.video.cut_child"}[step]
            at_work = [one for one in found if name in one.cmdline()]
            # In the middle of the work, not before the first frame.
            built = any(path.parent != memo / "tmp" for path in below(memo / "tmp"))
            children = at_work if built else []
    assert children, "the run ended before its process was found"
    process.kill()
    process.communicate(timeout=30)
    left = wait_for_end(children, END_BY_THEMSELVES_S)
    commands = [one.cmdline() for one in left]
    for one in left:
        one.kill()
    assert commands == []
