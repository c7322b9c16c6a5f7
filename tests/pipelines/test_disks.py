"""Disks that are full, read-only or gone: one clear line, and the next run goes on.

The disks are real: small ones in memory, mounted for the test.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from object_store import ObjectStore, objects
from pipeline_helpers import FAST, left_half_built, piece_of_long_video, run_here, sha256_of_files
from small_disks import ROOMY_KIB, Mount, remount, size_kib

from transforms.cache import cache_folder

__all__ = ["objects"]

RUN = (*FAST, "--set", "shots.max_clip_s=6")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    piece_of_long_video(folder / "street.mp4", 75, 14)
    return folder


@pytest.fixture(scope="module")
def whole(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a run on a disk with room."""
    out = tmp_path_factory.mktemp("whole") / "out"
    assert run_here(videos, "--out", out, *RUN) == 0
    return out


def the_line(capsys: pytest.CaptureFixture[str]) -> str:
    """What a person sees last; never a traceback."""
    stderr = capsys.readouterr().err
    assert "Traceback" not in stderr
    return stderr.strip().splitlines()[-1]


def half_built_in(store: Path) -> list[Path]:
    return list((store / "tmp").glob("*"))


def assert_goes_on(videos: Path, out: Path, store: Path, whole: Path) -> None:
    assert not (out / "dataset").exists(), "nothing half-made is published"
    assert run_here(videos, "--out", out, "--store", store, *RUN) == 0
    assert sha256_of_files(out / "dataset") == sha256_of_files(whole / "dataset")
    assert left_half_built(out) == []
    assert half_built_in(store) == [], "what a lost disk brings back is swept"


@pytest.mark.parametrize("step", ["decode", "cut"])
def test_a_store_whose_disk_is_full(
    step: str,
    videos: Path,
    whole: Path,
    mount: Mount,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    memo, out = whole / "work" / "memo", tmp_path / "out"
    before = [memo / name for name in (("probe",) if step == "decode" else ("probe", "decode"))]
    # Room for all that comes before, and for half of this.
    store = mount(tmp_path / "disk", size_kib(*before) + size_kib(memo / step) // 2)
    assert run_here(videos, "--out", out, "--store", store, *RUN) == 1
    line = the_line(capsys)
    assert line.startswith(f"proofreel: the memo store {store}: its disk is full (")
    assert "MiB free" in line
    assert "run the same command again" in line
    assert half_built_in(store) == [], "nothing half-built takes up room"
    remount(store, f"size={ROOMY_KIB}k")
    assert_goes_on(videos, out, store, whole)


@pytest.mark.parametrize("remote", ["inputs", "store"])
def test_a_folder_of_copies_whose_disk_is_full(
    remote: str,
    videos: Path,
    whole: Path,
    mount: Mount,
    objects: ObjectStore,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Videos at a URL are copied there, and what goes into a store at a URL is built there."""
    out = tmp_path / "out"
    if remote == "inputs":
        objects.put(videos / "street.mp4", "in/street.mp4")
        ways: tuple[object, ...] = (objects.url("in"), "--store", tmp_path / "store")
        room = size_kib(videos) // 2
    else:
        ways = videos, "--store", objects.url("store")
        room = size_kib(whole / "work" / "memo" / "decode") // 2
    copies = mount(cache_folder(), room)
    assert run_here(*ways, objects.option, "--out", out, *RUN) == 1
    line = the_line(capsys)
    named = "the folder of copies of remote files (PROOFREEL_CACHE names another)"
    assert line.startswith(f"proofreel: {named} {copies}: its disk is full (")
    assert "MiB free" in line
    assert "run the same command again" in line
    assert not (out / "dataset").exists(), "nothing half-made is published"
    assert list((copies / "tmp").glob("*")) == [], "nothing half-built takes up room"
    remount(copies, f"size={ROOMY_KIB}k")
    assert run_here(*ways, objects.option, "--out", out, *RUN) == 0
    assert sha256_of_files(out / "dataset") == sha256_of_files(whole / "dataset")


@pytest.mark.parametrize("what", ["dataset", "records"])
def test_an_output_folder_whose_disk_is_full(
    what: str,
    videos: Path,
    whole: Path,
    mount: Mount,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store = tmp_path / "store"
    records, dataset = (size_kib(whole / place) for place in ("work/records", "dataset"))
    room = records + 64 + dataset // 2 if what == "dataset" else records // 2
    out = mount(tmp_path / "disk", room)
    assert run_here(videos, "--out", out, "--store", store, *RUN) == 1
    line = the_line(capsys)
    assert f" {out}" in line
    assert "its disk is full (" in line
    assert half_built_in(store) == [], "nothing half-built takes up room"
    remount(out, f"size={ROOMY_KIB}k")
    assert_goes_on(videos, out, store, whole)


def test_a_store_that_is_read_only(
    videos: Path, whole: Path, mount: Mount, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, out = mount(tmp_path / "disk", ROOMY_KIB), tmp_path / "out"
    remount(store, "ro")
    assert run_here(videos, "--out", out, "--store", store, *RUN) == 1
    line = the_line(capsys)
    assert line.startswith(f"proofreel: the memo store {store} is on a disk that is read-only.")
    remount(store, "rw")
    assert half_built_in(store) == [], "nothing half-built takes up room"
    assert_goes_on(videos, out, store, whole)


@pytest.mark.parametrize("after", ["decode", "describe"])
def test_a_store_whose_disk_goes_away_in_mid_run(
    after: str,
    videos: Path,
    whole: Path,
    mount: Mount,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Moved away under the run, as when a mount is lost: an empty folder is left in its place."""
    disk, out = mount(tmp_path / "disk", ROOMY_KIB), tmp_path / "out"
    store = disk / "store"

    def take_away() -> None:
        log = out / "work" / "progress.jsonl"
        while not log.exists() or f'"{after}"' not in log.read_text("utf-8"):
            time.sleep(0.001)
        store.rename(disk / "away")

    thief = threading.Thread(target=take_away, daemon=True)
    thief.start()
    assert run_here(videos, "--out", out, "--store", store, *RUN) == 1
    thief.join(10)
    line = the_line(capsys)
    assert line.startswith(f"proofreel: the memo store {store} is gone or can't be reached")
    assert not store.exists(), "nothing is written where the disk is to be"
    (disk / "away").rename(store)
    assert_goes_on(videos, out, store, whole)
