"""Real disks of a few KiB in memory, mounted for a test. Where nobody may mount, it is skipped."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

KIB = 1024
ROOMY_KIB = 64 * KIB

Mount = Callable[[Path, int], Path]


@pytest.fixture
def mount() -> Iterator[Mount]:
    """Mounts a disk of some KiB in memory; it is unmounted after the test."""
    with ExitStack() as stack:
        yield lambda folder, size: stack.enter_context(small_disk(folder, size))


@pytest.fixture(params=["disk", "limit"])
def little_room(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Arguments of `subprocess.run` with which temporary files may take 1 MiB: on a real disk, and
    by a limit of the process, which there is where nobody may mount."""
    if request.param == "disk":
        with small_disk(tmp_path / "temporary", KIB) as folder:
            yield {"env": {**os.environ, "TMPDIR": str(folder)}}
        return
    limits = KIB * KIB, resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    yield {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits)}


@contextmanager
def small_disk(folder: Path, size_kib: int) -> Iterator[Path]:
    """Mounted at the folder within the block."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_kib}k", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no right to mount: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False, capture_output=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def size_kib(*places: Path) -> int:
    """Room that files take on such a disk, whose blocks have 4 KiB."""
    files = [file for place in places for file in place.rglob("*") if file.is_file()]
    return sum(-(-file.stat().st_size // 4096) * 4 for file in files)
