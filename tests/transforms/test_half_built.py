"""What is being built is told from what was left: by a lock, or, where there are none, by age."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import threading
from pathlib import Path

import pytest

from transforms.half_built import STALE_S, half_built, sweep


def leave(parent: Path, host: str, *, lock: bool = True) -> Path:
    """What a killed process leaves."""
    folder = parent / f"key-{host}-0123"
    folder.mkdir()
    (folder / "half").write_bytes(b"half")
    if lock:
        folder.with_name(f"{folder.name}.lock").touch()
    return folder


def age(parent: Path, seconds: float) -> None:
    for path in parent.rglob("*"):
        facts = path.stat()
        os.utime(path, (facts.st_atime - seconds, facts.st_mtime - seconds))


def test_what_was_left_goes_and_what_is_held_stays(tmp_path: Path) -> None:
    left = leave(tmp_path, os.uname().nodename)
    with half_built(tmp_path, "key") as folder:
        sweep(tmp_path)
        assert folder.is_dir()
        assert not left.exists()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("lock", [True, False])
def test_what_another_machine_left_goes_only_when_it_is_old(tmp_path: Path, lock: bool) -> None:
    """Whether its lock can be seen from here is not known."""
    left = leave(tmp_path, "another", lock=lock)
    sweep(tmp_path)
    age(tmp_path, STALE_S - 60)
    sweep(tmp_path)
    assert left.exists()
    age(tmp_path, 120)
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_locks_nothing_is_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with half_built(tmp_path, "key") as folder:
        sweep(tmp_path)
        assert folder.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_sweepers_and_builders_at_once(tmp_path: Path) -> None:
    """A sweeper that comes between the making of a lock and its taking takes nothing away."""
    over = threading.Event()

    def keep_sweeping() -> None:
        while not over.is_set():
            sweep(tmp_path)

    sweepers = [threading.Thread(target=keep_sweeping) for _ in range(2)]
    for sweeper in sweepers:
        sweeper.start()
    try:
        for number in range(300):
            with half_built(tmp_path, "key") as folder:
                (folder / "file").write_text(str(number))
                assert (folder / "file").read_text() == str(number)
    finally:
        over.set()
        for sweeper in sweepers:
            sweeper.join()
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_goes_while_it_is_looked_at_is_no_error(tmp_path: Path) -> None:
    """Another machine is at work in the same store: folders come and go under the sweep."""
    done, ended_well = threading.Event(), threading.Event()

    def come_and_go() -> None:
        while not done.is_set():
            folder = leave(tmp_path, "another")
            (folder / "a" / "b").mkdir(parents=True)
            shutil.rmtree(folder)
        ended_well.set()

    other = threading.Thread(target=come_and_go)
    other.start()
    try:
        for _ in range(500):
            sweep(tmp_path)
    finally:
        done.set()
        other.join()
    assert ended_well.is_set()
