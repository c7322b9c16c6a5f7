"""Which folder is blamed for a disk that is full or read-only."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import pytest
from small_disks import Mount, remount

from transforms.outcome import StopRunError
from transforms.trouble import minding

TOO_MUCH = bytes(4 << 20)


@pytest.fixture
def disks(mount: Mount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A memo store and a folder for temporary files, each on a disk of its own."""
    temporary = mount(tmp_path / "temporary", 2048)
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    return mount(tmp_path / "store", 2048), temporary


def said(store: Path, error: OSError | None = None) -> str:
    """What is said of an error, or of a temporary file that is too large."""
    with pytest.raises(StopRunError) as caught, minding(store, "memo store"):
        if error is not None:
            raise error
        with tempfile.TemporaryFile(buffering=0) as file:
            while True:
                file.write(TOO_MUCH)
    return str(caught.value)


def test_temporary_files_that_fill_their_disk_are_not_blamed_on_the_store(
    disks: tuple[Path, Path],
) -> None:
    store, temporary = disks
    (temporary / "filling").write_bytes(bytes(1536 << 10))
    words = said(store)
    assert words.startswith(f"the folder for temporary files {temporary}: its disk is full (")
    assert str(store) not in words


def test_a_write_without_a_name_is_blamed_on_the_disk_without_room(
    disks: tuple[Path, Path],
) -> None:
    store, _ = disks
    (store / "filling").write_bytes(bytes(1536 << 10))
    words = said(store, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert words.startswith(f"the memo store {store}: its disk is full (0.5 of 2.0 MiB free)")


def test_where_both_have_room_both_are_named(disks: tuple[Path, Path]) -> None:
    store, temporary = disks
    words = said(store, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    both = f"the memo store {store} or the folder for temporary files {temporary}: its disk is full"
    assert words.startswith(both)
    assert words.count("2.0 of 2.0 MiB free") == 2


def test_a_disk_that_is_read_only_is_found(disks: tuple[Path, Path]) -> None:
    store, temporary = disks
    remount(temporary, "ro")
    words = said(store, OSError(errno.EROFS, os.strerror(errno.EROFS)))
    assert words.startswith(f"the folder for temporary files {temporary} is on a disk that is read")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EFBIG])
def test_a_name_says_where_it_is(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, elsewhere, temporary = (tmp_path / name for name in ("store", "elsewhere", "temporary"))
    for folder in (store, elsewhere, temporary):
        folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    words = said(store, OSError(number, os.strerror(number), str(elsewhere / "file")))
    assert words.startswith(f"the folder {elsewhere}")
    words = said(store, OSError(number, os.strerror(number), str(store / "step" / "file")))
    assert words.startswith(f"the memo store {store}")
    words = said(store, OSError(number, os.strerror(number), str(temporary / "of-some" / "file")))
    assert words.startswith(f"the folder for temporary files {temporary}")


def test_other_errors_elsewhere_are_not_about_it(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), minding(tmp_path, "memo store"):
        raise PermissionError(errno.EACCES, "no", "/elsewhere/file")
